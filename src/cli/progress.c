/* progress.c - see progress.h. */
#define _GNU_SOURCE
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/signals.h"

#define LIVE_SECONDS 0.2

static struct {
	double started, shown, every, limit;
	int live;
	const char *unit;
} clockwork;

static double read_clock(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cr_progress_start(int seconds, const char *unit)
{
	clockwork.unit = unit;
	clockwork.started = clockwork.shown = read_clock(CLOCK_MONOTONIC);
	clockwork.live = seconds > 0 && isatty(STDERR_FILENO);
	clockwork.every = clockwork.live ? LIVE_SECONDS : seconds;
}

void cr_progress_limit(double seconds)
{
	clockwork.limit = seconds;
}

double cr_progress_seconds(void)
{
	return read_clock(CLOCK_MONOTONIC) - clockwork.started;
}

int cr_progress_is_late(void)
{
	return clockwork.limit > 0 && cr_progress_seconds() >= clockwork.limit;
}

static char *next_buffer(size_t *capacity)
{
	static char buffers[8][48];
	static unsigned turn;

	*capacity = sizeof buffers[0];
	return buffers[turn++ % 8];
}

const char *cr_with_commas(long long number)
{
	size_t capacity, length;
	char digits[32], *text = next_buffer(&capacity), *out = text;

	if (number < 0)
		return "unknown";
	length = (size_t)snprintf(digits, sizeof digits, "%lld", number);
	for (size_t i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = '\0';
	return text;
}

const char *cr_as_bytes(double bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
	size_t capacity, unit = 0;
	char *text = next_buffer(&capacity);

	if (bytes < 0)
		return "unknown";
	while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units) {
		bytes /= 1000;
		unit++;
	}
	snprintf(text, capacity, unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
	return text;
}

static void format_state(char *text, size_t capacity, const crocuta_progress *progress,
			 double elapsed)
{
	double done = (double)progress->bases_done, total = (double)progress->bases_total;
	double speed = elapsed > 0 ? done / elapsed : 0, left;
	int used;

	used = snprintf(text, capacity, "%s %s", cr_with_commas(progress->bases_done),
			clockwork.unit);
	if (total > 0)
		used += snprintf(text + used, capacity - (size_t)used, " of %s (%.1f %%)",
				 cr_with_commas(progress->bases_total), 100 * done / total);
	used += snprintf(text + used, capacity - (size_t)used, ", %.0f %s/s", speed,
			 clockwork.unit);
	if (total > 0 && speed > 0) {
		left = (total - done) / speed;
		used += snprintf(text + used, capacity - (size_t)used, ", %.0f:%02d left",
				 (double)(long)(left / 60), (int)left % 60);
	}
	if (progress->contig)
		snprintf(text + used, capacity - (size_t)used, ", at %.60s", progress->contig);
}

int cr_progress_report(void *user, const crocuta_progress *progress)
{
	double now = read_clock(CLOCK_MONOTONIC);
	char text[300];

	(void)user;
	if (cr_signals_pending() || cr_progress_is_late())
		return 1;
	if (clockwork.every <= 0 || now - clockwork.shown < clockwork.every ||
	    cr_messages_get_verbosity() < CROCUTA_LOG_NOTICE)
		return 0;
	clockwork.shown = now;
	format_state(text, sizeof text, progress, now - clockwork.started);
	if (clockwork.live) {
		char line[81];

		snprintf(line, sizeof line, "%.79s", text);
		cr_messages_live(line);
	} else {
		cr_notice("%s", text);
	}
	return 0;
}

/* Variables that can change what a run does, as far as they are set. */
static void name_environment(void)
{
	static const char *const names[] = {"CROCUTA_MODEL_PATH",  "CROCUTA_STATE_DIR",
					    "HF_HOME",             "HF_HUB_CACHE",
					    "OMP_NUM_THREADS",     "SLURM_CPUS_PER_TASK",
					    "SOURCE_DATE_EPOCH"};
	char text[1000] = "";
	size_t used = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names && used < sizeof text; i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			used += (size_t)snprintf(text + used, sizeof text - used, " %s=%.200s",
						 names[i], value);
	}
	if (used)
		cr_notice("environment:%s", text);
}

void cr_progress_stages(const crocuta_stage_times *times)
{
	char text[200];

	snprintf(text, sizeof text,
		 "stages: preparing %.3f s, tile passes %.3f s, mixing %.3f s, rows %.3f s",
		 times->prepare, times->local, times->mixing, times->head);
	cr_messages_log(NULL, CROCUTA_LOG_INFO, text);
}

void cr_progress_finish(const char *counts)
{
	struct rusage usage = {0};

	cr_messages_live(NULL);
	cr_messages_finish();
	(void)getrusage(RUSAGE_SELF, &usage);
	cr_notice("crocuta %s+htslib-%s", crocuta_version(), crocuta_htslib_version());
	cr_notice("command: %s", cr_command_line());
	name_environment();
	if (counts)
		cr_notice("%s", counts);
	cr_notice("wall %.3f s, CPU %.3f s, peak memory %s",
		  read_clock(CLOCK_MONOTONIC) - clockwork.started,
		  read_clock(CLOCK_PROCESS_CPUTIME_ID),
		  cr_as_bytes(1024.0 * (double)usage.ru_maxrss));
}
