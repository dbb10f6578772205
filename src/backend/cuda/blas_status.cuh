/* blas_status.cuh - what a failed call of cuBLASLt means; for gemm.cu and stack_product.cu. */
#ifndef CR_CUDA_BLAS_STATUS_CUH
#define CR_CUDA_BLAS_STATUS_CUH

#include <cublasLt.h>

#include "backend/cuda/internal.cuh"

static inline int cr_cuda_blas_failed(cublasStatus_t status, const char *what, crocuta_error *error)
{
	(void)cudaGetLastError();
	return cr_fail(error,
		       status == CUBLAS_STATUS_ALLOC_FAILED ? CROCUTA_EMEMORY : CROCUTA_EDEVICE,
		       "cuBLAS: %s failed: %s; --device cpu does without", what,
		       cublasLtGetStatusString(status));
}

/* Return from the function, whose error is `error`, when the call fails. */
#define TRY(call, what)                                                                            \
	do {                                                                                       \
		cublasStatus_t status_ = (call);                                                   \
		if (status_ != CUBLAS_STATUS_SUCCESS)                                              \
			return cr_cuda_blas_failed(status_, what, error);                          \
	} while (0)

#endif
