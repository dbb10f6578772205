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

/* The object that goes into every output; NULL when memory is short. */
json_t *cr_embed_provenance(const cr_embed *embed, const crocuta_plan *plan);

void cr_embed_log(const cr_embed *embed, int level, const char *format, ...) CROCUTA_PRINTF(3, 4);

#endif
