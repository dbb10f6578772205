/* stack_local.cu - the operators on stacks that look at one row: token vectors, norms, rotation,
 * activations. All are limited by memory traffic; sums and functions are float32's.
 */
#include "backend/cuda/stack.cuh"

#define THREADS 256

/* ---- embed ----------------------------------------------------------------------------------- */

/* A block a row; V numbers a thread at a time. No number (NaN) where a token is not in the table. */
template <typename T, int V>
__global__ void __launch_bounds__(THREADS)
	embed_kernel(const T *__restrict__ table, const uint8_t *__restrict__ tokens,
		     int64_t vocabulary, int64_t width, float *__restrict__ y)
{
	const int64_t row = blockIdx.x;
	const int64_t token = tokens[row];

	for (int64_t d = (int64_t)threadIdx.x * V; d < width; d += THREADS * V) {
		cr_pack<T, V> from;
		cr_pack<float, V> to;

		if (token < vocabulary)
			from = *(const cr_pack<T, V> *)(table + token * width + d);
#pragma unroll
		for (int i = 0; i < V; i++)
			to.value[i] = token < vocabulary ? cr_to_float(from.value[i]) : NAN;
		*(cr_pack<float, V> *)(y + row * width + d) = to;
	}
}

template <typename T>
static void embed_rows(cr_stack_device *device, const cr_stack_embed *a)
{
	const int64_t width = a->table->columns;
	const T *table = (const T *)a->table->values;
	const unsigned blocks = (unsigned)a->rows;
	float *y = (float *)a->y;

	if (cr_cuda_aligned(table, width * (int64_t)sizeof(T), 4 * (int64_t)sizeof(T)) &&
	    cr_cuda_aligned(y, width * (int64_t)sizeof *y, 16))
		embed_kernel<T, 4><<<blocks, THREADS, 0, device->stream>>>(
			table, a->tokens, a->table->rows, width, y);
	else
		embed_kernel<T, 1><<<blocks, THREADS, 0, device->stream>>>(
			table, a->tokens, a->table->rows, width, y);
}

/* Rows of one launch are blocks, which are counted in 31 bits. */
static int check_rows(int64_t rows, crocuta_error *error)
{
	if (rows > 0x7fffffff)
		return cr_fail(error, CROCUTA_EARG, "GPU: %lld rows in one call", (long long)rows);
	return 0;
}

int cr_cuda_stack_embed(cr_stack_device *device, const cr_stack_embed *a, crocuta_error *error)
{
	if (a->rows <= 0 || a->table->columns <= 0)
		return 0;
	if (check_rows(a->rows, error))
		return CROCUTA_EARG;
	if (a->table->type == CR_NUMBER_BF16)
		embed_rows<__nv_bfloat16>(device, a);
	else if (a->table->type == CR_NUMBER_F32)
		embed_rows<float>(device, a);
	else
		return cr_fail(error, CROCUTA_EARG, "GPU: a table of numbers of type %d",
			       a->table->type);
	CR_CUDA_LAUNCHED("token vectors");
	return 0;
}

/* ---- norm ------------------------------------------------------------------------------------ */

struct norm_arguments {
	const float *x, *scale, *shift; /* shift may be NULL */
	void *y;
	int64_t width;
	float epsilon;
};

/* Sum over the block, the same in every thread; partial: a place for each warp, used once. */
__device__ static float sum_block(float x, float *partial)
{
	float sum = 0;

	x = cr_sum_warp(x);
	if (threadIdx.x % 32 == 0)
		partial[threadIdx.x / 32] = x;
	__syncthreads();
#pragma unroll
	for (int i = 0; i < THREADS / 32; i++)
		sum += partial[i];
	return sum;
}

/* What a row without its mean is multiplied by. No number where squares overflowed: 1 / infinity would
 * make a row of zeros of it. */
__device__ static float norm_factor(int kind, float mean_square, float epsilon)
{
	if (!(mean_square < INFINITY))
		return NAN;
	return kind == CR_NORM_LAYER ? cr_norm_scale(mean_square, epsilon)
				     : 1.0f / (sqrtf(mean_square) + epsilon);
}

/* A block a row, which is read once: thread t holds numbers 4 t .. of each of PIECES pieces of 4 THREADS.
 * Width a multiple of 4. */
template <typename Y, int KIND, int PIECES>
__global__ void __launch_bounds__(THREADS) norm_kernel(norm_arguments a)
{
	__shared__ float partial[2][THREADS / 32];
	const float *x = a.x + blockIdx.x * a.width;
	Y *y = (Y *)a.y + blockIdx.x * a.width;
	const float count = (float)a.width;
	float4 v[PIECES];
	float mean = 0, sum = 0;

#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		const int64_t d = 4 * (int64_t)(threadIdx.x + i * THREADS);

		v[i] = d < a.width ? *(const float4 *)(x + d) : make_float4(0, 0, 0, 0);
		if (KIND == CR_NORM_LAYER)
			mean += (v[i].x + v[i].y) + (v[i].z + v[i].w);
	}
	if (KIND == CR_NORM_LAYER)
		mean = sum_block(mean, partial[0]) / count;
#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		if (4 * (int64_t)(threadIdx.x + i * THREADS) >= a.width)
			continue;
		v[i] = make_float4(v[i].x - mean, v[i].y - mean, v[i].z - mean, v[i].w - mean);
		sum += (v[i].x * v[i].x + v[i].y * v[i].y) + (v[i].z * v[i].z + v[i].w * v[i].w);
	}
	const float factor = norm_factor(KIND, sum_block(sum, partial[1]) / count, a.epsilon);
#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		const int64_t d = 4 * (int64_t)(threadIdx.x + i * THREADS);
		cr_pack<Y, 4> out;

		if (d >= a.width)
			continue;
		const float4 scale = *(const float4 *)(a.scale + d);
		const float4 shift = a.shift ? *(const float4 *)(a.shift + d)
					     : make_float4(0, 0, 0, 0);

		out.value[0] = cr_from_float<Y>(v[i].x * factor * scale.x + shift.x);
		out.value[1] = cr_from_float<Y>(v[i].y * factor * scale.y + shift.y);
		out.value[2] = cr_from_float<Y>(v[i].z * factor * scale.z + shift.z);
		out.value[3] = cr_from_float<Y>(v[i].w * factor * scale.w + shift.w);
		*(cr_pack<Y, 4> *)(y + d) = out;
	}
}

/* The same for any width: a row is read up to three times, from the caches mostly. */
template <typename Y, int KIND>
__global__ void __launch_bounds__(THREADS) norm_any_kernel(norm_arguments a)
{
	__shared__ float partial[2][THREADS / 32];
	const float *x = a.x + blockIdx.x * a.width;
	Y *y = (Y *)a.y + blockIdx.x * a.width;
	const float count = (float)a.width;
	float mean = 0, sum = 0;

	if (KIND == CR_NORM_LAYER) {
		for (int64_t d = threadIdx.x; d < a.width; d += THREADS)
			mean += x[d];
		mean = sum_block(mean, partial[0]) / count;
	}
	for (int64_t d = threadIdx.x; d < a.width; d += THREADS)
		sum += (x[d] - mean) * (x[d] - mean);
	const float factor = norm_factor(KIND, sum_block(sum, partial[1]) / count, a.epsilon);

	for (int64_t d = threadIdx.x; d < a.width; d += THREADS)
		y[d] = cr_from_float<Y>((x[d] - mean) * factor * a.scale[d] +
					(a.shift ? a.shift[d] : 0));
}

template <typename Y, int KIND>
static void norm_rows(cudaStream_t stream, const norm_arguments &a, int64_t rows)
{
	const unsigned blocks = (unsigned)rows;
	const int aligned = a.width % 4 == 0 && cr_cuda_aligned(a.x, 0, 16) &&
			    cr_cuda_aligned(a.y, 0, 4 * (int64_t)sizeof(Y)) &&
			    cr_cuda_aligned(a.scale, 0, 16) && cr_cuda_aligned(a.shift, 0, 16);

	if (!aligned || a.width > 32 * THREADS)
		norm_any_kernel<Y, KIND><<<blocks, THREADS, 0, stream>>>(a);
	else if (a.width <= 4 * THREADS)
		norm_kernel<Y, KIND, 1><<<blocks, THREADS, 0, stream>>>(a);
	else if (a.width <= 8 * THREADS)
		norm_kernel<Y, KIND, 2><<<blocks, THREADS, 0, stream>>>(a);
	else if (a.width <= 16 * THREADS)
		norm_kernel<Y, KIND, 4><<<blocks, THREADS, 0, stream>>>(a);
	else
		norm_kernel<Y, KIND, 8><<<blocks, THREADS, 0, stream>>>(a);
}

int cr_cuda_stack_norm(cr_stack_device *device, const cr_stack_norm *a, crocuta_error *error)
{
	const norm_arguments n = {(const float *)a->x, a->weights.scale,       a->weights.shift, a->y,
				  a->width,            (float)a->epsilon};
	const int wide = a->wide || device->activation == CR_NUMBER_F32;

	if (a->kind != CR_NORM_LAYER && a->kind != CR_NORM_RMS)
		return cr_fail(error, CROCUTA_EARG, "norm of kind %d", a->kind);
	if (a->rows <= 0 || a->width <= 0)
		return 0;
	if (check_rows(a->rows, error))
		return CROCUTA_EARG;
	if (a->kind == CR_NORM_LAYER && wide)
		norm_rows<float, CR_NORM_LAYER>(device->stream, n, a->rows);
	else if (a->kind == CR_NORM_LAYER)
		norm_rows<__nv_bfloat16, CR_NORM_LAYER>(device->stream, n, a->rows);
	else if (wide)
		norm_rows<float, CR_NORM_RMS>(device->stream, n, a->rows);
	else
		norm_rows<__nv_bfloat16, CR_NORM_RMS>(device->stream, n, a->rows);
	CR_CUDA_LAUNCHED("a norm");
	return 0;
}

/* ---- rotation -------------------------------------------------------------------------------- */

#define PAIRS 128 /* of one head whose angles are worked out at a time */

struct rope_arguments {
	const float *inverse_frequency;
	void *x;
	int64_t stride, first;
	int heads, head_size, half;
	float divisor;
};

/* A block a row. The angles are the same for all heads. */
template <typename A> __global__ void __launch_bounds__(THREADS) rope_kernel(rope_arguments a)
{
	__shared__ float cosine[PAIRS], sine[PAIRS];
	const float place = (float)(a.first + blockIdx.x) / a.divisor;
	A *row = (A *)a.x + blockIdx.x * a.stride;

	for (int from = 0; from < a.half; from += PAIRS) {
		const int pairs = min(PAIRS, a.half - from);

		__syncthreads(); /* the last angles are done with */
		if ((int)threadIdx.x < pairs)
			sincosf(place * a.inverse_frequency[from + threadIdx.x], &sine[threadIdx.x],
				&cosine[threadIdx.x]);
		__syncthreads();
		for (int i = threadIdx.x; i < a.heads * pairs; i += THREADS) {
			const int pair = i % pairs;
			A *low = row + i / pairs * a.head_size + from + pair;
			const float x = cr_to_float(low[0]), y = cr_to_float(low[a.half]);
			const float c = cosine[pair], s = sine[pair];

			low[0] = cr_from_float<A>(x * c - y * s);
			low[a.half] = cr_from_float<A>(y * c + x * s);
		}
	}
}

int cr_cuda_stack_rope(cr_stack_device *device, const cr_stack_rope *a, crocuta_error *error)
{
	const cr_attention_weights *w = a->weights;
	const rope_arguments r = {w->inverse_frequency,      a->x,
				  a->stride,                 a->first,
				  (int)a->heads,             (int)w->head_size,
				  (int)(w->rotary_size / 2), (float)w->position_divisor};
	const unsigned blocks = (unsigned)a->rows;

	if (a->rows <= 0 || a->heads <= 0 || w->rotary_size < 2)
		return 0;
	if (check_rows(a->rows, error))
		return CROCUTA_EARG;
	if (w->rotary_size > w->head_size || w->head_size > 0x7fffffff / 2 / a->heads)
		return cr_fail(error, CROCUTA_EARG, "GPU: rotation of %lld of %lld numbers, %lld heads",
			       (long long)w->rotary_size, (long long)w->head_size,
			       (long long)a->heads);
	if (device->activation == CR_NUMBER_BF16)
		rope_kernel<__nv_bfloat16><<<blocks, THREADS, 0, device->stream>>>(r);
	else
		rope_kernel<float><<<blocks, THREADS, 0, device->stream>>>(r);
	CR_CUDA_LAUNCHED("a rotation");
	return 0;
}

/* ---- activations ----------------------------------------------------------------------------- */

template <int ACTIVATION> __device__ static float activation_of(float x)
{
	switch (ACTIVATION) {
	case CR_ACTIVATION_GELU:
		return 0.5f * x * erfcf(-0.70710678118654752440f * x);
	case CR_ACTIVATION_GELU_TANH:
		return cr_gelu(x);
	case CR_ACTIVATION_SILU:
		return x / (1.0f + expf(-x));
	default:
		return x;
	}
}

/* Numbers V i .. of thread i; what is left behind the last V, one by one, by the threads behind. */
template <typename A, int ACTIVATION, int V>
__global__ void __launch_bounds__(THREADS)
	activate_kernel(const A *a, const A *b, A *y, int64_t count)
{
	const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
	const int64_t whole = count / V;

	if (i < whole) {
		const cr_pack<A, V> pa = ((const cr_pack<A, V> *)a)[i];
		cr_pack<A, V> pb, py;

		if (b)
			pb = ((const cr_pack<A, V> *)b)[i];
#pragma unroll
		for (int k = 0; k < V; k++) {
			const float f = activation_of<ACTIVATION>(cr_to_float(pa.value[k]));

			py.value[k] = cr_from_float<A>(b ? f * cr_to_float(pb.value[k]) : f);
		}
		((cr_pack<A, V> *)y)[i] = py;
	} else if (i - whole < count - whole * V) {
		const int64_t k = whole * V + (i - whole);
		const float f = activation_of<ACTIVATION>(cr_to_float(a[k]));

		y[k] = cr_from_float<A>(b ? f * cr_to_float(b[k]) : f);
	}
}

template <typename A, int ACTIVATION>
static void activate_all(cudaStream_t stream, const cr_stack_activate *arguments)
{
	constexpr int V = 16 / (int)sizeof(A);
	const A *a = (const A *)arguments->a, *b = (const A *)arguments->b;
	A *y = (A *)arguments->y;
	const int64_t count = arguments->count;

	if (cr_cuda_aligned(a, 0, 16) && cr_cuda_aligned(b, 0, 16) && cr_cuda_aligned(y, 0, 16))
		activate_kernel<A, ACTIVATION, V>
			<<<cr_cuda_blocks(count / V + count % V, THREADS), THREADS, 0, stream>>>(
				a, b, y, count);
	else
		activate_kernel<A, ACTIVATION, 1>
			<<<cr_cuda_blocks(count, THREADS), THREADS, 0, stream>>>(a, b, y, count);
}

template <typename A>
static int activate_by(cr_stack_device *device, const cr_stack_activate *arguments,
		       crocuta_error *error)
{
	switch (arguments->activation) {
	case CR_ACTIVATION_NONE:
		activate_all<A, CR_ACTIVATION_NONE>(device->stream, arguments);
		break;
	case CR_ACTIVATION_GELU:
		activate_all<A, CR_ACTIVATION_GELU>(device->stream, arguments);
		break;
	case CR_ACTIVATION_GELU_TANH:
		activate_all<A, CR_ACTIVATION_GELU_TANH>(device->stream, arguments);
		break;
	case CR_ACTIVATION_SILU:
		activate_all<A, CR_ACTIVATION_SILU>(device->stream, arguments);
		break;
	default:
		return cr_fail(error, CROCUTA_EARG, "activation %d", arguments->activation);
	}
	CR_CUDA_LAUNCHED("an activation");
	return 0;
}

int cr_cuda_stack_activate(cr_stack_device *device, const cr_stack_activate *arguments,
			   crocuta_error *error)
{
	if (arguments->count <= 0)
		return 0;
	return CR_CUDA_STACK_BY_TYPE(activate_by);
}
