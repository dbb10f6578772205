/* attention.cuh - causal attention on the GPU: what its kernels share.
 *
 *   attention.cu       any GPU, any head size up to 256, float32 and bfloat16; sums and products in float32
 *   attention_mma.cu   compute capability 8.0 on, bfloat16, head sizes that are multiples of 8: matrix units
 *   tile_attention.cu  compute capability 9.0, bfloat16, head sizes 64 and 128: its own matrix units
 *   stack_attention.cu chooses
 *
 * A block computes the rows of one tile of queries for one head and passes over the keys in tiles, with a
 * running maximum and sum for each row. Row i sees the first i + q_first - k_first + 1 keys.
 */
#ifndef CR_CUDA_ATTENTION_CUH
#define CR_CUDA_ATTENTION_CUH

#include "backend/cuda/internal.cuh"
#include "backend/stack_ops.h"

/* type: enum cr_number, F32 or BF16. EARG: a head size beyond 256. */
int cr_cuda_attention_any(cudaStream_t stream, int type, const cr_stack_attention *a,
			  crocuta_error *error);

/* Whether a kernel of the matrix units serves; it, without asking. */
int cr_cuda_attention_mma_fits(int capability, int type, const cr_stack_attention *a);
int cr_cuda_attention_mma(cudaStream_t stream, const cr_stack_attention *a, crocuta_error *error);
int cr_cuda_attention_tile_fits(int capability, int type, const cr_stack_attention *a);
int cr_cuda_attention_tile(cudaStream_t stream, const cr_stack_attention *a, crocuta_error *error);

/* Where results go. */
typedef struct cr_cuda_attended {
	float *o, *lse;
	void *y;
	int64_t y_stride, rows;
	int heads, first;
} cr_cuda_attended;

static inline cr_cuda_attended cr_cuda_attended_of(const cr_stack_attention *a)
{
	cr_cuda_attended to = {};

	to.o = (float *)a->o;
	to.lse = (float *)a->lse;
	to.y = a->y;
	to.y_stride = a->y_stride;
	to.rows = a->rows;
	to.heads = (int)a->heads;
	to.first = a->first;
	return to;
}

/* What both of them need: bfloat16, 16 bytes at a time of q, k and v, 4 of y, scores that grow with products. */
static inline int cr_cuda_attention_pieces(int type, const cr_stack_attention *a)
{
	const uintptr_t from = (uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v;
	const int64_t strides = a->q_stride | a->k_stride | a->v_stride;

	return type == CR_NUMBER_BF16 && a->scale > 0 && a->rows > 0 && a->keys > 0 &&
	       from % 16 == 0 && strides % 8 == 0 &&
	       (!a->y || ((uintptr_t)a->y % 4 == 0 && a->y_stride % 2 == 0));
}

/* Keys that row `row` sees. */
__host__ __device__ inline int64_t cr_cuda_visible(int64_t row, int64_t behind, int64_t keys)
{
	const int64_t visible = row + behind + 1;

	return visible < 0 ? 0 : visible < keys ? visible : keys;
}

/* The weight of a block of keys with this lse in the result merged with what is there; *old becomes the lse
 * of both. */
__device__ inline float cr_cuda_merge_weight(float *old, float lse)
{
	const float there = *old;

	if (lse == -INFINITY)
		return 0.0f;
	if (there == -INFINITY) {
		*old = lse;
		return 1.0f;
	}
	*old = fmaxf(there, lse) + log1pf(expf(-fabsf(there - lse)));
	return 1.0f / (1.0f + expf(there - lse)); /* not from *old, which is rounded */
}

#endif
