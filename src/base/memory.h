/* memory.h - the only allocator: checked sizes, a hook that makes the n-th allocation fail. */
#ifndef CR_BASE_MEMORY_H
#define CR_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* count * size bytes, zeroed; NULL when the product overflows or memory is short. cr_free'd. */
void *cr_calloc(size_t count, size_t size);

/* Grow or shrink to count * size bytes; the old block stays valid on failure (NULL). */
void *cr_realloc(void *block, size_t count, size_t size);

/* A copy of text, or NULL. */
char *cr_strdup(const char *text);

/* count floats, 64-byte aligned (2 MiB aligned and advised for huge pages when large), zeroed. */
float *cr_floats(int64_t count);

/* Bytes that cr_floats(count) takes from the system: large blocks fill whole huge pages. */
int64_t cr_floats_bytes(int64_t count);

void cr_free(void *block);

/* Tests: let the n-th allocation from now on fail (1 = the next), once; 0 switches it off. */
void cr_memory_fail_at(int64_t n);

/* Allocations seen since the last cr_memory_fail_at. */
int64_t cr_memory_count(void);

#endif
