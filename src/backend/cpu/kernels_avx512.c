/* kernels_avx512.c - the kernels for x86-64 with AVX-512 F, VL, DQ and BW (sixteen lanes). */
#if defined(__x86_64__)
#define LANES 16
#define GEMM_ROWS 14
#define KERNEL_SET cr_kernels_avx512
#define KERNEL_ISA "avx512"
#include "backend/cpu/kernels.inc"
#endif
