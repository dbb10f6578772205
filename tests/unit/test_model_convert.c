/* test_model_convert.c - writing models: what is read back, what is refused, what is left behind.
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

static char root[512], source[1024], target[1024];
static struct fixture *made;

static int set_up(void **state)
{
	(void)state;
	fixture_directory(root, sizeof root);
	snprintf(source, sizeof source, "%s/source", root);
	snprintf(target, sizeof target, "%s/target", root);
	mkdir(source, 0777);
	made = fixture_make(8, 2, 34, 16);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_free(made);
	fixture_discard(root);
	return 0;
}

static crocuta_model *open_good(const char *path)
{
	crocuta_error error = {0};
	crocuta_model *model;
	int code = crocuta_model_open(path, NULL, &model, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
	return model;
}

static crocuta_model *open_source(void)
{
	fixture_save(made, source);
	return open_good(source);
}

static void convert_good(const crocuta_model *model, const char *dtype, int tables, int force)
{
	crocuta_error error = {0};
	int code = crocuta_model_convert(model, target, dtype, tables, force, &error);

	if (code)
		fail_msg("%d: %s", code, error.message);
}

/* Only what is named may lie in root: no temporary directory is ever left. */
static void assert_tidy(void)
{
	DIR *list = opendir(root);
	struct dirent *item;

	assert_non_null(list);
	while ((item = readdir(list)))
		if (strcmp(item->d_name, ".") && strcmp(item->d_name, "..") &&
		    strcmp(item->d_name, "source") && strcmp(item->d_name, "target"))
			fail_msg("left behind: %s", item->d_name);
	closedir(list);
}

static int64_t file_size(const char *name)
{
	struct stat status;
	char path[2048];

	snprintf(path, sizeof path, "%s/%s", target, name);
	return stat(path, &status) ? -1 : (int64_t)status.st_size;
}

struct pair {
	cr_network *other;
	double bound; /* relative */
	int tables;   /* 1: position tables must be there, 0: must not, -1: may */
	const cr_tensor_spec *list[FIXTURE_TENSORS];
	const float *value[FIXTURE_TENSORS];
	int count;
};

static int collect(void *user, const cr_tensor_spec *spec)
{
	struct pair *pair = user;

	pair->value[pair->count++] = *spec->target;
	return 0;
}

static int compare(void *user, const cr_tensor_spec *spec)
{
	struct pair *pair = user;
	const float *other = pair->value[pair->count++], *mine = *spec->target;
	int64_t elements = 1;

	for (int i = 0; i < spec->rank; i++)
		elements *= spec->shape[i];
	if (spec->role != CR_ROLE_FEATURES && spec->role != CR_ROLE_OFFSETS)
		assert_non_null(mine);
	else if (pair->tables >= 0)
		assert_int_equal(mine != NULL, pair->tables);
	for (int64_t i = 0; mine && other && i < elements; i++) {
		double bound = spec->role == CR_ROLE_WEIGHT || spec->role == CR_ROLE_FREQUENCY ||
					       spec->role == CR_ROLE_HEAD
				       ? pair->bound
				       : 0;

		if (fabs((double)mine[i] - other[i]) >
		    bound * fabs((double)other[i]) + bound * 1e-3)
			fail_msg("%s[%d]: %g, was %g", spec->name, (int)i, mine[i], other[i]);
	}
	return 0;
}

static void assert_close(const crocuta_model *before, const crocuta_model *after, double bound,
			 int tables)
{
	struct pair pair = {.bound = bound, .tables = tables};

	cr_hyenadna_visit_tensors((cr_network *)cr_model_network(before), collect, &pair);
	pair.count = 0;
	cr_hyenadna_visit_tensors((cr_network *)cr_model_network(after), compare, &pair);
	assert_int_equal(crocuta_model_get_info(before)->max_length,
			 crocuta_model_get_info(after)->max_length);
	assert_true(cr_model_network(before)->norm_epsilon ==
		    cr_model_network(after)->norm_epsilon);
	assert_true(cr_model_network(before)->filter_shift ==
		    cr_model_network(after)->filter_shift);
}

static void round_trips(void **state)
{
	static const struct {
		const char *dtype;
		double bound;
	} forms[] = {{"F32", 0}, {"F16", 0x1p-11}, {"BF16", 0x1p-8}};
	crocuta_model *model = open_source();

	(void)state;
	for (int i = 0; i < 3; i++) {
		crocuta_model *again;
		int64_t small;

		convert_good(model, forms[i].dtype, CROCUTA_TABLES_DROP, i > 0);
		again = open_good(target);
		assert_close(model, again, forms[i].bound, 0);
		assert_string_equal(crocuta_model_get_info(again)->dtype, forms[i].dtype);
		assert_string_equal(crocuta_model_get_info(again)->filter_shift_source, "config");
		assert_int_equal(crocuta_model_get_info(again)->has_lm_head, 1);
		assert_null(crocuta_model_get_note(again, 0));
		crocuta_model_close(again);
		small = file_size("model.safetensors");

		convert_good(model, forms[i].dtype, CROCUTA_TABLES_WRITE, 1);
		again = open_good(target);
		assert_int_equal(crocuta_model_get_info(again)->position_tables_loaded, 1);
		assert_close(model, again, forms[i].bound, 1);
		crocuta_model_close(again);
		assert_true(file_size("model.safetensors") >= small + 2 * 34 * 6 * 4);
		assert_tidy();
	}
	crocuta_model_close(model);
}

static void golden_round_trip(void **state)
{
	crocuta_model *model = open_good("test-data/golden/hyenadna-d128-n2-m1026-shift0"), *again;

	(void)state;
	convert_good(model, "F32", CROCUTA_TABLES_WRITE, 0);
	again = open_good(target);
	assert_close(model, again, 0, 1);
	assert_true(crocuta_model_get_info(again)->filter_shift == 0);
	crocuta_model_close(again);
	crocuta_model_close(model);
}

/* Names of training checkpoints become those of the published Hugging Face files. */
static void writes_canonical_names(void **state)
{
	crocuta_model *model;
	char path[2048], *text = fixture_alloc(20000);
	FILE *file;

	(void)state;
	for (int i = 0; i < made->count; i++) {
		char rest[256];

		snprintf(rest, sizeof rest, "%s", made->tensor[i].name);
		snprintf(made->tensor[i].name, sizeof rest, "model.%.200s",
			 strncmp(rest, "hyena.", 6) ? rest : rest + 6);
	}
	fixture_remove(made, "lm_head.weight");
	model = open_source();
	assert_int_equal(crocuta_model_get_info(model)->has_lm_head, 0);
	convert_good(model, "F32", CROCUTA_TABLES_DROP, 0);
	crocuta_model_close(model);
	model = open_good(target);
	assert_int_equal(crocuta_model_get_info(model)->has_lm_head, 1);
	crocuta_model_close(model);
	snprintf(path, sizeof path, "%s/model.safetensors", target);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_true(fread(text, 1, 19999, file) > 8);
	fclose(file);
	assert_int_equal((text[0] + 8) & 63, 0); /* data aligned */
	assert_non_null(strstr(text + 8,
			       "\"hyena.backbone.layers.1.mixer.filter_fn.implicit_filter."
			       "6.weight\":{\"dtype\":\"F32\",\"shape\":[8,16]"));
	assert_non_null(strstr(text + 8, "\"hyena.backbone.layers.0.mixer.short_filter.weight\":"
					 "{\"dtype\":\"F32\",\"shape\":[24,1,3]"));
	assert_non_null(strstr(text + 8, "\"lm_head.weight\""));
	assert_null(strstr(text + 8, "pos_emb"));
	free(text);
}

static void keeps_altered_tables_and_scores(void **state)
{
	int64_t shape[2] = {3, 8};
	float value = 0.75f;
	crocuta_model *model, *again;

	(void)state;
	memcpy(fixture_find(made, "0.mixer.filter_fn.pos_emb.z")->data + 60, &value, 4);
	memcpy(fixture_find(made, "1.mixer.filter_fn.modulation.deltas")->data + 4, &value, 4);
	fixture_remove(made, "lm_head.weight");
	memcpy(fixture_add(made, "score.weight", "F32", 2, shape)->data, &value, 4);
	model = open_source();
	convert_good(model, "BF16", CROCUTA_TABLES_DROP, 0);
	again = open_good(target);
	assert_close(model, again, 0x1p-8, -1);
	assert_non_null(cr_model_network(again)->block[0].filter.z);
	assert_null(cr_model_network(again)->block[1].filter.z);
	assert_null(cr_model_network(again)->block[0].filter.t);
	assert_int_equal(crocuta_model_get_info(again)->position_tables_loaded, 2);
	assert_int_equal(crocuta_model_get_info(again)->classes, 3);
	assert_int_equal(crocuta_model_get_info(again)->has_lm_head, 0);
	crocuta_model_close(again);
	crocuta_model_close(model);
}

static void assert_refused(const crocuta_model *model, const char *path, const char *dtype,
			   int force, int expected, const char *text)
{
	crocuta_error error = {0};
	int code = crocuta_model_convert(model, path, dtype, 0, force, &error);

	if (code != expected || !strstr(error.message, text))
		fail_msg("%d: %s (expected %d, \"%s\")", code, error.message, expected, text);
	assert_tidy();
}

static void refuses(void **state)
{
	char path[2048];
	float large = 7e4f;
	crocuta_model *model;

	(void)state;
	memcpy(fixture_find(made, "1.mlp.fc1.weight")->data + 40, &large, 4);
	model = open_source();
	assert_refused(model, target, "F16", 0, CROCUTA_ENUMERIC,
		       "\"layers.1.mlp.fc1.weight\": element 10 is 70000, too large for F16; BF16");
	assert_int_equal(file_size("config.json"), -1);
	assert_refused(model, target, "F64", 0, CROCUTA_EARG, "F32, F16 or BF16");
	assert_refused(model, "", "F32", 0, CROCUTA_EARG, "empty");
	snprintf(path, sizeof path, "%s/absent/target", root);
	assert_refused(model, path, "F32", 0, CROCUTA_EIO, "No such file");
	convert_good(model, "BF16", CROCUTA_TABLES_DROP, 0);
	assert_refused(model, target, "F32", 0, CROCUTA_EREFUSED, "exists already");
	/* A failure while replacing leaves the older model as it was. */
	assert_refused(model, target, "F16", 1, CROCUTA_ENUMERIC, "too large");
	crocuta_model_close(open_good(target));
	fixture_write_file(target, "notes.txt", "x", 1);
	assert_refused(model, target, "F32", 1, CROCUTA_EREFUSED, "\"notes.txt\" beside a model");
	snprintf(path, sizeof path, "%s/notes.txt/", target);
	path[strlen(path) - 1] = '\0';
	assert_refused(model, path, "F32", 1, CROCUTA_EREFUSED, "not a directory");
	crocuta_model_close(model);
}

/* By default tables go along as they are, bit for bit; a model without them stays without. */
static void carries_tables_as_stored(void **state)
{
	crocuta_model *model = open_good("test-data/golden/hyenadna-d64-n4-m4098"), *again;
	const cr_filter_weights *before, *after;

	(void)state;
	convert_good(model, "F32", CROCUTA_TABLES_AS_STORED, 0);
	again = open_good(target);
	before = &cr_model_network(model)->block[3].filter;
	after = &cr_model_network(again)->block[3].filter;
	assert_memory_equal(before->z, after->z, 4 * 4098 * 5);
	assert_memory_equal(before->t, after->t, 4 * 4098);
	crocuta_model_close(again);
	fixture_discard(target);
	convert_good(model, "F32", CROCUTA_TABLES_DROP, 0);
	crocuta_model_close(model);
	model = open_good(target);
	convert_good(model, "F32", CROCUTA_TABLES_AS_STORED, 1);
	again = open_good(target);
	assert_null(cr_model_network(again)->block[3].filter.z);
	crocuta_model_close(again);
	crocuta_model_close(model);
}

/* In place: the source itself is replaced by its own conversion; a slash at the end is fine. */
static void replaces_its_source(void **state)
{
	crocuta_model *model = open_source(), *again;
	char path[2048];

	(void)state;
	snprintf(path, sizeof path, "%s//", source);
	assert_int_equal(crocuta_model_convert(model, path, "F32", CROCUTA_TABLES_DROP, 1, NULL), 0);
	again = open_good(source);
	assert_close(model, again, 0, 0);
	crocuta_model_close(again);
	crocuta_model_close(model);
	assert_tidy();
}

static void survives_lack_of_memory(void **state)
{
	crocuta_model *model = open_source();
	int64_t total;

	(void)state;
	cr_memory_fail_at(0);
	convert_good(model, "F16", CROCUTA_TABLES_WRITE, 0);
	total = cr_memory_count();
	fixture_discard(target);
	for (int64_t n = 1; n <= total; n++) {
		int code;

		cr_memory_fail_at(n);
		code = crocuta_model_convert(model, target, "F16", CROCUTA_TABLES_WRITE, 0, NULL);
		/* After the rename only the sync of the parent can fail; the model is there then.
		 */
		assert_int_equal(code, CROCUTA_EMEMORY);
		assert_tidy();
		fixture_discard(target);
	}
	cr_memory_fail_at(0);
	crocuta_model_close(model);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(round_trips),
		TEST(golden_round_trip),
		TEST(carries_tables_as_stored),
		TEST(writes_canonical_names),
		TEST(keeps_altered_tables_and_scores),
		TEST(refuses),
		TEST(replaces_its_source),
		TEST(survives_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
