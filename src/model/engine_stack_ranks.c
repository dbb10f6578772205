/* engine_stack_ranks.c - the ranks of a session: made, given sequences, ended.
 *
 * The first failure of any rank ends the call for all: it fails the messages, so that nobody waits
 * for a rank that will not come, and its own error is the one that the caller gets. A session with
 * several ranks is not used again after that, since nobody knows what was under way.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/engine_stack.h"

/* ---- one rank -------------------------------------------------------------------------------- */

static int make_rank(cr_stack_worker *w)
{
	cr_stack_state *s = w->state;
	const int index = (int)(w - s->worker);
	const cr_stack_device_options options = {.activation = s->options.activation,
						 .residual = s->options.residual,
						 .threads = s->threads,
						 .isa = s->isa,
						 .gpu = s->gpu[index]};
	int code = s->ops->open(&options, &w->rank.device, &w->error);

	w->rank.ops = s->ops;
	w->rank.stack = s->stack;
	w->rank.number = s->first + index;
	if (!code && s->make_comm)
		code = s->make_comm(s, index, &w->error);
	w->rank.comm = s->comm[index];
	if (!code && s->implicit) {
		code = cr_implicit_open(&s->implicit[index], &s->filters, s->options.ranks,
					s->options.max_length, s->threads, &w->error);
		w->rank.implicit = &s->implicit[index];
	}
	return code ? code : cr_rank_open(&w->rank, &s->options, &w->error);
}

/* Rows to the caller, on rank 0. */
typedef struct delivery {
	cr_stack_worker *worker;
	const cr_stack_job *job;
	int code; /* of the rows function: then nothing more is handed over, but the ranks go on
		     together */
} delivery;

static int deliver(delivery *d, int64_t first, int64_t count)
{
	cr_stack_worker *w = d->worker;
	cr_stack_state *s = w->state;
	const crocuta_request *q = d->job->request;
	const int mine = w->rank.number == 0;
	const cr_rank_rows rows = {
		.first = first,
		.count = count,
		.want_hidden = q->want_hidden,
		.want_logits = q->want_logits,
		.raw = d->job->layer < s->stack->layers,
		.hidden = mine && q->want_hidden ? s->hidden : NULL,
		.logits = mine && q->want_logits ? s->logits : NULL,
	};
	int code = cr_rank_output(&w->rank, &rows, &w->error);

	if (!code && mine && !d->code)
		d->code = q->rows(q->user, d->job->index, first, count, rows.hidden, rows.logits);
	return code;
}

int cr_stack_run_job(cr_stack_worker *w, const cr_stack_job *job)
{
	const crocuta_sequence *q = job->sequence;
	const int64_t chunk = w->rank.options.chunk;
	const cr_zigzag z = cr_rank_zigzag(&w->rank.options, q->length);
	delivery d = {.worker = w, .job = job};
	int code = cr_rank_forward(&w->rank, q->tokens, q->length, job->layer, &w->error);

	for (int s = 0; !code && s < 2 * z.ranks; s++) {
		const int64_t end = cr_zigzag_start(&z, s + 1);
		int64_t at = cr_zigzag_start(&z, s);

		at = at > q->report_from ? at : q->report_from;
		for (; !code && at < end; at += chunk)
			code = deliver(&d, at, end - at < chunk ? end - at : chunk);
	}
	return code ? code : d.code;
}

/* Nobody shall wait for a rank that failed. A rows function that ended the run is no failure. */
static void tell_failure(cr_stack_worker *w, int code)
{
	if (!code || !w->error.code)
		return;
	cr_comm_fail(w->rank.comm, w->error.message);
	if (w->state->fail_comm)
		w->state->fail_comm(w->state, w->error.message);
	cr_control_fail(w->state->control, w->error.message);
}

static void *rank_thread(void *user)
{
	cr_stack_worker *w = user;
	cr_stack_state *s = w->state;
	int code = make_rank(w);

	for (;;) {
		tell_failure(w, code);
		pthread_mutex_lock(&s->lock);
		w->code = code;
		w->done++;
		pthread_cond_broadcast(&s->changed);
		while (!s->leave && w->done > s->jobs)
			pthread_cond_wait(&s->changed, &s->lock);
		if (s->leave) {
			pthread_mutex_unlock(&s->lock);
			return NULL;
		}
		pthread_mutex_unlock(&s->lock);
		code = cr_stack_run_job(w, &s->job);
	}
}

/* ---- all ranks ------------------------------------------------------------------------------- */

/* Until all other ranks have done what rank 0 has. The first real failure is the caller's error:
 * one that only says that another rank failed gives way to it. */
static int gather(cr_stack_state *s, int mine, crocuta_error *error)
{
	cr_stack_worker *cause = mine ? &s->worker[0] : NULL;

	s->worker[0].code = mine;
	pthread_mutex_lock(&s->lock);
	for (int r = 1; r < s->here; r++)
		while (s->worker[r].started && s->worker[r].done <= s->jobs)
			pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	for (int r = 1; r < s->here; r++) {
		cr_stack_worker *w = &s->worker[r];

		if (w->code && (!cause || (cause->error.code == CROCUTA_EDEVICE &&
					   w->error.code != CROCUTA_EDEVICE)))
			cause = w;
	}
	if (!cause)
		return 0;
	if (cause->error.code) {
		s->broken |= s->options.ranks > 1;
		if (error && !error->code)
			*error = cause->error;
	}
	return cause->code;
}

static int start_threads(cr_stack_state *s, crocuta_error *error)
{
	for (int r = 1; r < s->here; r++) {
		if (pthread_create(&s->worker[r].thread, NULL, rank_thread, &s->worker[r]))
			return cr_fail(error, CROCUTA_EMEMORY, "cannot start a thread for rank %d",
				       r);
		s->worker[r].started = 1;
	}
	return 0;
}

int cr_stack_prepare(crocuta_session *session, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	const double start = cr_wall_seconds();
	int code = 0;

	s->worker = cr_calloc((size_t)s->here, sizeof *s->worker);
	s->hidden = cr_floats(s->options.chunk * s->stack->width);
	s->logits = cr_floats(s->options.chunk * s->stack->vocabulary);
	if (!s->worker || !s->hidden || !s->logits)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a session");
	if (pthread_mutex_init(&s->lock, NULL) || pthread_cond_init(&s->changed, NULL))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a lock");
	s->made_lock = 1;
	for (int r = 0; r < s->here; r++)
		s->worker[r].state = s;
	if (s->filters.hyena.network) {
		s->implicit = cr_calloc((size_t)s->here, sizeof *s->implicit);
		if (!s->implicit)
			return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a session");
		code = cr_hyena_prepare(&s->filters.hyena, session->plan.threads, error);
		if (code)
			return code;
	}
	if (s->options.ranks > 1 && !s->make_comm)
		code = cr_stack_thread_comm(s, error);
	if (!code)
		code = start_threads(s, error);
	if (code)
		return code;
	code = make_rank(&s->worker[0]);
	tell_failure(&s->worker[0], code);
	code = gather(s, code, error);
	code = cr_stack_ready(s, code, error);
	s->prepare_seconds = cr_wall_seconds() - start;
	return code;
}

void cr_stack_close(crocuta_session *session)
{
	cr_stack_state *s = session->state;

	if (!s)
		return;
	cr_stack_leave(s);
	if (s->made_lock) {
		pthread_mutex_lock(&s->lock);
		s->leave = 1;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	for (int r = 1; s->worker && r < s->here; r++)
		if (s->worker[r].started)
			pthread_join(s->worker[r].thread, NULL);
	for (int r = 0; s->worker && r < s->here; r++)
		cr_rank_close(&s->worker[r].rank);
	for (int r = 0; r < s->here; r++)
		cr_comm_close(s->comm[r]);
	for (int r = 0; s->worker && r < s->here; r++)
		s->ops->close(s->worker[r].rank.device);
	if (s->made_lock) {
		pthread_mutex_destroy(&s->lock);
		pthread_cond_destroy(&s->changed);
	}
	for (int r = 0; s->implicit && r < s->here; r++)
		cr_implicit_close(&s->implicit[r]);
	cr_implicit_filters_close(&s->filters);
	cr_stack_of_network_free(&s->own);
	cr_free(s->implicit);
	cr_free(s->worker);
	cr_free(s->hidden);
	cr_free(s->logits);
	cr_free(s);
	session->state = NULL;
}

/* What the devices of this process hold by now. */
static void note_memory(crocuta_session *session)
{
	cr_stack_state *s = session->state;

	session->plan.rank_bytes = 0;
	for (int r = 0; r < s->here; r++) {
		const int64_t bytes = s->ops->allocated(s->worker[r].rank.device);

		if (session->plan.rank_bytes < bytes)
			session->plan.rank_bytes = bytes;
	}
	session->plan.device_bytes = session->plan.rank_bytes * session->plan.ranks;
}

int cr_stack_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		 int layer, const crocuta_request *request, crocuta_error *error)
{
	cr_stack_state *s = session->state;
	int code = 0;

	for (int64_t i = 0; !code && i < count; i++) {
		if (s->broken)
			return cr_fail(
				error, CROCUTA_EDEVICE,
				"an earlier run of this session failed on one of its %d ranks",
				s->options.ranks);
		if (sequences[i].report_from == sequences[i].length)
			continue;
		pthread_mutex_lock(&s->lock);
		s->job = (cr_stack_job){&sequences[i], i, layer, request};
		s->jobs++;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		memset(&s->worker[0].error, 0, sizeof s->worker[0].error);
		code = cr_stack_call(s, &s->job, &s->worker[0].error);
		if (!code)
			code = cr_stack_run_job(&s->worker[0], &s->job);
		tell_failure(&s->worker[0], code);
		code = gather(s, code, error);
	}
	if (!code && s->options.copied)
		note_memory(session);
	return code;
}

/* ---- threads' messages ----------------------------------------------------------------------- */

static int copy_between(void *user, int target, void *to, int source, const void *from,
			int64_t bytes, crocuta_error *error)
{
	const cr_stack_state *s = user;
	cr_stack_device *device = s->worker[target].rank.device;
	int code = s->ops->copy(device, to, from, bytes, error);

	(void)source;
	return code ? code : s->ops->wait(device, error);
}

static int wait_ready(void *user, int rank, crocuta_error *error)
{
	const cr_stack_state *s = user;

	return s->ops->wait(s->worker[rank].rank.device, error);
}

int cr_stack_thread_comm(cr_stack_state *s, crocuta_error *error)
{
	const cr_comm_memory memory = {.copy = copy_between, .ready = wait_ready, .user = s};

	return cr_comm_threads(s->options.ranks, &memory, s->comm, error);
}
