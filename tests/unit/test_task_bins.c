/* Pooling, rows of bins from both strands, and scalars from logits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <crocuta/embed.h>

#include "base/memory.h"
#include "task/bins.h"
#include "task/pool.h"
#include "task/scalar.h"
#include "task/writer.h"

#define WIDTH 3
#define ROWS_MAX 64

struct seen {
	int64_t rows, columns;
	float values[ROWS_MAX * 2 * WIDTH];
	int64_t n_bases[ROWS_MAX];
	int code; /* to return */
};

static int keep(void *user, int64_t first, int64_t count, const float *values,
		const int64_t *n_bases)
{
	struct seen *seen = user;

	assert_int_equal(first, seen->rows);
	memcpy(seen->values + seen->rows * seen->columns, values,
	       (size_t)(count * seen->columns) * sizeof *values);
	memcpy(seen->n_bases + seen->rows, n_bases, (size_t)count * sizeof *n_bases);
	seen->rows += count;
	return seen->code;
}

/* What the model would say of a base on a strand. */
static float value_of(int64_t position, int reverse, int column)
{
	return (float)(position * 10 + column) * (reverse ? -1.0f : 1.0f);
}

static int take(cr_bins *bins, int64_t position, int reverse)
{
	float values[WIDTH];
	cr_bins_vector vector = {.position = position, .values = values, .reverse = reverse};

	for (int i = 0; i < WIDTH; i++)
		values[i] = value_of(position, reverse, i);
	vector.is_n = position % 2 == 0;
	return cr_bins_take(bins, &vector);
}

static cr_bins *make(struct seen *seen, int strands, int pool, int64_t capacity)
{
	cr_bins_options options = {.width = WIDTH,
				   .strands = strands,
				   .pool = pool,
				   .capacity = capacity,
				   .sink = keep,
				   .user = seen};
	cr_bins *bins = cr_bins_new(&options);

	memset(seen, 0, sizeof *seen);
	seen->columns = cr_bins_columns(&options);
	assert_non_null(bins);
	assert_true(cr_bins_bytes(&options) > capacity * WIDTH * 4);
	return bins;
}

static void forward_means_count_n_and_short_last_bins(void **state)
{
	struct seen seen;
	cr_bins *bins = make(&seen, CROCUTA_STRANDS_FORWARD, CR_POOL_MEAN, 2);

	(void)state;
	cr_bins_start(bins, 100, 110, 4, 0);
	for (int64_t p = 100; p < 110; p++)
		assert_int_equal(take(bins, p, 0), 0);
	assert_int_equal(cr_bins_flush(bins, 1), 0);
	assert_int_equal(seen.rows, 3);
	assert_true(seen.values[0] == 1015.0f && seen.values[2 * WIDTH + 1] == 1086.0f);
	assert_int_equal(seen.n_bases[0], 2);
	assert_int_equal(seen.n_bases[2], 1);
	cr_bins_free(bins);
}

/* Windows of the reverse strand: ascending, each delivering its bases in descending order. */
static void both_strands_meet_in_order(void **state)
{
	static const int strands[] = {CROCUTA_STRANDS_BOTH, CROCUTA_STRANDS_CONCAT};

	(void)state;
	for (int which = 0; which < 2; which++) {
		struct seen seen;
		cr_bins *bins = make(&seen, strands[which], CR_POOL_MEAN, 6);

		cr_bins_start(bins, 0, 20, 3, 0);
		for (int64_t window = 0; window < 20; window += 10) {
			for (int64_t p = window; p < window + 10; p++)
				assert_int_equal(take(bins, p, 0), 0);
			for (int64_t p = window + 9; p >= window; p--)
				assert_int_equal(take(bins, p, 1), 0);
		}
		assert_int_equal(cr_bins_flush(bins, 1), 0);
		assert_int_equal(seen.rows, 7);
		for (int64_t row = 0; row < 7; row++) {
			int64_t last = row == 6 ? 19 : 3 * row + 2;
			float forward = (float)(3 * row + last) * 5.0f;
			float *out = seen.values + row * seen.columns;

			assert_true(out[0] == (which ? forward : 0.0f));
			if (which)
				assert_true(out[WIDTH] == -forward);
			assert_int_equal(seen.n_bases[row], row == 6 ? 1 : 2 - row % 2);
		}
		cr_bins_free(bins);
	}
}

static void last_follows_the_reading_direction(void **state)
{
	struct seen seen;
	cr_bins *bins = make(&seen, CROCUTA_STRANDS_CONCAT, CR_POOL_LAST, 8);

	(void)state;
	cr_bins_start(bins, 0, 7, 5, 0);
	for (int64_t p = 0; p < 7; p++)
		assert_int_equal(take(bins, p, 0), 0);
	for (int64_t p = 6; p >= 0; p--)
		assert_int_equal(take(bins, p, 1), 0);
	assert_int_equal(cr_bins_flush(bins, 1), 0);
	assert_true(seen.values[0] == 40.0f && seen.values[WIDTH] == -0.0f);
	assert_true(seen.values[2 * WIDTH] == 60.0f && seen.values[3 * WIDTH] == -50.0f);
	cr_bins_free(bins);
}

static void missing_values(void **state)
{
	struct seen seen;
	cr_bins *bins = make(&seen, CROCUTA_STRANDS_BOTH, CR_POOL_MEAN, 8);
	cr_bins_vector none = {.position = 0};

	(void)state;
	cr_bins_start(bins, 0, 2, 1, 0);
	assert_int_equal(cr_bins_take(bins, &none), 0);
	assert_int_equal(take(bins, 1, 0), 0);
	none.reverse = 1;
	none.position = 1;
	assert_int_equal(cr_bins_take(bins, &none), 0);
	none.position = 0;
	assert_int_equal(cr_bins_take(bins, &none), 0);
	assert_int_equal(cr_bins_flush(bins, 1), 0);
	assert_true(isnan(seen.values[0]));       /* on neither strand */
	assert_true(seen.values[WIDTH] == 10.0f); /* on one */
	cr_bins_free(bins);
}

static void mistakes_are_told(void **state)
{
	struct seen seen;
	cr_bins *bins = make(&seen, CROCUTA_STRANDS_REVERSE, CR_POOL_MEAN, 2);

	(void)state;
	cr_bins_start(bins, 0, 10, 1, 0);
	assert_int_equal(take(bins, 1, 0), CROCUTA_EINTERNAL); /* not that strand */
	assert_int_equal(take(bins, 2, 1), CROCUTA_EINTERNAL); /* beyond the ring */
	assert_int_equal(take(bins, 0, 1), 0);
	assert_int_equal(take(bins, 2, 1), 0); /* row 0 has gone out */
	assert_int_equal(take(bins, 0, 1), CROCUTA_EINTERNAL);
	assert_int_equal(cr_bins_flush(bins, 1), CROCUTA_EINTERNAL);
	cr_bins_free(bins);
	bins = make(&seen, CROCUTA_STRANDS_FORWARD, CR_POOL_MEAN, 2);
	seen.code = CROCUTA_EIO;
	cr_bins_start(bins, 0, 1, 1, 0);
	assert_int_equal(take(bins, 0, 0), 0);
	assert_int_equal(cr_bins_flush(bins, 1), CROCUTA_EIO);
	cr_bins_free(bins);
}

static void memory_that_fails(void **state)
{
	cr_bins_options options = {
		.width = 4, .strands = CROCUTA_STRANDS_BOTH, .capacity = 9, .sink = keep};
	int64_t needed;

	(void)state;
	cr_memory_fail_at(0);
	cr_bins_free(cr_bins_new(&options));
	needed = cr_memory_count();
	for (int64_t n = 1; n <= needed; n++) {
		cr_memory_fail_at(n);
		assert_null(cr_bins_new(&options));
	}
	cr_memory_fail_at(0);
}

static void finite(void **state)
{
	float values[19];

	(void)state;
	for (int count = 0; count <= 19; count++) {
		for (int i = 0; i < 19; i++)
			values[i] = i % 2 ? -3e38f : 0.0f;
		assert_int_equal(cr_all_finite(values, count), 1);
		for (int bad = 0; bad < count; bad++) {
			float good = values[bad];

			values[bad] = NAN;
			assert_int_equal(cr_all_finite(values, count), 0);
			values[bad] = -INFINITY;
			assert_int_equal(cr_all_finite(values, count), 0);
			values[bad] = good;
		}
	}
}

static void scalars(void **state)
{
	static const uint8_t bases[4] = {7, 8, 9, 10};
	float logits[16] = {0};
	cr_scalar scalar;

	(void)state;
	cr_scalar_init(&scalar, CR_SCALAR_LOGPROB, 16, 0, bases, 11);
	assert_true(fabs(cr_scalar_value(&scalar, logits, 7) + log(16)) < 1e-6);
	cr_scalar_init(&scalar, CR_SCALAR_LOGPROB, 16, 4, bases, 11);
	logits[0] = 1000; /* outside the classes */
	assert_true(fabs(cr_scalar_value(&scalar, logits, 7) + log(4)) < 1e-6);
	assert_true(isnan(cr_scalar_value(&scalar, logits, 11)));
	logits[8] = 5000;
	assert_true(fabs(cr_scalar_value(&scalar, logits, 8)) < 1e-6);
	assert_true(fabs(cr_scalar_value(&scalar, logits, 7) + 5000) < 1e-2);
	cr_scalar_init(&scalar, CR_SCALAR_ENTROPY, 16, 5, bases, 11);
	assert_true(fabs(cr_scalar_value(&scalar, logits, 7)) < 1e-6);
	logits[8] = 0;
	assert_true(fabs(cr_scalar_value(&scalar, logits, 7) - log(5)) < 1e-6);
}

/* A vocabulary of bytes and more: rows that no id reaches are in the softmax. */
static void scalars_of_many_classes(void **state)
{
	static const uint8_t bases[4] = {'A', 'C', 'G', 'T'};
	float logits[512];
	cr_scalar scalar;

	(void)state;
	for (int i = 0; i < 512; i++)
		logits[i] = i < 300 ? -3 : 2;
	logits['C'] = 7;
	cr_scalar_init(&scalar, CR_SCALAR_LOGPROB, 512, 0, bases, 'N');
	assert_true(fabs(cr_scalar_value(&scalar, logits, 'C') - 7 +
			 log(299 * exp(-3) + 212 * exp(2) + exp(7))) < 1e-5);
	cr_scalar_init(&scalar, CR_SCALAR_LOGPROB, 512, 5, bases, 'N');
	assert_true(fabs(cr_scalar_value(&scalar, logits, 'N') + 3 + log(4 * exp(-3) + exp(7))) <
		    1e-5);
	cr_scalar_init(&scalar, CR_SCALAR_ENTROPY, 512, 0, bases, 'N');
	for (int i = 0; i < 512; i++)
		logits[i] = 1;
	assert_true(fabs(cr_scalar_value(&scalar, logits, 'C') - log(512)) < 1e-5);
}

static void writers_by_name_and_suffix(void **state)
{
	char path[100];

	(void)state;
	assert_ptr_equal(cr_writer_find("npy"), &cr_writer_npy);
	assert_null(cr_writer_find("zarr"));
	assert_ptr_equal(cr_writer_of_path("a/b.NPY"), &cr_writer_npy);
	assert_ptr_equal(cr_writer_of_path("x.tsv.gz"), &cr_writer_tsv);
	assert_ptr_equal(cr_writer_of_path("x.bedGraph"), &cr_writer_bedgraph);
	assert_ptr_equal(cr_writer_of_path("x.bigWig"), &cr_writer_bw);
	assert_null(cr_writer_of_path("x.npy.gz"));
	assert_null(cr_writer_of_path(".npy"));
	assert_null(cr_writer_of_path("npy"));
	assert_int_equal(cr_writer_file(&cr_writer_npy, "d/x.npy", 1, path, sizeof path), 0);
	assert_string_equal(path, "d/x.rows.bed.gz");
	assert_int_equal(cr_writer_file(&cr_writer_npy, "d.e/x", 2, path, sizeof path), 0);
	assert_string_equal(path, "d.e/x.meta.json");
	assert_int_equal(cr_writer_file(&cr_writer_npy, "x.npy", 3, path, sizeof path), -1);
	assert_int_equal(cr_writer_file(&cr_writer_bw, "x.bw", 1, path, sizeof path), 0);
	assert_string_equal(path, "x.bw.meta.json");
	assert_int_equal(cr_writer_file(&cr_writer_tsv, "x.tsv", 1, path, sizeof path), -1);
	assert_int_equal(cr_writer_file(&cr_writer_npy, "long.npy", 1, path, 8), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forward_means_count_n_and_short_last_bins),
		cmocka_unit_test(both_strands_meet_in_order),
		cmocka_unit_test(last_follows_the_reading_direction),
		cmocka_unit_test(missing_values),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(memory_that_fails),
		cmocka_unit_test(finite),
		cmocka_unit_test(scalars),
		cmocka_unit_test(scalars_of_many_classes),
		cmocka_unit_test(writers_by_name_and_suffix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
