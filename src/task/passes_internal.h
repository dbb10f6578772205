/* passes_internal.h - shared by passes.c, passes_reader.c and passes_stream.c. */
#ifndef CR_TASK_PASSES_INTERNAL_H
#define CR_TASK_PASSES_INTERNAL_H

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
} cr_item;

struct cr_passes {
	cr_passes_options options;
	crocuta_session *session;
	const crocuta_plan *plan;
	crocuta_request request;
	crocuta_error *error; /* of the call in progress */
	cr_passes_counts counts;
	cr_job *jobs; /* ring: those with windows waiting */
	int64_t job_count;
	int64_t active_job, active_item;
	cr_bins *bins;
	int64_t bins_capacity;
	cr_item *items;
	crocuta_sequence *sequences;
	int64_t item_count;
	uint8_t *tokens;
	int64_t tokens_used, token_capacity;
	char *letters;
	/* streams */
	uint8_t *history; /* ring of the latest tokens */
	int64_t history_mask, chunk;
	cr_reader reader;
};

int cr_strand_used(int strands, int reverse);
int cr_passes_activate(cr_passes *passes, int64_t number);
const cr_job *cr_passes_active(const cr_passes *passes);
int cr_passes_poll(cr_passes *passes, int64_t tokens_done);
int cr_passes_rows_out(void *user, int64_t first, int64_t count, const float *values,
		       const int64_t *n_bases);
int cr_passes_encode(cr_passes *passes, const cr_job *job, const cr_span *span,
		     const cr_span *counted, uint8_t *out, crocuta_error *error);

/* Set report_from. */
void cr_reader_report_from(const cr_passes *passes, cr_reader *reader);

/* Before the first rows of a sequence: a first base without a scalar. */
int cr_reader_begin(cr_passes *passes, const cr_reader *reader);

/* Rows [first, first + count) of a sequence, into bins. */
int cr_reader_rows(cr_passes *passes, const cr_reader *reader, int64_t first, int64_t count,
		   const float *hidden, const float *logits);

int64_t cr_stream_buffer_bytes(const crocuta_plan *plan);
int cr_stream_allocate(cr_passes *passes);
cr_stream_span cr_stream_span_of(const crocuta_plan *plan, const cr_job *job, int reverse);
int cr_stream_run(cr_passes *passes, int64_t number, crocuta_error *error);

#endif
