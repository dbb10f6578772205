/* classify_items.c - what is classified: records as they come, regions, or windows over regions. */
#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "seq/alphabet.h"
#include "task/classify_internal.h"
#include "base/digest64.h"

#define POLL_ITEMS 4096 /* while counting */
#define READ_AHEAD (1 << 20) /* bases */

/* ---- places ---------------------------------------------------------------------------------- */

/* Windows over a region, one strand: all of `window` bases but where the region is shorter; the last one
 * ends where the region ends. */
static int64_t windows_of(const cr_classify *classify, const cr_region *region)
{
	const crocuta_classify_options *o = &classify->options;
	const int64_t length = region->end - region->start;

	if (length <= o->window)
		return length >= cr_head_shortest(&classify->head_info->form);
	return (length - o->window + o->step - 1) / o->step + 1;
}

static void window_of(const cr_classify *classify, const cr_region *region, int64_t number,
		      int64_t *start, int64_t *end)
{
	const crocuta_classify_options *o = &classify->options;

	*start = cr_larger(cr_smaller(region->start + number * o->step, region->end - o->window),
			   region->start);
	*end = cr_smaller(*start + o->window, region->end);
}

/* The shard, from 1, of an item before which the others cost so much. */
static int shard_of(const cr_classify *classify)
{
	const int shards = classify->options.shards;
	const double total = (double)cr_larger(classify->census.bases, 1);
	const int shard = (int)((double)classify->cost_before / total * shards);

	return shard < shards ? shard + 1 : shards;
}

/* The next item: is it of this shard? Counted either way. */
static int is_mine(cr_classify *classify, int64_t bases)
{
	const int mine = classify->options.shards < 2 ||
			 shard_of(classify) == classify->options.shard;

	classify->item++;
	classify->cost_before += bases;
	return mine;
}

static void start_again(cr_classify *classify)
{
	classify->item = classify->cost_before = 0;
}

/* In the second walk of the census: note the item, if it is of this shard. */
static void count_mine(cr_classify *classify, int64_t bases)
{
	cr_classify_census *census = &classify->census;

	if (!is_mine(classify, bases))
		return;
	if (!census->span++)
		census->first = classify->item;
	census->span_bases += bases;
}

static int strands_of(const crocuta_classify_options *o)
{
	return o->scan && o->scan_strands == CROCUTA_SCAN_BOTH ? 2 : 1;
}

/* Items of a region and what one costs, into the census, or with `mine` as parts of the shard. */
static void count_region(cr_classify *classify, const cr_region *region, int mine)
{
	const crocuta_classify_options *o = &classify->options;
	const int64_t length = region->end - region->start;
	const int64_t each = o->scan ? cr_smaller(length, o->window) : length;
	const int64_t count = o->scan ? windows_of(classify, region) * strands_of(o) : 1;
	cr_classify_census *census = &classify->census;

	if (mine) {
		for (int64_t i = 0; i < count; i++)
			count_mine(classify, each);
		return;
	}
	census->items += count;
	census->bases += count * each;
	census->longest = cr_larger(census->longest, o->scan ? o->window : each);
	census->digest = cr_digest64(census->digest, &region->contig, sizeof region->contig);
	census->digest = cr_digest64(census->digest, &region->start, sizeof region->start);
	census->digest = cr_digest64(census->digest, &region->end, sizeof region->end);
	census->digest = cr_digest64(census->digest, &region->strand, 1);
}

/* Rows of an index ascend, contig by contig: told before the work, not after it. */
static int check_order(const cr_classify *classify)
{
	const cr_regions *regions = classify->regions;
	unsigned char *seen = cr_calloc((size_t)cr_contigs_count(classify->contigs) + 1, 1);
	int code = CROCUTA_OK;

	if (!seen)
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for the order of contigs");
	for (int64_t i = 0; i < regions->count && !code; i++) {
		const cr_region *at = &regions->items[i], *last = i ? at - 1 : NULL;

		if (last && last->contig == at->contig ? at->start < last->start : seen[at->contig])
			code = cr_fail(classify->error, CROCUTA_EINPUT,
				       "%.100s:%lld comes after a region behind it, and an index (-W) "
				       "needs them in order: sort the regions, or leave -W out",
				       cr_contigs_name(classify->contigs, at->contig),
				       (long long)at->start + 1);
		seen[at->contig] = 1;
	}
	cr_free(seen);
	return code;
}

static int open_places(cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	cr_reference_options how = {
		.fai = o->fai, .gzi = o->gzi, .allow_truncated = o->allow_truncated};
	int code = cr_reference_open(o->input, &how, &classify->reference, classify->error);

	if (code)
		return code;
	classify->contigs = cr_reference_contigs(classify->reference);
	if (o->regions)
		code = cr_regions_parse(classify->contigs, o->regions, o->clip, &classify->regions,
					classify->error);
	else if (o->regions_file)
		code = cr_regions_read(classify->contigs, o->regions_file, o->clip,
				       &classify->regions, classify->error);
	else
		code = cr_regions_all(classify->contigs, &classify->regions, classify->error);
	if (code)
		return code;
	if (o->scan && (o->regions || o->regions_file))
		cr_regions_merge(classify->regions); /* every window once, in order */
	if (o->write_index)
		code = check_order(classify);
	if (code)
		return code;
	for (int64_t i = 0; i < classify->regions->count; i++) {
		count_region(classify, &classify->regions->items[i], 0);
		classify->report->unstranded +=
			!o->scan && classify->regions->items[i].strand == '.';
	}
	if (o->shards > 1)
		for (int64_t i = 0; i < classify->regions->count; i++)
			count_region(classify, &classify->regions->items[i], 1);
	classify->report->contigs = cr_contigs_count(classify->contigs);
	classify->report->regions = classify->regions->count;
	return CROCUTA_OK;
}

static void tell_of_places(const cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	const char *path = o->regions_file;
	int64_t tiny = 0;

	if (path && !o->regions && !cr_regions_is_bed_name(path))
		cr_classify_log(classify, CROCUTA_LOG_NOTICE,
				"%.200s: read as CHROM POS [END], positions from 1; only a file named "
				".bed is read as BED",
				path);
	if (classify->regions->clipped)
		cr_classify_log(classify, CROCUTA_LOG_WARNING,
				"%lld regions were cut at, or dropped beyond, the end of their contig",
				(long long)classify->regions->clipped);
	if (!classify->regions->count)
		cr_classify_log(classify, CROCUTA_LOG_WARNING, "there are no regions: no rows");
	for (int64_t i = 0; o->scan && i < classify->regions->count; i++)
		tiny += !windows_of(classify, &classify->regions->items[i]);
	if (tiny)
		cr_classify_log(classify, CROCUTA_LOG_WARNING,
				"%lld contigs or regions are too short for the head, which needs %lld "
				"bases: no rows of them",
				(long long)tiny,
				(long long)cr_head_shortest(&classify->head_info->form));
	if (path && classify->report->unstranded && !o->scan)
		cr_classify_log(classify, CROCUTA_LOG_WARNING,
				"%lld regions have no strand and are read forward",
				(long long)classify->report->unstranded);
}

/* ---- records --------------------------------------------------------------------------------- */

static int open_records(cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	cr_records_options how = {.reference = o->reference, .allow_truncated = o->allow_truncated};

	cr_records_close(classify->records);
	return cr_records_open(o->input, &how, &classify->records, classify->error);
}

/* One walk over the records of a file, into the census or the shard's part of it. */
static int walk_records(cr_classify *classify, int mine)
{
	cr_classify_census *census = &classify->census;
	int64_t count = 0;
	int code = open_records(classify);

	while (!code) {
		const cr_record *record = NULL;

		code = cr_records_next(classify->records, &record, classify->error);
		if (code || !record)
			break;
		if (mine) {
			count_mine(classify, record->length);
		} else {
			census->items++;
			census->bases += record->length;
			census->longest = cr_larger(census->longest, record->length);
			census->digest = cr_digest64(census->digest, record->name,
						     strlen(record->name) + 1);
			census->digest = cr_digest64(census->digest, &record->length,
						     sizeof record->length);
		}
		if (++count % POLL_ITEMS == 0 && cr_classify_poll(classify, NULL))
			code = cr_fail(classify->error, CROCUTA_ESTOPPED, "stopped on request");
	}
	return code;
}

static int take_census(cr_classify *classify)
{
	const crocuta_classify_options *o = &classify->options;
	int code;

	if (!cr_input_is_regular(o->input) || (o->length && o->shards < 2)) {
		classify->census.items = classify->census.bases = -1;
		return open_records(classify);
	}
	code = walk_records(classify, 0);
	if (!code && o->shards > 1)
		code = walk_records(classify, 1);
	return code ? code : open_records(classify);
}

int cr_classify_open_input(cr_classify *classify)
{
	cr_classify_census *census = &classify->census;
	int code;

	census->digest = CR_DIGEST64;
	classify->report->contigs = classify->report->regions = 0;
	code = cr_classify_by_place(&classify->options) ? open_places(classify)
							: take_census(classify);
	if (code)
		return code;
	start_again(classify);
	if (classify->options.shards < 2) {
		census->first = 1;
		census->span = census->items;
		census->span_bases = census->bases;
	} else if (!census->span) {
		census->first = census->items + 1;
	}
	classify->features.longest = census->longest;
	classify->report->items = census->span;
	classify->report->bases = census->span_bases;
	classify->report->records = classify->records ? census->items : 0;
	return CROCUTA_OK;
}

/* ---- the run --------------------------------------------------------------------------------- */

static int fetch_record(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const cr_record *record = user;

	(void)error;
	memcpy(out, record->bases + start, (size_t)(end - start));
	return CROCUTA_OK;
}

static int run_records(cr_classify *classify)
{
	int code = CROCUTA_OK;

	while (!code) {
		const cr_record *record = NULL;
		cr_feature_item item = {.strand = '.', .fetch = fetch_record};

		code = cr_records_next(classify->records, &record, classify->error);
		if (code || !record)
			break;
		if (!is_mine(classify, record->length))
			continue;
		item.contig = record->name;
		item.end = record->length;
		item.user = (void *)(uintptr_t)record;
		code = cr_feature_stream_add(classify->stream, &item, classify->error);
	}
	return code;
}

typedef struct place {
	cr_classify *classify;
	const cr_region *region;
	int64_t start; /* of what `bases` holds; -1: nothing */
} place;

static int fetch_place(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const place *p = user;

	if (p->start < 0)
		return cr_reference_fetch(p->classify->reference, p->region->contig, start, end, out,
					  error);
	memcpy(out, p->classify->bases + (start - p->start), (size_t)(end - start));
	return CROCUTA_OK;
}

/* Bases of a region from `start` on, the window to `end` among them. Neighbouring windows share most of
 * theirs, and a bgzip file is slow to be read at any place: so many are read at once. */
static int read_ahead(cr_classify *classify, const cr_region *region, int64_t start, int64_t end)
{
	const int64_t length =
		cr_smaller(cr_larger(end - start, READ_AHEAD), region->end - start);
	int code;

	classify->bases_end = 0;
	if (length > classify->bases_capacity) {
		cr_free(classify->bases);
		classify->bases = cr_calloc((size_t)length, 1);
		classify->bases_capacity = classify->bases ? length : 0;
		if (!classify->bases)
			return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for a window");
	}
	code = cr_reference_fetch(classify->reference, region->contig, start, start + length,
				  classify->bases, classify->error);
	if (code)
		return code;
	classify->bases_contig = region->contig;
	classify->bases_start = start;
	classify->bases_end = start + length;
	return CROCUTA_OK;
}

/* Read a window; is it N beyond what is allowed? N is what the model would read as such. */
static int read_window(cr_classify *classify, const cr_region *region, int64_t start, int64_t end,
		       int *masked)
{
	const char *bases;
	int64_t n = 0;
	int code = CROCUTA_OK;

	if (region->contig != classify->bases_contig || start < classify->bases_start ||
	    end > classify->bases_end)
		code = read_ahead(classify, region, start, end);
	if (code)
		return code;
	bases = classify->bases + (start - classify->bases_start);
	for (int64_t i = 0; i < end - start; i++)
		n += cr_base_canonical(bases[i]) == 'N' ||
		     (classify->options.softmask_n && islower((unsigned char)bases[i]));
	*masked = (double)n > classify->options.max_n * (double)(end - start);
	return CROCUTA_OK;
}

/* Window `number` of a region, on the strands asked for. */
static int add_window(cr_classify *classify, const cr_region *region, int64_t number)
{
	const crocuta_classify_options *o = &classify->options;
	place where = {.classify = classify, .region = region};
	cr_feature_item item = {.contig = cr_contigs_name(classify->contigs, region->contig),
				.tag = region->contig,
				.fetch = fetch_place,
				.user = &where};
	int read = 0, masked = 0, code = CROCUTA_OK;

	window_of(classify, region, number, &item.start, &item.end);
	for (int reverse = 0; reverse < 2 && !code; reverse++) {
		if (!(o->scan_strands & (reverse ? CROCUTA_SCAN_REVERSE : CROCUTA_SCAN_FORWARD)) ||
		    !is_mine(classify, item.end - item.start))
			continue;
		if (!read++)
			code = read_window(classify, region, item.start, item.end, &masked);
		classify->report->masked += !code && masked;
		item.strand = reverse ? '-' : '+';
		where.start = classify->bases_start;
		if (!code && masked)
			atomic_fetch_add(&classify->bases_out, item.end - item.start);
		else if (!code)
			code = cr_feature_stream_add(classify->stream, &item, classify->error);
	}
	return code;
}

static int run_windows(cr_classify *classify, const cr_region *region)
{
	const int64_t count = windows_of(classify, region);
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < count && !code; i++) {
		code = add_window(classify, region, i);
		/* a run of N, or another shard's windows, must not make the tool deaf */
		if (!code && i % POLL_ITEMS == POLL_ITEMS - 1 &&
		    cr_classify_poll(classify, cr_contigs_name(classify->contigs, region->contig)))
			code = cr_fail(classify->error, CROCUTA_ESTOPPED, "stopped on request");
	}
	return code;
}

static int run_places(cr_classify *classify)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < classify->regions->count && !code; i++) {
		const cr_region *region = &classify->regions->items[i];
		place where = {.classify = classify, .region = region, .start = -1};
		cr_feature_item item = {.contig = cr_contigs_name(classify->contigs, region->contig),
					.name = region->name,
					.strand = region->strand,
					.start = region->start,
					.end = region->end,
					.tag = region->contig,
					.fetch = fetch_place,
					.user = &where};

		if (classify->options.scan)
			code = run_windows(classify, region);
		else if (is_mine(classify, region->end - region->start))
			code = cr_feature_stream_add(classify->stream, &item, classify->error);
	}
	return code ? code : cr_reference_unchanged(classify->reference, classify->error);
}

int cr_classify_items(cr_classify *classify)
{
	int code;

	if (classify->reference)
		tell_of_places(classify);
	code = classify->reference ? run_places(classify) : run_records(classify);
	return code ? code : cr_feature_stream_finish(classify->stream, classify->error);
}
