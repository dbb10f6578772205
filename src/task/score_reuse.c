/* score_reuse.c - changes computed by crocuta_session_changes: every window once, of every change
 * only what follows its first difference. Windows are gathered so that short ones run side by side.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define WINDOWS_MOST 64

/* One call of the session. */
typedef struct call {
	cr_score *score;
	cr_score_batch *batch;
	const int64_t *order; /* of the batch's changes, from the first of the call on */
	int64_t windows, changes, bytes;
	uint8_t *tokens; /* (bytes) windows, then changes */
	crocuta_changed_sequence sequences[WINDOWS_MOST];
	int64_t first[WINDOWS_MOST]; /* change of each window, counted in the call */
	crocuta_change *items;       /* (changes) */
	int64_t token_capacity, item_capacity;
} call;

/* How many changes from `order` on fit: into windows, changes and bytes of the call. */
static void measure(call *c, int64_t left)
{
	const cr_score_change *last = NULL;

	c->windows = c->changes = c->bytes = 0;
	for (; c->changes < left; c->changes++) {
		const cr_score_change *change = &c->batch->changes[c->order[c->changes]];
		const int is_new = !last || !cr_score_same_window(last, change);
		int64_t bytes = change->placed.count;

		if (is_new)
			bytes += c->score->lead + change->placed.end - change->placed.start;
		if (c->changes && ((is_new && c->windows == WINDOWS_MOST) ||
				   c->bytes + bytes > CR_SCORE_CALL_BYTES))
			return;
		c->windows += is_new;
		c->bytes += bytes;
		last = change;
	}
}

static int make_room(call *c)
{
	if (c->bytes > c->token_capacity) {
		uint8_t *tokens = cr_realloc(c->tokens, (size_t)c->bytes, 1);

		if (!tokens)
			return cr_fail(c->score->error, CROCUTA_EMEMORY,
				       "no memory for %lld tokens", (long long)c->bytes);
		c->tokens = tokens;
		c->token_capacity = c->bytes;
	}
	if (c->changes > c->item_capacity) {
		crocuta_change *items = cr_realloc(c->items, (size_t)c->changes, sizeof *c->items);

		if (!items)
			return cr_fail(c->score->error, CROCUTA_EMEMORY,
				       "no memory for %lld changes", (long long)c->changes);
		c->items = items;
		c->item_capacity = c->changes;
	}
	return CROCUTA_OK;
}

/* Tokens of the call's windows and changes. */
static int fill(call *c)
{
	const int64_t lead = c->score->lead;
	crocuta_changed_sequence *sequence = NULL;
	const cr_score_change *last = NULL;
	uint8_t *out = c->tokens;
	int64_t window = -1;
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < c->changes && !code; i++) {
		cr_score_change *change = &c->batch->changes[c->order[i]];
		const cr_placed *placed = &change->placed;

		if (!last || !cr_score_same_window(last, change)) {
			window++;
			c->first[window] = i;
			sequence = &c->sequences[window];
			*sequence = (crocuta_changed_sequence){
				.tokens = out,
				.length = lead + placed->end - placed->start,
				.changes = c->items + i,
			};
			code = cr_score_window_tokens(c->score, change, placed->end - placed->start,
						      out);
			out += sequence->length;
			c->score->report->tokens += sequence->length;
		}
		if (code)
			break;
		c->items[i] = (crocuta_change){
			.at = lead + change->allele.at - placed->start,
			.length = placed->count,
			.tokens = out,
		};
		sequence->count++;
		cr_score_look_back(c->score, sequence->tokens + lead, change);
		code = cr_score_change_tokens(c->score, change, sequence->tokens + lead, out);
		out += placed->count;
		c->score->report->tokens += placed->count;
		last = change;
	}
	return code;
}

/* From any thread of the session. */
static int take_rows(void *user, const crocuta_change_rows *rows)
{
	call *c = user;
	const crocuta_changed_sequence *sequence = &c->sequences[rows->sequence];
	const crocuta_change *change = &sequence->changes[rows->change];
	cr_score_change *scored =
		&c->batch->changes[c->order[c->first[rows->sequence] + rows->change]];
	const cr_score_rows both = {
		.count = rows->count,
		.before = rows->before,
		.reference_hidden = rows->reference_hidden,
		.hidden = rows->hidden,
		.reference_logits = rows->reference_logits,
		.logits = rows->logits,
		.reference_tokens = sequence->tokens + change->at,
		.tokens = change->tokens,
	};

	cr_score_change_rows(c->score, &both, scored);
	cr_score_keep(c->score, c->batch, scored);
	atomic_fetch_add_explicit(&c->score->changes_done, 1, memory_order_relaxed);
	return rows->on_caller && cr_score_poll(c->score) ? CROCUTA_ESTOPPED : 0;
}

int cr_score_compute_reuse(cr_score *score, cr_score_batch *batch)
{
	call *c = cr_calloc(1, sizeof *c);
	int code = CROCUTA_OK;

	if (!c)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for windows");
	c->score = score;
	c->batch = batch;
	for (int64_t done = 0; done < batch->order_count && !code; done += c->changes) {
		c->order = batch->order + done;
		measure(c, batch->order_count - done);
		code = make_room(c);
		if (!code)
			code = fill(c);
		if (!code)
			code = crocuta_session_changes(score->session, c->sequences, c->windows,
						       take_rows, c, score->error);
		score->report->windows += c->windows;
		score->report->changes += c->changes;
	}
	cr_free(c->tokens);
	cr_free(c->items);
	cr_free(c);
	return code;
}
