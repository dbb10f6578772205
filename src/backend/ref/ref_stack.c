/* ref_stack.c - the reference device of stacks: its memory and its table. */
#include "backend/ref/ref_stack.h"

#include "backend/stack_memory.h"
#include "base/error.h"
#include "base/memory.h"

struct cr_ref_allocation {
	cr_ref_allocation *next;
	void *array;
	int64_t bytes;
};

static int reference_open(const cr_stack_device_options *options, cr_stack_device **device,
			  crocuta_error *error)
{
	const int activation = options->activation, residual = options->residual;

	*device = NULL;
	if ((activation != CR_NUMBER_F32 && activation != CR_NUMBER_BF16 &&
	     activation != CR_NUMBER_F64) ||
	    (residual != CR_NUMBER_F32 && residual != CR_NUMBER_F64))
		return cr_fail(error, CROCUTA_EARG,
			       "the reference device lacks number types %d, %d", activation,
			       residual);
	*device = cr_calloc(1, sizeof **device);
	if (!*device)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the reference device");
	(*device)->activation = activation;
	(*device)->residual = residual;
	return 0;
}

static void reference_close(cr_stack_device *device)
{
	cr_ref_allocation *next;

	if (!device)
		return;
	for (cr_ref_allocation *allocation = device->allocations; allocation; allocation = next) {
		next = allocation->next;
		cr_free(allocation->array);
		cr_free(allocation);
	}
	cr_free(device);
}

static int reference_allocate(cr_stack_device *device, int64_t bytes, void **array,
			      crocuta_error *error)
{
	cr_ref_allocation *allocation = cr_calloc(1, sizeof *allocation);

	*array = allocation && bytes >= 0 ? cr_floats(bytes / 4 + (bytes % 4 != 0)) : NULL;
	if (!*array) {
		cr_free(allocation);
		return cr_fail(error, CROCUTA_EMEMORY,
			       "out of memory: %lld bytes for the reference device",
			       (long long)bytes);
	}
	*allocation = (cr_ref_allocation){device->allocations, *array, bytes};
	device->allocations = allocation;
	device->bytes += bytes;
	return 0;
}

static void reference_release(cr_stack_device *device, void *array)
{
	for (cr_ref_allocation **at = &device->allocations; array && *at; at = &(*at)->next) {
		cr_ref_allocation *allocation = *at;

		if (allocation->array != array)
			continue;
		*at = allocation->next;
		device->bytes -= allocation->bytes;
		cr_free(array);
		cr_free(allocation);
		return;
	}
}

static int64_t reference_allocated(const cr_stack_device *device)
{
	return device->bytes;
}

const cr_stack_ops cr_stack_ops_reference = {
	.name = "reference",
	.open = reference_open,
	.close = reference_close,
	.allocate = reference_allocate,
	.release = reference_release,
	.allocated = reference_allocated,
	.upload = cr_stack_memory_copy,
	.download = cr_stack_memory_copy,
	.copy = cr_stack_memory_copy,
	.clear = cr_stack_memory_clear,
	.wait = cr_stack_memory_wait,
	.queue = cr_stack_memory_queue,
#define CR_STACK_OP(operator) .operator= cr_ref_stack_##operator,
#include "backend/stack_ops.def"
#undef CR_STACK_OP
};
