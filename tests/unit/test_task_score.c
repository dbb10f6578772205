/* crocuta_score_run from C: numbers against whole windows run here, statuses, and what must not
 * change the bytes of an output. */
#define _GNU_SOURCE
#include "test_task_score_support.h"

/* Run, and hold every number against judge(). */
static void check_numbers(const crocuta_score_options *o)
{
	crocuta_session_options how;
	crocuta_session *session;
	int scored = 0;

	run(o);
	crocuta_session_options_init(&how);
	how.device = o->session.device;
	how.max_length = o->window + 1;
	how.threads = 1;
	assert_int_equal(crocuta_session_new(model, &how, &session, NULL), 0);
	for (int i = 0; i < row_count; i++) {
		double llr[2] = {0}, distance[2] = {0}, n = 0, sum = 0, far = 0, scale = 0;
		int edge = 0;
		const row *r = &rows[i];

		if (strncmp(r->status, "OK", 2))
			continue;
		scored++;
		for (int s = 0; s < 2; s++) {
			if (!(o->strands & (1 << s))) {
				assert_true(isnan(r->value[1 + s]));
				continue;
			}
			judge(session, o, r, s, &llr[s], &distance[s], &scale, &edge);
			if (!near(r->value[1 + s], llr[s], scale))
				fail_msg("%s:%ld %s %s strand %d: %g, not %g", r->chrom,
					 r->position, r->ref, r->alt, s, r->value[1 + s], llr[s]);
			sum += llr[s];
			far += distance[s];
			n++;
		}
		assert_true(near(r->value[0], sum / n, scale));
		assert_true(near(r->value[3], far / n, 0));
		assert_int_equal(strstr(r->status, "EDGE") != NULL, edge);
	}
	assert_true(scored > 100);
	crocuta_session_free(session);
}

static void numbers_are_those_of_whole_windows(void **state)
{
	crocuta_score_options options = options_for_test();

	(void)state;
	write_variants();
	for (int placement = 0; placement < 2; placement++)
		for (int plainly = 0; plainly < 2; plainly++) {
			options.placement = placement;
			options.no_reuse = plainly;
			check_numbers(&options);
		}
	options = options_for_test();
	options.reduce = CROCUTA_REDUCE_MEAN;
	options.classes = 4;
	options.step = 7;
	check_numbers(&options);
	options.strands = CROCUTA_STRANDS_REVERSE;
	check_numbers(&options);
	options = options_for_test();
	options.window = 40;
	options.readout = 8;
	options.session.device = "reference";
	options.strands = CROCUTA_STRANDS_FORWARD;
	check_numbers(&options);
}

/* Means of whole windows, and a token in front of them. */
static void means_and_start_tokens(void **state)
{
	crocuta_score_options options = options_for_test();

	(void)state;
	write_variants();
	options.window = 40;
	options.readout = 8;
	options.reduce = CROCUTA_REDUCE_WINDOW_MEAN;
	for (int how = 0; how < 4; how++) {
		options.no_reuse = how & 1;
		options.start_token = how > 1;
		options.placement = how % 3 ? CROCUTA_PLACEMENT_FIXED : CROCUTA_PLACEMENT_GRID;
		check_numbers(&options);
	}
	options.no_reuse = 0;
	options.reduce = CROCUTA_REDUCE_SUM;
	check_numbers(&options);
}

/* A family whose published scores have a start token, and which takes no changes. */
static void another_family(void **state)
{
	crocuta_score_options options = options_for_test();
	crocuta_score_report report;
	crocuta_error error = {0};
	char *text;

	(void)state;
	write_variants();
	options.window = 40;
	options.readout = 8;
	be_another(1);
	check_numbers(&options);
	text = read_file(output);
	assert_non_null(strstr(text, ",StartToken=\"2\""));
	assert_non_null(strstr(text, ",Reuse=\"no\""));
	assert_null(strstr(text, "FilterShift"));
	assert_null(strstr(text, "model.safetensors"));
	free(text);
	options.start_token = -1;
	check_numbers(&options);
	text = read_file(output);
	assert_null(strstr(text, "StartToken"));
	free(text);
	options.start_token = 0;
	options.window = 1026; /* and the token */
	assert_int_equal(crocuta_score_plan(model, &options, &report, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "at most 1025 bases behind its start token"));
	options.window = 0;
	options.readout = 0;
	assert_int_equal(crocuta_score_plan(model, &options, &report, &error), 0);
	assert_true(report.window == 1025 && !report.reuse);
	options.n_as_pad = 1;
	error = (crocuta_error){0};
	assert_int_equal(crocuta_score_plan(model, &options, &report, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "\"another\" have no padding token"));
	be_another(0);
}

static void no_start_token(void **state)
{
	static cr_vocabulary vocabulary;
	static cr_family family;
	const cr_family *kept = model->family;
	crocuta_score_options options = options_for_test();
	crocuta_score_report report;
	crocuta_error error = {0};

	(void)state;
	vocabulary = *kept->vocabulary;
	vocabulary.start = -1;
	family = *kept;
	family.vocabulary = &vocabulary;
	model->family = &family;
	options.start_token = 1;
	assert_int_equal(crocuta_score_plan(model, &options, &report, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "have none"));
	model->family = kept;
}

/* ---- what must not matter -------------------------------------------------------------------- */

static char *bytes_of(const crocuta_score_options *options)
{
	run(options);
	return read_file(output);
}

static void threads_and_shards_do_not_matter(void **state)
{
	crocuta_score_options options = options_for_test();
	char *whole, *part, together[1 << 16] = "";
	int64_t records = 0;

	(void)state;
	write_variants();
	whole = bytes_of(&options);
	options.session.threads = 1;
	part = bytes_of(&options);
	assert_string_equal(part, whole);
	free(part);
	options.shards = 4;
	for (options.shard = 1; options.shard <= 4; options.shard++) {
		crocuta_score_report report = run(&options);
		char line[64], *header;

		assert_true(report.records > 0);
		records += report.records;
		part = read_file(output);
		snprintf(line, sizeof line, "##crocutaShard=%d/4\n", options.shard);
		header = strstr(part, "#CHROM");
		assert_non_null(strstr(part, line));
		strcat(together, strchr(header, '\n') + 1);
		free(part);
	}
	assert_int_equal(records, 26 * 4 + 1);
	assert_string_equal(together, strchr(strstr(whole, "#CHROM"), '\n') + 1);
	free(whole);
}

/* Each ALT by itself, in the opposite order, with another spelling: the same numbers. */
static void order_and_spelling_do_not_matter(void **state)
{
	crocuta_score_options options = options_for_test();
	static row before[ROWS];
	int count;
	FILE *stream;

	(void)state;
	write_variants();
	run(&options);
	memcpy(before, rows, sizeof rows);
	count = row_count;
	stream = fopen(variants, "w");
	assert_non_null(stream);
	fputs(HEADER, stream);
	for (int i = count - 1; i >= 0; i--) {
		const row *r = &before[i];
		const char *contig = forward + (*r->chrom == 't' ? 500 : 0);
		int64_t after = r->position - 1 + (int64_t)strlen(r->ref);
		int64_t length = *r->chrom == 't' ? 300 : LENGTH;
		int lead = r->position > 3 && *r->alt != '<' ? 3 : 0;
		int tail = after + 5 <= length && *r->alt != '<' ? 5 : 0;

		for (int k = 0; k < lead + tail; k++) /* the known part only */
			if (contig[k < lead ? r->position - 1 - lead + k : after + k - lead] == 'N')
				lead = tail = 0;
		fprintf(stream, "%s\t%ld\t%s\t%.*s%s%.*s\t%.*s%s%.*s\t.\t.\t.\n", r->chrom,
			r->position - lead, r->id, lead, contig + r->position - 1 - lead, r->ref,
			tail, contig + after, lead, contig + r->position - 1 - lead, r->alt, tail,
			contig + after);
	}
	assert_int_equal(fclose(stream), 0);
	run(&options);
	assert_int_equal(row_count, count);
	for (int i = 0; i < count; i++) {
		assert_string_equal(rows[i].status, before[count - 1 - i].status);
		assert_memory_equal(rows[i].value, before[count - 1 - i].value,
				    sizeof rows[i].value);
	}
}

static void strands_change_places_with_the_genome(void **state)
{
	crocuta_score_options options = options_for_test();
	static row before[ROWS];
	int count;

	(void)state;
	for (int placement = 0; placement < 2; placement++) {
		FILE *stream;

		options.placement = placement;
		options.reference = fasta;
		write_variants();
		run(&options);
		memcpy(before, rows, sizeof rows);
		count = row_count - 2; /* without those of the other contig */
		stream = fopen(variants, "w");
		assert_non_null(stream);
		fputs(HEADER, stream);
		for (int i = 0; i < count; i++) {
			static haplotype texts[2];
			row empty = {.position = 1};

			for (int k = 0; k < 2; k++) {
				strcpy(empty.alt, k ? before[i].alt : before[i].ref);
				make_haplotype("", 0, &empty, 1, 1, &texts[k]);
			}
			fprintf(stream, "one\t%ld\t.\t%.*s\t%.*s\t.\t.\t.\n",
				LENGTH - (before[i].position - 1) - texts[0].length + 1,
				(int)texts[0].length, texts[0].bases, (int)texts[1].length,
				texts[1].bases);
		}
		assert_int_equal(fclose(stream), 0);
		options.reference = backward;
		run(&options);
		assert_int_equal(row_count, count);
		for (int i = 0; i < count; i++) {
			const double *a = rows[i].value, *b = before[i].value;
			const double swapped[4] = {b[0], b[2], b[1], b[3]};

			assert_string_equal(rows[i].status, before[i].status);
			assert_memory_equal(a, swapped, sizeof swapped);
		}
	}
}

/* More records than a batch holds, and windows cut apart by it. */
static void batches_do_not_matter(void **state)
{
	crocuta_score_options options = options_for_test();
	FILE *stream = fopen(variants, "w");
	char *many, *line;
	int64_t seen = 0;

	(void)state;
	options.window = 16;
	options.readout = 2;
	assert_non_null(stream);
	fputs(HEADER, stream);
	for (int i = 0; i < 5000; i++)
		fprintf(stream, "one\t%d\t.\t%c\t%c\t.\t.\t.\n", 101 + i % 50,
			forward[100 + i % 50], complement(forward[100 + i % 50]));
	assert_int_equal(fclose(stream), 0);
	options.output_type = "t";
	assert_int_equal(crocuta_score_run(model, &options, &(crocuta_score_report){0}, NULL), 0);
	many = read_file(output);
	line = strchr(strstr(many, "#CHROM"), '\n') + 1;
	for (const char *first = line; *line; line = strchr(line, '\n') + 1) {
		const char *model_line = first;

		for (int64_t i = 0; i < seen % 50; i++)
			model_line = strchr(model_line, '\n') + 1;
		assert_memory_equal(line, model_line, (size_t)(strchr(line, '\n') - line));
		seen++;
	}
	assert_int_equal(seen, 5000);
	free(many);
}

/* ---- every SNV ------------------------------------------------------------------------------- */

static void every_snv_is_the_snv(void **state)
{
	crocuta_score_options options = options_for_test();
	static row before[ROWS];
	int count;
	FILE *stream;

	(void)state;
	options.input = NULL;
	options.ism = "one:1991-2070";
	run(&options);
	assert_int_equal(row_count, 3 * 30); /* 50 are N */
	memcpy(before, rows, sizeof rows);
	count = row_count;
	stream = fopen(variants, "w");
	assert_non_null(stream);
	fputs(HEADER, stream);
	for (int i = 0; i < count; i++)
		fprintf(stream, "one\t%ld\t.\t%s\t%s\t.\t.\t.\n", before[i].position, before[i].ref,
			before[i].alt);
	assert_int_equal(fclose(stream), 0);
	options.input = variants;
	options.ism = NULL;
	run(&options);
	assert_int_equal(row_count, count);
	assert_memory_equal(rows, before, (size_t)count * sizeof *rows);
}

static void matrix(void **state)
{
	crocuta_score_options options = options_for_test();
	char npy[160], meta[160], *array, *text;
	float values[4][80];

	(void)state;
	snprintf(npy, sizeof npy, "%s/ism.npy", directory);
	snprintf(meta, sizeof meta, "%s/ism.meta.json", directory);
	options.input = NULL;
	options.ism = "one:1991-2070";
	run(&options);
	options.output = npy;
	run(&options);
	array = read_file(npy);
	text = read_file(meta);
	assert_non_null(strstr(text, "\"region\": \"one:1991-2070\""));
	assert_non_null(strstr(array + 10, "'shape': (4, 80)"));
	memcpy(values, array + 128, sizeof values);
	for (int i = 0; i < row_count; i++) {
		int64_t column = rows[i].position - 1991;
		float value = values[strchr("ACGT", *rows[i].alt) - (char *)"ACGT"][column];

		assert_true(near(rows[i].value[0], (double)value, 0));
	}
	for (int column = 0; column < 80; column++)
		for (int base = 0; base < 4; base++) {
			char here = forward[1990 + column];

			assert_int_equal(isnan(values[base][column]), here == 'N');
			if (here == "ACGT"[base])
				assert_true(values[base][column] == 0);
		}
	free(array);
	free(text);
	unlink(npy);
	unlink(meta);
}

/* ---- statuses -------------------------------------------------------------------------------- */

static void every_alt_has_its_status(void **state)
{
	static const char *const expected[] = {
		"OK",         "OK",         "STAR",      "SYMBOLIC", "REFBLOCK",    "BREAKEND",
		"NONACGT",    "TOOLONG",    "NOALT",     "NONACGT",  "REFMISMATCH", "NOCONTIG",
		"OUTOFRANGE", "OUTOFRANGE", "OK&MASKED", "NONFINITE"};
	crocuta_score_options options = options_for_test();
	crocuta_score_report report;
	const char *c = forward + 399;
	char other = complement(*c), wrong = forward[500] == 'A' ? 'C' : 'A';

	(void)state;
	write_file(variants,
		   HEADER "one\t400\t.\t%c\t%c,%c,*,<DEL>,<*>,%c[one:5[,R,%c%.40s\t.\t.\t.\n"
			  "one\t400\t.\t%c\t.\t.\t.\t.\n"
			  "one\t2010\t.\tN\tA\t.\t.\t.\n"
			  "one\t501\t.\t%c\tG\t.\t.\t.\n"
			  "none\t400\t.\tA\tC\t.\t.\t.\n"
			  "one\t3001\t.\tA\tC\t.\t.\t.\n"
			  "one\t3000\t.\t%cA\tC\t.\t.\t.\n"
			  "one\t2060\t.\t%c\t%c\t.\t.\t.\n"
			  "one\t2998\t.\t%.3s\t%c\t.\t.\t.\n",
		   *c, *c | 32, other, *c, *c, forward, *c, wrong, forward[2999], forward[2059],
		   complement(forward[2059]), forward + 2997, forward[2997]);
	report = run(&options);
	assert_int_equal(row_count, 16);
	for (int i = 0; i < row_count; i++) {
		assert_string_equal(rows[i].status, expected[i]);
		assert_int_equal(isnan(rows[i].value[0]), strncmp(expected[i], "OK", 2) != 0);
	}
	assert_true(rows[0].value[0] == 0 && rows[0].value[3] == 0); /* ALT is REF */
	assert_int_equal(report.records, 9);
	assert_int_equal(report.alleles, 16);
	assert_int_equal(report.status[CROCUTA_ALLELE_OK], 3);
	assert_int_equal(report.status[CROCUTA_ALLELE_OUTOFRANGE], 2);
	assert_int_equal(report.equal, 1);
	assert_int_equal(report.masked, 1);
	assert_non_null(strstr(report.example[CROCUTA_ALLELE_STAR], ":400:"));
	options.check_ref = CROCUTA_CHECK_REF_EXCLUDE;
	report = run(&options);
	assert_int_equal(row_count, 15);
	assert_int_equal(report.left_out, 1);
	assert_int_equal(report.records_out, 8);
	options.check_ref = CROCUTA_CHECK_REF_ERROR;
	unlink(output);
	assert_int_equal(crocuta_score_run(model, &options, &report, NULL), CROCUTA_EINPUT);
	assert_int_equal(access(output, F_OK), -1);
}

static void expect_failure(const crocuta_score_options *options, int code, const char *text)
{
	crocuta_score_report report;
	crocuta_error error = {0};

	unlink(output);
	assert_int_equal(crocuta_score_run(model, options, &report, &error), code);
	if (!strstr(error.message, text))
		fail_msg("%s", error.message);
	assert_int_equal(access(output, F_OK), -1);
}

static void the_wrong_genome_is_noticed(void **state)
{
	crocuta_score_options options = options_for_test();
	FILE *stream = fopen(variants, "w");

	(void)state;
	assert_non_null(stream);
	fputs(HEADER, stream);
	for (int i = 0; i < 40; i++)
		fprintf(stream, "one\t%d\t.\t%c\tG\t.\t.\t.\n", 101 + i, forward[100 + i]);
	assert_int_equal(fclose(stream), 0);
	options.reference = backward;
	expect_failure(&options, CROCUTA_EINPUT, "wrong genome build");
	options.max_ref_mismatch = 1;
	run(&options);
	options = options_for_test();
	write_file(variants, HEADER "one\t3001\t.\tA\tC\t.\t.\t.\none\t4000\t.\tA\t*\t.\t.\t.\n");
	expect_failure(&options, CROCUTA_EINPUT, "none of 2 records");
	write_file(variants, "%s", HEADER);
	assert_int_equal(run(&options).records, 0);
}

static int stop_at_once(void *user, const crocuta_progress *progress)
{
	(void)user;
	(void)progress;
	return 1;
}

static void options_are_checked(void **state)
{
	crocuta_score_options options = options_for_test();
	crocuta_score_report report;

	(void)state;
	write_variants();
	options.readout = 128;
	expect_failure(&options, CROCUTA_EARG, "--readout");
	options = options_for_test();
	options.step = 97;
	expect_failure(&options, CROCUTA_EARG, "--step");
	options = options_for_test();
	options.window = 100000;
	expect_failure(&options, CROCUTA_EARG, "--window");
	options = options_for_test();
	options.ism = "one:1-5";
	expect_failure(&options, CROCUTA_EARG, "--ism");
	options = options_for_test();
	options.write_index = "csi";
	expect_failure(&options, CROCUTA_EARG, "--write-index");
	options = options_for_test();
	options.shard = 3;
	options.shards = 2;
	expect_failure(&options, CROCUTA_EARG, "--shard");
	options = options_for_test();
	options.tag_prefix = "9x";
	expect_failure(&options, CROCUTA_EARG, "--tag-prefix");
	options = options_for_test();
	options.progress = stop_at_once;
	expect_failure(&options, CROCUTA_ESTOPPED, "");
	options = options_for_test();
	assert_int_equal(crocuta_score_plan(model, &options, &report, NULL), 0);
	assert_int_equal(report.records, 26 * 4 + 1);
	assert_int_equal(report.alleles, 26 * 5 + 2);
	assert_int_equal(report.window, 128);
	assert_int_equal(report.step, 64);
	assert_true(report.reuse && report.memory_bytes > report.plan.total_bytes);
	assert_int_equal(access(output, F_OK), -1);
	options.session.memory_limit = 1 << 20;
	expect_failure(&options, CROCUTA_EMEMORY, "");
}

/* ---- VCF ------------------------------------------------------------------------------------- */

static void vcf_carries_the_tags(void **state)
{
	crocuta_score_options options = options_for_test();
	char vcf[160], *text, expected[1000];

	(void)state;
	write_variants();
	run(&options);
	snprintf(vcf, sizeof vcf, "%s/out.vcf", directory);
	options.output = vcf;
	options.tag_prefix = "MINE";
	run(&options);
	text = read_file(vcf);
	snprintf(expected, sizeof expected,
		 "one\t1\tsnv\t%s\t%s\t.\t.\tMINE_LLR=%g;MINE_LLR_FWD=%g;", rows[0].ref,
		 rows[0].alt, rows[0].value[0], rows[0].value[1]);
	if (!strstr(text, expected))
		fail_msg("no %s", expected);
	assert_non_null(strstr(text, "ID=MINE_STATUS,Number=A,Type=String"));
	assert_non_null(strstr(text, "##contig=<ID=one,length=3000>"));
	assert_non_null(strstr(text, ";MINE_STATUS=OK,SYMBOLIC\n"));
	free(text);
	unlink(vcf);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void loop_over_failures(const crocuta_score_options *options)
{
	crocuta_score_report report;
	int64_t needed;

	cr_memory_fail_at(0);
	assert_int_equal(crocuta_score_run(model, options, &report, NULL), 0);
	needed = cr_memory_count();
	assert_true(needed > 20);
	unlink(output);
	for (int64_t n = 1; n <= needed; n++) {
		crocuta_error error = {0};
		int code;

		cr_memory_fail_at(n);
		code = crocuta_score_run(model, options, &report, &error);
		cr_memory_fail_at(0);
		if (code != CROCUTA_EMEMORY || error.code != code || !error.message[0] ||
		    !access(output, F_OK))
			fail_msg("allocation %lld of %lld: %d %s", (long long)n, (long long)needed,
				 code, error.message);
	}
}

static void every_allocation_may_fail(void **state)
{
	crocuta_score_options options = options_for_test();

	(void)state;
	write_file(variants, HEADER "one\t400\t.\t%c\t%c,<DEL>\t.\t.\t.\n", forward[399],
		   complement(forward[399]));
	options.session.threads = 1;
	options.no_version = 0;
	loop_over_failures(&options);
	options.no_reuse = 1;
	options.shard = options.shards = 2;
	options.shard = 1;
	loop_over_failures(&options);
	options = options_for_test();
	options.session.threads = 1;
	options.input = NULL;
	options.ism = "one:5-6";
	loop_over_failures(&options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_those_of_whole_windows),
		cmocka_unit_test(means_and_start_tokens),
		cmocka_unit_test(another_family),
		cmocka_unit_test(no_start_token),
		cmocka_unit_test(threads_and_shards_do_not_matter),
		cmocka_unit_test(order_and_spelling_do_not_matter),
		cmocka_unit_test(strands_change_places_with_the_genome),
		cmocka_unit_test(batches_do_not_matter),
		cmocka_unit_test(every_snv_is_the_snv),
		cmocka_unit_test(matrix),
		cmocka_unit_test(every_alt_has_its_status),
		cmocka_unit_test(the_wrong_genome_is_noticed),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(vcf_carries_the_tags),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
