/* passes_stream.c - a job through a session's carried state, chunk by chunk.
 *
 * A job that does not start at its contig's start is given the model's full length of context. The
 * reverse strand goes first and its pooled rows wait in memory, because it ends where the rows to
 * write begin. */
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "task/passes_internal.h"

#define CHUNK 16384

static int64_t history_size(const crocuta_plan *plan)
{
	int64_t size = 1;

	while (size < CHUNK + 32 * plan->block + 2) /* rows lag behind by some blocks */
		size *= 2;
	return size;
}

int64_t cr_stream_buffer_bytes(const crocuta_plan *plan)
{
	return history_size(plan) + 2 * CHUNK + 2;
}

int cr_stream_allocate(cr_passes *passes)
{
	int64_t size = history_size(passes->plan);

	passes->chunk = CHUNK;
	passes->history_mask = size - 1;
	passes->history = cr_calloc((size_t)size, 1);
	passes->letters = cr_calloc(CHUNK, 1);
	passes->tokens = cr_calloc(CHUNK + 1, 1);
	return passes->history && passes->letters && passes->tokens ? 0 : -1;
}

cr_stream_span cr_stream_span_of(const crocuta_plan *plan, const cr_job *job, int reverse)
{
	cr_stream_span span = {job->start, job->end};
	int64_t context = plan->stream_context;

	if (reverse)
		span.end = context < job->contig_length - job->end ? job->end + context
								   : job->contig_length;
	else
		span.start = context < job->start ? job->start - context : 0;
	return span;
}

static int rows_of_stream(void *user, int64_t sequence, int64_t first, int64_t count,
			  const float *hidden, const float *logits)
{
	cr_passes *passes = user;
	int code = cr_reader_rows(passes, &passes->reader, first, count, hidden, logits);

	(void)sequence;
	if (!code)
		code = cr_passes_poll(passes, passes->counts.tokens + first + count);
	if (code == CROCUTA_EINTERNAL)
		cr_fail(passes->error, code, "rows of a stream came out of order");
	return code;
}

/* Tokens [from, from + count) of the reader's sequence into out and into the history. */
static int load(cr_passes *passes, const cr_job *job, int64_t from, int64_t count, uint8_t *out,
		crocuta_error *error)
{
	const cr_reader *reader = &passes->reader;
	cr_span span = {reader->start + from, reader->start + from + count};
	cr_span counted = {0, 0};
	int code;

	if (reader->reverse) {
		span.start = reader->end - from - count;
		span.end = reader->end - from;
	}
	if (reader->reverse == !cr_strand_used(passes->options.strands, 0))
		counted = reader->report;
	code = cr_passes_encode(passes, job, &span, &counted, out, error);
	if (code)
		return code;
	if (reader->reverse)
		cr_tokens_reverse_complement(passes->options.vocabulary, out, count);
	cr_passes_read(passes, out, count);
	for (int64_t i = 0; i < count; i++)
		passes->history[(from + i) & passes->history_mask] = out[i];
	return CROCUTA_OK;
}

/* `fed` tokens of the chunk through the session. */
static int feed(cr_passes *passes, int64_t fed, int last, crocuta_error *error)
{
	const double start = cr_wall_seconds();
	int code = crocuta_session_stream(passes->session, passes->tokens, fed, last, &passes->request,
					  error);

	passes->model_seconds += cr_wall_seconds() - start;
	return code;
}

/* compute 0: only read what an earlier run has computed. */
static int run_strand(cr_passes *passes, const cr_job *job, int reverse, int compute,
		      crocuta_error *error)
{
	cr_stream_span span = cr_stream_span_of(passes->plan, job, reverse);
	int64_t total = span.end - span.start, loaded = 0, carried = 0;
	int code;

	passes->reader = (cr_reader){.reverse = reverse,
				     .start = span.start,
				     .end = span.end,
				     .report = {job->start, job->end},
				     .length = total,
				     .tokens = passes->history,
				     .mask = passes->history_mask};
	crocuta_session_stream_reset(passes->session);
	passes->request.rows = rows_of_stream;
	while (loaded < total) {
		int64_t count = total - loaded < passes->chunk ? total - loaded : passes->chunk, fed;

		code = load(passes, job, loaded, count, passes->tokens + carried, error);
		if (code)
			return code;
		if (!loaded && compute)
			code = cr_reader_begin(passes, &passes->reader);
		loaded += count;
		/* one token stays behind: the row before it scores it */
		fed = carried + count - (loaded < total);
		if (!code)
			code = cr_passes_poll(passes, passes->counts.tokens + loaded - count);
		if (!code && compute)
			code = feed(passes, fed, loaded == total, error);
		if (code)
			return code;
		carried = loaded < total;
		if (carried)
			passes->tokens[0] = passes->tokens[fed];
	}
	passes->counts.tokens += total;
	passes->counts.windows++;
	return CROCUTA_OK;
}

int cr_stream_run(cr_passes *passes, int64_t number, int64_t known, crocuta_error *error)
{
	cr_job *job = &passes->jobs[number % passes->jobs_max];
	const int compute = known < job->to;
	int code = CROCUTA_OK;

	if (known > job->from && known < job->to) /* saves fall between contigs */
		return cr_fail(error, CROCUTA_EREFUSED,
			       "\"%.100s\": the journal ends inside this contig, so it is of another "
			       "input; give that one, or remove the journal to begin anew",
			       job->contig);
	passes->error = error;
	passes->active_job = -1; /* the ring holds one job */
	passes->mark.windows++;
	job->from = known;
	if (compute)
		code = cr_passes_activate(passes, number);
	else
		passes->active_job = number;
	if (code)
		return code;
	for (int reverse = 1; reverse >= 0 && !code; reverse--)
		if (cr_strand_used(passes->options.strands, reverse))
			code = run_strand(passes, cr_passes_active(passes), reverse, compute, error);
	if (!code && compute)
		code = cr_bins_flush(passes->bins, 1);
	if (code == CROCUTA_EINTERNAL)
		cr_fail(error, code, "a stream ended before its last row");
	return code ? code : cr_passes_compare(passes, error);
}
