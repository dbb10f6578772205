/* test_ops_nearfar.c - the far field's kernels, and the near/far form of the long convolution. */
#include "implicit_sample.h"
#include "smooth_filter.h"

static const int ranks[] = {4, 6, 8, 10, 12, 16};
#define RANKS 6

static void check_far_kernels(const cr_ops *ops, int64_t rows, int64_t width, int rank)
{
	float *x = random_values(rows * width, 1, 1), *nodes = random_values(rows * rank, 1, 2);
	float *table = random_values((int64_t)rank * rank * width, 1, 3);
	float *start = random_values(rank * width, 1, 4);
	float *expected = poisoned(rank * width), *actual = poisoned(rank * width);
	float *y_expected = poisoned(rows * width), *y_actual = poisoned(rows * width);
	cr_moments_arguments m = {x, nodes, expected, rows, width, rank};
	cr_far_apply_arguments f = {table, start, expected, width, rank};
	cr_evaluate_arguments e = {start, nodes, y_expected, rows, width, rank};

	RUN(reference(), moments, &m);
	m.out = actual;
	RUN(ops, moments, &m);
	assert_true(agrees("moments", actual, expected, rank * width, 6e-6));
	/* far_apply goes on from what is there */
	memcpy(actual, expected, (size_t)(rank * width) * sizeof *actual);
	RUN(reference(), far_apply, &f);
	f.far = actual;
	RUN(ops, far_apply, &f);
	assert_true(agrees("far_apply", actual, expected, rank * width, 3e-6));
	RUN(reference(), evaluate, &e);
	e.y = y_actual;
	RUN(ops, evaluate, &e);
	assert_true(agrees("evaluate", y_actual, y_expected, rows * width, 3e-6));
	cr_free(x);
	cr_free(nodes);
	cr_free(table);
	cr_free(start);
	cr_free(expected);
	cr_free(actual);
	cr_free(y_expected);
	cr_free(y_actual);
}

static void far_kernels_match_reference(void **state)
{
	static const int64_t rows[] = {1, 2, 3, 17, 256, 1000}, widths[] = {8, 32, 40, 128};

	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++)
		for (int r = 0; kernel_set(set) && r < RANKS; r++)
			for (int i = 0; i < 6; i++)
				for (int w = 0; w < 4; w++)
					check_far_kernels(kernel_set(set), rows[i], widths[w],
							  ranks[r]);
}

/* Arrays of one convolution. */
typedef struct sample {
	cr_long_convolution_arguments a;
	float *v, *gate, *expected, *actual;
	int64_t count;
} sample;

static sample sample_new(int64_t rows, int64_t width, int64_t max_length,
			 cr_taps_function *function, void *user)
{
	sample s = {.count = rows * width};

	s.v = random_values(s.count, 1, 1);
	s.gate = random_values(s.count, 1, 2);
	s.expected = poisoned(s.count);
	s.actual = poisoned(s.count);
	s.a = (cr_long_convolution_arguments){
		.v = s.v,
		.gate = s.gate,
		.rows = rows,
		.width = width,
		.function = function,
		.user = user,
		.max_length = max_length,
	};
	return s;
}

static void sample_free(sample *s)
{
	cr_free(s->v);
	cr_free(s->gate);
	cr_free(s->expected);
	cr_free(s->actual);
}

static void run(const cr_ops *ops, sample *s, float *y)
{
	for (int64_t i = 0; i < s->count; i++)
		y[i] = NAN;
	s->a.y = y;
	RUN(ops, long_convolution, &s->a);
}

/* rows around the edges of blocks, windows from all near to mostly far, against the direct sum. */
static void smooth_filter_is_exact_enough(void **state)
{
	static const int64_t rows[] = {1, 2, 63, 64, 65, 127, 128, 129, 192, 193, 509, 2048};

	(void)state;
	for (int i = 0; i < 12; i++) {
		smooth_filter filter = smooth_filter_new(40, 2048, 4);
		sample s = sample_new(rows[i], 40, 2048, smooth_values, &filter);

		run(reference(), &s, s.expected);
		s.a.levels = 6;
		for (int set = 0; set < KERNEL_SETS; set++)
			for (int r = 1; kernel_set(set) && r < RANKS; r++) {
				char what[100];

				s.a.rank = ranks[r];
				run(kernel_set(set), &s, s.actual);
				snprintf(what, sizeof what, "%s near/far L %lld R %d",
					 kernel_set(set)->name, (long long)rows[i], ranks[r]);
				assert_true(agrees(what, s.actual, s.expected, s.count, 1e-5));
			}
		sample_free(&s);
	}
}

/* The same against the fft form where the direct sum would take long. */
static void equals_fft(void **state)
{
	smooth_filter filter = smooth_filter_new(12, 20011, 8);
	sample s = sample_new(20011, 12, 20011, smooth_values, &filter);

	(void)state;
	s.a.levels = 10;
	run(cr_ops_get("cpu"), &s, s.expected);
	for (int set = 0; set < BACKENDS; set++) {
		if (!backend(set))
			continue;
		for (s.a.rank = 8; s.a.rank <= 16; s.a.rank += 8)
			for (s.a.levels = 7; s.a.levels <= 9; s.a.levels++) {
				run(backend(set), &s, s.actual);
				assert_true(agrees("near/far and fft", s.actual, s.expected,
						   s.count, slack(set) * 1e-5));
			}
	}
	sample_free(&s);
}

/* The implicit filter with random weights, window 16386, is smooth enough as well. */
static int implicit_values(void *user, const double *offsets, int64_t count, double *values,
			   crocuta_error *error)
{
	const implicit_sample *s = user;
	cr_implicit_filter_arguments a = s->a;

	a.offsets = offsets;
	a.count = count;
	a.values = values;
	return cr_ops_get("cpu")->implicit_filter(cr_ops_get("cpu"), &a, error);
}

static void implicit_filter_is_smooth(void **state)
{
	implicit_sample filter;
	sample s;

	(void)state;
	implicit_sample_new(&filter, 32, 64, 5, 16386, 2, 1);
	s = sample_new(16386, 32, 16386, implicit_values, &filter);
	for (int set = 0; set < KERNEL_SETS; set++) {
		if (!kernel_set(set))
			continue;
		s.a.rank = 0;
		s.a.levels = 9;
		run(kernel_set(set), &s, s.expected);
		s.a.rank = 8;
		s.a.levels = 7;
		run(kernel_set(set), &s, s.actual);
		assert_true(agrees("implicit filter", s.actual, s.expected, s.count, 1e-5));
	}
	sample_free(&s);
	implicit_sample_free(&filter);
}

/* On a rough filter the form is visibly wrong: nothing but the certificate keeps it away. */
static void rough_filter_shows(void **state)
{
	smooth_filter filter = smooth_filter_new(32, 2048, 120);
	sample s = sample_new(2048, 32, 2048, smooth_values, &filter);

	(void)state;
	run(reference(), &s, s.expected);
	s.a.levels = 6;
	s.a.rank = 4;
	for (int set = 0; set < KERNEL_SETS; set++)
		if (kernel_set(set)) {
			run(kernel_set(set), &s, s.actual);
			assert_true(relative_error(s.actual, s.expected, s.count) > 1e-3);
		}
	sample_free(&s);
}

/* Chunks with carried moments, and any number of threads: the bytes of the whole on one. More
 * distances than are summed in one go (32), so that partial sums are cut as well. */
static void chunks_and_threads_change_nothing(void **state)
{
	static const int64_t chunks[] = {0, 33, 7, 2, 1}; /* blocks */
	static const int threads[] = {1, 2, 3, 7};
	smooth_filter filter = smooth_filter_new(40, 1100, 6);
	sample s = sample_new(1099, 40, 1100, smooth_values, &filter);

	(void)state;
	s.a.levels = 4;
	s.a.rank = 6;
	for (int set = 0; set < KERNEL_SETS; set++) {
		if (!kernel_set(set))
			continue;
		s.a.chunk = 0;
		s.a.threads = 1;
		run(kernel_set(set), &s, s.expected);
		for (int c = 0; c < 5; c++) /* many threads on many small calls take long */
			for (int t = 0; t < (c < 3 ? 4 : 2); t++) {
				s.a.chunk = 16 * chunks[c];
				s.a.threads = threads[t];
				run(kernel_set(set), &s, s.actual);
				assert_true(same_bits(s.actual, s.expected, s.count));
			}
	}
	sample_free(&s);
}

/* A prefix gives the same bytes as the whole: later positions never act back, and shorter plans
 * (smaller reach) sum the same numbers in the same order. */
static void prefix_has_the_same_bits(void **state)
{
	static const int64_t prefixes[] = {16, 32, 48, 528, 544, 1024};
	smooth_filter filter = smooth_filter_new(40, 1100, 6);
	sample s = sample_new(1099, 40, 1100, smooth_values, &filter);

	(void)state;
	s.a.levels = 4;
	s.a.rank = 6;
	for (int set = 0; set < KERNEL_SETS; set++) {
		if (!kernel_set(set))
			continue;
		s.a.rows = 1099;
		run(kernel_set(set), &s, s.expected);
		for (int i = 0; i < 6; i++) {
			s.a.rows = prefixes[i];
			run(kernel_set(set), &s, s.actual);
			assert_true(same_bits(s.actual, s.expected, prefixes[i] * 40));
		}
	}
	sample_free(&s);
}

/* Causality: blocks before the changed one keep their bits, earlier positions of it move by
 * rounding. */
static void causal(void **state)
{
	static const int64_t changed[] = {0, 15, 16, 40, 250, 399};
	smooth_filter filter = smooth_filter_new(40, 400, 4);
	sample s = sample_new(400, 40, 400, smooth_values, &filter);

	(void)state;
	s.a.levels = 4;
	s.a.rank = 8;
	for (int set = 0; set < KERNEL_SETS; set++)
		for (int i = 0; kernel_set(set) && i < 6; i++) {
			const int64_t j = changed[i], start = j / 16 * 16;

			run(kernel_set(set), &s, s.expected);
			for (int64_t d = 0; d < 40; d++)
				s.v[j * 40 + d] += 5;
			run(kernel_set(set), &s, s.actual);
			for (int64_t d = 0; d < 40; d++)
				s.v[j * 40 + d] -= 5;
			assert_true(same_bits(s.actual, s.expected, start * 40));
			for (int64_t n = start * 40; n < j * 40; n++)
				assert_true(fabs((double)s.actual[n] - s.expected[n]) < 2e-5);
			assert_false(same_bits(s.actual + j * 40, s.expected + j * 40, 40));
		}
	sample_free(&s);
}

/* A NaN in channel c at position j reaches c from the start of j's block to the end. Its partner in
 * the complex transform, c ^ 16, gets it in that block and the next, which are near, and nowhere
 * else: moments keep channels apart. All other channels keep their bits. */
static void nan_stays_in_its_pair(void **state)
{
	smooth_filter filter = smooth_filter_new(80, 256, 3);
	sample s = sample_new(256, 80, 256, smooth_values, &filter);
	const int64_t j = 77, start = 64, channel = 37, partner = 37 ^ 16;

	(void)state;
	s.a.levels = 5;
	s.a.rank = 8;
	for (int set = 0; set < KERNEL_SETS; set++) {
		const float keep = s.v[j * 80 + channel];

		if (!kernel_set(set))
			continue;
		run(kernel_set(set), &s, s.expected);
		s.v[j * 80 + channel] = NAN;
		run(kernel_set(set), &s, s.actual);
		s.v[j * 80 + channel] = keep;
		for (int64_t l = 0; l < 256; l++)
			for (int64_t d = 0; d < 80; d++)
				if ((d == channel && l >= start) ||
				    (d == partner && l >= start && l < start + 64))
					assert_true(isnan(s.actual[l * 80 + d]));
				else
					assert_true(same_bits(s.actual + l * 80 + d,
							      s.expected + l * 80 + d, 1));
	}
	sample_free(&s);
}

static void what_it_cannot_do_is_refused(void **state)
{
	smooth_filter filter = smooth_filter_new(8, 100, 3);
	sample s = sample_new(100, 8, 100, smooth_values, &filter);
	const cr_ops *ops = cr_ops_get("cpu");

	(void)state;
	s.a.y = s.actual;
	s.a.levels = 4;
	s.a.rank = 5; /* no loop for it */
	assert_int_equal(ops->long_convolution(ops, &s.a, NULL), CROCUTA_EARG);
	s.a.rank = 6;
	s.a.chunk = 17; /* not whole blocks */
	assert_int_equal(ops->long_convolution(ops, &s.a, NULL), CROCUTA_EARG);
	s.a.chunk = 0;
	s.a.max_length = 99; /* the edge of the filter is not smooth */
	assert_int_equal(ops->long_convolution(ops, &s.a, NULL), CROCUTA_EARG);
	s.a.max_length = 100;
	s.a.function = NULL; /* taps have no values between the integers */
	assert_int_equal(ops->long_convolution(ops, &s.a, NULL), CROCUTA_EARG);
	sample_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(far_kernels_match_reference),
		cmocka_unit_test(smooth_filter_is_exact_enough),
		cmocka_unit_test(equals_fft),
		cmocka_unit_test(implicit_filter_is_smooth),
		cmocka_unit_test(rough_filter_shows),
		cmocka_unit_test(chunks_and_threads_change_nothing),
		cmocka_unit_test(prefix_has_the_same_bits),
		cmocka_unit_test(causal),
		cmocka_unit_test(nan_stays_in_its_pair),
		cmocka_unit_test(what_it_cannot_do_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
