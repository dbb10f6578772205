/* npy.h - NumPy format 1.0 writer: one C-ordered array (rows, columns) of f4 or f2, little-endian.
 * The header is padded so that the row count can be filled in at the end. */
#ifndef CR_IO_NPY_H
#define CR_IO_NPY_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/atomic.h"

typedef struct cr_npy cr_npy;

/* Size of the whole file in bytes, or -1 when it does not fit in an int64_t. */
int64_t cr_npy_bytes(int64_t rows, int64_t columns, int half);

/* Start an array on output (the caller's, empty so far). rows -1: unknown, patched at finish; EARG
 * when the output is not seekable. half: float16. */
CROCUTA_CHECKED int cr_npy_start(cr_output *output, int64_t rows, int64_t columns, int half,
				 cr_npy **npy, crocuta_error *error);

/* Append rows of `columns` floats. ENUMERIC when a finite value does not fit float16. */
CROCUTA_CHECKED int cr_npy_write(cr_npy *npy, const float *values, int64_t rows,
				 crocuta_error *error);

/* Complete the header; EINTERNAL when the promised number of rows was not written. The output is
 * then to be committed by the caller. */
CROCUTA_CHECKED int cr_npy_finish(cr_npy *npy, crocuta_error *error);

int64_t cr_npy_rows(const cr_npy *npy); /* written so far */
void cr_npy_free(cr_npy *npy);          /* leaves the output alone */

#endif
