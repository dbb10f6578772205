/* kernels_avx2.c - the kernels for x86-64 with AVX2 and FMA (eight lanes). */
#if defined(__x86_64__)
#define LANES 8
#define GEMM_ROWS 6
#define KERNEL_SET cr_kernels_avx2
#define KERNEL_ISA "avx2"
#include "backend/cpu/kernels.inc"
#endif
