/* attention_wgmma.cuh - matrix products and copies of attention on Hopper, besides those of wgmma.cuh.
 *
 * Values lie in shared memory as they come, (keys, 64) with rows of 128 bytes, swizzled as in wgmma.cuh: as an
 * operand (K, n) of a product over keys they are "MN-major". Each 64 columns of a head are an array of their own,
 * `columns` bytes behind the last; 8 keys take 1,024 bytes, a step of 16 keys adds 2,048 to the address.
 */
#ifndef CR_CUDA_ATTENTION_WGMMA_CUH
#define CR_CUDA_ATTENTION_WGMMA_CUH

#include <cuda.h>

#include "backend/cuda/wgmma.cuh"

__device__ inline uint64_t values_descriptor(uint32_t address, int columns)
{
	return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(columns >> 4) << 16 |
	       (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 4), FOUR(d, i + 8), FOUR(d, i + 12)
#define ALL32(d) SIXTEEN(d, 0), SIXTEEN(d, 16)
#define ALL64(d) ALL32(d), SIXTEEN(d, 32), SIXTEEN(d, 48)
#define NAMES32                                                                                    \
	"%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                   \
	"%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES64                                                                                    \
	NAMES32 ", "                                                                               \
		"%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
		"%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
/* o += p v for a step of 16 keys. p: fragment of four registers. */
__device__ inline void multiply_values(float (&o)[64], const uint32_t *p, uint64_t v)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64 "}, "
		     "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
		     : ALL64(o)
		     : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v));
}

__device__ inline void multiply_values(float (&o)[32], const uint32_t *p, uint64_t v)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES32 "}, "
		     "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
		     : ALL32(o)
		     : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v));
}

#undef FOUR
#undef SIXTEEN
#undef ALL32
#undef ALL64
#undef NAMES32
#undef NAMES64

/* Sums may be used from here on, not before. */
template <int COUNT> __device__ inline void sums_ready(float (&d)[COUNT])
{
#pragma unroll
	for (int i = 0; i < COUNT; i++)
		asm volatile("" : "+f"(d[i])::"memory");
}

/* A box of the mapped matrix from column and row on to shared memory; rows beyond its end are zeros. With CLUSTER
 * the box goes to all blocks of the cluster, whose barriers count it. */
template <int CLUSTER>
__device__ inline void copy_box(uint32_t to, const CUtensorMap *map, int column, int row,
				uint32_t barrier)
{
	if (CLUSTER == 1)
		asm volatile(
			"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::"
			"bytes [%0], [%1, {%2, %3}], [%4];\n" ::"r"(to),
			"l"(map), "r"(column), "r"(row), "r"(barrier)
			: "memory");
	else
		asm volatile(
			"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::"
			"bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;\n" ::"r"(to),
			"l"(map), "r"(column), "r"(row), "r"(barrier),
			"h"((uint16_t)((1 << CLUSTER) - 1))
			: "memory");
}

__device__ inline void prefetch_map(const CUtensorMap *map)
{
	asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

/* Of the thread's own block. */
__device__ inline void barrier_arrive_here(uint32_t barrier)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

/* Two warpgroups, of which one waits for the other: 256 threads of a named barrier. */
__device__ inline void turn_wait(int number)
{
	asm volatile("bar.sync %0, 256;\n" ::"r"(number) : "memory");
}

__device__ inline void turn_pass(int number)
{
	asm volatile("bar.arrive %0, 256;\n" ::"r"(number) : "memory");
}

template <int COUNT> __device__ inline void registers_drop()
{
	asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

template <int COUNT> __device__ inline void registers_take()
{
	asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

#endif
