/* Jobs through a session: pooled by the session or row by row, in one batch or many, with failures. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <crocuta/crocuta.h>

#include "base/error.h"
#include "model/network.h"
#include "task/passes.h"

#define MODEL "test-data/golden/hyenadna-d128-n2-m1026"
#define BASES 150000
#define WIDTH 128

static crocuta_model *model;
static char genome[BASES];

static int prepare(void **state)
{
	crocuta_error error = {0};
	uint64_t random = 1;

	(void)state;
	for (int i = 0; i < BASES; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		genome[i] = "ACGTACGTACGTACGN"[random >> 60];
	}
	if (crocuta_model_open(MODEL, NULL, &model, &error))
		fail_msg("%s", error.message);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	crocuta_model_close(model);
	return 0;
}

/* What came out of a run, in order. */
struct seen {
	float *values;
	int64_t *n_bases;
	int64_t rows, room;
	int64_t stop_after; /* rows; the sink fails then. 0: never */
	int polls, stop_at_poll;
};

static int keep(void *user, const cr_job_rows *rows, crocuta_error *error)
{
	struct seen *seen = user;

	for (int64_t i = 0; i < rows->count; i++, seen->rows++) {
		if (seen->rows >= seen->room)
			return cr_fail(error, CROCUTA_EINTERNAL, "more rows than expected");
		memcpy(seen->values + seen->rows * 2 * WIDTH, rows->values + i * rows->columns,
		       (size_t)rows->columns * sizeof *seen->values);
		seen->n_bases[seen->rows] = rows->n_bases[i];
	}
	if (seen->stop_after && seen->rows >= seen->stop_after)
		return cr_fail(error, CROCUTA_EIO, "the disk is full");
	return 0;
}

static int poll_seen(void *user, int64_t tokens_done, const char *contig)
{
	struct seen *seen = user;

	assert_true(tokens_done >= 0);
	assert_true(!contig || !strcmp(contig, "one"));
	return ++seen->polls == seen->stop_at_poll;
}

static int fetch(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const int64_t *bad = user;

	(void)error;
	memcpy(out, genome + start, (size_t)(end - start));
	if (bad && *bad >= start && *bad < end)
		out[*bad - start] = '!';
	return 0;
}

static void start(struct seen *seen)
{
	memset(seen, 0, sizeof *seen);
	seen->room = BASES;
	seen->values = calloc((size_t)(seen->room * 2 * WIDTH), sizeof *seen->values);
	seen->n_bases = calloc((size_t)seen->room, sizeof *seen->n_bases);
	assert_non_null(seen->values);
	assert_non_null(seen->n_bases);
}

static void finish(struct seen *seen)
{
	free(seen->values);
	free(seen->n_bases);
}

struct job_place {
	int64_t start, end;
};

/* bin 0: a row a job. bad: a place that holds no base, or NULL. */
static int run(const cr_passes_options *given, const struct job_place *places, int count, int64_t bin,
	       int64_t *bad, struct seen *seen, crocuta_error *error)
{
	cr_passes_options options = *given;
	crocuta_session_options how;
	crocuta_session *session = NULL;
	cr_passes *passes = NULL;
	int code;

	crocuta_session_options_init(&how);
	how.threads = 1;
	how.device = "cpu";
	options.vocabulary = cr_model_vocabulary(model);
	options.width = WIDTH;
	options.smallest_bin = bin ? bin : INT64_MAX;
	options.longest_rows = BASES;
	options.sink = keep;
	options.poll = poll_seen;
	options.user = seen;
	code = crocuta_session_new(model, &how, &session, error);
	if (!code)
		code = cr_passes_new(&options, session, &passes, error);
	for (int i = 0; i < count && !code; i++) {
		const int64_t length = places[i].end - places[i].start;
		const cr_job job = {.contig = "one",
				    .strand = '.',
				    .contig_length = given->cls ? places[i].end : BASES,
				    .start = places[i].start,
				    .end = places[i].end,
				    .bin = bin ? bin : length,
				    .fetch = fetch,
				    .user = bad};

		code = cr_passes_add(passes, &job, error);
	}
	if (!code)
		code = cr_passes_finish(passes, error);
	cr_passes_free(passes);
	crocuta_session_free(session);
	return code;
}

static void compare(const cr_passes_options *how, const struct job_place *places, int count, int64_t bin)
{
	struct seen rows, pooled;
	cr_passes_options options = *how;
	crocuta_error error = {0};
	double worst = 0;

	start(&rows);
	start(&pooled);
	options.pooled = 0;
	if (run(&options, places, count, bin, NULL, &rows, &error))
		fail_msg("%s", error.message);
	options.pooled = 1;
	if (run(&options, places, count, bin, NULL, &pooled, &error))
		fail_msg("%s", error.message);
	assert_true(rows.rows > 0);
	assert_int_equal(rows.rows, pooled.rows);
	assert_memory_equal(rows.n_bases, pooled.n_bases, (size_t)rows.rows * sizeof(int64_t));
	for (int64_t i = 0; i < rows.rows * 2 * WIDTH; i++) {
		double off = fabs((double)rows.values[i] - (double)pooled.values[i]);

		worst = off > worst ? off : worst;
	}
	/* sums of the same rows in double, grouped in another way */
	assert_true(worst <= 1e-6);
	finish(&rows);
	finish(&pooled);
}

static void pooled_by_the_session_or_row_by_row(void **state)
{
	static const struct job_place places[] = {{0, 777}, {777, 778}, {3001, 5000}, {9000, 9005}};
	static const int strands[] = {CROCUTA_STRANDS_FORWARD, CROCUTA_STRANDS_REVERSE,
				      CROCUTA_STRANDS_BOTH, CROCUTA_STRANDS_CONCAT};
	static const int64_t bins[] = {7, 100, 0};
	static const int pools[] = {CR_POOL_MEAN, CR_POOL_LAST, CR_POOL_MAX};

	(void)state;
	for (int s = 0; s < 4; s++)
		for (int p = 0; p < 3; p++)
			for (int b = 0; b < 3; b++) {
				const cr_passes_options options = {.window = 256,
								   .overlap = 64,
								   .strands = strands[s],
								   .pool = pools[p],
								   .layer = p ? -1 : 1};

				compare(&options, places, 4, bins[b]);
			}
}

static void special_tokens(void **state)
{
	static const struct job_place place = {0, 300};

	(void)state;
	for (int too = 0; too < 2; too++)
		for (int pool = 0; pool < 3; pool++) {
			cr_passes_options options = {.window = 1000,
						     .strands = CROCUTA_STRANDS_BOTH,
						     .pool = pool,
						     .layer = -1,
						     .cls = 1,
						     .sep = 1,
						     .pool_specials = too};

			options.tokens.n_as_pad = 1;
			compare(&options, &place, 1, 0);
		}
}

/* More than one batch, so that one is filled while another runs: by rows and pooled alike. */
static void several_batches(void **state)
{
	static const struct job_place places[] = {{0, 70000}, {70000, 150000}};
	const cr_passes_options options = {
		.window = 1024, .overlap = 256, .strands = CROCUTA_STRANDS_FORWARD, .layer = -1};

	(void)state;
	compare(&options, places, 2, 128);
}

static void what_fails_is_told(void **state)
{
	static const struct job_place places[] = {{0, BASES}};
	cr_passes_options options = {
		.window = 1024, .overlap = 0, .strands = CROCUTA_STRANDS_FORWARD, .layer = -1};
	int64_t bad = 149000;

	(void)state;
	for (options.pooled = 0; options.pooled < 2; options.pooled++) {
		crocuta_error error = {0}, full = {0}, stopped = {0};
		struct seen seen;

		start(&seen);
		assert_int_equal(run(&options, places, 1, 128, &bad, &seen, &error), CROCUTA_EINPUT);
		assert_non_null(strstr(error.message, "base 149001"));
		finish(&seen);
		/* the output fails first, though the bad base may be read before */
		start(&seen);
		seen.stop_after = 10;
		assert_int_equal(run(&options, places, 1, 128, &bad, &seen, &full), CROCUTA_EIO);
		assert_string_equal(full.message, "the disk is full");
		finish(&seen);
		start(&seen);
		seen.stop_at_poll = 100;
		assert_int_equal(run(&options, places, 1, 128, NULL, &seen, &stopped),
				 CROCUTA_ESTOPPED);
		assert_int_equal(seen.polls, 100);
		finish(&seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pooled_by_the_session_or_row_by_row),
		cmocka_unit_test(special_tokens),
		cmocka_unit_test(several_batches),
		cmocka_unit_test(what_fails_is_told),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
