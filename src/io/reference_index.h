/* reference_index.h - where the bases of each contig lie in a FASTA file; shared by reference*.c.
 */
#ifndef CR_IO_REFERENCE_INDEX_H
#define CR_IO_REFERENCE_INDEX_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/contigs.h"
#include "io/source.h"

#define CR_NAME_LIMIT 4096  /* bytes of a contig's name */
#define CR_CHECKPOINT 65536 /* bases between two checkpoints */

/* Place of one contig. Lines of equal length: base i lies at offset + i / bases * width + i %
 * bases. Otherwise checkpoints[k] is the file offset of base k * CR_CHECKPOINT. */
struct cr_place {
	int64_t offset, bases, width;
	int64_t line;         /* of the header; 0 when a .fai was used */
	int64_t *checkpoints; /* owned; NULL for lines of equal length */
};

struct cr_index {
	cr_contigs *contigs;
	struct cr_place *places;
	int64_t capacity;
};

/* Append a contig; takes place->checkpoints over on success. Errors name the place `where`. */
CROCUTA_CHECKED int cr_index_add(struct cr_index *index, const char *name, size_t name_bytes,
				 int64_t length, const struct cr_place *place,
				 crocuta_error *error);
void cr_index_clear(struct cr_index *index);

/* Read a .fai and prove it against the file (rule I). */
CROCUTA_CHECKED int cr_index_read(struct cr_index *index, cr_source *source, const char *fai,
				  crocuta_error *error);

/* Parse a .fai text for a file of `size` bytes: everything that can be told without the file. */
CROCUTA_CHECKED int cr_index_parse(struct cr_index *index, const char *text, int64_t bytes,
				   int64_t size, const char *fai, crocuta_error *error);

/* Build the index from the file itself. Line lengths are free; CRLF and a missing last newline are
 * fine. */
CROCUTA_CHECKED int cr_index_scan(struct cr_index *index, cr_source *source, crocuta_error *error);

#endif
