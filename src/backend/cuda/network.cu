/* network.cu - a network's weights and buffers on a GPU, and a batch through it. */
#include "backend/cuda/internal.cuh"

#include <stdlib.h>
#include <string.h>

/* Powers of two that bring operands into the middle of half's range: normalised rows are at most
 * sqrt(D), products of gates and activations a few units. */
#define NORM_SCALE 64.0f
#define GATE_SCALE 1.0f
#define GELU_SCALE 1.0f

int64_t cr_cuda_padded_length(int64_t length)
{
	int64_t step = 16;

	while (8 * step <= length)
		step *= 2;
	/* now 4 step <= length < 8 step, or length is small */
	length = cr_ceil_div(length, step) * step;
	return length < 64 ? 64 : length;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t heads_floats(const cr_cuda *c)
{
	/* sequences of the shortest padded length, 64, have no more than 64 heads each */
	return c->rows * c->network->width;
}

static int64_t group_floats(int64_t length)
{
	return 2 * length > CR_CUDA_GROUP ? 2 * length : CR_CUDA_GROUP;
}

cr_cuda_bytes cr_cuda_plan_bytes(const cr_network *n, const cr_cuda_options *o)
{
	const int64_t d = n->width, inner = n->inner_width, parts = CR_CUDA_PARTS;
	cr_cuda_bytes bytes = {0, 0, 0};

	bytes.weights = n->layers * (2 * parts * (4 * d * d + 2 * d * inner) + 4 * (18 * d + inner)) +
			8 * n->vocabulary * d;
	bytes.filters = n->layers * d * (4 * o->length + 8 * (o->length + 1));
	bytes.workspace = (o->keep ? 12 * n->layers * o->rows * d : 0) + 4 * 4 * o->rows * d + o->rows + CR_CUDA_BLAS_WORKSPACE +
			  CR_CUDA_CHUNK * (12 * d + 2 * parts * d + 4 * inner + 2 * parts * inner) +
			  4 * 4 * group_floats(o->length) +
			  4 * CR_CUDA_OUTPUT_ROWS * (d + n->vocabulary);
	return bytes;
}

static int upload_block(cr_cuda *c, cr_cuda_block *b, const cr_block_weights *w,
			crocuta_error *error)
{
	const int64_t d = c->network->width, inner = c->network->inner_width;
	float *taps = (float *)malloc((size_t)(9 * d) * sizeof *taps);
	int code;

	if (!taps)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	for (int64_t i = 0; i < 9 * d; i++)
		taps[i % 3 * 3 * d + i / 3] = w->short_weight[i];
	code = cr_cuda_upload(&b->taps, taps, 9 * d, error);
	free(taps);
	b->in.x_scale = b->fc1.x_scale = NORM_SCALE;
	b->out.x_scale = GATE_SCALE;
	b->fc2.x_scale = GELU_SCALE;
	b->out.accumulate = b->fc2.accumulate = 1;
	if (!code)
		code = cr_cuda_upload(&b->short_bias, w->short_bias, 3 * d, error);
	if (!code)
		code = cr_cuda_linear_init(c, &b->in, w->in_weight, w->in_bias, 3 * d, d,
					   w->norm1_weight, w->norm1_bias, error);
	if (!code)
		code = cr_cuda_linear_init(c, &b->out, w->out_weight, w->out_bias, d, d, NULL, NULL,
					   error);
	if (!code)
		code = cr_cuda_linear_init(c, &b->fc1, w->fc1_weight, w->fc1_bias, inner, d,
					   w->norm2_weight, w->norm2_bias, error);
	if (!code)
		code = cr_cuda_linear_init(c, &b->fc2, w->fc2_weight, w->fc2_bias, d, inner, NULL,
					   NULL, error);
	return code;
}

static int upload_network(cr_cuda *c, crocuta_error *error)
{
	const cr_network *n = c->network;
	int code;

	c->block = (cr_cuda_block *)calloc((size_t)n->layers, sizeof *c->block);
	if (!c->block)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	code = cr_cuda_upload(&c->embedding, n->embedding, n->vocabulary * n->width, error);
	if (!code)
		code = cr_cuda_upload(&c->lm_head, n->lm_head, n->vocabulary * n->width, error);
	if (!code)
		code = cr_cuda_upload(&c->norm_weight, n->norm_weight, n->width, error);
	if (!code)
		code = cr_cuda_upload(&c->norm_bias, n->norm_bias, n->width, error);
	for (int64_t i = 0; !code && i < n->layers; i++)
		code = upload_block(c, &c->block[i], &n->block[i], error);
	return code;
}

static int allocate(cr_cuda *c, int keep, crocuta_error *error)
{
	const cr_network *n = c->network;
	const int64_t d = n->width;
	int code = 0;

	CR_CUDA_TRY(cudaMalloc(&c->tokens, (size_t)c->rows), "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->changes, (size_t)(c->rows / 32 + 1) * sizeof *c->changes),
		    "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->overflow, sizeof *c->overflow), "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->operand, (size_t)(CR_CUDA_CHUNK * CR_CUDA_PARTS * d) * 2),
		    "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->wide_operand,
			       (size_t)(CR_CUDA_CHUNK * CR_CUDA_PARTS * n->inner_width) * 2),
		    "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->spectrum, (size_t)c->spectrum_values * sizeof *c->spectrum),
		    "allocating memory");
	CR_CUDA_TRY(cudaMalloc(&c->blas_workspace, (size_t)CR_CUDA_BLAS_WORKSPACE),
		    "allocating memory");
	code = cr_cuda_floats(&c->padded, c->padded_floats, error);
	if (!code)
		code = cr_cuda_floats(&c->residual, c->rows * d, error);
	if (!code)
		code = cr_cuda_floats(&c->x0, c->rows * d, error);
	if (!code)
		code = cr_cuda_floats(&c->v, c->rows * d, error);
	if (!code)
		code = cr_cuda_floats(&c->heads, heads_floats(c), error);
	if (!code && keep)
		code = cr_cuda_floats(&c->kept_residual, n->layers * c->rows * d, error);
	if (!code && keep)
		code = cr_cuda_floats(&c->kept_v, n->layers * c->rows * d, error);
	if (!code && keep)
		code = cr_cuda_floats(&c->kept_y, n->layers * c->rows * d, error);
	if (!code)
		code = cr_cuda_floats(&c->u, (CR_CUDA_CHUNK + 2) * 3 * d, error);
	if (!code)
		code = cr_cuda_floats(&c->wide, CR_CUDA_CHUNK * n->inner_width, error);
	if (!code)
		code = cr_cuda_floats(&c->rows_hidden, CR_CUDA_OUTPUT_ROWS * d, error);
	if (!code)
		code = cr_cuda_floats(&c->rows_logits, CR_CUDA_OUTPUT_ROWS * n->vocabulary, error);
	if (!code)
		code = cr_cuda_floats(&c->filter_taps, n->layers * d * c->tap_count, error);
	return code;
}

static int start(cr_cuda *c, const cr_cuda_options *options, crocuta_error *error)
{
	cublasStatus_t status;
	int code;

	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	CR_CUDA_TRY(cudaStreamCreate(&c->stream), "making a stream");
	c->event = (cudaEvent_t *)calloc((size_t)(2 * c->network->layers + 1), sizeof *c->event);
	if (!c->event)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (int64_t i = 0; i <= 2 * c->network->layers; i++)
		CR_CUDA_TRY(cudaEventCreate(&c->event[i]), "making an event");
	status = cublasLtCreate(&c->blas);
	if (status != CUBLAS_STATUS_SUCCESS)
		return cr_fail(error, CROCUTA_EDEVICE, "cuBLAS: %s",
			       cublasLtGetStatusString(status));
	code = upload_network(c, error);
	if (!code)
		code = allocate(c, options->keep, error);
	if (!code)
		code = cr_cuda_make_taps(c, options, error);
	return code;
}

int cr_cuda_new(const cr_network *network, const cr_cuda_options *options, cr_cuda **cuda,
		crocuta_error *error)
{
	cr_cuda *c = (cr_cuda *)calloc(1, sizeof *c);
	int code;

	*cuda = NULL;
	if (!c)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	c->network = network;
	c->device = options->device;
	c->length = options->length;
	c->rows = options->rows;
	c->tap_count = options->length;
	c->padded_floats = group_floats(options->length);
	/* one more bin than half the size a signal: at most 1 in 64 */
	c->spectrum_values = c->padded_floats / 2 + c->padded_floats / 128 + 1;
	code = start(c, options, error);
	if (code)
		cr_cuda_free(c);
	else
		*cuda = c;
	return code;
}

void cr_cuda_free(cr_cuda *c)
{
	if (!c)
		return;
	cudaSetDevice(c->device);
	for (int64_t i = 0; c->block && i < c->network->layers; i++) {
		cr_cuda_block *b = &c->block[i];

		cr_cuda_linear_free(&b->in);
		cr_cuda_linear_free(&b->out);
		cr_cuda_linear_free(&b->fc1);
		cr_cuda_linear_free(&b->fc2);
		cudaFree(b->taps);
		cudaFree(b->short_bias);
	}
	free(c->block);
	for (int64_t i = 0; c->event && i <= 2 * c->network->layers; i++)
		if (c->event[i])
			cudaEventDestroy(c->event[i]);
	free(c->event);
	for (int i = 0; i < CR_CUDA_SIZES; i++)
		cr_cuda_spectra_free(&c->spectra[i]);
	cudaFree(c->embedding);
	cudaFree(c->lm_head);
	cudaFree(c->norm_weight);
	cudaFree(c->norm_bias);
	cudaFree(c->filter_taps);
	cudaFree(c->tokens);
	cudaFree(c->residual);
	cudaFree(c->x0);
	cudaFree(c->v);
	cudaFree(c->heads);
	cudaFree(c->kept_residual);
	cudaFree(c->kept_v);
	cudaFree(c->kept_y);
	cudaFree(c->changes);
	cudaFree(c->u);
	cudaFree(c->operand);
	cudaFree(c->wide);
	cudaFree(c->wide_operand);
	cudaFree(c->padded);
	cudaFree(c->spectrum);
	cudaFree(c->rows_hidden);
	cudaFree(c->rows_logits);
	cudaFree(c->overflow);
	cudaFree(c->blas_workspace);
	if (c->blas)
		cublasLtDestroy(c->blas);
	if (c->stream)
		cudaStreamDestroy(c->stream);
	free(c);
}

/* ---- forward --------------------------------------------------------------------------------- */

static int64_t rows_here(int64_t rows, int64_t first)
{
	return rows - first < CR_CUDA_CHUNK ? rows - first : CR_CUDA_CHUNK;
}

/* norm, in_proj, short filter and gates: x0 and v of all rows. */
static int tail(cr_cuda *c, const cr_cuda_block *b, int64_t rows, int64_t length,
		crocuta_error *error)
{
	const int64_t d = c->network->width;
	int code = 0;

	for (int64_t first = 0; !code && first < rows; first += CR_CUDA_CHUNK) {
		const int64_t n = rows_here(rows, first);

		code = cr_cuda_normalise(c, c->residual + first * d, n, b->in.x_scale, c->operand,
					 error);
		if (!code)
			code = cr_cuda_linear_run(c, &b->in, c->operand, c->u + 6 * d, n, error);
		if (!code)
			code = cr_cuda_short_filter(c, b, first, n, length, error);
		if (!code)
			CR_CUDA_TRY(cudaMemcpyAsync(c->u, c->u + 3 * n * d, (size_t)(6 * d) * 4,
						    cudaMemcpyDeviceToDevice, c->stream),
				    "carrying rows over");
	}
	return code;
}

/* gate, out_proj, add, norm, MLP, add. */
static int head(cr_cuda *c, const cr_cuda_block *b, int64_t rows, int64_t length,
		crocuta_error *error)
{
	const int64_t d = c->network->width, inner = c->network->inner_width;
	int code = 0;

	for (int64_t first = 0; !code && first < rows; first += CR_CUDA_CHUNK) {
		const int64_t n = rows_here(rows, first);
		float *residual = c->residual + first * d;

		code = cr_cuda_gate(c, first, n, length, b->out.x_scale, error);
		if (!code)
			code = cr_cuda_linear_run(c, &b->out, c->operand, residual, n, error);
		if (!code)
			code = cr_cuda_normalise(c, residual, n, b->fc1.x_scale, c->operand, error);
		if (!code)
			code = cr_cuda_linear_run(c, &b->fc1, c->operand, c->wide, n, error);
		if (!code)
			code = cr_cuda_gelu(c, c->wide, n, inner, b->fc2.x_scale, c->wide_operand,
					    error);
		if (!code)
			code = cr_cuda_linear_run(c, &b->fc2, c->wide_operand, residual, n, error);
	}
	return code;
}

/* Add up the time between the events of a pass over `layers` blocks. */
static void add_times(cr_cuda *c, int layers)
{
	for (int i = 0; i < 2 * layers; i++) {
		float milliseconds = 0;

		if (cudaEventElapsedTime(&milliseconds, c->event[i], c->event[i + 1]) == cudaSuccess)
			*(i % 2 ? &c->mixing_seconds : &c->local_seconds) += milliseconds / 1e3;
	}
}

void cr_cuda_times(cr_cuda *c, double *local, double *mixing)
{
	*local = c->local_seconds;
	*mixing = c->mixing_seconds;
	c->local_seconds = c->mixing_seconds = 0;
}

/* Tokens to the device, their vectors into the residual. */
static int begin(cr_cuda *c, const uint8_t *tokens, int64_t rows, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	CR_CUDA_TRY(cudaMemcpyAsync(c->tokens, tokens, (size_t)rows, cudaMemcpyHostToDevice,
				    c->stream),
		    "copying tokens");
	CR_CUDA_TRY(cudaMemsetAsync(c->overflow, 0, sizeof *c->overflow, c->stream),
		    "clearing a flag");
	cudaEventRecord(c->event[0], c->stream);
	return cr_cuda_embed(c, rows, error);
}

/* Wait, and look whether all went well. */
static int end(cr_cuda *c, int layer, crocuta_error *error)
{
	int overflow = 0;

	CR_CUDA_TRY(cudaMemcpyAsync(&overflow, c->overflow, sizeof overflow, cudaMemcpyDeviceToHost,
				    c->stream),
		    "reading a flag");
	CR_CUDA_TRY(cudaStreamSynchronize(c->stream), "computing a batch");
	add_times(c, layer);
	if (overflow)
		return cr_fail(error, CROCUTA_ENUMERIC,
			       "an activation is beyond 65,000 or no number: the GPU's split "
			       "arithmetic cannot hold it; use --device cpu");
	return 0;
}

/* Copy a whole array of the batch aside. */
static int keep(cr_cuda *c, float *kept, int64_t layer, const float *array, int64_t rows,
		crocuta_error *error)
{
	const int64_t d = c->network->width;

	if (!kept)
		return 0;
	CR_CUDA_TRY(cudaMemcpyAsync(kept + layer * c->rows * d, array, (size_t)(rows * d) * 4,
				    cudaMemcpyDeviceToDevice, c->stream),
		    "keeping activations");
	return 0;
}

int cr_cuda_forward(cr_cuda *c, const uint8_t *tokens, int64_t batch, int64_t length, int layer,
		    crocuta_error *error)
{
	const int64_t rows = batch * length;
	int code;

	if (rows > c->rows || length > c->length)
		return cr_fail(error, CROCUTA_EINTERNAL, "a batch of %lld x %lld rows is too large",
			       (long long)batch, (long long)length);
	c->kept_length = length;
	code = begin(c, tokens, rows, error);
	for (int i = 0; !code && i < layer; i++) {
		code = keep(c, c->kept_residual, i, c->residual, rows, error);
		if (!code)
			code = tail(c, &c->block[i], rows, length, error);
		if (!code)
			code = keep(c, c->kept_v, i, c->v, rows, error);
		cudaEventRecord(c->event[2 * i + 1], c->stream);
		if (!code)
			code = cr_cuda_convolve(c, i, batch, length, error);
		cudaEventRecord(c->event[2 * i + 2], c->stream);
		if (!code)
			code = keep(c, c->kept_y, i, c->v, rows, error);
		if (!code)
			code = head(c, &c->block[i], rows, length, error);
	}
	return code ? code : end(c, layer, error);
}

int64_t cr_cuda_change_length(int64_t rows)
{
	const int64_t length = cr_ceil_div(rows, 32) * 32;

	if (length < 64)
		return 64;
	return cr_cuda_fused_size(length) ? length : cr_cuda_padded_length(rows);
}

int cr_cuda_changes(cr_cuda *c, const cr_cuda_change *changes, const uint8_t *tokens, int64_t count,
		    int64_t length, crocuta_error *error)
{
	const int layers = (int)c->network->layers;
	const int64_t rows = count * length;
	int code;

	if (rows > c->rows || !c->kept_v)
		return cr_fail(error, CROCUTA_EINTERNAL, "%lld changes of %lld rows are too many",
			       (long long)count, (long long)length);
	code = begin(c, tokens, rows, error);
	if (!code)
		CR_CUDA_TRY(cudaMemcpyAsync(c->changes, changes, (size_t)count * sizeof *changes,
					    cudaMemcpyHostToDevice, c->stream),
			    "copying places");
	for (int i = 0; !code && i < layers; i++) {
		code = cr_cuda_enter_changes(c, i, count, length, error);
		if (!code)
			code = tail(c, &c->block[i], rows, length, error);
		cudaEventRecord(c->event[2 * i + 1], c->stream);
		if (!code)
			code = cr_cuda_subtract_kept(c, i, count, length, error);
		if (!code)
			code = cr_cuda_convolve(c, i, count, length, error);
		if (!code)
			code = cr_cuda_add_kept(c, i, count, length, error);
		cudaEventRecord(c->event[2 * i + 2], c->stream);
		if (!code)
			code = head(c, &c->block[i], rows, length, error);
	}
	return code ? code : end(c, layers, error);
}

int cr_cuda_output(cr_cuda *c, int64_t first, int64_t count, int raw, float *hidden, float *logits,
		   crocuta_error *error)
{
	const int64_t d = c->network->width, vocabulary = c->network->vocabulary;
	float *rows_hidden = c->rows_hidden + c->output_rows * d;
	float *rows_logits = c->rows_logits + c->output_rows * vocabulary;
	int code;

	if (c->output_rows + count > CR_CUDA_OUTPUT_ROWS)
		return cr_fail(error, CROCUTA_EINTERNAL, "too many rows at a time");
	c->output_rows += count;
	code = cr_cuda_head(c, first, count, raw, hidden ? rows_hidden : NULL,
			    logits ? rows_logits : NULL, error);
	if (!code && hidden)
		CR_CUDA_TRY(cudaMemcpyAsync(hidden, rows_hidden, (size_t)(count * d) * 4,
					    cudaMemcpyDeviceToHost, c->stream),
			    "copying rows");
	if (!code && logits)
		CR_CUDA_TRY(cudaMemcpyAsync(logits, rows_logits, (size_t)(count * vocabulary) * 4,
					    cudaMemcpyDeviceToHost, c->stream),
			    "copying rows");
	return code;
}

int cr_cuda_wait(cr_cuda *c, crocuta_error *error)
{
	c->output_rows = 0;
	CR_CUDA_TRY(cudaStreamSynchronize(c->stream), "copying rows");
	return 0;
}

float *cr_cuda_host_floats(int64_t count)
{
	float *array = NULL;

	return cudaMallocHost(&array, (size_t)count * sizeof *array) == cudaSuccess ? array : NULL;
}

void cr_cuda_host_free(float *array)
{
	cudaFreeHost(array);
}
