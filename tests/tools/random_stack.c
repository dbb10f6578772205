/* random_stack.c - write an Evo-2-shaped model directory with made-up bfloat16 weights, of any
 * size.
 *
 * random_stack DIR [--width D] [--heads H] [--inner I] [--groups G] [--layers LETTERS]
 * [--max-length M]
 *                  [--divisor X] [--seed S] [--taps T of M]
 *
 * LETTERS: S short filter, M medium, L long (modal), * attention; default the 32 of Evo-2 7B, whose
 * sizes are the other defaults too. Number j of tensor q depends on (seed, q, j) alone: the same
 * options give the same bytes. Scales keep the residual stream of the usual size.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/half.h"

#define STATES 16
#define PIECE ((int64_t)1 << 22) /* numbers made and written at a time */

enum kind { UNIFORM, ONES, LOG_POLES, FREQUENCIES };

typedef struct tensor {
	char name[96];
	int rank, f32, kind;
	int64_t shape[3];
	double scale; /* largest magnitude of UNIFORM */
} tensor;

static struct {
	const char *path, *layers;
	int64_t width, heads, inner, groups, taps, max_length, seed;
	double divisor;
	tensor *list;
	int count;
} made = {.layers = "SML*SMLSML*SMLSML*SMLSML*SMLSML*",
	  .width = 4096,
	  .heads = 32,
	  .inner = 11264,
	  .groups = 256,
	  .taps = 128,
	  .max_length = 1048576,
	  .seed = 1,
	  .divisor = 128};

static int64_t elements(const tensor *t)
{
	int64_t n = 1;

	for (int i = 0; i < t->rank; i++)
		n *= t->shape[i];
	return n;
}

static void add(const char *name, int layer, int f32, int kind, double scale, int rank, int64_t a,
		int64_t b, int64_t c)
{
	tensor *t = &made.list[made.count++];

	if (layer < 0)
		snprintf(t->name, sizeof t->name, "%s", name);
	else
		snprintf(t->name, sizeof t->name, "blocks.%d.%s", layer, name);
	t->f32 = f32;
	t->kind = kind;
	t->scale = scale;
	t->rank = rank;
	t->shape[0] = a;
	t->shape[1] = b;
	t->shape[2] = c;
}

static void add_attention(int i, double narrow)
{
	const int64_t d = made.width;

	add("inner_mha_cls.Wqkv.weight", i, 0, UNIFORM, narrow, 2, 3 * d, d, 0);
	add("inner_mha_cls.out_proj.bias", i, 0, UNIFORM, 0.01, 1, d, 0, 0);
	add("inner_mha_cls.out_proj.weight", i, 0, UNIFORM, narrow, 2, d, d, 0);
	add("inner_mha_cls.rotary_emb.inv_freq", i, 1, FREQUENCIES, 1, 1, d / made.heads / 2, 0, 0);
}

static void add_hyena(int i, char letter, double narrow)
{
	const int64_t d = made.width;

	add("projections.weight", i, 0, UNIFORM, narrow, 2, 3 * d, d, 0);
	add("filter.short_filter_weight", i, 0, UNIFORM, 1, 3, 3 * d, 1, 3);
	add("out_filter_dense.weight", i, 0, UNIFORM, narrow, 2, d, d, 0);
	add("out_filter_dense.bias", i, 0, UNIFORM, 0.01, 1, d, 0, 0);
	if (letter != 'S')
		add("filter.D", i, 0, UNIFORM, 0.5, 1, d, 0, 0);
	if (letter == 'S')
		add("filter.h", i, 0, UNIFORM, 0.6, 3, made.groups, 1, 7);
	if (letter == 'M')
		add("filter.h", i, 0, UNIFORM, 0.15, 3, made.groups, 1, made.taps);
	if (letter == 'L') {
		add("filter.log_poles", i, 1, LOG_POLES, 1, 3, d, STATES, 1);
		add("filter.residues", i, 1, UNIFORM, 0.05, 2, d, STATES, 0);
	}
}

static void list_tensors(void)
{
	const int64_t d = made.width;
	const double narrow = sqrt(3.0 / (double)d);

	made.list = calloc(strlen(made.layers) * 13 + 4, sizeof *made.list);
	if (!made.list)
		exit(1);
	add("embedding_layer.weight", -1, 0, UNIFORM, 1, 2, 512, d, 0);
	add("norm.scale", -1, 0, ONES, 1, 1, d, 0, 0);
	for (int i = 0; made.layers[i]; i++) {
		add("pre_norm.scale", i, 0, ONES, 1, 1, d, 0, 0);
		add("post_norm.scale", i, 0, ONES, 1, 1, d, 0, 0);
		if (made.layers[i] == '*')
			add_attention(i, narrow);
		else
			add_hyena(i, made.layers[i], narrow);
		add("mlp.l1.weight", i, 0, UNIFORM, narrow, 2, made.inner, d, 0);
		add("mlp.l2.weight", i, 0, UNIFORM, narrow, 2, made.inner, d, 0);
		add("mlp.l3.weight", i, 0, UNIFORM, sqrt(3.0 / (double)made.inner), 2, d,
		    made.inner, 0);
	}
}

/* A well-mixed 64-bit word for each counter (the finaliser of SplitMix64). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static float number(const tensor *t, uint64_t stream, int64_t j)
{
	const double u = (double)(mix(stream ^ (uint64_t)j) >> 11) * 0x1p-53;

	switch (t->kind) {
	case ONES:
		return 1;
	case LOG_POLES: /* decay within 1 to 100,000 positions */
		return (float)-exp(-11.5 * u);
	case FREQUENCIES: /* stored as rounded to bfloat16 */
		return cr_bfloat_to_float(cr_bfloat_from_float((float)pow(
			10000, -2.0 * (double)j * (double)made.heads / (double)made.width)));
	default:
		return (float)(t->scale * (2 * u - 1));
	}
}

static void write_numbers(FILE *file, const tensor *t, uint64_t stream, void *piece)
{
	const int64_t n = elements(t);
	const size_t size = t->f32 ? 4 : 2;

	for (int64_t first = 0; first < n; first += PIECE) {
		const int64_t count = n - first < PIECE ? n - first : PIECE;

#pragma omp parallel for schedule(static)
		for (int64_t j = 0; j < count; j++) {
			const float x = number(t, stream, first + j);

			if (t->f32)
				((float *)piece)[j] = x;
			else
				((uint16_t *)piece)[j] = cr_bfloat_from_float(x);
		}
		if (fwrite(piece, size, (size_t)count, file) != (size_t)count) {
			perror("model.safetensors");
			exit(1);
		}
	}
}

static FILE *create(const char *name)
{
	char path[1000];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", made.path, name);
	file = fopen(path, "wb");
	if (!file) {
		perror(path);
		exit(1);
	}
	return file;
}

static void write_weights(void)
{
	FILE *file = create("model.safetensors");
	const size_t capacity = (size_t)made.count * 256 + 100;
	char *text = malloc(capacity);
	void *piece = malloc(4 * (size_t)PIECE);
	size_t used = 0;
	uint64_t at = 0, length;

	if (!text || !piece)
		exit(1);
	for (int i = 0; i < made.count; i++) {
		const tensor *t = &made.list[i];
		const uint64_t end = at + (uint64_t)elements(t) * (t->f32 ? 4 : 2);

		used += (size_t)snprintf(text + used, capacity - used,
					 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{",
					 t->name, t->f32 ? "F32" : "BF16");
		for (int k = 0; k < t->rank; k++)
			used += (size_t)snprintf(text + used, capacity - used, "%s%" PRId64,
						 k ? "," : "", t->shape[k]);
		used += (size_t)snprintf(text + used, capacity - used,
					 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, end);
		at = end;
	}
	used += (size_t)snprintf(text + used, capacity - used, "}");
	while (used % 8)
		text[used++] = ' ';
	length = used;
	fwrite(&length, 8, 1, file);
	fwrite(text, 1, used, file);
	for (int i = 0; i < made.count; i++)
		write_numbers(file, &made.list[i], mix((uint64_t)made.seed * 1000003 + (uint64_t)i),
			      piece);
	if (fclose(file)) {
		perror("model.safetensors");
		exit(1);
	}
	free(text);
	free(piece);
}

static void write_indices(FILE *file, const char *key, char letter)
{
	int any = 0;

	fprintf(file, "  \"%s\": [", key);
	for (int i = 0; made.layers[i]; i++)
		if (made.layers[i] == letter)
			fprintf(file, "%s%d", any++ ? ", " : "", i);
	fprintf(file, "],\n");
}

static void write_config(void)
{
	FILE *file = create("config.json");

	fprintf(file, "{\n  \"model_name\": \"random-stack\",\n  \"vocab_size\": 512,\n");
	write_indices(file, "hcs_layer_idxs", 'S');
	write_indices(file, "hcm_layer_idxs", 'M');
	write_indices(file, "hcl_layer_idxs", 'L');
	write_indices(file, "attn_layer_idxs", '*');
	fprintf(file, "  \"hidden_size\": %" PRId64 ",\n  \"num_filters\": %" PRId64 ",\n",
		made.width, made.width);
	fprintf(file, "  \"num_layers\": %zu,\n  \"num_attention_heads\": %" PRId64 ",\n",
		strlen(made.layers), made.heads);
	fprintf(file, "  \"inner_mlp_size\": %" PRId64 ",\n  \"state_size\": %d,\n", made.inner,
		STATES);
	fprintf(file, "  \"hcs_filter_length\": 7,\n  \"hcm_filter_length\": %" PRId64 ",\n",
		made.taps);
	fprintf(file,
		"  \"hcs_filter_groups\": %" PRId64 ",\n  \"hcm_filter_groups\": %" PRId64 ",\n",
		made.groups, made.groups);
	fprintf(file, "  \"hcl_filter_groups\": %" PRId64 ",\n  \"short_filter_length\": 3,\n",
		made.width);
	fprintf(file,
		"  \"short_filter_bias\": false,\n  \"proj_groups\": 1,\n"
		"  \"qkv_proj_bias\": false,\n  \"mha_out_proj_bias\": true,\n"
		"  \"hyena_out_proj_bias\": true,\n  \"tie_embeddings\": true,\n"
		"  \"final_norm\": true,\n  \"eps\": 1e-06,\n  \"mlp_activation\": \"gelu\",\n"
		"  \"evo2_style_activations\": true,\n  \"interleave\": true,\n"
		"  \"column_split\": true,\n  \"column_split_hyena\": false,\n"
		"  \"hyena_flip_x1x2\": false,\n  \"rotary_emb_base\": 10000,\n");
	fprintf(file,
		"  \"use_interpolated_rotary_pos_emb\": true,\n  \"rotary_emb_scaling_factor\": "
		"%g,\n",
		made.divisor);
	fprintf(file,
		"  \"tokenizer_type\": \"CharLevelTokenizer\",\n  \"max_seqlen\": %" PRId64 "\n}\n",
		made.max_length);
	fclose(file);
}

static int64_t option(const char *text)
{
	char *end;
	const long long value = strtoll(text, &end, 10);

	if (*end || value < 1) {
		fprintf(stderr, "random_stack: \"%s\" is no positive number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc % 2 || argv[1][0] == '-') {
		fprintf(stderr,
			"usage: random_stack DIR [--width D] [--heads H] [--inner I] [--groups G] "
			"[--layers LETTERS] [--max-length M] [--divisor X] [--seed S] [--taps "
			"T]\n");
		return 2;
	}
	made.path = argv[1];
	for (int i = 2; i < argc; i += 2) {
		const struct {
			const char *name;
			int64_t *value;
		} numbers[] = {{"--width", &made.width}, {"--heads", &made.heads},
			       {"--inner", &made.inner}, {"--groups", &made.groups},
			       {"--seed", &made.seed},   {"--max-length", &made.max_length},
			       {"--taps", &made.taps}};
		int known = 0;

		for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
			if (!strcmp(argv[i], numbers[k].name)) {
				*numbers[k].value = option(argv[i + 1]);
				known = 1;
			}
		if (!strcmp(argv[i], "--layers"))
			made.layers = argv[i + 1];
		else if (!strcmp(argv[i], "--divisor"))
			made.divisor = (double)option(argv[i + 1]);
		else if (!known) {
			fprintf(stderr, "random_stack: unknown option %s\n", argv[i]);
			return 2;
		}
	}
	if (mkdir(made.path, 0777) && errno != EEXIST) {
		perror(made.path);
		return 1;
	}
	list_tensors();
	write_weights();
	write_config();
	return 0;
}
