/* digest64.h - FNV-1a, to tell one input from another; no defence against intent. */
#ifndef CR_BASE_DIGEST64_H
#define CR_BASE_DIGEST64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CR_DIGEST64 UINT64_C(14695981039346656037) /* of nothing */

static inline uint64_t cr_digest64(uint64_t digest, const void *bytes, size_t count)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < count; i++)
		digest = (digest ^ byte[i]) * UINT64_C(1099511628211);
	return digest;
}

/* The same idea with eight bytes at a time, for much that is read: other values than cr_digest64. Words are
 * taken as this machine has them. */
static inline uint64_t cr_digest64_bulk(uint64_t digest, const void *bytes, size_t count)
{
	const unsigned char *from = bytes;

	for (; count >= 8; count -= 8, from += 8) {
		uint64_t word;

		memcpy(&word, from, sizeof word);
		digest = (digest ^ word) * UINT64_C(1099511628211);
		digest ^= digest >> 29; /* FNV carries upwards only */
	}
	return cr_digest64(digest, from, count);
}

#endif
