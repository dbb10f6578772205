/* test_ops_fixture_g1.c - the reference forward pass against the numbers that a float64 run of
 * the original code gave for fixture G1 (docs/hyenadna.md 8.1). */
#include "fixture_g1.h"

#include "backend/ref/reference_forward.h"

/* Printed to six decimals; results are rounded to float32 on their way out. */
#define DIGITS 7e-7

static g1_fixture shift5, shift0;

static int build_fixtures(void **state)
{
	(void)state;
	g1_build(&shift5, 0.05);
	g1_build(&shift0, 0);
	return 0;
}

static int free_fixtures(void **state)
{
	(void)state;
	g1_free(&shift5);
	g1_free(&shift0);
	return 0;
}

static void expect(const char *what, const float *actual, const double *printed, int count,
		   double tolerance)
{
	for (int i = 0; i < count; i++)
		if (!(fabs(actual[i] - printed[i]) <= tolerance))
			fail_msg("%s[%d] is %.8f, printed %.6f", what, i, (double)actual[i],
				 printed[i]);
}

static void run(const g1_fixture *f, const uint8_t *tokens, int64_t length, int layer,
		float *hidden, float *logits)
{
	crocuta_error error = {0};

	for (int64_t i = 0; hidden && i < length * G1_WIDTH; i++)
		hidden[i] = NAN;
	for (int64_t i = 0; logits && i < length * G1_VOCABULARY; i++)
		logits[i] = NAN;
	if (cr_reference_forward(&f->network, tokens, length, layer, hidden, logits, &error))
		fail_msg("%s", error.message);
}

static void weights_follow_the_formula(void **state)
{
	static const double embedding[] = {0.995083, 0.891929, 0.668056};
	static const double in[] = {0.060370, -0.069688, -0.190314};
	static const double filter_in[] = {-0.212980, -0.056364, 0.107880};
	static const double frequency[] = {10.861371, 10.619389, 10.293573};

	(void)state;
	expect("embedding", shift5.network.embedding, embedding, 3, DIGITS);
	expect("in_proj", shift5.block[0].in_weight, in, 3, DIGITS);
	expect("implicit_filter.0", shift5.block[0].filter.in_weight, filter_in, 3, DIGITS);
	expect("frequency", shift5.block[0].filter.frequency, frequency, 3, 2 * DIGITS);
}

/* Taps without the skip weight, on the reference and every kernel set. */
static void check_filter(const g1_fixture *f, const double *first, double last, double digits)
{
	double offsets[G1_LENGTH], values[G1_LENGTH * G1_WIDTH];
	const cr_implicit_filter_arguments a = {
		.weights = &f->block[0].filter,
		.width = G1_WIDTH,
		.order = G1_ORDER,
		.features = G1_FEATURES,
		.max_length = G1_LENGTH,
		.inner = 2,
		.shift = f->network.filter_shift,
		.offsets = offsets,
		.count = G1_LENGTH,
		.values = values,
	};

	for (int n = 0; n < G1_LENGTH; n++)
		offsets[n] = n;
	for (int set = -1; set < KERNEL_SETS; set++) {
		const cr_ops *ops = set < 0 ? reference() : kernel_set(set);

		if (!ops)
			continue;
		RUN(ops, implicit_filter, &a);
		for (int n = 0; n < 4; n++)
			assert_true(fabs(values[n * G1_WIDTH] - first[n]) <= 5.1e-7);
		assert_true(fabs(values[33 * G1_WIDTH + 7] - last) <= digits);
	}
}

static void filters_match(void **state)
{
	static const double first5[] = {-0.093635, 0.761972, 0.363305, 0.031301};
	static const double first0[] = {-0.089176, 0.722334, 0.342668, 0.029361};

	(void)state;
	check_filter(&shift5, first5, -0.00166481, 5.1e-9);
	check_filter(&shift0, first0, -7.17341e-09, 5.1e-15);
}

static double sum_of_scores(const float *logits)
{
	cr_log_probability_sums sums = {0};
	const cr_log_probability_arguments a = {
		.logits = logits,
		.targets = g1_tokens + 1,
		.rows = G1_LENGTH - 1,
		.vocabulary = G1_VOCABULARY,
		.sums = &sums,
	};

	RUN(reference(), log_probability, &a);
	assert_int_equal(sums.scored, G1_LENGTH - 1);
	return sums.log_probability;
}

static void shift_005_matches(void **state)
{
	static const double hidden0[] = {1.587012,  0.989979,  0.006840,  -0.942482,
					 -1.430470, -1.117776, -0.157048, 1.127330};
	static const double hidden1[] = {0.603328,  1.615251,  1.386800,  0.655637,
					 -0.542741, -1.255329, -1.361965, -0.941787};
	static const double hidden17[] = {1.326704,  0.985911,  1.412854,  0.375417,
					  -0.126144, -1.344100, -1.422404, -1.075207};
	static const double hidden33[] = {-1.774500, 0.180834, -0.246269, 1.742199,
					  0.439725,  1.284468, -0.722343, -0.388535};
	static const double logits33[] = {-0.789924, 0.364009,  0.073878, -0.509335,
					  0.928042,  -1.316230, 1.661133, -1.951410,
					  2.177513,  -2.332009, 2.409815, -2.408374,
					  2.327732,  -2.170542, 1.941973, -1.649541};
	static const double means[] = {0.360951, 0.116430,  0.456230,  0.046680,
				       0.106067, -0.249510, -0.255249, -0.300731};
	float hidden[G1_LENGTH * G1_WIDTH], logits[G1_LENGTH * G1_VOCABULARY], mean[G1_WIDTH];

	(void)state;
	run(&shift5, g1_tokens, G1_LENGTH, G1_LAYERS, hidden, logits);
	expect("hidden 0", hidden, hidden0, 8, DIGITS);
	expect("hidden 1", hidden + 8, hidden1, 8, DIGITS);
	expect("hidden 17", hidden + 17 * 8, hidden17, 8, DIGITS);
	expect("hidden 33", hidden + 33 * 8, hidden33, 8, DIGITS);
	expect("logits 33", logits + 33 * 16, logits33, 16, DIGITS);
	for (int c = 0; c < G1_WIDTH; c++) {
		double sum = 0;

		for (int n = 0; n < G1_LENGTH; n++)
			sum += hidden[n * G1_WIDTH + c];
		mean[c] = (float)(sum / G1_LENGTH);
	}
	expect("mean hidden", mean, means, 8, DIGITS);
	assert_true(fabs(sum_of_scores(logits) - -179.918460) <= 2e-6);
}

static void shift_0_matches(void **state)
{
	static const double hidden0[] = {1.587165,  0.989320,  0.006570,  -0.943259,
					 -1.430128, -1.117741, -0.156026, 1.127509};
	static const double hidden33[] = {-1.793153, 0.031636, -0.132874, 1.708969,
					  0.626665,  1.248718, -0.642815, -0.519163};
	float hidden[G1_LENGTH * G1_WIDTH], logits[G1_LENGTH * G1_VOCABULARY];

	(void)state;
	run(&shift0, g1_tokens, G1_LENGTH, -1, hidden, logits);
	expect("hidden 0", hidden, hidden0, 8, DIGITS);
	expect("hidden 33", hidden + 33 * 8, hidden33, 8, DIGITS);
	assert_true(fabs(sum_of_scores(logits) - -181.050349) <= 2e-6);
}

static void special_tokens_match(void **state)
{
	static const uint8_t plain[] = {7, 8, 9, 10, 11, 1}, cls[] = {0, 7, 8, 9, 10, 11, 1};
	static const uint8_t pad[] = {4, 4, 4, 7, 8, 9, 10, 11, 1};
	static const double after_plain[] = {-0.821184, -1.462747, -0.853868, -0.432131,
					     0.633995,  1.122483,  1.292814,  1.006513};
	static const double after_cls[] = {-0.852437, -1.442270, -0.865753, -0.408687,
					   0.639920,  1.130106,  1.299596,  0.988096};
	static const double after_pad[] = {-0.786880, -1.459473, -0.869761, -0.452536,
					   0.589147,  1.128252,  1.273230,  1.059047};
	float hidden[9 * G1_WIDTH];

	(void)state;
	run(&shift5, plain, 6, G1_LAYERS, hidden, NULL);
	expect("[SEP]", hidden + 5 * 8, after_plain, 8, DIGITS);
	run(&shift5, cls, 7, G1_LAYERS, hidden, NULL);
	expect("[CLS] [SEP]", hidden + 6 * 8, after_cls, 8, DIGITS);
	run(&shift5, pad, 9, G1_LAYERS, hidden, NULL);
	expect("[PAD] [SEP]", hidden + 8 * 8, after_pad, 8, DIGITS);
}

/* Layer 0 is the embedding; the final norm of the last residual is layer N; a prefix of the input
 * gives a prefix of the output, bit for bit on this direct path. */
static void layers_and_prefixes(void **state)
{
	float hidden[G1_LENGTH * G1_WIDTH], prefix[G1_LENGTH * G1_WIDTH];

	(void)state;
	run(&shift5, g1_tokens, G1_LENGTH, 0, hidden, NULL);
	for (int n = 0; n < G1_LENGTH; n++)
		assert_true(
			same_bits(hidden + n * 8, shift5.network.embedding + g1_tokens[n] * 8, 8));
	for (int layer = 1; layer <= G1_LAYERS; layer++) {
		run(&shift5, g1_tokens, G1_LENGTH, layer, hidden, NULL);
		for (int64_t length = 1; length < G1_LENGTH; length++) {
			run(&shift5, g1_tokens, length, layer, prefix, NULL);
			assert_true(same_bits(prefix, hidden, length * 8));
		}
	}
}

/* Without stored z and t the formula is used, which they are roundings of. */
static void formula_stands_in_for_tables(void **state)
{
	float stored[G1_LENGTH * G1_WIDTH], formula[G1_LENGTH * G1_WIDTH];
	cr_block_weights block[G1_LAYERS];
	g1_fixture other = shift5;

	(void)state;
	memcpy(block, shift5.block, sizeof block);
	other.network.block = block;
	for (int n = 0; n < G1_LAYERS; n++)
		block[n].filter.z = block[n].filter.t = NULL;
	run(&shift5, g1_tokens, G1_LENGTH, G1_LAYERS, stored, NULL);
	run(&other, g1_tokens, G1_LENGTH, G1_LAYERS, formula, NULL);
	assert_true(agrees("formula", formula, stored, G1_LENGTH * G1_WIDTH, 2e-5));
	assert_false(same_bits(formula, stored, G1_LENGTH * G1_WIDTH)); /* so the tables are read */
}

static void bad_requests_are_refused(void **state)
{
	static const uint8_t bad[] = {7, 16};
	float hidden[G1_LENGTH * G1_WIDTH], logits[G1_LENGTH * G1_VOCABULARY];
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(cr_reference_forward(&shift5.network, bad, 2, 2, hidden, NULL, &error),
			 CROCUTA_EINPUT);
	assert_int_equal(cr_reference_forward(&shift5.network, bad, 0, 2, hidden, NULL, NULL),
			 CROCUTA_EARG);
	assert_int_equal(cr_reference_forward(&shift5.network, bad, 35, 2, hidden, NULL, NULL),
			 CROCUTA_EARG);
	assert_int_equal(cr_reference_forward(&shift5.network, bad, 1, 3, hidden, NULL, NULL),
			 CROCUTA_EARG);
	assert_int_equal(cr_reference_forward(&shift5.network, bad, 1, 1, hidden, logits, NULL),
			 CROCUTA_EARG);
}

/* Fail each allocation of a run in turn. */
static void lack_of_memory_is_reported(void **state)
{
	float hidden[G1_LENGTH * G1_WIDTH];
	int64_t count;

	(void)state;
	cr_memory_fail_at(0);
	run(&shift5, g1_tokens, G1_LENGTH, G1_LAYERS, hidden, NULL);
	count = cr_memory_count();
	assert_true(count > 8);
	for (int64_t n = 1; n <= count; n++) {
		cr_memory_fail_at(n);
		assert_int_equal(cr_reference_forward(&shift5.network, g1_tokens, G1_LENGTH,
						      G1_LAYERS, hidden, NULL, NULL),
				 CROCUTA_EMEMORY);
	}
	cr_memory_fail_at(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights_follow_the_formula),
		cmocka_unit_test(filters_match),
		cmocka_unit_test(shift_005_matches),
		cmocka_unit_test(shift_0_matches),
		cmocka_unit_test(special_tokens_match),
		cmocka_unit_test(layers_and_prefixes),
		cmocka_unit_test(formula_stands_in_for_tables),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(lack_of_memory_is_reported),
	};

	return cmocka_run_group_tests(tests, build_fixtures, free_fixtures);
}
