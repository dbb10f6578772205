/* parts.h - which positions of a sequence each of several GPUs computes.
 *
 * A sequence is cut in contiguous parts. Parts begin at multiples of `unit` positions: whole tiles of
 * the local pass, and whole columns of the far field (near_far.cu), which are a block or a pair of
 * blocks. The first parts have a unit more where the units cannot be shared evenly, for later parts see
 * more of the far field; where there are fewer units than parts, the last parts are empty.
 */
#ifndef CR_CUDA_PARTS_H
#define CR_CUDA_PARTS_H

#include <stdint.h>

#include "backend/cuda/cuda.h"

/* Rows of a tile of the local pass. */
#define CR_CUDA_PART_ROWS 256

typedef struct cr_cuda_cut {
	int64_t length; /* positions, padded */
	int64_t unit;
	int parts;
} cr_cuda_cut;

/* How a sequence of a padded length is shared. block, rank: of the near/far form (options). What is short
 * enough to be convolved directly, or has no near/far form, is all of part 0. */
static inline cr_cuda_cut cr_cuda_cut_of(int64_t length, int64_t block, int rank, int parts)
{
	const int64_t column = rank <= 8 ? 2 * block : block;
	cr_cuda_cut cut = {length, column > CR_CUDA_PART_ROWS ? column : CR_CUDA_PART_ROWS, parts};

	if (length <= CR_CUDA_DIRECT_MAX || !block || parts < 2)
		cut.unit = length;
	return cut;
}

static inline int64_t cr_cuda_cut_units(const cr_cuda_cut *cut)
{
	return (cut->length + cut->unit - 1) / cut->unit;
}

/* First position of a part; of part `parts` the length. */
static inline int64_t cr_cuda_cut_start(const cr_cuda_cut *cut, int part)
{
	const int64_t units = cr_cuda_cut_units(cut);
	const int64_t each = units / cut->parts, more = units % cut->parts;
	const int64_t start = (part * each + (part < more ? part : more)) * cut->unit;

	return start < cut->length ? start : cut->length;
}

static inline int64_t cr_cuda_cut_count(const cr_cuda_cut *cut, int part)
{
	return cr_cuda_cut_start(cut, part + 1) - cr_cuda_cut_start(cut, part);
}

/* Parts that have positions: 0 .. that - 1. */
static inline int cr_cuda_cut_used(const cr_cuda_cut *cut)
{
	const int64_t units = cr_cuda_cut_units(cut);

	return units < cut->parts ? (int)units : cut->parts;
}

/* Positions that a part has at most, of any sequence up to a padded length. */
static inline int64_t cr_cuda_cut_most(int64_t length, int64_t block, int rank, int parts)
{
	const cr_cuda_cut cut = cr_cuda_cut_of(length, block, rank, parts);
	const int64_t share = cr_cuda_cut_count(&cut, 0);
	const int64_t whole = length < CR_CUDA_DIRECT_MAX ? length : CR_CUDA_DIRECT_MAX;

	return share > whole ? share : whole;
}

#endif
