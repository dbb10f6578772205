/* attention.c - layers of causal attention, over one rank or in a ring (Liu et al. 2023, Ring
 * Attention).
 *
 * Heads go in groups, so that queries, keys and values of all rows exist for a few heads at a time.
 * In step s of P a rank holds the keys and values that rank r - s owns, and passes them on while it
 * computes with them; partial results (o, l) stay in float32 and are merged as they come. Segments
 * are in zigzag order: against an earlier rank's keys all queries see its first segment, against a
 * later one's the second segment of queries sees both, so that every step is the same work for
 * every rank.
 */
#include <stddef.h>

#include "mixer/rank.h"

/* A group of heads in progress. */
typedef struct group {
	const cr_stack_layer *layer;
	int64_t head, heads, kv_head, kv_heads; /* first, count */
	int64_t width, kv_width;                /* numbers of a row */
} group;

static group group_of(const cr_rank *rank, const cr_stack_layer *layer, int64_t kv_head)
{
	const cr_attention_weights *w = &layer->attention;
	const int64_t left = w->kv_heads - kv_head, share = w->heads / w->kv_heads;
	group g = {.layer = layer, .kv_head = kv_head, .head = kv_head * share};

	g.kv_heads = left < rank->kv_group ? left : rank->kv_group;
	g.heads = g.kv_heads * share;
	g.width = g.heads * w->head_size;
	g.kv_width = g.kv_heads * w->head_size;
	return g;
}

/* Values stand behind the keys of all rows that a rank can have: one message carries both. */
static char *values_of(const cr_rank *rank, const group *g, char *keys)
{
	return keys + rank->rows_most * g->kv_width * cr_rank_activation_bytes(rank);
}

static int rotate(cr_rank *rank, const group *g, char *x, int64_t width, int64_t heads, int64_t row,
		  int64_t count, int64_t position, crocuta_error *error)
{
	const cr_stack_rope arguments = {.weights = &g->layer->attention,
					 .x = x + row * width * cr_rank_activation_bytes(rank),
					 .stride = width,
					 .rows = count,
					 .heads = heads,
					 .first = position};

	return g->layer->attention.rotary_size ? rank->ops->rope(rank->device, &arguments, error)
					       : 0;
}

/* Rows [from, from + rows) of the projection, of chunk rows, to x. */
static int project(cr_rank *rank, const group *g, int64_t from, int64_t rows, char *x, int64_t row,
		   int64_t count, crocuta_error *error)
{
	const cr_matrix part = cr_matrix_rows(&g->layer->in, from, rows);

	return cr_rank_linear(rank, &part, rank->normed, rank->stack->width,
			      x + row * rows * cr_rank_activation_bytes(rank), rows, count,
			      CR_LINEAR_STORE, error);
}

static int project_chunk(cr_rank *rank, const group *g, int64_t row, int64_t count,
			 int64_t position, crocuta_error *error)
{
	const cr_attention_weights *w = &g->layer->attention;
	const int64_t size = w->head_size, keys = w->heads * size + g->kv_head * size;
	char *key = rank->key_value[0];
	int code = cr_rank_norm(rank, &g->layer->norm1, cr_rank_residual(rank, row), count, error);

	if (!code)
		code = project(rank, g, g->head * size, g->width, rank->query, row, count, error);
	if (!code)
		code = project(rank, g, keys, g->kv_width, key, row, count, error);
	if (!code)
		code = project(rank, g, keys + w->kv_heads * size, g->kv_width,
			       values_of(rank, g, key), row, count, error);
	if (!code)
		code = rotate(rank, g, rank->query, g->width, g->heads, row, count, position,
			      error);
	if (!code)
		code = rotate(rank, g, key, g->kv_width, g->kv_heads, row, count, position, error);
	return code;
}

/* Queries, keys and values of a group, all rows of the rank. */
static int project_group(cr_rank *rank, const group *g, crocuta_error *error)
{
	const int64_t chunk = rank->options.chunk;
	int code = 0;

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		for (int64_t done = 0; !code && done < s.count; done += chunk)
			code = project_chunk(rank, g, s.offset + done,
					     s.count - done < chunk ? s.count - done : chunk,
					     s.start + done, error);
	}
	return code;
}

/* Queries of one of my segments against the keys of one of a rank's. */
typedef struct pair {
	int query, key;  /* which: 0 or 1 */
	int source;      /* rank */
	int first, last; /* that these queries meet */
} pair;

static int segment_number(const cr_rank *rank, int owner, int which)
{
	return cr_zigzag_segment(&rank->zigzag, owner, which);
}

static int is_visible(const cr_rank *rank, int query, int source, int key)
{
	const int number = segment_number(rank, source, key);

	return number <= segment_number(rank, rank->number, query) &&
	       cr_zigzag_count(&rank->zigzag, number) > 0;
}

/* The next pair in the order of the ring, or 0. Steps: sources r, r - 1, ... */
static int find_pair(const cr_rank *rank, int query, int from_step, int from_key, int *step,
		     int *key)
{
	const int ranks = rank->options.ranks;

	for (int s = from_step; s < ranks; s++)
		for (int k = s == from_step ? from_key : 0; k < 2; k++)
			if (is_visible(rank, query, (rank->number - s + ranks) % ranks, k)) {
				*step = s;
				*key = k;
				return 1;
			}
	return 0;
}

static int attend(cr_rank *rank, const group *g, const pair *p, char *keys, crocuta_error *error)
{
	const cr_attention_weights *w = &g->layer->attention;
	const cr_segment mine = cr_rank_segment(rank, p->query);
	const int number = segment_number(rank, p->source, p->key);
	const int64_t first = p->key ? cr_zigzag_count(&rank->zigzag, p->source) : 0;
	const int64_t bytes = cr_rank_activation_bytes(rank), total = w->heads * w->head_size;
	const int64_t wide = cr_rank_residual_bytes(rank);
	const cr_stack_attention arguments = {
		.q = rank->query + mine.offset * g->width * bytes,
		.k = keys + first * g->kv_width * bytes,
		.v = values_of(rank, g, keys) + first * g->kv_width * bytes,
		.q_stride = g->width,
		.k_stride = g->kv_width,
		.v_stride = g->kv_width,
		.rows = mine.count,
		.keys = cr_zigzag_count(&rank->zigzag, number),
		.heads = g->heads,
		.kv_heads = g->kv_heads,
		.head_size = w->head_size,
		.q_first = mine.start,
		.k_first = cr_zigzag_start(&rank->zigzag, number),
		.scale = w->scale,
		.o = rank->partial ? rank->partial + mine.offset * g->width * wide : NULL,
		.lse = rank->lse ? rank->lse + mine.offset * g->heads * wide : NULL,
		.first = p->first,
		.y = p->last ? rank->kept + (mine.offset * total + g->head * w->head_size) * bytes
			     : NULL,
		.y_stride = total};

	return rank->ops->attention(rank->device, &arguments, error);
}

/* All pairs of one step. */
static int attend_step(cr_rank *rank, const group *g, int step, char *keys, crocuta_error *error)
{
	const int ranks = rank->options.ranks, source = (rank->number - step + ranks) % ranks;
	int code = 0;

	for (int query = 0; !code && query < 2; query++) {
		if (!cr_rank_segment(rank, query).count)
			continue;
		for (int key = 0; !code && key < 2; key++) {
			pair p = {.query = query, .key = key, .source = source};
			int s, k;

			if (!is_visible(rank, query, source, key))
				continue;
			p.first = find_pair(rank, query, 0, 0, &s, &k) && s == step && k == key;
			p.last = !find_pair(rank, query, step, key + 1, &s, &k);
			code = attend(rank, g, &p, keys, error);
		}
	}
	return code;
}

static int ring(cr_rank *rank, const group *g, crocuta_error *error)
{
	const int ranks = rank->options.ranks;
	const int64_t bytes = 2 * rank->rows_most * g->kv_width * cr_rank_activation_bytes(rank);
	int code = 0;

	for (int step = 0; !code && step < ranks; step++) {
		char *now = rank->key_value[step % 2], *next = rank->key_value[(step + 1) % 2];
		const int pass = step + 1 < ranks;
		const cr_transfer transfers[2] = {
			{.peer = (rank->number + 1) % ranks,
			 .send = 1,
			 .data = now,
			 .bytes = bytes},
			{.peer = (rank->number + ranks - 1) % ranks, .data = next, .bytes = bytes}};

		if (pass)
			code = cr_comm_start(rank->comm, transfers, 2, error);
		if (!code)
			code = attend_step(rank, g, step, now, error);
		if (!code && pass)
			code = cr_comm_wait(rank->comm, error);
	}
	return code;
}

int cr_mixer_attention(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const cr_attention_weights *w = &layer->attention;
	const int64_t chunk = rank->options.chunk, total = w->heads * w->head_size;
	int code = 0;

	for (int64_t kv = 0; !code && kv < w->kv_heads; kv += rank->kv_group) {
		const group g = group_of(rank, layer, kv);

		code = project_group(rank, &g, error);
		if (!code)
			code = ring(rank, &g, error);
	}
	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		for (int64_t done = 0; !code && done < s.count; done += chunk)
			code = cr_rank_finish(rank, layer,
					      rank->kept + (s.offset + done) * total *
								   cr_rank_activation_bytes(rank),
					      total, s.offset + done,
					      s.count - done < chunk ? s.count - done : chunk,
					      error);
	}
	return code;
}
