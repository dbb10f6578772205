/* half.c - see half.h. */
#include "base/half.h"

#include <string.h>

static float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return bits;
}

float cr_half_to_float(uint16_t bits)
{
	uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
	uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;

	if (exponent == 31)
		return float_of(sign | 0x7f800000 | fraction << 13);
	if (exponent)
		return float_of(sign | (exponent + 112) << 23 | fraction << 13);
	/* Zero or subnormal: fraction * 2^-24 is exact in 32 bits. */
	return float_of(sign | bits_of((float)fraction * 0x1p-24f));
}

uint16_t cr_half_from_float(float value)
{
	uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff;
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	uint32_t kept, dropped, halfway;
	int shift = 13;

	if (magnitude > 0x7f800000)
		return sign | 0x7e00 | (uint16_t)(magnitude >> 13 & 0x3ff);
	if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
		return sign | 0x7c00;
	if (magnitude < 0x33000000) /* below half of the smallest subnormal */
		return sign;
	if (magnitude >= 0x38800000) { /* normal in 16 bits: rebias, then round 13 bits away */
		kept = magnitude - (112u << 23);
	} else { /* subnormal: unit 2^-24, so that more bits fall away */
		shift = 126 - (int)(magnitude >> 23);
		kept = (magnitude & 0x7fffff) | 0x800000;
	}
	dropped = kept & ((1u << shift) - 1);
	halfway = 1u << (shift - 1);
	kept >>= shift;
	if (dropped > halfway || (dropped == halfway && kept & 1))
		kept++; /* may carry into the exponent, which is the right result */
	return sign | (uint16_t)kept;
}

float cr_bfloat_to_float(uint16_t bits)
{
	return float_of((uint32_t)bits << 16);
}

uint16_t cr_bfloat_from_float(float value)
{
	uint32_t bits = bits_of(value);

	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	bits += 0x7fff + (bits >> 16 & 1);
	return (uint16_t)(bits >> 16);
}
