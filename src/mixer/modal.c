/* modal.c - layers whose long filter is a sum of exponentials: a scan with a carried state.
 *
 * h[c](t) = Re sum_n R_n p_n^t, so that a state of N numbers a channel stands for everything before
 * it, exactly: no FFT, nothing of size N x L. Over ranks each first scans its own segments from
 * zero,
 *
 *   S_s = sum over the segment's samples j of p^(length - 1 - j) g_j,
 *
 * all ranks get all S, and each folds those before its segments, E_(s+1) = p^length E_s + S_s, in
 * double.
 */
#include <stddef.h>

#include "mixer/rank.h"

static int scan(cr_rank *rank, const cr_stack_layer *layer, int64_t count, void *y,
		crocuta_error *error)
{
	const cr_stack_modal arguments = {.weights = &layer->modal,
					  .skip = layer->skip,
					  .g = rank->g,
					  .x2 = y ? rank->x2 : NULL,
					  .y = y,
					  .state = rank->state,
					  .rows = count,
					  .width = rank->stack->width};

	return rank->ops->modal(rank->device, &arguments, error);
}

static int64_t state_bytes(const cr_rank *rank, const cr_stack_layer *layer)
{
	return rank->stack->width * layer->modal.states * (layer->modal.complex ? 2 : 1) *
	       (int64_t)sizeof(double);
}

/* Through a segment from the state that stands in rank->state. keep: with results. */
static int scan_segment(cr_rank *rank, const cr_stack_layer *layer, const cr_segment *s, int keep,
			crocuta_error *error)
{
	const int64_t chunk = rank->options.chunk;
	const int parts = keep ? CR_FRONT_ALL : CR_FRONT_INPUT;
	int code = cr_rank_enter(rank, layer, s, parts, error);

	for (int64_t done = 0; !code && done < s->count; done += chunk) {
		const int64_t row = s->offset + done;
		const int64_t count = s->count - done < chunk ? s->count - done : chunk;

		code = cr_rank_front(rank, layer, cr_rank_residual(rank, row), count, parts, error);
		if (!code)
			code = scan(rank, layer, count, keep ? rank->x2 : NULL, error);
		if (!code && keep)
			code = cr_rank_finish(rank, layer, rank->x2, rank->stack->width, row, count,
					      error);
	}
	return code;
}

/* S of my two segments, and everybody's. */
static int share_states(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const int64_t bytes = state_bytes(rank, layer);
	int code = 0;

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		code = rank->ops->clear(rank->device, rank->state, bytes, error);
		if (!code && s.count)
			code = scan_segment(rank, layer, &s, 0, error);
		if (!code)
			code = rank->ops->copy(rank->device,
					       (char *)rank->local_state + which * bytes,
					       rank->state, bytes, error);
	}
	return code ? code
		    : cr_comm_all_gather(rank->comm, rank->local_state, rank->states, 2 * bytes,
					 error);
}

/* rank->state = E of a segment. */
static int fold_states(cr_rank *rank, const cr_stack_layer *layer, const cr_segment *segment,
		       crocuta_error *error)
{
	const cr_zigzag *z = &rank->zigzag;
	const int64_t bytes = state_bytes(rank, layer);
	int code = rank->ops->clear(rank->device, rank->state, bytes, error);

	for (int s = 0; !code && rank->comm && s < segment->number; s++) {
		const int owner = cr_zigzag_owner(z, s), which = s >= z->ranks;
		const cr_stack_modal_fold arguments = {
			.weights = &layer->modal,
			.length = cr_zigzag_count(z, s),
			.width = rank->stack->width,
			.local = (double *)((char *)rank->states + (2 * owner + which) * bytes),
			.state = rank->state};

		if (arguments.length)
			code = rank->ops->modal_fold(rank->device, &arguments, error);
	}
	return code;
}

int cr_mixer_modal(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	int code = cr_rank_share_tails(rank, layer, error);

	if (!code && rank->comm)
		code = share_states(rank, layer, error);
	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (s.count)
			code = fold_states(rank, layer, &s, error);
		if (!code && s.count)
			code = scan_segment(rank, layer, &s, 1, error);
	}
	return code;
}
