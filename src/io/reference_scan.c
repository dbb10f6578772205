/* reference_scan.c - index a FASTA by reading it: contigs with lines of one length get the formula,
 * others a checkpoint every CR_CHECKPOINT bases, so any layout is served at a bounded cost. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/reference_index.h"

struct scan {
	struct cr_index *index;
	const char *path;
	crocuta_error *error;
	int64_t number; /* of the line being read, from 1 */
	/* the line being read, which may span several blocks */
	int64_t line_start, line_bytes;
	int is_header, ends_in_cr;
	int name_done;
	/* the contig being read */
	int open;
	char name[CR_NAME_LIMIT + 1];
	size_t name_bytes;
	struct cr_place place;
	int64_t length, checkpoint_count, checkpoint_capacity;
	int irregular;
	int ended; /* a short line or a blank one was seen: it must be the last */
};

static int fail_at(const struct scan *scan, int64_t line, const char *what)
{
	return cr_fail(scan->error, CROCUTA_EINPUT, "%.200s:%lld: %s", scan->path, (long long)line,
		       what);
}

static int add_checkpoint(struct scan *scan, int64_t offset)
{
	if (scan->checkpoint_count == scan->checkpoint_capacity) {
		int64_t capacity = scan->checkpoint_capacity * 2 + 16;
		int64_t *grown =
			cr_realloc(scan->place.checkpoints, (size_t)capacity, sizeof *grown);

		if (!grown)
			return cr_fail(scan->error, CROCUTA_EMEMORY,
				       "%.200s: no memory to index it", scan->path);
		scan->place.checkpoints = grown;
		scan->checkpoint_capacity = capacity;
	}
	scan->place.checkpoints[scan->checkpoint_count++] = offset;
	return CROCUTA_OK;
}

static int close_contig(struct scan *scan)
{
	int64_t other;
	int code;

	if (!scan->open)
		return CROCUTA_OK;
	scan->name[scan->name_bytes] = '\0';
	if (!scan->length)
		return cr_fail(scan->error, CROCUTA_EINPUT,
			       "%.200s:%lld: \"%.80s\" is a header without sequence", scan->path,
			       (long long)scan->place.line, scan->name);
	other = cr_contigs_find(scan->index->contigs, scan->name, scan->name_bytes);
	if (other >= 0)
		return cr_fail(scan->error, CROCUTA_EINPUT,
			       "%.200s:%lld: the name \"%.80s\" was used in line %lld already",
			       scan->path, (long long)scan->place.line, scan->name,
			       (long long)scan->index->places[other].line);
	if (!scan->irregular) {
		cr_free(scan->place.checkpoints);
		scan->place.checkpoints = NULL;
	}
	code = cr_index_add(scan->index, scan->name, scan->name_bytes, scan->length, &scan->place,
			    scan->error);
	if (!code)
		scan->place.checkpoints = NULL; /* handed over */
	return code;
}

static int open_contig(struct scan *scan)
{
	int code = close_contig(scan);

	if (code)
		return code;
	scan->open = 1;
	scan->place = (struct cr_place){.line = scan->number};
	scan->length = scan->checkpoint_count = scan->checkpoint_capacity = 0;
	scan->irregular = scan->ended = 0;
	return CROCUTA_OK;
}

/* Take in a whole sequence line of `count` bases; width counts its line end, 0 at the file's end.
 */
static int end_sequence_line(struct scan *scan, int64_t count, int64_t width)
{
	int64_t first = (scan->length + CR_CHECKPOINT - 1) / CR_CHECKPOINT * CR_CHECKPOINT;
	int code;

	if (!count) {
		scan->ended = 1;
		return CROCUTA_OK;
	}
	if (!scan->open) {
		return fail_at(scan, scan->number,
			       "there is sequence before the first header line");
	}
	if (scan->ended)
		scan->irregular = 1;
	if (!scan->length) {
		scan->place.offset = scan->line_start;
		scan->place.bases = count;
		scan->place.width = width ? width : count;
		scan->irregular = scan->ended; /* blank lines before the first */
	} else if (count > scan->place.bases) {
		scan->irregular = 1;
	} else if (count < scan->place.bases) {
		scan->ended = 1;
	} else if (width && width != scan->place.width) {
		scan->irregular = 1;
	}
	for (int64_t base = first; base < scan->length + count; base += CR_CHECKPOINT)
		if ((code = add_checkpoint(scan, scan->line_start + base - scan->length)))
			return code;
	scan->length += count;
	return CROCUTA_OK;
}

static int end_line(struct scan *scan, int with_newline)
{
	int64_t count = scan->line_bytes - scan->ends_in_cr;
	int code = CROCUTA_OK;

	if (scan->is_header) {
		if (!scan->name_bytes)
			code = fail_at(scan, scan->number, "the header line has no name");
	} else {
		code = end_sequence_line(scan, count, with_newline ? scan->line_bytes + 1 : 0);
	}
	scan->line_bytes = 0;
	scan->is_header = scan->ends_in_cr = scan->name_done = 0;
	scan->number++;
	return code;
}

static int add_to_name(struct scan *scan, const char *bytes, int64_t count)
{
	for (int64_t i = 0; i < count && !scan->name_done; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (byte == ' ' || byte == '\t' || byte == '\r') {
			scan->name_done = 1;
		} else if (!byte) {
			return fail_at(scan, scan->number, "the header line holds a NUL byte");
		} else if (scan->name_bytes == CR_NAME_LIMIT) {
			return fail_at(scan, scan->number, "the name is longer than 4,096 bytes");
		} else {
			scan->name[scan->name_bytes++] = (char)byte;
		}
	}
	return CROCUTA_OK;
}

/* Take in part of a line (no newline in it). */
static int add_part(struct scan *scan, int64_t offset, const char *bytes, int64_t count)
{
	int code = CROCUTA_OK;

	if (!count)
		return CROCUTA_OK;
	if (scan->ends_in_cr && !scan->is_header)
		return fail_at(scan, scan->number, "a carriage return stands inside the line");
	if (!scan->line_bytes) {
		scan->line_start = offset;
		scan->is_header = *bytes == '>';
		if (scan->is_header) {
			if ((code = open_contig(scan)))
				return code;
			scan->name_bytes = 0;
		} else if (!scan->open && *bytes != '\r') {
			unsigned char byte = (unsigned char)*bytes;

			return cr_fail(
				scan->error, CROCUTA_EINPUT,
				"%.200s:%lld: byte 0x%02x ('%c') stands before the first '>'; "
				"this is not FASTA",
				scan->path, (long long)scan->number, byte,
				byte > 32 && byte < 127 ? byte : '?');
		}
	}
	if (scan->is_header)
		code = add_to_name(scan, bytes + !scan->line_bytes, count - !scan->line_bytes);
	else if (memchr(bytes, '\r', (size_t)count - 1))
		code = fail_at(scan, scan->number, "a carriage return stands inside the line");
	scan->ends_in_cr = bytes[count - 1] == '\r';
	scan->line_bytes += count;
	return code;
}

static int scan_block(struct scan *scan, int64_t offset, const char *bytes, int64_t count)
{
	const char *at = bytes, *end = bytes + count;
	int code = CROCUTA_OK;

	while (!code && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline ? newline : end;

		code = add_part(scan, offset + (at - bytes), at, stop - at);
		if (!code && newline)
			code = end_line(scan, 1);
		at = stop + 1;
	}
	return code;
}

int cr_index_scan(struct cr_index *index, cr_source *source, crocuta_error *error)
{
	struct scan *scan = cr_calloc(1, sizeof *scan);
	int64_t offset = 0, size = cr_source_size(source);
	int code = CROCUTA_OK;

	if (!scan)
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to index it",
			       cr_source_path(source));
	scan->index = index;
	scan->path = cr_source_path(source);
	scan->error = error;
	scan->number = 1;
	while (!code && offset < size) {
		const char *bytes;
		int64_t count;

		code = cr_source_view(source, offset, &bytes, &count, error);
		if (!code)
			code = scan_block(scan, offset, bytes, count);
		offset += count;
	}
	if (!code && scan->line_bytes)
		code = end_line(scan, 0);
	if (!code)
		code = close_contig(scan);
	if (!code && !cr_contigs_count(index->contigs))
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: holds no sequence", scan->path);
	cr_free(scan->place.checkpoints);
	cr_free(scan);
	return code;
}
