/* stack_memory.c - moving and clearing numbers on devices of stacks that are the host. */
#include "backend/stack_memory.h"

#include <string.h>

int cr_stack_memory_copy(cr_stack_device *device, void *to, const void *from, int64_t bytes,
			 crocuta_error *error)
{
	(void)device;
	(void)error;
	if (bytes > 0)
		memcpy(to, from, (size_t)bytes);
	return 0;
}

int cr_stack_memory_clear(cr_stack_device *device, void *to, int64_t bytes, crocuta_error *error)
{
	(void)device;
	(void)error;
	if (bytes > 0)
		memset(to, 0, (size_t)bytes);
	return 0;
}

int cr_stack_memory_wait(cr_stack_device *device, crocuta_error *error)
{
	(void)device;
	(void)error;
	return 0;
}

void *cr_stack_memory_queue(const cr_stack_device *device)
{
	(void)device;
	return NULL;
}
