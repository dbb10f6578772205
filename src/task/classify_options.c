/* classify_options.c - defaults of crocuta_classify_options and every check of them. */
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "task/classify_internal.h"

void crocuta_classify_options_init(crocuta_classify_options *options)
{
	memset(options, 0, sizeof *options);
	options->max_n = 0.1;
	crocuta_session_options_init(&options->session);
	crocuta_journal_options_init(&options->journal);
}

int cr_classify_by_place(const crocuta_classify_options *o)
{
	return o->scan || o->regions || o->regions_file;
}

static int check_values(const crocuta_classify_options *o, crocuta_error *error)
{
	int code;

	if (!o->input || !o->output)
		return cr_fail(error, CROCUTA_EARG, "an input and an output are needed");
	if (o->window < 0 || o->step < 0 || o->top < 0 || o->length < 0 ||
	    !(o->max_n >= 0 && o->max_n <= 1) || !(o->min_prob >= 0 && o->min_prob <= 1) ||
	    o->scan_strands < CROCUTA_SCAN_HEAD || o->scan_strands > CROCUTA_SCAN_BOTH)
		return cr_fail(error, CROCUTA_EARG,
			       "window, step, top, length, max_n, min_prob or scan_strands is out of "
			       "range");
	if (o->only && !*o->only)
		return cr_fail(error, CROCUTA_EARG, "--only is empty: name classes");
	code = cr_check_output_options(o->shard, o->shards, o->write_index, error);
	return code ? code : cr_resume_check(&o->journal, o->output, error);
}

/* Options that exclude or need each other. */
static int check_combinations(const crocuta_classify_options *o, crocuta_error *error)
{
	const int places = cr_classify_by_place(o), piped = !strcmp(o->input, "-");
	const char *wrong = NULL;

	if (o->regions && o->regions_file)
		wrong = "--regions and --regions-file exclude each other";
	else if (places && piped)
		wrong = "regions and windows need a FASTA file that can be read at any place, not a "
			"stream";
	else if (!o->scan && (o->window || o->step || o->scan_strands || o->merge))
		wrong = "--step, --scan-strands and --merge belong to --scan";
	else if (!places && (o->fai || o->gzi))
		wrong = "--fai-idx and --gzi-idx belong to regions or --scan";
	else if (o->merge && o->shards > 1)
		wrong = "--merge looks across the borders of shards: leave it out, and merge what "
			"concat gives with bedtools merge, or run without --shard";
	else if (o->merge && o->top)
		wrong = "--merge and --top exclude each other";
	else if (o->shards > 1 && piped)
		wrong = "--shard counts the input first, so it has to be a file, not a stream";
	else if (o->write_index && !places)
		wrong = "an index (-W) is for rows on contigs: use it with regions or --scan";
	else if (o->write_index && !cr_output_is_bgzf_name(o->output))
		wrong = "an index (-W) needs a bgzip file: end the output's name in .gz";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

/* What a name's suffix says, .gz aside; NULL: nothing. */
static const char *type_of_path(const char *path)
{
	size_t length = strlen(path);

	if (cr_output_is_bgzf_name(path))
		length = (size_t)(strrchr(path, '.') - path);
	if (length >= 4 && !strncmp(path + length - 4, ".bed", 4))
		return "bed";
	if (length >= 4 && (!strncmp(path + length - 4, ".tsv", 4) ||
			    !strncmp(path + length - 4, ".txt", 4)))
		return "tsv";
	return NULL;
}

int cr_classify_choose_type(const crocuta_classify_options *o, const char **type,
			    crocuta_error *error)
{
	const char *by_path = cr_output_is_stdout(o->output) ? NULL : type_of_path(o->output);

	if (o->output_type && strcmp(o->output_type, "bed") && strcmp(o->output_type, "tsv"))
		return cr_fail(error, CROCUTA_EARG, "unknown output type \"%.40s\": give bed or tsv",
			       o->output_type);
	if (o->output_type && by_path && strcmp(by_path, o->output_type))
		return cr_fail(error, CROCUTA_EARG,
			       "-O %s does not fit the suffix of \"%.200s\", which says %s",
			       o->output_type, o->output, by_path);
	*type = o->output_type ? (strcmp(o->output_type, "bed") ? "tsv" : "bed")
		: by_path      ? by_path
		: cr_classify_by_place(o) ? "bed"
					  : "tsv";
	return CROCUTA_OK;
}

int cr_classify_file(const crocuta_classify_options *o, int number, char *out, size_t capacity)
{
	int length;

	if (number > 1 || (number && !o->write_index))
		return -1;
	length = snprintf(out, capacity, "%s%s%s", o->output, number ? "." : "",
			  number ? o->write_index : "");
	return length >= 0 && (size_t)length < capacity ? 0 : -1;
}

void cr_classify_list_inputs(cr_inputs *inputs, const crocuta_classify_options *o,
			     const crocuta_model_info *info, const crocuta_head_info *head)
{
	memset(inputs, 0, sizeof *inputs);
	cr_inputs_add_fasta(inputs, o->input);
	cr_inputs_add_model(inputs, info);
	if (head)
		cr_inputs_add_head(inputs, head->path);
	cr_inputs_add(inputs, o->fai);
	cr_inputs_add(inputs, o->gzi);
	cr_inputs_add(inputs, o->regions_file);
	cr_inputs_add(inputs, o->reference);
}

int cr_classify_preflight(const crocuta_classify_options *o, const cr_inputs *inputs,
			  crocuta_error *error)
{
	const cr_output_options how = {.inputs = inputs->list, .no_clobber = o->no_clobber};
	char path[4096];
	int code = CROCUTA_OK;

	for (int i = 0; !code; i++) {
		if (cr_classify_file(o, i, path, sizeof path))
			return i ? CROCUTA_OK
				 : cr_fail(error, CROCUTA_EIO, "the output's name is too long");
		code = cr_output_preflight(path, &how, error);
	}
	return code;
}

int crocuta_classify_check(const crocuta_classify_options *options, crocuta_error *error)
{
	const char *type;
	cr_inputs inputs;
	int code = check_values(options, error);

	if (!code)
		code = check_combinations(options, error);
	if (!code)
		code = cr_classify_choose_type(options, &type, error);
	if (!code)
		code = crocuta_device_check(options->session.device, error);
	if (!code)
		code = cr_input_check(options->input, cr_classify_by_place(options),
				      "regions and windows need one", error);
	if (code)
		return code;
	cr_classify_list_inputs(&inputs, options, NULL, NULL);
	return cr_classify_preflight(options, &inputs, error);
}

/* Every name of the list is a class. */
static int check_only(const cr_classify *classify)
{
	const crocuta_head_info *head = classify->head_info;
	const char *name = classify->options.only;

	while (name && *name) {
		size_t bytes = strcspn(name, ",");
		int64_t i = 0;

		while (i < head->classes && (strlen(head->class_names[i]) != bytes ||
					     memcmp(head->class_names[i], name, bytes)))
			i++;
		if (i == head->classes)
			return cr_fail(classify->error, CROCUTA_EARG,
				       "--only %.*s: the head has no such class; see crocuta model "
				       "show",
				       (int)(bytes < 100 ? bytes : 100), name);
		name += bytes + (name[bytes] == ',');
	}
	return CROCUTA_OK;
}

static int settle_scan(cr_classify *classify)
{
	const crocuta_head_info *head = classify->head_info;
	crocuta_classify_options *o = &classify->options;
	const int64_t shortest = cr_head_shortest(&head->form);

	if (!o->window)
		o->window = head->window;
	if (!o->window)
		return cr_fail(classify->error, CROCUTA_EARG,
			       "the head \"%.100s\" does not say for which length it was fitted: give "
			       "--window",
			       head->name);
	if (o->window > classify->info->usable_length || o->window < shortest)
		return cr_fail(classify->error, CROCUTA_EARG,
			       "--window %lld: model and head take %lld to %lld bases",
			       (long long)o->window, (long long)shortest,
			       (long long)classify->info->usable_length);
	if (!o->step && head->step <= o->window)
		o->step = head->step;
	if (!o->step)
		o->step = o->window > 1 ? o->window / 2 : 1;
	if (o->step > o->window)
		return cr_fail(classify->error, CROCUTA_EARG,
			       "--step %lld leaves bases out between windows of %lld",
			       (long long)o->step, (long long)o->window);
	if (o->scan_strands == CROCUTA_SCAN_HEAD)
		o->scan_strands = head->scan_both ? CROCUTA_SCAN_BOTH : CROCUTA_SCAN_FORWARD;
	return CROCUTA_OK;
}

int cr_classify_settle(cr_classify *classify)
{
	const crocuta_head_info *head = classify->head_info;
	crocuta_classify_options *o = &classify->options;
	int code = cr_classify_choose_type(o, &classify->report->output_type, classify->error);

	if (!code)
		code = cr_head_check_letters(head, o->softmask_n, o->n_as_pad, classify->error);
	if (!code)
		code = check_only(classify);
	if (!code && o->scan)
		code = settle_scan(classify);
	if (code)
		return code;
	if (o->top > head->classes)
		o->top = head->classes;
	classify->report->window = o->window;
	classify->report->step = o->step;
	classify->features = (cr_feature_options){.form = head->form,
						  .softmask_n = o->softmask_n,
						  .n_as_pad = o->n_as_pad,
						  .length = o->length,
						  .session = &o->session,
						  .log = o->log,
						  .log_user = o->user,
						  .sink = cr_classify_take,
						  .user = classify};
	return CROCUTA_OK;
}
