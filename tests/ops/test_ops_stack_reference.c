/* test_ops_stack_reference.c - the reference for stacks against numbers made by hand and formulas:
 * nothing here is computed by another operator. Also the memory of every device, and the visit of a
 * layer. */
#include <complex.h>
#undef complex /* a member of cr_modal_weights */

#include "stack_cases.h"

/* The judge itself, in double. */
static const cr_stack_ops *const ops = &cr_stack_ops_reference;
#define REF(operator, ...)                                                                         \
	do {                                                                                       \
		const cr_stack_##operator arguments_ = {__VA_ARGS__};                              \
		CALL(&judge_side, operator, & arguments_);                                         \
	} while (0)

static void assert_close(double actual, double expected, double limit)
{
	if (!number_agrees(actual, expected, limit))
		fail_msg("%.17g, not %.17g", actual, expected);
}

static void embed_by_hand(void **state)
{
	const float values[] = {1, 2, 3, 4, 5, 6};
	const uint16_t halves[] = {0x3f80, 0x4000, 0xbf80, 0x3f00}; /* 1, 2, -1, 1/2 */
	const cr_matrix table = {values, CR_NUMBER_F32, 3, 2, NULL};
	const cr_matrix half_table = {halves, CR_NUMBER_BF16, 2, 2, NULL};
	const uint8_t tokens[] = {2, 0}, bad[] = {0, 3};
	const cr_stack_embed beyond = {&table, bad, 2, NULL};
	cr_stack_embed a = beyond;
	crocuta_error error = {0};
	double y[4];

	(void)state;
	REF(embed, &table, tokens, 2, y);
	assert_true(y[0] == 5 && y[1] == 6 && y[2] == 1 && y[3] == 2);
	REF(embed, &half_table, (const uint8_t[]){1, 0}, 2, y);
	assert_true(y[0] == -1 && y[1] == 0.5 && y[2] == 1 && y[3] == 2);
	a.y = y;
	assert_int_equal(ops->embed(judge_side.device, &a, &error), CROCUTA_EINPUT);
}

static void norm_by_hand(void **state)
{
	const double x[] = {3, 4, 3e-6, -3e-6};
	const float scale[] = {2, 10}, shift[] = {1, 0};
	const cr_norm_weights plain = {scale, NULL}, shifted = {scale, shift};
	double y[4];

	(void)state;
	/* root mean square: sqrt(25 / 2), and 3e-6, to which epsilon is added whole */
	REF(norm, CR_NORM_RMS, 1e-6, plain, x, y, 0, 2, 2);
	assert_close(y[0], 2 * 3 / (sqrt(12.5) + 1e-6), 1e-14);
	assert_close(y[1], 10 * 4 / (sqrt(12.5) + 1e-6), 1e-14);
	assert_close(y[2], 2 * 0.75, 1e-14);
	assert_close(y[3], -10 * 0.75, 1e-14);
	/* mean 3.5, variance 1/4 */
	REF(norm, CR_NORM_LAYER, 0.75, shifted, x, y, 1, 1, 2);
	assert_close(y[0], 1 - 2 * 0.5, 1e-14);
	assert_close(y[1], 10 * 0.5, 1e-14);
	REF(norm, CR_NORM_RMS, 0, shifted, x, y, 0, 1, 2);
	assert_close(y[0], 1 + 2 * 3 / sqrt(12.5), 1e-14);
}

static void linear_by_hand(void **state)
{
	const float weight[] = {1, 2, 3, 4, 5, 6}, bias[] = {0.5f, -1};
	const uint16_t halves[] = {0x3f80, 0x4000, 0xbf80, 0x3f00}; /* 1, 2, -1, 1/2 */
	const cr_matrix m = {weight, CR_NUMBER_F32, 2, 3, bias};
	const cr_matrix second = cr_matrix_rows(&m, 1, 1);
	const cr_matrix half = {halves, CR_NUMBER_BF16, 2, 2, NULL};
	const double x[] = {1, 10, 100, NAN, 0, 1, 0};
	double y[] = {NAN, NAN, 7, NAN, NAN};

	(void)state;
	REF(linear, &m, x, y, 4, 3, 2, CR_LINEAR_STORE);
	assert_true(y[0] == 321.5 && y[1] == 653 && y[2] == 7 && y[3] == 2.5 && y[4] == 4);
	REF(linear, &m, x, y, 4, 3, 2, CR_LINEAR_ADD);
	assert_true(y[0] == 643 && y[1] == 1306 && y[2] == 7 && y[3] == 5 && y[4] == 8);
	REF(linear, &second, x, y, 4, 1, 1, CR_LINEAR_WIDE);
	assert_true(y[0] == 653 && y[1] == 1306);
	REF(linear, &half, x, y, 2, 2, 1, CR_LINEAR_WIDE);
	assert_true(y[0] == 21 && y[1] == 4);
}

/* One channel, numbers that a reader can add; three parts and two. */
static void front_by_hand(void **state)
{
	const double z[] = {10, 20, 30, 40, 50, 60, 1, 2, 3, 4, 5, 6};
	/* x2: two back; x1: one back; v: now and half of one back */
	const float taps[] = {0, 0, 1, 0, 1, 0, 1, 0.5f, 0}, bias[] = {0.5f, 0, 100};
	const double pairs[] = {20, 30, 50, 60, 2, 3, 5, 6};
	double x2[2], g[2];

	(void)state;
	REF(front, z + 6, 3, taps, bias, 3, x2, g, 2, 1);
	assert_true(x2[0] == 10.5 && x2[1] == 40.5);
	assert_true(g[0] == 50 * (3 + 30 + 100) && g[1] == 2 * (6 + 1.5 + 100));
	x2[0] = g[0] = g[1] = NAN;
	REF(front, pairs + 4, 2, taps + 3, bias + 1, 3, NULL, g, 2, 1);
	assert_true(g[0] == 50 * (3 + 30 + 100) && g[1] == 2 * (6 + 1.5 + 100));
	REF(front, z + 6, 3, (const float[]){3, 2, 1}, NULL, 1, x2, g, 2, 1);
	assert_true(x2[0] == 3 && x2[1] == 12 && g[0] == 2 * 2 * 3 && g[1] == 2 * 5 * 6);
}

/* An impulse gives each channel the taps of its group, tap 0 first, and skip on top of tap 0. */
static void fir_impulse(void **state)
{
	enum { D = 6, T = 4, ROWS = 6 };
	const float taps[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	const float skip[] = {0.5f, 0, 0, 0, 0, -0.5f};
	const cr_fir_weights w = {3, T, taps};
	double g[(T - 1 + ROWS) * D] = {0}, x2[ROWS * D], y[ROWS * D];

	(void)state;
	for (int i = 0; i < ROWS * D; i++)
		x2[i] = 2;
	for (int d = 0; d < D; d++)
		g[(T - 1) * D + d] = 1;
	REF(fir, &w, skip, g + (T - 1) * D, x2, y, ROWS, D);
	for (int l = 0; l < ROWS; l++)
		for (int d = 0; d < D; d++)
			assert_true(y[l * D + d] == (l < T ? 2 * taps[d / 2 * T + l] : 0) +
							    (l == 0 ? 2 * skip[d] : 0));
	/* the last history row is seen through tap 1 on; y may be x2 */
	REF(fir, &w, NULL, g + T * D, x2, x2, ROWS - 1, D);
	for (int d = 0; d < D; d++)
		assert_true(x2[d] == 2 * taps[d / 2 * T + 1]);
}

/* The filter by its formula, Re sum R p^t, from an impulse behind a state of zeros. */
static void modal_impulse(void **state)
{
	enum { D = 3, N = 4, ROWS = 400 };
	float poles[2 * D * N], residues[2 * D * N];
	double g[ROWS * D] = {0}, x2[ROWS * D], y[ROWS * D], s[2 * D * N];

	(void)state;
	for (int i = 0; i < ROWS * D; i++)
		x2[i] = 1;
	for (int d = 0; d < D; d++)
		g[d] = 1;
	for (int complex_poles = 0; complex_poles < 2; complex_poles++) {
		const cr_modal_weights w = {N, complex_poles, poles, residues};

		for (int i = 0; i < 2 * D * N; i++) {
			poles[i] = complex_poles ? (float)(0.7 * sin(1 + 2.3 * i))
						 : (float)(-0.001 - 0.02 * i);
			residues[i] = (float)cos(1.7 * i);
		}
		memset(s, 0, sizeof s);
		REF(modal, &w, NULL, g, x2, y, s, ROWS, D);
		for (int l = 0; l < ROWS; l++)
			for (int d = 0; d < D; d++) {
				double _Complex sum = 0;

				for (int i = d * N; i < d * N + N; i++)
					sum += complex_poles
						       ? (residues[2 * i] +
							  residues[2 * i + 1] * I) *
								 cpow(poles[2 * i] +
									      poles[2 * i + 1] * I,
								      l)
						       : residues[i] * exp((double)poles[i] * l);
				assert_close(y[l * D + d], creal(sum), 1e-12);
			}
		for (int i = 0; i < D * N; i++)
			if (complex_poles) {
				const double _Complex p =
					cpow(poles[2 * i] + poles[2 * i + 1] * I, ROWS - 1);

				assert_close(s[2 * i], creal(p), 1e-13);
				assert_close(s[2 * i + 1], cimag(p), 1e-13);
			} else {
				assert_close(s[i], exp((double)poles[i] * (ROWS - 1)), 1e-13);
			}
	}
}

/* Skip and gate, and a state that was there: by hand. */
static void modal_by_hand(void **state)
{
	const float poles[] = {0, 1, 0, -1}, residues[] = {1, 2, 0, 3}, skip[] = {10};
	const cr_modal_weights w = {2, 1, poles, residues}; /* poles i and -i */
	double s[] = {1, 0, 0, 2}, local[] = {100, 200, 300, 400};
	const double g[] = {5, 7}, x2[] = {1, 100};
	double y[2];

	(void)state;
	/* row 0: s = (i + 5, 2 + 5), row 1: s = (5i - 1 + 7, -7i + 7) */
	REF(modal, &w, skip, g, x2, y, s, 2, 1);
	assert_close(y[0], (5 - 2 * 1) + 0 + 50, 1e-14);
	assert_close(y[1], 100 * ((6 - 2 * 5) + 3 * 7 + 70), 1e-11);
	assert_true(s[0] == 6 && s[1] == 5 && s[2] == 7 && s[3] == -7);
	/* i^3 = -i, (-i)^3 = i */
	REF(modal_fold, &w, 3, 1, local, s);
	assert_true(s[0] == 105 && s[1] == 194 && s[2] == 307 && s[3] == 407);
	REF(modal_fold, &w, 0, 1, (const double[]){0, 0, 0, 0}, s);
	assert_true(s[0] == 105 && s[1] == 194 && s[2] == 307 && s[3] == 407);
}

/* A fold over as many rows of zeros is the recurrence itself. */
static void fold_is_the_recurrence(void **state)
{
	const float poles[] = {-1e-7f, -0.003f}, residues[] = {1, 1};
	const cr_modal_weights w = {2, 0, poles, residues};
	double zeros[1000] = {0}, stepped[] = {3, -4}, folded[] = {3, -4};

	(void)state;
	REF(modal, &w, NULL, zeros, NULL, NULL, stepped, 1000, 1);
	REF(modal_fold, &w, 1000, 1, zeros, folded);
	assert_close(folded[0], stepped[0], 1e-12);
	assert_close(folded[1], stepped[1], 1e-12);
	assert_close(folded[0], 3 * exp(-1e-4), 1e-10);
}

static void rope_by_hand(void **state)
{
	const float frequency[] = {1, 0.25f};
	const cr_attention_weights w = {.head_size = 5,
					.rotary_size = 4,
					.inverse_frequency = frequency,
					.position_divisor = 1};
	cr_attention_weights far = w;
	double x[] = {1, 2, 3, 4, 5, 0, 1, 0, 0, 9, NAN, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0};
	float angle;

	(void)state;
	/* two rows of two heads, positions 0 and 2 in the second call */
	REF(rope, &w, x, 11, 1, 2, 0);
	assert_true(x[0] == 1 && x[1] == 2 && x[2] == 3 && x[3] == 4 && x[4] == 5);
	REF(rope, &w, x, 11, 2, 2, 2);
	assert_close(x[0], cos(2) - 3 * sin(2), 1e-15);
	assert_close(x[2], 3 * cos(2) + sin(2), 1e-15);
	assert_close(x[1], 2 * cos(0.5) - 4 * sin(0.5), 1e-15);
	assert_close(x[3], 4 * cos(0.5) + 2 * sin(0.5), 1e-15);
	assert_true(x[4] == 5 && x[9] == 9 && isnan(x[10]) && x[15] == 7);
	assert_close(x[6], cos(0.5), 1e-15); /* head 1, number 1 */
	assert_close(x[8], sin(0.5), 1e-15);
	assert_close(x[11], cos(3), 1e-15); /* row 1 */
	assert_close(x[13], sin(3), 1e-15);
	/* the angle is float32's: 7812.5078125 times 0.3 */
	far.position_divisor = 128;
	far.rotary_size = 2;
	far.inverse_frequency = (const float[]){0.3f};
	angle = 7812.5078125f * 0.3f;
	assert_true((double)angle != 7812.5078125 * 0.3);
	x[0] = 1;
	x[1] = 0;
	REF(rope, &far, x, 5, 1, 1, 1000001);
	assert_close(x[0], cos((double)angle), 1e-15);
	assert_close(x[1], sin((double)angle), 1e-15);
}

static void attention_by_hand(void **state)
{
	/* one head of two numbers; scores 2 q.k: for q (1, 0) ln 1, ln 2, ln 5 */
	const double k[] = {0, 9, 0.5 * log(2), 9, 0.5 * log(5), 9};
	const double v[] = {8, 0, 0, 8, 16, 16}, q[] = {1, 0, 1, 0};
	double o[4] = {NAN, NAN, NAN, NAN}, lse[2] = {NAN, NAN}, y[5] = {NAN, NAN, NAN, NAN, NAN};

	(void)state;
	REF(attention, q, k, v, 2, 2, 2, 2, 3, 1, 1, 2, 4, 3, 2, o, lse, 1, NULL, 0);
	assert_close(lse[0], log(3), 1e-15); /* query 4 sees keys 3 and 4 */
	assert_close(lse[1], log(8), 1e-15);
	assert_close(o[0], 8.0 / 3, 1e-14);
	assert_close(o[1], 16.0 / 3, 1e-14);
	assert_close(o[2], 11, 1e-14);
	assert_close(o[3], 12, 1e-14);
	/* the same keys again, all visible now: weights (1 + 1, 2 + 2, 5) and all doubled */
	REF(attention, q, k, v, 2, 2, 2, 2, 3, 1, 1, 2, 9, 0, 2, o, lse, 0, y, 3);
	assert_close(lse[0], log(3 + 8), 1e-14);
	assert_close(lse[1], log(16), 1e-14);
	assert_close(y[0], (8 + 88) / 11.0, 1e-13);
	assert_close(y[1], (16 + 96) / 11.0, 1e-13);
	assert_true(isnan(y[2]));
	assert_close(y[3], 11, 1e-13);
	assert_close(y[4], 12, 1e-13);
	/* nothing visible: nothing changes, and from nothing zeros */
	REF(attention, q, k, v, 2, 2, 2, 2, 3, 1, 1, 2, 4, 6, 2, o, lse, 0, NULL, 0);
	assert_close(lse[0], log(11), 1e-14);
	assert_close(o[0], 96 / 11.0, 1e-13);
	REF(attention, q, k, v, 2, 2, 2, 2, 3, 1, 1, 2, 4, 6, 2, o, lse, 1, y, 2);
	assert_true(lse[0] == -INFINITY && lse[1] == -INFINITY && o[0] == 0 && o[3] == 0);
	assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 0);
	REF(attention, q, k, v, 2, 2, 2, 2, 3, 1, 1, 2, 4, 3, 2, o, lse, 0, NULL, 0);
	assert_close(lse[0], log(3), 1e-15);
	assert_close(o[1], 16.0 / 3, 1e-14);
}

/* Weights sum to one; equal scores give means; heads of a group share keys; later keys do not
 * count. */
static void attention_properties(void **state)
{
	enum { ROWS = 9, HEADS = 4, SHARED = 2, SIZE = 3, Q = HEADS * SIZE, K = SHARED * SIZE };
	double q[ROWS * Q], k[ROWS * K], v[ROWS * K], o[ROWS * Q], again[ROWS * Q],
		lse[HEADS * ROWS];

	(void)state;
	for (int i = 0; i < ROWS * Q; i++)
		q[i] = 30 * sin(1.3 * i);
	for (int i = 0; i < ROWS * K; i++) {
		k[i] = 30 * cos(2.1 * i);
		v[i] = 1;
	}
	REF(attention, q, k, v, Q, K, K, ROWS, ROWS, HEADS, SHARED, SIZE, 0, 0, 1, o, lse, 1, NULL,
	    0);
	for (int i = 0; i < ROWS * Q; i++)
		assert_close(o[i], 1, 1e-14);
	for (int i = 0; i < ROWS * K; i++)
		v[i] = i / K + 100 * (i % K / SIZE) +
		       1000 * (i % SIZE); /* key, shared head, number */
	REF(attention, q, k, v, Q, K, K, ROWS, ROWS, HEADS, SHARED, SIZE, 0, 0, 0, o, lse, 1, NULL,
	    0);
	for (int l = 0; l < ROWS; l++)
		for (int h = 0; h < HEADS; h++) {
			assert_close(lse[h * ROWS + l], log(l + 1), 1e-14);
			for (int i = 0; i < SIZE; i++)
				assert_close(o[(l * HEADS + h) * SIZE + i],
					     l / 2.0 + 100 * (h / 2) + 1000 * i, 1e-11);
		}
	REF(attention, q, k, v, Q, K, K, ROWS, ROWS, HEADS, SHARED, SIZE, 0, 0, 1, o, lse, 1, NULL,
	    0);
	k[6 * K] += 1;
	v[6 * K + 1] += 1;
	REF(attention, q, k, v, Q, K, K, ROWS, ROWS, HEADS, SHARED, SIZE, 0, 0, 1, again, lse, 1,
	    NULL, 0);
	assert_memory_equal(o, again, 6 * Q * sizeof *o);
	assert_true(o[6 * Q + 1] != again[6 * Q + 1]);
}

static void activations_by_hand(void **state)
{
	static const struct {
		int activation;
		double x, y;
	} known[] = {
		{CR_ACTIVATION_NONE, -3, -3},
		{CR_ACTIVATION_GELU, 1, 0.841344746068542949},
		{CR_ACTIVATION_GELU, -1, -0.158655253931457051},
		{CR_ACTIVATION_GELU, -8, -8 * 6.22096057427178412e-16},
		{CR_ACTIVATION_GELU_TANH, 1, 0.841191990608276},
		{CR_ACTIVATION_SILU, 1, 0.731058578630004879},
		{CR_ACTIVATION_SILU, -800, 0},
	};
	const cr_stack_activate unknown = {99, NULL, NULL, NULL, 0};
	crocuta_error error = {0};

	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		double x = known[i].x, b = 7, y = NAN;

		REF(activate, known[i].activation, &x, NULL, &y, 1);
		assert_close(y, known[i].y, 1e-12 * fabs(known[i].y) + 1e-300);
		REF(activate, known[i].activation, &x, &b, &x, 1);
		assert_close(x, 7 * known[i].y, 1e-11 * fabs(known[i].y) + 1e-300);
	}
	assert_int_equal(ops->activate(judge_side.device, &unknown, &error), CROCUTA_EARG);
}

/* The same operator with float32 and bfloat16 ends gives the double one's result, rounded. */
static void reference_rounds_at_its_ends(void **state)
{
	enum { ROWS = 3, IN = 40, OUT = 5 };
	results exact = {0}, rounded_result = {0};

	(void)state;
	for (int type = CR_NUMBER_F32; type <= CR_NUMBER_BF16; type++) {
		const cr_stack_device_options options = {.activation = type,
							 .residual = CR_NUMBER_F32};
		side narrow, *both[] = {&judge_side, &narrow};

		open_side(&narrow, "narrow", ops, &options);
		judge_side.activation_rounded = type;
		judge_side.residual_rounded = CR_NUMBER_F32;
		for (int i = 0; i < 2; i++) {
			side *s = both[i];
			const cr_matrix m = random_matrix(s, CR_NUMBER_BF16, OUT, IN, 1, 1);
			void *x = random_input(s, ACTIVATION, ROWS * IN, 1, 2);
			void *y = output(s, ACTIVATION, ROWS * OUT);
			void *wide = random_changed(s, RESIDUAL, ROWS * OUT, 1, 3);
			cr_stack_linear a = {&m, x, y, IN, OUT, ROWS, CR_LINEAR_STORE};
			results *r = i ? &rounded_result : &exact;

			CALL(s, linear, &a);
			a.y = wide;
			a.target = CR_LINEAR_ADD;
			CALL(s, linear, &a);
			collect(s, r, "y", ACTIVATION, y, ROWS * OUT, (tolerance){0});
			collect(s, r, "wide", RESIDUAL, wide, ROWS * OUT, (tolerance){0});
			release_all(s);
		}
		for (int i = 0; i < ROWS * OUT; i++) {
			const double y = exact.part[0].values[i];

			assert_true(rounded_result.part[0].values[i] ==
				    (type == CR_NUMBER_F32
					     ? (double)(float)y
					     : (double)cr_bfloat_to_float(
						       cr_bfloat_from_float((float)y))));
			assert_true(rounded_result.part[1].values[i] ==
				    (double)(float)exact.part[1].values[i]);
		}
		forget(&exact);
		forget(&rounded_result);
		ops->close(narrow.device);
	}
}

/* Memory short in an operator: said, nothing leaked. */
static void reference_without_memory(void **state)
{
	const double q[] = {1};
	const float pole[] = {-1};
	double o[1], lse[1], s[] = {0};
	const cr_stack_attention attention = {.q = q,
					      .k = q,
					      .v = q,
					      .q_stride = 1,
					      .k_stride = 1,
					      .v_stride = 1,
					      .rows = 1,
					      .keys = 1,
					      .heads = 1,
					      .kv_heads = 1,
					      .head_size = 1,
					      .scale = 1,
					      .o = o,
					      .lse = lse,
					      .first = 1};
	const cr_modal_weights w = {1, 0, pole, pole};
	const cr_stack_modal modal = {.weights = &w, .g = q, .state = s, .rows = 1, .width = 1};
	crocuta_error modal_error = {0};

	(void)state;
	for (int n = 1; n <= 2; n++) {
		crocuta_error error = {0};

		cr_memory_fail_at(n);
		assert_int_equal(ops->attention(judge_side.device, &attention, &error),
				 CROCUTA_EMEMORY);
	}
	cr_memory_fail_at(1);
	assert_int_equal(ops->modal(judge_side.device, &modal, &modal_error), CROCUTA_EMEMORY);
	cr_memory_fail_at(0);
}

/* Any device: zeroed and counted memory, bytes there, across and back. */
static void check_memory(side *s)
{
	const cr_stack_ops *o = s->ops;
	const int64_t before = o->allocated(s->device);
	unsigned char host[1000], back[1000];
	crocuta_error error = {0};
	void *a = NULL, *b = NULL;

	for (int i = 0; i < 1000; i++)
		host[i] = (unsigned char)(i * 31 + 7);
	assert_int_equal(o->allocate(s->device, 1000, &a, &error), 0);
	assert_int_equal(o->allocate(s->device, 5 << 20, &b, &error), 0);
	assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
	assert_true(o->allocated(s->device) >= before + 1000 + (5 << 20));
	memset(back, 1, sizeof back);
	assert_int_equal(o->download(s->device, back, (char *)b + (5 << 20) - 1000, 1000, &error),
			 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(back[i], 0);
	assert_int_equal(o->upload(s->device, a, host, 1000, &error), 0);
	assert_int_equal(o->copy(s->device, (char *)b + 3, a, 1000, &error), 0);
	assert_int_equal(o->clear(s->device, (char *)b + 3 + 10, 20, &error), 0);
	memset(host + 10, 0, 20);
	assert_int_equal(o->download(s->device, back, (char *)b + 3, 1000, &error), 0);
	assert_memory_equal(back, host, 1000);
	assert_int_equal(o->upload(s->device, a, NULL, 0, &error), 0);
	assert_int_equal(o->copy(s->device, a, b, 0, &error), 0);
	assert_int_equal(o->clear(s->device, a, 0, &error), 0);
	assert_int_equal(o->download(s->device, NULL, a, 0, &error), 0);
	assert_int_equal(o->wait(s->device, &error), 0);
	o->release(s->device, NULL);
	o->release(s->device, a);
	assert_true(o->allocated(s->device) >= before + (5 << 20));
	o->release(s->device, b);
	assert_true(o->allocated(s->device) == before);
}

static void memory_of_devices(void **state)
{
	cr_stack_device_options options = {
		.activation = 77, .residual = CR_NUMBER_F32, .threads = 1};
	crocuta_error error = {0};

	(void)state;
	check_memory(&judge_side);
	assert_null(ops->queue(judge_side.device));
	assert_string_equal(ops->name, "reference");
	ops->close(NULL);
	for (int i = 0; i < KINDS; i++) {
		cr_stack_device *device = NULL;
		void *kept = NULL;

		if (!sides[i][0].ops)
			continue;
		check_memory(&sides[i][0]);
		sides[i][0].ops->close(NULL);
		options.isa = kinds[i].isa;
		options.activation = 77;
		error = (crocuta_error){0};
		assert_int_equal(sides[i][0].ops->open(&options, &device, &error), CROCUTA_EARG);
		if (kinds[i].processor != CPU)
			continue;
		assert_string_equal(sides[i][0].ops->name, "cpu");
		options.activation = CR_NUMBER_F32; /* what is left at the end is freed */
		assert_int_equal(sides[i][0].ops->open(&options, &device, &error), 0);
		assert_int_equal(sides[i][0].ops->allocate(device, 100, &kept, &error), 0);
		for (int n = 1; n < 10; n++) {
			error = (crocuta_error){0};
			cr_memory_fail_at(n);
			if (!sides[i][0].ops->allocate(device, 100, &kept, &error))
				break;
			assert_int_equal(error.code, CROCUTA_EMEMORY);
		}
		cr_memory_fail_at(0);
		sides[i][0].ops->close(device);
	}
}

/* Where arrays were found in a layer, and their bytes. */
typedef struct seen {
	const void **place[64];
	int64_t bytes[64];
	int count;
} seen;

static void see(void *user, const void **array, int64_t bytes)
{
	seen *s = user;

	assert_non_null(*array);
	s->place[s->count] = array;
	s->bytes[s->count++] = bytes;
}

/* 1 if the place was visited once, with so many bytes. */
static int was_seen(const seen *s, const void *place, int64_t bytes)
{
	int times = 0;

	for (int i = 0; i < s->count; i++)
		if ((const void *)s->place[i] == place) {
			assert_int_equal(s->bytes[i], bytes);
			times++;
		}
	return times == 1;
}

static void visit_of_a_layer(void **state)
{
	static const float any[1];
	const cr_stack stack = {
		.width = 10, .max_length = 50, .filter_order = 6, .features = 5, .filter_inner = 2};
	cr_stack_layer hyena = {
		.mixer = CR_MIXER_MODAL,
		.norm1 = {any, NULL},
		.norm2 = {any, any},
		.in = {any, CR_NUMBER_BF16, 30, 10, any},
		.out = {any, CR_NUMBER_F32, 10, 10, NULL},
		.short_length = 3,
		.short_taps = any,
		.short_bias = any,
		.skip = any,
		.modal = {.states = 8, .complex = 1, .poles = any, .residues = any},
		.fir = {.groups = 5, .length = 7, .taps = any},
		.attention = {.rotary_size = 4, .inverse_frequency = any},
		.w1 = {any, CR_NUMBER_BF16, 20, 10, NULL},
		.w3 = {any, CR_NUMBER_BF16, 10, 20, any},
	};
	cr_stack_layer implicit = {.filter = {.z = any,
					      .t = any,
					      .deltas = any,
					      .frequency = any,
					      .in_weight = any,
					      .in_bias = any,
					      .inner_weight = {any, any},
					      .inner_bias = {any, any},
					      .out_weight = any,
					      .skip = any}};
	seen s = {0};

	(void)state;
	cr_stack_layer_visit(&stack, &hyena, see, &s);
	assert_int_equal(s.count, 16);
	assert_true(was_seen(&s, &hyena.norm1.scale, 40));
	assert_true(was_seen(&s, &hyena.norm2.scale, 40) && was_seen(&s, &hyena.norm2.shift, 40));
	assert_true(was_seen(&s, &hyena.in.values, 600) && was_seen(&s, &hyena.in.bias, 120));
	assert_true(was_seen(&s, &hyena.out.values, 400));
	assert_true(was_seen(&s, &hyena.short_taps, 360) && was_seen(&s, &hyena.short_bias, 120));
	assert_true(was_seen(&s, &hyena.skip, 40));
	assert_true(was_seen(&s, &hyena.modal.poles, 640) &&
		    was_seen(&s, &hyena.modal.residues, 640));
	assert_true(was_seen(&s, &hyena.fir.taps, 140));
	assert_true(was_seen(&s, &hyena.attention.inverse_frequency, 8));
	assert_true(was_seen(&s, &hyena.w1.values, 400) && was_seen(&s, &hyena.w3.values, 400));
	assert_true(was_seen(&s, &hyena.w3.bias, 40));
	hyena.modal.complex = 0;
	s.count = 0;
	cr_stack_layer_visit(&stack, &hyena, see, &s);
	assert_true(was_seen(&s, &hyena.modal.poles, 320));
	s.count = 0;
	cr_stack_layer_visit(&stack, &implicit, see, &s);
	assert_int_equal(s.count, 12);
	assert_true(was_seen(&s, &implicit.filter.z, 4 * 250) &&
		    was_seen(&s, &implicit.filter.t, 200));
	assert_true(was_seen(&s, &implicit.filter.deltas, 40));
	assert_true(was_seen(&s, &implicit.filter.frequency, 24));
	assert_true(was_seen(&s, &implicit.filter.in_weight, 120));
	assert_true(was_seen(&s, &implicit.filter.in_bias, 24));
	assert_true(was_seen(&s, &implicit.filter.inner_weight[1], 144));
	assert_true(was_seen(&s, &implicit.filter.inner_bias[1], 24));
	assert_true(was_seen(&s, &implicit.filter.out_weight, 240));
	assert_true(was_seen(&s, &implicit.filter.skip, 40));
}

/* The comparison bites: one value left out, one that is a little off. */
static void comparison_has_teeth(void **state)
{
	const double right[] = {1, -1, 1, INFINITY, NAN, 1};
	double wrong[6];

	(void)state;
	print_message("three messages that something is not something else are meant\n");
	memcpy(wrong, right, sizeof right);
	assert_true(numbers_agree("equal", wrong, right, 6, 0, 0, 0));
	wrong[5] = NAN;
	assert_false(numbers_agree("meant", wrong, right, 6, 1e9, 0, 1));
	wrong[5] = 1.001;
	assert_true(numbers_agree("near", wrong, right, 6, 1.1e-3, 0, 0));
	assert_false(numbers_agree("meant", wrong, right, 6, 0.9e-3, 0, 0));
	wrong[5] = 1;
	wrong[3] = 1e300;
	assert_false(numbers_agree("meant", wrong, right, 6, 1e9, 0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embed_by_hand),
		cmocka_unit_test(norm_by_hand),
		cmocka_unit_test(linear_by_hand),
		cmocka_unit_test(front_by_hand),
		cmocka_unit_test(fir_impulse),
		cmocka_unit_test(modal_impulse),
		cmocka_unit_test(modal_by_hand),
		cmocka_unit_test(fold_is_the_recurrence),
		cmocka_unit_test(rope_by_hand),
		cmocka_unit_test(attention_by_hand),
		cmocka_unit_test(attention_properties),
		cmocka_unit_test(activations_by_hand),
		cmocka_unit_test(reference_rounds_at_its_ends),
		cmocka_unit_test(reference_without_memory),
		cmocka_unit_test(memory_of_devices),
		cmocka_unit_test(visit_of_a_layer),
		cmocka_unit_test(comparison_has_teeth),
	};

	return cmocka_run_group_tests(tests, open_sides, close_sides);
}
