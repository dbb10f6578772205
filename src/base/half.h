/* half.h - 16-bit floating point as stored in checkpoints and arrays: binary16 (F16) and bfloat16 (BF16).
 *
 * To 32 bits every value is exact; to 16 bits the nearest value, ties to even. Infinity and NaN
 * stay what they are; a finite value too large for the format becomes infinite.
 */
#ifndef CR_BASE_HALF_H
#define CR_BASE_HALF_H

#include <stdint.h>

float cr_half_to_float(uint16_t bits);
uint16_t cr_half_from_float(float value);

float cr_bfloat_to_float(uint16_t bits);
uint16_t cr_bfloat_from_float(float value);

#endif
