/* engine_cpu_changes.c - sequences with many small changes, each computed from its first difference on.
 *
 * Everything before a change is shared with the sequence itself, in every layer (causality). From
 * there on, with dv the difference of the long convolution's inputs,
 *
 *   h * v_changed = h * v + h * dv     at the same positions, for substitutions and indels alike,
 *
 * so a change needs of the sequence the inputs and the ungated outputs of the convolution at its own
 * positions and two positions of history of the short filter. They are kept while the sequence is
 * computed. In block 0 dv ends two positions behind the last token that differs (the short filter's
 * reach): a few shifted copies of h instead of a transform.
 *
 * Short sequences are computed side by side, then all their changes, a thread each. A long sequence
 * goes through in chunks by all threads, and its changes follow as soon as their positions are done.
 */
#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/engine_cpu.h"

/* Kept rows of all sequences computed side by side, bytes. */
#define KEPT_BYTES ((int64_t)1 << 30)

/* Inputs of block 0 that change are answered line by line up to this many. */
#define RESPOND_LINES 8

/* A change this long and alone is worth a team of threads. */
#define TEAM_CHANGE 2048

/* The first positions of a sequence hold small values, which a transform's rounding would swamp. */
#define EARLY 256

/* ---- plan and memory ------------------------------------------------------------------------- */

static int64_t kept_bytes(const cr_cpu *s, int64_t rows)
{
	const int64_t lines = s->network->layers * s->packed.groups * cr_stride_for(rows);

	return 3 * cr_floats_bytes(lines) + cr_floats_bytes(rows * s->network->width) +
	       cr_floats_bytes(rows * s->network->vocabulary);
}

static int64_t ring_blocks(const cr_changes *c)
{
	return (c->length + c->hyena.plan.block - 1) / c->hyena.plan.block;
}

static int64_t worker_bytes(const cr_cpu *s, int teams)
{
	const cr_changes *c = &s->changes;
	const int64_t row = s->network->width + s->network->vocabulary;

	return cr_activations_bytes(s->packed.groups, c->length) +
	       cr_floats_bytes(s->packed.groups * 6 * CR_LINE) +
	       cr_floats_bytes(c->length * row) +
	       teams * (cr_tile_scratch_bytes(&s->packed) +
			cr_convolution_scratch_bytes(&c->hyena.plan, ring_blocks(c)));
}

int cr_changes_plan(cr_cpu *s, int64_t length, crocuta_error *error)
{
	cr_changes *c = &s->changes;
	int code;

	c->length = length;
	if (!length)
		return 0;
	code = cr_hyena_plan(&c->hyena, s->network, s->hyena.plan.kernels, length, 0,
			     CR_CONVOLUTION_FFT, 0, s->plan.threads, error);
	if (code)
		return code;
	if (c->hyena.shared) {
		cr_hyena_free(&c->hyena);
		return cr_fail(error, CROCUTA_EARG,
			       "changes of %lld tokens: their filters are too large to keep",
			       (long long)length);
	}
	c->slots = 1;
	c->kept_rows = s->short_rows;
	if (s->together.rows) {
		c->kept_rows = s->max_length;
		if (s->chunked && s->chunk_rows + length + 2 < c->kept_rows)
			c->kept_rows = s->chunk_rows + length + 2;
	} else {
		c->slots = KEPT_BYTES / kept_bytes(s, c->kept_rows);
		c->slots = c->slots < 1 ? 1 : c->slots;
		if (c->slots > 4 * (int64_t)s->plan.threads)
			c->slots = 4 * (int64_t)s->plan.threads;
	}
	s->plan.change_bytes = cr_hyena_filter_bytes(&c->hyena) +
			       cr_floats_bytes(s->packed.groups * length * CR_LINE) +
			       c->slots * kept_bytes(s, c->kept_rows) +
			       (s->plan.threads - 1) * worker_bytes(s, 1) +
			       worker_bytes(s, s->plan.threads);
	return 0;
}

/* The taps of block 0, [groups][T][32]. */
static int make_taps(cr_cpu *s, crocuta_error *error)
{
	cr_changes *c = &s->changes;
	const int64_t channels = s->packed.groups * CR_LINE, slice = 256;
	double *offsets = cr_calloc((size_t)slice, sizeof *offsets);
	double *values = cr_calloc((size_t)(slice * channels), sizeof *values);
	int code = 0;

	c->taps = cr_floats(channels * c->length);
	if (!offsets || !values || !c->taps)
		code = cr_fail(error, CROCUTA_EMEMORY, "out of memory for taps");
	for (int64_t start = 0; !code && start < c->length; start += slice) {
		const int64_t here = c->length - start < slice ? c->length - start : slice;

		for (int64_t t = 0; t < here; t++)
			offsets[t] = (double)(start + t);
		code = cr_implicit_filter_values(&c->hyena.implicit[0], offsets, here, values,
						 error);
		for (int64_t i = 0; !code && i < here * channels; i++) {
			const int64_t t = start + i / channels, channel = i % channels;

			c->taps[(channel / CR_LINE * c->length + t) * CR_LINE + channel % CR_LINE] =
				(float)values[i];
		}
	}
	cr_free(offsets);
	cr_free(values);
	return code;
}

static int alloc_kept(const cr_cpu *s, cr_kept_rows *k, int64_t rows, crocuta_error *error)
{
	const int64_t groups = s->packed.groups;

	k->capacity = rows;
	k->stride = cr_stride_for(rows);
	k->residual = cr_floats(s->network->layers * groups * k->stride);
	k->v = cr_floats(s->network->layers * groups * k->stride);
	k->y = cr_floats(s->network->layers * groups * k->stride);
	k->hidden = cr_floats(rows * s->network->width);
	k->logits = cr_floats(rows * s->network->vocabulary);
	if (k->residual && k->v && k->y && k->hidden && k->logits)
		return 0;
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for %lld kept rows", (long long)rows);
}

static int alloc_worker(const cr_cpu *s, cr_change_worker *w, int teams,
			crocuta_error *error)
{
	const cr_changes *c = &s->changes;
	const int64_t groups = s->packed.groups;
	int code = cr_activations_alloc(&w->act, groups, c->length, error);

	if (code)
		return code;
	w->teams = teams;
	w->history = cr_floats(groups * 6 * CR_LINE);
	w->hidden = cr_floats(c->length * s->network->width);
	w->logits = cr_floats(c->length * s->network->vocabulary);
	w->tile = cr_calloc((size_t)teams, sizeof *w->tile);
	w->convolution = cr_calloc((size_t)teams, sizeof *w->convolution);
	if (!w->history || !w->hidden || !w->logits || !w->tile || !w->convolution)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for changes of %lld tokens",
			       (long long)c->length);
	for (int i = 0; !code && i < teams; i++) {
		code = cr_tile_scratch_alloc(&s->packed, &w->tile[i], error);
		if (!code)
			code = cr_convolution_scratch_alloc(&c->hyena.plan, ring_blocks(c),
							    &w->convolution[i], error);
	}
	return code;
}

int cr_changes_alloc(cr_cpu *s, crocuta_error *error)
{
	cr_changes *c = &s->changes;
	int code;

	if (!c->length)
		return 0;
	c->kept = cr_calloc((size_t)c->slots, sizeof *c->kept);
	c->worker = cr_calloc((size_t)s->plan.threads, sizeof *c->worker);
	if (!c->kept || !c->worker)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for changes");
	code = cr_hyena_prepare(&c->hyena, s->plan.threads, error);
	if (!code)
		code = make_taps(s, error);
	for (int64_t i = 0; !code && i < c->slots; i++)
		code = alloc_kept(s, &c->kept[i], c->kept_rows, error);
	for (int i = 0; !code && i < s->plan.threads; i++)
		code = alloc_worker(s, &c->worker[i], i ? 1 : s->plan.threads, error);
	return code;
}

static void free_worker(cr_change_worker *w)
{
	for (int i = 0; w->tile && i < w->teams; i++)
		cr_tile_scratch_free(&w->tile[i]);
	for (int i = 0; w->convolution && i < w->teams; i++)
		cr_convolution_scratch_free(&w->convolution[i]);
	cr_activations_free(&w->act);
	cr_free(w->history);
	cr_free(w->hidden);
	cr_free(w->logits);
	cr_free(w->tile);
	cr_free(w->convolution);
}

void cr_changes_free(cr_cpu *s)
{
	cr_changes *c = &s->changes;

	for (int64_t i = 0; c->kept && i < c->slots; i++) {
		cr_free(c->kept[i].residual);
		cr_free(c->kept[i].v);
		cr_free(c->kept[i].y);
		cr_free(c->kept[i].hidden);
		cr_free(c->kept[i].logits);
	}
	for (int i = 0; c->worker && i < s->plan.threads; i++)
		free_worker(&c->worker[i]);
	cr_free(c->kept);
	cr_free(c->worker);
	cr_free(c->taps);
	if (c->hyena.network)
		cr_hyena_free(&c->hyena);
	memset(c, 0, sizeof *c);
}

/* ---- one change ------------------------------------------------------------------------------ */

static const float *kept_at(const cr_cpu *s, const cr_kept_rows *keep, const float *array,
			    int64_t layer, int64_t position)
{
	return array + layer * s->packed.groups * keep->stride + (position - keep->first) * CR_LINE;
}

/* dv at all positions of the change, in place of its own v. */
static void subtract_kept(const cr_cpu *s, const cr_kept_rows *keep, cr_change_worker *w,
			  int64_t layer, const crocuta_change *change)
{
	const float *kept = kept_at(s, keep, keep->v, layer, change->at);

	for (int64_t group = 0; group < s->packed.groups; group++) {
		float *v = w->act.v + group * w->act.stride;
		const float *other = kept + group * keep->stride;

		for (int64_t i = 0; i < change->length * CR_LINE; i++)
			v[i] -= other[i];
	}
}

/* gate * (h * v + h * dv) of block 0, whose dv is zero from row `count` on. */
static void respond(const cr_cpu *s, const cr_kept_rows *keep, cr_change_worker *w,
		    const crocuta_change *change, int64_t count)
{
	const cr_changes *c = &s->changes;
	const float *y = kept_at(s, keep, keep->y, 0, change->at);

	for (int64_t group = 0; group < s->packed.groups; group++) {
		float *gate = w->act.gate + group * w->act.stride;

		s->packed.kernels->respond(c->taps + group * c->length * CR_LINE,
					   w->act.v + group * w->act.stride, count,
					   y + group * keep->stride, gate, gate, change->length);
	}
}

static int mix(cr_cpu *s, const cr_kept_rows *keep, cr_change_worker *w, int64_t layer,
	       const crocuta_change *change, int64_t differing, int threads, crocuta_error *error)
{
	cr_changes *c = &s->changes;
	const cr_convolution_lines lines = {
		.v = w->act.v,
		.gate = w->act.gate,
		.stride = w->act.stride,
		.rows = change->length,
		.add = kept_at(s, keep, keep->y, layer, change->at),
		.add_stride = keep->stride,
		.skip_head = change->at >= EARLY,
	};
	const cr_convolution_filter *filter;
	int code;

	subtract_kept(s, keep, w, layer, change);
	if (layer == 0 && differing + 2 <= RESPOND_LINES) {
		respond(s, keep, w, change, differing + 2);
		return 0;
	}
	code = cr_hyena_filter(&c->hyena, layer, threads, &filter, error);
	if (!code)
		cr_convolution_run(&c->hyena.plan, filter, NULL, &lines, NULL, w->convolution,
				   threads);
	return code;
}

/* The history of the short filter in front of the change. */
static void enter(const cr_cpu *s, const cr_kept_rows *keep, cr_change_worker *w,
		  int64_t layer, const uint8_t *tokens, const crocuta_change *change)
{
	const int64_t before = change->at < 2 ? change->at : 2, from = change->at - before;

	cr_local_history(&s->packed, layer, tokens + from,
			 before && layer ? kept_at(s, keep, keep->residual, layer, from) : NULL,
			 keep->stride, before, w->history, w->tile);
}

/* Rows of the change into w->hidden and w->logits. */
static int run_change(cr_cpu *s, const cr_kept_rows *keep, cr_change_worker *w,
		      const uint8_t *tokens, const crocuta_change *change, int threads,
		      crocuta_error *error)
{
	const int64_t layers = s->network->layers;
	double start = cr_wall_seconds(), now;
	int64_t differing = change->length;

	while (differing && change->tokens[differing - 1] == tokens[change->at + differing - 1])
		differing--;
	for (int64_t i = 0; i <= layers; i++) {
		int code;

		if (i < layers)
			enter(s, keep, w, i, tokens, change);
		cr_local_pass(&s->packed, i, change->tokens, change->length, &w->act,
			      i < layers ? w->history : NULL, 0, w->tile, threads);
		now = cr_wall_seconds();
		w->times.local += now - start;
		start = now;
		if (i == layers)
			break;
		code = mix(s, keep, w, i, change, differing, threads, error);
		if (code)
			return code;
		now = cr_wall_seconds();
		w->times.mixing += now - start;
		start = now;
	}
	cr_local_output(&s->packed, &w->act, 0, change->length, 0, w->hidden, w->logits, w->tile,
			threads);
	w->times.head += cr_wall_seconds() - start;
	return 0;
}

/* ---- all changes ----------------------------------------------------------------------------- */

/* What the caller asked for, and how far it went wrong. */
typedef struct change_run {
	const crocuta_changed_sequence *sequences;
	crocuta_change_fn *rows;
	void *user;
	int code; /* of the first failure; read and written atomically */
	crocuta_error *error;
} change_run;

static int failed(const change_run *run)
{
	int code;

#pragma omp atomic read
	code = run->code;
	return code;
}

static void fail(change_run *run, int code, const char *message)
{
#pragma omp critical(cr_changes_error)
	if (!failed(run)) {
		cr_fail(run->error, code, "%s", message);
#pragma omp atomic write
		run->code = code;
	}
}

static void do_change(cr_cpu *s, change_run *run, const cr_kept_rows *keep,
		      int64_t sequence, int64_t change, cr_change_worker *w, int threads,
		      int on_caller)
{
	const crocuta_changed_sequence *q = &run->sequences[sequence];
	const crocuta_change *one = &q->changes[change];
	const int64_t row = one->at - keep->first, vocabulary = s->network->vocabulary;
	crocuta_error local = {0};
	int code;

	if (failed(run))
		return;
	code = run_change(s, keep, w, q->tokens, one, threads, &local);
	if (code) {
		fail(run, code, local.message);
		return;
	}
	code = run->rows(run->user,
			 &(crocuta_change_rows){
				 .sequence = sequence,
				 .change = change,
				 .count = one->length,
				 .before = one->at ? keep->logits + (row - 1) * vocabulary : NULL,
				 .hidden = w->hidden,
				 .logits = w->logits,
				 .reference_hidden = keep->hidden + row * s->network->width,
				 .reference_logits = keep->logits + row * vocabulary,
				 .on_caller = on_caller});
	if (code)
		fail(run, code, "stopped by the caller");
}

/* Changes [from, to) of one long sequence. */
static void do_ready(cr_cpu *s, change_run *run, int64_t sequence, int64_t from, int64_t to)
{
	const cr_kept_rows *keep = &s->changes.kept[0];
	const crocuta_change *changes = run->sequences[sequence].changes;

	if (to - from < s->plan.threads && from < to && changes[from].length >= TEAM_CHANGE) {
		for (int64_t i = from; i < to; i++)
			do_change(s, run, keep, sequence, i, &s->changes.worker[0],
				  s->plan.threads, 1);
		return;
	}
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->plan.threads) if (to - from > 1)
	for (int64_t i = from; i < to; i++)
		do_change(s, run, keep, sequence, i, &s->changes.worker[omp_get_thread_num()], 1,
			  omp_get_thread_num() == 0);
}

/* Rows of a sequence that its changes need, whole blocks so that a block's transform is the same
 * whatever the changes are. */
static int64_t rows_needed(const cr_cpu *s, const crocuta_changed_sequence *q)
{
	const int64_t block = s->hyena.plan.block;
	int64_t end = 0;

	for (int64_t i = 0; i < q->count; i++)
		if (q->changes[i].at + q->changes[i].length > end)
			end = q->changes[i].at + q->changes[i].length;
	end = (end + block - 1) / block * block;
	return end < q->length ? end : q->length;
}

/* First row whose results are wanted: the one in front of the first change. */
static int64_t first_wanted(const crocuta_changed_sequence *q)
{
	return q->count && q->changes[0].at ? q->changes[0].at - 1 : 0;
}

/* Make room for `rows` more, keeping what a change that ends in them can need. */
static void make_room(const cr_cpu *s, cr_kept_rows *k, int64_t rows)
{
	const int64_t keep = s->changes.length + 2, groups = s->network->layers * s->packed.groups;
	const int64_t shift = k->end - k->first - keep;

	if (k->end - k->first + rows <= k->capacity || shift <= 0)
		return;
	for (int64_t i = 0; i < groups; i++) {
		float *arrays[3] = {k->residual, k->v, k->y};

		for (int a = 0; a < 3; a++)
			memmove(arrays[a] + i * k->stride, arrays[a] + i * k->stride + shift * CR_LINE,
				(size_t)(keep * CR_LINE) * sizeof(float));
	}
	memmove(k->hidden, k->hidden + shift * s->network->width,
		(size_t)(keep * s->network->width) * sizeof(float));
	memmove(k->logits, k->logits + shift * s->network->vocabulary,
		(size_t)(keep * s->network->vocabulary) * sizeof(float));
	k->first += shift;
}

/* One long sequence by all threads. */
static void do_long(crocuta_session *session, change_run *run, int64_t index)
{
	cr_cpu *s = session->state;
	const crocuta_changed_sequence *q = &run->sequences[index];
	const int64_t rows = rows_needed(s, q), wanted = first_wanted(q);
	const int64_t chunk = s->chunked ? s->chunk_rows : rows;
	cr_kept_rows *keep = &s->changes.kept[0];
	int64_t done = 0;

	cr_cpu_stream_reset(session);
	keep->first = keep->end = 0;
	for (int64_t at = 0; at < rows && !failed(run); at += chunk) {
		const int64_t here = rows - at < chunk ? rows - at : chunk;
		const int64_t from = wanted <= at ? 0 : wanted < at + here ? wanted - at : here;
		crocuta_error local = {0};
		int64_t ready = done;
		int code;

		make_room(s, keep, here);
		code = cr_cpu_run_blocks(s, &s->together, q->tokens + at, here,
					     (int)s->network->layers, from,
					     s->chunked ? s->states : NULL, keep, &local);
		if (code) {
			fail(run, code, local.message);
			break;
		}
		while (ready < q->count &&
		       q->changes[ready].at + q->changes[ready].length <= keep->end)
			ready++;
		do_ready(s, run, index, done, ready);
		done = ready;
	}
	cr_cpu_stream_reset(session);
}

/* Short sequences [index, index + count), count <= slots: first themselves, then all their changes. */
static void do_short(cr_cpu *s, change_run *run, int64_t index, int64_t count)
{
	int64_t changes = 0;

#pragma omp parallel for schedule(dynamic, 1) num_threads(s->plan.threads) if (count > 1)
	for (int64_t i = 0; i < count; i++) {
		const crocuta_changed_sequence *q = &run->sequences[index + i];
		cr_worker *w = &s->alone[omp_get_thread_num()];
		cr_kept_rows *keep = &s->changes.kept[i];
		crocuta_error local = {0};
		int code;

		if (!q->count || failed(run))
			continue;
		keep->first = keep->end = 0;
		cr_cpu_forget_history(s, w);
		code = cr_cpu_run_blocks(s, w, q->tokens, rows_needed(s, q),
					     (int)s->network->layers, first_wanted(q), NULL, keep,
					     &local);
		if (code)
			fail(run, code, local.message);
	}
	for (int64_t i = 0; i < count; i++)
		changes += run->sequences[index + i].count;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->plan.threads) if (changes > 1)
	for (int64_t i = 0; i < changes; i++) {
		int64_t slot = 0, change = i;

		for (; change >= run->sequences[index + slot].count; slot++)
			change -= run->sequences[index + slot].count;
		do_change(s, run, &s->changes.kept[slot], index + slot, change,
			  &s->changes.worker[omp_get_thread_num()], 1, omp_get_thread_num() == 0);
	}
}

/* ---- the call -------------------------------------------------------------------------------- */

int cr_cpu_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
		   int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error)
{
	cr_cpu *s = session->state;
	crocuta_error own = {0};
	change_run run = {.sequences = sequences, .rows = rows, .user = user,
			  .error = error ? error : &own};

	for (int64_t i = 0; i < count && !run.code;) {
		const int64_t left = count - i;
		int64_t together = left < s->changes.slots ? left : s->changes.slots;

		if (s->together.rows) {
			together = 1;
			if (sequences[i].count)
				do_long(session, &run, i);
		} else {
			do_short(s, &run, i, together);
		}
		i += together;
	}
	return run.code;
}
