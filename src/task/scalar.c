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
	memcpy(scalar->classes, bases, 4);
	scalar->classes[4] = n_token;
	scalar->all = !classes;
	scalar->count = classes ? classes : rows;
}

float cr_scalar_value(const cr_scalar *scalar, const float *logits, uint8_t token)
{
	double largest = -HUGE_VAL, sum = 0, weighted = 0;
	const float *classes;
	float few[5];
	int known = 0;

	if (scalar->all) {
		known = token < scalar->rows;
	} else {
		for (int i = 0; i < scalar->count; i++) {
			few[i] = logits[scalar->classes[i]];
			known |= scalar->classes[i] == token;
		}
	}
	classes = scalar->all ? logits : few;
	for (int64_t i = 0; i < scalar->count; i++)
		largest = (double)classes[i] > largest ? (double)classes[i] : largest;
	if (scalar->kind == CR_SCALAR_LOGPROB && !known)
		return NAN;
	for (int64_t i = 0; i < scalar->count; i++) {
		double shifted = (double)classes[i] - largest, weight = exp(shifted);

		sum += weight;
		weighted += weight * shifted;
	}
	if (scalar->kind == CR_SCALAR_LOGPROB)
		return (float)((double)logits[token] - largest - log(sum));
	return (float)(log(sum) - weighted / sum);
}
