/* tile_hopper.cu - the local pass of Hopper GPUs in bfloat16: everything between two mixers in one kernel
 * (tile_hopper.cuh has the frame); and the choice between it and the float32 one, tile_hopper_f32.cu.
 *
 * Device memory sees 16 D bytes a row and layer: y and u (2 D and 6 D), the residual in and out (8 D).
 *
 * Sums are float32 in registers; the residual is the initial value of fc2's sum. Norm weights and shifts are
 * folded into the products behind them, and in_proj's bias into the short filter.
 */
#include "backend/cuda/tile_hopper.cuh"

#include <stdlib.h>

/* Of width D. */
template <int D> struct shape {
	static constexpr int STAGE_BYTES = TILE_BF16_STAGE_BYTES;
	static constexpr int STAGES = 5;
	/* slices of 64 in K that a stage holds, for products of D and of SLAB columns */
	static constexpr int SLICES = STAGE_BYTES / (D * 128);
	static constexpr int SLAB_SLICES = STAGE_BYTES / (SLAB * 128);
	/* stages of D x D, of a slab of fc1 and of fc2 */
	static constexpr int SQUARE = D / 64 / SLICES;
	static constexpr int FC1 = D / 64 / SLAB_SLICES;
	static constexpr int FC2 = SLAB / 64 / SLICES;
	static constexpr int GROUP_BYTES = GROUP_ROWS * D * 2; /* of y or x in shared memory */
	typedef ring<STAGES, STAGE_BYTES> ring_type;
};

template <int D> using weight_ring = typename shape<D>::ring_type;

struct cr_cuda_tile {
	char *weights;        /* [layer]: in, out, slabs */
	layer_weights *layer; /* (N), host */
	float (*alpha)[4];    /* (N), host; f32: of out, fc1, fc2, in */
	int64_t layer_bytes, head_stages, tail_stages;
};

/* sum = y out' */
template <int D> __device__ inline void project_out(const place &p, weight_ring<D> *r, sums<D> &sum)
{
	typedef shape<D> S;

#pragma unroll
	for (int stage = 0; stage < S::SQUARE; stage++) {
		const uint32_t w = ring_take(r);
		uint32_t a[4 * S::SLICES][4];

#pragma unroll
		for (int step = 0; step < 4 * S::SLICES; step++)
			y_fragment(p, 4 * S::SLICES * stage + step, a[step]);
		products_begin();
#pragma unroll
		for (int step = 0; step < 4 * S::SLICES; step++)
			multiply_registers(sum, a[step],
					   matrix_descriptor(w + step / 4 * D * 128 + step % 4 * 32),
					   stage || step);
		stage_queued(r, stage, stage == S::SQUARE - 1);
	}
}

__device__ inline uint32_t pack(float low, float high)
{
	const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);

	return *(const uint32_t *)&two;
}

/* cr_norm_scale with the hardware's root. */
__device__ inline float norm_scale(float variance, float epsilon)
{
	return variance < INFINITY ? rsqrtf(variance + epsilon) : NAN;
}

/* Rows without mean and with variance 1 to shared memory, as an operand. */
template <int D>
__device__ inline void normalise(const place &p, float epsilon, const sums<D> &sum)
{
	group_sync(1 + p.group); /* all have read what was there */
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const float *v = sum + 2 * half;
		const int row = 16 * p.warp + 8 * half + p.g;
		float mean, variance, scale;

		row_moments<D>(sum, half, &mean, &variance);
		scale = norm_scale(variance, epsilon);
#pragma unroll
		for (int j = 0; j < D / 8; j++)
			store_shared(x_address(p, j, row),
				     pack((v[4 * j] - mean) * scale, (v[4 * j + 1] - mean) * scale));
	}
	publish_shared();
	group_sync(1 + p.group);
}

/* The same as fragments of an operand in registers, four for each 16 columns. */
template <int D>
__device__ inline void normalised_fragments(float epsilon, const sums<D> &sum, uint32_t (&x)[D / 4])
{
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const float *v = sum + 2 * half;
		float mean, variance, scale;

		row_moments<D>(sum, half, &mean, &variance);
		scale = norm_scale(variance, epsilon);
#pragma unroll
		for (int j = 0; j < D / 8; j++)
			x[4 * (j / 2) + 2 * (j % 2) + half] =
				pack((v[4 * j] - mean) * scale, (v[4 * j + 1] - mean) * scale);
	}
}

/* Descriptor of x, step of 16 in K. */
__device__ inline uint64_t x_descriptor(const place &p, int step)
{
	return matrix_descriptor(p.x + step / 4 * GROUP_ROWS * 128 + step % 4 * 32);
}

/* GELU, tanh form, with the hardware's tanh: an error of up to 2.4e-4 |x|, a sixteenth of bfloat16's step at x; it is more
 * than that beside the small values left of 0. */
__device__ inline float fast_gelu(float x)
{
	const float u = x * (0.7978845608f + 0.0356774081f * x * x), h = 0.5f * x;
	float t;

	asm("tanh.approx.f32 %0, %1;\n" : "=f"(t) : "f"(u));
	return h + h * t;
}

/* A slab of fc1's output, activated, as fragments of fc2's operand. */
__device__ inline void activate(const place &p, const float *bias, const float (&h)[SLAB / 2],
				uint32_t (&a)[SLAB / 4])
{
#pragma unroll
	for (int j = 0; j < SLAB / 8; j++) {
		const float2 b = __ldg((const float2 *)(bias + 8 * j + 2 * p.q));

		/* column pair j of 8 is half of the 16 in K of step j / 2 */
		a[4 * (j / 2) + 2 * (j % 2)] =
			pack(fast_gelu(h[4 * j] + b.x), fast_gelu(h[4 * j + 1] + b.y));
		a[4 * (j / 2) + 2 * (j % 2) + 1] =
			pack(fast_gelu(h[4 * j + 2] + b.x), fast_gelu(h[4 * j + 3] + b.y));
		if (j % 4 == 3) /* biases are not all read at once: registers are short */
			asm volatile("" ::: "memory");
	}
}

/* sum += fc2(gelu(fc1 x + bias)) over one slab of the inner width. */
template <int D>
__device__ inline void slab_of_mlp(const place &p, weight_ring<D> *r, const float *bias,
				   sums<D> &sum)
{
	typedef shape<D> S;
	float h[SLAB / 2];
	uint32_t a[SLAB / 4];

	products_begin();
#pragma unroll
	for (int stage = 0; stage < S::FC1; stage++) {
		const uint32_t w = ring_take(r);

#pragma unroll
		for (int step = 0; step < 4 * S::SLAB_SLICES; step++)
			multiply_shared(h, x_descriptor(p, 4 * S::SLAB_SLICES * stage + step),
					matrix_descriptor(w + step / 4 * SLAB * 128 + step % 4 * 32),
					stage || step);
		stage_queued(r, stage, stage == S::FC1 - 1);
	}
	activate(p, bias, h, a);
	products_begin();
#pragma unroll
	for (int stage = 0; stage < S::FC2; stage++) {
		const uint32_t w = ring_take(r);

#pragma unroll
		for (int step = 0; step < 4 * S::SLICES; step++)
			multiply_registers(sum, a + 4 * (4 * S::SLICES * stage + step),
					   matrix_descriptor(w + step / 4 * D * 128 + step % 4 * 32),
					   1);
		stage_queued(r, stage, stage == S::FC2 - 1);
	}
}

/* D columns of u, channels from `channel` on. Threads exchange so that each has four rows of a channel. */
template <int D>
__device__ inline void store_u(const place &p, const tile_arguments &a, int64_t row, int64_t channel,
			       const sums<D> &sum)
{
	const int odd = p.g & 1, second = p.g >> 1 & 1;
	__nv_bfloat16 *to = (__nv_bfloat16 *)a.u + (channel + 2 * p.q + odd) * a.stride + row +
			    16 * p.warp + (p.g & 4) + 8 * second;

#pragma unroll
	for (int j = 0; j < D / 8; j++, to += 8 * a.stride) {
		const uint32_t p0 = pack(sum[4 * j], sum[4 * j + 1]);
		const uint32_t p1 = pack(sum[4 * j + 2], sum[4 * j + 3]);
		const uint32_t o0 = __shfl_xor_sync(0xffffffffu, p0, 4);
		const uint32_t o1 = __shfl_xor_sync(0xffffffffu, p1, 4);
		/* two rows of the even or the odd channel */
		const uint32_t w0 = odd ? __byte_perm(o0, p0, 0x7632) : __byte_perm(p0, o0, 0x5410);
		const uint32_t w1 = odd ? __byte_perm(o1, p1, 0x7632) : __byte_perm(p1, o1, 0x5410);
		const uint32_t got = __shfl_xor_sync(0xffffffffu, second ? w0 : w1, 8);

		*(uint2 *)to = second ? make_uint2(got, w1) : make_uint2(w0, got);
	}
}

/* u = in x'; x, normalised here, stays in registers. */
template <int D>
__device__ inline void project_in(const place &p, weight_ring<D> *r, const tile_arguments &a,
				  int64_t row, sums<D> &sum)
{
	typedef shape<D> S;
	uint32_t x[D / 4];

	normalised_fragments<D>(a.epsilon, sum, x);
	for (int part = 0; part < 3; part++) {
		products_begin();
#pragma unroll
		for (int stage = 0; stage < S::SQUARE; stage++) {
			const uint32_t w = ring_take(r);

#pragma unroll
			for (int step = 0; step < 4 * S::SLICES; step++)
				multiply_registers(
					sum, x + 4 * (4 * S::SLICES * stage + step),
					matrix_descriptor(w + step / 4 * D * 128 + step % 4 * 32),
					stage || step);
			stage_queued(r, stage, stage == S::SQUARE - 1);
		}
		store_u<D>(p, a, row, part * D, sum);
	}
}

/* A tile of the computing warpgroups; y of the first has been asked for, that of the next (row; or -1) is asked
 * for as soon as the MLP has read x for the last time. */
template <int D, int HEAD, int TAIL>
__device__ inline void compute_tile(const place &p, weight_ring<D> *r, const tile_arguments &a,
				    int64_t row, int64_t next)
{
	const layer_weights &w = a.weights;
	sums<D> sum;

	if (HEAD) {
		wait_for_y(p);
		project_out<D>(p, r, sum);
	}
	take_residual<D, HEAD>(p, a, row, w.out_bias, sum);
	if (HEAD) {
		normalise<D>(p, a.epsilon, sum);
		add_bias<D>(p, w.fc2_bias, sum);
		for (int first = 0; first < a.inner; first += SLAB)
			slab_of_mlp<D>(p, r, w.fc1_bias + first, sum);
		group_sync(1 + p.group); /* x has been read by all */
		if (next >= 0)
			load_y<D>(p, a, next);
		store_residual<D>(p, a, row, sum);
	}
	if (TAIL)
		project_in<D>(p, r, a, row, sum);
}

template <int D, int HEAD_, int TAIL> struct pass : shape<D> {
	static constexpr int HEAD = HEAD_;

	static __device__ inline void load(const place &p, const tile_arguments &a, int64_t row)
	{
		load_y<D>(p, a, row);
	}

	static __device__ inline void tile(const place &p, weight_ring<D> *r,
					   const tile_arguments &a, int64_t row, int64_t next)
	{
		compute_tile<D, HEAD, TAIL>(p, r, a, row, next);
	}
};

template <int D, int HEAD, int TAIL>
__global__ void __launch_bounds__(THREADS, 1) local_pass(const __grid_constant__ tile_arguments a)
{
	compute_tiles<pass<D, HEAD, TAIL>>(a);
}

/* ---- host ------------------------------------------------------------------------------------ */

int cr_cuda_tile_fits(const cr_network *network, int capability, int dtype)
{
	return (dtype == CR_CUDA_BF16 || dtype == CR_CUDA_F32) && capability == 90 &&
	       (network->width == 128 || network->width == 256) &&
	       network->inner_width % SLAB == 0;
}

/* Of weights; those of in_proj. */
static int64_t layer_bytes(const cr_network *n, int dtype)
{
	return (dtype == CR_CUDA_F32 ? 6 : 2) *
	       (4 * n->width * n->width + 2 * n->width * n->inner_width);
}

static int64_t in_bytes(const cr_network *n, int dtype)
{
	return (dtype == CR_CUDA_F32 ? 6 : 2) * 3 * n->width * n->width;
}

int64_t cr_cuda_tile_bytes(const cr_network *n, int dtype)
{
	return n->layers * (layer_bytes(n, dtype) + 4 * (2 * n->width + n->inner_width));
}

/* Rows [n0, n0 + count) and columns [k0, k0 + 64) of w (_, in), scaled, as a swizzled image; returns its end. */
static __nv_bfloat16 *put_slice(__nv_bfloat16 *to, const float *w, int64_t in, const float *scale,
				int64_t n0, int64_t count, int64_t k0)
{
	for (int64_t n = 0; n < count; n++)
		for (int64_t k = 0; k < 64; k++) {
			const float value = w[(n0 + n) * in + k0 + k] * (scale ? scale[k0 + k] : 1);

			to[cr_cuda_slice_index(n, k)] = __float2bfloat16_rn(value);
		}
	return to + 64 * count;
}

static void pack_layer(const cr_network *n, const cr_block_weights *w, __nv_bfloat16 *to)
{
	const int64_t d = n->width;

	for (int64_t part = 0; part < 3; part++)
		for (int64_t k = 0; k < d; k += 64)
			to = put_slice(to, w->in_weight, d, w->norm1_weight, part * d, d, k);
	for (int64_t k = 0; k < d; k += 64)
		to = put_slice(to, w->out_weight, d, NULL, 0, d, k);
	for (int64_t slab = 0; slab < n->inner_width; slab += SLAB) {
		for (int64_t k = 0; k < d; k += 64)
			to = put_slice(to, w->fc1_weight, d, w->norm2_weight, slab, SLAB, k);
		for (int64_t k = 0; k < SLAB; k += 64)
			to = put_slice(to, w->fc2_weight, n->inner_width, NULL, 0, d, slab + k);
	}
}

static int upload_layer(cr_cuda *cuda, cr_cuda_tile *t, int64_t layer, void *packed, float *folded,
			crocuta_error *error)
{
	const cr_network *n = cuda->network;
	const cr_block_weights *w = &n->block[layer];
	const int64_t d = n->width;
	char *to = t->weights + layer * t->layer_bytes;
	layer_weights *after = &t->layer[layer];
	int code;

	if (cuda->dtype == CR_CUDA_F32)
		cr_cuda_tile_f32_pack(n, w, packed, t->alpha[layer]);
	else
		pack_layer(n, w, (__nv_bfloat16 *)packed);
	CR_CUDA_TRY(cudaMemcpy(to, packed, (size_t)t->layer_bytes, cudaMemcpyHostToDevice),
		    "copying weights");
	after->stages = to + in_bytes(n, cuda->dtype);
	cr_cuda_folded_bias(w->fc1_weight, w->fc1_bias, w->norm2_bias, n->inner_width, d, folded);
	code = cr_cuda_upload(cuda, (void **)&after->fc1_bias, folded, 4 * n->inner_width, error);
	if (!code)
		code = cr_cuda_upload(cuda, (void **)&after->out_bias, w->out_bias, 4 * d, error);
	if (!code)
		code = cr_cuda_upload(cuda, (void **)&after->fc2_bias, w->fc2_bias, 4 * d, error);
	return code;
}

int cr_cuda_tile_new(cr_cuda *cuda, cr_cuda_tile **tile, crocuta_error *error)
{
	const cr_network *n = cuda->network;
	const int64_t bytes = layer_bytes(n, cuda->dtype), in = in_bytes(n, cuda->dtype);
	const int64_t stage = cuda->dtype == CR_CUDA_F32 ? TILE_F32_STAGE_BYTES
							 : TILE_BF16_STAGE_BYTES;
	cr_cuda_tile *t = (cr_cuda_tile *)calloc(1, sizeof *t);
	void *packed = malloc((size_t)bytes);
	float *folded = (float *)malloc((size_t)n->inner_width * sizeof *folded);
	int code = 0;

	*tile = t;
	if (t) {
		t->layer = (layer_weights *)calloc((size_t)n->layers, sizeof *t->layer);
		t->alpha = (float(*)[4])calloc((size_t)n->layers, sizeof *t->alpha);
	}
	if (!t || !t->layer || !t->alpha || !packed || !folded)
		code = cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	if (!code) {
		t->layer_bytes = bytes;
		t->tail_stages = in / stage;
		t->head_stages = (bytes - in) / stage;
		code = cr_cuda_alloc(cuda, (void **)&t->weights, n->layers * bytes, error);
	}
	for (int64_t i = 0; !code && i < n->layers; i++)
		code = upload_layer(cuda, t, i, packed, folded, error);
	free(packed);
	free(folded);
	return code;
}

void cr_cuda_tile_free(cr_cuda_tile *t, int64_t layers)
{
	if (!t)
		return;
	for (int64_t i = 0; t->layer && i < layers; i++) {
		cudaFree((void *)t->layer[i].out_bias);
		cudaFree((void *)t->layer[i].fc1_bias);
		cudaFree((void *)t->layer[i].fc2_bias);
	}
	cudaFree(t->weights);
	free(t->layer);
	free(t->alpha);
	free(t);
}

cudaError_t cr_cuda_tile_launch(cr_cuda *cuda, void (*kernel)(tile_arguments), int shared_bytes,
				const tile_arguments *a)
{
	cudaLaunchConfig_t config = {};
	cudaLaunchAttribute cluster = {};
	cudaError_t status = cudaFuncSetAttribute((const void *)kernel,
						  cudaFuncAttributeMaxDynamicSharedMemorySize,
						  shared_bytes);
	int blocks;

	if (status != cudaSuccess)
		return status;
	blocks = a->tiles < cuda->multiprocessors ? a->tiles : cuda->multiprocessors;
	blocks = blocks < CLUSTER ? CLUSTER : blocks / CLUSTER * CLUSTER;
	cluster.id = cudaLaunchAttributeClusterDimension;
	cluster.val.clusterDim.x = CLUSTER;
	cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
	config.gridDim = dim3((unsigned)blocks);
	config.blockDim = dim3(THREADS);
	config.dynamicSmemBytes = (size_t)shared_bytes;
	config.stream = cuda->stream;
	config.attrs = &cluster;
	config.numAttrs = 1;
	return cudaLaunchKernelEx(&config, kernel, *a);
}

template <int D, int HEAD, int TAIL>
static cudaError_t launch(cr_cuda *cuda, const tile_arguments *a)
{
	return cr_cuda_tile_launch(cuda, local_pass<D, HEAD, TAIL>,
				   tile_shared_bytes<pass<D, HEAD, TAIL>>(), a);
}

template <int D>
static cudaError_t launch_width(cr_cuda *cuda, const tile_arguments *a, int head, int tail)
{
	if (!head)
		return launch<D, 0, 1>(cuda, a);
	return tail ? launch<D, 1, 1>(cuda, a) : launch<D, 1, 0>(cuda, a);
}

int cr_cuda_tile_run(cr_cuda *cuda, int64_t head, int64_t tail, int64_t rows, crocuta_error *error)
{
	const cr_cuda_tile *t = cuda->tile;
	const int with_head = head >= 0, with_tail = tail >= 0;
	tile_arguments a = {};

	if (!with_head && !with_tail)
		return 0;
	if (with_head)
		a.weights = t->layer[head];
	else
		a.weights.stages = t->weights + tail * t->layer_bytes;
	a.y = cuda->y;
	a.residual = cuda->residual;
	a.u = cuda->u;
	a.stride = cuda->stride;
	a.tiles = (int)cr_ceil_div(rows, TILE_ROWS);
	a.inner = (int)cuda->network->inner_width;
	a.stages = (int)((with_head ? t->head_stages : 0) + (with_tail ? t->tail_stages : 0));
	a.epsilon = (float)cuda->network->norm_epsilon;
	a.overflow = cuda->overflow;
	if (with_head) {
		a.out_alpha = t->alpha[head][0];
		a.fc1_alpha = t->alpha[head][1];
		a.fc2_alpha = t->alpha[head][2];
	}
	if (with_tail)
		a.in_alpha = t->alpha[tail][3];
	if (cuda->dtype == CR_CUDA_F32)
		CR_CUDA_TRY(cr_cuda_tile_f32_launch(cuda, &a, with_head, with_tail),
			    "the local pass");
	else if (cuda->network->width == 128)
		CR_CUDA_TRY(launch_width<128>(cuda, &a, with_head, with_tail), "the local pass");
	else
		CR_CUDA_TRY(launch_width<256>(cuda, &a, with_head, with_tail), "the local pass");
	return 0;
}
