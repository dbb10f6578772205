/* reference.h - random access to the bases of a FASTA file, plain or bgzip.
 *
 * An index (.fai, .gzi) beside the file or at a given path is proved against the file before it is
 * believed; a missing one is built in memory and never written. Every base handed out is an IUPAC
 * letter, or the call fails: a wrong base is never returned silently. */
#ifndef CR_IO_REFERENCE_H
#define CR_IO_REFERENCE_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/contigs.h"

typedef struct cr_reference cr_reference;

typedef struct cr_reference_options {
	const char *fai;     /* NULL: PATH.fai if it exists, else built in memory */
	const char *gzi;     /* NULL: PATH.gzi if it exists, else built in memory */
	int allow_truncated; /* accept bgzip without its end marker */
} cr_reference_options;

/* Open a FASTA file. options may be NULL. On failure *reference is NULL. Codes: EARG for a URL, a
 * FIFO or a device; EIO for a path that cannot be opened; EINPUT for plain gzip, damaged or
 * truncated files, and indexes that are not of this file; EMEMORY. Any thread. */
CROCUTA_CHECKED int cr_reference_open(const char *path, const cr_reference_options *options,
				      cr_reference **reference, crocuta_error *error);
void cr_reference_close(cr_reference *reference);

/* Names and lengths in file order; owned by the reference. */
const cr_contigs *cr_reference_contigs(const cr_reference *reference);
const char *cr_reference_path(const cr_reference *reference);

/* 1 when the index was built by scanning the file, 0 when a .fai was used. */
int cr_reference_scanned(const cr_reference *reference);

/* Columns 3 to 5 of a .fai for one contig; 1 when its lines have one length, so that they hold,
 * else 0. */
int cr_reference_get_layout(const cr_reference *reference, int64_t contig, int64_t *offset,
			    int64_t *bases, int64_t *width);

/* 1 for bgzip, 0 for a plain file. */
int cr_reference_is_bgzf(const cr_reference *reference);

/* Write the index to new files: fai (contigs whose lines have one length) and, for bgzip, gzi
 * unless NULL. EIO. */
CROCUTA_CHECKED int cr_reference_save_index(const cr_reference *reference, const char *fai,
					    const char *gzi, crocuta_error *error);

/* Copy bases [start, end) of contig number `contig` to out (end - start bytes, no NUL), letters as
 * in the file. EINPUT for a range off the contig, a byte that is no IUPAC letter (contig and
 * 1-based position named) or a damaged block; EIO. One thread at a time for a reference. */
CROCUTA_CHECKED int cr_reference_fetch(cr_reference *reference, int64_t contig, int64_t start,
				       int64_t end, char *out, crocuta_error *error);

/* To be called at the end of a run: EINPUT when the file under the path is no longer the one opened
 * (size, time of change, inode). */
CROCUTA_CHECKED int cr_reference_unchanged(const cr_reference *reference, crocuta_error *error);

#endif
