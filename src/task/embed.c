/* embed.c - crocuta_embed_plan and crocuta_embed_run: the parts put together. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "task/embed_internal.h"

#define POLL_SECONDS 0.1

void cr_embed_log(const cr_embed *embed, int level, const char *format, ...)
{
	char line[1000];
	va_list list;

	if (!embed->options.log)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	embed->options.log(embed->options.user, level, line);
}

int cr_embed_poll(void *user, int64_t tokens_done, const char *contig)
{
	cr_embed *embed = user;
	crocuta_progress progress = {.contig = contig,
				     .bases_done = atomic_load(&embed->bases_out)};
	double now;

	if (!embed->options.progress)
		return 0;
	now = cr_wall_seconds();
	if (now - embed->polled < POLL_SECONDS)
		return 0;
	embed->polled = now;
	if (embed->tokens_total > 0 && tokens_done >= 0) {
		progress.bases_total = embed->report->bases;
		progress.bases_done =
			(int64_t)((double)progress.bases_total *
				  ((double)tokens_done / (double)embed->tokens_total));
	}
	return embed->options.progress(embed->options.user, &progress);
}

/* Rows first .. first + count of a part, to the writer. */
static int write_run(cr_embed *embed, const cr_job_rows *rows, int64_t first, int64_t count,
		     crocuta_error *error)
{
	cr_job_rows part = *rows;

	if (!count)
		return CROCUTA_OK;
	part.start += first * rows->job->bin;
	part.values += first * rows->columns;
	part.n_bases += first;
	part.count = count;
	embed->rows_out += count;
	return embed->kind->rows(embed->writer, &part, error);
}

/* Must row i stay out? Rows of N where asked for; a track's base that nothing predicts. */
static int is_skipped(const cr_embed *embed, const cr_job_rows *rows, int64_t i)
{
	int64_t start = rows->start + i * rows->job->bin;
	int64_t length = rows->job->end - start;
	float value = rows->values[i * rows->columns];

	if (length > rows->job->bin)
		length = rows->job->bin;
	if (value != value)
		return 1;
	return embed->options.skip_n > 0 &&
	       (double)rows->n_bases[i] >= embed->options.skip_n * (double)length;
}

int cr_embed_take_rows(cr_embed *embed, const cr_job_rows *rows, crocuta_error *error)
{
	int64_t first = 0, end = rows->start + rows->count * rows->job->bin;
	int code;

	if (end > rows->job->end)
		end = rows->job->end;
	atomic_fetch_add(&embed->bases_out, end - rows->start);
	for (int64_t i = 0; i < rows->count; i++) {
		if (!is_skipped(embed, rows, i))
			continue;
		embed->report->skipped_rows++;
		code = write_run(embed, rows, first, i - first, error);
		if (code)
			return code;
		first = i + 1;
	}
	return write_run(embed, rows, first, rows->count - first, error);
}

static int take_new_rows(void *user, const cr_job_rows *rows, crocuta_error *error)
{
	int code = cr_embed_take_rows(user, rows, error);

	if (!code)
		cr_embed_keep_rows(user, rows);
	return code;
}

static int open_embed(cr_embed *embed, const crocuta_model *model,
		      const crocuta_embed_options *options, crocuta_embed_report *report,
		      crocuta_error *error)
{
	int code;

	memset(embed, 0, sizeof *embed);
	memset(report, 0, sizeof *report);
	embed->opened = cr_wall_seconds();
	embed->model = model;
	embed->info = crocuta_model_get_info(model);
	embed->options = *options;
	embed->report = report;
	embed->error = error;
	embed->passes_options.sink = take_new_rows;
	embed->passes_options.poll = cr_embed_poll;
	embed->passes_options.user = embed;
	code = crocuta_embed_check(options, error);
	if (!code)
		code = cr_embed_choose_writer(options, &embed->kind, error);
	if (!code)
		code = cr_embed_settle(embed);
	return code ? code : cr_embed_open_input(embed);
}

static void close_embed(cr_embed *embed, int code)
{
	cr_passes_free(embed->passes); /* whose thread uses the writer and the journal */
	cr_resume_close(&embed->resume, code);
	json_decref(embed->binding);
	cr_free(embed->units);
	cr_free(embed->unit_values);
	if (embed->kind && embed->writer)
		embed->kind->free(embed->writer);
	crocuta_session_free(embed->session);
	json_decref(embed->provenance);
	cr_regions_free(embed->regions);
	cr_records_close(embed->records);
	cr_reference_close(embed->reference);
	cr_contigs_free(embed->own_contigs);
}

/* Count, and look at the outputs again now that sizes and the model's files are known. */
static int count_and_check(cr_embed *embed, const crocuta_plan *plan)
{
	cr_inputs inputs;
	int64_t bytes = 0;
	int code = cr_embed_count(embed, plan);

	if (code)
		return code;
	if (embed->kind->exact && embed->report->output_bytes > 0 && !embed->options.skip_n)
		bytes = embed->report->output_bytes;
	cr_embed_list_inputs(&inputs, &embed->options, embed->info);
	return cr_embed_preflight(&embed->options, embed->kind, &inputs, bytes, embed->error);
}

int crocuta_embed_plan(const crocuta_model *model, const crocuta_embed_options *options,
		       crocuta_embed_report *report, crocuta_error *error)
{
	cr_embed embed;
	crocuta_plan plan;
	int code = open_embed(&embed, model, options, report, error);

	if (!code)
		code = crocuta_session_plan(model, &embed.session_options, &plan, error);
	if (!code)
		code = count_and_check(&embed, &plan);
	close_embed(&embed, code);
	return code;
}

static void announce(const cr_embed *embed)
{
	const crocuta_embed_report *r = embed->report;
	const crocuta_plan *plan = &r->plan;
	char rows[120] = "rows as they come", windows[200] = "";

	if (r->rows >= 0)
		snprintf(rows, sizeof rows, "%lld rows x %lld columns, %s%lld bytes of %s",
			 (long long)r->rows, (long long)r->columns,
			 embed->kind->exact && !embed->options.skip_n ? "" : "about ",
			 (long long)r->output_bytes, r->output_type);
	if (r->windows >= 0)
		snprintf(windows, sizeof windows, "; %lld bases in %lld %s, %lld tokens",
			 (long long)r->bases, (long long)r->windows,
			 embed->options.stream ? "streams" : "windows", (long long)r->tokens);
	cr_embed_log(embed, CROCUTA_LOG_NOTICE, "%s%s", rows, windows);
	cr_embed_log(
		embed, CROCUTA_LOG_NOTICE,
		"%s of %lld bases, on %s in %s, %s convolution, %s kernels, %d threads, %lld bytes "
		"of memory",
		embed->options.stream ? "stream with a context" : "windows",
		(long long)(embed->options.stream ? plan->stream_context : r->window), plan->device,
		plan->dtype,
		plan->convolution ? plan->convolution : "direct",
		plan->isa ? plan->isa : "reference", plan->threads, (long long)r->memory_bytes);
}

static int start_writer(cr_embed *embed)
{
	const crocuta_embed_report *report = embed->report;
	cr_inputs inputs;
	int certain = report->rows >= 0 && !embed->options.skip_n;
	cr_writer_options how = {
		.path = embed->options.output,
		.rows = certain ? report->rows : -1,
		.columns = report->columns,
		.bytes = certain && embed->kind->exact ? report->output_bytes : 0,
		.half = embed->options.half,
		.contigs = embed->contigs,
		.output = {.no_space_check = embed->options.no_space_check,
			   .no_clobber = embed->options.no_clobber},
	};

	cr_embed_list_inputs(&inputs, &embed->options, embed->info);
	how.output.inputs = inputs.list;
	embed->provenance = cr_embed_provenance(embed, &report->plan);
	if (!embed->provenance)
		return cr_fail(embed->error, CROCUTA_EMEMORY, "no memory for the provenance");
	how.provenance = embed->provenance;
	how.shard = embed->shard.shards > 1 ? &embed->shard : NULL;
	return embed->kind->start(&how, &embed->writer, embed->error);
}

static int run_session(cr_embed *embed)
{
	int code = crocuta_session_new(embed->model, &embed->session_options, &embed->session,
				       embed->error);

	if (!code)
		code = count_and_check(embed, crocuta_session_get_plan(embed->session));
	if (code)
		return code;
	announce(embed);
	code = cr_embed_open_journal(embed, crocuta_session_get_plan(embed->session));
	if (!code)
		code = cr_passes_new(&embed->passes_options, embed->session, &embed->passes,
				     embed->error);
	if (!code)
		code = start_writer(embed);
	embed->begun = cr_wall_seconds();
	if (!code)
		code = embed->reference ? cr_embed_contigs(embed) : cr_embed_records(embed);
	if (!code)
		code = embed->kind->finish(embed->writer, &embed->report->output_bytes,
					   embed->error);
	return code;
}

static void fill_report(cr_embed *embed)
{
	crocuta_embed_report *report = embed->report;
	cr_passes_counts counts = cr_passes_get_counts(embed->passes);

	report->contigs = cr_contigs_count(embed->contigs);
	report->bases = counts.bases;
	report->windows = counts.windows;
	report->tokens = counts.tokens;
	report->rows = embed->rows_out;
	report->folded = counts.letters.folded;
	report->lower_case = counts.letters.lower_case;
	report->n_bases = counts.letters.n_bases;
	report->prepare_seconds = embed->begun - embed->opened;
	report->run_seconds = cr_wall_seconds() - embed->begun;
	report->model_seconds = counts.model_seconds;
	crocuta_session_get_times(embed->session, &report->times, 0);
}

int crocuta_embed_run(const crocuta_model *model, const crocuta_embed_options *options,
		      crocuta_embed_report *report, crocuta_error *error)
{
	cr_embed embed;
	crocuta_error own = {0};
	int code = open_embed(&embed, model, options, report, error ? error : &own);

	if (!code)
		code = run_session(&embed);
	if (!code)
		fill_report(&embed);
	close_embed(&embed, code);
	return code;
}
