/* family_hyenadna.h - what the files of the family share: layers of a HyenaDNA that are attention.
 *
 * Its training code replaces the operator of the blocks in `attn_layer_idx` by multi-head
 * attention. Such a model is loaded like any other, the attention's two projections in the place of
 * the operator's, and then described as a stack.
 */
#ifndef CR_MODEL_FAMILY_HYENADNA_H
#define CR_MODEL_FAMILY_HYENADNA_H

#include "model/family.h"

typedef struct cr_hyenadna_attention {
	int64_t layers; /* how many are attention; 0: none, and nothing else is set */
	unsigned char listed[CR_LAYERS_MAX];
	int64_t last;        /* the highest of them */
	int64_t first_hyena; /* the lowest other */
	int64_t heads, rotary_size;
	double rotary_base;
	const float *inverse_frequency[CR_LAYERS_MAX]; /* (rotary_size / 2) as stored, or NULL */
} cr_hyenadna_attention;

static inline int cr_hyenadna_is_attention(const cr_hyenadna_attention *attention, int64_t layer)
{
	return attention && attention->layers && layer < CR_LAYERS_MAX && attention->listed[layer];
}

/* attn_layer_idx and attn_cfg. Refuses, by name, what would change the arithmetic. */
int cr_hyenadna_read_attention(const cr_config *config, cr_hyenadna_attention *attention,
			       cr_notes *notes, crocuta_error *error);

/* Do the settings fit the sizes that the tensors tell? EMODEL. */
int cr_hyenadna_check_attention(const cr_hyenadna_attention *attention, const cr_network *network,
				const char *where, crocuta_error *error);

/* cr_hyenadna_visit_tensors of a network with attention, or without (NULL). */
int cr_hyenadna_visit_layers(cr_network *network, cr_hyenadna_attention *attention,
			     cr_tensor_visit *visit, void *user);

/* Turn the loaded model's network, complete, into its stack; the list of blocks is dropped.
 * EMEMORY. */
int cr_hyenadna_make_stack(struct crocuta_model *model, const cr_hyenadna_attention *attention,
			   crocuta_error *error);

#endif
