/* resume.c - see resume.h. */
#define _GNU_SOURCE
#include "task/resume.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/atomic.h"
#include "io/journal_text.h"
#include "task/provenance.h"

#define INTERVAL 10.0
#define SUFFIX ".crocuta-run"
#define SPACE_LEAST 1e9 /* bytes */

void crocuta_journal_options_init(crocuta_journal_options *options)
{
	memset(options, 0, sizeof *options);
	options->interval = INTERVAL;
}

static int is_asked(const crocuta_journal_options *o)
{
	return o->resume || o->state_dir;
}

int cr_resume_check(const crocuta_journal_options *o, const char *output, crocuta_error *error)
{
	const char *wrong = NULL;

	if (o->off && is_asked(o))
		wrong = "--no-journal goes neither with --resume nor with --state-dir";
	else if (!(o->interval >= 0))
		wrong = "the journal's interval is negative";
	else if (o->state_dir && !*o->state_dir)
		wrong = "--state-dir is empty";
	else if (o->resume && !o->state_dir && !cr_output_is_file(output))
		wrong = "--resume needs an output file, or --state-dir: what has gone into a pipe "
			"cannot be added to";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

static void say(const cr_resume *resume, int level, const char *format, ...) CROCUTA_PRINTF(3, 4);

static void say(const cr_resume *resume, int level, const char *format, ...)
{
	char line[1000];
	va_list list;

	if (!resume->log)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	resume->log(resume->user, level, line);
}

/* ---- where ----------------------------------------------------------------------------------- */

/* A directory and those above it. */
static int make_directories(const char *path, crocuta_error *error)
{
	char *copy = cr_strdup(path);
	int failed = 0;

	if (!copy)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a path");
	for (char *p = copy + 1; *p && !failed; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		failed = mkdir(copy, 0777) && errno != EEXIST;
		*p = '/';
	}
	if (!failed)
		failed = mkdir(copy, 0777) && errno != EEXIST;
	cr_free(copy);
	return failed ? cr_fail_errno(error, CROCUTA_EIO,
				      "%.200s: the state directory cannot be made", path)
		      : CROCUTA_OK;
}

/* What tells this work from that of others: the binding, and the sizes of the inputs, because
 * pipelines call files of many samples by one name. */
static char *describe_work(const cr_resume *resume)
{
	json_t *work = json_deep_copy(resume->binding);
	char key[40], *text;

	for (size_t i = 0; work && i < sizeof resume->inputs / sizeof *resume->inputs; i++) {
		struct stat status;

		snprintf(key, sizeof key, "bytes of input %zu", i + 1);
		if (resume->inputs[i] && strcmp(resume->inputs[i], "-") &&
		    !stat(resume->inputs[i], &status) && S_ISREG(status.st_mode))
			json_object_set_new(work, key, json_integer(status.st_size));
	}
	text = work ? json_dumps(work, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
	json_decref(work);
	return text;
}

/* Of the work and its place: verb, file name of the output, digest of what is computed. */
static int name_in_state_dir(const cr_resume *resume, char out[PATH_MAX], crocuta_error *error)
{
	char seal[CR_JOURNAL_SEAL] = "", *text = describe_work(resume);
	const char *name = cr_output_is_stdout(resume->output)
				   ? "stdout"
				   : cr_provenance_file_name(resume->output);

	if (!text)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	cr_journal_seal(text, seal);
	free(text);
	if (snprintf(out, PATH_MAX, "%s/%s-%.120s-%s", resume->options->state_dir, resume->verb,
		     name, seal) >= PATH_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "%.100s...: the name of the state directory is too long",
			       resume->options->state_dir);
	return make_directories(resume->options->state_dir, error);
}

static int find_directory(const cr_resume *resume, char out[PATH_MAX], crocuta_error *error)
{
	if (resume->options->state_dir)
		return name_in_state_dir(resume, out, error);
	if (snprintf(out, PATH_MAX, "%s" SUFFIX, resume->output) >= PATH_MAX)
		return cr_fail(error, CROCUTA_EARG, "%.100s...: the name is too long",
			       resume->output);
	return CROCUTA_OK;
}

json_t *cr_resume_binding(json_t *facts, const crocuta_plan *plan, int shard, int shards)
{
	char version[80], text[40] = "none";

	if (!facts)
		return NULL;
	json_object_del(facts, "command");
	json_object_del(facts, "date");
	cr_provenance_version(version);
	json_object_set_new(facts, "version", json_string(version));
	if (shards > 1)
		snprintf(text, sizeof text, "%d/%d", shard, shards);
	json_object_set_new(facts, "shard", json_string(text));
	json_object_set_new(facts, "ranks", json_integer(plan->ranks));
	return facts;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void tell_start(const cr_resume *resume, const char *directory)
{
	const int64_t saved = cr_journal_saved(resume->journal);

	if (saved)
		say(resume, CROCUTA_LOG_NOTICE,
		    "going on behind %lld %s of an earlier run, in %.300s", (long long)saved,
		    resume->units, directory);
	else if (cr_journal_was_unreadable(resume->journal))
		say(resume, CROCUTA_LOG_WARNING,
		    "the journal in %.300s is damaged from its first line on: from the beginning",
		    directory);
	else if (resume->options->resume)
		say(resume, CROCUTA_LOG_NOTICE, "no earlier work in %.300s: from the beginning",
		    directory);
	else if (cr_journal_replaces(resume->journal) && !is_asked(resume->options))
		say(resume, CROCUTA_LOG_WARNING,
		    "%.300s holds the work of an earlier run, which this one replaces in %g s; "
		    "--resume would go on from it",
		    directory, resume->options->interval);
}

/* Unasked a journal must not take the place that the output needs. */
static int has_space(const char *output)
{
	const char *slash = strrchr(output, '/');
	char directory[PATH_MAX] = ".";
	struct statvfs system;

	if (slash)
		snprintf(directory, sizeof directory, "%.*s", (int)(slash - output) + 1, output);
	return statvfs(directory, &system) ||
	       (double)system.f_bavail * (double)system.f_frsize >= SPACE_LEAST;
}

int cr_resume_open(cr_resume *resume, crocuta_error *error)
{
	const crocuta_journal_options *o = resume->options;
	char directory[PATH_MAX], date[32];
	cr_journal_options how = {
		.directory = directory,
		.binding = resume->binding,
		.command = resume->command,
		.date = date,
		.unit_bytes = resume->unit_bytes,
		.resume = is_asked(o),
		.eager = o->eager || is_asked(o),
		.interval = o->interval,
	};
	const int keep = !o->off && (how.eager || (resume->unasked && has_space(resume->output)));
	int code;

	resume->journal = resume->stale = NULL;
	if (!o->state_dir && !cr_output_is_file(resume->output))
		return CROCUTA_OK;
	cr_provenance_date(date);
	code = find_directory(resume, directory, error);
	if (!code)
		code = cr_journal_open(&how, keep ? &resume->journal : &resume->stale, error);
	if (code || !keep)
		return code;
	if (resume->command)
		resume->command = cr_journal_command(resume->journal);
	tell_start(resume, directory);
	return CROCUTA_OK;
}

int64_t cr_resume_saved(const cr_resume *resume)
{
	return resume->journal ? cr_journal_saved(resume->journal) : 0;
}

const char *cr_resume_date(const cr_resume *resume)
{
	return resume->journal ? cr_journal_date(resume->journal) : NULL;
}

int cr_resume_fail_input(const cr_resume *resume, crocuta_error *error)
{
	return cr_fail(
		error, CROCUTA_EREFUSED,
		"the input is not the one that %.300s was made from; give that one, or remove "
		"this directory to begin anew",
		cr_journal_directory(resume->journal));
}

void cr_resume_clean(const cr_resume *resume, const char *path)
{
	long process;

	for (int64_t i = 0; resume->journal && (process = cr_journal_process(resume->journal, i));
	     i++)
		cr_output_remove_part(path, process);
}

void cr_resume_close(cr_resume *resume, int code)
{
	const char *trouble;

	cr_journal_end(resume->stale, !code);
	cr_journal_free(resume->stale);
	resume->stale = NULL;
	if (!resume->journal)
		return;
	cr_journal_end(resume->journal, !code);
	trouble = cr_journal_trouble(resume->journal);
	if (trouble)
		say(resume, CROCUTA_LOG_WARNING, "no journal was kept from some point on: %.300s",
		    trouble);
	if (code && code != CROCUTA_EREFUSED && cr_journal_units(resume->journal))
		say(resume, CROCUTA_LOG_NOTICE,
		    "%lld finished %s are kept in %.300s; %s goes on from there",
		    (long long)cr_journal_units(resume->journal), resume->units,
		    cr_journal_directory(resume->journal),
		    resume->options->state_dir ? "the same command" : "--resume");
	cr_journal_free(resume->journal);
	resume->journal = NULL;
}
