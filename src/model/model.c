/* model.c - open and close model directories: find the weights, the family, and let it load them.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/stack.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/model_internal.h"

#define CR_FAMILY(name) extern const cr_family cr_family_##name;
#include "model/families.def"
#undef CR_FAMILY

const cr_family *const cr_families[] = {
#define CR_FAMILY(name) &cr_family_##name,
#include "model/families.def"
#undef CR_FAMILY
	NULL};

typedef int open_fn(const char *path, cr_digest *digest, cr_safetensors *file,
		    crocuta_error *error);

static const struct format {
	const char *pattern;
	open_fn *open; /* NULL: only named */
	const char *what, *advice;
} formats[] = {
#define CR_FORMAT(pattern, reader, what, advice) {pattern, reader, what, advice},
#include "model/formats.def"
#undef CR_FORMAT
};

#define FORMATS (sizeof formats / sizeof *formats)

void crocuta_model_options_init(crocuta_model_options *options)
{
	*options = (crocuta_model_options){.filter_shift = NAN};
}

/* Room for one more array in the model's list. */
static int grow_list(crocuta_model *model, crocuta_error *error)
{
	int64_t capacity = model->array_capacity ? 2 * model->array_capacity : 64;
	void **grown;

	if (model->arrays < model->array_capacity)
		return 0;
	grown = cr_realloc(model->array, (size_t)capacity, sizeof *grown);
	if (!grown)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to load it", model->path);
	model->array = grown;
	model->array_capacity = capacity;
	return 0;
}

int cr_model_floats(crocuta_model *model, int64_t count, float **array, crocuta_error *error)
{
	int code = grow_list(model, error);

	if (code)
		return code;
	*array = cr_floats(count);
	if (!*array)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "%s: no memory for %lld weights of one tensor", model->path,
			       (long long)count);
	model->array[model->arrays++] = *array;
	return 0;
}

/* From calloc, which takes large blocks from the system as they are used: of a model that is opened for
 * its shapes alone they never are. */
int cr_model_bytes(crocuta_model *model, int64_t bytes, void **array, crocuta_error *error)
{
	const uintptr_t alignment = 64;
	int code = grow_list(model, error);
	void *block;

	if (code)
		return code;
	block = cr_calloc(1, (size_t)bytes + alignment);
	if (!block)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "%s: no memory for %.1f MB of one tensor", model->path,
			       (double)bytes / 1e6);
	model->array[model->arrays++] = block;
	*array = (void *)(((uintptr_t)block + alignment - 1) / alignment * alignment);
	return 0;
}

void cr_model_drop_last(crocuta_model *model)
{
	cr_free(model->array[--model->arrays]);
}

const char *crocuta_model_get_note(const crocuta_model *model, int index)
{
	return index >= 0 && index < model->notes.count ? model->notes.text[index] : NULL;
}

const cr_network *cr_model_network(const crocuta_model *model)
{
	return &model->network;
}

int cr_model_is_unread(const crocuta_model *model)
{
	return model->shapes_only;
}

const crocuta_model_info *crocuta_model_get_info(const crocuta_model *model)
{
	return &model->info;
}

const cr_vocabulary *cr_model_vocabulary(const crocuta_model *model)
{
	return model->family->vocabulary;
}

uint8_t crocuta_model_token(const crocuta_model *model, char base)
{
	return cr_token_of(model->family->vocabulary, base);
}

int cr_model_describe_file(const char *name, const char **what, const char **advice)
{
	for (size_t i = 0; i < FORMATS; i++) {
		if (fnmatch(formats[i].pattern, name, 0))
			continue;
		*what = formats[i].what;
		*advice = formats[i].advice;
		return 1;
	}
	return 0;
}

/* No weights under a name that can be read: say what lies there instead. */
static int fail_without_weights(const char *path, crocuta_error *error)
{
	size_t best = FORMATS;
	char found[256] = "";
	DIR *directory = opendir(path);
	struct dirent *item;

	if (!directory)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot list the directory", path);
	while ((item = readdir(directory))) {
		for (size_t i = 0; i < best; i++) {
			if (!fnmatch(formats[i].pattern, item->d_name, FNM_PERIOD)) {
				best = i;
				snprintf(found, sizeof found, "%s", item->d_name);
			}
		}
	}
	closedir(directory);
	if (best == FORMATS)
		return cr_fail(error, CROCUTA_EMODEL, "%s: no model.safetensors in this directory",
			       path);
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: no model.safetensors in this directory; %.80s is %s, which is not "
		       "supported here: %s",
		       path, found, formats[best].what, formats[best].advice);
}

/* The first file of the directory that has a reader. */
static int open_weights(const char *path, cr_digest *digest, cr_safetensors *file,
			crocuta_error *error)
{
	struct stat status;

	for (size_t i = 0; i < FORMATS; i++) {
		char *name;
		int code, absent;

		if (!formats[i].open)
			continue;
		name = cr_path_join(path, formats[i].pattern);
		if (!name)
			return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", path);
		absent = stat(name, &status) && errno == ENOENT;
		code = absent ? 0 : formats[i].open(name, digest, file, error);
		cr_free(name);
		if (!absent)
			return code;
	}
	return fail_without_weights(path, error);
}

static int choose_family(crocuta_model *model, const cr_config *config, crocuta_error *error)
{
	const json_t *type = json_object_get(config->root, "model_type");
	char known[200] = "";

	for (size_t i = 0; cr_families[i]; i++) {
		size_t used = strlen(known);

		if (cr_families[i]->claims(config->root)) {
			model->family = cr_families[i];
			return 0;
		}
		snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
			 cr_families[i]->name);
	}
	if (!type || json_is_null(type))
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: no model_type; the families supported are: %s", config->where,
			       known);
	if (!json_is_string(type))
		return cr_fail(error, CROCUTA_EMODEL, "%s: model_type is not a string",
			       config->where);
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: model_type \"%.80s\" is not supported; the families supported are: %s",
		       config->where, json_string_value(type), known);
}

/* In .../models--ORG--NAME/snapshots/REVISION, where ORG--NAME starts and its length; else NULL. */
static const char *find_hub_name(const char *path, size_t *length)
{
	const char *start = strstr(path, "/models--"), *end;

	start = start ? start + strlen("/models--") : NULL;
	end = start ? strstr(start, "/snapshots/") : NULL;
	*length = end ? (size_t)(end - start) : 0;
	return end ? start : NULL;
}

/* The model's name: last component of its path, ORG/NAME in the hub's cache. NULL: no memory. */
static char *name_of(const char *path)
{
	char *real = realpath(path, NULL), *name, *dashes;
	const char *start = real ? real : path, *hub;
	size_t length;

	hub = find_hub_name(path, &length);
	if (hub) {
		start = hub;
	} else {
		if (strrchr(start, '/') && strrchr(start, '/')[1])
			start = strrchr(start, '/') + 1;
		length = strlen(start);
	}
	name = cr_calloc(length + 1, 1);
	if (name) {
		memcpy(name, start, length);
		dashes = hub ? strstr(name, "--") : NULL;
		if (dashes) {
			*dashes = '/';
			memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
		}
	}
	free(real);
	return name;
}

/* Of a stack: what its layers tell. */
static void fill_stack_info(crocuta_model_info *info, const cr_stack *stack)
{
	int implicit = 0;

	for (int64_t i = 0; i < stack->layers; i++) {
		info->attention_layers += stack->layer[i].mixer == CR_MIXER_ATTENTION;
		implicit |= stack->layer[i].mixer == CR_MIXER_IMPLICIT;
	}
	info->has_lm_head = stack->head.values != stack->embedding.values;
	info->filter_shift = implicit ? stack->filter_shift : 0;
	if (!implicit)
		info->filter_shift_source = "none";
}

/* Bases of a hybrid's window when nobody says: what Evo's scores are published for. */
#define HYBRID_WINDOW 8192

/* What a caller reads: the sizes again, beside what the family set. */
static void fill_info(crocuta_model *model)
{
	crocuta_model_info *info = &model->info;
	const cr_network *network = &model->network;

	info->family = model->family->name;
	info->name = model->name;
	info->path = model->path;
	info->sha256 = model->sha256;
	info->layers = network->layers;
	info->width = network->width;
	info->inner_width = network->inner_width;
	info->vocabulary = network->vocabulary;
	info->max_length = network->max_length;
	info->classes = network->classes;
	info->filter_shift = network->filter_shift;
	info->default_window = info->usable_length;
	info->changes = info->streams = !network->stack;
	if (!network->stack)
		return;
	fill_stack_info(info, network->stack);
	if (info->default_window > HYBRID_WINDOW)
		info->default_window = HYBRID_WINDOW;
}

static int check_options(const crocuta_model_options *options, crocuta_error *error)
{
	size_t digits = options->sha256 ? strspn(options->sha256, "0123456789abcdefABCDEF") : 64;

	if (digits != 64 || (options->sha256 && options->sha256[64]))
		return cr_fail(error, CROCUTA_EARG,
			       "the expected SHA-256 of the model is \"%.80s\": "
			       "give 64 hex digits",
			       options->sha256);
	if (isinf(options->filter_shift))
		return cr_fail(error, CROCUTA_EARG, "the filter shift must be a finite number");
	return 0;
}

static int load_weights(crocuta_model *model, const cr_config *config,
			const crocuta_model_options *options, crocuta_error *error)
{
	cr_safetensors file = {0};
	cr_digest digest = {0};
	int code = cr_digest_start(&digest, error);

	if (!code)
		code = open_weights(model->path, &digest, &file, error);
	file.unread = options->shapes_only && model->family->shapes_suffice;
	model->shapes_only = file.unread;
	if (!code)
		code = model->family->load(model, config, &file, options, error);
	if (!code)
		code = cr_safetensors_unchanged(&file, error);
	if (!code && !file.unread)
		code = cr_digest_finish(&digest, model->sha256, error);
	if (!code && !file.unread && options->sha256 && strcasecmp(options->sha256, model->sha256))
		code = cr_fail(error, CROCUTA_EMODEL, "%s: SHA-256 is %s, expected %.64s",
			       file.where, model->sha256, options->sha256);
	cr_safetensors_close(&file);
	cr_digest_free(&digest);
	return code;
}

/* A path that is no directory: tell a file of a known format from a name that does not exist. */
static int check_directory(const char *path, crocuta_error *error)
{
	const char *base = strrchr(path, '/'), *what, *advice;
	struct stat status;

	if (stat(path, &status))
		return cr_fail_errno(
			error, errno == ENOENT || errno == ENOTDIR ? CROCUTA_EMODEL : CROCUTA_EIO,
			"%s: cannot open the model", path);
	if (S_ISDIR(status.st_mode))
		return 0;
	base = base ? base + 1 : path;
	if (!strcmp(base, "model.safetensors") || !cr_model_describe_file(base, &what, &advice))
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: is a file; give the directory that holds "
			       "config.json and model.safetensors",
			       path);
	return cr_fail(error, CROCUTA_EMODEL, "%s: is %s, not a model directory: %s", path, what,
		       advice);
}

int crocuta_model_open(const char *path, const crocuta_model_options *options,
		       crocuta_model **model, crocuta_error *error)
{
	crocuta_model_options defaults;
	cr_config config = {0};
	crocuta_model *opened;
	int code;

	*model = NULL;
	crocuta_model_options_init(&defaults);
	options = options ? options : &defaults;
	code = check_options(options, error);
	if (!code)
		code = check_directory(path, error);
	if (code)
		return code;
	opened = cr_calloc(1, sizeof *opened);
	if (opened) {
		opened->path = cr_strdup(path);
		opened->name = name_of(path);
	}
	if (!opened || !opened->path || !opened->name)
		code = cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", path);
	if (!code)
		code = cr_config_open(path, &config, error);
	if (!code)
		code = choose_family(opened, &config, error);
	if (!code)
		code = load_weights(opened, &config, options, error);
	cr_config_free(&config);
	if (code) {
		crocuta_model_close(opened);
		return code;
	}
	fill_info(opened);
	*model = opened;
	return 0;
}

void crocuta_model_close(crocuta_model *model)
{
	if (!model)
		return;
	for (int64_t i = 0; i < model->arrays; i++)
		cr_free(model->array[i]);
	cr_free(model->array);
	cr_free(model->network.block);
	cr_free(model->stack.layer);
	cr_free(model->path);
	cr_free(model->name);
	cr_free(model);
}
