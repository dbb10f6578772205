/* gemm.cuh - products of activations with weights through cuBLASLt; private to gemm.cu and
 * dense.cu.
 *
 * y (rows, out) = alpha x (rows, in) W' + beta y + bias, for any number of rows with the algorithm
 * that was chosen for a full chunk of them, and never with a split sum: a row's bytes do not depend
 * on how many others there are, nor on where it stands.
 */
#ifndef CR_CUDA_GEMM_CUH
#define CR_CUDA_GEMM_CUH

#include "backend/cuda/internal.cuh"

#define CR_CUDA_BLAS_WORKSPACE ((int64_t)32 << 20)

typedef struct cr_cuda_blas {
	cublasLtHandle_t handle;
	void *workspace; /* CR_CUDA_BLAS_WORKSPACE bytes */
} cr_cuda_blas;

/* One layer's weights, on the device. */
typedef struct cr_cuda_linear {
	void *weight, *bias;
	float alpha; /* undoes the powers of two on both operands */
} cr_cuda_linear;

/* Host weights and how they are laid out on the device: bfloat16 when parts is 1; otherwise half
 * precision, of `parts` matrices: high, low (, high).
 *   row-major:  (padded_out, parts, padded_in)
 *   transposed: (parts, padded_in, padded_out)
 * scale, shift: (in) of the norm in front, folded into weight and bias; or NULL. */
typedef struct cr_cuda_weights {
	const float *weight, *bias, *scale, *shift; /* (out, in), (out); bias may be NULL */
	int64_t out, in, padded_out, padded_in;
	int parts, transposed;
	int with_bias;
	cudaDataType_t bias_type; /* CUDA_R_32F or CUDA_R_16BF */
	float x_scale;            /* power of two on the activations */
} cr_cuda_weights;

int cr_cuda_linear_new(cr_cuda *cuda, cr_cuda_linear *linear, const cr_cuda_weights *weights,
		       crocuta_error *error);
void cr_cuda_linear_free(cr_cuda_linear *linear);

/* A kind of product. Activations are row-major (rows, ld), or channel-major (channels, ld): x with
 * transposed weights, or y, not both. */
typedef struct cr_cuda_shape {
	int64_t in, out; /* of the product: all parts together */
	int64_t x_ld, w_ld, y_ld;
	int x_channels, y_channels;  /* channel-major */
	cudaDataType_t type, y_type; /* of x and W; of y and the bias */
	cublasLtEpilogue_t epilogue;
	float beta;
} cr_cuda_shape;

/* Layouts for one number of rows. */
typedef struct cr_cuda_layouts {
	cublasLtMatrixLayout_t x, y;
	int64_t rows;
} cr_cuda_layouts;

typedef struct cr_cuda_product {
	cr_cuda_shape shape;
	cublasLtMatmulDesc_t description;
	cublasLtMatrixLayout_t w;
	cr_cuda_layouts chunk, rest; /* of a full chunk; of the last number of rows that was less */
	cublasLtMatmulAlgo_t algorithm;
	int64_t workspace;
} cr_cuda_product;

int cr_cuda_blas_new(cr_cuda *cuda, cr_cuda_blas *blas, crocuta_error *error);
void cr_cuda_blas_free(cr_cuda_blas *blas);

/* linear: any of those that will be used, for its bias. */
int cr_cuda_product_new(const cr_cuda_blas *blas, cr_cuda_product *product,
			const cr_cuda_shape *shape, int64_t chunk, const cr_cuda_linear *linear,
			crocuta_error *error);
void cr_cuda_product_free(cr_cuda_product *product);
int cr_cuda_product_run(cr_cuda *cuda, const cr_cuda_blas *blas, cr_cuda_product *product,
			const cr_cuda_linear *linear, const void *x, void *y, int64_t rows,
			crocuta_error *error);

#endif
