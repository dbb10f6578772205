/* variants_regions.c - which records lie in the regions or targets asked for, and the walk through
 * an index. The meanings of 0, 1 and 2 for the overlap, and the order of regions, are those of
 * bcftools. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/regions.h"
#include "io/variants_internal.h"

#define FURTHEST (INT64_MAX / 4) /* stands for the end of a contig: headers state wrong lengths */

/* ---- does a record lie in a list? ------------------------------------------------------------ */

/* Bases that REF shares with the front of every ALT. */
static int64_t shared_front(const bcf1_t *record)
{
	int64_t shared = record->rlen;

	for (uint32_t i = 1; i < record->n_allele; i++) {
		const char *ref = record->d.allele[0], *alt = record->d.allele[i];
		int64_t same = 0;

		while (same < shared && ref[same] && ref[same] == alt[same])
			same++;
		shared = same;
	}
	return shared;
}

struct cr_extent cr_variant_extent(bcf1_t *record, int overlap)
{
	struct cr_extent extent = {record->pos, record->pos};

	if (overlap)
		extent.last = record->pos + record->rlen - 1;
	if (overlap == 2 && record->n_allele)
		extent.first = record->pos + shared_front(record);
	return extent;
}

int cr_intervals_hit(const struct cr_intervals *intervals, int64_t first, int64_t count,
		     struct cr_extent extent)
{
	const struct cr_interval *items = intervals->items + first;
	int64_t low = 0, high = count; /* the first interval that ends behind extent.first */

	while (low < high) {
		int64_t middle = low + (high - low) / 2;

		if (items[middle].end > extent.first)
			high = middle;
		else
			low = middle + 1;
	}
	return low < count && items[low].start <= extent.last;
}

/* ---- reading a list -------------------------------------------------------------------------- */

static int add_name(cr_contigs *names, const char *name, size_t bytes, crocuta_error *error)
{
	if (!bytes || cr_contigs_find(names, name, bytes) >= 0)
		return CROCUTA_OK;
	return cr_contigs_add(names, name, bytes, FURTHEST, error);
}

/* The header has no contigs, so every item of the list says a name. Behind a colon, ",123" goes on
 * with a number. */
static int names_of_list(cr_contigs *names, const char *list, crocuta_error *error)
{
	int code = CROCUTA_OK, ranged = 0;

	while (!code && *list) {
		size_t item = strcspn(list, ","), name = strcspn(list, ":,");
		size_t digits = strspn(list, "0123456789");

		if (list[0] == '{' && strchr(list, '}')) {
			name = (size_t)(strchr(list, '}') - list);
			code = add_name(names, list + 1, name - 1, error);
			item = name + strcspn(list + name, ",");
			ranged = list[name + 1] == ':';
		} else if (!ranged || digits != 3 || (item > 3 && list[3] != '-')) {
			code = add_name(names, list, name, error);
			ranged = list[name] == ':';
		}
		list += item + (list[item] == ',');
	}
	return code;
}

static int names_of_file(cr_contigs *names, const char *path, crocuta_error *error)
{
	kstring_t line = {0, 0, NULL};
	BGZF *stream;
	int code = cr_open_text(path, &stream, error);

	if (code)
		return code;
	while (!code && bgzf_getline(stream, '\n', &line) >= 0)
		if (line.l && line.s[0] != '#')
			code = add_name(names, line.s, strcspn(line.s, "\t "), error);
	free(line.s);
	bgzf_close(stream);
	return code;
}

static int copy_names(cr_contigs *names, const cr_contigs *known, crocuta_error *error)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < cr_contigs_count(known); i++)
		code = add_name(names, cr_contigs_name(known, i), strlen(cr_contigs_name(known, i)),
				error);
	return code;
}

struct sorted_region {
	int64_t rank; /* of the contig in the list */
	struct cr_interval interval;
	int64_t contig;
};

static int compare_regions(const void *one, const void *other)
{
	const struct sorted_region *a = one, *b = other;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->interval.start != b->interval.start)
		return a->interval.start < b->interval.start ? -1 : 1;
	return (a->interval.end > b->interval.end) - (a->interval.end < b->interval.end);
}

/* Sort, contigs as they first come, and put together what overlaps; neighbours stay apart. */
static void merge(struct cr_intervals *intervals, struct sorted_region *sorted, int64_t count)
{
	struct cr_interval_run *run = NULL;
	int64_t items = 0;

	qsort(sorted, (size_t)count, sizeof *sorted, compare_regions);
	for (int64_t i = 0; i < count; i++) {
		const struct cr_interval *interval = &sorted[i].interval;

		if (!run || run->contig != sorted[i].contig) {
			intervals->run_of[sorted[i].contig] = intervals->run_count;
			run = &intervals->runs[intervals->run_count++];
			*run = (struct cr_interval_run){sorted[i].contig, items, 0};
		}
		if (run->count && intervals->items[items - 1].end > interval->start) {
			if (interval->end > intervals->items[items - 1].end)
				intervals->items[items - 1].end = interval->end;
			continue;
		}
		intervals->items[items++] = *interval;
		run->count++;
	}
}

static int take_regions(struct cr_intervals *intervals, const cr_regions *regions,
			crocuta_error *error)
{
	int64_t contigs = cr_contigs_count(intervals->names), ranks = 0;
	struct sorted_region *sorted = cr_calloc((size_t)regions->count + 1, sizeof *sorted);

	intervals->items = cr_calloc((size_t)regions->count + 1, sizeof *intervals->items);
	intervals->runs = cr_calloc((size_t)regions->count + 1, sizeof *intervals->runs);
	intervals->run_of = cr_calloc((size_t)contigs + 1, sizeof *intervals->run_of);
	if (!sorted || !intervals->items || !intervals->runs || !intervals->run_of) {
		cr_free(sorted);
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for %lld regions",
			       (long long)regions->count);
	}
	for (int64_t i = 0; i < contigs; i++)
		intervals->run_of[i] = -1;
	for (int64_t i = 0; i < regions->count; i++) {
		const cr_region *region = &regions->items[i];

		if (intervals->run_of[region->contig] < 0)
			intervals->run_of[region->contig] = ranks++;
		sorted[i] = (struct sorted_region){intervals->run_of[region->contig],
						   {region->start, region->end},
						   region->contig};
	}
	merge(intervals, sorted, regions->count);
	cr_free(sorted);
	return CROCUTA_OK;
}

int cr_intervals_open(const cr_contigs *known, const char *list, const char *file,
		      struct cr_intervals *intervals, crocuta_error *error)
{
	cr_regions *regions = NULL;
	int code;

	memset(intervals, 0, sizeof *intervals);
	intervals->names = cr_contigs_new();
	if (!intervals->names)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of regions");
	if (list && list[0] == '^')
		intervals->complement = 1;
	if (file && file[0] == '^')
		intervals->complement = 1;
	list = list ? list + intervals->complement : NULL;
	file = file ? file + intervals->complement : NULL;
	if (cr_contigs_count(known))
		code = copy_names(intervals->names, known, error);
	else if (list)
		code = names_of_list(intervals->names, list, error);
	else
		code = names_of_file(intervals->names, file, error);
	if (!code)
		code = list ? cr_regions_parse(intervals->names, list, 1, &regions, error)
			    : cr_regions_read(intervals->names, file, 1, &regions, error);
	if (!code)
		code = take_regions(intervals, regions, error);
	cr_regions_free(regions);
	return code;
}

void cr_intervals_close(struct cr_intervals *intervals)
{
	cr_contigs_free(intervals->names);
	cr_free(intervals->items);
	cr_free(intervals->runs);
	cr_free(intervals->run_of);
	memset(intervals, 0, sizeof *intervals);
}

/* ---- the walk through an index --------------------------------------------------------------- */

static int is_older(const char *path, const char *than)
{
	struct stat one, other;

	return !stat(path, &one) && !stat(than, &other) && one.st_mtime < other.st_mtime;
}

static int load_index(cr_variants *variants, crocuta_error *error)
{
	static const char *const suffixes[] = {".csi", ".tbi"};
	struct cr_walk *walk = &variants->walk;
	int binary = variants->file != NULL, loaded = 0;
	char name[4300];

	for (int i = 0; i < 2 - binary; i++) {
		if ((size_t)snprintf(name, sizeof name, "%s%s", variants->path, suffixes[i]) >=
			    sizeof name ||
		    access(name, F_OK))
			continue;
		if (binary)
			walk->index = bcf_index_load3(variants->path, name, HTS_IDX_SILENT_FAIL);
		else
			walk->tabix = tbx_index_load3(variants->path, name, HTS_IDX_SILENT_FAIL);
		loaded = walk->index || walk->tabix;
		variants->old_index = is_older(name, variants->path);
		if (loaded)
			return CROCUTA_OK;
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: is damaged or no index of %s; build it again: bcftools "
			       "index -f",
			       name, binary ? "a BCF" : "a VCF");
	}
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: -r and -R need an index, and there is no %s beside it; bcftools "
		       "index makes one (-t and -T do without)",
		       variants->shown, binary ? ".csi" : ".csi or .tbi");
}

/* Contigs of the header, and those that only the index knows. */
static int open_regions(cr_variants *variants, const char *list, const char *file,
			crocuta_error *error)
{
	struct cr_walk *walk = &variants->walk;
	cr_contigs *known = cr_contigs_new();
	const char **names = NULL;
	int count = 0, code = CROCUTA_OK;

	if (!known)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of regions");
	code = copy_names(known, variants->contigs, error);
	if (walk->tabix)
		names = tbx_seqnames(walk->tabix, &count);
	for (int i = 0; !code && i < count; i++)
		code = add_name(known, names[i], strlen(names[i]), error);
	free(names);
	if (!code && !cr_contigs_count(known))
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: has no contigs, so no regions",
			       variants->shown);
	if (!code)
		code = cr_intervals_open(known, list, file, &walk->regions, error);
	cr_contigs_free(known);
	if (!code && walk->regions.complement)
		code = cr_fail(error, CROCUTA_EARG, "a leading ^ is for -t and -T only");
	return code;
}

int cr_walk_open(cr_variants *variants, const char *regions, const char *regions_file,
		 crocuta_error *error)
{
	int code;

	if (bgzf_compression(variants->stream) != bgzf)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: -r and -R need a file compressed by bgzip, with an index "
			       "(bgzip FILE, then bcftools index FILE.gz); -t and -T do without",
			       variants->shown);
	code = load_index(variants, error);
	if (!code)
		code = open_regions(variants, regions, regions_file, error);
	variants->walk.on = 1;
	variants->number = 0;
	return code;
}

void cr_walk_close(struct cr_walk *walk)
{
	if (walk->chunks)
		hts_itr_destroy(walk->chunks);
	if (walk->index)
		hts_idx_destroy(walk->index);
	if (walk->tabix)
		tbx_destroy(walk->tabix);
	cr_intervals_close(&walk->regions);
}

/* Ask the index for the chunks that hold the region; NULL chunks when there are none. */
static int begin_region(cr_variants *variants, const struct cr_interval_run *run,
			const struct cr_interval *region, crocuta_error *error)
{
	struct cr_walk *walk = &variants->walk;
	const char *name = cr_contigs_name(walk->regions.names, run->contig);
	int number = walk->tabix ? tbx_name2id(walk->tabix, name)
				 : bcf_hdr_name2id(variants->header, name);

	walk->chunk = -1;
	if (number < 0)
		return CROCUTA_OK;
	walk->chunks = hts_itr_query(walk->tabix ? walk->tabix->idx : walk->index, number,
				     region->start, region->end, NULL);
	if (!walk->chunks)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: the index cannot be used; build it again: bcftools index -f",
			variants->shown);
	return CROCUTA_OK;
}

static void end_region(struct cr_walk *walk)
{
	if (walk->chunks)
		hts_itr_destroy(walk->chunks);
	walk->chunks = NULL;
	walk->item++;
	if (walk->item == walk->regions.runs[walk->run].count) {
		walk->run++;
		walk->item = 0;
	}
}

/* Go to the next chunk where this one ends. *more is 0 behind the last. */
static int enter_chunk(cr_variants *variants, int *more, crocuta_error *error)
{
	struct cr_walk *walk = &variants->walk;
	const hts_itr_t *chunks = walk->chunks;
	uint64_t here = (uint64_t)bgzf_tell(variants->stream);

	*more = 1;
	if (walk->chunk >= 0 && here < chunks->off[walk->chunk].v)
		return CROCUTA_OK;
	walk->chunk++;
	*more = !chunks->finished && walk->chunk < chunks->n_off;
	if (!*more || here == chunks->off[walk->chunk].u)
		return CROCUTA_OK;
	if (bgzf_seek(variants->stream, (int64_t)chunks->off[walk->chunk].u, SEEK_SET) < 0)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: the index points outside the file; build it again: bcftools "
			"index -f",
			variants->shown);
	return CROCUTA_OK;
}

int cr_walk_next(cr_variants *variants, bcf1_t *record, int *found, crocuta_error *error)
{
	struct cr_walk *walk = &variants->walk;
	const struct cr_intervals *regions = &walk->regions;
	int code = CROCUTA_OK;

	*found = 0;
	while (!code && walk->run < regions->run_count) {
		const struct cr_interval_run *run = &regions->runs[walk->run];
		const struct cr_interval *region = &regions->items[run->first + walk->item];
		const char *name = cr_contigs_name(regions->names, run->contig);
		struct cr_extent extent;
		int more = 0;

		if (!walk->chunks && (code = begin_region(variants, run, region, error)))
			break;
		if (walk->chunks)
			code = enter_chunk(variants, &more, error);
		if (!code && more)
			code = cr_variants_read_record(variants, record, &more, error);
		if (code)
			break;
		if (!more || record->pos >= region->end ||
		    strcmp(bcf_hdr_id2name(variants->header, record->rid), name)) {
			end_region(walk);
			continue;
		}
		/* A record that reaches into two regions came with the first. */
		extent = cr_variant_extent(record, variants->overlap);
		*found = cr_intervals_hit(regions, run->first + walk->item, 1, extent) &&
			 !(walk->item &&
			   cr_intervals_hit(regions, run->first + walk->item - 1, 1, extent));
		if (*found)
			break;
	}
	return code;
}
