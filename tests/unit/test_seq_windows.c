/* test_seq_windows.c - tilings: each base once, most context, no overflow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "seq/windows.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Laws that hold for window k whatever the sizes are. */
static void check_window(const cr_windows *windows, int64_t k, int64_t count)
{
	cr_window it = cr_windows_get(windows, k);
	int64_t length = windows->end - windows->start;
	int64_t width = windows->window < length ? windows->window : length;

	assert_true(it.start >= windows->start && it.end <= windows->end);
	assert_int_equal(it.end - it.start, width);
	assert_true(it.report_start >= it.start && it.report_end <= it.end);
	assert_true(it.report_end > it.report_start);
	assert_int_equal(it.report_start,
			 k ? cr_windows_get(windows, k - 1).report_end : windows->start);
	if (k == count - 1)
		assert_int_equal(it.report_end, windows->end);
	if (!windows->reverse) {
		assert_int_equal(it.report_end, it.end);
		if (k < count - 1)
			assert_int_equal(it.start,
					 windows->start + k * (windows->window - windows->overlap));
		if (k) /* the window before does not hold the first base reported here */
			assert_int_equal(cr_windows_get(windows, k - 1).end, it.report_start);
	} else {
		assert_int_equal(it.report_start, it.start);
	}
}

static void test_example(void **state)
{
	cr_windows windows = {.start = 100, .end = 125, .window = 10, .overlap = 4};
	static const int64_t forward[4][4] = {{100, 110, 100, 110},
					      {106, 116, 110, 116},
					      {112, 122, 116, 122},
					      {115, 125, 122, 125}};
	static const int64_t reverse[4][4] = {{100, 110, 100, 103},
					      {103, 113, 103, 109},
					      {109, 119, 109, 115},
					      {115, 125, 115, 125}};

	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		windows.reverse = turn;
		assert_int_equal(cr_windows_count(&windows), 4);
		for (int64_t k = 0; k < 4; k++) {
			cr_window it = cr_windows_get(&windows, k);
			const int64_t *expected = turn ? reverse[k] : forward[k];

			assert_int_equal(it.start, expected[0]);
			assert_int_equal(it.end, expected[1]);
			assert_int_equal(it.report_start, expected[2]);
			assert_int_equal(it.report_end, expected[3]);
		}
	}
}

static void test_small(void **state)
{
	(void)state;
	for (int64_t length = 0; length <= 40; length++)
		for (int64_t window = 1; window <= 12; window++)
			for (int64_t overlap = 0; overlap < window; overlap++)
				for (int reverse = 0; reverse < 2; reverse++) {
					cr_windows windows = {7, 7 + length, window, overlap,
							      reverse};
					int64_t count = cr_windows_count(&windows);

					assert_int_equal(count > 0, length > 0);
					for (int64_t k = 0; k < count; k++)
						check_window(&windows, k, count);
				}
}

/* Sizes up to 2^62: first, last and random windows. */
static void test_large(void **state)
{
	(void)state;
	for (int round = 0; round < 200000; round++) {
		cr_windows windows;
		int64_t count, top = (int64_t)1 << 62;

		windows.end = (int64_t)(random_bits() >> (2 + random_bits() % 60));
		if (round % 7 == 0)
			windows.end = top;
		windows.start = (int64_t)(random_bits() % ((uint64_t)windows.end + 1));
		windows.window = 1 + (int64_t)(random_bits() >> (2 + random_bits() % 61));
		windows.overlap = (int64_t)(random_bits() % (uint64_t)windows.window);
		windows.reverse = round & 1;
		count = cr_windows_count(&windows);
		assert_true(count >= 0);
		if (!count)
			continue;
		check_window(&windows, 0, count);
		check_window(&windows, count - 1, count);
		check_window(&windows, count / 2, count);
		check_window(&windows, (int64_t)(random_bits() % (uint64_t)count), count);
	}
}

/* The reverse grid of an interval is the mirror image of the forward grid. */
static void test_mirror(void **state)
{
	(void)state;
	for (int64_t length = 1; length < 60; length++) {
		cr_windows forward = {0, length, 9, 3, 0}, reverse = {0, length, 9, 3, 1};
		int64_t count = cr_windows_count(&forward);

		assert_int_equal(count, cr_windows_count(&reverse));
		for (int64_t k = 0; k < count; k++) {
			cr_window one = cr_windows_get(&forward, k);
			cr_window other = cr_windows_get(&reverse, count - 1 - k);

			assert_int_equal(one.start, length - other.end);
			assert_int_equal(one.end, length - other.start);
			assert_int_equal(one.report_start, length - other.report_end);
			assert_int_equal(one.report_end, length - other.report_start);
		}
	}
}

static void test_invalid(void **state)
{
	static const cr_windows bad[] = {{-1, 5, 3, 1, 0}, {5, 4, 3, 1, 0},
					 {0, 5, 0, 0, 0},  {0, 5, 3, 3, 0},
					 {0, 5, 3, -1, 0}, {0, ((int64_t)1 << 62) + 1, 3, 1, 0}};
	cr_windows good = {0, 5, 3, 1, 0};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(cr_windows_count(&bad[i]), -1);
		assert_int_equal(cr_windows_get(&bad[i], 0).end, 0);
	}
	assert_int_equal(cr_windows_get(&good, 2).end, 0);
	assert_int_equal(cr_windows_get(&good, -1).end, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example), cmocka_unit_test(test_small),
		cmocka_unit_test(test_large),   cmocka_unit_test(test_mirror),
		cmocka_unit_test(test_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
