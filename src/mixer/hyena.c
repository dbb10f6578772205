/* hyena.c - see hyena.h. */
#include "mixer/hyena.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* The certificate's limit, relative to a channel's largest tap: one unit in the last place. */
#define NEARFAR_LIMIT 1.2e-7

/* From this length on the near/far form is faster than exact segments (PERF.md). */
#define NEARFAR_FROM 16384

/* Spectra of all blocks are kept up to this many bytes; beyond, one block's are rebuilt. */
#define KEEP_BYTES ((int64_t)4 << 30)

static const int ranks[] = {4, 6, 8, 10, 12, 16};

/* Block size of streams and of the near/far form: fixed by the model, so that a stream's results do
 * not depend on the form that computes them. */
static int stream_levels(int64_t max_length)
{
	return max_length <= 131072 ? 8 : max_length <= 524288 ? 9 : 10;
}

/* Block size for exact segments over `length` positions: the cheapest by a cost model whose
 * constants (nanoseconds a line) were measured, see PERF.md. Blocks stop at 8,192: rounding grows
 * with them. */
static int fft_levels(int64_t length)
{
	double best = HUGE_VAL;
	int choice = 8;

	for (int levels = 5; levels <= 13; levels++) {
		const int64_t block = (int64_t)1 << levels;
		const double segments = ceil((double)length / (double)block);
		double cost = 3.0 * levels + 1.65 * (segments + 1) +
			      (levels > 10 ? 2.0 * (levels - 10) : 0);

		cost *= segments * (double)block / (double)length;
		if (cost < best) {
			best = cost;
			choice = levels;
		}
	}
	return choice;
}

/* Worst certificate over all blocks for one rank. */
static int certify_rank(const cr_hyena *h, const cr_convolution_plan *plan, int threads,
			double *worst, crocuta_error *error)
{
	double largest = 0;
	int code = 0;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) reduction(max : largest)
	for (int64_t i = 0; i < h->network->layers; i++) {
		crocuta_error local = {0};
		double one = HUGE_VAL;
		int result = cr_implicit_filter_certify(&h->implicit[i], plan->block, plan->rank,
							plan->node_positions, 2, plan->reach,
							&one, &local);

		if (result) {
#pragma omp critical(cr_hyena_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
		}
		largest = one > largest ? one : largest;
	}
	*worst = largest;
	return code;
}

/* Plan the near/far form with the smallest certified rank. *certified 0 when there is none. */
static int plan_nearfar(cr_hyena *h, const cr_kernels *kernels, int threads, int *certified,
			crocuta_error *error)
{
	const int levels = stream_levels(h->network->max_length);
	const int64_t block = (int64_t)1 << levels;
	const int64_t reach = (h->network->max_length - 1 + block - 1) / block;

	*certified = 0;
	for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
		int code = cr_convolution_plan_init(&h->plan, kernels, levels, ranks[i], reach,
						    cr_lines(h->network->width), CR_CHUNK_BLOCKS, error);

		if (!code)
			code = certify_rank(h, &h->plan, threads, &h->certificate, error);
		if (!code && h->certificate <= NEARFAR_LIMIT) {
			*certified = 1;
			return 0;
		}
		cr_convolution_plan_free(&h->plan);
		if (code)
			return code;
	}
	return 0;
}

int cr_hyena_plan(cr_hyena *h, const cr_network *network, const cr_kernels *kernels,
		  int64_t max_length, int stream, int choice, int64_t filter_limit, int threads,
		  crocuta_error *error)
{
	int code = 0, certified = 0, levels;
	int64_t block, reach;

	memset(h, 0, sizeof *h);
	h->network = network;
	h->shared_layer = -1;
	h->implicit = cr_calloc((size_t)network->layers, sizeof *h->implicit);
	if (!h->implicit)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for filters");
	for (int64_t i = 0; !code && i < network->layers; i++)
		code = cr_implicit_filter_init(&h->implicit[i], network, i, kernels, error);
	if (!code && (choice == CR_CONVOLUTION_NEARFAR ||
		      (choice == CR_CONVOLUTION_AUTO && network->max_length >= NEARFAR_FROM &&
		       (stream || max_length >= NEARFAR_FROM))))
		code = plan_nearfar(h, kernels, threads, &certified, error);
	if (!code && !certified && choice == CR_CONVOLUTION_NEARFAR)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "the near/far convolution does not hold for this model: its filters "
			       "are too rough (interpolation error %.2g of the largest tap, limit "
			       "%.2g); use the FFT form (--conv fft or auto)",
			       h->certificate, NEARFAR_LIMIT);
	if (!code && !certified) {
		levels = stream ? stream_levels(network->max_length) : fft_levels(max_length);
		block = (int64_t)1 << levels;
		reach = stream ? (network->max_length - 1 + block - 1) / block
			       : (max_length - 1) / block;
		code = cr_convolution_plan_init(&h->plan, kernels, levels, 0, reach,
						cr_lines(network->width), CR_CHUNK_BLOCKS, error);
	}
	if (code) {
		cr_hyena_free(h);
		return code;
	}
	if (filter_limit <= 0 || filter_limit > KEEP_BYTES)
		filter_limit = KEEP_BYTES;
	h->shared = cr_convolution_filter_bytes(&h->plan) * network->layers > filter_limit;
	return 0;
}

int64_t cr_hyena_filter_bytes(const cr_hyena *h)
{
	return cr_convolution_filter_bytes(&h->plan) * (h->shared ? 1 : h->network->layers) +
	       cr_convolution_build_bytes(&h->plan);
}

int cr_hyena_prepare(cr_hyena *h, int threads, crocuta_error *error)
{
	const int64_t count = h->shared ? 1 : h->network->layers;
	int code = 0;

	h->filter = cr_calloc((size_t)count, sizeof *h->filter);
	if (!h->filter)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for filters");
	for (int64_t i = 0; !code && i < count; i++) {
		code = cr_convolution_filter_alloc(&h->plan, &h->filter[i], error);
		if (!code && !h->shared)
			code = cr_convolution_filter_build(&h->plan, &h->filter[i],
							   cr_implicit_filter_values,
							   &h->implicit[i], threads, error);
	}
	return code;
}

int cr_hyena_filter(cr_hyena *h, int64_t layer, int threads, const cr_convolution_filter **filter,
		    crocuta_error *error)
{
	int code = 0;

	*filter = &h->filter[h->shared ? 0 : layer];
	if (!h->shared || h->shared_layer == layer)
		return 0;
	h->shared_layer = -1;
	code = cr_convolution_filter_build(&h->plan, &h->filter[0], cr_implicit_filter_values,
					   &h->implicit[layer], threads, error);
	if (!code)
		h->shared_layer = layer;
	return code;
}

void cr_hyena_free(cr_hyena *h)
{
	for (int64_t i = 0; h->implicit && i < h->network->layers; i++)
		cr_implicit_filter_free(&h->implicit[i]);
	for (int64_t i = 0; h->filter && i < (h->shared ? 1 : h->network->layers); i++)
		cr_convolution_filter_free(&h->filter[i]);
	cr_free(h->implicit);
	cr_free(h->filter);
	cr_convolution_plan_free(&h->plan);
	memset(h, 0, sizeof *h);
}
