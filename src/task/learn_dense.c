/* learn_dense.c - dense inner loops of the learners: 4 rows against 2 rows of weights.
 *
 * Vectors of four floats, which every x86-64 and ARM has, so that a fit gives the same bytes on
 * each machine of a kind. */
#include <string.h>

#include "task/learn_internal.h"

#define CHUNK 256 /* columns summed in float before the sums go on in double */

typedef float lanes __attribute__((vector_size(16), aligned(4), may_alias));

static inline lanes load(const float *from)
{
	return *(const lanes *)from;
}

static inline lanes all(float value)
{
	return (lanes){value, value, value, value};
}

static inline double total(lanes sum)
{
	return ((double)sum[0] + (double)sum[1]) + ((double)sum[2] + (double)sum[3]);
}

/* Columns first .. last, whose number is a multiple of 4. `shifted` and `count` are constants, so
 * that each use gets a loop of its own. */
static inline __attribute__((always_inline)) void
dots_chunk(const float *const x[CR_TILE], const float *shift, int shifted, const float *const w[2],
	   int count, int64_t first, int64_t last, double sums[2 * CR_TILE])
{
	lanes sum[2 * CR_TILE] = {{0}};

	for (int64_t j = first; j < last; j += 4) {
		lanes w0 = load(w[0] + j), w1 = count == 2 ? load(w[1] + j) : w0;

#pragma GCC unroll 4
		for (int i = 0; i < CR_TILE; i++) {
			lanes value = load(x[i] + j);

			if (shifted)
				value -= load(shift + j);
			sum[2 * i] += value * w0;
			if (count == 2)
				sum[2 * i + 1] += value * w1;
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < 2 * CR_TILE; i++)
		sums[i] += total(sum[i]);
}

static inline __attribute__((always_inline)) void dots(const float *const x[CR_TILE],
						       const float *shift, int shifted,
						       const float *const w[2], int count,
						       int64_t columns, double sums[2 * CR_TILE])
{
	const int64_t whole = columns - columns % 4;

	memset(sums, 0, 2 * CR_TILE * sizeof *sums);
	for (int64_t first = 0; first < whole; first += CHUNK)
		dots_chunk(x, shift, shifted, w, count, first,
			   first + CHUNK < whole ? first + CHUNK : whole, sums);
	for (int64_t j = whole; j < columns; j++) {
		for (int i = 0; i < CR_TILE; i++) {
			float value = shifted ? x[i][j] - shift[j] : x[i][j];

			for (int k = 0; k < count; k++)
				sums[2 * i + k] += (double)value * (double)w[k][j];
		}
	}
}

void cr_dots(const float *const x[CR_TILE], const float *const w[2], int count, int64_t columns,
	     double sums[2 * CR_TILE])
{
	if (count == 2)
		dots(x, NULL, 0, w, 2, columns, sums);
	else
		dots(x, NULL, 0, w, 1, columns, sums);
}

void cr_dots_shifted(const float *const x[CR_TILE], const float *shift, const float *const w[2],
		     int count, int64_t columns, double sums[2 * CR_TILE])
{
	if (count == 2)
		dots(x, shift, 1, w, 2, columns, sums);
	else
		dots(x, shift, 1, w, 1, columns, sums);
}

static inline __attribute__((always_inline)) void
add_rows(const float *const x[CR_TILE], const float *shift, const float by[2 * CR_TILE],
	 int64_t columns, int count, float *const sums[2])
{
	lanes scale[2 * CR_TILE];
	int64_t j = 0;

	for (int i = 0; i < 2 * CR_TILE; i++)
		scale[i] = all(by[i]);
	for (; j + 4 <= columns; j += 4) {
		lanes sum0 = load(sums[0] + j), sum1 = count == 2 ? load(sums[1] + j) : sum0;

#pragma GCC unroll 4
		for (int i = 0; i < CR_TILE; i++) {
			lanes value = load(x[i] + j) - load(shift + j);

			sum0 += value * scale[2 * i];
			if (count == 2)
				sum1 += value * scale[2 * i + 1];
		}
		*(lanes *)(sums[0] + j) = sum0;
		if (count == 2)
			*(lanes *)(sums[1] + j) = sum1;
	}
	for (; j < columns; j++)
		for (int i = 0; i < CR_TILE; i++)
			for (int k = 0; k < count; k++)
				sums[k][j] += by[2 * i + k] * (x[i][j] - shift[j]);
}

void cr_add_rows(const float *const x[CR_TILE], const float *shift, const float by[2 * CR_TILE],
		 int64_t columns, int count, float *const sums[2])
{
	if (count == 2)
		add_rows(x, shift, by, columns, 2, sums);
	else
		add_rows(x, shift, by, columns, 1, sums);
}

void cr_outer(const float *x, int64_t width, const float *by, int64_t stride, int64_t rows,
	      float tile[2][16])
{
	lanes sum[8] = {{0}};

	for (int64_t r = 0; r < rows; r++) {
		lanes by0 = all(by[r * stride]), by1 = all(by[r * stride + 1]);

#pragma GCC unroll 4
		for (int i = 0; i < 4; i++) {
			lanes value = load(x + r * width + 4 * i);

			sum[i] += value * by0;
			sum[4 + i] += value * by1;
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		*(lanes *)(tile[i / 4] + i % 4 * 4) = sum[i];
}
