/* reference.c - see reference.h. */
#include "io/reference.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/reference_index.h"
#include "io/source.h"
#include "seq/alphabet.h"

struct cr_reference {
	cr_source *source;
	struct cr_index index;
	int scanned;
};

/* Read the .fai given or found beside the file, else scan. */
static int load_index(cr_reference *reference, const char *path, const char *fai,
		      crocuta_error *error)
{
	size_t bytes = strlen(path) + 5;
	char *beside = NULL;
	int code;

	reference->index.contigs = cr_contigs_new();
	if (!reference->index.contigs || !(beside = cr_calloc(bytes, 1)))
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its index", path);
	snprintf(beside, bytes, "%s.fai", path);
	if (!fai && !access(beside, F_OK))
		fai = beside;
	if (fai) {
		code = cr_index_read(&reference->index, reference->source, fai, error);
	} else {
		reference->scanned = 1;
		code = cr_index_scan(&reference->index, reference->source, error);
	}
	cr_free(beside);
	return code;
}

int cr_reference_open(const char *path, const cr_reference_options *options,
		      cr_reference **reference, crocuta_error *error)
{
	static const cr_reference_options defaults = {0};
	cr_reference *made = cr_calloc(1, sizeof *made);
	int code;

	*reference = NULL;
	options = options ? options : &defaults;
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to open it", path);
	code = cr_source_open(path, options->gzi, options->allow_truncated, &made->source, error);
	if (!code)
		code = load_index(made, path, options->fai, error);
	if (code) {
		cr_reference_close(made);
		return code;
	}
	*reference = made;
	return CROCUTA_OK;
}

void cr_reference_close(cr_reference *reference)
{
	if (!reference)
		return;
	cr_index_clear(&reference->index);
	cr_source_close(reference->source);
	cr_free(reference);
}

const cr_contigs *cr_reference_contigs(const cr_reference *reference)
{
	return reference->index.contigs;
}

const char *cr_reference_path(const cr_reference *reference)
{
	return cr_source_path(reference->source);
}

int cr_reference_scanned(const cr_reference *reference)
{
	return reference->scanned;
}

int cr_reference_get_layout(const cr_reference *reference, int64_t contig, int64_t *offset,
			    int64_t *bases, int64_t *width)
{
	const struct cr_place *place;

	if (contig < 0 || contig >= cr_contigs_count(reference->index.contigs))
		return 0;
	place = &reference->index.places[contig];
	*offset = place->offset;
	*bases = place->bases;
	*width = place->width;
	return !place->checkpoints;
}

int cr_reference_is_bgzf(const cr_reference *reference)
{
	return cr_source_is_bgzf(reference->source);
}

int cr_reference_save_index(const cr_reference *reference, const char *fai, const char *gzi,
			    crocuta_error *error)
{
	const cr_contigs *contigs = reference->index.contigs;
	FILE *out = fopen(fai, "wxe");
	int failed;

	if (!out)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot create", fai);
	for (int64_t i = 0; i < cr_contigs_count(contigs); i++) {
		const struct cr_place *place = &reference->index.places[i];

		if (!place->checkpoints)
			fprintf(out, "%s\t%lld\t%lld\t%lld\t%lld\n", cr_contigs_name(contigs, i),
				(long long)cr_contigs_length(contigs, i), (long long)place->offset,
				(long long)place->bases, (long long)place->width);
	}
	failed = ferror(out) != 0;
	failed |= fclose(out) != 0;
	if (failed)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: write failed", fai);
	return gzi && cr_reference_is_bgzf(reference)
		       ? cr_source_save_gzi(reference->source, gzi, error)
		       : CROCUTA_OK;
}

static int not_a_base(const cr_reference *reference, int64_t contig, int64_t position, char found,
		      crocuta_error *error)
{
	unsigned char byte = (unsigned char)found;
	char shown[8] = "";

	if (byte > 32 && byte < 127)
		snprintf(shown, sizeof shown, " ('%c')", byte);
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: contig \"%.80s\" base %lld: byte 0x%02x%s is not a nucleotide code",
		       cr_reference_path(reference),
		       cr_contigs_name(reference->index.contigs, contig), (long long)position + 1,
		       byte, shown);
}

/* Copy n bases that lie in one piece at a file offset; position is that of the first base. */
static int copy_run(cr_reference *reference, int64_t contig, int64_t position, int64_t offset,
		    int64_t n, char *out, crocuta_error *error)
{
	while (n > 0) {
		const char *bytes;
		int64_t count, good;
		int code = cr_source_view(reference->source, offset, &bytes, &count, error);

		if (code)
			return code;
		count = count < n ? count : n;
		good = cr_bases_check(bytes, count);
		if (!count || good < count)
			return not_a_base(reference, contig, position + good,
					  count ? bytes[good] : 0, error);
		memcpy(out, bytes, (size_t)count);
		out += count;
		n -= count;
		offset += count;
		position += count;
	}
	return CROCUTA_OK;
}

/* The line end at a file offset must be one of `width` bytes, or lines are not what they should. */
static int check_line_end(cr_reference *reference, int64_t contig, int64_t position, int64_t offset,
			  int64_t width, crocuta_error *error)
{
	for (int64_t i = 0; i < width; i++) {
		char expected = i == width - 1 ? '\n' : '\r';
		const char *bytes;
		int64_t count;
		int code = cr_source_view(reference->source, offset + i, &bytes, &count, error);

		if (code)
			return code;
		if (!count || *bytes != expected)
			return cr_fail(
				error, CROCUTA_EINPUT,
				"%.200s: contig \"%.80s\": no line ends behind base %lld, but the "
				"index says so; rebuild it",
				cr_reference_path(reference),
				cr_contigs_name(reference->index.contigs, contig),
				(long long)position);
	}
	return CROCUTA_OK;
}

static int fetch_regular(cr_reference *reference, int64_t contig, int64_t start, int64_t end,
			 char *out, crocuta_error *error)
{
	const struct cr_place *place = &reference->index.places[contig];
	int64_t line = start / place->bases, inside = start % place->bases;

	while (start < end) {
		int64_t offset = place->offset + line * place->width + inside;
		int64_t run =
			place->bases - inside < end - start ? place->bases - inside : end - start;
		int code = copy_run(reference, contig, start, offset, run, out, error);

		if (code)
			return code;
		start += run;
		out += run;
		if (start < end && (code = check_line_end(reference, contig, start, offset + run,
							  place->width - place->bases, error)))
			return code;
		line++;
		inside = 0;
	}
	return CROCUTA_OK;
}

/* From the checkpoint before start, line ends are skipped one after another. */
static int fetch_irregular(cr_reference *reference, int64_t contig, int64_t start, int64_t end,
			   char *out, crocuta_error *error)
{
	const struct cr_place *place = &reference->index.places[contig];
	int64_t offset = place->checkpoints[start / CR_CHECKPOINT];
	int64_t position = start / CR_CHECKPOINT * CR_CHECKPOINT;

	while (position < end) {
		const char *bytes;
		int64_t count;
		int code = cr_source_view(reference->source, offset, &bytes, &count, error);

		if (code)
			return code;
		if (!count)
			return not_a_base(reference, contig, position, 0, error);
		for (int64_t i = 0; i < count && position < end; i++) {
			if (bytes[i] == '\n' || bytes[i] == '\r')
				continue;
			if (position >= start) {
				if (!cr_base_canonical(bytes[i]))
					return not_a_base(reference, contig, position, bytes[i],
							  error);
				*out++ = bytes[i];
			}
			position++;
		}
		offset += count;
	}
	return CROCUTA_OK;
}

int cr_reference_fetch(cr_reference *reference, int64_t contig, int64_t start, int64_t end,
		       char *out, crocuta_error *error)
{
	int64_t length = cr_contigs_length(reference->index.contigs, contig);

	if (length < 0)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: no contig number %lld",
			       cr_reference_path(reference), (long long)contig);
	if (start < 0 || end < start || end > length)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: bases %lld-%lld are not on contig \"%.80s\" of %lld bases",
			       cr_reference_path(reference), (long long)start + 1, (long long)end,
			       cr_contigs_name(reference->index.contigs, contig),
			       (long long)length);
	if (start == end)
		return CROCUTA_OK;
	if (reference->index.places[contig].checkpoints)
		return fetch_irregular(reference, contig, start, end, out, error);
	return fetch_regular(reference, contig, start, end, out, error);
}

int cr_reference_unchanged(const cr_reference *reference, crocuta_error *error)
{
	return cr_source_unchanged(reference->source, error);
}
