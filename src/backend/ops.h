/* ops.h - the operator contract between the network and the backends.
 *
 * One operator takes one argument struct of plain row-major host arrays and is defined by its loop
 * in src/backend/ref/; every backend is held to that loop by the same cases (tests/ops). The
 * hot path of a backend may keep data in its own layout and call kernels directly: the table is
 * where those kernels are judged, and what a new backend has to fill in first.
 *
 * Letters: B positions in a block of the convolution, L positions (rows), D channels, H heads,
 * N layers, I inputs and O outputs of a matrix (I is also the MLP width), M positions the long
 * filter is defined on, V vocabulary rows, R rank of the far field, F filter order, E position
 * features. Arrays are float32 unless they say double; arrays do not overlap unless stated.
 *
 * Every operator returns 0 or a status (CROCUTA_EARG for shapes it cannot do, CROCUTA_EMEMORY) and
 * may be called from any thread.
 */
#ifndef CR_BACKEND_OPS_H
#define CR_BACKEND_OPS_H

#include <stdint.h>

#include <crocuta/error.h>

#include "backend/network.h"

typedef struct cr_ops cr_ops;

/* y[l] = table[token[l]]. */
typedef struct cr_embed_arguments {
	const float *table;    /* (V, D) */
	const uint8_t *tokens; /* (L) each below V, else CROCUTA_EINPUT */
	float *y;              /* (L, D) */
	int64_t rows;          /* L */
	int64_t width;         /* D */
	int64_t vocabulary;    /* V */
} cr_embed_arguments;

/* y = (x - mean) / sqrt(variance + epsilon) * weight + bias over each row, biased variance. */
typedef struct cr_layer_norm_arguments {
	const float *x;      /* (L, D) */
	const float *weight; /* (D) */
	const float *bias;   /* (D) */
	float *y;            /* (L, D) */
	int64_t rows;        /* L */
	int64_t width;       /* D */
	double epsilon;
} cr_layer_norm_arguments;

/* y = x W' + b, or y += x W' + b. */
typedef struct cr_linear_arguments {
	const float *x;      /* (L, I) */
	const float *weight; /* (O, I) */
	const float *bias;   /* (O), or NULL: none */
	float *y;            /* (L, O) */
	int64_t rows;        /* L */
	int64_t in;          /* I */
	int64_t out;         /* O */
	int accumulate;      /* add to what y holds */
	int64_t tile;        /* rows of one kernel call at most; 0: all. Never changes a bit */
} cr_linear_arguments;

/* y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; y may be x. */
typedef struct cr_gelu_arguments {
	const float *x; /* (L, I) */
	float *y;       /* (L, I) */
	int64_t count;  /* L I */
} cr_gelu_arguments;

/* c[l] = bias + weight[0] u[l-2] + weight[1] u[l-1] + weight[2] u[l], by channel, split into
 * x0, x1, v; x0 and the gated input x1 * v are what the long convolution wants. */
typedef struct cr_short_filter_gate_arguments {
	const float *u;      /* (L, 3D): parts x0, x1, v */
	const float *carry;  /* (2, 3D) u at positions -2, -1; NULL: zeros, a sequence starts */
	const float *weight; /* (3D, 3) last tap is now */
	const float *bias;   /* (3D) */
	float *x0;           /* (L, D) */
	float *gated;        /* (L, D) */
	int64_t rows;        /* L */
	int64_t width;       /* D */
} cr_short_filter_gate_arguments;

/* h[n][d] of the implicit filter at real offsets n >= 0 (docs/hyenadna.md 2.3), also past M.
 * With stored position features (weights->z, t) the offsets are whole numbers below M; without them
 * the formula is evaluated in double and not rounded. */
typedef struct cr_implicit_filter_arguments {
	const cr_filter_weights *weights;
	int64_t width;      /* D */
	int64_t order;      /* F */
	int64_t features;   /* E, odd and at least 3 */
	int64_t max_length; /* M */
	int64_t inner;      /* inner F x F layers */
	double shift;
	int with_skip;         /* add weights->skip at offset 0 */
	const double *offsets; /* (count) */
	int64_t count;
	double *values; /* (count, D); float32 taps would cost the sum its last digits */
} cr_implicit_filter_arguments;

/* Taps at real offsets >= 0, values (count, D); any thread, several at once. */
typedef int cr_taps_function(void *user, const double *offsets, int64_t count, double *values,
			     crocuta_error *error);

/* y[l][d] = gate[l][d] * sum over m = 0 .. min(l, M - 1) of h[d][m] v[l-m][d]. The skip weight is
 * part of h[d][0]. The options change how backends compute it, and the result by rounding only,
 * except that rank > 0 is as good as the filter is smooth. The reference ignores them. */
typedef struct cr_long_convolution_arguments {
	const float *v;             /* (L, D) */
	const float *gate;          /* (L, D) */
	float *y;                   /* (L, D) */
	int64_t rows;               /* L */
	int64_t width;              /* D */
	const float *taps;          /* (D, M), or NULL: ask function */
	cr_taps_function *function; /* needed for rank > 0; wins over taps when both are set */
	void *user;
	int64_t max_length; /* M; may be below or above L */
	int levels;         /* B = 2^levels; 0: the backend's choice */
	int rank;           /* R of the near/far form; 0: every distance exact */
	int64_t chunk;      /* rows of one call with carried state, a multiple of B; 0: all */
	int threads;        /* 0: 1 */
} cr_long_convolution_arguments;

/* out[r] = sum over l of nodes[l][r] x[l]. */
typedef struct cr_moments_arguments {
	const float *x;     /* (L, D) */
	const float *nodes; /* (L, R) */
	float *out;         /* (R, D) */
	int64_t rows;       /* L */
	int64_t width;      /* D */
	int rank;           /* R: 4, 6, 8, 10, 12 or 16 */
} cr_moments_arguments;

/* far[r] += sum over s of table[r][s] * moments[s], channel by channel. */
typedef struct cr_far_apply_arguments {
	const float *table;   /* (R, R, D) */
	const float *moments; /* (R, D) */
	float *far;           /* (R, D) */
	int64_t width;        /* D */
	int rank;             /* R */
} cr_far_apply_arguments;

/* y[l] = sum over r of nodes[l][r] far[r]. */
typedef struct cr_evaluate_arguments {
	const float *far;   /* (R, D) */
	const float *nodes; /* (L, R) */
	float *y;           /* (L, D) */
	int64_t rows;       /* L */
	int64_t width;      /* D */
	int rank;           /* R */
} cr_evaluate_arguments;

typedef struct cr_log_probability_sums {
	double log_probability; /* over the scored rows, natural logarithm */
	double entropy;         /* over all rows, nats */
	int64_t scored;         /* rows whose target is one of the classes */
} cr_log_probability_sums;

/* log softmax over the classes at the target, and the entropy of that distribution. A target that
 * is no class is not scored: its value is NaN and no part of the sum. */
typedef struct cr_log_probability_arguments {
	const float *logits;    /* (L, V) */
	const uint8_t *targets; /* (L), or NULL: entropies only */
	const uint8_t *classes; /* (class_count) token ids, each below V and once; NULL: all V */
	int64_t class_count;
	int64_t rows;                  /* L */
	int64_t vocabulary;            /* V */
	float *log_probability;        /* (L) or NULL */
	float *entropy;                /* (L) or NULL */
	cr_log_probability_sums *sums; /* added to, so that a caller can go through a sequence in
					  pieces; or NULL */
} cr_log_probability_arguments;

/* One pointer an operator; NULL means that the backend lacks it. */
struct cr_ops {
	const char *name; /* "reference", "cpu-avx2", ... */
#define CR_OP(operator, what)                                                                      \
	int (*operator)(const cr_ops *self, const cr_##operator##_arguments * arguments,           \
			crocuta_error *error);
#include "backend/ops.def"
#undef CR_OP
};

/* The operators of "<backend>" or "<backend>-<variant>": "reference"; "cpu" (the best kernel set
 * here), "cpu-avx512", "cpu-avx2", "cpu-portable". NULL: unknown, or not runnable here. */
const cr_ops *cr_ops_get(const char *backend);

/* The name of the first operator that a backend lacks, or NULL. */
const char *cr_ops_missing(const cr_ops *ops);

#define CR_BACKEND(backend) const cr_ops *cr_ops_##backend(const char *variant);
#include "backend/backends.def"
#undef CR_BACKEND

#endif
