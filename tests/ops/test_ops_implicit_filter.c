/* test_ops_implicit_filter.c - the filter network in double on every kernel set. */
#include "implicit_sample.h"

/* Both sides work in double; arguments of the sines reach tens of radians, and three layers of
 * frequency 10 multiply a rounding error by up to a few thousand. */
#define TOLERANCE 1e-12

static double relative_error_double(const double *actual, const double *expected, int64_t count)
{
	double worst = 0, square = 0;

	for (int64_t i = 0; i < count; i++) {
		double difference = fabs(actual[i] - expected[i]);

		if (!(difference <= worst))
			worst = isnan(difference) ? HUGE_VAL : difference;
		square += expected[i] * expected[i];
	}
	return worst / sqrt(square / (double)count);
}

static double *poisoned_doubles(int64_t count)
{
	double *values = cr_calloc((size_t)count, sizeof *values);

	assert_non_null(values);
	for (int64_t i = 0; i < count; i++)
		values[i] = NAN;
	return values;
}

static void check(implicit_sample *s, const double *offsets, int64_t count)
{
	double *expected = poisoned_doubles(count * s->a.width);
	double *actual = poisoned_doubles(count * s->a.width);

	s->a.offsets = offsets;
	s->a.count = count;
	for (s->a.with_skip = 0; s->a.with_skip < 2; s->a.with_skip++) {
		s->a.values = expected;
		RUN(reference(), implicit_filter, &s->a);
		for (int set = 0; set < KERNEL_SETS; set++) {
			double error;

			if (!kernel_set(set))
				continue;
			for (int64_t i = 0; i < count * s->a.width; i++)
				actual[i] = NAN;
			s->a.values = actual;
			RUN(kernel_set(set), implicit_filter, &s->a);
			error = relative_error_double(actual, expected, count * s->a.width);
			if (getenv("CROCUTA_TEST_VERBOSE"))
				print_message("%s filter: %.2e\n", kernel_set(set)->name, error);
			if (!(error <= TOLERANCE))
				fail_msg("%s D %lld F %lld E %lld: error %.2e",
					 kernel_set(set)->name, (long long)s->a.width,
					 (long long)s->a.order, (long long)s->a.features, error);
		}
	}
	cr_free(expected);
	cr_free(actual);
}

/* Whole and fractional offsets, up to and past M. */
static void matches_reference(void **state)
{
	static const int64_t widths[] = {8, 32, 40, 128, 256}, orders[] = {16, 64, 48, 64, 32};
	static const int64_t features[] = {5, 3, 7, 5, 9}, lengths[] = {34, 1026, 257, 1000002, 2};
	static const int64_t inner[] = {2, 1, 3, 2, 0};

	(void)state;
	for (int i = 0; i < 5; i++) {
		double offsets[53];
		implicit_sample s;

		implicit_sample_new(&s, widths[i], orders[i], features[i], lengths[i], inner[i], 1);
		for (int n = 0; n < 53; n++)
			offsets[n] = n < 9 ? n : 1.1 * (double)lengths[i] * (n - 8) / 44;
		offsets[51] = (double)lengths[i] - 1;
		offsets[52] = (double)lengths[i];
		check(&s, offsets, 53);
		for (int64_t count = 1; count < 9; count++)
			check(&s, offsets, count);
		implicit_sample_free(&s);
	}
}

/* Stored tables are used where they stand: a changed row changes its tap and no other. */
static void stored_tables_are_used(void **state)
{
	const int64_t length = 64;
	float *z = random_values(length * 5, 1, 50), *t = random_values(length, 0.2, 51);
	double offsets[64], before[64 * 40], after[64 * 40];
	implicit_sample s;

	(void)state;
	implicit_sample_new(&s, 40, 16, 5, length, 2, 1);
	s.weights.z = z;
	s.weights.t = t;
	for (int n = 0; n < length; n++)
		offsets[n] = n;
	check(&s, offsets, length);
	s.a.with_skip = 1;
	for (int set = -1; set < KERNEL_SETS; set++) {
		const cr_ops *ops = set < 0 ? reference() : kernel_set(set);

		if (!ops)
			continue;
		s.a.values = before;
		RUN(ops, implicit_filter, &s.a);
		z[5 * 20 + 3] += 0.25f;
		t[30] += 0.25f;
		s.a.values = after;
		RUN(ops, implicit_filter, &s.a);
		z[5 * 20 + 3] -= 0.25f;
		t[30] -= 0.25f;
		for (int n = 0; n < length; n++)
			assert_int_equal(
				memcmp(before + 40 * n, after + 40 * n, 40 * sizeof *before) != 0,
				n == 20 || n == 30);
	}
	implicit_sample_free(&s);
	cr_free(z);
	cr_free(t);
}

/* A value does not depend on which others are asked for with it. */
static void values_are_independent(void **state)
{
	double offsets[7] = {0, 0.5, 3, 11, 12.25, 40, 63}, all[7 * 32], one[32];
	implicit_sample s;

	(void)state;
	implicit_sample_new(&s, 32, 32, 5, 64, 2, 1);
	for (int set = 0; set < KERNEL_SETS; set++) {
		if (!kernel_set(set))
			continue;
		s.a.offsets = offsets;
		s.a.count = 7;
		s.a.values = all;
		RUN(kernel_set(set), implicit_filter, &s.a);
		for (int i = 0; i < 7; i++) {
			s.a.offsets = offsets + i;
			s.a.count = 1;
			s.a.values = one;
			RUN(kernel_set(set), implicit_filter, &s.a);
			assert_memory_equal(one, all + 32 * i, sizeof one);
		}
	}
	implicit_sample_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_reference),
		cmocka_unit_test(stored_tables_are_used),
		cmocka_unit_test(values_are_independent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
