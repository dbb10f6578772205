/* stack_pointwise.c - operators of stacks that look at a row or a few, on the CPU: token
 * vectors, norms, activations, rotation, the short filter with its gates. */
#include <math.h>
#include <string.h>

#include "backend/cpu/stack_cpu.h"
#include "base/error.h"

#define PIECE 8192 /* numbers of a task in `activate` */

int cr_cpu_stack_embed(cr_stack_device *device, const cr_stack_embed *a, crocuta_error *error)
{
	const cr_matrix *table = a->table;
	const int64_t width = table->columns;
	const int threads = cr_cpu_team(device, (double)a->rows * (double)width);

	if (table->type != CR_NUMBER_F32 && table->type != CR_NUMBER_BF16)
		return cr_fail(error, CROCUTA_EARG, "token vectors of type %d", table->type);
	for (int64_t l = 0; l < a->rows; l++)
		if (a->tokens[l] >= table->rows)
			return cr_fail(error, CROCUTA_EINPUT,
				       "token %d at row %lld: there are %lld", a->tokens[l],
				       (long long)l, (long long)table->rows);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t l = 0; l < a->rows; l++) {
		const void *from = (const char *)table->values +
				   a->tokens[l] * width * cr_number_bytes(table->type);
		float *y = (float *)a->y + l * width;

		if (table->type == CR_NUMBER_BF16)
			device->kernels->widen(from, y, width);
		else
			memcpy(y, from, (size_t)width * sizeof *y);
	}
	return 0;
}

int cr_cpu_stack_norm(cr_stack_device *device, const cr_stack_norm *a, crocuta_error *error)
{
	const int threads = cr_cpu_team(device, (double)a->rows * (double)a->width);

	if (a->kind != CR_NORM_LAYER && a->kind != CR_NORM_RMS)
		return cr_fail(error, CROCUTA_EARG, "norm of kind %d", a->kind);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t l = 0; l < a->rows; l++)
		device->kernels->normalise_row((const float *)a->x + l * a->width, a->width,
					       a->kind == CR_NORM_LAYER, a->epsilon,
					       a->weights.scale, a->weights.shift,
					       (float *)a->y + l * a->width);
	return 0;
}

int cr_cpu_stack_activate(cr_stack_device *device, const cr_stack_activate *a, crocuta_error *error)
{
	const int threads = cr_cpu_team(device, 2 * (double)a->count);

	if (a->activation < CR_ACTIVATION_NONE || a->activation > CR_ACTIVATION_SILU)
		return cr_fail(error, CROCUTA_EARG, "activation %d", a->activation);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t at = 0; at < a->count; at += PIECE)
		device->kernels->activate(a->activation, (const float *)a->a + at,
					  a->b ? (const float *)a->b + at : NULL,
					  (float *)a->y + at,
					  a->count - at < PIECE ? a->count - at : PIECE);
	return 0;
}

/* One row; the angles are float32's, their cosines and sines exact. */
static void rotate(const cr_attention_weights *w, int64_t position, int64_t heads, float *x)
{
	enum { PAIRS = 64 }; /* at a time */
	const int64_t half = w->rotary_size / 2;
	const float place = (float)position / (float)w->position_divisor;
	float cosine[PAIRS], sine[PAIRS];

	for (int64_t from = 0; from < half; from += PAIRS) {
		const int64_t pairs = half - from < PAIRS ? half - from : PAIRS;

		for (int64_t i = 0; i < pairs; i++) {
			const float angle = place * w->inverse_frequency[from + i];

			cosine[i] = (float)cos((double)angle);
			sine[i] = (float)sin((double)angle);
		}
		for (int64_t h = 0; h < heads; h++) {
			float *low = x + h * w->head_size + from, *high = low + half;

			for (int64_t i = 0; i < pairs; i++) {
				const float p = low[i], q = high[i];

				low[i] = p * cosine[i] - q * sine[i];
				high[i] = q * cosine[i] + p * sine[i];
			}
		}
	}
}

int cr_cpu_stack_rope(cr_stack_device *device, const cr_stack_rope *a, crocuta_error *error)
{
	const cr_attention_weights *w = a->weights;
	const int threads = cr_cpu_team(device, (double)a->rows * (double)w->rotary_size *
							(32 + (double)a->heads));

	(void)error;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t l = 0; l < a->rows; l++)
		rotate(w, a->first + l, a->heads, (float *)a->x + l * a->stride);
	return 0;
}

/* Taps and bias of 32 channels from number c on, (parts D, length) and (parts D), to
 * [parts][length + 1] [32]: together, since rows apart by a power of two would push each other
 * out of the cache. */
static void front_line(const cr_stack_front *a, int64_t c, float *taps)
{
	const int64_t size = (a->length + 1) * CR_LINE;
	const int64_t channels = a->width - c < CR_LINE ? a->width - c : CR_LINE;

	memset(taps, 0, (size_t)(a->parts * size) * sizeof *taps);
	for (int part = 0; part < a->parts; part++, taps += size)
		for (int64_t lane = 0; lane < channels; lane++) {
			const int64_t from = part * a->width + c + lane;

			for (int64_t k = 0; k < a->length; k++)
				taps[k * CR_LINE + lane] = a->taps[from * a->length + k];
			if (a->bias)
				taps[a->length * CR_LINE + lane] = a->bias[from];
		}
}

int cr_cpu_stack_front(cr_stack_device *device, const cr_stack_front *a, crocuta_error *error)
{
	const int64_t size = a->parts * (a->length + 1) * CR_LINE, lines = cr_lines(a->width);
	float *taps;
	int threads;

	if (a->length < 1 || a->length > 8 || (a->parts != 2 && a->parts != 3) ||
	    (a->parts == 2 && a->x2))
		return cr_fail(error, CROCUTA_EARG, "short filter of %lld taps on %d parts",
			       (long long)a->length, a->parts);
	threads =
		cr_cpu_team(device, (double)(a->rows * a->parts) * (double)(a->width * a->length));
	if (cr_cpu_scratch(device, lines * size, 0, 1, &taps, error))
		return CROCUTA_EMEMORY;
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(static)
		for (int64_t line = 0; line < lines; line++)
			front_line(a, line * CR_LINE, taps + line * size);
#pragma omp for schedule(static)
		for (int64_t l = 0; l < a->rows; l++)
			device->kernels->front_row((const float *)a->z + l * a->parts * a->width,
						   a->parts, taps, a->length, a->width,
						   a->x2 ? (float *)a->x2 + l * a->width : NULL,
						   (float *)a->g + l * a->width);
	}
	return 0;
}
