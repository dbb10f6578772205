/* dense.cu - the local pass between two mixers, any width, both dtypes: products through cuBLASLt,
 * norms and the f32 activation by kernels here.
 *
 * Rows go through in chunks whose MLP activations stay in the L2 cache. Operands of f32 are sums of
 * two halves (gemm.cu). In which form follows from the bytes moved: in_proj, fc1    x is narrow,
 * the output wide: x is written as (low, high, high) against (high, low, high), so that the output
 * is written once. out_proj, fc2   the input is as wide as the output or wider, and the output is
 * the residual: (low, high) against (high, low), then high against high, both added to the
 * residual. fc1's float32 output becomes (low, high) in place, row by row.
 */
#include "backend/cuda/gemm.cuh"

#include <stdlib.h>

/* fc1's outputs of a chunk: 32 MiB of the H100's 50 MB of L2. */
#define HIDDEN_BYTES ((int64_t)32 << 20)
#define CHUNK_MIN 2048
#define CHUNK_MAX 65536

/* The MLP's width is padded to this with zero weights: whole warps of float4. */
#define INNER_STEP 128
/* A block of 1,024 threads with WIDE_VECTORS float4 each holds a row of the MLP. */
#define WIDE_VECTORS 8
#define INNER_MAX (1024 * 4 * WIDE_VECTORS)

typedef struct dense_layer {
	cr_cuda_linear in, out, fc1, fc2;
} dense_layer;

struct cr_cuda_dense {
	cr_cuda_blas blas;
	int64_t chunk;        /* rows */
	int64_t width, inner; /* of operands: D and I, padded */
	int64_t layers;
	dense_layer *layer; /* (layers) */
	/* out, fc2: f32: the small products, the large ones; bf16: all in [1] */
	cr_cuda_product in, out[2], fc1, fc2[2];
	void *x;      /* f32: (chunk, 3, width) half precision; bf16: (chunk, width) bfloat16 */
	void *hidden; /* f32: (chunk, inner) float32, then (chunk, 2, inner) half precision in the
			 same place; bf16: (chunk, inner) bfloat16 */
};

static int64_t padded(int64_t n, int64_t step)
{
	return cr_ceil_div(n, step) * step;
}

static int64_t operand_width(const cr_network *n)
{
	return padded(n->width, 8);
}

static int64_t operand_inner(const cr_network *n)
{
	return padded(n->inner_width, INNER_STEP);
}

/* A power of two: batches are of such lengths most of the time. */
static int64_t chunk_rows(const cr_network *n, int dtype)
{
	const int64_t bytes = operand_inner(n) * (dtype == CR_CUDA_F32 ? 4 : 2);
	int64_t rows = CHUNK_MIN;

	while (rows < CHUNK_MAX && 2 * rows * bytes <= HIDDEN_BYTES)
		rows *= 2;
	return rows;
}

/* ---- kernels --------------------------------------------------------------------------------- */

/* Four values as low and high halves. Do they fit? */
__device__ inline bool split(const float4 value, uint2 *low, uint2 *high)
{
	const __half2 a = __floats2half2_rn(value.x, value.y);
	const __half2 b = __floats2half2_rn(value.z, value.w);
	const float2 p = __half22float2(a), q = __half22float2(b);
	const __half2 c = __floats2half2_rn(value.x - p.x, value.y - p.y);
	const __half2 d = __floats2half2_rn(value.z - q.x, value.w - q.y);

	*high = make_uint2(*(const unsigned *)&a, *(const unsigned *)&b);
	*low = make_uint2(*(const unsigned *)&c, *(const unsigned *)&d);
	return fabsf(value.x) <= CR_CUDA_LARGEST_HALF && fabsf(value.y) <= CR_CUDA_LARGEST_HALF &&
	       fabsf(value.z) <= CR_CUDA_LARGEST_HALF && fabsf(value.w) <= CR_CUDA_LARGEST_HALF;
}

/* Four values of a normalised row at channel c into its operand; `width` is the operand's. */
__device__ inline bool put_vector(__half *row, int64_t width, int c, const float4 value)
{
	uint2 low, high;
	const bool fits = split(value, &low, &high);

	*(uint2 *)(row + c) = low;
	*(uint2 *)(row + width + c) = high;
	*(uint2 *)(row + 2 * width + c) = high;
	return fits;
}

__device__ inline bool put_vector(__nv_bfloat16 *row, int64_t, int c, const float4 value)
{
	const __nv_bfloat162 a = __floats2bfloat162_rn(value.x, value.y);
	const __nv_bfloat162 b = __floats2bfloat162_rn(value.z, value.w);

	*(uint2 *)(row + c) = make_uint2(*(const unsigned *)&a, *(const unsigned *)&b);
	return true;
}

__device__ inline bool put_value(__half *row, int64_t width, int64_t c, float value)
{
	const __half high = __float2half_rn(value);

	row[c] = __float2half_rn(value - __half2float(high));
	row[width + c] = row[2 * width + c] = high;
	return fabsf(value) <= CR_CUDA_LARGEST_HALF;
}

__device__ inline bool put_value(__nv_bfloat16 *row, int64_t, int64_t c, float value)
{
	row[c] = __float2bfloat16_rn(value);
	return true;
}

/* Parts of an operand. */
__device__ inline int parts_of(const __half *)
{
	return 3;
}

__device__ inline int parts_of(const __nv_bfloat16 *)
{
	return 1;
}

/* A warp a row of up to 128 VECTORS channels, a multiple of 4, in registers. operand: (rows, parts,
 * operand_width), up times the normalised row. */
template <typename Operand, int VECTORS>
__global__ void __launch_bounds__(256)
	normalise_vectors(const float *x, int64_t rows, int width, int64_t operand_width,
			  float epsilon, float up, Operand *operand, int *overflow)
{
	const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
	const int lane = threadIdx.x % 32;
	float4 value[VECTORS];
	float sum = 0, square = 0, mean, scale;
	bool fits = true;

	if (row >= rows)
		return;
#pragma unroll
	for (int i = 0; i < VECTORS; i++) {
		const int c = 4 * (lane + 32 * i);

		value[i] = make_float4(0, 0, 0, 0);
		if (c < width)
			value[i] = *(const float4 *)(x + row * width + c);
		sum += (value[i].x + value[i].y) + (value[i].z + value[i].w);
	}
	mean = cr_sum_warp(sum) / (float)width;
#pragma unroll
	for (int i = 0; i < VECTORS; i++) {
		value[i] = make_float4(value[i].x - mean, value[i].y - mean, value[i].z - mean,
				       value[i].w - mean);
		if (4 * (lane + 32 * i) < width)
			square += (value[i].x * value[i].x + value[i].y * value[i].y) +
				  (value[i].z * value[i].z + value[i].w * value[i].w);
	}
	scale = up * cr_norm_scale(cr_sum_warp(square) / (float)width, epsilon);
	operand += row * parts_of(operand) * operand_width;
#pragma unroll
	for (int i = 0; i < VECTORS; i++) {
		const int c = 4 * (lane + 32 * i);

		if (c < width)
			fits &= put_vector(operand, operand_width, c,
					   make_float4(value[i].x * scale, value[i].y * scale,
						       value[i].z * scale, value[i].w * scale));
	}
	if (!fits)
		*overflow = 1;
}

/* The same for any width. */
template <typename Operand>
__global__ void __launch_bounds__(256)
	normalise_values(const float *x, int64_t rows, int64_t width, int64_t operand_width,
			 float epsilon, float up, Operand *operand, int *overflow)
{
	const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
	const int lane = threadIdx.x % 32;
	float sum = 0, square = 0, mean, scale;
	bool fits = true;

	if (row >= rows)
		return;
	x += row * width;
	operand += row * parts_of(operand) * operand_width;
	for (int64_t c = lane; c < width; c += 32)
		sum += x[c];
	mean = cr_sum_warp(sum) / (float)width;
	for (int64_t c = lane; c < width; c += 32)
		square += (x[c] - mean) * (x[c] - mean);
	scale = up * cr_norm_scale(cr_sum_warp(square) / (float)width, epsilon);
	for (int64_t c = lane; c < width; c += 32)
		fits &= put_value(operand, operand_width, c, (x[c] - mean) * scale);
	if (!fits)
		*overflow = 1;
}

/* cr_gelu with the fast exponential and quotient: the former's error is multiplied by the sigmoid's
 * slope, and the latter is 2 units in the last place off. */
__device__ inline float fast_gelu(float x)
{
	const float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);

	return __fdividef(x, 1.0f + __expf(-2.0f * u));
}

/* ROWS rows a block: float32 (rows, inner) to halves (rows, 2, inner), low and high, of up * gelu,
 * in the same place. A block holds all of its rows before it writes. */
template <int ROWS, int VECTORS>
__global__ void __launch_bounds__(1024)
	activate_rows(void *hidden, int inner, float up, int *overflow)
{
	const int64_t first = (int64_t)blockIdx.x * ROWS;
	float4 value[ROWS][VECTORS];
	bool fits = true;

#pragma unroll
	for (int row = 0; row < ROWS; row++)
#pragma unroll
		for (int i = 0; i < VECTORS; i++) {
			const int c = 4 * (threadIdx.x + i * blockDim.x);

			if (c < inner)
				value[row][i] = *(const float4 *)((float *)hidden +
								  (first + row) * inner + c);
		}
	__syncthreads();
#pragma unroll
	for (int row = 0; row < ROWS; row++)
#pragma unroll
		for (int i = 0; i < VECTORS; i++) {
			const int c = 4 * (threadIdx.x + i * blockDim.x);
			__half *to = (__half *)hidden + (first + row) * 2 * inner + c;
			float4 v;
			uint2 low, high;

			if (c >= inner)
				continue;
			v = value[row][i];
			fits &= split(make_float4(up * fast_gelu(v.x), up * fast_gelu(v.y),
						  up * fast_gelu(v.z), up * fast_gelu(v.w)),
				      &low, &high);
			*(uint2 *)to = low;
			*(uint2 *)(to + inner) = high;
		}
	if (!fits)
		*overflow = 1;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Each on the `rows` rows from `first`; a multiple of CR_CUDA_TILE. */

template <typename Operand>
static void launch_normalise(const cr_cuda *cuda, const float *x, int64_t rows, float up,
			     Operand *operand)
{
	const unsigned blocks = (unsigned)cr_ceil_div(rows, 8);
	const int64_t width = cuda->network->width, to = operand_width(cuda->network);
	const float epsilon = (float)cuda->network->norm_epsilon;

	if (width % 4 || width > 1024)
		normalise_values<Operand><<<blocks, 256, 0, cuda->stream>>>(
			x, rows, width, to, epsilon, up, operand, cuda->overflow);
	else if (width <= 128)
		normalise_vectors<Operand, 1><<<blocks, 256, 0, cuda->stream>>>(
			x, rows, (int)width, to, epsilon, up, operand, cuda->overflow);
	else if (width <= 256)
		normalise_vectors<Operand, 2><<<blocks, 256, 0, cuda->stream>>>(
			x, rows, (int)width, to, epsilon, up, operand, cuda->overflow);
	else if (width <= 512)
		normalise_vectors<Operand, 4><<<blocks, 256, 0, cuda->stream>>>(
			x, rows, (int)width, to, epsilon, up, operand, cuda->overflow);
	else
		normalise_vectors<Operand, 8><<<blocks, 256, 0, cuda->stream>>>(
			x, rows, (int)width, to, epsilon, up, operand, cuda->overflow);
}

/* x = the residual's rows, normalised. */
static int normalise(cr_cuda *cuda, int64_t first, int64_t rows, crocuta_error *error)
{
	const float *residual = cuda->residual + first * cuda->network->width;

	if (cuda->dtype == CR_CUDA_F32)
		launch_normalise(cuda, residual, rows, CR_CUDA_NORM_SCALE,
				 (__half *)cuda->dense->x);
	else
		launch_normalise(cuda, residual, rows, 1.0f, (__nv_bfloat16 *)cuda->dense->x);
	CR_CUDA_LAUNCHED("a norm");
	return 0;
}

/* residual += out_proj(y) */
static int project_out(cr_cuda *cuda, int64_t layer, int64_t first, int64_t rows,
		       crocuta_error *error)
{
	cr_cuda_dense *d = cuda->dense;
	const cr_cuda_linear *linear = &d->layer[layer].out;
	const int64_t width = cuda->network->width;
	const __half *low = (const __half *)cuda->y + first;
	const __half *high = low + width * cuda->stride;
	float *residual = cuda->residual + first * width;
	int code;

	if (cuda->dtype != CR_CUDA_F32)
		return cr_cuda_product_run(cuda, &d->blas, &d->out[1], linear,
					   (const __nv_bfloat16 *)cuda->y + first, residual, rows,
					   error);
	code = cr_cuda_product_run(cuda, &d->blas, &d->out[0], linear, low, residual, rows, error);
	if (!code)
		code = cr_cuda_product_run(cuda, &d->blas, &d->out[1], linear, high, residual, rows,
					   error);
	return code;
}

/* hidden = fc1(x); with bf16, gelu of it */
static int expand(cr_cuda *cuda, int64_t layer, int64_t rows, crocuta_error *error)
{
	cr_cuda_dense *d = cuda->dense;

	return cr_cuda_product_run(cuda, &d->blas, &d->fc1, &d->layer[layer].fc1, d->x, d->hidden,
				   rows, error);
}

/* hidden = gelu(hidden), split; f32 only */
static int activate(cr_cuda *cuda, int64_t rows, crocuta_error *error)
{
	const cr_cuda_dense *d = cuda->dense;
	const int inner = (int)d->inner;

	if (inner <= 4096)
		activate_rows<4, 1><<<(unsigned)(rows / 4), inner / 4, 0, cuda->stream>>>(
			d->hidden, inner, CR_CUDA_GELU_SCALE, cuda->overflow);
	else
		activate_rows<1, WIDE_VECTORS><<<(unsigned)rows, 1024, 0, cuda->stream>>>(
			d->hidden, inner, CR_CUDA_GELU_SCALE, cuda->overflow);
	CR_CUDA_LAUNCHED("the activation");
	return 0;
}

/* residual += fc2(hidden) */
static int contract(cr_cuda *cuda, int64_t layer, int64_t first, int64_t rows, crocuta_error *error)
{
	cr_cuda_dense *d = cuda->dense;
	const cr_cuda_linear *linear = &d->layer[layer].fc2;
	const __half *low = (const __half *)d->hidden, *high = low + d->inner;
	float *residual = cuda->residual + first * cuda->network->width;
	int code;

	if (cuda->dtype != CR_CUDA_F32)
		return cr_cuda_product_run(cuda, &d->blas, &d->fc2[1], linear, d->hidden, residual,
					   rows, error);
	code = cr_cuda_product_run(cuda, &d->blas, &d->fc2[0], linear, low, residual, rows, error);
	if (!code)
		code = cr_cuda_product_run(cuda, &d->blas, &d->fc2[1], linear, high, residual, rows,
					   error);
	return code;
}

/* u = in_proj(x) */
static int project_in(cr_cuda *cuda, int64_t layer, int64_t first, int64_t rows,
		      crocuta_error *error)
{
	cr_cuda_dense *d = cuda->dense;
	void *u = cuda->dtype == CR_CUDA_F32 ? (void *)((float *)cuda->u + first)
					     : (void *)((__nv_bfloat16 *)cuda->u + first);

	return cr_cuda_product_run(cuda, &d->blas, &d->in, &d->layer[layer].in, d->x, u, rows,
				   error);
}

int cr_cuda_dense_run(cr_cuda *cuda, int64_t head, int64_t tail, int64_t rows, crocuta_error *error)
{
	const int64_t chunk = cuda->dense->chunk;
	int code = 0;

	rows = padded(rows, CR_CUDA_TILE);
	for (int64_t first = 0; !code && first < rows; first += chunk) {
		const int64_t n = rows - first < chunk ? rows - first : chunk;

		if (head >= 0)
			code = project_out(cuda, head, first, n, error);
		if (!code && head >= 0)
			code = normalise(cuda, first, n, error);
		if (!code && head >= 0)
			code = expand(cuda, head, n, error);
		if (!code && head >= 0 && cuda->dtype == CR_CUDA_F32)
			code = activate(cuda, n, error);
		if (!code && head >= 0)
			code = contract(cuda, head, first, n, error);
		if (!code && tail >= 0)
			code = normalise(cuda, first, n, error);
		if (!code && tail >= 0)
			code = project_in(cuda, tail, first, n, error);
	}
	return code;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static cr_cuda_weights weights_of(const cr_cuda *cuda, const float *weight, const float *bias,
				  int64_t out, int64_t in, int parts, float x_scale)
{
	cr_cuda_weights w = {};

	w.weight = weight;
	w.bias = bias;
	w.with_bias = bias != NULL;
	w.bias_type = CUDA_R_32F;
	w.out = w.padded_out = out;
	w.in = w.padded_in = in;
	w.parts = cuda->dtype == CR_CUDA_F32 ? parts : 1;
	w.x_scale = cuda->dtype == CR_CUDA_F32 ? x_scale : 1.0f;
	return w;
}

static int upload_layer(cr_cuda *cuda, const cr_block_weights *b, dense_layer *layer,
			crocuta_error *error)
{
	const cr_network *n = cuda->network;
	const int64_t d = n->width, inner = n->inner_width;
	cr_cuda_weights in, out, fc1, fc2;
	int code;

	in = weights_of(cuda, b->in_weight, NULL, 3 * d, d, 3, CR_CUDA_NORM_SCALE);
	in.scale = b->norm1_weight;
	in.padded_in = operand_width(n);
	out = weights_of(cuda, b->out_weight, b->out_bias, d, d, 2, CR_CUDA_GATE_SCALE);
	out.transposed = 1;
	out.padded_out = operand_width(n);
	fc1 = weights_of(cuda, b->fc1_weight, b->fc1_bias, inner, d, 3, CR_CUDA_NORM_SCALE);
	fc1.scale = b->norm2_weight;
	fc1.shift = b->norm2_bias;
	fc1.padded_in = operand_width(n);
	fc1.padded_out = operand_inner(n);
	if (cuda->dtype != CR_CUDA_F32) /* cuBLASLt wants that of the output */
		fc1.bias_type = CUDA_R_16BF;
	fc2 = weights_of(cuda, b->fc2_weight, b->fc2_bias, d, inner, 2, CR_CUDA_GELU_SCALE);
	fc2.padded_in = operand_inner(n);

	code = cr_cuda_linear_new(cuda, &layer->in, &in, error);
	if (!code)
		code = cr_cuda_linear_new(cuda, &layer->out, &out, error);
	if (!code)
		code = cr_cuda_linear_new(cuda, &layer->fc1, &fc1, error);
	if (!code)
		code = cr_cuda_linear_new(cuda, &layer->fc2, &fc2, error);
	return code;
}

/* residual += x W' + bias: in f32 two products, of both parts of x with (high, low) of W, without
 * the bias, and of x's high parts with W's, with it. sum: of the latter, or of bf16. */
static int make_sums(const cr_cuda *cuda, const cr_cuda_dense *d, cr_cuda_product product[2],
		     const cr_cuda_shape *sum, const cr_cuda_linear *linear, crocuta_error *error)
{
	cr_cuda_shape small = *sum;
	int code = 0;

	small.in = 2 * sum->in;
	small.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
	if (cuda->dtype == CR_CUDA_F32)
		code = cr_cuda_product_new(&d->blas, &product[0], &small, d->chunk, linear, error);
	if (!code)
		code = cr_cuda_product_new(&d->blas, &product[1], sum, d->chunk, linear, error);
	return code;
}

static int make_products(const cr_cuda *cuda, cr_cuda_dense *d, crocuta_error *error)
{
	const dense_layer *l = &d->layer[0];
	const int f32 = cuda->dtype == CR_CUDA_F32;
	cr_cuda_shape in = {}, out, fc1, fc2;
	int code;

	in.type = f32 ? CUDA_R_16F : CUDA_R_16BF;
	out = in;
	in.in = in.x_ld = in.w_ld = (f32 ? 3 : 1) * d->width;
	in.y_type = f32 ? CUDA_R_32F : CUDA_R_16BF;
	in.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
	fc1 = in;
	in.out = 3 * cuda->network->width;
	in.y_ld = cuda->stride;
	in.y_channels = 1;
	fc1.out = fc1.y_ld = d->inner;
	fc1.epilogue = f32 ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;

	out.out = out.y_ld = cuda->network->width;
	out.y_type = CUDA_R_32F;
	out.epilogue = CUBLASLT_EPILOGUE_BIAS;
	out.beta = 1;
	fc2 = out;
	out.in = cuda->network->width;
	out.x_ld = cuda->stride;
	out.x_channels = 1;
	out.w_ld = d->width;
	fc2.in = d->inner;
	fc2.x_ld = fc2.w_ld = (f32 ? 2 : 1) * d->inner;

	code = cr_cuda_product_new(&d->blas, &d->in, &in, d->chunk, &l->in, error);
	if (!code)
		code = make_sums(cuda, d, d->out, &out, &l->out, error);
	if (!code)
		code = cr_cuda_product_new(&d->blas, &d->fc1, &fc1, d->chunk, &l->fc1, error);
	if (!code)
		code = make_sums(cuda, d, d->fc2, &fc2, &l->fc2, error);
	return code;
}

static int64_t x_bytes(const cr_network *n, int dtype)
{
	return chunk_rows(n, dtype) * operand_width(n) * 2 * (dtype == CR_CUDA_F32 ? 3 : 1);
}

static int64_t hidden_bytes(const cr_network *n, int dtype)
{
	return chunk_rows(n, dtype) * operand_inner(n) * (dtype == CR_CUDA_F32 ? 4 : 2);
}

static int prepare(cr_cuda *cuda, cr_cuda_dense *d, crocuta_error *error)
{
	const cr_network *n = cuda->network;
	int code;

	d->chunk = chunk_rows(n, cuda->dtype);
	d->width = operand_width(n);
	d->inner = operand_inner(n);
	if (d->inner > INNER_MAX)
		return cr_fail(error, CROCUTA_EMODEL, "an MLP of width %lld: the GPU serves %d",
			       (long long)n->inner_width, INNER_MAX);
	d->layer = (dense_layer *)calloc((size_t)n->layers, sizeof *d->layer);
	if (!d->layer)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	d->layers = n->layers;
	code = cr_cuda_blas_new(cuda, &d->blas, error);
	for (int64_t i = 0; !code && i < n->layers; i++)
		code = upload_layer(cuda, &n->block[i], &d->layer[i], error);
	if (!code)
		code = cr_cuda_alloc(cuda, &d->x, x_bytes(n, cuda->dtype), error);
	if (!code)
		code = cr_cuda_alloc(cuda, &d->hidden, hidden_bytes(n, cuda->dtype), error);
	if (!code)
		code = make_products(cuda, d, error);
	return code;
}

int cr_cuda_dense_new(cr_cuda *cuda, cr_cuda_dense **dense, crocuta_error *error)
{
	cr_cuda_dense *d = (cr_cuda_dense *)calloc(1, sizeof *d);
	int code;

	*dense = NULL;
	if (!d)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	code = prepare(cuda, d, error);
	if (code)
		cr_cuda_dense_free(d);
	else
		*dense = d;
	return code;
}

void cr_cuda_dense_free(cr_cuda_dense *d)
{
	if (!d)
		return;
	for (int64_t i = 0; i < d->layers; i++) {
		cr_cuda_linear_free(&d->layer[i].in);
		cr_cuda_linear_free(&d->layer[i].out);
		cr_cuda_linear_free(&d->layer[i].fc1);
		cr_cuda_linear_free(&d->layer[i].fc2);
	}
	free(d->layer);
	cr_cuda_product_free(&d->in);
	cr_cuda_product_free(&d->fc1);
	for (int i = 0; i < 2; i++) {
		cr_cuda_product_free(&d->out[i]);
		cr_cuda_product_free(&d->fc2[i]);
	}
	cr_cuda_blas_free(&d->blas);
	cudaFree(d->x);
	cudaFree(d->hidden);
	free(d);
}

int64_t cr_cuda_dense_bytes(const cr_network *n, int dtype, int64_t *weights)
{
	const int64_t d = n->width, to = operand_width(n), inner = operand_inner(n);
	const int64_t three = dtype == CR_CUDA_F32 ? 3 : 1, two = dtype == CR_CUDA_F32 ? 2 : 1;
	const int64_t bias = 8 * d + inner * (dtype == CR_CUDA_F32 ? 4 : 2);

	*weights = n->layers * (2 * (three * (3 * d + inner) * to + two * d * (to + inner)) + bias);
	return x_bytes(n, dtype) + hidden_bytes(n, dtype) + CR_CUDA_BLAS_WORKSPACE;
}
