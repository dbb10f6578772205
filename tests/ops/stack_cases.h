/* stack_cases.h - runs one case of an operator on stacks on every device that is here, and holds
 * the results to the reference.
 *
 * A case is a function that uploads its inputs, calls the operator and collects the outputs. It
 * runs on the judge, which is the reference in double with inputs rounded to the types of the
 * device under test, and on the device: whole, with its rows split over two calls, and on the CPU
 * also with another number of threads. Outputs begin as NaN, and so do the gaps between rows and a
 * guard behind every output, where NaN must stay.
 */
#ifndef CR_TESTS_STACK_CASES_H
#define CR_TESTS_STACK_CASES_H

#include "ops_test.h"

#include "backend/cpu/kernels.h"
#include "backend/stack_ops.h"
#include "base/half.h"
#ifdef CR_CUDA
#include "backend/cuda/cuda.h"
#endif

#define GUARD 16  /* numbers behind an output */
#define ARRAYS 40 /* of a case */
#define PARTS 4   /* outputs of a case */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Types of numbers that depend on the device; else an enum cr_number. */
enum { ACTIVATION = -2, RESIDUAL = -1 };

/* How far an output may be off: a part of the expected values' root mean square (or of `least`,
 * where that is larger), for float32 and bfloat16 activations, and 1e-6 of each value; for outputs
 * in bfloat16 also `ulps` times 2^-8 of each value, half a step of that type and 1.1 if not set.
 * All zero: not at all. */
typedef struct tolerance {
	double f32, bf16, least, ulps;
} tolerance;

/* A device, and the arrays that a case has on it. */
typedef struct side {
	const char *name;
	const cr_stack_ops *ops;
	cr_stack_device *device;
	int activation, residual;                 /* stored types */
	int activation_rounded, residual_rounded; /* types that inputs are rounded to */
	int judge;
	double slack; /* times the tolerance for float32 */
	void *arrays[ARRAYS];
	int count;
} side;

typedef struct results {
	struct {
		const char *name;
		int type;
		double *values;
		int64_t count;
		tolerance tolerance;
	} part[PARTS];
	int parts;
} results;

/* cut: rows of the first of two calls; 0: all rows in one. */
typedef void stack_run(side *s, const void *arguments, int64_t cut, results *r);

#define CALL(s, operator, arguments)                                                               \
	do {                                                                                       \
		crocuta_error call_error = {0};                                                    \
		if ((s)->ops->operator((s)->device, (arguments), &call_error))                     \
			fail_msg("%s %s: %s", (s)->name, #operator, call_error.message);           \
	} while (0)

/* For loops over calls: rows of call i (0, or 1 too where there is a cut). */
static inline int64_t rows_of(int i, int64_t rows, int64_t cut)
{
	return i ? rows - cut : cut ? cut : rows;
}

static inline int stored_type(const side *s, int type)
{
	return type == ACTIVATION ? s->activation : type == RESIDUAL ? s->residual : type;
}

static inline double rounded(const side *s, int type, double value)
{
	if (type == ACTIVATION)
		type = s->activation_rounded;
	if (type == RESIDUAL)
		type = s->residual_rounded;
	return type == CR_NUMBER_BF16
		       ? (double)cr_bfloat_to_float(cr_bfloat_from_float((float)value))
	       : type == CR_NUMBER_F32 ? (double)(float)value
				       : value;
}

static inline void put_number(void *values, int type, int64_t i, double value)
{
	if (type == CR_NUMBER_F32)
		((float *)values)[i] = (float)value;
	else if (type == CR_NUMBER_BF16)
		((uint16_t *)values)[i] = cr_bfloat_from_float((float)value);
	else
		((double *)values)[i] = value;
}

static inline double get_number(const void *values, int type, int64_t i)
{
	return type == CR_NUMBER_F32    ? (double)((const float *)values)[i]
	       : type == CR_NUMBER_BF16 ? (double)cr_bfloat_to_float(((const uint16_t *)values)[i])
					: ((const double *)values)[i];
}

/* Number i of a device's array. */
static inline void *at(const side *s, int type, void *array, int64_t i)
{
	return (char *)array + i * cr_number_bytes(stored_type(s, type));
}

static inline void *upload_bytes(side *s, const void *host, int64_t bytes)
{
	crocuta_error error = {0};
	void *array = NULL;

	assert_true(s->count < ARRAYS);
	if (s->ops->allocate(s->device, bytes ? bytes : 1, &array, &error) ||
	    s->ops->upload(s->device, array, host, bytes, &error))
		fail_msg("%s: %s", s->name, error.message);
	s->arrays[s->count++] = array;
	return array;
}

/* count values (NULL: NaN), and `guard` times NaN behind. */
static inline void *array_of(side *s, int type, const float *values, int64_t count, int64_t guard)
{
	const int stored = stored_type(s, type);
	void *host = cr_calloc((size_t)(count + guard + 1), 8), *array;

	assert_non_null(host);
	for (int64_t i = 0; i < count + guard; i++)
		put_number(host, stored, i,
			   values && i < count ? rounded(s, type, values[i]) : (double)NAN);
	array = upload_bytes(s, host, (count + guard) * cr_number_bytes(stored));
	cr_free(host);
	return array;
}

static inline void *output(side *s, int type, int64_t count)
{
	return array_of(s, type, NULL, count, GUARD);
}

/* Random rows, NaN between them. changed: written by the operator, so guarded as an output. */
static inline void *random_rows(side *s, int type, int64_t rows, int64_t width, int64_t stride,
				int changed, double scale, uint64_t seed)
{
	const int64_t count = rows ? (rows - 1) * stride + width : 0;
	float *values = random_values(count, scale, seed);
	void *array;

	for (int64_t i = 0; i < count; i++)
		if (i % stride >= width)
			values[i] = NAN;
	array = array_of(s, type, values, count, changed ? GUARD : 0);
	cr_free(values);
	return array;
}

static inline void *random_input(side *s, int type, int64_t count, double scale, uint64_t seed)
{
	return random_rows(s, type, 1, count, count + 1, 0, scale, seed);
}

static inline void *random_changed(side *s, int type, int64_t count, double scale, uint64_t seed)
{
	return random_rows(s, type, 1, count, count + 1, 1, scale, seed);
}

/* A random matrix, type F32 or BF16, with values of about the size that keeps that of inputs. */
static inline cr_matrix random_matrix(side *s, int type, int64_t rows, int64_t columns, int bias,
				      uint64_t seed)
{
	cr_matrix m = {NULL, type, rows, columns, NULL};

	m.values = random_input(s, type, rows * columns, 1 / sqrt((double)columns), seed);
	m.bias = bias ? random_input(s, CR_NUMBER_F32, rows, 1, seed + 1) : NULL;
	return m;
}

/* Download an output into the results. */
static inline void collect(side *s, results *r, const char *name, int type, const void *array,
			   int64_t count, tolerance allowed)
{
	const int stored = stored_type(s, type);
	const int64_t bytes = (count + GUARD) * cr_number_bytes(stored);
	void *host = cr_calloc((size_t)(count + GUARD), 8);
	double *values = cr_calloc((size_t)(count + 1), sizeof *values);
	crocuta_error error = {0};

	assert_non_null(host);
	assert_non_null(values);
	if (s->ops->download(s->device, host, array, bytes, &error))
		fail_msg("%s: %s", s->name, error.message);
	for (int64_t i = 0; i < count; i++)
		values[i] = get_number(host, stored, i);
	for (int64_t i = count; i < count + GUARD; i++)
		if (!isnan(get_number(host, stored, i)))
			fail_msg("%s %s: wrote behind the end", s->name, name);
	cr_free(host);
	assert_true(r->parts < PARTS);
	r->part[r->parts].name = name;
	r->part[r->parts].type = type;
	r->part[r->parts].values = values;
	r->part[r->parts].count = count;
	r->part[r->parts++].tolerance = allowed;
}

static inline void release_all(side *s)
{
	while (s->count > 0)
		s->ops->release(s->device, s->arrays[--s->count]);
}

static inline void forget(results *r)
{
	while (r->parts > 0)
		cr_free(r->part[--r->parts].values);
}

/* 1 where both are NaN, the same infinity, or closer than limit. */
static inline int number_agrees(double actual, double expected, double limit)
{
	if (isnan(actual) || isnan(expected))
		return isnan(actual) && isnan(expected);
	return actual == expected || fabs(actual - expected) <= limit;
}

/* 1 if count numbers are within rms * of_rms + |expected| * of_each; else says where not. */
static inline int numbers_agree(const char *what, const double *actual, const double *expected,
				int64_t count, double of_rms, double least, double of_each)
{
	double square = 0, rms, worst = 0;
	int64_t finite = 0;

	for (int64_t i = 0; i < count; i++)
		if (isfinite(expected[i])) {
			square += expected[i] * expected[i];
			finite++;
		}
	rms = fmax(finite ? sqrt(square / (double)finite) : 0, least);
	for (int64_t i = 0; i < count; i++) {
		if (!number_agrees(actual[i], expected[i],
				   of_rms * rms + of_each * fabs(expected[i]))) {
			print_error("%s: number %lld of %lld is %.9g, not %.9g; rms %.3g, %.1e of "
				    "it allowed\n",
				    what, (long long)i, (long long)count, actual[i], expected[i],
				    rms, of_rms);
			return 0;
		}
		if (isfinite(actual[i]) && isfinite(expected[i]))
			worst = fmax(worst, fabs(actual[i] - expected[i]));
	}
	if (getenv("CROCUTA_TEST_VERBOSE"))
		print_message("%s: error %.2e of rms, %.1e allowed\n", what,
			      rms > 0 ? worst / rms : worst, of_rms);
	return 1;
}

/* The device's results against the judge's. */
static inline void compare(const side *s, const char *what, const results *actual,
			   const results *expected)
{
	const int bf16 = s->activation == CR_NUMBER_BF16;
	char name[300];

	assert_int_equal(actual->parts, expected->parts);
	for (int i = 0; i < actual->parts; i++) {
		const tolerance t = actual->part[i].tolerance;
		const double of_rms = fmax(s->slack * t.f32, bf16 ? t.bf16 : 0);
		const double ulps = t.ulps > 0 ? t.ulps : 1.1;
		const double each =
			(bf16 && actual->part[i].type == ACTIVATION ? ulps * 0x1p-8 : 0) +
			(of_rms > 0 ? s->slack * 1e-6 : 0);

		assert_int_equal(actual->part[i].count, expected->part[i].count);
		snprintf(name, sizeof name, "%s %s: %s", s->name, what, actual->part[i].name);
		if (!numbers_agree(name, actual->part[i].values, expected->part[i].values,
				   actual->part[i].count, of_rms, t.least, each))
			fail_msg("%s", name);
	}
}

static inline void compare_bytes(const side *s, const char *what, const char *how,
				 const results *actual, const results *expected)
{
	assert_int_equal(actual->parts, expected->parts);
	for (int i = 0; i < actual->parts; i++)
		for (int64_t j = 0; j < expected->part[i].count; j++) {
			const double a = actual->part[i].values[j], b = expected->part[i].values[j];

			if (!(isnan(a) && isnan(b)) && memcmp(&a, &b, sizeof a))
				fail_msg("%s %s: %s number %lld is %.17g %s, else %.17g", s->name,
					 what, actual->part[i].name, (long long)j, a, how, b);
		}
}

/* The devices under test; cpu ones twice, with 3 threads and with 1. The reference with narrow ends
 * shows that tolerances for bfloat16 can be met, and are enough, where there is no GPU. */
enum processor { CPU, CUDA, REFERENCE };

static const struct kind {
	const char *name;
	enum processor processor;
	const char *isa;
	int activation;
} kinds[] = {
	{"cpu-portable", CPU, "portable", CR_NUMBER_F32},
	{"cpu-avx2", CPU, "avx2", CR_NUMBER_F32},
	{"cpu-avx512", CPU, "avx512", CR_NUMBER_F32},
	{"cuda", CUDA, NULL, CR_NUMBER_F32},
	{"cuda bfloat16", CUDA, NULL, CR_NUMBER_BF16},
	{"reference bfloat16", REFERENCE, NULL, CR_NUMBER_BF16},
};
#define KINDS ((int)COUNT(kinds))

static side sides[KINDS][2], judge_side;

/* NULL where this machine or this build lacks it. */
static inline const cr_stack_ops *kind_ops(const struct kind *kind)
{
	if (kind->processor == REFERENCE)
		return &cr_stack_ops_reference;
	if (kind->processor == CPU)
		return cr_kernels_get(kind->isa) ? &cr_stack_ops_cpu : NULL;
#ifdef CR_CUDA
	if (cr_cuda_count() > 0)
		return &cr_stack_ops_cuda;
	if (getenv("CROCUTA_NEED_GPU"))
		fail_msg("no GPU");
#endif
	return NULL;
}

static inline void open_side(side *s, const char *name, const cr_stack_ops *ops,
			     const cr_stack_device_options *options)
{
	crocuta_error error = {0};

	*s = (side){.name = name,
		    .ops = ops,
		    .activation = options->activation,
		    .residual = options->residual,
		    .activation_rounded = options->activation,
		    .residual_rounded = options->residual};
	if (ops->open(options, &s->device, &error))
		fail_msg("%s: %s", name, error.message);
	assert_non_null(s->device);
}

/* Group fixtures: open what is here, close it. */
static inline int open_sides(void **state)
{
	const cr_stack_device_options wide = {.activation = CR_NUMBER_F64,
					      .residual = CR_NUMBER_F64};

	(void)state;
	open_side(&judge_side, "judge", &cr_stack_ops_reference, &wide);
	judge_side.judge = 1;
	for (int i = 0; i < KINDS; i++) {
		const cr_stack_ops *ops = kind_ops(&kinds[i]);

		for (int j = 0; ops && j < (kinds[i].processor == CPU ? 2 : 1); j++) {
			const cr_stack_device_options options = {
				.activation = kinds[i].activation,
				.residual = CR_NUMBER_F32,
				.threads = j ? 1 : 3,
				.isa = kinds[i].isa,
			};

			open_side(&sides[i][j], kinds[i].name, ops, &options);
			sides[i][j].slack = kinds[i].processor == CUDA ? 4 : 1;
		}
	}
	return 0;
}

static inline int close_sides(void **state)
{
	(void)state;
	judge_side.ops->close(judge_side.device);
	for (int i = 0; i < KINDS; i++)
		for (int j = 0; j < 2; j++)
			if (sides[i][j].ops)
				sides[i][j].ops->close(sides[i][j].device);
	return 0;
}

static inline void run_on(side *s, stack_run *run, const void *arguments, int64_t cut, results *r)
{
	r->parts = 0;
	run(s, arguments, cut, r);
	release_all(s);
}

/* Run a case everywhere. cut: rows of the first call for the split; 0: none. */
static inline void hold_to_reference(stack_run *run, const void *arguments, int64_t cut,
				     const char *what)
{
	results expected = {0}, whole = {0}, other = {0};
	int judged = -1; /* type that the judge's inputs were rounded to */

	for (int i = 0; i < KINDS; i++) {
		side *s = &sides[i][0];

		if (!s->ops)
			continue;
		if (judged != s->activation) {
			judged = s->activation;
			judge_side.activation_rounded = judged;
			judge_side.residual_rounded = s->residual;
			forget(&expected);
			run_on(&judge_side, run, arguments, 0, &expected);
		}
		run_on(s, run, arguments, 0, &whole);
		compare(s, what, &whole, &expected);
		if (cut > 0 && kinds[i].processor != REFERENCE) {
			run_on(s, run, arguments, cut, &other);
			compare_bytes(s, what, "in two calls", &other, &whole);
			forget(&other);
		}
		if (sides[i][1].ops) {
			run_on(&sides[i][1], run, arguments, 0, &other);
			compare_bytes(s, what, "on one thread", &other, &whole);
			forget(&other);
		}
		forget(&whole);
	}
	forget(&expected);
}

#endif
