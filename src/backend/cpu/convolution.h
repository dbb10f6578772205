/* convolution.h - the causal long convolution y = gate * (h * v), in blocks, with carried state.
 *
 * Positions are cut into blocks of B. Block j reaches block i through the taps at distances
 * (i-j-1)B+1 .. (i-j+1)B-1, one "segment" of the filter, by transforms of 2B points (see
 * kernels_fft.inc). Two forms share this:
 *   fft       every distance 0 .. reach is an exact segment;
 *   near/far  distances 0 and 1 are exact segments; beyond, the filter is so smooth that over the
 *             offsets qB - (B-1) .. qB + (B-1) it is interpolated from `rank` Chebyshev nodes a
 *             block: a source block is known by its moments, a target block receives values at its
 *             nodes, and a rank x rank table a distance and channel links them.
 * The error of the second form is sampled by a certificate (mixer/implicit_filter.h) before it is
 * chosen. The skip weight d is part of tap 0.
 */
#ifndef CR_CPU_CONVOLUTION_H
#define CR_CPU_CONVOLUTION_H

#include <crocuta/error.h>

#include "backend/cpu/kernels.h"

/* What all layers share; immutable once made. */
typedef struct cr_convolution_plan {
	const cr_kernels *kernels;
	int levels;       /* B = 2^levels */
	int64_t block;    /* B */
	int rank;         /* 0: fft */
	int64_t head;     /* positions at a sequence's start that are summed plainly: there values
			     are small, and a transform's rounding follows its block's largest */
	int64_t reach;    /* farthest distance between blocks that is summed */
	int64_t segments; /* exact ones: reach + 1, or 2 */
	int64_t groups;   /* blocks of 32 channels */
	int64_t chunk;    /* near/far: blocks in one run at most */
	int64_t slots;    /* near/far: blocks whose moments are kept, reach + chunk */
	float **twiddles;
	float *twist;     /* (B, 2) */
	float *nodes;     /* (B, rank): interpolation weight of each node at each position */
	double *node_positions; /* (rank), in 0 .. B-1 */
} cr_convolution_plan;

/* One layer's filter; immutable once built. */
typedef struct cr_convolution_filter {
	float *spectra; /* [groups][segments][2B + pad][32] */
	float *taps;    /* [groups][head][32] */
	float *tables;  /* [groups][reach - 1][rank][rank][32], distances from 2 */
} cr_convolution_filter;

/* What a stream carries from one chunk to the next, for one layer. */
typedef struct cr_convolution_state {
	float *spectra;  /* fft: [groups][segments][2B + pad][32] ring; near/far: [2][groups][...] */
	float *moments;  /* [groups][slots][rank][32] ring */
	int64_t blocks;  /* blocks consumed so far */
} cr_convolution_state;

/* A thread's scratch. */
typedef struct cr_convolution_scratch {
	float *lines;               /* near/far: two spectra, sum, far lines; fft: sum */
	float *ring;                /* fft without state: [ring_slots][2B + pad][32] */
	float *head;                /* (head, 32) */
	const float **spectra;      /* (segments) */
	const float **filter;       /* (segments) */
} cr_convolution_scratch;

/* Where taps come from: h in double for all channels, (count, 32 groups) row-major, channels past D
 * zero. `offsets` are real numbers >= 0. Tap 0 carries the skip weight. */
typedef int cr_filter_values(void *user, const double *offsets, int64_t count, double *values,
			     crocuta_error *error);

/* Barycentric interpolation weights (rank) of Chebyshev nodes of the first kind at x (Berrut and
 * Trefethen 2004, eq. 4.2). The certificate and the moments use the same ones. */
void cr_node_weights(const double *nodes, int rank, double x, double *weight);

int cr_convolution_plan_init(cr_convolution_plan *plan, const cr_kernels *kernels, int levels,
			     int rank, int64_t reach, int64_t groups, int64_t chunk,
			     crocuta_error *error);
void cr_convolution_plan_free(cr_convolution_plan *plan);

int64_t cr_convolution_filter_bytes(const cr_convolution_plan *plan);
int cr_convolution_filter_alloc(const cr_convolution_plan *plan, cr_convolution_filter *filter,
				crocuta_error *error);
/* Bytes that building one filter needs for a while, beside the evaluation of taps itself. */
int64_t cr_convolution_build_bytes(const cr_convolution_plan *plan);
/* Evaluate the taps and fill an allocated filter, on `threads` threads. */
int cr_convolution_filter_build(const cr_convolution_plan *plan, cr_convolution_filter *filter,
				cr_filter_values *values, void *user, int threads,
				crocuta_error *error);
void cr_convolution_filter_free(cr_convolution_filter *filter);

int64_t cr_convolution_state_bytes(const cr_convolution_plan *plan);
int cr_convolution_state_alloc(const cr_convolution_plan *plan, cr_convolution_state *state,
			       crocuta_error *error);
void cr_convolution_state_reset(const cr_convolution_plan *plan, cr_convolution_state *state);
void cr_convolution_state_free(cr_convolution_state *state);

/* ring_slots: blocks of the longest sequence that runs without state (fft only, else 0). */
int64_t cr_convolution_scratch_bytes(const cr_convolution_plan *plan, int64_t ring_slots);
int cr_convolution_scratch_alloc(const cr_convolution_plan *plan, int64_t ring_slots,
				 cr_convolution_scratch *scratch, crocuta_error *error);
void cr_convolution_scratch_free(cr_convolution_scratch *scratch);

/* Floats of far-field scratch that a run over `blocks` blocks needs. */
int64_t cr_convolution_far_floats(const cr_convolution_plan *plan, int64_t blocks);

/* What a run works on: lines of `rows` positions, channel blocks `stride` floats apart. */
typedef struct cr_convolution_lines {
	const float *v;   /* the input; stays */
	float *gate;      /* the gate; the result replaces it */
	int64_t stride;   /* of both */
	int64_t rows;
	float *plain;     /* h * v before the gate is applied is kept here too; or NULL */
	int64_t plain_stride;
	const float *add; /* added to h * v before the gate; fft without state only; or NULL */
	int64_t add_stride;
	int skip_head;    /* do not sum the first positions plainly: `add` is large beside them */
} cr_convolution_lines;

/* Convolve. With state the rows continue its sequence and, unless they are the last, are a multiple
 * of B; without state (fft only) they are a whole sequence. far: see cr_convolution_far_floats, NULL
 * for fft. scratch: one for each of `threads` threads. */
void cr_convolution_run(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
			cr_convolution_state *state, const cr_convolution_lines *lines, float *far,
			cr_convolution_scratch *scratch, int threads);

#endif
