/* sequence_cache.c - see sequence_cache.h. Each block has one slot where it can be. */
#include "task/sequence_cache.h"

#include <string.h>

#include "base/memory.h"

#define BLOCK ((int64_t)16 << 10)
#define SLOTS (CR_SEQUENCE_CACHE_BYTES / BLOCK)

struct cr_sequence_cache {
	cr_reference *reference;
	const cr_contigs *contigs;
	char *bases; /* (SLOTS, BLOCK) */
	struct {
		int64_t contig, block; /* contig -1: empty */
	} slots[SLOTS];
};

cr_sequence_cache *cr_sequence_cache_new(cr_reference *reference)
{
	cr_sequence_cache *cache = cr_calloc(1, sizeof *cache);

	if (!cache)
		return NULL;
	cache->reference = reference;
	cache->contigs = cr_reference_contigs(reference);
	cache->bases = cr_calloc((size_t)SLOTS, (size_t)BLOCK);
	for (int64_t i = 0; i < SLOTS; i++)
		cache->slots[i].contig = -1;
	if (cache->bases)
		return cache;
	cr_free(cache);
	return NULL;
}

void cr_sequence_cache_free(cr_sequence_cache *cache)
{
	if (cache)
		cr_free(cache->bases);
	cr_free(cache);
}

/* The bases of a block, fetched where they are not there yet. */
static int get_block(cr_sequence_cache *cache, int64_t contig, int64_t block, const char **bases,
		     crocuta_error *error)
{
	const int64_t slot = (contig * 37 + block) % SLOTS, start = block * BLOCK;
	int64_t end = cr_contigs_length(cache->contigs, contig);
	char *out = cache->bases + slot * BLOCK;
	int code;

	*bases = out;
	if (cache->slots[slot].contig == contig && cache->slots[slot].block == block)
		return 0;
	cache->slots[slot].contig = -1;
	end = end - start > BLOCK ? start + BLOCK : end;
	code = cr_reference_fetch(cache->reference, contig, start, end, out, error);
	if (code)
		return code;
	cache->slots[slot].contig = contig;
	cache->slots[slot].block = block;
	return 0;
}

int cr_sequence_cache_fetch(cr_sequence_cache *cache, int64_t contig, int64_t start, int64_t end,
			    char *out, crocuta_error *error)
{
	while (start < end) {
		const int64_t block = start / BLOCK, offset = start - block * BLOCK;
		const int64_t take = BLOCK - offset < end - start ? BLOCK - offset : end - start;
		const char *bases;
		int code = get_block(cache, contig, block, &bases, error);

		if (code)
			return code;
		memcpy(out, bases + offset, (size_t)take);
		out += take;
		start += take;
	}
	return 0;
}
