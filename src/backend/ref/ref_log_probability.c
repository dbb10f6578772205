/* ref_log_probability.c - log softmax over all classes or some, at target tokens. */
#include <math.h>

#include "backend/ref/ref.h"
#include "base/error.h"

/* Classes as token ids in list (at most 256); their number, or -1. */
static int64_t list_classes(const cr_log_probability_arguments *a, uint8_t *list)
{
	unsigned char seen[256] = {0};

	if (a->vocabulary < 1 || a->vocabulary > 256)
		return -1;
	if (!a->classes) {
		for (int64_t i = 0; i < a->vocabulary; i++)
			list[i] = (uint8_t)i;
		return a->vocabulary;
	}
	if (a->class_count < 1 || a->class_count > a->vocabulary)
		return -1;
	for (int64_t i = 0; i < a->class_count; i++) {
		if (a->classes[i] >= a->vocabulary || seen[a->classes[i]]++)
			return -1;
		list[i] = a->classes[i];
	}
	return a->class_count;
}

/* log of the sum of exp over the classes, and the entropy of their distribution. */
static double row_sums(const float *logits, const uint8_t *list, int64_t classes, double *entropy)
{
	double high = -INFINITY, sum = 0, mean = 0, log_sum;

	for (int64_t i = 0; i < classes; i++)
		if (!(logits[list[i]] <= high)) /* a NaN stays and shows */
			high = logits[list[i]];
	for (int64_t i = 0; i < classes; i++)
		sum += exp(logits[list[i]] - high);
	log_sum = high + log(sum);
	for (int64_t i = 0; i < classes; i++) {
		double log_p = logits[list[i]] - log_sum, p = exp(log_p);

		if (p != 0) /* a class of logit -infinity adds nothing */
			mean -= p * log_p;
	}
	*entropy = mean;
	return log_sum;
}

int cr_ref_op_log_probability(const cr_ops *self, const cr_log_probability_arguments *a,
			      crocuta_error *error)
{
	cr_log_probability_sums sums = {0, 0, 0};
	unsigned char is_class[256] = {0};
	uint8_t list[256];
	const int64_t classes = list_classes(a, list);

	(void)self;
	if (classes < 0)
		return cr_fail(error, CROCUTA_EARG, "classes are not distinct tokens below %lld",
			       (long long)a->vocabulary);
	for (int64_t i = 0; i < classes; i++)
		is_class[list[i]] = 1;
	for (int64_t l = 0; l < a->rows; l++) {
		const float *logits = a->logits + l * a->vocabulary;
		const int scored = a->targets && is_class[a->targets[l]];
		double entropy, log_sum = row_sums(logits, list, classes, &entropy);
		double value = scored ? logits[a->targets[l]] - log_sum : NAN;

		if (a->log_probability)
			a->log_probability[l] = (float)value;
		if (a->entropy)
			a->entropy[l] = (float)entropy;
		sums.log_probability += scored ? value : 0;
		sums.entropy += entropy;
		sums.scored += scored;
	}
	if (a->sums) {
		a->sums->log_probability += sums.log_probability;
		a->sums->entropy += sums.entropy;
		a->sums->scored += sums.scored;
	}
	return 0;
}
