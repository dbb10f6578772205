/* test_ops_stack_mixers.c - operators on stacks that go along a sequence, on every device: short
 * filter with gates, explicit taps, modal filters and their states. */
#include "stack_cases.h"

static const int64_t widths[] = {1, 15, 32, 96, 130};
static const int64_t heights[] = {0, 1, 7, 129, 300};

typedef struct front_case {
	int parts, bias, want_x2;
	int64_t length, rows, width;
} front_case;

static void run_front(side *s, const void *arguments, int64_t cut, results *r)
{
	const front_case *c = arguments;
	const int64_t channels = c->parts * c->width, count = c->rows * c->width;
	const int64_t history = (c->length - 1) * channels; /* numbers before row 0 */
	void *z = random_input(s, ACTIVATION, history + c->rows * channels, 1, 1);
	void *taps = random_input(s, CR_NUMBER_F32, channels * c->length, 1, 2);
	void *bias = c->bias ? random_input(s, CR_NUMBER_F32, channels, 1, 3) : NULL;
	void *g = output(s, ACTIVATION, count);
	void *x2 = c->want_x2 ? output(s, ACTIVATION, count) : NULL;
	/* the product of two values that may have been rounded before it */
	const tolerance allowed = {.f32 = 5e-6, .ulps = 3.3};

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const cr_stack_front a = {
			.z = at(s, ACTIVATION, z, history + i * cut * channels),
			.parts = c->parts,
			.taps = taps,
			.bias = bias,
			.length = c->length,
			.x2 = x2 ? at(s, ACTIVATION, x2, i * cut * c->width) : NULL,
			.g = at(s, ACTIVATION, g, i * cut * c->width),
			.rows = rows_of(i, c->rows, cut),
			.width = c->width,
		};

		CALL(s, front, &a);
	}
	collect(s, r, "g", ACTIVATION, g, count, allowed);
	if (x2)
		collect(s, r, "x2", ACTIVATION, x2, count, (tolerance){.f32 = 2e-6});
}

static void front(void **state)
{
	static const int64_t lengths[] = {1, 3, 4, 8};

	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t h = 0; h < COUNT(heights); h++)
			for (size_t l = 0; l < COUNT(lengths); l++)
				for (int i = 0; i < 3; i++) {
					const front_case c = {
						.parts = i == 2 ? 2 : 3,
						.bias = (i + (int)w) % 2,
						.want_x2 = i == 0,
						.length = lengths[l],
						.rows = heights[h],
						.width = widths[w],
					};
					char what[120];

					if (c.rows > 200 && c.length != 3)
						continue;
					snprintf(what, sizeof what,
						 "front %lld x %lld, %d parts, %lld taps, bias %d",
						 (long long)c.rows, (long long)c.width, c.parts,
						 (long long)c.length, c.bias);
					hold_to_reference(run_front, &c, c.rows / 3, what);
				}
}

typedef struct fir_case {
	int64_t width, groups, length, rows;
	int skip, in_place;
} fir_case;

static void run_fir(side *s, const void *arguments, int64_t cut, results *r)
{
	const fir_case *c = arguments;
	const int64_t count = c->rows * c->width, history = (c->length - 1) * c->width;
	const cr_fir_weights weights = {
		c->groups,
		c->length,
		random_input(s, CR_NUMBER_F32, c->groups * c->length, 0.3, 4),
	};
	void *skip = c->skip ? random_input(s, CR_NUMBER_F32, c->width, 1, 5) : NULL;
	void *g = random_input(s, ACTIVATION, history + count, 1, 6);
	void *x2 = random_changed(s, ACTIVATION, count, 1, 7);
	void *y = c->in_place ? x2 : output(s, ACTIVATION, count);

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t from = i * cut * c->width;
		const cr_stack_fir a = {
			.weights = &weights,
			.skip = skip,
			.g = at(s, ACTIVATION, g, history + from),
			.x2 = at(s, ACTIVATION, x2, from),
			.y = at(s, ACTIVATION, y, from),
			.rows = rows_of(i, c->rows, cut),
			.width = c->width,
		};

		CALL(s, fir, &a);
	}
	/* taps may be rounded where activations are bfloat16 */
	collect(s, r, "y", ACTIVATION, y, count,
		(tolerance){.f32 = 5e-6, .bf16 = 1e-2, .ulps = 2.2});
}

static void check_fir(const fir_case *c)
{
	char what[120];

	snprintf(what, sizeof what, "fir %lld x %lld, %lld groups, %lld taps, skip %d, in place %d",
		 (long long)c->rows, (long long)c->width, (long long)c->groups,
		 (long long)c->length, c->skip, c->in_place);
	hold_to_reference(run_fir, c, c->rows / 3, what);
}

static void fir(void **state)
{
	static const int64_t shapes[][2] = {{1, 1},   {15, 5},   {32, 2},   {96, 6},
					    {32, 32}, {130, 13}, {130, 130}};
	static const int64_t lengths[] = {1, 7, 128};

	(void)state;
	for (size_t w = 0; w < COUNT(shapes); w++)
		for (size_t l = 0; l < COUNT(lengths); l++)
			for (size_t h = 0; h < COUNT(heights); h++)
				check_fir(&(fir_case){shapes[w][0], shapes[w][1], lengths[l],
						      heights[h], (int)(w + l + h) % 2,
						      (int)(w + h) % 3 == 0});
	check_fir(&(fir_case){64, 4, 128, 1025, 1, 0}); /* many blocks of rows */
	check_fir(&(fir_case){32, 2, 33, 200, 0, 1});   /* lengths that nobody has */
	check_fir(&(fir_case){32, 2, 300, 200, 1, 1});
}

typedef struct modal_case {
	int complex;
	int64_t states, width, rows;
	int skip, in_place, state_only;
	double log_pole; /* of all real poles; 0: various poles */
} modal_case;

/* Complex poles of any phase with sizes up to 0.9999, real log poles from -3 to -1e-4; or all the
 * same, as slow as log_pole says. */
static cr_modal_weights modal_weights(side *s, const modal_case *c)
{
	const int64_t count = c->width * c->states;
	float *poles = random_values(2 * count, 1, 8);
	cr_modal_weights weights = {.states = c->states, .complex = c->complex};
	uint64_t seed = 88172645463325252u;

	for (int64_t i = 0; i < count; i++) {
		const double slow = 1e-4 * pow(3e4, next_uniform(&seed));
		const double phase = 6.28318530717958648 * next_uniform(&seed);

		if (c->log_pole < 0) {
			poles[i] = (float)c->log_pole;
		} else if (c->complex) {
			poles[2 * i] = (float)(exp(-slow) * cos(phase));
			poles[2 * i + 1] = (float)(exp(-slow) * sin(phase));
		} else {
			poles[i] = (float)-slow;
		}
	}
	weights.poles = array_of(s, CR_NUMBER_F32, poles, c->complex ? 2 * count : count, 0);
	cr_free(poles);
	weights.residues = random_input(s, CR_NUMBER_F32, c->complex ? 2 * count : count,
					1 / sqrt((double)c->states), 9);
	return weights;
}

static void run_modal(side *s, const void *arguments, int64_t cut, results *r)
{
	const modal_case *c = arguments;
	const int64_t count = c->rows * c->width;
	const int64_t states = c->width * c->states * (c->complex ? 2 : 1);
	const cr_modal_weights weights = modal_weights(s, c);
	const int slow = c->log_pole < 0;
	void *skip = c->skip ? random_input(s, CR_NUMBER_F32, c->width, 1, 10) : NULL;
	void *g = random_input(s, ACTIVATION, count, 1, 11);
	void *x2 = c->state_only ? NULL : random_changed(s, ACTIVATION, count, 1, 12);
	void *y = c->state_only ? NULL : c->in_place ? x2 : output(s, ACTIVATION, count);
	void *state = random_changed(s, CR_NUMBER_F64, states, slow ? 0 : 3, 13);

	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t from = i * cut * c->width;
		const cr_stack_modal a = {
			.weights = &weights,
			.skip = skip,
			.g = at(s, ACTIVATION, g, from),
			.x2 = x2 ? at(s, ACTIVATION, x2, from) : NULL,
			.y = y ? at(s, ACTIVATION, y, from) : NULL,
			.state = state,
			.rows = rows_of(i, c->rows, cut),
			.width = c->width,
		};

		CALL(s, modal, &a);
	}
	if (y)
		collect(s, r, "y", ACTIVATION, y, count, (tolerance){.f32 = 1e-5, .ulps = 2.2});
	collect(s, r, "state", CR_NUMBER_F64, state, states, (tolerance){.f32 = 1e-5});
}

static void check_modal(const modal_case *c)
{
	char what[150];

	snprintf(what, sizeof what,
		 "modal %lld x %lld, %lld %s states, skip %d, in place %d, state only %d",
		 (long long)c->rows, (long long)c->width, (long long)c->states,
		 c->complex ? "complex" : "real", c->skip, c->in_place, c->state_only);
	hold_to_reference(run_modal, c, c->rows > CR_MODAL_CHUNK ? CR_MODAL_CHUNK : 0, what);
	if (c->rows > 5 * CR_MODAL_CHUNK)
		hold_to_reference(run_modal, c, 3 * CR_MODAL_CHUNK, what);
}

/* Splits at multiples of the chunk give the same bytes. */
static void modal(void **state)
{
	static const int64_t rows[] = {0, 1, 7, 128, 129, 300};
	static const int64_t modes[][2] = {{0, 16}, {1, 8}, {1, 2}};

	(void)state;
	for (size_t m = 0; m < COUNT(modes); m++) {
		for (size_t w = 0; w < COUNT(widths); w++)
			for (size_t h = 0; h < COUNT(rows); h++)
				check_modal(&(modal_case){
					.complex = (int)modes[m][0],
					.states = modes[m][1],
					.width = widths[w],
					.rows = rows[h],
					.skip = (int)(w + h) % 2,
					.in_place = (int)(w + h) % 3 == 0,
					.state_only = (int)(w + h) % 5 == 1,
				});
		check_modal(&(modal_case){(int)modes[m][0], modes[m][1], 33, 1500, 1, 0, 0, 0});
		check_modal(&(modal_case){(int)modes[m][0], modes[m][1], 33, 1500, 0, 0, 1, 0});
	}
	check_modal(&(modal_case){0, 1, 32, 200, 1, 0, 0, 0}); /* states that nobody has */
	check_modal(&(modal_case){1, 1, 15, 200, 0, 0, 0, 0});
	check_modal(&(modal_case){0, 5, 15, 200, 1, 0, 0, 0});
	check_modal(&(modal_case){1, 11, 32, 200, 0, 1, 0, 0});
}

/* Poles so near 1 that float32 cannot hold them (e^-1e-7 is 1 - 0.84 of its last place): what is
 * forgotten over 20000 rows, 0.2 %, is right all the same. Inputs of one sign, so that it counts.
 */
static void run_slow(side *s, const void *arguments, int64_t cut, results *r)
{
	const modal_case *c = arguments;
	const cr_modal_weights weights = modal_weights(s, c);
	const int64_t count = c->rows * c->width;
	float *values = random_values(count, 0.1, 14), *ones = random_values(count, 0, 1);
	void *g, *x2, *y = output(s, ACTIVATION, count);
	void *state = random_changed(s, CR_NUMBER_F64, c->width * c->states, 0, 13);

	for (int64_t i = 0; i < count; i++) {
		values[i] += 1;
		ones[i] = 1;
	}
	g = array_of(s, ACTIVATION, values, count, 0);
	x2 = array_of(s, ACTIVATION, ones, count, 0);
	cr_free(values);
	cr_free(ones);
	for (int i = 0; i < (cut ? 2 : 1); i++) {
		const int64_t from = i * cut * c->width;
		const cr_stack_modal a = {.weights = &weights,
					  .g = at(s, ACTIVATION, g, from),
					  .x2 = at(s, ACTIVATION, x2, from),
					  .y = at(s, ACTIVATION, y, from),
					  .state = state,
					  .rows = rows_of(i, c->rows, cut),
					  .width = c->width};

		CALL(s, modal, &a);
	}
	collect(s, r, "y", ACTIVATION, y, count, (tolerance){.f32 = 3e-6});
	collect(s, r, "state", CR_NUMBER_F64, state, c->width * c->states,
		(tolerance){.f32 = 1e-6});
}

static void modal_slow_poles(void **state)
{
	const modal_case c = {.states = 2, .width = 5, .rows = 20000, .log_pole = -1e-7};

	(void)state;
	hold_to_reference(run_slow, &c, 77 * CR_MODAL_CHUNK, "slow poles");
}

typedef struct fold_case {
	modal_case modal;
	int64_t length;
} fold_case;

static void run_fold(side *s, const void *arguments, int64_t cut, results *r)
{
	const fold_case *c = arguments;
	const int64_t states = c->modal.width * c->modal.states * (c->modal.complex ? 2 : 1);
	const cr_modal_weights weights = modal_weights(s, &c->modal);
	void *local = random_input(s, CR_NUMBER_F64, states, 1, 15);
	void *state = random_changed(s, CR_NUMBER_F64, states, 1, 16);
	const cr_stack_modal_fold a = {&weights, c->length, c->modal.width, local, state};

	(void)cut;
	CALL(s, modal_fold, &a);
	/* a complex power of 1e6 loses as many times 1e-16 */
	collect(s, r, "state", CR_NUMBER_F64, state, states,
		(tolerance){.f32 = 1e-14 * (10 + (double)c->length / 10)});
}

static void modal_fold(void **state)
{
	static const int64_t lengths[] = {0, 1, 2, 127, 128, 4096, 131072, 1000001};

	(void)state;
	for (size_t w = 0; w < COUNT(widths); w++)
		for (size_t l = 0; l < COUNT(lengths); l++)
			for (int i = 0; i < 4; i++) {
				const fold_case c = {
					{.complex = i & 1,
					 .states = i & 1 ? 8 : 16,
					 .width = widths[w],
					 .log_pole = i == 2 ? -1e-7 : 0},
					lengths[l],
				};
				char what[100];

				snprintf(what, sizeof what, "fold %d over %lld, width %lld", i,
					 (long long)c.length, (long long)c.modal.width);
				hold_to_reference(run_fold, &c, 0, what);
			}
}

/* The judge scans all rows at once; a device scans both parts from nothing and folds their states.
 */
static void run_halves(side *s, const void *arguments, int64_t cut, results *r)
{
	const modal_case *c = arguments;
	const int64_t states = c->width * c->states * (c->complex ? 2 : 1), first = 300;
	const cr_modal_weights weights = modal_weights(s, c);
	void *g = random_input(s, ACTIVATION, c->rows * c->width, 1, 17);
	void *state[2];

	(void)cut;
	for (int i = 0; i < (s->judge ? 1 : 2); i++) {
		cr_stack_modal a = {
			.weights = &weights,
			.g = at(s, ACTIVATION, g, i * first * c->width),
			.rows = s->judge ? c->rows
				: i      ? c->rows - first
					 : first,
			.width = c->width,
		};

		a.state = state[i] = random_changed(s, CR_NUMBER_F64, states, 0, 1);
		CALL(s, modal, &a);
	}
	if (!s->judge) {
		const cr_stack_modal_fold a = {&weights, c->rows - first, c->width, state[1],
					       state[0]};

		CALL(s, modal_fold, &a);
	}
	collect(s, r, "state", CR_NUMBER_F64, state[0], states, (tolerance){.f32 = 1e-5});
}

static void two_halves_are_the_whole(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		const modal_case c = {.complex = i, .states = i ? 8 : 16, .width = 33, .rows = 901};

		hold_to_reference(run_halves, &c, 0, "two halves");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(front),      cmocka_unit_test(fir),
		cmocka_unit_test(modal),      cmocka_unit_test(modal_slow_poles),
		cmocka_unit_test(modal_fold), cmocka_unit_test(two_halves_are_the_whole),
	};

	return cmocka_run_group_tests(tests, open_sides, close_sides);
}
