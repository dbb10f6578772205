/* score_resume.c - changes of a score run in its journal.
 *
 * A unit is what one change of one strand got, with the change's number in the run and a digest of
 * the tokens it was computed from. Changes of a batch come in any order, those of the next batch
 * after all of this one. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/provenance.h"
#include "task/score_internal.h"

typedef struct unit {
	int64_t number;
	uint64_t digest; /* of the window's tokens and the alternative's */
	int64_t compared, before;
	double llr, distance;
	int64_t masked;
} unit;
_Static_assert(sizeof(unit) <= sizeof((cr_score *)0)->next_unit, "a unit fits");

/* ---- opening --------------------------------------------------------------------------------- */

static json_t *make_binding(const cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	json_t *object =
		cr_resume_binding(cr_score_facts(score), &score->report->plan, o->shard, o->shards);

	if (!object)
		return NULL;
	json_object_set_new(
		object, "records",
		cr_provenance_text(o->ism ? o->ism : cr_provenance_file_name(o->input)));
	json_object_set_new(object, "regions", cr_provenance_text(o->regions ? o->regions : ""));
	json_object_set_new(object, "targets", cr_provenance_text(o->targets ? o->targets : ""));
	json_object_set_new(object, "max_indel", json_integer(o->max_indel));
	json_object_set_new(object, "max_n", json_real(o->max_n));
	return object;
}

int cr_score_open_journal(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	char path[4096];
	int code;

	score->binding = make_binding(score);
	if (!score->binding)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a journal");
	score->resume = (cr_resume){.options = &o->journal,
				    .verb = "score",
				    .output = o->output,
				    .inputs = {o->input, o->reference},
				    .units = "changes",
				    .command = o->command,
				    .binding = score->binding,
				    .unit_bytes = sizeof(unit),
				    .unasked = 1,
				    .log = o->log,
				    .user = o->user};
	code = cr_resume_open(&score->resume, score->error);
	for (int i = 0;
	     !code && score->resume.journal && !cr_score_file(o, score->type, i, path, sizeof path);
	     i++)
		cr_resume_clean(&score->resume, path);
	return code;
}

/* ---- digests --------------------------------------------------------------------------------- */

/* Tokens of the window that a change lies in, for the digest of all that share it. */
typedef struct reading {
	cr_score *score;
	uint8_t *tokens; /* (capacity) window, then alternative */
	int64_t capacity, window_bytes;
	uint64_t digest; /* of the window */
	const cr_score_change *last;
} reading;

static int make_room(reading *r, int64_t bytes)
{
	uint8_t *tokens;

	if (bytes <= r->capacity)
		return CROCUTA_OK;
	tokens = cr_realloc(r->tokens, (size_t)bytes, 1);
	if (!tokens)
		return cr_fail(r->score->error, CROCUTA_EMEMORY, "no memory for %lld tokens",
			       (long long)bytes);
	r->tokens = tokens;
	r->capacity = bytes;
	return CROCUTA_OK;
}

static int read_window(reading *r, const cr_score_change *change)
{
	const int64_t bases = change->placed.end - change->placed.start;
	int code;

	if (r->last && cr_score_same_window(r->last, change))
		return CROCUTA_OK;
	r->last = NULL;
	r->window_bytes = r->score->lead + bases;
	code = make_room(r, r->window_bytes);
	if (!code)
		code = cr_score_window_tokens(r->score, change, bases, r->tokens);
	if (!code)
		r->digest = cr_digest64_bulk(CR_DIGEST64, r->tokens, (size_t)r->window_bytes);
	return code;
}

static int digest_change(reading *r, cr_score_change *change)
{
	const int64_t count = change->placed.count;
	int code = read_window(r, change);

	if (!code)
		code = make_room(r, r->window_bytes + count);
	if (!code)
		code = cr_score_change_tokens(r->score, change, r->tokens + r->score->lead,
					      r->tokens + r->window_bytes);
	if (code)
		return code;
	r->last = change;
	change->digest = cr_digest64(r->digest, &change->allele.at, sizeof change->allele.at);
	change->digest =
		cr_digest64_bulk(change->digest, r->tokens + r->window_bytes, (size_t)count);
	return CROCUTA_OK;
}

static int digest_changes(cr_score *score, cr_score_batch *batch)
{
	reading r = {.score = score};
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < batch->order_count && !code; i++)
		code = digest_change(&r, &batch->changes[batch->order[i]]);
	cr_free(r.tokens);
	return code;
}

/* ---- taking over ----------------------------------------------------------------------------- */

/* The unit's change gets what it got before. */
static int take(cr_score *score, cr_score_batch *batch, const unit *u)
{
	const int64_t index = u->number - score->changes_before;
	cr_score_change *change;

	if (index < 0 || index >= batch->change_count)
		return cr_resume_fail_input(&score->resume, score->error);
	change = &batch->changes[index];
	if (change->same != index || change->placed.count <= 0 || change->digest != u->digest)
		return cr_resume_fail_input(&score->resume, score->error);
	change->compared = u->compared;
	change->before = u->before;
	change->llr = u->llr;
	change->distance = u->distance;
	change->masked = u->masked != 0;
	change->known = 1;
	return CROCUTA_OK;
}

/* What is known leaves the order of those to compute. */
static void leave_out(cr_score *score, cr_score_batch *batch)
{
	int64_t kept = 0;

	for (int64_t i = 0; i < batch->order_count; i++)
		if (!batch->changes[batch->order[i]].known)
			batch->order[kept++] = batch->order[i];
	score->report->resumed += batch->order_count - kept;
	atomic_fetch_add(&score->changes_done, batch->order_count - kept);
	batch->order_count = kept;
}

int cr_score_take_known(cr_score *score, cr_score_batch *batch)
{
	cr_journal *journal = score->resume.journal;
	int code;

	if (!journal)
		return CROCUTA_OK;
	code = digest_changes(score, batch);
	while (!code && (score->pending || cr_journal_unread(journal))) {
		unit u;

		if (!score->pending)
			code = cr_journal_read(journal, score->next_unit, 1, score->error);
		score->pending = 1;
		memcpy(&u, score->next_unit, sizeof u);
		if (!code && u.number >= score->changes_before + batch->change_count)
			break; /* of a later batch */
		score->pending = 0;
		if (!code)
			code = take(score, batch, &u);
	}
	if (code)
		return code;
	leave_out(score, batch);
	/* a batch was begun when the one before it was done: this is another input */
	return score->pending && batch->order_count
		       ? cr_resume_fail_input(&score->resume, score->error)
		       : CROCUTA_OK;
}

int cr_score_check_known(const cr_score *score)
{
	if (!score->resume.journal ||
	    (!score->pending && !cr_journal_unread(score->resume.journal)))
		return CROCUTA_OK;
	return cr_resume_fail_input(&score->resume, score->error);
}

/* ---- keeping --------------------------------------------------------------------------------- */

void cr_score_keep(cr_score *score, const cr_score_batch *batch, const cr_score_change *change)
{
	const cr_journal_mark mark = {0};
	unit u;

	if (!score->resume.journal)
		return;
	memset(&u, 0, sizeof u);
	u.number = score->changes_before + (change - batch->changes);
	u.digest = change->digest;
	u.compared = change->compared;
	u.before = change->before;
	u.llr = change->llr;
	u.distance = change->distance;
	u.masked = change->masked;
	cr_journal_append(score->resume.journal, &u, mark, 1);
}
