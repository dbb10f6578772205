/* random_model.c - write a model directory with made-up weights, for tests and benchmarks.
 *
 * random_model DIR [--width D] [--inner I] [--layers N] [--max-length M] [--seed S]
 *                  [--filter-order F] [--rough] [--f16 | --bf16] [--score C]
 *
 * Scales are those of a freshly initialised network, so that hidden values are of the usual size.
 * Number j of tensor q depends on (seed, q, j) alone: the same options give the same bytes.
 * --rough: sine frequencies of 3000 instead of 10, which makes filters that no smooth
 * approximation fits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/model_internal.h"

static struct {
	const char *path;
	int64_t seed;
	int rough, failed;
	cr_network network;
	cr_write_options write;
} made;

/* A well-mixed 64-bit word for each counter (the finaliser of SplitMix64). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t name_hash(const char *name)
{
	uint64_t hash = mix((uint64_t)made.seed);

	for (; *name; name++)
		hash = mix(hash ^ (unsigned char)*name);
	return hash;
}

/* Above 0, at most 1. */
static double uniform(uint64_t stream, int64_t counter)
{
	return (double)((mix(stream ^ mix((uint64_t)counter)) >> 11) + 1) * 0x1p-53;
}

static double normal(uint64_t stream, int64_t counter)
{
	double radius = sqrt(-2 * log(uniform(stream, 2 * counter)));

	return radius * cos(6.283185307179586 * uniform(stream, 2 * counter + 1));
}

static int ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && !strcmp(text + a - b, end);
}

static float made_up(const cr_tensor_spec *spec, uint64_t stream, int64_t i)
{
	double fan_in = (double)spec->shape[spec->rank - 1];

	if (spec->role == CR_ROLE_FREQUENCY)
		return (float)((made.rough ? 3000 : 10) * (1 + 0.1 * normal(stream, i)));
	if (!strncmp(spec->name, "embeddings", 10) || spec->role == CR_ROLE_HEAD)
		return (float)(0.2 * normal(stream, i));
	if (ends_with(spec->name, "filter_fn.bias"))
		return (float)normal(stream, i);
	if (strstr(spec->name, "norm") || strstr(spec->name, "ln_f"))
		return ends_with(spec->name, "weight") ? (float)(1 + 0.02 * normal(stream, i))
						       : (float)(0.02 * normal(stream, i));
	if (spec->rank == 1) { /* biases: of the order of their layer's inputs */
		fan_in = strstr(spec->name, "short_filter") ? 3
			 : strstr(spec->name, "filter.0.")  ? (double)made.network.features
			 : strstr(spec->name, "filter.")    ? (double)made.network.filter_order
			 : strstr(spec->name, "fc2")        ? (double)made.network.inner_width
							    : (double)made.network.width;
	}
	return (float)((2 * uniform(stream, i) - 1) / sqrt(fan_in));
}

static int fill(void *user, const cr_tensor_spec *spec)
{
	uint64_t stream = name_hash(spec->name);
	int64_t count = 1;
	float *array;

	(void)user;
	if (spec->role == CR_ROLE_FEATURES || spec->role == CR_ROLE_OFFSETS)
		return 0;
	for (int i = 0; i < spec->rank; i++)
		count *= spec->shape[i];
	if (!strcmp(spec->name, "lm_head.weight")) {
		made.network.lm_head = made.network.embedding;
		return 0;
	}
	array = cr_floats(count);
	if (!array)
		return 1;
	if (spec->role == CR_ROLE_DECAY)
		cr_hyenadna_deltas(count, array);
	for (int64_t i = 0; i < count && spec->role != CR_ROLE_DECAY; i++)
		array[i] = made_up(spec, stream, i);
	*spec->target = array;
	return 0;
}

static int release(void *user, const cr_tensor_spec *spec)
{
	(void)user;
	if (strcmp(spec->name, "lm_head.weight"))
		cr_free((void *)*spec->target);
	return 0;
}

static int parse(int argc, char **argv)
{
	const struct {
		const char *name;
		int64_t *value;
		int64_t low, high;
	} numbers[] = {
		{"--width", &made.network.width, 1, CR_WIDTH_MAX},
		{"--inner", &made.network.inner_width, 1, CR_INNER_WIDTH_MAX},
		{"--layers", &made.network.layers, 1, CR_LAYERS_MAX},
		{"--max-length", &made.network.max_length, 2, (int64_t)1 << 31},
		{"--seed", &made.seed, 0, INT64_MAX},
		{"--filter-order", &made.network.filter_order, 1, CR_FILTER_ORDER_MAX},
		{"--score", &made.network.classes, 1, CR_CLASSES_MAX},
	};

	for (int i = 1; i < argc; i++) {
		size_t found = 0, count = sizeof numbers / sizeof *numbers;

		while (found < count && strcmp(argv[i], numbers[found].name))
			found++;
		if (found < count && i + 1 < argc) {
			*numbers[found].value = strtoll(argv[++i], NULL, 10);
			if (*numbers[found].value < numbers[found].low ||
			    *numbers[found].value > numbers[found].high)
				return 0;
		} else if (!strcmp(argv[i], "--rough")) {
			made.rough = 1;
		} else if (!strcmp(argv[i], "--f16")) {
			made.write.dtype = CR_DTYPE_F16;
		} else if (!strcmp(argv[i], "--bf16")) {
			made.write.dtype = CR_DTYPE_BF16;
		} else if (argv[i][0] != '-' && !made.path) {
			made.path = argv[i];
		} else {
			return 0;
		}
	}
	return made.path != NULL;
}

int main(int argc, char **argv)
{
	cr_network *network = &made.network;
	crocuta_error error = {0};
	int code;

	*network = (cr_network){.width = 128,
				.layers = 2,
				.max_length = 1026,
				.vocabulary = 16,
				.filter_order = 64,
				.features = 5,
				.filter_inner = 2,
				.norm_epsilon = 1e-5,
				.filter_shift = 0.05};
	made.write = (cr_write_options){.dtype = CR_DTYPE_F32, .own_lm_head = 1, .force = 1};
	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: random_model DIR [--width D] [--inner I] [--layers N] "
				"[--max-length M] [--seed S] [--filter-order F] [--rough] "
				"[--f16 | --bf16] [--score C]\n");
		return 2;
	}
	if (!network->inner_width)
		network->inner_width = 4 * network->width;
	made.write.activation_frequency = made.rough ? 3000 : 10;
	network->block = cr_calloc((size_t)network->layers, sizeof *network->block);
	if (!network->block || cr_hyenadna_visit_tensors(network, fill, NULL)) {
		fprintf(stderr, "random_model: no memory\n");
		return 6;
	}
	code = cr_network_write(network, made.path, &made.write, &error);
	if (code)
		fprintf(stderr, "random_model: %s\n", error.message);
	cr_hyenadna_visit_tensors(network, release, NULL);
	cr_free(network->block);
	return code;
}
