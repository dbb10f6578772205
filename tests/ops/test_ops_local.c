/* test_ops_local.c - the fused tile pass against the reference network, and its independence of
 * threads, cuts and the size of the OpenMP team it is given. */
#include <omp.h>

#include "fixture_g1.h"

#include "backend/cpu/local.h"
#include "backend/ref/reference_forward.h"

#define LENGTH G1_LENGTH
#define MAX_THREADS 7

/* A packed network, its scratch, and what passes 0 and 1 left behind. */
typedef struct sample {
	g1_fixture fixture;
	cr_packed_network network;
	cr_tile_scratch scratch[MAX_THREADS];
	cr_activations act;
	float *history[2]; /* of passes 0 and 1 */
	float *mixed;      /* the mixer's output between the passes: any lines will do */
} sample;

static void sample_new(sample *s, const cr_kernels *kernels)
{
	crocuta_error error = {0};

	g1_build(&s->fixture, 0.05);
	assert_int_equal(cr_packed_network_init(&s->fixture.network, kernels, &s->network, &error),
			 0);
	for (int i = 0; i < MAX_THREADS; i++)
		assert_int_equal(cr_tile_scratch_alloc(&s->network, &s->scratch[i], &error), 0);
	s->act.stride = (LENGTH + 1) * CR_LINE;
	s->act.residual = poisoned(s->act.stride);
	s->act.v = poisoned(s->act.stride);
	s->act.gate = poisoned(s->act.stride);
	s->history[0] = cr_floats(6 * CR_LINE);
	s->history[1] = cr_floats(6 * CR_LINE);
	s->mixed = random_values(s->act.stride, 1, 9);
	for (int64_t i = 0; i < s->act.stride; i++)
		if (i % CR_LINE >= G1_WIDTH)
			s->mixed[i] = 0;
}

static void sample_free(sample *s)
{
	for (int i = 0; i < MAX_THREADS; i++)
		cr_tile_scratch_free(&s->scratch[i]);
	cr_packed_network_free(&s->network);
	cr_free(s->act.residual);
	cr_free(s->act.v);
	cr_free(s->act.gate);
	cr_free(s->history[0]);
	cr_free(s->history[1]);
	cr_free(s->mixed);
	g1_free(&s->fixture);
}

/* Passes 0 and 1 in calls of at most `chunk` rows, with made-up mixing in between. The output of
 * each pass, v and gate, goes to out (4, LENGTH, 32), the last residual behind it. */
static void run(sample *s, int64_t chunk, int threads, float *out)
{
	const size_t bytes = LENGTH * CR_LINE * sizeof *out;

	for (int64_t i = 0; i < s->act.stride; i++)
		s->act.residual[i] = s->act.v[i] = s->act.gate[i] = NAN;
	for (int64_t layer = 0; layer < 2; layer++) {
		memset(s->history[layer], 0, 6 * CR_LINE * sizeof(float));
		for (int64_t row = 0; row < LENGTH; row += chunk) {
			const cr_activations act = {
				s->act.residual + row * CR_LINE,
				s->act.v + row * CR_LINE,
				s->act.gate + row * CR_LINE,
				s->act.stride,
			};

			cr_local_pass(&s->network, layer, g1_tokens + row,
				      LENGTH - row < chunk ? LENGTH - row : chunk, &act,
				      s->history[layer], 0, s->scratch, threads);
		}
		memcpy(out + 2 * layer * LENGTH * CR_LINE, s->act.v, bytes);
		memcpy(out + (2 * layer + 1) * LENGTH * CR_LINE, s->act.gate, bytes);
		memcpy(s->act.gate, s->mixed, bytes);
	}
	memcpy(out + 4 * LENGTH * CR_LINE, s->act.residual, bytes);
}

/* The same from the reference operators, (L, D) each: v and gate of both passes, residual. */
static void run_reference(const sample *s, float *out)
{
	const cr_network *n = &s->fixture.network;
	float residual[LENGTH * G1_WIDTH], normed[LENGTH * G1_WIDTH], wide[LENGTH * G1_INNER];
	float mixed[LENGTH * G1_WIDTH];
	cr_embed_arguments embed = {n->embedding, g1_tokens, residual, LENGTH, G1_WIDTH, 16};

	RUN(reference(), embed, &embed);
	for (int i = 0; i < LENGTH * G1_WIDTH; i++)
		mixed[i] = s->mixed[i / G1_WIDTH * CR_LINE + i % G1_WIDTH];
	for (int layer = 0; layer < 2; layer++) {
		const cr_block_weights *b = &n->block[layer], *before = &n->block[0];
		float *v = out + 2 * layer * LENGTH * G1_WIDTH, *gate = v + LENGTH * G1_WIDTH;
		cr_linear_arguments mix = {mixed,  before->out_weight, before->out_bias, residual,
					   LENGTH, G1_WIDTH,           G1_WIDTH,         1,
					   0};
		cr_layer_norm_arguments norm2 = {residual,
						 before->norm2_weight,
						 before->norm2_bias,
						 normed,
						 LENGTH,
						 G1_WIDTH,
						 1e-5};
		cr_linear_arguments fc1 = {normed, before->fc1_weight, before->fc1_bias, wide,
					   LENGTH, G1_WIDTH,           G1_INNER,         0,
					   0};
		cr_gelu_arguments gelu = {wide, wide, LENGTH * G1_INNER};
		cr_linear_arguments fc2 = {wide,   before->fc2_weight, before->fc2_bias, residual,
					   LENGTH, G1_INNER,           G1_WIDTH,         1,
					   0};
		cr_layer_norm_arguments norm1 = {residual, b->norm1_weight, b->norm1_bias, normed,
						 LENGTH,   G1_WIDTH,        1e-5};
		cr_linear_arguments in = {normed,   b->in_weight, b->in_bias, wide, LENGTH,
					  G1_WIDTH, 3 * G1_WIDTH, 0,          0};
		cr_short_filter_gate_arguments gates = {wide, NULL, b->short_weight, b->short_bias,
							gate, v,    LENGTH,          G1_WIDTH};

		if (layer > 0) {
			RUN(reference(), linear, &mix);
			RUN(reference(), layer_norm, &norm2);
			RUN(reference(), linear, &fc1);
			RUN(reference(), gelu, &gelu);
			RUN(reference(), linear, &fc2);
		}
		RUN(reference(), layer_norm, &norm1);
		RUN(reference(), linear, &in);
		RUN(reference(), short_filter_gate, &gates);
	}
	memcpy(out + 4 * LENGTH * G1_WIDTH, residual, sizeof residual);
}

static const cr_kernels *set_kernels(int set)
{
	return cr_kernels_get(kernel_names[set] + strlen("cpu-"));
}

static void matches_reference(void **state)
{
	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++) {
		float out[5 * LENGTH * CR_LINE], expected[5 * LENGTH * G1_WIDTH];
		float actual[5 * LENGTH * G1_WIDTH];
		sample s;

		if (!set_kernels(set))
			continue;
		sample_new(&s, set_kernels(set));
		run(&s, LENGTH, 1, out);
		run_reference(&s, expected);
		for (int i = 0; i < 5 * LENGTH * G1_WIDTH; i++)
			actual[i] = out[i / G1_WIDTH * CR_LINE + i % G1_WIDTH];
		for (int part = 0; part < 5; part++)
			assert_true(agrees("tile pass", actual + part * LENGTH * G1_WIDTH,
					   expected + part * LENGTH * G1_WIDTH, LENGTH * G1_WIDTH,
					   6e-6));
		sample_free(&s);
	}
}

static void cuts_and_threads_change_nothing(void **state)
{
	static const int64_t chunks[] = {1, 2, 3, 7, 14, 33, LENGTH};

	(void)state;
	for (int set = 0; set < KERNEL_SETS; set++) {
		float whole[5 * LENGTH * CR_LINE], out[5 * LENGTH * CR_LINE];
		sample s;

		if (!set_kernels(set))
			continue;
		sample_new(&s, set_kernels(set));
		run(&s, LENGTH, 1, whole);
		for (int c = 0; c < 7; c++)
			for (int threads = 1; threads <= MAX_THREADS; threads++) {
				run(&s, chunks[c], threads, out);
				assert_true(same_bits(out, whole, 5 * LENGTH * CR_LINE));
			}
		sample_free(&s);
	}
}

/* OpenMP may give a smaller team than was asked for: inside a caller's parallel region, under
 * OMP_THREAD_LIMIT, or where threads run out. All rows must be computed all the same. */
static void a_smaller_team_does_all_the_work(void **state)
{
	float whole[5 * LENGTH * CR_LINE], out[5 * LENGTH * CR_LINE];
	sample s;

	(void)state;
	sample_new(&s, cr_kernels_get(NULL));
	run(&s, LENGTH, 1, whole);
	omp_set_max_active_levels(1);
#pragma omp parallel num_threads(2)
	{
#pragma omp single
		run(&s, LENGTH, 3, out); /* the inner team has one thread */
	}
	assert_true(same_bits(out, whole, 5 * LENGTH * CR_LINE));
	sample_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_reference),
		cmocka_unit_test(cuts_and_threads_change_nothing),
		cmocka_unit_test(a_smaller_team_does_all_the_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
