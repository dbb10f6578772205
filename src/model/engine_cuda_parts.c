/* engine_cuda_parts.c - sequences that the GPUs of a session share: one thread and one rank for each GPU.
 *
 * All ranks compute their parts of one sequence, queue the results, and only when these are on the
 * host go on to the next: else a rank could wait for one whose results wait for this one's.
 *
 * A rank that begins a sequence commits all others to it, whatever fails meanwhile (but for a
 * device's failure, which ends the connection): so all ranks always make the same calls.
 */
#include "model/engine_cuda_parts.h"

#include <stdio.h>
#include <string.h>

#include "backend/cuda/parts.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "comm/comm.h"
#include "comm/comm_nccl.h"
#include "model/engine_cuda_run.h"

struct cr_gpu_parts {
	cr_gpus *gpus;
	int count;
	cr_comm **comm; /* (count) */
	int nccl;       /* they are NCCL's */
	pthread_mutex_t lock;
	int failed; /* under the lock, as is: */
	char why[400];
};

/* ---- what can be shared ---------------------------------------------------------------------- */

int cr_gpu_parts_check(const crocuta_session *session, const crocuta_session_options *o,
		       int64_t length, crocuta_error *error)
{
	const crocuta_plan *p = &session->plan;

	if (session->change_length)
		return cr_fail(error, CROCUTA_EARG,
			       "GPUs that share a sequence (--parallel sequence) compute no changes "
			       "to it; use --no-reuse, one GPU or --parallel batch");
	if (length <= CR_CUDA_DIRECT_MAX || p->block)
		return 0;
	if (o->convolution == CROCUTA_CONVOLUTION_FFT)
		return cr_fail(error, CROCUTA_EARG,
			       "--parallel sequence on GPUs needs the near/far form of the long "
			       "convolution, and --conv fft is the other one");
	return cr_fail(error, CROCUTA_EMODEL,
		       "--parallel sequence on GPUs needs the near/far form, which is not certified "
		       "for this model at %lld positions (interpolation error %.2g of the largest "
		       "tap); use one GPU or --parallel batch",
		       (long long)length, p->certificate_error);
}

/* ---- connection ------------------------------------------------------------------------------ */

/* For ranks that are threads and whose memory is a GPU's. */
static int copy_to_rank(void *user, int target, void *to, int source, const void *from,
			int64_t bytes, crocuta_error *error)
{
	const cr_gpu_parts *p = user;

	(void)source;
	return cr_cuda_copy(p->gpus->gpu[target].cuda, to, from, bytes, error);
}

static int settle_rank(void *user, int rank, crocuta_error *error)
{
	const cr_gpu_parts *p = user;

	return cr_cuda_settle(p->gpus->gpu[rank].cuda, error);
}

static int connect_threads(cr_gpu_parts *p, crocuta_error *error)
{
	const cr_comm_memory memory = {.copy = copy_to_rank, .ready = settle_rank, .user = p};

	return cr_comm_threads(p->count, &memory, p->comm, error);
}

typedef struct connecting {
	cr_gpu_parts *parts;
	const unsigned char *id; /* of the group */
	int rank;
	pthread_t thread;
	int started, code;
	crocuta_error error;
} connecting;

static void *connect_rank(void *user)
{
	connecting *c = user;
	const cr_gpu *gpu = &c->parts->gpus->gpu[c->rank];

	c->code = cr_comm_nccl(c->parts->count, c->rank, c->id, gpu->options.device,
			       cr_cuda_queue(gpu->cuda), &c->parts->comm[c->rank], &c->error);
	return NULL;
}

/* All ranks at once, for each waits for the others. */
static int connect_nccl(cr_gpu_parts *p, const unsigned char *id, crocuta_error *error)
{
	connecting *c = cr_calloc((size_t)p->count, sizeof *c);
	int started = 1, code = 0;

	if (!c)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (int i = 0; i < p->count; i++)
		c[i] = (connecting){.parts = p, .id = id, .rank = i};
	for (int i = 0; i < p->count && started; i++)
		started = c[i].started = !pthread_create(&c[i].thread, NULL, connect_rank, &c[i]);
	if (!started) {
		code = cr_fail(error, CROCUTA_EMEMORY, "cannot start %d threads, one for each GPU",
			       p->count);
		cr_comm_nccl_fail(id, "a thread is missing");
	}
	p->nccl = 1;
	for (int i = 0; i < p->count; i++) {
		if (!c[i].started)
			continue;
		pthread_join(c[i].thread, NULL);
		if (c[i].code && !code)
			code = cr_fail(error, c[i].code, "%s", c[i].error.message);
	}
	cr_free(c);
	return code;
}

/* NCCL wants a GPU for each rank. Where it is missing, threads copy from GPU to GPU. */
static int connect_ranks(cr_gpu_parts *p, crocuta_error *error)
{
	const cr_gpus *gpus = p->gpus;
	unsigned char id[CR_NCCL_ID_BYTES];
	crocuta_error missing = {0};
	char line[sizeof missing.message + 100];
	int distinct = 1;

	for (int i = 0; i < p->count; i++)
		for (int k = 0; k < i; k++)
			distinct &= gpus->gpu[i].options.device != gpus->gpu[k].options.device;
	if (!distinct)
		return connect_threads(p, error);
	if (!cr_comm_nccl_id(id, &missing))
		return connect_nccl(p, id, error);
	if (gpus->log) {
		snprintf(line, sizeof line,
			 "the GPUs exchange by copies, which are slower than NCCL: %s",
			 missing.message);
		gpus->log(gpus->log_user, CROCUTA_LOG_WARNING, line);
	}
	return connect_threads(p, error);
}

/* ---- first pass ------------------------------------------------------------------------------ */

static int finish_and_wait(const cr_gpu *gpu, crocuta_error *error)
{
	const int code = cr_cuda_finish(gpu->cuda, 0, error);
	const int result = code ? code : cr_cuda_wait(gpu->cuda, 0, error);

	return result == CROCUTA_ENUMERIC ? 0 : result; /* nobody wants these rows */
}

/* Every kernel once, while no rank waits for another: loading one waits for all that a GPU does. */
static int load_kernels(const cr_gpu *gpu, const cr_network *network, crocuta_error *error)
{
	const cr_cuda_options *o = &gpu->options;
	const cr_gpu_slot *slot = &gpu->slot[0];
	const cr_cuda_cut cut = cr_cuda_cut_of(o->length, o->block, o->rank, o->parts);
	const cr_cuda_range rows = {0, cr_smaller(cr_cuda_cut_count(&cut, o->part), 2048)};
	const cr_cuda_range row = {0, 1};
	double ignored;
	int code;

	memset(slot->tokens, 0, (size_t)o->rows);
	code = cr_cuda_forward_part(gpu->cuda, 0, slot->tokens, o->length, (int)network->layers,
				    NULL, error);
	if (!code && rows.count)
		code = cr_cuda_output(gpu->cuda, 0, &row, 1, 0, slot->values, slot->logits, error);
	if (!code)
		code = finish_and_wait(gpu, error);
	for (int largest = 0; !code && rows.count && largest < 2; largest++) {
		code = cr_cuda_pool(gpu->cuda, 0, &rows, 1, 0, largest, slot->values, error);
		if (!code)
			code = finish_and_wait(gpu, error);
	}
	cr_cuda_times(gpu->cuda, &ignored, &ignored);
	return code;
}

int cr_gpu_parts_new(cr_gpus *gpus, const cr_network *network, crocuta_error *error)
{
	cr_gpu_parts *p = cr_calloc(1, sizeof *p);
	int code = 0;

	if (!p)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	pthread_mutex_init(&p->lock, NULL);
	gpus->parts = p;
	p->gpus = gpus;
	p->count = gpus->count;
	p->comm = cr_calloc((size_t)p->count, sizeof(cr_comm *));
	if (!p->comm)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (int i = 0; !code && i < p->count; i++)
		code = load_kernels(&gpus->gpu[i], network, error);
	return code ? code : connect_ranks(p, error);
}

void cr_gpu_parts_free(cr_gpu_parts *p)
{
	if (!p)
		return;
	for (int i = 0; p->comm && i < p->count; i++)
		cr_comm_close(p->comm[i]);
	cr_free(p->comm);
	pthread_mutex_destroy(&p->lock);
	cr_free(p);
}

/* ---- failures -------------------------------------------------------------------------------- */

int cr_gpu_parts_ready(cr_gpu_parts *p, crocuta_error *error)
{
	int code = 0;

	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	if (p->failed)
		code = cr_fail(error, CROCUTA_EDEVICE,
			       "this session's GPUs lost each other in an earlier call: %s", p->why);
	pthread_mutex_unlock(&p->lock);
	return code;
}

void cr_gpu_parts_fail(cr_gpu_parts *p, const char *why)
{
	int first;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	first = !p->failed;
	p->failed = 1;
	if (first)
		snprintf(p->why, sizeof p->why, "%s", why);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; first && i < p->count; i++)
		cr_comm_fail(p->comm[i], why);
}

/* ---- one rank's work ------------------------------------------------------------------------- */

/* Is there a sequence of this number to compute? One that another rank has begun, or, unless the call has
 * failed, one more. */
static int take_sequence(cr_gpu_call *a, int64_t sequence)
{
	int taken;

	pthread_mutex_lock(&a->lock);
	taken = sequence < a->next || (sequence < a->count && !a->code);
	if (taken && sequence == a->next)
		a->next++;
	pthread_mutex_unlock(&a->lock);
	return taken;
}

static int queue_rows(void *user, cr_gpu_slot *slot, int *more, crocuta_error *error)
{
	cr_gpu_course *c = user;

	*more = c->index < c->count && cr_gpu_wait_until_free(c->call, slot);
	return *more ? cr_gpu_queue_results(c, slot, error) : 0;
}

/* What a lost connection leaves in a slot looks like results. */
static int take_results(void *user, cr_gpu_slot *slot, crocuta_error *error)
{
	cr_gpu_course *c = user;
	const cr_gpus *gpus = c->call->session->state;
	const cr_gpu_parts *p = gpus->parts;
	const int code =
		p->nccl ? cr_comm_nccl_poll(p->comm[c->gpu->options.part], error) : 0;

	return code ? code : cr_gpu_mark_ready(user, slot, error);
}

/* This rank's part of a sequence, up to its results, unless the call has failed: then they are left out. */
static int run_sequence(cr_gpu_course *c, int64_t sequence, cr_comm *comm, crocuta_error *error)
{
	const crocuta_sequence *q = &c->call->sequences[sequence];
	const cr_cuda_options *o = &c->gpu->options;
	const int64_t length = cr_cuda_padded_length(q->length);
	const cr_cuda_cut cut = cr_cuda_cut_of(length, o->block, o->rank, o->parts);
	cr_gpu_slot *slot = &c->gpu->slot[0]; /* its tokens are not in use: the last sequence is done */
	int64_t here;
	int code;

	c->batch = sequence * o->parts + o->part;
	c->first = sequence;
	c->count = 1;
	c->index = c->done = c->part = 0;
	c->length = length;
	c->from = cr_cuda_cut_start(&cut, o->part);
	c->to = cr_cuda_cut_start(&cut, o->part + 1);
	here = cr_larger(cr_smaller(c->to, q->length) - c->from, 0);
	cr_gpu_put_tokens(slot, 0, here ? q->tokens + c->from : q->tokens, here, c->to - c->from);
	code = cr_cuda_forward_part(c->gpu->cuda, slot->number, slot->tokens, length,
				    c->call->layer, comm, error);
	if (!code)
		code = cr_gpu_pipeline(c->gpu, queue_rows, take_results, c, error);
	return code;
}

void *cr_gpu_part_work(void *user)
{
	cr_gpu_course *c = user;
	cr_gpu_call *a = c->call;
	const cr_gpus *gpus = a->session->state;
	cr_comm *comm = gpus->parts->comm[c->gpu->options.part];
	int lost = 0;

	for (int64_t i = 0; !lost && take_sequence(a, i); i++) {
		crocuta_error error = {0};
		const int code = run_sequence(c, i, comm, &error);

		if (code) {
			pthread_mutex_lock(&a->lock);
			cr_gpu_keep_failure(a, code, &error);
			pthread_cond_broadcast(&a->changed);
			pthread_mutex_unlock(&a->lock);
		}
		/* a number that does not fit is no reason to leave the others alone */
		lost = code && code != CROCUTA_ENUMERIC;
		if (lost)
			cr_gpu_parts_fail(gpus->parts, error.message);
		if (c->index < c->count) /* its results were not all asked for */
			(void)cr_cuda_wait(c->gpu->cuda, 0, NULL);
	}
	pthread_mutex_lock(&a->lock);
	a->working--;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}
