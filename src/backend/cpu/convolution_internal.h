/* convolution_internal.h - sizes shared by the two halves of the convolution. */
#ifndef CR_CPU_CONVOLUTION_INTERNAL_H
#define CR_CPU_CONVOLUTION_INTERNAL_H

#include "backend/cpu/convolution.h"

/* Lines between consecutive spectra beyond 2B, so that they don't start in the same cache set. */
#define CR_SPECTRUM_PAD 8

/* Floats of one block's spectrum: even and odd halves of B lines, then padding. */
static inline int64_t cr_spectrum_floats(const cr_convolution_plan *plan)
{
	return (2 * plan->block + CR_SPECTRUM_PAD) * CR_LINE;
}

#endif
