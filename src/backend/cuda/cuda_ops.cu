/* cuda_ops.cu - the GPU's kernels behind the operator table, in float32's arithmetic.
 *
 * The kernels work on whole blocks of a network, so an operator makes up a network of one block in
 * which everything else is the identity or zero, and looks at the arrays between the kernels:
 *   linear              out_proj, onto the residual; an MLP of zeros follows
 *   layer_norm          norm1 and in_proj with the identity as weights; in_proj's bias is what
 *                       norm1's makes it
 *   short_filter_gate   the convolution's input, kept; x0 where convolution and gate of it give 1
 *   long_convolution    with the short filter's last tap 1, and 1 for x1
 * Inputs beyond half precision's range are CROCUTA_ENUMERIC, as in a session. The implicit filter
 * and probabilities are computed on the host, and the parts of the far field are not kernels of
 * their own: these are left out.
 */
#include "backend/cuda/internal.cuh"

#include <stdlib.h>
#include <string.h>

extern "C" {
#include "backend/ops.h"
}

#define INNER 128 /* of the MLP of zeros; tile_hopper.cu takes it */

typedef struct one_block {
	cr_network network;
	cr_block_weights block;
	float *zeros;    /* for every weight that is not set */
	float *last_tap; /* (3D, 3): 0, 0, 1 */
	cr_cuda *cuda;
} one_block;

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory in an operator");
}

static float *floats(int64_t count)
{
	return (float *)calloc((size_t)count, sizeof(float));
}

static int one_block_init(one_block *o, int64_t width, int64_t vocabulary, crocuta_error *error)
{
	const int64_t in = 3 * width * width, inner = INNER * width, table = vocabulary * width;
	int64_t most = in > inner ? in : inner;
	cr_block_weights *b = &o->block;

	memset(o, 0, sizeof *o);
	most = most > table ? most : table;
	o->zeros = floats(most > 9 * width ? most : 9 * width);
	o->last_tap = floats(9 * width);
	if (!o->zeros || !o->last_tap)
		return no_memory(error);
	for (int64_t i = 2; i < 9 * width; i += 3)
		o->last_tap[i] = 1;
	o->network.width = width;
	o->network.inner_width = INNER;
	o->network.layers = 1;
	o->network.vocabulary = vocabulary;
	o->network.norm_epsilon = 1e-5;
	o->network.embedding = o->network.lm_head = o->zeros;
	o->network.norm_weight = o->network.norm_bias = o->zeros;
	o->network.block = b;
	b->norm1_weight = b->norm1_bias = b->norm2_weight = b->norm2_bias = o->zeros;
	b->in_weight = b->in_bias = b->out_weight = b->out_bias = o->zeros;
	b->fc1_weight = b->fc1_bias = b->fc2_weight = b->fc2_bias = o->zeros;
	b->short_weight = o->last_tap;
	b->short_bias = o->zeros;
	return 0;
}

static void one_block_free(one_block *o)
{
	cr_cuda_free(o->cuda);
	free(o->zeros);
	free(o->last_tap);
}

/* h = 1, 0, 0, ... */
static int identity_taps(void *user, int64_t layer, const double *offsets, int64_t count,
			 double *values, crocuta_error *error)
{
	const one_block *o = (const one_block *)user;
	const int64_t padded = cr_ceil_div(o->network.width, 32) * 32;

	(void)layer;
	(void)error;
	for (int64_t i = 0; i < count * padded; i++)
		values[i] = offsets[i / padded] == 0;
	return 0;
}

/* On the first GPU, for sequences of up to `rows` rows. */
static int one_block_start(one_block *o, int64_t rows, crocuta_error *error)
{
	cr_cuda_options options;

	memset(&options, 0, sizeof options);
	options.dtype = CR_CUDA_F32;
	options.length = options.rows = cr_cuda_padded_length(rows);
	options.taps = identity_taps;
	options.user = o;
	o->network.max_length = options.length;
	return cr_cuda_new(&o->network, &options, &o->cuda, error);
}

/* And wait: the streams of a network do not wait for such a copy. */
static int to_device(void *to, const void *from, int64_t bytes, crocuta_error *error)
{
	CR_CUDA_TRY(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyHostToDevice),
		    "copying an operator's input");
	CR_CUDA_TRY(cudaDeviceSynchronize(), "copying an operator's input");
	return 0;
}

/* After all that is queued. */
static int from_device(one_block *o, void *to, const void *from, int64_t bytes,
		       crocuta_error *error)
{
	int overflow = 0;

	CR_CUDA_TRY(cudaStreamSynchronize(o->cuda->stream), "running an operator");
	CR_CUDA_TRY(cudaMemcpy(&overflow, o->cuda->overflow, sizeof overflow,
			       cudaMemcpyDeviceToHost),
		    "reading an operator's output");
	CR_CUDA_TRY(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyDeviceToHost),
		    "reading an operator's output");
	if (overflow)
		return cr_fail(error, CROCUTA_ENUMERIC, "a value does not fit half precision");
	return 0;
}

/* ---- local ----------------------------------------------------------------------------------- */

static int op_embed(const cr_ops *self, const cr_embed_arguments *a, crocuta_error *error)
{
	one_block o;
	int code = one_block_init(&o, a->width, a->vocabulary, error);

	(void)self;
	for (int64_t i = 0; !code && i < a->rows; i++)
		if (a->tokens[i] >= a->vocabulary)
			code = cr_fail(error, CROCUTA_EINPUT, "token %d in a table of %lld rows",
				       a->tokens[i], (long long)a->vocabulary);
	o.network.embedding = a->table;
	if (!code)
		code = one_block_start(&o, a->rows, error);
	if (!code)
		code = to_device(o.cuda->tokens, a->tokens, a->rows, error);
	if (!code)
		code = cr_cuda_embed(o.cuda, a->rows, error);
	if (!code)
		code = from_device(&o, a->y, o.cuda->residual, 4 * a->rows * a->width, error);
	one_block_free(&o);
	return code;
}

static int op_layer_norm(const cr_ops *self, const cr_layer_norm_arguments *a, crocuta_error *error)
{
	const int64_t width = a->width;
	float *identity = floats(3 * width * width), *bias = floats(width), *u = NULL;
	one_block o;
	int code = one_block_init(&o, width, 1, error);

	(void)self;
	if (!code && (!identity || !bias))
		code = no_memory(error);
	for (int64_t i = 0; !code && i < width; i++)
		identity[i * width + i] = 1;
	o.network.norm_epsilon = a->epsilon;
	o.block.norm1_weight = a->weight;
	o.block.norm1_bias = a->bias;
	o.block.in_weight = identity;
	if (!code)
		code = one_block_start(&o, a->rows, error);
	if (!code)
		code = to_device(o.cuda->residual, a->x, 4 * a->rows * width, error);
	if (!code)
		code = cr_cuda_local(o.cuda, -1, 0, a->rows, error);
	if (!code) {
		u = floats(width * o.cuda->stride);
		code = u ? from_device(&o, u, o.cuda->u, 4 * width * o.cuda->stride, error)
			 : no_memory(error);
	}
	if (!code)
		code = from_device(&o, bias, o.cuda->block[0].in_bias, 4 * width, error);
	for (int64_t i = 0; !code && i < a->rows * width; i++)
		a->y[i] = u[i % width * o.cuda->stride + i / width] + bias[i % width];
	free(identity);
	free(bias);
	free(u);
	one_block_free(&o);
	return code;
}

/* (count, in) at the top left of a square matrix. */
static void widen(float *to, int64_t width, const float *from, int64_t count, int64_t in)
{
	for (int64_t i = 0; i < count; i++)
		memcpy(to + i * width, from + i * in, (size_t)in * sizeof *to);
}

/* The value's low and high part as mixing leaves them. */
static void split(float value, __half *low, __half *high)
{
	const float scaled = value * CR_CUDA_GATE_SCALE;

	*high = __float2half(scaled);
	*low = __float2half(scaled - __half2float(*high));
}

/* Rows [row, row + rows). x: (2, width, stride) halves; r: (rows, width); both scratch. */
static int linear_rows(one_block *o, const cr_linear_arguments *a, int64_t row, int64_t rows,
		       __half *x, float *r, crocuta_error *error)
{
	const int64_t width = o->network.width, stride = o->cuda->stride;
	int code;

	memset(x, 0, (size_t)(2 * width * stride) * sizeof *x);
	memset(r, 0, (size_t)(rows * width) * sizeof *r);
	for (int64_t i = 0; i < rows; i++)
		for (int64_t c = 0; c < a->in; c++)
			split(a->x[(row + i) * a->in + c], x + c * stride + i,
			      x + (width + c) * stride + i);
	if (a->accumulate)
		widen(r, width, a->y + row * a->out, rows, a->out);
	code = to_device(o->cuda->y, x, 2 * 2 * width * stride, error);
	if (!code)
		code = to_device(o->cuda->residual, r, 4 * rows * width, error);
	if (!code)
		code = cr_cuda_local(o->cuda, 0, -1, rows, error);
	if (!code)
		code = from_device(o, r, o->cuda->residual, 4 * rows * width, error);
	for (int64_t i = 0; !code && i < rows; i++)
		memcpy(a->y + (row + i) * a->out, r + i * width, (size_t)a->out * sizeof *r);
	return code;
}

static int op_linear(const cr_ops *self, const cr_linear_arguments *a, crocuta_error *error)
{
	const int64_t wider = a->in > a->out ? a->in : a->out, width = cr_ceil_div(wider, 8) * 8;
	const int64_t tile = a->tile > 0 && a->tile < a->rows ? a->tile : a->rows;
	float *weight = floats(width * width), *bias = floats(width), *r = floats(tile * width);
	__half *x = NULL;
	one_block o;
	int code = one_block_init(&o, width, 1, error);

	(void)self;
	if (!code && (!weight || !bias || !r))
		code = no_memory(error);
	if (!code) {
		widen(weight, width, a->weight, a->out, a->in);
		if (a->bias)
			memcpy(bias, a->bias, (size_t)a->out * sizeof *bias);
		o.block.out_weight = weight;
		o.block.out_bias = bias;
		code = one_block_start(&o, tile, error);
	}
	if (!code) {
		x = (__half *)malloc((size_t)(2 * width * o.cuda->stride) * sizeof *x);
		code = x ? 0 : no_memory(error);
	}
	for (int64_t row = 0; !code && row < a->rows; row += tile)
		code = linear_rows(&o, a, row, a->rows - row < tile ? a->rows - row : tile, x, r,
				   error);
	free(weight);
	free(bias);
	free(r);
	free(x);
	one_block_free(&o);
	return code;
}

static __global__ void gelu_kernel(float *x, int64_t count)
{
	const int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

	if (i < count)
		x[i] = cr_gelu(x[i]);
}

static int gelu_on(float *x, const cr_gelu_arguments *a, crocuta_error *error)
{
	int code = to_device(x, a->x, 4 * a->count, error);

	if (code)
		return code;
	gelu_kernel<<<(unsigned)cr_ceil_div(a->count, 256), 256>>>(x, a->count);
	CR_CUDA_LAUNCHED("GELU");
	CR_CUDA_TRY(cudaMemcpy(a->y, x, (size_t)(4 * a->count), cudaMemcpyDeviceToHost),
		    "reading an operator's output");
	return 0;
}

static int op_gelu(const cr_ops *self, const cr_gelu_arguments *a, crocuta_error *error)
{
	float *x = NULL;
	int code;

	(void)self;
	if (!a->count)
		return 0;
	CR_CUDA_TRY(cudaMalloc((void **)&x, (size_t)(4 * a->count)), "allocating memory");
	code = gelu_on(x, a, error);
	cudaFree(x);
	return code;
}

/* ---- mixing ---------------------------------------------------------------------------------- */

/* One sequence through the mixing that a session would choose, to u's rows [0, length). */
static int mix(one_block *o, int64_t length, float *keep_v, float *keep_y, crocuta_error *error)
{
	cr_cuda_mix work;

	memset(&work, 0, sizeof work);
	work.batch = 1;
	work.length = length;
	work.keep_v = keep_v;
	work.keep_y = keep_y;
	return cr_cuda_mix_run(o->cuda, &work, error);
}

/* y of channel c and row i, from both halves. */
static float joined(const one_block *o, const __half *y, int64_t c, int64_t i)
{
	const int64_t stride = o->cuda->stride;

	return (__half2float(y[c * stride + i]) +
		__half2float(y[(o->network.width + c) * stride + i])) /
	       CR_CUDA_GATE_SCALE;
}

/* u (3D, stride) in, y (2, D, stride) back, and the convolution's input (D, stride) when `v` is not
 * NULL. */
static int mix_once(one_block *o, int64_t length, const float *u, __half *y, float *v,
		    crocuta_error *error)
{
	const int64_t values = o->network.width * o->cuda->stride;
	float *kept = NULL; /* both arrays of a mixing pass that keeps */
	int code = to_device(o->cuda->u, u, 4 * 3 * values, error);

	if (code)
		return code;
	if (v)
		CR_CUDA_TRY(cudaMalloc((void **)&kept, (size_t)(2 * 4 * values)),
			    "allocating memory");
	code = mix(o, length, kept, kept ? kept + values : NULL, error);
	if (!code)
		code = from_device(o, y, o->cuda->y, 2 * 2 * values, error);
	if (!code && v)
		code = from_device(o, v, kept, 4 * values, error);
	cudaFree(kept);
	return code;
}

/* Two passes, each with a filter that is the identity: one keeps x1 * v, the other has x1 = v = 1
 * and so gives x0. Rows of carry stand before the others. */
static int short_filter_passes(const cr_short_filter_gate_arguments *a, one_block *pass,
			       crocuta_error *error)
{
	const int64_t width = a->width, before = a->carry ? 2 : 0, stride = pass[0].cuda->stride;
	const int64_t length = cr_cuda_padded_length(a->rows + before);
	float *u = floats(3 * width * stride), *v = floats(width * stride);
	__half *y = (__half *)malloc((size_t)(2 * width * stride) * sizeof *y);
	int code = u && v && y ? 0 : no_memory(error);

	for (int64_t i = 0; !code && i < before + a->rows; i++)
		for (int64_t c = 0; c < 3 * width; c++)
			u[c * stride + i] = i < before ? a->carry[i * 3 * width + c]
						       : a->u[(i - before) * 3 * width + c];
	if (!code)
		code = mix_once(&pass[0], length, u, y, v, error);
	for (int64_t i = 0; !code && i < a->rows * width; i++)
		a->gated[i] = v[i % width * stride + i / width + before];
	if (!code)
		code = mix_once(&pass[1], length, u, y, NULL, error);
	for (int64_t i = 0; !code && i < a->rows * width; i++)
		a->x0[i] = joined(&pass[1], y, i % width, i / width + before);
	free(u);
	free(v);
	free(y);
	return code;
}

static int op_short_filter_gate(const cr_ops *self, const cr_short_filter_gate_arguments *a,
				crocuta_error *error)
{
	const int64_t width = a->width;
	float *weight = floats(9 * width), *bias = floats(3 * width);
	one_block pass[2];
	int code = one_block_init(&pass[0], width, 1, error), second;

	(void)self;
	second = one_block_init(&pass[1], width, 1, error);
	code = code ? code : second;
	if (!code && (!weight || !bias))
		code = no_memory(error);
	if (!code) {
		memcpy(weight, a->weight, (size_t)(3 * width) * sizeof *weight);
		memcpy(bias, a->bias, (size_t)width * sizeof *bias);
		for (int64_t c = width; c < 3 * width; c++)
			bias[c] = 1;
		pass[0].block.short_weight = a->weight;
		pass[0].block.short_bias = a->bias;
		pass[1].block.short_weight = weight;
		pass[1].block.short_bias = bias;
	}
	for (int i = 0; !code && i < 2; i++)
		code = one_block_start(&pass[i], a->rows + (a->carry ? 2 : 0), error);
	if (!code)
		code = short_filter_passes(a, pass, error);
	one_block_free(&pass[0]);
	one_block_free(&pass[1]);
	free(weight);
	free(bias);
	return code;
}

/* The operator's filter, by rows of offsets. */
static int operator_taps(void *user, int64_t layer, const double *offsets, int64_t count,
			 double *values, crocuta_error *error)
{
	const cr_long_convolution_arguments *a = (const cr_long_convolution_arguments *)user;
	const int64_t width = a->width, padded = cr_ceil_div(width, 32) * 32;
	double *own = NULL;
	int code = 0;

	(void)layer;
	if (a->function) {
		own = (double *)malloc((size_t)(count * width) * sizeof *own);
		code = own ? a->function(a->user, offsets, count, own, error) : no_memory(error);
	}
	for (int64_t i = 0; !code && i < count; i++)
		for (int64_t c = 0; c < padded; c++) {
			const int inside = a->rank || offsets[i] < (double)a->max_length;
			double value = 0;

			if (c < width && inside)
				value = own ? own[i * width + c]
					    : a->taps[c * a->max_length + (int64_t)offsets[i]];
			values[i * padded + c] = value;
		}
	free(own);
	return code;
}

static int convolution_start(one_block *o, const cr_long_convolution_arguments *a,
			     crocuta_error *error)
{
	cr_cuda_options options;

	memset(&options, 0, sizeof options);
	options.dtype = CR_CUDA_F32;
	options.length = options.rows = cr_cuda_padded_length(a->rows);
	options.block = a->rank ? (int64_t)1 << (a->levels ? a->levels : 8) : 0;
	options.rank = a->rank;
	options.taps = operator_taps;
	options.user = (void *)a;
	o->network.max_length = options.length;
	return cr_cuda_new(&o->network, &options, &o->cuda, error);
}

static int op_long_convolution(const cr_ops *self, const cr_long_convolution_arguments *a,
			       crocuta_error *error)
{
	const int64_t width = a->width;
	float *u = NULL;
	__half *y = NULL;
	one_block o;
	int code = one_block_init(&o, width, 1, error);

	(void)self;
	if (!code)
		code = convolution_start(&o, a, error);
	if (!code) {
		const int64_t stride = o.cuda->stride;

		u = floats(3 * width * stride);
		y = (__half *)malloc((size_t)(2 * width * stride) * sizeof *y);
		if (!u || !y)
			code = no_memory(error);
		for (int64_t i = 0; !code && i < a->rows * width; i++) {
			const int64_t at = i % width * stride + i / width;

			u[at] = a->gate[i];
			u[width * stride + at] = 1;
			u[2 * width * stride + at] = a->v[i];
		}
	}
	if (!code)
		code = mix_once(&o, cr_cuda_padded_length(a->rows), u, y, NULL, error);
	for (int64_t i = 0; !code && i < a->rows * width; i++)
		a->y[i] = joined(&o, y, i % width, i / width);
	free(u);
	free(y);
	one_block_free(&o);
	return code;
}

extern "C" const cr_ops *cr_ops_cuda(const char *variant)
{
	/* in the order of ops.def */
	static const cr_ops table = {"cuda",
				     op_embed,
				     op_layer_norm,
				     op_linear,
				     op_gelu,
				     op_short_filter_gate,
				     NULL,
				     op_long_convolution,
				     NULL,
				     NULL,
				     NULL,
				     NULL};

	return variant || !cr_cuda_count() ? NULL : &table;
}
