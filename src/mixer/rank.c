/* rank.c - passes of one rank over a stack: chunks of rows, what is around the mixers, results. */
#include "mixer/rank.h"

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"

static cr_mixer_run *const mixers[] = {
#define CR_MIXER(name, constant) [constant] = cr_mixer_##name,
#include "mixer/mixers.def"
#undef CR_MIXER
};

cr_segment cr_rank_segment(const cr_rank *rank, int which)
{
	const cr_zigzag *z = &rank->zigzag;
	const int number = cr_zigzag_segment(z, rank->number, which);

	return (cr_segment){.number = number,
			    .start = cr_zigzag_start(z, number),
			    .offset = which ? cr_zigzag_count(z, rank->number) : 0,
			    .count = cr_zigzag_count(z, number)};
}

int cr_rank_wait(cr_rank *rank, crocuta_error *error)
{
	int code = 0;

	if (rank->comm && rank->comm->ops->settle)
		code = rank->comm->ops->settle(rank->comm, error);
	return code ? code : rank->ops->wait(rank->device, error);
}

/* ---- operators on chunks --------------------------------------------------------------------- */

int cr_rank_norm(cr_rank *rank, const cr_norm_weights *weights, const void *x, int64_t count,
		 crocuta_error *error)
{
	const cr_stack_norm arguments = {.kind = rank->stack->norm,
					 .epsilon = rank->stack->epsilon,
					 .weights = *weights,
					 .x = x,
					 .y = rank->normed,
					 .rows = count,
					 .width = rank->stack->width};

	return rank->ops->norm(rank->device, &arguments, error);
}

int cr_rank_linear(cr_rank *rank, const cr_matrix *matrix, const void *x, int64_t x_stride, void *y,
		   int64_t y_stride, int64_t count, int target, crocuta_error *error)
{
	const cr_stack_linear arguments = {.matrix = matrix,
					   .x = x,
					   .y = y,
					   .x_stride = x_stride,
					   .y_stride = y_stride,
					   .rows = count,
					   .target = target};

	return rank->ops->linear(rank->device, &arguments, error);
}

static int run_mlp(cr_rank *rank, const cr_stack_layer *layer, void *x, int64_t count,
		   crocuta_error *error)
{
	const int64_t width = rank->stack->width, inner = layer->w1.rows;
	const cr_stack_activate arguments = {.activation = layer->activation,
					     .a = rank->inner,
					     .b = layer->w2.values ? rank->other : NULL,
					     .y = rank->inner,
					     .count = count * inner};
	int code = cr_rank_norm(rank, &layer->norm2, x, count, error);

	if (!code)
		code = cr_rank_linear(rank, &layer->w1, rank->normed, width, rank->inner, inner,
				      count, CR_LINEAR_STORE, error);
	if (!code && layer->w2.values)
		code = cr_rank_linear(rank, &layer->w2, rank->normed, width, rank->other, inner,
				      count, CR_LINEAR_STORE, error);
	if (!code)
		code = rank->ops->activate(rank->device, &arguments, error);
	if (!code)
		code = cr_rank_linear(rank, &layer->w3, rank->inner, inner, x, width, count,
				      CR_LINEAR_ADD, error);
	return code;
}

int cr_rank_finish(cr_rank *rank, const cr_stack_layer *layer, const void *mixed, int64_t stride,
		   int64_t row, int64_t count, crocuta_error *error)
{
	void *x = cr_rank_residual(rank, row);
	int code = cr_rank_linear(rank, &layer->out, mixed, stride, x, rank->stack->width, count,
				  CR_LINEAR_ADD, error);

	return code ? code : run_mlp(rank, layer, x, count, error);
}

/* ---- projections and short filter ------------------------------------------------------------ */

/* Rows of z, and of g, that stand before a chunk in this layer. */
static int64_t short_history(const cr_stack_layer *layer)
{
	return layer->short_length - 1;
}

static int64_t filter_history(const cr_stack_layer *layer)
{
	return layer->mixer == CR_MIXER_FIR ? layer->fir.length - 1 : 0;
}

/* `rows` rows of `bytes` in front of array, from or into carry. */
static int bring(cr_rank *rank, char *array, const char *carry, int64_t rows, int64_t bytes,
		 crocuta_error *error)
{
	return rows ? rank->ops->copy(rank->device, array - rows * bytes, carry, rows * bytes,
				      error)
		    : 0;
}

static int carry(cr_rank *rank, const char *array, char *carry, int64_t rows, int64_t bytes,
		 int64_t count, crocuta_error *error)
{
	return rows ? rank->ops->copy(rank->device, carry, array + (count - rows) * bytes,
				      rows * bytes, error)
		    : 0;
}

int cr_rank_front(cr_rank *rank, const cr_stack_layer *layer, const void *x, int64_t count,
		  int parts, crocuta_error *error)
{
	const int64_t width = rank->stack->width, skipped = parts == 2 ? width : 0;
	const int64_t z_bytes = parts * width * cr_rank_activation_bytes(rank);
	const int64_t g_bytes = width * cr_rank_activation_bytes(rank);
	const int64_t z_rows = short_history(layer), g_rows = filter_history(layer);
	const cr_matrix in = cr_matrix_rows(&layer->in, skipped, parts * width);
	const cr_stack_front arguments = {.z = rank->z,
					  .parts = parts,
					  .taps = layer->short_taps + skipped * layer->short_length,
					  .bias = layer->short_bias ? layer->short_bias + skipped
								    : NULL,
					  .length = layer->short_length,
					  .x2 = parts == 3 ? rank->x2 : NULL,
					  .g = rank->g,
					  .rows = count,
					  .width = width};
	int code = cr_rank_norm(rank, &layer->norm1, x, count, error);

	if (!code)
		code = bring(rank, rank->z, rank->carry_z, z_rows, z_bytes, error);
	if (!code)
		code = cr_rank_linear(rank, &in, rank->normed, width, rank->z, parts * width, count,
				      CR_LINEAR_STORE, error);
	if (!code)
		code = rank->ops->front(rank->device, &arguments, error);
	if (!code)
		code = carry(rank, rank->z, rank->carry_z, z_rows, z_bytes, count, error);
	if (!code)
		code = bring(rank, rank->g, rank->carry_g, g_rows, g_bytes, error);
	if (!code)
		code = carry(rank, rank->g, rank->carry_g, g_rows, g_bytes, count, error);
	return code;
}

/* Rows of the residual that a segment of this layer needs from before it. */
static int64_t halo_of(const cr_stack_layer *layer)
{
	return short_history(layer) + filter_history(layer);
}

int cr_rank_share_tails(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const int64_t halo = halo_of(layer),
		      bytes = rank->stack->width * cr_rank_residual_bytes(rank);
	int code = 0;

	if (!rank->comm || !halo)
		return 0;
	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);
		const int64_t count = s.count < halo ? s.count : halo;

		if (count)
			code = rank->ops->copy(rank->device,
					       rank->tail + ((which + 1) * halo - count) * bytes,
					       cr_rank_residual(rank, s.offset + s.count - count),
					       count * bytes, error);
	}
	return code ? code
		    : cr_comm_all_gather(rank->comm, rank->tail, rank->tails, 2 * halo * bytes,
					 error);
}

/* The `count` rows in front of a segment, put together from the tails of the segments there. */
static int collect_before(cr_rank *rank, const cr_segment *segment, int64_t halo, int64_t count,
			  crocuta_error *error)
{
	const cr_zigzag *z = &rank->zigzag;
	const int64_t bytes = rank->stack->width * cr_rank_residual_bytes(rank);
	int code = 0;

	for (int s = segment->number - 1; !code && count > 0 && s >= 0; s--) {
		const int64_t owner = cr_zigzag_owner(z, s), slot = 2 * owner + (s >= z->ranks);
		int64_t here = cr_zigzag_count(z, s);

		here = here < count ? here : count;
		count -= here;
		if (here)
			code = rank->ops->copy(rank->device, rank->before + count * bytes,
					       rank->tails + ((slot + 1) * halo - here) * bytes,
					       here * bytes, error);
	}
	return code;
}

int cr_rank_enter(cr_rank *rank, const cr_stack_layer *layer, const cr_segment *segment, int parts,
		  crocuta_error *error)
{
	const int64_t row = rank->stack->width * cr_rank_activation_bytes(rank);
	const int64_t halo = halo_of(layer);
	const int64_t count = segment->start < halo ? segment->start : halo;
	int code = 0;

	if (short_history(layer))
		code = rank->ops->clear(rank->device, rank->carry_z, short_history(layer) * 3 * row,
					error);
	if (!code && filter_history(layer))
		code = rank->ops->clear(rank->device, rank->carry_g, filter_history(layer) * row,
					error);
	if (!code && count)
		code = collect_before(rank, segment, halo, count, error);
	for (int64_t done = 0; !code && done < count; done += rank->options.chunk) {
		const int64_t left = count - done;
		const char *x =
			rank->before + done * rank->stack->width * cr_rank_residual_bytes(rank);

		code = cr_rank_front(rank, layer, x,
				     left < rank->options.chunk ? left : rank->options.chunk, parts,
				     error);
	}
	return code;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Tokens of my rows to the device, their vectors into the residual stream. */
static int begin(cr_rank *rank, const uint8_t *tokens, crocuta_error *error)
{
	const cr_stack_embed arguments = {.table = &rank->embedding,
					  .tokens = rank->tokens,
					  .rows = cr_zigzag_rows(&rank->zigzag, rank->number),
					  .y = rank->residual};
	int code = 0;

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (s.count)
			code = rank->ops->upload(rank->device, rank->tokens + s.offset,
						 tokens + s.start, s.count, error);
	}
	return code || !arguments.rows ? code : rank->ops->embed(rank->device, &arguments, error);
}

/* Bring a layer's weights where they can be used. */
static int fetch_layer(cr_rank *rank, int64_t index, const cr_stack_layer **layer,
		       crocuta_error *error)
{
	const int owner = (int)(index % rank->options.ranks);
	void *slab = rank->slab[index];

	*layer = &rank->layer[index];
	if (!rank->options.spread)
		return 0;
	if (!slab) {
		slab = rank->current_slab;
		rank->current = rank->stack->layer[index];
		cr_rank_point_layer(rank->stack, &rank->current, slab);
		*layer = &rank->current;
	}
	return cr_comm_broadcast(rank->comm, owner, slab, cr_rank_layer_bytes(rank->stack, index),
				 error);
}

int cr_rank_forward(cr_rank *rank, const uint8_t *tokens, int64_t length, int64_t layers,
		    crocuta_error *error)
{
	int code;

	rank->zigzag = cr_rank_zigzag(&rank->options, length);
	code = begin(rank, tokens, error);
	for (int64_t i = 0; !code && i < layers; i++) {
		const double start = cr_wall_seconds();
		const int kind = rank->stack->layer[i].mixer;
		const cr_stack_layer *layer;

		code = fetch_layer(rank, i, &layer, error);
		if (!code)
			code = mixers[kind](rank, layer, error);
		if (!code)
			code = cr_rank_wait(rank, error);
		*(kind == CR_MIXER_ATTENTION ? &rank->mixing_seconds : &rank->local_seconds) +=
			cr_wall_seconds() - start;
	}
	return code;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Of rows that this rank owns, into hidden and logits of the device. */
static int compute_rows(cr_rank *rank, const cr_rank_rows *rows, int64_t row, crocuta_error *error)
{
	const int64_t width = rank->stack->width;
	const void *x = cr_rank_residual(rank, row);
	const cr_stack_norm arguments = {.kind = rank->stack->norm,
					 .epsilon = rank->stack->epsilon,
					 .weights = rank->final_norm,
					 .x = x,
					 .y = rank->hidden,
					 .wide = 1,
					 .rows = rows->count,
					 .width = width};
	int code = 0;

	if (rows->want_hidden && rows->raw)
		code = rank->ops->copy(rank->device, rank->hidden, x,
				       rows->count * width * cr_rank_residual_bytes(rank), error);
	else if (rows->want_hidden)
		code = rank->ops->norm(rank->device, &arguments, error);
	if (!code && rows->want_logits)
		code = cr_rank_norm(rank, &rank->final_norm, x, rows->count, error);
	if (!code && rows->want_logits)
		code = cr_rank_linear(rank, &rank->head, rank->normed, width, rank->logits,
				      rank->stack->vocabulary, rows->count, CR_LINEAR_WIDE, error);
	return code;
}

/* From the owner's device to rank 0's. */
static int send_rows(cr_rank *rank, const cr_rank_rows *rows, int owner, crocuta_error *error)
{
	const int64_t wide = rows->count * cr_rank_residual_bytes(rank);
	const int send = rank->number == owner, peer = send ? 0 : owner;
	const cr_transfer transfers[2] = {
		{peer, send, rank->hidden, rows->want_hidden ? wide * rank->stack->width : 0},
		{peer, send, rank->logits, rows->want_logits ? wide * rank->stack->vocabulary : 0}};
	int code = cr_comm_start(rank->comm, transfers, 2, error);

	return code ? code : cr_comm_wait(rank->comm, error);
}

/* count numbers of type R at `from` to float32 on the host. */
static int fetch(cr_rank *rank, float *to, const void *from, int64_t count, crocuta_error *error)
{
	const int64_t piece = 4096;
	double wide[4096];
	int code = 0;

	if (rank->options.residual == CR_NUMBER_F32)
		return rank->ops->download(rank->device, to, from, count * 4, error);
	for (int64_t i = 0; !code && i < count; i += piece) {
		const int64_t here = count - i < piece ? count - i : piece;

		code = rank->ops->download(rank->device, wide, (const char *)from + i * 8, here * 8,
					   error);
		for (int64_t j = 0; !code && j < here; j++)
			to[i + j] = (float)wide[j];
	}
	return code;
}

int cr_rank_output(cr_rank *rank, const cr_rank_rows *rows, crocuta_error *error)
{
	const cr_zigzag *z = &rank->zigzag;
	const double start = cr_wall_seconds();
	const int segment = (int)(rows->first / z->step), owner = cr_zigzag_owner(z, segment);
	int code = 0;

	if (rank->number == owner) {
		const cr_segment s = cr_rank_segment(rank, segment >= z->ranks);

		code = compute_rows(rank, rows, s.offset + rows->first - s.start, error);
	}
	if (!code && owner && (rank->number == owner || !rank->number))
		code = send_rows(rank, rows, owner, error);
	if (!code)
		code = cr_rank_wait(rank, error);
	if (!code && rows->hidden)
		code = fetch(rank, rows->hidden, rank->hidden, rows->count * rank->stack->width,
			     error);
	if (!code && rows->logits)
		code = fetch(rank, rows->logits, rank->logits,
			     rows->count * rank->stack->vocabulary, error);
	rank->head_seconds += cr_wall_seconds() - start;
	return code;
}
