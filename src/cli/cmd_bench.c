/* cmd_bench.c - `crocuta bench`: how fast a model runs here, and how near to the machine's limit.
 *
 * FLOP of a base are those of the model, whatever shortcuts the engine takes: dense layers
 * 2 N (4 D^2 + 2 D I) + 2 V D, and the long convolution N D (10 log2(2 L) + 6), the count of two
 * cached-filter real transforms. The limit is the measured multiply-add rate of the same threads.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/model_arguments.h"
#include "cli/print.h"
#include "cli/run_arguments.h"

typedef struct settings {
	cr_model_arguments model;
	int64_t length, sequences;
	int threads, repeat, convolution, json;
	const char *isa;
	int quiet, verbosity;
} settings;

#define AT(field) .offset = offsetof(settings, field)

static const cr_option options[] = {
	CR_MODEL_NAME_OPTION(settings),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "length",
	 .group = CR_GROUP_INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(length),
	 .argument = "N",
	 .help = "bases of a sequence",
	 .standard = "the model's usable length",
	 .min = 1,
	 .max = INT64_MAX},
	{.name = "sequences",
	 .group = CR_GROUP_INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(sequences),
	 .argument = "N",
	 .help = "sequences of one run; 0 = about 256 k bases",
	 .standard = "0",
	 .min = 0,
	 .max = 1000000},
	{.name = "repeat",
	 .group = CR_GROUP_RESOURCES,
	 .kind = CR_OPTION_INT,
	 AT(repeat),
	 .argument = "N",
	 .help = "runs; the fastest is reported, and the slowest over it as spread",
	 .standard = "3",
	 .min = 1,
	 .max = 1000},
	CR_THREADS_OPTION(settings, threads),
	CR_KERNEL_OPTIONS(settings, isa, convolution),
	{.name = "json",
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(json),
	 .help = "print JSON"},
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

typedef struct result {
	double seconds, slowest; /* of one run */
	crocuta_stage_times stages;
	double prepare;
	crocuta_plan plan;
} result;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int drop_rows(void *user, int64_t sequence, int64_t first, int64_t count,
		     const float *hidden, const float *logits)
{
	(void)sequence;
	(void)first;
	(void)count;
	(void)logits;
	*(double *)user += hidden[0];
	return 0;
}

static int measure(const crocuta_model *model, const settings *set, int64_t length,
		   int64_t sequences, result *r, crocuta_error *error)
{
	crocuta_sequence *list = calloc((size_t)sequences, sizeof *list);
	uint8_t *tokens = malloc((size_t)length);
	crocuta_session *session = NULL;
	crocuta_session_options o;
	double sink = 0;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = drop_rows, .user = &sink};
	int status = 0;

	crocuta_session_options_init(&o);
	o.threads = set->threads;
	o.max_length = length;
	o.convolution = set->convolution;
	o.isa = set->isa;
	if (!list || !tokens)
		status = CROCUTA_EMEMORY;
	if (!status)
		status = crocuta_session_new(model, &o, &session, error);
	for (int64_t i = 0, seed = 1; !status && i < length; i++) {
		seed = (seed * 1103515245 + 12345) % 2147483648;
		tokens[i] = crocuta_model_token(model, "ACGT"[seed >> 16 & 3]);
	}
	for (int64_t i = 0; !status && i < sequences; i++)
		list[i] = (crocuta_sequence){tokens, length, 0};
	r->seconds = HUGE_VAL;
	for (int i = 0; !status && i < set->repeat; i++) {
		crocuta_stage_times stages;
		double start, took;

		crocuta_session_get_times(session, &stages, 1);
		r->prepare = i ? r->prepare : stages.prepare;
		start = now();
		status = crocuta_session_run(session, list, sequences, &request, error);
		took = now() - start;
		crocuta_session_get_times(session, &stages, 1);
		r->slowest = took > r->slowest ? took : r->slowest;
		if (took < r->seconds) {
			r->seconds = took;
			r->stages = stages;
		}
	}
	if (session)
		r->plan = *crocuta_session_get_plan(session);
	crocuta_session_free(session);
	free(list);
	free(tokens);
	return status;
}

static double flop_of_a_base(const crocuta_model_info *m, int64_t length)
{
	const double n = (double)m->layers, d = (double)m->width, inner = (double)m->inner_width;

	return 2 * n * (4 * d * d + 2 * d * inner) + 2 * (double)m->vocabulary * d +
	       n * d * (10 * log2(2 * (double)length) + 6);
}

static void report(const crocuta_model *model, const settings *set, int64_t length,
		   int64_t sequences, const result *r)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const double bases = (double)(length * sequences);
	const double rate = bases * flop_of_a_base(info, length) / r->seconds;
	const double peak = crocuta_measure_fma_peak(r->plan.isa, r->plan.threads);
	const double stages = r->stages.local + r->stages.mixing + r->stages.head;
	struct rusage usage = {0};
	cr_print print;

	getrusage(RUSAGE_SELF, &usage);
	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_integer(&print, "length", length);
	cr_print_integer(&print, "sequences", sequences);
	cr_print_integer(&print, "threads", r->plan.threads);
	cr_print_text(&print, "isa", r->plan.isa);
	cr_print_text(&print, "convolution", r->plan.convolution);
	cr_print_integer(&print, "block", r->plan.block);
	cr_print_integer(&print, "far_rank", r->plan.far_rank);
	cr_print_real(&print, "prepare_seconds", r->prepare);
	cr_print_real(&print, "seconds", r->seconds);
	cr_print_real(&print, "spread", r->slowest / r->seconds);
	cr_print_real(&print, "bases_per_second", bases / r->seconds);
	cr_print_real(&print, "gflop_per_second", rate / 1e9);
	cr_print_real(&print, "peak_gflop_per_second", peak / 1e9);
	cr_print_real(&print, "share_of_peak", rate / peak);
	cr_print_real(&print, "share_local", r->stages.local / stages);
	cr_print_real(&print, "share_mixing", r->stages.mixing / stages);
	cr_print_real(&print, "share_head", r->stages.head / stages);
	cr_print_integer(&print, "planned_bytes", r->plan.total_bytes);
	cr_print_integer(&print, "peak_resident_bytes", (int64_t)usage.ru_maxrss * 1024);
	cr_print_finish(&print);
}

static int run(const cr_command *command, int argc, char **argv)
{
	settings set = {.repeat = 3, .verbosity = CR_VERBOSITY_DEFAULT};
	crocuta_model *model = NULL;
	crocuta_error error = {0};
	cr_operands operands;
	int64_t length, sequences;
	result r = {0};
	int status;

	crocuta_model_options_init(&set.model.open);
	status = cr_options_parse(command, &set, argc, argv, 1, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set.quiet ? 1 : set.verbosity);
	if (operands.count)
		set.model.name = operands.list[0];
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return status;
	length = set.length ? set.length : crocuta_model_get_info(model)->usable_length;
	sequences = set.sequences ? set.sequences : 1 + ((int64_t)256 << 10) / length;
	status = measure(model, &set, length, sequences, &r, &error);
	if (!status)
		report(model, &set, length, sequences, &r);
	crocuta_model_close(model);
	return status ? cr_report_error(&error, status) : 0;
}

const cr_command cr_command_bench = {
	.name = "bench",
	.full_name = "bench",
	.summary = "bases a second of a model here, and its share of the machine's limit",
	.synopsis = "[options] [DIR|NAME]",
	.details = "Runs made-up sequences through a model and prints one fact a line.",
	.options = options,
	.run = run,
};
