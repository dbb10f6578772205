/* score_plain.c - changes computed without shortcuts: both haplotypes of each, from the window's
 * start to the last compared position. Rows arrive in order and are summed as they come. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define CHANGES_MOST 64

/* One call of the session: sequence 2 i is the reference of change i, 2 i + 1 its alternative. */
typedef struct call {
	cr_score *score;
	cr_score_batch *batch;
	const int64_t *order; /* of the batch's changes, from the first of the call on */
	int64_t changes, bytes;
	uint8_t *tokens; /* (bytes) for each change both haplotypes and the flags */
	int64_t token_capacity;
	crocuta_sequence sequences[2 * CHANGES_MOST];
	const uint8_t *flags[CHANGES_MOST]; /* (T) is the position compared? */
	/* of the change whose rows arrive */
	cr_score_log_sum log_sum[2];
	cr_score_vector_sum vector_sum;
	float *block;
	double *totals[2];
} call;

/* Tokens of a haplotype. */
static int64_t sequence_length(const cr_score *score, const cr_score_change *change)
{
	return score->lead + change->allele.at - change->placed.start + change->placed.count;
}

static void measure(call *c, int64_t left)
{
	c->changes = c->bytes = 0;
	for (; c->changes < left && c->changes < CHANGES_MOST; c->changes++) {
		const cr_score_change *change = &c->batch->changes[c->order[c->changes]];
		const int64_t bytes = 2 * sequence_length(c->score, change) + change->placed.count;

		if (c->changes && c->bytes + bytes > CR_SCORE_CALL_BYTES)
			return;
		c->bytes += bytes;
	}
}

static int make_room(call *c)
{
	uint8_t *tokens;

	if (c->bytes <= c->token_capacity)
		return CROCUTA_OK;
	tokens = cr_realloc(c->tokens, (size_t)c->bytes, 1);
	if (!tokens)
		return cr_fail(c->score->error, CROCUTA_EMEMORY, "no memory for %lld tokens",
			       (long long)c->bytes);
	c->tokens = tokens;
	c->token_capacity = c->bytes;
	return CROCUTA_OK;
}

static int fill(call *c)
{
	uint8_t *out = c->tokens;
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < c->changes && !code; i++) {
		cr_score_change *change = &c->batch->changes[c->order[i]];
		const int64_t length = sequence_length(c->score, change);
		const int64_t lead = c->score->lead, count = change->placed.count;
		const int64_t at = length - count;
		uint8_t *reference = out, *alternative = out + length, *flags = out + 2 * length;

		code = cr_score_window_tokens(c->score, change, length - lead, reference);
		if (code)
			break;
		memcpy(alternative, reference, (size_t)at);
		code = cr_score_change_tokens(c->score, change, reference + lead, alternative + at);
		cr_score_look_back(c->score, reference + lead, change);
		change->compared =
			cr_score_compared(c->score, reference + at, alternative + at, count, flags);
		if (!at) { /* nothing predicts a first token */
			change->compared -= flags[0];
			flags[0] = 0;
		}
		c->flags[i] = flags;
		for (int k = 0; k < 2; k++)
			c->sequences[2 * i + k] = (crocuta_sequence){
				.tokens = k ? alternative : reference,
				.length = length,
				.report_from = at ? at - 1 : 0,
			};
		out += 2 * length + count;
		c->score->report->tokens += 2 * length;
	}
	return code;
}

/* The last row of a sequence was summed. */
static void finish(call *c, int64_t sequence)
{
	cr_score_change *change = &c->batch->changes[c->order[sequence / 2]];

	cr_score_vectors_finish(&c->vector_sum);
	if (sequence % 2 == 0)
		return;
	change->llr = cr_score_log_total(&c->log_sum[1]) - cr_score_log_total(&c->log_sum[0]);
	change->distance = cr_score_distance(c->totals[0], c->totals[1], c->score->info->width);
	cr_score_keep(c->score, c->batch, change);
	atomic_fetch_add(&c->score->changes_done, 1);
}

static int take_rows(void *user, int64_t index, int64_t first, int64_t count, const float *hidden,
		     const float *logits)
{
	call *c = user;
	const crocuta_sequence *sequence = &c->sequences[index];
	const cr_score_change *change = &c->batch->changes[c->order[index / 2]];
	const int64_t at = sequence->length - change->placed.count, side = index % 2;
	const int64_t skip = first < at ? at - first : 0; /* rows before the compared ones */
	int64_t scoring = sequence->length - 1 - first;   /* rows that score a compared position */

	scoring = scoring < count ? scoring : count;
	if (first == sequence->report_from) {
		c->log_sum[side] = (cr_score_log_sum){0, 1};
		cr_score_vectors_start(&c->vector_sum, c->score->info->width, c->block,
				       c->totals[side]);
	}
	if (scoring > 0)
		cr_score_add_logits(&c->log_sum[side], &c->score->softmax, logits,
				    sequence->tokens + first + 1,
				    c->flags[index / 2] + (first + 1 - at), scoring);
	if (skip < count)
		cr_score_vectors_add(&c->vector_sum, hidden + skip * c->score->info->width,
				     count - skip);
	if (first + count == sequence->length)
		finish(c, index);
	return cr_score_poll(c->score) ? CROCUTA_ESTOPPED : 0;
}

static int run(call *c)
{
	const crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = take_rows, .user = c};
	cr_score_batch *batch = c->batch;
	int code = CROCUTA_OK;

	for (int64_t done = 0; done < batch->order_count && !code; done += c->changes) {
		c->order = batch->order + done;
		measure(c, batch->order_count - done);
		code = make_room(c);
		if (!code)
			code = fill(c);
		if (!code)
			code = crocuta_session_run(c->score->session, c->sequences, 2 * c->changes,
						   &request, c->score->error);
		c->score->report->windows += 2 * c->changes;
		c->score->report->changes += c->changes;
	}
	return code;
}

int cr_score_compute_plain(cr_score *score, cr_score_batch *batch)
{
	const size_t width = (size_t)score->info->width;
	call *c = cr_calloc(1, sizeof *c);
	int code;

	if (!c)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for windows");
	c->score = score;
	c->batch = batch;
	c->block = cr_calloc(width, sizeof *c->block);
	c->totals[0] = cr_calloc(width, sizeof *c->totals[0]);
	c->totals[1] = cr_calloc(width, sizeof *c->totals[1]);
	if (c->block && c->totals[0] && c->totals[1])
		code = run(c);
	else
		code = cr_fail(score->error, CROCUTA_EMEMORY, "no memory for sums");
	cr_free(c->block);
	cr_free(c->totals[0]);
	cr_free(c->totals[1]);
	cr_free(c->tokens);
	cr_free(c);
	return code;
}
