/* stats.h - --stats: one JSON object about a run, for accounting and MultiQC. */
#ifndef CR_CLI_STATS_H
#define CR_CLI_STATS_H

#include <crocuta/model.h>
#include <crocuta/session.h>

#include "cli/print.h"

/* What is known of a run of any command. NULL, 0 or -1 where it is not. */
typedef struct cr_stats {
	const char *command; /* "embed" */
	const char *input, *output;
	const int *shard; /* K, N */
	const crocuta_model_info *model;
	const crocuta_plan *plan; /* NULL: it came to no session */
	const crocuta_stage_times *times;
	double prepare_seconds, run_seconds, model_seconds; /* negative: not measured */
	int64_t resumed;                                    /* units taken from a journal */
	int finished; /* the output is complete, and the counts are of it */
	int64_t bases, n_bases, windows, tokens;
	/* what the command counts; report is its own, NULL when it did not finish */
	void (*add)(cr_print *print, const void *report);
	const void *report;
} cr_stats;

/* What reports of embed and classify have in common, as initializers. */
#define CR_STATS_OF_BASES(report_of)                                                               \
	.plan = &(report_of)->plan, .times = &(report_of)->times,                                  \
	.prepare_seconds = (report_of)->prepare_seconds, .run_seconds = (report_of)->run_seconds,  \
	.model_seconds = (report_of)->model_seconds, .resumed = (report_of)->resumed,              \
	.bases = (report_of)->bases, .n_bases = (report_of)->n_bases, .tokens = (report_of)->tokens

/* Could it be written, and is it nothing that must stay: a file that is there has to be of --stats?
 * 0, or the exit status, reported. path NULL: nothing is asked for. */
int cr_stats_check(const char *path);

/* Write it: whole under its name, or not at all. `status` is the run's; gives it back, or, when
 * that is 0 and the file cannot be written, that status, reported. */
int cr_stats_write(const char *path, const cr_stats *stats, int status);

#endif
