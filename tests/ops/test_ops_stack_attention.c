/* test_ops_stack_attention.c - blocked causal attention on every device: whole, as partial results
 * that are merged, and as activations. */
#include "stack_cases.h"

/* What is asked for. */
enum want {
	PARTIAL, /* o and lse */
	DIRECT,  /* y, with o and lse NULL */
	BOTH     /* y of the last block, the others into o and lse */
};

#define BLOCKS 3

typedef struct attention_case {
	int64_t head_size, heads, kv_heads, rows, keys, q_first, k_first;
	int want;
	int blocks; /* of keys; the judge has one */
	int order[BLOCKS];
	double spread; /* of the scores; 0: 1 */
} attention_case;

/* Numbers between rows: a multiple of 16 bytes in any type for the sizes of heads that fast paths
 * are for, or not. */
static int64_t gap(const attention_case *c)
{
	return c->head_size < 64 || (c->want == DIRECT && c->rows < 40) ? 3 : 8;
}

/* q | k | v stand in one row, as a projection gives them, where rows and keys are the same. */
typedef struct operands {
	void *q, *k, *v;
	int64_t q_stride, k_stride;
} operands;

static operands upload_operands(side *s, const attention_case *c)
{
	const int64_t q_width = c->heads * c->head_size, k_width = c->kv_heads * c->head_size;
	const double scale = c->spread > 0 ? sqrt(c->spread) : 1;
	operands o = {.q_stride = q_width + gap(c), .k_stride = 2 * k_width + gap(c)};

	if (c->rows == c->keys) {
		o.q_stride = o.k_stride = q_width + 2 * k_width;
		o.q = random_input(s, ACTIVATION, c->rows * o.q_stride, scale, 1);
		o.k = at(s, ACTIVATION, o.q, q_width);
		o.v = at(s, ACTIVATION, o.k, k_width);
	} else {
		o.q = random_rows(s, ACTIVATION, c->rows, q_width, o.q_stride, 0, scale, 1);
		o.k = random_rows(s, ACTIVATION, c->keys, 2 * k_width, o.k_stride, 0, scale, 2);
		o.v = at(s, ACTIVATION, o.k, k_width);
	}
	return o;
}

/* All blocks of keys for query rows [from, from + rows). */
static void attend(side *s, const attention_case *c, const operands *p, int64_t from, int64_t rows,
		   void *o, void *lse, void *y, int64_t y_stride)
{
	const int blocks = s->judge || c->blocks < 2 ? 1 : c->blocks;

	for (int i = 0; i < blocks; i++) {
		const int b = blocks > 1 ? c->order[i] : 0;
		/* blocks of unlike sizes, the last of the largest */
		const int64_t low = c->keys * b * (b + 1) / (blocks * (blocks + 1));
		const int64_t high = c->keys * (b + 1) * (b + 2) / (blocks * (blocks + 1));
		const int last = i == blocks - 1;
		const cr_stack_attention a = {
			.q = at(s, ACTIVATION, p->q, from * p->q_stride),
			.k = at(s, ACTIVATION, p->k, low * p->k_stride),
			.v = at(s, ACTIVATION, p->v, low * p->k_stride),
			.q_stride = p->q_stride,
			.k_stride = p->k_stride,
			.v_stride = p->k_stride,
			.rows = rows,
			.keys = high - low,
			.heads = c->heads,
			.kv_heads = c->kv_heads,
			.head_size = c->head_size,
			.q_first = c->q_first + from,
			.k_first = c->k_first + low,
			.scale = 1 / sqrt((double)c->head_size),
			.o = o,
			.lse = lse,
			.first = i == 0,
			.y = last ? y : NULL,
			.y_stride = y_stride,
		};

		CALL(s, attention, &a);
	}
}

/* lse of one or two calls, each (heads, its rows), as one (heads, rows). */
static void collect_lse(side *s, results *r, const attention_case *c, void *const *lse, int64_t cut,
			tolerance allowed)
{
	double *joined = cr_calloc((size_t)(c->heads * c->rows + 1), sizeof *joined);
	results part = {0};

	assert_non_null(joined);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t rows = rows_of(i, c->rows, cut);

		collect(s, &part, "lse", RESIDUAL, lse[i], c->heads * rows, allowed);
		for (int64_t h = 0; h < c->heads; h++)
			for (int64_t l = 0; l < rows; l++)
				joined[h * c->rows + i * cut + l] =
					part.part[i].values[h * rows + l];
	}
	r->part[r->parts] = part.part[0];
	r->part[r->parts].count = c->heads * c->rows;
	r->part[r->parts++].values = joined;
	forget(&part);
}

static void run_attention(side *s, const void *arguments, int64_t cut, results *r)
{
	const attention_case *c = arguments;
	const int64_t width = c->heads * c->head_size, y_stride = width + gap(c);
	const int64_t y_count = c->rows ? (c->rows - 1) * y_stride + width : 0;
	const operands p = upload_operands(s, c);
	const double spread = c->spread > 0 ? c->spread : 1;
	/* scores of float32 are off by some 1e-7 of their size, and so are the weights; weights may
	 * be rounded where activations are bfloat16 */
	const tolerance of_o = {.f32 = 3e-6 * (1 + spread), .bf16 = 3e-2, .ulps = 2.2};
	const tolerance of_lse = {.f32 = 1e-6 * (1 + spread), .least = 1};
	void *o = c->want == DIRECT ? NULL : output(s, RESIDUAL, c->rows * width);
	void *y = c->want == PARTIAL ? NULL : output(s, ACTIVATION, y_count);
	void *lse[2] = {NULL, NULL};

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t rows = rows_of(i, c->rows, cut), from = i * cut;

		if (o)
			lse[i] = output(s, RESIDUAL, c->heads * rows);
		attend(s, c, &p, from, rows, o ? at(s, RESIDUAL, o, from * width) : NULL, lse[i],
		       y ? at(s, ACTIVATION, y, from * y_stride) : NULL, y_stride);
	}
	if (y) {
		collect(s, r, "y", ACTIVATION, y, y_count, of_o);
	} else {
		collect_lse(s, r, c, lse, cut, of_lse);
		collect(s, r, "o", RESIDUAL, o, c->rows * width, of_o);
	}
}

static void check_attention(const attention_case *c)
{
	char what[200];

	snprintf(what, sizeof what,
		 "attention %lld x %lld keys, %lld heads of %lld on %lld, from %lld and %lld, want "
		 "%d, "
		 "%d blocks %d%d%d, spread %g",
		 (long long)c->rows, (long long)c->keys, (long long)c->heads,
		 (long long)c->head_size, (long long)c->kv_heads, (long long)c->q_first,
		 (long long)c->k_first, c->want, c->blocks, c->order[0], c->order[1], c->order[2],
		 c->spread);
	hold_to_reference(run_attention, c, c->rows / 3, what);
}

/* Each size of heads with each kind of result, keys from nothing before the queries to all. */
static void one_block(void **state)
{
	static const int64_t sizes[] = {8, 20, 32, 64, 128};
	static const int64_t groups[][2] = {{1, 1}, {4, 2}, {6, 1}, {3, 3}};
	static const struct {
		int64_t rows, keys, q_first, k_first;
	} spans[] = {
		{1, 1, 0, 0},
		{7, 7, 0, 0},
		{129, 129, 0, 0},
		{1, 129, 128, 0},
		{33, 70, 100, 63},
		{70, 33, 10, 40},
		{5, 9, 5000000000, 4999999990},
		{7, 40, 3, 1000},
		{0, 5, 0, 0},
	};

	(void)state;
	for (size_t z = 0; z < COUNT(sizes); z++)
		for (size_t i = 0; i < COUNT(spans); i++)
			for (int want = PARTIAL; want <= BOTH; want++) {
				const size_t g = (z + i) % COUNT(groups);

				if (spans[i].rows > 99 && want != (int)z % 3)
					continue;
				check_attention(&(attention_case){
					.head_size = sizes[z],
					.heads = groups[g][0],
					.kv_heads = groups[g][1],
					.rows = spans[i].rows,
					.keys = spans[i].keys,
					.q_first = spans[i].q_first,
					.k_first = spans[i].k_first,
					.want = want,
				});
			}
	check_attention(&(attention_case){32, 2, 1, 300, 300, 0, 0, PARTIAL, 1, {0}, 0});
	check_attention(&(attention_case){128, 1, 1, 300, 500, 200, 0, DIRECT, 1, {0}, 0});
	check_attention(&(attention_case){64, 2, 2, 7, 2000, 1990, 0, DIRECT, 1, {0}, 0});
	check_attention(&(attention_case){8, 2, 2, 7, 0, 5, 0, PARTIAL, 1, {0}, 0});
}

/* Blocks of keys in any order, some of them visible to a few queries or none, are as one block. */
static void merged_blocks(void **state)
{
	static const int orders[][BLOCKS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	(void)state;
	for (int want = PARTIAL; want <= BOTH; want += BOTH) {
		for (size_t i = 0; i < COUNT(orders); i++) {
			attention_case c = {.head_size = i % 2 ? 20 : 32,
					    .heads = 4,
					    .kv_heads = i % 2 ? 4 : 2,
					    .rows = 50,
					    .keys = 130,
					    .q_first = 60,
					    .want = want,
					    .blocks = 3};

			memcpy(c.order, orders[i], sizeof c.order);
			check_attention(&c);
			c.rows = c.keys = 67;
			c.q_first = 0;
			check_attention(&c);
			if (i > 1)
				continue;
			c.head_size = 128;
			c.k_first = 30; /* queries before any key */
			check_attention(&c);
			c.spread = 100;
			check_attention(&c);
		}
		check_attention(&(attention_case){64, 2, 1, 40, 90, 50, 0, want, 2, {0, 1}, 0});
		check_attention(&(attention_case){64, 2, 1, 40, 90, 50, 0, want, 2, {1, 0}, 0});
		check_attention(&(attention_case){8, 1, 1, 1, 9, 4, 0, want, 2, {1, 0}, 0});
		check_attention(&(attention_case){8, 1, 1, 7, 9, 0, 50, want, 2, {1, 0}, 0});
	}
}

/* Scores whose exponentials overflow float32, and double: the largest is taken off first. */
static void large_scores(void **state)
{
	(void)state;
	for (int want = PARTIAL; want <= BOTH; want += BOTH) {
		check_attention(&(attention_case){32, 2, 1, 60, 60, 0, 0, want, 1, {0}, 100});
		check_attention(&(attention_case){64, 1, 1, 60, 90, 30, 0, want, 1, {0}, 2000});
		check_attention(
			&(attention_case){64, 1, 1, 60, 90, 30, 0, want, 3, {2, 0, 1}, 2000});
	}
}

/* o and lse after a call, in device numbers. */
typedef struct held {
	float o[64 * 24], lse[2 * 24];
} held;

static held download_held(side *s, const cr_stack_attention *a)
{
	held h = {0};
	crocuta_error error = {0};

	assert_int_equal(s->residual, CR_NUMBER_F32);
	assert_int_equal(s->ops->download(s->device, h.o, a->o,
					  4 * a->rows * a->heads * a->head_size, &error),
			 0);
	assert_int_equal(s->ops->download(s->device, h.lse, a->lse, 4 * a->heads * a->rows, &error),
			 0);
	return h;
}

/* A block that no query sees changes no bit, and what is merged into nothing is as if it came
 * first. */
static void blocks_without_keys(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++) {
		side *s = &sides[i][0];
		const attention_case c = {
			.head_size = 32, .heads = 2, .kv_heads = 2, .rows = 24, .keys = 24};
		cr_stack_attention a = {.rows = 24,
					.keys = 24,
					.heads = 2,
					.kv_heads = 2,
					.head_size = 32,
					.scale = 0.2,
					.first = 1};
		operands p;
		held before, after;

		if (!s->ops)
			continue;
		p = upload_operands(s, &c);
		a.q = p.q;
		a.k = p.k;
		a.v = p.v;
		a.q_stride = p.q_stride;
		a.k_stride = a.v_stride = p.k_stride;
		a.o = output(s, RESIDUAL, 24 * 64);
		a.lse = output(s, RESIDUAL, 2 * 24);
		CALL(s, attention, &a);
		before = download_held(s, &a);
		a.first = 0;
		a.k_first = 24;
		CALL(s, attention, &a);
		after = download_held(s, &a);
		assert_memory_equal(&before, &after, sizeof before);
		a.first = 1;
		CALL(s, attention, &a); /* nothing at all */
		after = download_held(s, &a);
		for (int j = 0; j < 24 * 64; j++)
			assert_true(after.o[j] == 0);
		for (int j = 0; j < 2 * 24; j++)
			assert_true(after.lse[j] == -INFINITY);
		a.first = 0;
		CALL(s, attention, &a); /* nothing into nothing */
		after = download_held(s, &a);
		assert_true(after.o[0] == 0 && after.lse[0] == -INFINITY);
		a.k_first = 0;
		CALL(s, attention, &a);
		after = download_held(s, &a);
		for (int j = 0; j < 24 * 64; j++)
			assert_true(fabsf(after.o[j] - before.o[j]) < 1e-6f);
		for (int j = 0; j < 2 * 24; j++)
			assert_true(fabsf(after.lse[j] - before.lse[j]) < 1e-5f);
		release_all(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_block),
		cmocka_unit_test(merged_blocks),
		cmocka_unit_test(large_scores),
		cmocka_unit_test(blocks_without_keys),
	};

	return cmocka_run_group_tests(tests, open_sides, close_sides);
}
