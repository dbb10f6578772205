/* stack_of_network.c - a HyenaDNA as a stack: for ranks that share its sequences on the CPU, and
 * where some of its layers are attention.
 */
#include "model/stack_of_network.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/engine_stack.h"

#define SHORT_TAPS 3

static cr_matrix matrix(const float *values, int64_t rows, int64_t columns, const float *bias)
{
	return (cr_matrix){values, CR_NUMBER_F32, rows, columns, bias};
}

/* The checkpoint's last tap is now. */
static void reverse_taps(const float *taps, int64_t channels, float *reversed)
{
	for (int64_t c = 0; c < channels; c++)
		for (int k = 0; k < SHORT_TAPS; k++)
			reversed[c * SHORT_TAPS + k] = taps[c * SHORT_TAPS + SHORT_TAPS - 1 - k];
}

/* What every layer has, whatever its mixer. */
static void describe_block(const cr_network *n, const cr_block_weights *b, int mixer,
			   cr_stack_layer *layer)
{
	const int64_t d = n->width, inner = n->inner_width;

	*layer = (cr_stack_layer){
		.mixer = mixer,
		.norm1 = {b->norm1_weight, b->norm1_bias},
		.norm2 = {b->norm2_weight, b->norm2_bias},
		.in = matrix(b->in_weight, 3 * d, d, b->in_bias),
		.out = matrix(b->out_weight, d, d, b->out_bias),
		.activation = CR_ACTIVATION_GELU_TANH,
		.w1 = matrix(b->fc1_weight, inner, d, b->fc1_bias),
		.w3 = matrix(b->fc2_weight, d, inner, b->fc2_bias),
	};
}

static void describe_operator(const cr_network *n, const cr_block_weights *b, float *taps,
			      cr_stack_layer *layer)
{
	describe_block(n, b, CR_MIXER_IMPLICIT, layer);
	reverse_taps(b->short_weight, 3 * n->width, taps);
	layer->short_length = SHORT_TAPS;
	layer->short_taps = taps;
	layer->short_bias = b->short_bias;
	layer->filter = b->filter;
}

static int64_t layer_floats(const cr_network *n)
{
	return 3 * n->width * SHORT_TAPS;
}

int64_t cr_stack_taps_floats(const cr_network *n)
{
	return n->layers * layer_floats(n);
}

void cr_stack_describe(const cr_network *n, const cr_attention_weights *attention, float *taps,
		       cr_stack *stack)
{
	cr_stack_layer *layer = stack->layer;

	*stack = (cr_stack){
		.width = n->width,
		.layers = n->layers,
		.vocabulary = n->vocabulary,
		.norm = CR_NORM_LAYER,
		.epsilon = n->norm_epsilon,
		.embedding = matrix(n->embedding, n->vocabulary, n->width, NULL),
		.head = matrix(n->lm_head, n->vocabulary, n->width, NULL),
		.final_norm = {n->norm_weight, n->norm_bias},
		.layer = layer,
		.max_length = n->max_length,
		.filter_order = n->filter_order,
		.features = n->features,
		.filter_inner = n->filter_inner,
		.filter_shift = n->filter_shift,
	};
	for (int64_t i = 0; i < n->layers; i++) {
		if (attention && attention[i].heads) {
			describe_block(n, &n->block[i], CR_MIXER_ATTENTION, &layer[i]);
			layer[i].attention = attention[i];
		} else {
			describe_operator(n, &n->block[i], taps + i * layer_floats(n), &layer[i]);
		}
	}
}

int cr_stack_of_network(const cr_network *n, cr_stack *stack, crocuta_error *error)
{
	float *taps = cr_floats(cr_stack_taps_floats(n));

	*stack = (cr_stack){.layer = cr_calloc((size_t)n->layers, sizeof *stack->layer)};
	if (!taps || !stack->layer) {
		cr_free(taps);
		cr_stack_of_network_free(stack);
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a list of layers");
	}
	cr_stack_describe(n, NULL, taps, stack);
	return 0;
}

void cr_stack_of_network_free(cr_stack *stack)
{
	if (stack->layer)
		cr_free((void *)stack->layer[0].short_taps); /* one array for all layers */
	cr_free(stack->layer);
	memset(stack, 0, sizeof *stack);
}
