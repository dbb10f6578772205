/* passes.c - jobs into windows, windows into batches; see passes.h.
 *
 * Windows of both strands of a job are queued in the order in which their reported ranges start, so
 * that at any time less than one window of rows waits for the other strand. */
#include "task/passes.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "seq/windows.h"
#include "task/passes_internal.h"

#define ITEMS_MAX 1024
#define TOKENS_MIN 65536 /* of a batch: many short records share a call */

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t longest_sequence(const cr_passes_options *options)
{
	return options->window + (options->cls != 0) + (options->sep != 0);
}

static int64_t batch_tokens(const cr_passes_options *options, const crocuta_plan *plan)
{
	return larger(plan->batch * longest_sequence(options), TOKENS_MIN);
}

static int64_t rows_of(const cr_job *job)
{
	return (job->end - job->start - 1) / job->bin + 1;
}

/* Rows that may have to wait at once. */
static int64_t bins_capacity(const cr_passes_options *options, int64_t job_rows)
{
	int64_t chunk = larger(65536 / options->width, 16), needed = chunk;

	if (options->strands != CROCUTA_STRANDS_FORWARD)
		needed = options->stream ? job_rows
					 : options->window / larger(options->smallest_bin, 1) + 3;
	return larger(smaller(needed, job_rows), 1);
}

static cr_bins_options bins_options(cr_passes *passes, const cr_passes_options *options,
				    int64_t job_rows)
{
	cr_bins_options result = {
		.width = options->scalar.kind ? 1 : options->width,
		.strands = options->strands,
		.pool = options->pool,
		.capacity = bins_capacity(options, job_rows),
		.sink = cr_passes_rows_out,
		.user = passes,
	};

	return result;
}

int64_t cr_passes_bytes(const cr_passes_options *options, const crocuta_plan *plan)
{
	cr_bins_options bins = bins_options(NULL, options, options->longest_rows);
	int64_t buffers = options->stream ? cr_stream_buffer_bytes(plan)
					  : batch_tokens(options, plan) + options->window;

	return cr_bins_bytes(&bins) + buffers +
	       ITEMS_MAX * (int64_t)(sizeof(cr_item) + sizeof(crocuta_sequence) + sizeof(cr_job));
}

/* The grid of one strand: the job's interval with left context from its contig. A job of at most
 * one window gets as much of it as fills the window, a longer one `overlap` bases. */
static cr_windows grid_of(const cr_passes_options *options, const cr_job *job, int reverse)
{
	int64_t length = job->end - job->start;
	int64_t context = length <= options->window ? options->window - length : options->overlap;
	cr_windows grid = {.start = job->start,
			   .end = job->end,
			   .window = options->window,
			   .overlap = options->overlap,
			   .reverse = reverse};

	if (reverse)
		grid.end = smaller(job->contig_length, job->end + context);
	else
		grid.start = larger(0, job->start - context);
	return grid;
}

void cr_passes_count(const cr_passes_options *options, const crocuta_plan *plan, const cr_job *job,
		     int64_t *windows, int64_t *tokens)
{
	*windows = *tokens = 0;
	for (int reverse = 0; reverse < 2; reverse++) {
		cr_windows grid;
		int64_t count, length;

		if (!cr_strand_used(options->strands, reverse))
			continue;
		if (options->stream) {
			cr_stream_span span = cr_stream_span_of(plan, job, reverse);

			*windows += 1;
			*tokens += span.end - span.start;
			continue;
		}
		grid = grid_of(options, job, reverse);
		count = cr_windows_count(&grid);
		length = smaller(options->window, grid.end - grid.start);
		*windows += count;
		*tokens += count * (length + options->cls + options->sep);
	}
}

static int allocate(cr_passes *passes)
{
	const cr_passes_options *options = &passes->options;

	passes->items = cr_calloc(ITEMS_MAX, sizeof *passes->items);
	passes->sequences = cr_calloc(ITEMS_MAX, sizeof *passes->sequences);
	passes->jobs = cr_calloc(ITEMS_MAX + 1, sizeof *passes->jobs);
	if (!passes->items || !passes->sequences || !passes->jobs)
		return -1;
	if (options->stream)
		return cr_stream_allocate(passes);
	passes->token_capacity = batch_tokens(options, passes->plan);
	passes->tokens = cr_calloc((size_t)passes->token_capacity, 1);
	passes->letters = cr_calloc((size_t)options->window, 1);
	return passes->tokens && passes->letters ? 0 : -1;
}

int cr_passes_new(const cr_passes_options *options, crocuta_session *session, cr_passes **out,
		  crocuta_error *error)
{
	cr_passes *passes = cr_calloc(1, sizeof *passes);

	*out = NULL;
	if (passes) {
		passes->options = *options;
		passes->session = session;
		passes->plan = crocuta_session_get_plan(session);
		passes->request.layer = options->layer;
		passes->request.want_hidden = !options->scalar.kind;
		passes->request.want_logits = options->scalar.kind != 0;
		passes->request.user = passes;
		passes->active_job = passes->active_item = -1;
	}
	if (!passes || allocate(passes)) {
		cr_passes_free(passes);
		return cr_fail(
			error, CROCUTA_EMEMORY, "no memory for %lld bytes of buffers",
			(long long)cr_passes_bytes(options, crocuta_session_get_plan(session)));
	}
	*out = passes;
	return CROCUTA_OK;
}

void cr_passes_free(cr_passes *passes)
{
	if (!passes)
		return;
	for (int i = 0; passes->jobs && i <= ITEMS_MAX; i++) {
		cr_free((void *)passes->jobs[i].contig);
		cr_free((void *)passes->jobs[i].name);
	}
	cr_bins_free(passes->bins);
	cr_free(passes->items);
	cr_free(passes->sequences);
	cr_free(passes->jobs);
	cr_free(passes->tokens);
	cr_free(passes->letters);
	cr_free(passes->history);
	cr_free(passes);
}

/* The job that item or stream rows belong to becomes the one that bins works on. */
int cr_passes_activate(cr_passes *passes, int64_t number)
{
	const cr_job *job = &passes->jobs[number % (ITEMS_MAX + 1)];
	cr_bins_options options;
	int64_t rows = rows_of(job);

	if (passes->active_job == number)
		return 0;
	if (!passes->bins || bins_capacity(&passes->options, rows) > passes->bins_capacity) {
		cr_bins_free(passes->bins);
		options = bins_options(passes, &passes->options,
				       larger(rows, passes->options.longest_rows));
		passes->bins = cr_bins_new(&options);
		passes->bins_capacity = options.capacity;
		if (!passes->bins)
			return cr_fail(passes->error, CROCUTA_EMEMORY, "no memory for %lld rows",
				       (long long)options.capacity);
	}
	cr_bins_start(passes->bins, job->start, job->end, job->bin,
		      passes->options.pool_specials ? passes->options.cls + passes->options.sep
						    : 0);
	passes->active_job = number;
	return 0;
}

const cr_job *cr_passes_active(const cr_passes *passes)
{
	return &passes->jobs[passes->active_job % (ITEMS_MAX + 1)];
}

/* Rows as bins hands them over: on to the caller's sink with the job they belong to. */
int cr_passes_rows_out(void *user, int64_t first, int64_t count, const float *values,
		       const int64_t *n_bases)
{
	cr_passes *passes = user;
	cr_job_rows rows = {.job = cr_passes_active(passes),
			    .count = count,
			    .values = values,
			    .n_bases = n_bases};
	cr_bins_options options = bins_options(passes, &passes->options, 1);

	rows.start = rows.job->start + first * rows.job->bin;
	rows.columns = cr_bins_columns(&options);
	return passes->options.sink(passes->options.user, &rows, passes->error);
}

int cr_passes_poll(cr_passes *passes, int64_t tokens_done)
{
	const char *contig = passes->active_job < 0 ? NULL : cr_passes_active(passes)->contig;

	if (!passes->options.poll ||
	    !passes->options.poll(passes->options.user, tokens_done, contig))
		return 0;
	return cr_fail(passes->error, CROCUTA_ESTOPPED, "stopped on request");
}

static int rows_of_batch(void *user, int64_t sequence, int64_t first, int64_t count,
			 const float *hidden, const float *logits)
{
	cr_passes *passes = user;
	const cr_item *item = &passes->items[sequence];
	int code;

	if (passes->active_item != sequence) {
		passes->active_item = sequence;
		code = cr_passes_activate(passes, item->job);
		if (!code)
			code = cr_reader_begin(passes, &item->reader);
		if (code)
			return code;
	}
	code = cr_reader_rows(passes, &item->reader, first, count, hidden, logits);
	if (!code && first + count == item->reader.length && item->last_of_job)
		code = cr_bins_flush(passes->bins, 1);
	if (!code)
		code = cr_passes_poll(passes,
				      passes->counts.tokens + item->tokens_before + first + count);
	if (code == CROCUTA_EINTERNAL)
		cr_fail(passes->error, code, "rows of a window came out of order");
	return code;
}

static int run_batch(cr_passes *passes, crocuta_error *error)
{
	int64_t tokens = 0;
	int code;

	if (!passes->item_count)
		return CROCUTA_OK;
	passes->error = error;
	code = cr_passes_poll(passes, passes->counts.tokens);
	if (code)
		return code;
	for (int64_t i = 0; i < passes->item_count; i++) {
		const cr_item *item = &passes->items[i];
		int64_t report_from = item->reader.report_from;

		passes->sequences[i].tokens = item->reader.tokens;
		passes->sequences[i].length = item->reader.length;
		passes->sequences[i].report_from = report_from;
		tokens += item->reader.length;
	}
	passes->active_item = -1;
	passes->request.rows = rows_of_batch;
	code = crocuta_session_run(passes->session, passes->sequences, passes->item_count,
				   &passes->request, error);
	passes->counts.tokens += tokens;
	passes->counts.windows += passes->item_count;
	passes->item_count = 0;
	passes->tokens_used = 0;
	return code;
}

/* Letters [start, end) of the job as token ids at out; counted where [count_start, count_end). */
int cr_passes_encode(cr_passes *passes, const cr_job *job, const cr_span *span,
		     const cr_span *counted, uint8_t *out, crocuta_error *error)
{
	int64_t cuts[4] = {span->start, larger(span->start, counted->start),
			   smaller(span->end, counted->end), span->end};
	char *letters = passes->letters;
	int code = job->fetch(job->user, span->start, span->end, letters, error);

	if (code)
		return code;
	if (cuts[1] > cuts[2])
		cuts[1] = cuts[2] = span->end;
	for (int part = 0; part < 3; part++) {
		int64_t from = cuts[part] - span->start, length = cuts[part + 1] - cuts[part], done;

		done = cr_tokens_encode(letters + from, length, &passes->options.tokens, out + from,
					part == 1 ? &passes->counts.letters : NULL);
		if (done < length)
			return cr_fail(error, CROCUTA_EINPUT,
				       "\"%.100s\" base %lld: byte 0x%02x is not a nucleotide code",
				       job->contig, (long long)(cuts[part] + done + 1),
				       (unsigned char)letters[from + done]);
	}
	return CROCUTA_OK;
}

static int add_window(cr_passes *passes, int64_t number, const cr_window *window, int reverse,
		      int last_of_job, crocuta_error *error)
{
	const cr_passes_options *options = &passes->options;
	const cr_job *job = &passes->jobs[number % (ITEMS_MAX + 1)];
	int64_t bases = window->end - window->start;
	int64_t length = bases + options->cls + options->sep;
	cr_span span = {window->start, window->end}, counted = {0, 0};
	cr_item *item;
	uint8_t *tokens;
	int code = CROCUTA_OK;

	if (passes->item_count == ITEMS_MAX ||
	    passes->tokens_used + length > passes->token_capacity)
		code = run_batch(passes, error);
	if (code)
		return code;
	tokens = passes->tokens + passes->tokens_used;
	item = &passes->items[passes->item_count];
	item->job = number;
	item->last_of_job = last_of_job;
	item->tokens_before = passes->tokens_used;
	item->reader = (cr_reader){.reverse = reverse,
				   .start = window->start,
				   .end = window->end,
				   .lead = options->cls,
				   .length = length,
				   .tokens = tokens,
				   .mask = INT64_MAX};
	item->reader.report.start = larger(window->report_start, job->start);
	item->reader.report.end = smaller(window->report_end, job->end);
	if (reverse == !cr_strand_used(options->strands, 0))
		counted = item->reader.report;
	if (options->cls)
		tokens[0] = CR_TOKEN_CLS;
	if (options->sep)
		tokens[length - 1] = CR_TOKEN_SEP;
	code = cr_passes_encode(passes, job, &span, &counted, tokens + options->cls, error);
	if (code)
		return code;
	if (reverse)
		cr_tokens_reverse_complement(tokens + options->cls, bases);
	cr_reader_report_from(passes, &item->reader);
	passes->tokens_used += length;
	passes->item_count++;
	return CROCUTA_OK;
}

static int add_windows(cr_passes *passes, int64_t number, crocuta_error *error)
{
	const cr_passes_options *options = &passes->options;
	const cr_job *job = &passes->jobs[number % (ITEMS_MAX + 1)];
	int64_t count[2] = {0, 0}, next[2] = {0, 0};
	cr_windows grid[2];

	for (int reverse = 0; reverse < 2; reverse++) {
		grid[reverse] = grid_of(options, job, reverse);
		if (cr_strand_used(options->strands, reverse))
			count[reverse] = cr_windows_count(&grid[reverse]);
	}
	if ((options->cls || options->sep) && (count[0] > 1 || count[1] > 1))
		return cr_fail(error, CROCUTA_EINPUT,
			       "record \"%.100s\" has %lld bases, more than the window of %lld: "
			       "--special-tokens needs whole records",
			       job->contig, (long long)job->end, (long long)options->window);
	while (next[0] < count[0] || next[1] < count[1]) {
		cr_window window[2];
		int which, code;

		for (int reverse = 0; reverse < 2; reverse++)
			window[reverse] = cr_windows_get(&grid[reverse], next[reverse]);
		if (next[0] == count[0] || next[1] == count[1])
			which = next[0] == count[0];
		else
			which = window[1].report_start < window[0].report_start;
		next[which]++;
		code = add_window(passes, number, &window[which], which,
				  next[0] == count[0] && next[1] == count[1], error);
		if (code)
			return code;
	}
	return CROCUTA_OK;
}

/* Keep a copy of the job in the ring of those that still have windows waiting. */
static int keep_job(cr_passes *passes, const cr_job *job, crocuta_error *error)
{
	cr_job *kept = &passes->jobs[passes->job_count % (ITEMS_MAX + 1)];

	cr_free((void *)kept->contig);
	cr_free((void *)kept->name);
	*kept = *job;
	kept->contig = cr_strdup(job->contig);
	kept->name = job->name ? cr_strdup(job->name) : NULL;
	if (!kept->contig || (job->name && !kept->name))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a name");
	return CROCUTA_OK;
}

int cr_passes_add(cr_passes *passes, const cr_job *job, crocuta_error *error)
{
	int64_t number = passes->job_count;
	int code = keep_job(passes, job, error);

	if (code)
		return code;
	passes->job_count++;
	passes->counts.bases += job->end - job->start;
	passes->error = error;
	return passes->options.stream ? cr_stream_run(passes, number, error)
				      : add_windows(passes, number, error);
}

int cr_passes_finish(cr_passes *passes, crocuta_error *error)
{
	return run_batch(passes, error);
}

cr_passes_counts cr_passes_get_counts(const cr_passes *passes)
{
	return passes->counts;
}
