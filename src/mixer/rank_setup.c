/* rank_setup.c - what a rank needs: bytes first, then the same list allocated; weights to the
 * device. */
#include "mixer/rank.h"

#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t aligned(int64_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Largest sizes over all layers. */
typedef struct sizes {
	int64_t rows, chunk, width;
	int64_t short_history, history, halo, state, inner;
	int64_t heads, kv_heads; /* of a group */
	int64_t kept;            /* numbers of a row that wait for the layer's end */
	int implicit;            /* there are such filters */
	int64_t group, kv;       /* numbers of a row of a group: queries; keys */
} sizes;

/* Bytes that one key-value head with its queries takes, all rows. */
static int64_t head_bytes(const cr_attention_weights *w, const cr_rank_options *o, int64_t rows)
{
	const int64_t a = cr_number_bytes(o->activation), r = cr_number_bytes(o->residual);
	const int64_t share = w->heads / w->kv_heads;

	if (o->ranks == 1)
		return rows * w->head_size * a * (share + 2);
	return rows * (w->head_size * a * (share + 4) + share * (w->head_size + 1) * r);
}

static void size_attention(sizes *s, const cr_stack_layer *layer, const cr_rank_options *o)
{
	const cr_attention_weights *w = &layer->attention;
	const int64_t share = w->heads / w->kv_heads;
	int64_t kv = o->group_bytes / larger(1, head_bytes(w, o, s->rows));

	kv = kv < 1 ? 1 : kv > w->kv_heads ? w->kv_heads : kv;
	if (s->kv_heads && s->kv_heads < kv)
		kv = s->kv_heads; /* one number of heads for all layers */
	s->kv_heads = kv;
	s->heads = larger(s->heads, kv * share);
	s->kept = larger(s->kept, w->heads * w->head_size);
	s->group = larger(s->group, kv * share * w->head_size);
	s->kv = larger(s->kv, kv * w->head_size);
}

static sizes sizes_of(const cr_stack *stack, const cr_rank_options *o)
{
	const cr_zigzag z = cr_rank_zigzag(o, o->max_length);
	sizes s = {.width = stack->width, .rows = cr_zigzag_most_rows(&z)};

	s.chunk = o->chunk < s.rows ? o->chunk : s.rows;
	s.chunk = larger(s.chunk, CR_CHUNK_LEAST); /* the rows in front of a segment */
	for (int64_t i = 0; i < stack->layers; i++) {
		const cr_stack_layer *layer = &stack->layer[i];
		int64_t filter = 0;

		s.inner = larger(s.inner, layer->w1.rows);
		if (layer->mixer == CR_MIXER_ATTENTION) {
			size_attention(&s, layer, o);
			continue;
		}
		if (layer->mixer == CR_MIXER_FIR)
			filter = layer->fir.length - 1;
		if (layer->mixer == CR_MIXER_IMPLICIT) {
			s.implicit = 1;
			s.kept = larger(s.kept, stack->width);
		}
		s.short_history = larger(s.short_history, layer->short_length - 1);
		s.history = larger(s.history, filter);
		s.halo = larger(s.halo, layer->short_length - 1 + filter);
		if (layer->mixer == CR_MIXER_MODAL)
			s.state = larger(s.state, stack->width * layer->modal.states *
							  (layer->modal.complex ? 2 : 1) *
							  (int64_t)sizeof(double));
	}
	return s;
}

/* ---- the list of arrays ---------------------------------------------------------------------- */

typedef struct item {
	size_t target; /* of the pointer in cr_rank */
	int64_t bytes; /* 0: not needed */
	int grows;     /* with the rows of a rank */
} item;

#define ITEMS_MOST 32

/* z, x2 and g are done with when the MLP starts: one piece of memory. */
static int64_t scratch_bytes(const sizes *s, int64_t a)
{
	const int64_t front = aligned((s->short_history + s->chunk) * 3 * s->width * a) +
			      aligned(s->chunk * s->width * a) +
			      aligned((s->history + s->chunk) * s->width * a);

	return larger(front, 2 * aligned(s->chunk * s->inner * a));
}

static int list_items(const cr_stack *stack, const cr_rank_options *o, const sizes *s, item *list)
{
	const int64_t a = cr_number_bytes(o->activation), r = cr_number_bytes(o->residual);
	const int64_t d = s->width, ranks = o->ranks, shared = ranks > 1;
	int n = 0;

#define ADD(field, size, with_rows) list[n++] = (item){offsetof(cr_rank, field), size, with_rows}
	ADD(tokens, s->rows, 1);
	ADD(residual, s->rows * d * r, 1);
	ADD(kept, s->rows * s->kept * a, 1);
	ADD(gated, s->implicit * s->rows * d * a, 1);
	ADD(query, s->rows * s->group * a, 1);
	ADD(key_value[0], 2 * s->rows * s->kv * a, 1);
	ADD(key_value[1], shared * 2 * s->rows * s->kv * a, 1);
	ADD(partial, shared * s->rows * s->group * r, 1);
	ADD(lse, shared * s->rows * s->heads * r, 1);
	ADD(normed, s->chunk * d * a, 0);
	ADD(inner, scratch_bytes(s, a), 0);
	ADD(carry_z, s->short_history * 3 * d * a, 0);
	ADD(carry_g, s->history * d * a, 0);
	ADD(tail, shared * 2 * s->halo * d * r, 0);
	ADD(tails, shared * ranks * 2 * s->halo * d * r, 0);
	ADD(before, shared * s->halo * d * r, 0);
	ADD(state, s->state, 0);
	ADD(local_state, shared * 2 * s->state, 0);
	ADD(states, shared * ranks * 2 * s->state, 0);
	ADD(hidden, s->chunk * d * r, 0);
	ADD(logits, s->chunk * stack->vocabulary * r, 0);
#undef ADD
	return n;
}

/* ---- weights --------------------------------------------------------------------------------- */

static void count_visit(void *user, const void **array, int64_t bytes)
{
	(void)array;
	*(int64_t *)user += aligned(bytes);
}

int64_t cr_rank_layer_bytes(const cr_stack *stack, int64_t index)
{
	cr_stack_layer layer = stack->layer[index];
	int64_t bytes = 0;

	cr_stack_layer_visit(stack, &layer, count_visit, &bytes);
	return bytes;
}

static int64_t largest_layer(const cr_stack *stack)
{
	int64_t largest = 0;

	for (int64_t i = 0; i < stack->layers; i++)
		largest = larger(largest, cr_rank_layer_bytes(stack, i));
	return largest;
}

static int64_t matrix_bytes(const cr_matrix *m)
{
	return aligned(m->rows * m->columns * cr_number_bytes(m->type));
}

static int is_tied(const cr_stack *stack)
{
	return stack->head.values == stack->embedding.values;
}

static int64_t ends_bytes(const cr_stack *stack)
{
	return matrix_bytes(&stack->embedding) + (is_tied(stack) ? 0 : matrix_bytes(&stack->head)) +
	       2 * aligned(stack->width * 4);
}

static int64_t weight_bytes(const cr_stack *stack, const cr_rank_options *o)
{
	int64_t bytes = ends_bytes(stack);

	if (!o->copied)
		return 0;
	for (int64_t i = 0; i < stack->layers; i += o->spread ? o->ranks : 1)
		bytes += o->spread ? largest_layer(stack) : cr_rank_layer_bytes(stack, i);
	return bytes + (o->spread ? largest_layer(stack) : 0);
}

static void point_visit(void *user, const void **array, int64_t bytes)
{
	char **next = user;

	*array = *next;
	*next += aligned(bytes);
}

void cr_rank_point_layer(const cr_stack *stack, cr_stack_layer *layer, void *slab)
{
	char *next = slab;

	cr_stack_layer_visit(stack, layer, point_visit, &next);
}

typedef struct copying {
	cr_rank *rank;
	char *next; /* on the device */
	int code;
	crocuta_error *error;
} copying;

static void copy_visit(void *user, const void **array, int64_t bytes)
{
	copying *c = user;

	if (!c->code)
		c->code = c->rank->ops->upload(c->rank->device, c->next, *array, bytes, c->error);
	*array = c->next;
	c->next += aligned(bytes);
}

static int copy_layers(cr_rank *rank, crocuta_error *error)
{
	const cr_rank_options *o = &rank->options;
	int code = 0;

	for (int64_t i = 0; !code && i < rank->stack->layers; i++) {
		copying c = {.rank = rank, .error = error};

		if (o->spread && i % o->ranks != rank->number)
			continue;
		code = rank->ops->allocate(rank->device, cr_rank_layer_bytes(rank->stack, i),
					   &rank->slab[i], error);
		c.next = rank->slab[i];
		if (!code)
			cr_stack_layer_visit(rank->stack, &rank->layer[i], copy_visit, &c);
		code = code ? code : c.code;
	}
	if (!code && o->spread)
		code = rank->ops->allocate(rank->device, largest_layer(rank->stack),
					   &rank->current_slab, error);
	return code;
}

/* One array of the ends; NULL stays NULL. */
static const void *copy_array(copying *c, const void *values, int64_t bytes)
{
	const void *array = values;

	if (values)
		copy_visit(c, &array, bytes);
	return array;
}

static int copy_ends(cr_rank *rank, crocuta_error *error)
{
	const cr_stack *stack = rank->stack;
	const cr_matrix *e = &stack->embedding, *h = &stack->head;
	copying c = {.rank = rank, .error = error};
	int code = rank->ops->allocate(rank->device, ends_bytes(stack), &rank->ends_slab, error);

	if (code)
		return code;
	c.next = rank->ends_slab;
	rank->embedding.values =
		copy_array(&c, e->values, e->rows * e->columns * cr_number_bytes(e->type));
	rank->head.values = is_tied(stack)
				    ? rank->embedding.values
				    : copy_array(&c, h->values,
						 h->rows * h->columns * cr_number_bytes(h->type));
	rank->final_norm.scale = copy_array(&c, stack->final_norm.scale, stack->width * 4);
	rank->final_norm.shift = copy_array(&c, stack->final_norm.shift, stack->width * 4);
	return c.code;
}

static int place_weights(cr_rank *rank, crocuta_error *error)
{
	const cr_stack *stack = rank->stack;
	int code;

	rank->layer = cr_calloc((size_t)stack->layers, sizeof *rank->layer);
	rank->slab = cr_calloc((size_t)stack->layers, sizeof *rank->slab);
	if (!rank->layer || !rank->slab)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the list of layers");
	memcpy(rank->layer, stack->layer, (size_t)stack->layers * sizeof *rank->layer);
	rank->embedding = stack->embedding;
	rank->head = stack->head;
	rank->final_norm = stack->final_norm;
	if (!rank->options.copied)
		return 0;
	code = copy_layers(rank, error);
	return code ? code : copy_ends(rank, error);
}

/* ---- plan, open, close ----------------------------------------------------------------------- */

cr_rank_bytes cr_rank_plan(const cr_stack *stack, const cr_rank_options *options)
{
	const sizes s = sizes_of(stack, options);
	cr_rank_bytes bytes = {.weights = weight_bytes(stack, options)};
	item list[ITEMS_MOST];
	const int count = list_items(stack, options, &s, list);

	for (int i = 0; i < count; i++)
		*(list[i].grows ? &bytes.sequence : &bytes.workspace) += aligned(list[i].bytes);
	return bytes;
}

/* The chunk's arrays inside of what was allocated as `inner`, rows of history skipped. */
static void place_scratch(cr_rank *rank, const sizes *s)
{
	const int64_t a = cr_rank_activation_bytes(rank), d = s->width;
	char *next = rank->inner;

	rank->other = rank->inner + aligned(s->chunk * s->inner * a);
	rank->z = next + s->short_history * 3 * d * a;
	next += aligned((s->short_history + s->chunk) * 3 * d * a);
	rank->x2 = next;
	next += aligned(s->chunk * d * a);
	rank->g = next + s->history * d * a;
}

int cr_rank_open(cr_rank *rank, const cr_rank_options *options, crocuta_error *error)
{
	const sizes s = sizes_of(rank->stack, options);
	item list[ITEMS_MOST];
	const int count = list_items(rank->stack, options, &s, list);
	int code;

	rank->options = *options;
	rank->options.chunk = s.chunk;
	rank->rows_most = s.rows;
	rank->kv_group = s.kv_heads;
	code = place_weights(rank, error);
	for (int i = 0; !code && i < count; i++)
		if (list[i].bytes)
			code = rank->ops->allocate(rank->device, list[i].bytes,
						   (void **)((char *)rank + list[i].target), error);
	if (!code)
		place_scratch(rank, &s);
	return code;
}

void cr_rank_close(cr_rank *rank)
{
	item list[ITEMS_MOST];
	const sizes none = {.width = 0};
	int count;

	if (!rank->stack)
		return;
	count = list_items(rank->stack, &rank->options, &none, list);
	for (int i = 0; rank->device && i < count; i++)
		rank->ops->release(rank->device, *(void **)((char *)rank + list[i].target));
	for (int64_t i = 0; rank->device && rank->slab && i < rank->stack->layers; i++)
		rank->ops->release(rank->device, rank->slab[i]);
	if (rank->device) {
		rank->ops->release(rank->device, rank->current_slab);
		rank->ops->release(rank->device, rank->ends_slab);
	}
	cr_free(rank->layer);
	cr_free(rank->slab);
	rank->layer = NULL;
	rank->slab = NULL;
	rank->stack = NULL;
}
