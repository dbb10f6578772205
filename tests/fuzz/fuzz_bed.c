/* fuzz_bed.c - region files: whatever parses lies on its contig, and written as BED it parses back
 * to the same. Input: first byte even BED, odd CHROM POS [END]; then the file. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/regions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"chr1", "chr2", "tracks", "HLA*01:01", "a b"};
static const int64_t lengths[] = {248956422, 5000, 100, 300, 50};

static cr_contigs *make_contigs(void)
{
	cr_contigs *contigs = cr_contigs_new();

	for (size_t i = 0; contigs && i < sizeof names / sizeof *names; i++)
		if (cr_contigs_add(contigs, names[i], strlen(names[i]), lengths[i], NULL))
			abort();
	return contigs;
}

static int same_text(const char *one, const char *other)
{
	return one == other || (one && other && !strcmp(one, other));
}

/* Print as BED6, parse, compare. */
static void check_again(const cr_contigs *contigs, const cr_regions *regions)
{
	crocuta_error error = {0};
	cr_regions *again;
	size_t capacity = 64, used = 0;
	char *text;

	for (int64_t i = 0; i < regions->count; i++)
		capacity += 128 + (regions->items[i].name ? strlen(regions->items[i].name) : 0);
	text = malloc(capacity);
	if (!text)
		abort();
	for (int64_t i = 0; i < regions->count; i++) {
		const cr_region *it = &regions->items[i];

		if (it->start < 0 || it->start >= it->end ||
		    it->end > cr_contigs_length(contigs, it->contig))
			abort();
		used += (size_t)snprintf(text + used, capacity - used,
					 "%s\t%lld\t%lld\t%s\t0\t%c\n",
					 cr_contigs_name(contigs, it->contig), (long long)it->start,
					 (long long)it->end, it->name ? it->name : ".", it->strand);
	}
	if (cr_regions_parse_text(contigs, text, used, "again", 0, 0, &again, &error) ||
	    again->count != regions->count)
		abort();
	for (int64_t i = 0; i < again->count; i++)
		if (again->items[i].contig != regions->items[i].contig ||
		    again->items[i].start != regions->items[i].start ||
		    again->items[i].end != regions->items[i].end ||
		    again->items[i].strand != regions->items[i].strand ||
		    !same_text(again->items[i].name, regions->items[i].name))
			abort();
	cr_regions_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static cr_contigs *contigs;

	if (!contigs)
		contigs = make_contigs();
	if (!contigs)
		abort();
	if (!size)
		return 0;
	for (int clip = 0; clip < 2; clip++) {
		crocuta_error error = {0};
		cr_regions *regions;
		int code = cr_regions_parse_text(contigs, (const char *)data + 1, size - 1, "in",
						 data[0] & 1, clip, &regions, &error);

		if (code) {
			if (regions || code != CROCUTA_EINPUT || error.code != code ||
			    !error.message[0])
				abort();
			continue;
		}
		if (regions->count)
			check_again(contigs, regions);
		else if (!regions->clipped)
			abort();
		cr_regions_free(regions);
	}
	return 0;
}
