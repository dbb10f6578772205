/* score_batch.c - the records, ALTs and changes that are computed together, and their order. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define BLOCK_BYTES ((int64_t)64 << 10)

/* Bases of alleles; a list, so that what points into it stays. */
struct cr_score_block {
	cr_score_block *next;
	int64_t used, capacity;
	char bytes[];
};

static void *add_element(void **items, int64_t *count, int64_t *capacity, size_t size)
{
	char *element;

	if (*count == *capacity) {
		int64_t more = *capacity ? *capacity * 2 : 256;
		void *grown = cr_realloc(*items, (size_t)more, size);

		if (!grown)
			return NULL;
		*items = grown;
		*capacity = more;
	}
	element = (char *)*items + (size_t)(*count)++ * size;
	return memset(element, 0, size);
}

cr_score_record *cr_score_add_record(cr_score_batch *b)
{
	void *items = b->records;
	cr_score_record *record =
		add_element(&items, &b->record_count, &b->record_capacity, sizeof *record);

	b->records = items;
	return record;
}

cr_score_unit *cr_score_add_unit(cr_score_batch *b)
{
	void *items = b->units;
	cr_score_unit *unit = add_element(&items, &b->unit_count, &b->unit_capacity, sizeof *unit);

	b->units = items;
	return unit;
}

cr_score_change *cr_score_add_change(cr_score_batch *b)
{
	void *items = b->changes;
	cr_score_change *change =
		add_element(&items, &b->change_count, &b->change_capacity, sizeof *change);

	b->changes = items;
	return change;
}

char *cr_score_add_bases(cr_score_batch *b, int64_t bytes)
{
	cr_score_block *block = b->bases;

	if (!block || block->capacity - block->used < bytes) {
		int64_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;

		block = cr_calloc(1, sizeof *block + (size_t)capacity);
		if (!block)
			return NULL;
		block->capacity = capacity;
		block->next = b->bases;
		b->bases = block;
	}
	block->used += bytes;
	return block->bytes + block->used - bytes;
}

/* ---- order ----------------------------------------------------------------------------------- */

static int compare_numbers(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_windows(const cr_score_change *a, const cr_score_change *b)
{
	int order = compare_numbers(a->contig, b->contig);

	if (!order)
		order = compare_numbers(a->reverse, b->reverse);
	if (!order)
		order = compare_numbers(a->placed.start, b->placed.start);
	return order ? order : compare_numbers(a->placed.end, b->placed.end);
}

int cr_score_same_window(const cr_score_change *a, const cr_score_change *b)
{
	return !compare_windows(a, b);
}

/* 0: the same change. */
static int compare_changes(const cr_score_change *a, const cr_score_change *b)
{
	int order = compare_windows(a, b);

	if (!order)
		order = compare_numbers(a->allele.at, b->allele.at);
	if (!order)
		order = compare_numbers(a->allele.removed, b->allele.removed);
	if (!order)
		order = compare_numbers(a->allele.inserted, b->allele.inserted);
	return order ? order : memcmp(a->allele.bases, b->allele.bases, (size_t)a->allele.inserted);
}

static int compare_pointers(const void *a, const void *b)
{
	const cr_score_change *one = *(const cr_score_change *const *)a;
	const cr_score_change *other = *(const cr_score_change *const *)b;
	int order = compare_changes(one, other);

	return order ? order : (one > other) - (one < other);
}

int cr_score_sort(cr_score_batch *b, crocuta_error *error)
{
	const cr_score_change **items = cr_calloc((size_t)b->change_count + 1, sizeof *items);
	int64_t count = 0;

	if (items && b->order_capacity < b->change_count) {
		int64_t *order = cr_realloc(b->order, (size_t)b->change_count, sizeof *order);

		if (order) {
			b->order = order;
			b->order_capacity = b->change_count;
		}
	}
	if (!items || b->order_capacity < b->change_count) {
		cr_free(items);
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for %lld changes",
			       (long long)b->change_count);
	}
	for (int64_t i = 0; i < b->change_count; i++) {
		b->changes[i].same = i;
		if (b->changes[i].placed.count > 0)
			items[count++] = &b->changes[i];
	}
	qsort(items, (size_t)count, sizeof *items, compare_pointers);
	b->order_count = 0;
	for (int64_t i = 0; i < count; i++) {
		const int64_t index = items[i] - b->changes;

		if (i && !compare_changes(items[i], items[i - 1]))
			b->changes[index].same = items[i - 1]->same;
		else
			b->order[b->order_count++] = index;
	}
	cr_free(items);
	return CROCUTA_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

void cr_score_clear(cr_score *score, cr_score_batch *b)
{
	for (int64_t i = 0; i < b->record_count; i++)
		if (b->records[i].variant)
			cr_variant_free(score->variants, b->records[i].variant);
	while (b->bases) {
		cr_score_block *next = b->bases->next;

		cr_free(b->bases);
		b->bases = next;
	}
	b->record_count = b->unit_count = b->change_count = b->order_count = 0;
}

void cr_score_free_batch(cr_score *score, cr_score_batch *b)
{
	cr_score_clear(score, b);
	cr_free(b->records);
	cr_free(b->units);
	cr_free(b->changes);
	cr_free(b->order);
	memset(b, 0, sizeof *b);
}
