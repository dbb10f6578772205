/* fuzz_region.c - the -r grammar: whatever parses lies on its contig, prints, and parses back to
 * the same; whatever does not says why. Input: the list, as text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/regions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static cr_contigs *make_contigs(void)
{
	static const struct {
		const char *name;
		int64_t length;
	} known[] = {{"chr1", 248956422},
		     {"chr2", 5000},
		     {"HLA*01:01", 300},
		     {"chr:1", 90},
		     {"chr", 80},
		     {"a,b", 50},
		     {"200", 70},
		     {"{x}", 40},
		     {"chr1:5-6", 30},
		     {"odd}:1", 20},
		     {"1", 1},
		     {"2", (int64_t)1 << 60},
		     {"-", 9},
		     {":", 8},
		     {",", 7},
		     {"}", 6}};
	cr_contigs *contigs = cr_contigs_new();

	for (size_t i = 0; contigs && i < sizeof known / sizeof *known; i++)
		if (cr_contigs_add(contigs, known[i].name, strlen(known[i].name), known[i].length,
				   NULL))
			abort();
	return contigs;
}

static void check_region(const cr_contigs *contigs, const cr_region *region)
{
	crocuta_error error = {0};
	cr_regions *again;
	char text[256];
	int used = cr_region_print(contigs, region, text, sizeof text);

	if (region->start < 0 || region->start >= region->end ||
	    region->end > cr_contigs_length(contigs, region->contig))
		abort();
	if (used <= 0 || (size_t)used >= sizeof text)
		abort();
	if (cr_regions_parse(contigs, text, 0, &again, &error) || again->count != 1 ||
	    again->items[0].contig != region->contig || again->items[0].start != region->start ||
	    again->items[0].end != region->end)
		abort();
	cr_regions_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static cr_contigs *contigs;
	char *text = malloc(size + 1);

	if (!contigs)
		contigs = make_contigs();
	if (!text || !contigs)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	for (int clip = 0; clip < 2; clip++) {
		crocuta_error error = {0};
		cr_regions *regions;
		int64_t bases = 0;
		int code = cr_regions_parse(contigs, text, clip, &regions, &error);

		if (code) {
			if (regions || error.code != code || !error.message[0] ||
			    (code != CROCUTA_EARG && code != CROCUTA_EINPUT))
				abort();
			continue;
		}
		for (int64_t i = 0; i < regions->count; i++) {
			check_region(contigs, &regions->items[i]);
			bases += regions->items[i].end - regions->items[i].start;
		}
		if (bases != regions->bases || (!clip && regions->clipped))
			abort();
		cr_regions_free(regions);
	}
	free(text);
	return 0;
}
