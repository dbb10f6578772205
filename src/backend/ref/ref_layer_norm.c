/* ref_layer_norm.c - layer normalisation, two passes, biased variance, epsilon inside the root. */
#include <math.h>

#include "backend/ref/ref.h"
#include "base/memory.h"

void cr_ref_layer_norm(const double *x, const float *weight, const float *bias, int64_t rows,
		       int64_t width, double epsilon, double *y)
{
	for (int64_t l = 0; l < rows; l++, x += width, y += width) {
		double mean = 0, variance = 0;

		for (int64_t d = 0; d < width; d++)
			mean += x[d];
		mean /= (double)width;
		for (int64_t d = 0; d < width; d++)
			variance += (x[d] - mean) * (x[d] - mean);
		variance /= (double)width;
		for (int64_t d = 0; d < width; d++)
			y[d] = (x[d] - mean) / sqrt(variance + epsilon) * weight[d] + bias[d];
	}
}

int cr_ref_op_layer_norm(const cr_ops *self, const cr_layer_norm_arguments *a, crocuta_error *error)
{
	double *x = cr_ref_widen(a->x, a->rows * a->width), *y = cr_ref_doubles(a->rows, a->width);
	int code = x && y ? 0 : cr_ref_no_memory(error);

	(void)self;
	if (!code) {
		cr_ref_layer_norm(x, a->weight, a->bias, a->rows, a->width, a->epsilon, y);
		cr_ref_narrow(y, a->rows * a->width, a->y);
	}
	cr_free(x);
	cr_free(y);
	return code;
}
