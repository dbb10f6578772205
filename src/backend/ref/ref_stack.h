/* ref_stack.h - the operators on stacks as plain loops in double: what every device is held to.
 *
 * Activations are float32, double or bfloat16, the residual stream float32 or double; a number is
 * widened where it is read, and rounded only where it is stored. No SIMD, no threads, no blocking.
 */
#ifndef CR_REF_REF_STACK_H
#define CR_REF_REF_STACK_H

#include <string.h>

#include "backend/stack_ops.h"
#include "base/half.h"

typedef struct cr_ref_allocation cr_ref_allocation;

/* The reference's device: memory is the host's, the queue is always empty. */
struct cr_stack_device {
	int activation, residual; /* enum cr_number */
	cr_ref_allocation *allocations;
	int64_t bytes;
};

/* Number i of an array. */
static inline double cr_ref_get(const void *values, int type, int64_t i)
{
	if (type == CR_NUMBER_F32)
		return ((const float *)values)[i];
	if (type == CR_NUMBER_BF16)
		return cr_bfloat_to_float(((const uint16_t *)values)[i]);
	return ((const double *)values)[i];
}

static inline void cr_ref_put(void *values, int type, int64_t i, double value)
{
	if (type == CR_NUMBER_F32)
		((float *)values)[i] = (float)value;
	else if (type == CR_NUMBER_BF16)
		((uint16_t *)values)[i] = cr_bfloat_from_float((float)value);
	else
		((double *)values)[i] = value;
}

/* enum cr_activation, of one number. */
double cr_ref_activation(int activation, double x);

#define CR_STACK_OP(operator)                                                                      \
	int cr_ref_stack_##operator(cr_stack_device *device, const cr_stack_##operator* a,         \
				    crocuta_error *error);
#include "backend/stack_ops.def"
#undef CR_STACK_OP

#endif
