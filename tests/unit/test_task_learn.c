/* Heads from examples: gradients against differences, minima, folding, threads. */
#include "test_task_learn_support.h"

/* ---- from the inside ------------------------------------------------------------------------- */

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
