/* scalar.h - log-likelihood and entropy of a base from a row of logits. */
#ifndef CR_TASK_SCALAR_H
#define CR_TASK_SCALAR_H

#include <stdint.h>

enum cr_scalar_kind { CR_SCALAR_NONE, CR_SCALAR_LOGPROB, CR_SCALAR_ENTROPY };

typedef struct cr_scalar {
	int kind;           /* enum cr_scalar_kind */
	int64_t rows;       /* V, logits of a row; ids, which are bytes, may reach the first 256 */
	int all;            /* the softmax runs over all rows */
	int64_t count;      /* classes the softmax runs over: V, 4 or 5 */
	uint8_t classes[5]; /* their token ids when they are not all */
} cr_scalar;

/* classes: 0 all V rows, 4 the ids of A C G T, 5 those and n_token. bases: ids of A C G T. */
void cr_scalar_init(cr_scalar *scalar, int kind, int64_t rows, int classes, const uint8_t bases[4],
		    uint8_t n_token);

/* Natural logarithms, in double, rounded once. NaN for a logprob of a token outside the classes.
 * Logits must be finite. */
float cr_scalar_value(const cr_scalar *scalar, const float *logits, uint8_t token);

#endif
