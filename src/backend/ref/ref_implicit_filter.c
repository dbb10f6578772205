/* ref_implicit_filter.c - the long filter's taps from its network (docs/hyenadna.md 2.3).
 *
 * Offsets are normalised by the model's length M, never by the sequence's: t = n / (M - 1) and
 * w = 2 pi n / M, two different denominators, as the original has it.
 */
#include <math.h>
#include <string.h>

#include "backend/ref/ref.h"
#include "base/error.h"
#include "base/memory.h"

/* z (E) and t at one offset: stored, or by the formula in double. */
static double position_features(const cr_implicit_filter_arguments *a, double offset, double *z)
{
	const double pi = 3.14159265358979323846, length = (double)a->max_length;
	const int64_t bands = (a->features - 1) / 2;
	const double w = 2 * pi * offset / length;
	const int stored = offset == floor(offset) && offset < length;
	double t = a->max_length > 1 ? offset / (length - 1) : 0;

	if (stored && a->weights->z) {
		for (int64_t e = 0; e < a->features; e++)
			z[e] = a->weights->z[(int64_t)offset * a->features + e];
	} else {
		z[0] = t;
		for (int64_t b = 0; b < bands; b++) {
			/* linspace(1e-4, bands - 1, bands) */
			double step =
				bands > 1 ? ((double)(bands - 1) - 1e-4) / (double)(bands - 1) : 0;
			double f = 1e-4 + step * (double)b;

			z[1 + b] = cos(f * w);
			z[1 + bands + b] = -sin(f * w);
		}
	}
	if (stored && a->weights->t)
		t = a->weights->t[(int64_t)offset];
	return t;
}

/* y = sin(frequency * (W x + b)); W (F, in). */
static void sine_layer(const double *x, const float *weight, const float *bias,
		       const float *frequency, int64_t in, int64_t out, double *y)
{
	for (int64_t o = 0; o < out; o++) {
		double sum = bias[o];

		for (int64_t i = 0; i < in; i++)
			sum += weight[o * in + i] * x[i];
		y[o] = sin(frequency[o] * sum);
	}
}

/* All D taps at one offset. now, next: (F) scratch. */
static void taps_at(const cr_implicit_filter_arguments *a, double offset, double *z, double *now,
		    double *next, double *h)
{
	const cr_filter_weights *w = a->weights;
	const double t = position_features(a, offset, z);

	sine_layer(z, w->in_weight, w->in_bias, w->frequency, a->features, a->order, now);
	for (int64_t layer = 0; layer < a->inner; layer++) {
		sine_layer(now, w->inner_weight[layer], w->inner_bias[layer], w->frequency,
			   a->order, a->order, next);
		memcpy(now, next, (size_t)a->order * sizeof *now);
	}
	for (int64_t d = 0; d < a->width; d++) {
		double g = 0;

		for (int64_t f = 0; f < a->order; f++)
			g += w->out_weight[d * a->order + f] * now[f];
		h[d] = g * (exp(-t * fabs(w->deltas[d])) + a->shift);
		if (a->with_skip && offset == 0)
			h[d] += w->skip[d];
	}
}

int cr_ref_implicit_filter(const cr_implicit_filter_arguments *a, crocuta_error *error)
{
	double *z, *now, *next;
	int code = 0;

	if (a->features < 3 || a->features % 2 == 0 || a->inner > CR_FILTER_INNER_MAX)
		return cr_fail(error, CROCUTA_EARG, "%lld position features, %lld inner layers",
			       (long long)a->features, (long long)a->inner);
	z = cr_ref_doubles(a->features, 1);
	now = cr_ref_doubles(a->order, 1);
	next = cr_ref_doubles(a->order, 1);
	if (!z || !now || !next)
		code = cr_ref_no_memory(error);
	for (int64_t i = 0; !code && i < a->count; i++)
		taps_at(a, a->offsets[i], z, now, next, a->values + i * a->width);
	cr_free(z);
	cr_free(now);
	cr_free(next);
	return code;
}

int cr_ref_op_implicit_filter(const cr_ops *self, const cr_implicit_filter_arguments *a,
			      crocuta_error *error)
{
	(void)self;
	return cr_ref_implicit_filter(a, error);
}
