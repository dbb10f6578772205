/* near_far_mma.cuh - the two instructions of matrix units that near_far.cu uses (compute
 * capability 8.0 on). */
#ifndef CR_CUDA_NEAR_FAR_MMA_CUH
#define CR_CUDA_NEAR_FAR_MMA_CUH

#include <stdint.h>

/* c (16, 8) += a (16, 16) b (16, 8), half precision with float32 sums. Lane 4 g + t holds of c rows
 * g and g + 8 at columns 2t and 2t + 1, of b rows 2t, 2t + 1 and 2t + 8, 2t + 9 at column g. */
__device__ inline void cr_multiply_tile(float *c, const uint4 &a, const uint32_t *b)
{
	asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
	    "{%8, %9}, {%0, %1, %2, %3};"
	    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	    : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b[0]), "r"(b[1]));
}

/* Four 8 x 8 matrices from shared memory: lane 8 i + r gives the address of row r of matrix i, and
 * lane 4 g + t receives values 2t and 2t + 1 of row g of each. */
__device__ inline void cr_load_tiles(uint32_t *x, const uint16_t *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
		     : "r"((uint32_t)__cvta_generic_to_shared(row))
		     : "memory");
}
#endif
