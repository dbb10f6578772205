/* score_ism.c - every SNV of regions, as records made up a batch at a time. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define POSITIONS_LEAST 4096
#define POSITIONS_MOST 65536
#define PIECE 4096

static const char *const snvs[4][4][2] = {
	{{"A", "A"}, {"A", "C"}, {"A", "G"}, {"A", "T"}},
	{{"C", "A"}, {"C", "C"}, {"C", "G"}, {"C", "T"}},
	{{"G", "A"}, {"G", "C"}, {"G", "G"}, {"G", "T"}},
	{{"T", "A"}, {"T", "C"}, {"T", "G"}, {"T", "T"}},
};

/* 0 to 3, or -1. */
static int base_number(char byte)
{
	switch (cr_base_canonical(byte)) {
	case 'A':
		return 0;
	case 'C':
		return 1;
	case 'G':
		return 2;
	case 'T':
		return 3;
	default:
		return -1;
	}
}

int cr_score_open_ism(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	int64_t total;
	int code = cr_regions_parse(score->contigs, o->ism, 0, &score->regions, score->error);

	if (code)
		return code;
	cr_regions_merge(score->regions); /* as -r has it */
	if (score->type == 'n' && score->regions->count != 1)
		return cr_fail(score->error, CROCUTA_EARG,
			       "an npy matrix holds one region; write vcf or tsv for several");
	total = score->regions->bases;
	score->next = 0;
	score->end = total;
	if (o->shards > 1) { /* in two steps, so that nothing overflows */
		int64_t part = total / o->shards, rest = total % o->shards;

		score->next = part * (o->shard - 1) + rest * (o->shard - 1) / o->shards;
		score->end = part * o->shard + rest * o->shard / o->shards;
	}
	score->shard_total = total;
	score->shard_first = score->next;
	score->shard_span = score->end - score->next;
	score->shard_digest = CR_DIGEST64;
	for (int64_t i = 0; i < score->regions->count; i++) {
		const cr_region *r = &score->regions->items[i];
		const int64_t place[3] = {r->contig, r->start, r->end};

		score->shard_digest = cr_digest64(score->shard_digest, place, sizeof place);
	}
	score->units_total = 3 * (score->end - score->next);
	return CROCUTA_OK;
}

/* The region that holds position number `next` of all, what is left of it, and the place. */
static const cr_region *find_region(const cr_score *score, int64_t *position, int64_t *left)
{
	int64_t number = score->next;
	const cr_region *region = score->regions->items;

	while (number >= region->end - region->start) {
		number -= region->end - region->start;
		region++;
	}
	*position = region->start + number;
	*left = region->end - *position;
	if (*left > score->end - score->next)
		*left = score->end - score->next;
	return region;
}

int cr_score_count_ism(cr_score *score)
{
	const int64_t first = score->next;
	int64_t known = 0;
	char bases[PIECE];
	int code = CROCUTA_OK;

	while (!code && score->next < score->end) {
		int64_t position, left;
		const cr_region *region = find_region(score, &position, &left);

		left = left < PIECE ? left : PIECE;
		code = cr_sequence_cache_fetch(score->cache, region->contig, position,
					       position + left, bases, score->error);
		for (int64_t i = 0; !code && i < left; i++)
			known += base_number(bases[i]) >= 0;
		score->next += left;
	}
	score->next = first;
	score->report->records = score->report->alleles = 3 * known;
	score->shard_records = score->shard_lines = 3 * known;
	return code;
}

/* Up to three SNVs of one position. */
static int add_position(cr_score *score, cr_score_batch *batch, const cr_region *region,
			int64_t position, int reference)
{
	for (int alt = 0; alt < 4; alt++) {
		cr_score_record *record;

		if (alt == reference)
			continue;
		record = cr_score_add_record(batch);
		if (!record)
			return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a record");
		record->contig_name = cr_contigs_name(score->contigs, region->contig);
		record->contig = region->contig;
		record->position = position;
		record->id = ".";
		record->allele = snvs[reference][alt];
		record->alts = 1;
	}
	return CROCUTA_OK;
}

int cr_score_read_ism(cr_score *score, cr_score_batch *batch)
{
	int64_t most = score->placement.step / 8;
	char bases[PIECE];
	int code = CROCUTA_OK;

	most = most < POSITIONS_LEAST  ? POSITIONS_LEAST
	       : most > POSITIONS_MOST ? POSITIONS_MOST
				       : most;
	/* on until something is found: an empty batch is the end */
	for (int64_t taken = 0;
	     !code && score->next < score->end && (taken < most || !batch->record_count);) {
		int64_t position, left;
		const cr_region *region = find_region(score, &position, &left);

		left = left < PIECE ? left : PIECE;
		code = cr_sequence_cache_fetch(score->cache, region->contig, position,
					       position + left, bases, score->error);
		for (int64_t i = 0; !code && i < left; i++) {
			const int reference = base_number(bases[i]);

			if (reference >= 0)
				code = add_position(score, batch, region, position + i, reference);
		}
		score->next += left;
		taken += left;
	}
	return code;
}
