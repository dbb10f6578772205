/* variants_write_internal.h - the writer's state, shared by variants_write*.c. */
#ifndef CR_IO_VARIANTS_WRITE_INTERNAL_H
#define CR_IO_VARIANTS_WRITE_INTERNAL_H

#include "io/variants_internal.h"

#define CR_BGZF_CONTENT 0xff00 /* of a block, as htslib writes them */
#define CR_TBI_LONGEST ((int64_t)1 << 29)

/* A tag of ours. */
struct cr_tag_place {
	int id; /* in the header's dictionary */
	int text;
};

/* A tag of the input that is not written but would be taken for ours. */
struct cr_stale_tag {
	char *name;
	int id; /* -1: the dictionary lacks it so far */
};

struct cr_variants_writer {
	char *path;
	char type; /* 'v', 'z', 'b', 'u' */
	int level;
	cr_output_set *set;
	cr_output *data, *index;
	int tbi;
	cr_variants *variants; /* or NULL */
	bcf_hdr_t *header;     /* that of variants, else its own */
	int written[2]; /* entries of the dictionaries BCF_DT_ID and _CTG that the file has */
	struct cr_tag_place *tags;
	int tag_count, float_tags, overwrite;
	struct cr_stale_tag *stale;
	int stale_count, known; /* known: entries of BCF_DT_ID when their ids were looked up */
	kstring_t line;
	float *values;
	int64_t value_capacity;
	char *block; /* content of the BGZF block being filled */
	size_t used;
	/* order, for an index */
	cr_contigs *met;
	int64_t last_contig, last_position;
	/* the other reader that records were last copied from, and its dictionaries then */
	const cr_variants *from;
	int from_entries[2];
};

static inline int cr_is_binary(const cr_variants_writer *writer)
{
	return writer->type == 'b' || writer->type == 'u';
}

/* Add to the header what options ask for; writer->tags, ->header are set. EARG, EREFUSED, EINPUT,
 * EMEMORY (variants_write_header.c). */
CROCUTA_CHECKED int cr_variants_make_header(cr_variants_writer *writer,
					    const cr_variants_writer_options *options,
					    kstring_t *text, crocuta_error *error);

/* Give bytes to the output, compressed or not (variants_write.c). */
CROCUTA_CHECKED int cr_variants_put(cr_variants_writer *writer, const char *bytes, size_t count,
				    crocuta_error *error);

/* Write a record whose numbers are those of `header`. */
CROCUTA_CHECKED int cr_variants_put_record(cr_variants_writer *writer, const bcf_hdr_t *header,
					   bcf1_t *record, crocuta_error *error);

/* Call visit for every dictionary number in FILTER, INFO and FORMAT until it returns other than 0,
 * which is then returned. */
typedef int cr_number_fn(void *user, int number);
int cr_variants_visit_numbers(const bcf1_t *record, cr_number_fn *visit, void *user);

#endif
