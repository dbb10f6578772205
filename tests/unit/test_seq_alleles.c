/* test_seq_alleles.c - kinds of ALTs; one change under all its spellings; where windows lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "seq/alleles.h"
#include "seq/alphabet.h"

#define LONGEST 4096

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int64_t random_below(int64_t n)
{
	return (int64_t)(random_bits() % (uint64_t)n);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		enum cr_allele_kind kind;
	} cases[] = {
		{"A", CR_ALLELE_BASES},
		{"acgtACGT", CR_ALLELE_BASES},
		{"N", CR_ALLELE_NONACGT},
		{"ACRT", CR_ALLELE_NONACGT},
		{"u", CR_ALLELE_NONACGT},
		{"X", CR_ALLELE_NONACGT},
		{"", CR_ALLELE_NONACGT},
		{"A-", CR_ALLELE_NONACGT},
		{"A*", CR_ALLELE_NONACGT},
		{"..", CR_ALLELE_NONACGT},
		{"A.C", CR_ALLELE_NONACGT},
		{"*", CR_ALLELE_STAR},
		{".", CR_ALLELE_MISSING},
		{"<*>", CR_ALLELE_REFBLOCK},
		{"<NON_REF>", CR_ALLELE_REFBLOCK},
		{"<X>", CR_ALLELE_REFBLOCK},
		{"<DEL>", CR_ALLELE_SYMBOLIC},
		{"<DUP:TANDEM>", CR_ALLELE_SYMBOLIC},
		{"<CN0>", CR_ALLELE_SYMBOLIC},
		{"<*:DEL>", CR_ALLELE_SYMBOLIC},
		{"C<ctg1>", CR_ALLELE_SYMBOLIC},
		{"G]17:198982]", CR_ALLELE_BREAKEND},
		{"]13:123456]T", CR_ALLELE_BREAKEND},
		{"C[<ctg1>:1[", CR_ALLELE_BREAKEND},
		{"[chr2:5[N", CR_ALLELE_BREAKEND},
		{".A", CR_ALLELE_BREAKEND},
		{"ACG.", CR_ALLELE_BREAKEND},
		{"N.", CR_ALLELE_BREAKEND},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (cr_allele_kind(cases[i].text) != cases[i].kind)
			fail_msg("\"%s\" is of kind %d", cases[i].text,
				 cr_allele_kind(cases[i].text));
}

struct contig {
	const char *bases;
	int64_t length;
	int fail; /* the fetch that returns an error, counted down */
};

static int fetch(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	struct contig *contig = user;

	(void)error;
	assert_true(start >= 0 && start < end && end <= contig->length);
	if (contig->fail && !--contig->fail)
		return CROCUTA_EIO;
	memcpy(out, contig->bases + start, (size_t)(end - start));
	return 0;
}

/* First difference and what lies there, from whole haplotypes in reading direction. */
static void expect(const char *c, int64_t n, const char *h, int64_t m, cr_allele *expected)
{
	int64_t at = 0, tail = 0;

	while (at < n && at < m && c[at] == h[at])
		at++;
	while (tail < n - at && tail < m - at && c[n - 1 - tail] == h[m - 1 - tail])
		tail++;
	expected->at = at;
	expected->removed = n - at - tail;
	expected->inserted = m - at - tail;
	memcpy(expected->bases, h + at, (size_t)expected->inserted);
}

static void compare(const cr_allele *found, const cr_allele *expected)
{
	assert_int_equal(found->at, expected->at);
	assert_int_equal(found->removed, expected->removed);
	assert_int_equal(found->inserted, expected->inserted);
	assert_memory_equal(found->bases, expected->bases, (size_t)expected->inserted);
}

static void reverse_of(const char *bases, int64_t n, char *out)
{
	memcpy(out, bases, (size_t)n);
	out[n] = '\0';
	cr_bases_reverse_complement(out, n);
}

/* The spelling that replaces [i, j) of c by what h has instead, on one strand. */
static void find_spelling(const char *c, int64_t n, const char *h, int64_t m, int64_t i, int64_t j,
			  int reverse, cr_allele *found)
{
	static char ref[LONGEST + 1], alt[LONGEST + 1];
	struct contig contig = {c, n, 0};
	int64_t r = j - i, a = j + m - n - i;

	memcpy(ref, c + i, (size_t)r);
	memcpy(alt, h + i, (size_t)a);
	ref[r] = alt[a] = '\0';
	for (int64_t k = 0; k < r; k++)
		ref[k] |= random_bits() & 32; /* either case */
	for (int64_t k = 0; k < a; k++)
		alt[k] |= random_bits() & 32;
	assert_int_equal(
		cr_allele_find(ref, alt, i, n, reverse, fetch, &contig, found->bases, found, NULL),
		0);
}

/* Every spelling of h against c with REF and ALT of at least one base, on both strands, and on the
 * reverse complement read forward. Returns how many. */
static int check_spellings(const char *c, int64_t n, const char *h, int64_t m)
{
	static char want[LONGEST], want_back[LONGEST], got[LONGEST], c_back[LONGEST + 1],
		h_back[LONGEST + 1];
	cr_allele expected = {.bases = want}, backward = {.bases = want_back},
		  found = {.bases = got};
	int64_t shared = 0, tail = 0;
	int spellings = 0;

	reverse_of(c, n, c_back);
	reverse_of(h, m, h_back);
	expect(c, n, h, m, &expected);
	expect(c_back, n, h_back, m, &backward);
	while (shared < n && shared < m && c[shared] == h[shared])
		shared++;
	while (tail < n && tail < m && c[n - 1 - tail] == h[m - 1 - tail])
		tail++;
	for (int64_t i = 0; i <= shared; i++)
		for (int64_t j = n - tail > i ? n - tail : i; j <= n; j++) {
			if (j - i < 1 || j + m - n - i < 1)
				continue;
			spellings++;
			find_spelling(c, n, h, m, i, j, 0, &found);
			compare(&found, &expected);
			find_spelling(c, n, h, m, i, j, 1, &found);
			compare(&found, &backward);
			find_spelling(c_back, n, h_back, m, n - j, n - i, 0, &found);
			compare(&found, &backward);
			find_spelling(c_back, n, h_back, m, n - j, n - i, 1, &found);
			compare(&found, &expected);
		}
	return spellings;
}

static void random_text(char *out, int64_t n, int letters)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = "ACGT"[random_below(letters)];
	out[n] = '\0';
}

/* A haplotype that replaces [i, j) of c by `insert` random bases. */
static int64_t make_haplotype(const char *c, int64_t n, int64_t i, int64_t j, int64_t insert,
			      int letters, char *h)
{
	memcpy(h, c, (size_t)i);
	random_text(h + i, insert, letters);
	memcpy(h + i + insert, c + j, (size_t)(n - j));
	return n - (j - i) + insert;
}

static void test_spellings(void **state)
{
	int64_t spellings = 0, indels = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char c[64], h[96];
		int letters = 1 + (int)random_below(4);
		int64_t n = 1 + random_below(20), i, j, m, unit = 1 + random_below(5);

		random_text(c, n, letters);
		if (round % 3 == 0) /* repeats of a short unit */
			for (int64_t k = unit; k < n; k++)
				c[k] = c[k - unit];
		i = random_below(n + 1);
		j = i + random_below(n - i + 1);
		m = make_haplotype(c, n, i, j, random_below(7), letters, h);
		if (m == n && !memcmp(c, h, (size_t)n))
			continue;
		spellings += check_spellings(c, n, h, m);
		indels += m != n;
	}
	assert_true(spellings > 100000 && indels > 5000);
}

/* Repeats longer than what is fetched at a time. */
static void test_long_repeats(void **state)
{
	static char c[LONGEST + 1], h[LONGEST + 1], bases[LONGEST];
	cr_allele found = {.bases = bases};
	int64_t n = 3001, m = n - 900;

	(void)state;
	for (int64_t i = 0; i < n; i++)
		c[i] = "ACGTTG"[i % 6];
	c[n - 1] = 'C';
	memcpy(h, c, 300);
	memcpy(h + 300, c + 1200, (size_t)(n - 1200));
	find_spelling(c, n, h, m, 0, 901, 0, &found);
	assert_int_equal(found.at, n - 1 - 900);
	find_spelling(c, n, h, m, 1500, 2401, 1, &found);
	assert_int_equal(found.at, n - 900);
	assert_int_equal(found.removed, 900);
	m = n + 6;
	memcpy(h, c, 6);
	memcpy(h + 6, c, (size_t)n);
	find_spelling(c, n, h, m, 0, 7, 0, &found);
	assert_int_equal(found.at, n - 1);
	assert_int_equal(found.inserted, 6);
	assert_memory_equal(bases, "ACGTTG", 6);
}

static void test_fetch_failures(void **state)
{
	struct contig contig = {"AAAAAAAA", 8, 1};
	char bases[8];
	cr_allele found;

	(void)state;
	assert_int_equal(cr_allele_find("A", "AA", 2, 8, 0, fetch, &contig, bases, &found, NULL),
			 CROCUTA_EIO);
	for (int fail = 1; fail <= 2; fail++) {
		contig.fail = fail;
		assert_int_equal(
			cr_allele_find("AA", "A", 2, 8, 1, fetch, &contig, bases, &found, NULL),
			CROCUTA_EIO);
	}
}

/* Everything the header promises about one placement, from its definitions. */
static void check_place(const cr_placement *p, int64_t n, const cr_allele *allele)
{
	cr_placed it = cr_place(p, n, allele);
	int64_t m = n - allele->removed + allele->inserted, at = allele->at;
	int64_t left = (n < m ? n : m) - at, least = p->readout < left ? p->readout : left;
	int64_t need = p->window - p->readout - (p->fixed ? 0 : p->step - 1), k = 0;

	if (p->fixed) {
		assert_int_equal(it.start, at < need ? 0 : at - need);
		assert_int_equal(it.count, least);
		assert_int_equal(it.end, at + it.count);
	} else {
		while (k * p->step + p->window < at + least)
			k++;
		assert_int_equal(it.start, k * p->step);
		assert_int_equal(it.end, it.start + p->window < n ? it.start + p->window : n);
		if (p->rest)
			least = it.end - at < left ? it.end - at : left;
		assert_int_equal(it.count, least);
	}
	assert_true(it.start >= 0 && it.start <= at && it.end <= n);
	assert_true(it.end - it.start <= p->window);
	assert_true(at + it.count <= it.end && it.count >= 0);
	assert_int_equal(it.edge, at - it.start < need || it.count < p->readout);
	if (!it.edge && !p->rest)
		assert_true(it.count == p->readout && at - it.start >= need);
}

static void test_places(void **state)
{
	(void)state;
	for (int round = 0; round < 300000; round++) {
		cr_placement p = {.window = 2 + random_below(40)};
		int64_t n = 1 + random_below(round & 1 ? 30 : 200);
		cr_allele allele = {.at = random_below(n + 1)};

		p.readout = 1 + random_below(p.window - 1);
		p.step = 1 + random_below(p.window - p.readout);
		p.fixed = round % 3 == 0;
		p.rest = round % 5 == 0;
		allele.removed = random_below(n - allele.at + 1);
		if (round % 7 == 0)
			allele.removed = n - allele.at; /* a deletion to the contig's end */
		allele.inserted = random_below(12);
		check_place(&p, n, &allele);
	}
}

static void test_place_examples(void **state)
{
	cr_placement p = {.window = 100, .readout = 25, .step = 50};
	cr_allele snv = {.at = 75, .removed = 1, .inserted = 1};
	cr_placed it;

	(void)state;
	it = cr_place(&p, 1000, &snv);
	assert_true(it.start == 0 && it.end == 100 && it.count == 25 && !it.edge);
	snv.at = 76;
	it = cr_place(&p, 1000, &snv);
	assert_true(it.start == 50 && it.end == 150 && it.count == 25 && !it.edge);
	snv.at = 25;
	assert_true(cr_place(&p, 1000, &snv).edge);
	snv.at = 26;
	assert_false(cr_place(&p, 1000, &snv).edge);
	p.rest = 1;
	assert_int_equal(cr_place(&p, 1000, &snv).count, 74);
	p.rest = 0;
	snv.at = 999;
	it = cr_place(&p, 1000, &snv);
	assert_true(it.start == 900 && it.end == 1000 && it.count == 1 && it.edge);
	snv.removed = 5;
	snv.inserted = 0;
	snv.at = 995;
	it = cr_place(&p, 1000, &snv);
	assert_true(it.count == 0 && it.edge);
	p.fixed = 1;
	snv = (cr_allele){.at = 500, .removed = 1, .inserted = 1};
	it = cr_place(&p, 1000, &snv);
	assert_true(it.start == 425 && it.end == 525 && it.count == 25 && !it.edge);
	it = cr_place(&p, 510, &snv);
	assert_true(it.start == 425 && it.end == 510 && it.count == 10 && it.edge);
	p = (cr_placement){.window = (int64_t)1 << 60, .readout = 5, .step = (int64_t)1 << 59};
	it = cr_place(&p, 510, &snv);
	assert_true(it.start == 0 && it.end == 510 && it.count == 5 && it.edge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),        cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_long_repeats), cmocka_unit_test(test_fetch_failures),
		cmocka_unit_test(test_places),       cmocka_unit_test(test_place_examples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
