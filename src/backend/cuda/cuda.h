/* cuda.h - a network on one NVIDIA GPU, for C; the only header of this folder that others include.
 *
 * A batch is `batch` sequences of one padded length, computed together as batch * length rows.
 * Padding stands behind a sequence and cannot change what is before it. Activations between kernels
 * are row-major (rows, channels) for the residual, and channel by channel (channels, rows) around the
 * long convolution.
 */
#ifndef CR_CUDA_CUDA_H
#define CR_CUDA_CUDA_H

#include <stdint.h>

#include <crocuta/error.h>

#include "backend/network.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_cuda cr_cuda;

typedef struct cr_cuda_device {
	char name[100];
	int major, minor; /* compute capability */
	int multiprocessors;
	int64_t total_bytes, free_bytes;
} cr_cuda_device;

/* GPUs that can be used; 0 without a driver. */
int cr_cuda_count(void);
int cr_cuda_describe(int device, cr_cuda_device *description, crocuta_error *error);

/* Measured here and now: FLOP a second of a large bfloat16 matrix product, and bytes a second, read and written,
 * of a copy on the device. Takes 2 GiB of its memory and some tenths of a second. */
int cr_cuda_measure_limits(int device, double *matrix_flop_per_second, double *bytes_per_second,
			   crocuta_error *error);

/* Arithmetic of a network on the GPU. */
enum cr_cuda_dtype {
	CR_CUDA_F32, /* results as good as float32's: operands of matrix products split in two halves */
	CR_CUDA_BF16 /* bfloat16 operands and activations, float32 sums and residual */
};

/* h at real offsets >= 0 of block `layer`: (count, 32 ceil(D / 32)) in double, the skip weight in tap
 * 0; several threads at once. */
typedef int cr_cuda_taps(void *user, int64_t layer, const double *offsets, int64_t count, double *values,
			 crocuta_error *error);

typedef struct cr_cuda_options {
	int device;
	int dtype;         /* enum cr_cuda_dtype */
	int64_t length;    /* longest padded length */
	int64_t rows;      /* rows of the largest batch, at least length */
	int keep;          /* also for cr_cuda_changes: activations of a batch are kept */
	int64_t block;     /* near/far form of the long convolution: positions of a block; 0: by transforms */
	int rank;          /* of it, at most 16 */
	cr_cuda_taps *taps;
	void *user;
	/* above 1: the object computes one of so many parts of a sequence (parts.h), with others on
	 * other GPUs: `rows` are at least cr_cuda_cut_most, and keep is 0 */
	int parts, part;
} cr_cuda_options;

/* The near/far form's limit, by shared memory: blocks of a sequence (rank up to 8: pairs of blocks). */
#define CR_CUDA_FAR_COLUMNS 1536

typedef struct cr_cuda_bytes {
	int64_t weights, filters, workspace;
} cr_cuda_bytes;

/* The padded length for a sequence: 2^k times 1, 5/4, 3/2 or 7/4, a multiple of 32 and at least 64,
 * so that transforms of twice that have small factors and there are few of them. */
int64_t cr_cuda_padded_length(int64_t length);

/* Up to this padded length the long convolution is computed directly, whatever the options. */
#define CR_CUDA_DIRECT_MAX 2048

/* Device memory that such an object takes. capability: 10 major + minor of the device. */
cr_cuda_bytes cr_cuda_plan_bytes(const cr_network *network, const cr_cuda_options *options,
				 int capability);

/* Allocate and prepare; EDEVICE, or EMEMORY when the device's memory is short. One thread at a time
 * for an object. */
int cr_cuda_new(const cr_network *network, const cr_cuda_options *options, cr_cuda **cuda,
		crocuta_error *error);
void cr_cuda_free(cr_cuda *cuda);

/* A change to a sequence of the batch that was computed last. */
typedef struct cr_cuda_change {
	int64_t sequence; /* in that batch */
	int64_t start;    /* position of the first row: min(2, at) rows before the change */
	int64_t lead;     /* that many rows, which are the sequence's own */
	int64_t rows;     /* with them */
} cr_cuda_change;

/* The padded length for changes of up to `rows` rows. */
int64_t cr_cuda_change_length(int64_t rows);

/* Work is queued, in two slots, and waited for one slot at a time: the host handles the results of one
 * batch while the next is computed. Between begin and cr_cuda_wait of a slot its host arrays stay. */
#define CR_CUDA_SLOTS 2

/* Queue passes 0 .. layer over a batch of tokens (batch, length), length padded. Results stay on the device
 * until the next forward or changes. tokens: from cr_cuda_host_bytes. */
int cr_cuda_forward(cr_cuda *cuda, int slot, const uint8_t *tokens, int64_t batch, int64_t length,
		    int layer, crocuta_error *error);

/* Of an object with `parts`: queue passes 0 .. layer over its part of one sequence of `length`, padded, together with
 * the same call for all other parts that are not empty; tokens: the part's. Its rows are rows 0 .. of the batch.
 * comm (src/comm/comm.h): the part's end, of as many ranks as there are parts, whose messages are of this device's
 * memory and ordered by cr_cuda_queue. NULL: nothing is exchanged and the rows are good for nothing, but all
 * kernels have been loaded: while one GPU waits for a message that another is to send, nothing should be. */
struct cr_comm;
int cr_cuda_forward_part(cr_cuda *cuda, int slot, const uint8_t *tokens, int64_t length, int layer,
			 struct cr_comm *comm, crocuta_error *error);

/* The object's stream, a cudaStream_t. */
void *cr_cuda_queue(const cr_cuda *cuda);

/* For ranks that are threads: wait until all that is queued is computed; copy from any device's memory to this
 * one's, behind what is queued, done on return. EDEVICE. */
int cr_cuda_settle(cr_cuda *cuda, crocuta_error *error);
int cr_cuda_copy(cr_cuda *cuda, void *to, const void *from, int64_t bytes, crocuta_error *error);

/* Queue all passes over `count` changes to the batch that the last cr_cuda_forward computed with keep: tokens
 * (count, length), length from cr_cuda_change_length. From there on cr_cuda_output gives rows of changes. */
int cr_cuda_changes(cr_cuda *cuda, int slot, const cr_cuda_change *changes, const uint8_t *tokens,
		    int64_t count, int64_t length, crocuta_error *error);

/* Rows [first, first + count) of the flattened batch. */
typedef struct cr_cuda_range {
	int64_t first, count;
} cr_cuda_range;

/* Queue the rows of all ranges, one range after the other: hidden (rows, D), the final norm's output or with
 * raw the residual itself; logits (rows, V). Either may be NULL; host arrays from cr_cuda_host_bytes. At most
 * CR_CUDA_OUTPUT_ROWS rows and CR_CUDA_RANGES ranges a call, one call a slot; of an object with these options: */
#define CR_CUDA_OUTPUT_ROWS 65536
#define CR_CUDA_RANGES 16384
int64_t cr_cuda_output_rows(const cr_cuda_options *options);
int64_t cr_cuda_ranges(const cr_cuda_options *options);
int cr_cuda_output(cr_cuda *cuda, int slot, const cr_cuda_range *ranges, int64_t count, int raw,
		   float *hidden, float *logits, crocuta_error *error);

/* Queue one pooled row for each range instead: values (count, D) in double, the sum of hidden over the
 * range's rows (one or more), or with `largest` the largest value, NaN when a row is not finite there. A
 * range's bytes do not depend on the others. At most cr_cuda_ranges ranges a call, of any length if
 * no row is in two of them; one call a slot. */
int cr_cuda_pool(cr_cuda *cuda, int slot, const cr_cuda_range *ranges, int64_t count, int raw,
		 int largest, double *values, crocuta_error *error);

/* Mark the end of the slot's work (after the last output), and wait for it. wait: EDEVICE, or ENUMERIC when an
 * activation did not fit the arithmetic. */
int cr_cuda_finish(cr_cuda *cuda, int slot, crocuta_error *error);
int cr_cuda_wait(cr_cuda *cuda, int slot, crocuta_error *error);

/* Seconds on the device since the last call, by stage: projections, norms, MLP, short filter and gates;
 * long convolution. Of slots that were waited for. */
void cr_cuda_times(cr_cuda *cuda, double *local, double *mixing);

/* Bytes allocated on the device by this object now. */
int64_t cr_cuda_allocated(const cr_cuda *cuda);

/* Host memory that the device reads and writes at full speed; NULL when there is none. */
void *cr_cuda_host_bytes(int64_t bytes);
void cr_cuda_host_free(void *array);

#ifdef __cplusplus
}
#endif
#endif
