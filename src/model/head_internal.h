/* head_internal.h - an opened head from the inside; for src/model only. */
#ifndef CR_MODEL_HEAD_INTERNAL_H
#define CR_MODEL_HEAD_INTERNAL_H

#include "model/head.h"
#include "model/model_internal.h"

/* Largest sizes accepted of head.json. F features, H hidden units. */
enum {
	CR_HEAD_FEATURES_MAX = 1 << 24,
	CR_HEAD_HIDDEN_MAX = 1 << 16,
	CR_HEAD_CLASS_NAME_MAX = 100,
};
#define CR_HEAD_WINDOW_MAX ((int64_t)1 << 31)

struct crocuta_head {
	crocuta_head_info info;
	cr_config config; /* of head.json; root NULL for a tensor of a model */
	char *path, *name;
	char sha256[CR_DIGEST_TEXT];
	const char *backbone_name; /* inside config */
	char backbone_sha256[CR_DIGEST_TEXT];
	char **class_names;                 /* (classes) */
	float *hidden_weight, *hidden_bias; /* (H, F), (H) or NULL */
	float *output_weight, *output_bias; /* (C, H or F), (C) */
};

/* ---- head.c ---- */

/* Without anything in it; NULL without memory. */
crocuta_head *cr_head_alloc(void);

/* The weights, zeroed; info.features, hidden and classes are set. */
int cr_head_alloc_weights(crocuta_head *head, crocuta_error *error);

/* NULL, or what is wrong with it; the number of layers is not looked at. */
const char *cr_head_form_problem(const crocuta_feature_form *form);

/* Borrowed from the head, which must be one of head.json. */
void cr_head_spec_of(const crocuta_head *head, cr_head_spec *spec);

/* Is there a head.json in the model's directory? CROCUTA_EMEMORY. */
int cr_head_beside(const crocuta_model *model, int *beside, crocuta_error *error);

/* ---- head_read.c ---- */

/* head.json from memory: everything but path, name, sha256, features and weights. What is allocated
 * before a failure belongs to the head. */
int cr_head_parse(const char *text, size_t size, const char *where, crocuta_head *head,
		  crocuta_error *error);

/* Both files of a directory, for this model. */
int cr_head_read(const char *directory, const crocuta_model *model, int allow_nan,
		 crocuta_head *head, crocuta_error *error);

/* ---- head_tensors.c ---- */

/* score.weight or the decoder of a model. */
int cr_head_from_tensors(const crocuta_model *model, const crocuta_head_options *options,
			 crocuta_head *head, crocuta_error *error);

/* ---- head_write.c ---- */

/* head.json, for free(). */
int cr_head_json(const cr_head_spec *spec, char **text, crocuta_error *error);

/* Both files into an existing directory. */
int cr_head_fill(const cr_head_spec *spec, const char *directory, crocuta_error *error);

#endif
