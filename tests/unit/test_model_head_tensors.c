/* test_model_head_tensors.c - heads that are tensors of a model, and what model convert does with
 * heads.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_model_head_support.h"

/* ---- tensors of a model ---- */

static void add_config(const char *fields)
{
	size_t used = strlen(made->config);

	assert_true(made->config[used - 1] == '}');
	snprintf(made->config + used - 1, sizeof made->config - used + 1, ", %s}", fields);
}

static void add_matrix(const char *name, int64_t classes)
{
	fixture_add_made(made, name, classes, WIDTH, 0);
}

static void assert_names(const crocuta_head *head, const char *expected)
{
	const crocuta_head_info *info = crocuta_head_get_info(head);
	char text[400] = "";

	for (int64_t i = 0; i < info->classes; i++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "",
			 info->class_names[i]);
	}
	assert_string_equal(text, expected);
}

/* Features of one row through softmax(weight x + bias) by hand. */
static void assert_linear(const crocuta_head *head, const float *weight, const float *bias)
{
	const crocuta_head_info *info = crocuta_head_get_info(head);
	float features[WIDTH];
	double got[CLASSES_MOST], sum = 0, want[CLASSES_MOST];

	fill(features, WIDTH, 0.9f);
	for (int64_t c = 0; c < info->classes; c++) {
		want[c] = bias ? (double)bias[c] : 0;
		for (int i = 0; i < WIDTH; i++)
			want[c] += (double)weight[c * WIDTH + i] * (double)features[i];
		sum += want[c] = exp(want[c]);
		got[c] = NAN;
	}
	crocuta_head_apply(head, features, 1, got);
	for (int64_t c = 0; c < info->classes; c++)
		assert_true(fabs(got[c] - (info->independent ? want[c] / (1 + want[c])
							     : want[c] / sum)) < 1e-14);
}

static void no_head(void **state)
{
	(void)state;
	open_bad(NULL, NULL, CROCUTA_EMODEL, "has no classifier head");
}

static void hugging_face(void **state)
{
	crocuta_head_options options;
	const crocuta_head_info *info;
	char kept[4096];
	crocuta_head *head;

	(void)state;
	add_matrix("score.weight", 3);
	snprintf(kept, sizeof kept, "%s", made->config);
	add_config("\"id2label\": {\"2\": \"splice, donor\", \"0\": \"no\\u00e9\", \"7\": \"x\"}");
	open_model();
	head = open_good(NULL, NULL);
	info = crocuta_head_get_info(head);
	assert_string_equal(info->source, "score.weight");
	assert_string_equal(info->path, beside);
	assert_string_equal(info->name, "model");
	assert_string_equal(info->sha256, crocuta_model_get_info(model)->sha256);
	assert_names(head, "no__ class1 splice__donor");
	assert_int_equal(info->form.layer, 2);
	assert_int_equal(info->form.pool, CROCUTA_HEAD_LAST);
	assert_int_equal(info->form.specials, CROCUTA_SPECIALS_MODEL_SEP);
	assert_int_equal(info->form.strands, CROCUTA_STRANDS_FORWARD);
	assert_int_equal(info->form.parts, 1);
	assert_int_equal(info->features, WIDTH);
	assert_int_equal(info->background, -1);
	assert_false(info->independent);
	assert_linear(head, cr_model_network(model)->score, NULL);
	crocuta_model_close(model); /* the head does not need it */
	model = NULL;
	assert_names(head, "no__ class1 splice__donor");
	crocuta_head_close(head);

	snprintf(made->config, sizeof made->config, "%s", kept);
	add_config(
		"\"problem_type\": \"multi_label_classification\", \"id2label\": {\"0\": \"a b\","
		" \"1\": \"a,b\"}");
	open_model();
	crocuta_head_options_init(&options);
	options.pool = CROCUTA_HEAD_MEAN;
	options.specials = CROCUTA_SPECIALS_NONE;
	head = open_good(NULL, &options);
	info = crocuta_head_get_info(head);
	assert_names(head, "class0 class1 class2"); /* two labels would be a_b */
	assert_int_equal(info->form.pool, CROCUTA_HEAD_MEAN);
	assert_int_equal(info->form.specials, CROCUTA_SPECIALS_NONE);
	assert_int_equal(info->form.layer, 2);
	assert_true(info->independent);
	assert_linear(head, cr_model_network(model)->score, NULL);
	crocuta_head_close(head);
}

static void labels_that_do_not_fit(void **state)
{
	static const struct {
		const char *fields, *message;
	} cases[] = {
		{"\"problem_type\": \"regression\"", "problem_type is \"regression\""},
		{"\"problem_type\": 3", "problem_type is no string"},
		{"\"problem_type\": \"other\"", "problem_type is \"other\""},
		{"\"id2label\": [\"a\"]", "id2label is not a JSON object"},
		{"\"id2label\": {\"1\": 1}", "id2label of 1 is not a string"},
	};
	char kept[4096];

	(void)state;
	add_matrix("score.weight", 2);
	snprintf(kept, sizeof kept, "%s", made->config);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(made->config, sizeof made->config, "%s", kept);
		add_config(cases[i].fields);
		open_model();
		open_bad(NULL, NULL, CROCUTA_EMODEL, cases[i].message);
	}
	snprintf(made->config, sizeof made->config, "%s", kept);
	add_config("\"problem_type\": null, \"id2label\": null");
	open_model();
	crocuta_head_close(open_good(NULL, NULL));
}

static void single_logit(void **state)
{
	crocuta_head *head;

	(void)state;
	add_matrix("score.weight", 1);
	add_config("\"problem_type\": \"regression\"");
	open_model();
	head = open_good(NULL, NULL);
	assert_true(crocuta_head_get_info(head)->independent);
	assert_linear(head, cr_model_network(model)->score, NULL);
	crocuta_head_close(head);
}

static void too_many_classes(void **state)
{
	(void)state;
	add_matrix("score.weight", CROCUTA_HEAD_CLASSES_MAX + 1);
	open_model();
	open_bad(NULL, NULL, CROCUTA_EMODEL, "score.weight has 1001 classes, more than 1000");
}

static void decoders(void **state)
{
	static const char *const prefixes[] = {
		"decoder.0.output_transform.", "head.output_transform.",
		"model.head.output_transform.", "module.decoder.0.output_transform.", "decoder."};

	(void)state;
	for (int with_bias = 1; with_bias >= 0; with_bias--) {
		for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
			const crocuta_head_info *info;
			char weight[100], bias[100];
			int64_t parameters;
			crocuta_head *head;

			open_model();
			parameters = crocuta_model_get_info(model)->parameters;
			snprintf(weight, sizeof weight, "%sweight", prefixes[i]);
			add_matrix(weight, 3);
			snprintf(bias, sizeof bias, "%sbias", prefixes[i]);
			if (with_bias)
				fixture_add_made(made, bias, 3, 0, 0);
			open_model();
			assert_int_equal(crocuta_model_get_info(model)->classes, 0);
			assert_int_equal(crocuta_model_get_info(model)->parameters - parameters,
					 3 * WIDTH + (with_bias ? 3 : 0));
			head = open_good(NULL, NULL);
			info = crocuta_head_get_info(head);
			assert_string_equal(info->source, "decoder");
			assert_names(head, "class0 class1 class2");
			assert_int_equal(info->form.layer, 2);
			assert_int_equal(info->form.pool, CROCUTA_HEAD_MEAN);
			assert_int_equal(info->form.specials, CROCUTA_SPECIALS_NONE);
			assert_memory_equal(fixture_find(made, weight)->data,
					    cr_model_network(model)->decoder,
					    3 * WIDTH * sizeof(float));
			assert_linear(head, cr_model_network(model)->decoder,
				      with_bias ? cr_model_network(model)->decoder_bias : NULL);
			crocuta_head_close(head);
			fixture_remove(made, weight);
			if (with_bias)
				fixture_remove(made, bias);
		}
	}
}

static void open_model_bad(const char *text)
{
	crocuta_error error = {0};
	crocuta_model *other;

	fixture_save(made, beside);
	assert_int_equal(crocuta_model_open(beside, NULL, &other, &error), CROCUTA_EMODEL);
	if (!strstr(error.message, text))
		fail_msg("%s (expected \"%s\")", error.message, text);
}

static void decoders_that_do_not_fit(void **state)
{
	(void)state;
	fixture_add_made(made, "head.output_transform.bias", 3, 0, 0);
	open_model_bad("1 tensor belongs to no layer: head.output_transform.bias");
	fixture_add_made(made, "head.output_transform.weight", 2, WIDTH, 0);
	open_model_bad("\"head.output_transform.bias\" has shape [3], expected [2]");
	fixture_remove(made, "transform.bias");
	fixture_remove(made, "transform.weight");
	fixture_add_made(made, "decoder.0.output_transform.weight", 2, WIDTH + 1, 0);
	open_model_bad("has shape [2, 9], expected [2, 8]");
	fixture_remove(made, "transform.weight");
	fixture_add_made(made, "decoder.0.output_transform.weight", 2, WIDTH, 0);
	fixture_add_made(made, "head.output_transform.weight", 2, WIDTH, 0);
	open_model_bad("are the same weight under two names");
}

/* head.json beside the model goes before score.weight, which goes before the decoder. */
static void which_head(void **state)
{
	cr_head_spec *spec;
	crocuta_head *head;

	(void)state;
	add_matrix("score.weight", 2);
	add_matrix("decoder.weight", 3);
	open_model();
	head = open_good(NULL, NULL);
	assert_string_equal(crocuta_head_get_info(head)->source, "score.weight");
	crocuta_head_close(head);
	spec = make_spec(4, 3, 1, CROCUTA_STRANDS_FORWARD);
	assert_int_equal(cr_head_fill(spec, beside, NULL), 0);
	head = open_good(NULL, NULL);
	assert_string_equal(crocuta_head_get_info(head)->source, "head.safetensors");
	assert_string_equal(crocuta_head_get_info(head)->path, beside);
	assert_int_equal(crocuta_head_get_info(head)->classes, 4);
	crocuta_head_close(head);
	fixture_write_file(beside, "head.json", "{}", 2);
	open_bad(NULL, NULL, CROCUTA_EMODEL, "head.json: field \"format\" is missing");
}

/* ---- model convert ---- */

static void convert_good(const char *path, const char *dtype, int force)
{
	crocuta_error error = {0};
	int code =
		crocuta_model_convert(model, path, dtype, CROCUTA_TABLES_AS_STORED, force, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
}

static void convert_keeps_tensors(void **state)
{
	float decoder[3 * WIDTH], bias[3], score[2 * WIDTH];
	crocuta_model *source;
	crocuta_head *head;

	(void)state;
	add_matrix("score.weight", 2);
	add_matrix("head.output_transform.weight", 3);
	fixture_add_made(made, "head.output_transform.bias", 3, 0, 0);
	add_config("\"problem_type\": \"multi_label_classification\", \"id2label\": {\"0\": \"no\","
		   " \"1\": \"yes\"}");
	open_model();
	memcpy(decoder, model->network.decoder, sizeof decoder);
	memcpy(bias, model->network.decoder_bias, sizeof bias);
	memcpy(score, model->network.score, sizeof score);
	convert_good(where, "F32", 0);
	source = model;
	model = NULL;
	assert_int_equal(crocuta_model_open(where, NULL, &model, NULL), 0);
	assert_null(crocuta_model_get_note(model, 0));
	assert_memory_equal(decoder, model->network.decoder, sizeof decoder);
	assert_memory_equal(bias, model->network.decoder_bias, sizeof bias);
	assert_memory_equal(score, model->network.score, sizeof score);
	head = open_good(NULL, NULL);
	assert_names(head, "no yes");
	assert_true(crocuta_head_get_info(head)->independent);
	crocuta_head_close(head);
	crocuta_model_close(source);
	assert_tidy();
}

static void convert_without_bias(void **state)
{
	(void)state;
	add_matrix("decoder.0.output_transform.weight", 2);
	open_model();
	convert_good(where, "BF16", 0);
	crocuta_model_close(model);
	model = NULL;
	assert_int_equal(crocuta_model_open(where, NULL, &model, NULL), 0);
	assert_non_null(model->network.decoder);
	assert_null(model->network.decoder_bias);
	crocuta_head_close(open_good(NULL, NULL));
}

/* A head beside the model comes along, bound to the new weights; everything else stays as it was.
 */
static void convert_binds_head(void **state)
{
	cr_head_spec *spec = make_spec(3, 5, 2, CROCUTA_STRANDS_CONCAT);
	json_t *training = json_pack("{s:i}", "epochs", 7);
	char before[65], path[2048];
	crocuta_error error = {0};
	crocuta_head *head;
	cr_head_spec back;

	(void)state;
	spec->training = training;
	assert_int_equal(cr_head_fill(spec, beside, NULL), 0);
	snprintf(before, sizeof before, "%s", crocuta_model_get_info(model)->sha256);
	for (int force = 0; force < 2; force++) { /* the second time in its own place */
		convert_good(where, force ? "F32" : "BF16", force);
		crocuta_model_close(model);
		model = NULL;
		if (crocuta_model_open(where, NULL, &model, &error))
			fail_msg("%s", error.message);
		assert_string_not_equal(before, crocuta_model_get_info(model)->sha256);
		head = open_good(NULL, NULL);
		assert_info(crocuta_head_get_info(head), spec);
		assert_applies(head, spec);
		cr_head_spec_of(head, &back);
		assert_true(json_equal(training, back.training));
		crocuta_head_close(head);
		assert_tidy();
	}
	json_decref(training);

	/* A model without head does not replace one with. */
	crocuta_model_close(model);
	model = NULL;
	snprintf(path, sizeof path, "%s/head.json", beside);
	unlink(path);
	open_model();
	assert_int_equal(crocuta_model_convert(model, where, "F32", 0, 1, &error),
			 CROCUTA_EREFUSED);
	assert_non_null(strstr(error.message, "beside a model"));
}

/* A head that does not belong to the model is not made to. */
static void convert_refuses_foreign_head(void **state)
{
	cr_head_spec *spec = make_spec(3, 0, 1, CROCUTA_STRANDS_FORWARD);
	char other[65];
	crocuta_error error = {0};

	(void)state;
	memset(other, 'a', 64);
	other[64] = '\0';
	spec->backbone_sha256 = other;
	assert_int_equal(cr_head_fill(spec, beside, NULL), 0);
	assert_int_equal(crocuta_model_convert(model, where, "F32", 0, 0, &error), CROCUTA_EMODEL);
	assert_non_null(strstr(error.message, "was fitted on backbone"));
	assert_tidy();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(no_head),
		TEST(hugging_face),
		TEST(labels_that_do_not_fit),
		TEST(single_logit),
		TEST(too_many_classes),
		TEST(decoders),
		TEST(decoders_that_do_not_fit),
		TEST(which_head),
		TEST(convert_keeps_tensors),
		TEST(convert_without_bias),
		TEST(convert_binds_head),
		TEST(convert_refuses_foreign_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
