/* attention_rows.cuh - the softmax of the kernels that use matrix units, between their two products.
 *
 * Both units lay sums out alike: the thread with lane 4 g + q of a warp holds of its warp's 16 rows the rows g
 * (values 4 j, 4 j + 1) and g + 8 (4 j + 2, 4 j + 3) of columns 8 j + 2 q and the next. Probabilities packed to
 * bfloat16 are then the first operand of the product with values, four registers for each 16 keys.
 */
#ifndef CR_CUDA_ATTENTION_ROWS_CUH
#define CR_CUDA_ATTENTION_ROWS_CUH

#include "backend/cuda/attention.cuh"

/* A thread's two rows. */
struct attention_rows {
	int64_t row;          /* the first; the other is row + 8 */
	int64_t behind, keys; /* behind: q_first - k_first */
	int lane;
	float scale;           /* of scores, for powers of two: includes log2 e */
	float most[2], sum[2]; /* most: of scores, not scaled; sum: of the thread's own columns */
};

/* row: the warp's first. */
__device__ inline void attention_begin(attention_rows &r, int64_t row, int lane, int64_t behind,
				       int64_t keys, float scale)
{
	r.row = row + lane / 4;
	r.behind = behind;
	r.keys = keys;
	r.lane = lane;
	r.scale = scale;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		r.most[half] = -INFINITY;
		r.sum[half] = 0.0f;
	}
}

/* 2^x; results below the smallest normal number are 0. */
__device__ inline float power_of_two(float x)
{
	float y;

	asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
	return y;
}

/* Scores of keys that are not seen become -infinity. first: key of column 0. */
template <int KEYS>
__device__ inline void attention_mask(const attention_rows &r, int64_t first, float (&s)[KEYS / 2])
{
	first += 2 * (r.lane % 4);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int64_t left = cr_cuda_visible(r.row + 8 * half, r.behind, r.keys) - first;
		const int seen = left < 0 ? 0 : left < KEYS ? (int)left : KEYS;

#pragma unroll
		for (int j = 0; j < KEYS / 8; j++) {
			if (8 * j >= seen)
				s[4 * j + 2 * half] = -INFINITY;
			if (8 * j + 1 >= seen)
				s[4 * j + 2 * half + 1] = -INFINITY;
		}
	}
}

/* The largest score of a row, older ones included. */
template <int KEYS> __device__ inline float attention_most(const float *s, float most)
{
	float m = fmaxf(s[0], s[1]), m2 = fmaxf(s[4], s[5]);

#pragma unroll
	for (int j = 2; j < KEYS / 8; j += 2) {
		m = fmaxf(m, fmaxf(s[4 * j], s[4 * j + 1]));
		if (j + 1 < KEYS / 8)
			m2 = fmaxf(m2, fmaxf(s[4 * j + 4], s[4 * j + 5]));
	}
	m = fmaxf(m, m2);
	m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
	m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
	return fmaxf(most, m);
}

/* What probabilities of a row are relative to, as a power of two. Rounded the same way wherever it is computed, not
 * left to a fused multiplication: a row whose maximum stays must keep its sums exactly. */
__device__ inline float attention_base(const attention_rows &r, float most)
{
	return __fmul_rn(most, r.scale);
}

/* Scores to probabilities relative to each row's new maximum; alpha is what older sums are worth. */
template <int KEYS>
__device__ inline void attention_advance(attention_rows &r, float (&sums)[KEYS / 2],
					 float (&alpha)[2])
{
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float *s = sums + 2 * half;
		const float m = attention_most<KEYS>(s, r.most[half]);
		const float base = m == -INFINITY ? 0.0f : attention_base(r, m);
		float even = 0.0f, odd = 0.0f;

		alpha[half] = power_of_two(attention_base(r, r.most[half]) - base);
		r.most[half] = m;
#pragma unroll
		for (int j = 0; j < KEYS / 8; j++) {
			s[4 * j] = power_of_two(fmaf(s[4 * j], r.scale, -base));
			s[4 * j + 1] = power_of_two(fmaf(s[4 * j + 1], r.scale, -base));
			even += s[4 * j];
			odd += s[4 * j + 1];
		}
		r.sum[half] = alpha[half] * r.sum[half] + (even + odd);
	}
}

template <int KEYS>
__device__ inline void attention_pack(const float (&s)[KEYS / 2], uint32_t (&p)[KEYS / 4])
{
#pragma unroll
	for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			const __nv_bfloat162 two =
				__floats2bfloat162_rn(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]);

			p[4 * (j / 2) + 2 * (j % 2) + half] = *(const uint32_t *)&two;
		}
}

/* The thread's part of a row, merged with what is there. HEAD: at least `size`, which is a multiple of 8. */
template <int HEAD>
__device__ inline void attention_put(const cr_cuda_attended &to, int64_t row, int64_t column,
				     int size, float inverse, float weight, const float *sums)
{
	float2 *const o = (float2 *)(to.o + row * to.heads * size + column);
	__nv_bfloat162 *const y =
		(__nv_bfloat162 *)((__nv_bfloat16 *)to.y + row * to.y_stride + column);
	float2 value[HEAD / 8];

#pragma unroll
	for (int j = 0; j < HEAD / 8; j++)
		value[j] = make_float2(sums[4 * j] * inverse, sums[4 * j + 1] * inverse);
	if (!to.first) {
#pragma unroll
		for (int j = 0; j < HEAD / 8; j++) {
			if (8 * j >= size)
				break;
			const float2 there = o[4 * j];

			value[j].x = there.x + (value[j].x - there.x) * weight;
			value[j].y = there.y + (value[j].y - there.y) * weight;
		}
	}
#pragma unroll
	for (int j = 0; j < HEAD / 8; j++) {
		if (8 * j >= size)
			break;
		if (to.y)
			y[4 * j] = __floats2bfloat162_rn(value[j].x, value[j].y);
		else
			o[4 * j] = value[j];
	}
}

/* o / sum, merged with what is there. */
template <int HEAD>
__device__ inline void attention_finish(const cr_cuda_attended &to, int head, int size,
					const attention_rows &r, const float (&o)[HEAD / 2])
{
	const int64_t column = (int64_t)head * size + 2 * (r.lane % 4);
	float lse[2], inverse[2], weight[2] = {1.0f, 1.0f};

#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int64_t row = r.row + 8 * half;
		float total = r.sum[half], one;

		total += __shfl_xor_sync(0xffffffffu, total, 1);
		total += __shfl_xor_sync(0xffffffffu, total, 2);
		one = total == 0.0f ? -INFINITY
				    : attention_base(r, r.most[half]) * 0.69314718f + logf(total);
		inverse[half] = total == 0.0f ? 0.0f : 1.0f / total;
		lse[half] = one;
		if (!to.first && row < to.rows) {
			lse[half] = to.lse[head * to.rows + row];
			weight[half] = cr_cuda_merge_weight(&lse[half], one);
		}
	}
	__syncwarp(); /* lse has been read by all of the row */
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int64_t row = r.row + 8 * half;

		if (row >= to.rows)
			continue;
		attention_put<HEAD>(to, row, column, size, inverse[half], weight[half],
				    o + 2 * half);
		if (!to.y && r.lane % 4 == 0)
			to.lse[head * to.rows + row] = lse[half];
	}
}

#endif
