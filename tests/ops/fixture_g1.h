/* fixture_g1.h - the small network of docs/hyenadna.md 8.1, built in memory from a formula.
 *
 * D=8, I=32, N=2, M=34, E=5, F=16, V=16, two inner layers. Tensors are numbered q = 0 .. 48 in the
 * order in which build() fills them; element j of tensor q comes from s = sin(0.37 (j + 1) +
 * 1.3 (q + 1)).
 */
#ifndef CR_TESTS_FIXTURE_G1_H
#define CR_TESTS_FIXTURE_G1_H

#include "ops_test.h"

#define G1_WIDTH 8
#define G1_INNER 32
#define G1_LAYERS 2
#define G1_LENGTH 34
#define G1_FEATURES 5
#define G1_ORDER 16
#define G1_VOCABULARY 16
#define G1_TENSORS 49

typedef struct g1_fixture {
	cr_network network;
	cr_block_weights block[G1_LAYERS];
	float *tensor[G1_TENSORS];
	int tensors;
	float *z, *t, *deltas;
} g1_fixture;

/* How an element follows from s. */
enum g1_kind { G1_PLAIN, G1_FREQUENCY, G1_NORM, G1_BIAS, G1_WEIGHT };

static inline const float *g1_tensor(g1_fixture *f, enum g1_kind kind, int64_t rows, int64_t last)
{
	const int q = f->tensors++;
	float *values = poisoned(rows * last);

	for (int64_t j = 0; j < rows * last; j++) {
		double s = sin(0.37 * (double)(j + 1) + 1.3 * (q + 1));

		switch (kind) {
		case G1_PLAIN:
			break;
		case G1_FREQUENCY:
			s = 10 + s;
			break;
		case G1_NORM:
			s = 1 + 0.1 * s;
			break;
		case G1_BIAS:
			s = 0.1 * s;
			break;
		case G1_WEIGHT:
			s = s / sqrt((double)last);
			break;
		}
		values[j] = (float)s;
	}
	f->tensor[q] = values;
	return values;
}

/* z, t and the decay rates by the formulas of section 2.3, in double, rounded. */
static inline void g1_positions(g1_fixture *f)
{
	const double pi = 3.14159265358979323846, slow = log(0.01) / 1.5, fast = log(0.01) / 0.3;
	const double band[2] = {1e-4, 1.0};

	f->z = poisoned(G1_LENGTH * G1_FEATURES);
	f->t = poisoned(G1_LENGTH);
	f->deltas = poisoned(G1_WIDTH);
	for (int n = 0; n < G1_LENGTH; n++) {
		const double w = 2 * pi * n / G1_LENGTH;
		float *z = f->z + n * G1_FEATURES;

		f->t[n] = z[0] = (float)(n / (G1_LENGTH - 1.0));
		for (int b = 0; b < 2; b++) {
			z[1 + b] = (float)cos(band[b] * w);
			z[3 + b] = (float)-sin(band[b] * w);
		}
	}
	for (int c = 0; c < G1_WIDTH; c++)
		f->deltas[c] = (float)(slow + (fast - slow) * c / (G1_WIDTH - 1.0));
}

static inline void g1_block(g1_fixture *f, cr_block_weights *b)
{
	const int64_t d = G1_WIDTH, i = G1_INNER, o = G1_ORDER;

	b->in_weight = g1_tensor(f, G1_WEIGHT, 3 * d, d);
	b->in_bias = g1_tensor(f, G1_BIAS, 1, 3 * d);
	b->out_weight = g1_tensor(f, G1_WEIGHT, d, d);
	b->out_bias = g1_tensor(f, G1_BIAS, 1, d);
	b->short_weight = g1_tensor(f, G1_WEIGHT, 3 * d, 3);
	b->short_bias = g1_tensor(f, G1_BIAS, 1, 3 * d);
	b->filter.skip = g1_tensor(f, G1_PLAIN, 1, d);
	b->filter.in_weight = g1_tensor(f, G1_WEIGHT, o, G1_FEATURES);
	b->filter.in_bias = g1_tensor(f, G1_BIAS, 1, o);
	b->filter.frequency = g1_tensor(f, G1_FREQUENCY, 1, o);
	for (int inner = 0; inner < 2; inner++) {
		b->filter.inner_weight[inner] = g1_tensor(f, G1_WEIGHT, o, o);
		b->filter.inner_bias[inner] = g1_tensor(f, G1_BIAS, 1, o);
	}
	b->filter.out_weight = g1_tensor(f, G1_WEIGHT, d, o);
	b->filter.z = f->z;
	b->filter.t = f->t;
	b->filter.deltas = f->deltas;
	b->norm1_weight = g1_tensor(f, G1_NORM, 1, d);
	b->norm1_bias = g1_tensor(f, G1_BIAS, 1, d);
	b->fc1_weight = g1_tensor(f, G1_WEIGHT, i, d);
	b->fc1_bias = g1_tensor(f, G1_BIAS, 1, i);
	b->fc2_weight = g1_tensor(f, G1_WEIGHT, d, i);
	b->fc2_bias = g1_tensor(f, G1_BIAS, 1, d);
	b->norm2_weight = g1_tensor(f, G1_NORM, 1, d);
	b->norm2_bias = g1_tensor(f, G1_BIAS, 1, d);
}

static inline void g1_build(g1_fixture *f, double shift)
{
	memset(f, 0, sizeof *f);
	g1_positions(f);
	f->network = (cr_network){
		.width = G1_WIDTH,
		.inner_width = G1_INNER,
		.layers = G1_LAYERS,
		.max_length = G1_LENGTH,
		.vocabulary = G1_VOCABULARY,
		.filter_order = G1_ORDER,
		.features = G1_FEATURES,
		.filter_inner = 2,
		.norm_epsilon = 1e-5,
		.filter_shift = shift,
		.block = f->block,
	};
	f->network.embedding = g1_tensor(f, G1_PLAIN, G1_VOCABULARY, G1_WIDTH);
	f->network.lm_head = f->network.embedding; /* tied */
	for (int n = 0; n < G1_LAYERS; n++)
		g1_block(f, &f->block[n]);
	f->network.norm_weight = g1_tensor(f, G1_NORM, 1, G1_WIDTH);
	f->network.norm_bias = g1_tensor(f, G1_BIAS, 1, G1_WIDTH);
	assert_int_equal(f->tensors, G1_TENSORS);
}

static inline void g1_free(g1_fixture *f)
{
	for (int q = 0; q < f->tensors; q++)
		cr_free(f->tensor[q]);
	cr_free(f->z);
	cr_free(f->t);
	cr_free(f->deltas);
}

/* ACGTNACGGTTACATTGGCCRYacgtUAACCGGT */
static const uint8_t g1_tokens[G1_LENGTH] = {7, 8, 9,  10, 11, 7, 8, 9, 9, 10, 10, 7,
					     8, 7, 10, 10, 9,  9, 8, 8, 6, 6,  6,  6,
					     6, 6, 6,  7,  7,  8, 8, 9, 9, 10};

#endif
