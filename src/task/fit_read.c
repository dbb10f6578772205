/* fit_read.c - labelled inputs into examples: records, regions; tables are fit_table.c. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/records.h"
#include "io/regions.h"
#include "model/digest.h"
#include "seq/alphabet.h"
#include "task/fit_internal.h"

#define PLACE_BYTES 400

/* ---- bases and identities -------------------------------------------------------------------- */

/* What the model reads: A C G T N. */
static void make_canonical(const cr_fit *fit, char *bases, int64_t length)
{
	for (int64_t i = 0; i < length; i++) {
		int lower = cr_base_upper(bases[i]) != bases[i];

		bases[i] = fit->options.softmask_n && lower ? 'N' : cr_base_canonical(bases[i]);
	}
}

static int identify(const cr_fit *fit, const char *bases, int64_t length, cr_fit_identity *out)
{
	char text[CR_DIGEST_TEXT] = "", part[17] = "";
	cr_digest digest = {0};
	int code = cr_digest_start(&digest, fit->error);

	if (!code)
		code = cr_digest_update(&digest, bases, (size_t)length, fit->error);
	if (!code)
		code = cr_digest_finish(&digest, text, fit->error);
	cr_digest_free(&digest);
	for (int i = 0; i < 2; i++) {
		memcpy(part, text + 16 * i, 16);
		out->word[i] = strtoull(part, NULL, 16);
	}
	return code;
}

/* Both identities of bases in the example's direction, canonical; turns them round. */
static int identify_both(const cr_fit *fit, char *bases, cr_example *example)
{
	cr_fit_identity other;
	int code = identify(fit, bases, example->length, &example->own), less;

	if (code)
		return code;
	cr_bases_reverse_complement(bases, example->length);
	code = identify(fit, bases, example->length, &other);
	less = other.word[0] != example->own.word[0] ? other.word[0] < example->own.word[0]
						     : other.word[1] < example->own.word[1];
	example->both = less ? other : example->own;
	return code;
}

int cr_fit_fetch(cr_fit *fit, const cr_example *example, char *out)
{
	int code = CROCUTA_OK;

	if (example->contig < 0)
		memcpy(out, fit->bases + example->start, (size_t)example->length);
	else
		code = cr_sequence_cache_fetch(fit->sequences, example->contig, example->start,
					       example->start + example->length, out, fit->error);
	if (code)
		return code;
	make_canonical(fit, out, example->length);
	if (example->strand == '-')
		cr_bases_reverse_complement(out, example->length);
	return CROCUTA_OK;
}

/* ---- adding ---------------------------------------------------------------------------------- */

/* "other, promoter", cut to the capacity. */
static void list_names(const cr_fit *fit, char *out, size_t capacity)
{
	size_t used = 0;

	*out = '\0';
	for (int64_t i = 0; i < cr_contigs_count(fit->names) && used < capacity; i++)
		used += (size_t)snprintf(out + used, capacity - used, "%s%s", i ? ", " : "",
					 cr_contigs_name(fit->names, i));
}

/* Number of a class by name, a new one as long as there may be. */
static int find_label(cr_fit *fit, const cr_fit_new *item, int32_t *label)
{
	int64_t index = cr_contigs_find(fit->names, item->label, item->label_bytes);
	char name[128], known[200];
	int shown = (int)(item->label_bytes < 100 ? item->label_bytes : 100);
	int code;

	*label = (int32_t)index;
	if (index >= 0)
		return CROCUTA_OK;
	snprintf(name, sizeof name, "%.*s", shown, item->label);
	if (!item->label_bytes)
		return cr_fail(fit->error, CROCUTA_EINPUT, "%.300s: has no class", item->where);
	if (fit->names_closed) {
		list_names(fit, known, sizeof known);
		return cr_fail(fit->error, CROCUTA_EINPUT,
			       "%.300s: class \"%.100s\" is none of the known ones: %s",
			       item->where, name, known);
	}
	if (item->label_bytes > 100 || !cr_head_class_name_ok(name))
		return cr_fail(
			fit->error, CROCUTA_EINPUT,
			"%.300s: \"%.100s\" is no name of a class: up to 100 printable ASCII "
			"characters without blanks, commas and quotes",
			item->where, name);
	index = cr_contigs_count(fit->names);
	if (index >= CROCUTA_HEAD_CLASSES_MAX)
		return cr_fail(fit->error, CROCUTA_EINPUT,
			       "%.300s: more than %d classes; are these labels?", item->where,
			       CROCUTA_HEAD_CLASSES_MAX);
	code = cr_contigs_add(fit->names, item->label, item->label_bytes, 1, fit->error);
	*label = (int32_t)index;
	return code;
}

/* Room for one more example and `bases` more letters, within the memory allowed. */
static int make_room(cr_fit *fit, int64_t bases)
{
	int64_t limit = fit->options.session.memory_limit;
	int64_t capacity = fit->capacity, needed = fit->bases_used + bases;
	int64_t letters = fit->bases_capacity;

	if (fit->count == capacity)
		capacity = 2 * capacity + 256;
	if (needed > letters)
		letters = needed + needed / 2 + 65536;
	if (limit && capacity * (int64_t)sizeof *fit->examples + letters > limit)
		return cr_fail(fit->error, CROCUTA_EMEMORY,
			       "the sequences alone need more than --max-mem allows, %lld bytes",
			       (long long)limit);
	if (capacity > fit->capacity) {
		cr_example *more =
			cr_realloc(fit->examples, (size_t)capacity, sizeof *fit->examples);

		if (!more)
			return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for %lld examples",
				       (long long)capacity);
		fit->examples = more;
		fit->capacity = capacity;
	}
	if (letters > fit->bases_capacity) {
		char *more = cr_realloc(fit->bases, (size_t)letters, 1);

		if (!more)
			return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for %lld bases",
				       (long long)letters);
		fit->bases = more;
		fit->bases_capacity = letters;
	}
	return CROCUTA_OK;
}

int cr_fit_add(cr_fit *fit, int64_t input, const cr_fit_new *item)
{
	int64_t shortest = cr_head_shortest(&fit->form);
	cr_example example = {.start = item->contig < 0 ? fit->bases_used : item->start,
			      .length = item->length,
			      .contig = item->contig,
			      .number = item->number,
			      .input = (int32_t)input,
			      .part = (char)fit->input_part[input],
			      .strand = item->strand};
	char *copy;
	int code = find_label(fit, item, &example.label);

	if (!code && item->length < shortest)
		code = cr_fail(fit->error, CROCUTA_EINPUT,
			       "%.300s: %lld bases; %d parts need at least %lld", item->where,
			       (long long)item->length, fit->form.parts, (long long)shortest);
	if (!code)
		code = make_room(fit, item->length);
	if (code)
		return code;
	/* the letters are kept from bases_used on; of a region they are there for this call only */
	copy = fit->bases + fit->bases_used;
	memcpy(copy, item->bases, (size_t)item->length);
	make_canonical(fit, copy, item->length);
	if (item->strand == '-')
		cr_bases_reverse_complement(copy, item->length);
	code = identify_both(fit, copy, &example);
	if (!code && item->contig < 0) {
		memcpy(copy, item->bases, (size_t)item->length);
		fit->bases_used += item->length;
	}
	fit->examples[fit->count++] = example;
	return code;
}

/* ---- kinds of input -------------------------------------------------------------------------- */

static int read_records(cr_fit *fit, int64_t input)
{
	const cr_fit_input *in = &fit->inputs[input];
	cr_records_options how = {.allow_truncated = fit->options.allow_truncated};
	cr_records *records;
	char where[PLACE_BYTES];
	int code = cr_records_open(in->path, &how, &records, fit->error);

	while (!code) {
		const cr_record *record = NULL;

		code = cr_records_next(records, &record, fit->error);
		if (code || !record)
			break;
		snprintf(where, sizeof where, "%.200s, record %lld (%.100s)", in->path,
			 (long long)record->number + 1, record->name);
		code = cr_fit_add(fit, input,
				  &(cr_fit_new){.bases = record->bases,
						.length = record->length,
						.label = in->class_name,
						.label_bytes = in->class_bytes,
						.where = where,
						.number = record->number + 1,
						.contig = -1,
						.strand = '+'});
	}
	cr_records_close(records);
	return code;
}

static int open_reference(cr_fit *fit)
{
	cr_reference_options how = {.fai = fit->options.fai,
				    .gzi = fit->options.gzi,
				    .allow_truncated = fit->options.allow_truncated};
	int code;

	if (fit->reference)
		return CROCUTA_OK;
	code = cr_reference_open(fit->options.reference, &how, &fit->reference, fit->error);
	if (code)
		return code;
	fit->sequences = cr_sequence_cache_new(fit->reference);
	return fit->sequences ? CROCUTA_OK
			      : cr_fail(fit->error, CROCUTA_EMEMORY, "no memory to read regions");
}

static int add_region(cr_fit *fit, int64_t input, int64_t number, const cr_region *region,
		      char **bases, int64_t *capacity)
{
	const cr_contigs *contigs = cr_reference_contigs(fit->reference);
	int64_t length = region->end - region->start;
	char place[PLACE_BYTES / 2], where[PLACE_BYTES];
	int code;

	cr_region_print(contigs, region, place, sizeof place);
	snprintf(where, sizeof where, "%.150s, region %.200s", fit->inputs[input].path, place);
	if (!region->name)
		return cr_fail(fit->error, CROCUTA_EINPUT,
			       "%.300s: has no class; column 4 of the BED is to name it", where);
	if (length > *capacity) {
		char *more = cr_realloc(*bases, (size_t)length, 1);

		if (!more)
			return cr_fail(fit->error, CROCUTA_EMEMORY,
				       "%.300s: no memory for its bases", where);
		*bases = more;
		*capacity = length;
	}
	code = cr_sequence_cache_fetch(fit->sequences, region->contig, region->start, region->end,
				       *bases, fit->error);
	if (code)
		return code;
	fit->report->unstranded += region->strand == '.';
	return cr_fit_add(fit, input,
			  &(cr_fit_new){.bases = *bases,
					.length = length,
					.label = region->name,
					.label_bytes = strlen(region->name),
					.where = where,
					.number = number,
					.contig = region->contig,
					.start = region->start,
					.strand = region->strand == '-' ? '-' : '+'});
}

static int read_regions(cr_fit *fit, int64_t input)
{
	cr_regions *regions = NULL;
	char *bases = NULL;
	int64_t capacity = 0;
	int code = open_reference(fit);

	if (!code)
		code = cr_regions_read(cr_reference_contigs(fit->reference),
				       fit->inputs[input].path, 0, &regions, fit->error);
	for (int64_t i = 0; !code && i < regions->count; i++)
		code = add_region(fit, input, i + 1, &regions->items[i], &bases, &capacity);
	cr_free(bases);
	cr_regions_free(regions);
	return code;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int list_inputs(cr_fit *fit)
{
	int64_t count = 0;
	int code = CROCUTA_OK;

	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		for (const char *const *word = cr_fit_words(&fit->options, part); word && *word;
		     word++)
			count++;
	fit->inputs = cr_calloc((size_t)count, sizeof *fit->inputs);
	fit->input_part = cr_calloc((size_t)count, sizeof *fit->input_part);
	if (!fit->inputs || !fit->input_part)
		return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for the inputs");
	for (int part = 0; part < CROCUTA_FIT_PARTS; part++)
		for (const char *const *word = cr_fit_words(&fit->options, part);
		     !code && word && *word; word++) {
			fit->input_part[fit->input_count] = part;
			code = cr_fit_input_parse(*word, &fit->inputs[fit->input_count++],
						  fit->error);
		}
	return code;
}

static int read_input(cr_fit *fit, int64_t input)
{
	switch (fit->inputs[input].kind) {
	case CR_FIT_TABLE:
		return cr_fit_read_table(fit, input);
	case CR_FIT_REGIONS:
		return read_regions(fit, input);
	default:
		return read_records(fit, input);
	}
}

int cr_fit_read(cr_fit *fit)
{
	int code = list_inputs(fit);

	if (!code)
		code = cr_fit_start_classes(fit);
	for (int64_t i = 0; !code && i < fit->input_count; i++) {
		if (fit->input_part[i] != CROCUTA_FIT_TRAIN) {
			fit->names_closed = 1; /* the training part has named them */
			code = cr_fit_check_classes(fit);
		}
		if (!code)
			code = read_input(fit, i);
	}
	if (!code)
		code = cr_fit_check_classes(fit);
	if (!code && fit->report->unstranded)
		cr_fit_log(fit, CROCUTA_LOG_WARNING,
			   "%lld regions have no strand and are read forward",
			   (long long)fit->report->unstranded);
	return code ? code : cr_fit_order_classes(fit);
}
