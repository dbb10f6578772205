/* implicit_filter.h - the long filter h of a Hyena block, from its small network.
 *
 * h[c](n) = g[c](z(n)) (exp(-t(n) |delta[c]|) + shift), g a sine network of the position features z;
 * docs/hyenadna.md 2.3 (Nguyen et al. 2023, eq. for the implicit filter). The formula holds
 * for real n, which the near/far form uses, and past M, where a stream's blocks reach over the edge.
 */
#ifndef CR_MIXER_IMPLICIT_FILTER_H
#define CR_MIXER_IMPLICIT_FILTER_H

#include <crocuta/error.h>

#include "backend/cpu/kernels.h"
#include "backend/network.h"

/* One block's filter, weights in double, transposed and padded; immutable, any thread. */
typedef struct cr_implicit_filter {
	const cr_kernels *kernels;
	const cr_network *network;
	const cr_filter_weights *weights;
	int64_t order;       /* F rounded up to 32 */
	int64_t channels;    /* D rounded up to 32 */
	double *in_weight;   /* (E, order) */
	double *in_bias;     /* (order) */
	double *frequency;   /* (order) */
	double *inner_weight[CR_FILTER_INNER_MAX]; /* (order, order) */
	double *inner_bias[CR_FILTER_INNER_MAX];   /* (order) */
	double *out_weight;  /* (order, channels) */
	double *zero;        /* (channels) */
	double *rates;       /* (channels) |delta| */
} cr_implicit_filter;

int cr_implicit_filter_init(cr_implicit_filter *filter, const cr_network *network, int64_t layer,
			    const cr_kernels *kernels, crocuta_error *error);
void cr_implicit_filter_free(cr_implicit_filter *filter);

/* h at `count` real offsets >= 0: (count, channels) row-major, zero past D; offset 0 carries the skip
 * weight d. Integers below M read stored position tables where there are some, all else the formula;
 * for tables that depart from the formula h is 0 from M on.
 * `user` is a cr_implicit_filter; the signature is that of cr_filter_values. */
int cr_implicit_filter_values(void *user, const double *offsets, int64_t count, double *values,
			      crocuta_error *error);

/* The certificate: *worst = the largest |h - interpolated h| over sampled offsets of the block
 * distances first .. reach (first at least 1; nearer blocks are summed exactly), relative to the
 * channel's largest |h|, for blocks of `block` positions and `rank` nodes; over all channels.
 * `nodes` (rank): node positions in 0 .. block - 1. HUGE_VAL where stored position tables depart
 * from the formula: such a filter has no values between integers. */
int cr_implicit_filter_certify(const cr_implicit_filter *filter, int64_t block, int rank,
			       const double *nodes, int64_t first, int64_t reach,
			       double *worst, crocuta_error *error);

#endif
