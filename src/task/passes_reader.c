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
		   vector.position >= reader->report.end) {
		return 0;
	} else {
		vector.is_n = token == CR_TOKEN_N ||
			      (passes->options.tokens.n_as_pad && token == CR_TOKEN_PAD);
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
