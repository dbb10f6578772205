/* features.h - sequences through a session into the vectors a head reads, one a sequence, in order.
 *
 * Between classify and fit on one side and the passes (passes.h) on the other. Sequences up to the
 * model's usable length are read whole and without what lies beside them on a contig, so that a record
 * and a region with the same bases give the same bytes; longer ones are tiled like contigs of embed. */
#ifndef CR_TASK_FEATURES_H
#define CR_TASK_FEATURES_H

#include <stdint.h>

#include <crocuta/head.h>
#include <crocuta/session.h>

#include "task/passes.h"

/* A sequence. Strings are copied, bases are read before cr_feature_stream_add returns. */
typedef struct cr_feature_item {
	const char *contig, *name; /* name NULL: none */
	char strand;               /* '-': the reverse complement of [start, end) is read */
	int64_t start, end;        /* on the contig */
	int64_t tag;               /* handed through */
	cr_journal_mark mark;      /* to the sink: the input read by the time it was ready */
	cr_fetch_fn *fetch;        /* bases [start, end) of the contig, forward strand */
	void *user;
} cr_feature_item;

/* Its vector: (F) floats, valid during the call. On another thread than the one that adds, one call at
 * a time, in order. item->fetch must not be used. */
typedef int cr_feature_sink(void *user, const cr_feature_item *item, const float *features,
			    int64_t n_bases, crocuta_error *error);

/* Is the item's answer known from an earlier run (1, and it has been taken) or not (0)? -code: failed. As
 * cr_known_fn. */
typedef int cr_known_item_fn(void *user, const cr_feature_item *item, crocuta_error *error);

typedef struct cr_feature_options {
	crocuta_feature_form form; /* layer settled */
	int softmask_n, n_as_pad;
	int64_t longest;  /* bases of the longest sequence of the whole input; 0: not known. The session is
			     planned for the power of two from 1,024 on that holds it, or for the
			     model's usable length: the last digits depend on that */
	int64_t length;   /* plan for so many bases instead; 0: as above. Longer sequences are tiled */
	const crocuta_session_options *session; /* as the user gave them */
	crocuta_log_fn *log;
	cr_feature_sink *sink;
	cr_poll_fn *poll; /* may be NULL */
	int marked;       /* as in cr_passes_options; then `known` too */
	cr_journal_mark expected;
	cr_known_item_fn *known;
	void *user;       /* of sink, poll and known */
	void *log_user;   /* of log */
} cr_feature_options;

typedef struct cr_feature_stream cr_feature_stream;

/* What it would take: the session's plan, and bytes of session and buffers together. */
CROCUTA_CHECKED int cr_feature_plan(const crocuta_model *model, const cr_feature_options *options,
				    crocuta_plan *plan, int64_t *bytes, crocuta_error *error);

/* Bases that the session is planned to read at once; the last digits of the vectors depend on it. */
int64_t cr_feature_length(const crocuta_model *model, const cr_feature_options *options);

/* Windows and tokens that a sequence of so many bases costs, all strands, under a plan. */
void cr_feature_count(const crocuta_model *model, const cr_feature_options *options,
		      const crocuta_plan *plan, int64_t bases, int64_t *windows, int64_t *tokens);

/* Makes a session. On failure *stream is NULL. options are copied. */
CROCUTA_CHECKED int cr_feature_stream_new(const crocuta_model *model,
					  const cr_feature_options *options,
					  cr_feature_stream **stream, crocuta_error *error);

/* One more. EINPUT for a sequence that is too short for the form's parts, or, with special tokens,
 * longer than the model reads at once; error must not be NULL. */
CROCUTA_CHECKED int cr_feature_stream_add(cr_feature_stream *stream, const cr_feature_item *item,
					  crocuta_error *error);

/* Run what is left. */
CROCUTA_CHECKED int cr_feature_stream_finish(cr_feature_stream *stream, crocuta_error *error);

/* After finish. */
cr_passes_counts cr_feature_stream_counts(const cr_feature_stream *stream);
const crocuta_plan *cr_feature_stream_plan(const cr_feature_stream *stream);
void cr_feature_stream_times(cr_feature_stream *stream, crocuta_stage_times *times);
void cr_feature_stream_free(cr_feature_stream *stream);

#endif
