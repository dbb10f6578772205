/* test_ops_teeth.c - the suite can fail: small mistakes, one in each operator, that the comparison
 * must report. Its messages "meant to differ" on stderr are the proof, not failures. */
#include "fixture_g1.h"
#include "smooth_filter.h"

#include "backend/ref/reference_forward.h"

#define ROWS 400
#define WIDTH 40
#define COUNT (ROWS * WIDTH)

static void must_differ(const float *actual, const float *expected, int64_t count, double tolerance)
{
	assert_true(agrees("with itself", expected, expected, count, 0));
	assert_false(agrees("meant to differ", actual, expected, count, tolerance));
}

static void one_unwritten_element(void **state)
{
	float *x = random_values(COUNT, 1, 1), *y = random_values(COUNT, 1, 1);

	(void)state;
	assert_true(same_bits(x, y, COUNT));
	y[COUNT - 1] = NAN;
	must_differ(y, x, COUNT, 1e30);
	must_differ(x, y, COUNT, 1e30);
	assert_false(same_bits(x, y, COUNT));
	cr_free(x);
	cr_free(y);
}

static void one_weight(void **state)
{
	float *x = random_values(COUNT, 1, 1), *weight = random_values(WIDTH * WIDTH, 0.16, 2);
	float *right = poisoned(COUNT), *wrong = poisoned(COUNT);
	cr_linear_arguments a = {
		.x = x, .weight = weight, .y = right, .rows = ROWS, .in = WIDTH, .out = WIDTH};

	(void)state;
	RUN(reference(), linear, &a);
	weight[17 * WIDTH + 39] *= 1.001f;
	a.y = wrong;
	RUN(cr_ops_get("cpu"), linear, &a);
	must_differ(wrong, right, COUNT, 3e-6);
	cr_free(x);
	cr_free(weight);
	cr_free(right);
	cr_free(wrong);
}

static void another_epsilon(void **state)
{
	float *x = random_values(COUNT, 1, 1), *one = poisoned(WIDTH);
	float *right = poisoned(COUNT), *wrong = poisoned(COUNT);
	cr_layer_norm_arguments a = {x, one, one, right, ROWS, WIDTH, 1e-5};

	(void)state;
	for (int c = 0; c < WIDTH; c++)
		one[c] = 1;
	RUN(reference(), layer_norm, &a);
	a.epsilon = 2e-5;
	a.y = wrong;
	RUN(cr_ops_get("cpu"), layer_norm, &a);
	must_differ(wrong, right, COUNT, 2e-6);
	cr_free(x);
	cr_free(one);
	cr_free(right);
	cr_free(wrong);
}

static void gelu_by_erf(void **state)
{
	float *x = random_values(COUNT, 1, 1), *right = poisoned(COUNT), *wrong = poisoned(COUNT);
	cr_gelu_arguments a = {x, right, COUNT};

	(void)state;
	RUN(cr_ops_get("cpu"), gelu, &a);
	for (int i = 0; i < COUNT; i++)
		wrong[i] = (float)(0.5 * x[i] * (1 + erf(x[i] / sqrt(2))));
	must_differ(wrong, right, COUNT, 2e-6);
	cr_free(x);
	cr_free(right);
	cr_free(wrong);
}

static void taps_back_to_front(void **state)
{
	float *u = random_values(3 * COUNT, 1, 1), *weight = random_values(9 * WIDTH, 1, 2);
	float *bias = random_values(3 * WIDTH, 1, 3), *right = poisoned(2 * COUNT);
	float *wrong = poisoned(2 * COUNT);
	cr_short_filter_gate_arguments a = {u,     NULL,          weight, bias,
					    right, right + COUNT, ROWS,   WIDTH};

	(void)state;
	RUN(reference(), short_filter_gate, &a);
	for (int c = 0; c < 3 * WIDTH; c++) {
		float first = weight[3 * c];

		weight[3 * c] = weight[3 * c + 2];
		weight[3 * c + 2] = first;
	}
	a.x0 = wrong;
	a.gated = wrong + COUNT;
	RUN(cr_ops_get("cpu"), short_filter_gate, &a);
	must_differ(wrong, right, COUNT, 4e-6);
	must_differ(wrong + COUNT, right + COUNT, COUNT, 4e-6);
	cr_free(u);
	cr_free(weight);
	cr_free(bias);
	cr_free(right);
	cr_free(wrong);
}

/* The last tap of one channel touches a single output; and taps one position late. */
static void one_tap(void **state)
{
	float *v = random_values(COUNT, 1, 1), *gate = random_values(COUNT, 1, 2);
	float *taps = random_values(COUNT, 1, 3), *right = poisoned(COUNT),
	      *wrong = poisoned(COUNT);
	cr_long_convolution_arguments a = {.v = v,
					   .gate = gate,
					   .y = right,
					   .rows = ROWS,
					   .width = WIDTH,
					   .taps = taps,
					   .max_length = ROWS,
					   .levels = 6};

	(void)state;
	RUN(reference(), long_convolution, &a);
	a.y = wrong;
	taps[11 * ROWS + ROWS - 1] += 0.1f;
	RUN(cr_ops_get("cpu"), long_convolution, &a);
	must_differ(wrong, right, COUNT, 8e-6);
	taps[11 * ROWS + ROWS - 1] -= 0.1f;
	memmove(taps + 1, taps, (COUNT - 1) * sizeof *taps);
	RUN(cr_ops_get("cpu"), long_convolution, &a);
	must_differ(wrong, right, COUNT, 8e-6);
	cr_free(v);
	cr_free(gate);
	cr_free(taps);
	cr_free(right);
	cr_free(wrong);
}

/* A far field that ends one block early. */
static int cut_values(void *user, const double *offsets, int64_t count, double *values,
		      crocuta_error *error)
{
	const smooth_filter *f = user;
	int code = smooth_values(user, offsets, count, values, error);

	for (int64_t i = 0; i < count; i++)
		if (offsets[i] > ROWS - 32)
			memset(values + i * f->width, 0, (size_t)f->width * sizeof *values);
	return code;
}

static void the_farthest_block(void **state)
{
	smooth_filter filter = smooth_filter_new(WIDTH, ROWS, 3);
	float *v = random_values(COUNT, 1, 1), *gate = random_values(COUNT, 1, 2);
	float *right = poisoned(COUNT), *wrong = poisoned(COUNT);
	cr_long_convolution_arguments a = {.v = v,
					   .gate = gate,
					   .y = right,
					   .rows = ROWS,
					   .width = WIDTH,
					   .max_length = ROWS,
					   .levels = 4,
					   .function = smooth_values,
					   .user = &filter};

	(void)state;
	RUN(reference(), long_convolution, &a);
	a.y = wrong;
	a.rank = 8;
	a.function = cut_values;
	RUN(cr_ops_get("cpu"), long_convolution, &a);
	must_differ(wrong, right, COUNT, 1e-5);
	cr_free(v);
	cr_free(gate);
	cr_free(right);
	cr_free(wrong);
}

/* Every one of the fixture's tensors, tables included, counts: 0.01 more in one element moves the
 * output by more than the fixture's tolerance. */
static void every_tensor(void **state)
{
	float logits[G1_LENGTH * G1_VOCABULARY], moved[G1_LENGTH * G1_VOCABULARY];
	g1_fixture f;

	(void)state;
	g1_build(&f, 0.05);
	assert_int_equal(
		cr_reference_forward(&f.network, g1_tokens, G1_LENGTH, -1, NULL, logits, NULL), 0);
	for (int q = 0; q < G1_TENSORS + 3; q++) {
		float *tensor = q < G1_TENSORS ? f.tensor[q]
					       : (float *[]){f.z, f.t, f.deltas}[q - G1_TENSORS];
		double worst = 0;

		*tensor += 0.01f;
		assert_int_equal(cr_reference_forward(&f.network, g1_tokens, G1_LENGTH, -1, NULL,
						      moved, NULL),
				 0);
		*tensor -= 0.01f;
		for (int i = 0; i < G1_LENGTH * G1_VOCABULARY; i++)
			worst = fmax(worst, fabs((double)moved[i] - logits[i]));
		if (!(worst > 5e-6))
			fail_msg("tensor %d moves the logits by %.1e only", q, worst);
	}
	g1_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_unwritten_element), cmocka_unit_test(one_weight),
		cmocka_unit_test(another_epsilon),       cmocka_unit_test(gelu_by_erf),
		cmocka_unit_test(taps_back_to_front),    cmocka_unit_test(one_tap),
		cmocka_unit_test(the_farthest_block),    cmocka_unit_test(every_tensor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
