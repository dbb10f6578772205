/* limits.cu - what a GPU reaches at most: one large bfloat16 matrix product, one long copy.
 *
 * They are measured, not looked up: clocks and power limits differ between cards of one name. The product
 * is cuBLASLt's with float32 sums on random operands (zeros would run faster, for want of power used).
 */
#include "backend/cuda/internal.cuh"

#include <string.h>

#define SIDE 8192                      /* of the square matrices: 1.1 TFLOP */
#define COPIED ((size_t)1 << 30)       /* bytes, read and written */
#define WORKSPACE ((size_t)32 << 20)
#define WARM_UPS 3
#define ATTEMPTS 10

typedef struct measurement {
	cudaStream_t stream;
	cudaEvent_t begin, end;
	uint8_t *memory; /* operands and result of the product; source and target of the copy */
	void *workspace;
	cublasLtHandle_t blas;
	cublasLtMatmulDesc_t product;
	cublasLtMatrixLayout_t matrix;
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t algorithm;
} measurement;

/* Values in [-1, 1) from a counter, mixed as in SplitMix64. */
static __global__ void fill(__nv_bfloat16 *values, int64_t count)
{
	for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count;
	     i += (int64_t)gridDim.x * blockDim.x) {
		uint64_t x = (uint64_t)i * 0x9e3779b97f4a7c15u;

		x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
		x ^= x >> 27;
		values[i] = __float2bfloat16((float)(int32_t)x * 0x1p-31f);
	}
}

static int try_blas(cublasStatus_t status, crocuta_error *error)
{
	if (status == CUBLAS_STATUS_SUCCESS)
		return 0;
	return cr_fail(error, CROCUTA_EDEVICE, "cuBLAS: %s", cublasLtGetStatusString(status));
}

static int prepare(measurement *m, crocuta_error *error)
{
	const cublasOperation_t transposed = CUBLAS_OP_T;
	const size_t workspace = WORKSPACE;
	int found = 0, code;

	CR_CUDA_TRY(cudaStreamCreate(&m->stream), "making a stream");
	CR_CUDA_TRY(cudaEventCreate(&m->begin), "making an event");
	CR_CUDA_TRY(cudaEventCreate(&m->end), "making an event");
	CR_CUDA_TRY(cudaMalloc((void **)&m->memory, 2 * COPIED), "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&m->workspace, WORKSPACE), "allocating memory");
	fill<<<1024, 256, 0, m->stream>>>((__nv_bfloat16 *)m->memory, 3 * (int64_t)SIDE * SIDE);
	CR_CUDA_LAUNCHED("filling matrices");
	code = try_blas(cublasLtCreate(&m->blas), error);
	if (!code)
		code = try_blas(cublasLtMatmulDescCreate(&m->product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
				error);
	if (!code)
		code = try_blas(cublasLtMatmulDescSetAttribute(m->product, CUBLASLT_MATMUL_DESC_TRANSA,
							       &transposed, sizeof transposed),
				error);
	if (!code)
		code = try_blas(cublasLtMatrixLayoutCreate(&m->matrix, CUDA_R_16BF, SIDE, SIDE, SIDE),
				error);
	if (!code)
		code = try_blas(cublasLtMatmulPreferenceCreate(&m->preference), error);
	if (!code)
		code = try_blas(cublasLtMatmulPreferenceSetAttribute(
					m->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
					&workspace, sizeof workspace),
				error);
	if (!code)
		code = try_blas(cublasLtMatmulAlgoGetHeuristic(m->blas, m->product, m->matrix, m->matrix,
							       m->matrix, m->matrix, m->preference, 1,
							       &m->algorithm, &found),
				error);
	if (!code && !found)
		code = cr_fail(error, CROCUTA_EDEVICE, "cuBLAS knows no bfloat16 product here");
	return code;
}

static void release(measurement *m)
{
	if (m->preference)
		cublasLtMatmulPreferenceDestroy(m->preference);
	if (m->matrix)
		cublasLtMatrixLayoutDestroy(m->matrix);
	if (m->product)
		cublasLtMatmulDescDestroy(m->product);
	if (m->blas)
		cublasLtDestroy(m->blas);
	cudaFree(m->workspace);
	cudaFree(m->memory);
	if (m->end)
		cudaEventDestroy(m->end);
	if (m->begin)
		cudaEventDestroy(m->begin);
	if (m->stream)
		cudaStreamDestroy(m->stream);
}

static int multiply(measurement *m, crocuta_error *error)
{
	const float one = 1, zero = 0;
	__nv_bfloat16 *a = (__nv_bfloat16 *)m->memory, *b = a + (int64_t)SIDE * SIDE;
	__nv_bfloat16 *c = b + (int64_t)SIDE * SIDE;

	return try_blas(cublasLtMatmul(m->blas, m->product, &one, a, m->matrix, b, m->matrix, &zero, c,
				       m->matrix, c, m->matrix, &m->algorithm.algo, m->workspace,
				       WORKSPACE, m->stream),
			error);
}

static int copy(measurement *m, crocuta_error *error)
{
	CR_CUDA_TRY(cudaMemcpyAsync(m->memory + COPIED, m->memory, COPIED, cudaMemcpyDeviceToDevice,
				    m->stream),
		    "copying");
	return 0;
}

/* Seconds of the fastest attempt. */
static int fastest(measurement *m, int (*work)(measurement *, crocuta_error *), double *seconds,
		   crocuta_error *error)
{
	float best = 0;
	int code = 0;

	for (int i = 0; !code && i < WARM_UPS + ATTEMPTS; i++) {
		float milliseconds = 0;

		CR_CUDA_TRY(cudaEventRecord(m->begin, m->stream), "timing");
		code = work(m, error);
		if (code)
			break;
		CR_CUDA_TRY(cudaEventRecord(m->end, m->stream), "timing");
		CR_CUDA_TRY(cudaEventSynchronize(m->end), "timing");
		CR_CUDA_TRY(cudaEventElapsedTime(&milliseconds, m->begin, m->end), "timing");
		if (i == WARM_UPS || (i > WARM_UPS && milliseconds < best))
			best = milliseconds;
	}
	*seconds = best / 1000.0;
	return code;
}

int cr_cuda_measure_limits(int device, double *matrix_flop_per_second, double *bytes_per_second,
			   crocuta_error *error)
{
	measurement m;
	double product = 0, copied = 0;
	int code;

	memset(&m, 0, sizeof m);
	CR_CUDA_TRY(cudaSetDevice(device), "choosing a GPU");
	code = prepare(&m, error);
	if (!code)
		code = fastest(&m, multiply, &product, error);
	if (!code)
		code = fastest(&m, copy, &copied, error);
	release(&m);
	if (code)
		return code;
	*matrix_flop_per_second = 2.0 * SIDE * SIDE * SIDE / product;
	*bytes_per_second = 2.0 * (double)COPIED / copied;
	return 0;
}
