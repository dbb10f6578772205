/* score_header.c - what the tags mean, and what made them: lines for VCF and TSV, an object for npy.
 *
 * ##crocutaModel names everything that the numbers depend on, so that outputs that agree in it and
 * in ##crocutaReference may be put together. No paths. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/crocuta.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/table.h"
#include "task/provenance.h"
#include "task/score_internal.h"

/* ---- facts ----------------------------------------------------------------------------------- */

typedef struct fact {
	const char *key;
	char value[300];
	int number; /* in the object: a number, not a text */
} fact;

#define FACTS 32
typedef struct facts {
	fact items[FACTS];
	int count;
} facts;

static void add(facts *f, const char *key, int number, const char *format, ...)
	CROCUTA_PRINTF(4, 5);

static void add(facts *f, const char *key, int number, const char *format, ...)
{
	fact *item = &f->items[f->count++];
	va_list list;

	item->key = key;
	item->number = number;
	va_start(list, format);
	vsnprintf(item->value, sizeof item->value, format, list);
	va_end(list);
}

static const char *strands_word(const cr_score *score)
{
	static const char *const words[] = {"", "forward", "reverse", "both"};

	return words[score->options.strands];
}

static void add_placement(facts *f, const cr_score *score)
{
	const cr_placement *p = &score->placement;

	add(f, "Window", 1, "%lld", (long long)p->window);
	if (p->rest)
		add(f, "Readout", 0, "all");
	else
		add(f, "Readout", 1, "%lld", (long long)p->readout);
	add(f, "Placement", 0, "%s", p->fixed ? "fixed" : "grid");
	if (!p->fixed)
		add(f, "Step", 1, "%lld", (long long)p->step);
}

static void model_facts(facts *f, const cr_score *score)
{
	static const char *const reduces[] = {[CROCUTA_REDUCE_SUM] = "sum",
					      [CROCUTA_REDUCE_MEAN] = "mean",
					      [CROCUTA_REDUCE_WINDOW_MEAN] = "window-mean"};
	const crocuta_score_options *o = &score->options;
	const crocuta_model_info *info = score->info;
	const crocuta_plan *plan = &score->report->plan;
	char number[32];

	f->count = 0;
	add(f, "Arch", 0, "%s", info->family);
	if (!strcmp(info->family, "hyenadna")) /* others may be in several files */
		add(f, "File", 0, "model.safetensors");
	add(f, "SHA256", 0, "%s", info->sha256);
	if (cr_provenance_has_shift(info)) {
		cr_format_number(info->filter_shift, 9, number);
		add(f, "FilterShift", 1, "%s", number);
	}
	add(f, "Context", 1, "%lld", (long long)info->max_length);
	add_placement(f, score);
	add(f, "Strands", 0, "%s", strands_word(score));
	add(f, "Reduce", 0, "%s", reduces[o->reduce]);
	if (score->lead)
		add(f, "StartToken", 1, "%d", score->vocabulary->start);
	add(f, "Classes", 0, "%s", o->classes == 4 ? "acgt" : "all");
	add(f, "MaxIndel", 1, "%lld", (long long)o->max_indel);
	cr_format_number(o->max_n, 9, number);
	add(f, "MaxN", 1, "%s", number);
	add(f, "Softmask", 0, "%s", o->softmask_n ? "n" : "keep");
	add(f, "N", 0, "%s", o->n_as_pad ? "pad" : "n");
	add(f, "CheckRef", 0, "%c", "wex"[o->check_ref]);
	add(f, "Reuse", 0, "%s", score->reuse ? "yes" : "no");
	add(f, "Dtype", 0, "%s", plan->dtype);
	add(f, "Backend", 0, "%s", plan->device);
	add(f, "Isa", 0, "%s", plan->isa ? plan->isa : "reference");
	add(f, "Convolution", 0, "%s", plan->convolution ? plan->convolution : "direct");
	add(f, "TagPrefix", 0, "%s", o->tag_prefix);
}

static void reference_facts(facts *f, const cr_score *score)
{
	char md5[33];

	f->count = 0;
	cr_provenance_contigs_md5(score->contigs, md5);
	add(f, "File", 0, "%s", cr_provenance_file_name(score->options.reference));
	add(f, "FaiMD5", 0, "%s", md5);
	add(f, "ContigMap", 0, "%s", score->map_how ? score->map_how : "none");
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Letters, digits and . _ - of a name; anything else becomes _. */
static void make_id(const char *name, char *out, size_t capacity)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t used = 0;

	for (; *name && used + 1 < capacity; name++)
		out[used++] = (char)(strchr(allowed, *name) ? *name : '_');
	if (!used)
		out[used++] = '_';
	out[used] = '\0';
}

/* "##key=<ID=id,Key="value",...>" */
static char *structured_line(const char *key, const char *id, const facts *f)
{
	size_t capacity = 200 + FACTS * (2 * sizeof f->items[0].value + 40);
	char *line = cr_calloc(capacity, 1);
	size_t used;

	if (!line)
		return NULL;
	used = (size_t)snprintf(line, capacity, "##%s=<ID=%.100s", key, id);
	for (int i = 0; i < f->count; i++) {
		used += (size_t)snprintf(line + used, capacity - used, ",%s=\"", f->items[i].key);
		for (const char *p = f->items[i].value; *p; p++) {
			if (*p == '"' || *p == '\\')
				line[used++] = '\\';
			line[used++] = (char)((unsigned char)*p < 32 || *p == 127 ? ' ' : *p);
		}
		line[used++] = '"';
	}
	line[used++] = '>';
	return line;
}

/* Command and date: of the run that began the work, where this one goes on with it. */
static const char *command_of(const cr_score *score)
{
	return score->resume.journal ? score->resume.command : score->options.command;
}

static void find_date(const cr_score *score, char out[32])
{
	const char *date = cr_resume_date(&score->resume);

	if (date)
		snprintf(out, 32, "%.31s", date);
	else
		cr_provenance_date(out);
}

static char *command_line(const cr_score *score)
{
	const char *command = command_of(score) ? command_of(score) : "score";
	size_t capacity = strlen(command) + 100;
	char *line = cr_calloc(capacity, 1), date[32];

	if (!line)
		return NULL;
	find_date(score, date);
	/* without the program's name, as bcftools has it */
	if (!strncmp(command, "crocuta ", 8))
		command += 8;
	snprintf(line, capacity, "##crocutaCommand=%s; Date=%s", command, date);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 32)
			*p = ' ';
	return line;
}

static char *plain_line(const char *key, const char *value)
{
	size_t capacity = strlen(key) + strlen(value) + 8;
	char *line = cr_calloc(capacity, 1);

	if (line)
		snprintf(line, capacity, "##%s=%s", key, value);
	return line;
}

static int make_lines(const cr_score *score, cr_score_header *h)
{
	const crocuta_score_options *o = &score->options;
	char id[100], text[80], shard[CR_SHARD_TEXT];
	facts *f = cr_calloc(1, sizeof *f);
	int count = 0;

	if (!f)
		return -1;
	if (!o->no_version) {
		cr_provenance_version(text);
		h->lines[count++] = plain_line("crocutaVersion", text);
		h->lines[count++] = command_line(score);
	}
	model_facts(f, score);
	make_id(score->info->name, id, sizeof id);
	h->lines[count++] = structured_line("crocutaModel", id, f);
	reference_facts(f, score);
	make_id(cr_provenance_file_name(o->reference), id, sizeof id);
	if (strcspn(id, "."))
		id[strcspn(id, ".")] = '\0';
	h->lines[count++] = structured_line("crocutaReference", id, f);
	if (o->shards > 1) {
		const cr_shard_facts part = {.shard = o->shard,
					     .shards = o->shards,
					     .first = score->shard_first + 1,
					     .span = score->shard_span,
					     .total = score->shard_total,
					     .records = score->shard_records,
					     .lines = score->shard_lines,
					     .digest = score->shard_digest};

		cr_shard_number_text(&part, shard);
		h->lines[count++] = plain_line("crocutaShard", shard);
		cr_shard_input_text(&part, shard);
		h->lines[count++] = plain_line("crocutaShardInput", shard);
	}
	cr_free(f);
	for (int i = 0; i < count; i++)
		if (!h->lines[i])
			return -1;
	return 0;
}

/* ---- tags ------------------------------------------------------------------------------------ */

enum suffix { LLR, LLR_FWD, LLR_REV, DIST, STATUS };
static const char *const suffixes[CR_SCORE_TAGS] = {"LLR", "LLR_FWD", "LLR_REV", "DIST", "STATUS"};

static void add_tag(cr_score_header *h, enum suffix which, int text, const char *format, ...)
	CROCUTA_PRINTF(4, 5);

static void add_tag(cr_score_header *h, enum suffix which, int text, const char *format, ...)
{
	const int i = h->tag_count++;
	va_list list;

	va_start(list, format);
	vsnprintf(h->texts[i], sizeof h->texts[i], format, list);
	va_end(list);
	h->tags[i] = (cr_variant_tag){h->names[which], text, h->texts[i]};
	h->float_count += !text;
}

static void make_tags(const cr_score *score, cr_score_header *h)
{
	const crocuta_score_options *o = &score->options;
	static const char *const reduces[] = {
		[CROCUTA_REDUCE_SUM] = "summed over the positions compared",
		[CROCUTA_REDUCE_MEAN] = "mean over the positions compared",
		[CROCUTA_REDUCE_WINDOW_MEAN] = ("summed over the positions compared and divided by "
					       "those of the window that the model scores")};
	const int both = o->strands == CROCUTA_STRANDS_BOTH;
	const char *how = both ? ", averaged over the two strands"
			  : o->strands == CROCUTA_STRANDS_FORWARD ? ", of the forward strand"
								  : ", of the reverse strand";
	const char *prefix = o->tag_prefix;

	for (int i = 0; i < CR_SCORE_TAGS; i++) {
		snprintf(h->names[i], sizeof h->names[i], "%s_%s", prefix, suffixes[i]);
		h->family[i] = h->names[i];
	}
	add_tag(h, LLR, 0,
		"Log-likelihood ratio in nats, ln P(ALT window) - ln P(REF window), %s, from the "
		"first that differs on%s; negative means the model finds ALT less likely than REF",
		reduces[o->reduce], how);
	if (o->strands & CROCUTA_STRANDS_FORWARD)
		add_tag(h, LLR_FWD, 0, "%s_LLR of the forward strand alone", prefix);
	if (o->strands & CROCUTA_STRANDS_REVERSE)
		add_tag(h, LLR_REV, 0, "%s_LLR of the reverse-complement strand alone", prefix);
	add_tag(h, DIST, 0,
		"Cosine distance (0 to 2) between REF and ALT embeddings mean-pooled over the "
		"positions compared%s",
		how);
	add_tag(h, STATUS, 1,
		"Scoring status of each ALT, flags joined by &: OK, or OK with EDGE or MASKED, or "
		"a "
		"reason for no score: STAR, SYMBOLIC, BREAKEND, REFBLOCK, NONACGT, TOOLONG, "
		"NOCONTIG, OUTOFRANGE, REFMISMATCH, NONFINITE");
}

int cr_score_make_header(const cr_score *score, cr_score_header *header)
{
	memset(header, 0, sizeof *header);
	make_tags(score, header);
	if (!make_lines(score, header))
		return CROCUTA_OK;
	cr_score_free_header(header);
	return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a header");
}

void cr_score_free_header(cr_score_header *header)
{
	for (int i = 0; i < CR_SCORE_LINES; i++)
		cr_free(header->lines[i]);
	memset(header->lines, 0, sizeof header->lines);
}

/* ---- meta.json ------------------------------------------------------------------------------- */

static json_t *object_of(const facts *f)
{
	json_t *object = json_object();

	for (int i = 0; object && i < f->count; i++) {
		const fact *item = &f->items[i];
		char name[40];
		size_t used = 0;

		for (const char *p = item->key; *p; p++) { /* FilterShift: filter_shift */
			const int capital = *p >= 'A' && *p <= 'Z', before = used && p[-1] >= 'a';

			if (capital && before)
				name[used++] = '_';
			name[used++] = (char)(capital ? *p + 32 : *p);
		}
		name[used] = '\0';
		json_object_set_new(object, name,
				    item->number ? json_loads(item->value, JSON_DECODE_ANY, NULL)
						 : cr_provenance_text(item->value));
	}
	return object;
}

/* "model" and "reference" into an object. */
static void add_facts(const cr_score *score, json_t *object, facts *f)
{
	model_facts(f, score);
	json_object_set_new(object, "model", object_of(f));
	json_object_set_new(json_object_get(object, "model"), "name",
			    cr_provenance_text(score->info->name));
	reference_facts(f, score);
	json_object_set_new(object, "reference", object_of(f));
}

json_t *cr_score_facts(const cr_score *score)
{
	json_t *object = json_object();
	facts *f = cr_calloc(1, sizeof *f);

	if (object && f) {
		add_facts(score, object, f);
		/* known when the first records are */
		json_object_del(json_object_get(object, "reference"), "contig_map");
	} else {
		json_decref(object);
		object = NULL;
	}
	cr_free(f);
	return object;
}

json_t *cr_score_meta(const cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	json_t *object = json_object();
	facts *f = cr_calloc(1, sizeof *f);
	char text[80];

	if (object && f) {
		json_object_set_new(object, "format", json_string("score-ism-1"));
		if (!o->no_version) {
			cr_provenance_version(text);
			json_object_set_new(object, "version", json_string(text));
			if (command_of(score))
				json_object_set_new(object, "command",
						    cr_provenance_text(command_of(score)));
			find_date(score, text);
			json_object_set_new(object, "date", json_string(text));
		}
		add_facts(score, object, f);
	} else {
		json_decref(object);
		object = NULL;
	}
	cr_free(f);
	return object;
}
