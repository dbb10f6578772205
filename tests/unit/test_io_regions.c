/* test_io_regions.c - the -r grammar, BED and CHROM POS [END] files. */
#include "test_io_support.h"

#include "io/regions.h"

static cr_contigs *contigs;

static const struct {
	const char *name;
	int64_t length;
} known[] = {
	{"chr1", 1000000}, {"chr2", 5000},   {"chrM", 16569}, {"HLA*01:01", 300},
	{"chr:1", 90},     {"chr", 80},      {"a,b", 50},     {"200", 70},
	{"{x}", 40},       {"chr1:5-6", 30}, {"odd}:1", 20},
};

static int make_contigs(void **state)
{
	crocuta_error error = {0};

	contigs = cr_contigs_new();
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (cr_contigs_add(contigs, known[i].name, strlen(known[i].name), known[i].length,
				   &error))
			return -1;
	return make_directory(state);
}

static int free_contigs(void **state)
{
	cr_contigs_free(contigs);
	return remove_directory(state);
}

/* Expected as "contig:start-end;..." in 0-based half-open numbers. */
static void check_list(const cr_regions *regions, const char *expected, int line)
{
	char text[1000] = "";

	for (int64_t i = 0; i < regions->count; i++)
		sprintf(text + strlen(text), "%s%s:%lld-%lld", i ? ";" : "",
			cr_contigs_name(contigs, regions->items[i].contig),
			(long long)regions->items[i].start, (long long)regions->items[i].end);
	if (strcmp(text, expected)) {
		print_error("got %s, expected %s\n", text, expected);
		_fail(__FILE__, line);
	}
}

static void parsed(const char *list, const char *expected, int line)
{
	crocuta_error error = {0};
	cr_regions *regions;

	if (cr_regions_parse(contigs, list, 0, &regions, &error)) {
		print_error("%s: %s\n", list, error.message);
		_fail(__FILE__, line);
	}
	check_list(regions, expected, line);
	cr_regions_free(regions);
}

static void refused(const char *list, int code, const char *text, int line)
{
	crocuta_error error = {0};
	cr_regions *regions;
	int got = cr_regions_parse(contigs, list, 0, &regions, &error);

	check_failed_at(got, code, &error, text, __FILE__, line);
	assert_null(regions);
}

#define parse(list, expected) parsed(list, expected, __LINE__)
#define refuse(list, code, text) refused(list, code, text, __LINE__)

static void test_grammar(void **state)
{
	(void)state;
	parse("chr2", "chr2:0-5000");
	parse("chr2:7", "chr2:6-7");
	parse("chr2:7-", "chr2:6-5000");
	parse("chr2:7-9", "chr2:6-9");
	parse("chr2:1-5000", "chr2:0-5000");
	parse("chr2:1,000-2,000", "chr2:999-2000");
	parse("chr1:1,000,000", "chr1:999999-1000000");
	parse("chr2:1,000-2,000,chr1:3-4,chrM", "chr2:999-2000;chr1:2-4;chrM:0-16569");
	parse("chr2:1,chr2:1", "chr2:0-1;chr2:0-1");
	parse("chr2:5-,chrM:6-", "chr2:4-5000;chrM:5-16569");
	parse("HLA*01:01", "HLA*01:01:0-300");
	parse("HLA*01:01:5-6", "HLA*01:01:4-6");
	parse("{HLA*01:01}:5-6,chr2:1", "HLA*01:01:4-6;chr2:0-1");
	parse("{chr2}", "chr2:0-5000");
	parse("a,b", "a,b:0-50");
	parse("chr2,a,b:3,chr2", "chr2:0-5000;a,b:2-3;chr2:0-5000");
	parse("{{x}}:2", "{x}:1-2");
	parse("{odd}:1}:3-4", "odd}:1:2-4");
	parse("{odd}:1}", "odd}:1:0-20");
}

static void test_ambiguity(void **state)
{
	(void)state;
	refuse("chr:1", CROCUTA_EARG,
	       "can mean bases 1-1 of contig \"chr\" or all of contig \"chr:1\"");
	parse("{chr:1}", "chr:1:0-90");
	parse("{chr}:1", "chr:0-1");
	refuse("chr1:5-6", CROCUTA_EARG, "can mean");
	parse("{chr1}:5-6", "chr1:4-6");
	parse("chr:1:5-6", "chr:1:4-6");
	refuse("chr1:100,200", CROCUTA_EARG, "can mean");
	parse("chr1:100,chr2", "chr1:99-100;chr2:0-5000");
	parse("chr1:100,201", "chr1:100200-100201");
}

static void test_bad_lists(void **state)
{
	(void)state;
	refuse("", CROCUTA_EARG, "empty");
	refuse(",chr2", CROCUTA_EARG, "an item of the list is empty");
	refuse("chr2,", CROCUTA_EARG, "an item of the list is empty");
	refuse("chr2,,chr1", CROCUTA_EARG, "an item");
	refuse("chr2:", CROCUTA_EARG, "give NAME");
	refuse("chr2:x", CROCUTA_EARG, "is not a range");
	refuse("chr2:-5", CROCUTA_EARG, "1-based");
	refuse("chr2:5-x", CROCUTA_EARG, "is not a range");
	refuse("chr2:1e3", CROCUTA_EARG, "is not a range");
	refuse("chr2:+5", CROCUTA_EARG, "is not a range");
	refuse("chr2:0x10", CROCUTA_EARG, "is not a range");
	refuse("chr2:0", CROCUTA_EARG, "from 1");
	refuse("chr2:0-5", CROCUTA_EARG, "from 1");
	refuse("chr2:9-5", CROCUTA_EARG, "behind the last");
	refuse("chr2:99999999999999999999", CROCUTA_EARG, "2^62");
	refuse("chr2:5001", CROCUTA_EINPUT, "ends behind contig \"chr2\" of 5000 bases");
	refuse("chr2:5-5001", CROCUTA_EINPUT, "--clip");
	refuse("chr2:5001-", CROCUTA_EINPUT, "ends behind");
	refuse("{chr2:5", CROCUTA_EARG, "brace is not closed");
	refuse("{chr9}", CROCUTA_EINPUT, "no contig \"chr9\"");
	refuse("{chr2}x", CROCUTA_EARG, "behind the brace");
	refuse("chr9", CROCUTA_EINPUT,
	       "no contig \"chr9\"; the file has chr1, chr2, chrM and 8 more");
	refuse("2:1-5", CROCUTA_EINPUT, "no contig \"2\"");
	refuse("2:1-5", CROCUTA_EINPUT, "did you mean \"chr2\"?");
	refuse("MT", CROCUTA_EINPUT, "did you mean \"chrM\"?");
	refuse("chr200", CROCUTA_EINPUT, "did you mean \"200\"?");
	refuse("chr2,chr9:5", CROCUTA_EINPUT, "no contig \"chr9\"");
}

static void test_clip(void **state)
{
	crocuta_error error = {0};
	cr_regions *regions;

	(void)state;
	check_ok(cr_regions_parse(contigs, "chr2:4990-6000,chr2:6000-7000,chr2:1-2", 1, &regions,
				  &error),
		 &error);
	check_list(regions, "chr2:4989-5000;chr2:0-2", __LINE__);
	assert_int_equal(regions->clipped, 2);
	assert_int_equal(regions->bases, 13);
	cr_regions_free(regions);
}

/* Every region prints to a text that parses back to it. */
static void test_round_trip(void **state)
{
	unsigned seed = 3;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		int64_t contig = rand_r(&seed) % cr_contigs_count(contigs);
		int64_t length = cr_contigs_length(contigs, contig);
		cr_region region = {.contig = contig};
		crocuta_error error = {0};
		cr_regions *regions;
		char text[200];

		region.start = rand_r(&seed) % length;
		region.end = region.start + 1 + rand_r(&seed) % (length - region.start);
		assert_true(cr_region_print(contigs, &region, text, sizeof text) < 200);
		check_ok(cr_regions_parse(contigs, text, 0, &regions, &error), &error);
		assert_int_equal(regions->count, 1);
		assert_int_equal(regions->items[0].contig, contig);
		assert_int_equal(regions->items[0].start, region.start);
		assert_int_equal(regions->items[0].end, region.end);
		cr_regions_free(regions);
	}
}

static void test_all(void **state)
{
	crocuta_error error = {0};
	cr_regions *regions;

	(void)state;
	check_ok(cr_regions_all(contigs, &regions, &error), &error);
	assert_int_equal(regions->count, cr_contigs_count(contigs));
	assert_int_equal(regions->items[1].end, 5000);
	cr_regions_free(regions);
}

static void file_is(const char *path, const char *expected, int line)
{
	crocuta_error error = {0};
	cr_regions *regions;

	if (cr_regions_read(contigs, path, 0, &regions, &error)) {
		print_error("%s\n", error.message);
		_fail(__FILE__, line);
	}
	check_list(regions, expected, line);
	cr_regions_free(regions);
}

static void file_refused(const char *path, int code, const char *text, int line)
{
	crocuta_error error = {0};
	cr_regions *regions;

	check_failed_at(cr_regions_read(contigs, path, 0, &regions, &error), code, &error, text,
			__FILE__, line);
	assert_null(regions);
}

#define bed(text, expected) file_is(put_file("r.bed", text), expected, __LINE__)
#define bad_bed(text, message)                                                                     \
	file_refused(put_file("r.bed", text), CROCUTA_EINPUT, message, __LINE__)
#define list(text, expected) file_is(put_file("r.txt", text), expected, __LINE__)
#define bad_list(text, message)                                                                    \
	file_refused(put_file("r.txt", text), CROCUTA_EINPUT, message, __LINE__)

static void test_bed(void **state)
{
	const char *text =
		"browser position chr1\n#c\ntrack name=x\n\n \t\nchr2\t0\t5000\n"
		"chr1\t5\t6\tn 1\t0\t-\r\nchr2 7  9\nchrM\t1\t2\t.\t9\t+\t0\t0\t0\t0\t0\tend";
	crocuta_error error = {0};
	cr_regions *regions;

	(void)state;
	bed(text, "chr2:0-5000;chr1:5-6;chr2:7-9;chrM:1-2");
	file_is(put_bgzf("r.bed.gz", text), "chr2:0-5000;chr1:5-6;chr2:7-9;chrM:1-2", __LINE__);
	file_is(put_bgzf("r.bed.bgz", "chr2\t0\t1\n"), "chr2:0-1", __LINE__);
	check_ok(cr_regions_read(contigs, in_directory("r.bed"), 0, &regions, &error), &error);
	assert_null(regions->items[0].name);
	assert_int_equal(regions->items[0].strand, '.');
	assert_string_equal(regions->items[1].name, "n 1");
	assert_int_equal(regions->items[1].strand, '-');
	assert_null(regions->items[3].name);
	assert_int_equal(regions->items[3].strand, '+');
	cr_regions_free(regions);
}

static void test_bad_bed(void **state)
{
	char *long_line = malloc(3 << 20);
	size_t used;

	(void)state;
	bad_bed("chr2\t5\t5\n", "r.bed:1: start and end are equal");
	bad_bed("#\nchr2\t6\t5\n", "r.bed:2: the start is behind the end (the file is read as BED");
	bad_bed("chr2\t-1\t5\n", "\"-1\": is not a position");
	bad_bed("chr2\t1e3\t5\n", "\"1e3\": is not a position");
	bad_bed("chr2\t+5\t9\n", "\"+5\": is not");
	bad_bed("chr2\t0x10\t90\n", "\"0x10\": is not");
	bad_bed("chr2\t1\t 9\n", "\" 9\": is not");
	bad_bed("chr2\t1\t99999999999999999999\n", "is not a position");
	bad_bed("chr2\t1\t\n", "\"\": is not a position");
	bad_bed("chr2\t1\n", "needs 3 columns");
	bad_bed("chr2\t1\t5001\n", "r.bed:1: 2-5001 (1-based) ends behind contig \"chr2\" of 5000");
	bad_bed("2\t1\t5\n", "r.bed:1: there is no contig \"2\"; the file has chr1");
	bad_bed("chr2\t1\t2\tn\t0\tx\n", "\"x\": is not a strand");
	bad_bed("chr2\t1\t2\t3\t4\t+\t6\t7\t8\t9\t10\t11\t12\n", "more than 12 columns");
	bad_bed("#only\n", "holds no region");
	bad_bed("", "holds no region");
	file_refused(put_bytes("r.bed", "chr2\0\t1\t2\n", 10), CROCUTA_EINPUT, "NUL", __LINE__);
	used = (size_t)sprintf(long_line, "chr2\t1\t2\nchr2\t1\t2\t");
	memset(long_line + used, 'x', 2 << 20);
	strcpy(long_line + used + (2 << 20), "\n");
	bad_bed(long_line, "r.bed:2: the line is longer than 1 MiB");
	file_refused(put_bgzf("r.bed.gz", long_line), CROCUTA_EINPUT, ":2: the line is", __LINE__);
	memset(long_line, '#', 1 << 20);
	strcpy(long_line + (1 << 20), "\nchr2\t1\t2\n");
	bed(long_line, "chr2:1-2");
	free(long_line);
	file_refused(in_directory("absent.bed"), CROCUTA_EIO, "No such file", __LINE__);
	file_refused(directory, CROCUTA_EIO, "Is a directory", __LINE__);
	file_refused("http://x/y.bed", CROCUTA_EARG, "is a URL", __LINE__);
}

static void test_list_file(void **state)
{
	(void)state;
	list("chr2\t1\nchr2 5 9\n# x\nchr1\t3\t4\textra\n", "chr2:0-1;chr2:4-9;chr1:2-4");
	bad_list("chr2\t0\n", "\"0\": is not a position (digits only, from 1)");
	bad_list("chr2\n", "needs 2 columns");
	bad_list("chr2\t9\t5\n",
		 "the start is behind the end (the file is read as CHROM POS [END]");
	bad_list("chr2\t1\t5001\n", "ends behind");
	bad_list("track x\n", "looks like BED");
	bad_list("chr2\t1\t5\tname\t0\t-\n", "looks like BED");
	assert_true(cr_regions_is_bed_name("a.BED") && cr_regions_is_bed_name("a.narrowPeak.gz"));
	assert_false(cr_regions_is_bed_name("a.txt") || cr_regions_is_bed_name("-"));
}

static void test_cut_files(void **state)
{
	char data[4096], text[9000] = "";
	crocuta_error error = {0};
	cr_regions *regions;
	size_t bytes;

	(void)state;
	for (int i = 0; i < 500; i++)
		sprintf(text + strlen(text), "chr1\t%d\t%d\n", i * 7, i * 13 + 1);
	get_file(put_bgzf("t.bed.gz", text), &bytes);
	memcpy(data, get_file(in_directory("t.bed.gz"), NULL), sizeof data);
	file_refused(put_bytes("t.bed.gz", data, bytes - 28), CROCUTA_EINPUT, "no BGZF end marker",
		     __LINE__);
	file_refused(put_bytes("t.bed.gz", data, bytes - 100), CROCUTA_EINPUT, "cut or damaged",
		     __LINE__);
	put_file("c.bed", "chr2\t4000\t6000\nchr2\t5000\t5001\n");
	check_ok(cr_regions_read(contigs, in_directory("c.bed"), 1, &regions, &error), &error);
	check_list(regions, "chr2:4000-5000", __LINE__);
	assert_int_equal(regions->clipped, 2);
	cr_regions_free(regions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),    cmocka_unit_test(test_ambiguity),
		cmocka_unit_test(test_bad_lists),  cmocka_unit_test(test_clip),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_all),
		cmocka_unit_test(test_bed),        cmocka_unit_test(test_bad_bed),
		cmocka_unit_test(test_list_file),  cmocka_unit_test(test_cut_files),
	};

	return cmocka_run_group_tests(tests, make_contigs, free_contigs);
}
