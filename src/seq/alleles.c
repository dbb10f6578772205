/* alleles.c - see alleles.h.
 *
 * One direction is calculated: the reverse strand is the forward one seen through an index that
 * runs backwards and complements. With the shared ends of REF and ALT gone, what is left either
 * begins with different bases, and then the haplotypes differ right there, or one side is empty: an
 * indel, which is moved on as long as the base that it passes over is the one that it would put
 * back. */
#include "seq/alleles.h"

#include <string.h>

#include "base/order.h"
#include "seq/alphabet.h"

static int is_base(char byte)
{
	byte = cr_base_upper(byte);
	return byte == 'A' || byte == 'C' || byte == 'G' || byte == 'T';
}

/* Letters only, between text and end, at least one. */
static int are_letters(const char *text, const char *end)
{
	if (text == end)
		return 0;
	for (; text < end; text++)
		if (cr_base_upper(*text) < 'A' || cr_base_upper(*text) > 'Z')
			return 0;
	return 1;
}

enum cr_allele_kind cr_allele_kind(const char *text)
{
	const size_t length = strlen(text);
	size_t bases = 0;

	while (bases < length && is_base(text[bases]))
		bases++;
	if (length && bases == length)
		return CR_ALLELE_BASES;
	if (!strcmp(text, "*"))
		return CR_ALLELE_STAR;
	if (!strcmp(text, "."))
		return CR_ALLELE_MISSING;
	if (!strcmp(text, "<*>") || !strcmp(text, "<NON_REF>") || !strcmp(text, "<X>"))
		return CR_ALLELE_REFBLOCK;
	if (*text != '<' && strpbrk(text, "[]"))
		return CR_ALLELE_BREAKEND;
	if (length && ((*text == '.' && are_letters(text + 1, text + length)) ||
		       (text[length - 1] == '.' && are_letters(text, text + length - 1))))
		return CR_ALLELE_BREAKEND;
	return strchr(text, '<') ? CR_ALLELE_SYMBOLIC : CR_ALLELE_NONACGT;
}

/* Bases of the contig in reading direction, a piece at a time. */
struct reader {
	cr_bases_fn *fetch;
	void *user;
	int64_t length;
	int reverse;
	int64_t start, end; /* reading coordinates of what is in the buffer */
	char buffer[512];
};

static int read_base(struct reader *reader, int64_t at, char *base, crocuta_error *error)
{
	const int64_t most = (int64_t)sizeof reader->buffer;

	if (at < reader->start || at >= reader->end) {
		int64_t end = reader->length - at < most ? reader->length : at + most;
		int code;

		reader->start = reader->end = 0;
		if (reader->reverse)
			code = reader->fetch(reader->user, reader->length - end,
					     reader->length - at, reader->buffer, error);
		else
			code = reader->fetch(reader->user, at, end, reader->buffer, error);
		if (code)
			return code;
		reader->start = at;
		reader->end = end;
	}
	*base = reader->reverse ? cr_base_complement(reader->buffer[reader->end - 1 - at])
				: reader->buffer[at - reader->start];
	return 0;
}

/* Base i of a text in reading direction. */
static char text_base(const char *text, int64_t length, int64_t i, int reverse)
{
	return reverse ? cr_base_complement(cr_base_upper(text[length - 1 - i])) : cr_base_upper(text[i]);
}

static void reverse_bases(char *bases, int64_t from, int64_t to)
{
	for (to--; from < to; from++, to--) {
		char kept = bases[from];

		bases[from] = bases[to];
		bases[to] = kept;
	}
}

/* Move an insertion on. Its bases turn like a ring: the one passed over comes last. */
static int move_insertion(struct reader *reader, cr_allele *allele, crocuta_error *error)
{
	const int64_t n = allele->inserted;
	int64_t first = 0;
	int code = 0;

	for (; allele->at < reader->length; allele->at++) {
		char base;

		code = read_base(reader, allele->at, &base, error);
		if (code || base != allele->bases[first])
			break;
		first = first + 1 == n ? 0 : first + 1;
	}
	reverse_bases(allele->bases, 0, first);
	reverse_bases(allele->bases, first, n);
	reverse_bases(allele->bases, 0, n);
	return code;
}

static int move_deletion(struct reader *reader, cr_allele *allele, crocuta_error *error)
{
	struct reader ahead = *reader;
	int code = 0;

	for (; !code && allele->at + allele->removed < reader->length; allele->at++) {
		char base = 0, next = 0;

		code = read_base(reader, allele->at, &base, error);
		if (!code)
			code = read_base(&ahead, allele->at + allele->removed, &next, error);
		if (code || base != next)
			break;
	}
	return code;
}

int cr_allele_find(const char *ref, const char *alt, int64_t position, int64_t contig_length,
		   int reverse, cr_bases_fn *fetch, void *user, char *bases, cr_allele *allele,
		   crocuta_error *error)
{
	const int64_t r = (int64_t)strlen(ref), a = (int64_t)strlen(alt);
	struct reader reader = {
		.fetch = fetch, .user = user, .length = contig_length, .reverse = reverse};
	int64_t shared = 0, tail = 0;

	while (shared < r && shared < a &&
	       text_base(ref, r, shared, reverse) == text_base(alt, a, shared, reverse))
		shared++;
	while (tail < r - shared && tail < a - shared &&
	       text_base(ref, r, r - 1 - tail, reverse) == text_base(alt, a, a - 1 - tail, reverse))
		tail++;
	allele->at = shared + (reverse ? contig_length - position - r : position);
	allele->removed = r - shared - tail;
	allele->inserted = a - shared - tail;
	allele->bases = bases;
	for (int64_t i = 0; i < allele->inserted; i++)
		bases[i] = text_base(alt, a, shared + i, reverse);
	if (!allele->removed && allele->inserted)
		return move_insertion(&reader, allele, error);
	if (!allele->inserted && allele->removed)
		return move_deletion(&reader, allele, error);
	return 0;
}

cr_placed cr_place(const cr_placement *p, int64_t length, const cr_allele *allele)
{
	const int64_t at = allele->at, before = p->window - p->readout;
	const int64_t left =
		cr_smaller(length - at, length - at - allele->removed + allele->inserted);
	cr_placed placed = {.count = cr_smaller(p->readout, left)};

	placed.edge = placed.count < p->readout;
	if (p->fixed) {
		placed.start = at > before ? at - before : 0;
		placed.end = at + placed.count;
		placed.edge |= at < before;
		return placed;
	}
	if (at + placed.count > p->window) {
		int64_t beyond = at + placed.count - p->window;

		placed.start = ((beyond - 1) / p->step + 1) * p->step;
	}
	placed.end = cr_smaller(placed.start + p->window, length);
	placed.edge |= at - placed.start < before - p->step + 1;
	if (p->rest)
		placed.count = cr_smaller(placed.end - at, left);
	return placed;
}
