/* windows.c - see windows.h. The reverse grid is the forward grid seen in a mirror, so there is one
 * calculation. Nothing is multiplied before it is known to lie inside the interval. */
#include "seq/windows.h"

#define LONGEST ((int64_t)1 << 62)

static int valid(const cr_windows *windows)
{
	return windows->start >= 0 && windows->end >= windows->start && windows->end <= LONGEST &&
	       windows->window >= 1 && windows->overlap >= 0 && windows->overlap < windows->window;
}

int64_t cr_windows_count(const cr_windows *windows)
{
	int64_t length, step;

	if (!valid(windows))
		return -1;
	length = windows->end - windows->start;
	if (length <= windows->window)
		return length > 0;
	step = windows->window - windows->overlap;
	return 1 + (length - windows->window - 1) / step + 1;
}

/* Window k of count of the forward grid over [0, length). */
static cr_window forward_window(const cr_windows *windows, int64_t length, int64_t k, int64_t count)
{
	int64_t width = windows->window < length ? windows->window : length;
	int64_t step = windows->window - windows->overlap;
	cr_window result;

	result.start = k == count - 1 ? length - width : k * step;
	result.end = result.start + width;
	result.report_start = k ? (k - 1) * step + width : 0; /* where window k - 1 ends */
	result.report_end = result.end;
	return result;
}

cr_window cr_windows_get(const cr_windows *windows, int64_t k)
{
	int64_t count = cr_windows_count(windows), length;
	cr_window forward, result = {0};

	if (k < 0 || k >= count)
		return result;
	length = windows->end - windows->start;
	if (windows->reverse) {
		forward = forward_window(windows, length, count - 1 - k, count);
		result.start = windows->start + (length - forward.end);
		result.end = windows->start + (length - forward.start);
		result.report_start = windows->start + (length - forward.report_end);
		result.report_end = windows->start + (length - forward.report_start);
		return result;
	}
	forward = forward_window(windows, length, k, count);
	result.start = windows->start + forward.start;
	result.end = windows->start + forward.end;
	result.report_start = windows->start + forward.report_start;
	result.report_end = windows->start + forward.report_end;
	return result;
}
