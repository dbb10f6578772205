/* implicit_setup.c - filters of the layers that have HyenaDNA's, and a rank's memory for them. */
#include "mixer/implicit.h"

#include <string.h>

#include "backend/stack.h"
#include "base/error.h"
#include "base/memory.h"
#include "comm/zigzag.h"

/* ---- filters --------------------------------------------------------------------------------- */

/* The layers with such a filter, as the blocks of a network: what cr_hyena wants to see. */
static int list_filters(cr_implicit_filters *f, const cr_stack *stack, crocuta_error *error)
{
	cr_network *n = &f->network;

	*n = (cr_network){.width = stack->width,
			  .max_length = stack->max_length,
			  .filter_order = stack->filter_order,
			  .features = stack->features,
			  .filter_inner = stack->filter_inner,
			  .filter_shift = stack->filter_shift};
	f->filter_of = cr_calloc((size_t)stack->layers, sizeof *f->filter_of);
	n->block = cr_calloc((size_t)stack->layers, sizeof *n->block);
	if (!f->filter_of || !n->block)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for filters");
	for (int64_t i = 0; i < stack->layers; i++) {
		if (stack->layer[i].mixer != CR_MIXER_IMPLICIT)
			continue;
		f->filter_of[i] = n->layers;
		n->block[n->layers++].filter = stack->layer[i].filter;
	}
	return 0;
}

int cr_implicit_filters_open(cr_implicit_filters *f, const cr_stack *stack,
			     const cr_kernels *kernels, int64_t max_length, int choice,
			     int64_t filter_limit, int threads, crocuta_error *error)
{
	int code = list_filters(f, stack, error);

	if (!code && f->network.layers)
		code = cr_hyena_plan(&f->hyena, &f->network, kernels, max_length, 0, choice,
				     filter_limit, threads, error);
	/* a filter that is rebuilt for each layer would be one for all ranks */
	if (!code && f->hyena.shared)
		code = cr_fail(
			error, CROCUTA_EMEMORY,
			"the filters of %lld layers take too much memory at this length; try a "
			"shorter --window",
			(long long)f->network.layers);
	return code;
}

void cr_implicit_filters_close(cr_implicit_filters *f)
{
	if (f->hyena.network)
		cr_hyena_free(&f->hyena);
	cr_free(f->filter_of);
	cr_free(f->network.block);
	memset(f, 0, sizeof *f);
}

/* ---- a rank ---------------------------------------------------------------------------------- */

/* Floats of each array; 0: not needed. */
typedef struct amounts {
	int64_t stride, blocks, lines, far, moments, edge, exchange, ring;
} amounts;

static amounts amounts_of(const cr_hyena *h, int ranks, int64_t max_length)
{
	const cr_convolution_plan *plan = &h->plan;
	const cr_zigzag z = cr_zigzag_of(max_length, ranks, plan->rank ? plan->block : 0);
	const int64_t width = h->network->width, rows = plan->rank ? z.step : max_length;
	amounts a = {.blocks = (z.step + plan->block - 1) / plan->block};

	a.stride = ((plan->rank && rows < plan->block ? plan->block : rows) + 23) / 8 * 8 * CR_LINE;
	a.lines = plan->groups * a.stride;
	if (!plan->rank) {
		a.ring = (max_length + plan->block - 1) / plan->block;
		if (ranks > 1) /* all channels of few rows, or few channels of all rows */
			a.exchange = max_length * width;
		return a;
	}
	a.far = cr_convolution_far_floats(plan, a.blocks > plan->chunk ? plan->chunk : a.blocks);
	a.moments = 2 * plan->groups * a.blocks * plan->rank * CR_LINE;
	a.edge = 2 * plan->block * width;
	return a;
}

int64_t cr_implicit_bytes(const cr_implicit_filters *filters, int ranks, int64_t max_length,
			  int threads)
{
	const cr_convolution_plan *plan = &filters->hyena.plan;
	const amounts a = amounts_of(&filters->hyena, ranks, max_length);

	return 4 * (2 * a.lines + a.far + (1 + ranks) * (a.moments + a.edge) + 2 * a.exchange) +
	       (plan->rank ? cr_convolution_state_bytes(plan) : 0) +
	       threads * cr_convolution_scratch_bytes(plan, a.ring);
}

int cr_implicit_open(cr_implicit_rank *m, cr_implicit_filters *filters, int ranks,
		     int64_t max_length, int threads, crocuta_error *error)
{
	const cr_convolution_plan *plan = &filters->hyena.plan;
	const amounts a = amounts_of(&filters->hyena, ranks, max_length);
	int code = 0;

	m->filters = filters;
	m->threads = threads;
	m->stride = a.stride;
	m->blocks = a.blocks;
	m->v = cr_floats(a.lines);
	m->gate = cr_floats(a.lines);
	m->far = cr_floats(a.far);
	m->moments = cr_floats(a.moments);
	m->all_moments = cr_floats(ranks * a.moments);
	m->edge = cr_floats(a.edge);
	m->edges = cr_floats(ranks * a.edge);
	m->sent = cr_floats(a.exchange);
	m->received = cr_floats(a.exchange);
	m->scratch = cr_calloc((size_t)threads, sizeof *m->scratch);
	if (!m->v || !m->gate || !m->far || !m->moments || !m->all_moments || !m->edge ||
	    !m->edges || !m->sent || !m->received || !m->scratch)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the long filter");
	if (plan->rank)
		code = cr_convolution_state_alloc(plan, &m->state, error);
	for (int t = 0; !code && t < threads; t++)
		code = cr_convolution_scratch_alloc(plan, a.ring, &m->scratch[t], error);
	return code;
}

void cr_implicit_close(cr_implicit_rank *m)
{
	for (int t = 0; m->scratch && t < m->threads; t++)
		cr_convolution_scratch_free(&m->scratch[t]);
	cr_convolution_state_free(&m->state);
	cr_free(m->scratch);
	cr_free(m->v);
	cr_free(m->gate);
	cr_free(m->far);
	cr_free(m->moments);
	cr_free(m->all_moments);
	cr_free(m->edge);
	cr_free(m->edges);
	cr_free(m->sent);
	cr_free(m->received);
	memset(m, 0, sizeof *m);
}
