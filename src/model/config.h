/* config.h - config.json as an untrusted object: fields with ranges, and notes for the user.
 *
 * The getters leave *value alone when the field is absent or null, so that a caller sets its
 * default first. A field of the wrong type or out of range is CROCUTA_EMODEL, range printed.
 * Which fields exist is the families' business.
 */
#ifndef CR_MODEL_CONFIG_H
#define CR_MODEL_CONFIG_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

#define CR_NOTES_MAX 24

/* "directory/name", allocated (cr_free), or NULL without memory. */
char *cr_path_join(const char *directory, const char *name);

/* Things worth telling that are no errors, such as a config that disagrees with the tensors. */
typedef struct cr_notes {
	int count;
	int dropped; /* notes without a place; the last line counts them */
	char text[CR_NOTES_MAX][200];
} cr_notes;

/* Append one line; control and non-ASCII bytes become "?", long text is cut. */
void cr_note(cr_notes *notes, const char *format, ...) __attribute__((__format__(printf, 2, 3)));

typedef struct cr_config {
	char *where; /* how messages call it */
	json_t *root;
} cr_config;

/* From memory, or from directory/config.json. Free with cr_config_free, also after an error. */
int cr_config_parse(const char *text, size_t size, const char *where, cr_config *config,
		    crocuta_error *error);
int cr_config_open(const char *directory, cr_config *config, crocuta_error *error);
void cr_config_free(cr_config *config);

/* object: the root or an object inside it. */
int cr_config_integer(const cr_config *config, const json_t *object, const char *key, int64_t low,
		      int64_t high, int64_t *value, crocuta_error *error);
int cr_config_number(const cr_config *config, const json_t *object, const char *key, double low,
		     double high, double *value, crocuta_error *error);
int cr_config_flag(const cr_config *config, const json_t *object, const char *key, int *value,
		   crocuta_error *error);

/* What an option must be for a family to compute what it means. */
enum cr_demand {
	CR_DEMAND_INTEGER, /* number */
	CR_DEMAND_FLAG,    /* number: 1 or 0 */
	CR_DEMAND_STRING,  /* text */
	CR_DEMAND_EMPTY    /* nothing; an empty array or object, false and 0 also mean none */
};

/* Is the value another one? An absent option and null are never refused. */
int cr_config_refused(const json_t *value, enum cr_demand kind, int number, const char *text);

#endif
