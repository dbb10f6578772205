/* fit_options.c - defaults of crocuta_fit_options and every check of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/atomic.h"
#include "io/regions.h"
#include "task/fit_internal.h"
#include "task/inputs.h"

#define KMER_MAX 8

void crocuta_fit_options_init(crocuta_fit_options *options)
{
	memset(options, 0, sizeof *options);
	options->split = -1;
	options->layer = -1;
	options->pool = -1;
	options->window = -1;
	options->l2 = "auto";
	options->seed = 1;
	options->kmer = 4;
	crocuta_session_options_init(&options->session);
}

static int ends_with(const char *text, const char *suffix)
{
	size_t length = strlen(text), tail = strlen(suffix);

	return length > tail && !strcasecmp(text + length - tail, suffix);
}

/* Of a table: the character between its fields; 0 for other names. */
static char delimiter_of(const char *path)
{
	static const struct {
		const char *suffix;
		char delimiter;
	} known[] = {{".tsv", '\t'},   {".csv", ','},      {".tsv.gz", '\t'},
		     {".csv.gz", ','}, {".tsv.bgz", '\t'}, {".csv.bgz", ','}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (ends_with(path, known[i].suffix))
			return known[i].delimiter;
	return 0;
}

int cr_fit_input_parse(const char *word, cr_fit_input *input, crocuta_error *error)
{
	const char *equals = strchr(word, '='), *slash = strchr(word, '/');

	memset(input, 0, sizeof *input);
	input->path = word;
	if (equals && (!slash || equals < slash)) {
		input->kind = CR_FIT_RECORDS;
		input->class_name = word;
		input->class_bytes = (size_t)(equals - word);
		input->path = equals + 1;
		if (!input->class_bytes || !*input->path)
			return cr_fail(error, CROCUTA_EARG,
				       "\"%.200s\": give CLASS=FILE, such as promoter=prom.fa",
				       word);
		return CROCUTA_OK;
	}
	input->delimiter = delimiter_of(word);
	if (input->delimiter)
		input->kind = CR_FIT_TABLE;
	else if (cr_regions_is_bed_name(word))
		input->kind = CR_FIT_REGIONS;
	else
		return cr_fail(error, CROCUTA_EARG,
			       "\"%.200s\": give CLASS=FILE for a FASTA or FASTQ, a table .csv or "
			       ".tsv (also .gz), or regions .bed",
			       word);
	return CROCUTA_OK;
}

const char *const *cr_fit_words(const crocuta_fit_options *options, int part)
{
	const char *const *lists[] = {options->inputs, options->valid, options->test};

	if (options->evaluate)
		return part == CROCUTA_FIT_TEST ? options->inputs : NULL;
	return lists[part];
}

const char **cr_fit_list_inputs(const crocuta_fit_options *options)
{
	const char **list;
	int64_t count = 0;

	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		for (const char *const *word = cr_fit_words(options, part); word && *word; word++)
			count++;
	list = cr_calloc((size_t)count + 4, sizeof *list);
	if (!list)
		return NULL;
	count = 0;
	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		for (const char *const *word = cr_fit_words(options, part); word && *word; word++) {
			cr_fit_input input;

			if (!cr_fit_input_parse(*word, &input, NULL) && strcmp(input.path, "-"))
				list[count++] = input.path;
		}
	if (options->reference)
		list[count++] = options->reference;
	if (options->fai)
		list[count++] = options->fai;
	if (options->gzi)
		list[count++] = options->gzi;
	return list;
}

int64_t cr_fit_parse_l2(const crocuta_fit_options *options, double *values)
{
	static const double linear[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
	const char *at = options->l2;
	int64_t count = 0;

	if (!strcmp(at, "auto")) {
		int hidden = options->kind == CROCUTA_FIT_HIDDEN;

		count = hidden ? 3 : 7;
		memcpy(values, linear + hidden, (size_t)count * sizeof *values);
		return count;
	}
	for (;;) {
		char *end;

		if (count == CR_FIT_L2_MAX || strchr("+- \t\n\v\f\r", *at))
			return -1; /* strtod takes these, and the end of the text is among them */
		errno = 0;
		values[count] = strtod(at, &end);
		if (end == at || errno || !isfinite(values[count]) || values[count] < 0)
			return -1;
		count++;
		if (!*end)
			return count;
		if (*end != ',')
			return -1;
		at = end + 1;
	}
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int check_values(const crocuta_fit_options *o, crocuta_error *error)
{
	double l2[CR_FIT_L2_MAX];

	if (!o->inputs || !*o->inputs)
		return cr_fail(error, CROCUTA_EARG,
			       "no inputs: give CLASS=FILE pairs, a table .csv or .tsv, or a .bed");
	if (o->layer < -1 || o->pool < -1 || o->pool > CROCUTA_HEAD_SUM || o->parts < 0 ||
	    o->parts > CROCUTA_HEAD_PARTS_MAX || o->strands < 0 ||
	    o->strands > CROCUTA_STRANDS_CONCAT || o->window < -1 || o->step < 0 ||
	    (o->kind != CROCUTA_FIT_LINEAR && o->kind != CROCUTA_FIT_HIDDEN) || o->hidden < 0 ||
	    o->hidden > 65536 || o->epochs < 0 || o->patience < 0 || o->seed < 0 || o->kmer < 0 ||
	    o->kmer > KMER_MAX || o->split < -1)
		return cr_fail(error, CROCUTA_EARG,
			       "layer, pool, parts, strands, window, step, kind, hidden, epochs, "
			       "patience, seed, kmer or split is out of range");
	if (!o->l2 || cr_fit_parse_l2(o, l2) < 0)
		return cr_fail(
			error, CROCUTA_EARG,
			"--l2 \"%.80s\": give auto, or numbers from 0 on, separated by commas",
			o->l2 ? o->l2 : "");
	return CROCUTA_OK;
}

/* Every word can be read as an input, all are of one kind, and the files are there. */
static int check_inputs(const crocuta_fit_options *o, enum cr_fit_input_kind *kind,
			crocuta_error *error)
{
	int code = CROCUTA_OK;

	*kind = 0;
	for (int part = 0; part < CROCUTA_FIT_PARTS && !code; part++) {
		const char *const *word = cr_fit_words(o, part);

		for (; !code && word && *word; word++) {
			cr_fit_input input;

			code = cr_fit_input_parse(*word, &input, error);
			if (!code && *kind && *kind != input.kind)
				code = cr_fail(
					error, CROCUTA_EARG,
					"\"%.200s\": CLASS=FILE pairs, tables and BED files do "
					"not go together in one run",
					*word);
			if (!code)
				code = cr_input_check(input.path, 0, "", error);
			*kind = code ? *kind : input.kind;
		}
	}
	if (!code && o->reference)
		code = cr_input_check(o->reference, 1, "regions need one", error);
	return code;
}

static int check_split(const crocuta_fit_options *o, enum cr_fit_input_kind kind,
		       crocuta_error *error)
{
	int contigs = o->valid_contigs || o->test_contigs, files = o->valid || o->test;
	int regions = kind == CR_FIT_REGIONS;
	const char *wrong = NULL;

	if (o->evaluate && (contigs || files || o->split >= 0))
		wrong = "--evaluate measures on all inputs; leave --valid, --test and --split out";
	else if (o->evaluate)
		return CROCUTA_OK;
	else if (contigs && !regions)
		wrong = "--valid-contigs and --test-contigs belong to BED inputs";
	else if (o->split >= 0 && regions)
		wrong = "neighbouring regions share sequence, so --split is not for BED inputs; "
			"split by contig: --valid-contigs and --test-contigs";
	else if ((contigs && files) || (o->split >= 0 && files))
		wrong = "--valid and --test name whole files; leave --split, --valid-contigs and "
			"--test-contigs out";
	else if (regions && !o->valid && !o->valid_contigs)
		wrong = "a validation part is needed: --valid-contigs LIST, or --valid FILE.bed";
	else if (!contigs && !files && o->split < 0)
		wrong = "what should the head be measured on? Give --valid FILE and --test FILE, "
			"or "
			"--split SEED: 80 % to fit, 10 % to choose, 10 % to test";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

static int check_combinations(const crocuta_fit_options *o, enum cr_fit_input_kind kind,
			      crocuta_error *error)
{
	const char *wrong = NULL;

	if (kind == CR_FIT_REGIONS && !o->reference)
		wrong = "BED inputs need -f FASTA, whose bases they name";
	else if (kind != CR_FIT_REGIONS && (o->fai || o->gzi || o->reference))
		wrong = "-f, --fai-idx and --gzi-idx belong to BED inputs";
	else if (o->evaluate && o->output)
		wrong = "--evaluate makes no head; leave -o out";
	else if (o->evaluate && (o->layer >= 0 || o->parts || o->strands))
		wrong = "with --evaluate the head says layer, parts and strands; leave them out";
	else if (!o->evaluate && o->head)
		wrong = "--head-dir belongs to --evaluate";
	else if (!o->evaluate && !o->output)
		wrong = "-o HEADDIR is needed: the directory to be made";
	else if (o->hidden && o->kind != CROCUTA_FIT_HIDDEN)
		wrong = "--hidden belongs to --head hidden";
	else if (o->pool >= CROCUTA_HEAD_FIRST && !o->evaluate)
		wrong = "heads are fitted to mean, last or max";
	else if (o->keep_duplicates && o->evaluate)
		wrong = "--evaluate drops no duplicates; leave --keep-duplicates out";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

/* A directory of features that can be made or written into. */
static int check_cache(const char *path, crocuta_error *error)
{
	struct stat status;

	if (!path)
		return CROCUTA_OK;
	if (stat(path, &status))
		return errno == ENOENT ? CROCUTA_OK
				       : cr_fail_errno(error, CROCUTA_EIO, "%.300s", path);
	if (!S_ISDIR(status.st_mode))
		return cr_fail(error, CROCUTA_EIO, "--cache %.300s is no directory", path);
	return access(path, W_OK | X_OK) ? cr_fail_errno(error, CROCUTA_EIO, "--cache %.300s", path)
					 : CROCUTA_OK;
}

/* The directory of the head, and what head.json is to hold of windows. */
static int check_head(const crocuta_fit_options *o, crocuta_error *error)
{
	const crocuta_feature_form form = {.parts = o->parts ? o->parts : 1,
					   .strands = o->strands ? o->strands
								 : CROCUTA_STRANDS_FORWARD,
					   .pool = o->pool < 0 ? CROCUTA_HEAD_MEAN : o->pool};
	struct stat status;

	if (!o->output)
		return CROCUTA_OK;
	if (!o->force && !lstat(o->output, &status))
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%.300s exists; --force replaces a head directory", o->output);
	return cr_head_check(o->output, &form, o->window, o->step, o->force, error);
}

int cr_fit_check_report(const crocuta_fit_options *options, const crocuta_model_info *info,
			crocuta_error *error)
{
	cr_inputs inputs = {0};
	const cr_output_options how = {.inputs = inputs.list};

	if (!options->report)
		return CROCUTA_OK;
	cr_inputs_add_fasta(&inputs, options->reference);
	cr_inputs_add_head(&inputs, options->head);
	cr_inputs_add_model(&inputs, info);
	return cr_output_preflight(options->report, &how, error);
}

/* The head's directory and the report's file, as far as can be seen beforehand. */
static int check_outputs(const crocuta_fit_options *o, crocuta_error *error)
{
	cr_output_options how = {.inputs = NULL};
	const char **inputs;
	int code = check_head(o, error);

	if (code || !o->report)
		return code;
	inputs = cr_fit_list_inputs(o);
	if (!inputs)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for the list of inputs");
	how.inputs = inputs;
	code = cr_output_preflight(o->report, &how, error);
	cr_free(inputs);
	return code ? code : cr_fit_check_report(o, NULL, error);
}

int crocuta_fit_check(const crocuta_fit_options *options, crocuta_error *error)
{
	enum cr_fit_input_kind kind;
	int code = check_values(options, error);

	if (!code)
		code = check_inputs(options, &kind, error);
	if (!code)
		code = check_combinations(options, kind, error);
	if (!code)
		code = check_split(options, kind, error);
	if (!code)
		code = crocuta_device_check(options->session.device, error);
	if (!code)
		code = check_cache(options->cache, error);
	return code ? code : check_outputs(options, error);
}
