/* tokens.c - see tokens.h. */
#include "seq/tokens.h"

#include <stddef.h>

static uint8_t token_of(char canonical)
{
	switch (canonical) {
	case 'A':
		return CR_TOKEN_A;
	case 'C':
		return CR_TOKEN_C;
	case 'G':
		return CR_TOKEN_G;
	case 'T':
		return CR_TOKEN_T;
	case 'N':
		return CR_TOKEN_N;
	default:
		return CR_TOKEN_UNK;
	}
}

/* One byte's id and what it adds to the tally, so that the loop over bases is a table walk. */
struct entry {
	uint8_t id, valid, folded, lower_case, is_n;
};

static struct entry make_entry(unsigned char byte, const cr_token_options *options)
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
	entry.id = token_of(canonical);
	if (entry.is_n && options && options->n_as_pad)
		entry.id = CR_TOKEN_PAD;
	return entry;
}

int64_t cr_tokens_encode(const char *bases, int64_t n, const cr_token_options *options,
			 uint8_t *out, cr_base_counts *counts)
{
	struct entry table[256];
	cr_base_counts sum = {0};
	int64_t i;

	for (int byte = 0; byte < 256; byte++)
		table[byte] = make_entry((unsigned char)byte, options);
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

static uint8_t token_complement(uint8_t token)
{
	return token >= CR_TOKEN_A && token <= CR_TOKEN_T
		       ? (uint8_t)(CR_TOKEN_A + CR_TOKEN_T - token)
		       : token;
}

void cr_tokens_reverse_complement(uint8_t *tokens, int64_t n)
{
	for (int64_t i = 0, j = n - 1; i <= j; i++, j--) {
		uint8_t left = token_complement(tokens[i]);

		tokens[i] = token_complement(tokens[j]);
		tokens[j] = left;
	}
}
