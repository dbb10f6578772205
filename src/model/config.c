/* config.c - see config.h. */
#define _GNU_SOURCE
#include "model/config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/json.h"

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

static const cr_json_limits config_limits = {
	.depth = 32,
	.nodes = 100000,
	.opens = 20000,
	.string = (size_t)1 << 16,
	.strings = CONFIG_BYTES_MAX,
	.space = CONFIG_BYTES_MAX,
};

char *cr_path_join(const char *directory, const char *name)
{
	size_t first = strlen(directory), second = strlen(name);
	char *path = cr_calloc(first + second + 2, 1);

	if (!path)
		return NULL;
	memcpy(path, directory, first);
	while (first > 1 && path[first - 1] == '/')
		first--;
	path[first] = '/';
	memcpy(path + first + (path[0] != '/' || first > 1), name, second + 1);
	return path;
}

void cr_note(cr_notes *notes, const char *format, ...)
{
	char *text;
	va_list list;

	if (notes->count == CR_NOTES_MAX) {
		notes->dropped += notes->dropped ? 1 : 2; /* the count takes a note's place */
		snprintf(notes->text[CR_NOTES_MAX - 1], sizeof notes->text[0], "and %d notes more",
			 notes->dropped);
		return;
	}
	text = notes->text[notes->count++];
	va_start(list, format);
	vsnprintf(text, sizeof notes->text[0], format, list);
	va_end(list);
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

int cr_config_parse(const char *text, size_t size, const char *where, cr_config *config,
		    crocuta_error *error)
{
	*config = (cr_config){.where = cr_strdup(where)};
	if (!config->where)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to read it", where);
	return cr_json_parse(text, size, &config_limits, where, &config->root, error);
}

int cr_config_open(const char *directory, cr_config *config, crocuta_error *error)
{
	char *path = cr_path_join(directory, "config.json"), *text = NULL;
	size_t size;
	struct stat status;
	int code;

	*config = (cr_config){0};
	if (!path)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", directory);
	if (!stat(directory, &status) && stat(path, &status))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: no config.json in this directory; a model directory holds "
			       "config.json and model.safetensors",
			       directory);
	else
		code = cr_json_read_file(path, CONFIG_BYTES_MAX, &text, &size, error);
	if (!code)
		code = cr_config_parse(text, size, path, config, error);
	cr_free(text);
	cr_free(path);
	return code;
}

void cr_config_free(cr_config *config)
{
	json_decref(config->root);
	cr_free(config->where);
	*config = (cr_config){0};
}

/* The field, or NULL when it is absent or null. */
static json_t *find_field(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

/* How a message shows a value that was not accepted. */
static void show_value(const json_t *value, char *text, size_t capacity)
{
	if (json_is_integer(value))
		snprintf(text, capacity, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, capacity, "%.9g", json_real_value(value));
	else if (json_is_string(value))
		snprintf(text, capacity, "the string \"%.40s\"", json_string_value(value));
	else if (json_is_boolean(value))
		snprintf(text, capacity, "%s", json_is_true(value) ? "true" : "false");
	else
		snprintf(text, capacity, "%s", json_is_array(value) ? "an array" : "an object");
}

int cr_config_integer(const cr_config *config, const json_t *object, const char *key, int64_t low,
		      int64_t high, int64_t *value, crocuta_error *error)
{
	json_t *field = find_field(object, key);
	char text[80];

	if (!field)
		return 0;
	if (json_is_integer(field) && json_integer_value(field) >= low &&
	    json_integer_value(field) <= high) {
		*value = json_integer_value(field);
		return 0;
	}
	show_value(field, text, sizeof text);
	return cr_fail(error, CROCUTA_EMODEL, "%s: %s is %s, expected a whole number %lld to %lld",
		       config->where, key, text, (long long)low, (long long)high);
}

int cr_config_number(const cr_config *config, const json_t *object, const char *key, double low,
		     double high, double *value, crocuta_error *error)
{
	json_t *field = find_field(object, key);
	char text[80];

	if (!field)
		return 0;
	if (json_is_number(field) && json_number_value(field) >= low &&
	    json_number_value(field) <= high) {
		*value = json_number_value(field);
		return 0;
	}
	show_value(field, text, sizeof text);
	return cr_fail(error, CROCUTA_EMODEL, "%s: %s is %s, expected a number %g to %g",
		       config->where, key, text, low, high);
}

int cr_config_flag(const cr_config *config, const json_t *object, const char *key, int *value,
		   crocuta_error *error)
{
	json_t *field = find_field(object, key);
	char text[80];

	if (!field)
		return 0;
	if (json_is_boolean(field)) {
		*value = json_is_true(field);
		return 0;
	}
	show_value(field, text, sizeof text);
	return cr_fail(error, CROCUTA_EMODEL, "%s: %s is %s, expected true or false", config->where,
		       key, text);
}

int cr_config_refused(const json_t *value, enum cr_demand kind, int number, const char *text)
{
	if (!value || json_is_null(value))
		return 0;
	switch (kind) {
	case CR_DEMAND_INTEGER:
		return !json_is_integer(value) || json_integer_value(value) != number;
	case CR_DEMAND_FLAG:
		return !json_is_boolean(value) || json_is_true(value) != number;
	case CR_DEMAND_STRING:
		return !json_is_string(value) || strcmp(json_string_value(value), text) != 0;
	default: /* CR_DEMAND_EMPTY */
		return json_array_size(value) + json_object_size(value) > 0 ||
		       json_is_true(value) || json_is_string(value) ||
		       json_number_value(value) != 0;
	}
}
