/* score.c - crocuta_score_plan and crocuta_score_run: the parts put together. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "task/file_type.h"
#include "task/score_internal.h"

#define POLL_SECONDS 0.1

void cr_score_log(const cr_score *score, int level, const char *format, ...)
{
	char line[1000];
	va_list list;

	if (!score->options.log)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	score->options.log(score->options.user, level, line);
}

int cr_score_poll(cr_score *score)
{
	crocuta_progress progress = {.contig = score->where, .bases_total = score->units_total};
	double now;

	if (!score->options.progress)
		return 0;
	now = cr_wall_seconds();
	if (now - score->polled < POLL_SECONDS)
		return 0;
	score->polled = now;
	progress.bases_done = score->units_done;
	if (score->batch_changes)
		progress.bases_done += (int64_t)((double)score->batch_units *
						 (double)atomic_load(&score->changes_done) /
						 (double)score->batch_changes);
	return score->options.progress(score->options.user, &progress);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_inputs(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	const cr_reference_options how = {
		.fai = o->fai, .gzi = o->gzi, .allow_truncated = o->allow_truncated};
	int code = cr_reference_open(o->reference, &how, &score->reference, score->error);

	if (code)
		return code;
	score->contigs = cr_reference_contigs(score->reference);
	score->cache = cr_sequence_cache_new(score->reference);
	if (!score->cache)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for bases");
	return o->ism ? cr_score_open_ism(score) : cr_score_open_variants(score);
}

static int open_score(cr_score *score, const crocuta_model *model,
		      const crocuta_score_options *options, crocuta_score_report *report,
		      crocuta_error *error)
{
	cr_inputs inputs;
	int code;

	memset(score, 0, sizeof *score);
	memset(report, 0, sizeof *report);
	score->model = model;
	score->info = crocuta_model_get_info(model);
	score->options = *options;
	score->report = report;
	score->error = error;
	code = crocuta_score_check(options, error);
	if (!code)
		code = cr_score_choose_type(options, &score->type, &score->level, error);
	if (!code)
		code = cr_score_settle(score);
	if (!code)
		code = open_inputs(score);
	if (code)
		return code;
	cr_score_list_inputs(&inputs, options, score->info);
	return cr_score_preflight(options, score->type, &inputs, error);
}

static void close_score(cr_score *score, int code)
{
	cr_resume_close(&score->resume, code);
	json_decref(score->binding);
	cr_score_free_output(score->output);
	crocuta_session_free(score->session);
	cr_regions_free(score->regions);
	cr_free(score->contig_map);
	cr_variants_close(score->variants);
	cr_sequence_cache_free(score->cache);
	cr_reference_close(score->reference);
}

/* ---- plan ------------------------------------------------------------------------------------ */

/* With the shortcuts where they can be had. */
static int plan_session(cr_score *score)
{
	crocuta_session_options *how = &score->session_options;
	crocuta_plan *plan = &score->report->plan;
	crocuta_error refusal = {0};
	int code;

	score->reuse = !score->options.no_reuse;
	if (score->reuse && how->change_length <= CROCUTA_CHANGE_LENGTH_MAX) {
		code = crocuta_session_plan(score->model, how, plan, &refusal);
		if (!code)
			return CROCUTA_OK;
		if (code != CROCUTA_EARG)
			return cr_fail(score->error, code, "%s", refusal.message);
	}
	if (score->reuse && *refusal.message)
		cr_score_log(score, CROCUTA_LOG_NOTICE,
			     "every window is computed plainly, without the shortcuts: %.600s",
			     refusal.message);
	else if (score->reuse)
		cr_score_log(score, CROCUTA_LOG_NOTICE,
			     "a readout of %lld positions is too long for the shortcuts: every "
			     "window is computed plainly",
			     (long long)how->change_length);
	score->reuse = 0;
	how->change_length = 0;
	return crocuta_session_plan(score->model, how, plan, score->error);
}

static int fill_plan(cr_score *score)
{
	crocuta_score_report *report = score->report;
	const int64_t limit = score->options.session.memory_limit;
	int64_t own = CR_SEQUENCE_CACHE_BYTES + 2 * CR_SCORE_CALL_BYTES + CR_SCORE_BATCH_BYTES;
	int code = plan_session(score);

	if (code)
		return code;
	if (score->type == CR_FILE_NPY)
		own += 16 * score->regions->bases;
	report->window = score->placement.window;
	report->readout = score->placement.readout;
	report->step = score->placement.fixed ? 0 : score->placement.step;
	report->reuse = score->reuse;
	report->output_type = cr_file_kind_name((enum cr_file_kind)score->type);
	report->memory_bytes = report->plan.total_bytes + own;
	if (limit && report->memory_bytes > limit)
		return cr_fail(score->error, CROCUTA_EMEMORY,
			       "the plan needs %lld bytes (model %lld, records %lld), the limit is "
			       "%lld; try a smaller --window or more --max-mem",
			       (long long)report->memory_bytes, (long long)report->plan.total_bytes,
			       (long long)own, (long long)limit);
	return CROCUTA_OK;
}

int crocuta_score_plan(const crocuta_model *model, const crocuta_score_options *options,
		       crocuta_score_report *report, crocuta_error *error)
{
	cr_score score;
	crocuta_error own = {0};
	int code = open_score(&score, model, options, report, error ? error : &own);

	if (!code)
		code = fill_plan(&score);
	if (!code && options->ism)
		code = cr_score_count_ism(&score);
	else if (!code && strcmp(options->input, "-"))
		code = cr_score_count_variants(&score);
	else if (!code)
		report->records = report->alleles = -1;
	close_score(&score, code);
	return code;
}

/* ---- run ------------------------------------------------------------------------------------- */

static int run_batch(cr_score *score, cr_score_batch *batch)
{
	int code = cr_score_classify(score, batch);

	score->where = batch->records[0].contig_name;
	if (!code && cr_score_poll(score))
		code = cr_fail(score->error, CROCUTA_ESTOPPED, "stopped by the caller");
	if (!code)
		code = cr_score_compute(score, batch);
	if (!code)
		code = cr_score_combine(score, batch);
	if (!code)
		code = cr_score_write(score, batch);
	score->where = NULL;
	return code;
}

/* Batch after batch. The output is opened when the first one's contigs are known. */
static int run_batches(cr_score *score)
{
	cr_score_batch batch = {0};
	int code = CROCUTA_OK, more = 1;

	while (!code && more) {
		code = score->options.ism ? cr_score_read_ism(score, &batch)
					  : cr_score_read_variants(score, &batch);
		more = batch.record_count > 0;
		if (!code && !score->output)
			code = cr_score_open_output(score);
		if (!code && more)
			code = run_batch(score, &batch);
		cr_score_clear(score, &batch);
	}
	cr_score_free_batch(score, &batch);
	return code;
}

static void announce(const cr_score *score)
{
	const crocuta_score_report *r = score->report;
	const crocuta_plan *plan = &r->plan;

	cr_score_log(score, CROCUTA_LOG_NOTICE,
		     "windows of %lld bases, %lld or more of them compared, %s; on %s in %s, %s "
		     "convolution, %s kernels, %d threads, %lld bytes of memory",
		     (long long)r->window, (long long)r->readout,
		     r->reuse ? "shared between neighbours" : "two for every ALT and strand",
		     plan->device, plan->dtype,
		     plan->convolution ? plan->convolution : "direct",
		     plan->isa ? plan->isa : "reference", plan->threads,
		     (long long)r->memory_bytes);
}

static int run_score(cr_score *score)
{
	crocuta_score_report *report = score->report;
	int code = fill_plan(score);

	if (!code)
		code = crocuta_session_new(score->model, &score->session_options, &score->session,
					   score->error);
	if (!code)
		report->plan = *crocuta_session_get_plan(score->session);
	if (!code && score->options.shards > 1)
		code = score->options.ism ? cr_score_count_ism(score)
					  : cr_score_count_variants(score);
	report->records = report->alleles = 0;
	if (!code)
		announce(score);
	if (!code)
		code = cr_score_open_journal(score);
	if (!code)
		code = run_batches(score);
	if (!code)
		code = cr_score_check_known(score);
	if (!code && score->variants && cr_variants_doubt(score->variants))
		cr_score_log(score, CROCUTA_LOG_WARNING, "%.300s: %s", score->options.input,
			     cr_variants_doubt(score->variants));
	if (!code)
		code = cr_score_check_genome(score, 1);
	if (!code)
		code = cr_reference_unchanged(score->reference, score->error);
	if (!code)
		code = cr_score_commit(score);
	if (score->session)
		crocuta_session_get_times(score->session, &report->times, 0);
	return code;
}

int crocuta_score_run(const crocuta_model *model, const crocuta_score_options *options,
		      crocuta_score_report *report, crocuta_error *error)
{
	cr_score score;
	crocuta_error own = {0};
	int code = open_score(&score, model, options, report, error ? error : &own);

	if (!code)
		code = run_score(&score);
	if (!code && score.options.check_ref == CROCUTA_CHECK_REF_EXCLUDE && report->left_out)
		cr_score_log(&score, CROCUTA_LOG_WARNING,
			     "%lld records were left out, because their REF differs from the FASTA",
			     (long long)report->left_out);
	close_score(&score, code);
	return code;
}
