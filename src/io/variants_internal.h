/* variants_internal.h - what the parts of variants.h share: the reader's state, lists of intervals.
 */
#ifndef CR_IO_VARIANTS_INTERNAL_H
#define CR_IO_VARIANTS_INTERNAL_H

#define HTS_ALLOW_UNALIGNED                                                                        \
	0 /* else inline functions of htslib read at any address, undefined in C */
#include <htslib/bgzf.h>
#include <htslib/hts.h>
#include <htslib/tbx.h>
#include <htslib/vcf.h>

#include "io/variants.h"

/* ---- lists of regions or targets (variants_regions.c) ---------------------------------------- */

struct cr_interval {
	int64_t start, end; /* 0-based half-open */
};

/* Disjoint intervals in ascending order of one contig. */
struct cr_interval_run {
	int64_t contig, first, count;
};

struct cr_intervals {
	cr_contigs *names; /* those the list could name */
	struct cr_interval *items;
	struct cr_interval_run *runs; /* (run_count), contigs in the order of the list */
	int64_t run_count;
	int64_t *run_of; /* (names) or -1 */
	int complement;
};

/* The bases a record stands for: first and last one, last < first for an insertion between them. */
struct cr_extent {
	int64_t first, last;
};

struct cr_extent cr_variant_extent(bcf1_t *record, int overlap);

/* Does some interval [from, to) of the run hold a part of the extent? */
int cr_intervals_hit(const struct cr_intervals *intervals, int64_t first, int64_t count,
		     struct cr_extent extent);

/* Fill from a list or a file, one of them NULL. known: contigs of the header and of the index; with
 * none at all the names in the list are believed. */
CROCUTA_CHECKED int cr_intervals_open(const cr_contigs *known, const char *list, const char *file,
				      struct cr_intervals *intervals, crocuta_error *error);
void cr_intervals_close(struct cr_intervals *intervals);

/* ---- the reader ------------------------------------------------------------------------------ */

/* Where a walk through the index stands. */
struct cr_walk {
	int on;
	hts_idx_t *index; /* of a BCF */
	tbx_t *tabix;     /* of a VCF; one of the two */
	struct cr_intervals regions;
	int64_t run, item; /* the region being read */
	hts_itr_t *chunks; /* NULL: it is not begun */
	int chunk;
};

struct cr_variants {
	char *path, *shown; /* as given; for messages */
	int allow_truncated, overlap;
	int64_t max_allele;
	const char *format;
	htsFile *file; /* BCF; owns the stream */
	BGZF *stream;
	bcf_hdr_t *header; /* grows: htslib adds what records use and the header lacks */
	char *text;        /* the header as it came */
	kstring_t line;
	int64_t number;      /* line of a VCF, record of a BCF last begun, from 1 */
	cr_contigs *contigs; /* by index ... */
	int64_t *index_of;   /* ... which is this for htslib's contig number (rids), or -1 */
	int64_t rids, rid_capacity;
	int64_t declared; /* contigs in the input's own header */
	int hrecs;        /* header records in it */
	/* order of the records handed over */
	unsigned char *seen; /* (rid_capacity) contigs begun */
	int64_t last_rid, last_position;
	int unsorted;
	int cut;       /* ended early, which was allowed */
	int old_index; /* older than the file */
	struct cr_intervals targets;
	int has_targets;
	struct cr_walk walk;
};

/* A record as it is handed out. */
struct cr_held_variant {
	cr_variant variant; /* first: one is cast to the other */
	const cr_variants *owner;
};

/* Read the stream's header into variants->header and ->text (variants_header.c). EINPUT. */
CROCUTA_CHECKED int cr_variants_read_header(cr_variants *variants, crocuta_error *error);

/* Next line of the stream without its end into variants->line; *found 0 at the proven end. columns:
 * the first five are held against max_allele as they come (variants_text.c). EINPUT. */
CROCUTA_CHECKED int cr_variants_read_line(cr_variants *variants, int columns, int *found,
					  crocuta_error *error);

/* Did the stream end where its marker says so? Or: can a failed read be put down to a cut that was
 * allowed? */
CROCUTA_CHECKED int cr_variants_check_end(const cr_variants *variants, crocuta_error *error);
int cr_variants_cut_is_fine(cr_variants *variants);

/* Take in contigs that the header has got since; or, of a writer's lines, only when they are met:
 * so the list is in the order of meeting, whenever a writer is opened. */
CROCUTA_CHECKED int cr_variants_extend_contigs(cr_variants *variants, int are_met,
					       crocuta_error *error);

/* Next record of the file, whatever the filters; *found 0 at the proven end (variants_read.c). */
CROCUTA_CHECKED int cr_variants_read_record(cr_variants *variants, bcf1_t *record, int *found,
					    crocuta_error *error);

/* Load the index and the regions; the next record that lies in them (variants_regions.c). */
CROCUTA_CHECKED int cr_walk_open(cr_variants *variants, const char *regions,
				 const char *regions_file, crocuta_error *error);
CROCUTA_CHECKED int cr_walk_next(cr_variants *variants, bcf1_t *record, int *found,
				 crocuta_error *error);
void cr_walk_close(struct cr_walk *walk);

/* Open a text, plain or compressed, or "-"; bgzf_close closes it. EARG, EIO. */
CROCUTA_CHECKED int cr_open_text(const char *path, BGZF **stream, crocuta_error *error);

/* One of the names that the mitochondrion goes by (contig_match.c). */
int cr_is_mitochondrion(const char *name);

/* Fail with "PATH:LINE: what" or "PATH: record N: what". */
int cr_variants_fail(const cr_variants *variants, const char *what, crocuta_error *error);

#endif
