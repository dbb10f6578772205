/* scalar.c - see scalar.h. */
#include "task/scalar.h"

#include <math.h>
#include <string.h>

void cr_scalar_init(cr_scalar *scalar, int kind, int64_t rows, int classes, const uint8_t bases[4],
		    uint8_t n_token)
{
	memset(scalar, 0, sizeof *scalar);
	scalar->kind = kind;
	scalar->rows = rows;
	if (!classes) {
		scalar->count = (int)rows;
		for (int i = 0; i < scalar->count; i++)
			scalar->classes[i] = (uint8_t)i;
		return;
	}
	memcpy(scalar->classes, bases, 4);
	scalar->classes[4] = n_token;
	scalar->count = classes;
}

float cr_scalar_value(const cr_scalar *scalar, const float *logits, uint8_t token)
{
	double largest = -HUGE_VAL, sum = 0, weighted = 0;
	int known = 0;

	for (int i = 0; i < scalar->count; i++) {
		double logit = (double)logits[scalar->classes[i]];

		largest = logit > largest ? logit : largest;
		known |= scalar->classes[i] == token;
	}
	if (scalar->kind == CR_SCALAR_LOGPROB && !known)
		return NAN;
	for (int i = 0; i < scalar->count; i++) {
		double shifted = (double)logits[scalar->classes[i]] - largest,
		       weight = exp(shifted);

		sum += weight;
		weighted += weight * shifted;
	}
	if (scalar->kind == CR_SCALAR_LOGPROB)
		return (float)((double)logits[token] - largest - log(sum));
	return (float)(log(sum) - weighted / sum);
}
