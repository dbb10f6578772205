/* engine_cpu.c - sequences and streams through a network on the CPU.
 *
 * Two ways of using threads, with the same bytes: short sequences go side by side, one thread each,
 * through all blocks; a long one is worked on by all threads together, chunk by chunk where the
 * convolution carries state, else as a whole.
 */
#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/engine_cpu.h"

/* Rows as lines from one place to another, channel block by channel block. */
static void copy_lines(float *to, int64_t to_stride, const float *from, int64_t from_stride,
		       int64_t groups, int64_t rows)
{
	for (int64_t group = 0; group < groups; group++)
		memcpy(to + group * to_stride, from + group * from_stride,
		       (size_t)(rows * CR_LINE) * sizeof *to);
}

/* Where position keep->end of block `layer` stands in one of the kept arrays. */
static float *kept_lines(const cr_cpu *s, const cr_kept_rows *keep, float *array,
			 int64_t layer)
{
	return array + layer * s->packed.groups * keep->stride +
	       (keep->end - keep->first) * CR_LINE;
}

static void keep_inputs(const cr_cpu *s, const cr_worker *w, const cr_kept_rows *keep,
			int64_t layer, int64_t rows)
{
	copy_lines(kept_lines(s, keep, keep->v, layer), keep->stride, w->act.v, w->act.stride,
		   s->packed.groups, rows);
	if (layer > 0)
		copy_lines(kept_lines(s, keep, keep->residual, layer), keep->stride,
			   w->act.residual, w->act.stride, s->packed.groups, rows);
}

/* The results of rows [from, rows) behind the last pass. */
static void keep_results(cr_cpu *s, cr_worker *w, cr_kept_rows *keep, int64_t from,
			 int64_t rows)
{
	const int64_t at = keep->end - keep->first + from;
	double start = cr_wall_seconds();

	if (from < rows)
		cr_local_output(&s->packed, &w->act, from, rows - from, 0,
				keep->hidden + at * s->network->width,
				keep->logits + at * s->network->vocabulary, w->tile, w->threads);
	keep->end += rows;
	w->times.head += cr_wall_seconds() - start;
}

int cr_cpu_run_blocks(cr_cpu *s, cr_worker *w, const uint8_t *tokens, int64_t rows,
			  int layer, int64_t head_from, cr_convolution_state *states,
			  cr_kept_rows *keep, crocuta_error *error)
{
	const int64_t history = s->packed.groups * 6 * CR_LINE;
	double start = cr_wall_seconds(), now;

	for (int64_t i = 0; i <= layer; i++) {
		cr_convolution_lines lines = {.v = w->act.v,
					      .gate = w->act.gate,
					      .stride = w->act.stride,
					      .rows = rows};
		const cr_convolution_filter *filter;
		cr_convolution_state *state = states ? &states[i] : w->state;
		int code;

		cr_local_pass(&s->packed, i, tokens, rows, &w->act,
			      i < layer ? w->history + i * history : NULL, head_from, w->tile,
			      w->threads);
		now = cr_wall_seconds();
		w->times.local += now - start;
		start = now;
		if (i == layer)
			break;
		code = cr_hyena_filter(&s->hyena, i, w->threads, &filter, error);
		if (code)
			return code;
		now = cr_wall_seconds();
		w->times.prepare += now - start;
		start = now;
		if (keep) {
			keep_inputs(s, w, keep, i, rows);
			lines.plain = kept_lines(s, keep, keep->y, i);
			lines.plain_stride = keep->stride;
		}
		if (!states && state)
			cr_convolution_state_reset(&s->hyena.plan, state);
		cr_convolution_run(&s->hyena.plan, filter, state, &lines, w->far, w->convolution,
				   w->threads);
		now = cr_wall_seconds();
		w->times.mixing += now - start;
		start = now;
	}
	if (keep)
		keep_results(s, w, keep, head_from, rows);
	return 0;
}

void cr_cpu_forget_history(const cr_cpu *s, cr_worker *w)
{
	memset(w->history, 0,
	       (size_t)(s->network->layers * s->packed.groups * 6 * CR_LINE) * sizeof *w->history);
}

/* Hand over rows [from, rows) of a worker's finished chunk, which starts at position `first`. */
static int hand_over(cr_cpu *s, cr_worker *w, int64_t sequence, int64_t first,
		     int64_t from, int64_t rows, int layer, const crocuta_request *request,
		     crocuta_error *error)
{
	for (int64_t row = from; row < rows; row += CR_OUTPUT_ROWS) {
		const int64_t count = rows - row < CR_OUTPUT_ROWS ? rows - row : CR_OUTPUT_ROWS;
		float *hidden = request->want_hidden ? s->hidden : NULL;
		float *logits = request->want_logits ? s->logits : NULL;
		double start = cr_wall_seconds();
		int code;

		cr_local_output(&s->packed, &w->act, row, count, layer < s->network->layers, hidden,
				logits, w->tile, w->threads);
		w->times.head += cr_wall_seconds() - start;
		code = request->rows(request->user, sequence, first + row, count, hidden, logits);
		if (code)
			return cr_fail(error, code, "stopped by the caller");
	}
	return 0;
}

/* One chunk of the stream in progress. */
static int run_chunk(cr_cpu *s, int64_t sequence, const uint8_t *tokens, int64_t rows,
		     int64_t report_from, int layer, const crocuta_request *request,
		     crocuta_error *error)
{
	cr_worker *w = &s->together;
	const int64_t first = s->position;
	int64_t from = report_from - first;
	int code;

	from = from < 0 ? 0 : from > rows ? rows : from;
	code = cr_cpu_run_blocks(s, w, tokens, rows, layer, from, s->states, NULL, error);
	if (!code)
		code = hand_over(s, w, sequence, first, from, rows, layer, request, error);
	s->position += rows;
	return code;
}

static int run_long(crocuta_session *session, int64_t index, const crocuta_sequence *sequence,
		    int layer, const crocuta_request *request, crocuta_error *error)
{
	cr_cpu *s = session->state;
	int code = 0;

	cr_cpu_stream_reset(session);
	if (!s->chunked) {
		code = cr_cpu_run_blocks(s, &s->together, sequence->tokens, sequence->length,
					     layer, sequence->report_from, NULL, NULL, error);
		return code ? code
			    : hand_over(s, &s->together, index, 0, sequence->report_from,
					sequence->length, layer, request, error);
	}
	for (int64_t at = 0; !code && at < sequence->length; at += s->chunk_rows) {
		const int64_t left = sequence->length - at;

		code = run_chunk(s, index, sequence->tokens + at,
				 left < s->chunk_rows ? left : s->chunk_rows, sequence->report_from,
				 layer, request, error);
	}
	cr_cpu_stream_reset(session);
	return code;
}

/* Up to s->batch short sequences side by side, results into s->hidden and s->logits. */
static int run_side_by_side(cr_cpu *s, int64_t index, const crocuta_sequence *sequences,
			    int64_t count, int layer, const crocuta_request *request,
			    crocuta_error *error)
{
	const int64_t width = s->network->width, vocabulary = s->network->vocabulary;
	const int raw = layer < s->network->layers;
	int64_t rows = 0;
	int code = 0;

	for (int64_t i = 0; i < count; i++)
		rows += sequences[i].length;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->plan.threads)                         \
	if (count > 1 && rows >= CR_TEAM_ROWS)
	for (int64_t i = 0; i < count; i++) {
		const crocuta_sequence *q = &sequences[i];
		cr_worker *w = &s->alone[omp_get_thread_num()];
		float *hidden = request->want_hidden
					? s->hidden + i * s->short_rows * width
					: NULL;
		float *logits = request->want_logits
					? s->logits + i * s->short_rows * vocabulary
					: NULL;
		crocuta_error local = {0};
		double start;
		int result;

		cr_cpu_forget_history(s, w);
		result = cr_cpu_run_blocks(s, w, q->tokens, q->length, layer, q->report_from,
					       NULL, NULL, &local);
		if (result) {
#pragma omp critical(cr_session_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
			continue;
		}
		start = cr_wall_seconds();
		cr_local_output(&s->packed, &w->act, q->report_from, q->length - q->report_from,
				raw, hidden, logits, w->tile, 1);
		w->times.head += cr_wall_seconds() - start;
	}
	for (int64_t i = 0; !code && i < count; i++) {
		const crocuta_sequence *q = &sequences[i];

		if (q->report_from == q->length)
			continue;
		code = request->rows(request->user, index + i, q->report_from,
				     q->length - q->report_from,
				     request->want_hidden ? s->hidden + i * s->short_rows * width
							  : NULL,
				     request->want_logits
					     ? s->logits + i * s->short_rows * vocabulary
					     : NULL);
		if (code)
			return cr_fail(error, code, "stopped by the caller");
	}
	return code;
}

static int cpu_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		   int layer, const crocuta_request *request, crocuta_error *error)
{
	cr_cpu *s = session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < count;) {
		int64_t together = 0;

		while (i + together < count && together < s->plan.batch &&
		       sequences[i + together].length <= s->short_rows)
			together++;
		if (together) {
			code = run_side_by_side(s, i, sequences + i, together, layer, request,
						error);
			i += together;
		} else {
			code = run_long(session, i, &sequences[i], layer, request, error);
			i++;
		}
	}
	return code;
}

void cr_cpu_stream_reset(crocuta_session *session)
{
	cr_cpu *s = session->state;

	s->position = 0;
	s->pending_count = 0;
	cr_cpu_forget_history(s, &s->together);
	for (int64_t i = 0; s->states && i < s->network->layers; i++)
		cr_convolution_state_reset(&s->hyena.plan, &s->states[i]);
}

static int cpu_stream(crocuta_session *session, const uint8_t *tokens, int64_t count, int last,
		      int layer, const crocuta_request *request, crocuta_error *error)
{
	cr_cpu *s = session->state;
	int code = 0;

	while (!code && (count > 0 || (last && s->pending_count > 0))) {
		int64_t take = s->chunk_rows - s->pending_count;

		take = take < count ? take : count;
		if (take > 0) {
			memcpy(s->pending + s->pending_count, tokens, (size_t)take);
			s->pending_count += take;
			tokens += take;
			count -= take;
		}
		if (s->pending_count < s->chunk_rows && !(last && count == 0))
			break;
		code = run_chunk(s, 0, s->pending, s->pending_count, 0, layer, request, error);
		s->pending_count = 0;
	}
	return code;
}

static void add_times(crocuta_stage_times *sum, crocuta_stage_times *part, double share, int reset)
{
	sum->local += part->local * share;
	sum->mixing += part->mixing * share;
	sum->head += part->head * share;
	if (reset)
		memset(part, 0, sizeof *part);
}

static void cpu_times(crocuta_session *session, crocuta_stage_times *times, int reset)
{
	cr_cpu *s = session->state;
	const double share = 1.0 / s->plan.threads;

	*times = s->together.times;
	times->prepare += s->prepare_seconds;
	if (reset)
		memset(&s->together.times, 0, sizeof s->together.times);
	for (int i = 0; i < s->plan.threads; i++) {
		if (s->alone)
			add_times(times, &s->alone[i].times, share, reset);
		if (s->changes.worker)
			add_times(times, &s->changes.worker[i].times, share, reset);
	}
}

static int cpu_automatic(const crocuta_session_options *options)
{
	return options->dtype == CROCUTA_DTYPE_F32;
}

const cr_engine cr_engine_cpu = {
	.name = "cpu",
	.automatic = cpu_automatic,
	.open = cr_cpu_open,
	.prepare = cr_cpu_prepare,
	.close = cr_cpu_close,
	.run = cpu_run,
	.stream = cpu_stream,
	.stream_reset = cr_cpu_stream_reset,
	.changes = cr_cpu_changes,
	.times = cpu_times,
};
