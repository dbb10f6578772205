/* test_model_head.c - heads: written and read back, applied, and malformed ones.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/memory.h"
#include "model/directory_write.h"
#include "test_model_head_support.h"

static void write_good(const char *path, const cr_head_spec *spec, int force)
{
	crocuta_error error = {0};
	int code = cr_head_write(path, spec, force, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
}

static char *read_text(const char *directory, const char *name, size_t *size)
{
	char path[2048], *text;
	FILE *file;
	long length;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	text = fixture_alloc((size_t)length + 1);
	assert_int_equal(fread(text, 1, (size_t)length, file), length);
	fclose(file);
	if (size)
		*size = (size_t)length;
	return text;
}

/* Written and opened, and made in memory: the same head. */
static void assert_round_trip(const cr_head_spec *spec)
{
	crocuta_error error = {0};
	crocuta_head *read, *fresh;
	cr_head_spec back;

	write_good(where, spec, 1);
	read = open_good(where, NULL);
	assert_info(crocuta_head_get_info(read), spec);
	assert_string_equal(crocuta_head_get_info(read)->path, where);
	assert_string_equal(crocuta_head_get_info(read)->name, "fitted");
	assert_applies(read, spec);
	cr_head_spec_of(read, &back);
	assert_string_equal(back.backbone_name, "made");
	assert_string_equal(back.backbone_sha256, crocuta_model_get_info(model)->sha256);

	if (cr_head_new(spec, &fresh, &error))
		fail_msg("%s", error.message);
	assert_info(crocuta_head_get_info(fresh), spec);
	assert_applies(fresh, spec);
	assert_string_equal(crocuta_head_get_info(fresh)->sha256,
			    crocuta_head_get_info(read)->sha256);
	assert_int_equal(strlen(crocuta_head_get_info(read)->sha256), 64);
	crocuta_head_close(read);
	crocuta_head_close(fresh);
}

static void round_trips(void **state)
{
	static const int64_t hidden[] = {0, 1, 64, HIDDEN_MOST};
	cr_head_spec *spec;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (int strands = CROCUTA_STRANDS_FORWARD; strands <= CROCUTA_STRANDS_CONCAT;
		     strands++)
			for (int parts = 1; parts <= 3; parts += 2)
				assert_round_trip(make_spec(2 + parts, hidden[i], parts, strands));
	spec = make_spec(3, 0, 1, CROCUTA_STRANDS_BOTH);
	spec->form.layer = 0;
	spec->form.pool = CROCUTA_HEAD_FIRST;
	spec->form.specials = CROCUTA_SPECIALS_MODEL_SEP;
	spec->independent = 1;
	spec->background = 2;
	spec->window = 1024;
	spec->step = 128;
	spec->scan_both = 1;
	assert_round_trip(spec);
	spec->classes = 1;
	spec->background = -1;
	assert_round_trip(spec);
	assert_tidy();
}

/* Sums are taken eight at a time; what is left over counts as well. */
static void odd_sizes(void **state)
{
	(void)state;
	for (int64_t hidden = 0; hidden <= 3; hidden += 3) {
		for (int64_t features = 4; features <= 19; features += 3) {
			cr_head_spec *spec = make_spec(2, hidden, 1, CROCUTA_STRANDS_FORWARD);
			crocuta_head *head;

			spec->features = features;
			assert_int_equal(cr_head_new(spec, &head, NULL), 0);
			assert_applies(head, spec);
			crocuta_head_close(head);
		}
	}
}

static void extreme_logits(void **state)
{
	cr_head_spec *spec = make_spec(3, 0, 1, CROCUTA_STRANDS_FORWARD);
	float features[WIDTH];
	double got[3];
	crocuta_head *head;

	(void)state;
	for (int independent = 0; independent < 2; independent++) {
		for (int i = 0; i < 3 * WIDTH; i++)
			one.output_weight[i] = i < WIDTH ? 3e38f : i < 2 * WIDTH ? 1e38f : -3e38f;
		for (int i = 0; i < WIDTH; i++)
			features[i] = 3e38f;
		spec->independent = independent;
		assert_int_equal(cr_head_new(spec, &head, NULL), 0);
		memset(got, 0xff, sizeof got);
		crocuta_head_apply(head, features, 1, got);
		assert_true(got[0] == 1 && got[1] == independent && got[2] == 0);
		crocuta_head_close(head);
	}
	spec = make_spec(2, 2, 1, CROCUTA_STRANDS_FORWARD);
	for (int i = 0; i < 2 * WIDTH; i++)
		one.hidden_weight[i] = i < WIDTH ? 3e38f : -3e38f;
	one.output_weight[0] = one.output_weight[3] = 1;
	one.output_weight[1] = one.output_weight[2] = 0;
	assert_int_equal(cr_head_new(spec, &head, NULL), 0);
	memset(got, 0xff, sizeof got);
	crocuta_head_apply(head, features, 1, got);
	assert_true(got[0] == 1 && got[1] == 0);
	crocuta_head_close(head);
}

/* The text is the same in any run, in order of the keys, numbers short; training goes through. */
static void text_of_head(void **state)
{
	static const char expected[] =
		"{\n  \"backbone\": {\n    \"name\": \"na?me\",\n    \"sha256\": \"%s\"\n  },\n"
		"  \"background\": \"other\",\n  \"classes\": [\n    \"other\",\n    \"promoter\"\n"
		"  ],\n  \"format\": \"crocuta-head-1\",\n  \"hidden\": 0,\n  \"layer\": 1,\n"
		"  \"output\": \"softmax\",\n  \"parts\": 1,\n  \"pool\": \"max\",\n"
		"  \"scan_strands\": \"forward\",\n  \"special_tokens\": \"none\",\n"
		"  \"step\": 0,\n  \"strands\": \"forward\",\n  \"training\": {\n"
		"    \"a\": 0.1,\n    \"z\": [\n      1\n    ]\n  },\n  \"window\": 0\n}\n";
	cr_head_spec *spec = make_spec(2, 0, 1, CROCUTA_STRANDS_FORWARD);
	char want[2000], *text;
	crocuta_head *head;
	cr_head_spec back;
	json_t *training = json_pack("{s:[i], s:f}", "z", 1, "a", 0.1);

	(void)state;
	spec->backbone_name = "na\xffme";
	spec->background = 0;
	spec->training = training;
	write_good(where, spec, 0);
	text = read_text(where, "head.json", NULL);
	snprintf(want, sizeof want, expected, spec->backbone_sha256);
	assert_string_equal(text, want);
	head = open_good(where, NULL);
	cr_head_spec_of(head, &back);
	assert_true(json_equal(training, back.training));
	crocuta_head_close(head);
	json_decref(training);
	free(text);
}

static void write_bad(const cr_head_spec *spec, int force, int expected, const char *text)
{
	crocuta_error error = {0};
	int code = cr_head_write(where, spec, force, &error);

	if (code != expected || !strstr(error.message, text))
		fail_msg("%d: %s (expected %d, \"%s\")", code, error.message, expected, text);
	assert_tidy();
}

static void refuses_to_write(void **state)
{
	static const char *const bad_names[] = {"", "a b", "a,b", "a\tb", "a\"b", "\xc3\xa9"};
	cr_head_spec *spec = make_spec(2, 3, 1, CROCUTA_STRANDS_FORWARD);
	const char *pair[2] = {"same", "same"};
	char path[2048], long_name[102];
	struct stat status;

	(void)state;
	spec->class_names = pair;
	write_bad(spec, 0, CROCUTA_EARG, "two classes are named same");
	memset(long_name, 'x', sizeof long_name - 1);
	long_name[101] = '\0';
	pair[1] = long_name;
	write_bad(spec, 0, CROCUTA_EARG, "xxx\": a class is named by 1 to 100 printable ASCII");
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
		pair[1] = bad_names[i];
		write_bad(spec, 0, CROCUTA_EARG, "a class is named by");
	}
	spec = make_spec(1, 3, 1, CROCUTA_STRANDS_FORWARD);
	write_bad(spec, 0, CROCUTA_EARG, "2 to 1000 classes, not 1");
	spec = make_spec(2, 3, 3, CROCUTA_STRANDS_FORWARD);
	spec->form.specials = CROCUTA_SPECIALS_SEP;
	write_bad(spec, 0, CROCUTA_EARG, "several parts");
	spec = make_spec(2, 3, 1, CROCUTA_STRANDS_FORWARD);
	one.hidden_bias[2] = NAN;
	write_bad(spec, 0, CROCUTA_ENUMERIC, "hidden.bias: element 2 is NaN");
	spec = make_spec(2, 3, 1, CROCUTA_STRANDS_FORWARD);
	spec->backbone_sha256 = "short";
	write_bad(spec, 0, CROCUTA_EMODEL, "64 hex digits");
	assert_int_equal(stat(where, &status), -1);

	spec = make_spec(2, 3, 1, CROCUTA_STRANDS_FORWARD);
	write_good(where, spec, 0);
	write_bad(spec, 0, CROCUTA_EREFUSED, "exists already");
	write_good(where, spec, 1);
	fixture_write_file(where, "precious", "x", 1);
	write_bad(spec, 1, CROCUTA_EREFUSED,
		  "holds \"precious\" beside a head; only a directory with nothing but head.json "
		  "and head.safetensors");
	snprintf(path, sizeof path, "%s/precious", where);
	assert_int_equal(stat(path, &status), 0);
	fixture_discard(where);
	assert_int_equal(cr_head_write("", spec, 0, NULL), CROCUTA_EARG);
}

/* ---- malformed files ---- */

static const char json_base[] =
	"{\"format\": \"crocuta-head-1\", \"backbone\": {\"name\": \"made\", \"sha256\": "
	"\"%s\"}, \"classes\": [\"a\", \"b\"], \"background\": null, \"layer\": 2, "
	"\"pool\": \"mean\", \"parts\": 1, \"strands\": \"forward\", \"special_tokens\": "
	"\"none\", \"hidden\": 0, \"output\": \"softmax\", \"window\": 0, \"step\": 0, "
	"\"scan_strands\": \"both\", \"training\": {}, \"unknown\": {\"deep\": [1, null]}}";

/* head.json with the first `from` replaced. */
static void save_json(const char *from, const char *to)
{
	char base[2000], text[70000];
	const char *found;

	snprintf(base, sizeof base, json_base, crocuta_model_get_info(model)->sha256);
	found = strstr(base, from);
	if (!found)
		fail_msg("no %s", from);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(found - base), base, to,
		 found + strlen(from));
	fixture_write_file(where, "head.json", text, strlen(text));
}

/* head.safetensors for json_base: (2, 8) and (2). */
static struct fixture *weights_base(void)
{
	struct fixture *f = fixture_alloc(sizeof *f);

	fixture_add_made(f, "output.weight", 2, WIDTH, 0);
	fixture_add_made(f, "output.bias", 2, 0, 0);
	return f;
}

static void save_weights(const struct fixture *f, size_t length)
{
	char *header = fixture_header(f);
	size_t size;
	unsigned char *bytes = fixture_join(f, header, strlen(header), &size);

	fixture_write_file(where, "head.safetensors", bytes, length < size ? length : size);
	free(bytes);
	free(header);
}

static void start_files(void)
{
	struct fixture *f = weights_base();

	mkdir(where, 0777);
	save_json("{", "{");
	save_weights(f, SIZE_MAX);
	fixture_free(f);
	crocuta_head_close(open_good(where, NULL));
}

static void bad_json(void **state)
{
	static const struct {
		const char *from, *to, *message;
	} cases[] = {
		{"\"format\"", "\"other\"", "head.json: field \"format\" is missing"},
		{"crocuta-head-1", "crocuta-head-2", "format is \"crocuta-head-2\""},
		{"\"crocuta-head-1\"", "1", "format is not a string"},
		{"\"backbone\"", "\"bone\"", "field \"backbone\" is missing"},
		{"{\"name\": \"made\", \"sha256\"", "[1], \"x\": {\"y\"", "backbone is not a JSON"},
		{"\"name\"", "\"nam\"", "field \"name\" is missing"},
		{"\"made\"", "7", "name is not a string"},
		{"\"sha256\"", "\"sha\"", "field \"sha256\" is missing"},
		{"\"sha256\": \"", "\"sha256\": \"0", "expected 64 hex digits"},
		{"\"sha256\": \"", "\"sha256\": \"g\", \"old\": \"", "sha256 is \"g\""},
		{"\"classes\"", "\"class\"", "field \"classes\" is missing"},
		{"[\"a\", \"b\"]", "\"a\"", "classes is not a list of 2 to 1000 names"},
		{"[\"a\", \"b\"]", "[]", "classes is not a list"},
		{"[\"a\", \"b\"]", "[\"a\"]", "classes is not a list"},
		{"[\"a\", \"b\"]", "[\"a\", 2]", "class 1 is no name"},
		{"[\"a\", \"b\"]", "[\"a\", \"\"]", "class 1 is \"\""},
		{"[\"a\", \"b\"]", "[\"a b\", \"b\"]", "class 0 is \"a b\""},
		{"[\"a\", \"b\"]", "[\"b\", \"b\"]", "classes 0 and 1 are both \"b\""},
		{"[\"a\", \"b\"]", "[\"a\", \"b\\u0000\"]", "JSON byte"},
		{"[\"a\", \"b\"]", "[\"a\", \"b\", \"c\"]", "has shape [2, 8], expected [3, 8]"},
		{"\"background\"", "\"back\"", "field \"background\" is missing"},
		{"null", "\"c\"", "background is \"c\""},
		{"null", "0", "background is no name"},
		{"\"layer\": 2", "\"lay\": 2", "field \"layer\" is missing"},
		{"\"layer\": 2", "\"layer\": 3", "layer is 3, the model has 2"},
		{"\"layer\": 2", "\"layer\": -1", "layer is -1, expected a whole number 0 to"},
		{"\"layer\": 2", "\"layer\": 2.0", "layer is 2, expected a whole number"},
		{"\"layer\": 2", "\"layer\": null", "layer is null"},
		{"\"layer\": 2", "\"layer\": 99999999999999999999", "JSON byte"},
		{"\"pool\": \"mean\"", "\"pool\": \"median\"", "pool is \"median\", expected mean"},
		{"\"pool\": \"mean\"", "\"pool\": 0", "pool is not a string"},
		{"\"parts\": 1", "\"parts\": 0", "parts is 0, expected a whole number 1 to 64"},
		{"\"parts\": 1", "\"parts\": 65", "parts is 65"},
		{"\"parts\": 1", "\"parts\": 2", "has shape [2, 8], expected [2, 16]"},
		{"\"mean\", \"parts\": 1", "\"sum\", \"parts\": 2", "several parts go with pool"},
		{"\"forward\", \"special_tokens\": \"none\"",
		 "\"concat\", \"special_tokens\": \"sep\"", "has shape [2, 8], expected [2, 16]"},
		{"\"forward\"", "\"backward\"", "strands is \"backward\""},
		{"\"none\"", "\"some\"", "special_tokens is \"some\", expected none, sep"},
		{"\"parts\": 1, \"strands\": \"forward\", \"special_tokens\": \"none\"",
		 "\"parts\": 2, \"strands\": \"forward\", \"special_tokens\": \"sep\"",
		 "several parts go with special_tokens none"},
		{"\"hidden\": 0", "\"hid\": 0", "field \"hidden\" is missing"},
		{"\"hidden\": 0", "\"hidden\": 65537", "hidden is 65537"},
		{"\"hidden\": 0", "\"hidden\": 3", "has shape [2, 8], expected [2, 3]"},
		{"\"softmax\"", "\"hardmax\"", "output is \"hardmax\", expected softmax"},
		{"\"window\": 0", "\"window\": 1e3", "window is 1000, expected a whole number"},
		{"\"window\": 0", "\"window\": 9000000000", "window is 9000000000"},
		{"\"step\": 0", "\"step\": \"a\"", "step is the string \"a\""},
		{"\"step\": 0", "\"stride\": 0", "field \"step\" is missing"},
		{"\"both\"", "\"reverse\"", "scan_strands is \"reverse\""},
		{"\"training\": {}", "\"training\": []", "training is not a JSON object"},
		{"\"layer\": 2", "\"layer\": 2, \"layer\": 2", "appears twice"},
		{"{\"format\"", "[{\"format\"", "JSON"},
		{"}}", "}", "JSON"},
		{"\"made\"", "\"\xff\"", "JSON byte"},
	};

	(void)state;
	start_files();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		save_json(cases[i].from, cases[i].to);
		open_bad(where, NULL, CROCUTA_EMODEL, cases[i].message);
	}
	save_json("\"window\": 0", "\"window\": 1");
	crocuta_head_close(open_good(where, NULL)); /* a control */
	fixture_write_file(where, "head.json", "", 0);
	open_bad(where, NULL, CROCUTA_EMODEL, "head.json");
}

/* 64 parts need 4033 bases. */
static void window_of_parts(void **state)
{
	struct fixture *f = fixture_alloc(sizeof *f);

	(void)state;
	start_files();
	fixture_add_made(f, "output.weight", 2, 64 * WIDTH, 0);
	fixture_add_made(f, "output.bias", 2, 0, 0);
	save_weights(f, SIZE_MAX);
	fixture_free(f);
	save_json("\"parts\": 1", "\"parts\": 64, \"x\": 0");
	crocuta_head_close(open_good(where, NULL));
	for (int window = 4033; window >= 4032; window--) {
		char to[200];

		snprintf(to, sizeof to,
			 "\"parts\": 64, \"strands\": \"forward\", \"special_tokens\": "
			 "\"none\", \"hidden\": 0, \"output\": \"softmax\", \"window\": %d",
			 window);
		save_json("\"parts\": 1, \"strands\": \"forward\", \"special_tokens\": \"none\", "
			  "\"hidden\": 0, \"output\": \"softmax\", \"window\": 0",
			  to);
		if (window == 4033)
			crocuta_head_close(open_good(where, NULL));
		else
			open_bad(where, NULL, CROCUTA_EMODEL, "64 parts need at least 4033 bases");
	}
}

static void bad_weights(void **state)
{
	crocuta_head_options options;
	struct fixture *f = weights_base();
	float bad[] = {NAN, INFINITY}, kept;
	int64_t shape[2] = {2, WIDTH};
	char path[2048];
	size_t size;

	(void)state;
	start_files();
	free(read_text(where, "head.safetensors", &size));
	for (size_t length = 0; length < size; length += length < 12 ? 1 : 7) {
		save_weights(f, length);
		open_bad(where, NULL, CROCUTA_EMODEL, "head.safetensors");
	}
	crocuta_head_options_init(&options);
	options.allow_nan_weights = 1;
	memcpy(&kept, f->tensor[1].data + 4, 4);
	for (int i = 0; i < 2; i++) {
		crocuta_head *head;
		double got[2] = {0, 0};
		float features[WIDTH] = {1};

		memcpy(f->tensor[1].data + 4, &bad[i], 4);
		save_weights(f, SIZE_MAX);
		open_bad(where, NULL, CROCUTA_EMODEL,
			 i ? "\"output.bias\": element 1 is infinite"
			   : "\"output.bias\": element 1 is NaN");
		head = open_good(where, &options);
		crocuta_head_apply(head, features, 1, got);
		assert_true(isnan(got[1]));
		crocuta_head_close(head);
	}
	memcpy(f->tensor[1].data + 4, &kept, 4);

	fixture_add_made(f, "surplus", 3, 0, 0);
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "tensor \"surplus\" belongs to no head");
	snprintf(f->tensor[2].name, sizeof f->tensor[2].name, "hidden.bias");
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "\"hidden.bias\" belongs to no head without hidden");
	snprintf(f->tensor[2].name, sizeof f->tensor[2].name, "output.bias");
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "output.bias");
	fixture_remove(f, "output.bias");
	fixture_remove(f, "output.bias");
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "tensor output.bias is missing");
	fixture_remove(f, "output.weight");
	fixture_add(f, "output.weight", "I64", 2, shape);
	fixture_add_made(f, "output.bias", 2, 0, 0);
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "stored as I64 are not supported");
	fixture_remove(f, "output.weight");
	fixture_add_made(f, "output.weight", 1, 2, WIDTH);
	save_weights(f, SIZE_MAX);
	open_bad(where, NULL, CROCUTA_EMODEL, "has shape [1, 2, 8], expected [2, 8]");
	fixture_free(f);

	snprintf(path, sizeof path, "%s/head.safetensors", where);
	unlink(path);
	open_bad(where, NULL, CROCUTA_EMODEL, "head.safetensors: cannot open");
	snprintf(path, sizeof path, "%s/head.json", where);
	open_bad(path, NULL, CROCUTA_EMODEL, "is a file; give the directory");
	unlink(path);
	open_bad(where, NULL, CROCUTA_EMODEL, "no head.json in this directory");
	open_bad("nowhere/at-all", NULL, CROCUTA_EMODEL, "cannot open the head");
	open_bad("", NULL, CROCUTA_EARG, "empty");
}

static void reads_16_bits(void **state)
{
	struct fixture *f = fixture_alloc(sizeof *f);
	int64_t shape[2] = {2, WIDTH};
	double got[2];
	float features[WIDTH] = {0};
	crocuta_head *head;

	(void)state;
	start_files();
	fixture_add(f, "output.weight", "BF16", 2, shape);
	fixture_add(f, "output.bias", "F16", 1, shape);
	for (int i = 0; i < 2; i++) {
		uint16_t bits = cr_half_from_float(i ? 1.5f : -0.5f);

		memcpy(f->tensor[1].data + 2 * i, &bits, 2);
	}
	save_weights(f, SIZE_MAX);
	head = open_good(where, NULL);
	got[0] = got[1] = NAN;
	crocuta_head_apply(head, features, 1, got);
	assert_true(fabs(got[1] - 1 / (1 + exp(-2.0))) < 1e-15);
	crocuta_head_close(head);
	fixture_free(f);
}

static void wrong_backbone(void **state)
{
	cr_head_spec *spec = make_spec(2, 0, 1, CROCUTA_STRANDS_FORWARD);
	char other[65], upper[65], message[200];

	(void)state;
	snprintf(other, sizeof other, "%s", spec->backbone_sha256);
	other[63] = other[63] == '0' ? '1' : '0';
	spec->backbone_sha256 = other;
	write_good(where, spec, 0);
	snprintf(message, sizeof message,
		 "was fitted on backbone made (sha256 %.12s...), this model is model (sha256 "
		 "%.12s...); open the model it was fitted on with -m",
		 other, other);
	open_bad(where, NULL, CROCUTA_EMODEL, message);
	/* either case of the digits */
	snprintf(upper, sizeof upper, "%s", crocuta_model_get_info(model)->sha256);
	for (char *p = upper; *p; p++)
		*p = (char)(*p >= 'a' ? *p - 32 : *p);
	spec->backbone_sha256 = upper;
	write_good(where, spec, 1);
	crocuta_head_close(open_good(where, NULL));
}

static void own_options(void **state)
{
	crocuta_head_options options;

	(void)state;
	start_files();
	crocuta_head_options_init(&options);
	options.pool = CROCUTA_HEAD_MEAN;
	open_bad(where, &options, CROCUTA_EARG, "cannot be chosen");
	options.pool = 9;
	open_bad(where, &options, CROCUTA_EARG, "pool is 9");
	options.pool = -1;
	options.specials = -2;
	open_bad(where, &options, CROCUTA_EARG, "special tokens are -2");
}

/* ---- small things ---- */

static void small_functions(void **state)
{
	crocuta_feature_form form = {.parts = 1, .strands = CROCUTA_STRANDS_FORWARD};

	(void)state;
	for (int i = CROCUTA_HEAD_MEAN; i <= CROCUTA_HEAD_SUM; i++)
		assert_int_equal(cr_head_pool_parse(cr_head_pool_name(i)), i);
	for (int i = CROCUTA_SPECIALS_NONE; i <= CROCUTA_SPECIALS_MODEL_SEP; i++)
		assert_int_equal(cr_head_specials_parse(cr_head_specials_name(i)), i);
	for (int i = CROCUTA_STRANDS_FORWARD; i <= CROCUTA_STRANDS_CONCAT; i++)
		assert_int_equal(cr_head_strands_parse(cr_head_strands_name(i)), i);
	assert_string_equal(cr_head_pool_name(CROCUTA_HEAD_LAST), "last");
	assert_string_equal(cr_head_specials_name(CROCUTA_SPECIALS_CLS_SEP), "cls-sep");
	assert_string_equal(cr_head_strands_name(CROCUTA_STRANDS_BOTH), "both");
	assert_null(cr_head_pool_name(-1));
	assert_null(cr_head_pool_name(5));
	assert_null(cr_head_specials_name(5));
	assert_null(cr_head_strands_name(0));
	assert_null(cr_head_strands_name(5));
	assert_int_equal(cr_head_pool_parse("Mean"), -1);
	assert_int_equal(cr_head_strands_parse(""), -1);
	assert_int_equal(cr_head_shortest(&form), 1);
	assert_int_equal(cr_head_features(&form, 256), 256);
	form.parts = 4;
	form.strands = CROCUTA_STRANDS_CONCAT;
	assert_int_equal(cr_head_shortest(&form), 13);
	assert_int_equal(cr_head_features(&form, 256), 2048);
	assert_true(cr_head_class_name_ok("5UTR|x~!"));
	assert_false(cr_head_class_name_ok("a b"));
	crocuta_head_close(NULL);
}

/* ---- memory ---- */

enum action { OPEN_FILES, OPEN_TENSORS, WRITE, NEW, CONVERT, ACTIONS };

static int act(int action, const cr_head_spec *spec)
{
	crocuta_head *head = NULL;
	int code = 0;

	switch (action) {
	case OPEN_FILES:
		code = crocuta_head_open(where, model, NULL, &head, NULL);
		break;
	case OPEN_TENSORS:
		code = crocuta_head_open(NULL, model, NULL, &head, NULL);
		break;
	case WRITE:
		code = cr_head_write(where, spec, 0, NULL);
		break;
	case NEW:
		code = cr_head_new(spec, &head, NULL);
		break;
	default:
		code = crocuta_model_convert(model, where, "F32", 0, 0, NULL);
	}
	assert_true(!code || !head);
	crocuta_head_close(head);
	return code;
}

static void survives_lack_of_memory(void **state)
{
	cr_head_spec *spec;

	(void)state;
	fixture_add_made(made, "decoder.weight", 2, WIDTH, 0);
	open_model();
	spec = make_spec(3, 4, 1, CROCUTA_STRANDS_FORWARD);
	for (int action = 0; action < ACTIONS; action++) {
		int64_t total;

		if (action == OPEN_FILES)
			write_good(where, spec, 0);
		if (action == CONVERT)
			assert_int_equal(cr_head_fill(spec, beside, NULL), 0);
		cr_memory_fail_at(0);
		assert_int_equal(act(action, spec), 0);
		total = cr_memory_count();
		assert_true(total > 3);
		for (int64_t n = 1; n <= total; n++) {
			if (action != OPEN_FILES)
				fixture_discard(where);
			cr_memory_fail_at(n);
			if (act(action, spec) != CROCUTA_EMEMORY)
				fail_msg("action %d, allocation %d", action, (int)n);
			cr_memory_fail_at(0);
			assert_tidy();
		}
		fixture_discard(where);
	}
}

/* Another run puts its directory under the name while this one writes. */
static int be_overtaken(void *user, const char *directory, crocuta_error *error)
{
	char path[2048];
	FILE *file;

	(void)directory, (void)error;
	assert_int_equal(mkdir(user, 0777), 0);
	snprintf(path, sizeof path, "%s/head.json", (const char *)user);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	return 0;
}

static void the_first_run_keeps_its_head(void **state)
{
	static const char *const files[] = {"head.json"};
	const cr_directory_kind head = {"a head", files, 1, 1};
	crocuta_error error = {0};
	char path[2048];

	(void)state;
	assert_int_equal(cr_directory_write(where, &head, 1, 0, be_overtaken, where, &error),
			 CROCUTA_EREFUSED);
	snprintf(path, sizeof path, "%s/head.json", where);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(where), 0);
}

/* A head says how letters and filters were read for it. */
static void reading_is_kept(void **state)
{
	cr_head_spec spec = *make_spec(2, 0, 1, CROCUTA_STRANDS_FORWARD);
	crocuta_head *head;
	const crocuta_head_info *info;
	crocuta_error error = {0};

	(void)state;
	write_good(where, &spec, 0);
	head = open_good(where, NULL);
	info = crocuta_head_get_info(head);
	assert_true(info->filter_shift != info->filter_shift && info->softmask_n == -1);
	assert_int_equal(cr_head_check_letters(info, 1, 1, &error), 0);
	crocuta_head_close(head);
	spec.says_reading = 1;
	spec.filter_shift = crocuta_model_get_info(model)->filter_shift;
	spec.n_as_pad = 1;
	write_good(where, &spec, 1);
	head = open_good(where, NULL);
	info = crocuta_head_get_info(head);
	assert_int_equal(cr_head_check_letters(info, 0, 1, &error), 0);
	assert_int_equal(cr_head_check_letters(info, 0, 0, &error), CROCUTA_EARG);
	assert_int_equal(cr_head_check_letters(info, 1, 1, &error), CROCUTA_EARG);
	crocuta_head_close(head);
	spec.filter_shift += 0.01;
	write_good(where, &spec, 1);
	error = (crocuta_error){0};
	assert_int_equal(crocuta_head_open(where, model, NULL, &head, &error), CROCUTA_EMODEL);
	assert_non_null(strstr(error.message, "filter shift"));
	fixture_discard(where);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(round_trips),
		TEST(odd_sizes),
		TEST(extreme_logits),
		TEST(text_of_head),
		TEST(refuses_to_write),
		TEST(bad_json),
		TEST(window_of_parts),
		TEST(bad_weights),
		TEST(reads_16_bits),
		TEST(wrong_backbone),
		TEST(own_options),
		TEST(small_functions),
		TEST(the_first_run_keeps_its_head),
		TEST(reading_is_kept),
		TEST(survives_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
