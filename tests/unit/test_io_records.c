/* test_io_records.c - FASTA, FASTQ, SAM, BAM and CRAM record by record, good and damaged. */
#include "test_io_support.h"

#include <fcntl.h>

#include <htslib/sam.h>

#include "io/records.h"

static crocuta_error error;

/* All records as "name:bases;..." with the flags where set; NULL when it fails, error filled. */
static const char *read_all(const char *path, const cr_records_options *options,
			    cr_records_counts *counts)
{
	static char text[1 << 20];
	const cr_record *record;
	cr_records *records;
	size_t used = 0;
	int code = cr_records_open(path, options, &records, &error);

	text[0] = '\0';
	if (code) {
		assert_null(records);
		return NULL;
	}
	for (;;) {
		code = cr_records_next(records, &record, &error);
		if (code || !record)
			break;
		assert_int_equal(strlen(record->bases), record->length);
		used += (size_t)snprintf(text + used, sizeof text - used, "%s%s:%s",
					 used ? ";" : "", record->name, record->bases);
	}
	if (counts)
		*counts = cr_records_get_counts(records);
	cr_records_close(records);
	return code ? NULL : text;
}

static void expect(const char *path, const char *expected, int line)
{
	const char *got = read_all(path, NULL, NULL);

	if (!got || strcmp(got, expected)) {
		print_error("got %s, expected %s; %s\n", got ? got : "failure", expected,
			    error.message);
		_fail(__FILE__, line);
	}
}

static void expect_failure(const char *path, int code, const char *text, int line)
{
	const char *got = read_all(path, NULL, NULL);

	if (got) {
		print_error("got %.200s\n", got);
		_fail(__FILE__, line);
	}
	check_failed_at(error.code, code, &error, text, __FILE__, line);
}

#define good(text, expected) expect(put_file("r", text), expected, __LINE__)
#define bad(text, message) expect_failure(put_file("r", text), CROCUTA_EINPUT, message, __LINE__)

static void test_fasta(void **state)
{
	(void)state;
	good(">a b c\nACGT\nac\n>b\nN", "a:ACGTac;b:N");
	good("\n\r\n>a\tx\r\nAC\r\n\r\nGU\r\n>b\r\nR\r\n\r\n", "a:ACGU;b:R");
	expect(put_bgzf("r.gz", ">a\nACGT\n>b\nTT\n"), "a:ACGT;b:TT", __LINE__);
	bad("", "the input is empty");
	bad("\n\n", "the input is empty");
	bad("ACGT\n", "r:1: begins with byte 0x41");
	bad("\n\nhello\n", "r:3: begins with byte 0x68");
	bad(">a\n>b\nA\n", "r:1: \"a\" is a header without sequence");
	bad(">a\nA\n>b\n", "r:3: \"b\" is a header without sequence");
	bad(">\nA\n", "r:1: the header line has no name");
	bad(">a\nACGT\nAC-T\n", "r:3: record \"a\" base 7: byte 0x2d is not a nucleotide");
	bad(">a\nAC>T\n", "base 3: byte 0x3e");
	bad(">a\nAC T\n", "base 3: byte 0x20");
	bad(">a\nAC\rT\n", "base 3: byte 0x0d");
	expect_failure(put_bytes("r", ">a\nA\0C\n", 7), CROCUTA_EINPUT, "byte 0x00", __LINE__);
	expect_failure(put_bytes("r", ">a\0b\nAC\n", 8), CROCUTA_EINPUT, "NUL", __LINE__);
	expect_failure(in_directory("absent"), CROCUTA_EIO, "No such file", __LINE__);
	expect_failure(directory, CROCUTA_EIO, "Is a directory", __LINE__);
	expect_failure("gs://bucket/x", CROCUTA_EARG, "URL", __LINE__);
	bad("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n", "is VCF");
}

static void test_fastq(void **state)
{
	cr_records_counts counts;

	(void)state;
	good("@r1 x\nACGT\n+\nIIII\n@r2\nTT\n+r2\n@@", "r1:ACGT;r2:TT");
	good("@r1\r\nAC\r\nGT\r\n+\r\nII\r\nII\r\n\r\n@r2\r\nA\r\n+\r\n!\r\n", "r1:ACGT;r2:A");
	assert_string_equal(read_all(put_file("r", "@r1\n\n+\n\n@r2\nA\n+\nI\n"), NULL, &counts),
			    "r2:A");
	assert_int_equal(counts.no_sequence, 1);
	assert_int_equal(counts.records, 1);
	assert_int_equal(counts.bases, 1);
	bad("@r1\nACGT\n+\nIII\n", "r:4: read \"r1\" has 4 bases and 3 quality values");
	bad("@r1\nACGT\n+\nIIIII\n", "r:4: the quality is longer than the sequence");
	bad("@r1\nACGT\n+\n", "and 0 quality values; the file is cut");
	bad("@r1\nACGT\n", "ends without its '+' line");
	bad("@r1\nACGT", "ends without its '+' line");
	bad("@r1\n", "ends without its '+'");
	bad("@r1\nACGT\n+\nIII\x1f\n", "outside '!' to '~'");
	bad("@r1\nA\n+\nI\nr2\n", "r:5: byte 0x72 where a '@' should begin");
	bad("@r1\nA\n+\nI\n>r2\nA\n", "r:5: byte 0x3e where a '@'");
	bad("@\nA\n+\nI\n", "no name");
}

static void test_long(void **state)
{
	enum { LENGTH = 300000 };
	cr_records_options options = {.max_length = LENGTH};
	char *text = malloc(LENGTH + 10), *name = calloc(1, 6000);

	(void)state;
	strcpy(text, ">l\n");
	memset(text + 3, 'A', LENGTH);
	strcpy(text + 3 + LENGTH, "\r\n");
	assert_non_null(read_all(put_file("long", text), &options, NULL));
	options.max_length--;
	assert_null(read_all(in_directory("long"), &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error,
		     "long:2: the record is longer than allowed");
	memset(name, 'n', 5000);
	name[0] = '>';
	strcpy(name + 5000, "\nA\n");
	expect_failure(put_file("r", name), CROCUTA_EINPUT, "name is longer than 4,096", __LINE__);
	free(text);
	free(name);
}

static void test_cut_compressed(void **state)
{
	cr_records_options lenient = {.allow_truncated = 1};
	char text[20000] = "", data[20000], command[700];
	size_t bytes;

	(void)state;
	for (int i = 0; i < 300; i++)
		sprintf(text + strlen(text), ">r%d\nACGATCGATTTACG%.*s\n", i, i % 9, "CCAATTGGC");
	get_file(put_bgzf("c.gz", text), &bytes);
	memcpy(data, get_file(in_directory("c.gz"), NULL), bytes);
	expect_failure(put_bytes("c.gz", data, bytes - 28), CROCUTA_EINPUT, "no BGZF end marker",
		       __LINE__);
	assert_non_null(read_all(in_directory("c.gz"), &lenient, NULL));
	expect_failure(put_bytes("c.gz", data, bytes / 2), CROCUTA_EINPUT, "no BGZF end marker",
		       __LINE__);
	data[200] ^= 4;
	expect_failure(put_bytes("c.gz", data, bytes), CROCUTA_EINPUT, "cut or damaged", __LINE__);
	/* plain gzip */
	put_file("p.fa", text);
	snprintf(command, sizeof command, "gzip -n -f '%s'", in_directory("p.fa"));
	assert_int_equal(system(command), 0);
	assert_non_null(read_all(in_directory("p.fa.gz"), NULL, NULL));
	get_file(in_directory("p.fa.gz"), &bytes);
	memcpy(data, get_file(in_directory("p.fa.gz"), NULL), bytes);
	for (size_t cut = 1; cut < bytes; cut += cut < 40 ? 1 : 37) {
		const char *got = read_all(put_bytes("p.fa.gz", data, bytes - cut), NULL, NULL);

		if (got)
			fail_msg("%zu bytes cut, and nobody saw it", cut);
		assert_true(error.code == CROCUTA_EINPUT || error.code == CROCUTA_EIO);
		memset(&error, 0, sizeof error);
	}
}

/* A stream cannot be looked at from behind: the end marker is missed at the end. */
static void test_streams(void **state)
{
	char data[4096];
	size_t bytes;
	int kept = dup(0), fd;

	(void)state;
	for (int cut = 0; cut < 2; cut++) {
		FILE *pipe;
		char command[700];

		memcpy(data, get_file(put_bgzf("s.gz", ">a\nACGT\n"), &bytes), sizeof data);
		put_bytes("s.gz", data, bytes - (cut ? 28 : 0));
		snprintf(command, sizeof command, "cat '%s'", in_directory("s.gz"));
		pipe = popen(command, "r");
		assert_non_null(pipe);
		assert_int_equal(dup2(fileno(pipe), 0), 0);
		if (cut)
			expect_failure("-", CROCUTA_EINPUT, "standard input: no BGZF end marker",
				       __LINE__);
		else
			expect("-", "a:ACGT", __LINE__);
		pclose(pipe);
	}
	for (int cut = 0; cut < 2; cut++) {
		char command[700];
		FILE *pipe;

		snprintf(command, sizeof command,
			 cut ? "head -c -28 test-data/reads/%s" : "cat test-data/reads/%s",
			 "unaligned.bam");
		pipe = popen(command, "r");
		assert_non_null(pipe);
		assert_int_equal(dup2(fileno(pipe), 0), 0);
		if (cut)
			expect_failure("-", CROCUTA_EINPUT, "no end marker", __LINE__);
		else
			assert_non_null(read_all("-", NULL, NULL));
		pclose(pipe);
	}
	fd = open("/dev/null", O_RDONLY);
	assert_int_equal(dup2(fd, 0), 0);
	close(fd);
	expect_failure("-", CROCUTA_EINPUT, "standard input: the input is empty", __LINE__);
	dup2(kept, 0);
	close(kept);
}

static const char sam_text[] = "@HD\tVN:1.6\n@SQ\tSN:c\tLN:1000\n"
			       "f\t0\tc\t1\t9\t4M\t*\t0\t0\tACGG\tIIII\n"
			       "r\t16\tc\t1\t9\t5M\t*\t0\t0\tACGGT\tIIIII\n"
			       "u\t4\t*\t0\t0\t*\t*\t0\t0\tTTN\t*\n"
			       "s\t256\tc\t1\t9\t4M\t*\t0\t0\tACGG\tIIII\n"
			       "t\t2064\tc\t1\t9\t4M\t*\t0\t0\tACGG\tIIII\n"
			       "n\t0\tc\t1\t9\t4M\t*\t0\t0\t*\t*\n";

static void test_sam(void **state)
{
	cr_records_counts counts;
	char cut[sizeof sam_text];

	(void)state;
	assert_string_equal(read_all(put_file("x.sam", sam_text), NULL, &counts),
			    "f:ACGG;r:ACCGT;u:TTN");
	assert_int_equal(counts.records, 3);
	assert_int_equal(counts.bases, 12);
	assert_int_equal(counts.secondary, 2);
	assert_int_equal(counts.no_sequence, 1);
	expect(put_bgzf("x.sam.gz", sam_text), "f:ACGG;r:ACCGT;u:TTN", __LINE__);
	strcpy(cut, sam_text);
	cut[strlen(cut) - 3] = '\0';
	expect_failure(put_file("cut.sam", cut), CROCUTA_EINPUT, "last line has no line end",
		       __LINE__);
	expect_failure(
		put_file("bad.sam", "@SQ\tSN:c\tLN:10\nx\t0\tc\t1\t9\t4M\t*\t0\t0\tAC\tIIII\n"),
		CROCUTA_EINPUT, "record 1 cannot be read", __LINE__);
	expect_failure(put_file("eq.sam", "@SQ\tSN:c\tLN:10\nx\t0\tc\t1\t9\t2M\t*\t0\t0\tA=\tII\n"),
		       CROCUTA_EINPUT, "has '=' for a base", __LINE__);
}

static void test_bam(void **state)
{
	cr_records_counts counts;
	char *data = malloc(1 << 17);
	cr_records_options small = {.max_length = 50}, lenient = {.allow_truncated = 1};
	size_t bytes;

	(void)state;
	assert_non_null(read_all("test-data/reads/unaligned.bam", NULL, &counts));
	assert_int_equal(counts.records, 200);
	assert_non_null(read_all("test-data/reads/aligned.bam", NULL, &counts));
	assert_int_equal(counts.records, 569);
	assert_null(read_all("test-data/reads/aligned.bam", &small, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "more than 50");
	get_file("test-data/reads/aligned.bam", &bytes);
	memcpy(data, get_file("test-data/reads/aligned.bam", NULL), bytes);
	expect_failure(put_bytes("x.bam", data, bytes - 28), CROCUTA_EINPUT, "no end marker",
		       __LINE__);
	assert_non_null(read_all(in_directory("x.bam"), &lenient, NULL));
	expect_failure(put_bytes("x.bam", data, bytes - 100), CROCUTA_EINPUT, "no end marker",
		       __LINE__);
	data[bytes / 2] ^= 16;
	expect_failure(put_bytes("x.bam", data, bytes), CROCUTA_EINPUT, "cannot be read", __LINE__);
	free(data);
}

/* The reads of the unaligned BAM are those of the aligned one, as sequenced. */
static void test_orientation(void **state)
{
	const cr_record *one, *other;
	cr_records *aligned, *unaligned;
	int compared = 0;

	(void)state;
	check_ok(cr_records_open("test-data/reads/unaligned.bam", NULL, &unaligned, &error),
		 &error);
	check_ok(cr_records_open("test-data/reads/aligned.bam", NULL, &aligned, &error), &error);
	assert_int_equal(cr_records_get_format(aligned), CR_RECORDS_ALIGNMENTS);
	for (;;) {
		check_ok(cr_records_next(unaligned, &one, &error), &error);
		check_ok(cr_records_next(aligned, &other, &error), &error);
		if (!one)
			break;
		assert_int_equal(strncmp(one->name, other->name, strlen(other->name)), 0);
		assert_string_equal(one->bases, other->bases);
		assert_int_equal(one->number, compared);
		compared++;
	}
	assert_int_equal(compared, 200);
	cr_records_close(unaligned);
	cr_records_close(aligned);
}

static void test_cram(void **state)
{
	cr_records_options options = {.reference = "test-data/reads/ref17.fa"};
	cr_records_counts counts;
	char *expected, *data = malloc(1 << 17), *fasta = malloc(6000);
	size_t bytes;

	(void)state;
	setenv("REF_PATH", "http://127.0.0.1:9/%s", 1);
	setenv("TMPDIR", directory, 1);
	expected = strdup(read_all("test-data/reads/aligned.bam", NULL, NULL));
	assert_string_equal(read_all("test-data/reads/aligned.cram", &options, &counts), expected);
	assert_int_equal(counts.records, 569);
	expect_failure("test-data/reads/aligned.cram", CROCUTA_EARG, "needs the reference",
		       __LINE__);
	/* a reference without .fai: none is written; bgzip too */
	strcpy(fasta, get_file("test-data/reads/ref17.fa", NULL));
	options.reference = put_file("ref.fa", fasta);
	assert_string_equal(read_all("test-data/reads/aligned.cram", &options, NULL), expected);
	assert_false(exists(in_directory("ref.fa.fai")));
	options.reference = put_bgzf("ref.fa.gz", fasta);
	assert_string_equal(read_all("test-data/reads/aligned.cram", &options, NULL), expected);
	assert_false(exists(in_directory("ref.fa.gz.fai")));
	assert_false(exists(in_directory("ref.fa.gz.gzi")));
	assert_int_equal(count_files("^crocuta-"), 0);
	/* another reference: length, name, letters */
	fasta[strlen(fasta) - 2] = '\0';
	options.reference = put_file("short.fa", fasta);
	assert_null(read_all("test-data/reads/aligned.cram", &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "one of another length");
	fasta[1] = 'X';
	options.reference = put_file("name.fa", fasta);
	assert_null(read_all("test-data/reads/aligned.cram", &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "none of that name");
	strcpy(fasta, get_file("test-data/reads/ref17.fa", NULL));
	fasta[1000] = fasta[1000] == 'A' ? 'C' : 'A';
	options.reference = put_file("letters.fa", fasta);
	assert_null(read_all("test-data/reads/aligned.cram", &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "reference is another one");
	/* cut */
	options.reference = "test-data/reads/ref17.fa";
	get_file("test-data/reads/aligned.cram", &bytes);
	memcpy(data, get_file("test-data/reads/aligned.cram", NULL), bytes);
	put_bytes("x.cram", data, bytes - 38);
	assert_null(read_all(in_directory("x.cram"), &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "no end marker");
	data[bytes / 2] ^= 1;
	put_bytes("x.cram", data, bytes);
	assert_null(read_all(in_directory("x.cram"), &options, NULL));
	check_failed(error.code, CROCUTA_EINPUT, &error, "cannot be read");
	free(expected);
	free(data);
	free(fasta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fasta),   cmocka_unit_test(test_fastq),
		cmocka_unit_test(test_long),    cmocka_unit_test(test_cut_compressed),
		cmocka_unit_test(test_streams), cmocka_unit_test(test_sam),
		cmocka_unit_test(test_bam),     cmocka_unit_test(test_orientation),
		cmocka_unit_test(test_cram),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
