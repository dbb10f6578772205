/* learn_kmers.c - k-mer frequencies, the baseline that a model's vectors have to beat.
 *
 * Column of a k-mer of m letters: those of 1 .. m - 1 letters come before it, (4^m - 4) / 3 of
 * them, and it is a number of m digits in base 4, A C G T being 0 1 2 3, the first letter the
 * highest digit. Its value is 4^m times its share of the row's m-mers that are all ACGT: 1 where
 * all are equally common. */
#include "task/learn.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define LONGEST 8
#define COLUMNS_MAX 87380 /* (4^9 - 4) / 3 */

/* Rows of a sparse table, in arrays that grow. */
struct cr_kmers {
	int k;
	int64_t columns, rows, entries;
	int64_t rows_room, entries_room;
	int64_t *start;
	int32_t *column;
	float *value;
	int64_t *count; /* (columns), of the sequence being read; zeros between */
	uint64_t *seen; /* a bit a column, likewise */
};

static int64_t first_column(int length)
{
	return (((int64_t)1 << 2 * length) - 4) / 3;
}

static int digit(char base)
{
	switch (base) {
	case 'A':
	case 'a':
		return 0;
	case 'C':
	case 'c':
		return 1;
	case 'G':
	case 'g':
		return 2;
	case 'T':
	case 't':
		return 3;
	default:
		return -1;
	}
}

int cr_kmers_new(int k, cr_kmers **kmers, crocuta_error *error)
{
	cr_kmers *made;

	*kmers = NULL;
	if (k < 1 || k > LONGEST)
		return cr_fail(error, CROCUTA_EARG, "k-mers of %d bases: give 1 to %d", k, LONGEST);
	made = cr_calloc(1, sizeof *made);
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for k-mers");
	made->k = k;
	made->columns = first_column(k + 1);
	made->start = cr_calloc(1, sizeof *made->start);
	made->count = cr_calloc((size_t)made->columns, sizeof *made->count);
	made->seen = cr_calloc(COLUMNS_MAX / 64 + 1, sizeof *made->seen);
	made->rows_room = 1;
	if (!made->start || !made->count || !made->seen) {
		cr_kmers_free(made);
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for k-mers");
	}
	*kmers = made;
	return 0;
}

/* Count; places[m]: m-mers counted. Returns the number of columns seen. */
static int64_t count_kmers(cr_kmers *kmers, const char *bases, int64_t length, int64_t *places)
{
	int64_t distinct = 0, letters = 0; /* of ACGT in a row */
	uint32_t code = 0;

	for (int64_t i = 0; i < length; i++) {
		int next = digit(bases[i]);

		letters = next < 0 ? 0 : letters + 1;
		code = code << 2 | (uint32_t)(next & 3);
		for (int m = 1; m <= kmers->k && m <= letters; m++) {
			int64_t column = first_column(m) + (code & ((1u << 2 * m) - 1));

			distinct += !kmers->count[column]++;
			kmers->seen[column / 64] |= (uint64_t)1 << column % 64;
			places[m]++;
		}
	}
	return distinct;
}

/* Room for one more row of so many entries. 0: out of memory, and all is as it was. */
static int make_room(cr_kmers *kmers, int64_t entries)
{
	const int64_t wanted = kmers->entries + entries;

	if (kmers->rows + 2 > kmers->rows_room) {
		int64_t room = 2 * kmers->rows_room + 1;
		int64_t *start = cr_realloc(kmers->start, (size_t)room, sizeof *start);

		if (!start)
			return 0;
		kmers->start = start;
		kmers->rows_room = room;
	}
	if (wanted > kmers->entries_room) {
		int64_t room = wanted + wanted / 2;
		int32_t *column = cr_realloc(kmers->column, (size_t)room, sizeof *column);
		float *value;

		if (!column)
			return 0;
		kmers->column = column;
		value = cr_realloc(kmers->value, (size_t)room, sizeof *value);
		if (!value)
			return 0;
		kmers->value = value;
		kmers->entries_room = room;
	}
	return 1;
}

/* Move the counts into a row when keep, and clear them. */
static void take_counts(cr_kmers *kmers, const int64_t *places, int keep)
{
	int m = 1;

	for (int64_t word = 0; word <= kmers->columns / 64; word++) {
		for (; kmers->seen[word]; kmers->seen[word] &= kmers->seen[word] - 1) {
			int64_t column = 64 * word + __builtin_ctzll(kmers->seen[word]);

			while (column >= first_column(m + 1))
				m++;
			if (keep) {
				double share = (double)kmers->count[column] / (double)places[m];

				kmers->column[kmers->entries] = (int32_t)column;
				kmers->value[kmers->entries] =
					(float)(share * (double)((int64_t)1 << 2 * m));
				kmers->entries++;
			}
			kmers->count[column] = 0;
		}
	}
}

int cr_kmers_add(cr_kmers *kmers, const char *bases, int64_t length, crocuta_error *error)
{
	int64_t places[LONGEST + 1] = {0};
	int64_t distinct = count_kmers(kmers, bases, length, places);
	int fits = make_room(kmers, distinct);

	take_counts(kmers, places, fits);
	if (!fits)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "out of memory for the k-mers of %lld sequences",
			       (long long)kmers->rows + 1);
	kmers->rows++;
	kmers->start[kmers->rows] = kmers->entries;
	return 0;
}

cr_features cr_kmers_features(const cr_kmers *kmers)
{
	cr_features features = {.rows = kmers->rows,
				.columns = kmers->columns,
				.start = kmers->start,
				.column = kmers->column,
				.value = kmers->value};

	return features;
}

void cr_kmers_free(cr_kmers *kmers)
{
	if (!kmers)
		return;
	cr_free(kmers->start);
	cr_free(kmers->column);
	cr_free(kmers->value);
	cr_free(kmers->count);
	cr_free(kmers->seen);
	cr_free(kmers);
}
