/* safetensors_shards.c - a checkpoint cut into several files, opened as one through its index.
 *
 * {"metadata": {...}, "weight_map": {"tensor": "model-00001-of-00003.safetensors", ...}}
 * The index is as untrusted as the files: its names stay in its own directory, and what it says of
 * each tensor must be so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/config.h"
#include "model/json.h"
#include "model/safetensors_internal.h"

#define INDEX_BYTES_MAX ((size_t)32 << 20)
#define SHARD_NAME_MAX 255

static const cr_json_limits index_limits = {
	.depth = 8,
	.nodes = 2 * CR_TENSOR_COUNT_MAX,
	.opens = 1000,
	.string = CR_TENSOR_NAME_MAX + 2,
	.strings = INDEX_BYTES_MAX,
	.space = INDEX_BYTES_MAX,
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A file of this directory: a name that leads elsewhere is none. */
static int is_shard_name(const char *name)
{
	size_t length = name ? strlen(name) : 0;
	size_t ending = strlen(".safetensors");

	return length > ending && length <= SHARD_NAME_MAX && name[0] != '.' &&
	       !strchr(name, '/') && !strcmp(name + length - ending, ".safetensors");
}

/* The different names of weight_map, sorted; *names is the caller's, the names are the map's. */
static int collect_names(const char *path, json_t *map, const char ***names, size_t *count,
			 crocuta_error *error)
{
	size_t entries = json_object_size(map), used = 0, kept = 0;
	const char *tensor;
	json_t *value;

	*names = NULL;
	if (!json_is_object(map) || !entries)
		return cr_fail(error, CROCUTA_EMODEL, "%s: has no weight_map of tensors to files",
			       path);
	if (entries > CR_TENSOR_COUNT_MAX)
		return cr_fail(error, CROCUTA_EMODEL, "%s: has %zu tensors, more than %d", path,
			       entries, CR_TENSOR_COUNT_MAX);
	*names = cr_calloc(entries, sizeof **names);
	if (!*names)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to read it", path);
	json_object_foreach(map, tensor, value)
	{
		const char *name = json_string_value(value);

		if (!is_shard_name(name))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\" is said to be in \"%.80s\", expected "
				       "the name of a .safetensors file in this directory",
				       path, tensor, name ? name : "");
		(*names)[used++] = name;
	}
	qsort(*names, used, sizeof **names, by_text);
	for (size_t i = 0; i < used; i++)
		if (!i || strcmp((*names)[i], (*names)[kept - 1]))
			(*names)[kept++] = (*names)[i];
	*count = kept;
	if (kept > CR_SHARDS_MAX)
		return cr_fail(error, CROCUTA_EMODEL, "%s: names %zu files, more than %d", path,
			       kept, CR_SHARDS_MAX);
	return 0;
}

static int open_shard(const char *directory, const char *name, cr_safetensors *file,
		      crocuta_error *error)
{
	char *path = cr_path_join(directory, name);
	struct stat status;
	cr_safetensors *shard = &file->shard[file->shards];
	int code;

	if (!path)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", file->where);
	if (stat(path, &status) && errno == ENOENT)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: names %.80s, which is missing beside it; fetch all of the "
			       "model's files",
			       file->where, name);
	else
		code = cr_safetensors_open(path, NULL, shard, error);
	cr_free(path);
	if (code)
		return code;
	file->shards++;
	cr_free(shard->scratch); /* the checkpoint's own serves all */
	shard->scratch = NULL;
	return 0;
}

/* Move the tensors of a shard into the common table. Their entries in the map are used up. */
static int take_tensors(cr_safetensors *file, int index, const char *name, json_t *map,
			crocuta_error *error)
{
	cr_safetensors *shard = &file->shard[index];

	for (int64_t i = 0; i < shard->count; i++) {
		cr_tensor *tensor = &shard->tensor[i];
		const char *expected = json_string_value(json_object_get(map, tensor->name));

		if (!expected)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\" is not in the index, or twice in its "
				       "files",
				       shard->where, tensor->name);
		if (strcmp(expected, name))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: has tensor \"%.80s\", which the index says is in %.80s",
				       shard->where, tensor->name, expected);
		json_object_del(map, tensor->name);
	}
	for (int64_t i = 0; i < shard->count; i++) {
		file->tensor[file->count] = shard->tensor[i];
		file->tensor[file->count++].shard = index;
	}
	shard->count = 0; /* the names have moved */
	return 0;
}

static int merge(cr_safetensors *file, const char *const *names, json_t *map, crocuta_error *error)
{
	size_t tensors = 0;
	const char *tensor;
	json_t *value;

	for (int i = 0; i < file->shards; i++)
		tensors += (size_t)file->shard[i].count;
	if (tensors > CR_TENSOR_COUNT_MAX)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: its files have %zu tensors, more than "
			       "%d",
			       file->where, tensors, CR_TENSOR_COUNT_MAX);
	file->tensor = cr_calloc(tensors, sizeof *file->tensor);
	if (!file->tensor)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", file->where);
	for (int i = 0; i < file->shards; i++) {
		int code = take_tensors(file, i, names[i], map, error);

		if (code)
			return code;
	}
	json_object_foreach(map, tensor, value)
	{
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\" is not in %.80s, where it should be",
			       file->where, tensor, json_string_value(value));
	}
	return 0;
}

/* `names` point into `map`, of which merge() takes entries: they are copied first. */
static int open_all(cr_safetensors *file, const char **names, size_t count, json_t *map,
		    crocuta_error *error)
{
	char *directory = cr_strdup(file->where), *slash, **copies;
	int code = 0;

	copies = cr_calloc(count, sizeof *copies);
	file->shard = cr_calloc(count, sizeof *file->shard);
	file->scratch = cr_calloc(CR_SAFETENSORS_CHUNK, 1);
	if (!directory || !copies || !file->shard || !file->scratch)
		code = cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", file->where);
	slash = directory ? strrchr(directory, '/') : NULL;
	if (slash)
		slash[slash == directory] = '\0';
	for (size_t i = 0; i < count && !code; i++) {
		copies[i] = cr_strdup(names[i]);
		code = copies[i] ? open_shard(slash ? directory : ".", copies[i], file, error)
				 : cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it",
					   file->where);
	}
	if (!code)
		code = merge(file, (const char *const *)copies, map, error);
	for (size_t i = 0; copies && i < count; i++)
		cr_free(copies[i]);
	cr_free(copies);
	cr_free(directory);
	return code;
}

int cr_safetensors_open_index(const char *path, cr_digest *digest, cr_safetensors *file,
			      crocuta_error *error)
{
	json_t *root = NULL, *map;
	const char **names = NULL;
	char *text = NULL;
	size_t size, count = 0;
	int code;

	*file = (cr_safetensors){.fd = -1, .where = cr_strdup(path), .digest = digest};
	if (!file->where)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", path);
	code = cr_json_read_file(path, INDEX_BYTES_MAX, &text, &size, error);
	if (!code)
		code = cr_json_parse(text, size, &index_limits, path, &root, error);
	cr_free(text);
	map = json_object_get(root, "weight_map");
	if (!code)
		code = collect_names(path, map, &names, &count, error);
	if (!code)
		code = open_all(file, names, count, map, error);
	cr_free(names);
	json_decref(root);
	if (code)
		cr_safetensors_close(file);
	return code;
}
