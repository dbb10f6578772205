/* engine_cpu_setup.c - plan and memory of a session on the CPU. */
#include <string.h>

#include <crocuta/device.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "model/engine_cpu.h"

/* ---- activations ----------------------------------------------------------------------------- */

int64_t cr_activations_bytes(int64_t groups, int64_t rows)
{
	return 3 * cr_floats_bytes(groups * cr_stride_for(rows));
}

int cr_activations_alloc(cr_activations *a, int64_t groups, int64_t rows, crocuta_error *error)
{
	a->stride = cr_stride_for(rows);
	a->residual = cr_floats(groups * a->stride);
	a->v = cr_floats(groups * a->stride);
	a->gate = cr_floats(groups * a->stride);
	if (a->residual && a->v && a->gate)
		return 0;
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for %lld rows of activations",
		       (long long)rows);
}

void cr_activations_free(cr_activations *a)
{
	cr_free(a->residual);
	cr_free(a->v);
	cr_free(a->gate);
}

/* ---- the plan -------------------------------------------------------------------------------- */

static int64_t worker_bytes(const cr_cpu *s, int64_t rows, int threads, int own_state)
{
	const cr_convolution_plan *c = &s->hyena.plan;
	const int64_t groups = cr_lines(s->network->width), blocks = (rows + c->block - 1) / c->block;
	const int64_t ring = c->rank || (s->chunked && !own_state) ? 0 : blocks;
	int64_t bytes;

	if (!rows)
		return 0;
	bytes = cr_activations_bytes(groups, rows) +
		cr_floats_bytes(s->network->layers * groups * 6 * CR_LINE) +
		cr_floats_bytes(cr_convolution_far_floats(c, blocks));
	bytes += threads * (cr_tile_scratch_bytes(&s->packed) +
			    cr_convolution_scratch_bytes(c, ring));
	return bytes + (own_state && c->rank ? cr_convolution_state_bytes(c) : 0);
}

static void plan_memory(cr_cpu *s, const crocuta_session_options *o)
{
	const int64_t row_bytes = 4 * (s->network->width + s->network->vocabulary);
	crocuta_plan *p = &s->plan;
	int64_t results;

	p->batch = o->batch ? o->batch : 4 * (int64_t)p->threads;
	p->batch = !s->short_rows ? 1 : p->batch < 1 << 20 ? p->batch : 1 << 20;
	while (p->batch > 1 && p->batch * s->short_rows * row_bytes > (int64_t)256 << 20)
		p->batch = (p->batch + 1) / 2;
	results = p->batch * s->short_rows;
	results = results > CR_OUTPUT_ROWS ? results : CR_OUTPUT_ROWS;
	p->weight_bytes = cr_packed_network_bytes(s->network);
	p->filter_bytes = cr_hyena_filter_bytes(&s->hyena);
	p->workspace_bytes = worker_bytes(s, s->together.rows, p->threads, 0) +
			     p->threads * worker_bytes(s, s->short_rows, 1, 1) +
			     results * row_bytes;
	p->state_bytes = s->chunked ? s->network->layers *
					      cr_convolution_state_bytes(&s->hyena.plan)
				    : 0;
	p->total_bytes = p->weight_bytes + p->filter_bytes + p->workspace_bytes + p->state_bytes;
}

static void plan_rows(cr_cpu *s)
{
	s->chunked = s->hyena.plan.rank || s->stream;
	s->chunk_rows = CR_CHUNK_BLOCKS * s->hyena.plan.block;
	s->short_rows = s->max_length < CR_SHORT_ROWS ? s->max_length : CR_SHORT_ROWS;
	if (s->hyena.plan.rank && s->short_rows > s->chunk_rows)
		s->short_rows = s->chunk_rows;
	/* one filter for all blocks: sequences cannot be at different ones; and a stream's session
	 * has only one sequence to work on */
	if (s->hyena.shared || s->stream)
		s->short_rows = 0;
	if (s->chunked)
		s->together.rows = s->stream || s->max_length > s->short_rows ? s->chunk_rows : 0;
	else
		s->together.rows = s->max_length > s->short_rows ? s->max_length : 0;
}

int cr_cpu_open(crocuta_session *session, const crocuta_session_options *o, crocuta_error *error)
{
	const cr_kernels *kernels = cr_kernels_get(o->isa);
	cr_cpu *s = cr_calloc(1, sizeof *s);
	int code;

	session->state = s;
	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	if (!kernels)
		return cr_fail(error, CROCUTA_EARG,
			       "kernel set %s: unknown or not supported by this processor; it has %s",
			       o->isa, cr_kernels_get(NULL)->isa);
	s->network = session->network;
	s->plan.threads = o->threads ? o->threads : crocuta_default_threads();
	s->plan.isa = kernels->isa;
	s->max_length = session->max_length;
	s->stream = session->stream;
	code = cr_threads_probe(s->plan.threads, error);
	if (!code)
		code = cr_hyena_plan(&s->hyena, s->network, kernels, s->max_length, s->stream,
				     o->convolution, o->memory_limit / 2, s->plan.threads, error);
	if (code)
		return code;
	s->packed.groups = cr_lines(s->network->width);
	s->packed.tile = cr_tile_rows(kernels);
	s->plan.convolution = s->hyena.plan.rank ? "nearfar" : "fft";
	s->plan.block = s->hyena.plan.block;
	s->plan.far_rank = s->hyena.plan.rank;
	s->plan.certificate_error = s->hyena.certificate;
	s->plan.stream_context = s->stream ? s->hyena.plan.reach * s->hyena.plan.block + 1 : 0;
	plan_rows(s);
	plan_memory(s, o);
	code = cr_changes_plan(s, session->change_length, error);
	s->plan.total_bytes += s->plan.change_bytes;
	session->plan = s->plan;
	return code;
}

/* ---- the session ----------------------------------------------------------------------------- */

static void free_worker(cr_worker *w)
{
	cr_activations_free(&w->act);
	cr_free(w->history);
	cr_free(w->far);
	for (int i = 0; w->tile && i < w->threads; i++)
		cr_tile_scratch_free(&w->tile[i]);
	for (int i = 0; w->convolution && i < w->threads; i++)
		cr_convolution_scratch_free(&w->convolution[i]);
	if (w->state)
		cr_convolution_state_free(w->state);
	cr_free(w->tile);
	cr_free(w->convolution);
	cr_free(w->state);
}

static int alloc_worker(const cr_cpu *s, cr_worker *w, int64_t rows, int threads,
			int own_state, crocuta_error *error)
{
	const cr_convolution_plan *c = &s->hyena.plan;
	const int64_t groups = s->packed.groups, blocks = (rows + c->block - 1) / c->block;
	const int64_t ring = c->rank || (s->chunked && !own_state) ? 0 : blocks;
	int code = cr_activations_alloc(&w->act, groups, rows, error);

	if (code)
		return code;
	w->threads = threads;
	w->rows = rows;
	w->history = cr_floats(s->network->layers * groups * 6 * CR_LINE);
	w->far = cr_floats(cr_convolution_far_floats(c, blocks));
	w->tile = cr_calloc((size_t)threads, sizeof *w->tile);
	w->convolution = cr_calloc((size_t)threads, sizeof *w->convolution);
	if (!w->history || !w->far || !w->tile || !w->convolution)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a worker's scratch");
	for (int i = 0; !code && i < threads; i++) {
		code = cr_tile_scratch_alloc(&s->packed, &w->tile[i], error);
		if (!code)
			code = cr_convolution_scratch_alloc(c, ring, &w->convolution[i], error);
	}
	if (!code && own_state && c->rank) {
		w->state = cr_calloc(1, sizeof *w->state);
		if (!w->state)
			return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
		code = cr_convolution_state_alloc(c, w->state, error);
	}
	return code;
}

static int alloc_session(cr_cpu *s, crocuta_error *error)
{
	const int64_t layers = s->network->layers;
	int64_t results = s->plan.batch * s->short_rows;
	int code = 0;

	results = results > CR_OUTPUT_ROWS ? results : CR_OUTPUT_ROWS;
	s->hidden = cr_floats(results * s->network->width);
	s->logits = cr_floats(results * s->network->vocabulary);
	s->alone = cr_calloc((size_t)s->plan.threads, sizeof *s->alone);
	s->pending = cr_calloc((size_t)(s->stream ? s->chunk_rows : 1), 1);
	if (!s->hidden || !s->logits || !s->alone || !s->pending)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for results");
	for (int i = 0; !code && s->short_rows && i < s->plan.threads; i++)
		code = alloc_worker(s, &s->alone[i], s->short_rows, 1, 1, error);
	if (!code && s->together.rows)
		code = alloc_worker(s, &s->together, s->together.rows, s->plan.threads, 0, error);
	else if (!code)
		s->together.history = cr_floats(layers * s->packed.groups * 6 * CR_LINE);
	if (!code && !s->together.history)
		code = cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	if (!code && s->chunked) {
		s->states = cr_calloc((size_t)layers, sizeof *s->states);
		if (!s->states)
			return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
		for (int64_t i = 0; !code && i < layers; i++)
			code = cr_convolution_state_alloc(&s->hyena.plan, &s->states[i], error);
	}
	return code;
}

int cr_cpu_prepare(crocuta_session *session, crocuta_error *error)
{
	cr_cpu *s = session->state;
	double start = cr_wall_seconds();
	int code = cr_packed_network_init(s->network, s->hyena.plan.kernels, &s->packed, error);

	if (!code)
		code = cr_hyena_prepare(&s->hyena, s->plan.threads, error);
	if (!code)
		code = alloc_session(s, error);
	if (!code)
		code = cr_changes_alloc(s, error);
	s->prepare_seconds = cr_wall_seconds() - start;
	return code;
}

void cr_cpu_close(crocuta_session *session)
{
	cr_cpu *s = session->state;

	if (!s)
		return;
	for (int i = 0; s->alone && i < s->plan.threads; i++)
		free_worker(&s->alone[i]);
	free_worker(&s->together);
	cr_changes_free(s);
	for (int64_t i = 0; s->states && i < s->network->layers; i++)
		cr_convolution_state_free(&s->states[i]);
	cr_free(s->alone);
	cr_free(s->states);
	cr_free(s->pending);
	cr_free(s->hidden);
	cr_free(s->logits);
	cr_hyena_free(&s->hyena);
	if (s->packed.block)
		cr_packed_network_free(&s->packed);
	cr_free(s);
	session->state = NULL;
}
