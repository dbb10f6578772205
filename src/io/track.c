/* track.c - see track.h.
 *
 * libBigWig (0.4.7) drops the results of some writes inside its loops, prints to stderr instead of
 * returning from its close, and starts its maximum at the smallest positive number. So this file
 * looks at the stream's error flag after every call, keeps the summary itself, hands over pieces
 * that fit one block, and reads the closed file again. */
#include "io/track.h"

#include <bigWig.h>
#include <bwCommon.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/table.h"

#define ZOOMS 10
#define PIECE 2000          /* entries a call: 12 bytes each, below the 32 KiB of a block */
#define RUN_AT_LEAST 64     /* values without a gap that are worth a fixed-step block */
#define ZOOM_LIMIT 64000000 /* libBigWig builds zooms from 12 bytes an entry of a whole contig */

struct cr_track {
	cr_output *output;
	const cr_contigs *contigs;
	int64_t contig, position; /* values so far end here */
	/* bedGraph: the interval not yet written */
	int digits, open;
	int64_t start, end;
	char text[32];
	/* bigWig */
	bigWigFile_t *file;
	int appending; /* the block being filled holds intervals of this contig */
	/* values that wait for a block of their own, so that the file does not tell in what groups they came:
	 * (waiting) of bins without a gap, of `contig` */
	float values[PIECE];
	int64_t waiting, wait_start, wait_end, wait_bin;
	int64_t entries, most_entries, covered;
	double smallest, largest, sum, squares;
	int64_t last_contig, last_start; /* last entry, to be found again */
	float last_value;
};

static cr_track *make_track(cr_output *output, const cr_contigs *contigs)
{
	cr_track *track = cr_calloc(1, sizeof *track);

	if (track) {
		track->output = output;
		track->contigs = contigs;
		track->contig = track->last_contig = -1;
		track->smallest = INFINITY;
		track->largest = -INFINITY;
	}
	return track;
}

int cr_track_start_bedgraph(cr_output *output, const cr_contigs *contigs, int digits,
			    cr_track **track, crocuta_error *error)
{
	*track = make_track(output, contigs);
	if (!*track)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a track");
	(*track)->digits = digits;
	return CROCUTA_OK;
}

static int fail_bigwig(const cr_track *track, const char *what, crocuta_error *error)
{
	return cr_fail_errno(error, CROCUTA_EIO, "%.200s: writing bigWig failed (%s)",
			     cr_output_path(track->output), what);
}

/* Give libBigWig the list of contigs. */
static int write_contig_list(cr_track *track, crocuta_error *error)
{
	int64_t count = cr_contigs_count(track->contigs);
	const char **names = cr_calloc((size_t)count, sizeof *names);
	uint32_t *lengths = cr_calloc((size_t)count, sizeof *lengths);
	int code = CROCUTA_OK;

	if (!names || !lengths)
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of contigs");
	for (int64_t i = 0; !code && i < count; i++) {
		names[i] = cr_contigs_name(track->contigs, i);
		lengths[i] = (uint32_t)cr_contigs_length(track->contigs, i);
	}
	if (!code) {
		track->file->cl = bwCreateChromList(names, lengths, count);
		if (!track->file->cl)
			code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of contigs");
	}
	if (!code && (bwWriteHdr(track->file) || ferror(track->file->URL->x.fp)))
		code = fail_bigwig(track, "header", error);
	cr_free(lengths);
	cr_free(names);
	return code;
}

int cr_track_start_bigwig(cr_output *output, const cr_contigs *contigs, cr_track **track,
			  crocuta_error *error)
{
	int64_t count = cr_contigs_count(contigs);
	const char *part = cr_output_part_path(output);
	cr_track *made;
	int code;

	*track = NULL;
	if (!part)
		return cr_fail(error, CROCUTA_EARG,
			       "%.200s: bigWig is written to regular files only",
			       cr_output_path(output));
	if (count > 65535)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: %lld contigs, more than the 65,535 of a bigWig; write bedgraph",
			cr_output_path(output), (long long)count);
	for (int64_t i = 0; i < count; i++)
		if (cr_contigs_length(contigs, i) > UINT32_MAX)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: contig \"%.80s\" is too long for bigWig; write bedgraph",
				cr_output_path(output), cr_contigs_name(contigs, i));
	made = make_track(output, contigs);
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a track");
	made->file = bwOpen(part, NULL, "w");
	if (!made->file)
		code = fail_bigwig(made, "open", error);
	else if (bwCreateHdr(made->file, ZOOMS))
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a bigWig header");
	else
		code = write_contig_list(made, error);
	if (code) {
		cr_track_free(made);
		return code;
	}
	*track = made;
	return CROCUTA_OK;
}

static int write_interval(cr_track *track, crocuta_error *error)
{
	char text[128];
	int code;

	if (!track->open)
		return CROCUTA_OK;
	track->open = 0;
	snprintf(text, sizeof text, "\t%lld\t%lld\t%s\n", (long long)track->start,
		 (long long)track->end, track->text);
	code = cr_output_text(track->output, cr_contigs_name(track->contigs, track->contig), error);
	return code ? code : cr_output_text(track->output, text, error);
}

static int add_bedgraph(cr_track *track, int64_t start, int64_t end, float value,
			crocuta_error *error)
{
	char text[sizeof track->text];
	int code;

	cr_format_number(value, track->digits, text);
	if (track->open && track->end == start && !strcmp(track->text, text)) {
		track->end = end;
		return CROCUTA_OK;
	}
	if ((code = write_interval(track, error)))
		return code;
	track->open = !isnan(value);
	track->start = start;
	track->end = end;
	memcpy(track->text, text, sizeof text);
	return CROCUTA_OK;
}

static void summarise(cr_track *track, int64_t start, int64_t end, float value)
{
	double width = (double)(end - start);

	track->entries++;
	track->covered += end - start;
	track->sum += width * value;
	track->squares += width * value * value;
	track->smallest = value < track->smallest ? value : track->smallest;
	track->largest = value > track->largest ? value : track->largest;
	track->last_contig = track->contig;
	track->last_start = start;
	track->last_value = value;
}

/* Values first .. first + count of an add call that starts at `start`, all present and of whole
 * bins, as one fixed-step block. */
static int add_run(cr_track *track, int64_t start, int64_t bin, const float *values, int64_t count,
		   crocuta_error *error)
{
	const char *name = cr_contigs_name(track->contigs, track->contig);

	track->appending = 0;
	for (int64_t i = 0; i < count; i++)
		summarise(track, start + i * bin, start + (i + 1) * bin, values[i]);
	if (bwAddIntervalSpanSteps(track->file, name, (uint32_t)start, (uint32_t)bin, (uint32_t)bin,
				   values, (uint32_t)count) ||
	    ferror(track->file->URL->x.fp))
		return fail_bigwig(track, "values", error);
	return CROCUTA_OK;
}

static int add_single(cr_track *track, int64_t start, int64_t end, float value,
		      crocuta_error *error)
{
	const char *name = cr_contigs_name(track->contigs, track->contig);
	uint32_t from = (uint32_t)start, to = (uint32_t)end;
	int failed;

	summarise(track, start, end, value);
	failed = track->appending ? bwAppendIntervals(track->file, &from, &to, &value, 1)
				  : bwAddIntervals(track->file, &name, &from, &to, &value, 1);
	track->appending = 1;
	if (failed || ferror(track->file->URL->x.fp))
		return fail_bigwig(track, "values", error);
	return CROCUTA_OK;
}

static int add_bigwig(cr_track *track, int64_t start, int64_t end, int64_t bin, const float *values,
		      crocuta_error *error)
{
	int64_t count = (end - start + bin - 1) / bin, whole = (end - start) / bin;
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < count;) {
		int64_t run = 0;

		while (i + run < whole && run < PIECE && !isnan(values[i + run]))
			run++;
		if (run >= RUN_AT_LEAST) {
			code = add_run(track, start + i * bin, bin, values + i, run, error);
			i += run;
			continue;
		}
		if (!isnan(values[i]))
			code = add_single(track, start + i * bin,
					  i < whole ? start + (i + 1) * bin : end, values[i],
					  error);
		i++;
	}
	return code;
}

static int write_waiting(cr_track *track, crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (track->waiting)
		code = add_bigwig(track, track->wait_start, track->wait_end, track->wait_bin,
				  track->values, error);
	track->waiting = 0;
	if (track->entries > track->most_entries)
		track->most_entries = track->entries;
	return code;
}

/* One value more to those that wait. */
static int wait_value(cr_track *track, int64_t start, int64_t end, int64_t bin, float value,
		      crocuta_error *error)
{
	const int goes_on = track->waiting && track->waiting < PIECE && track->wait_end == start &&
			    track->wait_bin == bin &&
			    (track->wait_end - track->wait_start) % bin == 0;
	int code = goes_on ? CROCUTA_OK : write_waiting(track, error);

	if (!track->waiting) {
		track->wait_start = start;
		track->wait_bin = bin;
	}
	track->values[track->waiting++] = value;
	track->wait_end = end;
	return code;
}

int cr_track_add(cr_track *track, int64_t contig, int64_t start, int64_t end, int64_t bin,
		 const float *values, crocuta_error *error)
{
	int code = CROCUTA_OK;

	if (contig < track->contig || (contig == track->contig && start < track->position) ||
	    contig >= cr_contigs_count(track->contigs) || start < 0 || end < start || bin < 1 ||
	    end > cr_contigs_length(track->contigs, contig))
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: values out of order",
			       cr_output_path(track->output));
	if (contig != track->contig) {
		code = track->file ? write_waiting(track, error) : write_interval(track, error);
		if (code)
			return code;
		track->contig = contig;
		track->appending = 0;
		track->entries = 0;
	}
	track->position = end;
	for (int64_t at = start, i = 0; !code && at < end; at += bin, i++) {
		const int64_t to = end - at < bin ? end : at + bin;

		code = track->file ? wait_value(track, at, to, bin, values[i], error)
				   : add_bedgraph(track, at, to, values[i], error);
	}
	return code;
}

/* Close, letting libBigWig write the index and the zooms. */
static int close_bigwig(cr_track *track, crocuta_error *error)
{
	bigWigHdr_t *header = track->file->hdr;
	FILE *stream = track->file->URL->x.fp;
	int failed;

	header->nBasesCovered = (uint64_t)track->covered;
	header->minVal = track->smallest;
	header->maxVal = track->largest;
	header->sumData = track->sum;
	header->sumSquared = track->squares;
	if (track->most_entries > ZOOM_LIMIT)
		header->nLevels = 0;
	failed = fflush(stream) || ferror(stream) || bwFinalize(track->file) || fflush(stream) ||
		 ferror(stream);
	if (failed)
		(void)fail_bigwig(track, "index", error);
	track->file->isWrite = 0; /* else bwClose would finish it again, and print when it cannot */
	bwClose(track->file);
	track->file = NULL;
	return failed ? CROCUTA_EIO : CROCUTA_OK;
}

static int ends_with_magic(const char *path)
{
	unsigned char first[4] = {0}, last[4] = {1};
	FILE *file = fopen(path, "rb");
	int good;

	if (!file)
		return 0;
	good = fread(first, 1, 4, file) == 4 && !fseek(file, -4, SEEK_END) &&
	       fread(last, 1, 4, file) == 4 && !memcmp(first, last, 4);
	fclose(file);
	return good;
}

/* Does the closed file say what was put in? */
static int verify_bigwig(const cr_track *track, crocuta_error *error)
{
	const char *part = cr_output_part_path(track->output);
	const char *name = cr_contigs_name(track->contigs, track->last_contig);
	bigWigFile_t *file = ends_with_magic(part) ? bwOpen(part, NULL, "r") : NULL;
	bwOverlappingIntervals_t *found = NULL;
	int good = file && file->hdr && file->hdr->nBasesCovered == (uint64_t)track->covered &&
		   file->cl && file->cl->nKeys == cr_contigs_count(track->contigs);

	if (good)
		found = bwGetOverlappingIntervals(file, name, (uint32_t)track->last_start,
						  (uint32_t)track->last_start + 1);
	good = found && found->l == 1 && !memcmp(found->value, &track->last_value, sizeof(float));
	if (found)
		bwDestroyOverlappingIntervals(found);
	if (file)
		bwClose(file);
	if (good)
		return CROCUTA_OK;
	return cr_fail(
		error, CROCUTA_EIO,
		"%.200s: the finished bigWig is incomplete when read again; is the disk full?",
		cr_output_path(track->output));
}

int cr_track_finish(cr_track *track, crocuta_error *error)
{
	int code;

	if (!track->file)
		return write_interval(track, error);
	code = write_waiting(track, error);
	if (code)
		return code;
	if (track->last_contig < 0)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: there is not a single value, and a bigWig cannot be empty",
			       cr_output_path(track->output));
	code = close_bigwig(track, error);
	return code ? code : verify_bigwig(track, error);
}

void cr_track_free(cr_track *track)
{
	if (!track)
		return;
	if (track->file) {
		track->file->isWrite = 0; /* nothing more is written */
		bwClose(track->file);
	}
	cr_free(track);
}
