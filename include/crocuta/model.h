/* crocuta/model.h - opening, describing, checking and converting model directories. */
#ifndef CROCUTA_MODEL_H
#define CROCUTA_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened model: its weights in memory, the files closed. Immutable, shared by any number of
 * threads and sessions. */
typedef struct crocuta_model crocuta_model;

/* How a model is opened. Fill with crocuta_model_options_init first. */
typedef struct crocuta_model_options {
	double filter_shift;     /* NaN: the model's own filter_shift field, else 0.05. Without effect on
				    models that have no such filters */
	int lenient;             /* 1: tensors that no layer uses are allowed, and models that are known
				    to give poor results here (Evo-2 20B, 40B) */
	int allow_nan_weights;   /* 1: do not refuse NaN or infinite weights */
	const char *sha256;      /* NULL, or the expected digest of the weights (64 hex digits) */
	int shapes_only;         /* 1: only to plan (crocuta_session_plan, crocuta_embed_plan, ...): the
				    weights of hybrids are not read and take no memory, sha256 is
				    empty, and no session can be made. Without effect on HyenaDNA */
} crocuta_model_options;

/* What a model is. Strings are never NULL and live as long as the model. */
typedef struct crocuta_model_info {
	const char *family;      /* "hyenadna"; "stripedhyena" (Evo-1), "stripedhyena2" (Evo-2) */
	const char *name;        /* last component of the directory's path */
	const char *path;        /* the directory as opened */
	const char *sha256;      /* of the weights, 64 hex digits: of model.safetensors; of a model in
				    several files the digest of all their bytes in order of their
				    names */
	const char *dtype;       /* storage in the files: "F32", "F16", "BF16" or "mixed" */
	int64_t layers;          /* N */
	int64_t width;           /* D */
	int64_t inner_width;     /* I */
	int64_t vocabulary;      /* V, rows of the token table, padding rows included */
	int64_t max_length;      /* M, longest window in tokens */
	int64_t usable_length;   /* bases in a default window: M less the special tokens, of which
				    HyenaDNA has two, Evo-1 one and Evo-2 none */
	int64_t default_window;  /* bases of a window when nobody says: usable_length, of hybrids 8,192 at
				    most, for attention's work grows with the window */
	int64_t parameters;      /* trainable parameters, position tables not counted */
	int64_t classes;         /* rows of score.weight, 0 without a classifier head */
	int64_t attention_layers; /* of the N; 0 for HyenaDNA as published */
	double filter_shift;     /* constant added to the decay window of filters that an MLP makes */
	const char *filter_shift_source; /* "config", "default" or "option"; "none" (and a shift of 0)
					    for a model without such filters */
	int has_lm_head;         /* own lm_head.weight; else the token table is used */
	int position_tables_loaded; /* 0: z and t by formula; 1: as stored, equal to the formula up to
				       rounding; 2: as stored, and they (or deltas) depart from it */
	int causal;              /* 1: a vector knows only the bases to its left */
	int changes;             /* 1: crocuta_session_changes is there for it */
	int streams;             /* 1: crocuta_session_stream is there for it */
} crocuta_model_info;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_model_options_init(crocuta_model_options *options);

/* Open the model directory `path` (config.json + model.safetensors); options or NULL for defaults.
 * *model is the caller's, for crocuta_model_close. On failure it is NULL and the code is
 * CROCUTA_EMODEL, EARG (options), EIO or EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_model_open(const char *path,
						   const crocuta_model_options *options,
						   crocuta_model **model, crocuta_error *error);

/* Close; NULL is fine. Every session made from it must be freed before, and no other thread may
 * still use it or anything it handed out. */
CROCUTA_API void crocuta_model_close(crocuta_model *model);

/* Facts about the model; owned by it, valid until it is closed, never NULL. Any thread. */
CROCUTA_API const crocuta_model_info *crocuta_model_get_info(const crocuta_model *model);

/* Line `index` (0, 1, ...) of what was odd about the model's files but no error: a config that the
 * tensors contradict, fields and tensors without effect. NULL past the last (and below 0). One line
 * of printable ASCII, owned by the model, valid until it is closed. Any thread. */
CROCUTA_API const char *crocuta_model_get_note(const crocuta_model *model, int index);

/* Token id of a base letter, by the family's table: A 7, C 8, G 9, T 10, N 11 for HyenaDNA; for Evo-1
 * and Evo-2 the byte of the upper-case letter. Either case, and lower case is the same base; anything
 * else gives the id of N. Any thread. */
CROCUTA_API uint8_t crocuta_model_token(const crocuta_model *model, char base);

/* Resolve what a user gave to -m: an existing directory, a name on the model path, or a hub name
 * (ORG/NAME) already in the local Hugging Face cache. Writes the directory into path (capacity
 * bytes, the final NUL included; the caller's). NULL name: the default model. Never touches the
 * network. CROCUTA_EMODEL, with the places searched, when there is none; EARG for an empty name or
 * a directory that does not fit; EMEMORY. Reads the environment (CROCUTA_MODEL_PATH, XDG_DATA_HOME,
 * HOME, HF_HUB_CACHE, HF_HOME): any thread while no other one changes it. */
CROCUTA_API CROCUTA_CHECKED int crocuta_model_find(const char *name, char *path, size_t capacity,
						   crocuta_error *error);

/* Receives the name and the directory of one model, both valid during the call only. A nonzero
 * return ends the listing, which is no failure. */
typedef int crocuta_model_visit(void *user, const char *name, const char *path);

/* Call visit on this thread for each directory of the model path that has a config.json, in search
 * order, by name within a place. They are not opened: some may turn out broken. CROCUTA_EMEMORY is
 * the only failure. Threads: as crocuta_model_find. */
CROCUTA_API CROCUTA_CHECKED int crocuta_model_list(crocuta_model_visit *visit, void *user,
						   crocuta_error *error);

/* Outcome of the known-answer test stored beside a model (selftest.json). */
typedef struct crocuta_verify_report {
	int records;              /* sequences compared */
	double hidden_error;      /* largest |difference| of hidden values and logits */
	double loglik_error;      /* largest relative difference of a log-likelihood sum */
	double tolerance;         /* what hidden_error was held against */
	const char *device, *dtype, *isa; /* where and how, as in crocuta_plan; constant; NULL when no
					     session came up */
} crocuta_verify_report;

struct crocuta_session_options;

/* Run the known answers beside the model on this machine, in a session with `options` (session.h;
 * NULL: the defaults), whose lengths are the test's own. In bfloat16 the limits are wider: 0.2 for a
 * value, 0.002 of a log-likelihood or 0.1, whichever is more. *report is the caller's and filled as
 * far as the test came. CROCUTA_ENUMERIC when an answer is missed, CROCUTA_EMODEL when the model has
 * none or they are malformed; EIO, and the codes of crocuta_session_new. Any thread: the session is
 * its own. */
CROCUTA_API CROCUTA_CHECKED int
crocuta_model_verify(const crocuta_model *model, const struct crocuta_session_options *options,
		     crocuta_verify_report *report, crocuta_error *error);

/* What crocuta_model_convert does with the position tables z and t. */
enum crocuta_position_tables {
	CROCUTA_TABLES_AS_STORED = 0, /* written where the model came with them */
	CROCUTA_TABLES_DROP = 1,      /* left out where they equal the formula up to rounding: a much
					 smaller file, results move by up to about 1e-4 */
	CROCUTA_TABLES_WRITE = 2      /* always written */
};

/* Write a copy of an opened model to directory `path` (which must not exist unless force) with
 * canonical names, in dtype "F32", "F16" or "BF16"; tables is an enum crocuta_position_tables.
 * Nothing new is under `path` on failure: CROCUTA_EREFUSED when it exists (under force: when it is
 * no model directory), EARG for a wrong dtype or an empty path, ENUMERIC when a weight does not fit
 * the dtype, EIO, EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_model_convert(const crocuta_model *model, const char *path,
						      const char *dtype, int tables,
						      int force, crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
