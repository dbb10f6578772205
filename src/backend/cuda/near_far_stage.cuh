/* near_far_stage.cuh - the ends of the mixing pass: u to the convolution's input in shared memory,
 * and its output there to y. Private to near_far.cu.
 *
 * Shared memory holds `together` columns of `span` positions as two planes of 16-bit words: first
 * the upper and lower halves of float32 values, then the two parts in half precision, in the end
 * float32 values again.
 */
#ifndef CR_CUDA_NEAR_FAR_STAGE_CUH
#define CR_CUDA_NEAR_FAR_STAGE_CUH

#include "backend/cuda/near_far.cuh"

#define THREADS 128
#define WARPS (THREADS / 32)

/* What a kernel works on. Column k is block k % blocks of sequence k / blocks. */
typedef struct pass {
	const void *u;
	void *y;
	int *overflow;
	int64_t width, stride, length, columns;
	int origin;          /* position of row 0 in its sequence, of a part of one */
	int block, blocks;   /* positions of a block; blocks of a sequence */
	int pitch;           /* places of a sequence in moments and far */
	int span, together;  /* positions of a column in shared memory; columns of a thread block */
	unsigned reciprocal; /* of span / 8, times 2^32, rounded up */
	int held;            /* moments of a block; 0: no far field */
	cr_cuda_short filter;
	const __half *taps;
	const float *tap_unscale;
	const uint4 *weights, *points;
	float *moments; /* (D, sequences, pitch, held) */
	const float *far;
	float *keep_v, *keep_y;
	const cr_cuda_change *changes;
	const float *kept_v, *kept_y;
	int64_t kept_length;
} pass;

/* Where a column lies. */
typedef struct column {
	int64_t row, place; /* of its first position; in moments and far */
	int start, count;   /* position in its sequence; positions that exist */
	int sequence;
} column;

/* One channel's short filter. */
typedef struct short_taps {
	float in_bias, oldest, middle, newest, bias;
} short_taps;

__device__ inline short_taps load_short(const pass &p, int64_t row)
{
	const int64_t rows = 3 * p.width;
	const cr_cuda_short *f = &p.filter;
	const short_taps s = {f->in_bias[row], f->taps[row], f->taps[rows + row],
			      f->taps[2 * rows + row], f->bias[row]};

	return s;
}

/* Eight values and the two before them, which are outside the sequence unless `inside`. */
template <int PARTS>
__device__ inline void load_ten(const void *u, int64_t at, int inside, float in_bias, float *x)
{
	if (PARTS == 2) {
		const float *from = (const float *)u + at;
		const float4 a = *(const float4 *)from, b = *(const float4 *)(from + 4);
		float2 before = make_float2(0, 0);

		if (inside)
			before = *(const float2 *)(from - 2);
		x[0] = before.x, x[1] = before.y;
		x[2] = a.x, x[3] = a.y, x[4] = a.z, x[5] = a.w;
		x[6] = b.x, x[7] = b.y, x[8] = b.z, x[9] = b.w;
	} else {
		const uint16_t *from = (const uint16_t *)u + at;
		const uint4 a = *(const uint4 *)from;
		const uint32_t words[5] = {inside ? *(const uint32_t *)(from - 2) : 0, a.x, a.y,
					   a.z, a.w};

#pragma unroll
		for (int i = 0; i < 5; i++) {
			x[2 * i] = __uint_as_float(words[i] << 16);
			x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
		}
	}
#pragma unroll
	for (int i = 0; i < 10; i++)
		x[i] += i >= 2 || inside ? in_bias : 0.0f;
}

/* The short filter's output at eight positions from `start` of a sequence on, a multiple of 8. */
template <int PARTS>
__device__ inline void filter_eight(const pass &p, const short_taps &s, int64_t channel,
				    int64_t row, int start, float *out)
{
	float x[10];

	load_ten<PARTS>(p.u, channel * p.stride + row, start > 0, s.in_bias, x);
#pragma unroll
	for (int i = 0; i < 8; i++)
		out[i] = s.bias + x[i] * s.oldest + x[i + 1] * s.middle + x[i + 2] * s.newest;
}

__device__ inline void store_eight(float *to, const float *x)
{
	*(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
	*(float4 *)(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
}

/* Float32 values as their upper and their lower half, in two planes of 16-bit words. */
__device__ inline void store_bits(uint16_t *upper, uint16_t *lower, const float *x)
{
	uint32_t high[4], low[4];

#pragma unroll
	for (int i = 0; i < 4; i++) {
		const uint32_t a = __float_as_uint(x[2 * i]), b = __float_as_uint(x[2 * i + 1]);

		high[i] = a >> 16 | (b & 0xffff0000u);
		low[i] = (a & 0xffffu) | b << 16;
	}
	*(uint4 *)upper = make_uint4(high[0], high[1], high[2], high[3]);
	*(uint4 *)lower = make_uint4(low[0], low[1], low[2], low[3]);
}

__device__ inline void load_bits(const uint16_t *upper, const uint16_t *lower, float *x)
{
	const uint4 u = *(const uint4 *)upper, l = *(const uint4 *)lower;
	const uint32_t high[4] = {u.x, u.y, u.z, u.w}, low[4] = {l.x, l.y, l.z, l.w};

#pragma unroll
	for (int i = 0; i < 4; i++) {
		x[2 * i] = __uint_as_float(high[i] << 16 | (low[i] & 0xffffu));
		x[2 * i + 1] = __uint_as_float((high[i] & 0xffff0000u) | low[i] >> 16);
	}
}

__device__ inline uint32_t pack_halves(__half a, __half b)
{
	return (uint32_t)__half_as_ushort(a) | (uint32_t)__half_as_ushort(b) << 16;
}

__device__ inline uint32_t pack_bfloat16(float a, float b)
{
	return (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(a)) |
	       (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(b)) << 16;
}

/* Two values in half precision, and what rounding left. */
__device__ inline void split_pair(float a, float b, uint32_t *high, uint32_t *low)
{
	const __half p = __float2half_rn(a), q = __float2half_rn(b);

	*high = pack_halves(p, q);
	*low = pack_halves(__float2half_rn(a - __half2float(p)),
			   __float2half_rn(b - __half2float(q)));
}

/* From the bits of a largest magnitude: the power of two that brings it to 2^14 .. 2^15, and its
 * inverse. */
__device__ inline float scale_up(unsigned largest)
{
	const unsigned exponent = max(largest >> 23, 30u);

	if (exponent == 255) /* among numbers that are none, the others would become 0 */
		return NAN;
	return __uint_as_float((268u - exponent) << 23);
}

__device__ inline float scale_down(unsigned largest)
{
	const unsigned exponent = max(largest >> 23, 30u);

	return __uint_as_float((exponent - 14u) << 23);
}

/* Place in shared memory of a thread block's columns; sizes are in bytes and multiples of 16. */
typedef struct layout {
	int upper, lower; /* (together, span + 8) 16-bit words each: the padding spreads columns
			     over the banks */
	int taps;         /* (parts, 2, span + CR_NEAR_ZEROS) halves; near only */
	int sums;         /* (WARPS, together, 16) float32; moments only */
	int far;          /* (parts, together, 16) halves; near with a far field only */
	int columns, largest, far_largest; /* (together) each */
	int bytes;
} layout;

__host__ __device__ inline layout plan_layout(int span, int together, int parts, int near, int far)
{
	const int plane = together * (span + 8) * 2;
	layout l;

	l.upper = 0;
	l.lower = plane;
	l.taps = 2 * plane;
	l.sums = l.taps + (near ? parts * 2 * (span + CR_NEAR_ZEROS) * 2 : 0);
	l.far = l.sums + (near ? 0 : WARPS * together * 16 * 4);
	l.columns = l.far + (near && far ? parts * together * 16 * 2 : 0);
	l.largest = l.columns + together * (int)sizeof(column);
	l.far_largest = l.largest + together * 4;
	l.bytes = l.far_largest + together * 4;
	return l;
}

__device__ inline void find_columns(const pass &p, column *columns, unsigned *largest)
{
	for (int i = threadIdx.x; i < p.together; i += THREADS) {
		const int64_t k = (int64_t)blockIdx.x * p.together + i;
		const int64_t sequence = k / p.blocks, at = k % p.blocks * p.block;
		const int64_t left = p.length - at;
		column c;

		c.row = sequence * p.length + at;
		c.place = sequence * p.pitch + k % p.blocks;
		c.start = p.origin + (int)at;
		c.count = k < p.columns ? (int)(left < p.block ? left : p.block) : 0;
		c.sequence = (int)sequence;
		columns[i] = c;
		largest[i] = 0;
	}
	__syncthreads();
}

/* Eight values less what was kept of the sequence that a change belongs to; zero outside the
 * change. */
__device__ inline void subtract_kept(const pass &p, int64_t channel, const column &c, int offset,
				     float *g)
{
	const cr_cuda_change change = p.changes[c.sequence];
	const float *kept = cr_kept_rows(p.kept_v, p.stride, channel, change, p.kept_length);

#pragma unroll
	for (int i = 0; i < 8; i++) {
		const int64_t t = c.start + offset + i;

		g[i] = t >= change.lead && t < change.rows ? g[i] - kept[t] : 0.0f;
	}
}

__device__ inline void add_kept(const pass &p, int64_t channel, const column &c, int offset,
				float *o)
{
	const cr_cuda_change change = p.changes[c.sequence];
	const float *kept = cr_kept_rows(p.kept_y, p.stride, channel, change, p.kept_length);

#pragma unroll
	for (int i = 0; i < 8; i++) {
		const int64_t t = c.start + offset + i;

		if (t >= change.lead && t < change.rows)
			o[i] += kept[t];
	}
}

/* The convolution's input of all columns into shared memory: first in float32, and with the largest
 * of each column known, scaled and rounded. `keep`: also to keep_v. */
template <int PARTS, int EXTRA>
__device__ inline void stage_columns(const pass &p, int64_t channel, int keep,
				     const column *columns, unsigned *largest, uint16_t *upper,
				     uint16_t *lower)
{
	const short_taps left = load_short(p, p.width + channel);
	const short_taps right = load_short(p, 2 * p.width + channel);
	const int groups = p.span / 8, all = p.together * groups; /* a multiple of 32 */

#pragma unroll 2
	for (int i = threadIdx.x; i < all; i += THREADS) {
		const int k = (int)__umulhi((unsigned)i, p.reciprocal),
			  offset = (i - k * groups) * 8;
		const int at = k * (p.span + 8) + offset;
		const column c = columns[k];
		float g[8] = {0, 0, 0, 0, 0, 0, 0, 0};
		unsigned most = 0;
		int near = 1;

		if (offset < c.count) {
			float a[8], b[8];

			filter_eight<PARTS>(p, left, p.width + channel, c.row + offset,
					    c.start + offset, a);
			filter_eight<PARTS>(p, right, 2 * p.width + channel, c.row + offset,
					    c.start + offset, b);
#pragma unroll
			for (int j = 0; j < 8; j++)
				g[j] = a[j] * b[j];
			if (EXTRA && p.changes)
				subtract_kept(p, channel, c, offset, g);
			if (EXTRA && keep)
				store_eight(p.keep_v + channel * p.stride + c.row + offset, g);
		}
#pragma unroll
		for (int j = 0; j < 8; j++)
			most = max(most, __float_as_uint(g[j]) & 0x7fffffffu);
		/* lanes that share a column */
		for (; near < 32 && p.span % (16 * near) == 0; near *= 2)
			most = max(most, __shfl_xor_sync(0xffffffffu, most, near));
		if (threadIdx.x % near == 0)
			atomicMax(&largest[k], most);
		store_bits(upper + at, lower + at, g);
	}
	__syncthreads();
	for (int i = threadIdx.x; i < all; i += THREADS) {
		const int k = (int)__umulhi((unsigned)i, p.reciprocal),
			  offset = (i - k * groups) * 8;
		const int at = k * (p.span + 8) + offset;
		const float scale = scale_up(largest[k]);
		uint32_t high[4], low[4];
		float g[8];

		load_bits(upper + at, lower + at, g);
#pragma unroll
		for (int j = 0; j < 4; j++)
			split_pair(g[2 * j] * scale, g[2 * j + 1] * scale, &high[j], &low[j]);
		*(uint4 *)(upper + at) = make_uint4(high[0], high[1], high[2], high[3]);
		if (PARTS == 2)
			*(uint4 *)(lower + at) = make_uint4(low[0], low[1], low[2], low[3]);
	}
	__syncthreads();
}

/* The convolution's outputs, in float32 where the inputs were, times x0 and out. */
template <int PARTS, int EXTRA>
__device__ inline void gate_columns(const pass &p, int64_t channel, const column *columns,
				    const uint16_t *upper, const uint16_t *lower)
{
	const short_taps gate = load_short(p, channel);
	const int groups = p.span / 8, all = p.together * groups;
	uint16_t *y = (uint16_t *)p.y, *y_high = y;
	int overflow = 0;

#pragma unroll 2
	for (int i = threadIdx.x; i < all; i += THREADS) {
		const int k = (int)__umulhi((unsigned)i, p.reciprocal),
			  offset = (i - k * groups) * 8;
		const int at = k * (p.span + 8) + offset;
		const column c = columns[k];
		const int64_t to = channel * p.stride + c.row + offset;
		uint32_t high[4];
		float x[8], o[8];

		if (offset >= c.count)
			continue;
		filter_eight<PARTS>(p, gate, channel, c.row + offset, c.start + offset, x);
		load_bits(upper + at, lower + at, o);
		if (EXTRA && p.changes)
			add_kept(p, channel, c, offset, o);
		if (EXTRA && p.keep_y)
			store_eight(p.keep_y + to, o);
		for (int j = 0; j < 8; j++)
			x[j] *= o[j];
		if constexpr (PARTS == 1) {
#pragma unroll
			for (int j = 0; j < 4; j++)
				high[j] = pack_bfloat16(x[2 * j], x[2 * j + 1]);
		} else {
			uint32_t low[4];

#pragma unroll
			for (int j = 0; j < 8; j++) {
				x[j] *= CR_CUDA_GATE_SCALE;
				overflow |= !(fabsf(x[j]) <= CR_CUDA_LARGEST_HALF);
			}
#pragma unroll
			for (int j = 0; j < 4; j++)
				split_pair(x[2 * j], x[2 * j + 1], &high[j], &low[j]);
			*(uint4 *)(y + to) = make_uint4(low[0], low[1], low[2], low[3]);
			y_high = y + p.width * p.stride;
		}
		*(uint4 *)(y_high + to) = make_uint4(high[0], high[1], high[2], high[3]);
	}
	if (overflow)
		*p.overflow = 1;
}

/* Copy a channel's reversed taps of lags below the span. */
template <int PARTS>
__device__ inline void stage_taps(const pass &p, int64_t channel, uint16_t *taps)
{
	const int vectors = (p.span + CR_NEAR_ZEROS) / 8;

	for (int i = threadIdx.x; i < PARTS * 2 * vectors; i += THREADS) {
		const int copy = i / vectors, at = i % vectors * 8;
		const __half *from = p.taps + (channel * PARTS * 2 + copy) * CR_NEAR_TAPS +
				     CR_CUDA_DIRECT_MAX - p.span + at;

		*(uint4 *)(taps + copy * (p.span + CR_NEAR_ZEROS) + at) = *(const uint4 *)from;
	}
}
#endif
