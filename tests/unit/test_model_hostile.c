/* test_model_hostile.c - malformed models are refused quickly, with one line that says why. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <crocuta/model.h>

#include "../tools/hostile_models.h"
#include "base/clock.h"
#include "model/safetensors.h"

#ifdef __SANITIZE_ADDRESS__ /* slower, and with space around every small allocation */
#define SECONDS_MAX 10.0
#define GROWTH_MAX ((int64_t)400 << 20)
#else
#define SECONDS_MAX 1.0
#define GROWTH_MAX ((int64_t)100 << 20)
#endif

static char directory[512];
static int refused, loaded;

static void assert_one_line(const char *name, const crocuta_error *error)
{
	const char *message = error->message;

	if (!message[0] || strlen(message) >= sizeof error->message - 1)
		fail_msg("%s: message of %zu bytes", name, strlen(message));
	for (const char *p = message; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			fail_msg("%s: byte 0x%02x in the message", name, (unsigned char)*p);
	if (!strstr(message, "model.safetensors") && !strstr(message, "config.json"))
		fail_msg("%s: the message names no file: %s", name, message);
}

static void open_case(void *user, const struct hostile *hostile)
{
	crocuta_error error = {0};
	crocuta_model *model;
	double started, taken;
	int code;

	(void)user;
	fixture_write_file(directory, "model.safetensors", hostile->weights, hostile->weights_size);
	fixture_write_file(directory, "config.json", hostile->config, hostile->config_size);
	started = cr_wall_seconds();
	code = crocuta_model_open(directory, NULL, &model, &error);
	taken = cr_wall_seconds() - started;
	if (taken > SECONDS_MAX)
		fail_msg("%s: took %.2f s", hostile->name, taken);
	if (!code && hostile->verdict == HOSTILE_REFUSE)
		fail_msg("%s: opened", hostile->name);
	if (code && hostile->verdict == HOSTILE_LOAD)
		fail_msg("%s: %d: %s", hostile->name, code, error.message);
	if (code) {
		if (code != CROCUTA_EMODEL || error.code != code)
			fail_msg("%s: code %d: %s", hostile->name, code, error.message);
		assert_one_line(hostile->name, &error);
		if (getenv("HOSTILE_VERBOSE"))
			print_message("%s: %s\n", hostile->name, error.message);
		refused++;
	} else {
		loaded++;
	}
	crocuta_model_close(model);
}

static void refuses_hostile_models(void **state)
{
	int count = hostile_each(1, 200, open_case, NULL);

	(void)state;
	print_message("%d cases: %d refused, %d loaded\n", count, refused, loaded);
	assert_true(count >= 350);
	assert_true(loaded >= 15);
}

/* A header of 100 MB: `unit` repeated between begin and end. */
static void refuse_large(const char *name, const char *begin, const char *unit, const char *end,
			 size_t size)
{
	size_t at = 8, length = strlen(unit), room;
	char *bytes = malloc(size + 8);
	int64_t peak_before, grown;
	crocuta_error error = {0};
	cr_safetensors file;
	double started, taken;
	int code;

	assert_non_null(bytes);
	memcpy(bytes + at, begin, strlen(begin));
	at += strlen(begin);
	room = (size + 8 - at - strlen(end)) / length * length;
	memcpy(bytes + at, unit, length);
	for (size_t done = length; done < room; done *= 2) /* what is there, once more */
		memcpy(bytes + at + done, bytes + at, done < room - done ? done : room - done);
	at += room;
	memset(bytes + at, ' ', size + 8 - at);
	memcpy(bytes + size + 8 - strlen(end), end, strlen(end));
	for (int i = 0; i < 8; i++)
		bytes[i] = (char)(size >> 8 * i);
	peak_before = cr_peak_bytes();
	started = cr_wall_seconds();
	code = cr_safetensors_parse_header(bytes, size + 8, size + 8, "model.safetensors", &file,
					   &error);
	taken = cr_wall_seconds() - started;
	grown = cr_peak_bytes() - peak_before;
	if (!code)
		cr_safetensors_close(&file);
	print_message("%s: %d, %.3f s, %lld MB: %s\n", name, code, taken, (long long)grown >> 20,
		      error.message);
	assert_int_equal(code, CROCUTA_EMODEL);
	assert_one_line(name, &error);
	assert_true(taken <= SECONDS_MAX);
	assert_true(grown <= GROWTH_MAX); /* beside the header itself */
	free(bytes);
}

static void refuses_large_headers(void **state)
{
	const size_t size = 100000000;

	(void)state;
	/* As much as the limits let through to jansson; first, while the peak of memory is low. */
	refuse_large("allowed numbers", "{\"a\":{\"shape\":[", "1,", "1]}}", 1900000);
	refuse_large("allowed objects", "{\"a\":[", "{},", "{}]}", 890000);
	refuse_large("brackets", "{\"a\":", "[", "}", size);
	refuse_large("objects", "{\"a\":", "{\"a\":", "}", size);
	refuse_large("flat brackets", "{\"a\":[", "[],", "[]]}", size);
	refuse_large("flat objects", "{\"a\":[", "{},", "{}]}", size);
	refuse_large("keys", "{", "\"k\":0,", "\"x\":0}", size);
	refuse_large("spaces", "{", " ", "}", size);
	refuse_large("spaces after", "{}", " ", " ", size);
	refuse_large("digits", "{\"a\":", "1", "}", size);
	refuse_large("string", "{\"a\":\"", "x", "\"}", size);
	refuse_large("escapes", "{\"a\":\"", "\\u0041", "\"}", size);
	refuse_large("strings", "{\"a\":[", "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",",
		     "\"\"]}", size);
	refuse_large("numbers", "{\"a\":{\"shape\":[", "1,", "1]}}", size);
}

/* Directory entries that are no regular files must neither hang nor be read. */
static void refuses_special_files(void **state)
{
	struct fixture *f = fixture_make(4, 1, 10, 4);
	char weights[600], config[600];

	(void)state;
	snprintf(weights, sizeof weights, "%s/model.safetensors", directory);
	snprintf(config, sizeof config, "%s/config.json", directory);
	for (int i = 0; i < 8; i++) {
		const char *path = i % 2 ? weights : config;
		crocuta_error error = {0};
		crocuta_model *model;

		unlink(weights);
		unlink(config);
		fixture_save(f, directory);
		assert_int_equal(unlink(path), 0);
		if (i / 2 == 0)
			assert_int_equal(mkfifo(path, 0666), 0);
		else if (i / 2 == 1)
			assert_int_equal(mkdir(path, 0777), 0);
		else if (i / 2 == 2)
			assert_int_equal(symlink(path, path), 0);
		else
			assert_int_equal(symlink("/dev/zero", path), 0);
		if (i / 2 == 2) { /* a loop of links is the file system's fault */
			int code = crocuta_model_open(directory, NULL, &model, &error);

			assert_true(code == CROCUTA_EIO || code == CROCUTA_EMODEL);
		} else {
			assert_int_equal(crocuta_model_open(directory, NULL, &model, &error),
					 CROCUTA_EMODEL);
		}
		assert_null(model);
		assert_one_line(path, &error);
		rmdir(path);
	}
	fixture_free(f);
}

/* A file that shrinks or changes between the header and the data. */
static void refuses_changing_files(void **state)
{
	struct fixture *f = fixture_make(4, 1, 10, 4);
	char path[600];

	(void)state;
	unlink((snprintf(path, sizeof path, "%s/config.json", directory), path));
	unlink((snprintf(path, sizeof path, "%s/model.safetensors", directory), path));
	fixture_save(f, directory);
	for (int shrink = 0; shrink < 2; shrink++) {
		crocuta_error error = {0};
		cr_safetensors file;
		struct timespec times[2] = {{1, 0}, {1, 0}};
		float values[64];

		assert_int_equal(cr_safetensors_open(path, NULL, &file, &error), 0);
		assert_int_equal(cr_safetensors_unchanged(&file, &error), 0);
		if (shrink)
			assert_int_equal(truncate(path, (off_t)file.data_start + 100), 0);
		else
			assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
		if (shrink) {
			assert_int_equal(cr_safetensors_read(&file, 0, values, 0, &error),
					 CROCUTA_EMODEL);
			assert_non_null(
				strstr(error.message, "embeddings.weight: file ends at byte"));
		} else {
			assert_int_equal(cr_safetensors_unchanged(&file, &error), CROCUTA_EMODEL);
			assert_non_null(strstr(error.message, "was changed while it was read"));
		}
		cr_safetensors_close(&file);
	}
	fixture_free(f);
}

static int set_up(void **state)
{
	(void)state;
	fixture_directory(directory, sizeof directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_discard(directory);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(refuses_large_headers), /* first: it watches the peak of memory */
		TEST(refuses_hostile_models),
		TEST(refuses_special_files),
		TEST(refuses_changing_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
