/* tile_hopper.cuh - what the fused local passes of Hopper GPUs share; private to tile_hopper.cu (bfloat16) and
 * tile_hopper_f32.cu (float32 from split halves).
 *
 * A thread block takes a tile of rows from y through out_proj, add, norm, MLP, add, norm and in_proj to u;
 * activations between these stay in registers and shared memory.
 *
 * Two warpgroups compute, each its own half of the tile's rows; while one is at a GELU or a norm the other has
 * the matrix units. A third streams the weights, which lie in memory in the order of use as the
 * shared-memory images of stages, through a ring of stages. The blocks of a cluster run in step: each fetches half
 * of every stage for both, which halves the reads of the L2 cache.
 */
#ifndef CR_CUDA_TILE_HOPPER_CUH
#define CR_CUDA_TILE_HOPPER_CUH

#include "backend/cuda/internal.cuh"
#include "backend/cuda/wgmma.cuh"

#define SLAB 128 /* values of the MLP's inner width at a time */
#define CLUSTER 2
#define THREADS 384
#define GROUP_ROWS 64 /* of a warpgroup */
#define TILE_ROWS (2 * GROUP_ROWS)
/* stages of weights */
#define TILE_BF16_STAGE_BYTES 32768
#define TILE_F32_STAGE_BYTES 16384

typedef struct layer_weights {
	const void *stages; /* out, slabs of fc1 and fc2, in of the next block */
	const float *out_bias, *fc1_bias, *fc2_bias;
} layer_weights;

typedef struct tile_arguments {
	layer_weights weights;
	const void *y;   /* (D, stride), or (2, D, stride) */
	float *residual; /* (stride, D) */
	void *u;         /* (3D, stride) */
	int64_t stride;
	int tiles, inner, stages;
	float epsilon;
	/* f32: what undoes the powers of two on operands; in_alpha is the next block's */
	float out_alpha, fc1_alpha, fc2_alpha, in_alpha;
	int *overflow;
} tile_arguments;

/* ---- the ring of stages ---------------------------------------------------------------------- */

/* Where a thread stands in the ring of `STAGES` stages of `BYTES` bytes. */
template <int STAGES, int BYTES> struct ring {
	uint32_t data, full, empty; /* shared addresses; barriers of 8 bytes a stage */
	int stage, phase;           /* to be taken next */
};

template <int STAGES, int BYTES> __device__ inline void ring_step(ring<STAGES, BYTES> *r)
{
	if (++r->stage == STAGES) {
		r->stage = 0;
		r->phase ^= 1;
	}
}

/* Wait for the next stage; its address. */
template <int STAGES, int BYTES> __device__ inline uint32_t ring_take(ring<STAGES, BYTES> *r)
{
	const uint32_t data = r->data + BYTES * r->stage;

	barrier_wait(r->full + 8 * r->stage, r->phase);
	ring_step(r);
	return data;
}

/* This warp has read the stage that was taken `before` takes ago. */
template <int STAGES, int BYTES>
__device__ inline void ring_release(const ring<STAGES, BYTES> *r, int before)
{
	const int stage = r->stage - before + (r->stage < before ? STAGES : 0);

	if (threadIdx.x % 32 < CLUSTER)
		barrier_arrive(r->empty + 8 * stage, threadIdx.x % 32);
}

/* Number `stage` of a row of stages is queued: the one before has been read. After the last: all. */
template <int STAGES, int BYTES>
__device__ inline void stage_queued(const ring<STAGES, BYTES> *r, int stage, int last)
{
	products_commit();
	if (stage) {
		products_wait<1>();
		ring_release(r, 2);
	}
	if (last) {
		products_wait<0>();
		ring_release(r, 1);
	}
}

/* Stages of all tiles through the ring, by one thread. */
template <int STAGES, int BYTES>
__device__ void stream_weights(const tile_arguments &a, ring<STAGES, BYTES> r, int rounds, int rank)
{
	const int half = BYTES / CLUSTER;

	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < a.stages; i++) {
			const char *from =
				(const char *)a.weights.stages + (int64_t)i * BYTES + rank * half;

			barrier_wait(r.empty + 8 * r.stage, r.phase ^ 1);
			barrier_expect(r.full + 8 * r.stage, BYTES);
			copy_to_cluster(r.data + BYTES * r.stage + rank * half, from, half,
					r.full + 8 * r.stage, (1 << CLUSTER) - 1);
			ring_step(&r);
		}
}

/* ---- rows of a computing warpgroup ----------------------------------------------------------- */

/* What a computing thread knows of its place. */
typedef struct place {
	int group;     /* 0, 1 */
	int thread;    /* in the group */
	int warp, g, q; /* of the group; lane 4 g + q */
	uint32_t x;    /* shared: the group's y or x */
} place;

/* Begin to copy the group's rows of y, (CHANNELS, GROUP_ROWS) of 2 bytes, 16-byte pieces exchanged by the channel's
 * last bits. */
template <int CHANNELS>
__device__ inline void load_y(const place &p, const tile_arguments &a, int64_t row)
{
	constexpr int PIECES = GROUP_ROWS / 8;

	for (int i = p.thread; i < CHANNELS * PIECES; i += 128) {
		const int c = i / PIECES, piece = i % PIECES;
		const uint32_t to = p.x + c * PIECES * 16 + ((piece ^ (c & 7)) * 16);

		asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to),
			     "l"((const uint16_t *)a.y + c * a.stride + row + piece * 8)
			     : "memory");
	}
}

/* y of the tile has arrived. */
__device__ inline void wait_for_y(const place &p)
{
	asm volatile("cp.async.wait_all;\n" ::: "memory");
	group_sync(1 + p.group);
}

/* Fragment of rows 16 warp .. and channels 16 step .. of y. */
__device__ inline void y_fragment(const place &p, int step, uint32_t *a)
{
	constexpr int PIECES = GROUP_ROWS / 8;
	const int lane = threadIdx.x % 32;
	const int c = 16 * step + lane / 16 * 8 + lane % 8;
	const int piece = 2 * p.warp + lane / 8 % 2;
	const uint32_t from = p.x + c * PIECES * 16 + ((piece ^ (c & 7)) * 16);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
		     : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
		     : "r"(from)
		     : "memory");
}

/* A thread's part of D columns of the group's rows. */
template <int D> using sums = float[D / 2];

/* sum = residual, or sum += residual + bias */
template <int D, int ADD>
__device__ inline void take_residual(const place &p, const tile_arguments &a, int64_t row,
				     const float *bias, sums<D> &sum)
{
	const float *from = a.residual + (row + 16 * p.warp + p.g) * D + 2 * p.q;

#pragma unroll
	for (int j = 0; j < D / 8; j++) {
		const float2 one = __ldcg((const float2 *)(from + 8 * j));
		const float2 other = __ldcg((const float2 *)(from + 8 * D + 8 * j));
		const float2 b = ADD ? __ldg((const float2 *)(bias + 8 * j + 2 * p.q))
				     : make_float2(0, 0);

		sum[4 * j] = (ADD ? sum[4 * j] : 0) + one.x + b.x;
		sum[4 * j + 1] = (ADD ? sum[4 * j + 1] : 0) + one.y + b.y;
		sum[4 * j + 2] = (ADD ? sum[4 * j + 2] : 0) + other.x + b.x;
		sum[4 * j + 3] = (ADD ? sum[4 * j + 3] : 0) + other.y + b.y;
	}
}

template <int D>
__device__ inline void store_residual(const place &p, const tile_arguments &a, int64_t row,
				      const sums<D> &sum)
{
	float *to = a.residual + (row + 16 * p.warp + p.g) * D + 2 * p.q;

#pragma unroll
	for (int j = 0; j < D / 8; j++) {
		*(float2 *)(to + 8 * j) = make_float2(sum[4 * j], sum[4 * j + 1]);
		*(float2 *)(to + 8 * D + 8 * j) = make_float2(sum[4 * j + 2], sum[4 * j + 3]);
	}
}

template <int D> __device__ inline void add_bias(const place &p, const float *bias, sums<D> &sum)
{
#pragma unroll
	for (int j = 0; j < D / 8; j++) {
		const float2 b = __ldg((const float2 *)(bias + 8 * j + 2 * p.q));

		sum[4 * j] += b.x;
		sum[4 * j + 1] += b.y;
		sum[4 * j + 2] += b.x;
		sum[4 * j + 3] += b.y;
	}
}

__device__ inline float sum_quad(float x)
{
	x += __shfl_xor_sync(0xffffffffu, x, 1);
	return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* Mean and variance of row g (half 0) or g + 8 (half 1) of a warp's rows. */
template <int D>
__device__ inline void row_moments(const sums<D> &sum, int half, float *mean, float *variance)
{
	const float *v = sum + 2 * half;
	float total = 0, square = 0;

#pragma unroll
	for (int j = 0; j < D / 8; j++)
		total += v[4 * j] + v[4 * j + 1];
	*mean = sum_quad(total) / D;
#pragma unroll
	for (int j = 0; j < D / 8; j++) {
		const float a = v[4 * j] - *mean, b = v[4 * j + 1] - *mean;

		square += a * a + b * b;
	}
	*variance = sum_quad(square) / D;
}

/* Shared address of columns 8 j + 2 q and the next of row `row` of x: slices of 64 columns, each an operand of
 * GROUP_ROWS rows. */
__device__ inline uint32_t x_address(const place &p, int j, int row)
{
	return p.x + j / 8 * GROUP_ROWS * 128 + row * 128 + ((j % 8) ^ (row & 7)) * 16 + p.q * 4;
}

__device__ inline void store_shared(uint32_t to, uint32_t value)
{
	asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(to), "r"(value) : "memory");
}

/* ---- the kernels' frame ---------------------------------------------------------------------- */

/* All tiles of a thread block. Pass:
 *   ring_type, STAGES, STAGE_BYTES, GROUP_BYTES (of a group's y or x), HEAD
 *   load(p, a, row)               asks for y of the group's rows from `row`
 *   tile(p, ring, a, row, next)   computes them; asks for y of those from `next` if that is not -1 */
template <typename Pass> __device__ inline void compute_tiles(const tile_arguments &a)
{
	extern __shared__ char memory[];
	const uint32_t base = (shared_address(memory) + 1023) & ~1023u;
	const uint32_t barriers = base + Pass::STAGES * Pass::STAGE_BYTES + 2 * Pass::GROUP_BYTES;
	const int group = threadIdx.x / 128, rounds = (a.tiles + gridDim.x - 1) / gridDim.x;
	typename Pass::ring_type r = {base, barriers, barriers + 8 * Pass::STAGES, 0, 0};

	if (threadIdx.x == 0)
		for (int i = 0; i < Pass::STAGES; i++) {
			barrier_init(r.full + 8 * i, 1);
			barrier_init(r.empty + 8 * i, 8 * CLUSTER);
		}
	asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
	__syncthreads();
	cluster_sync();
	if (group == 2) {
		asm volatile("setmaxnreg.dec.sync.aligned.u32 24;\n");
		if (threadIdx.x % 128 == 0)
			stream_weights(a, r, rounds, blockIdx.x % CLUSTER);
		__syncwarp();
	} else {
		const int lane = threadIdx.x % 32;
		const place p = {group,
				 (int)threadIdx.x % 128,
				 (int)threadIdx.x % 128 / 32,
				 lane / 4,
				 lane % 4,
				 base + Pass::STAGES * Pass::STAGE_BYTES + group * Pass::GROUP_BYTES};

		asm volatile("setmaxnreg.inc.sync.aligned.u32 240;\n");
		if (Pass::HEAD && (int)blockIdx.x < a.tiles)
			Pass::load(p, a, (int64_t)blockIdx.x * TILE_ROWS + group * GROUP_ROWS);
		for (int round = 0; round < rounds; round++) {
			const int tile = blockIdx.x + round * gridDim.x, next = tile + gridDim.x;
			const int64_t row = (int64_t)tile * TILE_ROWS + group * GROUP_ROWS;

			if (tile < a.tiles) {
				Pass::tile(p, &r, a, row,
					   next < a.tiles ? row + (int64_t)gridDim.x * TILE_ROWS
							  : -1);
				continue;
			}
			for (int i = 0; i < a.stages; i++) { /* in step with the cluster */
				ring_take(&r);
				ring_release(&r, 1);
			}
		}
	}
	__syncthreads();
	cluster_sync(); /* the other block may still write here */
}

/* Shared memory of such a kernel. */
template <typename Pass> constexpr int tile_shared_bytes()
{
	return Pass::STAGES * Pass::STAGE_BYTES + 2 * Pass::GROUP_BYTES + 16 * Pass::STAGES + 1024;
}

/* ---- host ------------------------------------------------------------------------------------ */

/* Index of (row n, column k) of a slice of 64 columns of weights, as the matrix unit reads it. */
static inline int64_t cr_cuda_slice_index(int64_t n, int64_t k)
{
	return n * 64 + ((k / 8) ^ (n & 7)) * 8 + k % 8;
}

/* Launch one of the kernels over all tiles of `a`. */
cudaError_t cr_cuda_tile_launch(cr_cuda *cuda, void (*kernel)(tile_arguments), int shared_bytes,
				const tile_arguments *a);

/* tile_hopper_f32.cu. A block's weights for the kernel, as (3, layer values) halves: in, out, slabs;
 * alpha: (4) of out, fc1, fc2, in. */
void cr_cuda_tile_f32_pack(const cr_network *network, const cr_block_weights *weights, void *to,
			   float *alpha);
cudaError_t cr_cuda_tile_f32_launch(cr_cuda *cuda, const tile_arguments *a, int head, int tail);

#endif
