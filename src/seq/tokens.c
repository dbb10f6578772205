/* tokens.c - see tokens.h. */
#include "seq/tokens.h"

#include <stddef.h>

const cr_vocabulary cr_vocabulary_hyenadna = {
	.a = CR_TOKEN_A, .c = CR_TOKEN_C, .g = CR_TOKEN_G, .t = CR_TOKEN_T, .n = CR_TOKEN_N,
	.start = CR_TOKEN_CLS, .end = CR_TOKEN_SEP, .pad = CR_TOKEN_PAD};

const cr_vocabulary cr_vocabulary_evo1 = {.a = 'A', .c = 'C', .g = 'G', .t = 'T', .n = 'N',
					  .start = 0, .end = -1, .pad = 1, .score_start = 1};

const cr_vocabulary cr_vocabulary_evo2 = {
	.a = 'A', .c = 'C', .g = 'G', .t = 'T', .n = 'N', .start = -1, .end = -1, .pad = 1};

uint8_t cr_token_of(const cr_vocabulary *vocabulary, char base)
{
	switch (base) {
	case 'A':
	case 'a':
		return vocabulary->a;
	case 'C':
	case 'c':
		return vocabulary->c;
	case 'G':
	case 'g':
		return vocabulary->g;
	case 'T':
	case 't':
		return vocabulary->t;
	default:
		return vocabulary->n;
	}
}

/* One byte's id and what it adds to the tally, so that the loop over bases is a table walk. */
struct entry {
	uint8_t id, valid, folded, lower_case, is_n;
};

static struct entry make_entry(const cr_vocabulary *vocabulary, unsigned char byte,
			       const cr_token_options *options)
{
	char canonical = cr_base_canonical((char)byte);
	struct entry entry = {0};

	if (!canonical)
		return entry;
	entry.valid = 1;
	entry.lower_case = byte >= 'a' && byte <= 'z';
	entry.folded = canonical == 'N' && byte != 'N' && byte != 'n';
	if (options && options->softmask_n && entry.lower_case)
		canonical = 'N';
	entry.is_n = canonical == 'N';
	entry.id = cr_token_of(vocabulary, canonical);
	if (entry.is_n && options && options->n_as_pad && vocabulary->pad >= 0)
		entry.id = (uint8_t)vocabulary->pad;
	return entry;
}

int64_t cr_tokens_encode(const cr_vocabulary *vocabulary, const char *bases, int64_t n,
			 const cr_token_options *options, uint8_t *out, cr_base_counts *counts)
{
	struct entry table[256];
	cr_base_counts sum = {0};
	int64_t i;

	for (int byte = 0; byte < 256; byte++)
		table[byte] = make_entry(vocabulary, (unsigned char)byte, options);
	for (i = 0; i < n; i++) {
		const struct entry *entry = &table[(unsigned char)bases[i]];

		if (!entry->valid)
			break;
		out[i] = entry->id;
		sum.folded += entry->folded;
		sum.lower_case += entry->lower_case;
		sum.n_bases += entry->is_n;
	}
	if (counts) {
		counts->bases += i;
		counts->folded += sum.folded;
		counts->lower_case += sum.lower_case;
		counts->n_bases += sum.n_bases;
	}
	return i;
}

static uint8_t complement_of(cr_vocabulary v, uint8_t token)
{
	return token == v.a   ? v.t
	       : token == v.c ? v.g
	       : token == v.g ? v.c
	       : token == v.t ? v.a
			      : token;
}

void cr_tokens_reverse_complement(const cr_vocabulary *vocabulary, uint8_t *tokens, int64_t n)
{
	const cr_vocabulary v = *vocabulary;

	for (int64_t i = 0, j = n - 1; i <= j; i++, j--) {
		uint8_t left = complement_of(v, tokens[i]);

		tokens[i] = complement_of(v, tokens[j]);
		tokens[j] = left;
	}
}
