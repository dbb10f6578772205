/* engine_stack.c - stacks on the CPU, and in double by the reference: plan, make, run. */
#include "model/engine_stack.h"

#include <stdlib.h>
#include <string.h>

#include <crocuta/device.h>

#include "backend/cpu/kernels.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"

/* Rows of a chunk. CPU: enough for packed weights to be used often; reference: small, so that its
 * tests go over several chunks. */
#define CPU_CHUNK 1024
#define REFERENCE_CHUNK 256

/* Of a device: rows and weights of a product as the kernels want them; of each of its threads. */
#define CPU_SCRATCH ((int64_t)32 << 20)
#define CPU_THREAD_SCRATCH ((int64_t)3 << 20)

/* Queries, keys and values at a time. */
#define GROUP_BYTES ((int64_t)2 << 30)

/* ---- plan ------------------------------------------------------------------------------------ */

/* "cpu" is one rank, "cpu:P" with --parallel sequence P of them. */
static int parse_ranks(const char *device, int sequence, int *ranks, crocuta_error *error)
{
	const char *colon = device ? strchr(device, ':') : NULL;
	char *end;
	long value;

	*ranks = 1;
	if (!colon)
		return 0;
	value = strtol(colon + 1, &end, 10);
	if (*end || end == colon + 1 || value < 1 || value > CR_RANKS_MAX || !sequence)
		return cr_fail(
			error, CROCUTA_EARG,
			"--device %.40s: a number behind the colon is how many ranks share a "
			"sequence, 1 to %d, and needs --parallel sequence",
			device, CR_RANKS_MAX);
	*ranks = (int)value;
	return 0;
}

static int has_implicit_filters(const cr_stack *stack)
{
	for (int64_t i = 0; i < stack->layers; i++)
		if (stack->layer[i].mixer == CR_MIXER_IMPLICIT)
			return 1;
	return 0;
}

int cr_stack_plan(crocuta_session *session, const crocuta_session_options *options,
		  crocuta_error *error)
{
	const cr_stack_state *s = session->state;

	if (options->stream)
		return cr_fail(error, CROCUTA_EARG, "--stream: %s; use --window and --overlap",
			       session->network->stack
				       ? "this model's attention sees a whole window"
				       : "ranks share whole windows (--parallel sequence)");
	if (options->change_length)
		return cr_fail(error, CROCUTA_EARG,
			       "%s cannot share a window between alleles; whole windows can be "
			       "computed for each (--no-reuse)",
			       session->network->stack ? "this model"
						       : "ranks (--parallel sequence)");
	if (options->convolution != CROCUTA_CONVOLUTION_AUTO && !has_implicit_filters(s->stack))
		return cr_fail(
			error, CROCUTA_EARG,
			"--conv: this model has no convolution that it could be said of; leave it "
			"out");
	if (!s->filters.hyena.network && has_implicit_filters(s->stack))
		return cr_fail(error, CROCUTA_EDEVICE,
			       "HyenaDNA's filter in a model with attention is computed on the CPU "
			       "only; use --device cpu");
	cr_stack_count_bytes(session);
	return 0;
}

/* The host holds all weights, whatever the devices do. */
static int64_t host_weights(const cr_stack_state *s)
{
	cr_rank_options options = s->options;

	options.copied = 1;
	options.spread = 0;
	return cr_rank_plan(s->stack, &options).weights;
}

void cr_stack_count_bytes(crocuta_session *session)
{
	cr_stack_state *s = session->state;
	crocuta_plan *p = &session->plan;
	cr_rank_bytes bytes;

	s->options.max_length = session->max_length;
	bytes = cr_rank_plan(s->stack, &s->options);
	p->ranks = s->options.ranks;
	p->rank_bytes = bytes.weights + bytes.sequence + bytes.workspace + s->device_bytes;
	p->weight_bytes = host_weights(s);
	p->batch = p->gather = 1;
	if (!p->convolution)
		p->convolution = "direct";
	p->workspace_bytes = 4 * s->options.chunk * (s->stack->width + s->stack->vocabulary);
	if (s->options.copied) {
		p->device_bytes = p->rank_bytes * p->ranks;
		p->devices = p->ranks;
	} else {
		p->workspace_bytes += p->rank_bytes * p->ranks;
	}
	p->total_bytes = p->weight_bytes + p->workspace_bytes + p->filter_bytes;
}

cr_stack_state *cr_stack_make_state(crocuta_session *session, const cr_stack_ops *ops,
				    crocuta_error *error)
{
	cr_stack_state *s = session->state = cr_calloc(1, sizeof *s);

	if (!s) {
		(void)cr_fail(error, CROCUTA_EMEMORY, "out of memory for a session");
		return NULL;
	}
	s->ops = ops;
	s->sha256 = session->sha256;
	s->stack = session->network->stack;
	s->options.group_bytes = GROUP_BYTES;
	if (!s->stack) {
		if (cr_stack_of_network(session->network, &s->own, error))
			return NULL;
		s->stack = &s->own;
	}
	return s;
}

/* HyenaDNA's filters: their form decides where sequences may be cut. */
static int plan_implicit(crocuta_session *session, const crocuta_session_options *options,
			 const cr_kernels *kernels, int threads, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	crocuta_plan *p = &session->plan;
	cr_hyena *h = &s->filters.hyena;
	int code;

	if (!has_implicit_filters(s->stack))
		return 0;
	code = cr_implicit_filters_open(&s->filters, s->stack, kernels, session->max_length,
					options->convolution, options->memory_limit / 2, threads,
					error);
	if (code)
		return code;
	s->options.block = h->plan.rank ? h->plan.block : 0;
	p->convolution = h->plan.rank ? "nearfar" : "fft";
	p->block = h->plan.block;
	p->far_rank = h->plan.rank;
	p->certificate_error = h->plan.rank ? h->certificate : 0;
	p->filter_bytes = cr_hyena_filter_bytes(h);
	s->device_bytes +=
		cr_implicit_bytes(&s->filters, s->options.ranks, session->max_length, s->threads);
	return 0;
}

static int open_cpu(crocuta_session *session, const crocuta_session_options *options,
		    crocuta_error *error)
{
	const int total = options->threads ? options->threads : crocuta_default_threads();
	const cr_kernels *kernels = cr_kernels_get(options->isa);
	cr_stack_state *s = cr_stack_make_state(session, &cr_stack_ops_cpu, error);
	int code;

	if (!s)
		return CROCUTA_EMEMORY;
	if (!kernels)
		return cr_fail(error, CROCUTA_EARG,
			       "isa \"%.40s\": unknown, or this processor lacks it", options->isa);
	code = parse_ranks(options->device, options->parallel == CROCUTA_PARALLEL_SEQUENCE,
			   &s->options.ranks, error);
	if (code)
		return code;
	s->here = s->options.ranks;
	s->isa = options->isa ? kernels->isa : NULL;
	s->options.chunk = CPU_CHUNK;
	s->options.activation = s->options.residual = CR_NUMBER_F32;
	s->threads = total > s->options.ranks ? total / s->options.ranks : 1;
	s->device_bytes = CPU_SCRATCH + CPU_THREAD_SCRATCH * (int64_t)s->threads;
	session->plan.threads = total;
	session->plan.isa = kernels->isa;
	session->plan.dtype = "f32";
	code = cr_threads_probe(total + s->options.ranks, error);
	if (!code)
		code = plan_implicit(session, options, kernels, total, error);
	return code ? code : cr_stack_plan(session, options, error);
}

static int open_reference(crocuta_session *session, const crocuta_session_options *options,
			  crocuta_error *error)
{
	cr_stack_state *s = cr_stack_make_state(session, &cr_stack_ops_reference, error);

	if (!s)
		return CROCUTA_EMEMORY;
	s->options.ranks = s->here = 1;
	s->options.chunk = REFERENCE_CHUNK;
	s->options.activation = s->options.residual = CR_NUMBER_F64;
	s->threads = session->plan.threads = 1;
	session->plan.isa = "reference";
	session->plan.dtype = "f64";
	return cr_stack_plan(session, options, error);
}

/* ---- run ------------------------------------------------------------------------------------- */

void cr_stack_times(crocuta_session *session, crocuta_stage_times *times, int reset)
{
	cr_stack_state *s = session->state;
	cr_rank *rank = s->worker ? &s->worker[0].rank : NULL;

	*times = (crocuta_stage_times){.prepare = s->prepare_seconds};
	if (!rank)
		return;
	times->local = rank->local_seconds;
	times->mixing = rank->mixing_seconds;
	times->head = rank->head_seconds;
	if (reset)
		rank->local_seconds = rank->mixing_seconds = rank->head_seconds = 0;
}

static int always(const crocuta_session_options *options)
{
	(void)options;
	return 1;
}

const cr_engine cr_engine_stack_cpu = {
	.name = "cpu",
	.stacks = 1,
	.automatic = always,
	.open = open_cpu,
	.prepare = cr_stack_prepare,
	.close = cr_stack_close,
	.run = cr_stack_run,
	.times = cr_stack_times,
};

const cr_engine cr_engine_stack_reference = {
	.name = "reference",
	.stacks = 1,
	.open = open_reference,
	.prepare = cr_stack_prepare,
	.close = cr_stack_close,
	.run = cr_stack_run,
	.times = cr_stack_times,
};
