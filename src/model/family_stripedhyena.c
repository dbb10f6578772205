/* family_stripedhyena.c - StripedHyena 1 and 2 (Evo-1, Evo-2): a checkpoint becomes a cr_stack.
 *
 * Tensors are read once, in the order of the file, a mebibyte at a time, and every row goes
 * straight to its place in the stack's order: no second copy of a tensor is ever made. Matrices
 * keep bfloat16; vectors, taps and poles become float32.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "model/family_stripedhyena.h"

/* Where the elements of a tensor go. */
struct placing {
	const cr_striped_tensor *tensor;
	int from;        /* enum cr_dtype of the file */
	int kept;        /* stored as in the file, else as float32 */
	int64_t columns; /* that follow each other in the file and here */
	size_t size;     /* of an element here */
	unsigned char *to;
};

static float element(int dtype, const unsigned char *bytes)
{
	uint16_t half;
	float value;

	if (dtype == CR_DTYPE_F32) {
		memcpy(&value, bytes, sizeof value);
		return value;
	}
	memcpy(&half, bytes, sizeof half);
	return dtype == CR_DTYPE_F16 ? cr_half_to_float(half) : cr_bfloat_to_float(half);
}

static void store(const struct placing *placing, const unsigned char *from, unsigned char *to,
		  int64_t count, int64_t step)
{
	size_t each = cr_dtype_size(placing->from);

	if (placing->kept && step == 1) {
		memcpy(to, from, (size_t)count * each);
		return;
	}
	for (int64_t i = 0; i < count; i++) {
		float value = element(placing->from, from + (size_t)i * each);

		memcpy(to + i * step * (int64_t)sizeof value, &value, sizeof value);
	}
}

static void place(void *user, int64_t first, int64_t count, const void *elements)
{
	const struct placing *placing = user;
	const cr_striped_tensor *tensor = placing->tensor;
	const unsigned char *from = elements;
	size_t each = cr_dtype_size(placing->from);
	int64_t columns = placing->columns;

	while (count) {
		int64_t row = cr_striped_row(tensor, first / columns), column = first % columns;
		int64_t run = columns - column < count ? columns - column : count;

		if (tensor->reversed)
			column = columns - 1 - column;
		store(placing, from, placing->to + (size_t)(row * columns + column) * placing->size,
		      run, tensor->reversed ? -1 : 1);
		from += (size_t)run * each;
		first += run;
		count -= run;
	}
}

/* Columns of a row that is moved as a whole; everything, where nothing is moved. */
static int64_t columns_of(const cr_striped_tensor *tensor)
{
	int64_t columns = 1;
	int from = tensor->rows == CR_ROWS_PLAIN && !tensor->reversed ? 0 : 1;

	for (int i = from; i < tensor->rank; i++)
		columns *= tensor->shape[i];
	return columns;
}

static int load_tensor(cr_striped_loading *loading, const cr_striped_entry *entry,
		       crocuta_error *error)
{
	const cr_striped_tensor *tensor = entry->tensor;
	const cr_tensor *stored = &loading->file->tensor[entry->index];
	int brain = tensor->matrix && stored->dtype == CR_DTYPE_BF16;
	struct placing placing = {.tensor = tensor,
				  .from = stored->dtype,
				  .kept = brain || stored->dtype == CR_DTYPE_F32,
				  .columns = columns_of(tensor),
				  .size = brain ? 2 : 4};
	void *array;
	int code = cr_model_bytes(loading->model, stored->elements * (int64_t)placing.size, &array,
				  error);

	placing.to = array;
	if (!code)
		code = cr_safetensors_stream(loading->file, entry->index,
					     loading->options->allow_nan_weights, place, &placing,
					     error);
	if (code)
		return code;
	if (tensor->matrix) {
		tensor->matrix->values = array;
		tensor->matrix->type = brain ? CR_NUMBER_BF16 : CR_NUMBER_F32;
		tensor->matrix->rows = tensor->shape[0];
		tensor->matrix->columns = tensor->shape[1];
	} else {
		*tensor->vector = array;
	}
	if (!tensor->constant)
		loading->model->info.parameters += stored->elements;
	return 0;
}

/* The token table once more. */
struct twin {
	const cr_matrix *table;
	int dtype, differs;
};

static void compare(void *user, int64_t first, int64_t count, const void *elements)
{
	struct twin *twin = user;
	int64_t size = cr_number_bytes(twin->table->type);

	twin->differs |= memcmp((const char *)twin->table->values + first * size, elements,
				(size_t)(count * size)) != 0;
}

/* unembed.weight of a tied model, of which the table is what counts. */
static int skip_duplicate(cr_striped_loading *loading, const cr_striped_entry *entry,
			  crocuta_error *error)
{
	const cr_stack *stack = &loading->model->stack;
	const cr_tensor *tensor = &loading->file->tensor[entry->index];
	struct twin twin = {.table = &stack->embedding};
	int same = stack->embedding.type == CR_NUMBER_BF16 ? CR_DTYPE_BF16 : CR_DTYPE_F32;
	int code;

	if (tensor->rank != 2 || tensor->shape[0] != stack->vocabulary ||
	    tensor->shape[1] != stack->width)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\" is not of the token table's shape, [%lld, "
			       "%lld], and the model is said to be tied to it",
			       cr_safetensors_where(loading->file, entry->index), tensor->name,
			       (long long)stack->vocabulary, (long long)stack->width);
	if (!stack->embedding.values || tensor->dtype != same)
		return cr_safetensors_read(loading->file, entry->index, NULL, 1, error);
	code = cr_safetensors_stream(loading->file, entry->index, 1, compare, &twin, error);
	if (!code && twin.differs && !loading->options->lenient)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: unembed.weight differs from the token table, to which these models "
			       "are tied (--lenient leaves it out)",
			       cr_safetensors_where(loading->file, entry->index));
	else if (!code && twin.differs)
		cr_note(&loading->model->notes,
			"unembed.weight differs from the token table, to which the model is tied; "
			"ignored");
	return code;
}

static int load_tensors(cr_striped_loading *loading, crocuta_error *error)
{
	crocuta_model_info *info = &loading->model->info;

	for (int64_t i = 0; i < loading->entries; i++) {
		const cr_striped_entry *entry = loading->by_file[i];
		int code;

		if (entry->tensor)
			code = load_tensor(loading, entry, error);
		else if (entry->name && !strcmp(entry->name, "unembed.weight"))
			code = skip_duplicate(loading, entry, error);
		else
			code = cr_safetensors_read(loading->file, entry->index, NULL, 1, error);
		if (code)
			return code;
		/* Filters are float32 in every file; the matrices are what a user means. */
		if (!entry->tensor || !entry->tensor->matrix)
			continue;
		if (!info->dtype)
			info->dtype = cr_dtype_name(loading->file->tensor[i].dtype);
		else if (strcmp(info->dtype, cr_dtype_name(loading->file->tensor[i].dtype)))
			info->dtype = "mixed";
	}
	return 0;
}

/* 1 / base^(2i / head size), each step rounded to float32 as published. */
static int compute_frequencies(cr_striped_loading *loading, crocuta_error *error)
{
	crocuta_model *model = loading->model;
	cr_stack *stack = &model->stack;
	const float *shared = NULL;
	float *array;

	for (int64_t i = 0; i < stack->layers; i++) {
		cr_attention_weights *attention = &stack->layer[i].attention;
		int code;

		if (stack->layer[i].mixer != CR_MIXER_ATTENTION || attention->inverse_frequency)
			continue;
		if (!shared) {
			code = cr_model_floats(model, attention->rotary_size / 2, &array, error);
			if (code)
				return code;
			for (int64_t j = 0; j < attention->rotary_size / 2; j++) {
				float power = (float)(2 * j) / (float)attention->rotary_size;

				array[j] = 1 / (float)pow(loading->config.rotary_base, power);
			}
			shared = array;
			if (loading->config.version == 2)
				cr_note(&model->notes,
					"rotary frequencies that the file lacks are computed from "
					"base %g",
					loading->config.rotary_base);
		}
		attention->inverse_frequency = shared;
	}
	return 0;
}

/* Modes that grow: the filter of a trained model has none. */
static void note_poles(crocuta_model *model)
{
	const cr_stack *stack = &model->stack;
	int64_t outside = 0, layer = 0;
	double largest = 0;

	for (int64_t i = 0; i < stack->layers; i++) {
		const cr_modal_weights *modal = &stack->layer[i].modal;
		int64_t count = stack->width * modal->states;

		if (stack->layer[i].mixer != CR_MIXER_MODAL)
			continue;
		for (int64_t j = 0; j < count; j++) {
			double size = modal->complex
					      ? hypot(modal->poles[2 * j], modal->poles[2 * j + 1])
					      : exp(modal->poles[j]);

			if (size <= 1)
				continue;
			layer = outside++ ? layer : i;
			largest = size > largest ? size : largest;
		}
	}
	if (outside)
		cr_note(&model->notes,
			"%lld poles of its filters lie outside of the unit circle, the first in "
			"layer "
			"%lld, the largest at %.9g: what they add grows with the length",
			(long long)outside, (long long)layer, largest);
}

static void complete(cr_striped_loading *loading)
{
	crocuta_model *model = loading->model;
	cr_stack *stack = &model->stack;
	cr_network *network = &model->network;
	int specials =
		(model->family->vocabulary->start >= 0) + (model->family->vocabulary->end >= 0);

	if (!stack->head.values)
		stack->head = stack->embedding;
	stack->norm = CR_NORM_RMS;
	stack->epsilon = loading->config.epsilon;
	network->stack = stack;
	network->width = stack->width;
	network->inner_width = loading->inner_width;
	network->layers = stack->layers;
	network->vocabulary = stack->vocabulary;
	network->norm_epsilon = stack->epsilon;
	model->info.has_lm_head = !loading->config.tied;
	model->info.filter_shift_source = "none";
	model->info.usable_length =
		network->max_length > specials ? network->max_length - specials : 1;
	model->info.causal = 1;
	if (!isnan(loading->options->filter_shift))
		cr_note(&model->notes, "the filter shift has no effect on this family");
	note_poles(model);
}

int cr_striped_precision(int64_t width, int64_t layers, const char **name)
{
	static const struct {
		int64_t width, layers;
		const char *name;
		enum cr_striped_precision precision;
	} trained[] = {
		{1920, 25, "1B", CR_PRECISION_LOSES},
		{8192, 24, "20B", CR_PRECISION_NEEDED},
		{8192, 50, "40B", CR_PRECISION_NEEDED},
	};

	for (size_t i = 0; i < sizeof trained / sizeof *trained; i++) {
		if (trained[i].width != width || trained[i].layers != layers)
			continue;
		*name = trained[i].name;
		return trained[i].precision;
	}
	*name = "";
	return CR_PRECISION_ANY;
}

static int check_precision(const cr_striped_loading *loading, crocuta_error *error)
{
	const cr_stack *stack = &loading->model->stack;
	const char *name;
	int precision = loading->config.version == 2
				? cr_striped_precision(stack->width, stack->layers, &name)
				: CR_PRECISION_ANY;

	if (precision == CR_PRECISION_LOSES)
		cr_note(&loading->model->notes,
			"Evo-2 %s was trained for FP8 products: without them it predicts worse "
			"(1.24 instead of 1.08 nats a base); 7B is as good in any arithmetic",
			name);
	if (precision != CR_PRECISION_NEEDED)
		return 0;
	if (!loading->options->lenient)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: this is Evo-2 %s, which needs the 8-bit products (FP8, fast "
			"accumulator) of Hopper GPUs that it was trained with: in any other "
			"arithmetic 40B predicts at 1.7 instead of 0.92 nats a base. Use Evo-2 "
			"7B, or weights retrained for bfloat16 (--lenient loads it all the "
			"same)",
			loading->file->where, name);
	cr_note(&loading->model->notes,
		"Evo-2 %s needs FP8 products, which are not computed here: expect wrong results",
		name);
	return 0;
}

/* Its model_type: absent in Evo-2's own files, which are YAML. */
static int has_type(const json_t *config, const char *name)
{
	const json_t *type = json_object_get(config, "model_type");

	if (!type || json_is_null(type))
		return !name;
	return name && json_is_string(type) && !strcmp(json_string_value(type), name);
}

static int second_claims(const json_t *config)
{
	if (has_type(config, "stripedhyena2") || has_type(config, "evo2"))
		return 1;
	return cr_striped_is_second(config) &&
	       (has_type(config, NULL) || has_type(config, "stripedhyena"));
}

static int first_claims(const json_t *config)
{
	return has_type(config, "stripedhyena") ||
	       (has_type(config, NULL) && json_object_get(config, "num_filters") &&
		json_object_get(config, "attn_layer_idxs"));
}

/* Version 2 also under a config that does not tell. */
static int tensors_are_second(const cr_safetensors *file)
{
	for (int64_t i = 0; i < file->count; i++) {
		const char *end = strstr(file->tensor[i].name, ".filter.");

		if (end && (!strcmp(end, ".filter.h") || !strcmp(end, ".filter.log_poles")))
			return 1;
	}
	return 0;
}

static int striped_load(crocuta_model *model, const cr_config *config, cr_safetensors *file,
			const crocuta_model_options *options, crocuta_error *error)
{
	cr_striped_loading loading = {.model = model, .file = file, .options = options};
	int second = second_claims(config->root) || tensors_are_second(file), code;

	model->family = second ? &cr_family_stripedhyena2 : &cr_family_stripedhyena;
	code = cr_striped_read_config(config, second ? 2 : 1, &loading.config, &model->notes,
				      error);
	if (!code)
		code = cr_striped_index_names(&loading, error);
	if (!code)
		code = cr_striped_bind(&loading, error);
	if (!code)
		code = check_precision(&loading, error);
	if (!code)
		code = load_tensors(&loading, error);
	if (!code)
		code = compute_frequencies(&loading, error);
	if (!code)
		complete(&loading);
	for (int64_t i = 0; i < loading.entries; i++)
		cr_free(loading.entry[i].name);
	cr_free(loading.entry);
	cr_free(loading.by_file);
	cr_free(loading.tensor);
	cr_free(loading.kind);
	cr_free(loading.config.kind);
	return code;
}

const cr_family cr_family_stripedhyena = {
	.name = "stripedhyena",
	.claims = first_claims,
	.shapes_suffice = 1,
	.load = striped_load,
	.vocabulary = &cr_vocabulary_evo1,
};

const cr_family cr_family_stripedhyena2 = {
	.name = "stripedhyena2",
	.claims = second_claims,
	.shapes_suffice = 1,
	.load = striped_load,
	.vocabulary = &cr_vocabulary_evo2,
};
