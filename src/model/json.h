/* json.h - strict JSON for files that strangers write: size limits first, then jansson.
 *
 * A scan that allocates nothing bounds depth, counts and lengths before jansson sees the text, so
 * that no small file can cost much memory or time. Duplicate keys, bad UTF-8, NUL in strings,
 * trailing bytes and numbers out of range are refused.
 */
#ifndef CR_MODEL_JSON_H
#define CR_MODEL_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_json_limits {
	int depth;      /* nested brackets, the outermost included */
	int64_t nodes;  /* brackets opened and commas: at least the number of values */
	int64_t opens;  /* brackets opened */
	size_t string;  /* bytes of one string */
	size_t strings; /* bytes of all strings */
	size_t space;   /* bytes of white space outside strings */
} cr_json_limits;

/* Parse an object. where: how messages call the text. On success *root is the caller's
 * (json_decref); else NULL and CROCUTA_EMODEL or EMEMORY. */
int cr_json_parse(const char *text, size_t size, const cr_json_limits *limits, const char *where,
		  json_t **root, crocuta_error *error);

/* The whole regular file `path` of at most `limit` bytes; *text is the caller's (cr_free) and has a
 * zero byte after it. A file that does not exist is CROCUTA_EMODEL with ENOENT. */
int cr_json_read_file(const char *path, size_t limit, char **text, size_t *size,
		      crocuta_error *error);

#endif
