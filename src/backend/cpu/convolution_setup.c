/* convolution_setup.c - plans, filters, states and scratch of the long convolution. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/convolution.h"
#include "backend/cpu/convolution_internal.h"
#include "base/error.h"
#include "base/memory.h"

/* Far tables are evaluated for this many block distances at a time. */
#define TABLE_BATCH 16

static int no_memory(crocuta_error *error, const char *what)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the convolution's %s", what);
}

void cr_node_weights(const double *nodes, int rank, double x, double *weight)
{
	const double pi = 3.14159265358979323846;
	double total = 0;

	for (int a = 0; a < rank; a++) {
		double distance = x - nodes[a];

		if (fabs(distance) < 1e-9) {
			memset(weight, 0, (size_t)rank * sizeof *weight);
			weight[a] = 1;
			return;
		}
		weight[a] = (a % 2 ? -1 : 1) * sin(pi * (2 * a + 1) / (2.0 * rank)) / distance;
		total += weight[a];
	}
	for (int a = 0; a < rank; a++)
		weight[a] /= total;
}

/* Chebyshev nodes of the first kind stretched over 0 .. B-1, and the weights of every position. */
static int make_nodes(cr_convolution_plan *plan)
{
	const double pi = 3.14159265358979323846, middle = (double)(plan->block - 1) / 2;

	plan->nodes = cr_floats(plan->block * plan->rank);
	plan->node_positions = cr_calloc((size_t)plan->rank, sizeof(double));
	if (!plan->nodes || !plan->node_positions)
		return 0;
	for (int a = 0; a < plan->rank; a++)
		plan->node_positions[a] = middle * (1 + cos(pi * (2 * a + 1) / (2.0 * plan->rank)));
	for (int64_t t = 0; t < plan->block; t++) {
		double weight[16];

		cr_node_weights(plan->node_positions, plan->rank, (double)t, weight);
		for (int a = 0; a < plan->rank; a++)
			plan->nodes[t * plan->rank + a] = (float)weight[a];
	}
	return 1;
}

int cr_convolution_plan_init(cr_convolution_plan *plan, const cr_kernels *kernels, int levels,
			     int rank, int64_t reach, int64_t groups, int64_t chunk,
			     crocuta_error *error)
{
	memset(plan, 0, sizeof *plan);
	plan->kernels = kernels;
	plan->levels = levels;
	plan->block = (int64_t)1 << levels;
	plan->rank = rank;
	plan->head = plan->block >= 1024 ? 256 : plan->block > 64 ? 64 : plan->block;
	plan->reach = rank && reach < 1 ? 1 : reach;
	plan->segments = rank ? 2 : reach + 1;
	plan->groups = groups;
	plan->chunk = chunk;
	plan->slots = rank ? plan->reach + chunk : 0;
	plan->twiddles = cr_fft_twiddles(levels);
	plan->twist = cr_fft_twist(levels);
	if (!plan->twiddles || !plan->twist || (rank && !make_nodes(plan))) {
		cr_convolution_plan_free(plan);
		return no_memory(error, "tables");
	}
	return 0;
}

void cr_convolution_plan_free(cr_convolution_plan *plan)
{
	cr_fft_twiddles_free(plan->twiddles);
	cr_free(plan->twist);
	cr_free(plan->nodes);
	cr_free(plan->node_positions);
	memset(plan, 0, sizeof *plan);
}

static int64_t filter_spectra_floats(const cr_convolution_plan *plan)
{
	return plan->groups * plan->segments * cr_spectrum_floats(plan);
}

static int64_t filter_table_floats(const cr_convolution_plan *plan)
{
	if (!plan->rank)
		return 0;
	return plan->groups * (plan->reach - 1) * plan->rank * plan->rank * CR_LINE;
}

int64_t cr_convolution_filter_bytes(const cr_convolution_plan *plan)
{
	return cr_floats_bytes(filter_spectra_floats(plan)) +
	       cr_floats_bytes(filter_table_floats(plan)) +
	       cr_floats_bytes(plan->groups * plan->head * CR_LINE);
}

int cr_convolution_filter_alloc(const cr_convolution_plan *plan, cr_convolution_filter *filter,
				crocuta_error *error)
{
	filter->spectra = cr_floats(filter_spectra_floats(plan));
	filter->tables = cr_floats(filter_table_floats(plan));
	filter->taps = cr_floats(plan->groups * plan->head * CR_LINE);
	if (!filter->spectra || !filter->tables || !filter->taps) {
		cr_convolution_filter_free(filter);
		return no_memory(error, "filter");
	}
	return 0;
}

void cr_convolution_filter_free(cr_convolution_filter *filter)
{
	cr_free(filter->spectra);
	cr_free(filter->tables);
	cr_free(filter->taps);
	memset(filter, 0, sizeof *filter);
}

/* Fold segment p of one channel block (taps now: lag pB + t; before: lag (p-1)B + t) into the
 * plain and the twisted transform. All scales of the round trip are folded in: 1/(2B) of the
 * inverse, and 1/2 for each of the two separations. */
static void fold_segment(const cr_convolution_plan *plan, const double *now, const double *before,
			 int64_t channels, float *even, float *odd)
{
	const double scale = 1.0 / (8.0 * (double)plan->block);

	for (int64_t t = 0; t < plan->block; t++)
		for (int lane = 0; lane < CR_LINE; lane++) {
			/* g[t] at lag pB + t; g[t + B] at lag pB + t - B, none at t = 0 */
			double a = now[t * channels + lane];
			double b = before && t > 0 ? before[t * channels + lane] : 0;

			even[t * CR_LINE + lane] = (float)((a + b) * scale);
			odd[t * CR_LINE + lane] = (float)((a - b) * scale);
		}
}

/* Evaluate taps first .. first + count - 1 on all threads, in slices. */
static int evaluate_slices(cr_filter_values *values, void *user, const double *offsets,
			   int64_t count, int64_t channels, double *out, int threads,
			   crocuta_error *error)
{
	const int64_t slice = 256;
	int code = 0;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
	for (int64_t start = 0; start < count; start += slice) {
		int64_t here = count - start < slice ? count - start : slice;
		crocuta_error local = {0};
		int result = values(user, offsets + start, here, out + start * channels, &local);

		if (result) {
#pragma omp critical(cr_convolution_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
		}
	}
	return code;
}

static int build_segments(const cr_convolution_plan *plan, cr_convolution_filter *filter,
			  cr_filter_values *values, void *user, int threads, crocuta_error *error)
{
	const int64_t channels = plan->groups * CR_LINE, size = cr_spectrum_floats(plan);
	double *offsets = cr_calloc((size_t)plan->block, sizeof *offsets);
	double *now = cr_calloc((size_t)(plan->block * channels), sizeof *now);
	double *before = cr_calloc((size_t)(plan->block * channels), sizeof *before);
	int code = 0;

	if (!offsets || !now || !before)
		code = no_memory(error, "taps");
	for (int64_t p = 0; !code && p < plan->segments; p++) {
		double *swap = before;

		before = now;
		now = swap;
		for (int64_t t = 0; t < plan->block; t++)
			offsets[t] = (double)(p * plan->block + t);
		code = evaluate_slices(values, user, offsets, plan->block, channels, now, threads,
				       error);
		if (code)
			break;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
		for (int64_t group = 0; group < plan->groups; group++) {
			float *even = filter->spectra + (group * plan->segments + p) * size;
			float *odd = even + plan->block * CR_LINE;

			fold_segment(plan, now + group * CR_LINE,
				     p > 0 ? before + group * CR_LINE : NULL, channels, even, odd);
			plan->kernels->transform_filter(plan->levels, plan->twist, plan->twiddles,
							even, odd);
			for (int64_t i = 0; p == 0 && i < plan->head * CR_LINE; i++)
				filter->taps[group * plan->head * CR_LINE + i] =
					(float)now[i / CR_LINE * channels + group * CR_LINE +
						   i % CR_LINE];
		}
	}
	cr_free(offsets);
	cr_free(now);
	cr_free(before);
	return code;
}

static int build_tables(const cr_convolution_plan *plan, cr_convolution_filter *filter,
			cr_filter_values *values, void *user, int threads, crocuta_error *error)
{
	const int rank = plan->rank;
	const int64_t channels = plan->groups * CR_LINE, pairs = (int64_t)rank * rank;
	const int64_t distances = plan->reach - 1, batch = TABLE_BATCH;
	double *offsets = cr_calloc((size_t)(batch * pairs), sizeof *offsets);
	double *taps = cr_calloc((size_t)(batch * pairs * channels), sizeof *taps);
	int code = 0;

	if (!offsets || !taps)
		code = no_memory(error, "far tables");
	for (int64_t start = 0; !code && start < distances; start += batch) {
		int64_t here = distances - start < batch ? distances - start : batch;

		for (int64_t q = 0; q < here; q++)
			for (int a = 0; a < rank; a++)
				for (int b = 0; b < rank; b++)
					offsets[q * pairs + a * rank + b] =
						(double)((start + q + 2) * plan->block) +
						plan->node_positions[a] - plan->node_positions[b];
		code = evaluate_slices(values, user, offsets, here * pairs, channels, taps, threads,
				       error);
		for (int64_t i = 0; !code && i < here * pairs; i++)
			for (int64_t group = 0; group < plan->groups; group++) {
				float *line = filter->tables +
					      ((group * distances + start) * pairs + i) * CR_LINE;

				for (int lane = 0; lane < CR_LINE; lane++)
					line[lane] = (float)taps[i * channels + group * CR_LINE +
								 lane];
			}
	}
	cr_free(offsets);
	cr_free(taps);
	return code;
}

int64_t cr_convolution_build_bytes(const cr_convolution_plan *plan)
{
	const int64_t channels = plan->groups * CR_LINE;
	const int64_t segments = 8 * plan->block * (2 * channels + 1);
	const int64_t tables = 8 * TABLE_BATCH * plan->rank * plan->rank * (channels + 1);

	return segments > tables ? segments : tables;
}

int cr_convolution_filter_build(const cr_convolution_plan *plan, cr_convolution_filter *filter,
				cr_filter_values *values, void *user, int threads,
				crocuta_error *error)
{
	int code = build_segments(plan, filter, values, user, threads, error);

	if (!code && plan->rank)
		code = build_tables(plan, filter, values, user, threads, error);
	return code;
}

static int64_t state_spectra_floats(const cr_convolution_plan *plan)
{
	return plan->groups * plan->segments * cr_spectrum_floats(plan);
}

static int64_t state_moment_floats(const cr_convolution_plan *plan)
{
	return plan->groups * plan->slots * plan->rank * CR_LINE;
}

int64_t cr_convolution_state_bytes(const cr_convolution_plan *plan)
{
	return cr_floats_bytes(state_spectra_floats(plan)) +
	       cr_floats_bytes(state_moment_floats(plan));
}

int cr_convolution_state_alloc(const cr_convolution_plan *plan, cr_convolution_state *state,
			       crocuta_error *error)
{
	memset(state, 0, sizeof *state);
	state->spectra = cr_floats(state_spectra_floats(plan));
	state->moments = cr_floats(state_moment_floats(plan));
	if (!state->spectra || !state->moments) {
		cr_convolution_state_free(state);
		return no_memory(error, "carried state");
	}
	return 0;
}

void cr_convolution_state_reset(const cr_convolution_plan *plan, cr_convolution_state *state)
{
	(void)plan; /* nothing of an earlier sequence is read: `blocks` bounds every look back */
	state->blocks = 0;
}

void cr_convolution_state_free(cr_convolution_state *state)
{
	cr_free(state->spectra);
	cr_free(state->moments);
	memset(state, 0, sizeof *state);
}

static int64_t scratch_line_floats(const cr_convolution_plan *plan)
{
	const int64_t size = cr_spectrum_floats(plan), partial = plan->chunk * plan->rank * CR_LINE;
	const int64_t near = 3 * size + plan->block * CR_LINE;

	if (!plan->rank)
		return size;
	return near > partial ? near : partial;
}

int64_t cr_convolution_scratch_bytes(const cr_convolution_plan *plan, int64_t ring_slots)
{
	return cr_floats_bytes(scratch_line_floats(plan)) +
	       cr_floats_bytes(plan->head * CR_LINE) +
	       cr_floats_bytes(ring_slots * cr_spectrum_floats(plan)) +
	       16 * plan->segments;
}

int cr_convolution_scratch_alloc(const cr_convolution_plan *plan, int64_t ring_slots,
				 cr_convolution_scratch *scratch, crocuta_error *error)
{
	scratch->lines = cr_floats(scratch_line_floats(plan));
	scratch->ring = cr_floats(ring_slots * cr_spectrum_floats(plan));
	scratch->head = cr_floats(plan->head * CR_LINE);
	scratch->spectra = cr_calloc((size_t)plan->segments, sizeof *scratch->spectra);
	scratch->filter = cr_calloc((size_t)plan->segments, sizeof *scratch->filter);
	if (!scratch->lines || !scratch->ring || !scratch->head || !scratch->spectra ||
	    !scratch->filter) {
		cr_convolution_scratch_free(scratch);
		return no_memory(error, "scratch");
	}
	return 0;
}

void cr_convolution_scratch_free(cr_convolution_scratch *scratch)
{
	cr_free(scratch->lines);
	cr_free(scratch->ring);
	cr_free(scratch->head);
	cr_free(scratch->spectra);
	cr_free(scratch->filter);
	memset(scratch, 0, sizeof *scratch);
}

int64_t cr_convolution_far_floats(const cr_convolution_plan *plan, int64_t blocks)
{
	return plan->groups * blocks * plan->rank * CR_LINE;
}
