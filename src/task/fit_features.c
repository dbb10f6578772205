/* fit_features.c - the vector of every example, from the cache or through a session, in one table;
 * and what all that takes of memory, before it is taken. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "task/fit_internal.h"

typedef struct source {
	cr_fit *fit;
	const cr_example *example;
} source;

static int fetch_example(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const source *from = user;
	const cr_example *example = from->example;

	if (example->contig >= 0)
		return cr_sequence_cache_fetch(from->fit->sequences, example->contig, start, end,
					       out, error);
	memcpy(out, from->fit->bases + example->start + start, (size_t)(end - start));
	return CROCUTA_OK;
}

/* The vector of an example into its row. */
static int take_vector(void *user, const cr_feature_item *item, const float *features,
		       int64_t n_bases, crocuta_error *error)
{
	cr_fit *fit = user;
	float *row = fit->features + fit->row_of[item->tag] * fit->width;
	char where[400];

	(void)n_bases;
	for (int64_t i = 0; i < fit->width; i++) {
		if (isfinite(features[i]))
			continue;
		cr_fit_where(fit, &fit->examples[item->tag], where, sizeof where);
		return cr_fail(error, CROCUTA_ENUMERIC,
			       "%.300s: column %lld of its vector is no finite number", where,
			       (long long)i);
	}
	memcpy(row, features, (size_t)fit->width * sizeof *row);
	return CROCUTA_OK;
}

static int poll_caller(void *user, int64_t tokens_done, const char *contig)
{
	cr_fit *fit = user;
	double share = fit->tokens_total > 0 ? (double)tokens_done / (double)fit->tokens_total : 0;

	return cr_fit_poll(fit, share, contig);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* 4 + 16 + ... */
static int64_t kmer_columns(const cr_fit *fit)
{
	int64_t columns = 0;

	for (int64_t k = 1, power = 4; k <= fit->options.kmer; k++, power *= 4)
		columns += power;
	return columns;
}

/* Sparse counts: at most one entry a base and length, and no more than there are k-mers. */
static int64_t kmer_bytes(const cr_fit *fit)
{
	const int64_t columns = kmer_columns(fit);
	int64_t bytes = 0;

	for (int64_t i = 0; columns && i < fit->count; i++)
		bytes += 8 + 8 * cr_smaller(columns, fit->examples[i].length * fit->options.kmer);
	return 2 * bytes; /* lists grow by doubling */
}

/* The head is fitted first, then the baseline. */
static int64_t learning_bytes(cr_fit *fit)
{
	cr_learn_options how = cr_fit_learn_options(fit, NULL, CR_FIT_L2_MAX);
	const int64_t train = cr_fit_rows(fit, CROCUTA_FIT_TRAIN);
	const int64_t valid = cr_fit_rows(fit, CROCUTA_FIT_VALID);
	int64_t bytes, baseline = 0;

	if (fit->options.evaluate)
		return 0;
	how.calibrate = 1; /* the most that it may take */
	bytes = cr_learn_bytes(&how, fit->width, train, valid);
	how.learner = CR_LEARN_LINEAR;
	if (fit->options.kmer)
		baseline = cr_learn_bytes(&how, kmer_columns(fit), train, valid) + kmer_bytes(fit);
	return cr_larger(bytes, baseline);
}

static int check_memory(cr_fit *fit, int64_t session_bytes)
{
	int64_t limit = fit->options.session.memory_limit, cells, table, kept, total;

	if (__builtin_mul_overflow(fit->count, fit->width, &cells) || cells > INT64_MAX / 16)
		return cr_fail(fit->error, CROCUTA_EMEMORY, "%lld x %lld features are too many",
			       (long long)fit->count, (long long)fit->width);
	table = cr_floats_bytes(cells);
	kept = fit->bases_capacity + fit->capacity * (int64_t)sizeof *fit->examples +
	       fit->count * (int64_t)(2 * sizeof(int64_t) + sizeof(int32_t)) +
	       fit->count * fit->classes * (int64_t)sizeof *fit->probabilities;
	total = kept + table + cr_larger(session_bytes, learning_bytes(fit));
	fit->report->memory_bytes = total;
	if (!limit || total <= limit)
		return CROCUTA_OK;
	return cr_fail(fit->error, CROCUTA_EMEMORY,
		       "%lld x %lld features need %lld bytes, sequences %lld, the model %lld: %lld "
		       "at once, the limit is %lld; try fewer --parts, or more --max-mem",
		       (long long)fit->count, (long long)fit->width, (long long)table,
		       (long long)kept, (long long)session_bytes, (long long)total,
		       (long long)limit);
}

/* ---- computing ------------------------------------------------------------------------------- */

static void set_options(cr_fit *fit, cr_feature_options *how)
{
	*how = (cr_feature_options){.form = fit->form,
				    .softmask_n = fit->options.softmask_n,
				    .n_as_pad = fit->options.n_as_pad,
				    .session = &fit->options.session,
				    .log = fit->options.log,
				    .sink = take_vector,
				    .poll = poll_caller,
				    .user = fit,
				    .log_user = fit->options.user};
	for (int64_t i = 0; i < fit->count; i++)
		how->longest = cr_larger(how->longest, fit->examples[i].length);
}

static int add_examples(cr_fit *fit, cr_feature_stream *stream, const int *wanted)
{
	char where[400];
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < fit->count; i++) {
		const cr_example *example = &fit->examples[i];
		int64_t start = example->contig < 0 ? 0 : example->start;
		source from = {fit, example};
		cr_feature_item item = {.contig = where,
					.strand = example->strand,
					.start = start,
					.end = start + example->length,
					.tag = i,
					.fetch = fetch_example,
					.user = &from};

		if (!wanted[(int)example->part])
			continue;
		cr_fit_where(fit, example, where, sizeof where);
		code = cr_feature_stream_add(stream, &item, fit->error);
	}
	return code ? code : cr_feature_stream_finish(stream, fit->error);
}

static int compute(cr_fit *fit, const cr_feature_options *how, const crocuta_plan *plan,
		   const int *wanted)
{
	cr_feature_stream *stream;
	int code;

	for (int64_t i = 0; i < fit->count; i++) {
		int64_t windows = 0, tokens = 0;

		if (!wanted[(int)fit->examples[i].part])
			continue;
		cr_feature_count(fit->model, how, plan, fit->examples[i].length, &windows, &tokens);
		fit->tokens_total += tokens;
	}
	code = cr_feature_stream_new(fit->model, how, &stream, fit->error);
	if (code)
		return code;
	code = add_examples(fit, stream, wanted);
	if (!code) {
		cr_passes_counts counts = cr_feature_stream_counts(stream);

		fit->report->tokens = counts.tokens;
		fit->report->plan = *cr_feature_stream_plan(stream);
		cr_feature_stream_times(stream, &fit->report->times);
		if (counts.letters.folded)
			cr_fit_log(fit, CROCUTA_LOG_NOTICE, "%lld IUPAC codes were read as N",
				   (long long)counts.letters.folded);
	}
	cr_feature_stream_free(stream);
	return code;
}

int cr_fit_make_features(cr_fit *fit)
{
	char keys[CROCUTA_FIT_PARTS][CR_FIT_KEY_BYTES];
	int wanted[CROCUTA_FIT_PARTS] = {0}, missing = 0;
	double begun = cr_wall_seconds();
	cr_feature_options how;
	crocuta_plan plan;
	int64_t bytes = 0, planned;
	int code;

	set_options(fit, &how);
	planned = cr_feature_length(fit->model, &how);
	code = cr_feature_plan(fit->model, &how, &plan, &bytes, fit->error);
	if (!code)
		code = check_memory(fit, bytes);
	if (code)
		return code;
	fit->features = cr_floats(fit->count * fit->width);
	if (!fit->features)
		return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for %lld x %lld features",
			       (long long)fit->count, (long long)fit->width);
	for (int part = 0; !code && part < CROCUTA_FIT_PARTS; part++) {
		int hit = 0;

		if (!cr_fit_rows(fit, part))
			continue;
		if (fit->options.cache) {
			code = cr_fit_cache_key(fit, part, planned, keys[part]);
			if (!code)
				code = cr_fit_cache_load(fit, part, keys[part], &hit);
		}
		fit->report->from_cache += hit;
		wanted[part] = !hit;
		missing |= !hit;
	}
	if (!code && missing)
		code = compute(fit, &how, &plan, wanted);
	for (int part = 0; !code && fit->options.cache && part < CROCUTA_FIT_PARTS; part++)
		if (wanted[part])
			cr_fit_cache_save(fit, part, keys[part]);
	fit->report->feature_seconds = cr_wall_seconds() - begun;
	return code;
}
