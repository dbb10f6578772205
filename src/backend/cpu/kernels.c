/* kernels.c - choice of the kernel set, and the tables the transforms read. */
#include "backend/cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

static int runs_here(const cr_kernels *set)
{
#if defined(__x86_64__)
	if (set == &cr_kernels_avx512)
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
		       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
		       __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
	if (set == &cr_kernels_avx2)
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
	return set == &cr_kernels_portable;
}

const cr_kernels *cr_kernels_get(const char *isa)
{
	static const cr_kernels *const sets[] = {
#if defined(__x86_64__)
		&cr_kernels_avx512, &cr_kernels_avx2,
#endif
		&cr_kernels_portable};

	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
		if ((!isa || !strcmp(isa, sets[i]->isa)) && runs_here(sets[i]))
			return sets[i];
	return NULL;
}

float **cr_fft_twiddles(int levels)
{
	const double pi = 3.14159265358979323846;
	float **tables = cr_calloc(CR_FFT_LEVELS + 1, sizeof *tables);

	if (!tables)
		return NULL;
	for (int level = 2; level <= levels; level++) {
		int64_t n = (int64_t)1 << level;
		float *row = tables[level] = cr_floats(6 * (n / 4));

		if (!row) {
			cr_fft_twiddles_free(tables);
			return NULL;
		}
		for (int64_t j = 0; j < n / 4; j++) {
			for (int power = 1; power <= 3; power++) {
				double angle = -2 * pi * (double)(j * power) / (double)n;

				*row++ = (float)cos(angle);
				*row++ = (float)sin(angle);
			}
		}
	}
	return tables;
}

void cr_fft_twiddles_free(float **twiddles)
{
	if (!twiddles)
		return;
	for (int level = 0; level <= CR_FFT_LEVELS; level++)
		cr_free(twiddles[level]);
	cr_free(twiddles);
}

float *cr_fft_twist(int levels)
{
	const double pi = 3.14159265358979323846;
	int64_t n = (int64_t)1 << levels;
	float *twist = cr_floats(2 * n);

	for (int64_t t = 0; twist && t < n; t++) {
		twist[2 * t] = (float)cos(pi * (double)t / (double)n);
		twist[2 * t + 1] = (float)-sin(pi * (double)t / (double)n);
	}
	return twist;
}
