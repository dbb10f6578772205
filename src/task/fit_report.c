/* fit_report.c - what came of it: the training object of head.json, the lines on standard output
 * and the file of --report. Nothing in it depends on threads, batch, time or place. */
#define _GNU_SOURCE
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crocuta/crocuta.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/meta.h"
#include "task/fit_internal.h"
#include "task/provenance.h"

#define FIGURES 7

_Static_assert(CROCUTA_FIT_BINS == CR_RELIABILITY_BINS, "bins of the reliability table");

static const char *const figure_names[FIGURES] = {"accuracy", "auroc",    "auprc", "mcc",
						  "brier",    "log_loss", "ece"};

const char *cr_fit_part_name(int part)
{
	static const char *const names[] = {"training", "validation", "test"};

	return names[part];
}

const char *cr_fit_part_word(int part)
{
	static const char *const words[] = {"train", "valid", "test"};

	return words[part];
}

void cr_fit_copy_metrics(const cr_metrics *from, crocuta_fit_metrics *to)
{
	to->examples = from->examples;
	to->accuracy = from->accuracy;
	to->auroc = from->auroc;
	to->auprc = from->auprc;
	to->mcc = from->mcc;
	to->brier = from->brier;
	to->log_loss = from->log_loss;
	to->ece = from->ece;
	for (int i = 0; i < CROCUTA_FIT_BINS; i++) {
		to->bin_count[i] = from->bin_count[i];
		to->bin_probability[i] = from->bin_probability[i];
		to->bin_accuracy[i] = from->bin_accuracy[i];
	}
}

static void list_figures(const crocuta_fit_metrics *m, double out[FIGURES])
{
	const double figures[FIGURES] = {m->accuracy, m->auroc,    m->auprc, m->mcc,
					 m->brier,    m->log_loss, m->ece};

	memcpy(out, figures, sizeof figures);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Six digits are more than any of these figures means; NaN is null. */
static json_t *json_figure(double value)
{
	char text[40];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof text, "%.6g", value);
	return json_real(strtod(text, NULL));
}

/* The reliability table. */
static json_t *json_bins(const crocuta_fit_metrics *m)
{
	json_t *bins = json_array();
	int bad = !bins;

	for (int i = 0; !bad && i < CROCUTA_FIT_BINS; i++) {
		json_t *bin = json_object();

		bad = json_array_append_new(bins, bin) ||
		      json_object_set_new(bin, "from", json_figure(0.1 * i)) ||
		      json_object_set_new(bin, "to", json_figure(0.1 * (i + 1))) ||
		      json_object_set_new(bin, "examples", json_integer(m->bin_count[i])) ||
		      json_object_set_new(
			      bin, "probability",
			      json_figure(m->bin_count[i] ? m->bin_probability[i] : NAN)) ||
		      json_object_set_new(bin, "accuracy",
					  json_figure(m->bin_count[i] ? m->bin_accuracy[i] : NAN));
	}
	if (!bad)
		return bins;
	json_decref(bins);
	return NULL;
}

static json_t *json_metrics(const crocuta_fit_metrics *m, int reliability)
{
	json_t *object = json_object();
	double figures[FIGURES];
	int bad = !object;

	list_figures(m, figures);
	bad = bad || json_object_set_new(object, "examples", json_integer(m->examples));
	for (int i = 0; !bad && i < FIGURES; i++)
		bad = json_object_set_new(object, figure_names[i], json_figure(figures[i]));
	if (reliability)
		bad = bad || json_object_set_new(object, "reliability", json_bins(m));
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

/* Of the parts that were measured. */
static json_t *json_parts(const crocuta_fit_metrics metrics[CROCUTA_FIT_PARTS], int reliability)
{
	json_t *object = json_object();
	int bad = !object;

	for (int part = 0; !bad && part < CROCUTA_FIT_PARTS; part++)
		if (metrics[part].examples)
			bad = json_object_set_new(object, cr_fit_part_word(part),
						  json_metrics(&metrics[part], reliability));
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_files(const cr_fit *fit)
{
	json_t *object = json_object();
	int bad = !object;

	for (int part = 0; !bad && part < CROCUTA_FIT_PARTS; part++) {
		json_t *list = json_array();

		bad = !list;
		for (int64_t i = 0; !bad && i < fit->input_count; i++)
			if (fit->input_part[i] == part)
				bad = json_array_append_new(
					list, cr_provenance_text(cr_provenance_file_name(
						      fit->inputs[i].path)));
		if (!bad && json_array_size(list))
			bad = json_object_set(object, cr_fit_part_word(part), list);
		json_decref(list);
	}
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

/* Class by class, examples of each part. */
static json_t *json_classes(const cr_fit *fit)
{
	json_t *object = json_object();
	int bad = !object;

	for (int64_t i = 0; !bad && i < fit->classes; i++) {
		json_t *counts = json_object();

		bad = json_object_set_new(object, fit->class_names[i], counts);
		for (int part = 0; !bad && part < CROCUTA_FIT_PARTS; part++)
			if (cr_fit_rows(fit, part))
				bad = json_object_set_new(counts, cr_fit_part_word(part),
							  json_integer(fit->count_of[part][i]));
	}
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

static int add_data(const cr_fit *fit, json_t *object)
{
	const crocuta_fit_options *o = &fit->options;
	const char *split = o->split >= 0                ? "hash"
			    : fit->options.valid_contigs ? "contigs"
							 : "files";
	int bad = 0;

	if (!o->no_version)
		bad = json_object_set_new(object, "crocuta", json_string(crocuta_version()));
	bad = bad || json_object_set_new(object, "files", json_files(fit));
	if (o->reference)
		bad = bad || json_object_set_new(
				     object, "reference",
				     cr_provenance_text(cr_provenance_file_name(o->reference)));
	if (!o->evaluate)
		bad = bad || json_object_set_new(object, "split", json_string(split));
	if (o->split >= 0)
		bad = bad || json_object_set_new(object, "split_seed", json_integer(o->split));
	if (o->valid_contigs)
		bad = bad || json_object_set_new(object, "valid_contigs",
						 cr_provenance_text(o->valid_contigs));
	if (o->test_contigs)
		bad = bad || json_object_set_new(object, "test_contigs",
						 cr_provenance_text(o->test_contigs));
	bad = bad || json_object_set_new(object, "examples", json_classes(fit));
	if (!o->evaluate)
		bad = bad || json_object_set_new(object, "dropped_duplicates",
						 json_integer(fit->report->dropped));
	return bad;
}

static int add_learned(const cr_fit *fit, json_t *object)
{
	const crocuta_fit_options *o = &fit->options;
	const crocuta_fit_report *report = fit->report;

	return json_object_set_new(
		       object, "head",
		       json_string(o->kind == CROCUTA_FIT_HIDDEN ? "hidden" : "linear")) ||
	       json_object_set_new(object, "hidden", json_integer(fit->learned.hidden)) ||
	       json_object_set_new(object, "features", json_integer(fit->width)) ||
	       json_object_set_new(object, "l2", json_figure(report->l2)) ||
	       json_object_set_new(object, "temperature", json_figure(report->temperature)) ||
	       json_object_set_new(object, "balanced", json_boolean(o->balanced)) ||
	       json_object_set_new(object, "seed", json_integer(o->seed)) ||
	       json_object_set_new(object, "epochs", json_integer(report->epochs));
}

static json_t *json_baseline(const cr_fit *fit)
{
	json_t *object = json_object();

	if (!json_object_set_new(object, "kmer", json_integer(fit->options.kmer)) &&
	    !json_object_set_new(object, "l2", json_figure(fit->baseline.l2)) &&
	    !json_object_set_new(object, "metrics", json_parts(fit->report->baseline, 0)))
		return object;
	json_decref(object);
	return NULL;
}

json_t *cr_fit_training(const cr_fit *fit, int reliability)
{
	json_t *object = json_object();
	int bad = !object || add_data(fit, object);

	if (!fit->options.evaluate)
		bad = bad || add_learned(fit, object);
	bad = bad ||
	      json_object_set_new(object, "metrics", json_parts(fit->report->head, reliability));
	if (!fit->options.evaluate && fit->options.kmer)
		bad = bad || json_object_set_new(object, "baseline", json_baseline(fit));
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

/* ---- lines ----------------------------------------------------------------------------------- */

typedef struct lines {
	char *text;
	size_t used, capacity;
	int failed;
} lines;

static void put(lines *out, const char *format, ...) CROCUTA_PRINTF(2, 3);

static void put(lines *out, const char *format, ...)
{
	va_list list;
	int bytes;

	va_start(list, format);
	bytes = vsnprintf(NULL, 0, format, list);
	va_end(list);
	if (out->failed || bytes < 0)
		return;
	if (out->used + (size_t)bytes + 1 > out->capacity) {
		size_t capacity = 2 * (out->used + (size_t)bytes) + 1024;
		char *more = cr_realloc(out->text, capacity, 1);

		out->failed = !more;
		if (!more)
			return;
		out->text = more;
		out->capacity = capacity;
	}
	va_start(list, format);
	vsnprintf(out->text + out->used, out->capacity - out->used, format, list);
	va_end(list);
	out->used += (size_t)bytes;
}

static void put_figure(lines *out, double value)
{
	if (isfinite(value))
		put(out, "\t%.4f", value);
	else
		put(out, "\t-");
}

static void put_data(lines *out, const cr_fit *fit)
{
	put(out, "#class\tname\ttrain\tvalid\ttest\n");
	for (int64_t i = 0; i < fit->classes; i++) {
		put(out, "class\t%s", fit->class_names[i]);
		for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
			put(out, "\t%lld", (long long)fit->count_of[part][i]);
		put(out, "\n");
	}
	put(out, "examples\tall");
	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		put(out, "\t%lld", (long long)cr_fit_rows(fit, part));
	put(out, "\n");
	if (fit->options.evaluate)
		return;
	put(out, "dropped\t%lld\ttraining sequences that the other parts have too\n",
	    (long long)fit->report->dropped);
	put(out, "background\t%s\n", fit->background < 0 ? "-" : fit->class_names[fit->background]);
	if (fit->classes == 2)
		put(out, "positive\t%s\n", fit->class_names[1]);
}

static void put_learned(lines *out, const cr_fit *fit)
{
	put(out, "features\t%lld\tlayer %d, %s, %d part%s, strands %s\n", (long long)fit->width,
	    fit->form.layer, cr_head_pool_name(fit->form.pool), fit->form.parts,
	    fit->form.parts == 1 ? "" : "s", cr_head_strands_name(fit->form.strands));
	if (fit->options.evaluate)
		return;
	put(out, "head\t%s\t%lld hidden units\n",
	    fit->options.kind == CROCUTA_FIT_HIDDEN ? "hidden" : "linear",
	    (long long)fit->learned.hidden);
	put(out, "l2\t%.6g\n", fit->report->l2);
	put(out, "epochs\t%lld\n", (long long)fit->report->epochs);
	put(out, "temperature\t%.4f\n", fit->report->temperature);
}

static void put_row(lines *out, const char *what, int part, const crocuta_fit_metrics *m)
{
	double figures[FIGURES];

	if (!m->examples)
		return;
	list_figures(m, figures);
	put(out, "metrics\t%s\t%s", what, cr_fit_part_word(part));
	for (int i = 0; i < FIGURES; i++)
		put_figure(out, figures[i]);
	put(out, "\n");
}

static void put_metrics(lines *out, const cr_fit *fit)
{
	char baseline[40];

	snprintf(baseline, sizeof baseline, "%d-mers", fit->options.kmer);
	put(out, "#metrics\tof\tpart");
	for (int i = 0; i < FIGURES; i++)
		put(out, "\t%s", figure_names[i]);
	put(out, "\n");
	for (int part = CROCUTA_FIT_VALID; part < CROCUTA_FIT_PARTS; part++) {
		put_row(out, "head", part, &fit->report->head[part]);
		put_row(out, baseline, part, &fit->report->baseline[part]);
	}
}

/* Of the test part, or of the validation part when that is all there is. */
static void put_reliability(lines *out, const cr_fit *fit)
{
	int part = cr_fit_rows(fit, CROCUTA_FIT_TEST) ? CROCUTA_FIT_TEST : CROCUTA_FIT_VALID;
	const crocuta_fit_metrics *m = &fit->report->head[part];

	if (part == CROCUTA_FIT_VALID)
		put(out, "note\tthere is no test part: the figures are of the validation part, on "
			 "which l2 and temperature were chosen\n");
	put(out, "#reliability\tprobability\texamples\tmean_probability\taccuracy\n");
	for (int i = 0; i < CROCUTA_FIT_BINS; i++) {
		put(out, "reliability\t%.1f-%.1f\t%lld", 0.1 * i, 0.1 * (i + 1),
		    (long long)m->bin_count[i]);
		put_figure(out, m->bin_count[i] ? m->bin_probability[i] : NAN);
		put_figure(out, m->bin_count[i] ? m->bin_accuracy[i] : NAN);
		put(out, "\n");
	}
}

static int write_text(cr_fit *fit)
{
	lines out = {0};

	put(&out, "model\t%s\t%s\n", fit->info->name, fit->info->sha256);
	if (fit->options.evaluate)
		put(&out, "evaluated\t%s\n", crocuta_head_get_info(fit->head)->name);
	put_data(&out, fit);
	put_learned(&out, fit);
	put_metrics(&out, fit);
	put_reliability(&out, fit);
	if (out.failed) {
		cr_free(out.text);
		return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for the report");
	}
	fit->report->text = out.text;
	return CROCUTA_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

static json_t *json_report(const cr_fit *fit)
{
	const crocuta_head_info *head = crocuta_head_get_info(fit->head);
	const char *background = fit->background < 0 ? NULL : fit->class_names[fit->background];
	json_t *object = json_object(), *model = json_object(), *form = json_object(),
	       *training = cr_fit_training(fit, 1);
	int bad = !object || !model || !form || !training;

	bad = bad || json_object_set_new(model, "name", cr_provenance_text(fit->info->name)) ||
	      json_object_set_new(model, "sha256", json_string(fit->info->sha256));
	bad = bad || json_object_set_new(form, "layer", json_integer(fit->form.layer)) ||
	      json_object_set_new(form, "pool", json_string(cr_head_pool_name(fit->form.pool))) ||
	      json_object_set_new(form, "parts", json_integer(fit->form.parts)) ||
	      json_object_set_new(form, "strands",
				  json_string(cr_head_strands_name(fit->form.strands))) ||
	      json_object_set_new(form, "special_tokens",
				  json_string(cr_head_specials_name(fit->form.specials)));
	bad = bad || json_object_set_new(object, "format", json_string("crocuta-fit-report-1")) ||
	      json_object_set(object, "model", model) || json_object_set(object, "form", form) ||
	      json_object_set_new(object, "background",
				  background ? json_string(background) : json_null());
	if (!bad && fit->options.evaluate)
		bad = json_object_set_new(object, "evaluated", cr_provenance_text(head->name)) ||
		      json_object_set_new(object, "evaluated_sha256", json_string(head->sha256));
	bad = bad || json_object_update(object, training);
	json_decref(model);
	json_decref(form);
	json_decref(training);
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

static int open_report(cr_fit *fit)
{
	const char **inputs = cr_fit_list_inputs(&fit->options);
	cr_output_options how = {.inputs = inputs};
	json_t *object = json_report(fit);
	int code;

	if (inputs && object)
		code = cr_output_open(fit->options.report, &how, &fit->report_output, fit->error);
	else
		code = cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for the report");
	if (!code)
		code = cr_meta_write(fit->report_output, object, fit->error);
	if (!code)
		code = cr_output_finish(fit->report_output, fit->error);
	cr_free(inputs);
	json_decref(object);
	return code;
}

int cr_fit_prepare_report(cr_fit *fit)
{
	int code = write_text(fit);

	return code || !fit->options.report ? code : open_report(fit);
}

int cr_fit_commit_report(cr_fit *fit)
{
	return fit->report_output ? cr_output_commit(fit->report_output, fit->error) : CROCUTA_OK;
}

void crocuta_fit_report_clear(crocuta_fit_report *report)
{
	cr_free(report->text);
	memset(report, 0, sizeof *report);
}
