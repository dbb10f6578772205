/* crocuta/device.h - what this machine can do. */
#ifndef CROCUTA_DEVICE_H
#define CROCUTA_DEVICE_H

#include <crocuta/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Name of the fastest kernel set this processor can run: "avx512", "avx2" or "portable".
 * Constant; any thread. The environment variable CROCUTA_ISA does not change it. */
CROCUTA_API const char *crocuta_cpu_isa(void);

/* Threads to use when the user names none: SLURM_CPUS_PER_TASK, else OMP_NUM_THREADS, else the
 * processors this process may run on (affinity mask). At least 1. */
CROCUTA_API int crocuta_default_threads(void);

/* Peak float32 fused multiply-add rate of `threads` threads with kernel set `isa`, in FLOP per
 * second, measured for about a third of a second. 0 when isa cannot run here. */
CROCUTA_API double crocuta_measure_fma_peak(const char *isa, int threads);

#ifdef __cplusplus
}
#endif
#endif
