/* table_index.h - the tabix index of a bgzip table with BED's first three columns. */
#ifndef CR_IO_TABLE_INDEX_H
#define CR_IO_TABLE_INDEX_H

#include <crocuta/error.h>

/* Index the finished file `data` into `index`, as CSI, or with tbi nonzero as TBI (contigs up to 512
 * Mb). `name` is what messages call it. EIO. */
CROCUTA_CHECKED int cr_table_index(const char *data, const char *index, int tbi, const char *name,
				   crocuta_error *error);

#endif
