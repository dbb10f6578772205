/* family_hyenadna_attention.c - HyenaDNA with attention layers: their config, and the stack they
 * make.
 *
 * `attn_cfg` holds the arguments of flash-attention's MHA class. Those that change the arithmetic
 * are accepted at the one value that is computed here.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/family_hyenadna.h"
#include "model/model_internal.h"
#include "model/stack_of_network.h"

/* Null means what its absence does, but for TRUE: Python's None is not true. */
enum demand { FALSE, TRUE, NONE, ZERO };

static const struct {
	const char *key;
	enum demand demand;
	const char *reason;
} demands[] = {
	{"causal", TRUE, "attention that looks ahead is not supported"},
	{"bias", TRUE, "attention without bias is not supported"},
	{"qkv_proj_bias", TRUE, "attention without bias is not supported"},
	{"out_proj_bias", TRUE, "attention without bias is not supported"},
	{"cross_attn", FALSE, "attention to another sequence is not supported"},
	{"dwconv", FALSE, "a convolution of queries, keys and values is not supported"},
	{"rotary_emb_interleaved", FALSE, "only rotary embeddings of two halves are supported"},
	{"rotary_emb_scale_base", ZERO, "scaled rotary embeddings are not supported"},
	{"use_alibi", FALSE, "biases by distance are not supported"},
	{"softmax_scale", NONE, "only the scale 1/sqrt(head size) is supported"},
	{"num_heads_kv", NONE, "shared keys and values are not supported"},
	{"window_size", NONE, "attention in a window is not supported"},
};

/* Read below, or without effect on inference. */
static const char *const known_fields[] = {
	"num_heads",     "rotary_emb_dim", "rotary_emb_base", "dropout", "use_flash_attn",
	"fused_bias_fc", "checkpointing",  "return_residual", "device",  "dtype",
};

static int meets(const json_t *value, enum demand demand)
{
	switch (demand) {
	case TRUE:
		return json_is_true(value);
	case FALSE:
		return json_is_null(value) || json_is_false(value);
	case ZERO:
		return json_is_null(value) ||
		       (json_is_number(value) && json_number_value(value) == 0);
	default:
		return json_is_null(value);
	}
}

static int is_known(const char *key)
{
	for (size_t i = 0; i < sizeof demands / sizeof *demands; i++)
		if (!strcmp(key, demands[i].key))
			return 1;
	for (size_t i = 0; i < sizeof known_fields / sizeof *known_fields; i++)
		if (!strcmp(key, known_fields[i]))
			return 1;
	return 0;
}

static int read_settings(const cr_config *config, const json_t *object,
			 cr_hyenadna_attention *attention, cr_notes *notes, crocuta_error *error)
{
	const char *key;
	json_t *value;
	int code;

	for (size_t i = 0; i < sizeof demands / sizeof *demands; i++) {
		value = json_object_get(object, demands[i].key);
		if (value && !meets(value, demands[i].demand))
			return cr_fail(error, CROCUTA_EMODEL, "%s: attn_cfg.%s: %s", config->where,
				       demands[i].key, demands[i].reason);
	}
	code = cr_config_integer(config, object, "num_heads", 1, CR_WIDTH_MAX, &attention->heads,
				 error);
	if (!code)
		code = cr_config_integer(config, object, "rotary_emb_dim", 0, CR_WIDTH_MAX,
					 &attention->rotary_size, error);
	if (!code)
		code = cr_config_number(config, object, "rotary_emb_base", 1, 1e12,
					&attention->rotary_base, error);
	if (code)
		return code;
	if (!attention->heads)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: attn_layer_idx lists attention layers, and attn_cfg.num_heads "
			       "does not say how many heads they have",
			       config->where);
	json_object_foreach((json_t *)object, key, value)
	{
		if (!is_known(key))
			cr_note(notes, "config.json: unknown field \"attn_cfg.%.80s\" ignored",
				key);
	}
	return 0;
}

/* An empty list or object, false and 0 also mean none. */
static int is_none(const json_t *list)
{
	if (json_is_array(list) || json_is_object(list))
		return json_array_size(list) + json_object_size(list) == 0;
	return !list || json_is_null(list) || json_is_false(list) ||
	       (json_is_number(list) && json_number_value(list) == 0);
}

static int read_list(const cr_config *config, const json_t *list, cr_hyenadna_attention *attention,
		     crocuta_error *error)
{
	size_t i;
	json_t *value;

	if (!json_is_array(list))
		return cr_fail(error, CROCUTA_EMODEL, "%s: attn_layer_idx is not a list of layers",
			       config->where);
	json_array_foreach((json_t *)list, i, value)
	{
		const int64_t layer = json_is_integer(value) ? json_integer_value(value) : -1;

		if (layer < 0 || layer >= CR_LAYERS_MAX)
			return cr_fail(
				error, CROCUTA_EMODEL,
				"%s: attn_layer_idx: entry %lld is not a layer, a whole number "
				"0 to %d",
				config->where, (long long)i, CR_LAYERS_MAX - 1);
		attention->layers += !attention->listed[layer];
		attention->listed[layer] = 1;
		attention->last = layer > attention->last ? layer : attention->last;
	}
	while (attention->first_hyena < CR_LAYERS_MAX && attention->listed[attention->first_hyena])
		attention->first_hyena++;
	return 0;
}

int cr_hyenadna_read_attention(const cr_config *config, cr_hyenadna_attention *attention,
			       cr_notes *notes, crocuta_error *error)
{
	const json_t *list = json_object_get(config->root, "attn_layer_idx");
	const json_t *settings = json_object_get(config->root, "attn_cfg");
	const json_t *layer = json_object_get(config->root, "layer");
	int code;

	*attention = (cr_hyenadna_attention){.rotary_base = 10000};
	if (!is_none(json_object_get(layer, "attn_layer_idx")))
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: layer.attn_layer_idx: attention layers are listed beside layer, "
			"not in it",
			config->where);
	if (is_none(list))
		return 0;
	code = read_list(config, list, attention, error);
	if (!code && settings && !json_is_null(settings) && !json_is_object(settings))
		code = cr_fail(error, CROCUTA_EMODEL, "%s: attn_cfg is not an object",
			       config->where);
	return code ? code : read_settings(config, settings, attention, notes, error);
}

int cr_hyenadna_check_attention(const cr_hyenadna_attention *attention, const cr_network *network,
				const char *where, crocuta_error *error)
{
	const int64_t width = network->width, heads = attention->heads;
	const int64_t rotary = attention->rotary_size;

	if (!attention->layers)
		return 0;
	if (width % heads)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: a width of %lld does not divide into %lld heads "
			       "(attn_cfg.num_heads)",
			       where, (long long)width, (long long)heads);
	if (rotary % 2 || rotary > width / heads)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: attn_cfg.rotary_emb_dim is %lld, expected an even number up to "
			       "the head's size %lld",
			       where, (long long)rotary, (long long)(width / heads));
	return 0;
}

/* base^(-2j / R), rounded once; stored ones come first, since a power in float32 may differ in its
 * last bit. */
static int compute_frequencies(crocuta_model *model, const cr_hyenadna_attention *attention,
			       const float **frequency, crocuta_error *error)
{
	const int64_t size = attention->rotary_size;
	float *array;
	int code = cr_model_floats(model, size / 2, &array, error);

	if (code)
		return code;
	for (int64_t j = 0; j < size / 2; j++)
		array[j] = (float)pow(attention->rotary_base, -(double)(2 * j) / (double)size);
	*frequency = array;
	return 0;
}

/* Of each layer; heads 0 where it has HyenaDNA's own operator. */
static int describe_attention(crocuta_model *model, const cr_hyenadna_attention *attention,
			      cr_attention_weights *weights, crocuta_error *error)
{
	const int64_t size = model->network.width / attention->heads;
	const float *computed = NULL;

	for (int64_t i = 0; i < model->network.layers; i++) {
		const float *frequency = attention->inverse_frequency[i];

		if (!cr_hyenadna_is_attention(attention, i))
			continue;
		if (!frequency && !computed && attention->rotary_size) {
			int code = compute_frequencies(model, attention, &computed, error);

			if (code)
				return code;
		}
		weights[i] = (cr_attention_weights){
			.heads = attention->heads,
			.kv_heads = attention->heads,
			.head_size = size,
			.rotary_size = attention->rotary_size,
			.inverse_frequency = frequency ? frequency : computed,
			.position_divisor = 1,
			.scale = 1 / sqrt((double)size),
		};
	}
	return 0;
}

int cr_hyenadna_make_stack(crocuta_model *model, const cr_hyenadna_attention *attention,
			   crocuta_error *error)
{
	cr_network *network = &model->network;
	const size_t layers = (size_t)network->layers;
	cr_attention_weights *weights = cr_calloc(layers, sizeof *weights);
	float *taps;
	int code = cr_model_floats(model, cr_stack_taps_floats(network), &taps, error);

	model->stack.layer = cr_calloc(layers, sizeof *model->stack.layer);
	if (!code && (!weights || !model->stack.layer))
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of layers");
	if (!code)
		code = describe_attention(model, attention, weights, error);
	if (!code) {
		cr_stack_describe(network, weights, taps, &model->stack);
		network->stack = &model->stack;
		cr_free(network->block);
		network->block = NULL;
	}
	cr_free(weights);
	return code;
}
