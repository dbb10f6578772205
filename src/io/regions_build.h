/* regions_build.h - how a list of regions is filled; shared by regions.c and regions_file.c. */
#ifndef CR_IO_REGIONS_BUILD_H
#define CR_IO_REGIONS_BUILD_H

#include "io/regions.h"

/* One region before it is held against the contig's length. */
struct cr_span {
	const char *place; /* where it comes from, for messages: "FILE:LINE: ", or "" */
	int64_t contig, start, end;
	const char *name; /* NULL, or name_bytes bytes */
	size_t name_bytes;
	char strand; /* 0: '.' */
};

/* An empty list, or NULL. */
cr_regions *cr_regions_new(void);

/* Append; EINPUT when it ends behind the contig, unless clip, which trims it or leaves it out. */
CROCUTA_CHECKED int cr_regions_add(cr_regions *regions, const cr_contigs *contigs,
				   const struct cr_span *span, int clip, crocuta_error *error);

#endif
