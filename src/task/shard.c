/* shard.c - see shard.h. */
#include "task/shard.h"

#include <stdio.h>

#include "io/atomic.h"

void cr_shard_number_text(const cr_shard_facts *facts, char out[CR_SHARD_TEXT])
{
	snprintf(out, CR_SHARD_TEXT, "%d/%d", facts->shard, facts->shards);
}

void cr_shard_input_text(const cr_shard_facts *facts, char out[CR_SHARD_TEXT])
{
	char lines[48] = "";

	if (facts->lines >= 0)
		snprintf(lines, sizeof lines, ",Lines=\"%lld\"", (long long)facts->lines);
	snprintf(out, CR_SHARD_TEXT,
		 "<ID=input,First=\"%lld\",Span=\"%lld\",Total=\"%lld\",Records=\"%lld\"%s,"
		 "Digest=\"%016llx\">",
		 (long long)facts->first, (long long)facts->span, (long long)facts->total,
		 (long long)facts->records, lines, (unsigned long long)facts->digest);
}

int cr_shard_print(const cr_shard_facts *facts, struct cr_output *output, crocuta_error *error)
{
	char number[CR_SHARD_TEXT], input[CR_SHARD_TEXT], text[2 * CR_SHARD_TEXT + 60];

	if (facts->shards < 2)
		return CROCUTA_OK;
	cr_shard_number_text(facts, number);
	cr_shard_input_text(facts, input);
	snprintf(text, sizeof text, "##crocutaShard=%s\n##crocutaShardInput=%s\n", number, input);
	return cr_output_text(output, text, error);
}

int64_t cr_shard_border(int64_t total, int number, int parts)
{
	const int64_t part = total / parts, rest = total % parts; /* so that nothing overflows */

	return part * number + rest * number / parts;
}
