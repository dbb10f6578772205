/* attention_mma.cu - causal attention in bfloat16 with the matrix instructions that every GPU since compute
 * capability 8.0 has; head sizes up to 256 that are multiples of 8.
 *
 * Four warps compute 64 rows of a head. Tiles of keys and values come to shared memory through two stages,
 * the next one while one is computed. Rows in shared memory are 16 bytes longer than they are wide, so that
 * eight of them lie in different banks. Up to HEAD 128 queries stay in registers.
 */
#include "backend/cuda/attention_rows.cuh"

namespace
{

constexpr int ROWS = 64, THREADS = 128;

/* Of head sizes up to HEAD, a multiple of 16. */
template <int HEAD_> struct shape {
	static constexpr int HEAD = HEAD_, KEYS = HEAD > 128 ? 32 : 64;
	static constexpr int STRIDE = HEAD + 8;
	/* queries stay in registers; they come through the second stage */
	static constexpr int KEEP = HEAD <= 128;
	static constexpr int STAGE = 2 * KEYS * STRIDE;
	static constexpr int BYTES = 2 * (2 * STAGE + (KEEP ? 0 : ROWS * STRIDE));
};

struct arguments {
	const __nv_bfloat16 *q, *k, *v;
	int64_t q_stride, k_stride, v_stride;
	int64_t keys, behind; /* behind: q_first - k_first */
	int64_t tiles;
	int group, size; /* query heads of a key head; head size */
	float scale;     /* includes log2 e */
	cr_cuda_attended to;
};

__device__ inline uint32_t address(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

/* Queues rows of a head; zeros beyond `rows` and beyond the head size. */
template <typename S, int COUNT>
__device__ inline void load(__nv_bfloat16 *to, const __nv_bfloat16 *from, int64_t stride,
			    int64_t rows, int size)
{
	constexpr int PIECES = S::HEAD / 8;

	for (int i = (int)threadIdx.x; i < COUNT * PIECES; i += THREADS) {
		const int row = i / PIECES, column = i % PIECES * 8;
		const int there = row < rows && column < size;

		asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(
				     address(to + row * S::STRIDE + column)),
			     "l"(there ? from + row * stride + column : from), "r"(there ? 16 : 0)
			     : "memory");
	}
}

__device__ inline void commit()
{
	asm volatile("cp.async.commit_group;\n" ::: "memory");
}

template <int PENDING> __device__ inline void wait()
{
	asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

/* Four 8 by 8 matrices, whose rows the lanes point at, 8 each. */
__device__ inline void matrices(uint32_t (&d)[4], const __nv_bfloat16 *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
		     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
		     : "r"(address(row))
		     : "memory");
}

__device__ inline void matrices_turned(uint32_t (&d)[4], const __nv_bfloat16 *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
		     : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
		     : "r"(address(row))
		     : "memory");
}

/* d += a b: 16 rows, 8 columns, 16 in between. */
__device__ inline void multiply(float *d, const uint32_t *a, uint32_t b0, uint32_t b1)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
		     "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* What a lane points at: row and column in four matrices, 16 by 16, column by column or row by row of them. */
struct pointer {
	int row, column;
};

__device__ inline pointer by_columns(int lane)
{
	return {lane % 16, lane / 16 * 8};
}

__device__ inline pointer by_rows(int lane)
{
	return {lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8};
}

/* s = q k' */
template <typename S>
__device__ inline void scores(const uint32_t (*kept)[4], const __nv_bfloat16 *q,
			      const __nv_bfloat16 *k, int lane, float (&s)[S::KEYS / 2])
{
	const pointer at = by_rows(lane), of_q = by_columns(lane);

#pragma unroll
	for (int i = 0; i < S::KEYS / 2; i++)
		s[i] = 0.0f;
#pragma unroll
	for (int step = 0; step < S::HEAD / 16; step++) {
		uint32_t a[4];

		if (S::KEEP) {
#pragma unroll
			for (int i = 0; i < 4; i++)
				a[i] = kept[step][i];
		} else {
			matrices(a, q + of_q.row * S::STRIDE + 16 * step + of_q.column);
		}
#pragma unroll
		for (int t = 0; t < S::KEYS / 16; t++) {
			uint32_t b[4];

			matrices(b, k + (16 * t + at.row) * S::STRIDE + 16 * step + at.column);
			multiply(s + 8 * t, a, b[0], b[1]);
			multiply(s + 8 * t + 4, a, b[2], b[3]);
		}
	}
}

/* o += p v */
template <typename S>
__device__ inline void add_values(const uint32_t (&p)[S::KEYS / 4], const __nv_bfloat16 *v,
				  int lane, float (&o)[S::HEAD / 2])
{
	const pointer at = by_columns(lane);

#pragma unroll
	for (int step = 0; step < S::KEYS / 16; step++)
#pragma unroll
		for (int t = 0; t < S::HEAD / 16; t++) {
			uint32_t b[4];

			matrices_turned(b,
					v + (16 * step + at.row) * S::STRIDE + 16 * t + at.column);
			multiply(o + 8 * t, p + 4 * step, b[0], b[1]);
			multiply(o + 8 * t + 4, p + 4 * step, b[2], b[3]);
		}
}

/* Queues a tile of keys and values. */
template <typename S>
__device__ inline void load_tile(const arguments &a, int head, int64_t tile, int64_t tiles,
				 __nv_bfloat16 *stage)
{
	const int64_t column = (int64_t)(head / a.group) * a.size, key = tile * S::KEYS;

	if (tile < tiles) {
		load<S, S::KEYS>(stage, a.k + key * a.k_stride + column, a.k_stride, a.keys - key,
				 a.size);
		load<S, S::KEYS>(stage + S::KEYS * S::STRIDE, a.v + key * a.v_stride + column,
				 a.v_stride, a.keys - key, a.size);
	}
	commit();
}

template <typename S> __global__ void __launch_bounds__(THREADS) attend(const arguments a)
{
	extern __shared__ uint4 room[];
	__nv_bfloat16 *const stages = (__nv_bfloat16 *)room;
	const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
	/* the longest first */
	const int head = (int)(blockIdx.x % (unsigned)a.to.heads);
	const int64_t row = ROWS * (a.tiles - 1 - blockIdx.x / (unsigned)a.to.heads);
	const int64_t tiles =
		(cr_cuda_visible(row + ROWS - 1, a.behind, a.keys) + S::KEYS - 1) / S::KEYS;
	/* masks from there on */
	const int64_t open = cr_cuda_visible(row, a.behind, a.keys) / S::KEYS;
	__nv_bfloat16 *const all = stages + (S::KEEP ? 1 : 2) * S::STAGE;
	const __nv_bfloat16 *const q = all + 16 * warp * S::STRIDE;
	uint32_t kept[S::KEEP ? S::HEAD / 16 : 1][4];
	float o[S::HEAD / 2] = {};
	attention_rows r;

	attention_begin(r, row + 16 * warp, lane, a.behind, a.keys, a.scale);
	load<S, ROWS>(all, a.q + row * a.q_stride + (int64_t)head * a.size, a.q_stride,
		      a.to.rows - row, a.size);
	load_tile<S>(a, head, 0, tiles, stages);
	wait<0>();
	__syncthreads();
	if (S::KEEP) {
		const pointer at = by_columns(lane);

#pragma unroll
		for (int step = 0; step < S::HEAD / 16; step++)
			matrices(kept[step % (S::KEEP ? S::HEAD / 16 : 1)],
				 q + at.row * S::STRIDE + 16 * step + at.column);
		__syncthreads();
	}
	for (int64_t tile = 0; tile < tiles; tile++) {
		const __nv_bfloat16 *const k = stages + tile % 2 * S::STAGE;
		float s[S::KEYS / 2], alpha[2];
		uint32_t p[S::KEYS / 4];

		load_tile<S>(a, head, tile + 1, tiles, stages + (tile + 1) % 2 * S::STAGE);
		wait<1>();
		__syncthreads();
		scores<S>(kept, q, k, lane, s);
		if (tile >= open)
			attention_mask<S::KEYS>(r, tile * S::KEYS, s);
		attention_advance<S::KEYS>(r, s, alpha);
#pragma unroll
		for (int i = 0; i < S::HEAD / 2; i++)
			o[i] *= alpha[i / 2 % 2];
		attention_pack<S::KEYS>(s, p);
		add_values<S>(p, k + S::KEYS * S::STRIDE, lane, o);
		__syncthreads();
	}
	attention_finish<S::HEAD>(a.to, head, a.size, r, o);
}

template <typename S> cudaError_t launch(cudaStream_t stream, const arguments *a)
{
	const cudaError_t status = cudaFuncSetAttribute(
		attend<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::BYTES);

	if (status != cudaSuccess)
		return status;
	attend<S><<<(unsigned)(a->tiles * a->to.heads), THREADS, S::BYTES, stream>>>(*a);
	return cudaGetLastError();
}

cudaError_t launch_size(cudaStream_t stream, const arguments *a)
{
	if (a->size <= 64)
		return launch<shape<64>>(stream, a);
	if (a->size <= 96)
		return launch<shape<96>>(stream, a);
	if (a->size <= 128)
		return launch<shape<128>>(stream, a);
	return launch<shape<256>>(stream, a);
}

} /* namespace */

int cr_cuda_attention_mma_fits(int capability, int type, const cr_stack_attention *a)
{
	return capability >= 80 && a->head_size <= 256 && a->head_size % 8 == 0 &&
	       cr_cuda_attention_pieces(type, a) &&
	       cr_ceil_div(a->rows, ROWS) * a->heads <= INT32_MAX;
}

int cr_cuda_attention_mma(cudaStream_t stream, const cr_stack_attention *a, crocuta_error *error)
{
	arguments g = {};

	g.q = (const __nv_bfloat16 *)a->q;
	g.k = (const __nv_bfloat16 *)a->k;
	g.v = (const __nv_bfloat16 *)a->v;
	g.q_stride = a->q_stride;
	g.k_stride = a->k_stride;
	g.v_stride = a->v_stride;
	g.keys = a->keys;
	g.behind = a->q_first - a->k_first;
	g.tiles = cr_ceil_div(a->rows, ROWS);
	g.group = (int)(a->heads / a->kv_heads);
	g.size = (int)a->head_size;
	g.scale = (float)(a->scale * 1.4426950408889634);
	g.to = cr_cuda_attended_of(a);
	CR_CUDA_TRY(launch_size(stream, &g), "attention");
	return 0;
}
