/* test_model_stripedhyena_files.c - changed, broken and cut copies of the Evo fixtures: what opens,
 * what is refused, and in which words.
 */
#define _GNU_SOURCE
#include <math.h>

#include "stripedhyena_fixture.h"

#include "backend/stack.h"
#include "base/memory.h"
#include "model/digest.h"
#include "model/network.h"
#include "model/safetensors.h"

#define EVO1 GOLDEN "evo1-d128-n6-rope16"
#define EVO2 GOLDEN "evo2-d128-n8"

static crocuta_model *open_good(const char *path, int lenient)
{
	crocuta_model_options options;
	crocuta_error error = {0};
	crocuta_model *model;

	crocuta_model_options_init(&options);
	options.lenient = lenient;
	if (crocuta_model_open(path, &options, &model, &error))
		fail_msg("%s", error.message);
	return model;
}

static void open_bad(const char *text)
{
	crocuta_error error = {0};
	crocuta_model *model;
	int code = crocuta_model_open(root, NULL, &model, &error);

	if (!code)
		fail_msg("opened, expected: %s", text);
	assert_null(model);
	assert_int_equal(code, CROCUTA_EMODEL);
	if (!strstr(error.message, text))
		fail_msg("expected \"%s\", got: %s", text, error.message);
}

/* Save, free, open. */
static void refuse(struct fixture *f, const char *text)
{
	fixture_save(f, root);
	fixture_free(f);
	open_bad(text);
}

static crocuta_model *accept(struct fixture *f, int lenient)
{
	fixture_save(f, root);
	fixture_free(f);
	return open_good(root, lenient);
}

static void accept_with_note(struct fixture *f, int lenient, const char *text)
{
	crocuta_model *model = accept(f, lenient);

	if (!has_note(model, text))
		fail_msg("no note: %s", text);
	crocuta_model_close(model);
}

static struct fixture *evo1_without(const char *tensor)
{
	struct fixture *f = fixture_read(EVO1);

	fixture_remove(f, tensor);
	return f;
}

static struct fixture *evo2_without(const char *tensor)
{
	struct fixture *f = fixture_read(EVO2);

	fixture_remove(f, tensor);
	return f;
}

static struct fixture *changed(const char *path, const char *from, const char *to)
{
	struct fixture *f = fixture_read(path);

	change_config(f, from, to);
	return f;
}

static struct fixture *with(struct fixture *f, const char *name, int64_t size)
{
	fixture_add(f, name, "F32", 1, &size);
	return f;
}

static void refuses_tensors(void **state)
{
	struct fixture *f;

	(void)state;
	refuse(evo1_without("blocks.0.projections.bias"),
	       "1 tensor is missing: blocks.0.projections.bias");
	refuse(evo1_without("blocks.3.filter.residues"), "missing: blocks.3.filter.residues");
	refuse(evo1_without("embedding_layer.weight"), "missing: embedding_layer.weight");
	refuse(evo2_without("blocks.5.filter.D"), "missing: blocks.5.filter.D");
	refuse(evo2_without("blocks.0.filter.h"), "missing: blocks.0.filter.h");
	refuse(evo2_without("blocks.3.inner_mha_cls.Wqkv.weight"), "Wqkv.weight");
	refuse(evo2_without("blocks.7.inner_mha_cls.out_proj.bias"), "missing: blocks.7.inner");
	refuse(with(fixture_read(EVO2), "blocks.0.filter.D", 128),
	       "belongs to no layer: blocks.0.filter.D (--lenient");
	refuse(with(fixture_read(EVO1), "blocks.0.norm3.scale", 128), "belongs to no layer");
	refuse(with(fixture_read(EVO1), "blocks.0.pre_norm.scale", 128), "under two names");
	refuse(with(fixture_read(EVO1), "blocks.6.pre_norm.scale", 128), "tensors of 7 layers");
	refuse(with(fixture_read(EVO1), "blocks.1025.pre_norm.scale", 128), "number of layers");
	f = fixture_read(EVO1);
	fixture_find(f, "blocks.1.mlp.l3.weight")->shape[0] = 352;
	fixture_find(f, "blocks.1.mlp.l3.weight")->shape[1] = 128;
	refuse(f, "blocks.1.mlp.l3.weight\" has shape [352, 128], expected [128, 352]");
	f = fixture_read(EVO2);
	fixture_find(f, "blocks.4.filter.h")->shape[0] = 7;
	fixture_find(f, "blocks.4.filter.h")->shape[2] = 8;
	refuse(f, "128 channels do not divide into 7 groups");
	f = fixture_read(EVO2);
	fixture_find(f, "unembed.weight")->shape[0] = 256;
	fixture_find(f, "unembed.weight")->shape[1] = 256;
	refuse(f, "not of the token table's shape");
	f = fixture_read(EVO2);
	fixture_find(f, "unembed.weight")->data[7] ^= 1;
	refuse(f, "unembed.weight differs");
	f = fixture_read(EVO1);
	while (f->count > 1)
		free(f->tensor[--f->count].data);
	refuse(f, "tensors of 1 layers");
	f = fixture_read(EVO2);
	((uint32_t *)(void *)fixture_find(f, "blocks.2.filter.log_poles")->data)[5] = 0x7fc00000;
	refuse(f, "log_poles\": element 5 is NaN");
	f = fixture_read(EVO1);
	((uint16_t *)(void *)fixture_find(f, "blocks.0.mlp.l1.weight")->data)[40000] = 0xff80;
	refuse(f, "mlp.l1.weight\": element 40000 is infinite");
}

static void refuses_configs(void **state)
{
	static const struct {
		const char *path, *from, *to, *text;
	} cases[] = {
		{EVO1, "CharLevelTokenizer", "HFAutoTokenizer", "tokenizer_type"},
		{EVO1, "\"final_norm\": true", "\"final_norm\": false", "final_norm"},
		{EVO1, "\"smeared_gqa\": false", "\"smeared_gqa\": true", "smeared_gqa"},
		{EVO1, "\"hyena_filter_groups\": 1", "\"hyena_filter_groups\": 2", "hyena_filter"},
		{EVO1, "\"num_filters\": 128", "\"num_filters\": 64", "num_filters"},
		{EVO1, "\"mlp_activation\": \"gelu\"", "\"mlp_activation\": \"relu\"",
		 "mlp_activation: only gelu and silu"},
		{EVO1, "\"num_attention_heads\": 4", "\"num_attention_heads\": 3",
		 "does not divide into 3 heads"},
		{EVO1, "\"num_attention_heads\": 4,", "", "no num_attention_heads"},
		{EVO1, "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "expected"},
		{EVO1, "\"proj_groups\": 1", "\"proj_groups\": 3", "groups of 3"},
		{EVO1, "\"proj_groups\": 1", "\"proj_groups\": 2", "expected [256]"},
		{EVO1, "\"num_layers\": 6", "\"num_layers\": 5", "expected 0 to 4"},
		{EVO1, "\"num_layers\": 6", "\"num_layers\": 7", "tensors of 6 layers"},
		{EVO1, "\"eps\": 1e-06", "\"eps\": 2", "eps is 2, expected"},
		{EVO1, "\"use_flashfft\"", "\"long_fir_threshold\": 64, \"use_flashfft\"",
		 "long_fir_threshold"},
		{EVO1, "\"use_flashfft\"", "\"quantization_config\": {\"a\": 1}, \"use_flashfft\"",
		 "quantization_config"},
		{EVO1, "\"hyena_layer_idxs\": [\n    0,", "\"hyena_layer_idxs\": [\n    2,",
		 "layer 2 is listed twice"},
		{EVO1, "\"short_filter_bias\": true", "\"short_filter_bias\": false",
		 "short_filter_bias"},
		{EVO1, "\"tie_embeddings\": true", "\"tie_embeddings\": false",
		 "missing: unembed.weight"},
		{EVO2, "\"hcs_layer_idxs\": [\n    0,", "\"hcs_layer_idxs\": [", "make it none"},
		{EVO2, "\"interleave\": true", "\"interleave\": false", "interleave"},
		{EVO2, "\"column_split_hyena\": false", "\"column_split_hyena\": true",
		 "column_split_hyena"},
		{EVO2, "\"hyena_flip_x1x2\": false", "\"hyena_flip_x1x2\": true",
		 "hyena_flip_x1x2"},
		{EVO2, "\"use_laughing_hyena\": false", "\"use_laughing_hyena\": true",
		 "use_laughing_hyena"},
		{EVO2, "\"max_seqlen\": 1048576", "\"max_seqlen\": 1", "maximum length"},
	};
	struct fixture *f;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refuse(changed(cases[i].path, cases[i].from, cases[i].to), cases[i].text);
	f = fixture_read(EVO1); /* a table of words */
	for (int i = 0; i < f->count; i++) {
		struct fixture_tensor *t = &f->tensor[i];

		if (!strstr(t->name, "embedding_layer"))
			continue;
		free(t->data);
		t->shape[0] = 32000;
		t->size = (size_t)32000 * 128 * 2;
		t->data = fixture_alloc(t->size);
	}
	refuse(f, "32000 rows, expected 256 to 512: one for each byte");
}

static void refuses_other_arithmetic(void **state)
{
	struct fixture *f = with(fixture_read(EVO2), "blocks.0.filter.conv_bias", 128);

	(void)state;
	refuse(f, "retrained by NVIDIA");
	f = with(fixture_read(EVO2), "blocks.0.filter.short_filter_bias", 384);
	refuse(f, "retrained by NVIDIA");
	f = changed(EVO2, "\"mha_out_proj_bias\": true,", "");
	fixture_remove(f, "blocks.3.inner_mha_cls.out_proj.bias");
	fixture_remove(f, "blocks.7.inner_mha_cls.out_proj.bias");
	refuse(f, "retrained by NVIDIA");
}

/* Forms of the same model that are published as well. */
static void accepts_variants(void **state)
{
	struct fixture *f;
	crocuta_model *model;
	int64_t one = 1;

	(void)state;
	f = changed(EVO1, "\"inner_mlp_size\": 352", "\"inner_mlp_size\": null");
	for (int i = 0; i < f->count; i++) { /* no prefix */
		char *name = f->tensor[i].name;

		memmove(name, name + 9, strlen(name + 9) + 1);
	}
	fixture_remove(f, "blocks.2.inner_mha_cls.rotary_emb.inv_freq");
	with(f, "blocks.0.filter.t", 3);
	model = accept(f, 0);
	assert_null(crocuta_model_get_note(model, 0));
	assert_int_equal(crocuta_model_get_info(model)->inner_width, 352);
	crocuta_model_close(model);

	f = changed(EVO1, "\"model_type\": \"stripedhyena\",", "");
	model = accept(f, 0);
	assert_string_equal(crocuta_model_get_info(model)->family, "stripedhyena");
	crocuta_model_close(model);

	/* Version 2 told by its tensors alone, matrices per part, states of FP8 products. */
	f = changed(EVO2, "\"model_name\"", "\"model_type\": \"stripedhyena\", \"model_name\"");
	change_config(f, "hcs_layer_idxs", "hcs_layers");
	change_config(f, "hcm_layer_idxs", "hcm_layers");
	change_config(f, "hcl_layer_idxs", "hcl_layers");
	change_config(f, "attn_layer_idxs", "attn_layers");
	change_config(f, "\"column_split\": true", "\"column_split\": false");
	fixture_add(f, "blocks.0.projections._extra_state", "U8", 1, &one)->size = 1;
	model = accept(f, 0);
	assert_string_equal(crocuta_model_get_info(model)->family, "stripedhyena2");
	assert_true(has_note(model, "hcs_layers"));
	crocuta_model_close(model);

	accept_with_note(changed(EVO1, "\"eps\": 1e-06,", ""), 0, "no eps");
	accept_with_note(changed(EVO1, "\"max_seqlen\": 131072,", ""), 0, "131072 is used");
	accept_with_note(changed(EVO1, "\"inner_mlp_size\": 352", "\"inner_mlp_size\": 353"), 0,
			 "inner_mlp_size 353, the tensors have 352");
	accept_with_note(with(fixture_read(EVO1), "blocks.0.x", 4), 1, "are ignored (1)");
	accept_with_note(evo2_without("blocks.3.inner_mha_cls.rotary_emb.inv_freq"), 0,
			 "computed from base 10000");
	f = fixture_read(EVO2);
	fixture_find(f, "unembed.weight")->data[7] ^= 1;
	accept_with_note(f, 1, "unembed.weight differs");
	f = fixture_read(EVO2);
	((float *)(void *)fixture_find(f, "blocks.6.filter.log_poles")->data)[3] = 1e-3f;
	accept_with_note(f, 0,
			 "1 poles of its filters lie outside of the unit circle, the first in "
			 "layer 6");
	f = fixture_read(EVO1);
	((float *)(void *)fixture_find(f, "blocks.1.filter.poles")->data)[0] = 1.5f;
	accept_with_note(f, 0, "in layer 1, the largest at 1.5");
}

/* A head of its own, silu, groups of heads: the stack can hold them. */
static void accepts_own_head(void **state)
{
	struct fixture *f = changed(EVO1, "\"tie_embeddings\": true", "\"tie_embeddings\": false");
	const int64_t shape[2] = {512, 128};
	struct fixture_tensor *t = fixture_add(f, "backbone.unembed.weight", "F16", 2, shape);
	const cr_stack *stack;
	crocuta_model *model;

	(void)state;
	t->data[2 * 300 + 1] = 0x3c; /* 1.0 */
	change_config(f, "\"mlp_activation\": \"gelu\"", "\"mlp_activation\": \"silu\"");
	change_config(f, "\"proj_groups\": 1", "\"proj_groups\": 2");
	for (int i = 0; i < f->count; i++)
		if (strstr(f->tensor[i].name, "Wqkv")) {
			f->tensor[i].shape[0] = 256;
			f->tensor[i].size = f->tensor[i].size / 384 * 256;
		}
	model = accept(f, 0);
	stack = cr_model_network(model)->stack;
	assert_int_equal(crocuta_model_get_info(model)->has_lm_head, 1);
	assert_int_equal(stack->head.type, CR_NUMBER_F32);
	assert_true(((const float *)stack->head.values)[300] == 1);
	assert_true(((const float *)stack->head.values)[301] == 0);
	assert_int_equal(stack->layer[0].activation, CR_ACTIVATION_SILU);
	assert_int_equal(stack->layer[2].attention.kv_heads, 2);
	assert_int_equal(stack->layer[2].in.rows, 256);
	assert_string_equal(crocuta_model_get_info(model)->dtype, "mixed");
	crocuta_model_close(model);
}

static void converts_nothing(void **state)
{
	crocuta_model *model = open_good(EVO1, 0);
	crocuta_verify_report report;
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(crocuta_model_convert(model, root, "F32", 0, 1, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "are not converted"));
	memset(&error, 0, sizeof error);
	assert_int_equal(crocuta_model_verify(model, NULL, &report, &error), CROCUTA_EMODEL);
	crocuta_model_close(model);
}

/* ------------------------------------------------------------------------------- shards */

enum { SHARDS = 3 };

/* Tensor i goes into file i % SHARDS; index as it should be, but for `from` -> `to`. */
static void save_shards(struct fixture *f, const char *from, const char *to)
{
	static const char *const names[SHARDS] = {"model-00001-of-00003.safetensors",
						  "model-00002-of-00003.safetensors",
						  "model-00003-of-00003.safetensors"};
	size_t capacity = 100 * 1024, used, size;
	char *text = fixture_alloc(capacity);

	fixture_write_file(root, "config.json", f->config, strlen(f->config));
	for (int s = 0; s < SHARDS; s++) {
		struct fixture *part = fixture_alloc(sizeof *part);
		unsigned char *bytes;
		char *header;

		for (int i = s; i < f->count; i += SHARDS)
			part->tensor[part->count++] = f->tensor[i];
		header = fixture_header(part);
		bytes = fixture_join(part, header, strlen(header), &size);
		fixture_write_file(root, names[s], bytes, size);
		free(bytes);
		free(header);
		free(part);
	}
	used = (size_t)snprintf(text, capacity,
				"{\"metadata\": {\"total_size\": 1}, "
				"\"weight_map\": {");
	for (int i = 0; i < f->count; i++)
		used += (size_t)snprintf(text + used, capacity - used, "%s\n\"%s\": \"%s\"",
					 i ? "," : "", f->tensor[i].name, names[i % SHARDS]);
	snprintf(text + used, capacity - used, "}}\n");
	if (from) {
		char *at = strstr(text, from);
		char *rest = fixture_alloc(capacity);

		fixture_need(at != NULL, from);
		strcpy(rest, at + strlen(from));
		strcpy(at, to);
		strcat(at, rest);
		free(rest);
	}
	fixture_write_file(root, "model.safetensors.index.json", text, strlen(text));
	free(text);
}

static void digest_of_shards(char sha256[CR_DIGEST_TEXT])
{
	crocuta_error error = {0};
	cr_digest digest;

	assert_int_equal(cr_digest_start(&digest, &error), 0);
	for (int i = 1; i <= SHARDS; i++) {
		char name[64];
		unsigned char *bytes;
		size_t size;

		snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i, SHARDS);
		bytes = read_whole(root, name, &size);
		assert_int_equal(cr_digest_update(&digest, bytes, size, &error), 0);
		free(bytes);
	}
	assert_int_equal(cr_digest_finish(&digest, sha256, &error), 0);
	cr_digest_free(&digest);
}

typedef struct arrays {
	const void *array[400];
	int64_t bytes[400];
	int count;
} arrays;

static void take_array(void *user, const void **array, int64_t bytes)
{
	arrays *a = user;

	fixture_need(a->count < 400, "arrays");
	a->array[a->count] = *array;
	a->bytes[a->count++] = bytes;
}

static void list_arrays(const crocuta_model *model, arrays *a)
{
	const cr_stack *stack = cr_model_network(model)->stack;

	memset(a, 0, sizeof *a);
	for (int64_t i = 0; i < stack->layers; i++) {
		cr_stack_layer copy = stack->layer[i];

		cr_stack_layer_visit(stack, &copy, take_array, a);
	}
	take_array(a, &(const void *){stack->embedding.values}, 512 * 128 * 2);
}

static void loads_shards(void **state)
{
	struct fixture *f = fixture_read(EVO1);
	crocuta_model *whole = open_good(EVO1, 0), *cut;
	crocuta_model_options options;
	crocuta_error error = {0};
	char sha256[CR_DIGEST_TEXT];
	static arrays a, b;

	(void)state;
	save_shards(f, NULL, NULL);
	fixture_free(f);
	cut = open_good(root, 0);
	list_arrays(whole, &a);
	list_arrays(cut, &b);
	assert_int_equal(a.count, b.count);
	assert_true(a.count > 60);
	for (int i = 0; i < a.count; i++) {
		assert_int_equal(a.bytes[i], b.bytes[i]);
		assert_memory_equal(a.array[i], b.array[i], (size_t)a.bytes[i]);
	}
	digest_of_shards(sha256);
	assert_string_equal(crocuta_model_get_info(cut)->sha256, sha256);
	crocuta_model_close(cut);
	crocuta_model_close(whole);
	crocuta_model_options_init(&options);
	options.sha256 = sha256;
	assert_int_equal(crocuta_model_open(root, &options, &cut, &error), 0);
	crocuta_model_close(cut);
	sha256[0] ^= 1;
	assert_int_equal(crocuta_model_open(root, &options, &cut, &error), CROCUTA_EMODEL);
}

static void refuses_shards(void **state)
{
	static const struct {
		const char *from, *to, *text;
	} cases[] = {
		{"-00001-of", "-00004-of",
		 "-00004-of-00003.safetensors, which is missing beside it"},
		{"-00001-of", "-00002-of", "which the index says is in model-00002-of"},
		{"\"model-00001-of-00003.safetensors\"", "\"../model.safetensors\"",
		 "said to be in \"../model.safetensors\""},
		{"\"model-00001-of-00003.safetensors\"", "\"/etc/x.safetensors\"",
		 "expected the name"},
		{"\"model-00001-of-00003.safetensors\"", "\"config.json\"", "expected the name"},
		{"\"model-00001-of-00003.safetensors\"", "\".safetensors\"", "expected the name"},
		{"\"model-00001-of-00003.safetensors\"", "3", "expected the name"},
		{"\"weight_map\": {",
		 "\"weight_map\": {\"a\": \"model-00002-of-00003.safetensors\",",
		 "tensor \"a\" is not in model-00002-of-00003.safetensors, where it should be"},
		{"embedding_layer.weight\"", "embedding_layer.weigh\"",
		 "embedding_layer.weight\" is not in the index"},
		{"weight_map", "weight_maps", "has no weight_map"},
		{"{\"metadata\"", "[\"metadata\"", "model.safetensors.index.json"},
	};
	struct fixture *f = fixture_read(EVO1);
	char path[600];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		save_shards(f, cases[i].from, cases[i].to);
		open_bad(cases[i].text);
	}
	save_shards(f, NULL, NULL);
	snprintf(path, sizeof path, "%s/model-00002-of-00003.safetensors", root);
	assert_int_equal(truncate(path, 300000), 0);
	open_bad("model-00002-of-00003.safetensors: tensor");
	unlink(path);
	open_bad("names model-00002-of-00003.safetensors, which is missing");
	fixture_free(f);
}

/* The reader by itself: parts of a tensor come in order, whole, as stored. */
struct parts {
	const struct fixture_tensor *tensor;
	int64_t next;
	int calls;
};

static void take_part(void *user, int64_t first, int64_t count, const void *elements)
{
	struct parts *p = user;

	assert_int_equal(first, p->next);
	assert_memory_equal(elements, p->tensor->data + 2 * first, (size_t)(2 * count));
	p->next += count;
	p->calls++;
}

static void streams_parts(void **state)
{
	struct fixture *f = fixture_alloc(sizeof *f);
	const int64_t shape[2] = {1100, 1000};
	struct fixture_tensor *t = fixture_add(f, "a", "F16", 2, shape);
	struct parts parts = {.tensor = t};
	crocuta_error error = {0};
	cr_safetensors file;
	char path[600];

	(void)state;
	for (size_t i = 0; i < t->size; i++)
		t->data[i] = (unsigned char)(i % 113);
	strcpy(f->config, "{}");
	fixture_save(f, root);
	snprintf(path, sizeof path, "%s/model.safetensors", root);
	assert_int_equal(cr_safetensors_open(path, NULL, &file, &error), 0);
	assert_int_equal(cr_safetensors_stream(&file, 0, 0, take_part, &parts, &error), 0);
	assert_int_equal(parts.next, 1100000);
	assert_int_equal(parts.calls, 3);
	cr_safetensors_close(&file);
	fixture_free(f);
}

/* Whatever allocation fails, there is one clean error. */
static void survives_failed_allocations(void **state)
{
	struct fixture *f = fixture_read(EVO1);
	int64_t failed = 0, last = 0;

	(void)state;
	save_shards(f, NULL, NULL);
	fixture_free(f);
	for (int64_t n = 1; !last; n += n < 40 ? 1 : 23) {
		crocuta_error error = {0};
		crocuta_model *model;
		int code;

		cr_memory_fail_at(n);
		code = crocuta_model_open(root, NULL, &model, &error);
		last = cr_memory_count() < n;
		cr_memory_fail_at(0);
		if (last)
			assert_int_equal(code, 0);
		else if (code != CROCUTA_EMEMORY)
			fail_msg("allocation %lld: %d: %s", (long long)n, code, error.message);
		failed += code != 0;
		crocuta_model_close(model);
	}
	assert_true(failed > 20);
}

/* A byte of the header, the config or the index changed at random: refused in one line, or opened.
 */
static void survives_damage(void **state)
{
	static const char *const names[] = {"model-00001-of-00003.safetensors", "config.json",
					    "model.safetensors.index.json"};
	struct fixture *f = fixture_read(EVO1);
	uint32_t random = 7;
	int refused = 0;

	(void)state;
	save_shards(f, NULL, NULL);
	fixture_free(f);
	for (int round = 0; round < 240; round++) {
		crocuta_error error = {0};
		crocuta_model *model;
		char path[600], kept, put;
		size_t size;
		unsigned char *bytes = read_whole(root, names[round % 3], &size);
		FILE *file;
		long at;
		int code;

		random = random * 1664525 + 1013904223;
		size = round % 3 ? size : 2000; /* of the header */
		at = (long)((random >> 8) % size);
		kept = (char)bytes[at];
		put = round & 1 ? kept ^ (char)(1 << (random >> 4 & 7))
				: "0\"[]{}:,/9"[random >> 28 & 7];
		free(bytes);
		snprintf(path, sizeof path, "%s/%s", root, names[round % 3]);
		file = fopen(path, "r+b");
		fixture_need(file && !fseek(file, at, SEEK_SET) && fputc(put, file) >= 0 &&
				     !fclose(file),
			     path);
		code = crocuta_model_open(root, NULL, &model, &error);
		if (code && (code != CROCUTA_EMODEL || !error.message[0]))
			fail_msg("round %d: %d: %s", round, code, error.message);
		refused += code != 0;
		crocuta_model_close(model);
		file = fopen(path, "r+b");
		fixture_need(file && !fseek(file, at, SEEK_SET) && fputc(kept, file) >= 0 &&
				     !fclose(file),
			     path);
	}
	assert_true(refused > 150);
	crocuta_model_close(open_good(root, 0)); /* all is as it was */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, discard_root)
	const struct CMUnitTest tests[] = {
		TEST(refuses_tensors),
		TEST(refuses_configs),
		TEST(refuses_other_arithmetic),
		TEST(accepts_variants),
		TEST(accepts_own_head),
		TEST(converts_nothing),
		TEST(loads_shards),
		TEST(refuses_shards),
		TEST(streams_parts),
		TEST(survives_failed_allocations),
		TEST(survives_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
