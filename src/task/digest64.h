/* digest64.h - FNV-1a, to tell one input from another; no defence against intent. */
#ifndef CR_TASK_DIGEST64_H
#define CR_TASK_DIGEST64_H

#include <stddef.h>
#include <stdint.h>

#define CR_DIGEST64 UINT64_C(14695981039346656037) /* of nothing */

static inline uint64_t cr_digest64(uint64_t digest, const void *bytes, size_t count)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < count; i++)
		digest = (digest ^ byte[i]) * UINT64_C(1099511628211);
	return digest;
}

#endif
