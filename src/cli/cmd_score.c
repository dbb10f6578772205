/* cmd_score.c - `crocuta score`: variant effects, VCF in, VCF out; every SNV of a region. */
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

typedef struct settings {
	crocuta_score_options score;
	cr_model_arguments model;
	cr_run_arguments run;
	int strict, finished;
	int dry_run, json;
	int progress;
	int quiet, verbosity;
} settings;

static const cr_choice overlaps[] = {{"pos", 0}, {"record", 1}, {"variant", 2}, {"0", 0},
				     {"1", 1},   {"2", 2},      {NULL, 0}};
static const cr_choice checks[] = {{"w", CROCUTA_CHECK_REF_WARN},
				   {"e", CROCUTA_CHECK_REF_ERROR},
				   {"x", CROCUTA_CHECK_REF_EXCLUDE},
				   {NULL, 0}};
static const cr_choice placements[] = {
	{"grid", CROCUTA_PLACEMENT_GRID}, {"fixed", CROCUTA_PLACEMENT_FIXED}, {NULL, 0}};
static const cr_choice strands[] = {{"forward", CROCUTA_STRANDS_FORWARD},
				    {"reverse", CROCUTA_STRANDS_REVERSE},
				    {"both", CROCUTA_STRANDS_BOTH},
				    {NULL, 0}};
static const cr_choice reduces[] = {
	{"sum", CROCUTA_REDUCE_SUM},
	{"mean", CROCUTA_REDUCE_MEAN},
	{"window-mean", CROCUTA_REDUCE_WINDOW_MEAN},
	{NULL, 0}};
static const cr_choice classes[] = {{"all", 0}, {"acgt", 4}, {NULL, 0}};
static const cr_choice start_tokens[] = {{"auto", 0}, {"yes", 1}, {"no", -1}, {NULL, 0}};

#define AT(field) .offset = offsetof(settings, field)
#define INPUT .group = CR_GROUP_INPUT
#define MODEL .group = CR_GROUP_MODEL
#define OUTPUT .group = CR_GROUP_OUTPUT

static const cr_option options[] = {
	{.name = "fasta-ref",
	 .letter = 'f',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.reference),
	 .argument = "FILE",
	 .help = "reference FASTA, plain or bgzip; always needed"},
	CR_FASTA_OPTIONS(settings, score),
	{.name = "ism",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.ism),
	 .argument = "LIST",
	 .help = "every SNV of these regions, written as for -r, instead of an input"},
	{.name = "regions",
	 .letter = 'r',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.regions),
	 .argument = "LIST",
	 .help = "records of CHR, CHR:POS (that one base), CHR:FROM-TO or CHR:FROM-, 1-based, "
		 "separated by commas; needs the index of the VCF"},
	{.name = "regions-file",
	 .letter = 'R',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.regions_file),
	 .argument = "FILE",
	 .help = "the same of a file: .bed or .bed.gz 0-based half-open, others 1-based CHROM "
		 "POS [END]"},
	{.name = "targets",
	 .letter = 't',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.targets),
	 .argument = "LIST",
	 .help = "as -r, but while reading, without an index; ^ in front: all but these"},
	{.name = "targets-file",
	 .letter = 'T',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.targets_file),
	 .argument = "FILE",
	 .help = "as -R, but while reading; ^ in front: all but these"},
	{.name = "regions-overlap",
	 INPUT,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.regions_overlap),
	 .argument = "WHAT",
	 .help = "what must lie in a region: 0 or pos (POS), 1 or record, 2 or variant",
	 .standard = "1",
	 .choices = overlaps},
	{.name = "rename-chrs",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.rename_chrs),
	 .argument = "FILE",
	 .help = "two columns: a contig's name in the VCF, its name in the FASTA"},
	{.name = "check-ref",
	 INPUT,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.check_ref),
	 .argument = "w|e|x",
	 .help = "a REF that is not what the FASTA has: w no score (REFMISMATCH), e stop, x "
		 "leave the record out",
	 .standard = "w",
	 .choices = checks},
	{.name = "max-ref-mismatch",
	 INPUT,
	 .kind = CR_OPTION_REAL,
	 AT(score.max_ref_mismatch),
	 .argument = "SHARE",
	 .help = "stop when more records than this disagree with the FASTA: wrong genome build",
	 .standard = "0.01",
	 .min = 0,
	 .max = 1},
	{.name = "max-indel",
	 INPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(score.max_indel),
	 .argument = "N",
	 .help = "longest REF or ALT that is scored, in bases, shared ends taken off",
	 .standard = "a quarter of the window",
	 .min = 1,
	 .max = INT64_MAX / 4},
	{.name = "max-n",
	 INPUT,
	 .kind = CR_OPTION_REAL,
	 AT(score.max_n),
	 .argument = "SHARE",
	 .help = "flag a score MASKED when more of its context than this is N",
	 .standard = "0.1",
	 .min = 0,
	 .max = 1},
	{.name = "allow-truncated",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(score.allow_truncated),
	 .help = "accept BGZF or BCF input without its end marker"},

	CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
	CR_MODEL_OPEN_OPTIONS(settings),
	CR_WINDOW_OPTION(settings, score),
	{.name = "readout",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(score.readout),
	 .argument = "N|all",
	 .help = "positions compared, from the variant on; all: the rest of the window",
	 .standard = "a quarter of the window, at most 1,024",
	 .word = "all",
	 .word_value = -1,
	 .min = 1,
	 .max = INT64_MAX / 4},
	{.name = "placement",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.placement),
	 .argument = "HOW",
	 .help = "grid: windows at fixed places of the contig, shared by neighbours; fixed: "
		 "window - readout bases before every variant",
	 .standard = "grid",
	 .choices = placements},
	{.name = "step",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(score.step),
	 .argument = "N",
	 .help = "bases between the starts of the grid's windows, at most window - readout",
	 .standard = "half the window",
	 .min = 1,
	 .max = INT64_MAX / 4},
	{.name = "strands",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.strands),
	 .argument = "WHICH",
	 .help = "forward, reverse, or both and their mean",
	 .standard = "both",
	 .choices = strands},
	{.name = "reduce",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.reduce),
	 .argument = "HOW",
	 .help = "sum or mean over the positions compared; window-mean: the sum over the number "
		 "of positions scored from the window's start on",
	 .standard = "sum",
	 .choices = reduces},
	{.name = "classes",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.classes),
	 .argument = "SET",
	 .help = "probabilities over all tokens of the model, or over acgt",
	 .standard = "all",
	 .choices = classes},
	{.name = "start-token",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(score.start_token),
	 .argument = "WHEN",
	 .help = "the model's start token in front of every window: yes, no, or auto, where "
		 "published scores have it (Evo-1)",
	 .standard = "auto",
	 .choices = start_tokens},
	{.name = "no-reuse",
	 MODEL,
	 .kind = CR_OPTION_FLAG,
	 AT(score.no_reuse),
	 .help = "compute both windows of every ALT from their first base: slow, for checking"},

	CR_OUTPUT_FILE_OPTION(settings, score, "where the records go"),
	{.name = "output-type",
	 .letter = 'O',
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.output_type),
	 .argument = "TYPE",
	 .help = "v VCF, z bgzip VCF, b BCF, u uncompressed BCF, t table; z and b take a level, "
		 "z9; npy with --ism",
	 .standard = "by the suffix of -o, else v"},
	CR_INDEX_OPTION(settings, score),
	{.name = "tag-prefix",
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(score.tag_prefix),
	 .argument = "NAME",
	 .help = "INFO tags are NAME_LLR and so on; lets two models share a file",
	 .standard = "CROCUTA"},
	{.name = "overwrite-tags",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(score.overwrite_tags),
	 .help = "replace tags of that prefix that the input has (else status 10)"},
	CR_OUTPUT_OPTIONS(settings, score),
	CR_SHARD_OPTION(settings),
	CR_RUN_OPTIONS(settings, score),
	{.name = "strict",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(strict),
	 .help = "status 3 at the end when ALTs went unscored that should not have"},
	CR_PLAN_OPTIONS(settings),

	CR_RESOURCE_OPTIONS(settings, score),
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

/* Statuses of ALTs that one would have expected to be scored. */
static int is_unexpected(int status)
{
	switch (status) {
	case CROCUTA_ALLELE_NONACGT:
	case CROCUTA_ALLELE_TOOLONG:
	case CROCUTA_ALLELE_NOCONTIG:
	case CROCUTA_ALLELE_OUTOFRANGE:
	case CROCUTA_ALLELE_REFMISMATCH:
	case CROCUTA_ALLELE_NONFINITE:
		return 1;
	default:
		return 0;
	}
}

static int contradiction(const settings *set)
{
	const crocuta_score_options *o = &set->score;
	const char *wrong = NULL;

	if (o->ism && o->input)
		wrong = "--ism makes its own variants; leave the VCF out";
	else if (!o->reference)
		wrong = "-f FASTA is needed: the reference genome of the variants";
	else if (set->json && !set->dry_run)
		wrong = "--json belongs to --dry-run";
	if (wrong)
		cr_error("%s", wrong);
	return wrong ? CROCUTA_EARG : CR_PARSE_GO_ON;
}

static int read_arguments(const cr_command *command, int argc, char **argv, settings *set)
{
	cr_operands operands;
	int status;

	memset(set, 0, sizeof *set);
	crocuta_score_options_init(&set->score);
	crocuta_model_options_init(&set->model.open);
	set->progress = 60;
	set->verbosity = CR_VERBOSITY_DEFAULT;
	status = cr_options_parse(command, set, argc, argv, 1, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set->quiet ? 1 : set->verbosity);
	set->score.input = operands.count ? operands.list[0] : NULL;
	if (!set->score.input && !set->score.ism && isatty(STDIN_FILENO)) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	status = contradiction(set);
	if (status != CR_PARSE_GO_ON)
		return status;
	if (!set->score.input && !set->score.ism)
		set->score.input = "-";
	if (!set->score.output)
		set->score.output = "-";
	status = cr_refuse_terminal(set->score.output, set->score.output_type);
	if (status != CR_PARSE_GO_ON)
		return status;
	set->score.shard = set->run.shard[0];
	set->score.shards = set->run.shard[1];
	set->score.command = cr_command_line();
	set->score.log = cr_messages_log;
	set->score.progress = cr_progress_report;
	return CR_PARSE_GO_ON;
}

static void print_plan(const settings *set, const crocuta_score_report *report,
		       const crocuta_model_info *info)
{
	cr_print print;

	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_text(&print, "sha256", info->sha256);
	cr_print_integer(&print, "records", report->records);
	cr_print_integer(&print, "alleles", report->alleles);
	cr_print_integer(&print, "window", report->window);
	cr_print_integer(&print, "readout", report->readout);
	if (set->score.placement == CROCUTA_PLACEMENT_GRID)
		cr_print_integer(&print, "step", report->step);
	cr_print_yes_no(&print, "reuse", report->reuse);
	cr_print_text(&print, "output_type", report->output_type);
	cr_print_integer(&print, "memory_bytes", report->memory_bytes);
	cr_print_session_plan(&print, &report->plan);
	cr_print_finish(&print);
}

static void print_status(const char *name, int64_t count, int64_t total, const char *example)
{
	cr_notice("%-12s %12s %6.2f %%%s%s", name, cr_with_commas(count),
		  100.0 * (double)count / (double)total, *example ? "  " : "", example);
}

/* What became of the ALTs: one row for each status that occurred. */
static void print_statuses(const settings *set, const crocuta_score_report *report)
{
	int64_t total = 0;

	for (int i = 0; i < CROCUTA_ALLELE_STATUSES; i++)
		total += report->status[i];
	if (total)
		cr_notice("%-12s %12s %8s  %s", "status", "ALTs", "share", "first example");
	for (int i = 0; total && i < CROCUTA_ALLELE_STATUSES; i++) {
		if (report->status[i])
			print_status(crocuta_allele_status_name(i), report->status[i], total,
				     report->example[i]);
		if (i != CROCUTA_ALLELE_OK)
			continue;
		if (report->edge)
			print_status("  with EDGE", report->edge, total, "");
		if (report->masked)
			print_status("  with MASKED", report->masked, total, "");
		if (report->equal)
			print_status("  ALT = REF", report->equal, total, "");
	}
	if (set->score.check_ref == CROCUTA_CHECK_REF_EXCLUDE)
		cr_notice("%s records left out by --check-ref x: REF is not what the FASTA has",
			  cr_with_commas(report->left_out));
}

static void finish_notes(const settings *set, const crocuta_score_report *report)
{
	char counts[400];

	cr_messages_live(NULL);
	print_statuses(set, report);
	snprintf(counts, sizeof counts,
		 "%s records in, %s out, %s ALTs, %s windows, %s changes, %s tokens",
		 cr_with_commas(report->records), cr_with_commas(report->records_out),
		 cr_with_commas(report->alleles), cr_with_commas(report->windows),
		 cr_with_commas(report->changes), cr_with_commas(report->tokens));
	cr_progress_stages(&report->times);
	cr_progress_finish(counts);
	if (report->plan.device_bytes)
		cr_notice("GPU memory %s", cr_as_bytes((double)report->plan.device_bytes));
}

/* --strict: the output is complete, and yet the run did not do what was meant. */
static int judge(const crocuta_score_report *report)
{
	char list[300] = "";
	size_t used = 0;

	for (int i = 0; i < CROCUTA_ALLELE_STATUSES && used < sizeof list; i++)
		if (is_unexpected(i) && report->status[i])
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%s %s",
						 used ? ", " : "", crocuta_allele_status_name(i),
						 cr_with_commas(report->status[i]));
	if (report->left_out && used < sizeof list)
		used += (size_t)snprintf(list + used, sizeof list - used, "%srecords left out %s",
					 used ? ", " : "", cr_with_commas(report->left_out));
	if (!used)
		return 0;
	cr_error("--strict: not all was scored: %s; the output is complete", list);
	return CROCUTA_EINPUT;
}

static void add_stats(cr_print *print, const void *of)
{
	const crocuta_score_report *report = of;

	cr_print_integer(print, "records", report ? report->records : -1);
	cr_print_integer(print, "records_out", report ? report->records_out : -1);
	cr_print_integer(print, "alleles", report ? report->alleles : -1);
	cr_print_integer(print, "changes", report ? report->changes : -1);
	cr_print_open_object(print, "alleles_by_status");
	for (int i = 0; report && i < CROCUTA_ALLELE_STATUSES; i++)
		if (report->status[i])
			cr_print_integer(print, crocuta_allele_status_name(i), report->status[i]);
	cr_print_close_object(print);
	cr_print_integer(print, "edge", report ? report->edge : -1);
	cr_print_integer(print, "masked", report ? report->masked : -1);
	cr_print_integer(print, "left_out", report ? report->left_out : -1);
}

static int run_model(settings *set, const crocuta_model *model, crocuta_score_report *report)
{
	crocuta_error error = {0};
	int status = set->dry_run ? crocuta_score_plan(model, &set->score, report, &error)
				  : crocuta_score_run(model, &set->score, report, &error);

	if (status)
		return cr_report_failure(&error, status);
	if (set->dry_run) {
		print_plan(set, report, crocuta_model_get_info(model));
		return 0;
	}
	set->finished = 1; /* --strict judges what is there */
	finish_notes(set, report);
	return set->strict ? judge(report) : 0;
}

static int write_stats(const settings *set, const crocuta_model *model,
		       const crocuta_score_report *report, int status)
{
	const cr_stats stats = {
		.command = "score",
		.input = set->score.input,
		.output = set->score.output,
		.shard = set->run.shard,
		.model = model ? crocuta_model_get_info(model) : NULL,
		.plan = &report->plan,
		.times = &report->times,
		.prepare_seconds = -1,
		.run_seconds = -1,
		.model_seconds = -1,
		.resumed = report->resumed,
		.finished = set->finished,
		.bases = -1,
		.n_bases = -1,
		.windows = report->windows,
		.tokens = report->tokens,
		.add = add_stats,
		.report = report,
	};

	return cr_stats_write(set->dry_run ? NULL : set->run.stats, &stats, status);
}

static int run_score(const cr_command *command, int argc, char **argv)
{
	crocuta_score_report report = {0};
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	settings set;
	int status = read_arguments(command, argc, argv, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	cr_progress_start(set.progress, "ALTs");
	status = cr_run_settle(&set.run, &set.score.journal, set.score.output);
	if (status)
		return status;
	status = crocuta_score_check(&set.score, &error);
	if (status)
		return write_stats(&set, NULL, &report, cr_report_error(&error, status));
	set.model.open.shapes_only = set.dry_run;
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return write_stats(&set, NULL, &report, status);
	status = set.dry_run ? CR_PARSE_GO_ON : cr_follow_rank(model, &set.score.session);
	if (status != CR_PARSE_GO_ON)
		return status;
	status = write_stats(&set, model, &report, run_model(&set, model, &report));
	crocuta_model_close(model);
	return status;
}

const cr_command cr_command_score = {
	.name = "score",
	.full_name = "score",
	.summary = "effects of variants: VCF or BCF in, the same records with scores out",
	.synopsis = "[options] -f ref.fa in.vcf|- | --ism REGION [options] -f ref.fa",
	.details = "Each ALT gets the log-likelihood ratio of its haplotype against the "
		   "reference, on both strands,\nthe distance of the two embeddings, and a status "
		   "that says why when it has no score. Records,\ntheir order, samples and FORMAT "
		   "pass through untouched.",
	.footer = "Examples:\n"
		  "  crocuta score -f hg38.fa -o out.vcf.gz -W in.vcf.gz\n"
		  "  crocuta score -f hg38.fa in.bcf | bcftools view -i 'CROCUTA_LLR<-2'\n"
		  "  crocuta score -f hg38.fa --ism chr20:44,355,700-44,356,300 -o ism.vcf.gz",
	.options = options,
	.run = run_score,
};
