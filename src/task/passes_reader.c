/* passes_reader.c - rows of the model back to bases of the genome, vectors and scalars alike. */
#include "base/error.h"
#include "task/passes_internal.h"

int cr_strand_used(int strands, int reverse)
{
	return reverse ? strands != CROCUTA_STRANDS_FORWARD : strands != CROCUTA_STRANDS_REVERSE;
}

/* Base of token t; may lie outside [start, end) for a special token. */
static int64_t base_of(const cr_reader *reader, int64_t t)
{
	t -= reader->lead;
	return reader->reverse ? reader->end - 1 - t : reader->start + t;
}

static uint8_t token_at(const cr_reader *reader, int64_t t)
{
	return reader->tokens[t & reader->mask];
}

void cr_reader_report_from(const cr_passes *passes, cr_reader *reader)
{
	int64_t first = reader->reverse ? reader->end - reader->report.end
					: reader->report.start - reader->start;

	first += reader->lead;
	if (passes->options.pool_specials)
		first = 0;
	if (passes->options.scalar.kind && first > 0)
		first--; /* the row before scores it */
	reader->report_from = first;
}

static int is_n(const cr_passes *passes, uint8_t token)
{
	const cr_vocabulary *vocabulary = passes->options.vocabulary;

	return token == vocabulary->n ||
	       (passes->options.tokens.n_as_pad && token == vocabulary->pad);
}

/* Hand the vector of token t to bins, if its base is to be reported. */
static int take(cr_passes *passes, const cr_reader *reader, int64_t t, const float *values)
{
	cr_bins_vector vector = {
		.position = base_of(reader, t), .values = values, .reverse = reader->reverse};
	uint8_t token = token_at(reader, t);

	if (vector.position < reader->start || vector.position >= reader->end) {
		if (!passes->options.pool_specials)
			return 0;
		vector.position = reader->start; /* the record's only row */
	} else if (vector.position < reader->report.start ||
		   vector.position >= reader->report.end ||
		   vector.position < cr_passes_active(passes)->from ||
		   vector.position >= cr_passes_active(passes)->to) {
		return 0;
	} else {
		vector.is_n = is_n(passes, token);
	}
	vector.is_last = t == reader->length - 1;
	return cr_bins_take(passes->bins, &vector);
}

static int not_finite(cr_passes *passes, const cr_reader *reader, int64_t t)
{
	return cr_fail(
		passes->error, CROCUTA_ENUMERIC,
		"\"%.100s\" base %lld, %s strand: the model gave NaN or infinity; the weights "
		"or this machine are at fault, nothing is written",
		cr_passes_active(passes)->contig, (long long)base_of(reader, t) + 1,
		reader->reverse ? "reverse" : "forward");
}

int cr_reader_begin(cr_passes *passes, const cr_reader *reader)
{
	int code;

	if (!passes->options.scalar.kind)
		return 0;
	code = take(passes, reader, 0, NULL); /* nothing lies to its left */
	if (code == CROCUTA_EINTERNAL)
		cr_fail(passes->error, code, "the first base of a window came out of order");
	return code;
}

int cr_reader_rows(cr_passes *passes, const cr_reader *reader, int64_t first, int64_t count,
		   const float *hidden, const float *logits)
{
	const cr_scalar *scalar = &passes->options.scalar;

	for (int64_t row = first; row < first + count; row++) {
		int64_t width = scalar->kind ? scalar->rows : passes->options.width;
		const float *values = (scalar->kind ? logits : hidden) + (row - first) * width;
		int64_t t = scalar->kind ? row + 1 : row;
		float value;
		int code;

		if (!cr_all_finite(values, width))
			return not_finite(passes, reader, row);
		if (t >= reader->length)
			break; /* the last row of logits scores nothing that was read */
		if (scalar->kind) {
			value = cr_scalar_value(scalar, values, token_at(reader, t));
			values = value == value ? &value : NULL;
		}
		code = take(passes, reader, t, values);
		if (code)
			return code;
	}
	return 0;
}

/* ---- pooled rows ----------------------------------------------------------------------------- */

int64_t cr_reader_segments(const cr_passes *passes, const cr_reader *reader, const cr_job *job,
			   int64_t *ends, int64_t room)
{
	const cr_span *report = &reader->report;
	int64_t row = reader->report_from, left = report->end - report->start, count = 0;
	/* bases of the first segment: up to its bin's end in reading direction */
	int64_t here = reader->reverse ? (report->end - job->start - 1) % job->bin + 1
				       : job->bin - (report->start - job->start) % job->bin;

	if (passes->options.pool_specials) { /* the record's only row, special tokens and all */
		if (room < 1)
			return -1;
		ends[0] = reader->length;
		return 1;
	}
	for (; left > 0; here = job->bin) {
		here = here < left ? here : left;
		if (count == room)
			return -1;
		row += here;
		left -= here;
		ends[count++] = row;
	}
	return count;
}

int cr_reader_segment(cr_passes *passes, const cr_reader *reader, int64_t from, int64_t to,
		      const double *values)
{
	int64_t first = base_of(reader, reader->reverse ? to - 1 : from);
	cr_bins_segment segment = {.start = first,
				   .end = first + to - from,
				   .count = to - from,
				   .values = values,
				   .reverse = reader->reverse,
				   .is_last = to == reader->length};

	if (passes->options.pool_specials) {
		segment.start = reader->start;
		segment.end = reader->end;
	} else if (first < cr_passes_active(passes)->from || first >= cr_passes_active(passes)->to) {
		return 0; /* rows are not cut: all of the segment lies outside */
	}
	if (!cr_all_finite_doubles(values, passes->options.width))
		return cr_fail(passes->error, CROCUTA_ENUMERIC,
			       "\"%.100s\" bases %lld to %lld, %s strand: the model gave NaN or "
			       "infinity; the weights or this machine are at fault, nothing is "
			       "written",
			       cr_passes_active(passes)->contig, (long long)segment.start + 1,
			       (long long)segment.end, reader->reverse ? "reverse" : "forward");
	if (reader->reverse == !cr_strand_used(passes->options.strands, 0))
		for (int64_t t = from; t < to; t++)
			segment.n_bases += is_n(passes, token_at(reader, t));
	return cr_bins_take_segment(passes->bins, &segment);
}
