/* engine_cuda.c - a session's GPUs: which, how much of their memory, made and freed; with CUDA=1
 * only. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "backend/cuda/parts.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "model/cuda_filters.h"
#include "model/engine_cuda.h"
#include "model/engine_cuda_parts.h"
#include "model/gpu_list.h"

/* Padded rows of a batch of short sequences: enough to fill a GPU. */
#define BATCH_ROWS 262144

/* The same where activations are kept for changes. */
#define KEEP_ROWS 131072

/* With --batch-size up to: */
#define MOST_ROWS 1048576

/* Of the free memory of a GPU, what a plan may take. */
#define MEMORY_SHARE 0.9

/* Batches to give to one run for each GPU, so that its first and last weigh little. */
#define GATHER_BATCHES 4

/* Largest errors of the near/far form, relative to a channel's largest tap: one unit in the last
 * place of float32; for bfloat16 a small part of one. */
#define NEARFAR_LIMIT_F32 1.2e-7
#define NEARFAR_LIMIT_BF16 1e-4

/* ---- work in two slots ----------------------------------------------------------------------- */

int cr_gpu_pipeline(cr_gpu *gpu, cr_gpu_queue_fn *queue, cr_gpu_handle_fn *handle, void *user,
		    crocuta_error *error)
{
	cr_gpu_slot *waiting = NULL;
	int code = 0, more = 1;

	for (int next = 0; !code && more; next = (next + 1) % CR_CUDA_SLOTS) {
		cr_gpu_slot *slot = &gpu->slot[next];

		code = queue(user, slot, &more, error);
		if (waiting) {
			const int result = cr_cuda_wait(gpu->cuda, waiting->number, error);

			code = code ? code : result;
			if (!code)
				code = handle(user, waiting, error);
		}
		waiting = !code && more ? slot : NULL;
		if (code && more)
			/* what is queued still writes into the host's arrays */
			(void)cr_cuda_wait(gpu->cuda, slot->number, NULL);
	}
	return code;
}

void cr_gpu_put_tokens(cr_gpu_slot *slot, int64_t index, const uint8_t *tokens, int64_t count,
		       int64_t length)
{
	uint8_t *row = slot->tokens + index * length;

	memcpy(row, tokens, (size_t)count);
	memset(row + count, 0, (size_t)(length - count));
}

int cr_gpus_share(const cr_gpus *gpus, int64_t rows, int64_t work, int64_t *batch_rows)
{
	const int64_t shares = work / CR_GPU_SHARE_ROWS + 1;
	const int workers = shares < gpus->count ? (int)shares : gpus->count;
	const int64_t least = rows / shares;

	/* two batches each: the results of one are handled while the other is computed */
	*batch_rows = rows / (CR_CUDA_SLOTS * workers) + 1;
	if (*batch_rows < least)
		*batch_rows = least;
	return workers;
}

/* ---- which GPUs ------------------------------------------------------------------------------ */

int cr_cuda_automatic(const crocuta_session_options *options)
{
	return !options->stream && !options->isa && cr_cuda_count() > 0;
}

const char *cr_cuda_architecture(const cr_cuda_device *device)
{
	switch (10 * device->major + device->minor) {
	case 80:
		return "sm_80";
	case 86:
		return "sm_86";
	case 87:
		return "sm_87";
	case 89:
		return "sm_89";
	case 90:
		return "sm_90";
	case 100:
		return "sm_100";
	case 103:
		return "sm_103";
	case 120:
		return "sm_120";
	default:
		return "sm_other";
	}
}

/* The oldest compute capability whose instructions the kernels use, 10 major + minor. */
#define LEAST_CAPABILITY 80

/* Do they give the same bytes? cuBLAS's choice of a kernel may also depend on the name and the
 * number of multiprocessors. */
static int are_of_one_kind(const cr_cuda_device *a, const cr_cuda_device *b)
{
	return a->major == b->major && a->minor == b->minor &&
	       a->multiprocessors == b->multiprocessors && !strcmp(a->name, b->name);
}

static int check_kind(const char *name, const cr_gpu *first, const cr_gpu *gpu,
		      crocuta_error *error)
{
	const cr_cuda_device *device = &gpu->device;

	if (10 * device->major + device->minor < LEAST_CAPABILITY)
		return cr_fail(error, CROCUTA_EDEVICE,
			       "GPU %d (%s) has compute capability %d.%d, and the kernels need "
			       "8.0 or later; use --device cpu",
			       gpu->options.device, device->name, device->major, device->minor);
	if (!are_of_one_kind(device, &first->device))
		return cr_fail(error, CROCUTA_EDEVICE,
			       "--device %.80s: GPUs %d (%s, %d multiprocessors) and %d (%s, %d "
			       "multiprocessors) are of different kinds, and may round "
			       "differently; name GPUs of one kind",
			       name, first->options.device, first->device.name,
			       first->device.multiprocessors, gpu->options.device, device->name,
			       device->multiprocessors);
	return 0;
}

/* The GPUs of the list, described. They must be of one kind, for results not to depend on which of
 * them computed. */
static int choose_gpus(cr_gpus *gpus, const char *name, crocuta_error *error)
{
	const int there = cr_cuda_count();
	cr_gpu_list list;
	int code = cr_gpu_list_parse(strcmp(name, "auto") ? name : "cuda", &list, error);

	if (code)
		return code;
	if (!there)
		return cr_fail(error, CROCUTA_EDEVICE,
			       "--device %s: this machine has no usable NVIDIA GPU or driver; use "
			       "--device cpu",
			       name);
	cr_gpu_list_expand(&list, there);
	gpus->gpu = cr_calloc((size_t)list.count, sizeof *gpus->gpu);
	if (!gpus->gpu)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	gpus->count = list.count;
	for (int i = 0; i < list.count; i++) {
		if (list.gpu[i] >= there)
			return cr_fail(error, CROCUTA_EDEVICE,
				       "--device %.80s: the GPUs here are 0 to %d", name,
				       there - 1);
		gpus->gpu[i].options.device = list.gpu[i];
		code = cr_cuda_describe(list.gpu[i], &gpus->gpu[i].device, error);
		if (!code)
			code = check_kind(name, &gpus->gpu[0], &gpus->gpu[i], error);
		if (code)
			return code;
	}
	return 0;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static int taps(void *user, int64_t layer, const double *offsets, int64_t count, double *values,
		crocuta_error *error)
{
	const cr_gpus *gpus = user;

	return cr_implicit_filter_values(&gpus->implicit[layer], offsets, count, values, error);
}

static int open_filters(crocuta_session *session, cr_gpus *gpus, crocuta_error *error)
{
	const int64_t layers = session->network->layers;
	int code = 0;

	gpus->implicit = cr_calloc((size_t)layers, sizeof *gpus->implicit);
	if (!gpus->implicit)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for filters");
	for (int64_t i = 0; !code && i < layers; i++)
		code = cr_implicit_filter_init(&gpus->implicit[i], session->network, i,
					       cr_kernels_get(NULL), error);
	return code;
}

/* No near/far form, which was asked for: why. */
static int refuse_near_far(int64_t length, double found, double limit, crocuta_error *error)
{
	if (!(found > 0))
		return cr_fail(error, CROCUTA_EMODEL,
			       "the near/far convolution has no block size whose tables fit on a "
			       "GPU for %lld positions of this model; use the FFT form (--conv fft "
			       "or auto) or a shorter --window",
			       (long long)length);
	if (isinf(found))
		return cr_fail(error, CROCUTA_EMODEL,
			       "the near/far convolution does not hold for this model: its stored "
			       "position tables depart from their formula, and there are no values "
			       "between them; use the FFT form (--conv fft or auto)");
	return cr_fail(error, CROCUTA_EMODEL,
		       "the near/far convolution does not hold for this model on a GPU: its "
		       "filters are too rough (interpolation error %.2g of the largest tap, limit "
		       "%.2g); use the FFT form (--conv fft or auto)",
		       found, limit);
}

/* The form of the long convolution, into the plan. */
static int choose_convolution(crocuta_session *session, const cr_gpus *gpus,
			      const crocuta_session_options *o, int64_t length,
			      crocuta_error *error)
{
	const double limit =
		o->dtype == CROCUTA_DTYPE_BF16 ? NEARFAR_LIMIT_BF16 : NEARFAR_LIMIT_F32;
	crocuta_plan *p = &session->plan;
	int code;

	p->convolution = "direct";
	if (length <= CR_CUDA_DIRECT_MAX)
		return 0;
	p->convolution = "fft";
	if (o->convolution == CROCUTA_CONVOLUTION_FFT)
		return 0;
	code = cr_cuda_choose_filters(gpus->implicit, session->network, length, limit, &p->block,
				      &p->far_rank, &p->certificate_error, error);
	if (code)
		return code;
	if (p->block)
		p->convolution = "nearfar";
	else if (o->convolution == CROCUTA_CONVOLUTION_NEARFAR)
		return refuse_near_far(length, p->certificate_error, limit, error);
	return 0;
}

static int64_t device_bytes(const cr_gpu *gpu, const cr_network *network)
{
	const cr_cuda_bytes bytes = cr_cuda_plan_bytes(network, &gpu->options,
						       10 * gpu->device.major + gpu->device.minor);

	return bytes.weights + bytes.filters + bytes.workspace;
}

/* Bytes of a slot's values: rows of float, or pooled rows of double. */
static int64_t values_bytes(const cr_gpu *gpu, const cr_network *network)
{
	return network->width *
	       cr_larger(4 * gpu->output_rows,
			 8 * cr_smaller(cr_cuda_ranges(&gpu->options), gpu->options.rows));
}

/* Host memory for a GPU. */
static int64_t host_bytes(const cr_gpu *gpu, const cr_network *network)
{
	const cr_cuda_options *o = &gpu->options;
	int64_t slot = o->rows + values_bytes(gpu, network) +
		       4 * gpu->output_rows * network->vocabulary +
		       CR_CUDA_RANGES * (int64_t)(sizeof(cr_cuda_range) + sizeof(cr_gpu_piece));

	if (!o->keep)
		return CR_CUDA_SLOTS * slot;
	slot += o->rows / 64 * (int64_t)sizeof(cr_cuda_change);
	return CR_CUDA_SLOTS * slot +
	       2 * (4 * o->rows * (network->width + network->vocabulary) + o->rows / 64 * 8);
}

static void set_rows(cr_gpu *gpu, int64_t rows)
{
	gpu->options.rows = rows;
	gpu->output_rows = cr_smaller(rows, cr_cuda_output_rows(&gpu->options));
}

/* Half as many rows, or as few as must be. */
static int64_t fewer_rows(const cr_gpu *gpu)
{
	return cr_larger(gpu->options.rows / 2, gpu->least_rows);
}

/* Rows of a batch: what fits into the GPU's free memory, which `sharing` of the list want. */
static int plan_rows(cr_gpu *gpu, const crocuta_session *session, int sharing,
		     const crocuta_session_options *o, crocuta_error *error)
{
	const double limit = MEMORY_SHARE * (double)gpu->device.free_bytes / sharing;
	cr_cuda_options *options = &gpu->options;
	const int64_t most = cr_larger(MOST_ROWS, options->length) / options->length;
	int64_t rows = cr_larger(options->keep ? KEEP_ROWS : BATCH_ROWS, options->length), needed;

	if (o->batch)
		rows = cr_smaller(o->batch, most) * options->length;
	gpu->least_rows = options->length;
	if (options->keep)
		gpu->least_rows = cr_larger(options->length,
					    cr_cuda_change_length(session->change_length + 2));
	if (options->parts > 1)
		rows = gpu->least_rows = cr_cuda_cut_most(options->length, options->block,
							  options->rank, options->parts);
	set_rows(gpu, cr_larger(rows, gpu->least_rows));
	while ((needed = device_bytes(gpu, session->network)) > (int64_t)limit) {
		if (options->rows == gpu->least_rows)
			return cr_fail(
				error, CROCUTA_EMEMORY,
				"GPU %d needs %.2f GB for %lld tokens at a time, and %.2f GB "
				"of its memory can be had; try a shorter --window%s%s%s or "
				"another --device",
				options->device, (double)needed / 1e9, (long long)gpu->least_rows,
				limit / 1e9, options->dtype == CR_CUDA_BF16 ? "" : ", --dtype bf16",
				options->keep ? ", --no-reuse" : "",
				options->parts > 1 ? ", more GPUs" : "");
		set_rows(gpu, fewer_rows(gpu));
	}
	gpu->planned_rows = options->rows;
	return 0;
}

/* The plan, from what the GPUs' options say now. */
static void fill_plan(crocuta_session *session, const cr_gpus *gpus)
{
	crocuta_plan *p = &session->plan;

	p->batch = p->workspace_bytes = p->device_bytes = p->rank_bytes = 0;
	for (int i = 0; i < gpus->count; i++) {
		const cr_gpu *gpu = &gpus->gpu[i];
		const int64_t bytes = gpu->cuda ? cr_cuda_allocated(gpu->cuda)
						: device_bytes(gpu, session->network);

		p->batch += gpu->options.rows / gpu->options.length;
		p->workspace_bytes += host_bytes(gpu, session->network);
		p->device_bytes += bytes;
		p->rank_bytes = cr_larger(p->rank_bytes, bytes);
	}
	p->ranks = gpus->shares ? gpus->count : 1;
	if (gpus->shares)
		p->batch = 1;
	p->gather = GATHER_BATCHES * p->batch;
	p->total_bytes = p->workspace_bytes;
	p->devices = gpus->count;
}

static int plan_gpu(crocuta_session *session, cr_gpus *gpus, int index,
		    const crocuta_session_options *o, int64_t length, crocuta_error *error)
{
	cr_gpu *gpu = &gpus->gpu[index];
	int sharing = 0;

	gpu->options.dtype = o->dtype == CROCUTA_DTYPE_BF16 ? CR_CUDA_BF16 : CR_CUDA_F32;
	gpu->options.length = length;
	gpu->options.keep = session->change_length > 0;
	gpu->options.block = session->plan.block;
	gpu->options.rank = session->plan.far_rank;
	gpu->options.taps = taps;
	gpu->options.user = gpus;
	gpu->options.parts = gpus->shares ? gpus->count : 1;
	gpu->options.part = gpus->shares ? index : 0;
	for (int i = 0; i < gpus->count; i++)
		sharing += gpus->gpu[i].options.device == gpu->options.device;
	return plan_rows(gpu, session, sharing, o, error);
}

static int cuda_open(crocuta_session *session, const crocuta_session_options *o,
		     crocuta_error *error)
{
	const int64_t length = cr_cuda_padded_length(session->max_length);
	cr_gpus *gpus = cr_calloc(1, sizeof *gpus);
	int code;

	session->state = gpus;
	if (!gpus)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	if (session->stream)
		return cr_fail(error, CROCUTA_EARG,
			       "the GPU runs no streams yet; use --device cpu");
	gpus->threads = o->threads ? o->threads : crocuta_default_threads();
	gpus->log = o->log;
	gpus->log_user = o->user;
	code = choose_gpus(gpus, o->device ? o->device : "auto", error);
	if (!code)
		code = open_filters(session, gpus, error);
	if (!code)
		code = choose_convolution(session, gpus, o, length, error);
	gpus->shares = o->parallel == CROCUTA_PARALLEL_SEQUENCE && gpus->count > 1;
	if (!code && gpus->shares)
		code = cr_gpu_parts_check(session, o, length, error);
	for (int i = 0; !code && i < gpus->count; i++)
		code = plan_gpu(session, gpus, i, o, length, error);
	if (code)
		return code;
	session->plan.isa = cr_cuda_architecture(&gpus->gpu[0].device);
	session->plan.threads = gpus->threads;
	fill_plan(session, gpus);
	return 0;
}

/* ---- make and free --------------------------------------------------------------------------- */

static int make_slot(cr_gpu *gpu, cr_gpu_slot *slot, const cr_network *network)
{
	slot->tokens = cr_cuda_host_bytes(gpu->options.rows);
	slot->values = cr_cuda_host_bytes(values_bytes(gpu, network));
	slot->logits = cr_cuda_host_bytes(4 * gpu->output_rows * network->vocabulary);
	slot->ranges = cr_calloc(CR_CUDA_RANGES, sizeof *slot->ranges);
	slot->pieces = cr_calloc(CR_CUDA_RANGES, sizeof *slot->pieces);
	if (!slot->tokens || !slot->values || !slot->logits || !slot->ranges || !slot->pieces)
		return -1;
	if (!gpu->options.keep)
		return 0;
	slot->changes = cr_cuda_host_bytes(gpu->options.rows / 64 * (int64_t)sizeof *slot->changes);
	return slot->changes ? 0 : -1;
}

static int make_kept(cr_gpu *gpu, cr_gpu_kept *kept, const cr_network *network)
{
	const int64_t rows = gpu->options.rows;

	kept->hidden = cr_cuda_host_bytes(4 * rows * network->width);
	kept->logits = cr_cuda_host_bytes(4 * rows * network->vocabulary);
	kept->row_0 = cr_calloc((size_t)(rows / 64), sizeof *kept->row_0);
	return kept->hidden && kept->logits && kept->row_0 ? 0 : -1;
}

/* Everything that make_with_rows makes. */
static void free_made(cr_gpu *gpu)
{
	cr_cuda_free(gpu->cuda); /* first: it may still write into the host's arrays */
	gpu->cuda = NULL;
	for (int i = 0; i < CR_CUDA_SLOTS; i++) {
		cr_gpu_slot *slot = &gpu->slot[i];

		cr_cuda_host_free(slot->tokens);
		cr_cuda_host_free(slot->changes);
		cr_cuda_host_free(slot->values);
		cr_cuda_host_free(slot->logits);
		cr_free(slot->ranges);
		cr_free(slot->pieces);
	}
	for (int i = 0; i < 2; i++) {
		cr_cuda_host_free(gpu->kept[i].hidden);
		cr_cuda_host_free(gpu->kept[i].logits);
		cr_free(gpu->kept[i].row_0);
	}
	memset(gpu->slot, 0, sizeof gpu->slot);
	memset(gpu->kept, 0, sizeof gpu->kept);
}

/* On the GPU, and then on the host; on failure the caller calls free_made. */
static int make_with_rows(cr_gpu *gpu, const cr_network *network, crocuta_error *error)
{
	crocuta_error first = {0};
	int code = cr_cuda_new(network, &gpu->options, &gpu->cuda, &first);

	if (code)
		return cr_fail(error, code, "GPU %d: %s", gpu->options.device, first.message);
	for (int i = 0; !code && i < CR_CUDA_SLOTS; i++) {
		gpu->slot[i].number = i;
		code = make_slot(gpu, &gpu->slot[i], network);
	}
	for (int i = 0; !code && gpu->options.keep && i < 2; i++)
		code = make_kept(gpu, &gpu->kept[i], network);
	if (code)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "no %.0f MB of host memory for GPU %d; try a smaller --batch-size "
			       "or --device cpu",
			       (double)host_bytes(gpu, network) / 1e6, gpu->options.device);
	return 0;
}

/* With fewer rows when memory turns out short. */
static int make_gpu(cr_gpu *gpu, const cr_network *network, crocuta_error *error)
{
	for (;;) {
		crocuta_error last = {0};
		const int code = make_with_rows(gpu, network, &last);

		if (!code)
			return 0;
		free_made(gpu);
		if (code != CROCUTA_EMEMORY || gpu->options.rows <= gpu->least_rows)
			return cr_fail(error, code, "%s", last.message);
		set_rows(gpu, fewer_rows(gpu));
	}
}

typedef struct making {
	cr_gpu *gpu;
	const cr_network *network;
	pthread_t thread;
	int started, code;
	crocuta_error error;
} making;

static void *make_in_thread(void *user)
{
	making *m = user;

	m->code = make_gpu(m->gpu, m->network, &m->error);
	return NULL;
}

/* All GPUs at once: their filters take the host's time. */
static int make_gpus(cr_gpus *gpus, const cr_network *network, crocuta_error *error)
{
	making *m = cr_calloc((size_t)gpus->count, sizeof *m);
	int code = 0;

	if (!m)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (int i = 0; i < gpus->count; i++) {
		m[i].gpu = &gpus->gpu[i];
		m[i].network = network;
		m[i].started = i > 0 && !pthread_create(&m[i].thread, NULL, make_in_thread, &m[i]);
	}
	for (int i = 0; i < gpus->count; i++) {
		if (m[i].started)
			pthread_join(m[i].thread, NULL);
		else
			make_in_thread(&m[i]);
		if (m[i].code && !code)
			code = cr_fail(error, m[i].code, "%s", m[i].error.message);
	}
	cr_free(m);
	return code;
}

static void log_gpus(const cr_gpus *gpus)
{
	char line[400];

	for (int i = 0; gpus->log && i < gpus->count; i++) {
		const cr_gpu *gpu = &gpus->gpu[i];

		if (gpu->options.rows < gpu->planned_rows) {
			snprintf(line, sizeof line,
				 "GPU %d: out of memory at batches of %lld windows; going on with "
				 "%lld",
				 gpu->options.device,
				 (long long)(gpu->planned_rows / gpu->options.length),
				 (long long)(gpu->options.rows / gpu->options.length));
			gpus->log(gpus->log_user, CROCUTA_LOG_WARNING, line);
		}
		snprintf(line, sizeof line,
			 "GPU %d: %s, %s, %s of %lld %s, %.2f GB of its memory",
			 gpu->options.device, gpu->device.name,
			 gpu->options.dtype == CR_CUDA_BF16 ? "bf16" : "f32",
			 gpus->shares ? "a part" : "batches",
			 (long long)(gpus->shares ? gpu->options.rows
						  : gpu->options.rows / gpu->options.length),
			 gpus->shares ? "positions of each window" : "windows",
			 (double)cr_cuda_allocated(gpu->cuda) / 1e9);
		gpus->log(gpus->log_user, CROCUTA_LOG_NOTICE, line);
	}
}

static int cuda_prepare(crocuta_session *session, crocuta_error *error)
{
	cr_gpus *gpus = session->state;
	const double start = cr_wall_seconds();
	int code = make_gpus(gpus, session->network, error);

	if (!code && gpus->shares)
		code = cr_gpu_parts_new(gpus, session->network, error);
	gpus->times.prepare = cr_wall_seconds() - start;
	if (code)
		return code;
	fill_plan(session, gpus);
	log_gpus(gpus);
	return 0;
}

static void cuda_close(crocuta_session *session)
{
	cr_gpus *gpus = session->state;

	if (!gpus)
		return;
	cr_gpu_parts_free(gpus->parts);
	for (int i = 0; i < gpus->count; i++) {
		free_made(&gpus->gpu[i]);
		cr_free(gpus->gpu[i].changes);
	}
	cr_free(gpus->gpu);
	for (int64_t i = 0; gpus->implicit && i < session->network->layers; i++)
		cr_implicit_filter_free(&gpus->implicit[i]);
	cr_free(gpus->implicit);
	cr_free(gpus);
	session->state = NULL;
}

/* Of several GPUs the mean: they compute at the same time. */
static void cuda_times(crocuta_session *session, crocuta_stage_times *times, int reset)
{
	cr_gpus *gpus = session->state;
	const double prepare = gpus->times.prepare;

	for (int i = 0; i < gpus->count; i++) {
		double local = 0, mixing = 0;

		cr_cuda_times(gpus->gpu[i].cuda, &local, &mixing);
		gpus->times.local += local / gpus->count;
		gpus->times.mixing += mixing / gpus->count;
	}
	*times = gpus->times;
	if (reset)
		memset(&gpus->times, 0, sizeof gpus->times);
	gpus->times.prepare = prepare;
}

const cr_engine cr_engine_cuda = {
	.name = "cuda",
	.bf16 = 1,
	.automatic = cr_cuda_automatic,
	.open = cuda_open,
	.prepare = cuda_prepare,
	.close = cuda_close,
	.pools = 1,
	.run = cr_gpus_run,
	.changes = cr_gpus_changes,
	.times = cuda_times,
};
