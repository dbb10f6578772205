/* alphabet.c - byte tables; see alphabet.h. */
#include "seq/alphabet.h"

#define BOTH(upper, value) [upper] = value, [(upper) + 32] = value

static const char canonical_letters[256] = {
	BOTH('A', 'A'), BOTH('C', 'C'), BOTH('G', 'G'), BOTH('T', 'T'),
	BOTH('U', 'T'), BOTH('N', 'N'), BOTH('R', 'N'), BOTH('Y', 'N'),
	BOTH('S', 'N'), BOTH('W', 'N'), BOTH('K', 'N'), BOTH('M', 'N'),
	BOTH('B', 'N'), BOTH('D', 'N'), BOTH('H', 'N'), BOTH('V', 'N'),
};

#define PAIR(one, other)                                                                           \
	[one] = other, [other] = one, [(one) + 32] = (other) + 32, [(other) + 32] = (one) + 32
#define SELF(letter) [letter] = letter, [(letter) + 32] = (letter) + 32

static const char complements[256] = {
	PAIR('A', 'T'), PAIR('C', 'G'), PAIR('R', 'Y'), PAIR('K', 'M'),
	PAIR('B', 'V'), PAIR('D', 'H'), SELF('N'),      SELF('S'),
	SELF('W'),      ['U'] = 'A',    ['u'] = 'a',
};

char cr_base_canonical(char byte)
{
	return canonical_letters[(unsigned char)byte];
}

char cr_base_complement(char byte)
{
	char complement = complements[(unsigned char)byte];

	return complement ? complement : byte;
}

void cr_bases_reverse_complement(char *bases, int64_t n)
{
	for (int64_t i = 0, j = n - 1; i <= j; i++, j--) {
		char left = cr_base_complement(bases[i]);

		bases[i] = cr_base_complement(bases[j]);
		bases[j] = left;
	}
}

int64_t cr_bases_check(const char *bases, int64_t n)
{
	int64_t i = 0;

	while (i < n && canonical_letters[(unsigned char)bases[i]])
		i++;
	return i;
}

char cr_base_upper(char byte)
{
	return byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
}
