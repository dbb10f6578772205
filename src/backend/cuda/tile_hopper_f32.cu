/* tile_hopper_f32.cu - the local pass of Hopper GPUs in float32: everything between two mixers in one kernel
 * (tile_hopper.cuh has the frame).
 *
 * Operands are sums of two halves, scaled by powers of two (gemm.cu): x = xl + xh, w = wl + wh, x w = xl wh + xh
 * wl + xh wh. A product over K is one over 3 K: (xl, xh, xh) against weights that lie in memory as (wh, wl, wh).
 *
 * The matrix units cut the running sum at every step. So the small products come first in each sum, and sums are
 * short: out_proj, in_proj and fc1 start from 0, fc2 at each slab of the inner width; their results are added to
 * the residual, which stays in registers, by ordinary additions, which round.
 *
 * Device memory sees 24 D bytes a row and layer: y and u (4 D and 12 D), the residual in and out (8 D).
 */
#include "backend/cuda/tile_hopper.cuh"

#include <math.h>

/* Of width D. A stage holds 128 columns of a slice of 64 in K, or fewer columns of more. */
template <int D> struct shape_f32 {
	static constexpr int STAGE_BYTES = TILE_F32_STAGE_BYTES;
	static constexpr int STAGES = D == 256 ? 6 : 10;
	static constexpr int SLICES = 3 * D / 64; /* of a product over D; a stage each */
	/* columns of fc2 at a time, stages and steps of 16 in K in each: registers are short */
	static constexpr int PIECE = D == 256 ? 64 : 128;
	static constexpr int PIECE_STAGES = 3 * SLAB * PIECE * 2 / STAGE_BYTES;
	static constexpr int PIECE_STEPS = 3 * SLAB / 16 / PIECE_STAGES;
	static constexpr int GROUP_BYTES = GROUP_ROWS * D * 4; /* low and high y or x */
	typedef ring<STAGES, STAGE_BYTES> ring_type;
};

template <int D> using ring_f32 = typename shape_f32<D>::ring_type;

/* Step or slice i of the 3 n of a product, among the 2 n of its first operand: low, high, high again. */
__device__ constexpr int operand_part(int i, int n)
{
	return i < 2 * n ? i : i - n;
}

/* An operand's descriptor, `bytes` further; the address is its low bits, and does not overflow. */
__device__ inline uint64_t descriptor_at(uint64_t descriptor, int bytes)
{
	return (descriptor & ~(uint64_t)0xffffffff) | ((uint32_t)descriptor + bytes / 16);
}

/* Two values as low and high halves. */
__device__ inline void split(float x, float y, uint32_t *low, uint32_t *high)
{
	const __half2 h = __floats2half2_rn(x, y);
	const float2 f = __half22float2(h);
	const __half2 l = __floats2half2_rn(x - f.x, y - f.y);

	*low = *(const uint32_t *)&l;
	*high = *(const uint32_t *)&h;
}

/* sum = y out', without alpha */
template <int D> __device__ inline void project_out(const place &p, ring_f32<D> *r, sums<D> &sum)
{
	typedef shape_f32<D> S;

#pragma unroll
	for (int first = 0; first < D / 2; first += 64) {
		sums<128> &columns = *(sums<128> *)(sum + first);

#pragma unroll
		for (int stage = 0; stage < S::SLICES; stage++) {
			const uint64_t w = matrix_descriptor(ring_take(r));
			uint32_t y[4][4];

#pragma unroll
			for (int step = 0; step < 4; step++)
				y_fragment(p, operand_part(4 * stage + step, D / 16), y[step]);
			products_begin();
#pragma unroll
			for (int step = 0; step < 4; step++)
				multiply_half_registers(columns, y[step],
							descriptor_at(w, step * 32),
							stage || step);
			stage_queued(r, stage, stage == S::SLICES - 1);
		}
	}
}

/* sum = alpha sum + residual + bias */
template <int D>
__device__ inline void add_residual(const place &p, const tile_arguments &a, int64_t row,
				    sums<D> &sum)
{
	const float *from = a.residual + (row + 16 * p.warp + p.g) * D + 2 * p.q;

#pragma unroll
	for (int j = 0; j < D / 8; j++) {
		const float2 one = __ldcg((const float2 *)(from + 8 * j));
		const float2 other = __ldcg((const float2 *)(from + 8 * D + 8 * j));
		const float2 b = __ldg((const float2 *)(a.weights.out_bias + 8 * j + 2 * p.q));

		sum[4 * j] = fmaf(a.out_alpha, sum[4 * j], one.x + b.x);
		sum[4 * j + 1] = fmaf(a.out_alpha, sum[4 * j + 1], one.y + b.y);
		sum[4 * j + 2] = fmaf(a.out_alpha, sum[4 * j + 2], other.x + b.x);
		sum[4 * j + 3] = fmaf(a.out_alpha, sum[4 * j + 3], other.y + b.y);
		if (j % 8 == 7) /* not all are read at once: registers are short */
			__syncwarp();
	}
}

/* Mean of a row as row_moments gives it, and the factor behind it. Beyond float32's range: overflow. Otherwise a
 * normalised value is at most sqrt(D), well inside half's range. */
template <int D>
__device__ inline void row_norm(const tile_arguments &a, const sums<D> &sum, int half, float *mean,
				float *scale)
{
	float variance;

	row_moments<D>(sum, half, mean, &variance);
	if (!(variance < INFINITY))
		*a.overflow = 1;
	*scale = CR_CUDA_NORM_SCALE * __frsqrt_rn(variance + a.epsilon);
}

/* Rows without mean and with variance 1 to shared memory, as an operand: low slices, high slices. */
template <int D>
__device__ inline void normalise(const place &p, const tile_arguments &a, const sums<D> &sum)
{
	group_sync(1 + p.group); /* all have read what was there */
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const float *v = sum + 2 * half;
		const int row = 16 * p.warp + 8 * half + p.g;
		float mean, scale;

		row_norm<D>(a, sum, half, &mean, &scale);
#pragma unroll
		for (int j = 0; j < D / 8; j++) {
			uint32_t low, high;

			split((v[4 * j] - mean) * scale, (v[4 * j + 1] - mean) * scale, &low, &high);
			store_shared(x_address(p, j, row), low);
			store_shared(x_address(p, j + D / 8, row), high);
		}
	}
	publish_shared();
	group_sync(1 + p.group);
}

/* The same as fragments of operands in registers, four for each 16 columns. */
template <int D>
__device__ inline void normalised_fragments(const tile_arguments &a, const sums<D> &sum,
					    uint32_t (&low)[D / 4], uint32_t (&high)[D / 4])
{
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const float *v = sum + 2 * half;
		float mean, scale;

		row_norm<D>(a, sum, half, &mean, &scale);
#pragma unroll
		for (int j = 0; j < D / 8; j++) {
			const int to = 4 * (j / 2) + 2 * (j % 2) + half;

			split((v[4 * j] - mean) * scale, (v[4 * j + 1] - mean) * scale, &low[to],
			      &high[to]);
		}
	}
}

/* cr_gelu with the hardware's exponential and reciprocal, each good to 2 units in the last place: the former's
 * error is multiplied by the sigmoid's slope. The factors are -2 log2(e) sqrt(2 / pi) and that times 0.044715. */
__device__ inline float gelu(float x)
{
	const float t = x * (-2.3022081986f - 0.1029432396f * x * x);
	float e, inverse;

	asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(e) : "f"(t));
	asm("rcp.approx.ftz.f32 %0, %1;\n" : "=f"(inverse) : "f"(1.0f + e));
	return x * inverse;
}

/* A slab of fc1's output from value `first` on, activated, as fragments of fc2's operand. */
__device__ inline void activate(const place &p, const tile_arguments &a, int first,
				const sums<SLAB> &h, uint32_t (&low)[SLAB / 4],
				uint32_t (&high)[SLAB / 4])
{
	const float *bias = a.weights.fc1_bias + first + 2 * p.q;
	const float alpha = a.fc1_alpha, up = CR_CUDA_GELU_SCALE;
	__half2 largest = __float2half2_rn(0);

#pragma unroll
	for (int j = 0; j < SLAB / 8; j++) {
		const float2 b = __ldg((const float2 *)(bias + 8 * j));

#pragma unroll
		for (int half = 0; half < 2; half++) {
			/* column pair j of 8 is half of the 16 in K of step j / 2 */
			const int to = 4 * (j / 2) + 2 * (j % 2) + half;

			split(up * gelu(alpha * h[4 * j + 2 * half] + b.x),
			      up * gelu(alpha * h[4 * j + 2 * half + 1] + b.y), &low[to], &high[to]);
			largest = __hmax2_nan(largest, __habs2(*(const __half2 *)&high[to]));
		}
		if (j % 4 == 3) /* biases are not all read at once: registers are short */
			asm volatile("" ::: "memory");
	}
	if (!(__low2float(largest) <= CR_CUDA_LARGEST_HALF &&
	      __high2float(largest) <= CR_CUDA_LARGEST_HALF))
		*a.overflow = 1;
}

/* sum += fc2(gelu(fc1 x + bias)) over one slab of the inner width, from value `first` on. */
template <int D>
__device__ inline void slab_of_mlp(const place &p, ring_f32<D> *r, const tile_arguments &a,
				   int first, sums<D> &sum)
{
	typedef shape_f32<D> S;
	sums<SLAB> h;
	uint32_t low[SLAB / 4], high[SLAB / 4];
	/* the same in all threads, which the compiler is to know */
	const uint64_t x = matrix_descriptor(__shfl_sync(0xffffffffu, p.x, 0));

	products_begin();
#pragma unroll
	for (int stage = 0; stage < S::SLICES; stage++) {
		const uint64_t w = matrix_descriptor(ring_take(r));

#pragma unroll
		for (int step = 0; step < 4; step++)
			multiply_half_shared(
				h,
				descriptor_at(x, operand_part(stage, D / 64) * GROUP_ROWS * 128 +
							 step * 32),
				descriptor_at(w, step * 32), stage || step);
		stage_queued(r, stage, stage == S::SLICES - 1);
	}
	activate(p, a, first, h, low, high);
#pragma unroll
	for (int piece = 0; piece < D / S::PIECE; piece++) {
		sums<S::PIECE> part;

		products_begin();
#pragma unroll
		for (int stage = 0; stage < S::PIECE_STAGES; stage++) {
			const uint64_t w = matrix_descriptor(ring_take(r));

#pragma unroll
			for (int step = 0; step < S::PIECE_STEPS; step++) {
				const int k = S::PIECE_STEPS * stage + step;

				multiply_half_registers(
					part,
					k < SLAB / 16 ? low + 4 * k : high + 4 * (k % (SLAB / 16)),
					descriptor_at(w, step / 4 * S::PIECE * 128 + step % 4 * 32),
					k > 0);
			}
			stage_queued(r, stage, stage == S::PIECE_STAGES - 1);
		}
#pragma unroll
		for (int i = 0; i < S::PIECE / 2; i++)
			sum[S::PIECE / 2 * piece + i] += a.fc2_alpha * part[i];
	}
}

/* 128 columns of u, channels from `channel` on: 8 rows, a sector, of 4 channels at a time. */
__device__ inline void store_u(const place &p, const tile_arguments &a, int64_t row, int64_t channel,
			       const sums<128> &sum)
{
	float *to = (float *)a.u + (channel + 2 * p.q) * a.stride + row + 16 * p.warp + p.g;

#pragma unroll
	for (int j = 0; j < 128 / 8; j++, to += 8 * a.stride) {
		to[0] = a.in_alpha * sum[4 * j];
		to[8] = a.in_alpha * sum[4 * j + 2];
		to[a.stride] = a.in_alpha * sum[4 * j + 1];
		to[a.stride + 8] = a.in_alpha * sum[4 * j + 3];
	}
}

/* u = in x'; x, normalised here, stays in registers. */
template <int D>
__device__ inline void project_in(const place &p, ring_f32<D> *r, const tile_arguments &a,
				  int64_t row, const sums<D> &rows)
{
	typedef shape_f32<D> S;
	uint32_t low[D / 4], high[D / 4];
	sums<128> sum;

	normalised_fragments<D>(a, rows, low, high);
	for (int channel = 0; channel < 3 * D; channel += 128) {
		products_begin();
#pragma unroll
		for (int stage = 0; stage < S::SLICES; stage++) {
			const uint64_t w = matrix_descriptor(ring_take(r));

#pragma unroll
			for (int step = 0; step < 4; step++) {
				const int k = 4 * stage + step;

				multiply_half_registers(
					sum, k < D / 16 ? low + 4 * k : high + 4 * (k % (D / 16)),
					descriptor_at(w, step * 32), k > 0);
			}
			stage_queued(r, stage, stage == S::SLICES - 1);
		}
		store_u(p, a, row, channel, sum);
	}
}

template <int D, int HEAD_, int TAIL> struct pass_f32 : shape_f32<D> {
	static constexpr int HEAD = HEAD_;

	/* low and high channels */
	static __device__ inline void load(const place &p, const tile_arguments &a, int64_t row)
	{
		load_y<2 * D>(p, a, row);
	}

	/* y of the next tile is asked for as soon as the MLP has read x for the last time. */
	static __device__ inline void tile(const place &p, ring_f32<D> *r, const tile_arguments &a,
					   int64_t row, int64_t next)
	{
		sums<D> sum;

		if (HEAD) {
			wait_for_y(p);
			project_out<D>(p, r, sum);
			add_residual<D>(p, a, row, sum);
			normalise<D>(p, a, sum);
			for (int first = 0; first < a.inner; first += SLAB)
				slab_of_mlp<D>(p, r, a, first, sum);
			group_sync(1 + p.group); /* x has been read by all */
			if (next >= 0)
				load(p, a, next);
			add_bias<D>(p, a.weights.fc2_bias, sum);
			store_residual<D>(p, a, row, sum);
		} else {
			take_residual<D, 0>(p, a, row, NULL, sum);
		}
		if (TAIL)
			project_in<D>(p, r, a, row, sum);
	}
};

template <int D, int HEAD, int TAIL>
__global__ void __launch_bounds__(THREADS, 1)
	local_pass_f32(const __grid_constant__ tile_arguments a)
{
	compute_tiles<pass_f32<D, HEAD, TAIL>>(a);
}

/* ---- host ------------------------------------------------------------------------------------ */

/* Weights (out, in), times scale (in; or NULL) and a power of two. */
typedef struct operand {
	const float *weight, *scale;
	int64_t out, in;
	double up; /* brings the largest to 2^9 .. 2^10 */
} operand;

static double scaled_weight(const operand *w, int64_t n, int64_t k)
{
	return (double)w->weight[n * w->in + k] * (w->scale ? w->scale[k] : 1);
}

static operand make_operand(const float *weight, const float *scale, int64_t out, int64_t in)
{
	operand w = {weight, scale, out, in, 1};
	double largest = 1e-30;

	for (int64_t n = 0; n < out; n++)
		for (int64_t k = 0; k < in; k++)
			largest = fmax(largest, fabs(scaled_weight(&w, n, k)));
	w.up = exp2(10 - ceil(log2(largest)));
	return w;
}

/* Rows [n0, n0 + count) and columns [k0, k0 + depth), as slices of 64 columns: high, low and high; returns the
 * end. */
static __half *put_slices(__half *to, const operand *w, int64_t n0, int64_t count, int64_t k0,
			  int64_t depth)
{
	const int64_t part = count * depth;

	for (int64_t n = 0; n < count; n++)
		for (int64_t k = 0; k < depth; k++) {
			const float value = (float)(scaled_weight(w, n0 + n, k0 + k) * w->up);
			const __half high = __float2half_rn(value);
			__half *at = to + k / 64 * count * 64 + cr_cuda_slice_index(n, k % 64);

			at[0] = at[2 * part] = high;
			at[part] = __float2half_rn(value - __half2float(high));
		}
	return to + 3 * part;
}

void cr_cuda_tile_f32_pack(const cr_network *n, const cr_block_weights *w, void *packed,
			   float *alpha)
{
	const int64_t d = n->width, inner = n->inner_width;
	const int64_t piece = d == 256 ? shape_f32<256>::PIECE : shape_f32<128>::PIECE;
	const operand in = make_operand(w->in_weight, w->norm1_weight, 3 * d, d);
	const operand out = make_operand(w->out_weight, NULL, d, d);
	const operand fc1 = make_operand(w->fc1_weight, w->norm2_weight, inner, d);
	const operand fc2 = make_operand(w->fc2_weight, NULL, d, inner);
	__half *to = (__half *)packed;

	for (int64_t column = 0; column < 3 * d; column += 128)
		to = put_slices(to, &in, column, 128, 0, d);
	for (int64_t column = 0; column < d; column += 128)
		to = put_slices(to, &out, column, 128, 0, d);
	for (int64_t slab = 0; slab < inner; slab += SLAB) {
		to = put_slices(to, &fc1, slab, SLAB, 0, d);
		for (int64_t column = 0; column < d; column += piece)
			to = put_slices(to, &fc2, column, piece, slab, SLAB);
	}
	alpha[0] = (float)(1 / (out.up * CR_CUDA_GATE_SCALE));
	alpha[1] = (float)(1 / (fc1.up * CR_CUDA_NORM_SCALE));
	alpha[2] = (float)(1 / (fc2.up * CR_CUDA_GELU_SCALE));
	alpha[3] = (float)(1 / (in.up * CR_CUDA_NORM_SCALE));
}

template <int D, int HEAD, int TAIL>
static cudaError_t launch(cr_cuda *cuda, const tile_arguments *a)
{
	return cr_cuda_tile_launch(cuda, local_pass_f32<D, HEAD, TAIL>,
				   tile_shared_bytes<pass_f32<D, HEAD, TAIL>>(), a);
}

template <int D>
static cudaError_t launch_width(cr_cuda *cuda, const tile_arguments *a, int head, int tail)
{
	if (!head)
		return launch<D, 0, 1>(cuda, a);
	return tail ? launch<D, 1, 1>(cuda, a) : launch<D, 1, 0>(cuda, a);
}

cudaError_t cr_cuda_tile_f32_launch(cr_cuda *cuda, const tile_arguments *a, int head, int tail)
{
	return cuda->network->width == 128 ? launch_width<128>(cuda, a, head, tail)
					   : launch_width<256>(cuda, a, head, tail);
}
