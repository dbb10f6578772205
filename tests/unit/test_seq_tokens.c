/* test_seq_tokens.c - letters, complements, token ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "seq/alphabet.h"
#include "seq/tokens.h"

static void test_canonical(void **state)
{
	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		char upper = byte >= 'a' && byte <= 'z' ? (char)(byte - 32) : (char)byte,
		     expected = 0;

		if (upper && strchr("ACGT", upper))
			expected = upper;
		else if (upper == 'U')
			expected = 'T';
		else if (upper && strchr("NRYSWKMBDHV", upper))
			expected = 'N';
		assert_int_equal(cr_base_canonical((char)byte), expected);
	}
	assert_int_equal(cr_base_canonical('-'), 0);
	assert_int_equal(cr_base_canonical('*'), 0);
	assert_int_equal(cr_base_canonical('X'), 0);
}

static void test_complement(void **state)
{
	static const char letters[] = "ACGTRYSWKMBDHVNacgtryswkmbdhvn";
	static const char expected[] = "TGCAYRSWMKVHDBNtgcayrswmkvhdbn";
	char text[] = "AACGTun", odd[] = "ACR", one[] = "G";

	(void)state;
	for (size_t i = 0; i < sizeof letters - 1; i++) {
		assert_int_equal(cr_base_complement(letters[i]), expected[i]);
		assert_int_equal(cr_base_complement(expected[i]), letters[i]);
	}
	assert_int_equal(cr_base_complement('U'), 'A');
	assert_int_equal(cr_base_complement('-'), '-');
	cr_bases_reverse_complement(text, 7);
	assert_string_equal(text, "naACGTT");
	cr_bases_reverse_complement(odd, 3);
	assert_string_equal(odd, "YGT");
	cr_bases_reverse_complement(one, 1);
	assert_string_equal(one, "C");
	cr_bases_reverse_complement(one, 0);
	assert_string_equal(one, "C");
}

static void test_check(void **state)
{
	(void)state;
	assert_int_equal(cr_bases_check("ACGTNacgtn", 10), 10);
	assert_int_equal(cr_bases_check("ACG>T", 5), 3);
	assert_int_equal(cr_bases_check("\nA", 2), 0);
	assert_int_equal(cr_bases_check("", 0), 0);
}

static void test_encode(void **state)
{
	static const uint8_t plain[] = {7, 8, 9, 10, 11, 10, 11, 7, 8, 9, 10, 11};
	static const uint8_t masked[] = {7, 8, 9, 10, 4, 10, 4, 4, 4, 4, 4, 4};
	cr_token_options options = {.softmask_n = 1, .n_as_pad = 1};
	cr_base_counts counts = {0};
	uint8_t out[12];

	(void)state;
	assert_int_equal(cr_tokens_encode("ACGTNURacgtn", 12, NULL, out, &counts), 12);
	assert_memory_equal(out, plain, 12);
	assert_int_equal(counts.bases, 12);
	assert_int_equal(counts.folded, 1);
	assert_int_equal(counts.lower_case, 5);
	assert_int_equal(counts.n_bases, 3);
	assert_int_equal(cr_tokens_encode("ACGTNURacgtn", 12, &options, out, &counts), 12);
	assert_memory_equal(out, masked, 12);
	assert_int_equal(counts.bases, 24); /* counts add up */
	assert_int_equal(counts.n_bases, 3 + 7);
	assert_int_equal(cr_tokens_encode("ACG-T", 5, NULL, out, NULL), 3);
	assert_int_equal(cr_tokens_encode("*", 1, NULL, out, NULL), 0);
	assert_int_equal(cr_tokens_encode("", 0, NULL, out, NULL), 0);
}

static void test_reverse_tokens(void **state)
{
	uint8_t tokens[64], expected[64];
	char bases[] = "ACGGTNNACCATTGRYacgtnN";
	int64_t n = (int64_t)strlen(bases);
	uint8_t special[] = {CR_TOKEN_CLS, CR_TOKEN_A, CR_TOKEN_PAD, CR_TOKEN_SEP};
	static const uint8_t turned[] = {CR_TOKEN_SEP, CR_TOKEN_PAD, CR_TOKEN_T, CR_TOKEN_CLS};

	(void)state;
	assert_int_equal(cr_tokens_encode(bases, n, NULL, tokens, NULL), n);
	cr_tokens_reverse_complement(tokens, n);
	cr_bases_reverse_complement(bases, n);
	assert_int_equal(cr_tokens_encode(bases, n, NULL, expected, NULL), n);
	assert_memory_equal(tokens, expected, (size_t)n);
	cr_tokens_reverse_complement(special, 4);
	assert_memory_equal(special, turned, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),      cmocka_unit_test(test_complement),
		cmocka_unit_test(test_check),          cmocka_unit_test(test_encode),
		cmocka_unit_test(test_reverse_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
