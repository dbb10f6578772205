/* variants.h - records of a VCF or BCF file in, the same records with new INFO tags out.
 *
 * Records, their order, samples and FORMAT pass through untouched. Nothing is delivered from a file
 * that turns out damaged or cut: truncation, a flipped bit and a text line without its end are
 * EINPUT (htslib's own tools pass over some of them), and then the output never appears. Beside
 * io/atomic this is the only file that writes VCF. htslib's types stay inside io. */
#ifndef CR_IO_VARIANTS_H
#define CR_IO_VARIANTS_H

#include <stdint.h>

#include <crocuta/error.h>

#include "io/atomic.h"
#include "io/contigs.h"

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct cr_variants cr_variants;

typedef struct cr_variants_options {
	const char *regions, *regions_file; /* by index: bcftools -r, -R */
	const char *targets, *targets_file; /* while reading: -t, -T, leading ^ */
	int regions_overlap;                /* 0, 1, 2 as bcftools; targets use it too */
	int allow_truncated;
	int64_t max_allele; /* longest REF or ALT text accepted, bytes; 0: 1 Mi */
} cr_variants_options;

/* One record, owned by whoever holds it. Strings live as long as it, and it no longer than its
 * reader. */
typedef struct cr_variant {
	const char *contig;        /* name in the file */
	int64_t contig_index;      /* in cr_variants_contigs */
	int64_t position;          /* 0-based POS; -1 for POS 0 (telomere) */
	int alleles;               /* REF and ALTs; 1 when ALT is "." */
	const char *const *allele; /* (alleles) */
	const char *id;            /* "." if none */
	int64_t bytes;             /* memory it takes, about */
	void *record;              /* htslib's */
} cr_variant;

/* Open a path or "-". EARG for contradicting options, or regions of standard input; EIO; EINPUT, a
 * file without the index that regions need among it; EMEMORY. */
CROCUTA_CHECKED int cr_variants_open(const char *path, const cr_variants_options *options,
				     cr_variants **variants, crocuta_error *error);
void cr_variants_close(cr_variants *variants);

/* Contigs of the header in order (length 0: not stated), and those met so far that it lacks. */
const cr_contigs *cr_variants_contigs(const cr_variants *variants);

/* The next record, or *variant NULL at the proven end. Freed by cr_variant_free. */
CROCUTA_CHECKED int cr_variants_next(cr_variants *variants, cr_variant **variant,
				     crocuta_error *error);
void cr_variant_free(cr_variants *variants, cr_variant *variant);

/* "vcf", "vcf.gz" or "bcf": what the input is. */
const char *cr_variants_format(const cr_variants *variants);

/* 1 when records came so far in the order an index needs. */
int cr_variants_sorted(const cr_variants *variants);

/* What a user should know of the file, one sentence, or NULL: with regions, that the index is older than
 * the file; after the end, that it was cut (allow_truncated). Valid until the next call. */
const char *cr_variants_doubt(const cr_variants *variants);

/* The header as text, "##..." lines and the "#CHROM" line; cr_free'd by the caller, NULL when
 * memory is short. */
char *cr_variants_header(const cr_variants *variants);

/* Add the header lines of `other` that `variants` lacks, so that a writer opened with `variants`
 * takes records of both. EINPUT where they define one tag or contig differently. */
CROCUTA_CHECKED int cr_variants_add_header(cr_variants *variants, const cr_variants *other,
					   crocuta_error *error);

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct cr_variants_writer cr_variants_writer;

/* A tag with a value for each ALT. */
typedef struct cr_variant_tag {
	const char *id;
	int text;                /* String instead of Float */
	const char *description; /* without quotes; escaped by the writer */
} cr_variant_tag;

/* Lines of the input that tags written over take with them. */
typedef struct cr_variants_replaced {
	const char *key, *field, *value; /* "##KEY=<...,FIELD=VALUE,...>"; key NULL: none */
	const char *along; /* key of lines that go when no other "##KEY=" line stays; or NULL */
} cr_variants_replaced;

typedef struct cr_variants_writer_options {
	const char *path;           /* or "-" */
	char type;                  /* 'v', 'z', 'b', 'u' */
	int level;                  /* of compression, 0 to 9; -1: the default */
	const char *index;          /* NULL, "csi" or "tbi"; needs 'z' or 'b', and a regular file */
	const cr_variant_tag *tags; /* (tag_count), all Number=A */
	int tag_count;
	/* Names, NULL-terminated, that tags of this kind have, written this time or not; or NULL.
	 */
	const char *const *family;
	/* Take values and header lines of `tags` and `family` out of the input; else one that the
	 * input's header has is EREFUSED. */
	int overwrite_tags;
	cr_variants_replaced replaced; /* with overwrite_tags */
	/* Source= and Version= of the tags' header lines; NULL: left out. */
	const char *source, *version;
	/* Whole header lines "##...", NULL-terminated; those of the input are kept too, unless
	 * equal. */
	const char *const *lines;
	/* Keys, NULL-terminated: "##KEY=" lines of the input left out; or NULL. */
	const char *const *drop;
	/* Adds a ##contig line for each when the input has none, under the names that the contigs
	 * met show (no lines when they show none, as with a list of names); may be NULL. Text has
	 * no line of any other contig that the input does not declare: the first records, of which
	 * one run reads more than another, do not show. BCF cannot do without one for a contig met,
	 * so that there they do show, and a contig met later is EINPUT. */
	const cr_contigs *reference;
	/* (contigs of the input) index in `reference`, -1 none; or NULL: by name. */
	const int64_t *contig_map;
	cr_output_options output;
} cr_variants_writer_options;

/* Open an output with the header of `variants`, or, with NULL, a fresh VCF 4.2 header over all
 * `reference` contigs. Call it after the first records are read, so that contigs they name are in.
 */
CROCUTA_CHECKED int cr_variants_writer_open(cr_variants *variants,
					    const cr_variants_writer_options *options,
					    cr_variants_writer **writer, crocuta_error *error);

/* Write a record with its tags, once: it is changed by it. One thread at a time for a reader and
 * its writer. floats: [float tags in order][ALTs], NaN is missing; texts: [text tags][ALTs]. With 0
 * ALTs no tag is added. */
CROCUTA_CHECKED int cr_variants_write(cr_variants_writer *writer, cr_variant *variant,
				      const float *floats, const char *const *texts,
				      crocuta_error *error);

/* The same for a record made here, under a fresh header: position 0-based, alleles[0] is REF. */
CROCUTA_CHECKED int cr_variants_write_new(cr_variants_writer *writer, int64_t reference_contig,
					  int64_t position, const char *const *alleles, int count,
					  const float *floats, const char *const *texts,
					  crocuta_error *error);

/* Write a record of another reader as it is. Its header was added (cr_variants_add_header), else
 * EINPUT for a contig, tag or sample that the writer's header lacks. */
CROCUTA_CHECKED int cr_variants_copy(cr_variants_writer *writer, cr_variants *from,
				     cr_variant *variant, crocuta_error *error);

/* Flush, check, index, rename. */
CROCUTA_CHECKED int cr_variants_writer_commit(cr_variants_writer *writer, crocuta_error *error);
void cr_variants_writer_free(cr_variants_writer *writer); /* uncommitted output is removed */

/* ---- contig names ---------------------------------------------------------------------------- */

/* Match contigs of a VCF to those of the FASTA into map (one entry a VCF contig, -1: none). rename
 * NULL or a path: two columns, VCF name and FASTA name. Exact names first; when no name at all
 * matches, "chr" added or taken away and M/MT, where stated lengths do not contradict (mitochondria
 * only where they agree). `how`: "none", "file", "add-chr", "strip-chr", constant. EINPUT for a bad
 * rename file or none that matches by any rule (the message shows both spellings), unless more
 * contigs may come: then all are -1. */
CROCUTA_CHECKED int cr_contigs_match(const cr_contigs *variants, const cr_contigs *reference,
				     const char *rename, int more_may_come, int64_t *map,
				     const char **how, crocuta_error *error);

#endif
