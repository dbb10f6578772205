/* Vectors of sequences for heads: every form against the rows of a session, pooled here in plain
 * loops; sequences that do not fit; sinks and callers that end a run. */
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
#include "base/memory.h"
#include "model/head.h"
#include "seq/alphabet.h"
#include "task/features.h"

#define MODEL "models/tiny-1k"
#define WIDTH 128
#define LAYERS 2
#define PARTS_MAX 8
#define COLUMNS_MAX (2 * WIDTH)
#define FEATURES_MAX (PARTS_MAX * COLUMNS_MAX)
#define TOKENS_MAX 1026
#define BASES 5000
#define ITEMS_MAX 64

static crocuta_model *model;
static char genome[BASES + 1];

static int prepare(void **state)
{
	crocuta_error error = {0};
	uint64_t random = 1;

	(void)state;
	for (int i = 0; i < BASES; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		genome[i] = "ACGTACGTACGTacgN"[random >> 60];
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

/* ---- what must come out --------------------------------------------------------------------- */

struct rows {
	float values[TOKENS_MAX][WIDTH];
	int64_t count;
};

static int take(void *user, int64_t sequence, int64_t first, int64_t count, const float *hidden,
		const float *logits)
{
	struct rows *rows = user;

	(void)sequence;
	(void)logits;
	assert_int_equal(first, rows->count);
	memcpy(rows->values + first, hidden, (size_t)(count * WIDTH) * sizeof *hidden);
	rows->count += count;
	return 0;
}

static uint8_t token_of(char base)
{
	switch (base) {
	case 'A':
	case 'a':
		return 7;
	case 'C':
	case 'c':
		return 8;
	case 'G':
	case 'g':
		return 9;
	case 'T':
	case 't':
		return 10;
	default:
		return 11;
	}
}

static char complement_of(char base)
{
	static const char letters[] = "ACGTacgtNTGCAtgcaN";
	const char *at = strchr(letters, base);

	assert_non_null(at);
	return at[9];
}

/* Rows of [start, end), special tokens included, read as it stands or as its reverse complement. */
static void run_plainly(int64_t start, int64_t end, int reverse, const crocuta_feature_form *form,
			struct rows *rows)
{
	const int cls = form->specials == CROCUTA_SPECIALS_CLS_SEP ||
			form->specials == CROCUTA_SPECIALS_MODEL;
	crocuta_request request = {
		.layer = form->layer, .want_hidden = 1, .rows = take, .user = rows};
	crocuta_session_options how;
	crocuta_session *session = NULL;
	crocuta_sequence sequence = {0};
	uint8_t tokens[TOKENS_MAX];
	crocuta_error error = {0};

	if (cls)
		tokens[sequence.length++] = 0;
	for (int64_t i = 0; i < end - start; i++)
		tokens[sequence.length++] =
			token_of(reverse ? complement_of(genome[end - 1 - i]) : genome[start + i]);
	if (form->specials)
		tokens[sequence.length++] = 1;
	sequence.tokens = tokens;
	memset(rows->values, 0xff, sizeof rows->values); /* NaN */
	rows->count = 0;
	crocuta_session_options_init(&how);
	how.threads = 1;
	how.device = "cpu";
	if (crocuta_session_new(model, &how, &session, &error) ||
	    crocuta_session_run(session, &sequence, 1, &request, &error))
		fail_msg("%s", error.message);
	crocuta_session_free(session);
	assert_int_equal(rows->count, sequence.length);
}

static double pool_plainly(const struct rows *rows, int64_t first, int64_t last, int column,
			   int pool)
{
	double sum = 0, most = -INFINITY;

	for (int64_t i = first; i < last; i++) {
		sum += (double)rows->values[i][column];
		most = fmax(most, (double)rows->values[i][column]);
	}
	return pool == CROCUTA_HEAD_MAX     ? most
	       : pool == CROCUTA_HEAD_LAST  ? (double)rows->values[last - 1][column]
	       : pool == CROCUTA_HEAD_FIRST ? (double)rows->values[first][column]
	       : pool == CROCUTA_HEAD_SUM   ? sum
					    : sum / (double)(last - first);
}

/* One part on one strand. reverse: the rows run against the item's own direction. */
static void pool_part(const crocuta_feature_form *form, const struct rows *rows, int64_t length,
		      int part, int reverse, double *out)
{
	const int pooled = form->specials >= CROCUTA_SPECIALS_MODEL;
	const int cls = form->specials == CROCUTA_SPECIALS_CLS_SEP ||
			form->specials == CROCUTA_SPECIALS_MODEL;
	const int64_t run = (length + form->parts - 1) / form->parts;
	int64_t first = part * run, last = first + run < length ? first + run : length;

	if (reverse) {
		const int64_t end = length - first;

		first = length - last;
		last = end;
	}
	first += cls && !pooled;
	last += cls ? (pooled ? 2 : 1) : pooled;
	for (int c = 0; c < WIDTH; c++)
		out[c] = pool_plainly(rows, first, last, c, form->pool);
}

static void features_plainly(const crocuta_feature_form *form, int64_t start, int64_t end,
			     char strand, double *out)
{
	static struct rows forward, backward;
	const int columns = form->strands == CROCUTA_STRANDS_CONCAT ? 2 * WIDTH : WIDTH;
	double one[WIDTH], two[WIDTH];

	run_plainly(start, end, strand == '-', form, &forward);
	run_plainly(start, end, strand != '-', form, &backward);
	for (int part = 0; part < form->parts; part++) {
		double *to = out + part * columns;

		pool_part(form, &forward, end - start, part, 0, one);
		pool_part(form, &backward, end - start, part, 1, two);
		for (int c = 0; c < WIDTH; c++) {
			to[c] = form->strands == CROCUTA_STRANDS_REVERSE ? two[c]
				: form->strands == CROCUTA_STRANDS_BOTH  ? (one[c] + two[c]) / 2
									 : one[c];
			if (columns > WIDTH)
				to[WIDTH + c] = two[c];
		}
	}
}

/* ---- streams --------------------------------------------------------------------------------- */

struct seen {
	float values[ITEMS_MAX][FEATURES_MAX];
	int64_t start[ITEMS_MAX], end[ITEMS_MAX], tag[ITEMS_MAX], n_bases[ITEMS_MAX];
	char strand[ITEMS_MAX], name[ITEMS_MAX][16], contig[ITEMS_MAX][16];
	int64_t count, features;
	int64_t fail_at; /* from 1; 0: never */
	int stop;
};

static int keep(void *user, const cr_feature_item *item, const float *features, int64_t n_bases,
		crocuta_error *error)
{
	struct seen *seen = user;
	const int64_t i = seen->count++;

	if (seen->count == seen->fail_at)
		return cr_fail(error, CROCUTA_EIO, "the disk is full");
	assert_true(i < ITEMS_MAX);
	memcpy(seen->values[i], features, (size_t)seen->features * sizeof *features);
	seen->start[i] = item->start;
	seen->end[i] = item->end;
	seen->tag[i] = item->tag;
	seen->strand[i] = item->strand;
	seen->n_bases[i] = n_bases;
	snprintf(seen->name[i], sizeof seen->name[i], "%s", item->name ? item->name : "");
	snprintf(seen->contig[i], sizeof seen->contig[i], "%s", item->contig);
	return CROCUTA_OK;
}

static int poll_seen(void *user, int64_t tokens_done, const char *contig)
{
	const struct seen *seen = user;

	(void)contig;
	assert_true(tokens_done >= 0);
	return seen->stop;
}

static int fetch(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	(void)user;
	(void)error;
	assert_true(start >= 0 && end <= BASES && start < end);
	memcpy(out, genome + start, (size_t)(end - start));
	return CROCUTA_OK;
}

static cr_feature_options options_of(const crocuta_feature_form *form,
				     crocuta_session_options *session, struct seen *seen)
{
	crocuta_session_options_init(session);
	session->threads = 1;
	session->device = "cpu";
	memset(seen, 0, sizeof *seen);
	memset(seen->values, 0xff, sizeof seen->values); /* NaN */
	seen->features = cr_head_features(form, WIDTH);
	assert_true(seen->features <= FEATURES_MAX);
	return (cr_feature_options){.form = *form,
				    .longest = TOKENS_MAX - 2,
				    .session = session,
				    .sink = keep,
				    .poll = poll_seen,
				    .user = seen};
}

struct place {
	int64_t start, end;
	char strand;
};

static int run(const cr_feature_options *options, const struct place *places, int count,
	       cr_passes_counts *counts, crocuta_error *error)
{
	cr_feature_stream *stream = NULL;
	int code = cr_feature_stream_new(model, options, &stream, error);

	if (code) {
		assert_null(stream);
		return code;
	}
	for (int i = 0; i < count && !code; i++) {
		char contig[16] = "one", name[16];
		cr_feature_item item = {.contig = contig,
					.name = i % 2 ? name : NULL,
					.strand = places[i].strand,
					.start = places[i].start,
					.end = places[i].end,
					.tag = 100 + i,
					.fetch = fetch};

		snprintf(name, sizeof name, "item %d", i);
		code = cr_feature_stream_add(stream, &item, error);
		memset(contig, 'x', sizeof contig - 1); /* strings were copied */
		memset(name, 'x', sizeof name - 1);
	}
	if (!code)
		code = cr_feature_stream_finish(stream, error);
	if (!code && counts)
		*counts = cr_feature_stream_counts(stream);
	cr_feature_stream_free(stream);
	return code;
}

static const struct place places[] = {
	{0, 100, '.'}, {17, 217, '+'}, {300, 399, '-'}, {400, 461, '-'}, {1000, 2024, '+'}};
enum { PLACES = sizeof places / sizeof *places };

static void check_form(const crocuta_feature_form *form)
{
	static struct seen seen;
	crocuta_session_options session;
	cr_feature_options options = options_of(form, &session, &seen);
	crocuta_error error = {0};
	double want[FEATURES_MAX];

	if (run(&options, places, PLACES, NULL, &error))
		fail_msg("%s", error.message);
	assert_int_equal(seen.count, PLACES);
	for (int i = 0; i < PLACES; i++) {
		const int64_t length = places[i].end - places[i].start;
		const double scale = form->pool == CROCUTA_HEAD_SUM ? (double)length : 1;
		char name[16] = "";

		features_plainly(form, places[i].start, places[i].end, places[i].strand, want);
		for (int64_t f = 0; f < seen.features; f++)
			if (!(fabs(want[f] - (double)seen.values[i][f]) <= 2e-5 * scale))
				fail_msg("layer %d pool %d parts %d strands %d specials %d, item "
					 "%d, "
					 "feature %lld: %g, wanted %g",
					 form->layer, form->pool, form->parts, form->strands,
					 form->specials, i, (long long)f, (double)seen.values[i][f],
					 want[f]);
		if (i % 2)
			snprintf(name, sizeof name, "item %d", i);
		assert_string_equal(seen.name[i], name);
		assert_string_equal(seen.contig[i], "one");
		assert_int_equal(seen.start[i], places[i].start);
		assert_int_equal(seen.end[i], places[i].end);
		assert_int_equal(seen.strand[i], places[i].strand);
		assert_int_equal(seen.tag[i], 100 + i);
	}
}

static void pools_and_special_tokens(void **state)
{
	(void)state;
	for (int pool = CROCUTA_HEAD_MEAN; pool <= CROCUTA_HEAD_SUM; pool++)
		for (int specials = 0; specials <= CROCUTA_SPECIALS_MODEL_SEP; specials++) {
			crocuta_feature_form form = {.layer = LAYERS,
						     .pool = pool,
						     .parts = 1,
						     .strands = CROCUTA_STRANDS_FORWARD,
						     .specials = specials};

			if (pool != CROCUTA_HEAD_FIRST || specials < CROCUTA_SPECIALS_MODEL)
				check_form(&form);
		}
}

static void strands_parts_and_layers(void **state)
{
	static const int parts[] = {1, 3, PARTS_MAX};

	(void)state;
	for (int strands = CROCUTA_STRANDS_FORWARD; strands <= CROCUTA_STRANDS_CONCAT; strands++)
		for (int i = 0; i < 3; i++) {
			crocuta_feature_form form = {.layer = (i + strands) % (LAYERS + 1),
						     .pool = (i + strands) % 3,
						     .parts = parts[i],
						     .strands = strands};

			check_form(&form);
			form.pool = (form.pool + 1) % 3;
			check_form(&form);
		}
	for (int strands = CROCUTA_STRANDS_REVERSE; strands <= CROCUTA_STRANDS_CONCAT; strands++) {
		crocuta_feature_form form = {.layer = LAYERS,
					     .pool = CROCUTA_HEAD_SUM,
					     .parts = 1,
					     .strands = strands,
					     .specials = CROCUTA_SPECIALS_MODEL_SEP};

		check_form(&form);
	}
}

/* ---- what is counted and planned ------------------------------------------------------------- */

static void counts_and_plans_agree(void **state)
{
	static struct seen seen;
	const crocuta_feature_form form = {
		.layer = LAYERS, .parts = 2, .strands = CROCUTA_STRANDS_BOTH};
	const struct place long_ones[] = {{0, 4000, '+'}, {5, 1000, '-'}};
	crocuta_session_options session;
	cr_feature_options options = options_of(&form, &session, &seen);
	cr_passes_counts counts;
	crocuta_error error = {0};
	crocuta_plan plan;
	int64_t bytes = -1, windows = 0, tokens = 0, n = 0;

	(void)state;
	assert_int_equal(cr_feature_plan(model, &options, &plan, &bytes, &error), 0);
	assert_true(bytes > plan.total_bytes);
	if (run(&options, long_ones, 2, &counts, &error))
		fail_msg("%s", error.message);
	for (int i = 0; i < 2; i++) {
		int64_t more_windows = -1, more_tokens = -1;

		cr_feature_count(model, &options, &plan, long_ones[i].end - long_ones[i].start,
				 &more_windows, &more_tokens);
		windows += more_windows;
		tokens += more_tokens;
	}
	assert_int_equal(counts.windows, windows);
	assert_int_equal(counts.tokens, tokens);
	assert_true(tokens > 2 * (4000 + 995)); /* tiles overlap */
	for (int64_t i = 0; i < 4000; i++)
		n += genome[i] == 'N';
	assert_int_equal(seen.n_bases[0], n);
	/* lower case as N, where that is asked for */
	options.softmask_n = 1;
	seen.count = 0;
	if (run(&options, long_ones, 1, NULL, &error))
		fail_msg("%s", error.message);
	assert_true(seen.n_bases[0] > 2 * n);
}

/* The shortest sequence that a form takes, and one base less. */
static void sequences_too_short_for_the_parts(void **state)
{
	static struct seen seen;
	crocuta_session_options session;

	(void)state;
	for (int parts = 1; parts <= PARTS_MAX; parts++) {
		const crocuta_feature_form form = {
			.layer = LAYERS, .parts = parts, .strands = CROCUTA_STRANDS_FORWARD};
		cr_feature_options options = options_of(&form, &session, &seen);
		const int64_t shortest = parts * (parts - 1) + 1;
		struct place place = {0, shortest, '+'};
		crocuta_error error = {0};
		double want[FEATURES_MAX];

		assert_int_equal(cr_head_shortest(&form), shortest);
		assert_int_equal(run(&options, &place, 1, NULL, &error), 0);
		features_plainly(&form, 0, shortest, '+', want);
		for (int64_t f = 0; f < seen.features; f++)
			assert_true(fabs(want[f] - (double)seen.values[0][f]) <= 2e-5);
		if (parts == 1)
			continue;
		place.end--;
		assert_int_equal(run(&options, &place, 1, NULL, &error), CROCUTA_EINPUT);
		assert_non_null(strstr(error.message, "\"one\" has"));
	}
}

static void special_tokens_need_a_whole_sequence(void **state)
{
	static struct seen seen;
	const crocuta_feature_form form = {.layer = LAYERS,
					   .parts = 1,
					   .strands = CROCUTA_STRANDS_FORWARD,
					   .specials = CROCUTA_SPECIALS_MODEL};
	const struct place fits = {0, 1024, '+'}, longer = {0, 1025, '+'};
	crocuta_session_options session;
	cr_feature_options options = options_of(&form, &session, &seen);
	crocuta_error error = {0};

	(void)state;
	options.longest = 0;
	assert_int_equal(run(&options, &fits, 1, NULL, &error), 0);
	assert_int_equal(run(&options, &longer, 1, NULL, &error), CROCUTA_EINPUT);
}

static void forms_that_cannot_be(void **state)
{
	static const crocuta_feature_form wrong[] = {
		{.layer = LAYERS + 1, .parts = 1, .strands = CROCUTA_STRANDS_FORWARD},
		{.layer = -1, .parts = 1, .strands = CROCUTA_STRANDS_FORWARD},
		{.layer = 1, .parts = 0, .strands = CROCUTA_STRANDS_FORWARD},
		{.layer = 1,
		 .parts = CROCUTA_HEAD_PARTS_MAX + 1,
		 .strands = CROCUTA_STRANDS_FORWARD},
		{.layer = 1,
		 .parts = 2,
		 .strands = CROCUTA_STRANDS_FORWARD,
		 .pool = CROCUTA_HEAD_SUM},
		{.layer = 1,
		 .parts = 2,
		 .strands = CROCUTA_STRANDS_FORWARD,
		 .pool = CROCUTA_HEAD_FIRST},
		{.layer = 1,
		 .parts = 2,
		 .strands = CROCUTA_STRANDS_FORWARD,
		 .specials = CROCUTA_SPECIALS_SEP},
		{.layer = 1,
		 .parts = 1,
		 .pool = CROCUTA_HEAD_FIRST,
		 .strands = CROCUTA_STRANDS_BOTH},
		{.layer = 1,
		 .parts = 1,
		 .strands = CROCUTA_STRANDS_FORWARD,
		 .pool = CROCUTA_HEAD_FIRST,
		 .specials = CROCUTA_SPECIALS_MODEL_SEP},
	};
	static struct seen seen;
	const crocuta_feature_form good = {
		.layer = LAYERS, .parts = 1, .strands = CROCUTA_STRANDS_FORWARD};
	crocuta_session_options session;
	crocuta_plan plan;
	int64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		cr_feature_options options = options_of(&good, &session, &seen);
		crocuta_error error = {0};
		int64_t windows = -1, tokens = -1;

		options.form = wrong[i];
		if (run(&options, places, 1, NULL, &error) != CROCUTA_EARG)
			fail_msg("form %d was taken", (int)i);
		assert_int_equal(cr_feature_plan(model, &options, &plan, &bytes, &error),
				 CROCUTA_EARG);
		cr_feature_count(model, &options, &plan, 100, &windows, &tokens);
		assert_int_equal(windows, 0);
		assert_int_equal(tokens, 0);
	}
}

/* ---- the end of a run ------------------------------------------------------------------------ */

static void sinks_and_callers_end_a_run(void **state)
{
	static struct seen seen;
	const crocuta_feature_form form = {
		.layer = LAYERS, .parts = 1, .strands = CROCUTA_STRANDS_FORWARD};
	crocuta_session_options session;
	cr_feature_options options = options_of(&form, &session, &seen);
	crocuta_error error = {0};

	(void)state;
	seen.fail_at = 3;
	assert_int_equal(run(&options, places, PLACES, NULL, &error), CROCUTA_EIO);
	assert_string_equal(error.message, "the disk is full");
	assert_int_equal(seen.count, 3);
	seen.fail_at = 0;
	seen.stop = 1;
	error.code = CROCUTA_OK;
	assert_int_equal(run(&options, places, PLACES, NULL, &error), CROCUTA_ESTOPPED);
	cr_feature_stream_free(NULL);
}

static void every_allocation_may_fail(void **state)
{
	static struct seen seen;
	const crocuta_feature_form form = {
		.layer = LAYERS, .parts = 2, .strands = CROCUTA_STRANDS_FORWARD};
	crocuta_session_options session;
	cr_feature_options options = options_of(&form, &session, &seen);
	crocuta_error error = {0};
	int64_t needed;

	(void)state;
	cr_memory_fail_at(0);
	assert_int_equal(run(&options, places, 2, NULL, &error), 0);
	needed = cr_memory_count();
	assert_true(needed > 10);
	for (int64_t n = 1; n <= needed; n++) {
		int code;

		cr_memory_fail_at(n);
		code = run(&options, places, 2, NULL, &error);
		cr_memory_fail_at(0);
		if (code != CROCUTA_EMEMORY)
			fail_msg("allocation %lld of %lld: %d", (long long)n, (long long)needed,
				 code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pools_and_special_tokens),
		cmocka_unit_test(strands_parts_and_layers),
		cmocka_unit_test(counts_and_plans_agree),
		cmocka_unit_test(sequences_too_short_for_the_parts),
		cmocka_unit_test(special_tokens_need_a_whole_sequence),
		cmocka_unit_test(forms_that_cannot_be),
		cmocka_unit_test(sinks_and_callers_end_a_run),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
