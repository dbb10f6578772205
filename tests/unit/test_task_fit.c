/* crocuta_fit_run from C: words of the command line, splits, figures, stops, memory that fails
 * anywhere. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <crocuta/crocuta.h>

#include "base/memory.h"
#include "task/fit_internal.h"

#define MODEL "models/tiny-1k"
#define ROWS 36
#define BASES 24

static char directory[] = "/tmp/crocuta-fit-XXXXXX";
static char train[128], valid[128], test[128], output[128], report_file[128], cache[128];
static const char *train_list[] = {train, NULL}, *valid_list[] = {valid, NULL},
		  *test_list[] = {test, NULL};
static crocuta_model *model;

/* ---- files ----------------------------------------------------------------------------------- */

/* splitmix64: as good from a small seed as from any. */
static uint64_t next(uint64_t *state)
{
	uint64_t bits = *state += 0x9e3779b97f4a7c15u;

	bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
	bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
	return bits ^ bits >> 31;
}

/* Classes in turn; the second has C and G more often than A and T, the first less. */
static void write_table(const char *path, uint64_t seed, int rows)
{
	FILE *stream = fopen(path, "w");

	assert_non_null(stream);
	fputs("sequence,label\n", stream);
	for (int i = 0; i < rows; i++) {
		for (int j = 0; j < BASES; j++)
			fputc((i & 1 ? "ACGTACGTCG" : "ACGTACGTAT")[next(&seed) % 10], stream);
		fprintf(stream, ",%s\n", i & 1 ? "rich" : "poor");
	}
	assert_int_equal(fclose(stream), 0);
}

static int prepare(void **state)
{
	crocuta_error error = {0};

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(train, sizeof train, "%s/train.csv", directory);
	snprintf(valid, sizeof valid, "%s/valid.csv", directory);
	snprintf(test, sizeof test, "%s/test.csv", directory);
	snprintf(output, sizeof output, "%s/head", directory);
	snprintf(report_file, sizeof report_file, "%s/report.json", directory);
	snprintf(cache, sizeof cache, "%s/cache", directory);
	write_table(train, 1, ROWS);
	write_table(valid, 2, 12);
	write_table(test, 3, 12);
	if (crocuta_model_open(MODEL, NULL, &model, &error))
		fail_msg("%s", error.message);
	return 0;
}

static void remove_all(const char *path)
{
	char command[200];

	snprintf(command, sizeof command, "rm -rf '%s'", path);
	assert_int_equal(system(command), 0);
}

static void remove_outputs(void)
{
	remove_all(output);
	remove_all(cache);
	unlink(report_file);
}

static int clean(void **state)
{
	(void)state;
	crocuta_model_close(model);
	unlink(train);
	unlink(valid);
	unlink(test);
	/* fails when something was left behind */
	return rmdir(directory);
}

static crocuta_fit_options options_for_test(void)
{
	crocuta_fit_options options;

	crocuta_fit_options_init(&options);
	options.inputs = train_list;
	options.valid = valid_list;
	options.test = test_list;
	options.output = output;
	options.kmer = 2;
	options.l2 = "0.01";
	options.session.threads = 1;
	return options;
}

static void run(const crocuta_fit_options *options, crocuta_fit_report *report)
{
	crocuta_error error = {0};

	memset(report, 0xff, sizeof *report);
	if (crocuta_fit_run(model, options, report, &error))
		fail_msg("%s", error.message);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void words_are_read_as_inputs(void **state)
{
	static const struct {
		const char *word;
		int kind;
		const char *path;
		int class_bytes;
		char delimiter;
	} cases[] = {
		{"a=b.fa", CR_FIT_RECORDS, "b.fa", 1, 0},
		{"promoter=x=y.csv", CR_FIT_RECORDS, "x=y.csv", 8, 0},
		{"a=-", CR_FIT_RECORDS, "-", 1, 0},
		{"dir=1/x.csv", CR_FIT_RECORDS, "1/x.csv", 3, 0},
		{"dir/a=b.csv", CR_FIT_TABLE, "dir/a=b.csv", 0, ','},
		{"x.TSV", CR_FIT_TABLE, "x.TSV", 0, '\t'},
		{"x.csv.gz", CR_FIT_TABLE, "x.csv.gz", 0, ','},
		{"x.bed.gz", CR_FIT_REGIONS, "x.bed.gz", 0, 0},
	};
	static const char *const wrong[] = {"x.fa", "=x.fa", "a=", "x", ".csv", ""};
	cr_fit_input input;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&input, 0xff, sizeof input);
		assert_int_equal(cr_fit_input_parse(cases[i].word, &input, NULL), 0);
		assert_int_equal(input.kind, cases[i].kind);
		assert_string_equal(input.path, cases[i].path);
		assert_int_equal(input.class_bytes, cases[i].class_bytes);
		assert_int_equal(input.delimiter, cases[i].delimiter);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(cr_fit_input_parse(wrong[i], &input, NULL), CROCUTA_EARG);
}

static void penalties_are_read(void **state)
{
	static const char *const wrong[] = {"",   ",",   "1,",  ",1",  "1,,2",  "-1", "+1",
					    " 1", "1 2", "nan", "inf", "1e999", "x",  "1x"};
	crocuta_fit_options options;
	double l2[CR_FIT_L2_MAX];

	(void)state;
	crocuta_fit_options_init(&options);
	assert_int_equal(cr_fit_parse_l2(&options, l2), 7);
	assert_true(l2[0] == 1e-6 && l2[6] == 1);
	options.kind = CROCUTA_FIT_HIDDEN;
	assert_int_equal(cr_fit_parse_l2(&options, l2), 3);
	assert_true(l2[0] == 1e-5 && l2[2] == 1e-3);
	options.l2 = "0,1e-3,.5";
	assert_int_equal(cr_fit_parse_l2(&options, l2), 3);
	assert_true(l2[0] == 0 && l2[1] == 1e-3 && l2[2] == 0.5);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		options.l2 = wrong[i];
		if (cr_fit_parse_l2(&options, l2) >= 0)
			fail_msg("\"%s\" was accepted", wrong[i]);
	}
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* Probabilities from embed's vectors and the head as opened again give the figures that were told.
 */
static void figures_are_those_of_the_head(void **state)
{
	crocuta_fit_options options = options_for_test();
	crocuta_fit_report report, again;
	crocuta_error error = {0};
	crocuta_head *head = NULL;
	const crocuta_head_info *info;

	(void)state;
	run(&options, &report);
	assert_int_equal(report.examples[CROCUTA_FIT_TRAIN], ROWS);
	assert_int_equal(report.examples[CROCUTA_FIT_VALID], 12);
	assert_int_equal(report.examples[CROCUTA_FIT_TEST], 12);
	assert_int_equal(report.bases, (ROWS + 24) * BASES);
	assert_int_equal(report.tokens, (ROWS + 24) * BASES);
	assert_int_equal(report.head[CROCUTA_FIT_TRAIN].examples, 0);
	assert_int_equal(report.head[CROCUTA_FIT_TEST].examples, 12);
	assert_true(report.head[CROCUTA_FIT_TEST].auroc > 0.6);
	assert_true(report.baseline[CROCUTA_FIT_VALID].log_loss > 0);
	assert_non_null(strstr(report.text, "\nmetrics\t2-mers\ttest\t"));
	if (crocuta_head_open(output, model, NULL, &head, &error))
		fail_msg("%s", error.message);
	info = crocuta_head_get_info(head);
	assert_int_equal(info->classes, 2);
	assert_string_equal(info->class_names[0], "poor");
	assert_int_equal(info->features, report.features);
	assert_int_equal(info->window, BASES);
	assert_int_equal(info->background, -1);
	crocuta_head_close(head);

	options.inputs = test_list;
	options.valid = options.test = NULL;
	options.output = NULL;
	options.evaluate = 1;
	options.head = output;
	run(&options, &again);
	assert_memory_equal(&again.head[CROCUTA_FIT_TEST], &report.head[CROCUTA_FIT_TEST],
			    sizeof report.head[CROCUTA_FIT_TEST]);
	crocuta_fit_report_clear(&report);
	crocuta_fit_report_clear(&again);
	assert_null(report.text);
	remove_outputs();
}

struct stopper {
	int calls, stop_at;
};

static int count_calls(void *user, const crocuta_progress *progress)
{
	struct stopper *stopper = user;

	assert_true(progress->bases_done >= 0 && progress->bases_done <= progress->bases_total);
	return ++stopper->calls >= stopper->stop_at;
}

static void a_caller_can_stop(void **state)
{
	crocuta_fit_options options = options_for_test();
	struct stopper stopper = {.stop_at = 1};
	crocuta_fit_report report;
	crocuta_error error = {0};

	(void)state;
	options.progress = count_calls;
	options.user = &stopper;
	options.report = report_file;
	assert_int_equal(crocuta_fit_run(model, &options, &report, &error), CROCUTA_ESTOPPED);
	assert_int_equal(error.code, CROCUTA_ESTOPPED);
	assert_null(report.text);
	assert_int_equal(access(output, F_OK), -1);
	assert_int_equal(access(report_file, F_OK), -1);
}

static void an_error_record_is_optional(void **state)
{
	static const char *const absent[] = {"/nowhere/x.csv", NULL};
	crocuta_fit_options options = options_for_test();
	crocuta_fit_report report;

	(void)state;
	options.inputs = absent;
	assert_int_equal(crocuta_fit_check(&options, NULL), CROCUTA_EIO);
	assert_int_equal(crocuta_fit_run(model, &options, &report, NULL), CROCUTA_EIO);
	options = options_for_test();
	options.classes = "a,b";
	assert_int_equal(crocuta_fit_run(model, &options, &report, NULL), CROCUTA_EINPUT);
}

/* Every allocation of a run fails once: an error each time, nothing under the outputs' names. Only
 * a cache may fail without one. */
static void every_allocation_may_fail(void **state)
{
	crocuta_fit_options options = options_for_test();
	crocuta_fit_report report;
	int64_t needed;

	(void)state;
	options.report = report_file;
	options.epochs = 3;
	for (int cached = 0; cached < 2; cached++) {
		options.cache = cached ? cache : NULL;
		cr_memory_fail_at(0);
		run(&options, &report);
		crocuta_fit_report_clear(&report);
		needed = cr_memory_count();
		assert_true(needed > 50);
		remove_outputs();
		/* the last one is for the sync of the directory, behind the renaming */
		for (int64_t n = 1; n < needed; n += cached ? 3 : 1) {
			crocuta_error error = {0};
			int code;

			cr_memory_fail_at(n);
			code = crocuta_fit_run(model, &options, &report, &error);
			cr_memory_fail_at(0);
			crocuta_fit_report_clear(&report);
			if (code ? code != CROCUTA_EMEMORY || error.code != code : !cached)
				fail_msg("allocation %lld of %lld: %d %s", (long long)n,
					 (long long)needed, code, error.message);
			assert_int_equal(access(output, F_OK), code ? -1 : 0);
			assert_int_equal(access(report_file, F_OK), code ? -1 : 0);
			remove_outputs();
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_read_as_inputs),
		cmocka_unit_test(penalties_are_read),
		cmocka_unit_test(figures_are_those_of_the_head),
		cmocka_unit_test(a_caller_can_stop),
		cmocka_unit_test(an_error_record_is_optional),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
