/* table.h - tab-separated text: provenance lines, tables of vectors, the row sidecar of an array.
 * Numbers are printed the same in every locale. Functions append to an output of the caller's. */
#ifndef CR_IO_TABLE_H
#define CR_IO_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

#include "io/atomic.h"

/* Where a row comes from. */
typedef struct cr_row {
	const char *contig; /* contig, record or read */
	int64_t start, end; /* 0-based half-open */
	const char *name;   /* NULL: '.' */
	char strand;        /* '+', '-' or '.' */
} cr_row;

/* Text of a number with `digits` significant digits (1 to 17), '.' as decimal point, "nan", "inf",
 * "-inf"; never longer than 31 bytes. Returns its length. Any thread. */
int cr_format_number(double value, int digits, char out[32]);

/* "##key=value"; tabs and line ends in value become blanks. */
CROCUTA_CHECKED int cr_table_provenance(cr_output *output, const char *key, const char *value,
					crocuta_error *error);

/* "#chrom start end name strand e0 e1 ...", tabs between. */
CROCUTA_CHECKED int cr_table_header(cr_output *output, int64_t columns, crocuta_error *error);

/* One row; digits 6 to 9 for float32. */
CROCUTA_CHECKED int cr_table_row(cr_output *output, const cr_row *row, const float *values,
				 int64_t columns, int digits, crocuta_error *error);

/* Sidecar NAME.rows.bed.gz: header line, then chrom start end name strand row. */
CROCUTA_CHECKED int cr_rows_header(cr_output *output, crocuta_error *error);
CROCUTA_CHECKED int cr_rows_write(cr_output *output, const cr_row *row, int64_t number,
				  crocuta_error *error);

#endif
