/* learn.c - see learn.h: checks, standardisation, choice of l2, temperature. */
#include "task/learn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crocuta/session.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "task/learn_internal.h"
#include "task/pool.h"

#define STRIPE 64 /* columns whose moments a thread sums */
#define STRIPES_A_POLL 4
#define ROWS_A_POLL 4096
#define VARIES                                                                                     \
	1e-6 /* deviation of a column, of its mean, below which it is taken as constant: the       \
		rounding of its floats would be most of what there is to learn */

int cr_learn_poll(const cr_learning *learning)
{
	const cr_learn_options *options = learning->options;

	if (!options->poll || !options->poll(options->user))
		return 0;
	return cr_fail(learning->error, CROCUTA_ESTOPPED, "stopped on request");
}

int cr_learn_candidate(cr_learning *learning, double l2, double train_loss, double valid_loss,
		       int64_t epochs, cr_learned *learned)
{
	const cr_learn_options *options = learning->options;
	const int better = !learning->candidates++ || valid_loss < learning->best;
	char line[200];

	(void)snprintf(line, sizeof line,
		       "l2 %g: loss %.6f on training, %.6f on validation, after %lld %s", l2,
		       train_loss, valid_loss, (long long)epochs,
		       options->learner == CR_LEARN_HIDDEN ? "passes" : "iterations");
	if (options->log)
		options->log(options->user, CROCUTA_LOG_INFO, line);
	if (!better)
		return 0;
	learning->best = valid_loss;
	learned->l2 = l2;
	learned->train_loss = train_loss;
	learned->valid_loss = valid_loss;
	learned->epochs = epochs;
	return 1;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int check_options(const cr_learn_options *options, crocuta_error *error)
{
	if (options->classes < 2)
		return cr_fail(error, CROCUTA_EARG, "a head needs two classes or more, not %lld",
			       (long long)options->classes);
	if (options->learner == CR_LEARN_HIDDEN && options->hidden < 1)
		return cr_fail(error, CROCUTA_EARG, "a hidden layer of %lld units: give 1 or more",
			       (long long)options->hidden);
	if (options->l2_count < 1)
		return cr_fail(error, CROCUTA_EARG, "no l2 to fit with: give one or more");
	for (int64_t i = 0; i < options->l2_count; i++)
		if (!(options->l2[i] >= 0 && options->l2[i] < HUGE_VAL))
			return cr_fail(error, CROCUTA_EARG, "l2 %g: give a number not below 0",
				       options->l2[i]);
	return 0;
}

/* Every class once; fills counts (C). */
static int check_labels(const cr_examples *examples, int64_t classes, const char *part,
			int64_t *counts, crocuta_error *error)
{
	memset(counts, 0, (size_t)classes * sizeof *counts);
	for (int64_t i = 0; i < examples->features.rows; i++) {
		if (examples->label[i] < 0 || examples->label[i] >= classes)
			return cr_fail(error, CROCUTA_EARG, "%s example %lld: class %d, of %lld",
				       part, (long long)i, (int)examples->label[i],
				       (long long)classes);
		counts[examples->label[i]]++;
	}
	for (int64_t c = 0; c < classes; c++)
		if (!counts[c])
			return cr_fail(
				error, CROCUTA_EINPUT,
				"no %s example of class %lld (of 0 to %lld): give examples of "
				"every class in both parts",
				part, (long long)c, (long long)classes - 1);
	return 0;
}

static int row_finite(const cr_features *table, int64_t row)
{
	if (table->dense)
		return cr_all_finite(table->dense + row * table->columns, table->columns);
	return cr_all_finite(table->value + table->start[row],
			     table->start[row + 1] - table->start[row]);
}

static int check_finite(const cr_learning *learning, const cr_features *table, const char *part)
{
	const int threads = learning->threads;
	int code = 0;

	for (int64_t from = 0; from < table->rows && !code; from += ROWS_A_POLL) {
		const int64_t left = table->rows - from;
		const int64_t last = from + (left < ROWS_A_POLL ? left : ROWS_A_POLL);
		int64_t bad = last;

#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1) reduction(min : bad)
		for (int64_t row = from; row < last; row++)
			if (!row_finite(table, row) && row < bad)
				bad = row;
		if (bad < last)
			return cr_fail(
				learning->error, CROCUTA_ENUMERIC,
				"%s example %lld: its features are not finite numbers; leave it "
				"out or look at the model's output for it",
				part, (long long)bad);
		code = cr_learn_poll(learning);
	}
	return code;
}

/* ---- standardisation ------------------------------------------------------------------------- */

/* Mean and deviation of dense columns first .. last, by sums about the first row: one pass, and
 * nothing cancels. */
static void scale_stripe(cr_learning *learning, int64_t first, int64_t last)
{
	const cr_features *table = &learning->train->features;
	const double rows = (double)table->rows;
	double sum[STRIPE] = {0}, square[STRIPE] = {0};

	for (int64_t row = 0; row < table->rows; row++) {
		const float *x = table->dense + row * table->columns + first;
		const float *origin = table->dense + first;

		for (int64_t j = 0; j < last - first; j++) {
			double away = (double)x[j] - (double)origin[j];

			sum[j] += away;
			square[j] += away * away;
		}
	}
	for (int64_t j = 0; j < last - first; j++) {
		double away = sum[j] / rows, mean = (double)table->dense[first + j] + away;
		double deviation = sqrt(fmax(0, square[j] / rows - away * away));

		learning->mean[first + j] = (float)mean;
		learning->inverse[first + j] = deviation > VARIES * fabs(mean) ? 1 / deviation : 0;
	}
}

static int scale_dense(cr_learning *learning)
{
	const int64_t stripes = (learning->features + STRIPE - 1) / STRIPE;
	const int threads = learning->threads;
	int code = 0;

	for (int64_t from = 0; from < stripes && !code; from += STRIPES_A_POLL) {
		const int64_t left = stripes - from;
		const int64_t end = from + (left < STRIPES_A_POLL ? left : STRIPES_A_POLL);

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
		for (int64_t s = from; s < end; s++)
			scale_stripe(learning, s * STRIPE,
				     s + 1 < stripes ? (s + 1) * STRIPE : learning->features);
		code = cr_learn_poll(learning);
	}
	return code;
}

/* By root mean square about zero: what is not there stays zero. */
static int scale_sparse(cr_learning *learning)
{
	const cr_features *table = &learning->train->features;
	int code = 0;

	for (int64_t row = 0; row < table->rows && !code; row++) {
		for (int64_t e = table->start[row]; e < table->start[row + 1]; e++)
			learning->inverse[table->column[e]] +=
				(double)table->value[e] * (double)table->value[e];
		if (row % ROWS_A_POLL == 0)
			code = cr_learn_poll(learning);
	}
	for (int64_t j = 0; j < learning->features; j++)
		if (learning->inverse[j] > 0)
			learning->inverse[j] = sqrt((double)table->rows / learning->inverse[j]);
	return code;
}

/* ---- cr_learn -------------------------------------------------------------------------------- */

static int descending(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a < *b) - (*a > *b);
}

static void settle_l2(cr_learning *learning)
{
	const cr_learn_options *options = learning->options;

	memcpy(learning->l2, options->l2, (size_t)options->l2_count * sizeof *learning->l2);
	qsort(learning->l2, (size_t)options->l2_count, sizeof *learning->l2, descending);
}

static int alloc_learned(const cr_learning *learning, cr_learned *learned)
{
	const size_t features = (size_t)learning->features, classes = (size_t)learning->classes;
	size_t hidden = 0;

	memset(learned, 0, sizeof *learned);
	learned->features = learning->features;
	learned->classes = learning->classes;
	learned->temperature = 1;
	if (learning->options->learner == CR_LEARN_HIDDEN) {
		hidden = (size_t)learning->options->hidden;
		learned->hidden = (int64_t)hidden;
		learned->hidden_weight = cr_calloc(hidden * features, sizeof(float));
		learned->hidden_bias = cr_calloc(hidden, sizeof(float));
	}
	learned->output_weight = cr_calloc(classes * (hidden ? hidden : features), sizeof(float));
	learned->output_bias = cr_calloc(classes, sizeof(float));
	return learned->output_weight && learned->output_bias &&
	       (!hidden || (learned->hidden_weight && learned->hidden_bias));
}

static int calibrate(const cr_learning *learning, cr_learned *learned)
{
	const cr_features *table = &learning->valid->features;
	const int64_t weights =
		learned->classes * (learned->hidden ? learned->hidden : learned->features);
	double *logits = cr_calloc((size_t)table->rows * (size_t)learned->classes, sizeof *logits);
	int code;

	if (!logits)
		return cr_fail(learning->error, CROCUTA_EMEMORY,
			       "out of memory for the temperature of %lld examples",
			       (long long)table->rows);
	code = cr_learned_logits(learned, table, learning->threads, learning, logits,
				 learning->error);
	if (!code)
		code = cr_fit_temperature(learning, logits, learning->valid->label, table->rows,
					  &learned->temperature);
	cr_free(logits);
	for (int64_t i = 0; i < weights && !code; i++)
		learned->output_weight[i] =
			(float)((double)learned->output_weight[i] / learned->temperature);
	for (int64_t c = 0; c < learned->classes && !code; c++)
		learned->output_bias[c] =
			(float)((double)learned->output_bias[c] / learned->temperature);
	return code;
}

/* counts: (C) of scratch. */
static int learn(cr_learning *learning, int64_t *counts, cr_learned *learned)
{
	const cr_learn_options *options = learning->options;
	const cr_features *train = &learning->train->features;
	int code = check_labels(learning->valid, learning->classes, "validation", counts,
				learning->error);

	if (!code)
		code = check_labels(learning->train, learning->classes, "training", counts,
				    learning->error);
	for (int64_t c = 0; c < learning->classes && !code; c++)
		learning->class_weight[c] =
			options->balanced ? (double)train->rows /
						    ((double)learning->classes * (double)counts[c])
					  : 1;
	if (!code)
		code = check_finite(learning, train, "training");
	if (!code)
		code = check_finite(learning, &learning->valid->features, "validation");
	if (!code)
		code = train->dense ? scale_dense(learning) : scale_sparse(learning);
	if (!code)
		code = options->learner == CR_LEARN_HIDDEN ? cr_fit_hidden(learning, learned)
							   : cr_fit_linear(learning, learned);
	if (!code && options->calibrate)
		code = calibrate(learning, learned);
	return code;
}

/* 1: what was learned can be written. Folding may overflow where features are tiny. */
static int learned_finite(const cr_learned *learned)
{
	const int64_t inputs = learned->hidden ? learned->hidden : learned->features;

	return cr_all_finite(learned->output_weight, learned->classes * inputs) &&
	       cr_all_finite(learned->output_bias, learned->classes) &&
	       (!learned->hidden ||
		(cr_all_finite(learned->hidden_weight, learned->hidden * learned->features) &&
		 cr_all_finite(learned->hidden_bias, learned->hidden)));
}

static int with_memory(cr_learning *learning, cr_learned *learned)
{
	const size_t features = (size_t)learning->features, classes = (size_t)learning->classes;
	int64_t *counts = cr_calloc(classes, sizeof *counts);
	int code;

	learning->l2 = cr_calloc((size_t)learning->options->l2_count, sizeof *learning->l2);
	learning->mean = cr_calloc(features, sizeof *learning->mean);
	learning->inverse = cr_calloc(features, sizeof *learning->inverse);
	learning->class_weight = cr_calloc(classes, sizeof *learning->class_weight);
	if (alloc_learned(learning, learned) && counts && learning->l2 && learning->mean &&
	    learning->inverse && learning->class_weight) {
		settle_l2(learning);
		code = learn(learning, counts, learned);
		if (!code && !learned_finite(learned))
			code = cr_fail(learning->error, CROCUTA_ENUMERIC,
				       "the fitted weights are not finite numbers");
	} else {
		code = cr_fail(learning->error, CROCUTA_EMEMORY,
			       "out of memory for the fit of %lld features",
			       (long long)learning->features);
	}
	cr_free(counts);
	cr_free(learning->l2);
	cr_free(learning->mean);
	cr_free(learning->inverse);
	cr_free(learning->class_weight);
	return code;
}

int cr_learn(const cr_examples *train, const cr_examples *valid, const cr_learn_options *options,
	     cr_learned *learned, crocuta_error *error)
{
	cr_learning learning = {.train = train,
				.valid = valid,
				.options = options,
				.features = train->features.columns,
				.classes = options->classes,
				.threads = options->threads > 1 ? options->threads : 1,
				.error = error};
	int code;

	memset(learned, 0, sizeof *learned);
	code = check_options(options, error);
	if (!code && (learning.features < 1 || learning.features != valid->features.columns ||
		      !train->features.dense != !valid->features.dense))
		code = cr_fail(error, CROCUTA_EARG,
			       "training and validation part have %lld and %lld features",
			       (long long)learning.features, (long long)valid->features.columns);
	if (!code && learning.threads > 1)
		code = cr_threads_probe(learning.threads, error);
	if (!code)
		code = with_memory(&learning, learned);
	if (code)
		cr_learned_free(learned);
	return code;
}

void cr_learned_free(cr_learned *learned)
{
	cr_free(learned->hidden_weight);
	cr_free(learned->hidden_bias);
	cr_free(learned->output_weight);
	cr_free(learned->output_bias);
	memset(learned, 0, sizeof *learned);
}

int64_t cr_learn_bytes(const cr_learn_options *options, int64_t features, int64_t train_rows,
		       int64_t valid_rows)
{
	const int hidden = options->learner == CR_LEARN_HIDDEN;
	const int64_t classes = options->classes, inputs = hidden ? options->hidden : features;
	const int64_t fit = hidden ? cr_fit_hidden_bytes(options, features, train_rows)
				   : cr_fit_linear_bytes(features, classes, options->threads);
	const int64_t after = options->calibrate ? cr_learned_logits_bytes(hidden ? inputs : 0) +
							   8 * valid_rows * classes
						 : 0;
	int64_t bytes = 8 * options->l2_count + 12 * features + 16 * classes;

	bytes += 4 * classes * (inputs + 1) + (hidden ? 4 * inputs * (features + 1) : 0);
	return bytes + (fit > after ? fit : after);
}
