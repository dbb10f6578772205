/* writer_bigwig.c - NAME.bw, and NAME.bw.meta.json because a bigWig has no room for provenance. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/meta.h"
#include "io/track.h"
#include "task/writer.h"

#define PATH_BYTES 4096

typedef struct state {
	cr_output_set *set;
	cr_output *data, *meta;
	cr_track *track;
	const json_t *provenance;
} state;

static void free_state(void *user)
{
	state *s = user;

	if (!s)
		return;
	cr_track_free(s->track);
	cr_output_set_free(s->set);
	cr_free(s);
}

static int start(const cr_writer_options *options, void **out, crocuta_error *error)
{
	cr_output_options how = options->output;
	state *s = cr_calloc(1, sizeof *s);
	char path[PATH_BYTES];
	int code;

	*out = s;
	if (!s || !(s->set = cr_output_set_new()))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for the output");
	s->provenance = options->provenance;
	if (cr_writer_file(&cr_writer_bw, options->path, 1, path, sizeof path))
		return cr_fail(error, CROCUTA_EIO, "%.200s: the name is too long", options->path);
	how.bytes_needed = options->bytes;
	how.external = 1;
	code = cr_output_set_add(s->set, options->path, &how, &s->data, error);
	how.bytes_needed = 0;
	how.external = 0;
	if (!code)
		code = cr_output_set_add(s->set, path, &how, &s->meta, error);
	return code ? code : cr_track_start_bigwig(s->data, options->contigs, &s->track, error);
}

static int rows(void *user, const cr_job_rows *part, crocuta_error *error)
{
	state *s = user;

	return cr_writer_add_track(s->track, part, error);
}

static int finish(void *user, int64_t *bytes, crocuta_error *error)
{
	state *s = user;
	int code = cr_track_finish(s->track, error);
	struct stat status;

	if (!code)
		code = cr_meta_write(s->meta, s->provenance, error);
	if (!code)
		code = cr_output_set_commit(s->set, error);
	*bytes = code || stat(cr_output_path(s->data), &status) ? -1 : status.st_size;
	return code;
}

static int64_t estimate(int64_t rows_total, int64_t columns, int half)
{
	(void)half;
	return rows_total * columns * 8;
}

const cr_writer_kind cr_writer_bw = {
	.name = "bw",
	.suffixes = " .bw .bigwig ",
	.tracks = 1,
	.binary = 1,
	.sorted = 1,
	.listed = 1,
	.sidecars = {".meta.json"},
	.bytes = estimate,
	.start = start,
	.rows = rows,
	.finish = finish,
	.free = free_state,
};
