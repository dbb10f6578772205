/* order.h - the smaller and the larger of two numbers. */
#ifndef CR_BASE_ORDER_H
#define CR_BASE_ORDER_H

#include <stdint.h>

static inline int64_t cr_smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t cr_larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

#endif
