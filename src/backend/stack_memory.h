/* stack_memory.h - what devices of stacks (stack_ops.h) share whose memory is the host's.
 *
 * Their queue is always empty: a call returns when it is done, and none of these looks at the
 * device. They go into a device's table as they are. How a device keeps count of its arrays is its
 * own business.
 */
#ifndef CR_BACKEND_STACK_MEMORY_H
#define CR_BACKEND_STACK_MEMORY_H

#include "backend/stack_ops.h"

/* Upload, download and copy are one on the host. */
int cr_stack_memory_copy(cr_stack_device *device, void *to, const void *from, int64_t bytes,
			 crocuta_error *error);
int cr_stack_memory_clear(cr_stack_device *device, void *to, int64_t bytes, crocuta_error *error);
int cr_stack_memory_wait(cr_stack_device *device, crocuta_error *error);
void *cr_stack_memory_queue(const cr_stack_device *device);

#endif
