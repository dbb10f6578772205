/* records.c - finds the format and hands over; see records.h. */
#include "io/records.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/records_internal.h"
#include "io/source.h"

int cr_bytes_reserve(struct cr_bytes *bytes, int64_t length, crocuta_error *error)
{
	int64_t capacity = bytes->capacity + bytes->capacity / 2 + 256;
	char *data;

	if (length < bytes->capacity)
		return CROCUTA_OK;
	capacity = capacity > length ? capacity : length + 1;
	data = cr_realloc(bytes->data, (size_t)capacity, 1);
	if (!data)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a record of %lld bytes",
			       (long long)length);
	bytes->data = data;
	bytes->capacity = capacity;
	return CROCUTA_OK;
}

static int open_reader(cr_records *records, const char *path, const char *reference,
		       crocuta_error *error)
{
	htsFormat format = {0};
	hFILE *stream;
	char *known;
	unsigned char first;
	int code = cr_open_stream(path, &stream, error);
	ssize_t got;

	if (code)
		return code;
	got = hpeek(stream, &first, 1);
	if (got <= 0 || hts_detect_format2(stream, NULL, &format)) {
		code = got ? cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", records->path)
			   : cr_fail(error, CROCUTA_EINPUT, "%.200s: the input is empty",
				     records->path);
		hclose_abruptly(stream);
		return code;
	}
	if (format.format == sam || format.format == bam || format.format == cram) {
		records->format = CR_RECORDS_ALIGNMENTS;
		return cr_alignments_open(records, stream, &format, reference, error);
	}
	if (format.category == variant_data || format.category == index_file ||
	    format.category == region_list) {
		known = hts_format_description(&format);
		code = cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: is %.100s; sequences come as FASTA, FASTQ, SAM, BAM or CRAM",
			records->path, known ? known : "of another format");
		hts_free(known);
		hclose_abruptly(stream);
		return code;
	}
	return cr_text_open(records, stream, error);
}

int cr_records_open(const char *path, const cr_records_options *options, cr_records **records,
		    crocuta_error *error)
{
	static const cr_records_options defaults = {0};
	cr_records *made = cr_calloc(1, sizeof *made);
	int code;

	*records = NULL;
	options = options ? options : &defaults;
	if (!made || !(made->path = cr_strdup(strcmp(path, "-") ? path : "standard input"))) {
		cr_free(made);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to open it", path);
	}
	made->allow_truncated = options->allow_truncated;
	made->max_length = options->max_length > 0 ? options->max_length : (int64_t)1 << 31;
	code = open_reader(made, path, options->reference, error);
	if (code) {
		cr_records_close(made);
		return code;
	}
	*records = made;
	return CROCUTA_OK;
}

int cr_records_next(cr_records *records, const cr_record **record, crocuta_error *error)
{
	int found, code;

	*record = NULL;
	code = records->text ? cr_text_next(records, &found, error)
			     : cr_alignments_next(records, &found, error);
	if (code || !found)
		return code;
	records->record.name = records->name.data;
	records->record.bases = records->bases.data;
	records->record.length = records->bases.length;
	records->record.number = records->counts.records++;
	records->counts.bases += records->bases.length;
	*record = &records->record;
	return CROCUTA_OK;
}

int cr_records_get_format(const cr_records *records)
{
	return records->format;
}

cr_records_counts cr_records_get_counts(const cr_records *records)
{
	return records->counts;
}

void cr_records_close(cr_records *records)
{
	if (!records)
		return;
	cr_text_close(records->text);
	cr_alignments_close(records->alignments);
	cr_free(records->name.data);
	cr_free(records->bases.data);
	cr_free(records->path);
	cr_free(records);
}
