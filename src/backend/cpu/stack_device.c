/* stack_device.c - the CPU as a device of stacks: its memory, its scratch and its table. */
#include "backend/cpu/stack_cpu.h"

#include <string.h>

#include "backend/stack_memory.h"
#include "base/error.h"
#include "base/memory.h"

static int cpu_open(const cr_stack_device_options *options, cr_stack_device **device,
		    crocuta_error *error)
{
	const cr_kernels *kernels = cr_kernels_get(options->isa);

	*device = NULL;
	if (options->activation != CR_NUMBER_F32 || options->residual != CR_NUMBER_F32)
		return cr_fail(error, CROCUTA_EARG, "the CPU device lacks number types %d, %d",
			       options->activation, options->residual);
	if (!kernels)
		return cr_fail(error, CROCUTA_EDEVICE, "no kernels %s for this processor",
			       options->isa ? options->isa : "at all");
	*device = cr_calloc(1, sizeof **device);
	if (!*device)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the CPU device");
	(*device)->kernels = kernels;
	(*device)->threads = options->threads > 1 ? options->threads : 1;
	return 0;
}

static void cpu_close(cr_stack_device *device)
{
	if (!device)
		return;
	for (int64_t i = 0; i < device->count; i++)
		cr_free(device->arrays[i].array);
	cr_free(device->arrays);
	cr_free(device->scratch);
	cr_free(device);
}

static int cpu_allocate(cr_stack_device *device, int64_t bytes, void **array, crocuta_error *error)
{
	*array = NULL;
	if (device->count == device->capacity) {
		const int64_t capacity = 2 * device->capacity + 16;
		cr_cpu_array *arrays = cr_realloc(device->arrays, (size_t)capacity, sizeof *arrays);

		if (arrays) {
			device->arrays = arrays;
			device->capacity = capacity;
		}
	}
	if (device->count < device->capacity && bytes >= 0)
		*array = cr_floats(bytes / 4 + (bytes % 4 != 0));
	if (!*array)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "out of memory: %lld bytes for the CPU device", (long long)bytes);
	device->arrays[device->count++] = (cr_cpu_array){*array, bytes};
	device->bytes += bytes;
	return 0;
}

static void cpu_release(cr_stack_device *device, void *array)
{
	for (int64_t i = device->count - 1; array && i >= 0; i--)
		if (device->arrays[i].array == array) {
			device->bytes -= device->arrays[i].bytes;
			device->arrays[i] = device->arrays[--device->count];
			cr_free(array);
			return;
		}
}

static int64_t cpu_allocated(const cr_stack_device *device)
{
	return device->bytes;
}

int cr_cpu_scratch(cr_stack_device *device, int64_t shared, int64_t each, int threads,
		   float **scratch, crocuta_error *error)
{
	int64_t floats;

	*scratch = NULL;
	if (__builtin_mul_overflow(each, (int64_t)threads, &floats) ||
	    __builtin_add_overflow(floats, shared, &floats))
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for an operator's scratch");
	if (floats > device->scratch_floats) {
		cr_free(device->scratch);
		device->scratch = cr_floats(floats);
		device->scratch_floats = device->scratch ? floats : 0;
	}
	if (!device->scratch)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "out of memory: %lld bytes for an operator's scratch",
			       4 * (long long)floats);
	*scratch = device->scratch;
	return 0;
}

int cr_cpu_team(const cr_stack_device *device, double operations)
{
	const double teams = operations / 2e5;

	return teams >= device->threads ? device->threads : teams > 1 ? (int)teams : 1;
}

void cr_cpu_to_lines(const float *x, int64_t stride, int64_t rows, int64_t channels, float *lines)
{
	for (int64_t row = 0; row < rows; row++, x += stride, lines += CR_LINE)
		if (channels >= CR_LINE) {
			memcpy(lines, x, CR_LINE * sizeof *x);
		} else {
			memcpy(lines, x, (size_t)channels * sizeof *x);
			memset(lines + channels, 0, (size_t)(CR_LINE - channels) * sizeof *x);
		}
}

const cr_stack_ops cr_stack_ops_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.allocate = cpu_allocate,
	.release = cpu_release,
	.allocated = cpu_allocated,
	.upload = cr_stack_memory_copy,
	.download = cr_stack_memory_copy,
	.copy = cr_stack_memory_copy,
	.clear = cr_stack_memory_clear,
	.wait = cr_stack_memory_wait,
	.queue = cr_stack_memory_queue,
#define CR_STACK_OP(operator) .operator= cr_cpu_stack_##operator,
#include "backend/stack_ops.def"
#undef CR_STACK_OP
};
