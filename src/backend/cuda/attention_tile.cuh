/* attention_tile.cuh - causal attention in bfloat16 on Hopper: the kernel.
 *
 * A block has one warpgroup that copies (one thread of it works) and GROUPS that compute, 64 rows of one head
 * each. Queries stay in shared memory; tiles of KEYS keys and values come through rings of STAGES stages, from
 * the last tile that a row of the block sees down to the first, so that only the beginning needs masks.
 * Scores s = q k' and the output o are sums in registers; probabilities p, packed to bfloat16 in registers, are
 * the operand of o += p v. A group queues the next tile's s = q k' ahead of o += p v, and turns s into
 * probabilities while the latter runs; groups take turns in queueing, so that one's exponentials run beside the
 * other's products.
 *
 * The method is that of FlashAttention-3 (Shah et al. 2024): warp specialisation, both overlaps.
 */
#ifndef CR_CUDA_ATTENTION_TILE_CUH
#define CR_CUDA_ATTENTION_TILE_CUH

#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/attention_wgmma.cuh"

/* CLUSTER blocks with neighbouring rows share what is copied. */
template <int HEAD_, int KEYS_, int GROUPS_, int STAGES_, int CLUSTER_ = 1> struct attention_shape {
	static constexpr int HEAD = HEAD_, KEYS = KEYS_, GROUPS = GROUPS_, STAGES = STAGES_;
	static constexpr int CLUSTER = CLUSTER_;
	static constexpr int ROWS = 64 * GROUPS;
	static constexpr int THREADS = 128 * (GROUPS + 1);
	static constexpr int Q_BYTES = ROWS * HEAD * 2;
	static constexpr int STAGE_BYTES = KEYS * HEAD * 2;
	/* the swizzle wants 1,024-byte alignment, which the start of shared memory may lack */
	static constexpr int SHARED_BYTES =
		1024 + Q_BYTES + 2 * STAGES * STAGE_BYTES + 8 * (4 * STAGES + 1);
	/* multiples of 8 that sum up to at most 65,536 / 128 */
	static constexpr int COPY_REGISTERS = GROUPS > 2 ? 32 : 24;
	static constexpr int COMPUTE_REGISTERS = GROUPS > 2 ? 160 : 240;

	static_assert(GROUPS == 2 || GROUPS == 3, "turns need another group");
	static_assert(KEYS / CLUSTER % 8 == 0, "parts begin where the swizzle does");
};

struct attention_arguments {
	CUtensorMap q, k, v;  /* boxes (ROWS or KEYS / CLUSTER, 64) */
	int64_t keys, behind; /* behind: q_first - k_first */
	int64_t tiles;        /* of rows, a multiple of CLUSTER */
	int group;            /* query heads of a key head */
	int section;          /* heads that are computed at a time */
	float scale;          /* of scores, for powers of two: includes log2 e */
	cr_cuda_attended to;
};

/* Addresses of barriers and stages in shared memory. */
template <typename S> struct attention_room {
	uint32_t base;

	__device__ inline uint32_t q() const
	{
		return base;
	}
	__device__ inline uint32_t k(int stage) const
	{
		return base + S::Q_BYTES + stage * S::STAGE_BYTES;
	}
	__device__ inline uint32_t v(int stage) const
	{
		return k(S::STAGES + stage);
	}
	__device__ inline uint32_t barrier(int number) const
	{
		return base + S::Q_BYTES + 2 * S::STAGES * S::STAGE_BYTES + 8 * number;
	}
	__device__ inline uint32_t q_full() const
	{
		return barrier(4 * S::STAGES);
	}
	__device__ inline uint32_t k_full(int stage) const
	{
		return barrier(stage);
	}
	__device__ inline uint32_t v_full(int stage) const
	{
		return barrier(S::STAGES + stage);
	}
	__device__ inline uint32_t k_empty(int stage) const
	{
		return barrier(2 * S::STAGES + stage);
	}
	__device__ inline uint32_t v_empty(int stage) const
	{
		return barrier(3 * S::STAGES + stage);
	}
};

/* A position in a ring. */
template <typename S> struct attention_stage {
	int stage = 0, phase = 0;

	__device__ inline void next()
	{
		if (++stage == S::STAGES) {
			stage = 0;
			phase ^= 1;
		}
	}
};

/* What a block computes. */
struct attention_place {
	int head, rank; /* rank: in the cluster */
	int64_t row;    /* first */
	int tiles;      /* of keys, seen by some row of the cluster */
};

template <typename S> __device__ inline attention_place attention_find(const attention_arguments &a)
{
	const int64_t at = blockIdx.x / S::CLUSTER, steps = a.tiles / S::CLUSTER;
	const int64_t section = at / (steps * a.section), in = at - section * steps * a.section;
	const int64_t left = a.to.heads - section * a.section;
	const int64_t heads = left < a.section ? left : a.section;
	attention_place p;
	int64_t first, last;

	p.rank = (int)(blockIdx.x % S::CLUSTER);
	p.head = (int)(section * a.section + in % heads);
	/* the longest first, and neighbours, which read the same keys, at about the same time */
	first = S::ROWS * S::CLUSTER * (steps - 1 - in / heads);
	p.row = first + S::ROWS * p.rank;
	last = first + S::ROWS * S::CLUSTER;
	last = (last < a.to.rows ? last : a.to.rows) - 1;
	p.tiles = (int)((cr_cuda_visible(last, a.behind, a.keys) + S::KEYS - 1) / S::KEYS);
	return p;
}

/* ---- the thread that copies ------------------------------------------------------------------ */

/* A tile of keys or values to a stage that all have read. */
template <typename S>
__device__ inline void attention_copy(uint32_t to, const CUtensorMap *map, int column, int row,
				      int rank, uint32_t full, uint32_t empty, int phase)
{
	constexpr int PART = S::KEYS / S::CLUSTER; /* each block copies a part, to all */

	barrier_wait(empty, phase ^ 1);
	barrier_expect(full, S::STAGE_BYTES);
#pragma unroll
	for (int chunk = 0; chunk < S::HEAD / 64; chunk++)
		copy_box<S::CLUSTER>(to + (chunk * S::KEYS + rank * PART) * 128, map,
				     column + 64 * chunk, row + rank * PART, full);
}

template <typename S>
__device__ inline void attention_producer(const attention_arguments &a, const attention_place &p,
					  const attention_room<S> &room)
{
	const int column = p.head / a.group * S::HEAD;
	attention_stage<S> k, v;

	prefetch_map(&a.q);
	prefetch_map(&a.k);
	prefetch_map(&a.v);
	barrier_expect(room.q_full(), S::Q_BYTES);
#pragma unroll
	for (int chunk = 0; chunk < S::HEAD / 64; chunk++)
		copy_box<1>(room.q() + chunk * S::ROWS * 128, &a.q, p.head * S::HEAD + 64 * chunk,
			    (int)p.row, room.q_full());
	/* in the order of use: the keys of a tile before the values of the one above */
	for (int tile = p.tiles - 1; tile >= -1; tile--) {
		if (tile >= 0) {
			attention_copy<S>(room.k(k.stage), &a.k, column, tile * S::KEYS, p.rank,
					  room.k_full(k.stage), room.k_empty(k.stage), k.phase);
			k.next();
		}
		if (tile < p.tiles - 1) {
			attention_copy<S>(room.v(v.stage), &a.v, column, (tile + 1) * S::KEYS,
					  p.rank, room.v_full(v.stage), room.v_empty(v.stage),
					  v.phase);
			v.next();
		}
	}
}

/* ---- the warpgroups that compute ------------------------------------------------------------- */

template <typename S> struct attention_group {
	attention_room<S> room;
	attention_rows rows;
	int group, lane;
	float o[S::HEAD / 2];
	float s[S::KEYS / 2];
	uint32_t p[S::KEYS / 4];
	attention_stage<S> k, v;
};

/* A warp has read a stage. */
template <typename S>
__device__ inline void attention_release(const attention_group<S> &g, uint32_t empty)
{
	if (S::CLUSTER == 1) {
		if (!g.lane)
			barrier_arrive_here(empty);
	} else if (g.lane < S::CLUSTER) {
		barrier_arrive(empty, g.lane);
	}
}

/* Queues s = q k'. */
template <typename S> __device__ inline void attention_scores(attention_group<S> &g)
{
	const uint32_t q = g.room.q() + g.group * 64 * 128, k = g.room.k(g.k.stage);

	products_begin();
#pragma unroll
	for (int step = 0; step < S::HEAD / 16; step++)
		multiply_shared(
			g.s, matrix_descriptor(q + step / 4 * S::ROWS * 128 + step % 4 * 32),
			matrix_descriptor(k + step / 4 * S::KEYS * 128 + step % 4 * 32), step > 0);
	products_commit();
}

/* Queues o += p v. */
template <typename S> __device__ inline void attention_values(attention_group<S> &g)
{
	const uint32_t v = g.room.v(g.v.stage);

	products_begin();
#pragma unroll
	for (int step = 0; step < S::KEYS / 16; step++)
		multiply_values(g.o, g.p + 4 * step,
				values_descriptor(v + step * 2048, S::KEYS * 128));
	products_commit();
}

/* The probabilities of `tile`, while o takes in the tile above. */
template <typename S, int MASKED>
__device__ inline void attention_step(attention_group<S> &g, int tile)
{
	float alpha[2];

	turn_wait(1 + g.group);
	attention_scores<S>(g);
	barrier_wait(g.room.v_full(g.v.stage), g.v.phase);
	attention_values<S>(g);
	if (tile > 0 || g.group < S::GROUPS - 1) /* what is passed is waited for */
		turn_pass(1 + (g.group + 1) % S::GROUPS);
	products_wait<1>();
	sums_ready(g.s);
	attention_release<S>(g, g.room.k_empty(g.k.stage));
	g.k.next();
	if (MASKED)
		attention_mask<S::KEYS>(g.rows, (int64_t)tile * S::KEYS, g.s);
	attention_advance<S::KEYS>(g.rows, g.s, alpha);
	/* the branch around this wait keeps the compiler from moving exponentials behind the next one */
	sums_ready(g.s);
	if (tile > 0)
		barrier_wait(g.room.k_full(g.k.stage), g.k.phase);
	products_wait<0>();
	sums_ready(g.o);
	attention_release<S>(g, g.room.v_empty(g.v.stage));
	g.v.next();
#pragma unroll
	for (int j = 0; j < S::HEAD / 2; j++)
		g.o[j] *= alpha[j / 2 % 2];
	attention_pack<S::KEYS>(g.s, g.p);
}

/* All tiles of keys, of which those from `open` on need masks. */
template <typename S>
__device__ inline void attention_pass(attention_group<S> &g, int tiles, int open)
{
	float alpha[2];
	int tile = tiles - 1;

	if (g.group == S::GROUPS - 1 && tiles > 1)
		turn_pass(1);
	barrier_wait(g.room.q_full(), 0);
	barrier_wait(g.room.k_full(0), 0);
	attention_scores<S>(g);
	products_wait<0>();
	sums_ready(g.s);
	attention_release<S>(g, g.room.k_empty(0));
	g.k.next();
	attention_mask<S::KEYS>(g.rows, (int64_t)tile * S::KEYS, g.s);
	attention_advance<S::KEYS>(g.rows, g.s, alpha);
	attention_pack<S::KEYS>(g.s, g.p);
	if (tile > 0)
		barrier_wait(g.room.k_full(g.k.stage), g.k.phase);
	for (tile--; tile >= 0 && tile >= open; tile--)
		attention_step<S, 1>(g, tile);
	for (; tile >= 0; tile--)
		attention_step<S, 0>(g, tile);
	barrier_wait(g.room.v_full(g.v.stage), g.v.phase);
	attention_values<S>(g);
	products_wait<0>();
	sums_ready(g.o);
}

template <typename S>
__device__ inline void attention_consumer(const attention_arguments &a, const attention_place &p,
					  const attention_room<S> &room)
{
	const int thread = (int)threadIdx.x - 128;
	attention_group<S> g;
	int64_t row;

	g.room = room;
	g.group = __shfl_sync(0xffffffffu, thread / 128, 0);
	g.lane = thread % 32;
	row = p.row + 64 * g.group;
	attention_begin(g.rows, row + thread % 128 / 32 * 16, g.lane, a.behind, a.keys, a.scale);
#pragma unroll
	for (int j = 0; j < S::HEAD / 2; j++)
		g.o[j] = 0.0f;
	if (p.tiles > 0)
		attention_pass<S>(g, p.tiles,
				  (int)(cr_cuda_visible(row, a.behind, a.keys) / S::KEYS));
	attention_finish<S::HEAD>(a.to, p.head, S::HEAD, g.rows, g.o);
}

template <typename S>
__global__ void __launch_bounds__(S::THREADS, 1)
	attention_tile(const __grid_constant__ attention_arguments a)
{
	extern __shared__ char shared[];
	const attention_place p = attention_find<S>(a);
	attention_room<S> room;

	room.base = (shared_address(shared) + 1023) & ~1023u;
	if (!threadIdx.x) {
		for (int i = 0; i < 2 * S::STAGES; i++) {
			barrier_init(room.barrier(i), 1);
			barrier_init(room.barrier(2 * S::STAGES + i), 4 * S::GROUPS * S::CLUSTER);
		}
		barrier_init(room.q_full(), 1);
		asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
	}
	__syncthreads();
	if (S::CLUSTER > 1)
		cluster_sync();
	if (threadIdx.x < 128) {
		registers_drop<S::COPY_REGISTERS>();
		if (!threadIdx.x && p.tiles > 0)
			attention_producer<S>(a, p, room);
	} else {
		registers_take<S::COMPUTE_REGISTERS>();
		attention_consumer<S>(a, p, room);
	}
	if (S::CLUSTER > 1) {
		/* others may still copy to this block or arrive at its barriers */
		__syncwarp();
		cluster_sync();
	}
}

/* ---- host ------------------------------------------------------------------------------------ */

/* Of a matrix (rows, columns) of bfloat16; boxes of 64 columns. 0 or a CUresult. */
int cr_cuda_attention_map(CUtensorMap *map, const void *from, int64_t rows, int64_t columns,
			  int64_t stride, int box_rows);

/* Bytes of keys and values that stay in the second-level cache while blocks with other rows read them. */
#define ATTENTION_CACHED (32 << 20)

/* A cudaError_t, or -1: no map. section: heads that are computed at a time; 0: as many as fit the cache. */
template <typename S>
static int attention_launch(cudaStream_t stream, const cr_stack_attention *a, int section = 0)
{
	const int64_t cached = ATTENTION_CACHED / (4 * S::HEAD * a->keys);
	cudaLaunchConfig_t config = {};
	cudaLaunchAttribute cluster = {};
	attention_arguments g = {};
	cudaError_t status = cudaFuncSetAttribute(
		attention_tile<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED_BYTES);

	if (status != cudaSuccess)
		return (int)status;
	g.keys = a->keys;
	g.behind = a->q_first - a->k_first;
	g.tiles = cr_ceil_div(a->rows, S::ROWS * S::CLUSTER) * S::CLUSTER;
	g.group = (int)(a->heads / a->kv_heads);
	g.section = section ? section : g.group * (int)(cached > 1 ? cached : 1);
	g.scale = (float)(a->scale * 1.4426950408889634);
	g.to = cr_cuda_attended_of(a);
	if (cr_cuda_attention_map(&g.q, a->q, a->rows, a->heads * S::HEAD, a->q_stride, S::ROWS) ||
	    cr_cuda_attention_map(&g.k, a->k, a->keys, a->kv_heads * S::HEAD, a->k_stride,
				  S::KEYS / S::CLUSTER) ||
	    cr_cuda_attention_map(&g.v, a->v, a->keys, a->kv_heads * S::HEAD, a->v_stride,
				  S::KEYS / S::CLUSTER))
		return -1;
	cluster.id = cudaLaunchAttributeClusterDimension;
	cluster.val.clusterDim.x = S::CLUSTER;
	cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
	config.gridDim = dim3((unsigned)(g.tiles * a->heads));
	config.blockDim = dim3(S::THREADS);
	config.dynamicSmemBytes = S::SHARED_BYTES;
	config.stream = stream;
	config.attrs = &cluster;
	config.numAttrs = S::CLUSTER > 1;
	return (int)cudaLaunchKernelEx(&config, attention_tile<S>, g);
}

#endif
