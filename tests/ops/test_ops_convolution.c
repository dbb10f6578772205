/* test_ops_convolution.c - the exact (fft) form of the long convolution on every backend. */
#include "ops_test.h"

/* Largest error over the output's rms: transforms in float32, sums over up to 128 spectra, and a
 * gate that makes single outputs five times the rms. A tap lost shows as 1 / sqrt(L) or more. */
#define TOLERANCE 8e-6

/* Arrays of one case and its arguments. */
typedef struct sample {
	cr_long_convolution_arguments a;
	float *v, *gate, *taps, *expected, *actual;
	int64_t count; /* L D */
} sample;

/* Taps fall off from 1 to about a third, so that every distance counts. */
static sample sample_new(int64_t rows, int64_t width, int64_t max_length, uint64_t seed)
{
	sample s = {.count = rows * width};

	s.v = random_values(s.count, 1, seed);
	s.gate = random_values(s.count, 1, seed + 1);
	s.taps = random_values(width * max_length, 1, seed + 2);
	for (int64_t i = 0; i < width * max_length; i++)
		s.taps[i] *= (float)exp(-(double)(i % max_length) / (double)max_length);
	s.expected = poisoned(s.count);
	s.actual = poisoned(s.count);
	s.a = (cr_long_convolution_arguments){
		.v = s.v,
		.gate = s.gate,
		.rows = rows,
		.width = width,
		.taps = s.taps,
		.max_length = max_length,
	};
	return s;
}

static void sample_free(sample *s)
{
	cr_free(s->v);
	cr_free(s->gate);
	cr_free(s->taps);
	cr_free(s->expected);
	cr_free(s->actual);
}

/* Run into y, which is poisoned first. */
static void run(const cr_ops *ops, sample *s, float *y)
{
	for (int64_t i = 0; i < s->count; i++)
		y[i] = NAN;
	s->a.y = y;
	RUN(ops, long_convolution, &s->a);
}

static void check(int64_t rows, int64_t width, int64_t max_length, int first_level, int last_level)
{
	sample s = sample_new(rows, width, max_length, (uint64_t)(rows * width));
	char what[120];

	run(reference(), &s, s.expected);
	for (int set = 0; set < BACKENDS; set++) {
		const cr_ops *ops = backend(set);
		/* a GPU has no use for them */
		const int last = set < KERNEL_SETS ? last_level : first_level;

		for (int levels = first_level; ops && levels <= last; levels++) {
			s.a.levels = levels;
			run(ops, &s, s.actual);
			snprintf(what, sizeof what, "%s conv L %lld D %lld M %lld B %d", ops->name,
				 (long long)rows, (long long)width, (long long)max_length,
				 1 << levels);
			assert_true(agrees(what, s.actual, s.expected, s.count,
					   slack(set) * TOLERANCE));
		}
	}
	sample_free(&s);
}

static void matches_reference(void **state)
{
	static const int64_t lengths[] = {1, 2, 3, 5, 17, 31, 127, 255, 256, 257, 509};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		check(lengths[i], 8, lengths[i], 1, 9);
		check(lengths[i], 40, lengths[i], 2, 7);
	}
	check(1000, 32, 1000, 3, 10);
	check(1026, 64, 1026, 5, 11);
	check(1021, 128, 1026, 7, 8);
	check(600, 256, 600, 8, 9);
	check(4097, 8, 4097, 7, 12);
}

/* A filter shorter than the input ends; one that is longer is cut. */
static void filter_and_input_differ_in_length(void **state)
{
	static const int64_t lengths[] = {1, 2, 15, 16, 17, 18, 33, 64, 100, 300, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		check(300, 33, lengths[i], 4, 6);
}

/* A unit impulse gives the filter back, at every position of a block and over block edges. */
static void impulse_gives_the_filter(void **state)
{
	static const int64_t positions[] = {0, 1, 15, 16, 17, 31, 32, 70, 149};
	sample s = sample_new(150, 40, 150, 3);

	(void)state;
	s.a.levels = 4;
	for (int64_t i = 0; i < s.count; i++)
		s.gate[i] = 1;
	for (int set = 0; set < BACKENDS; set++)
		for (size_t p = 0; backend(set) && p < 9; p++) {
			memset(s.v, 0, (size_t)s.count * sizeof *s.v);
			for (int64_t d = 0; d < 40; d++)
				s.v[positions[p] * 40 + d] = 1;
			for (int64_t l = 0; l < 150; l++)
				for (int64_t d = 0; d < 40; d++)
					s.expected[l * 40 + d] =
						l < positions[p]
							? 0
							: s.taps[d * 150 + l - positions[p]];
			run(backend(set), &s, s.actual);
			for (int64_t i = 0; i < s.count; i++)
				assert_true(fabs((double)s.actual[i] - s.expected[i]) <
					    slack(set) * 2e-6);
		}
	sample_free(&s);
}

static void linear_in_its_input(void **state)
{
	sample s = sample_new(777, 40, 777, 8);
	float *x = random_values(s.count, 1, 100), *y = random_values(s.count, 1, 101);
	float *of_x = poisoned(s.count), *of_y = poisoned(s.count);

	(void)state;
	s.a.levels = 6;
	for (int set = 0; set < KERNEL_SETS; set++) {
		const cr_ops *ops = kernel_set(set);

		if (!ops)
			continue;
		s.a.v = x;
		run(ops, &s, of_x);
		s.a.v = y;
		run(ops, &s, of_y);
		for (int64_t i = 0; i < s.count; i++) {
			s.v[i] = 2 * x[i] - 3 * y[i];
			s.expected[i] = 2 * of_x[i] - 3 * of_y[i];
		}
		s.a.v = s.v;
		run(ops, &s, s.actual);
		assert_true(agrees("linearity", s.actual, s.expected, s.count, TOLERANCE));
	}
	cr_free(x);
	cr_free(y);
	cr_free(of_x);
	cr_free(of_y);
	sample_free(&s);
}

/* Changing v at j leaves the blocks before j's block alone, bit for bit, and the earlier positions
 * of j's own block within rounding. */
static void causal(void **state)
{
	static const int64_t changed[] = {0, 1, 31, 32, 33, 95, 100, 299};
	sample s = sample_new(300, 40, 300, 21);
	const int64_t width = 40, block = 32;

	(void)state;
	s.a.levels = 5;
	for (int set = 0; set < KERNEL_SETS; set++)
		for (size_t i = 0; kernel_set(set) && i < 8; i++) {
			const int64_t j = changed[i], start = j / block * block;

			run(kernel_set(set), &s, s.expected);
			for (int64_t d = 0; d < width; d++)
				s.v[j * width + d] += 5;
			run(kernel_set(set), &s, s.actual);
			for (int64_t d = 0; d < width; d++)
				s.v[j * width + d] -= 5;
			assert_true(same_bits(s.actual, s.expected, start * width));
			for (int64_t n = start * width; n < j * width; n++)
				assert_true(fabs((double)s.actual[n] - s.expected[n]) < 2e-5);
			assert_false(
				same_bits(s.actual + j * width, s.expected + j * width, width));
		}
	sample_free(&s);
}

/* Chunks with carried state, and any number of threads: the bytes of the whole on one. */
static void chunks_and_threads_change_nothing(void **state)
{
	static const int64_t chunks[] = {0, 1, 2, 3, 5, 100}; /* blocks */
	static const int threads[] = {1, 2, 3, 7};

	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++)
		for (int64_t max_length = 100; kernel_set(set) && max_length <= 500;
		     max_length += 400) {
			sample s = sample_new(499, 72, max_length, 33);

			s.a.levels = 5;
			run(kernel_set(set), &s, s.expected);
			for (int c = 0; c < 6; c++)
				for (int t = 0; t < 4; t++) {
					s.a.chunk = 32 * chunks[c];
					s.a.threads = threads[t];
					run(kernel_set(set), &s, s.actual);
					assert_true(same_bits(s.actual, s.expected, s.count));
				}
			sample_free(&s);
		}
}

/* What a NaN in channel c at position j reaches. By the mathematics: c from j on. Channels c and
 * c ^ 16 of a line share a complex transform, and a transform has no order in time, so it reaches
 * both of them from the first position of j's block on, but for the start of a sequence, which is
 * summed plainly; every other channel keeps its bits. */
static void nan_stays_in_its_pair(void **state)
{
	static const int64_t at[] = {77, 5}, channel_from[] = {64, 5}, partner_from[] = {64, 32};
	sample s = sample_new(200, 80, 200, 55);
	const int64_t channel = 37, partner = 37 ^ 16;

	(void)state;
	s.a.levels = 5;
	for (int set = 0; set < KERNEL_SETS; set++)
		for (int i = 0; kernel_set(set) && i < 2; i++) {
			const float keep = s.v[at[i] * 80 + channel];

			run(kernel_set(set), &s, s.expected);
			s.v[at[i] * 80 + channel] = NAN;
			run(kernel_set(set), &s, s.actual);
			s.v[at[i] * 80 + channel] = keep;
			for (int64_t n = 0; n < s.count; n++) {
				const int64_t l = n / 80, d = n % 80;

				if ((d == channel && l >= channel_from[i]) ||
				    (d == partner && l >= partner_from[i]))
					assert_true(isnan(s.actual[n]));
				else
					assert_true(same_bits(s.actual + n, s.expected + n, 1));
			}
		}
	sample_free(&s);
}

/* The partner must be exact to its own scale, not to its neighbour's: how much of a loud channel's
 * rounding leaks into the quiet one that shares its transform. */
static void loud_partner(void **state)
{
	sample s = sample_new(256, 32, 256, 66);

	(void)state;
	s.a.levels = 6;
	for (int64_t l = 0; l < 256; l++)
		s.v[l * 32 + 3] *= 1000;
	run(reference(), &s, s.expected);
	for (int set = 0; set < KERNEL_SETS; set++) {
		double worst = 0, square = 0;

		if (!kernel_set(set))
			continue;
		run(kernel_set(set), &s, s.actual);
		for (int64_t l = 0; l < 256; l++) {
			const int64_t i = l * 32 + (3 ^ 16);
			double difference = fabs((double)s.actual[i] - s.expected[i]);

			worst = difference > worst ? difference : worst;
			square += (double)s.expected[i] * s.expected[i];
		}
		/* 1000 times louder, at most 1000 times the usual error */
		assert_true(worst / sqrt(square / 256) < 1000 * TOLERANCE);
	}
	sample_free(&s);
}

/* A taps function and the same taps as an array. */
static int from_array(void *user, const double *offsets, int64_t count, double *values,
		      crocuta_error *error)
{
	const sample *s = user;

	(void)error;
	for (int64_t i = 0; i < count; i++)
		for (int64_t d = 0; d < s->a.width; d++) {
			const int64_t n = (int64_t)offsets[i];

			values[i * s->a.width + d] =
				n < s->a.max_length ? s->taps[d * s->a.max_length + n] : 7;
		}
	return 0;
}

static int fails(void *user, const double *offsets, int64_t count, double *values,
		 crocuta_error *error)
{
	(void)user;
	(void)offsets;
	(void)count;
	(void)values;
	snprintf(error->message, sizeof error->message, "no such filter");
	return error->code = CROCUTA_EMODEL;
}

static void taps_may_come_from_a_function(void **state)
{
	sample s = sample_new(300, 40, 200, 44);

	(void)state;
	for (int set = -1; set < KERNEL_SETS; set++) {
		const cr_ops *ops = set < 0 ? reference() : kernel_set(set);
		crocuta_error error = {0};

		if (!ops)
			continue;
		s.a.function = NULL;
		run(ops, &s, s.expected);
		s.a.function = from_array;
		s.a.user = &s;
		run(ops, &s, s.actual);
		assert_true(same_bits(s.actual, s.expected, s.count));
		s.a.function = fails;
		assert_int_equal(ops->long_convolution(ops, &s.a, &error), CROCUTA_EMODEL);
		assert_string_equal(error.message, "no such filter");
	}
	sample_free(&s);
}

static void lack_of_memory_is_reported(void **state)
{
	sample s = sample_new(100, 40, 100, 4);
	const cr_ops *ops = cr_ops_get("cpu");
	int64_t count;

	(void)state;
	s.a.levels = 4;
	s.a.chunk = 32;
	s.a.threads = 2;
	cr_memory_fail_at(0);
	run(ops, &s, s.actual);
	count = cr_memory_count();
	for (int64_t n = 1; n <= count; n++) {
		cr_memory_fail_at(n);
		assert_int_equal(ops->long_convolution(ops, &s.a, NULL), CROCUTA_EMEMORY);
	}
	cr_memory_fail_at(0);
	sample_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_reference),
		cmocka_unit_test(filter_and_input_differ_in_length),
		cmocka_unit_test(impulse_gives_the_filter),
		cmocka_unit_test(linear_in_its_input),
		cmocka_unit_test(causal),
		cmocka_unit_test(chunks_and_threads_change_nothing),
		cmocka_unit_test(nan_stays_in_its_pair),
		cmocka_unit_test(loud_partner),
		cmocka_unit_test(taps_may_come_from_a_function),
		cmocka_unit_test(lack_of_memory_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
