/* test_io_reference.c - FASTA access: layouts, indexes true and false, damaged files. */
#define _GNU_SOURCE
#include "test_io_support.h"

#include <fcntl.h>

#include <htslib/bgzf.h>
#include <htslib/faidx.h>

#include "io/reference.h"

/* Open, expect failure. */
static void refused(const char *path, const cr_reference_options *options, int code,
		    const char *text, int line)
{
	crocuta_error error = {0};
	cr_reference *reference = (cr_reference *)&error;
	int got = cr_reference_open(path, options, &reference, &error);

	assert_null(reference);
	check_failed_at(got, code, &error, text, __FILE__, line);
}

#define refuse(path, code, text) refused(path, NULL, code, text, __LINE__)

static cr_reference *open_good(const char *path)
{
	crocuta_error error = {0};
	cr_reference *reference;

	check_ok(cr_reference_open(path, NULL, &reference, &error), &error);
	return reference;
}

static void expect_bases(cr_reference *reference, const char *name, int64_t start, int64_t end,
			 const char *expected)
{
	int64_t contig = cr_contigs_find(cr_reference_contigs(reference), name, strlen(name));
	crocuta_error error = {0};
	char out[256] = {0};

	assert_true(contig >= 0);
	check_ok(cr_reference_fetch(reference, contig, start, end, out, &error), &error);
	assert_string_equal(out, expected);
}

static const char simple[] = ">one first words\nACGTAC\nGTNNac\ngt\n>two\nTTTT\n>three\tx\nA\n";

static void expect_simple(const char *path, int scanned)
{
	cr_reference *reference = open_good(path);
	const cr_contigs *contigs = cr_reference_contigs(reference);
	crocuta_error error = {0};

	assert_int_equal(cr_contigs_count(contigs), 3);
	assert_string_equal(cr_contigs_name(contigs, 0), "one");
	assert_int_equal(cr_contigs_length(contigs, 0), 14);
	assert_int_equal(cr_contigs_length(contigs, 2), 1);
	assert_int_equal(cr_reference_scanned(reference), scanned);
	expect_bases(reference, "one", 0, 14, "ACGTACGTNNacgt");
	expect_bases(reference, "one", 5, 7, "CG");
	expect_bases(reference, "one", 6, 12, "GTNNac");
	expect_bases(reference, "one", 3, 3, "");
	expect_bases(reference, "two", 1, 4, "TTT");
	expect_bases(reference, "three", 0, 1, "A");
	check_ok(cr_reference_unchanged(reference, &error), &error);
	cr_reference_close(reference);
}

static void test_simple(void **state)
{
	const char *path;

	(void)state;
	path = put_file("s.fa", simple);
	expect_simple(path, 1);
	assert_false(exists(in_directory("s.fa.fai"))); /* never written */
	assert_int_equal(fai_build(path), 0);
	expect_simple(path, 0);
	path = put_bgzf("s.fa.gz", simple);
	expect_simple(path, 1);
	assert_int_equal(fai_build(path), 0);
	expect_simple(path, 0);
	unlink(in_directory("s.fa.gz.gzi"));
	expect_simple(path, 0); /* .gzi made in memory */
}

static void test_layouts(void **state)
{
	crocuta_error error = {0};
	cr_reference *reference;
	char out[8];

	(void)state;
	reference = open_good(put_file("crlf.fa", ">a\r\nACG\r\nTA\r\n>b x\r\nGG"));
	expect_bases(reference, "a", 0, 5, "ACGTA");
	expect_bases(reference, "b", 0, 2, "GG");
	cr_reference_close(reference);
	/* every line of another length, blank lines, mixed line ends, a blank line first */
	reference = open_good(put_file("free.fa", "\n>a\nAC\nGGG\r\n\nT\nCCCC\n\n\n>b\n\nAA\n"));
	expect_bases(reference, "a", 0, 10, "ACGGGTCCCC");
	expect_bases(reference, "a", 3, 8, "GGTCC");
	expect_bases(reference, "b", 0, 2, "AA");
	check_failed(cr_reference_fetch(reference, 0, 5, 11, out, &error), CROCUTA_EINPUT, &error,
		     "bases 6-11 are not on contig \"a\" of 10");
	check_failed(cr_reference_fetch(reference, 0, -1, 2, out, &error), CROCUTA_EINPUT, &error,
		     "not on contig");
	cr_reference_close(reference);
}

/* Random layouts against a plain copy, across pages and checkpoints, plain and bgzip. */
static void test_random_layouts(void **state)
{
	enum { LENGTH = 300000 };
	char *bases = malloc(LENGTH), *text = malloc(LENGTH * 3), *out = malloc(LENGTH);
	unsigned seed = 7;

	(void)state;
	for (int i = 0; i < LENGTH; i++)
		bases[i] = "ACGTacgtNR"[rand_r(&seed) % 10];
	for (int round = 0; round < 6; round++) {
		int used = sprintf(text, ">c\n"), width = round < 3 ? 61 : 0;
		cr_reference *reference;
		crocuta_error error = {0};

		for (int i = 0; i < LENGTH;) {
			int line = width ? width : 1 + rand_r(&seed) % 900;

			line = line < LENGTH - i ? line : LENGTH - i;
			memcpy(text + used, bases + i, (size_t)line);
			used += line;
			text[used++] = '\n';
			i += line;
		}
		text[used] = '\0';
		reference =
			open_good(round % 2 ? put_bgzf("r.fa.gz", text) : put_file("r.fa", text));
		assert_int_equal(cr_contigs_length(cr_reference_contigs(reference), 0), LENGTH);
		for (int i = 0; i < 200; i++) {
			int start = rand_r(&seed) % LENGTH, end = start + rand_r(&seed) % 70000;

			end = end < LENGTH ? end : LENGTH;
			check_ok(cr_reference_fetch(reference, 0, start, end, out, &error), &error);
			assert_memory_equal(out, bases + start, (size_t)(end - start));
		}
		check_ok(cr_reference_fetch(reference, 0, 0, LENGTH, out, &error), &error);
		assert_memory_equal(out, bases, LENGTH);
		cr_reference_close(reference);
	}
	free(bases);
	free(text);
	free(out);
}

static void test_bad_files(void **state)
{
	char name[5000];

	(void)state;
	refuse(in_directory("absent.fa"), CROCUTA_EIO, "No such file");
	refuse(directory, CROCUTA_EIO, "Is a directory");
	refuse("https://host/x.fa", CROCUTA_EARG, "is a URL");
	assert_int_equal(mkfifo(in_directory("fifo"), 0600), 0);
	refuse(in_directory("fifo"), CROCUTA_EARG, "pipe or device");
	refuse("/dev/null", CROCUTA_EARG, "pipe or device");
	refuse(put_file("e.fa", ""), CROCUTA_EINPUT, "is empty");
	refuse(put_file("e.fa", "\n\n"), CROCUTA_EINPUT, "holds no sequence");
	refuse(put_file("e.fa", "ACGT\n"), CROCUTA_EINPUT, "e.fa:1: byte 0x41 ('A')");
	refuse(put_file("e.fa", ">a\nA\n>b\n"), CROCUTA_EINPUT,
	       "e.fa:3: \"b\" is a header without");
	refuse(put_file("e.fa", ">a\n>b\nA\n"), CROCUTA_EINPUT,
	       "e.fa:1: \"a\" is a header without");
	refuse(put_file("e.fa", ">\nA\n"), CROCUTA_EINPUT, "e.fa:1: the header line has no name");
	refuse(put_file("e.fa", "> a\nA\n"), CROCUTA_EINPUT, "no name");
	refuse(put_file("e.fa", ">a\nA\n>b\nC\n>a x\nG\n"), CROCUTA_EINPUT,
	       "e.fa:5: the name \"a\" was used in line 1");
	refuse(put_file("e.fa", ">a\nAC\rGT\n"), CROCUTA_EINPUT, "e.fa:2: a carriage return");
	memset(name, 'x', sizeof name);
	name[0] = '>';
	memcpy(name + sizeof name - 5, "\nAC\n", 5);
	refuse(put_file("e.fa", name), CROCUTA_EINPUT, "longer than 4,096");
}

static void test_bad_bytes(void **state)
{
	static const char *const texts[] = {">a\nACG>T\n", ">a\nACG T\n", ">a\nACG\tT\n",
					    ">a\nACG*T\n", ">a\nACG-T\n", ">a\nACG\xe9T\n",
					    ">a\nACGXT\n"};
	crocuta_error error = {0};
	cr_reference *reference;
	char out[8];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		reference = open_good(put_file("b.fa", texts[i]));
		check_ok(cr_reference_fetch(reference, 0, 0, 3, out, &error), &error);
		check_failed(cr_reference_fetch(reference, 0, 1, 5, out, &error), CROCUTA_EINPUT,
			     &error, "contig \"a\" base 4: byte 0x");
		cr_reference_close(reference);
	}
	reference = open_good(put_bytes("b.fa", ">a\nAC\0T\n", 8));
	check_failed(cr_reference_fetch(reference, 0, 0, 4, out, &error), CROCUTA_EINPUT, &error,
		     "base 3: byte 0x00 is not");
	cr_reference_close(reference);
}

/* A .fai that is not of the file. */
static void test_false_index(void **state)
{
	static const struct {
		const char *fai, *message;
	} cases[] = {
		{"one\t14\t18\t6\t7\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n",
		 "no header line ends"},
		{"one\t14\t17\t7\t8\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n",
		 "lines do not end where"},
		{"one\t14\t17\t6\t8\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n",
		 "lines do not end where"},
		{"one\t12\t17\t6\t7\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n", "does not end where"},
		{"one\t14\t17\t0\t7\n", "bases a line must be"},
		{"one\t14\t17\t6\t5\n", "line width must be"},
		{"one\t14\t17\t6\t9\n", "line width must be"},
		{"one\t14\t17\t6\t6\n", "cannot lack a line end"},
		{"one\t9000000000000000000\t17\t6\t7\n", "length must be a number"},
		{"one\t4000000000000000000\t17\t6\t7\n", "end behind the end of the file"},
		{"one\t-14\t17\t6\t7\n", "length must be"},
		{"one\t0x14\t17\t6\t7\n", "length must be"},
		{"one\t+14\t17\t6\t7\n", "length must be"},
		{"one\t14\t17\t6\n", ":1: a FASTA index has 5 columns, this line has fewer"},
		{"one\t14\t17\t6\t7\t9\n", "this line has more"},
		{"one\t14\t17\t6\t7\ntwo\t4\t39\t4\t5\n", "goes on behind the last contig"},
		{"two\t4\t39\t4\t5\none\t14\t17\t6\t7\nthree\t1\t53\t1\t2\n", "out of order"},
		{"one\t14\t17\t6\t7\nthree\t1\t53\t1\t2\n", "another name"},
		{"uno\t14\t17\t6\t7\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n", "another name"},
		{"on\t14\t17\t6\t7\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n", "another name"},
		{"one\t14\t17\t6\t7\none\t4\t39\t4\t5\n", ":2: contig \"one\" occurs twice"},
		{"", "holds no contig"},
	};
	static const char good[] = "one\t14\t17\t6\t7\ntwo\t4\t39\t4\t5\nthree\t1\t53\t1\t2\n";
	cr_reference_options options = {0};
	cr_reference *reference;
	crocuta_error error = {0};
	const char *path;

	(void)state;
	path = put_file("i.fa", simple);
	put_file("good.fai", good);
	options.fai = in_directory("good.fai");
	check_ok(cr_reference_open(path, &options, &reference, &error), &error);
	cr_reference_close(reference);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		put_file("i.fa.fai", cases[i].fai);
		refused(path, NULL, CROCUTA_EINPUT, cases[i].message, __LINE__);
	}
	unlink(in_directory("i.fa.fai"));
	options.fai = in_directory("absent.fai");
	refused(path, &options, CROCUTA_EIO, "No such file", __LINE__);
}

/* Anything a liar changes in one field of a true .fai is refused, or the bases stay right. */
static void test_mutated_index(void **state)
{
	static const int64_t columns[3][4] = {{14, 17, 6, 7}, {4, 39, 4, 5}, {1, 53, 1, 2}};
	static const char *const names[3] = {"one", "two", "three"};
	int accepted = 0, tried = 0;
	const char *path;

	(void)state;
	path = put_file("m.fa", simple);
	for (int contig = 0; contig < 3; contig++)
		for (int column = 0; column < 4; column++)
			for (int64_t change = -12; change <= 12; change++) {
				crocuta_error error = {0};
				cr_reference *reference;
				char fai[300];
				int used = 0;

				for (int i = 0; i < 3; i++) {
					int64_t it[4];

					memcpy(it, columns[i], sizeof it);
					it[column] += i == contig ? change : 0;
					used += sprintf(fai + used, "%s\t%ld\t%ld\t%ld\t%ld\n",
							names[i], (long)it[0], (long)it[1],
							(long)it[2], (long)it[3]);
				}
				put_file("m.fa.fai", fai);
				tried++;
				if (cr_reference_open(path, NULL, &reference, &error)) {
					assert_int_equal(error.code, CROCUTA_EINPUT);
					continue;
				}
				accepted++;
				expect_bases(reference, "one", 0, 14, "ACGTACGTNNacgt");
				expect_bases(reference, "two", 0, 4, "TTTT");
				expect_bases(reference, "three", 0, 1, "A");
				cr_reference_close(reference);
			}
	assert_in_range(accepted, 12, tried / 3);
}

static void put_u64(unsigned char *out, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (unsigned char)(value >> 8 * i);
}

static void test_false_gzi(void **state)
{
	char *text = malloc(400000);
	unsigned char gzi[200], good[200];
	size_t bytes;
	const char *path, *beside;
	cr_reference *reference;

	(void)state;
	strcpy(text, ">a\n");
	for (int i = 0; i < 5000; i++)
		sprintf(text + strlen(text), "%.*s\n", 60,
			"ACGGTCAGGCTAGCATCGACTAGCATCATTTACGAGCATCGACTCTTTGGAGAGCTCCAGACGTA" +
				i % 5);
	path = put_bgzf("g.fa.gz", text);
	assert_int_equal(fai_build(path), 0);
	beside = in_directory("g.fa.gz.gzi");
	get_file(beside, &bytes);
	assert_int_equal(bytes, 8 + 16 * 4);
	memcpy(good, get_file(beside, NULL), bytes);
	reference = open_good(path);
	cr_reference_close(reference);
	for (int round = 0; round < 7; round++) {
		static const char *const messages[] = {"size does not fit",    "size does not fit",
						       "size does not fit",    "do not rise",
						       "do not rise",          "behind the end",
						       "no block of that size"};

		memcpy(gzi, good, bytes);
		if (round == 0)
			put_u64(gzi, UINT64_MAX);
		if (round == 1)
			put_u64(gzi, 0xffffffff);
		if (round == 3)
			put_u64(gzi + 24, 1); /* compressed offset of entry 2 */
		if (round == 4)
			put_u64(gzi + 16, 70000);
		if (round == 5)
			put_u64(gzi + 8 + 48, 1 << 30);
		if (round == 6)
			put_u64(gzi + 16, 0xff00 - 1);
		put_bytes("g.fa.gz.gzi", gzi, round == 2 ? bytes - 3 : bytes);
		refused(path, NULL, CROCUTA_EINPUT, messages[round], __LINE__);
	}
	/* a short but true index is completed */
	memcpy(gzi, good, bytes);
	put_u64(gzi, 2);
	put_bytes("g.fa.gz.gzi", gzi, 8 + 32);
	reference = open_good(path);
	text[strlen(text) - 1] = 0;
	expect_bases(reference, "a", 299990, 300000, text + strlen(text) - 10);
	cr_reference_close(reference);
	free(text);
}

static void test_damaged_bgzf(void **state)
{
	cr_reference_options lenient = {.allow_truncated = 1};
	crocuta_error error = {0};
	cr_reference *reference;
	char data[4096], gzip[64] = "\x1f\x8b\x08\0\0\0\0\0\0\x03KL\x84\x01\0";
	size_t bytes;
	const char *path;

	(void)state;
	path = put_bgzf("d.fa.gz", simple);
	memcpy(data, get_file(path, &bytes), sizeof data);
	assert_in_range(bytes, 60, sizeof data);
	put_bytes("d.fa.gz", data, bytes - 28);
	refuse(path, CROCUTA_EINPUT, "no BGZF end marker");
	check_ok(cr_reference_open(path, &lenient, &reference, &error), &error);
	expect_bases(reference, "two", 0, 4, "TTTT");
	cr_reference_close(reference);
	put_bytes("d.fa.gz", data, bytes - 40);
	refuse(path, CROCUTA_EINPUT, "no BGZF end marker");
	data[40] ^= 1;
	put_bytes("d.fa.gz", data, bytes);
	refuse(path, CROCUTA_EINPUT, "block at byte 0 cannot be read or fails its checksum");
	refuse(put_bytes("plain.fa.gz", gzip, 40), CROCUTA_EINPUT, "is gzip, not bgzip");
}

static void test_changed(void **state)
{
	crocuta_error error = {0};
	cr_reference *reference;
	const char *path;

	(void)state;
	path = put_file("c.fa", simple);
	reference = open_good(path);
	check_ok(cr_reference_unchanged(reference, &error), &error);
	put_file("c.fa", ">one\nACGTACGTACGTAC\n>two\nCC\n");
	check_failed(cr_reference_unchanged(reference, &error), CROCUTA_EINPUT, &error,
		     "was changed");
	unlink(path);
	check_failed(cr_reference_unchanged(reference, &error), CROCUTA_EIO, &error,
		     "No such file");
	cr_reference_close(reference);
}

/* A contig above 2^31 bases: a sparse file, whose holes are no bases, with real ends. */
static void test_huge(void **state)
{
	int64_t length = ((int64_t)1 << 31) + 1000;
	const char *path;
	crocuta_error error = {0};
	cr_reference *reference;
	char fai[100], out[16] = {0};
	int fd;

	(void)state;
	path = in_directory("huge.fa");
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, ">h\nACGT", 7, 0), 7);
	assert_int_equal(pwrite(fd, "GATTACA\n", 8, 3 + length - 7), 8);
	close(fd);
	snprintf(fai, sizeof fai, "h\t%lld\t3\t%lld\t%lld\n", (long long)length, (long long)length,
		 (long long)length + 1);
	put_file("huge.fa.fai", fai);
	reference = open_good(path);
	assert_int_equal(cr_contigs_length(cr_reference_contigs(reference), 0), length);
	check_ok(cr_reference_fetch(reference, 0, length - 5, length, out, &error), &error);
	assert_string_equal(out, "TTACA");
	check_failed(cr_reference_fetch(reference, 0, length - 9, length, out, &error),
		     CROCUTA_EINPUT, &error, "base 2147484640: byte 0x00");
	cr_reference_close(reference);
}

static void test_real(void **state)
{
	cr_reference *reference = open_good("test-data/seq/human_chr22_piece.fa.gz");

	(void)state;
	assert_int_equal(cr_contigs_length(cr_reference_contigs(reference), 0), 200000);
	expect_bases(reference, "chr22_piece", 0, 20, "TGGGAAGGTGGGGAGGTGCT");
	cr_reference_close(reference);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple),         cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_random_layouts), cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_bad_bytes),      cmocka_unit_test(test_false_index),
		cmocka_unit_test(test_mutated_index),  cmocka_unit_test(test_false_gzi),
		cmocka_unit_test(test_damaged_bgzf),   cmocka_unit_test(test_changed),
		cmocka_unit_test(test_huge),           cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
