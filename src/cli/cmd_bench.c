/* cmd_bench.c - `crocuta bench`: how fast a model runs here, and how near to the machine's limit.
 *
 * On a CPU, FLOP of a base are those of the model, whatever shortcuts the engine takes: dense
 * layers 2 N (4 D^2 + 2 D I) + 2 V D, and the long convolution N D (10 log2(2 L) + 6), the count of
 * two cached-filter real transforms. The limit is the measured multiply-add rate of the same
 * threads. Of hybrids: 2 a parameter (the token table, which is the head as well, among them), and of
 * every attention layer 2 D L, the causal half of its two products; their filters are not counted.
 *
 * On GPUs the two kinds of work have a limit each, measured in the same run on the first of them.
 * Local: 2 N (4 D^2 + 2 D I) FLOP a base against the rate of a large bfloat16 matrix product;
 * float32 multiplies halves three times for each of these. Mixing: N times 3 D values read and D
 * written, of the arithmetic's size (float32: 16 D bytes, bfloat16: 8 D), against the bandwidth of
 * a copy. The share of both: the time that these limits allow over the time taken. Of hybrids
 * attention is work against the matrix product's rate, and nothing is set against the copy's.
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
	int threads, repeat, convolution, dtype, parallel, json;
	const char *isa, *device;
	int quiet, verbosity;
} settings;

#define AT(field) .offset = offsetof(settings, field)

static const cr_option options[] = {
	CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "length",
	 .group = CR_GROUP_INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(length),
	 .argument = "N",
	 .help = "bases of a sequence",
	 .standard = "the model's default window",
	 .min = 1,
	 .max = INT64_MAX},
	{.name = "sequences",
	 .group = CR_GROUP_INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(sequences),
	 .argument = "N",
	 .help = "sequences of one run; 0 = about 256 k bases, on GPUs sixteen batches of each",
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
	CR_DEVICE_OPTIONS(settings, device, dtype),
	CR_PARALLEL_OPTION(settings, parallel),
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
	int64_t sequences; /* of one run */
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

static int on_gpus(const crocuta_plan *plan)
{
	return !strcmp(plan->device, "cuda");
}

/* A GPU hands over the last row of each sequence only: the way to the host is not what is
 * measured. */
static int time_runs(crocuta_session *session, const settings *set, const uint8_t *tokens,
		     int64_t length, result *r, crocuta_error *error)
{
	crocuta_sequence *list = calloc((size_t)r->sequences, sizeof *list);
	double sink = 0;
	crocuta_request request = {.layer = -1, .want_hidden = 1, .rows = drop_rows, .user = &sink};
	int status = list ? 0 : CROCUTA_EMEMORY;

	for (int64_t i = 0; !status && i < r->sequences; i++)
		list[i] = (crocuta_sequence){tokens, length, on_gpus(&r->plan) ? length - 1 : 0};
	r->seconds = HUGE_VAL;
	for (int i = 0; !status && i < set->repeat; i++) {
		crocuta_stage_times stages;
		double start, took;

		crocuta_session_get_times(session, &stages, 1);
		r->prepare = i ? r->prepare : stages.prepare;
		start = now();
		status = crocuta_session_run(session, list, r->sequences, &request, error);
		took = now() - start;
		crocuta_session_get_times(session, &stages, 1);
		r->slowest = took > r->slowest ? took : r->slowest;
		if (took < r->seconds) {
			r->seconds = took;
			r->stages = stages;
		}
	}
	free(list);
	return status;
}

static void fill_options(const settings *set, crocuta_session_options *o)
{
	crocuta_session_options_init(o);
	o->device = set->device;
	o->dtype = set->dtype;
	o->parallel = set->parallel;
	o->threads = set->threads;
	o->convolution = set->convolution;
	o->isa = set->isa;
}

static int measure(const crocuta_model *model, const settings *set, int64_t length, result *r,
		   crocuta_error *error)
{
	uint8_t *tokens = malloc((size_t)length);
	crocuta_session *session = NULL;
	crocuta_session_options o;
	int status = tokens ? 0 : CROCUTA_EMEMORY;

	fill_options(set, &o);
	o.max_length = length;
	if (!status)
		status = crocuta_session_new(model, &o, &session, error);
	for (int64_t i = 0, seed = 1; !status && i < length; i++) {
		seed = (seed * 1103515245 + 12345) % 2147483648;
		tokens[i] = crocuta_model_token(model, "ACGT"[seed >> 16 & 3]);
	}
	if (!status) {
		r->plan = *crocuta_session_get_plan(session);
		r->sequences = set->sequences       ? set->sequences
			       : on_gpus(&r->plan) ? 4 * r->plan.gather
						   : 1 + ((int64_t)256 << 10) / length;
		status = time_runs(session, set, tokens, length, r, error);
	}
	if (!status)
		r->plan = *crocuta_session_get_plan(session);
	crocuta_session_free(session);
	free(tokens);
	return status;
}

/* Is it none of HyenaDNA's shape? */
static int is_hybrid(const crocuta_model_info *m)
{
	return m->attention_layers > 0 || !cr_info_has_filters(m);
}

static double dense_flop_of_a_base(const crocuta_model_info *m)
{
	const double d = (double)m->width, inner = (double)m->inner_width;

	if (is_hybrid(m))
		return 2 * (double)m->parameters;
	return 2 * (double)m->layers * (4 * d * d + 2 * d * inner);
}

static double attention_flop_of_a_base(const crocuta_model_info *m, int64_t length)
{
	return 2 * (double)m->attention_layers * (double)m->width * (double)length;
}

static double flop_of_a_base(const crocuta_model_info *m, int64_t length)
{
	const double n = (double)m->layers, d = (double)m->width;

	if (is_hybrid(m))
		return dense_flop_of_a_base(m) + attention_flop_of_a_base(m, length);
	return dense_flop_of_a_base(m) + 2 * (double)m->vocabulary * d +
	       n * d * (10 * log2(2 * (double)length) + 6);
}

static int64_t peak_resident_bytes(void)
{
	struct rusage usage = {0};

	getrusage(RUSAGE_SELF, &usage);
	return (int64_t)usage.ru_maxrss * 1024;
}

static void print_stages(cr_print *print, const crocuta_stage_times *stages)
{
	const double sum = stages->local + stages->mixing + stages->head;

	cr_print_real(print, "share_local", stages->local / sum);
	cr_print_real(print, "share_mixing", stages->mixing / sum);
	cr_print_real(print, "share_head", stages->head / sum);
}

static void report_cpu(const crocuta_model *model, const settings *set, int64_t length,
		       const result *r)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const double bases = (double)(length * r->sequences);
	const double rate = bases * flop_of_a_base(info, length) / r->seconds;
	const double peak = crocuta_measure_fma_peak(r->plan.isa, r->plan.threads);
	cr_print print;

	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_integer(&print, "length", length);
	cr_print_integer(&print, "sequences", r->sequences);
	cr_print_text(&print, "device", r->plan.device);
	cr_print_text(&print, "dtype", r->plan.dtype);
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
	print_stages(&print, &r->stages);
	cr_print_integer(&print, "planned_bytes", r->plan.total_bytes);
	cr_print_integer(&print, "peak_resident_bytes", peak_resident_bytes());
	cr_print_finish(&print);
}

/* Stage seconds are means over the GPUs, and the limits are those of one: so is the work that is
 * set against them. */
static int report_gpu(const crocuta_model *model, const settings *set, int64_t length,
		      const result *r, crocuta_error *error)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const double bases = (double)(length * r->sequences);
	const double value_bytes = r->plan.dtype[0] == 'b' ? 2 : 4;
	const double share = bases / r->plan.devices; /* of a GPU */
	const int hybrid = is_hybrid(info);
	const double flop = share * dense_flop_of_a_base(info);
	const double attention = share * attention_flop_of_a_base(info, length);
	const double bytes =
		hybrid ? 0 : share * 4 * (double)(info->layers * info->width) * value_bytes;
	const char *colon = strchr(set->device, ':');
	double matrix_limit, copy_limit, floor;
	cr_print print;
	/* "cuda:all" and "cuda" begin with GPU 0 */
	int status = crocuta_measure_gpu_limits(colon ? atoi(colon + 1) : 0, &matrix_limit,
						&copy_limit, error);

	if (status)
		return status;
	floor = (flop + attention) / matrix_limit + bytes / copy_limit;
	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_integer(&print, "length", length);
	cr_print_integer(&print, "sequences", r->sequences);
	cr_print_text(&print, "device", r->plan.device);
	cr_print_integer(&print, "ranks", r->plan.ranks);
	cr_print_integer(&print, "rank_bytes", r->plan.rank_bytes);
	cr_print_integer(&print, "devices", r->plan.devices);
	cr_print_text(&print, "isa", r->plan.isa);
	cr_print_text(&print, "dtype", r->plan.dtype);
	cr_print_text(&print, "convolution", r->plan.convolution);
	cr_print_integer(&print, "block", r->plan.block);
	cr_print_integer(&print, "far_rank", r->plan.far_rank);
	cr_print_integer(&print, "batch", r->plan.batch);
	cr_print_real(&print, "prepare_seconds", r->prepare);
	cr_print_real(&print, "seconds", r->seconds);
	cr_print_real(&print, "spread", r->slowest / r->seconds);
	cr_print_real(&print, "bases_per_second", bases / r->seconds);
	cr_print_real(&print, "matrix_gflop_per_second", matrix_limit / 1e9);
	cr_print_real(&print, "copy_gb_per_second", copy_limit / 1e9);
	cr_print_real(&print, "local_seconds", r->stages.local);
	cr_print_real(&print, "mixing_seconds", r->stages.mixing);
	cr_print_real(&print, "head_seconds", r->stages.head);
	cr_print_real(&print, "local_share_of_matrix_limit", flop / r->stages.local / matrix_limit);
	if (hybrid)
		cr_print_real(&print, "mixing_share_of_matrix_limit",
			      attention / r->stages.mixing / matrix_limit);
	else
		cr_print_real(&print, "mixing_share_of_copy_limit",
			      bytes / r->stages.mixing / copy_limit);
	cr_print_real(&print, "share_of_limits", floor / r->seconds);
	print_stages(&print, &r->stages);
	cr_print_integer(&print, "device_bytes", r->plan.device_bytes);
	cr_print_integer(&print, "peak_resident_bytes", peak_resident_bytes());
	cr_print_finish(&print);
	return 0;
}

static int run(const cr_command *command, int argc, char **argv)
{
	settings set = {.repeat = 3, .device = "auto", .verbosity = CR_VERBOSITY_DEFAULT};
	crocuta_model *model = NULL;
	crocuta_session_options o;
	crocuta_error error = {0};
	cr_operands operands;
	int64_t length;
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
	fill_options(&set, &o);
	status = cr_follow_rank(model, &o);
	if (status != CR_PARSE_GO_ON)
		return status;
	length = set.length ? set.length : crocuta_model_get_info(model)->default_window;
	status = measure(model, &set, length, &r, &error);
	if (!status && on_gpus(&r.plan))
		status = report_gpu(model, &set, length, &r, &error);
	else if (!status)
		report_cpu(model, &set, length, &r);
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
