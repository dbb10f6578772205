/* ref_embed.c - token vectors: rows of the embedding, nothing added. */
#include "backend/ref/ref.h"
#include "base/error.h"

static int check_tokens(const uint8_t *tokens, int64_t rows, int64_t vocabulary,
			crocuta_error *error)
{
	for (int64_t l = 0; l < rows; l++)
		if (tokens[l] >= vocabulary)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"token %d at position %lld is not below the vocabulary of %lld",
				tokens[l], (long long)l, (long long)vocabulary);
	return 0;
}

int cr_ref_embed(const float *table, const uint8_t *tokens, int64_t rows, int64_t width,
		 int64_t vocabulary, double *y, crocuta_error *error)
{
	int code = check_tokens(tokens, rows, vocabulary, error);

	for (int64_t l = 0; !code && l < rows; l++)
		for (int64_t d = 0; d < width; d++)
			y[l * width + d] = table[tokens[l] * width + d];
	return code;
}

int cr_ref_op_embed(const cr_ops *self, const cr_embed_arguments *a, crocuta_error *error)
{
	int code = check_tokens(a->tokens, a->rows, a->vocabulary, error);

	(void)self;
	for (int64_t l = 0; !code && l < a->rows; l++)
		for (int64_t d = 0; d < a->width; d++)
			a->y[l * a->width + d] = a->table[a->tokens[l] * a->width + d];
	return code;
}
