/* gemm.cu - the dense layers' weights and products through cuBLASLt.
 *
 * float32 results come from half-precision operands that are sums of two: x = xh + xl, w = wh + wl
 * (11 bits each, scaled by powers of two into the middle of half's range), x w = xl wh + xh wl + xh
 * wh up to 2^-22. Tensor cores cut the running sum at every step, so the small products are summed
 * before the large one, or apart from it (measured: three times float32's error with the large
 * product first).
 */
#include "backend/cuda/gemm.cuh"
#include "backend/cuda/blas_status.cuh"

#include <math.h>
#include <stdlib.h>

/* ---- weights --------------------------------------------------------------------------------- */

void cr_cuda_folded_bias(const float *weight, const float *bias, const float *shift, int64_t out,
			int64_t in, float *result)
{
	for (int64_t row = 0; row < out; row++) {
		double sum = bias ? bias[row] : 0;

		for (int64_t k = 0; shift && k < in; k++)
			sum += (double)weight[row * in + k] * shift[k];
		result[row] = (float)sum;
	}
}

/* The power of two that brings the largest weight to 2^9 .. 2^10. */
static double weight_scale(const cr_cuda_weights *w)
{
	double largest = 1e-30;

	for (int64_t i = 0; i < w->out * w->in; i++)
		largest = fmax(largest,
			       fabs((double)w->weight[i] * (w->scale ? w->scale[i % w->in] : 1)));
	return exp2(10 - ceil(log2(largest)));
}

/* Where part `part` of weight (row, k) goes. */
static int64_t place(const cr_cuda_weights *w, int part, int64_t row, int64_t k)
{
	return w->transposed ? (part * w->padded_in + k) * w->padded_out + row
			     : (row * w->parts + part) * w->padded_in + k;
}

/* packed: zeroed. */
static void pack(const cr_cuda_weights *w, double up, void *packed)
{
	for (int64_t row = 0; row < w->out; row++)
		for (int64_t k = 0; k < w->in; k++) {
			const double scale = w->scale ? w->scale[k] : 1;
			const float value = (float)(w->weight[row * w->in + k] * scale * up);
			const __half high = __float2half_rn(value);
			const __half low = __float2half_rn(value - __half2float(high));

			if (w->parts == 1)
				((__nv_bfloat16 *)packed)[place(w, 0, row, k)] =
					__float2bfloat16_rn(value);
			for (int part = 0; w->parts > 1 && part < w->parts; part++)
				((__half *)packed)[place(w, part, row, k)] = part == 1 ? low : high;
		}
}

static int upload_bias(cr_cuda *cuda, cr_cuda_linear *linear, const cr_cuda_weights *w,
		       crocuta_error *error)
{
	const int64_t count = w->padded_out;
	float *values = (float *)calloc((size_t)count, sizeof *values);
	__nv_bfloat16 *rounded = (__nv_bfloat16 *)calloc((size_t)count, sizeof *rounded);
	int code;

	if (!values || !rounded) {
		code = cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	} else {
		cr_cuda_folded_bias(w->weight, w->bias, w->shift, w->out, w->in, values);
		for (int64_t i = 0; i < count; i++)
			rounded[i] = __float2bfloat16_rn(values[i]);
		if (w->bias_type == CUDA_R_16BF)
			code = cr_cuda_upload(cuda, &linear->bias, rounded,
					      count * (int64_t)sizeof *rounded, error);
		else
			code = cr_cuda_upload(cuda, &linear->bias, values,
					      count * (int64_t)sizeof *values, error);
	}
	free(values);
	free(rounded);
	return code;
}

int cr_cuda_linear_new(cr_cuda *cuda, cr_cuda_linear *linear, const cr_cuda_weights *w,
		       crocuta_error *error)
{
	const int64_t count = w->parts * w->padded_out * w->padded_in;
	const double up = w->parts > 1 ? weight_scale(w) : 1;
	void *packed = calloc((size_t)count, sizeof(__half));
	int code;

	if (!packed)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	pack(w, up, packed);
	linear->alpha = (float)(1 / (up * w->x_scale));
	code = cr_cuda_upload(cuda, &linear->weight, packed, count * (int64_t)sizeof(__half),
			      error);
	free(packed);
	if (!code && w->with_bias)
		code = upload_bias(cuda, linear, w, error);
	return code;
}

void cr_cuda_linear_free(cr_cuda_linear *linear)
{
	cudaFree(linear->weight);
	cudaFree(linear->bias);
}

/* ---- products -------------------------------------------------------------------------------- */

int cr_cuda_blas_new(cr_cuda *cuda, cr_cuda_blas *blas, crocuta_error *error)
{
	TRY(cublasLtCreate(&blas->handle), "starting");
	return cr_cuda_alloc(cuda, &blas->workspace, CR_CUDA_BLAS_WORKSPACE, error);
}

void cr_cuda_blas_free(cr_cuda_blas *blas)
{
	cudaFree(blas->workspace);
	if (blas->handle)
		cublasLtDestroy(blas->handle);
}

/* To cuBLAS everything is column-major: a row-major (rows, n) matrix is one of n x rows, a
 * channel-major one of rows x n. y row-major:     y' (out x rows) = W (out x in) x' (in x rows) y
 * channel-major: y (rows x out) = x (rows x in) W' (in x out) Row-major W and x are stored as (in x
 * out) and (in x rows): in both cases the first operand is transposed and the second is not. With x
 * channel-major and W transposed it is the other way round. */
static int make_layouts(const cr_cuda_shape *s, int64_t rows, cr_cuda_layouts *m,
			crocuta_error *error)
{
	const uint64_t n = (uint64_t)rows, in = (uint64_t)s->in, out = (uint64_t)s->out;
	/* for choosing: the choice must not depend on the room that a batch has */
	const int64_t x_ld = s->x_channels ? rows : s->x_ld;
	const int64_t y_ld = s->y_channels ? rows : s->y_ld;

	TRY(cublasLtMatrixLayoutCreate(&m->x, s->type, s->x_channels ? n : in,
				       s->x_channels ? in : n, x_ld),
	    "a layout");
	TRY(cublasLtMatrixLayoutCreate(&m->y, s->y_type, s->y_channels ? n : out,
				       s->y_channels ? out : n, y_ld),
	    "a layout");
	m->rows = rows;
	return 0;
}

static int set_rows(const cr_cuda_shape *s, int64_t rows, cr_cuda_layouts *m, crocuta_error *error)
{
	const uint64_t n = (uint64_t)rows;
	const cublasLtMatrixLayoutAttribute_t x =
		s->x_channels ? CUBLASLT_MATRIX_LAYOUT_ROWS : CUBLASLT_MATRIX_LAYOUT_COLS;
	const cublasLtMatrixLayoutAttribute_t y =
		s->y_channels ? CUBLASLT_MATRIX_LAYOUT_ROWS : CUBLASLT_MATRIX_LAYOUT_COLS;

	if (m->rows == rows)
		return 0;
	m->rows = 0;
	TRY(cublasLtMatrixLayoutSetAttribute(m->x, x, &n, sizeof n), "a layout");
	TRY(cublasLtMatrixLayoutSetAttribute(m->y, y, &n, sizeof n), "a layout");
	m->rows = rows;
	return 0;
}

/* Leading dimensions as the arrays have them. */
static int set_room(const cr_cuda_shape *s, cr_cuda_layouts *m, crocuta_error *error)
{
	TRY(cublasLtMatrixLayoutSetAttribute(m->x, CUBLASLT_MATRIX_LAYOUT_LD, &s->x_ld, sizeof s->x_ld),
	    "a layout");
	TRY(cublasLtMatrixLayoutSetAttribute(m->y, CUBLASLT_MATRIX_LAYOUT_LD, &s->y_ld, sizeof s->y_ld),
	    "a layout");
	return 0;
}

template <typename T>
static int set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, T value,
	       crocuta_error *error)
{
	TRY(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value),
	    "an attribute");
	return 0;
}

static int describe(cr_cuda_product *p, const cr_cuda_linear *linear, crocuta_error *error)
{
	const cr_cuda_shape *s = &p->shape;
	const int32_t first = s->x_channels ? CUBLAS_OP_N : CUBLAS_OP_T;
	const int32_t second = s->x_channels ? CUBLAS_OP_T : CUBLAS_OP_N;
	const int32_t bias_type = s->y_type;
	int code;

	TRY(cublasLtMatmulDescCreate(&p->description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
	    "a description");
	code = set(p->description, CUBLASLT_MATMUL_DESC_TRANSA, first, error);
	if (!code)
		code = set(p->description, CUBLASLT_MATMUL_DESC_TRANSB, second, error);
	if (!code)
		code = set(p->description, CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)s->epilogue,
			   error);
	if (code || s->epilogue == CUBLASLT_EPILOGUE_DEFAULT)
		return code;
	code = set(p->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias_type, error);
	if (!code)
		code = set(p->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, linear->bias, error);
	return code;
}

/* The heuristic's first choice: timing several could choose differently in the next run. */
static int choose_algorithm(const cr_cuda_blas *blas, cr_cuda_product *p,
			    cublasLtMatmulPreference_t preference, crocuta_error *error)
{
	const uint64_t limit = (uint64_t)CR_CUDA_BLAS_WORKSPACE;
	const uint32_t no_split = CUBLASLT_REDUCTION_SCHEME_NONE;
	const cublasLtMatrixLayout_t x = p->chunk.x, y = p->chunk.y;
	cublasLtMatmulHeuristicResult_t best;
	int found = 0;

	TRY(cublasLtMatmulPreferenceSetAttribute(
		    preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit),
	    "a preference");
	TRY(cublasLtMatmulPreferenceSetAttribute(preference,
						 CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
						 &no_split, sizeof no_split),
	    "a preference");
	TRY(cublasLtMatmulAlgoGetHeuristic(
		    blas->handle, p->description, p->shape.y_channels ? x : p->w,
		    p->shape.y_channels ? p->w : x, y, y, preference, 1, &best, &found),
	    "choosing a matrix product");
	if (!found)
		return cr_cuda_blas_failed(CUBLAS_STATUS_NOT_SUPPORTED, "choosing a matrix product", error);
	p->algorithm = best.algo;
	p->workspace = (int64_t)best.workspaceSize;
	return 0;
}

int cr_cuda_product_new(const cr_cuda_blas *blas, cr_cuda_product *p, const cr_cuda_shape *shape,
			int64_t chunk, const cr_cuda_linear *linear, crocuta_error *error)
{
	const uint64_t in = (uint64_t)shape->in, out = (uint64_t)shape->out;
	cublasLtMatmulPreference_t preference;
	int code;

	p->shape = *shape;
	code = describe(p, linear, error);
	if (code)
		return code;
	TRY(cublasLtMatrixLayoutCreate(&p->w, shape->type, shape->x_channels ? out : in,
				       shape->x_channels ? in : out, shape->w_ld),
	    "a layout");
	code = make_layouts(shape, chunk, &p->chunk, error);
	if (!code)
		code = make_layouts(shape, CR_CUDA_TILE, &p->rest, error);
	if (code)
		return code;
	TRY(cublasLtMatmulPreferenceCreate(&preference), "a preference");
	code = choose_algorithm(blas, p, preference, error);
	cublasLtMatmulPreferenceDestroy(preference);
	if (!code)
		code = set_room(shape, &p->chunk, error);
	return code ? code : set_room(shape, &p->rest, error);
}

static void free_layouts(cr_cuda_layouts *m)
{
	if (m->x)
		cublasLtMatrixLayoutDestroy(m->x);
	if (m->y)
		cublasLtMatrixLayoutDestroy(m->y);
}

void cr_cuda_product_free(cr_cuda_product *p)
{
	if (p->description)
		cublasLtMatmulDescDestroy(p->description);
	if (p->w)
		cublasLtMatrixLayoutDestroy(p->w);
	free_layouts(&p->chunk);
	free_layouts(&p->rest);
}

int cr_cuda_product_run(cr_cuda *cuda, const cr_cuda_blas *blas, cr_cuda_product *p,
			const cr_cuda_linear *linear, const void *x, void *y, int64_t rows,
			crocuta_error *error)
{
	cr_cuda_layouts *m = rows == p->chunk.rows ? &p->chunk : &p->rest;
	const int swapped = p->shape.y_channels;
	int code = set_rows(&p->shape, rows, m, error);

	if (!code && p->shape.epilogue != CUBLASLT_EPILOGUE_DEFAULT)
		code = set(p->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, linear->bias, error);
	if (code)
		return code;
	TRY(cublasLtMatmul(blas->handle, p->description, &linear->alpha,
			   swapped ? x : linear->weight, swapped ? m->x : p->w,
			   swapped ? linear->weight : x, swapped ? p->w : m->x, &p->shape.beta, y,
			   m->y, y, m->y, &p->algorithm, blas->workspace, (size_t)p->workspace,
			   cuda->stream),
	    "a matrix product");
	return 0;
}
