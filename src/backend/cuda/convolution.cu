/* convolution.cu - the causal long convolution by cuFFT with cached spectra.
 *
 * Signals (sequence, channel) of one padded length are transformed in groups of a fixed number,
 * so that cuFFT does the same whatever the batch. The first positions of every sequence are summed
 * plainly: values are small there, and a transform's rounding follows a signal's largest value.
 */
#include "backend/cuda/internal.cuh"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 64                           /* positions summed plainly */
#define TAP_SLICE 1024

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

/* ---- taps ------------------------------------------------------------------------------------ */

/* Taps of one layer, (D, tap_count) on the host, zero past M. */
static int evaluate_taps(const cr_cuda *cuda, const cr_cuda_options *options, int64_t layer,
			 float *taps, crocuta_error *error)
{
	const int64_t width = cuda->network->width, channels = (width + 31) / 32 * 32;
	const int64_t known = cuda->network->max_length < cuda->tap_count
				      ? cuda->network->max_length
				      : cuda->tap_count;
	int code = 0;

	memset(taps, 0, (size_t)(width * cuda->tap_count) * sizeof *taps);
#pragma omp parallel for schedule(dynamic, 1)
	for (int64_t first = 0; first < known; first += TAP_SLICE) {
		const int64_t count = known - first < TAP_SLICE ? known - first : TAP_SLICE;
		double *values = (double *)malloc((size_t)(count * channels) * sizeof *values);
		crocuta_error local = {};
		int result;

		if (values)
			result = options->taps(options->user, layer, first, count, values, &local);
		else
			result = cr_fail(&local, CROCUTA_EMEMORY, "out of memory for taps");
		for (int64_t t = 0; !result && t < count; t++)
			for (int64_t c = 0; c < width; c++)
				taps[c * cuda->tap_count + first + t] =
					(float)values[t * channels + c];
		if (result) {
#pragma omp critical(cr_cuda_taps_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
		}
		free(values);
	}
	return code;
}

int cr_cuda_make_taps(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error)
{
	const int64_t floats = cuda->network->width * cuda->tap_count;
	float *taps = (float *)malloc((size_t)floats * sizeof *taps);
	int code = taps ? 0 : cr_fail(error, CROCUTA_EMEMORY, "out of memory for taps");

	for (int64_t layer = 0; !code && layer < cuda->network->layers; layer++) {
		cudaError_t status;

		code = evaluate_taps(cuda, options, layer, taps, error);
		if (code)
			break;
		status = cudaMemcpy(cuda->filter_taps + layer * floats, taps,
				    (size_t)floats * sizeof *taps, cudaMemcpyHostToDevice);
		if (status != cudaSuccess)
			code = cr_cuda_failed(status, "copying taps", error);
	}
	free(taps);
	return code;
}

/* ---- transforms ------------------------------------------------------------------------------ */

/* in (signals, from) -> out (signals, size), zero behind `from` values. Signals from `valid` on are
 * zero altogether. */
__global__ void pad_signals(const float *in, int64_t row, int64_t from, int64_t valid, float *out,
			    int64_t size)
{
	const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, signal = blockIdx.y;

	if (t < size)
		out[signal * size + t] = t < from && signal < valid ? in[signal * row + t] : 0.0f;
}

__global__ void unpad_signals(const float *in, int64_t size, float *out, int64_t length)
{
	const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, signal = blockIdx.y;

	if (t < length)
		out[signal * length + t] = in[signal * size + t];
}

__global__ void multiply_spectra(cufftComplex *x, const cufftComplex *filter, int64_t bins,
				 int64_t first, int64_t width)
{
	const int64_t f = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, signal = blockIdx.y;

	if (f < bins) {
		const cufftComplex h = filter[(first + signal) % width * bins + f];
		cufftComplex *p = x + signal * bins + f, a = *p;

		p->x = a.x * h.x - a.y * h.y;
		p->y = a.x * h.y + a.y * h.x;
	}
}

__global__ void scale_values(cufftComplex *x, int64_t count, float by)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count) {
		x[i].x *= by;
		x[i].y *= by;
	}
}

/* Positions below HEAD of each signal by the plain sum; out (signals, head). */
__global__ void sum_heads(const float *v, int64_t length, const float *taps, int64_t tap_count,
			  int64_t width, int64_t head, float *out)
{
	__shared__ float x[HEAD], h[HEAD];
	const int64_t signal = blockIdx.x;
	const int t = threadIdx.x;
	float sum = 0;

	if (t < head) {
		x[t] = v[signal * length + t];
		h[t] = taps[signal % width * tap_count + t];
	}
	__syncthreads();
	if (t >= head)
		return;
	for (int s = 0; s <= t; s++)
		sum += h[s] * x[t - s];
	out[signal * head + t] = sum;
}

__global__ void place_heads(const float *in, int64_t head, float *v, int64_t length)
{
	const int64_t signal = blockIdx.x;

	if (threadIdx.x < head)
		v[signal * length + threadIdx.x] = in[signal * head + threadIdx.x];
}

void cr_cuda_spectra_free(cr_cuda_spectra *s)
{
	if (s->size) {
		cufftDestroy(s->forward);
		cufftDestroy(s->inverse);
	}
	cudaFree(s->twiddles);
	cudaFree(s->filter);
	memset(s, 0, sizeof *s);
}

static int64_t signals_together(int64_t size)
{
	const int64_t signals = CR_CUDA_GROUP / size;

	return signals < 1 ? 1 : signals > 8192 ? 8192 : signals;
}

static int transform_filters(cr_cuda *cuda, cr_cuda_spectra *s, crocuta_error *error)
{
	const int64_t width = cuda->network->width, bins = s->size / 2 + 1;
	const int64_t all = cuda->network->layers * width;
	const int64_t known = s->size / 2 < cuda->tap_count ? s->size / 2 : cuda->tap_count;

	for (int64_t first = 0; first < all; first += s->signals) {
		const int64_t valid = all - first < s->signals ? all - first : s->signals;
		const dim3 pad((unsigned)cr_ceil_div(s->size, 256), (unsigned)s->signals);

		pad_signals<<<pad, 256, 0, cuda->stream>>>(
			cuda->filter_taps + first * cuda->tap_count, cuda->tap_count, known, valid,
			cuda->padded, s->size);
		CR_CUDA_LAUNCHED("padding filters");
		TRY_FFT(cufftExecR2C(s->forward, cuda->padded, cuda->spectrum),
			"a filter's transform");
		scale_values<<<(unsigned)cr_ceil_div(valid * bins, 256), 256, 0, cuda->stream>>>(
			cuda->spectrum, valid * bins, 1.0f / (float)s->size);
		CR_CUDA_LAUNCHED("scaling filters");
		CR_CUDA_TRY(cudaMemcpyAsync(s->filter + first * bins, cuda->spectrum,
					    (size_t)(valid * bins) * sizeof *s->filter,
					    cudaMemcpyDeviceToDevice, cuda->stream),
			    "keeping spectra");
	}
	return 0;
}

static int make_spectra(cr_cuda *cuda, cr_cuda_spectra *s, int64_t of_size, crocuta_error *error)
{
	const int64_t all = cuda->network->layers * cuda->network->width;
	const int fused = of_size <= CR_CUDA_FUSED_MAX;
	long long size = of_size;
	int code;

	cr_cuda_spectra_free(s);
	CR_CUDA_TRY(cudaMalloc(&s->filter, (size_t)(all * (size / 2 + 1)) * sizeof *s->filter),
		    "memory for the filters' spectra");
	code = fused ? cr_cuda_make_twiddles(size, &s->twiddles, error) : 0;
	if (code)
		return code;
	TRY_FFT(cufftCreate(&s->forward), "a plan");
	TRY_FFT(cufftCreate(&s->inverse), "a plan");
	s->size = size;
	s->fused = fused;
	s->signals = signals_together(size);
	{
		size_t work;

		TRY_FFT(cufftMakePlanMany64(s->forward, 1, &size, NULL, 1, size, NULL, 1,
					    size / 2 + 1, CUFFT_R2C, s->signals, &work),
			"planning a transform");
		TRY_FFT(cufftMakePlanMany64(s->inverse, 1, &size, NULL, 1, size / 2 + 1, NULL, 1,
					    size, CUFFT_C2R, s->signals, &work),
			"planning a transform");
	}
	TRY_FFT(cufftSetStream(s->forward, cuda->stream), "a stream");
	TRY_FFT(cufftSetStream(s->inverse, cuda->stream), "a stream");
	return transform_filters(cuda, s, error);
}

/* The spectra of a size: kept, or made in the place of those used longest ago. */
static int find_spectra(cr_cuda *cuda, int64_t length, cr_cuda_spectra **found,
			crocuta_error *error)
{
	const int fused = cr_cuda_fused_size(length);
	const int64_t size = fused ? fused : 2 * length;
	cr_cuda_spectra *oldest = &cuda->spectra[0];

	for (int i = 0; i < CR_CUDA_SIZES; i++) {
		cr_cuda_spectra *s = &cuda->spectra[i];

		if (s->size == size) {
			s->used = ++cuda->clock;
			*found = s;
			return 0;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	oldest->used = ++cuda->clock;
	*found = oldest;
	return make_spectra(cuda, oldest, size, error);
}

/* All signals through cuFFT, a group at a time. */
static int convolve_groups(cr_cuda *cuda, const cr_cuda_spectra *s, const cufftComplex *filter,
			   int64_t all, int64_t length, crocuta_error *error)
{
	const int64_t width = cuda->network->width, bins = s->size / 2 + 1;

	for (int64_t first = 0; first < all; first += s->signals) {
		const int64_t valid = all - first < s->signals ? all - first : s->signals;
		const dim3 pad((unsigned)cr_ceil_div(s->size, 256), (unsigned)s->signals);
		const dim3 multiply((unsigned)cr_ceil_div(bins, 256), (unsigned)valid);
		const dim3 unpad((unsigned)cr_ceil_div(length, 256), (unsigned)valid);
		float *v = cuda->v + first * length;

		pad_signals<<<pad, 256, 0, cuda->stream>>>(v, length, length, valid, cuda->padded,
							   s->size);
		CR_CUDA_LAUNCHED("padding");
		TRY_FFT(cufftExecR2C(s->forward, cuda->padded, cuda->spectrum), "a transform");
		multiply_spectra<<<multiply, 256, 0, cuda->stream>>>(cuda->spectrum, filter, bins,
								     first, width);
		CR_CUDA_LAUNCHED("multiplying spectra");
		TRY_FFT(cufftExecC2R(s->inverse, cuda->spectrum, cuda->padded), "a transform");
		unpad_signals<<<unpad, 256, 0, cuda->stream>>>(cuda->padded, s->size, v, length);
		CR_CUDA_LAUNCHED("cutting signals");
	}
	return 0;
}

int cr_cuda_convolve(cr_cuda *cuda, int64_t layer, int64_t batch, int64_t length,
		     crocuta_error *error)
{
	const int64_t width = cuda->network->width, all = batch * width;
	const int64_t head = length < HEAD ? length : HEAD;
	const float *taps = cuda->filter_taps + layer * width * cuda->tap_count;
	const cufftComplex *filter;
	cr_cuda_spectra *s;
	int code = find_spectra(cuda, length, &s, error);

	if (code)
		return code;
	filter = s->filter + layer * width * (s->size / 2 + 1);
	sum_heads<<<(unsigned)all, HEAD, 0, cuda->stream>>>(cuda->v, length, taps, cuda->tap_count,
							    width, head, cuda->heads);
	CR_CUDA_LAUNCHED("the first positions");
	code = s->fused ? cr_cuda_fused_convolve(cuda, s, filter, all, length, error)
			: convolve_groups(cuda, s, filter, all, length, error);
	if (code)
		return code;
	place_heads<<<(unsigned)all, HEAD, 0, cuda->stream>>>(cuda->heads, head, cuda->v, length);
	CR_CUDA_LAUNCHED("the first positions");
	return 0;
}
