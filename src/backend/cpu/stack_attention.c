/* stack_attention.c - causal softmax attention on the CPU, blocked, with a running maximum.
 *
 * A task is one head and up to 256 queries. Its keys come in tiles of KEYS, counted from key 0:
 * scores by the packed product, weights in place, their product with the values from zero, and
 * then onto what the earlier tiles gave. So sums are as short as a tile is, and a key that a
 * query does not see adds an exact zero: a query's bytes do not depend on its neighbours in the
 * tile. Partial results of several calls are merged in double.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/stack_cpu.h"
#include "base/error.h"

#define KEYS 128
#define MOST_QUERIES 256
#define SLACK 14 /* rows between blocks of lines, against addresses equal modulo 4 KB */

/* A thread's arrays. */
typedef struct space {
	float *q, *scores, *o, *add; /* lines */
	float *k, *v;                /* packed */
	float *maximum, *factor;
	double *total;
} space;

static int64_t queries_of(const cr_stack_attention *a, int threads)
{
	int64_t queries = MOST_QUERIES;

	while (queries > 32 && (a->rows + queries - 1) / queries * a->heads < 4 * (int64_t)threads)
		queries /= 2;
	return queries;
}

static int64_t space_floats(const cr_stack_attention *a, int64_t queries)
{
	const int64_t size = cr_lines(a->head_size) * CR_LINE;

	return (queries + SLACK) * (3 * size + KEYS) + 2 * KEYS * size + 4 * queries;
}

static space space_of(const cr_stack_attention *a, int64_t queries, float *scratch)
{
	const int64_t size = cr_lines(a->head_size) * CR_LINE, lines = (queries + SLACK) * size;
	space s;

	s.q = scratch;
	s.o = s.q + lines;
	s.add = s.o + lines;
	s.scores = s.add + lines;
	s.k = s.scores + (queries + SLACK) * KEYS;
	s.v = s.k + KEYS * size;
	s.total = (double *)(void *)(s.v + KEYS * size);
	s.maximum = (float *)(s.total + queries);
	s.factor = s.maximum + queries;
	return s;
}

/* Keys [key, key + count) for queries [row, rows) of the tile, the first of which sees
 * `visible` of them. */
static void add_keys(const cr_stack_device *device, const cr_stack_attention *a, const space *s,
		     int64_t stride, int64_t head, int64_t key, int64_t count, int64_t row,
		     int64_t rows, int64_t visible)
{
	const cr_kernels *kernels = device->kernels;
	const int64_t shared = head / (a->heads / a->kv_heads) * a->head_size;
	const int64_t lines = cr_lines(a->head_size), at = row * CR_LINE, many = rows - row;
	float *scores = s->scores + at;

	kernels->pack_columns((const float *)a->k + key * a->k_stride + shared, 0, a->k_stride,
			      count, a->head_size, s->k);
	kernels->pack_rows((const float *)a->v + key * a->v_stride + shared, a->v_stride,
			   a->head_size, count, s->v);
	kernels->product(s->q + at, stride, lines, s->k, cr_lines(count) * CR_LINE, scores, stride,
			 many, 0);
	kernels->soften(scores, stride, count, visible, (float)a->scale, s->maximum + row,
			s->total + row, s->factor + row, many);
	kernels->product(scores, stride, cr_lines(count), s->v, lines * CR_LINE, s->add + at,
			 stride, many, 0);
	kernels->scale_add(s->o + at, s->add + at, stride, lines, s->factor + row, many);
}

/* Query `row` of the tile that starts at `from`: normalise, merge into what was there, store. */
static void finish(const cr_stack_attention *a, const space *s, int64_t stride, int64_t head,
		   int64_t from, int64_t row)
{
	const int64_t place = ((from + row) * a->heads + head) * a->head_size;
	const int64_t total = head * a->rows + from + row;
	float *held = a->o ? (float *)a->o + place : NULL, *lse = a->lse;
	float *y = a->y ? (float *)a->y + (from + row) * a->y_stride + head * a->head_size : held;
	const int seen = s->total[row] > 0 || isnan(s->total[row]);
	const float divide = seen ? (float)(1 / s->total[row]) : 0;
	double logarithm = seen ? s->maximum[row] + log(s->total[row]) : -INFINITY;
	float weight = 1;

	if (!a->first && (seen || lse[total] != -INFINITY)) {
		const double before = lse[total], block = logarithm;

		logarithm = fmax(before, block) + log1p(exp(-fabs(before - block)));
		weight = (float)exp(block - logarithm);
	}
	if (!a->first && !seen) {
		if (y != held)
			memcpy(y, held, (size_t)a->head_size * sizeof *y);
		return;
	}
	for (int64_t i = 0; i < a->head_size; i++) {
		const float part =
			s->o[i / CR_LINE * stride + row * CR_LINE + i % CR_LINE] * divide;

		y[i] = weight < 1 ? held[i] + (part - held[i]) * weight : part;
	}
	if (!a->y)
		lse[total] = (float)logarithm;
}

/* Queries [from, from + rows) of one head. */
static void attend(const cr_stack_device *device, const cr_stack_attention *a, const space *s,
		   int64_t queries, int64_t head, int64_t from, int64_t rows)
{
	const int64_t stride = (queries + SLACK) * CR_LINE;
	const int64_t before =
		a->q_first + from - a->k_first; /* keys before the first query's own */
	const int64_t ahead = before + rows, visible = ahead < a->keys ? ahead : a->keys;

	for (int64_t c = 0; c < a->head_size; c += CR_LINE) {
		cr_cpu_to_lines((const float *)a->q + from * a->q_stride + head * a->head_size + c,
				a->q_stride, rows, a->head_size - c, s->q + c / CR_LINE * stride);
		memset(s->o + c / CR_LINE * stride, 0, (size_t)rows * CR_LINE * sizeof *s->o);
	}
	for (int64_t row = 0; row < rows; row++) {
		s->maximum[row] = -INFINITY;
		s->total[row] = 0;
	}
	for (int64_t key = 0; key < visible; key += KEYS) {
		const int64_t count = visible - key < KEYS ? visible - key : KEYS;
		const int64_t row = key > before ? key - before : 0; /* the first that sees any */

		add_keys(device, a, s, stride, head, key, count, row, rows, before + row - key + 1);
	}
	for (int64_t row = 0; row < rows; row++)
		finish(a, s, stride, head, from, row);
}

int cr_cpu_stack_attention(cr_stack_device *device, const cr_stack_attention *a,
			   crocuta_error *error)
{
	int64_t queries, tiles, each;
	float *scratch;
	int threads;

	if (a->kv_heads < 1 || a->heads % a->kv_heads || (!a->first && (!a->o || !a->lse)) ||
	    (!a->y && (!a->o || !a->lse)))
		return cr_fail(error, CROCUTA_EARG, "attention of %lld heads over %lld",
			       (long long)a->heads, (long long)a->kv_heads);
	if (a->rows < 1 || a->heads < 1)
		return 0;
	threads = cr_cpu_team(device, (double)a->rows * (double)(a->keys + 1) * (double)a->heads *
					      (double)a->head_size / 8);
	queries = queries_of(a, threads);
	tiles = (a->rows + queries - 1) / queries;
	each = space_floats(a, queries);
	if (cr_cpu_scratch(device, 0, each, threads, &scratch, error))
		return CROCUTA_EMEMORY;
		/* the last queries see most keys: they go first, so that no thread is left with
		 * them */
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
	for (int64_t i = 0; i < tiles * a->heads; i++) {
		const int64_t from = (tiles - 1 - i / a->heads) * queries, left = a->rows - from;
		const space s = space_of(a, queries, scratch + omp_get_thread_num() * each);

		attend(device, a, &s, queries, i % a->heads, from, left < queries ? left : queries);
	}
	return 0;
}
