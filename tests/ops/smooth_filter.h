/* smooth_filter.h - filters with values between the integers, smooth and rough, for the far field.
 */
#ifndef CR_TESTS_SMOOTH_FILTER_H
#define CR_TESTS_SMOOTH_FILTER_H

#include "ops_test.h"

#define SMOOTH_TERMS 4
#define SMOOTH_WIDTH 80 /* channels at most */

/* A sum of decaying cosines a channel, h(n) = sum a_k exp(-r_k t) cos(2 pi f_k t + p_k), t = n / M.
 */
typedef struct smooth_filter {
	int64_t width, max_length;
	struct {
		double amplitude, rate, radians, phase;
	} term[SMOOTH_WIDTH][SMOOTH_TERMS];
} smooth_filter;

/* f_k lies in 0 .. cycles: `cycles` periods in the window set how rough the filter is. */
static inline smooth_filter smooth_filter_new(int64_t width, int64_t max_length, double cycles)
{
	smooth_filter f = {.width = width, .max_length = max_length};

	assert_true(width <= SMOOTH_WIDTH);
	for (int64_t d = 0; d < width; d++)
		for (int k = 0; k < SMOOTH_TERMS; k++) {
			const double x = (double)(d * SMOOTH_TERMS + k);
			const double frequency = cycles * (0.5 + 0.5 * sin(0.9 * x + 1));

			f.term[d][k].amplitude = sin(0.6 * x + 2);
			f.term[d][k].rate = 3 + 5 * (1 + sin(1.7 * x));
			f.term[d][k].radians = 2 * 3.14159265358979323846 * frequency;
			f.term[d][k].phase = 2.9 * x;
		}
	return f;
}

static inline double smooth_value(const smooth_filter *f, int64_t channel, double n)
{
	const double t = n / (double)f->max_length;
	double sum = n == 0 ? 0.5 : 0; /* a skip weight: tap 0 needs no smoothness */

	for (int k = 0; k < SMOOTH_TERMS; k++)
		sum += f->term[channel][k].amplitude * exp(-f->term[channel][k].rate * t) *
		       cos(f->term[channel][k].radians * t + f->term[channel][k].phase);
	return sum;
}

/* A cr_taps_function. */
static inline int smooth_values(void *user, const double *offsets, int64_t count, double *values,
				crocuta_error *error)
{
	const smooth_filter *f = user;

	(void)error;
	for (int64_t i = 0; i < count; i++)
		for (int64_t d = 0; d < f->width; d++)
			values[i * f->width + d] = smooth_value(f, d, offsets[i]);
	return 0;
}

#endif
