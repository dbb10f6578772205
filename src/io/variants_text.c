/* variants_text.c - lines of a VCF. htslib's own line readers pass over an error in the middle and
 * over a last line without its end; this one looks at the blocks itself. */
#include <stdio.h>
#include <string.h>

#include <htslib/hfile.h>

#include "base/error.h"
#include "io/source.h"
#include "io/variants_internal.h"

#define LINE_LIMIT ((size_t)1 << 30)

/* Where in the first five columns the bytes read so far end. */
struct columns {
	int column;
	int64_t item; /* bytes of the column, or of one ALT */
};

static const char *const column_names[] = {"CHROM", "POS", "ID", "REF", "ALT"};

int cr_open_text(const char *path, BGZF **stream, crocuta_error *error)
{
	hFILE *file;
	int code = cr_open_stream(path, &file, error);

	if (code)
		return code;
	*stream = bgzf_hopen(file, "r");
	if (*stream)
		return CROCUTA_OK;
	hclose_abruptly(file);
	return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read",
			     strcmp(path, "-") ? path : "standard input");
}

int cr_variants_fail(const cr_variants *variants, const char *what, crocuta_error *error)
{
	const char *way = variants->file || variants->walk.on ? ": record " : ":";

	return cr_fail(error, CROCUTA_EINPUT, "%.200s%s%lld: %s", variants->shown, way,
		       (long long)variants->number, what);
}

static int fail_item(const cr_variants *variants, const struct columns *columns, const char *what,
		     crocuta_error *error)
{
	char text[160];

	snprintf(text, sizeof text, "%s%s %s", columns->column == 4 ? "an " : "",
		 column_names[columns->column], what);
	return cr_variants_fail(variants, text, error);
}

/* Look at new bytes. An item that is too long is not taken in to its end, and htslib would read an
 * empty one, or the byte 7, as ".". */
static int scan(const cr_variants *variants, struct columns *columns, const char *bytes,
		size_t count, crocuta_error *error)
{
	char what[80];

	for (size_t i = 0; i < count && columns->column < 5; i++) {
		int tab = bytes[i] == '\t';

		if (!tab && !(bytes[i] == ',' && columns->column == 4)) {
			if ((unsigned char)bytes[i] < ' ')
				return fail_item(variants, columns, "holds a control byte", error);
			columns->item++;
			continue;
		}
		if (!columns->item)
			return fail_item(variants, columns, "is empty", error);
		if (columns->item > variants->max_allele)
			break;
		columns->column += tab;
		columns->item = 0;
	}
	if (columns->item <= variants->max_allele)
		return CROCUTA_OK;
	snprintf(what, sizeof what, "is longer than %lld bytes", (long long)variants->max_allele);
	return fail_item(variants, columns, what, error);
}

int cr_variants_cut_is_fine(cr_variants *variants)
{
	const BGZF *stream = variants->stream;
	char byte;

	if (!variants->allow_truncated || !stream->is_compressed ||
	    (stream->errcode & BGZF_ERR_CRC) || hpeek(stream->fp, &byte, 1) != 0)
		return 0;
	variants->cut = 1;
	return 1;
}

static int fail_read(const cr_variants *variants, crocuta_error *error)
{
	const BGZF *stream = variants->stream;

	if (!stream->is_compressed)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", variants->shown);
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: %s behind line %lld cannot be decompressed; the file is cut or "
		       "damaged, fetch it again",
		       variants->shown, stream->is_gzip ? "gzip data" : "a BGZF block",
		       (long long)variants->number);
}

int cr_variants_check_end(const cr_variants *variants, crocuta_error *error)
{
	const BGZF *stream = variants->stream;

	if (variants->allow_truncated || !stream->is_compressed || stream->is_gzip ||
	    !stream->no_eof_block)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: no BGZF end marker; the file was cut, copy it again "
		       "(--allow-truncated reads what is there)",
		       variants->shown);
}

/* The stream is over, in the middle of a line or between two. */
static int end_of_stream(cr_variants *variants, crocuta_error *error)
{
	int code = cr_variants_check_end(variants, error);

	if (code || !variants->line.l)
		return code;
	variants->cut = 1;
	if (variants->allow_truncated)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s:%lld: the last line has no line end; the file was cut, copy it "
		       "again",
		       variants->shown, (long long)variants->number);
}

int cr_variants_read_line(cr_variants *variants, int columns, int *found, crocuta_error *error)
{
	BGZF *stream = variants->stream;
	kstring_t *line = &variants->line;
	struct columns at = {columns ? 0 : 5, 0};
	const char *newline = NULL;
	int code;

	*found = 0;
	line->l = 0;
	while (!newline) {
		const char *from;
		size_t count;

		if (stream->block_offset >= stream->block_length) {
			if (bgzf_read_block(stream))
				return cr_variants_cut_is_fine(variants)
					       ? CROCUTA_OK
					       : fail_read(variants, error);
			if (!stream->block_length)
				return end_of_stream(variants, error);
		}
		if (!line->l)
			variants->number++;
		from = (const char *)stream->uncompressed_block + stream->block_offset;
		count = (size_t)(stream->block_length - stream->block_offset);
		newline = memchr(from, '\n', count);
		if (newline)
			count = (size_t)(newline - from);
		if ((code = scan(variants, &at, from, count, error)))
			return code;
		if (line->l + count > LINE_LIMIT)
			return cr_variants_fail(variants, "the line is longer than 1 GiB", error);
		if (kputsn(from, count, line) < 0)
			return cr_fail(error, CROCUTA_EMEMORY,
				       "%.200s: no memory for a line of %lld bytes",
				       variants->shown, (long long)(line->l + count));
		stream->block_offset += (int)count + (newline != NULL);
		if (stream->block_offset >= stream->block_length) {
			stream->block_address = htell(stream->fp);
			stream->block_offset = stream->block_length = 0;
		}
	}
	if (line->l && line->s[line->l - 1] == '\r')
		line->s[--line->l] = '\0';
	if (line->l && memchr(line->s, '\0', line->l))
		return cr_variants_fail(variants, "the line holds a NUL byte", error);
	*found = 1;
	return CROCUTA_OK;
}
