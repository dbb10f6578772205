/* test_model_changes.c - changes against whole sequences: the shortcuts are exact. */
#define _GNU_SOURCE
#include "made_model.h"

/* Of logits, which are a few units large, and of hidden, about 1. */
#define TOLERANCE 1e-4

enum { CHANGES = 24 };

/* CROCUTA_TEST_DEVICE, or NULL */
static const char *device;

/* A sequence with changes of many kinds, and room for the rows that come back. */
typedef struct changes_case {
	const crocuta_model *model;
	int64_t length, longest, width, vocabulary;
	uint8_t *tokens, *other[CHANGES];
	crocuta_change change[CHANGES];
	float *hidden[CHANGES], *logits[CHANGES], *reference_hidden[CHANGES],
		*reference_logits[CHANGES], *before[CHANGES];
	int seen[CHANGES], called_back;
	int64_t offset; /* of the first change in the call */
} changes_case;

static float *poisoned(int64_t count)
{
	float *values = malloc((size_t)count * sizeof *values);

	assert_non_null(values);
	for (int64_t i = 0; i < count; i++)
		values[i] = NAN;
	return values;
}

static uint8_t next_base(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (uint8_t)(7 + (*seed >> 24) % 5);
}

/* Kind 0: one base; 1: six; 2: seven; 3: everything from there on (an indel); 4: nothing. */
static void make_change(changes_case *c, int i, int64_t at, int64_t length, int kind, uint32_t *seed)
{
	static const int64_t differing[] = {1, 6, 7, INT32_MAX, 0};

	c->other[i] = malloc((size_t)length);
	assert_non_null(c->other[i]);
	for (int64_t t = 0; t < length; t++) {
		const uint8_t own = c->tokens[at + t];

		c->other[i][t] = own;
		if (kind == 3)
			c->other[i][t] = next_base(seed);
		else if (t < differing[kind])
			c->other[i][t] = own == 7 ? 9 : 7;
	}
	c->change[i] = (crocuta_change){.at = at, .length = length, .tokens = c->other[i]};
	c->hidden[i] = poisoned(length * c->width);
	c->logits[i] = poisoned(length * c->vocabulary);
	c->reference_hidden[i] = poisoned(length * c->width);
	c->reference_logits[i] = poisoned(length * c->vocabulary);
	c->before[i] = poisoned(c->vocabulary);
}

static void make_case(changes_case *c, const crocuta_model *model, int64_t length, int64_t longest)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	uint32_t seed = 7;

	memset(c, 0, sizeof *c);
	c->model = model;
	c->length = length;
	c->longest = longest;
	c->width = info->width;
	c->vocabulary = info->vocabulary;
	c->tokens = malloc((size_t)length);
	assert_non_null(c->tokens);
	for (int64_t i = 0; i < length; i++)
		c->tokens[i] = next_base(&seed);
	/* starts 0, 1, 2, then spread to the last possible ones; lengths 1 to the longest */
	for (int i = 0; i < CHANGES; i++) {
		int64_t at = i < 3 ? i : 2 + (length - longest - 2) * (i - 2) / (CHANGES - 3);
		int64_t size = i == 5 ? 1 : i == 6 ? 2 : i % 4 == 1 ? longest / 2 + 1 : longest;

		if (i == CHANGES - 1) {
			at = length - 1;
			size = 1;
		}
		make_change(c, i, at, size, i < 3 ? 0 : i % 5, &seed);
	}
}

static void free_case(changes_case *c)
{
	for (int i = 0; i < CHANGES; i++) {
		free(c->other[i]);
		free(c->hidden[i]);
		free(c->logits[i]);
		free(c->reference_hidden[i]);
		free(c->reference_logits[i]);
		free(c->before[i]);
	}
	free(c->tokens);
}

static int keep_rows(void *user, const crocuta_change_rows *r)
{
	changes_case *c = user;
	const int64_t i = c->offset + r->change, n = r->count;

	if (n != c->change[i].length || (r->before == NULL) != (c->change[i].at == 0))
		return CROCUTA_EINTERNAL;
	memcpy(c->hidden[i], r->hidden, sizeof(float) * (size_t)(n * c->width));
	memcpy(c->logits[i], r->logits, sizeof(float) * (size_t)(n * c->vocabulary));
	memcpy(c->reference_hidden[i], r->reference_hidden, sizeof(float) * (size_t)(n * c->width));
	memcpy(c->reference_logits[i], r->reference_logits,
	       sizeof(float) * (size_t)(n * c->vocabulary));
	if (r->before)
		memcpy(c->before[i], r->before, sizeof(float) * (size_t)c->vocabulary);
#pragma omp atomic
	c->seen[i]++;
	if (r->on_caller) {
#pragma omp atomic write
		c->called_back = 1;
	}
	return 0;
}

static crocuta_session_options options_for(const changes_case *c, int convolution, int threads)
{
	crocuta_session_options o;

	crocuta_session_options_init(&o);
	o.device = device;
	o.max_length = c->length;
	o.change_length = c->longest;
	o.convolution = convolution;
	o.threads = threads;
	return o;
}

static void run_changes(changes_case *c, const crocuta_session_options *o, int64_t from, int64_t to)
{
	crocuta_session *s = new_session(c->model, o);
	crocuta_changed_sequence q = {c->tokens, c->length, c->change + from, to - from};
	crocuta_error error = {0};

	c->offset = from;
	if (crocuta_session_changes(s, &q, 1, keep_rows, c, &error))
		fail_msg("%s", error.message);
	crocuta_session_free(s);
}

/* Rows at .. of a whole sequence that has the change in it, and of the sequence itself. */
static void compare_with_whole(changes_case *c, int convolution)
{
	crocuta_session_options o = options_for(c, convolution, 2);
	crocuta_session *s;
	collected reference;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .want_logits = 1,
				   .rows = collect_rows, .user = &reference};
	crocuta_sequence q = {c->tokens, c->length, 0};
	crocuta_error error = {0};

	o.change_length = 0;
	s = new_session(c->model, &o);
	collect_new(&reference, c->model, 1, c->length);
	assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
	for (int i = 0; i < CHANGES; i++) {
		const crocuta_change *change = &c->change[i];
		uint8_t *whole = malloc((size_t)c->length);
		collected other;
		const float *want[5], *got[5] = {c->hidden[i], c->logits[i], c->reference_hidden[i],
						 c->reference_logits[i], c->before[i]};
		const int64_t size[5] = {c->width, c->vocabulary, c->width, c->vocabulary,
					 c->vocabulary};

		assert_non_null(whole);
		memcpy(whole, c->tokens, (size_t)c->length);
		memcpy(whole + change->at, change->tokens, (size_t)change->length);
		collect_new(&other, c->model, 1, c->length);
		request.user = &other;
		q.tokens = whole;
		q.length = change->at + change->length;
		assert_int_equal(crocuta_session_run(s, &q, 1, &request, &error), 0);
		want[0] = other.hidden + change->at * c->width;
		want[1] = other.logits + change->at * c->vocabulary;
		want[2] = reference.hidden + change->at * c->width;
		want[3] = reference.logits + change->at * c->vocabulary;
		want[4] = change->at ? reference.logits + (change->at - 1) * c->vocabulary : NULL;
		assert_int_equal(c->seen[i], 1);
		for (int a = 0; a < 5; a++) {
			const int64_t rows = a == 4 ? 1 : change->length;
			double worst = want[a] ? largest_difference(want[a], got[a], rows * size[a])
					       : 0;

			if (!(worst <= TOLERANCE))
				fail_msg("change %d at %lld, %lld tokens: array %d is off by %g", i,
					 (long long)change->at, (long long)change->length, a, worst);
		}
		collect_free(&other);
		free(whole);
	}
	collect_free(&reference);
	crocuta_session_free(s);
}

static void clear_rows(changes_case *c)
{
	for (int i = 0; i < CHANGES; i++) {
		c->seen[i] = 0;
		for (int64_t t = 0; t < c->change[i].length * c->width; t++)
			c->hidden[i][t] = NAN;
		for (int64_t t = 0; t < c->change[i].length * c->vocabulary; t++)
			c->logits[i][t] = NAN;
	}
}

/* The same bytes on any number of threads and with any other changes beside. */
static void compare_bytes(changes_case *c, int convolution)
{
	static const int threads[] = {1, 3, 7};
	float *hidden[CHANGES], *logits[CHANGES];

	for (int i = 0; i < CHANGES; i++) {
		const size_t n = (size_t)c->change[i].length;

		hidden[i] = malloc(n * (size_t)c->width * sizeof(float));
		logits[i] = malloc(n * (size_t)c->vocabulary * sizeof(float));
		assert_non_null(hidden[i]);
		assert_non_null(logits[i]);
		memcpy(hidden[i], c->hidden[i], n * (size_t)c->width * sizeof(float));
		memcpy(logits[i], c->logits[i], n * (size_t)c->vocabulary * sizeof(float));
	}
	for (int t = 0; t < 3; t++) {
		crocuta_session_options o = options_for(c, convolution, threads[t]);

		clear_rows(c);
		for (int i = 0; i < CHANGES; i += t == 2 ? CHANGES : 5)
			run_changes(c, &o, i, t == 2 || i + 5 > CHANGES ? CHANGES : i + 5);
		for (int i = 0; i < CHANGES; i++) {
			const size_t n = (size_t)c->change[i].length;

			assert_memory_equal(hidden[i], c->hidden[i],
					    n * (size_t)c->width * sizeof(float));
			assert_memory_equal(logits[i], c->logits[i],
					    n * (size_t)c->vocabulary * sizeof(float));
		}
	}
	for (int i = 0; i < CHANGES; i++) {
		free(hidden[i]);
		free(logits[i]);
	}
}

static void check_case(const crocuta_model *model, int64_t length, int64_t longest, int convolution)
{
	crocuta_session_options o;
	changes_case c;

	make_case(&c, model, length, longest);
	o = options_for(&c, convolution, 2);
	run_changes(&c, &o, 0, CHANGES);
	assert_true(c.called_back);
	compare_with_whole(&c, convolution);
	compare_bytes(&c, convolution);
	free_case(&c);
}

static void short_sequences(void **state)
{
	crocuta_model *model = open_model("test-data/golden/hyenadna-d64-n4-m4098");

	(void)state;
	check_case(model, 700, 100, CROCUTA_CONVOLUTION_AUTO);
	check_case(model, 1500, 700, CROCUTA_CONVOLUTION_AUTO);
	check_case(model, 132, 130, CROCUTA_CONVOLUTION_AUTO);
	crocuta_model_close(model);
}

/* A long window of a made-up model: chunks with carried state, or exact segments as a whole. */
static void long_sequences(void **state)
{
	crocuta_model *model = made_model("--width 40 --inner 64 --layers 2 --max-length 65538");

	(void)state;
	check_case(model, 9100, 300, CROCUTA_CONVOLUTION_NEARFAR);
	check_case(model, 12000, 5000, CROCUTA_CONVOLUTION_NEARFAR);
	check_case(model, 9100, 2500, CROCUTA_CONVOLUTION_FFT);
	crocuta_model_close(model);
}

static void many_sequences_and_the_plain_loops(void **state)
{
	crocuta_model *model = open_model("test-data/golden/hyenadna-d64-n4-m4098");
	changes_case c, plain;
	crocuta_session_options o;
	crocuta_changed_sequence q[CHANGES];
	crocuta_error error = {0};
	crocuta_session *s;

	(void)state;
	make_case(&c, model, 160, 40);
	make_case(&plain, model, 160, 40);
	o = options_for(&c, CROCUTA_CONVOLUTION_AUTO, 2);
	s = new_session(model, &o);
	/* the i-th sequence has changes up to i: what a sequence's others are must not matter */
	for (int i = 0; i < CHANGES; i++)
		q[i] = (crocuta_changed_sequence){c.tokens, c.length, c.change, i + 1};
	assert_int_equal(crocuta_session_changes(s, q, CHANGES, keep_rows, &c, &error), 0);
	for (int i = 0; i < CHANGES; i++)
		assert_int_equal(c.seen[i], CHANGES - i);
	crocuta_session_free(s);
	o.device = "reference";
	run_changes(&plain, &o, 0, CHANGES);
	for (int i = 0; i < CHANGES; i++) {
		const int64_t n = c.change[i].length;

		assert_true(largest_difference(c.hidden[i], plain.hidden[i], n * c.width) <= 1e-4);
		assert_true(largest_difference(c.logits[i], plain.logits[i], n * c.vocabulary) <=
			    1e-4);
	}
	free_case(&c);
	free_case(&plain);
	crocuta_model_close(model);
}

static int stop_at_once(void *user, const crocuta_change_rows *rows)
{
	(void)user;
	(void)rows;
	return CROCUTA_ESTOPPED;
}

static void refuses_what_it_cannot_do(void **state)
{
	crocuta_model *model = open_model("test-data/golden/hyenadna-d64-n4-m4098");
	uint8_t tokens[100], other[20];
	crocuta_change changes[2] = {{10, 20, other}, {30, 20, other}};
	crocuta_changed_sequence q = {tokens, 100, changes, 2};
	crocuta_session_options o;
	crocuta_session *s, *none;
	crocuta_error error = {0};

	(void)state;
	memset(tokens, 7, sizeof tokens);
	memset(other, 8, sizeof other);
	crocuta_session_options_init(&o);
	o.max_length = 100;
	s = new_session(model, &o);
	assert_int_equal(crocuta_session_changes(s, &q, 1, stop_at_once, NULL, &error), CROCUTA_EARG);
	crocuta_session_free(s);
	for (int i = 0; i < 4; i++) {
		static const int64_t bad[] = {-1, 101, CROCUTA_CHANGE_LENGTH_MAX + 1, 20};

		memset(&error, 0, sizeof error);
		o.change_length = bad[i];
		o.stream = i == 3;
		assert_int_equal(crocuta_session_new(model, &o, &none, &error), CROCUTA_EARG);
		assert_null(none);
	}
	o.stream = 0;
	o.change_length = 20;
	s = new_session(model, &o);
#define REFUSED(text)                                                                              \
	do {                                                                                       \
		memset(&error, 0, sizeof error);                                                   \
		assert_int_equal(crocuta_session_changes(s, &q, 1, stop_at_once, NULL, &error),    \
				 CROCUTA_EARG);                                                    \
		assert_non_null(strstr(error.message, text));                                      \
	} while (0)
	changes[1].at = 81;
	REFUSED("not inside");
	changes[1].at = 9;
	REFUSED("not in order");
	changes[1].at = 80;
	changes[1].length = 21;
	REFUSED("takes 1 to 20");
	changes[1].length = 20;
	other[3] = 200;
	REFUSED("token 200");
	other[3] = 8;
	memset(&error, 0, sizeof error);
	assert_int_equal(crocuta_session_changes(s, &q, 1, stop_at_once, NULL, &error),
			 CROCUTA_ESTOPPED);
	q.count = 0;
	assert_int_equal(crocuta_session_changes(s, &q, 1, stop_at_once, NULL, &error), 0);
	crocuta_session_free(s);
	crocuta_model_close(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_sequences),
		cmocka_unit_test(long_sequences),
		cmocka_unit_test(many_sequences_and_the_plain_loops),
		cmocka_unit_test(refuses_what_it_cannot_do),
	};

	device = getenv("CROCUTA_TEST_DEVICE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
