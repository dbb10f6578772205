/* ref.h - the operators as plain loops in double: the definition every backend is held to.
 *
 * cr_ref_<operator> takes double activations, so that a whole network can be composed without a
 * rounding in between (reference_forward.h); cr_ref_op_<operator> is the float32 entry of the table
 * around it. Letters: see ops.h. No SIMD, no threads, no blocking: clarity first, it is the judge.
 */
#ifndef CR_REF_REF_H
#define CR_REF_REF_H

#include "backend/ops.h"

#define CR_OP(operator, what)                                                                      \
	int cr_ref_op_##operator(const cr_ops *self, const cr_##operator##_arguments * arguments,  \
				 crocuta_error *error);
#include "backend/ops.def"
#undef CR_OP

/* A copy in double, cr_free'd by the caller; NULL on lack of memory. */
double *cr_ref_widen(const float *values, int64_t count);

/* Zeroed; NULL on lack of memory or where rows * width overflows. */
double *cr_ref_doubles(int64_t rows, int64_t width);

void cr_ref_narrow(const double *values, int64_t count, float *out);

/* Set error and return CROCUTA_EMEMORY. */
int cr_ref_no_memory(crocuta_error *error);

int cr_ref_embed(const float *table, const uint8_t *tokens, int64_t rows, int64_t width,
		 int64_t vocabulary, double *y /* (L, D) */, crocuta_error *error);

void cr_ref_layer_norm(const double *x /* (L, D) */, const float *weight, const float *bias,
		       int64_t rows, int64_t width, double epsilon, double *y);

/* y = x W' + b, or added to y; x (L, I), weight (O, I), y (L, O). */
void cr_ref_linear(const double *x, const float *weight, const float *bias, int64_t rows,
		   int64_t in, int64_t out, int accumulate, double *y);

void cr_ref_gelu(double *x, int64_t count); /* in place */

/* u (L, 3D), carry (2, 3D) or NULL, weight (3D, 3), bias (3D), x0 and gated (L, D). */
void cr_ref_short_filter_gate(const double *u, const double *carry, const float *weight,
			      const float *bias, int64_t rows, int64_t width, double *x0,
			      double *gated);

/* The arguments are in double already. */
int cr_ref_implicit_filter(const cr_implicit_filter_arguments *arguments, crocuta_error *error);

/* One channel: y[l] = sum over m < count of h[m] v[l-m]; h (count), v and y (L). */
void cr_ref_convolve(const double *h, int64_t count, const double *v, int64_t rows, double *y);

#endif
