/* device.cu - which GPUs there are, and what their errors mean. */
#include "backend/cuda/internal.cuh"

#include <stdio.h>

int cr_cuda_count(void)
{
	int count = 0;

	return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

int cr_cuda_describe(int device, cr_cuda_device *description, crocuta_error *error)
{
	struct cudaDeviceProp properties;
	size_t free_bytes = 0, total_bytes = 0;

	CR_CUDA_TRY(cudaSetDevice(device), "choosing a GPU");
	CR_CUDA_TRY(cudaGetDeviceProperties(&properties, device), "asking about a GPU");
	CR_CUDA_TRY(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
	snprintf(description->name, sizeof description->name, "%.99s", properties.name);
	description->major = properties.major;
	description->minor = properties.minor;
	description->total_bytes = (int64_t)total_bytes;
	description->free_bytes = (int64_t)free_bytes;
	return 0;
}

int cr_cuda_failed(cudaError_t status, const char *what, crocuta_error *error)
{
	if (status == cudaErrorMemoryAllocation) {
		(void)cudaGetLastError(); /* it does not stick */
		return cr_fail(error, CROCUTA_EMEMORY,
			       "GPU: %s: not enough memory on the device; try a shorter --window or "
			       "a smaller --batch-size",
			       what);
	}
	return cr_fail(error, CROCUTA_EDEVICE, "GPU: %s failed: %s", what, cudaGetErrorString(status));
}

int cr_cuda_floats(float **array, int64_t count, crocuta_error *error)
{
	CR_CUDA_TRY(cudaMalloc(array, (size_t)(count > 0 ? count : 1) * sizeof **array),
		    "allocating memory");
	return 0;
}

int cr_cuda_upload(float **array, const float *values, int64_t count, crocuta_error *error)
{
	int code = cr_cuda_floats(array, count, error);

	if (code)
		return code;
	CR_CUDA_TRY(cudaMemcpy(*array, values, (size_t)count * sizeof **array,
			       cudaMemcpyHostToDevice),
		    "copying weights");
	return 0;
}
