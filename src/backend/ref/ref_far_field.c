/* ref_far_field.c - the three steps of the convolution's far field: moments of a source block, a
 * table from one block's moments to another's nodes, and values at that block's positions. */
#include "backend/ref/ref.h"

int cr_ref_op_moments(const cr_ops *self, const cr_moments_arguments *a, crocuta_error *error)
{
	(void)self;
	(void)error;
	for (int64_t r = 0; r < a->rank; r++)
		for (int64_t d = 0; d < a->width; d++) {
			double sum = 0;

			for (int64_t l = 0; l < a->rows; l++)
				sum += (double)a->nodes[l * a->rank + r] * a->x[l * a->width + d];
			a->out[r * a->width + d] = (float)sum;
		}
	return 0;
}

int cr_ref_op_far_apply(const cr_ops *self, const cr_far_apply_arguments *a, crocuta_error *error)
{
	(void)self;
	(void)error;
	for (int64_t r = 0; r < a->rank; r++)
		for (int64_t d = 0; d < a->width; d++) {
			double sum = a->far[r * a->width + d];

			for (int64_t s = 0; s < a->rank; s++)
				sum += (double)a->table[(r * a->rank + s) * a->width + d] *
				       a->moments[s * a->width + d];
			a->far[r * a->width + d] = (float)sum;
		}
	return 0;
}

int cr_ref_op_evaluate(const cr_ops *self, const cr_evaluate_arguments *a, crocuta_error *error)
{
	(void)self;
	(void)error;
	for (int64_t l = 0; l < a->rows; l++)
		for (int64_t d = 0; d < a->width; d++) {
			double sum = 0;

			for (int64_t r = 0; r < a->rank; r++)
				sum += (double)a->nodes[l * a->rank + r] * a->far[r * a->width + d];
			a->y[l * a->width + d] = (float)sum;
		}
	return 0;
}
