/* reference_index.c - reading a .fai and proving it (rule I): every contig's header must stand
 * right behind the contig before it, its bases must start right behind the header, and line ends
 * must be where the index says. So the set and the order of contigs are proved as well. */
#include "io/reference_index.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"

int cr_index_add(struct cr_index *index, const char *name, size_t name_bytes, int64_t length,
		 const struct cr_place *place, crocuta_error *error)
{
	int64_t count = cr_contigs_count(index->contigs);
	int code;

	if (count == index->capacity) {
		int64_t capacity = index->capacity ? index->capacity * 2 : 32;
		struct cr_place *places =
			cr_realloc(index->places, (size_t)capacity, sizeof *places);

		if (!places)
			return cr_fail(error, CROCUTA_EMEMORY,
				       "no memory for the index of contigs");
		index->places = places;
		index->capacity = capacity;
	}
	code = cr_contigs_add(index->contigs, name, name_bytes, length, error);
	if (!code)
		index->places[count] = *place;
	return code;
}

void cr_index_clear(struct cr_index *index)
{
	if (index->contigs)
		for (int64_t i = 0; i < cr_contigs_count(index->contigs); i++)
			cr_free(index->places[i].checkpoints);
	cr_free(index->places);
	cr_contigs_free(index->contigs);
	*index = (struct cr_index){0};
}

/* File offset behind the last base. */
static int64_t end_of_bases(const struct cr_place *place, int64_t length)
{
	return place->offset + (length - 1) / place->bases * place->width +
	       (length - 1) % place->bases + 1;
}

/* Values of one line, before the file is asked. Returns what is wrong, or NULL. */
static const char *check_values(const struct cr_place *place, int64_t length, int64_t size,
				const struct cr_place *before, int64_t length_before)
{
	if (length < 1)
		return "the length must be a number of at least 1";
	if (place->offset < 0 || place->offset >= size)
		return "the offset lies behind the end of the file";
	if (place->bases < 1)
		return "bases a line must be a number of at least 1";
	if (place->width < place->bases || place->width - place->bases > 2)
		return "the line width must be 1 or 2 more than the bases in it";
	if (place->width == place->bases && length > place->bases)
		return "lines cannot lack a line end";
	if ((length - 1) / place->bases > size / place->width || end_of_bases(place, length) > size)
		return "the contig would end behind the end of the file";
	if (before && place->offset <= end_of_bases(before, length_before))
		return "contigs overlap or are out of order";
	return NULL;
}

static int parse_line(struct cr_index *index, const char *line, size_t bytes, int64_t size,
		      const char *fai, int64_t number, crocuta_error *error)
{
	const char *fields[6], *end = line + bytes, *wrong = NULL;
	size_t widths[6];
	int64_t length, count = cr_contigs_count(index->contigs), columns = 0;
	struct cr_place place = {0};

	for (const char *p = line; columns < 6;) {
		const char *tab = memchr(p, '\t', (size_t)(end - p));

		fields[columns] = p;
		widths[columns++] = (size_t)((tab ? tab : end) - p);
		if (!tab)
			break;
		p = tab + 1;
	}
	if (columns != 5)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s:%lld: a FASTA index has 5 columns, this line has %s", fai,
			       (long long)number, columns < 5 ? "fewer" : "more");
	if (!widths[0] || widths[0] > CR_NAME_LIMIT || memchr(fields[0], '\0', widths[0]))
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s:%lld: a contig name must have 1 to %d bytes and no NUL", fai,
			       (long long)number, CR_NAME_LIMIT);
	length = cr_parse_integer(fields[1], widths[1]);
	place.offset = cr_parse_integer(fields[2], widths[2]);
	place.bases = cr_parse_integer(fields[3], widths[3]);
	place.width = cr_parse_integer(fields[4], widths[4]);
	wrong = check_values(&place, length, size, count ? &index->places[count - 1] : NULL,
			     count ? cr_contigs_length(index->contigs, count - 1) : 0);
	if (wrong)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s:%lld: contig \"%.*s\": %s; the index does not match, rebuild it",
			fai, (long long)number, (int)(widths[0] < 80 ? widths[0] : 80), fields[0],
			wrong);
	if (cr_contigs_find(index->contigs, fields[0], widths[0]) >= 0)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s:%lld: contig \"%.*s\" occurs twice",
			       fai, (long long)number, (int)(widths[0] < 80 ? widths[0] : 80),
			       fields[0]);
	return cr_index_add(index, fields[0], widths[0], length, &place, error);
}

int cr_index_parse(struct cr_index *index, const char *text, int64_t bytes, int64_t size,
		   const char *fai, crocuta_error *error)
{
	const char *end = text + bytes;
	int64_t number = 1;
	int code = CROCUTA_OK;

	for (const char *line = text; !code && line < end; number++) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;

		code = parse_line(index, line,
				  (size_t)(stop - line) - (stop > line && stop[-1] == '\r'), size,
				  fai, number, error);
		line = stop + 1;
	}
	if (!code && !cr_contigs_count(index->contigs))
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: the index holds no contig", fai);
	return code;
}

/* The byte at an offset, -1 at the end of the file, -2 on failure. */
static int byte_at(cr_source *source, int64_t offset, crocuta_error *error)
{
	const char *bytes;
	int64_t count;

	if (cr_source_view(source, offset, &bytes, &count, error))
		return -2;
	return count ? (unsigned char)*bytes : -1;
}

/* Why the index is wrong about a contig, or NULL; *error may be set by a read failure. */
static const char *prove_header(cr_source *source, const char *name, int64_t header, int64_t offset,
				crocuta_error *error)
{
	size_t length = strlen(name);
	int byte;

	if (byte_at(source, header, error) != '>')
		return "no header line stands before it";
	for (size_t i = 0; i < length; i++)
		if (byte_at(source, header + 1 + (int64_t)i, error) != (unsigned char)name[i])
			return "the header line has another name";
	byte = byte_at(source, header + 1 + (int64_t)length, error);
	if (byte != '\n' && byte != '\r' && byte != ' ' && byte != '\t')
		return "the header line has another name";
	for (int64_t at = header + 1; at < offset;) {
		const char *bytes, *newline;
		int64_t count;

		if (cr_source_view(source, at, &bytes, &count, error) || !count)
			return "no header line ends there";
		newline = memchr(bytes, '\n', (size_t)count);
		if (newline) {
			at += newline - bytes + 1;
			return at == offset ? NULL : "no header line ends there";
		}
		at += count;
	}
	return "no header line ends there";
}

/* Does line number `line` end where the index says, and only there? */
static int line_holds(cr_source *source, const struct cr_place *place, int64_t line,
		      crocuta_error *error)
{
	int64_t start = place->offset + line * place->width, end = start + place->bases;
	int last = byte_at(source, end - 1, error);

	if (byte_at(source, start, error) == '\n' || last == '\n' || last == '\r')
		return 0;
	if (place->width - place->bases == 2 && byte_at(source, end++, error) != '\r')
		return 0;
	return byte_at(source, end, error) == '\n';
}

static const char *prove_lines(cr_source *source, const struct cr_place *place, int64_t length,
			       crocuta_error *error)
{
	int64_t full = (length - 1) / place->bases; /* lines that another one follows */

	if (full &&
	    (!line_holds(source, place, 0, error) || !line_holds(source, place, full / 2, error) ||
	     !line_holds(source, place, full - 1, error)))
		return "lines do not end where the index says";
	return NULL;
}

/* Offset of the first byte at or behind `at` that is no line end. */
static int64_t skip_line_ends(cr_source *source, int64_t at, crocuta_error *error)
{
	int byte = byte_at(source, at, error);

	while (byte == '\n' || byte == '\r')
		byte = byte_at(source, ++at, error);
	return at;
}

/* Does another header, or nothing, follow the header line at `at`? Indexers leave such a record out
 * without a word, and the index then seems to be of another file. */
static int is_empty_record(cr_source *source, int64_t at, crocuta_error *error)
{
	int byte = byte_at(source, at, error);

	if (byte != '>')
		return 0;
	while (byte >= 0 && byte != '\n')
		byte = byte_at(source, ++at, error);
	at = skip_line_ends(source, at, error);
	byte = byte_at(source, at, error);
	return byte == '>' || byte == -1;
}

static int prove(struct cr_index *index, cr_source *source, const char *fai, crocuta_error *error)
{
	int64_t count = cr_contigs_count(index->contigs), next = 0;
	crocuta_error read_error = {0};

	next = skip_line_ends(source, 0, &read_error);
	for (int64_t i = 0; i < count; i++) {
		const struct cr_place *place = &index->places[i];
		const char *name = cr_contigs_name(index->contigs, i), *wrong;
		int64_t length = cr_contigs_length(index->contigs, i);
		int64_t end = end_of_bases(place, length);
		const int64_t header = next;
		int byte;

		wrong = prove_header(source, name, next, place->offset, &read_error);
		if (!wrong)
			wrong = prove_lines(source, place, length, &read_error);
		if (!wrong && (byte = byte_at(source, end - 1, &read_error)) <= '\r')
			wrong = "it does not end where the index says";
		if (!wrong && (byte = byte_at(source, end, &read_error)) != -1 && byte != '\n' &&
		    byte != '\r')
			wrong = "it does not end where the index says";
		if (!wrong) {
			next = skip_line_ends(source, end, &read_error);
			byte = byte_at(source, next, &read_error);
			if (i + 1 == count && byte != -1)
				wrong = "the file goes on behind the last contig of the index";
			else if (byte != -1 && byte != '>')
				wrong = "it does not end where the index says";
		}
		if (wrong && !read_error.code && is_empty_record(source, header, &read_error))
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s: the record before \"%.80s\", at byte %lld, is a "
				       "header without sequence; remove it",
				       cr_source_path(source), name, (long long)header);
		if (read_error.code)
			return cr_fail(error, read_error.code, "%s", read_error.message);
		if (wrong)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s:%lld: \"%.80s\" is said to start at byte %lld, but %s; "
				"the index does not match %.200s, rebuild it",
				fai, (long long)i + 1, name, (long long)place->offset, wrong,
				cr_source_path(source));
	}
	return CROCUTA_OK;
}

int cr_index_read(struct cr_index *index, cr_source *source, const char *fai, crocuta_error *error)
{
	char *text;
	int64_t bytes;
	int code = cr_read_file(fai, (int64_t)1 << 32, &text, &bytes, error);

	if (code)
		return code;
	code = cr_index_parse(index, text, bytes, cr_source_size(source), fai, error);
	cr_free(text);
	return code ? code : prove(index, source, fai, error);
}
