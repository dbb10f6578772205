/* engine_cuda.c - sequences through a network on one NVIDIA GPU; compiled with CUDA=1 only.
 *
 * Neighbouring sequences of one padded length go through together. What a sequence gives depends on
 * its padded length alone, never on its company.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "mixer/implicit_filter.h"
#include "model/engine.h"

/* Rows of a batch of short sequences: enough to fill the chip. */
#define BATCH_ROWS 262144

#define HAND_OVER CR_CUDA_OUTPUT_ROWS

typedef struct engine {
	cr_cuda *cuda;
	cr_cuda_options options;
	cr_implicit_filter *implicit; /* (N) */
	uint8_t *tokens;              /* (rows) */
	float *hidden, *logits;       /* (HAND_OVER, D), (HAND_OVER, V) */
	crocuta_stage_times times;
} engine;

static int taps(void *user, int64_t layer, int64_t first, int64_t count, double *values,
		crocuta_error *error)
{
	const engine *e = user;
	double *offsets = cr_calloc((size_t)count, sizeof *offsets);
	int code;

	if (!offsets)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for taps");
	for (int64_t t = 0; t < count; t++)
		offsets[t] = (double)(first + t);
	code = cr_implicit_filter_values(&e->implicit[layer], offsets, count, values, error);
	cr_free(offsets);
	return code;
}

/* The index behind "cuda" or "cuda:1". */
static int parse_device(const char *name, int *device, crocuta_error *error)
{
	const char *colon = strchr(name, ':');
	const int count = cr_cuda_count();
	char *end = NULL;
	long index = 0;

	if (colon) {
		index = strtol(colon + 1, &end, 10);
		if (end == colon + 1 || *end)
			return cr_fail(error, CROCUTA_EARG,
				       "device %s: give cuda or cuda:N with N from 0", name);
	}
	if (!count)
		return cr_fail(error, CROCUTA_EDEVICE,
			       "device %s: this machine has no usable NVIDIA GPU or driver; use "
			       "--device cpu",
			       name);
	if (index < 0 || index >= count)
		return cr_fail(error, CROCUTA_EDEVICE, "device %s: the GPUs here are 0 to %d", name,
			       count - 1);
	*device = (int)index;
	return 0;
}

static const char *architecture(const cr_cuda_device *device)
{
	switch (10 * device->major + device->minor) {
	case 80: return "sm_80";
	case 86: return "sm_86";
	case 89: return "sm_89";
	case 90: return "sm_90";
	case 100: return "sm_100";
	case 120: return "sm_120";
	default: return "sm_other";
	}
}

static int open_filters(crocuta_session *session, engine *e, crocuta_error *error)
{
	const int64_t layers = session->network->layers;
	int code = 0;

	e->implicit = cr_calloc((size_t)layers, sizeof *e->implicit);
	if (!e->implicit)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for filters");
	for (int64_t i = 0; !code && i < layers; i++)
		code = cr_implicit_filter_init(&e->implicit[i], session->network, i,
					       cr_kernels_get(NULL), error);
	return code;
}

static int cuda_open(crocuta_session *session, const crocuta_session_options *o,
		     crocuta_error *error)
{
	engine *e = cr_calloc(1, sizeof *e);
	crocuta_plan *p = &session->plan;
	cr_cuda_device device;
	cr_cuda_bytes bytes;
	int code;

	session->state = e;
	if (!e)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	if (session->stream)
		return cr_fail(error, CROCUTA_EARG, "the GPU runs no streams yet; use --device cpu");
	if (session->change_length)
		return cr_fail(error, CROCUTA_EARG, "the GPU computes whole windows only");
	code = parse_device(o->device, &e->options.device, error);
	if (!code)
		code = cr_cuda_describe(e->options.device, &device, error);
	if (code)
		return code;
	e->options.length = cr_cuda_padded_length(session->max_length);
	e->options.rows = e->options.length > BATCH_ROWS ? e->options.length : BATCH_ROWS;
	if (o->batch && o->batch * e->options.length < e->options.rows)
		e->options.rows = o->batch * e->options.length;
	e->options.taps = taps;
	e->options.user = e;
	bytes = cr_cuda_plan_bytes(session->network, &e->options);
	p->isa = architecture(&device);
	p->threads = 1;
	p->convolution = "fft";
	p->batch = e->options.rows / e->options.length;
	p->weight_bytes = bytes.weights;
	p->filter_bytes = bytes.filters;
	p->workspace_bytes = bytes.workspace;
	p->total_bytes = bytes.weights + bytes.filters + bytes.workspace;
	return open_filters(session, e, error);
}

static int cuda_prepare(crocuta_session *session, crocuta_error *error)
{
	const cr_network *n = session->network;
	engine *e = session->state;
	double start = cr_wall_seconds();
	int code;

	e->tokens = cr_calloc((size_t)e->options.rows, 1);
	e->hidden = cr_cuda_host_floats(HAND_OVER * n->width);
	e->logits = cr_cuda_host_floats(HAND_OVER * n->vocabulary);
	if (!e->tokens || !e->hidden || !e->logits)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for results");
	code = cr_cuda_new(n, &e->options, &e->cuda, error);
	e->times.prepare = cr_wall_seconds() - start;
	return code;
}

static void cuda_close(crocuta_session *session)
{
	engine *e = session->state;

	if (!e)
		return;
	cr_cuda_free(e->cuda);
	for (int64_t i = 0; e->implicit && i < session->network->layers; i++)
		cr_implicit_filter_free(&e->implicit[i]);
	cr_free(e->implicit);
	cr_free(e->tokens);
	cr_cuda_host_free(e->hidden);
	cr_cuda_host_free(e->logits);
	cr_free(e);
	session->state = NULL;
}

/* A piece of a sequence's rows that waits in the host buffers. */
typedef struct piece {
	int64_t sequence, first, count, at;
} piece;

#define PIECES 512

static int deliver(crocuta_session *session, const piece *pieces, int count,
		   const crocuta_request *request, crocuta_error *error)
{
	const int64_t width = session->network->width, vocabulary = session->network->vocabulary;
	engine *e = session->state;
	int code = cr_cuda_wait(e->cuda, error);

	for (int i = 0; !code && i < count; i++) {
		const piece *p = &pieces[i];

		code = request->rows(request->user, p->sequence, p->first, p->count,
				     request->want_hidden ? e->hidden + p->at * width : NULL,
				     request->want_logits ? e->logits + p->at * vocabulary : NULL);
		if (code)
			cr_fail(error, code, "stopped by the caller");
	}
	return code;
}

/* The rows of `count` sequences from `index` on, which are a finished batch. */
static int hand_over(crocuta_session *session, const crocuta_sequence *sequences, int64_t index,
		     int64_t count, int64_t length, int layer, const crocuta_request *request,
		     crocuta_error *error)
{
	const int64_t width = session->network->width, vocabulary = session->network->vocabulary;
	const int raw = layer < session->network->layers;
	engine *e = session->state;
	piece pieces[PIECES];
	int64_t rows = 0;
	int queued = 0, code = 0;

	for (int64_t i = 0; !code && i < count; i++) {
		const crocuta_sequence *q = &sequences[index + i];

		for (int64_t row = q->report_from; !code && row < q->length;) {
			int64_t here = q->length - row;

			if (rows == HAND_OVER || queued == PIECES) {
				code = deliver(session, pieces, queued, request, error);
				rows = queued = 0;
			}
			here = here < HAND_OVER - rows ? here : HAND_OVER - rows;
			if (!code)
				code = cr_cuda_output(
					e->cuda, i * length + row, here, raw,
					request->want_hidden ? e->hidden + rows * width : NULL,
					request->want_logits ? e->logits + rows * vocabulary : NULL,
					error);
			pieces[queued++] = (piece){index + i, row, here, rows};
			rows += here;
			row += here;
		}
	}
	return code ? code : deliver(session, pieces, queued, request, error);
}

static int cuda_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		    int layer, const crocuta_request *request, crocuta_error *error)
{
	engine *e = session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < count;) {
		const int64_t length = cr_cuda_padded_length(sequences[i].length);
		int64_t together = 0;
		double now;

		while (i + together < count && (together + 1) * length <= e->options.rows &&
		       cr_cuda_padded_length(sequences[i + together].length) == length) {
			const crocuta_sequence *q = &sequences[i + together];
			uint8_t *row = e->tokens + together * length;

			memcpy(row, q->tokens, (size_t)q->length);
			memset(row + q->length, 0, (size_t)(length - q->length));
			together++;
		}
		code = cr_cuda_forward(e->cuda, e->tokens, together, length, layer, error);
		now = cr_wall_seconds();
		if (!code)
			code = hand_over(session, sequences, i, together, length, layer, request,
					 error);
		e->times.head += cr_wall_seconds() - now;
		i += together;
	}
	return code;
}

static void cuda_times(crocuta_session *session, crocuta_stage_times *times, int reset)
{
	engine *e = session->state;
	const double prepare = e->times.prepare;
	double local = 0, mixing = 0;

	if (e->cuda)
		cr_cuda_times(e->cuda, &local, &mixing);
	e->times.local += local;
	e->times.mixing += mixing;
	*times = e->times;
	if (reset)
		memset(&e->times, 0, sizeof e->times);
	e->times.prepare = prepare;
}

const cr_engine cr_engine_cuda = {
	.name = "cuda",
	.open = cuda_open,
	.prepare = cuda_prepare,
	.close = cuda_close,
	.run = cuda_run,
	.times = cuda_times,
};
