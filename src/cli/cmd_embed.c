/* cmd_embed.c - `crocuta embed`: vectors and tracks over contigs, regions, records and reads. */
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
	crocuta_embed_options embed;
	cr_model_arguments model;
	const char *fasta;
	cr_run_arguments run;
	int per_read;
	int dry_run, json;
	int progress;
	int quiet, verbosity;
} settings;

static const cr_choice strands[] = {{"forward", CROCUTA_STRANDS_FORWARD},
				    {"reverse", CROCUTA_STRANDS_REVERSE},
				    {"both", CROCUTA_STRANDS_BOTH},
				    {"concat", CROCUTA_STRANDS_CONCAT},
				    {NULL, 0}};
static const cr_choice pools[] = {{"mean", 0}, {"last", 0}, {"max", 0}, {NULL, 0}};
static const cr_choice tracks[] = {{"logprob", 0}, {"entropy", 0}, {NULL, 0}};
static const cr_choice classes[] = {{"all", 0}, {"acgt", 4}, {"acgtn", 5}, {NULL, 0}};
static const cr_choice specials[] = {
	{"none", 0}, {"sep", 0}, {"cls-sep", 0}, {"model", 0}, {NULL, 0}};
static const cr_choice types[] = {{"npy", 0}, {"tsv", 0}, {"bedgraph", 0}, {"bw", 0}, {NULL, 0}};

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
	 AT(embed.regions),
	 .argument = "LIST",
	 .help = "regions CHR, CHR:POS (that one base), CHR:FROM-TO or CHR:FROM-, 1-based, "
		 "separated by commas"},
	{.name = "regions-file",
	 .letter = 'R',
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(embed.regions_file),
	 .argument = "FILE",
	 .help = "regions of a file: .bed or .bed.gz 0-based half-open, others 1-based "
		 "CHROM POS [END]"},
	{.name = "clip",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(embed.clip),
	 .help = "cut regions at the contig's end instead of refusing them"},
	{.name = "per-record",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(embed.per_record),
	 .help = "one vector a FASTA record"},
	{.name = "per-read",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(per_read),
	 .help = "the same; FASTQ, SAM, BAM and CRAM always are"},
	CR_FASTA_OPTIONS(settings, embed),
	{.name = "reference",
	 INPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(embed.reference),
	 .argument = "FASTA",
	 .help = "reference that decodes a CRAM"},
	{.name = "allow-truncated",
	 INPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(embed.allow_truncated),
	 .help = "accept BGZF, BAM or CRAM input without its end marker"},

	CR_MODEL_NAME_OPTION(settings, "tiny-1k"),
	CR_MODEL_OPEN_OPTIONS(settings),
	{.name = "layer",
	 MODEL,
	 .kind = CR_OPTION_INT,
	 AT(embed.layer),
	 .argument = "N",
	 .help = "0 the token vectors, k the state after k blocks, last the final norm's output",
	 .standard = "last",
	 .word = "last",
	 .word_value = -1,
	 .min = 0,
	 .max = 1000000},
	CR_WINDOW_OPTION(settings, embed),
	{.name = "overlap",
	 MODEL,
	 .kind = CR_OPTION_INTEGER,
	 AT(embed.overlap),
	 .argument = "N",
	 .help = "left context of every base but the first ones of a contig",
	 .standard = "a quarter of the window",
	 .min = 0,
	 .max = INT64_MAX / 4},
	{.name = "stream",
	 MODEL,
	 .kind = CR_OPTION_FLAG,
	 AT(embed.stream),
	 .help = "carry state along the whole contig: every base sees the model's full length"},
	{.name = "strands",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(embed.strands),
	 .argument = "WHICH",
	 .help = "forward, reverse, both (mean) or concat (forward columns, then reverse); row i "
		 "is base i in all",
	 .standard = "forward",
	 .choices = strands},
	{.name = "special-tokens",
	 MODEL,
	 .kind = CR_OPTION_WORD,
	 AT(embed.special_tokens),
	 .argument = "WHICH",
	 .help = "none, sep, cls-sep, or model (cls-sep, pooled too); with --per-record",
	 .standard = "none",
	 .choices = specials},
	{.name = "classes",
	 MODEL,
	 .kind = CR_OPTION_CHOICE,
	 AT(embed.classes),
	 .argument = "SET",
	 .help = "softmax of a track over all rows, acgt or acgtn",
	 .standard = "all",
	 .choices = classes},

	{.name = "bin",
	 OUTPUT,
	 .kind = CR_OPTION_INTEGER,
	 AT(embed.bin),
	 .argument = "N",
	 .help = "bases a row; 0 one row a region, contig or record",
	 .standard = "128; tracks 1; records 0",
	 .min = 0,
	 .max = INT64_MAX / 4},
	{.name = "pool",
	 OUTPUT,
	 .kind = CR_OPTION_WORD,
	 AT(embed.pool),
	 .argument = "HOW",
	 .help = "mean, last or max over the bases of a row",
	 .standard = "mean",
	 .choices = pools},
	{.name = "track",
	 OUTPUT,
	 .kind = CR_OPTION_WORD,
	 AT(embed.track),
	 .argument = "WHAT",
	 .help = "logprob or entropy of each base given its left context, instead of vectors",
	 .choices = tracks},
	{.name = "skip-n",
	 OUTPUT,
	 .kind = CR_OPTION_REAL,
	 AT(embed.skip_n),
	 .argument = "SHARE",
	 .help = "leave out rows with at least this share of N, up to 1",
	 .min = 0,
	 .max = 1},
	CR_OUTPUT_FILE_OPTION(settings, embed,
			      "npy also writes .rows.bed.gz and .meta.json beside it"),
	{.name = "output-type",
	 .letter = 'O',
	 OUTPUT,
	 .kind = CR_OPTION_WORD,
	 AT(embed.output_type),
	 .argument = "TYPE",
	 .help = "npy, tsv, bedgraph or bw",
	 .standard = "by the suffix of -o, else tsv or bedgraph",
	 .choices = types},
	{.name = "half", OUTPUT, .kind = CR_OPTION_FLAG, AT(embed.half), .help = "npy in float16"},
	CR_OUTPUT_OPTIONS(settings, embed),
	CR_SHARD_OPTION(settings),
	CR_RUN_OPTIONS(settings, embed),
	{.name = "no-space-check",
	 OUTPUT,
	 .kind = CR_OPTION_FLAG,
	 AT(embed.no_space_check),
	 .help = "do not compare the output's size with the free space"},
	CR_PLAN_OPTIONS(settings),

	CR_RESOURCE_OPTIONS(settings, embed),
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

static void print_plan(const settings *set, const crocuta_embed_report *report,
		       const crocuta_model_info *info)
{
	cr_print print;

	cr_print_start(&print, set->json);
	cr_print_text(&print, "model", info->name);
	cr_print_text(&print, "sha256", info->sha256);
	cr_print_integer(&print, "contigs", report->contigs);
	cr_print_integer(&print, "regions", report->regions);
	cr_print_integer(&print, "bases", report->bases);
	cr_print_integer(&print, "window", report->window);
	cr_print_integer(&print, "overlap", report->overlap);
	cr_print_integer(&print, "windows", report->windows);
	cr_print_integer(&print, "tokens", report->tokens);
	cr_print_integer(&print, "bin", report->bin);
	cr_print_integer(&print, "rows", report->rows);
	cr_print_integer(&print, "columns", report->columns);
	cr_print_text(&print, "output_type", report->output_type);
	cr_print_integer(&print, "output_bytes", report->output_bytes);
	cr_print_integer(&print, "memory_bytes", report->memory_bytes);
	cr_print_session_plan(&print, &report->plan);
	if (set->embed.stream)
		cr_print_integer(&print, "stream_context", report->plan.stream_context);
	cr_print_finish(&print);
}

static int read_arguments(const cr_command *command, int argc, char **argv, settings *set)
{
	cr_operands operands;
	int status;

	memset(set, 0, sizeof *set);
	crocuta_embed_options_init(&set->embed);
	crocuta_model_options_init(&set->model.open);
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
	set->embed.input = operands.count ? operands.list[0] : set->fasta;
	if (!set->embed.input && isatty(STDIN_FILENO)) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	if (!set->embed.input)
		set->embed.input = "-";
	if (!set->embed.output)
		set->embed.output = "-";
	if (set->per_read)
		set->embed.per_record = 1;
	set->embed.shard = set->run.shard[0];
	set->embed.shards = set->run.shard[1];
	if (set->json && !set->dry_run) {
		cr_error("--json belongs to --dry-run");
		return CROCUTA_EARG;
	}
	set->embed.command = cr_command_line();
	set->embed.log = cr_messages_log;
	set->embed.progress = cr_progress_report;
	return CR_PARSE_GO_ON;
}

/* "9.84 M " or "38.4 k " of something a second. */
static void format_rate(char *text, size_t capacity, int64_t count, double seconds)
{
	double rate = seconds > 0 ? (double)count / seconds : 0;

	if (rate >= 1e6)
		snprintf(text, capacity, "%.2f M ", rate / 1e6);
	else if (rate >= 1e3)
		snprintf(text, capacity, "%.1f k ", rate / 1e3);
	else
		snprintf(text, capacity, "%.0f ", rate);
}

/* What the time went into: of the run itself, preparations apart. */
static void finish_speed(const crocuta_embed_report *report)
{
	double seconds = report->run_seconds, waiting;
	char bases[32], tokens[32];

	format_rate(bases, sizeof bases, report->bases, seconds);
	format_rate(tokens, sizeof tokens, report->tokens, seconds);
	waiting = seconds > 0 ? 100 * (1 - report->model_seconds / seconds) : 0;
	cr_notice("%sbases/s, %stokens/s: %.3f s, %.0f %% of it waiting for input or the last "
		  "writes, after %.3f s to prepare",
		  bases, tokens, seconds, waiting, report->prepare_seconds);
}

static void finish_notes(const crocuta_embed_report *report)
{
	char counts[400];

	snprintf(counts, sizeof counts,
		 "%s sequences, %s bases, %s windows, %s tokens, %s rows x %s columns, %s",
		 cr_with_commas(report->records > report->contigs ? report->records
								  : report->contigs),
		 cr_with_commas(report->bases), cr_with_commas(report->windows),
		 cr_with_commas(report->tokens), cr_with_commas(report->rows),
		 cr_with_commas(report->columns), cr_as_bytes((double)report->output_bytes));
	if (report->folded)
		cr_notice("%s IUPAC codes were read as N", cr_with_commas(report->folded));
	cr_progress_stages(&report->times);
	cr_progress_finish(counts);
	if (report->plan.device_bytes)
		cr_notice("GPU memory %s", cr_as_bytes((double)report->plan.device_bytes));
	finish_speed(report);
}

static void add_stats(cr_print *print, const void *of)
{
	const crocuta_embed_report *report = of;

	cr_print_integer(print, "contigs", report ? report->contigs : -1);
	cr_print_integer(print, "records", report ? report->records : -1);
	cr_print_integer(print, "rows", report ? report->rows : -1);
	cr_print_integer(print, "columns", report ? report->columns : -1);
	cr_print_integer(print, "skipped_rows", report ? report->skipped_rows : -1);
	cr_print_integer(print, "output_bytes", report ? report->output_bytes : -1);
}

static int write_stats(const settings *set, const crocuta_model *model,
		       const crocuta_embed_report *report, int status)
{
	const cr_stats stats = {
		.command = "embed",
		.input = set->embed.input,
		.output = set->embed.output,
		.shard = set->run.shard,
		.model = model ? crocuta_model_get_info(model) : NULL,
		CR_STATS_OF_BASES(report),
		.finished = !status && model,
		.windows = report->windows,
		.add = add_stats,
		.report = report,
	};

	return cr_stats_write(set->dry_run ? NULL : set->run.stats, &stats, status);
}

static int run_model(const settings *set, const crocuta_model *model, crocuta_embed_report *report)
{
	crocuta_error error = {0};
	int status = set->dry_run ? crocuta_embed_plan(model, &set->embed, report, &error)
				  : crocuta_embed_run(model, &set->embed, report, &error);

	if (status)
		cr_report_failure(&error, status);
	else if (set->dry_run)
		print_plan(set, report, crocuta_model_get_info(model));
	else
		finish_notes(report);
	return status;
}

static int run_embed(const cr_command *command, int argc, char **argv)
{
	crocuta_embed_report report = {0};
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	settings set;
	int status = read_arguments(command, argc, argv, &set);

	if (status != CR_PARSE_GO_ON)
		return status;
	cr_progress_start(set.progress, "bases");
	status = cr_run_settle(&set.run, &set.embed.journal, set.embed.output);
	if (status)
		return status;
	status = crocuta_embed_check(&set.embed, &error);
	if (status)
		return write_stats(&set, NULL, &report, cr_report_error(&error, status));
	set.model.open.shapes_only = set.dry_run;
	status = cr_model_arguments_open(&set.model, &model);
	if (status)
		return write_stats(&set, NULL, &report, status);
	status = set.dry_run ? CR_PARSE_GO_ON : cr_follow_rank(model, &set.embed.session);
	if (status != CR_PARSE_GO_ON)
		return status;
	status = write_stats(&set, model, &report, run_model(&set, model, &report));
	crocuta_model_close(model);
	return status;
}

const cr_command cr_command_embed = {
	.name = "embed",
	.full_name = "embed",
	.summary = "vectors and log-likelihood tracks over contigs, regions, records and reads",
	.synopsis = "[options] ref.fa|reads.bam|-",
	.details =
		"The input is a FASTA (plain or bgzip; an index is used when there, else made in "
		"memory), or,\nalso from a pipe, FASTA, FASTQ, SAM, BAM or CRAM. Contigs are "
		"tiled with windows; a base is\nreported from the window that gives it the most "
		"left context. Row i of --bin 1 is base i.",
	.footer = "Examples:\n"
		  "  crocuta embed -o chr20.npy -r chr20 hg38.fa\n"
		  "  crocuta embed --track logprob -o chr20.bw -r chr20 --strands both hg38.fa\n"
		  "  samtools view -u reads.bam | crocuta embed --per-read -O tsv - > reads.tsv",
	.options = options,
	.run = run_embed,
};
