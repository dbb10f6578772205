/* embed_plan.c - the input opened, its regions, and what a run over them will take. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "task/embed_internal.h"

static int open_reference(cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	cr_reference_options how = {
		.fai = o->fai, .gzi = o->gzi, .allow_truncated = o->allow_truncated};
	int code = cr_reference_open(o->input, &how, &embed->reference, embed->error);

	if (code)
		return code;
	embed->contigs = cr_reference_contigs(embed->reference);
	if (o->regions)
		code = cr_regions_parse(embed->contigs, o->regions, o->clip, &embed->regions,
					embed->error);
	else if (o->regions_file)
		code = cr_regions_read(embed->contigs, o->regions_file, o->clip, &embed->regions,
				       embed->error);
	else
		code = cr_regions_all(embed->contigs, &embed->regions, embed->error);
	if (!code && o->regions_file && !o->regions && !cr_regions_is_bed_name(o->regions_file))
		cr_embed_log(embed, CROCUTA_LOG_NOTICE,
			     "%.200s: read as CHROM POS [END], positions from 1; only a file named "
			     ".bed is read as BED",
			     o->regions_file);
	if (!code && embed->regions->clipped)
		cr_embed_log(embed, CROCUTA_LOG_WARNING,
			     "%lld regions were cut at, or dropped beyond, the end of their contig",
			     (long long)embed->regions->clipped);
	if (!code && !embed->regions->count)
		cr_embed_log(embed, CROCUTA_LOG_WARNING, "there are no regions: no rows");
	return code;
}

int cr_embed_open_records(cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	cr_records_options how = {.reference = o->reference, .allow_truncated = o->allow_truncated};

	cr_records_close(embed->records);
	embed->records = NULL;
	return cr_records_open(o->input, &how, &embed->records, embed->error);
}

/* Read it as records first: the content says what it is. */
static int open_records(cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	int code = cr_embed_open_records(embed);

	if (code)
		return code;
	embed->by_record =
		o->per_record || cr_records_get_format(embed->records) != CR_RECORDS_FASTA;
	embed->contigs = embed->own_contigs = cr_contigs_new();
	return embed->own_contigs ? CROCUTA_OK
				  : cr_fail(embed->error, CROCUTA_EMEMORY, "no memory");
}

static int check_records(const cr_embed *embed)
{
	const crocuta_embed_options *o = &embed->options;
	const char *wrong = NULL;

	if (o->regions || o->regions_file || o->fai || o->gzi)
		wrong = "regions and indexes need a FASTA file; for alignments use samtools view";
	else if (embed->by_record && o->bin > 0)
		wrong = "reads give one row each; leave --bin out";
	else if (embed->by_record && embed->kind->sorted)
		wrong = "tracks need contigs, not reads; write tsv for one number a read";
	else if (embed->kind->listed)
		wrong = "bigWig needs a FASTA file, not a stream";
	return wrong ? cr_fail(embed->error, CROCUTA_EARG, "%.200s: %s", o->input, wrong)
		     : CROCUTA_OK;
}

/* No window is longer than a contig. Where all contigs are shorter than the model's window, memory for
 * that would be for nothing, and of a hybrid too much. HyenaDNA is left alone: the last digits of its
 * convolution depend on the length that is planned for. */
static void limit_session(cr_embed *embed)
{
	const int64_t specials = embed->session_options.max_length - embed->options.window;
	int64_t longest = 1;

	if (!embed->reference || embed->info->changes)
		return;
	for (int64_t i = 0; i < cr_contigs_count(embed->contigs); i++)
		longest = cr_larger(longest, cr_contigs_length(embed->contigs, i));
	embed->session_options.max_length =
		cr_smaller(embed->options.window, longest) + specials;
}

int cr_embed_open_input(cr_embed *embed)
{
	crocuta_embed_options *o = &embed->options;
	int code = open_records(embed);

	if (code)
		return code;
	if (cr_input_is_regular(o->input) && !embed->by_record) {
		cr_records_close(embed->records);
		embed->records = NULL;
		code = open_reference(embed);
	} else {
		code = check_records(embed);
		if (!code && o->shards > 1)
			code = cr_embed_shard_records(embed);
	}
	if (o->bin < 0)
		o->bin = embed->by_record ? 0 : o->track ? 1 : 128;
	if (!code)
		limit_session(embed);
	return code;
}

/* Formats of the genome browsers want places in order, each once. */
static int sort_regions(cr_embed *embed)
{
	cr_region *items = embed->regions->items;

	cr_regions_sort(embed->regions);
	for (int64_t i = 1; i < embed->regions->count; i++)
		if (items[i].contig == items[i - 1].contig && items[i].start < items[i - 1].end)
			return cr_fail(embed->error, CROCUTA_EINPUT,
				       "regions of \"%.80s\" overlap at base %lld: a track has one "
				       "value a base; merge them",
				       cr_contigs_name(embed->contigs, items[i].contig),
				       (long long)items[i].start + 1);
	return CROCUTA_OK;
}

static int fetch_region(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const cr_region *region = ((void **)user)[1];

	return cr_reference_fetch(((void **)user)[0], region->contig, start, end, out, error);
}

void cr_embed_region_job(const cr_embed *embed, const cr_region *region, cr_job *job)
{
	int64_t bin = embed->options.bin;

	*job = (cr_job){.contig = cr_contigs_name(embed->contigs, region->contig),
			.name = region->name,
			.strand = region->strand,
			.contig_index = region->contig,
			.contig_length = cr_contigs_length(embed->contigs, region->contig),
			.start = region->start,
			.end = region->end,
			.bin = bin ? bin : region->end - region->start,
			.fetch = fetch_region};
}

static void count_regions(cr_embed *embed, const crocuta_plan *plan)
{
	crocuta_embed_report *report = embed->report;
	cr_passes_options *p = &embed->passes_options;
	int64_t before = 0;

	report->bases = 0;
	report->regions = embed->regions->count;
	report->windows = report->tokens = report->rows = 0;
	p->longest_rows = 1;
	p->smallest_bin = INT64_MAX;
	for (int64_t i = 0; i < embed->regions->count; i++) {
		int64_t windows, tokens, rows;
		cr_job job;

		if (!cr_embed_next_job(embed, i, &before, &job))
			continue;
		if (!job.to) {
			job.from = job.start;
			job.to = job.end;
		}
		cr_passes_count(p, plan, &job, &windows, &tokens);
		rows = (job.to - job.from - 1) / job.bin + 1;
		report->bases += job.to - job.from;
		report->windows += windows;
		report->tokens += tokens;
		report->rows += rows;
		p->longest_rows = rows > p->longest_rows ? rows : p->longest_rows;
		p->smallest_bin = job.bin < p->smallest_bin ? job.bin : p->smallest_bin;
	}
}

int cr_embed_count(cr_embed *embed, const crocuta_plan *plan)
{
	crocuta_embed_report *report = embed->report;
	const crocuta_embed_options *o = &embed->options;
	cr_passes_options *p = &embed->passes_options;
	int64_t vectors = o->strands == CROCUTA_STRANDS_CONCAT ? 2 : 1;

	report->columns = o->track ? 1 : vectors * embed->info->width;
	report->window = o->stream ? embed->info->max_length : o->window;
	report->overlap = o->stream ? 0 : o->overlap;
	report->bin = o->bin;
	report->output_type = embed->kind->name;
	report->bases = report->windows = report->tokens = report->rows = -1;
	report->output_bytes = -1;
	report->contigs = cr_contigs_count(embed->contigs);
	/* a GPU's rows would wait for the bus */
	p->pooled = !strcmp(plan->device, "cuda") && !o->stream && !o->track &&
		    (!o->bin || o->bin >= CR_PASSES_POOLED_BIN);
	p->longest_rows = embed->by_record ? 1 : 1024;
	p->smallest_bin = o->bin ? o->bin : INT64_MAX;
	if (embed->reference) {
		int code = embed->kind->sorted ? sort_regions(embed) : CROCUTA_OK;

		if (code)
			return code;
		count_regions(embed, plan);
		if (o->shards > 1)
			cr_embed_count_shard(embed);
		report->output_bytes = embed->kind->bytes(report->rows, report->columns, o->half);
	}
	report->plan = *plan;
	report->memory_bytes = plan->total_bytes + cr_passes_bytes(p, plan);
	embed->tokens_total = report->tokens;
	if (o->session.memory_limit && report->memory_bytes > o->session.memory_limit)
		return cr_fail(embed->error, CROCUTA_EMEMORY,
			       "the plan needs %lld bytes (model %lld, rows %lld), the limit is "
			       "%lld; try a smaller --window, larger --bin or more --max-mem",
			       (long long)report->memory_bytes, (long long)plan->total_bytes,
			       (long long)(report->memory_bytes - plan->total_bytes),
			       (long long)o->session.memory_limit);
	return CROCUTA_OK;
}
