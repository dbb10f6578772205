/* embed_shard.c - which rows of the whole are this shard's.
 *
 * A row belongs to the shard in whose share of all bases it begins. Windows lie where they lie
 * without shards: those at a border are computed by both, and the rows are the same bytes. */
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/digest64.h"
#include "task/embed_internal.h"

#define POLL_RECORDS 4096

static int is_sharded(const cr_embed *embed)
{
	return embed->options.shards > 1;
}

static int64_t border(const cr_embed *embed, int64_t total, int number)
{
	return cr_shard_border(total, number, embed->options.shards);
}

/* ---- places on contigs ----------------------------------------------------------------------- */

/* Rows of a region of which `before` bases and more lie before a border. */
static int64_t rows_before(int64_t border, int64_t before, int64_t bin, int64_t rows)
{
	const int64_t bases = cr_larger(border - before, 0);

	return cr_smaller(rows, bases / bin + (bases % bin > 0));
}

int cr_embed_next_job(const cr_embed *embed, int64_t number, int64_t *before, cr_job *job)
{
	const cr_region *region = &embed->regions->items[number];
	const int64_t length = region->end - region->start, start = *before;
	int64_t bin, rows, from, to;

	cr_embed_region_job(embed, region, job);
	*before += length;
	if (!is_sharded(embed))
		return 1;
	bin = embed->options.stream ? length : job->bin; /* a carried state cannot begin anywhere */
	rows = (length - 1) / bin + 1;
	from = rows_before(border(embed, embed->regions->bases, embed->options.shard - 1), start,
			   bin, rows);
	to = rows_before(border(embed, embed->regions->bases, embed->options.shard), start, bin,
			 rows);
	job->from = region->start + from * bin;
	job->to = cr_smaller(region->start + to * bin, region->end);
	return from < to;
}

static int64_t rows_of(int64_t from, int64_t to, int64_t bin)
{
	return to > from ? (to - from - 1) / bin + 1 : 0;
}

void cr_embed_count_shard(cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	cr_shard_facts *facts = &embed->shard;
	int64_t before = 0;

	*facts = (cr_shard_facts){.shard = o->shard, .shards = o->shards, .digest = CR_DIGEST64};
	for (int64_t i = 0; i < embed->regions->count; i++) {
		const cr_region *r = &embed->regions->items[i];
		const int64_t place[3] = {r->contig, r->start, r->end};
		cr_job job;
		const int mine = cr_embed_next_job(embed, i, &before, &job);
		const int64_t from = job.to ? job.from : job.start, to = job.to ? job.to : job.end;

		facts->digest = cr_digest64(facts->digest, place, sizeof place);
		if (mine && !facts->span)
			facts->first = facts->total + rows_of(job.start, from, job.bin) + 1;
		facts->span += mine ? rows_of(from, to, job.bin) : 0;
		facts->total += rows_of(job.start, job.end, job.bin);
	}
	if (!facts->span)
		facts->first = facts->total + 1;
	facts->records = facts->span;
	facts->lines = o->skip_n > 0 || o->track ? -1 : facts->span;
}

/* ---- records --------------------------------------------------------------------------------- */

int cr_embed_is_mine(cr_embed *embed, int64_t bases)
{
	const int64_t total = embed->record_bases, before = embed->record_before;

	embed->record_before += bases;
	if (!is_sharded(embed))
		return 1;
	return before >= border(embed, total, embed->options.shard - 1) &&
	       (before < border(embed, total, embed->options.shard) ||
		/* empty ones at the end */
		(embed->options.shard == embed->options.shards && before >= total));
}

static int walk_records(cr_embed *embed, int mine)
{
	cr_shard_facts *facts = &embed->shard;
	int64_t count = 0;
	int code = CROCUTA_OK;

	while (!code) {
		const cr_record *record = NULL;

		code = cr_records_next(embed->records, &record, embed->error);
		if (code || !record)
			break;
		count++;
		if (mine && cr_embed_is_mine(embed, record->length)) {
			facts->first = facts->span++ ? facts->first : count;
		} else if (!mine) {
			embed->record_bases += record->length;
			facts->digest =
				cr_digest64(facts->digest, record->name, strlen(record->name) + 1);
			facts->digest =
				cr_digest64(facts->digest, &record->length, sizeof record->length);
		}
		if (count % POLL_RECORDS == 0 && cr_embed_poll(embed, -1, NULL))
			code = cr_fail(embed->error, CROCUTA_ESTOPPED, "stopped on request");
	}
	facts->total = count;
	return code;
}

int cr_embed_shard_records(cr_embed *embed)
{
	cr_shard_facts *facts = &embed->shard;
	int code = CROCUTA_OK;

	*facts = (cr_shard_facts){.shard = embed->options.shard,
				  .shards = embed->options.shards,
				  .digest = CR_DIGEST64};
	for (int mine = 0; mine < 2 && !code; mine++) {
		code = walk_records(embed, mine);
		if (!code)
			code = cr_embed_open_records(embed);
	}
	embed->record_before = 0;
	if (!facts->span)
		facts->first = facts->total + 1;
	facts->records = facts->span;
	facts->lines = embed->options.skip_n > 0 || embed->options.track ? -1 : facts->span;
	return code;
}
