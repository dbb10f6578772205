/* fused_convolution.cu - the long convolution of short sequences, whole in shared memory.
 *
 * One thread block takes two signals, packed as the real and the imaginary part of one complex signal,
 * through transform, product with two spectra, and transform back: one read and one write of each
 * activation. Stockham's algorithm in radix 8 (Govindaraju et al. 2008): every pass reads R values a
 * thread into registers, and writes them where the next pass wants them, so results are in natural
 * order and a bin and its mirror image are easy to find.
 */
#include "backend/cuda/internal.cuh"

#include <math.h>
#include <stdlib.h>

__device__ inline float2 add(float2 a, float2 b)
{
	return make_float2(a.x + b.x, a.y + b.y);
}

__device__ inline float2 subtract(float2 a, float2 b)
{
	return make_float2(a.x - b.x, a.y - b.y);
}

__device__ inline float2 multiply(float2 a, float2 b)
{
	return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

/* -i a */
__device__ inline float2 turn(float2 a)
{
	return make_float2(a.y, -a.x);
}

template <int R> __device__ inline void transform(float2 *v);

template <> __device__ inline void transform<2>(float2 *v)
{
	const float2 a = v[0];

	v[0] = add(a, v[1]);
	v[1] = subtract(a, v[1]);
}

template <> __device__ inline void transform<4>(float2 *v)
{
	const float2 a = add(v[0], v[2]), b = subtract(v[0], v[2]);
	const float2 c = add(v[1], v[3]), d = turn(subtract(v[1], v[3]));

	v[0] = add(a, c);
	v[1] = add(b, d);
	v[2] = subtract(a, c);
	v[3] = subtract(b, d);
}

template <> __device__ inline void transform<8>(float2 *v)
{
	const float half = 0.70710678118654752f;
	float2 even[4] = {v[0], v[2], v[4], v[6]}, odd[4] = {v[1], v[3], v[5], v[7]};

	transform<4>(even);
	transform<4>(odd);
	odd[1] = make_float2((odd[1].x + odd[1].y) * half, (odd[1].y - odd[1].x) * half);
	odd[2] = turn(odd[2]);
	odd[3] = make_float2((odd[3].y - odd[3].x) * half, -(odd[3].x + odd[3].y) * half);
	for (int k = 0; k < 4; k++) {
		v[k] = add(even[k], odd[k]);
		v[k + 4] = subtract(even[k], odd[k]);
	}
}

/* A line of padding every 16 values keeps strided access off one bank. */
__device__ inline int place(int i)
{
	return i + (i >> 4);
}

/* One pass in radix R over N values; `done` of the transform's size is already combined. */
template <int N, int THREADS, int R>
__device__ inline void pass(float2 *x, const float2 *twiddles, int done)
{
	constexpr int EACH = N / R / THREADS > 0 ? N / R / THREADS : 1;
	float2 v[EACH][R];

	for (int b = 0; b < EACH; b++) {
		const int j = threadIdx.x + b * THREADS;
		const int k = j & (done - 1), step = N / (done * R);

		if (j >= N / R)
			break;
		for (int r = 0; r < R; r++)
			v[b][r] = x[place(j + r * (N / R))];
		for (int r = 1; r < R; r++)
			v[b][r] = multiply(v[b][r], __ldg(&twiddles[k * r * step]));
		transform<R>(v[b]);
	}
	__syncthreads();
	for (int b = 0; b < EACH; b++) {
		const int j = threadIdx.x + b * THREADS;
		const int k = j & (done - 1), to = (j - k) * R + k;

		if (j >= N / R)
			break;
		for (int r = 0; r < R; r++)
			x[place(to + r * done)] = v[b][r];
	}
	__syncthreads();
}

template <int LOG, int THREADS>
__device__ inline void whole(float2 *x, const float2 *twiddles)
{
	constexpr int N = 1 << LOG;
	int done = 1;

	for (int left = LOG; left >= 3; left -= 3, done *= 8)
		pass<N, THREADS, 8>(x, twiddles, done);
	if (LOG % 3 == 2)
		pass<N, THREADS, 4>(x, twiddles, done);
	if (LOG % 3 == 1)
		pass<N, THREADS, 2>(x, twiddles, done);
}

/* v (signals, length) becomes its convolution with the filters; filter (D, N / 2 + 1). */
template <int LOG, int THREADS>
__global__ void __launch_bounds__(THREADS)
convolve_pairs(float *v, int64_t signals, int length, const cufftComplex *filter, int64_t width,
	       const float2 *twiddles)
{
	constexpr int N = 1 << LOG;
	extern __shared__ float2 x[];
	const int64_t first = 2 * (int64_t)blockIdx.x;
	const int both = first + 1 < signals;
	float *a = v + first * length, *b = a + length;
	const cufftComplex *one = filter + first % width * (N / 2 + 1);
	const cufftComplex *other = filter + (first + 1) % width * (N / 2 + 1);

	for (int t = threadIdx.x; t < N; t += THREADS)
		x[place(t)] = make_float2(t < length ? a[t] : 0, both && t < length ? b[t] : 0);
	__syncthreads();
	whole<LOG, THREADS>(x, twiddles);
	/* separate the two, multiply each with its spectrum, pack; parts swapped for the way back */
	for (int f = threadIdx.x; f <= N / 2; f += THREADS) {
		const int mirror = (N - f) & (N - 1);
		const float2 p = x[place(f)], q = x[place(mirror)];
		const float2 s = make_float2(0.5f * (p.x + q.x), 0.5f * (p.y - q.y));
		const float2 d = make_float2(0.5f * (p.y + q.y), 0.5f * (q.x - p.x));
		const float2 y = multiply(s, make_float2(one[f].x, one[f].y));
		const float2 z = multiply(d, make_float2(other[f].x, other[f].y));

		x[place(f)] = make_float2(y.y + z.x, y.x - z.y);
		x[place(mirror)] = make_float2(z.x - y.y, y.x + z.y);
	}
	__syncthreads();
	whole<LOG, THREADS>(x, twiddles);
	for (int t = threadIdx.x; t < length; t += THREADS) {
		const float2 y = x[place(t)];

		a[t] = y.y;
		if (both)
			b[t] = y.x;
	}
}

template <int LOG, int THREADS>
static cudaError_t launch(cr_cuda *cuda, const cufftComplex *filter, const float2 *twiddles,
			  int64_t signals, int64_t length)
{
	const int bytes = (int)sizeof(float2) * ((1 << LOG) + (1 << LOG) / 16);
	cudaError_t status = cudaFuncSetAttribute(convolve_pairs<LOG, THREADS>,
						  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);

	if (status != cudaSuccess)
		return status;
	convolve_pairs<LOG, THREADS><<<(unsigned)((signals + 1) / 2), THREADS, bytes, cuda->stream>>>(
		cuda->v, signals, (int)length, filter, cuda->network->width, twiddles);
	return cudaGetLastError();
}

int cr_cuda_fused_size(int64_t length)
{
	int size = 128;

	while (size < 2 * length)
		size *= 2;
	return size <= CR_CUDA_FUSED_MAX ? size : 0;
}

int cr_cuda_make_twiddles(int64_t size, float2 **twiddles, crocuta_error *error)
{
	float2 *host = (float2 *)malloc((size_t)size * sizeof *host);
	cudaError_t status;

	if (!host)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for twiddles");
	for (int64_t i = 0; i < size; i++) {
		const double angle = -2 * 3.14159265358979323846 * (double)i / (double)size;

		host[i] = make_float2((float)cos(angle), (float)sin(angle));
	}
	status = cudaMalloc(twiddles, (size_t)size * sizeof *host);
	if (status == cudaSuccess)
		status = cudaMemcpy(*twiddles, host, (size_t)size * sizeof *host,
				    cudaMemcpyHostToDevice);
	free(host);
	return status == cudaSuccess ? 0 : cr_cuda_failed(status, "twiddles", error);
}

int cr_cuda_fused_convolve(cr_cuda *cuda, const cr_cuda_spectra *s, const cufftComplex *filter,
			   int64_t signals, int64_t length, crocuta_error *error)
{
	cudaError_t status = cudaErrorInvalidValue;

	switch (s->size) {
#define SIZE(log, threads)                                                                         \
	case 1 << log:                                                                             \
		status = launch<log, threads>(cuda, filter, s->twiddles, signals, length);         \
		break;
	SIZE(7, 32)
	SIZE(8, 32)
	SIZE(9, 64)
	SIZE(10, 128)
	SIZE(11, 256)
	SIZE(12, 512)
	SIZE(13, 512)
	SIZE(14, 1024)
#undef SIZE
	default:
		break;
	}
	return status == cudaSuccess ? 0 : cr_cuda_failed(status, "the convolution", error);
}
