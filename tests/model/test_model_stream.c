/* test_model_stream.c - what a stream computes beyond the model's length, by its definition.
 *
 * Position t of block i sees the source positions of blocks i - reach .. i, all of them, through
 * the filter's formula, which goes on past M (docs/numerics.md). Summed here by plain loops over
 * the reference operators, for one block of fixture G1's network without stored position tables.
 */
#include "../ops/fixture_g1.h"

#include "golden.h"
#include "model/model_internal.h"

#define LENGTH 1500
#define D G1_WIDTH

static uint8_t tokens[LENGTH];

/* The gated long convolution under the block rule: gate becomes the mixer's output. */
static void mix_by_definition(const cr_network *network, const float *v, float *gate, int64_t block,
			      int64_t reach)
{
	const int64_t taps = (reach + 1) * block;
	double *offsets = malloc((size_t)taps * sizeof *offsets);
	double *h = malloc((size_t)(taps * D) * sizeof *h);
	const cr_implicit_filter_arguments a = {
		.weights = &network->block[0].filter,
		.width = D,
		.order = G1_ORDER,
		.features = G1_FEATURES,
		.max_length = network->max_length,
		.inner = 2,
		.shift = network->filter_shift,
		.with_skip = 1,
		.offsets = offsets,
		.count = taps,
		.values = h,
	};

	for (int64_t n = 0; n < taps; n++)
		offsets[n] = (double)n;
	RUN(reference(), implicit_filter, &a);
	for (int64_t t = 0; t < LENGTH; t++)
		for (int c = 0; c < D; c++) {
			int64_t oldest = (t / block - reach) * block;
			double sum = 0;

			for (int64_t s = oldest > 0 ? oldest : 0; s <= t; s++)
				sum += h[(t - s) * D + c] * v[s * D + c];
			gate[t * D + c] = (float)(sum * gate[t * D + c]);
		}
	free(offsets);
	free(h);
}

static void linear(const float *x, const float *weight, const float *bias, float *y, int64_t in,
		   int64_t out, int accumulate)
{
	const cr_linear_arguments a = {.x = x, .weight = weight, .bias = bias, .y = y,
				       .rows = LENGTH, .in = in, .out = out,
				       .accumulate = accumulate};

	RUN(reference(), linear, &a);
}

static void layer_norm(const float *x, const float *weight, const float *bias, float *y)
{
	const cr_layer_norm_arguments a = {.x = x, .weight = weight, .bias = bias, .y = y,
					   .rows = LENGTH, .width = D, .epsilon = 1e-5};

	RUN(reference(), layer_norm, &a);
}

/* The residual behind block 0, (LENGTH, D); free with cr_free. */
static float *block_by_definition(const cr_network *network, int64_t block, int64_t reach)
{
	const cr_block_weights *w = &network->block[0];
	float *x = poisoned(LENGTH * D), *normal = poisoned(LENGTH * D);
	float *u = poisoned(LENGTH * 3 * D), *x0 = poisoned(LENGTH * D);
	float *v = poisoned(LENGTH * D), *hidden = poisoned(LENGTH * G1_INNER);
	const cr_embed_arguments embed = {.table = network->embedding, .tokens = tokens, .y = x,
					  .rows = LENGTH, .width = D,
					  .vocabulary = G1_VOCABULARY};
	const cr_short_filter_gate_arguments gates = {.u = u, .weight = w->short_weight,
						      .bias = w->short_bias, .x0 = x0,
						      .gated = v, .rows = LENGTH, .width = D};
	const cr_gelu_arguments gelu = {.x = hidden, .y = hidden, .count = LENGTH * G1_INNER};

	RUN(reference(), embed, &embed);
	layer_norm(x, w->norm1_weight, w->norm1_bias, normal);
	linear(normal, w->in_weight, w->in_bias, u, D, 3 * D, 0);
	RUN(reference(), short_filter_gate, &gates);
	mix_by_definition(network, v, x0, block, reach);
	linear(x0, w->out_weight, w->out_bias, x, D, D, 1);
	layer_norm(x, w->norm2_weight, w->norm2_bias, normal);
	linear(normal, w->fc1_weight, w->fc1_bias, hidden, D, G1_INNER, 0);
	RUN(reference(), gelu, &gelu);
	linear(hidden, w->fc2_weight, w->fc2_bias, x, G1_INNER, D, 1);
	cr_free(normal);
	cr_free(u);
	cr_free(x0);
	cr_free(v);
	cr_free(hidden);
	return x;
}

static void equals_its_definition_beyond_the_window(void **state)
{
	crocuta_request request = {.layer = 1, .want_hidden = 1, .rows = collect_rows};
	crocuta_session_options o;
	crocuta_error error = {0};
	struct crocuta_model model;
	const crocuta_plan *plan;
	crocuta_session *s;
	double scale = 0;
	float *expected;
	collected c;
	g1_fixture g1;

	(void)state;
	g1_build(&g1, 0.05);
	for (int i = 0; i < G1_LAYERS; i++)
		g1.block[i].filter.z = g1.block[i].filter.t = NULL;
	for (int i = 0; i < LENGTH; i++)
		tokens[i] = (uint8_t)(7 + i * i / 7 % 5);
	memset(&model, 0, sizeof model);
	model.network = g1.network;
	model.info.width = D;
	model.info.vocabulary = G1_VOCABULARY;
	crocuta_session_options_init(&o);
	o.stream = 1;
	s = new_session(&model, &o);
	plan = crocuta_session_get_plan(s);
	assert_true(plan->stream_context >= G1_LENGTH && plan->block * 4 < LENGTH);
	collect_new(&c, &model, 1, LENGTH);
	request.user = &c;
	assert_int_equal(crocuta_session_stream(s, tokens, LENGTH, 1, &request, &error), 0);
	expected = block_by_definition(&g1.network, plan->block,
				       (plan->stream_context - 1) / plan->block);
	for (int i = 0; i < LENGTH * D; i++)
		scale = fabs(expected[i]) > scale ? fabs(expected[i]) : scale;
	assert_true(largest_difference(c.hidden, expected, LENGTH * D) <= 1e-5 * scale);
	/* and the rule matters: one block more in sight would be seen */
	cr_free(expected);
	expected = block_by_definition(&g1.network, plan->block,
				       (plan->stream_context - 1) / plan->block + 1);
	assert_true(largest_difference(c.hidden, expected, LENGTH * D) > 1e-3 * scale);
	cr_free(expected);
	collect_free(&c);
	crocuta_session_free(s);
	g1_free(&g1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_its_definition_beyond_the_window),
	};

	return cmocka_run_group_tests_name("model stream", tests, NULL, NULL);
}
