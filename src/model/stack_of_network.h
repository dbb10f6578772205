/* stack_of_network.h - the blocks of a HyenaDNA as the layers of a stack. */
#ifndef CR_MODEL_STACK_OF_NETWORK_H
#define CR_MODEL_STACK_OF_NETWORK_H

#include "backend/stack.h"

/* Floats that the short filters of all layers take, tap 0 first. */
int64_t cr_stack_taps_floats(const cr_network *network);

/* Describe a network, whose arrays the stack borrows. attention: (N), heads 0 where a layer has
 * HyenaDNA's own operator, or NULL for a network without attention; in a layer with heads the
 * block's in_weight has rows q | k | v, and only in_, out_, norms and fc_ count. stack->layer: (N)
 * as the caller allocated it; taps: room for cr_stack_taps_floats. */
void cr_stack_describe(const cr_network *network, const cr_attention_weights *attention,
		       float *taps, cr_stack *stack);

#endif
