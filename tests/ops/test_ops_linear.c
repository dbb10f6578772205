/* test_ops_linear.c - the matrix product of every backend against the loop in double. */
#include "ops_test.h"

/* Largest error over rms that I products summed in float32, one after another, may show in some
 * 10^5 outputs. One product dropped or doubled would show as about 1 / sqrt(I), 0.03 or more. */
static double tolerance(int64_t in)
{
	return 3e-7 * (4 + sqrt((double)in));
}

typedef struct shape {
	int64_t rows, in, out;
} shape;

static const shape shapes[] = {
	{1, 8, 24},      {2, 8, 32},      {3, 32, 8},      {5, 40, 120},
	{17, 64, 192},   {255, 128, 384}, {256, 128, 512}, {257, 512, 128},
	{100, 256, 768}, {31, 1024, 256}, {13, 256, 16},   {14, 33, 1},
	{15, 1, 33},     {1000, 40, 40},  {1026, 32, 96},  {4097, 8, 8},
};

typedef struct sample {
	shape s;
	float *x, *weight, *bias, *before, *expected, *actual;
} sample;

static sample sample_new(shape s, uint64_t seed)
{
	return (sample){s,
			random_values(s.rows * s.in, 1, seed),
			random_values(s.out * s.in, 1 / sqrt((double)s.in), seed + 1),
			random_values(s.out, 0.5, seed + 2),
			random_values(s.rows * s.out, 1, seed + 3),
			poisoned(s.rows * s.out),
			poisoned(s.rows * s.out)};
}

static void sample_free(sample *a)
{
	cr_free(a->x);
	cr_free(a->weight);
	cr_free(a->bias);
	cr_free(a->before);
	cr_free(a->expected);
	cr_free(a->actual);
}

static void run(const cr_ops *ops, const sample *a, int with_bias, int accumulate, int64_t tile,
		float *y)
{
	const int64_t count = a->s.rows * a->s.out;
	const cr_linear_arguments arguments = {
		.x = a->x,
		.weight = a->weight,
		.bias = with_bias ? a->bias : NULL,
		.y = y,
		.rows = a->s.rows,
		.in = a->s.in,
		.out = a->s.out,
		.accumulate = accumulate,
		.tile = tile,
	};

	for (int64_t i = 0; i < count; i++)
		y[i] = accumulate ? a->before[i] : NAN;
	RUN(ops, linear, &arguments);
}

static void matches_reference(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		sample a = sample_new(shapes[i], 10 * i + 1);
		char what[100];

		for (int mode = 0; mode < 4; mode++) {
			run(reference(), &a, mode & 1, mode >> 1, 0, a.expected);
			for (int set = 0; set < BACKENDS; set++) {
				const cr_ops *ops = backend(set);

				if (!ops)
					continue;
				run(ops, &a, mode & 1, mode >> 1, 0, a.actual);
				snprintf(what, sizeof what, "%s linear %lld x %lld -> %lld mode %d",
					 ops->name, (long long)a.s.rows, (long long)a.s.in,
					 (long long)a.s.out, mode);
				assert_true(agrees(what, a.actual, a.expected, a.s.rows * a.s.out,
						   slack(set) * tolerance(a.s.in)));
			}
		}
		sample_free(&a);
	}
}

/* Cutting the rows over calls must not change a bit, whatever the remainders. */
static void rows_are_independent(void **state)
{
	static const int64_t tiles[] = {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 112};
	sample a = sample_new((shape){61, 64, 96}, 77);

	(void)state;
	for (int set = 0; set < BACKENDS; set++) {
		const cr_ops *ops = backend(set);

		for (int accumulate = 0; ops && accumulate < 2; accumulate++) {
			run(ops, &a, 1, accumulate, 0, a.expected);
			for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++) {
				run(ops, &a, 1, accumulate, tiles[t], a.actual);
				assert_true(same_bits(a.actual, a.expected, a.s.rows * a.s.out));
			}
		}
	}
	sample_free(&a);
}

/* A NaN in one row stays in that row. (A GPU reports it instead.) */
static void nan_stays_in_its_row(void **state)
{
	sample a = sample_new((shape){19, 40, 33}, 5);

	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++) {
		const cr_ops *ops = kernel_set(set);
		float keep = a.x[7 * 40 + 39];

		if (!ops)
			continue;
		run(ops, &a, 1, 0, 0, a.expected);
		a.x[7 * 40 + 39] = NAN;
		run(ops, &a, 1, 0, 0, a.actual);
		a.x[7 * 40 + 39] = keep;
		for (int64_t row = 0; row < 19; row++)
			for (int64_t c = 0; c < 33; c++)
				if (row == 7)
					assert_true(isnan(a.actual[row * 33 + c]));
				else
					assert_true(same_bits(a.actual + row * 33 + c,
							      a.expected + row * 33 + c, 1));
	}
	sample_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_reference),
		cmocka_unit_test(rows_are_independent),
		cmocka_unit_test(nan_stays_in_its_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
