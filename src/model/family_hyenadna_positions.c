/* family_hyenadna_positions.c - the constants of a HyenaDNA's filter, by formula.
 *
 * t[n] = n / (M - 1); z[n] = t, then cos(f_b w) and -sin(f_b w) for bands b with w = 2 pi n / M;
 * decay rates evenly spaced between ln(0.01)/1.5 and ln(0.01)/0.3. Released checkpoints store all
 * three, rounded from a float32 computation that is off by up to 6.6e-7.
 */
#include <math.h>

#include "base/memory.h"
#include "model/family.h"

#define PI 3.14159265358979323846
#define TABLE_TOLERANCE 1e-6
#define RUN 128 /* positions computed by rotation between two exact sines: error below 1e-13 */

static double band_frequency(int64_t band, int64_t bands)
{
	const double lowest = 1e-4;

	if (bands == 1)
		return lowest;
	return lowest + (double)band * ((double)(bands - 1) - lowest) / (double)(bands - 1);
}

void cr_hyenadna_positions(int64_t max_length, int64_t features, int64_t first, int64_t count,
			   double *z, double *t)
{
	int64_t bands = (features - 1) / 2;
	double last = max_length > 1 ? (double)(max_length - 1) : 1;

	for (int64_t i = 0; t && i < count; i++)
		t[i] = (double)(first + i) / last;
	for (int64_t i = 0; z && i < count; i++)
		z[i * features] = (double)(first + i) / last;
	for (int64_t b = 0; z && b < bands; b++) {
		double step = 2 * PI * band_frequency(b, bands) / (double)max_length;
		double cos_step = cos(step), sin_step = sin(step), c = 1, s = 0;

		for (int64_t i = 0; i < count; i++) {
			double turned = c * cos_step - s * sin_step;

			s = s * cos_step + c * sin_step;
			c = turned;
			if (i % RUN == 0) {
				c = cos(step * (double)(first + i));
				s = sin(step * (double)(first + i));
			}
			z[i * features + 1 + b] = c;
			z[i * features + 1 + bands + b] = -s;
		}
	}
}

static double decay_rate(int64_t channel, int64_t width)
{
	const double slow = log(0.01) / 1.5, fast = log(0.01) / 0.3;

	return width > 1 ? slow + (double)channel * (fast - slow) / (double)(width - 1) : slow;
}

void cr_hyenadna_deltas(int64_t width, float *deltas)
{
	for (int64_t i = 0; i < width; i++)
		deltas[i] = (float)decay_rate(i, width);
}

int cr_hyenadna_deltas_agree(const float *deltas, int64_t width)
{
	for (int64_t i = 0; i < width; i++) {
		double expected = decay_rate(i, width);

		/* Only |delta| enters the filter; NaN disagrees. */
		if (!(fabs(fabs((double)deltas[i]) - fabs(expected)) <= 1e-6 * fabs(expected)))
			return 0;
	}
	return 1;
}

int cr_hyenadna_table_agrees(const float *table, int role, int64_t max_length, int64_t features,
			     int *agrees)
{
	int64_t columns = role == CR_ROLE_FEATURES ? features : 1;
	double *exact = cr_calloc((size_t)(RUN * columns), sizeof *exact);

	if (!exact)
		return CROCUTA_EMEMORY;
	*agrees = 1;
	for (int64_t first = 0; first < max_length && *agrees; first += RUN) {
		int64_t count = max_length - first < RUN ? max_length - first : RUN;
		const float *stored = table + first * columns;

		cr_hyenadna_positions(max_length, features, first, count,
				      role == CR_ROLE_FEATURES ? exact : NULL,
				      role == CR_ROLE_FEATURES ? NULL : exact);
		for (int64_t i = 0; i < count * columns; i++) /* NaN disagrees */
			if (!(fabs((double)stored[i] - exact[i]) <= TABLE_TOLERANCE))
				*agrees = 0;
	}
	cr_free(exact);
	return 0;
}
