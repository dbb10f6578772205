/* changes.cu - what a change shares with its sequence, on the device.
 *
 * A change is a short sequence that begins up to two rows before its first difference. These rows
 * are the sequence's own: their residual is put in place before every block, which gives the short
 * filter its history. Of the long convolution only the response to the difference of the inputs is
 * computed, and the sequence's output is added, by the mixing kernels themselves (struct
 * cr_cuda_mix); see model/engine_cpu_changes.c.
 */
#include "backend/cuda/internal.cuh"

#define LEAD_ROWS 2 /* at most */

static __global__ void place_rows(const cr_cuda_change *changes, const float *kept,
				  int64_t kept_length, int64_t count, int64_t length, int64_t width,
				  float *residual)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	const int64_t change = i / (LEAD_ROWS * width), row = i / width % LEAD_ROWS, c = i % width;
	int64_t from;

	if (change >= count || row >= changes[change].lead)
		return;
	from = changes[change].sequence * kept_length + changes[change].start + row;
	residual[(change * length + row) * width + c] = kept[from * width + c];
}

int cr_cuda_enter_changes(cr_cuda *cuda, const cr_cuda_mix *mix, const float *kept_residual,
			  crocuta_error *error)
{
	const int64_t width = cuda->network->width, values = LEAD_ROWS * mix->batch * width;

	if (mix->layer == 0) /* the token vectors are there */
		return 0;
	place_rows<<<(unsigned)cr_ceil_div(values, 256), 256, 0, cuda->stream>>>(
		mix->changes, kept_residual, mix->kept_length, mix->batch, mix->length, width,
		cuda->residual);
	CR_CUDA_LAUNCHED("the rows before a change");
	return 0;
}
