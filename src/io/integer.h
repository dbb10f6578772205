/* integer.h - the one strict integer reader of all text formats. */
#ifndef CR_IO_INTEGER_H
#define CR_IO_INTEGER_H

#include <stddef.h>
#include <stdint.h>

/* Value of a field of digits only (no sign, blank, exponent or base prefix); -1 when it is anything
 * else or above 2^62. Any thread. */
int64_t cr_parse_integer(const char *text, size_t bytes);

#endif
