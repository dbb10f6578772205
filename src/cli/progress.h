/* progress.h - how far a run is, and what it cost. */
#ifndef CR_CLI_PROGRESS_H
#define CR_CLI_PROGRESS_H

#include <crocuta/embed.h>

/* A line every `seconds` (0: none; on a terminal one live line instead) that counts `unit`, which
 * stays valid: "bases". */
void cr_progress_start(int seconds, const char *unit);

/* Stop after so long, counted from cr_progress_start; 0: never. */
void cr_progress_limit(double seconds);

/* Has that time passed? */
int cr_progress_is_late(void);

/* Seconds since cr_progress_start, of the wall's clock. */
double cr_progress_seconds(void);

/* A crocuta_progress_fn: shows, and returns nonzero when a signal asked to stop, or the time is up. */
int cr_progress_report(void *user, const crocuta_progress *progress);

/* Where the time went, as a detail (-v 4). */
void cr_progress_stages(const crocuta_stage_times *times);

/* Closing lines: version, command, wall and CPU time, peak memory, then `counts`. */
void cr_progress_finish(const char *counts);

/* "1,234,567" into one of a few static buffers. */
const char *cr_with_commas(long long number);

/* "12.3 MB" into one of a few static buffers. */
const char *cr_as_bytes(double bytes);

#endif
