/* text_lines.h - a text file line by line in one pass: plain, gzip or bgzip, also from a pipe. */
#ifndef CR_IO_TEXT_LINES_H
#define CR_IO_TEXT_LINES_H

#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_text_lines cr_text_lines;

/* Open a path, or "-" for standard input. On failure *lines is NULL. EARG for a URL, EIO, EMEMORY;
 * EINPUT for bgzip without its end marker, unless allow_truncated. One thread at a time. */
CROCUTA_CHECKED int cr_text_lines_open(const char *path, int allow_truncated, cr_text_lines **lines,
				       crocuta_error *error);

/* The next line without its end (and without a carriage return before it) into *line,
 * NUL-terminated, the caller's to change until the next call; NULL at the end of the file. EINPUT
 * with file and line for damaged compression, zero bytes, lines above 64 MiB, a last line without
 * its end. */
CROCUTA_CHECKED int cr_text_lines_next(cr_text_lines *lines, char **line, int64_t *length,
				       crocuta_error *error);

int64_t cr_text_lines_number(const cr_text_lines *lines); /* of the last line, from 1 */
void cr_text_lines_close(cr_text_lines *lines);

#endif
