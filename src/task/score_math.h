/* score_math.h - rows of a model over one haplotype: the log-probability of its tokens, the sum of
 * its vectors. Sums go row by row into blocks of fixed size, so that they do not depend on how the
 * rows were cut into calls; what leaves a block is double. */
#ifndef CR_TASK_SCORE_MATH_H
#define CR_TASK_SCORE_MATH_H

#include <stdint.h>

#define CR_SCORE_WIDTH_MAX 4096 /* of the vectors of changes, so that a thread's sums fit its stack */

/* Which rows of the logits make the softmax. */
typedef struct cr_score_softmax {
	int64_t vocabulary; /* V; ids, which are bytes, may reach the first 256 */
	int count;          /* V, or 4 */
	uint8_t bases[4];   /* token ids of A C G T, the four rows when count is 4 */
} cr_score_softmax;

/* ln P(token) under one row (V) of logits. */
double cr_score_log_probability(const cr_score_softmax *softmax, const float *logits,
				uint8_t token);

/* A sum of log-probabilities; start from {0, 1}. */
typedef struct cr_score_log_sum {
	double sum;     /* of those that have left the product */
	double product; /* of 1 / P */
} cr_score_log_sum;

/* Add ln P(tokens[i]) under row i of logits (count, V) wherever compared[i]. */
void cr_score_add_logits(cr_score_log_sum *sum, const cr_score_softmax *softmax,
			 const float *logits, const uint8_t *tokens, const uint8_t *compared,
			 int64_t count);
double cr_score_log_total(const cr_score_log_sum *sum);

/* A sum of vectors. Memory is the caller's, (width) each, zeroed by the start. */
typedef struct cr_score_vector_sum {
	int64_t width, rows; /* rows in the block */
	float *block;
	double *total;
} cr_score_vector_sum;

void cr_score_vectors_start(cr_score_vector_sum *sum, int64_t width, float *block, double *total);
void cr_score_vectors_add(cr_score_vector_sum *sum, const float *rows, int64_t count);
void cr_score_vectors_finish(cr_score_vector_sum *sum);

/* 1 - cosine; 0 for equal vectors, NaN when one is not finite. */
double cr_score_distance(const double *a, const double *b, int64_t width);

#endif
