/* changes.cu - what a change shares with its sequence, on the device.
 *
 * A change is a short sequence that begins up to two rows before its first difference. These rows are
 * the sequence's own: their residual is put in place before every block, which gives the short
 * filter its history. Of the long convolution only the response to the difference of the inputs is
 * computed, and the sequence's output is added; see model/engine_cpu_changes.c.
 */
#include "backend/cuda/internal.cuh"

__global__ void place_rows(const cr_cuda_change *changes, const float *kept, int64_t kept_length,
			   int64_t count, int64_t length, int64_t width, float *residual)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	const int64_t change = i / (2 * width), row = i / width % 2, c = i % width;

	if (change >= count || row >= changes[change].lead)
		return;
	residual[(change * length + row) * width + c] =
		kept[(changes[change].sequence * kept_length + changes[change].start + row) * width +
		     c];
}

int cr_cuda_enter_changes(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
			  crocuta_error *error)
{
	const int64_t width = cuda->network->width;

	if (layer == 0) /* the token vectors are there */
		return 0;
	place_rows<<<(unsigned)cr_ceil_div(2 * count * width, 256), 256, 0, cuda->stream>>>(
		cuda->changes, cuda->kept_residual + layer * cuda->rows * width, cuda->kept_length,
		count, length, width, cuda->residual);
	CR_CUDA_LAUNCHED("the rows before a change");
	return 0;
}

/* v (change, channel, position): minus what was kept, or plus. Where nothing was kept, 0. */
__global__ void combine_kept(const cr_cuda_change *changes, const float *kept, int64_t kept_length,
			     int64_t length, int64_t width, float sign, float *v)
{
	const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	const int64_t change = blockIdx.y, channel = blockIdx.z;
	const cr_cuda_change one = changes[change];

	if (t >= length)
		return;
	v += (change * width + channel) * length + t;
	if (t < one.lead || t >= one.rows)
		*v = 0;
	else
		*v += sign * kept[(one.sequence * width + channel) * kept_length + one.start + t];
}

static int combine(cr_cuda *cuda, const float *kept, int64_t count, int64_t length, float sign,
		   crocuta_error *error)
{
	const int64_t width = cuda->network->width, most = 32768;

	for (int64_t first = 0; first < count; first += most) {
		const int64_t here = count - first < most ? count - first : most;
		const dim3 grid((unsigned)cr_ceil_div(length, 256), (unsigned)here,
				(unsigned)width);

		combine_kept<<<grid, 256, 0, cuda->stream>>>(cuda->changes + first, kept,
							     cuda->kept_length, length, width, sign,
							     cuda->v + first * width * length);
		CR_CUDA_LAUNCHED("comparing with what was kept");
	}
	return 0;
}

int cr_cuda_subtract_kept(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
			  crocuta_error *error)
{
	return combine(cuda, cuda->kept_v + layer * cuda->rows * cuda->network->width, count, length,
		       -1, error);
}

int cr_cuda_add_kept(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
		     crocuta_error *error)
{
	return combine(cuda, cuda->kept_y + layer * cuda->rows * cuda->network->width, count, length,
		       1, error);
}
