/* concat.c - outputs of crocuta put together: what the inputs are, and the way for their kind.
 *
 * Inputs are read twice: first all headers, compared with the first one's (concat_facts.c), then
 * the contents, one input after the other. Nothing of the contents is held. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/concat_internal.h"
#include "task/provenance.h"

#define LINE_MAX_BYTES ((int64_t)256 << 20)

enum kind { KIND_VCF, KIND_TEXT, KIND_NPY };

void crocuta_concat_options_init(crocuta_concat_options *options)
{
	memset(options, 0, sizeof *options);
}

/* ---- lines ----------------------------------------------------------------------------------- */

int cr_lines_open(cr_lines *lines, const char *path, crocuta_error *error)
{
	memset(lines, 0, sizeof *lines);
	return cr_source_open(path, NULL, 0, &lines->source, error);
}

void cr_lines_close(cr_lines *lines)
{
	cr_source_close(lines->source);
	cr_free(lines->line);
	memset(lines, 0, sizeof *lines);
}

/* Append bytes to the line, which is kept NUL-terminated. */
static int append(cr_lines *lines, const char *bytes, int64_t count, crocuta_error *error)
{
	if (lines->length + count + 1 > lines->capacity) {
		int64_t capacity = 2 * (lines->length + count) + 256;
		char *line = lines->length + count <= LINE_MAX_BYTES
				     ? cr_realloc(lines->line, (size_t)capacity, 1)
				     : NULL;

		if (!line)
			return cr_fail(error,
				       lines->length + count > LINE_MAX_BYTES ? CROCUTA_EINPUT
									      : CROCUTA_EMEMORY,
				       "%.200s: line %lld is too long",
				       cr_source_path(lines->source), (long long)lines->number + 1);
		lines->line = line;
		lines->capacity = capacity;
	}
	memcpy(lines->line + lines->length, bytes, (size_t)count);
	lines->length += count;
	lines->line[lines->length] = '\0';
	return CROCUTA_OK;
}

int cr_lines_next(cr_lines *lines, int *more, crocuta_error *error)
{
	int64_t count = 0;
	int code = CROCUTA_OK;

	lines->length = 0;
	*more = 0;
	for (;;) {
		const char *bytes, *end;

		if (lines->offset == cr_source_size(lines->source))
			break;
		code = cr_source_view(lines->source, lines->offset, &bytes, &count, error);
		if (code)
			return code;
		end = memchr(bytes, '\n', (size_t)count);
		count = end ? end - bytes : count;
		if (memchr(bytes, '\0', (size_t)count))
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s: line %lld holds a zero byte; the file is damaged",
				       cr_source_path(lines->source), (long long)lines->number + 1);
		code = append(lines, bytes, count, error);
		if (code)
			return code;
		lines->offset += count + (end != NULL);
		if (end) {
			lines->number++;
			*more = 1;
			return CROCUTA_OK;
		}
	}
	if (lines->length)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: line %lld has no end; the file is cut short",
			       cr_source_path(lines->source), (long long)lines->number + 1);
	return CROCUTA_OK;
}

/* ---- conversation ---------------------------------------------------------------------------- */

int cr_concat_progress(cr_concat *concat, int64_t records)
{
	const crocuta_concat_options *o = concat->options;
	crocuta_progress progress = {0};

	concat->report->records += records;
	progress.bases_done = concat->report->records;
	if (o->progress && o->progress(o->user, &progress))
		return cr_fail(concat->error, CROCUTA_ESTOPPED, "stopped");
	return CROCUTA_OK;
}

char *cr_concat_command(const cr_concat *concat)
{
	const char *command = concat->options->command ? concat->options->command : "concat";
	size_t bytes = strlen(command) + 64;
	char *text = cr_calloc(bytes, 1), date[32];

	if (!text)
		return NULL;
	if (!strncmp(command, "crocuta ", 8))
		command += 8;
	cr_provenance_date(date);
	snprintf(text, bytes, "%s; Date=%s", command, date);
	for (char *c = text; *c; c++) /* one line, whatever the names of files */
		if ((unsigned char)*c < 32)
			*c = ' ';
	return text;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

/* By the first bytes of the content. */
static int kind_of(const char *path, enum kind *kind, crocuta_error *error)
{
	cr_source *source;
	const char *bytes;
	char head[32] = "";
	int64_t count, used = 0;
	int code;

	if (!strcmp(path, "-"))
		return cr_fail(error, CROCUTA_EARG,
			       "concat reads its inputs twice, so they have to be files: standard "
			       "input is none");
	code = cr_refuse_url(path, error);
	if (code)
		return code;
	code = cr_source_open(path, NULL, 0, &source, error);
	while (!code && used < 31 && used < cr_source_size(source)) {
		code = cr_source_view(source, used, &bytes, &count, error);
		if (code)
			break;
		count = count < 31 - used ? count : 31 - used;
		memcpy(head + used, bytes, (size_t)count);
		used += count;
	}
	cr_source_close(source);
	if (code)
		return code;
	if (!memcmp(head, "##fileformat=VCF", 16) || !memcmp(head, "BCF\2", 4))
		*kind = KIND_VCF;
	else if (!memcmp(head, "\x93NUMPY", 6))
		*kind = KIND_NPY;
	else if (!memcmp(head, "##crocuta", 9))
		*kind = KIND_TEXT;
	else if (!memcmp(head, "\x26\xfc\x8f\x88", 4) || !memcmp(head, "\x88\x8f\xfc\x26", 4))
		return cr_fail(error, CROCUTA_EARG,
			       "%.200s is a bigWig, which is written in one go with all its "
			       "contigs; put bedgraph outputs together, or name all regions in "
			       "one run of embed",
			       path);
	else
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.300s is no output of crocuta score, embed or classify: neither VCF, BCF, "
			       "npy nor a table that starts with ##crocuta",
			       path);
	return CROCUTA_OK;
}

static int kinds_of(const cr_concat *concat, enum kind *kind)
{
	static const char *const names[] = {"VCF or BCF", "a table", "npy"};
	const char *const *inputs = concat->options->inputs;

	for (int64_t i = 0; i < concat->count; i++) {
		enum kind other = KIND_VCF;
		int code = kind_of(inputs[i], &other, concat->error);

		if (code)
			return code;
		if (i && other != *kind)
			return cr_fail(concat->error, CROCUTA_EARG,
				       "%.200s is %s, %.200s is %s: only files of one kind are put "
				       "together",
				       inputs[0], names[*kind], inputs[i], names[other]);
		*kind = other;
	}
	return CROCUTA_OK;
}

static int check_options(cr_concat *concat)
{
	const crocuta_concat_options *o = concat->options;

	if (!o->inputs || !o->inputs[0] || !o->output)
		return cr_fail(concat->error, CROCUTA_EARG, "inputs and an output are needed");
	while (o->inputs[concat->count])
		concat->count++;
	if (o->write_index && strcmp(o->write_index, "csi") && strcmp(o->write_index, "tbi"))
		return cr_fail(concat->error, CROCUTA_EARG,
			       "write_index \"%.20s\": give csi or tbi", o->write_index);
	return cr_file_type_choose(o->output_type, o->output, &concat->type, concat->error);
}

int crocuta_concat_run(const crocuta_concat_options *options, crocuta_concat_report *report,
		       crocuta_error *error)
{
	cr_concat concat = {.options = options, .report = report, .error = error};
	enum kind kind = KIND_VCF;
	int code;

	memset(report, 0, sizeof *report);
	cr_htslib_prepare();
	code = check_options(&concat);
	if (!code)
		code = kinds_of(&concat, &kind);
	if (code)
		return code;
	concat.shard = cr_calloc((size_t)concat.count, sizeof *concat.shard);
	report->files = concat.count;
	if (kind != KIND_VCF && options->write_index)
		code = cr_fail(
			error, CROCUTA_EARG,
			"an index (-W) is written for VCF and BCF only; use tabix on a table");
	else if (!concat.shard)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for %lld inputs",
			       (long long)concat.count);
	else
		code = kind == KIND_VCF    ? cr_concat_vcf(&concat)
		       : kind == KIND_TEXT ? cr_concat_text(&concat)
					   : cr_concat_npy(&concat);
	cr_facts_free(&concat.first);
	cr_free(concat.shard);
	return code;
}
