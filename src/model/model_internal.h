/* model_internal.h - an opened model from the inside; for src/model only. */
#ifndef CR_MODEL_INTERNAL_H
#define CR_MODEL_INTERNAL_H

#include <crocuta/model.h>

#include "backend/stack.h"
#include "model/config.h"
#include "model/digest.h"
#include "model/family.h"
#include "model/network.h"

#ifndef CR_MODEL_DIR
#define CR_MODEL_DIR "/usr/local/share/crocuta/models" /* installed models */
#endif
#ifndef CR_MODEL_DEFAULT
#define CR_MODEL_DEFAULT "tiny-1k" /* what no -m means */
#endif

struct crocuta_model {
	crocuta_model_info info;
	cr_network network; /* its stack is NULL or the one below */
	cr_stack stack;
	const cr_family *family;
	cr_notes notes;
	double activation_frequency; /* of the config; only kept for writing it again */
	char *path, *name;
	int shapes_only; /* no weights were read */
	char sha256[CR_DIGEST_TEXT];
	void **array; /* (arrays) every weight array; freed with the model */
	int64_t arrays, array_capacity;
};

/* A zeroed array of count floats that lives as long as the model. */
int cr_model_floats(crocuta_model *model, int64_t count, float **array, crocuta_error *error);

/* The same in bytes; 64-byte aligned. */
int cr_model_bytes(crocuta_model *model, int64_t bytes, void **array, crocuta_error *error);

/* Free the array allocated last, which was not needed after all. */
void cr_model_drop_last(crocuta_model *model);

/* What is written for a network: config.json and model.safetensors under canonical names. */
typedef struct cr_write_options {
	int dtype; /* F32, F16 or BF16; position tables and decay rates stay F32 */
	int tables;              /* enum crocuta_position_tables */
	int own_lm_head; /* write lm_head.weight */
	int force;       /* replace a directory that holds a model and nothing else */
	double activation_frequency;
	const json_t *labels, *problem;   /* id2label and problem_type of a classifier, or NULL */
	const struct cr_head_spec *head;  /* written beside it, bound to the new weights; or NULL */
} cr_write_options;

int cr_network_write(const cr_network *network, const char *path, const cr_write_options *options,
		     crocuta_error *error);

/* If the name of a file tells a checkpoint format: 1, and what it is and what to do. */
int cr_model_describe_file(const char *name, const char **what, const char **advice);

#endif
