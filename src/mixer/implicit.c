/* implicit.c - layers with HyenaDNA's long filter, over the ranks of a sequence; on the CPU.
 *
 * The filter has no small state, so a rank needs of the others' samples:
 *   near/far form  the moments of every earlier block (a few numbers a block and channel) and the
 * one block in front of each of its segments, whose distance is computed exactly; fft form
 * everything: positions are exchanged for channels, each rank convolves all positions of its
 * channels, and back.
 */
#include "mixer/implicit.h"

#include <string.h>

#include "backend/cpu/convolution_internal.h"
#include "base/error.h"
#include "mixer/rank.h"

/* ---- rows and lines -------------------------------------------------------------------------- */

/* (count, channels) rows to lines, or back. Channels beyond are zero. */
static void rows_to_lines(const float *rows, int64_t channels, int64_t count, float *lines,
			  int64_t stride)
{
	for (int64_t c = 0; c < channels; c += CR_LINE) {
		const int64_t here = channels - c < CR_LINE ? channels - c : CR_LINE;
		float *line = lines + c / CR_LINE * stride;

		for (int64_t l = 0; l < count; l++) {
			memcpy(line + l * CR_LINE, rows + l * channels + c,
			       (size_t)here * sizeof *line);
			memset(line + l * CR_LINE + here, 0,
			       (size_t)(CR_LINE - here) * sizeof *line);
		}
	}
}

static void lines_to_rows(const float *lines, int64_t stride, int64_t channels, int64_t count,
			  float *rows)
{
	for (int64_t c = 0; c < channels; c += CR_LINE) {
		const int64_t here = channels - c < CR_LINE ? channels - c : CR_LINE;
		const float *line = lines + c / CR_LINE * stride;

		for (int64_t l = 0; l < count; l++)
			memcpy(rows + l * channels + c, line + l * CR_LINE,
			       (size_t)here * sizeof *rows);
	}
}

/* The result replaces the gate: ones give the plain sum. */
static void fill_ones(float *lines, int64_t stride, int64_t groups, int64_t rows)
{
	for (int64_t g = 0; g < groups; g++)
		for (int64_t i = 0; i < rows * CR_LINE; i++)
			lines[g * stride + i] = 1;
}

static float *gated_rows(const cr_rank *rank, int64_t row)
{
	return (float *)rank->gated + row * rank->stack->width;
}

/* ---- near/far: moments and one block --------------------------------------------------------- */

static int64_t moment_floats(const cr_implicit_rank *m)
{
	const cr_convolution_plan *plan = &m->filters->hyena.plan;

	return plan->groups * m->blocks * plan->rank * CR_LINE;
}

/* Of the blocks of one of my segments. */
static void make_moments(cr_rank *rank, const cr_segment *s, int which)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_convolution_plan *plan = &m->filters->hyena.plan;
	const int64_t line = (int64_t)plan->rank * CR_LINE;
	float *out = m->moments + which * moment_floats(m);

	rows_to_lines(gated_rows(rank, s->offset), rank->stack->width, s->count, m->v, m->stride);
	for (int64_t g = 0; g < plan->groups; g++)
		for (int64_t b = 0; b * plan->block < s->count; b++) {
			const int64_t left = s->count - b * plan->block;

			plan->kernels->moments(m->v + g * m->stride + b * plan->block * CR_LINE,
					       left < plan->block ? left : plan->block, plan->nodes,
					       plan->rank, out + (g * m->blocks + b) * line);
		}
}

/* My segments' moments and last blocks to everyone. */
static int share_far(cr_rank *rank, crocuta_error *error)
{
	cr_implicit_rank *m = rank->implicit;
	const int64_t block = m->filters->hyena.plan.block, width = rank->stack->width;
	int code;

	for (int which = 0; which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (!s.count)
			continue;
		make_moments(rank, &s, which);
		if (s.count >= block) /* a shorter one is the last of all */
			memcpy(m->edge + which * block * width,
			       gated_rows(rank, s.offset + s.count - block),
			       (size_t)(block * width) * sizeof *m->edge);
	}
	if (!rank->comm)
		return 0;
	code = cr_comm_all_gather(rank->comm, m->moments, m->all_moments,
				  2 * moment_floats(m) * (int64_t)sizeof(float), error);
	return code ? code
		    : cr_comm_all_gather(rank->comm, m->edge, m->edges,
					 2 * block * width * (int64_t)sizeof(float), error);
}

/* The state in front of block `first`, but for what running block first - 1 adds. */
static void recall_moments(cr_rank *rank, int64_t first)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_convolution_plan *plan = &m->filters->hyena.plan;
	const cr_zigzag *z = &rank->zigzag;
	const int64_t line = (int64_t)plan->rank * CR_LINE, each = z->step / plan->block;
	const int64_t from = first - plan->slots > 0 ? first - plan->slots : 0;

	cr_convolution_state_reset(plan, &m->state);
	for (int64_t b = from; b < first; b++) {
		const int s = (int)(b / each);
		const int64_t slot = 2 * cr_zigzag_owner(z, s) + (s >= z->ranks);
		const float *source = m->all_moments + slot * moment_floats(m) + b % each * line;

		for (int64_t g = 0; g < plan->groups; g++)
			memcpy(m->state.moments + (g * plan->slots + b % plan->slots) * line,
			       source + g * m->blocks * line, (size_t)line * sizeof *source);
	}
	m->state.blocks = first;
}

static void run_lines(cr_rank *rank, const cr_convolution_filter *filter, int64_t from,
		      int64_t count)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_convolution_lines lines = {.v = m->v + from * CR_LINE,
					    .gate = m->gate + from * CR_LINE,
					    .stride = m->stride,
					    .rows = count};

	cr_convolution_run(&m->filters->hyena.plan, filter, &m->state, &lines, m->far, m->scratch,
			   m->threads);
}

static void convolve_segment(cr_rank *rank, const cr_convolution_filter *filter,
			     const cr_segment *s)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_convolution_plan *plan = &m->filters->hyena.plan;
	const int64_t width = rank->stack->width, chunk = plan->chunk * plan->block;

	if (s->start) {
		const int before = s->number - 1;
		const int64_t slot =
			2 * cr_zigzag_owner(&rank->zigzag, before) + (before >= rank->zigzag.ranks);

		recall_moments(rank, s->start / plan->block - 1);
		rows_to_lines(m->edges + slot * plan->block * width, width, plan->block, m->v,
			      m->stride);
		run_lines(rank, filter, 0, plan->block);
	} else {
		cr_convolution_state_reset(plan, &m->state);
	}
	rows_to_lines(gated_rows(rank, s->offset), width, s->count, m->v, m->stride);
	fill_ones(m->gate, m->stride, plan->groups, s->count);
	for (int64_t done = 0; done < s->count; done += chunk)
		run_lines(rank, filter, done, s->count - done < chunk ? s->count - done : chunk);
	lines_to_rows(m->gate, m->stride, width, s->count, gated_rows(rank, s->offset));
}

static int convolve_near_far(cr_rank *rank, const cr_convolution_filter *filter,
			     crocuta_error *error)
{
	int code = share_far(rank, error);

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (s.count)
			convolve_segment(rank, filter, &s);
	}
	return code;
}

/* ---- fft: positions for channels ------------------------------------------------------------- */

/* Blocks of 32 channels of a rank's share: first, and the next rank's first. */
static int64_t first_group(const cr_rank *rank, int number)
{
	return rank->implicit->filters->hyena.plan.groups * number / rank->options.ranks;
}

static int64_t first_channel(const cr_rank *rank, int number)
{
	const int64_t channel = first_group(rank, number) * CR_LINE;

	return channel < rank->stack->width ? channel : rank->stack->width;
}

/* Copy channels [from, to) of all my rows between gated (rows, D) and piece (rows, to - from). */
static void copy_channels(const cr_rank *rank, int64_t from, int64_t to, float *piece, int into)
{
	const int64_t rows = cr_zigzag_rows(&rank->zigzag, rank->number),
		      width = rank->stack->width;
	const size_t bytes = (size_t)(to - from) * sizeof *piece;

	for (int64_t l = 0; l < rows; l++) {
		float *row = gated_rows(rank, 0) + l * width + from,
		      *other = piece + l * (to - from);

		memcpy(into ? other : row, into ? row : other, bytes);
	}
}

/* Everyone's rows of my channels, rank after rank, for my rows of everyone's channels; or back. */
static int exchange(cr_rank *rank, int back, crocuta_error *error)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_zigzag *z = &rank->zigzag;
	const int64_t mine =
		first_channel(rank, rank->number + 1) - first_channel(rank, rank->number);
	cr_transfer transfers[CR_COMM_TRANSFERS];
	int64_t theirs = 0, rows = 0;
	int code;

	for (int p = 0; p < z->ranks; p++) {
		const int64_t from = first_channel(rank, p), to = first_channel(rank, p + 1);
		const int64_t sent = cr_zigzag_rows(z, rank->number) * (to - from);
		const int64_t received = cr_zigzag_rows(z, p) * mine;

		if (!back)
			copy_channels(rank, from, to, m->sent + theirs, 1);
		transfers[2 * p] = (cr_transfer){p, !back, m->sent + theirs, 4 * sent};
		transfers[2 * p + 1] = (cr_transfer){p, back, m->received + rows, 4 * received};
		theirs += sent;
		rows += received;
	}
	code = cr_comm_start(rank->comm, transfers, 2 * z->ranks, error);
	if (!code)
		code = cr_comm_wait(rank->comm, error);
	for (int p = 0; !code && back && p < z->ranks; p++) {
		const int64_t from = first_channel(rank, p), to = first_channel(rank, p + 1);

		copy_channels(rank, from, to, (float *)transfers[2 * p].data, 0);
	}
	return code;
}

/* Between received (rank after rank, each in order of its segments) and lines in order of
 * positions. */
static void place_lines(cr_rank *rank, int64_t channels, int back)
{
	cr_implicit_rank *m = rank->implicit;
	const cr_zigzag *z = &rank->zigzag;
	float *rows = m->received;

	for (int p = 0; p < z->ranks; p++)
		for (int which = 0; which < 2; which++) {
			const int s = cr_zigzag_segment(z, p, which);
			const int64_t at = cr_zigzag_start(z, s) * CR_LINE;
			const int64_t count = cr_zigzag_count(z, s);

			if (back)
				lines_to_rows(m->gate + at, m->stride, channels, count, rows);
			else
				rows_to_lines(rows, channels, count, m->v + at, m->stride);
			rows += count * channels;
		}
}

/* All positions of channel blocks [first, first + groups). */
static void convolve_groups(cr_rank *rank, const cr_convolution_filter *filter, int64_t first,
			    int64_t groups)
{
	cr_implicit_rank *m = rank->implicit;
	cr_convolution_plan plan = m->filters->hyena.plan;
	const cr_convolution_filter part = {
		.spectra = filter->spectra + first * plan.segments * cr_spectrum_floats(&plan),
		.taps = filter->taps + first * plan.head * CR_LINE};
	const cr_convolution_lines lines = {
		.v = m->v, .gate = m->gate, .stride = m->stride, .rows = rank->zigzag.length};

	plan.groups = groups;
	fill_ones(m->gate, m->stride, groups, lines.rows);
	cr_convolution_run(&plan, &part, NULL, &lines, NULL, m->scratch, m->threads);
}

static int convolve_channels(cr_rank *rank, const cr_convolution_filter *filter,
			     crocuta_error *error)
{
	cr_implicit_rank *m = rank->implicit;
	const int64_t first = first_group(rank, rank->number);
	const int64_t groups = first_group(rank, rank->number + 1) - first;
	const int64_t channels =
		first_channel(rank, rank->number + 1) - first_channel(rank, rank->number);
	int code = 0;

	if (!rank->comm) {
		rows_to_lines(gated_rows(rank, 0), channels, rank->zigzag.length, m->v, m->stride);
		convolve_groups(rank, filter, 0, groups);
		lines_to_rows(m->gate, m->stride, channels, rank->zigzag.length,
			      gated_rows(rank, 0));
		return 0;
	}
	code = exchange(rank, 0, error);
	if (!code && groups) {
		place_lines(rank, channels, 0);
		convolve_groups(rank, filter, first, groups);
		place_lines(rank, channels, 1);
	}
	return code ? code : exchange(rank, 1, error);
}

/* ---- the layer ------------------------------------------------------------------------------- */

/* x2 and g of all rows of the rank. */
static int fill(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const int64_t chunk = rank->options.chunk, width = rank->stack->width;
	int code = cr_rank_share_tails(rank, layer, error);

	for (int which = 0; !code && which < 2; which++) {
		const cr_segment s = cr_rank_segment(rank, which);

		if (s.count)
			code = cr_rank_enter(rank, layer, &s, CR_FRONT_ALL, error);
		for (int64_t done = 0; !code && done < s.count; done += chunk) {
			const int64_t row = s.offset + done;
			const int64_t count = s.count - done < chunk ? s.count - done : chunk;
			const int64_t at = 4 * row * width, bytes = 4 * count * width;

			code = cr_rank_front(rank, layer, cr_rank_residual(rank, row), count,
					     CR_FRONT_ALL, error);
			if (!code)
				code = rank->ops->copy(rank->device, rank->kept + at, rank->x2,
						       bytes, error);
			if (!code)
				code = rank->ops->copy(rank->device, rank->gated + at, rank->g,
						       bytes, error);
		}
	}
	return code;
}

static int finish(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const int64_t chunk = rank->options.chunk, width = rank->stack->width;
	const int64_t rows = cr_zigzag_rows(&rank->zigzag, rank->number);
	int code = 0;

	for (int64_t row = 0; !code && row < rows; row += chunk) {
		const int64_t count = rows - row < chunk ? rows - row : chunk;
		const cr_stack_activate gate = {.activation = CR_ACTIVATION_NONE,
						.a = rank->kept + 4 * row * width,
						.b = rank->gated + 4 * row * width,
						.y = rank->kept + 4 * row * width,
						.count = count * width};

		code = rank->ops->activate(rank->device, &gate, error);
		if (!code)
			code = cr_rank_finish(rank, layer, gate.y, width, row, count, error);
	}
	return code;
}

int cr_mixer_implicit(cr_rank *rank, const cr_stack_layer *layer, crocuta_error *error)
{
	const cr_convolution_filter *filter;
	cr_implicit_filters *filters;
	int code;

	if (!rank->implicit) /* a session says so before */
		return cr_fail(error, CROCUTA_EINTERNAL, "no filters for this device");
	filters = rank->implicit->filters;
	code = fill(rank, layer, error);
	if (!code)
		code = cr_rank_wait(rank, error);
	if (code)
		return code;
	filter = &filters->hyena.filter[filters->filter_of[layer - rank->layer]];
	code = filters->hyena.plan.rank ? convolve_near_far(rank, filter, error)
					: convolve_channels(rank, filter, error);
	return code ? code : finish(rank, layer, error);
}
