/* kernels_portable.c - the kernels for any processor (four lanes: SSE2, NEON). */
#define LANES 4
#define GEMM_ROWS 6
#define KERNEL_SET cr_kernels_portable
#define KERNEL_ISA "portable"
#include "backend/cpu/kernels.inc"
