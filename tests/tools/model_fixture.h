/* model_fixture.h - model directories put together in memory, so that tests can change any detail.
 *
 * Deliberately apart from the library's own writer: a plain second writer of the same format.
 * Any failure here is the test machine's and ends the program.
 */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_TENSORS 300
#define FIXTURE_UNUSED __attribute__((unused))

struct fixture_tensor {
	char name[256];
	char dtype[8];
	int rank;
	int64_t shape[4];
	unsigned char *data;
	size_t size;
};

struct fixture {
	struct fixture_tensor tensor[FIXTURE_TENSORS];
	int count;
	char config[4096];
};

static void fixture_need(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fixture: %s failed\n", what);
	abort();
}

static void *fixture_alloc(size_t size)
{
	void *block = calloc(1, size ? size : 1);

	fixture_need(block != NULL, "calloc");
	return block;
}

/* Append a tensor of zero bytes; its data are the fixture's. */
static FIXTURE_UNUSED struct fixture_tensor *
fixture_add(struct fixture *f, const char *name, const char *dtype, int rank, const int64_t *shape)
{
	struct fixture_tensor *tensor = &f->tensor[f->count++];
	int64_t elements = 1;

	fixture_need(f->count <= FIXTURE_TENSORS, "count");
	memset(tensor, 0, sizeof *tensor);
	snprintf(tensor->name, sizeof tensor->name, "%s", name);
	snprintf(tensor->dtype, sizeof tensor->dtype, "%s", dtype);
	tensor->rank = rank;
	for (int i = 0; i < rank; i++)
		elements *= tensor->shape[i] = shape[i];
	tensor->size = (size_t)elements * (!strcmp(dtype, "F32")   ? 4
					   : !strcmp(dtype, "I64") ? 8
								   : 2);
	tensor->data = fixture_alloc(tensor->size);
	return tensor;
}

/* Append a float32 tensor with small made-up values. */
static struct fixture_tensor *fixture_add_made(struct fixture *f, const char *name, int64_t a,
					       int64_t b, int64_t c)
{
	int64_t shape[3] = {a, b, c};
	struct fixture_tensor *tensor = fixture_add(f, name, "F32", c ? 3 : b ? 2 : 1, shape);

	for (size_t i = 0; i < tensor->size / 4; i++) {
		float value = 0.3f * sinf(0.37f * (float)(i + 1) + 1.3f * (float)f->count);

		memcpy(tensor->data + 4 * i, &value, 4);
	}
	return tensor;
}

static FIXTURE_UNUSED struct fixture_tensor *fixture_find(struct fixture *f, const char *end)
{
	for (int i = 0; i < f->count; i++) {
		size_t length = strlen(f->tensor[i].name), tail = strlen(end);

		if (length >= tail && !strcmp(f->tensor[i].name + length - tail, end))
			return &f->tensor[i];
	}
	fprintf(stderr, "fixture: no tensor %s\n", end);
	abort();
}

static FIXTURE_UNUSED void fixture_remove(struct fixture *f, const char *end)
{
	struct fixture_tensor *tensor = fixture_find(f, end);

	free(tensor->data);
	memmove(tensor, tensor + 1, (size_t)(&f->tensor[--f->count] - tensor) * sizeof *tensor);
}

/* A HyenaDNA of the published layout: N blocks, width D, maximum length M, tables z and t. */
static FIXTURE_UNUSED struct fixture *fixture_make(int64_t width, int64_t layers,
						   int64_t max_length, int64_t order)
{
	static const char *const pairs[] = {"norm1",          "norm2",   "mixer.in_proj",
					    "mixer.out_proj", "mlp.fc1", "mlp.fc2"};
	const double pi = 3.14159265358979323846;
	struct fixture *f = fixture_alloc(sizeof *f);
	int64_t inner = 2 * width;
	char name[200];

	fixture_add_made(f, "hyena.backbone.embeddings.word_embeddings.weight", 16, width, 0);
	for (int64_t i = 0; i < layers; i++) {
		const int64_t rows[] = {width, width, 3 * width, width, inner, width};
		const int64_t columns[] = {0, 0, width, width, width, inner};
		struct fixture_tensor *z, *t, *deltas;
		int at = snprintf(name, sizeof name, "hyena.backbone.layers.%d.", (int)i);
		size_t left = sizeof name - (size_t)at;

		for (int j = 0; j < 6; j++) {
			snprintf(name + at, left, "%s.weight", pairs[j]);
			fixture_add_made(f, name, rows[j], columns[j], 0);
			snprintf(name + at, left, "%s.bias", pairs[j]);
			fixture_add_made(f, name, rows[j], 0, 0);
		}
		snprintf(name + at, left, "mixer.short_filter.weight");
		fixture_add_made(f, name, 3 * width, 1, 3);
		snprintf(name + at, left, "mixer.short_filter.bias");
		fixture_add_made(f, name, 3 * width, 0, 0);
		at += snprintf(name + at, left, "mixer.filter_fn.");
		left = sizeof name - (size_t)at;
		snprintf(name + at, left, "bias");
		fixture_add_made(f, name, width, 0, 0);
		snprintf(name + at, left, "pos_emb.z");
		z = fixture_add_made(f, name, 1, max_length, 5);
		snprintf(name + at, left, "pos_emb.t");
		t = fixture_add_made(f, name, 1, max_length, 1);
		snprintf(name + at, left, "modulation.deltas");
		deltas = fixture_add_made(f, name, 1, 1, width);
		for (int64_t n = 0; n < max_length; n++) {
			double w = 2 * pi * (double)n / (double)max_length;
			float row[5] = {(float)((double)n / (double)(max_length - 1)),
					(float)cos(1e-4 * w), (float)cos(w), (float)-sin(1e-4 * w),
					(float)-sin(w)};

			memcpy(z->data + 20 * n, row, 20);
			memcpy(t->data + 4 * n, row, 4);
		}
		for (int64_t c = 0; c < width; c++) {
			double slow = log(0.01) / 1.5, fast = log(0.01) / 0.3;
			float rate =
				(float)(slow + (fast - slow) * (double)c / (double)(width - 1));

			memcpy(deltas->data + 4 * c, &rate, 4);
		}
		snprintf(name + at, left, "implicit_filter.0.weight");
		fixture_add_made(f, name, order, 5, 0);
		snprintf(name + at, left, "implicit_filter.0.bias");
		fixture_add_made(f, name, order, 0, 0);
		snprintf(name + at, left, "implicit_filter.1.freq");
		fixture_add_made(f, name, 1, order, 0);
		for (int j = 2; j <= 4; j += 2) {
			snprintf(name + at, left, "implicit_filter.%d.weight", j);
			fixture_add_made(f, name, order, order, 0);
			snprintf(name + at, left, "implicit_filter.%d.bias", j);
			fixture_add_made(f, name, order, 0, 0);
		}
		snprintf(name + at, left, "implicit_filter.6.weight");
		fixture_add_made(f, name, width, order, 0);
	}
	fixture_add_made(f, "hyena.backbone.ln_f.weight", width, 0, 0);
	fixture_add_made(f, "hyena.backbone.ln_f.bias", width, 0, 0);
	fixture_add_made(f, "lm_head.weight", 16, width, 0);
	snprintf(
		f->config, sizeof f->config,
		"{\"model_type\": \"hyenadna\", \"d_model\": %d, \"d_inner\": %d, \"n_layer\": %d, "
		"\"max_seq_len\": %d, \"emb_dim\": 5, \"filter_order\": %d, \"num_inner_mlps\": 2, "
		"\"vocab_size\": 12, \"pad_vocab_size_multiple\": 8, \"hyena_order\": 2, "
		"\"short_filter_order\": 3, \"activation_freq\": 10, \"train_freq\": true, "
		"\"layer_norm_epsilon\": 1e-05, \"use_bias\": true, \"filter_shift\": 0.05}",
		(int)width, (int)inner, (int)layers, (int)max_length, (int)order);
	return f;
}

static FIXTURE_UNUSED void fixture_free(struct fixture *f)
{
	for (int i = 0; i < f->count; i++)
		free(f->tensor[i].data);
	free(f);
}

/* The JSON header alone, allocated. */
static char *fixture_header(const struct fixture *f)
{
	size_t capacity = (size_t)f->count * 512 + 64, used = 0, offset = 0;
	char *text = fixture_alloc(capacity);

	used += (size_t)snprintf(text, capacity, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (int i = 0; i < f->count; i++) {
		const struct fixture_tensor *t = &f->tensor[i];

		used += (size_t)snprintf(text + used, capacity - used,
					 ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name,
					 t->dtype);
		for (int j = 0; j < t->rank; j++)
			used += (size_t)snprintf(text + used, capacity - used, "%s%lld",
						 j ? "," : "", (long long)t->shape[j]);
		used += (size_t)snprintf(text + used, capacity - used,
					 "],\"data_offsets\":[%zu,%zu]}", offset, offset + t->size);
		offset += t->size;
	}
	snprintf(text + used, capacity - used, "}");
	return text;
}

/* Length word + header + the data of all tensors, allocated. */
static FIXTURE_UNUSED unsigned char *fixture_join(const struct fixture *f, const char *header,
						  size_t header_size, size_t *size)
{
	size_t total = 8 + header_size, at = total;
	unsigned char *bytes;

	for (int i = 0; i < f->count; i++)
		total += f->tensor[i].size;
	bytes = fixture_alloc(total);
	for (int i = 0; i < 8; i++)
		bytes[i] = (unsigned char)((uint64_t)header_size >> 8 * i);
	memcpy(bytes + 8, header, header_size);
	for (int i = 0; i < f->count; i++) {
		memcpy(bytes + at, f->tensor[i].data, f->tensor[i].size);
		at += f->tensor[i].size;
	}
	*size = total;
	return bytes;
}

static void fixture_write_file(const char *directory, const char *name, const void *bytes,
			       size_t size)
{
	char path[4200];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	file = fopen(path, "wb");
	fixture_need(file && fwrite(bytes, 1, size, file) == size && !fclose(file), path);
}

/* Both files into an existing directory. */
static FIXTURE_UNUSED void fixture_save(const struct fixture *f, const char *directory)
{
	char *header = fixture_header(f);
	size_t size;
	unsigned char *bytes = fixture_join(f, header, strlen(header), &size);

	fixture_write_file(directory, "model.safetensors", bytes, size);
	fixture_write_file(directory, "config.json", f->config, strlen(f->config));
	free(bytes);
	free(header);
}

/* A fresh directory under TMPDIR, its path into text. */
static FIXTURE_UNUSED void fixture_directory(char *text, size_t capacity)
{
	const char *base = getenv("TMPDIR");

	snprintf(text, capacity, "%s/crocuta-test-XXXXXX", base && *base ? base : "/tmp");
	fixture_need(mkdtemp(text) != NULL, "mkdtemp");
}

/* Remove a directory made by the test, two levels deep at most below it. */
static FIXTURE_UNUSED void fixture_discard(const char *directory)
{
	DIR *list = opendir(directory);
	struct dirent *item;
	char path[4200];

	while (list && (item = readdir(list))) {
		struct stat status;

		if (!strcmp(item->d_name, ".") || !strcmp(item->d_name, ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s", directory, item->d_name);
		if (!lstat(path, &status) && S_ISDIR(status.st_mode))
			fixture_discard(path);
		else
			unlink(path);
	}
	if (list)
		closedir(list);
	rmdir(directory);
}

#endif
