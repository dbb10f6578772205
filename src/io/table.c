/* table.c - see table.h. */
#include "io/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

int cr_format_number(double value, int digits, char out[32])
{
	char text[64];
	int length = 0;

	if (isnan(value))
		return snprintf(out, 32, "nan");
	if (isinf(value))
		return snprintf(out, 32, value < 0 ? "-inf" : "inf");
	if (value == 0)
		value = 0; /* no "-0" */
	digits = digits < 1 ? 1 : digits > 17 ? 17 : digits;
	snprintf(text, sizeof text, "%.*g", digits, value);
	/* Whatever the locale takes for a decimal point, one byte or several, becomes one '.'. */
	for (const char *p = text; *p && length < 31; p++) {
		int known = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e';

		if (known)
			out[length++] = *p;
		else if (length && out[length - 1] != '.')
			out[length++] = '.';
	}
	out[length] = '\0';
	return length;
}

/* Append text with blanks for bytes that would break the table; an empty one becomes '.'. */
static int write_clean(cr_output *output, const char *text, crocuta_error *error)
{
	char clean[256];
	int code = CROCUTA_OK;

	if (!text || !*text)
		return cr_output_text(output, ".", error);
	while (!code && *text) {
		int64_t used = 0;

		for (; *text && used < (int64_t)sizeof clean; text++)
			clean[used++] =
				(char)(*text == '\t' || *text == '\n' || *text == '\r' ? ' '
										       : *text);
		code = cr_output_write(output, clean, used, error);
	}
	return code;
}

int cr_table_provenance(cr_output *output, const char *key, const char *value, crocuta_error *error)
{
	int code = cr_output_text(output, "##", error);

	if (!code)
		code = cr_output_text(output, key, error);
	if (!code)
		code = cr_output_text(output, "=", error);
	if (!code)
		code = write_clean(output, value, error);
	return code ? code : cr_output_text(output, "\n", error);
}

int cr_table_header(cr_output *output, int64_t columns, crocuta_error *error)
{
	int code = cr_output_text(output, "#chrom\tstart\tend\tname\tstrand", error);
	char name[32];

	for (int64_t i = 0; !code && i < columns; i++) {
		snprintf(name, sizeof name, "\te%lld", (long long)i);
		code = cr_output_text(output, name, error);
	}
	return code ? code : cr_output_text(output, "\n", error);
}

/* chrom, start, end, name and strand, without a line end. */
static int write_place(cr_output *output, const cr_row *row, crocuta_error *error)
{
	char numbers[64], strand[3] = {'\t', row->strand ? row->strand : '.', '\0'};
	int code = write_clean(output, row->contig, error);

	snprintf(numbers, sizeof numbers, "\t%lld\t%lld\t", (long long)row->start,
		 (long long)row->end);
	if (!code)
		code = cr_output_text(output, numbers, error);
	if (!code)
		code = write_clean(output, row->name, error);
	return code ? code : cr_output_text(output, strand, error);
}

int cr_table_row(cr_output *output, const cr_row *row, const float *values, int64_t columns,
		 int digits, crocuta_error *error)
{
	int code = write_place(output, row, error);
	char text[40];

	for (int64_t i = 0; !code && i < columns; i++) {
		text[0] = '\t';
		code = cr_output_write(output, text,
				       1 + cr_format_number(values[i], digits, text + 1), error);
	}
	return code ? code : cr_output_text(output, "\n", error);
}

int cr_rows_header(cr_output *output, crocuta_error *error)
{
	return cr_output_text(output, "#chrom\tstart\tend\tname\tstrand\trow\n", error);
}

int cr_rows_write(cr_output *output, const cr_row *row, int64_t number, crocuta_error *error)
{
	int code = write_place(output, row, error);
	char text[32];

	snprintf(text, sizeof text, "\t%lld\n", (long long)number);
	return code ? code : cr_output_text(output, text, error);
}
