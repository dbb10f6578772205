/* stack.c - every array of a stack's layer; see stack.h. */
#include "backend/stack.h"

#include <stddef.h>

typedef struct place {
	const float **array;
	int64_t count;
} place;

static void visit_floats(cr_stack_visit *visit, void *user, const float **array, int64_t count)
{
	if (*array)
		visit(user, (const void **)array, count * (int64_t)sizeof(float));
}

static void visit_places(cr_stack_visit *visit, void *user, const place *places, size_t count)
{
	for (size_t i = 0; i < count; i++)
		visit_floats(visit, user, places[i].array, places[i].count);
}

static void visit_matrix(cr_stack_visit *visit, void *user, cr_matrix *matrix)
{
	if (!matrix->values)
		return;
	visit(user, &matrix->values,
	      matrix->rows * matrix->columns * cr_number_bytes(matrix->type));
	visit_floats(visit, user, &matrix->bias, matrix->rows);
}

static void visit_filter(const cr_stack *stack, cr_filter_weights *filter, cr_stack_visit *visit,
			 void *user)
{
	const int64_t order = stack->filter_order, features = stack->features;
	const place before[] = {
		{&filter->z, stack->max_length * features},
		{&filter->t, stack->max_length},
		{&filter->deltas, stack->width},
		{&filter->frequency, order},
		{&filter->in_weight, order * features},
		{&filter->in_bias, order},
	};
	const place behind[] = {
		{&filter->out_weight, stack->width * order},
		{&filter->skip, stack->width},
	};

	visit_places(visit, user, before, sizeof before / sizeof *before);
	for (int i = 0; i < CR_FILTER_INNER_MAX; i++) {
		visit_floats(visit, user, &filter->inner_weight[i], order * order);
		visit_floats(visit, user, &filter->inner_bias[i], order);
	}
	visit_places(visit, user, behind, sizeof behind / sizeof *behind);
}

void cr_stack_layer_visit(const cr_stack *stack, cr_stack_layer *layer, cr_stack_visit *visit,
			  void *user)
{
	const int64_t width = stack->width;
	const int64_t modes =
		width * layer->modal.states * (layer->modal.complex ? 2 : 1); /* floats of them */
	const place places[] = {
		{&layer->norm1.scale, width},
		{&layer->norm1.shift, width},
		{&layer->norm2.scale, width},
		{&layer->norm2.shift, width},
		{&layer->short_taps, 3 * width * layer->short_length},
		{&layer->short_bias, 3 * width},
		{&layer->skip, width},
		{&layer->attention.inverse_frequency, layer->attention.rotary_size / 2},
		{&layer->modal.poles, modes},
		{&layer->modal.residues, modes},
		{&layer->fir.taps, layer->fir.groups * layer->fir.length},
	};

	visit_matrix(visit, user, &layer->in);
	visit_matrix(visit, user, &layer->out);
	visit_matrix(visit, user, &layer->w1);
	visit_matrix(visit, user, &layer->w2);
	visit_matrix(visit, user, &layer->w3);
	visit_places(visit, user, places, sizeof places / sizeof *places);
	visit_filter(stack, &layer->filter, visit, user);
}
