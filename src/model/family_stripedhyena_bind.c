/* family_stripedhyena_bind.c - from the names and shapes of a file to the sizes and layers of a
 * stack.
 *
 * The sizes and the kinds of layers come from the tensors; the config fills in what no tensor
 * shows, and must not contradict the kinds. Nothing is allocated from a number that the file's size
 * does not bear out.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/family_stripedhyena.h"
#include "model/tensor_names.h"

static int ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

int cr_striped_fail_memory(const cr_striped_loading *loading, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to load it", loading->file->where);
}

/* Stored positions, state of 8-bit products, and, of version 1, the frequencies that are not used.
 */
static int is_ignored(const char *name, int version)
{
	return strstr(name, "_extra_state") || ends_with(name, ".t") ||
	       (version == 1 && ends_with(name, ".inv_freq"));
}

static int canonical_name(int version, const char *name, char *text, size_t capacity)
{
	name = cr_skip_prefix(name, "backbone.");
	if (is_ignored(name, version))
		return 0;
	snprintf(text, capacity, "%s", name);
	return 1;
}

cr_striped_entry *cr_striped_find(const cr_striped_loading *loading, const char *name)
{
	return cr_tensor_names_find(loading->entry, loading->entries, sizeof *loading->entry, name);
}

int cr_striped_index_names(cr_striped_loading *loading, crocuta_error *error)
{
	const cr_tensor_naming naming = {canonical_name, loading->config.version, NULL};
	int64_t count = loading->file->count;
	cr_tensor_name *names;
	int code;

	loading->entry = cr_calloc((size_t)count, sizeof *loading->entry);
	loading->by_file = cr_calloc((size_t)count, sizeof *loading->by_file);
	loading->tensor = cr_calloc((size_t)count, sizeof *loading->tensor);
	if (!loading->entry || !loading->by_file || !loading->tensor)
		return cr_striped_fail_memory(loading, error);
	code = cr_tensor_names_read(loading->file, &naming, &names, error);
	if (code)
		return code;
	for (int64_t i = 0; i < count; i++) {
		cr_striped_entry *entry = &loading->entry[loading->entries++];

		entry->name = names[i].name; /* from here on the entry's */
		entry->index = names[i].index;
		loading->by_file[entry->index] = entry;
	}
	cr_free(names);
	return 0;
}

static const cr_tensor *block_tensor(const cr_striped_loading *loading, int64_t layer,
				     const char *name)
{
	char text[128];
	const cr_striped_entry *entry;

	snprintf(text, sizeof text, "blocks.%lld.%s", (long long)layer, name);
	entry = cr_striped_find(loading, text);
	return entry ? &loading->file->tensor[entry->index] : NULL;
}

/* A size of a tensor of at least `rank` dimensions, 0 when there is none. Bounded: beside a zero
 * dimension any number can stand. */
static int64_t dimension(const cr_tensor *tensor, int rank, int axis)
{
	if (!tensor || tensor->rank < rank)
		return 0;
	return tensor->shape[axis] < (int64_t)1 << 31 ? tensor->shape[axis] : (int64_t)1 << 31;
}

static int64_t last_dimension(const cr_tensor *tensor)
{
	return dimension(tensor, 2, tensor ? tensor->rank - 1 : 0);
}

static int count_layers(cr_striped_loading *loading, crocuta_error *error)
{
	cr_stack *stack = &loading->model->stack;
	int64_t layers = 0;
	const char *rest;

	for (int64_t i = 0; i < loading->entries; i++) {
		int64_t layer = cr_tensor_layer(loading->entry[i].name, "blocks.", &rest);

		if (layer >= layers)
			layers = layer + 1;
	}
	if (!layers)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: none of its %lld tensors belongs to a layer of a StripedHyena "
			       "(blocks.0...)",
			       loading->file->where, (long long)loading->file->count);
	if (cr_tensor_check_size(loading->file->where, "the number of layers", layers, 1,
				 CR_LAYERS_MAX, error))
		return CROCUTA_EMODEL;
	if (loading->config.layers && loading->config.layers != layers)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: has tensors of %lld layers, config.json says num_layers %lld",
			       loading->file->where, (long long)layers,
			       (long long)loading->config.layers);
	stack->layers = layers;
	return 0;
}

/* What a layer's tensors make it, or -1 when none of them tells. */
static int kind_of(const cr_striped_loading *loading, int64_t layer)
{
	const cr_tensor *taps = block_tensor(loading, layer, "filter.h");

	if (block_tensor(loading, layer, "inner_mha_cls.Wqkv.weight"))
		return CR_STRIPED_ATTENTION;
	if (block_tensor(loading, layer, "filter.poles"))
		return CR_STRIPED_MODAL;
	if (block_tensor(loading, layer, "filter.log_poles"))
		return CR_STRIPED_LONG;
	if (!taps)
		return -1;
	return last_dimension(taps) >= CR_STRIPED_MEDIUM_TAPS ? CR_STRIPED_MEDIUM
							      : CR_STRIPED_SHORT;
}

static int settle_kinds(cr_striped_loading *loading, crocuta_error *error)
{
	static const char *const names[CR_STRIPED_KINDS] = {
		[CR_STRIPED_ATTENTION] = "attention",
		[CR_STRIPED_MODAL] = "a filter of complex poles",
		[CR_STRIPED_SHORT] = "a short filter (SE)",
		[CR_STRIPED_MEDIUM] = "a medium filter (MR)",
		[CR_STRIPED_LONG] = "a long filter (LI)"};
	const signed char *stated = loading->config.kind;
	int64_t layers = loading->model->stack.layers;

	loading->kind = cr_calloc((size_t)layers, 1);
	if (!loading->kind)
		return cr_striped_fail_memory(loading, error);
	for (int64_t i = 0; i < layers; i++) {
		int kind = kind_of(loading, i), expected = stated ? stated[i] : -1;

		if (kind >= 0 && stated && kind != expected)
			return cr_fail(
				error, CROCUTA_EMODEL,
				"%s: layer %lld has the tensors of %s, the lists of layers in "
				"config.json make it %s",
				loading->file->where, (long long)i, names[kind],
				expected < 0 ? "none" : names[expected]);
		kind = kind >= 0 ? kind : expected;
		if (kind < 0)
			kind = loading->config.version == 1 ? CR_STRIPED_MODAL : CR_STRIPED_LONG;
		loading->kind[i] = (signed char)kind;
	}
	return 0;
}

static const int mixers[CR_STRIPED_KINDS] = {[CR_STRIPED_ATTENTION] = CR_MIXER_ATTENTION,
					     [CR_STRIPED_MODAL] = CR_MIXER_MODAL,
					     [CR_STRIPED_SHORT] = CR_MIXER_FIR,
					     [CR_STRIPED_MEDIUM] = CR_MIXER_FIR,
					     [CR_STRIPED_LONG] = CR_MIXER_MODAL};

/* Sizes of one layer that its tensors show; those of attention need the heads. */
static void size_layer(const cr_striped_loading *loading, int64_t index)
{
	const cr_striped_config *config = &loading->config;
	cr_stack *stack = &loading->model->stack;
	cr_stack_layer *layer = &stack->layer[index];
	cr_attention_weights *attention = &layer->attention;
	int kind = loading->kind[index];
	const cr_tensor *taps = block_tensor(loading, index, "filter.h");
	const cr_tensor *poles = block_tensor(
		loading, index, kind == CR_STRIPED_MODAL ? "filter.poles" : "filter.log_poles");

	layer->mixer = mixers[kind];
	layer->activation =
		config->first_layer_only && index ? CR_ACTIVATION_NONE : config->activation;
	if (kind != CR_STRIPED_ATTENTION)
		layer->short_length =
			last_dimension(block_tensor(loading, index, "filter.short_filter_weight"));
	if (mixers[kind] == CR_MIXER_FIR) {
		layer->fir.groups = dimension(taps, 2, 0);
		layer->fir.length = last_dimension(taps);
	} else if (mixers[kind] == CR_MIXER_MODAL) {
		layer->modal.complex = kind == CR_STRIPED_MODAL;
		layer->modal.states = dimension(poles, 2, 1);
	} else if (config->heads) {
		attention->heads = config->heads;
		attention->kv_heads = config->heads / config->proj_groups;
		attention->head_size = stack->width / config->heads;
		attention->rotary_size = attention->head_size;
		attention->position_divisor = config->divisor;
		attention->scale =
			attention->head_size ? 1 / sqrt((double)attention->head_size) : 0;
	}
}

static int settle_sizes(cr_striped_loading *loading, crocuta_error *error)
{
	const cr_striped_config *config = &loading->config;
	cr_stack *stack = &loading->model->stack;
	cr_network *network = &loading->model->network;
	cr_notes *notes = &loading->model->notes;
	const cr_striped_entry *table = cr_striped_find(loading, "embedding_layer.weight");
	const cr_tensor *tokens = table ? &loading->file->tensor[table->index] : NULL;
	int code = count_layers(loading, error);

	if (!code)
		code = settle_kinds(loading, error);
	if (code)
		return code;
	stack->width =
		cr_tensor_settle(notes, "hidden_size", dimension(tokens, 2, 1), config->width);
	stack->vocabulary =
		cr_tensor_settle(notes, "vocab_size", dimension(tokens, 2, 0), config->vocabulary);
	loading->inner_width = cr_tensor_settle(
		notes, "inner_mlp_size", dimension(block_tensor(loading, 0, "mlp.l1.weight"), 2, 0),
		config->inner_width);
	network->max_length = config->max_length;
	if (!network->max_length) {
		network->max_length = (int64_t)(8192 * config->divisor);
		cr_note(notes, "config.json has no max_seqlen: %lld is used",
			(long long)network->max_length);
	}
	stack->layer = cr_calloc((size_t)stack->layers, sizeof *stack->layer);
	if (!stack->layer)
		return cr_striped_fail_memory(loading, error);
	for (int64_t i = 0; i < stack->layers; i++)
		size_layer(loading, i);
	return 0;
}

/* Heads, which no tensor shows; before anything is divided by them. */
static int check_heads(const cr_striped_loading *loading, crocuta_error *error)
{
	const cr_striped_config *config = &loading->config;
	const cr_stack *stack = &loading->model->stack;
	int64_t heads = config->heads, width = stack->width;
	int needed = config->hyena_rows == CR_ROWS_BY_HEAD;

	for (int64_t i = 0; i < stack->layers; i++)
		needed |= loading->kind[i] == CR_STRIPED_ATTENTION;
	if (!needed)
		return 0;
	if (!heads)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: config.json has no num_attention_heads, which no tensor shows",
			       loading->file->where);
	if (width % heads || width / heads % 2)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: a width of %lld does not divide into %lld heads of even size "
			       "(num_attention_heads)",
			       loading->file->where, (long long)width, (long long)heads);
	if (heads % config->proj_groups)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: %lld heads do not divide into groups of %lld (proj_groups)",
			       loading->file->where, (long long)heads,
			       (long long)config->proj_groups);
	if (config->proj_groups > 1 && config->attention_rows == CR_ROWS_BY_HEAD)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: proj_groups %lld with column_split is not supported",
			       loading->file->where, (long long)config->proj_groups);
	return 0;
}

static int check_layer(const cr_striped_loading *loading, int64_t index, crocuta_error *error)
{
	const cr_stack *stack = &loading->model->stack;
	const cr_stack_layer *layer = &stack->layer[index];
	char what[80];
	int code = 0;

	if (layer->mixer == CR_MIXER_ATTENTION)
		return 0;
	snprintf(what, sizeof what, "layer %lld: the number of short taps", (long long)index);
	code = cr_tensor_check_size(loading->file->where, what, layer->short_length, 1,
				    CR_STRIPED_SHORT_MAX, error);
	if (!code && layer->mixer == CR_MIXER_MODAL) {
		snprintf(what, sizeof what, "layer %lld: the number of states", (long long)index);
		code = cr_tensor_check_size(loading->file->where, what, layer->modal.states, 1,
					    CR_STRIPED_STATES_MAX, error);
	} else if (!code) {
		snprintf(what, sizeof what, "layer %lld: the number of taps", (long long)index);
		code = cr_tensor_check_size(loading->file->where, what, layer->fir.length, 1,
					    CR_STRIPED_FIR_MAX, error);
		if (!code && (!layer->fir.groups || stack->width % layer->fir.groups))
			code = cr_fail(
				error, CROCUTA_EMODEL,
				"%s: layer %lld: %lld channels do not divide into %lld groups "
				"that share a filter",
				loading->file->where, (long long)index, (long long)stack->width,
				(long long)layer->fir.groups);
	}
	return code;
}

static int check_sizes(const cr_striped_loading *loading, crocuta_error *error)
{
	const cr_stack *stack = &loading->model->stack;
	int64_t length = loading->model->network.max_length;
	int code = cr_tensor_check_size(loading->file->where, "the width", stack->width, 1,
					CR_WIDTH_MAX, error);

	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the inner width",
					    loading->inner_width, 1, CR_INNER_WIDTH_MAX, error);
	if (!code && (stack->vocabulary < 256 || stack->vocabulary > 512))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: the token table has %lld rows, expected 256 to 512: one for "
			       "each byte; models of text are not supported",
			       loading->file->where, (long long)stack->vocabulary);
	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the maximum length (max_seqlen)",
					    length, 2, (int64_t)1 << 31, error);
	for (int64_t i = 0; i < stack->layers && !code; i++)
		code = check_layer(loading, i, error);
	return code;
}

/* Biases of the kinds about which the config is silent: wanted if any layer has one. */
static void settle_biases(cr_striped_loading *loading)
{
	static const struct {
		const char *name;
		enum cr_striped_bias bias;
	} names[] = {
		{"projections.bias", CR_BIAS_IN},
		{"out_filter_dense.bias", CR_BIAS_OUT},
		{"filter.short_filter_bias", CR_BIAS_SHORT},
		{"inner_mha_cls.Wqkv.bias", CR_BIAS_QKV},
		{"inner_mha_cls.out_proj.bias", CR_BIAS_ATTENTION_OUT},
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		int *wanted = &loading->config.bias[names[i].bias];

		if (*wanted >= 0)
			continue;
		*wanted = 0;
		for (int64_t layer = 0; layer < loading->model->stack.layers && !*wanted; layer++)
			*wanted = block_tensor(loading, layer, names[i].name) != NULL;
	}
}

/* NVIDIA's fine-tunes of Evo-2 compute something else: the activation in every layer. No field says
 * so; their tensors tell them. */
static int check_variant(const cr_striped_loading *loading, crocuta_error *error)
{
	static const char text[] = "Evo-2 as retrained by NVIDIA, whose layers compute something "
				   "else, is not supported";
	const char *rest;
	int attention = 0;

	if (loading->config.version != 2)
		return 0;
	for (int64_t i = 0; i < loading->model->stack.layers; i++)
		attention |= loading->kind[i] == CR_STRIPED_ATTENTION;
	if (attention && loading->config.bias[CR_BIAS_ATTENTION_OUT] < 0) {
		attention = 0;
		for (int64_t i = 0; i < loading->model->stack.layers; i++)
			attention |=
				block_tensor(loading, i, "inner_mha_cls.out_proj.bias") != NULL;
		if (!attention)
			return cr_fail(
				error, CROCUTA_EMODEL,
				"%s: no attention layer has an out_proj.bias, and config.json "
				"does not say mha_out_proj_bias: %s",
				loading->file->where, text);
	}
	for (int64_t i = 0; i < loading->entries; i++) {
		const char *name = loading->entry[i].name;

		if (cr_tensor_layer(name, "blocks.", &rest) < 0 ||
		    cr_skip_prefix(rest, "filter.") == rest || !ends_with(rest, "bias"))
			continue;
		if (!strcmp(rest, "filter.short_filter_bias") &&
		    loading->config.bias[CR_BIAS_SHORT] == 1)
			continue;
		return cr_fail(error, CROCUTA_EMODEL, "%s: tensor \"%.80s\": %s",
			       loading->file->where, name, text);
	}
	return 0;
}

static int bind_one(void *user, const cr_striped_tensor *tensor)
{
	cr_striped_loading *loading = user;
	cr_striped_entry *entry = cr_striped_find(loading, tensor->name);
	cr_striped_tensor *kept;

	if (tensor->bias && !loading->config.bias[tensor->bias])
		return 0; /* the config says there is none: then one in the file is unknown */
	if (!entry) {
		if (!tensor->optional)
			cr_tensor_list_add(loading->missing_names, sizeof loading->missing_names,
					   loading->missing++, tensor->name);
		return 0;
	}
	kept = &loading->tensor[loading->tensors++];
	*kept = *tensor;
	entry->tensor = kept;
	return 0;
}

static int check_shapes(const cr_striped_loading *loading, crocuta_error *error)
{
	int code = 0;

	for (int64_t i = 0; i < loading->entries && !code; i++) {
		const cr_striped_entry *entry = loading->by_file[i];

		if (entry->tensor)
			code = cr_tensor_check_shape(
				cr_safetensors_where(loading->file, entry->index),
				&loading->file->tensor[entry->index], entry->tensor->shape,
				entry->tensor->rank, error);
	}
	return code;
}

/* A tied model's second copy of the token table is known, if not needed. */
static int is_duplicate(const cr_striped_loading *loading, const cr_striped_entry *entry)
{
	return loading->config.tied && entry->name && !strcmp(entry->name, "unembed.weight");
}

static int report_names(cr_striped_loading *loading, crocuta_error *error)
{
	cr_tensor_report report;

	for (int64_t i = 0; i < loading->entries; i++) {
		const cr_striped_entry *entry = loading->by_file[i];

		if (entry->name && !entry->tensor && !is_duplicate(loading, entry))
			cr_tensor_list_add(loading->unknown_names, sizeof loading->unknown_names,
					   loading->unknown++,
					   loading->file->tensor[entry->index].name);
	}
	report = (cr_tensor_report){loading->missing, loading->unknown, loading->missing_names,
				    loading->unknown_names};
	return cr_tensor_names_report(loading->file->where, &report, loading->options->lenient,
				      &loading->model->notes, error);
}

/* Names first, then ranges, then shapes: the most telling of the possible messages. */
int cr_striped_bind(cr_striped_loading *loading, crocuta_error *error)
{
	int code = settle_sizes(loading, error);

	if (!code)
		code = check_heads(loading, error);
	if (!code)
		code = check_variant(loading, error);
	if (code)
		return code;
	settle_biases(loading);
	cr_striped_visit_tensors(&loading->model->stack, loading->kind, loading->inner_width,
				 &loading->config, bind_one, loading);
	code = report_names(loading, error);
	if (!code)
		code = check_sizes(loading, error);
	return code ? code : check_shapes(loading, error);
}
