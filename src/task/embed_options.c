/* embed_options.c - defaults of crocuta_embed_options and every check of them. */
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "model/head.h"
#include "task/embed_internal.h"

void crocuta_embed_options_init(crocuta_embed_options *options)
{
	memset(options, 0, sizeof *options);
	options->layer = -1;
	options->overlap = -1;
	options->strands = CROCUTA_STRANDS_FORWARD;
	options->special_tokens = "none";
	options->bin = -1;
	options->pool = "mean";
	crocuta_session_options_init(&options->session);
	crocuta_journal_options_init(&options->journal);
}

static int one_of(const char *word, const char *list)
{
	size_t length = strlen(word);

	while (*(list += strspn(list, " "))) {
		size_t bytes = strcspn(list, " ");

		if (bytes == length && !memcmp(list, word, bytes))
			return 1;
		list += bytes;
	}
	return 0;
}

static int check_values(const crocuta_embed_options *o, crocuta_error *error)
{
	if (!o->input || !o->output)
		return cr_fail(error, CROCUTA_EARG, "an input and an output are needed");
	if (o->layer < -1 || o->bin < -1 || o->window < 0 || o->overlap < -1 || o->skip_n < 0 ||
	    !(o->skip_n <= 1))
		return cr_fail(error, CROCUTA_EARG,
			       "layer, bin, window, overlap or skip_n is out of range");
	if (o->window && o->overlap >= o->window)
		return cr_fail(error, CROCUTA_EARG,
			       "--overlap %lld must be less than --window %lld",
			       (long long)o->overlap, (long long)o->window);
	if (o->strands < CROCUTA_STRANDS_FORWARD || o->strands > CROCUTA_STRANDS_CONCAT ||
	    !o->pool || cr_pool_parse(o->pool) < 0 || !o->special_tokens ||
	    !one_of(o->special_tokens, "none sep cls-sep model") ||
	    (o->classes && o->classes != 4 && o->classes != 5))
		return cr_fail(error, CROCUTA_EARG,
			       "strands, pool, special_tokens or classes has an unknown value");
	if (o->track && !one_of(o->track, "logprob entropy"))
		return cr_fail(error, CROCUTA_EARG, "unknown track \"%.40s\"", o->track);
	return CROCUTA_OK;
}

/* Options that exclude or need each other. */
static int check_combinations(const crocuta_embed_options *o, crocuta_error *error)
{
	int specials = strcmp(o->special_tokens, "none") != 0;
	const char *wrong = NULL;

	if (o->regions && o->regions_file)
		wrong = "--regions and --regions-file exclude each other";
	else if ((o->regions || o->regions_file) && !strcmp(o->input, "-"))
		wrong = "regions need a FASTA file that can be read at any place, not a stream";
	else if ((o->regions || o->regions_file) && o->per_record)
		wrong = "--per-record and regions exclude each other; --bin 0 gives one row a "
			"region";
	else if (o->per_record && o->bin > 0)
		wrong = "--per-record gives one row a record; leave --bin out";
	else if (specials && !o->per_record)
		wrong = "--special-tokens needs --per-record: tiled windows have none";
	else if (specials && (o->stream || o->track))
		wrong = "--special-tokens goes neither with --stream nor with --track";
	else if (o->stream && (o->window || o->overlap >= 0))
		wrong = "--stream has no windows; leave --window and --overlap out";
	else if (o->track && o->strands == CROCUTA_STRANDS_CONCAT)
		wrong = "a track is one number a base; --strands concat makes two";
	else if (o->track && o->layer >= 0)
		wrong = "a track comes from the last layer; leave --layer out";
	else if (!o->track && o->classes)
		wrong = "--classes belongs to --track";
	else if (o->shards > 1 && !cr_input_is_regular(o->input))
		wrong = "--shard counts the input first, so it has to be a file, not a stream";
	else if ((o->fai || o->gzi) && !strcmp(o->input, "-"))
		wrong = "--fai-idx and --gzi-idx belong to a FASTA file, not to a stream";
	return wrong ? cr_fail(error, CROCUTA_EARG, "%s", wrong) : CROCUTA_OK;
}

int cr_embed_choose_writer(const crocuta_embed_options *o, const cr_writer_kind **out,
			   crocuta_error *error)
{
	int to_stdout = cr_output_is_stdout(o->output);
	const cr_writer_kind *by_name = NULL, *by_path = NULL, *kind;

	if (o->output_type && !(by_name = cr_writer_find(o->output_type)))
		return cr_fail(error, CROCUTA_EARG, "unknown output type \"%.40s\"",
			       o->output_type);
	if (!to_stdout)
		by_path = cr_writer_of_path(o->output);
	if (by_name && by_path && by_name != by_path)
		return cr_fail(error, CROCUTA_EARG,
			       "-O %s does not fit the suffix of \"%.200s\", which says %s",
			       by_name->name, o->output, by_path->name);
	kind = by_name ? by_name : by_path;
	if (!kind && to_stdout)
		kind = o->track && !o->per_record ? &cr_writer_bedgraph : &cr_writer_tsv;
	if (!kind)
		return cr_fail(
			error, CROCUTA_EARG,
			"\"%.200s\" has no suffix of a known format; add .npy, .tsv, .bedgraph "
			"or .bw, or say -O",
			o->output);
	if (to_stdout && kind->binary)
		return cr_fail(error, CROCUTA_EARG,
			       "%s is not written to standard output, because it cannot be "
			       "completed there; give -o FILE%.4s, or -O tsv",
			       kind->name, kind->suffixes + 1);
	if (o->track ? !kind->tracks : !kind->vectors)
		return cr_fail(error, CROCUTA_EARG, "%s holds no %s; use %s", kind->name,
			       o->track ? "track" : "vectors",
			       o->track ? "bedgraph, bw or tsv" : "npy or tsv");
	if (o->half && kind != &cr_writer_npy)
		return cr_fail(error, CROCUTA_EARG, "--half belongs to npy output");
	if (kind->sorted && o->per_record)
		return cr_fail(error, CROCUTA_EARG,
			       "%s needs places on contigs; records and reads go into tsv",
			       kind->name);
	if (kind->listed && o->shards > 1)
		return cr_fail(error, CROCUTA_EARG,
			       "%s is written in one go with all its contigs, so not in shards; write "
			       "bedgraph, put the shards together and turn that into %s",
			       kind->name, kind->name);
	if (kind->listed && !strcmp(o->input, "-"))
		return cr_fail(error, CROCUTA_EARG,
			       "%s needs the contigs in advance, which a stream has not; write "
			       "bedgraph or give a FASTA file",
			       kind->name);
	*out = kind;
	return CROCUTA_OK;
}

void cr_embed_list_inputs(cr_inputs *inputs, const crocuta_embed_options *o,
			  const crocuta_model_info *info)
{
	memset(inputs, 0, sizeof *inputs);
	cr_inputs_add_fasta(inputs, o->input);
	cr_inputs_add_model(inputs, info);
	cr_inputs_add(inputs, o->fai);
	cr_inputs_add(inputs, o->gzi);
	cr_inputs_add(inputs, o->regions_file);
	cr_inputs_add(inputs, o->reference);
}

int cr_embed_preflight(const crocuta_embed_options *o, const cr_writer_kind *kind,
		       const cr_inputs *inputs, int64_t bytes, crocuta_error *error)
{
	cr_output_options how = {.inputs = inputs->list,
				 .bytes_needed = bytes,
				 .no_space_check = o->no_space_check,
				 .no_clobber = o->no_clobber};
	char path[4096];
	int code = CROCUTA_OK;

	for (int i = 0; !code; i++) {
		if (cr_writer_file(kind, o->output, i, path, sizeof path))
			return i ? CROCUTA_OK
				 : cr_fail(error, CROCUTA_EIO, "the output's name is too long");
		code = cr_output_preflight(path, &how, error);
		how.bytes_needed = 0;
	}
	return code;
}

int crocuta_embed_check(const crocuta_embed_options *options, crocuta_error *error)
{
	const cr_writer_kind *kind = NULL;
	cr_inputs inputs;
	int code = check_values(options, error);

	if (!code)
		code = check_combinations(options, error);
	if (!code)
		code = cr_embed_choose_writer(options, &kind, error);
	if (!code)
		code = cr_check_output_options(options->shard, options->shards, NULL, error);
	if (!code)
		code = cr_resume_check(&options->journal, options->output, error);
	if (!code)
		code = crocuta_device_check(options->session.device, error);
	if (!code)
		code = cr_input_check(options->input,
				      options->regions || options->regions_file || options->fai ||
					      options->gzi,
				      "regions and indexes need one", error);
	if (code)
		return code;
	cr_embed_list_inputs(&inputs, options, NULL);
	return cr_embed_preflight(options, kind, &inputs, 0, error);
}

/* Token ids of A, C, G, T by the model's own table. */
static void fill_scalar(cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	const cr_vocabulary *vocabulary = embed->passes_options.vocabulary;
	const uint8_t bases[4] = {vocabulary->a, vocabulary->c, vocabulary->g, vocabulary->t};
	uint8_t n_token = o->n_as_pad ? (uint8_t)vocabulary->pad : vocabulary->n;
	int kind = CR_SCALAR_NONE;

	if (o->track)
		kind = *o->track == 'l' ? CR_SCALAR_LOGPROB : CR_SCALAR_ENTROPY;
	cr_scalar_init(&embed->passes_options.scalar, kind, embed->info->vocabulary, o->classes,
		       bases, n_token);
}

int cr_embed_settle(cr_embed *embed)
{
	crocuta_embed_options *o = &embed->options;
	const crocuta_model_info *info = embed->info;
	cr_passes_options *p = &embed->passes_options;
	int64_t specials;
	int code;

	p->tokens.softmask_n = o->softmask_n;
	p->tokens.n_as_pad = o->n_as_pad;
	code = cr_passes_use_model(p, embed->model, cr_head_specials_parse(o->special_tokens),
				   embed->error);
	if (code)
		return code;
	specials = p->cls + p->sep;
	if (o->stream && !info->streams)
		return cr_fail(embed->error, CROCUTA_EARG,
			       "--stream: models of the family \"%s\" carry no state from window to "
			       "window; leave it out, and give the context with --overlap",
			       info->family);
	if (o->layer > info->layers)
		return cr_fail(embed->error, CROCUTA_EARG,
			       "--layer %d: the model has %lld blocks, give 0 to %lld or last",
			       o->layer, (long long)info->layers, (long long)info->layers);
	if (o->window > info->max_length - specials)
		return cr_fail(embed->error, CROCUTA_EARG,
			       "--window %lld: the model reads at most %lld tokens%s",
			       (long long)o->window, (long long)info->max_length,
			       specials ? ", special tokens included" : "");
	if (!o->window)
		o->window = info->default_window;
	if (o->overlap >= o->window)
		return cr_fail(embed->error, CROCUTA_EARG,
			       "--overlap %lld must be less than the window of %lld bases",
			       (long long)o->overlap, (long long)o->window);
	if (o->overlap < 0)
		o->overlap = o->window / 4;
	if (o->layer < 0)
		o->layer = (int)info->layers;
	fill_scalar(embed);
	p->window = o->window;
	p->overlap = o->overlap;
	p->stream = o->stream;
	p->strands = o->strands;
	p->pool = cr_pool_parse(o->pool);
	p->layer = o->layer;
	embed->session_options = o->session;
	embed->session_options.log = o->log;
	embed->session_options.user = o->user;
	embed->session_options.stream = o->stream;
	embed->session_options.max_length = o->stream ? 1 : o->window + specials;
	return CROCUTA_OK;
}
