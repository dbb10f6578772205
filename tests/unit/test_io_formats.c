/* test_io_formats.c - npy, tables, row sidecars, meta files, bedGraph and bigWig. */
#include "test_io_support.h"

#include <bigWig.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include <htslib/bgzf.h>

#include "base/half.h"
#include "io/meta.h"
#include "io/npy.h"
#include "io/table.h"
#include "io/track.h"

/* libBigWig forgets some of its buffers when it cannot write. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libBigWig";
}

static crocuta_error error;

static cr_output *open_good(const char *name, const cr_output_options *options)
{
	cr_output *output;

	check_ok(cr_output_open(in_directory(name), options, &output, &error), &error);
	return output;
}

static void commit(cr_output *output)
{
	check_ok(cr_output_commit(output, &error), &error);
	cr_output_free(output);
}

static void test_npy(void **state)
{
	float values[12];
	const char *data;
	size_t bytes;

	(void)state;
	for (int i = 0; i < 12; i++)
		values[i] = (float)i * 0.5f - 1;
	for (int known = 0; known < 2; known++)
		for (int half = 0; half < 2; half++) {
			cr_output *output = open_good("a.npy", NULL);
			cr_npy *npy;

			check_ok(cr_npy_start(output, known ? 4 : -1, 3, half, &npy, &error),
				 &error);
			check_ok(cr_npy_write(npy, values, 1, &error), &error);
			check_ok(cr_npy_write(npy, values + 3, 3, &error), &error);
			assert_int_equal(cr_npy_rows(npy), 4);
			check_ok(cr_npy_finish(npy, &error), &error);
			cr_npy_free(npy);
			commit(output);
			data = get_file(in_directory("a.npy"), &bytes);
			assert_int_equal(bytes, cr_npy_bytes(4, 3, half));
			assert_memory_equal(data, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f", 23);
			assert_int_equal(data[23], half ? '2' : '4');
			assert_non_null(
				strstr(data + 10, "'fortran_order': False, 'shape': (4, 3), }"));
			assert_int_equal(data[127], '\n');
			if (!half)
				assert_memory_equal(data + 128, values, sizeof values);
			else
				assert_memory_equal(data + 128,
						    "\x00\xbc\x00\xb8\x00\x00\x00\x38\x00\x3c", 10);
		}
}

static void test_npy_refusals(void **state)
{
	float values[2] = {1, 70000};
	cr_output *output = open_good("b.npy", NULL), *full;
	cr_npy *npy;

	(void)state;
	check_ok(cr_npy_start(output, 2, 1, 1, &npy, &error), &error);
	check_failed(cr_npy_write(npy, values, 2, &error), CROCUTA_ENUMERIC, &error,
		     "row 1 column 0: 70000 does not fit float16");
	check_failed(cr_npy_write(npy, values, 3, &error), CROCUTA_EINTERNAL, &error, "more rows");
	check_failed(cr_npy_finish(npy, &error), CROCUTA_EINTERNAL, &error, "0 rows written, 2");
	values[1] = INFINITY;
	check_ok(cr_npy_write(npy, values, 2, &error),
		 &error); /* infinity itself is the caller's */
	cr_npy_free(npy);
	cr_output_free(output);
	check_ok(cr_output_open("/dev/full", NULL, &full, &error), &error);
	check_failed(cr_npy_start(full, -1, 2, 0, &npy, &error), CROCUTA_EARG, &error,
		     "regular file");
	cr_output_free(full);
	output = open_good("b.npy", NULL);
	check_failed(cr_npy_start(output, INT64_MAX / 2, 8, 0, &npy, &error), CROCUTA_EARG, &error,
		     "too large");
	cr_output_free(output);
	assert_int_equal(cr_npy_bytes(INT64_MAX, 2, 0), -1);
}

/* Value of float16 bits. */
static double half_value(uint16_t half)
{
	int exponent = half >> 10 & 31, mantissa = half & 1023;
	double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);

	return half & 0x8000 ? -value : value;
}

static void test_half(void **state)
{
	(void)state;
	for (int bits = 0; bits < 0x7c00; bits++) { /* exact, and halfway to the next: to even */
		double value = half_value((uint16_t)bits), next = half_value((uint16_t)(bits + 1));
		float middle = (float)((value + next) / 2);

		assert_int_equal(cr_half_from_float((float)value), bits);
		assert_int_equal(cr_half_from_float((float)-value), bits | 0x8000);
		if (bits == 0x7bff)
			continue;
		assert_int_equal(cr_half_from_float(middle), bits + (bits & 1));
		assert_int_equal(cr_half_from_float(nextafterf(middle, 0)), bits);
		assert_int_equal(cr_half_from_float(nextafterf(middle, 1e9f)), bits + 1);
	}
	assert_int_equal(cr_half_from_float(65519.996f), 0x7bff);
	assert_int_equal(cr_half_from_float(65520.f), 0x7c00);
	assert_int_equal(cr_half_from_float(-INFINITY), 0xfc00);
	assert_int_equal(cr_half_from_float(1e30f), 0x7c00);
	assert_int_equal(cr_half_from_float(NAN) & 0x7e00, 0x7e00);
	assert_int_equal(cr_half_from_float(1e-10f), 0);
}

static void test_numbers(void **state)
{
	static const struct {
		double value;
		int digits;
		const char *text;
	} cases[] = {{0, 6, "0"},
		     {-0.0, 6, "0"},
		     {1.5, 6, "1.5"},
		     {-0.333333333, 6, "-0.333333"},
		     {1e-10, 6, "1e-10"},
		     {123456789, 6, "1.23457e+08"},
		     {123456789, 9, "123456789"},
		     {NAN, 6, "nan"},
		     {INFINITY, 6, "inf"},
		     {-INFINITY, 6, "-inf"},
		     {0.1, 99, "0.10000000000000001"},
		     {2.5, 0, "2"}};
	static const char *const locales[] = {"C", "de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "ps_AF"};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof locales / sizeof *locales; i++) {
		if (!setlocale(LC_NUMERIC, locales[i]))
			continue;
		for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
			int length = cr_format_number(cases[j].value, cases[j].digits, out);

			assert_string_equal(out, cases[j].text);
			assert_int_equal(length, strlen(out));
		}
	}
	setlocale(LC_NUMERIC, "C");
	for (int i = 0; i < 100000; i++) { /* nine digits give a float back */
		float value = (float)ldexp(rand() - RAND_MAX / 2, rand() % 200 - 100);

		cr_format_number(value, 9, out);
		assert_true(strtof(out, NULL) == value);
	}
}

static void test_table(void **state)
{
	float values[] = {0.5f, -1, 1 / 3.f};
	cr_row row = {"chr1", 10, 20, NULL, 0}, named = {"chr\t2", 0, 1, "a\nb", '-'};
	cr_output *output = open_good("t.tsv", NULL);

	(void)state;
	check_ok(cr_table_provenance(output, "crocutaCommand", "embed\t-o x\n", &error), &error);
	check_ok(cr_table_header(output, 3, &error), &error);
	check_ok(cr_table_row(output, &row, values, 3, 6, &error), &error);
	check_ok(cr_table_row(output, &named, values, 3, 9, &error), &error);
	commit(output);
	assert_string_equal(get_file(in_directory("t.tsv"), NULL),
			    "##crocutaCommand=embed -o x \n"
			    "#chrom\tstart\tend\tname\tstrand\te0\te1\te2\n"
			    "chr1\t10\t20\t.\t.\t0.5\t-1\t0.333333\n"
			    "chr 2\t0\t1\ta b\t-\t0.5\t-1\t0.333333343\n");
}

static void test_rows(void **state)
{
	cr_output_options options = {.bgzf = 1};
	cr_output *output = open_good("x.rows.bed.gz", &options);
	cr_row row = {"chr1", 0, 128, "n", '+'};
	char text[200] = {0};
	BGZF *in;

	(void)state;
	check_ok(cr_rows_header(output, &error), &error);
	check_ok(cr_rows_write(output, &row, 0, &error), &error);
	check_ok(cr_rows_write(output, &row, 1, &error), &error);
	commit(output);
	in = bgzf_open(in_directory("x.rows.bed.gz"), "r");
	assert_non_null(in);
	assert_true(bgzf_read(in, text, sizeof text - 1) > 0);
	bgzf_close(in);
	assert_string_equal(text, "#chrom\tstart\tend\tname\tstrand\trow\n"
				  "chr1\t0\t128\tn\t+\t0\nchr1\t0\t128\tn\t+\t1\n");
}

static void test_meta(void **state)
{
	json_t *object =
		json_pack("{s:s, s:i, s:f}", "version", "0.1.0", "bin", 128, "shift", 0.05);

	(void)state;
	check_ok(cr_meta_save(in_directory("m.meta.json"), object, NULL, &error), &error);
	assert_string_equal(get_file(in_directory("m.meta.json"), NULL),
			    "{\n  \"version\": \"0.1.0\",\n  \"bin\": 128,\n"
			    "  \"shift\": 0.05\n}\n");
	check_failed(cr_meta_save("/dev/full", object, NULL, &error), CROCUTA_EIO, &error,
		     "write failed");
	json_decref(object);
}

static cr_contigs *make_contigs(void)
{
	cr_contigs *contigs = cr_contigs_new();

	check_ok(cr_contigs_add(contigs, "chr1", 4, 100000, &error), &error);
	check_ok(cr_contigs_add(contigs, "chr2", 4, 10, &error), &error);
	check_ok(cr_contigs_add(contigs, "chr10", 5, 3000, &error), &error);
	return contigs;
}

static void test_bedgraph(void **state)
{
	float values[] = {1, 1, NAN, 2, 2, 3}, more[] = {3, 3};
	cr_contigs *contigs = make_contigs();
	cr_output *output = open_good("g.bedgraph", NULL);
	cr_track *track;

	(void)state;
	check_ok(cr_track_start_bedgraph(output, contigs, 6, &track, &error), &error);
	check_ok(cr_track_add(track, 0, 10, 16, 1, values, &error), &error);
	check_ok(cr_track_add(track, 0, 16, 18, 1, more, &error), &error); /* merged across calls */
	check_ok(cr_track_add(track, 0, 20, 30, 8, more, &error), &error); /* short last bin */
	check_ok(cr_track_add(track, 2, 0, 1, 1, more, &error), &error);
	check_failed(cr_track_add(track, 1, 0, 1, 1, more, &error), CROCUTA_EINTERNAL, &error,
		     "order");
	check_failed(cr_track_add(track, 2, 0, 1, 1, more, &error), CROCUTA_EINTERNAL, &error,
		     "order");
	check_ok(cr_track_finish(track, &error), &error);
	cr_track_free(track);
	commit(output);
	assert_string_equal(get_file(in_directory("g.bedgraph"), NULL),
			    "chr1\t10\t12\t1\nchr1\t13\t15\t2\nchr1\t15\t18\t3\nchr1\t20\t30\t3\n"
			    "chr10\t0\t1\t3\n");
	cr_contigs_free(contigs);
}

/* Write a bigWig of bins with gaps; values are a function of the position. */
static float value_at(int64_t position)
{
	return position % 97 == 13 || (position > 50000 && position < 51000 && position % 3)
		       ? NAN
		       : -1.f - (float)(position % 1013) / 7;
}

static int write_bigwig(const cr_contigs *contigs, const char *name, int64_t bin)
{
	cr_output_options options = {.external = 1};
	cr_output *output = open_good(name, &options);
	cr_track *track;
	float *values = malloc(100000 * sizeof *values);
	int64_t lengths[] = {100000, 0, 3000};
	int code = cr_track_start_bigwig(output, contigs, &track, &error);

	for (int64_t contig = 0; contig < 3 && !code; contig += 2)
		for (int64_t start = 0; start < lengths[contig] && !code; start += 7000 * bin) {
			int64_t end = start + 7000 * bin < lengths[contig] ? start + 7000 * bin
									   : lengths[contig];

			for (int64_t at = start, i = 0; at < end; at += bin, i++)
				values[i] = value_at(at);
			code = cr_track_add(track, contig, start, end, bin, values, &error);
		}
	if (!code)
		code = cr_track_finish(track, &error);
	cr_track_free(track);
	if (!code)
		code = cr_output_commit(output, &error);
	cr_output_free(output);
	free(values);
	return code;
}

static void test_bigwig(void **state)
{
	cr_contigs *contigs = make_contigs();

	(void)state;
	for (int64_t bin = 1; bin <= 128; bin *= 8) {
		int64_t lengths[] = {100000, 0, 3000};
		double sum = 0, covered = 0;
		bigWigFile_t *file;

		check_ok(write_bigwig(contigs, "t.bw", bin), &error);
		file = bwOpen(in_directory("t.bw"), NULL, "r");
		assert_non_null(file);
		assert_int_equal(file->cl->nKeys, 3);
		assert_true(file->hdr->nLevels > 0);
		assert_true(file->hdr->maxVal == -1.0);
		for (int64_t contig = 0; contig < 3; contig += 2) {
			bwOverlappingIntervals_t *found =
				bwGetValues(file, (char *)cr_contigs_name(contigs, contig), 0,
					    (uint32_t)lengths[contig], 1);

			assert_non_null(found);
			assert_int_equal(found->l, lengths[contig]);
			for (int64_t i = 0; i < lengths[contig]; i++) {
				float expected = value_at(i / bin * bin);

				assert_true(isnan(expected) ? isnan(found->value[i])
							    : found->value[i] == expected);
				if (!isnan(expected)) {
					sum += expected;
					covered++;
				}
			}
			bwDestroyOverlappingIntervals(found);
		}
		assert_true(file->hdr->nBasesCovered == covered);
		assert_true(fabs(file->hdr->sumData - sum) < 1e-6 * fabs(sum));
		bwClose(file);
		assert_int_equal(count_files("part"), 0);
	}
	cr_contigs_free(contigs);
}

/* Whatever the size at which the disk is full, no bigWig is reported as written. */
static void test_bigwig_full(void **state)
{
	cr_contigs *contigs = make_contigs();
	struct rlimit old, limit;
	size_t bytes;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	check_ok(write_bigwig(contigs, "full.bw", 1), &error);
	get_file(in_directory("full.bw"), &bytes);
	unlink(in_directory("full.bw"));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (size_t cut = 1; cut < bytes; cut += cut < 2000 ? 333 : bytes / 23) {
		int code;

		limit = old;
		limit.rlim_cur = cut;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		code = write_bigwig(contigs, "full.bw", 1);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		check_failed(code, CROCUTA_EIO, &error, "full.bw");
		assert_false(exists(in_directory("full.bw")));
		assert_int_equal(count_files("part"), 0);
	}
	cr_contigs_free(contigs);
}

static void test_bigwig_refusals(void **state)
{
	cr_output_options options = {.external = 1};
	cr_contigs *contigs = make_contigs();
	cr_output *output = open_good("none.bw", &options);
	cr_track *track;
	float nothing[3] = {NAN, NAN, NAN};

	(void)state;
	check_ok(cr_track_start_bigwig(output, contigs, &track, &error), &error);
	check_ok(cr_track_add(track, 0, 0, 3, 1, nothing, &error), &error);
	check_failed(cr_track_finish(track, &error), CROCUTA_EINPUT, &error, "not a single value");
	cr_track_free(track);
	check_ok(cr_contigs_add(contigs, "long", 4, (int64_t)1 << 32, &error), &error);
	check_failed(cr_track_start_bigwig(output, contigs, &track, &error), CROCUTA_EINPUT, &error,
		     "\"long\" is too long");
	cr_output_free(output);
	cr_contigs_free(contigs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_npy),
		cmocka_unit_test(test_npy_refusals),
		cmocka_unit_test(test_half),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_meta),
		cmocka_unit_test(test_bedgraph),
		cmocka_unit_test(test_bigwig),
		cmocka_unit_test(test_bigwig_full),
		cmocka_unit_test(test_bigwig_refusals),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
