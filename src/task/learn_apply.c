/* learn_apply.c - logits and probabilities of a fitted head, and its temperature.
 *
 * Products and sums are in double, each row on its own: what a head says of a row depends on
 * nothing else. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "task/learn_internal.h"

#define WAVE 256 /* rows between polls */
#define COLDEST 0.05
#define HOTTEST 20.0

double cr_softmax(double *logits, int64_t classes, int32_t label)
{
	double largest = logits[0], sum = 0, loss;

	for (int64_t c = 1; c < classes; c++)
		largest = logits[c] > largest ? logits[c] : largest;
	loss = largest - logits[label];
	for (int64_t c = 0; c < classes; c++) {
		logits[c] = exp(logits[c] - largest);
		sum += logits[c];
	}
	for (int64_t c = 0; c < classes; c++)
		logits[c] /= sum;
	return loss + log(sum);
}

static double dot(const float *x, const float *w, int64_t count)
{
	double sum[4] = {0};
	int64_t i = 0;

	for (; i + 4 <= count; i += 4)
		for (int k = 0; k < 4; k++)
			sum[k] += (double)x[i + k] * (double)w[i + k];
	for (; i < count; i++)
		sum[0] += (double)x[i] * (double)w[i];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* w . row + bias, for the features of a row. */
static double unit(const cr_features *features, int64_t row, const float *w, float bias)
{
	double sum = (double)bias;

	if (features->dense)
		return sum + dot(features->dense + row * features->columns, w, features->columns);
	for (int64_t e = features->start[row]; e < features->start[row + 1]; e++)
		sum += (double)features->value[e] * (double)w[features->column[e]];
	return sum;
}

static double gelu(double x)
{
	return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
}

/* hidden: (H) of scratch. */
static void row_logits(const cr_learned *learned, const cr_features *features, int64_t row,
		       double *hidden, double *logits)
{
	const int64_t width = learned->hidden;

	for (int64_t h = 0; h < width; h++)
		hidden[h] = gelu(unit(features, row, learned->hidden_weight + h * learned->features,
				      learned->hidden_bias[h]));
	for (int64_t c = 0; c < learned->classes; c++) {
		double sum = (double)learned->output_bias[c];

		if (!width) {
			logits[c] =
				unit(features, row, learned->output_weight + c * learned->features,
				     learned->output_bias[c]);
			continue;
		}
		for (int64_t h = 0; h < width; h++)
			sum += hidden[h] * (double)learned->output_weight[c * width + h];
		logits[c] = sum;
	}
}

int cr_learned_logits(const cr_learned *learned, const cr_features *features, int threads,
		      const cr_learning *learning, double *logits, crocuta_error *error)
{
	const int64_t rows = features->rows, width = learned->hidden, classes = learned->classes;
	double *hidden = cr_calloc((size_t)WAVE * (size_t)width, sizeof *hidden);
	int code = 0;

	if (!hidden)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory to apply a head");
	for (int64_t from = 0; from < rows && !code; from += WAVE) {
		const int64_t count = rows - from < WAVE ? rows - from : WAVE;

#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
		for (int64_t i = 0; i < count; i++)
			row_logits(learned, features, from + i, hidden + i * width,
				   logits + (from + i) * classes);
		if (learning)
			code = cr_learn_poll(learning);
	}
	cr_free(hidden);
	return code;
}

int64_t cr_learned_logits_bytes(int64_t hidden)
{
	return 8 * WAVE * hidden;
}

int cr_learned_apply(const cr_learned *learned, const cr_features *features, int threads,
		     double *probabilities, crocuta_error *error)
{
	int code = 0;

	if (features->columns != learned->features)
		return cr_fail(error, CROCUTA_EARG, "%lld features for a head that reads %lld",
			       (long long)features->columns, (long long)learned->features);
	threads = threads > 1 ? threads : 1;
	if (threads > 1)
		code = cr_threads_probe(threads, error);
	if (!code)
		code = cr_learned_logits(learned, features, threads, NULL, probabilities, error);
	for (int64_t i = 0; i < features->rows && !code; i++)
		(void)cr_softmax(probabilities + i * learned->classes, learned->classes, 0);
	return code;
}

/* First and second derivative by b of the mean log loss of logits times b. doubt: (C), by class, what
 * the target of each of its examples gives to every class, itself included. */
static void derivatives(const double *logits, const int32_t *label, int64_t rows, int64_t classes,
			const double *doubt, double b, double *first, double *second)
{
	*first = *second = 0;
	for (int64_t i = 0; i < rows; i++) {
		const double *row = logits + i * classes;
		const double other = doubt[label[i]];
		double largest = row[0], sum = 0, mean = 0, square = 0, all = 0;

		for (int64_t c = 1; c < classes; c++)
			largest = row[c] > largest ? row[c] : largest;
		for (int64_t c = 0; c < classes; c++) {
			double below = row[c] - largest, p = exp(b * below);

			all += below;
			sum += p;
			mean += p * below;
			square += p * below * below;
		}
		mean /= sum;
		*first += mean - other * all -
			  (1 - (double)classes * other) * (row[label[i]] - largest);
		*second += square / sum - mean * mean;
	}
	*first /= (double)rows;
	*second /= (double)rows;
}

/* The loss is convex in b = 1 / T: Newton's steps on its derivative, within a bracket. doubt: (C). */
static int find_temperature(const cr_learning *learning, const double *logits, const int32_t *label,
			    int64_t rows, const double *doubt, double *temperature)
{
	double low = 1 / HOTTEST, high = 1 / COLDEST, b = 1, first, second;

	for (int i = 0; i < 100 && high - low > 1e-12 * high; i++) {
		double next;
		int code = cr_learn_poll(learning);

		if (code)
			return code;
		derivatives(logits, label, rows, learning->classes, doubt, b, &first, &second);
		if (first == 0)
			break;
		*(first > 0 ? &high : &low) = b;
		next = second > 0 ? b - first / second : -1;
		if (fabs(next - b) <= 1e-12 * b)
			break;
		/* at the ends of the range nothing brackets yet: go there geometrically */
		b = next > low && next < high ? next : sqrt(low * high);
	}
	*temperature = 1 / b;
	return 0;
}

/* Few examples that are all predicted right would ask for certainty: so the targets are not 1 and 0
 * but what n examples of a class allow to say, (n + 1) / (n + C) and 1 / (n + C) (Platt 1999). */
int cr_fit_temperature(const cr_learning *learning, const double *logits, const int32_t *label,
		       int64_t rows, double *temperature)
{
	const int64_t classes = learning->classes;
	double *doubt = cr_calloc((size_t)classes, sizeof *doubt);
	int code;

	if (!doubt)
		return cr_fail(learning->error, CROCUTA_EMEMORY, "out of memory for the temperature");
	for (int64_t i = 0; i < rows; i++)
		doubt[label[i]]++;
	for (int64_t c = 0; c < classes; c++)
		doubt[c] = 1 / (doubt[c] + (double)classes);
	code = find_temperature(learning, logits, label, rows, doubt, temperature);
	cr_free(doubt);
	return code;
}
