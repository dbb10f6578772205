/* shard.h - which part of which input an output holds, as its header says it and concat checks it.
 */
#ifndef CR_TASK_SHARD_H
#define CR_TASK_SHARD_H

#include <stdint.h>

#include <crocuta/error.h>

/* Places of the input are records, rows or positions, whatever a task counts. */
typedef struct cr_shard_facts {
	int shard, shards;   /* this one of so many, from 1 */
	int64_t first, span; /* places it holds: the first, from 1, and how many */
	int64_t total;       /* of the whole input */
	int64_t records;     /* that it holds */
	int64_t lines;       /* of the output; -1: not known beforehand */
	uint64_t digest;     /* of the whole input */
} cr_shard_facts;

#define CR_SHARD_TEXT 320

/* What stands behind ##crocutaShard= and ##crocutaShardInput=. */
void cr_shard_number_text(const cr_shard_facts *facts, char out[CR_SHARD_TEXT]);
void cr_shard_input_text(const cr_shard_facts *facts, char out[CR_SHARD_TEXT]);

/* Both lines; nothing when shards is below 2. */
struct cr_output;
CROCUTA_CHECKED int cr_shard_print(const cr_shard_facts *facts, struct cr_output *output,
				   crocuta_error *error);

/* Where part `number` of `parts` begins in a whole of so much cost: number 0 .. parts. */
int64_t cr_shard_border(int64_t total, int number, int parts);

#endif
