/* convolution.c - running the long convolution; see convolution.h. */
#include "backend/cpu/convolution.h"

#include <omp.h>
#include <string.h>

#include "backend/cpu/convolution_internal.h"

/* Where the spectrum of block `index` of channel block `group` is kept between blocks (fft). */
static float *ring_slot(const cr_convolution_plan *plan, const cr_convolution_state *state,
			const cr_convolution_scratch *scratch, int64_t group, int64_t index)
{
	const int64_t size = cr_spectrum_floats(plan);

	if (state)
		return state->spectra + (group * plan->segments + index % plan->segments) * size;
	return scratch->ring + index * size;
}

/* One channel block of what a run works on. */
typedef struct group_lines {
	const float *v, *add;
	float *gate, *plain;
	int64_t rows;
} group_lines;

static group_lines lines_of(const cr_convolution_lines *all, int64_t group)
{
	return (group_lines){
		.v = all->v + group * all->stride,
		.gate = all->gate + group * all->stride,
		.add = all->add ? all->add + group * all->add_stride : NULL,
		.plain = all->plain ? all->plain + group * all->plain_stride : NULL,
		.rows = all->rows,
	};
}

/* The first positions of a sequence by the plain sum, without the gate, kept aside while the block is
 * transformed; returns how many. */
static int64_t sum_head(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
			int64_t group, const group_lines *x, int64_t rows, float *head)
{
	const int64_t count = rows < plan->head ? rows : plan->head;

	plan->kernels->direct(filter->taps + group * plan->head * CR_LINE, x->v, NULL, head, count);
	for (int64_t i = 0; x->add && i < count * CR_LINE; i++)
		head[i] += x->add[i];
	return count;
}

static void multiply_into(float *gate, const float *plain, int64_t lines)
{
	for (int64_t i = 0; i < lines * CR_LINE; i++)
		gate[i] *= plain[i];
}

/* Back from the summed spectrum to block i of the call, with the first `head` positions in their
 * better form, gated and, where asked for, kept ungated. */
static void finish_block(const cr_convolution_plan *plan, float *sum, const float *add,
			 const group_lines *x, int64_t i, int64_t rows, const float *head_values,
			 int64_t head)
{
	const int64_t half = CR_LINE * plan->block;
	float *gate = x->gate + i * half, *plain = x->plain ? x->plain + i * half : NULL;
	float gates[CR_LINE * 256];

	if (plain) {
		plan->kernels->inverse(sum, sum + half, plan->levels, plan->twist, plan->twiddles,
				       add, NULL, plain, rows);
		memcpy(plain, head_values, (size_t)(head * CR_LINE) * sizeof *plain);
		multiply_into(gate, plain, rows);
		return;
	}
	memcpy(gates, gate, (size_t)(head * CR_LINE) * sizeof *gates);
	plan->kernels->inverse(sum, sum + half, plan->levels, plan->twist, plan->twiddles, add, gate,
			       gate, rows);
	multiply_into(gates, head_values, head);
	memcpy(gate, gates, (size_t)(head * CR_LINE) * sizeof *gate);
}

/* One channel block, all blocks of the call in order, every segment exact. */
static void run_fft(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
		    const cr_convolution_state *state, int64_t group, const group_lines *x,
		    int skip_head, const cr_convolution_scratch *scratch)
{
	const cr_kernels *k = plan->kernels;
	const int64_t size = cr_spectrum_floats(plan), half = CR_LINE * plan->block;
	const int64_t first = state ? state->blocks : 0;
	const int64_t count = (x->rows + plan->block - 1) / plan->block;

	for (int64_t i = 0; i < count; i++) {
		const int64_t index = first + i, left = x->rows - i * plan->block;
		const int64_t used = index < plan->reach ? index + 1 : plan->segments;
		const int64_t here = left < plan->block ? left : plan->block;
		float *spectrum = ring_slot(plan, state, scratch, group, index);
		int64_t head = 0;

		if (index == 0 && !skip_head)
			head = sum_head(plan, filter, group, x, here, scratch->head);
		k->transform(x->v + i * half, here, plan->levels, plan->twist, plan->twiddles,
			     spectrum, spectrum + half);
		for (int64_t p = 0; p < used; p++) {
			scratch->spectra[p] = ring_slot(plan, state, scratch, group, index - p);
			scratch->filter[p] =
				filter->spectra + (group * plan->segments + p) * size;
		}
		k->multiply(scratch->lines, scratch->spectra, scratch->filter, used, plan->levels);
		finish_block(plan, scratch->lines, x->add ? x->add + i * half : NULL, x, i, here,
			     scratch->head, head);
	}
}

/* Blocks [from, to) of the call for one channel block: exact near field plus evaluated far field.
 * The spectrum of the block before comes from the state, or is made again from v. */
static void run_near(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
		     cr_convolution_state *state, int64_t group, int64_t from, int64_t to,
		     int64_t count, const group_lines *x, const float *far,
		     const cr_convolution_scratch *scratch)
{
	const cr_kernels *k = plan->kernels;
	const int64_t size = cr_spectrum_floats(plan), half = CR_LINE * plan->block;
	float *previous = scratch->lines, *current = previous + size, *sum = current + size;
	float *beyond = sum + size;
	const float *carried = state->spectra + group * size; /* read; the second set is written */

	if (from > 0)
		k->transform(x->v + (from - 1) * half, plan->block, plan->levels, plan->twist,
			     plan->twiddles, previous, previous + half);
	else if (state->blocks > 0)
		memcpy(previous, carried, (size_t)size * sizeof *previous);
	for (int64_t i = from; i < to; i++) {
		const int64_t left = x->rows - i * plan->block, index = state->blocks + i;
		const int64_t here = left < plan->block ? left : plan->block;
		const float *add = NULL;
		int64_t head = 0;
		float *swap;

		if (index == 0)
			head = sum_head(plan, filter, group, x, here, scratch->head);
		k->transform(x->v + i * half, here, plan->levels, plan->twist, plan->twiddles,
			     current, current + half);
		scratch->spectra[0] = current;
		scratch->spectra[1] = previous;
		scratch->filter[0] = filter->spectra + group * plan->segments * size;
		scratch->filter[1] = scratch->filter[0] + size;
		k->multiply(sum, scratch->spectra, scratch->filter, index > 0 ? 2 : 1,
			    plan->levels);
		if (index > 1) {
			k->evaluate(far + i * plan->rank * CR_LINE, plan->rank, plan->nodes,
				    beyond, here);
			add = beyond;
		}
		finish_block(plan, sum, add, x, i, here, scratch->head, head);
		swap = previous;
		previous = current;
		current = swap;
	}
	if (to == count)
		memcpy(state->spectra + (plan->groups + group) * size, previous,
		       (size_t)size * sizeof *previous);
}

/* Distances summed on their own before they join the total: a running sum over a thousand blocks
 * would lose digits. */
#define FAR_PARTIAL 32

/* Values at the nodes of blocks [from, to): the sum over all distances from 2 to the reach, farthest
 * first. Distances outside, blocks inside, so that a table is read once for the call's blocks.
 * partial: scratch of (to - from) blocks. */
static void run_far(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
		    const cr_convolution_state *state, int64_t group, int64_t from, int64_t to,
		    float *far, float *partial)
{
	const int64_t line = (int64_t)plan->rank * CR_LINE, slots = plan->slots;
	const float *moments = state->moments + group * slots * line;
	const float *tables = filter->tables + group * (plan->reach - 1) * plan->rank * line;
	const int64_t last = state->blocks + to - 1, floats = (to - from) * line;
	int64_t q = plan->reach < last ? plan->reach : last;

	memset(far + from * line, 0, (size_t)floats * sizeof *far);
	while (q >= 2) {
		const int64_t stop = q / FAR_PARTIAL * FAR_PARTIAL;

		memset(partial, 0, (size_t)floats * sizeof *partial);
		for (; q >= 2 && q >= stop; q--) {
			const float *table = tables + (q - 2) * plan->rank * line;

			for (int64_t i = from; i < to; i++) {
				const int64_t source = state->blocks + i - q;

				if (source >= 0)
					plan->kernels->far_apply(table,
								 moments + source % slots * line,
								 plan->rank,
								 partial + (i - from) * line);
			}
		}
		for (int64_t i = 0; i < floats; i++)
			far[from * line + i] += partial[i];
	}
}

static void run_nearfar(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
			cr_convolution_state *state, const cr_convolution_lines *lines, float *far,
			cr_convolution_scratch *scratch, int threads)
{
	const int64_t rows = lines->rows, count = (rows + plan->block - 1) / plan->block;
	const int64_t line = (int64_t)plan->rank * CR_LINE, slots = plan->slots;
	/* with more threads than channel blocks, cut the call's blocks into runs as well */
	int64_t runs = (threads + plan->groups - 1) / plan->groups;
	const int64_t size = cr_spectrum_floats(plan);

	if (runs > count)
		runs = count;
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
		const cr_convolution_scratch *mine = scratch + omp_get_thread_num();

#pragma omp for schedule(dynamic, 1)
		for (int64_t item = 0; item < plan->groups * count; item++) {
			const int64_t group = item / count, i = item % count;
			const int64_t left = rows - i * plan->block;
			const int64_t slot = (state->blocks + i) % slots;

			plan->kernels->moments(lines->v + group * lines->stride +
						       i * plan->block * CR_LINE,
					       left < plan->block ? left : plan->block,
					       plan->nodes, plan->rank,
					       state->moments + (group * slots + slot) * line);
		}
#pragma omp for schedule(dynamic, 1)
		for (int64_t item = 0; item < plan->groups * runs; item++) {
			const int64_t group = item / runs, run = item % runs;
			const int64_t from = count * run / runs, to = count * (run + 1) / runs;
			const group_lines x = lines_of(lines, group);
			float *mine_far = far + group * count * line;

			run_far(plan, filter, state, group, from, to, mine_far, mine->lines);
			run_near(plan, filter, state, group, from, to, count, &x, mine_far, mine);
		}
	}
	memcpy(state->spectra, state->spectra + plan->groups * size,
	       (size_t)(plan->groups * size) * sizeof *state->spectra);
	state->blocks += count;
}

void cr_convolution_run(const cr_convolution_plan *plan, const cr_convolution_filter *filter,
			cr_convolution_state *state, const cr_convolution_lines *lines, float *far,
			cr_convolution_scratch *scratch, int threads)
{
	threads = lines->rows < CR_TEAM_ROWS ? 1 : threads;
	if (plan->rank) {
		run_nearfar(plan, filter, state, lines, far, scratch, threads);
		return;
	}
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
	for (int64_t group = 0; group < plan->groups; group++) {
		const group_lines x = lines_of(lines, group);

		run_fft(plan, filter, state, group, &x, lines->skip_head,
			scratch + omp_get_thread_num());
	}
	if (state)
		state->blocks += (lines->rows + plan->block - 1) / plan->block;
}
