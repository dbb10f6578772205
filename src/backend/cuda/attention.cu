/* attention.cu - causal attention for any GPU, head size and number type, with products in float32.
 *
 * 256 threads, 16 by 16, compute 64 rows of a head; the thread in row ty and column tx holds the scores of
 * rows 4 ty .. + 3 with keys tx + 16 j, and of those rows' output columns 4 tx + 64 c .. + 3. The tiles of
 * queries, keys and values are float32 in shared memory; keys and values take turns in one array.
 *
 * A tile's share of the output is summed by itself and then added, so that rounding grows with the number of
 * tiles, not of keys.
 */
#include "backend/cuda/attention.cuh"

namespace
{

constexpr int ROWS = 64;
constexpr int SIDE = 16; /* threads of a row and of a column of the block */
constexpr int THREADS = SIDE * SIDE;
constexpr int EACH = ROWS / SIDE; /* rows of a thread */

/* Of head sizes up to SIZE, a multiple of 64. */
template <int SIZE> struct shape {
	static constexpr int KEYS = SIZE > 128 ? 32 : 64;
	static constexpr int STRIDE = SIZE + 4;   /* of queries, keys and values; apart in banks */
	static constexpr int P_STRIDE = KEYS + 4; /* of probabilities */
	static constexpr int COLUMNS = SIZE / SIDE; /* of output, of a thread */
	static constexpr int FLOATS = (ROWS + KEYS) * STRIDE + ROWS * P_STRIDE;
};

struct arguments {
	const void *q, *k, *v;
	int64_t q_stride, k_stride, v_stride;
	int64_t keys, behind; /* behind: q_first - k_first */
	int64_t tiles;
	int group, size; /* query heads of a key head; head size */
	float scale;
	cr_cuda_attended to;
};

__device__ inline float number(const float *x)
{
	return *x;
}

__device__ inline float number(const __nv_bfloat16 *x)
{
	return __bfloat162float(*x);
}

__device__ inline void put(float *to, float value)
{
	*to = value;
}

__device__ inline void put(__nv_bfloat16 *to, float value)
{
	*to = __float2bfloat16_rn(value);
}

/* Rows of a head to shared memory; zeros beyond `rows` and beyond the head size. */
template <typename T, int SIZE, int COUNT>
__device__ inline void load(float *to, const T *from, int64_t stride, int64_t rows, int size)
{
	for (int i = (int)threadIdx.x; i < COUNT * SIZE; i += THREADS) {
		const int row = i / SIZE, column = i % SIZE;

		to[row * shape<SIZE>::STRIDE + column] =
			row < rows && column < size ? number(from + row * stride + column) : 0.0f;
	}
}

/* s[i][j] = q[4 ty + i] . k[tx + 16 j] */
template <int SIZE, int KEYS>
__device__ inline void multiply_keys(const float *q, const float *k, int ty, int tx,
				     float (&s)[EACH][KEYS / SIDE])
{
	constexpr int STRIDE = shape<SIZE>::STRIDE;

#pragma unroll
	for (int i = 0; i < EACH; i++)
#pragma unroll
		for (int j = 0; j < KEYS / SIDE; j++)
			s[i][j] = 0.0f;
#pragma unroll 4
	for (int d = 0; d < SIZE; d += 4) {
		float4 a[EACH];

#pragma unroll
		for (int i = 0; i < EACH; i++)
			a[i] = *(const float4 *)(q + (EACH * ty + i) * STRIDE + d);
#pragma unroll
		for (int j = 0; j < KEYS / SIDE; j++) {
			const float4 b = *(const float4 *)(k + (tx + SIDE * j) * STRIDE + d);

#pragma unroll
			for (int i = 0; i < EACH; i++)
				s[i][j] +=
					a[i].x * b.x + a[i].y * b.y + a[i].z * b.z + a[i].w * b.w;
		}
	}
}

/* o = alpha o + p v */
template <int SIZE, int KEYS>
__device__ inline void multiply_values(const float *p, const float *v, int ty, int tx,
				       const float (&alpha)[EACH],
				       float (&o)[EACH][shape<SIZE>::COLUMNS])
{
	constexpr int STRIDE = shape<SIZE>::STRIDE, COLUMNS = shape<SIZE>::COLUMNS;
	float part[EACH][COLUMNS] = {};

#pragma unroll 2
	for (int key = 0; key < KEYS; key++) {
		float a[EACH];

#pragma unroll
		for (int i = 0; i < EACH; i++)
			a[i] = p[(EACH * ty + i) * shape<SIZE>::P_STRIDE + key];
#pragma unroll
		for (int c = 0; c < COLUMNS; c += 4) {
			const float4 b = *(const float4 *)(v + key * STRIDE + 4 * tx + SIDE * c);

#pragma unroll
			for (int i = 0; i < EACH; i++) {
				part[i][c] += a[i] * b.x;
				part[i][c + 1] += a[i] * b.y;
				part[i][c + 2] += a[i] * b.z;
				part[i][c + 3] += a[i] * b.w;
			}
		}
	}
#pragma unroll
	for (int i = 0; i < EACH; i++)
#pragma unroll
		for (int c = 0; c < COLUMNS; c++)
			o[i][c] = alpha[i] * o[i][c] + part[i][c];
}

/* Scores to probabilities relative to the row's new maximum; *alpha is what older sums are worth. */
template <int COUNT>
__device__ inline void advance(float (&s)[COUNT], float scale, int64_t visible, int64_t first_key,
			       float *most, float *sum, float *alpha)
{
	float m = *most, base, share = 0.0f;

#pragma unroll
	for (int j = 0; j < COUNT; j++) {
		s[j] = first_key + SIDE * j < visible ? s[j] * scale : -INFINITY;
		m = fmaxf(m, s[j]);
	}
#pragma unroll
	for (int step = SIDE / 2; step; step /= 2)
		m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, step));
	base = m == -INFINITY ? 0.0f : m;
#pragma unroll
	for (int j = 0; j < COUNT; j++) {
		s[j] = expf(s[j] - base);
		share += s[j];
	}
#pragma unroll
	for (int step = SIDE / 2; step; step /= 2)
		share += __shfl_xor_sync(0xffffffffu, share, step);
	*alpha = expf(*most - base);
	*sum = *alpha * *sum + share;
	*most = m;
}

/* A row's columns 4 tx + 64 c of o / sum, merged with what is there. */
template <typename T, int SIZE>
__device__ inline void finish(const cr_cuda_attended &to, int64_t row, int head, int size, int tx,
			      float most, float sum, const float (&o)[shape<SIZE>::COLUMNS])
{
	const float inverse = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;
	const float lse = sum > 0.0f || sum != sum ? most + logf(sum) : -INFINITY;
	const int64_t at = (row * to.heads + head) * size;
	float merged = to.first ? lse : to.lse[head * to.rows + row];
	float weight = 1.0f;

	if (!to.first)
		weight = cr_cuda_merge_weight(&merged, lse);
#pragma unroll
	for (int c = 0; c < shape<SIZE>::COLUMNS; c++) {
		const int column = 4 * tx + SIDE * (c / 4 * 4) + c % 4;
		float value = o[c] * inverse;

		if (column >= size)
			continue;
		if (!to.first) {
			const float there = to.o[at + column];

			value = there + (value - there) * weight;
		}
		if (to.y)
			put((T *)to.y + row * to.y_stride + (int64_t)head * size + column, value);
		else
			to.o[at + column] = value;
	}
	if (!to.y) {
		/* all of the row have read what was there */
		__syncwarp(0xffffu << (threadIdx.x & SIDE));
		if (!tx)
			to.lse[head * to.rows + row] = merged;
	}
}

template <typename T, int SIZE> __global__ void __launch_bounds__(THREADS) attend(const arguments a)
{
	constexpr int KEYS = shape<SIZE>::KEYS, STRIDE = shape<SIZE>::STRIDE;
	extern __shared__ float4 room[];
	float *const q = (float *)room, *const kv = q + ROWS * STRIDE,
		     *const p = kv + KEYS * STRIDE;
	const int tx = (int)threadIdx.x % SIDE, ty = (int)threadIdx.x / SIDE;
	/* the longest first */
	const int head = (int)(blockIdx.x % (unsigned)a.to.heads);
	const int64_t row = ROWS * (a.tiles - 1 - blockIdx.x / (unsigned)a.to.heads);
	const int64_t end = cr_cuda_visible(row + ROWS - 1, a.behind, a.keys);
	const T *const keys = (const T *)a.k + (int64_t)(head / a.group) * a.size;
	const T *const values = (const T *)a.v + (int64_t)(head / a.group) * a.size;
	float o[EACH][shape<SIZE>::COLUMNS] = {};
	float most[EACH], sum[EACH] = {}, alpha[EACH];

	load<T, SIZE, ROWS>(q, (const T *)a.q + row * a.q_stride + (int64_t)head * a.size,
			    a.q_stride, a.to.rows - row, a.size);
	for (int i = 0; i < EACH; i++)
		most[i] = -INFINITY;
	for (int64_t first = 0; first < end; first += KEYS) {
		float s[EACH][KEYS / SIDE];

		__syncthreads();
		load<T, SIZE, KEYS>(kv, keys + first * a.k_stride, a.k_stride, a.keys - first,
				    a.size);
		__syncthreads();
		multiply_keys<SIZE, KEYS>(q, kv, ty, tx, s);
#pragma unroll
		for (int i = 0; i < EACH; i++) {
			advance(s[i], a.scale,
				cr_cuda_visible(row + EACH * ty + i, a.behind, a.keys), first + tx,
				&most[i], &sum[i], &alpha[i]);
#pragma unroll
			for (int j = 0; j < KEYS / SIDE; j++)
				p[(EACH * ty + i) * shape<SIZE>::P_STRIDE + tx + SIDE * j] =
					s[i][j];
		}
		__syncthreads();
		load<T, SIZE, KEYS>(kv, values + first * a.v_stride, a.v_stride, a.keys - first,
				    a.size);
		__syncthreads();
		multiply_values<SIZE, KEYS>(p, kv, ty, tx, alpha, o);
	}
#pragma unroll
	for (int i = 0; i < EACH; i++)
		/* sixteen threads of a warp, all or none */
		if (row + EACH * ty + i < a.to.rows)
			finish<T, SIZE>(a.to, row + EACH * ty + i, head, a.size, tx, most[i],
					sum[i], o[i]);
}

template <typename T, int SIZE> cudaError_t launch(cudaStream_t stream, const arguments *a)
{
	const int bytes = shape<SIZE>::FLOATS * (int)sizeof(float);
	const cudaError_t status = cudaFuncSetAttribute(
		attend<T, SIZE>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);

	if (status != cudaSuccess)
		return status;
	attend<T, SIZE><<<(unsigned)(a->tiles * a->to.heads), THREADS, bytes, stream>>>(*a);
	return cudaGetLastError();
}

template <typename T> cudaError_t launch_size(cudaStream_t stream, const arguments *a)
{
	if (a->size <= 64)
		return launch<T, 64>(stream, a);
	if (a->size <= 128)
		return launch<T, 128>(stream, a);
	return launch<T, 256>(stream, a);
}

} /* namespace */

int cr_cuda_attention_any(cudaStream_t stream, int type, const cr_stack_attention *a,
			  crocuta_error *error)
{
	arguments g = {};

	if (a->head_size > 256)
		return cr_fail(error, CROCUTA_EARG,
			       "GPU: attention with heads of %lld numbers; at most 256",
			       (long long)a->head_size);
	g.q = a->q;
	g.k = a->k;
	g.v = a->v;
	g.q_stride = a->q_stride;
	g.k_stride = a->k_stride;
	g.v_stride = a->v_stride;
	g.keys = a->keys;
	g.behind = a->q_first - a->k_first;
	g.tiles = cr_ceil_div(a->rows, ROWS);
	g.group = (int)(a->heads / a->kv_heads);
	g.size = (int)a->head_size;
	g.scale = (float)a->scale;
	g.to = cr_cuda_attended_of(a);
	if (g.tiles * a->heads > INT32_MAX)
		return cr_fail(error, CROCUTA_EARG, "GPU: %lld rows of %lld heads are too many",
			       (long long)a->rows, (long long)a->heads);
	CR_CUDA_TRY(type == CR_NUMBER_BF16 ? launch_size<__nv_bfloat16>(stream, &g)
					   : launch_size<float>(stream, &g),
		    "attention");
	return 0;
}
