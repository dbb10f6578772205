/* writer_npy.c - NAME.npy, NAME.rows.bed.gz and NAME.meta.json, committed together. */
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/meta.h"
#include "io/npy.h"
#include "io/table.h"
#include "task/writer.h"

#define PATH_BYTES 4096

typedef struct state {
	cr_output_set *set;
	cr_output *array, *rows, *meta;
	cr_npy *npy;
	json_t *provenance;
	int64_t number; /* rows so far */
} state;

static void free_state(void *user)
{
	state *s = user;

	if (!s)
		return;
	cr_npy_free(s->npy);
	cr_output_set_free(s->set);
	json_decref(s->provenance);
	cr_free(s);
}

/* Add the number-th file of the output to the set. */
static int open_file(state *s, const cr_writer_options *options, int number, cr_output **output,
		     crocuta_error *error)
{
	cr_output_options how = options->output;
	char path[PATH_BYTES];

	if (cr_writer_file(&cr_writer_npy, options->path, number, path, sizeof path))
		return cr_fail(error, CROCUTA_EIO, "%.200s: the name is too long", options->path);
	how.bytes_needed = number ? 0 : options->bytes;
	how.bgzf = number == 1;
	return cr_output_set_add(s->set, path, &how, output, error);
}

static int start(const cr_writer_options *options, void **out, crocuta_error *error)
{
	state *s = cr_calloc(1, sizeof *s);
	int code;

	*out = s;
	if (!s || !(s->set = cr_output_set_new()) ||
	    !(s->provenance = json_copy((json_t *)(uintptr_t)options->provenance)))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for the output");
	json_object_set_new(s->provenance, "dtype", json_string(options->half ? "<f2" : "<f4"));
	json_object_set_new(s->provenance, "columns", json_integer(options->columns));
	if (options->shard) {
		char text[CR_SHARD_TEXT];

		cr_shard_number_text(options->shard, text);
		json_object_set_new(s->provenance, "shard", json_string(text));
		cr_shard_input_text(options->shard, text);
		json_object_set_new(s->provenance, "shard_input", json_string(text));
	}
	code = open_file(s, options, 0, &s->array, error);
	if (!code)
		code = open_file(s, options, 1, &s->rows, error);
	if (!code)
		code = open_file(s, options, 2, &s->meta, error);
	if (!code)
		code = cr_npy_start(s->array, options->rows, options->columns, options->half,
				    &s->npy, error);
	if (!code)
		code = cr_rows_header(s->rows, error);
	return code;
}

static int rows(void *user, const cr_job_rows *part, crocuta_error *error)
{
	state *s = user;
	const cr_job *job = part->job;
	cr_row row = {.contig = job->contig, .name = job->name, .strand = job->strand};
	int code = cr_npy_write(s->npy, part->values, part->count, error);

	for (int64_t i = 0; i < part->count && !code; i++) {
		row.start = part->start + i * job->bin;
		row.end = job->end - row.start < job->bin ? job->end : row.start + job->bin;
		code = cr_rows_write(s->rows, &row, s->number++, error);
	}
	return code;
}

static int finish(void *user, int64_t *bytes, crocuta_error *error)
{
	state *s = user;
	int code = cr_npy_finish(s->npy, error);

	*bytes = cr_output_bytes(s->array);
	if (code)
		return code;
	json_object_set_new(s->provenance, "rows", json_integer(s->number));
	code = cr_meta_write(s->meta, s->provenance, error);
	return code ? code : cr_output_set_commit(s->set, error);
}

const cr_writer_kind cr_writer_npy = {
	.name = "npy",
	.suffixes = " .npy ",
	.vectors = 1,
	.binary = 1,
	.sidecars = {"-.rows.bed.gz", "-.meta.json"},
	.exact = 1,
	.bytes = cr_npy_bytes,
	.start = start,
	.rows = rows,
	.finish = finish,
	.free = free_state,
};
