/* fir.c - layers whose filter has a few explicit taps: StripedHyena 2's short and medium ones.
 *
 * What the filters read of earlier rows is carried from chunk to chunk; the rows in front of a
 * segment come from their owner as residual stream and are projected again (docs/hybrids.md).
 */
#include "mixer/rank.h"

static int filter_chunk(cr_rank *rank, const cr_stack_layer *layer, int64_t row, int64_t count,
			crocuta_error *error)
{
	const cr_stack_fir arguments = {.weights = &layer->fir,
					.skip = layer->skip,
					.g = rank->g,
					.x2 = rank->x2,
					.y = rank->x2,
					.rows = count,
					.width = rank->stack->width};
	int code =
		cr_rank_front(rank, layer, cr_rank_residual(rank, row), count, CR_FRONT_ALL, error);

	if (!code)
		code = rank->ops->fir(rank->device, &arguments, error);
	if (!code)
		code = cr_rank_finish(rank, layer, rank->x2, rank->stack->width, row, count, error);
	return code;
}

int cr_mixer_fir(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const int64_t chunk = rank->options.chunk;
	int code = cr_rank_share_tails(rank, layer, error);

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (s.count)
			code = cr_rank_enter(rank, layer, &s, CR_FRONT_ALL, error);
		for (int64_t done = 0; !code && done < s.count; done += chunk)
			code = filter_chunk(rank, layer, s.offset + done,
					    s.count - done < chunk ? s.count - done : chunk, error);
	}
	return code;
}
