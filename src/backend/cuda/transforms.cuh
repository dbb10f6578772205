/* transforms.cuh - shared by convolution.cu and fused_convolution.cu: what lies on both sides of a
 * transform. In front of it the short filter, the gate x1 * v and the sum over the first positions;
 * behind it the gate x0 and the form that the next block reads.
 */
#ifndef CR_CUDA_TRANSFORMS_CUH
#define CR_CUDA_TRANSFORMS_CUH

#include "backend/cuda/internal.cuh"

/* Positions at the start of a sequence that are summed plainly: values are small there, and a
 * transform's rounding follows a signal's largest value. */
#define CR_CUDA_HEAD 64

/* One mixing pass as the kernels see it. A thread works on four positions in a row: lengths and
 * starts of sequences are multiples of 4, so that its loads are aligned. */
typedef struct cr_cuda_signals {
	const void *u;                      /* (3D, stride) */
	void *y;                            /* (D, stride) or (2, D, stride) */
	const float *in_bias, *taps, *bias; /* of the block: (3D), (3, 3D), (3D) */
	const float *head_taps;             /* (D, HEAD) */
	float *keep_v, *keep_y;             /* (D, stride) or NULL */
	const float *kept_v, *kept_y;       /* (D, stride) */
	const cr_cuda_change *changes;      /* or NULL */
	int64_t stride, width, length, kept_length;
	int *overflow;
} cr_cuda_signals;

/* The smallest transform: shorter sequences (CR_CUDA_DIRECT_MAX) never come here. */
#define CR_CUDA_FUSED_LEAST 8192

/* fused_convolution.cu. Sizes are those of transforms; 0: too long for this path. */
int64_t cr_cuda_fused_size(int64_t length);
int64_t cr_cuda_fused_shared(int64_t size); /* bytes of shared memory */
int cr_cuda_make_twiddles(cr_cuda *cuda, int64_t size, float2 **twiddles, crocuta_error *error);
/* Channels [first, first + channels) of all sequences; filter (channels, size / 2 + 1), divided by
 * size. */
int cr_cuda_fused_run(cr_cuda *cuda, const cr_cuda_signals *signals, int64_t batch, int64_t size,
		      const float2 *twiddles, const cufftComplex *filter, int64_t first,
		      int64_t channels, crocuta_error *error);

#ifdef __CUDACC__
__device__ inline void cr_load_four(const float *from, float *to)
{
	const float4 x = *(const float4 *)from;

	to[0] = x.x;
	to[1] = x.y;
	to[2] = x.z;
	to[3] = x.w;
}

__device__ inline void cr_load_two(const float *from, float *to)
{
	const float2 x = *(const float2 *)from;

	to[0] = x.x;
	to[1] = x.y;
}

__device__ inline void cr_load_two(const __nv_bfloat16 *from, float *to)
{
	const float2 x = __bfloat1622float2(*(const __nv_bfloat162 *)from);

	to[0] = x.x;
	to[1] = x.y;
}

__device__ inline void cr_load_four(const __nv_bfloat16 *from, float *to)
{
	const uint2 x = *(const uint2 *)from;
	__nv_bfloat162 low, high;

	memcpy(&low, &x.x, sizeof low);
	memcpy(&high, &x.y, sizeof high);
	to[0] = __low2float(low);
	to[1] = __high2float(low);
	to[2] = __low2float(high);
	to[3] = __high2float(high);
}

__device__ inline void cr_store_four(float *to, const float *x)
{
	*(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
}

/* The short filter of row `channel` of u at positions t .. t + 3 of a sequence. */
template <typename T>
__device__ inline void cr_short_filter(const cr_cuda_signals &m, int64_t sequence, int64_t channel,
				       int64_t t, float *out)
{
	const T *u = (const T *)m.u + channel * m.stride + sequence * m.length + t;
	const float in_bias = m.in_bias[channel], bias = m.bias[channel];
	const float oldest = m.taps[channel], middle = m.taps[3 * m.width + channel];
	const float now = m.taps[6 * m.width + channel];
	float x[6] = {0, 0}; /* from position t - 2 on */

	if (t > 0) {
		cr_load_two(u - 2, x);
		x[0] += in_bias;
		x[1] += in_bias;
	}
	cr_load_four(u, x + 2);
	for (int i = 0; i < 4; i++) {
		x[i + 2] += in_bias;
		out[i] = bias + x[i] * oldest + x[i + 1] * middle + x[i + 2] * now;
	}
}

/* The convolution's input at positions t .. t + 3. */
template <typename T>
__device__ inline void cr_gate_in(const cr_cuda_signals &m, int64_t sequence, int64_t c, int64_t t,
				  float *g)
{
	float v[4];

	cr_short_filter<T>(m, sequence, m.width + c, t, g);
	cr_short_filter<T>(m, sequence, 2 * m.width + c, t, v);
	for (int i = 0; i < 4; i++)
		g[i] *= v[i];
	if (m.keep_v)
		cr_store_four(m.keep_v + c * m.stride + sequence * m.length + t, g);
	if (m.changes) {
		const cr_cuda_change one = m.changes[sequence];
		const float *kept = cr_kept_rows(m.kept_v, m.stride, c, one, m.kept_length);

		for (int i = 0; i < 4; i++)
			g[i] = t + i < one.lead || t + i >= one.rows ? 0 : g[i] - kept[t + i];
	}
}

/* The convolution at position t < HEAD, from its inputs there. */
__device__ inline float cr_sum_head(const float *taps, const float *g, int t)
{
	float sum = 0;

	for (int s = 0; s <= t; s++)
		sum += taps[s] * g[t - s];
	return sum;
}

__device__ inline void cr_write_gated(const cr_cuda_signals &m, int64_t c, int64_t row,
				      const float *value, const __nv_bfloat16 *)
{
	__nv_bfloat162 four[2];
	uint2 x;

	for (int i = 0; i < 2; i++)
		four[i] = __floats2bfloat162_rn(value[2 * i], value[2 * i + 1]);
	memcpy(&x, four, sizeof x);
	*(uint2 *)((__nv_bfloat16 *)m.y + c * m.stride + row) = x;
}

__device__ inline void cr_write_gated(const cr_cuda_signals &m, int64_t c, int64_t row,
				      const float *value, const float *)
{
	__half *low = (__half *)m.y + c * m.stride + row, *high = low + m.width * m.stride;
	__half lows[4], highs[4];
	uint2 x;

	for (int i = 0; i < 4; i++) {
		const float scaled = value[i] * CR_CUDA_GATE_SCALE;

		if (!(fabsf(scaled) <= CR_CUDA_LARGEST_HALF))
			*m.overflow = 1;
		highs[i] = __float2half_rn(scaled);
		lows[i] = __float2half_rn(scaled - __half2float(highs[i]));
	}
	memcpy(&x, lows, sizeof x);
	*(uint2 *)low = x;
	memcpy(&x, highs, sizeof x);
	*(uint2 *)high = x;
}

/* From the convolution's output at positions t .. t + 3 to y. */
template <typename T>
__device__ inline void cr_gate_out(const cr_cuda_signals &m, int64_t sequence, int64_t c, int64_t t,
				   float *o)
{
	const int64_t row = sequence * m.length + t;
	float x0[4];

	if (m.changes) {
		const cr_cuda_change one = m.changes[sequence];
		const float *kept = cr_kept_rows(m.kept_y, m.stride, c, one, m.kept_length);

		for (int i = 0; i < 4; i++)
			o[i] = t + i < one.lead || t + i >= one.rows ? 0 : o[i] + kept[t + i];
	}
	if (m.keep_y)
		cr_store_four(m.keep_y + c * m.stride + row, o);
	cr_short_filter<T>(m, sequence, c, t, x0);
	for (int i = 0; i < 4; i++)
		x0[i] *= o[i];
	cr_write_gated(m, c, row, x0, (const T *)NULL);
}
#endif

#endif
