/* alphabet.h - what a byte of a sequence means: canonical letter, complement, counts.
 *
 * Letters are the IUPAC nucleotide codes in either case. Canonical letters are A C G T N: U reads
 * as T, every other ambiguity code as N. Gap signs ('-', '*', '.') and all other bytes are invalid.
 * All functions are pure and may be called from any thread. */
#ifndef CR_SEQ_ALPHABET_H
#define CR_SEQ_ALPHABET_H

#include <stdint.h>

/* Tally of letters met; add-only, the caller zeroes it. */
typedef struct cr_base_counts {
	int64_t bases;      /* valid letters seen */
	int64_t folded;     /* ambiguity codes other than N that were read as N */
	int64_t lower_case; /* letters in lower case, whatever they became */
	int64_t n_bases;    /* N after folding (and soft masking, where asked for) */
} cr_base_counts;

/* 'A', 'C', 'G', 'T' or 'N'; 0 for a byte that is not a nucleotide letter. */
char cr_base_canonical(char byte);

/* A to Z of a to z; other bytes come back as they are. */
char cr_base_upper(char byte);

/* Complement of an IUPAC letter, case kept (U and u give A and a); other bytes come back as they
 * are. */
char cr_base_complement(char byte);

/* Reverse complement n letters in place. */
void cr_bases_reverse_complement(char *bases, int64_t n);

/* Offset of the first byte that is not a nucleotide letter, or n when all are. */
int64_t cr_bases_check(const char *bases, int64_t n);

#endif
