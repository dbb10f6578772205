/* implicit_filter.c - see implicit_filter.h. */
#include "mixer/implicit_filter.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/convolution.h"
#include "base/error.h"
#include "base/memory.h"

static const double pi = 3.14159265358979323846;

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a filter");
}

/* Doubles come from the aligned allocator: the kernels load whole vectors. */
static double *doubles(int64_t count)
{
	return (double *)(void *)cr_floats(2 * count);
}

/* (out, in) float32 -> (in_padded, out_padded) double, zero outside. */
static double *transposed(const float *weight, int64_t out, int64_t in, int64_t in_padded,
			  int64_t out_padded)
{
	double *result = doubles(in_padded * out_padded);

	for (int64_t o = 0; result && o < out; o++)
		for (int64_t i = 0; i < in; i++)
			result[i * out_padded + o] = weight[o * in + i];
	return result;
}

static double *widened(const float *values, int64_t count, int64_t padded)
{
	double *result = doubles(padded);

	for (int64_t i = 0; result && i < count; i++)
		result[i] = values[i];
	return result;
}

static int64_t round_up(int64_t count)
{
	return cr_lines(count) * CR_LINE;
}

int cr_implicit_filter_init(cr_implicit_filter *f, const cr_network *network, int64_t layer,
			    const cr_kernels *kernels, crocuta_error *error)
{
	const cr_filter_weights *w = &network->block[layer].filter;
	const int64_t order = network->filter_order, width = network->width;
	int complete = 1;

	memset(f, 0, sizeof *f);
	f->kernels = kernels;
	f->network = network;
	f->weights = w;
	f->order = round_up(order);
	f->channels = round_up(width);
	f->in_weight = transposed(w->in_weight, order, network->features, network->features,
				  f->order);
	f->in_bias = widened(w->in_bias, order, f->order);
	f->frequency = widened(w->frequency, order, f->order);
	for (int64_t i = 0; i < network->filter_inner; i++) {
		f->inner_weight[i] = transposed(w->inner_weight[i], order, order, f->order,
						f->order);
		f->inner_bias[i] = widened(w->inner_bias[i], order, f->order);
		complete = complete && f->inner_weight[i] && f->inner_bias[i];
	}
	f->out_weight = transposed(w->out_weight, width, order, f->order, f->channels);
	f->zero = doubles(f->channels);
	f->rates = widened(w->deltas, width, f->channels);
	if (!complete || !f->in_weight || !f->in_bias || !f->frequency || !f->out_weight ||
	    !f->zero || !f->rates) {
		cr_implicit_filter_free(f);
		return no_memory(error);
	}
	for (int64_t c = 0; c < width; c++)
		f->rates[c] = fabs(f->rates[c]);
	return 0;
}

void cr_implicit_filter_free(cr_implicit_filter *f)
{
	cr_free(f->in_weight);
	cr_free(f->in_bias);
	cr_free(f->frequency);
	for (int i = 0; i < CR_FILTER_INNER_MAX; i++) {
		cr_free(f->inner_weight[i]);
		cr_free(f->inner_bias[i]);
	}
	cr_free(f->out_weight);
	cr_free(f->zero);
	cr_free(f->rates);
	memset(f, 0, sizeof *f);
}

/* Position features z (count, E) and normalised offsets t (count): stored rows at integers below M
 * (unless `formula`), else t = n/(M-1), then cos(f_b w) and -sin(f_b w) at w = 2 pi n / M, f_b from
 * 1e-4 to B-1. */
static void position_features(const cr_implicit_filter *f, const double *offsets, int64_t count,
			      int formula, double *z, double *t)
{
	const int64_t features = f->network->features, bands = (features - 1) / 2;
	const double length = (double)f->network->max_length;

	for (int64_t i = 0; i < count; i++, z += features) {
		const double w = 2 * pi * offsets[i] / length;
		const int64_t n = (int64_t)offsets[i];
		const int stored = !formula && offsets[i] == (double)n && offsets[i] < length;

		t[i] = f->weights->t && stored ? (double)f->weights->t[n]
					       : offsets[i] / (length > 1 ? length - 1 : 1);
		if (f->weights->z && stored) {
			for (int64_t e = 0; e < features; e++)
				z[e] = f->weights->z[n * features + e];
			continue;
		}
		z[0] = offsets[i] / (length > 1 ? length - 1 : 1);
		for (int64_t b = 0; b < bands; b++) {
			double band = bands > 1 ? 1e-4 + ((double)(bands - 1) - 1e-4) *
								 (double)b / (double)(bands - 1)
						: 1e-4;

			z[1 + b] = cos(band * w);
			z[1 + bands + b] = -sin(band * w);
		}
	}
}

static int filter_values(const cr_implicit_filter *f, const double *offsets, int64_t count,
			 int formula, double *values, crocuta_error *error)
{
	const cr_kernels *k = f->kernels;
	const int64_t features = f->network->features, length = f->network->max_length;
	double *scratch = doubles(count * (features + 1 + 2 * f->order));
	double *a, *b, *z, *t;

	if (!scratch)
		return no_memory(error);
	a = scratch; /* the vector loads want these two aligned: order is a multiple of 32 */
	b = a + count * f->order;
	z = b + count * f->order;
	t = z + count * features;
	position_features(f, offsets, count, formula, z, t);
	k->filter_layer(z, features, f->in_weight, f->in_bias, f->frequency, a, f->order, count);
	for (int64_t i = 0; i < f->network->filter_inner; i++) {
		double *swap = a;

		k->filter_layer(a, f->order, f->inner_weight[i], f->inner_bias[i], f->frequency, b,
				f->order, count);
		a = b;
		b = swap;
	}
	k->filter_layer(a, f->order, f->out_weight, f->zero, NULL, values, f->channels, count);
	k->filter_decay(values, t, f->rates, f->network->filter_shift, f->channels, count);
	for (int64_t i = 0; i < count; i++) {
		if (offsets[i] == 0)
			for (int64_t c = 0; c < f->network->width; c++)
				values[i * f->channels + c] += f->weights->skip[c];
		if (f->weights->departs && offsets[i] >= (double)length)
			memset(values + i * f->channels, 0, (size_t)f->channels * sizeof *values);
	}
	cr_free(scratch);
	return 0;
}

int cr_implicit_filter_values(void *user, const double *offsets, int64_t count, double *values,
			      crocuta_error *error)
{
	return filter_values(user, offsets, count, 0, values, error);
}

#define TABLE_NOISE 2e-5 /* of the largest tap: what rounded tables may add */
#define PROBES 6         /* pairs of positions tried for each block distance */
#define DISTANCES 96     /* block distances tried, all of them when there are fewer */

/* Pairs (x, y) of positions in a target and a source block, as fractions: the corners, where
 * interpolation is worst, and a few inside. */
static const double probe[PROBES][2] = {{0, 1},       {1, 0},	    {0, 0},
					{0.31, 0.83}, {0.92, 0.47}, {0.57, 0.04}};

/* Stored tables carry float32 rounding that interpolation smooths away: the near/far form then
 * computes the filter that the formula means. *noise: how far apart the two are at offsets of the
 * far field, relative to the largest tap seen. */
static int table_noise(const cr_implicit_filter *f, int64_t from, double *noise,
		       crocuta_error *error)
{
	enum { SAMPLES = 64 };
	const int64_t span = f->network->max_length - from;
	double *values = doubles(2 * SAMPLES * f->channels), offsets[SAMPLES];
	double largest = 0, difference = 0;
	int code = 0;

	*noise = 0;
	if (!values)
		return no_memory(error);
	for (int i = 0; i < SAMPLES; i++)
		offsets[i] = (double)(span > 0 ? from + span * i / SAMPLES : i);
	code = filter_values(f, offsets, SAMPLES, 0, values, error);
	if (!code)
		code = filter_values(f, offsets, SAMPLES, 1, values + SAMPLES * f->channels, error);
	for (int64_t i = 0; !code && i < SAMPLES * f->channels; i++) {
		double apart = fabs(values[i] - values[SAMPLES * f->channels + i]);

		largest = fabs(values[i]) > largest ? fabs(values[i]) : largest;
		difference = apart > difference ? apart : difference;
	}
	*noise = largest > 0 ? difference / largest : 0;
	cr_free(values);
	return code;
}

/* Errors of one block distance into error_of (channels), running maxima of |h| into largest. */
static int probe_distance(const cr_implicit_filter *f, int64_t block, int rank,
			  const double *nodes, int64_t distance, double *offsets, double *values,
			  double *error_of, double *largest, crocuta_error *error)
{
	const int pairs = rank * rank;
	const double base = (double)(distance * block), span = (double)(block - 1);
	int code;

	for (int a = 0; a < rank; a++)
		for (int b = 0; b < rank; b++)
			offsets[a * rank + b] = base + nodes[a] - nodes[b];
	for (int p = 0; p < PROBES; p++)
		offsets[pairs + p] = base + span * (probe[p][0] - probe[p][1]);
	code = filter_values(f, offsets, pairs + PROBES, 1, values, error);
	if (code)
		return code;
	for (int p = 0; p < PROBES; p++) {
		double x[16], y[16];
		const double *truth = values + (pairs + p) * f->channels;

		cr_node_weights(nodes, rank, span * probe[p][0], x);
		cr_node_weights(nodes, rank, span * probe[p][1], y);
		for (int64_t c = 0; c < f->network->width; c++) {
			double sum = 0, difference;

			for (int a = 0; a < rank; a++)
				for (int b = 0; b < rank; b++)
					sum += x[a] * y[b] *
					       values[(a * rank + b) * f->channels + c];
			difference = fabs(sum - truth[c]);
			if (!(error_of[c] >= difference)) /* a NaN stays */
				error_of[c] = isnan(error_of[c]) ? error_of[c] : difference;
			if (fabs(truth[c]) > largest[c])
				largest[c] = fabs(truth[c]);
		}
	}
	return 0;
}

int cr_implicit_filter_certify(const cr_implicit_filter *f, int64_t block, int rank,
			       const double *nodes, int64_t first, int64_t reach,
			       double *worst, crocuta_error *error)
{
	const int64_t points = (int64_t)rank * rank + PROBES, distances = reach - first + 1;
	const int64_t count = distances < DISTANCES ? distances : DISTANCES;
	double *offsets = doubles(points), *values = doubles(points * f->channels);
	double *error_of = doubles(f->channels), *largest = doubles(f->channels);
	double noise = 0;
	int code = 0;

	*worst = HUGE_VAL;
	if (!offsets || !values || !error_of || !largest)
		code = no_memory(error);
	if (code || f->weights->departs)
		goto done;
	if (f->weights->z || f->weights->t) {
		code = table_noise(f, first * block, &noise, error);
		if (code || !(noise <= TABLE_NOISE))
			goto done;
	}
	/* the near field's own taps count towards the channel's scale */
	for (int64_t start = 0; !code && start < first * block; start += block / 4) {
		double offset = (double)(start ? start : 1);

		code = filter_values(f, &offset, 1, 1, values, error);
		for (int64_t c = 0; !code && c < f->network->width; c++)
			if (fabs(values[c]) > largest[c])
				largest[c] = fabs(values[c]);
	}
	for (int64_t i = 0; !code && i < count; i++) {
		int64_t step = count == distances ? i : i * (distances - 1) / (count - 1);

		code = probe_distance(f, block, rank, nodes, first + step, offsets, values,
				      error_of, largest, error);
	}
	if (!code) {
		*worst = 0;
		for (int64_t c = 0; c < f->network->width; c++) {
			double relative = largest[c] > 0 ? error_of[c] / largest[c] : 0;

			if (!(relative <= *worst))
				*worst = isnan(relative) ? HUGE_VAL : relative;
		}
	}
done:
	cr_free(offsets);
	cr_free(values);
	cr_free(error_of);
	cr_free(largest);
	return code;
}
