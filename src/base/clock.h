/* clock.h - wall time and memory of this process. */
#ifndef CR_BASE_CLOCK_H
#define CR_BASE_CLOCK_H

#include <stdint.h>

double cr_wall_seconds(void); /* monotonic */
int64_t cr_peak_bytes(void);  /* largest resident size so far */

#endif
