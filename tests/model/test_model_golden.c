/* test_model_golden.c - the published code's numbers, run every way a session can run.
 *
 * Each fixture directory holds a model, token ids and float64 answers of the published code. They
 * must come out within 1e-4 whole, streamed, batched, on every kernel set this machine has and with
 * 1, 2 and 7 threads, and with the same bytes whatever the threads, the batch and the cuts.
 */
#include "golden.h"

#define TOLERANCE 1e-4

static const char *const fixtures[] = {"hyenadna-d128-n2-m1026", "hyenadna-d128-n2-m1026-shift0",
				       "hyenadna-d64-n4-m4098"};
static const char *const sets[] = {"avx512", "avx2", "portable"};
static const int thread_counts[] = {1, 2, 7};

typedef struct fixture {
	char path[512];
	crocuta_model *model;
	int records;
	npy_array ids[16], hidden[16], logits[16];
	uint8_t *tokens[16];
} fixture;

static int read_part(const fixture *f, const char *what, int k, npy_array *array)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s_%d.npy", f->path, what, k);
	return npy_read(path, array);
}

static void fixture_open(fixture *f, const char *name)
{
	memset(f, 0, sizeof *f);
	snprintf(f->path, sizeof f->path, "test-data/golden/%s", name);
	f->model = open_model(f->path);
	while (read_part(f, "ids", f->records, &f->ids[f->records])) {
		int k = f->records++;

		assert_true(read_part(f, "hidden", k, &f->hidden[k]));
		assert_true(read_part(f, "logits", k, &f->logits[k]));
		f->tokens[k] = malloc((size_t)f->ids[k].rows);
		for (int64_t i = 0; i < f->ids[k].rows; i++)
			f->tokens[k][i] = (uint8_t)((int32_t *)f->ids[k].data)[i];
	}
	assert_true(f->records > 0);
}

static void fixture_close(fixture *f)
{
	for (int k = 0; k < f->records; k++) {
		free(f->ids[k].data);
		free(f->hidden[k].data);
		free(f->logits[k].data);
		free(f->tokens[k]);
	}
	crocuta_model_close(f->model);
}

static crocuta_request everything(collected *c)
{
	crocuta_request request = {.layer = -1, .want_hidden = 1, .want_logits = 1,
				   .rows = collect_rows, .user = c};

	return request;
}

static void compare(const fixture *f, int k, const collected *c, const char *how)
{
	double hidden = largest_difference(c->hidden, f->hidden[k].data,
					   f->hidden[k].rows * f->hidden[k].columns);
	double logits = largest_difference(c->logits, f->logits[k].data,
					   f->logits[k].rows * f->logits[k].columns);

	if (hidden > TOLERANCE || logits > TOLERANCE)
		fail_msg("%s record %d, %s: hidden off by %g, logits by %g", f->path, k, how,
			 hidden, logits);
}

/* Record k in one run; answer into c. */
static void run_record(const fixture *f, crocuta_session *s, int k, collected *c)
{
	crocuta_sequence q = {f->tokens[k], f->ids[k].rows, 0};
	crocuta_request request = everything(c);
	crocuta_error error = {0};

	collect_new(c, f->model, 1, f->ids[k].rows);
	if (crocuta_session_run(s, &q, 1, &request, &error))
		fail_msg("%s record %d: %s", f->path, k, error.message);
}

static void assert_same_bytes(const collected *a, const collected *b, const char *what)
{
	if (memcmp(a->hidden, b->hidden, 4 * (size_t)(a->rows * a->width)) ||
	    memcmp(a->logits, b->logits, 4 * (size_t)(a->rows * a->vocabulary)))
		fail_msg("%s changed the bytes", what);
}

static void whole_on_every_kernel_set(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		fixture f;

		fixture_open(&f, fixtures[i]);
		for (size_t j = 0; j < sizeof sets / sizeof *sets; j++) {
			crocuta_session_options o;
			crocuta_session *s = NULL;
			crocuta_error error = {0};

			crocuta_session_options_init(&o);
			o.isa = sets[j];
			if (crocuta_session_new(f.model, &o, &s, &error)) {
				print_message("skipped here: %s\n", error.message);
				continue;
			}
			for (int k = 0; k < f.records; k++) {
				collected c;

				run_record(&f, s, k, &c);
				compare(&f, k, &c, sets[j]);
				collect_free(&c);
			}
			crocuta_session_free(s);
		}
		fixture_close(&f);
	}
}

static void same_bytes_for_any_threads(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		fixture f;

		fixture_open(&f, fixtures[i]);
		for (int k = 0; k < f.records; k++) {
			collected first = {0};

			for (size_t t = 0; t < 3; t++) {
				crocuta_session_options o;
				crocuta_session *s;
				collected c;

				crocuta_session_options_init(&o);
				o.threads = thread_counts[t];
				s = new_session(f.model, &o);
				run_record(&f, s, k, &c);
				compare(&f, k, &c, "threads");
				if (t)
					assert_same_bytes(&c, &first, "the number of threads");
				else
					first = c;
				if (t)
					collect_free(&c);
				crocuta_session_free(s);
			}
			collect_free(&first);
		}
		fixture_close(&f);
	}
}

/* Feed record k in pieces of `piece` tokens. */
static void stream_record(const fixture *f, crocuta_session *s, int k, int64_t piece, collected *c)
{
	crocuta_request request = everything(c);
	const int64_t length = f->ids[k].rows;
	crocuta_error error = {0};

	collect_new(c, f->model, 1, length);
	for (int64_t at = 0; at < length; at += piece) {
		int64_t count = length - at < piece ? length - at : piece;

		if (crocuta_session_stream(s, f->tokens[k] + at, count, at + count == length,
					   &request, &error))
			fail_msg("%s record %d streamed: %s", f->path, k, error.message);
	}
}

static void streamed_in_pieces(void **state)
{
	static const int64_t pieces[] = {1, 7, 256, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		fixture f;

		fixture_open(&f, fixtures[i]);
		for (int k = 0; k < f.records; k++) {
			collected first = {0};

			for (size_t p = 0; p < 12; p++) {
				crocuta_session_options o;
				crocuta_session *s;
				collected c;

				crocuta_session_options_init(&o);
				o.threads = thread_counts[p / 4];
				o.stream = 1;
				s = new_session(f.model, &o);
				stream_record(&f, s, k, pieces[p % 4], &c);
				compare(&f, k, &c, "streamed");
				if (p)
					assert_same_bytes(&c, &first, "the stream's cuts");
				else
					first = c;
				if (p)
					collect_free(&c);
				crocuta_session_free(s);
			}
			collect_free(&first);
		}
		fixture_close(&f);
	}
}

/* All records at once, three times over, in batches of 1, 2 and 5: each as if alone. */
static void batched_with_others(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		fixture f;

		fixture_open(&f, fixtures[i]);
		for (int64_t batch = 1; batch <= 5; batch += batch) {
			const int64_t longest = crocuta_model_get_info(f.model)->max_length;
			crocuta_sequence q[48];
			crocuta_session_options o;
			crocuta_error error = {0};
			crocuta_request request;
			crocuta_session *s;
			collected all;
			int count = 3 * f.records;

			crocuta_session_options_init(&o);
			o.batch = batch;
			s = new_session(f.model, &o);
			collect_new(&all, f.model, count, longest);
			for (int n = 0; n < count; n++)
				q[n] = (crocuta_sequence){f.tokens[n % f.records],
							  f.ids[n % f.records].rows, 0};
			request = everything(&all);
			assert_int_equal(crocuta_session_run(s, q, count, &request, &error), 0);
			for (int n = 0; n < count; n++) {
				collected one, view = all;

				run_record(&f, s, n % f.records, &one);
				view.rows = one.rows;
				view.hidden = all.hidden + n * longest * all.width;
				view.logits = all.logits + n * longest * all.vocabulary;
				assert_same_bytes(&one, &view, "the batch");
				collect_free(&one);
			}
			collect_free(&all);
			crocuta_session_free(s);
		}
		fixture_close(&f);
	}
}

/* Sum over n of log softmax(logits[n]) at token n + 1, all rows of the vocabulary, in double. */
static double log_likelihood(const fixture *f, int k, const collected *c)
{
	double total = 0;

	for (int64_t n = 0; n + 1 < f->ids[k].rows; n++) {
		const float *row = c->logits + n * c->vocabulary;
		double top = row[0], sum = 0;

		for (int64_t v = 1; v < c->vocabulary; v++)
			top = row[v] > top ? row[v] : top;
		for (int64_t v = 0; v < c->vocabulary; v++)
			sum += exp(row[v] - top);
		total += row[f->tokens[k][n + 1]] - top - log(sum);
	}
	return total;
}

static void log_likelihoods(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		char path[600], name[128];
		long length, checked = 0;
		double expected;
		crocuta_session *s;
		FILE *table;
		fixture f;

		fixture_open(&f, fixtures[i]);
		s = new_session(f.model, NULL);
		snprintf(path, sizeof path, "%s/nll.tsv", f.path);
		table = fopen(path, "r");
		assert_non_null(table);
		while (fscanf(table, "%127s %ld %lf", name, &length, &expected) == 3) {
			collected c;
			double got;

			run_record(&f, s, (int)checked, &c);
			assert_int_equal(length, f.ids[checked].rows);
			got = log_likelihood(&f, (int)checked, &c);
			if (fabs(got - expected) > 1e-3 + 1e-6 * fabs(expected))
				fail_msg("%s %s: %.6f, expected %.6f", f.path, name, got, expected);
			collect_free(&c);
			checked++;
		}
		assert_int_equal(checked, f.records);
		fclose(table);
		crocuta_session_free(s);
		fixture_close(&f);
	}
}

/* The suite must be able to fail: one changed token must be seen. */
static void notices_a_changed_token(void **state)
{
	crocuta_session *s;
	collected c;
	fixture f;
	int last;

	(void)state;
	fixture_open(&f, fixtures[0]);
	last = f.records - 1;
	f.tokens[last][3] = f.tokens[last][3] == 7 ? 8 : 7;
	s = new_session(f.model, NULL);
	run_record(&f, s, last, &c);
	assert_true(largest_difference(c.hidden, f.hidden[last].data,
				       f.hidden[last].rows * f.hidden[last].columns) > 1e-2);
	collect_free(&c);
	crocuta_session_free(s);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_on_every_kernel_set),
		cmocka_unit_test(same_bytes_for_any_threads),
		cmocka_unit_test(streamed_in_pieces),
		cmocka_unit_test(batched_with_others),
		cmocka_unit_test(log_likelihoods),
		cmocka_unit_test(notices_a_changed_token),
	};

	return cmocka_run_group_tests_name("model golden", tests, NULL, NULL);
}
