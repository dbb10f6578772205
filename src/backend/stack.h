/* stack.h - a network as a list of described layers: the hybrids, and any other mixture of mixers.
 *
 * A layer is: norm -> mixer -> add -> norm -> MLP -> add. A family's loader fills in the
 * description and brings every tensor into the one order given here, so that what runs a stack
 * knows no family. Immutable once loaded. Letters as in ops.h: D width, H heads, N states (modes)
 * of a modal filter, T taps of a short or medium filter, G groups of channels that share one, I
 * inner width of the MLP, V vocabulary rows.
 */
#ifndef CR_BACKEND_STACK_H
#define CR_BACKEND_STACK_H

#include <stdint.h>

#include "backend/network.h"

/* How numbers are stored. */
enum cr_number { CR_NUMBER_F32, CR_NUMBER_BF16, CR_NUMBER_F64 };

static inline int64_t cr_number_bytes(int type)
{
	return type == CR_NUMBER_F32 ? 4 : type == CR_NUMBER_BF16 ? 2 : 8;
}

/* A matrix (rows, columns), row-major, that multiplies as y = x W' + bias: (out, in). */
typedef struct cr_matrix {
	const void *values; /* NULL: there is none */
	int type;           /* enum cr_number: F32 or BF16, as in the file */
	int64_t rows, columns;
	const float *bias; /* (rows), or NULL */
} cr_matrix;

enum cr_norm {
	CR_NORM_LAYER, /* (x - mean) / sqrt(variance + epsilon) * scale + shift */
	CR_NORM_RMS    /* scale * x / (sqrt(mean of x^2) + epsilon): epsilon outside the root */
};

typedef struct cr_norm_weights {
	const float *scale; /* (D) */
	const float *shift; /* (D), or NULL: none */
} cr_norm_weights;

enum cr_activation {
	CR_ACTIVATION_NONE,
	CR_ACTIVATION_GELU,      /* x Phi(x), by erf */
	CR_ACTIVATION_GELU_TANH, /* as HyenaDNA */
	CR_ACTIVATION_SILU
};

/* One line a kind of mixer; see docs/hybrids.md. */
enum cr_mixer {
	CR_MIXER_ATTENTION, /* causal, H heads */
	CR_MIXER_MODAL,     /* long filter that is a sum of N exponentials a channel */
	CR_MIXER_FIR,       /* T explicit taps a group of channels */
	CR_MIXER_IMPLICIT   /* HyenaDNA's long filter */
};

/* Causal attention. `in` has rows q (H head_size) | k (kv_heads head_size) | v (the same). Query
 * head h uses key and value head h / (H / kv_heads). */
typedef struct cr_attention_weights {
	int64_t heads, kv_heads, head_size;
	int64_t rotary_size;            /* leading numbers of a head that are rotated; 0: none */
	const float *inverse_frequency; /* (rotary_size / 2); pair i is numbers i and rotary_size/2
					   + i */
	double position_divisor; /* angle = (position / divisor) inverse_frequency, in float32 */
	double scale;            /* of the scores: 1 / sqrt(head_size) */
} cr_attention_weights;

/* h[c](t) = Re sum_n residue[c][n] pole[c][n]^t, t = 0, 1, ...; real: residue e^(log_pole t). */
typedef struct cr_modal_weights {
	int64_t states; /* N */
	int complex;    /* 1: poles and residues (D, N, 2), pairs re, im; 0: log poles, (D, N) */
	const float *poles; /* complex poles, or real log poles (below 0) */
	const float *residues;
} cr_modal_weights;

/* y[t] = sum_k taps[c / (D / G)][k] g[t - k]: tap 0 is now, whatever the file's order. */
typedef struct cr_fir_weights {
	int64_t groups, length; /* G, T */
	const float *taps;      /* (G, T) */
} cr_fir_weights;

typedef struct cr_stack_layer {
	int mixer; /* enum cr_mixer */
	cr_norm_weights norm1, norm2;
	/* Attention: see there. The others: rows x2 (the gate behind the mixer) | x1 (the gate
	 * before it) | v, D each. */
	cr_matrix in;
	cr_matrix out; /* (D, D); attention: (D, H head_size) */

	/* Not for attention: a causal filter on each of the 3D channels of `in`'s output z, then g
	 * = x1 v; y = x2 (mixer(g) + skip g). */
	int64_t short_length;    /* taps of it, at least 1 */
	const float *short_taps; /* (3D, short_length): tap 0 is now */
	const float *short_bias; /* (3D), or NULL */
	const float *skip;       /* (D), or NULL: none. Implicit: in filter */

	cr_attention_weights attention;
	cr_modal_weights modal;
	cr_fir_weights fir;
	cr_filter_weights filter; /* implicit */

	/* MLP: x += w3 (activation(w1 n) * (w2 n)); without w2 (values NULL) x += w3 activation(w1
	 * n). */
	int activation;   /* enum cr_activation */
	cr_matrix w1, w2; /* (I, D) */
	cr_matrix w3;     /* (D, I) */
} cr_stack_layer;

typedef struct cr_stack {
	int64_t width, layers, vocabulary;
	int norm; /* enum cr_norm, of all norms */
	double epsilon;
	cr_matrix embedding; /* (V, D) */
	cr_matrix head;      /* (V, D); the embedding's values when tied */
	cr_norm_weights final_norm;
	cr_stack_layer *layer; /* (layers) */
	/* of implicit filters, as in cr_network */
	int64_t max_length, filter_order, features, filter_inner;
	double filter_shift;
} cr_stack;

/* Call visit for every array that a layer points to (none is NULL): its place in `layer` and its
 * bytes, always in the same order. Serves counting, copying to a device and pointing there. */
typedef void cr_stack_visit(void *user, const void **array, int64_t bytes);
void cr_stack_layer_visit(const cr_stack *stack, cr_stack_layer *layer, cr_stack_visit *visit,
			  void *user);

/* Rows [from, from + count) of a matrix, with their bias. */
static inline cr_matrix cr_matrix_rows(const cr_matrix *matrix, int64_t from, int64_t count)
{
	cr_matrix part = *matrix;

	part.values = (const char *)matrix->values +
		      from * matrix->columns * cr_number_bytes(matrix->type);
	part.rows = count;
	part.bias = matrix->bias ? matrix->bias + from : 0;
	return part;
}

#endif
