/* records.h - one sequence after another from FASTA, FASTQ, SAM, BAM or CRAM, files or streams.
 *
 * The format is found from the content; text formats may be plain, gzip or bgzip. Reads come as
 * they were sequenced: an alignment to the reverse strand is complemented back. Secondary and
 * supplementary alignments and reads without bases are skipped and counted. A cut or damaged input
 * is an error, at open where the file can be examined, else at its end. */
#ifndef CR_IO_RECORDS_H
#define CR_IO_RECORDS_H

#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_records cr_records;

enum cr_records_format {
	CR_RECORDS_FASTA = 1,
	CR_RECORDS_FASTQ,
	CR_RECORDS_ALIGNMENTS /* SAM, BAM or CRAM */
};

typedef struct cr_records_options {
	const char *reference; /* FASTA that decodes a CRAM with @SQ lines, or NULL */
	int allow_truncated;   /* accept bgzip, BAM or CRAM without end marker */
	int64_t max_length;    /* longest record accepted; 0: 2^31 */
} cr_records_options;

/* Owned by the reader, valid until the next call on it. */
typedef struct cr_record {
	const char *name;  /* up to the first blank, NUL-terminated */
	const char *bases; /* IUPAC letters as in the file, NUL-terminated */
	int64_t length;    /* bases, at least 1 */
	int64_t number;    /* 0, 1, 2 ... of the records handed over */
	int flags;         /* SAM flag word; 0 for FASTA and FASTQ */
} cr_record;

typedef struct cr_records_counts {
	int64_t records;     /* handed over */
	int64_t bases;       /* in them */
	int64_t secondary;   /* skipped: flag 0x900 */
	int64_t no_sequence; /* skipped: SEQ is '*' */
} cr_records_counts;

/* Open a path, or "-" for standard input. options may be NULL. On failure *records is NULL. Codes:
 * EARG for a URL or a CRAM without reference; EIO for a path that cannot be opened or read; EINPUT
 * for an empty, unknown, truncated or damaged file; EMEMORY. One thread at a time for a reader. */
CROCUTA_CHECKED int cr_records_open(const char *path, const cr_records_options *options,
				    cr_records **records, crocuta_error *error);

/* Next record into *record, NULL at the checked end of the input. EINPUT names file and line (or
 * record) of a fault; after a failure the reader can only be closed. */
CROCUTA_CHECKED int cr_records_next(cr_records *records, const cr_record **record,
				    crocuta_error *error);

int cr_records_get_format(const cr_records *records); /* enum cr_records_format */
cr_records_counts cr_records_get_counts(const cr_records *records);
void cr_records_close(cr_records *records);

#endif
