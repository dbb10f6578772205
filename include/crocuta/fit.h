/* crocuta/fit.h - a classifier head fitted to labelled sequences, and how good it is. */
#ifndef CROCUTA_FIT_H
#define CROCUTA_FIT_H

#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/error.h>
#include <crocuta/head.h>
#include <crocuta/model.h>
#include <crocuta/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Parts of the labelled sequences: fitted on; settings and the temperature chosen on; measured on.
 */
enum crocuta_fit_part {
	CROCUTA_FIT_TRAIN = 0,
	CROCUTA_FIT_VALID = 1,
	CROCUTA_FIT_TEST = 2,
	CROCUTA_FIT_PARTS = 3
};

/* Kinds of head. */
enum crocuta_fit_kind {
	CROCUTA_FIT_LINEAR = 0,
	CROCUTA_FIT_HIDDEN = 1 /* one hidden layer */
};

/* A whole run. Fill with crocuta_fit_options_init first, then set at least inputs and, without
 * evaluate, output. Strings and lists are borrowed until the call returns. Lengths are bases.
 *
 * An input is CLASS=FILE with a FASTA or FASTQ of that class, a table .tsv or .csv with columns
 * "sequence" and "label", or a .bed with the class in column 4, together with `reference`; one kind
 * a run. Gzip and bgzip are read. */
typedef struct crocuta_fit_options {
	/* input */
	const char *const *inputs; /* NULL-terminated */
	const char *const *valid;  /* the same, or NULL */
	const char *const *test;
	const char *reference;     /* FASTA of BED regions */
	const char *fai, *gzi;     /* NULL: beside the FASTA, else built in memory */
	const char *valid_contigs; /* comma-separated: these contigs of a BED are that part */
	const char *test_contigs;
	int64_t split; /* seed: tenths by hash of the sequence for valid and test; -1: no split */
	int allow_overlap;        /* regions of two parts may overlap */
	int keep_duplicates;      /* leave training sequences that valid or test have too */
	int softmask_n, n_as_pad; /* as in crocuta_embed_options */
	int allow_truncated;      /* accept BGZF/BAM without its end marker */
	const char *classes;      /* names in order, comma-separated; NULL: as found, sorted. With
				     evaluate:      other names for the head's classes */
	const char *background;   /* class that is no call, or "none"; NULL: "other", "background",
				     "negative" or "0", if there is one */
	/* features */
	int layer;            /* -1: the output of the final norm */
	int pool;             /* enum crocuta_head_pool; -1: mean, with evaluate the head's own */
	int parts;            /* 0: 1 */
	int strands;          /* enum crocuta_strands; 0: forward */
	int64_t window, step; /* suggestions for scanning; window -1: the length of the training
				 sequences if they have the same; 0: none */
	int scan_forward;     /* scanning should read the forward strand only */
	/* fitting */
	int kind;                 /* enum crocuta_fit_kind */
	int64_t hidden;           /* units of a hidden layer; 0: 64 */
	const char *l2;           /* comma-separated candidates, or "auto" */
	int balanced;             /* weight classes inversely to how often they occur */
	int64_t epochs, patience; /* 0: the standard */
	int64_t seed;
	int no_calibrate;  /* no temperature */
	int kmer;          /* baseline of k-mers up to this length; 0: none */
	const char *cache; /* directory where features are kept, or NULL */
	/* measuring only */
	int evaluate;     /* no fitting; all inputs are the test part */
	const char *head; /* directory of the head; NULL: the model's own */
	/* output */
	const char *output; /* directory to be made */
	const char *report; /* JSON file, or NULL */
	int force;          /* replace a head directory that exists */
	int no_version;     /* leave out the version */
	/* resources; of session, max_length, stream, log and user are not looked at */
	crocuta_session_options session;
	/* conversation */
	crocuta_log_fn *log;
	crocuta_progress_fn *progress;
	void *user; /* for both */
} crocuta_fit_options;

#define CROCUTA_FIT_BINS 10

/* How good probabilities are. NaN where a number is not defined. */
typedef struct crocuta_fit_metrics {
	int64_t examples; /* 0: not measured */
	double accuracy;
	double auroc;    /* of class 1 when there are two, else the mean of one-vs-rest */
	double auprc;    /* average precision, same classes */
	double mcc;      /* Gorodkin's for several classes */
	double brier;    /* two classes: mean (p1 - y)^2; else mean of the sum over classes */
	double log_loss; /* nats an example */
	double ece;      /* expected calibration error of the predicted class's probability */
	/* by probability of the predicted class, bins of width 0.1 */
	int64_t bin_count[CROCUTA_FIT_BINS];
	double bin_probability[CROCUTA_FIT_BINS], bin_accuracy[CROCUTA_FIT_BINS]; /* means */
} crocuta_fit_metrics;

/* What a run did. Filled as far as a failed run came; crocuta_fit_report_clear frees the text. */
typedef struct crocuta_fit_report {
	int64_t examples[CROCUTA_FIT_PARTS]; /* used */
	int64_t classes;
	int64_t dropped;        /* training sequences left out, that valid or test have too; also of
				   the tenth that became the validation part */
	int64_t shared;         /* of `valid`: that the test part has too; they stay */
	int64_t unstranded;     /* regions without a strand, read forward */
	int64_t bases;          /* of all examples */
	int64_t tokens;         /* computed */
	int64_t features;       /* F */
	int64_t from_cache;     /* parts whose features came from the cache */
	double l2, temperature; /* as chosen */
	int64_t epochs;
	crocuta_fit_metrics head[CROCUTA_FIT_PARTS], baseline[CROCUTA_FIT_PARTS];
	int64_t memory_bytes;
	crocuta_plan plan; /* zero when no features were computed */
	crocuta_stage_times times;
	double prepare_seconds, feature_seconds, fit_seconds;
	char *text; /* all of it as lines of TAB-separated fields; NULL when not finished */
} crocuta_fit_report;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_fit_options_init(crocuta_fit_options *options);

/* Check what can be checked without a model and creates nothing. CROCUTA_EARG, EREFUSED, EIO,
 * EDEVICE or EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_fit_check(const crocuta_fit_options *options,
						  crocuta_error *error);

/* Do it. The head directory appears only when complete. report must not be NULL. Codes of
 * crocuta_fit_check; EINPUT for malformed inputs, parts that overlap, classes without examples;
 * EMODEL for a head that does not fit the model; ENUMERIC for features that are no numbers;
 * ESTOPPED. Any thread, at the same time as others when the outputs differ. */
CROCUTA_API CROCUTA_CHECKED int crocuta_fit_run(const crocuta_model *model,
						const crocuta_fit_options *options,
						crocuta_fit_report *report, crocuta_error *error);

/* Free what the report owns and zero it. */
CROCUTA_API void crocuta_fit_report_clear(crocuta_fit_report *report);

#ifdef __cplusplus
}
#endif
#endif
