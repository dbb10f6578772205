/* test_ops_pointwise.c - layer norm, GELU, short filter and gates, token vectors, and scores. */
#include "ops_test.h"

static const int64_t widths[] = {8, 32, 40, 64, 128, 256};
static const int64_t lengths[] = {1, 2, 3, 5, 17, 255, 256, 257, 1000, 1026, 4097};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Run layer norm on every backend; offset is added to every input. */
static void check_layer_norm(int64_t rows, int64_t width, double offset, double scale,
			     double tolerance)
{
	const int64_t count = rows * width;
	float *x = random_values(count, scale, (uint64_t)count), *expected = poisoned(count);
	float *weight = random_values(width, 1, 2), *bias = random_values(width, 1, 3);
	float *actual = poisoned(count);
	cr_layer_norm_arguments a = {x, weight, bias, expected, rows, width, 1e-5};
	char what[100];

	for (int64_t i = 0; i < count; i++)
		x[i] += (float)offset;
	RUN(reference(), layer_norm, &a);
	for (int set = 0; set < BACKENDS; set++) {
		const cr_ops *ops = backend(set);

		if (!ops)
			continue;
		for (int64_t i = 0; i < count; i++)
			actual[i] = NAN;
		a.y = actual;
		RUN(ops, layer_norm, &a);
		snprintf(what, sizeof what, "%s layer_norm %lld x %lld offset %g scale %g",
			 ops->name, (long long)rows, (long long)width, offset, scale);
		assert_true(agrees(what, actual, expected, count, slack(set) * tolerance));
	}
	cr_free(x);
	cr_free(weight);
	cr_free(bias);
	cr_free(expected);
	cr_free(actual);
}

static void layer_norm_matches_reference(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t l = 0; l < COUNT(lengths); l++)
			check_layer_norm(lengths[l], widths[w], 0.3, 1, 2e-6);
	check_layer_norm(50, 64, 0, 1e-3, 2e-6); /* epsilon matters */
	check_layer_norm(50, 64, 0, 1e4, 2e-6);
}

/* A mean far above the spread costs digits, about 1e-7 a unit of mean in each sum, and no more:
 * the channels that pad a line must not make it worse. */
static void layer_norm_bears_an_offset(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++) {
		check_layer_norm(20, widths[w], 30, 1, 1e-5);
		check_layer_norm(20, widths[w], 1000, 1, 1e-3);
	}
}

/* All channels equal: the variance is zero or a rounding error, never below zero. What is left of
 * x - mean is a rounding error of x, seen through 1 / sqrt(epsilon) = 316. */
static void layer_norm_of_a_constant_row(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (int i = 0; i < 200; i++) {
			const double value = 0.1 + 13.7 * i;
			const int64_t width = widths[w];
			float *x = poisoned(width), *one = poisoned(width), *y = poisoned(width);
			cr_layer_norm_arguments a = {x, one, one, y, 1, width, 1e-5};

			for (int64_t c = 0; c < width; c++) {
				x[c] = (float)value;
				one[c] = 1;
			}
			for (int set = 0; set < KERNEL_SETS; set++) {
				const cr_ops *ops = kernel_set(set);

				if (!ops)
					continue;
				RUN(ops, layer_norm, &a);
				for (int64_t c = 0; c < width; c++)
					if (!(fabs(y[c] - 1.0) < 1e-3 + 1e-3 * value))
						fail_msg("%s width %lld of %g: %g", ops->name,
							 (long long)width, value, (double)y[c]);
			}
			cr_free(x);
			cr_free(one);
			cr_free(y);
		}
}

static void gelu_matches_reference(void **state)
{
	static const float corners[] = {0,    -0.0f, 1e-30f, -1e-30f, 1e-6f, -1e-6f, 5,
					-5,   10,    -10,    20,      -20,   87,     -87,
					1e4f, -1e4f, 1e10f,  -1e10f,  3e38f, -3e38f};
	const int64_t count = 100000;
	float *x = random_values(count, 2, 1), *expected = poisoned(count);
	float *actual = poisoned(count);
	cr_gelu_arguments a = {x, expected, count};

	(void)state;
	for (int64_t i = 0; i < 20000; i++) /* an even sweep, too */
		x[i] = (float)(-12 + 24.0 * (double)i / 20000);
	memcpy(x, corners, sizeof corners);
	RUN(reference(), gelu, &a);
	for (int set = 0; set < BACKENDS; set++) {
		const cr_ops *ops = backend(set);

		if (!ops)
			continue;
		a.y = actual;
		RUN(ops, gelu, &a);
		for (int64_t i = 0; i < count; i++) {
			/* relative to x, the output's natural scale */
			double scale = fabs((double)x[i]) + 1e-35;

			if (!(fabs((double)actual[i] - expected[i]) <= slack(set) * 4e-7 * scale))
				fail_msg("%s gelu(%g) = %.9g, not %.9g", ops->name, (double)x[i],
					 (double)actual[i], (double)expected[i]);
		}
	}
	x[0] = NAN;
	for (int set = 0; set < BACKENDS; set++)
		if (backend(set)) {
			RUN(backend(set), gelu, &a);
			assert_true(isnan(actual[0]));
		}
	cr_free(x);
	cr_free(expected);
	cr_free(actual);
}

static void check_short_filter(int64_t rows, int64_t width, int with_carry)
{
	const int64_t count = rows * width;
	float *u = random_values(3 * count, 1, (uint64_t)count);
	float *carry = random_values(6 * width, 1, 4), *weight = random_values(9 * width, 1, 5);
	float *bias = random_values(3 * width, 1, 6), *expected = poisoned(2 * count);
	float *actual = poisoned(2 * count);
	cr_short_filter_gate_arguments a = {
		u, with_carry ? carry : NULL, weight, bias, expected, expected + count, rows, width,
	};
	char what[100];

	RUN(reference(), short_filter_gate, &a);
	for (int set = 0; set < BACKENDS; set++) {
		const cr_ops *ops = backend(set);

		if (!ops)
			continue;
		for (int64_t i = 0; i < 2 * count; i++)
			actual[i] = NAN;
		a.x0 = actual;
		a.gated = actual + count;
		RUN(ops, short_filter_gate, &a);
		snprintf(what, sizeof what, "%s short filter %lld x %lld carry %d", ops->name,
			 (long long)rows, (long long)width, with_carry);
		assert_true(agrees(what, actual, expected, count, slack(set) * 1e-6));
		assert_true(agrees(what, actual + count, expected + count, count,
				   slack(set) * 4e-6));
	}
	cr_free(u);
	cr_free(carry);
	cr_free(weight);
	cr_free(bias);
	cr_free(expected);
	cr_free(actual);
}

static void short_filter_matches_reference(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t l = 0; l < COUNT(lengths); l++) {
			check_short_filter(lengths[l], widths[w], 0);
			check_short_filter(lengths[l], widths[w], 1);
		}
}

/* Rows in two calls, the second with the last two rows of the first as carry: the same bits. */
static void short_filter_continues(void **state)
{
	const int64_t rows = 37, width = 40, cut = 11;
	float *u = random_values(3 * rows * width, 1, 1), *weight = random_values(9 * width, 1, 2);
	float *bias = random_values(3 * width, 1, 3), *whole = poisoned(2 * rows * width);
	float *parts = poisoned(2 * rows * width);

	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++) {
		const cr_ops *ops = kernel_set(set);
		cr_short_filter_gate_arguments a = {
			u, NULL, weight, bias, whole, whole + rows * width, rows, width,
		};

		if (!ops)
			continue;
		RUN(ops, short_filter_gate, &a);
		a.x0 = parts;
		a.gated = parts + rows * width;
		a.rows = cut;
		RUN(ops, short_filter_gate, &a);
		a.u = u + cut * 3 * width;
		a.carry = u + (cut - 2) * 3 * width;
		a.x0 += cut * width;
		a.gated += cut * width;
		a.rows = rows - cut;
		RUN(ops, short_filter_gate, &a);
		assert_true(same_bits(whole, parts, 2 * rows * width));
	}
	cr_free(u);
	cr_free(weight);
	cr_free(bias);
	cr_free(whole);
	cr_free(parts);
}

/* By hand: one channel, numbers that a reader can add. */
static void reference_short_filter_by_hand(void **state)
{
	const float u[] = {1, 2, 3, 4, 5, 6}, carry[] = {10, 20, 30, 40, 50, 60};
	const float weight[] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, bias[] = {0.5f, 0, 0};
	float x0[2], gated[2];
	cr_short_filter_gate_arguments a = {u, carry, weight, bias, x0, gated, 2, 1};

	(void)state;
	RUN(reference(), short_filter_gate, &a);
	assert_true(x0[0] == 10.5f && x0[1] == 40.5f);        /* two positions back */
	assert_true(gated[0] == 50 * 3 && gated[1] == 2 * 6); /* one back, times now */
	a.carry = NULL;
	RUN(reference(), short_filter_gate, &a);
	assert_true(x0[0] == 0.5f && x0[1] == 0.5f && gated[0] == 0 && gated[1] == 12);
}

static void embed_copies_rows(void **state)
{
	static const uint8_t tokens[] = {3, 0, 2, 2, 1}, bad[] = {0, 4};
	float *table = random_values(4 * 5, 1, 9), y[5 * 5];

	(void)state;
	for (int i = -1; i < BACKENDS; i++) {
		const cr_ops *ops = i < 0 ? reference() : backend(i);
		cr_embed_arguments a = {table, tokens, y, 5, 5, 4};
		crocuta_error error = {0};

		if (!ops)
			continue;
		RUN(ops, embed, &a);
		for (int l = 0; l < 5; l++)
			assert_true(same_bits(y + 5 * l, table + 5 * tokens[l], 5));
		a.tokens = bad;
		a.rows = 2;
		assert_int_equal(ops->embed(ops, &a, &error), CROCUTA_EINPUT);
	}
	cr_free(table);
}

static void log_probability_by_hand(void **state)
{
	/* softmax of log 1, log 2, log 5 and, as a class left out, log 100 */
	const float logits[] = {0,    0.69314718056f, 1.60943791243f, 4.60517018599f,
				1000, 1000,           -1000,          5000};
	const uint8_t targets[] = {1, 3}, classes[] = {0, 1, 2}, twice[] = {1, 1};
	float value[2], entropy[2];
	cr_log_probability_sums sums = {0};
	cr_log_probability_arguments a = {logits, targets, classes, 3, 2, 4, value, entropy, &sums};
	const double p[] = {0.125, 0.25, 0.625};
	crocuta_error error = {0};
	double expected = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		expected -= p[i] * log(p[i]);
	RUN(reference(), log_probability, &a);
	assert_true(fabs(value[0] - log(0.25)) < 1e-6);
	assert_true(isnan(value[1])); /* token 3 is no class */
	assert_true(fabs(entropy[0] - expected) < 1e-6);
	assert_true(fabs(entropy[1] - log(2)) < 1e-6); /* the large logits do not overflow */
	assert_int_equal(sums.scored, 1);
	assert_true(fabs(sums.log_probability - log(0.25)) < 1e-7);
	a.classes = NULL;
	RUN(reference(), log_probability, &a); /* sums go on */
	assert_int_equal(sums.scored, 3);
	assert_true(fabs(value[0] - log(2.0 / 108)) < 1e-6 && fabs(value[1]) < 1e-6);
	a.classes = twice;
	a.class_count = 2;
	assert_int_equal(reference()->log_probability(reference(), &a, &error), CROCUTA_EARG);
}

static void backends_are_found_by_name(void **state)
{
	(void)state;
	assert_non_null(reference());
	assert_non_null(cr_ops_get("cpu-portable"));
	assert_non_null(cr_ops_get("cpu"));
	assert_null(cr_ops_get("reference-fast"));
	assert_null(cr_ops_get("cpu-"));
	assert_null(cr_ops_get("cpu-none"));
	assert_null(cr_ops_get("cp"));
	assert_null(cr_ops_get(""));
	for (int i = 0; i < KERNEL_SETS; i++)
		if (kernel_set(i)) {
			assert_string_equal(kernel_set(i)->name, kernel_names[i]);
			assert_null(cr_ops_missing(kernel_set(i)));
		}
	assert_null(cr_ops_missing(reference()));
}

/* What it lacks is computed on the host, or is part of a larger kernel. */
static void the_gpu_has_operators(void **state)
{
	const cr_ops *ops = cr_ops_get("cuda");

	(void)state;
	if (!ops && !getenv("CROCUTA_NEED_GPU")) {
		print_message("no GPU, or a build without CUDA: its operators are not tested\n");
		skip();
	}
	assert_non_null(ops);
	assert_string_equal(ops->name, "cuda");
	assert_string_equal(cr_ops_missing(ops), "implicit_filter");
	assert_null(ops->moments);
	assert_null(ops->far_apply);
	assert_null(ops->evaluate);
	assert_null(ops->log_probability);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backends_are_found_by_name),
		cmocka_unit_test(the_gpu_has_operators),
		cmocka_unit_test(layer_norm_matches_reference),
		cmocka_unit_test(layer_norm_bears_an_offset),
		cmocka_unit_test(layer_norm_of_a_constant_row),
		cmocka_unit_test(gelu_matches_reference),
		cmocka_unit_test(short_filter_matches_reference),
		cmocka_unit_test(short_filter_continues),
		cmocka_unit_test(reference_short_filter_by_hand),
		cmocka_unit_test(embed_copies_rows),
		cmocka_unit_test(log_probability_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
