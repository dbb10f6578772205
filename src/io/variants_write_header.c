/* variants_write_header.c - the header of an output: the input's lines as they are, what they lack,
 * and ours.
 *
 * The reader's own header is extended, so that the numbers in its records stay right, whenever
 * htslib adds what records use and the header lacks. Such make-believe lines of htslib are not
 * written to text; BCF cannot do without. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/variants_write_internal.h"

#define TBI_LONGEST ((int64_t)1 << 29)

static int fail_memory(const cr_variants_writer *writer, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its header", writer->path);
}

static int append(cr_variants_writer *writer, const char *line, crocuta_error *error)
{
	if (bcf_hdr_append(writer->header, line) < 0)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.100s: not a header line: %.200s",
			       writer->path, line);
	return CROCUTA_OK;
}

/* ---- contigs --------------------------------------------------------------------------------- */

/* How names of the VCF follow from those of the FASTA. */
enum naming { SAME, WITHOUT_CHR, WITH_CHR, UNKNOWN };

static int is_mitochondrion(const char *name)
{
	return !strcmp(name, "M") || !strcmp(name, "MT") || !strcmp(name, "chrM") ||
	       !strcmp(name, "chrMT");
}

static enum naming naming_of(const char *name, const char *reference)
{
	if (!strcmp(name, reference))
		return SAME;
	if (!strncmp(reference, "chr", 3) && !strcmp(reference + 3, name))
		return WITHOUT_CHR;
	if (!strncmp(name, "chr", 3) && !strcmp(name + 3, reference))
		return WITH_CHR;
	return UNKNOWN;
}

/* Index in the reference of a contig of the input, or -1. */
static int64_t mapped(const cr_variants_writer_options *options, const cr_contigs *contigs,
		      int64_t contig)
{
	const char *name = cr_contigs_name(contigs, contig);

	return options->contig_map ? options->contig_map[contig]
				   : cr_contigs_find(options->reference, name, strlen(name));
}

/* The naming that all contigs met agree on. */
static enum naming common_naming(const cr_variants_writer_options *options,
				 const cr_contigs *contigs)
{
	enum naming common = SAME;
	int64_t known = 0;

	for (int64_t i = 0; i < cr_contigs_count(contigs); i++) {
		int64_t at = mapped(options, contigs, i);
		const char *name = cr_contigs_name(contigs, i);
		enum naming naming;

		if (at < 0 || is_mitochondrion(name))
			continue;
		naming = naming_of(name, cr_contigs_name(options->reference, at));
		if (known++ && naming != common)
			return UNKNOWN;
		common = naming;
	}
	return common;
}

/* Append a contig of the FASTA under the name the VCF would give it, unless it is there. */
static int append_contig(cr_variants_writer *writer, enum naming naming, const char *reference,
			 int64_t length, bcf_hrec_t **line, crocuta_error *error)
{
	const char *begin = naming == WITH_CHR ? "chr" : "", *name = reference;
	kstring_t text = {0, 0, NULL};
	int code = CROCUTA_OK;

	if (naming == WITHOUT_CHR && !strncmp(name, "chr", 3))
		name += 3;
	if (naming != SAME && is_mitochondrion(reference))
		name = naming == WITH_CHR ? "M" : "MT";
	if (strpbrk(name, ",<>\" \t"))
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: contig name \"%.80s\" cannot stand in a VCF header",
			       writer->path, name);
	if (ksprintf(&text, "##contig=<ID=%s%s,length=%" PRId64 ">", begin, name, length) < 0) {
		code = fail_memory(writer, error);
	} else {
		const char *id = text.s + strlen("##contig=<ID=");
		char *end = strrchr(text.s, ',');

		*end = '\0';
		*line = bcf_hdr_get_hrec(writer->header, BCF_HL_CTG, "ID", id, NULL);
		*end = ',';
		if (!*line) {
			code = append(writer, text.s, error);
			*end = '\0';
			*line = bcf_hdr_get_hrec(writer->header, BCF_HL_CTG, "ID", id, NULL);
		} else {
			*line = NULL;
		}
	}
	free(text.s);
	return code;
}

static bcf_hrec_t *line_of(const cr_variants_writer *writer, const char *name)
{
	return bcf_hdr_get_hrec(writer->header, BCF_HL_CTG, "ID", name, NULL);
}

/* Give the line that htslib made for a contig met its length. */
static int add_length(cr_variants_writer *writer, const char *name, int64_t length,
		      crocuta_error *error)
{
	bcf_hrec_t *line = line_of(writer, name);
	char digits[32];
	int count = snprintf(digits, sizeof digits, "%" PRId64, length);

	if (!line || bcf_hrec_find_key(line, "length") >= 0)
		return CROCUTA_OK;
	if (bcf_hrec_add_key(line, "length", 6) < 0 ||
	    bcf_hrec_set_val(line, line->nkeys - 1, digits, (size_t)count, 0) < 0)
		return fail_memory(writer, error);
	return CROCUTA_OK;
}

/* The input has no contig lines: all of the FASTA get one, in its order, so that it does not show
 * which contigs were met first; then those that the FASTA lacks. lines: room for all. */
static int all_contigs(cr_variants_writer *writer, const cr_variants_writer_options *options,
		       const cr_contigs *met, int64_t *met_as, bcf_hrec_t **lines,
		       crocuta_error *error)
{
	enum naming naming = common_naming(options, met);
	int64_t references = cr_contigs_count(options->reference), count = 0, slot = 0;
	bcf_hdr_t *header = writer->header;
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < references; i++)
		met_as[i] = -1;
	for (int64_t i = 0; i < cr_contigs_count(met); i++) {
		int64_t at = mapped(options, met, i);

		if (at >= 0 && met_as[at] < 0)
			met_as[at] = i;
	}
	for (int64_t i = 0; !code && i < references; i++) {
		if (met_as[i] >= 0)
			lines[count] = line_of(writer, cr_contigs_name(met, met_as[i]));
		else if (naming != UNKNOWN)
			code = append_contig(writer, naming, cr_contigs_name(options->reference, i),
					     cr_contigs_length(options->reference, i),
					     &lines[count], error);
		count += lines[count] != NULL;
	}
	for (int64_t i = 0; !code && i < cr_contigs_count(met); i++) {
		int64_t at = mapped(options, met, i);

		if (at < 0 || met_as[at] != i)
			lines[count++] = line_of(writer, cr_contigs_name(met, i));
	}
	for (int i = 0; !code && i < header->nhrec && slot < count; i++)
		if (header->hrec[i]->type == BCF_HL_CTG)
			header->hrec[i] = lines[slot++];
	return code;
}

static int add_contigs(cr_variants_writer *writer, const cr_variants_writer_options *options,
		       crocuta_error *error)
{
	const cr_variants *variants = writer->variants;
	int64_t count = variants ? cr_contigs_count(variants->contigs) : 0, all;
	bcf_hrec_t **lines, *line;
	int64_t *met_as;
	int code = CROCUTA_OK;

	if (!options->reference)
		return CROCUTA_OK;
	all = cr_contigs_count(options->reference);
	for (int64_t i = 0; !variants && !code && i < all; i++)
		code = append_contig(writer, SAME, cr_contigs_name(options->reference, i),
				     cr_contigs_length(options->reference, i), &line, error);
	for (int64_t i = variants ? variants->declared : 0; !code && i < count; i++) {
		int64_t at = mapped(options, variants->contigs, i);

		if (at >= 0)
			code = add_length(writer, cr_contigs_name(variants->contigs, i),
					  cr_contigs_length(options->reference, at), error);
	}
	if (code || !variants || variants->declared)
		return code;
	lines = cr_calloc((size_t)(all + count + 1), sizeof *lines);
	met_as = cr_calloc((size_t)all + 1, sizeof *met_as);
	code = lines && met_as
		       ? all_contigs(writer, options, variants->contigs, met_as, lines, error)
		       : fail_memory(writer, error);
	cr_free(met_as);
	cr_free(lines);
	return code;
}

/* A .tbi counts to 2^29. */
static int check_tbi(const cr_variants_writer *writer, const cr_variants_writer_options *options,
		     crocuta_error *error)
{
	const cr_contigs *lists[] = {writer->variants ? writer->variants->contigs : NULL,
				     options->reference};

	for (int list = 0; writer->tbi && list < 2; list++)
		for (int64_t i = 0; lists[list] && i < cr_contigs_count(lists[list]); i++)
			if (cr_contigs_length(lists[list], i) > TBI_LONGEST)
				return cr_fail(error, CROCUTA_EARG,
					       "%.200s: contig \"%.80s\" of %" PRId64
					       " bases is too long for a .tbi index; give csi",
					       writer->path, cr_contigs_name(lists[list], i),
					       cr_contigs_length(lists[list], i));
	return CROCUTA_OK;
}

/* ---- our tags and lines ---------------------------------------------------------------------- */

/* A value between double quotes; control bytes become blanks. */
static int put_quoted(kstring_t *line, const char *text)
{
	int failed = kputc('"', line) < 0;

	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			failed |= kputc('\\', line) < 0;
		failed |= kputc((unsigned char)*text < ' ' ? ' ' : *text, line) < 0;
	}
	return failed | (kputc('"', line) < 0);
}

static int add_tag(cr_variants_writer *writer, const cr_variants_writer_options *options,
		   const cr_variant_tag *tag, struct cr_tag_place *place, crocuta_error *error)
{
	bcf_hdr_t *header = writer->header;
	kstring_t line = {0, 0, NULL};
	int code, failed;

	if (bcf_hdr_get_hrec(header, BCF_HL_INFO, "ID", tag->id, NULL)) {
		if (!options->overwrite_tags)
			return cr_fail(
				error, CROCUTA_EREFUSED,
				"%.200s: the input has an INFO tag %.80s already; "
				"--tag-prefix gives another name, --overwrite-tags replaces it",
				writer->variants ? writer->variants->shown : writer->path, tag->id);
		bcf_hdr_remove(header, BCF_HL_INFO, tag->id);
	}
	failed = ksprintf(&line, "##INFO=<ID=%s,Number=A,Type=%s,Description=", tag->id,
			  tag->text ? "String" : "Float") < 0 ||
		 put_quoted(&line, tag->description ? tag->description : "");
	if (options->source)
		failed |= kputs(",Source=", &line) < 0 || put_quoted(&line, options->source);
	if (options->version)
		failed |= kputs(",Version=", &line) < 0 || put_quoted(&line, options->version);
	failed |= kputc('>', &line) < 0;
	code = failed ? fail_memory(writer, error) : append(writer, line.s, error);
	free(line.s);
	if (!code && bcf_hdr_sync(header) < 0)
		code = fail_memory(writer, error);
	place->id = code ? -1 : bcf_hdr_id2int(header, BCF_DT_ID, tag->id);
	place->text = tag->text;
	if (!code && (place->id < 0 || !bcf_hdr_idinfo_exists(header, BCF_HL_INFO, place->id)))
		code = cr_fail(error, CROCUTA_EARG, "%.80s cannot be the name of an INFO tag",
			       tag->id);
	return code;
}

static int is_there(const kstring_t *text, const char *line)
{
	size_t length = strlen(line);
	const char *p = text->s;

	while (p && (p = strstr(p, line))) {
		if ((p == text->s || p[-1] == '\n') && (p[length] == '\n' || !p[length]))
			return 1;
		p += length;
	}
	return 0;
}

/* Append the lines that are not there. */
static int add_lines(cr_variants_writer *writer, const char *const *lines, crocuta_error *error)
{
	kstring_t text = {0, 0, NULL};
	int code = CROCUTA_OK;

	if (lines && bcf_hdr_format(writer->header, 0, &text) < 0)
		code = fail_memory(writer, error);
	for (; !code && lines && *lines; lines++)
		if (!is_there(&text, *lines))
			code = append(writer, *lines, error);
	free(text.s);
	return code;
}

/* ---- as text --------------------------------------------------------------------------------- */

/* Is it a line of the input, not one of `lines`, whose key is among `drop`? */
static int is_dropped(const cr_variants_writer_options *options, const char *line, size_t length)
{
	for (const char *const *l = options->lines; l && *l; l++)
		if (strlen(*l) == length && !strncmp(*l, line, length))
			return 0;
	for (const char *const *key = options->drop; key && *key; key++)
		if (length > 2 + strlen(*key) && !strncmp(line + 2, *key, strlen(*key)) &&
		    line[2 + strlen(*key)] == '=')
			return 1;
	return 0;
}

/* Lines first .. last of the header that htslib made up for tags that records use. */
static int format_made_up(const bcf_hdr_t *header, int first, int last, kstring_t *text)
{
	for (int i = first; i < last; i++)
		if ((header->hrec[i]->type == BCF_HL_INFO || header->hrec[i]->type == BCF_HL_FMT ||
		     header->hrec[i]->type == BCF_HL_FLT) &&
		    bcf_hrec_format(header->hrec[i], text) < 0)
			return -1;
	return 0;
}

/* made_up: lines that are left out, "\n" behind each. */
static int format_header(cr_variants_writer *writer, const cr_variants_writer_options *options,
			 const kstring_t *made_up, kstring_t *text, crocuta_error *error)
{
	kstring_t all = {0, 0, NULL};
	int binary = writer->type == 'b' || writer->type == 'u', failed;

	failed = bcf_hdr_format(writer->header, binary, &all) < 0;
	while (all.l && !all.s[all.l - 1])
		all.l--;
	for (char *line = all.s, *stop; !failed && line < all.s + all.l; line = stop + 1) {
		int left_out;

		stop = memchr(line, '\n', (size_t)(all.s + all.l - line));
		if (!stop)
			break;
		*stop = '\0';
		left_out = is_dropped(options, line, (size_t)(stop - line)) ||
			   (made_up->l && is_there(made_up, line));
		*stop = '\n';
		if (!left_out)
			failed = kputsn(line, (size_t)(stop + 1 - line), text) < 0;
	}
	free(all.s);
	return failed ? fail_memory(writer, error) : CROCUTA_OK;
}

int cr_variants_make_header(cr_variants_writer *writer, const cr_variants_writer_options *options,
			    kstring_t *text, crocuta_error *error)
{
	int binary = writer->type == 'b' || writer->type == 'u', code;
	kstring_t made_up = {0, 0, NULL};

	if ((code = check_tbi(writer, options, error)))
		return code;
	if (writer->variants && !binary &&
	    format_made_up(writer->header, writer->variants->hrecs, writer->header->nhrec,
			   &made_up) < 0)
		code = fail_memory(writer, error);
	for (int i = 0; !code && i < writer->tag_count; i++)
		code = add_tag(writer, options, &options->tags[i], &writer->tags[i], error);
	if (!code)
		code = add_contigs(writer, options, error);
	if (!code)
		code = add_lines(writer, options->lines, error);
	if (!code && bcf_hdr_sync(writer->header) < 0)
		code = fail_memory(writer, error);
	if (!code)
		code = format_header(writer, options, &made_up, text, error);
	writer->written[0] = writer->header->n[BCF_DT_ID];
	writer->written[1] = writer->header->n[BCF_DT_CTG];
	free(made_up.s);
	return code;
}
