/* variants_read.c - records of a VCF or BCF; see variants.h. The synced reader of htslib is not
 * used: release 1.16 takes an error in the middle for the end of the file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <htslib/hfile.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"
#include "io/source.h"
#include "io/variants_internal.h"

#define RECORD_LIMIT ((uint32_t)1 << 30) /* bytes of either half of a BCF record */
#define FURTHEST (INT64_MAX / 4)

/* ---- opening --------------------------------------------------------------------------------- */

static int check_options(const char *path, const cr_variants_options *options, crocuta_error *error)
{
	if (options->regions_overlap < 0 || options->regions_overlap > 2)
		return cr_fail(error, CROCUTA_EARG, "--regions-overlap %d: give 0, 1 or 2",
			       options->regions_overlap);
	if (options->regions && options->regions_file)
		return cr_fail(error, CROCUTA_EARG, "give -r or -R, not both");
	if (options->targets && options->targets_file)
		return cr_fail(error, CROCUTA_EARG, "give -t or -T, not both");
	if (strcmp(path, "-"))
		return CROCUTA_OK;
	if (options->regions || options->regions_file)
		return cr_fail(
			error, CROCUTA_EARG,
			"-r and -R jump by an index, which standard input has not; -t and -T "
			"filter while reading");
	if (options->targets_file &&
	    !strcmp(options->targets_file + (options->targets_file[0] == '^'), "-"))
		return cr_fail(error, CROCUTA_EARG,
			       "standard input cannot be both the variants and the targets");
	return CROCUTA_OK;
}

static int fail_format(const cr_variants *variants, const htsFormat *format, crocuta_error *error)
{
	char *known = format->format == unknown_format || format->format == text_format
			      ? NULL
			      : hts_format_description(format);
	int code = cr_fail(error, CROCUTA_EINPUT,
			   "%.200s: is %.100s; variants come as VCF, whose first line is "
			   "##fileformat=VCFv4.x, or BCF",
			   variants->shown, known ? known : "neither VCF nor BCF");

	free(known);
	return code;
}

/* Find the format and lay BGZF over the stream, which is taken over. */
static int open_stream(cr_variants *variants, hFILE *stream, crocuta_error *error)
{
	htsFormat format = {0};
	unsigned char first;
	ssize_t got = hpeek(stream, &first, 1);
	int code;

	if (got <= 0 || hts_detect_format2(stream, NULL, &format)) {
		code = got ? cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read",
					   variants->shown)
			   : cr_fail(error, CROCUTA_EINPUT, "%.200s: the input is empty",
				     variants->shown);
		hclose_abruptly(stream);
		return code;
	}
	if (format.format == bcf) {
		variants->file = hts_hopen(stream, "variants", "r");
		variants->stream = variants->file ? variants->file->fp.bgzf : NULL;
		variants->format = "bcf";
	} else if (format.format == vcf) {
		variants->stream = bgzf_hopen(stream, "r");
		variants->format = format.compression == no_compression ? "vcf" : "vcf.gz";
	} else {
		code = fail_format(variants, &format, error);
		hclose_abruptly(stream);
		return code;
	}
	if (!variants->stream) {
		hclose_abruptly(stream);
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: its beginning is damaged or cut",
			       variants->shown);
	}
	return CROCUTA_OK;
}

/* What the end of a file says at once. */
static int check_file_end(const cr_variants *variants, crocuta_error *error)
{
	BGZF *stream = variants->stream;

	if (variants->allow_truncated)
		return CROCUTA_OK;
	if (stream->is_compressed && !stream->is_gzip && bgzf_check_EOF(stream) == 0)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: no BGZF end marker; the file was cut, copy it again "
			       "(--allow-truncated reads what is there)",
			       variants->shown);
	if (!strcmp(variants->format, "vcf") && strcmp(variants->path, "-"))
		return cr_check_last_line(variants->path, error);
	return CROCUTA_OK;
}

static int make_room(cr_variants *variants, crocuta_error *error)
{
	int64_t capacity = variants->rid_capacity ? variants->rid_capacity * 2 : 64, *index_of;
	unsigned char *seen;

	if (variants->rids < variants->rid_capacity)
		return CROCUTA_OK;
	index_of = cr_realloc(variants->index_of, (size_t)capacity, sizeof *index_of);
	variants->index_of = index_of ? index_of : variants->index_of;
	seen = index_of ? cr_realloc(variants->seen, (size_t)capacity, 1) : NULL;
	if (!seen)
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its contigs",
			       variants->shown);
	memset(seen + variants->rid_capacity, 0, (size_t)(capacity - variants->rid_capacity));
	variants->seen = seen;
	variants->rid_capacity = capacity;
	return CROCUTA_OK;
}

/* A contig of the header that is declared or was met. */
static int take_in(cr_variants *variants, int64_t rid, crocuta_error *error)
{
	const bcf_idpair_t *entry = &variants->header->id[BCF_DT_CTG][rid];
	int64_t length = entry->key && entry->val ? (int64_t)entry->val->info[0] : 0;

	if (!entry->key || variants->index_of[rid] >= 0)
		return CROCUTA_OK;
	variants->index_of[rid] = cr_contigs_count(variants->contigs);
	return cr_contigs_add(variants->contigs, entry->key, strlen(entry->key),
			      length > 0 && length <= FURTHEST ? length : 0, error);
}

int cr_variants_extend_contigs(cr_variants *variants, int are_met, crocuta_error *error)
{
	int code = CROCUTA_OK;

	while (!code && variants->rids < variants->header->n[BCF_DT_CTG]) {
		if ((code = make_room(variants, error)))
			return code;
		variants->index_of[variants->rids] = -1;
		if (are_met)
			code = take_in(variants, variants->rids, error);
		variants->rids++;
	}
	return code;
}

static int open_lists(cr_variants *variants, const cr_variants_options *options,
		      crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (options->regions || options->regions_file)
		code = cr_walk_open(variants, options->regions, options->regions_file, error);
	if (!code && (options->targets || options->targets_file)) {
		variants->has_targets = 1;
		code = cr_intervals_open(variants->contigs, options->targets, options->targets_file,
					 &variants->targets, error);
	}
	return code;
}

int cr_variants_open(const char *path, const cr_variants_options *options, cr_variants **variants,
		     crocuta_error *error)
{
	static const cr_variants_options defaults = {.regions_overlap = 1};
	cr_variants *made;
	hFILE *stream;
	int code;

	*variants = NULL;
	options = options ? options : &defaults;
	if ((code = check_options(path, options, error)))
		return code;
	made = cr_calloc(1, sizeof *made);
	if (!made || !(made->path = cr_strdup(path)) ||
	    !(made->shown = cr_strdup(strcmp(path, "-") ? path : "standard input")) ||
	    !(made->contigs = cr_contigs_new())) {
		cr_variants_close(made);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to open it", path);
	}
	made->allow_truncated = options->allow_truncated;
	made->overlap = options->regions_overlap;
	made->max_allele = options->max_allele > 0 ? options->max_allele : 1 << 20;
	made->last_rid = -1;
	code = cr_open_stream(path, &stream, error);
	if (!code)
		code = open_stream(made, stream, error);
	if (!code)
		code = check_file_end(made, error);
	if (!code)
		code = cr_variants_read_header(made, error);
	if (!code)
		code = cr_variants_extend_contigs(made, 1, error);
	if (!code) {
		made->declared = cr_contigs_count(made->contigs);
		made->hrecs = made->header->nhrec;
		if (made->file)
			made->number = 0;
		code = open_lists(made, options, error);
	}
	if (code) {
		cr_variants_close(made);
		return code;
	}
	*variants = made;
	return CROCUTA_OK;
}

void cr_variants_close(cr_variants *variants)
{
	if (!variants)
		return;
	cr_walk_close(&variants->walk);
	cr_intervals_close(&variants->targets);
	if (variants->header)
		bcf_hdr_destroy(variants->header);
	if (variants->file)
		hts_close(variants->file);
	else if (variants->stream)
		bgzf_close(variants->stream);
	free(variants->line.s);
	cr_contigs_free(variants->contigs);
	cr_free(variants->index_of);
	cr_free(variants->seen);
	cr_free(variants->text);
	cr_free(variants->shown);
	cr_free(variants->path);
	cr_free(variants);
}

/* ---- one record ------------------------------------------------------------------------------ */

/* Refuse what htslib would have changed in passing, or reads as something else. */
static int check_errcode(const cr_variants *variants, const bcf1_t *record, crocuta_error *error)
{
	const char *what = NULL;

	if (record->errcode & BCF_ERR_NCOLS)
		what = "the number of sample columns is not that of the header";
	else if (record->errcode & BCF_ERR_CTG_INVALID)
		what = "CHROM is not a contig name";
	else if (record->errcode & BCF_ERR_TAG_INVALID)
		what = "a FILTER, INFO or FORMAT name is not valid";
	else if (record->errcode & BCF_ERR_CHAR)
		what = "a number holds something that is no number";
	else if (record->errcode & BCF_ERR_LIMITS)
		what = "a FORMAT column holds more values than htslib can take";
	else if (record->errcode & ~(BCF_ERR_CTG_UNDEF | BCF_ERR_TAG_UNDEF))
		what = "the record is damaged";
	return what ? cr_variants_fail(variants, what, error) : CROCUTA_OK;
}

/* "." or a number as C writes it; htslib takes the beginning and drops the rest. */
static int is_quality(const char *text, size_t bytes)
{
	size_t digits = 0, i = bytes && (text[0] == '-' || text[0] == '+');

	if (bytes == 1 && text[0] == '.')
		return 1;
	if (bytes == 3 && (!strncasecmp(text, "inf", 3) || !strncasecmp(text, "nan", 3)))
		return 1;
	for (; i < bytes && strchr("0123456789.", text[i]); i++)
		digits += text[i] != '.';
	if (digits && i < bytes && (text[i] == 'e' || text[i] == 'E')) {
		i += 1 + (i + 1 < bytes && (text[i + 1] == '-' || text[i + 1] == '+'));
		for (digits = 0; i < bytes && text[i] >= '0' && text[i] <= '9'; i++)
			digits++;
	}
	return digits && i == bytes;
}

/* FORMAT and the samples, from the tab behind INFO on. htslib drops columns too many. */
static int check_samples(const cr_variants *variants, const char *tab, crocuta_error *error)
{
	int columns = 0, samples = bcf_hdr_nsamples(variants->header);

	for (; tab; tab = strchr(tab + 1, '\t')) {
		if (tab[1] == '\t' || !tab[1])
			return cr_variants_fail(variants, "a column is empty", error);
		columns++;
	}
	if (columns > 1 && !samples)
		return cr_variants_fail(variants, "has sample columns, and the header none", error);
	if (columns && columns != 1 + samples)
		return cr_variants_fail(
			variants, "the number of sample columns is not that of the header", error);
	return CROCUTA_OK;
}

/* The columns that htslib has no sentence about. */
static int check_columns(const cr_variants *variants, crocuta_error *error)
{
	const char *line = variants->line.s, *column[8] = {line};
	int64_t position;
	int columns = 1;

	if (line[0] == '#')
		return cr_variants_fail(variants, "a header line among the records", error);
	for (const char *tab = line; columns < 8 && (tab = strchr(tab, '\t'));)
		column[columns++] = ++tab;
	if (columns < 8)
		return cr_variants_fail(variants,
					"a record has 8 columns or more, set apart by tabs", error);
	position = cr_parse_integer(column[1], (size_t)(column[2] - column[1] - 1));
	if (position < 0 || position > FURTHEST)
		return cr_variants_fail(variants, "POS is not a position", error);
	if (!is_quality(column[5], (size_t)(column[6] - column[5] - 1)))
		return cr_variants_fail(variants, "QUAL is not a number", error);
	return check_samples(variants, strchr(column[7], '\t'), error);
}

static int read_text_record(cr_variants *variants, bcf1_t *record, int *found, crocuta_error *error)
{
	int code = cr_variants_read_line(variants, 1, found, error);

	if (code || !*found)
		return code;
	if (!variants->line.l)
		return cr_variants_fail(variants, "an empty line among the records", error);
	if ((code = check_columns(variants, error)))
		return code;
	if (vcf_parse(&variants->line, variants->header, record) < 0) {
		code = check_errcode(variants, record, error);
		return code ? code : cr_variants_fail(variants, "this is no VCF record", error);
	}
	return check_errcode(variants, record, error);
}

static int fail_binary(cr_variants *variants, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: record %lld cannot be read; the file is cut or damaged, fetch it "
		       "again",
		       variants->shown, (long long)variants->number);
}

static uint32_t little_endian(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

static int read_binary_record(cr_variants *variants, bcf1_t *record, int *found,
			      crocuta_error *error)
{
	BGZF *stream = variants->stream;
	int got = bgzf_peek(stream);
	const unsigned char *next;

	*found = 0;
	if (got == -1)
		return cr_variants_check_end(variants, error);
	variants->number++;
	if (got < 0)
		return cr_variants_cut_is_fine(variants) ? CROCUTA_OK
							 : fail_binary(variants, error);
	/* htslib makes room for what these say. */
	next = (const unsigned char *)stream->uncompressed_block + stream->block_offset;
	if (stream->block_length - stream->block_offset >= 8 &&
	    (little_endian(next) < 24 || little_endian(next) > RECORD_LIMIT ||
	     little_endian(next + 4) > RECORD_LIMIT))
		return fail_binary(variants, error);
	if (bcf_read(variants->file, variants->header, record) < 0)
		return cr_variants_cut_is_fine(variants) ? CROCUTA_OK
							 : fail_binary(variants, error);
	*found = 1;
	return check_errcode(variants, record, error);
}

static int has_control_byte(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			return 1;
	return 0;
}

/* What every record must be, wherever it comes from. */
static int check_record(const cr_variants *variants, bcf1_t *record, crocuta_error *error)
{
	if (record->rid < 0 || record->rid >= variants->rids || variants->index_of[record->rid] < 0)
		return cr_variants_fail(variants, "the contig is not in the header", error);
	if (has_control_byte(bcf_hdr_id2name(variants->header, record->rid)))
		return cr_variants_fail(variants, "CHROM holds a control byte", error);
	if (record->pos < -1 || record->pos > FURTHEST || record->rlen < 0 ||
	    record->rlen > FURTHEST)
		return cr_variants_fail(variants, "the position or the length is impossible",
					error);
	if (record->n_sample != (uint32_t)bcf_hdr_nsamples(variants->header))
		return cr_variants_fail(variants, "the number of samples is not that of the header",
					error);
	if (!record->n_allele || bcf_unpack(record, BCF_UN_STR) < 0)
		return cr_variants_fail(variants, "the record has no REF", error);
	for (uint32_t i = 0; i < record->n_allele; i++) {
		const char *allele = record->d.allele[i];
		size_t length = strlen(allele);

		if (!length)
			return cr_variants_fail(variants, i ? "an ALT is empty" : "REF is empty",
						error);
		if (length > (size_t)variants->max_allele)
			return cr_variants_fail(variants, "an allele is longer than allowed",
						error);
		if (has_control_byte(allele))
			return cr_variants_fail(variants, "an allele holds a control byte", error);
	}
	if (record->d.id && has_control_byte(record->d.id))
		return cr_variants_fail(variants, "ID holds a control byte", error);
	return CROCUTA_OK;
}

int cr_variants_read_record(cr_variants *variants, bcf1_t *record, int *found, crocuta_error *error)
{
	int code = variants->file ? read_binary_record(variants, record, found, error)
				  : read_text_record(variants, record, found, error);

	if (!code && *found)
		code = cr_variants_extend_contigs(variants, 1, error);
	if (!code && *found && record->rid >= 0 && record->rid < variants->rids)
		code = take_in(variants, record->rid, error);
	if (!code && *found)
		code = check_record(variants, record, error);
	return code;
}

/* ---- handing over ---------------------------------------------------------------------------- */

static int is_target(const cr_variants *variants, bcf1_t *record)
{
	const struct cr_intervals *targets = &variants->targets;
	const char *name = bcf_hdr_id2name(variants->header, record->rid);
	int64_t contig = cr_contigs_find(targets->names, name, strlen(name)), run;
	int hit = 0;

	run = contig < 0 ? -1 : targets->run_of[contig];
	if (run >= 0)
		hit = cr_intervals_hit(targets, targets->runs[run].first, targets->runs[run].count,
				       cr_variant_extent(record, variants->overlap));
	return hit != targets->complement;
}

/* An index wants each contig in one piece, positions ascending. */
static void note_order(cr_variants *variants, const bcf1_t *record)
{
	if (record->rid != variants->last_rid) {
		variants->unsorted |= variants->seen[record->rid];
		variants->seen[record->rid] = 1;
		variants->last_rid = record->rid;
	} else if (record->pos < variants->last_position) {
		variants->unsorted = 1;
	}
	variants->last_position = record->pos;
}

static int hand_over(cr_variants *variants, bcf1_t *record, cr_variant **variant,
		     crocuta_error *error)
{
	struct cr_held_variant *held = cr_calloc(1, sizeof *held);

	if (!held)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	note_order(variants, record);
	held->owner = variants;
	held->variant = (cr_variant){
		.contig = bcf_hdr_id2name(variants->header, record->rid),
		.contig_index = variants->index_of[record->rid],
		.position = record->pos,
		.alleles = (int)record->n_allele,
		.allele = (const char *const *)record->d.allele,
		.id = record->d.id ? record->d.id : ".",
		.bytes = (int64_t)(sizeof *held + sizeof *record + record->shared.m +
				   record->indiv.m + (size_t)record->d.m_als +
				   (size_t)record->d.m_id +
				   (size_t)record->d.m_allele * sizeof(char *)),
		.record = record,
	};
	*variant = &held->variant;
	return CROCUTA_OK;
}

int cr_variants_next(cr_variants *variants, cr_variant **variant, crocuta_error *error)
{
	bcf1_t *record = bcf_init();
	int code = CROCUTA_OK, found = 1, wanted = 0;

	*variant = NULL;
	if (!record)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record");
	while (!code && found && !wanted) {
		code = variants->walk.on ? cr_walk_next(variants, record, &found, error)
					 : cr_variants_read_record(variants, record, &found, error);
		wanted = !code && found && (!variants->has_targets || is_target(variants, record));
	}
	if (!code && wanted)
		code = hand_over(variants, record, variant, error);
	if (!*variant)
		bcf_destroy(record);
	return code;
}

void cr_variant_free(cr_variants *variants, cr_variant *variant)
{
	(void)variants;
	if (!variant)
		return;
	bcf_destroy(variant->record);
	cr_free(variant);
}

const cr_contigs *cr_variants_contigs(const cr_variants *variants)
{
	return variants->contigs;
}

const char *cr_variants_format(const cr_variants *variants)
{
	return variants->format;
}

const char *cr_variants_doubt(const cr_variants *variants)
{
	if (variants->cut)
		return "the file was cut; what was unfinished at its end is left out";
	if (variants->old_index)
		return "its index is older than the file and may miss records; build it again: "
		       "bcftools index -f";
	return NULL;
}

int cr_variants_sorted(const cr_variants *variants)
{
	return !variants->unsorted;
}
