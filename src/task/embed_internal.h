/* embed_internal.h - one embed run: shared by the embed*.c files. */
#ifndef CR_TASK_EMBED_INTERNAL_H
#define CR_TASK_EMBED_INTERNAL_H

#include <stdatomic.h>

#include <crocuta/embed.h>

#include "io/contigs.h"
#include "io/records.h"
#include "io/reference.h"
#include "io/regions.h"
#include "task/inputs.h"
#include "task/passes.h"
#include "task/resume.h"
#include "task/shard.h"
#include "task/writer.h"

typedef struct cr_embed {
	const crocuta_model *model;
	const crocuta_model_info *info;
	crocuta_embed_options options; /* defaults settled */
	crocuta_embed_report *report;
	crocuta_error *error;
	const cr_writer_kind *kind;
	int by_record; /* a row a record */
	cr_reference *reference; /* contigs by index, or NULL */
	cr_records *records;     /* one after another, or NULL */
	cr_contigs *own_contigs; /* of records read as contigs */
	const cr_contigs *contigs;
	cr_regions *regions; /* with a reference */
	cr_passes_options passes_options;
	crocuta_session_options session_options;
	crocuta_session *session;
	cr_passes *passes;
	json_t *provenance;
	void *writer;
	int64_t tokens_total; /* -1: unknown */
	atomic_llong bases_out; /* written by the sink's thread, shown by the calling one */
	int64_t rows_out;
	/* shard of records: bases of all, and of those before the next one */
	int64_t record_bases, record_before;
	cr_shard_facts shard;
	/* journal: a unit is a row */
	cr_resume resume;
	json_t *binding;
	int64_t unit_bytes;
	char *units;        /* of the calling thread while it takes over, then of the sink's */
	float *unit_values;
	double polled, opened, begun; /* clock */
} cr_embed;

/* Inputs of a run, for the comparison with outputs. */
void cr_embed_list_inputs(cr_inputs *inputs, const crocuta_embed_options *options,
			  const crocuta_model_info *info);

/* The writer for these options; EARG when -O, the suffix and what is written do not agree. */
int cr_embed_choose_writer(const crocuta_embed_options *options, const cr_writer_kind **kind,
			   crocuta_error *error);

/* Could every output file be written? bytes: of the first one, 0 unknown. */
int cr_embed_preflight(const crocuta_embed_options *options, const cr_writer_kind *kind,
		       const cr_inputs *inputs, int64_t bytes, crocuta_error *error);

/* Defaults that follow from the model; checks against it. Input not open yet. */
int cr_embed_settle(cr_embed *embed);

/* Open the input and its regions; decide rows by record. */
int cr_embed_open_input(cr_embed *embed);

/* Windows, tokens, rows and bytes into the report, as far as known before reading. */
int cr_embed_count(cr_embed *embed, const crocuta_plan *plan);

/* All jobs of the input through embed->passes. */
int cr_embed_contigs(cr_embed *embed);
int cr_embed_records(cr_embed *embed);

/* The job of a region of the reference (bin settled). */
void cr_embed_region_job(const cr_embed *embed, const cr_region *region, cr_job *job);

/* The number-th region's part of this shard as a job; `before`: bases of those before it, moved on. 0: it
 * has none. */
int cr_embed_next_job(const cr_embed *embed, int64_t number, int64_t *before, cr_job *job);

/* Facts of a shard of regions; of records, which are walked and opened again. */
void cr_embed_count_shard(cr_embed *embed);
int cr_embed_shard_records(cr_embed *embed);

/* The next record: is it of this shard? */
int cr_embed_is_mine(cr_embed *embed, int64_t bases);

/* (Again) from the start. */
int cr_embed_open_records(cr_embed *embed);

/* Ask the caller whether to go on; tokens_done -1: not computing yet. */
int cr_embed_poll(void *embed, int64_t tokens_done, const char *contig);

/* The journal: opened before the passes; rows of it, as a cr_known_fn; rows for it. */
int cr_embed_open_journal(cr_embed *embed, const crocuta_plan *plan);
int64_t cr_embed_known_rows(void *embed, const cr_job *job, crocuta_error *error);
void cr_embed_keep_rows(cr_embed *embed, const cr_job_rows *rows);

/* Rows to the writer, a cr_rows_sink but that they are not kept. */
int cr_embed_take_rows(cr_embed *embed, const cr_job_rows *rows, crocuta_error *error);

/* The object that goes into every output; NULL when memory is short. */
json_t *cr_embed_provenance(const cr_embed *embed, const crocuta_plan *plan);

void cr_embed_log(const cr_embed *embed, int level, const char *format, ...) CROCUTA_PRINTF(3, 4);

#endif
