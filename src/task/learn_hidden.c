/* learn_hidden.c - one hidden layer of GELU, by Adam in mini-batches.
 *
 * Loss as in learn_linear.c; the penalty is on the weights of both layers and part of the gradient,
 * so that a candidate l2 means the same for both learners. Adam: Kingma and Ba 2015. A candidate
 * ends after `patience` passes without a lower validation loss, and its best pass is kept; the rate
 * is halved on the way there. Every candidate starts from the same weights and order.
 *
 * A batch is standardised into scratch. Its rows are shared out to threads on the way forward,
 * strips of 16 columns of the weights on the way back: each number is summed by one thread in a
 * fixed order. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/learn_internal.h"

#define PASSES 100
#define PATIENCE 10
#define RATE 1e-3 /* up to FEW features */
#define FEW 64.0
#define SLICE 16 /* rows that a thread takes, a multiple of CR_TILE */
#define STRIP 16 /* columns, as cr_outer takes them */
#define DECAY_FIRST 0.9
#define DECAY_SECOND 0.999

/* ---- parameters ------------------------------------------------------------------------------ */

/* Room between rows that are far from a power of two apart, in whole strips. */
static int64_t stride_for(int64_t features)
{
	return (features + STRIP - 1) / STRIP * STRIP + STRIP;
}

static int64_t even(int64_t count)
{
	return count + count % 2;
}

static int64_t parameters_for(int64_t features, int64_t hidden, int64_t classes)
{
	return hidden * stride_for(features) + hidden + classes * hidden + classes;
}

static float *hidden_bias(const cr_hidden_net *net, float *parameters)
{
	return parameters + net->hidden * net->stride;
}

static float *output_weight(const cr_hidden_net *net, float *parameters)
{
	return hidden_bias(net, parameters) + net->hidden;
}

static float *output_bias(const cr_hidden_net *net, float *parameters)
{
	return output_weight(net, parameters) + net->classes * net->hidden;
}

static int alloc_net(cr_hidden_net *net, int64_t train_rows)
{
	const size_t count = (size_t)net->count, batch = CR_HIDDEN_BATCH;
	const size_t hidden = (size_t)even(net->hidden), classes = (size_t)net->classes;

	net->parameters = cr_calloc(count, sizeof(float));
	net->gradient = cr_calloc(count, sizeof(float));
	net->first = cr_calloc(count, sizeof(float));
	net->second = cr_calloc(count, sizeof(float));
	net->kept = cr_calloc(count, sizeof(float));
	net->x = cr_calloc(batch * (size_t)net->stride, sizeof(float));
	net->before = cr_calloc(batch * hidden, sizeof(float));
	net->after = cr_calloc(batch * hidden, sizeof(float));
	net->back = cr_calloc(batch * hidden, sizeof(float));
	net->miss = cr_calloc(batch * classes, sizeof(float));
	net->logits = cr_calloc(batch * classes, sizeof(double));
	net->losses = cr_calloc(batch, sizeof(double));
	net->order = cr_calloc((size_t)train_rows, sizeof(int64_t));
	return net->parameters && net->gradient && net->first && net->second && net->kept &&
	       net->x && net->before && net->after && net->back && net->miss && net->logits &&
	       net->losses && net->order;
}

int cr_hidden_net_init(cr_hidden_net *net, const cr_learning *learning)
{
	memset(net, 0, sizeof *net);
	net->learning = learning;
	net->features = learning->features;
	net->stride = stride_for(net->features);
	net->hidden = learning->options->hidden;
	net->classes = learning->classes;
	net->count = parameters_for(net->features, net->hidden, net->classes);
	if (alloc_net(net, learning->train->features.rows))
		return 0;
	cr_hidden_net_free(net);
	return cr_fail(learning->error, CROCUTA_EMEMORY,
		       "out of memory for the fit of %lld features to %lld units",
		       (long long)learning->features, (long long)learning->options->hidden);
}

void cr_hidden_net_free(cr_hidden_net *net)
{
	float *floats[] = {net->parameters, net->gradient, net->first, net->second, net->kept,
			   net->x,          net->before,   net->after, net->back,   net->miss};

	for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
		cr_free(floats[i]);
	cr_free(net->logits);
	cr_free(net->losses);
	cr_free(net->order);
	memset(net, 0, sizeof *net);
}

int64_t cr_fit_hidden_bytes(const cr_learn_options *options, int64_t features, int64_t train_rows)
{
	const int64_t classes = options->classes, hidden = options->hidden;
	int64_t bytes = 5 * 4 * parameters_for(features, hidden, classes);

	bytes += CR_HIDDEN_BATCH * (4 * (stride_for(features) + 3 * even(hidden) + classes));
	return bytes + CR_HIDDEN_BATCH * 8 * (classes + 1) + 8 * train_rows;
}

/* ---- chance ---------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea and Flood 2014): good enough for both uses, and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* From the normal distribution (Box and Muller 1958). */
static double next_normal(uint64_t *state)
{
	double u = ((double)(next_random(state) >> 11) + 1) * 0x1p-53; /* (0, 1] */
	double v = (double)(next_random(state) >> 11) * 0x1p-53;

	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static void shuffle(int64_t *order, int64_t count, uint64_t *state)
{
	for (int64_t i = count - 1; i > 0; i--) {
		int64_t j = (int64_t)(next_random(state) % (uint64_t)(i + 1));
		int64_t other = order[j];

		order[j] = order[i];
		order[i] = other;
	}
}

/* Variance 2 / F before the GELU (He et al. 2015), 1 / H after; biases zero. */
void cr_hidden_net_start(cr_hidden_net *net, uint64_t seed)
{
	const double into = sqrt(2.0 / (double)net->features);
	const double out = sqrt(1.0 / (double)net->hidden);
	float *weight = net->parameters;

	memset(weight, 0, (size_t)net->count * sizeof *weight);
	memset(net->first, 0, (size_t)net->count * sizeof *net->first);
	memset(net->second, 0, (size_t)net->count * sizeof *net->second);
	net->steps = 0;
	for (int64_t h = 0; h < net->hidden; h++)
		for (int64_t j = 0; j < net->features; j++)
			weight[h * net->stride + j] = (float)(into * next_normal(&seed));
	weight = output_weight(net, net->parameters);
	for (int64_t i = 0; i < net->classes * net->hidden; i++)
		weight[i] = (float)(out * next_normal(&seed));
}

/* ---- forward --------------------------------------------------------------------------------- */

/* One example, standardised, to a row of scratch. */
static void gather(const cr_hidden_net *net, const cr_features *table, int64_t row, float *x)
{
	const float *mean = net->learning->mean;
	const double *inverse = net->learning->inverse;

	if (table->dense) {
		const float *from = table->dense + row * net->features;

		for (int64_t j = 0; j < net->features; j++)
			x[j] = (from[j] - mean[j]) * (float)inverse[j];
		return;
	}
	memset(x, 0, (size_t)net->features * sizeof *x);
	for (int64_t e = table->start[row]; e < table->start[row + 1]; e++)
		x[table->column[e]] = table->value[e] * (float)inverse[table->column[e]];
}

/* before = W x + b, after = gelu(before), of rows first .. last of the batch. */
static void hidden_layer(cr_hidden_net *net, int64_t first, int64_t last)
{
	const int64_t width = net->hidden;
	const float *bias = hidden_bias(net, net->parameters);
	const float *x[CR_TILE], *w[2];
	double sums[2 * CR_TILE];

	for (int64_t h = 0; h < width; h += 2) {
		const int64_t pair = h + 1 < width ? 2 : 1;

		w[0] = net->parameters + h * net->stride;
		w[1] = w[0] + (pair - 1) * net->stride;
		for (int64_t r = first; r < last; r += CR_TILE) {
			for (int64_t i = 0; i < CR_TILE; i++)
				x[i] = net->x + (r + i < last ? r + i : last - 1) * net->stride;
			cr_dots(x, w, (int)pair, net->stride, sums);
			for (int64_t i = 0; i < CR_TILE && r + i < last; i++)
				for (int64_t k = 0; k < pair; k++)
					net->before[(r + i) * width + h + k] =
						(float)sums[2 * i + k] + bias[h + k];
		}
	}
	for (int64_t i = first * width; i < last * width; i++) {
		float z = net->before[i];

		net->after[i] = 0.5f * z * (1 + tanhf(0.7978845608f * (z + 0.044715f * z * z * z)));
	}
}

/* Logits, then probabilities, and the loss of row r of the batch. */
static void output_layer(cr_hidden_net *net, int64_t r, int32_t label)
{
	const float *weight = output_weight(net, net->parameters);
	const float *bias = output_bias(net, net->parameters);
	double *logits = net->logits + r * net->classes;

	for (int64_t c = 0; c < net->classes; c++) {
		double sum = (double)bias[c];

		for (int64_t h = 0; h < net->hidden; h++)
			sum += (double)net->after[r * net->hidden + h] *
			       (double)weight[c * net->hidden + h];
		logits[c] = sum;
	}
	net->losses[r] = cr_softmax(logits, net->classes, label);
}

/* From probabilities to the gradients of the logits and of what went into the GELU. */
static void backward_row(cr_hidden_net *net, int64_t r, int32_t label, double weight)
{
	const int64_t width = net->hidden, padded = even(width);
	const float *output = output_weight(net, net->parameters);
	float *miss = net->miss + r * net->classes, *back = net->back + r * padded;

	for (int64_t c = 0; c < net->classes; c++)
		miss[c] = (float)(weight * (net->logits[r * net->classes + c] - (c == label)));
	memset(back, 0, (size_t)padded * sizeof *back);
	for (int64_t c = 0; c < net->classes; c++)
		for (int64_t h = 0; h < width; h++)
			back[h] += miss[c] * output[c * width + h];
	for (int64_t h = 0; h < width; h++) {
		const float z = net->before[r * width + h];
		const float t = tanhf(0.7978845608f * (z + 0.044715f * z * z * z));
		const float inner = 0.7978845608f * (1 + 3 * 0.044715f * z * z);

		back[h] *= 0.5f * (1 + t) + 0.5f * z * (1 - t * t) * inner;
	}
}

static void slice_forward(cr_hidden_net *net, const cr_examples *examples, const int64_t *rows,
			  int64_t first, int64_t last)
{
	for (int64_t r = first; r < last; r++)
		gather(net, &examples->features, rows[r], net->x + r * net->stride);
	hidden_layer(net, first, last);
	for (int64_t r = first; r < last; r++)
		output_layer(net, r, examples->label[rows[r]]);
}

/* ---- a step of Adam -------------------------------------------------------------------------- */

struct step {
	int64_t count; /* rows of the batch */
	float rate;    /* with both corrections of the bias; 0: leave the parameters */
	float floor;   /* the small number, corrected alike */
	float l2;
};

/* Parameters first .. first + count, whose gradient is there without penalty. */
static void update(cr_hidden_net *net, const struct step *step, int64_t first, int64_t count,
		   float l2)
{
	float *w = net->parameters + first, *g = net->gradient + first;
	float *m = net->first + first, *v = net->second + first;

	for (int64_t i = 0; i < count; i++)
		g[i] += l2 * w[i];
	if (step->rate == 0)
		return;
#pragma omp simd
	for (int64_t i = 0; i < count; i++) {
		m[i] = (float)DECAY_FIRST * m[i] + (float)(1 - DECAY_FIRST) * g[i];
		v[i] = (float)DECAY_SECOND * v[i] + (float)(1 - DECAY_SECOND) * g[i] * g[i];
		w[i] -= step->rate * m[i] / (sqrtf(v[i]) + step->floor);
	}
}

/* Columns j .. j + STRIP of the hidden weight. */
static void update_strip(cr_hidden_net *net, const struct step *step, int64_t j)
{
	const int64_t padded = even(net->hidden);
	float tile[2][STRIP];

	for (int64_t h = 0; h < net->hidden; h += 2) {
		cr_outer(net->x + j, net->stride, net->back + h, padded, step->count, tile);
		for (int64_t k = 0; k < 2 && h + k < net->hidden; k++) {
			const int64_t at = (h + k) * net->stride + j;

			memcpy(net->gradient + at, tile[k], sizeof tile[k]);
			update(net, step, at, STRIP, step->l2);
		}
	}
}

/* All but the hidden weight. */
static void update_rest(cr_hidden_net *net, const struct step *step)
{
	const int64_t width = net->hidden, padded = even(width), start = width * net->stride;
	float *bias = hidden_bias(net, net->gradient), *weight = output_weight(net, net->gradient);
	float *last = output_bias(net, net->gradient);

	memset(bias, 0, (size_t)(net->count - start) * sizeof *bias);
	for (int64_t r = 0; r < step->count; r++) {
		for (int64_t h = 0; h < width; h++)
			bias[h] += net->back[r * padded + h];
		for (int64_t c = 0; c < net->classes; c++) {
			const float miss = net->miss[r * net->classes + c];

			last[c] += miss;
			for (int64_t h = 0; h < width; h++)
				weight[c * width + h] += miss * net->after[r * width + h];
		}
	}
	update(net, step, start, width, 0);
	update(net, step, start + width, net->classes * width, step->l2);
	update(net, step, start + width + net->classes * width, net->classes, 0);
}

static struct step make_step(cr_hidden_net *net, int64_t count, double l2, double rate)
{
	struct step step = {.count = count, .l2 = (float)l2};
	double second;

	if (rate == 0)
		return step;
	net->steps++;
	second = sqrt(1 - pow(DECAY_SECOND, (double)net->steps));
	step.rate = (float)(rate * second / (1 - pow(DECAY_FIRST, (double)net->steps)));
	step.floor = (float)(1e-8 * second);
	return step;
}

double cr_hidden_step(cr_hidden_net *net, const cr_examples *examples, const int64_t *rows,
		      int64_t count, double l2, double rate)
{
	const struct step step = make_step(net, count, l2, rate);
	const double *class_weight = net->learning->class_weight;
	const int threads = net->learning->threads;
	const int64_t strips = net->stride / STRIP;
	double loss = 0;

#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(dynamic, 1)
		for (int64_t first = 0; first < count; first += SLICE) {
			const int64_t last = first + SLICE < count ? first + SLICE : count;

			slice_forward(net, examples, rows, first, last);
			for (int64_t r = first; r < last; r++) {
				const int32_t label = examples->label[rows[r]];

				backward_row(net, r, label, class_weight[label] / (double)count);
			}
		}
		/* the last one is the rest: it and the strips touch different parameters */
#pragma omp for schedule(dynamic, 1)
		for (int64_t strip = strips; strip >= 0; strip--) {
			if (strip == strips)
				update_rest(net, &step);
			else
				update_strip(net, &step, strip * STRIP);
		}
	}
	for (int64_t r = 0; r < count; r++)
		loss += class_weight[examples->label[rows[r]]] * net->losses[r];
	return loss;
}

/* ---- training -------------------------------------------------------------------------------- */

/* Mean, unweighted log loss of all examples. */
static int mean_loss(cr_hidden_net *net, const cr_examples *examples, double *loss)
{
	const int64_t rows = examples->features.rows;
	const int threads = net->learning->threads;
	int64_t batch[CR_HIDDEN_BATCH];
	int code = 0;

	*loss = 0;
	for (int64_t from = 0; from < rows && !code; from += CR_HIDDEN_BATCH) {
		const int64_t left = rows - from;
		const int64_t count = left < CR_HIDDEN_BATCH ? left : CR_HIDDEN_BATCH;

		for (int64_t r = 0; r < count; r++)
			batch[r] = from + r;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
		for (int64_t first = 0; first < count; first += SLICE)
			slice_forward(net, examples, batch, first,
				      first + SLICE < count ? first + SLICE : count);
		for (int64_t r = 0; r < count; r++)
			*loss += net->losses[r];
		code = cr_learn_poll(net->learning);
	}
	*loss /= (double)rows;
	return code;
}

static int one_pass(cr_hidden_net *net, uint64_t *chance, double l2, double rate)
{
	const cr_examples *train = net->learning->train;
	const int64_t rows = train->features.rows;
	int code = 0;

	shuffle(net->order, rows, chance);
	for (int64_t from = 0; from < rows && !code; from += CR_HIDDEN_BATCH) {
		const int64_t left = rows - from;

		(void)cr_hidden_step(net, train, net->order + from,
				     left < CR_HIDDEN_BATCH ? left : CR_HIDDEN_BATCH, l2, rate);
		code = cr_learn_poll(net->learning);
	}
	return code;
}

/* A step moves all weights alike: the more features go together, the further the sum before the
 * GELU. */
static double rate_for(int64_t features)
{
	return RATE * fmin(1, sqrt(FEW / (double)features));
}

/* Train from the start; the best pass ends up in net->parameters. */
static int train_candidate(cr_hidden_net *net, double l2, double *best, int64_t *passes)
{
	const cr_learn_options *options = net->learning->options;
	const int64_t most = options->epochs > 0 ? options->epochs : PASSES;
	const int64_t patience = options->patience > 0 ? options->patience : PATIENCE;
	const size_t bytes = (size_t)net->count * sizeof *net->kept;
	uint64_t chance = ~options->seed;
	int64_t idle = 0;
	double rate = rate_for(net->features), loss;

	cr_hidden_net_start(net, options->seed);
	for (int64_t i = 0; i < net->learning->train->features.rows; i++)
		net->order[i] = i;
	*best = HUGE_VAL;
	*passes = 0;
	for (int64_t pass = 1; pass <= most && idle < patience; pass++) {
		int code = one_pass(net, &chance, l2, rate);

		if (!code)
			code = mean_loss(net, net->learning->valid, &loss);
		if (code)
			return code;
		idle++;
		if (loss < *best) {
			*best = loss;
			*passes = pass;
			idle = 0;
			memcpy(net->kept, net->parameters, bytes);
		} else if (idle % ((patience + 2) / 3) == 0) {
			rate /= 2;
		}
	}
	if (*best == HUGE_VAL)
		return cr_fail(net->learning->error, CROCUTA_ENUMERIC,
			       "the fit of the hidden layer diverged with l2 %g: give others", l2);
	memcpy(net->parameters, net->kept, bytes);
	return 0;
}

static void fold(const cr_hidden_net *net, cr_learned *learned)
{
	const cr_learning *learning = net->learning;
	const float *bias = hidden_bias(net, net->parameters);

	for (int64_t h = 0; h < net->hidden; h++) {
		double sum = (double)bias[h];

		for (int64_t j = 0; j < net->features; j++) {
			float weight = (float)((double)net->parameters[h * net->stride + j] *
					       learning->inverse[j]);

			learned->hidden_weight[h * net->features + j] = weight;
			sum -= (double)weight * (double)learning->mean[j];
		}
		learned->hidden_bias[h] = (float)sum;
	}
	memcpy(learned->output_weight, output_weight(net, net->parameters),
	       (size_t)(net->classes * net->hidden) * sizeof(float));
	memcpy(learned->output_bias, output_bias(net, net->parameters),
	       (size_t)net->classes * sizeof(float));
}

int cr_fit_hidden(cr_learning *learning, cr_learned *learned)
{
	cr_hidden_net net;
	double train, valid;
	int64_t passes;
	int code = cr_hidden_net_init(&net, learning);

	if (code)
		return code;
	for (int64_t k = 0; k < learning->options->l2_count && !code; k++) {
		code = train_candidate(&net, learning->l2[k], &valid, &passes);
		if (!code)
			code = mean_loss(&net, learning->train, &train);
		if (!code &&
		    cr_learn_candidate(learning, learning->l2[k], train, valid, passes, learned))
			fold(&net, learned);
	}
	cr_hidden_net_free(&net);
	return code;
}
