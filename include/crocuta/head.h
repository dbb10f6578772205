/* crocuta/head.h - classifier heads: what they read of a model's vectors, and probabilities. */
#ifndef CROCUTA_HEAD_H
#define CROCUTA_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/error.h>
#include <crocuta/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the vectors of a sequence become one. */
enum crocuta_head_pool {
	CROCUTA_HEAD_MEAN = 0,
	CROCUTA_HEAD_LAST = 1,
	CROCUTA_HEAD_MAX = 2,
	CROCUTA_HEAD_FIRST = 3, /* the first base's vector */
	CROCUTA_HEAD_SUM = 4
};

/* Special tokens around a sequence. */
enum crocuta_head_specials {
	CROCUTA_SPECIALS_NONE = 0,
	CROCUTA_SPECIALS_SEP = 1,     /* x [SEP], fed and not pooled */
	CROCUTA_SPECIALS_CLS_SEP = 2, /* [CLS] x [SEP], fed and not pooled */
	CROCUTA_SPECIALS_MODEL = 3,   /* those that the family has, pooled too: HyenaDNA [CLS] x [SEP],
					 Evo-1 its start token, Evo-2 none */
	CROCUTA_SPECIALS_MODEL_SEP = 4 /* x [SEP], pooled too: Hugging Face's tokenizer */
};

#define CROCUTA_HEAD_PARTS_MAX 64
#define CROCUTA_HEAD_CLASSES_MAX 1000

/* What a head reads: a sequence of L bases is cut into `parts` runs of ceil(L / parts) bases (the last
 * may be shorter), the vectors of each run are pooled to `columns` numbers (D, or 2 D with strands
 * concat), and the runs' numbers are joined in order: F = parts x columns. L must be above
 * parts x (parts - 1), so that every run has a base. */
typedef struct crocuta_feature_form {
	int layer;   /* 0 .. N; -1: N, the output of the final norm */
	int pool;    /* enum crocuta_head_pool */
	int parts;   /* 1 .. CROCUTA_HEAD_PARTS_MAX; above 1 with mean, last and max only */
	int strands; /* enum crocuta_strands */
	int specials; /* enum crocuta_head_specials; others than none with one part only */
} crocuta_feature_form;

/* An opened head. Immutable, shared by any number of threads; it does not need the model to live on. */
typedef struct crocuta_head crocuta_head;

/* Facts about a head; strings are never NULL and live as long as the head. */
typedef struct crocuta_head_info {
	const char *path;     /* directory of the head, or of the model it is part of */
	const char *name;     /* last component of that path */
	const char *source;   /* "head.safetensors", "score.weight" or "decoder" (a tensor of the model) */
	const char *sha256;   /* of head.safetensors, or of the model that holds it: 64 hex digits */
	crocuta_feature_form form;
	int64_t features;     /* F */
	int64_t hidden;       /* units of a hidden layer, 0: none */
	int64_t classes;      /* C */
	const char *const *class_names; /* (C) */
	int64_t background;   /* class that is no call, -1: none */
	int independent;      /* 1: sigmoid, classes do not exclude each other; 0: softmax */
	int64_t window, step; /* bases, for scanning contigs; 0: not said */
	int scan_both;        /* scanning should read both strands */
	/* What it was fitted with; NaN and -1: it does not say. crocuta_head_open refuses a model with
	   another filter shift; whoever reads letters has to read them the same way. */
	double filter_shift;
	int softmask_n, n_as_pad;
} crocuta_head_info;

/* How a head is opened. Fill with crocuta_head_options_init first. */
typedef struct crocuta_head_options {
	int pool;     /* -1: the head's own; else enum crocuta_head_pool */
	int specials; /* -1: the head's own; else enum crocuta_head_specials */
	int allow_nan_weights; /* 1: do not refuse NaN or infinite weights */
} crocuta_head_options;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_head_options_init(crocuta_head_options *options);

/* Open the head at `path` (a directory with head.json and head.safetensors), or with path NULL the one
 * that comes with the model: head.json in its directory, else its tensor score.weight (Hugging Face: no
 * bias, x [SEP], last position) or decoder (original code: mean of all positions). pool and specials
 * of the options are for such tensors alone (EARG with a head.json: it says what it was fitted on).
 * *head is the caller's, for crocuta_head_close; NULL on failure: CROCUTA_EMODEL for a model without
 * head, malformed files, weights that are not finite, or a head that was fitted on another backbone
 * (its SHA-256 is compared); EARG, EIO, EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_head_open(const char *path, const crocuta_model *model,
						  const crocuta_head_options *options,
						  crocuta_head **head, crocuta_error *error);

/* The name of the model that the head at `path` was fitted on, into name[capacity] (the caller's): what to
 * give to crocuta_model_find when nothing else says which model. EMODEL, EIO, EMEMORY, EARG when it does
 * not fit. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_head_get_backbone(const char *path, char *name,
							  size_t capacity, crocuta_error *error);

/* Close; NULL is fine. */
CROCUTA_API void crocuta_head_close(crocuta_head *head);

/* Facts; owned by the head, never NULL. Any thread. */
CROCUTA_API const crocuta_head_info *crocuta_head_get_info(const crocuta_head *head);

/* Probabilities (count, C) of features (count, F), both the caller's; computed in double, each row on
 * its own. NaN or infinity in a row gives NaN in all its classes. Any thread. */
CROCUTA_API void crocuta_head_apply(const crocuta_head *head, const float *features, int64_t count,
				    double *probabilities);

#ifdef __cplusplus
}
#endif
#endif
