/* crocuta_embed_run from C: plans, stops asked for by the caller, memory that fails anywhere. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <crocuta/crocuta.h>

#include "base/memory.h"
#include "model/model_internal.h"

#define MODEL "test-data/golden/hyenadna-d128-n2-m1026"

static char directory[] = "/tmp/crocuta-task-XXXXXX";
static char fasta[128], output[128];
static crocuta_model *model;

static int prepare(void **state)
{
	crocuta_error error = {0};
	FILE *stream;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(fasta, sizeof fasta, "%s/in.fa", directory);
	snprintf(output, sizeof output, "%s/out.npy", directory);
	stream = fopen(fasta, "w");
	assert_non_null(stream);
	fputs(">one\nACGTNACGTTTGACCA\nGGTACA\n>two\nTTGACA\n", stream);
	assert_int_equal(fclose(stream), 0);
	if (crocuta_model_open(MODEL, NULL, &model, &error))
		fail_msg("%s", error.message);
	return 0;
}

static void remove_outputs(void)
{
	static const char *const names[] = {"out.npy", "out.rows.bed.gz", "out.meta.json"};
	char path[256];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, names[i]);
		unlink(path);
	}
}

static int clean(void **state)
{
	(void)state;
	crocuta_model_close(model);
	remove_outputs();
	unlink(fasta);
	/* fails when a part file was left behind */
	return rmdir(directory);
}

static crocuta_embed_options options_for_test(void)
{
	crocuta_embed_options options;

	crocuta_embed_options_init(&options);
	options.input = fasta;
	options.output = output;
	options.bin = 4;
	options.window = 16;
	options.overlap = 4;
	options.strands = CROCUTA_STRANDS_BOTH;
	options.session.threads = 1;
	return options;
}

static void plan_and_run_agree(void **state)
{
	crocuta_embed_options options = options_for_test();
	crocuta_embed_report plan, report;
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(crocuta_embed_plan(model, &options, &plan, &error), 0);
	assert_int_equal(access(output, F_OK), -1);
	assert_int_equal(crocuta_embed_run(model, &options, &report, &error), 0);
	assert_int_equal(plan.rows, 6 + 2);
	assert_int_equal(plan.rows, report.rows);
	assert_int_equal(plan.windows, report.windows);
	assert_int_equal(plan.tokens, report.tokens);
	assert_int_equal(plan.bases, report.bases);
	assert_int_equal(plan.output_bytes, report.output_bytes);
	assert_int_equal(report.n_bases, 1);
	assert_string_equal(report.output_type, "npy");
	remove_outputs();
}

struct stopper {
	int calls, stop_at;
	int64_t done;
};

static int count_calls(void *user, const crocuta_progress *progress)
{
	struct stopper *stopper = user;

	assert_true(progress->bases_done >= 0);
	stopper->done = progress->bases_done;
	return ++stopper->calls >= stopper->stop_at;
}

static void a_caller_can_stop(void **state)
{
	crocuta_embed_options options = options_for_test();
	struct stopper stopper = {.stop_at = 1};
	crocuta_embed_report report;
	crocuta_error error = {0};

	(void)state;
	options.progress = count_calls;
	options.user = &stopper;
	assert_int_equal(crocuta_embed_run(model, &options, &report, &error), CROCUTA_ESTOPPED);
	assert_int_equal(error.code, CROCUTA_ESTOPPED);
	assert_int_equal(access(output, F_OK), -1);
}

static void an_error_record_is_optional(void **state)
{
	crocuta_embed_options options = options_for_test();
	crocuta_embed_report report;

	(void)state;
	options.input = "/nowhere/x.fa";
	assert_int_equal(crocuta_embed_run(model, &options, &report, NULL), CROCUTA_EIO);
	assert_int_equal(crocuta_embed_check(&options, NULL), CROCUTA_EIO);
	assert_int_equal(crocuta_embed_plan(model, &options, &report, NULL), CROCUTA_EIO);
}

/* Every allocation of a run fails once: an error each time, nothing under the output's name. */
static void loop_over_failures(const crocuta_embed_options *options)
{
	crocuta_embed_report report;
	int64_t needed;

	cr_memory_fail_at(0);
	assert_int_equal(crocuta_embed_run(model, options, &report, NULL), 0);
	needed = cr_memory_count();
	assert_true(needed > 20);
	remove_outputs();
	for (int64_t n = 1; n <= needed; n++) {
		crocuta_error error = {0};
		int code;

		cr_memory_fail_at(n);
		code = crocuta_embed_run(model, options, &report, &error);
		cr_memory_fail_at(0);
		if (code != CROCUTA_EMEMORY || error.code != code || !error.message[0])
			fail_msg("allocation %lld of %lld: %d %s", (long long)n, (long long)needed,
				 code, error.message);
		assert_int_equal(access(output, F_OK), -1);
	}
}

static void every_allocation_may_fail(void **state)
{
	crocuta_embed_options options = options_for_test();

	(void)state;
	loop_over_failures(&options);
	options.bin = 1;
	options.stream = 1;
	options.window = 0;
	options.overlap = -1;
	options.strands = CROCUTA_STRANDS_CONCAT;
	loop_over_failures(&options);
	options = options_for_test();
	options.bin = -1;
	options.per_record = 1;
	options.special_tokens = "model";
	options.window = 64;
	loop_over_failures(&options);
}

/* Rows of an npy file of `rows` x 128 numbers. */
static float *read_rows(int64_t rows)
{
	float *values = calloc((size_t)rows * 128, sizeof *values);
	FILE *stream = fopen(output, "rb");

	assert_non_null(values);
	assert_non_null(stream);
	assert_int_equal(fseek(stream, -(long)(rows * 128 * 4), SEEK_END), 0);
	assert_int_equal(fread(values, sizeof *values, (size_t)rows * 128, stream), rows * 128);
	fclose(stream);
	return values;
}

static int add_hidden(void *user, int64_t sequence, int64_t first, int64_t count,
		      const float *hidden, const float *logits)
{
	double *sum = user;

	(void)sequence;
	(void)first;
	(void)logits;
	for (int64_t i = 0; i < count * 128; i++)
		sum[i % 128] += (double)hidden[i];
	return 0;
}

/* Is `row` the mean over the second record and the tokens that are not -1 around it? */
static void check_mean(const float *row, int start, int end)
{
	uint8_t tokens[8];
	crocuta_sequence sequence = {.tokens = tokens};
	double sum[128] = {0};
	const crocuta_request request = {
		.layer = -1, .want_hidden = 1, .rows = add_hidden, .user = sum};
	crocuta_session *session;

	if (start >= 0)
		tokens[sequence.length++] = (uint8_t)start;
	for (int i = 0; i < 6; i++)
		tokens[sequence.length++] = crocuta_model_token(model, "TTGACA"[i]);
	if (end >= 0)
		tokens[sequence.length++] = (uint8_t)end;
	assert_int_equal(crocuta_session_new(model, NULL, &session, NULL), 0);
	assert_int_equal(crocuta_session_run(session, &sequence, 1, &request, NULL), 0);
	crocuta_session_free(session);
	for (int i = 0; i < 128; i++)
		assert_true(fabs(sum[i] / (double)sequence.length - (double)row[i]) <= 1e-4);
}

/* Give the model another vocabulary, and what goes with a family that carries no state. */
static void families_have_their_own_special_tokens(void **state)
{
	static const int16_t around[][2] = {{0, 1}, {2, -1}, {-1, -1}};
	static cr_vocabulary vocabulary;
	static cr_family family;
	const crocuta_model kept = *model;

	(void)state;
	vocabulary = *kept.family->vocabulary;
	family = *kept.family;
	family.vocabulary = &vocabulary;
	model->family = &family;
	model->info.streams = 0;
	for (int i = 0; i < 3; i++) {
		const int needs = 2 - (around[i][0] < 0) - (around[i][1] < 0);
		crocuta_embed_options options = options_for_test();
		crocuta_embed_report report;
		crocuta_error error = {0};
		float *rows;

		vocabulary.start = around[i][0];
		vocabulary.end = around[i][1];
		options.per_record = 1;
		options.bin = -1;
		options.window = 64;
		options.overlap = 0;
		options.strands = CROCUTA_STRANDS_FORWARD;
		options.special_tokens = "model";
		assert_int_equal(crocuta_embed_run(model, &options, &report, &error), 0);
		assert_int_equal(report.tokens, 22 + 6 + 2 * needs);
		rows = read_rows(2);
		check_mean(rows + 128, around[i][0], around[i][1]);
		free(rows);
		remove_outputs();
		options.special_tokens = "cls-sep";
		assert_int_equal(crocuta_embed_plan(model, &options, &report, &error),
				 needs == 2 ? 0 : CROCUTA_EARG);
		if (needs < 2)
			assert_non_null(strstr(error.message, "have no such tokens"));
	}
	for (int i = 0; i < 2; i++) {
		crocuta_embed_options options = options_for_test();
		crocuta_embed_report report;
		crocuta_error error = {0};

		options.window = 0;
		options.overlap = -1;
		options.stream = i;
		options.n_as_pad = !i;
		vocabulary.pad = -1;
		assert_int_equal(crocuta_embed_plan(model, &options, &report, &error),
				 CROCUTA_EARG);
		assert_non_null(strstr(error.message, i ? "--stream: models of the family \"hyena"
							: "have no padding token"));
	}
	*model = kept;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_and_run_agree),
		cmocka_unit_test(a_caller_can_stop),
		cmocka_unit_test(an_error_record_is_optional),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(families_have_their_own_special_tokens),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
