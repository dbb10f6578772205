/* windows.h - how an interval is cut into overlapping windows, each base reported once.
 *
 * Forward grid: window k covers start + k(W - O) .. + W; the last one slides inward to end at the
 * interval's end; an interval shorter than W is one window. A base is reported from the earliest
 * window that holds it, so it has the most left context.
 * Reverse grid: the mirror image, anchored at the interval's end, for models that read the reverse
 * complement: a base is reported from the window that reaches farthest to its right. Windows are
 * still numbered in ascending forward order, and so are their reported ranges.
 * Pure functions; no overflow for 0 <= start <= end <= 2^62. */
#ifndef CR_SEQ_WINDOWS_H
#define CR_SEQ_WINDOWS_H

#include <stdint.h>

typedef struct cr_windows {
	int64_t start, end; /* the interval, 0-based half-open */
	int64_t window;     /* W, bases, at least 1 */
	int64_t overlap;    /* O, bases, 0 .. W - 1 */
	int reverse;        /* 0: forward grid, 1: mirrored grid */
} cr_windows;

typedef struct cr_window {
	int64_t start, end;               /* bases to compute */
	int64_t report_start, report_end; /* of these, the ones to report */
} cr_window;

/* Number of windows; 0 for an empty interval, -1 when the fields break the limits above. */
int64_t cr_windows_count(const cr_windows *windows);

/* Window k, 0 <= k < count; for any other k, or invalid fields, all members are 0. */
cr_window cr_windows_get(const cr_windows *windows, int64_t k);

#endif
