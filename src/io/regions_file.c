/* regions_file.c - region files: BED, and CHROM POS [END]; see regions.h. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <htslib/bgzf.h>
#include <htslib/hfile.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"
#include "io/regions_build.h"
#include "io/source.h"

#define LINE_LIMIT ((size_t)1 << 20)
#define FIELDS 13 /* one more than BED has */

struct reader {
	const cr_contigs *contigs;
	const char *path;
	int one_based, clip;
	int64_t number; /* of the line, from 1 */
	cr_regions *regions;
	crocuta_error *error;
};

struct field {
	const char *text;
	size_t bytes;
};

static int fail_line(const struct reader *reader, const char *what, const struct field *field)
{
	const char *rule =
		reader->one_based ? "CHROM POS [END], 1-based inclusive" : "BED, 0-based half-open";

	if (!field)
		return cr_fail(reader->error, CROCUTA_EINPUT,
			       "%.200s:%lld: %s (the file is read as %s)", reader->path,
			       (long long)reader->number, what, rule);
	return cr_fail(reader->error, CROCUTA_EINPUT,
		       "%.200s:%lld: \"%.*s\": %s (the file is read as %s)", reader->path,
		       (long long)reader->number, (int)(field->bytes < 80 ? field->bytes : 80),
		       field->text, what, rule);
}

/* Split at tabs, or at runs of blanks when the line has no tab. Returns the number of columns, at
 * most FIELDS. */
static int split_line(const char *line, size_t bytes, struct field fields[FIELDS])
{
	const char *end = line + bytes, *p = line;
	int tabs = memchr(line, '\t', bytes) != NULL, count = 0;

	while (count < FIELDS) {
		const char *stop;

		while (!tabs && p < end && *p == ' ')
			p++;
		if (!tabs && p == end)
			break;
		stop = memchr(p, tabs ? '\t' : ' ', (size_t)(end - p));
		stop = stop ? stop : end;
		fields[count++] = (struct field){p, (size_t)(stop - p)};
		if (stop == end)
			break;
		p = stop + 1;
	}
	return count;
}

static int begins_with_word(const char *line, size_t bytes, const char *word)
{
	size_t length = strlen(word);

	return bytes >= length && !memcmp(line, word, length) &&
	       (bytes == length || line[length] == ' ' || line[length] == '\t');
}

static int is_skipped(const struct reader *reader, const char *line, size_t bytes)
{
	size_t blank = 0;

	while (blank < bytes && (line[blank] == ' ' || line[blank] == '\t'))
		blank++;
	return blank == bytes || line[0] == '#' ||
	       (!reader->one_based && (begins_with_word(line, bytes, "track") ||
				       begins_with_word(line, bytes, "browser")));
}

/* Fill start and end from the columns. */
static int read_coordinates(const struct reader *reader, const struct field *fields, int count,
			    struct cr_span *span)
{
	const char *rule = reader->one_based ? "is not a position (digits only, from 1)"
					     : "is not a position (digits only, from 0)";

	span->start = cr_parse_integer(fields[1].text, fields[1].bytes);
	if (span->start < reader->one_based)
		return fail_line(reader, rule, &fields[1]);
	span->end = span->start;
	if (count > 2) {
		span->end = cr_parse_integer(fields[2].text, fields[2].bytes);
		if (span->end < 0)
			return fail_line(reader, rule, &fields[2]);
	}
	span->start -= reader->one_based;
	if (span->start == span->end && !reader->one_based)
		return fail_line(reader, "start and end are equal, the region is empty", NULL);
	if (span->start >= span->end)
		return fail_line(reader, "the start is behind the end", NULL);
	return CROCUTA_OK;
}

static int find_contig(const struct reader *reader, const struct field *field, struct cr_span *span)
{
	char hint[400];

	span->contig = cr_contigs_find(reader->contigs, field->text, field->bytes);
	if (span->contig >= 0)
		return CROCUTA_OK;
	cr_contigs_hint(reader->contigs, field->text, field->bytes, hint, sizeof hint);
	return cr_fail(reader->error, CROCUTA_EINPUT, "%.200s:%lld: there is no contig \"%.*s\"%s",
		       reader->path, (long long)reader->number,
		       (int)(field->bytes < 100 ? field->bytes : 100), field->text, hint);
}

/* Off by one is the price of taking BED for CHROM POS END: a browser's header or a strand in column
 * 6 gives it away. */
static int looks_like_bed(const char *line, size_t bytes, const struct field *fields, int count)
{
	if (begins_with_word(line, bytes, "track") || begins_with_word(line, bytes, "browser"))
		return 1;
	return count >= 6 && fields[5].bytes == 1 && memchr("+-.", fields[5].text[0], 3);
}

static int read_line(struct reader *reader, const char *line, size_t bytes)
{
	struct field fields[FIELDS];
	struct cr_span span = {0};
	char place[300];
	int count, code;

	if (bytes && line[bytes - 1] == '\r')
		bytes--;
	if (bytes > LINE_LIMIT)
		return fail_line(reader, "the line is longer than 1 MiB", NULL);
	if (is_skipped(reader, line, bytes))
		return CROCUTA_OK;
	if (memchr(line, '\0', bytes))
		return fail_line(reader, "the line holds a NUL byte", NULL);
	count = split_line(line, bytes, fields);
	if (reader->one_based && looks_like_bed(line, bytes, fields, count))
		return fail_line(reader,
				 "this looks like BED, which is read as such only from a file named "
				 ".bed or .bed.gz; positions here would count from 1",
				 NULL);
	if (count < (reader->one_based ? 2 : 3))
		return fail_line(reader,
				 reader->one_based ? "a line needs 2 columns or more"
						   : "a line needs 3 columns or more",
				 NULL);
	if (!reader->one_based && count == FIELDS)
		return fail_line(reader, "a line has more than 12 columns", NULL);
	code = find_contig(reader, &fields[0], &span);
	if (!code)
		code = read_coordinates(reader, fields, count, &span);
	if (code)
		return code;
	if (!reader->one_based && count > 3 && fields[3].bytes &&
	    !(fields[3].bytes == 1 && fields[3].text[0] == '.')) {
		span.name = fields[3].text;
		span.name_bytes = fields[3].bytes;
	}
	if (!reader->one_based && count > 5) {
		if (fields[5].bytes != 1 || !strchr("+-.", fields[5].text[0]))
			return fail_line(reader, "is not a strand (+, - or .)", &fields[5]);
		span.strand = fields[5].text[0];
	}
	snprintf(place, sizeof place, "%.200s:%lld: ", reader->path, (long long)reader->number);
	span.place = place;
	return cr_regions_add(reader->regions, reader->contigs, &span, reader->clip, reader->error);
}

static int finish(struct reader *reader, int code, cr_regions **regions)
{
	if (!code && !reader->regions->count && !reader->regions->clipped)
		code = cr_fail(reader->error, CROCUTA_EINPUT, "%.200s: holds no region",
			       reader->path);
	if (code)
		cr_regions_free(reader->regions);
	else
		*regions = reader->regions;
	return code;
}

static int start(struct reader *reader, const cr_contigs *contigs, const char *path, int one_based,
		 int clip, crocuta_error *error)
{
	*reader = (struct reader){
		.contigs = contigs,
		.path = path,
		.one_based = one_based != 0,
		.clip = clip,
		.error = error,
		.regions = cr_regions_new(),
	};
	if (!reader->regions)
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its regions", path);
	return CROCUTA_OK;
}

int cr_regions_parse_text(const cr_contigs *contigs, const char *text, size_t bytes,
			  const char *path, int one_based, int clip, cr_regions **regions,
			  crocuta_error *error)
{
	const char *end = text + bytes;
	struct reader reader;
	int code = start(&reader, contigs, path, one_based, clip, error);

	*regions = NULL;
	if (code)
		return code;
	for (const char *line = text; !code && line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;

		reader.number++;
		code = read_line(&reader, line, (size_t)(stop - line));
		line = stop + 1;
	}
	return finish(&reader, code, regions);
}

/* In either case: BED is BED on every file system. */
static int ends_with(const char *text, const char *suffix)
{
	size_t length = strlen(text), tail = strlen(suffix);

	return length >= tail && !strcasecmp(text + length - tail, suffix);
}

int cr_regions_is_bed_name(const char *path)
{
	static const char *const suffixes[] = {".bed",	      ".narrowPeak", ".broadPeak",
					       ".gappedPeak", ".bedGraph",   ".bdg"};
	static const char *const packed[] = {"", ".gz", ".bgz"};
	char suffix[32];

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
		for (size_t j = 0; j < sizeof packed / sizeof *packed; j++) {
			snprintf(suffix, sizeof suffix, "%s%s", suffixes[i], packed[j]);
			if (ends_with(path, suffix))
				return 1;
		}
	return 0;
}

/* Feed every line of the stream to read_line. */
static int read_stream(struct reader *reader, BGZF *stream)
{
	size_t capacity = LINE_LIMIT + 65536, used = 0;
	char *buffer = cr_calloc(capacity, 1);
	int code = CROCUTA_OK;

	if (!buffer)
		return cr_fail(reader->error, CROCUTA_EMEMORY, "%.200s: no memory to read it",
			       reader->path);
	while (!code) {
		ssize_t got = bgzf_read(stream, buffer + used, 65536);
		char *line = buffer, *newline;

		if (got < 0) {
			code = cr_fail(reader->error, CROCUTA_EINPUT,
				       "%.200s:%lld: reading failed; the file is cut or damaged",
				       reader->path, (long long)reader->number + 1);
			break;
		}
		used += (size_t)got;
		while (!code && (newline = memchr(line, '\n', used))) {
			size_t bytes = (size_t)(newline - line);

			reader->number++;
			code = read_line(reader, line, bytes);
			line += bytes + 1;
			used -= bytes + 1;
		}
		if (!code && (!got || used > LINE_LIMIT)) {
			reader->number++;
			if (used)
				code = read_line(reader, line, used);
			if (!got)
				break;
		}
		memmove(buffer, line, used);
	}
	if (!code && stream->is_compressed && !stream->is_gzip && stream->no_eof_block)
		code = cr_fail(reader->error, CROCUTA_EINPUT,
			       "%.200s: no BGZF end marker; the file was cut, copy it again",
			       reader->path);
	cr_free(buffer);
	return code;
}

int cr_regions_read(const cr_contigs *contigs, const char *path, int clip, cr_regions **regions,
		    crocuta_error *error)
{
	int bed = cr_regions_is_bed_name(path);
	struct reader reader;
	hFILE *file;
	BGZF *stream;
	int code;

	*regions = NULL;
	if ((code = start(&reader, contigs, strcmp(path, "-") ? path : "standard input", !bed, clip,
			  error)))
		return code;
	if ((code = cr_open_stream(path, &file, error)))
		return finish(&reader, code, regions);
	stream = bgzf_hopen(file, "r");
	if (!stream) {
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", reader.path);
		hclose_abruptly(file);
		return finish(&reader, code, regions);
	}
	code = read_stream(&reader, stream);
	bgzf_close(stream);
	return finish(&reader, code, regions);
}
