/* engine_cuda.h - shared by engine_cuda*.c: the GPUs of a session, and work in two slots of each.
 *
 * A call is cut into batches of one padded length, a batch into parts whose results fit a slot.
 * While the host handles the results of one part, the GPU computes the next. What a sequence gives
 * depends on its own padded length alone, never on its batch, its GPU or their number. Or each sequence is
 * cut into as many parts as there are GPUs, and all compute it together: engine_cuda_parts.c.
 */
#ifndef CR_MODEL_ENGINE_CUDA_H
#define CR_MODEL_ENGINE_CUDA_H

#include <crocuta/session.h>

#include "backend/cuda/cuda.h"
#include "mixer/implicit_filter.h"
#include "model/engine.h"

/* Padded rows of a batch that fill a GPU; calls smaller than some of these are not shared out. */
#define CR_GPU_SHARE_ROWS 65536

/* Where results of one sequence, or of one change to it, stand in a slot. */
typedef struct cr_gpu_piece {
	int64_t sequence; /* of the call */
	int64_t first,
		count; /* rows or segments of the sequence; of a change its number, its rows */
	int64_t at;    /* row in the slot's results */
	int64_t place; /* of a change: its sequence in the batch */
	int open;      /* the last segment goes on in what the next GPU has of the sequence */
} cr_gpu_piece;

enum cr_gpu_slot_state { CR_GPU_FREE, CR_GPU_BUSY, CR_GPU_READY };

/* One part on its way. */
typedef struct cr_gpu_slot {
	int number;              /* of enum 0 .. CR_CUDA_SLOTS - 1 */
	uint8_t *tokens;         /* (rows), at the device's reach, as are: */
	cr_cuda_change *changes; /* (rows / 64), for changes */
	void *values;            /* (output_rows, D) float, or (CR_CUDA_RANGES, D) double */
	float *logits;           /* (output_rows, V) */
	cr_cuda_range *ranges;   /* (CR_CUDA_RANGES) */
	cr_gpu_piece *pieces;    /* (CR_CUDA_RANGES) */
	int64_t ranges_used, pieces_used;
	int64_t batch, part; /* of the call, of the batch */
	int last;            /* part of the batch */
	int state;           /* enum cr_gpu_slot_state; under the call's lock */
	int kept;            /* for changes: which kept rows they are compared with */
} cr_gpu_slot;

/* Rows of the sequences of a batch that their changes are compared with, sequence after sequence.
 */
typedef struct cr_gpu_kept {
	float *hidden, *logits; /* (rows, D), (rows, V), at the device's reach */
	int64_t *row_0; /* (rows / 64) where row 0 of a sequence would be; may be negative */
} cr_gpu_kept;

/* A change of a batch, to be sorted by padded length. */
typedef struct cr_gpu_change {
	int64_t padded, place, change;
} cr_gpu_change;

typedef struct cr_gpu {
	cr_cuda *cuda;
	cr_cuda_options options;
	cr_cuda_device device;
	int64_t least_rows;   /* of a batch: one sequence, one change */
	int64_t planned_rows; /* options.rows as long as memory did not turn out short */
	int64_t output_rows;  /* of a part */
	cr_gpu_slot slot[CR_CUDA_SLOTS];
	cr_gpu_kept kept[2];    /* for changes: of a batch and of the next */
	cr_gpu_change *changes; /* (change_capacity) of a batch; grows */
	int64_t change_capacity;
} cr_gpu;

struct cr_gpu_parts;

typedef struct cr_gpus {
	int count;
	cr_gpu *gpu;                  /* (count) */
	int shares;                   /* GPUs share each sequence (--parallel sequence), */
	struct cr_gpu_parts *parts;   /* and are connected */
	cr_implicit_filter *implicit; /* (N) */
	int threads;                  /* of the host, for the rows functions of changes */
	crocuta_log_fn *log;          /* while the session is made */
	void *log_user;
	crocuta_stage_times times;
} cr_gpus;

/* Fill a slot and queue its part, up to cr_cuda_finish; *more becomes 0 when there is none. */
typedef int cr_gpu_queue_fn(void *user, cr_gpu_slot *slot, int *more, crocuta_error *error);

/* The slot's results are there. */
typedef int cr_gpu_handle_fn(void *user, cr_gpu_slot *slot, crocuta_error *error);

/* Queue part after part and handle each while the next is computed; at the end, or after a failure,
 * nothing is queued any more. */
int cr_gpu_pipeline(cr_gpu *gpu, cr_gpu_queue_fn *queue, cr_gpu_handle_fn *handle, void *user,
		    crocuta_error *error);

/* The tokens of sequence `index` of a batch, padded, into the slot. */
void cr_gpu_put_tokens(cr_gpu_slot *slot, int64_t index, const uint8_t *tokens, int64_t count,
		       int64_t length);

/* How many GPUs a call is worth that has `rows` padded rows of sequences, with changes `work` rows,
 * and padded rows of its batches at most. */
int cr_gpus_share(const cr_gpus *gpus, int64_t rows, int64_t work, int64_t *batch_rows);

/* May "auto" be a GPU for these options? */
int cr_cuda_automatic(const crocuta_session_options *options);

/* "sm_90" and so on; constant. */
const char *cr_cuda_architecture(const cr_cuda_device *device);

/* See engine.h. */
int cr_gpus_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		int layer, const crocuta_request *request, crocuta_error *error);
int cr_gpus_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
		    int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error);

#endif
