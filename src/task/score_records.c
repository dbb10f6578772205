/* score_records.c - records of a VCF or BCF, a batch at a time; which of them are this shard's. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define BATCH_RECORDS 4096
#define BATCH_RECORDS_LONG 32768 /* for windows that many records share */
#define WINDOW_LONG 65536
#define POLL_RECORDS 1024

int cr_score_open_variants(cr_score *score)
{
	const crocuta_score_options *o = &score->options;
	const cr_variants_options how = {
		.regions = o->regions,
		.regions_file = o->regions_file,
		.targets = o->targets,
		.targets_file = o->targets_file,
		.regions_overlap = o->regions_overlap,
		.allow_truncated = o->allow_truncated,
	};
	int code;

	cr_variants_close(score->variants);
	score->variants = NULL;
	score->cost_before = 0;
	score->cost_contig = score->cost_window = -1;
	code = cr_variants_open(o->input, &how, &score->variants, score->error);
	if (code)
		return code;
	score->declared = cr_contigs_count(cr_variants_contigs(score->variants));
	if (!score->map_how && o->rename_chrs)
		score->map_how = "file"; /* whether or not there is a contig to map */
	return CROCUTA_OK;
}

/* ---- contig names ---------------------------------------------------------------------------- */

/* Map the contigs met since the last time. What a name was mapped to never changes. at_end: none
 * will follow, so that some have to fit, if there are records. The count for shards has met all. */
static int extend_map(cr_score *score, int at_end, int64_t records)
{
	const int may_miss = !records || (!at_end && !score->declared);
	const cr_contigs *names = cr_variants_contigs(score->variants);
	const int64_t count = cr_contigs_count(names);
	int64_t *map;
	const char *how = "none";
	int code;

	if (count <= score->mapped)
		return CROCUTA_OK;
	map = cr_calloc((size_t)count, sizeof *map);
	if (!map)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for %lld contigs",
			       (long long)count);
	code = cr_contigs_match(names, score->contigs, score->options.rename_chrs, may_miss, map,
				&how, score->error);
	if (!code && score->mapped && strcmp(how, score->map_how))
		code = cr_fail(
			score->error, CROCUTA_EINPUT,
			"%.300s: contig names of two kinds, \"%.60s\" after others that were "
			"mapped (%s); give --rename-chrs FILE",
			score->options.input, cr_contigs_name(names, score->mapped),
			score->map_how);
	if (code) {
		cr_free(map);
		return code;
	}
	if (!score->mapped && strcmp(how, "none"))
		for (int64_t i = 0; i < count; i++)
			if (map[i] >= 0) {
				cr_score_log(score, CROCUTA_LOG_NOTICE,
					     "contig names differ (%s): %.60s of the variants is "
					     "%.60s of the FASTA, and so on",
					     how, cr_contigs_name(names, i),
					     cr_contigs_name(score->contigs, map[i]));
				break;
			}
	cr_free(score->contig_map);
	score->contig_map = map;
	score->mapped = count;
	score->map_how = how;
	return CROCUTA_OK;
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* What a record costs, about, in rows of the model. */
static int64_t cost_of(cr_score *score, const cr_variant *variant)
{
	const cr_placement *p = &score->placement;
	const int64_t alts = variant->alleles - 1, window = variant->position / p->step;
	int64_t cost = 1 + alts * (p->fixed || score->options.no_reuse ? p->window : p->readout);

	if (variant->contig_index == score->cost_contig && window == score->cost_window)
		return cost;
	score->cost_contig = variant->contig_index;
	score->cost_window = window;
	return cost + 2 * p->window;
}

/* The shard, from 1, of a record before which the others cost so much. */
static int shard_of(const cr_score *score, int64_t before)
{
	const int shards = score->options.shards;
	const double share = (double)before / (double)score->cost_total;
	const int shard = (int)(share * shards);

	return shard < shards ? shard + 1 : shards;
}

/* What tells one input from another: places and alleles. */
static uint64_t digest_of(uint64_t digest, const cr_variant *variant)
{
	digest = cr_digest64(digest, variant->contig, strlen(variant->contig) + 1);
	digest = cr_digest64(digest, &variant->position, sizeof variant->position);
	for (int i = 0; i < variant->alleles; i++)
		digest = cr_digest64(digest, variant->allele[i],
					 strlen(variant->allele[i]) + 1);
	return digest;
}

/* On a contig of the FASTA, and inside it? */
static int is_somewhere(const cr_score *score, const cr_variant *variant)
{
	const int64_t index = variant->contig_index;
	const int64_t contig = index < score->mapped ? score->contig_map[index] : -1;

	return contig >= 0 && variant->position >= 0 &&
	       variant->position < cr_contigs_length(score->contigs, contig);
}

int cr_score_count_variants(cr_score *score)
{
	crocuta_score_report *report = score->report;
	int64_t records = 0, alleles = 0, all = 0, somewhere = 0;
	const int sharded = score->options.shards > 1, passes = sharded ? 2 : 1;
	int code = CROCUTA_OK;

	score->shard_digest = CR_DIGEST64;
	for (int pass = 0; pass < passes && !code; pass++) {
		records = alleles = 0;
		if (pass)
			code = cr_score_open_variants(score);
		while (!code) {
			cr_variant *variant = NULL;
			int mine;

			code = cr_variants_next(score->variants, &variant, score->error);
			if (code || !variant)
				break;
			mine = !pass || shard_of(score, score->cost_before) == score->options.shard;
			if (sharded && !pass) {
				score->shard_digest = digest_of(score->shard_digest, variant);
				score->shard_total++;
			} else if (mine && !records) {
				score->shard_first = all - score->shard_total;
			}
			somewhere += pass && is_somewhere(score, variant);
			records += mine;
			alleles += mine ? variant->alleles > 1 ? variant->alleles - 1 : 1 : 0;
			score->cost_before += cost_of(score, variant);
			cr_variant_free(score->variants, variant);
			if (++all % POLL_RECORDS == 0 && cr_score_poll(score))
				code = cr_fail(score->error, CROCUTA_ESTOPPED,
					       "stopped by the caller");
		}
		score->cost_total = score->cost_before;
		if (!code && !pass && records)
			code = extend_map(score, 1, records);
	}
	if (!code && sharded && score->shard_total && !somewhere)
		code = cr_score_fail_nowhere(score, score->shard_total);
	report->records = score->shard_span = score->shard_records = records;
	report->alleles = score->units_total = score->shard_lines = alleles;
	return code ? code : cr_score_open_variants(score);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* The next record of this shard, or NULL. */
static int next_of_shard(cr_score *score, cr_variant **variant)
{
	for (int64_t skipped = 1; !score->ended; skipped++) {
		int shard, code = cr_variants_next(score->variants, variant, score->error);

		score->ended = !code && !*variant;
		if (code || !*variant || score->options.shards < 2)
			return code;
		shard = shard_of(score, score->cost_before);
		score->cost_before += cost_of(score, *variant);
		if (shard == score->options.shard)
			return CROCUTA_OK;
		cr_variant_free(score->variants, *variant);
		*variant = NULL;
		/* The count has read the file to its proven end. */
		score->ended = shard > score->options.shard;
		if (skipped % POLL_RECORDS == 0 && cr_score_poll(score))
			return cr_fail(score->error, CROCUTA_ESTOPPED, "stopped by the caller");
	}
	*variant = NULL;
	return CROCUTA_OK;
}

static int add_variant(cr_score *score, cr_score_batch *batch, cr_variant *variant)
{
	cr_score_record *record = cr_score_add_record(batch);

	if (!record) {
		cr_variant_free(score->variants, variant);
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a record");
	}
	record->variant = variant;
	record->contig_name = variant->contig;
	record->position = variant->position;
	record->id = variant->id;
	record->allele = variant->allele;
	record->alts = variant->alleles - 1;
	return CROCUTA_OK;
}

int cr_score_read_variants(cr_score *score, cr_score_batch *batch)
{
	const int64_t most =
		score->placement.window > WINDOW_LONG ? BATCH_RECORDS_LONG : BATCH_RECORDS;
	const int64_t each = sizeof(cr_score_unit) + 2 * sizeof(cr_score_change);
	int64_t bytes = 0;
	int code = CROCUTA_OK;

	while (!code && batch->record_count < most && bytes < CR_SCORE_BATCH_BYTES / 2) {
		cr_variant *variant = NULL;

		code = next_of_shard(score, &variant);
		if (code || !variant)
			break;
		bytes += variant->bytes + variant->alleles * each;
		code = add_variant(score, batch, variant);
	}
	/* Declared contigs say how names are mapped, whether or not there are records: parts of
	 * one input agree. */
	if (!code && (batch->record_count || !score->output))
		code = extend_map(score, score->ended, batch->record_count);
	for (int64_t i = 0; !code && i < batch->record_count; i++) {
		cr_score_record *record = &batch->records[i];

		record->contig = score->contig_map[record->variant->contig_index];
	}
	return code;
}
