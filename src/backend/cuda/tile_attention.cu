/* tile_attention.cu - causal attention in bfloat16 on Hopper: when it serves, and its launch. */
#include "backend/cuda/attention_tile.cuh"

#include <cudaTypedefs.h>

int cr_cuda_attention_tile_fits(int capability, int type, const cr_stack_attention *a)
{
	return capability == 90 && (a->head_size == 64 || a->head_size == 128) &&
	       cr_cuda_attention_pieces(type, a) && a->rows < INT32_MAX / 2 &&
	       a->keys < INT32_MAX / 2 && cr_ceil_div(a->rows, 64) * a->heads < INT32_MAX / 2;
}

/* The driver's function, without linking the driver. */
static PFN_cuTensorMapEncodeTiled_v12000 find_encode(void)
{
	enum cudaDriverEntryPointQueryResult found;
	void *function = NULL;
#if CUDART_VERSION >= 12050
	const cudaError_t status = cudaGetDriverEntryPointByVersion(
		"cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
	const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function,
							   cudaEnableDefault, &found);
#endif

	if (status != cudaSuccess || found != cudaDriverEntryPointSuccess)
		return NULL;
	return (PFN_cuTensorMapEncodeTiled_v12000)function;
}

int cr_cuda_attention_map(CUtensorMap *map, const void *from, int64_t rows, int64_t columns,
			  int64_t stride, int box_rows)
{
	static const PFN_cuTensorMapEncodeTiled_v12000 encode = find_encode();
	const cuuint64_t sizes[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
	const cuuint64_t strides[1] = {(cuuint64_t)stride * 2};
	const cuuint32_t box[2] = {64, (cuuint32_t)box_rows}, steps[2] = {1, 1};

	if (!encode)
		return -1;
	return (int)encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)from, sizes, strides,
			   box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
			   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* Keys from which on it pays that two blocks share them: fewer bytes come from the second-level cache, but the two
 * wait for each other. */
#define SHARED_KEYS 32768

int cr_cuda_attention_tile(cudaStream_t stream, const cr_stack_attention *a, crocuta_error *error)
{
	int status;

	if (a->head_size == 64)
		status = attention_launch<attention_shape<64, 128, 3, 4>>(stream, a);
	else if (a->keys < SHARED_KEYS)
		status = attention_launch<attention_shape<128, 128, 2, 2>>(stream, a);
	else
		status = attention_launch<attention_shape<128, 128, 2, 2, 2>>(stream, a);
	if (status < 0)
		return cr_fail(error, CROCUTA_EDEVICE, "GPU: the driver does not describe arrays");
	CR_CUDA_TRY((cudaError_t)status, "attention");
	return 0;
}
