/* variants_write.c - records with our tags, to VCF or BCF; see variants.h.
 *
 * htslib formats, io/atomic writes: so every byte of every kind of output goes through the one
 * place that checks. Tags are appended to the packed INFO of a record; what it came with stays as
 * it was, to the byte. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/variants_write_internal.h"

#define CSI_SHIFT 14
#define INFO_LIMIT 65535 /* of a BCF record */
#define IS_64BIT                                                                                   \
	(1 << 30) /* htslib's own mark, in `unpacked`, of a record with numbers too large */

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Compress what is in the block; without anything in it, this is the end marker. */
static int write_block(cr_variants_writer *writer, crocuta_error *error)
{
	char packed[BGZF_MAX_BLOCK_SIZE];
	size_t size = sizeof packed;

	if (bgzf_compress(packed, &size, writer->block, writer->used, writer->level))
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: compression failed",
			       writer->path);
	writer->used = 0;
	return cr_output_write(writer->data, packed, (int64_t)size, error);
}

int cr_variants_put(cr_variants_writer *writer, const char *bytes, size_t count,
		    crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (!writer->block)
		return cr_output_write(writer->data, bytes, (int64_t)count, error);
	while (!code && count) {
		size_t room = CR_BGZF_CONTENT - writer->used, take = count < room ? count : room;

		memcpy(writer->block + writer->used, bytes, take);
		writer->used += take;
		bytes += take;
		count -= take;
		if (writer->used == CR_BGZF_CONTENT)
			code = write_block(writer, error);
	}
	return code;
}

static void put_32(char *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (char)(value >> 8 * i & 0xff);
}

/* The header stands in blocks of its own, so that it can be exchanged. */
static int put_header(cr_variants_writer *writer, const kstring_t *text, crocuta_error *error)
{
	char head[9] = "BCF\2\2";
	int code = CROCUTA_OK;

	put_32(head + 5, (uint32_t)text->l + 1);
	if (cr_is_binary(writer))
		code = cr_variants_put(writer, head, sizeof head, error);
	if (!code) /* with its NUL in BCF */
		code = cr_variants_put(writer, text->s, text->l + (size_t)cr_is_binary(writer),
				       error);
	if (!code && writer->block && writer->used)
		code = write_block(writer, error);
	return code;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_options(const cr_variants *variants, const cr_variants_writer_options *options,
			 crocuta_error *error)
{
	if (!options->type || !strchr("vzbu", options->type))
		return cr_fail(error, CROCUTA_EARG, "output type '%c': give v, z, b or u",
			       options->type);
	if (options->level < -1 || options->level > 9)
		return cr_fail(error, CROCUTA_EARG, "compression level %d: give 0 to 9",
			       options->level);
	if (!variants && !options->reference)
		return cr_fail(error, CROCUTA_EINTERNAL, "a new header needs contigs");
	if (!options->index)
		return CROCUTA_OK;
	if (strcmp(options->index, "csi") && strcmp(options->index, "tbi"))
		return cr_fail(error, CROCUTA_EARG, "index \"%.40s\": give csi or tbi",
			       options->index);
	if (options->type == 'v' || options->type == 'u')
		return cr_fail(error, CROCUTA_EARG,
			       "%.200s: only compressed output has an index; give -O z or -O b",
			       options->path);
	if (options->type == 'b' && !strcmp(options->index, "tbi"))
		return cr_fail(error, CROCUTA_EARG, "%.200s: the index of a BCF is csi, not tbi",
			       options->path);
	if (!strcmp(options->path, "-"))
		return cr_fail(error, CROCUTA_EARG,
			       "standard output has no index; name the output with -o");
	return CROCUTA_OK;
}

/* Both files, under part names. */
static int open_outputs(cr_variants_writer *writer, const cr_variants_writer_options *options,
			crocuta_error *error)
{
	cr_output_options how = options->output;
	size_t length = strlen(options->path);
	char *index_path;
	int code;

	how.bgzf = how.external = 0;
	code = cr_output_set_add(writer->set, options->path, &how, &writer->data, error);
	if (code || !options->index)
		return code;
	if (!cr_output_part_path(writer->data))
		return cr_fail(error, CROCUTA_EARG,
			       "%.200s: is no regular file and has no index; leave -W out",
			       options->path);
	index_path = cr_calloc(length + 5, 1);
	if (!index_path)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a file name");
	memcpy(index_path, options->path, length);
	index_path[length] = '.';
	memcpy(index_path + length + 1, options->index, 3);
	how.external = 1;
	how.bytes_needed = 0;
	code = cr_output_set_add(writer->set, index_path, &how, &writer->index, error);
	cr_free(index_path);
	return code;
}

/* The names of the family that are not written. */
static int set_up_stale(cr_variants_writer *writer, const cr_variants_writer_options *options,
			crocuta_error *error)
{
	int count = 0;

	while (options->family && options->family[count])
		count++;
	writer->stale = cr_calloc((size_t)count + 1, sizeof *writer->stale);
	if (!writer->stale)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for names of tags");
	for (int i = 0; i < count; i++) {
		struct cr_stale_tag *stale = &writer->stale[writer->stale_count];
		int written = 0;

		for (int j = 0; j < options->tag_count; j++)
			written |= !strcmp(options->tags[j].id, options->family[i]);
		if (written)
			continue;
		*stale = (struct cr_stale_tag){cr_strdup(options->family[i]), -1};
		if (!stale->name)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for names of tags");
		writer->stale_count++;
	}
	return CROCUTA_OK;
}

static int set_up(cr_variants_writer *writer, cr_variants *variants,
		  const cr_variants_writer_options *options, crocuta_error *error)
{
	int compressed = options->type == 'z' || options->type == 'b';

	writer->type = options->type;
	writer->level = options->level;
	writer->tbi = options->index && !strcmp(options->index, "tbi");
	writer->overwrite = options->overwrite_tags;
	writer->tag_count = options->tag_count;
	writer->variants = variants;
	writer->last_contig = -1;
	writer->path = cr_strdup(strcmp(options->path, "-") ? options->path : "standard output");
	writer->set = cr_output_set_new();
	writer->met = cr_contigs_new();
	writer->tags = cr_calloc((size_t)options->tag_count + 1, sizeof *writer->tags);
	writer->block = compressed ? cr_calloc(CR_BGZF_CONTENT, 1) : NULL;
	writer->header = variants ? variants->header : bcf_hdr_init("w");
	if (!writer->path || !writer->set || !writer->met || !writer->tags || !writer->header ||
	    (compressed && !writer->block))
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to write it",
			       options->path);
	for (int i = 0; i < options->tag_count; i++)
		writer->float_tags += !options->tags[i].text;
	return set_up_stale(writer, options, error);
}

int cr_variants_writer_open(cr_variants *variants, const cr_variants_writer_options *options,
			    cr_variants_writer **writer, crocuta_error *error)
{
	cr_variants_writer *made;
	kstring_t text = {0, 0, NULL};
	int code;

	*writer = NULL;
	if ((code = check_options(variants, options, error)))
		return code;
	made = cr_calloc(1, sizeof *made);
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for an output");
	code = set_up(made, variants, options, error);
	if (!code)
		code = cr_variants_make_header(made, options, &text, error);
	if (!code)
		code = open_outputs(made, options, error);
	if (!code)
		code = put_header(made, &text, error);
	free(text.s);
	if (code) {
		cr_variants_writer_free(made);
		return code;
	}
	*writer = made;
	return CROCUTA_OK;
}

void cr_variants_writer_free(cr_variants_writer *writer)
{
	if (!writer)
		return;
	cr_output_set_free(writer->set);
	if (!writer->variants && writer->header)
		bcf_hdr_destroy(writer->header);
	cr_contigs_free(writer->met);
	for (int i = 0; i < writer->stale_count; i++)
		cr_free(writer->stale[i].name);
	cr_free(writer->stale);
	cr_free(writer->tags);
	cr_free(writer->values);
	cr_free(writer->block);
	free(writer->line.s);
	cr_free(writer->path);
	cr_free(writer);
}

/* ---- inside a packed record ------------------------------------------------------------------ */

static uint8_t *skip_value(uint8_t *at)
{
	int type, count = bcf_dec_size(at, &at, &type);

	return at + ((size_t)count << bcf_type_shift[type]);
}

/* The first INFO entry: behind ID, alleles and FILTER. */
static uint8_t *first_info(const bcf1_t *record)
{
	uint8_t *at = skip_value((uint8_t *)record->shared.s);

	for (uint32_t i = 0; i < record->n_allele; i++)
		at = skip_value(at);
	return skip_value(at);
}

static int visit_filters(const bcf1_t *record, cr_number_fn *visit, void *user)
{
	uint8_t *at = skip_value((uint8_t *)record->shared.s);
	int type, count, stop = 0;

	for (uint32_t i = 0; i < record->n_allele; i++)
		at = skip_value(at);
	count = bcf_dec_size(at, &at, &type);
	for (int i = 0; !stop && i < count; i++)
		stop = visit(user, (int)bcf_dec_int1(at, type, &at));
	return stop;
}

int cr_variants_visit_numbers(const bcf1_t *record, cr_number_fn *visit, void *user)
{
	uint8_t *at = first_info(record);
	int stop = visit_filters(record, visit, user);

	for (uint32_t i = 0; !stop && i < record->n_info; i++) {
		stop = visit(user, (int)bcf_dec_typed_int1(at, &at));
		at = skip_value(at);
	}
	at = (uint8_t *)record->indiv.s;
	for (uint32_t i = 0; !stop && i < record->n_fmt; i++) {
		int type, count;

		stop = visit(user, (int)bcf_dec_typed_int1(at, &at));
		count = bcf_dec_size(at, &at, &type);
		at += ((size_t)count << bcf_type_shift[type]) * record->n_sample;
	}
	return stop;
}

static int is_ours(const cr_variants_writer *writer, int number)
{
	for (int i = 0; i < writer->tag_count; i++)
		if (writer->tags[i].id == number)
			return 1;
	for (int i = 0; i < writer->stale_count; i++)
		if (writer->stale[i].id == number)
			return 1;
	return 0;
}

/* A record can bring in a tag that the header lacks. */
static void find_stale(cr_variants_writer *writer)
{
	const bcf_hdr_t *header = writer->header;

	if (writer->known == header->n[BCF_DT_ID])
		return;
	writer->known = header->n[BCF_DT_ID];
	for (int i = 0; i < writer->stale_count; i++)
		writer->stale[i].id = bcf_hdr_id2int(header, BCF_DT_ID, writer->stale[i].name);
}

/* Take out values of our tags that the record came with. */
static int remove_tags(cr_variants_writer *writer, bcf1_t *record, int *found)
{
	uint8_t *at = first_info(record), *kept = at;
	uint32_t count = record->n_info;

	*found = 0;
	find_stale(writer);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *next = at;
		int number = (int)bcf_dec_typed_int1(at, &next);

		next = skip_value(next);
		if (is_ours(writer, number)) {
			++*found;
		} else {
			memmove(kept, at, (size_t)(next - at));
			kept += next - at;
		}
		at = next;
	}
	record->n_info = count - (uint32_t)*found;
	record->shared.l = (size_t)(kept - (uint8_t *)record->shared.s);
	return CROCUTA_OK;
}

/* ---- a record -------------------------------------------------------------------------------- */

static int fail_record(const bcf_hdr_t *header, const bcf1_t *record, const char *what,
		       crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EINPUT, "record at %.80s:%" PRId64 ": %s",
		       bcf_seqname_safe(header, record), (int64_t)record->pos + 1, what);
}

static int check_order(cr_variants_writer *writer, const bcf_hdr_t *header, const bcf1_t *record,
		       crocuta_error *error)
{
	const char *name = bcf_seqname_safe(header, record);
	int64_t contig = cr_contigs_find(writer->met, name, strlen(name)), last;
	int code = CROCUTA_OK;

	if (contig < 0) {
		contig = cr_contigs_count(writer->met);
		code = cr_contigs_add(writer->met, name, strlen(name), 0, error);
		last = -1;
	} else {
		last = contig == writer->last_contig ? writer->last_position : INT64_MAX;
	}
	if (!code && record->pos < last)
		code = fail_record(
			header, record,
			"the records are not sorted, and an index is asked for; sort them "
			"(bcftools sort) or leave -W out",
			error);
	if (!code && writer->tbi && record->pos + record->rlen > CR_TBI_LONGEST)
		code = fail_record(header, record, "lies too far out for a .tbi index; give csi",
				   error);
	writer->last_contig = contig;
	writer->last_position = record->pos;
	return code;
}

/* Is it one line of as many columns as there should be? In BCF a value can hold any byte. */
static int has_columns(const kstring_t *line, const bcf1_t *record)
{
	const char *end = line->s + line->l - 1;
	int64_t tabs = record->n_sample ? 8 + (int64_t)record->n_sample : 7;

	if (memchr(line->s, '\n', line->l) != end)
		return 0;
	for (const char *at = line->s; (at = memchr(at, '\t', (size_t)(end - at))); at++)
		tabs--;
	return !tabs;
}

static int put_text(cr_variants_writer *writer, const bcf_hdr_t *header, bcf1_t *record,
		    crocuta_error *error)
{
	kstring_t *line = &writer->line;

	line->l = 0;
	errno = 0;
	if (vcf_format(header, record, line) < 0 || !line->l)
		return errno == ENOMEM ? cr_fail(error, CROCUTA_EMEMORY, "no memory for a record")
				       : fail_record(header, record, "is damaged", error);
	if (!has_columns(line, record))
		return fail_record(header, record, "a value holds a tab or a line end", error);
	return cr_variants_put(writer, line->s, line->l, error);
}

static int is_beyond(void *user, int number)
{
	return number >= *(int *)user;
}

static int put_binary(cr_variants_writer *writer, const bcf_hdr_t *header, bcf1_t *record,
		      crocuta_error *error)
{
	char head[32];
	uint32_t quality;
	int code;

	if ((record->unpacked & IS_64BIT) || record->pos > INT32_MAX || record->rlen > INT32_MAX)
		return fail_record(header, record, "is too far out for BCF; write VCF", error);
	if (record->rid >= writer->written[1])
		return fail_record(header, record,
				   "the contig is not in the header, and BCF cannot do without; "
				   "write VCF, or add the ##contig line",
				   error);
	if (header->n[BCF_DT_ID] > writer->written[0] &&
	    cr_variants_visit_numbers(record, is_beyond, &writer->written[0]))
		return fail_record(header, record,
				   "a FILTER, INFO or FORMAT tag is not in the header, and BCF "
				   "cannot do without; write VCF, or add its line",
				   error);
	memcpy(&quality, &record->qual, 4);
	put_32(head, (uint32_t)record->shared.l + 24);
	put_32(head + 4, (uint32_t)record->indiv.l);
	put_32(head + 8, (uint32_t)record->rid);
	put_32(head + 12, (uint32_t)(int32_t)record->pos);
	put_32(head + 16, (uint32_t)record->rlen);
	put_32(head + 20, quality);
	put_32(head + 24, (uint32_t)record->n_allele << 16 | record->n_info);
	put_32(head + 28, (uint32_t)record->n_fmt << 24 | record->n_sample);
	code = cr_variants_put(writer, head, sizeof head, error);
	if (!code)
		code = cr_variants_put(writer, record->shared.s, record->shared.l, error);
	if (!code)
		code = cr_variants_put(writer, record->indiv.s, record->indiv.l, error);
	return code;
}

int cr_variants_put_record(cr_variants_writer *writer, const bcf_hdr_t *header, bcf1_t *record,
			   crocuta_error *error)
{
	int code = writer->index ? check_order(writer, header, record, error) : CROCUTA_OK;

	if (code)
		return code;
	return cr_is_binary(writer) ? put_binary(writer, header, record, error)
				    : put_text(writer, header, record, error);
}

/* ---- our tags -------------------------------------------------------------------------------- */

static int encode_floats(cr_variants_writer *writer, kstring_t *out, const float *floats, int alts)
{
	if (alts > writer->value_capacity) {
		float *values = cr_realloc(writer->values, (size_t)alts, sizeof *values);

		if (!values)
			return -1;
		writer->values = values;
		writer->value_capacity = alts;
	}
	for (int i = 0; i < alts; i++) {
		writer->values[i] = floats[i];
		if (!isfinite(floats[i]))
			bcf_float_set_missing(writer->values[i]);
	}
	return bcf_enc_vfloat(out, alts, writer->values);
}

static int encode_texts(cr_variants_writer *writer, kstring_t *out, const char *const *texts,
			int alts)
{
	kstring_t *joined = &writer->line;
	int failed = 0;

	joined->l = 0;
	for (int i = 0; !failed && i < alts; i++) {
		const char *text = texts[i] && texts[i][0] ? texts[i] : ".";

		failed = (i && kputc(',', joined) < 0) || kputs(text, joined) < 0;
	}
	return failed ? -1 : bcf_enc_vchar(out, (int)joined->l, joined->s);
}

static int add_tags(cr_variants_writer *writer, bcf1_t *record, const float *floats,
		    const char *const *texts, crocuta_error *error)
{
	int alts = (int)record->n_allele - 1, failed = 0;

	if (alts < 1)
		return CROCUTA_OK;
	if (record->n_info + (uint32_t)writer->tag_count > INFO_LIMIT)
		return fail_record(writer->header, record, "has too many INFO tags", error);
	for (int i = 0; !failed && i < writer->tag_count; i++) {
		failed = bcf_enc_int1(&record->shared, writer->tags[i].id) < 0;
		if (writer->tags[i].text) {
			failed |= encode_texts(writer, &record->shared, texts, alts) < 0;
			texts += alts;
		} else {
			failed |= encode_floats(writer, &record->shared, floats, alts) < 0;
			floats += alts;
		}
	}
	record->n_info += (uint32_t)writer->tag_count;
	return failed ? cr_fail(error, CROCUTA_EMEMORY, "no memory for a record") : CROCUTA_OK;
}

int cr_variants_write(cr_variants_writer *writer, cr_variant *variant, const float *floats,
		      const char *const *texts, crocuta_error *error)
{
	const struct cr_held_variant *held = (const struct cr_held_variant *)variant;
	bcf1_t *record = variant->record;
	int code, found;

	if (held->owner != writer->variants)
		return cr_fail(error, CROCUTA_EINTERNAL, "a record of another reader");
	if (writer->tag_count || writer->stale_count) {
		code = remove_tags(writer, record, &found);
		if (!code && found && !writer->overwrite)
			code = cr_fail(
				error, CROCUTA_EREFUSED,
				"record at %.80s:%" PRId64
				": has a tag of this run's names already, though the header "
				"lacks it; --tag-prefix gives another name, --overwrite-tags "
				"replaces it",
				variant->contig, (int64_t)record->pos + 1);
		if (!code)
			code = add_tags(writer, record, floats, texts, error);
		if (code)
			return code;
	}
	return cr_variants_put_record(writer, writer->header, record, error);
}

int cr_variants_write_new(cr_variants_writer *writer, int64_t reference_contig, int64_t position,
			  const char *const *alleles, int count, const float *floats,
			  const char *const *texts, crocuta_error *error)
{
	bcf1_t *record;
	int code = CROCUTA_OK, failed;

	if (writer->variants || reference_contig < 0 ||
	    reference_contig >= writer->header->n[BCF_DT_CTG] || count < 1)
		return cr_fail(error, CROCUTA_EINTERNAL, "no such record can be made");
	record = bcf_init();
	if (!record)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	record->rid = (int32_t)reference_contig;
	record->pos = position;
	record->rlen = (hts_pos_t)strlen(alleles[0]);
	record->n_allele = (uint32_t)count & 0xffff;
	bcf_float_set_missing(record->qual);
	failed = bcf_enc_size(&record->shared, 0, BCF_BT_CHAR) < 0; /* ID */
	for (int i = 0; i < count; i++)
		failed |= bcf_enc_vchar(&record->shared, (int)strlen(alleles[i]), alleles[i]) < 0;
	failed |= bcf_enc_vint(&record->shared, 0, NULL, -1) < 0; /* FILTER */
	if (failed)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	if (!code)
		code = add_tags(writer, record, floats, texts, error);
	if (!code)
		code = cr_variants_put_record(writer, writer->header, record, error);
	bcf_destroy(record);
	return code;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Index the finished part file. */
static int build_index(cr_variants_writer *writer, crocuta_error *error)
{
	const char *data = cr_output_part_path(writer->data);
	const char *index = cr_output_part_path(writer->index);
	int shift = writer->tbi ? 0 : CSI_SHIFT, failed;

	errno = 0;
	if (writer->type == 'b')
		failed = bcf_index_build3(data, index, shift, 0) < 0;
	else
		failed = tbx_index_build3(data, index, shift, 0, &tbx_conf_vcf) < 0;
	if (!failed) { /* htslib drops the result of some writes */
		hts_idx_t *again = hts_idx_load3(
			data, index, writer->tbi ? HTS_FMT_TBI : HTS_FMT_CSI, HTS_IDX_SILENT_FAIL);

		failed = !again;
		if (again)
			hts_idx_destroy(again);
	}
	if (!failed)
		return CROCUTA_OK;
	return cr_fail_errno(error, CROCUTA_EIO, "%.200s: its index cannot be written",
			     writer->path);
}

int cr_variants_writer_commit(cr_variants_writer *writer, crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (writer->block && writer->used)
		code = write_block(writer, error);
	if (!code && writer->block)
		code = write_block(writer, error);
	if (!code)
		code = cr_output_finish(writer->data, error);
	if (!code && writer->index)
		code = build_index(writer, error);
	return code ? code : cr_output_set_commit(writer->set, error);
}
