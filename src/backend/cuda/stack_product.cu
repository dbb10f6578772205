/* stack_product.cu - matrix products of operators on stacks through cuBLASLt.
 *
 * A row's bytes depend neither on how many others there are nor on where it stands: the algorithm of
 * a kind of product is chosen once, for NOMINAL_ROWS, and never splits a sum.
 */
#include "backend/cuda/stack_product.cuh"
#include "backend/cuda/blas_status.cuh"

extern "C" {
#include "base/memory.h"
}

#define WORKSPACE ((int64_t)32 << 20)
#define NOMINAL_ROWS 8192

struct product {
	cr_cuda_product_kind kind;
	cublasLtMatmulDesc_t description;
	cublasLtMatrixLayout_t w, x, y;
	cublasLtMatmulAlgo_t algorithm;
};

struct cr_cuda_stack_blas {
	cublasLtHandle_t handle;
	void *workspace;
	product *products; /* (count), room for `room` */
	int64_t count, room;
};

int cr_cuda_stack_blas_new(cr_stack_device *device, crocuta_error *error)
{
	cr_cuda_stack_blas *blas = (cr_cuda_stack_blas *)cr_calloc(1, sizeof *blas);

	if (!blas)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a device");
	device->blas = blas;
	TRY(cublasLtCreate(&blas->handle), "starting");
	CR_CUDA_TRY(cudaMalloc(&blas->workspace, (size_t)WORKSPACE), "allocating");
	device->allocated += WORKSPACE;
	return 0;
}

static void free_product(product *p)
{
	if (p->description)
		cublasLtMatmulDescDestroy(p->description);
	if (p->w)
		cublasLtMatrixLayoutDestroy(p->w);
	if (p->x)
		cublasLtMatrixLayoutDestroy(p->x);
	if (p->y)
		cublasLtMatrixLayoutDestroy(p->y);
}

void cr_cuda_stack_blas_free(cr_stack_device *device)
{
	cr_cuda_stack_blas *blas = device->blas;

	if (!blas)
		return;
	for (int64_t i = 0; i < blas->count; i++)
		free_product(&blas->products[i]);
	cr_free(blas->products);
	(void)cudaFree(blas->workspace);
	if (blas->handle)
		cublasLtDestroy(blas->handle);
	cr_free(blas);
	device->blas = NULL;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* To cuBLAS everything is column-major: y' (out x rows) = W x', with W stored as (in x out), to be
 * transposed, and x as (in x rows). */
static int describe(product *p, crocuta_error *error)
{
	const cr_cuda_product_kind *k = &p->kind;
	const cudaDataType_t type = k->type == CR_NUMBER_BF16 ? CUDA_R_16BF : CUDA_R_32F;
	const cudaDataType_t y_type = k->y_type == CR_NUMBER_BF16 ? CUDA_R_16BF : CUDA_R_32F;
	const int32_t transposed = CUBLAS_OP_T, bias_type = y_type;
	const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
	const uint64_t in = (uint64_t)k->in, out = (uint64_t)k->out;

	TRY(cublasLtMatmulDescCreate(&p->description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
	    "a description");
	TRY(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
					   sizeof transposed),
	    "an attribute");
	if (k->bias) {
		TRY(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_EPILOGUE,
						   &epilogue, sizeof epilogue),
		    "an attribute");
		TRY(cublasLtMatmulDescSetAttribute(p->description,
						   CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type,
						   sizeof bias_type),
		    "an attribute");
	}
	TRY(cublasLtMatrixLayoutCreate(&p->w, type, in, out, k->in), "a layout");
	TRY(cublasLtMatrixLayoutCreate(&p->x, type, in, NOMINAL_ROWS, k->in), "a layout");
	TRY(cublasLtMatrixLayoutCreate(&p->y, y_type, out, NOMINAL_ROWS, k->out), "a layout");
	return 0;
}

static int set_preference(cublasLtMatmulPreference_t preference, crocuta_error *error)
{
	static const cublasLtMatmulPreferenceAttributes_t operands[] = {
		CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
		CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
		CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
		CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
	const uint64_t limit = (uint64_t)WORKSPACE;
	const uint32_t no_split = CUBLASLT_REDUCTION_SCHEME_NONE, alignment = 16;

	TRY(cublasLtMatmulPreferenceSetAttribute(
		    preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit),
	    "a preference");
	TRY(cublasLtMatmulPreferenceSetAttribute(preference,
						 CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
						 &no_split, sizeof no_split),
	    "a preference");
	for (cublasLtMatmulPreferenceAttributes_t operand : operands)
		TRY(cublasLtMatmulPreferenceSetAttribute(preference, operand, &alignment,
							 sizeof alignment),
		    "a preference");
	return 0;
}

/* The heuristic's first choice for the layouts as they are: timing several could choose differently in
 * the next run. */
static int choose_algorithm(const cr_cuda_stack_blas *blas, product *p, crocuta_error *error)
{
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t best;
	cublasStatus_t status;
	int found = 0;
	int code;

	TRY(cublasLtMatmulPreferenceCreate(&preference), "a preference");
	code = set_preference(preference, error);
	if (code) {
		cublasLtMatmulPreferenceDestroy(preference);
		return code;
	}
	status = cublasLtMatmulAlgoGetHeuristic(blas->handle, p->description, p->w, p->x, p->y, p->y,
						preference, 1, &best, &found);
	cublasLtMatmulPreferenceDestroy(preference);
	if (status == CUBLAS_STATUS_SUCCESS && !found)
		status = CUBLAS_STATUS_NOT_SUPPORTED;
	TRY(status, "choosing a matrix product");
	p->algorithm = best.algo;
	return 0;
}

/* The product of this kind, made when it is first met. */
static int find_product(cr_cuda_stack_blas *blas, const cr_cuda_product_kind *kind, product **result,
			crocuta_error *error)
{
	product *p;
	int code;

	for (int64_t i = 0; i < blas->count; i++) {
		const cr_cuda_product_kind *k = &blas->products[i].kind;

		*result = &blas->products[i];
		if (k->type == kind->type && k->y_type == kind->y_type && k->bias == kind->bias &&
		    k->out == kind->out && k->in == kind->in)
			return 0;
	}
	if (blas->count == blas->room) {
		const int64_t room = blas->room ? 2 * blas->room : 16;

		p = (product *)cr_realloc(blas->products, (size_t)room, sizeof *p);
		if (!p)
			return cr_fail(error, CROCUTA_EMEMORY, "out of memory for matrix products");
		blas->products = p;
		blas->room = room;
	}
	p = &blas->products[blas->count];
	*p = product();
	p->kind = *kind;
	code = describe(p, error);
	if (!code)
		code = choose_algorithm(blas, p, error);
	if (code) {
		free_product(p);
		return code;
	}
	blas->count++;
	*result = p;
	return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

static int set_operands(const product *p, const cr_cuda_operands *o, crocuta_error *error)
{
	const uint64_t rows = (uint64_t)o->rows;

	TRY(cublasLtMatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows),
	    "a layout");
	TRY(cublasLtMatrixLayoutSetAttribute(p->y, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows),
	    "a layout");
	TRY(cublasLtMatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_LD, &o->x_stride,
					     sizeof o->x_stride),
	    "a layout");
	TRY(cublasLtMatrixLayoutSetAttribute(p->y, CUBLASLT_MATRIX_LAYOUT_LD, &o->y_stride,
					     sizeof o->y_stride),
	    "a layout");
	if (p->kind.bias) /* a pointer without the epilogue makes the product invalid */
		TRY(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
						   &o->bias, sizeof o->bias),
		    "an attribute");
	return 0;
}

static cublasStatus_t multiply(const cr_stack_device *device, const product *p, const cr_cuda_operands *o)
{
	const cr_cuda_stack_blas *blas = device->blas;
	const float alpha = 1;

	return cublasLtMatmul(blas->handle, p->description, &alpha, o->w, p->w, o->x, p->x, &o->beta,
			      o->y, p->y, o->y, p->y, &p->algorithm, blas->workspace,
			      (size_t)WORKSPACE, device->stream);
}

/* An algorithm that does not take this number of rows is replaced, for this call, by one chosen for it:
 * the one case where bytes could depend on the number of rows. */
int cr_cuda_stack_product(cr_stack_device *device, const cr_cuda_product_kind *kind,
			  const cr_cuda_operands *o, crocuta_error *error)
{
	cublasStatus_t status;
	product *p = NULL;
	int code = find_product(device->blas, kind, &p, error);

	if (!code)
		code = set_operands(p, o, error);
	if (code)
		return code;
	status = multiply(device, p, o);
	if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
		const cublasLtMatmulAlgo_t usual = p->algorithm;

		code = choose_algorithm(device->blas, p, error);
		if (code)
			return code;
		status = multiply(device, p, o);
		p->algorithm = usual;
	}
	TRY(status, "a matrix product");
	return 0;
}
