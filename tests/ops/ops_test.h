/* ops_test.h - what the operator tests share: poisoned arrays, random values, the comparison.
 *
 * Tolerances are relative to the root mean square of the expected values, so that they mean the
 * same for every operator and scale. tests/ops/test_ops_teeth.c proves that the comparison bites.
 */
#ifndef CR_TESTS_OPS_TEST_H
#define CR_TESTS_OPS_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/ops.h"
#include "base/memory.h"

/* Kernel sets under test; those that this machine lacks are skipped by kernel_set(). */
static const char *const kernel_names[] = {"cpu-portable", "cpu-avx2", "cpu-avx512"};
#define KERNEL_SETS 3

static inline const cr_ops *kernel_set(int i)
{
	return cr_ops_get(kernel_names[i]);
}

/* Kernel sets, then the GPU, which is held to the loops but not to a CPU's order of sums; NULL where
 * there is none. It lacks some operators. */
#define BACKENDS (KERNEL_SETS + 1)

static inline const cr_ops *backend(int i)
{
	return i < KERNEL_SETS ? kernel_set(i) : cr_ops_get("cuda");
}

/* Times a kernel set's tolerance: pairs of half-precision numbers hold 22 bits, float32 24. */
static inline double slack(int i)
{
	return i < KERNEL_SETS ? 1 : 4;
}

static inline const cr_ops *reference(void)
{
	return cr_ops_get("reference");
}

/* NaN in every element: what an operator leaves unwritten shows. */
static inline float *poisoned(int64_t count)
{
	float *values = cr_floats(count);

	assert_non_null(values);
	for (int64_t i = 0; i < count; i++)
		values[i] = NAN;
	return values;
}

static inline double next_uniform(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (double)(*seed >> 11) / 9007199254740992.0;
}

/* Near-normal values of standard deviation scale: the sum of twelve uniforms. */
static inline float *random_values(int64_t count, double scale, uint64_t seed)
{
	float *values = poisoned(count);

	seed = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	for (int64_t i = 0; i < count; i++) {
		double sum = -6;

		for (int j = 0; j < 12; j++)
			sum += next_uniform(&seed);
		values[i] = (float)(scale * sum);
	}
	return values;
}

/* The largest |actual - expected| over the root mean square of expected; infinity where a NaN
 * stands on one side only. */
static inline double relative_error(const float *actual, const float *expected, int64_t count)
{
	double square = 0, worst = 0;

	for (int64_t i = 0; i < count; i++) {
		double difference = fabs((double)actual[i] - expected[i]);

		if (isnan(actual[i]) && isnan(expected[i]))
			continue;
		if (!(difference <= worst))
			worst = isnan(difference) ? HUGE_VAL : difference;
		square += (double)expected[i] * expected[i];
	}
	if (worst == 0)
		return 0;
	return worst / sqrt(square / (double)count);
}

/* 1 if within tolerance; else says on stderr by how much not. */
static inline int agrees(const char *what, const float *actual, const float *expected,
			 int64_t count, double tolerance)
{
	double error = relative_error(actual, expected, count);

	if (getenv("CROCUTA_TEST_VERBOSE"))
		print_message("%s: error %.2e, tolerance %.1e\n", what, error, tolerance);
	if (error <= tolerance)
		return 1;
	print_error("%s: error %.3e of rms, tolerance %.1e\n", what, error, tolerance);
	return 0;
}

/* 1 if every bit is the same; a NaN equals a NaN. */
static inline int same_bits(const float *a, const float *b, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		if (!(isnan(a[i]) && isnan(b[i])) && memcmp(a + i, b + i, sizeof *a))
			return 0;
	return 1;
}

/* Run an operator; any status but 0 fails the test with its message. */
#define RUN(ops, operator, arguments)                                                              \
	do {                                                                                       \
		crocuta_error run_error = {0};                                                     \
		if ((ops)->operator((ops), (arguments), &run_error))                               \
			fail_msg("%s %s: %s", (ops)->name, #operator, run_error.message);          \
	} while (0)

#endif
