/* internal.cuh - shared by the .cu files: error checks, device arrays, what a network is made of.
 *
 * A pass over the network alternates two kinds of work (design: local, mixing):
 *   local    out_proj, add, norm, MLP, add of one block, then norm and in_proj of the next; row by row.
 *            dense.cu (any GPU, any width, both dtypes) or tile_hopper.cu (fused; compute
 *            capability 9.0, widths 128 and 256, both dtypes: tile_hopper_f32.cu).
 *   mixing   short filter, gate, long convolution, gate; along the positions, channel by channel.
 *            near_far.cu (matrix units), convolution.cu and fused_convolution.cu (transforms).
 * Between them lie, all with `stride` rows of room:
 *   residual (stride, D) float32, row-major
 *   u        (3D, stride), in_proj's output WITHOUT its bias: x0, x1, v; float32 or bfloat16. Of a part
 *            of a sequence the two positions before it stand at rows -2 and -1, the end of the
 *            channel before, where stride has a tile more than there are rows
 *   y        mixing's output times x0: bf16: (D, stride) bfloat16. f32: (2, D, stride) half precision,
 *            the low parts, then the high parts, of the value times CR_CUDA_GATE_SCALE
 */
#ifndef CR_CUDA_INTERNAL_CUH
#define CR_CUDA_INTERNAL_CUH

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cufft.h>
#include <math.h>
#include <stdint.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/parts.h"

extern "C" {
#include "base/error.h"
}

/* Codes of a failed CUDA call; the message names it. */
int cr_cuda_failed(cudaError_t status, const char *what, crocuta_error *error);
int cr_cuda_host_failed(cudaError_t status, crocuta_error *error); /* of cudaMallocHost */

#define CR_CUDA_TRY(call, what)                                                                    \
	do {                                                                                       \
		cudaError_t status_ = (call);                                                      \
		if (status_ != cudaSuccess)                                                        \
			return cr_cuda_failed(status_, what, error);                               \
	} while (0)

#define CR_CUDA_LAUNCHED(what) CR_CUDA_TRY(cudaGetLastError(), what)

static inline int64_t cr_ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* Rows are computed in tiles; arrays have room for whole ones. Padding rows hold finite values. */
#define CR_CUDA_TILE 256

/* Powers of two for operands (f32 only) between half's largest number and its smallest, 2^-24, below which the low
 * part of a value gets lost: normalised rows are at most sqrt(D). Products of gates were seen beyond 4,000 in
 * deep made-up models, and small ones are off by 2^-25 at most, which counts against the residual they are added
 * to; activations are summed with others of about 1. A scaled value beyond LARGEST_HALF sets overflow. */
#define CR_CUDA_NORM_SCALE 64.0f
#define CR_CUDA_GATE_SCALE 1.0f
#define CR_CUDA_GELU_SCALE 1.0f
#define CR_CUDA_LARGEST_HALF 65000.0f

/* What mixing needs of a block. */
typedef struct cr_cuda_short {
	float *in_bias; /* (3D): added to u at positions >= 0 before the short filter, whose zeros stand
			   left of a sequence */
	float *taps;    /* (3, 3D) of the short filter, oldest first */
	float *bias;    /* (3D) of the short filter */
} cr_cuda_short;

typedef struct cr_cuda_dense cr_cuda_dense;           /* dense.cu */
typedef struct cr_cuda_tile cr_cuda_tile;             /* tile_hopper.cu */
typedef struct cr_cuda_near_far cr_cuda_near_far;     /* near_far.cu */
typedef struct cr_cuda_transforms cr_cuda_transforms; /* convolution.cu */
typedef struct cr_cuda_piece cr_cuda_piece;           /* output.cu */
typedef struct cr_cuda_part cr_cuda_part;             /* parts.cu */

/* What is queued in a slot. */
typedef struct cr_cuda_slot {
	cudaEvent_t *event; /* (2 N + 2) between stages */
	cudaEvent_t done;
	int layers;         /* that the events count */
	int unfinished;     /* something is queued that no `done` marks the end of */
	int *overflow_host; /* pinned */
	float *hidden, *logits; /* device: (OUTPUT_ROWS, D), or pooled rows; (OUTPUT_ROWS, V) */
	cr_cuda_piece *pieces, *pieces_host; /* of output.cu: device; pinned */
} cr_cuda_slot;

struct cr_cuda {
	const cr_network *network;
	int device, multiprocessors, capability; /* capability: 10 major + minor */
	int dtype;
	int64_t length, rows, stride;
	int64_t allocated; /* bytes */
	cudaStream_t stream;
	cr_cuda_short *block; /* (N) */
	float *embedding;     /* (V, D) */
	int64_t output_rows, ranges; /* that cr_cuda_output and cr_cuda_pool take at a time */
	float *norm_weight, *norm_bias, *lm_head; /* (D), (D), (V, D) */
	uint8_t *tokens;      /* (stride) */
	float *residual;
	void *u, *y;
	void *u_memory;                 /* with u inside */
	cr_cuda_dense *dense;           /* NULL with tile */
	cr_cuda_tile *tile;             /* or NULL */
	cr_cuda_near_far *near_far;     /* or NULL */
	cr_cuda_transforms *transforms; /* when near_far does not serve a length */
	cr_cuda_part *part;             /* or NULL */
	/* of the last forward: what its changes need: (N, stride, D) residual before the block; (N, D, stride)
	 * the convolution's input and ungated output */
	float *kept_residual, *kept_v, *kept_y;
	int64_t kept_length;     /* padded, of its sequences */
	cr_cuda_change *changes; /* (rows / 32 + 1) */
	int *overflow; /* set when an operand does not fit half precision */
	cr_cuda_slot slot[CR_CUDA_SLOTS];
	double local_seconds, mixing_seconds;
};

/* Device memory, zeroed, counted in cuda->allocated. EMEMORY when short. `array` becomes NULL on failure. */
int cr_cuda_alloc(cr_cuda *cuda, void **array, int64_t bytes, crocuta_error *error);
int cr_cuda_upload(cr_cuda *cuda, void **array, const void *values, int64_t bytes, crocuta_error *error);

/* The passes as a network makes them, by whichever of the kernels below serves (network.cu). */
int cr_cuda_local(cr_cuda *cuda, int64_t head, int64_t tail, int64_t rows, crocuta_error *error);
typedef struct cr_cuda_mix cr_cuda_mix;
int cr_cuda_mix_run(cr_cuda *cuda, const cr_cuda_mix *mix, crocuta_error *error);

/* ---- local ----------------------------------------------------------------------------------- */

/* run: block `head` from y to the residual (out_proj .. fc2; -1: not), then norm and in_proj of block `tail` from
 * the residual to u (-1: not). With both, tail is head + 1. Reads y and residual of `rows` rows (and computes up
 * to the tile's end). Forward passes call (-1, 0), (0, 1), .. (N - 1, -1); changes call the two halves apart. */
int cr_cuda_dense_new(cr_cuda *cuda, cr_cuda_dense **dense, crocuta_error *error);
void cr_cuda_dense_free(cr_cuda_dense *dense);
int cr_cuda_dense_run(cr_cuda *cuda, int64_t head, int64_t tail, int64_t rows, crocuta_error *error);
int64_t cr_cuda_dense_bytes(const cr_network *network, int dtype, int64_t *weights); /* workspace */

/* result[o] = bias[o] + sum over i of weight[o][i] shift[i], in double; on the host.
 * bias and shift may be NULL. */
void cr_cuda_folded_bias(const float *weight, const float *bias, const float *shift, int64_t out,
			int64_t in, float *result);

int cr_cuda_tile_fits(const cr_network *network, int capability, int dtype);
int cr_cuda_tile_new(cr_cuda *cuda, cr_cuda_tile **tile, crocuta_error *error);
void cr_cuda_tile_free(cr_cuda_tile *tile, int64_t layers);
int cr_cuda_tile_run(cr_cuda *cuda, int64_t head, int64_t tail, int64_t rows, crocuta_error *error);
/* Of weights. */
int64_t cr_cuda_tile_bytes(const cr_network *network, int dtype);

/* ---- mixing ---------------------------------------------------------------------------------- */

/* One part's way through a sequence. */
typedef struct cr_cuda_part_pass {
	cr_cuda_cut cut;
	int part;
	int64_t start; /* of the part */
	struct cr_comm *comm;
} cr_cuda_part_pass;

/* What one mixing pass works on: sequences of `length` rows each, one after the other from row 0. */
struct cr_cuda_mix {
	int64_t layer, batch, length;
	/* keep: the convolution's input and ungated output also go here, (D, stride) each; or NULL */
	float *keep_v, *keep_y;
	/* changes: from the input is subtracted, and to the ungated output added, what was kept of the sequence a
	 * change belongs to; outside [lead, rows) of a change the convolution's input is 0. Or NULL. */
	const cr_cuda_change *changes; /* (batch), device */
	const float *kept_v, *kept_y;  /* (D, stride) */
	int64_t kept_length;
	/* `length` rows are a part of one sequence; or NULL */
	const cr_cuda_part_pass *part;
};

/* near_far.cu. serves: can it compute this length exactly enough? (up to CR_CUDA_DIRECT_MAX it is exact, by
 * Toeplitz matrices; beyond, where block and rank were certified by whoever chose the options.) */
int cr_cuda_near_far_new(cr_cuda *cuda, const cr_cuda_options *options, cr_cuda_near_far **near_far,
			 crocuta_error *error);
void cr_cuda_near_far_free(cr_cuda_near_far *near_far);
int cr_cuda_near_far_serves(const cr_cuda_near_far *near_far, int64_t length);
int cr_cuda_near_far_run(cr_cuda *cuda, const cr_cuda_mix *mix, crocuta_error *error);
int64_t cr_cuda_near_far_bytes(const cr_network *network, const cr_cuda_options *options,
			       int64_t *filters); /* workspace */

/* convolution.cu: any length, by transforms. */
int cr_cuda_transforms_new(cr_cuda *cuda, const cr_cuda_options *options,
			   cr_cuda_transforms **transforms, crocuta_error *error);
void cr_cuda_transforms_free(cr_cuda_transforms *transforms);
int cr_cuda_transforms_run(cr_cuda *cuda, const cr_cuda_mix *mix, crocuta_error *error);
int64_t cr_cuda_transforms_bytes(const cr_network *network, const cr_cuda_options *options,
				 int64_t *filters); /* workspace */

/* parts.cu: buffers for messages between parts of a sequence; with options->parts above 1 only. */
int cr_cuda_part_new(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error);
void cr_cuda_part_free(cr_cuda_part *part);
int64_t cr_cuda_part_bytes(const cr_network *network, const cr_cuda_options *options);

/* cuda->u, with room before it where there are parts. */
int cr_cuda_part_alloc_u(cr_cuda *cuda, int64_t bytes, int parts, crocuta_error *error);

/* The object's part of a sequence of `length`, padded. */
cr_cuda_part_pass cr_cuda_part_of(const cr_cuda_part *part, int64_t length, struct cr_comm *comm);

/* The last two positions of u to the next part; those of the part before to rows -2 and -1. */
int cr_cuda_part_history(cr_cuda *cuda, const cr_cuda_part_pass *pass, crocuta_error *error);

/* Where a part's own moments go, (D, its blocks, held); and all parts' moments into (D, pitch, held). */
float *cr_cuda_part_moments(const cr_cuda *cuda);
int cr_cuda_part_gather(cr_cuda *cuda, const cr_cuda_part_pass *pass, int64_t block, int held,
			int64_t pitch, float *moments, crocuta_error *error);

/* changes.cu: the lead rows of changes take the residual of their sequence, kept_residual of a layer. */
int cr_cuda_enter_changes(cr_cuda *cuda, const cr_cuda_mix *mix, const float *kept_residual,
			  crocuta_error *error);

/* ---- output.cu ------------------------------------------------------------------------------- */

int cr_cuda_output_new(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error);
void cr_cuda_output_free(cr_cuda *cuda);
int64_t cr_cuda_output_bytes(const cr_network *network, const cr_cuda_options *options);

/* Token vectors of rows [0, rows) into the residual. */
int cr_cuda_embed(cr_cuda *cuda, int64_t rows, crocuta_error *error);

#ifdef __CUDACC__
/* 1 / sqrt(variance + epsilon); no number where the sum of squares was none: 1 / infinity would make a row of
 * zeros of it. */
__device__ inline float cr_norm_scale(float variance, float epsilon)
{
	return variance < INFINITY ? 1.0f / sqrtf(variance + epsilon) : NAN;
}

__device__ inline float cr_sum_warp(float x)
{
	for (int offset = 16; offset; offset /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, offset);
	return x;
}

/* Row 0 of a change in what was kept of its sequence: kept is (D, stride). */
__device__ inline const float *cr_kept_rows(const float *kept, int64_t stride, int64_t channel,
					    const cr_cuda_change &change, int64_t kept_length)
{
	return kept + channel * stride + change.sequence * kept_length + change.start;
}

/* GELU, tanh form: x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3). */
__device__ inline float cr_gelu(float x)
{
	const float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);

	return x / (1.0f + expf(-2.0f * u));
}
#endif

#endif
