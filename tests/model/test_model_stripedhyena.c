/* test_model_stripedhyena.c - Evo-1 and Evo-2 fixtures as stacks: every array against the file's
 * own bytes, by index formulas written out here once more.
 */
#define _GNU_SOURCE
#include <math.h>

#include "stripedhyena_fixture.h"

#include "base/half.h"
#include "model/family_stripedhyena.h"
#include "model/network.h"

enum { D = 128, HEADS = 4, HEAD = 32 };

typedef struct opened {
	struct fixture *f;
	crocuta_model *model;
	const cr_stack *stack;
	const crocuta_model_info *info;
} opened;

static opened open_fixture(const char *name)
{
	char path[256];
	crocuta_error error = {0};
	opened o;

	snprintf(path, sizeof path, GOLDEN "%s", name);
	o.f = fixture_read(path);
	if (crocuta_model_open(path, NULL, &o.model, &error))
		fail_msg("%s: %s", path, error.message);
	o.stack = cr_model_network(o.model)->stack;
	o.info = crocuta_model_get_info(o.model);
	assert_non_null(o.stack);
	assert_null(crocuta_model_get_note(o.model, 0));
	return o;
}

static void close_fixture(opened *o)
{
	crocuta_model_close(o->model);
	fixture_free(o->f);
}

static const struct fixture_tensor *find(const opened *o, int64_t layer, const char *name)
{
	char text[128];

	snprintf(text, sizeof text, "blocks.%lld.%s", (long long)layer, name);
	return fixture_find(o->f, text);
}

static float matrix_value(const cr_matrix *matrix, int64_t row, int64_t column)
{
	int64_t i = row * matrix->columns + column;

	assert_true(row >= 0 && row < matrix->rows && column >= 0 && column < matrix->columns);
	return matrix->type == CR_NUMBER_BF16
		       ? cr_bfloat_to_float(((const uint16_t *)matrix->values)[i])
		       : ((const float *)matrix->values)[i];
}

/* All of a matrix whose row r is the file's row from(r). */
typedef int64_t row_map(int64_t row);

static void check_matrix(const cr_matrix *matrix, const struct fixture_tensor *t, int type,
			 row_map *from)
{
	assert_int_equal(matrix->type, type);
	assert_int_equal(matrix->rows, t->shape[0]);
	assert_int_equal(matrix->columns, t->shape[1]);
	for (int64_t r = 0; r < matrix->rows; r++)
		for (int64_t c = 0; c < matrix->columns; c++)
			if (matrix_value(matrix, r, c) != stored(t, from(r) * matrix->columns + c))
				fail_msg("%s: row %lld column %lld", t->name, (long long)r,
					 (long long)c);
}

static void check_vector(const float *vector, const struct fixture_tensor *t, int64_t count)
{
	assert_non_null(vector);
	assert_int_equal(t->size / (strcmp(t->dtype, "F32") ? 2 : 4), count);
	for (int64_t i = 0; i < count; i++)
		assert_true(vector[i] == stored(t, i));
}

static int64_t same(int64_t row)
{
	return row;
}

/* Row of part p, head h, number i in a file that goes head by head. */
static int64_t by_head(int64_t row)
{
	int64_t p = row / D, h = row % D / HEAD, i = row % HEAD;

	return h * 3 * HEAD + p * HEAD + i;
}

static int64_t by_three(int64_t row)
{
	return 3 * (row % D) + row / D;
}

static void check_shell(const opened *o, int64_t i, int type)
{
	const cr_stack_layer *layer = &o->stack->layer[i];

	check_vector(layer->norm1.scale, find(o, i, "pre_norm.scale"), D);
	check_vector(layer->norm2.scale, find(o, i, "post_norm.scale"), D);
	assert_null(layer->norm1.shift);
	check_matrix(&layer->w1, find(o, i, "mlp.l1.weight"), type, same);
	check_matrix(&layer->w2, find(o, i, "mlp.l2.weight"), type, same);
	check_matrix(&layer->w3, find(o, i, "mlp.l3.weight"), type, same);
	assert_null(layer->w1.bias);
}

static void check_short(const opened *o, int64_t i, row_map *from)
{
	const cr_stack_layer *layer = &o->stack->layer[i];
	const struct fixture_tensor *t = find(o, i, "filter.short_filter_weight");

	assert_int_equal(layer->short_length, 3);
	for (int64_t r = 0; r < 3 * D; r++)
		for (int64_t k = 0; k < 3; k++) /* the file's last tap is the present */
			assert_true(layer->short_taps[3 * r + k] == stored(t, 3 * from(r) + 2 - k));
}

static void check_permuted(const float *vector, const struct fixture_tensor *t, row_map *from)
{
	assert_non_null(vector);
	for (int64_t r = 0; r < 3 * D; r++)
		assert_true(vector[r] == stored(t, from(r)));
}

static void check_attention(const opened *o, int64_t i, int type, row_map *from, double divisor)
{
	const cr_stack_layer *layer = &o->stack->layer[i];
	const cr_attention_weights *a = &layer->attention;

	assert_int_equal(layer->mixer, CR_MIXER_ATTENTION);
	assert_int_equal(a->heads, HEADS);
	assert_int_equal(a->kv_heads, HEADS);
	assert_int_equal(a->head_size, HEAD);
	assert_int_equal(a->rotary_size, HEAD);
	assert_true(a->position_divisor == divisor);
	assert_true(fabs(a->scale - 1 / sqrt(32.0)) < 1e-15);
	check_matrix(&layer->in, find(o, i, "inner_mha_cls.Wqkv.weight"), type, from);
	check_matrix(&layer->out, find(o, i, "inner_mha_cls.out_proj.weight"), type, same);
	check_vector(layer->out.bias, find(o, i, "inner_mha_cls.out_proj.bias"), D);
	assert_null(layer->short_taps);
	assert_null(layer->skip);
}

static void check_evo1(const char *name, int type, double divisor, int64_t max_length)
{
	opened o = open_fixture(name);
	const struct fixture_tensor *frequency;
	int differ = 0;

	assert_string_equal(o.info->family, "stripedhyena");
	assert_string_equal(o.info->dtype, type == CR_NUMBER_BF16 ? "BF16" : "F32");
	assert_int_equal(o.info->layers, 6);
	assert_int_equal(o.info->width, D);
	assert_int_equal(o.info->inner_width, 352);
	assert_int_equal(o.info->vocabulary, 512);
	assert_int_equal(o.info->max_length, max_length);
	assert_int_equal(o.info->usable_length, max_length - 1);
	assert_int_equal(o.info->classes, 0);
	assert_int_equal(o.info->causal, 1);
	assert_int_equal(crocuta_model_token(o.model, 'g'), 'G');
	assert_int_equal(crocuta_model_token(o.model, 'x'), 'N');
	assert_int_equal(o.stack->norm, CR_NORM_RMS);
	assert_true(o.stack->epsilon == 1e-6);
	check_matrix(&o.stack->embedding, fixture_find(o.f, "embedding_layer.weight"), type, same);
	assert_ptr_equal(o.stack->head.values, o.stack->embedding.values);
	check_vector(o.stack->final_norm.scale, fixture_find(o.f, "backbone.norm.scale"), D);
	for (int64_t i = 0; i < 6; i++) {
		const cr_stack_layer *layer = &o.stack->layer[i];

		check_shell(&o, i, type);
		assert_int_equal(layer->activation, CR_ACTIVATION_GELU);
		if (i == 2 || i == 4) {
			check_attention(&o, i, type, same, divisor);
			check_vector(layer->in.bias, find(&o, i, "inner_mha_cls.Wqkv.bias"), 3 * D);
			frequency = find(&o, i, "inner_mha_cls.rotary_emb.inv_freq");
			for (int j = 0; j < HEAD / 2; j++) {
				double exact = pow(10000, -2.0 * j / HEAD);
				float value = layer->attention.inverse_frequency[j];

				assert_true(fabs(value - exact) <= 2e-7 * exact);
				differ += value != stored(frequency, j);
			}
			continue;
		}
		assert_int_equal(layer->mixer, CR_MIXER_MODAL);
		assert_int_equal(layer->modal.complex, 1);
		assert_int_equal(layer->modal.states, 8);
		check_vector(layer->modal.poles, find(&o, i, "filter.poles"), D * 16);
		check_vector(layer->modal.residues, find(&o, i, "filter.residues"), D * 16);
		check_vector(layer->skip, find(&o, i, "filter.D"), D);
		check_matrix(&layer->in, find(&o, i, "projections.weight"), type, by_head);
		check_permuted(layer->in.bias, find(&o, i, "projections.bias"), by_head);
		check_short(&o, i, by_head);
		check_permuted(layer->short_bias, find(&o, i, "filter.short_filter_bias"), by_head);
		check_matrix(&layer->out, find(&o, i, "out_filter_dense.weight"), type, same);
		check_vector(layer->out.bias, find(&o, i, "out_filter_dense.bias"), D);
	}
	assert_true(differ > 10); /* the stored ones are rounded, and not used */
	close_fixture(&o);
}

static void loads_evo1(void **state)
{
	(void)state;
	check_evo1("evo1-d128-n6", CR_NUMBER_F32, 1, 8192);
	check_evo1("evo1-d128-n6-rope16", CR_NUMBER_BF16, 16, 131072);
}

static void check_evo2_layer(const opened *o, int64_t i)
{
	const cr_stack_layer *layer = &o->stack->layer[i];
	const struct fixture_tensor *h;
	int64_t length;

	check_matrix(&layer->in, find(o, i, "projections.weight"), CR_NUMBER_F32, by_three);
	assert_null(layer->in.bias);
	check_short(o, i, by_three);
	assert_null(layer->short_bias);
	check_matrix(&layer->out, find(o, i, "out_filter_dense.weight"), CR_NUMBER_F32, same);
	check_vector(layer->out.bias, find(o, i, "out_filter_dense.bias"), D);
	if (i % 4 == 2) {
		assert_int_equal(layer->mixer, CR_MIXER_MODAL);
		assert_int_equal(layer->modal.complex, 0);
		assert_int_equal(layer->modal.states, 16);
		check_vector(layer->modal.poles, find(o, i, "filter.log_poles"), D * 16);
		check_vector(layer->modal.residues, find(o, i, "filter.residues"), D * 16);
		check_vector(layer->skip, find(o, i, "filter.D"), D);
		return;
	}
	length = i % 4 == 0 ? 7 : 128;
	h = find(o, i, "filter.h");
	assert_int_equal(layer->mixer, CR_MIXER_FIR);
	assert_int_equal(layer->fir.groups, 8);
	assert_int_equal(layer->fir.length, length);
	for (int64_t g = 0; g < 8; g++) /* SE: the last tap is the present, MR: the first */
		for (int64_t k = 0; k < length; k++)
			assert_true(layer->fir.taps[g * length + k] ==
				    stored(h, g * length + (length == 7 ? 6 - k : k)));
	if (length == 7)
		assert_null(layer->skip);
	else
		check_vector(layer->skip, find(o, i, "filter.D"), D);
}

static void loads_evo2(void **state)
{
	opened o = open_fixture("evo2-d128-n8");

	(void)state;
	assert_string_equal(o.info->family, "stripedhyena2");
	assert_int_equal(o.info->layers, 8);
	assert_int_equal(o.info->inner_width, 144);
	assert_int_equal(o.info->max_length, 1048576);
	assert_int_equal(o.info->usable_length, 1048576);
	for (int64_t i = 0; i < 8; i++) {
		const cr_stack_layer *layer = &o.stack->layer[i];

		check_shell(&o, i, CR_NUMBER_F32);
		assert_int_equal(layer->activation, i ? CR_ACTIVATION_NONE : CR_ACTIVATION_GELU);
		if (i % 4 != 3) {
			check_evo2_layer(&o, i);
			continue;
		}
		check_attention(&o, i, CR_NUMBER_F32, by_head, 128);
		assert_null(layer->in.bias);
		check_vector(layer->attention.inverse_frequency,
			     find(&o, i, "inner_mha_cls.rotary_emb.inv_freq"), HEAD / 2);
	}
	close_fixture(&o);
}

/* What a device is given is all that the file holds, but duplicates. */
static void add_bytes(void *user, const void **array, int64_t bytes)
{
	*(int64_t *)user += bytes;
	assert_non_null(*array);
}

static void holds_bfloat_once(void **state)
{
	opened o = open_fixture("evo1-d128-n6-rope16");
	int64_t bytes = 0;

	(void)state;
	for (int64_t i = 0; i < o.stack->layers; i++) {
		cr_stack_layer copy = o.stack->layer[i];

		cr_stack_layer_visit(o.stack, &copy, add_bytes, &bytes);
	}
	bytes += 512 * D * 2 + D * 4;
	assert_int_equal(o.info->parameters, 1297536);
	assert_true(bytes > 2 * 1297536 && bytes < 2 * 1297536 + 2 * 4 * 65536 + 65536);
	close_fixture(&o);
}

static void knows_precision(void **state)
{
	const char *name;

	(void)state;
	assert_int_equal(cr_striped_precision(8192, 50, &name), CR_PRECISION_NEEDED);
	assert_string_equal(name, "40B");
	assert_int_equal(cr_striped_precision(8192, 24, &name), CR_PRECISION_NEEDED);
	assert_string_equal(name, "20B");
	assert_int_equal(cr_striped_precision(1920, 25, &name), CR_PRECISION_LOSES);
	assert_int_equal(cr_striped_precision(4096, 32, &name), CR_PRECISION_ANY);
	assert_int_equal(cr_striped_precision(8192, 32, &name), CR_PRECISION_ANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_evo1),
		cmocka_unit_test(loads_evo2),
		cmocka_unit_test(holds_bfloat_once),
		cmocka_unit_test(knows_precision),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
