/* family_hyenadna.c - HyenaDNA: from the names and shapes of a checkpoint to a cr_network, or,
 * where some of its layers are attention, on to a cr_stack.
 *
 * The sizes come from the tensors; the config only fills in what no tensor shows (the maximum
 * length when the position tables were left out). Tensors are read once, in the order of the file;
 * each becomes an array of its own, and a position table that an earlier block already has is freed
 * again at once, so that a million-base model never holds all of its copies.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/family_hyenadna.h"
#include "model/model_internal.h"
#include "model/tensor_names.h"

/* A tensor of the file on its way into the network. */
struct entry {
	char *name;           /* canonical, NULL when no model needs it */
	int64_t index;        /* in the file */
	cr_tensor_spec *spec; /* NULL: unknown; not owned */
};

struct loading {
	crocuta_model *model;
	cr_safetensors *file;
	const crocuta_model_options *options;
	cr_hyenadna_config config;
	cr_hyenadna_attention attention;
	struct entry *entry; /* (entries) sorted by name */
	int64_t entries;
	struct entry **by_file; /* (entries) in the order of the file */
	cr_tensor_spec *spec;   /* (specs) those found in the file */
	int64_t specs;
	int64_t missing, unknown;
	char missing_names[400], unknown_names[400];
};

/* First entry of that canonical name, or NULL. */
static struct entry *find_entry(const struct loading *loading, const char *name)
{
	return cr_tensor_names_find(loading->entry, loading->entries, sizeof *loading->entry, name);
}

static const cr_tensor *find_tensor(const struct loading *loading, const char *name)
{
	struct entry *entry = find_entry(loading, name);

	return entry ? &loading->file->tensor[entry->index] : NULL;
}

static int fail_memory(const struct loading *loading, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to load it", loading->file->where);
}

static int canonical_name(int version, const char *name, char *text, size_t capacity)
{
	(void)version;
	return cr_hyenadna_canonical_name(name, text, capacity);
}

static int index_names(struct loading *loading, crocuta_error *error)
{
	/* The one vector of frequencies may be stored once for each activation. */
	static const cr_tensor_naming naming = {canonical_name, 1, ".freq"};
	int64_t count = loading->file->count;
	cr_tensor_name *names;
	int code;

	loading->entry = cr_calloc((size_t)count, sizeof *loading->entry);
	loading->by_file = cr_calloc((size_t)count, sizeof *loading->by_file);
	loading->spec = cr_calloc((size_t)count, sizeof *loading->spec);
	if (!loading->entry || !loading->by_file || !loading->spec)
		return fail_memory(loading, error);
	code = cr_tensor_names_read(loading->file, &naming, &names, error);
	if (code)
		return code;
	for (int64_t i = 0; i < count; i++) {
		struct entry *entry = &loading->entry[loading->entries++];

		entry->name = names[i].name; /* from here on the entry's */
		entry->index = names[i].index;
		loading->by_file[entry->index] = entry;
	}
	cr_free(names);
	return 0;
}

/* See cr_tensor_settle. */
static void settle(struct loading *loading, const char *what, int64_t from_tensor,
		   int64_t from_config, int64_t *size)
{
	*size = cr_tensor_settle(&loading->model->notes, what, from_tensor, from_config);
}

/* A size of a matrix, 0 when there is none. Bounded: beside a zero dimension any number can stand.
 */
static int64_t dimension(const cr_tensor *tensor, int axis)
{
	if (!tensor || tensor->rank != 2)
		return 0;
	return tensor->shape[axis] < (int64_t)1 << 31 ? tensor->shape[axis] : (int64_t)1 << 31;
}

/* M as the position tables of the first block that has one show it, or 0. */
static int64_t table_length(const struct loading *loading, int64_t layers, int64_t features)
{
	for (int64_t i = 0; i < layers; i++) {
		char name[128];
		const cr_tensor *tensor;

		snprintf(name, sizeof name, "layers.%lld.mixer.filter_fn.pos_emb.t", (long long)i);
		tensor = find_tensor(loading, name);
		if (tensor)
			return tensor->elements;
		snprintf(name, sizeof name, "layers.%lld.mixer.filter_fn.pos_emb.z", (long long)i);
		tensor = find_tensor(loading, name);
		if (tensor && features)
			return tensor->elements / features;
	}
	return 0;
}

/* The layers that config.json calls attention are layers, and not all of them. */
static int check_listed(const struct loading *loading, int64_t layers, crocuta_error *error)
{
	const cr_hyenadna_attention *attention = &loading->attention;

	if (!attention->layers)
		return 0;
	if (attention->last >= layers)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: has tensors of %lld layers, config.json's attn_layer_idx lists "
			       "layer %lld",
			       loading->file->where, (long long)layers, (long long)attention->last);
	if (attention->layers == layers)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: config.json's attn_layer_idx lists all %lld layers: a network of "
			"attention alone is not supported",
			loading->file->where, (long long)layers);
	return 0;
}

/* Number of blocks, and of inner layers of the filter's MLP in the first that has one, by the
 * names. */
static int count_layers(struct loading *loading, crocuta_error *error)
{
	static const char filter[] = "mixer.filter_fn.implicit_filter.";
	cr_network *network = &loading->model->network;
	int64_t layers = 0, last = 0;

	for (int64_t i = 0; i < loading->entries; i++) {
		const char *rest = NULL, *number;
		int64_t layer = cr_tensor_layer(loading->entry[i].name, "layers.", &rest);
		int used = 0, index = 0;

		if (layer >= layers)
			layers = layer + 1;
		if (layer != loading->attention.first_hyena ||
		    (number = cr_skip_prefix(rest, filter)) == rest)
			continue;
		if (sscanf(number, "%4d.weight%n", &index, &used) == 1 && used && !number[used] &&
		    index > last)
			last = index;
	}
	if (!layers)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: none of its %lld tensors belongs to a layer of a HyenaDNA "
			       "(backbone.layers.0...)",
			       loading->file->where, (long long)loading->file->count);
	if (cr_tensor_check_size(loading->file->where, "the number of layers", layers, 1,
				 CR_LAYERS_MAX, error))
		return CROCUTA_EMODEL;
	if (loading->config.layers && loading->config.layers != layers)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: has tensors of %lld layers, config.json says n_layer %lld",
			       loading->file->where, (long long)layers,
			       (long long)loading->config.layers);
	if (check_listed(loading, layers, error))
		return CROCUTA_EMODEL;
	network->layers = layers;
	settle(loading, "num_inner_mlps", last >= 4 ? last / 2 - 1 : 0,
	       loading->config.filter_inner, &network->filter_inner);
	if (!network->filter_inner)
		network->filter_inner = 2;
	return cr_tensor_check_size(loading->file->where,
				    "the number of inner layers of the filter",
				    network->filter_inner, 1, CR_FILTER_INNER_MAX, error);
}

static int settle_sizes(struct loading *loading, crocuta_error *error)
{
	char filter_in[128];
	const cr_hyenadna_config *config = &loading->config;
	cr_network *network = &loading->model->network;
	const cr_tensor *table = find_tensor(loading, "embeddings.word_embeddings.weight");
	const cr_tensor *score = find_tensor(loading, "score.weight");
	int64_t multiple = config->vocabulary_multiple, rows = dimension(table, 0);
	int64_t length;
	int code = count_layers(loading, error);

	if (code)
		return code;
	snprintf(filter_in, sizeof filter_in,
		 "layers.%lld.mixer.filter_fn.implicit_filter.0.weight",
		 (long long)loading->attention.first_hyena);
	settle(loading, "d_model", dimension(table, 1), config->width, &network->width);
	settle(loading, "d_inner", dimension(find_tensor(loading, "layers.0.mlp.fc1.weight"), 0),
	       config->inner_width, &network->inner_width);
	settle(loading, "filter_order", dimension(find_tensor(loading, filter_in), 0),
	       config->filter_order, &network->filter_order);
	settle(loading, "emb_dim", dimension(find_tensor(loading, filter_in), 1), config->features,
	       &network->features);
	/* Rows beyond the vocabulary are padding; fewer rows than tokens is another model's table.
	 */
	if (rows && config->vocabulary > rows)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: the token table has %lld rows, config.json says vocab_size %lld",
			loading->file->where, (long long)rows, (long long)config->vocabulary);
	settle(loading, "vocab_size (padded)", rows,
	       (config->vocabulary + multiple - 1) / multiple * multiple, &network->vocabulary);
	network->classes = dimension(score, 0);
	network->decoder_classes = dimension(find_tensor(loading, "decoder.weight"), 0);
	length = table_length(loading, network->layers, network->features);
	settle(loading, config->original ? "l_max" : "max_seq_len", length, config->max_length,
	       &network->max_length);
	if (!network->max_length && !config->original) {
		network->max_length = 1024; /* the default of the Hugging Face class */
		cr_note(&loading->model->notes,
			"no max_seq_len and no position tables: 1024 is used");
	}
	return 0;
}

/* Every size in its range; after the missing tensors were reported, which is the better message. */
static int check_sizes(const struct loading *loading, crocuta_error *error)
{
	const cr_network *network = &loading->model->network;
	int code = cr_tensor_check_size(loading->file->where, "the width", network->width, 1,
					CR_WIDTH_MAX, error);

	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the inner width",
					    network->inner_width, 1, CR_INNER_WIDTH_MAX, error);
	if (!code) /* token N is 11 */
		code = cr_tensor_check_size(loading->file->where,
					    "the token table's number of rows", network->vocabulary,
					    12, CR_VOCABULARY_MAX, error);
	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the filter's order",
					    network->filter_order, 1, CR_FILTER_ORDER_MAX, error);
	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the filter's number of features",
					    network->features, 3, CR_FEATURES_MAX, error);
	if (!code && network->features % 2 == 0)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: the filter has %lld features, expected an odd number",
			       loading->file->where, (long long)network->features);
	if (!code)
		code = cr_tensor_check_size(loading->file->where,
					    "the maximum length (max_seq_len, l_max)",
					    network->max_length, 2, (int64_t)1 << 31, error);
	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the number of classes",
					    network->classes, 0, CR_CLASSES_MAX, error);
	if (!code)
		code = cr_tensor_check_size(loading->file->where, "the decoder's number of classes",
					    network->decoder_classes, 0, CR_CLASSES_MAX, error);
	return code;
}

static int is_optional(const struct loading *loading, int role)
{
	return role == CR_ROLE_DECAY || role == CR_ROLE_FEATURES || role == CR_ROLE_OFFSETS ||
	       role == CR_ROLE_HEAD || role == CR_ROLE_ROTARY ||
	       (role == CR_ROLE_FREQUENCY && !loading->config.trained_frequency);
}

static int bind_one(void *user, const cr_tensor_spec *spec)
{
	struct loading *loading = user;
	struct entry *entry = find_entry(loading, spec->name);
	cr_tensor_spec *kept;

	if (!entry) {
		if (!is_optional(loading, spec->role))
			cr_tensor_list_add(loading->missing_names, sizeof loading->missing_names,
					   loading->missing++, spec->name);
		return 0;
	}
	kept = &loading->spec[loading->specs++];
	*kept = *spec;
	/* Several only for the frequency, see index_names. */
	for (; entry < loading->entry + loading->entries && entry->name &&
	       !strcmp(entry->name, spec->name);
	     entry++)
		entry->spec = kept;
	return 0;
}

static int check_shapes(const struct loading *loading, crocuta_error *error)
{
	int code = 0;

	for (int64_t i = 0; i < loading->entries && !code; i++) {
		const struct entry *entry = loading->by_file[i];

		if (entry->spec)
			code = cr_tensor_check_shape(loading->file->where,
						     &loading->file->tensor[entry->index],
						     entry->spec->shape, entry->spec->rank, error);
	}
	return code;
}

/* Names first, then ranges, then shapes: the most telling of the possible messages. */
static int bind_tensors(struct loading *loading, crocuta_error *error)
{
	cr_network *network = &loading->model->network;
	cr_tensor_report report;

	network->block = cr_calloc((size_t)network->layers, sizeof *network->block);
	if (!network->block)
		return fail_memory(loading, error);
	cr_hyenadna_visit_layers(network, &loading->attention, bind_one, loading);
	for (int64_t i = 0; i < loading->entries; i++) {
		const struct entry *entry = loading->by_file[i];

		if (entry->name && !entry->spec)
			cr_tensor_list_add(loading->unknown_names, sizeof loading->unknown_names,
					   loading->unknown++,
					   loading->file->tensor[entry->index].name);
	}
	report = (cr_tensor_report){loading->missing, loading->unknown, loading->missing_names,
				    loading->unknown_names};
	if (cr_tensor_names_report(loading->file->where, &report, loading->options->lenient,
				   &loading->model->notes, error) ||
	    check_sizes(loading, error) ||
	    cr_hyenadna_check_attention(&loading->attention, network, loading->file->where, error))
		return CROCUTA_EMODEL;
	return check_shapes(loading, error);
}

/* Position tables are used as stored: rebuilt from the formula they would differ by float32
 * rounding, which moves hidden values by up to 1e-4. Blocks with the same table share it. */
static int keep_table(struct loading *loading, const cr_tensor_spec *spec, float *array,
		      int64_t elements, crocuta_error *error)
{
	crocuta_model *model = loading->model;
	const cr_network *network = &model->network;
	const int features = spec->role == CR_ROLE_FEATURES;
	int agrees = 0;

	if (cr_hyenadna_table_agrees(array, spec->role, network->max_length, network->features,
				     &agrees))
		return fail_memory(loading, error);
	for (int64_t i = 0; i < network->layers; i++) {
		cr_filter_weights *filter = &network->block[i].filter;
		const float *other = features ? filter->z : filter->t;

		if (spec->target == (features ? &filter->z : &filter->t))
			filter->departs |= !agrees;
		if (other && array && !memcmp(other, array, sizeof *array * (size_t)elements)) {
			*spec->target = other;
			cr_model_drop_last(model);
			array = NULL;
		}
	}
	if (array)
		*spec->target = array;
	if (!agrees)
		model->info.position_tables_loaded = 2;
	else if (!model->info.position_tables_loaded)
		model->info.position_tables_loaded = 1;
	return 0;
}

/* Read one tensor and put it where it belongs, or find that it is not needed. */
static int load_tensor(struct loading *loading, const struct entry *entry, crocuta_error *error)
{
	crocuta_model *model = loading->model;
	const cr_network *network = &model->network;
	const cr_tensor *tensor = &loading->file->tensor[entry->index];
	const cr_tensor_spec *spec = entry->spec;
	float *array;
	int code, agrees = 0;

	if (!spec)
		return cr_safetensors_read(loading->file, entry->index, NULL, 1, error);
	code = cr_model_floats(model, tensor->elements, &array, error);
	if (!code)
		code = cr_safetensors_read(loading->file, entry->index, array,
					   loading->options->allow_nan_weights, error);
	if (code)
		return code;
	if (spec->role == CR_ROLE_FREQUENCY && *spec->target) {
		agrees = !memcmp(array, *spec->target, sizeof(float) * (size_t)tensor->elements);
		if (!agrees)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\" differs from the other activations' "
				       "frequencies; one vector shared by all is supported",
				       loading->file->where, tensor->name);
	} else if (spec->role == CR_ROLE_FEATURES || spec->role == CR_ROLE_OFFSETS) {
		return keep_table(loading, spec, array, tensor->elements, error);
	}
	if (agrees) {
		cr_model_drop_last(model);
		return 0;
	}
	*spec->target = array;
	if (spec->role == CR_ROLE_DECAY && !cr_hyenadna_deltas_agree(array, network->width))
		model->info.position_tables_loaded = 2;
	return 0;
}

static int load_tensors(struct loading *loading, crocuta_error *error)
{
	crocuta_model_info *info = &loading->model->info;

	for (int64_t i = 0; i < loading->entries; i++) {
		const struct entry *entry = loading->by_file[i];
		const cr_tensor *tensor = &loading->file->tensor[i];
		int code = load_tensor(loading, entry, error);

		if (code)
			return code;
		if (!entry->spec || entry->spec->role == CR_ROLE_FEATURES ||
		    entry->spec->role == CR_ROLE_OFFSETS || entry->spec->role == CR_ROLE_DECAY ||
		    entry->spec->role == CR_ROLE_ROTARY)
			continue;
		if (!info->dtype)
			info->dtype = cr_dtype_name(tensor->dtype);
		else if (strcmp(info->dtype, cr_dtype_name(tensor->dtype)))
			info->dtype = "mixed";
	}
	return 0;
}

/* Arrays that the file may leave out. */
static int complete_network(struct loading *loading, crocuta_error *error)
{
	crocuta_model *model = loading->model;
	cr_network *network = &model->network;

	if (!network->lm_head)
		network->lm_head = network->embedding;
	for (int64_t i = 0; i < network->layers; i++) {
		cr_filter_weights *filter = &network->block[i].filter;
		float *array;
		int code;

		if (cr_hyenadna_is_attention(&loading->attention, i))
			continue;
		if (!filter->deltas) {
			code = cr_model_floats(model, network->width, &array, error);
			if (code)
				return code;
			cr_hyenadna_deltas(network->width, array);
			filter->deltas = array;
		}
		if (!filter->frequency) {
			code = cr_model_floats(model, network->filter_order, &array, error);
			if (code)
				return code;
			for (int64_t j = 0; j < network->filter_order; j++)
				array[j] = (float)loading->config.activation_frequency;
			filter->frequency = array;
		}
	}
	return 0;
}

/* Trainable parameters: an output matrix equal to the token table counts once. */
static int count_parameters(void *user, const cr_tensor_spec *spec)
{
	crocuta_model *model = user;
	const cr_network *network = &model->network;
	int64_t elements = 1;

	for (int i = 0; i < spec->rank; i++)
		elements *= spec->shape[i];
	if (!*spec->target || spec->role == CR_ROLE_DECAY || spec->role == CR_ROLE_FEATURES ||
	    spec->role == CR_ROLE_OFFSETS || spec->role == CR_ROLE_ROTARY)
		return 0;
	if (spec->target == &network->lm_head &&
	    !memcmp(network->lm_head, network->embedding, sizeof(float) * (size_t)elements))
		return 0;
	model->info.parameters += elements;
	return 0;
}

static void settle_shift(struct loading *loading)
{
	crocuta_model *model = loading->model;

	if (!isnan(loading->options->filter_shift)) {
		model->network.filter_shift = loading->options->filter_shift;
		model->info.filter_shift_source = "option";
	} else if (!isnan(loading->config.filter_shift)) {
		model->network.filter_shift = loading->config.filter_shift;
		model->info.filter_shift_source = "config";
	} else { /* what the Hugging Face port adds; the training repository adds 0 */
		model->network.filter_shift = 0.05;
		model->info.filter_shift_source = "default";
	}
}

static int load_network(struct loading *loading, crocuta_error *error)
{
	crocuta_model *model = loading->model;
	int code = index_names(loading, error);

	if (!code)
		code = settle_sizes(loading, error);
	if (!code)
		code = bind_tensors(loading, error);
	if (!code)
		code = load_tensors(loading, error);
	if (!code) {
		model->info.has_lm_head = model->network.lm_head != NULL;
		code = complete_network(loading, error);
	}
	if (code)
		return code;
	model->network.norm_epsilon = loading->config.norm_epsilon;
	model->activation_frequency = loading->config.activation_frequency;
	settle_shift(loading);
	cr_hyenadna_visit_layers(&model->network, &loading->attention, count_parameters, model);
	model->info.usable_length =
		model->network.max_length > 3 ? model->network.max_length - 2 : 1;
	model->info.causal = 1;
	return loading->attention.layers ? cr_hyenadna_make_stack(model, &loading->attention, error)
					 : 0;
}

static int hyenadna_load(crocuta_model *model, const cr_config *config, cr_safetensors *file,
			 const crocuta_model_options *options, crocuta_error *error)
{
	struct loading loading = {.model = model, .file = file, .options = options};
	int code = cr_hyenadna_read_config(config, &loading.config, &model->notes, error);

	if (!code)
		code = cr_hyenadna_read_attention(config, &loading.attention, &model->notes, error);
	if (!code)
		code = load_network(&loading, error);
	for (int64_t i = 0; i < loading.entries; i++)
		cr_free(loading.entry[i].name);
	cr_free(loading.entry);
	cr_free(loading.by_file);
	cr_free(loading.spec);
	return code;
}

/* model_type of the Hugging Face form; a "layer" of Hyena operators in the original. */
static int hyenadna_claims(const json_t *config)
{
	const json_t *type = json_object_get(config, "model_type");
	const json_t *layer = json_object_get(config, "layer");
	const char *name = json_string_value(json_object_get(layer, "_name_"));

	if (type && !json_is_null(type))
		return json_is_string(type) && !strcmp(json_string_value(type), "hyenadna");
	return json_is_object(layer) && name && !strcmp(name, "hyena");
}

const cr_family cr_family_hyenadna = {
	.name = "hyenadna",
	.claims = hyenadna_claims,
	.load = hyenadna_load,
	.vocabulary = &cr_vocabulary_hyenadna,
};
