/* classify_output.c - vectors into probabilities into rows: BED6, the predicted class, a probability a
 * class. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/table.h"
#include "io/table_index.h"
#include "task/classify_internal.h"
#include "task/classify_merge.h"
#include "task/provenance.h"

#define DIGITS 6
#define LINE_START 512

struct cr_classify_output {
	cr_output_set *set;
	cr_output *table, *index;
	cr_merge *merge;       /* with options.merge */
	double *probabilities; /* (C) */
	int64_t *order;        /* (C) with --top: classes, likeliest first */
	int *wanted;           /* (C) classes of --only */
	char *line;            /* being put together */
	int64_t used, capacity;
	int failed;            /* memory was short for the line */
};

/* ---- a line ---------------------------------------------------------------------------------- */

static void append(cr_classify_output *out, const char *text)
{
	const int64_t bytes = (int64_t)strlen(text);

	if (out->used + bytes + 1 > out->capacity) {
		int64_t capacity = 2 * (out->used + bytes) + LINE_START;
		char *line = cr_realloc(out->line, (size_t)capacity, 1);

		if (!line) {
			out->failed = 1;
			return;
		}
		out->line = line;
		out->capacity = capacity;
	}
	memcpy(out->line + out->used, text, (size_t)bytes + 1);
	out->used += bytes;
}

static void append_integer(cr_classify_output *out, int64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "\t%lld", (long long)value);
	append(out, text);
}

static void append_probability(cr_classify_output *out, double value)
{
	char text[33] = "\t";

	cr_format_number(value, DIGITS, text + 1);
	append(out, text);
}

static void append_word(cr_classify_output *out, const char *word)
{
	append(out, "\t");
	append(out, word);
}

/* ---- header ---------------------------------------------------------------------------------- */

static const char *const scan_words[] = {"", "forward", "reverse", "both"};

static json_t *about_head(const crocuta_head_info *head)
{
	json_t *object = json_object();
	size_t bytes = 1;
	char *names;

	for (int64_t i = 0; i < head->classes; i++)
		bytes += strlen(head->class_names[i]) + 1;
	names = cr_calloc(bytes, 1);
	if (!object || !names) {
		json_decref(object);
		cr_free(names);
		return NULL;
	}
	for (int64_t i = 0; i < head->classes; i++) {
		strcat(names, i ? "," : "");
		strcat(names, head->class_names[i]);
	}
	json_object_set_new(object, "name", cr_provenance_text(head->name));
	json_object_set_new(object, "source", json_string(head->source));
	json_object_set_new(object, "sha256", json_string(head->sha256));
	json_object_set_new(object, "classes", json_string(names));
	json_object_set_new(object, "layer", json_integer(head->form.layer));
	json_object_set_new(object, "pool", json_string(cr_head_pool_name(head->form.pool)));
	json_object_set_new(object, "parts", json_integer(head->form.parts));
	json_object_set_new(object, "strands", json_string(cr_head_strands_name(head->form.strands)));
	json_object_set_new(object, "special_tokens",
			    json_string(cr_head_specials_name(head->form.specials)));
	cr_free(names);
	return object;
}

json_t *cr_classify_provenance(const cr_classify *classify, const crocuta_plan *plan)
{
	const crocuta_classify_options *o = &classify->options;
	json_t *object = cr_provenance_start(
		"classify-1", o->no_version,
		classify->resume.journal ? classify->resume.command : o->command,
		cr_resume_date(&classify->resume));

	if (!object)
		return NULL;
	json_object_set_new(object, "model", cr_provenance_model(classify->info));
	json_object_set_new(object, "head", about_head(classify->head_info));
	json_object_set_new(object, "input",
			    cr_provenance_input(o->input,
						classify->reference ? classify->contigs : NULL));
	if (o->scan) {
		json_object_set_new(object, "window", json_integer(o->window));
		json_object_set_new(object, "step", json_integer(o->step));
		json_object_set_new(object, "scan_strands", json_string(scan_words[o->scan_strands]));
		json_object_set_new(object, "max_n", json_real(o->max_n));
		json_object_set_new(object, "merge", json_boolean(o->merge));
	}
	if (o->length) /* else it follows from the input */
		json_object_set_new(object, "length", json_integer(o->length));
	if (o->min_prob > 0)
		json_object_set_new(object, "min_prob", json_real(o->min_prob));
	if (o->only)
		json_object_set_new(object, "only", cr_provenance_text(o->only));
	json_object_set_new(object, "softmask_n", json_boolean(o->softmask_n));
	json_object_set_new(object, "n_as_pad", json_boolean(o->n_as_pad));
	cr_provenance_add_plan(object, plan);
	return object;
}

/* Which part of which input this is; the number of lines only where nothing is left out. */
static int print_shard(const cr_classify *classify, cr_output *table)
{
	const crocuta_classify_options *o = &classify->options;
	const cr_classify_census *census = &classify->census;
	const int all = !o->scan && o->min_prob <= 0 && !o->only;
	const cr_shard_facts facts = {.shard = o->shard,
				      .shards = o->shards,
				      .first = census->first,
				      .span = census->span,
				      .total = census->items,
				      .records = census->span,
				      .lines = all ? census->span : -1,
				      .digest = census->digest};

	return cr_shard_print(&facts, table, classify->error);
}

static int print_columns(cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	const crocuta_head_info *head = classify->head_info;
	cr_classify_output *out = classify->output;
	char number[64];

	append(out, "#chrom\tstart\tend\tname\tscore\tstrand\tpred");
	for (int64_t i = 0; i < head->classes && !o->top; i++) {
		append(out, "\tp_");
		append(out, head->class_names[i]);
	}
	for (int64_t i = 0; i < o->top; i++) {
		snprintf(number, sizeof number, "\ttop%lld\tp_top%lld", (long long)i + 1,
			 (long long)i + 1);
		append(out, number);
	}
	if (o->merge)
		append(out, "\twindows\tbest_start\tbest_end");
	append(out, "\n");
	if (out->failed)
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for a line");
	return cr_output_write(out->table, out->line, out->used, classify->error);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_files(cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	cr_classify_output *out = classify->output;
	cr_output_options how = {.no_clobber = o->no_clobber,
				 .bgzf = cr_output_is_bgzf_name(o->output)};
	cr_inputs inputs;
	char path[4096];
	int code;

	cr_classify_list_inputs(&inputs, o, classify->info, classify->head_info);
	how.inputs = inputs.list;
	out->set = cr_output_set_new();
	if (!out->set)
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for the output");
	code = cr_output_set_add(out->set, o->output, &how, &out->table, classify->error);
	if (code || !o->write_index)
		return code;
	if (cr_classify_file(o, 1, path, sizeof path))
		return cr_fail(classify->error, CROCUTA_EIO, "%.200s: the name is too long",
			       o->output);
	how.bgzf = 0;
	how.external = 1;
	return cr_output_set_add(out->set, path, &how, &out->index, classify->error);
}

static void mark_wanted(cr_classify *classify)
{
	const crocuta_head_info *head = classify->head_info;
	const char *only = classify->options.only;

	for (int64_t i = 0; i < head->classes; i++) {
		const size_t bytes = strlen(head->class_names[i]);

		classify->output->wanted[i] = !only;
		for (const char *name = only; name && *name;) {
			const size_t length = strcspn(name, ",");

			if (length == bytes && !memcmp(name, head->class_names[i], bytes))
				classify->output->wanted[i] = 1;
			name += length + (name[length] == ',');
		}
	}
}

static int merged_row(void *user, const cr_merged *row, crocuta_error *error);

static int allocate(cr_classify *classify)
{
	const int64_t classes = classify->head_info->classes;
	cr_classify_output *out = cr_calloc(1, sizeof *out);

	classify->output = out;
	if (!out)
		return -1;
	out->probabilities = cr_calloc((size_t)classes, sizeof *out->probabilities);
	out->order = cr_calloc((size_t)classes, sizeof *out->order);
	out->wanted = cr_calloc((size_t)classes, sizeof *out->wanted);
	if (classify->options.merge)
		out->merge = cr_merge_new(classes, merged_row, classify);
	if (!out->probabilities || !out->order || !out->wanted ||
	    (classify->options.merge && !out->merge))
		return -1;
	mark_wanted(classify);
	return 0;
}

int cr_classify_open_output(cr_classify *classify, const crocuta_plan *plan)
{
	json_t *provenance;
	int code;

	if (allocate(classify))
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for the output");
	provenance = cr_classify_provenance(classify, plan);
	code = provenance ? open_files(classify)
			  : cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for the provenance");
	if (!code)
		code = cr_provenance_print(classify->output->table, "crocuta", provenance,
					   classify->error);
	json_decref(provenance);
	if (!code)
		code = print_shard(classify, classify->output->table);
	return code ? code : print_columns(classify);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Classes by falling probability; equal ones in their order. */
static void sort_classes(const cr_classify_output *out, int64_t classes)
{
	for (int64_t i = 0; i < classes; i++) {
		int64_t at = i;

		while (at > 0 && out->probabilities[out->order[at - 1]] < out->probabilities[i]) {
			out->order[at] = out->order[at - 1];
			at--;
		}
		out->order[at] = i;
	}
}

/* One row; `merged` NULL: of an item. */
static int write_row(cr_classify *classify, const cr_feature_item *item, int64_t pred,
		     const double *p, const cr_merged *merged, crocuta_error *error)
{
	const crocuta_classify_options *o = &classify->options;
	const crocuta_head_info *head = classify->head_info;
	cr_classify_output *out = classify->output;
	const char strand[2] = {item->strand, '\0'};

	out->used = 0;
	append(out, item->contig);
	append_integer(out, item->start);
	append_integer(out, item->end);
	append_word(out, item->name && *item->name ? item->name : ".");
	append_integer(out, (int64_t)floor(1000 * p[pred] + 0.5));
	append_word(out, strand);
	append_word(out, head->class_names[pred]);
	for (int64_t i = 0; i < head->classes && !o->top; i++)
		append_probability(out, p[i]);
	if (o->top)
		sort_classes(out, head->classes);
	for (int64_t i = 0; i < o->top; i++) {
		append_word(out, head->class_names[out->order[i]]);
		append_probability(out, p[out->order[i]]);
	}
	if (merged) {
		append_integer(out, merged->windows);
		append_integer(out, merged->best_start);
		append_integer(out, merged->best_end);
	}
	append(out, "\n");
	if (out->failed)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a line");
	classify->report->rows++;
	classify->report->per_class[pred]++;
	return cr_output_write(out->table, out->line, out->used, error);
}

static int merged_row(void *user, const cr_merged *row, crocuta_error *error)
{
	cr_classify *classify = user;
	const cr_feature_item item = {.contig = row->contig,
				      .name = classify->head_info->class_names[row->pred],
				      .strand = row->strand,
				      .start = row->start,
				      .end = row->end,
				      .tag = row->contig_index};

	return write_row(classify, &item, row->pred, row->probabilities, row, error);
}

int cr_classify_take_probabilities(cr_classify *classify, const cr_feature_item *item, const double *p,
				   crocuta_error *error)
{
	const crocuta_classify_options *o = &classify->options;
	const crocuta_head_info *head = classify->head_info;
	cr_classify_output *out = classify->output;
	int64_t pred = 0;
	int left_out, finite = 1;

	classify->taken++;
	if (p != out->probabilities)
		memcpy(out->probabilities, p, (size_t)head->classes * sizeof *p);
	for (int64_t i = 1; i < head->classes; i++)
		if (p[i] > p[pred])
			pred = i;
	for (int64_t i = 0; i < head->classes; i++)
		finite &= p[i] == p[i];
	if (!finite)
		return cr_fail(error, CROCUTA_ENUMERIC,
			       "\"%.100s\" %lld-%lld: the head gave no number; its weights are at "
			       "fault, nothing is written",
			       item->contig, (long long)item->start + 1, (long long)item->end);
	atomic_fetch_add(&classify->bases_out, item->end - item->start);
	left_out = p[pred] < o->min_prob || !out->wanted[pred];
	if (out->merge) {
		const int call = !left_out && pred != head->background;

		return cr_merge_add(out->merge, item, call ? pred : -1, p, error);
	}
	classify->report->filtered += left_out;
	return left_out ? CROCUTA_OK : write_row(classify, item, pred, p, NULL, error);
}

int cr_classify_take(void *user, const cr_feature_item *item, const float *features, int64_t n_bases,
		     crocuta_error *error)
{
	cr_classify *classify = user;
	double *p = classify->output->probabilities;
	int code;

	(void)n_bases;
	crocuta_head_apply(classify->head, features, 1, p);
	code = cr_classify_take_probabilities(classify, item, p, error);
	if (!code)
		cr_classify_keep(classify, item, p);
	return code;
}

/* ---- the end --------------------------------------------------------------------------------- */

int cr_classify_commit(cr_classify *classify)
{
	cr_classify_output *out = classify->output;
	const crocuta_classify_options *o = &classify->options;
	int code = out->merge ? cr_merge_finish(out->merge, classify->error) : CROCUTA_OK;

	if (!code && out->index) {
		code = cr_output_finish(out->table, classify->error);
		if (!code)
			code = cr_table_index(cr_output_part_path(out->table),
					      cr_output_part_path(out->index),
					      !strcmp(o->write_index, "tbi"), o->output,
					      classify->error);
	}
	return code ? code : cr_output_set_commit(out->set, classify->error);
}

void cr_classify_free_output(cr_classify_output *out)
{
	if (!out)
		return;
	cr_merge_free(out->merge);
	cr_output_set_free(out->set);
	cr_free(out->probabilities);
	cr_free(out->order);
	cr_free(out->wanted);
	cr_free(out->line);
	cr_free(out);
}
