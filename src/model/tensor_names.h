/* tensor_names.h - from the names of a file's tensors to the places of a model: what families
 * share.
 *
 * A family gives every tensor of a file its canonical name, under which it looks the tensors up
 * that a network of its kind has, and tells the user of those that are missing, unknown or
 * misshapen.
 */
#ifndef CR_MODEL_TENSOR_NAMES_H
#define CR_MODEL_TENSOR_NAMES_H

#include <string.h>

#include "model/config.h"
#include "model/safetensors.h"

/* What follows the prefix; the text itself where it begins otherwise. */
static inline const char *cr_skip_prefix(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? text : text + length;
}

typedef struct cr_tensor_name {
	char *name;    /* canonical, NULL when no model needs it */
	int64_t index; /* in the file */
} cr_tensor_name;

/* The canonical form of a name into text[capacity], which is larger than any name of a file. 0: a
 * name that no model needs. */
typedef int cr_tensor_canonical(int version, const char *name, char *text, size_t capacity);

/* How a family names its tensors. */
typedef struct cr_tensor_naming {
	cr_tensor_canonical *canonical;
	int version;          /* the family's, for canonical */
	const char *repeated; /* ending of what several tensors of a file may be; NULL: nothing */
} cr_tensor_naming;

/* All tensors of the file, ascending by canonical name, then index; those without a name first.
 * Free with cr_tensor_names_free. EMEMORY; EMODEL for a weight under two names. */
int cr_tensor_names_read(const cr_safetensors *file, const cr_tensor_naming *naming,
			 cr_tensor_name **names, crocuta_error *error);
void cr_tensor_names_free(cr_tensor_name *names, int64_t count);

/* First of `count` entries, sorted as above, of that name; NULL: there is none. An entry is a
 * struct of `size` bytes whose first member is its name: families keep more with it. */
void *cr_tensor_names_find(const void *entries, int64_t count, size_t size, const char *name);

/* Layer number of "PREFIX12.x" and what follows the number's point; -1 for other names, NULL too.
 */
int64_t cr_tensor_layer(const char *name, const char *prefix, const char **rest);

/* Append name number `number` to the list of a message, which has the first ones, then dots. */
void cr_tensor_list_add(char *list, size_t capacity, int64_t number, const char *name);

/* How many tensors a model needs that the file lacks, or has that no layer knows, and their lists.
 */
typedef struct cr_tensor_report {
	int64_t missing, unknown;
	const char *missing_names, *unknown_names;
} cr_tensor_report;

/* EMODEL where there are any; lenient: the unknown ones are but noted. */
int cr_tensor_names_report(const char *where, const cr_tensor_report *report, int lenient,
			   cr_notes *notes, crocuta_error *error);

/* Sizes of 1 aside, the shape must be the expected one: [128, 8, 1, 2] holds what [128, 8, 2]
 * holds. EMODEL. */
int cr_tensor_check_shape(const char *where, const cr_tensor *tensor, const int64_t *shape,
			  int rank, crocuta_error *error);

/* A size of the network: from the tensor, else (0) what the config says. A disagreement is noted.
 */
int64_t cr_tensor_settle(cr_notes *notes, const char *what, int64_t from_tensor,
			 int64_t from_config);

/* EMODEL unless low <= size <= high. */
int cr_tensor_check_size(const char *where, const char *what, int64_t size, int64_t low,
			 int64_t high, crocuta_error *error);

#endif
