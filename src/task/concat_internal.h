/* concat_internal.h - what the parts of concat share: facts of the inputs, and the kinds. */
#ifndef CR_TASK_CONCAT_INTERNAL_H
#define CR_TASK_CONCAT_INTERNAL_H

#include <stdint.h>

#include <crocuta/score.h>
#include <jansson.h>

#include "io/atomic.h"
#include "io/source.h"
#include "task/file_type.h"

/* What has to be equal in all inputs, as keys and values in order of appearance. */
typedef struct cr_fact {
	char *key, *value;
} cr_fact;

/* Of ##crocutaShard=K/N and ##crocutaShardInput=<...>: which part of which input a file holds. */
typedef struct cr_shard {
	int part, parts;           /* 0, 0: none */
	int64_t first, span;       /* places in the input, records or positions; from 1 */
	int64_t total;             /* of the input; 0: not said */
	int64_t records, lines;    /* that the file holds, as VCF and as a table */
	int lines_unsaid;          /* rows were left out, and their number was not known */
	char digest[20];           /* of the input */
} cr_shard;

typedef struct cr_facts {
	cr_fact *list;
	int64_t count, capacity;
	cr_shard shard;
	int models;        /* lines that name a model */
} cr_facts;

/* Copies. 0 or EMEMORY. */
CROCUTA_CHECKED int cr_facts_add(cr_facts *facts, const char *key, const char *value,
				 crocuta_error *error);
/* One header line, "##key=value" without its end. Structured values, <A=x,B="y">, become a fact an
 * attribute; of what is not crocuta's own nothing is kept. EREFUSED for a second shard line, EINPUT
 * for a malformed one. */
CROCUTA_CHECKED int cr_facts_add_line(cr_facts *facts, const char *path, const char *line,
				      crocuta_error *error);
/* A meta.json. */
CROCUTA_CHECKED int cr_facts_add_json(cr_facts *facts, const json_t *object, crocuta_error *error);
void cr_facts_free(cr_facts *facts);

typedef struct cr_concat {
	const crocuta_concat_options *options;
	crocuta_concat_report *report;
	int64_t count;     /* inputs */
	cr_file_type type; /* of the output; kind unknown: that of the first input */
	cr_facts first;    /* of the first input */
	cr_shard *shard;   /* (count) */
	crocuta_error *error;
} cr_concat;

/* Compare an input's facts with those of the first, or keep them when it is the first; takes them
 * over. EREFUSED names the file, the key and both values. */
CROCUTA_CHECKED int cr_concat_take_facts(cr_concat *concat, int64_t input, cr_facts *facts);

/* All seen: are shards complete and in order? EREFUSED. */
CROCUTA_CHECKED int cr_concat_check_shards(const cr_concat *concat);

/* Input `input` is copied: it had `count` records or lines; is that what its header promised? EINPUT. */
CROCUTA_CHECKED int cr_concat_check_count(const cr_concat *concat, int64_t input, int64_t count,
					  int64_t promised);

/* Is this a header line that the output leaves out? */
int cr_concat_drops_line(const char *line);

/* "concat -o all.vcf.gz ...; Date=..." for a line ##crocutaCommand=, cr_free'd; NULL when memory is
 * short. */
char *cr_concat_command(const cr_concat *concat);

/* `records` more are done: counts, calls progress. ESTOPPED. */
CROCUTA_CHECKED int cr_concat_progress(cr_concat *concat, int64_t records);

/* ---- lines of a text file, plain or bgzip ---------------------------------------------------- */

typedef struct cr_lines {
	cr_source *source;
	int64_t offset, number; /* of the next byte; lines so far */
	char *line;             /* the last one, without its end */
	int64_t length, capacity;
} cr_lines;

CROCUTA_CHECKED int cr_lines_open(cr_lines *lines, const char *path, crocuta_error *error);
/* *more 0 at the end. EINPUT for a last line without its end, NUL bytes, lines above 256 MiB. */
CROCUTA_CHECKED int cr_lines_next(cr_lines *lines, int *more, crocuta_error *error);
void cr_lines_close(cr_lines *lines);

/* ---- kinds: the inputs are all of that kind ---------------------------------------------------
 */

CROCUTA_CHECKED int cr_concat_vcf(cr_concat *concat);
CROCUTA_CHECKED int cr_concat_text(cr_concat *concat);
CROCUTA_CHECKED int cr_concat_npy(cr_concat *concat);

#endif
