/* test_task_learn_choice.c - what is kept of a fit: l2 and temperature; and what happens when something is wrong. */
#include "test_task_learn_support.h"

/* ---- choice and temperature ------------------------------------------------------------------ */

struct heard {
	int lines, polls, stop_at;
	char text[8][200];
	int levels[8];
	size_t most; /* bytes in use at a poll */
};

static void hear(void *user, int level, const char *message)
{
	struct heard *heard = user;

	assert_true(heard->lines < 8);
	heard->levels[heard->lines] = level;
	(void)snprintf(heard->text[heard->lines++], sizeof heard->text[0], "%s", message);
}

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static int polled(void *user)
{
	struct heard *heard = user;
	size_t now = in_use();

	heard->most = now > heard->most ? now : heard->most;
	return ++heard->polls == heard->stop_at;
}

static void best_l2_is_kept(void **state)
{
	static const double l2[] = {1e-6, 10, 0.03, 0.03};
	struct data train = make_data(60, 40, 2, 0.25, 51), valid = make_data(500, 40, 2, 0.25, 52);
	struct heard heard = {0};
	cr_learn_options options = linear_options(2);
	cr_learned learned;

	(void)state;
	options.l2 = l2;
	options.l2_count = 4;
	options.log = hear;
	options.poll = polled;
	options.user = &heard;
	learned = fit(&train.examples, &valid.examples, &options);
	near(learned.l2, 0.03, 0);
	assert_int_equal(heard.lines, 4);
	assert_int_equal(heard.levels[0], CROCUTA_LOG_INFO);
	assert_non_null(strstr(heard.text[0], "l2 10:"));
	assert_non_null(strstr(heard.text[3], "l2 1e-06:"));
	assert_true(heard.polls > 10);
	cr_learned_free(&learned);
	free_data(&train);
	free_data(&valid);
}

/* Two identical candidates apart from the penalty, on features that say nothing: constant ones. */
static void ties_go_to_the_larger_l2(void **state)
{
	static const double l2[] = {1e-3, 1e-1, 1e-2};
	struct data train = make_data(60, 3, 2, 0, 61), valid = make_data(50, 3, 2, 0, 62);
	cr_learn_options options = linear_options(2);
	cr_learned learned;

	(void)state;
	for (int64_t i = 0; i < 60 * 3; i++)
		train.x[i] =
			1234.567f + (i % 3 == 2 && i < 90 ? 0.0002f : 0); /* one: rounding alone */
	options.l2 = l2;
	options.l2_count = 3;
	learned = fit(&train.examples, &valid.examples, &options);
	near(learned.l2, 1e-1, 0);
	for (int i = 0; i < 6; i++)
		near(learned.output_weight[i], 0, 0);
	cr_learned_free(&learned);
	free_data(&train);
	free_data(&valid);
}

/* A fit to few examples is too sure of itself. */
static void temperature_helps(void **state)
{
	static const double l2[] = {1e-6};
	struct data train = make_data(80, 30, 2, 0.25, 71), valid = make_data(600, 30, 2, 0.25, 72);

	(void)state;
	for (int hidden = 0; hidden < 2; hidden++) {
		cr_learn_options options = linear_options(2);
		cr_learned learned;
		double loss;

		options.l2 = l2;
		options.calibrate = 1;
		options.learner = hidden ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR;
		options.hidden = 6;
		options.epochs = hidden ? 5 : 0;
		learned = fit(&train.examples, &valid.examples, &options);
		loss = loss_of(&learned, &valid.examples, NULL);
		assert_true(loss <= learned.valid_loss + 1e-6);
		if (!hidden) {
			assert_true(learned.temperature > 1.2 && learned.temperature <= 20.001);
			assert_true(loss < learned.valid_loss - 0.05);
		}
		cr_learned_free(&learned);
	}
	free_data(&train);
	free_data(&valid);
}

/* Log loss of two classes with targets (n + 1) / (n + 2), n the examples of the class. */
static double smoothed_loss(const double *logits, const int32_t *label, int rows, double temperature)
{
	double count[2] = {0, 0}, loss = 0;

	for (int i = 0; i < rows; i++)
		count[label[i]]++;
	for (int i = 0; i < rows; i++) {
		double scaled[2], target = (count[label[i]] + 1) / (count[label[i]] + 2);

		for (int right = 0; right < 2; right++) {
			scaled[0] = logits[2 * i] / temperature;
			scaled[1] = logits[2 * i + 1] / temperature;
			loss += (right ? target : 1 - target) *
				cr_softmax(scaled, 2, right ? label[i] : 1 - label[i]);
		}
	}
	return loss;
}

static void temperature_by_search(void **state)
{
	enum { ROWS = 400 };
	double logits[2 * ROWS], temperature = NAN, at_most, at_least;
	int32_t label[ROWS];
	struct data data = make_data(4, 1, 2, 0, 1);
	struct inside inside;
	uint64_t seed = 5;

	(void)state;
	make_inside(&inside, &data, 2);
	for (int i = 0; i < ROWS; i++) {
		logits[2 * i] = 0;
		logits[2 * i + 1] = 4 * normal(&seed);
		label[i] = uniform(&seed) < 1 / (1 + exp(-logits[2 * i + 1] / 3));
	}
	assert_int_equal(cr_fit_temperature(&inside.learning, logits, label, ROWS, &temperature),
			 0);
	assert_true(temperature > 2 && temperature < 4.5);
	for (int step = -1; step <= 1; step += 2)
		assert_true(smoothed_loss(logits, label, ROWS, temperature) <
			    smoothed_loss(logits, label, ROWS, temperature * (1 + 0.01 * step)));
	for (int i = 0; i < ROWS; i++)
		label[i] = logits[2 * i + 1] > 0; /* never wrong: what ROWS examples allow, not certainty */
	assert_int_equal(cr_fit_temperature(&inside.learning, logits, label, ROWS, &at_least), 0);
	assert_true(at_least > 0.06 && at_least < 1);
	for (int i = 0; i < ROWS; i++)
		label[i] = logits[2 * i + 1] < 0; /* always wrong */
	assert_int_equal(cr_fit_temperature(&inside.learning, logits, label, ROWS, &at_most), 0);
	near(at_most, 20, 1e-9);
	free_data(&data);
}

/* ---- failures and memory --------------------------------------------------------------------- */

static int code_of(const cr_examples *train, const cr_examples *valid,
		   const cr_learn_options *options, const char *says)
{
	cr_learned learned;
	crocuta_error error = {0};
	int code;

	memset(&learned, 0xff, sizeof learned);
	code = cr_learn(train, valid, options, &learned, &error);
	assert_int_equal(code, error.code);
	if (!code || !strstr(error.message, says))
		fail_msg("code %d, \"%s\" without \"%s\"", code, error.message, says);
	assert_null(learned.output_weight);
	return code;
}

static void bad_tables_are_refused(void **state)
{
	static const double negative[] = {-1};
	struct data train = make_data(50, 9, 3, 0.5, 81), valid = make_data(40, 9, 3, 0.5, 82);
	struct heard heard = {.stop_at = 3};
	cr_learn_options options = linear_options(3);
	const cr_examples *a = &train.examples, *b = &valid.examples;

	(void)state;
	options.classes = 4;
	assert_int_equal(code_of(a, b, &options, "no validation example of class 3"),
			 CROCUTA_EINPUT);
	options.classes = 2;
	assert_int_equal(code_of(a, b, &options, "class 2, of 2"), CROCUTA_EARG);
	options.classes = 1;
	assert_int_equal(code_of(a, b, &options, "two classes"), CROCUTA_EARG);
	options.classes = 3;
	options.l2 = negative;
	assert_int_equal(code_of(a, b, &options, "l2 -1"), CROCUTA_EARG);
	options.l2_count = 0;
	assert_int_equal(code_of(a, b, &options, "no l2"), CROCUTA_EARG);
	options = linear_options(3);
	options.learner = CR_LEARN_HIDDEN;
	assert_int_equal(code_of(a, b, &options, "0 units"), CROCUTA_EARG);
	options.learner = CR_LEARN_LINEAR;
	valid.x[9 * 7 + 8] = INFINITY;
	assert_int_equal(code_of(a, b, &options, "validation example 7"), CROCUTA_ENUMERIC);
	train.x[9 * 49] = NAN;
	assert_int_equal(code_of(a, b, &options, "training example 49"), CROCUTA_ENUMERIC);
	train.x[9 * 49] = valid.x[9 * 7 + 8] = 0;
	valid.examples.features.columns = 8;
	assert_int_equal(code_of(a, b, &options, "9 and 8 features"), CROCUTA_EARG);
	valid.examples.features.columns = 9;
	for (int learner = 0; learner < 2; learner++) {
		options.learner = learner ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR;
		options.hidden = 4;
		options.poll = polled;
		options.user = &heard;
		for (heard.stop_at = 1; heard.stop_at < 30; heard.stop_at += 4) {
			heard.polls = 0;
			assert_int_equal(code_of(a, b, &options, "stopped"), CROCUTA_ESTOPPED);
		}
	}
	free_data(&train);
	free_data(&valid);
}

static void every_allocation_may_fail(void **state)
{
	struct data train = make_data(50, 9, 3, 0.5, 81), valid = make_data(40, 9, 3, 0.5, 82);
	cr_learn_options options = linear_options(3);

	(void)state;
	options.calibrate = 1;
	options.hidden = 3;
	options.epochs = 2;
	for (int learner = 0; learner < 2; learner++) {
		int failures = 0;

		options.learner = learner ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR;
		for (;; failures++) {
			cr_learned learned;
			crocuta_error error = {0};
			int code;

			cr_memory_fail_at(failures + 1);
			code = cr_learn(&train.examples, &valid.examples, &options, &learned,
					&error);
			cr_memory_fail_at(0);
			cr_learned_free(&learned);
			if (!code)
				break;
			assert_int_equal(code, CROCUTA_EMEMORY);
		}
		assert_true(failures > 10);
	}
	free_data(&train);
	free_data(&valid);
}

/* What is in use when poll is called, against what was said. The sanitizers' allocators count
 * nothing. */
static void bytes_are_honest(void **state)
{
	struct data train = make_data(1500, 30, 3, 0.2, 91),
		    valid = make_data(20000, 30, 3, 0.2, 92);

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct heard heard = {0};
		cr_learn_options options = linear_options(3);
		cr_learned learned;
		int64_t said, used;
		size_t before;

		options.calibrate = kind % 2; /* then the validation part's logits are the most */
		options.learner = kind / 2 ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR;
		options.hidden = 20;
		options.epochs = 2;
		options.threads = 2;
		options.poll = polled;
		options.user = &heard;
		said = cr_learn_bytes(&options, 30, 1500, 20000);
		before = in_use();
		learned = fit(&train.examples, &valid.examples, &options);
		used = (int64_t)heard.most - (int64_t)before;
		if (before && heard.most && (used > said + 8192 || used < said * 9 / 10))
			fail_msg("kind %d: %lld bytes in use, %lld were said", kind,
				 (long long)used, (long long)said);
		cr_learned_free(&learned);
	}
	free_data(&train);
	free_data(&valid);
}

static void apply_says_nan_of_nan(void **state)
{
	float weight[] = {1, 2, 3, 4}, bias[] = {0, 1}, x[] = {1, 2, NAN, 0, INFINITY, 1, -3, 1};
	cr_learned learned = {
		.features = 2, .classes = 2, .output_weight = weight, .output_bias = bias};
	cr_features table = {.rows = 4, .columns = 2, .dense = x};
	double p[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(cr_learned_apply(&learned, &table, 1, p, &error), 0);
	near(p[1], 1 / (1 + exp(5.0 - 12)), 1e-15);
	near(p[0] + p[1], 1, 1e-15);
	assert_true(isnan(p[2]) && isnan(p[3]) && isnan(p[4]) && isnan(p[5]));
	near(p[7], 1 / (1 + exp(-1.0 + 4)), 1e-15);
	table.columns = 3;
	assert_int_equal(cr_learned_apply(&learned, &table, 1, p, &error), CROCUTA_EARG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(best_l2_is_kept),
		cmocka_unit_test(ties_go_to_the_larger_l2),
		cmocka_unit_test(temperature_helps),
		cmocka_unit_test(temperature_by_search),
		cmocka_unit_test(bad_tables_are_refused),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(bytes_are_honest),
		cmocka_unit_test(apply_says_nan_of_nan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
