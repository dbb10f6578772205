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

		if (at < 0 || cr_is_mitochondrion(name))
			continue;
		naming = naming_of(name, cr_contigs_name(options->reference, at));
		if (known++ && naming != common)
			return UNKNOWN;
		common = naming;
	}
	return common;
}

/* Append a contig line. */
static int append_contig(cr_variants_writer *writer, const char *name, int64_t length,
			 crocuta_error *error)
{
	kstring_t text = {0, 0, NULL};
	int code;

	if (strpbrk(name, ",<>\" \t"))
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: contig name \"%.80s\" cannot stand in a VCF header",
			       writer->path, name);
	if (ksprintf(&text, "##contig=<ID=%s,length=%" PRId64 ">", name, length) < 0)
		code = fail_memory(writer, error);
	else
		code = append(writer, text.s, error);
	free(text.s);
	return code;
}

/* The name that a VCF of such names would give a contig of the FASTA. */
static int put_name(kstring_t *text, enum naming naming, const char *reference)
{
	const char *begin = naming == WITH_CHR ? "chr" : "", *name = reference;

	if (naming == WITHOUT_CHR && !strncmp(name, "chr", 3))
		name += 3;
	if (naming != SAME && cr_is_mitochondrion(reference))
		name = naming == WITH_CHR ? "M" : "MT";
	text->l = 0;
	return kputs(begin, text) < 0 || kputs(name, text) < 0 ? -1 : 0;
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

/* The lines of contigs of an output, in order. */
struct contig_lines {
	cr_contigs *names; /* of the FASTA's */
	bcf_hrec_t **lines;
	int64_t count;
};

/* All contigs of the FASTA, with lengths, in its order. */
static int list_reference(cr_variants_writer *writer, const cr_contigs *reference,
			  enum naming naming, struct contig_lines *list, crocuta_error *error)
{
	kstring_t name = {0, 0, NULL};
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < cr_contigs_count(reference); i++) {
		const int64_t length = cr_contigs_length(reference, i);

		if (put_name(&name, naming, cr_contigs_name(reference, i))) {
			code = fail_memory(writer, error);
			break;
		}
		if (cr_contigs_find(list->names, name.s, name.l) >= 0)
			continue; /* chr1 and 1, or two mitochondria */
		code = cr_contigs_add(list->names, name.s, name.l, length, error);
		if (!code)
			code = line_of(writer, name.s)
				       ? add_length(writer, name.s, length, error)
				       : append_contig(writer, name.s, length, error);
		list->lines[list->count++] = line_of(writer, name.s);
	}
	free(name.s);
	return code;
}

/* Bring the contig lines into order: the FASTA's, then others met. */
static void sort_lines(cr_variants_writer *writer, const cr_contigs *met, struct contig_lines *list)
{
	bcf_hdr_t *header = writer->header;
	int64_t slot = 0;

	for (int64_t i = 0; i < cr_contigs_count(met); i++) {
		const char *name = cr_contigs_name(met, i);

		if (cr_contigs_find(list->names, name, strlen(name)) < 0)
			list->lines[list->count++] = line_of(writer, name);
	}
	for (int i = 0; i < header->nhrec && slot < list->count; i++)
		if (header->hrec[i]->type == BCF_HL_CTG)
			header->hrec[i] = list->lines[slot++];
}

/* The lines that htslib made for contigs met, but for the FASTA's. */
static int format_undeclared(const cr_variants_writer *writer, const cr_contigs *listed,
			     kstring_t *text)
{
	const cr_variants *variants = writer->variants;

	for (int64_t i = variants->declared; i < cr_contigs_count(variants->contigs); i++) {
		const char *name = cr_contigs_name(variants->contigs, i);
		const bcf_hrec_t *line = line_of(writer, name);

		if (line && cr_contigs_find(listed, name, strlen(name)) < 0 &&
		    bcf_hrec_format(line, text) < 0)
			return -1;
	}
	return 0;
}

/* left_out: of text. */
static int add_to_input(cr_variants_writer *writer, const cr_variants_writer_options *options,
			kstring_t *left_out, crocuta_error *error)
{
	const cr_variants *variants = writer->variants;
	const cr_contigs *met = variants->contigs, *reference = options->reference;
	const int64_t all = cr_contigs_count(met) + (reference ? cr_contigs_count(reference) : 0);
	struct contig_lines list = {cr_contigs_new(),
				    cr_calloc((size_t)all + 1, sizeof *list.lines), 0};
	enum naming naming;
	int code = list.names && list.lines ? CROCUTA_OK : fail_memory(writer, error);

	for (int64_t i = variants->declared; !code && reference && i < cr_contigs_count(met); i++) {
		int64_t at = mapped(options, met, i);

		if (at >= 0)
			code = add_length(writer, cr_contigs_name(met, i),
					  cr_contigs_length(reference, at), error);
	}
	if (!code && reference && !variants->declared) {
		naming = common_naming(options, met);
		if (naming != UNKNOWN)
			code = list_reference(writer, reference, naming, &list, error);
		if (!code)
			sort_lines(writer, met, &list);
	}
	if (!code && !cr_is_binary(writer) && format_undeclared(writer, list.names, left_out) < 0)
		code = fail_memory(writer, error);
	cr_contigs_free(list.names);
	cr_free(list.lines);
	return code;
}

/* Of a header of our own. */
static int add_reference(cr_variants_writer *writer, const cr_contigs *reference,
			 crocuta_error *error)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < cr_contigs_count(reference); i++)
		code = append_contig(writer, cr_contigs_name(reference, i),
				     cr_contigs_length(reference, i), error);
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
			if (cr_contigs_length(lists[list], i) > CR_TBI_LONGEST)
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

/* Take the input's own line of a tag out. */
static int remove_tag(cr_variants_writer *writer, const char *id, crocuta_error *error)
{
	if (!bcf_hdr_get_hrec(writer->header, BCF_HL_INFO, "ID", id, NULL))
		return CROCUTA_OK;
	if (!writer->overwrite)
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%.200s: the input has an INFO tag %.80s already; "
			       "--tag-prefix gives another name, --overwrite-tags replaces it",
			       writer->variants ? writer->variants->shown : writer->path, id);
	bcf_hdr_remove(writer->header, BCF_HL_INFO, id);
	return CROCUTA_OK;
}

static int remove_tags(cr_variants_writer *writer, const cr_variants_writer_options *options,
		       crocuta_error *error)
{
	int code = CROCUTA_OK;

	for (int i = 0; !code && i < options->tag_count; i++)
		code = remove_tag(writer, options->tags[i].id, error);
	for (int i = 0; !code && i < writer->stale_count; i++)
		code = remove_tag(writer, writer->stale[i].name, error);
	return code;
}

static int add_tag(cr_variants_writer *writer, const cr_variants_writer_options *options,
		   const cr_variant_tag *tag, struct cr_tag_place *place, crocuta_error *error)
{
	bcf_hdr_t *header = writer->header;
	kstring_t line = {0, 0, NULL};
	int code, failed;

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

/* Is it "##key=<...,field=value,...>"? */
static int has_field(bcf_hrec_t *line, const cr_variants_replaced *replaced)
{
	const int at = bcf_hrec_find_key(line, replaced->field);
	const char *value = at < 0 ? NULL : line->vals[at];
	const size_t length = strlen(replaced->value);
	const int quoted = value && *value == '"';

	return value && !strncmp(value + quoted, replaced->value, length) &&
	       !strcmp(value + quoted + length, quoted ? "\"" : "");
}

static int is_among(const char *const *lines, const char *line, size_t length)
{
	for (; lines && *lines; lines++)
		if (strlen(*lines) == length && !strncmp(*lines, line, length))
			return 1;
	return 0;
}

/* A line of the input into text, unless it is among `lines`. */
static int leave_out(const bcf_hrec_t *line, const char *const *lines, kstring_t *text)
{
	const size_t before = text->l;

	if (bcf_hrec_format(line, text) < 0)
		return -1;
	if (is_among(lines, text->s + before, text->l - before - 1)) {
		text->l = before;
		text->s[before] = '\0';
	}
	return 0;
}

/* Lines of the input about tags that are replaced. */
static int format_replaced(const cr_variants_writer *writer,
			   const cr_variants_writer_options *options, kstring_t *text)
{
	const cr_variants_replaced *replaced = &options->replaced;
	const bcf_hdr_t *header = writer->header;
	int ours = 0, others = 0, failed = 0;

	if (!replaced->key || !options->overwrite_tags)
		return 0;
	for (int i = 0; !failed && i < header->nhrec; i++) {
		if (strcmp(header->hrec[i]->key, replaced->key))
			continue;
		if (has_field(header->hrec[i], replaced)) {
			failed = leave_out(header->hrec[i], options->lines, text);
			ours++;
		} else {
			others++;
		}
	}
	for (int i = 0; !failed && replaced->along && ours && !others && i < header->nhrec; i++)
		if (!strcmp(header->hrec[i]->key, replaced->along))
			failed = leave_out(header->hrec[i], options->lines, text);
	return failed;
}

/* Move a line of the header to its end. */
static int move_to_end(bcf_hdr_t *header, const char *line)
{
	const size_t length = strlen(line);
	kstring_t text = {0, 0, NULL};
	int failed = 0, found = 0;

	for (int i = 0; !failed && !found && i < header->nhrec; i++) {
		bcf_hrec_t *item = header->hrec[i];

		text.l = 0;
		failed = bcf_hrec_format(item, &text) < 0;
		found = !failed && text.l == length + 1 && !strncmp(text.s, line, length);
		if (found) {
			memmove(header->hrec + i, header->hrec + i + 1,
				(size_t)(header->nhrec - i - 1) * sizeof(*header->hrec));
			header->hrec[header->nhrec - 1] = item;
		}
	}
	free(text.s);
	return failed;
}

/* Append the lines that are not there. With tags written over, those that are there stand where
 * they would without the earlier run. */
static int add_lines(cr_variants_writer *writer, const char *const *lines, crocuta_error *error)
{
	kstring_t text = {0, 0, NULL};
	int code = CROCUTA_OK;

	if (lines && bcf_hdr_format(writer->header, 0, &text) < 0)
		code = fail_memory(writer, error);
	for (; !code && lines && *lines; lines++)
		if (!is_there(&text, *lines))
			code = append(writer, *lines, error);
		else if (writer->overwrite && move_to_end(writer->header, *lines))
			code = fail_memory(writer, error);
	free(text.s);
	return code;
}

/* ---- as text --------------------------------------------------------------------------------- */

/* Is it a line of the input, not one of `lines`, whose key is among `drop`? */
static int is_dropped(const cr_variants_writer_options *options, const char *line, size_t length)
{
	if (is_among(options->lines, line, length))
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

/* out: lines that are left out, "\n" behind each. */
static int format_header(cr_variants_writer *writer, const cr_variants_writer_options *options,
			 const kstring_t *out, kstring_t *text, crocuta_error *error)
{
	kstring_t all = {0, 0, NULL};
	int failed;

	failed = bcf_hdr_format(writer->header, cr_is_binary(writer), &all) < 0;
	while (all.l && !all.s[all.l - 1])
		all.l--;
	for (char *line = all.s, *stop; !failed && line < all.s + all.l; line = stop + 1) {
		int left_out;

		stop = memchr(line, '\n', (size_t)(all.s + all.l - line));
		if (!stop)
			break;
		*stop = '\0';
		left_out = is_dropped(options, line, (size_t)(stop - line)) ||
			   (out->l && is_there(out, line));
		*stop = '\n';
		if (!left_out)
			failed = kputsn(line, (size_t)(stop + 1 - line), text) < 0;
	}
	free(all.s);
	return failed ? fail_memory(writer, error) : CROCUTA_OK;
}

/* What text leaves out of the input's header as it stands, read so far. */
static int find_left_out(const cr_variants_writer *writer,
			 const cr_variants_writer_options *options, kstring_t *out,
			 crocuta_error *error)
{
	const cr_variants *variants = writer->variants;

	if (!variants)
		return CROCUTA_OK;
	if (format_replaced(writer, options, out) ||
	    (!cr_is_binary(writer) &&
	     format_made_up(writer->header, variants->hrecs, writer->header->nhrec, out)))
		return fail_memory(writer, error);
	return CROCUTA_OK;
}

int cr_variants_make_header(cr_variants_writer *writer, const cr_variants_writer_options *options,
			    kstring_t *text, crocuta_error *error)
{
	kstring_t out = {0, 0, NULL};
	int code = check_tbi(writer, options, error);

	if (!code)
		code = find_left_out(writer, options, &out, error);
	if (!code)
		code = remove_tags(writer, options, error);
	/* In front of the tags, as those met already are. */
	if (!code && writer->variants)
		code = add_to_input(writer, options, &out, error);
	for (int i = 0; !code && i < writer->tag_count; i++)
		code = add_tag(writer, options, &options->tags[i], &writer->tags[i], error);
	if (!code && !writer->variants)
		code = add_reference(writer, options->reference, error);
	if (!code)
		code = add_lines(writer, options->lines, error);
	if (!code && bcf_hdr_sync(writer->header) < 0)
		code = fail_memory(writer, error);
	if (!code && writer->variants)
		code = cr_variants_extend_contigs(writer->variants, 0, error);
	if (!code)
		code = format_header(writer, options, &out, text, error);
	writer->written[0] = writer->header->n[BCF_DT_ID];
	writer->written[1] = writer->header->n[BCF_DT_CTG];
	free(out.s);
	return code;
}
