/* Metrics against values worked out by hand, and k-mers against a count by substrings. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "task/learn.h"

static void near(double value, double expected)
{
	if (!(fabs(value - expected) <= 1e-12))
		fail_msg("%.15g, expected %.15g", value, expected);
}

/* Two classes: (1 - p, p) of each p. */
static cr_metrics of_two(const double *p, const int32_t *label, int64_t rows)
{
	double both[32];
	cr_metrics metrics;
	crocuta_error error = {0};

	memset(&metrics, 0xff, sizeof metrics);
	for (int64_t i = 0; i < rows; i++) {
		both[2 * i] = 1 - p[i];
		both[2 * i + 1] = p[i];
	}
	assert_int_equal(cr_measure(both, label, rows, 2, &metrics, &error), 0);
	return metrics;
}

static void two_classes_by_hand(void **state)
{
	static const double p[] = {0.9, 0.8, 0.7, 0.6, 0.45, 0.2, 0.15, 0.05};
	static const int32_t label[] = {1, 1, 0, 1, 1, 0, 0, 0};
	cr_metrics m = of_two(p, label, 8);

	(void)state;
	assert_int_equal(m.examples, 8);
	assert_int_equal(m.classes, 2);
	near(m.accuracy, 6.0 / 8);
	/* 16 pairs; the negative 0.7 lies above two positives */
	near(m.auroc, 14.0 / 16);
	near(m.auprc, (1 + 1 + 3.0 / 4 + 4.0 / 5) / 4);
	/* tp 3, fp 1, fn 1, tn 3 */
	near(m.mcc, (3.0 * 3 - 1) / 16);
	near(m.brier, (0.01 + 0.04 + 0.49 + 0.16 + 0.3025 + 0.04 + 0.0225 + 0.0025) / 8);
	near(m.log_loss, -(log(0.9) + log(0.8) + log(0.3) + log(0.6) + log(0.45) + log(0.8) +
			   log(0.85) + log(0.95)) /
				 8);
	/* predicted class: 0.9 0.95 | 0.8 0.8 0.85 | 0.7 wrong | 0.6 | 0.55 wrong */
	assert_int_equal(m.bin_count[9], 2);
	assert_int_equal(m.bin_count[8], 3);
	assert_int_equal(m.bin_count[5], 1);
	assert_int_equal(m.bin_count[0], 0);
	near(m.bin_probability[8], (0.8 + 0.8 + 0.85) / 3);
	near(m.bin_accuracy[8], 1);
	near(m.bin_accuracy[5], 0);
	near(m.bin_probability[0], 0);
	near(m.ece, ((0.1 + 0.05) + (0.2 + 0.2 + 0.15) + 0.7 + 0.4 + 0.55) / 8);
}

static void ties_count_half(void **state)
{
	static const double p[] = {0.5, 0.5, 0.5, 0.25, 0.25};
	static const int32_t label[] = {1, 0, 1, 1, 0};
	cr_metrics m = of_two(p, label, 5);

	(void)state;
	/* pairs: (0.5, 0.5) twice half, (0.5, 0.25) twice one, (0.25, 0.5) none, (0.25, 0.25) half
	 */
	near(m.auroc, (2 * 0.5 + 2 + 0 + 0.5) / 6);
	near(m.auprc, (2 * (2.0 / 3) + 3.0 / 5) / 3);
	/* p = 0.5 is class 0, the lower one */
	near(m.accuracy, 2.0 / 5);
	near(m.mcc, 0);
}

static void one_class_alone_is_not_defined(void **state)
{
	static const double p[] = {0.9, 0.2};
	static const int32_t ones[] = {1, 1}, zeros[] = {0, 0};
	cr_metrics m = of_two(p, ones, 2);

	(void)state;
	assert_true(isnan(m.auroc));
	near(m.auprc, 1);
	near(m.mcc, 0);
	m = of_two(p, zeros, 2);
	assert_true(isnan(m.auroc));
	assert_true(isnan(m.auprc));
	near(m.accuracy, 0.5);
}

static void several_classes_by_hand(void **state)
{
	static const double p[] = {
		0.6, 0.3, 0.1, 0.0, /* 0, right */
		0.5, 0.4, 0.1, 0.0, /* 1, as 0 */
		0.1, 0.8, 0.1, 0.0, /* 1, right */
		0.2, 0.2, 0.6, 0.0, /* 2, right */
		0.3, 0.4, 0.3, 0.0, /* 2, as 1 */
		0.7, 0.2, 0.1, 0.0, /* 0, right */
	};
	static const int32_t label[] = {0, 1, 1, 2, 2, 0};
	cr_metrics m;
	crocuta_error error = {0};

	(void)state;
	memset(&m, 0xff, sizeof m);
	assert_int_equal(cr_measure(p, label, 6, 4, &m, &error), 0);
	near(m.accuracy, 4.0 / 6);
	/* class 0: 0.7+ 0.6+ 0.5 0.3 0.2 0.1: 8 of 8. Class 1: 0.8+ 0.4+ = 0.4- 0.3 0.2 0.2: 7.5
	 * of 8. Class 2: 0.6+ 0.3+ and the rest. Class 3 does not occur. */
	near(m.auroc, (1 + 7.5 / 8 + 1) / 3);
	near(m.auprc, (1 + (1 + 2.0 / 3) / 2 + 1) / 3);
	/* actual 2 2 2, predicted 3 2 1: (4 * 6 - (6 + 4 + 2)) / sqrt((36 - 12) (36 - 14)) */
	near(m.mcc, 12 / sqrt(24.0 * 22.0));
	near(m.brier, (0.26 + 0.62 + 0.06 + 0.24 + 0.74 + 0.14) / 6);
	near(m.log_loss, -(log(0.6) + log(0.4) + log(0.8) + log(0.6) + log(0.3) + log(0.7)) / 6);
	/* bins 4: 0.4 wrong; 5: 0.5 wrong; 6: 0.6 0.6; 7: 0.7; 8: 0.8 */
	near(m.ece, (0.4 + 0.5 + 0.8 + 0.3 + 0.2) / 6);
}

static void certain_and_wrong_is_finite(void **state)
{
	static const double p[] = {1, 0};
	static const int32_t label[] = {0, 1};
	cr_metrics m = of_two(p, label, 2);

	(void)state;
	assert_true(isfinite(m.log_loss) && m.log_loss > 30);
	near(m.brier, 1);
	near(m.auroc, 0);
	near(m.mcc, -1);
	assert_int_equal(m.bin_count[9], 2);
	near(m.ece, 1);
}

static void bad_input_is_refused(void **state)
{
	double p[] = {0.5, 0.5, NAN, 0.5};
	int32_t label[] = {0, 1};
	cr_metrics m;
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(cr_measure(p, label, 2, 2, &m, &error), CROCUTA_ENUMERIC);
	assert_non_null(strstr(error.message, "example 1"));
	memset(&error, 0, sizeof error);
	assert_int_equal(cr_measure(p, label, 0, 2, &m, &error), CROCUTA_EINPUT);
	label[0] = 2;
	memset(&error, 0, sizeof error);
	assert_int_equal(cr_measure(p, label, 1, 2, &m, &error), CROCUTA_EARG);
	label[0] = 0;
	for (int i = 1; i <= 2; i++) {
		memset(&error, 0, sizeof error);
		cr_memory_fail_at(i);
		assert_int_equal(cr_measure(p, label, 1, 2, &m, &error), CROCUTA_EMEMORY);
	}
	cr_memory_fail_at(0);
}

/* ---- k-mers ---------------------------------------------------------------------------------- */

/* How often `word` (upper case) is in `bases`, either case; *places: words of its length in ACGT.
 */
static int64_t occurrences(const char *bases, const char *word, int64_t *places)
{
	const int64_t length = (int64_t)strlen(bases), m = (int64_t)strlen(word);
	int64_t count = 0;

	*places = 0;
	for (int64_t i = 0; i + m <= length; i++) {
		int same = 1, letters = 1;

		for (int64_t j = 0; j < m; j++) {
			char base = bases[i + j];

			base = (char)(base >= 'a' ? base - 32 : base);
			letters &= base == 'A' || base == 'C' || base == 'G' || base == 'T';
			same &= base == word[j];
		}
		count += same;
		*places += letters;
	}
	return count;
}

/* All words in the order of the columns. */
static void check_row(const cr_features *table, int64_t row, const char *bases, int k)
{
	int64_t entry = table->start[row], column = 0, places;

	for (int m = 1; m <= k; m++) {
		for (int64_t code = 0; code < (int64_t)1 << 2 * m; code++, column++) {
			char word[9] = {0};
			int64_t count;

			for (int j = 0; j < m; j++)
				word[j] = "ACGT"[code >> 2 * (m - 1 - j) & 3];
			count = occurrences(bases, word, &places);
			if (!count)
				continue;
			assert_true(entry < table->start[row + 1]);
			assert_int_equal(table->column[entry], column);
			assert_float_equal(table->value[entry],
					   (double)count / (double)places * pow(4, m), 1e-4);
			entry++;
		}
	}
	assert_int_equal(entry, table->start[row + 1]);
	assert_int_equal(column, table->columns);
}

static void kmers_are_counted(void **state)
{
	static const char *const sequences[] = {"ACGTACGTTTGACA",
						"acgtNNACgtRacca",
						"",
						"NNNN",
						"A",
						"TTTTTTTTTTTTTTTT",
						"GATTACAGATTACAnGATTACAcattag"};
	const int count = (int)(sizeof sequences / sizeof *sequences);
	crocuta_error error = {0};

	(void)state;
	for (int k = 1; k <= 5; k++) {
		cr_kmers *kmers;
		cr_features table;

		assert_int_equal(cr_kmers_new(k, &kmers, &error), 0);
		for (int i = 0; i < count; i++)
			assert_int_equal(cr_kmers_add(kmers, sequences[i],
						      (int64_t)strlen(sequences[i]), &error),
					 0);
		table = cr_kmers_features(kmers);
		assert_int_equal(table.rows, count);
		assert_null(table.dense);
		for (int i = 0; i < count; i++)
			check_row(&table, i, sequences[i], k);
		cr_kmers_free(kmers);
	}
}

static void longest_kmers_and_limits(void **state)
{
	cr_kmers *kmers;
	cr_features table;
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(cr_kmers_new(8, &kmers, &error), 0);
	assert_int_equal(cr_kmers_add(kmers, "TTTTTTTTT", 9, &error), 0);
	table = cr_kmers_features(kmers);
	assert_int_equal(table.columns, 87380);
	assert_int_equal(table.start[1], 8);
	assert_int_equal(table.column[7], 87379);
	assert_float_equal(table.value[7], 65536, 0);
	cr_kmers_free(kmers);
	assert_int_equal(cr_kmers_new(9, &kmers, &error), CROCUTA_EARG);
	assert_null(kmers);
	cr_kmers_free(NULL);
}

static void kmers_without_memory(void **state)
{
	cr_kmers *kmers;
	crocuta_error error = {0};
	cr_features table;

	(void)state;
	for (int i = 1; i <= 4; i++) {
		memset(&error, 0, sizeof error);
		cr_memory_fail_at(i);
		assert_int_equal(cr_kmers_new(2, &kmers, &error), CROCUTA_EMEMORY);
		assert_null(kmers);
	}
	cr_memory_fail_at(0);
	assert_int_equal(cr_kmers_new(2, &kmers, &error), 0);
	/* room for rows, then for columns, then for values; what came before stays */
	for (int i = 0; i < 3; i++) {
		memset(&error, 0, sizeof error);
		cr_memory_fail_at(i == 0 ? 1 : 2);
		assert_int_equal(cr_kmers_add(kmers, "ACGT", 4, &error), CROCUTA_EMEMORY);
		cr_memory_fail_at(0);
		table = cr_kmers_features(kmers);
		assert_int_equal(table.rows, 0);
	}
	memset(&error, 0, sizeof error);
	assert_int_equal(cr_kmers_add(kmers, "AACC", 4, &error), 0);
	table = cr_kmers_features(kmers);
	check_row(&table, table.rows - 1, "AACC", 2);
	cr_kmers_free(kmers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_classes_by_hand),
		cmocka_unit_test(ties_count_half),
		cmocka_unit_test(one_class_alone_is_not_defined),
		cmocka_unit_test(several_classes_by_hand),
		cmocka_unit_test(certain_and_wrong_is_finite),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(kmers_are_counted),
		cmocka_unit_test(longest_kmers_and_limits),
		cmocka_unit_test(kmers_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
