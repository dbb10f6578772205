/* stripedhyena_fixture.h - the Evo fixtures as files in memory, to be changed and saved. */
#ifndef CR_TESTS_STRIPEDHYENA_FIXTURE_H
#define CR_TESTS_STRIPEDHYENA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include <crocuta/model.h>

#include "../tools/model_fixture.h"

#define GOLDEN "test-data/golden/"

static unsigned char *read_whole(const char *directory, const char *name, size_t *size)
{
	char path[600];
	unsigned char *bytes;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	file = fopen(path, "rb");
	fixture_need(file && !fseek(file, 0, SEEK_END), path);
	*size = (size_t)ftell(file);
	rewind(file);
	bytes = fixture_alloc(*size + 1);
	fixture_need(fread(bytes, 1, *size, file) == *size, path);
	fclose(file);
	return bytes;
}

/* Tensors in the order of the file's data. */
static FIXTURE_UNUSED struct fixture *fixture_read(const char *directory)
{
	struct fixture *f = fixture_alloc(sizeof *f);
	size_t size, header = 0;
	unsigned char *bytes = read_whole(directory, "config.json", &size), *data;
	const char *name;
	json_t *root, *value;

	fixture_need(size < sizeof f->config, "config.json");
	memcpy(f->config, bytes, size + 1);
	free(bytes);
	bytes = read_whole(directory, "model.safetensors", &size);
	for (int i = 7; i >= 0; i--)
		header = header << 8 | bytes[i];
	data = bytes + 8 + header;
	root = json_loadb((char *)bytes + 8, header, 0, NULL);
	fixture_need(root != NULL, "header");
	json_object_foreach(root, name, value)
	{
		struct fixture_tensor *t = &f->tensor[f->count];
		json_t *shape = json_object_get(value, "shape");
		json_t *place = json_object_get(value, "data_offsets");
		size_t begin = (size_t)json_integer_value(json_array_get(place, 0));

		if (!strcmp(name, "__metadata__"))
			continue;
		fixture_need(++f->count <= FIXTURE_TENSORS, "count");
		snprintf(t->name, sizeof t->name, "%s", name);
		snprintf(t->dtype, sizeof t->dtype, "%s",
			 json_string_value(json_object_get(value, "dtype")));
		t->rank = (int)json_array_size(shape);
		for (int i = 0; i < t->rank; i++)
			t->shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
		t->size = (size_t)json_integer_value(json_array_get(place, 1)) - begin;
		t->data = fixture_alloc(t->size);
		memcpy(t->data, data + begin, t->size);
	}
	json_decref(root);
	free(bytes);
	return f;
}

/* Element i of a stored tensor, read by other means than the library's. */
static FIXTURE_UNUSED float stored(const struct fixture_tensor *t, int64_t i)
{
	uint32_t bits = 0;
	float value;

	fixture_need(i >= 0, "index");
	if (!strcmp(t->dtype, "F32")) {
		fixture_need((size_t)(4 * i + 4) <= t->size, "index");
		memcpy(&bits, t->data + 4 * i, 4);
	} else {
		fixture_need(!strcmp(t->dtype, "BF16") && (size_t)(2 * i + 2) <= t->size, "index");
		bits = (uint32_t)t->data[2 * i] << 16 | (uint32_t)t->data[2 * i + 1] << 24;
	}
	memcpy(&value, &bits, 4);
	return value;
}

/* Replace the first `from` of the config by `to`. */
static FIXTURE_UNUSED void change_config(struct fixture *f, const char *from, const char *to)
{
	char *at = strstr(f->config, from);
	size_t rest;

	fixture_need(at != NULL, from);
	rest = strlen(at + strlen(from)) + 1;
	fixture_need((size_t)(at - f->config) + strlen(to) + rest < sizeof f->config, to);
	memmove(at + strlen(to), at + strlen(from), rest);
	memcpy(at, to, strlen(to));
}

static FIXTURE_UNUSED int has_note(const crocuta_model *model, const char *text)
{
	const char *note;

	for (int i = 0; (note = crocuta_model_get_note(model, i)); i++)
		if (strstr(note, text))
			return 1;
	return 0;
}

/* A program's own directory for changed copies: group set-up and tear-down. */
static char root[512];

static inline int make_root(void **state)
{
	(void)state;
	fixture_directory(root, sizeof root);
	return 0;
}

static inline int discard_root(void **state)
{
	(void)state;
	fixture_discard(root);
	return 0;
}

#endif
