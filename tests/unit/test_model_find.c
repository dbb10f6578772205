/* test_model_find.c - names on the model path, the hub's cache, files given for directories. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <crocuta/model.h>

#include "../tools/model_fixture.h"
#include "base/memory.h"

static char root[512], found[4096];

/* root/a/b/c and all directories on the way. */
static void make_directories(const char *path)
{
	char text[4096];

	snprintf(text, sizeof text, "%s/%s", root, path);
	for (char *p = text + strlen(root) + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(text, 0777);
		*p = '/';
	}
	mkdir(text, 0777);
}

static void make_file(const char *path, const char *text)
{
	char name[4096];

	snprintf(name, sizeof name, "%s/%s", root, path);
	fixture_write_file(root, path, text, strlen(text));
}

static void make_model(const char *path)
{
	char text[4096];

	make_directories(path);
	snprintf(text, sizeof text, "%s/config.json", path);
	make_file(text, "{}");
}

static void set_variable(const char *name, const char *path)
{
	char text[4096];

	snprintf(text, sizeof text, "%s/%s", root, path);
	setenv(name, text, 1);
}

static int set_up(void **state)
{
	(void)state;
	fixture_directory(root, sizeof root);
	unsetenv("CROCUTA_MODEL_PATH");
	unsetenv("HF_HUB_CACHE");
	unsetenv("HUGGINGFACE_HUB_CACHE");
	unsetenv("HF_HOME");
	unsetenv("XDG_CACHE_HOME");
	unsetenv("XDG_DATA_HOME");
	set_variable("HOME", "home");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_discard(root);
	return 0;
}

/* name must lead to root/expected. */
static void find_good(const char *name, const char *expected)
{
	crocuta_error error = {0};
	char text[4096];
	int code = crocuta_model_find(name, found, sizeof found, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
	snprintf(text, sizeof text, "%s/%s", root, expected);
	assert_string_equal(found, text);
}

static void find_bad(const char *name, const char *text)
{
	crocuta_error error = {0};
	int code = crocuta_model_find(name, found, sizeof found, &error);

	if (code != CROCUTA_EMODEL || !strstr(error.message, text))
		fail_msg("%s: %d: %s (expected \"%s\")", name, code, error.message, text);
}

static void finds_names(void **state)
{
	char list[2048], path[1024];

	(void)state;
	find_bad("small", "not a directory, and not in ");
	make_model("home/.local/share/crocuta/models/small");
	find_good("small", "home/.local/share/crocuta/models/small");
	set_variable("XDG_DATA_HOME", "data");
	find_bad("small", "no model \"small\"");
	make_model("data/crocuta/models/small");
	find_good("small", "data/crocuta/models/small");
	make_model("second/small");
	snprintf(list, sizeof list, "%s/first::%s/second", root, root);
	setenv("CROCUTA_MODEL_PATH", list, 1);
	find_good("small", "second/small");
	make_directories("first/small"); /* no config.json: does not count */
	find_good("small", "second/small");
	make_model("first/small");
	find_good("small", "first/small");

	/* An existing directory is taken as given, whatever is in it. */
	snprintf(path, sizeof path, "%s/second", root);
	find_good(path, "second");
	assert_int_equal(crocuta_model_find(path, found, strlen(path), NULL), CROCUTA_EARG);
	find_bad("../first/small", "no such model directory");
	find_bad(".hidden", "no such model directory");
	find_bad("a/b/c", "no such model directory");
}

/* A plain name that is also a directory here counts as such only with a model in it. */
static void prefers_models_to_directories(void **state)
{
	char before[4096];

	(void)state;
	assert_non_null(getcwd(before, sizeof before));
	set_variable("CROCUTA_MODEL_PATH", "models");
	make_directories("small");
	assert_int_equal(chdir(root), 0);
	find_bad("small", "this directory has no config.json");
	make_model("models/small");
	find_good("small", "models/small");
	make_model("small");
	assert_int_equal(crocuta_model_find("small", found, sizeof found, NULL), 0);
	assert_string_equal(found, "small");
	assert_int_equal(chdir(before), 0);
}

static void finds_hub_names(void **state)
{
	static const char hub[] = "home/.cache/huggingface/hub/models--Org--tiny-hf";
	char text[2048];

	(void)state;
	find_bad("Org/tiny-hf", "crocuta downloads nothing");
	snprintf(text, sizeof text, "%s/snapshots/0123abcd", hub);
	make_model(text);
	find_bad("Org/tiny-hf", "not in the Hugging Face cache");
	snprintf(text, sizeof text, "%s/refs", hub);
	make_directories(text);
	snprintf(text, sizeof text, "%s/refs/main", hub);
	make_file(text, "0123abcd\n");
	snprintf(text, sizeof text, "%s/snapshots/0123abcd", hub);
	find_good("Org/tiny-hf", text);
	set_variable("HF_HOME", "other");
	find_bad("Org/tiny-hf", "/other/hub");
	set_variable("HF_HUB_CACHE", "home/.cache/huggingface/hub");
	find_good("Org/tiny-hf", text);

	/* A revision may not lead elsewhere. */
	snprintf(text, sizeof text, "%s/refs/main", hub);
	make_file(text, "../../secret");
	find_bad("Org/tiny-hf", "not in the Hugging Face cache");
	find_bad("../tiny-hf", "no such model directory");
	find_bad("Org/..", "no such model directory");
}

static void names_foreign_files(void **state)
{
	static const struct {
		const char *file, *text;
	} cases[] = {
		{"weights.ckpt", "Lightning checkpoint"},
		{"pytorch_model.bin", "tools/convert_ckpt.py"},
		{"model.gguf", "is a GGUF file"},
		{"model.safetensors", "give the directory"},
		{"model.safetensors.index.json", "split into shards"},
		{"notes.txt", "give the directory"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		crocuta_error error = {0};
		crocuta_model *model;
		char path[1024];

		make_file(cases[i].file, "x");
		snprintf(path, sizeof path, "%s/%s", root, cases[i].file);
		find_bad(path, cases[i].text);
		assert_int_equal(crocuta_model_open(path, NULL, &model, &error), CROCUTA_EMODEL);
	}
}

/* A directory with a config but without weights that can be read names what it has instead. */
static void names_foreign_weights(void **state)
{
	static const struct {
		const char *file, *text;
	} cases[] = {
		{"unrelated.txt", "no model.safetensors in this directory"},
		{"tokenizer.pt", "tokenizer.pt is a PyTorch pickle"},
		{"weights.ckpt", "weights.ckpt is a PyTorch Lightning checkpoint"},
		{"pytorch_model-00001-of-00002.bin", "tools/convert_ckpt.py"},
		{"weights.safetensors", "under another name"},
		{"model-00001-of-00002.safetensors", "fetch the others"},
		{"model.safetensors.index.json", "model.safetensors.index.json: "},
	};

	(void)state;
	make_file("config.json", "{\"model_type\": \"hyenadna\"}");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		crocuta_error error = {0};
		crocuta_model *model;

		make_file(cases[i].file, "x");
		assert_int_equal(crocuta_model_open(root, NULL, &model, &error), CROCUTA_EMODEL);
		if (!strstr(error.message, cases[i].text))
			fail_msg("%s", error.message);
	}
}

struct listing {
	char text[4096];
	int stop_after;
};

static int visit(void *user, const char *name, const char *path)
{
	struct listing *listing = user;
	size_t used = strlen(listing->text);

	assert_true(strlen(path) > strlen(name));
	/* The build tree's own models may follow; only those below root are under test. */
	if (!strncmp(path, root, strlen(root)))
		snprintf(listing->text + used, sizeof listing->text - used, "%s ", name);
	return --listing->stop_after == 0;
}

static void lists_models(void **state)
{
	struct listing listing = {"", 0};
	char list[2048];

	(void)state;
	make_model("first/zebra");
	make_model("first/apple");
	make_directories("first/empty");
	make_model("first/.hidden");
	make_model("second/apple");
	snprintf(list, sizeof list, "%s/first:%s/second:%s/first", root, root, root);
	setenv("CROCUTA_MODEL_PATH", list, 1);
	assert_int_equal(crocuta_model_list(visit, &listing, NULL), 0);
	assert_string_equal(listing.text, "apple zebra apple ");
	listing = (struct listing){"", 2};
	assert_int_equal(crocuta_model_list(visit, &listing, NULL), 0);
	assert_string_equal(listing.text, "apple zebra ");
}

static void survives_lack_of_memory(void **state)
{
	struct listing listing = {"", 0};
	int64_t total;

	(void)state;
	make_model("models/one");
	make_model("models/two");
	set_variable("CROCUTA_MODEL_PATH", "models");
	make_model("home/.cache/huggingface/hub/models--a--b/snapshots/c");
	make_directories("home/.cache/huggingface/hub/models--a--b/refs");
	make_file("home/.cache/huggingface/hub/models--a--b/refs/main", "c");
	for (int what = 0; what < 3; what++) {
		int64_t n = 0;

		do {
			int code;

			listing.text[0] = '\0';
			cr_memory_fail_at(n);
			if (what == 0)
				code = crocuta_model_find("two", found, sizeof found, NULL);
			else if (what == 1)
				code = crocuta_model_find("a/b", found, sizeof found, NULL);
			else
				code = crocuta_model_list(visit, &listing, NULL);
			total = n ? total : cr_memory_count();
			if (code != (n ? CROCUTA_EMEMORY : 0))
				fail_msg("what %d n %d of %d: %d", what, (int)n, (int)total, code);
		} while (n++ < total);
	}
	cr_memory_fail_at(0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(finds_names),
		TEST(prefers_models_to_directories),
		TEST(finds_hub_names),
		TEST(names_foreign_files),
		TEST(names_foreign_weights),
		TEST(lists_models),
		TEST(survives_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
