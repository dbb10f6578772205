/* rank.h - one rank's share of a sequence on its way through a stack.
 *
 * Layer by layer over all rows that the rank owns (comm/zigzag.h), in chunks within a layer:
 * nothing of the size rows x inner width or L x L ever exists, and no keys or values outlive their
 * layer. What stays is the residual stream, and beside it, where a layer needs it, one array of the
 * same rows. With one rank there is no comm and the same code runs.
 */
#ifndef CR_MIXER_RANK_H
#define CR_MIXER_RANK_H

#include <stdint.h>

#include <crocuta/error.h>

#include "backend/stack_ops.h"
#include "comm/comm.h"
#include "comm/zigzag.h"
#include "mixer/implicit.h"

typedef struct cr_rank_options {
	int activation, residual; /* enum cr_number, of the device */
	int ranks;
	int64_t max_length; /* tokens of the longest sequence */
	int64_t chunk; /* rows at a time; a multiple of CR_MODAL_CHUNK, at least CR_CHUNK_LEAST */
	int64_t block; /* segments of ranks are multiples of it; 0: any */
	int64_t group_bytes; /* queries, keys and values of so many heads at a time; at least one */
	int copied; /* weights are copied to the device; else the host's are used in place */
	int spread; /* with copied: each rank keeps 1/P of the layers and gives them to the others
		       when their turn comes */
} cr_rank_options;

#define CR_CHUNK_LEAST 256

/* Bytes on one rank. */
typedef struct cr_rank_bytes {
	int64_t weights;   /* copies on the device; 0 when the host's are used */
	int64_t sequence;  /* residual stream and what else grows with the rows of a rank */
	int64_t workspace; /* chunks, carried states, buffers of messages */
} cr_rank_bytes;

/* One rank. Pointers are the device's but for stack and layers' places. */
typedef struct cr_rank {
	const cr_stack_ops *ops;
	cr_stack_device *device;
	cr_comm *comm;         /* NULL for one rank */
	const cr_stack *stack; /* the host's */
	cr_rank_options options;
	int number; /* rank, 0 .. P - 1 */

	/* Weights as the device sees them: layer[i] is valid where it is kept, `current` while it
	 * is used. */
	cr_stack_layer *layer; /* (N) host structs */
	void **slab;           /* (N) a layer's arrays in one piece, or NULL */
	void *current_slab;    /* spread: of layers that others keep */
	cr_stack_layer current;
	void *ends_slab; /* embedding, head, final norm */
	cr_matrix embedding, head;
	cr_norm_weights final_norm;

	/* sizes */
	int64_t rows_most; /* rows of this rank at most */
	int64_t kv_group;  /* key-value heads at a time */

	/* the sequence in progress */
	cr_zigzag zigzag;
	uint8_t *tokens; /* (rows_most) */
	char *residual;  /* R (rows_most, D) */
	char *kept;  /* A (rows_most, D or what attention heads give) of attention, implicit filters
		      */
	char *gated; /* A (rows_most, D) of implicit filters */
	char *query, *key_value[2]; /* A: (rows, group); keys then values, own and a neighbour's */
	char *partial;              /* R (rows, group) */
	char *lse;                  /* R (heads of a group, rows) */

	/* a chunk */
	char *normed;        /* A (chunk, D) */
	char *z;             /* A (short_history + chunk, 3D) */
	char *x2, *g;        /* A (chunk, D), (history + chunk, D) */
	char *inner, *other; /* A (chunk, I) each; share memory with z, x2, g */
	char *carry_z, *carry_g;
	char *tail, *tails;           /* R (2, halo, D) mine and (P, 2, halo, D) */
	char *before;                 /* R (halo, D) rows in front of a segment */
	double *state;                /* of the segment in progress */
	double *local_state, *states; /* (2) mine and (P, 2), from zero */

	cr_implicit_rank *implicit; /* where the stack has such filters; the opener's */

	/* results */
	char *hidden, *logits; /* R (chunk, D), (chunk, V) */
	double local_seconds, mixing_seconds, head_seconds;
} cr_rank;

/* A rank's bytes for these options, without allocating. */
cr_rank_bytes cr_rank_plan(const cr_stack *stack, const cr_rank_options *options);

/* Allocate and copy weights. rank: zeroed, with ops, device, comm, number, stack set. EMEMORY,
 * EDEVICE; free it also then. */
int cr_rank_open(cr_rank *rank, const cr_rank_options *options, crocuta_error *error);
void cr_rank_close(cr_rank *rank);

/* All passes 0 .. layers of this rank's rows of a sequence of `length` tokens (host; all of them).
 * Collective: every rank calls it with the same arguments. */
int cr_rank_forward(cr_rank *rank, const uint8_t *tokens, int64_t length, int64_t layers,
		    crocuta_error *error);

/* Results of positions [first, first + count), at most a chunk, that lie in one segment: on rank 0
 * into hidden (count, D) and logits (count, V), host arrays, either may be NULL; the other ranks
 * give NULL for both and say with want_hidden and want_logits what rank 0 asks for. raw: the
 * residual stream instead of the final norm's output. Collective. */
typedef struct cr_rank_rows {
	int64_t first, count;
	int want_hidden, want_logits, raw;
	float *hidden, *logits;
} cr_rank_rows;
int cr_rank_output(cr_rank *rank, const cr_rank_rows *rows, crocuta_error *error);

/* A layer's arrays in one piece of memory: its bytes, and the layer's pointers into such a piece.
 */
int64_t cr_rank_layer_bytes(const cr_stack *stack, int64_t index);
void cr_rank_point_layer(const cr_stack *stack, cr_stack_layer *layer, void *slab);

/* ---- for mixers ------------------------------------------------------------------------------ */

/* One mixer: one file and one line in mixers.def. Runs norm, mixer and everything behind it up to
 * the layer's end over all rows of the rank. layer: with the device's arrays. */
typedef int cr_mixer_run(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error);
#define CR_MIXER(name, constant) cr_mixer_run cr_mixer_##name;
#include "mixer/mixers.def"
#undef CR_MIXER

/* One of a rank's two segments. */
typedef struct cr_segment {
	int number;     /* 0 .. 2P - 1 */
	int64_t start;  /* position */
	int64_t offset; /* row of the rank */
	int64_t count;
} cr_segment;
cr_segment cr_rank_segment(const cr_rank *rank, int which);

static inline int64_t cr_rank_activation_bytes(const cr_rank *rank)
{
	return cr_number_bytes(rank->options.activation);
}

static inline int64_t cr_rank_residual_bytes(const cr_rank *rank)
{
	return cr_number_bytes(rank->options.residual);
}

/* How a sequence of that length is shared. */
static inline cr_zigzag cr_rank_zigzag(const cr_rank_options *options, int64_t length)
{
	return cr_zigzag_of(length, options->ranks, options->block);
}

/* Until the device has done what is queued, or a rank has failed. */
int cr_rank_wait(cr_rank *rank, crocuta_error *error);

/* The rank's residual stream at a row. */
static inline char *cr_rank_residual(const cr_rank *rank, int64_t row)
{
	return rank->residual + row * rank->stack->width * cr_rank_residual_bytes(rank);
}

/* normed = norm(x) of `count` rows at x (R). */
int cr_rank_norm(cr_rank *rank, const cr_norm_weights *weights, const void *x, int64_t count,
		 crocuta_error *error);

/* y (A, rows y_stride apart, or with target other than STORE R) = matrix x; x: A, rows x_stride
 * apart. */
int cr_rank_linear(cr_rank *rank, const cr_matrix *matrix, const void *x, int64_t x_stride, void *y,
		   int64_t y_stride, int64_t count, int target, crocuta_error *error);

/* What follows a mixer: x += out(mixed); x += MLP(norm2(x)), of `count` rows from `row` on, at most
 * a chunk. mixed: A, rows `stride` apart; may lie in the chunk's x2. */
int cr_rank_finish(cr_rank *rank, const cr_stack_layer *layer, const void *mixed, int64_t stride,
		   int64_t row, int64_t count, crocuta_error *error);

/* Projections and short filter of layers that are not attention. */
enum cr_front_parts { CR_FRONT_ALL = 3, CR_FRONT_INPUT = 2 /* g alone */ };

/* Forget what was before; then, where a segment has something before it, go through the rows of the
 * residual in front of it, which cr_rank_share_tails has brought. */
int cr_rank_share_tails(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error);
int cr_rank_enter(cr_rank *rank, const cr_stack_layer *layer, const cr_segment *segment, int parts,
		  crocuta_error *error);

/* x2 and g (history in front of it) of `count` rows at x (R), which continue those of the last
 * call. */
int cr_rank_front(cr_rank *rank, const cr_stack_layer *layer, const void *x, int64_t count,
		  int parts, crocuta_error *error);

#endif
