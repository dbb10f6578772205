/* Heads from examples: gradients against differences, minima, folding, choice of l2, threads. */
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

static void near_at(double value, double expected, double within, int line)
{
	if (!(fabs(value - expected) <= within))
		fail_msg("line %d: %.12g, expected %.12g", line, value, expected);
}

/* ---- made data ------------------------------------------------------------------------------- */

static double uniform(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (double)(*state >> 40) / 16777216.0;
}

static double normal(uint64_t *state)
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

static struct data make_data(int64_t rows, int64_t columns, int64_t classes, double apart,
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

static void free_data(struct data *data)
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

static struct sparse make_sparse(const struct data *data, cr_examples *examples)
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

static void free_sparse(struct sparse *sparse)
{
	cr_free(sparse->start);
	cr_free(sparse->column);
	cr_free(sparse->value);
}

static const double one_l2[] = {1e-3};

static cr_learn_options linear_options(int64_t classes)
{
	return (cr_learn_options){.learner = CR_LEARN_LINEAR,
				  .classes = classes,
				  .l2 = one_l2,
				  .l2_count = 1,
				  .threads = 1};
}

static cr_learned fit(const cr_examples *train, const cr_examples *valid,
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
static double loss_of(const cr_learned *learned, const cr_examples *examples, double *accuracy)
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

/* ---- from the inside ------------------------------------------------------------------------- */

/* A learning with a scaling that is made up. */
struct inside {
	cr_learning learning;
	cr_learn_options options;
	float mean[64];
	double inverse[64], class_weight[CLASSES_MAX];
	crocuta_error error;
};

static void make_inside(struct inside *inside, const struct data *data, int64_t classes)
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

/* Loss and gradient of softmax regression in double, the textbook's way. */
static double plain_loss(const struct inside *inside, const cr_examples *examples,
			 const double *parameters, double *gradient)
{
	const int64_t rows = examples->features.rows, features = inside->learning.features;
	const int64_t classes = inside->learning.classes, weights = classes * features;
	double total = 0;

	memset(gradient, 0, (size_t)(weights + classes) * sizeof *gradient);
	for (int64_t i = 0; i < rows; i++) {
		double p[CLASSES_MAX], x[64], weight = inside->class_weight[examples->label[i]];

		for (int64_t j = 0; j < features; j++)
			x[j] = ((double)examples->features.dense[i * features + j] -
				(double)inside->mean[j]) *
			       inside->inverse[j];
		for (int64_t c = 0; c < classes; c++) {
			p[c] = parameters[weights + c];
			for (int64_t j = 0; j < features; j++)
				p[c] += parameters[c * features + j] * x[j];
		}
		total += weight * cr_softmax(p, classes, examples->label[i]);
		p[examples->label[i]] -= 1;
		for (int64_t c = 0; c < classes; c++) {
			gradient[weights + c] += weight * p[c] / (double)rows;
			for (int64_t j = 0; j < features; j++)
				gradient[c * features + j] += weight * p[c] * x[j] / (double)rows;
		}
	}
	return total / (double)rows;
}

static void linear_gradient_is_right(int64_t classes, int64_t columns, int64_t rows)
{
	struct data data = make_data(rows, columns, classes, 0.5, 3);
	const int64_t n = classes * (columns + 1);
	double parameters[CLASSES_MAX * 65], gradient[CLASSES_MAX * 65], plain[CLASSES_MAX * 65];
	double loss = NAN, again;
	struct inside inside;
	cr_linear_pass pass;
	uint64_t seed = 17;

	make_inside(&inside, &data, classes);
	for (int64_t i = 0; i < n; i++) {
		parameters[i] = 0.3 * normal(&seed);
		gradient[i] = NAN;
	}
	assert_int_equal(cr_linear_pass_init(&pass, &inside.learning), 0);
	assert_int_equal(cr_linear_evaluate(&pass, &data.examples, inside.class_weight, parameters,
					    gradient, &loss),
			 0);
	again = plain_loss(&inside, &data.examples, parameters, plain);
	near(loss, again, 1e-6);
	for (int64_t i = 0; i < n; i++)
		near(gradient[i], plain[i], 2e-6);
	for (int64_t i = 0; i < n; i += 7) { /* and the textbook against differences */
		const double kept = parameters[i], step = 1e-5;
		double more, less, unused[CLASSES_MAX * 65];

		parameters[i] = kept + step;
		more = plain_loss(&inside, &data.examples, parameters, unused);
		parameters[i] = kept - step;
		less = plain_loss(&inside, &data.examples, parameters, unused);
		parameters[i] = kept;
		near(plain[i], (more - less) / (2 * step), 1e-7);
	}
	cr_linear_pass_free(&pass);
	free_data(&data);
}

/* Numbers of rows, columns and classes that leave rests of every kind. */
static void linear_gradients(void **state)
{
	(void)state;
	linear_gradient_is_right(2, 37, 700);
	linear_gradient_is_right(3, 40, 515);
	linear_gradient_is_right(4, 3, 19);
	linear_gradient_is_right(5, 1, 6);
}

static double penalised(cr_hidden_net *net, const cr_examples *examples, const int64_t *rows,
			int64_t count, double l2)
{
	const int64_t weights = net->hidden * net->stride, outputs = net->classes * net->hidden;
	double loss = cr_hidden_step(net, examples, rows, count, l2, 0) / (double)count;

	for (int64_t i = 0; i < weights; i++)
		loss += 0.5 * l2 * (double)net->parameters[i] * (double)net->parameters[i];
	for (int64_t i = weights + net->hidden; i < weights + net->hidden + outputs; i++)
		loss += 0.5 * l2 * (double)net->parameters[i] * (double)net->parameters[i];
	return loss;
}

static void hidden_gradient(void **state)
{
	enum { ROWS = 53, COLUMNS = 21, CLASSES = 3 };
	struct data data = make_data(ROWS, COLUMNS, CLASSES, 0.5, 5);
	struct inside inside;
	cr_hidden_net net;
	int64_t rows[ROWS];
	float *gradient;

	(void)state;
	make_inside(&inside, &data, CLASSES);
	for (int i = 0; i < ROWS; i++)
		rows[i] = ROWS - 1 - i;
	assert_int_equal(cr_hidden_net_init(&net, &inside.learning), 0);
	cr_hidden_net_start(&net, 1);
	gradient = cr_calloc((size_t)net.count, sizeof *gradient);
	assert_non_null(gradient);
	for (int64_t i = 0; i < net.count; i++)
		net.gradient[i] = NAN;
	(void)penalised(&net, &data.examples, rows, ROWS, 0.1);
	memcpy(gradient, net.gradient, (size_t)net.count * sizeof *gradient);
	for (int64_t i = 0; i < net.count; i++) {
		const float kept = net.parameters[i], step = 0.01f;
		double more, less;

		if (i < net.hidden * net.stride && i % net.stride >= COLUMNS) {
			near((double)gradient[i], 0, 0); /* room between rows */
			continue;
		}
		net.parameters[i] = kept + step;
		more = penalised(&net, &data.examples, rows, ROWS, 0.1);
		net.parameters[i] = kept - step;
		less = penalised(&net, &data.examples, rows, ROWS, 0.1);
		net.parameters[i] = kept;
		near((double)gradient[i], (more - less) / (2 * (double)step), 2e-4);
	}
	cr_free(gradient);
	cr_hidden_net_free(&net);
	free_data(&data);
}

/* ---- whole fits ------------------------------------------------------------------------------ */

/* The penalised loss as a function of the folded weights is least where they are. */
static void linear_fit_is_a_minimum(void **state)
{
	enum { COLUMNS = 12, CLASSES = 3 };
	struct data train = make_data(900, COLUMNS, CLASSES, 0.6, 7);
	struct data valid = make_data(200, COLUMNS, CLASSES, 0.6, 8);
	cr_learn_options options = linear_options(CLASSES);
	cr_learned learned;
	struct inside inside;
	double parameters[CLASSES * (COLUMNS + 1)], gradient[CLASSES * (COLUMNS + 1)], loss;

	(void)state;
	options.balanced = 1;
	learned = fit(&train.examples, &valid.examples, &options);
	/* any scaling will do to write the same head down, but the penalty is on the right one */
	make_inside(&inside, &train, CLASSES);
	for (int64_t j = 0; j < COLUMNS; j++) {
		double sum = 0, square = 0, x;

		for (int64_t i = 0; i < 900; i++)
			sum += (double)train.x[i * COLUMNS + j];
		for (int64_t i = 0; i < 900; i++) {
			x = (double)train.x[i * COLUMNS + j] - sum / 900;
			square += x * x;
		}
		inside.mean[j] = (float)(sum / 900);
		inside.inverse[j] = 1 / sqrt(square / 900);
	}
	for (int64_t c = 0; c < CLASSES; c++) {
		double bias = (double)learned.output_bias[c], count = 0;

		for (int64_t i = 0; i < 900; i++)
			count += train.label[i] == c;
		inside.class_weight[c] = 900 / (CLASSES * count);
		for (int64_t j = 0; j < COLUMNS; j++) {
			double weight = (double)learned.output_weight[c * COLUMNS + j];

			parameters[c * COLUMNS + j] = weight / inside.inverse[j];
			bias += weight * (double)inside.mean[j];
		}
		parameters[CLASSES * COLUMNS + c] = bias;
	}
	loss = plain_loss(&inside, &train.examples, parameters, gradient);
	for (int64_t i = 0; i < CLASSES * (COLUMNS + 1); i++) {
		double penalty = i < CLASSES * COLUMNS ? one_l2[0] * parameters[i] : 0;

		near(gradient[i] + penalty, 0, 5e-5);
	}
	assert_true(loss < log(3));
	/* and what it says of features as they are is what it said of standardised ones */
	near(loss_of(&learned, &train.examples, NULL), learned.train_loss, 1e-6);
	near(loss_of(&learned, &valid.examples, NULL), learned.valid_loss, 1e-6);
	near(learned.temperature, 1, 0);
	cr_learned_free(&learned);
	free_data(&train);
	free_data(&valid);
}

static void separable_and_not(void **state)
{
	static const double l2[] = {1e-6};
	struct data train = make_data(400, 30, 2, 2, 11), valid = make_data(200, 30, 2, 2, 12);
	struct data noise = make_data(1500, 4, 2, 0, 13), other = make_data(1500, 4, 2, 0, 14);
	cr_learn_options options = linear_options(2);
	double accuracy, share = 0, loss;
	cr_learned learned;

	(void)state;
	options.l2 = l2;
	learned = fit(&train.examples, &valid.examples, &options);
	assert_true(learned.train_loss < 0.01);
	(void)loss_of(&learned, &valid.examples, &accuracy);
	assert_true(accuracy > 0.99);
	cr_learned_free(&learned);
	/* nothing to learn: the loss is the entropy of the labels */
	learned = fit(&noise.examples, &other.examples, &options);
	for (int64_t i = 0; i < 1500; i++)
		share += noise.label[i] / 1500.0;
	loss = -share * log(share) - (1 - share) * log(1 - share);
	near(learned.train_loss, loss, 0.01);
	cr_learned_free(&learned);
	free_data(&train);
	free_data(&valid);
	free_data(&noise);
	free_data(&other);
}

static void same_bytes(const cr_learned *a, const cr_learned *b)
{
	const int64_t inputs = a->hidden ? a->hidden : a->features;

	assert_memory_equal(a->output_weight, b->output_weight,
			    (size_t)(a->classes * inputs) * sizeof(float));
	assert_memory_equal(a->output_bias, b->output_bias, (size_t)a->classes * sizeof(float));
	if (a->hidden) {
		assert_memory_equal(a->hidden_weight, b->hidden_weight,
				    (size_t)(a->hidden * a->features) * sizeof(float));
		assert_memory_equal(a->hidden_bias, b->hidden_bias,
				    (size_t)a->hidden * sizeof(float));
	}
	assert_memory_equal(&a->l2, &b->l2, sizeof a->l2);
	assert_memory_equal(&a->temperature, &b->temperature, sizeof a->temperature);
	assert_memory_equal(&a->train_loss, &b->train_loss, sizeof a->train_loss);
	assert_memory_equal(&a->valid_loss, &b->valid_loss, sizeof a->valid_loss);
	assert_int_equal(a->epochs, b->epochs);
}

static void threads_change_nothing(void **state)
{
	static const double l2[] = {1e-4, 1e-1, 1e-2};
	static const int threads[] = {2, 7};
	struct data train = make_data(2600, 70, 3, 0.3, 21), valid = make_data(700, 70, 3, 0.3, 22);
	struct sparse rows[2];
	cr_examples tables[2][2] = {{train.examples, valid.examples}};

	(void)state;
	rows[0] = make_sparse(&train, &tables[1][0]);
	rows[1] = make_sparse(&valid, &tables[1][1]);
	for (int form = 0; form < 3; form++) { /* dense, sparse, hidden */
		const cr_examples *table = tables[form == 1];
		cr_learn_options options = linear_options(3);
		cr_learned first;

		options.l2 = l2;
		options.l2_count = form == 2 ? 1 : 3;
		options.calibrate = 1;
		options.learner = form == 2 ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR;
		options.hidden = 9;
		options.epochs = form == 2 ? 4 : 40;
		first = fit(&table[0], &table[1], &options);
		for (int i = 0; i < 2; i++) {
			cr_learned again;

			options.threads = threads[i];
			again = fit(&table[0], &table[1], &options);
			same_bytes(&first, &again);
			cr_learned_free(&again);
		}
		cr_learned_free(&first);
	}
	free_sparse(&rows[0]);
	free_sparse(&rows[1]);
	free_data(&train);
	free_data(&valid);
}

/* Data about zero: centring has next to nothing to do, and both forms find the same head. */
static void sparse_is_as_dense(void **state)
{
	struct data train = make_data(1200, 24, 3, 0.4, 31), valid = make_data(400, 24, 3, 0.4, 32);
	struct data *both[] = {&train, &valid};
	struct sparse rows[2];
	cr_examples sparse[2];
	cr_learn_options options = linear_options(3);
	cr_learned a, b;

	(void)state;
	for (int part = 0; part < 2; part++) {
		for (int64_t j = 0; j < 24; j++) {
			double sum = 0;

			for (int64_t i = 0; i < 1200; i++)
				sum += (double)train.x[i * 24 + j];
			if (part == 0)
				for (int64_t i = 0; i < 1200; i++)
					train.x[i * 24 + j] -= (float)(sum / 1200);
		}
		if (part == 1)
			for (int64_t i = 0; i < 400 * 24; i++)
				valid.x[i] *=
					(float)(i % 3 != 0); /* some zeros that are left out */
		rows[part] = make_sparse(both[part], &sparse[part]);
	}
	a = fit(&train.examples, &valid.examples, &options);
	b = fit(&sparse[0], &sparse[1], &options);
	near(a.train_loss, b.train_loss, 1e-6);
	near(a.valid_loss, b.valid_loss, 1e-5);
	for (int64_t i = 0; i < 3 * 24; i++)
		near(a.output_weight[i], b.output_weight[i], 2e-3);
	near(loss_of(&b, &valid.examples, NULL), loss_of(&b, &sparse[1], NULL), 1e-9);
	cr_learned_free(&a);
	cr_learned_free(&b);
	free_sparse(&rows[0]);
	free_sparse(&rows[1]);
	free_data(&train);
	free_data(&valid);
}

/* Two classes that only a product of features tells apart. */
static void hidden_layer_learns_a_product(void **state)
{
	static const double l2[] = {1e-4};
	struct data parts[2] = {make_data(2000, 3, 2, 0, 41), make_data(600, 3, 2, 0, 42)};
	cr_learn_options options = linear_options(2);
	cr_learned learned;
	double accuracy;

	(void)state;
	for (int part = 0; part < 2; part++)
		for (int64_t i = 0; i < parts[part].examples.features.rows; i++) {
			const float *x = parts[part].x + 3 * i;

			/* columns lie around -5, 2 and 9 */
			parts[part].label[i] = (x[0] + 5 > 0) != (x[1] - 2 > 0);
		}
	options.l2 = l2;
	learned = fit(&parts[0].examples, &parts[1].examples, &options);
	(void)loss_of(&learned, &parts[1].examples, &accuracy);
	assert_true(accuracy < 0.7);
	cr_learned_free(&learned);
	options.learner = CR_LEARN_HIDDEN;
	options.hidden = 16;
	learned = fit(&parts[0].examples, &parts[1].examples, &options);
	near(loss_of(&learned, &parts[1].examples, &accuracy), learned.valid_loss, 1e-5);
	assert_true(accuracy > 0.95);
	assert_true(learned.epochs > 1 && learned.epochs <= 100);
	cr_learned_free(&learned);
	free_data(&parts[0]);
	free_data(&parts[1]);
}

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
		cmocka_unit_test(linear_gradients),
		cmocka_unit_test(hidden_gradient),
		cmocka_unit_test(linear_fit_is_a_minimum),
		cmocka_unit_test(separable_and_not),
		cmocka_unit_test(threads_change_nothing),
		cmocka_unit_test(sparse_is_as_dense),
		cmocka_unit_test(hidden_layer_learns_a_product),
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
