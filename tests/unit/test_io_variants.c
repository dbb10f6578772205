/* test_io_variants.c - reading VCF and BCF: every form of file, every cut, regions and targets;
 * contig names. */
#include "test_io_support.h"

#include <fcntl.h>

#include "io/variants.h"

#define HEADER                                                                                     \
	"##fileformat=VCFv4.2\n##contig=<ID=1,length=1000>\n##contig=<ID=2,length=500>\n"          \
	"##INFO=<ID=AC,Number=A,Type=Integer,Description=\"c\">\n"                                 \
	"##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
#define COLUMNS "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
#define SAMPLES "\tFORMAT\ta\tb\n"
#define GOOD                                                                                       \
	HEADER COLUMNS SAMPLES "1\t10\trs1\tA\tC\t50\tPASS\tAC=1\tGT\t0/1\t1/1\n"                  \
			       "1\t20\t.\tACGT\tA\t.\t.\tAC=1\tGT\t0/1\t1/1\n"                     \
			       "1\t30\t.\tG\tT,<DEL>\t.\t.\tAC=1,2\tGT\t0/1\t1/2\n"                \
			       "2\t5\t.\tT\t.\t.\t.\t.\tGT\t0/0\t0/0\n"

/* Run a shell command of bcftools, bgzip or the like in the test's directory. */
static void shell(const char *command)
{
	char whole[1000];

	snprintf(whole, sizeof whole, "cd '%s' && %s", directory, command);
	assert_int_equal(system(whole), 0);
}

/* Read all; returns the status, the records as CHROM:POS:REF:ALT words in `words`. */
static int read_all(const char *path, const cr_variants_options *options, char *words,
		    crocuta_error *error)
{
	cr_variants *variants;
	cr_variant *variant = NULL;
	int code = cr_variants_open(path, options, &variants, error);

	words[0] = '\0';
	if (code) {
		assert_null(variants);
		return code;
	}
	while (!(code = cr_variants_next(variants, &variant, error)) && variant) {
		char word[400];
		int used = snprintf(word, sizeof word, "%s%s:%lld:", *words ? " " : "",
				    variant->contig, (long long)variant->position + 1);

		for (int i = 0; i < variant->alleles; i++)
			used += snprintf(word + used, sizeof word - (size_t)used, "%s%s",
					 i ? "," : "", variant->allele[i]);
		assert_string_equal(variant->contig, cr_contigs_name(cr_variants_contigs(variants),
								     variant->contig_index));
		assert_true(variant->bytes > 0);
		if (strlen(words) + strlen(word) < 4000)
			strcat(words, word);
		cr_variant_free(variants, variant);
	}
	if (code)
		assert_null(variant);
	cr_variants_close(variants);
	return code;
}

static const char all_words[] = "1:10:A,C 1:20:ACGT,A 1:30:G,T,<DEL> 2:5:T";

static void check_words(const char *path, const cr_variants_options *options, const char *expected)
{
	crocuta_error error = {0};
	char words[4096];

	check_ok(read_all(path, options, words, &error), &error);
	assert_string_equal(words, expected);
}

static void check_bad(const char *path, const cr_variants_options *options, int code,
		      const char *text)
{
	crocuta_error error = {0};
	char words[4096];

	check_failed(read_all(path, options, words, &error), code, &error, text);
}

/* The same, all of it written to a pipe that is standard input. */
static int read_piped(const char *path, char *words, crocuta_error *error)
{
	int saved = dup(0), code;
	char command[600];
	FILE *pipe;

	snprintf(command, sizeof command, "cat '%s'", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(dup2(fileno(pipe), 0), 0);
	code = read_all("-", NULL, words, error);
	assert_int_equal(dup2(saved, 0), 0);
	close(saved);
	pclose(pipe);
	return code;
}

static void check_piped(const char *path)
{
	crocuta_error error = {0};
	char words[4096];

	check_ok(read_piped(path, words, &error), &error);
	assert_string_equal(words, all_words);
}

static void check_bad_piped(const char *path, const char *text)
{
	crocuta_error error = {0};
	char words[4096];

	check_failed(read_piped(path, words, &error), CROCUTA_EINPUT, &error, text);
}

static void test_forms(void **state)
{
	static const char *const names[] = {"good.vcf", "good.vcf.gz", "plain.gz", "good.bcf",
					    "good.ubcf"};
	static const char *const formats[] = {"vcf", "vcf.gz", "vcf.gz", "bcf", "bcf"};
	crocuta_error error = {0};
	cr_variants *variants;

	(void)state;
	put_file("good.vcf", GOOD);
	put_bgzf("good.vcf.gz", GOOD);
	shell("gzip -c good.vcf >plain.gz && bcftools view -Ob -o good.bcf good.vcf && "
	      "bcftools view -Ou -o good.ubcf good.vcf");
	for (int i = 0; i < 5; i++) {
		check_words(in_directory(names[i]), NULL, all_words);
		check_piped(in_directory(names[i]));
		check_ok(cr_variants_open(in_directory(names[i]), NULL, &variants, &error), &error);
		assert_string_equal(cr_variants_format(variants), formats[i]);
		assert_int_equal(cr_contigs_count(cr_variants_contigs(variants)), 2);
		assert_int_equal(cr_contigs_length(cr_variants_contigs(variants), 1), 500);
		cr_variants_close(variants);
	}
	put_file("crlf.vcf", "##fileformat=VCFv4.3\r\n" COLUMNS "\r\n"
			     "X\t0\t.\tN\tA\t.\t.\t.\r\n");
	check_words(in_directory("crlf.vcf"), NULL, "X:0:N,A");
	put_file("only.vcf", HEADER COLUMNS "\n");
	check_words(in_directory("only.vcf"), NULL, "");
}

static void test_header_text(void **state)
{
	crocuta_error error = {0};
	cr_variants *variants;
	char *text;

	(void)state;
	put_file("h.vcf", GOOD);
	check_ok(cr_variants_open(in_directory("h.vcf"), NULL, &variants, &error), &error);
	text = cr_variants_header(variants);
	assert_string_equal(text, HEADER COLUMNS SAMPLES);
	free(text);
	cr_variants_close(variants);
}

static void test_bad_headers(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{"", "is empty"},
		{"\n", "neither VCF nor BCF"},
		{">chr1\nACGT\n", "variants come as VCF"},
		{COLUMNS "\n1\t1\t.\tA\tC\t.\t.\t.\n", "neither VCF nor BCF"},
		{"##fileformat=VCFv4.999999999999\n" COLUMNS "\n", ":1: the first line must be"},
		{"##fileformat=VCFvx\n" COLUMNS "\n", ":1: the first line must be"},
		{"##fileformat=VCFv4.2\n1\t1\t.\tA\tC\t.\t.\t.\n", ":2: a record before"},
		{"##fileformat=VCFv4.2\n##contig=<ID=1>\n", "ends inside its header"},
		{"##fileformat=VCFv4.2\n#CHROM POS ID REF ALT QUAL FILTER INFO\n",
		 "set apart by tabs"},
		{"##fileformat=VCFv4.2\n" COLUMNS "\tGT\ta\n", "set apart by tabs"},
		{"##fileformat=VCFv4.2\n" COLUMNS "\tFORMAT\ta\ta\n", "sample named twice"},
		{"##fileformat=VCFv4.2\n" COLUMNS "\tFORMAT\ta\t\tb\n", ":2: a sample has no name"},
		{"##fileformat=VCFv4.2\n" COLUMNS "\tFORMAT\ta\t\n", ":2: a sample has no name"},
		{"##fileformat=VCFv4.2\n##contig=<ID=1,IDX=2000000000>\n" COLUMNS "\n",
		 ":2: IDX= is far larger"},
		{"##fileformat=VCFv4.2\n" COLUMNS, "no line end"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		check_bad(put_file("bad.vcf", bad[i].text), NULL, CROCUTA_EINPUT, bad[i].message);
	check_bad(in_directory("no.vcf"), NULL, CROCUTA_EIO, "No such file");
	check_bad(directory, NULL, CROCUTA_EIO, "directory");
	check_bad("https://x/y.vcf.gz", NULL, CROCUTA_EARG, "URL");
	put_bytes("bcf1.bcf", "BCF\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 26);
	check_bad(in_directory("bcf1.bcf"), NULL, CROCUTA_EINPUT, "BCF");
	put_bytes("huge.bcf", "BCF\2\2\xff\xff\xff\xff##fileformat=VCFv4.2\n", 30);
	check_bad(in_directory("huge.bcf"), NULL, CROCUTA_EINPUT, "larger than 256 MiB");
	put_bytes("cut.bcf", "BCF\2\2\xff\xff\0\0##fileformat=VCFv4.2\n", 30);
	check_bad(in_directory("cut.bcf"), NULL, CROCUTA_EINPUT, "damaged or cut");
}

static void test_bad_records(void **state)
{
	static const struct {
		const char *line, *message;
	} bad[] = {
		{"1\t10\t.\tA\n", "8 columns"},
		{"\n", "an empty line"},
		{"1\t-10\t.\tA\tC\t.\t.\t.\n", "POS is not a position"},
		{"1\t1e3\t.\tA\tC\t.\t.\t.\n", "POS is not a position"},
		{"1\t9223372036854775807\t.\tA\tC\t.\t.\t.\n", "POS is not a position"},
		{"1\t99999999999999999999\t.\tA\tC\t.\t.\t.\n", "POS is not a position"},
		{"\t10\t.\tA\tC\t.\t.\t.\n", "CHROM is empty"},
		{"1\t10\t.\tA\tC,,G\t.\t.\t.\n", "an ALT is empty"},
		{"1\t10\t.\t\tC\t.\t.\t.\n", "REF is empty"},
		{"#CHROM\tPOS\n", "a header line among"},
		{"1\t10\t.\tA\tC\t5x\t.\t.\n", "QUAL is not a number"},
		{"1\t10\t.\tA\tC\t1e-\t.\t.\n", "QUAL is not a number"},
		{"1\t10\t.\tA\t\7\t.\t.\t.\n", "an ALT holds a control byte"},
		{"1\t10\t.\tA\tC\tabc\t.\t.\n", "QUAL is not a number"},
		{"1\t10\t.\tA\tC\t\t.\t.\n", "QUAL is not a number"},
		{"1\t10\t.\tA\tC\t.\t.\tAC=1\tGT\t0/1\n", ":8: has sample columns"},
	};
	char text[1000];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "%s%s\n1\t5\t.\tA\tC\t.\t.\t.\n%s", HEADER, COLUMNS,
			 bad[i].line);
		check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT, bad[i].message);
	}
	snprintf(text, sizeof text, "%s%s\n1\t5\t.\tA\tC\t.\t.\t.\n%s", HEADER, COLUMNS,
		 bad[0].line);
	check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT, "bad.vcf:8: a record has 8");
	snprintf(text, sizeof text, "%s%s%s1\t10\t.\tA\tC\t.\t.\tAC=1\tGT\t0/1\n", HEADER, COLUMNS,
		 SAMPLES);
	check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT,
		  "bad.vcf:7: the number of sample columns");
	snprintf(text, sizeof text, "%s%s%s1\t10\t.\tA\tC\t.\t.\tAC=1\tGT\tq\t0\n", HEADER, COLUMNS,
		 SAMPLES);
	check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT, "bad.vcf:7: ");
	snprintf(text, sizeof text, "%s%s%s1\t10\t.\tA\tC\t.\t.\tAC=1\tGT\t0\t0\t0\n", HEADER,
		 COLUMNS, SAMPLES);
	check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT,
		  "bad.vcf:7: the number of sample columns");
	snprintf(text, sizeof text, "%s%s%s1\t10\t.\tA\tC\t.\t.\tAC=1\tGT\t\t0\n", HEADER, COLUMNS,
		 SAMPLES);
	check_bad(put_file("bad.vcf", text), NULL, CROCUTA_EINPUT, "bad.vcf:7: a column is empty");
	put_bytes("nul.vcf", HEADER COLUMNS "\n1\t5\t.\tA\tC\t.\0\t.\t.\n",
		  sizeof(HEADER COLUMNS "\n1\t5\t.\tA\tC\t.0\t.\t.\n") - 1);
	check_bad(in_directory("nul.vcf"), NULL, CROCUTA_EINPUT, "NUL byte");
}

/* An unknown contig, INFO, FILTER or FORMAT is somebody's custom, not damage. */
static void test_undeclared(void **state)
{
	crocuta_error error = {0};
	cr_variants *variants;
	cr_variant *variant;

	(void)state;
	put_file("un.vcf", "##fileformat=VCFv4.2\n" COLUMNS "\tFORMAT\ta\n"
			   "7\t1\t.\tA\tC\t.\tlow\tXX=3;YY\tZZ\t5\n"
			   "8\t1\t.\tA\tC\t.\t.\t.\tZZ\t5\n");
	check_ok(cr_variants_open(in_directory("un.vcf"), NULL, &variants, &error), &error);
	assert_int_equal(cr_contigs_count(cr_variants_contigs(variants)), 0);
	check_ok(cr_variants_next(variants, &variant, &error), &error);
	assert_string_equal(variant->contig, "7");
	assert_int_equal(variant->contig_index, 0);
	cr_variant_free(variants, variant);
	check_ok(cr_variants_next(variants, &variant, &error), &error);
	assert_int_equal(variant->contig_index, 1);
	assert_int_equal(cr_contigs_length(cr_variants_contigs(variants), 1), 0);
	assert_string_equal(variant->id, ".");
	cr_variant_free(variants, variant);
	cr_variants_close(variants);
}

static void test_allele_cap(void **state)
{
	size_t length = 3 << 20;
	char *text = malloc(length + 400);
	cr_variants_options options = {.max_allele = 100};
	int used;

	(void)state;
	assert_non_null(text);
	used = sprintf(text, "%s%s\n1\t5\t.\tA\t", HEADER, COLUMNS);
	memset(text + used, 'C', length);
	sprintf(text + used + length, "\t.\t.\t.\n");
	check_bad(put_file("long.vcf", text), NULL, CROCUTA_EINPUT,
		  "long.vcf:7: an ALT is longer than 1048576 bytes");
	for (size_t i = 90; i < length; i += 90) /* many, and each short enough */
		text[(size_t)used + i] = ',';
	text[(size_t)used + length - 1] = 'C';
	{
		crocuta_error error = {0};
		cr_variants *variants;
		cr_variant *variant;

		options.max_allele = 100;
		check_ok(cr_variants_open(put_file("many.vcf", text), &options, &variants, &error),
			 &error);
		check_ok(cr_variants_next(variants, &variant, &error), &error);
		assert_int_equal(variant->alleles, 1 + (int)((length + 89) / 90));
		cr_variant_free(variants, variant);
		cr_variants_close(variants);
	}
	free(text);
	put_file("a.vcf", GOOD);
	shell("bcftools view -Ob -o a.bcf a.vcf");
	options.max_allele = 4;
	check_bad(in_directory("a.bcf"), &options, CROCUTA_EINPUT, "longer than allowed");
	options.max_allele = 5;
	check_words(in_directory("a.bcf"), &options, all_words);
}

/* ---- cuts and flips -------------------------------------------------------------------------- */

/* A VCF of several BGZF blocks; returns the bytes of its text. */
static size_t put_large(void)
{
	size_t capacity = 1 << 20, used;
	char *text = malloc(capacity);

	assert_non_null(text);
	used = (size_t)snprintf(text, capacity, "%s%s\n", HEADER, COLUMNS);
	for (unsigned i = 1; i <= 6000; i++) {
		unsigned noise = i * 2654435761u;

		used += (size_t)snprintf(text + used, capacity - used,
					 "1\t%u\tr%08x%08x\tA\tC\t.\t.\tAC=%u\n", i, noise,
					 noise ^ noise >> 7, i % 7);
	}
	put_file("large.vcf", text);
	put_bgzf("large.vcf.gz", text);
	shell("gzip -c large.vcf >plain.gz && bcftools view --no-version -Ob -o large.bcf "
	      "large.vcf "
	      "&& bcftools view --no-version -Ou -o large.ubcf large.vcf");
	free(text);
	return used;
}

static char *load(const char *name, size_t *bytes)
{
	const char *data = get_file(in_directory(name), bytes);
	char *copy = malloc(*bytes + 1);

	assert_non_null(copy);
	memcpy(copy, data, *bytes);
	return copy;
}

/* Offset behind the n-th BGZF block. */
static size_t behind_block(const char *data, int n)
{
	size_t at = 0;

	while (n--)
		at += (size_t)((unsigned char)data[at + 16] | (unsigned char)data[at + 17] << 8) +
		      1;
	return at;
}

static void test_cuts(void **state)
{
	static const char *const names[] = {"large.vcf.gz", "large.bcf"};
	cr_variants_options truncated = {.regions_overlap = 1, .allow_truncated = 1};
	crocuta_error error = {0};
	size_t bytes, cut;
	char *data;

	(void)state;
	put_large();
	for (int i = 0; i < 2; i++) {
		char words[4096];

		data = load(names[i], &bytes);
		cut = behind_block(data, 2);
		assert_true(cut < bytes - 28);
		put_bytes("cut", data, cut); /* at a block's end */
		check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "no BGZF end marker");
		check_bad_piped(in_directory("cut"), i ? "" : "no BGZF end marker");
		check_ok(read_all(in_directory("cut"), &truncated, words, &error), &error);
		assert_true(strlen(words) > 1000);
		put_bytes("cut", data, bytes - 28); /* only the marker is gone */
		check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "no BGZF end marker");
		check_bad_piped(in_directory("cut"), "no BGZF end marker");
		put_bytes("cut", data, cut + 100); /* in a block */
		check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "no BGZF end marker");
		check_bad_piped(in_directory("cut"), "cut or damaged");
		check_ok(read_all(in_directory("cut"), &truncated, words, &error), &error);
		assert_true(strlen(words) > 1000);
		free(data);
	}
	data = load("plain.gz", &bytes);
	put_bytes("cut", data, bytes / 2);
	check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "cut or damaged");
	put_bytes("cut", data, bytes - 4); /* in the checksum behind the last byte of text */
	check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "cut or damaged");
	free(data);
	data = load("large.vcf", &bytes);
	put_bytes("cut", data, bytes - 1);
	check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "no line end");
	check_bad_piped(in_directory("cut"), "standard input:6006: the last line has no line end");
	put_bgzf("cut", "##fileformat=VCFv4.2\n" COLUMNS "\n1\t1\t.\tA\tC\t.\t.\tXX=1");
	check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, ":3: the last line has no line end");
	free(data);
	data = load("large.ubcf", &bytes);
	put_bytes("cut", data, bytes - 1);
	check_bad(in_directory("cut"), NULL, CROCUTA_EINPUT, "cut or damaged");
	free(data);
}

/* Whatever bit of a compressed file is turned: an error, or the same records. */
static void test_flips(void **state)
{
	static const char *const names[] = {"large.vcf.gz", "large.bcf", "plain.gz"};
	static const int64_t step = 1499;
	char *whole = malloc(4096), *words = malloc(4096);

	(void)state;
	put_large();
	for (int i = 0; i < 3; i++) {
		crocuta_error error = {0};
		size_t bytes;
		char *data = load(names[i], &bytes);

		check_ok(read_all(in_directory(names[i]), NULL, whole, &error), &error);
		for (int64_t bit = 3 * i; bit < (int64_t)bytes * 8; bit += step) {
			int code;

			data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
			put_bytes("flipped", data, bytes);
			code = read_all(in_directory("flipped"), NULL, words, &error);
			if (code) {
				assert_int_equal(code, CROCUTA_EINPUT);
				assert_true(error.message[0]);
				memset(&error, 0, sizeof error);
			} else {
				assert_string_equal(words, whole);
			}
			data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
		}
		free(data);
	}
	free(whole);
	free(words);
}

/* ---- regions and targets --------------------------------------------------------------------- */

static void test_regions(void **state)
{
	static const struct {
		const char *list;
		int overlap;
		const char *words;
	} cases[] = {
		{"1", 1, "1:10:A,C 1:20:ACGT,A 1:30:G,T,<DEL>"},
		{"2,1:10", 1, "2:5:T 1:10:A,C"},
		{"1:22", 1, "1:20:ACGT,A"},
		{"1:22", 0, ""},
		{"1:20", 0, "1:20:ACGT,A"},
		{"1:20", 2, ""},
		{"1:21", 2, "1:20:ACGT,A"},
		{"1:21-22,1:23", 1, "1:20:ACGT,A"},
		{"1:30-,1:1-10,1:5-25", 1, "1:10:A,C 1:20:ACGT,A 1:30:G,T,<DEL>"},
		{"1:900-99999999999", 1, ""},
	};
	static const char *const names[] = {"r.vcf.gz", "t.vcf.gz", "r.bcf"};

	(void)state;
	put_bgzf("r.vcf.gz", GOOD);
	put_bgzf("t.vcf.gz", GOOD);
	shell("bcftools view -Ob -o r.bcf r.vcf.gz && bcftools index r.bcf && bcftools index "
	      "r.vcf.gz && bcftools index -t t.vcf.gz");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		cr_variants_options regions = {.regions = cases[i].list,
					       .regions_overlap = cases[i].overlap};

		for (int j = 0; j < 3; j++)
			check_words(in_directory(names[j]), &regions, cases[i].words);
	}
	for (size_t i = 2; i < sizeof cases / sizeof *cases;
	     i++) { /* in order, so targets do too */
		cr_variants_options targets = {.targets = cases[i].list,
					       .regions_overlap = cases[i].overlap};

		check_words(in_directory("r.vcf.gz"), &targets, cases[i].words);
	}
}

static void test_targets(void **state)
{
	cr_variants_options options = {.targets = "^1:20-30", .regions_overlap = 1};
	char path[600];

	(void)state;
	put_file("t.vcf", GOOD);
	check_words(in_directory("t.vcf"), &options, "1:10:A,C 2:5:T");
	put_file("t.bed", "1\t9\t10\n2\t0\t5\n");
	options = (cr_variants_options){.targets_file = in_directory("t.bed")};
	check_words(in_directory("t.vcf"), &options, "1:10:A,C 2:5:T");
	snprintf(path, sizeof path, "^%s", in_directory("t.bed"));
	options.targets_file = path;
	check_words(in_directory("t.vcf"), &options, "1:20:ACGT,A 1:30:G,T,<DEL>");
	/* a header without contigs: names are believed */
	put_file("n.vcf", "##fileformat=VCFv4.2\n" COLUMNS "\n1\t10\t.\tA\tC\t.\t.\t.\n"
			  "2\t1500\t.\tA\tC\t.\t.\t.\n");
	options = (cr_variants_options){.targets = "2:1,000-2,000,3", .regions_overlap = 1};
	check_words(in_directory("n.vcf"), &options, "2:1500:A,C");
	options = (cr_variants_options){.targets_file = in_directory("t.bed")};
	check_words(in_directory("n.vcf"), &options, "1:10:A,C");
}

static void test_bad_lists(void **state)
{
	cr_variants_options options = {.regions = "1", .regions_overlap = 1};
	const char *plain = put_file("p.vcf", GOOD), *packed = put_bgzf("p.vcf.gz", GOOD);

	(void)state;
	check_bad(plain, &options, CROCUTA_EINPUT, "compressed by bgzip");
	check_bad(packed, &options, CROCUTA_EINPUT, "bcftools index");
	check_bad("-", &options, CROCUTA_EARG, "standard input");
	put_file("p.vcf.gz.tbi", "no index");
	check_bad(packed, &options, CROCUTA_EINPUT, "p.vcf.gz.tbi: is damaged");
	shell("bcftools index -f p.vcf.gz && rm p.vcf.gz.tbi");
	options.regions = "3:5";
	check_bad(packed, &options, CROCUTA_EINPUT, "there is no contig \"3\"");
	options.regions_file = "x";
	check_bad(packed, &options, CROCUTA_EARG, "not both");
	options = (cr_variants_options){.targets = "1:x"};
	check_bad(packed, &options, CROCUTA_EARG, "not a range");
	options = (cr_variants_options){.targets = "1", .regions_overlap = 3};
	check_bad(packed, &options, CROCUTA_EARG, "0, 1 or 2");
	options = (cr_variants_options){.targets_file = "-"};
	check_bad("-", &options, CROCUTA_EARG, "both the variants and the targets");
	options = (cr_variants_options){.targets_file = in_directory("none.bed")};
	check_bad(packed, &options, CROCUTA_EIO, "No such file");
}

static void check_sorted(const char *records, int sorted)
{
	char text[1000];
	crocuta_error error = {0};
	cr_variants *variants;
	cr_variant *variant;

	snprintf(text, sizeof text, "%s%s\n%s", HEADER, COLUMNS, records);
	check_ok(cr_variants_open(put_file("s.vcf", text), NULL, &variants, &error), &error);
	do {
		check_ok(cr_variants_next(variants, &variant, &error), &error);
		cr_variant_free(variants, variant);
	} while (variant);
	assert_int_equal(cr_variants_sorted(variants), sorted);
	cr_variants_close(variants);
}

static void test_sorted(void **state)
{
	(void)state;
	check_sorted("", 1);
	check_sorted("2\t5\t.\tA\tC\t.\t.\t.\n2\t5\t.\tA\tG\t.\t.\t.\n1\t1\t.\tA\tC\t.\t.\t.\n", 1);
	check_sorted("2\t5\t.\tA\tC\t.\t.\t.\n2\t4\t.\tA\tG\t.\t.\t.\n", 0);
	check_sorted("2\t5\t.\tA\tC\t.\t.\t.\n1\t5\t.\tA\tG\t.\t.\t.\n2\t6\t.\tA\tG\t.\t.\t.\n", 0);
}

/* ---- contig names ---------------------------------------------------------------------------- */

/* "1:1000 MT:16569 X" */
static cr_contigs *make_contigs(const char *text)
{
	cr_contigs *contigs = cr_contigs_new();
	char copy[400], *rest = NULL;

	snprintf(copy, sizeof copy, "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		size_t name = strcspn(word, ":");

		assert_int_equal(cr_contigs_add(contigs, word, name,
						word[name] ? atoll(word + name + 1) : 0, NULL),
				 0);
	}
	return contigs;
}

/* Match; `map` as words, "-" for none, and how; or the failure. */
static int more_may_come;
static int match(const char *variants, const char *reference, const char *rename, char *map,
		 crocuta_error *error)
{
	cr_contigs *of_vcf = make_contigs(variants), *of_fasta = make_contigs(reference);
	const char *how = NULL;
	int64_t numbers[32];
	int code = cr_contigs_match(of_vcf, of_fasta, rename, more_may_come, numbers, &how, error);
	int used = snprintf(map, 300, "%s", how);

	for (int64_t i = 0; !code && i < cr_contigs_count(of_vcf); i++)
		used += snprintf(map + used, 300 - (size_t)used, " %s",
				 numbers[i] < 0 ? "-" : cr_contigs_name(of_fasta, numbers[i]));
	cr_contigs_free(of_vcf);
	cr_contigs_free(of_fasta);
	return code;
}

static void check_match(const char *variants, const char *reference, const char *rename,
			const char *expected)
{
	crocuta_error error = {0};
	char map[300];

	check_ok(match(variants, reference, rename, map, &error), &error);
	assert_string_equal(map, expected);
}

static void check_no_match(const char *variants, const char *reference, const char *rename,
			   const char *text)
{
	crocuta_error error = {0};
	char map[300];

	check_failed(match(variants, reference, rename, map, &error), CROCUTA_EINPUT, &error, text);
}

static void test_names(void **state)
{
	(void)state;
	check_match("", "chr1:100", NULL, "none");
	check_match("chr1:100 chrU", "chr1:100 chr2:50", NULL, "none chr1 -");
	check_match("1 2", "chr2:50 chr1:100", NULL, "add-chr chr1 chr2");
	check_match("1:100 2:51", "chr2:50 chr1:100", NULL, "add-chr chr1 -");
	check_match("chr1 chr2", "2:50 1:100", NULL, "strip-chr 1 2");
	/* mitochondria only with lengths that agree */
	check_match("1 MT:16569", "chr1:100 chrM:16569", NULL, "add-chr chr1 chrM");
	check_match("1 MT:16569", "chr1:100 chrM:16571", NULL, "add-chr chr1 -");
	check_match("1 MT", "chr1:100 chrM:16569", NULL, "add-chr chr1 -");
	check_match("1 M", "chr1:100 chrM:16569", NULL, "add-chr chr1 -");
	check_match("chr1 chrM:16569", "1:100 MT:16569", NULL, "strip-chr 1 MT");
	check_match("MT:16569", "chrM:16569", NULL, "add-chr chrM");
	check_match("chr1 MT:16569", "chr1:100 chrM:16569", NULL, "none chr1 -");
	check_match("chrM:16571", "chrM:16569", NULL, "none chrM"); /* the REF check will tell */
}

static void test_bad_names(void **state)
{
	(void)state;
	check_no_match("1 2", "NC_1:100 NC_2:50", NULL, "\"1\"; the file has NC_1, NC_2");
	check_no_match("1:100", "chr1:101", NULL, "another genome build?");
	check_no_match("chr1 2", "chr1:100 chr2:50", NULL, "mixed: \"chr1\"");
	check_no_match("1 chr2", "chr1:100 2:50", NULL, "mixed: \"1\"");
	check_no_match("chr1 2", "chr1:100 chr2:50", NULL, "--rename-chrs");
	check_match("chr1 2:51", "chr1:100 chr2:50", NULL, "none chr1 -");
	check_match("1 chr1", "chr1:100", NULL, "none - chr1");
	more_may_come = 1;
	check_match("1 2", "NC_1:100 NC_2:50", NULL, "none - -");
	check_match("1:100", "chr1:101", NULL, "none -");
	check_match("1", "chr1:101", NULL, "add-chr chr1");
	check_no_match("1 chr2", "chr1:100 2:50", NULL, "mixed: \"1\"");
	check_match("7", "NC_1:100", put_file("none", "1 NC_1\n"), "file -");
	more_may_come = 0;
}

static void test_rename_file(void **state)
{
	const char *path = put_file("names", "# VCF FASTA\n1\tNC_1\n\n2 NC_2\r\nother NC_1\n");

	(void)state;
	check_match("1 2 NC_3", "NC_1:100 NC_2:50 NC_3:5", path, "file NC_1 NC_2 NC_3");
	check_match("1 3", "NC_1:100 NC_2:50", path, "file NC_1 -");
	check_no_match("1 2", "NC_1:100", path, "names:4: the FASTA has no contig \"NC_2\"");
	check_no_match("7", "NC_1:100 NC_2:50", path, "no contig of the VCF is in the FASTA");
	path = put_file("names", "1\n");
	check_no_match("1", "NC_1:100", path, "names:1: a line has two columns");
	path = put_file("names", "1 NC_1 x\n");
	check_no_match("1", "NC_1:100", path, "names:1: a line has two columns");
	path = put_file("names", "1 NC_1\n1 NC_1\n1 NC_2\n");
	check_no_match("1", "NC_1:100 NC_2:50", path, "names:3: \"1\" has another name in line 2");
	{
		crocuta_error error = {0};
		char map[300];

		check_failed(match("1", "1:5", in_directory("absent"), map, &error), CROCUTA_EIO,
			     &error, "No such file");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),       cmocka_unit_test(test_header_text),
		cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_undeclared),  cmocka_unit_test(test_allele_cap),
		cmocka_unit_test(test_cuts),        cmocka_unit_test(test_flips),
		cmocka_unit_test(test_regions),     cmocka_unit_test(test_targets),
		cmocka_unit_test(test_bad_lists),   cmocka_unit_test(test_sorted),
		cmocka_unit_test(test_names),       cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_rename_file),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
