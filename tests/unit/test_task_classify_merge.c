/* Windows merged to calls: against a plain merge of the whole list, and when rows come out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/classify_merge.h"

#define CLASSES 3
#define ROWS_MAX 2000

/* A window, or a merged row of several. */
struct row {
	int64_t contig, start, end, pred, windows, best_start, best_end;
	char strand, name[8];
	double p[CLASSES];
};

struct table {
	struct row rows[ROWS_MAX];
	int64_t count;
	int64_t fail_at; /* the sink fails at this row, from 1; 0: never */
};

static struct table windows, seen, wanted;

static uint64_t next(uint64_t *state)
{
	uint64_t bits = *state += 0x9e3779b97f4a7c15u;

	bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
	bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
	return bits ^ bits >> 31;
}

static int keep(void *user, const cr_merged *row, crocuta_error *error)
{
	struct table *table = user;
	struct row *out = &table->rows[table->count];

	assert_true(table->count < ROWS_MAX);
	if (++table->count == table->fail_at)
		return cr_fail(error, CROCUTA_EIO, "the disk is full");
	memset(out, 0, sizeof *out);
	out->contig = row->contig_index;
	out->start = row->start;
	out->end = row->end;
	out->pred = row->pred;
	out->windows = row->windows;
	out->best_start = row->best_start;
	out->best_end = row->best_end;
	out->strand = row->strand;
	snprintf(out->name, sizeof out->name, "%s", row->contig);
	memcpy(out->p, row->probabilities, sizeof out->p);
	return CROCUTA_OK;
}

/* Windows of `width` every `step` of `contigs` contigs, on one strand or both; a share is left out
 * as one of too many N would be; classes in runs, some of them of the same probability. */
static void make_windows(uint64_t seed, int contigs, int both, int64_t step, int64_t width)
{
	uint64_t state = seed;
	int64_t pred[2] = {-1, 0};

	windows.count = 0;
	for (int c = 0; c < contigs; c++)
		for (int64_t i = 0; i < 30; i++)
			for (int s = 0; s <= both; s++) {
				struct row *w = &windows.rows[windows.count];

				if (next(&state) % 3 == 0)
					pred[s] = (int64_t)(next(&state) % (CLASSES + 1)) - 1;
				if (next(&state) % 8 == 0)
					continue;
				memset(w, 0, sizeof *w);
				w->contig = c;
				snprintf(w->name, sizeof w->name, "c%d", c);
				w->start = i * step;
				w->end = w->start + width;
				w->strand = s ? '-' : '+';
				w->pred = pred[s];
				for (int k = 0; k < CLASSES; k++)
					w->p[k] = (double)(next(&state) % 5) / 5;
				windows.count++;
			}
}

static int order_of(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->contig != b->contig)
		return a->contig < b->contig ? -1 : 1;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->end != b->end)
		return a->end < b->end ? -1 : 1;
	return (a->strand > b->strand) - (a->strand < b->strand);
}

/* Strand by strand over all windows at once, then sorted. */
static void merge_plainly(void)
{
	wanted.count = 0;
	for (int s = 0; s < 2; s++) {
		struct row *run = NULL;

		for (int64_t i = 0; i < windows.count; i++) {
			const struct row *w = &windows.rows[i];

			if (w->strand != "+-"[s])
				continue;
			if (run && (run->contig != w->contig || run->pred != w->pred ||
				    w->start > run->end))
				run = NULL;
			if (w->pred < 0)
				continue;
			if (!run) {
				run = &wanted.rows[wanted.count++];
				*run = *w;
				run->best_start = w->start;
				run->best_end = w->end;
			}
			run->windows++;
			run->end = w->end;
			if (w->p[w->pred] > run->p[w->pred]) {
				memcpy(run->p, w->p, sizeof run->p);
				run->best_start = w->start;
				run->best_end = w->end;
			}
		}
	}
	qsort(wanted.rows, (size_t)wanted.count, sizeof *wanted.rows, order_of);
}

static int add(cr_merge *merge, const struct row *w, crocuta_error *error)
{
	char name[8];
	double p[CLASSES];
	cr_feature_item item = {.contig = name,
				.strand = w->strand,
				.start = w->start,
				.end = w->end,
				.tag = w->contig};
	int code;

	memcpy(name, w->name, sizeof name);
	memcpy(p, w->p, sizeof p);
	code = cr_merge_add(merge, &item, w->pred, p, error);
	memset(name, 'x', sizeof name - 1); /* neither is borrowed beyond the call */
	for (int k = 0; k < CLASSES; k++)
		p[k] = NAN;
	return code;
}

static int merge_all(crocuta_error *error)
{
	cr_merge *merge = cr_merge_new(CLASSES, keep, &seen);
	int code = CROCUTA_OK;

	seen.count = 0;
	if (!merge)
		return CROCUTA_EMEMORY;
	for (int64_t i = 0; i < windows.count && !code; i++)
		code = add(merge, &windows.rows[i], error);
	if (!code)
		code = cr_merge_finish(merge, error);
	cr_merge_free(merge);
	return code;
}

static void compare_rows(uint64_t seed)
{
	if (seen.count != wanted.count)
		fail_msg("seed %llu: %lld rows, wanted %lld", (unsigned long long)seed,
			 (long long)seen.count, (long long)wanted.count);
	for (int64_t i = 0; i < seen.count; i++) {
		const struct row *a = &seen.rows[i], *b = &wanted.rows[i];

		if (memcmp(a, b, sizeof *a))
			fail_msg("seed %llu row %lld: %s:%lld-%lld %c class %lld, %lld windows, "
				 "best "
				 "%lld; wanted %s:%lld-%lld %c class %lld, %lld windows, best %lld",
				 (unsigned long long)seed, (long long)i, a->name,
				 (long long)a->start, (long long)a->end, a->strand,
				 (long long)a->pred, (long long)a->windows,
				 (long long)a->best_start, b->name, (long long)b->start,
				 (long long)b->end, b->strand, (long long)b->pred,
				 (long long)b->windows, (long long)b->best_start);
	}
}

static void rows_are_those_of_a_plain_merge(void **state)
{
	/* overlapping, touching, with gaps */
	static const int64_t steps[] = {3, 10, 11};
	crocuta_error error = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 600; seed++) {
		make_windows(seed, 3, seed % 2, steps[seed / 2 % 3], 10);
		merge_plainly();
		assert_int_equal(merge_all(&error), 0);
		assert_true(wanted.count > 0);
		compare_rows(seed);
	}
}

/* A row waits only for an open run of the other strand that began before it: a head without
 * background, with a call for every window, must not hoard a chromosome. */
static void rows_come_as_soon_as_they_can(void **state)
{
	crocuta_error error = {0};
	cr_merge *merge = cr_merge_new(CLASSES, keep, &seen);

	(void)state;
	seen.count = 0;
	for (int64_t i = 0; i < 100; i++) {
		struct row w = {.start = 5 * i,
				.end = 5 * i + 10,
				.pred = i % 2,
				.strand = '+',
				.name = "c"};

		assert_int_equal(add(merge, &w, &error), 0);
		assert_int_equal(seen.count, i);
	}
	assert_int_equal(cr_merge_finish(merge, &error), 0);
	assert_int_equal(seen.count, 100);
	cr_merge_free(merge);

	merge = cr_merge_new(CLASSES, keep, &seen);
	seen.count = 0;
	for (int64_t i = 0; i < 10; i++) {
		struct row forward = {
			.start = 5 * i, .end = 5 * i + 10, .pred = 0, .strand = '+', .name = "c"};
		struct row reverse = forward;

		reverse.strand = '-';
		reverse.pred = i % 2 ? 1 : -1;
		assert_int_equal(add(merge, &forward, &error), 0);
		assert_int_equal(add(merge, &reverse, &error), 0);
		assert_int_equal(seen.count, 0); /* the forward run is open, and is the first row */
	}
	assert_int_equal(cr_merge_finish(merge, &error), 0);
	assert_int_equal(seen.count, 6);
	assert_int_equal(seen.rows[0].windows, 10);
	cr_merge_free(merge);
}

static void nothing_called_gives_no_rows(void **state)
{
	crocuta_error error = {0};
	cr_merge *merge = cr_merge_new(CLASSES, keep, &seen);
	const struct row w = {.end = 10, .pred = -1, .strand = '+', .name = "c"};

	(void)state;
	seen.count = 0;
	assert_int_equal(add(merge, &w, &error), 0);
	assert_int_equal(cr_merge_finish(merge, &error), 0);
	assert_int_equal(cr_merge_finish(merge, &error), 0);
	assert_int_equal(seen.count, 0);
	cr_merge_free(merge);
	cr_merge_free(NULL);
}

static void a_sink_that_fails_ends_it(void **state)
{
	(void)state;
	make_windows(7, 3, 1, 3, 10);
	merge_plainly();
	assert_true(wanted.count > 10);
	for (int64_t at = 1; at <= wanted.count; at++) {
		crocuta_error error = {0};

		seen.fail_at = at;
		assert_int_equal(merge_all(&error), CROCUTA_EIO);
		assert_int_equal(seen.count, at);
		assert_string_equal(error.message, "the disk is full");
	}
	seen.fail_at = 0;
}

static void every_allocation_may_fail(void **state)
{
	crocuta_error error = {0};
	int64_t needed;

	(void)state;
	make_windows(3, 2, 1, 3, 10);
	cr_memory_fail_at(0);
	assert_int_equal(merge_all(&error), 0);
	needed = cr_memory_count();
	assert_true(needed > 20);
	for (int64_t n = 1; n <= needed; n++) {
		cr_memory_fail_at(n);
		assert_int_equal(merge_all(&error), CROCUTA_EMEMORY);
		cr_memory_fail_at(0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_those_of_a_plain_merge),
		cmocka_unit_test(rows_come_as_soon_as_they_can),
		cmocka_unit_test(nothing_called_gives_no_rows),
		cmocka_unit_test(a_sink_that_fails_ends_it),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
