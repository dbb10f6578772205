/* engine_stack_launch.c - ranks that are processes: rank 0's session leads, the others follow it.
 *
 * Small messages go over the control connection (comm/control.h): how the session is planned, which
 * sequence is next, that it is over. It also notices that a process died, and then fails the ranks'
 * messages, so that nobody waits for it.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/engine_stack.h"

enum message { SETUP = 1, READY, JOB, END };

/* What all processes must agree on. */
typedef struct setup {
	cr_rank_options options;
	char sha256[65];
	unsigned char id[128];
} setup;

/* In front of the tokens. */
typedef struct call {
	int64_t length, report_from;
	int32_t layer, want_hidden, want_logits, unused;
} call;

static void lost(void *user, int rank, const char *why)
{
	cr_stack_state *s = user;

	(void)rank;
	if (s->fail_comm && atomic_load(&s->has_id)) /* before that cr_stack_meet looks itself */
		s->fail_comm(s, why);
}

static int send_setup(cr_stack_state *s, crocuta_error *error)
{
	setup mine = {.options = s->options};

	memcpy(mine.sha256, s->sha256, sizeof mine.sha256);
	memcpy(mine.id, s->id, sizeof mine.id);
	return cr_control_send(s->control, -1, SETUP, &mine, sizeof mine, error);
}

static int receive(cr_stack_state *s, int rank, uint32_t expected, int64_t least, void **data,
		   int64_t *bytes, crocuta_error *error)
{
	uint32_t type;
	int code = cr_control_receive(s->control, rank, &type, data, bytes, error);

	if (code)
		return code;
	if (type == expected && *bytes >= least)
		return 0;
	cr_free(*data);
	return cr_fail(error, CROCUTA_EDEVICE, "rank %d sent a message of type %u, not %u", rank,
		       (unsigned)type, (unsigned)expected);
}

static int take_setup(cr_stack_state *s, crocuta_error *error)
{
	setup *theirs;
	void *data;
	int64_t bytes;
	int code = receive(s, 0, SETUP, sizeof *theirs, &data, &bytes, error);

	if (code)
		return code;
	theirs = data;
	theirs->sha256[64] = 0;
	if (strcmp(theirs->sha256, s->sha256))
		code = cr_fail(
			error, CROCUTA_EMODEL,
			"this process has another model than rank 0: SHA-256 %.12s..., there "
			"%.12s...",
			s->sha256, theirs->sha256);
	else if (theirs->options.ranks != s->options.ranks ||
		 theirs->options.activation != s->options.activation)
		code = cr_fail(error, CROCUTA_EARG,
			       "this process has another --dtype or number of ranks than rank 0");
	else
		s->options = theirs->options;
	memcpy(s->id, theirs->id, sizeof s->id);
	cr_free(data);
	return code;
}

int cr_stack_meet(crocuta_session *session, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	const cr_control_options options = {.lost = lost, .user = s};
	crocuta_error local = {0};
	int code;

	if (s->launch.size <= 1)
		return 0;
	code = cr_control_open(&s->launch, &options, &s->control, &local);
	if (!code)
		code = s->first ? take_setup(s, &local) : send_setup(s, &local);
	atomic_store(&s->has_id, !code);
	if (!code)
		code = cr_control_check(s->control, &local);
	if (code) {
		cr_control_fail(s->control, local.message);
		return cr_fail(error, code, "%s", local.message);
	}
	session->max_length = s->options.max_length; /* rank 0's, which the others learn here */
	cr_stack_count_bytes(session);
	return 0;
}

int cr_stack_ready(cr_stack_state *s, int code, crocuta_error *error)
{
	if (!s->control || code)
		return code;
	if (s->first)
		return cr_control_send(s->control, 0, READY, "", 0, error);
	for (int r = 1; !code && r < s->options.ranks; r++) {
		void *data;
		int64_t bytes;

		code = receive(s, r, READY, 0, &data, &bytes, error);
		if (!code)
			cr_free(data);
	}
	return code;
}

int cr_stack_call(cr_stack_state *s, const cr_stack_job *job, crocuta_error *error)
{
	const crocuta_sequence *q = job->sequence;
	const call head = {.length = q->length,
			   .report_from = q->report_from,
			   .layer = job->layer,
			   .want_hidden = job->request->want_hidden,
			   .want_logits = job->request->want_logits};
	char *message;
	int code;

	if (!s->control)
		return 0;
	message = cr_calloc(1, sizeof head + (size_t)q->length);
	if (!message)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a message");
	memcpy(message, &head, sizeof head);
	memcpy(message + sizeof head, q->tokens, (size_t)q->length);
	code = cr_control_send(s->control, -1, JOB, message, (int64_t)sizeof head + q->length,
			       error);
	cr_free(message);
	return code;
}

/* One sequence of rank 0's. */
static int follow_once(cr_stack_state *s, const char *message, int64_t bytes, crocuta_error *error)
{
	cr_stack_worker *w = &s->worker[0];
	call head;
	int code;

	memcpy(&head, message, sizeof head);
	if (head.length != bytes - (int64_t)sizeof head || head.length > s->options.max_length ||
	    head.layer < 0 || head.layer > s->stack->layers)
		return cr_fail(error, CROCUTA_EDEVICE, "rank 0 sent a sequence that cannot be");
	{
		const crocuta_sequence q = {.tokens = (const uint8_t *)message + sizeof head,
					    .length = head.length,
					    .report_from = head.report_from};
		const crocuta_request request = {.layer = head.layer,
						 .want_hidden = head.want_hidden,
						 .want_logits = head.want_logits};
		const cr_stack_job job = {&q, 0, head.layer, &request};

		code = cr_stack_run_job(w, &job);
	}
	if (code)
		cr_control_fail(s->control, w->error.message);
	return code ? cr_fail(error, code, "%s", w->error.message) : 0;
}

int cr_stack_follow(crocuta_session *session, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	int code = 0;

	while (!code) {
		uint32_t type;
		void *data;
		int64_t bytes;

		code = cr_control_receive(s->control, 0, &type, &data, &bytes, error);
		if (code)
			return code;
		if (type == JOB && bytes >= (int64_t)sizeof(call))
			code = follow_once(s, data, bytes, error);
		else if (type != END)
			code = cr_fail(error, CROCUTA_EDEVICE,
				       "rank 0 sent a message of type %u that cannot be", type);
		cr_free(data);
		if (type == END)
			return 0;
	}
	return code;
}

void cr_stack_leave(cr_stack_state *s)
{
	crocuta_error ignored = {0};

	if (s->control && !s->first && !s->broken)
		(void)cr_control_send(s->control, -1, END, "", 0, &ignored);
	cr_control_close(s->control);
	s->control = NULL;
}
