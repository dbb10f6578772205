/* track.h - one number a base or bin along the genome: bedGraph text or bigWig.
 *
 * Values are added contig by contig, in ascending positions; a NaN is missing and leaves a gap.
 * bigWig: contigs must come in the order of the list given at the start (file order; viewers expect
 * that order to be sorted by name, readers do not need it), each in one go, shorter than 2^32. */
#ifndef CR_IO_TRACK_H
#define CR_IO_TRACK_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/atomic.h"
#include "io/contigs.h"

typedef struct cr_track cr_track;

/* bedGraph on output (plain or bgzf; caller's): neighbours that read the same in `digits` significant
 * digits are merged, so that shards put together are the whole. contigs must outlive the track. */
CROCUTA_CHECKED int cr_track_start_bedgraph(cr_output *output, const cr_contigs *contigs,
					    int digits, cr_track **track, crocuta_error *error);

/* bigWig on output, which must have been opened with `external` and not be written straight (EARG).
 * EINPUT for a contig of 2^32 bases or more. */
CROCUTA_CHECKED int cr_track_start_bigwig(cr_output *output, const cr_contigs *contigs,
					  cr_track **track, crocuta_error *error);

/* Values of [start, end) of a contig in steps of `bin` bases, the last bin cut at end:
 * ceil((end - start) / bin) values. EINTERNAL when not in order. */
CROCUTA_CHECKED int cr_track_add(cr_track *track, int64_t contig, int64_t start, int64_t end,
				 int64_t bin, const float *values, crocuta_error *error);

/* Write what is left; a bigWig is closed, opened again and compared with what was put in. The
 * output is then to be committed by the caller. */
CROCUTA_CHECKED int cr_track_finish(cr_track *track, crocuta_error *error);
void cr_track_free(cr_track *track); /* leaves the output alone */

#endif
