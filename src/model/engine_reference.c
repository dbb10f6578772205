/* engine_reference.c - the network by plain loops in double: slow, and what others are judged by. */
#include <string.h>

#include "backend/ref/reference_forward.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/engine.h"

typedef struct reference {
	float *hidden, *logits;             /* (max_length, D), (max_length, V) */
	float *other_hidden, *other_logits; /* the same, of a change */
	uint8_t *tokens;                    /* (max_length) */
} reference;

static int reference_open(crocuta_session *session, const crocuta_session_options *options,
			  crocuta_error *error)
{
	(void)options;
	session->plan.isa = "reference";
	session->plan.dtype = "f64";
	session->plan.convolution = "direct";
	session->plan.threads = 1;
	session->state = cr_calloc(1, sizeof(reference));
	return session->state ? 0 : cr_fail(error, CROCUTA_EMEMORY, "out of memory");
}

static int reference_prepare(crocuta_session *session, crocuta_error *error)
{
	const int64_t rows = session->max_length, width = session->network->width;
	const int64_t vocabulary = session->network->vocabulary;
	reference *r = session->state;

	r->hidden = cr_floats(rows * width);
	r->logits = cr_floats(rows * vocabulary);
	r->other_hidden = cr_floats(rows * width);
	r->other_logits = cr_floats(rows * vocabulary);
	r->tokens = cr_calloc((size_t)rows, 1);
	if (r->hidden && r->logits && r->other_hidden && r->other_logits && r->tokens)
		return 0;
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for results");
}

static void reference_close(crocuta_session *session)
{
	reference *r = session->state;

	if (!r)
		return;
	cr_free(r->hidden);
	cr_free(r->logits);
	cr_free(r->other_hidden);
	cr_free(r->other_logits);
	cr_free(r->tokens);
	cr_free(r);
	session->state = NULL;
}

static int reference_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
			 int layer, const crocuta_request *request, crocuta_error *error)
{
	const int64_t width = session->network->width, vocabulary = session->network->vocabulary;
	reference *r = session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < count; i++) {
		const crocuta_sequence *q = &sequences[i];
		const int64_t from = q->report_from;

		code = cr_reference_forward(session->network, q->tokens, q->length, layer,
					    request->want_hidden ? r->hidden : NULL,
					    request->want_logits ? r->logits : NULL, error);
		if (code || from == q->length)
			continue;
		code = request->rows(request->user, i, from, q->length - from,
				     request->want_hidden ? r->hidden + from * width : NULL,
				     request->want_logits ? r->logits + from * vocabulary : NULL);
		if (code)
			cr_fail(error, code, "stopped by the caller");
	}
	return code;
}

/* Both sequences as a whole: what the shortcuts are judged by. */
static int reference_change(crocuta_session *session, const crocuta_changed_sequence *q,
			    int64_t sequence, int64_t change, crocuta_change_fn *rows, void *user,
			    crocuta_error *error)
{
	const int64_t width = session->network->width, vocabulary = session->network->vocabulary;
	const crocuta_change *c = &q->changes[change];
	reference *r = session->state;
	int code;

	memcpy(r->tokens, q->tokens, (size_t)c->at);
	memcpy(r->tokens + c->at, c->tokens, (size_t)c->length);
	code = cr_reference_forward(session->network, r->tokens, c->at + c->length,
				    (int)session->network->layers, r->other_hidden,
				    r->other_logits, error);
	if (code)
		return code;
	code = rows(user, &(crocuta_change_rows){
				  .sequence = sequence,
				  .change = change,
				  .count = c->length,
				  .before = c->at ? r->logits + (c->at - 1) * vocabulary : NULL,
				  .hidden = r->other_hidden + c->at * width,
				  .logits = r->other_logits + c->at * vocabulary,
				  .reference_hidden = r->hidden + c->at * width,
				  .reference_logits = r->logits + c->at * vocabulary,
				  .on_caller = 1});
	return code ? cr_fail(error, code, "stopped by the caller") : 0;
}

static int reference_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
			     int64_t count, crocuta_change_fn *rows, void *user,
			     crocuta_error *error)
{
	reference *r = session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < count; i++) {
		const crocuta_changed_sequence *q = &sequences[i];

		code = cr_reference_forward(session->network, q->tokens, q->length,
					    (int)session->network->layers, r->hidden, r->logits,
					    error);
		for (int64_t j = 0; !code && j < q->count; j++)
			code = reference_change(session, q, i, j, rows, user, error);
	}
	return code;
}

static void reference_times(crocuta_session *session, crocuta_stage_times *times, int reset)
{
	(void)session;
	(void)reset;
	memset(times, 0, sizeof *times);
}

const cr_engine cr_engine_reference = {
	.name = "reference",
	.open = reference_open,
	.prepare = reference_prepare,
	.close = reference_close,
	.run = reference_run,
	.changes = reference_changes,
	.times = reference_times,
};
