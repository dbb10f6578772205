/* ref_gelu.c - GELU by its tanh approximation (Hendrycks and Gimpel 2016; torch "tanh"). */
#include <math.h>

#include "backend/ref/ref.h"

static double gelu(double x)
{
	return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

void cr_ref_gelu(double *x, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		x[i] = gelu(x[i]);
}

int cr_ref_op_gelu(const cr_ops *self, const cr_gelu_arguments *a, crocuta_error *error)
{
	(void)self;
	(void)error;
	for (int64_t i = 0; i < a->count; i++)
		a->y[i] = (float)gelu(a->x[i]);
	return 0;
}
