/* test_task_learn_support.h - made data and plain losses, shared by the tests of learn.h. */
#ifndef TEST_TASK_LEARN_SUPPORT_H
#define TEST_TASK_LEARN_SUPPORT_H

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <crocuta/session.h>

#include "base/memory.h"
#include "task/learn.h"
#include "task/learn_internal.h"

#define CLASSES_MAX 8

#define near(value, expected, within) near_at(value, expected, within, __LINE__)

static inline void near_at(double value, double expected, double within, int line)
{
	if (!(fabs(value - expected) <= within))
		fail_msg("line %d: %.12g, expected %.12g", line, value, expected);
}

/* ---- made data ------------------------------------------------------------------------------- */

static inline double uniform(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (double)(*state >> 40) / 16777216.0;
}

static inline double normal(uint64_t *state)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += uniform(state);
	return sum;
}

/* Rows around a mean of their class, in columns of unequal place and scale. */
struct data {
	float *x;
	int32_t *label;
	cr_examples examples;
};

static inline struct data make_data(int64_t rows, int64_t columns, int64_t classes, double apart,
			     uint64_t seed)
{
	struct data data = {.x = cr_calloc((size_t)(rows * columns), sizeof(float)),
			    .label = cr_calloc((size_t)rows, sizeof(int32_t))};
	uint64_t centres = 99;
	double *centre = cr_calloc((size_t)(classes * columns), sizeof *centre);

	assert_true(data.x && data.label && centre);
	for (int64_t i = 0; i < classes * columns; i++)
		centre[i] = apart * normal(&centres);
	for (int64_t i = 0; i < rows; i++) {
		data.label[i] = (int32_t)(i < classes ? i
						      : (int64_t)(uniform(&seed) * uniform(&seed) *
								  (double)classes));
		for (int64_t j = 0; j < columns; j++)
			data.x[i * columns + j] =
				(float)((normal(&seed) + centre[data.label[i] * columns + j]) *
						(0.1 + (double)(j % 5)) +
					(double)(j % 3) * 7 - 5);
	}
	cr_free(centre);
	data.examples =
		(cr_examples){.features = {.rows = rows, .columns = columns, .dense = data.x},
			      .label = data.label};
	return data;
}

static inline void free_data(struct data *data)
{
	cr_free(data->x);
	cr_free(data->label);
}

/* The same numbers as a sparse table; zeros are left out. */
struct sparse {
	int64_t *start;
	int32_t *column;
	float *value;
};

static inline struct sparse make_sparse(const struct data *data, cr_examples *examples)
{
	const cr_features *dense = &data->examples.features;
	const size_t numbers = (size_t)(dense->rows * dense->columns);
	struct sparse sparse = {.start = cr_calloc((size_t)dense->rows + 1, sizeof(int64_t)),
				.column = cr_calloc(numbers, sizeof(int32_t)),
				.value = cr_calloc(numbers, sizeof(float))};
	int64_t entries = 0;

	assert_true(sparse.start && sparse.column && sparse.value);
	for (int64_t i = 0; i < dense->rows; i++) {
		for (int64_t j = 0; j < dense->columns; j++) {
			if (data->x[i * dense->columns + j] == 0)
				continue;
			sparse.column[entries] = (int32_t)j;
			sparse.value[entries++] = data->x[i * dense->columns + j];
		}
		sparse.start[i + 1] = entries;
	}
	*examples = (cr_examples){.features = {.rows = dense->rows,
					       .columns = dense->columns,
					       .start = sparse.start,
					       .column = sparse.column,
					       .value = sparse.value},
				  .label = data->label};
	return sparse;
}

static inline void free_sparse(struct sparse *sparse)
{
	cr_free(sparse->start);
	cr_free(sparse->column);
	cr_free(sparse->value);
}

static const double one_l2[] = {1e-3};

static inline cr_learn_options linear_options(int64_t classes)
{
	return (cr_learn_options){.learner = CR_LEARN_LINEAR,
				  .classes = classes,
				  .l2 = one_l2,
				  .l2_count = 1,
				  .threads = 1};
}

static inline cr_learned fit(const cr_examples *train, const cr_examples *valid,
		      const cr_learn_options *options)
{
	cr_learned learned;
	crocuta_error error = {0};

	memset(&learned, 0xff, sizeof learned);
	if (cr_learn(train, valid, options, &learned, &error))
		fail_msg("%s", error.message);
	return learned;
}

/* Mean log loss and accuracy of a fitted head, by its probabilities. */
static inline double loss_of(const cr_learned *learned, const cr_examples *examples, double *accuracy)
{
	const size_t numbers = (size_t)(examples->features.rows * learned->classes);
	double *p = cr_calloc(numbers, sizeof *p), loss;
	cr_metrics metrics;
	crocuta_error error = {0};

	assert_non_null(p);
	for (size_t i = 0; i < numbers; i++)
		p[i] = NAN;
	assert_int_equal(cr_learned_apply(learned, &examples->features, 2, p, &error), 0);
	assert_int_equal(cr_measure(p, examples->label, examples->features.rows, learned->classes,
				    &metrics, &error),
			 0);
	loss = metrics.log_loss;
	if (accuracy)
		*accuracy = metrics.accuracy;
	cr_free(p);
	return loss;
}

/* A learning with a scaling that is made up. */
struct inside {
	cr_learning learning;
	cr_learn_options options;
	float mean[64];
	double inverse[64], class_weight[CLASSES_MAX];
	crocuta_error error;
};

static inline void make_inside(struct inside *inside, const struct data *data, int64_t classes)
{
	const int64_t columns = data->examples.features.columns;

	memset(inside, 0, sizeof *inside);
	inside->options = linear_options(classes);
	inside->options.hidden = 5;
	for (int64_t j = 0; j < columns; j++) {
		inside->mean[j] = (float)(j % 3) * 7 - 5;
		inside->inverse[j] = 1 / (0.1 + (double)(j % 5));
	}
	for (int64_t c = 0; c < classes; c++)
		inside->class_weight[c] = 0.5 + 0.25 * (double)c;
	inside->learning = (cr_learning){.train = &data->examples,
					 .valid = &data->examples,
					 .options = &inside->options,
					 .features = columns,
					 .classes = classes,
					 .threads = 1,
					 .mean = inside->mean,
					 .inverse = inside->inverse,
					 .class_weight = inside->class_weight,
					 .error = &inside->error};
}

#endif
