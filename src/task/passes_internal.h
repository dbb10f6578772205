/* passes_internal.h - shared by the passes*.c files.
 *
 * Who owns what: the calling thread takes jobs, fetches bases and fills a batch; a thread of its
 * own, the worker, runs the batch before that and has its rows pooled and written. What the worker
 * uses while it runs is marked so; the calling thread touches it only when the worker is idle. */
#ifndef CR_TASK_PASSES_INTERNAL_H
#define CR_TASK_PASSES_INTERNAL_H

#include <pthread.h>

#include "task/passes.h"

typedef struct cr_span {
	int64_t start, end; /* 0-based half-open */
} cr_span;
typedef cr_span cr_stream_span;

/* One sequence of tokens read by the model and what its rows mean. Token t is base
 * start + (t - lead), or end - 1 - (t - lead) on the reverse strand. */
typedef struct cr_reader {
	int reverse;
	int64_t start, end;    /* bases read */
	cr_span report;        /* of these, the ones to report */
	int64_t lead;          /* special tokens in front */
	int64_t length;        /* tokens */
	int64_t report_from;   /* first row needed */
	const uint8_t *tokens; /* token t at tokens[t & mask] */
	int64_t mask;
} cr_reader;

typedef struct cr_item {
	cr_reader reader;
	int64_t job;
	int64_t tokens_before; /* in the batch */
	int last_of_job;
	cr_journal_mark mark; /* this window read */
} cr_item;

typedef struct cr_batch {
	cr_item *items;              /* (passes->items_max) */
	crocuta_sequence *sequences; /* the same, as the session wants them */
	crocuta_segments *segments;  /* with options.pooled */
	int64_t *ends;               /* (passes->ends_capacity) of segments */
	uint8_t *tokens;             /* (passes->token_capacity) */
	int64_t item_count, tokens_used, ends_used;
	int64_t tokens_before; /* of all batches before */
} cr_batch;

/* The thread that runs batches. */
typedef struct cr_worker_thread {
	pthread_t thread;
	int started;
	pthread_mutex_t mutex; /* of all that follows */
	pthread_cond_t work, idle;
	cr_batch *batch; /* running; NULL: idle */
	int quit, stop;  /* asked for by the calling thread */
	int code;        /* of the first batch that failed */
	int64_t tokens_done, job; /* for the progress; job -1: none yet */
} cr_worker_thread;

struct cr_passes {
	cr_passes_options options;
	crocuta_session *session;
	const crocuta_plan *plan;
	cr_passes_counts counts;
	cr_job *jobs; /* ring, (jobs_max): those with windows in a batch; read by the worker */
	int64_t jobs_max, job_count;
	cr_batch batches[2], *filling;
	int64_t items_max, token_capacity, ends_capacity;
	int64_t tokens_wanted; /* in the batch that is being filled */
	cr_journal_mark mark;  /* what was read */
	char *letters;
	cr_worker_thread worker;
	/* the worker's while it runs; without one the calling thread's */
	cr_batch *running;
	crocuta_request request;
	crocuta_pooling pooling;
	crocuta_error *error; /* of the call in progress */
	crocuta_error worker_error;
	double model_seconds; /* inside the session */
	int64_t active_job, active_item;
	cr_bins *bins;
	int64_t bins_capacity;
	/* streams */
	uint8_t *tokens;
	uint8_t *history; /* ring of the latest tokens */
	int64_t history_mask, chunk;
	cr_reader reader;
};

int cr_strand_used(int strands, int reverse);

/* passes_run.c. start: the worker. submit: hand the filled batch over when the one before is done.
 * wait: until the worker is idle; the first failure. stop: end it, whatever it does. */
CROCUTA_CHECKED int cr_worker_start(cr_passes *passes, crocuta_error *error);
CROCUTA_CHECKED int cr_worker_submit(cr_passes *passes, crocuta_error *error);
CROCUTA_CHECKED int cr_worker_wait(cr_passes *passes, crocuta_error *error);
void cr_worker_stop(cr_passes *passes);

/* Has the worker failed? If not ask the caller whether to go on, with what the worker has done. */
CROCUTA_CHECKED int cr_worker_poll(cr_passes *passes, crocuta_error *error);

/* Bins: as options ask, with room for a job of so many rows. */
cr_bins_options cr_passes_bins_options(cr_passes *passes, const cr_passes_options *options,
				       int64_t job_rows);

/* With options.marked: what was read joins the digest; is it what was expected at this place? EREFUSED. */
void cr_passes_read(cr_passes *passes, const uint8_t *tokens, int64_t count);
CROCUTA_CHECKED int cr_passes_compare(const cr_passes *passes, crocuta_error *error);

int cr_passes_activate(cr_passes *passes, int64_t number);
const cr_job *cr_passes_job(const cr_passes *passes, int64_t number);
const cr_job *cr_passes_active(const cr_passes *passes);
int cr_passes_poll(cr_passes *passes, int64_t tokens_done);
int cr_passes_rows_out(void *user, int64_t first, int64_t count, const float *values,
		       const int64_t *n_bases);
int cr_passes_encode(cr_passes *passes, const cr_job *job, const cr_span *span,
		     const cr_span *counted, uint8_t *out, crocuta_error *error);

/* Set report_from. */
void cr_reader_report_from(const cr_passes *passes, cr_reader *reader);

/* Ends of the segments of a sequence, row by row of its job's bins: (at most `room`) into ends; how
 * many, -1 when there is no room. */
int64_t cr_reader_segments(const cr_passes *passes, const cr_reader *reader, const cr_job *job,
			   int64_t *ends, int64_t room);

/* Before the first rows of a sequence: a first base without a scalar. */
int cr_reader_begin(cr_passes *passes, const cr_reader *reader);

/* Rows [first, first + count) of a sequence, into bins. */
int cr_reader_rows(cr_passes *passes, const cr_reader *reader, int64_t first, int64_t count,
		   const float *hidden, const float *logits);

/* One pooled vector of rows [from, to) of a sequence, into bins. */
int cr_reader_segment(cr_passes *passes, const cr_reader *reader, int64_t from, int64_t to,
		      const double *values);

int64_t cr_stream_buffer_bytes(const crocuta_plan *plan);
int cr_stream_allocate(cr_passes *passes);
cr_stream_span cr_stream_span_of(const crocuta_plan *plan, const cr_job *job, int reverse);
/* known: rows of the bases before that one are there; when that is all, the job is only read. */
int cr_stream_run(cr_passes *passes, int64_t number, int64_t known, crocuta_error *error);

#endif
