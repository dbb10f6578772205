/* records_text.c - FASTA and FASTQ, plain, gzip or bgzip, in one pass. Lines may have any length:
 * they are taken in as runs of a 64 KiB buffer. */
#include <string.h>

#include <htslib/bgzf.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/records_internal.h"
#include "seq/alphabet.h"

#define BUFFER_BYTES 65536
#define HEADER_LIMIT ((int64_t)1 << 20)
#define NAME_LIMIT 4096

struct cr_text {
	BGZF *stream;
	const char *path;
	int64_t line; /* number of the line last begun, from 1 */
	int64_t at, filled;
	int fastq;
	struct cr_bytes scratch; /* header, then quality */
	char buffer[BUFFER_BYTES];
};

static int fail_line(const struct cr_text *text, const char *what, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EINPUT, "%.200s:%lld: %s", text->path, (long long)text->line,
		       what);
}

/* The next byte without taking it, -1 at the end; *code is set on failure. */
static int peek_byte(struct cr_text *text, int *code, crocuta_error *error)
{
	ssize_t got;

	if (text->at < text->filled)
		return (unsigned char)text->buffer[text->at];
	got = bgzf_read(text->stream, text->buffer, BUFFER_BYTES);
	text->at = 0;
	text->filled = got > 0 ? got : 0;
	if (got > 0)
		return (unsigned char)text->buffer[0];
	if (got < 0)
		*code = cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s:%lld: reading failed behind this line; the compressed input is "
			"cut or damaged",
			text->path, (long long)text->line);
	return -1;
}

/* Append the next line without its line end to bytes, up to limit bytes in all. Sets *read to 0 at
 * the end of the input. */
static int read_line(struct cr_text *text, struct cr_bytes *bytes, int64_t limit,
		     const char *too_long, int *read, crocuta_error *error)
{
	int64_t start = bytes->length;
	int code = CROCUTA_OK;

	*read = peek_byte(text, &code, error) >= 0;
	if (!*read)
		return code;
	text->line++;
	while (peek_byte(text, &code, error) >= 0) {
		const char *from = text->buffer + text->at;
		int64_t left = text->filled - text->at;
		const char *newline = memchr(from, '\n', (size_t)left);
		int64_t count = newline ? newline - from : left;

		if (count > limit + 1 - bytes->length) /* one more for a carriage return */
			return fail_line(text, too_long, error);
		if ((code = cr_bytes_reserve(bytes, bytes->length + count, error)))
			return code;
		memcpy(bytes->data + bytes->length, from, (size_t)count);
		bytes->length += count;
		text->at += count + (newline != NULL);
		if (newline)
			break;
	}
	if (code)
		return code;
	if (bytes->length > start && bytes->data[bytes->length - 1] == '\r')
		bytes->length--;
	if (bytes->length > limit)
		return fail_line(text, too_long, error);
	return CROCUTA_OK;
}

/* Skip line ends between records; the next byte or -1. */
static int skip_blank_lines(struct cr_text *text, int *code, crocuta_error *error)
{
	int byte = peek_byte(text, code, error);

	while (byte == '\n' || byte == '\r') {
		text->line += byte == '\n';
		text->at++;
		byte = peek_byte(text, code, error);
	}
	return byte;
}

/* Read a header line, the marker being its first byte, and keep the name. */
static int read_header(cr_records *records, struct cr_text *text, crocuta_error *error)
{
	struct cr_bytes *name = &records->name;
	int64_t length = 0;
	int read, code;

	text->scratch.length = 0;
	code = read_line(text, &text->scratch, HEADER_LIMIT, "the header line is longer than 1 MiB",
			 &read, error);
	if (code)
		return code;
	while (1 + length < text->scratch.length && text->scratch.data[1 + length] != ' ' &&
	       text->scratch.data[1 + length] != '\t')
		length++;
	if (!length)
		return fail_line(text, "the header line has no name", error);
	if (length > NAME_LIMIT)
		return fail_line(text, "the name is longer than 4,096 bytes", error);
	if (memchr(text->scratch.data + 1, '\0', (size_t)length))
		return fail_line(text, "the name holds a NUL byte", error);
	if ((code = cr_bytes_reserve(name, length, error)))
		return code;
	memcpy(name->data, text->scratch.data + 1, (size_t)length);
	name->data[length] = '\0';
	name->length = length;
	return CROCUTA_OK;
}

/* Append one line of bases and check them. */
static int read_bases(cr_records *records, struct cr_text *text, crocuta_error *error)
{
	struct cr_bytes *bases = &records->bases;
	int64_t start = bases->length, good;
	int read, code;

	code = read_line(text, bases, records->max_length, "the record is longer than allowed",
			 &read, error);
	if (code)
		return code;
	good = start + cr_bases_check(bases->data + start, bases->length - start);
	if (good < bases->length)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s:%lld: record \"%.80s\" base %lld: byte 0x%02x is not a "
			       "nucleotide code",
			       text->path, (long long)text->line, records->name.data,
			       (long long)good + 1, (unsigned char)bases->data[good]);
	return CROCUTA_OK;
}

static int read_fasta(cr_records *records, struct cr_text *text, crocuta_error *error)
{
	int64_t header;
	int code = read_header(records, text, error), byte;

	header = text->line;
	records->bases.length = 0;
	while (!code && (byte = peek_byte(text, &code, error)) >= 0 && byte != '>')
		code = read_bases(records, text, error);
	if (!code && !records->bases.length)
		code = cr_fail(error, CROCUTA_EINPUT,
			       "%.200s:%lld: \"%.80s\" is a header without sequence", text->path,
			       (long long)header, records->name.data);
	return code;
}

/* Quality: as many characters as bases, in any number of lines. */
static int read_quality(cr_records *records, struct cr_text *text, crocuta_error *error)
{
	struct cr_bytes *quality = &text->scratch;
	int64_t length = records->bases.length;
	int read = 1, code;

	quality->length = 0;
	do {
		code = read_line(text, quality, length, "the quality is longer than the sequence",
				 &read, error);
	} while (!code && read && quality->length < length);
	if (!code && quality->length < length)
		code = cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s:%lld: read \"%.80s\" has %lld bases and %lld quality values; the "
			"file is cut",
			text->path, (long long)text->line, records->name.data, (long long)length,
			(long long)quality->length);
	for (int64_t i = 0; !code && i < length; i++)
		if (quality->data[i] < 33 || quality->data[i] > 126)
			code = fail_line(text, "the quality holds a byte outside '!' to '~'",
					 error);
	return code;
}

static int read_fastq(cr_records *records, struct cr_text *text, crocuta_error *error)
{
	int code = read_header(records, text, error), byte = -1, read;

	records->bases.length = 0;
	while (!code && (byte = peek_byte(text, &code, error)) >= 0 && byte != '+')
		code = read_bases(records, text, error);
	if (!code && byte != '+')
		code = cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s:%lld: read \"%.80s\" ends without its '+' line; the file is cut",
			text->path, (long long)text->line, records->name.data);
	text->scratch.length = 0;
	if (!code)
		code = read_line(text, &text->scratch, HEADER_LIMIT,
				 "the '+' line is longer than 1 MiB", &read, error);
	return code ? code : read_quality(records, text, error);
}

static int check_end_marker(const cr_records *records, const struct cr_text *text,
			    crocuta_error *error)
{
	const BGZF *stream = text->stream;

	if (records->allow_truncated || !stream->is_compressed || stream->is_gzip ||
	    !stream->no_eof_block)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: no BGZF end marker; the file was cut, copy it again "
		       "(--allow-truncated reads what is there)",
		       text->path);
}

int cr_text_next(cr_records *records, int *found, crocuta_error *error)
{
	struct cr_text *text = records->text;
	int code = CROCUTA_OK, byte;

	*found = 0;
	for (;;) {
		byte = skip_blank_lines(text, &code, error);
		if (code)
			return code;
		if (byte < 0)
			return check_end_marker(records, text, error);
		if (byte != (text->fastq ? '@' : '>')) {
			text->line++;
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s:%lld: byte 0x%02x where a '%c' should begin the "
				       "next record",
				       text->path, (long long)text->line, (unsigned)byte,
				       text->fastq ? '@' : '>');
		}
		code = text->fastq ? read_fastq(records, text, error)
				   : read_fasta(records, text, error);
		if (code)
			return code;
		if (records->bases.length)
			break;
		records->counts.no_sequence++; /* a read trimmed to nothing */
	}
	if ((code = cr_bytes_reserve(&records->bases, records->bases.length, error)))
		return code;
	records->bases.data[records->bases.length] = '\0';
	*found = 1;
	return CROCUTA_OK;
}

int cr_text_open(cr_records *records, hFILE *stream, crocuta_error *error)
{
	struct cr_text *text = cr_calloc(1, sizeof *text);
	int code = CROCUTA_OK, byte;

	if (!text || !(text->stream = bgzf_hopen(stream, "r"))) {
		cr_free(text);
		hclose_abruptly(stream);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to read it",
			       records->path);
	}
	records->text = text;
	text->path = records->path;
	if (text->stream->is_compressed && !text->stream->is_gzip && !records->allow_truncated &&
	    bgzf_check_EOF(text->stream) == 0)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: no BGZF end marker; the file was cut, copy it again "
			       "(--allow-truncated reads what is there)",
			       records->path);
	byte = skip_blank_lines(text, &code, error);
	if (code)
		return code;
	if (byte < 0)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: the input is empty", records->path);
	if (byte != '>' && byte != '@')
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s:%lld: begins with byte 0x%02x; sequences come as FASTA ('>'), "
			"FASTQ ('@'), SAM, BAM or CRAM",
			records->path, (long long)text->line + 1, (unsigned)byte);
	text->fastq = byte == '@';
	records->format = text->fastq ? CR_RECORDS_FASTQ : CR_RECORDS_FASTA;
	return CROCUTA_OK;
}

void cr_text_close(struct cr_text *text)
{
	if (!text)
		return;
	bgzf_close(text->stream);
	cr_free(text->scratch.data);
	cr_free(text);
}
