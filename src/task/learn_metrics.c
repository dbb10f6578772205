/* learn_metrics.c - how good probabilities are: the metrics of learn.h.
 *
 * Sources: area under the ROC curve as the Mann-Whitney statistic with mid-ranks (Hanley and McNeil
 * 1982); average precision as a step sum over distinct thresholds, without interpolation (Davis and
 * Goadrich 2006); the correlation for K classes from Gorodkin 2004, "Comparing two K-category
 * assignments by a K-category correlation coefficient"; expected calibration error from Guo et al.
 * 2017. */
#include "task/learn.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/pool.h"

struct scored {
	double score;
	int positive;
};

static int by_score_descending(const void *left, const void *right)
{
	const struct scored *a = left, *b = right;

	return (a->score < b->score) - (a->score > b->score);
}

/* Areas of one class against the rest; scored gets sorted. NaN where not defined. */
static void areas(struct scored *scored, int64_t count, double *auroc, double *auprc)
{
	double positives = 0, negatives = 0, above = 0, precision = 0;

	qsort(scored, (size_t)count, sizeof *scored, by_score_descending);
	for (int64_t i = 0; i < count;) {
		double tied_positives = 0, tied = 0;

		for (; i < count && (tied == 0 || scored[i].score == scored[i - 1].score); i++) {
			tied++;
			tied_positives += scored[i].positive;
		}
		positives += tied_positives;
		/* each negative of this tie lies below all positives before and beside half its own
		 */
		above += (tied - tied_positives) * (positives - 0.5 * tied_positives);
		negatives += tied - tied_positives;
		precision += tied_positives * positives / (positives + negatives);
	}
	*auroc = positives > 0 && negatives > 0 ? above / (positives * negatives) : NAN;
	*auprc = positives > 0 ? precision / positives : NAN;
}

static void curves(const double *probabilities, const int32_t *label, struct scored *scored,
		   cr_metrics *metrics)
{
	const int64_t rows = metrics->examples, classes = metrics->classes;
	double roc = 0, pr = 0, auroc, auprc, occurring = 0;

	for (int64_t c = classes == 2; c < classes; c++) {
		int occurs = classes == 2;

		for (int64_t i = 0; i < rows; i++) {
			scored[i].score = probabilities[i * classes + c];
			scored[i].positive = label[i] == c;
			occurs |= scored[i].positive;
		}
		if (!occurs)
			continue;
		areas(scored, rows, &auroc, &auprc);
		roc += auroc;
		pr += auprc;
		occurring++;
	}
	metrics->auroc = roc / occurring;
	metrics->auprc = pr / occurring;
}

/* Of counts of examples by class and by predicted class. */
static double correlation(const int64_t *actual, const int64_t *predicted, int64_t classes,
			  double correct, double rows)
{
	double cross = 0, actual_squares = 0, predicted_squares = 0, product;

	for (int64_t c = 0; c < classes; c++) {
		cross += (double)actual[c] * (double)predicted[c];
		actual_squares += (double)actual[c] * (double)actual[c];
		predicted_squares += (double)predicted[c] * (double)predicted[c];
	}
	product = (rows * rows - actual_squares) * (rows * rows - predicted_squares);
	return product > 0 ? (correct * rows - cross) / sqrt(product) : 0;
}

static double brier_of(const double *row, int32_t label, int64_t classes)
{
	double sum = 0;

	for (int64_t c = 0; c < classes; c++) {
		double miss = row[c] - (c == label);

		if (classes != 2 || c == 1)
			sum += miss * miss;
	}
	return sum;
}

/* All that is a sum over rows. counts: (2 C) zeros. */
static void sums(const double *probabilities, const int32_t *label, int64_t *counts,
		 cr_metrics *metrics)
{
	const int64_t rows = metrics->examples, classes = metrics->classes;
	double correct = 0;

	for (int64_t i = 0; i < rows; i++) {
		const double *row = probabilities + i * classes;
		int64_t best = 0, bin;

		for (int64_t c = 1; c < classes; c++)
			if (row[c] > row[best])
				best = c;
		counts[label[i]]++;
		counts[classes + best]++;
		correct += best == label[i];
		metrics->brier += brier_of(row, label[i], classes);
		metrics->log_loss -= log(fmax(row[label[i]], DBL_EPSILON));
		bin = (int64_t)(row[best] * CR_RELIABILITY_BINS);
		bin = bin < 0 ? 0 : bin >= CR_RELIABILITY_BINS ? CR_RELIABILITY_BINS - 1 : bin;
		metrics->bin_count[bin]++;
		metrics->bin_probability[bin] += row[best];
		metrics->bin_accuracy[bin] += best == label[i];
	}
	metrics->accuracy = correct / (double)rows;
	metrics->brier /= (double)rows;
	metrics->log_loss /= (double)rows;
	metrics->mcc = correlation(counts, counts + classes, classes, correct, (double)rows);
	for (int bin = 0; bin < CR_RELIABILITY_BINS; bin++) {
		double n = (double)metrics->bin_count[bin];

		metrics->ece += fabs(metrics->bin_accuracy[bin] - metrics->bin_probability[bin]);
		metrics->bin_probability[bin] /= n > 0 ? n : 1; /* 0 in an empty bin */
		metrics->bin_accuracy[bin] /= n > 0 ? n : 1;
	}
	metrics->ece /= (double)rows;
}

int cr_measure(const double *probabilities, const int32_t *label, int64_t rows, int64_t classes,
	       cr_metrics *metrics, crocuta_error *error)
{
	struct scored *scored;
	int64_t *counts;

	memset(metrics, 0, sizeof *metrics);
	if (classes < 2)
		return cr_fail(error, CROCUTA_EARG, "metrics need two classes or more, not %lld",
			       (long long)classes);
	if (rows < 1)
		return cr_fail(error, CROCUTA_EINPUT, "no examples to measure a head on");
	for (int64_t i = 0; i < rows; i++) {
		if (label[i] < 0 || label[i] >= classes)
			return cr_fail(error, CROCUTA_EARG, "example %lld: class %d, of %lld",
				       (long long)i, (int)label[i], (long long)classes);
		if (!cr_all_finite_doubles(probabilities + i * classes, classes))
			return cr_fail(error, CROCUTA_ENUMERIC,
				       "example %lld: its probabilities are not numbers",
				       (long long)i);
	}
	scored = cr_calloc((size_t)rows, sizeof *scored);
	counts = cr_calloc(2 * (size_t)classes, sizeof *counts);
	metrics->examples = rows;
	metrics->classes = classes;
	if (scored && counts) {
		sums(probabilities, label, counts, metrics);
		curves(probabilities, label, scored, metrics);
	}
	cr_free(counts);
	cr_free(scored);
	if (!scored || !counts)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory to measure %lld examples",
			       (long long)rows);
	return 0;
}
