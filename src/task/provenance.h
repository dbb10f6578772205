/* provenance.h - facts that go into the headers of outputs. */
#ifndef CR_TASK_PROVENANCE_H
#define CR_TASK_PROVENANCE_H

#include <crocuta/session.h>
#include <jansson.h>

#include "io/atomic.h"
#include "io/contigs.h"

/* "0.1.0+htslib-1.16" */
void cr_provenance_version(char out[80]);

/* ISO 8601, UTC, of SOURCE_DATE_EPOCH or now. */
void cr_provenance_date(char out[32]);

/* MD5 of "name<TAB>length<LF>" of all contigs in order, 32 hex digits; empty on failure. */
void cr_provenance_contigs_md5(const cr_contigs *contigs, char out[33]);

/* The file name in a path. */
const char *cr_provenance_file_name(const char *path);

/* A JSON string of bytes that may not be UTF-8: those above ASCII become '?' then. NULL when memory
 * is short. */
json_t *cr_provenance_text(const char *bytes);

/* The object that goes into an output: its format, then unless no_version version, command (or NULL)
 * and date (NULL: now). NULL when memory is short; so for the next two, which are parts of it. */
json_t *cr_provenance_start(const char *format, int no_version, const char *command,
			    const char *when);
json_t *cr_provenance_model(const crocuta_model_info *info);
/* contigs NULL: records, of which there is no list. */
json_t *cr_provenance_input(const char *path, const cr_contigs *contigs);
/* How it was computed. */
void cr_provenance_add_plan(json_t *object, const crocuta_plan *plan);

/* "##prefix.model.name=..." lines of an object, one level deep. */
CROCUTA_CHECKED int cr_provenance_print(cr_output *output, const char *prefix,
					const json_t *object, crocuta_error *error);

/* Does the model have filters that a shift is added to? */
int cr_provenance_has_shift(const crocuta_model_info *info);

#endif
