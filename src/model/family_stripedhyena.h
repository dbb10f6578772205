/* family_stripedhyena.h - shared by the parts of the StripedHyena families alone.
 *
 * Version 1 is Evo-1, version 2 Evo-2; docs/hybrids.md says what their files hold.
 */
#ifndef CR_MODEL_FAMILY_STRIPEDHYENA_H
#define CR_MODEL_FAMILY_STRIPEDHYENA_H

#include "backend/stack.h"
#include "model/model_internal.h"

extern const cr_family cr_family_stripedhyena, cr_family_stripedhyena2;

/* Bounds beside those of family.h. */
enum {
	CR_STRIPED_HEADS_MAX = 1024,
	CR_STRIPED_SHORT_MAX = 8, /* as cr_stack_front */
	CR_STRIPED_FIR_MAX = 1024,
	CR_STRIPED_STATES_MAX = 256
};

/* Explicit filters of this many taps and more are stored with the present first, and have a skip
 * weight; shorter ones have the present last and no skip weight. */
#define CR_STRIPED_MEDIUM_TAPS 128

/* Kinds of layers, told by their tensors. */
enum cr_striped_kind {
	CR_STRIPED_ATTENTION,
	CR_STRIPED_MODAL,  /* version 1: complex poles */
	CR_STRIPED_SHORT,  /* SE: a few taps */
	CR_STRIPED_MEDIUM, /* MR: 128 taps */
	CR_STRIPED_LONG,   /* LI: real poles */
	CR_STRIPED_KINDS
};

/* Vectors that some models lack; a config may say so. */
enum cr_striped_bias {
	CR_BIAS_NONE, /* no bias at all: always there */
	CR_BIAS_IN,
	CR_BIAS_OUT,
	CR_BIAS_SHORT,
	CR_BIAS_QKV,
	CR_BIAS_ATTENTION_OUT,
	CR_BIASES
};

/* The order of a tensor's rows in the file: of the three parts of size D that the stack keeps one
 * after the other. */
enum cr_striped_rows {
	CR_ROWS_PLAIN,      /* as in the stack */
	CR_ROWS_BY_HEAD,    /* head by head, in each part by part */
	CR_ROWS_INTERLEAVED /* channel by channel, in each one row of each part */
};

typedef struct cr_striped_config {
	int version; /* 1 or 2 */
	/* 0: not stated */
	int64_t width, layers, vocabulary, inner_width, heads, proj_groups, max_length;
	double epsilon, rotary_base, divisor;
	int activation;                 /* enum cr_activation */
	int first_layer_only;           /* of the activation */
	int hyena_rows, attention_rows; /* enum cr_striped_rows */
	int tied;
	int bias[CR_BIASES]; /* 1, 0, or -1: not stated */
	signed char *kind; /* (layers) enum cr_striped_kind of the lists of layers, or -1; NULL: no
			      lists */
} cr_striped_config;

/* Refuses, by name, what would change the arithmetic. Free kind with cr_free, also after an error.
 */
int cr_striped_read_config(const cr_config *config, int version, cr_striped_config *fields,
			   cr_notes *notes, crocuta_error *error);

/* Do the names of the config belong to version 2? */
int cr_striped_is_second(const json_t *config);

/* A tensor as a file stores it, and its place. */
typedef struct cr_striped_tensor {
	char name[128]; /* without prefix */
	int rank;
	int64_t shape[4];
	int rows;          /* enum cr_striped_rows */
	int64_t part;      /* D: size of each of the three parts of rows */
	int64_t group;     /* rows of one part that follow each other: head size, or 1 */
	int reversed;      /* the columns of a row, last first */
	int bias;          /* enum cr_striped_bias */
	int optional;      /* may be missing anyway */
	int constant;      /* no parameter */
	cr_matrix *matrix; /* one of them is set */
	const float **vector;
} cr_striped_tensor;

/* Call visit for every tensor that a stack with these layers has; stops at a nonzero return and
 * returns it. kind (layers): enum cr_striped_kind. heads and sizes must be set in the stack. */
typedef int cr_striped_visit(void *user, const cr_striped_tensor *tensor);
int cr_striped_visit_tensors(cr_stack *stack, const signed char *kind, int64_t inner_width,
			     const cr_striped_config *config, cr_striped_visit *visit, void *user);

/* Row of the stack's order that the file's row `row` is. */
static inline int64_t cr_striped_row(const cr_striped_tensor *tensor, int64_t row)
{
	int64_t group = tensor->group, block = row / group;

	if (tensor->rows == CR_ROWS_PLAIN)
		return row;
	/* Blocks of `group` rows go round the three parts. */
	return block % 3 * tensor->part + block / 3 * group + row % group;
}

/* A tensor of the file on its way into the stack. */
typedef struct cr_striped_entry {
	char *name; /* without prefix; NULL: needed by no model */
	int64_t index;
	cr_striped_tensor *tensor; /* NULL: not loaded */
} cr_striped_entry;

typedef struct cr_striped_loading {
	crocuta_model *model;
	cr_safetensors *file;
	const crocuta_model_options *options;
	cr_striped_config config;
	signed char *kind;          /* (layers) */
	cr_striped_entry *entry;    /* (entries) sorted by name */
	cr_striped_entry **by_file; /* (entries) in the order of the file */
	int64_t entries;
	cr_striped_tensor *tensor; /* (tensors) those found in the file */
	int64_t tensors;
	int64_t inner_width;
	int64_t missing, unknown;
	char missing_names[400], unknown_names[400];
} cr_striped_loading;

/* Names without prefix, sorted; then which of them a stack needs, with every message about
 * missing, unknown or misshapen tensors. The second sets all sizes of model->stack. */
int cr_striped_index_names(cr_striped_loading *loading, crocuta_error *error);
int cr_striped_bind(cr_striped_loading *loading, crocuta_error *error);
cr_striped_entry *cr_striped_find(const cr_striped_loading *loading, const char *name);
int cr_striped_fail_memory(const cr_striped_loading *loading, crocuta_error *error);

/* Sizes of original Evo-2 weights that were trained with 8-bit products: can they be used without?
 */
enum cr_striped_precision { CR_PRECISION_ANY, CR_PRECISION_LOSES, CR_PRECISION_NEEDED };
int cr_striped_precision(int64_t width, int64_t layers, const char **name);

#endif
