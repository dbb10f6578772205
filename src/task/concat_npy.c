/* concat_npy.c - arrays of `crocuta embed` with their sidecars: rows appended, and numbered anew.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "io/meta.h"
#include "io/npy.h"
#include "task/concat_internal.h"
#include "task/provenance.h"
#include "task/writer.h"

#define PATH_BYTES 4096
#define META_BYTES ((int64_t)16 << 20)
#define CHUNK 16384 /* values copied at a time, at least a row */

/* One input: the array's header. */
typedef struct part {
	int64_t rows, offset; /* bytes in front of the values */
} part;

typedef struct array {
	cr_concat *concat;
	part *parts;
	char **paths; /* (3 count + 1) all files read */
	json_t *meta; /* of the first input */
	int64_t columns, rows;
	int half;
	int64_t number; /* rows written to the sidecar */
} array;

static int damaged(const array *a, const char *path, const char *what)
{
	return cr_fail(a->concat->error, CROCUTA_EINPUT,
		       "%.300s: %s; the files of this output do not belong together or are damaged",
		       path, what);
}

/* Path of the array (0), its rows (1) or its meta.json (2). */
static const char *path_of(const array *a, int64_t input, int number)
{
	return a->paths[3 * input + number];
}

static int list_paths(array *a)
{
	char path[PATH_BYTES];

	for (int64_t i = 0; i < 3 * a->concat->count; i++) {
		if (cr_writer_file(&cr_writer_npy, a->concat->options->inputs[i / 3], (int)(i % 3),
				   path, sizeof path))
			return cr_fail(a->concat->error, CROCUTA_EIO,
				       "%.200s: the name is too long",
				       a->concat->options->inputs[i / 3]);
		a->paths[i] = cr_strdup(path);
		if (!a->paths[i])
			return cr_fail(a->concat->error, CROCUTA_EMEMORY, "no memory for names");
	}
	return CROCUTA_OK;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* Bytes [offset, offset + count) of the source. */
static int read_bytes(cr_source *source, int64_t offset, char *out, int64_t count,
		      crocuta_error *error)
{
	while (count) {
		const char *bytes;
		int64_t got;
		int code = cr_source_view(source, offset, &bytes, &got, error);

		if (code)
			return code;
		if (!got)
			return cr_fail(error, CROCUTA_EINPUT, "%.300s: the file is cut short",
				       cr_source_path(source));
		got = got < count ? got : count;
		memcpy(out, bytes, (size_t)got);
		out += got;
		offset += got;
		count -= got;
	}
	return CROCUTA_OK;
}

/* Version 1.0, C order, float32 or float16, as crocuta writes it. */
static int parse_array(const array *a, cr_source *source, part *p, int64_t *columns, int *half)
{
	char head[10], text[4096] = "";
	const char *path = cr_source_path(source), *shape, *descr;
	long long rows, width;
	int64_t bytes = 0;
	int code, read = 0;

	if (cr_source_size(source) < (int64_t)sizeof head)
		return damaged(a, path, "no npy array");
	code = read_bytes(source, 0, head, sizeof head, a->concat->error);
	if (!code) {
		bytes = (unsigned char)head[8] + 256 * (unsigned char)head[9];
		if (head[6] != 1 || bytes >= (int64_t)sizeof text)
			return damaged(a, path, "not an npy array of format 1.0");
		code = read_bytes(source, sizeof head, text, bytes, a->concat->error);
	}
	if (code)
		return code;
	descr = strstr(text, "'descr': '<f");
	shape = strstr(text, "'shape': (");
	if (!descr || (descr[12] != '4' && descr[12] != '2') || descr[13] != '\'' ||
	    !strstr(text, "'fortran_order': False") || !shape ||
	    sscanf(shape, "'shape': (%18lld, %18lld)%n", &rows, &width, &read) != 2 || !read ||
	    rows < 0 || width < 1)
		return damaged(a, path, "not a C-ordered float array of rows and columns");
	*half = descr[12] == '2';
	*columns = width;
	*p = (part){rows, (int64_t)sizeof head + bytes};
	if (width > INT64_MAX / 8 / (rows + 1) ||
	    cr_source_size(source) - p->offset != rows * width * (*half ? 2 : 4))
		return damaged(a, path, "its size is not that of its shape");
	return CROCUTA_OK;
}

static int read_meta(const array *a, const char *path, json_t **meta)
{
	json_error_t where;
	char *text;
	int64_t bytes;
	int code = cr_read_file(path, META_BYTES, &text, &bytes, a->concat->error);

	if (code)
		return code;
	*meta = json_loadb(text, (size_t)bytes, JSON_REJECT_DUPLICATES, &where);
	cr_free(text);
	return json_is_object(*meta) ? CROCUTA_OK : damaged(a, path, "no JSON object");
}

/* What says which part of which input it is, as the lines of a table; it leaves the object. */
static int take_shard(const array *a, int64_t input, json_t *meta, cr_facts *facts)
{
	static const char *const keys[][2] = {{"shard", "crocutaShard"},
					      {"shard_input", "crocutaShardInput"}};
	int code = CROCUTA_OK;

	for (int i = 0; i < 2 && !code; i++) {
		const char *value = json_string_value(json_object_get(meta, keys[i][0]));
		char line[600];

		if (!value)
			continue;
		snprintf(line, sizeof line, "##%s=%.500s", keys[i][1], value);
		code = cr_facts_add_line(facts, path_of(a, input, 2), line, a->concat->error);
		json_object_del(meta, keys[i][0]);
	}
	return code;
}

static int read_header(array *a, int64_t input)
{
	const char *path = path_of(a, input, 0);
	cr_source *source = NULL;
	json_t *meta = NULL;
	cr_facts facts = {0};
	int64_t columns = 0;
	int half = 0, code = cr_source_open(path, NULL, 0, &source, a->concat->error);

	if (!code)
		code = parse_array(a, source, a->parts + input, &columns, &half);
	cr_source_close(source);
	if (!code)
		code = read_meta(a, path_of(a, input, 2), &meta);
	if (!code && json_object_get(meta, "region"))
		code = cr_fail(a->concat->error, CROCUTA_EREFUSED,
			       "%.300s is the matrix of one region (--ism), which is not put "
			       "together with others; name several regions in one run, as VCF or a "
			       "table",
			       path);
	if (!code)
		code = take_shard(a, input, meta, &facts);
	if (!code)
		code = cr_facts_add_json(&facts, meta, a->concat->error);
	if (code)
		cr_facts_free(&facts);
	else
		code = cr_concat_take_facts(a->concat, input, &facts);
	if (!code && (json_integer_value(json_object_get(meta, "rows")) != a->parts[input].rows ||
		      json_integer_value(json_object_get(meta, "columns")) != columns ||
		      strcmp(half ? "<f2" : "<f4",
			     json_is_string(json_object_get(meta, "dtype"))
				     ? json_string_value(json_object_get(meta, "dtype"))
				     : "")))
		code = damaged(a, path, "its shape is not that in its .meta.json");
	if (!code && __builtin_add_overflow(a->rows, a->parts[input].rows, &a->rows))
		code = damaged(a, path, "too many rows");
	a->columns = columns;
	a->half = half;
	if (!input)
		a->meta = meta;
	else
		json_decref(meta);
	return code;
}

/* ---- contents -------------------------------------------------------------------------------- */

static int copy_values(array *a, int64_t input, cr_npy *npy)
{
	const part *p = a->parts + input;
	int64_t size = a->half ? 2 : 4, step = CHUNK / a->columns + 1;
	float *values = cr_floats(step * a->columns);
	char *raw = cr_calloc((size_t)(step * a->columns), (size_t)size);
	cr_source *source = NULL;
	int code = cr_source_open(path_of(a, input, 0), NULL, 0, &source, a->concat->error);

	if (!code && (!values || !raw))
		code = cr_fail(a->concat->error, CROCUTA_EMEMORY, "no memory for rows");
	for (int64_t row = 0; !code && row < p->rows; row += step) {
		int64_t rows = p->rows - row < step ? p->rows - row : step;
		int64_t count = rows * a->columns;

		code = read_bytes(source, p->offset + row * a->columns * size, raw, count * size,
				  a->concat->error);
		for (int64_t i = 0; !code && i < count; i++) {
			uint16_t half;

			if (a->half) {
				memcpy(&half, raw + 2 * i, 2);
				values[i] =
					cr_half_to_float(half); /* exact, and so is the way back */
			} else {
				memcpy(values + i, raw + 4 * i, 4);
			}
		}
		if (!code)
			code = cr_npy_write(npy, values, rows, a->concat->error);
		if (!code)
			code = cr_concat_progress(a->concat, rows);
	}
	cr_source_close(source);
	cr_free(raw);
	cr_free(values);
	return code;
}

/* chrom start end name strand row: all but the last as they are. */
static int copy_rows(array *a, int64_t input, cr_output *output)
{
	const char *path = path_of(a, input, 1);
	int64_t before = a->number;
	char number[32];
	int more = 1;
	cr_lines lines;
	int code = cr_lines_open(&lines, path, a->concat->error);

	while (!code) {
		char *tab;

		code = cr_lines_next(&lines, &more, a->concat->error);
		if (code || !more)
			break;
		tab = strrchr(lines.line, '\t');
		if (!tab)
			code = damaged(a, path, "a line without columns");
		else if (*lines.line == '#' && !input)
			code = cr_output_text(output, lines.line, a->concat->error);
		else if (*lines.line != '#') {
			if (strtoll(tab + 1, NULL, 10) != a->number - before)
				code = damaged(a, path, "rows are not numbered 0, 1, 2 ...");
			snprintf(number, sizeof number, "%lld", (long long)a->number++);
			if (!code)
				code = cr_output_write(output, lines.line, tab + 1 - lines.line,
						       a->concat->error);
			if (!code)
				code = cr_output_text(output, number, a->concat->error);
		}
		if (!code && (*lines.line != '#' || !input))
			code = cr_output_text(output, "\n", a->concat->error);
	}
	cr_lines_close(&lines);
	if (!code && a->number - before != a->parts[input].rows)
		code = damaged(a, path, "it has not as many rows as the array");
	return code;
}

static int write_meta(const array *a, cr_output *output)
{
	const char *command = a->concat->options->command;
	char version[80], date[32];
	json_t *about;

	json_object_set_new(a->meta, "rows", json_integer(a->rows));
	json_object_del(a->meta, "concat");
	if (!a->concat->options->no_version) {
		cr_provenance_version(version);
		cr_provenance_date(date);
		about = json_pack("{s:s, s:o*, s:s}", "version", version, "command",
				  command ? cr_provenance_text(command) : NULL, "date", date);
		if (!about || json_object_set_new(a->meta, "concat", about))
			return cr_fail(a->concat->error, CROCUTA_EMEMORY, "no memory for JSON");
	}
	return cr_meta_write(output, a->meta, a->concat->error);
}

static int open_outputs(const array *a, cr_output_set *set, cr_output *outputs[3])
{
	const crocuta_concat_options *o = a->concat->options;
	cr_output_options how = {.inputs = (const char *const *)a->paths,
				 .no_clobber = o->no_clobber};
	char path[PATH_BYTES];
	int code = CROCUTA_OK;

	if (a->concat->type.kind != CR_FILE_UNKNOWN && a->concat->type.kind != CR_FILE_NPY)
		return cr_fail(a->concat->error, CROCUTA_EARG,
			       "the inputs are npy, and concat does not turn them into %s",
			       cr_file_kind_name(a->concat->type.kind));
	if (cr_output_is_stdout(o->output))
		return cr_fail(a->concat->error, CROCUTA_EARG,
			       "npy comes with two more files and is not written to standard "
			       "output; give -o FILE.npy");
	for (int i = 0; !code && i < 3; i++) {
		if (cr_writer_file(&cr_writer_npy, o->output, i, path, sizeof path))
			return cr_fail(a->concat->error, CROCUTA_EIO,
				       "%.200s: the name is too long", o->output);
		how.bytes_needed = i ? 0 : cr_npy_bytes(a->rows, a->columns, a->half);
		how.bgzf = i == 1;
		code = cr_output_set_add(set, path, &how, outputs + i, a->concat->error);
	}
	return code;
}

static int write_all(array *a, cr_output_set *set)
{
	cr_output *outputs[3] = {0};
	cr_npy *npy = NULL;
	int code = open_outputs(a, set, outputs);

	if (!code)
		code = cr_npy_start(outputs[0], a->rows, a->columns, a->half, &npy,
				    a->concat->error);
	for (int64_t i = 0; !code && i < a->concat->count; i++) {
		code = copy_values(a, i, npy);
		if (!code)
			code = copy_rows(a, i, outputs[1]);
	}
	if (!code)
		code = cr_npy_finish(npy, a->concat->error);
	if (!code)
		code = write_meta(a, outputs[2]);
	cr_npy_free(npy);
	return code ? code : cr_output_set_commit(set, a->concat->error);
}

int cr_concat_npy(cr_concat *concat)
{
	array a = {.concat = concat};
	cr_output_set *set = cr_output_set_new();
	int code = CROCUTA_OK;

	concat->report->kind = "npy";
	a.parts = cr_calloc((size_t)concat->count, sizeof *a.parts);
	a.paths = cr_calloc((size_t)concat->count * 3 + 1, sizeof *a.paths);
	if (!set || !a.parts || !a.paths)
		code = cr_fail(concat->error, CROCUTA_EMEMORY, "no memory for %lld inputs",
			       (long long)concat->count);
	if (!code)
		code = list_paths(&a);
	for (int64_t i = 0; !code && i < concat->count; i++)
		code = read_header(&a, i);
	if (!code)
		code = cr_concat_check_shards(concat);
	if (!code)
		code = write_all(&a, set);
	cr_output_set_free(set);
	json_decref(a.meta);
	for (int64_t i = 0; a.paths && i < 3 * concat->count; i++)
		cr_free(a.paths[i]);
	cr_free(a.paths);
	cr_free(a.parts);
	return code;
}
