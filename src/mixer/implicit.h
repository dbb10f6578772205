/* implicit.h - HyenaDNA's long filter over ranks, on the CPU: what one rank keeps for it. */
#ifndef CR_MIXER_IMPLICIT_H
#define CR_MIXER_IMPLICIT_H

#include "mixer/hyena.h"

struct cr_stack;

/* Shared by the ranks of a session, immutable once made. */
typedef struct cr_implicit_filters {
	cr_network network; /* the layers with such a filter, in order, and nothing else of them */
	cr_hyena hyena;     /* of these; without network where there are none */
	int64_t *filter_of; /* (N of the stack) which of them a layer has */
} cr_implicit_filters;

/* Plan the filters of a stack for sequences of up to max_length tokens (choice, filter_limit: as of
 * cr_hyena_plan); cr_hyena_prepare(&filters->hyena) then builds them. cr_implicit_filters_close
 * also after a failure. filters: zeroed. */
int cr_implicit_filters_open(cr_implicit_filters *filters, const struct cr_stack *stack,
			     const cr_kernels *kernels, int64_t max_length, int choice,
			     int64_t filter_limit, int threads, crocuta_error *error);
void cr_implicit_filters_close(cr_implicit_filters *filters);

/* One rank's arrays, host memory. */
typedef struct cr_implicit_rank {
	cr_implicit_filters *filters;
	int64_t stride;  /* floats between channel blocks of the lines */
	float *v, *gate; /* lines [groups][rows][32]: the input; ones, then the result */
	float *far;
	float *moments,
		*all_moments;   /* near/far: [2][groups][blocks][rank][32], and (P) of these */
	int64_t blocks;         /* of a segment, at most */
	float *edge, *edges;    /* near/far: last B rows of g of my segments (2, B, D), and (P) */
	float *sent, *received; /* fft: (rows, D) by channels of the receiver; (L, channels) */
	cr_convolution_state state;
	cr_convolution_scratch *scratch; /* (threads) */
	int threads;
} cr_implicit_rank;

/* Bytes that cr_implicit_open takes for a rank. */
int64_t cr_implicit_bytes(const cr_implicit_filters *filters, int ranks, int64_t max_length,
			  int threads);
/* EMEMORY; cr_implicit_close also then. */
int cr_implicit_open(cr_implicit_rank *implicit, cr_implicit_filters *filters, int ranks,
		     int64_t max_length, int threads, crocuta_error *error);
void cr_implicit_close(cr_implicit_rank *implicit);

#endif
