/* family_stripedhyena_config.c - config.json of Evo-1 and Evo-2: the fields of their YAML files. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/family_stripedhyena.h"

/* The only value under which this code computes what the option means; version 0: of both. */
static const struct {
	const char *key;
	int version;
	enum cr_demand kind;
	int number;
	const char *text;
	const char *reason;
} demands[] = {
	{"tokenizer_type", 0, CR_DEMAND_STRING, 0, "CharLevelTokenizer",
	 "its tokens are not bytes; models of DNA are supported, models of text are not"},
	{"final_norm", 0, CR_DEMAND_FLAG, 1, NULL, "a model without final norm is not supported"},
	{"smeared_gqa", 0, CR_DEMAND_FLAG, 0, NULL, "smeared groups of heads are not supported"},
	{"hyena_filter_groups", 1, CR_DEMAND_INTEGER, 1, NULL,
	 "groups of modal filters are not supported"},
	{"long_fir_threshold", 0, CR_DEMAND_EMPTY, 0, NULL, "cut filters are not supported"},
	{"hyena_flip_x1x2", 0, CR_DEMAND_FLAG, 0, NULL, "exchanged gates are not supported"},
	{"use_laughing_hyena", 0, CR_DEMAND_FLAG, 0, NULL, "distilled filters are not supported"},
	{"interleave", 2, CR_DEMAND_FLAG, 1, NULL, "only interleaved projections are supported"},
	{"interleave", 1, CR_DEMAND_FLAG, 0, NULL,
	 "interleaved projections belong to StripedHyena 2"},
	{"column_split_hyena", 2, CR_DEMAND_FLAG, 0, NULL,
	 "projections split by heads are not supported"},
	{"evo2_style_activations", 1, CR_DEMAND_FLAG, 0, NULL, "it belongs to StripedHyena 2"},
	{"quantization_config", 0, CR_DEMAND_EMPTY, 0, NULL, "quantized weights are not supported"},
};

/* Known and without effect on the numbers, or read below. */
static const char *const known_fields[] = {
	"architectures",
	"attn_block_dtype",
	"attn_layer_idxs",
	"column_split",
	"column_split_hyena",
	"crocuta_version",
	"depthwise_dtype",
	"dtype",
	"eos_token_id",
	"eps",
	"hcl_filter_groups",
	"hcl_layer_idxs",
	"hcm_filter_groups",
	"hcm_filter_length",
	"hcm_layer_idxs",
	"hcs_filter_groups",
	"hcs_filter_length",
	"hcs_layer_idxs",
	"hidden_size",
	"hyena_block_dtype",
	"hyena_layer_idxs",
	"hyena_out_proj_bias",
	"inference_mode",
	"inner_mlp_size",
	"inner_size_multiple_of",
	"log_intermediate_values",
	"make_vocab_size_divisible_by",
	"max_batch_size",
	"max_seqlen",
	"max_sequence_len",
	"mha_out_proj_bias",
	"mlp_activation",
	"mlp_dtype",
	"mlp_init_method",
	"mlp_output_init_method",
	"model_name",
	"model_parallel_size",
	"model_type",
	"num_attention_heads",
	"num_filters",
	"num_layers",
	"pad_token_id",
	"pipe_parallel_size",
	"prefill_style",
	"print_activations",
	"proj_groups",
	"qkv_proj_bias",
	"rotary_emb_base",
	"rotary_emb_scaling_factor",
	"seqlen",
	"short_filter_bias",
	"short_filter_length",
	"split_k0",
	"state_size",
	"tie_embeddings",
	"tie_word_embeddings",
	"torch_dtype",
	"transformers_version",
	"use_cache",
	"use_flash_attn",
	"use_flash_attention_2",
	"use_flash_depthwise",
	"use_flash_rmsnorm",
	"use_flashfft",
	"use_fp8_input_projections",
	"use_interpolated_rotary_pos_emb",
	"use_return_dict",
	"vocab_size",
	"_commit_hash",
	"_name_or_path",
	"bos_token_id",
	"ground_truth_activations_path",
	"low_mem_mode",
	"compile",
	"use_hcl_kernel",
	"use_hcm_kernel",
	"use_hcs_kernel",
	"return_dict",
	"vocab_file",
};

static int check_demands(const cr_config *config, int version, crocuta_error *error)
{
	for (size_t i = 0; i < sizeof demands / sizeof *demands; i++) {
		json_t *value = json_object_get(config->root, demands[i].key);

		if (demands[i].version && demands[i].version != version)
			continue;
		if (cr_config_refused(value, demands[i].kind, demands[i].number, demands[i].text))
			return cr_fail(error, CROCUTA_EMODEL, "%s: %s: %s", config->where,
				       demands[i].key, demands[i].reason);
	}
	return 0;
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

static void note_unknown_fields(const cr_config *config, cr_notes *notes)
{
	const char *key;
	json_t *value;

	json_object_foreach(config->root, key, value)
	{
		if (!strcmp(key, "auto_map") || !strcmp(key, "trust_remote_code"))
			cr_note(notes, "config.json: %s asks for Python code; ignored", key);
		else if (!is_known(key))
			cr_note(notes, "config.json: unknown field \"%.80s\" ignored", key);
	}
}

/* Mark the layers of one list; kind: what they are. */
static int read_list(const cr_config *config, const char *key, int kind, cr_striped_config *fields,
		     crocuta_error *error)
{
	const json_t *list = json_object_get(config->root, key);

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return cr_fail(error, CROCUTA_EMODEL, "%s: %s is not an array", config->where, key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		int64_t layer = json_is_integer(item) ? json_integer_value(item) : -1;

		if (layer < 0 || layer >= fields->layers)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: %s: item %zu is no layer, expected 0 to %lld",
				       config->where, key, i, (long long)fields->layers - 1);
		if (fields->kind[layer] >= 0)
			return cr_fail(error, CROCUTA_EMODEL, "%s: %s: layer %lld is listed twice",
				       config->where, key, (long long)layer);
		fields->kind[layer] = (signed char)kind;
	}
	return 0;
}

/* What the lists of layers say. Version 1 lists both kinds, or attention alone. */
static int read_kinds(const cr_config *config, cr_striped_config *fields, crocuta_error *error)
{
	static const struct {
		const char *key;
		int version, kind;
	} lists[] = {
		{"attn_layer_idxs", 0, CR_STRIPED_ATTENTION},
		{"hyena_layer_idxs", 1, CR_STRIPED_MODAL},
		{"hcs_layer_idxs", 2, CR_STRIPED_SHORT},
		{"hcm_layer_idxs", 2, CR_STRIPED_MEDIUM},
		{"hcl_layer_idxs", 2, CR_STRIPED_LONG},
	};

	if (!fields->layers || !json_object_get(config->root, "attn_layer_idxs"))
		return 0;
	fields->kind = cr_calloc((size_t)fields->layers, 1);
	if (!fields->kind)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to read it", config->where);
	memset(fields->kind, -1, (size_t)fields->layers);
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		int code = 0;

		if (!lists[i].version || lists[i].version == fields->version)
			code = read_list(config, lists[i].key, lists[i].kind, fields, error);
		if (code)
			return code;
	}
	for (int64_t i = 0; i < fields->layers; i++)
		if (fields->kind[i] < 0 && fields->version == 1 &&
		    !json_is_array(json_object_get(config->root, "hyena_layer_idxs")))
			fields->kind[i] = CR_STRIPED_MODAL;
	return 0;
}

static int read_sizes(const cr_config *config, cr_striped_config *fields, crocuta_error *error)
{
	const json_t *root = config->root;
	int64_t filters = 0;
	const struct {
		const char *key;
		int64_t high, *value;
	} sizes[] = {
		{"hidden_size", CR_WIDTH_MAX, &fields->width},
		{"num_filters", CR_WIDTH_MAX, &filters},
		{"num_layers", CR_LAYERS_MAX, &fields->layers},
		{"vocab_size", CR_VOCABULARY_MAX, &fields->vocabulary},
		{"inner_mlp_size", CR_INNER_WIDTH_MAX, &fields->inner_width},
		{"num_attention_heads", CR_STRIPED_HEADS_MAX, &fields->heads},
		{"proj_groups", CR_STRIPED_HEADS_MAX, &fields->proj_groups},
		{"max_seqlen", (int64_t)1 << 31, &fields->max_length},
	};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int code = cr_config_integer(config, root, sizes[i].key, 1, sizes[i].high,
					     sizes[i].value, error);

		if (code)
			return code;
	}
	if (filters && fields->width && filters != fields->width)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: num_filters: filters shared by channels (%lld for %lld) are "
			       "not supported",
			       config->where, (long long)filters, (long long)fields->width);
	return 0;
}

static int read_biases(const cr_config *config, cr_striped_config *fields, crocuta_error *error)
{
	static const struct {
		const char *key;
		int version; /* 0: of both */
		enum cr_striped_bias bias;
	} flags[] = {
		{"qkv_proj_bias", 2, CR_BIAS_IN},
		{"qkv_proj_bias", 0, CR_BIAS_QKV},
		{"hyena_out_proj_bias", 2, CR_BIAS_OUT},
		{"short_filter_bias", 0, CR_BIAS_SHORT},
		{"mha_out_proj_bias", 0, CR_BIAS_ATTENTION_OUT},
	};

	for (int i = 0; i < CR_BIASES; i++)
		fields->bias[i] = -1;
	if (fields->version == 1) /* the published layers always have them */
		fields->bias[CR_BIAS_IN] = fields->bias[CR_BIAS_OUT] = 1;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		int code = 0;

		if (!flags[i].version || flags[i].version == fields->version)
			code = cr_config_flag(config, config->root, flags[i].key,
					      &fields->bias[flags[i].bias], error);
		if (code)
			return code;
	}
	return 0;
}

static int read_rotary(const cr_config *config, cr_striped_config *fields, crocuta_error *error)
{
	int interpolated = 0;
	int code = cr_config_flag(config, config->root, "use_interpolated_rotary_pos_emb",
				  &interpolated, error);

	if (!code && interpolated)
		code = cr_config_number(config, config->root, "rotary_emb_scaling_factor", 1e-3,
					1e6, &fields->divisor, error);
	if (!code)
		code = cr_config_number(config, config->root, "rotary_emb_base", 1.001, 1e15,
					&fields->rotary_base, error);
	return code;
}

static int read_activation(const cr_config *config, cr_striped_config *fields, crocuta_error *error)
{
	const json_t *value = json_object_get(config->root, "mlp_activation");
	const char *name = json_string_value(value);

	fields->activation = CR_ACTIVATION_GELU;
	if (value && !json_is_null(value)) {
		if (name && !strcmp(name, "silu"))
			fields->activation = CR_ACTIVATION_SILU;
		else if (!name || strcmp(name, "gelu"))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: mlp_activation: only gelu and silu are supported",
				       config->where);
	}
	return cr_config_flag(config, config->root, "evo2_style_activations",
			      &fields->first_layer_only, error);
}

static int read_layout(const cr_config *config, cr_striped_config *fields, cr_notes *notes,
		       crocuta_error *error)
{
	int split = 1, by_head = 1, code;
	double epsilon = 0;

	code = cr_config_number(config, config->root, "eps", 1e-12, 0.1, &epsilon, error);
	if (!code)
		code = cr_config_flag(config, config->root, "tie_embeddings", &fields->tied, error);
	if (!code)
		code = cr_config_flag(config, config->root, "column_split_hyena", &split, error);
	if (!code)
		code = cr_config_flag(config, config->root, "column_split", &by_head, error);
	if (code)
		return code;
	if (epsilon == 0)
		cr_note(notes, "config.json has no eps: 1e-6 is used");
	fields->epsilon = epsilon == 0 ? 1e-6 : epsilon;
	if (fields->version == 2) {
		fields->hyena_rows = CR_ROWS_INTERLEAVED;
		fields->attention_rows = by_head ? CR_ROWS_BY_HEAD : CR_ROWS_PLAIN;
	} else { /* column_split is present and means nothing */
		fields->hyena_rows = split ? CR_ROWS_BY_HEAD : CR_ROWS_PLAIN;
		fields->attention_rows = CR_ROWS_PLAIN;
	}
	return 0;
}

int cr_striped_read_config(const cr_config *config, int version, cr_striped_config *fields,
			   cr_notes *notes, crocuta_error *error)
{
	int code;

	*fields = (cr_striped_config){.version = version,
				      .proj_groups = 1,
				      .rotary_base = 10000,
				      .divisor = 1,
				      .first_layer_only = 0,
				      .tied = 1};
	code = check_demands(config, version, error);
	if (!code)
		code = read_sizes(config, fields, error);
	if (!code)
		code = read_kinds(config, fields, error);
	if (!code)
		code = read_biases(config, fields, error);
	if (!code)
		code = read_rotary(config, fields, error);
	if (!code)
		code = read_activation(config, fields, error);
	if (!code)
		code = read_layout(config, fields, notes, error);
	if (!code)
		note_unknown_fields(config, notes);
	return code;
}

int cr_striped_is_second(const json_t *config)
{
	return json_is_array(json_object_get(config, "hcs_layer_idxs")) ||
	       json_is_array(json_object_get(config, "hcm_layer_idxs")) ||
	       json_is_array(json_object_get(config, "hcl_layer_idxs"));
}
