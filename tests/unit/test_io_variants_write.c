/* test_io_variants_write.c - VCF and BCF written: what came in comes out as bcftools prints it, our
 * tags beside it; indexes; outputs that fail. */
#include "test_io_support.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "io/variants.h"

#define HEADER                                                                                     \
	"##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"All filters passed\">\n"            \
	"##contig=<ID=1,length=1000>\n##contig=<ID=2,length=500>\n"                                \
	"##INFO=<ID=AC,Number=A,Type=Integer,Description=\"c\">\n"                                 \
	"##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
#define COLUMNS "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
#define SAMPLES "\tFORMAT\ta\tb\n"
#define RECORDS                                                                                    \
	"1\t10\trs1\tA\tC\t50\tPASS\tAC=1\tGT\t0/1\t1/1\n"                                         \
	"1\t20\t.\tACGT\tA\t.\t.\tAC=1\tGT\t0/1\t1/1\n"                                            \
	"1\t30\t.\tG\tT,<DEL>\t.\t.\tAC=1,2\tGT\t0/1\t1/2\n"                                       \
	"2\t5\t.\tT\t.\t.\t.\t.\tGT\t0/0\t0/0\n"
#define GOOD HEADER COLUMNS SAMPLES RECORDS

static const cr_variant_tag our_tags[] = {
	{"X_A", 0, "of \"a\" \\ b, and\nc"}, {"X_S", 1, "status"}, {"X_B", 0, "b"}};
#define TAG_LINES                                                                                  \
	"##INFO=<ID=X_A,Number=A,Type=Float,Description=\"of \\\"a\\\" \\\\ b, and "               \
	"c\",Source=\"crocuta\",Version=\"1\">\n"                                                  \
	"##INFO=<ID=X_S,Number=A,Type=String,Description=\"status\",Source=\"crocuta\","           \
	"Version=\"1\">\n"                                                                         \
	"##INFO=<ID=X_B,Number=A,Type=Float,Description=\"b\",Source=\"crocuta\",Version=\"1\">\n"
#define TAGGED                                                                                     \
	"1\t10\trs1\tA\tC\t50\tPASS\tAC=1;X_A=-0.5;X_S=OK;X_B=.\tGT\t0/1\t1/1\n"                   \
	"1\t20\t.\tACGT\tA\t.\t.\tAC=1;X_A=-1.5;X_S=OK;X_B=.\tGT\t0/1\t1/1\n"                      \
	"1\t30\t.\tG\tT,<DEL>\t.\t.\tAC=1,2;X_A=-2.5,.;X_S=OK,SYMBOLIC;X_B=.,.\tGT\t0/1\t1/2\n"    \
	"2\t5\t.\tT\t.\t.\t.\t.\tGT\t0/0\t0/0\n"

static void shell(const char *command)
{
	char whole[1000];

	snprintf(whole, sizeof whole, "cd '%s' && %s", directory, command);
	assert_int_equal(system(whole), 0);
}

static cr_variants_writer_options with_tags(const char *path, char type)
{
	return (cr_variants_writer_options){
		.path = path,
		.type = type,
		.level = -1,
		.tags = our_tags,
		.tag_count = 3,
		.source = "crocuta",
		.version = "1",
	};
}

/* Read ahead, write all with values made from the record's number. */
static int copy(const char *input, const cr_variants_writer_options *options, int ahead,
		crocuta_error *error)
{
	cr_variants *variants;
	cr_variants_writer *writer = NULL;
	cr_variant *held[64] = {NULL}, *variant;
	int code = cr_variants_open(input, NULL, &variants, error), count = 0, at = 0;
	int64_t number = 0;

	if (code)
		return code;
	while (!code && count < ahead && !(code = cr_variants_next(variants, &variant, error)) &&
	       variant)
		held[count++] = variant;
	if (!code)
		code = cr_variants_writer_open(variants, options, &writer, error);
	while (!code) {
		const char *texts[4] = {"OK", "SYMBOLIC", NULL, ""};
		float floats[8];

		variant = at < count ? held[at] : NULL;
		if (!variant)
			code = cr_variants_next(variants, &variant, error);
		if (code || !variant)
			break;
		for (int i = 0; i < 8; i++)
			floats[i] = i ? NAN : -0.5f - (float)number;
		number++;
		code = cr_variants_write(writer, variant, floats, texts, error);
		cr_variant_free(variants, variant);
		if (at < count)
			held[at] = NULL;
		at++;
	}
	if (!code)
		code = cr_variants_writer_commit(writer, error);
	cr_variants_writer_free(writer);
	for (int i = 0; i < count; i++)
		cr_variant_free(variants, held[i]);
	cr_variants_close(variants);
	return code;
}

static void check_copy(const char *input, const cr_variants_writer_options *options, int ahead)
{
	crocuta_error error = {0};

	check_ok(copy(input, options, ahead, &error), &error);
}

static void check_no_copy(const char *input, const cr_variants_writer_options *options, int ahead,
			  int code, const char *text)
{
	crocuta_error error = {0};

	check_failed(copy(input, options, ahead, &error), code, &error, text);
	assert_int_equal(count_files("part"), 0);
}

/* What bcftools makes of a file of the test. */
static const char *as_text(const char *name)
{
	char command[400];

	snprintf(command, sizeof command, "bcftools view --no-version -Ov -o as_text.vcf %s", name);
	shell(command);
	return get_file(in_directory("as_text.vcf"), NULL);
}

static void test_types(void **state)
{
	static const char inputs[][12] = {"in.vcf", "in.bcf"};
	const char *types = "vzbu";

	(void)state;
	put_file("in.vcf", GOOD);
	shell("bcftools view --no-version -Ob -o in.bcf in.vcf");
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 4; j++) {
			cr_variants_writer_options options =
				with_tags(in_directory("out"), types[j]);

			check_copy(in_directory(inputs[i]), &options, i * 3);
			if (types[j] == 'v')
				assert_string_equal(get_file(in_directory("out"), NULL),
						    HEADER TAG_LINES COLUMNS SAMPLES TAGGED);
			assert_string_equal(as_text("out"),
					    HEADER TAG_LINES COLUMNS SAMPLES TAGGED);
			if (types[j] == 'z' || types[j] == 'b')
				shell("bgzip -t out");
			options.tag_count = 0; /* nothing of ours */
			check_copy(in_directory(inputs[i]), &options, 0);
			assert_string_equal(as_text("out"), GOOD);
		}
	shell("bcftools norm -m- -Ov --no-version -o split.vcf out");
}

static void test_levels(void **state)
{
	cr_variants_writer_options options = with_tags(in_directory("out"), 'z');
	struct stat small, large;

	(void)state;
	put_file("in.vcf", GOOD);
	options.level = 0;
	check_copy(in_directory("in.vcf"), &options, 0);
	assert_int_equal(stat(in_directory("out"), &large), 0);
	options.level = 9;
	check_copy(in_directory("in.vcf"), &options, 0);
	assert_int_equal(stat(in_directory("out"), &small), 0);
	assert_true(small.st_size < large.st_size);
	options.level = 10;
	check_no_copy(in_directory("in.vcf"), &options, 0, CROCUTA_EARG, "0 to 9");
	options = with_tags(in_directory("out"), 'x');
	check_no_copy(in_directory("in.vcf"), &options, 0, CROCUTA_EARG, "v, z, b or u");
}

/* Values of an earlier run. */
static void test_overwrite(void **state)
{
	cr_variants_writer_options options = with_tags(in_directory("once.vcf"), 'v');

	(void)state;
	put_file("in.vcf", GOOD);
	check_copy(in_directory("in.vcf"), &options, 0);
	options.path = in_directory("twice.vcf");
	check_no_copy(in_directory("once.vcf"), &options, 0, CROCUTA_EREFUSED,
		      "has an INFO tag X_A already");
	assert_false(exists(in_directory("twice.vcf")));
	options.overwrite_tags = 1;
	check_copy(in_directory("once.vcf"), &options, 0);
	assert_string_equal(get_file(in_directory("twice.vcf"), NULL),
			    HEADER TAG_LINES COLUMNS SAMPLES TAGGED);
	/* values that no header line announced */
	put_file("odd.vcf", HEADER COLUMNS "\n1\t5\t.\tA\t.\t.\t.\t.\n"
					   "1\t6\t.\tA\tC\t.\t.\tX_S=old;AC=1;X_A=7,8,9\n");
	options.overwrite_tags = 0;
	check_no_copy(in_directory("odd.vcf"), &options, 0, CROCUTA_EREFUSED,
		      "record at 1:6: has a tag of this run's names");
	options.overwrite_tags = 1;
	check_copy(in_directory("odd.vcf"), &options, 0);
	assert_non_null(strstr(get_file(in_directory("twice.vcf"), NULL),
			       "\n1\t6\t.\tA\tC\t.\t.\tAC=1;X_A=-1.5;X_S=OK;X_B=.\n"));
}

/* A run that writes fewer of the names than the one before. */
static void test_family(void **state)
{
	static const char *const family[] = {"X_A", "X_B", "X_C", "X_S", NULL};
	static const char *const lines[] = {"##mine=<ID=m,P=\"X\",W=\"2\">", "##base=<ID=r>", NULL};
	const char *types = "vb";
	cr_variants_writer_options options = with_tags(in_directory("once"), 'v');
	cr_variants_writer_options once = options;

	(void)state;
	put_file("in.vcf", GOOD);
	check_copy(in_directory("in.vcf"), &once, 0);
	shell("sed -i 's/^#CHROM/##mine=<ID=n,P=\"X\",W=\"1\">\\n##base=<ID=q>\\n##base=<ID=r>\\n"
	      "##command=1\\n&/' once");
	shell("bcftools view --no-version -Ob -o once.bcf once");
	shell("grep -v ID=X_ once >unannounced");
	shell("sed 's/##base=<ID=q>/&\\n##mine=<ID=n,P=\"XX\",W=\"1\">/' once >others");
	for (int i = 0; i < 6; i++) {
		const char *input = in_directory(i < 2   ? "once"
						 : i < 4 ? "once.bcf"
							 : "unannounced");

		options = with_tags(in_directory("twice"), types[i % 2]);
		options.tag_count = 1;
		options.family = family;
		options.lines = lines;
		check_no_copy(input, &options, i % 3, CROCUTA_EREFUSED,
			      i < 4 || i % 3 ? "has an INFO tag X_" : "tag of this run's names");
		options.tags = our_tags + 2;
		options.overwrite_tags = 1;
		options.replaced = (cr_variants_replaced){"mine", "P", "X", "base"};
		options.tag_count = 0; /* none of them: only X_C is neither there nor written */
		check_copy(input, &options, i % 3);
		assert_null(strstr(as_text("twice"), "X_"));
		options.tag_count = 1;
		check_copy(input, &options, i % 3);
		assert_string_equal(
			as_text("twice"), HEADER
			"##command=1\n"
			"##INFO=<ID=X_B,Number=A,Type=Float,Description=\"b\",Source=\"crocuta\","
			"Version=\"1\">\n"
			"##mine=<ID=m,P=\"X\",W=\"2\">\n##base=<ID=r>\n" COLUMNS SAMPLES
			"1\t10\trs1\tA\tC\t50\tPASS\tAC=1;X_B=-0.5\tGT\t0/1\t1/1\n"
			"1\t20\t.\tACGT\tA\t.\t.\tAC=1;X_B=-1.5\tGT\t0/1\t1/1\n"
			"1\t30\t.\tG\tT,<DEL>\t.\t.\tAC=1,2;X_B=-2.5,.\tGT\t0/1\t1/2\n"
			"2\t5\t.\tT\t.\t.\t.\t.\tGT\t0/0\t0/0\n");
	}
	/* the base is another's too */
	options.type = 'v';
	check_copy(in_directory("others"), &options, 0);
	assert_non_null(strstr(get_file(options.path, NULL),
			       "\n##base=<ID=q>\n##mine=<ID=n,P=\"XX\",W=\"1\">\n##command=1\n"));
	assert_null(strstr(get_file(options.path, NULL), "W=\"1\">\n##base"));
	/* a name that is not written refuses the input too */
	shell("sed 's/X_A/X_C/g; s/X_[BS]/Y&/g' once >third");
	options.overwrite_tags = 0;
	check_no_copy(in_directory("third"), &options, 0, CROCUTA_EREFUSED, "INFO tag X_C already");
}

static void test_lines(void **state)
{
	static const char *const lines[] = {"##crocutaModel=<ID=m,File=\"a,b\">",
					    "##crocutaShard=2/3", "##kept=1", NULL};
	static const char *const drop[] = {"crocutaShard", NULL};
	cr_variants_writer_options options = with_tags(in_directory("out.vcf"), 'v');

	(void)state;
	put_file("in.vcf", HEADER "##crocutaShard=1/3\n##kept=1\n##crocutaModel=<ID=m,File=\"c\">\n"
				  "##crocutaShards=7\n" COLUMNS SAMPLES RECORDS);
	options.lines = lines;
	options.drop = drop;
	options.tag_count = 0;
	check_copy(in_directory("in.vcf"), &options, 0);
	assert_string_equal(
		get_file(in_directory("out.vcf"), NULL), HEADER
		"##kept=1\n##crocutaModel=<ID=m,File=\"c\">\n##crocutaShards=7\n"
		"##crocutaModel=<ID=m,File=\"a,b\">\n##crocutaShard=2/3\n" COLUMNS SAMPLES RECORDS);
	options.type = 'b';
	check_copy(in_directory("in.vcf"), &options, 0);
	assert_null(strstr(as_text("out.vcf"), "1/3"));
	assert_non_null(strstr(as_text("out.vcf"), "2/3"));
}

/* ---- contigs --------------------------------------------------------------------------------- */

static cr_contigs *make_reference(void)
{
	cr_contigs *contigs = cr_contigs_new();

	assert_int_equal(cr_contigs_add(contigs, "chr1", 4, 1000, NULL), 0);
	assert_int_equal(cr_contigs_add(contigs, "chr2", 4, 500, NULL), 0);
	assert_int_equal(cr_contigs_add(contigs, "chrM", 4, 16, NULL), 0);
	return contigs;
}

static const char *contig_lines(const char *path)
{
	static char lines[2000];
	const char *text = get_file(path, NULL);

	lines[0] = '\0';
	while ((text = strstr(text, "##contig="))) {
		strncat(lines, text + 9, strcspn(text + 9, "\n"));
		text += 9;
	}
	return lines;
}

static void test_contigs(void **state)
{
	static const int64_t to_chr[] = {1, 0, -1};
	char first[500];
	cr_contigs *reference = make_reference();
	cr_variants_writer_options options = with_tags(in_directory("out.vcf"), 'v');

	(void)state;
	options.reference = reference;
	/* none in the input: all, in the order of the FASTA, and what the FASTA lacks behind */
	put_file("in.vcf", "##fileformat=VCFv4.2\n" COLUMNS "\nchr2\t5\t.\tT\tC\t.\t.\t.\n"
			   "other\t5\t.\tT\tC\t.\t.\t.\nchr1\t5\t.\tT\tC\t.\t.\t.\n");
	for (int ahead = 0; ahead < 3; ahead++) {
		check_copy(in_directory("in.vcf"), &options, ahead);
		assert_string_equal(contig_lines(options.path),
				    "<ID=chr1,length=1000><ID=chr2,length=500><ID=chrM,"
				    "length=16>");
		/* the same header, whichever are met, and in front of the tags */
		if (!ahead)
			memcpy(first, get_file(options.path, NULL), sizeof first);
		assert_memory_equal(get_file(options.path, NULL), first, sizeof first);
	}
	options.type = 'b'; /* cannot do without those met */
	check_copy(in_directory("in.vcf"), &options, 2);
	assert_non_null(strstr(as_text("out.vcf"), "##contig=<ID=chrM,length=16>\n"
						   "##contig=<ID=other>\n"));
	check_no_copy(in_directory("in.vcf"), &options, 1, CROCUTA_EINPUT,
		      "record at other:5: the contig is not in the header");
	options.type = 'v';
	/* under other names */
	put_file("in.vcf", "##fileformat=VCFv4.2\n" COLUMNS "\n2\t5\t.\tT\tC\t.\t.\t.\n"
			   "1\t5\t.\tT\tC\t.\t.\t.\n");
	options.contig_map = to_chr;
	check_copy(in_directory("in.vcf"), &options, 1);
	assert_string_equal(contig_lines(options.path),
			    "<ID=1,length=1000><ID=2,length=500><ID=MT,length=16>");
	options.type = 'b';
	check_copy(in_directory("in.vcf"), &options, 1);
	assert_non_null(strstr(as_text("out.vcf"), "\n2\t5\t.\tT\tC\t.\t.\tX_A=-0.5;"));
	assert_non_null(strstr(as_text("out.vcf"), "\n1\t5\t.\tT\tC\t.\t.\tX_A=-1.5;"));
	/* some in the input: it is left alone, but for those met in BCF */
	options.type = 'v';
	options.contig_map = NULL;
	put_file("in.vcf", "##fileformat=VCFv4.2\n##contig=<ID=chr2>\n" COLUMNS
			   "\nchr2\t5\t.\tT\tC\t.\t.\t.\nchr1\t5\t.\tT\tC\t.\t.\t.\n");
	check_copy(in_directory("in.vcf"), &options, 0);
	assert_string_equal(contig_lines(options.path), "<ID=chr2>");
	check_copy(in_directory("in.vcf"), &options, 2);
	assert_string_equal(contig_lines(options.path), "<ID=chr2>");
	options.type = 'b';
	check_copy(in_directory("in.vcf"), &options, 2);
	assert_non_null(strstr(as_text("out.vcf"), "<ID=chr2>\n##contig=<ID=chr1,length=1000>"));
	/* names that follow no rule: no lines, whichever are met */
	put_file("in.vcf", "##fileformat=VCFv4.2\n" COLUMNS "\nb\t5\t.\tT\tC\t.\t.\t.\n"
			   "a\t5\t.\tT\tC\t.\t.\t.\n");
	options.type = 'v';
	options.contig_map = to_chr;
	for (int ahead = 1; ahead < 3; ahead++) {
		check_copy(in_directory("in.vcf"), &options, ahead);
		assert_string_equal(contig_lines(options.path), "");
	}
	options.type = 'b';
	check_copy(in_directory("in.vcf"), &options, 2);
	assert_non_null(
		strstr(as_text("out.vcf"), "<ID=b,length=500>\n##contig=<ID=a,length=1000>"));
	cr_contigs_free(reference);
}

/* Tags that no header line announces: text says them on, BCF cannot. */
static void test_undeclared(void **state)
{
	static const char text[] =
		"##fileformat=VCFv4.2\n"
		"##FILTER=<ID=PASS,Description=\"All filters passed\">\n"
		"##contig=<ID=1>\n" COLUMNS SAMPLES "1\t5\t.\tT\tC\t.\tlow\tYY=3;ZZ\tWW\t1,2\tx\n";
	cr_variants_writer_options options = with_tags(in_directory("out.vcf"), 'v');

	(void)state;
	options.tag_count = 0;
	put_file("in.vcf", text);
	for (int ahead = 0; ahead < 2; ahead++) {
		options.type = 'v';
		check_copy(in_directory("in.vcf"), &options, ahead);
		assert_string_equal(get_file(options.path, NULL), text);
	}
	options.type = 'b'; /* met before the header is written: htslib's own line is taken */
	check_copy(in_directory("in.vcf"), &options, 1);
	assert_non_null(strstr(as_text("out.vcf"), "\tlow\tYY=3;ZZ\tWW\t"));
	check_no_copy(in_directory("in.vcf"), &options, 0, CROCUTA_EINPUT, "is not in the header");
	put_file("in.vcf", "##fileformat=VCFv4.2\n##contig=<ID=1>\n" COLUMNS
			   "\n1\t5\t.\tT\tC\t.\t.\t.\n7\t5\t.\tT\tC\t.\t.\t.\n");
	check_no_copy(in_directory("in.vcf"), &options, 1, CROCUTA_EINPUT,
		      "record at 7:5: the contig is not in the header");
	options.type = 'v';
	check_copy(in_directory("in.vcf"), &options, 1);
}

/* In BCF a value can hold any byte; as text it would be columns and rows. */
static void test_bytes(void **state)
{
	static const char *const changes[][3] = {
		{"in4567", "in\\t567", "a value holds a tab"},
		{"in4567", "in\\n567", "a value holds a tab"},
		{"fo4567", "fo\\t567", "a value holds a tab"},
		{"fo4567", "fo\\n567", "a value holds a tab"},
		{"rs4567", "r\\t9\\tG\\t", "ID holds a control byte"},
		{"rs4567", "rs\\n567", "ID holds a control byte"},
		{"<ID=1,", "<ID=\\t,", "CHROM holds a control byte"}};
	char command[300];

	(void)state;
	put_file("in.vcf", "##fileformat=VCFv4.2\n##contig=<ID=1>\n"
			   "##INFO=<ID=N,Number=1,Type=String,Description=\"n\">\n"
			   "##FORMAT=<ID=W,Number=1,Type=String,Description=\"w\">\n" COLUMNS
			   "\tFORMAT\ta\tb\n1\t5\trs4567\tT\tC\t.\t.\tN=in4567\tW\tfo4567\tx\n");
	shell("bcftools view --no-version -Ob in.vcf | bgzip -dc >in.bytes");
	for (int i = 0; i < 7; i++) {
		cr_variants_writer_options options = with_tags(in_directory("out"), 'v');

		snprintf(command, sizeof command,
			 "LC_ALL=C sed 's/%s/%s/' in.bytes | bgzip -c >in.bcf", changes[i][0],
			 changes[i][1]);
		shell(command);
		check_no_copy(in_directory("in.bcf"), &options, 0, CROCUTA_EINPUT, changes[i][2]);
		options.type = 'b';
		if (i < 4) /* as it came */
			check_copy(in_directory("in.bcf"), &options, 0);
		else
			check_no_copy(in_directory("in.bcf"), &options, 0, CROCUTA_EINPUT,
				      changes[i][2]);
	}
}

/* ---- records made here ----------------------------------------------------------------------- */

static void test_new(void **state)
{
	cr_contigs *reference = make_reference();
	static const char types[] = "vbz";

	(void)state;
	for (int i = 0; i < 3; i++) {
		cr_variants_writer_options options = with_tags(in_directory("new.vcf"), types[i]);
		const char *alleles[] = {"A", "C", "G"}, *texts[] = {"OK", "OK&EDGE"};
		const float floats[] = {1.25f, -3, 0, INFINITY};
		cr_variants_writer *writer;
		crocuta_error error = {0};

		options.reference = reference;
		options.index = i ? "csi" : NULL;
		check_ok(cr_variants_writer_open(NULL, &options, &writer, &error), &error);
		check_ok(cr_variants_write_new(writer, 1, 4, alleles, 3, floats, texts, &error),
			 &error);
		check_failed(cr_variants_write_new(writer, 3, 4, alleles, 3, floats, texts, &error),
			     CROCUTA_EINTERNAL, &error, "");
		check_ok(cr_variants_writer_commit(writer, &error), &error);
		cr_variants_writer_free(writer);
		assert_string_equal(
			as_text("new.vcf"),
			"##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"All filters "
			"passed\">\n" TAG_LINES
			"##contig=<ID=chr1,length=1000>\n##contig=<ID=chr2,length=500>\n"
			"##contig=<ID=chrM,length=16>\n" COLUMNS
			"\nchr2\t5\t.\tA\tC,G\t.\t.\tX_A=1.25,-3;X_S=OK,OK&EDGE;X_B=0,.\n");
	}
	cr_contigs_free(reference);
}

/* ---- several readers ------------------------------------------------------------------------- */

static int concat(const char *const *inputs, int count, char type, crocuta_error *error)
{
	cr_variants_writer_options options = {
		.path = in_directory("all"), .type = type, .level = -1};
	cr_variants *readers[4] = {NULL};
	cr_variants_writer *writer = NULL;
	cr_variant *variant;
	int code = CROCUTA_OK;

	for (int i = 0; !code && i < count; i++) {
		code = cr_variants_open(inputs[i], NULL, &readers[i], error);
		if (!code && i)
			code = cr_variants_add_header(readers[0], readers[i], error);
	}
	if (!code)
		code = cr_variants_writer_open(readers[0], &options, &writer, error);
	for (int i = 0; !code && i < count; i++)
		while (!(code = cr_variants_next(readers[i], &variant, error)) && variant) {
			code = cr_variants_copy(writer, readers[i], variant, error);
			cr_variant_free(readers[i], variant);
			if (code)
				break;
		}
	if (!code)
		code = cr_variants_writer_commit(writer, error);
	cr_variants_writer_free(writer);
	for (int i = 0; i < count; i++)
		cr_variants_close(readers[i]);
	return code;
}

static void test_concat(void **state)
{
	const char *inputs[2] = {put_file("one.vcf", GOOD), NULL};
	crocuta_error error = {0};

	(void)state;
	/* tags and contigs in another order, and one more of each */
	inputs[1] = put_file("two.vcf",
			     "##fileformat=VCFv4.2\n##contig=<ID=3,length=9>\n##contig=<ID=2>\n"
			     "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
			     "##INFO=<ID=DP,Number=1,Type=Integer,Description=\"d\">\n"
			     "##INFO=<ID=AC,Number=A,Type=Integer,Description=\"c\">\n##other=1\n"
			     "##FILTER=<ID=low,Description=\"l\">\n" COLUMNS SAMPLES
			     "2\t9\t.\tT\tC\t.\tlow\tDP=300;AC=1\tGT\t0/0\t0/0\n"
			     "3\t9\t.\tT\tC\t.\tPASS\tAC=2\tGT\t0/0\t1/0\n");
	for (int i = 0; i < 4; i++) {
		check_ok(concat(inputs, 2, "vzbu"[i], &error), &error);
		assert_string_equal(
			as_text("all"),
			HEADER "##contig=<ID=3,length=9>\n"
			       "##INFO=<ID=DP,Number=1,Type=Integer,Description=\"d\">\n##other=1\n"
			       "##FILTER=<ID=low,Description=\"l\">\n" COLUMNS SAMPLES RECORDS
			       "2\t9\t.\tT\tC\t.\tlow\tDP=300;AC=1\tGT\t0/0\t0/0\n"
			       "3\t9\t.\tT\tC\t.\tPASS\tAC=2\tGT\t0/0\t1/0\n");
	}
	inputs[1] = put_file("two.vcf", HEADER COLUMNS "\tFORMAT\ta\tc\n"
						       "2\t9\t.\tT\tC\t.\t.\t.\tGT\t0/0\t0/0\n");
	check_failed(concat(inputs, 2, 'v', &error), CROCUTA_EINPUT, &error, "samples");
	inputs[1] = put_file("two.vcf", "##fileformat=VCFv4.2\n##INFO=<ID=AC,Number=1,Type=Float,"
					"Description=\"c\">\n" COLUMNS SAMPLES);
	check_failed(concat(inputs, 2, 'v', &error), CROCUTA_EINPUT, &error,
		     "define INFO AC differently");
	inputs[1] = put_file("two.vcf",
			     HEADER COLUMNS SAMPLES "2\t9\t.\tT\tC\t.\t.\tUN=1\tGT\t0/0\t0/0\n");
	check_failed(concat(inputs, 2, 'b', &error), CROCUTA_EINPUT, &error, "no header has");
	check_ok(concat(inputs, 2, 'z', &error), &error);
}

/* ---- index ----------------------------------------------------------------------------------- */

static void test_index(void **state)
{
	static const char *const kinds[][2] = {{"z", "csi"}, {"z", "tbi"}, {"b", "csi"}};
	struct stat data, index;

	(void)state;
	put_file("in.vcf", GOOD);
	put_file("none.vcf", HEADER COLUMNS "\n");
	for (int i = 0; i < 3; i++) {
		char command[200], name[20], beside[30];
		cr_variants_writer_options options;

		snprintf(name, sizeof name, "o%d.gz", i);
		snprintf(beside, sizeof beside, "%s.%s", name, kinds[i][1]);
		options = with_tags(in_directory(name), kinds[i][0][0]);
		options.index = kinds[i][1];
		check_copy(in_directory("in.vcf"), &options, 0);
		assert_int_equal(stat(in_directory(name), &data), 0);
		assert_int_equal(stat(in_directory(beside), &index), 0);
		assert_true(index.st_mtim.tv_sec > data.st_mtim.tv_sec ||
			    (index.st_mtim.tv_sec == data.st_mtim.tv_sec &&
			     index.st_mtim.tv_nsec >= data.st_mtim.tv_nsec));
		snprintf(command, sizeof command,
			 "test \"$(bcftools view -H -r 1:15-30 %s | wc -l)\" = 2 && "
			 "test \"$(bcftools view -H -r 1,2 %s | wc -l)\" = 4",
			 name, name);
		shell(command);
		check_copy(in_directory("none.vcf"), &options, 0);
		snprintf(command, sizeof command, "test -z \"$(bcftools view -H -r 1 %s)\"", name);
		shell(command);
	}
	assert_int_equal(count_files("part"), 0);
}

static void test_bad_index(void **state)
{
	cr_variants_writer_options options = with_tags(in_directory("out.gz"), 'z');
	const char *input = put_file("in.vcf", GOOD);

	(void)state;
	options.index = "bai";
	check_no_copy(input, &options, 0, CROCUTA_EARG, "give csi or tbi");
	options.index = "tbi";
	options.type = 'b';
	check_no_copy(input, &options, 0, CROCUTA_EARG, "not tbi");
	options.type = 'v';
	check_no_copy(input, &options, 0, CROCUTA_EARG, "only compressed output");
	options.type = 'z';
	options.path = "-";
	check_no_copy(input, &options, 0, CROCUTA_EARG, "standard output has no index");
	options.path = "/dev/null";
	check_no_copy(input, &options, 0, CROCUTA_EARG, "no regular file");
	options.path = in_directory("out.gz");
	put_file("far.vcf",
		 "##fileformat=VCFv4.2\n##contig=<ID=1,length=536870913>\n" COLUMNS "\n");
	check_no_copy(in_directory("far.vcf"), &options, 0, CROCUTA_EARG, "give csi");
	put_file("far.vcf", "##fileformat=VCFv4.2\n##contig=<ID=1>\n" COLUMNS
			    "\n1\t536870913\t.\tA\tC\t.\t.\t.\n");
	check_no_copy(in_directory("far.vcf"), &options, 0, CROCUTA_EINPUT, "give csi");
	options.index = "csi";
	check_copy(in_directory("far.vcf"), &options, 0);
	shell("rm out.gz out.gz.csi");
	put_file("far.vcf", HEADER COLUMNS "\n1\t5\t.\tA\tC\t.\t.\t.\n1\t4\t.\tA\tC\t.\t.\t.\n");
	check_no_copy(in_directory("far.vcf"), &options, 0, CROCUTA_EINPUT,
		      "record at 1:4: the records are not sorted");
	put_file("far.vcf", HEADER COLUMNS "\n1\t5\t.\tA\tC\t.\t.\t.\n2\t4\t.\tA\tC\t.\t.\t.\n"
					   "1\t9\t.\tA\tC\t.\t.\t.\n");
	check_no_copy(in_directory("far.vcf"), &options, 0, CROCUTA_EINPUT,
		      "record at 1:9: the records are not sorted");
	assert_false(exists(in_directory("out.gz")));
	assert_false(exists(in_directory("out.gz.csi")));
	put_file("out.gz.csi", "old");
	options.output.no_clobber = 1;
	check_no_copy(input, &options, 0, CROCUTA_EREFUSED, "no-clobber");
	assert_false(exists(in_directory("out.gz")));
}

/* ---- outputs that fail ----------------------------------------------------------------------- */

static const char *put_many(int64_t records)
{
	char *text = malloc((size_t)records * 64 + 1000), *at = text;

	assert_non_null(text);
	at += sprintf(at, "%s%s\n", HEADER, COLUMNS);
	for (int64_t i = 1; i <= records; i++)
		at += sprintf(at, "1\t%lld\tr%08x\tA\tC\t.\t.\tAC=1\n", (long long)i,
			      (unsigned)i * 2654435761u);
	put_file("many.vcf", text);
	free(text);
	return in_directory("many.vcf");
}

static void test_full_device(void **state)
{
	static const char types[] = "vzbu";
	const char *inputs[] = {put_file("in.vcf", GOOD), put_many(20000),
				put_file("none.vcf", HEADER COLUMNS "\n")};
	int saved = dup(1), full = open("/dev/full", O_WRONLY);

	(void)state;
	assert_true(saved >= 0 && full >= 0);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 4; j++) {
			cr_variants_writer_options options = with_tags("/dev/full", types[j]);
			crocuta_error error = {0};
			int code;

			check_no_copy(inputs[i], &options, 0, CROCUTA_EIO, "No space left");
			options.path = "-";
			fflush(stdout);
			assert_int_equal(dup2(full, 1), 1);
			code = copy(inputs[i], &options, 0, &error);
			assert_int_equal(dup2(saved, 1), 1);
			assert_int_equal(code, CROCUTA_EIO);
			assert_int_equal(error.os_errno, ENOSPC);
		}
	close(saved);
	close(full);
}

static void test_broken_pipe(void **state)
{
	cr_variants_writer_options options = with_tags("-", 'z');
	crocuta_error error = {0};
	int ends[2], saved = dup(1), code;

	(void)state;
	put_many(20000);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	fflush(stdout);
	assert_int_equal(dup2(ends[1], 1), 1);
	code = copy(in_directory("many.vcf"), &options, 0, &error);
	assert_int_equal(dup2(saved, 1), 1);
	signal(SIGPIPE, SIG_DFL);
	close(saved);
	close(ends[1]);
	assert_int_equal(code, CROCUTA_EIO);
	assert_int_equal(error.os_errno, EPIPE);
}

/* The disk is full at some byte, in the data or in the index: nothing is left, nothing claimed. */
static void test_size_limit(void **state)
{
	struct rlimit old, limit;
	const char *input = put_many(3000);
	static const int sizes[] = {0, 10, 200, 5000, 20000};

	(void)state;
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; i < 5; i++) {
		cr_variants_writer_options options = with_tags(in_directory("lim.gz"), 'z');
		crocuta_error error = {0};
		int code;

		options.index = "csi";
		limit.rlim_cur = (rlim_t)sizes[i];
		setrlimit(RLIMIT_FSIZE, &limit);
		code = copy(input, &options, 0, &error);
		setrlimit(RLIMIT_FSIZE, &old);
		assert_int_equal(code, CROCUTA_EIO);
		assert_int_equal(error.os_errno, EFBIG);
		assert_int_equal(count_files("lim.gz"), 0);
	}
	signal(SIGXFSZ, SIG_DFL);
}

static void test_cut_input(void **state)
{
	cr_variants_writer_options options = with_tags(in_directory("never.vcf"), 'v');

	(void)state;
	put_many(20000);
	shell("bgzip -c many.vcf >whole.gz && head -c 60000 whole.gz >cut.gz && cat cut.gz "
	      ">pipe.gz");
	check_no_copy(in_directory("cut.gz"), &options, 0, CROCUTA_EINPUT, "no BGZF end marker");
	put_file("bad.vcf", GOOD "1\t10\n");
	check_no_copy(in_directory("bad.vcf"), &options, 0, CROCUTA_EINPUT, "8 columns");
	assert_false(exists(in_directory("never.vcf")));
	options.output.inputs = (const char *[]){in_directory("bad.vcf"), NULL};
	options.path = in_directory("bad.vcf");
	check_no_copy(in_directory("bad.vcf"), &options, 0, CROCUTA_EARG, "same file");
}

/* ---- many samples, many contigs -------------------------------------------------------------- */

static void test_wide(void **state)
{
	size_t capacity = 4 << 20;
	char *text = malloc(capacity), *at = text;
	static const char types[] = "vzb";

	(void)state;
	assert_non_null(text);
	at += sprintf(at, "##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"All filters "
			  "passed\">\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n");
	for (int i = 0; i < 10000; i++)
		at += sprintf(at, "##contig=<ID=c%d,length=%d>\n", i, i + 100);
	at += sprintf(at, COLUMNS "\tFORMAT");
	for (int i = 0; i < 2504; i++)
		at += sprintf(at, "\ts%d", i);
	for (int i = 0; i < 20; i++) {
		at += sprintf(at, "\nc%d\t%d\t.\tA\tC\t.\tPASS\t.\tGT", i * 500, i + 1);
		for (int j = 0; j < 2504; j++)
			at += sprintf(at, "\t%d|%d", (i + j) % 2, (i * j) % 2);
	}
	sprintf(at, "\n");
	put_file("wide.vcf", text);
	free(text);
	for (int i = 0; i < 3; i++) {
		cr_variants_writer_options options = with_tags(in_directory("wide.out"), types[i]);

		options.tag_count = 0;
		check_copy(in_directory("wide.vcf"), &options, 3);
		shell("bcftools view --no-version wide.out | cmp - wide.vcf");
		options.tag_count = 3;
		check_copy(in_directory("wide.vcf"), &options, 3);
		shell("bcftools annotate --no-version -x INFO/X_A,INFO/X_S,INFO/X_B wide.out | cmp "
		      "- "
		      "wide.vcf");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),       cmocka_unit_test(test_levels),
		cmocka_unit_test(test_overwrite),   cmocka_unit_test(test_family),
		cmocka_unit_test(test_lines),       cmocka_unit_test(test_contigs),
		cmocka_unit_test(test_undeclared),  cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_new),         cmocka_unit_test(test_concat),
		cmocka_unit_test(test_index),       cmocka_unit_test(test_bad_index),
		cmocka_unit_test(test_full_device), cmocka_unit_test(test_broken_pipe),
		cmocka_unit_test(test_size_limit),  cmocka_unit_test(test_cut_input),
		cmocka_unit_test(test_wide),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
