/* passes.c - jobs into windows, windows into batches; see passes.h. passes_run.c runs them.
 *
 * Windows of both strands of a job are queued in the order in which their reported ranges start, so
 * that at any time less than one window of rows waits for the other strand. */
#include "task/passes.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "model/head.h"
#include "model/network.h"
#include "seq/windows.h"
#include "base/digest64.h"
#include "task/passes_internal.h"

/* Sequences and tokens of a batch. Many short records share a call, and a call has several of what
 * the session computes together, because it hides the copies of one behind the next. */
#define ITEMS_LEAST 1024
#define ITEMS_MOST 16384
#define TOKENS_LEAST 65536
#define TOKENS_MOST ((int64_t)64 << 20)
#define BATCHES_CPU 4
#define BATCHES_GPU 64 /* between two runs a GPU waits for the host */

int cr_check_token_options(const cr_token_options *options, const crocuta_model *model,
			   crocuta_error *error)
{
	if (!options->n_as_pad || cr_model_vocabulary(model)->pad >= 0)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EARG,
		       "--n-as-pad: models of the family \"%s\" have no padding token",
		       crocuta_model_get_info(model)->family);
}

int cr_passes_use_model(cr_passes_options *options, const crocuta_model *model, int specials,
			crocuta_error *error)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const cr_vocabulary *vocabulary = cr_model_vocabulary(model);
	const int own = specials == CROCUTA_SPECIALS_MODEL;

	options->vocabulary = vocabulary;
	options->width = info->width;
	options->cls = specials == CROCUTA_SPECIALS_CLS_SEP || (own && vocabulary->start >= 0);
	options->sep = own ? vocabulary->end >= 0 : specials != CROCUTA_SPECIALS_NONE;
	options->pool_specials = specials >= CROCUTA_SPECIALS_MODEL &&
				 (options->cls || options->sep);
	if ((options->cls && vocabulary->start < 0) || (options->sep && vocabulary->end < 0))
		return cr_fail(error, CROCUTA_EARG,
			       "special tokens \"%s\": models of the family \"%s\" have no such "
			       "tokens; \"model\" gives what they have",
			       cr_head_specials_name(specials), info->family);
	return cr_check_token_options(&options->tokens, model, error);
}

static int64_t longest_sequence(const cr_passes_options *options)
{
	return options->window + (options->cls != 0) + (options->sep != 0);
}

/* Tokens of the first batch, which nothing hides. Each later one may be twice as long: it is read while the one
 * before is computed. */
static int64_t first_tokens(const cr_passes_options *options, const crocuta_plan *plan)
{
	return cr_larger(plan->batch * longest_sequence(options), TOKENS_LEAST);
}

static int64_t batches(const crocuta_plan *plan)
{
	return plan->devices ? BATCHES_GPU : BATCHES_CPU;
}

static int64_t batch_tokens(const cr_passes_options *options, const crocuta_plan *plan)
{
	int64_t longest = longest_sequence(options);
	int64_t tokens = cr_smaller(batches(plan) * plan->batch * longest, TOKENS_MOST);

	tokens = cr_larger(tokens, cr_larger(plan->gather, 2) * longest);
	return cr_larger(tokens, first_tokens(options, plan));
}

static int64_t batch_items(const crocuta_plan *plan)
{
	return cr_larger(cr_smaller(batches(plan) * plan->batch, ITEMS_MOST),
			 cr_larger(plan->gather, ITEMS_LEAST));
}

/* Segments of a batch: a bin may be cut by two windows. */
static int64_t batch_segments(const cr_passes_options *options, const crocuta_plan *plan)
{
	const int64_t shortest = cr_larger(options->smallest_bin, CR_PASSES_POOLED_BIN);

	return batch_tokens(options, plan) / shortest + 2 * batch_items(plan);
}

int64_t cr_passes_bytes(const cr_passes_options *options, const crocuta_plan *plan)
{
	cr_bins_options bins = cr_passes_bins_options(NULL, options, options->longest_rows);
	int64_t items = batch_items(plan), batch, bytes = cr_bins_bytes(&bins);

	if (options->stream)
		return bytes + cr_stream_buffer_bytes(plan) + (int64_t)sizeof(cr_job);
	batch = batch_tokens(options, plan) +
		items * (int64_t)(sizeof(cr_item) + sizeof(crocuta_sequence));
	if (options->pooled)
		batch += items * (int64_t)sizeof(crocuta_segments) +
			 batch_segments(options, plan) * (int64_t)sizeof(int64_t);
	return bytes + 2 * batch + options->window + 3 * items * (int64_t)sizeof(cr_job);
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
		grid.end = cr_smaller(job->contig_length, job->end + context);
	else
		grid.start = cr_larger(0, job->start - context);
	return grid;
}

/* The windows of one strand that the rows asked for need: [next, end) of the grid. */
typedef struct strand_windows {
	cr_windows grid;
	int64_t next, end;
} strand_windows;

/* Does the window report nothing in [from, to) of the job? */
static int is_apart(const cr_window *window, int64_t from, int64_t to)
{
	return window->report_end <= from || window->report_start >= to;
}

static strand_windows windows_of(const cr_passes_options *options, const cr_job *job, int reverse)
{
	strand_windows result = {.grid = grid_of(options, job, reverse)};
	const int64_t from = job->to ? job->from : job->start, to = job->to ? job->to : job->end;

	if (!cr_strand_used(options->strands, reverse))
		return result;
	result.end = cr_windows_count(&result.grid);
	for (; result.next < result.end; result.next++) {
		const cr_window window = cr_windows_get(&result.grid, result.next);

		if (!is_apart(&window, from, to))
			break;
	}
	for (; result.end > result.next; result.end--) {
		const cr_window window = cr_windows_get(&result.grid, result.end - 1);

		if (!is_apart(&window, from, to))
			break;
	}
	return result;
}

void cr_passes_count(const cr_passes_options *options, const crocuta_plan *plan, const cr_job *job,
		     int64_t *windows, int64_t *tokens)
{
	*windows = *tokens = 0;
	for (int reverse = 0; reverse < 2; reverse++) {
		strand_windows strand;
		int64_t count, length;

		if (!cr_strand_used(options->strands, reverse))
			continue;
		if (options->stream) {
			cr_stream_span span = cr_stream_span_of(plan, job, reverse);

			*windows += 1;
			*tokens += span.end - span.start;
			continue;
		}
		strand = windows_of(options, job, reverse);
		count = strand.end - strand.next;
		length = cr_smaller(options->window, strand.grid.end - strand.grid.start);
		*windows += count;
		*tokens += count * (length + options->cls + options->sep);
	}
}

static int allocate_batch(const cr_passes *passes, cr_batch *batch)
{
	const size_t items = (size_t)passes->items_max;

	batch->items = cr_calloc(items, sizeof *batch->items);
	batch->sequences = cr_calloc(items, sizeof *batch->sequences);
	batch->tokens = cr_calloc((size_t)passes->token_capacity, 1);
	if (passes->options.pooled) {
		batch->segments = cr_calloc(items, sizeof *batch->segments);
		batch->ends = cr_calloc((size_t)passes->ends_capacity, sizeof *batch->ends);
		if (!batch->segments || !batch->ends)
			return -1;
	}
	return batch->items && batch->sequences && batch->tokens ? 0 : -1;
}

static int allocate(cr_passes *passes)
{
	const cr_passes_options *options = &passes->options;

	passes->items_max = batch_items(passes->plan);
	/* jobs of the batch that runs, of the one that is filled, and the one that the progress
	 * names */
	passes->jobs_max = options->stream ? 1 : 3 * passes->items_max;
	passes->jobs = cr_calloc((size_t)passes->jobs_max, sizeof *passes->jobs);
	if (!passes->jobs)
		return -1;
	if (options->stream)
		return cr_stream_allocate(passes);
	passes->token_capacity = batch_tokens(options, passes->plan);
	passes->tokens_wanted = first_tokens(options, passes->plan);
	passes->ends_capacity = batch_segments(options, passes->plan);
	for (int i = 0; i < 2; i++)
		if (allocate_batch(passes, &passes->batches[i]))
			return -1;
	passes->letters = cr_calloc((size_t)options->window, 1);
	return passes->letters ? 0 : -1;
}

int cr_passes_new(const cr_passes_options *options, crocuta_session *session, cr_passes **out,
		  crocuta_error *error)
{
	static const int kinds[] = {[CR_POOL_MEAN] = CROCUTA_POOL_SUM,
				    [CR_POOL_LAST] = CROCUTA_POOL_LAST,
				    [CR_POOL_MAX] = CROCUTA_POOL_MAX};
	cr_passes *passes = cr_calloc(1, sizeof *passes);
	int code = CROCUTA_OK;

	*out = NULL;
	if (passes) {
		passes->options = *options;
		passes->session = session;
		passes->plan = crocuta_session_get_plan(session);
		passes->request.layer = options->layer;
		passes->request.want_hidden = !options->scalar.kind;
		passes->request.want_logits = options->scalar.kind != 0;
		passes->request.user = passes;
		passes->pooling.kind = kinds[options->pool];
		passes->filling = &passes->batches[0];
		passes->active_job = passes->active_item = -1;
		passes->mark.digest = CR_DIGEST64;
	}
	if (!passes || allocate(passes)) {
		cr_passes_free(passes);
		return cr_fail(
			error, CROCUTA_EMEMORY, "no memory for %lld bytes of buffers",
			(long long)cr_passes_bytes(options, crocuta_session_get_plan(session)));
	}
	if (!options->stream)
		code = cr_worker_start(passes, error);
	if (code)
		cr_passes_free(passes);
	else
		*out = passes;
	return code;
}

void cr_passes_free(cr_passes *passes)
{
	if (!passes)
		return;
	cr_worker_stop(passes);
	for (int64_t i = 0; passes->jobs && i < passes->jobs_max; i++) {
		cr_free((void *)passes->jobs[i].contig);
		cr_free((void *)passes->jobs[i].name);
	}
	cr_bins_free(passes->bins);
	for (int i = 0; i < 2; i++) {
		cr_free(passes->batches[i].items);
		cr_free(passes->batches[i].sequences);
		cr_free(passes->batches[i].segments);
		cr_free(passes->batches[i].ends);
		cr_free(passes->batches[i].tokens);
	}
	cr_free(passes->jobs);
	cr_free(passes->tokens);
	cr_free(passes->letters);
	cr_free(passes->history);
	cr_free(passes);
}

/* Letters [start, end) of the job as token ids at out; counted where [count_start, count_end). */
int cr_passes_encode(cr_passes *passes, const cr_job *job, const cr_span *span,
		     const cr_span *counted, uint8_t *out, crocuta_error *error)
{
	int64_t cuts[4] = {span->start, cr_larger(span->start, counted->start),
			   cr_smaller(span->end, counted->end), span->end};
	char *letters = passes->letters;
	int code = job->fetch(job->user, span->start, span->end, letters, error);

	if (code)
		return code;
	if (cuts[1] > cuts[2])
		cuts[1] = cuts[2] = span->end;
	for (int part = 0; part < 3; part++) {
		int64_t from = cuts[part] - span->start, length = cuts[part + 1] - cuts[part], done;

		done = cr_tokens_encode(passes->options.vocabulary, letters + from, length,
					&passes->options.tokens, out + from,
					part == 1 ? &passes->counts.letters : NULL);
		if (done < length)
			return cr_fail(error, CROCUTA_EINPUT,
				       "\"%.100s\" base %lld: byte 0x%02x is not a nucleotide code",
				       job->contig, (long long)(cuts[part] + done + 1),
				       (unsigned char)letters[from + done]);
	}
	return CROCUTA_OK;
}

/* Does a window of so many tokens still go into the batch? */
static int has_room(const cr_passes *passes, int64_t length)
{
	const cr_batch *batch = passes->filling;

	return batch->item_count < passes->items_max &&
	       batch->tokens_used + length <= passes->tokens_wanted;
}

/* The segments of the window that is about to be added. */
static int add_segments(cr_passes *passes, const cr_item *item, crocuta_error *error)
{
	cr_batch *batch = passes->filling;
	crocuta_segments *segments = &batch->segments[batch->item_count];
	int64_t *ends = batch->ends + batch->ends_used;

	segments->ends = ends;
	segments->count = cr_reader_segments(passes, &item->reader,
					     cr_passes_job(passes, item->job), ends,
					     passes->ends_capacity - batch->ends_used);
	if (segments->count < 0)
		return cr_fail(error, CROCUTA_EINTERNAL, "bins are too small to be pooled");
	batch->ends_used += segments->count;
	return CROCUTA_OK;
}

void cr_passes_read(cr_passes *passes, const uint8_t *tokens, int64_t count)
{
	if (passes->options.marked)
		passes->mark.digest = cr_digest64_bulk(passes->mark.digest, tokens, (size_t)count);
}

int cr_passes_compare(const cr_passes *passes, crocuta_error *error)
{
	const cr_journal_mark *expected = &passes->options.expected;

	if (passes->mark.windows != expected->windows || passes->mark.digest == expected->digest ||
	    !expected->windows)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EREFUSED,
		       "\"%.100s\": these are not the bases that the earlier run has read; give the same "
		       "input, or remove the journal to begin anew",
		       cr_passes_job(passes, passes->job_count - 1)->contig);
}

/* What one window of a job needs to be read. */
typedef struct window_place {
	int64_t job;
	cr_window window;
	int reverse, last_of_job;
	int known; /* its rows are there: it is read and not computed */
} window_place;

/* Tokens of the window at `tokens`, and what they mean. */
static int read_window(cr_passes *passes, const window_place *place, uint8_t *tokens,
		       cr_reader *reader, crocuta_error *error)
{
	const cr_passes_options *options = &passes->options;
	const cr_job *job = cr_passes_job(passes, place->job);
	const cr_window *window = &place->window;
	const int64_t bases = window->end - window->start;
	cr_span span = {window->start, window->end}, counted = {0, 0};
	int code;

	*reader = (cr_reader){.reverse = place->reverse,
			      .start = window->start,
			      .end = window->end,
			      .lead = options->cls,
			      .length = bases + options->cls + options->sep,
			      .tokens = tokens,
			      .mask = INT64_MAX};
	reader->report.start = cr_larger(window->report_start, job->start);
	reader->report.end = cr_smaller(window->report_end, job->end);
	if (place->reverse == !cr_strand_used(options->strands, 0))
		counted = reader->report;
	if (options->cls)
		tokens[0] = (uint8_t)options->vocabulary->start;
	if (options->sep)
		tokens[reader->length - 1] = (uint8_t)options->vocabulary->end;
	code = cr_passes_encode(passes, job, &span, &counted, tokens + options->cls, error);
	if (code)
		return code;
	if (place->reverse)
		cr_tokens_reverse_complement(options->vocabulary, tokens + options->cls, bases);
	passes->mark.windows++;
	cr_passes_read(passes, tokens, reader->length);
	return cr_passes_compare(passes, error);
}

/* Read behind those of the batch, and not kept. */
static int pass_window(cr_passes *passes, const window_place *place, crocuta_error *error)
{
	cr_batch *batch = passes->filling;
	cr_reader reader;
	int code = read_window(passes, place, batch->tokens + batch->tokens_used, &reader, error);

	if (code)
		return code;
	passes->counts.tokens += reader.length;
	passes->counts.windows++;
	return CROCUTA_OK;
}

static int add_window(cr_passes *passes, const window_place *place, crocuta_error *error)
{
	const cr_passes_options *options = &passes->options;
	int64_t length = place->window.end - place->window.start + options->cls + options->sep;
	cr_batch *batch;
	cr_item *item;
	int code = has_room(passes, length) ? cr_worker_poll(passes, error)
					    : cr_worker_submit(passes, error);

	if (!code && place->known)
		return pass_window(passes, place, error);
	if (code)
		return code;
	batch = passes->filling;
	item = &batch->items[batch->item_count];
	item->job = place->job;
	item->last_of_job = place->last_of_job;
	item->tokens_before = batch->tokens_used;
	code = read_window(passes, place, batch->tokens + batch->tokens_used, &item->reader, error);
	if (code)
		return code;
	item->mark = passes->mark;
	cr_reader_report_from(passes, &item->reader);
	code = options->pooled ? add_segments(passes, item, error) : CROCUTA_OK;
	batch->tokens_used += length;
	batch->item_count++;
	return code;
}

/* Windows of both strands in the order in which their reported ranges start. `known`: rows of the bases
 * before that one are there. */
static int add_windows(cr_passes *passes, int64_t number, int64_t known, crocuta_error *error)
{
	const cr_passes_options *options = &passes->options;
	const cr_job *job = cr_passes_job(passes, number);
	strand_windows strand[2];
	int code = CROCUTA_OK;

	for (int reverse = 0; reverse < 2; reverse++)
		strand[reverse] = windows_of(options, job, reverse);
	if ((options->cls || options->sep) &&
	    (strand[0].end - strand[0].next > 1 || strand[1].end - strand[1].next > 1))
		return cr_fail(error, CROCUTA_EINPUT,
			       "record \"%.100s\" has %lld bases, more than the window of %lld: "
			       "--special-tokens needs whole records",
			       job->contig, (long long)job->end, (long long)options->window);
	passes->jobs[number % passes->jobs_max].from = known;
	while (!code && (strand[0].next < strand[0].end || strand[1].next < strand[1].end)) {
		window_place place = {.job = number};
		cr_window window[2];

		for (int reverse = 0; reverse < 2; reverse++)
			window[reverse] = cr_windows_get(&strand[reverse].grid, strand[reverse].next);
		if (strand[0].next == strand[0].end || strand[1].next == strand[1].end)
			place.reverse = strand[0].next == strand[0].end;
		else
			place.reverse = window[1].report_start < window[0].report_start;
		strand[place.reverse].next++;
		place.window = window[place.reverse];
		place.known = known >= job->to || place.window.report_end <= known;
		place.last_of_job = strand[0].next == strand[0].end && strand[1].next == strand[1].end;
		code = add_window(passes, &place, error);
	}
	return code;
}

/* Keep a copy of the job in the ring of those that still have windows waiting. */
static int keep_job(cr_passes *passes, const cr_job *job, crocuta_error *error)
{
	cr_job *kept = &passes->jobs[passes->job_count % passes->jobs_max];

	cr_free((void *)kept->contig);
	cr_free((void *)kept->name);
	*kept = *job;
	if (!kept->to) {
		kept->from = kept->start;
		kept->to = kept->end;
	}
	kept->contig = cr_strdup(job->contig);
	kept->name = job->name ? cr_strdup(job->name) : NULL;
	if (!kept->contig || (job->name && !kept->name))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a name");
	return CROCUTA_OK;
}

/* Base before which all rows of the job are known; its name and place are part of the input read. */
static int find_known(cr_passes *passes, const cr_job *job, int64_t *known, crocuta_error *error)
{
	const int64_t place[3] = {job->start, job->end, job->bin};
	int64_t rows;

	*known = job->from;
	if (!passes->options.marked)
		return CROCUTA_OK;
	cr_passes_read(passes, (const uint8_t *)job->contig, (int64_t)strlen(job->contig) + 1);
	cr_passes_read(passes, (const uint8_t *)place, sizeof place);
	rows = passes->options.known ? passes->options.known(passes->options.user, job, error) : 0;
	if (rows < 0)
		return (int)-rows;
	*known = cr_smaller(job->from + rows * job->bin, job->to);
	return CROCUTA_OK;
}

int cr_passes_add(cr_passes *passes, const cr_job *added, crocuta_error *error)
{
	const int64_t number = passes->job_count;
	const cr_job *job = cr_passes_job(passes, number);
	int code = keep_job(passes, added, error), earlier;
	int64_t known;

	if (code)
		return code;
	passes->job_count++;
	passes->counts.bases += job->to - job->from;
	code = find_known(passes, job, &known, error);
	if (code)
		return code;
	if (passes->options.stream)
		return cr_stream_run(passes, number, known, error);
	code = add_windows(passes, number, known, error);
	if (code && code != CROCUTA_ESTOPPED) {
		/* what is wrong with bases before these comes first */
		crocuta_error mine = *error;

		earlier = cr_worker_wait(passes, error);
		if (earlier)
			return earlier;
		*error = mine;
	}
	return code;
}

int cr_passes_wait(cr_passes *passes, crocuta_error *error)
{
	return passes->options.stream ? CROCUTA_OK : cr_worker_wait(passes, error);
}

int cr_passes_finish(cr_passes *passes, crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (!passes->options.stream)
		code = cr_worker_submit(passes, error);
	if (!code)
		code = cr_passes_wait(passes, error);
	if (!code && passes->mark.windows < passes->options.expected.windows)
		code = cr_fail(error, CROCUTA_EREFUSED,
			       "the input ends before what the earlier run has read of it; give the same "
			       "input, or remove the journal to begin anew");
	return code;
}

cr_passes_counts cr_passes_get_counts(const cr_passes *passes)
{
	cr_passes_counts counts = passes->counts;

	counts.model_seconds = passes->model_seconds;
	return counts;
}
