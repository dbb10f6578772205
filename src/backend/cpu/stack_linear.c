/* stack_linear.c - y = x W' + bias on the CPU, weights row-major in float32 or bfloat16.
 *
 * Rows of x go to lines once, in tiles of ROWS. A task takes a group of output columns (and,
 * where there are fewer groups than threads, a part of the tiles), packs DEPTH inputs of them
 * for the product at a time, and multiplies all its tiles before it packs the next: so each
 * weight is unpacked once a call, and never more than DEPTH times GROUP of them are there. Up
 * to MOST_FLOATS of x are in lines at once; more rows than that take another round.
 */
#include <omp.h>
#include <string.h>

#include "backend/cpu/stack_cpu.h"
#include "base/error.h"

#define ROWS 252  /* of a tile: a multiple of the kernels' row steps; with DEPTH inputs 256 KB */
#define SLACK 14  /* rows between the blocks of a tile, against addresses equal modulo 4 KB */
#define DEPTH 256 /* inputs at a time: 32 columns of them fill 32 KB of the first-level cache */
#define GROUP 256 /* output columns of a task, at most */
#define MOST_FLOATS ((int64_t)8 << 20)

/* How a call is cut. */
typedef struct plan {
	int64_t k_lines;
	int64_t tile;  /* floats of a tile's lines */
	int64_t tiles; /* at once */
	int64_t group, groups, parts;
	int64_t each; /* floats of a thread */
	int threads;
} plan;

static plan plan_of(const cr_stack_device *device, const cr_stack_linear *a)
{
	const cr_matrix *m = a->matrix;
	plan p = {.k_lines = cr_lines(m->columns), .group = GROUP, .parts = 1};
	int64_t all = (a->rows + ROWS - 1) / ROWS, most;

	p.threads = cr_cpu_team(device, (double)a->rows * (double)m->rows * (double)m->columns / 8);
	/* a single tile is as high as needed */
	p.tile = p.k_lines * ((all > 1 ? ROWS : a->rows) + SLACK) * CR_LINE;
	most = MOST_FLOATS / p.tile;
	p.tiles = all < most ? all : most > 1 ? most : 1;
	while (p.group > CR_LINE && (m->rows + p.group - 1) / p.group < 2 * p.threads)
		p.group /= 2;
	p.groups = (m->rows + p.group - 1) / p.group;
	while (p.parts < p.tiles && p.groups * p.parts < p.threads)
		p.parts++;
	p.each = DEPTH * p.group + p.group * (p.tiles * ROWS + SLACK);
	return p;
}

/* Block number `block` of 32 channels of tile `tile` to its place. */
static void pack_x(const cr_stack_linear *a, const plan *p, int64_t first, int64_t tile,
		   int64_t block, float *lines)
{
	const int64_t from = first + tile * ROWS, left = a->rows - from;
	const int64_t height = p->tile / p->k_lines;

	cr_cpu_to_lines((const float *)a->x + from * a->x_stride + block * CR_LINE, a->x_stride,
			left < ROWS ? left : ROWS, a->matrix->columns - block * CR_LINE,
			lines + tile * p->tile + block * height);
}

/* Columns [column, + columns) of rows first + ROWS * [tile, end). */
static void multiply(const cr_stack_device *device, const cr_stack_linear *a, const plan *p,
		     const float *lines, int64_t first, int64_t tile, int64_t end, int64_t column,
		     int64_t columns, float *scratch)
{
	const cr_kernels *kernels = device->kernels;
	const cr_matrix *m = a->matrix;
	const int64_t height = p->tile / p->k_lines, wide = cr_lines(columns) * CR_LINE;
	const int64_t size = cr_number_bytes(m->type);
	const int64_t c_stride = (p->tiles * ROWS + SLACK) * CR_LINE;
	float *packed = scratch, *sums = packed + DEPTH * p->group;
	const int64_t from = first + tile * ROWS;
	const int64_t most = (end - tile) * ROWS,
		      rows = a->rows - from < most ? a->rows - from : most;

	for (int64_t k = 0; k < m->columns; k += DEPTH) {
		const int64_t depth = m->columns - k < DEPTH ? m->columns - k : DEPTH;

		kernels->pack_columns((const char *)m->values + (column * m->columns + k) * size,
				      m->type == CR_NUMBER_BF16, m->columns, columns, depth,
				      packed);
		for (int64_t t = tile; t < end; t++) {
			const int64_t row = (t - tile) * ROWS, left = rows - row;

			kernels->product(lines + t * p->tile + k / CR_LINE * height, height,
					 cr_lines(depth), packed, wide, sums + row * CR_LINE,
					 c_stride, left < ROWS ? left : ROWS, k > 0);
		}
	}
	for (int64_t c = 0; c < columns; c += CR_LINE)
		kernels->from_lines(sums + c / CR_LINE * c_stride, rows, columns - c,
				    m->bias ? m->bias + column + c : NULL, NULL,
				    a->target == CR_LINEAR_ADD,
				    (float *)a->y + from * a->y_stride + column + c, a->y_stride);
}

int cr_cpu_stack_linear(cr_stack_device *device, const cr_stack_linear *a, crocuta_error *error)
{
	const cr_matrix *m = a->matrix;
	float *scratch;
	plan p;

	if (m->columns < 1 || (m->type != CR_NUMBER_F32 && m->type != CR_NUMBER_BF16) ||
	    (a->target != CR_LINEAR_STORE && a->target != CR_LINEAR_ADD &&
	     a->target != CR_LINEAR_WIDE))
		return cr_fail(error, CROCUTA_EARG, "matrix product of type %d with target %d",
			       m->type, a->target);
	if (a->rows < 1 || m->rows < 1)
		return 0;
	p = plan_of(device, a);
	if (cr_cpu_scratch(device, p.tiles * p.tile, p.each, p.threads, &scratch, error))
		return CROCUTA_EMEMORY;
#pragma omp parallel num_threads(p.threads) if (p.threads > 1)
	for (int64_t first = 0; first < a->rows; first += p.tiles * ROWS) {
		const int64_t left = (a->rows - first + ROWS - 1) / ROWS;
		const int64_t tiles = left < p.tiles ? left : p.tiles;

#pragma omp for schedule(static)
		for (int64_t i = 0; i < tiles * p.k_lines; i++)
			pack_x(a, &p, first, i / p.k_lines, i % p.k_lines, scratch);
#pragma omp for schedule(dynamic, 1)
		for (int64_t i = 0; i < p.groups * p.parts; i++) {
			const int64_t column = i / p.parts * p.group, part = i % p.parts;
			const int64_t columns = m->rows - column;
			const int64_t tile = tiles * part / p.parts;
			const int64_t end = tiles * (part + 1) / p.parts;

			if (tile < end)
				multiply(device, a, &p, scratch, first, tile, end, column,
					 columns < p.group ? columns : p.group,
					 scratch + p.tiles * p.tile +
						 omp_get_thread_num() * p.each);
		}
	}
	return 0;
}
