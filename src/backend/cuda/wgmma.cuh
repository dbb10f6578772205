/* wgmma.cuh - Hopper's warpgroup matrix product, and the barriers that feed it.
 *
 * One warpgroup multiplies 64 rows of A (registers, or shared memory) with B (K, n) from shared memory, bfloat16
 * or half precision in, float32 sums in registers. Operands in shared memory are "K-major, 128-byte swizzle":
 * 64 values of K a row of 128 bytes, whose 16-byte pieces are exchanged by the exclusive or with the row's number
 * modulo 8 (PTX ISA, "asynchronous warpgroup level matrix instructions"). d: the thread with lane 4 g + q of warp
 * w holds rows 16 w + g (values 4 j, 4 j + 1) and 16 w + g + 8 (4 j + 2, 4 j + 3) of columns 8 j + 2 q and the
 * next.
 */
#ifndef CR_CUDA_WGMMA_CUH
#define CR_CUDA_WGMMA_CUH

#include <stdint.h>

__device__ inline uint32_t shared_address(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

/* Of an operand at a shared address; rows of 128 bytes, groups of 8 rows 1,024 bytes apart. A step of 16 in K adds
 * 32 bytes to the address. */
__device__ inline uint64_t matrix_descriptor(uint32_t address)
{
	return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 |
	       (uint64_t)1 << 62;
}

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 4), FOUR(d, i + 8), FOUR(d, i + 12)
#define ALL32(d) SIXTEEN(d, 0), SIXTEEN(d, 16)
#define ALL64(d) ALL32(d), SIXTEEN(d, 32), SIXTEEN(d, 48)
#define ALL128(d)                                                                                  \
	ALL64(d), SIXTEEN(d, 64), SIXTEEN(d, 80), SIXTEEN(d, 96), SIXTEEN(d, 112)

#define NAMES32 \
	"%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
	"%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES64 \
	NAMES32 ", " \
	"%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
	"%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES128 \
	NAMES64 ", " \
	"%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
	"%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
	"%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
	"%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

/* The instruction for `columns` columns of operands of `type`; names: of d, a, b, and of `add`. A from registers
 * or from shared memory. */
#define FROM_REGISTERS(columns, type, d, a, b, add)                                                \
	"{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\n"                                           \
	"wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" d "}, {" a "}, " b \
	", p, 1, 1, 0;\n}\n"
#define FROM_SHARED(columns, type, d, a, b, add)                                                   \
	"{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\n"                                           \
	"wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" d "}, " a ", " b   \
	", p, 1, 1, 0, 0;\n}\n"

/* d (+)= a b for one step of 16 in K; add 0: d is overwritten. a: fragment of four registers, or descriptor. */
__device__ inline void multiply_registers(float (&d)[64], const uint32_t *a, uint64_t b, int add)
{
	asm volatile(FROM_REGISTERS("128", "bf16", NAMES64, "%64, %65, %66, %67", "%68", "%69")
		     : ALL64(d)
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

__device__ inline void multiply_shared(float (&d)[64], uint64_t a, uint64_t b, int add)
{
	asm volatile(FROM_SHARED("128", "bf16", NAMES64, "%64", "%65", "%66")
		     : ALL64(d)
		     : "l"(a), "l"(b), "r"(add));
}

__device__ inline void multiply_registers(float (&d)[128], const uint32_t *a, uint64_t b, int add)
{
	asm volatile(FROM_REGISTERS("256", "bf16", NAMES128, "%128, %129, %130, %131", "%132", "%133")
		     : ALL128(d)
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

/* The same of half precision. */
__device__ inline void multiply_half_registers(float (&d)[32], const uint32_t *a, uint64_t b, int add)
{
	asm volatile(FROM_REGISTERS("64", "f16", NAMES32, "%32, %33, %34, %35", "%36", "%37")
		     : ALL32(d)
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

__device__ inline void multiply_half_registers(float (&d)[64], const uint32_t *a, uint64_t b, int add)
{
	asm volatile(FROM_REGISTERS("128", "f16", NAMES64, "%64, %65, %66, %67", "%68", "%69")
		     : ALL64(d)
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

__device__ inline void multiply_half_shared(float (&d)[64], uint64_t a, uint64_t b, int add)
{
	asm volatile(FROM_SHARED("128", "f16", NAMES64, "%64", "%65", "%66")
		     : ALL64(d)
		     : "l"(a), "l"(b), "r"(add));
}

#undef FOUR
#undef SIXTEEN
#undef ALL32
#undef ALL64
#undef ALL128
#undef NAMES32
#undef NAMES64
#undef NAMES128
#undef FROM_REGISTERS
#undef FROM_SHARED

/* Before the first product after registers of d or a were written. */
__device__ inline void products_begin()
{
	asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

__device__ inline void products_commit()
{
	asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

/* Until at most `pending` committed groups run. */
template <int pending> __device__ inline void products_wait()
{
	asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(pending) : "memory");
}

/* ---- barriers in shared memory --------------------------------------------------------------- */

__device__ inline void barrier_init(uint32_t barrier, int arrivals)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals));
}

__device__ inline void barrier_expect(uint32_t barrier, int bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier),
		     "r"(bytes)
		     : "memory");
}

/* Arrive at the same barrier of block `rank` of the cluster. */
__device__ inline void barrier_arrive(uint32_t barrier, int rank)
{
	asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
		     "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier),
		     "r"(rank)
		     : "memory");
}

__device__ inline void barrier_wait(uint32_t barrier, int phase)
{
	asm volatile("{\n.reg .pred done;\nAGAIN:\n"
		     "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
		     "@done bra.uni DONE;\nbra.uni AGAIN;\nDONE:\n}\n" ::"r"(barrier),
		     "r"(phase)
		     : "memory");
}

/* `bytes` from global memory to the same shared address in all blocks of the cluster that `mask` names, each of
 * whose barriers counts them. */
__device__ inline void copy_to_cluster(uint32_t to, const void *from, int bytes, uint32_t barrier,
				       int mask)
{
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
		     ".multicast::cluster [%0], [%1], %2, [%3], %4;\n" ::"r"(to),
		     "l"(from), "r"(bytes), "r"(barrier), "h"((uint16_t)mask)
		     : "memory");
}

__device__ inline void cluster_sync()
{
	asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n" ::: "memory");
}

/* The warpgroup's 128 threads; number from 1. */
__device__ inline void group_sync(int number)
{
	asm volatile("bar.sync %0, 128;\n" ::"r"(number) : "memory");
}

/* Ordinary stores to shared memory before it become visible to the matrix unit. */
__device__ inline void publish_shared()
{
	asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

#endif
