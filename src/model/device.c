/* device.c - what this machine can do: kernel sets, threads, the ceilings of CPU and GPU. */
#define _GNU_SOURCE
#include <crocuta/device.h>

#include <omp.h>
#include <sched.h>
#include <stdlib.h>

#include "backend/cpu/kernels.h"
#ifdef CR_CUDA
#include "backend/cuda/cuda.h"
#endif
#include "base/clock.h"
#include "base/error.h"
#include "base/threads.h"

const char *crocuta_cpu_isa(void)
{
	return cr_kernels_get(NULL)->isa;
}

/* A positive number from an environment variable, else 0. */
static int positive_variable(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value;

	if (!text || !*text)
		return 0;
	value = strtol(text, &end, 10);
	return *end == '\0' && value > 0 && value <= 4096 ? (int)value : 0;
}

int crocuta_default_threads(void)
{
	int threads = positive_variable("SLURM_CPUS_PER_TASK");
	cpu_set_t set;

	if (!threads)
		threads = positive_variable("OMP_NUM_THREADS");
	if (!threads && !sched_getaffinity(0, sizeof set, &set))
		threads = CPU_COUNT(&set);
	return threads > 0 ? threads : 1;
}

double crocuta_measure_fma_peak(const char *isa, int threads)
{
	const cr_kernels *kernels = cr_kernels_get(isa);
	const int64_t rounds = 2000000;
	double best = 0;

	if (!kernels || cr_threads_probe(threads, NULL))
		return 0;
	for (int attempt = 0; attempt < 8; attempt++) {
		double start = cr_wall_seconds(), work = 0, rate;

#pragma omp parallel num_threads(threads) reduction(+ : work)
		{
			float sink = 0;

			work += kernels->burn(rounds, &sink);
			if (sink == 1e30f) /* never: keeps the result alive */
				work = 0;
		}
		rate = work / (cr_wall_seconds() - start);
		best = rate > best ? rate : best;
	}
	return best;
}

int crocuta_measure_gpu_limits(int device, double *matrix_flop_per_second,
			       double *bytes_per_second, crocuta_error *error)
{
#ifdef CR_CUDA
	return cr_cuda_measure_limits(device, matrix_flop_per_second, bytes_per_second, error);
#else
	*matrix_flop_per_second = *bytes_per_second = 0;
	return cr_fail(error, CROCUTA_EDEVICE, "GPU %d: this crocuta is built without CUDA", device);
#endif
}
