/* fused_convolution.cu - the long convolution of short sequences, whole in shared memory.
 *
 * One thread block takes two channels of a sequence, packed as the real and the imaginary part of
 * one complex signal, through short filter, gate, transform, product with two spectra, transform
 * back and gate: one read of each part of u and one write of y. Stockham's algorithm in radix 8
 * (Govindaraju et al. 2008): every pass reads R values a thread into registers, and writes them
 * where the next pass wants them, so results are in natural order and a bin and its mirror image
 * are easy to find.
 */
#include "backend/cuda/transforms.cuh"

#include <math.h>
#include <stdlib.h>

#define HEAD CR_CUDA_HEAD
#define LARGEST_SIZE 16384

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

template <int LOG, int THREADS> __device__ inline void whole(float2 *x, const float2 *twiddles)
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

/* y of two channels at t .. t + 3: from head at the first positions, else from x, where the first
 * channel is the imaginary part. */
template <typename T>
__device__ inline void write_pair(const cr_cuda_signals &m, int64_t sequence, int64_t c, int both,
				  int t, const float2 *x, const float (*head)[HEAD])
{
	float a[4], b[4];

	for (int i = 0; i < 4; i++) {
		const float2 value = x[place(t + i)];

		a[i] = t < HEAD ? head[0][t + i] : value.y;
		b[i] = t < HEAD ? head[1][t + i] : value.x;
	}
	cr_gate_out<T>(m, sequence, c, t, a);
	if (both)
		cr_gate_out<T>(m, sequence, c + 1, t, b);
}

/* Channels [first, first + channels), two by two, of every sequence. */
template <int LOG, int THREADS, typename T>
static __global__ void __launch_bounds__(THREADS)
	convolve_pairs(cr_cuda_signals m, int first, int channels, const cufftComplex *filter,
		       const float2 *twiddles)
{
	constexpr int N = 1 << LOG;
	extern __shared__ float2 x[];
	__shared__ float input[2][HEAD], head[2][HEAD];
	const int pairs = (channels + 1) / 2, local = (int)(blockIdx.x % pairs) * 2;
	const int both = local + 1 < channels, length = (int)m.length;
	const int64_t sequence = blockIdx.x / pairs, c = first + local;
	const cufftComplex *one = filter + local * (int64_t)(N / 2 + 1);
	const cufftComplex *other = both ? one + N / 2 + 1 : one;

	for (int t = 4 * threadIdx.x; t < N; t += 4 * THREADS) {
		float a[4] = {0, 0, 0, 0}, b[4] = {0, 0, 0, 0};

		if (t < length) {
			cr_gate_in<T>(m, sequence, c, t, a);
			if (both)
				cr_gate_in<T>(m, sequence, c + 1, t, b);
		}
		for (int i = 0; i < 4; i++) {
			x[place(t + i)] = make_float2(a[i], b[i]);
			if (t < HEAD) {
				input[0][t + i] = a[i];
				input[1][t + i] = b[i];
			}
		}
	}
	__syncthreads();
	for (int i = threadIdx.x; i < (1 + both) * HEAD; i += THREADS)
		head[i / HEAD][i % HEAD] =
			cr_sum_head(m.head_taps + (c + i / HEAD) * HEAD, input[i / HEAD], i % HEAD);
	whole<LOG, THREADS>(x, twiddles);
	/* separate the two, multiply each with its spectrum, pack; parts swapped for the inverse */
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
	for (int t = 4 * threadIdx.x; t < length; t += 4 * THREADS)
		write_pair<T>(m, sequence, c, both, t, x, head);
}

int64_t cr_cuda_fused_size(int64_t length)
{
	int64_t size = CR_CUDA_FUSED_LEAST;

	while (size < 2 * length)
		size *= 2;
	return size <= LARGEST_SIZE ? size : 0;
}

static int64_t signal_bytes(int64_t size)
{
	return (int64_t)sizeof(float2) * (size + size / 16);
}

int64_t cr_cuda_fused_shared(int64_t size)
{
	return signal_bytes(size) + 4 * HEAD * (int64_t)sizeof(float);
}

int cr_cuda_make_twiddles(cr_cuda *cuda, int64_t size, float2 **twiddles, crocuta_error *error)
{
	const int64_t bytes = size * (int64_t)sizeof **twiddles;
	float2 *host = (float2 *)malloc((size_t)bytes);
	int code;

	if (!host)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for twiddles");
	for (int64_t i = 0; i < size; i++) {
		const double angle = -2 * 3.14159265358979323846 * (double)i / (double)size;

		host[i] = make_float2((float)cos(angle), (float)sin(angle));
	}
	code = cr_cuda_upload(cuda, (void **)twiddles, host, bytes, error);
	free(host);
	return code;
}

/* A range of channels of a pass. */
typedef struct fused_pass {
	const cr_cuda_signals *signals;
	const float2 *twiddles;
	const cufftComplex *filter;
	int64_t batch, first, channels;
} fused_pass;

template <int LOG, int THREADS, typename T>
static cudaError_t launch(cr_cuda *cuda, const fused_pass *p)
{
	const int bytes = (int)signal_bytes(1 << LOG);
	const unsigned blocks = (unsigned)(p->batch * ((p->channels + 1) / 2));
	cudaError_t status =
		cudaFuncSetAttribute(convolve_pairs<LOG, THREADS, T>,
				     cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);

	if (status != cudaSuccess)
		return status;
	convolve_pairs<LOG, THREADS, T><<<blocks, THREADS, bytes, cuda->stream>>>(
		*p->signals, (int)p->first, (int)p->channels, p->filter, p->twiddles);
	return cudaGetLastError();
}

template <typename T>
static cudaError_t launch_size(cr_cuda *cuda, int64_t size, const fused_pass *p)
{
	switch (size) {
	case CR_CUDA_FUSED_LEAST:
		return launch<13, 512, T>(cuda, p);
	case LARGEST_SIZE:
		return launch<14, 1024, T>(cuda, p);
	default:
		return cudaErrorInvalidValue;
	}
}

int cr_cuda_fused_run(cr_cuda *cuda, const cr_cuda_signals *signals, int64_t batch, int64_t size,
		      const float2 *twiddles, const cufftComplex *filter, int64_t first,
		      int64_t channels, crocuta_error *error)
{
	const fused_pass p = {signals, twiddles, filter, batch, first, channels};

	CR_CUDA_TRY(cuda->dtype == CR_CUDA_BF16 ? launch_size<__nv_bfloat16>(cuda, size, &p)
						: launch_size<float>(cuda, size, &p),
		    "the convolution");
	return 0;
}
