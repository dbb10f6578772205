/* session_setup.c - options, plan and memory of a session. */
#include <string.h>

#include <crocuta/device.h>

#include "backend/ref/reference_forward.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "model/network.h"
#include "model/session_internal.h"

void crocuta_session_options_init(crocuta_session_options *options)
{
	memset(options, 0, sizeof *options);
	options->device = "auto";
}

/* ---- the plan -------------------------------------------------------------------------------- */

static int64_t worker_bytes(const crocuta_session *s, int64_t rows, int threads, int own_state)
{
	const cr_convolution_plan *c = &s->hyena.plan;
	const int64_t groups = cr_lines(s->network->width), blocks = (rows + c->block - 1) / c->block;
	const int64_t ring = c->rank || (s->chunked && !own_state) ? 0 : blocks;
	int64_t bytes;

	if (!rows)
		return 0;
	bytes = 3 * cr_floats_bytes(groups * cr_stride_for(rows)) +
		cr_floats_bytes(s->network->layers * groups * 6 * CR_LINE) +
		cr_floats_bytes(cr_convolution_far_floats(c, blocks));
	bytes += threads * (cr_tile_scratch_bytes(&s->packed) +
			    cr_convolution_scratch_bytes(c, ring));
	return bytes + (own_state && c->rank ? cr_convolution_state_bytes(c) : 0);
}

static int check_options(const crocuta_session_options *o, const cr_network *network,
			 const cr_kernels **kernels, crocuta_error *error)
{
	const char *device = o->device ? o->device : "auto";

	if (!strncmp(device, "cuda", 4))
		return cr_fail(error, CROCUTA_EDEVICE,
			       "device %s: this build has no CUDA backend; use --device cpu",
			       device);
	if (strcmp(device, "auto") && strcmp(device, "cpu") && strcmp(device, "reference"))
		return cr_fail(error, CROCUTA_EARG, "device %s: give auto or cpu", device);
	if (o->threads < 0 || o->threads > 4096)
		return cr_fail(error, CROCUTA_EARG, "%d threads: give 1 to 4096", o->threads);
	if (o->max_length < 0 || o->max_length > network->max_length)
		return cr_fail(error, CROCUTA_EARG,
			       "length %lld: the model takes 1 to %lld tokens at a time",
			       (long long)o->max_length, (long long)network->max_length);
	if (o->convolution < CROCUTA_CONVOLUTION_AUTO ||
	    o->convolution > CROCUTA_CONVOLUTION_NEARFAR)
		return cr_fail(error, CROCUTA_EARG, "convolution %d is not one of enum "
			       "crocuta_convolution", o->convolution);
	if (o->batch < 0)
		return cr_fail(error, CROCUTA_EARG, "batch %lld is negative", (long long)o->batch);
	*kernels = cr_kernels_get(o->isa);
	if (!*kernels)
		return cr_fail(error, CROCUTA_EARG,
			       "kernel set %s: unknown or not supported by this processor; it has %s",
			       o->isa, cr_kernels_get(NULL)->isa);
	return 0;
}

static void plan_memory(crocuta_session *s, const crocuta_session_options *o)
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

/* Everything but the allocations. On failure nothing is left to free. */
static int plan_session(crocuta_session *s, const crocuta_model *model,
			const crocuta_session_options *given, crocuta_error *error)
{
	crocuta_session_options o;
	const cr_kernels *kernels;
	int code;

	crocuta_session_options_init(&o);
	if (given)
		o = *given;
	memset(s, 0, sizeof *s);
	s->network = cr_model_network(model);
	code = check_options(&o, s->network, &kernels, error);
	if (code)
		return code;
	s->plan.threads = o.threads ? o.threads : crocuta_default_threads();
	s->max_length = o.max_length ? o.max_length : s->network->max_length;
	s->stream = o.stream != 0;
	s->reference = o.device && !strcmp(o.device, "reference");
	s->plan.isa = s->reference ? "reference" : kernels->isa;
	s->plan.convolution = "direct";
	if (o.change_length && o.stream)
		return cr_fail(error, CROCUTA_EARG, "a stream's session takes no changes");
	if (o.change_length < 0 || o.change_length > s->max_length ||
	    o.change_length > CROCUTA_CHANGE_LENGTH_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "changes of %lld tokens: give 0 to %d, and no more than the "
			       "sequences, %lld",
			       (long long)o.change_length, CROCUTA_CHANGE_LENGTH_MAX,
			       (long long)s->max_length);
	s->changes.length = o.change_length;
	if (s->reference)
		return 0;
	code = cr_threads_probe(s->plan.threads, error);
	if (code)
		return code;
	code = cr_hyena_plan(&s->hyena, s->network, kernels, s->max_length, s->stream,
			     o.convolution, o.memory_limit / 2, s->plan.threads, error);
	if (code)
		return code;
	s->packed.groups = cr_lines(s->network->width);
	s->packed.tile = cr_tile_rows(kernels);
	s->plan.convolution = s->hyena.plan.rank ? "nearfar" : "fft";
	s->plan.block = s->hyena.plan.block;
	s->plan.far_rank = s->hyena.plan.rank;
	s->plan.certificate_error = s->hyena.certificate;
	s->plan.stream_context = s->stream ? s->hyena.plan.reach * s->hyena.plan.block + 1 : 0;
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
	plan_memory(s, &o);
	code = cr_changes_plan(s, o.change_length, error);
	if (code) {
		cr_hyena_free(&s->hyena);
		return code;
	}
	s->plan.total_bytes += s->plan.change_bytes;
	if (o.memory_limit > 0 && s->plan.total_bytes > o.memory_limit) {
		code = cr_fail(error, CROCUTA_EMEMORY,
			       "needs %.1f MB (weights %.1f, filters %.1f, workspace %.1f, carried "
			       "state %.1f, changes %.1f), the limit is %.1f MB; try a shorter --window or raise "
			       "--max-mem",
			       (double)s->plan.total_bytes / 1e6, (double)s->plan.weight_bytes / 1e6,
			       (double)s->plan.filter_bytes / 1e6,
			       (double)s->plan.workspace_bytes / 1e6,
			       (double)s->plan.state_bytes / 1e6,
			       (double)s->plan.change_bytes / 1e6, (double)o.memory_limit / 1e6);
		cr_changes_free(s);
		cr_hyena_free(&s->hyena);
	}
	return code;
}

int crocuta_session_plan(const crocuta_model *model, const crocuta_session_options *options,
			 crocuta_plan *plan, crocuta_error *error)
{
	crocuta_session *s = cr_calloc(1, sizeof *s);
	int code;

	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	code = plan_session(s, model, options, error);
	if (!code) {
		*plan = s->plan;
		cr_changes_free(s);
		cr_hyena_free(&s->hyena);
	}
	cr_free(s);
	return code;
}

/* ---- the session ----------------------------------------------------------------------------- */

static void free_worker(cr_worker *w)
{
	cr_free(w->act.residual);
	cr_free(w->act.v);
	cr_free(w->act.gate);
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

static int alloc_worker(const crocuta_session *s, cr_worker *w, int64_t rows, int threads,
			int own_state, crocuta_error *error)
{
	const cr_convolution_plan *c = &s->hyena.plan;
	const int64_t groups = s->packed.groups, blocks = (rows + c->block - 1) / c->block;
	const int64_t ring = c->rank || (s->chunked && !own_state) ? 0 : blocks;
	int code = 0;

	w->threads = threads;
	w->rows = rows;
	w->act.stride = cr_stride_for(rows);
	w->act.residual = cr_floats(groups * w->act.stride);
	w->act.v = cr_floats(groups * w->act.stride);
	w->act.gate = cr_floats(groups * w->act.stride);
	w->history = cr_floats(s->network->layers * groups * 6 * CR_LINE);
	w->far = cr_floats(cr_convolution_far_floats(c, blocks));
	w->tile = cr_calloc((size_t)threads, sizeof *w->tile);
	w->convolution = cr_calloc((size_t)threads, sizeof *w->convolution);
	if (!w->act.residual || !w->act.v || !w->act.gate || !w->history || !w->far || !w->tile ||
	    !w->convolution)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for %lld rows of activations",
			       (long long)rows);
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

static int alloc_session(crocuta_session *s, crocuta_error *error)
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

static int alloc_reference(crocuta_session *s, crocuta_error *error)
{
	s->hidden = cr_floats(s->max_length * s->network->width);
	s->logits = cr_floats(s->max_length * s->network->vocabulary);
	if (!s->hidden || !s->logits)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for results");
	return 0;
}

int crocuta_session_new(const crocuta_model *model, const crocuta_session_options *options,
			crocuta_session **session, crocuta_error *error)
{
	crocuta_session *s = cr_calloc(1, sizeof *s);
	double start = cr_wall_seconds();
	int code;

	*session = NULL;
	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	code = plan_session(s, model, options, error);
	if (code) {
		cr_free(s);
		return code;
	}
	if (s->reference) {
		code = alloc_reference(s, error);
	} else {
		const cr_kernels *kernels = s->hyena.plan.kernels;

		code = cr_packed_network_init(s->network, kernels, &s->packed, error);
		if (!code)
			code = cr_hyena_prepare(&s->hyena, s->plan.threads, error);
		if (!code)
			code = alloc_session(s, error);
		if (!code)
			code = cr_changes_alloc(s, error);
	}
	s->prepare_seconds = cr_wall_seconds() - start;
	if (code) {
		crocuta_session_free(s);
		return code;
	}
	*session = s;
	return 0;
}

void crocuta_session_free(crocuta_session *s)
{
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
	if (!s->reference) {
		cr_hyena_free(&s->hyena);
		if (s->packed.block)
			cr_packed_network_free(&s->packed);
	}
	cr_free(s);
}

int cr_session_run_reference(crocuta_session *s, const crocuta_sequence *sequences, int64_t count,
			     int layer, const crocuta_request *request, crocuta_error *error)
{
	int code = 0;

	for (int64_t i = 0; !code && i < count; i++) {
		const crocuta_sequence *q = &sequences[i];

		code = cr_reference_forward(s->network, q->tokens, q->length, layer,
					    request->want_hidden ? s->hidden : NULL,
					    request->want_logits ? s->logits : NULL, error);
		if (!code && q->report_from < q->length)
			code = request->rows(request->user, i, q->report_from,
					     q->length - q->report_from,
					     request->want_hidden ? s->hidden + q->report_from *
										     s->network->width
								  : NULL,
					     request->want_logits
						     ? s->logits + q->report_from *
									   s->network->vocabulary
						     : NULL);
	}
	return code;
}
