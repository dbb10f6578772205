/* classify_internal.h - one run of classify: shared by the classify*.c files.
 *
 * Items (records, regions or windows) are made on the calling thread, in order; the feature stream's
 * thread hands their vectors to the output, which turns them into rows. */
#ifndef CR_TASK_CLASSIFY_INTERNAL_H
#define CR_TASK_CLASSIFY_INTERNAL_H

#include <stdatomic.h>

#include <crocuta/classify.h>
#include <jansson.h>

#include "io/atomic.h"
#include "io/contigs.h"
#include "io/records.h"
#include "io/reference.h"
#include "io/regions.h"
#include "model/head.h"
#include "task/features.h"
#include "task/inputs.h"
#include "task/resume.h"
#include "task/shard.h"

/* What is known of all items before the first is read: for the plan, and for shards. */
typedef struct cr_classify_census {
	int64_t items;   /* -1: not known (a stream) */
	int64_t bases;   /* in them; what an item costs */
	int64_t longest; /* 0: not known */
	uint64_t digest; /* of names and places */
	int64_t first, span; /* items of this shard */
	int64_t span_bases;
} cr_classify_census;

typedef struct cr_classify_output cr_classify_output;

typedef struct cr_classify {
	const crocuta_model *model;
	const crocuta_model_info *info;
	const crocuta_head *head;
	const crocuta_head_info *head_info;
	crocuta_classify_options options; /* defaults settled */
	crocuta_classify_report *report;
	crocuta_error *error;
	cr_reference *reference; /* places on contigs, or NULL */
	const cr_contigs *contigs;
	cr_regions *regions;
	cr_records *records;     /* else */
	cr_classify_census census;
	cr_feature_options features;
	cr_feature_stream *stream;
	cr_classify_output *output;
	char *bases; /* (bases_capacity): [bases_start, bases_end) of a contig, for windows */
	int64_t bases_capacity, bases_contig, bases_start, bases_end;
	int64_t item;         /* number of the next one, and what those before cost */
	int64_t cost_before;
	atomic_llong bases_out; /* classified, or left out */
	int64_t taken; /* items whose vectors came; the sink's */
	/* journal: a unit is an item */
	cr_resume resume;
	json_t *binding;
	double *unit; /* (C) */
	double polled, opened, begun; /* clock */
} cr_classify;

void cr_classify_log(const cr_classify *classify, int level, const char *format, ...)
	CROCUTA_PRINTF(3, 4);

/* Poll the caller; nonzero: stop. */
int cr_classify_poll(cr_classify *classify, const char *contig);

/* Inputs of a run, for the comparison with outputs; info and head may be NULL. */
void cr_classify_list_inputs(cr_inputs *inputs, const crocuta_classify_options *options,
			     const crocuta_model_info *info, const crocuta_head_info *head);

/* Is item by item read at places of a FASTA? Else records. */
int cr_classify_by_place(const crocuta_classify_options *options);

/* "bed" or "tsv" by -O and suffix. EARG. */
int cr_classify_choose_type(const crocuta_classify_options *options, const char **type,
			    crocuta_error *error);

/* Path of output file 0 (the table) or 1 (its index); 0, or -1 when there is none. */
int cr_classify_file(const crocuta_classify_options *options, int number, char *out,
		     size_t capacity);

/* Could the outputs be written? */
int cr_classify_preflight(const crocuta_classify_options *options, const cr_inputs *inputs,
			  crocuta_error *error);

/* Defaults that follow from head and model; checks against them. */
int cr_classify_settle(cr_classify *classify);

/* ---- items ---------------------------------------------------------------------------------- */

/* Open the input and take the census. */
int cr_classify_open_input(cr_classify *classify);

/* All items of this shard through the stream, and its end. */
int cr_classify_items(cr_classify *classify);

/* ---- output --------------------------------------------------------------------------------- */

/* Header written. plan: of the session. */
int cr_classify_open_output(cr_classify *classify, const crocuta_plan *plan);

/* A cr_feature_sink. */
int cr_classify_take(void *user, const cr_feature_item *item, const float *features, int64_t n_bases,
		     crocuta_error *error);

/* The same with what the head made of the vector. */
int cr_classify_take_probabilities(cr_classify *classify, const cr_feature_item *item, const double *p,
				   crocuta_error *error);

/* What goes into the header; NULL when memory is short. */
json_t *cr_classify_provenance(const cr_classify *classify, const crocuta_plan *plan);

/* The journal: opened before the stream; an item of it, a cr_known_item_fn; an item for it. */
int cr_classify_open_journal(cr_classify *classify, const crocuta_plan *plan);
int cr_classify_known(void *classify, const cr_feature_item *item, crocuta_error *error);
void cr_classify_keep(cr_classify *classify, const cr_feature_item *item, const double *probabilities);

/* What waits is written, the index made, all committed. */
int cr_classify_commit(cr_classify *classify);
void cr_classify_free_output(cr_classify_output *output);

#endif
