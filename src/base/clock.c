/* clock.c - see clock.h. */
#define _GNU_SOURCE
#include "base/clock.h"

#include <sys/resource.h>
#include <time.h>

double cr_wall_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int64_t cr_peak_bytes(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		return 0;
	return (int64_t)usage.ru_maxrss * 1024;
}
