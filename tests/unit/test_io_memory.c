/* test_io_memory.c - every allocation of io fails once: EMEMORY, nothing crashes, nothing is left.
 */
#include "test_io_support.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/npy.h"
#include "io/records.h"
#include "io/reference.h"
#include "io/regions.h"
#include "io/track.h"

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "no memory");
}

/* Run scenario with the n-th allocation failing, n = 1, 2 ..., until it gets through. */
static void sweep(int (*scenario)(crocuta_error *))
{
	for (int64_t n = 1; n < 1000; n++) {
		crocuta_error error = {0};
		int code;

		cr_memory_fail_at(n);
		code = scenario(&error);
		if (cr_memory_count() < n) {
			cr_memory_fail_at(0);
			check_ok(code, &error);
			assert_int_equal(count_files("part"), 0);
			return;
		}
		cr_memory_fail_at(0);
		if (code != CROCUTA_EMEMORY || error.code != code)
			fail_msg("allocation %d: code %d, %s", (int)n, code, error.message);
	}
	fail_msg("no end of allocations");
}

static int read_reference(crocuta_error *error)
{
	cr_reference *reference;
	char out[8];
	int code = cr_reference_open(in_directory("m.fa"), NULL, &reference, error);

	if (!code)
		code = cr_reference_fetch(reference, 1, 0, 3, out, error);
	cr_reference_close(reference);
	if (code)
		return code;
	code = cr_reference_open(in_directory("m.fa.gz"), NULL, &reference, error);
	cr_reference_close(reference);
	return code;
}

static void test_reference(void **state)
{
	char text[4000] = "";

	(void)state;
	for (int i = 0; i < 70; i++)
		sprintf(text + strlen(text), ">contig%d\nACGT\nA\nCCC\n", i);
	put_file("m.fa", text);
	put_bgzf("m.fa.gz", text);
	put_bytes("m.fa.gz.gzi", "\0\0\0\0\0\0\0", 8);
	sweep(read_reference);
}

static int read_regions(crocuta_error *error)
{
	cr_contigs *contigs = cr_contigs_new();
	cr_regions *regions = NULL;
	int code = contigs ? cr_contigs_add(contigs, "c", 1, 1000, error) : no_memory(error);

	if (!code)
		code = cr_regions_parse(contigs, "c:1-5,c:7", 0, &regions, error);
	cr_regions_free(regions);
	regions = NULL;
	if (!code)
		code = cr_regions_all(contigs, &regions, error);
	cr_regions_free(regions);
	regions = NULL;
	if (!code)
		code = cr_regions_read(contigs, in_directory("m.bed"), 0, &regions, error);
	cr_regions_free(regions);
	cr_contigs_free(contigs);
	return code;
}

static void test_regions(void **state)
{
	char text[4000] = "";

	(void)state;
	for (int i = 0; i < 40; i++)
		sprintf(text + strlen(text), "c\t%d\t%d\tname%d\t0\t+\n", i, i + 2, i);
	put_file("m.bed", text);
	sweep(read_regions);
}

static int read_records(crocuta_error *error)
{
	static const char *const paths[] = {"r.fa", "r.fq", "test-data/reads/aligned.cram"};
	cr_records_options options = {.reference = in_directory("ref.fa")};
	int code = 0;

	for (int i = 0; i < 3 && !code; i++) {
		const cr_record *record;
		cr_records *records;

		code = cr_records_open(i < 2 ? in_directory(paths[i]) : paths[i], &options,
				       &records, error);
		do {
			if (!code)
				code = cr_records_next(records, &record, error);
		} while (!code && record);
		cr_records_close(records);
	}
	return code;
}

static void test_records(void **state)
{
	char fasta[6000];

	(void)state;
	setenv("TMPDIR", directory, 1);
	put_file("r.fa", ">a b\nACGT\nAC\n>b\nAAAAA\n");
	put_file("r.fq", "@a b\nACGT\n+\nIIII\n");
	strcpy(fasta, get_file("test-data/reads/ref17.fa", NULL));
	put_file("ref.fa", fasta);
	sweep(read_records);
	assert_int_equal(count_files("^crocuta-"), 0);
}

static int write_outputs(crocuta_error *error)
{
	cr_output_options bgzf = {.bgzf = 1}, external = {.external = 1};
	float values[4] = {1, 2, 3, 4};
	cr_output_set *set = cr_output_set_new();
	cr_output *npy_output, *rows, *wig;
	cr_contigs *contigs = cr_contigs_new();
	cr_track *track = NULL;
	cr_npy *npy = NULL;
	int code = set && contigs ? 0 : no_memory(error);

	if (!code)
		code = cr_contigs_add(contigs, "c", 1, 1000, error);
	if (!code)
		code = cr_output_set_add(set, in_directory("w.npy"), NULL, &npy_output, error);
	if (!code)
		code = cr_output_set_add(set, in_directory("w.gz"), &bgzf, &rows, error);
	if (!code)
		code = cr_output_set_add(set, in_directory("w.bw"), &external, &wig, error);
	if (!code)
		code = cr_npy_start(npy_output, -1, 2, 0, &npy, error);
	if (!code)
		code = cr_npy_write(npy, values, 2, error);
	if (!code)
		code = cr_npy_finish(npy, error);
	if (!code)
		code = cr_track_start_bigwig(wig, contigs, &track, error);
	if (!code)
		code = cr_track_add(track, 0, 0, 4, 1, values, error);
	if (!code)
		code = cr_track_finish(track, error);
	cr_track_free(track);
	cr_npy_free(npy);
	if (!code)
		code = cr_output_set_commit(set, error);
	cr_output_set_free(set);
	cr_contigs_free(contigs);
	return code;
}

static void test_outputs(void **state)
{
	(void)state;
	sweep(write_outputs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_outputs),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
