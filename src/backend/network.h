/* network.h - the weights of a HyenaDNA-shaped network as plain float32 arrays.
 *
 * Filled by the checkpoint reader (family hyenadna), read by the session and the reference
 * backend; immutable afterwards. Letters: D width, I MLP width, N layers, M maximum length,
 * V vocabulary rows, F filter order, E position features. "Linear" weights are (out, in).
 */
#ifndef CR_BACKEND_NETWORK_H
#define CR_BACKEND_NETWORK_H

#include <stdint.h>

#define CR_FILTER_INNER_MAX 8

/* The implicit filter of one block: h[c](n), n = 0 .. M-1 (docs/hyenadna.md 2.3). */
typedef struct cr_filter_weights {
	const float *z;        /* (M, E) position features as stored, or NULL: the formula */
	const float *t;        /* (M) normalised offsets as stored, or NULL: n / (M - 1) */
	int departs;           /* stored z or t differ from the formula by more than rounding */
	const float *deltas;   /* (D) decay rates; never NULL */
	const float *frequency;/* (F) of all sine activations */
	const float *in_weight;/* (F, E) */
	const float *in_bias;  /* (F) */
	const float *inner_weight[CR_FILTER_INNER_MAX]; /* (F, F) each */
	const float *inner_bias[CR_FILTER_INNER_MAX];   /* (F) each */
	const float *out_weight; /* (D, F) */
	const float *skip;       /* (D) d, weight of the convolution's input itself */
} cr_filter_weights;

typedef struct cr_block_weights {
	const float *norm1_weight, *norm1_bias; /* (D) */
	const float *in_weight, *in_bias;       /* (3D, D), (3D): x0, x1, v */
	const float *short_weight, *short_bias; /* (3D, 3) last tap is now, (3D) */
	cr_filter_weights filter;
	const float *out_weight, *out_bias;     /* (D, D), (D) */
	const float *norm2_weight, *norm2_bias; /* (D) */
	const float *fc1_weight, *fc1_bias;     /* (I, D), (I) */
	const float *fc2_weight, *fc2_bias;     /* (D, I), (D) */
} cr_block_weights;

struct cr_stack;

typedef struct cr_network {
	const struct cr_stack *stack; /* NULL for a HyenaDNA-shaped network. Else (backend/stack.h) of
					 what follows only width, inner_width, layers, max_length,
					 vocabulary and classes are set */
	int64_t width;         /* D */
	int64_t inner_width;   /* I */
	int64_t layers;        /* N */
	int64_t max_length;    /* M */
	int64_t vocabulary;    /* V */
	int64_t filter_order;  /* F */
	int64_t features;      /* E */
	int64_t filter_inner;  /* inner F x F layers of the filter's MLP */
	double norm_epsilon;
	double filter_shift;
	const float *embedding;        /* (V, D) */
	const float *lm_head;          /* (V, D); equals embedding when tied */
	const float *score;            /* (classes, D) or NULL */
	int64_t classes;
	const float *decoder;          /* (decoder_classes, D) of the original code, or NULL */
	const float *decoder_bias;     /* (decoder_classes) or NULL */
	int64_t decoder_classes;
	const float *norm_weight, *norm_bias; /* (D), the final norm */
	cr_block_weights *block;       /* (N) */
} cr_network;

#endif
