/* engine_cuda_parts.h - sequences that the GPUs of a session share: a part of each on every GPU. */
#ifndef CR_MODEL_ENGINE_CUDA_PARTS_H
#define CR_MODEL_ENGINE_CUDA_PARTS_H

#include "model/engine_cuda.h"

/* How GPUs that share sequences talk to each other. */
typedef struct cr_gpu_parts cr_gpu_parts;

/* CROCUTA_EARG, EMODEL where the session cannot share sequences. */
int cr_gpu_parts_check(const crocuta_session *session, const crocuta_session_options *o,
		       int64_t length, crocuta_error *error);

/* For GPUs that are made: connect them, and load every kernel. */
int cr_gpu_parts_new(cr_gpus *gpus, const cr_network *network, crocuta_error *error);
void cr_gpu_parts_free(cr_gpu_parts *parts); /* before the GPUs; NULL is fine */

/* EDEVICE when an earlier call left the GPUs without connection. */
int cr_gpu_parts_ready(cr_gpu_parts *parts, crocuta_error *error);

/* No other part waits any more for one that failed: in this call and any later. */
void cr_gpu_parts_fail(cr_gpu_parts *parts, const char *why);

/* A thread's work in a call; user: a cr_gpu_course. */
void *cr_gpu_part_work(void *user);

/* Segments with rows at positions [from, to) of their sequence, in a row from *first on; of the kind LAST those
 * whose last row is there. Returns their number. */
static inline int64_t cr_gpu_part_segments(const crocuta_segments *s, int kind, int64_t report_from,
					   int64_t from, int64_t to, int64_t *first)
{
	int64_t low = 0, high = s->count, end;

	while (low < high) { /* those that end up to `from` */
		const int64_t middle = low + (high - low) / 2;

		if (s->ends[middle] <= from)
			low = middle + 1;
		else
			high = middle;
	}
	*first = end = low;
	high = s->count;
	while (end < high) { /* those that end up to `to` */
		const int64_t middle = end + (high - end) / 2;

		if (s->ends[middle] <= to)
			end = middle + 1;
		else
			high = middle;
	}
	/* the next one begins where this one ends */
	if (kind != CROCUTA_POOL_LAST && from < to && end < s->count &&
	    (end ? s->ends[end - 1] : report_from) < to)
		end++;
	return end - low;
}

#endif
