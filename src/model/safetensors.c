/* safetensors.c - see safetensors.h.
 *
 * Layout: 8 bytes header length (little endian), the header (a JSON object: name -> dtype, shape,
 * data_offsets; and __metadata__), then the tensors' bytes.
 */
#define _GNU_SOURCE
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/json.h"
#include "model/safetensors_internal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors are little endian, and F32 is read straight into memory"
#endif

#define METADATA_MAX ((size_t)1 << 20)

/* A tensor takes 8 values and 3 brackets, so that these allow CR_TENSOR_COUNT_MAX of them. They
 * keep jansson below 200 MB whatever the header says. */
static const cr_json_limits header_limits = {
	.depth = 8,
	.nodes = 1000000,
	.opens = 3 * CR_TENSOR_COUNT_MAX + 2,
	.string = METADATA_MAX + 2,
	.strings = (size_t)32 << 20,
	.space = (size_t)1 << 20,
};

static const struct {
	const char *name;
	size_t size;
} dtypes[CR_DTYPE_COUNT] = {
	[CR_DTYPE_F32] = {"F32", 4},   [CR_DTYPE_F16] = {"F16", 2}, [CR_DTYPE_BF16] = {"BF16", 2},
	[CR_DTYPE_F64] = {"F64", 8},   [CR_DTYPE_I64] = {"I64", 8}, [CR_DTYPE_U64] = {"U64", 8},
	[CR_DTYPE_I32] = {"I32", 4},   [CR_DTYPE_U32] = {"U32", 4}, [CR_DTYPE_I16] = {"I16", 2},
	[CR_DTYPE_U16] = {"U16", 2},   [CR_DTYPE_I8] = {"I8", 1},   [CR_DTYPE_U8] = {"U8", 1},
	[CR_DTYPE_BOOL] = {"BOOL", 1},
};

const char *cr_dtype_name(int dtype)
{
	return dtypes[dtype].name;
}

size_t cr_dtype_size(int dtype)
{
	return dtypes[dtype].size;
}

void cr_tensor_shape_text(const cr_tensor *tensor, char *text, size_t capacity)
{
	size_t used = (size_t)snprintf(text, capacity, "[");

	for (int i = 0; i < tensor->rank && used < capacity; i++)
		used += (size_t)snprintf(text + used, capacity - used, "%s%lld", i ? ", " : "",
					 (long long)tensor->shape[i]);
	if (used < capacity)
		snprintf(text + used, capacity - used, "]");
}

/* A whole number of at least 0 that JSON wrote without fraction or exponent. */
static int whole_number(const json_t *value, int64_t *number)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return 0;
	*number = json_integer_value(value);
	return 1;
}

static int parse_dtype(const cr_safetensors *file, const json_t *value, cr_tensor *tensor,
		       crocuta_error *error)
{
	const char *name = json_string_value(value);

	if (!name)
		return cr_fail(error, CROCUTA_EMODEL, "%s: tensor \"%.80s\" has no dtype string",
			       file->where, tensor->name);
	for (int i = 0; i < CR_DTYPE_COUNT; i++) {
		if (!strcmp(name, dtypes[i].name)) {
			tensor->dtype = i;
			return 0;
		}
	}
	return cr_fail(
		error, CROCUTA_EMODEL,
		"%s: tensor \"%.80s\": dtype \"%.20s\" is not supported (known: F32 F16 BF16 "
		"F64 I64 U64 I32 U32 I16 U16 I8 U8 BOOL)",
		file->where, tensor->name, name);
}

static int parse_shape(const cr_safetensors *file, const json_t *value, cr_tensor *tensor,
		       crocuta_error *error)
{
	size_t rank = json_array_size(value);

	if (!json_is_array(value))
		return cr_fail(error, CROCUTA_EMODEL, "%s: tensor \"%.80s\" has no shape array",
			       file->where, tensor->name);
	if (rank > CR_TENSOR_RANK_MAX)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\" has %zu dimensions, more than %d", file->where,
			       tensor->name, rank, CR_TENSOR_RANK_MAX);
	tensor->rank = (int)rank;
	tensor->elements = 1;
	for (size_t i = 0; i < rank; i++) {
		if (!whole_number(json_array_get(value, i), &tensor->shape[i]))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\": dimension %zu is not a whole number",
				       file->where, tensor->name, i);
		if (__builtin_mul_overflow(tensor->elements, tensor->shape[i], &tensor->elements))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\": its number of elements overflows",
				       file->where, tensor->name);
	}
	return 0;
}

static int parse_offsets(const cr_safetensors *file, const json_t *value, cr_tensor *tensor,
			 crocuta_error *error)
{
	uint64_t data = file->file_size - file->data_start, bytes;
	int64_t begin, end;

	if (json_array_size(value) != 2 || !whole_number(json_array_get(value, 0), &begin) ||
	    !whole_number(json_array_get(value, 1), &end))
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\": data_offsets are not two whole numbers",
			       file->where, tensor->name);
	if (end < begin)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\": bytes %lld..%lld run "
			       "backwards",
			       file->where, tensor->name, (long long)begin, (long long)end);
	if ((uint64_t)end > data)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensor \"%.80s\": bytes %lld..%lld end past the %llu bytes of "
			       "data; the file may be cut, copy it again",
			       file->where, tensor->name, (long long)begin, (long long)end,
			       (unsigned long long)data);
	tensor->begin = (uint64_t)begin;
	tensor->end = (uint64_t)end;
	if (__builtin_mul_overflow((uint64_t)tensor->elements, dtypes[tensor->dtype].size,
				   &bytes) ||
	    bytes != tensor->end - tensor->begin) {
		char shape[200];

		cr_tensor_shape_text(tensor, shape, sizeof shape);
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: tensor \"%.80s\": %s of shape %s does not fill bytes %lld..%lld",
			file->where, tensor->name, dtypes[tensor->dtype].name, shape,
			(long long)begin, (long long)end);
	}
	return 0;
}

static int parse_tensor(const cr_safetensors *file, const char *name, json_t *value,
			cr_tensor *tensor, crocuta_error *error)
{
	size_t length = strlen(name);
	const char *key;
	json_t *item;
	int code;

	if (length == 0 || length > CR_TENSOR_NAME_MAX)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: a tensor's name has %zu bytes, expected 1 to %d: \"%.80s\"",
			       file->where, length, CR_TENSOR_NAME_MAX, name);
	tensor->name = cr_strdup(name);
	if (!tensor->name)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for its header", file->where);
	if (!json_is_object(value))
		return cr_fail(error, CROCUTA_EMODEL, "%s: tensor \"%.80s\" is not a JSON object",
			       file->where, name);
	json_object_foreach(value, key, item)
	{
		if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%.80s\" has an unknown field \"%.80s\"",
				       file->where, name, key);
	}
	code = parse_dtype(file, json_object_get(value, "dtype"), tensor, error);
	if (!code)
		code = parse_shape(file, json_object_get(value, "shape"), tensor, error);
	if (!code)
		code = parse_offsets(file, json_object_get(value, "data_offsets"), tensor, error);
	return code;
}

static int check_metadata(const cr_safetensors *file, json_t *metadata, crocuta_error *error)
{
	size_t bytes = 0;
	const char *key;
	json_t *value;

	if (!json_is_object(metadata))
		return cr_fail(error, CROCUTA_EMODEL, "%s: __metadata__ is not a JSON object",
			       file->where);
	json_object_foreach(metadata, key, value)
	{
		if (!json_is_string(value))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: __metadata__ \"%.80s\" is not a string", file->where,
				       key);
		bytes += strlen(key) + json_string_length(value);
	}
	if (bytes > METADATA_MAX)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: __metadata__ has %zu bytes, more than %zu", file->where, bytes,
			       METADATA_MAX);
	return 0;
}

static int by_position(const void *a, const void *b)
{
	const cr_tensor *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* The sorted ranges must follow each other from 0 to the end of the file: no hole in which
 * something else could hide, no overlap, no bytes after the last. */
static int check_coverage(const cr_safetensors *file, crocuta_error *error)
{
	uint64_t data = file->file_size - file->data_start, reached = 0;

	for (int64_t i = 0; i < file->count; i++) {
		const cr_tensor *tensor = &file->tensor[i];

		if (tensor->begin < reached)
			return cr_fail(
				error, CROCUTA_EMODEL,
				"%s: tensor \"%.80s\": bytes %llu..%llu overlap tensor \"%.80s\"",
				file->where, tensor->name, (unsigned long long)tensor->begin,
				(unsigned long long)tensor->end, file->tensor[i - 1].name);
		if (tensor->begin > reached)
			return cr_fail(
				error, CROCUTA_EMODEL,
				"%s: bytes %llu..%llu before tensor \"%.80s\" belong to no tensor",
				file->where, (unsigned long long)reached,
				(unsigned long long)tensor->begin, tensor->name);
		reached = tensor->end;
	}
	if (reached != data)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: bytes %llu..%llu after the last tensor belong to no tensor",
			       file->where, (unsigned long long)reached, (unsigned long long)data);
	return 0;
}

static int build_table(cr_safetensors *file, json_t *root, crocuta_error *error)
{
	size_t entries = json_object_size(root);
	const char *name;
	json_t *value;

	if (entries > CR_TENSOR_COUNT_MAX + 1)
		return cr_fail(error, CROCUTA_EMODEL, "%s: has %zu tensors, more than %d",
			       file->where, entries, CR_TENSOR_COUNT_MAX);
	file->tensor = cr_calloc(entries, sizeof *file->tensor);
	if (!file->tensor)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for its header", file->where);
	json_object_foreach(root, name, value)
	{
		int code;

		if (!strcmp(name, "__metadata__"))
			code = check_metadata(file, value, error);
		else
			code = parse_tensor(file, name, value, &file->tensor[file->count++], error);
		if (code)
			return code;
	}
	if (file->count)
		qsort(file->tensor, (size_t)file->count, sizeof *file->tensor, by_position);
	return check_coverage(file, error);
}

/* Formats that users hold in the same place, told by their first bytes. */
static const char *foreign_format(const unsigned char *bytes, size_t size)
{
	if (size >= 4 && !memcmp(bytes, "GGUF", 4))
		return "this is a GGUF file";
	if (size >= 4 && !memcmp(bytes, "PK\3\4", 4))
		return "this is a PyTorch or ZIP archive, convert it with tools/convert_ckpt.py";
	if (size >= 8 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 && bytes[7])
		return "this is a Python pickle, convert it with tools/convert_ckpt.py";
	if (size >= 8 && !memcmp(bytes, "version ", 8))
		return "this is a Git LFS pointer, fetch the real file";
	if (size >= 8 && !memcmp(bytes, "\x89HDF\r\n\x1a\n", 8))
		return "this is an HDF5 file";
	return NULL;
}

/* The length word, held against the file's size before anything is allocated from it. */
static int check_length_word(cr_safetensors *file, const unsigned char *bytes, size_t size,
			     uint64_t *length, crocuta_error *error)
{
	uint64_t value = 0;
	const char *foreign;

	if (size < 8 || file->file_size < 8)
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: has %llu bytes, too short for a safetensors file", file->where,
			       (unsigned long long)file->file_size);
	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	*length = value;
	if (value >= 2 && value <= CR_SAFETENSORS_HEADER_MAX && value <= file->file_size - 8)
		return 0;
	foreign = foreign_format(bytes, size);
	return cr_fail(error, CROCUTA_EMODEL, "%s: header length %llu, file has %llu bytes%s%s%s",
		       file->where, (unsigned long long)value, (unsigned long long)file->file_size,
		       value > CR_SAFETENSORS_HEADER_MAX && value <= file->file_size - 8
			       ? " (limit 100000000)"
			       : "",
		       foreign ? "; " : "", foreign ? foreign : "");
}

static int parse_checked(cr_safetensors *file, const unsigned char *bytes, size_t size,
			 crocuta_error *error)
{
	const char *text = (const char *)bytes + 8;
	json_t *root = NULL;
	uint64_t length;
	int code = check_length_word(file, bytes, size, &length, error);

	if (code)
		return code;
	if (length > size - 8)
		return cr_fail(error, CROCUTA_EMODEL, "%s: header of %llu bytes ends early at %zu",
			       file->where, (unsigned long long)length, size - 8);
	file->data_start = 8 + length;
	if (text[0] != '{')
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: header starts with byte 0x%02x, expected '{'", file->where,
			       (unsigned char)text[0]);
	/* Writers pad with spaces to align the data; any other white space there is refused. */
	for (uint64_t i = length; i-- > 0 && text[i] != '}';) {
		if (text[i] != ' ' || length - i > header_limits.space)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: header byte %llu: 0x%02x after the closing brace",
				       file->where, (unsigned long long)i, (unsigned char)text[i]);
	}
	code = cr_json_parse(text, length, &header_limits, file->where, &root, error);
	if (!code)
		code = build_table(file, root, error);
	json_decref(root);
	return code;
}

int cr_safetensors_parse_header(const void *bytes, size_t size, uint64_t file_size,
				const char *where, cr_safetensors *file, crocuta_error *error)
{
	int code;

	*file = (cr_safetensors){.fd = -1, .file_size = file_size};
	file->where = cr_strdup(where);
	if (!file->where)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open it", where);
	code = parse_checked(file, bytes, size, error);
	if (code)
		cr_safetensors_close(file);
	return code;
}

void cr_safetensors_identify(const struct stat *status, int64_t identity[4])
{
	identity[0] = (int64_t)status->st_dev;
	identity[1] = (int64_t)status->st_ino;
	identity[2] = (int64_t)status->st_mtim.tv_sec;
	identity[3] = (int64_t)status->st_mtim.tv_nsec;
}

/* Length word, then the header it announces, then parse both. */
static int read_header(int fd, const char *path, uint64_t file_size, cr_digest *digest,
		       cr_safetensors *file, crocuta_error *error)
{
	cr_safetensors probe = {.where = (char *)path, .file_size = file_size};
	unsigned char word[8], *bytes;
	size_t have = file_size < 8 ? (size_t)file_size : 8;
	uint64_t length;
	int code = cr_safetensors_read_exactly(fd, path, "header length", word, have, 0, error);

	if (!code)
		code = check_length_word(&probe, word, have, &length, error);
	if (code)
		return code;
	bytes = cr_calloc(length + 8, 1);
	if (!bytes)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for its header", path);
	code = cr_safetensors_read_exactly(fd, path, "header", bytes, length + 8, 0, error);
	if (!code)
		code = cr_safetensors_parse_header(bytes, length + 8, file_size, path, file, error);
	if (!code && digest) {
		code = cr_digest_update(digest, bytes, length + 8, error);
		if (code)
			cr_safetensors_close(file);
	}
	cr_free(bytes);
	return code;
}

int cr_safetensors_open(const char *path, cr_digest *digest, cr_safetensors *file,
			crocuta_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), code;
	struct stat status;

	*file = (cr_safetensors){.fd = -1};
	if (fd < 0)
		return cr_fail_errno(error, errno == ENOENT ? CROCUTA_EMODEL : CROCUTA_EIO,
				     "%s: cannot open", path);
	if (fstat(fd, &status))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot examine", path);
	else if (!S_ISREG(status.st_mode))
		code = cr_fail(error, CROCUTA_EMODEL, "%s: is not a regular file", path);
	else
		code = read_header(fd, path, (uint64_t)status.st_size, digest, file, error);
	if (code) {
		close(fd);
		return code;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* advice only */
	file->fd = fd;
	file->opened = 1;
	file->digest = digest;
	cr_safetensors_identify(&status, file->identity);
	file->scratch = cr_calloc(CR_SAFETENSORS_CHUNK, 1);
	if (!file->scratch) {
		cr_safetensors_close(file);
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to read it", path);
	}
	return 0;
}

void cr_safetensors_close(cr_safetensors *file)
{
	for (int64_t i = 0; i < file->count; i++)
		cr_free(file->tensor[i].name);
	cr_free(file->tensor);
	for (int i = 0; i < file->shards; i++)
		cr_safetensors_close(&file->shard[i]);
	cr_free(file->shard);
	cr_free(file->scratch);
	cr_free(file->where);
	if (file->opened)
		close(file->fd);
	*file = (cr_safetensors){.fd = -1};
}
