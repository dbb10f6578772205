/* device.cu - which GPUs there are, and what their errors mean. */
#include "backend/cuda/internal.cuh"

#include <stdio.h>

int cr_cuda_count(void)
{
	int count = 0;

	if (cudaGetDeviceCount(&count) == cudaSuccess)
		return count;
	(void)cudaGetLastError();
	return 0;
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
	description->multiprocessors = properties.multiProcessorCount;
	description->total_bytes = (int64_t)total_bytes;
	description->free_bytes = (int64_t)free_bytes;
	return 0;
}

int cr_cuda_failed(cudaError_t status, const char *what, crocuta_error *error)
{
	(void)cudaGetLastError(); /* else the next launch would be blamed */
	if (status == cudaErrorMemoryAllocation)
		return cr_fail(error, CROCUTA_EMEMORY,
			       "GPU: %s: not enough memory on the device; try a shorter --window or "
			       "a smaller --batch-size",
			       what);
	return cr_fail(error, CROCUTA_EDEVICE, "GPU: %s failed: %s; --device cpu does without",
		       what, cudaGetErrorString(status));
}

int cr_cuda_host_failed(cudaError_t status, crocuta_error *error)
{
	(void)cudaGetLastError();
	return cr_fail(error, CROCUTA_EMEMORY,
		       "no host memory that the GPU can reach (%s); try a smaller --batch-size or "
		       "--device cpu",
		       cudaGetErrorString(status));
}
