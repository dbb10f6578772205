/* classify_merge.c - see classify_merge.h.
 *
 * There is at most one open run a strand. A run that has ended waits while the other strand's open run
 * began before it; so what waits is written as soon as nothing can come in front of it. */
#include "task/classify_merge.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

typedef struct run {
	int open;
	char *contig; /* a copy */
	int64_t contig_index, start, end, pred, windows, best_start, best_end;
	char strand;
	double *probabilities; /* (C) of the best window */
} run;

struct cr_merge {
	int64_t classes;
	cr_merge_sink *sink;
	void *user;
	run open[2]; /* forward, reverse */
	run *waiting; /* (count) in order of rows */
	int64_t count, capacity;
	char *contig; /* of the last window */
};

cr_merge *cr_merge_new(int64_t classes, cr_merge_sink *sink, void *user)
{
	cr_merge *merge = cr_calloc(1, sizeof *merge);

	if (!merge)
		return NULL;
	merge->classes = classes;
	merge->sink = sink;
	merge->user = user;
	for (int i = 0; i < 2; i++) {
		merge->open[i].probabilities = cr_calloc((size_t)classes, sizeof(double));
		if (!merge->open[i].probabilities) {
			cr_merge_free(merge);
			return NULL;
		}
	}
	return merge;
}

static void free_run(run *r)
{
	cr_free(r->contig);
	cr_free(r->probabilities);
}

void cr_merge_free(cr_merge *merge)
{
	if (!merge)
		return;
	for (int i = 0; i < 2; i++)
		free_run(&merge->open[i]);
	for (int64_t i = 0; i < merge->count; i++)
		free_run(&merge->waiting[i]);
	cr_free(merge->waiting);
	cr_free(merge->contig);
	cr_free(merge);
}

static int comes_before(const run *a, const run *b)
{
	if (a->start != b->start)
		return a->start < b->start;
	return a->end != b->end ? a->end < b->end : a->strand < b->strand; /* '+' is before '-' */
}

/* The run has ended: among those that wait. */
static int close_run(cr_merge *merge, run *open, crocuta_error *error)
{
	run done = *open;
	int64_t at = merge->count;

	if (!open->open)
		return CROCUTA_OK;
	open->open = 0;
	if (merge->count == merge->capacity) {
		int64_t capacity = 2 * merge->capacity + 16;
		run *waiting = cr_realloc(merge->waiting, (size_t)capacity, sizeof *waiting);

		if (!waiting)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for calls");
		merge->waiting = waiting;
		merge->capacity = capacity;
	}
	done.contig = cr_strdup(open->contig);
	done.probabilities = cr_calloc((size_t)merge->classes, sizeof(double));
	if (!done.contig || !done.probabilities) {
		free_run(&done);
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for calls");
	}
	memcpy(done.probabilities, open->probabilities, (size_t)merge->classes * sizeof(double));
	while (at > 0 && comes_before(&done, &merge->waiting[at - 1])) {
		merge->waiting[at] = merge->waiting[at - 1];
		at--;
	}
	merge->waiting[at] = done;
	merge->count++;
	return CROCUTA_OK;
}

/* Write what no open run can come in front of, and no window to come. */
static int write_ready(cr_merge *merge, crocuta_error *error)
{
	int64_t done = 0;
	int code = CROCUTA_OK;

	for (; !code && done < merge->count; done++) {
		run *r = &merge->waiting[done];
		cr_merged row = {.contig = r->contig,
				 .contig_index = r->contig_index,
				 .strand = r->strand,
				 .start = r->start,
				 .end = r->end,
				 .pred = r->pred,
				 .windows = r->windows,
				 .best_start = r->best_start,
				 .best_end = r->best_end,
				 .probabilities = r->probabilities};

		if ((merge->open[0].open && merge->open[0].start <= r->start) ||
		    (merge->open[1].open && merge->open[1].start <= r->start))
			break;
		code = merge->sink(merge->user, &row, error);
		free_run(r);
	}
	if (!done) /* perhaps nothing has ever waited */
		return code;
	merge->count -= done;
	memmove(merge->waiting, merge->waiting + done, (size_t)merge->count * sizeof *merge->waiting);
	return code;
}

static int close_all(cr_merge *merge, crocuta_error *error)
{
	for (int i = 0; i < 2; i++) {
		int code = close_run(merge, &merge->open[i], error);

		if (code)
			return code;
	}
	return write_ready(merge, error);
}

static int same_contig(cr_merge *merge, const char *contig, crocuta_error *error)
{
	int code;

	if (merge->contig && !strcmp(merge->contig, contig))
		return CROCUTA_OK;
	code = close_all(merge, error);
	cr_free(merge->contig);
	merge->contig = cr_strdup(contig);
	return code            ? code
	       : merge->contig ? CROCUTA_OK
			       : cr_fail(error, CROCUTA_EMEMORY, "no memory for a name");
}

static int begin_run(cr_merge *merge, run *r, const cr_feature_item *window, int64_t pred,
		     crocuta_error *error)
{
	cr_free(r->contig);
	r->contig = cr_strdup(merge->contig);
	if (!r->contig)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a name");
	r->open = 1;
	r->contig_index = window->tag;
	r->strand = window->strand;
	r->start = window->start;
	r->end = window->end;
	r->pred = pred;
	r->windows = 0;
	return CROCUTA_OK;
}

int cr_merge_add(cr_merge *merge, const cr_feature_item *window, int64_t pred,
		 const double *probabilities, crocuta_error *error)
{
	run *r = &merge->open[window->strand == '-'];
	int code = same_contig(merge, window->contig, error);

	if (!code && r->open && (r->pred != pred || window->start > r->end))
		code = close_run(merge, r, error);
	if (!code && pred >= 0 && !r->open)
		code = begin_run(merge, r, window, pred, error);
	if (code || pred < 0)
		return code ? code : write_ready(merge, error);
	if (!r->windows++ || probabilities[pred] > r->probabilities[pred]) {
		memcpy(r->probabilities, probabilities, (size_t)merge->classes * sizeof(double));
		r->best_start = window->start;
		r->best_end = window->end;
	}
	r->end = window->end > r->end ? window->end : r->end;
	return write_ready(merge, error);
}

int cr_merge_finish(cr_merge *merge, crocuta_error *error)
{
	return close_all(merge, error);
}
