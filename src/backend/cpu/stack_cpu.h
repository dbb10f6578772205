/* stack_cpu.h - the CPU's device of stacks (backend/stack_ops.h): what its files share.
 *
 * Memory is the host's and the queue is always empty: a call returns when it is done.
 * Activations and the residual stream are float32, row-major. Every operator is cut into tasks
 * that write different numbers and add in an order of their own, so results depend neither on
 * threads nor on how rows are split over calls.
 */
#ifndef CR_CPU_STACK_CPU_H
#define CR_CPU_STACK_CPU_H

#include "backend/cpu/kernels.h"
#include "backend/stack_ops.h"

typedef struct cr_cpu_array {
	void *array;
	int64_t bytes;
} cr_cpu_array;

struct cr_stack_device {
	const cr_kernels *kernels;
	int threads;
	cr_cpu_array *arrays; /* what was allocated and not released */
	int64_t count, capacity, bytes;
	float *scratch; /* grows on demand, kept until close; not in `bytes` */
	int64_t scratch_floats;
};

/* Space for the shared part and one part a thread, 64-byte aligned if both are multiples of 16
 * floats. Valid until the next call. EMEMORY. */
int cr_cpu_scratch(cr_stack_device *device, int64_t shared, int64_t each, int threads,
		   float **scratch, crocuta_error *error);

/* Threads for work of about so many simple operations: few where a team costs more than it
 * gives. */
int cr_cpu_team(const cr_stack_device *device, double operations);

/* Rows of up to 32 neighbouring channels to lines, zeros past the last channel. */
void cr_cpu_to_lines(const float *x, int64_t stride, int64_t rows, int64_t channels, float *lines);

#define CR_STACK_OP(operator)                                                                      \
	int cr_cpu_stack_##operator(cr_stack_device *device, const cr_stack_##operator* a,         \
				    crocuta_error *error);
#include "backend/stack_ops.def"
#undef CR_STACK_OP

#endif
