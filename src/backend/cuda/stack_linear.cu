/* stack_linear.cu - products of activations with matrices, y = x W' + bias.
 *
 *   x         W         how
 *   bfloat16  bfloat16  cuBLASLt, float32 sums
 *   bfloat16  float32   the same, W rounded to bfloat16 first
 *   float32   bfloat16  the same three times: x is the sum of three bfloat16 numbers exactly, small ones
 *                       first, since matrix units cut running sums at every step
 *   float32   float32   cuBLASLt in float32 (no TF32)
 * Sizes or addresses that cuBLASLt's fast kernels do not take: a plain kernel in float32.
 *
 * To results in bfloat16 cuBLASLt adds a bias of bfloat16 numbers. One that is not made of these
 * (those of files in bfloat16 are) is added to results in float32, which are rounded after it.
 */
#include "backend/cuda/stack_product.cuh"

extern "C" {
#include "base/memory.h"
}

#define SCRATCH_BYTES ((int64_t)256 << 20) /* of what grows with rows, at a time */
#define THREADS 256

/* ---- conversions ----------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(THREADS)
	round_kernel(const float *__restrict__ from, __nv_bfloat16 *__restrict__ to, int64_t count)
{
	const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (i < count)
		to[i] = __float2bfloat16_rn(from[i]);
}

/* A row for each blockIdx.y: x (rows, in) with a stride as the sum of three bfloat16 matrices, the smallest
 * first, with 8 bits of each number's 24 in each. An infinity makes the others no numbers. */
static __global__ void __launch_bounds__(THREADS)
	split_kernel(const float *__restrict__ x, int64_t stride, int64_t in, int64_t count,
		     __nv_bfloat16 *__restrict__ parts)
{
	const int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x, i = blockIdx.y * in + k;

	if (k >= in)
		return;
	const float value = x[blockIdx.y * stride + k];
	const __nv_bfloat16 high = __float2bfloat16_rn(value);
	const float rest = value - __bfloat162float(high);
	const __nv_bfloat16 middle = __float2bfloat16_rn(rest);

	parts[i] = __float2bfloat16_rn(rest - __bfloat162float(middle));
	parts[count + i] = middle;
	parts[2 * count + i] = high;
}

/* A row for each blockIdx.y: y = x + bias, rounded; x (rows, out). */
static __global__ void __launch_bounds__(THREADS)
	bias_kernel(const float *__restrict__ x, const float *__restrict__ bias, int64_t out,
		    __nv_bfloat16 *__restrict__ y, int64_t stride)
{
	const int64_t o = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (o < out)
		y[blockIdx.y * stride + o] =
			__float2bfloat16_rn(x[blockIdx.y * out + o] + bias[o]);
}

/* ---- any size -------------------------------------------------------------------------------- */

#define TILE 64
#define DEPTH 16

struct plain_arguments {
	const void *x, *w;
	void *y;
	const float *bias; /* or NULL */
	int64_t x_stride, y_stride, rows, out, in;
};

/* TILE x TILE of y by 16 x 16 threads, 4 x 4 each, over in in order. */
template <typename A, typename W, typename Y, bool ADD>
__global__ void __launch_bounds__(THREADS) plain_kernel(plain_arguments a)
{
	__shared__ float xs[DEPTH][TILE + 1], ws[DEPTH][TILE + 1];
	const A *x = (const A *)a.x;
	const W *w = (const W *)a.w;
	Y *y = (Y *)a.y;
	const int64_t row0 = (int64_t)blockIdx.x * TILE, out0 = (int64_t)blockIdx.y * TILE;
	const int tr = threadIdx.x / 16, to = threadIdx.x % 16;
	float sum[4][4] = {};

	for (int64_t k0 = 0; k0 < a.in; k0 += DEPTH) {
		for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
			const int k = i % DEPTH, r = i / DEPTH;
			const int inside = k0 + k < a.in;

			xs[k][r] = inside && row0 + r < a.rows
					   ? cr_to_float(x[(row0 + r) * a.x_stride + k0 + k])
					   : 0;
			ws[k][r] = inside && out0 + r < a.out
					   ? cr_to_float(w[(out0 + r) * a.in + k0 + k])
					   : 0;
		}
		__syncthreads();
		for (int k = 0; k < DEPTH; k++)
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < 4; j++)
					sum[i][j] = fmaf(xs[k][tr + 16 * i], ws[k][to + 16 * j],
							 sum[i][j]);
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const int64_t row = row0 + tr + 16 * i, o = out0 + to + 16 * j;

			if (row >= a.rows || o >= a.out)
				continue;
			Y *place = y + row * a.y_stride + o;
			const float value = sum[i][j] + (a.bias ? a.bias[o] : 0);

			*place = cr_from_float<Y>(ADD ? cr_to_float(*place) + value : value);
		}
}

template <typename A, typename W>
static void plain_by(cudaStream_t stream, const plain_arguments &a, int target)
{
	const dim3 blocks((unsigned)cr_ceil_div(a.rows, TILE), (unsigned)cr_ceil_div(a.out, TILE));

	if (target == CR_LINEAR_STORE)
		plain_kernel<A, W, A, false><<<blocks, THREADS, 0, stream>>>(a);
	else if (target == CR_LINEAR_ADD)
		plain_kernel<A, W, float, true><<<blocks, THREADS, 0, stream>>>(a);
	else
		plain_kernel<A, W, float, false><<<blocks, THREADS, 0, stream>>>(a);
}

template <typename A>
static int plain(cr_stack_device *device, const cr_stack_linear *arguments, crocuta_error *error)
{
	const cr_matrix *m = arguments->matrix;
	const plain_arguments a = {arguments->x,        m->values,           arguments->y,
				   m->bias,             arguments->x_stride, arguments->y_stride,
				   arguments->rows,     m->rows,             m->columns};

	if (cr_ceil_div(a.out, TILE) > 65535 || cr_ceil_div(a.rows, TILE) > 0x7fffffff)
		return cr_fail(error, CROCUTA_EARG, "GPU: a matrix of %lld rows",
			       (long long)m->rows);
	if (m->type == CR_NUMBER_BF16)
		plain_by<A, __nv_bfloat16>(device->stream, a, arguments->target);
	else
		plain_by<A, float>(device->stream, a, arguments->target);
	CR_CUDA_LAUNCHED("a matrix product");
	return 0;
}

/* ---- biases ---------------------------------------------------------------------------------- */

/* A bias, and whether bfloat16 holds it; known until somebody writes there. */
struct cr_cuda_stack_bias {
	const float *bias;
	int64_t count;
	int exact;
	cr_cuda_stack_bias *next;
};

/* differs: set where bfloat16 does not hold a number. */
static __global__ void __launch_bounds__(THREADS)
	compare_kernel(const float *bias, int64_t count, int *differs)
{
	const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (i < count && __bfloat162float(__float2bfloat16_rn(bias[i])) != bias[i])
		*differs = 1;
}

/* Waits, once for each bias. */
static int find_bias(cr_stack_device *device, const float *bias, int64_t count, int *exact,
		     crocuta_error *error)
{
	cr_cuda_stack_bias *known = device->biases;
	int differs = 0;
	void *flag;
	int code;

	while (known && (known->bias != bias || known->count != count))
		known = known->next;
	if (known) {
		*exact = known->exact;
		return 0;
	}
	code = cr_cuda_stack_scratch(device, sizeof(int), &flag, error);
	if (code)
		return code;
	CR_CUDA_TRY(cudaMemsetAsync(flag, 0, sizeof(int), device->stream), "clearing");
	compare_kernel<<<cr_cuda_blocks(count, THREADS), THREADS, 0, device->stream>>>(bias, count,
										(int *)flag);
	CR_CUDA_LAUNCHED("reading a bias");
	CR_CUDA_TRY(cudaMemcpyAsync(&differs, flag, sizeof differs, cudaMemcpyDeviceToHost,
				    device->stream),
		    "copying from the GPU");
	CR_CUDA_TRY(cudaStreamSynchronize(device->stream), "reading a bias");
	known = (cr_cuda_stack_bias *)cr_calloc(1, sizeof *known);
	if (!known)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a bias");
	known->bias = bias;
	known->count = count;
	known->exact = *exact = !differs;
	known->next = device->biases;
	device->biases = known;
	return 0;
}

void cr_cuda_stack_written(cr_stack_device *device, const void *array, int64_t bytes)
{
	const uintptr_t from = (uintptr_t)array, to = from + (uintptr_t)bytes;
	cr_cuda_stack_bias **at = &device->biases;

	while (*at) {
		cr_cuda_stack_bias *known = *at;
		const uintptr_t begin = (uintptr_t)known->bias;

		if (begin < to && from < begin + (uintptr_t)known->count * sizeof(float)) {
			*at = known->next;
			cr_free(known);
		} else {
			at = &known->next;
		}
	}
}

/* ---- the operator ---------------------------------------------------------------------------- */

/* Do cuBLASLt's fast kernels take it? They load 16 bytes at a time. */
static int is_regular(const cr_stack_device *device, const cr_stack_linear *a)
{
	const int64_t x_bytes = cr_number_bytes(device->activation);
	const int64_t y_bytes = a->target == CR_LINEAR_STORE ? x_bytes : 4;

	return a->matrix->rows % 8 == 0 && a->matrix->columns % 8 == 0 && a->matrix->columns > 0 &&
	       cr_cuda_aligned(a->matrix->values, 0, 16) &&
	       cr_cuda_aligned(a->x, a->x_stride * x_bytes, 16) &&
	       cr_cuda_aligned(a->y, a->y_stride * y_bytes, 16);
}

/* How a call is computed, and its scratch: the bias as the products take it, W rounded, and for `piece`
 * rows at a time the parts of x or y in float32. */
struct plan {
	int round_bias, copy_bias, round_w, split_x, wide_y;
	int64_t piece;
	char *bias, *w, *rows;
};

static int make_plan(cr_stack_device *device, const cr_stack_linear *a, plan *p,
		     crocuta_error *error)
{
	const cr_matrix *m = a->matrix;
	const int bfloat = device->activation == CR_NUMBER_BF16;
	const int bfloat_y = bfloat && a->target == CR_LINEAR_STORE;
	int64_t bias_bytes, w_bytes, row_bytes, most;
	void *scratch = NULL;
	int code = 0;

	*p = plan();
	if (m->bias && bfloat_y)
		code = find_bias(device, m->bias, m->rows, &p->round_bias, error);
	if (code)
		return code;
	p->wide_y = m->bias && bfloat_y && !p->round_bias;
	p->copy_bias = m->bias && !bfloat_y && (uintptr_t)m->bias % 16;
	p->round_w = bfloat && m->type == CR_NUMBER_F32;
	p->split_x = !bfloat && m->type == CR_NUMBER_BF16;
	bias_bytes = p->round_bias || p->copy_bias ? cr_ceil_div(m->rows * 4, 256) * 256 : 0;
	w_bytes = p->round_w ? cr_ceil_div(m->rows * m->columns * 2, 256) * 256 : 0;
	row_bytes = p->split_x ? 3 * m->columns * 2 : p->wide_y ? m->rows * 4 : 0;
	p->piece = CR_CUDA_PRODUCT_ROWS;
	if (row_bytes) {
		most = SCRATCH_BYTES / row_bytes / 128 * 128;
		most = most ? most : 128;
		p->piece = p->piece < most ? p->piece : most;
	}
	p->piece = p->piece < a->rows ? p->piece : a->rows;
	if (bias_bytes + w_bytes + row_bytes)
		code = cr_cuda_stack_scratch(device, bias_bytes + w_bytes + p->piece * row_bytes,
					     &scratch, error);
	p->bias = (char *)scratch;
	p->w = p->bias + bias_bytes;
	p->rows = p->w + w_bytes;
	return code;
}

static int round_to_bfloat(cr_stack_device *device, const void *from, void *to, int64_t count,
			   crocuta_error *error)
{
	round_kernel<<<cr_cuda_blocks(count, THREADS), THREADS, 0, device->stream>>>(
		(const float *)from, (__nv_bfloat16 *)to, count);
	CR_CUDA_LAUNCHED("rounding");
	return 0;
}

/* One piece of float32 rows with bfloat16 weights. */
static int run_split(cr_stack_device *device, cr_cuda_product_kind kind, cr_cuda_operands o,
		     const plan *p, crocuta_error *error)
{
	const int64_t count = o.rows * kind.in;
	const dim3 blocks(cr_cuda_blocks(kind.in, THREADS), (unsigned)o.rows);
	const int bias = kind.bias;
	int code = 0;

	split_kernel<<<blocks, THREADS, 0, device->stream>>>(
		(const float *)o.x, o.x_stride, kind.in, count, (__nv_bfloat16 *)p->rows);
	CR_CUDA_LAUNCHED("splitting");
	kind.type = CR_NUMBER_BF16;
	o.x_stride = kind.in;
	for (int part = 0; !code && part < 3; part++) {
		kind.bias = bias && part == 2;
		o.x = (const __nv_bfloat16 *)p->rows + part * count;
		code = cr_cuda_stack_product(device, &kind, &o, error);
		o.beta = 1;
	}
	return code;
}

/* One piece whose results are rounded after the bias. */
static int run_wide(cr_stack_device *device, cr_cuda_product_kind kind, cr_cuda_operands o,
		    const plan *p, const float *bias, crocuta_error *error)
{
	const dim3 blocks(cr_cuda_blocks(kind.out, THREADS), (unsigned)o.rows);
	const int64_t y_stride = o.y_stride;
	__nv_bfloat16 *y = (__nv_bfloat16 *)o.y;
	int code;

	kind.y_type = CR_NUMBER_F32;
	kind.bias = 0;
	o.y = p->rows;
	o.y_stride = kind.out;
	code = cr_cuda_stack_product(device, &kind, &o, error);
	if (code)
		return code;
	bias_kernel<<<blocks, THREADS, 0, device->stream>>>((const float *)p->rows, bias, kind.out,
							    y, y_stride);
	CR_CUDA_LAUNCHED("adding a bias");
	return 0;
}

static int regular(cr_stack_device *device, const cr_stack_linear *a, crocuta_error *error)
{
	const cr_matrix *m = a->matrix;
	const int y_type = a->target == CR_LINEAR_STORE ? device->activation : CR_NUMBER_F32;
	const cr_cuda_product_kind kind = {device->activation, y_type, m->bias != NULL, m->rows,
					   m->columns};
	cr_cuda_operands o = {m->values,   NULL,        m->bias, NULL,
			      a->x_stride, a->y_stride, 0,       a->target == CR_LINEAR_ADD ? 1.0f : 0.0f};
	plan p;
	int code = make_plan(device, a, &p, error);

	if (!code && p.round_bias)
		code = round_to_bfloat(device, m->bias, p.bias, m->rows, error);
	if (!code && p.copy_bias)
		CR_CUDA_TRY(cudaMemcpyAsync(p.bias, m->bias, (size_t)m->rows * sizeof *m->bias,
					    cudaMemcpyDeviceToDevice, device->stream),
			    "copying");
	if (!code && p.round_w)
		code = round_to_bfloat(device, m->values, p.w, m->rows * m->columns, error);
	o.bias = p.round_bias || p.copy_bias ? p.bias : o.bias;
	o.w = p.round_w ? p.w : o.w;
	for (int64_t row = 0; !code && row < a->rows; row += p.piece) {
		o.rows = a->rows - row < p.piece ? a->rows - row : p.piece;
		o.x = (const char *)a->x +
		      row * a->x_stride * cr_number_bytes(device->activation);
		o.y = (char *)a->y + row * a->y_stride * cr_number_bytes(y_type);
		if (p.split_x)
			code = run_split(device, kind, o, &p, error);
		else if (p.wide_y)
			code = run_wide(device, kind, o, &p, m->bias, error);
		else
			code = cr_cuda_stack_product(device, &kind, &o, error);
	}
	return code;
}

int cr_cuda_stack_linear(cr_stack_device *device, const cr_stack_linear *arguments,
			 crocuta_error *error)
{
	const cr_matrix *m = arguments->matrix;

	if (arguments->target != CR_LINEAR_STORE && arguments->target != CR_LINEAR_ADD &&
	    arguments->target != CR_LINEAR_WIDE)
		return cr_fail(error, CROCUTA_EARG, "matrix product with target %d",
			       arguments->target);
	if (m->type != CR_NUMBER_F32 && m->type != CR_NUMBER_BF16)
		return cr_fail(error, CROCUTA_EARG, "GPU: a matrix of numbers of type %d", m->type);
	if (arguments->rows <= 0 || m->rows <= 0)
		return 0;
	if (is_regular(device, arguments))
		return regular(device, arguments, error);
	return CR_CUDA_STACK_BY_TYPE(plain);
}
