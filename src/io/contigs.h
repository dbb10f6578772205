/* contigs.h - an ordered list of contig names and lengths, looked up by name in constant time.
 * About 40 bytes and the name a contig, so that millions are cheap. */
#ifndef CR_IO_CONTIGS_H
#define CR_IO_CONTIGS_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_contigs cr_contigs;

/* An empty list, or NULL when memory is short. */
cr_contigs *cr_contigs_new(void);
void cr_contigs_free(cr_contigs *contigs);

/* Append a contig of `length` bases. name need not end in NUL. EINPUT when the name is there
 * already or empty or holds a NUL, EMEMORY. */
CROCUTA_CHECKED int cr_contigs_add(cr_contigs *contigs, const char *name, size_t name_bytes,
				   int64_t length, crocuta_error *error);

/* Reads: any number of threads once adding is over. Index out of range: NULL, -1. */
int64_t cr_contigs_count(const cr_contigs *contigs);
const char *cr_contigs_name(const cr_contigs *contigs, int64_t index);
int64_t cr_contigs_length(const cr_contigs *contigs, int64_t index);
int64_t cr_contigs_longest_name(const cr_contigs *contigs); /* bytes */

/* 1 when some name holds ':' or ',', so that NAME:FROM-TO could be misread. */
int cr_contigs_are_odd(const cr_contigs *contigs);

/* Index of a name, or -1. */
int64_t cr_contigs_find(const cr_contigs *contigs, const char *name, size_t name_bytes);

/* Write a hint for an unknown name, such as `; the file has chr1, chr2, chr3, ...; did you mean
 * "chr7"?`, into out (NUL-terminated, cut to capacity). */
void cr_contigs_hint(const cr_contigs *contigs, const char *name, size_t name_bytes, char *out,
		     size_t capacity);

#endif
