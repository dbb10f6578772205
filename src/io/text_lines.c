/* text_lines.c - see text_lines.h. */
#include "io/text_lines.h"

#include <string.h>

#include <htslib/bgzf.h>
#include <htslib/hfile.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/source.h"

#define BUFFER_BYTES 65536
#define LINE_LIMIT ((int64_t)64 << 20)

struct cr_text_lines {
	BGZF *stream;
	char *path;
	int64_t number;
	int64_t at, filled; /* of buffer */
	char *line;
	int64_t length, capacity; /* of line */
	char buffer[BUFFER_BYTES];
};

int cr_text_lines_open(const char *path, int allow_truncated, cr_text_lines **lines,
		       crocuta_error *error)
{
	cr_text_lines *made;
	hFILE *file;
	int code = cr_open_stream(path, &file, error);

	*lines = NULL;
	if (code)
		return code;
	made = cr_calloc(1, sizeof *made);
	if (made)
		made->path = cr_strdup(strcmp(path, "-") ? path : "standard input");
	if (!made || !made->path || !(made->stream = bgzf_hopen(file, "r"))) {
		hclose_abruptly(file);
		cr_text_lines_close(made);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to read it", path);
	}
	if (made->stream->is_compressed && !made->stream->is_gzip && !allow_truncated &&
	    bgzf_check_EOF(made->stream) == 0) {
		cr_text_lines_close(made);
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: no BGZF end marker; the file was cut, copy it again "
			       "(--allow-truncated reads what is there)",
			       path);
	}
	*lines = made;
	return CROCUTA_OK;
}

void cr_text_lines_close(cr_text_lines *lines)
{
	if (!lines)
		return;
	if (lines->stream)
		bgzf_close(lines->stream);
	cr_free(lines->path);
	cr_free(lines->line);
	cr_free(lines);
}

int64_t cr_text_lines_number(const cr_text_lines *lines)
{
	return lines->number;
}

static int fail_line(const cr_text_lines *lines, const char *what, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EINPUT, "%.200s:%lld: %s", lines->path,
		       (long long)lines->number, what);
}

static int fill(cr_text_lines *lines, crocuta_error *error)
{
	ssize_t got = bgzf_read(lines->stream, lines->buffer, BUFFER_BYTES);

	lines->at = 0;
	lines->filled = got > 0 ? got : 0;
	if (got >= 0)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s:%lld: reading failed behind this line; the compressed input is cut "
		       "or damaged",
		       lines->path, (long long)lines->number);
}

/* Append bytes to the line, which is kept NUL-terminated. */
static int append(cr_text_lines *lines, const char *bytes, int64_t count, crocuta_error *error)
{
	int64_t needed = lines->length + count + 1;

	if (needed > LINE_LIMIT)
		return fail_line(lines, "the line is longer than 64 MiB", error);
	if (needed > lines->capacity) {
		char *line = cr_realloc(lines->line, (size_t)(2 * needed), 1);

		if (!line)
			return cr_fail(error, CROCUTA_EMEMORY,
				       "%.200s:%lld: no memory for the line", lines->path,
				       (long long)lines->number);
		lines->line = line;
		lines->capacity = 2 * needed;
	}
	memcpy(lines->line + lines->length, bytes, (size_t)count);
	lines->length += count;
	lines->line[lines->length] = '\0';
	return CROCUTA_OK;
}

/* Up to the next line end; *ended 0 when the input ends before one. */
static int take_line(cr_text_lines *lines, int *ended, crocuta_error *error)
{
	int code = CROCUTA_OK;

	*ended = 0;
	while (!code && !*ended) {
		const char *from = lines->buffer + lines->at, *newline;
		int64_t count = lines->filled - lines->at;

		if (!count) {
			code = fill(lines, error);
			if (!code && !lines->filled)
				break;
			continue;
		}
		newline = memchr(from, '\n', (size_t)count);
		*ended = newline != NULL;
		count = newline ? newline - from : count;
		code = append(lines, from, count, error);
		lines->at += count + (newline != NULL);
	}
	return code;
}

int cr_text_lines_next(cr_text_lines *lines, char **line, int64_t *length, crocuta_error *error)
{
	int ended, code;

	*line = NULL;
	*length = 0;
	lines->length = 0;
	lines->number++;
	code = take_line(lines, &ended, error);
	if (code)
		return code;
	if (!ended && !lines->length) {
		lines->number--;
		return CROCUTA_OK;
	}
	if (!ended)
		return fail_line(lines,
				 "the last line has no line end: the file is cut short, or add one",
				 error);
	if (lines->length && memchr(lines->line, '\0', (size_t)lines->length))
		return fail_line(lines, "the line holds a zero byte; the file is damaged", error);
	if (lines->length && lines->line[lines->length - 1] == '\r')
		lines->line[--lines->length] = '\0';
	*line = lines->line;
	*length = lines->length;
	return CROCUTA_OK;
}
