/* score_internal.h - one score run: shared by the score*.c files.
 *
 * Records are read in batches. Every ALT becomes a unit; a unit that can be scored has a change on
 * each strand asked for (seq/alleles.h); the changes of a batch are sorted by window, so that each
 * window is computed once for all its changes. What a change gets does not depend on the batch. */
#ifndef CR_TASK_SCORE_INTERNAL_H
#define CR_TASK_SCORE_INTERNAL_H

#include <stdatomic.h>

#include <crocuta/score.h>
#include <jansson.h>

#include "io/contigs.h"
#include "io/reference.h"
#include "io/regions.h"
#include "io/variants.h"
#include "seq/alleles.h"
#include "seq/tokens.h"
#include "base/digest64.h"
#include "task/inputs.h"
#include "task/resume.h"
#include "task/score_math.h"
#include "task/shard.h"
#include "task/sequence_cache.h"

/* Tokens handed to one call of the session, bytes; a single change may take more. */
#define CR_SCORE_CALL_BYTES ((int64_t)16 << 20)

/* A batch: records, their changes and results, about. Its lists grow by doubling. */
#define CR_SCORE_BATCH_BYTES ((int64_t)128 << 20)

/* One change along one strand. */
typedef struct cr_score_change {
	cr_allele allele; /* bases in the batch */
	cr_placed placed;
	int64_t contig;
	int reverse, masked;
	int64_t same; /* the change of the batch that is computed for it; itself, mostly */
	int64_t before; /* positions of the window in front of it that a model scores */
	uint64_t digest; /* with a journal: of the tokens it is computed from */
	int known;       /* from a journal: results are there */
	/* results; compared 0: there are none */
	int64_t compared;
	double llr, distance;
} cr_score_change;

/* One ALT. */
typedef struct cr_score_unit {
	int status; /* enum crocuta_allele_status */
	int equal;  /* to REF: all numbers 0 */
	int edge, masked;
	int64_t change[2];                  /* forward, reverse; -1: none */
	float llr, llr_strand[2], distance; /* NaN: missing */
} cr_score_unit;

/* One record, of a file or made up. */
typedef struct cr_score_record {
	cr_variant *variant;      /* NULL: made up */
	const char *contig_name;  /* as the file has it */
	int64_t contig, position; /* in the FASTA; contig -1: not there */
	const char *id;
	const char *const *allele; /* REF, then ALTs */
	int alts;                  /* 0: ALT is "." */
	int left_out;
	int64_t first_unit;
} cr_score_record;

typedef struct cr_score_block cr_score_block;

typedef struct cr_score_batch {
	cr_score_record *records;
	int64_t record_count, record_capacity;
	cr_score_unit *units;
	int64_t unit_count, unit_capacity;
	cr_score_change *changes;
	int64_t change_count, change_capacity;
	cr_score_block *bases; /* of the alleles */
	int64_t *order;        /* of the changes: by window, at, bases */
	int64_t order_count, order_capacity;
} cr_score_batch;

typedef struct cr_score_output cr_score_output;

typedef struct cr_score {
	const crocuta_model *model;
	const crocuta_model_info *info;
	crocuta_score_options options; /* defaults settled */
	crocuta_score_report *report;
	crocuta_error *error;
	char type; /* enum cr_file_kind: 'v', 'z', 'b', 'u', 't', or 'n' for npy */
	int level; /* -1: the default */
	/* what is computed */
	const cr_vocabulary *vocabulary;
	int64_t lead; /* tokens in front of a window's bases: 1, its start token, or 0 */
	cr_placement placement;
	cr_score_softmax softmax;
	uint8_t token[256]; /* of a byte of the FASTA */
	uint8_t n_token;
	uint8_t is_base[256]; /* of tokens: A C G T */
	int reuse;
	crocuta_session_options session_options;
	crocuta_session *session;
	/* inputs */
	cr_reference *reference;
	const cr_contigs *contigs;
	cr_sequence_cache *cache;
	cr_variants *variants; /* NULL with ism */
	int64_t *contig_map;   /* of the first `mapped` contigs of the variants */
	int64_t mapped;
	int64_t declared; /* contigs in the header of the variants */
	const char *map_how;
	cr_regions *regions; /* ism */
	int ended;           /* of the records of this shard */
	/* this shard: the records whose cost begins in its part of the whole */
	int64_t cost_total, cost_before, cost_contig, cost_window;
	/* and what concat is told of it: places in the input (records, or positions), what it holds */
	int64_t shard_first, shard_span, shard_total, shard_records, shard_lines;
	uint64_t shard_digest; /* of the whole input */
	int64_t next, end; /* ism: positions of this shard, counted over all regions */
	/* journal: a unit is a change */
	cr_resume resume;
	json_t *binding;
	int64_t changes_before; /* of all batches before this one */
	int pending;            /* next_unit is of a later batch */
	char next_unit[64];
	/* how far */
	cr_score_output *output;
	int64_t checked, mismatched; /* records against the FASTA */
	int64_t nowhere;             /* records off the FASTA */
	int64_t nonfinite, warned;
	int64_t units_done, units_total; /* total 0: unknown */
	int64_t batch_units, batch_changes;
	atomic_llong changes_done; /* of the batch */
	const char *where;         /* contig */
	double polled;
} cr_score;

void cr_score_log(const cr_score *score, int level, const char *format, ...) CROCUTA_PRINTF(3, 4);

/* What the caller's progress function says, asked a few times a second: nonzero to stop. */
int cr_score_poll(cr_score *score);

/* ---- score_options.c ------------------------------------------------------------------------- */

void cr_score_list_inputs(cr_inputs *inputs, const crocuta_score_options *options,
			  const crocuta_model_info *info);

/* Type and level from -O and the suffix. */
int cr_score_choose_type(const crocuta_score_options *options, char *type, int *level,
			 crocuta_error *error);

/* Number-th file of the output (0: itself), -1: there is none. */
int cr_score_file(const crocuta_score_options *options, char type, int number, char *out,
		  size_t capacity);
int cr_score_preflight(const crocuta_score_options *options, char type,
		       const cr_inputs *inputs, crocuta_error *error);

/* Defaults that follow from the model, checks against it. */
int cr_score_settle(cr_score *score);


/* ---- score_records.c: a VCF file; score_ism.c: every SNV of regions -------------------------- */

int cr_score_open_variants(cr_score *score);

/* Count records and ALTs of the whole file into the report, and their cost for shards; leaves the
 * file open at its start. */
int cr_score_count_variants(cr_score *score);

/* Fill an empty batch; no records: the end. */
int cr_score_read_variants(cr_score *score, cr_score_batch *batch);

int cr_score_open_ism(cr_score *score);
int cr_score_count_ism(cr_score *score);
int cr_score_read_ism(cr_score *score, cr_score_batch *batch);

/* ---- score_batch.c --------------------------------------------------------------------------- */

/* A new element at the end, zeroed; NULL when memory is short. */
cr_score_record *cr_score_add_record(cr_score_batch *batch);
cr_score_unit *cr_score_add_unit(cr_score_batch *batch);
cr_score_change *cr_score_add_change(cr_score_batch *batch);

/* Room for an allele's bases; lives until the batch is cleared. NULL when memory is short. */
char *cr_score_add_bases(cr_score_batch *batch, int64_t bytes);

/* Sort the changes that have something to compute, and find equal ones. */
int cr_score_sort(cr_score_batch *batch, crocuta_error *error);

/* Do two changes lie in the same window? */
int cr_score_same_window(const cr_score_change *a, const cr_score_change *b);

void cr_score_clear(cr_score *score, cr_score_batch *batch); /* records are freed */
void cr_score_free_batch(cr_score *score, cr_score_batch *batch);

/* ---- score_units.c --------------------------------------------------------------------------- */

/* Statuses and changes of all records of a batch. */
int cr_score_classify(cr_score *score, cr_score_batch *batch);

/* Strands together: the numbers of every unit, counts into the report. */
int cr_score_combine(cr_score *score, cr_score_batch *batch);

/* EINPUT: no record lies on the FASTA. */
int cr_score_fail_nowhere(const cr_score *score, int64_t records);

/* Is this the wrong genome? at_end: all records were read. */
int cr_score_check_genome(cr_score *score, int at_end);

/* ---- score_compute.c, score_reuse.c, score_plain.c ------------------------------------------- */

/* Results of all changes of a batch. */
int cr_score_compute(cr_score *score, cr_score_batch *batch);
int cr_score_compute_reuse(cr_score *score, cr_score_batch *batch);
int cr_score_compute_plain(cr_score *score, cr_score_batch *batch);

/* Tokens of a change's window up to `length` bases, its start token first: lead + length at out. */
int cr_score_window_tokens(cr_score *score, const cr_score_change *change, int64_t length,
			   uint8_t *out);

/* Tokens of [start, end) of a strand, reading direction. */
int cr_score_tokens(cr_score *score, int64_t contig, int reverse, int64_t start, int64_t end,
		    uint8_t *out);

/* The alternative's tokens from `at` on, (count), into out; window: bases of the change's window as
 * tokens, at least up to at + count. */
int cr_score_change_tokens(cr_score *score, const cr_score_change *change, const uint8_t *window,
			   uint8_t *out);

/* What the window in front of the change tells: too many N there and in the compared positions, and how
 * many positions a model scores. */
void cr_score_look_back(const cr_score *score, const uint8_t *window, cr_score_change *change);

/* Which of n positions are compared: flags, and how many. */
int64_t cr_score_compared(const cr_score *score, const uint8_t *reference, const uint8_t *tokens,
			  int64_t n, uint8_t *flags);

/* Rows of both haplotypes at the compared positions at .. at + T - 1 become results. */
typedef struct cr_score_rows {
	int64_t count;                            /* T */
	const float *before;                      /* (V) of position at - 1, or NULL */
	const float *reference_hidden, *hidden;   /* (T, D) */
	const float *reference_logits, *logits;   /* (T, V) */
	const uint8_t *reference_tokens, *tokens; /* (T) */
} cr_score_rows;
void cr_score_change_rows(const cr_score *score, const cr_score_rows *rows,
			  cr_score_change *change);

/* ---- score_header.c -------------------------------------------------------------------------- */

#define CR_SCORE_TAGS 5
#define CR_SCORE_LINES 8
typedef struct cr_score_header {
	cr_variant_tag tags[CR_SCORE_TAGS]; /* floats, then the status */
	int tag_count, float_count;
	char names[CR_SCORE_TAGS][96], texts[CR_SCORE_TAGS][640];
	const char *family[CR_SCORE_TAGS + 1]; /* all names of the prefix, NULL-terminated */
	char *lines[CR_SCORE_LINES]; /* "##...", NULL-terminated */
} cr_score_header;

int cr_score_make_header(const cr_score *score, cr_score_header *header);
void cr_score_free_header(cr_score_header *header);

/* The same facts as an object; NULL when memory is short. */
json_t *cr_score_meta(const cr_score *score);

/* Those of them that say how numbers are made: of model, options and reference. */
json_t *cr_score_facts(const cr_score *score);

/* ---- score_resume.c -------------------------------------------------------------------------- */

int cr_score_open_journal(cr_score *score);

/* Changes of a sorted batch that the journal knows leave batch->order. EREFUSED: they are others. */
int cr_score_take_known(cr_score *score, cr_score_batch *batch);

/* At the end: EREFUSED when the journal knows more than the input has. */
int cr_score_check_known(const cr_score *score);

/* A change has its results. Any thread. */
void cr_score_keep(cr_score *score, const cr_score_batch *batch, const cr_score_change *change);

/* ---- score_output.c -------------------------------------------------------------------------- */

/* Open the output; after the first records are read, so that their contigs are known. */
int cr_score_open_output(cr_score *score);
int cr_score_write(cr_score *score, const cr_score_batch *batch);
int cr_score_commit(cr_score *score);
void cr_score_free_output(cr_score_output *output);

/* Text of a unit's status with its flags, into out. */
void cr_score_status_text(const cr_score_unit *unit, char out[40]);

#endif
