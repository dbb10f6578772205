/* stack_ops.h - what a device must be able to do to run a stack (stack.h).
 *
 * A device is one processor with its memory and one queue: calls are queued in order and may return
 * before they are done; wait() waits and reports failures of what was queued. Every pointer in an
 * argument struct, weights included, is the device's, unless it says host. One thread at a time for
 * a device. Arrays do not overlap unless stated, and are 64-byte aligned where they begin (rows
 * inside of them need not be).
 *
 * Two types of numbers, fixed when the device is opened: A, activations between operators, and R,
 * the residual stream and sums that must not lose digits. cpu: both float32; cuda: R float32, A
 * float32 or bfloat16; reference: both double, or both float32 at its ends (still double inside).
 * All operators sum in float32 at least. Results depend neither on how rows are split over calls
 * nor on threads.
 *
 * Each operator is defined by its plain loop in backend/ref/ref_stack*.c;
 * tests/ops/test_ops_stack*.c hold every device to it.
 */
#ifndef CR_BACKEND_STACK_OPS_H
#define CR_BACKEND_STACK_OPS_H

#include <stdint.h>

#include <crocuta/error.h>

#include "backend/stack.h"

typedef struct cr_stack_device cr_stack_device;

typedef struct cr_stack_device_options {
	int activation;  /* enum cr_number: A */
	int residual;    /* R */
	int threads;     /* cpu: OpenMP threads of each call */
	const char *isa; /* cpu: as cr_kernels_get; NULL: best */
	int gpu;         /* cuda: its number */
} cr_stack_device_options;

/* y = table[token]. */
typedef struct cr_stack_embed {
	const cr_matrix *table;
	const uint8_t *tokens; /* (rows) each below table->rows */
	int64_t rows;
	void *y; /* R (rows, D) */
} cr_stack_embed;

/* A row whose squares overflow float32 gives no numbers, never zeros. */
typedef struct cr_stack_norm {
	int kind; /* enum cr_norm */
	double epsilon;
	cr_norm_weights weights;
	const void *x; /* R (rows, width) */
	void *y;       /* (rows, width): A, or with `wide` R */
	int wide;
	int64_t rows, width;
} cr_stack_norm;

enum cr_linear_target {
	CR_LINEAR_STORE, /* y: A */
	CR_LINEAR_ADD,   /* y: R, added to */
	CR_LINEAR_WIDE   /* y: R, stored */
};

/* y = x W' + bias, rows of x and y with strides (in numbers). */
typedef struct cr_stack_linear {
	const cr_matrix *matrix; /* (O, I) */
	const void *x;           /* A (rows, I) */
	void *y;                 /* (rows, O), see target */
	int64_t x_stride, y_stride;
	int64_t rows;
	int target; /* enum cr_linear_target */
} cr_stack_linear;

/* c[l] = bias + sum_k taps[k] z[l - k] for each of parts D channels; then x2 = the first part where
 * there are three, g = x1 v of the last two. Rows -(length - 1) .. -1 of z are read: what came
 * before, or zeros. */
typedef struct cr_stack_front {
	const void *z;     /* A (rows, parts D) contiguous rows; row 0 */
	int parts;         /* 3, or 2: x1 and v alone; taps and bias are then those of x1 on */
	const float *taps; /* (parts D, length) tap 0 is now */
	const float *bias; /* (parts D), or NULL */
	int64_t length;    /* 1 .. 8 */
	void *x2;          /* A (rows, D), or NULL: not wanted; with parts 2 NULL */
	void *g;           /* A (rows, D) */
	int64_t rows, width;
} cr_stack_front;

/* y = x2 (sum_k taps[c / (D/G)][k] g[l - k] + skip g[l]); rows -(T - 1) .. -1 of g are read. */
typedef struct cr_stack_fir {
	const cr_fir_weights
		*weights;   /* host struct with device arrays; as all weights structs here */
	const float *skip;  /* (D) or NULL */
	const void *g, *x2; /* A (rows, D) */
	void *y;            /* A (rows, D); may be x2 */
	int64_t rows, width;
} cr_stack_fir;

/* Positions after which a modal scan starts anew from a state in double: rounding does not pile up,
 * and the cut does not depend on calls as long as they start at multiples of it. */
#define CR_MODAL_CHUNK 128

/* s_n <- pole_n s_n + g[l] for each channel and mode, y = x2 (Re sum_n residue_n s_n + skip g[l]).
 * state: double (D, N) or complex (D, N, 2), before row 0 and, on return, behind the last. Within a
 * chunk in float32 at least; powers pole^CR_MODAL_CHUNK and the fold of chunks in double. */
typedef struct cr_stack_modal {
	const cr_modal_weights *weights;
	const float *skip; /* (D) or NULL */
	const void *g;     /* A (rows, D) */
	const void *x2;    /* A (rows, D); NULL with y */
	void *y;           /* A (rows, D), may be x2; NULL: the state alone */
	double *state;
	int64_t rows, width;
} cr_stack_modal;

/* state = pole^length state + local, in double. */
typedef struct cr_stack_modal_fold {
	const cr_modal_weights *weights;
	int64_t length, width;
	const double *local;
	double *state;
} cr_stack_modal_fold;

/* Rotate `heads` heads of head_size numbers in place (the weights' heads and kv_heads are not
 * looked at). Row l stands at position first + l. */
typedef struct cr_stack_rope {
	const cr_attention_weights *weights;
	void *x;        /* A (rows, heads head_size) */
	int64_t stride; /* of rows */
	int64_t rows, heads, first;
} cr_stack_rope;

/* Softmax over the keys at positions k_first .. that are not behind the query's, blocked, with
 * running maximum; never an L x L matrix.
 *
 * Partial results: o (rows, heads head_size), normalised, and lse (heads, rows), the logarithm of
 * the sum of exponentials of the scaled scores; -infinity where no key is visible. Without `first`
 * the result is merged into what o and lse hold: l' = max(l, lb) + log1p(exp(-|l - lb|)), o' = o +
 * (ob - o) exp(lb - l') (spec: merge of partial attentions; a block without visible keys changes
 * nothing). With y the result (merged) goes there as activations, and o and lse need not be
 * written: with `first` they may be NULL. Rows without any visible key give zeros. */
typedef struct cr_stack_attention {
	const void *q;     /* A (rows, heads head_size), rotated */
	const void *k, *v; /* A (keys, kv_heads head_size), k rotated */
	int64_t q_stride, k_stride, v_stride;
	int64_t rows, keys, heads, kv_heads, head_size;
	int64_t q_first, k_first; /* positions of row 0 and key 0 */
	double scale;
	void *o;   /* R, contiguous */
	void *lse; /* R */
	int first;
	void *y; /* A, or NULL */
	int64_t y_stride;
} cr_stack_attention;

/* y = activation(a) b, or activation(a) where b is NULL. */
typedef struct cr_stack_activate {
	int activation;
	const void *a, *b; /* A (count) */
	void *y;           /* A (count); may be a */
	int64_t count;
} cr_stack_activate;

typedef struct cr_stack_ops {
	const char *name; /* "reference", "cpu", "cuda" */

	/* EDEVICE, EARG for types it lacks, EMEMORY. *device is the caller's, for close. */
	int (*open)(const cr_stack_device_options *options, cr_stack_device **device,
		    crocuta_error *error);
	void (*close)(cr_stack_device *device); /* NULL is fine; frees what is still allocated */

	/* Memory, zeroed. EMEMORY. allocated(): bytes at present. */
	int (*allocate)(cr_stack_device *device, int64_t bytes, void **array, crocuta_error *error);
	void (*release)(cr_stack_device *device, void *array); /* waits; NULL is fine */
	int64_t (*allocated)(const cr_stack_device *device);
	/* host -> device (host may be reused on return), device -> host (done on return), and
	 * inside of the device (queued); zeros (queued). */
	int (*upload)(cr_stack_device *device, void *to, const void *host, int64_t bytes,
		      crocuta_error *error);
	int (*download)(cr_stack_device *device, void *host, const void *from, int64_t bytes,
			crocuta_error *error);
	int (*copy)(cr_stack_device *device, void *to, const void *from, int64_t bytes,
		    crocuta_error *error);
	int (*clear)(cr_stack_device *device, void *to, int64_t bytes, crocuta_error *error);
	int (*wait)(cr_stack_device *device, crocuta_error *error);
	/* cuda: the queue as a cudaStream_t, for comm; NULL for others. */
	void *(*queue)(const cr_stack_device *device);

#define CR_STACK_OP(operator)                                                                      \
	int (*operator)(cr_stack_device * device, const cr_stack_##operator* arguments,            \
			crocuta_error *error);
#include "backend/stack_ops.def"
#undef CR_STACK_OP
} cr_stack_ops;

/* One table a device kind. cuda: with CUDA=1 only. */
extern const cr_stack_ops cr_stack_ops_reference, cr_stack_ops_cpu;
#ifdef CR_CUDA
#ifdef __cplusplus
extern "C"
#endif
	extern const cr_stack_ops cr_stack_ops_cuda;
#endif

#endif
