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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_and_run_agree),
		cmocka_unit_test(a_caller_can_stop),
		cmocka_unit_test(an_error_record_is_optional),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
