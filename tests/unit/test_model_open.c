/* test_model_open.c - opening models: golden fixtures, naming variants, formats of numbers, memory.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <crocuta/model.h>

#include "../tools/model_fixture.h"
#include "base/half.h"
#include "base/memory.h"
#include "model/model_internal.h"

static char directory[4096]; /* of the running test */
static struct fixture *made;

static int set_up(void **state)
{
	(void)state;
	fixture_directory(directory, sizeof directory);
	made = fixture_make(8, 2, 34, 16);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_free(made);
	fixture_discard(directory);
	return 0;
}

static crocuta_model *open_good(const crocuta_model_options *options)
{
	crocuta_error error = {0};
	crocuta_model *model;
	int code;

	fixture_save(made, directory);
	code = crocuta_model_open(directory, options, &model, &error);
	if (code)
		fail_msg("%d: %s", code, error.message);
	return model;
}

/* Opening must fail with that code and a message that contains text. */
static void open_bad(const crocuta_model_options *options, int expected, const char *text)
{
	crocuta_error error = {0};
	crocuta_model *model = (crocuta_model *)1;
	int code;

	fixture_save(made, directory);
	code = crocuta_model_open(directory, options, &model, &error);
	assert_null(model);
	if (code != expected || !strstr(error.message, text))
		fail_msg("%d: %s (expected %d, \"%s\")", code, error.message, expected, text);
}

static int has_note(const crocuta_model *model, const char *text)
{
	const char *note;

	for (int i = 0; (note = crocuta_model_get_note(model, i)); i++)
		if (strstr(note, text))
			return 1;
	return 0;
}

static void rename_all(const char *from, const char *to)
{
	for (int i = 0; i < made->count; i++) {
		char *found = strstr(made->tensor[i].name, from), rest[256];

		if (!found)
			continue;
		snprintf(rest, sizeof rest, "%s", found + strlen(from));
		snprintf(found, sizeof rest - (size_t)(found - made->tensor[i].name), "%s%s", to,
			 rest);
	}
}

static void replace_config(const char *from, const char *to)
{
	char *found = strstr(made->config, from), rest[4096];

	assert_non_null(found);
	snprintf(rest, sizeof rest, "%s", found + strlen(from));
	snprintf(found, sizeof made->config - (size_t)(found - made->config), "%s%s", to, rest);
}

static void assert_data(const struct fixture_tensor *tensor, const float *values)
{
	assert_non_null(values);
	assert_memory_equal(tensor->data, values, tensor->size);
}

static void opens_golden(void **state)
{
	static const struct {
		const char *name;
		int64_t width, inner, layers, length, parameters;
		double shift;
		const char *source, *sha256;
	} golden[] = {
		{"hyenadna-d128-n2-m1026", 128, 512, 2, 1026, 436096, 0.05, "default",
		 "cfc74bbe4be70603620ee2ad28af14f71db812fb5e045cb1e458abfe5b2d7813"},
		{"hyenadna-d128-n2-m1026-shift0", 128, 512, 2, 1026, 436096, 0, "config",
		 "f0ab9980a603adc8811a6a82771866548ed1349f7774938841b1edf456e49dda"},
		{"hyenadna-d64-n4-m4098", 64, 256, 4, 4098, 255872, 0.05, "default",
		 "f29c24044e42d9c988157250f5135689afe35d2abc967e607b8ba7d5e98336d0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
		const crocuta_model_info *info;
		crocuta_error error = {0};
		crocuta_model *model;
		const cr_network *network;
		char path[200];

		snprintf(path, sizeof path, "test-data/golden/%s", golden[i].name);
		if (crocuta_model_open(path, NULL, &model, &error))
			fail_msg("%s", error.message);
		info = crocuta_model_get_info(model);
		network = cr_model_network(model);
		assert_string_equal(info->name, golden[i].name);
		assert_string_equal(info->path, path);
		assert_string_equal(info->family, "hyenadna");
		assert_string_equal(info->sha256, golden[i].sha256);
		assert_string_equal(info->dtype, "F32");
		assert_string_equal(info->filter_shift_source, golden[i].source);
		assert_int_equal(info->width, golden[i].width);
		assert_int_equal(info->inner_width, golden[i].inner);
		assert_int_equal(info->layers, golden[i].layers);
		assert_int_equal(info->max_length, golden[i].length);
		assert_int_equal(info->usable_length, golden[i].length - 2);
		assert_int_equal(info->parameters, golden[i].parameters);
		assert_int_equal(info->vocabulary, 16);
		assert_true(info->filter_shift == golden[i].shift);
		assert_true(network->filter_shift == golden[i].shift);
		assert_int_equal(info->has_lm_head, 1);
		assert_int_equal(info->position_tables_loaded, 1);
		assert_int_equal(info->causal, 1);
		assert_null(crocuta_model_get_note(model, 0));
		for (int64_t j = 0; j < network->layers; j++) {
			const cr_filter_weights *filter = &network->block[j].filter;

			assert_non_null(filter->z);
			assert_ptr_equal(filter->z, network->block[0].filter.z); /* shared */
			assert_ptr_equal(filter->t, network->block[0].filter.t);
			assert_false(filter->departs);
			assert_true(fabs(filter->deltas[0] + 3.0701134573) < 1e-6);
			assert_true(fabs(filter->deltas[golden[i].width - 1] + 15.3505672866) <
				    1e-5);
		}
		crocuta_model_close(model);
	}
}

/* Values at fixed places of the file: bytes 8 + 6824 + offset, read here without the library. */
static void reads_values(void **state)
{
	static const char path[] = "test-data/golden/hyenadna-d128-n2-m1026";
	crocuta_error error = {0};
	crocuta_model *model;
	const cr_network *network;
	float stored[64];
	FILE *file;

	(void)state;
	assert_int_equal(crocuta_model_open(path, NULL, &model, &error), 0);
	network = cr_model_network(model);
	{
		const cr_block_weights *a = &network->block[0], *b = &network->block[1];
		const struct {
			long offset;
			const float *const *field;
			size_t count;
		} places[] = {
			{0, &network->embedding, 64},
			{8192, &a->filter.skip, 64},
			{8960, &a->filter.in_weight, 64},
			{10240, &a->filter.frequency, 64},
			{10752, &a->filter.inner_weight[0], 64},
			{27392, &a->filter.inner_weight[1], 64},
			{43776, &a->filter.out_weight, 64},
			{76544, &a->filter.deltas, 64},
			{103216, &a->in_weight, 64},
			{367408, &a->short_weight, 64},
			{374064, &a->fc1_weight, 64},
			{994400, &b->in_bias, 64},
			{1193056, &b->out_weight, 64},
			{1529440, &b->fc2_weight, 64},
			{1793120, &b->norm2_weight, 64},
			{1794144, &network->norm_weight, 64},
			{1794656, &network->lm_head, 64},
		};

		file = fopen("test-data/golden/hyenadna-d128-n2-m1026/model.safetensors", "rb");
		assert_non_null(file);
		for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
			assert_int_equal(fseek(file, 8 + 6824 + places[i].offset, SEEK_SET), 0);
			assert_int_equal(fread(stored, 4, places[i].count, file), places[i].count);
			assert_memory_equal(stored, *places[i].field, 4 * places[i].count);
		}
		fclose(file);
	}
	assert_int_equal(crocuta_model_token(model, 'A'), 7);
	assert_int_equal(crocuta_model_token(model, 'c'), 8);
	assert_int_equal(crocuta_model_token(model, 'G'), 9);
	assert_int_equal(crocuta_model_token(model, 't'), 10);
	assert_int_equal(crocuta_model_token(model, 'N'), 11);
	assert_int_equal(crocuta_model_token(model, '\xff'), 11);
	crocuta_model_close(model);
}

static void accepts_other_prefixes(void **state)
{
	static const char *const prefixes[] = {"backbone.", "model.backbone.", "module.backbone.",
					       "module.model.backbone.", ""};
	const char *previous = "hyena.backbone.";

	(void)state;
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		crocuta_model *model;

		for (int j = 0; j < made->count; j++) {
			char rest[256];

			if (strncmp(made->tensor[j].name, previous, strlen(previous)) ||
			    !strncmp(made->tensor[j].name, "lm_head", 7))
				continue;
			snprintf(rest, sizeof rest, "%s", made->tensor[j].name + strlen(previous));
			snprintf(made->tensor[j].name, sizeof rest, "%s%.200s", prefixes[i], rest);
		}
		previous = prefixes[i];
		model = open_good(NULL);
		assert_data(fixture_find(made, "layers.1.mlp.fc2.bias"),
			    cr_model_network(model)->block[1].fc2_bias);
		crocuta_model_close(model);
	}
}

/* Keys of a gradient-checkpointed run, with Lightning's prefix on all of them. */
static void accepts_training_names(void **state)
{
	crocuta_model *model;
	int64_t one = 1;

	(void)state;
	rename_all("hyena.backbone.", "model.backbone.");
	rename_all("lm_head", "model.lm_head");
	rename_all(".mixer.", ".mixer.layer.");
	rename_all(".mlp.", ".mlp.layer.");
	fixture_add(made, "val_torchmetrics.num_tokens.count", "I64", 1, &one);
	model = open_good(NULL);
	assert_data(fixture_find(made, "1.mixer.layer.short_filter.weight"),
		    cr_model_network(model)->block[1].short_weight);
	assert_int_equal(crocuta_model_get_info(model)->has_lm_head, 1);
	crocuta_model_close(model);
}

static void add_copy(const char *end, const char *from, const char *to)
{
	struct fixture_tensor *old = fixture_find(made, end), *copy;
	char name[256], *found;

	snprintf(name, sizeof name, "%s", old->name);
	found = strstr(name, from);
	assert_non_null(found);
	snprintf(found, sizeof name - (size_t)(found - name), "%s", to);
	copy = fixture_add(made, name, old->dtype, old->rank, old->shape);
	memcpy(copy->data, fixture_find(made, end)->data, copy->size);
}

static void folds_frequencies(void **state)
{
	struct fixture_tensor *extra;
	crocuta_model *model;

	(void)state;
	add_copy("0.mixer.filter_fn.implicit_filter.1.freq", "1.freq", "3.freq");
	add_copy("0.mixer.filter_fn.implicit_filter.1.freq", "1.freq", "5.freq");
	/* Layer 1 has it under another index only. */
	rename_all("layers.1.mixer.filter_fn.implicit_filter.1.freq",
		   "layers.1.mixer.filter_fn.implicit_filter.3.freq");
	model = open_good(NULL);
	assert_data(fixture_find(made, "1.mixer.filter_fn.implicit_filter.3.freq"),
		    cr_model_network(model)->block[1].filter.frequency);
	crocuta_model_close(model);

	extra = fixture_find(made, "implicit_filter.5.freq");
	extra->data[5] ^= 1;
	open_bad(NULL, CROCUTA_EMODEL, "one vector shared by all");
}

static void constant_frequency(void **state)
{
	crocuta_model *model;

	(void)state;
	fixture_remove(made, "0.mixer.filter_fn.implicit_filter.1.freq");
	open_bad(NULL, CROCUTA_EMODEL, "1 tensor is missing: layers.0.mixer.filter_fn");
	replace_config("\"train_freq\": true", "\"train_freq\": false");
	model = open_good(NULL);
	for (int i = 0; i < 16; i++)
		assert_true(cr_model_network(model)->block[0].filter.frequency[i] == 10);
	crocuta_model_close(model);
}

static void optional_tensors(void **state)
{
	int64_t shape[2] = {3, 8}, decay[3] = {1, 1, 8};
	const cr_network *network;
	crocuta_model *model = open_good(NULL);
	int64_t parameters = crocuta_model_get_info(model)->parameters;

	(void)state;
	assert_true(cr_model_network(model)->lm_head != cr_model_network(model)->embedding);
	crocuta_model_close(model);
	fixture_remove(made, "lm_head.weight");
	for (int i = 0; i < 2; i++) {
		fixture_remove(made, "pos_emb.z");
		fixture_remove(made, "pos_emb.t");
		fixture_remove(made, "modulation.deltas");
	}
	model = open_good(NULL);
	network = cr_model_network(model);
	assert_int_equal(crocuta_model_get_info(model)->has_lm_head, 0);
	assert_true(network->lm_head == network->embedding);
	assert_int_equal(crocuta_model_get_info(model)->parameters, parameters - 16 * 8);
	assert_int_equal(network->max_length, 34);
	assert_int_equal(crocuta_model_get_info(model)->position_tables_loaded, 0);
	assert_true(fabs(network->block[1].filter.deltas[0] + 3.0701134573) < 1e-6);
	crocuta_model_close(model);

	fixture_add(made, "score.weight", "F32", 2, shape)->data[3] = 0x40;
	fixture_add(made, "hyena.backbone.layers.0.mixer.filter_fn.modulation.deltas", "F32", 3,
		    decay);
	model = open_good(NULL);
	network = cr_model_network(model);
	assert_int_equal(crocuta_model_get_info(model)->classes, 3);
	assert_true(network->score[0] == 2 && network->score[1] == 0);
	assert_int_equal(crocuta_model_get_info(model)->position_tables_loaded, 2);
	crocuta_model_close(model);
}

/* Tables are used as stored; info says whether they are more than the rounded formula. */
static void altered_tables(void **state)
{
	struct fixture_tensor *table = fixture_find(made, "1.mixer.filter_fn.pos_emb.z");
	const cr_network *network;
	crocuta_model *model;
	float value;

	(void)state;
	memcpy(&value, table->data + 4 * 77, 4);
	value += 9e-7f; /* within float32 noise of a large table */
	memcpy(table->data + 4 * 77, &value, 4);
	model = open_good(NULL);
	network = cr_model_network(model);
	assert_data(table, network->block[1].filter.z);
	assert_ptr_not_equal(network->block[1].filter.z, network->block[0].filter.z);
	assert_ptr_equal(network->block[1].filter.t, network->block[0].filter.t);
	assert_false(network->block[1].filter.departs);
	assert_int_equal(crocuta_model_get_info(model)->position_tables_loaded, 1);
	crocuta_model_close(model);

	value += 9e-7f;
	memcpy(table->data + 4 * 77, &value, 4);
	model = open_good(NULL);
	network = cr_model_network(model);
	assert_data(table, network->block[1].filter.z);
	assert_true(network->block[1].filter.departs);
	assert_false(network->block[0].filter.departs);
	assert_int_equal(crocuta_model_get_info(model)->position_tables_loaded, 2);
	crocuta_model_close(model);
}

static void extra_and_missing(void **state)
{
	crocuta_model_options options;
	crocuta_model *model;
	int64_t shape = 4;

	(void)state;
	crocuta_model_options_init(&options);
	options.lenient = 1;
	fixture_add(made, "surplus.one", "I64", 1, &shape);
	fixture_add(made, "hyena.backbone.layers.0.mixer.ord_proj_w", "F32", 1, &shape);
	open_bad(NULL, CROCUTA_EMODEL, "2 tensors belong to no layer: surplus.one, hyena.backbone");
	model = open_good(&options);
	assert_true(has_note(model, "surplus.one"));
	crocuta_model_close(model);
	fixture_remove(made, "0.norm1.weight");
	fixture_remove(made, "1.mlp.fc1.bias");
	open_bad(&options, CROCUTA_EMODEL,
		 "2 tensors are missing: layers.0.norm1.weight, layers.1.mlp.fc1.bias; unknown: ");
}

static void shapes_must_fit(void **state)
{
	struct fixture_tensor *tensor = fixture_find(made, "1.mixer.in_proj.weight");

	(void)state;
	tensor->shape[0] = 8;
	tensor->shape[1] = 24;
	open_bad(NULL, CROCUTA_EMODEL, "has shape [8, 24], expected [24, 8]");
}

static void shapes_win(void **state)
{
	crocuta_model *model;

	(void)state;
	replace_config("\"d_model\": 8", "\"d_model\": 256");
	replace_config("\"max_seq_len\": 34", "\"max_seq_len\": 1026");
	replace_config("\"filter_shift\": 0.05", "\"auto_map\": {\"a\": \"b\"}, \"strange\": 1");
	model = open_good(NULL);
	assert_int_equal(crocuta_model_get_info(model)->width, 8);
	assert_int_equal(crocuta_model_get_info(model)->max_length, 34);
	assert_string_equal(crocuta_model_get_info(model)->filter_shift_source, "default");
	assert_true(has_note(model, "d_model 256, the tensors have 8"));
	assert_true(has_note(model, "max_seq_len 1026, the tensors have 34"));
	assert_true(has_note(model, "auto_map"));
	assert_true(has_note(model, "strange"));
	crocuta_model_close(model);
	replace_config("\"n_layer\": 2", "\"n_layer\": 3");
	open_bad(NULL, CROCUTA_EMODEL, "tensors of 2 layers, config.json says n_layer 3");
}

/* config.json of the training repository's checkpoints. */
static void original_config(void **state)
{
	crocuta_model *model;

	(void)state;
	for (int i = 0; i < 2; i++) {
		fixture_remove(made, "pos_emb.z");
		fixture_remove(made, "pos_emb.t");
	}
	snprintf(
		made->config, sizeof made->config,
		"{\"d_model\": 8, \"n_layer\": 2, \"d_inner\": 16, \"vocab_size\": 12, "
		"\"resid_dropout\": 0.0, \"embed_dropout\": 0.1, \"fused_mlp\": false, "
		"\"fused_dropout_add_ln\": true, \"checkpoint_mixer\": true, \"checkpoint_mlp\": "
		"true, "
		"\"residual_in_fp32\": true, \"pad_vocab_size_multiple\": 8, "
		"\"return_hidden_state\": true, \"layer\": {\"_name_\": \"hyena\", \"emb_dim\": 5, "
		"\"filter_order\": 16, \"local_order\": 3, \"l_max\": 40, \"modulate\": true, "
		"\"w\": 10, \"lr\": 6e-4, \"wd\": 0.0, \"lr_pos_emb\": 0.0}}");
	model = open_good(NULL);
	assert_int_equal(crocuta_model_get_info(model)->max_length, 40);
	assert_null(crocuta_model_get_note(model, 0));
	crocuta_model_close(model);
}

static void options_are_kept(void **state)
{
	crocuta_model_options options;
	crocuta_model *model;
	char digest[65];
	float bad = NAN;

	(void)state;
	crocuta_model_options_init(&options);
	options.filter_shift = 0.25;
	model = open_good(&options);
	assert_true(cr_model_network(model)->filter_shift == 0.25);
	assert_string_equal(crocuta_model_get_info(model)->filter_shift_source, "option");
	snprintf(digest, sizeof digest, "%s", crocuta_model_get_info(model)->sha256);
	crocuta_model_close(model);

	options.sha256 = digest;
	for (char *p = digest; *p; p++)
		*p = (char)(*p >= 'a' ? *p - 32 : *p); /* either case */
	crocuta_model_close(open_good(&options));
	digest[3] = digest[3] == '0' ? '1' : '0';
	open_bad(&options, CROCUTA_EMODEL, "SHA-256 is ");
	digest[63] = '\0';
	open_bad(&options, CROCUTA_EARG, "64 hex digits");
	options.sha256 = NULL;

	memcpy(fixture_find(made, "0.norm2.bias")->data + 12, &bad, 4);
	open_bad(&options, CROCUTA_EMODEL, "0.norm2.bias\": element 3 is NaN");
	options.allow_nan_weights = 1;
	model = open_good(&options);
	assert_true(isnan(cr_model_network(model)->block[0].norm2_bias[3]));
	crocuta_model_close(model);
}

static void to_16_bits(const char *dtype, const char *except)
{
	for (int i = 0; i < made->count; i++) {
		struct fixture_tensor *tensor = &made->tensor[i];

		if (except && strstr(tensor->name, except))
			continue;
		for (size_t j = 0; j < tensor->size / 4; j++) {
			float value;
			uint16_t bits;

			memcpy(&value, tensor->data + 4 * j, 4);
			bits = dtype[0] == 'B' ? cr_bfloat_from_float(value)
					       : cr_half_from_float(value);
			memcpy(tensor->data + 2 * j, &bits, 2);
		}
		tensor->size /= 2;
		snprintf(tensor->dtype, sizeof tensor->dtype, "%s", dtype);
	}
}

static void reads_16_bits(void **state)
{
	crocuta_model *model = open_good(NULL);
	float exact = cr_model_network(model)->block[1].in_weight[5];

	(void)state;
	crocuta_model_close(model);
	to_16_bits("F16", "filter_fn");
	model = open_good(NULL);
	assert_string_equal(crocuta_model_get_info(model)->dtype, "mixed");
	assert_true(fabsf(cr_model_network(model)->block[1].in_weight[5] - exact) < 2e-4f);
	assert_false(cr_model_network(model)->block[1].filter.departs);
	crocuta_model_close(model);
}

static void reads_bfloat(void **state)
{
	crocuta_model *model = open_good(NULL);
	float exact = cr_model_network(model)->block[1].in_weight[5];

	(void)state;
	crocuta_model_close(model);
	to_16_bits("BF16", NULL);
	model = open_good(NULL);
	assert_string_equal(crocuta_model_get_info(model)->dtype, "BF16");
	assert_true(fabsf(cr_model_network(model)->block[1].in_weight[5] - exact) < 2e-3f);
	/* Tables rounded to 8 bits are not the formula any more. */
	assert_true(cr_model_network(model)->block[1].filter.departs);
	assert_int_equal(crocuta_model_get_info(model)->position_tables_loaded, 2);
	crocuta_model_close(model);
}

static void half_conversions(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits < 65536; bits++) {
		float half = cr_half_to_float((uint16_t)bits),
		      brain = cr_bfloat_to_float((uint16_t)bits);

		if (isnan(half))
			assert_true(isnan(cr_half_to_float(cr_half_from_float(half))));
		else
			assert_int_equal(cr_half_from_float(half), bits);
		if (isnan(brain))
			assert_true(isnan(cr_bfloat_to_float(cr_bfloat_from_float(brain))));
		else
			assert_int_equal(cr_bfloat_from_float(brain), bits);
	}
	assert_true(cr_half_to_float(0x3c00) == 1 && cr_half_to_float(0x0001) == 0x1p-24f);
	assert_true(cr_half_to_float(0x7bff) == 65504);
	assert_true(isinf(cr_half_to_float(cr_half_from_float(65520))));
	assert_int_equal(cr_half_from_float(65519.996f), 0x7bff);
	assert_int_equal(cr_half_from_float(0x1p-25f), 0);            /* tie to even zero */
	assert_int_equal(cr_half_from_float(0x1.8p-24f), 2);          /* tie to even two */
	assert_int_equal(cr_half_from_float(1 + 0x1p-11f), 0x3c00);   /* tie down */
	assert_int_equal(cr_half_from_float(1 + 0x1.8p-10f), 0x3c02); /* tie up */
	assert_int_equal(cr_half_from_float(-0x1.002002p0f), 0xbc01); /* just above a tie */
	assert_int_equal(cr_bfloat_from_float(1 + 0x1p-8f), 0x3f80);
	assert_int_equal(cr_bfloat_from_float(1 + 0x1.8p-7f), 0x3f82);
	assert_true(isinf(cr_bfloat_to_float(cr_bfloat_from_float(3.4e38f))));
}

/* Every allocation of ours fails once (jansson's own are not covered: it asserts): an error that
 * says so, no leak, no crash. */
static void survives_lack_of_memory(void **state)
{
	crocuta_model *model;
	int64_t total;

	(void)state;
	fixture_save(made, directory);
	cr_memory_fail_at(0);
	assert_int_equal(crocuta_model_open(directory, NULL, &model, NULL), 0);
	total = cr_memory_count();
	crocuta_model_close(model);
	assert_true(total > 100);
	for (int64_t n = 1; n <= total; n++) {
		crocuta_error error = {0};

		cr_memory_fail_at(n);
		assert_int_equal(crocuta_model_open(directory, NULL, &model, &error),
				 CROCUTA_EMEMORY);
		assert_null(model);
		assert_non_null(strstr(error.message, "memory"));
	}
	cr_memory_fail_at(0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(opens_golden),
		TEST(reads_values),
		TEST(accepts_other_prefixes),
		TEST(accepts_training_names),
		TEST(folds_frequencies),
		TEST(constant_frequency),
		TEST(optional_tensors),
		TEST(altered_tables),
		TEST(extra_and_missing),
		TEST(shapes_must_fit),
		TEST(shapes_win),
		TEST(original_config),
		TEST(options_are_kept),
		TEST(reads_16_bits),
		TEST(reads_bfloat),
		TEST(half_conversions),
		TEST(survives_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
