/* test_model_hybrid.c - Evo-1 and Evo-2 on the CPU: whole, in chunks, on one rank and over several.
 */
#include "hybrid_fixtures.h"

/* Records of up to `most` tokens. */
static void check_device(const char *device, int64_t most)
{
	for (int i = 0; i < FIXTURES; i++) {
		fixture *f = &fixtures[i];
		crocuta_session *session = session_on(f->model, device, 2, 2048);

		for (int k = 0; k < f->records; k++) {
			if (f->ids[k].rows > most)
				continue;
			check_record(f, k, session, device);
			if (f->start)
				check_start(f, k, session, device);
		}
		crocuta_session_free(session);
	}
}

static void reference(void **state)
{
	(void)state;
	check_device("reference", 300); /* plain loops */
}

static void cpu(void **state)
{
	(void)state;
	check_device("cpu", 2000);
}

static void ranks(void **state)
{
	static const char *const devices[] = {"cpu:1", "cpu:2", "cpu:3", "cpu:4", "cpu:8"};

	(void)state;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		check_device(devices[i], 2000);
}

/* Residual stream in front of the first block and behind each. */
static void layers(void **state)
{
	(void)state;
	for (int i = 0; i < FIXTURES; i++) {
		fixture *f = &fixtures[i];
		const crocuta_model_info *info = crocuta_model_get_info(f->model);
		const int64_t length = f->ids[1].rows, rows = length < 32 ? length : 32;
		crocuta_session *session = session_on(f->model, "cpu:3", 2, 2048);
		char path[300];
		FILE *file;
		float *expected = malloc(4 * (size_t)(rows * info->width));

		snprintf(path, sizeof path, "%s/blocks_1.npy", f->path);
		file = fopen(path, "rb");
		assert_non_null(file);
		assert_int_equal(fseek(file, 128, SEEK_SET), 0);
		for (int layer = 0; layer < info->layers; layer++) {
			collected c;
			double off;

			assert_int_equal(fread(expected, 4, (size_t)(rows * info->width), file),
					 rows * info->width);
			collect_new(&c, f->model, 1, length);
			run(session, f->tokens[1], length, layer, length - rows, &c);
			off = largest_difference(c.hidden + (length - rows) * info->width, expected,
						 rows * info->width);
			collect_free(&c);
			if (!(off <= 20 * f->hidden)) /* values reach tens there */
				fail_msg("%s: residual in front of block %d off by %g", f->name,
					 layer, off);
		}
		free(expected);
		fclose(file);
		crocuta_session_free(session);
	}
}

/* The same bytes for any number of threads, and for a prefix: causal. */
static void same_bytes(void **state)
{
	const fixture *f = &fixtures[2];
	const int64_t length = f->ids[2].rows, prefix = 700;
	crocuta_session *one = session_on(f->model, "cpu", 1, length);
	crocuta_session *three = session_on(f->model, "cpu", 3, length);
	collected a, b;

	(void)state;
	collect_new(&a, f->model, 1, length);
	collect_new(&b, f->model, 1, length);
	run(one, f->tokens[2], length, -1, 0, &a);
	run(three, f->tokens[2], length, -1, 0, &b);
	assert_memory_equal(a.hidden, b.hidden, 4 * (size_t)(length * a.width));
	assert_memory_equal(a.logits, b.logits, 4 * (size_t)(length * a.vocabulary));
	run(three, f->tokens[2], prefix, -1, 0, &b);
	assert_true(largest_difference(a.hidden, b.hidden, prefix * a.width) <= 1e-5);
	collect_free(&a);
	collect_free(&b);
	crocuta_session_free(one);
	crocuta_session_free(three);
}

static int refuse(void *user, int64_t sequence, int64_t first, int64_t count, const float *hidden,
		  const float *logits)
{
	(void)sequence, (void)first, (void)count, (void)hidden, (void)logits;
	return ++*(int *)user == 2 ? 77 : 0;
}

/* A rows function that ends a run does so over ranks too, once, and the session goes on. */
static void ended_by_caller(void **state)
{
	const fixture *f = &fixtures[2];
	const int64_t length = f->ids[2].rows;
	crocuta_session *session = session_on(f->model, "cpu:3", 2, length);
	const crocuta_sequence q[2] = {{.tokens = f->tokens[2], .length = length},
				       {.tokens = f->tokens[2], .length = length}};
	crocuta_error error = {0};
	collected c;
	int calls = 0;
	const crocuta_request request = {
		.layer = -1, .want_hidden = 1, .rows = refuse, .user = &calls};

	(void)state;
	assert_int_equal(crocuta_session_run(session, q, 2, &request, &error), 77);
	assert_int_equal(calls, 2);
	collect_new(&c, f->model, 1, length);
	run(session, f->tokens[2], length, -1, 0, &c);
	assert_true(largest_difference(c.hidden, f->rows[2].data, length * c.width) <= f->hidden);
	collect_free(&c);
	crocuta_session_free(session);
}

static void refusals(void **state)
{
	const crocuta_model *model = fixtures[0].model;
	crocuta_session_options options;
	crocuta_session *session;
	crocuta_error error = {0};

	(void)state;
	crocuta_session_options_init(&options);
	options.device = "cpu:3"; /* without parallel sequence */
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "--parallel sequence"));
	memset(&error, 0, sizeof error);
	options.device = "cpu";
	options.stream = 1;
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "stream"));
	memset(&error, 0, sizeof error);
	options.stream = 0;
	options.memory_limit = 1000;
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EMEMORY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference),  cmocka_unit_test(cpu),
		cmocka_unit_test(ranks),      cmocka_unit_test(layers),
		cmocka_unit_test(same_bytes), cmocka_unit_test(ended_by_caller),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, open_fixtures, close_fixtures);
}
