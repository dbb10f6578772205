/* network.cu - a network's weights and buffers on a GPU, and a batch through it. */
#include "backend/cuda/internal.cuh"

#include <stdlib.h>
#include <string.h>

int64_t cr_cuda_padded_length(int64_t length)
{
	int64_t step = 32;

	while (8 * step <= length)
		step *= 2;
	/* now 4 step <= length < 8 step, or length is small */
	length = cr_ceil_div(length, step) * step;
	return length < 64 ? 64 : length;
}

int64_t cr_cuda_change_length(int64_t rows)
{
	const int64_t length = cr_ceil_div(rows, 32) * 32;

	if (length <= CR_CUDA_DIRECT_MAX)
		return length < 64 ? 64 : length;
	return cr_cuda_padded_length(rows);
}

/* ---- memory ---------------------------------------------------------------------------------- */

int cr_cuda_alloc(cr_cuda *cuda, void **array, int64_t bytes, crocuta_error *error)
{
	bytes = bytes > 0 ? bytes : 1;
	*array = NULL;
	CR_CUDA_TRY(cudaMalloc(array, (size_t)bytes), "allocating memory");
	cuda->allocated += bytes;
	CR_CUDA_TRY(cudaMemset(*array, 0, (size_t)bytes), "clearing memory");
	return 0;
}

int cr_cuda_upload(cr_cuda *cuda, void **array, const void *values, int64_t bytes,
		   crocuta_error *error)
{
	int code = cr_cuda_alloc(cuda, array, bytes, error);

	if (code)
		return code;
	CR_CUDA_TRY(cudaMemcpy(*array, values, (size_t)bytes, cudaMemcpyHostToDevice),
		    "copying weights");
	return 0;
}

int64_t cr_cuda_allocated(const cr_cuda *cuda)
{
	return cuda->allocated;
}

static int64_t stride_for(int64_t rows)
{
	return cr_ceil_div(rows, CR_CUDA_TILE) * CR_CUDA_TILE;
}

/* Of an object with parts a tile more, for the two positions before the part. */
static int64_t stride_of(const cr_cuda_options *o)
{
	return stride_for(o->rows) + (o->parts > 1 ? CR_CUDA_TILE : 0);
}

static int64_t value_bytes(int dtype)
{
	return dtype == CR_CUDA_BF16 ? 2 : 4;
}

cr_cuda_bytes cr_cuda_plan_bytes(const cr_network *n, const cr_cuda_options *o, int capability)
{
	const int64_t d = n->width, stride = stride_of(o), value = value_bytes(o->dtype);
	cr_cuda_bytes bytes = {0, 0, 0};
	int64_t weights = 0, near_far = 0, transforms = 0;

	if (cr_cuda_tile_fits(n, capability, o->dtype))
		weights = cr_cuda_tile_bytes(n, o->dtype);
	else
		bytes.workspace = cr_cuda_dense_bytes(n, o->dtype, &weights);
	bytes.weights = weights + n->layers * 4 * 15 * d + 8 * n->vocabulary * d;
	bytes.workspace += stride * (4 * d + 4 * value * d + 1) + cr_cuda_output_bytes(n, o) +
			   cr_cuda_part_bytes(n, o) +
			   cr_cuda_near_far_bytes(n, o, &near_far) +
			   cr_cuda_transforms_bytes(n, o, &transforms);
	if (o->keep)
		bytes.workspace += 12 * n->layers * stride * d +
				   (stride / 32 + 1) * (int64_t)sizeof(cr_cuda_change);
	bytes.filters = near_far + transforms;
	return bytes;
}

static int upload_short(cr_cuda *c, cr_cuda_short *b, const cr_block_weights *w,
			crocuta_error *error)
{
	const int64_t d = c->network->width;
	float *values = (float *)malloc((size_t)(9 * d) * sizeof *values);
	int code;

	if (!values)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	for (int64_t i = 0; i < 9 * d; i++)
		values[i % 3 * 3 * d + i / 3] = w->short_weight[i];
	code = cr_cuda_upload(c, (void **)&b->taps, values, 4 * 9 * d, error);
	if (!code)
		code = cr_cuda_upload(c, (void **)&b->bias, w->short_bias, 4 * 3 * d, error);
	cr_cuda_folded_bias(w->in_weight, w->in_bias, w->norm1_bias, 3 * d, d, values);
	if (!code)
		code = cr_cuda_upload(c, (void **)&b->in_bias, values, 4 * 3 * d, error);
	free(values);
	return code;
}

static int upload_network(cr_cuda *c, crocuta_error *error)
{
	const cr_network *n = c->network;
	const int64_t table = 4 * n->vocabulary * n->width;
	int code;

	c->block = (cr_cuda_short *)calloc((size_t)n->layers, sizeof *c->block);
	if (!c->block)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for weights");
	code = cr_cuda_upload(c, (void **)&c->embedding, n->embedding, table, error);
	if (!code)
		code = cr_cuda_upload(c, (void **)&c->lm_head, n->lm_head, table, error);
	if (!code)
		code = cr_cuda_upload(c, (void **)&c->norm_weight, n->norm_weight, 4 * n->width,
				      error);
	if (!code)
		code = cr_cuda_upload(c, (void **)&c->norm_bias, n->norm_bias, 4 * n->width, error);
	for (int64_t i = 0; !code && i < n->layers; i++)
		code = upload_short(c, &c->block[i], &n->block[i], error);
	if (code)
		return code;
	if (cr_cuda_tile_fits(n, c->capability, c->dtype))
		return cr_cuda_tile_new(c, &c->tile, error);
	return cr_cuda_dense_new(c, &c->dense, error);
}

static int allocate(cr_cuda *c, const cr_cuda_options *options, crocuta_error *error)
{
	const int keep = options->keep;
	const int64_t d = c->network->width, value = value_bytes(c->dtype);
	const int64_t kept = 4 * c->network->layers * c->stride * d;
	int code;

	code = cr_cuda_alloc(c, (void **)&c->tokens, c->stride, error);
	if (!code)
		code = cr_cuda_alloc(c, (void **)&c->residual, 4 * c->stride * d, error);
	if (!code)
		code = cr_cuda_part_alloc_u(c, 3 * value * c->stride * d, options->parts, error);
	if (!code)
		code = cr_cuda_alloc(c, &c->y, value * c->stride * d, error);
	if (!code)
		code = cr_cuda_alloc(c, (void **)&c->overflow, sizeof *c->overflow, error);
	if (!code && keep)
		code = cr_cuda_alloc(c, (void **)&c->changes,
				     (c->stride / 32 + 1) * (int64_t)sizeof *c->changes, error);
	if (!code && keep)
		code = cr_cuda_alloc(c, (void **)&c->kept_residual, kept, error);
	if (!code && keep)
		code = cr_cuda_alloc(c, (void **)&c->kept_v, kept, error);
	if (!code && keep)
		code = cr_cuda_alloc(c, (void **)&c->kept_y, kept, error);
	return code;
}

static int make_slot(cr_cuda *c, cr_cuda_slot *s, crocuta_error *error)
{
	const size_t events = (size_t)(2 * c->network->layers + 2);
	cudaError_t status;

	s->event = (cudaEvent_t *)calloc(events, sizeof *s->event);
	if (!s->event)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (size_t i = 0; i < events; i++)
		CR_CUDA_TRY(cudaEventCreate(&s->event[i]), "making an event");
	CR_CUDA_TRY(cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming), "making an event");
	status = cudaMallocHost((void **)&s->overflow_host, sizeof *s->overflow_host);
	return status == cudaSuccess ? 0 : cr_cuda_host_failed(status, error);
}

static int start(cr_cuda *c, const cr_cuda_options *options, crocuta_error *error)
{
	struct cudaDeviceProp properties;
	int code = 0;

	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	CR_CUDA_TRY(cudaGetDeviceProperties(&properties, c->device), "asking about a GPU");
	c->multiprocessors = properties.multiProcessorCount;
	c->capability = 10 * properties.major + properties.minor;
	CR_CUDA_TRY(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "making a stream");
	for (int i = 0; !code && i < CR_CUDA_SLOTS; i++)
		code = make_slot(c, &c->slot[i], error);
	if (!code)
		code = upload_network(c, error);
	if (!code)
		code = allocate(c, options, error);
	if (!code)
		code = cr_cuda_part_new(c, options, error);
	if (!code)
		code = cr_cuda_output_new(c, options, error);
	if (!code)
		code = cr_cuda_near_far_new(c, options, &c->near_far, error);
	if (!code)
		code = cr_cuda_transforms_new(c, options, &c->transforms, error);
	if (!code) /* the stream does not wait for what the default stream cleared and copied */
		CR_CUDA_TRY(cudaDeviceSynchronize(), "copying weights");
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
	c->dtype = options->dtype;
	c->length = options->length;
	c->rows = options->rows;
	c->stride = stride_of(options);
	code = start(c, options, error);
	if (code)
		cr_cuda_free(c);
	else
		*cuda = c;
	return code;
}

static void free_slot(cr_cuda_slot *s, int64_t layers)
{
	for (int64_t i = 0; s->event && i < 2 * layers + 2; i++)
		if (s->event[i])
			cudaEventDestroy(s->event[i]);
	free(s->event);
	if (s->done)
		cudaEventDestroy(s->done);
	cudaFreeHost(s->overflow_host);
}

void cr_cuda_free(cr_cuda *c)
{
	if (!c)
		return;
	cudaSetDevice(c->device);
	if (c->stream)
		cudaStreamSynchronize(c->stream);
	cr_cuda_output_free(c);
	cr_cuda_part_free(c->part);
	cr_cuda_near_far_free(c->near_far);
	cr_cuda_transforms_free(c->transforms);
	cr_cuda_dense_free(c->dense);
	cr_cuda_tile_free(c->tile, c->network->layers);
	for (int64_t i = 0; c->block && i < c->network->layers; i++) {
		cudaFree(c->block[i].in_bias);
		cudaFree(c->block[i].taps);
		cudaFree(c->block[i].bias);
	}
	free(c->block);
	for (int i = 0; i < CR_CUDA_SLOTS; i++)
		free_slot(&c->slot[i], c->network->layers);
	cudaFree(c->embedding);
	cudaFree(c->lm_head);
	cudaFree(c->norm_weight);
	cudaFree(c->norm_bias);
	cudaFree(c->tokens);
	cudaFree(c->residual);
	cudaFree(c->u_memory);
	cudaFree(c->y);
	cudaFree(c->kept_residual);
	cudaFree(c->kept_v);
	cudaFree(c->kept_y);
	cudaFree(c->changes);
	cudaFree(c->overflow);
	if (c->stream)
		cudaStreamDestroy(c->stream);
	free(c);
}

/* ---- forward --------------------------------------------------------------------------------- */

int cr_cuda_local(cr_cuda *c, int64_t head, int64_t tail, int64_t rows, crocuta_error *error)
{
	return c->tile ? cr_cuda_tile_run(c, head, tail, rows, error)
		       : cr_cuda_dense_run(c, head, tail, rows, error);
}

int cr_cuda_mix_run(cr_cuda *c, const cr_cuda_mix *m, crocuta_error *error)
{
	const int64_t length = m->part ? m->part->cut.length : m->length;

	return cr_cuda_near_far_serves(c->near_far, length) ? cr_cuda_near_far_run(c, m, error)
							    : cr_cuda_transforms_run(c, m, error);
}

/* Tokens to the device, their vectors into the residual; rows up to the tile's end, which are computed as well,
 * begin anew too, lest an infinity of an earlier batch lives on there. */
static int begin(cr_cuda *c, cr_cuda_slot *s, const uint8_t *tokens, int64_t rows,
		 crocuta_error *error)
{
	const int64_t end = stride_for(rows);
	const int64_t parts = c->dtype == CR_CUDA_BF16 ? 1 : 2; /* of y, two bytes a value each */

	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	s->unfinished = 1;
	CR_CUDA_TRY(cudaMemcpyAsync(c->tokens, tokens, (size_t)rows, cudaMemcpyHostToDevice,
				    c->stream),
		    "copying tokens");
	CR_CUDA_TRY(cudaMemsetAsync(c->overflow, 0, sizeof *c->overflow, c->stream),
		    "clearing a flag");
	CR_CUDA_TRY(cudaMemsetAsync(c->tokens + rows, 0, (size_t)(end - rows), c->stream),
		    "clearing tokens");
	CR_CUDA_TRY(cudaMemset2DAsync((char *)c->y + 2 * rows, (size_t)(2 * c->stride), 0,
				      (size_t)(2 * (end - rows)),
				      (size_t)(parts * c->network->width), c->stream),
		    "clearing activations");
	CR_CUDA_TRY(cudaEventRecord(s->event[0], c->stream), "timing");
	s->layers = 0;
	return cr_cuda_embed(c, end, error);
}

/* One event of a slot: after the local pass (first), after the mixing pass of block `layer`. */
static int record(cr_cuda *c, cr_cuda_slot *s, int layer, int mixed, crocuta_error *error)
{
	CR_CUDA_TRY(cudaEventRecord(s->event[2 * layer + 1 + mixed], c->stream), "timing");
	return 0;
}

/* The local pass behind the last mixing pass, timed. */
static int last_local(cr_cuda *c, cr_cuda_slot *s, int layers, int64_t rows, crocuta_error *error)
{
	int code = cr_cuda_local(c, layers - 1, -1, rows, error);

	if (code)
		return code;
	CR_CUDA_TRY(cudaEventRecord(s->event[2 * layers + 1], c->stream), "timing");
	s->layers = layers;
	return 0;
}

static int keep_residual(cr_cuda *c, int64_t layer, int64_t rows, crocuta_error *error)
{
	const int64_t d = c->network->width;

	CR_CUDA_TRY(cudaMemcpyAsync(c->kept_residual + layer * c->stride * d, c->residual,
				    (size_t)(rows * d) * 4, cudaMemcpyDeviceToDevice, c->stream),
		    "keeping activations");
	return 0;
}

int cr_cuda_forward(cr_cuda *c, int slot, const uint8_t *tokens, int64_t batch, int64_t length,
		    int layer, crocuta_error *error)
{
	const int64_t rows = batch * length, part = c->stride * c->network->width;
	cr_cuda_slot *s = &c->slot[slot];
	int code;

	if (rows > c->rows || length > c->length)
		return cr_fail(error, CROCUTA_EINTERNAL, "a batch of %lld x %lld rows is too large",
			       (long long)batch, (long long)length);
	c->kept_length = length;
	code = begin(c, s, tokens, rows, error);
	for (int i = 0; !code && i < layer; i++) {
		cr_cuda_mix m = {i, batch, length, NULL, NULL, NULL, NULL, NULL, 0, NULL};

		code = cr_cuda_local(c, i - 1, i, rows, error);
		if (!code && c->kept_v) {
			m.keep_v = c->kept_v + i * part;
			m.keep_y = c->kept_y + i * part;
			code = keep_residual(c, i, rows, error);
		}
		if (!code)
			code = record(c, s, i, 0, error);
		if (!code)
			code = cr_cuda_mix_run(c, &m, error);
		if (!code)
			code = record(c, s, i, 1, error);
	}
	return code ? code : last_local(c, s, layer, rows, error);
}

/* A slot in which nothing is computed. */
static int begin_nothing(cr_cuda *c, cr_cuda_slot *s, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	s->unfinished = 1;
	s->layers = 0;
	CR_CUDA_TRY(cudaMemsetAsync(c->overflow, 0, sizeof *c->overflow, c->stream),
		    "clearing a flag");
	return 0;
}

int cr_cuda_forward_part(cr_cuda *c, int slot, const uint8_t *tokens, int64_t length, int layer,
			 struct cr_comm *comm, crocuta_error *error)
{
	cr_cuda_slot *s = &c->slot[slot];
	cr_cuda_part_pass pass;
	int64_t rows;
	int code;

	if (!c->part || length > c->length)
		return cr_fail(error, CROCUTA_EINTERNAL, "a part of %lld positions",
			       (long long)length);
	pass = cr_cuda_part_of(c->part, length, comm);
	rows = cr_cuda_cut_count(&pass.cut, pass.part);
	if (rows > c->rows)
		return cr_fail(error, CROCUTA_EINTERNAL, "a part of %lld rows is too large",
			       (long long)rows);
	if (!rows)
		return begin_nothing(c, s, error);
	if (cr_cuda_cut_used(&pass.cut) == 1)
		return cr_cuda_forward(c, slot, tokens, 1, length, layer, error);
	code = begin(c, s, tokens, rows, error);
	for (int i = 0; !code && i < layer; i++) {
		const cr_cuda_mix m = {i, 1, rows, NULL, NULL, NULL, NULL, NULL, 0, &pass};

		code = cr_cuda_local(c, i - 1, i, rows, error);
		if (!code)
			code = record(c, s, i, 0, error);
		if (!code)
			code = cr_cuda_part_history(c, &pass, error);
		if (!code)
			code = cr_cuda_mix_run(c, &m, error);
		if (!code)
			code = record(c, s, i, 1, error);
	}
	return code ? code : last_local(c, s, layer, rows, error);
}

int cr_cuda_changes(cr_cuda *c, int slot, const cr_cuda_change *changes, const uint8_t *tokens,
		    int64_t count, int64_t length, crocuta_error *error)
{
	const int layers = (int)c->network->layers;
	const int64_t rows = count * length, part = c->stride * c->network->width;
	cr_cuda_slot *s = &c->slot[slot];
	int code;

	if (rows > c->rows || length > c->length || !c->kept_v)
		return cr_fail(error, CROCUTA_EINTERNAL, "%lld changes of %lld rows are too many",
			       (long long)count, (long long)length);
	code = begin(c, s, tokens, rows, error);
	if (!code)
		CR_CUDA_TRY(cudaMemcpyAsync(c->changes, changes, (size_t)count * sizeof *changes,
					    cudaMemcpyHostToDevice, c->stream),
			    "copying places");
	for (int i = 0; !code && i < layers; i++) {
		cr_cuda_mix m = {i, count, length, NULL, NULL, c->changes, c->kept_v + i * part,
				 c->kept_y + i * part, c->kept_length, NULL};

		code = cr_cuda_local(c, i - 1, -1, rows, error);
		if (!code) /* the rows before a change are its sequence's own, and so their u */
			code = cr_cuda_enter_changes(c, &m, c->kept_residual + i * part, error);
		if (!code)
			code = cr_cuda_local(c, -1, i, rows, error);
		if (!code)
			code = record(c, s, i, 0, error);
		if (!code)
			code = cr_cuda_mix_run(c, &m, error);
		if (!code)
			code = record(c, s, i, 1, error);
	}
	return code ? code : last_local(c, s, layers, rows, error);
}

int cr_cuda_finish(cr_cuda *c, int slot, crocuta_error *error)
{
	cr_cuda_slot *s = &c->slot[slot];

	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	CR_CUDA_TRY(cudaMemcpyAsync(s->overflow_host, c->overflow, sizeof *c->overflow,
				    cudaMemcpyDeviceToHost, c->stream),
		    "reading a flag");
	CR_CUDA_TRY(cudaEventRecord(s->done, c->stream), "marking the end of a batch");
	s->unfinished = 0;
	return 0;
}

/* Add up the time between the events of a slot. */
static void add_times(cr_cuda *c, cr_cuda_slot *s)
{
	for (int i = 0; s->layers && i < 2 * s->layers + 1; i++) {
		float milliseconds = 0;

		if (cudaEventElapsedTime(&milliseconds, s->event[i], s->event[i + 1]) == cudaSuccess)
			*(i % 2 ? &c->mixing_seconds : &c->local_seconds) += milliseconds / 1e3;
	}
	s->layers = 0;
}

int cr_cuda_wait(cr_cuda *c, int slot, crocuta_error *error)
{
	cr_cuda_slot *s = &c->slot[slot];

	CR_CUDA_TRY(cudaSetDevice(c->device), "choosing a GPU");
	if (s->unfinished) { /* a failure cut it short: nothing may run on behind its back */
		s->unfinished = s->layers = 0;
		CR_CUDA_TRY(cudaStreamSynchronize(c->stream), "computing a batch");
		return 0;
	}
	CR_CUDA_TRY(cudaEventSynchronize(s->done), "computing a batch");
	add_times(c, s);
	if (*s->overflow_host)
		return cr_fail(error, CROCUTA_ENUMERIC,
			       "an activation is beyond 65,000 or no number: the GPU's split "
			       "arithmetic cannot hold it; use --device cpu or --dtype bf16");
	return 0;
}

void cr_cuda_times(cr_cuda *c, double *local_seconds, double *mixing_seconds)
{
	*local_seconds = c->local_seconds;
	*mixing_seconds = c->mixing_seconds;
	c->local_seconds = c->mixing_seconds = 0;
}

void *cr_cuda_host_bytes(int64_t bytes)
{
	void *array = NULL;

	if (cudaMallocHost(&array, (size_t)(bytes > 0 ? bytes : 1)) == cudaSuccess)
		return array;
	(void)cudaGetLastError();
	return NULL;
}

void cr_cuda_host_free(void *array)
{
	cudaFreeHost(array);
}
