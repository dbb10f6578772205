/* test_model_session.c - a session's options, limits and outputs, held against the plain loops. */
#include "golden.h"

#include <malloc.h>

#include "base/memory.h"

#define MODEL "test-data/golden/hyenadna-d64-n4-m4098"
#define LENGTH 700

static uint8_t tokens[LENGTH];
static crocuta_model *model;

static int open_all(void **state)
{
	uint32_t seed = 99;

	(void)state;
	model = open_model(MODEL);
	for (int i = 0; i < LENGTH; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (uint8_t)(7 + (seed >> 24) % 5);
	}
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	crocuta_model_close(model);
	return 0;
}

static crocuta_session *session_on(const char *device)
{
	crocuta_session_options o;

	crocuta_session_options_init(&o);
	o.device = device;
	o.max_length = LENGTH;
	return new_session(model, &o);
}

static void every_layer_equals_the_plain_loops(void **state)
{
	crocuta_session *cpu = session_on("cpu"), *plain = session_on("reference");
	crocuta_sequence q = {tokens, LENGTH, 0};
	crocuta_error error = {0};

	(void)state;
	for (int layer = 0; layer <= 4; layer++) {
		crocuta_request request = {.layer = layer, .want_hidden = 1,
					   .want_logits = layer == 4, .rows = collect_rows};
		collected a, b;
		double scale = 1e-30;

		collect_new(&a, model, 1, LENGTH);
		collect_new(&b, model, 1, LENGTH);
		request.user = &a;
		assert_int_equal(crocuta_session_run(cpu, &q, 1, &request, &error), 0);
		request.user = &b;
		assert_int_equal(crocuta_session_run(plain, &q, 1, &request, &error), 0);
		for (int i = 0; i < LENGTH * 64; i++)
			scale = fabs(b.hidden[i]) > scale ? fabs(b.hidden[i]) : scale;
		if (largest_difference(a.hidden, b.hidden, LENGTH * 64) > 1e-5 * scale)
			fail_msg("layer %d: off by %g of %g", layer,
				 largest_difference(a.hidden, b.hidden, LENGTH * 64), scale);
		if (layer == 4)
			assert_true(largest_difference(a.logits, b.logits, LENGTH * 16) <= 1e-4);
		collect_free(&a);
		collect_free(&b);
	}
	crocuta_session_free(cpu);
	crocuta_session_free(plain);
}

static void reports_only_the_rows_asked_for(void **state)
{
	static const int64_t from[] = {0, 1, 2, 13, 14, 699, 700};
	crocuta_session *s = session_on("cpu");
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = collect_rows};
	crocuta_sequence q = {tokens, LENGTH, 0};
	crocuta_error error = {0};
	collected whole;

	(void)state;
	collect_new(&whole, model, 1, LENGTH);
	request.user = &whole;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
	for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
		collected part;

		collect_new(&part, model, 1, LENGTH);
		request.user = &part;
		q.report_from = from[i];
		assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
		for (int64_t row = 0; row < from[i]; row++)
			assert_true(isnan(part.hidden[row * 64]));
		assert_memory_equal(part.hidden + from[i] * 64, whole.hidden + from[i] * 64,
				    4 * (LENGTH - from[i]) * 64);
		collect_free(&part);
	}
	collect_free(&whole);
	crocuta_session_free(s);
}

static int count_rows(void *user, int64_t sequence, int64_t first, int64_t count,
		      const float *hidden, const float *logits)
{
	(void)sequence;
	(void)first;
	(void)hidden;
	(void)logits;
	*(int64_t *)user += count;
	return CROCUTA_ESTOPPED;
}

static void stops_when_the_caller_says_so(void **state)
{
	crocuta_sequence q[3] = {{tokens, 50, 0}, {tokens, 60, 0}, {tokens, 70, 0}};
	crocuta_session *s = session_on("cpu");
	crocuta_error error = {0};
	int64_t rows = 0;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = count_rows,
				   .user = &rows};

	(void)state;
	assert_int_equal(crocuta_session_run(s, q, 3, &request, &error), CROCUTA_ESTOPPED);
	assert_int_equal(rows, 50);
	crocuta_session_free(s);
}

static void refuses_what_it_cannot_do(void **state)
{
	crocuta_session *s = session_on("cpu");
	uint8_t bad[3] = {7, 16, 8};
	int64_t rows = 0;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = count_rows,
				   .user = &rows};
	crocuta_sequence q = {tokens, LENGTH + 1, 0};
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	q.length = 0;
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	q = (crocuta_sequence){tokens, 10, 11};
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	q = (crocuta_sequence){bad, 3, 0};
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "token 16 at position 1"));
	q = (crocuta_sequence){tokens, 10, 0};
	request.layer = 5;
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	request.layer = 2;
	request.want_logits = 1;
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	request = (crocuta_request){.layer = -1, .want_hidden = 1, .rows = count_rows,
				    .user = &rows};
	error.code = 0;
	assert_int_equal(crocuta_session_stream(s, tokens, 5, 1, &request, &error), CROCUTA_EARG);
	assert_int_equal(rows, 0);
	crocuta_session_free(s);
}

static int sum_pooled(void *user, int64_t sequence, int64_t first, int64_t count, const double *values)
{
	double *sums = user; /* by segment, of the first column */

	assert_int_equal(sequence, 0);
	for (int64_t i = 0; i < count; i++)
		sums[first + i] = values[i * 64];
	return 0;
}

static void segments_are_pooled(void **state)
{
	static const int64_t ends[] = {5, 40, 41};
	crocuta_segments segments = {ends, 3};
	crocuta_pooling pooling = {CROCUTA_POOL_SUM, &segments, sum_pooled};
	double sums[3] = {0}, expected = 0;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .user = sums, .pooling = &pooling};
	crocuta_session *s = session_on("cpu");
	crocuta_sequence q = {tokens, 50, 3};
	crocuta_error error = {0};
	collected c;

	(void)state;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
	collect_new(&c, model, 1, LENGTH);
	assert_int_equal(crocuta_session_run(s, &q, 1,
					     &(crocuta_request){.layer = -1, .want_hidden = 1,
								.rows = collect_rows, .user = &c},
					     &error),
			 0);
	for (int i = 5; i < 40; i++)
		expected += (double)c.hidden[i * 64];
	assert_true(sums[1] == expected);
	assert_true(sums[2] == (double)c.hidden[40 * 64]);
	collect_free(&c);
	q.report_from = 5; /* the first segment would be empty */
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	q = (crocuta_sequence){tokens, 40, 0};
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	q.length = 50;
	segments = (crocuta_segments){ends, -1};
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	segments = (crocuta_segments){NULL, 1};
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "1 segments and no ends"));
	segments = (crocuta_segments){NULL, 0}; /* nothing of it is wanted */
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
	segments = (crocuta_segments){ends, 3};
	pooling.kind = 0;
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	pooling.kind = CROCUTA_POOL_MAX;
	request.want_logits = 1;
	error.code = 0;
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), CROCUTA_EARG);
	crocuta_session_free(s);
}

static void options_are_checked(void **state)
{
	static const struct {
		const char *device, *isa;
		int threads;
		int64_t length, limit;
		int code;
	} cases[] = {
		{"cuda", NULL, 1, 0, 0, CROCUTA_EDEVICE},  {"gpu", NULL, 1, 0, 0, CROCUTA_EARG},
		{"cpu", "avx9", 1, 0, 0, CROCUTA_EARG},	   {"cpu", NULL, -1, 0, 0, CROCUTA_EARG},
		{"cpu", NULL, 5000, 0, 0, CROCUTA_EARG},   {"cpu", NULL, 1, 4099, 0, CROCUTA_EARG},
		{"cpu", NULL, 1, -1, 0, CROCUTA_EARG},	   {"cpu", NULL, 1, 0, 1000, CROCUTA_EMEMORY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		crocuta_session_options o;
		crocuta_error error = {0};
		crocuta_session *s;
		crocuta_plan plan;

		crocuta_session_options_init(&o);
		o.device = cases[i].device;
		o.isa = cases[i].isa;
		o.threads = cases[i].threads;
		o.max_length = cases[i].length;
		o.memory_limit = cases[i].limit;
		assert_int_equal(crocuta_session_new(model, &o, &s, &error), cases[i].code);
		assert_null(s);
		assert_true(error.message[0] != '\0');
		error.code = 0;
		assert_int_equal(crocuta_session_plan(model, &o, &plan, &error), cases[i].code);
	}
}

/* A small memory limit makes the blocks share one filter that is rebuilt: same numbers. */
static void shared_filters_give_the_same_bytes(void **state)
{
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = collect_rows};
	crocuta_sequence q[2] = {{tokens, LENGTH, 0}, {tokens, 311, 5}};
	crocuta_session_options o;
	crocuta_session *kept, *shared;
	crocuta_error error = {0};
	collected a, b;
	int64_t filters;

	(void)state;
	crocuta_session_options_init(&o);
	o.convolution = CROCUTA_CONVOLUTION_FFT;
	o.threads = 1;
	kept = new_session(model, &o);
	filters = crocuta_session_get_plan(kept)->filter_bytes;
	o.memory_limit = 3 * filters / 2;
	shared = new_session(model, &o);
	assert_true(crocuta_session_get_plan(shared)->filter_bytes < filters / 2);
	collect_new(&a, model, 2, LENGTH);
	collect_new(&b, model, 2, LENGTH);
	request.user = &a;
	assert_int_equal(crocuta_session_run(kept, q, 2, &request, &error), 0);
	request.user = &b;
	assert_int_equal(crocuta_session_run(shared, q, 2, &request, &error), 0);
	assert_memory_equal(a.hidden, b.hidden, 4 * LENGTH * 64);
	assert_memory_equal(a.hidden + (LENGTH + 5) * 64, b.hidden + (LENGTH + 5) * 64,
			    4 * 306 * 64);
	collect_free(&a);
	collect_free(&b);
	crocuta_session_free(kept);
	crocuta_session_free(shared);
}

static void a_stream_keeps_its_layer(void **state)
{
	int64_t rows = 0;
	crocuta_request request = {.layer = 1, .want_hidden = 1, .rows = count_rows,
				   .user = &rows};
	crocuta_session_options o;
	crocuta_session *s;
	crocuta_error error = {0};

	(void)state;
	crocuta_session_options_init(&o);
	o.stream = 1;
	s = new_session(model, &o);
	assert_int_equal(crocuta_session_stream(s, tokens, 10, 0, &request, &error), 0);
	request.layer = 2;
	assert_int_equal(crocuta_session_stream(s, tokens, 10, 0, &request, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "begun with layer 1"));
	/* refused means over: a new stream starts at position 0, with any layer */
	error.code = 0;
	assert_int_equal(crocuta_session_stream(s, tokens, 10, 0, &request, &error), 0);
	assert_int_equal(rows, 0);
	assert_int_equal(crocuta_session_stream(s, NULL, 0, 1, &request, &error),
			 CROCUTA_ESTOPPED);
	assert_int_equal(rows, 10);
	crocuta_session_free(s);
}

/* What a session takes from the allocator is what its plan said, within 5 % and 2 MB. */
static void the_plan_is_what_is_allocated(void **state)
{
	static const int threads[] = {1, 9};

	(void)state;
	for (int i = 0; i < 8; i++) {
		crocuta_session_options o;
		struct mallinfo2 before, after;
		double taken, planned;
		crocuta_session *s;

		crocuta_session_options_init(&o);
		o.threads = threads[i % 2];
		o.stream = i / 2 == 1;
		o.max_length = i / 2 == 2 ? 600 : 0;
		o.memory_limit = i / 2 == 3 && threads[i % 2] == 1 ? 30000000 : 0;
		before = mallinfo2();
		s = new_session(model, &o);
		after = mallinfo2();
		/* a large block is mapped with 2 MiB to spare, which are never touched */
		taken = (double)(after.uordblks + after.hblkhd) -
			(double)(before.uordblks + before.hblkhd) -
			2097152.0 * (double)(after.hblks - before.hblks);
		planned = (double)crocuta_session_get_plan(s)->total_bytes;
		if (after.uordblks && (taken > planned * 1.05 + 2e6 || taken < planned * 0.7 - 4e6))
			fail_msg("case %d: planned %.0f, took %.0f bytes", i, planned, taken);
		crocuta_session_free(s);
	}
}

/* With stream, only every 17th: the filters take long. */
static void fail_allocations(int stream)
{
	crocuta_session_options o;
	int64_t n = 1;

	crocuta_session_options_init(&o);
	o.threads = 2;
	o.max_length = 64;
	o.stream = stream;
	for (;; n += stream ? 17 : 1) {
		crocuta_error error = {0};
		crocuta_session *s;
		int code;

		cr_memory_fail_at(n);
		code = crocuta_session_new(model, &o, &s, &error);
		cr_memory_fail_at(0);
		if (!code) {
			crocuta_session_free(s);
			break;
		}
		assert_int_equal(code, CROCUTA_EMEMORY);
		assert_null(s);
		assert_true(error.message[0] != '\0');
		assert_true(n < 100000);
	}
	assert_true(n > 50);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	fail_allocations(0);
	fail_allocations(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_layer_equals_the_plain_loops),
		cmocka_unit_test(reports_only_the_rows_asked_for),
		cmocka_unit_test(stops_when_the_caller_says_so),
		cmocka_unit_test(refuses_what_it_cannot_do),
		cmocka_unit_test(segments_are_pooled),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(shared_filters_give_the_same_bytes),
		cmocka_unit_test(a_stream_keeps_its_layer),
		cmocka_unit_test(the_plan_is_what_is_allocated),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests_name("model session", tests, open_all, close_all);
}
