/* stack_filters.c - what goes along the sequence, on the CPU: explicit taps and modal filters.
 *
 * A task takes up to GROUP neighbouring channels (so that what it reads of a row is half a
 * kilobyte, not one cache line), copies a stretch of rows to lines of 32 channels, filters
 * there and brings the result back through the gate.
 */
#include <omp.h>
#include <string.h>

#include "backend/cpu/stack_cpu.h"
#include "base/error.h"

#define GROUP 128
#define STRETCH 256 /* rows of a task with explicit taps */

/* Channels of a task: fewer where there would be too few tasks. */
static int64_t group_of(int64_t width, int64_t pieces, int threads)
{
	int64_t group = GROUP;

	while (group > CR_LINE && (width + group - 1) / group * pieces < 2 * (int64_t)threads)
		group /= 2;
	return group;
}

/* Explicit taps: space of a thread. */
typedef struct fir_plan {
	int64_t taps;  /* T, to 4s */
	int64_t rows;  /* of lines of g: history and a stretch */
	int64_t group; /* channels */
	int64_t each;  /* floats */
} fir_plan;

/* Channels [c, c + channels), at most 32, of a stretch: g's lines, taps and skip are there
 * after it. */
static void fir_load(const cr_stack_fir *a, const fir_plan *p, int64_t from, int64_t rows,
		     int64_t c, int64_t channels, float *taps, float *skip, float *g)
{
	const cr_fir_weights *w = a->weights;
	const int64_t share = a->width / w->groups, history = w->length - 1;

	memset(taps, 0, (size_t)(p->taps * CR_LINE) * sizeof *taps);
	memset(skip, 0, CR_LINE * sizeof *skip);
	for (int64_t lane = 0; lane < channels; lane++) {
		for (int64_t k = 0; k < w->length; k++)
			taps[k * CR_LINE + lane] = w->taps[(c + lane) / share * w->length + k];
		if (a->skip)
			skip[lane] = a->skip[c + lane];
	}
	/* rows that only the taps filled up with zeros meet, and those past the last */
	memset(g, 0, (size_t)((p->taps - history) * CR_LINE) * sizeof *g);
	g += p->taps * CR_LINE;
	memset(g + rows * CR_LINE, 0, CR_FIR_SLACK * CR_LINE * sizeof *g);
	cr_cpu_to_lines((const float *)a->g + (from - history) * a->width + c, a->width,
			rows + history, channels, g - history * CR_LINE);
}

static void fir_stretch(const cr_stack_device *device, const cr_stack_fir *a, const fir_plan *p,
			int64_t from, int64_t first, float *scratch)
{
	const int64_t rows = a->rows - from < STRETCH ? a->rows - from : STRETCH;
	float *skip = scratch, *taps = skip + CR_LINE, *g = taps + p->taps * CR_LINE;
	float *y = g + p->rows * CR_LINE;

	for (int64_t c = first; c < a->width && c < first + p->group; c += CR_LINE) {
		const int64_t left = a->width - c, channels = left < CR_LINE ? left : CR_LINE;

		fir_load(a, p, from, rows, c, channels, taps, skip, g);
		device->kernels->fir(taps, p->taps, skip, g + p->taps * CR_LINE, y, rows);
		device->kernels->from_lines(y, rows, channels, NULL,
					    (const float *)a->x2 + from * a->width + c, 0,
					    (float *)a->y + from * a->width + c, a->width);
	}
}

int cr_cpu_stack_fir(cr_stack_device *device, const cr_stack_fir *a, crocuta_error *error)
{
	const cr_fir_weights *w = a->weights;
	const int64_t pieces = (a->rows + STRETCH - 1) / STRETCH;
	fir_plan p = {.taps = (w->length + 3) / 4 * 4};
	float *scratch;
	int64_t groups;
	int threads;

	if (w->groups < 1 || a->width % w->groups)
		return cr_fail(error, CROCUTA_EARG, "%lld filters for %lld channels",
			       (long long)w->groups, (long long)a->width);
	threads = cr_cpu_team(device,
			      (double)a->rows * (double)a->width * (8 + (double)w->length / 4));
	p.group = group_of(a->width, pieces, threads);
	groups = (a->width + p.group - 1) / p.group;
	p.rows = p.taps + STRETCH + CR_FIR_SLACK;
	p.each = CR_LINE * (1 + p.taps + 2 * p.rows);
	if (cr_cpu_scratch(device, 0, p.each, threads, &scratch, error))
		return CROCUTA_EMEMORY;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
	for (int64_t i = 0; i < pieces * groups; i++)
		fir_stretch(device, a, &p, i / groups * STRETCH, i % groups * p.group,
			    scratch + omp_get_thread_num() * p.each);
	return 0;
}

/* Modal filters: space for 32 channels, in floats (a double takes two). */
typedef struct modal_plan {
	int64_t parts;             /* of a state: 2 where it is complex */
	int64_t states, constants; /* numbers of them */
	int64_t group;             /* channels of a task */
	int64_t line, each;        /* floats for 32 channels; for a task: those and a chunk of g */
} modal_plan;

typedef struct modal_space {
	double *state, *step, *rest;
	float *constants, *rounded;
} modal_space;

static modal_plan modal_plan_of(const cr_modal_weights *w, int64_t group)
{
	modal_plan p = {.parts = w->complex ? 2 : 1, .group = group};

	p.states = w->states * p.parts * CR_LINE;
	p.constants = CR_MODAL_STEP * CR_LINE + p.states * CR_MODAL_CONSTANTS;
	p.line = 7 * p.states + p.constants;
	p.each = group / CR_LINE * p.line + CR_MODAL_CHUNK * CR_LINE;
	return p;
}

static modal_space modal_space_of(const modal_plan *p, float *scratch)
{
	modal_space s;

	s.state = (double *)(void *)scratch;
	s.step = s.state + p->states;
	s.rest = s.step + p->states;
	s.constants = (float *)(s.rest + p->states);
	s.rounded = s.constants + p->constants;
	return s;
}

/* States of channels [c, c + channels) from the caller's (D, N, parts) to [N][parts][32], or
 * back. */
static void modal_move(const cr_stack_modal *a, const modal_plan *p, int64_t c, int64_t channels,
		       double *state, int back)
{
	const int64_t numbers = a->weights->states * p->parts;

	if (!back)
		memset(state, 0, (size_t)p->states * sizeof *state);
	for (int64_t lane = 0; lane < channels; lane++)
		for (int64_t i = 0; i < numbers; i++) {
			double *theirs = a->state + (c + lane) * numbers + i;

			if (back)
				*theirs = state[i * CR_LINE + lane];
			else
				state[i * CR_LINE + lane] = *theirs;
		}
}

static void modal_load(const cr_stack_device *device, const cr_stack_modal *a, const modal_plan *p,
		       const modal_space *s, int64_t c, int channels)
{
	const cr_kernels *kernels = device->kernels;
	const cr_modal_weights *w = a->weights;
	const int64_t from = c * w->states * p->parts;

	kernels->modal_prepare(w->poles + from, w->residues + from, w->complex, w->states,
			       a->skip ? a->skip + c : NULL, channels, s->constants);
	kernels->modal_power(w->poles + from, w->complex, w->states, channels, CR_MODAL_STEP,
			     s->step);
	kernels->modal_power(w->poles + from, w->complex, w->states, channels,
			     a->rows % CR_MODAL_STEP, s->rest);
	modal_move(a, p, c, channels, s->state, 0);
}

/* One chunk of 32 channels. */
static void modal_chunk(const cr_stack_device *device, const cr_stack_modal *a,
			const modal_space *s, int64_t from, int64_t c, int64_t channels, float *g)
{
	const cr_modal_weights *w = a->weights;
	const cr_modal_lines lines = {s->state, s->step, s->rest, s->constants, s->rounded};
	const int64_t left = a->rows - from, place = from * a->width + c;
	const int64_t rows = left < CR_MODAL_CHUNK ? left : CR_MODAL_CHUNK;
	const int64_t whole = (rows + CR_MODAL_STEP - 1) / CR_MODAL_STEP * CR_MODAL_STEP;

	cr_cpu_to_lines((const float *)a->g + place, a->width, rows, channels, g);
	memset(g + rows * CR_LINE, 0, (size_t)((whole - rows) * CR_LINE) * sizeof *g);
	device->kernels->modal(&lines, w->complex, w->states, g, rows, a->y != NULL);
	if (a->y)
		device->kernels->from_lines(g, rows, channels, NULL, (const float *)a->x2 + place,
					    0, (float *)a->y + place, a->width);
}

/* Channels [first, first + p->group) over all rows, 32 at a time within a chunk. */
static void modal_group(const cr_stack_device *device, const cr_stack_modal *a, const modal_plan *p,
			int64_t first, float *scratch)
{
	const int64_t lines = p->group / CR_LINE, end = a->width - first;
	modal_space s[GROUP / CR_LINE];
	int channels[GROUP / CR_LINE];

	for (int64_t i = 0; i < lines; i++) {
		const int64_t left = end - i * CR_LINE;

		channels[i] = left < 0 ? 0 : left < CR_LINE ? (int)left : CR_LINE;
		s[i] = modal_space_of(p, scratch + i * p->line);
		if (channels[i])
			modal_load(device, a, p, s + i, first + i * CR_LINE, channels[i]);
	}
	for (int64_t from = 0; from < a->rows; from += CR_MODAL_CHUNK)
		for (int64_t i = 0; i < lines; i++)
			if (channels[i])
				modal_chunk(device, a, s + i, from, first + i * CR_LINE,
					    channels[i], scratch + lines * p->line);
	for (int64_t i = 0; i < lines; i++)
		if (channels[i])
			modal_move(a, p, first + i * CR_LINE, channels[i], s[i].state, 1);
}

int cr_cpu_stack_modal(cr_stack_device *device, const cr_stack_modal *a, crocuta_error *error)
{
	const cr_modal_weights *w = a->weights;
	const int threads = cr_cpu_team(device, (double)a->rows * (double)a->width *
							(8 + (double)w->states / 2));
	const modal_plan p = modal_plan_of(w, group_of(a->width, 1, threads));
	float *scratch;

	if (cr_cpu_scratch(device, 0, p.each, threads, &scratch, error))
		return CROCUTA_EMEMORY;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
	for (int64_t first = 0; first < a->width; first += p.group)
		modal_group(device, a, &p, first, scratch + omp_get_thread_num() * p.each);
	return 0;
}

static void fold_line(const cr_stack_device *device, const cr_stack_modal_fold *a, int64_t c,
		      int channels, double *power)
{
	const cr_modal_weights *w = a->weights;
	const int64_t parts = w->complex ? 2 : 1;

	device->kernels->modal_power(w->poles + c * w->states * parts, w->complex, w->states,
				     channels, a->length, power);
	for (int lane = 0; lane < channels; lane++)
		for (int64_t n = 0; n < w->states; n++) {
			const int64_t at = ((c + lane) * w->states + n) * parts;
			const double *p = power + n * parts * CR_LINE + lane;
			double *s = a->state + at, re = p[0] * s[0];

			if (w->complex) {
				re -= p[CR_LINE] * s[1];
				s[1] = p[0] * s[1] + p[CR_LINE] * s[0] + a->local[at + 1];
			}
			s[0] = re + a->local[at];
		}
}

int cr_cpu_stack_modal_fold(cr_stack_device *device, const cr_stack_modal_fold *a,
			    crocuta_error *error)
{
	const int64_t each = 2 * a->weights->states * (a->weights->complex ? 2 : 1) * CR_LINE;
	const int threads = cr_cpu_team(device, 16 * (double)a->width * (double)a->weights->states);
	float *scratch;

	if (cr_cpu_scratch(device, 0, each, threads, &scratch, error))
		return CROCUTA_EMEMORY;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t c = 0; c < a->width; c += CR_LINE) {
		float *space = scratch + omp_get_thread_num() * each;

		fold_line(device, a, c, a->width - c < CR_LINE ? (int)(a->width - c) : CR_LINE,
			  (double *)(void *)space);
	}
	return 0;
}
