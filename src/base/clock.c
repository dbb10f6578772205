/* clock.c - see clock.h. */
#define _GNU_SOURCE
#include "base/clock.h"

#include <sys/resource.h>
#include <time.h>

static double read_clock(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double cr_wall_seconds(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

double cr_cpu_seconds(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t cr_peak_bytes(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		return 0;
	return (int64_t)usage.ru_maxrss * 1024;
}
