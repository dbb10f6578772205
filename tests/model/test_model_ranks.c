/* test_model_ranks.c - a sequence shared by ranks gives what one rank gives: attention, modal
 * filters, explicit filters, HyenaDNA's long filter in both of its forms; lengths that no number of
 * ranks divides.
 */
#define _GNU_SOURCE
#include "made_model.h"

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define RANKS_UNDER_TSAN
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined RANKS_UNDER_TSAN /* ten times as slow */
#define LENGTH 3001
#else
#define LENGTH 20000
#endif

static const char *const devices[] = {"cpu:1", "cpu:2", "cpu:3", "cpu:4", "cpu:8"};

static crocuta_session *session_on(const crocuta_model *model, const char *device, int64_t length)
{
	crocuta_session_options options;

	crocuta_session_options_init(&options);
	options.device = device;
	options.threads = 2;
	options.max_length = length;
	options.parallel = strchr(device, ':') ? CROCUTA_PARALLEL_SEQUENCE : CROCUTA_PARALLEL_AUTO;
	return new_session(model, &options);
}

static void run(crocuta_session *session, const uint8_t *tokens, int64_t length, int layer,
		collected *c)
{
	const crocuta_sequence q = {.tokens = tokens, .length = length};
	const crocuta_request request = {
		.layer = layer, .want_hidden = 1, .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	for (int64_t i = 0; i < length * c->width; i++)
		c->hidden[i] = NAN;
	if (crocuta_session_run(session, &q, 1, &request, &error))
		fail_msg("%s", error.message);
}

/* As run(), with logits: of the last layer. */
static void run_logits(crocuta_session *session, const uint8_t *tokens, int64_t length,
		       collected *c)
{
	const crocuta_sequence q = {.tokens = tokens, .length = length, .report_from = length / 2};
	const crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	for (int64_t i = 0; i < length * c->vocabulary; i++)
		c->logits[i] = 0;
	if (crocuta_session_run(session, &q, 1, &request, &error))
		fail_msg("%s", error.message);
}

/* Random bases as tokens, and some N. */
static void fill_tokens(const crocuta_model *model, uint8_t *tokens, int64_t length)
{
	uint32_t seed = 7;

	for (int64_t i = 0; i < length; i++) {
		seed = seed * 1664525 + 1013904223;
		tokens[i] = crocuta_model_token(model, i % 997 < 5 ? 'N' : "ACGT"[seed >> 30]);
	}
}

/* On all numbers of ranks against `single`; lengths cut the sequence short. */
static void compare(const crocuta_model *model, const char *single, const int64_t *lengths,
		    int count)
{
	uint8_t *tokens = malloc(LENGTH);
	collected expected, c;

	fill_tokens(model, tokens, LENGTH);
	for (int i = 0; i < count; i++) {
		crocuta_session *one = session_on(model, single, lengths[i]);

		collect_new(&expected, model, 1, lengths[i]);
		collect_new(&c, model, 1, lengths[i]);
		run(one, tokens, lengths[i], -1, &expected);
		if (lengths[i] < 3000)
			run_logits(one, tokens, lengths[i], &expected);
		crocuta_session_free(one);
		for (size_t d = 0; d < sizeof devices / sizeof *devices; d++) {
			crocuta_session *session = session_on(model, devices[d], lengths[i]);
			double off;

			run(session, tokens, lengths[i], -1, &c);
			if (lengths[i] < 3000) {
				run_logits(session, tokens, lengths[i], &c);
				off = largest_difference(c.logits, expected.logits,
							 lengths[i] * c.vocabulary);
				if (!(off <= 4e-4)) /* they reach 100 */
					fail_msg("%lld tokens on %s: logits off by %g",
						 (long long)lengths[i], devices[d], off);
			}
			crocuta_session_free(session);
			off = largest_difference(c.hidden, expected.hidden, lengths[i] * c.width);
			if (!(off <= 1e-4))
				fail_msg("%lld tokens on %s: hidden off by %g",
					 (long long)lengths[i], devices[d], off);
		}
		collect_free(&expected);
		collect_free(&c);
	}
	free(tokens);
}

/* Every position of every layer, from a position on, lengths up and down in one session. */
static void in_one_session(void **state)
{
	static const int64_t lengths[] = {1400, 3, 700, 1400};
	crocuta_model *model = open_model("test-data/golden/evo2-d128-n8");
	crocuta_session *one = session_on(model, "cpu", 1400);
	crocuta_session *several = session_on(model, "cpu:3", 1400);
	uint8_t *tokens = malloc(1400);
	collected a, b;

	(void)state;
	fill_tokens(model, tokens, 1400);
	collect_new(&a, model, 1, 1400);
	collect_new(&b, model, 1, 1400);
	for (int i = 0; i < 4; i++)
		for (int layer = 0; layer <= 8; layer += 2) {
			double off;

			run(one, tokens, lengths[i], layer, &a);
			run(several, tokens, lengths[i], layer, &b);
			off = largest_difference(a.hidden, b.hidden, lengths[i] * a.width);
			if (!(off <=
			      (layer < 8 ? 2e-3 : 1e-4))) /* the residual stream reaches tens */
				fail_msg("%lld tokens, layer %d: off by %g", (long long)lengths[i],
					 layer, off);
		}
	collect_free(&a);
	collect_free(&b);
	free(tokens);
	crocuta_session_free(one);
	crocuta_session_free(several);
	crocuta_model_close(model);
}

/* Filters that reach over more rows than a chunk has, and over whole segments. */
static void long_explicit_filters(void **state)
{
	const int64_t lengths[] = {512, 1500, 40};
	crocuta_model *model =
		made_by("random_stack", "--width 32 --heads 2 --inner 48 --groups 4 --layers SMM* "
					"--max-length 8192 --taps 600");

	(void)state;
	compare(model, "cpu", lengths, 3);
	crocuta_model_close(model);
}

static void hyenadna_with_attention(void **state)
{
	const int64_t lengths[] = {258, 100, 1};
	crocuta_model *model = open_model("test-data/hybrid/hyenadna-attention");

	(void)state;
	compare(model, "cpu", lengths, 3);
	crocuta_model_close(model);
}

static void evo1_8k(void **state)
{
	const int64_t lengths[] = {1500, 77};
	crocuta_model *model = open_model("test-data/golden/evo1-d128-n6");

	(void)state;
	compare(model, "cpu", lengths, 2);
	crocuta_model_close(model);
}

static void evo1(void **state)
{
	const int64_t lengths[] = {LENGTH, 1, 2, 130, 1151};
	crocuta_model *model = open_model("test-data/golden/evo1-d128-n6-rope16");

	(void)state;
	compare(model, "cpu", lengths, 5);
	crocuta_model_close(model);
}

static void evo2(void **state)
{
	const int64_t lengths[] = {LENGTH, 1, 9, 131, 2049};
	crocuta_model *model = open_model("test-data/golden/evo2-d128-n8");

	(void)state;
	compare(model, "cpu", lengths, 5);
	crocuta_model_close(model);
}

/* "cpu" is the engine of HyenaDNA itself here, another program than the ranks'. */
static void hyenadna(void **state)
{
	const int64_t lengths[] = {1, 7, 500, 1026};
	crocuta_model *model = open_model("test-data/golden/hyenadna-d128-n2-m1026");

	(void)state;
	compare(model, "cpu", lengths, 4);
	crocuta_model_close(model);
}

static void hyenadna_near_far(void **state)
{
	const int64_t lengths[] = {LENGTH, 16385};
	crocuta_model *model = made_model("--width 40 --inner 64 --layers 2 --max-length 65538");
	crocuta_session_options options;
	crocuta_plan plan;
	crocuta_error error = {0};

	(void)state;
	crocuta_session_options_init(&options);
	options.device = "cpu:4";
	options.parallel = CROCUTA_PARALLEL_SEQUENCE;
	options.max_length = 20000;
	assert_int_equal(crocuta_session_plan(model, &options, &plan, &error), 0);
	assert_string_equal(plan.convolution, "nearfar");
	assert_int_equal(plan.ranks, 4);
	compare(model, "cpu", lengths, LENGTH < 16385 ? 1 : 2);
	crocuta_model_close(model);
}

static void hyenadna_rough(void **state)
{
	const int64_t lengths[] = {LENGTH};
	crocuta_model *model =
		made_model("--width 40 --inner 64 --layers 2 --max-length 65538 --rough");
	crocuta_session_options options;
	crocuta_plan plan;
	crocuta_error error = {0};

	(void)state;
	crocuta_session_options_init(&options);
	options.device = "cpu:3";
	options.parallel = CROCUTA_PARALLEL_SEQUENCE;
	options.max_length = 20000;
	assert_int_equal(crocuta_session_plan(model, &options, &plan, &error), 0);
	assert_string_equal(plan.convolution, "fft");
	compare(model, "cpu", lengths, 1);
	crocuta_model_close(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_one_session),
		cmocka_unit_test(long_explicit_filters),
		cmocka_unit_test(hyenadna_with_attention),
		cmocka_unit_test(evo1_8k),
		cmocka_unit_test(evo1),
		cmocka_unit_test(evo2),
		cmocka_unit_test(hyenadna),
		cmocka_unit_test(hyenadna_near_far),
		cmocka_unit_test(hyenadna_rough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
