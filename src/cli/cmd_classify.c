/* cmd_classify.c - `crocuta classify`: class probabilities of records, reads, regions and windows. */
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
#include "cli/stats.h"

#define DEFAULT_MODEL "promoter" /* without -m and --head */
#define CLASSES_SHOWN 12

typedef struct settings {
	crocuta_classify_options classify;
	cr_model_arguments model;
	crocuta_head_options head;
	const char *head_path;
	const char *fasta;
	cr_run_arguments run;
	int dry_run, json;
	int progress;
	int quiet, verbosity;
} settings;

static const cr_choice pools[] = {{"mean", CROCUTA_HEAD_MEAN},   {"last", CROCUTA_HEAD_LAST},
				  {"max", CROCUTA_HEAD_MAX},     {"first", CROCUTA_HEAD_FIRST},
				  {"sum", CROCUTA_HEAD_SUM},     {NULL, 0}};
static const cr_choice specials[] = {{"none", CROCUTA_SPECIALS_NONE},
				     {"sep", CROCUTA_SPECIALS_SEP},
				     {"cls-sep", CROCUTA_SPECIALS_CLS_SEP},
				     {"model", CROCUTA_SPECIALS_MODEL},
				     {"model-sep", CROCUTA_SPECIALS_MODEL_SEP},
				     {NULL, 0}};
static const cr_choice scan_strands[] = {{"forward", CROCUTA_SCAN_FORWARD},
					 {"reverse", CROCUTA_SCAN_REVERSE},
					 {"both", CROCUTA_SCAN_BOTH},
					 {NULL, 0}};
static const cr_choice types[] = {{"bed", 0}, {"tsv", 0}, {NULL, 0}};

#define AT(field) .offset = offsetof(settings, field)
#define INPUT .group = CR_GROUP_INPUT
#define MODEL .group = CR_GROUP_MODEL
#define OUTPUT .group = CR_GROUP_OUTPUT

static const cr_option options[] = {
	{.name = "fasta-ref",
	 .letter = 'f',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fasta),
	 .argument = "FILE",
	 .help = "the input, as an option instead of an argument"},
	{.name = "regions",
	 .letter = 'r',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(classify.regions),
	 .argument = "LIST",
	 .help = "a row a region: CHR, CHR:POS (that one base), CHR:FROM-TO or CHR:FROM-, 1-based, "
		 "separated by commas"},
	{.name = "regions-file",
	 .letter = 'R',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(classify.regions_file),
	 .argument = "FILE",
	 .help = "regions of a file: .bed or .bed.gz 0-based half-open, strand '-' read as its "
		 "reverse complement; others 1-based CHROM POS [END]"},
	{.name = "clip",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(classify.clip),
	 .help = "cut regions at the contig's end instead of refusing them"},
	{.name = "scan",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(classify.scan),
	 .help = "slide windows over the contigs, or over the regions"},
	{.name = "window",
	 INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(classify.window),
	 .argument = "N",
	 .help = "bases of a sliding window; means --scan",
	 .standard = "what the head was fitted on",
	 .min = 1,
	 .max = INT64_MAX / 4},
	{.name = "step",
	 INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(classify.step),
	 .argument = "N",
	 .help = "bases from one window's start to the next's; means --scan",
	 .standard = "what the head says, else half a window",
	 .min = 1,
	 .max = INT64_MAX / 4},
	{.name = "scan-strands",
	 INPUT,
	 .kind = CR_OPTION_CHOICE,
	 AT(classify.scan_strands),
	 .argument = "WHICH",
	 .help = "strands of sliding windows: forward, reverse, or both (two rows a window); means "
		 "--scan",
	 .standard = "what the head says, else forward",
	 .choices = scan_strands},
	{.name = "max-n",
	 INPUT,
	 .kind = CR_OPTION_REAL,
	 AT(classify.max_n),
	 .argument = "SHARE",
	 .help = "leave out sliding windows with a larger share of N",
	 .standard = "0.1",
	 .min = 0,
	 .max = 1},
	CR_FASTA_OPTIONS(settings, classify),
	{.name = "reference",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(classify.reference),
	 .argument = "FASTA",
	 .help = "reference that decodes a CRAM"},
	{.name = "allow-truncated",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(classify.allow_truncated),
	 .help = "accept BGZF, BAM or CRAM input without its end marker"},

	CR_MODEL_NAME_OPTION(settings, "promoter; with --head what it was fitted on"),
	{.name = "head",
	 MODEL,
	 .kind = CR_OPTION_TEXT,
	 AT(head_path),
	 .argument = "DIR",
	 .help = "head made by crocuta fit for this model",
	 .standard = "the one that comes with the model"},
	{.name = "pool",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(head.pool),
	 .argument = "HOW",
	 .help = "mean, last, max, first or sum, for a head that is a tensor of the model",
	 .standard = "score.weight: last; decoder: mean",
	 .choices = pools},
	{.name = "special-tokens",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(head.specials),
	 .argument = "WHICH",
	 .help = "for such a head: none, sep or cls-sep (not pooled), model-sep or model (pooled)",
	 .standard = "score.weight: model-sep; decoder: none",
	 .choices = specials},
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "length",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(classify.length),
	 .argument = "N",
	 .help = "bases the model reads at once; longer sequences are tiled",
	 .standard = "the power of two from 1024 on that holds the longest, of streams the model's "
		     "usable length",
	 .min = 1,
	 .max = INT64_MAX / 4},

	{.name = "min-prob",
	 OUTPUT,
	 .kind = CR_OPTION_REAL,
	 AT(classify.min_prob),
	 .argument = "P",
	 .help = "leave out rows whose predicted class has a smaller probability",
	 .min = 0,
	 .max = 1},
	{.name = "only",
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(classify.only),
	 .argument = "CLASSES",
	 .help = "rows with these predicted classes alone, separated by commas"},
	{.name = "top",
	 OUTPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(classify.top),
	 .argument = "N",
	 .help = "columns for the N likeliest classes instead of one a class",
	 .min = 1,
	 .max = CROCUTA_HEAD_CLASSES_MAX},
	{.name = "merge",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(classify.merge),
	 .help = "one row for touching windows of one class and strand; the background class is no "
		 "call; means --scan"},
	CR_OUTPUT_FILE_OPTION(settings, classify, "a name that ends in .gz is written as bgzip"),
	{.name = "output-type",
	 .letter = 'O',
	 OUTPUT,
	 .kind = CR_OPTION_WORD,
	 AT(classify.output_type),
	 .argument = "TYPE",
	 .help = "bed or tsv: the same lines",
	 .standard = "by the suffix of -o, else bed for places, tsv for records",
	 .choices = types},
	{.name = "write-index",
	 .letter = 'W',
	 OUTPUT,
	 .kind = CR_OPTION_MAYBE_WORD,
	 AT(classify.write_index),
	 .argument = "csi|tbi",
	 .choices = cr_index_choices,
	 .word = "csi",
	 .help = "index the output, which must end in .gz, with rows in order; -W is csi"},
	CR_SHARD_OPTION(settings),
	CR_RUN_OPTIONS(settings, classify),
	CR_OUTPUT_OPTIONS(settings, classify),
	CR_PLAN_OPTIONS(settings),

	CR_RESOURCE_OPTIONS(settings, classify),
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

static void print_plan(const settings *set, const crocuta_classify_report *report,
		       const crocuta_model_info *info, const crocuta_head_info *head)
{
	cr_print print;

	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_text(&print, "sha256", info->sha256);
	cr_print_text(&print, "head", head->name);
	cr_print_text(&print, "head_sha256", head->sha256);
	cr_print_integer(&print, "classes", head->classes);
	cr_print_integer(&print, "contigs", report->contigs);
	cr_print_integer(&print, "regions", report->regions);
	cr_print_integer(&print, "records", report->records);
	if (report->window) {
		cr_print_integer(&print, "window", report->window);
		cr_print_integer(&print, "step", report->step);
	}
	cr_print_integer(&print, "items", report->items);
	cr_print_integer(&print, "bases", report->bases);
	cr_print_text(&print, "output_type", report->output_type);
	cr_print_integer(&print, "memory_bytes", report->memory_bytes);
	cr_print_session_plan(&print, &report->plan);
	cr_print_finish(&print);
}

/* Options that mean another. */
static void imply(settings *set)
{
	crocuta_classify_options *o = &set->classify;

	if (o->window || o->step || o->scan_strands || o->merge)
		o->scan = 1;
	o->shard = set->run.shard[0];
	o->shards = set->run.shard[1];
}

static int read_arguments(const cr_command *command, int argc, char **argv, settings *set)
{
	cr_operands operands;
	int status;

	memset(set, 0, sizeof *set);
	crocuta_classify_options_init(&set->classify);
	crocuta_model_options_init(&set->model.open);
	crocuta_head_options_init(&set->head);
	set->progress = 60;
	set->verbosity = CR_VERBOSITY_DEFAULT;
	status = cr_options_parse(command, set, argc, argv, 1, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set->quiet ? 1 : set->verbosity);
	if (operands.count && set->fasta) {
		cr_error("the input is given twice: %.200s and -f %.200s", operands.list[0],
			 set->fasta);
		return CROCUTA_EARG;
	}
	set->classify.input = operands.count ? operands.list[0] : set->fasta;
	if (!set->classify.input && isatty(STDIN_FILENO)) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	if (!set->classify.input)
		set->classify.input = "-";
	if (!set->classify.output)
		set->classify.output = "-";
	if (set->json && !set->dry_run) {
		cr_error("--json belongs to --dry-run");
		return CROCUTA_EARG;
	}
	imply(set);
	set->classify.command = cr_command_line();
	set->classify.log = cr_messages_log;
	set->classify.progress = cr_progress_report;
	return CR_PARSE_GO_ON;
}

static void finish_notes(const settings *set, const crocuta_classify_report *report,
			 const crocuta_head_info *head)
{
	char counts[400];

	cr_messages_live(NULL);
	for (int64_t i = 0; i < head->classes && i < CLASSES_SHOWN; i++)
		cr_notice("%-20s %12s rows", head->class_names[i],
			  cr_with_commas(report->per_class[i]));
	if (head->classes > CLASSES_SHOWN)
		cr_notice("... and %lld classes more", (long long)head->classes - CLASSES_SHOWN);
	if (report->masked)
		cr_notice("%s windows left out: more N than --max-n", cr_with_commas(report->masked));
	if (report->filtered && !set->classify.merge)
		cr_notice("%s rows left out by --min-prob or --only",
			  cr_with_commas(report->filtered));
	if (report->folded)
		cr_notice("%s IUPAC codes were read as N", cr_with_commas(report->folded));
	snprintf(counts, sizeof counts, "%s %s, %s bases, %s rows",
		 cr_with_commas(report->items), report->window ? "windows" : "sequences",
		 cr_with_commas(report->bases),
		 cr_with_commas(report->rows));
	cr_progress_stages(&report->times);
	cr_progress_finish(counts);
	if (report->plan.device_bytes)
		cr_notice("GPU memory %s", cr_as_bytes((double)report->plan.device_bytes));
}

/* What --stats says of the classes. */
typedef struct counted {
	const crocuta_classify_report *report;
	const crocuta_head_info *head; /* NULL: it was not opened */
} counted;

static void add_stats(cr_print *print, const void *of)
{
	const counted *c = of;
	const crocuta_classify_report *report = c ? c->report : NULL;

	cr_print_integer(print, "items", report ? report->items : -1);
	cr_print_integer(print, "rows", report ? report->rows : -1);
	cr_print_integer(print, "filtered", report ? report->filtered : -1);
	cr_print_integer(print, "masked", report ? report->masked : -1);
	cr_print_open_object(print, "rows_by_class");
	for (int64_t i = 0; c && c->head && i < c->head->classes; i++)
		cr_print_integer(print, c->head->class_names[i], report->per_class[i]);
	cr_print_close_object(print);
}

static int write_stats(const settings *set, const crocuta_model *model,
		       const crocuta_classify_report *report, const crocuta_head_info *head,
		       int status)
{
	const counted both = {report, head};
	const cr_stats stats = {
		.command = "classify",
		.input = set->classify.input,
		.output = set->classify.output,
		.shard = set->run.shard,
		.model = model ? crocuta_model_get_info(model) : NULL,
		CR_STATS_OF_BASES(report),
		.finished = !status && model,
		.windows = -1,
		.add = add_stats,
		.report = &both,
	};

	return cr_stats_write(set->dry_run ? NULL : set->run.stats, &stats, status);
}

/* Model and head opened. */
static int run_opened(const settings *set, const crocuta_model *model)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	crocuta_classify_report report = {0};
	const crocuta_head_info *head_info;
	crocuta_error error = {0};
	crocuta_head *head = NULL;
	int status = crocuta_head_open(set->head_path, model, &set->head, &head, &error);

	if (status)
		return write_stats(set, model, &report, NULL, cr_report_error(&error, status));
	head_info = crocuta_head_get_info(head);
	status = set->dry_run
			 ? crocuta_classify_plan(model, head, &set->classify, &report, &error)
			 : crocuta_classify_run(model, head, &set->classify, &report, &error);
	if (status)
		cr_report_failure(&error, status);
	else if (set->dry_run)
		print_plan(set, &report, info, head_info);
	else
		finish_notes(set, &report, head_info);
	status = write_stats(set, model, &report, head_info, status);
	crocuta_head_close(head);
	return status;
}

static int run_classify(const cr_command *command, int argc, char **argv)
{
	const crocuta_classify_report nothing = {0};
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	settings set;
	int status = read_arguments(command, argc, argv, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	set.head.allow_nan_weights = set.model.open.allow_nan_weights;
	cr_progress_start(set.progress, "bases");
	status = cr_run_settle(&set.run, &set.classify.journal, set.classify.output);
	if (status)
		return status;
	status = crocuta_classify_check(&set.classify, &error);
	if (status)
		return write_stats(&set, NULL, &nothing, NULL, cr_report_error(&error, status));
	set.model.open.shapes_only = set.dry_run;
	status = cr_model_arguments_default(&set.model, set.head_path, DEFAULT_MODEL);
	if (!status)
		status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return write_stats(&set, NULL, &nothing, NULL, status);
	status = set.dry_run ? CR_PARSE_GO_ON : cr_follow_rank(model, &set.classify.session);
	if (status != CR_PARSE_GO_ON)
		return status;
	status = run_opened(&set, model);
	crocuta_model_close(model);
	return status;
}

const cr_command cr_command_classify = {
	.name = "classify",
	.full_name = "classify",
	.summary = "class probabilities of records, reads, regions and sliding windows",
	.synopsis = "[options] ref.fa|reads.fq|-",
	.details = "Each sequence goes through the model, and a head turns its vectors into a "
		   "probability a class.\nSequences are the records of the input, with -r or -R the "
		   "regions of a FASTA, with --scan windows\nthat slide over its contigs. A model that "
		   "carries a head needs no --head; crocuta fit makes heads.",
	.footer = "Examples:\n"
		  "  crocuta classify --scan --merge --min-prob 0.5 -o calls.bed.gz -W hg38.fa\n"
		  "  crocuta classify -m small-32k --head my-head -R peaks.bed hg38.fa > peaks.tsv\n"
		  "  seqtk sample reads.fq 1000 | crocuta classify --head my-head -",
	.options = options,
	.run = run_classify,
};
