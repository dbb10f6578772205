/* family.h - the socket of a model family: whose config it is, and how its tensors become a
 * network.
 *
 * A family is one file with one cr_family and one line in families.def.
 */
#ifndef CR_MODEL_FAMILY_H
#define CR_MODEL_FAMILY_H

#include <stdint.h>

#include <crocuta/error.h>
#include <crocuta/model.h>

#include "model/config.h"
#include "model/network.h"
#include "model/safetensors.h"
#include "seq/tokens.h"

typedef struct cr_family {
	const char *name;
	int shapes_suffice; /* to plan: load takes a file that is not read (cr_safetensors.unread) */
	/* Is this config of my kind? Looks at names only. */
	int (*claims)(const json_t *config);
	/* Read every tensor of the file, in its order, into model->network; set what only the
	 * family knows of model->info. What is allocated before a failure belongs to the model. */
	int (*load)(struct crocuta_model *model, const cr_config *config, cr_safetensors *file,
		    const crocuta_model_options *options, crocuta_error *error);
	const cr_vocabulary *vocabulary;
} cr_family;

/* The families, ended by NULL. */
extern const cr_family *const cr_families[];

/* Largest sizes accepted; far above any published model, small enough for sums in 64 bits. */
enum {
	CR_WIDTH_MAX = 65536,
	CR_INNER_WIDTH_MAX = 1048576,
	CR_LAYERS_MAX = 1024,
	CR_VOCABULARY_MAX = 65536,
	CR_FILTER_ORDER_MAX = 4096,
	CR_FEATURES_MAX = 1025,
	CR_CLASSES_MAX = 65536,
};

/* Fields of a HyenaDNA config, both naming schemes; 0 where a size is not stated. */
typedef struct cr_hyenadna_config {
	int64_t width, inner_width, layers, max_length, vocabulary, vocabulary_multiple;
	int64_t features, filter_order, filter_inner;
	double activation_frequency, norm_epsilon;
	double filter_shift; /* NaN: not stated */
	int trained_frequency;
	int original; /* the training repository's names, sizes in "layer" */
} cr_hyenadna_config;

/* Refuses, by name, every option that would change the arithmetic. */
int cr_hyenadna_read_config(const cr_config *config, cr_hyenadna_config *fields, cr_notes *notes,
			    crocuta_error *error);

/* What a tensor is to its network. */
enum cr_tensor_role {
	CR_ROLE_WEIGHT,
	CR_ROLE_FREQUENCY, /* may be stored up to once for each activation */
	CR_ROLE_DECAY,     /* deltas: stored, or by formula */
	CR_ROLE_FEATURES,  /* z: stored, or by formula */
	CR_ROLE_OFFSETS,   /* t: stored, or by formula */
	CR_ROLE_HEAD,      /* lm_head, score, decoder: optional */
	CR_ROLE_ROTARY,    /* of attention layers: stored, or by formula */
};

/* One tensor of a HyenaDNA, as a file stores it. */
typedef struct cr_tensor_spec {
	char name[128]; /* canonical: "lm_head.weight", "layers.0.norm1.weight" */
	int role;       /* enum cr_tensor_role */
	int rank;
	int64_t shape[3];
	const float **target; /* the field of the network */
} cr_tensor_spec;

/* Call visit for every tensor that a network of these sizes can have, in the order in which files
 * list them; stops at a nonzero return and returns it. score only when network->classes > 0, decoder
 * only when decoder_classes > 0. */
typedef int cr_tensor_visit(void *user, const cr_tensor_spec *spec);
int cr_hyenadna_visit_tensors(cr_network *network, cr_tensor_visit *visit, void *user);

/* The canonical form of a tensor's name into text[capacity]: prefixes of wrapping modules and the
 * ".layer" of checkpointed sublayers removed, all names of the shared frequency made one, and those
 * of the original code's decoder.
 * 0: a name that no model needs (training metrics). */
int cr_hyenadna_canonical_name(const char *name, char *text, size_t capacity);

/* Position features of the filter by formula, in double: z (count, E) and t (count) for n = first,
 * first + 1, ...; either may be NULL. See docs/hyenadna.md 2.3. */
void cr_hyenadna_positions(int64_t max_length, int64_t features, int64_t first, int64_t count,
			   double *z, double *t);

/* Decay rates by formula (D); negative, as stored files have them. */
void cr_hyenadna_deltas(int64_t width, float *deltas);

/* Does a stored table z (M, E) or t (M) agree with the formula within fp32 rounding? role:
 * CR_ROLE_FEATURES or CR_ROLE_OFFSETS. 0, or CROCUTA_EMEMORY. */
int cr_hyenadna_table_agrees(const float *table, int role, int64_t max_length, int64_t features,
			     int *agrees);
int cr_hyenadna_deltas_agree(const float *deltas, int64_t width);

#endif
