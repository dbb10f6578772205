/* alleles.h - what an ALT does to the sequence, whatever its spelling, read along one strand.
 *
 * Two haplotypes, reference and alternative, are read in one direction. They agree up to a first
 * position that differs; from there on the alternative has `inserted` and then the reference again,
 * `removed` bases later. That position and those bases follow from the haplotypes alone: shared ends
 * are trimmed and an indel is moved as far as it goes in reading direction, so every spelling
 * of one change gives the same answer. */
#ifndef CR_SEQ_ALLELES_H
#define CR_SEQ_ALLELES_H

#include <stdint.h>

#include <crocuta/error.h>

/* What kind of text an ALT is. */
enum cr_allele_kind {
	CR_ALLELE_BASES,    /* A C G T only, either case */
	CR_ALLELE_NONACGT,  /* letters, but N or IUPAC among them; or anything else not below */
	CR_ALLELE_STAR,     /* "*" */
	CR_ALLELE_REFBLOCK, /* <*>, <NON_REF>, <X> of old samtools */
	CR_ALLELE_SYMBOLIC, /* any other <...> */
	CR_ALLELE_BREAKEND, /* has [ or ], or begins or ends with "." beside bases */
	CR_ALLELE_MISSING   /* "." */
};

/* Of an ALT; a REF uses only BASES and NONACGT. */
enum cr_allele_kind cr_allele_kind(const char *text);

/* Copy upper-case bases [start, end) of the contig (forward coordinates) to out. */
typedef int cr_bases_fn(void *user, int64_t start, int64_t end, char *out, crocuta_error *error);

/* One change along one strand. Positions count in reading direction from the strand's first base:
 * forward x, reverse contig_length - 1 - x. */
typedef struct cr_allele {
	int64_t at;       /* first position where the haplotypes differ */
	int64_t removed;  /* reference bases taken out from there */
	int64_t inserted; /* bases put in */
	char *bases;      /* (inserted) in reading direction (complemented on the reverse strand); the
			     caller's buffer, see below */
} cr_allele;

/* Find it. position: 0-based first base of ref on the contig; ref and alt hold A C G T in either
 * case and differ; ref agrees with the contig and lies inside. bases: room for strlen(alt) bytes,
 * stays referenced by *allele. fetch is asked for pieces of the contig beside the record. The
 * return is that of fetch when it fails, else 0. Any thread. */
CROCUTA_CHECKED int cr_allele_find(const char *ref, const char *alt, int64_t position,
				   int64_t contig_length, int reverse, cr_bases_fn *fetch,
				   void *user, char *bases, cr_allele *allele,
				   crocuta_error *error);

/* ---- where its window lies ------------------------------------------------------------------- */

typedef struct cr_placement {
	int64_t window;  /* W */
	int64_t readout; /* R, 1 .. W - 1 */
	int64_t step;    /* of the grid, 1 .. W - R */
	int fixed;       /* W - R positions before every change, instead of the grid */
	int rest;        /* grid: compare to the window's end; R is then the least of it. (With fixed
			    the rest of the window is R itself.) */
} cr_placement;

typedef struct cr_placed {
	int64_t start, end; /* the window, reading coordinates, inside the contig: fixed, at most up to
			       at + count; grid, the whole grid window cut at the contig's end */
	int64_t count;      /* T: positions compared from `at` on, equal for both haplotypes, inside
			       the window; 0: nothing can be compared */
	int edge;           /* the contig's ends took context or positions away: fewer than W - R (grid:
			       W - R - step + 1) positions before, or fewer than R compared */
} cr_placed;

/* Place a change at `at` on a strand of `length` bases; the alternative haplotype has length -
 * removed + inserted. Grid window k is [k step, k step + W); taken is the one of smallest k with
 * k step + W >= at + min(R, what the contig allows). Pure. */
cr_placed cr_place(const cr_placement *placement, int64_t length, const cr_allele *allele);

#endif
