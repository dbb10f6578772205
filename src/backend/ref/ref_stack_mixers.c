/* ref_stack_mixers.c - the operators on stacks that go along a sequence: short filter with gates,
 * explicit taps, sums of exponentials. */
#include <math.h>

#include "backend/ref/ref.h"
#include "backend/ref/ref_stack.h"
#include "base/error.h"
#include "base/memory.h"

/* The short filter's value for channel c (of parts D) at row l. */
static double short_filter(const cr_stack_front *a, int type, int64_t l, int64_t c)
{
	double sum = a->bias ? a->bias[c] : 0;

	for (int64_t k = 0; k < a->length; k++)
		sum += (double)a->taps[c * a->length + k] *
		       cr_ref_get(a->z, type, (l - k) * a->parts * a->width + c);
	return sum;
}

int cr_ref_stack_front(cr_stack_device *device, const cr_stack_front *a, crocuta_error *error)
{
	const int type = device->activation;
	const int64_t x1 = (a->parts - 2) * a->width, v = x1 + a->width; /* their first channels */

	if (a->length < 1 || a->length > 8 || (a->parts != 2 && a->parts != 3) ||
	    (a->parts == 2 && a->x2))
		return cr_fail(error, CROCUTA_EARG, "short filter of %lld taps on %d parts",
			       (long long)a->length, a->parts);
	for (int64_t l = 0; l < a->rows; l++)
		for (int64_t d = 0; d < a->width; d++) {
			if (a->x2)
				cr_ref_put(a->x2, type, l * a->width + d,
					   short_filter(a, type, l, d));
			cr_ref_put(a->g, type, l * a->width + d,
				   short_filter(a, type, l, x1 + d) *
					   short_filter(a, type, l, v + d));
		}
	return 0;
}

int cr_ref_stack_fir(cr_stack_device *device, const cr_stack_fir *a, crocuta_error *error)
{
	const cr_fir_weights *w = a->weights;
	const int type = device->activation;

	if (w->groups < 1 || a->width % w->groups)
		return cr_fail(error, CROCUTA_EARG, "%lld filters for %lld channels",
			       (long long)w->groups, (long long)a->width);
	for (int64_t l = 0; l < a->rows; l++)
		for (int64_t d = 0; d < a->width; d++) {
			const float *taps = w->taps + d / (a->width / w->groups) * w->length;
			const int64_t at = l * a->width + d;
			double sum = a->skip ? a->skip[d] * cr_ref_get(a->g, type, at) : 0;

			for (int64_t k = 0; k < w->length; k++)
				sum += (double)taps[k] * cr_ref_get(a->g, type, at - k * a->width);
			cr_ref_put(a->y, type, at, sum * cr_ref_get(a->x2, type, at));
		}
	return 0;
}

/* pole^power of mode i (of D N): real part, and for complex poles the imaginary one. */
static void pole_power(const cr_modal_weights *w, int64_t i, int64_t power, double *re, double *im)
{
	double base_re, base_im;

	*im = 0;
	if (!w->complex) {
		*re = exp((double)w->poles[i] * (double)power);
		return;
	}
	*re = 1;
	base_re = w->poles[2 * i];
	base_im = w->poles[2 * i + 1];
	for (; power; power >>= 1) {
		double t;

		if (power & 1) {
			t = *re * base_re - *im * base_im;
			*im = *re * base_im + *im * base_re;
			*re = t;
		}
		t = base_re * base_re - base_im * base_im;
		base_im *= 2 * base_re;
		base_re = t;
	}
}

/* One row of one channel: states step on; the filter's value there. poles: (N, 2) in double. */
static double modal_step(const cr_modal_weights *w, int64_t d, const double *poles, double g,
			 double *state)
{
	double sum = 0;

	for (int64_t n = 0; n < w->states; n++) {
		const int64_t i = d * w->states + n;

		if (w->complex) {
			double *s = state + 2 * i;
			const double re = poles[2 * n] * s[0] - poles[2 * n + 1] * s[1] + g;

			s[1] = poles[2 * n] * s[1] + poles[2 * n + 1] * s[0];
			s[0] = re;
			sum += w->residues[2 * i] * s[0] - w->residues[2 * i + 1] * s[1];
		} else {
			state[i] = poles[2 * n] * state[i] + g;
			sum += w->residues[i] * state[i];
		}
	}
	return sum;
}

int cr_ref_stack_modal(cr_stack_device *device, const cr_stack_modal *a, crocuta_error *error)
{
	const cr_modal_weights *w = a->weights;
	const int type = device->activation;
	double *poles = cr_ref_doubles(w->states, 2);

	if (!poles)
		return cr_ref_no_memory(error);
	for (int64_t d = 0; d < a->width; d++) {
		for (int64_t n = 0; n < w->states; n++)
			pole_power(w, d * w->states + n, 1, poles + 2 * n, poles + 2 * n + 1);
		for (int64_t l = 0; l < a->rows; l++) {
			const int64_t at = l * a->width + d;
			const double g = cr_ref_get(a->g, type, at);
			double sum = modal_step(w, d, poles, g, a->state);

			if (a->skip)
				sum += a->skip[d] * g;
			if (a->y)
				cr_ref_put(a->y, type, at, sum * cr_ref_get(a->x2, type, at));
		}
	}
	cr_free(poles);
	return 0;
}

int cr_ref_stack_modal_fold(cr_stack_device *device, const cr_stack_modal_fold *a,
			    crocuta_error *error)
{
	const cr_modal_weights *w = a->weights;

	(void)device;
	(void)error;
	for (int64_t i = 0; i < a->width * w->states; i++) {
		double re, im;

		pole_power(w, i, a->length, &re, &im);
		if (w->complex) {
			double *s = a->state + 2 * i;
			const double t = re * s[0] - im * s[1] + a->local[2 * i];

			s[1] = re * s[1] + im * s[0] + a->local[2 * i + 1];
			s[0] = t;
		} else {
			a->state[i] = re * a->state[i] + a->local[i];
		}
	}
	return 0;
}
