/* fit_split.c - which example is in which part: by file, by contig or by hash; what parts must not
 * share; and the order of the rows. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "io/regions.h"
#include "task/fit_internal.h"

static int fail_memory(const cr_fit *fit)
{
	return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory to sort %lld examples",
		       (long long)fit->count);
}

/* ---- by hash --------------------------------------------------------------------------------- */

/* The finaliser of splitmix64: every bit of the input reaches every bit of the result. */
static uint64_t mix(uint64_t bits)
{
	bits += 0x9e3779b97f4a7c15u;
	bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
	bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
	return bits ^ bits >> 31;
}

/* In [0, 1), the same for a sequence and its reverse complement. */
static double share_of(const cr_example *example, int64_t seed)
{
	uint64_t bits = mix(mix((uint64_t)seed) ^ example->both.word[0]);

	return (double)(bits >> 11) / 9007199254740992.0; /* 2^53 */
}

/* 80 % to fit, 10 % to choose, 10 % to measure. */
static void split_by_hash(cr_fit *fit)
{
	for (int64_t i = 0; i < fit->count; i++) {
		double share = share_of(&fit->examples[i], fit->options.split);

		fit->examples[i].part = share < 0.8   ? CROCUTA_FIT_TRAIN
					: share < 0.9 ? CROCUTA_FIT_VALID
						      : CROCUTA_FIT_TEST;
	}
}

/* --test alone: a tenth of the training part chooses. */
static void split_off_validation(cr_fit *fit)
{
	for (int64_t i = 0; i < fit->count; i++) {
		cr_example *example = &fit->examples[i];

		if (example->part == CROCUTA_FIT_TRAIN &&
		    share_of(example, fit->options.seed) >= 0.9)
			example->part = CROCUTA_FIT_VALID;
	}
	cr_fit_log(fit, CROCUTA_LOG_NOTICE,
		   "no --valid: a tenth of the training part, by hash, is the validation part");
}

/* ---- by contig ------------------------------------------------------------------------------- */

static int mark_contigs(const cr_fit *fit, const char *list, int part, char *part_of)
{
	const cr_contigs *contigs = cr_reference_contigs(fit->reference);
	char hint[400];

	while (list) {
		size_t bytes = strcspn(list, ",");
		int64_t contig = cr_contigs_find(contigs, list, bytes);
		int shown = (int)(bytes < 100 ? bytes : 100);

		if (contig < 0) {
			cr_contigs_hint(contigs, list, bytes, hint, sizeof hint);
			return cr_fail(fit->error, CROCUTA_EINPUT,
				       "--%s-contigs: there is no contig \"%.*s\"%s",
				       cr_fit_part_word(part), shown, list, hint);
		}
		if (part_of[contig] && part_of[contig] != part)
			return cr_fail(fit->error, CROCUTA_EARG,
				       "contig %.*s is in --valid-contigs and in --test-contigs",
				       shown, list);
		part_of[contig] = (char)part;
		list = list[bytes] ? list + bytes + 1 : NULL;
	}
	return CROCUTA_OK;
}

static int split_by_contig(cr_fit *fit)
{
	const crocuta_fit_options *o = &fit->options;
	char *part_of =
		cr_calloc((size_t)cr_contigs_count(cr_reference_contigs(fit->reference)), 1);
	int code = CROCUTA_OK;

	if (!part_of)
		return fail_memory(fit);
	code = mark_contigs(fit, o->valid_contigs, CROCUTA_FIT_VALID, part_of);
	if (!code)
		code = mark_contigs(fit, o->test_contigs, CROCUTA_FIT_TEST, part_of);
	for (int64_t i = 0; !code && i < fit->count; i++)
		fit->examples[i].part = part_of[fit->examples[i].contig];
	cr_free(part_of);
	return code;
}

/* ---- overlap of regions ---------------------------------------------------------------------- */

static int compare_places(const void *a, const void *b)
{
	const cr_example *x = *(const cr_example *const *)a, *y = *(const cr_example *const *)b;

	if (x->contig != y->contig)
		return x->contig < y->contig ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->part - y->part;
}

static int fail_overlap(const cr_fit *fit, const cr_example *a, const cr_example *b)
{
	const cr_contigs *contigs = cr_reference_contigs(fit->reference);
	const cr_example *pair[2] = {a->part < b->part ? a : b, a->part < b->part ? b : a};
	char place[2][300];

	for (int i = 0; i < 2; i++)
		cr_region_print(contigs,
				&(cr_region){.contig = pair[i]->contig,
					     .start = pair[i]->start,
					     .end = pair[i]->start + pair[i]->length},
				place[i], sizeof place[i]);
	return cr_fail(
		fit->error, CROCUTA_EINPUT,
		"%s region %s overlaps %s region %s: what is measured there would be too good; "
		"split by contig, or say --allow-overlap",
		cr_fit_part_name(pair[0]->part), place[0], cr_fit_part_name(pair[1]->part),
		place[1]);
}

/* Regions by start: of each part the one that reaches farthest is all that needs to be known. */
static int check_overlap(cr_fit *fit)
{
	const cr_example **sorted = cr_calloc((size_t)fit->count, sizeof *sorted);
	const cr_example *reach[CROCUTA_FIT_PARTS] = {NULL};
	int code = CROCUTA_OK;

	if (!sorted)
		return fail_memory(fit);
	for (int64_t i = 0; i < fit->count; i++)
		sorted[i] = &fit->examples[i];
	qsort(sorted, (size_t)fit->count, sizeof *sorted, compare_places);
	for (int64_t i = 0; !code && i < fit->count; i++) {
		const cr_example *e = sorted[i];

		for (int part = 0; !code && part < CROCUTA_FIT_PARTS; part++)
			if (part != e->part && reach[part] && reach[part]->contig == e->contig &&
			    reach[part]->start + reach[part]->length > e->start)
				code = fail_overlap(fit, reach[part], e);
		if (!reach[(int)e->part] || reach[(int)e->part]->contig != e->contig ||
		    e->start + e->length > reach[(int)e->part]->start + reach[(int)e->part]->length)
			reach[(int)e->part] = e;
	}
	cr_free(sorted);
	return code;
}

#define VALID_FEW 100 /* examples: fewer are warned of */

/* ---- duplicates ------------------------------------------------------------------------------ */

static int compare_identities(const void *a, const void *b)
{
	const cr_fit_identity *x = a, *y = b;

	for (int i = 0; i < 2; i++)
		if (x->word[i] != y->word[i])
			return x->word[i] < y->word[i] ? -1 : 1;
	return 0;
}

/* Identities of the parts from `part` on, sorted. */
static cr_fit_identity *list_identities(const cr_fit *fit, int part, int64_t *count)
{
	cr_fit_identity *list = cr_calloc((size_t)fit->count, sizeof *list);

	*count = 0;
	for (int64_t i = 0; list && i < fit->count; i++)
		if (fit->examples[i].part >= part)
			list[(*count)++] = fit->examples[i].both;
	if (list)
		qsort(list, (size_t)*count, sizeof *list, compare_identities);
	return list;
}

static int is_among(const cr_fit_identity *list, int64_t count, const cr_example *example)
{
	return bsearch(&example->both, list, (size_t)count, sizeof *list, compare_identities) !=
	       NULL;
}

/* Training examples that are also held out, on either strand, leave; so do those of a validation
 * part that was taken from the training part, when the test part has them. Other pairs of the
 * held-out parts are counted. */
static int drop_duplicates(cr_fit *fit)
{
	const int own_valid = !fit->options.valid && !fit->options.valid_contigs;
	int64_t held_count, test_count, kept = 0, met = 0;
	cr_fit_identity *held = list_identities(fit, CROCUTA_FIT_VALID, &held_count);
	cr_fit_identity *test = list_identities(fit, CROCUTA_FIT_TEST, &test_count);

	for (int64_t i = 0; held && test && i < fit->count; i++) {
		cr_example *example = &fit->examples[i];
		int found =
			example->part == CROCUTA_FIT_TRAIN && is_among(held, held_count, example);
		int shared =
			example->part == CROCUTA_FIT_VALID && is_among(test, test_count, example);

		found |= shared && own_valid;
		fit->report->shared += shared && !own_valid;
		met += found;
		if (!found || fit->options.keep_duplicates)
			fit->examples[kept++] = *example;
	}
	cr_free(held);
	cr_free(test);
	if (!held || !test)
		return fail_memory(fit);
	fit->report->dropped = fit->count - kept;
	fit->count = kept;
	if (met)
		cr_fit_log(fit,
			   fit->options.keep_duplicates ? CROCUTA_LOG_WARNING : CROCUTA_LOG_NOTICE,
			   "%lld training sequences are in the validation or test part too, on one "
			   "strand or the other: %s",
			   (long long)met,
			   fit->options.keep_duplicates
				   ? "kept, so the figures are too good"
				   : "left out (--keep-duplicates keeps them)");
	if (fit->report->shared)
		cr_fit_log(fit, CROCUTA_LOG_WARNING,
			   "%lld validation sequences are in the test part too",
			   (long long)fit->report->shared);
	return CROCUTA_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct place {
	cr_fit_identity own;
	int64_t example;
	int32_t label;
	char part;
} place;

/* By part, then by sequence: the order of the inputs leaves no trace in the sums of the fit. */
static int compare_rows(const void *a, const void *b)
{
	const place *x = a, *y = b;
	int order = x->part - y->part;

	if (!order)
		order = compare_identities(&x->own, &y->own);
	if (!order)
		order = (x->label > y->label) - (x->label < y->label);
	return order ? order : (x->example > y->example) - (x->example < y->example);
}

/* Equal sequences of one part with different classes: sorted, so they are neighbours. */
static void tell_of_contradictions(const cr_fit *fit, const place *places)
{
	int64_t met = 0, again = 0;

	for (int64_t i = 1; i < fit->count; i++) {
		if (places[i].part != places[i - 1].part ||
		    compare_identities(&places[i].own, &places[i - 1].own))
			continue;
		met += places[i].label != places[i - 1].label;
		again += places[i].label == places[i - 1].label;
	}
	if (met)
		cr_fit_log(fit, CROCUTA_LOG_WARNING,
			   "%lld sequences are there with one class and with another: no head can be "
			   "right about both",
			   (long long)met);
	if (again)
		cr_fit_log(fit, CROCUTA_LOG_NOTICE,
			   "%lld sequences repeat another of the same part and class; all are kept",
			   (long long)again);
}

static int lay_rows(cr_fit *fit)
{
	size_t count = (size_t)fit->count;
	place *places = cr_calloc(count, sizeof *places);

	fit->example_of = cr_calloc(count, sizeof *fit->example_of);
	fit->row_of = cr_calloc(count, sizeof *fit->row_of);
	fit->labels = cr_calloc(count, sizeof *fit->labels);
	if (!places || !fit->example_of || !fit->row_of || !fit->labels) {
		cr_free(places);
		return fail_memory(fit);
	}
	for (int64_t i = 0; i < fit->count; i++) {
		const cr_example *e = &fit->examples[i];

		places[i] = (place){e->own, i, e->label, e->part};
	}
	qsort(places, count, sizeof *places, compare_rows);
	tell_of_contradictions(fit, places);
	for (int64_t row = 0; row < fit->count; row++) {
		fit->example_of[row] = places[row].example;
		fit->row_of[places[row].example] = row;
		fit->labels[row] = places[row].label;
		fit->count_of[(int)places[row].part][places[row].label]++;
		for (int part = places[row].part; part < CROCUTA_FIT_PARTS; part++)
			fit->first[part + 1] = row + 1;
	}
	cr_free(places);
	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		fit->report->examples[part] = cr_fit_rows(fit, part);
	if (!fit->options.evaluate && cr_fit_rows(fit, CROCUTA_FIT_VALID) < VALID_FEW)
		cr_fit_log(fit, CROCUTA_LOG_WARNING,
			   "the validation part has %lld examples: penalty and temperature, so also "
			   "the probabilities, rest on little",
			   (long long)cr_fit_rows(fit, CROCUTA_FIT_VALID));
	return CROCUTA_OK;
}

/* Every class in every part there is; what is measured only may lack some. */
static int check_classes(const cr_fit *fit)
{
	int wants_test = fit->options.test || fit->options.test_contigs || fit->options.split >= 0;

	for (int part = 0; part < CROCUTA_FIT_PARTS; part++) {
		if (part == CROCUTA_FIT_TEST && !wants_test)
			continue;
		for (int64_t i = 0; i < fit->classes; i++)
			if (!fit->count_of[part][i])
				return cr_fail(fit->error, CROCUTA_EINPUT,
					       "class %.100s has no example in the %s part%s",
					       fit->class_names[i], cr_fit_part_name(part),
					       fit->report->dropped && part != CROCUTA_FIT_TEST
						       ? ", duplicates of others left out"
						       : "");
	}
	return CROCUTA_OK;
}

int cr_fit_split(cr_fit *fit)
{
	const crocuta_fit_options *o = &fit->options;
	int code = CROCUTA_OK;

	if (o->evaluate)
		return lay_rows(fit);
	if (o->split >= 0)
		split_by_hash(fit);
	else if (o->valid_contigs || o->test_contigs)
		code = split_by_contig(fit);
	else if (!o->valid)
		split_off_validation(fit);
	if (!code && fit->reference && !o->allow_overlap)
		code = check_overlap(fit);
	if (!code)
		code = drop_duplicates(fit);
	if (!code)
		code = lay_rows(fit);
	return code ? code : check_classes(fit);
}
