/* learn.h - a head from examples: softmax regression or one hidden layer, and how good it is.
 *
 * Pure arithmetic on tables in memory: nothing here knows of sequences or models. All sums run in a
 * fixed order and in double, so that the result is the same for any number of threads. */
#ifndef CR_TASK_LEARN_H
#define CR_TASK_LEARN_H

#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/error.h>

/* Features of examples, dense, or sparse with row i in entries start[i] .. start[i + 1]. */
typedef struct cr_table_of_features {
	int64_t rows, columns;
	const float *dense;   /* (rows, columns), or NULL */
	const int64_t *start; /* (rows + 1) */
	const int32_t *column;
	const float *value;
} cr_features;

typedef struct cr_examples {
	cr_features features;
	const int32_t *label; /* (rows), 0 .. classes - 1 */
} cr_examples;

enum cr_learner { CR_LEARN_LINEAR, CR_LEARN_HIDDEN };

typedef struct cr_learn_options {
	int learner;           /* enum cr_learner */
	int64_t classes;
	int64_t hidden;        /* units, for CR_LEARN_HIDDEN */
	const double *l2;      /* (l2_count) candidates, on standardised features, per example mean loss */
	int64_t l2_count;      /* the one with the least loss on the validation part is kept */
	int balanced;          /* weight classes inversely to how often they occur */
	int64_t epochs;        /* most passes of Adam (hidden) or L-BFGS iterations (linear); 0: 100, 500 */
	int64_t patience;      /* Adam: passes without a better validation loss before it ends; 0: 10 */
	uint64_t seed;         /* of the hidden layer's start and the order of the examples */
	int calibrate;         /* fit one temperature on the validation part and fold it in */
	int threads;
	int (*poll)(void *user); /* now and then on the calling thread; nonzero: ESTOPPED. NULL: never */
	crocuta_log_fn *log;     /* NULL: silent */
	void *user;              /* of both */
} cr_learn_options;

/* Weights for features as they are: scaling and temperature are folded in. Owned; cr_learned_free. */
typedef struct cr_learned {
	int64_t features, hidden, classes;
	float *hidden_weight, *hidden_bias; /* (H, F), (H); NULL without hidden layer. GELU, tanh form */
	float *output_weight, *output_bias; /* (C, H or F), (C) */
	double l2, temperature;             /* as chosen */
	double train_loss, valid_loss;      /* nats an example, unweighted, before the temperature */
	int64_t epochs;                     /* passes or iterations of the one kept */
} cr_learned;

/* Fit. Both parts need every class at least once (EINPUT says which is missing) and finite features
 * (ENUMERIC). EMEMORY, ESTOPPED. */
CROCUTA_CHECKED int cr_learn(const cr_examples *train, const cr_examples *valid,
			     const cr_learn_options *options, cr_learned *learned,
			     crocuta_error *error);
void cr_learned_free(cr_learned *learned);

/* Probabilities (rows, C) of a fitted head, dense or sparse features; rows side by side on threads. */
CROCUTA_CHECKED int cr_learned_apply(const cr_learned *learned, const cr_features *features,
				     int threads, double *probabilities, crocuta_error *error);

/* Bytes that cr_learn needs besides the tables given. */
int64_t cr_learn_bytes(const cr_learn_options *options, int64_t features, int64_t train_rows,
		       int64_t valid_rows);

/* ---- how good ------------------------------------------------------------------------------- */

#define CR_RELIABILITY_BINS 10

typedef struct cr_metrics {
	int64_t examples, classes;
	double accuracy; /* argmax; ties: the lower class */
	double auroc;    /* of class 1 when there are two, else the mean of one-vs-rest over classes that
			    occur; ties count half; NaN when not defined */
	double auprc;    /* average precision, same classes */
	double mcc;      /* Gorodkin's for several classes; 0 when undefined */
	double brier;    /* two classes: mean (p1 - y)^2; else mean over examples of the sum over classes */
	double log_loss; /* nats an example */
	double ece;      /* expected calibration error of the predicted class's probability, 10 bins */
	/* by probability of the predicted class, bins of width 0.1 */
	int64_t bin_count[CR_RELIABILITY_BINS];
	double bin_probability[CR_RELIABILITY_BINS], bin_accuracy[CR_RELIABILITY_BINS]; /* means */
} cr_metrics;

/* Of probabilities (rows, C). */
CROCUTA_CHECKED int cr_measure(const double *probabilities, const int32_t *label, int64_t rows,
			       int64_t classes, cr_metrics *metrics, crocuta_error *error);

/* ---- k-mers, the baseline ------------------------------------------------------------------- */

/* Relative frequencies of all k-mers of 1 .. k bases (4 + 16 + ... columns) of sequences, sparse:
 * count of the k-mer over the number of places, times 4^k / k... scaled so that columns are comparable;
 * k-mers with other letters than ACGT (either case) are left out. 1 <= k <= 8. Owned; cr_kmers_free. */
typedef struct cr_kmers cr_kmers;
CROCUTA_CHECKED int cr_kmers_new(int k, cr_kmers **kmers, crocuta_error *error);
CROCUTA_CHECKED int cr_kmers_add(cr_kmers *kmers, const char *bases, int64_t length,
				 crocuta_error *error);
/* All rows added so far; valid until the next add. */
cr_features cr_kmers_features(const cr_kmers *kmers);
void cr_kmers_free(cr_kmers *kmers);

#endif
