/* ref_short_filter_gate.c - the three-tap causal filter of a Hyena mixer and its input gate. */
#include "backend/ref/ref.h"
#include "base/memory.h"

/* Filtered channel c at position l; zeros (of u, after its projection) stand before the start. */
static double filtered(const double *u, const double *carry, const float *weight, const float *bias,
		       int64_t channels, int64_t l, int64_t c)
{
	double sum = bias[c];

	for (int64_t tap = 0; tap < 3; tap++) {
		const int64_t position = l - 2 + tap;

		if (position >= 0)
			sum += weight[3 * c + tap] * u[position * channels + c];
		else if (carry)
			sum += weight[3 * c + tap] * carry[(position + 2) * channels + c];
	}
	return sum;
}

void cr_ref_short_filter_gate(const double *u, const double *carry, const float *weight,
			      const float *bias, int64_t rows, int64_t width, double *x0,
			      double *gated)
{
	const int64_t channels = 3 * width;

	for (int64_t l = 0; l < rows; l++)
		for (int64_t d = 0; d < width; d++) {
			double x1 = filtered(u, carry, weight, bias, channels, l, width + d);
			double v = filtered(u, carry, weight, bias, channels, l, 2 * width + d);

			x0[l * width + d] = filtered(u, carry, weight, bias, channels, l, d);
			gated[l * width + d] = x1 * v;
		}
}

int cr_ref_op_short_filter_gate(const cr_ops *self, const cr_short_filter_gate_arguments *a,
				crocuta_error *error)
{
	const int64_t count = a->rows * a->width;
	double *u = cr_ref_widen(a->u, 3 * count);
	double *carry = a->carry ? cr_ref_widen(a->carry, 6 * a->width) : NULL;
	double *x0 = cr_ref_doubles(a->rows, a->width), *gated = cr_ref_doubles(a->rows, a->width);
	int code = u && x0 && gated && (carry || !a->carry) ? 0 : cr_ref_no_memory(error);

	(void)self;
	if (!code) {
		cr_ref_short_filter_gate(u, carry, a->weight, a->bias, a->rows, a->width, x0,
					 gated);
		cr_ref_narrow(x0, count, a->x0);
		cr_ref_narrow(gated, count, a->gated);
	}
	cr_free(u);
	cr_free(carry);
	cr_free(x0);
	cr_free(gated);
	return code;
}
