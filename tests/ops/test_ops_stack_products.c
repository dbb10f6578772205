/* test_ops_stack_products.c - sizes that devices have fast kernels for: matrix products of aligned
 * rows, wide norms, and few queries against many keys, where one that rescales too often is found
 * out.
 */
#include "stack_cases.h"

enum bias { NO_BIAS, BIAS, BFLOAT_BIAS /* one that bfloat16 holds exactly */ };

typedef struct product {
	int type, bias, target;
	int64_t in, out, x_gap, y_gap;
} product;

#define PRODUCT_ROWS 100

static void run_product(side *s, const void *arguments, int64_t cut, results *r)
{
	const product *c = arguments;
	const int to = c->target == CR_LINEAR_STORE ? ACTIVATION : RESIDUAL;
	const int64_t x_stride = c->in + c->x_gap, y_stride = c->out + c->y_gap;
	const int64_t count = (PRODUCT_ROWS - 1) * y_stride + c->out;
	cr_matrix matrix = random_matrix(s, c->type, c->out, c->in, c->bias != NO_BIAS, 5);
	void *x = random_rows(s, ACTIVATION, PRODUCT_ROWS, c->in, x_stride, 0, 1, 7), *y;

	if (c->bias == BFLOAT_BIAS) {
		float *values = random_values(c->out, 1, 6);

		for (int64_t i = 0; i < c->out; i++)
			values[i] = cr_bfloat_to_float(cr_bfloat_from_float(values[i]));
		matrix.bias = array_of(s, CR_NUMBER_F32, values, c->out, 0);
		cr_free(values);
	}
	y = c->target == CR_LINEAR_ADD ? random_rows(s, to, PRODUCT_ROWS, c->out, y_stride, 1, 1, 8)
				       : output(s, to, count);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_linear a = {.matrix = &matrix,
					   .x = at(s, ACTIVATION, x, i * cut * x_stride),
					   .y = at(s, to, y, i * cut * y_stride),
					   .x_stride = x_stride,
					   .y_stride = y_stride,
					   .rows = rows_of(i, PRODUCT_ROWS, cut),
					   .target = c->target};

		CALL(s, linear, &a);
	}
	collect(s, r, "y", to, y, count,
		(tolerance){.f32 = 4e-6, .bf16 = c->type == CR_NUMBER_F32 ? 1e-2 : 0});
}

static void products(void **state)
{
	static const int64_t gaps[][2] = {{0, 0}, {8, 16}, {3, 0}}; /* the last is not aligned */
	static const int64_t sizes[][2] = {{64, 72}, {24, 56}, {256, 512}};

	(void)state;
	for (int type = CR_NUMBER_F32; type <= CR_NUMBER_BF16; type++)
		for (int bias = NO_BIAS; bias <= BFLOAT_BIAS; bias++)
			for (int target = CR_LINEAR_STORE; target <= CR_LINEAR_WIDE; target++)
				for (size_t g = 0; g < COUNT(gaps); g++)
					for (size_t k = 0; k < COUNT(sizes); k++) {
						const product c = {type,        bias,
								   target,      sizes[k][0],
								   sizes[k][1], gaps[g][0],
								   gaps[g][1]};
						char what[120];

						snprintf(what, sizeof what,
							 "linear %d to %d, weights %d, bias %d, "
							 "target %d, gaps %d",
							 (int)c.in, (int)c.out, type, bias, target,
							 (int)g);
						hold_to_reference(run_product, &c, 33, what);
					}
}

typedef struct wide_norm {
	int kind, wide, shift;
	int64_t width;
} wide_norm;

static void run_norm(side *s, const void *arguments, int64_t cut, results *r)
{
	const wide_norm *c = arguments;
	const int64_t rows = 5, count = rows * c->width;
	const int type = c->wide ? RESIDUAL : ACTIVATION;
	void *x = random_input(s, RESIDUAL, count, 1, 9), *y = output(s, type, count);
	const cr_stack_norm a = {
		.kind = c->kind,
		.epsilon = 1e-6,
		.weights = {random_input(s, CR_NUMBER_F32, c->width, 1, 3),
			    c->shift ? random_input(s, CR_NUMBER_F32, c->width, 1, 4) : NULL},
		.x = x,
		.y = y,
		.wide = c->wide,
		.rows = rows,
		.width = c->width};

	(void)cut;
	CALL(s, norm, &a);
	collect(s, r, "y", type, y, count, (tolerance){.f32 = 4e-6});
}

static void wide_norms(void **state)
{
	static const int64_t widths[] = {1024, 1028, 1920, 4100, 8192, 10000};

	(void)state;
	for (size_t i = 0; i < COUNT(widths); i++)
		for (int kind = CR_NORM_LAYER; kind <= CR_NORM_RMS; kind++)
			for (int wide = 0; wide < 2; wide++) {
				const wide_norm c = {kind, wide, (int)i % 2, widths[i]};
				char what[60];

				snprintf(what, sizeof what, "norm %d of %d numbers", kind,
					 (int)widths[i]);
				hold_to_reference(run_norm, &c, 0, what);
			}
}

typedef struct reach {
	int64_t head_size, rows, keys;
} reach;

static void run_reach(side *s, const void *arguments, int64_t cut, results *r)
{
	const reach *c = arguments;
	const int64_t h = c->head_size;
	void *q = random_input(s, ACTIVATION, c->rows * h, 1, 11);
	void *k = random_input(s, ACTIVATION, c->keys * h, 1, 12);
	void *v = random_input(s, ACTIVATION, c->keys * h, 1, 13);
	void *o = output(s, RESIDUAL, c->rows * h), *lse = output(s, RESIDUAL, c->rows);
	const cr_stack_attention a = {.q = q,
				      .k = k,
				      .v = v,
				      .q_stride = h,
				      .k_stride = h,
				      .v_stride = h,
				      .rows = c->rows,
				      .keys = c->keys,
				      .heads = 1,
				      .kv_heads = 1,
				      .head_size = h,
				      .q_first = c->keys - c->rows,
				      .scale = 1 / sqrt((double)h),
				      .o = o,
				      .lse = lse,
				      .first = 1};

	(void)cut;
	CALL(s, attention, &a);
	collect(s, r, "o", RESIDUAL, o, c->rows * h, (tolerance){.f32 = 5e-6, .bf16 = 3e-2});
	collect(s, r, "lse", RESIDUAL, lse, c->rows, (tolerance){.f32 = 2e-6, .bf16 = 1e-5});
}

static void many_keys(void **state)
{
	static const int64_t sizes[] = {128, 64, 32};

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		const reach c = {sizes[i], 3, 40000};
		const reach square = {sizes[i], 300, 300};

		hold_to_reference(run_reach, &c, 0, "3 queries, 40,000 keys");
		hold_to_reference(run_reach, &square, 0, "300 queries, 300 keys");
	}
}

/* Squares beyond float32 end as no numbers, which are seen, not as zeros, which are not. */
static void overflowing_norms(void **state)
{
	enum { WIDTH = 40 };
	const cr_stack_device_options options = {.threads = 1};
	cr_stack_device *device;
	float x[WIDTH], scale[WIDTH], y[WIDTH];
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(cr_stack_ops_cpu.open(&options, &device, &error), 0);
	for (int i = 0; i < WIDTH; i++) {
		x[i] = 1e25f;
		scale[i] = 1;
	}
	x[7] = -3e25f;
	for (int kind = CR_NORM_LAYER; kind <= CR_NORM_RMS; kind++) {
		const cr_stack_norm a = {.kind = kind,
					 .epsilon = 1e-6,
					 .weights = {scale, NULL},
					 .x = x,
					 .y = y,
					 .rows = 1,
					 .width = WIDTH};

		memset(y, 0, sizeof y);
		assert_int_equal(cr_stack_ops_cpu.norm(device, &a, &error), 0);
		for (int i = 0; i < WIDTH; i++)
			assert_true(isnan(y[i]));
	}
	cr_stack_ops_cpu.close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(products),
		cmocka_unit_test(wide_norms),
		cmocka_unit_test(many_keys),
		cmocka_unit_test(overflowing_norms),
	};

	return cmocka_run_group_tests(tests, open_sides, close_sides);
}
