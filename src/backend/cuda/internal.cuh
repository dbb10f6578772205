/* internal.cuh - shared by the .cu files: error checks, device arrays, what a network is made of. */
#ifndef CR_CUDA_INTERNAL_CUH
#define CR_CUDA_INTERNAL_CUH

#include <cublasLt.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cufft.h>
#include <stdint.h>

#include "backend/cuda/cuda.h"

extern "C" {
#include "base/error.h"
}

/* Codes of a failed CUDA call; the message names it. */
int cr_cuda_failed(cudaError_t status, const char *what, crocuta_error *error);

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

/* Rows of the dense layers that go through together. */
#define CR_CUDA_CHUNK 8192

/* Values of padded signals that cuFFT transforms together; a longer signal alone. */
#define CR_CUDA_GROUP ((int64_t)8 << 20)

/* A number of an operand of the dense layers is held in this many halves: low, high, high, against
 * weights high, low, high. */
#define CR_CUDA_PARTS 3

/* y (rows, out) = alpha * x (rows, PARTS * in) W' (+ y) + bias. */
typedef struct cr_cuda_linear {
	__half *weight; /* (out, PARTS * in) */
	float *bias;   /* (out) */
	int64_t in, out;
	float alpha;   /* undoes the powers of two on both operands */
	float x_scale; /* of the input before it is split */
	int accumulate; /* y += */
	cublasLtMatmulDesc_t description;
	cublasLtMatmulAlgo_t algorithm;
	int64_t workspace;
} cr_cuda_linear;

typedef struct cr_cuda_block {
	cr_cuda_linear in, out, fc1, fc2;
	float *taps;       /* (3, 3D) of the short filter, oldest first */
	float *short_bias; /* (3D) */
} cr_cuda_block;

/* Spectra of one size of transform. */
#define CR_CUDA_SIZES 8
typedef struct cr_cuda_spectra {
	int64_t size;   /* of the transform, twice the positions it serves; 0: unused */
	int fused;      /* by our own kernel in shared memory, not cuFFT */
	float2 *twiddles; /* (size) when fused */
	int64_t signals; /* transformed together */
	cufftHandle forward, inverse;
	cufftComplex *filter; /* (N, D, size / 2 + 1), scaled by 1 / size */
	int64_t used;         /* when last */
} cr_cuda_spectra;

struct cr_cuda {
	const cr_network *network;
	int device;
	int64_t length, rows;
	cudaStream_t stream;
	cublasLtHandle_t blas;
	void *blas_workspace;
	cr_cuda_block *block; /* (N) */
	float *embedding;     /* (V, D) */
	float *norm_weight, *norm_bias, *lm_head; /* (D), (D), (V, D) */
	float *filter_taps;   /* (N, D, tap_count) */
	int64_t tap_count;
	cr_cuda_spectra spectra[CR_CUDA_SIZES];
	int64_t clock;
	uint8_t *tokens;      /* (rows) */
	float *residual;      /* (rows, D) */
	float *x0;            /* (rows, D) */
	float *v;             /* (sequences, D, length): the convolution's input, then its output */
	float *u;             /* (CHUNK + 2, 3D) */
	__half *operand;      /* (CHUNK, PARTS * D) */
	float *wide;          /* (CHUNK, I) */
	__half *wide_operand; /* (CHUNK, PARTS * I) */
	cufftReal *padded;    /* (signals, size) */
	cufftComplex *spectrum; /* (signals, size / 2 + 1) */
	int64_t padded_floats, spectrum_values;
	float *rows_hidden, *rows_logits; /* (OUTPUT, D), (OUTPUT, V) */
	float *heads;  /* (sequences, D, HEAD): outputs at the first positions */
	int64_t output_rows; /* queued since the last wait */
	/* of the last forward: what its changes need. (N, rows, D); (N, sequences, D, length) twice */
	float *kept_residual, *kept_v, *kept_y;
	int64_t kept_length;  /* padded, of its sequences */
	cr_cuda_change *changes; /* (rows / 32) */
	int *overflow; /* set when an operand does not fit half precision */
	cudaEvent_t *event; /* (2 N + 1) between stages */
	double local_seconds, mixing_seconds;
};

int cr_cuda_floats(float **array, int64_t count, crocuta_error *error);
int cr_cuda_upload(float **array, const float *values, int64_t count, crocuta_error *error);

/* gemm.cu */
int cr_cuda_linear_init(cr_cuda *cuda, cr_cuda_linear *linear, const float *weight,
			const float *bias, int64_t out, int64_t in, const float *scale,
			const float *shift, crocuta_error *error);
void cr_cuda_linear_free(cr_cuda_linear *linear);
int cr_cuda_linear_run(cr_cuda *cuda, const cr_cuda_linear *linear, const __half *x, float *y,
		       int64_t rows, crocuta_error *error);
#define CR_CUDA_BLAS_WORKSPACE ((int64_t)32 << 20)

/* pointwise.cu: launches on cuda->stream. */
int cr_cuda_embed(cr_cuda *cuda, int64_t rows, crocuta_error *error);
int cr_cuda_normalise(cr_cuda *cuda, const float *x, int64_t rows, float scale, __half *operand,
		      crocuta_error *error);
int cr_cuda_short_filter(cr_cuda *cuda, const cr_cuda_block *block, int64_t first, int64_t rows,
			 int64_t length, crocuta_error *error);
int cr_cuda_gate(cr_cuda *cuda, int64_t first, int64_t rows, int64_t length, float scale,
		 crocuta_error *error);
int cr_cuda_gelu(cr_cuda *cuda, const float *x, int64_t rows, int64_t width, float scale,
		  __half *operand, crocuta_error *error);
int cr_cuda_head(cr_cuda *cuda, int64_t first, int64_t rows, int raw, float *hidden, float *logits,
		 crocuta_error *error);

/* changes.cu; places: on the device */
int cr_cuda_enter_changes(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
			  crocuta_error *error);
int cr_cuda_subtract_kept(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
			  crocuta_error *error);
int cr_cuda_add_kept(cr_cuda *cuda, int64_t layer, int64_t count, int64_t length,
		     crocuta_error *error);

/* convolution.cu */
int cr_cuda_convolve(cr_cuda *cuda, int64_t layer, int64_t batch, int64_t length,
		     crocuta_error *error);
/* fused_convolution.cu */
#define CR_CUDA_FUSED_MAX 16384
int cr_cuda_fused_size(int64_t length); /* of its transform; 0: too long */
int cr_cuda_make_twiddles(int64_t size, float2 **twiddles, crocuta_error *error);
int cr_cuda_fused_convolve(cr_cuda *cuda, const cr_cuda_spectra *spectra,
			   const cufftComplex *filter, int64_t signals, int64_t length,
			   crocuta_error *error);

int cr_cuda_make_taps(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error);
void cr_cuda_spectra_free(cr_cuda_spectra *spectra);

#endif
