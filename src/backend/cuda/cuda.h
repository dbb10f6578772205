/* cuda.h - a network on one NVIDIA GPU, for C; the only header of this folder that others include.
 *
 * A batch is `batch` sequences of one padded length, computed together as batch * length rows.
 * Padding stands behind a sequence and cannot change what is before it. Activations between kernels
 * are row-major (rows, channels), and (sequence, channel, position) around the long convolution.
 *
 * Arithmetic of the dense layers: with half-precision tensor cores. Every operand is the sum of two
 * half-precision numbers, and of their four products the three that matter are summed in float32, so
 * that results are as good as float32's.
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
	int64_t total_bytes, free_bytes;
} cr_cuda_device;

/* GPUs that can be used; 0 without a driver. */
int cr_cuda_count(void);
int cr_cuda_describe(int device, cr_cuda_device *description, crocuta_error *error);

/* h at offsets first .. first + count - 1 of block `layer`: (count, 32 ceil(D / 32)) in double, the
 * skip weight in tap 0; several threads at once. */
typedef int cr_cuda_taps(void *user, int64_t layer, int64_t first, int64_t count, double *values,
			 crocuta_error *error);

typedef struct cr_cuda_options {
	int device;
	int64_t length;    /* longest padded length */
	int64_t rows;      /* rows of the largest batch, at least length */
	int keep;          /* also for cr_cuda_changes: activations of a batch are kept */
	cr_cuda_taps *taps;
	void *user;
} cr_cuda_options;

typedef struct cr_cuda_bytes {
	int64_t weights, filters, workspace;
} cr_cuda_bytes;

/* The padded length for a sequence: 2^k times 1, 5/4, 3/2 or 7/4, at least 64, so that transforms of
 * twice that have small factors and there are few of them. */
int64_t cr_cuda_padded_length(int64_t length);

/* Device memory that such an object takes. */
cr_cuda_bytes cr_cuda_plan_bytes(const cr_network *network, const cr_cuda_options *options);

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

/* All passes over `count` changes to the batch that cr_cuda_forward computed with keep: tokens (count,
 * length), length from cr_cuda_change_length. From there on cr_cuda_output gives rows of changes. */
int cr_cuda_changes(cr_cuda *cuda, const cr_cuda_change *changes, const uint8_t *tokens,
		    int64_t count, int64_t length, crocuta_error *error);

/* Passes 0 .. layer over a batch of tokens (batch, length), length padded. Results stay there. */
int cr_cuda_forward(cr_cuda *cuda, const uint8_t *tokens, int64_t batch, int64_t length, int layer,
		    crocuta_error *error);

/* Seconds on the device since the last call, by stage: projections, norms, MLP, short filter and gates;
 * long convolution. */
void cr_cuda_times(cr_cuda *cuda, double *local, double *mixing);

/* Rows [first, first + count) of the flattened batch: hidden (count, D), the final norm's output or
 * with raw the residual itself; logits (count, V). Either may be NULL. Complete after cr_cuda_wait
 * only; the sums of all counts between two waits must not exceed CR_CUDA_OUTPUT_ROWS. */
#define CR_CUDA_OUTPUT_ROWS 65536
int cr_cuda_output(cr_cuda *cuda, int64_t first, int64_t count, int raw, float *hidden,
		   float *logits, crocuta_error *error);
int cr_cuda_wait(cr_cuda *cuda, crocuta_error *error);

/* Host memory that the device reads and writes at full speed; NULL when there is none. */
float *cr_cuda_host_floats(int64_t count);
void cr_cuda_host_free(float *array);

#ifdef __cplusplus
}
#endif
#endif
