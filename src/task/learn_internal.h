/* learn_internal.h - what the parts of learn.c share.
 *
 * Letters: F features, H hidden units, C classes. Both learners see standardised features
 * (x - mean) / scale, formed on the fly: the tables may be too large to copy. */
#ifndef CR_TASK_LEARN_INTERNAL_H
#define CR_TASK_LEARN_INTERNAL_H

#include "task/learn.h"

/* One call of cr_learn. */
typedef struct cr_learning {
	const cr_examples *train, *valid;
	const cr_learn_options *options;
	int64_t features, classes;
	int threads;
	double *l2;           /* (options->l2_count), largest first */
	float *mean;          /* (F); zeros for sparse tables */
	double *inverse;      /* (F), 1 / scale; 0 for columns that do not vary */
	double *class_weight; /* (C), mean 1 over the training examples */
	int64_t candidates;   /* tried so far */
	double best;          /* least validation loss so far */
	crocuta_error *error;
} cr_learning;

/* Ask the caller whether to go on; ESTOPPED. */
int cr_learn_poll(const cr_learning *learning);

/* Candidate `l2` came out like this: write the log. 1 when it is the best so far, and then its
 * facts are in learned. */
int cr_learn_candidate(cr_learning *learning, double l2, double train_loss, double valid_loss,
		       int64_t epochs, cr_learned *learned);

/* Fit all candidates; the best one's folded weights go to learned, whose arrays are there. */
CROCUTA_CHECKED int cr_fit_linear(cr_learning *learning, cr_learned *learned);
CROCUTA_CHECKED int cr_fit_hidden(cr_learning *learning, cr_learned *learned);
int64_t cr_fit_linear_bytes(int64_t features, int64_t classes, int threads);
int64_t cr_fit_hidden_bytes(const cr_learn_options *options, int64_t features, int64_t train_rows);

/* Logits to probabilities in place; -ln of the one of `label`. */
double cr_softmax(double *logits, int64_t classes, int32_t label);

/* ---- dense inner loops (learn_dense.c) ------------------------------------------------------- */

#define CR_TILE 4 /* rows that the loops take at once */

/* sums[2 i + k] = x[i] . w[k] for k < count, 1 or 2; each has `columns` floats. */
void cr_dots(const float *const x[CR_TILE], const float *const w[2], int count, int64_t columns,
	     double sums[2 * CR_TILE]);

/* The same of x[i] - shift (columns). */
void cr_dots_shifted(const float *const x[CR_TILE], const float *shift, const float *const w[2],
		     int count, int64_t columns, double sums[2 * CR_TILE]);

/* sums[k] += sum over i of by[2 i + k] (x[i] - shift), for k < count, 1 or 2. */
void cr_add_rows(const float *const x[CR_TILE], const float *shift, const float by[2 * CR_TILE],
		 int64_t columns, int count, float *const sums[2]);

/* tile[k][j] = sum over rows r of by[r stride + k] x[r][j], j < 16, k < 2. x has `width` floats a
 * row. */
void cr_outer(const float *x, int64_t width, const float *by, int64_t stride, int64_t rows,
	      float tile[2][16]);

/* ---- softmax regression (learn_linear.c) ----------------------------------------------------- */

/* Passes over a table that give the loss of standardised weights and its gradient. */
typedef struct cr_linear_pass {
	const cr_learning *learning;
	int64_t features, classes;
	int64_t outputs;    /* O, rows of weights: C, or 1 for two classes (that of class 1) */
	int64_t block_rows; /* rows whose gradient is summed in float */
	int64_t slots;      /* blocks at work at once; does not change the sums */
	float *weight;      /* (O, F), by scale */
	float *sums;        /* (slots, O, F) */
	double *bias_sums;  /* (slots, C) */
	double *losses;     /* (slots) */
	double *logits;     /* (slots, CR_LINEAR_ROWS, C) */
} cr_linear_pass;

#define CR_LINEAR_ROWS                                                                             \
	16 /* rows whose logits are known at once: they stay in cache for the gradient */

CROCUTA_CHECKED int cr_linear_pass_init(cr_linear_pass *pass, const cr_learning *learning);
void cr_linear_pass_free(cr_linear_pass *pass);

/* Mean log loss of examples, each weighted by its class's weight (NULL: 1), for parameters (C, F)
 * then (C), and the gradient, laid out alike; gradient NULL: not wanted. */
CROCUTA_CHECKED int cr_linear_evaluate(cr_linear_pass *pass, const cr_examples *examples,
				       const double *class_weight, const double *parameters,
				       double *gradient, double *loss);

/* ---- one hidden layer (learn_hidden.c) ------------------------------------------------------- */

#define CR_HIDDEN_BATCH 128 /* examples of a step of Adam */

/* Parameters, in one array each: hidden weight (H, S), hidden bias (H), output weight (C, H),
 * output bias (C). S is F with room to whole vectors; what is past F stays zero. */
typedef struct cr_hidden_net {
	const cr_learning *learning;
	int64_t features, stride, hidden, classes, count;
	float *parameters, *gradient, *first, *second, *kept; /* (count) */
	float *x;                                             /* (batch, S), standardised */
	float *before, *after;                                /* (batch, H), around the GELU */
	float *back;    /* (batch, H), gradient before the GELU */
	float *miss;    /* (batch, C), gradient of the logits */
	double *logits; /* (batch, C) */
	double *losses; /* (batch) */
	int64_t *order; /* of the training examples */
	int64_t steps;  /* of Adam */
} cr_hidden_net;

CROCUTA_CHECKED int cr_hidden_net_init(cr_hidden_net *net, const cr_learning *learning);
void cr_hidden_net_free(cr_hidden_net *net);
void cr_hidden_net_start(cr_hidden_net *net, uint64_t seed);

/* One step of Adam on up to CR_HIDDEN_BATCH examples; the gradient, penalty included, stays in
 * net->gradient. rate 0 changes no parameter. Returns the summed, weighted loss without penalty. */
double cr_hidden_step(cr_hidden_net *net, const cr_examples *examples, const int64_t *rows,
		      int64_t count, double l2, double rate);

/* ---- fitted heads (learn_apply.c) ------------------------------------------------------------ */

/* Logits of features, (rows, C). learning: polled and its threads used; NULL: `threads` of them. */
CROCUTA_CHECKED int cr_learned_logits(const cr_learned *learned, const cr_features *features,
				      int threads, const cr_learning *learning, double *logits,
				      crocuta_error *error);
int64_t cr_learned_logits_bytes(int64_t hidden);

/* The temperature, within 0.05 .. 20, whose division of logits (rows, C) gives the least mean log
 * loss. ESTOPPED. */
CROCUTA_CHECKED int cr_fit_temperature(const cr_learning *learning, const double *logits,
				       const int32_t *label, int64_t rows, double *temperature);

#endif
