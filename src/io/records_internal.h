/* records_internal.h - the two readers behind records.h: text, and alignments through htslib. */
#ifndef CR_IO_RECORDS_INTERNAL_H
#define CR_IO_RECORDS_INTERNAL_H

#include <htslib/hfile.h>
#include <htslib/hts.h>

#include "io/records.h"

/* A growing run of bytes. */
struct cr_bytes {
	char *data;
	int64_t length, capacity;
};

/* Make room for `length` bytes and a NUL; EMEMORY. */
CROCUTA_CHECKED int cr_bytes_reserve(struct cr_bytes *bytes, int64_t length, crocuta_error *error);

struct cr_text;       /* records_text.c */
struct cr_alignments; /* records_alignments.c */

struct cr_records {
	char *path;
	int allow_truncated;
	int64_t max_length;
	int format;
	struct cr_text *text;
	struct cr_alignments *alignments;
	struct cr_bytes name, bases;
	cr_record record;
	cr_records_counts counts;
};

/* Take the stream over (closed on failure too). */
CROCUTA_CHECKED int cr_text_open(cr_records *records, hFILE *stream, crocuta_error *error);
CROCUTA_CHECKED int cr_alignments_open(cr_records *records, hFILE *stream, const htsFormat *format,
				       const char *reference, crocuta_error *error);

/* Fill name, bases and record.flags; *found 0 at the checked end of the input. */
CROCUTA_CHECKED int cr_text_next(cr_records *records, int *found, crocuta_error *error);
CROCUTA_CHECKED int cr_alignments_next(cr_records *records, int *found, crocuta_error *error);

void cr_text_close(struct cr_text *text);
void cr_alignments_close(struct cr_alignments *alignments);

#endif
