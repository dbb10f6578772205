/* source.h - bytes of a file by offset, whether it is plain or bgzip; the floor under reference.c.
 * A bgzip file is addressed by offsets of its uncompressed content. A .gzi is proved (rule G:
 * sizes, order, block headers; and again at every block read) before it is used; without one the
 * block headers are walked. htslib only ever inflates single blocks. */
#ifndef CR_IO_SOURCE_H
#define CR_IO_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_source cr_source;

/* Switch htslib's own messages off, once: the library reports through crocuta_error only. */
void cr_htslib_prepare(void);

/* EARG when the path is a URL: no file function of crocuta opens one. */
CROCUTA_CHECKED int cr_refuse_url(const char *path, crocuta_error *error);

/* Whole content of a small regular file, NUL appended, cr_free'd by the caller. EIO; EINPUT above
 * `limit` bytes; EMEMORY. */
CROCUTA_CHECKED int cr_read_file(const char *path, int64_t limit, char **data, int64_t *bytes,
				 crocuta_error *error);

/* Open a path, or "-" for standard input, as a stream of htslib's; URLs and the schemes of htslib
 * are not followed. *file is closed with hclose(), or by who takes it over. EARG, EIO. */
struct hFILE;
CROCUTA_CHECKED int cr_open_stream(const char *path, struct hFILE **file, crocuta_error *error);

/* EINPUT when the path is a regular file of text whose last line has no line end: text has no end
 * marker, but its last byte tells of a cut. What cannot be examined passes. */
CROCUTA_CHECKED int cr_check_last_line(const char *path, crocuta_error *error);

/* Open a regular file. gzi NULL: PATH.gzi if it exists. Codes as cr_reference_open. */
CROCUTA_CHECKED int cr_source_open(const char *path, const char *gzi, int allow_truncated,
				   cr_source **source, crocuta_error *error);
void cr_source_close(cr_source *source);

/* Bytes of (uncompressed) content. */
int64_t cr_source_size(const cr_source *source);
int cr_source_is_bgzf(const cr_source *source);
const char *cr_source_path(const cr_source *source);

/* Point *bytes at the content from offset on, *count of them, at least 1 unless offset is the end.
 * Valid until the next call. EINPUT for a damaged block, EIO. One thread at a time. */
CROCUTA_CHECKED int cr_source_view(cr_source *source, int64_t offset, const char **bytes,
				   int64_t *count, crocuta_error *error);

/* Write the block index in .gzi format to a new file. EIO. */
CROCUTA_CHECKED int cr_source_save_gzi(const cr_source *source, const char *path,
				       crocuta_error *error);

/* EINPUT when the file under the path is no longer the one opened. */
CROCUTA_CHECKED int cr_source_unchanged(const cr_source *source, crocuta_error *error);

#endif
