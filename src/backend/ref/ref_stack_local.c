/* ref_stack_local.c - the operators on stacks that look at one row: token vectors, norms, matrix
 * products, rotation, activations. */
#include <math.h>

#include "backend/ref/ref.h"
#include "backend/ref/ref_stack.h"
#include "base/error.h"

int cr_ref_stack_embed(cr_stack_device *device, const cr_stack_embed *a, crocuta_error *error)
{
	const cr_matrix *table = a->table;

	for (int64_t l = 0; l < a->rows; l++) {
		const int64_t token = a->tokens[l];

		if (token >= table->rows)
			return cr_fail(error, CROCUTA_EINPUT,
				       "token %lld at row %lld: there are %lld", (long long)token,
				       (long long)l, (long long)table->rows);
		for (int64_t d = 0; d < table->columns; d++)
			cr_ref_put(
				a->y, device->residual, l * table->columns + d,
				cr_ref_get(table->values, table->type, token * table->columns + d));
	}
	return 0;
}

/* Mean and biased variance of row l. */
static void moments(const cr_stack_norm *a, int type, int64_t l, double *mean, double *variance)
{
	*mean = *variance = 0;
	for (int64_t d = 0; d < a->width; d++)
		*mean += cr_ref_get(a->x, type, l * a->width + d);
	*mean /= (double)a->width;
	for (int64_t d = 0; d < a->width; d++) {
		const double off = cr_ref_get(a->x, type, l * a->width + d) - *mean;

		*variance += off * off;
	}
	*variance /= (double)a->width;
}

/* Root of the mean of the squares of row l. */
static double root_mean_square(const cr_stack_norm *a, int type, int64_t l)
{
	double sum = 0;

	for (int64_t d = 0; d < a->width; d++) {
		const double x = cr_ref_get(a->x, type, l * a->width + d);

		sum += x * x;
	}
	return sqrt(sum / (double)a->width);
}

int cr_ref_stack_norm(cr_stack_device *device, const cr_stack_norm *a, crocuta_error *error)
{
	const int from = device->residual, to = a->wide ? device->residual : device->activation;

	if (a->kind != CR_NORM_LAYER && a->kind != CR_NORM_RMS)
		return cr_fail(error, CROCUTA_EARG, "norm of kind %d", a->kind);
	for (int64_t l = 0; l < a->rows; l++) {
		double mean = 0, variance, divisor;

		if (a->kind == CR_NORM_LAYER) {
			moments(a, from, l, &mean, &variance);
			divisor = sqrt(variance + a->epsilon);
		} else {
			divisor = root_mean_square(a, from, l) + a->epsilon;
		}
		for (int64_t d = 0; d < a->width; d++) {
			const int64_t i = l * a->width + d;
			const double y = (cr_ref_get(a->x, from, i) - mean) / divisor *
					 (double)a->weights.scale[d];

			cr_ref_put(a->y, to, i, y + (a->weights.shift ? a->weights.shift[d] : 0));
		}
	}
	return 0;
}

int cr_ref_stack_linear(cr_stack_device *device, const cr_stack_linear *a, crocuta_error *error)
{
	const cr_matrix *m = a->matrix;
	const int to = a->target == CR_LINEAR_STORE ? device->activation : device->residual;

	if (a->target != CR_LINEAR_STORE && a->target != CR_LINEAR_ADD &&
	    a->target != CR_LINEAR_WIDE)
		return cr_fail(error, CROCUTA_EARG, "matrix product with target %d", a->target);
	for (int64_t l = 0; l < a->rows; l++)
		for (int64_t o = 0; o < m->rows; o++) {
			const int64_t at = l * a->y_stride + o;
			double sum = m->bias ? m->bias[o] : 0;

			for (int64_t i = 0; i < m->columns; i++)
				sum += cr_ref_get(a->x, device->activation, l * a->x_stride + i) *
				       cr_ref_get(m->values, m->type, o * m->columns + i);
			if (a->target == CR_LINEAR_ADD)
				sum += cr_ref_get(a->y, to, at);
			cr_ref_put(a->y, to, at, sum);
		}
	return 0;
}

/* Angles are float32's, as in the code that the networks were trained with; their cosines and sines
 * are exact. */
int cr_ref_stack_rope(cr_stack_device *device, const cr_stack_rope *a, crocuta_error *error)
{
	const cr_attention_weights *w = a->weights;
	const int64_t half = w->rotary_size / 2;
	const int type = device->activation;

	(void)error;
	for (int64_t l = 0; l < a->rows; l++) {
		const float place = (float)(a->first + l) / (float)w->position_divisor;

		for (int64_t h = 0; h < a->heads; h++)
			for (int64_t i = 0; i < half; i++) {
				const float angle = place * w->inverse_frequency[i];
				const double c = cos((double)angle), s = sin((double)angle);
				const int64_t low = l * a->stride + h * w->head_size + i;
				const double x = cr_ref_get(a->x, type, low);
				const double y = cr_ref_get(a->x, type, low + half);

				cr_ref_put(a->x, type, low, x * c - y * s);
				cr_ref_put(a->x, type, low + half, y * c + x * s);
			}
	}
	return 0;
}

double cr_ref_activation(int activation, double x)
{
	switch (activation) {
	case CR_ACTIVATION_GELU:
		return 0.5 * x * erfc(-x * 0.70710678118654752440);
	case CR_ACTIVATION_GELU_TANH:
		cr_ref_gelu(&x, 1);
		return x;
	case CR_ACTIVATION_SILU:
		return x / (1 + exp(-x));
	default:
		return x;
	}
}

int cr_ref_stack_activate(cr_stack_device *device, const cr_stack_activate *a, crocuta_error *error)
{
	const int type = device->activation;

	if (a->activation < CR_ACTIVATION_NONE || a->activation > CR_ACTIVATION_SILU)
		return cr_fail(error, CROCUTA_EARG, "activation %d", a->activation);
	for (int64_t i = 0; i < a->count; i++) {
		const double y = cr_ref_activation(a->activation, cr_ref_get(a->a, type, i));

		cr_ref_put(a->y, type, i, a->b ? y * cr_ref_get(a->b, type, i) : y);
	}
	return 0;
}
