/* bins.h - rows of an interval put together from vectors that arrive base by base.
 *
 * Forward windows deliver bases in ascending order, windows of the reverse strand each in
 * descending order; a row goes out when all strands asked for have filled it, in ascending order.
 * Finished rows wait in a ring; rows that are still filling (at most CR_BINS_OPEN a strand) are
 * pooled in double. */
#ifndef CR_TASK_BINS_H
#define CR_TASK_BINS_H

#include <stdint.h>

#include <crocuta/error.h>

#include "task/pool.h"

#define CR_BINS_OPEN 4

/* Rows [first, first + count) of the interval, `columns` floats each. n_bases: N in each row.
 * A nonzero return stops and is passed on. */
typedef int cr_bins_sink(void *user, int64_t first, int64_t count, const float *values,
			 const int64_t *n_bases);

typedef struct cr_bins_options {
	int64_t width;    /* floats of one vector */
	int strands;      /* enum crocuta_strands */
	int pool;         /* enum cr_pool_kind */
	int64_t capacity; /* rows that may wait at once */
	cr_bins_sink *sink;
	void *user;
} cr_bins_options;

typedef struct cr_bins cr_bins;

/* Bytes that cr_bins_new takes, for the plan. */
int64_t cr_bins_bytes(const cr_bins_options *options);

/* NULL when memory is short. */
cr_bins *cr_bins_new(const cr_bins_options *options);
void cr_bins_free(cr_bins *bins);

/* Floats of a row that goes out: width, or twice that. */
int64_t cr_bins_columns(const cr_bins_options *options);

/* Begin the interval [start, end), `bin` bases a row. extra: vectors beyond the bases that belong
 * to the only row (special tokens), a strand. The interval before must have been flushed whole. */
void cr_bins_start(cr_bins *bins, int64_t start, int64_t end, int64_t bin, int64_t extra);

typedef struct cr_bins_vector {
	int64_t position;    /* base it belongs to, inside the interval */
	const float *values; /* (width), or NULL: this base has none */
	int reverse;         /* strand */
	int is_n;            /* the base is N; looked at on the first strand only */
	int is_last;         /* with extra vectors: the last one of its row in reading direction;
				else that follows from the position */
} cr_bins_vector;

/* 0, what the sink returned, or CROCUTA_EINTERNAL when the ring would overflow. */
int cr_bins_take(cr_bins *bins, const cr_bins_vector *vector);

/* Vectors of one strand that follow each other in one row, pooled already. */
typedef struct cr_bins_segment {
	int64_t start, end;   /* their bases, in one row of the interval */
	int64_t count;        /* vectors: end - start, and the extra ones among them */
	const double *values; /* (width), as of cr_pool_merge */
	int reverse;          /* strand */
	int64_t n_bases;      /* N among the bases; looked at on the first strand only */
	int is_last;          /* with extra vectors: ends with the last one of its row; else that
				 follows from start and end */
} cr_bins_segment;

/* As cr_bins_take. */
int cr_bins_take_segment(cr_bins *bins, const cr_bins_segment *segment);

/* Hand over what is ready; CROCUTA_EINTERNAL when `whole` and something is missing. */
int cr_bins_flush(cr_bins *bins, int whole);

#endif
