/* writer.h - the socket behind which every output format lies; the list is writers.def. */
#ifndef CR_TASK_WRITER_H
#define CR_TASK_WRITER_H

#include <stdint.h>

#include <crocuta/error.h>
#include <jansson.h>

#include "io/atomic.h"
#include "io/contigs.h"
#include "io/track.h"
#include "task/passes.h"
#include "task/shard.h"

/* What a writer is told at the start. Everything is borrowed and outlives it. */
typedef struct cr_writer_options {
	const char *path;      /* "-": standard output */
	int64_t rows, columns; /* rows -1: unknown */
	int64_t bytes;         /* expected, for the free-space check; 0: unknown */
	int half;
	const cr_contigs *contigs; /* may grow while records are read */
	const json_t *provenance;  /* flat object, in the order to print */
	const cr_shard_facts *shard; /* or NULL */
	cr_output_options output;  /* inputs, no_space_check, no_clobber */
} cr_writer_options;

typedef struct cr_writer_kind {
	const char *name;
	const char *suffixes;    /* " .a .b " with blanks around each */
	int vectors, tracks;     /* what it can hold */
	int binary;              /* not for standard output */
	int sorted;              /* rows must ascend along the contigs */
	int listed;              /* wants the contigs before the first row */
	const char *sidecars[2]; /* ".meta.json" ...; a leading '-' drops the path's suffix first */
	int exact;               /* what `bytes` says is no estimate */
	/* Bytes of the file. */
	int64_t (*bytes)(int64_t rows, int64_t columns, int half);
	int (*start)(const cr_writer_options *options, void **state, crocuta_error *error);
	int (*rows)(void *state, const cr_job_rows *rows, crocuta_error *error);
	/* Complete and commit; *bytes gets what was written. */
	int (*finish)(void *state, int64_t *bytes, crocuta_error *error);
	void (*free)(void *state);
} cr_writer_kind;

#define WRITER(name) extern const cr_writer_kind cr_writer_##name;
#include "task/writers.def"
#undef WRITER

/* By name, or NULL. */
const cr_writer_kind *cr_writer_find(const char *name);

/* By the suffix of a path (one of .gz .bgz ignored where the format is text), or NULL. */
const cr_writer_kind *cr_writer_of_path(const char *path);

/* Files that an output path stands for: the path itself, then sidecars. number 0, 1, ...: 0 and the
 * path in out, -1 when there is no such file or it does not fit. */
int cr_writer_file(const cr_writer_kind *kind, const char *path, int number, char *out,
		   size_t capacity);

/* Rows of a job into a track. */
int cr_writer_add_track(cr_track *track, const cr_job_rows *rows, crocuta_error *error);

#endif
