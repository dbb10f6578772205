/* variants_copy.c - records of several readers in one output. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/variants_write_internal.h"

/* ---- headers put together -------------------------------------------------------------------- */

static const char *value_of(bcf_hrec_t *line, const char *key)
{
	int at = bcf_hrec_find_key(line, key);

	return at < 0 ? NULL : line->vals[at];
}

/* Do both lines, of one kind and ID, mean the same? */
static int agree(bcf_hrec_t *one, bcf_hrec_t *other)
{
	static const char *const keys[] = {"Number", "Type", "length"};

	for (int i = 0; i < 3; i++) {
		const char *a = value_of(one, keys[i]), *b = value_of(other, keys[i]);

		if (a && b && strcmp(a, b))
			return 0;
	}
	return 1;
}

static int is_line_of(const char *text, const char *line, size_t length)
{
	for (const char *p = text; (p = strstr(p, line)); p += length)
		if (p == text || p[-1] == '\n')
			return 1;
	return 0;
}

/* One line of the other header. text: our own header before. */
static int add_line(cr_variants *variants, const cr_variants *other, bcf_hrec_t *line,
		    const char *text, crocuta_error *error)
{
	const char *id = value_of(line, "ID");
	kstring_t formatted = {0, 0, NULL};
	bcf_hrec_t *known = NULL;
	int code = CROCUTA_OK;

	if (line->type == BCF_HL_GEN && !strcmp(line->key, "fileformat"))
		return CROCUTA_OK;
	if (line->type == BCF_HL_CTG || line->type == BCF_HL_INFO || line->type == BCF_HL_FMT ||
	    line->type == BCF_HL_FLT) {
		if (id)
			known = bcf_hdr_get_hrec(variants->header, line->type, "ID", id, NULL);
		if (known && !agree(known, line))
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s and %.200s define %.20s %.80s differently",
				       variants->shown, other->shown, line->key, id);
	}
	if (known)
		return CROCUTA_OK;
	if (bcf_hrec_format(line, &formatted) < 0)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a header");
	else if (!is_line_of(text, formatted.s, formatted.l) &&
		 bcf_hdr_append(variants->header, formatted.s) < 0)
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: a header line is damaged: %.200s",
			       other->shown, formatted.s);
	free(formatted.s);
	return code;
}

int cr_variants_add_header(cr_variants *variants, const cr_variants *other, crocuta_error *error)
{
	kstring_t text = {0, 0, NULL};
	int code = CROCUTA_OK;

	if (bcf_hdr_format(variants->header, 0, &text) < 0)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a header");
	for (int i = 0; !code && i < other->hrecs; i++)
		code = add_line(variants, other, other->header->hrec[i], text.s, error);
	free(text.s);
	if (!code && bcf_hdr_sync(variants->header) < 0)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a header");
	if (!code)
		code = cr_variants_extend_contigs(variants, 1, error);
	variants->declared = cr_contigs_count(variants->contigs);
	variants->hrecs = variants->header->nhrec;
	return code;
}

/* ---- records --------------------------------------------------------------------------------- */

static int check_samples(const cr_variants_writer *writer, const cr_variants *from,
			 crocuta_error *error)
{
	const bcf_hdr_t *ours = writer->header, *theirs = from->header;
	int same = bcf_hdr_nsamples(ours) == bcf_hdr_nsamples(theirs);

	for (int i = 0; same && i < bcf_hdr_nsamples(ours); i++)
		same = !strcmp(ours->samples[i], theirs->samples[i]);
	if (same)
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: its samples are not those of the first input", from->shown);
}

struct numbers {
	const cr_variants_writer *writer;
	const bcf_hdr_t *from;
};

static int is_unknown(void *user, int number)
{
	const struct numbers *numbers = user;
	const char *tag = bcf_hdr_int2id(numbers->from, BCF_DT_ID, number);
	int ours = bcf_hdr_id2int(numbers->writer->header, BCF_DT_ID, tag);

	return ours < 0 || ours >= numbers->writer->written[0];
}

/* Give the record the numbers of the writer's header. */
static int translate(cr_variants_writer *writer, cr_variants *from, bcf1_t *record,
		     crocuta_error *error)
{
	struct numbers numbers = {writer, from->header};
	int contig = bcf_hdr_name2id(writer->header, bcf_hdr_id2name(from->header, record->rid));
	bcf1_t *copy;

	if (contig < 0 || contig >= writer->written[1] ||
	    cr_variants_visit_numbers(record, is_unknown, &numbers))
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: record at %.80s:%" PRId64
			" has a contig or a FILTER, INFO or FORMAT tag that no header has, and "
			"BCF cannot do without; write VCF",
			from->shown, bcf_seqname_safe(from->header, record),
			(int64_t)record->pos + 1);
	record->errcode = 0; /* htslib ends the process at it; it was looked at when read */
	if (bcf_translate(writer->header, from->header, record) < 0)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	copy = bcf_dup(record); /* packs the record, which nothing else does */
	if (!copy)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	bcf_destroy(copy);
	return CROCUTA_OK;
}

/* htslib keeps what it found out about the two headers in the source; both may have grown. */
static void forget_translation(bcf_hdr_t *header)
{
	for (int i = 0; i < 2; i++) {
		free(header->transl[i]);
		header->transl[i] = NULL;
	}
	header->ntransl = 0;
}

int cr_variants_copy(cr_variants_writer *writer, cr_variants *from, cr_variant *variant,
		     crocuta_error *error)
{
	bcf1_t *record = variant->record;
	int code = CROCUTA_OK;

	if (from == writer->variants)
		return cr_variants_put_record(writer, writer->header, record, error);
	if (writer->from != from || writer->from_entries[0] != from->header->n[BCF_DT_ID] ||
	    writer->from_entries[1] != from->header->n[BCF_DT_CTG]) {
		if ((code = check_samples(writer, from, error)))
			return code;
		forget_translation(from->header);
		writer->from = from;
		writer->from_entries[0] = from->header->n[BCF_DT_ID];
		writer->from_entries[1] = from->header->n[BCF_DT_CTG];
	}
	if (writer->type == 'v' || writer->type == 'z')
		return cr_variants_put_record(writer, from->header, record, error);
	code = translate(writer, from, record, error);
	return code ? code : cr_variants_put_record(writer, writer->header, record, error);
}
