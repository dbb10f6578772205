/* tokens.h - the character vocabularies of the families. Pure functions. */
#ifndef CR_SEQ_TOKENS_H
#define CR_SEQ_TOKENS_H

#include <stdint.h>

#include "seq/alphabet.h"

enum cr_token {
	CR_TOKEN_CLS = 0,
	CR_TOKEN_SEP = 1,
	CR_TOKEN_BOS = 2,
	CR_TOKEN_MASK = 3,
	CR_TOKEN_PAD = 4,
	CR_TOKEN_RESERVED = 5,
	CR_TOKEN_UNK = 6,
	CR_TOKEN_A = 7,
	CR_TOKEN_C = 8,
	CR_TOKEN_G = 9,
	CR_TOKEN_T = 10,
	CR_TOKEN_N = 11
};

/* Which token stands for what; start, end, pad: -1 where a family has none. */
typedef struct cr_vocabulary {
	uint8_t a, c, g, t, n;
	int16_t start, end; /* put around a sequence when special tokens are asked for */
	int16_t pad;
	int score_start; /* published scores are of sequences with start in front */
} cr_vocabulary;

extern const cr_vocabulary cr_vocabulary_hyenadna, /* enum cr_token */
	cr_vocabulary_evo1, /* bytes; start is 0 */
	cr_vocabulary_evo2; /* bytes; neither start nor end */

typedef struct cr_token_options {
	int softmask_n; /* lower-case letters become N */
	int n_as_pad;   /* N becomes the padding token, as in HyenaDNA's published pretraining; only
			   where there is one */
} cr_token_options;

/* Token of A, C, G or T in either case; of anything else that of N. Any thread. */
uint8_t cr_token_of(const cr_vocabulary *vocabulary, char base);

/* Encode n letters into n ids at out (the caller's). options NULL: none set; counts NULL: not
 * counted. Returns the offset of the first byte that is not a nucleotide letter, or n when all are
 * valid; ids and counts are complete up to the returned offset. Any thread. */
int64_t cr_tokens_encode(const cr_vocabulary *vocabulary, const char *bases, int64_t n,
			 const cr_token_options *options, uint8_t *out, cr_base_counts *counts);

/* Reverse complement n ids in place; ids that are no base keep their value. Any thread. */
void cr_tokens_reverse_complement(const cr_vocabulary *vocabulary, uint8_t *tokens, int64_t n);

#endif
