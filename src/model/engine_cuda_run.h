/* engine_cuda_run.h - private to engine_cuda_run.c and engine_cuda_parts.c: one call's way through GPUs.
 *
 * Results are numbered: a batch, and in it the parts of its results that a slot holds. Where each sequence is
 * on all GPUs, batch s P + r is what GPU r of P has of sequence s. The calling thread hands them
 * over in that order.
 */
#ifndef CR_MODEL_ENGINE_CUDA_RUN_H
#define CR_MODEL_ENGINE_CUDA_RUN_H

#include <pthread.h>

#include "model/engine_cuda.h"

typedef struct cr_gpu_call {
	crocuta_session *session;
	const crocuta_sequence *sequences;
	int64_t count;
	int layer;
	const crocuta_request *request;
	int64_t batch_rows;
	int workers;          /* threads that queue; 0: the caller */
	double *carried;      /* (D) of a segment that goes on in what comes next; where GPUs share sequences */
	int carries;          /* there is one */
	pthread_mutex_t lock; /* of what follows and of the slots' states */
	pthread_cond_t changed;
	int64_t next, batches; /* sequences and batches that were taken */
	int working;           /* threads that still queue */
	int code;              /* of the first failure */
	crocuta_error error;
} cr_gpu_call;

/* One GPU's way through a call. */
typedef struct cr_gpu_course {
	cr_gpu_call *call;
	cr_gpu *gpu;
	pthread_t thread;
	int64_t batch, part;          /* numbers of what comes next */
	int64_t first, count, length; /* of the batch; length padded */
	int64_t from, to;    /* positions of each sequence that are on this GPU */
	int64_t index, done; /* sequence of the batch, and its rows or segments that are queued */
} cr_gpu_course;

/* The next part of the batch's results into the slot, and queue it, up to cr_cuda_finish. */
int cr_gpu_queue_results(cr_gpu_course *c, cr_gpu_slot *slot, crocuta_error *error);

/* Until the caller has handled what was in the slot. Returns 0 when the call has failed. */
int cr_gpu_wait_until_free(cr_gpu_call *a, cr_gpu_slot *slot);

/* A cr_gpu_handle_fn: for the calling thread to hand over; user: the course. */
int cr_gpu_mark_ready(void *user, cr_gpu_slot *slot, crocuta_error *error);

/* Of the first failure only; under the lock. */
void cr_gpu_keep_failure(cr_gpu_call *a, int code, const crocuta_error *error);

#endif
