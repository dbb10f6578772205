/* gemm.cu - the dense layers through cuBLASLt, with operands split for float32 results.
 *
 * x = xh + xl, w = wh + wl with half-precision parts (11 bits each, scaled by powers of two into the
 * middle of half's range): x w = xl wh + xh wl + xh wh up to 2^-22. The three products are one matrix
 * product over three times the inner length: (xl, xh, xh) times (wh, wl, wh), the small ones first,
 * because tensor cores cut the running sum at every step (measured: three times float32's error with
 * the large product first). One algorithm is chosen
 * for a full chunk of rows and kept, so that a row's bytes do not depend on how many others there are.
 */
#include "backend/cuda/internal.cuh"

#include <math.h>
#include <stdlib.h>

static int blas_failed(cublasStatus_t status, const char *what, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EDEVICE, "cuBLAS: %s failed: %s", what,
		       cublasLtGetStatusString(status));
}

#define TRY(call, what)                                                                            \
	do {                                                                                       \
		cublasStatus_t status_ = (call);                                                   \
		if (status_ != CUBLAS_STATUS_SUCCESS)                                              \
			return blas_failed(status_, what, error);                                  \
	} while (0)

/* The weights with the norm in front folded in, split or rounded, on the device. */
static int upload_weights(cr_cuda_linear *l, const float *weight, const float *bias,
			  const float *scale, const float *shift, crocuta_error *error)
{
	const int64_t in = l->in, out = l->out, width = CR_CUDA_PARTS * in;
	const size_t bytes = (size_t)(out * width) * sizeof(__half);
	__half *packed = (__half *)malloc(bytes);
	float *sums = (float *)malloc((size_t)out * sizeof *sums);
	double largest = 1e-30, up;
	int code = 0;

	if (!packed || !sums) {
		free(packed);
		free(sums);
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	}
	for (int64_t i = 0; i < out * in; i++)
		largest = fmax(largest, fabs((double)weight[i] * (scale ? scale[i % in] : 1)));
	up = exp2(10 - ceil(log2(largest)));
	for (int64_t row = 0; row < out; row++) {
		double sum = bias ? bias[row] : 0;

		for (int64_t k = 0; k < in; k++) {
			const double w = weight[row * in + k];
			const float value = (float)(w * (scale ? scale[k] : 1) * up);
			__half *to = packed + row * width + k;

			sum += w * (shift ? shift[k] : 0);
			to[0] = to[2 * in] = __float2half_rn(value);
			to[in] = __float2half_rn(value - __half2float(to[0]));
		}
		sums[row] = (float)sum;
	}
	l->alpha = (float)(1 / (up * l->x_scale));
	if (cudaMalloc(&l->weight, bytes) != cudaSuccess)
		code = cr_cuda_failed(cudaGetLastError(), "memory for weights", error);
	else if (cudaMemcpy(l->weight, packed, bytes, cudaMemcpyHostToDevice) != cudaSuccess)
		code = cr_cuda_failed(cudaGetLastError(), "copying weights", error);
	if (!code)
		code = cr_cuda_upload(&l->bias, sums, out, error);
	free(packed);
	free(sums);
	return code;
}

/* Everything is column-major to cuBLAS: y' (out, rows) = W (in, out)' x' (in, rows). */
typedef struct layouts {
	cublasLtMatrixLayout_t w, x, y;
} layouts;

static void free_layouts(layouts *m)
{
	if (m->w)
		cublasLtMatrixLayoutDestroy(m->w);
	if (m->x)
		cublasLtMatrixLayoutDestroy(m->x);
	if (m->y)
		cublasLtMatrixLayoutDestroy(m->y);
}

static int make_layouts(const cr_cuda_linear *l, int64_t rows, layouts *m, crocuta_error *error)
{
	const int64_t width = CR_CUDA_PARTS * l->in;

	m->w = m->x = m->y = NULL;
	TRY(cublasLtMatrixLayoutCreate(&m->w, CUDA_R_16F, (uint64_t)width, (uint64_t)l->out, width),
	    "a layout");
	TRY(cublasLtMatrixLayoutCreate(&m->x, CUDA_R_16F, (uint64_t)width, (uint64_t)rows, width),
	    "a layout");
	TRY(cublasLtMatrixLayoutCreate(&m->y, CUDA_R_32F, (uint64_t)l->out, (uint64_t)rows, l->out),
	    "a layout");
	return 0;
}

static int choose_algorithm(cr_cuda *cuda, cr_cuda_linear *l, const layouts *m,
			    crocuta_error *error)
{
	const uint64_t limit = (uint64_t)CR_CUDA_BLAS_WORKSPACE;
	const uint32_t no_split = CUBLASLT_REDUCTION_SCHEME_NONE;
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t best;
	cublasStatus_t status;
	int found = 0;

	TRY(cublasLtMatmulPreferenceCreate(&preference), "a preference");
	cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
					     &limit, sizeof limit);
	cublasLtMatmulPreferenceSetAttribute(preference,
					     CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_split,
					     sizeof no_split);
	status = cublasLtMatmulAlgoGetHeuristic(cuda->blas, l->description, m->w, m->x, m->y, m->y,
						preference, 1, &best, &found);
	cublasLtMatmulPreferenceDestroy(preference);
	if (status != CUBLAS_STATUS_SUCCESS || !found)
		return blas_failed(status, "choosing a matrix product", error);
	l->algorithm = best.algo;
	l->workspace = (int64_t)best.workspaceSize;
	return 0;
}

int cr_cuda_linear_init(cr_cuda *cuda, cr_cuda_linear *l, const float *weight, const float *bias,
			int64_t out, int64_t in, const float *scale, const float *shift,
			crocuta_error *error)
{
	const cublasOperation_t transpose = CUBLAS_OP_T;
	const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
	const cudaDataType_t bias_type = CUDA_R_32F;
	layouts m;
	int code;

	l->in = in;
	l->out = out;
	code = upload_weights(l, weight, bias, scale, shift, error);
	if (code)
		return code;
	TRY(cublasLtMatmulDescCreate(&l->description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
	    "a description");
	TRY(cublasLtMatmulDescSetAttribute(l->description, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
					   sizeof transpose),
	    "an attribute");
	TRY(cublasLtMatmulDescSetAttribute(l->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
					   sizeof epilogue),
	    "an attribute");
	TRY(cublasLtMatmulDescSetAttribute(l->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
					   &bias_type, sizeof bias_type),
	    "an attribute");
	TRY(cublasLtMatmulDescSetAttribute(l->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
					   &l->bias, sizeof l->bias),
	    "an attribute");
	code = make_layouts(l, CR_CUDA_CHUNK, &m, error);
	if (!code)
		code = choose_algorithm(cuda, l, &m, error);
	free_layouts(&m);
	return code;
}

void cr_cuda_linear_free(cr_cuda_linear *l)
{
	if (l->description)
		cublasLtMatmulDescDestroy(l->description);
	cudaFree(l->weight);
	cudaFree(l->bias);
}

int cr_cuda_linear_run(cr_cuda *cuda, const cr_cuda_linear *l, const __half *x, float *y, int64_t rows,
		       crocuta_error *error)
{
	const float beta = l->accumulate ? 1.0f : 0.0f;
	layouts m;
	int code = make_layouts(l, rows, &m, error);
	cublasStatus_t status;

	if (!code) {
		status = cublasLtMatmul(cuda->blas, l->description, &l->alpha, l->weight, m.w, x, m.x,
					&beta, y, m.y, y, m.y, &l->algorithm, cuda->blas_workspace,
					(size_t)l->workspace, cuda->stream);
		if (status != CUBLAS_STATUS_SUCCESS)
			code = blas_failed(status, "a matrix product", error);
	}
	free_layouts(&m);
	return code;
}
