/* ref_linear.c - y = x W' + b, weight rows are outputs as torch stores them. */
#include "backend/ref/ref.h"
#include "base/memory.h"

void cr_ref_linear(const double *x, const float *weight, const float *bias, int64_t rows,
		   int64_t in, int64_t out, int accumulate, double *y)
{
	for (int64_t l = 0; l < rows; l++)
		for (int64_t o = 0; o < out; o++) {
			double sum = bias ? bias[o] : 0;

			for (int64_t i = 0; i < in; i++)
				sum += x[l * in + i] * weight[o * in + i];
			y[l * out + o] = accumulate ? y[l * out + o] + sum : sum;
		}
}

int cr_ref_op_linear(const cr_ops *self, const cr_linear_arguments *a, crocuta_error *error)
{
	double *x = cr_ref_widen(a->x, a->rows * a->in);
	double *y = a->accumulate ? cr_ref_widen(a->y, a->rows * a->out)
				  : cr_ref_doubles(a->rows, a->out);
	int code = x && y ? 0 : cr_ref_no_memory(error);

	(void)self;
	if (!code) {
		cr_ref_linear(x, a->weight, a->bias, a->rows, a->in, a->out, a->accumulate, y);
		cr_ref_narrow(y, a->rows * a->out, a->y);
	}
	cr_free(x);
	cr_free(y);
	return code;
}
