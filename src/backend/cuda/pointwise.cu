/* pointwise.cu - everything between the matrix products that is local in position. */
#include "backend/cuda/internal.cuh"

#define LARGEST_HALF 65000.0f

/* One value into its operand. */
__device__ inline void put(__half *operand, int64_t row, int64_t width, int64_t c, float value,
			   int *overflow)
{
	__half *to = operand + row * CR_CUDA_PARTS * width + c;
	const __half high = __float2half_rn(value);

	if (!(fabsf(value) <= LARGEST_HALF))
		*overflow = 1;
	to[width] = to[2 * width] = high;
	to[0] = __float2half_rn(value - __half2float(high));
}

__global__ void embed_rows(const float *table, const uint8_t *tokens, int64_t rows, int64_t width,
			   float *y)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

	if (i < rows * width)
		y[i] = table[tokens[i / width] * width + i % width];
}

int cr_cuda_embed(cr_cuda *cuda, int64_t rows, crocuta_error *error)
{
	const int64_t count = rows * cuda->network->width;

	embed_rows<<<(unsigned)cr_ceil_div(count, 256), 256, 0, cuda->stream>>>(
		cuda->embedding, cuda->tokens, rows, cuda->network->width, cuda->residual);
	CR_CUDA_LAUNCHED("token vectors");
	return 0;
}

__device__ inline float sum_warp(float x)
{
	for (int offset = 16; offset; offset /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, offset);
	return x;
}

/* Mean and 1 / sqrt(variance + epsilon) of a row, the same in all lanes of a warp. */
__device__ inline void row_moments(const float *x, int64_t width, float epsilon, float *mean,
				   float *scale)
{
	const int lane = threadIdx.x % 32;
	float sum = 0, square = 0;

	for (int64_t c = lane; c < width; c += 32)
		sum += x[c];
	*mean = sum_warp(sum) / (float)width;
	for (int64_t c = lane; c < width; c += 32) {
		const float d = x[c] - *mean;

		square += d * d;
	}
	*scale = 1.0f / sqrtf(sum_warp(square) / (float)width + epsilon);
}

/* A warp a row. */
__global__ void normalise_rows(const float *x, int64_t rows, int64_t width, float epsilon, float up,
			       __half *operand, int *overflow)
{
	const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
	float mean, scale;

	if (row >= rows)
		return;
	x += row * width;
	row_moments(x, width, epsilon, &mean, &scale);
	for (int64_t c = threadIdx.x % 32; c < width; c += 32)
		put(operand, row, width, c, (x[c] - mean) * scale * up, overflow);
}

int cr_cuda_normalise(cr_cuda *cuda, const float *x, int64_t rows, float scale, __half *operand,
		      crocuta_error *error)
{
	const unsigned blocks = (unsigned)cr_ceil_div(rows, 8);
	const int64_t width = cuda->network->width;
	const float epsilon = (float)cuda->network->norm_epsilon;

	normalise_rows<<<blocks, 256, 0, cuda->stream>>>(x, rows, width, epsilon, scale, operand,
							 cuda->overflow);
	CR_CUDA_LAUNCHED("a norm");
	return 0;
}

/* Short filter and input gate of 32 rows x 32 channels a block; v leaves transposed. u: row 0 and 1
 * are the two rows before the first. */
__global__ void short_filter_tiles(const float *u, const float *taps, const float *bias,
				   int64_t first, int64_t rows, int64_t length, int64_t width,
				   float *x0, float *v)
{
	__shared__ float tile[32][33];
	const int64_t c = (int64_t)blockIdx.y * 32 + threadIdx.x;
	const int64_t tile_row = (int64_t)blockIdx.x * 32;

	for (int j = threadIdx.y; j < 32; j += 8) {
		const int64_t row = tile_row + j, position = (first + row) % length;
		float out[3] = {0, 0, 0};

		if (row < rows && c < width) {
			for (int part = 0; part < 3; part++) {
				const int64_t channel = part * width + c;
				const float *q = u + row * 3 * width + channel;

				out[part] = bias[channel];
				if (position >= 2)
					out[part] += q[0] * taps[channel];
				if (position >= 1)
					out[part] += q[3 * width] * taps[3 * width + channel];
				out[part] += q[6 * width] * taps[6 * width + channel];
			}
			x0[(first + row) * width + c] = out[0];
		}
		tile[j][threadIdx.x] = out[1] * out[2];
	}
	__syncthreads();
	for (int j = threadIdx.y; j < 32; j += 8) {
		const int64_t row = tile_row + threadIdx.x, channel = (int64_t)blockIdx.y * 32 + j;
		const int64_t at = first + row;

		if (row < rows && channel < width)
			v[(at / length * width + channel) * length + at % length] =
				tile[threadIdx.x][j];
	}
}

int cr_cuda_short_filter(cr_cuda *cuda, const cr_cuda_block *block, int64_t first, int64_t rows,
			 int64_t length, crocuta_error *error)
{
	const int64_t width = cuda->network->width;
	const dim3 grid((unsigned)cr_ceil_div(rows, 32), (unsigned)cr_ceil_div(width, 32));

	short_filter_tiles<<<grid, dim3(32, 8), 0, cuda->stream>>>(
		cuda->u, block->taps, block->short_bias, first, rows, length, width, cuda->x0,
		cuda->v);
	CR_CUDA_LAUNCHED("the short filter");
	return 0;
}

/* The convolution's output back to rows, times x0. */
__global__ void gate_tiles(const float *y, const float *x0, int64_t first, int64_t rows,
			   int64_t length, int64_t width, float up, __half *operand, int *overflow)
{
	__shared__ float tile[32][33];
	const int64_t tile_row = (int64_t)blockIdx.x * 32;

	for (int j = threadIdx.y; j < 32; j += 8) {
		const int64_t row = tile_row + threadIdx.x, channel = (int64_t)blockIdx.y * 32 + j;
		const int64_t at = first + row;

		tile[threadIdx.x][j] =
			row < rows && channel < width
				? y[(at / length * width + channel) * length + at % length]
				: 0;
	}
	__syncthreads();
	for (int j = threadIdx.y; j < 32; j += 8) {
		const int64_t row = tile_row + j, c = (int64_t)blockIdx.y * 32 + threadIdx.x;

		if (row < rows && c < width)
			put(operand, row, width, c,
				       tile[j][threadIdx.x] * x0[(first + row) * width + c] * up,
				       overflow);
	}
}

int cr_cuda_gate(cr_cuda *cuda, int64_t first, int64_t rows, int64_t length, float scale,
		 crocuta_error *error)
{
	const int64_t width = cuda->network->width;
	const dim3 grid((unsigned)cr_ceil_div(rows, 32), (unsigned)cr_ceil_div(width, 32));

	gate_tiles<<<grid, dim3(32, 8), 0, cuda->stream>>>(cuda->v, cuda->x0, first, rows, length,
							   width, scale, cuda->operand,
							   cuda->overflow);
	CR_CUDA_LAUNCHED("the output gate");
	return 0;
}

/* GELU, tanh form: x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3). */
__device__ inline float gelu(float x)
{
	const float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);

	return x / (1.0f + expf(-2.0f * u));
}

__global__ void gelu_values(const float *x, int64_t count, int64_t width, float up, __half *operand,
			    int *overflow)
{
	const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		put(operand, i / width, width, i % width, gelu(x[i]) * up, overflow);
}

int cr_cuda_gelu(cr_cuda *cuda, const float *x, int64_t rows, int64_t width, float scale,
		 __half *operand, crocuta_error *error)
{
	const int64_t count = rows * width;

	gelu_values<<<(unsigned)cr_ceil_div(count, 256), 256, 0, cuda->stream>>>(
		x, count, width, scale, operand, cuda->overflow);
	CR_CUDA_LAUNCHED("the activation");
	return 0;
}

/* Final norm and logits, a warp a row; raw: the residual itself. */
__global__ void head_rows(const float *x, int64_t rows, int64_t width, float epsilon, int raw,
			  const float *weight, const float *bias, const float *lm_head,
			  int64_t vocabulary, float *hidden, float *logits)
{
	const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
	const int lane = threadIdx.x % 32;
	float mean, scale;

	if (row >= rows)
		return;
	x += row * width;
	if (raw) {
		for (int64_t c = lane; hidden && c < width; c += 32)
			hidden[row * width + c] = x[c];
		return;
	}
	row_moments(x, width, epsilon, &mean, &scale);
	for (int64_t c = lane; hidden && c < width; c += 32)
		hidden[row * width + c] = (x[c] - mean) * scale * weight[c] + bias[c];
	for (int64_t token = 0; logits && token < vocabulary; token++) {
		float sum = 0;

		for (int64_t c = lane; c < width; c += 32)
			sum += ((x[c] - mean) * scale * weight[c] + bias[c]) *
			       lm_head[token * width + c];
		sum = sum_warp(sum);
		if (lane == 0)
			logits[row * vocabulary + token] = sum;
	}
}

int cr_cuda_head(cr_cuda *cuda, int64_t first, int64_t rows, int raw, float *hidden, float *logits,
		 crocuta_error *error)
{
	const cr_network *n = cuda->network;

	head_rows<<<(unsigned)cr_ceil_div(rows, 8), 256, 0, cuda->stream>>>(
		cuda->residual + first * n->width, rows, n->width, (float)n->norm_epsilon, raw,
		cuda->norm_weight, cuda->norm_bias, cuda->lm_head, n->vocabulary, hidden, logits);
	CR_CUDA_LAUNCHED("the head");
	return 0;
}
