/* head_read.c - head.json and head.safetensors, both untrusted. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/head_internal.h"
#include "model/json.h"

#define JSON_BYTES_MAX ((size_t)1 << 20)

static int fail_memory(const crocuta_head *head, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", head->config.where);
}

/* A field that must be there; null is a value. */
static int need_field(const cr_config *config, const json_t *object, const char *key,
		      json_t **value, crocuta_error *error)
{
	*value = json_object_get(object, key);
	if (*value)
		return 0;
	return cr_fail(error, CROCUTA_EMODEL, "%s: field \"%s\" is missing", config->where, key);
}

static int need_text(const cr_config *config, const json_t *object, const char *key,
		     const char **text, crocuta_error *error)
{
	json_t *value;
	int code = need_field(config, object, key, &value, error);

	if (code)
		return code;
	*text = json_string_value(value);
	return *text ? 0
		     : cr_fail(error, CROCUTA_EMODEL, "%s: %s is not a string", config->where, key);
}

static int need_integer(const cr_config *config, const char *key, int64_t low, int64_t high,
			int64_t *number, crocuta_error *error)
{
	json_t *value;
	int code = need_field(config, config->root, key, &value, error);

	if (!code && json_is_null(value))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: %s is null, expected a whole number %lld to %lld",
			       config->where, key, (long long)low, (long long)high);
	return code ? code : cr_config_integer(config, config->root, key, low, high, number, error);
}

/* A word out of a list; parse gives its number or -1. */
static int need_word(const cr_config *config, const char *key, int (*parse)(const char *),
		     const char *words, int *number, crocuta_error *error)
{
	const char *text;
	int code = need_text(config, config->root, key, &text, error);

	if (code)
		return code;
	*number = parse(text);
	return *number >= 0 ? 0
			    : cr_fail(error, CROCUTA_EMODEL, "%s: %s is \"%.40s\", expected %s",
				      config->where, key, text, words);
}

static int parse_output(const char *name)
{
	return !strcmp(name, "softmax") ? 0 : !strcmp(name, "sigmoid") ? 1 : -1;
}

static int parse_scan(const char *name)
{
	return !strcmp(name, "forward") ? 0 : !strcmp(name, "both") ? 1 : -1;
}

static int read_format(const cr_config *config, crocuta_error *error)
{
	const char *format;
	int code = need_text(config, config->root, "format", &format, error);

	if (!code && strcmp(format, "crocuta-head-1"))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: format is \"%.40s\"; this crocuta reads crocuta-head-1",
			       config->where, format);
	return code;
}

static int read_backbone(crocuta_head *head, crocuta_error *error)
{
	const cr_config *config = &head->config;
	const char *digest = NULL;
	json_t *object;
	int code = need_field(config, config->root, "backbone", &object, error);

	if (!code && !json_is_object(object))
		code = cr_fail(error, CROCUTA_EMODEL, "%s: backbone is not a JSON object",
			       config->where);
	if (!code)
		code = need_text(config, object, "name", &head->backbone_name, error);
	if (!code)
		code = need_text(config, object, "sha256", &digest, error);
	if (code)
		return code;
	if (strlen(digest) != 64 || strspn(digest, "0123456789abcdefABCDEF") != 64)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: backbone's sha256 is \"%.80s\", expected 64 hex digits",
			       config->where, digest);
	for (int i = 0; i < 64; i++)
		head->backbone_sha256[i] = (char)tolower((unsigned char)digest[i]);
	return 0;
}

/* independent is known: a single class needs it. */
static int read_classes(crocuta_head *head, crocuta_error *error)
{
	const cr_config *config = &head->config;
	int least = head->info.independent ? 1 : 2;
	json_t *list;
	size_t count;
	int code = need_field(config, config->root, "classes", &list, error);

	if (code)
		return code;
	count = json_array_size(list);
	if (!json_is_array(list) || count < (size_t)least || count > CROCUTA_HEAD_CLASSES_MAX)
		return cr_fail(error, CROCUTA_EMODEL, "%s: classes is not a list of %d to %d names",
			       config->where, least, CROCUTA_HEAD_CLASSES_MAX);
	head->class_names = cr_calloc(count, sizeof *head->class_names);
	if (!head->class_names)
		return fail_memory(head, error);
	head->info.classes = (int64_t)count;
	head->info.class_names = (const char *const *)head->class_names;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (!name || !cr_head_class_name_ok(name))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: class %zu is %s%.80s%s, expected 1 to %d printable "
				       "ASCII characters without blanks, commas or double quotes",
				       config->where, i, name ? "\"" : "", name ? name : "no name",
				       name ? "\"" : "", CR_HEAD_CLASS_NAME_MAX);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(head->class_names[j], name))
				return cr_fail(error, CROCUTA_EMODEL,
					       "%s: classes %zu and %zu are both \"%.80s\"",
					       config->where, j, i, name);
		head->class_names[i] = cr_strdup(name);
		if (!head->class_names[i])
			return fail_memory(head, error);
	}
	return 0;
}

static int read_background(crocuta_head *head, crocuta_error *error)
{
	const cr_config *config = &head->config;
	const char *name;
	json_t *value;
	int code = need_field(config, config->root, "background", &value, error);

	head->info.background = -1;
	if (code || json_is_null(value))
		return code;
	name = json_string_value(value);
	for (int64_t i = 0; name && i < head->info.classes; i++)
		if (!strcmp(name, head->class_names[i]))
			head->info.background = i;
	if (head->info.background < 0)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: background is %s%.80s%s, expected null or one of the classes",
			       config->where, name ? "\"" : "", name ? name : "no name",
			       name ? "\"" : "");
	return 0;
}

static int read_form(crocuta_head *head, crocuta_error *error)
{
	const cr_config *config = &head->config;
	crocuta_feature_form *form = &head->info.form;
	int64_t layer = 0, parts = 0;
	const char *problem;
	int code = need_integer(config, "layer", 0, CR_LAYERS_MAX, &layer, error);

	if (!code)
		code = need_word(config, "pool", cr_head_pool_parse,
				 "mean, last, max, first or sum", &form->pool, error);
	if (!code)
		code = need_integer(config, "parts", 1, CROCUTA_HEAD_PARTS_MAX, &parts, error);
	if (!code)
		code = need_word(config, "strands", cr_head_strands_parse,
				 "forward, reverse, both or concat", &form->strands, error);
	if (!code)
		code = need_word(config, "special_tokens", cr_head_specials_parse,
				 "none, sep, cls-sep, model or model-sep", &form->specials, error);
	if (code)
		return code;
	form->layer = (int)layer;
	form->parts = (int)parts;
	problem = cr_head_form_problem(form);
	return problem ? cr_fail(error, CROCUTA_EMODEL, "%s: %s", config->where, problem) : 0;
}

static int read_scan(crocuta_head *head, crocuta_error *error)
{
	const cr_config *config = &head->config;
	crocuta_head_info *info = &head->info;
	int64_t shortest = cr_head_shortest(&info->form);
	int code = need_integer(config, "window", 0, CR_HEAD_WINDOW_MAX, &info->window, error);

	if (!code)
		code = need_integer(config, "step", 0, CR_HEAD_WINDOW_MAX, &info->step, error);
	if (!code)
		code = need_word(config, "scan_strands", parse_scan, "forward or both",
				 &info->scan_both, error);
	if (!code && info->window && info->window < shortest)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: window is %lld; %d parts need at least %lld bases",
			       config->where, (long long)info->window, info->form.parts,
			       (long long)shortest);
	return code;
}

/* How letters and filters were read for the fit: may be left out, but not in part. */
static int read_reading(crocuta_head *head, crocuta_error *error)
{
	const json_t *object = json_object_get(head->config.root, "reading");
	const json_t *shift = json_object_get(object, "filter_shift");
	const json_t *softmask = json_object_get(object, "softmask_n");
	const json_t *pad = json_object_get(object, "n_as_pad");

	if (!object)
		return 0;
	if (!json_is_number(shift) || !json_is_boolean(softmask) || !json_is_boolean(pad))
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: reading is to hold filter_shift (a number), softmask_n and n_as_pad "
			       "(true or false)",
			       head->config.where);
	head->info.filter_shift = json_number_value(shift);
	head->info.softmask_n = json_is_true(softmask);
	head->info.n_as_pad = json_is_true(pad);
	return 0;
}

int cr_head_parse(const char *text, size_t size, const char *where, crocuta_head *head,
		  crocuta_error *error)
{
	cr_config *config = &head->config;
	json_t *training;
	int code = size < JSON_BYTES_MAX /* for writers too, who add a line end */
			   ? cr_config_parse(text, size, where, config, error)
			   : cr_fail(error, CROCUTA_EMODEL,
				     "%s: has %zu bytes, more than the %zu allowed", where, size,
				     JSON_BYTES_MAX - 1);

	if (!code)
		code = read_format(config, error);
	if (!code)
		code = read_backbone(head, error);
	if (!code)
		code = need_word(config, "output", parse_output, "softmax or sigmoid",
				 &head->info.independent, error);
	if (!code)
		code = read_classes(head, error);
	if (!code)
		code = read_background(head, error);
	if (!code)
		code = read_form(head, error);
	if (!code)
		code = need_integer(config, "hidden", 0, CR_HEAD_HIDDEN_MAX, &head->info.hidden,
				    error);
	if (!code)
		code = read_scan(head, error);
	if (!code)
		code = read_reading(head, error);
	if (code)
		return code;
	training = json_object_get(config->root, "training");
	if (training && !json_is_object(training))
		return cr_fail(error, CROCUTA_EMODEL, "%s: training is not a JSON object", where);
	return 0;
}

/* Last component of a path, links resolved. */
static char *name_of(const char *path)
{
	char *real = realpath(path, NULL), *name;
	const char *slash = real ? strrchr(real, '/') : NULL;

	name = cr_strdup(slash && slash[1] ? slash + 1 : path);
	free(real);
	return name;
}

static int read_json(const char *directory, crocuta_head *head, crocuta_error *error)
{
	char *path = cr_path_join(directory, "head.json"), *text = NULL;
	struct stat status;
	size_t size;
	int code;

	head->path = cr_strdup(directory);
	head->name = name_of(directory);
	if (!path || !head->path || !head->name)
		code = cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", directory);
	else if (stat(directory, &status))
		code = cr_fail_errno(
			error, errno == ENOENT || errno == ENOTDIR ? CROCUTA_EMODEL : CROCUTA_EIO,
			"%s: cannot open the head", directory);
	else if (!S_ISDIR(status.st_mode))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: is a file; give the directory that holds head.json and "
			       "head.safetensors",
			       directory);
	else if (stat(path, &status) && errno == ENOENT)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: no head.json in this directory; a head directory holds "
			       "head.json and head.safetensors",
			       directory);
	else
		code = cr_json_read_file(path, JSON_BYTES_MAX, &text, &size, error);
	if (!code)
		code = cr_head_parse(text, size, path, head, error);
	cr_free(text);
	cr_free(path);
	return code;
}

/* Does the head belong to this model? */
static int check_backbone(crocuta_head *head, const crocuta_model *model, crocuta_error *error)
{
	crocuta_head_info *info = &head->info;

	if (strcmp(head->backbone_sha256, model->sha256))
		return cr_fail(error, CROCUTA_EMODEL,
			       "head %s was fitted on backbone %.100s (sha256 %.12s...), this "
			       "model is %.100s (sha256 %.12s...); open the model it was fitted "
			       "on with -m",
			       head->path, head->backbone_name, head->backbone_sha256, model->name,
			       model->sha256);
	if (info->form.layer > model->network.layers)
		return cr_fail(error, CROCUTA_EMODEL, "%s: layer is %d, the model has %lld",
			       head->config.where, info->form.layer,
			       (long long)model->network.layers);
	if (fabs(info->filter_shift - model->info.filter_shift) > 1e-6) /* NaN: not said */
		return cr_fail(error, CROCUTA_EMODEL,
			       "head %s was fitted with a filter shift of %g, and the model is opened "
			       "with %g: see --filter-shift",
			       head->path, info->filter_shift, model->info.filter_shift);
	info->features = cr_head_features(&info->form, model->network.width);
	if (info->features > CR_HEAD_FEATURES_MAX)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: it reads %lld features of this model, more than %d",
			       head->config.where, (long long)info->features, CR_HEAD_FEATURES_MAX);
	return 0;
}

enum { SLOTS = 4 };

struct slot {
	const char *name;
	int rank;
	int64_t shape[2];
	float *values;
	int found;
};

static void list_slots(const crocuta_head *head, struct slot slot[SLOTS])
{
	int64_t features = head->info.features, hidden = head->info.hidden;
	int64_t classes = head->info.classes;

	slot[0] = (struct slot){"output.weight", 2, {classes, hidden ? hidden : features}, NULL, 0};
	slot[1] = (struct slot){"output.bias", 1, {classes, 0}, NULL, 0};
	slot[2] = (struct slot){"hidden.weight", 2, {hidden, features}, NULL, 0};
	slot[3] = (struct slot){"hidden.bias", 1, {hidden, 0}, NULL, 0};
}

static int find_slot(const struct slot *slot, int slots, const char *name)
{
	for (int i = 0; i < slots; i++)
		if (!strcmp(slot[i].name, name))
			return i;
	return -1;
}

/* Every tensor is one of ours and of its shape, none is missing: before anything is allocated. */
static int check_tensors(const cr_safetensors *file, struct slot *slot, int slots,
			 crocuta_error *error)
{
	for (int64_t i = 0; i < file->count; i++) {
		const cr_tensor *tensor = &file->tensor[i];
		cr_tensor expected = {.rank = 0};
		char found[200], want[200];
		int k = find_slot(slot, slots, tensor->name);

		if (k < 0)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\" belongs to no head%s", file->where,
				       tensor->name,
				       slots < SLOTS ? " without hidden layer (head.json says "
						       "hidden 0)"
						     : "");
		slot[k].found = 1;
		expected.rank = slot[k].rank;
		memcpy(expected.shape, slot[k].shape, sizeof slot[k].shape);
		if (tensor->rank == expected.rank &&
		    !memcmp(tensor->shape, expected.shape,
			    (size_t)expected.rank * sizeof *expected.shape))
			continue;
		cr_tensor_shape_text(tensor, found, sizeof found);
		cr_tensor_shape_text(&expected, want, sizeof want);
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\" has shape %s, expected %s by head.json and "
			       "the model's width",
			       file->where, tensor->name, found, want);
	}
	for (int k = 0; k < slots; k++)
		if (!slot[k].found)
			return cr_fail(error, CROCUTA_EMODEL, "%s: tensor %s is missing",
				       file->where, slot[k].name);
	return 0;
}

static int read_tensors(crocuta_head *head, cr_safetensors *file, int allow_nan,
			crocuta_error *error)
{
	struct slot slot[SLOTS];
	int slots = head->info.hidden ? SLOTS : 2, code;

	list_slots(head, slot);
	code = check_tensors(file, slot, slots, error);
	if (!code)
		code = cr_head_alloc_weights(head, error);
	if (code)
		return code;
	slot[0].values = head->output_weight;
	slot[1].values = head->output_bias;
	slot[2].values = head->hidden_weight;
	slot[3].values = head->hidden_bias;
	for (int64_t i = 0; i < file->count && !code; i++) {
		int k = find_slot(slot, slots, file->tensor[i].name);

		code = cr_safetensors_read(file, i, slot[k].values, allow_nan, error);
	}
	return code;
}

static int read_weights(crocuta_head *head, int allow_nan, crocuta_error *error)
{
	char *path = cr_path_join(head->path, "head.safetensors");
	cr_safetensors file = {0};
	cr_digest digest = {0};
	int code;

	if (!path)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", head->path);
	code = cr_digest_start(&digest, error);
	if (!code)
		code = cr_safetensors_open(path, &digest, &file, error);
	if (!code)
		code = read_tensors(head, &file, allow_nan, error);
	if (!code)
		code = cr_safetensors_unchanged(&file, error);
	if (!code)
		code = cr_digest_finish(&digest, head->sha256, error);
	cr_safetensors_close(&file);
	cr_digest_free(&digest);
	cr_free(path);
	return code;
}

int cr_head_read(const char *directory, const crocuta_model *model, int allow_nan,
		 crocuta_head *head, crocuta_error *error)
{
	int code = read_json(directory, head, error);

	if (!code)
		code = check_backbone(head, model, error);
	if (!code)
		code = read_weights(head, allow_nan, error);
	if (code)
		return code;
	head->info.path = head->path;
	head->info.name = head->name;
	head->info.source = "head.safetensors";
	head->info.sha256 = head->sha256;
	return 0;
}

int crocuta_head_get_backbone(const char *path, char *name, size_t capacity, crocuta_error *error)
{
	crocuta_head *head = cr_head_alloc();
	int code = head ? read_json(path, head, error)
			: cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", path);

	if (!code && (size_t)snprintf(name, capacity, "%s", head->backbone_name) >= capacity)
		code = cr_fail(error, CROCUTA_EARG, "%.200s: the backbone's name is too long", path);
	crocuta_head_close(head);
	return code;
}
