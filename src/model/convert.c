/* convert.c - write a network as a model directory in the published Hugging Face layout.
 *
 * Both files are written into a hidden directory beside the target, synced, and that directory is
 * renamed: the target appears complete or not at all.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "model/model_internal.h"

#define BUFFER ((size_t)1 << 20)
#define HEADER_ALIGNMENT 64 /* of the tensors' bytes, for readers that map the file */

struct output {
	int fd;
	char *path;
	unsigned char *buffer;
	size_t used;
};

struct writer {
	const cr_network *network;
	const cr_write_options *options;
	struct output output;
	json_t *header; /* name -> dtype, shape, data_offsets */
	int64_t offset; /* end of the last tensor in the header */
	struct {
		const float *table; /* the one asked about last; blocks often share it */
		int agrees;
	} position[2]; /* z, t */
	crocuta_error *error;
};

static int fail_memory(const char *path, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to write it", path);
}

static int flush_output(struct output *output, crocuta_error *error)
{
	for (size_t done = 0; done < output->used;) {
		ssize_t put = write(output->fd, output->buffer + done, output->used - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot write", output->path);
		done += (size_t)put;
	}
	output->used = 0;
	return 0;
}

static int put_bytes(struct output *output, const void *bytes, size_t count, crocuta_error *error)
{
	const unsigned char *from = bytes;

	while (count) {
		size_t part = BUFFER - output->used < count ? BUFFER - output->used : count;
		int code;

		memcpy(output->buffer + output->used, from, part);
		output->used += part;
		from += part;
		count -= part;
		code = output->used == BUFFER ? flush_output(output, error) : 0;
		if (code)
			return code;
	}
	return 0;
}

static int open_output(struct output *output, const char *directory, const char *name,
		       crocuta_error *error)
{
	*output = (struct output){.fd = -1};
	output->path = cr_path_join(directory, name);
	output->buffer = cr_calloc(BUFFER, 1);
	if (!output->path || !output->buffer)
		return fail_memory(directory, error);
	output->fd = open(output->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (output->fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot create", output->path);
	return 0;
}

/* Flush, sync and close, also after an error; the first failure counts. */
static int close_output(struct output *output, int code, crocuta_error *error)
{
	if (!code)
		code = flush_output(output, error);
	if (!code && fsync(output->fd))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot sync", output->path);
	if (output->fd >= 0 && close(output->fd) && !code)
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot close", output->path);
	cr_free(output->path);
	cr_free(output->buffer);
	return code;
}

static int is_position_role(int role)
{
	return role == CR_ROLE_FEATURES || role == CR_ROLE_OFFSETS;
}

/* Rounding decay rates or positions would bend the filters; they stay in float32. */
static int stored_dtype(const struct writer *writer, const cr_tensor_spec *spec)
{
	return is_position_role(spec->role) || spec->role == CR_ROLE_DECAY ? CR_DTYPE_F32
									   : writer->options->dtype;
}

/* Is a stored position table the formula up to rounding, so that it can be left out? */
static int is_formula(struct writer *writer, const cr_tensor_spec *spec, int *agrees)
{
	int which = spec->role == CR_ROLE_OFFSETS;

	if (writer->position[which].table != *spec->target) {
		int code = cr_hyenadna_table_agrees(
			*spec->target, spec->role, writer->network->max_length,
			writer->network->features, &writer->position[which].agrees);

		if (code)
			return fail_memory(writer->output.path, writer->error);
		writer->position[which].table = *spec->target;
	}
	*agrees = writer->position[which].agrees;
	return 0;
}

static int is_written(struct writer *writer, const cr_tensor_spec *spec, int *written)
{
	int code = 0, agrees = 1;

	*written = 1;
	if (is_position_role(spec->role)) {
		if (*spec->target && writer->options->tables == CROCUTA_TABLES_DROP)
			code = is_formula(writer, spec, &agrees);
		else
			agrees = !*spec->target;
		*written = !agrees || writer->options->tables == CROCUTA_TABLES_WRITE;
	} else if (!strcmp(spec->name, "lm_head.weight")) {
		*written = writer->options->own_lm_head;
	}
	return code;
}

static int64_t count_elements(const cr_tensor_spec *spec)
{
	int64_t elements = 1;

	for (int i = 0; i < spec->rank; i++)
		elements *= spec->shape[i];
	return elements;
}

static int describe_tensor(void *user, const cr_tensor_spec *spec)
{
	struct writer *writer = user;
	int dtype = stored_dtype(writer, spec);
	int64_t begin = writer->offset;
	int is_head = spec->role == CR_ROLE_HEAD, written;
	int code = is_written(writer, spec, &written);
	char name[160];
	json_t *shape, *entry;

	if (code || !written)
		return code;
	writer->offset += count_elements(spec) * (int64_t)cr_dtype_size(dtype);
	snprintf(name, sizeof name, "%s%s", is_head ? "" : "hyena.backbone.", spec->name);
	shape = json_array();
	for (int i = 0; i < spec->rank; i++)
		if (json_array_append_new(shape, json_integer(spec->shape[i])))
			break;
	entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", cr_dtype_name(dtype), "shape", shape,
			  "data_offsets", (json_int_t)begin, (json_int_t)writer->offset);
	if (json_array_size(json_object_get(entry, "shape")) != (size_t)spec->rank ||
	    json_object_set_new(writer->header, name, entry))
		return fail_memory(writer->output.path, writer->error);
	return 0;
}

static int put_header(struct writer *writer)
{
	unsigned char word[8];
	uint64_t length, padded;
	char *text;
	int code;

	writer->header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
	if (!writer->header)
		return fail_memory(writer->output.path, writer->error);
	code = cr_hyenadna_visit_tensors((cr_network *)writer->network, describe_tensor, writer);
	if (code)
		return code;
	text = json_dumps(writer->header, JSON_COMPACT);
	if (!text)
		return fail_memory(writer->output.path, writer->error);
	length = strlen(text);
	padded = (length + 8 + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT - 8;
	for (int i = 0; i < 8; i++)
		word[i] = (unsigned char)(padded >> 8 * i);
	code = put_bytes(&writer->output, word, 8, writer->error);
	if (!code)
		code = put_bytes(&writer->output, text, length, writer->error);
	for (; length < padded && !code; length++)
		code = put_bytes(&writer->output, " ", 1, writer->error);
	free(text);
	return code;
}

static int put_half(struct writer *writer, const cr_tensor_spec *spec, const float *values,
		    int64_t count)
{
	int brain = writer->options->dtype == CR_DTYPE_BF16;

	for (int64_t i = 0; i < count; i++) {
		uint16_t bits =
			brain ? cr_bfloat_from_float(values[i]) : cr_half_from_float(values[i]);
		float kept = brain ? cr_bfloat_to_float(bits) : cr_half_to_float(bits);
		int code;

		if (isinf(kept) && !isinf(values[i]))
			return cr_fail(writer->error, CROCUTA_ENUMERIC,
				       "tensor \"%.80s\": element %lld is %g, too large for %s%s",
				       spec->name, (long long)i, (double)values[i],
				       cr_dtype_name(writer->options->dtype),
				       brain ? "" : "; BF16 can hold it");
		code = put_bytes(&writer->output, &bits, sizeof bits, writer->error);
		if (code)
			return code;
	}
	return 0;
}

/* z or t by formula, rounded to float32. */
static int put_formula(struct writer *writer, const cr_tensor_spec *spec)
{
	enum { RUN = 128 };
	int64_t length = writer->network->max_length, features = writer->network->features;
	int64_t columns = spec->role == CR_ROLE_FEATURES ? features : 1;
	double *exact = cr_calloc((size_t)(RUN * columns), sizeof *exact);
	int code = exact ? 0 : fail_memory(writer->output.path, writer->error);

	for (int64_t first = 0; first < length && !code; first += RUN) {
		int64_t count = length - first < RUN ? length - first : RUN;

		cr_hyenadna_positions(length, features, first, count, columns > 1 ? exact : NULL,
				      columns > 1 ? NULL : exact);
		for (int64_t i = 0; i < count * columns && !code; i++) {
			float value = (float)exact[i];

			code = put_bytes(&writer->output, &value, sizeof value, writer->error);
		}
	}
	cr_free(exact);
	return code;
}

static int put_tensor(void *user, const cr_tensor_spec *spec)
{
	struct writer *writer = user;
	int64_t count = count_elements(spec);
	int written, code = is_written(writer, spec, &written);

	if (code || !written)
		return code;
	if (!*spec->target)
		return put_formula(writer, spec);
	if (stored_dtype(writer, spec) != CR_DTYPE_F32)
		return put_half(writer, spec, *spec->target, count);
	return put_bytes(&writer->output, *spec->target, (size_t)count * sizeof(float),
			 writer->error);
}

static int write_weights(const cr_network *network, const char *directory,
			 const cr_write_options *options, crocuta_error *error)
{
	struct writer writer = {.network = network, .options = options, .error = error};
	int code = open_output(&writer.output, directory, "model.safetensors", error);

	if (!code)
		code = put_header(&writer);
	if (!code)
		code = cr_hyenadna_visit_tensors((cr_network *)network, put_tensor, &writer);
	json_decref(writer.header);
	return close_output(&writer.output, code, error);
}

/* The shortest decimal form that reads back as the same double; a JSON number. */
static const char *number_text(double value, char text[32])
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, 32, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return text;
}

static int put_line(struct output *output, crocuta_error *error, const char *format, ...)
{
	char line[160];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	return put_bytes(output, line, strlen(line), error);
}

static int write_config(const cr_network *network, const char *directory,
			const cr_write_options *options, crocuta_error *error)
{
	static const char *const torch_names[] = {[CR_DTYPE_F32] = "float32",
						  [CR_DTYPE_F16] = "float16",
						  [CR_DTYPE_BF16] = "bfloat16"};
	/* 12 tokens padded to a multiple of 8, as published; otherwise all rows are the vocabulary.
	 */
	int padded = network->vocabulary == 16;
	char number[3][32];
	struct output output;
	int code = open_output(&output, directory, "config.json", error);
	const struct {
		const char *key;
		int64_t value;
	} sizes[] = {
		{"d_inner", network->inner_width},
		{"d_model", network->width},
		{"emb_dim", network->features},
		{"filter_order", network->filter_order},
		{"hyena_order", 2},
		{"max_seq_len", network->max_length},
		{"n_layer", network->layers},
		{"num_inner_mlps", network->filter_inner},
		{"pad_token_id", 4},
		{"pad_vocab_size_multiple", padded ? 8 : 1},
		{"short_filter_order", 3},
		{"vocab_size", padded ? 12 : network->vocabulary},
	};

	if (!code)
		code = put_line(&output, error, "{\n  \"architectures\": [\"HyenaDNAFor%s\"],\n",
				network->classes ? "SequenceClassification" : "CausalLM");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !code; i++)
		code = put_line(&output, error, "  \"%s\": %lld,\n", sizes[i].key,
				(long long)sizes[i].value);
	if (!code && network->classes)
		code = put_line(&output, error, "  \"num_labels\": %lld,\n",
				(long long)network->classes);
	if (!code)
		code = put_line(&output, error,
				"  \"activation_freq\": %s,\n  \"filter_shift\": %s,\n"
				"  \"layer_norm_epsilon\": %s,\n",
				number_text(options->activation_frequency, number[0]),
				number_text(network->filter_shift, number[1]),
				number_text(network->norm_epsilon, number[2]));
	if (!code)
		code = put_line(
			&output, error,
			"  \"model_type\": \"hyenadna\",\n  \"tie_word_embeddings\": false,\n"
			"  \"torch_dtype\": \"%s\",\n",
			torch_names[options->dtype]);
	if (!code)
		code = put_line(&output, error,
				"  \"train_freq\": true,\n  \"use_bias\": true\n}\n");
	return close_output(&output, code, error);
}

/* Remove the two files and their directory; what else lies there stays, and so does it. */
static void remove_model(const char *directory)
{
	static const char *const names[] = {"config.json", "model.safetensors"};

	for (size_t i = 0; i < 2; i++) {
		char *path = cr_path_join(directory, names[i]);

		if (path)
			unlink(path);
		cr_free(path);
	}
	rmdir(directory);
}

/* force must not cost anybody more than a model: refuse a directory with anything else in it. */
static int check_replaceable(const char *path, int force, crocuta_error *error)
{
	struct stat status;
	struct dirent *item;
	DIR *directory;
	int code = 0;

	if (lstat(path, &status))
		return errno == ENOENT
			       ? 0
			       : cr_fail_errno(error, CROCUTA_EIO, "%s: cannot examine", path);
	if (!force)
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%s: exists already; choose another name or force it to be replaced",
			       path);
	if (!S_ISDIR(status.st_mode))
		return cr_fail(error, CROCUTA_EREFUSED, "%s: exists and is not a directory", path);
	directory = opendir(path);
	if (!directory)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot list it", path);
	while (!code && (item = readdir(directory))) {
		const char *name = item->d_name;

		if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, "config.json") &&
		    strcmp(name, "model.safetensors"))
			code = cr_fail(error, CROCUTA_EREFUSED,
				       "%s: holds \"%.80s\" beside a model; only a directory with "
				       "nothing but config.json and model.safetensors is replaced",
				       path, name);
	}
	closedir(directory);
	return code;
}

static int sync_parent(const char *path, crocuta_error *error)
{
	char *parent = cr_strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
	int fd, code = 0;

	if (!parent)
		return fail_memory(path, error);
	if (slash)
		slash[slash == parent] = '\0';
	fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Some file systems cannot sync a directory; the data themselves are synced. */
	if (fd >= 0 && fsync(fd) && errno != EINVAL)
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot sync its directory", path);
	if (fd >= 0)
		close(fd);
	cr_free(parent);
	return code;
}

/* Put the finished directory under its name; an older one steps aside first and comes back if that
 * fails. */
static int install(const char *part, const char *old, const char *path, crocuta_error *error)
{
	int replaced = !rename(path, old);

	if (!replaced && errno != ENOENT)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot move the old one aside", path);
	if (rename(part, path)) {
		int saved = errno;

		if (replaced && rename(old, path))
			return cr_fail(error, CROCUTA_EIO,
				       "%s: cannot be replaced; the old one is now "
				       "%s",
				       path, old);
		errno = saved;
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot rename the finished directory",
				     path);
	}
	if (replaced)
		remove_model(old);
	return sync_parent(path, error);
}

/* "/a/.name.crocuta-PID.suffix" for "/a/name". */
static char *sibling_name(const char *path, size_t length, const char *suffix)
{
	size_t capacity = length + 64, base = length;
	char *text = cr_calloc(capacity, 1);

	while (base > 0 && path[base - 1] != '/')
		base--;
	if (text)
		snprintf(text, capacity, "%.*s.%.*s.crocuta-%ld.%s", (int)base, path,
			 (int)(length - base), path + base, (long)getpid(), suffix);
	return text;
}

int cr_network_write(const cr_network *network, const char *path, const cr_write_options *options,
		     crocuta_error *error)
{
	size_t length = strlen(path);
	char *part, *old, *target;
	int code;

	while (length > 1 && path[length - 1] == '/')
		length--;
	part = sibling_name(path, length, "part");
	old = sibling_name(path, length, "old");
	target = cr_strdup(path);
	if (target)
		target[length] = '\0';
	code = part && old && target ? check_replaceable(target, options->force, error)
				     : fail_memory(path, error);
	if (!code && mkdir(part, 0777))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot create the directory", part);
	else if (!code) {
		code = write_weights(network, part, options, error);
		if (!code)
			code = write_config(network, part, options, error);
		if (!code)
			code = install(part, old, target, error);
		if (code)
			remove_model(part);
	}
	cr_free(part);
	cr_free(old);
	cr_free(target);
	return code;
}

int crocuta_model_convert(const crocuta_model *model, const char *path, const char *dtype,
			  int tables, int force, crocuta_error *error)
{
	cr_write_options options = {.dtype = -1,
				    .tables = tables,
				    .own_lm_head = model->info.has_lm_head || !model->info.classes,
				    .force = force,
				    .activation_frequency = model->activation_frequency};

	for (int i = CR_DTYPE_F32; i <= CR_DTYPE_BF16; i++)
		if (!strcmp(dtype, cr_dtype_name(i)))
			options.dtype = i;
	if (options.dtype < 0)
		return cr_fail(error, CROCUTA_EARG,
			       "weights cannot be written as \"%.40s\": give F32, "
			       "F16 or BF16",
			       dtype);
	if (!path[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the directory to write is empty");
	return cr_network_write(&model->network, path, &options, error);
}
