/* test_model_g1.c - fixture G1 (docs/hyenadna.md 8.1: 8 channels, 34 positions, weights by formula)
 * through a session on every kernel set. The reference pass meets the printed digits in
 * tests/ops/test_ops_fixture_g1.c; here the engine is held against printed values and that pass. */
#include "../ops/fixture_g1.h"

#include "backend/ref/reference_forward.h"
#include "golden.h"
#include "model/model_internal.h"

#define TOLERANCE 1e-5

static const char *const sets[] = {"avx512", "avx2", "portable"};

static void run_session(const g1_fixture *g1, const char *isa, const uint8_t *tokens,
			int64_t length, collected *c)
{
	struct crocuta_model model = {.network = g1->network,
				      .info = {.width = G1_WIDTH, .vocabulary = G1_VOCABULARY}};
	crocuta_sequence q = {tokens, length, 0};
	crocuta_request request = {.layer = -1, .want_hidden = 1, .want_logits = 1,
				   .rows = collect_rows, .user = c};
	crocuta_session_options o;
	crocuta_error error = {0};
	crocuta_session *s;

	crocuta_session_options_init(&o);
	o.isa = isa;
	o.threads = 2;
	s = new_session(&model, &o);
	collect_new(c, &model, 1, length);
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
	crocuta_session_free(s);
}

static void equals_the_printed_values(void **state)
{
	static const float last[] = {-1.774500f, 0.180834f, -0.246269f, 1.742199f,
				     0.439725f,	 1.284468f, -0.722343f, -0.388535f};
	static const float logits[] = {-0.789924f, 0.364009f, 0.073878f, -0.509335f};
	g1_fixture g1;

	(void)state;
	g1_build(&g1, 0.05);
	for (int i = 0; i < 3; i++) {
		collected c;

		if (!kernel_set(i))
			continue;
		run_session(&g1, sets[i], g1_tokens, G1_LENGTH, &c);
		assert_true(largest_difference(c.hidden + 33 * G1_WIDTH, last, 8) <= TOLERANCE);
		assert_true(largest_difference(c.logits + 33 * G1_VOCABULARY, logits, 4) <=
			    TOLERANCE);
		collect_free(&c);
	}
	g1_free(&g1);
}

static void equals_the_reference_at_every_length(void **state)
{
	static const double shifts[] = {0.05, 0};

	(void)state;
	for (int k = 0; k < 2; k++) {
		g1_fixture g1;

		g1_build(&g1, shifts[k]);
		for (int64_t length = 1; length <= G1_LENGTH; length++)
			for (int i = 0; i < 3; i++) {
				float hidden[G1_LENGTH * G1_WIDTH];
				float logits[G1_LENGTH * G1_VOCABULARY];
				crocuta_error error = {0};
				collected c;

				if (!kernel_set(i))
					continue;
				assert_int_equal(cr_reference_forward(&g1.network, g1_tokens,
								      length, -1, hidden, logits,
								      &error),
						 0);
				run_session(&g1, sets[i], g1_tokens, length, &c);
				assert_true(largest_difference(c.hidden, hidden,
							       length * G1_WIDTH) <= TOLERANCE);
				assert_true(largest_difference(c.logits, logits,
							       length * G1_VOCABULARY) <=
					    TOLERANCE);
				collect_free(&c);
			}
		g1_free(&g1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_the_printed_values),
		cmocka_unit_test(equals_the_reference_at_every_length),
	};

	return cmocka_run_group_tests_name("model g1", tests, NULL, NULL);
}
