/* score_compute.c - tokens of windows and of changes; rows of a model made into numbers. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "task/score_internal.h"

#define PIECE 1024

int cr_score_tokens(cr_score *score, int64_t contig, int reverse, int64_t start, int64_t end,
		    uint8_t *out)
{
	const int64_t length = cr_contigs_length(score->contigs, contig);
	const int64_t from = reverse ? length - end : start, count = end - start;
	int code = cr_sequence_cache_fetch(score->cache, contig, from, from + count, (char *)out,
					   score->error);

	for (int64_t i = 0; !code && i < count; i++)
		out[i] = score->token[out[i]];
	if (!code && reverse)
		cr_tokens_reverse_complement(score->vocabulary, out, count);
	return code;
}

int cr_score_window_tokens(cr_score *score, const cr_score_change *change, int64_t length,
			   uint8_t *out)
{
	const int64_t start = change->placed.start;

	if (score->lead)
		*out++ = (uint8_t)score->vocabulary->start;
	return cr_score_tokens(score, change->contig, change->reverse, start, start + length, out);
}

int cr_score_change_tokens(cr_score *score, const cr_score_change *change, const uint8_t *window,
			   uint8_t *out)
{
	const cr_allele *allele = &change->allele;
	const int64_t count = change->placed.count, known = allele->at + count;
	const int64_t inserted = allele->inserted < count ? allele->inserted : count;
	const int64_t from = allele->at + allele->removed, to = from + count - inserted;
	int64_t inside = (known < to ? known : to) - from;

	inside = inside < 0 ? 0 : inside;
	for (int64_t i = 0; i < inserted; i++)
		out[i] = score->token[(unsigned char)allele->bases[i]];
	if (inside)
		memcpy(out + inserted, window + (from - change->placed.start), (size_t)inside);
	if (from + inside == to)
		return CROCUTA_OK;
	return cr_score_tokens(score, change->contig, change->reverse, from + inside, to,
			       out + inserted + inside);
}

void cr_score_look_back(const cr_score *score, const uint8_t *window, cr_score_change *change)
{
	const int64_t at = change->allele.at - change->placed.start;
	const int64_t length = at + change->placed.count;
	int64_t n = 0;

	for (int64_t i = 0; i < length; i++)
		n += window[i] == score->n_token;
	change->masked = (double)n > score->options.max_n * (double)length;
	change->before = 0;
	if (score->options.reduce != CROCUTA_REDUCE_WINDOW_MEAN)
		return;
	for (int64_t i = !score->lead; i < at; i++) /* nothing predicts a first token */
		change->before += score->is_base[window[i]];
}

int64_t cr_score_compared(const cr_score *score, const uint8_t *reference, const uint8_t *tokens,
			  int64_t n, uint8_t *flags)
{
	int64_t compared = 0;

	for (int64_t i = 0; i < n; i++) {
		flags[i] = score->is_base[reference[i]] & score->is_base[tokens[i]];
		compared += flags[i];
	}
	return compared;
}

/* The position `at` is scored by the row before it, every other one by its predecessor's. */
static void compare_logits(const cr_score *score, const cr_score_rows *rows,
			   cr_score_change *change)
{
	const int64_t v = score->softmax.vocabulary;
	cr_score_log_sum reference = {0, 1}, alternative = {0, 1};
	uint8_t flags[PIECE];

	change->compared = 0;
	if (rows->before) {
		change->compared =
			cr_score_compared(score, rows->reference_tokens, rows->tokens, 1, flags);
		cr_score_add_logits(&reference, &score->softmax, rows->before,
				    rows->reference_tokens, flags, 1);
		cr_score_add_logits(&alternative, &score->softmax, rows->before, rows->tokens,
				    flags, 1);
	}
	for (int64_t i = 1; i < rows->count; i += PIECE) {
		const int64_t here = rows->count - i < PIECE ? rows->count - i : PIECE;

		change->compared += cr_score_compared(score, rows->reference_tokens + i,
						      rows->tokens + i, here, flags);
		cr_score_add_logits(&reference, &score->softmax,
				    rows->reference_logits + (i - 1) * v,
				    rows->reference_tokens + i, flags, here);
		cr_score_add_logits(&alternative, &score->softmax, rows->logits + (i - 1) * v,
				    rows->tokens + i, flags, here);
	}
	change->llr = cr_score_log_total(&alternative) - cr_score_log_total(&reference);
}

void cr_score_change_rows(const cr_score *score, const cr_score_rows *rows, cr_score_change *change)
{
	const int64_t width = score->info->width;
	double totals[2][CR_SCORE_WIDTH_MAX];
	float block[CR_SCORE_WIDTH_MAX];

	compare_logits(score, rows, change);
	for (int i = 0; i < 2; i++) {
		cr_score_vector_sum sum;

		cr_score_vectors_start(&sum, width, block, totals[i]);
		cr_score_vectors_add(&sum, i ? rows->hidden : rows->reference_hidden, rows->count);
		cr_score_vectors_finish(&sum);
	}
	change->distance = cr_score_distance(totals[0], totals[1], width);
}

int cr_score_compute(cr_score *score, cr_score_batch *batch)
{
	int code = cr_score_sort(batch, score->error);

	atomic_store(&score->changes_done, 0);
	if (!code)
		code = cr_score_take_known(score, batch);
	if (!code)
		code = score->reuse ? cr_score_compute_reuse(score, batch)
				    : cr_score_compute_plain(score, batch);
	score->units_done += batch->unit_count;
	score->changes_before += batch->change_count;
	score->batch_units = score->batch_changes = 0;
	return code;
}
