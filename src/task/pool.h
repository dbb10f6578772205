/* pool.h - many vectors into one: mean, last or max over the bases of a row, in double.
 *
 * Order of additions is the order of calls, which the task fixes by the window layout alone, so
 * that threads and batches never show. */
#ifndef CR_TASK_POOL_H
#define CR_TASK_POOL_H

#include <stdint.h>

enum cr_pool_kind { CR_POOL_MEAN, CR_POOL_LAST, CR_POOL_MAX };

/* "mean", "last" or "max" to its number, -1 for other words. */
int cr_pool_parse(const char *name);

typedef struct cr_pool {
	double *values; /* (columns), the caller's */
	int64_t columns;
	int64_t valid; /* vectors taken */
	int kind;
} cr_pool;

/* Forget what was taken. */
void cr_pool_clear(cr_pool *pool);

/* Take one vector; is_last: the one that "last" keeps. */
void cr_pool_take(cr_pool *pool, const float *vector, int is_last);

/* Take `count` vectors that were pooled elsewhere, (columns): their sum, the largest, or the last one,
 * as the kind asks; is_last: the last one is the one that "last" keeps. */
void cr_pool_merge(cr_pool *pool, const double *values, int64_t count, int is_last);

/* Pooled values as floats; NaN everywhere when nothing was taken. */
void cr_pool_result(const cr_pool *pool, float *out);

/* 1 when every value is finite. */
int cr_all_finite(const float *values, int64_t count);
int cr_all_finite_doubles(const double *values, int64_t count);

#endif
