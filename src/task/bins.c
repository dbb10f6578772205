/* bins.c - see bins.h. */
#include "task/bins.h"

#include <math.h>
#include <string.h>

#include <crocuta/embed.h>

#include "base/memory.h"

#define CHUNK_FLOATS 65536

typedef struct open_row {
	cr_pool pool;
	int64_t row;   /* -1: free */
	int64_t taken; /* vectors seen, with a value or without */
} open_row;

struct cr_bins {
	cr_bins_options options;
	int used[2]; /* strands: forward, reverse */
	int primary; /* the strand whose N are counted */
	int64_t start, end, bin, extra, rows;
	int64_t front;          /* next row to hand over */
	float *ring[2];         /* (capacity, width) */
	unsigned char *done[2]; /* (capacity) */
	int64_t *n_bases;       /* (capacity) */
	open_row open[2][CR_BINS_OPEN];
	double *pools; /* (2, CR_BINS_OPEN, width) */
	float *chunk;  /* rows on their way out */
	int64_t *chunk_n;
	int64_t chunk_rows;
};

int64_t cr_bins_columns(const cr_bins_options *options)
{
	return options->strands == CROCUTA_STRANDS_CONCAT ? 2 * options->width : options->width;
}

static int strands_in(int strands)
{
	return strands == CROCUTA_STRANDS_BOTH || strands == CROCUTA_STRANDS_CONCAT ? 2 : 1;
}

static int64_t chunk_rows_of(const cr_bins_options *options)
{
	int64_t rows = CHUNK_FLOATS / cr_bins_columns(options);

	return rows > 1 ? rows : 1;
}

int64_t cr_bins_bytes(const cr_bins_options *options)
{
	int64_t row = options->width * (int64_t)sizeof(float),
		strands = strands_in(options->strands);

	return options->capacity * (strands * (row + 1) + 8) + 16 * CR_BINS_OPEN * options->width +
	       chunk_rows_of(options) * (cr_bins_columns(options) * 4 + 8);
}

cr_bins *cr_bins_new(const cr_bins_options *options)
{
	cr_bins *bins = cr_calloc(1, sizeof *bins);
	int64_t capacity = options->capacity, width = options->width;
	int failed;

	if (!bins)
		return NULL;
	bins->options = *options;
	bins->used[0] = options->strands != CROCUTA_STRANDS_REVERSE;
	bins->used[1] = options->strands != CROCUTA_STRANDS_FORWARD;
	bins->primary = !bins->used[0];
	bins->chunk_rows = chunk_rows_of(options);
	bins->chunk = cr_floats(bins->chunk_rows * cr_bins_columns(options));
	bins->chunk_n = cr_calloc((size_t)bins->chunk_rows, sizeof *bins->chunk_n);
	bins->n_bases = cr_calloc((size_t)capacity, sizeof *bins->n_bases);
	bins->pools = cr_calloc((size_t)(2 * CR_BINS_OPEN * width), sizeof *bins->pools);
	failed = !bins->chunk || !bins->chunk_n || !bins->n_bases || !bins->pools;
	for (int strand = 0; strand < 2 && !failed; strand++) {
		for (int i = 0; i < CR_BINS_OPEN; i++) {
			open_row *open = &bins->open[strand][i];

			open->row = -1;
			open->pool.kind = options->pool;
			open->pool.columns = width;
			open->pool.values = bins->pools + (strand * CR_BINS_OPEN + i) * width;
		}
		if (!bins->used[strand])
			continue;
		bins->ring[strand] = cr_floats(capacity * width);
		bins->done[strand] = cr_calloc((size_t)capacity, 1);
		failed = !bins->ring[strand] || !bins->done[strand];
	}
	if (!failed)
		return bins;
	cr_bins_free(bins);
	return NULL;
}

void cr_bins_free(cr_bins *bins)
{
	if (!bins)
		return;
	for (int strand = 0; strand < 2; strand++) {
		cr_free(bins->ring[strand]);
		cr_free(bins->done[strand]);
	}
	cr_free(bins->chunk);
	cr_free(bins->chunk_n);
	cr_free(bins->n_bases);
	cr_free(bins->pools);
	cr_free(bins);
}

void cr_bins_start(cr_bins *bins, int64_t start, int64_t end, int64_t bin, int64_t extra)
{
	bins->start = start;
	bins->end = end;
	bins->bin = bin;
	bins->extra = extra;
	bins->rows = (end - start - 1) / bin + 1;
	bins->front = 0;
	for (int strand = 0; strand < 2; strand++)
		for (int i = 0; i < CR_BINS_OPEN; i++)
			bins->open[strand][i].row = -1;
}

static int row_ready(const cr_bins *bins, int64_t row)
{
	int64_t slot = row % bins->options.capacity;

	return row < bins->rows && (!bins->used[0] || bins->done[0][slot]) &&
	       (!bins->used[1] || bins->done[1][slot]);
}

/* One value of both strands: their mean, or the one that exists. */
static float mean_of(float forward, float reverse)
{
	if (isnan(forward))
		return reverse;
	if (isnan(reverse))
		return forward;
	return 0.5f * forward + 0.5f * reverse;
}

static void put_row(cr_bins *bins, int64_t slot, float *out)
{
	int64_t width = bins->options.width;
	const float *forward = bins->used[0] ? bins->ring[0] + slot * width : NULL;
	const float *reverse = bins->used[1] ? bins->ring[1] + slot * width : NULL;
	size_t bytes = (size_t)width * sizeof(float);

	switch (bins->options.strands) {
	case CROCUTA_STRANDS_FORWARD:
		memcpy(out, forward, bytes);
		break;
	case CROCUTA_STRANDS_REVERSE:
		memcpy(out, reverse, bytes);
		break;
	case CROCUTA_STRANDS_BOTH:
		for (int64_t i = 0; i < width; i++)
			out[i] = mean_of(forward[i], reverse[i]);
		break;
	default:
		memcpy(out, forward, bytes);
		memcpy(out + width, reverse, bytes);
	}
}

int cr_bins_flush(cr_bins *bins, int whole)
{
	int64_t columns = cr_bins_columns(&bins->options);

	while (row_ready(bins, bins->front)) {
		int64_t first = bins->front, count = 0;
		int code;

		while (count < bins->chunk_rows && row_ready(bins, bins->front)) {
			int64_t slot = bins->front % bins->options.capacity;

			put_row(bins, slot, bins->chunk + count * columns);
			bins->chunk_n[count++] = bins->n_bases[slot];
			bins->n_bases[slot] = 0;
			for (int strand = 0; strand < 2; strand++)
				if (bins->used[strand])
					bins->done[strand][slot] = 0;
			bins->front++;
		}
		code = bins->options.sink(bins->options.user, first, count, bins->chunk,
					  bins->chunk_n);
		if (code)
			return code;
	}
	return whole && bins->front != bins->rows ? CROCUTA_EINTERNAL : 0;
}

static open_row *find_open(cr_bins *bins, int strand, int64_t row)
{
	open_row *unused = NULL;

	for (int i = 0; i < CR_BINS_OPEN; i++) {
		open_row *open = &bins->open[strand][i];

		if (open->row == row)
			return open;
		if (open->row < 0)
			unused = open;
	}
	if (!unused)
		return NULL;
	unused->row = row;
	unused->taken = 0;
	cr_pool_clear(&unused->pool);
	return unused;
}

/* Bases of a row; all rows but the last have `bin`. */
static int64_t bases_of_row(const cr_bins *bins, int64_t row)
{
	int64_t left = bins->end - bins->start - row * bins->bin;

	return left < bins->bin ? left : bins->bin;
}

static int is_last(const cr_bins *bins, const cr_bins_vector *vector, int64_t row)
{
	int64_t offset = vector->position - bins->start - row * bins->bin;

	if (bins->extra)
		return vector->is_last;
	return offset == (vector->reverse ? 0 : bases_of_row(bins, row) - 1);
}

static void finish_row(cr_bins *bins, int strand, int64_t row, const float *values)
{
	int64_t width = bins->options.width, slot = row % bins->options.capacity;
	float *out = bins->ring[strand] + slot * width;

	if (values)
		memcpy(out, values, (size_t)width * sizeof *out);
	else
		for (int64_t i = 0; i < width; i++)
			out[i] = NAN;
	bins->done[strand][slot] = 1;
}

/* Is there room for vectors of this row? Flushes when not. */
static int make_room(cr_bins *bins, int strand, int64_t row)
{
	if (row - bins->front >= bins->options.capacity) {
		int code = cr_bins_flush(bins, 0);

		if (code)
			return code;
	}
	if (row < bins->front || row >= bins->rows || row - bins->front >= bins->options.capacity ||
	    !bins->used[strand])
		return CROCUTA_EINTERNAL;
	return 0;
}

/* `count` vectors were taken: a row that is full leaves the open ones. */
static void count_taken(cr_bins *bins, int strand, open_row *open, int64_t count)
{
	int64_t row = open->row, slot = row % bins->options.capacity;

	open->taken += count;
	if (open->taken < bases_of_row(bins, row) + bins->extra)
		return;
	cr_pool_result(&open->pool, bins->ring[strand] + slot * bins->options.width);
	bins->done[strand][slot] = 1;
	open->row = -1;
}

int cr_bins_take(cr_bins *bins, const cr_bins_vector *vector)
{
	int strand = vector->reverse != 0;
	int64_t row = (vector->position - bins->start) / bins->bin, slot;
	open_row *open;
	int code = make_room(bins, strand, row);

	if (code)
		return code;
	slot = row % bins->options.capacity;
	if (strand == bins->primary)
		bins->n_bases[slot] += vector->is_n;
	if (bins->bin == 1 && !bins->extra) {
		finish_row(bins, strand, row, vector->values);
		return 0;
	}
	open = find_open(bins, strand, row);
	if (!open)
		return CROCUTA_EINTERNAL;
	if (vector->values)
		cr_pool_take(&open->pool, vector->values, is_last(bins, vector, row));
	count_taken(bins, strand, open, 1);
	return 0;
}

int cr_bins_take_segment(cr_bins *bins, const cr_bins_segment *segment)
{
	int strand = segment->reverse != 0, ends_row;
	int64_t row = (segment->start - bins->start) / bins->bin, row_start;
	open_row *open;
	int code = make_room(bins, strand, row);

	if (code)
		return code;
	open = find_open(bins, strand, row);
	row_start = bins->start + row * bins->bin;
	if (!open || segment->end > row_start + bases_of_row(bins, row))
		return CROCUTA_EINTERNAL;
	if (strand == bins->primary)
		bins->n_bases[row % bins->options.capacity] += segment->n_bases;
	if (bins->extra)
		ends_row = segment->is_last;
	else if (segment->reverse)
		ends_row = segment->start == row_start;
	else
		ends_row = segment->end == row_start + bases_of_row(bins, row);
	cr_pool_merge(&open->pool, segment->values, segment->count, ends_row);
	count_taken(bins, strand, open, segment->count);
	return 0;
}
