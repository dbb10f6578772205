/* integer.c - see integer.h. */
#include "io/integer.h"

#define LARGEST ((int64_t)1 << 62)

int64_t cr_parse_integer(const char *text, size_t bytes)
{
	int64_t value = 0;

	if (!bytes)
		return -1;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] < '0' || text[i] > '9' || value > LARGEST / 10)
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value > LARGEST ? -1 : value;
}
