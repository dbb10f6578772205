/* fit_table.c - labelled sequences of a .tsv or .csv whose header names the columns. Fields of a
 * .csv may stand in quotes, with a quote doubled inside; a field does not go over several lines. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "io/text_lines.h"
#include "seq/alphabet.h"
#include "task/fit_internal.h"

typedef struct table {
	cr_fit *fit;
	const cr_fit_input *input;
	cr_text_lines *lines;
	int64_t columns, sequence, label; /* their number; which ones */
} table;

static int fail_line(const table *t, const char *what)
{
	return cr_fail(t->fit->error, CROCUTA_EINPUT, "%.300s:%lld: %s", t->input->path,
		       (long long)cr_text_lines_number(t->lines), what);
}

/* A field that begins with a quote, unquoted in place; NULL when the quotes are wrong. */
static char *take_quoted(char **at, char delimiter, int64_t *length)
{
	char *from = *at + 1, *to = *at, *field = *at;
	int closed = 0;

	for (; *from && !closed; from++) {
		closed = *from == '"' && from[1] != '"';
		from += *from == '"' && !closed;
		if (!closed)
			*to++ = *from;
	}
	if (!closed || (*from && *from != delimiter))
		return NULL;
	*at = *from ? from + 1 : NULL;
	*length = to - field;
	return field;
}

/* The next field, without blanks around it; *at is NULL behind the last one. NULL for wrong quotes.
 */
static char *take_field(char **at, char delimiter, int64_t *length)
{
	char *field = *at, *end;

	while (*field == ' ')
		field++;
	*at = field;
	if (delimiter == ',' && *field == '"')
		return take_quoted(at, delimiter, length);
	end = strchr(field, delimiter);
	*at = end ? end + 1 : NULL;
	end = end ? end : field + strlen(field);
	while (end > field && end[-1] == ' ')
		end--;
	*length = end - field;
	return field;
}

static int is_named(const char *field, int64_t length, const char *name)
{
	return length == (int64_t)strlen(name) && !strncasecmp(field, name, (size_t)length);
}

static int read_header(table *t)
{
	static const char *const names[] = {"sequence", "label"};
	int64_t *places[] = {&t->sequence, &t->label}, length;
	char *line, *field;
	int code = cr_text_lines_next(t->lines, &line, &length, t->fit->error);

	if (code)
		return code;
	if (!line)
		return cr_fail(t->fit->error, CROCUTA_EINPUT, "%.300s: the file is empty",
			       t->input->path);
	if (!strncmp(line, "\xef\xbb\xbf", 3)) /* a byte order mark, as spreadsheets write it */
		line += 3;
	t->sequence = t->label = -1;
	for (t->columns = 0; line; t->columns++) {
		field = take_field(&line, t->input->delimiter, &length);
		if (!field)
			return fail_line(t, "the quotes of a field do not match");
		for (int i = 0; i < 2; i++) {
			if (!is_named(field, length, names[i]))
				continue;
			if (*places[i] >= 0)
				return fail_line(t, "two columns have the same name");
			*places[i] = t->columns;
		}
	}
	for (int i = 0; i < 2; i++)
		if (*places[i] < 0)
			return cr_fail(
				t->fit->error, CROCUTA_EINPUT,
				"%.300s:%lld: no column is named \"%s\"; the first line is to "
				"name the columns sequence and label, separated by %s",
				t->input->path, (long long)cr_text_lines_number(t->lines), names[i],
				t->input->delimiter == ',' ? "commas" : "tabs");
	return CROCUTA_OK;
}

static int add_row(table *t, int64_t input, cr_fit_new *item)
{
	char where[400], message[100];
	int64_t number = cr_text_lines_number(t->lines), wrong;

	if (!item->length)
		return fail_line(t, "the sequence is empty");
	wrong = cr_bases_check(item->bases, item->length);
	if (wrong < item->length) {
		snprintf(message, sizeof message,
			 "base %lld of the sequence, byte 0x%02x, is no IUPAC letter",
			 (long long)wrong + 1, (unsigned)(unsigned char)item->bases[wrong]);
		return fail_line(t, message);
	}
	snprintf(where, sizeof where, "%.300s:%lld", t->input->path, (long long)number);
	item->where = where;
	item->number = number;
	item->contig = -1;
	item->strand = '+';
	return cr_fit_add(t->fit, input, item);
}

static int read_row(table *t, int64_t input, char *line)
{
	cr_fit_new item = {0};
	int64_t column = 0, length;
	char message[100];

	for (; line; column++) {
		char *field = take_field(&line, t->input->delimiter, &length);

		if (!field)
			return fail_line(t, "the quotes of a field do not match");
		if (column == t->sequence) {
			item.bases = field;
			item.length = length;
		} else if (column == t->label) {
			item.label = field;
			item.label_bytes = (size_t)length;
		}
	}
	if (column == t->columns)
		return add_row(t, input, &item);
	snprintf(message, sizeof message, "%lld fields, the first line has %lld", (long long)column,
		 (long long)t->columns);
	return fail_line(t, message);
}

int cr_fit_read_table(cr_fit *fit, int64_t input)
{
	table t = {.fit = fit, .input = &fit->inputs[input]};
	int64_t before = fit->count, length;
	int code = cr_text_lines_open(t.input->path, fit->options.allow_truncated, &t.lines,
				      fit->error);
	char *line;

	if (!code)
		code = read_header(&t);
	while (!code) {
		code = cr_text_lines_next(t.lines, &line, &length, fit->error);
		if (code || !line)
			break;
		if (length)
			code = read_row(&t, input, line);
	}
	if (!code && fit->count == before)
		code = cr_fail(fit->error, CROCUTA_EINPUT, "%.300s: holds no sequence",
			       t.input->path);
	cr_text_lines_close(t.lines);
	return code;
}
