/* reference_forward.h - a whole network in double from the reference operators: the oracle. */
#ifndef CR_REF_REFERENCE_FORWARD_H
#define CR_REF_REFERENCE_FORWARD_H

#include <stdint.h>

#include <crocuta/error.h>

#include "backend/network.h"

/* Run one sequence of L = length tokens, 1 .. M. layer: 0 the token vectors, k < N the residual
 * stream after k blocks, N or -1 the output of the final norm; logits need the last. The long
 * convolution is summed directly, so time grows with L^2. CROCUTA_EARG, CROCUTA_EINPUT (a token not
 * below V) or CROCUTA_EMEMORY. Any thread. */
int cr_reference_forward(const cr_network *network, const uint8_t *tokens, int64_t length,
			 int layer, float *hidden /* (L, D) or NULL */,
			 float *logits /* (L, V) or NULL */, crocuta_error *error);

#endif
