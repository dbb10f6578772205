/* test_task_score_math.c - log-probabilities and distances against the textbook, and what is not finite. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "task/score_math.h"

static double textbook(const float *logits, int count, int target)
{
	double largest = logits[0], sum = 0;

	for (int i = 1; i < count; i++)
		largest = fmax(largest, (double)logits[i]);
	for (int i = 0; i < count; i++)
		sum += exp((double)logits[i] - largest);
	return (double)logits[target] - largest - log(sum);
}

static void log_probabilities(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int v = 4; v <= 512; v = v == 17 ? 512 : v + 1) {
		const cr_score_softmax softmax = {.vocabulary = v, .count = v};

		for (int i = 0; i < 2000; i++) {
			const float scale = i % 4 == 0 ? 100 : i % 4 == 1 ? 1e4f : 3;
			const int target = i % v % 256;
			float logits[512];

			for (int k = 0; k < v; k++) {
				seed = seed * 1664525u + 1013904223u;
				logits[k] = scale * ((float)(seed >> 8) / (1 << 23) - 1);
			}
			assert_true(fabs(cr_score_log_probability(&softmax, logits, (uint8_t)target) -
					 textbook(logits, v, target)) <=
				    3e-7 * (1 + fabs(textbook(logits, v, target))));
		}
	}
}

/* Whatever its payload, a NaN among the logits must reach the result. */
static void not_a_number_stays_one(void **state)
{
	static const uint32_t patterns[] = {0x7fc00000, 0x7fc00101, 0x7fffffff, 0xffc00001,
					    0x7f800001, 0x7f800000};
	const cr_score_softmax all = {.vocabulary = 12, .count = 12};
	const cr_score_softmax four = {.vocabulary = 12, .count = 4, .bases = {7, 8, 9, 10}};

	(void)state;
	for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
		for (int at = 7; at < 11; at++)
			for (int target = 7; target < 11; target++) {
				float logits[12] = {0};

				memcpy(&logits[at], &patterns[p], sizeof patterns[p]);
				assert_false(isfinite(cr_score_log_probability(&all, logits,
									       (uint8_t)target)));
				assert_false(isfinite(cr_score_log_probability(&four, logits,
									       (uint8_t)target)));
			}
}

static void distances(void **state)
{
	const double a[] = {1, 2, 3}, b[] = {2, 4, 6}, c[] = {-1, -2, -3}, d[] = {2, -1, 0};
	const double e[] = {1, NAN, 3};

	(void)state;
	assert_true(cr_score_distance(a, a, 3) == 0);
	assert_true(fabs(cr_score_distance(a, b, 3)) < 1e-15);
	assert_true(fabs(cr_score_distance(a, c, 3) - 2) < 1e-15);
	assert_true(fabs(cr_score_distance(a, d, 3) - 1) < 1e-15);
	assert_true(isnan(cr_score_distance(a, e, 3)));
	assert_true(isnan(cr_score_distance(e, e, 3)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_probabilities),
		cmocka_unit_test(not_a_number_stays_one),
		cmocka_unit_test(distances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
