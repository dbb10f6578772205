/* ref_stack_attention.c - causal softmax attention, a query at a time, and the merge of partial
 * results. */
#include <math.h>

#include "backend/ref/ref.h"
#include "backend/ref/ref_stack.h"
#include "base/error.h"
#include "base/memory.h"

/* One query of one head over its visible keys: o (head_size) normalised, and the logarithm of the
 * sum of exponentials. score: (keys) scratch. */
static double attend(const cr_stack_attention *a, int type, int64_t l, int64_t h, double *score,
		     double *o)
{
	const int64_t shared = h / (a->heads / a->kv_heads) * a->head_size;
	const int64_t ahead = a->q_first + l + 1 - a->k_first; /* keys not behind the query */
	const int64_t visible = ahead < 0 ? 0 : ahead < a->keys ? ahead : a->keys;
	double largest = -INFINITY, sum = 0;

	for (int64_t i = 0; i < a->head_size; i++)
		o[i] = 0;
	for (int64_t j = 0; j < visible; j++) {
		score[j] = 0;
		for (int64_t i = 0; i < a->head_size; i++)
			score[j] += cr_ref_get(a->q, type, l * a->q_stride + h * a->head_size + i) *
				    cr_ref_get(a->k, type, j * a->k_stride + shared + i);
		score[j] *= a->scale;
		if (score[j] > largest)
			largest = score[j];
	}
	for (int64_t j = 0; j < visible; j++) {
		const double weight = exp(score[j] - largest);

		sum += weight;
		for (int64_t i = 0; i < a->head_size; i++)
			o[i] += weight * cr_ref_get(a->v, type, j * a->v_stride + shared + i);
	}
	for (int64_t i = 0; visible && i < a->head_size; i++)
		o[i] /= sum;
	return visible ? largest + log(sum) : -INFINITY;
}

/* What o and lse hold and this block's o and lse; both into the latter. */
static double merge(const cr_stack_attention *a, int type, int64_t l, int64_t h, double lse,
		    double *o)
{
	const double before = cr_ref_get(a->lse, type, h * a->rows + l);
	double merged = before, weight = 0;

	if (lse != -INFINITY) {
		merged = fmax(before, lse) + log1p(exp(-fabs(before - lse)));
		weight = exp(lse - merged);
	}
	for (int64_t i = 0; i < a->head_size; i++) {
		const double held = cr_ref_get(a->o, type, (l * a->heads + h) * a->head_size + i);

		o[i] = held + (o[i] - held) * weight;
	}
	return merged;
}

int cr_ref_stack_attention(cr_stack_device *device, const cr_stack_attention *a,
			   crocuta_error *error)
{
	const int type = device->activation;
	double *score, *o;
	int code = 0;

	if (a->kv_heads < 1 || a->heads % a->kv_heads || (!a->first && (!a->o || !a->lse)) ||
	    (!a->y && (!a->o || !a->lse)))
		return cr_fail(error, CROCUTA_EARG, "attention of %lld heads over %lld",
			       (long long)a->heads, (long long)a->kv_heads);
	score = cr_ref_doubles(a->keys, 1);
	o = cr_ref_doubles(a->head_size, 1);
	if (!score || !o)
		code = cr_ref_no_memory(error);
	for (int64_t l = 0; !code && l < a->rows; l++)
		for (int64_t h = 0; h < a->heads; h++) {
			double lse = attend(a, type, l, h, score, o);

			if (!a->first)
				lse = merge(a, device->residual, l, h, lse, o);
			if (a->lse)
				cr_ref_put(a->lse, device->residual, h * a->rows + l, lse);
			for (int64_t i = 0; i < a->head_size; i++) {
				const int64_t at = h * a->head_size + i;

				if (a->o)
					cr_ref_put(a->o, device->residual,
						   l * a->heads * a->head_size + at, o[i]);
				if (a->y)
					cr_ref_put(a->y, type, l * a->y_stride + at, o[i]);
			}
		}
	cr_free(score);
	cr_free(o);
	return code;
}
