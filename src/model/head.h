/* head.h - heads from the inside: their numbers, and writing them. The format is in docs/formats.md. */
#ifndef CR_MODEL_HEAD_H
#define CR_MODEL_HEAD_H

#include <stdint.h>

#include <crocuta/head.h>
#include <jansson.h>

/* Everything that a head directory says. Borrowed pointers. */
typedef struct cr_head_spec {
	const char *backbone_name, *backbone_sha256;
	crocuta_feature_form form; /* layer settled: 0 .. N */
	int64_t features, hidden, classes;
	const char *const *class_names; /* (classes) */
	int64_t background;             /* -1: none */
	int independent;
	int64_t window, step;
	int scan_both;
	int says_reading; /* the next three are known, and written */
	double filter_shift;
	int softmask_n, n_as_pad;
	const float *hidden_weight, *hidden_bias; /* (H, F), (H); with hidden > 0 */
	const float *output_weight, *output_bias; /* (C, H or F), (C) */
	const json_t *training;                   /* an object for head.json, or NULL */
} cr_head_spec;

/* Write directory `path` with head.json and head.safetensors; nothing new is under `path` on failure.
 * EREFUSED when it exists, unless force and it holds a head and nothing else; EIO, EMEMORY, EARG for
 * class names that the format does not allow. */
CROCUTA_CHECKED int cr_head_write(const char *path, const cr_head_spec *spec, int force,
				  crocuta_error *error);

/* Could it be written? Before long work: path is looked at as by cr_head_write, and EIO when its
 * parent directory is not there or cannot be written into; EARG for a window or step that head.json
 * cannot hold for this form (layer is not looked at). */
CROCUTA_CHECKED int cr_head_check(const char *path, const crocuta_feature_form *form,
				  int64_t window, int64_t step, int force, crocuta_error *error);

/* Are letters to be read as for the head's fit? EARG names the option. */
CROCUTA_CHECKED int cr_head_check_letters(const crocuta_head_info *info, int softmask_n, int n_as_pad,
					  crocuta_error *error);

/* A head in memory, as if it had been written and opened; copies. */
CROCUTA_CHECKED int cr_head_new(const cr_head_spec *spec, crocuta_head **head, crocuta_error *error);

/* Is this name fit for a class? 1 to 100 printable ASCII characters without blanks, commas or quotes. */
int cr_head_class_name_ok(const char *name);

/* Names of enum crocuta_head_pool, crocuta_head_specials, crocuta_strands; NULL out of range. Number of
 * a name; -1: none. */
const char *cr_head_pool_name(int pool);
const char *cr_head_specials_name(int specials);
const char *cr_head_strands_name(int strands);
int cr_head_pool_parse(const char *name);
int cr_head_specials_parse(const char *name);
int cr_head_strands_parse(const char *name);

/* Shortest sequence that a form takes, in bases. */
int64_t cr_head_shortest(const crocuta_feature_form *form);

/* Numbers a form gives for a model of this width: F. */
int64_t cr_head_features(const crocuta_feature_form *form, int64_t width);

#endif
