/* hyena.h - the Hyena mixer: which form of the long convolution, filters of all blocks, mixing.
 *
 * The projections, the short filter and the gates around the convolution belong to the tile pass;
 * what is left here is y = x0 * (h * v + d v) over the whole length.
 */
#ifndef CR_MIXER_HYENA_H
#define CR_MIXER_HYENA_H

#include <crocuta/error.h>

#include "backend/cpu/convolution.h"
#include "backend/network.h"
#include "mixer/implicit_filter.h"

enum cr_convolution_choice { CR_CONVOLUTION_AUTO, CR_CONVOLUTION_FFT, CR_CONVOLUTION_NEARFAR };

/* Blocks of the convolution in one chunk of a long input. */
#define CR_CHUNK_BLOCKS 16

/* Filters of a network, planned for one length; immutable once prepared (but for `shared_layer`). */
typedef struct cr_hyena {
	const cr_network *network;
	cr_implicit_filter *implicit;    /* (N) */
	cr_convolution_plan plan;
	cr_convolution_filter *filter;   /* (N), or one that is rebuilt for each block */
	int shared;                      /* 1: one filter, rebuilt; spectra of all blocks too big */
	int64_t shared_layer;            /* which block's filter it holds, -1 none */
	double certificate;              /* worst relative error of the near/far form */
} cr_hyena;

/* Choose the form and block size for sequences of up to max_length tokens (and endless ones with
 * stream). Filters of all blocks are kept when they fit in filter_limit bytes (0: 4 GiB), else one
 * is rebuilt for each block. A near/far form that was asked for and is not certified is
 * CROCUTA_EMODEL. */
int cr_hyena_plan(cr_hyena *hyena, const cr_network *network, const cr_kernels *kernels,
		  int64_t max_length, int stream, int choice, int64_t filter_limit, int threads,
		  crocuta_error *error);

/* Bytes of all prepared filters and of building them. After cr_hyena_plan. */
int64_t cr_hyena_filter_bytes(const cr_hyena *hyena);

/* Allocate and build the filters. */
int cr_hyena_prepare(cr_hyena *hyena, int threads, crocuta_error *error);

/* The filter of a block, rebuilt first if it is shared. */
int cr_hyena_filter(cr_hyena *hyena, int64_t layer, int threads,
		    const cr_convolution_filter **filter, crocuta_error *error);

void cr_hyena_free(cr_hyena *hyena);

#endif
