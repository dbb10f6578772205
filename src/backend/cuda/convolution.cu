/* convolution.cu - the causal long convolution of any length by transforms.
 *
 * Short sequences are convolved in shared memory (fused_convolution.cu), longer ones by cuFFT in
 * groups of channels of one sequence. How a group is composed depends on the size alone, so that a
 * sequence's bytes do not depend on its batch.
 *
 * Nothing is prepared before the first pass that comes here. Then the taps of all blocks are
 * evaluated. The spectra of a size for all blocks are kept on the device while they fit a budget,
 * and the taps stay in the host's memory. Where the spectra of the longest size do not fit, the
 * taps, half as large, stay on the device if there is room, and the spectra of a group of channels
 * are made anew in every pass: three transforms instead of two.
 */
#include "backend/cuda/transforms.cuh"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define HEAD CR_CUDA_HEAD
#define TAP_SLICE 1024
#define SIZES 8                   /* of transforms, prepared at a time */
#define GROUP ((int64_t)4 << 20)  /* values of padded signals that cuFFT transforms together */
#define BUDGET ((int64_t)4 << 30) /* bytes of spectra */
#define SMALL_BUDGET ((int64_t)1 << 30) /* the same when the longest size's do not fit */

static int fft_failed(cufftResult result, const char *what, crocuta_error *error)
{
	if (result == CUFFT_ALLOC_FAILED)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "cuFFT: %s: not enough memory on the GPU; try a shorter --window",
			       what);
	return cr_fail(error, CROCUTA_EDEVICE, "cuFFT: %s failed with code %d", what, (int)result);
}

#define TRY_FFT(call, what)                                                                        \
	do {                                                                                       \
		cufftResult result_ = (call);                                                      \
		if (result_ != CUFFT_SUCCESS)                                                      \
			return fft_failed(result_, what, error);                                   \
	} while (0)

/* One size of transform. */
typedef struct spectra {
	int64_t size;    /* twice the positions it serves; 0: unused */
	int64_t signals; /* that cuFFT transforms together */
	int fused;
	int plans; /* that exist: forward, inverse */
	cufftHandle forward, inverse;
	int64_t work_bytes;   /* of either plan */
	float2 *twiddles;     /* (size) when fused */
	cufftComplex *filter; /* (N, D, size / 2 + 1), divided by size; NULL: made in every pass */
	int64_t filter_bytes; /* on the device */
	int64_t used;         /* when last */
} spectra;

/* Device memory that only grows. */
typedef struct buffer {
	void *array;
	int64_t bytes;
} buffer;

struct cr_cuda_transforms {
	cr_cuda_options options;
	int64_t count;      /* taps of a channel; beyond they are 0 */
	int64_t budget;     /* bytes of spectra, all sizes together */
	int64_t fused_most; /* size of the largest transform that fits shared memory */
	int keeps_longest;  /* the spectra of the longest size are within the budget */
	int ready;          /* taps are there */
	float *taps;        /* (N, D, count), wherever it lies: one of the next three */
	float *device_taps, *pinned_taps, *host_taps;
	float *head_taps; /* (N, D, HEAD) on the device */
	spectra sizes[SIZES];
	int64_t clock;
	buffer padded;   /* (signals, size) float */
	buffer spectrum; /* (signals, size / 2 + 1) complex */
	buffer filter;   /* the same, of a group's filters */
	buffer heads;    /* (signals, HEAD) float */
	buffer work;     /* cuFFT's */
};

/* ---- sizes and memory ------------------------------------------------------------------------ */

static int64_t transform_size(int64_t length)
{
	const int64_t fused = cr_cuda_fused_size(length);

	return fused ? fused : 2 * length;
}

/* As many channels as keep a group below GROUP values, about equally many in all groups; even, for
 * pairs of channels are convolved together. */
static int64_t signals_together(int64_t size, int64_t width)
{
	const int64_t most = GROUP / size > 1 ? GROUP / size : 1;
	const int64_t signals = cr_ceil_div(width, cr_ceil_div(width, most));

	return most > 1 ? signals + signals % 2 : 1;
}

static int64_t spectra_bytes(const cr_network *n, int64_t size)
{
	return n->layers * n->width * (size / 2 + 1) * (int64_t)sizeof(cufftComplex);
}

static int64_t tap_count(const cr_network *n, int64_t length)
{
	return n->max_length < length ? n->max_length : length;
}

int64_t cr_cuda_transforms_bytes(const cr_network *network, const cr_cuda_options *options,
				 int64_t *filters)
{
	const int64_t size = transform_size(options->length);
	const int64_t longest = spectra_bytes(network, size);
	const int64_t values = size > GROUP ? size : GROUP;
	const int64_t taps = network->layers * network->width * (int64_t)sizeof(float) *
			     tap_count(network, options->length);

	*filters = 0;
	if (options->block != 0 || options->length <= CR_CUDA_DIRECT_MAX)
		return 0;
	if (longest > BUDGET)
		*filters = taps + SMALL_BUDGET;
	else
		*filters = 2 * longest < BUDGET ? 2 * longest : BUDGET;
	*filters += network->layers * network->width * HEAD * (int64_t)sizeof(float);
	/* padded signals, spectra, cuFFT's own, and filters where they are made in every pass */
	return (longest > BUDGET ? 4 : 3) * values * (int64_t)sizeof(float);
}

static int grow(cr_cuda *cuda, buffer *b, int64_t bytes, crocuta_error *error)
{
	int code;

	if (b->bytes >= bytes)
		return 0;
	CR_CUDA_TRY(cudaFree(b->array), "freeing memory");
	cuda->allocated -= b->bytes;
	b->array = NULL;
	b->bytes = 0;
	code = cr_cuda_alloc(cuda, &b->array, bytes, error);
	if (!code)
		b->bytes = bytes;
	return code;
}

int cr_cuda_transforms_new(cr_cuda *cuda, const cr_cuda_options *options,
			   cr_cuda_transforms **transforms, crocuta_error *error)
{
	cr_cuda_transforms *t = (cr_cuda_transforms *)calloc(1, sizeof *t);
	const int64_t longest = spectra_bytes(cuda->network, transform_size(options->length));
	size_t free_bytes = 0, total_bytes = 0;
	int shared = 0;

	*transforms = t;
	if (!t)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for transforms");
	t->options = *options;
	t->count = tap_count(cuda->network, options->length);
	CR_CUDA_TRY(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
	CR_CUDA_TRY(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin,
					   cuda->device),
		    "asking about shared memory");
	t->budget = (int64_t)(free_bytes / 4);
	if (t->budget > BUDGET)
		t->budget = BUDGET;
	t->keeps_longest = longest <= t->budget;
	if (t->keeps_longest && t->budget > 2 * longest)
		t->budget = 2 * longest;
	if (!t->keeps_longest && t->budget > SMALL_BUDGET)
		t->budget = SMALL_BUDGET;
	for (int64_t size = CR_CUDA_FUSED_LEAST; cr_cuda_fused_size(size / 2) == size; size *= 2)
		if (cr_cuda_fused_shared(size) <= shared)
			t->fused_most = size;
	return 0;
}

static void free_size(cr_cuda *cuda, spectra *s)
{
	if (s->plans > 0)
		cufftDestroy(s->forward);
	if (s->plans > 1)
		cufftDestroy(s->inverse);
	cudaFree(s->filter);
	cudaFree(s->twiddles);
	if (cuda) {
		cuda->allocated -= s->filter ? s->filter_bytes : 0;
		cuda->allocated -= s->twiddles ? s->size * (int64_t)sizeof *s->twiddles : 0;
	}
	memset(s, 0, sizeof *s);
}

void cr_cuda_transforms_free(cr_cuda_transforms *t)
{
	if (!t)
		return;
	for (int i = 0; i < SIZES; i++)
		free_size(NULL, &t->sizes[i]);
	cudaFree(t->device_taps);
	cudaFreeHost(t->pinned_taps);
	free(t->host_taps);
	cudaFree(t->head_taps);
	cudaFree(t->padded.array);
	cudaFree(t->spectrum.array);
	cudaFree(t->filter.array);
	cudaFree(t->heads.array);
	cudaFree(t->work.array);
	free(t);
}

/* ---- taps ------------------------------------------------------------------------------------ */

/* Taps of one layer, (D, count) on the host. */
static int evaluate_taps(const cr_cuda_transforms *t, int64_t width, int64_t layer, float *taps,
			 crocuta_error *error)
{
	const int64_t channels = (width + 31) / 32 * 32;
	int code = 0;

#pragma omp parallel for schedule(dynamic, 1)
	for (int64_t first = 0; first < t->count; first += TAP_SLICE) {
		const int64_t left = t->count - first, count = left < TAP_SLICE ? left : TAP_SLICE;
		double *values = (double *)malloc((size_t)(count * channels) * sizeof *values);
		double offsets[TAP_SLICE];
		crocuta_error local = {};
		int result;

		for (int64_t i = 0; i < count; i++)
			offsets[i] = (double)(first + i);
		if (values)
			result = t->options.taps(t->options.user, layer, offsets, count, values,
						 &local);
		else
			result = cr_fail(&local, CROCUTA_EMEMORY, "out of memory for taps");
		for (int64_t c = 0; !result && c < width; c++)
			for (int64_t i = 0; i < count; i++)
				taps[c * t->count + first + i] = (float)values[i * channels + c];
		if (result) {
#pragma omp critical(cr_cuda_taps_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
		}
		free(values);
	}
	return code;
}

/* Where the taps of all layers will lie. */
static int place_taps(cr_cuda *cuda, cr_cuda_transforms *t, crocuta_error *error)
{
	const int64_t bytes =
		cuda->network->layers * cuda->network->width * t->count * (int64_t)sizeof(float);

	if (!t->keeps_longest) {
		size_t free_bytes = 0, total_bytes = 0;

		CR_CUDA_TRY(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
		if (bytes <= (int64_t)(free_bytes / 2))
			return cr_cuda_alloc(cuda, (void **)&t->device_taps, bytes, error);
		/* every pass reads them, at full speed where the host lets it */
		if (cudaMallocHost((void **)&t->pinned_taps, (size_t)bytes) == cudaSuccess)
			return 0;
		t->pinned_taps = NULL;
		(void)cudaGetLastError(); /* it does not stick */
	}
	t->host_taps = (float *)malloc((size_t)bytes);
	return t->host_taps ? 0 : cr_fail(error, CROCUTA_EMEMORY, "out of memory for taps");
}

/* Evaluate all layers; `scratch` takes one of them where the taps lie on the device. */
static int fill_taps(const cr_cuda *cuda, cr_cuda_transforms *t, float *scratch,
		     crocuta_error *error)
{
	const int64_t width = cuda->network->width, floats = width * t->count;
	const int64_t head = t->count < HEAD ? t->count : HEAD;

	for (int64_t layer = 0; layer < cuda->network->layers; layer++) {
		float *taps = scratch ? scratch : t->taps + layer * floats;
		const int code = evaluate_taps(t, width, layer, taps, error);

		if (code)
			return code;
		CR_CUDA_TRY(cudaMemcpy2D(t->head_taps + layer * width * HEAD, HEAD * sizeof *taps,
					 taps, (size_t)t->count * sizeof *taps,
					 (size_t)head * sizeof *taps, (size_t)width,
					 cudaMemcpyHostToDevice),
			    "copying taps");
		if (scratch)
			CR_CUDA_TRY(cudaMemcpy(t->taps + layer * floats, taps,
					       (size_t)floats * sizeof *taps,
					       cudaMemcpyHostToDevice),
				    "copying taps");
	}
	return 0;
}

static void drop_taps(cr_cuda *cuda, cr_cuda_transforms *t)
{
	const int64_t channels = cuda->network->layers * cuda->network->width;

	cuda->allocated -= t->device_taps ? channels * t->count * (int64_t)sizeof *t->taps : 0;
	cuda->allocated -= t->head_taps ? channels * HEAD * (int64_t)sizeof *t->taps : 0;
	cudaFree(t->device_taps);
	cudaFreeHost(t->pinned_taps);
	free(t->host_taps);
	cudaFree(t->head_taps);
	t->taps = t->device_taps = t->pinned_taps = t->host_taps = t->head_taps = NULL;
}

static int make_taps(cr_cuda *cuda, cr_cuda_transforms *t, crocuta_error *error)
{
	const cr_network *n = cuda->network;
	float *scratch = NULL;
	int code;

	if (t->ready)
		return 0;
	code = place_taps(cuda, t, error);
	if (!code)
		code = cr_cuda_alloc(cuda, (void **)&t->head_taps,
				     n->layers * n->width * HEAD * (int64_t)sizeof(float), error);
	t->taps = t->device_taps ? t->device_taps : t->pinned_taps ? t->pinned_taps : t->host_taps;
	if (!code && t->device_taps) {
		scratch = (float *)malloc((size_t)(n->width * t->count) * sizeof *scratch);
		if (!scratch)
			code = cr_fail(error, CROCUTA_EMEMORY, "out of memory for taps");
	}
	if (!code)
		code = fill_taps(cuda, t, scratch, error);
	free(scratch);
	if (code)
		drop_taps(cuda, t);
	t->ready = !code;
	return code;
}

/* ---- spectra --------------------------------------------------------------------------------- */

static __global__ void scale_values(const cufftComplex *from, int64_t count, float by,
				    cufftComplex *to)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		to[i] = make_float2(from[i].x * by, from[i].y * by);
}

static int set_work(const cr_cuda_transforms *t, const spectra *s, crocuta_error *error)
{
	TRY_FFT(cufftSetWorkArea(s->forward, t->work.array), "a work area");
	TRY_FFT(cufftSetWorkArea(s->inverse, t->work.array), "a work area");
	return 0;
}

/* Spectra (channels, size / 2 + 1) of the filters of one group. */
static int transform_filters(cr_cuda *cuda, cr_cuda_transforms *t, const spectra *s, int64_t layer,
			     int64_t first, int64_t channels, cufftComplex *filter,
			     crocuta_error *error)
{
	const int64_t known = s->size / 2 < t->count ? s->size / 2 : t->count;
	const int64_t values = channels * (s->size / 2 + 1);
	const float *taps = t->taps + (layer * cuda->network->width + first) * t->count;
	cufftReal *padded = (cufftReal *)t->padded.array;
	cufftComplex *spectrum = (cufftComplex *)t->spectrum.array;

	CR_CUDA_TRY(cudaMemsetAsync(padded, 0, (size_t)(s->signals * s->size) * sizeof *padded,
				    cuda->stream),
		    "padding filters");
	CR_CUDA_TRY(cudaMemcpy2DAsync(padded, (size_t)s->size * sizeof *padded, taps,
				      (size_t)t->count * sizeof *taps, (size_t)known * sizeof *taps,
				      (size_t)channels, cudaMemcpyDefault, cuda->stream),
		    "copying taps");
	TRY_FFT(cufftExecR2C(s->forward, padded, spectrum), "a filter's transform");
	scale_values<<<(unsigned)cr_ceil_div(values, 256), 256, 0, cuda->stream>>>(
		spectrum, values, 1.0f / (float)s->size, filter);
	CR_CUDA_LAUNCHED("scaling filters");
	return 0;
}

static int64_t channels_here(const cr_cuda *cuda, int64_t first, int64_t most)
{
	return cuda->network->width - first < most ? cuda->network->width - first : most;
}

static int transform_all_filters(cr_cuda *cuda, cr_cuda_transforms *t, const spectra *s,
				 crocuta_error *error)
{
	const int64_t width = cuda->network->width;
	int code = 0;

	for (int64_t layer = 0; layer < cuda->network->layers; layer++)
		for (int64_t first = 0; !code && first < width; first += s->signals)
			code = transform_filters(
				cuda, t, s, layer, first, channels_here(cuda, first, s->signals),
				s->filter + (layer * width + first) * (s->size / 2 + 1), error);
	return code;
}

static int make_plans(cr_cuda *cuda, spectra *s, crocuta_error *error)
{
	long long size = s->size, bins = s->size / 2 + 1;
	size_t forward = 0, inverse = 0;

	TRY_FFT(cufftCreate(&s->forward), "a plan");
	s->plans = 1;
	TRY_FFT(cufftCreate(&s->inverse), "a plan");
	s->plans = 2;
	TRY_FFT(cufftSetAutoAllocation(s->forward, 0), "a plan");
	TRY_FFT(cufftSetAutoAllocation(s->inverse, 0), "a plan");
	TRY_FFT(cufftMakePlanMany64(s->forward, 1, &size, NULL, 1, size, NULL, 1, bins, CUFFT_R2C,
				    s->signals, &forward),
		"planning a transform");
	TRY_FFT(cufftMakePlanMany64(s->inverse, 1, &size, NULL, 1, bins, NULL, 1, size, CUFFT_C2R,
				    s->signals, &inverse),
		"planning a transform");
	s->work_bytes = (int64_t)(forward > inverse ? forward : inverse);
	TRY_FFT(cufftSetStream(s->forward, cuda->stream), "a stream");
	TRY_FFT(cufftSetStream(s->inverse, cuda->stream), "a stream");
	return 0;
}

/* Room for the spectra of all layers, unless they are beyond the budget or the device's memory. */
static int place_filters(cr_cuda *cuda, cr_cuda_transforms *t, spectra *s, crocuta_error *error)
{
	const int64_t bytes = spectra_bytes(cuda->network, s->size);
	const int64_t group = s->signals * (s->size / 2 + 1) * (int64_t)sizeof *s->filter;
	crocuta_error local = {};
	int code;

	if (bytes <= t->budget) {
		code = cr_cuda_alloc(cuda, (void **)&s->filter, bytes, &local);
		if (!code)
			s->filter_bytes = bytes;
		if (code != CROCUTA_EMEMORY)
			return code ? cr_fail(error, code, "%s", local.message) : 0;
	}
	return grow(cuda, &t->filter, group, error);
}

static int make_spectra(cr_cuda *cuda, cr_cuda_transforms *t, spectra *s, int64_t size,
			crocuta_error *error)
{
	const int64_t real = (int64_t)sizeof(cufftReal), complex = (int64_t)sizeof(cufftComplex);
	int code;

	s->size = size;
	s->signals = signals_together(size, cuda->network->width);
	s->fused = size <= t->fused_most;
	code = make_plans(cuda, s, error);
	if (!code)
		code = grow(cuda, &t->padded, s->signals * size * real, error);
	if (!code)
		code = grow(cuda, &t->spectrum, s->signals * (size / 2 + 1) * complex, error);
	if (!code)
		code = grow(cuda, &t->work, s->work_bytes, error);
	if (!code && s->fused)
		code = cr_cuda_make_twiddles(cuda, size, &s->twiddles, error);
	if (!code && !s->fused)
		code = grow(cuda, &t->heads, s->signals * HEAD * real, error);
	if (!code)
		code = place_filters(cuda, t, s, error);
	if (!code)
		code = set_work(t, s, error);
	if (code)
		return code;
	/* new memory is zeroed on a stream of its own */
	CR_CUDA_TRY(cudaDeviceSynchronize(), "preparing transforms");
	return s->filter ? transform_all_filters(cuda, t, s, error) : 0;
}

/* A place for the spectra of another size, `bytes` large: those used longest ago make room. */
static spectra *make_room(cr_cuda *cuda, cr_cuda_transforms *t, int64_t bytes)
{
	for (;;) {
		spectra *empty = NULL, *oldest = NULL;
		int64_t held = 0;

		for (int i = 0; i < SIZES; i++) {
			spectra *s = &t->sizes[i];

			held += s->filter_bytes;
			if (!s->size)
				empty = s;
			else if (!oldest || s->used < oldest->used)
				oldest = s;
		}
		if (empty && (!held || bytes > t->budget || held + bytes <= t->budget))
			return empty;
		free_size(cuda, oldest);
	}
}

/* The spectra of a size: kept, or made. */
static int find_spectra(cr_cuda *cuda, cr_cuda_transforms *t, int64_t length, spectra **found,
			crocuta_error *error)
{
	const int64_t size = transform_size(length);
	spectra *s;
	int code;

	for (int i = 0; i < SIZES; i++)
		if (t->sizes[i].size == size) {
			*found = &t->sizes[i];
			(*found)->used = ++t->clock;
			return set_work(t, *found, error);
		}
	s = make_room(cuda, t, spectra_bytes(cuda->network, size));
	s->used = ++t->clock;
	code = make_spectra(cuda, t, s, size, error);
	if (code)
		free_size(cuda, s);
	*found = s;
	return code;
}

/* ---- a pass ---------------------------------------------------------------------------------- */

/* Channels [first, first + gridDim.y) of a sequence, from u to padded (signals, size); those from
 * `valid` on are zero. The first positions of the convolution go to heads (signals, HEAD). */
template <typename T>
static __global__ void enter_group(cr_cuda_signals m, int64_t sequence, int64_t first,
				   int64_t valid, float *padded, int64_t size, float *heads)
{
	__shared__ float input[HEAD];
	const int64_t t = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
	const int64_t signal = blockIdx.y;
	float g[4] = {0, 0, 0, 0};

	if (signal < valid && t < m.length)
		cr_gate_in<T>(m, sequence, first + signal, t, g);
	if (t < size)
		cr_store_four(padded + signal * size + t, g);
	if (blockIdx.x > 0 || signal >= valid)
		return;
	if (t < HEAD)
		cr_store_four(input + t, g);
	__syncthreads();
	if (threadIdx.x < HEAD)
		heads[signal * HEAD + threadIdx.x] =
			cr_sum_head(m.head_taps + (first + signal) * HEAD, input, (int)threadIdx.x);
}

static __global__ void multiply_spectra(cufftComplex *x, const cufftComplex *filter, int64_t bins)
{
	const int64_t f = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	const int64_t i = blockIdx.y * bins + f;

	if (f < bins) {
		const cufftComplex a = x[i], h = filter[i];

		x[i] = make_float2(a.x * h.x - a.y * h.y, a.x * h.y + a.y * h.x);
	}
}

/* Channels [first, first + gridDim.y) of a sequence, from padded to y. */
template <typename T>
static __global__ void leave_group(cr_cuda_signals m, int64_t sequence, int64_t first,
				   const float *padded, int64_t size, const float *heads)
{
	const int64_t t = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
	const int64_t signal = blockIdx.y;
	float o[4];

	if (t >= m.length)
		return;
	cr_load_four(t < HEAD ? heads + signal * HEAD + t : padded + signal * size + t, o);
	cr_gate_out<T>(m, sequence, first + signal, t, o);
}

/* Some channels of one sequence through cuFFT. */
static int convolve_group(cr_cuda *cuda, const cr_cuda_transforms *t, const spectra *s,
			  const cr_cuda_signals *m, const cufftComplex *filter, int64_t sequence,
			  int64_t first, int64_t channels, crocuta_error *error)
{
	const int64_t bins = s->size / 2 + 1;
	const dim3 enter((unsigned)cr_ceil_div(s->size, 1024), (unsigned)s->signals);
	const dim3 multiply((unsigned)cr_ceil_div(bins, 256), (unsigned)channels);
	const dim3 leave((unsigned)cr_ceil_div(m->length, 1024), (unsigned)channels);
	const int narrow = cuda->dtype == CR_CUDA_BF16;
	cufftReal *padded = (cufftReal *)t->padded.array;
	cufftComplex *spectrum = (cufftComplex *)t->spectrum.array;
	float *heads = (float *)t->heads.array;

	if (narrow)
		enter_group<__nv_bfloat16><<<enter, 256, 0, cuda->stream>>>(
			*m, sequence, first, channels, padded, s->size, heads);
	else
		enter_group<float><<<enter, 256, 0, cuda->stream>>>(*m, sequence, first, channels,
								    padded, s->size, heads);
	CR_CUDA_LAUNCHED("the input gate");
	TRY_FFT(cufftExecR2C(s->forward, padded, spectrum), "a transform");
	multiply_spectra<<<multiply, 256, 0, cuda->stream>>>(spectrum, filter, bins);
	CR_CUDA_LAUNCHED("multiplying spectra");
	TRY_FFT(cufftExecC2R(s->inverse, spectrum, padded), "a transform");
	if (narrow)
		leave_group<__nv_bfloat16><<<leave, 256, 0, cuda->stream>>>(*m, sequence, first,
									    padded, s->size, heads);
	else
		leave_group<float><<<leave, 256, 0, cuda->stream>>>(*m, sequence, first, padded,
								    s->size, heads);
	CR_CUDA_LAUNCHED("the output gate");
	return 0;
}

static int convolve_channels(cr_cuda *cuda, const cr_cuda_transforms *t, const spectra *s,
			     const cr_cuda_signals *m, const cufftComplex *filter, int64_t batch,
			     int64_t first, int64_t channels, crocuta_error *error)
{
	int code = 0;

	if (s->fused)
		return cr_cuda_fused_run(cuda, m, batch, s->size, s->twiddles, filter, first,
					 channels, error);
	for (int64_t i = 0; !code && i < batch; i++)
		code = convolve_group(cuda, t, s, m, filter, i, first, channels, error);
	return code;
}

static cr_cuda_signals describe_pass(const cr_cuda *cuda, const cr_cuda_mix *mix)
{
	const cr_cuda_short *block = &cuda->block[mix->layer];
	cr_cuda_signals m = {};

	m.u = cuda->u;
	m.y = cuda->y;
	m.in_bias = block->in_bias;
	m.taps = block->taps;
	m.bias = block->bias;
	m.head_taps = cuda->transforms->head_taps + mix->layer * cuda->network->width * HEAD;
	m.keep_v = mix->keep_v;
	m.keep_y = mix->keep_y;
	m.kept_v = mix->kept_v;
	m.kept_y = mix->kept_y;
	m.changes = mix->changes;
	m.stride = cuda->stride;
	m.width = cuda->network->width;
	m.length = mix->length;
	m.kept_length = mix->kept_length;
	m.overflow = cuda->overflow;
	return m;
}

int cr_cuda_transforms_run(cr_cuda *cuda, const cr_cuda_mix *mix, crocuta_error *error)
{
	cr_cuda_transforms *t = cuda->transforms;
	const int64_t width = cuda->network->width;
	cr_cuda_signals m;
	spectra *s = NULL;
	int64_t step;
	int code;

	if (mix->length % 4 || cuda->stride % 4)
		return cr_fail(error, CROCUTA_EINTERNAL,
			       "a padded length of %lld is not whole fours",
			       (long long)mix->length);
	code = make_taps(cuda, t, error);
	if (!code)
		code = find_spectra(cuda, t, mix->length, &s, error);
	if (code)
		return code;
	m = describe_pass(cuda, mix);
	step = s->fused && s->filter ? width : s->signals;
	for (int64_t first = 0; !code && first < width; first += step) {
		const int64_t channels = channels_here(cuda, first, step);
		cufftComplex *filter = (cufftComplex *)t->filter.array;

		if (s->filter)
			filter = s->filter + (mix->layer * width + first) * (s->size / 2 + 1);
		else
			code = transform_filters(cuda, t, s, mix->layer, first, channels, filter,
						 error);
		if (!code)
			code = convolve_channels(cuda, t, s, &m, filter, mix->batch, first,
						 channels, error);
	}
	return code;
}
