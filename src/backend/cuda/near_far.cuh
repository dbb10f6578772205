/* near_far.cuh - the tables of near_far.cu, which near_far_build.cu fills.
 *
 * Matrices are kept as operands A of mma.m16n8k16: a tile of 16 x 16 values is 32 lanes x 4 words,
 * and lane 4 g + t holds pairs of neighbouring columns: word 0 row g, columns 2t and 2t + 1; word 1
 * the same of row g + 8; words 2 and 3 those of columns 2t + 8 and 2t + 9. Values are in half
 * precision, times a power of two; with two parts, the rounded value and the rounded rest.
 */
#ifndef CR_CUDA_NEAR_FAR_CUH
#define CR_CUDA_NEAR_FAR_CUH

#include "backend/cuda/internal.cuh"

/* Zeros behind tap 0 in the reversed taps: the upper triangle of a tile on the diagonal. */
#define CR_NEAR_ZEROS 16
#define CR_NEAR_TAPS (CR_CUDA_DIRECT_MAX + CR_NEAR_ZEROS)

/* Interpolation weights are at most about 1. */
#define CR_FAR_WEIGHT_SCALE 4096.0f

struct cr_cuda_near_far {
	int parts;     /* 1, or 2 of CR_CUDA_F32 */
	int64_t block; /* 0: short sequences only */
	int rank;
	int held;          /* moments that are stored for a block: 8 or 16; the rest is zero */
	int64_t distances; /* between blocks that have tables, with 0 */
	int64_t capacity;  /* blocks that moments and far have room for, a channel */
	/* (N, D, parts, 2, CR_NEAR_TAPS): tap CR_CUDA_DIRECT_MAX - i at i, and a copy that is one
	 * step later, so that pairs of taps begin at even places in the one or the other */
	__half *taps;
	float *tap_unscale; /* (N, D) */
	uint4 *weights;     /* (block / 16, parts, 32): nodes x positions */
	uint4 *points;      /* (block / 16, parts, 32): positions x nodes */
	/* h(d B + node - node) of each distance d; zero at d = 0. held 16: (N, D, distances, parts,
	 * 32, 4); held 8: (N, D, distances, 32, parts), word 0 of a tile only */
	uint32_t *tables;
	float *table_unscale; /* (N, D) */
	float *moments,
		*far; /* (D, capacity, held): of a block's input; of the output at its nodes */
};

/* Words of one channel's far tables. */
static inline int64_t cr_far_table_words(const struct cr_cuda_near_far *f)
{
	return f->distances * f->parts * 32 * (f->held == 16 ? 4 : 1);
}

#endif
