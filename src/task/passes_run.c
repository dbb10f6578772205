/* passes_run.c - filled batches through the session on a thread of their own; see
 * passes_internal.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/order.h"
#include "base/threads.h"
#include "task/passes_internal.h"

#define POLL_NANOSECONDS 50000000 /* while waiting for the worker */

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t rows_of(const cr_job *job)
{
	return (job->to - job->from - 1) / job->bin + 1;
}

/* Rows that may have to wait at once. */
static int64_t bins_capacity(const cr_passes_options *options, int64_t job_rows)
{
	int64_t chunk = cr_larger(65536 / options->width, 16), needed = chunk;
	int64_t bin = cr_larger(options->smallest_bin, 1);

	if (options->strands != CROCUTA_STRANDS_FORWARD)
		needed = options->stream ? job_rows : options->window / bin + 3;
	return cr_larger(cr_smaller(needed, job_rows), 1);
}

cr_bins_options cr_passes_bins_options(cr_passes *passes, const cr_passes_options *options,
				       int64_t job_rows)
{
	cr_bins_options result = {
		.width = options->scalar.kind ? 1 : options->width,
		.strands = options->strands,
		.pool = options->pool,
		.capacity = bins_capacity(options, job_rows),
		.sink = cr_passes_rows_out,
		.user = passes,
	};

	return result;
}

const cr_job *cr_passes_job(const cr_passes *passes, int64_t number)
{
	return &passes->jobs[number % passes->jobs_max];
}

/* The job that item or stream rows belong to becomes the one that bins works on. */
int cr_passes_activate(cr_passes *passes, int64_t number)
{
	const cr_job *job = cr_passes_job(passes, number);
	cr_bins_options options;
	int64_t rows = rows_of(job);

	if (passes->active_job == number)
		return 0;
	if (!passes->bins || bins_capacity(&passes->options, rows) > passes->bins_capacity) {
		cr_bins_free(passes->bins);
		options = cr_passes_bins_options(passes, &passes->options,
						 cr_larger(rows, passes->options.longest_rows));
		passes->bins = cr_bins_new(&options);
		passes->bins_capacity = options.capacity;
		if (!passes->bins)
			return cr_fail(passes->error, CROCUTA_EMEMORY, "no memory for %lld rows",
				       (long long)options.capacity);
	}
	cr_bins_start(passes->bins, job->from, job->to, job->bin,
		      passes->options.pool_specials ? passes->options.cls + passes->options.sep
						    : 0);
	passes->active_job = number;
	return 0;
}

const cr_job *cr_passes_active(const cr_passes *passes)
{
	return cr_passes_job(passes, passes->active_job);
}

/* Rows as bins hands them over: on to the caller's sink with the job they belong to. */
int cr_passes_rows_out(void *user, int64_t first, int64_t count, const float *values,
		       const int64_t *n_bases)
{
	cr_passes *passes = user;
	cr_job_rows rows = {.job = cr_passes_active(passes),
			    .count = count,
			    .values = values,
			    .n_bases = n_bases,
			    .whole = 1};
	cr_bins_options options = cr_passes_bins_options(passes, &passes->options, 1);

	rows.start = rows.job->from + first * rows.job->bin;
	if (passes->options.stream) { /* the state behind them is gone with the run */
		rows.whole = first + count == rows_of(rows.job);
		rows.mark = passes->mark;
	} else { /* the calling thread has read on meanwhile */
		rows.mark = passes->running->items[passes->active_item].mark;
	}
	rows.columns = cr_bins_columns(&options);
	return passes->options.sink(passes->options.user, &rows, passes->error);
}

/* ---- on the worker --------------------------------------------------------------------------- */

/* Tell the calling thread how far the batch is; has it asked to stop? */
static int note_progress(cr_passes *passes, int64_t tokens_done)
{
	cr_worker_thread *w = &passes->worker;
	int stop;

	pthread_mutex_lock(&w->mutex);
	w->tokens_done = passes->running->tokens_before + tokens_done;
	w->job = passes->active_job;
	stop = w->stop;
	pthread_mutex_unlock(&w->mutex);
	return stop ? cr_fail(passes->error, CROCUTA_ESTOPPED, "stopped on request") : 0;
}

static int begin_item(cr_passes *passes, int64_t sequence)
{
	const cr_item *item = &passes->running->items[sequence];
	int code;

	if (passes->active_item == sequence)
		return 0;
	passes->active_item = sequence;
	code = cr_passes_activate(passes, item->job);
	return code ? code : cr_reader_begin(passes, &item->reader);
}

/* Rows up to `row` of an item were taken, and `whole`: all of it. */
static int end_rows(cr_passes *passes, const cr_item *item, int64_t row, int whole, int code)
{
	/* with a journal what a window has finished does not wait for more */
	if (!code && whole && (item->last_of_job || passes->options.marked))
		code = cr_bins_flush(passes->bins, item->last_of_job);
	if (!code)
		code = note_progress(passes, item->tokens_before + row);
	if (code == CROCUTA_EINTERNAL)
		cr_fail(passes->error, code, "rows of a window came out of order");
	return code;
}

static int rows_of_batch(void *user, int64_t sequence, int64_t first, int64_t count,
			 const float *hidden, const float *logits)
{
	cr_passes *passes = user;
	const cr_item *item = &passes->running->items[sequence];
	int code = begin_item(passes, sequence);

	if (code)
		return code;
	code = cr_reader_rows(passes, &item->reader, first, count, hidden, logits);
	return end_rows(passes, item, first + count, first + count == item->reader.length, code);
}

static int pooled_of_batch(void *user, int64_t sequence, int64_t first, int64_t count,
			   const double *values)
{
	cr_passes *passes = user;
	const cr_item *item = &passes->running->items[sequence];
	const crocuta_segments *segments = &passes->running->segments[sequence];
	int64_t from = first ? segments->ends[first - 1] : item->reader.report_from;
	int code = begin_item(passes, sequence);

	if (code)
		return code;
	for (int64_t i = 0; !code && i < count; i++) {
		code = cr_reader_segment(passes, &item->reader, from, segments->ends[first + i],
					 values + i * passes->options.width);
		from = segments->ends[first + i];
	}
	return end_rows(passes, item, from, first + count == segments->count, code);
}

static int run_batch(cr_passes *passes, cr_batch *batch)
{
	double start = cr_wall_seconds();
	int code;

	for (int64_t i = 0; i < batch->item_count; i++) {
		const cr_reader *reader = &batch->items[i].reader;

		batch->sequences[i].tokens = reader->tokens;
		batch->sequences[i].length = reader->length;
		batch->sequences[i].report_from = reader->report_from;
	}
	passes->running = batch;
	passes->active_item = -1;
	passes->error = &passes->worker_error;
	passes->request.rows = rows_of_batch;
	if (passes->options.pooled) {
		passes->pooling.segments = batch->segments;
		passes->pooling.pooled = pooled_of_batch;
		passes->request.pooling = &passes->pooling;
	}
	code = crocuta_session_run(passes->session, batch->sequences, batch->item_count,
				   &passes->request, passes->error);
	passes->model_seconds += cr_wall_seconds() - start;
	return code;
}

static void *work(void *user)
{
	cr_passes *passes = user;
	cr_worker_thread *w = &passes->worker;

	pthread_mutex_lock(&w->mutex);
	for (;;) {
		int code;

		while (!w->batch && !w->quit)
			pthread_cond_wait(&w->work, &w->mutex);
		if (!w->batch)
			break;
		pthread_mutex_unlock(&w->mutex);
		code = run_batch(passes, w->batch);
		pthread_mutex_lock(&w->mutex);
		w->code = code;
		w->batch = NULL;
		pthread_cond_signal(&w->idle);
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

/* ---- on the calling thread ------------------------------------------------------------------- */

int cr_worker_start(cr_passes *passes, crocuta_error *error)
{
	cr_worker_thread *w = &passes->worker;
	pthread_condattr_t clock;
	int failure, code;

	w->job = -1;
	/* the session was made on this thread; its team is not needed here any more, and its like are there */
	cr_threads_release();
	code = cr_threads_probe(passes->plan->threads + 1, error);
	if (code)
		return code;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->idle, &clock);
	pthread_condattr_destroy(&clock);
	failure = pthread_create(&w->thread, NULL, work, passes);
	w->started = !failure;
	if (!failure)
		return CROCUTA_OK;
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->mutex);
	errno = failure;
	return cr_fail_errno(error, CROCUTA_EMEMORY,
			     "cannot start one more thread; give a smaller -@, or raise ulimit -u");
}

void cr_worker_stop(cr_passes *passes)
{
	cr_worker_thread *w = &passes->worker;

	if (!w->started)
		return;
	pthread_mutex_lock(&w->mutex);
	w->stop = w->quit = 1;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->mutex);
	w->started = 0;
}

/* Ask the caller; ESTOPPED when it wants no more. */
static int ask(cr_passes *passes, int64_t tokens_done, int64_t job, crocuta_error *error)
{
	const char *contig = job < 0 ? NULL : cr_passes_job(passes, job)->contig;

	if (!passes->options.poll ||
	    !passes->options.poll(passes->options.user, tokens_done, contig))
		return 0;
	return cr_fail(error, CROCUTA_ESTOPPED, "stopped on request");
}

int cr_passes_poll(cr_passes *passes, int64_t tokens_done)
{
	return ask(passes, tokens_done, passes->active_job, passes->error);
}

int cr_worker_poll(cr_passes *passes, crocuta_error *error)
{
	cr_worker_thread *w = &passes->worker;
	int64_t tokens_done, job;
	int code;

	pthread_mutex_lock(&w->mutex);
	tokens_done = w->tokens_done;
	job = w->job;
	code = w->code;
	pthread_mutex_unlock(&w->mutex);
	if (code) {
		*error = passes->worker_error;
		return code;
	}
	code = ask(passes, tokens_done, job, error);
	if (!code)
		return 0;
	pthread_mutex_lock(&w->mutex);
	w->stop = 1;
	pthread_mutex_unlock(&w->mutex);
	return code;
}

/* Wait some time for the worker: is it idle? */
static int is_idle(cr_worker_thread *w)
{
	struct timespec until;
	int waiting = 0, idle;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += POLL_NANOSECONDS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&w->mutex);
	while (w->batch && !waiting)
		waiting = pthread_cond_timedwait(&w->idle, &w->mutex, &until);
	idle = !w->batch;
	pthread_mutex_unlock(&w->mutex);
	return idle;
}

int cr_worker_wait(cr_passes *passes, crocuta_error *error)
{
	int stopped = 0;

	while (!is_idle(&passes->worker))
		if (!stopped)
			stopped = cr_worker_poll(passes, error);
	if (stopped)
		return stopped;
	if (passes->worker.code)
		*error = passes->worker_error;
	return passes->worker.code;
}

int cr_worker_submit(cr_passes *passes, crocuta_error *error)
{
	cr_worker_thread *w = &passes->worker;
	cr_batch *batch = passes->filling;
	int code;

	if (!batch->item_count)
		return cr_worker_wait(passes, error);
	code = cr_worker_wait(passes, error);
	if (!code)
		code = cr_worker_poll(passes, error);
	if (code)
		return code;
	batch->tokens_before = passes->counts.tokens;
	passes->counts.tokens += batch->tokens_used;
	passes->counts.windows += batch->item_count;
	passes->tokens_wanted = cr_smaller(2 * passes->tokens_wanted, passes->token_capacity);
	pthread_mutex_lock(&w->mutex);
	w->batch = batch;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->mutex);
	/* the other one is free: its batch was waited for */
	passes->filling = &passes->batches[batch == &passes->batches[0]];
	passes->filling->item_count = 0;
	passes->filling->tokens_used = passes->filling->ends_used = 0;
	return CROCUTA_OK;
}
