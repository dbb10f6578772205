/* fit_internal.h - what the parts of fit share: examples, classes, the run. */
#ifndef CR_TASK_FIT_INTERNAL_H
#define CR_TASK_FIT_INTERNAL_H

#include <stdint.h>

#include <crocuta/fit.h>
#include <jansson.h>

#include "io/atomic.h"
#include "io/contigs.h"
#include "io/reference.h"
#include "model/head.h"
#include "task/features.h"
#include "task/learn.h"
#include "task/sequence_cache.h"

#define CR_FIT_L2_MAX 100

/* ---- inputs as named ------------------------------------------------------------------------- */

enum cr_fit_input_kind { CR_FIT_RECORDS = 1, CR_FIT_TABLE, CR_FIT_REGIONS };

/* One word of the command line. */
typedef struct cr_fit_input {
	enum cr_fit_input_kind kind;
	const char *path;       /* within the word */
	const char *class_name; /* of records, not NUL-terminated */
	size_t class_bytes;
	char delimiter; /* of a table */
} cr_fit_input;

/* EARG for a word that is none. */
CROCUTA_CHECKED int cr_fit_input_parse(const char *word, cr_fit_input *input, crocuta_error *error);

/* The words of a part (enum crocuta_fit_part), NULL-terminated or NULL. */
const char *const *cr_fit_words(const crocuta_fit_options *options, int part);

/* All files that are read, for cr_output_options.inputs: (count + 1) paths, NULL-terminated,
 * borrowed but for the list, which is cr_free'd. NULL without memory. */
const char **cr_fit_list_inputs(const crocuta_fit_options *options);

/* The report is none of the files beside the FASTA, of the head to be measured, or of the model
 * (info NULL: not looked at). EARG; codes of cr_output_preflight. */
CROCUTA_CHECKED int cr_fit_check_report(const crocuta_fit_options *options,
					const crocuta_model_info *info, crocuta_error *error);

/* Candidates of --l2 into values (CR_FIT_L2_MAX); their number, or -1. */
int64_t cr_fit_parse_l2(const crocuta_fit_options *options, double *values);

/* ---- examples -------------------------------------------------------------------------------- */

/* What tells sequences apart: the first 128 bits of the SHA-256 of what the model reads. */
typedef struct cr_fit_identity {
	uint64_t word[2];
} cr_fit_identity;

typedef struct cr_example {
	int64_t start, length; /* on the contig, or in cr_fit.bases */
	int64_t contig;        /* -1: none, the bases are kept */
	int64_t number;        /* line of a table, record of a file, region of a BED; from 1 */
	cr_fit_identity own;   /* in its own direction */
	cr_fit_identity both;  /* the lesser one of both directions */
	int32_t label, input;  /* class; index of cr_fit.inputs */
	char part, strand;     /* enum crocuta_fit_part; '-': the reverse complement is read */
} cr_example;

typedef struct cr_fit {
	crocuta_fit_options options;
	const crocuta_model *model;
	const crocuta_model_info *info;
	crocuta_fit_report *report;
	crocuta_error *error;
	crocuta_feature_form form; /* settled */
	crocuta_head *head;        /* measured: of evaluate, or the fitted one */
	/* classes */
	cr_contigs *names;        /* as met; lengths without meaning */
	int names_given;          /* in that order */
	int names_closed;         /* no other class may come */
	const char **class_names; /* (classes) in order, borrowed from names or head */
	int64_t classes, background;
	int64_t count_of[CROCUTA_FIT_PARTS][CROCUTA_HEAD_CLASSES_MAX];
	/* examples, in the order of the inputs */
	cr_fit_input *inputs; /* (input_count) files read */
	int *input_part;
	int64_t input_count;
	cr_example *examples;
	int64_t count, capacity;
	char *bases; /* of records and tables */
	int64_t bases_used, bases_capacity;
	cr_reference *reference;
	cr_sequence_cache *sequences;
	/* rows: train, valid, test, in each by identity, so that the order of the inputs does not
	   matter */
	int64_t *example_of;                  /* (count): example of a row */
	int64_t *row_of;                      /* (count): row of an example */
	int64_t first[CROCUTA_FIT_PARTS + 1]; /* row where a part begins */
	int32_t *labels;                      /* (count) by row */
	float *features;                      /* (count, F) */
	int64_t width;                        /* F */
	/* fitting */
	cr_learned learned;
	cr_kmers *kmers;
	cr_learned baseline;
	double *probabilities;    /* (rows, C) */
	cr_output *report_output; /* the file of --report, or NULL */
	/* conversation */
	double polled;
	int64_t tokens_total;
} cr_fit;

#define CR_FIT_LOG_BYTES 600
void cr_fit_log(const cr_fit *fit, int level, const char *format, ...) CROCUTA_PRINTF(3, 4);

/* "file.csv:17", or "file.fa, record 3". */
void cr_fit_where(const cr_fit *fit, const cr_example *example, char *out, size_t capacity);

/* "training", "validation", "test". Short: "train", "valid", "test". */
const char *cr_fit_part_name(int part);
const char *cr_fit_part_word(int part);

/* Bases in the example's direction, canonical letters, as the model reads them; out holds length.
 */
CROCUTA_CHECKED int cr_fit_fetch(cr_fit *fit, const cr_example *example, char *out);

/* Rows of a part. */
static inline int64_t cr_fit_rows(const cr_fit *fit, int part)
{
	return fit->first[part + 1] - fit->first[part];
}

/* ---- steps of a run, in order ---------------------------------------------------------------- */

/* fit_read.c: all inputs into examples, classes in order. */
CROCUTA_CHECKED int cr_fit_read(cr_fit *fit);
/* One more: bases in the direction of the file, label by name. where: "file:17" for messages. */
typedef struct cr_fit_new {
	const char *bases;
	int64_t length;
	const char *label;
	size_t label_bytes;
	const char *where;
	int64_t number;
	int64_t contig, start; /* contig -1: bases are to be kept */
	char strand;
} cr_fit_new;
CROCUTA_CHECKED int cr_fit_add(cr_fit *fit, int64_t input, const cr_fit_new *item);
/* fit_table.c: a .tsv or .csv. */
CROCUTA_CHECKED int cr_fit_read_table(cr_fit *fit, int64_t input);
/* fit_classes.c: names before reading (--classes, the head's), two or more behind the training
 * part, and their order after all. */
CROCUTA_CHECKED int cr_fit_start_classes(cr_fit *fit);
CROCUTA_CHECKED int cr_fit_check_classes(const cr_fit *fit);
CROCUTA_CHECKED int cr_fit_order_classes(cr_fit *fit);
/* fit_split.c: parts, overlap, duplicates, rows. */
CROCUTA_CHECKED int cr_fit_split(cr_fit *fit);
/* fit_features.c: bytes needed against the limit, then the table. */
CROCUTA_CHECKED int cr_fit_make_features(cr_fit *fit);

/* Tell the caller that this share of the bases is done; nonzero: stop. */
int cr_fit_poll(cr_fit *fit, double share, const char *contig);

/* How the head is learned, with these penalties. */
cr_learn_options cr_fit_learn_options(cr_fit *fit, const double *l2, int64_t l2_count);

/* fit_cache.c: name of a part's files in the cache; key holds CR_FIT_KEY_BYTES. planned:
 * cr_feature_length of the run. */
#define CR_FIT_KEY_BYTES 65
CROCUTA_CHECKED int cr_fit_cache_key(const cr_fit *fit, int part, int64_t planned, char *key);
/* Fill the part's rows; *hit 0 when they are not there or damaged (said). */
CROCUTA_CHECKED int cr_fit_cache_load(cr_fit *fit, int part, const char *key, int *hit);
/* Keep them; failing is said and no failure. */
void cr_fit_cache_save(const cr_fit *fit, int part, const char *key);
/* fit_report.c: figures of probabilities (rows, C). */
void cr_fit_copy_metrics(const cr_metrics *from, crocuta_fit_metrics *to);
/* What head.json says of the training, with the reliability tables or without; NULL without memory.
 */
json_t *cr_fit_training(const cr_fit *fit, int reliability);
/* report->text, and the file of --report as far as its name; then the name. */
CROCUTA_CHECKED int cr_fit_prepare_report(cr_fit *fit);
CROCUTA_CHECKED int cr_fit_commit_report(cr_fit *fit);

#endif
