/* sequence_cache.h - bases of a FASTA in blocks that are kept for a while: neighbours ask for the
 * same ones, on either strand, and a fetch from bgzip inflates whole blocks. One thread at a time.
 */
#ifndef CR_TASK_SEQUENCE_CACHE_H
#define CR_TASK_SEQUENCE_CACHE_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/reference.h"

typedef struct cr_sequence_cache cr_sequence_cache;

/* Bytes that a cache takes. */
#define CR_SEQUENCE_CACHE_BYTES ((int64_t)4 << 20)

/* Over a reference that outlives it; NULL when memory is short. */
cr_sequence_cache *cr_sequence_cache_new(cr_reference *reference);
void cr_sequence_cache_free(cr_sequence_cache *cache);

/* As cr_reference_fetch. */
CROCUTA_CHECKED int cr_sequence_cache_fetch(cr_sequence_cache *cache, int64_t contig, int64_t start,
					    int64_t end, char *out, crocuta_error *error);

#endif
