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
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, "ACGTNURacgtn", 12, NULL, out, &counts), 12);
	assert_memory_equal(out, plain, 12);
	assert_int_equal(counts.bases, 12);
	assert_int_equal(counts.folded, 1);
	assert_int_equal(counts.lower_case, 5);
	assert_int_equal(counts.n_bases, 3);
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, "ACGTNURacgtn", 12, &options, out, &counts), 12);
	assert_memory_equal(out, masked, 12);
	assert_int_equal(counts.bases, 24); /* counts add up */
	assert_int_equal(counts.n_bases, 3 + 7);
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, "ACG-T", 5, NULL, out, NULL), 3);
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, "*", 1, NULL, out, NULL), 0);
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, "", 0, NULL, out, NULL), 0);
}

static void test_reverse_tokens(void **state)
{
	uint8_t tokens[64], expected[64];
	char bases[] = "ACGGTNNACCATTGRYacgtnN";
	int64_t n = (int64_t)strlen(bases);
	uint8_t special[] = {CR_TOKEN_CLS, CR_TOKEN_A, CR_TOKEN_PAD, CR_TOKEN_SEP};
	static const uint8_t turned[] = {CR_TOKEN_SEP, CR_TOKEN_PAD, CR_TOKEN_T, CR_TOKEN_CLS};

	(void)state;
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, bases, n, NULL, tokens, NULL), n);
	cr_tokens_reverse_complement(&cr_vocabulary_hyenadna, tokens, n);
	cr_bases_reverse_complement(bases, n);
	assert_int_equal(cr_tokens_encode(&cr_vocabulary_hyenadna, bases, n, NULL, expected, NULL), n);
	assert_memory_equal(tokens, expected, (size_t)n);
	cr_tokens_reverse_complement(&cr_vocabulary_hyenadna, special, 4);
	assert_memory_equal(special, turned, 4);
}

/* Bytes: a base is its upper-case letter, whatever its case. */
static void test_bytes(void **state)
{
	static const cr_vocabulary *const both[] = {&cr_vocabulary_evo1, &cr_vocabulary_evo2};
	static const char letters[] = "ACGTNURacgtnYkB";
	static const uint8_t plain[] = "ACGTNTNACGTNNNN", masked[] = "ACGT\1T\1\1\1\1\1\1\1\1\1";
	const cr_token_options options = {.softmask_n = 1, .n_as_pad = 1};

	(void)state;
	for (int i = 0; i < 2; i++) {
		const cr_vocabulary *v = both[i];
		cr_base_counts counts = {0};
		uint8_t out[16] = {0};

		assert_int_equal(cr_tokens_encode(v, letters, 15, NULL, out, &counts), 15);
		assert_memory_equal(out, plain, 15);
		assert_int_equal(counts.folded, 4);
		assert_int_equal(counts.n_bases, 6);
		assert_int_equal(cr_tokens_encode(v, letters, 15, &options, out, NULL), 15);
		assert_memory_equal(out, masked, 15);
		assert_int_equal(cr_tokens_encode(v, "ACG\1T", 5, NULL, out, NULL), 3);
	}
	assert_int_equal(cr_vocabulary_evo1.start, 0);
	assert_true(cr_vocabulary_evo1.score_start && !cr_vocabulary_evo2.score_start);
	assert_int_equal(cr_vocabulary_evo2.start, -1);
	assert_true(cr_vocabulary_evo1.end < 0 && cr_vocabulary_evo2.end < 0);
}

static void test_reverse_bytes(void **state)
{
	uint8_t odd[] = {0, 'A', 'C', 1, 'N', 'G', 'T', 'T', 255};
	uint8_t even[] = {'G', 'a', 7, 'C'}; /* other bytes are no bases here */
	static const uint8_t odd_turned[] = {255, 'A', 'A', 'C', 'N', 1, 'G', 'T', 0};
	static const uint8_t even_turned[] = {'G', 7, 'a', 'C'};

	(void)state;
	cr_tokens_reverse_complement(&cr_vocabulary_evo1, odd, 9);
	assert_memory_equal(odd, odd_turned, 9);
	cr_tokens_reverse_complement(&cr_vocabulary_evo2, even, 4);
	assert_memory_equal(even, even_turned, 4);
	cr_tokens_reverse_complement(&cr_vocabulary_evo2, even, 0);
	assert_memory_equal(even, even_turned, 4);
}

/* Without a padding token N stays N. */
static void test_no_padding(void **state)
{
	cr_vocabulary bare = cr_vocabulary_evo2;
	const cr_token_options options = {.n_as_pad = 1};
	uint8_t out = 0;

	(void)state;
	bare.pad = -1;
	assert_int_equal(cr_tokens_encode(&bare, "N", 1, &options, &out, NULL), 1);
	assert_int_equal(out, 'N');
}

static void test_token_of(void **state)
{
	static const char bases[] = "ACGT";

	(void)state;
	for (int byte = -128; byte < 128; byte++) {
		const char *known = byte ? strchr(bases, byte) : NULL;

		if (byte >= 'a' && byte <= 'z')
			known = strchr(bases, byte - 32);
		assert_int_equal(cr_token_of(&cr_vocabulary_evo1, (char)byte), known ? *known : 'N');
		assert_int_equal(cr_token_of(&cr_vocabulary_hyenadna, (char)byte),
				 known ? CR_TOKEN_A + (int)(known - bases) : CR_TOKEN_N);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),      cmocka_unit_test(test_complement),
		cmocka_unit_test(test_check),          cmocka_unit_test(test_encode),
		cmocka_unit_test(test_reverse_tokens), cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_reverse_bytes),  cmocka_unit_test(test_no_padding),
		cmocka_unit_test(test_token_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
