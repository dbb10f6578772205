/* run_arguments.c - see run_arguments.h. */
#include "cli/run_arguments.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <crocuta/journal.h>
#include <crocuta/session.h>

#include "cli/messages.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/stats.h"

const cr_choice cr_isa_choices[] = {{"avx512", 0}, {"avx2", 0}, {"portable", 0}, {NULL, 0}};
const cr_choice cr_convolution_choices[] = {{"auto", CROCUTA_CONVOLUTION_AUTO},
					    {"fft", CROCUTA_CONVOLUTION_FFT},
					    {"nearfar", CROCUTA_CONVOLUTION_NEARFAR},
					    {NULL, 0}};
const cr_choice cr_dtype_choices[] = {{"f32", CROCUTA_DTYPE_F32},
				      {"bf16", CROCUTA_DTYPE_BF16},
				      {NULL, 0}};
const cr_choice cr_parallel_choices[] = {{"auto", CROCUTA_PARALLEL_AUTO},
					 {"batch", CROCUTA_PARALLEL_BATCH},
					 {"sequence", CROCUTA_PARALLEL_SEQUENCE},
					 {NULL, 0}};
const cr_choice cr_index_choices[] = {{"csi", 0}, {"tbi", 0}, {NULL, 0}};

int cr_refuse_terminal(const char *output, const char *type)
{
	int to_stdout = !strcmp(output, "-") || !strcmp(output, "/dev/stdout");

	if (!to_stdout || !type || !strchr("zbun", *type) || !isatty(STDOUT_FILENO))
		return CR_PARSE_GO_ON;
	cr_error("-O %.20s is binary and is not written to a terminal; give -o FILE or a pipe",
		 type);
	return CROCUTA_EARG;
}

int cr_run_settle(const cr_run_arguments *arguments, struct crocuta_journal_options *journal,
		  const char *output)
{
	const char *directory = getenv("CROCUTA_STATE_DIR");

	if (!journal->state_dir && !journal->off && directory && *directory)
		journal->state_dir = directory;
	if (arguments->max_time > 0) {
		cr_progress_limit(arguments->max_time);
		journal->eager = 1;
	}
	if (arguments->stats && !strcmp(arguments->stats, "-")) {
		cr_error("--stats -: standard output is for the run's data; give a file");
		return CROCUTA_EARG;
	}
	if (arguments->stats && output && !strcmp(arguments->stats, output) && strcmp(output, "-")) {
		cr_error("%.200s: --stats and the output are the same file", output);
		return CROCUTA_EARG;
	}
	return cr_stats_check(arguments->stats);
}

int cr_report_failure(const crocuta_error *error, int code)
{
	if (code == CROCUTA_ESTOPPED && !cr_signals_pending() && cr_progress_is_late())
		cr_error("stopped after --max-time; nothing new is under the output's name");
	else if (code == CROCUTA_ESTOPPED && cr_signals_pending())
		cr_warning("stopped by a signal; nothing new is under the output's name");
	else
		cr_report_error(error, code);
	return code;
}

int cr_follow_rank(crocuta_model *model, const crocuta_session_options *options)
{
	crocuta_error error = {0};
	int rank, size, code = crocuta_session_rank(options, &rank, &size, &error);

	if (!code && getenv("CROCUTA_SIZE") && options->parallel != CROCUTA_PARALLEL_SEQUENCE)
		cr_warning("CROCUTA_SIZE is set, but without --parallel sequence this process works "
			   "alone, on all of the input");
	if (!code && rank == 0)
		return CR_PARSE_GO_ON;
	if (!code)
		code = crocuta_session_follow(model, options, &error);
	crocuta_model_close(model);
	return code ? cr_report_failure(&error, code) : 0;
}
