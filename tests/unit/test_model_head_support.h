/* test_model_head_support.h - a made model and made heads, for the tests of heads. */
#ifndef TEST_MODEL_HEAD_SUPPORT_H
#define TEST_MODEL_HEAD_SUPPORT_H

#include <crocuta/head.h>

#include "../tools/model_fixture.h"
#include "model/head_internal.h"

#define WIDTH 8
#define FEATURES_MOST (3 * 2 * WIDTH)
#define HIDDEN_MOST 70
#define CLASSES_MOST 5

static char root[512], where[1024], beside[1024]; /* of a head, of the model */
static struct fixture *made;
static crocuta_model *model;

static const char *const names[CLASSES_MOST] = {"other", "promoter", "enhancer", "a|b", "5'UTR"};

/* A head with made-up weights. */
static struct made_head {
	cr_head_spec spec;
	float hidden_weight[HIDDEN_MOST * FEATURES_MOST], hidden_bias[HIDDEN_MOST];
	float output_weight[CLASSES_MOST * HIDDEN_MOST], output_bias[CLASSES_MOST];
} one;

static void fill(float *values, size_t count, float step)
{
	for (size_t i = 0; i < count; i++)
		values[i] = 0.6f * sinf(step * (float)(i + 1));
}

static cr_head_spec *make_spec(int64_t classes, int64_t hidden, int parts, int strands)
{
	cr_head_spec *spec = &one.spec;

	*spec = (cr_head_spec){
		.backbone_name = "made",
		.backbone_sha256 = crocuta_model_get_info(model)->sha256,
		.form = {.layer = 1, .pool = CROCUTA_HEAD_MAX, .parts = parts, .strands = strands},
		.hidden = hidden,
		.classes = classes,
		.class_names = names,
		.background = -1,
		.hidden_weight = one.hidden_weight,
		.hidden_bias = one.hidden_bias,
		.output_weight = one.output_weight,
		.output_bias = one.output_bias};
	spec->features = cr_head_features(&spec->form, WIDTH);
	fill(one.hidden_weight, HIDDEN_MOST * FEATURES_MOST, 0.71f);
	fill(one.hidden_bias, HIDDEN_MOST, 1.3f);
	fill(one.output_weight, CLASSES_MOST * HIDDEN_MOST, 0.37f);
	fill(one.output_bias, CLASSES_MOST, 2.1f);
	return spec;
}

static void open_model(void)
{
	crocuta_error error = {0};

	crocuta_model_close(model);
	fixture_save(made, beside);
	if (crocuta_model_open(beside, NULL, &model, &error))
		fail_msg("%s", error.message);
}

static int set_up(void **state)
{
	(void)state;
	fixture_directory(root, sizeof root);
	snprintf(where, sizeof where, "%s/fitted", root);
	snprintf(beside, sizeof beside, "%s/model", root);
	mkdir(beside, 0777);
	made = fixture_make(WIDTH, 2, 34, 16);
	open_model();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	crocuta_model_close(model);
	model = NULL;
	fixture_free(made);
	fixture_discard(root);
	return 0;
}

static crocuta_head *open_good(const char *path, const crocuta_head_options *options)
{
	crocuta_error error = {0};
	crocuta_head *head;
	int code = crocuta_head_open(path, model, options, &head, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
	return head;
}

/* Opening must fail with that code and a message that contains text. */
static void open_bad(const char *path, const crocuta_head_options *options, int expected,
		     const char *text)
{
	crocuta_error error = {0};
	crocuta_head *head = (crocuta_head *)1;
	int code = crocuta_head_open(path, model, options, &head, &error);

	assert_null(head);
	if (code != expected || !strstr(error.message, text))
		fail_msg("%d: %s (expected %d, \"%s\")", code, error.message, expected, text);
}

/* Only what is named may lie in root: no temporary directory is ever left. */
static void assert_tidy(void)
{
	DIR *list = opendir(root);
	struct dirent *item;

	assert_non_null(list);
	while ((item = readdir(list)))
		if (strcmp(item->d_name, ".") && strcmp(item->d_name, "..") &&
		    strcmp(item->d_name, "model") && strcmp(item->d_name, "fitted"))
			fail_msg("left behind: %s", item->d_name);
	closedir(list);
}

/* ---- against a plain computation ---- */

static long double plain_dot(const float *a, const long double *b, int64_t count)
{
	long double sum = 0;

	for (int64_t i = 0; i < count; i++)
		sum += (long double)a[i] * b[i];
	return sum;
}

static void plain_apply(const cr_head_spec *spec, const float *row, long double *result)
{
	long double in[FEATURES_MOST], unit[HIDDEN_MOST], sum = 0, *last = in;
	int64_t inner = spec->hidden ? spec->hidden : spec->features;

	for (int64_t i = 0; i < spec->features; i++)
		in[i] = row[i];
	for (int64_t h = 0; h < spec->hidden; h++) {
		long double x =
			spec->hidden_bias[h] +
			plain_dot(spec->hidden_weight + h * spec->features, in, spec->features);

		unit[h] = x / 2 *
			  (1 + tanhl(sqrtl(2 / 3.141592653589793238462643383279L) *
				     (x + 0.044715L * x * x * x)));
		last = unit;
	}
	for (int64_t c = 0; c < spec->classes; c++) {
		result[c] = spec->output_bias[c] +
			    plain_dot(spec->output_weight + c * inner, last, inner);
		result[c] = spec->independent ? 1 / (1 + expl(-result[c])) : expl(result[c]);
		sum += result[c];
	}
	for (int64_t c = 0; c < spec->classes && !spec->independent; c++)
		result[c] /= sum;
}

enum { ROWS = 5 };

static void assert_applies(const crocuta_head *head, const cr_head_spec *spec)
{
	float features[ROWS * FEATURES_MOST];
	double got[ROWS * CLASSES_MOST + 1], again[CLASSES_MOST];

	fill(features, ROWS * FEATURES_MOST, 0.53f);
	features[1 * spec->features + 3] = NAN;
	features[3 * spec->features] = -INFINITY;
	for (size_t i = 0; i < sizeof got / sizeof *got; i++)
		got[i] = -77;
	crocuta_head_apply(head, features, ROWS, got);
	assert_true(got[ROWS * spec->classes] == -77);
	for (int64_t i = 0; i < ROWS; i++) {
		const float *row = features + i * spec->features;
		long double want[CLASSES_MOST];

		if (i == 1 || i == 3) {
			for (int64_t c = 0; c < spec->classes; c++)
				assert_true(isnan(got[i * spec->classes + c]));
			continue;
		}
		plain_apply(spec, row, want);
		for (int64_t c = 0; c < spec->classes; c++) {
			double value = got[i * spec->classes + c];

			if (!(fabsl(value - want[c]) <= 1e-14L * (1 + fabsl(want[c]))))
				fail_msg("row %d class %d: %.17g, expected %.17Lg", (int)i, (int)c,
					 value, want[c]);
		}
		/* A row on its own gives the same bits. */
		memset(again, 0xff, sizeof again);
		crocuta_head_apply(head, row, 1, again);
		assert_memory_equal(again, got + i * spec->classes,
				    (size_t)spec->classes * sizeof *again);
	}
}

static void assert_info(const crocuta_head_info *info, const cr_head_spec *spec)
{
	assert_string_equal(info->source, "head.safetensors");
	assert_memory_equal(&info->form, &spec->form, sizeof info->form);
	assert_int_equal(info->features, spec->features);
	assert_int_equal(info->hidden, spec->hidden);
	assert_int_equal(info->classes, spec->classes);
	assert_int_equal(info->background, spec->background);
	assert_int_equal(info->independent, spec->independent);
	assert_int_equal(info->window, spec->window);
	assert_int_equal(info->step, spec->step);
	assert_int_equal(info->scan_both, spec->scan_both);
	for (int64_t i = 0; i < spec->classes; i++)
		assert_string_equal(info->class_names[i], spec->class_names[i]);
}

#endif
