/* engine_cuda_stack.c - stacks on one or several GPUs: one rank each; with CUDA=1 only. */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/error.h"
#include "comm/comm_nccl.h"
#include "model/engine_cuda.h"
#include "model/engine_stack.h"
#include "model/gpu_list.h"

/* Rows of a chunk: matrix products fill a GPU, and what they leave is small beside a long sequence.
 */
#define GPU_CHUNK 8192

/* Of a device's own scratch: what cuBLAS is given, and with it the parts of a chunk's activations
 * in float32 and the rounded bias of one product. */
#define SCRATCH_BF16 ((int64_t)64 << 20)
#define SCRATCH_F32 ((int64_t)320 << 20)

/* From this length on ranks share the weights: a layer's broadcast takes milliseconds, its pass
 * seconds. */
#define SPREAD_LENGTH 262144

static int list_gpus(cr_stack_state *s, const char *device, crocuta_error *error)
{
	cr_gpu_list list;
	int code =
		cr_gpu_list_parse(device && strcmp(device, "auto") ? device : "cuda", &list, error);

	if (code)
		return code;
	cr_gpu_list_expand(&list, cr_cuda_count());
	if (list.count < 1)
		return cr_fail(error, CROCUTA_EDEVICE, "no GPU that can be used; use --device cpu");
	for (int i = 0; i < list.count; i++)
		s->gpu[i] = list.gpu[i];
	s->options.ranks = s->here = list.count;
	return 0;
}

/* With --parallel sequence, processes of a launcher are a rank each. */
static int join_launch(cr_stack_state *s, const crocuta_session_options *options,
		       crocuta_error *error)
{
	const int named = options->device && strchr(options->device, ':');
	int code;

	s->launch.size = 1;
	if (options->parallel != CROCUTA_PARALLEL_SEQUENCE)
		return 0;
	code = cr_launch_read(&s->launch, error);
	if (code || s->launch.size <= 1)
		return code;
	if (s->here > 1)
		return cr_fail(
			error, CROCUTA_EARG,
			"--device %.60s: each of the %d processes that were launched takes one "
			"GPU; use --device cuda",
			options->device, s->launch.size);
	if (s->launch.size > CR_RANKS_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "%d processes were launched; %d at most share a "
			       "sequence",
			       s->launch.size, CR_RANKS_MAX);
	s->first = s->launch.rank;
	s->options.ranks = s->launch.size;
	if (!named)
		s->gpu[0] = s->launch.local_rank;
	return 0;
}

static int open_cuda(crocuta_session *session, const crocuta_session_options *options,
		     crocuta_error *error)
{
	cr_stack_state *s = cr_stack_make_state(session, &cr_stack_ops_cuda, error);
	cr_cuda_device device;
	int code;

	if (!s)
		return CROCUTA_EMEMORY;
	code = list_gpus(s, options->device, error);
	if (!code)
		code = join_launch(s, options, error);
	if (!code && s->options.ranks > 1 && options->parallel == CROCUTA_PARALLEL_BATCH)
		code = cr_fail(
			error, CROCUTA_EARG,
			"--parallel batch: several GPUs share each sequence of this model; give "
			"one GPU to each of several runs (--shard)");
	if (code)
		return code;
	s->threads = 1;
	s->options.residual = CR_NUMBER_F32;
	s->options.activation =
		options->dtype == CROCUTA_DTYPE_BF16 ? CR_NUMBER_BF16 : CR_NUMBER_F32;
	s->device_bytes = s->options.activation == CR_NUMBER_BF16 ? SCRATCH_BF16 : SCRATCH_F32;
	s->options.copied = 1;
	s->options.chunk = GPU_CHUNK < session->max_length ? GPU_CHUNK : session->max_length;
	if (s->options.chunk < CR_CHUNK_LEAST)
		s->options.chunk = CR_CHUNK_LEAST;
	s->options.spread = s->options.ranks > 1 && session->max_length >= SPREAD_LENGTH;
	session->plan.threads = 1;
	session->plan.isa = "gpu"; /* of a plan made where there is none */
	if (s->gpu[0] < cr_cuda_count() && !cr_cuda_describe(s->gpu[0], &device, NULL))
		session->plan.isa = cr_cuda_architecture(&device);
	return cr_stack_plan(session, options, error);
}

static int nccl_comm(cr_stack_state *s, int index, crocuta_error *error)
{
	return cr_comm_nccl(s->options.ranks, s->first + index, s->id, s->gpu[index],
			    s->ops->queue(s->worker[index].rank.device), &s->comm[index], error);
}

static void fail_nccl(cr_stack_state *s, const char *why)
{
	cr_comm_nccl_fail(s->id, why);
}

static int times_listed(const cr_stack_state *s, int gpu)
{
	int times = 0;

	for (int i = 0; i < s->here; i++)
		times += s->gpu[i] == gpu;
	return times;
}

static int is_listed_twice(const cr_stack_state *s)
{
	for (int i = 0; i < s->here; i++)
		if (times_listed(s, s->gpu[i]) > 1)
			return 1;
	return 0;
}

/* Is every GPU there, and does its share fit? */
static int check_gpus(crocuta_session *session, crocuta_error *error)
{
	const cr_stack_state *s = session->state;

	for (int r = 0; r < s->here; r++) {
		const int64_t needed = times_listed(s, s->gpu[r]) * session->plan.rank_bytes;
		cr_cuda_device device;
		int code = cr_cuda_describe(s->gpu[r], &device, error);

		if (code)
			return code;
		session->plan.isa = cr_cuda_architecture(&device);
		if (needed > device.free_bytes)
			return cr_fail(
				error, CROCUTA_EMEMORY,
				"GPU %d has %.1f GB free, %.1f GB are needed; try a shorter "
				"--window, --dtype bf16 or more GPUs (--device cuda:0,1,...)",
				s->gpu[r], (double)device.free_bytes / 1e9, (double)needed / 1e9);
	}
	return 0;
}

static int prepare_cuda(crocuta_session *session, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	const int several = s->options.ranks > 1 && !is_listed_twice(s);
	crocuta_error local = {0};
	int code = 0;

	if (several) {
		s->make_comm = nccl_comm;
		s->fail_comm = fail_nccl;
		if (!s->first)
			code = cr_comm_nccl_id(s->id, error);
	}
	if (!code)
		code = cr_stack_meet(session, error);
	if (code)
		return code;
	code = check_gpus(session, &local);
	if (code) {
		cr_control_fail(s->control, local.message);
		return cr_fail(error, code, "%s", local.message);
	}
	return cr_stack_prepare(session, error);
}

const cr_engine cr_engine_cuda_stack = {
	.name = "cuda",
	.bf16 = 1,
	.stacks = 1,
	.automatic = cr_cuda_automatic,
	.open = open_cuda,
	.prepare = prepare_cuda,
	.close = cr_stack_close,
	.run = cr_stack_run,
	.follow = cr_stack_follow,
	.times = cr_stack_times,
};
