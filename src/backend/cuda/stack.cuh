/* stack.cuh - shared by the operators on stacks (stack_ops.h) on one NVIDIA GPU.
 *
 * R, the residual stream, is float32; A, activations, float32 or bfloat16. Every operator queues its
 * kernels on the device's own stream; the table (stack_device.cu) makes the GPU the current one before
 * each call, so that operators need not. Weights are in device memory, structs that hold their
 * addresses on the host.
 */
#ifndef CR_CUDA_STACK_CUH
#define CR_CUDA_STACK_CUH

#include "backend/cuda/internal.cuh"
#include "backend/stack_ops.h"

typedef struct cr_cuda_stack_block cr_cuda_stack_block; /* stack_device.cu: one allocation */
typedef struct cr_cuda_stack_blas cr_cuda_stack_blas;   /* stack_product.cu */
typedef struct cr_cuda_stack_bias cr_cuda_stack_bias;   /* stack_linear.cu: what is known of one */

struct cr_stack_device {
	int gpu, capability, multiprocessors; /* capability: 10 major + minor */
	int activation, residual;             /* enum cr_number: F32 or BF16; F32 */
	cudaStream_t stream;
	int64_t allocated;           /* bytes, scratch included */
	cr_cuda_stack_block *blocks; /* all that is allocated */
	void *scratch;               /* cr_cuda_stack_scratch */
	int64_t scratch_bytes;
	cr_cuda_stack_blas *blas;    /* cublasLt: handle, workspace, chosen algorithms */
	cr_cuda_stack_bias *biases;
};

/* At least `bytes` bytes (256-byte aligned, not zeroed) for one operator, until the next operator is
 * queued, which may use the same, or until it asks again. Growing waits. EMEMORY. */
int cr_cuda_stack_scratch(cr_stack_device *device, int64_t bytes, void **scratch,
			  crocuta_error *error);

int cr_cuda_stack_blas_new(cr_stack_device *device, crocuta_error *error);
void cr_cuda_stack_blas_free(cr_stack_device *device);

/* These bytes changed or are gone: what was known of biases there is forgotten. */
void cr_cuda_stack_written(cr_stack_device *device, const void *array, int64_t bytes);

/* The operators: int cr_cuda_stack_NAME(cr_stack_device *, const cr_stack_NAME *, crocuta_error *). */
#define CR_STACK_OP(operator)                                                                      \
	int cr_cuda_stack_##operator(cr_stack_device * device, const cr_stack_##operator* arguments, \
				     crocuta_error *error);
#include "backend/stack_ops.def"
#undef CR_STACK_OP

/* run<A>(device, arguments, error) for the device's A. */
#define CR_CUDA_STACK_BY_TYPE(run)                                                                 \
	(device->activation == CR_NUMBER_BF16 ? run<__nv_bfloat16>(device, arguments, error)       \
					      : run<float>(device, arguments, error))

/* Blocks of a launch that lies along x: at most 2^31 - 1. */
static inline unsigned cr_cuda_blocks(int64_t count, int64_t block)
{
	const int64_t blocks = cr_ceil_div(count, block);

	return (unsigned)(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

/* Can arrays that begin at `array` with rows of `stride` bytes be read in pieces of `bytes`? */
static inline int cr_cuda_aligned(const void *array, int64_t stride, int64_t bytes)
{
	return (uintptr_t)array % (uintptr_t)bytes == 0 && stride % bytes == 0;
}

#ifdef __CUDACC__
__host__ __device__ inline float cr_to_float(float x)
{
	return x;
}

__host__ __device__ inline float cr_to_float(__nv_bfloat16 x)
{
	return __bfloat162float(x);
}

/* Nearest, ties to even. */
template <typename A> __host__ __device__ inline A cr_from_float(float x);

template <> __host__ __device__ inline float cr_from_float<float>(float x)
{
	return x;
}

template <> __host__ __device__ inline __nv_bfloat16 cr_from_float<__nv_bfloat16>(float x)
{
	return __float2bfloat16_rn(x);
}

/* N numbers that are loaded and stored at once; arrays of them must be aligned to their size. */
template <typename A, int N> struct alignas(sizeof(A) * N) cr_pack {
	A value[N];
};
#endif

#endif
