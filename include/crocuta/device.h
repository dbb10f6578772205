/* crocuta/device.h - what this machine can do. */
#ifndef CROCUTA_DEVICE_H
#define CROCUTA_DEVICE_H

#include <crocuta/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Name of the fastest kernel set this processor can run: "avx512", "avx2" or "portable".
 * Constant, never NULL; any thread. */
CROCUTA_API const char *crocuta_cpu_isa(void);

/* Can this build compute on `device`: NULL, "auto" or "cpu"; with CUDA also "cuda", "cuda:N[,N...]" and
 * "cuda:all"? Whether there is such a GPU is seen when a session is made. CROCUTA_EARG for a name
 * that is none, EDEVICE for one of another build. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_device_check(const char *device, crocuta_error *error);

/* Threads to use when the user names none: SLURM_CPUS_PER_TASK, else OMP_NUM_THREADS, else the
 * processors this process may run on (affinity mask). At least 1. Reads the environment: any thread
 * while no other one changes it. */
CROCUTA_API int crocuta_default_threads(void);

/* Peak float32 fused multiply-add rate of `threads` threads with kernel set `isa`, in FLOP per
 * second: the best of eight short measurements, a third of a second in all. isa NULL: the best set.
 * 0 when isa is unknown or cannot run here. threads: at least 1. Any thread, but what else runs
 * lowers the result. */
CROCUTA_API double crocuta_measure_fma_peak(const char *isa, int threads);

/* What GPU number `device` reaches at most, measured: FLOP per second of a large bfloat16 matrix product with
 * float32 sums, and bytes per second, read and written, of a copy within its memory. Takes 2 GiB of
 * that and some tenths of a second. Both results are the caller's. EDEVICE: no such GPU, or a
 * build without CUDA; EMEMORY. Any thread, but what else runs there lowers the results. */
CROCUTA_API CROCUTA_CHECKED int crocuta_measure_gpu_limits(int device,
							   double *matrix_flop_per_second,
							   double *bytes_per_second,
							   crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
