/* embed_contigs.c - regions, or whole contigs, of an indexed FASTA. */
#include "base/error.h"
#include "task/embed_internal.h"

int cr_embed_contigs(cr_embed *embed)
{
	int64_t before = 0;
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < embed->regions->count && !code; i++) {
		cr_region *region = &embed->regions->items[i];
		void *place[2] = {embed->reference, region};
		cr_job job;

		if (!cr_embed_next_job(embed, i, &before, &job))
			continue;
		job.user = place;
		code = cr_passes_add(embed->passes, &job, embed->error);
	}
	if (!code)
		code = cr_passes_finish(embed->passes, embed->error);
	return code ? code : cr_reference_unchanged(embed->reference, embed->error);
}
