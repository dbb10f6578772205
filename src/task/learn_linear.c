/* learn_linear.c - softmax regression with an L2 penalty, by L-BFGS.
 *
 * Loss: mean over examples of class weight x -ln p(label), plus l2 / 2 times the squared weights on
 * standardised features; biases go free. It is convex, and the path over l2 starts at the largest,
 * each from the minimum before.
 *
 * A pass reads the table once. Blocks of rows sum their gradient in float, each in a slot of its
 * own, and slots are added in double in the order of the blocks, so that neither threads nor slots
 * change a bit.
 *
 * L-BFGS: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4, with a line search by
 * bisection for the weak Wolfe conditions (Lewis and Overton 2013). */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/learn_internal.h"

#define ITERATIONS 500
#define HISTORY_MAX                                                                                \
	100 /* features of a model are much alike: with few pairs the path takes 3 times as long   \
	     */
#define HISTORY_MIN 10
#define HISTORY_NUMBERS (1 << 22) /* of the pairs, halved */
#define TRIALS 25                 /* of a line search */
#define SLOPE_SMALL 1e-5          /* largest entry of the gradient at a minimum */
#define GAIN_SMALL 1e-8 /* two iterations that gain less than this, of a loss of 1, are the last   \
			 */
#define NOISE 1e-10     /* of the loss, whose products are float */
#define BLOCK_PRODUCTS (1 << 25) /* of a block and of a wave of blocks: poll comes between waves   \
				  */
#define WAVE_PRODUCTS (1 << 28)
#define SLOTS_MAX 64
#define BLOCK_ROWS_MAX 256
#define PARTS 64 /* of the sum over slots, for threads */

/* ---- loss and gradient ----------------------------------------------------------------------- */

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
	return value < least ? least : value > most ? most : value;
}

static int64_t block_rows_for(int64_t weights)
{
	int64_t rows = BLOCK_PRODUCTS / weights / CR_LINEAR_ROWS * CR_LINEAR_ROWS;

	return clamp(rows, CR_LINEAR_ROWS, BLOCK_ROWS_MAX);
}

static int64_t slots_for(int64_t weights, int threads)
{
	int64_t slots = WAVE_PRODUCTS / (2 * weights * block_rows_for(weights));

	return clamp(slots, clamp(threads, 1, SLOTS_MAX), SLOTS_MAX);
}

/* With two classes only the difference of their weights counts. */
static int64_t outputs_for(int64_t classes)
{
	return classes == 2 ? 1 : classes;
}

int cr_linear_pass_init(cr_linear_pass *pass, const cr_learning *learning)
{
	const int64_t weights = outputs_for(learning->classes) * learning->features;
	const size_t classes = (size_t)learning->classes;
	size_t slots;

	memset(pass, 0, sizeof *pass);
	pass->learning = learning;
	pass->features = learning->features;
	pass->classes = learning->classes;
	pass->outputs = outputs_for(learning->classes);
	pass->block_rows = block_rows_for(weights);
	pass->slots = slots_for(weights, learning->threads);
	slots = (size_t)pass->slots;
	pass->weight = cr_calloc((size_t)weights, sizeof *pass->weight);
	pass->sums = cr_calloc(slots * (size_t)weights, sizeof *pass->sums);
	pass->bias_sums = cr_calloc(slots * classes, sizeof *pass->bias_sums);
	pass->losses = cr_calloc(slots, sizeof *pass->losses);
	pass->logits = cr_calloc(slots * CR_LINEAR_ROWS * classes, sizeof *pass->logits);
	if (pass->weight && pass->sums && pass->bias_sums && pass->losses && pass->logits)
		return 0;
	cr_linear_pass_free(pass);
	return cr_fail(learning->error, CROCUTA_EMEMORY,
		       "out of memory for the fit of %lld features to %lld classes",
		       (long long)learning->features, (long long)learning->classes);
}

void cr_linear_pass_free(cr_linear_pass *pass)
{
	cr_free(pass->weight);
	cr_free(pass->sums);
	cr_free(pass->bias_sums);
	cr_free(pass->losses);
	cr_free(pass->logits);
	memset(pass, 0, sizeof *pass);
}

/* Where a block of rows works. */
struct block {
	const cr_linear_pass *pass;
	const cr_features *table;
	const int32_t *label;
	const double *bias;         /* (C) */
	const double *class_weight; /* (C), or NULL */
	double *logits;             /* (CR_LINEAR_ROWS, C) */
	float *sums;                /* (O, F), or NULL: no gradient wanted */
	double *bias_sums;          /* (C) */
	double loss;
};

/* Rows first .. first + CR_TILE, the last of `count` again for those past it. */
static void tile_rows(const cr_features *table, int64_t first, int64_t count,
		      const float *x[CR_TILE])
{
	for (int64_t i = 0; i < CR_TILE; i++)
		x[i] = table->dense + (first + (i < count ? i : count - 1)) * table->columns;
}

static void dense_logits(struct block *block, int64_t first, int64_t count)
{
	const cr_linear_pass *pass = block->pass;
	const int64_t classes = pass->classes, features = pass->features;
	const float *x[CR_TILE], *w[2];
	double sums[2 * CR_TILE], *logits = block->logits + classes - pass->outputs;

	for (int64_t o = 0; o < pass->outputs; o += 2) {
		const int64_t pair = o + 1 < pass->outputs ? 2 : 1;

		w[0] = pass->weight + o * features;
		w[1] = w[0] + (pair - 1) * features;
		for (int64_t r = 0; r < count; r += CR_TILE) {
			tile_rows(block->table, first + r, count - r, x);
			cr_dots_shifted(x, pass->learning->mean, w, (int)pair, features, sums);
			for (int64_t i = 0; i < CR_TILE && r + i < count; i++)
				for (int64_t k = 0; k < pair; k++)
					logits[(r + i) * classes + o + k] += sums[2 * i + k];
		}
	}
}

/* block->logits holds the gradient of the logits now. */
static void dense_gradient(struct block *block, int64_t first, int64_t count)
{
	const cr_linear_pass *pass = block->pass;
	const int64_t classes = pass->classes, features = pass->features;
	const double *logits = block->logits + classes - pass->outputs;
	const float *x[CR_TILE];
	float *sums[2];

	for (int64_t o = 0; o < pass->outputs; o += 2) {
		const int64_t pair = o + 1 < pass->outputs ? 2 : 1;

		sums[0] = block->sums + o * features;
		sums[1] = sums[0] + (pair - 1) * features;
		for (int64_t r = 0; r < count; r += CR_TILE) {
			float by[2 * CR_TILE] = {0};

			tile_rows(block->table, first + r, count - r, x);
			for (int64_t i = 0; i < CR_TILE && r + i < count; i++)
				for (int64_t k = 0; k < pair; k++)
					by[2 * i + k] = (float)logits[(r + i) * classes + o + k];
			cr_add_rows(x, pass->learning->mean, by, features, (int)pair, sums);
		}
	}
}

static void sparse_logits(struct block *block, int64_t first, int64_t count)
{
	const cr_features *table = block->table;
	const int64_t classes = block->pass->classes, outputs = block->pass->outputs;
	double *logits = block->logits + classes - outputs;

	for (int64_t r = 0; r < count; r++) {
		for (int64_t o = 0; o < outputs; o++) {
			const float *w = block->pass->weight + o * table->columns;
			double sum = 0;

			for (int64_t e = table->start[first + r]; e < table->start[first + r + 1];
			     e++)
				sum += (double)table->value[e] * (double)w[table->column[e]];
			logits[r * classes + o] += sum;
		}
	}
}

static void sparse_gradient(struct block *block, int64_t first, int64_t count)
{
	const cr_features *table = block->table;
	const int64_t classes = block->pass->classes, outputs = block->pass->outputs;
	const double *logits = block->logits + classes - outputs;

	for (int64_t r = 0; r < count; r++) {
		for (int64_t o = 0; o < outputs; o++) {
			const float by = (float)logits[r * classes + o];
			float *sums = block->sums + o * table->columns;

			for (int64_t e = table->start[first + r]; e < table->start[first + r + 1];
			     e++)
				sums[table->column[e]] += by * table->value[e];
		}
	}
}

/* Up to CR_LINEAR_ROWS rows: logits, loss, gradient, while the rows are in cache. */
static void few_rows(struct block *block, int64_t first, int64_t count)
{
	const int64_t classes = block->pass->classes;

	for (int64_t r = 0; r < count; r++)
		memcpy(block->logits + r * classes, block->bias, (size_t)classes * sizeof(double));
	if (block->table->dense)
		dense_logits(block, first, count);
	else
		sparse_logits(block, first, count);
	for (int64_t r = 0; r < count; r++) {
		const int32_t label = block->label[first + r];
		const double weight = block->class_weight ? block->class_weight[label] : 1;
		double *row = block->logits + r * classes;

		block->loss += weight * cr_softmax(row, classes, label);
		row[label] -= 1;
		for (int64_t c = 0; c < classes; c++) {
			row[c] *= weight;
			block->bias_sums[c] += row[c];
		}
	}
	if (!block->sums)
		return;
	if (block->table->dense)
		dense_gradient(block, first, count);
	else
		sparse_gradient(block, first, count);
}

static void run_block(cr_linear_pass *pass, struct block block, int64_t slot, int64_t first,
		      int64_t last, int with_gradient)
{
	const int64_t classes = pass->classes, weights = pass->outputs * pass->features;

	block.logits = pass->logits + slot * CR_LINEAR_ROWS * classes;
	block.bias_sums = pass->bias_sums + slot * classes;
	memset(block.bias_sums, 0, (size_t)classes * sizeof *block.bias_sums);
	if (with_gradient) {
		block.sums = pass->sums + slot * weights;
		memset(block.sums, 0, (size_t)weights * sizeof *block.sums);
	}
	for (int64_t row = first; row < last; row += CR_LINEAR_ROWS)
		few_rows(&block, row, last - row < CR_LINEAR_ROWS ? last - row : CR_LINEAR_ROWS);
	pass->losses[slot] = block.loss;
}

/* Add `slots` slots in their order. */
static void add_slots(const cr_linear_pass *pass, int64_t slots, double *gradient, double *loss)
{
	const int64_t classes = pass->classes, weights = pass->outputs * pass->features;
	const int threads = weights > 1 << 16 ? pass->learning->threads : 1;
	double *to;

	for (int64_t s = 0; s < slots; s++)
		*loss += pass->losses[s];
	if (!gradient)
		return;
	for (int64_t s = 0; s < slots; s++)
		for (int64_t c = 0; c < classes; c++)
			gradient[classes * pass->features + c] += pass->bias_sums[s * classes + c];
	to = gradient + (classes - pass->outputs) * pass->features;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t part = 0; part < PARTS; part++) {
		const int64_t first = weights * part / PARTS, last = weights * (part + 1) / PARTS;

		for (int64_t s = 0; s < slots; s++)
			for (int64_t j = first; j < last; j++)
				to[j] += (double)pass->sums[s * weights + j];
	}
}

/* weight = W / scale, in float; of two classes the difference. */
static void scale_weights(const cr_linear_pass *pass, const double *parameters)
{
	const double *inverse = pass->learning->inverse;
	const int64_t features = pass->features;

	for (int64_t o = 0; o < pass->outputs; o++) {
		for (int64_t j = 0; j < features; j++) {
			double w = parameters[o * features + j];

			if (pass->outputs < pass->classes)
				w = parameters[features + j] - w;
			pass->weight[o * features + j] = (float)(w * inverse[j]);
		}
	}
}

/* From sums over rows to the gradient of the mean in standardised weights. */
static void finish_gradient(const cr_linear_pass *pass, double rows, double *gradient)
{
	const int64_t features = pass->features, weights = pass->classes * features;

	for (int64_t j = 0; pass->outputs < pass->classes && j < features; j++)
		gradient[j] = -gradient[features + j];
	for (int64_t c = 0; c < pass->classes; c++) {
		for (int64_t j = 0; j < features; j++)
			gradient[c * features + j] *= pass->learning->inverse[j] / rows;
		gradient[weights + c] /= rows;
	}
}

int cr_linear_evaluate(cr_linear_pass *pass, const cr_examples *examples,
		       const double *class_weight, const double *parameters, double *gradient,
		       double *loss)
{
	const int64_t rows = examples->features.rows, each = pass->block_rows;
	const int64_t weights = pass->classes * pass->features;
	const int threads = pass->learning->threads;
	const struct block common = {.pass = pass,
				     .table = &examples->features,
				     .label = examples->label,
				     .bias = parameters + weights,
				     .class_weight = class_weight};
	int code = 0;

	scale_weights(pass, parameters);
	*loss = 0;
	if (gradient)
		memset(gradient, 0, (size_t)(weights + pass->classes) * sizeof *gradient);
	for (int64_t from = 0; from < rows && !code; from += pass->slots * each) {
		const int64_t blocks = (rows - from + each - 1) / each;
		const int64_t slots = blocks < pass->slots ? blocks : pass->slots;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && slots > 1)
		for (int64_t s = 0; s < slots; s++) {
			const int64_t first = from + s * each;

			run_block(pass, common, s, first, first + each < rows ? first + each : rows,
				  gradient != NULL);
		}
		add_slots(pass, slots, gradient, loss);
		code = cr_learn_poll(pass->learning);
	}
	*loss /= (double)rows;
	if (gradient)
		finish_gradient(pass, (double)rows, gradient);
	return code;
}

/* ---- L-BFGS ---------------------------------------------------------------------------------- */

struct point {
	double *x, *gradient; /* (n) */
	double value;
};

struct descent {
	cr_linear_pass pass;
	int64_t weights, n; /* parameters: weights, then biases */
	double l2;
	double *memory; /* of all below */
	struct point at, trial;
	double *direction;
	int64_t history;          /* K, pairs remembered */
	double *steps, *changes;  /* (K, n), rings */
	double *products, *alpha; /* (K), steps . changes; scratch */
	int64_t kept;             /* pairs kept so far */
};

static int64_t history_for(int64_t n)
{
	return clamp(HISTORY_NUMBERS / n, HISTORY_MIN, HISTORY_MAX);
}

static int64_t descent_numbers(int64_t n)
{
	return n * (5 + 2 * history_for(n)) + 2 * history_for(n);
}

static double dot(const double *a, const double *b, int64_t n)
{
	double sum[4] = {0};
	int64_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (int k = 0; k < 4; k++)
			sum[k] += a[i + k] * b[i + k];
	for (; i < n; i++)
		sum[0] += a[i] * b[i];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void add_times(double *to, double by, const double *from, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		to[i] += by * from[i];
}

static double largest(const double *values, int64_t n)
{
	double most = 0;

	for (int64_t i = 0; i < n; i++)
		most = fmax(most, fabs(values[i]));
	return most;
}

static int evaluate(struct descent *descent, struct point *point)
{
	const cr_learning *learning = descent->pass.learning;
	int code = cr_linear_evaluate(&descent->pass, learning->train, learning->class_weight,
				      point->x, point->gradient, &point->value);

	point->value += 0.5 * descent->l2 * dot(point->x, point->x, descent->weights);
	add_times(point->gradient, descent->l2, point->x, descent->weights);
	return code;
}

/* direction = -H gradient, by the two loops. */
static void choose_direction(struct descent *descent)
{
	const int64_t n = descent->n, kept = descent->kept, history = descent->history;
	const int64_t oldest = kept > history ? kept - history : 0;
	double *alpha = descent->alpha, *direction = descent->direction;

	for (int64_t i = 0; i < n; i++)
		direction[i] = -descent->at.gradient[i];
	for (int64_t k = kept - 1; k >= oldest; k--) {
		const int64_t ring = k % history;

		alpha[ring] =
			dot(descent->steps + ring * n, direction, n) / descent->products[ring];
		add_times(direction, -alpha[ring], descent->changes + ring * n, n);
	}
	if (kept) {
		const int64_t ring = (kept - 1) % history;
		const double *change = descent->changes + ring * n;
		const double scale = descent->products[ring] / dot(change, change, n);

		for (int64_t i = 0; i < n; i++)
			direction[i] *= scale;
	}
	for (int64_t k = oldest; k < kept; k++) {
		const int64_t ring = k % history;
		double beta =
			dot(descent->changes + ring * n, direction, n) / descent->products[ring];

		add_times(direction, alpha[ring] - beta, descent->steps + ring * n, n);
	}
}

/* Find descent->trial along the direction. *found 0: nothing lower could be told from rounding. */
static int search_line(struct descent *descent, int *found)
{
	const struct point *at = &descent->at;
	struct point *trial = &descent->trial;
	const double slope = dot(at->gradient, descent->direction, descent->n);
	const double noise = NOISE * (1 + fabs(at->value));
	double step = descent->kept ? 1 : 1 / fmax(1, sqrt(-slope)), low = 0, high = HUGE_VAL;

	*found = 0;
	for (int tries = 0; slope < 0 && tries < TRIALS; tries++) {
		double slope_there;
		int code;

		memcpy(trial->x, at->x, (size_t)descent->n * sizeof *trial->x);
		add_times(trial->x, step, descent->direction, descent->n);
		code = evaluate(descent, trial);
		if (code)
			return code;
		slope_there = dot(trial->gradient, descent->direction, descent->n);
		if (!(trial->value <= at->value + 1e-4 * step * slope + noise)) {
			double least = -slope * step * step /
				       (2 * (trial->value - at->value - slope * step));

			high = step; /* the least of the parabola, when it is well inside */
			step = least > low + 0.1 * (high - low) && least < low + 0.9 * (high - low)
				       ? least
				       : 0.5 * (low + high);
		} else if (slope_there < 0.9 * slope) {
			low = step;
			step = high < HUGE_VAL ? 0.5 * (low + high) : 2 * step;
		} else {
			*found = 1;
			return 0;
		}
	}
	return 0;
}

/* Go to the trial point; keep what it says of the curvature. */
static void accept(struct descent *descent)
{
	const int64_t n = descent->n, ring = descent->kept % descent->history;
	struct point before = descent->at;
	double *step = descent->steps + ring * n, *change = descent->changes + ring * n;
	double product;

	descent->at = descent->trial;
	descent->trial = before;
	for (int64_t i = 0; i < n; i++) {
		step[i] = descent->at.x[i] - before.x[i];
		change[i] = descent->at.gradient[i] - before.gradient[i];
	}
	product = dot(step, change, n);
	if (product <= 1e-14 * dot(change, change, n))
		return; /* the loss is convex: rounding alone says this */
	descent->products[ring] = product;
	descent->kept++;
}

/* From descent->at to the minimum. */
static int minimise(struct descent *descent, int64_t most, int64_t *iterations)
{
	int code = evaluate(descent, &descent->at), found, idle = 0;

	descent->kept = 0;
	*iterations = 0;
	while (!code && *iterations < most && idle < 2 &&
	       largest(descent->at.gradient, descent->n) > SLOPE_SMALL) {
		const double before = descent->at.value;

		choose_direction(descent);
		code = search_line(descent, &found);
		if (code)
			return code;
		if (!found) {
			if (!descent->kept)
				return 0;
			descent->kept = 0; /* once more, straight down */
			idle++;
			continue;
		}
		accept(descent);
		++*iterations;
		idle = before - descent->at.value < GAIN_SMALL * (1 + fabs(before)) ? idle + 1 : 0;
	}
	return code;
}

/* ---- the path -------------------------------------------------------------------------------- */

/* Weights for features as they are. The bias takes the rounded weights' word for the means. */
static void fold(const struct descent *descent, cr_learned *learned)
{
	const cr_learning *learning = descent->pass.learning;
	const int64_t features = learning->features;

	for (int64_t c = 0; c < learning->classes; c++) {
		double bias = descent->at.x[descent->weights + c];

		for (int64_t j = 0; j < features; j++) {
			float weight =
				(float)(descent->at.x[c * features + j] * learning->inverse[j]);

			learned->output_weight[c * features + j] = weight;
			bias -= (double)weight * (double)learning->mean[j];
		}
		learned->output_bias[c] = (float)bias;
	}
}

static int descent_init(struct descent *descent, const cr_learning *learning)
{
	int64_t n;
	double *memory;

	memset(descent, 0, sizeof *descent);
	descent->weights = learning->classes * learning->features;
	n = descent->n = descent->weights + learning->classes;
	memory = descent->memory = cr_calloc((size_t)descent_numbers(n), sizeof *memory);
	if (!memory)
		return cr_fail(learning->error, CROCUTA_EMEMORY,
			       "out of memory for the fit of %lld features to %lld classes",
			       (long long)learning->features, (long long)learning->classes);
	descent->at.x = memory;
	descent->at.gradient = memory + n;
	descent->trial.x = memory + 2 * n;
	descent->trial.gradient = memory + 3 * n;
	descent->direction = memory + 4 * n;
	descent->steps = memory + 5 * n;
	descent->history = history_for(n);
	descent->changes = descent->steps + descent->history * n;
	descent->products = descent->changes + descent->history * n;
	descent->alpha = descent->products + descent->history;
	return cr_linear_pass_init(&descent->pass, learning);
}

static int fit_path(struct descent *descent, cr_learning *learning, cr_learned *learned)
{
	const cr_learn_options *options = learning->options;
	const int64_t most = options->epochs > 0 ? options->epochs : ITERATIONS;
	double train, valid;
	int64_t iterations;
	int code = 0;

	for (int64_t k = 0; k < options->l2_count && !code; k++) {
		descent->l2 = learning->l2[k];
		code = minimise(descent, most, &iterations);
		if (!code)
			code = cr_linear_evaluate(&descent->pass, learning->train, NULL,
						  descent->at.x, NULL, &train);
		if (!code)
			code = cr_linear_evaluate(&descent->pass, learning->valid, NULL,
						  descent->at.x, NULL, &valid);
		if (!code &&
		    cr_learn_candidate(learning, descent->l2, train, valid, iterations, learned))
			fold(descent, learned);
	}
	return code;
}

int cr_fit_linear(cr_learning *learning, cr_learned *learned)
{
	struct descent descent;
	int code = descent_init(&descent, learning);

	if (!code)
		code = fit_path(&descent, learning, learned);
	cr_linear_pass_free(&descent.pass);
	cr_free(descent.memory);
	return code;
}

int64_t cr_fit_linear_bytes(int64_t features, int64_t classes, int threads)
{
	const int64_t weights = features * outputs_for(classes);
	const int64_t slots = slots_for(weights, threads);
	int64_t bytes = 8 * descent_numbers(classes * (features + 1));

	bytes += 4 * weights * (1 + slots);
	return bytes + 8 * slots * (1 + classes * (1 + CR_LINEAR_ROWS));
}
