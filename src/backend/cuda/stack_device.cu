/* stack_device.cu - one GPU as a device for stacks: memory, its queue, the table of operators. */
#include "backend/cuda/stack.cuh"

extern "C" {
#include "base/memory.h"

extern const cr_stack_ops cr_stack_ops_cuda;
}

struct cr_cuda_stack_block {
	void *array;
	int64_t bytes;
	cr_cuda_stack_block *next;
};

/* ---- opening --------------------------------------------------------------------------------- */

static void device_close(cr_stack_device *device);

static int start(cr_stack_device *device, crocuta_error *error)
{
	int major = 0, minor = 0;

	CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");
	CR_CUDA_TRY(cudaDeviceGetAttribute(&device->multiprocessors, cudaDevAttrMultiProcessorCount,
					   device->gpu),
		    "asking about a GPU");
	CR_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device->gpu),
		    "asking about a GPU");
	CR_CUDA_TRY(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device->gpu),
		    "asking about a GPU");
	device->capability = 10 * major + minor;
	if (device->capability < 80)
		return cr_fail(error, CROCUTA_EDEVICE,
			       "GPU %d has compute capability %d.%d; 8.0 is needed", device->gpu, major,
			       minor);
	CR_CUDA_TRY(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking),
		    "making a stream");
	return cr_cuda_stack_blas_new(device, error);
}

static int device_open(const cr_stack_device_options *options, cr_stack_device **result,
		       crocuta_error *error)
{
	cr_stack_device *device;
	int code;

	*result = NULL;
	if (options->residual != CR_NUMBER_F32 ||
	    (options->activation != CR_NUMBER_F32 && options->activation != CR_NUMBER_BF16))
		return cr_fail(error, CROCUTA_EARG,
			       "GPU: activations are float32 or bfloat16, the residual float32");
	if (options->gpu < 0 || options->gpu >= cr_cuda_count())
		return cr_fail(error, CROCUTA_EDEVICE, "there is no GPU %d: %d can be used, from 0 on",
			       options->gpu, cr_cuda_count());
	device = (cr_stack_device *)cr_calloc(1, sizeof *device);
	if (!device)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a device");
	device->gpu = options->gpu;
	device->activation = options->activation;
	device->residual = options->residual;
	code = start(device, error);
	if (code)
		device_close(device);
	else
		*result = device;
	return code;
}

static void device_close(cr_stack_device *device)
{
	if (!device)
		return;
	(void)cudaSetDevice(device->gpu);
	if (device->stream)
		(void)cudaStreamSynchronize(device->stream);
	cr_cuda_stack_blas_free(device);
	cr_cuda_stack_written(device, NULL, INT64_MAX);
	(void)cudaFree(device->scratch);
	while (device->blocks) {
		cr_cuda_stack_block *block = device->blocks;

		device->blocks = block->next;
		(void)cudaFree(block->array);
		cr_free(block);
	}
	if (device->stream)
		(void)cudaStreamDestroy(device->stream);
	cr_free(device);
	(void)cudaGetLastError(); /* what was queued and failed is nobody's any more */
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int device_allocate(cr_stack_device *device, int64_t bytes, void **array,
			   crocuta_error *error)
{
	const size_t size = bytes > 0 ? (size_t)bytes : 1;
	cr_cuda_stack_block *block;
	cudaError_t status;

	*array = NULL;
	if (bytes < 0)
		return cr_fail(error, CROCUTA_EMEMORY, "GPU: an array is too large");
	CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");
	block = (cr_cuda_stack_block *)cr_calloc(1, sizeof *block);
	if (!block)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a device's array");
	status = cudaMalloc(&block->array, size);
	if (status != cudaSuccess) {
		cr_free(block);
		return cr_cuda_failed(status, "allocating", error);
	}
	status = cudaMemsetAsync(block->array, 0, size, device->stream);
	if (status != cudaSuccess) {
		(void)cudaFree(block->array);
		cr_free(block);
		return cr_cuda_failed(status, "clearing an array", error);
	}
	block->bytes = bytes;
	block->next = device->blocks;
	device->blocks = block;
	device->allocated += bytes;
	*array = block->array;
	return 0;
}

static void device_release(cr_stack_device *device, void *array)
{
	cr_cuda_stack_block **at = &device->blocks;
	cr_cuda_stack_block *block;

	if (!array)
		return;
	while (*at && (*at)->array != array)
		at = &(*at)->next;
	block = *at;
	if (!block)
		return;
	*at = block->next;
	device->allocated -= block->bytes;
	cr_cuda_stack_written(device, array, block->bytes);
	/* failures of what was queued stay with the device, and come back from wait */
	(void)cudaSetDevice(device->gpu);
	(void)cudaStreamSynchronize(device->stream);
	(void)cudaFree(array);
	cr_free(block);
}

static int64_t device_allocated(const cr_stack_device *device)
{
	return device->allocated;
}

int cr_cuda_stack_scratch(cr_stack_device *device, int64_t bytes, void **scratch,
			  crocuta_error *error)
{
	if (bytes > device->scratch_bytes) {
		CR_CUDA_TRY(cudaStreamSynchronize(device->stream), "what was queued");
		CR_CUDA_TRY(cudaFree(device->scratch), "freeing scratch memory");
		device->scratch = NULL;
		device->allocated -= device->scratch_bytes;
		device->scratch_bytes = 0;
		CR_CUDA_TRY(cudaMalloc(&device->scratch, (size_t)bytes), "allocating scratch memory");
		device->scratch_bytes = bytes;
		device->allocated += bytes;
	}
	*scratch = device->scratch;
	return 0;
}

/* ---- copies and the queue -------------------------------------------------------------------- */

/* kind says where from and where to; host arrays are done with when this returns. */
static int transfer(cr_stack_device *device, void *to, const void *from, int64_t bytes,
		    cudaMemcpyKind kind, const char *what, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");
	if (bytes <= 0)
		return 0;
	if (kind != cudaMemcpyDeviceToHost)
		cr_cuda_stack_written(device, to, bytes);
	CR_CUDA_TRY(cudaMemcpyAsync(to, from, (size_t)bytes, kind, device->stream), what);
	if (kind != cudaMemcpyDeviceToDevice)
		CR_CUDA_TRY(cudaStreamSynchronize(device->stream), what);
	return 0;
}

static int device_upload(cr_stack_device *device, void *to, const void *host, int64_t bytes,
			 crocuta_error *error)
{
	return transfer(device, to, host, bytes, cudaMemcpyHostToDevice, "copying to the GPU",
			error);
}

static int device_download(cr_stack_device *device, void *host, const void *from, int64_t bytes,
			   crocuta_error *error)
{
	return transfer(device, host, from, bytes, cudaMemcpyDeviceToHost, "copying from the GPU",
			error);
}

static int device_copy(cr_stack_device *device, void *to, const void *from, int64_t bytes,
		       crocuta_error *error)
{
	return transfer(device, to, from, bytes, cudaMemcpyDeviceToDevice, "copying", error);
}

static int device_clear(cr_stack_device *device, void *to, int64_t bytes, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");
	if (bytes <= 0)
		return 0;
	cr_cuda_stack_written(device, to, bytes);
	CR_CUDA_TRY(cudaMemsetAsync(to, 0, (size_t)bytes, device->stream), "clearing");
	return 0;
}

static int device_wait(cr_stack_device *device, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");
	CR_CUDA_TRY(cudaStreamSynchronize(device->stream), "what was queued");
	return 0;
}

static void *device_queue(const cr_stack_device *device)
{
	return (void *)device->stream;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define CR_STACK_OP(operator)                                                                      \
	static int enter_##operator(cr_stack_device * device, const cr_stack_##operator* arguments, \
				    crocuta_error *error)                                          \
	{                                                                                          \
		CR_CUDA_TRY(cudaSetDevice(device->gpu), "choosing a GPU");                         \
		return cr_cuda_stack_##operator(device, arguments, error);                         \
	}
#include "backend/stack_ops.def"
#undef CR_STACK_OP

const cr_stack_ops cr_stack_ops_cuda = {
	"cuda",
	device_open,
	device_close,
	device_allocate,
	device_release,
	device_allocated,
	device_upload,
	device_download,
	device_copy,
	device_clear,
	device_wait,
	device_queue,
#define CR_STACK_OP(operator) enter_##operator,
#include "backend/stack_ops.def"
#undef CR_STACK_OP
};
