/* family_hyenadna_config.c - config.json of a HyenaDNA, in the two forms in which it is published.
 *
 * The Hugging Face port keeps every field at the top; the training repository keeps the operator's
 * in an object "layer" under other names (l_max, w). Options that no released model uses and that
 * would change the arithmetic are refused by name rather than approximated.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/family.h"

/* The only value under which this code computes what the option means. */
static const struct {
	const char *key;
	enum cr_demand kind;
	int number;
	const char *text;
	const char *reason;
} demands[] = {
	{"_name_", CR_DEMAND_STRING, 0, "hyena", "only Hyena operators are supported"},
	{"hyena_order", CR_DEMAND_INTEGER, 2, NULL, "only order 2 is supported"},
	{"order", CR_DEMAND_INTEGER, 2, NULL, "only order 2 is supported"},
	{"short_filter_order", CR_DEMAND_INTEGER, 3, NULL,
	 "only short filters of 3 taps are supported"},
	{"num_heads", CR_DEMAND_INTEGER, 1, NULL, "operators with several heads are not supported"},
	{"inner_factor", CR_DEMAND_INTEGER, 1, NULL, "a widened operator is not supported"},
	{"num_blocks", CR_DEMAND_INTEGER, 1, NULL, "operators split into blocks are not supported"},
	{"outer_mixing", CR_DEMAND_FLAG, 0, NULL, "outer mixing is not supported"},
	{"post_order_ffn", CR_DEMAND_FLAG, 0, NULL,
	 "a projection after each order is not supported"},
	{"activation", CR_DEMAND_STRING, 0, "id",
	 "an activation after the operator is not supported"},
	{"normalized", CR_DEMAND_FLAG, 0, NULL, "normalised filters are not supported"},
	{"linear_mixer", CR_DEMAND_FLAG, 0, NULL, "linear filters are not supported"},
	{"modulate", CR_DEMAND_FLAG, 1, NULL, "filters without a decay window are not supported"},
	{"bias", CR_DEMAND_FLAG, 1, NULL, "filters without a skip weight are not supported"},
	{"use_bias", CR_DEMAND_FLAG, 1, NULL, "filters without a skip weight are not supported"},
	{"bidirectional", CR_DEMAND_FLAG, 0, NULL,
	 "its output depends on the length of the input and is not supported"},
	{"max_position_embeddings", CR_DEMAND_INTEGER, 0, NULL,
	 "position embeddings are not supported"},
	{"quantization_config", CR_DEMAND_EMPTY, 0, NULL, "quantized weights are not supported"},
};

/* Known and without effect on inference, or read below. */
static const char *const known_fields[] = {
	"activation_freq",
	"architectures",
	"attn_cfg",
	"attn_layer_idx",
	"checkpoint_mixer",
	"checkpoint_mlp",
	"crocuta_version",
	"d_inner",
	"d_model",
	"device",
	"dtype",
	"emb_dim",
	"embed_dropout",
	"filter_order",
	"filter_shift",
	"fused_dropout_add_ln",
	"fused_mlp",
	"hyena_dropout",
	"hyena_filter_dropout",
	"id2label",
	"initializer_range",
	"label2id",
	"layer",
	"layer_norm_epsilon",
	"max_seq_len",
	"model_type",
	"n_layer",
	"num_inner_mlps",
	"num_labels",
	"pad_token_id",
	"pad_vocab_size_multiple",
	"problem_type",
	"resid_dropout",
	"residual_in_fp32",
	"return_hidden_state",
	"tie_word_embeddings",
	"torch_dtype",
	"train_freq",
	"transformers_version",
	"use_cache",
	"use_return_dict",
	"vocab_size",
	"_name_or_path",
	"eos_token_id",
	"bos_token_id",
	"sep_token_id",
	"return_dict",
	"output_hidden_states",
	"output_attentions",
	"is_decoder",
	"sequence_parallel",
	"process_group",
};

static const char *const known_layer_fields[] = {
	"attn_layer_idx", /* refused by cr_hyenadna_read_attention */
	"d_model",
	"dropout",
	"emb_dim",
	"filter_cls",
	"filter_dropout",
	"filter_order",
	"fused_bias_fc",
	"fused_fft_conv",
	"jit_filter",
	"l_max",
	"local_order",
	"lr",
	"lr_pos_emb",
	"num_inner_mlps",
	"return_state",
	"train_freq",
	"w",
	"wd",
	"filter_shift",
};

static int check_demands(const cr_config *config, const json_t *object, const char *prefix,
			 crocuta_error *error)
{
	for (size_t i = 0; i < sizeof demands / sizeof *demands; i++) {
		json_t *value = json_object_get(object, demands[i].key);

		if (cr_config_refused(value, demands[i].kind, demands[i].number, demands[i].text))
			return cr_fail(error, CROCUTA_EMODEL, "%s: %s%s: %s", config->where, prefix,
				       demands[i].key, demands[i].reason);
	}
	return 0;
}

static int is_listed(const char *key, const char *const *list, size_t count)
{
	for (size_t i = 0; i < sizeof demands / sizeof *demands; i++)
		if (!strcmp(key, demands[i].key))
			return 1;
	for (size_t i = 0; i < count; i++)
		if (!strcmp(key, list[i]))
			return 1;
	return 0;
}

static void note_unknown_fields(const cr_config *config, json_t *layer, cr_notes *notes)
{
	const char *key;
	json_t *value;

	json_object_foreach(config->root, key, value)
	{
		if (!strcmp(key, "auto_map") || !strcmp(key, "trust_remote_code"))
			cr_note(notes, "config.json: %s asks for Python code; ignored", key);
		else if (!is_listed(key, known_fields, sizeof known_fields / sizeof *known_fields))
			cr_note(notes, "config.json: unknown field \"%.80s\" ignored", key);
	}
	json_object_foreach(layer, key, value)
	{
		if (!is_listed(key, known_layer_fields,
			       sizeof known_layer_fields / sizeof *known_layer_fields))
			cr_note(notes, "config.json: unknown field \"layer.%.80s\" ignored", key);
	}
}

/* Fields that carry other names, or another place, in the two forms. */
static int read_operator(const cr_config *config, const json_t *object, const char *max_length,
			 const char *frequency, cr_hyenadna_config *fields, crocuta_error *error)
{
	int code = cr_config_integer(config, object, max_length, 2, (int64_t)1 << 31,
				     &fields->max_length, error);

	if (!code)
		code = cr_config_integer(config, object, "emb_dim", 3, CR_FEATURES_MAX,
					 &fields->features, error);
	if (!code)
		code = cr_config_integer(config, object, "filter_order", 1, CR_FILTER_ORDER_MAX,
					 &fields->filter_order, error);
	if (!code)
		code = cr_config_integer(config, object, "num_inner_mlps", 1, CR_FILTER_INNER_MAX,
					 &fields->filter_inner, error);
	if (!code)
		code = cr_config_number(config, object, frequency, 1e-6, 1e6,
					&fields->activation_frequency, error);
	if (!code)
		code = cr_config_number(config, object, "filter_shift", -10, 10,
					&fields->filter_shift, error);
	if (!code)
		code = cr_config_flag(config, object, "train_freq", &fields->trained_frequency,
				      error);
	return code;
}

static int read_common(const cr_config *config, cr_hyenadna_config *fields, crocuta_error *error)
{
	const json_t *root = config->root;
	int tied, code = cr_config_integer(config, root, "d_model", 1, CR_WIDTH_MAX, &fields->width,
					   error);

	if (!code)
		code = cr_config_integer(config, root, "d_inner", 1, CR_INNER_WIDTH_MAX,
					 &fields->inner_width, error);
	if (!code)
		code = cr_config_integer(config, root, "n_layer", 1, CR_LAYERS_MAX, &fields->layers,
					 error);
	if (!code)
		code = cr_config_integer(config, root, "vocab_size", 1, CR_VOCABULARY_MAX,
					 &fields->vocabulary, error);
	if (!code)
		code = cr_config_integer(config, root, "pad_vocab_size_multiple", 1,
					 CR_VOCABULARY_MAX, &fields->vocabulary_multiple, error);
	if (!code)
		code = cr_config_number(config, root, "layer_norm_epsilon", 1e-12, 0.1,
					&fields->norm_epsilon, error);
	if (!code)
		code = cr_config_flag(config, root, "tie_word_embeddings", &tied, error);
	return code;
}

int cr_hyenadna_read_config(const cr_config *config, cr_hyenadna_config *fields, cr_notes *notes,
			    crocuta_error *error)
{
	json_t *layer = json_object_get(config->root, "layer");
	int code;

	*fields = (cr_hyenadna_config){.vocabulary_multiple = 1,
				       .activation_frequency = 1,
				       .norm_epsilon = 1e-5,
				       .filter_shift = NAN,
				       .trained_frequency = 1};
	if (json_is_null(layer))
		layer = NULL;
	if (layer && !json_is_object(layer))
		return cr_fail(error, CROCUTA_EMODEL, "%s: layer is not an object", config->where);
	fields->original = layer != NULL;
	code = check_demands(config, config->root, "", error);
	if (!code)
		code = check_demands(config, layer, "layer.", error);
	if (!code)
		code = read_common(config, fields, error);
	if (!code)
		code = read_operator(config, config->root, "max_seq_len", "activation_freq", fields,
				     error);
	if (!code && layer)
		code = read_operator(config, layer, "l_max", "w", fields, error);
	if (code)
		return code;
	if (fields->features && fields->features % 2 == 0)
		return cr_fail(error, CROCUTA_EMODEL, "%s: emb_dim is %lld, expected an odd number",
			       config->where, (long long)fields->features);
	note_unknown_fields(config, layer, notes);
	if (fields->norm_epsilon != 1e-5)
		cr_note(notes,
			"config.json: layer_norm_epsilon %g is used in every norm; the Hugging "
			"Face code uses it in the last one only",
			fields->norm_epsilon);
	return 0;
}
