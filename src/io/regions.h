/* regions.h - the -r list and the -R file: one grammar for every command.
 *
 * List: ITEM[,ITEM...] with ITEM one of NAME, NAME:POS (that one base), NAME:FROM- (to the end),
 * NAME:FROM-TO; 1-based, inclusive; thousands commas allowed; {NAME}:... for names that hold ':' or
 * ','. A text with two readings against the contigs at hand is refused.
 * File: .bed, .bed.gz, .bed.bgz are BED (0-based half-open, 3 to 12 columns, name and strand kept);
 * any other name is CHROM POS [END], 1-based inclusive. Order and duplicates are kept. */
#ifndef CR_IO_REGIONS_H
#define CR_IO_REGIONS_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

#include "io/contigs.h"

typedef struct cr_region {
	int64_t contig;     /* index into the contigs */
	int64_t start, end; /* 0-based half-open, inside the contig */
	const char *name;   /* BED column 4, or NULL */
	char strand;        /* '+', '-' or '.' */
} cr_region;

/* A list that owns its items and their names. */
typedef struct cr_regions {
	cr_region *items;
	int64_t count;
	int64_t clipped; /* regions cut, or dropped as wholly past the end, under clip */
	int64_t bases;   /* sum of lengths */
	int64_t capacity;
	struct cr_name_block *names;
} cr_regions;

/* Parse a -r list against contigs. clip: cut regions at the contig's end instead of refusing.
 * Codes: EARG for syntax and ambiguity, EINPUT for unknown contigs and coordinates off the contig,
 * EMEMORY. On failure *regions is NULL. Any thread. */
CROCUTA_CHECKED int cr_regions_parse(const cr_contigs *contigs, const char *list, int clip,
				     cr_regions **regions, crocuta_error *error);

/* Is a file of this name read as BED, 0-based half-open? Else it is CHROM POS [END] from 1. */
int cr_regions_is_bed_name(const char *path);

/* Read a -R file (plain, gzip or bgzip; "-" is standard input, 1-based). EINPUT with file:line. */
CROCUTA_CHECKED int cr_regions_read(const cr_contigs *contigs, const char *path, int clip,
				    cr_regions **regions, crocuta_error *error);

/* The same from memory; `path` is used in messages only. one_based: CHROM POS [END] instead of BED.
 */
CROCUTA_CHECKED int cr_regions_parse_text(const cr_contigs *contigs, const char *text, size_t bytes,
					  const char *path, int one_based, int clip,
					  cr_regions **regions, crocuta_error *error);

/* Every contig as a whole. */
CROCUTA_CHECKED int cr_regions_all(const cr_contigs *contigs, cr_regions **regions,
				   crocuta_error *error);

/* By contig in the order of the contigs, then by start. */
void cr_regions_sort(cr_regions *regions);

/* Sorted, with overlapping and touching regions made one: every base once. A merged region has the
 * name and strand of its first. */
void cr_regions_merge(cr_regions *regions);

/* Print one region as a list item that parses back to it; returns the bytes needed without the NUL
 * (as snprintf). */
int cr_region_print(const cr_contigs *contigs, const cr_region *region, char *out, size_t capacity);

void cr_regions_free(cr_regions *regions);

#endif
