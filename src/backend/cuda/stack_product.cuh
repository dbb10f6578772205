/* stack_product.cuh - one matrix product through cuBLASLt; private to stack_linear.cu and
 * stack_product.cu. */
#ifndef CR_CUDA_STACK_PRODUCT_CUH
#define CR_CUDA_STACK_PRODUCT_CUH

#include "backend/cuda/stack.cuh"

/* Rows of one product: keeps indices inside of 31 bits. */
#define CR_CUDA_PRODUCT_ROWS 16384

/* What the choice of an algorithm depends on. */
typedef struct cr_cuda_product_kind {
	int type;   /* enum cr_number: of x and W */
	int y_type; /* and of the bias */
	int bias;   /* with one */
	int64_t out, in;
} cr_cuda_product_kind;

/* y = x W' + beta y + bias. Strides in numbers; all arrays and rows aligned to 16 bytes, in and out
 * multiples of 8. */
typedef struct cr_cuda_operands {
	const void *w, *x, *bias; /* bias: with kind->bias */
	void *y;
	int64_t x_stride, y_stride, rows;
	float beta;
} cr_cuda_operands;

int cr_cuda_stack_product(cr_stack_device *device, const cr_cuda_product_kind *kind,
			  const cr_cuda_operands *operands, crocuta_error *error);

#endif
