/* memory.c - checked allocation; see memory.h. */
#define _GNU_SOURCE
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

static atomic_llong allocations, fail_at;

static int must_fail(void)
{
	long long number = atomic_fetch_add(&allocations, 1) + 1;

	return number == atomic_load(&fail_at);
}

void cr_memory_fail_at(int64_t n)
{
	atomic_store(&allocations, 0);
	atomic_store(&fail_at, n);
}

int64_t cr_memory_count(void)
{
	return atomic_load(&allocations);
}

void *cr_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (must_fail() || __builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

void *cr_realloc(void *block, size_t count, size_t size)
{
	size_t bytes;

	if (must_fail() || __builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return realloc(block, bytes ? bytes : 1);
}

char *cr_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = cr_calloc(bytes, 1);

	return copy ? memcpy(copy, text, bytes) : NULL;
}

float *cr_floats(int64_t count)
{
	size_t bytes, alignment;
	void *block;

	if (must_fail() || count < 0 || __builtin_mul_overflow((size_t)count, sizeof(float), &bytes))
		return NULL;
	alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
	if (bytes > SIZE_MAX - alignment)
		return NULL;
	bytes = (bytes + alignment - 1) / alignment * alignment;
	block = aligned_alloc(alignment, bytes ? bytes : alignment);
	if (!block)
		return NULL;
	if (alignment == HUGE_PAGE)
		(void)madvise(block, bytes, MADV_HUGEPAGE); /* advice only: worth 10-25 % on streams */
	return memset(block, 0, bytes);
}

int64_t cr_floats_bytes(int64_t count)
{
	const int64_t bytes = 4 * count, huge = (int64_t)HUGE_PAGE;

	return bytes >= huge ? (bytes + huge - 1) / huge * huge : (bytes + 63) / 64 * 64;
}

void cr_free(void *block)
{
	free(block);
}
