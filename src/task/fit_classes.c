/* fit_classes.c - the names of classes: given, the head's or as met, and their order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/fit_internal.h"

static int fail_memory(const cr_fit *fit)
{
	return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for the classes");
}

/* The names of a comma-separated list, in order. */
static int add_list(cr_fit *fit, const char *list)
{
	int code = CROCUTA_OK;

	while (!code) {
		size_t bytes = strcspn(list, ",");
		char name[128];

		if (bytes >= sizeof name)
			return cr_fail(fit->error, CROCUTA_EARG, "--classes: a name is too long");
		memcpy(name, list, bytes);
		name[bytes] = '\0';
		if (!cr_head_class_name_ok(name))
			return cr_fail(
				fit->error, CROCUTA_EARG,
				"--classes: \"%.100s\" is no name of a class: printable ASCII "
				"without blanks and quotes",
				name);
		if (cr_contigs_find(fit->names, name, bytes) >= 0)
			return cr_fail(fit->error, CROCUTA_EARG, "--classes: %.100s is there twice",
				       name);
		code = cr_contigs_add(fit->names, name, bytes, 1, fit->error);
		if (!list[bytes])
			break;
		list += bytes + 1;
	}
	return code;
}

int cr_fit_start_classes(cr_fit *fit)
{
	const char *list = fit->options.classes;
	int code = CROCUTA_OK;
	int64_t count;

	fit->names = cr_contigs_new();
	if (!fit->names)
		return fail_memory(fit);
	if (list)
		code = add_list(fit, list);
	if (!code && fit->options.evaluate) {
		const crocuta_head_info *head = crocuta_head_get_info(fit->head);

		count = cr_contigs_count(fit->names);
		if (list && count != head->classes)
			return cr_fail(fit->error, CROCUTA_EARG,
				       "--classes: %lld names for a head of %lld classes",
				       (long long)count, (long long)head->classes);
		for (int64_t i = 0; !code && !list && i < head->classes; i++)
			code = cr_contigs_add(fit->names, head->class_names[i],
					      strlen(head->class_names[i]), 1, fit->error);
	}
	count = cr_contigs_count(fit->names);
	if (!code && count > CROCUTA_HEAD_CLASSES_MAX)
		code = cr_fail(fit->error, CROCUTA_EARG,
			       "--classes: %lld names, at most %d are read", (long long)count,
			       CROCUTA_HEAD_CLASSES_MAX);
	fit->names_given = list != NULL || fit->options.evaluate;
	fit->names_closed = fit->names_given;
	return code;
}

/* ---- order ----------------------------------------------------------------------------------- */

typedef struct name {
	const char *text;
	double number; /* NaN: none */
	int64_t index; /* in fit->names */
} name;

static int compare_text(const void *a, const void *b)
{
	return strcmp(((const name *)a)->text, ((const name *)b)->text);
}

static int compare_number(const void *a, const void *b)
{
	const name *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number ? 1 : strcmp(x->text, y->text);
}

static double number_of(const char *text)
{
	char *end;
	double number = strtod(text, &end);

	return *end || end == text || strspn(text, "0123456789.+-eE") != strlen(text) ? NAN
										      : number;
}

/* Names of classes that are no call, unless --background says. */
static const char *const usual_background[] = {"other", "background", "negative", "0"};
#define USUAL_COUNT (sizeof usual_background / sizeof *usual_background)

/* The background comes first, so that of two classes the other one is what AUROC and AUPRC are about. */
static void put_background_first(const cr_fit *fit, name *names)
{
	const char *asked = fit->options.background;

	for (size_t k = 0; k < (asked ? 1 : USUAL_COUNT); k++) {
		const char *text = asked ? asked : usual_background[k];

		for (int64_t i = 0; i < fit->classes; i++) {
			const name found = names[i];

			if (strcmp(found.text, text))
				continue;
			memmove(names + 1, names, (size_t)i * sizeof *names);
			names[0] = found;
			return;
		}
	}
}

static int sort_names(cr_fit *fit, int64_t *place)
{
	name *names = cr_calloc((size_t)fit->classes, sizeof *names);
	int numbers = 1;

	if (!names)
		return fail_memory(fit);
	for (int64_t i = 0; i < fit->classes; i++) {
		const char *text = cr_contigs_name(fit->names, i);

		names[i] = (name){text, number_of(text), i};
		numbers &= !isnan(names[i].number);
	}
	if (!fit->names_given) {
		qsort(names, (size_t)fit->classes, sizeof *names,
		      numbers ? compare_number : compare_text);
		put_background_first(fit, names);
	}
	for (int64_t i = 0; i < fit->classes; i++) {
		fit->class_names[i] = names[i].text;
		place[names[i].index] = i;
	}
	cr_free(names);
	return CROCUTA_OK;
}

static int64_t find_class(const cr_fit *fit, const char *text)
{
	for (int64_t i = 0; i < fit->classes; i++)
		if (!strcmp(fit->class_names[i], text))
			return i;
	return -1;
}

static int choose_background(cr_fit *fit)
{
	const char *asked = fit->options.background;

	fit->background = -1;
	if (asked) {
		fit->background = find_class(fit, asked);
		if (fit->background < 0 && strcmp(asked, "none"))
			return cr_fail(fit->error, CROCUTA_EARG,
				       "--background %.100s: there is no such class", asked);
		return CROCUTA_OK;
	}
	if (fit->options.evaluate) {
		fit->background = crocuta_head_get_info(fit->head)->background;
		return CROCUTA_OK;
	}
	for (size_t i = 0; i < USUAL_COUNT && fit->background < 0; i++)
		fit->background = find_class(fit, usual_background[i]);
	return CROCUTA_OK;
}

int cr_fit_check_classes(const cr_fit *fit)
{
	if (cr_contigs_count(fit->names) > 1 || fit->options.evaluate)
		return CROCUTA_OK;
	return cr_fail(fit->error, CROCUTA_EINPUT,
		       "all training sequences are of one class, %.100s; a head needs two or more",
		       cr_contigs_name(fit->names, 0));
}

int cr_fit_order_classes(cr_fit *fit)
{
	int64_t *place;
	int code;

	fit->classes = cr_contigs_count(fit->names);
	fit->class_names = cr_calloc((size_t)fit->classes, sizeof *fit->class_names);
	place = cr_calloc((size_t)fit->classes, sizeof *place);
	code = fit->class_names && place ? sort_names(fit, place) : fail_memory(fit);
	for (int64_t i = 0; !code && i < fit->count; i++)
		fit->examples[i].label = (int32_t)place[fit->examples[i].label];
	cr_free(place);
	return code ? code : choose_background(fit);
}
