/* test_io_journal.c - finished work on disk: what is saved when, what is believed of what is found, and who
 * may write. */
#include "test_io_support.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <openssl/sha.h>

#include "base/digest64.h"
#include "io/journal.h"
#include "io/journal_text.h"

#define UNIT 24
#define NEVER 1e6 /* seconds between saves */

static json_t *binding; /* of all journals but where a test says otherwise */

/* In place of the system's: thousands of saves need not wait for a disk. */
static atomic_int syncs, sync_error;

int fdatasync(int fd)
{
	(void)fd;
	atomic_fetch_add(&syncs, 1);
	errno = sync_error;
	return sync_error ? -1 : 0;
}

static int set_up(void **state)
{
	binding = json_pack("{s:s, s:i, s:f, s:{s:s, s:i}}", "strands", "both", "bin", 128, "max_n", 0.1,
			    "model", "sha256", "abc", "layers", 2);
	return binding ? make_directory(state) : -1;
}

static int tear_down(void **state)
{
	json_decref(binding);
	return remove_directory(state);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)kind;
	return place->level ? remove(path) : 0;
}

static void wipe(void)
{
	assert_int_equal(nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static cr_journal_options options_of(int resume, double interval)
{
	return (cr_journal_options){.directory = in_directory("run"),
				    .binding = binding,
				    .command = "crocuta test",
				    .date = "2026-01-01T00:00:00Z",
				    .unit_bytes = UNIT,
				    .resume = resume,
				    .eager = resume,
				    .interval = interval};
}

static cr_journal *open_with(const cr_journal_options *options)
{
	crocuta_error error = {0};
	cr_journal *journal;

	check_ok(cr_journal_open(options, &journal, &error), &error);
	assert_non_null(journal);
	return journal;
}

static cr_journal *open_journal(int resume, double interval)
{
	const cr_journal_options options = options_of(resume, interval);

	return open_with(&options);
}

static void make_unit(int64_t number, char unit[UNIT])
{
	for (int i = 0; i < UNIT; i++)
		unit[i] = (char)(number * 31 + i * (number + 7));
	memcpy(unit, &number, sizeof number);
}

static cr_journal_mark mark_of(int64_t number)
{
	return (cr_journal_mark){number / 3 + 1, (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15)};
}

static void append(cr_journal *journal, int64_t from, int64_t to)
{
	for (int64_t i = from; i < to; i++) {
		char unit[UNIT];

		make_unit(i, unit);
		cr_journal_append(journal, unit, mark_of(i), 1);
	}
}

/* The first `count` units are those of append(), the mark is that of the last. */
static void check_units(cr_journal *journal, int64_t count)
{
	crocuta_error error = {0};

	assert_int_equal(cr_journal_saved(journal), count);
	assert_int_equal(cr_journal_units(journal), count);
	assert_int_equal(cr_journal_unread(journal), count);
	for (int64_t i = 0; i < count; i++) {
		char unit[UNIT], expected[UNIT];

		make_unit(i, expected);
		check_ok(cr_journal_read(journal, unit, 1, &error), &error);
		assert_memory_equal(unit, expected, UNIT);
	}
	assert_int_equal(cr_journal_unread(journal), 0);
	if (count) {
		assert_int_equal(cr_journal_saved_mark(journal).windows, mark_of(count - 1).windows);
		assert_int_equal(cr_journal_saved_mark(journal).digest, mark_of(count - 1).digest);
	} else {
		assert_int_equal(cr_journal_saved_mark(journal).windows, 0);
	}
}

static void leave(cr_journal *journal, int done)
{
	cr_journal_end(journal, done);
	cr_journal_free(journal);
}

/* A journal of `count` units, a line each, that a process was killed behind. */
static void make_journal(int64_t count)
{
	cr_journal *journal = open_journal(1, 0);

	append(journal, 0, count);
	assert_int_equal(cr_journal_units(journal), count);
	assert_null(cr_journal_trouble(journal));
	leave(journal, 0);
}

typedef struct bytes {
	char *data;
	size_t count;
} bytes;

static bytes keep_file(const char *name)
{
	bytes result;
	const char *data = get_file(in_directory(name), &result.count);

	result.data = malloc(result.count + 1);
	memcpy(result.data, data, result.count + 1);
	return result;
}

static int same_file(const char *name, const bytes *expected)
{
	size_t count;
	const char *data = get_file(in_directory(name), &count);

	return count == expected->count && !memcmp(data, expected->data, count);
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void test_nothing_early(void **state)
{
	cr_journal *journal;

	(void)state;
	wipe();
	journal = open_journal(0, NEVER);
	append(journal, 0, 100);
	assert_int_equal(cr_journal_units(journal), 0);
	assert_false(exists(in_directory("run")));
	assert_int_equal(cr_journal_replaces(journal), 0);
	leave(journal, 0); /* stopped before its first save, and nobody asked for more */
	assert_false(exists(in_directory("run")));
	journal = open_journal(0, NEVER);
	append(journal, 0, 100);
	leave(journal, 1);
	assert_false(exists(in_directory("run")));
	cr_journal_end(NULL, 0);
	cr_journal_end(NULL, 1);
	cr_journal_free(NULL);
}

static void test_eager(void **state)
{
	cr_journal_options options = options_of(0, NEVER);
	cr_journal *journal;

	(void)state;
	wipe();
	options.eager = 1;
	journal = open_with(&options);
	append(journal, 0, 100);
	assert_false(exists(in_directory("run")));
	leave(journal, 0);
	assert_true(exists(in_directory("run/journal")));
	journal = open_journal(1, NEVER);
	check_units(journal, 100);
	leave(journal, 1);
	assert_false(exists(in_directory("run")));
	/* with nothing finished there is nothing to keep */
	journal = open_with(&options);
	leave(journal, 0);
	assert_false(exists(in_directory("run")));
}

static void test_interval(void **state)
{
	cr_journal *journal;

	(void)state;
	wipe();
	journal = open_journal(0, 0.05);
	append(journal, 0, 1);
	assert_int_equal(cr_journal_units(journal), 0);
	usleep(60000);
	append(journal, 1, 2);
	assert_int_equal(cr_journal_units(journal), 2);
	append(journal, 2, 3);
	assert_int_equal(cr_journal_units(journal), 2);
	leave(journal, 0); /* there was a save, so the rest is saved too */
	journal = open_journal(1, NEVER);
	check_units(journal, 3);
	leave(journal, 0);
}

/* A run can begin behind some units only. */
static void test_whole(void **state)
{
	cr_journal *journal;
	char unit[UNIT];

	(void)state;
	wipe();
	journal = open_journal(1, 0);
	for (int64_t i = 0; i < 10; i++) {
		make_unit(i, unit);
		cr_journal_append(journal, unit, mark_of(i), i % 4 == 3);
		assert_int_equal(cr_journal_units(journal), (i + 1) / 4 * 4);
	}
	leave(journal, 0);
	journal = open_journal(1, 0);
	check_units(journal, 8);
	/* none of these is ever whole */
	for (int64_t i = 8; i < 10; i++) {
		make_unit(i, unit);
		cr_journal_append(journal, unit, mark_of(i), 0);
	}
	leave(journal, 0);
	journal = open_journal(1, 0);
	check_units(journal, 8);
	leave(journal, 1);
}

static void test_done_removes_all(void **state)
{
	cr_journal *journal;

	(void)state;
	wipe();
	make_journal(5);
	assert_int_equal(count_files("run"), 1);
	journal = open_journal(1, 0);
	check_units(journal, 5);
	append(journal, 5, 7);
	leave(journal, 1);
	assert_int_equal(count_files("."), 0);
}

/* Units beyond what is held back in memory, and one that is larger than all of that. */
static void test_large_units(void **state)
{
	cr_journal_options options = options_of(1, NEVER);
	const int64_t sizes[] = {700001, 5000000};
	crocuta_error error = {0};

	(void)state;
	for (int s = 0; s < 2; s++) {
		const size_t size = (size_t)sizes[s];
		char *unit = malloc(size), *back = malloc(size);
		cr_journal *journal;

		wipe();
		options.unit_bytes = sizes[s];
		journal = open_with(&options);
		for (int i = 0; i < 9; i++) {
			memset(unit, 'a' + i, size);
			cr_journal_append(journal, unit, mark_of(i), 1);
		}
		assert_int_equal(cr_journal_units(journal), 0);
		leave(journal, 0);
		journal = open_with(&options);
		assert_int_equal(cr_journal_saved(journal), 9);
		for (int i = 0; i < 9; i++) {
			memset(unit, 'a' + i, size);
			check_ok(cr_journal_read(journal, back, 1, &error), &error);
			assert_memory_equal(unit, back, size);
		}
		assert_null(cr_journal_trouble(journal));
		leave(journal, 1);
		assert_false(exists(in_directory("run")));
		free(unit);
		free(back);
	}
	/* not eager: what had to be written before the first save goes away again */
	options.resume = options.eager = 0;
	{
		char *unit = calloc(1, 5000000);
		cr_journal *journal = open_with(&options);

		cr_journal_append(journal, unit, mark_of(0), 1);
		assert_true(exists(in_directory("run")));
		assert_false(exists(in_directory("run/data"))); /* under a name of its own until then */
		leave(journal, 0);
		assert_false(exists(in_directory("run")));
		free(unit);
	}
}

/* ---- going on -------------------------------------------------------------------------------- */

static void test_resume_again_and_again(void **state)
{
	cr_journal_options options = options_of(1, NEVER);
	crocuta_error error = {0};
	cr_journal *journal;
	char units[7 * UNIT], expected[UNIT];

	(void)state;
	wipe();
	for (int64_t run = 0; run < 20; run++) {
		options.command = run ? "crocuta again" : "crocuta first";
		options.date = run ? "later" : "once";
		journal = open_with(&options);
		check_units(journal, 7 * run);
		assert_string_equal(cr_journal_command(journal), "crocuta first");
		assert_string_equal(cr_journal_date(journal), "once");
		assert_string_equal(cr_journal_directory(journal), in_directory("run"));
		for (int64_t i = 0; i < run; i++)
			assert_int_equal(cr_journal_process(journal, i), getpid());
		assert_int_equal(cr_journal_process(journal, run), 0);
		append(journal, 7 * run, 7 * run + 7);
		leave(journal, 0);
	}
	/* several at a time, and not more than there are */
	journal = open_with(&options);
	for (int64_t i = 0; i < 20; i++) {
		check_ok(cr_journal_read(journal, units, 7, &error), &error);
		for (int64_t k = 0; k < 7; k++) {
			make_unit(7 * i + k, expected);
			assert_memory_equal(units + k * UNIT, expected, UNIT);
		}
		assert_int_equal(cr_journal_unread(journal), 7 * (19 - i));
	}
	check_failed(cr_journal_read(journal, units, 1, &error), CROCUTA_EINTERNAL, &error, "no more");
	append(journal, 140, 141);
	check_failed(cr_journal_read(journal, units, 1, &error), CROCUTA_EINTERNAL, &error, "no more");
	leave(journal, 1);
}

static void test_plain_run_replaces(void **state)
{
	cr_journal *journal;
	bytes text, data;

	(void)state;
	wipe();
	make_journal(9);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	journal = open_journal(0, NEVER);
	assert_int_equal(cr_journal_replaces(journal), 1);
	assert_int_equal(cr_journal_saved(journal), 0);
	append(journal, 0, 2);
	leave(journal, 0); /* failed before its first save: the old work is as it was */
	assert_true(same_file("run/journal", &text) && same_file("run/data", &data));
	journal = open_journal(0, 0);
	append(journal, 0, 2);
	leave(journal, 0);
	journal = open_journal(1, 0);
	check_units(journal, 2);
	leave(journal, 0);
	journal = open_journal(0, NEVER);
	append(journal, 0, 1);
	leave(journal, 1); /* done without a save */
	assert_false(exists(in_directory("run")));
	free(text.data);
	free(data.data);
}

/* ---- what is believed ------------------------------------------------------------------------ */

/* Lines of the text that end at or before `end`. */
static int64_t whole_lines(const bytes *text, size_t end)
{
	int64_t lines = 0;

	for (size_t i = 0; i < end && i < text->count; i++)
		lines += text->data[i] == '\n';
	return lines;
}

/* Units behind so many lines of make_journal(): a head, a process, a line a unit. */
static int64_t units_behind(int64_t lines)
{
	return lines > 2 ? lines - 2 : 0;
}

static void put_journal(const bytes *text, size_t text_bytes, const bytes *data, size_t data_bytes)
{
	wipe();
	assert_int_equal(mkdir(in_directory("run"), 0700), 0);
	put_bytes("run/journal", text->data, text_bytes);
	put_bytes("run/data", data->data, data_bytes);
}

/* Whatever was found: the rest is appended, and then all is there. */
static void complete(cr_journal *journal, int64_t from, int64_t to)
{
	append(journal, from, to);
	assert_null(cr_journal_trouble(journal));
	leave(journal, 0);
	journal = open_journal(1, NEVER);
	check_units(journal, to);
	leave(journal, 0);
}

static void test_text_cut_at_every_byte(void **state)
{
	bytes text, data;

	(void)state;
	wipe();
	make_journal(6);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	assert_int_equal(whole_lines(&text, text.count), 8);
	for (size_t cut = 0; cut <= text.count; cut++) {
		const int64_t expected = units_behind(whole_lines(&text, cut));
		cr_journal *journal;

		put_journal(&text, cut, &data, data.count);
		journal = open_journal(1, NEVER);
		check_units(journal, expected);
		complete(journal, expected, 6);
	}
	free(text.data);
	free(data.data);
}

static void test_data_cut_at_every_byte(void **state)
{
	bytes text, data;

	(void)state;
	wipe();
	make_journal(6);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	assert_int_equal(data.count, 6 * UNIT);
	for (size_t cut = 0; cut <= data.count; cut++) {
		cr_journal *journal;

		put_journal(&text, text.count, &data, cut);
		journal = open_journal(1, NEVER);
		check_units(journal, (int64_t)cut / UNIT);
		complete(journal, (int64_t)cut / UNIT, 6);
	}
	/* no data at all, and more than the lines say */
	put_journal(&text, text.count, &data, data.count);
	assert_int_equal(unlink(in_directory("run/data")), 0);
	complete(open_journal(1, NEVER), 0, 6);
	put_journal(&text, text.count, &data, data.count);
	{
		FILE *file = fopen(in_directory("run/data"), "ab");

		fputs("torn", file);
		fclose(file);
	}
	complete(open_journal(1, NEVER), 6, 9);
	free(text.data);
	free(data.data);
}

/* One byte of a line is another: that line and all behind it are not believed; nor is its head. */
static void test_text_changed_at_every_byte(void **state)
{
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	for (size_t i = 0; i < text.count; i++) {
		static const char how[] = {1, 4, 32};

		for (size_t k = 0; k < sizeof how; k++) {
			const char was = text.data[i];
			cr_journal *journal;

			/* another '\n' in or at a line's end is a change as well */
			text.data[i] = (char)(was ^ how[k]);
			put_journal(&text, text.count, &data, data.count);
			text.data[i] = was;
			journal = open_journal(1, NEVER);
			check_units(journal, units_behind(whole_lines(&text, i)));
			complete(journal, units_behind(whole_lines(&text, i)), 5);
		}
	}
	free(text.data);
	free(data.data);
}

static void test_data_changed_at_every_byte(void **state)
{
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	for (size_t i = 0; i < data.count; i++) {
		cr_journal *journal;

		data.data[i] ^= 16;
		put_journal(&text, text.count, &data, data.count);
		data.data[i] ^= 16;
		journal = open_journal(1, NEVER);
		check_units(journal, (int64_t)i / UNIT);
		complete(journal, (int64_t)i / UNIT, 5);
	}
	free(text.data);
	free(data.data);
}

/* Lines of a text in an order of our own; -1 ends it. */
static void put_lines(const bytes *text, const int *order, const bytes *data)
{
	bytes made = {malloc(16 * text->count), 0};

	for (; *order >= 0; order++) {
		const char *line = text->data;
		size_t length;

		for (int i = 0; i < *order; i++)
			line = strchr(line, '\n') + 1;
		length = (size_t)(strchr(line, '\n') + 1 - line);
		memcpy(made.data + made.count, line, length);
		made.count += length;
	}
	put_journal(&made, made.count, data, data->count);
	free(made.data);
}

static void test_lines_moved(void **state)
{
	static const struct {
		int order[12];
		int64_t units;
	} cases[] = {
		{{0, 1, 2, 3, 4, 5, 6, -1}, 5}, {{0, 1, 3, 2, 4, 5, 6, -1}, 0},
		{{0, 1, 2, 4, 5, 6, -1}, 1},	{{0, 1, 2, 2, 3, 4, 5, 6, -1}, 1},
		{{0, 1, 2, 3, 6, -1}, 2},	{{0, 1, 1, 2, 3, -1}, 0},
		{{0, 2, 3, 4, -1}, 0},		{{1, 2, 3, 4, -1}, 0},
		{{0, 0, 1, 2, 3, -1}, 0},	{{0, 1, 2, 0, 1, 2, 3, -1}, 1},
		{{0, -1}, 0},
	};
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		cr_journal *journal;

		put_lines(&text, cases[i].order, &data);
		journal = open_journal(1, NEVER);
		check_units(journal, cases[i].units);
		complete(journal, cases[i].units, 6);
	}
	free(text.data);
	free(data.data);
}

/* What is there is no journal: a run that is asked to go on begins anew. */
static void test_no_journal(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} cases[] = {
		{"", 0},
		{"\n", 1},
		{"\0", 1},
		{"hello\n", 6},
		{"crocuta-journal 1 {} #0123456789abcdef\n", 39},
		{"crocuta-journal 1 {}", 20},
		{"U 1 24 x\n", 9},
	};
	const bytes no_data = {(char *)(uintptr_t) "", 0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const bytes text = {(char *)(uintptr_t)cases[i].text, cases[i].count};

		put_journal(&text, text.count, &no_data, 0);
		complete(open_journal(1, NEVER), 0, 3);
	}
}

static char *seal_lines(const char *const *lines);

/* A journal of a version to come is not ours to cut; one of no version is nobody's. */
static void test_other_version(void **state)
{
	const cr_journal_options options = options_of(1, 0);
	const char *const lines[] = {"crocuta-journal 2 {\"binding\":{},\"unit\":24}", "P 5", NULL};
	const char *const unversioned[] = {"crocuta-journey 1 {}", NULL};
	crocuta_error error = {0};
	cr_journal *journal;
	bytes text = {seal_lines(lines), 0};

	(void)state;
	text.count = strlen(text.data);
	put_journal(&text, text.count, &text, 3);
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EREFUSED, &error,
		     "another version of crocuta");
	assert_null(journal);
	assert_true(same_file("run/journal", &text));
	free(text.data);
	text.data = seal_lines(unversioned);
	text.count = strlen(text.data);
	put_journal(&text, text.count, &text, 3);
	complete(open_journal(1, NEVER), 0, 3);
	free(text.data);
}

/* ---- lines with good seals ------------------------------------------------------------------- */

/* A text of lines, each sealed. */
static char *seal_lines(const char *const *lines)
{
	char *text = calloc(1, 1 << 16), seal[CR_JOURNAL_SEAL] = "";

	for (; *lines; lines++) {
		cr_journal_seal(*lines, seal);
		sprintf(text + strlen(text), "%s #%s\n", *lines, seal);
	}
	return text;
}

#define HEAD "crocuta-journal 1 {\"binding\":{},\"unit\":24}"
#define DATA "00112233aabbccdd"

static void test_lines(void **state)
{
	static const struct {
		const char *line;
		int good; /* behind HEAD, "P 5" and "U 2 48 DATA 7 DIGEST" */
	} cases[] = {
		{"U 3 72 " DATA " 7 0000000000000000", 1},
		{"U 4 96 " DATA " 8 ffffffffffffffff", 1},
		{"U 384307168202282325 9223372036854775800 " DATA " 8 ffffffffffffffff", 0}, /* beyond 2^62 */
		{"U 192153584101141162 4611686018427387888 " DATA " 8 ffffffffffffffff", 1},
		{"U 2 48 " DATA " 7 0000000000000000", 0}, /* no unit more */
		{"U 1 24 " DATA " 7 0000000000000000", 0},
		{"U 0 0 " DATA " 7 0000000000000000", 0},
		{"U -3 72 " DATA " 7 0000000000000000", 0},
		{"U 3 -72 " DATA " 7 0000000000000000", 0},
		{"U +3 72 " DATA " 7 0000000000000000", 0},
		{"U 3 73 " DATA " 7 0000000000000000", 0},
		{"U 3 72 " DATA " 6 0000000000000000", 0}, /* back in the input */
		{"U 3 72 " DATA " -1 0000000000000000", 0},
		{"U 3 72 " DATA " 7 000000000000000", 0},
		{"U 3 72 " DATA " 7 00000000000000000", 0},
		{"U 3 72 " DATA " 7 000000000000000G", 0},
		{"U 3 72 " DATA "0 7 0000000000000000", 0},
		{"U 3 72 0 7 0000000000000000", 0},
		{"U 3 72 " DATA " 7", 0},
		{"U 3 72 " DATA " 7 0000000000000000 1", 0},
		{"U 99999999999999999999 2400 " DATA " 7 0000000000000000", 0},
		{"U 768614336404564651 8 " DATA " 7 0000000000000000", 0}, /* product wraps */
		{"V 3 72 " DATA " 7 0000000000000000", 0},
		{"", 0},
		{" ", 0},
		{"P 6", 1},
		{"P 0", 0},
		{"P -6", 0},
		{"P 6 7", 0},
		{"P ", 0},
		{"P 99999999999", 0},
		{HEAD, 0},
	};
	crocuta_error error = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *const lines[] = {HEAD, "P 5", "U 2 48 " DATA " 7 0123456789abcdef",
					     cases[i].line, "P 9", NULL};
		char *text = seal_lines(lines);
		cr_journal_text parsed;

		check_ok(cr_journal_parse(text, (int64_t)strlen(text), UNIT, &parsed, &error), &error);
		assert_non_null(parsed.head);
		if (parsed.process_count !=
		    1 + cases[i].good + (cases[i].good && *cases[i].line == 'P'))
			fail_msg("\"%s\" gave %d processes", cases[i].line, (int)parsed.process_count);
		assert_int_equal(parsed.count, 2 + (cases[i].good && *cases[i].line == 'U'));
		assert_int_equal(parsed.blocks[0].units, 0);
		assert_int_equal(parsed.blocks[1].units, 2);
		assert_int_equal(parsed.blocks[1].bytes, 48);
		assert_int_equal(parsed.blocks[1].mark.windows, 7);
		assert_true(parsed.blocks[1].mark.digest == UINT64_C(0x0123456789abcdef));
		if (cases[i].good)
			assert_int_equal(parsed.blocks[parsed.count - 1].text, strlen(text));
		cr_journal_text_free(&parsed);
		free(text);
	}
}

static void test_heads(void **state)
{
	static const struct {
		const char *line;
		int good;
	} cases[] = {
		{HEAD, 1},
		{"crocuta-journal 1 {}", 1},
		{"crocuta-journal 1 []", 0},
		{"crocuta-journal 1 {\"a\":1,\"a\":2}", 0},
		{"crocuta-journal 1 {", 0},
		{"crocuta-journal 1 ", 0},
		{"crocuta-journal 2 {}", 0},
		{"crocuta-journal 1 {} {}", 0},
		{"P 5", 0},
	};
	crocuta_error error = {0};
	cr_journal_text parsed;
	char *deep;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *const lines[] = {cases[i].line, "P 5", NULL};
		char *text = seal_lines(lines);

		check_ok(cr_journal_parse(text, (int64_t)strlen(text), UNIT, &parsed, &error), &error);
		assert_int_equal(parsed.head != NULL, cases[i].good);
		assert_int_equal(parsed.process_count, cases[i].good);
		cr_journal_text_free(&parsed);
		free(text);
	}
	/* a megabyte of '[' is refused, not followed */
	deep = malloc(1 << 20);
	memset(deep, '[', 1 << 20);
	memcpy(deep, "crocuta-journal 1 ", 18);
	{
		char seal[CR_JOURNAL_SEAL] = "";

		deep[(1 << 20) - 19] = '\0';
		cr_journal_seal(deep, seal);
		sprintf(deep + (1 << 20) - 19, " #%s", seal);
		deep[(1 << 20) - 1] = '\n';
	}
	check_ok(cr_journal_parse(deep, 1 << 20, UNIT, &parsed, &error), &error);
	assert_null(parsed.head);
	cr_journal_text_free(&parsed);
	free(deep);
}

/* The seal is what the format says: hex of the first 8 bytes of SHA-256 of the seal before and the line. */
static void test_seal(void **state)
{
	char seal[CR_JOURNAL_SEAL] = "", text[100], expected[CR_JOURNAL_SEAL];
	unsigned char digest[SHA256_DIGEST_LENGTH];

	(void)state;
	for (int round = 0; round < 3; round++) {
		snprintf(text, sizeof text, "%sP %d", seal, round);
		SHA256((const unsigned char *)text, strlen(text), digest);
		for (int i = 0; i < 8; i++)
			snprintf(expected + 2 * i, 3, "%02x", digest[i]);
		cr_journal_seal(strchr(text, 'P'), seal);
		assert_string_equal(seal, expected);
	}
}

/* Every line of a journal on disk is sealed so, and speaks of the units up to there. */
static void test_format_on_disk(void **state)
{
	char seal[CR_JOURNAL_SEAL] = "", *line, *rest = NULL, unit[UNIT];
	bytes text;
	int number = 0;

	(void)state;
	wipe();
	make_journal(3);
	text = keep_file("run/journal");
	for (line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *mark = strstr(line, " #"), expected[300];

		assert_non_null(mark);
		*mark = '\0';
		cr_journal_seal(line, seal);
		assert_string_equal(mark + 2, seal);
		if (number == 0)
			assert_int_equal(strncmp(line, "crocuta-journal 1 {", 19), 0);
		if (number == 1) {
			snprintf(expected, sizeof expected, "P %ld", (long)getpid());
			assert_string_equal(line, expected);
		}
		if (number > 1) {
			make_unit(number - 2, unit);
			snprintf(expected, sizeof expected, "U %d %d %016llx %lld %016llx", number - 1,
				 (number - 1) * UNIT,
				 (unsigned long long)cr_digest64_bulk(CR_DIGEST64, unit, UNIT),
				 (long long)mark_of(number - 2).windows,
				 (unsigned long long)mark_of(number - 2).digest);
			assert_string_equal(line, expected);
		}
		number++;
	}
	assert_int_equal(number, 5);
	free(text.data);
}

/* Any change of up to two bytes of a unit gives another digest; lengths around a word. */
static void test_digest(void **state)
{
	enum { LONGEST = 19 };
	unsigned char unit[LONGEST];

	(void)state;
	for (int length = 1; length <= LONGEST; length++) {
		uint64_t plain;

		for (int i = 0; i < length; i++)
			unit[i] = (unsigned char)(i * 37);
		plain = cr_digest64_bulk(CR_DIGEST64, unit, (size_t)length);
		assert_true(plain != cr_digest64_bulk(CR_DIGEST64, unit, (size_t)length - 1));
		for (int bit = 0; bit < 8 * length; bit++)
			for (int other = bit; other < 8 * length; other++) {
				unit[bit / 8] ^= (unsigned char)(1 << bit % 8);
				if (other > bit)
					unit[other / 8] ^= (unsigned char)(1 << other % 8);
				assert_true(plain !=
					    cr_digest64_bulk(CR_DIGEST64, unit, (size_t)length));
				unit[bit / 8] ^= (unsigned char)(1 << bit % 8);
				if (other > bit)
					unit[other / 8] ^= (unsigned char)(1 << other % 8);
			}
	}
}

/* ---- another run's work ---------------------------------------------------------------------- */

static void test_bindings(void **state)
{
	static const struct {
		const char *other, *text;
	} cases[] = {
		{"{\"strands\":\"forward\",\"bin\":128,\"max_n\":0.1,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "strands was \"both\" and is \"forward\""},
		{"{\"strands\":\"both\",\"bin\":129,\"max_n\":0.1,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "bin was 128 and is 129"},
		{"{\"strands\":\"both\",\"bin\":\"128\",\"max_n\":0.1,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "bin was 128 and is \"128\""},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.25,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "max_n was 0.1 and is 0.25"},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.1,"
		 "\"model\":{\"sha256\":\"abd\",\"layers\":2}}",
		 "model.sha256 was \"abc\" and is \"abd\""},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.1,\"model\":{\"sha256\":\"abc\"}}",
		 "model.layers was 2 and is not given"},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.1,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2,\"name\":\"x\"}}",
		 "model.name was not given and is \"x\""},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.1,\"model\":\"abc\"}",
		 "model was {\"sha256\":\"abc\",\"layers\":2} and is \"abc\""},
		{"{\"bin\":128,\"max_n\":0.1,\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "strands was \"both\" and is not given"},
		{"{\"strands\":\"both\",\"bin\":128,\"max_n\":0.1,\"track\":null,"
		 "\"model\":{\"sha256\":\"abc\",\"layers\":2}}",
		 "track was not given and is null"},
		{"{}", "strands was"},
	};
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		cr_journal_options options = options_of(1, 0);
		crocuta_error error = {0};
		cr_journal *journal;
		json_t *other = json_loads(cases[i].other, 0, NULL);

		assert_non_null(other);
		options.binding = other;
		check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EREFUSED, &error,
			     cases[i].text);
		assert_null(journal);
		assert_true(same_file("run/journal", &text) && same_file("run/data", &data));
		json_decref(other);
	}
	/* the order of keys is nobody's business, nor are command and date */
	{
		cr_journal_options options = options_of(1, 0);
		json_t *other = json_loads("{\"model\":{\"layers\":2,\"sha256\":\"abc\"},\"max_n\":0.1,"
					   "\"bin\":128,\"strands\":\"both\"}",
					   0, NULL);
		cr_journal *journal;

		options.binding = other;
		options.command = "another";
		options.date = "another";
		journal = open_with(&options);
		check_units(journal, 5);
		leave(journal, 0);
		json_decref(other);
	}
	free(text.data);
	free(data.data);
}

static void test_long_differences(void **state)
{
	cr_journal_options options = options_of(1, 0);
	char *long_text = malloc(100001);
	crocuta_error error = {0};
	cr_journal *journal;
	json_t *one, *other;

	(void)state;
	wipe();
	memset(long_text, 'k', 100000);
	long_text[100000] = '\0';
	one = json_pack("{s:s, s:{s:i}}", "regions", long_text, long_text, long_text, 1);
	long_text[0] = 'j';
	other = json_pack("{s:s, s:{s:i}}", "regions", long_text, long_text, long_text, 1);
	options.binding = one;
	journal = open_with(&options);
	append(journal, 0, 2);
	leave(journal, 0);
	journal = open_with(&options);
	check_units(journal, 2);
	leave(journal, 0);
	options.binding = other;
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EREFUSED, &error,
		     "regions was \"kkk");
	json_decref(one);
	json_decref(other);
	free(long_text);
}

static void test_unit_size(void **state)
{
	cr_journal_options options = options_of(1, 0);
	crocuta_error error = {0};
	cr_journal *journal;
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	text = keep_file("run/journal");
	data = keep_file("run/data");
	for (int64_t size = UNIT / 2; size <= UNIT * 2; size += UNIT / 2) {
		if (size == UNIT)
			continue;
		options.unit_bytes = size;
		check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EREFUSED, &error,
			     "another version");
		assert_true(same_file("run/journal", &text) && same_file("run/data", &data));
	}
	free(text.data);
	free(data.data);
}

/* ---- two runs -------------------------------------------------------------------------------- */

/* Another process that has the journal of make_journal() until it is released. */
typedef struct other {
	pid_t pid;
	int go;
} other;

static other start_other(void)
{
	other child;
	int ready[2], go[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (!child.pid) {
		cr_journal_options options = options_of(1, 0);
		cr_journal *journal;

		close(go[1]);
		if (cr_journal_open(&options, &journal, NULL))
			_exit(1);
		append(journal, cr_journal_saved(journal), 7);
		if (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 0)
			_exit(2);
		append(journal, 7, 9);
		_exit(cr_journal_trouble(journal) != NULL); /* as if killed */
	}
	close(ready[1]);
	close(go[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	child.go = go[1];
	return child;
}

static void release(const other *child)
{
	int status = -1;

	close(child->go);
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_in_use(void **state)
{
	cr_journal_options options = options_of(1, 0);
	crocuta_error error = {0};
	cr_journal *journal;
	other child;
	bytes text, data;

	(void)state;
	wipe();
	make_journal(5);
	child = start_other();
	text = keep_file("run/journal");
	data = keep_file("run/data");
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EREFUSED, &error,
		     "in use by another run");
	assert_null(journal);
	/* a plain run goes on without one, and leaves the other's alone */
	for (int done = 0; done < 2; done++) {
		journal = open_journal(0, 0);
		append(journal, 0, 3);
		assert_non_null(cr_journal_trouble(journal));
		assert_non_null(strstr(cr_journal_trouble(journal), "another run keeps its work there"));
		assert_int_equal(cr_journal_units(journal), 0);
		leave(journal, done);
		journal = open_journal(0, NEVER);
		leave(journal, done);
		assert_true(same_file("run/journal", &text) && same_file("run/data", &data));
	}
	release(&child);
	journal = open_journal(1, 0);
	check_units(journal, 9);
	assert_int_equal(cr_journal_process(journal, 0), getpid());
	assert_int_equal(cr_journal_process(journal, 1), child.pid);
	leave(journal, 1);
	assert_false(exists(in_directory("run")));
	free(text.data);
	free(data.data);
}

/* It was begun after this run had looked and found nothing. */
static void test_in_use_since(void **state)
{
	cr_journal *journal;
	other child;

	(void)state;
	wipe();
	for (int done = 0; done < 2; done++) {
		journal = open_journal(0, 0);
		child = start_other();
		append(journal, 0, 3);
		assert_non_null(strstr(cr_journal_trouble(journal), "another run keeps its work there"));
		leave(journal, done);
		release(&child);
		journal = open_journal(1, 0);
		check_units(journal, 9);
		leave(journal, 1);
	}
	assert_false(exists(in_directory("run")));
}

/* Killed with data on disk and no line about them yet: the next run that ends well leaves nothing of it. */
static void test_killed_before_its_first_line(void **state)
{
	cr_journal_options options = options_of(0, NEVER);
	int status = -1;
	pid_t child;

	(void)state;
	options.unit_bytes = 5000000;
	for (int resume = 0; resume < 2; resume++) {
		cr_journal *journal;

		wipe();
		child = fork();
		assert_true(child >= 0);
		if (!child) {
			char *unit = calloc(1, 5000000);

			if (cr_journal_open(&options, &journal, NULL))
				_exit(1);
			cr_journal_append(journal, unit, mark_of(0), 1);
			_exit(access(in_directory("run"), F_OK)); /* as if killed */
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
		assert_true(exists(in_directory("run")));
		journal = open_journal(resume, 0);
		append(journal, 0, 3);
		leave(journal, 1);
		assert_false(exists(in_directory("run")));
	}
}

/* ---- threads --------------------------------------------------------------------------------- */

#define THREADS 7
#define EACH 400

typedef struct job {
	cr_journal *journal;
	int number;
} job;

static void *append_many(void *user)
{
	const job *mine = user;

	for (int i = 0; i < EACH; i++) {
		char unit[UNIT];

		make_unit(mine->number * EACH + i, unit);
		cr_journal_append(mine->journal, unit, (cr_journal_mark){0}, 1);
	}
	return NULL;
}

/* All units once, those of a thread in its order. */
static void test_threads(void **state)
{
	crocuta_error error = {0};

	(void)state;
	for (int round = 0; round < 3; round++) {
		static const double intervals[] = {0.001, NEVER, 0.01};
		pthread_t threads[THREADS];
		job jobs[THREADS];
		int next[THREADS] = {0};
		cr_journal *journal;

		wipe();
		journal = open_journal(1, intervals[round]);
		for (int i = 0; i < THREADS; i++) {
			jobs[i] = (job){journal, i};
			assert_int_equal(pthread_create(&threads[i], NULL, append_many, &jobs[i]), 0);
		}
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		leave(journal, 0);
		journal = open_journal(1, 0);
		assert_int_equal(cr_journal_saved(journal), THREADS * EACH);
		for (int i = 0; i < THREADS * EACH; i++) {
			char unit[UNIT], expected[UNIT];
			int64_t number;

			check_ok(cr_journal_read(journal, unit, 1, &error), &error);
			memcpy(&number, unit, sizeof number);
			assert_in_range(number, 0, THREADS * EACH - 1);
			make_unit(number, expected);
			assert_memory_equal(unit, expected, UNIT);
			assert_int_equal(number % EACH, next[number / EACH]++);
		}
		leave(journal, 1);
	}
}

/* ---- disks that do not take it --------------------------------------------------------------- */

/* No file of ours may be longer than that. */
static struct rlimit limit_files(rlim_t most)
{
	struct rlimit old, limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	return old;
}

/* The file of lines or the file of data is full at any place: what was saved before is there later. */
static void test_full_disk(void **state)
{
	(void)state;
	for (rlim_t most = 0; most < 2600; most += 29) {
		struct rlimit old;
		cr_journal *journal;
		int64_t saved;

		wipe();
		journal = open_journal(0, 0);
		old = limit_files(most);
		append(journal, 0, 100);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		saved = cr_journal_units(journal);
		assert_true(saved < 100);
		assert_non_null(cr_journal_trouble(journal));
		assert_non_null(strstr(cr_journal_trouble(journal), "File too large"));
		append(journal, 100, 110); /* given up for good */
		assert_int_equal(cr_journal_units(journal), saved);
		leave(journal, 0);
		if (!saved)
			assert_false(exists(in_directory("run")));
		journal = open_journal(1, 0);
		check_units(journal, saved);
		complete(journal, saved, 110);
		/* the run that ends well removes a journal that was given up */
		wipe();
		journal = open_journal(0, 0);
		old = limit_files(most);
		append(journal, 0, 100);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		leave(journal, 1);
		assert_false(exists(in_directory("run")));
	}
}

/* A save is two syncs, and one that fails is not tried again. */
static void test_failed_sync(void **state)
{
	cr_journal *journal;
	int before;

	(void)state;
	wipe();
	journal = open_journal(1, 0);
	before = syncs;
	append(journal, 0, 5);
	assert_int_equal(syncs - before, 10);
	before = syncs;
	sync_error = EIO;
	append(journal, 5, 9);
	sync_error = 0;
	append(journal, 9, 12);
	leave(journal, 0);
	assert_int_equal(syncs - before, 1);
	journal = open_journal(1, 0);
	check_units(journal, 5);
	leave(journal, 1);
}

/* A journal that was asked for and cannot be begun or gone on with is an error, and leaves no files. */
static void test_asked_for_and_full(void **state)
{
	cr_journal_options options = options_of(1, 0);
	crocuta_error error = {0};
	cr_journal *journal;
	struct rlimit old;
	bytes text;
	int code;

	(void)state;
	wipe();
	old = limit_files(10);
	code = cr_journal_open(&options, &journal, &error);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_failed(code, CROCUTA_EIO, &error, "File too large");
	assert_null(journal);
	assert_false(exists(in_directory("run")));
	make_journal(5);
	text = keep_file("run/journal");
	old = limit_files(text.count);
	code = cr_journal_open(&options, &journal, &error);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_failed(code, CROCUTA_EIO, &error, "run");
	journal = open_journal(1, 0); /* what was there is not lost */
	check_units(journal, 5);
	leave(journal, 1);
	free(text.data);
}

static void test_no_place(void **state)
{
	cr_journal_options options = options_of(1, 0);
	crocuta_error error = {0};
	cr_journal *journal;

	(void)state;
	wipe();
	put_file("run", "a file of that name");
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EIO, &error,
		     "Not a directory");
	journal = open_journal(0, 0);
	append(journal, 0, 3);
	assert_non_null(strstr(cr_journal_trouble(journal), "Not a directory"));
	leave(journal, 1);
	assert_string_equal(get_file(in_directory("run"), NULL), "a file of that name");
	wipe();
	assert_int_equal(mkdir(in_directory("run"), 0700), 0);
	assert_int_equal(mkdir(in_directory("run/journal"), 0700), 0);
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EIO, &error,
		     "Is a directory");
	wipe();
	options.directory = in_directory("no/such/run");
	check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EIO, &error, "No such file");
	options.resume = 0;
	journal = open_with(&options);
	append(journal, 0, 3);
	assert_non_null(strstr(cr_journal_trouble(journal), "No such file"));
	leave(journal, 1);
	if (geteuid()) {
		assert_int_equal(mkdir(in_directory("locked"), 0500), 0);
		options.directory = in_directory("locked/run");
		journal = open_with(&options);
		append(journal, 0, 3);
		assert_non_null(strstr(cr_journal_trouble(journal), "Permission denied"));
		leave(journal, 1);
		options.resume = 1;
		check_failed(cr_journal_open(&options, &journal, &error), CROCUTA_EIO, &error,
			     "Permission denied");
	}
}

/* Files that are not the journal's stay. */
static void test_guests(void **state)
{
	cr_journal *journal;

	(void)state;
	wipe();
	make_journal(3);
	put_file("run/notes", "mine");
	journal = open_journal(1, 0);
	check_units(journal, 3);
	leave(journal, 1);
	assert_string_equal(get_file(in_directory("run/notes"), NULL), "mine");
	assert_false(exists(in_directory("run/journal")));
	assert_false(exists(in_directory("run/data")));
}

/* A command line is bytes: paths need not be UTF-8. */
static void test_command_of_any_bytes(void **state)
{
	cr_journal_options options = options_of(1, 0);
	cr_journal *journal;

	(void)state;
	wipe();
	options.command = "crocuta embed \"a\xff\x80\xc3.fa\" 'b\n\t\\'";
	journal = open_with(&options);
	append(journal, 0, 3);
	assert_null(cr_journal_trouble(journal));
	leave(journal, 0);
	journal = open_with(&options);
	check_units(journal, 3);
	assert_int_equal(strncmp(cr_journal_command(journal), "crocuta embed \"a", 16), 0);
	leave(journal, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_early),
		cmocka_unit_test(test_eager),
		cmocka_unit_test(test_interval),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_done_removes_all),
		cmocka_unit_test(test_large_units),
		cmocka_unit_test(test_resume_again_and_again),
		cmocka_unit_test(test_plain_run_replaces),
		cmocka_unit_test(test_text_cut_at_every_byte),
		cmocka_unit_test(test_data_cut_at_every_byte),
		cmocka_unit_test(test_text_changed_at_every_byte),
		cmocka_unit_test(test_data_changed_at_every_byte),
		cmocka_unit_test(test_lines_moved),
		cmocka_unit_test(test_no_journal),
		cmocka_unit_test(test_other_version),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_seal),
		cmocka_unit_test(test_format_on_disk),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_bindings),
		cmocka_unit_test(test_long_differences),
		cmocka_unit_test(test_unit_size),
		cmocka_unit_test(test_in_use),
		cmocka_unit_test(test_in_use_since),
		cmocka_unit_test(test_killed_before_its_first_line),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_failed_sync),
		cmocka_unit_test(test_asked_for_and_full),
		cmocka_unit_test(test_no_place),
		cmocka_unit_test(test_guests),
		cmocka_unit_test(test_command_of_any_bytes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
