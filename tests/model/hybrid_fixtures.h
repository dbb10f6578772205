/* hybrid_fixtures.h - the numbers of Evo-1's and Evo-2's published code, and a session held against
 * them.
 *
 * Each fixture holds a model, token ids and float64 answers (test-data/golden/evo*), with the
 * tolerance that its README asks of a float32 engine.
 */
#ifndef CR_TESTS_HYBRID_FIXTURES_H
#define CR_TESTS_HYBRID_FIXTURES_H

#include "golden.h"

typedef struct fixture {
	const char *name;
	double hidden, logits, per_token; /* tolerances */
	int start;                        /* token 0 may be put in front: nll_bos.tsv */
	crocuta_model *model;
	char path[200];
	int records;
	npy_array ids[4], rows[4], logit[4], blocks[4];
	uint8_t *tokens[4];
	double sums[4], start_sums[4];
} fixture;

static fixture fixtures[] = {
	{.name = "evo1-d128-n6", .hidden = 4e-4, .logits = 6e-4, .per_token = 1e-5, .start = 1},
	{.name = "evo1-d128-n6-rope16",
	 .hidden = 5e-4,
	 .logits = 1e-3,
	 .per_token = 1e-5,
	 .start = 1},
	{.name = "evo2-d128-n8", .hidden = 1e-4, .logits = 2e-4, .per_token = 1e-5},
};

#define FIXTURES (int)(sizeof fixtures / sizeof *fixtures)

static inline void read_sums(const fixture *f, const char *name, double *sums)
{
	char path[300], line[200];
	FILE *file;
	int n = 0;

	snprintf(path, sizeof path, "%s/%s", f->path, name);
	file = fopen(path, "r");
	assert_non_null(file);
	while (n < 4 && fgets(line, sizeof line, file))
		if (sscanf(line, "%*s %*d %lf", &sums[n]) == 1)
			n++;
	fclose(file);
	assert_true(n >= 3);
}

static inline int open_fixtures(void **state)
{
	(void)state;
	for (int i = 0; i < FIXTURES; i++) {
		fixture *f = &fixtures[i];

		snprintf(f->path, sizeof f->path, "test-data/golden/%s", f->name);
		f->model = open_model(f->path);
		for (int k = 0; k < 4; k++) {
			char path[300];

			snprintf(path, sizeof path, "%s/ids_%d.npy", f->path, k);
			if (!npy_read(path, &f->ids[k]))
				break;
			snprintf(path, sizeof path, "%s/hidden_%d.npy", f->path, k);
			assert_true(npy_read(path, &f->rows[k]));
			snprintf(path, sizeof path, "%s/logits_%d.npy", f->path, k);
			assert_true(npy_read(path, &f->logit[k]));
			f->tokens[k] = malloc((size_t)f->ids[k].rows);
			for (int64_t j = 0; j < f->ids[k].rows; j++)
				f->tokens[k][j] = (uint8_t)((int32_t *)f->ids[k].data)[j];
			f->records = k + 1;
		}
		assert_int_equal(f->records, 3);
		read_sums(f, "nll.tsv", f->sums);
		read_sums(f, "nll_bos.tsv", f->start_sums);
	}
	return 0;
}

static inline int close_fixtures(void **state)
{
	(void)state;
	for (int i = 0; i < FIXTURES; i++) {
		fixture *f = &fixtures[i];

		for (int k = 0; k < f->records; k++) {
			free(f->ids[k].data);
			free(f->rows[k].data);
			free(f->logit[k].data);
			free(f->tokens[k]);
		}
		crocuta_model_close(f->model);
	}
	return 0;
}

static inline crocuta_session *session_on(const crocuta_model *model, const char *device,
					  int threads, int64_t length)
{
	crocuta_session_options options;

	crocuta_session_options_init(&options);
	options.device = device;
	options.threads = threads;
	options.max_length = length;
	options.parallel = strchr(device, ':') ? CROCUTA_PARALLEL_SEQUENCE : CROCUTA_PARALLEL_AUTO;
	return new_session(model, &options);
}

static inline void run(crocuta_session *session, const uint8_t *tokens, int64_t length, int layer,
		       int64_t from, collected *c)
{
	const crocuta_sequence q = {.tokens = tokens, .length = length, .report_from = from};
	const crocuta_request request = {.layer = layer,
					 .want_hidden = 1,
					 .want_logits = layer < 0, /* -1: the last, with logits */
					 .rows = collect_rows,
					 .user = c};
	crocuta_error error = {0};

	if (crocuta_session_run(session, &q, 1, &request, &error))
		fail_msg("%s", error.message);
}

/* Sum of log softmax at the next token over rows 0 .. length - 2. */
static inline double log_likelihood(const collected *c, const uint8_t *tokens, int64_t length)
{
	double sum = 0;

	for (int64_t i = 0; i + 1 < length; i++) {
		const float *row = c->logits + i * c->vocabulary;
		double most = -INFINITY, total = 0;

		for (int64_t v = 0; v < c->vocabulary; v++)
			most = row[v] > most ? row[v] : most;
		for (int64_t v = 0; v < c->vocabulary; v++)
			total += exp(row[v] - most);
		sum += row[tokens[i + 1]] - most - log(total);
	}
	return sum;
}

static inline void check_record(const fixture *f, int k, crocuta_session *session,
				const char *device)
{
	const int64_t length = f->ids[k].rows, last = f->logit[k].rows;
	collected c;
	double hidden, logits, sum;

	collect_new(&c, f->model, 1, length);
	run(session, f->tokens[k], length, -1, 0, &c);
	hidden = largest_difference(c.hidden, f->rows[k].data, length * c.width);
	logits = largest_difference(c.logits + (length - last) * c.vocabulary, f->logit[k].data,
				    last * c.vocabulary);
	sum = fabs(log_likelihood(&c, f->tokens[k], length) - f->sums[k]) / (double)length;
	collect_free(&c);
	if (!(hidden <= f->hidden && logits <= f->logits && sum <= f->per_token))
		fail_msg("%s record %d on %s: hidden off by %g, logits by %g, sum by %g a token",
			 f->name, k, device, hidden, logits, sum);
}

/* Published default of scoring with Evo-1: token 0 in front. */
static inline void check_start(const fixture *f, int k, crocuta_session *session,
			       const char *device)
{
	const int64_t length = f->ids[k].rows + 1;
	uint8_t *tokens = malloc((size_t)length);
	collected c;
	double sum;

	tokens[0] = 0;
	memcpy(tokens + 1, f->tokens[k], (size_t)length - 1);
	collect_new(&c, f->model, 1, length);
	run(session, tokens, length, -1, 0, &c);
	sum = fabs(log_likelihood(&c, tokens, length) - f->start_sums[k]) / (double)length;
	collect_free(&c);
	free(tokens);
	if (!(sum <= f->per_token))
		fail_msg("%s record %d on %s with a start token: sum off by %g a token", f->name, k,
			 device, sum);
}

#endif
