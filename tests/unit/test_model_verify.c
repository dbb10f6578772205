/* test_model_verify.c - known answers beside a model: met, missed, malformed. The answers are those
 * of the golden fixture, computed by the published code in float64. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include <crocuta/model.h>

#include "../tools/model_fixture.h"

#define GOLDEN "test-data/golden/hyenadna-d128-n2-m1026"

static char directory[512];
static crocuta_model *model;

static void copy_file(const char *name)
{
	char from[600], *bytes;
	FILE *file;
	long size;

	snprintf(from, sizeof from, GOLDEN "/%s", name);
	file = fopen(from, "rb");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	size = ftell(file);
	rewind(file);
	bytes = fixture_alloc((size_t)size);
	assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
	fclose(file);
	fixture_write_file(directory, name, bytes, (size_t)size);
	free(bytes);
}

static int set_up(void **state)
{
	crocuta_error error = {0};

	(void)state;
	fixture_directory(directory, sizeof directory);
	copy_file("config.json");
	copy_file("model.safetensors");
	if (crocuta_model_open(directory, NULL, &model, &error))
		fail_msg("%s", error.message);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	crocuta_model_close(model);
	fixture_discard(directory);
	return 0;
}

/* `count` float32 from element `first` of a npy file, as a JSON array. */
static json_t *read_npy(const char *path, long first, int count)
{
	json_t *array = json_array();
	FILE *file = fopen(path, "rb");
	unsigned char head[10];
	float values[16];

	assert_non_null(file);
	assert_int_equal(fread(head, 1, 10, file), 10);
	assert_int_equal(fseek(file, 10 + head[8] + 256 * head[9] + 4 * first, SEEK_SET), 0);
	assert_int_equal(fread(values, 4, (size_t)count, file), count);
	fclose(file);
	for (int i = 0; i < count; i++)
		json_array_append_new(array, json_real(values[i]));
	return array;
}

/* Record r2 of the fixture: 77 bases. */
static json_t *golden_answers(void)
{
	static const char bases[] = "CGGGACACTGAGATTTGTCAGCGTCTACTAGCGTTTGTTAACGTCTCTGGAGTTTTATCG"
				    "CAATTCCAATGAAGTTA";
	json_t *record =
		json_pack("{s:s, s:f, s:o, s:o}", "sequence", bases, "loglik16", -2446.816565,
			  "hidden_first8", read_npy(GOLDEN "/hidden_2.npy", 76 * 128, 8),
			  "logits_last", read_npy(GOLDEN "/logits_2.npy", 76 * 16, 16));

	return json_pack("{s:i, s:[o], s:{s:f, s:f, s:f}}", "format", 1, "records", record,
			 "tolerance", "hidden", 1e-3, "loglik_relative", 1e-6, "loglik_absolute",
			 1e-3);
}

/* Takes answers over. */
static int verify(json_t *answers, crocuta_verify_report *report, crocuta_error *error)
{
	char *text = json_dumps(answers, 0);

	fixture_write_file(directory, "selftest.json", text, strlen(text));
	free(text);
	json_decref(answers);
	*error = (crocuta_error){0};
	return crocuta_model_verify(model, NULL, report, error);
}

static void expect(json_t *answers, int expected, const char *text)
{
	crocuta_verify_report report;
	crocuta_error error;
	int code = verify(answers, &report, &error);

	if (code != expected || !strstr(error.message, text))
		fail_msg("%d: %s (expected %d, \"%s\")", code, error.message, expected, text);
}

static json_t *first_record(json_t *answers)
{
	return json_array_get(json_object_get(answers, "records"), 0);
}

static void meets_golden_answers(void **state)
{
	crocuta_verify_report report;
	crocuta_error error;

	(void)state;
	if (verify(golden_answers(), &report, &error))
		fail_msg("%s", error.message);
	assert_int_equal(report.records, 1);
	assert_true(report.hidden_error > 0 && report.hidden_error < 1e-3);
	assert_true(report.loglik_error < 1e-6);
	assert_true(report.tolerance == 1e-3);
}

static void verifies_the_default_model(void **state)
{
	crocuta_verify_report report;
	crocuta_error error = {0};
	crocuta_model *shipped;

	(void)state;
	if (access("models/tiny-1k/selftest.json", F_OK))
		skip();
	assert_int_equal(crocuta_model_open("models/tiny-1k", NULL, &shipped, &error), 0);
	if (crocuta_model_verify(shipped, NULL, &report, &error))
		fail_msg("%s", error.message);
	assert_true(report.records > 0);
	crocuta_model_close(shipped);
}

static void notices_wrong_answers(void **state)
{
	json_t *answers = golden_answers();

	(void)state;
	json_object_set_new(first_record(answers), "loglik16", json_real(-2446.9));
	expect(answers, CROCUTA_ENUMERIC, "log-likelihood is -2446.81");
	answers = golden_answers();
	json_array_set_new(json_object_get(first_record(answers), "hidden_first8"), 7,
			   json_real(9));
	expect(answers, CROCUTA_ENUMERIC, "is off by");
	answers = golden_answers();
	json_array_set_new(json_object_get(first_record(answers), "logits_last"), 0,
			   json_integer(1));
	expect(answers, CROCUTA_ENUMERIC, "is off by");
	answers = golden_answers();
	json_object_set_new(first_record(answers), "sequence", json_string("ACGT"));
	expect(answers, CROCUTA_ENUMERIC, "record 0");
}

static void refuses_malformed_answers(void **state)
{
	static const char *const keys[] = {"sequence", "loglik16", "hidden_first8", "logits_last"};
	crocuta_verify_report report;
	crocuta_error error = {0};
	char *longer = fixture_alloc(1100);
	json_t *answers;

	(void)state;
	assert_int_equal(crocuta_model_verify(model, NULL, &report, &error), CROCUTA_EMODEL);
	assert_non_null(strstr(error.message, "no selftest.json"));
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		answers = golden_answers();
		json_object_del(first_record(answers), keys[i]);
		expect(answers, CROCUTA_EMODEL, "malformed");
		answers = golden_answers();
		json_object_set_new(first_record(answers), keys[i], json_null());
		expect(answers, CROCUTA_EMODEL, "malformed");
	}
	answers = golden_answers();
	json_array_remove(json_object_get(first_record(answers), "hidden_first8"), 0);
	expect(answers, CROCUTA_EMODEL, "of the right size");
	answers = golden_answers();
	json_object_set_new(first_record(answers), "sequence", json_string("ACGX"));
	expect(answers, CROCUTA_EMODEL, "other letters");
	memset(longer, 'A', 1027);
	answers = golden_answers();
	json_object_set_new(first_record(answers), "sequence", json_string(longer));
	expect(answers, CROCUTA_EMODEL, "longer than the model's maximum");
	free(longer);
	answers = golden_answers();
	json_object_set_new(answers, "format", json_integer(2));
	expect(answers, CROCUTA_EMODEL, "format is not 1");
	answers = golden_answers();
	json_object_set_new(answers, "records", json_array());
	expect(answers, CROCUTA_EMODEL, "records");
	answers = golden_answers();
	json_object_set_new(json_object_get(answers, "tolerance"), "hidden", json_real(1e9));
	expect(answers, CROCUTA_EMODEL, "tolerance");
	fixture_write_file(directory, "selftest.json", "{", 1);
	assert_int_equal(crocuta_model_verify(model, NULL, &report, NULL), CROCUTA_EMODEL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(meets_golden_answers),
		TEST(verifies_the_default_model),
		TEST(notices_wrong_answers),
		TEST(refuses_malformed_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
