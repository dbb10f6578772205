/* cmd_model.c - `crocuta model list|show|verify|convert`. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/model_arguments.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/run_arguments.h"

typedef struct settings {
	cr_model_arguments model;
	const char *output, *device;
	int json, certificate, threads, arithmetic;
	int dtype, tables, force; /* of convert */
	int quiet, verbosity;
} settings;

static const char *const dtype_names[] = {"F32", "F16", "BF16"};
static const cr_choice dtypes[] = {{"F32", 0}, {"F16", 1},  {"BF16", 2}, {"f32", 0},
				   {"f16", 1}, {"bf16", 2}, {NULL, 0}};

static const cr_choice table_choices[] = {{"stored", CROCUTA_TABLES_AS_STORED},
					  {"drop", CROCUTA_TABLES_DROP},
					  {"write", CROCUTA_TABLES_WRITE},
					  {NULL, 0}};

#define AT(field) .offset = offsetof(settings, field)

#define JSON_OPTION                                                                                \
	{                                                                                          \
		.name = "json", .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_FLAG, AT(json),        \
		.help = "print JSON"                                                               \
	}
#define THREADS_OPTION                                                                             \
	{                                                                                          \
		.name = "threads", .letter = '@', .group = CR_GROUP_RESOURCES,                     \
		.kind = CR_OPTION_INT, AT(threads), .argument = "N",                               \
		.help = "total CPU threads; 0 = as many as allowed", .standard = "0", .min = 0,    \
		.max = 1024                                                                        \
	}
static const cr_option list_options[] = {JSON_OPTION, CR_MESSAGE_OPTIONS(settings), {.name = NULL}};

static const cr_option show_options[] = {
	CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "certificate",
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(certificate),
	 .help = "also examine the filters: does the near/far convolution hold?"},
	JSON_OPTION,
	THREADS_OPTION,
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

static const cr_option verify_options[] = {CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
					   CR_MODEL_OPEN_OPTIONS(settings),
					   JSON_OPTION,
					   THREADS_OPTION,
					   CR_DEVICE_OPTIONS(settings, device, arithmetic),
					   CR_MESSAGE_OPTIONS(settings),
					   {.name = NULL}};

static const cr_option convert_options[] = {
	CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "output",
	 .letter = 'o',
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(output),
	 .argument = "DIR",
	 .help = "directory to write; must not exist"},
	{.name = "dtype",
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_CHOICE,
	 AT(dtype),
	 .argument = "TYPE",
	 .help = "storage of the weights: F32, F16 or BF16",
	 .standard = "F32",
	 .choices = dtypes},
	{.name = "position-tables",
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_CHOICE,
	 AT(tables),
	 .argument = "HOW",
	 .help = "z and t: stored as the model has them, drop where they equal the formula up to "
		 "rounding (smaller; results move by up to 1e-4), or write always",
	 .standard = "stored",
	 .choices = table_choices},
	{.name = "force",
	 .group = CR_GROUP_OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(force),
	 .help = "replace an existing model directory"},
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

/* Options, then at most `operands` arguments: the model may be one instead of -m. */
static int read_arguments(const cr_command *command, int argc, char **argv, int max_operands,
			  settings *set)
{
	cr_operands operands;
	int status;

	memset(set, 0, sizeof *set);
	crocuta_model_options_init(&set->model.open);
	set->verbosity = CR_VERBOSITY_DEFAULT;
	set->device = "auto";
	status = cr_options_parse(command, set, argc, argv, max_operands, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set->quiet ? 1 : set->verbosity);
	if (operands.count && set->model.name) {
		cr_error("the model is given twice: %.200s and -m %.200s", operands.list[0],
			 set->model.name);
		return CROCUTA_EARG;
	}
	if (operands.count)
		set->model.name = operands.list[0];
	return CR_PARSE_GO_ON;
}

typedef struct listing {
	int json, count;
} listing;

static void list_broken(const listing *list, const char *name, const char *path,
			const crocuta_error *error)
{
	if (!list->json) {
		printf("%s\t-\t-\t-\t-\t%s\n", name, path);
		cr_warning("%s", error->message);
		return;
	}
	printf("%s\n  {\"name\": ", list->count ? "," : "");
	cr_print_json_string(name);
	printf(", \"path\": ");
	cr_print_json_string(path);
	printf(", \"error\": ");
	cr_print_json_string(error->message);
	printf("}");
}

static int list_one(void *user, const char *name, const char *path)
{
	listing *list = user;
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	const crocuta_model_info *info;

	if (crocuta_model_open(path, NULL, &model, &error)) {
		list_broken(list, name, path, &error);
		list->count++;
		return 0;
	}
	info = crocuta_model_get_info(model);
	if (list->json) {
		printf("%s\n  {\"name\": ", list->count ? "," : "");
		cr_print_json_string(name);
		printf(", \"family\": ");
		cr_print_json_string(info->family);
		printf(", \"layers\": %lld, \"width\": %lld, \"max_length\": %lld, \"path\": ",
		       (long long)info->layers, (long long)info->width,
		       (long long)info->max_length);
		cr_print_json_string(path);
		printf("}");
	} else {
		printf("%s\t%s\t%lld\t%lld\t%lld\t%s\n", name, info->family,
		       (long long)info->layers, (long long)info->width, (long long)info->max_length,
		       path);
	}
	list->count++;
	crocuta_model_close(model);
	return 0;
}

static int run_list(const cr_command *command, int argc, char **argv)
{
	crocuta_error error = {0};
	listing list = {0, 0};
	settings set;
	int status = read_arguments(command, argc, argv, 0, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	list.json = set.json;
	printf(set.json ? "[" : "#name\tfamily\tlayers\twidth\tmax_length\tpath\n");
	status = crocuta_model_list(list_one, &list, &error);
	if (set.json)
		printf("\n]\n");
	return status ? cr_report_error(&error, status) : 0;
}

static void print_vocabulary(const cr_print *print, const crocuta_model *model)
{
	static const char letters[] = "ACGTN";

	if (print->json)
		printf(",\n  \"vocabulary\": {");
	for (const char *letter = letters; *letter; letter++) {
		int token = crocuta_model_token(model, *letter);

		if (print->json)
			printf("%s\"%c\": %d", letter == letters ? "" : ", ", *letter, token);
		else
			printf("token\t%c\t%d\n", *letter, token);
	}
	if (print->json)
		printf("}");
}

static void print_notes(cr_print *print, const crocuta_model *model)
{
	const char *note;

	if (print->json)
		printf(",\n  \"notes\": [");
	for (int i = 0; (note = crocuta_model_get_note(model, i)); i++) {
		if (!print->json) {
			cr_print_text(print, "note", note);
			continue;
		}
		printf(i ? ", " : "");
		cr_print_json_string(note);
	}
	if (print->json)
		printf("]");
}

static int print_certificate(cr_print *print, const crocuta_model *model, int threads,
			     crocuta_error *error)
{
	crocuta_session_options options;
	crocuta_plan plan;
	int status;

	if (!cr_info_has_filters(crocuta_model_get_info(model))) {
		cr_print_yes_no(print, "nearfar_certified", 0);
		cr_print_text(print, "nearfar_refusal",
			      "the model has none of the filters that near/far is for");
		return 0;
	}
	crocuta_session_options_init(&options);
	options.device = "cpu";
	options.threads = threads;
	options.convolution = CROCUTA_CONVOLUTION_NEARFAR;
	status = crocuta_session_plan(model, &options, &plan, error);
	if (status && status != CROCUTA_EMODEL)
		return status;
	cr_print_yes_no(print, "nearfar_certified", !status);
	if (status) {
		cr_print_text(print, "nearfar_refusal", error->message);
		return 0;
	}
	cr_print_integer(print, "nearfar_block", plan.block);
	cr_print_integer(print, "nearfar_moments", plan.far_rank);
	cr_print_real(print, "nearfar_error", plan.certificate_error);
	return 0;
}

/* Is there something that should be a head? head.json is looked for by name: what is in it may be
 * what is wrong. */
static int should_have_head(const crocuta_model_info *info)
{
	char path[4200];

	snprintf(path, sizeof path, "%.4096s/head.json", info->path);
	return info->classes > 0 || !access(path, F_OK);
}

static void print_classes(const cr_print *print, const crocuta_head_info *info)
{
	if (print->json)
		printf(",\n  \"class_names\": [");
	for (int64_t i = 0; i < info->classes; i++) {
		if (!print->json) {
			printf("class\t%lld\t%s\n", (long long)i, info->class_names[i]);
			continue;
		}
		printf(i ? ", " : "");
		cr_print_json_string(info->class_names[i]);
	}
	if (print->json)
		printf("]");
}

/* Where the classifier's weights are and what it tells apart. One that is refused is no reason not
 * to show the model. */
static int print_head(cr_print *print, const crocuta_model *model, int allow_nan,
		      crocuta_error *error)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	crocuta_head_options options;
	crocuta_head *head = NULL;
	crocuta_error refusal = {0};
	int status;

	crocuta_head_options_init(&options);
	options.allow_nan_weights = allow_nan;
	status = crocuta_head_open(NULL, model, &options, &head, &refusal);
	if (status && status != CROCUTA_EMODEL) {
		*error = refusal;
		return status;
	}
	cr_print_integer(print, "classes",
			 head ? crocuta_head_get_info(head)->classes : info->classes);
	cr_print_text(print, "head", head ? crocuta_head_get_info(head)->source : "none");
	if (head)
		print_classes(print, crocuta_head_get_info(head));
	else if (should_have_head(info))
		cr_print_text(print, "head_refusal", refusal.message);
	crocuta_head_close(head);
	return 0;
}

static void print_info(cr_print *print, const crocuta_model_info *info)
{
	cr_print_text(print, "name", info->name);
	cr_print_text(print, "path", info->path);
	cr_print_text(print, "family", info->family);
	cr_print_text(print, "sha256", info->sha256);
	cr_print_text(print, "dtype", info->dtype);
	cr_print_integer(print, "layers", info->layers);
	cr_print_integer(print, "width", info->width);
	cr_print_integer(print, "inner_width", info->inner_width);
	cr_print_integer(print, "vocabulary_rows", info->vocabulary);
	cr_print_integer(print, "parameters", info->parameters);
	cr_print_integer(print, "max_length", info->max_length);
	cr_print_integer(print, "usable_length", info->usable_length);
	cr_print_integer(print, "default_window", info->default_window);
	if (cr_info_has_filters(info)) {
		cr_print_real(print, "filter_shift", info->filter_shift);
		cr_print_text(print, "filter_shift_source", info->filter_shift_source);
	}
	cr_print_text(print, "lm_head", info->has_lm_head ? "own" : "tied to the token table");
	if (cr_info_has_filters(info))
		cr_print_text(print, "position_tables",
			      info->position_tables_loaded ? "stored" : "formula");
	if (info->attention_layers)
		cr_print_integer(print, "attention_layers", info->attention_layers);
	cr_print_yes_no(print, "causal", info->causal);
}

static int run_show(const cr_command *command, int argc, char **argv)
{
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	cr_print print;
	settings set;
	int status = read_arguments(command, argc, argv, 1, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return status;
	cr_print_start(&print, set.json);
	print_info(&print, crocuta_model_get_info(model));
	status = print_head(&print, model, set.model.open.allow_nan_weights, &error);
	print_vocabulary(&print, model);
	print_notes(&print, model);
	if (set.certificate && !status)
		status = print_certificate(&print, model, set.threads, &error);
	cr_print_finish(&print);
	crocuta_model_close(model);
	return status ? cr_report_error(&error, status) : 0;
}

static int run_verify(const cr_command *command, int argc, char **argv)
{
	crocuta_verify_report report = {0};
	crocuta_session_options options;
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	const char *name;
	settings set;
	int status = read_arguments(command, argc, argv, 1, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return status;
	crocuta_session_options_init(&options);
	options.threads = set.threads;
	options.device = set.device;
	options.dtype = set.arithmetic;
	status = crocuta_model_verify(model, &options, &report, &error);
	name = crocuta_model_get_info(model)->name;
	if (!status || status == CROCUTA_ENUMERIC) {
		cr_print print;

		if (set.json) {
			cr_print_start(&print, 1);
			cr_print_text(&print, "name", name);
			cr_print_yes_no(&print, "pass", !status);
			cr_print_integer(&print, "records", report.records);
			cr_print_real(&print, "hidden_error", report.hidden_error);
			cr_print_real(&print, "loglik_error", report.loglik_error);
			cr_print_real(&print, "tolerance", report.tolerance);
			cr_print_text(&print, "device", report.device);
			cr_print_text(&print, "dtype", report.dtype);
			cr_print_text(&print, "isa", report.isa);
			cr_print_finish(&print);
		} else {
			printf("%s\t%s\t%d records, largest difference %.3g (limit %.3g), "
			       "log-likelihood %.3g; on %s in %s, %s\n",
			       status ? "FAIL" : "PASS", name, report.records, report.hidden_error,
			       report.tolerance, report.loglik_error, report.device, report.dtype,
			       report.isa);
		}
	}
	crocuta_model_close(model);
	return status ? cr_report_error(&error, status) : 0;
}

static int run_convert(const cr_command *command, int argc, char **argv)
{
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	settings set;
	int status = read_arguments(command, argc, argv, 1, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	if (!set.output) {
		cr_error("-o/--output DIR is needed");
		return CROCUTA_EARG;
	}
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return status;
	status = crocuta_model_convert(model, set.output, dtype_names[set.dtype],
				       set.tables, set.force, &error);
	crocuta_model_close(model);
	return status ? cr_report_error(&error, status) : 0;
}

static const cr_command list_command = {
	.name = "list",
	.full_name = "model list",
	.summary = "models found on the model path",
	.synopsis = "[options]",
	.options = list_options,
	.run = run_list,
};
static const cr_command show_command = {
	.name = "show",
	.full_name = "model show",
	.summary = "family, sizes, digest, head, vocabulary and filters of a model",
	.synopsis = "[options] [DIR|NAME]",
	.options = show_options,
	.run = run_show,
};
static const cr_command verify_command = {
	.name = "verify",
	.full_name = "model verify",
	.summary = "run the known answers stored beside a model on this machine",
	.synopsis = "[options] [DIR|NAME]",
	.details = "Prints one PASS or FAIL line; the status of a failure is 8.",
	.options = verify_options,
	.run = run_verify,
};
static const cr_command convert_command = {
	.name = "convert",
	.full_name = "model convert",
	.summary = "write a model again: another dtype, canonical names",
	.synopsis = "[options] -o DIR [DIR|NAME]",
	.options = convert_options,
	.run = run_convert,
};
static const cr_command *const children[] = {&list_command, &show_command, &verify_command,
					     &convert_command, NULL};

const cr_command cr_command_model = {
	.name = "model",
	.full_name = "model",
	.summary = "list, show, verify and convert model directories",
	.synopsis = "list|show|verify|convert [options]",
	.children = children,
};
