/* writer_text.c - tsv and bedgraph, plain or bgzip, one file each with provenance in `##` lines. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/table.h"
#include "io/track.h"
#include "task/provenance.h"
#include "task/writer.h"

#define DIGITS 7 /* of a float32, so that reading it back differs by less than one in 10^6 */

typedef struct state {
	cr_output *output;
	cr_track *track; /* NULL: tsv */
	int64_t columns;
} state;

static void free_state(void *user)
{
	state *s = user;

	if (!s)
		return;
	cr_track_free(s->track);
	cr_output_free(s->output);
	cr_free(s);
}

static int open_output(const cr_writer_options *options, void **out, crocuta_error *error)
{
	cr_output_options how = options->output;
	state *s = cr_calloc(1, sizeof *s);

	*out = s;
	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for the output");
	s->columns = options->columns;
	how.bytes_needed = options->bytes;
	how.bgzf = cr_output_is_bgzf_name(options->path);
	return cr_output_open(options->path, &how, &s->output, error);
}

static int start_tsv(const cr_writer_options *options, void **out, crocuta_error *error)
{
	int code = open_output(options, out, error);
	state *s = *out;

	if (!code)
		code = cr_provenance_print(s->output, "crocuta", options->provenance, error);
	if (!code && options->shard)
		code = cr_shard_print(options->shard, s->output, error);
	return code ? code : cr_table_header(s->output, options->columns, error);
}

static int start_bedgraph(const cr_writer_options *options, void **out, crocuta_error *error)
{
	int code = open_output(options, out, error);
	state *s = *out;

	if (!code)
		code = cr_provenance_print(s->output, "crocuta", options->provenance, error);
	if (!code && options->shard)
		code = cr_shard_print(options->shard, s->output, error);
	return code ? code
		    : cr_track_start_bedgraph(s->output, options->contigs, DIGITS, &s->track,
					      error);
}

static int rows_tsv(void *user, const cr_job_rows *part, crocuta_error *error)
{
	state *s = user;
	const cr_job *job = part->job;
	cr_row row = {.contig = job->contig, .name = job->name, .strand = job->strand};
	int code = 0;

	for (int64_t i = 0; i < part->count && !code; i++) {
		const float *values = part->values + i * part->columns;

		row.start = part->start + i * job->bin;
		row.end = job->end - row.start < job->bin ? job->end : row.start + job->bin;
		if (values[0] == values[0]) /* NaN: a track without a value here */
			code = cr_table_row(s->output, &row, values, part->columns, DIGITS, error);
	}
	return code;
}

static int rows_bedgraph(void *user, const cr_job_rows *part, crocuta_error *error)
{
	state *s = user;

	return cr_writer_add_track(s->track, part, error);
}

static int finish(void *user, int64_t *bytes, crocuta_error *error)
{
	state *s = user;
	int code = s->track ? cr_track_finish(s->track, error) : 0;

	*bytes = cr_output_bytes(s->output);
	return code ? code : cr_output_commit(s->output, error);
}

static int64_t estimate_tsv(int64_t rows_total, int64_t columns, int half)
{
	(void)half;
	return rows_total * (columns * 11 + 32);
}

static int64_t estimate_bedgraph(int64_t rows_total, int64_t columns, int half)
{
	(void)half;
	return rows_total * columns * 36;
}

const cr_writer_kind cr_writer_tsv = {
	.name = "tsv",
	.suffixes = " .tsv .txt .tab ",
	.vectors = 1,
	.tracks = 1,
	.bytes = estimate_tsv,
	.start = start_tsv,
	.rows = rows_tsv,
	.finish = finish,
	.free = free_state,
};

const cr_writer_kind cr_writer_bedgraph = {
	.name = "bedgraph",
	.suffixes = " .bedgraph .bdg .bg ",
	.tracks = 1,
	.sorted = 1,
	.bytes = estimate_bedgraph,
	.start = start_bedgraph,
	.rows = rows_bedgraph,
	.finish = finish,
	.free = free_state,
};
