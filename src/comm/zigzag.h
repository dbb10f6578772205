/* zigzag.h - who owns which positions of a sequence that ranks share.
 *
 * A sequence is cut in 2P segments; rank r owns segments r and 2P - 1 - r, so that causal attention
 * is the same work for all (Llama 3's and ring-flash-attention's "zigzag"). A rank keeps its rows
 * in the order of positions: those of its first segment, then of its second. Segments may be empty.
 */
#ifndef CR_COMM_ZIGZAG_H
#define CR_COMM_ZIGZAG_H

#include <stdint.h>

typedef struct cr_zigzag {
	int64_t length; /* L */
	int64_t step;   /* positions of a segment; the last ones may be shorter or empty */
	int ranks;      /* P */
} cr_zigzag;

/* Segments are multiples of `block` positions where that is above 0, else of a modal chunk where
 * the sequence is long, else of 8. */
static inline cr_zigzag cr_zigzag_of(int64_t length, int ranks, int64_t block)
{
	const int64_t parts = 2 * (int64_t)ranks;
	const int64_t unit = block > 0 ? block : length >= 256 * parts ? 128 : 8;
	const int64_t share = (length + parts - 1) / parts;

	return (cr_zigzag){length, ranks == 1 ? length : (share + unit - 1) / unit * unit, ranks};
}

static inline int64_t cr_zigzag_start(const cr_zigzag *z, int segment)
{
	const int64_t start = segment * z->step;

	return start < z->length ? start : z->length;
}

static inline int64_t cr_zigzag_count(const cr_zigzag *z, int segment)
{
	return cr_zigzag_start(z, segment + 1) - cr_zigzag_start(z, segment);
}

/* The rank of a segment, and which of its two it is. */
static inline int cr_zigzag_owner(const cr_zigzag *z, int segment)
{
	return segment < z->ranks ? segment : 2 * z->ranks - 1 - segment;
}

static inline int cr_zigzag_segment(const cr_zigzag *z, int rank, int which)
{
	return which ? 2 * z->ranks - 1 - rank : rank;
}

/* Rows that a rank owns, and the most that any rank does. */
static inline int64_t cr_zigzag_rows(const cr_zigzag *z, int rank)
{
	return cr_zigzag_count(z, rank) + cr_zigzag_count(z, 2 * z->ranks - 1 - rank);
}

static inline int64_t cr_zigzag_most_rows(const cr_zigzag *z)
{
	return z->ranks == 1 ? z->length : 2 * z->step;
}

#endif
