/* cuda_filters.h - how the GPU computes a model's long filters. */
#ifndef CR_MODEL_CUDA_FILTERS_H
#define CR_MODEL_CUDA_FILTERS_H

#include <stdint.h>

#include <crocuta/error.h>

#include "mixer/implicit_filter.h"

/* The cheapest block and rank of the near/far form for sequences of up to `length` positions
 * (padded; longer than CR_CUDA_DIRECT_MAX) whose interpolation errs by at most `limit` of each
 * channel's largest tap, in all layers, from block distance 1 on. implicit: (N). *block 0 when none
 * is good enough among those whose tables are small enough. *error_found: of the one chosen, else
 * of the last one tried; 0 when the tables of none are small enough; HUGE_VAL where stored position
 * tables depart from their formula, so that there is nothing to interpolate. */
int cr_cuda_choose_filters(const cr_implicit_filter *implicit, const cr_network *network,
			   int64_t length, double limit, int64_t *block, int *rank,
			   double *error_found, crocuta_error *error);

#endif
