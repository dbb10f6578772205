/* stack_attention.cu - the operator attention: chooses a kernel (attention.cuh). */
#include "backend/cuda/attention.cuh"
#include "backend/cuda/stack.cuh"

int cr_cuda_stack_attention(cr_stack_device *device, const cr_stack_attention *arguments,
			    crocuta_error *error)
{
	if (arguments->rows <= 0)
		return 0;
	if (cr_cuda_attention_tile_fits(device->capability, device->activation, arguments))
		return cr_cuda_attention_tile(device->stream, arguments, error);
	if (cr_cuda_attention_mma_fits(device->capability, device->activation, arguments))
		return cr_cuda_attention_mma(device->stream, arguments, error);
	return cr_cuda_attention_any(device->stream, device->activation, arguments, error);
}
