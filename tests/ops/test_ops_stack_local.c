/* test_ops_stack_local.c - operators on stacks that look at one row, on every device: token
 * vectors, norms, matrix products, rotation, activations. */
#include "stack_cases.h"

static const int64_t widths[] = {1, 15, 32, 96, 130};
static const int64_t heights[] = {0, 1, 7, 129, 300};

typedef struct embed_case {
	int type;
	int64_t rows, width;
} embed_case;

static void run_embed(side *s, const void *arguments, int64_t cut, results *r)
{
	const embed_case *c = arguments;
	const cr_matrix table = random_matrix(s, c->type, 16, c->width, 0, 1);
	uint8_t tokens[300], *device_tokens;
	void *y = output(s, RESIDUAL, c->rows * c->width);

	for (int i = 0; i < 300; i++)
		tokens[i] = (uint8_t)(i * 7 % 16);
	device_tokens = upload_bytes(s, tokens, c->rows);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_embed a = {&table, device_tokens + i * cut, rows_of(i, c->rows, cut),
					  at(s, RESIDUAL, y, i * cut * c->width)};

		CALL(s, embed, &a);
	}
	collect(s, r, "y", RESIDUAL, y, c->rows * c->width, (tolerance){0});
}

static void embed(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t h = 0; h < COUNT(heights); h++)
			for (int type = CR_NUMBER_F32; type <= CR_NUMBER_BF16; type++) {
				const embed_case c = {type, heights[h], widths[w]};
				char what[100];

				snprintf(what, sizeof what, "embed %lld x %lld of type %d",
					 (long long)c.rows, (long long)c.width, type);
				hold_to_reference(run_embed, &c, c.rows / 3, what);
			}
}

typedef struct norm_case {
	int kind, wide, shift;
	int64_t rows, width;
	double epsilon, scale; /* of x */
} norm_case;

/* Every third row is a millionth of the others: epsilon rules there. */
static void run_norm(side *s, const void *arguments, int64_t cut, results *r)
{
	const norm_case *c = arguments;
	const int64_t count = c->rows * c->width;
	const int type = c->wide ? RESIDUAL : ACTIVATION;
	float *values = random_values(count, c->scale, 2);
	const cr_norm_weights weights = {
		random_input(s, CR_NUMBER_F32, c->width, 1, 3),
		c->shift ? random_input(s, CR_NUMBER_F32, c->width, 1, 4) : NULL,
	};
	void *x, *y = output(s, type, count);

	for (int64_t i = 0; i < count; i++)
		values[i] =
			(i / c->width) % 3 ? values[i] + 0.3f * (float)c->scale : 3e-6f * values[i];
	x = array_of(s, RESIDUAL, values, count, 0);
	cr_free(values);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t from = i * cut * c->width;
		const cr_stack_norm a = {
			.kind = c->kind,
			.epsilon = c->epsilon,
			.weights = weights,
			.x = at(s, RESIDUAL, x, from),
			.y = at(s, type, y, from),
			.wide = c->wide,
			.rows = rows_of(i, c->rows, cut),
			.width = c->width,
		};

		CALL(s, norm, &a);
	}
	collect(s, r, "y", type, y, count, (tolerance){.f32 = 4e-6});
}

static void check_norm(const norm_case *c)
{
	char what[120];

	snprintf(what, sizeof what, "norm %d, %lld x %lld, wide %d, shift %d, epsilon %g", c->kind,
		 (long long)c->rows, (long long)c->width, c->wide, c->shift, c->epsilon);
	hold_to_reference(run_norm, c, c->rows / 3, what);
}

static void norms(void **state)
{
	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t h = 0; h < COUNT(heights); h++)
			for (int i = 0; i < 8; i++) {
				const norm_case c = {i & 1 ? CR_NORM_RMS : CR_NORM_LAYER,
						     i & 2,
						     i & 4,
						     heights[h],
						     widths[w],
						     i & 1 ? 1e-6 : 1e-5,
						     1};

				check_norm(&c);
			}
	for (int kind = CR_NORM_LAYER; kind <= CR_NORM_RMS; kind++) {
		check_norm(&(norm_case){kind, 0, 0, 5, 4096, 1e-6, 1});
		check_norm(&(norm_case){kind, 1, 1, 5, 4096, 1e-6, 1e4});
		check_norm(&(norm_case){kind, 0, 0, 5, 96, 1e-6, 1e-5});
	}
}

typedef struct linear_case {
	int type, bias, target;
	int64_t rows, in, out, x_gap, y_gap;
} linear_case;

static void run_linear(side *s, const void *arguments, int64_t cut, results *r)
{
	const linear_case *c = arguments;
	const int to = c->target == CR_LINEAR_STORE ? ACTIVATION : RESIDUAL;
	const int64_t x_stride = c->in + c->x_gap, y_stride = c->out + c->y_gap;
	const int64_t count = c->rows ? (c->rows - 1) * y_stride + c->out : 0;
	const cr_matrix matrix = random_matrix(s, c->type, c->out, c->in, c->bias, 5);
	void *x = random_rows(s, ACTIVATION, c->rows, c->in, x_stride, 0, 1, 7);
	void *y = c->target == CR_LINEAR_ADD
			  ? random_rows(s, to, c->rows, c->out, y_stride, 1, 1, 8)
			  : output(s, to, count);
	/* float32 weights may be rounded where activations are bfloat16 */
	const tolerance allowed = {.f32 = 2e-6 + 3e-7 * sqrt((double)c->in),
				   .bf16 = c->type == CR_NUMBER_F32 ? 1e-2 : 0};

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_linear a = {
			.matrix = &matrix,
			.x = at(s, ACTIVATION, x, i * cut * x_stride),
			.y = at(s, to, y, i * cut * y_stride),
			.x_stride = x_stride,
			.y_stride = y_stride,
			.rows = rows_of(i, c->rows, cut),
			.target = c->target,
		};

		CALL(s, linear, &a);
	}
	collect(s, r, "y", to, y, count, allowed);
}

static void check_linear(const linear_case *c, int64_t cut)
{
	char what[150];

	snprintf(what, sizeof what,
		 "linear %lld x %lld to %lld, weights %d, bias %d, target %d, gaps %lld %lld",
		 (long long)c->rows, (long long)c->in, (long long)c->out, c->type, c->bias,
		 c->target, (long long)c->x_gap, (long long)c->y_gap);
	hold_to_reference(run_linear, c, cut, what);
}

/* All targets, both types of weights, with and without bias, gaps in each. */
static void linear(void **state)
{
	static const int64_t sizes[][2] = {{1, 1},    {15, 32}, {32, 15}, {96, 130},
					   {130, 96}, {1, 130}, {130, 1}, {33, 7}};

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t h = 0; h < COUNT(heights) - 1; h++)
			for (int j = 0; j < 6; j++) {
				const linear_case c = {
					.type = j & 1 ? CR_NUMBER_BF16 : CR_NUMBER_F32,
					.bias = (j + (int)h) % 2,
					.target = j % 3,
					.rows = heights[h],
					.in = sizes[i][0],
					.out = sizes[i][1],
					.x_gap = j == 1 || j == 2 ? 5 : 0,
					.y_gap = j == 2 || j == 3 ? 3 : 0,
				};

				check_linear(&c, c.rows / 3);
			}
}

/* Sizes beyond any block, cut in the middle of one, and the long sums of a wide network. */
static void linear_of_blocks(void **state)
{
	(void)state;
	for (int type = CR_NUMBER_F32; type <= CR_NUMBER_BF16; type++) {
		check_linear(&(linear_case){type, 1, CR_LINEAR_STORE, 67, 520, 300, 0, 0}, 33);
		check_linear(&(linear_case){type, 1, CR_LINEAR_STORE, 130, 128, 256, 0, 0}, 65);
		check_linear(&(linear_case){type, 0, CR_LINEAR_ADD, 9, 4096, 40, 0, 8}, 1);
		check_linear(&(linear_case){type, 1, CR_LINEAR_WIDE, 700, 16, 48, 32, 0}, 511);
		check_linear(&(linear_case){type, 0, CR_LINEAR_STORE, 300, 33, 15, 0, 1}, 299);
	}
}

typedef struct rope_case {
	int64_t rows, heads, head_size, rotary, gap, first;
	double divisor;
} rope_case;

static void run_rope(side *s, const void *arguments, int64_t cut, results *r)
{
	const rope_case *c = arguments;
	const int64_t half = c->rotary / 2, stride = c->heads * c->head_size + c->gap;
	const int64_t count = c->rows ? (c->rows - 1) * stride + c->heads * c->head_size : 0;
	float frequency[64];
	cr_attention_weights weights = {
		.heads = 77, /* not looked at */
		.kv_heads = 7,
		.head_size = c->head_size,
		.rotary_size = c->rotary,
		.position_divisor = c->divisor,
		.scale = 1,
	};
	void *x = random_rows(s, ACTIVATION, c->rows, c->heads * c->head_size, stride, 1, 1, 11);

	for (int64_t i = 0; i < half; i++)
		frequency[i] = (float)pow(10000, -2.0 * (double)i / (double)c->rotary);
	weights.inverse_frequency = array_of(s, CR_NUMBER_F32, frequency, half, 0);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_rope a = {&weights, at(s, ACTIVATION, x, i * cut * stride),
					 stride,   rows_of(i, c->rows, cut),
					 c->heads, c->first + i * cut};

		CALL(s, rope, &a);
	}
	collect(s, r, "x", ACTIVATION, x, count, (tolerance){.f32 = 1e-6});
}

/* Angles are what float32 makes of them, however large; numbers behind rotary_size stay. */
static void rope(void **state)
{
	static const rope_case cases[] = {
		{300, 2, 32, 32, 0, 0, 1},       {0, 2, 32, 32, 0, 0, 1},
		{1, 1, 8, 8, 0, 0, 1},           {129, 3, 20, 12, 7, 0, 16},
		{129, 3, 15, 10, 1, 5, 1},       {7, 4, 128, 128, 256, 1000000, 128},
		{300, 1, 64, 32, 3, 1000000, 1}, {129, 2, 128, 64, 0, 131000, 16},
		{50, 2, 32, 32, 0, 1000000, 7},  {7, 2, 32, 0, 0, 3, 1},
		{9, 2, 20, 2, 0, 16777210, 1},   {40, 32, 128, 128, 8192, 77, 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const rope_case *c = &cases[i];
		char what[150];

		snprintf(what, sizeof what,
			 "rope %lld x %lld x %lld, %lld rotated, first %lld / %g",
			 (long long)c->rows, (long long)c->heads, (long long)c->head_size,
			 (long long)c->rotary, (long long)c->first, c->divisor);
		hold_to_reference(run_rope, c, c->rows / 3, what);
	}
}

typedef struct activate_case {
	int activation, gate, in_place;
	int64_t count;
	double scale;
} activate_case;

static void run_activate(side *s, const void *arguments, int64_t cut, results *r)
{
	const activate_case *c = arguments;
	void *x = random_changed(s, ACTIVATION, c->count, c->scale, 12);
	void *b = c->gate ? random_input(s, ACTIVATION, c->count, 1, 13) : NULL;
	void *y = c->in_place ? x : output(s, ACTIVATION, c->count);

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_activate a = {
			c->activation,
			at(s, ACTIVATION, x, i * cut),
			b ? at(s, ACTIVATION, b, i * cut) : NULL,
			at(s, ACTIVATION, y, i * cut),
			rows_of(i, c->count, cut),
		};

		CALL(s, activate, &a);
	}
	collect(s, r, "y", ACTIVATION, y, c->count, (tolerance){.f32 = 2e-6});
}

static void activate(void **state)
{
	static const int64_t counts[] = {0, 1, 15, 100, 10007};

	(void)state;
	for (int activation = CR_ACTIVATION_NONE; activation <= CR_ACTIVATION_SILU; activation++)
		for (size_t i = 0; i < COUNT(counts); i++)
			for (int j = 0; j < 4; j++) {
				const activate_case c = {activation, j & 1, j & 2, counts[i],
							 i == 3 ? 0.01 : 2};
				char what[100];

				snprintf(what, sizeof what,
					 "activation %d of %lld, gate %d, in place %d", activation,
					 (long long)c.count, c.gate, c.in_place);
				hold_to_reference(run_activate, &c, c.count / 3, what);
			}
}

static const float corners[] = {0,   -0.0f, 1e-30f, -1e-30f, 1e-6f, -1e-6f, 0.5f,  -0.5f, 1,  -1,
				3,   -3,    5,      -5,      10,    -10,    20,    -20,   87, -87,
				200, -200,  1e4f,   -1e4f,   1e10f, -1e10f, 3e38f, -3e38f};

static void run_corners(side *s, const void *arguments, int64_t cut, results *r)
{
	const int count = (int)COUNT(corners);
	const int activation = *(const int *)arguments;
	void *x = array_of(s, ACTIVATION, corners, count, 0), *y = output(s, ACTIVATION, count);
	const cr_stack_activate a = {activation, x, NULL, y, count};

	(void)cut;
	CALL(s, activate, &a);
	collect(s, r, "y", ACTIVATION, y, count, (tolerance){0});
}

/* Each value by itself, relative to its argument. */
static void activate_corners(void **state)
{
	(void)state;
	for (int activation = CR_ACTIVATION_NONE; activation <= CR_ACTIVATION_SILU; activation++) {
		results expected = {0}, actual = {0};

		for (int i = 0; i < KINDS; i++) {
			side *s = &sides[i][0];
			const double of_x = s->activation == CR_NUMBER_BF16 ? 0x1p-8 : 1e-6;

			if (!s->ops)
				continue;
			judge_side.activation_rounded = s->activation;
			run_on(&judge_side, run_corners, &activation, 0, &expected);
			run_on(s, run_corners, &activation, 0, &actual);
			for (size_t j = 0; j < COUNT(corners); j++) {
				const double a = actual.part[0].values[j];
				const double e = expected.part[0].values[j];

				if (!number_agrees(a, e, of_x * fabs((double)corners[j]) + 1e-37))
					fail_msg("%s activation %d of %g: %g, not %g", s->name,
						 activation, (double)corners[j], a, e);
			}
			forget(&expected);
			forget(&actual);
		}
	}
}

/* What is no number stays none, in each operator. */
static void nan_is_kept(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++) {
		side *s = &sides[i][0];
		const float x[] = {1, NAN, 2, -1};
		results r = {0};

		if (!s->ops)
			continue;
		for (int activation = CR_ACTIVATION_NONE; activation <= CR_ACTIVATION_SILU;
		     activation++) {
			void *y = output(s, ACTIVATION, 4);
			const cr_stack_activate a = {activation, array_of(s, ACTIVATION, x, 4, 0),
						     NULL, y, 4};

			CALL(s, activate, &a);
			collect(s, &r, "y", ACTIVATION, y, 4, (tolerance){0});
			assert_true(isfinite(r.part[0].values[0]) && isnan(r.part[0].values[1]) &&
				    isfinite(r.part[0].values[2]) && isfinite(r.part[0].values[3]));
			forget(&r);
		}
		for (int kind = CR_NORM_LAYER; kind <= CR_NORM_RMS; kind++) {
			void *y = output(s, ACTIVATION, 4);
			const float ones[] = {1, 1};
			const cr_stack_norm a = {
				.kind = kind,
				.epsilon = 1e-5,
				.weights = {array_of(s, CR_NUMBER_F32, ones, 2, 0), NULL},
				.x = array_of(s, RESIDUAL, x, 4, 0),
				.y = y,
				.rows = 2,
				.width = 2,
			};

			CALL(s, norm, &a);
			collect(s, &r, "y", ACTIVATION, y, 4, (tolerance){0});
			assert_true(isnan(r.part[0].values[0]) && isnan(r.part[0].values[1]) &&
				    isfinite(r.part[0].values[2]) && isfinite(r.part[0].values[3]));
			forget(&r);
		}
		release_all(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embed),
		cmocka_unit_test(norms),
		cmocka_unit_test(linear),
		cmocka_unit_test(linear_of_blocks),
		cmocka_unit_test(rope),
		cmocka_unit_test(activate),
		cmocka_unit_test(activate_corners),
		cmocka_unit_test(nan_is_kept),
	};

	return cmocka_run_group_tests(tests, open_sides, close_sides);
}
