/* passes.h - intervals of bases through a session, and the rows that come out.
 *
 * A job is an interval to report on and where its bases come from. Jobs are cut into windows
 * (seq/windows), the windows of several jobs are gathered until a batch is full, and the vectors or
 * scalars that the session hands over are pooled into rows (bins.h), which reach the sink job by
 * job, in order, on a thread of their own: while one batch is computed, the next is fetched. With
 * `stream`, a job goes through crocuta_session_stream instead, on the calling thread. */
#ifndef CR_TASK_PASSES_H
#define CR_TASK_PASSES_H

#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/head.h>

#include "io/journal.h"
#include "seq/tokens.h"
#include "task/bins.h"
#include "task/scalar.h"

/* Copy bases [start, end) of the sequence to out. */
typedef int cr_fetch_fn(void *user, int64_t start, int64_t end, char *out, crocuta_error *error);

typedef struct cr_job {
	const char *contig;   /* name; copied */
	const char *name;     /* of the region, or NULL; copied */
	char strand;          /* of the region: '+', '-' or '.' */
	int64_t contig_index; /* -1: none */
	int64_t contig_length;
	int64_t start, end; /* to report on; where windows lie follows from these */
	int64_t from, to;   /* only the rows of these bases, whole rows: [from, to); both 0: all */
	int64_t bin;        /* bases a row */
	int64_t origin, tag; /* the caller's, handed through */
	cr_fetch_fn *fetch; /* called before cr_passes_add returns only */
	void *user;
} cr_job;

/* Rows of a job: `count` rows of `columns` floats, row i covering start + i * bin and on, cut at
 * job->end. */
typedef struct cr_job_rows {
	const cr_job *job;
	int64_t start; /* of the first row */
	int64_t count, columns;
	const float *values;    /* (count, columns) */
	const int64_t *n_bases; /* (count) */
	cr_journal_mark mark;   /* with options.marked: the input read by the time they were ready */
	int whole;              /* a later run can begin behind them */
} cr_job_rows;
/* One call at a time, but on another thread than the one that calls cr_passes_add. */
typedef int cr_rows_sink(void *user, const cr_job_rows *rows, crocuta_error *error);

/* How many of the first rows of a job (of those asked for) the caller has already, from a run that ended
 * early? They are not computed and do not reach the sink. Asked on the calling thread when the job is
 * added; jobs with known rows come before all others. Negative: -code of a failure, recorded. */
typedef int64_t cr_known_fn(void *user, const cr_job *job, crocuta_error *error);

/* Poll for a stop, on the calling thread; nonzero ends the run with CROCUTA_ESTOPPED. */
typedef int cr_poll_fn(void *user, int64_t tokens_done, const char *contig);

typedef struct cr_passes_options {
	int64_t window, overlap; /* bases */
	int stream;
	int strands, pool, layer;
	const cr_vocabulary *vocabulary; /* of the model */
	int cls, sep;      /* 1: feed its start and its end token around a record */
	int pool_specials; /* and pool them as well; only where there is one */
	cr_scalar scalar;  /* kind CR_SCALAR_NONE: vectors */
	int64_t width;     /* D */
	cr_token_options tokens;
	int64_t longest_rows; /* rows of the longest job, for streams of the reverse strand */
	int64_t smallest_bin; /* of all jobs */
	int pooled; /* the session pools vectors, and hands over a segment of a row at a time: not
		       with a scalar or a stream, for jobs of one row or bins of POOLED_BIN or
		       more */
	int marked; /* digest the input */
	cr_journal_mark expected; /* what it has to be at that place; windows 0: nothing is known */
	cr_known_fn *known; /* or NULL */
	cr_rows_sink *sink;
	cr_poll_fn *poll;
	void *user; /* of the three */
} cr_passes_options;

/* From this size of a bin on a pooled vector is smaller than the rows it is made of. */
#define CR_PASSES_POOLED_BIN 4

typedef struct cr_passes_counts {
	int64_t windows, tokens, bases;
	cr_base_counts letters;
	double model_seconds; /* that the session was computing or handing over */
} cr_passes_counts;

typedef struct cr_passes cr_passes;

/* What follows from the model: vocabulary, width, and which special tokens go around a record, specials
 * being an enum crocuta_head_specials. The options' tokens are set before. EARG when the vocabulary
 * lacks a token that is asked for; CROCUTA_SPECIALS_MODEL takes those that there are. */
CROCUTA_CHECKED int cr_passes_use_model(cr_passes_options *options, const crocuta_model *model,
					int specials, crocuta_error *error);

/* EARG when N is to be read as a padding token that the vocabulary lacks. */
CROCUTA_CHECKED int cr_check_token_options(const cr_token_options *options,
					   const crocuta_model *model, crocuta_error *error);

/* Bytes of the buffers besides the session's own. */
int64_t cr_passes_bytes(const cr_passes_options *options, const crocuta_plan *plan);

/* Windows and tokens of one job. */
void cr_passes_count(const cr_passes_options *options, const crocuta_plan *plan, const cr_job *job,
		     int64_t *windows, int64_t *tokens);

/* The session is borrowed. On failure *passes is NULL. */
CROCUTA_CHECKED int cr_passes_new(const cr_passes_options *options, crocuta_session *session,
				  cr_passes **passes, crocuta_error *error);
void cr_passes_free(cr_passes *passes);

/* One more job; full batches begin to run. EREFUSED: the input is not what was expected. error must not
 * be NULL. */
CROCUTA_CHECKED int cr_passes_add(cr_passes *passes, const cr_job *job, crocuta_error *error);

/* Until all that has begun to run is done. */
CROCUTA_CHECKED int cr_passes_wait(cr_passes *passes, crocuta_error *error);

/* Run what is left, to its end. */
CROCUTA_CHECKED int cr_passes_finish(cr_passes *passes, crocuta_error *error);

/* After cr_passes_finish. */
cr_passes_counts cr_passes_get_counts(const cr_passes *passes);

#endif
