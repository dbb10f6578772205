/* meta.h - NAME.meta.json: provenance of a binary output. */
#ifndef CR_IO_META_H
#define CR_IO_META_H

#include <jansson.h>

#include <crocuta/error.h>

#include "io/atomic.h"

/* Print a JSON object (borrowed), two blanks of indent, keys in the order of insertion, a newline
 * at the end, to an output of the caller's. EIO, EMEMORY. */
CROCUTA_CHECKED int cr_meta_write(cr_output *output, const json_t *object, crocuta_error *error);

/* The same as a file of its own: open, write, commit. */
CROCUTA_CHECKED int cr_meta_save(const char *path, const json_t *object,
				 const cr_output_options *options, crocuta_error *error);

#endif
