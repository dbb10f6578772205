/* cmd_concat.c - `crocuta concat`: shards and parts of outputs back into one file. */
#include <limits.h>
#include <stdio.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/progress.h"
#include "cli/run_arguments.h"

typedef struct settings {
	crocuta_concat_options concat;
	int progress;
	int quiet, verbosity;
} settings;

#define AT(field) .offset = offsetof(settings, field)
#define OUTPUT .group = CR_GROUP_OUTPUT

static const cr_option options[] = {
	CR_OUTPUT_FILE_OPTION(settings, concat,
			      "npy also writes .rows.bed.gz and .meta.json beside it"),
	{.name = "output-type",
	 .letter = 'O',
	 OUTPUT,
	 .kind = CR_OPTION_TEXT,
	 AT(concat.output_type),
	 .argument = "TYPE",
	 .help = "of VCF and BCF inputs: v, z, b or u, z and b with a level; of others their "
		 "own: t, tsv, npy or bedgraph",
	 .standard = "by the suffix of -o, else that of the first input"},
	CR_INDEX_OPTION(settings, concat),
	CR_OUTPUT_OPTIONS(settings, concat),
	CR_PROGRESS_OPTION(settings),
	CR_MESSAGE_OPTIONS(settings),
	{.name = NULL}};

static int run_concat(const cr_command *command, int argc, char **argv)
{
	settings set = {.progress = 60, .verbosity = CR_VERBOSITY_DEFAULT};
	crocuta_concat_report report = {0};
	crocuta_error error = {0};
	cr_operands operands;
	char counts[120];
	int status;

	crocuta_concat_options_init(&set.concat);
	status = cr_options_parse(command, &set, argc, argv, INT_MAX, &operands);
	if (status != CR_PARSE_GO_ON)
		return status;
	cr_messages_set_verbosity(set.quiet ? 1 : set.verbosity);
	if (argc < 2) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	if (!operands.count) {
		cr_error("no inputs: name the files to put together, in order");
		return CROCUTA_EARG;
	}
	set.concat.inputs = (const char *const *)operands.list;
	if (!set.concat.output)
		set.concat.output = "-";
	status = cr_refuse_terminal(set.concat.output, set.concat.output_type);
	if (status != CR_PARSE_GO_ON)
		return status;
	set.concat.command = cr_command_line();
	set.concat.log = cr_messages_log;
	set.concat.progress = cr_progress_report;
	cr_progress_start(set.progress, "records");
	status = crocuta_concat_run(&set.concat, &report, &error);
	if (status)
		return cr_report_failure(&error, status);
	snprintf(counts, sizeof counts, "%s files, %s %s", cr_with_commas(report.files),
		 cr_with_commas(report.records), report.kind[0] == 'v' ? "records" : "rows");
	cr_progress_finish(counts);
	return 0;
}

const cr_command cr_command_concat = {
	.name = "concat",
	.full_name = "concat",
	.summary = "put shards and parts of outputs together, when their models agree",
	.synopsis = "[options] FILE...",
	.details = "Outputs of crocuta score (VCF, BCF, table), embed (npy, tsv, bedgraph) and "
		   "classify (bed, tsv)\nare joined in the order given. Different models, references or "
		   "options, and missing shards,\nare refused.",
	.footer = "Example:\n"
		  "  crocuta concat -o all.vcf.gz -W part.1.vcf.gz part.2.vcf.gz part.3.vcf.gz",
	.options = options,
	.run = run_concat,
};
