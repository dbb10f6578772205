/* classify_merge.h - windows of one call and strand that touch become one row, in order of start. */
#ifndef CR_TASK_CLASSIFY_MERGE_H
#define CR_TASK_CLASSIFY_MERGE_H

#include <stdint.h>

#include <crocuta/error.h>

#include "task/features.h"

typedef struct cr_merged {
	const char *contig;
	int64_t contig_index; /* tag of the windows */
	char strand;
	int64_t start, end;    /* of all windows together */
	int64_t pred, windows; /* class, how many windows */
	int64_t best_start, best_end; /* the window whose probability of that class is largest, */
	const double *probabilities;  /* and its (C) probabilities */
} cr_merged;

/* Rows ascend by start, then end, then '+' before '-', contig after contig; valid during the call. */
typedef int cr_merge_sink(void *user, const cr_merged *row, crocuta_error *error);

typedef struct cr_merge cr_merge;

/* For C classes. NULL when memory is short. */
cr_merge *cr_merge_new(int64_t classes, cr_merge_sink *sink, void *user);
void cr_merge_free(cr_merge *merge);

/* The next window, in order of contig and start, strands in any order; pred -1: no call. A run ends with
 * a window of the strand that is of another class or none, or that begins behind the run's end. */
CROCUTA_CHECKED int cr_merge_add(cr_merge *merge, const cr_feature_item *window, int64_t pred,
				 const double *probabilities, crocuta_error *error);

/* Every run that is open ends. */
CROCUTA_CHECKED int cr_merge_finish(cr_merge *merge, crocuta_error *error);

#endif
