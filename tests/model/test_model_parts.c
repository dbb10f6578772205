/* test_model_parts.c - one sequence on several GPUs (--parallel sequence) against the same on one: the same bytes.
 *
 * One GPU stands for all: it is listed more than once, and the ranks are threads. Skipped where there is no GPU or
 * no GPU backend, unless CROCUTA_NEED_GPU is set (make check-cuda).
 */
#define _GNU_SOURCE
#include "made_model.h"

#define MOST_PARTS 24

/* "cuda:0,0,..."; of two parts what CROCUTA_TEST_GPUS says, "cuda:0,1" for NCCL. */
static const char *gpus(int parts)
{
	static char name[5 + 2 * MOST_PARTS + 1];
	const char *real = getenv("CROCUTA_TEST_GPUS");
	int used;

	if (real && parts == 2)
		return real;
	used = snprintf(name, sizeof name, "cuda:0");

	assert_true(parts <= MOST_PARTS);
	for (int i = 1; i < parts; i++)
		used += snprintf(name + used, sizeof name - (size_t)used, ",0");
	return name;
}

static crocuta_session_options options_of(int parts, int64_t length, int dtype)
{
	crocuta_session_options o;

	crocuta_session_options_init(&o);
	o.device = gpus(parts);
	o.dtype = dtype;
	o.parallel = CROCUTA_PARALLEL_SEQUENCE;
	o.max_length = length;
	return o;
}

static crocuta_session *session_of(const crocuta_model *model, int parts, int64_t length, int dtype)
{
	const crocuta_session_options o = options_of(parts, length, dtype);

	return new_session(model, &o);
}

/* To be called while there is nothing to free. */
static void skip_without_gpu(void)
{
	crocuta_model *model = open_model("models/tiny-1k");
	const crocuta_session_options o = options_of(1, 0, CROCUTA_DTYPE_F32);
	crocuta_error error = {0};
	crocuta_plan plan;
	const int code = crocuta_session_plan(model, &o, &plan, &error);

	crocuta_model_close(model);
	if (code == CROCUTA_EDEVICE && !getenv("CROCUTA_NEED_GPU"))
		skip();
	if (code)
		fail_msg("%s", error.message);
}

static uint8_t *made_tokens(int64_t length)
{
	uint8_t *tokens = malloc((size_t)length);
	uint32_t seed = 77;

	assert_non_null(tokens);
	for (int64_t i = 0; i < length; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (uint8_t)(7 + (seed >> 24) % 4);
	}
	return tokens;
}

static void run_layer(crocuta_session *s, const crocuta_sequence *q, int64_t count, int layer,
		      collected *c)
{
	const crocuta_request request = {.layer = layer, .want_hidden = 1,
					 .want_logits = layer < 0, .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	if (crocuta_session_run(s, q, count, &request, &error))
		fail_msg("%s", error.message);
}

/* Rows of all sequences in the one and the other. */
static void same_rows(const collected *a, const collected *b, const crocuta_sequence *q, int count,
		      int logits, int parts)
{
	for (int i = 0; i < count; i++) {
		const int64_t from = i * a->rows + q[i].report_from;
		const int64_t n = q[i].length - q[i].report_from;
		const double worst = largest_difference(a->hidden + from * a->width,
							b->hidden + from * a->width, n * a->width);

		if (!(worst <= 1e-4))
			fail_msg("%d parts, length %lld: off by %g", parts, (long long)q[i].length,
				 worst);
		assert_memory_equal(a->hidden + from * a->width, b->hidden + from * a->width,
				    4 * (size_t)(n * a->width));
		if (logits)
			assert_memory_equal(a->logits + from * a->vocabulary,
					    b->logits + from * a->vocabulary,
					    4 * (size_t)(n * a->vocabulary));
	}
}

typedef struct compared {
	const char *made;
	int64_t length;
	int dtype;
	int held_16; /* expected: more than 8 moments a block */
} compared;

/* Sequences around the ends of what is computed directly, of blocks and of parts; one is reported in part. */
static int list_sequences(const uint8_t *tokens, int64_t longest, crocuta_sequence *q)
{
	static const int64_t lengths[] = {1, 2500, 300, 2048, 2049, 2561, 4097, 10007, 20001};
	int count = 0;

	for (int i = 0; i < 9; i++)
		if (lengths[i] <= longest)
			q[count++] = (crocuta_sequence){tokens, lengths[i], i == 7 ? 5001 : 0};
	q[count++] = (crocuta_sequence){tokens, longest, 0};
	q[count++] = (crocuta_sequence){tokens + 1, longest - 1, longest - 2};
	return count;
}

static void agrees_with_one_gpu(const compared *shape)
{
	static const int parts[] = {2, 3, MOST_PARTS};
	crocuta_model *model = made_model(shape->made);
	crocuta_session *one = session_of(model, 1, shape->length, shape->dtype);
	const crocuta_plan plan = *crocuta_session_get_plan(one);
	uint8_t *tokens = made_tokens(shape->length);
	crocuta_sequence q[12];
	const int count = list_sequences(tokens, shape->length, q);
	collected a, b;

	print_message("%s: %s, blocks of %lld, rank %d\n", shape->made, plan.convolution,
		      (long long)plan.block, plan.far_rank);
	assert_string_equal(plan.convolution, "nearfar");
	assert_int_equal(plan.far_rank > 8, shape->held_16);
	assert_int_equal(plan.ranks, 1);
	for (int layer = -1; layer < 2; layer++) {
		collect_new(&a, model, count, shape->length);
		run_layer(one, q, count, layer, &a);
		for (int i = 0; i < (layer < 0 ? 3 : 2); i++) {
			crocuta_session *s =
				session_of(model, parts[i], shape->length, shape->dtype);

			assert_int_equal(crocuta_session_get_plan(s)->ranks, parts[i]);
			assert_int_equal(crocuta_session_get_plan(s)->devices, parts[i]);
			collect_new(&b, model, count, shape->length);
			run_layer(s, q, count, layer, &b);
			same_rows(&a, &b, q, count, layer < 0, parts[i]);
			collect_free(&b);
			crocuta_session_free(s);
		}
		collect_free(&a);
	}
	free(tokens);
	crocuta_session_free(one);
	crocuta_model_close(model);
}

static void same_bytes_as_one_gpu(void **state)
{
	static const compared shapes[] = {
		{"--width 40 --inner 64 --layers 3 --max-length 160002", 20002,
		 CROCUTA_DTYPE_F32, 0},
		{"--width 128 --layers 2 --max-length 65538", 40000, CROCUTA_DTYPE_F32, 1},
		{"--width 256 --inner 1024 --layers 2 --max-length 65538", 40000,
		 CROCUTA_DTYPE_BF16, 0},
	};

	(void)state;
	skip_without_gpu();
	for (int i = 0; i < 3; i++)
		agrees_with_one_gpu(&shapes[i]);
}

/* Blocks of 512, an odd number of them, and a part's memory. */
static void long_sequences(void **state)
{
	const int64_t length = 600000;
	crocuta_model *model;
	crocuta_session *one, *two;
	uint8_t *tokens;
	crocuta_sequence q[2];
	collected a, b;

	(void)state;
	skip_without_gpu();
	model = made_model("--width 64 --layers 2 --max-length 1000002");
	tokens = made_tokens(length);
	q[0] = (crocuta_sequence){tokens, 2500, 0};
	q[1] = (crocuta_sequence){tokens, length, 0};
	one = session_of(model, 1, length, CROCUTA_DTYPE_F32);
	two = session_of(model, 2, length, CROCUTA_DTYPE_F32);
	print_message("blocks of %lld; %lld bytes for all, %lld for a half\n",
		      (long long)crocuta_session_get_plan(one)->block,
		      (long long)crocuta_session_get_plan(one)->device_bytes,
		      (long long)crocuta_session_get_plan(two)->rank_bytes);
	assert_true(crocuta_session_get_plan(two)->block >= 512);
	assert_true((double)crocuta_session_get_plan(two)->rank_bytes <=
		    0.6 * (double)crocuta_session_get_plan(one)->device_bytes);
	collect_new(&a, model, 2, length);
	collect_new(&b, model, 2, length);
	run_layer(one, q, 2, -1, &a);
	run_layer(two, q, 2, -1, &b);
	same_rows(&a, &b, q, 2, 1, 2);
	collect_free(&a);
	collect_free(&b);
	crocuta_session_free(one);
	crocuta_session_free(two);
	free(tokens);
	crocuta_model_close(model);
}

/* ---- pooled rows ----------------------------------------------------------------------------- */

#define SEGMENTS 6000 /* more than a slot holds of a part */

typedef struct pooled_rows {
	double *values; /* (2, SEGMENTS, width) */
	int64_t width, next[2];
} pooled_rows;

static int collect_pooled(void *user, int64_t sequence, int64_t first, int64_t count,
			  const double *values)
{
	pooled_rows *p = user;

	assert_int_equal(first, p->next[sequence]);
	p->next[sequence] += count;
	memcpy(p->values + (sequence * SEGMENTS + first) * p->width, values,
	       (size_t)(count * p->width) * sizeof *values);
	return 0;
}

static pooled_rows pool(crocuta_session *s, const crocuta_sequence *q,
			const crocuta_segments *segments, int kind, int64_t width)
{
	const crocuta_pooling pooling = {kind, segments, collect_pooled};
	pooled_rows p = {.width = width};
	const crocuta_request request = {.layer = -1, .want_hidden = 1, .user = &p,
					 .pooling = &pooling};
	crocuta_error error = {0};

	p.values = malloc((size_t)(2 * SEGMENTS * width) * sizeof *p.values);
	assert_non_null(p.values);
	for (int64_t i = 0; i < 2 * SEGMENTS * width; i++)
		p.values[i] = NAN;
	if (crocuta_session_run(s, q, 2, &request, &error))
		fail_msg("%s", error.message);
	for (int i = 0; i < 2; i++)
		assert_int_equal(p.next[i], segments[i].count);
	return p;
}

static void segments_across_parts(void **state)
{
	const int64_t length = 20000;
	const crocuta_pooling kinds[] = {{.kind = CROCUTA_POOL_SUM},
					 {.kind = CROCUTA_POOL_MAX},
					 {.kind = CROCUTA_POOL_LAST}};
	int64_t many[SEGMENTS], few[] = {100, 19000, 19999};
	crocuta_model *model;
	crocuta_session *one;
	uint8_t *tokens;

	(void)state;
	skip_without_gpu();
	model = made_model("--width 40 --inner 64 --layers 2 --max-length 160002");
	tokens = made_tokens(length);
	for (int64_t i = 0; i < SEGMENTS; i++)
		many[i] = 10 + 3 * (i + 1);
	one = session_of(model, 1, length, CROCUTA_DTYPE_F32);
	for (int parts = 2; parts <= 4; parts++) {
		crocuta_session *s = session_of(model, parts, length, CROCUTA_DTYPE_F32);
		const crocuta_sequence q[] = {{tokens, length, 10}, {tokens, length, 5}};
		const crocuta_segments segments[] = {{many, SEGMENTS}, {few, 3}};

		for (int k = 0; k < 3; k++) {
			pooled_rows a = pool(one, q, segments, kinds[k].kind, 40);
			pooled_rows b = pool(s, q, segments, kinds[k].kind, 40);

			for (int64_t i = 0; i < 2 * SEGMENTS * 40; i++) {
				if (i >= (SEGMENTS + 3) * 40)
					break;
				if (!(fabs(a.values[i] - b.values[i]) <=
				      1e-10 * (1 + fabs(a.values[i]))))
					fail_msg("%d parts, kind %d, value %lld: %g, not %g", parts,
						 kinds[k].kind, (long long)i, b.values[i],
						 a.values[i]);
			}
			free(a.values);
			free(b.values);
		}
		crocuta_session_free(s);
	}
	crocuta_session_free(one);
	free(tokens);
	crocuta_model_close(model);
}

/* ---- refusals and failures ------------------------------------------------------------------- */

static int stop_at(void *user, int64_t sequence, int64_t first, int64_t count, const float *hidden,
		   const float *logits)
{
	(void)first;
	(void)count;
	(void)hidden;
	(void)logits;
	return sequence == *(int64_t *)user ? 99 : 0;
}

/* The caller stops in the middle of many sequences, and then goes on. */
static void callers_stop(void **state)
{
	enum { COUNT = 9 };
	const int64_t length = 5000;
	crocuta_model *model;
	crocuta_session *one, *s;
	crocuta_sequence q[COUNT];
	uint8_t *tokens;
	collected a, b;

	(void)state;
	skip_without_gpu();
	model = made_model("--width 40 --inner 64 --layers 2 --max-length 160002");
	tokens = made_tokens(length);
	for (int i = 0; i < COUNT; i++)
		q[i] = (crocuta_sequence){tokens, length - 100 * i, 0};
	one = session_of(model, 1, length, CROCUTA_DTYPE_F32);
	s = session_of(model, 3, length, CROCUTA_DTYPE_F32);
	for (int64_t at = 0; at < COUNT; at += 4) {
		const crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = stop_at,
						 .user = &at};
		crocuta_error error = {0};

		assert_int_equal(crocuta_session_run(s, q, COUNT, &request, &error), 99);
	}
	collect_new(&a, model, COUNT, length);
	collect_new(&b, model, COUNT, length);
	run_layer(one, q, COUNT, -1, &a);
	run_layer(s, q, COUNT, -1, &b);
	same_rows(&a, &b, q, COUNT, 1, 3);
	collect_free(&a);
	collect_free(&b);
	crocuta_session_free(one);
	crocuta_session_free(s);
	free(tokens);
	crocuta_model_close(model);
}

static void refused(const crocuta_model *model, const crocuta_session_options *o, int code,
		    const char *why)
{
	crocuta_error error = {0};
	crocuta_plan plan;

	assert_int_equal(crocuta_session_plan(model, o, &plan, &error), code);
	if (!strstr(error.message, why))
		fail_msg("said: %s", error.message);
}

static void what_cannot_be_shared(void **state)
{
	crocuta_session_options o;
	crocuta_model *model;

	(void)state;
	skip_without_gpu();
	model = made_model("--width 40 --inner 64 --layers 2 --max-length 160002");
	o = options_of(2, 20000, CROCUTA_DTYPE_F32);
	o.change_length = 10;
	refused(model, &o, CROCUTA_EARG, "no changes");
	o = options_of(2, 20000, CROCUTA_DTYPE_F32);
	o.stream = 1;
	refused(model, &o, CROCUTA_EARG, "stream");
	o = options_of(2, 20000, CROCUTA_DTYPE_F32);
	o.convolution = CROCUTA_CONVOLUTION_FFT;
	refused(model, &o, CROCUTA_EARG, "--conv fft");
	crocuta_model_close(model);
	model = made_model("--width 40 --inner 64 --layers 2 --max-length 20002 --rough");
	o = options_of(2, 20000, CROCUTA_DTYPE_F32);
	refused(model, &o, CROCUTA_EMODEL, "needs the near/far form, which is not certified");
	crocuta_model_close(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes_as_one_gpu),
		cmocka_unit_test(long_sequences),
		cmocka_unit_test(segments_across_parts),
		cmocka_unit_test(callers_stop),
		cmocka_unit_test(what_cannot_be_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
