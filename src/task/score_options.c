/* score_options.c - defaults of crocuta_score_options and every check of them. */
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "io/atomic.h"
#include "model/network.h"
#include "task/file_type.h"
#include "task/passes.h"
#include "task/score_internal.h"

#define READOUT_MOST 1024 /* unless asked for */

void crocuta_score_options_init(crocuta_score_options *options)
{
	memset(options, 0, sizeof *options);
	options->regions_overlap = 1;
	options->max_ref_mismatch = 0.01;
	options->max_n = 0.1;
	options->strands = CROCUTA_STRANDS_BOTH;
	options->tag_prefix = "CROCUTA";
	crocuta_session_options_init(&options->session);
	crocuta_journal_options_init(&options->journal);
}

static int is_key(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	static const char more[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return *text && strchr(letters, *text) && !text[strspn(text, more)] && strlen(text) <= 60;
}

static int check_values(const crocuta_score_options *o, crocuta_error *error)
{
	int code;

	if (!o->output || !o->reference || !o->input == !o->ism)
		return cr_fail(error, CROCUTA_EARG,
			       "a reference, an output and either an input or --ism are needed");
	if (o->window < 0 || o->readout < -1 || o->step < 0 || o->max_indel < 0 ||
	    !(o->max_n >= 0 && o->max_n <= 1) ||
	    !(o->max_ref_mismatch >= 0 && o->max_ref_mismatch <= 1))
		return cr_fail(error, CROCUTA_EARG,
			       "window, readout, step, max_indel, max_n or max_ref_mismatch is out "
			       "of range");
	if (o->strands < CROCUTA_STRANDS_FORWARD || o->strands > CROCUTA_STRANDS_BOTH ||
	    o->placement < CROCUTA_PLACEMENT_GRID || o->placement > CROCUTA_PLACEMENT_FIXED ||
	    o->reduce < CROCUTA_REDUCE_SUM || o->reduce > CROCUTA_REDUCE_WINDOW_MEAN ||
	    o->check_ref < CROCUTA_CHECK_REF_WARN || o->check_ref > CROCUTA_CHECK_REF_EXCLUDE ||
	    (o->classes && o->classes != 4) || o->start_token < -1 || o->start_token > 1 || o->regions_overlap < 0 || o->regions_overlap > 2)
		return cr_fail(error, CROCUTA_EARG,
			       "strands, placement, reduce, check_ref, classes, start_token or "
			       "regions_overlap has an unknown value");
	if (!o->tag_prefix || !is_key(o->tag_prefix))
		return cr_fail(error, CROCUTA_EARG,
			       "--tag-prefix \"%.60s\": give letters, digits and _, not beginning "
			       "with a digit, at most 60",
			       o->tag_prefix ? o->tag_prefix : "");
	code = cr_check_output_options(o->shard, o->shards, o->write_index, error);
	return code ? code : cr_resume_check(&o->journal, o->output, error);
}

/* Options that exclude or need each other. */
static int check_combinations(const crocuta_score_options *o, char type, crocuta_error *error)
{
	const char *wrong = NULL;

	if (o->ism && (o->regions || o->regions_file || o->targets || o->targets_file))
		wrong = "--ism names its region itself; leave -r, -R, -t and -T out";
	else if (o->ism && o->rename_chrs)
		wrong = "--ism has no contig names to map; leave --rename-chrs out";
	else if (o->regions && o->regions_file)
		wrong = "--regions and --regions-file exclude each other";
	else if (o->targets && o->targets_file)
		wrong = "--targets and --targets-file exclude each other";
	else if (o->input && !strcmp(o->input, "-") && (o->regions || o->regions_file))
		wrong = "regions need an indexed file, not a stream; --targets filters a stream";
	else if (o->input && !strcmp(o->input, "-") && o->shards > 1)
		wrong = "--shard reads the input twice and needs a file, not a stream";
	else if (type == 'n' && !o->ism)
		wrong = "npy holds the matrix of --ism; scores of a VCF go into vcf, bcf or tsv";
	else if (type == 'n' && cr_output_is_stdout(o->output))
		wrong = "npy is not written to standard output, because its meta.json goes beside "
			"it; give -o FILE.npy";
	else if (type == 'n' && o->shards > 1)
		wrong = "an npy matrix is not made in shards; write vcf or tsv, or name a smaller "
			"region";
	else if (o->write_index && type != 'z' && type != 'b')
		wrong = "--write-index needs a compressed VCF or BCF (-O z, -O b)";
	else if (o->write_index && cr_output_is_stdout(o->output))
		wrong = "--write-index needs an output file; give -o FILE";
	else if (o->write_index && type == 'b' && !strcmp(o->write_index, "tbi"))
		wrong = "a BCF has no tbi index; use --write-index=csi";
	else if (o->placement == CROCUTA_PLACEMENT_FIXED && o->step)
		wrong = "--step belongs to --placement grid";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

static int ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a > b && !strcmp(text + a - b, end);
}

int cr_score_choose_type(const crocuta_score_options *o, char *type, int *level,
			 crocuta_error *error)
{
	cr_file_type chosen;
	int code = cr_file_type_choose(o->output_type, cr_output_is_stdout(o->output) ? "-" : o->output,
				       &chosen, error);

	if (code)
		return code;
	if (chosen.kind == CR_FILE_BEDGRAPH || chosen.kind == CR_FILE_BIGWIG)
		return cr_fail(error, CROCUTA_EARG,
			       "-O %s: scores go into v, z, b, u, t, or npy with --ism",
			       cr_file_kind_name(chosen.kind));
	*type = (char)(chosen.kind ? chosen.kind : CR_FILE_VCF);
	*level = chosen.level;
	return CROCUTA_OK;
}

int cr_score_file(const crocuta_score_options *o, char type, int number, char *out, size_t capacity)
{
	int needed = -1;

	if (number == 0)
		needed = snprintf(out, capacity, "%s", o->output);
	else if (number == 1 && type == 'n')
		needed = snprintf(out, capacity, "%.*s.meta.json",
				  (int)strlen(o->output) - (ends_with(o->output, ".npy") ? 4 : 0),
				  o->output);
	else if (number == 1 && o->write_index)
		needed = snprintf(out, capacity, "%s.%s", o->output, o->write_index);
	return needed < 0 || (size_t)needed >= capacity ? -1 : 0;
}

int cr_score_preflight(const crocuta_score_options *o, char type, const cr_inputs *inputs,
		       crocuta_error *error)
{
	cr_output_options how = {.inputs = inputs->list, .no_clobber = o->no_clobber};
	char path[4096];
	int code = CROCUTA_OK;

	for (int i = 0; !code; i++) {
		if (cr_score_file(o, type, i, path, sizeof path))
			return i ? CROCUTA_OK
				 : cr_fail(error, CROCUTA_EIO, "the output's name is too long");
		code = cr_output_preflight(path, &how, error);
	}
	return code;
}

void cr_score_list_inputs(cr_inputs *inputs, const crocuta_score_options *o,
			  const crocuta_model_info *info)
{
	const char *targets = o->targets_file;

	if (targets && *targets == '^')
		targets++;
	memset(inputs, 0, sizeof *inputs);
	cr_inputs_add_fasta(inputs, o->reference);
	cr_inputs_add_variants(inputs, o->input);
	cr_inputs_add_model(inputs, info);
	cr_inputs_add(inputs, o->fai);
	cr_inputs_add(inputs, o->gzi);
	cr_inputs_add(inputs, o->regions_file);
	cr_inputs_add(inputs, targets);
	cr_inputs_add(inputs, o->rename_chrs);
}

int crocuta_score_check(const crocuta_score_options *options, crocuta_error *error)
{
	cr_inputs inputs;
	char type = 0;
	int level, code = check_values(options, error);

	if (!code)
		code = cr_score_choose_type(options, &type, &level, error);
	if (!code)
		code = check_combinations(options, type, error);
	if (!code)
		code = crocuta_device_check(options->session.device, error);
	if (!code)
		code = cr_input_check(options->reference, 1, "the reference is read at any place",
				  error);
	if (!code)
		code = cr_input_check(options->input,
				  options->shards > 1 || options->regions || options->regions_file,
				  "regions and shards need one", error);
	if (!code)
		code = cr_input_check(options->rename_chrs, 0, NULL, error);
	if (code)
		return code;
	cr_score_list_inputs(&inputs, options, NULL);
	return cr_score_preflight(options, type, &inputs, error);
}

/* Window, readout and step. */
static int settle_windows(cr_score *score)
{
	crocuta_score_options *o = &score->options;
	cr_placement *p = &score->placement;

	if (o->window > score->info->max_length - score->lead)
		return cr_fail(score->error, CROCUTA_EARG,
			       "--window %lld: the model reads at most %lld bases%s",
			       (long long)o->window,
			       (long long)(score->info->max_length - score->lead),
			       score->lead ? " behind its start token" : "");
	p->window = o->window ? o->window : score->info->default_window;
	if (p->window < 2)
		return cr_fail(score->error, CROCUTA_EARG,
			       "--window %lld: at least 2, a base of context and one to compare",
			       (long long)p->window);
	p->fixed = o->placement == CROCUTA_PLACEMENT_FIXED;
	p->rest = o->readout == -1 && !p->fixed;
	p->readout = o->readout;
	if (o->readout == -1 && p->fixed)
		p->readout = p->window - p->window / 2;
	else if (o->readout <= 0)
		p->readout = p->window / 4;
	if (!o->readout && p->readout > READOUT_MOST)
		p->readout = READOUT_MOST;
	p->readout = p->readout ? p->readout : 1;
	if (p->readout >= p->window)
		return cr_fail(score->error, CROCUTA_EARG,
			       "--readout %lld must be less than the window of %lld bases",
			       (long long)p->readout, (long long)p->window);
	p->step = o->step ? o->step : p->window / 2;
	if (!o->step && p->step > p->window - p->readout)
		p->step = p->window - p->readout;
	if (p->step > p->window - p->readout)
		return cr_fail(score->error, CROCUTA_EARG,
			       "--step %lld: at most %lld, the window less the readout, so that "
			       "every variant has its readout in a window",
			       (long long)p->step, (long long)(p->window - p->readout));
	if (!o->max_indel)
		o->max_indel = p->window / 4 ? p->window / 4 : 1;
	return CROCUTA_OK;
}

/* What letters and the front of a window become. */
static int settle_tokens(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	const cr_vocabulary *vocabulary = cr_model_vocabulary(score->model);
	const cr_token_options how = {.softmask_n = o->softmask_n, .n_as_pad = o->n_as_pad};
	int code = cr_check_token_options(&how, score->model, score->error);

	if (code)
		return code;
	score->vocabulary = vocabulary;
	score->lead = o->start_token ? o->start_token > 0 : vocabulary->score_start;
	if (score->lead && vocabulary->start < 0)
		return cr_fail(score->error, CROCUTA_EARG,
			       "--start-token yes: models of the family \"%s\" have none",
			       score->info->family);
	for (int i = 0; i < 4; i++) {
		score->softmax.bases[i] = cr_token_of(vocabulary, "ACGT"[i]);
		score->is_base[score->softmax.bases[i]] = 1;
	}
	for (int byte = 0; byte < 256; byte++) {
		const char base = (char)byte;

		if (!cr_tokens_encode(vocabulary, &base, 1, &how, &score->token[byte], NULL))
			score->token[byte] = vocabulary->n; /* never fetched */
	}
	score->n_token = o->n_as_pad ? (uint8_t)vocabulary->pad : vocabulary->n;
	return CROCUTA_OK;
}

/* Models without crocuta_session_changes are computed plainly, and so are those whose sums would not fit
 * a thread's stack. */
static void settle_reuse(cr_score *score)
{
	crocuta_score_options *o = &score->options;
	const int wide = score->info->width > CR_SCORE_WIDTH_MAX;

	if (o->no_reuse || (score->info->changes && !wide))
		return;
	o->no_reuse = 1;
	cr_score_log(score, CROCUTA_LOG_INFO,
		     "every window is computed plainly: there are no shortcuts for models of the "
		     "family \"%.40s\"%s",
		     score->info->family, wide ? " with vectors as long as this one's" : "");
}

int cr_score_settle(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	const crocuta_model_info *info = score->info;
	int code;

	if (!info->causal)
		return cr_fail(score->error, CROCUTA_EMODEL,
			       "variants are scored with causal models, which this one is not");
	code = settle_tokens(score);
	if (!code)
		code = settle_windows(score);
	if (code)
		return code;
	settle_reuse(score);
	score->softmax.vocabulary = info->vocabulary;
	score->softmax.count = o->classes == 4 ? 4 : (int)info->vocabulary;
	score->session_options = o->session;
	score->session_options.log = o->log;
	score->session_options.user = o->user;
	score->session_options.stream = 0;
	score->session_options.max_length = score->lead + score->placement.window;
	score->session_options.change_length =
		score->placement.rest ? score->placement.window : score->placement.readout;
	return CROCUTA_OK;
}
