/* implicit_sample.h - implicit filters with random weights of the published shape, for tests. */
#ifndef CR_TESTS_IMPLICIT_SAMPLE_H
#define CR_TESTS_IMPLICIT_SAMPLE_H

#include "ops_test.h"

#define IMPLICIT_ARRAYS 12

typedef struct implicit_sample {
	cr_filter_weights weights;
	cr_implicit_filter_arguments a;
	float *array[IMPLICIT_ARRAYS];
	int arrays;
} implicit_sample;

static inline float *implicit_array(implicit_sample *s, int64_t count, double scale, uint64_t seed)
{
	return s->array[s->arrays++] = random_values(count, scale, seed);
}

/* Random weights; the sine frequency is near 10 as at the start of training. gain scales the last
 * layer so that taps are of the size that a window of M wants. */
static inline void implicit_sample_new(implicit_sample *s, int64_t width, int64_t order,
				       int64_t features, int64_t max_length, int64_t inner,
				       double gain)
{
	const double slow = log(0.01) / 1.5, fast = log(0.01) / 0.3;
	cr_filter_weights *w = &s->weights;
	float *values;

	memset(s, 0, sizeof *s);
	w->deltas = values = implicit_array(s, width, 1, 1);
	for (int64_t d = 0; d < width; d++)
		values[d] = (float)(slow + (fast - slow) * (double)d / (double)(width - 1));
	w->frequency = values = implicit_array(s, order, 0.5, 2);
	for (int64_t f = 0; f < order; f++)
		values[f] += 10;
	w->in_weight = implicit_array(s, order * features, 0.25, 3);
	w->in_bias = implicit_array(s, order, 0.25, 4);
	for (int64_t i = 0; i < inner; i++) {
		w->inner_weight[i] =
			implicit_array(s, order * order, 0.3 / sqrt((double)order), 5 + 2 * i);
		w->inner_bias[i] = implicit_array(s, order, 0.05, 6 + 2 * i);
	}
	w->out_weight = implicit_array(s, width * order, gain / sqrt((double)order), 20);
	w->skip = implicit_array(s, width, 1, 21);
	s->a = (cr_implicit_filter_arguments){
		.weights = w,
		.width = width,
		.order = order,
		.features = features,
		.max_length = max_length,
		.inner = inner,
		.shift = 0.05,
		.with_skip = 1,
	};
}

static inline void implicit_sample_free(implicit_sample *s)
{
	for (int i = 0; i < s->arrays; i++)
		cr_free(s->array[i]);
}

#endif
