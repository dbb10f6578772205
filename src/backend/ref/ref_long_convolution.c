/* ref_long_convolution.c - the causal long convolution summed directly, O(L^2). */
#include "backend/ref/ref.h"
#include "base/error.h"
#include "base/memory.h"

void cr_ref_convolve(const double *h, int64_t count, const double *v, int64_t rows, double *y)
{
	for (int64_t l = 0; l < rows; l++)
		y[l] = 0;
	for (int64_t m = 0; m < count && m < rows; m++)
		for (int64_t l = m; l < rows; l++)
			y[l] += h[m] * v[l - m];
}

/* Taps (D, count) in double, from the function or the array. */
static int fetch_taps(const cr_long_convolution_arguments *a, int64_t count, double *h,
		      crocuta_error *error)
{
	double *offsets, *values;
	int code;

	if (!a->function) {
		for (int64_t d = 0; d < a->width; d++)
			for (int64_t m = 0; m < count; m++)
				h[d * count + m] = a->taps[d * a->max_length + m];
		return 0;
	}
	offsets = cr_ref_doubles(count, 1);
	values = cr_ref_doubles(count, a->width);
	for (int64_t m = 0; offsets && m < count; m++)
		offsets[m] = (double)m;
	code = offsets && values ? a->function(a->user, offsets, count, values, error)
				 : cr_ref_no_memory(error);
	for (int64_t m = 0; !code && m < count; m++)
		for (int64_t d = 0; d < a->width; d++)
			h[d * count + m] = values[m * a->width + d];
	cr_free(offsets);
	cr_free(values);
	return code;
}

int cr_ref_op_long_convolution(const cr_ops *self, const cr_long_convolution_arguments *a,
			       crocuta_error *error)
{
	const int64_t count = a->rows < a->max_length ? a->rows : a->max_length;
	double *h = cr_ref_doubles(a->width, count);
	double *v = cr_ref_doubles(a->rows, 1), *y = cr_ref_doubles(a->rows, 1);
	int code = h && v && y ? 0 : cr_ref_no_memory(error);

	(void)self;
	if (!code)
		code = fetch_taps(a, count, h, error);
	for (int64_t d = 0; !code && d < a->width; d++) {
		for (int64_t l = 0; l < a->rows; l++)
			v[l] = a->v[l * a->width + d];
		cr_ref_convolve(h + d * count, count, v, a->rows, y);
		for (int64_t l = 0; l < a->rows; l++)
			a->y[l * a->width + d] = (float)(a->gate[l * a->width + d] * y[l]);
	}
	cr_free(h);
	cr_free(v);
	cr_free(y);
	return code;
}
