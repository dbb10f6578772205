/* tensor_names.c - a sorted index of a file's tensors, and the messages about what is in it. */
#include "model/tensor_names.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/family.h"

#define NAMES_SHOWN 10

static int by_name(const void *a, const void *b)
{
	const cr_tensor_name *x = a, *y = b;
	int order = strcmp(x->name ? x->name : "", y->name ? y->name : "");

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int may_repeat(const char *name, const char *end)
{
	size_t length = strlen(name), tail = end ? strlen(end) : 0;

	return end && length > tail && !strcmp(name + length - tail, end);
}

static int check_repeats(const cr_safetensors *file, const cr_tensor_name *names,
			 const char *repeated, crocuta_error *error)
{
	for (int64_t i = 1; i < file->count; i++) {
		const cr_tensor_name *a = &names[i - 1], *b = &names[i];

		if (!a->name || !b->name || strcmp(a->name, b->name) ||
		    may_repeat(b->name, repeated))
			continue;
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: tensors \"%.80s\" and \"%.80s\" are the same weight under two "
			       "names",
			       file->where, file->tensor[a->index].name,
			       file->tensor[b->index].name);
	}
	return 0;
}

int cr_tensor_names_read(const cr_safetensors *file, const cr_tensor_naming *naming,
			 cr_tensor_name **names, crocuta_error *error)
{
	char text[CR_TENSOR_NAME_MAX + 1];
	int64_t count = file->count;
	cr_tensor_name *name = cr_calloc((size_t)count, sizeof *name);
	int code = 0;

	*names = NULL;
	for (int64_t i = 0; name && i < count && !code; i++) {
		name[i].index = i;
		if (!naming->canonical(naming->version, file->tensor[i].name, text, sizeof text))
			continue;
		name[i].name = cr_strdup(text);
		if (!name[i].name)
			code = CROCUTA_EMEMORY;
	}
	if (!name || code) {
		cr_tensor_names_free(name, count);
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to load it", file->where);
	}
	if (count)
		qsort(name, (size_t)count, sizeof *name, by_name);
	code = check_repeats(file, name, naming->repeated, error);
	if (code)
		cr_tensor_names_free(name, count);
	else
		*names = name;
	return code;
}

void cr_tensor_names_free(cr_tensor_name *names, int64_t count)
{
	for (int64_t i = 0; names && i < count; i++)
		cr_free(names[i].name);
	cr_free(names);
}

void *cr_tensor_names_find(const void *entries, int64_t count, size_t size, const char *name)
{
	int64_t low = 0, high = count;
	const char *first = entries, *found;

	while (low < high) {
		int64_t middle = low + (high - low) / 2;
		const char *other = *(char *const *)(first + (size_t)middle * size);

		if (strcmp(other ? other : "", name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == count)
		return NULL;
	first += (size_t)low * size;
	found = *(char *const *)first;
	return found && !strcmp(found, name) ? (void *)first : NULL;
}

int64_t cr_tensor_layer(const char *name, const char *prefix, const char **rest)
{
	long long layer = 0;
	const char *p = name ? cr_skip_prefix(name, prefix) : NULL;

	if (!p || p == name || *p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9' && layer <= CR_LAYERS_MAX; p++)
		layer = 10 * layer + (*p - '0');
	if (*p != '.')
		return -1;
	*rest = p + 1;
	return layer;
}

void cr_tensor_list_add(char *list, size_t capacity, int64_t number, const char *name)
{
	size_t used = strlen(list);

	if (number < NAMES_SHOWN)
		snprintf(list + used, capacity - used, "%s%.80s", number ? ", " : "", name);
	else if (number == NAMES_SHOWN)
		snprintf(list + used, capacity - used, ", ...");
}

int cr_tensor_names_report(const char *where, const cr_tensor_report *report, int lenient,
			   cr_notes *notes, crocuta_error *error)
{
	if (report->missing)
		return cr_fail(error, CROCUTA_EMODEL, "%s: %lld tensor%s missing: %s%s%s", where,
			       (long long)report->missing, report->missing > 1 ? "s are" : " is",
			       report->missing_names, report->unknown ? "; unknown: " : "",
			       report->unknown_names);
	if (report->unknown && !lenient)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: %lld tensor%s to no layer: %s (--lenient ignores what is unknown)",
			where, (long long)report->unknown,
			report->unknown > 1 ? "s belong" : " belongs", report->unknown_names);
	if (report->unknown)
		cr_note(notes, "tensors that belong to no layer are ignored (%lld): %s",
			(long long)report->unknown, report->unknown_names);
	return 0;
}

static int same_shape(const cr_tensor *found, const int64_t *shape, int rank)
{
	int i = 0, j = 0;

	for (;;) {
		while (i < found->rank && found->shape[i] == 1)
			i++;
		while (j < rank && shape[j] == 1)
			j++;
		if (i == found->rank || j == rank)
			return i == found->rank && j == rank;
		if (found->shape[i++] != shape[j++])
			return 0;
	}
}

int cr_tensor_check_shape(const char *where, const cr_tensor *tensor, const int64_t *shape,
			  int rank, crocuta_error *error)
{
	char found[200], expected[200];
	cr_tensor model = {.rank = rank};

	if (same_shape(tensor, shape, rank))
		return 0;
	memcpy(model.shape, shape, (size_t)rank * sizeof *shape);
	cr_tensor_shape_text(tensor, found, sizeof found);
	cr_tensor_shape_text(&model, expected, sizeof expected);
	return cr_fail(error, CROCUTA_EMODEL, "%s: tensor \"%.80s\" has shape %s, expected %s",
		       where, tensor->name, found, expected);
}

int64_t cr_tensor_settle(cr_notes *notes, const char *what, int64_t from_tensor,
			 int64_t from_config)
{
	if (from_tensor && from_config && from_tensor != from_config)
		cr_note(notes, "config.json says %s %lld, the tensors have %lld, which is used",
			what, (long long)from_config, (long long)from_tensor);
	return from_tensor ? from_tensor : from_config;
}

int cr_tensor_check_size(const char *where, const char *what, int64_t size, int64_t low,
			 int64_t high, crocuta_error *error)
{
	if (size >= low && size <= high)
		return 0;
	return cr_fail(error, CROCUTA_EMODEL, "%s: %s is %lld, expected %lld to %lld", where, what,
		       (long long)size, (long long)low, (long long)high);
}
