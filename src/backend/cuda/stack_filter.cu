/* stack_filter.cu - filters with explicit taps along the sequence: the short ones of the front, and
 * those of up to a few hundred taps that groups of channels share.
 *
 * Threads of a warp are neighbouring channels, each working on a run of positions with what it needs
 * of the past in registers. Sums are float32's, in the order of the taps at every position.
 */
#include "backend/cuda/stack.cuh"

/* Room of a grid's second dimension. */
#define MOST_BLOCKS_Y 65535

/* ---- front ----------------------------------------------------------------------------------- */

#define FRONT_THREADS 128 /* V channels each */
#define FRONT_RUN 32      /* positions of a thread */

struct front_arguments {
	const void *z;
	const float *taps, *bias; /* bias may be NULL */
	void *x2, *g;             /* x2 may be NULL */
	int64_t rows, width, length;
	int parts;
};

/* c[row] of one channel of z, of `length` taps; z: at row 0. */
template <typename A>
__device__ static float filtered(const front_arguments &a, int64_t row, int64_t channel)
{
	const int64_t stride = a.parts * a.width;
	const A *z = (const A *)a.z + row * stride + channel;
	const float *taps = a.taps + channel * a.length;
	float sum = a.bias ? a.bias[channel] : 0;

	for (int64_t k = 0; k < a.length; k++)
		sum = fmaf(taps[k], cr_to_float(z[-k * stride]), sum);
	return sum;
}

/* Any number of taps, any width: a thread for each number of g. */
template <typename A>
__global__ void __launch_bounds__(FRONT_THREADS) front_any_kernel(front_arguments a)
{
	const int64_t d = (int64_t)blockIdx.x * FRONT_THREADS + threadIdx.x;
	const int64_t x1 = (a.parts - 2) * a.width;

	if (d >= a.width)
		return;
	for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) {
		const int64_t at = row * a.width + d;

		if (a.x2)
			((A *)a.x2)[at] = cr_from_float<A>(filtered<A>(a, row, d));
		((A *)a.g)[at] = cr_from_float<A>(filtered<A>(a, row, x1 + d) *
						  filtered<A>(a, row, x1 + a.width + d));
	}
}

/* One part of z as a thread sees it: V channels, T taps, the last T - 1 rows. */
template <int V, int T> struct front_part {
	float taps[T][V], past[T][V], bias[V]; /* past[k]: k rows ago; [0] is now */
};

template <typename A, int V, int T>
__device__ static void load_now(front_part<V, T> &part, const A *z)
{
	const cr_pack<A, V> pack = *(const cr_pack<A, V> *)z;

#pragma unroll
	for (int i = 0; i < V; i++)
		part.past[0][i] = cr_to_float(pack.value[i]);
}

template <int V, int T> __device__ static void step(front_part<V, T> &part)
{
#pragma unroll
	for (int k = T - 1; k > 0; k--)
#pragma unroll
		for (int i = 0; i < V; i++)
			part.past[k][i] = part.past[k - 1][i];
}

template <int V, int T> __device__ static float filter_now(const front_part<V, T> &part, int i)
{
	float sum = part.bias[i];

#pragma unroll
	for (int k = 0; k < T; k++)
		sum = fmaf(part.taps[k][i], part.past[k][i], sum);
	return sum;
}

/* Taps and bias of V channels, and the T - 1 rows before the one z points to. */
template <typename A, int V, int T>
__device__ static void enter(front_part<V, T> &part, const front_arguments &a, const A *z,
			     int64_t channel)
{
	const int64_t stride = a.parts * a.width;

#pragma unroll
	for (int i = 0; i < V; i++) {
		part.bias[i] = a.bias ? a.bias[channel + i] : 0;
#pragma unroll
		for (int k = 0; k < T; k++)
			part.taps[k][i] = a.taps[(channel + i) * T + k];
	}
#pragma unroll
	for (int k = T - 1; k > 0; k--) {
		load_now<A>(part, z - k * stride);
		step(part);
	}
}

/* FRONT_RUN rows of V channels a thread. */
template <typename A, int V, int T, int PARTS>
__global__ void __launch_bounds__(FRONT_THREADS) front_kernel(front_arguments a)
{
	const int64_t d = ((int64_t)blockIdx.x * FRONT_THREADS + threadIdx.x) * V;
	const int64_t from = (int64_t)blockIdx.y * FRONT_RUN, stride = PARTS * a.width;
	const int64_t to = from + FRONT_RUN < a.rows ? from + FRONT_RUN : a.rows;
	front_part<V, T> part[PARTS];

	if (d >= a.width)
		return;
	const A *z = (const A *)a.z + from * stride + d;

#pragma unroll
	for (int p = 0; p < PARTS; p++)
		enter<A>(part[p], a, z + p * a.width, p * a.width + d);
#pragma unroll 4
	for (int64_t row = from; row < to; row++) {
		cr_pack<A, V> x2, g;

#pragma unroll
		for (int p = 0; p < PARTS; p++)
			load_now<A>(part[p], z + p * a.width);
#pragma unroll
		for (int i = 0; i < V; i++) {
			if (PARTS == 3)
				x2.value[i] = cr_from_float<A>(filter_now(part[0], i));
			g.value[i] = cr_from_float<A>(filter_now(part[PARTS - 2], i) *
						      filter_now(part[PARTS - 1], i));
		}
		if (PARTS == 3 && a.x2)
			*(cr_pack<A, V> *)((A *)a.x2 + row * a.width + d) = x2;
		*(cr_pack<A, V> *)((A *)a.g + row * a.width + d) = g;
#pragma unroll
		for (int p = 0; p < PARTS; p++)
			step(part[p]);
		z += stride;
	}
}

/* The three taps that hybrids have, by register; all else by the plain kernel. */
template <typename A>
static int front_rows(cr_stack_device *device, const cr_stack_front *arguments,
		      crocuta_error *error)
{
	constexpr int V = 2;
	const front_arguments a = {arguments->z,    arguments->taps, arguments->bias,
				   arguments->x2,   arguments->g,    arguments->rows,
				   arguments->width, arguments->length, arguments->parts};
	const int64_t bytes = V * (int64_t)sizeof(A), runs = cr_ceil_div(a.rows, FRONT_RUN);
	const dim3 wide(cr_cuda_blocks(a.width, V * FRONT_THREADS), (unsigned)runs);
	const dim3 any(cr_cuda_blocks(a.width, FRONT_THREADS),
		       (unsigned)(a.rows < MOST_BLOCKS_Y ? a.rows : MOST_BLOCKS_Y));

	if (a.length != 3 || a.width % V || runs > MOST_BLOCKS_Y || !cr_cuda_aligned(a.z, 0, bytes) ||
	    !cr_cuda_aligned(a.x2, 0, bytes) || !cr_cuda_aligned(a.g, 0, bytes))
		front_any_kernel<A><<<any, FRONT_THREADS, 0, device->stream>>>(a);
	else if (a.parts == 3)
		front_kernel<A, V, 3, 3><<<wide, FRONT_THREADS, 0, device->stream>>>(a);
	else
		front_kernel<A, V, 3, 2><<<wide, FRONT_THREADS, 0, device->stream>>>(a);
	CR_CUDA_LAUNCHED("a short filter");
	return 0;
}

int cr_cuda_stack_front(cr_stack_device *device, const cr_stack_front *arguments,
			crocuta_error *error)
{
	const int parts = arguments->parts;

	if (arguments->length < 1 || arguments->length > 8 || (parts != 2 && parts != 3) ||
	    (parts == 2 && arguments->x2))
		return cr_fail(error, CROCUTA_EARG, "short filter of %lld taps on %d parts",
			       (long long)arguments->length, parts);
	if (arguments->rows <= 0 || arguments->width <= 0)
		return 0;
	return CR_CUDA_STACK_BY_TYPE(front_rows);
}

/* ---- fir ------------------------------------------------------------------------------------- */

#define FIR_THREADS 256
#define FIR_CHANNELS 32 /* of a block: one a lane */
#define FIR_RUN 24      /* positions of a thread */
#define FIR_ROWS (FIR_THREADS / FIR_CHANNELS * FIR_RUN)
#define FIR_STEP 8      /* taps at a time */
#define FIR_TAPS 128 /* of one pass over shared memory; longer filters take several */

struct fir_arguments {
	const void *g, *x2;
	const float *taps, *skip; /* skip may be NULL */
	void *y;
	int64_t rows, width, length, share; /* share: channels of one filter */
};

/* Taps of a pass, padded with zeros to whole steps, and how far apart filters lie in shared memory: 4
 * more, so that those of 8 lanes fall into different banks. */
__host__ __device__ static inline int fir_pass(int64_t length)
{
	return length > FIR_TAPS ? FIR_TAPS : (int)((length + FIR_STEP - 1) / FIR_STEP * FIR_STEP);
}

__host__ __device__ static inline int fir_filters(int64_t share)
{
	const int64_t most = (FIR_CHANNELS - 1) / share + 2; /* one may begin before the block */

	return most < FIR_CHANNELS ? (int)most : FIR_CHANNELS;
}

/* Shared memory: taps (filters, pass + 4) float, then g (FIR_ROWS + pass, FIR_CHANNELS) A. */
static int64_t fir_shared_bytes(int64_t share, int64_t length, int64_t number)
{
	const int64_t pass = fir_pass(length);

	return fir_filters(share) * (pass + 4) * (int64_t)sizeof(float) +
	       (FIR_ROWS + pass) * FIR_CHANNELS * number;
}

/* Taps k0 .. k0 + pass of the filters from `filter` on; zeros behind the last tap. */
__device__ static void load_taps(const fir_arguments &a, int64_t filter, int64_t k0, int pass,
				 float *taps)
{
	const int64_t filters = a.width / a.share;

	for (int i = threadIdx.x; i < fir_filters(a.share) * pass; i += FIR_THREADS) {
		const int f = i / pass, k = i % pass;

		taps[f * (pass + 4) + k] = filter + f < filters && k0 + k < a.length
						   ? a.taps[(filter + f) * a.length + k0 + k]
						   : 0;
	}
}

/* Rows of g that the block's outputs need for taps k0 .. k0 + pass: place r holds row row0 - k0 - pass + r.
 * Rows that no tap reaches, and those behind the last output, are zeros: they need not exist. */
template <typename A>
__device__ static void load_rows(const fir_arguments &a, int64_t row0, int64_t channel0, int64_t k0,
				 int pass, A *rows)
{
	const int64_t channel = channel0 + threadIdx.x % FIR_CHANNELS;
	const int64_t first = row0 - k0 - pass;

	for (int r = threadIdx.x / FIR_CHANNELS; r < FIR_ROWS + pass;
	     r += FIR_THREADS / FIR_CHANNELS) {
		const int64_t row = first + r;
		const int there = channel < a.width && row < a.rows && row > row0 - a.length;

		rows[r * FIR_CHANNELS + threadIdx.x % FIR_CHANNELS] =
			there ? ((const A *)a.g)[row * a.width + channel] : cr_from_float<A>(0);
	}
}

/* sum[p] += taps[k] g[p - k] for the taps of a pass. taps: of this thread's channel; g: at its first output,
 * in shared memory. window[j] is g[j - k - FIR_STEP], which FIR_STEP taps from k on need; with them it moves
 * FIR_STEP rows back. */
template <typename A>
__device__ static void fir_accumulate(const float *taps, const A *g, int pass, float *sum)
{
	float window[FIR_RUN + FIR_STEP];

#pragma unroll
	for (int p = 0; p < FIR_RUN; p++)
		window[p] = cr_to_float(g[p * FIR_CHANNELS]);
#pragma unroll 4
	for (int k = 0; k < pass; k += FIR_STEP) {
		const float4 low = *(const float4 *)(taps + k);
		const float4 high = *(const float4 *)(taps + k + 4);
		const float tap[FIR_STEP] = {low.x,  low.y,  low.z,  low.w,
					     high.x, high.y, high.z, high.w};

#pragma unroll
		for (int j = FIR_RUN + FIR_STEP - 1; j >= FIR_STEP; j--)
			window[j] = window[j - FIR_STEP];
#pragma unroll
		for (int j = 0; j < FIR_STEP; j++)
			window[j] = cr_to_float(g[(j - k - FIR_STEP) * FIR_CHANNELS]);
#pragma unroll
		for (int i = 0; i < FIR_STEP; i++)
#pragma unroll
			for (int p = 0; p < FIR_RUN; p++)
				sum[p] = fmaf(tap[i], window[p - i + FIR_STEP], sum[p]);
	}
}

/* A block: FIR_ROWS rows of FIR_CHANNELS channels; a warp FIR_RUN rows of them. */
template <typename A> __global__ void __launch_bounds__(FIR_THREADS) fir_kernel(fir_arguments a)
{
	extern __shared__ float4 shared[];
	const int pass = fir_pass(a.length), lane = threadIdx.x % FIR_CHANNELS;
	const int64_t channel0 = (int64_t)blockIdx.x * FIR_CHANNELS, channel = channel0 + lane;
	const int64_t row0 = (int64_t)blockIdx.y * FIR_ROWS;
	const int64_t run = threadIdx.x / FIR_CHANNELS * FIR_RUN, filter0 = channel0 / a.share;
	const int64_t filter = channel < a.width ? channel / a.share - filter0 : 0;
	float *taps = (float *)shared;
	A *rows = (A *)(taps + fir_filters(a.share) * (pass + 4));
	float sum[FIR_RUN] = {};

	for (int64_t k0 = 0; k0 < a.length; k0 += pass) {
		__syncthreads(); /* the last pass is done with */
		load_taps(a, filter0, k0, pass, taps);
		load_rows(a, row0, channel0, k0, pass, rows);
		__syncthreads();
		fir_accumulate(taps + filter * (pass + 4), rows + (pass + run) * FIR_CHANNELS + lane,
			       pass, sum);
	}
	if (channel >= a.width)
		return;
	const float skip = a.skip ? a.skip[channel] : 0;

#pragma unroll
	for (int p = 0; p < FIR_RUN; p++) {
		const int64_t row = row0 + run + p, at = row * a.width + channel;

		if (row >= a.rows)
			break;
		if (a.skip)
			sum[p] = fmaf(skip, cr_to_float(((const A *)a.g)[at]), sum[p]);
		((A *)a.y)[at] = cr_from_float<A>(sum[p] * cr_to_float(((const A *)a.x2)[at]));
	}
}

template <typename A>
static int fir_rows(cr_stack_device *device, const cr_stack_fir *arguments, crocuta_error *error)
{
	const cr_fir_weights *w = arguments->weights;
	const fir_arguments a = {arguments->g,    arguments->x2, w->taps,
				 arguments->skip, arguments->y,  arguments->rows,
				 arguments->width, w->length,    arguments->width / w->groups};
	const int64_t bytes = fir_shared_bytes(a.share, a.length, sizeof(A));
	const int64_t runs = cr_ceil_div(a.rows, FIR_ROWS);
	const dim3 blocks(cr_cuda_blocks(a.width, FIR_CHANNELS), (unsigned)runs);

	if (runs > MOST_BLOCKS_Y)
		return cr_fail(error, CROCUTA_EARG, "GPU: %lld rows in one call", (long long)a.rows);
	CR_CUDA_TRY(cudaFuncSetAttribute(fir_kernel<A>, cudaFuncAttributeMaxDynamicSharedMemorySize,
					 (int)bytes),
		    "preparing a filter");
	fir_kernel<A><<<blocks, FIR_THREADS, (size_t)bytes, device->stream>>>(a);
	CR_CUDA_LAUNCHED("a filter");
	return 0;
}

int cr_cuda_stack_fir(cr_stack_device *device, const cr_stack_fir *arguments, crocuta_error *error)
{
	const cr_fir_weights *w = arguments->weights;

	if (w->groups < 1 || w->length < 1 || arguments->width % w->groups)
		return cr_fail(error, CROCUTA_EARG, "%lld filters of %lld taps for %lld channels",
			       (long long)w->groups, (long long)w->length,
			       (long long)arguments->width);
	if (arguments->rows <= 0 || arguments->width <= 0)
		return 0;
	return CR_CUDA_STACK_BY_TYPE(fir_rows);
}
