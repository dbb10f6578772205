/* cmd_fit.c - `crocuta fit`: a classifier head from labelled sequences, and how good it is. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/model_arguments.h"
#include "cli/progress.h"
#include "cli/run_arguments.h"

#define DEFAULT_MODEL "small-32k" /* without -m: its vectors are the best of the shipped ones */

typedef struct settings {
	crocuta_fit_options fit;
	cr_model_arguments model;
	cr_texts valid, test;
	int progress;
	int quiet, verbosity;
} settings;

static const cr_choice strands[] = {{"forward", CROCUTA_STRANDS_FORWARD},
				    {"reverse", CROCUTA_STRANDS_REVERSE},
				    {"both", CROCUTA_STRANDS_BOTH},
				    {"concat", CROCUTA_STRANDS_CONCAT},
				    {NULL, 0}};
static const cr_choice pools[] = {{"mean", CROCUTA_HEAD_MEAN},
				  {"last", CROCUTA_HEAD_LAST},
				  {"max", CROCUTA_HEAD_MAX},
				  {NULL, 0}};
static const cr_choice scans[] = {{"both", 0}, {"forward", 1}, {NULL, 0}};
static const cr_choice kinds[] = {
	{"linear", CROCUTA_FIT_LINEAR}, {"hidden", CROCUTA_FIT_HIDDEN}, {NULL, 0}};

#define AT(field) .offset = offsetof(settings, field)
#define INPUT .group = CR_GROUP_INPUT
#define MODEL .group = CR_GROUP_MODEL
#define OUTPUT .group = CR_GROUP_OUTPUT

static const cr_option options[] = {
	{.name = "valid",
	 INPUT,
	 .kind = CR_OPTION_TEXTS,
	 AT(valid),
	 .argument = "INPUT",
	 .help = "a file, or CLASS=FILE, of the validation part, on which l2 and the temperature "
		 "are chosen; may be given several times"},
	{.name = "test",
	 INPUT,
	 .kind = CR_OPTION_TEXTS,
	 AT(test),
	 .argument = "INPUT",
	 .help = "the same of the test part, which is only measured on"},
	{.name = "split",
	 INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.split),
	 .argument = "SEED",
	 .help = "80 % to fit, 10 % to choose, 10 % to test, by hash of the sequence; not for BED",
	 .min = 0,
	 .max = INT64_MAX},
	{.name = "fasta-ref",
	 .letter = 'f',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.reference),
	 .argument = "FILE",
	 .help = "FASTA of the regions of a BED"},
	{.name = "valid-contigs",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.valid_contigs),
	 .argument = "LIST",
	 .help = "regions of a BED on these contigs are the validation part"},
	{.name = "test-contigs",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.test_contigs),
	 .argument = "LIST",
	 .help = "regions of a BED on these contigs are the test part"},
	{.name = "allow-overlap",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.allow_overlap),
	 .help = "accept regions of two parts that overlap"},
	{.name = "keep-duplicates",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.keep_duplicates),
	 .help = "keep training sequences that the other parts have too, on either strand"},
	{.name = "classes",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.classes),
	 .argument = "LIST",
	 .help = "names of the classes in order; with --evaluate, what the inputs call the head's",
	 .standard = "as found, sorted"},
	{.name = "background",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.background),
	 .argument = "NAME",
	 .help = "class that is no call when classify merges windows, or none",
	 .standard = "other, background, negative or 0, if there is one"},
	CR_FASTA_OPTIONS(settings, fit),
	{.name = "allow-truncated",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.allow_truncated),
	 .help = "accept BGZF or BAM input without its end marker"},

	CR_MODEL_NAME_OPTION(settings, "small-32k; with --evaluate promoter, or what the head was fitted on"),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "layer",
	 MODEL,
	 .kind = CR_OPTION_INT,
	 AT(fit.layer),
	 .argument = "N",
	 .help = "0 the token vectors, k the state after k blocks, last the final norm's output",
	 .standard = "last",
	 .word = "last",
	 .word_value = -1,
	 .min = 0,
	 .max = 1000000},
	{.name = "pool",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(fit.pool),
	 .argument = "HOW",
	 .help = "mean, last or max over the bases of a part",
	 .standard = "mean",
	 .choices = pools},
	{.name = "parts",
	 MODEL,
	 .kind = CR_OPTION_INT,
	 AT(fit.parts),
	 .argument = "N",
	 .help = "cut a sequence into N runs, pool each and join the vectors",
	 .standard = "1",
	 .min = 1,
	 .max = CROCUTA_HEAD_PARTS_MAX},
	{.name = "strands",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(fit.strands),
	 .argument = "WHICH",
	 .help = "forward, reverse, both (mean) or concat (forward columns, then reverse)",
	 .standard = "forward",
	 .choices = strands},
	{.name = "head",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(fit.kind),
	 .argument = "KIND",
	 .help = "linear (softmax regression) or hidden (one hidden layer)",
	 .standard = "linear",
	 .choices = kinds},
	{.name = "hidden",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.hidden),
	 .argument = "N",
	 .help = "units of the hidden layer",
	 .standard = "64",
	 .min = 1,
	 .max = 65536},
	{.name = "l2",
	 MODEL,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.l2),
	 .argument = "LIST",
	 .help = "penalties to choose from on the validation part",
	 .standard = "auto: 1e-6 to 1 by decades; hidden: 1e-5,1e-4,1e-3"},
	{.name = "balanced",
	 MODEL,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.balanced),
	 .help = "weight classes inversely to how often they occur"},
	{.name = "epochs",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.epochs),
	 .argument = "N",
	 .help = "most passes (hidden) or iterations (linear)",
	 .standard = "hidden 100, linear 500",
	 .min = 1,
	 .max = 1000000000},
	{.name = "patience",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.patience),
	 .argument = "N",
	 .help = "passes without a better validation part before a hidden layer's fit ends",
	 .standard = "10",
	 .min = 1,
	 .max = 1000000000},
	{.name = "seed",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.seed),
	 .argument = "N",
	 .help = "of a hidden layer's start, and of the tenth that validates without --valid",
	 .standard = "1",
	 .min = 0,
	 .max = INT64_MAX},
	{.name = "no-calibrate",
	 MODEL,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.no_calibrate),
	 .help = "fit no temperature on the validation part"},
	{.name = "kmer",
	 MODEL,
	 .kind = CR_OPTION_INT,
	 AT(fit.kmer),
	 .argument = "K",
	 .help = "a linear head on k-mers of 1 to K bases, for comparison; 0 none",
	 .standard = "4",
	 .min = 0,
	 .max = 8},
	{.name = "window",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.window),
	 .argument = "N",
	 .help = "bases of a window when classify slides along contigs; 0 not said",
	 .standard = "the length of the training sequences if all have one",
	 .min = 0,
	 .max = INT64_MAX / 4},
	{.name = "step",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(fit.step),
	 .argument = "N",
	 .help = "bases between such windows; 0 not said",
	 .standard = "0",
	 .min = 0,
	 .max = INT64_MAX / 4},
	{.name = "scan-strands",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(fit.scan_forward),
	 .argument = "WHICH",
	 .help = "strands that such windows are read on, both or forward",
	 .standard = "both",
	 .choices = scans},

	{.name = "output",
	 .letter = 'o',
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.output),
	 .argument = "DIR",
	 .help = "directory of the head, to be made"},
	{.name = "force",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.force),
	 .help = "replace a head directory that exists (else status 10)"},
	{.name = "report",
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.report),
	 .argument = "FILE",
	 .help = "everything that is printed, as JSON"},
	{.name = "cache",
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.cache),
	 .argument = "DIR",
	 .help = "keep the vectors there, and use them when model, form and sequences are the "
		 "same"},
	{.name = "evaluate",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.evaluate),
	 .help = "fit nothing: measure a head on the inputs"},
	{.name = "head-dir",
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(fit.head),
	 .argument = "DIR",
	 .help = "the head to measure",
	 .standard = "the one that comes with the model"},
	{.name = "no-version",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(fit.no_version),
	 .help = "leave the version out of head and report"},

	CR_RESOURCE_OPTIONS(settings, fit),
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

static int read_arguments(const cr_command *command, int argc, char **argv, settings *set)
{
	cr_operands operands;
	int status;

	memset(set, 0, sizeof *set);
	crocuta_fit_options_init(&set->fit);
	crocuta_model_options_init(&set->model.open);
	set->progress = 60;
	set->verbosity = CR_VERBOSITY_DEFAULT;
	status = cr_options_parse(command, set, argc, argv, INT_MAX, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set->quiet ? 1 : set->verbosity);
	if (argc < 2) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	set->fit.inputs = (const char *const *)operands.list;
	set->fit.valid = set->valid.count ? set->valid.list : NULL;
	set->fit.test = set->test.count ? set->test.list : NULL;
	set->fit.log = cr_messages_log;
	set->fit.progress = cr_progress_report;
	return CR_PARSE_GO_ON;
}

static void finish_notes(const crocuta_fit_report *report)
{
	const crocuta_stage_times *times = &report->times;
	char counts[400];

	snprintf(counts, sizeof counts,
		 "%s examples, %s bases, %s tokens, %s features; vectors %.3f s, fitting %.3f s",
		 cr_with_commas(report->examples[0] + report->examples[1] + report->examples[2]),
		 cr_with_commas(report->bases), cr_with_commas(report->tokens),
		 cr_with_commas(report->features), report->feature_seconds, report->fit_seconds);
	cr_messages_live(NULL);
	if (report->tokens)
		cr_progress_stages(times);
	cr_progress_finish(counts);
	if (report->plan.device_bytes)
		cr_notice("GPU memory %s", cr_as_bytes((double)report->plan.device_bytes));
}

static int run_fit(const cr_command *command, int argc, char **argv)
{
	crocuta_fit_report report = {0};
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	settings set;
	int status = read_arguments(command, argc, argv, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	cr_progress_start(set.progress, "bases");
	status = crocuta_fit_check(&set.fit, &error);
	if (status)
		return cr_report_error(&error, status);
	status = cr_model_arguments_default(&set.model, set.fit.head,
					    set.fit.evaluate ? "promoter" : DEFAULT_MODEL);
	if (!status)
		status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return status;
	status = cr_follow_rank(model, &set.fit.session);
	if (status != CR_PARSE_GO_ON)
		return status;
	status = crocuta_fit_run(model, &set.fit, &report, &error);
	if (status) {
		cr_report_failure(&error, status);
	} else {
		cr_messages_live(NULL);
		fputs(report.text, stdout);
		finish_notes(&report);
	}
	crocuta_fit_report_clear(&report);
	crocuta_model_close(model);
	return status;
}

const cr_command cr_command_fit = {
	.name = "fit",
	.full_name = "fit",
	.summary = "a classifier head from labelled sequences, and how good it is",
	.synopsis = "[options] -o HEADDIR INPUT... | --evaluate [options] INPUT...",
	.details =
		"An input is CLASS=FILE with a FASTA or FASTQ of that class, a table .csv or .tsv "
		"with columns\nnamed sequence and label, or with -f ref.fa a .bed with the class "
		"in "
		"column 4. The model stays as\nit is: a small head is fitted to its pooled "
		"vectors, "
		"and measured on sequences it has not seen,\nbeside one on k-mers.",
	.footer =
		"Examples:\n"
		"  crocuta fit -o head --split 1 promoter=prom.fa other=background.fa.gz\n"
		"  crocuta fit -o head --valid dev.csv --test test.csv train.csv\n"
		"  crocuta fit -o head -f hg38.fa --valid-contigs chrX --test-contigs chr20,chr21 "
		"sites.bed\n"
		"  crocuta fit --evaluate --head-dir head test.csv",
	.options = options,
	.run = run_fit,
};
