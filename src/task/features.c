/* features.c - see features.h. A sequence becomes a job of the passes in coordinates of its own, read
 * in its own direction; its rows are put together to one vector. */
#include "task/features.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "model/head.h"
#include "seq/alphabet.h"

#define LENGTH_LEAST 1024 /* planning for less saves nothing */

struct cr_feature_stream {
	cr_feature_options options;
	crocuta_session_options session_options;
	cr_passes_options passes_options;
	crocuta_session *session;
	cr_passes *passes;
	int64_t shortest;  /* sequence that the form takes */
	int64_t columns;   /* of a part */
	float *vector;     /* (F) being put together; the sink's */
	int64_t n_bases;   /* of it */
};

int64_t cr_feature_length(const crocuta_model *model, const cr_feature_options *options)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	int64_t length = LENGTH_LEAST;

	if (options->length)
		return options->length;
	while (length < options->longest && length < info->usable_length)
		length *= 2;
	return options->longest ? cr_smaller(length, info->usable_length) : info->usable_length;
}

/* What crosses into the passes: a mean stands for the sum, the last of one base for the first. */
static int pool_of(const crocuta_feature_form *form)
{
	switch (form->pool) {
	case CROCUTA_HEAD_LAST:
	case CROCUTA_HEAD_FIRST:
		return CR_POOL_LAST;
	case CROCUTA_HEAD_MAX:
		return CR_POOL_MAX;
	default:
		return CR_POOL_MEAN;
	}
}

static int check_form(const cr_feature_options *options, const crocuta_model_info *info,
		      crocuta_error *error)
{
	const crocuta_feature_form *form = &options->form;

	if (form->layer < 0 || form->layer > info->layers || form->parts < 1 ||
	    form->parts > CROCUTA_HEAD_PARTS_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "layer %d or %d parts: the model has %lld blocks, and there are 1 to "
			       "%d parts",
			       form->layer, form->parts, (long long)info->layers,
			       CROCUTA_HEAD_PARTS_MAX);
	if (form->parts > 1 &&
	    (form->specials || form->pool == CROCUTA_HEAD_FIRST || form->pool == CROCUTA_HEAD_SUM))
		return cr_fail(error, CROCUTA_EARG,
			       "several parts go with mean, last and max and without special tokens");
	if (form->pool == CROCUTA_HEAD_FIRST &&
	    (form->strands != CROCUTA_STRANDS_FORWARD || form->specials >= CROCUTA_SPECIALS_MODEL))
		return cr_fail(error, CROCUTA_EARG,
			       "the first base's vector is of the forward strand and no special token");
	if (options->length > info->max_length)
		return cr_fail(error, CROCUTA_EARG, "length %lld: the model reads at most %lld tokens",
			       (long long)options->length, (long long)info->max_length);
	return CROCUTA_OK;
}

static int settle(cr_feature_stream *stream, const crocuta_model *model,
		  const cr_feature_options *options, crocuta_error *error)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const crocuta_feature_form *form = &options->form;
	cr_passes_options *p = &stream->passes_options;
	int code = check_form(options, info, error);

	if (code)
		return code;
	stream->options = *options;
	stream->shortest = cr_head_shortest(form);
	stream->columns = cr_head_features(form, info->width) / form->parts;
	p->tokens.softmask_n = options->softmask_n;
	p->tokens.n_as_pad = options->n_as_pad;
	code = cr_passes_use_model(p, model, form->specials, error);
	if (code)
		return code;
	p->window = cr_smaller(cr_feature_length(model, options), info->max_length - p->cls - p->sep);
	p->overlap = p->window / 4;
	p->strands = form->strands;
	p->pool = pool_of(form);
	p->layer = form->layer;
	p->longest_rows = form->parts;
	p->smallest_bin = form->parts > 1 ? form->parts : INT64_MAX;
	stream->session_options = *options->session;
	stream->session_options.stream = 0;
	stream->session_options.log = options->log;
	stream->session_options.user = options->log_user;
	stream->session_options.max_length = p->window + p->cls + p->sep;
	return CROCUTA_OK;
}

/* A GPU's rows would wait for the bus; a row of parts is never less than `parts` bases long. */
static void choose_pooled(cr_feature_stream *stream, const crocuta_plan *plan)
{
	const int parts = stream->options.form.parts;

	stream->passes_options.pooled = !strcmp(plan->device, "cuda") &&
					(parts == 1 || parts >= CR_PASSES_POOLED_BIN);
}

int cr_feature_plan(const crocuta_model *model, const cr_feature_options *options,
		    crocuta_plan *plan, int64_t *bytes, crocuta_error *error)
{
	cr_feature_stream stream = {0};
	int code = settle(&stream, model, options, error);

	if (!code)
		code = crocuta_session_plan(model, &stream.session_options, plan, error);
	if (code)
		return code;
	choose_pooled(&stream, plan);
	*bytes = plan->total_bytes + cr_passes_bytes(&stream.passes_options, plan);
	return CROCUTA_OK;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* Bases [start, end) of the item in its own direction. */
static int fetch_oriented(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const cr_feature_item *item = user;
	int code;

	if (item->strand != '-')
		return item->fetch(item->user, item->start + start, item->start + end, out, error);
	code = item->fetch(item->user, item->end - end, item->end - start, out, error);
	if (!code)
		cr_bases_reverse_complement(out, end - start);
	return code;
}

/* The item that a job was made of, without its bases. */
static cr_feature_item item_of(const cr_job *job)
{
	return (cr_feature_item){.contig = job->contig,
				 .name = job->name,
				 .strand = job->strand,
				 .start = job->origin,
				 .end = job->origin + job->contig_length,
				 .tag = job->tag};
}

static int64_t known_rows(void *user, const cr_job *job, crocuta_error *error)
{
	const cr_feature_stream *stream = user;
	const cr_feature_item item = item_of(job);
	int known = stream->options.known(stream->options.user, &item, error);

	return known < 0 ? known : known ? (job->end - job->start - 1) / job->bin + 1 : 0;
}

static cr_job job_of(const cr_feature_stream *stream, const cr_feature_item *item)
{
	const crocuta_feature_form *form = &stream->options.form;
	const int64_t length =
		form->pool == CROCUTA_HEAD_FIRST ? 1 : item->end - item->start;
	cr_job job = {.contig = item->contig,
		      .name = item->name,
		      .strand = item->strand,
		      .contig_index = -1,
		      .contig_length = item->end - item->start,
		      .end = length,
		      .bin = (length - 1) / form->parts + 1,
		      .origin = item->start,
		      .tag = item->tag,
		      .fetch = fetch_oriented,
		      .user = (void *)(uintptr_t)item};

	return job;
}

void cr_feature_count(const crocuta_model *model, const cr_feature_options *options,
		      const crocuta_plan *plan, int64_t bases, int64_t *windows, int64_t *tokens)
{
	const cr_feature_item item = {.contig = "", .end = bases};
	cr_feature_stream stream = {0};
	cr_job job;

	*windows = *tokens = 0;
	if (settle(&stream, model, options, NULL))
		return;
	job = job_of(&stream, &item);
	cr_passes_count(&stream.passes_options, plan, &job, windows, tokens);
}

/* Of FIRST, the job is one base long, but its contig is the item. */
static int take_rows(void *user, const cr_job_rows *rows, crocuta_error *error)
{
	cr_feature_stream *stream = user;
	const crocuta_feature_form *form = &stream->options.form;
	const cr_job *job = rows->job;
	const int64_t part = (rows->start - job->start) / job->bin;
	const int64_t count = rows->count * stream->columns;
	float *out = stream->vector + part * stream->columns;
	cr_feature_item item = item_of(job);

	if (!part)
		stream->n_bases = 0;
	memcpy(out, rows->values, (size_t)count * sizeof *out);
	for (int64_t i = 0; i < rows->count; i++)
		stream->n_bases += rows->n_bases[i];
	if (part + rows->count < form->parts)
		return CROCUTA_OK;
	if (form->pool == CROCUTA_HEAD_SUM) {
		const cr_passes_options *p = &stream->passes_options;
		const int64_t vectors = job->end + (p->pool_specials ? p->cls + p->sep : 0);

		for (int64_t i = 0; i < stream->columns; i++)
			out[i] = (float)((double)out[i] * (double)vectors);
	}
	item.mark = rows->mark;
	return stream->options.sink(stream->options.user, &item, stream->vector, stream->n_bases,
				    error);
}

static int poll_caller(void *user, int64_t tokens_done, const char *contig)
{
	cr_feature_stream *stream = user;

	return stream->options.poll ? stream->options.poll(stream->options.user, tokens_done, contig)
				    : 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

int cr_feature_stream_new(const crocuta_model *model, const cr_feature_options *options,
			  cr_feature_stream **out, crocuta_error *error)
{
	cr_feature_stream *stream = cr_calloc(1, sizeof *stream);
	int code;

	*out = NULL;
	if (!stream)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for features");
	code = settle(stream, model, options, error);
	if (!code)
		stream->vector = cr_calloc((size_t)(stream->columns * options->form.parts),
					   sizeof *stream->vector);
	if (!code && !stream->vector)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for features");
	if (!code)
		code = crocuta_session_new(model, &stream->session_options, &stream->session, error);
	if (!code) {
		choose_pooled(stream, crocuta_session_get_plan(stream->session));
		stream->passes_options.sink = take_rows;
		stream->passes_options.poll = poll_caller;
		stream->passes_options.user = stream;
		stream->passes_options.marked = options->marked;
		stream->passes_options.expected = options->expected;
		stream->passes_options.known = options->known ? known_rows : NULL;
		code = cr_passes_new(&stream->passes_options, stream->session, &stream->passes,
				     error);
	}
	if (code)
		cr_feature_stream_free(stream);
	else
		*out = stream;
	return code;
}

int cr_feature_stream_add(cr_feature_stream *stream, const cr_feature_item *item,
			  crocuta_error *error)
{
	const int64_t length = item->end - item->start;
	cr_job job;

	if (length < stream->shortest)
		return cr_fail(error, CROCUTA_EINPUT,
			       "\"%.100s\" has %lld bases where the head, which cuts a sequence into "
			       "%d parts, needs %lld",
			       item->name && *item->name ? item->name : item->contig,
			       (long long)length, stream->options.form.parts,
			       (long long)stream->shortest);
	job = job_of(stream, item);
	return cr_passes_add(stream->passes, &job, error);
}

int cr_feature_stream_finish(cr_feature_stream *stream, crocuta_error *error)
{
	return cr_passes_finish(stream->passes, error);
}

cr_passes_counts cr_feature_stream_counts(const cr_feature_stream *stream)
{
	return cr_passes_get_counts(stream->passes);
}

const crocuta_plan *cr_feature_stream_plan(const cr_feature_stream *stream)
{
	return crocuta_session_get_plan(stream->session);
}

void cr_feature_stream_times(cr_feature_stream *stream, crocuta_stage_times *times)
{
	crocuta_session_get_times(stream->session, times, 0);
}

void cr_feature_stream_free(cr_feature_stream *stream)
{
	if (!stream)
		return;
	cr_passes_free(stream->passes); /* whose thread uses the vector */
	crocuta_session_free(stream->session);
	cr_free(stream->vector);
	cr_free(stream);
}
