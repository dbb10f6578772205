/* variants_header.c - the header of a VCF or BCF, looked through before htslib parses it: htslib
 * skips over much that is wrong, and believes the numbers in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"
#include "io/variants_internal.h"

#define HEADER_LIMIT ((size_t)256 << 20)
#define NUMBER_LIMIT 1000000 /* of holes in the numbering of contigs and tags */

static const char chrom_line[] = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO";

static int fail_line(const cr_variants *variants, int64_t number, const char *what,
		     crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EINPUT, "%.200s:%lld: %s", variants->shown, (long long)number,
		       what);
}

/* "##fileformat=VCFv4.2", and no number that htslib could not hold. */
static int check_version(const char *line)
{
	static const char begin[] = "##fileformat=VCFv";
	size_t major, minor;

	if (strncmp(line, begin, sizeof begin - 1))
		return 0;
	line += sizeof begin - 1;
	major = strspn(line, "0123456789");
	if (!major || major > 2 || line[major] != '.')
		return 0;
	minor = strspn(line + major + 1, "0123456789");
	return minor && minor <= 3 && !line[major + 1 + minor];
}

/* htslib allocates as many entries as the largest IDX= says. */
static int check_numbering(const cr_variants *variants, const char *line, int64_t number,
			   int64_t lines, crocuta_error *error)
{
	const char *p = line;

	while ((p = strstr(p, "IDX="))) {
		size_t digits = strspn(p + 4, "0123456789");

		if (p > line && (p[-1] == ',' || p[-1] == '<') && digits &&
		    cr_parse_integer(p + 4, digits < 18 ? digits : 18) > lines + NUMBER_LIMIT)
			return fail_line(variants, number,
					 "IDX= is far larger than the number of header lines",
					 error);
		p += 4;
	}
	return CROCUTA_OK;
}

/* Each tab behind FORMAT has a name behind it; htslib takes what it finds. */
static int check_samples(const char *tab)
{
	for (; tab; tab = strchr(tab + 1, '\t'))
		if (!strcspn(tab + 1 + strspn(tab + 1, " \v\f\r"), "\t"))
			return 0;
	return 1;
}

static int check_chrom(const cr_variants *variants, const char *line, int64_t number,
		       crocuta_error *error)
{
	size_t length = sizeof chrom_line - 1;

	if (!strncmp(line, chrom_line, length) &&
	    (!line[length] || !strcmp(line + length, "\tFORMAT") ||
	     !strncmp(line + length, "\tFORMAT\t", 8))) {
		if (check_samples(strchr(line + length, '\t')))
			return CROCUTA_OK;
		return fail_line(variants, number, "a sample has no name", error);
	}
	return fail_line(variants, number,
			 "the line \"#CHROM POS ID REF ALT QUAL FILTER INFO [FORMAT SAMPLE...]\", "
			 "its columns set apart by tabs, should stand here",
			 error);
}

/* Hold the lines of `text`, one "\n" behind each, against the rules; htslib's parser sees no other
 * text. */
static int check_lines(const cr_variants *variants, char *text, size_t bytes, crocuta_error *error)
{
	char *end = text + bytes;
	int64_t number = 0, lines = 0;
	int code = CROCUTA_OK, done = 0;

	for (const char *p = text; p < end; p++)
		lines += *p == '\n';
	for (char *line = text; !code && !done && line < end;) {
		char *stop = memchr(line, '\n', (size_t)(end - line));

		number++;
		if (!stop)
			break;
		*stop = '\0';
		if (number == 1 && !check_version(line))
			code = fail_line(variants, number,
					 "the first line must be ##fileformat=VCFv4.x", error);
		else if (line[0] == '#' && line[1] != '#')
			code = check_chrom(variants, line, number, error), done = 1;
		else if (line[0] && line[0] != '#')
			code = fail_line(variants, number, "a record before the #CHROM line",
					 error);
		else
			code = check_numbering(variants, line, number, lines, error);
		*stop = '\n';
		line = stop + 1;
	}
	if (!code && !done)
		code = cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: ends inside its header, before a #CHROM line; the file was "
			       "cut, copy it again",
			       variants->shown);
	return code;
}

static int read_text(cr_variants *variants, kstring_t *text, crocuta_error *error)
{
	int code, found;

	for (;;) {
		if ((code = cr_variants_read_line(variants, 0, &found, error)))
			return code;
		if (!found)
			return CROCUTA_OK; /* check_lines says what is missing */
		if (text->l + variants->line.l > HEADER_LIMIT)
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s: the header is larger than 256 MiB",
				       variants->shown);
		if (variants->line.l &&
		    (kputsn(variants->line.s, variants->line.l, text) < 0 || kputc('\n', text) < 0))
			return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header",
				       variants->shown);
		if (variants->line.l && (variants->line.s[0] != '#' || variants->line.s[1] != '#'))
			return CROCUTA_OK;
	}
}

/* Room is made as the bytes come, not as the file says. */
static int read_binary(cr_variants *variants, kstring_t *text, crocuta_error *error)
{
	unsigned char head[9];
	size_t bytes, done = 0;

	if (bgzf_read(variants->stream, head, 9) != 9)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: the header is damaged or cut",
			       variants->shown);
	if (memcmp(head, "BCF\2\2", 5))
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: is BCF of a version other than 2.2; convert it with bcftools "
			"view",
			variants->shown);
	bytes = (size_t)head[5] | (size_t)head[6] << 8 | (size_t)head[7] << 16 |
		(size_t)head[8] << 24;
	if (bytes > HEADER_LIMIT)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: the header is larger than 256 MiB",
			       variants->shown);
	while (done < bytes) {
		char piece[65536];
		size_t want = bytes - done < sizeof piece ? bytes - done : sizeof piece;

		if (bgzf_read(variants->stream, piece, want) != (ssize_t)want)
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s: the header is damaged or cut", variants->shown);
		if (kputsn(piece, want, text) < 0)
			return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header",
				       variants->shown);
		done += want;
	}
	while (text->l && !text->s[text->l - 1])
		text->l--;
	if (text->l && memchr(text->s, '\0', text->l))
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: the header holds a NUL byte",
			       variants->shown);
	if (text->l && text->s[text->l - 1] != '\n' && kputc('\n', text) < 0)
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header",
			       variants->shown);
	return CROCUTA_OK;
}

int cr_variants_read_header(cr_variants *variants, crocuta_error *error)
{
	kstring_t text = {0, 0, NULL};
	int code = variants->file ? read_binary(variants, &text, error)
				  : read_text(variants, &text, error);

	if (!code && !text.l)
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: has no header", variants->shown);
	if (!code)
		code = check_lines(variants, text.s, text.l, error);
	if (!code)
		variants->text = cr_strdup(text.s);
	if (!code && !variants->text)
		code = cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header",
			       variants->shown);
	if (!code && !(variants->header = bcf_hdr_init("r")))
		code = cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header",
			       variants->shown);
	if (!code && bcf_hdr_parse(variants->header, text.s) < 0)
		code = cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: the header cannot be used; is a sample named twice, or a "
			       "line broken? (bcftools view -h says more)",
			       variants->shown);
	free(text.s);
	return code;
}

char *cr_variants_header(const cr_variants *variants)
{
	return cr_strdup(variants->text);
}
