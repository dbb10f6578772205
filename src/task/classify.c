/* classify.c - crocuta_classify_plan and crocuta_classify_run: the parts put together. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/source.h"
#include "task/classify_internal.h"

#define POLL_SECONDS 0.1

void cr_classify_log(const cr_classify *classify, int level, const char *format, ...)
{
	char line[1000];
	va_list list;

	if (!classify->options.log)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	classify->options.log(classify->options.user, level, line);
}

int cr_classify_poll(cr_classify *classify, const char *contig)
{
	crocuta_progress progress = {.contig = contig,
				     .bases_done = atomic_load(&classify->bases_out)};
	double now = cr_wall_seconds();

	if (!classify->options.progress || now - classify->polled < POLL_SECONDS)
		return 0;
	classify->polled = now;
	if (classify->census.span_bases > 0)
		progress.bases_total = classify->census.span_bases;
	return classify->options.progress(classify->options.user, &progress);
}

static int poll_stream(void *user, int64_t tokens_done, const char *contig)
{
	(void)tokens_done;
	return cr_classify_poll(user, contig);
}

static int open_classify(cr_classify *classify, const crocuta_model *model,
			 const crocuta_head *head, const crocuta_classify_options *options,
			 crocuta_classify_report *report, crocuta_error *error)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	int code;

	memset(classify, 0, sizeof *classify);
	memset(report, 0, sizeof *report);
	cr_htslib_prepare();
	classify->opened = cr_wall_seconds();
	classify->model = model;
	classify->info = info;
	classify->head = head;
	classify->head_info = crocuta_head_get_info(head);
	classify->options = *options;
	classify->report = report;
	classify->error = error;
	code = crocuta_classify_check(options, error);
	if (!code && classify->head_info->features !=
			     cr_head_features(&classify->head_info->form, info->width))
		code = cr_fail(error, CROCUTA_EMODEL,
			       "the head \"%.100s\" reads %lld numbers, and \"%.100s\" gives %lld: it "
			       "is for another model",
			       classify->head_info->name, (long long)classify->head_info->features,
			       info->name,
			       (long long)cr_head_features(&classify->head_info->form, info->width));
	if (!code)
		code = cr_classify_settle(classify);
	classify->features.poll = poll_stream;
	return code ? code : cr_classify_open_input(classify);
}

static void close_classify(cr_classify *classify, int code)
{
	cr_feature_stream_free(classify->stream); /* whose thread uses the output and the journal */
	cr_resume_close(&classify->resume, code);
	json_decref(classify->binding);
	cr_free(classify->unit);
	cr_classify_free_output(classify->output);
	cr_regions_free(classify->regions);
	cr_records_close(classify->records);
	cr_reference_close(classify->reference);
	cr_free(classify->bases);
}

/* The plan into the report; is there memory for it, and could the outputs be written? */
static int plan_and_check(cr_classify *classify)
{
	crocuta_classify_report *report = classify->report;
	const crocuta_classify_options *o = &classify->options;
	cr_inputs inputs;
	int code = cr_feature_plan(classify->model, &classify->features, &report->plan,
				   &report->memory_bytes, classify->error);

	if (code)
		return code;
	if (o->session.memory_limit && report->memory_bytes > o->session.memory_limit)
		return cr_fail(classify->error, CROCUTA_EMEMORY,
			       "the plan needs %lld bytes, the limit is %lld; try a smaller --length "
			       "or more --max-mem",
			       (long long)report->memory_bytes, (long long)o->session.memory_limit);
	report->rows = o->merge || o->scan || o->only || o->min_prob > 0 ? -1 : report->items;
	report->tokens = -1;
	cr_classify_list_inputs(&inputs, o, classify->info, classify->head_info);
	return cr_classify_preflight(o, &inputs, classify->error);
}

int crocuta_classify_plan(const crocuta_model *model, const crocuta_head *head,
			  const crocuta_classify_options *options, crocuta_classify_report *report,
			  crocuta_error *error)
{
	cr_classify classify;
	int code = open_classify(&classify, model, head, options, report, error);

	if (!code)
		code = plan_and_check(&classify);
	close_classify(&classify, code);
	return code;
}

/* A head fitted on sequences of one length knows little of much longer or shorter ones. */
static void warn_of_lengths(const cr_classify *classify)
{
	const int64_t fitted = classify->head_info->window, longest = classify->census.longest;
	const int too_long = longest > 4 * fitted;

	if (classify->options.scan || !fitted || !longest || (!too_long && 4 * longest >= fitted))
		return;
	cr_classify_log(classify, CROCUTA_LOG_WARNING,
			"the longest sequence has %lld bases, and the head was fitted on %lld: %s",
			(long long)longest, (long long)fitted,
			too_long ? "one answer for all of it may mean little; --scan slides a window"
				 : "its answers may mean little");
}

/* Without a background every window is a call. */
static void warn_of_merging(const cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;

	if (o->merge && classify->head_info->background < 0 && !o->only && o->min_prob <= 0)
		cr_classify_log(classify, CROCUTA_LOG_WARNING,
				"the head \"%.100s\" names no background class, so every window is a "
				"call; --only or --min-prob choose, and crocuta fit --background names one",
				classify->head_info->name);
}

static void announce(const cr_classify *classify)
{
	const crocuta_classify_report *report = classify->report;
	const crocuta_plan *plan = &report->plan;
	const crocuta_head_info *head = classify->head_info;
	char what[200] = "records as they come";

	if (classify->options.scan)
		snprintf(what, sizeof what, "%lld windows of %lld bases every %lld",
			 (long long)report->items, (long long)report->window,
			 (long long)report->step);
	else if (report->items >= 0)
		snprintf(what, sizeof what, "%lld sequences, %lld bases", (long long)report->items,
			 (long long)report->bases);
	cr_classify_log(classify, CROCUTA_LOG_NOTICE,
			"%s; %lld classes of head \"%.100s\" (%s) on model \"%.100s\"", what,
			(long long)head->classes, head->name, head->source, classify->info->name);
	cr_classify_log(classify, CROCUTA_LOG_NOTICE,
			"on %s in %s, %s convolution, %s kernels, %d threads, %lld bytes of memory",
			plan->device, plan->dtype, plan->convolution ? plan->convolution : "direct",
			plan->isa ? plan->isa : "reference", plan->threads,
			(long long)report->memory_bytes);
	warn_of_lengths(classify);
	warn_of_merging(classify);
}

static int run_stream(cr_classify *classify)
{
	crocuta_classify_report *report = classify->report;
	int code;

	report->rows = 0;
	code = cr_classify_open_journal(classify, &report->plan);
	if (code)
		return code;
	code = cr_feature_stream_new(classify->model, &classify->features, &classify->stream,
				     classify->error);
	if (code)
		return code;
	report->plan = *cr_feature_stream_plan(classify->stream);
	announce(classify);
	code = cr_classify_open_output(classify, &report->plan);
	classify->begun = cr_wall_seconds();
	if (!code)
		code = cr_classify_items(classify);
	return code ? code : cr_classify_commit(classify);
}

static void fill_report(cr_classify *classify)
{
	crocuta_classify_report *report = classify->report;
	cr_passes_counts counts = cr_feature_stream_counts(classify->stream);

	report->bases = counts.bases;
	report->tokens = counts.tokens;
	report->items = classify->taken;
	if (classify->records)
		report->records = cr_records_get_counts(classify->records).records;
	report->folded = counts.letters.folded;
	report->lower_case = counts.letters.lower_case;
	report->n_bases = counts.letters.n_bases;
	report->prepare_seconds = classify->begun - classify->opened;
	report->run_seconds = cr_wall_seconds() - classify->begun;
	report->model_seconds = counts.model_seconds;
	cr_feature_stream_times(classify->stream, &report->times);
}

int crocuta_classify_run(const crocuta_model *model, const crocuta_head *head,
			 const crocuta_classify_options *options, crocuta_classify_report *report,
			 crocuta_error *error)
{
	cr_classify classify;
	crocuta_error own = {0};
	int code = open_classify(&classify, model, head, options, report, error ? error : &own);

	if (!code)
		code = plan_and_check(&classify);
	if (!code)
		code = run_stream(&classify);
	if (!code)
		fill_report(&classify);
	close_classify(&classify, code);
	return code;
}
