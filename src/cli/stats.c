/* stats.c - see stats.h. The keys are documented in docs/pipelines.md. */
#define _GNU_SOURCE
#include "cli/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <crocuta/crocuta.h>

#include "cli/messages.h"
#include "cli/progress.h"
#include "cli/signals.h"

#define FIRST "{\n  \"format\": \"crocuta-stats-" /* of every file of --stats */

static int cannot_write(const char *path, const crocuta_error *error)
{
	if (error->code == CROCUTA_EREFUSED)
		cr_error("--stats %.200s: this file is there and not of --stats; give another name",
			 path);
	else
		cr_error("--stats %.200s: cannot be written: %s", path,
			 error->os_errno ? strerror(error->os_errno) : error->message);
	return error->code;
}

int cr_stats_check(const char *path)
{
	crocuta_error error = {0};

	return path && crocuta_file_check(path, FIRST, &error) ? cannot_write(path, &error) : 0;
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double or_unknown(const cr_stats *stats, double seconds)
{
	return seconds < 0 || !stats->finished ? NAN : seconds;
}

static void add_run(cr_print *print, const cr_stats *stats, int status)
{
	char text[80];

	cr_print_text(print, "format", "crocuta-stats-1");
	cr_print_text(print, "command", stats->command);
	snprintf(text, sizeof text, "%s+htslib-%s", crocuta_version(), crocuta_htslib_version());
	cr_print_text(print, "version", text);
	cr_print_integer(print, "status",
			 status == CROCUTA_ESTOPPED && cr_signals_pending()
				 ? 128 + cr_signals_pending()
				 : status);
	if (status && *cr_messages_error())
		cr_print_text(print, "error", cr_messages_error());
	cr_print_text(print, "input", stats->input);
	cr_print_text(print, "output", stats->output);
	cr_print_text(print, "model", stats->model ? stats->model->name : NULL);
	cr_print_text(print, "model_sha256", stats->model ? stats->model->sha256 : NULL);
	if (stats->shard && stats->shard[1]) {
		snprintf(text, sizeof text, "%d/%d", stats->shard[0], stats->shard[1]);
		cr_print_text(print, "shard", text);
	}
	cr_print_yes_no(print, "resumed", stats->resumed > 0);
	cr_print_integer(print, "resumed_units", stats->resumed);
}

static void add_device(cr_print *print, const crocuta_plan *plan)
{
	const int made = plan && plan->device;

	cr_print_text(print, "device", made ? plan->device : NULL);
	cr_print_text(print, "isa", made ? plan->isa : NULL);
	cr_print_text(print, "dtype", made ? plan->dtype : NULL);
	cr_print_integer(print, "threads", made ? plan->threads : -1);
}

static void add_costs(cr_print *print, const cr_stats *stats)
{
	const int made = stats->plan && stats->plan->device;
	const crocuta_stage_times *times = made ? stats->times : NULL;
	struct rusage usage = {0};

	cr_print_open_object(print, "seconds");
	cr_print_real(print, "wall", cr_progress_seconds());
	cr_print_real(print, "cpu", cpu_seconds());
	cr_print_real(print, "prepare", or_unknown(stats, stats->prepare_seconds));
	cr_print_real(print, "run", or_unknown(stats, stats->run_seconds));
	cr_print_real(print, "model", or_unknown(stats, stats->model_seconds));
	cr_print_real(print, "filters", times ? times->prepare : NAN);
	cr_print_real(print, "tile_passes", times ? times->local : NAN);
	cr_print_real(print, "mixing", times ? times->mixing : NAN);
	cr_print_real(print, "rows", times ? times->head : NAN);
	cr_print_close_object(print);
	(void)getrusage(RUSAGE_SELF, &usage);
	cr_print_integer(print, "peak_memory_bytes", 1024 * (int64_t)usage.ru_maxrss);
	cr_print_integer(print, "device_memory_bytes", made ? stats->plan->device_bytes : -1);
}

static void add_counts(cr_print *print, const cr_stats *stats)
{
	const int done = stats->finished;
	const int known = stats->bases > 0 && stats->n_bases >= 0 && done;

	cr_print_integer(print, "bases", done ? stats->bases : -1);
	cr_print_integer(print, "n_bases", known ? stats->n_bases : -1);
	cr_print_real(print, "n_share",
		      known ? (double)stats->n_bases / (double)stats->bases : NAN);
	cr_print_integer(print, "windows", done ? stats->windows : -1);
	cr_print_integer(print, "tokens", done ? stats->tokens : -1);
	stats->add(print, done ? stats->report : NULL);
}

int cr_stats_write(const char *path, const cr_stats *stats, int status)
{
	crocuta_error error = {.code = CROCUTA_EMEMORY, .message = "no memory"};
	char *text = NULL;
	size_t bytes;
	cr_print print;
	FILE *out;

	if (!path)
		return status;
	out = open_memstream(&text, &bytes);
	if (out) {
		cr_print_start_to(&print, out);
		add_run(&print, stats, status);
		add_device(&print, stats->plan);
		add_costs(&print, stats);
		add_counts(&print, stats);
		cr_print_finish(&print);
		if (!fclose(out)) {
			error = (crocuta_error){0};
			(void)!crocuta_file_write(path, text, FIRST, &error);
		}
	}
	free(text);
	return error.code && !status ? cannot_write(path, &error) : status;
}
