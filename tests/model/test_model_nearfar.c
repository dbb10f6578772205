/* test_model_nearfar.c - the near/far form against exact segments, through whole models.
 *
 * Made-up models come from the random_model tool beside this program; "trained" is the shipped model
 * stretched to a longer window (a filter is a function of n/(M-1) alone).
 */
#define _GNU_SOURCE
#include "made_model.h"

#include <sys/stat.h>
#include <unistd.h>

#include "model/cuda_filters.h"
#include "model/network.h"

#define TOLERANCE 1e-5

static char folder[] = "/tmp/crocuta-nearfar-XXXXXX";

static uint8_t *made_tokens(int64_t length)
{
	uint8_t *tokens = malloc((size_t)length);
	uint32_t seed = 12345;

	assert_non_null(tokens);
	for (int64_t i = 0; i < length; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (uint8_t)(7 + (seed >> 24) % 4);
	}
	return tokens;
}

static crocuta_session *session_with(const crocuta_model *model, int convolution, int threads,
				     int stream, int64_t length)
{
	crocuta_session_options o;

	crocuta_session_options_init(&o);
	o.convolution = convolution;
	o.threads = threads;
	o.stream = stream;
	o.max_length = length;
	return new_session(model, &o);
}

static void run_once(const crocuta_model *model, crocuta_session *s, const uint8_t *tokens,
		     int64_t length, collected *c)
{
	crocuta_sequence q = {tokens, length, 0};
	crocuta_request request = {.layer = -1, .want_hidden = 1, .want_logits = 1,
				   .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	collect_new(c, model, 1, length);
	if (crocuta_session_run(s, &q, 1, &request, &error))
		fail_msg("%s", error.message);
}

static void both_forms_agree(const crocuta_model *model, const int64_t *lengths, int count)
{
	for (int i = 0; i < count; i++) {
		uint8_t *tokens = made_tokens(lengths[i]);
		crocuta_session *near = session_with(model, CROCUTA_CONVOLUTION_NEARFAR, 2, 0, 0);
		crocuta_session *fft = session_with(model, CROCUTA_CONVOLUTION_FFT, 2, 0,
						    lengths[i]);
		collected a, b;
		double apart;

		assert_string_equal(crocuta_session_get_plan(near)->convolution, "nearfar");
		assert_string_equal(crocuta_session_get_plan(fft)->convolution, "fft");
		run_once(model, near, tokens, lengths[i], &a);
		run_once(model, fft, tokens, lengths[i], &b);
		apart = largest_difference(a.hidden, b.hidden, lengths[i] * a.width);
		if (apart > TOLERANCE)
			fail_msg("length %lld: the two forms differ by %g", (long long)lengths[i],
				 apart);
		collect_free(&a);
		collect_free(&b);
		crocuta_session_free(near);
		crocuta_session_free(fft);
		free(tokens);
	}
}

static void random_filters(void **state)
{
	static const int64_t lengths[] = {1, 2, 1023, 1024, 1025, 2049, 3073, 17000, 65538};
	crocuta_model *model = made_model("--width 40 --inner 64 --layers 2 "
						    "--max-length 65538 --seed 5");

	(void)state;
	both_forms_agree(model, lengths, 9);
	crocuta_model_close(model);
}

static void a_million_positions(void **state)
{
	static const int64_t lengths[] = {1000002};
	crocuta_model *model = made_model("--width 32 --inner 32 --layers 1 "
						     "--max-length 1000002 --seed 6");

	(void)state;
	both_forms_agree(model, lengths, 1);
	crocuta_model_close(model);
}

/* The shipped model's filters over a window 256 times as long. */
static void trained_filters(void **state)
{
	static const int64_t lengths[] = {5000, 150000};
	char path[1200], text[8192] = "", *field;
	crocuta_model *model = open_model("models/tiny-1k");
	crocuta_error error = {0};
	FILE *file;

	(void)state;
	snprintf(path, sizeof path, "%s/stretched", folder);
	if (crocuta_model_convert(model, path, "F32", CROCUTA_TABLES_DROP, 0,
				  &error))
		fail_msg("%s", error.message);
	crocuta_model_close(model);
	snprintf(path, sizeof path, "%s/stretched/config.json", folder);
	file = fopen(path, "r+");
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof text - 8, file) > 0);
	field = strstr(text, "\"max_seq_len\": 1026");
	assert_non_null(field);
	rewind(file);
	fprintf(file, "%.*s\"max_seq_len\": 262146%s", (int)(field - text), text,
		field + strlen("\"max_seq_len\": 1026"));
	fclose(file);
	snprintf(path, sizeof path, "%s/stretched", folder);
	model = open_model(path);
	assert_int_equal(crocuta_model_get_info(model)->max_length, 262146);
	both_forms_agree(model, lengths, 2);
	crocuta_model_close(model);
	snprintf(text, sizeof text, "rm -r '%s'", path);
	assert_int_equal(system(text), 0);
}

static void same_bytes_for_any_threads(void **state)
{
	static const int threads[] = {1, 2, 7};
	const int64_t length = 30011;
	crocuta_model *model = made_model("--width 64 --inner 96 --layers 2 "
						     "--max-length 65538 --seed 7");
	uint8_t *tokens = made_tokens(length);
	collected first = {0};

	(void)state;
	for (int t = 0; t < 3; t++) {
		crocuta_session *s = session_with(model, CROCUTA_CONVOLUTION_NEARFAR, threads[t], 0,
						  0);
		collected c;

		run_once(model, s, tokens, length, &c);
		if (t == 0) {
			first = c;
		} else {
			assert_memory_equal(c.hidden, first.hidden, 4 * length * c.width);
			assert_memory_equal(c.logits, first.logits, 4 * length * c.vocabulary);
			collect_free(&c);
		}
		crocuta_session_free(s);
	}
	collect_free(&first);
	free(tokens);
	crocuta_model_close(model);
}

static void stream_in(const crocuta_model *model, crocuta_session *s, const uint8_t *tokens,
		      int64_t length, int64_t piece, collected *c)
{
	crocuta_request request = {.layer = -1, .want_hidden = 1, .want_logits = 1,
				   .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	collect_new(c, model, 1, length);
	for (int64_t at = 0; at < length; at += piece) {
		int64_t count = length - at < piece ? length - at : piece;

		if (crocuta_session_stream(s, tokens + at, count, at + count == length, &request,
					   &error))
			fail_msg("%s", error.message);
	}
}

/* A stream three times as long as the window: both forms agree, the first window equals a plain run,
 * the cuts don't matter, and what lies far behind is forgotten. */
static void streams_beyond_the_window(void **state)
{
	const int64_t window = 131000, length = 290007;
	crocuta_model *model = made_model("--width 32 --inner 64 --layers 1 "
						    "--max-length 131000 --seed 8");
	uint8_t *tokens = made_tokens(length), *changed = made_tokens(length);
	crocuta_session *near = session_with(model, CROCUTA_CONVOLUTION_NEARFAR, 2, 1, 0);
	crocuta_session *fft = session_with(model, CROCUTA_CONVOLUTION_FFT, 2, 1, 0);
	const crocuta_plan *plan = crocuta_session_get_plan(near);
	collected a, b, c, d;
	int64_t reach;

	(void)state;
	assert_true(plan->stream_context >= window);
	assert_int_equal(plan->stream_context, crocuta_session_get_plan(fft)->stream_context);
	stream_in(model, near, tokens, length, 100000, &a);
	stream_in(model, fft, tokens, length, 100000, &b);
	assert_true(largest_difference(a.hidden, b.hidden, length * a.width) <= TOLERANCE);
	stream_in(model, near, tokens, length, 777, &c);
	assert_memory_equal(a.hidden, c.hidden, 4 * length * a.width);
	collect_free(&c);
	run_once(model, near, tokens, window, &c);
	/* the run's last block is cut short, which changes how its transform rounds */
	assert_memory_equal(a.hidden, c.hidden, 4 * (window - plan->block) * a.width);
	assert_true(largest_difference(a.hidden, c.hidden, window * a.width) <= TOLERANCE);
	/* one layer: a base more than the context and two blocks behind has no influence at all */
	changed[100] = changed[100] == 7 ? 8 : 7;
	stream_in(model, near, changed, length, 100000, &d);
	reach = 103 + plan->stream_context + 2 * plan->block;
	assert_true(largest_difference(a.hidden + 100 * a.width, d.hidden + 100 * a.width,
				       10 * a.width) > 1e-3);
	assert_true(largest_difference(a.hidden + 16000 * a.width, d.hidden + 16000 * a.width,
				       300 * a.width) > 0);
	/* before it nothing moves but a transform's rounding, in the same block */
	assert_true(largest_difference(a.hidden, d.hidden, 100 * a.width) <= TOLERANCE);
	assert_memory_equal(a.hidden + reach * a.width, d.hidden + reach * a.width,
			    4 * (length - reach) * a.width);
	collect_free(&a);
	collect_free(&b);
	collect_free(&c);
	collect_free(&d);
	free(tokens);
	free(changed);
	crocuta_session_free(near);
	crocuta_session_free(fft);
	crocuta_model_close(model);
}

static void refuses_rough_filters(void **state)
{
	crocuta_model *model = made_model("--width 32 --inner 32 --layers 1 "
						   "--max-length 65538 --rough --seed 9");
	crocuta_session_options o;
	crocuta_session *s;
	crocuta_error error = {0};

	(void)state;
	crocuta_session_options_init(&o);
	o.convolution = CROCUTA_CONVOLUTION_NEARFAR;
	assert_int_equal(crocuta_session_new(model, &o, &s, &error), CROCUTA_EMODEL);
	assert_null(s);
	assert_non_null(strstr(error.message, "too rough"));
	o.convolution = CROCUTA_CONVOLUTION_AUTO;
	s = new_session(model, &o);
	assert_string_equal(crocuta_session_get_plan(s)->convolution, "fft");
	crocuta_session_free(s);
	crocuta_model_close(model);
}

/* Stored position tables that equal the formula up to rounding don't stand in the way; tables that
 * depart from it do. */
static void stays_off_short_models(void **state)
{
	crocuta_model *model = open_model("test-data/golden/hyenadna-d64-n4-m4098");
	crocuta_session *s;

	(void)state;
	s = session_with(model, CROCUTA_CONVOLUTION_AUTO, 1, 0, 0);
	assert_string_equal(crocuta_session_get_plan(s)->convolution, "fft");
	crocuta_session_free(s);
	crocuta_model_close(model);
}

/* What the GPU would choose is found on the host: a block, the error that is too large, or no block
 * whose tables fit. */
static void choice_for_gpus(void **state)
{
	static const struct {
		const char *shape;
		int64_t length;
		int chosen, tried;
	} cases[] = {
		{"--width 32 --inner 32 --layers 1 --max-length 65538", 65536, 1, 1},
		{"--width 32 --inner 32 --layers 1 --max-length 65538 --rough --seed 9", 65536, 0, 1},
		{"--width 32 --inner 32 --layers 1 --max-length 65538", (int64_t)1 << 24, 0, 0},
	};
	const double limit = 1e-4;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		crocuta_model *model = made_model(cases[i].shape);
		const cr_network *network = cr_model_network(model);
		cr_implicit_filter filter;
		crocuta_error error = {0};
		double found = -1;
		int64_t block = -1;
		int rank = -1;

		assert_int_equal(cr_implicit_filter_init(&filter, network, 0, cr_kernels_get(NULL),
							 &error),
				 0);
		assert_int_equal(cr_cuda_choose_filters(&filter, network, cases[i].length, limit,
							&block, &rank, &found, &error),
				 0);
		assert_int_equal(block > 0, cases[i].chosen);
		assert_int_equal(rank > 0, cases[i].chosen);
		assert_int_equal(found > 0, cases[i].tried);
		if (cases[i].tried)
			assert_int_equal(found <= limit, cases[i].chosen);
		cr_implicit_filter_free(&filter);
		crocuta_model_close(model);
	}
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_filters),
		cmocka_unit_test(a_million_positions),
		cmocka_unit_test(trained_filters),
		cmocka_unit_test(same_bytes_for_any_threads),
		cmocka_unit_test(streams_beyond_the_window),
		cmocka_unit_test(refuses_rough_filters),
		cmocka_unit_test(stays_off_short_models),
		cmocka_unit_test(choice_for_gpus),
	};

	return cmocka_run_group_tests_name("model near/far", tests, make_folder, remove_folder);
}
