/* local.h - the tile pass: everything of the network that is local in position.
 *
 * One pass works on short runs of positions ("tiles") while they stay in cache, from the mixer's
 * output of block i to the mixer's input of block i + 1: out_proj, add, norm, MLP, add (the "head"),
 * norm, in_proj, short filter, gates (the "tail"). Norm weights and biases are folded into the
 * projection behind them. Nothing of size L x I exists. Rows are independent but for the short
 * filter's two positions of history.
 */
#ifndef CR_CPU_LOCAL_H
#define CR_CPU_LOCAL_H

#include <crocuta/error.h>

#include "backend/cpu/kernels.h"
#include "backend/network.h"

/* A linear layer in panels (see cr_kernels.gemm). */
typedef struct cr_packed_linear {
	float *weight;   /* [columns/panel][32 k_lines][panel] */
	float *bias;     /* (columns) */
	int64_t k_lines; /* input channels / 32, rounded up */
	int64_t columns; /* output channels, a multiple of 32 */
} cr_packed_linear;

/* Pack weight (out, in) and bias (out, or NULL). The output channels may come in `parts` equal
 * parts, each padded to a multiple of 32 by itself; columns are then ordered [line][part][32]. scale, shift (in), or NULL: the affine part of a
 * norm in front, folded in: weight * scale, bias + weight . shift. */
int cr_pack_linear(const cr_kernels *kernels, const float *weight, const float *bias, int64_t out,
		   int64_t in, int parts, const float *scale, const float *shift,
		   cr_packed_linear *packed, crocuta_error *error);
void cr_packed_linear_free(cr_packed_linear *packed);

#define CR_MLP_SLAB 256 /* hidden channels computed at a time */

/* Rows of a tile: about 112, whole groups of the matrix kernel. */
static inline int64_t cr_tile_rows(const cr_kernels *kernels)
{
	return 112 / kernels->row_step * kernels->row_step;
}

typedef struct cr_packed_block {
	cr_packed_linear in;     /* D -> 3 parts of D, norm1 folded */
	cr_packed_linear out;    /* D -> D */
	cr_packed_linear *fc1;   /* [slabs] D -> slab, norm2 folded */
	cr_packed_linear *fc2;   /* [slabs] slab -> D */
	float *taps;             /* [groups][3 taps][3 parts][32], oldest tap first */
	float *short_bias;       /* [groups][3 parts][32] */
} cr_packed_block;

/* A network packed for one kernel set; immutable, shared by threads. */
typedef struct cr_packed_network {
	const cr_kernels *kernels;
	int64_t width, groups;   /* D, ceil(D / 32) */
	int64_t slabs, layers, vocabulary;
	double epsilon;
	int64_t tile;            /* rows of a tile */
	cr_packed_block *block;  /* (N) */
	float *embedding;        /* (V) rows as lines, [V][groups][32] */
	float *projected;        /* block 0's in_proj of every token, [V][groups][3][32] */
	cr_packed_linear head;   /* D -> V, final norm folded */
	const cr_network *network;
	int64_t bytes;
} cr_packed_network;

int cr_packed_network_init(const cr_network *network, const cr_kernels *kernels,
			   cr_packed_network *packed, crocuta_error *error);
void cr_packed_network_free(cr_packed_network *packed);
int64_t cr_packed_network_bytes(const cr_network *network);

/* Activations of one sequence (or chunk), in lines; channel blocks `stride` floats apart. */
typedef struct cr_activations {
	float *residual; /* [groups][stride/32][32] */
	float *v;        /* the convolution's input */
	float *gate;     /* x0, then the mixer's output */
	int64_t stride;  /* floats */
} cr_activations;

/* A thread's scratch. */
typedef struct cr_tile_scratch {
	float *normal;  /* [groups][tile][32] */
	float *hidden;  /* [slab/32][tile][32] */
	float *u;       /* [3][tile + 2][32] */
	float *carry;   /* [groups][3][2][32]: u of the two positions before */
	float *edge;    /* [2 groups][2][32]: residual and mixer output of two rows */
} cr_tile_scratch;

int64_t cr_tile_scratch_bytes(const cr_packed_network *network);
int cr_tile_scratch_alloc(const cr_packed_network *network, cr_tile_scratch *scratch,
			  crocuta_error *error);
void cr_tile_scratch_free(cr_tile_scratch *scratch);

/* The pass between block `layer - 1` and block `layer` over all `rows` rows; layer 0 starts from the
 * tokens. history: u of the two positions before row 0, [groups][3][2][32], zero at the start of a
 * sequence; replaced by that of the last two rows. NULL: the pass ends with the residual behind
 * block `layer - 1`, and rows below head_from are left undone. On `threads` threads with a scratch
 * each; bytes do not depend on their number. */
void cr_local_pass(const cr_packed_network *network, int64_t layer, const uint8_t *tokens,
		   int64_t rows, const cr_activations *act, float *history, int64_t head_from,
		   cr_tile_scratch *scratch, int threads);

/* The history (as above) of a sequence that goes on behind `count` known rows, 0 to 2: residual in
 * front of block `layer`, lines with channel blocks `stride` apart, or, for layer 0, their tokens.
 * With fewer than two the sequence starts there. */
void cr_local_history(const cr_packed_network *network, int64_t layer, const uint8_t *tokens,
		      const float *residual, int64_t stride, int64_t count, float *history,
		      cr_tile_scratch *scratch);

/* Rows [from, from + count) after the last pass: hidden = final norm (count, D), or, with raw, the
 * residual itself; logits (count, V). Either may be NULL. */
void cr_local_output(const cr_packed_network *network, const cr_activations *act, int64_t from,
		     int64_t count, int raw, float *hidden, float *logits,
		     cr_tile_scratch *scratch, int threads);

#endif
