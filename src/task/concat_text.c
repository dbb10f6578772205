/* concat_text.c - tables of `crocuta score`, tables and bedGraph of `crocuta embed`, plain or
 * bgzip: one header, then the lines of all. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/contigs.h"
#include "io/integer.h"
#include "io/table.h"
#include "task/concat_internal.h"
#include "task/provenance.h"

#define BETWEEN_PROGRESS 4096

typedef struct text {
	cr_concat *concat;
	cr_output *output;
	int score, bedgraph; /* whose table */
	int64_t tabs;        /* in every line */
	cr_contigs *seen;    /* of a bedGraph: contigs so far, the last one is current */
	int64_t end;         /* of the last interval on it */
	char *held;          /* of a bedGraph: the last line, which the next file may go on with */
} text;

static int64_t count_tabs(const char *line)
{
	int64_t tabs = 0;

	while ((line = strchr(line, '\t'))) {
		tabs++;
		line++;
	}
	return tabs;
}

/* The column line, or the first line of contents of a bedGraph, which has none. */
static int take_columns(cr_facts *facts, const char *line, crocuta_error *error)
{
	return cr_facts_add(facts, "line of columns", *line == '#' ? line : "none", error);
}

static int read_header(text *t, int64_t input)
{
	cr_concat *concat = t->concat;
	const char *path = concat->options->inputs[input];
	cr_facts facts = {0};
	cr_lines lines;
	int more, code = cr_lines_open(&lines, path, concat->error);

	while (!code) {
		code = cr_lines_next(&lines, &more, concat->error);
		if (code || !more || strncmp(lines.line, "##", 2))
			break;
		code = cr_facts_add_line(&facts, path, lines.line, concat->error);
	}
	if (!code)
		code = take_columns(&facts, more ? lines.line : "", concat->error);
	if (!code && !input) {
		t->score = more && !strncmp(lines.line, "#CHROM\t", 7);
		t->bedgraph = !more || *lines.line != '#';
		t->tabs = t->bedgraph ? 3 : count_tabs(lines.line);
	}
	cr_lines_close(&lines);
	if (code)
		cr_facts_free(&facts);
	return code ? code : cr_concat_take_facts(concat, input, &facts);
}

static int check_type(const text *t)
{
	const cr_concat *concat = t->concat;
	enum cr_file_kind is = t->bedgraph ? CR_FILE_BEDGRAPH : CR_FILE_TABLE;

	if (concat->type.kind == CR_FILE_UNKNOWN || concat->type.kind == is)
		return CROCUTA_OK;
	return cr_fail(concat->error, CROCUTA_EARG,
		       "the inputs are %s, and concat does not turn them into %s",
		       t->bedgraph ? "bedGraph" : "tables", cr_file_kind_name(concat->type.kind));
}

/* What this run adds to the lines of the first input. */
static int write_command(const text *t)
{
	crocuta_error *error = t->concat->error;
	char version[80], date[32], *command;
	int code;

	if (t->score) {
		command = cr_concat_command(t->concat);
		if (!command)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for a header");
		code = cr_table_provenance(t->output, "crocutaCommand", command, error);
		cr_free(command);
		return code;
	}
	cr_provenance_version(version);
	cr_provenance_date(date);
	code = cr_table_provenance(t->output, "crocuta.concat.version", version, error);
	if (!code && t->concat->options->command)
		code = cr_table_provenance(t->output, "crocuta.concat.command",
					   t->concat->options->command, error);
	return code ? code : cr_table_provenance(t->output, "crocuta.concat.date", date, error);
}

static int write_line(const text *t, cr_lines *lines)
{
	lines->line[lines->length] = '\n'; /* over the NUL */
	return cr_output_write(t->output, lines->line, lines->length + 1, t->concat->error);
}

static int write_held(text *t)
{
	int code = t->held ? cr_output_text(t->output, t->held, t->concat->error) : CROCUTA_OK;

	if (!code && t->held)
		code = cr_output_text(t->output, "\n", t->concat->error);
	cr_free(t->held);
	t->held = NULL;
	return code;
}

/* Fields of an interval: its name with the tab, start, end and value. */
static void split(char *line, char *fields[4])
{
	for (int i = 0; i < 4; i++) {
		fields[i] = line;
		line += strcspn(line, "\t");
		if (*line && i < 3)
			*line++ = '\0';
	}
}

/* A run of one value that the border of two files cuts is one interval, as in a whole track. `line` and
 * what is held become parts of the new line. */
static char *join_held(const text *t, const char *line)
{
	char *a[4], *b[4], *copies[2] = {cr_strdup(t->held), cr_strdup(line)}, *joined = NULL;
	const size_t bytes = strlen(t->held) + strlen(line) + 8;

	if (copies[0] && copies[1]) {
		split(copies[0], a);
		split(copies[1], b);
		if (!strcmp(a[0], b[0]) && !strcmp(a[2], b[1]) && !strcmp(a[3], b[3]))
			joined = cr_calloc(bytes, 1);
		if (joined)
			snprintf(joined, bytes, "%s\t%s\t%s\t%s", a[0], a[1], b[2], a[3]);
	}
	cr_free(copies[0]);
	cr_free(copies[1]);
	return joined;
}

/* A line of contents; `first` of its file. */
static int write_content(text *t, cr_lines *lines, int first)
{
	char *joined;
	int code;

	if (!t->bedgraph)
		return write_line(t, lines);
	joined = first && t->held ? join_held(t, lines->line) : NULL;
	if (joined) {
		cr_free(t->held);
		t->held = joined;
		return CROCUTA_OK;
	}
	code = write_held(t);
	t->held = cr_strdup(lines->line);
	return code || t->held ? code
			       : cr_fail(t->concat->error, CROCUTA_EMEMORY, "no memory for a line");
}

/* Intervals of a bedGraph go forward, and a contig comes in one piece. */
static int check_order(text *t, const cr_lines *lines)
{
	const char *line = lines->line, *path = cr_source_path(lines->source);
	size_t name = strcspn(line, "\t"), first = strcspn(line + name + 1, "\t");
	const char *second = line + name + first + 2;
	int64_t start = cr_parse_integer(line + name + 1, first);
	int64_t end = cr_parse_integer(second, strcspn(second, "\t"));
	int64_t at = cr_contigs_find(t->seen, line, name), count = cr_contigs_count(t->seen);

	if (start < 0 || end <= start)
		return cr_fail(t->concat->error, CROCUTA_EINPUT,
			       "%.200s: line %lld is no interval of a bedGraph: %.60s", path,
			       (long long)lines->number, line);
	if (at < 0)
		t->end = 0;
	if (at < 0 ? cr_contigs_add(t->seen, line, name, 1, t->concat->error) != 0 : 0)
		return CROCUTA_EMEMORY;
	if ((at >= 0 && at != count - 1) || start < t->end)
		return cr_fail(t->concat->error, CROCUTA_EINPUT,
			       "%.200s: line %lld, %.40s, overlaps or goes back behind what came "
			       "before; give bedGraph files in the order of the genome",
			       path, (long long)lines->number, line);
	t->end = end;
	return CROCUTA_OK;
}

static int check_line(text *t, const cr_lines *lines)
{
	if (count_tabs(lines->line) != t->tabs)
		return cr_fail(t->concat->error, CROCUTA_EINPUT,
			       "%.200s: line %lld has not %lld columns; the file is damaged",
			       cr_source_path(lines->source), (long long)lines->number,
			       (long long)t->tabs + 1);
	return t->bedgraph ? check_order(t, lines) : CROCUTA_OK;
}

/* Lines of one input; of the first the header as well. */
static int copy_lines(text *t, int64_t input)
{
	const crocuta_concat_options *o = t->concat->options;
	int64_t waiting = 0, copied = 0;
	int more = 1, head = 1;
	cr_lines lines;
	int code = cr_lines_open(&lines, o->inputs[input], t->concat->error);

	while (!code) {
		code = cr_lines_next(&lines, &more, t->concat->error);
		if (head && !code && (!more || strncmp(lines.line, "##", 2))) {
			head = 0; /* of ## lines */
			if (!input && !o->no_version)
				code = write_command(t);
		}
		if (code || !more)
			break;
		if (*lines.line == '#') {
			if (!input && !cr_concat_drops_line(lines.line))
				code = write_line(t, &lines);
			continue;
		}
		code = check_line(t, &lines);
		if (!code)
			code = write_content(t, &lines, !copied);
		copied++;
		if (!code && ++waiting == BETWEEN_PROGRESS) {
			code = cr_concat_progress(t->concat, waiting);
			waiting = 0;
		}
	}
	cr_lines_close(&lines);
	if (!code)
		code = cr_concat_check_count(t->concat, input, copied,
					     t->concat->shard[input].lines);
	return code ? code : cr_concat_progress(t->concat, waiting);
}

int cr_concat_text(cr_concat *concat)
{
	const crocuta_concat_options *o = concat->options;
	const cr_output_options how = {.inputs = o->inputs,
				       .no_clobber = o->no_clobber,
				       .bgzf = cr_output_is_bgzf_name(o->output)};
	text t = {.concat = concat, .seen = cr_contigs_new()};
	int code = CROCUTA_OK;

	if (!t.seen)
		code = cr_fail(concat->error, CROCUTA_EMEMORY, "no memory for a list of contigs");
	for (int64_t i = 0; !code && i < concat->count; i++)
		code = read_header(&t, i);
	concat->report->kind = t.bedgraph ? "bedgraph" : "tsv";
	if (!code)
		code = cr_concat_check_shards(concat);
	if (!code)
		code = check_type(&t);
	if (!code)
		code = cr_output_open(o->output, &how, &t.output, concat->error);
	for (int64_t i = 0; !code && i < concat->count; i++)
		code = copy_lines(&t, i);
	if (!code)
		code = write_held(&t);
	if (!code)
		code = cr_output_commit(t.output, concat->error);
	cr_free(t.held);
	cr_output_free(t.output);
	cr_contigs_free(t.seen);
	return code;
}
