/* records_alignments.c - reads of SAM, BAM and CRAM through htslib.
 *
 * A CRAM is decoded with the reference given and nothing else: every @SQ line must be a contig of
 * it, so htslib has no reason to look elsewhere, and the places where it would look are switched
 * off. htslib writes a missing .fai beside the FASTA; so that it does not, it is shown a directory
 * of links and indexes of our own in that case. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <htslib/bgzf.h>
#include <htslib/cram.h>
#include <htslib/sam.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/records_internal.h"
#include "io/reference.h"
#include "io/source.h"
#include "seq/alphabet.h"

#define SKIPPED_FLAGS (BAM_FSECONDARY | BAM_FSUPPLEMENTARY)

struct cr_alignments {
	htsFile *file;
	sam_hdr_t *header;
	bam1_t *read;
	int64_t number;  /* of the record in the file, from 1 */
	char shown[160]; /* directory with the reference as htslib sees it, or "" */
};

/* No reference is ever fetched or read from a cache. Changes the environment of the process, once,
 * before the first CRAM is read. */
static void close_reference_servers(void)
{
	setenv("REF_PATH", "/nonexistent", 1);
	unsetenv("REF_CACHE");
}

/* The reference must have every contig of the header, in lines of one length. */
static int check_contigs(const cr_records *records, const cr_reference *reference,
			 crocuta_error *error)
{
	const sam_hdr_t *header = records->alignments->header;
	const cr_contigs *contigs = cr_reference_contigs(reference);

	for (int i = 0; i < sam_hdr_nref(header); i++) {
		const char *name = sam_hdr_tid2name(header, i);
		int64_t length = sam_hdr_tid2len(header, i), offset, bases, width;
		int64_t contig = cr_contigs_find(contigs, name, strlen(name));

		if (contig < 0 || cr_contigs_length(contigs, contig) != length)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: was made with a contig \"%.80s\" of %lld bases, and "
				"%.200s has %s; give the reference it was made with",
				records->path, name, (long long)length,
				cr_reference_path(reference),
				contig < 0 ? "none of that name" : "one of another length");
		if (!cr_reference_get_layout(reference, contig, &offset, &bases, &width))
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: the lines of contig \"%.80s\" differ in length; CRAM "
				"needs a FASTA with equal lines",
				cr_reference_path(reference), name);
	}
	return CROCUTA_OK;
}

#define SHOWN_NAMES 3
static const char *const shown_names[SHOWN_NAMES] = {"ref.fa", "ref.fa.fai", "ref.fa.gzi"};

/* Make the directory of links; its FASTA path goes to `path`. */
static int show_reference(struct cr_alignments *alignments, const cr_reference *reference,
			  char path[256], crocuta_error *error)
{
	const char *base = getenv("TMPDIR");
	char made[160], fai[256], gzi[256];
	char *real = realpath(cr_reference_path(reference), NULL);
	int code = CROCUTA_OK;

	if ((size_t)snprintf(made, sizeof made, "%s/crocuta-XXXXXX",
			     base && *base ? base : "/tmp") >= sizeof made)
		snprintf(made, sizeof made, "/tmp/crocuta-XXXXXX");
	if (!real || !mkdtemp(made))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.150s: no temporary directory", made);
	else
		memcpy(alignments->shown, made, sizeof made);
	snprintf(path, 256, "%s/%s", made, shown_names[0]);
	snprintf(fai, sizeof fai, "%s/%s", made, shown_names[1]);
	snprintf(gzi, sizeof gzi, "%s/%s", made, shown_names[2]);
	if (!code && symlink(real, path))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot create", path);
	if (!code)
		code = cr_reference_save_index(reference, fai, gzi, error);
	free(real);
	return code;
}

static void remove_shown(struct cr_alignments *alignments)
{
	char path[256];

	if (!alignments->shown[0])
		return;
	for (int i = 0; i < SHOWN_NAMES; i++) {
		snprintf(path, sizeof path, "%s/%s", alignments->shown, shown_names[i]);
		unlink(path);
	}
	rmdir(alignments->shown);
}

static int is_beside(const char *path, const char *suffix)
{
	char beside[4200];

	return (size_t)snprintf(beside, sizeof beside, "%s%s", path, suffix) < sizeof beside &&
	       !access(beside, R_OK);
}

static int set_reference(const cr_records *records, const char *path, crocuta_error *error)
{
	struct cr_alignments *alignments = records->alignments;
	const char *used = path;
	cr_reference *reference;
	char shown[256];
	int code = cr_reference_open(path, NULL, &reference, error);

	if (code)
		return code;
	code = check_contigs(records, reference, error);
	if (!code && (!is_beside(path, ".fai") ||
		      (cr_reference_is_bgzf(reference) && !is_beside(path, ".gzi")))) {
		code = show_reference(alignments, reference, shown, error);
		used = shown;
	}
	if (!code && hts_set_opt(alignments->file, CRAM_OPT_REFERENCE, used))
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: htslib cannot use it as reference",
			       path);
	cr_reference_close(reference);
	return code;
}

static int fail_no_marker(const cr_records *records, crocuta_error *error)
{
	return cr_fail(
		error, CROCUTA_EINPUT,
		"%.200s: no end marker; the file was cut, copy it again (--allow-truncated reads "
		"what is there)",
		records->path);
}

static int open_cram(const cr_records *records, const char *reference, crocuta_error *error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	htsFile *file = records->alignments->file;

	pthread_once(&once, close_reference_servers);
	/* All but MD and NM is decoded, needed or not: only so are all checksums checked. */
	if (hts_set_opt(file, CRAM_OPT_DECODE_MD, 0))
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: htslib refuses a CRAM option",
			       records->path);
	if (!sam_hdr_nref(records->alignments->header))
		return CROCUTA_OK; /* unaligned reads */
	if (!reference)
		return cr_fail(
			error, CROCUTA_EARG,
			"%.200s: a CRAM of aligned reads needs the reference it was made with "
			"(--reference FASTA)",
			records->path);
	return set_reference(records, reference, error);
}

int cr_alignments_open(cr_records *records, hFILE *stream, const htsFormat *format,
		       const char *reference, crocuta_error *error)
{
	struct cr_alignments *alignments = cr_calloc(1, sizeof *alignments);
	int marker;

	if (!alignments) {
		hclose_abruptly(stream);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to read it",
			       records->path);
	}
	alignments->file = hts_hopen(stream, records->path, "r");
	if (!alignments->file) {
		cr_free(alignments);
		hclose_abruptly(stream);
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: its beginning is damaged or cut",
			       records->path);
	}
	records->alignments = alignments;
	marker = hts_check_EOF(alignments->file);
	if (marker == 0 && !records->allow_truncated)
		return fail_no_marker(records, error);
	if (format->format == sam && format->compression == no_compression &&
	    !records->allow_truncated) {
		int code = cr_check_last_line(records->path, error);

		if (code)
			return code;
	}
	alignments->header = sam_hdr_read(alignments->file);
	if (!alignments->header)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: the header is damaged or cut",
			       records->path);
	alignments->read = bam_init1();
	if (!alignments->read)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a read");
	return format->format == cram ? open_cram(records, reference, error) : CROCUTA_OK;
}

/* The input says it is over: is it? */
static int check_end(const cr_records *records, crocuta_error *error)
{
	const htsFile *file = records->alignments->file;
	int cut = 0;

	if (file->format.format == cram)
		cut = cram_eof(file->fp.cram) == 2;
	else if (file->is_bgzf)
		cut = file->fp.bgzf->is_compressed && !file->fp.bgzf->is_gzip &&
		      file->fp.bgzf->no_eof_block;
	return cut && !records->allow_truncated ? fail_no_marker(records, error) : CROCUTA_OK;
}

/* Name and bases of the read as they were sequenced. */
static int take_read(cr_records *records, crocuta_error *error)
{
	const bam1_t *read = records->alignments->read;
	const char *name = bam_get_qname(read);
	const uint8_t *packed = bam_get_seq(read);
	int64_t length = read->core.l_qseq, name_bytes = (int64_t)strcspn(name, " \t");
	int code;

	if (!name_bytes) { /* SAM's word for no name */
		name = "*";
		name_bytes = 1;
	}
	if (length > records->max_length)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: read \"%.80s\" has %lld bases, more than %lld",
			       records->path, name, (long long)length,
			       (long long)records->max_length);
	if ((code = cr_bytes_reserve(&records->name, name_bytes, error)) ||
	    (code = cr_bytes_reserve(&records->bases, length, error)))
		return code;
	memcpy(records->name.data, name, (size_t)name_bytes);
	records->name.data[name_bytes] = '\0';
	for (int64_t i = 0; i < length; i++) {
		records->bases.data[i] = seq_nt16_str[bam_seqi(packed, i)];
		if (records->bases.data[i] == '=')
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: record %lld: read \"%.80s\" has '=' for a base; write "
				"the letters (samtools calmd)",
				records->path, (long long)records->alignments->number, name);
	}
	records->bases.data[length] = '\0';
	records->bases.length = length;
	if (read->core.flag & BAM_FREVERSE)
		cr_bases_reverse_complement(records->bases.data, length);
	records->record.flags = read->core.flag;
	return CROCUTA_OK;
}

int cr_alignments_next(cr_records *records, int *found, crocuta_error *error)
{
	struct cr_alignments *alignments = records->alignments;

	*found = 0;
	for (;;) {
		int got = sam_read1(alignments->file, alignments->header, alignments->read);

		if (got == -1)
			return check_end(records, error);
		if (got < -1)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: record %lld cannot be read; the file is cut or damaged%s",
				records->path, (long long)alignments->number + 1,
				alignments->file->format.format == cram
					? ", or its reference is another one"
					: "");
		alignments->number++;
		if (alignments->read->core.flag & SKIPPED_FLAGS) {
			records->counts.secondary++;
		} else if (alignments->read->core.l_qseq <= 0) {
			records->counts.no_sequence++;
		} else {
			*found = 1;
			return take_read(records, error);
		}
	}
}

void cr_alignments_close(struct cr_alignments *alignments)
{
	if (!alignments)
		return;
	if (alignments->read)
		bam_destroy1(alignments->read);
	if (alignments->header)
		sam_hdr_destroy(alignments->header);
	if (alignments->file)
		hts_close(alignments->file);
	remove_shown(alignments);
	cr_free(alignments);
}
