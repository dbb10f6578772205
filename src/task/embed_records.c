/* embed_records.c - records as they come: a vector each, or each as a contig of its own. */
#include <string.h>

#include "base/error.h"
#include "task/embed_internal.h"

static int fetch_record(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const cr_record *record = user;

	(void)error;
	memcpy(out, record->bases + start, (size_t)(end - start));
	return CROCUTA_OK;
}

static int add_record(cr_embed *embed, const cr_record *record)
{
	int64_t bin = embed->options.bin;
	cr_job job = {.contig = record->name,
		      .strand = '.',
		      .contig_index = -1,
		      .contig_length = record->length,
		      .start = 0,
		      .end = record->length,
		      .bin = bin ? bin : record->length,
		      .fetch = fetch_record,
		      .user = (void *)(uintptr_t)record};
	int code;

	if (embed->by_record) {
		job.name = record->name;
	} else {
		/* tracks look contigs up while the passes before this one are written */
		code = embed->kind->sorted ? cr_passes_wait(embed->passes, embed->error)
					   : CROCUTA_OK;
		if (code)
			return code;
		job.contig_index = cr_contigs_count(embed->own_contigs);
		code = cr_contigs_add(embed->own_contigs, record->name, strlen(record->name),
				      record->length, embed->error);
		if (code)
			return code;
	}
	return cr_passes_add(embed->passes, &job, embed->error);
}

int cr_embed_records(cr_embed *embed)
{
	cr_records_counts counts;
	int code = CROCUTA_OK;

	while (!code) {
		const cr_record *record = NULL;

		code = cr_records_next(embed->records, &record, embed->error);
		if (code || !record)
			break;
		if (cr_embed_is_mine(embed, record->length))
			code = add_record(embed, record);
	}
	if (!code)
		code = cr_passes_finish(embed->passes, embed->error);
	counts = cr_records_get_counts(embed->records);
	embed->report->records = counts.records;
	if (!code && counts.secondary)
		cr_embed_log(embed, CROCUTA_LOG_WARNING,
			     "%lld secondary or supplementary alignments were left out",
			     (long long)counts.secondary);
	if (!code && counts.no_sequence)
		cr_embed_log(embed, CROCUTA_LOG_WARNING, "%lld reads without bases were left out",
			     (long long)counts.no_sequence);
	return code;
}
