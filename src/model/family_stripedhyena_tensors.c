/* family_stripedhyena_tensors.c - which tensors a StripedHyena has: names, shapes, orders, places.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/family_stripedhyena.h"

enum place { MATRIX, VECTOR };

/* Rows: as in the stack, or as the config says for the hyena's or attention's input. */
enum rows { PLAIN, HYENA, QKV };

#define ON(kind) (1u << CR_STRIPED_##kind)
#define HYENAS (ON(MODAL) | ON(SHORT) | ON(MEDIUM) | ON(LONG))
#define ALL (HYENAS | ON(ATTENTION))
#define AT(field) offsetof(cr_stack_layer, field)

/* Tensors of one block. Shape letters: D width, T three times D, A heads times head size, Q that of
 * queries, keys and values, R half of a head, I inner width, N states, S short taps, G groups, F
 * taps of an explicit filter, and digits. */
static const struct {
	const char *name, *shape;
	size_t target; /* in cr_stack_layer */
	unsigned int kinds;
	enum place place;
	enum rows rows;
	int reversed, bias;
} block_tensors[] = {
	{"pre_norm.scale", "D", AT(norm1.scale), ALL, VECTOR, PLAIN, 0, 0},
	{"post_norm.scale", "D", AT(norm2.scale), ALL, VECTOR, PLAIN, 0, 0},
	{"mlp.l1.weight", "ID", AT(w1), ALL, MATRIX, PLAIN, 0, 0},
	{"mlp.l2.weight", "ID", AT(w2), ALL, MATRIX, PLAIN, 0, 0},
	{"mlp.l3.weight", "DI", AT(w3), ALL, MATRIX, PLAIN, 0, 0},
	{"projections.weight", "TD", AT(in), HYENAS, MATRIX, HYENA, 0, 0},
	{"projections.bias", "T", AT(in.bias), HYENAS, VECTOR, HYENA, 0, CR_BIAS_IN},
	{"filter.short_filter_weight", "T1S", AT(short_taps), HYENAS, VECTOR, HYENA, 1, 0},
	{"filter.short_filter_bias", "T", AT(short_bias), HYENAS, VECTOR, HYENA, 0, CR_BIAS_SHORT},
	{"filter.poles", "DN12", AT(modal.poles), ON(MODAL), VECTOR, PLAIN, 0, 0},
	{"filter.residues", "DN12", AT(modal.residues), ON(MODAL), VECTOR, PLAIN, 0, 0},
	{"filter.log_poles", "DN1", AT(modal.poles), ON(LONG), VECTOR, PLAIN, 0, 0},
	{"filter.residues", "DN", AT(modal.residues), ON(LONG), VECTOR, PLAIN, 0, 0},
	{"filter.h", "G1F", AT(fir.taps), ON(SHORT), VECTOR, PLAIN, 1, 0},
	{"filter.h", "G1F", AT(fir.taps), ON(MEDIUM), VECTOR, PLAIN, 0, 0},
	{"filter.D", "D", AT(skip), HYENAS & ~ON(SHORT), VECTOR, PLAIN, 0, 0},
	{"out_filter_dense.weight", "DD", AT(out), HYENAS, MATRIX, PLAIN, 0, 0},
	{"out_filter_dense.bias", "D", AT(out.bias), HYENAS, VECTOR, PLAIN, 0, CR_BIAS_OUT},
	{"inner_mha_cls.Wqkv.weight", "QD", AT(in), ON(ATTENTION), MATRIX, QKV, 0, 0},
	{"inner_mha_cls.Wqkv.bias", "Q", AT(in.bias), ON(ATTENTION), VECTOR, QKV, 0, CR_BIAS_QKV},
	{"inner_mha_cls.out_proj.weight", "DA", AT(out), ON(ATTENTION), MATRIX, PLAIN, 0, 0},
	{"inner_mha_cls.out_proj.bias", "D", AT(out.bias), ON(ATTENTION), VECTOR, PLAIN, 0,
	 CR_BIAS_ATTENTION_OUT},
};

static int64_t size_of(const cr_stack *stack, const cr_stack_layer *layer, int64_t inner_width,
		       char letter)
{
	const cr_attention_weights *attention = &layer->attention;

	switch (letter) {
	case 'D':
		return stack->width;
	case 'T':
		return 3 * stack->width;
	case 'A':
		return attention->heads * attention->head_size;
	case 'Q':
		return (attention->heads + 2 * attention->kv_heads) * attention->head_size;
	case 'R':
		return attention->rotary_size / 2;
	case 'I':
		return inner_width;
	case 'N':
		return layer->modal.states;
	case 'S':
		return layer->short_length;
	case 'G':
		return layer->fir.groups;
	case 'F':
		return layer->fir.length;
	case 'V':
		return stack->vocabulary;
	default:
		return letter - '0';
	}
}

static void set_shape(cr_striped_tensor *tensor, const cr_stack *stack, const cr_stack_layer *layer,
		      int64_t inner_width, const char *letters)
{
	for (tensor->rank = 0; *letters; letters++)
		tensor->shape[tensor->rank++] = size_of(stack, layer, inner_width, *letters);
}

static void set_rows(cr_striped_tensor *tensor, const cr_stack *stack,
		     const cr_striped_config *config, enum rows rows)
{
	tensor->rows = rows == HYENA ? config->hyena_rows
		       : rows == QKV ? config->attention_rows
				     : CR_ROWS_PLAIN;
	tensor->part = stack->width;
	tensor->group = tensor->rows == CR_ROWS_BY_HEAD ? stack->width / config->heads : 1;
}

static int visit_block(cr_stack *stack, int64_t index, int kind, int64_t inner_width,
		       const cr_striped_config *config, cr_striped_visit *visit, void *user)
{
	cr_stack_layer *layer = &stack->layer[index];
	cr_striped_tensor tensor;
	int code = 0;

	for (size_t i = 0; i < sizeof block_tensors / sizeof *block_tensors && !code; i++) {
		void *target = (char *)layer + block_tensors[i].target;
		int matrix = block_tensors[i].place == MATRIX;

		if (!(block_tensors[i].kinds >> kind & 1))
			continue;
		tensor = (cr_striped_tensor){.reversed = block_tensors[i].reversed,
					     .bias = block_tensors[i].bias,
					     .matrix = matrix ? target : NULL,
					     .vector = matrix ? NULL : target};
		snprintf(tensor.name, sizeof tensor.name, "blocks.%lld.%s", (long long)index,
			 block_tensors[i].name);
		set_shape(&tensor, stack, layer, inner_width, block_tensors[i].shape);
		set_rows(&tensor, stack, config, block_tensors[i].rows);
		code = visit(user, &tensor);
	}
	/* Version 1 stores rounded frequencies and computes its own. */
	if (code || kind != CR_STRIPED_ATTENTION || config->version == 1)
		return code;
	tensor = (cr_striped_tensor){.constant = 1,
				     .optional = 1,
				     .group = 1,
				     .vector = &layer->attention.inverse_frequency};
	snprintf(tensor.name, sizeof tensor.name, "blocks.%lld.inner_mha_cls.rotary_emb.inv_freq",
		 (long long)index);
	set_shape(&tensor, stack, layer, inner_width, "R");
	return visit(user, &tensor);
}

int cr_striped_visit_tensors(cr_stack *stack, const signed char *kind, int64_t inner_width,
			     const cr_striped_config *config, cr_striped_visit *visit, void *user)
{
	cr_striped_tensor tensor = {
		.name = "embedding_layer.weight", .group = 1, .matrix = &stack->embedding};
	const cr_stack_layer none = {.mixer = 0};
	int code;

	set_shape(&tensor, stack, &none, inner_width, "VD");
	code = visit(user, &tensor);
	for (int64_t i = 0; i < stack->layers && !code; i++)
		code = visit_block(stack, i, kind[i], inner_width, config, visit, user);
	if (code)
		return code;
	tensor = (cr_striped_tensor){
		.name = "norm.scale", .group = 1, .vector = &stack->final_norm.scale};
	set_shape(&tensor, stack, &none, inner_width, "D");
	code = visit(user, &tensor);
	if (code || config->tied)
		return code;
	tensor = (cr_striped_tensor){.name = "unembed.weight", .group = 1, .matrix = &stack->head};
	set_shape(&tensor, stack, &none, inner_width, "VD");
	return visit(user, &tensor);
}
