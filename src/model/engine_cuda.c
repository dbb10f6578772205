/* engine_cuda.c - sequences through a network on one NVIDIA GPU; compiled with CUDA=1 only.
 *
 * Neighbouring sequences of one padded length go through together. What a sequence gives depends on
 * its padded length alone, never on its company.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <crocuta/device.h>

#include "backend/cuda/cuda.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "mixer/implicit_filter.h"
#include "model/engine.h"

/* Rows of a batch of short sequences: enough to fill the chip. */
#define BATCH_ROWS 262144

#define HAND_OVER CR_CUDA_OUTPUT_ROWS

/* The same where activations are kept for changes. */
#define KEEP_ROWS 131072

typedef struct engine {
	cr_cuda *cuda;
	cr_cuda_options options;
	cr_implicit_filter *implicit; /* (N) */
	uint8_t *tokens;              /* (rows) */
	float *hidden, *logits;       /* (HAND_OVER, D), (HAND_OVER, V), at the device's reach */
	int64_t change_length;        /* padded, of the longest change */
	float *kept_hidden, *kept_logits; /* (rows, D), (rows, V): of the sequences of a batch */
	cr_cuda_change *places;       /* (rows / 64) changes that are computed together */
	int64_t *numbers;             /* (rows / 64, 2) their sequence and number there */
	int threads;                  /* of the host, for the rows functions of changes */
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
	code = parse_device(o->device, &e->options.device, error);
	if (!code)
		code = cr_cuda_describe(e->options.device, &device, error);
	if (code)
		return code;
	e->options.length = cr_cuda_padded_length(session->max_length);
	e->options.rows = e->options.length > BATCH_ROWS ? e->options.length : BATCH_ROWS;
	e->options.keep = session->change_length > 0;
	if (e->options.keep && e->options.length < KEEP_ROWS)
		e->options.rows = KEEP_ROWS;
	if (o->batch && o->batch * e->options.length < e->options.rows)
		e->options.rows = o->batch * e->options.length;
	e->change_length = cr_cuda_change_length(session->change_length + 2);
	if (e->options.keep && e->options.rows < e->change_length)
		e->options.rows = e->change_length;
	e->options.taps = taps;
	e->options.user = e;
	bytes = cr_cuda_plan_bytes(session->network, &e->options);
	p->isa = architecture(&device);
	e->threads = o->threads ? o->threads : crocuta_default_threads();
	p->threads = e->threads;
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
	if (e->options.keep) {
		e->kept_hidden = cr_floats(e->options.rows * n->width);
		e->kept_logits = cr_floats(e->options.rows * n->vocabulary);
		e->places = cr_calloc((size_t)(e->options.rows / 64), sizeof *e->places);
		e->numbers = cr_calloc((size_t)(e->options.rows / 64), 2 * sizeof *e->numbers);
		if (!e->kept_hidden || !e->kept_logits || !e->places || !e->numbers)
			return cr_fail(error, CROCUTA_EMEMORY, "out of memory for kept rows");
	}
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
	cr_free(e->kept_hidden);
	cr_free(e->kept_logits);
	cr_free(e->places);
	cr_free(e->numbers);
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

		if (!p->count)
			continue;
		code = request->rows(request->user, p->sequence, p->first, p->count,
				     request->want_hidden ? e->hidden + p->at * width : NULL,
				     request->want_logits ? e->logits + p->at * vocabulary : NULL);
		if (code)
			cr_fail(error, code, "stopped by the caller");
	}
	return code;
}

/* Short sequences from number `slot` of the batch on, of which most rows are wanted: all rows of as many
 * as fit come back in one piece. Returns how many, 0 when that would not pay. */
static int64_t hand_over_whole(crocuta_session *session, const crocuta_sequence *sequences,
			       int64_t index, int64_t slot, int64_t count, int64_t length, int raw,
			       const crocuta_request *request, int *code, crocuta_error *error)
{
	engine *e = session->state;
	int64_t together = HAND_OVER / length, wanted = 0;
	piece pieces[PIECES];

	together = together < count - slot ? together : count - slot;
	together = together < PIECES ? together : PIECES;
	for (int64_t i = 0; i < together; i++) {
		const crocuta_sequence *q = &sequences[index + slot + i];

		pieces[i] = (piece){index + slot + i, q->report_from, q->length - q->report_from,
				    i * length + q->report_from};
		wanted += pieces[i].count;
	}
	if (together < 2 || 2 * wanted < together * length)
		return 0;
	*code = cr_cuda_output(e->cuda, slot * length, together * length, raw,
			       request->want_hidden ? e->hidden : NULL,
			       request->want_logits ? e->logits : NULL, error);
	if (!*code)
		*code = deliver(session, pieces, (int)together, request, error);
	return together;
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
		int64_t whole = 0;

		if (!queued)
			whole = hand_over_whole(session, sequences, index, i, count, length, raw,
						request, &code, error);
		if (whole) {
			i += whole - 1;
			continue;
		}
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

/* ---- changes --------------------------------------------------------------------------------- */

/* A call: sequences [first, first + count) are the batch on the device. */
typedef struct change_run {
	crocuta_session *session;
	const crocuta_changed_sequence *sequences;
	int64_t first, count, length; /* padded */
	crocuta_change_fn *rows;
	void *user;
	int code; /* of the first failure; read and written atomically */
} change_run;

/* Rows of the sequences of the batch that changes can ask for, to the host. */
static int keep_rows(change_run *run, crocuta_error *error)
{
	const int64_t width = run->session->network->width;
	const int64_t vocabulary = run->session->network->vocabulary;
	engine *e = run->session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < run->count; i++) {
		const crocuta_changed_sequence *q = &run->sequences[run->first + i];
		const int64_t base = i * run->length;
		int64_t row = q->count && q->changes[0].at ? q->changes[0].at - 1 : 0;

		for (int64_t here; !code && q->count && row < q->length; row += here) {
			here = q->length - row < HAND_OVER ? q->length - row : HAND_OVER;
			code = cr_cuda_output(e->cuda, base + row, here, 0, e->hidden, e->logits,
					      error);
			if (!code)
				code = cr_cuda_wait(e->cuda, error);
			if (code)
				break;
			memcpy(e->kept_hidden + (base + row) * width, e->hidden,
			       (size_t)(here * width) * sizeof(float));
			memcpy(e->kept_logits + (base + row) * vocabulary, e->logits,
			       (size_t)(here * vocabulary) * sizeof(float));
		}
	}
	return code;
}

/* Call the rows function for one change, whose first row is row `at` of the host buffers. */
static void call_rows(change_run *run, const cr_cuda_change *place, const int64_t number[2],
		      int64_t at, int on_caller)
{
	const int64_t width = run->session->network->width;
	const int64_t vocabulary = run->session->network->vocabulary;
	const engine *e = run->session->state;
	const crocuta_change *c = &run->sequences[number[0]].changes[number[1]];
	const int64_t kept = place->sequence * run->length + c->at;
	int code;

#pragma omp atomic read
	code = run->code;
	if (code)
		return;
	code = run->rows(run->user,
			 &(crocuta_change_rows){
				 .sequence = number[0],
				 .change = number[1],
				 .count = c->length,
				 .before = c->at ? e->kept_logits + (kept - 1) * vocabulary : NULL,
				 .hidden = e->hidden + at * width,
				 .logits = e->logits + at * vocabulary,
				 .reference_hidden = e->kept_hidden + kept * width,
				 .reference_logits = e->kept_logits + kept * vocabulary,
				 .on_caller = on_caller});
	if (code) {
#pragma omp atomic write
		run->code = code;
	}
}

/* Rows of the `count` changes on the device, as many at a time as the host buffers hold. */
static int deliver_changes(change_run *run, int64_t count, int64_t length, crocuta_error *error)
{
	engine *e = run->session->state;
	int64_t together = HAND_OVER / length;

	together = together < 1 ? 1 : together;
	for (int64_t first = 0; first < count; first += together) {
		const int64_t here = count - first < together ? count - first : together;
		int code = cr_cuda_output(e->cuda, first * length, here * length, 0, e->hidden,
					  e->logits, error);

		if (!code)
			code = cr_cuda_wait(e->cuda, error);
		if (code)
			return code;
#pragma omp parallel for schedule(dynamic, 1) num_threads(e->threads) if (here > 1)
		for (int64_t i = 0; i < here; i++)
			call_rows(run, &e->places[first + i], e->numbers + 2 * (first + i),
				  i * length + e->places[first + i].lead,
				  omp_get_thread_num() == 0);
		if (run->code)
			return cr_fail(error, run->code, "stopped by the caller");
	}
	return 0;
}

/* All changes of the batch, in groups of one padded length. */
static int run_changes(change_run *run, crocuta_error *error)
{
	engine *e = run->session->state;
	int64_t sequence = 0, change = 0;

	while (sequence < run->count) {
		int64_t length = 0, together = 0;
		int code;

		for (; sequence < run->count; sequence++, change = 0) {
			const crocuta_changed_sequence *q = &run->sequences[run->first + sequence];

			for (; change < q->count; change++, together++) {
				const crocuta_change *c = &q->changes[change];
				const int64_t lead = c->at < 2 ? c->at : 2;
				const int64_t padded = cr_cuda_change_length(c->length + lead);
				uint8_t *row = e->tokens + together * length;

				if (together && (padded != length ||
						 (together + 1) * length > e->options.rows))
					break;
				length = padded;
				e->places[together] = (cr_cuda_change){sequence, c->at - lead, lead,
								       c->length + lead};
				e->numbers[2 * together] = run->first + sequence;
				e->numbers[2 * together + 1] = change;
				memcpy(row, q->tokens + c->at - lead, (size_t)lead);
				memcpy(row + lead, c->tokens, (size_t)c->length);
				memset(row + lead + c->length, 0,
				       (size_t)(length - lead - c->length));
			}
			if (change < q->count)
				break;
		}
		if (!together)
			break;
		code = cr_cuda_changes(e->cuda, e->places, e->tokens, together, length, error);
		if (!code)
			code = deliver_changes(run, together, length, error);
		if (code)
			return code;
	}
	return 0;
}

static int cuda_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
			int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error)
{
	engine *e = session->state;
	change_run run = {.session = session, .sequences = sequences, .rows = rows, .user = user};
	int code = 0;

	for (int64_t i = 0; !code && i < count; i += run.count) {
		run.first = i;
		run.length = cr_cuda_padded_length(sequences[i].length);
		for (run.count = 0; i + run.count < count &&
				    (run.count + 1) * run.length <= e->options.rows;
		     run.count++) {
			const crocuta_changed_sequence *q = &sequences[i + run.count];
			uint8_t *row = e->tokens + run.count * run.length;

			if (cr_cuda_padded_length(q->length) != run.length)
				break;
			memcpy(row, q->tokens, (size_t)q->length);
			memset(row + q->length, 0, (size_t)(run.length - q->length));
		}
		code = cr_cuda_forward(e->cuda, e->tokens, run.count, run.length,
				       (int)session->network->layers, error);
		if (!code)
			code = keep_rows(&run, error);
		if (!code)
			code = run_changes(&run, error);
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
	.changes = cuda_changes,
	.times = cuda_times,
};
