/* test_io_outputs.c - files that appear whole or not at all. */
#include "test_io_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <htslib/bgzf.h>

#include "io/atomic.h"

static cr_output *open_good(const char *path, const cr_output_options *options)
{
	crocuta_error error = {0};
	cr_output *output;

	check_ok(cr_output_open(path, options, &output, &error), &error);
	return output;
}

static void test_commit(void **state)
{
	const char *path = in_directory("a.txt");
	crocuta_error error = {0};
	cr_output *output;
	char *large = malloc(1 << 20);

	(void)state;
	put_file("a.txt", "old");
	output = open_good(path, NULL);
	assert_int_equal(count_files("^.a.txt.crocuta-[0-9]*.part$"), 1);
	check_ok(cr_output_text(output, "ne", &error), &error);
	check_ok(cr_output_write(output, "w", 1, &error), &error);
	assert_string_equal(get_file(path, NULL), "old"); /* until the rename */
	check_ok(cr_output_commit(output, &error), &error);
	check_ok(cr_output_commit(output, &error), &error); /* again: nothing */
	cr_output_free(output);
	assert_string_equal(get_file(path, NULL), "new");
	assert_int_equal(count_files("part"), 0);
	output = open_good(path, NULL);
	check_ok(cr_output_text(output, "gone", &error), &error);
	cr_output_free(output); /* not committed */
	assert_string_equal(get_file(path, NULL), "new");
	assert_int_equal(count_files("part"), 0);
	memset(large, 'x', 1 << 20);
	output = open_good(path, NULL);
	check_ok(cr_output_text(output, "begin", &error), &error);
	check_ok(cr_output_write(output, large, 1 << 20, &error), &error);
	assert_true(cr_output_seekable(output));
	check_ok(cr_output_patch(output, 1, "EG", 2, &error), &error);
	check_ok(cr_output_text(output, "end", &error), &error);
	assert_int_equal(cr_output_bytes(output), 5 + (1 << 20) + 3);
	check_ok(cr_output_commit(output, &error), &error);
	cr_output_free(output);
	output = NULL;
	cr_output_free(output);
	assert_memory_equal(get_file(path, NULL), "bEGinxx", 7);
	free(large);
}

static void test_refusals(void **state)
{
	const char *inputs[] = {NULL, NULL};
	cr_output_options options = {.inputs = inputs};
	crocuta_error error = {0};
	cr_output *output, *other;
	const char *path = put_file("in.fa", ">a\nA\n");

	(void)state;
	inputs[0] = path;
	assert_int_equal(symlink(path, in_directory("link.fa")), 0);
	check_failed(cr_output_open(in_directory("link.fa"), &options, &output, &error),
		     CROCUTA_EARG, &error, "are the same file");
	assert_null(output);
	check_failed(cr_output_preflight(path, &options, &error), CROCUTA_EARG, &error,
		     "same file");
	options = (cr_output_options){.no_clobber = 1};
	check_failed(cr_output_open(path, &options, &output, &error), CROCUTA_EREFUSED, &error,
		     "exists, and --no-clobber");
	check_failed(cr_output_open(directory, NULL, &output, &error), CROCUTA_EIO, &error,
		     "Is a directory");
	check_failed(cr_output_open(in_directory("no/such/x"), NULL, &output, &error), CROCUTA_EIO,
		     &error, "No such file");
	check_failed(cr_output_open("", NULL, &output, &error), CROCUTA_EIO, &error,
		     "cannot write");
	check_failed(cr_output_open("s3://x/y", NULL, &output, &error), CROCUTA_EARG, &error,
		     "URL");
	options = (cr_output_options){.bytes_needed = (int64_t)1 << 61};
	check_failed(cr_output_preflight(in_directory("x"), &options, &error), CROCUTA_EIO, &error,
		     "needs 2305843009213693952 bytes, the file system has ");
	options.no_space_check = 1;
	check_ok(cr_output_preflight(in_directory("x"), &options, &error), &error);
	options = (cr_output_options){.external = 1};
	check_failed(cr_output_open("-", &options, &output, &error), CROCUTA_EARG, &error,
		     "regular files only");
	other = open_good(in_directory("twice"), NULL);
	check_failed(cr_output_open(in_directory("twice"), NULL, &output, &error), CROCUTA_EARG,
		     &error, "twice");
	cr_output_free(other);
	assert_int_equal(count_files("part"), 0);
	assert_false(exists(in_directory("x")));
	if (geteuid()) {
		assert_int_equal(mkdir(in_directory("locked"), 0500), 0);
		check_failed(cr_output_preflight(in_directory("locked/x"), NULL, &error),
			     CROCUTA_EIO, &error, "Permission denied");
	}
}

static void test_late_refusal(void **state)
{
	cr_output_options options = {.no_clobber = 1};
	crocuta_error error = {0};
	cr_output *output;

	(void)state;
	output = open_good(in_directory("late"), &options);
	put_file("late", "other");
	check_failed(cr_output_commit(output, &error), CROCUTA_EREFUSED, &error,
		     "appeared meanwhile");
	cr_output_free(output);
	assert_string_equal(get_file(in_directory("late"), NULL), "other");
	assert_int_equal(count_files("part"), 0);
}

static void test_symlink_target(void **state)
{
	crocuta_error error = {0};
	cr_output *output;
	struct stat link;

	(void)state;
	put_file("real.txt", "old");
	assert_int_equal(symlink("real.txt", in_directory("alias.txt")), 0);
	output = open_good(in_directory("alias.txt"), NULL);
	check_ok(cr_output_text(output, "new", &error), &error);
	check_ok(cr_output_commit(output, &error), &error);
	cr_output_free(output);
	assert_int_equal(lstat(in_directory("alias.txt"), &link), 0);
	assert_true(S_ISLNK(link.st_mode));
	assert_string_equal(get_file(in_directory("real.txt"), NULL), "new");
}

static void test_full_device(void **state)
{
	crocuta_error error = {0};
	char *large = calloc(1, 1 << 20);
	cr_output *output;
	int code;

	(void)state;
	for (int64_t bytes = 1; bytes <= 1 << 20; bytes <<= 10) { /* small outputs too */
		output = open_good("/dev/full", NULL);
		assert_null(cr_output_part_path(output));
		assert_false(cr_output_seekable(output));
		code = cr_output_write(output, large, bytes, &error);
		if (!code)
			code = cr_output_commit(output, &error);
		assert_int_equal(error.os_errno, ENOSPC);
		check_failed(code, CROCUTA_EIO, &error, "/dev/full: write failed after 0 bytes");
		cr_output_free(output);
	}
	free(large);
}

/* EFBIG stands for every write that fails late: nothing stays. */
static void test_size_limit(void **state)
{
	struct rlimit old, limit;
	crocuta_error error = {0};
	char *large = calloc(1, 1 << 20);
	cr_output *output;
	int code = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	put_file("limited", "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 3 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	output = open_good(in_directory("limited"), NULL);
	for (int i = 0; i < 5 && !code; i++)
		code = cr_output_write(output, large, 1 << 20, &error);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(error.os_errno, EFBIG);
	check_failed(code, CROCUTA_EIO, &error,
		     "after 3145728 bytes (nothing is kept under that name)");
	cr_output_free(output);
	assert_string_equal(get_file(in_directory("limited"), NULL), "old");
	assert_int_equal(count_files("part"), 0);
	free(large);
}

static void *drain(void *argument)
{
	int fd = *(int *)argument;
	char bytes[1000];

	usleep(20000);
	while (read(fd, bytes, sizeof bytes) > 0)
		usleep(50);
	return NULL;
}

/* A non-blocking pipe gives short writes and EAGAIN; a closed one EPIPE. */
static void test_pipe(void **state)
{
	crocuta_error error = {0};
	char *large = calloc(1, 1 << 20), name[32];
	cr_output *output;
	pthread_t thread;
	int ends[2], code = 0;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	snprintf(name, sizeof name, "/dev/fd/%d", ends[1]);
	assert_int_equal(pthread_create(&thread, NULL, drain, &ends[0]), 0);
	output = open_good(name, NULL);
	check_ok(cr_output_write(output, large, 1 << 20, &error), &error);
	check_ok(cr_output_commit(output, &error), &error);
	cr_output_free(output);
	close(ends[1]); /* still ours */
	pthread_join(thread, NULL);
	close(ends[0]);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	snprintf(name, sizeof name, "/dev/fd/%d", ends[1]);
	output = open_good(name, NULL);
	code = cr_output_write(output, large, 1 << 20, &error);
	assert_int_equal(error.os_errno, EPIPE);
	check_failed(code, CROCUTA_EIO, &error, "what was written is incomplete");
	cr_output_free(output);
	close(ends[1]);
	free(large);
}

static void test_bgzf(void **state)
{
	cr_output_options options = {.bgzf = 1};
	crocuta_error error = {0};
	char line[64], *text = calloc(1, 1 << 20), *back = calloc(1, 1 << 20);
	cr_output *output;
	BGZF *in;

	(void)state;
	assert_true(cr_output_is_bgzf_name("x.bed.gz"));
	assert_true(cr_output_is_bgzf_name("x.bgz"));
	assert_false(cr_output_is_bgzf_name("x.gz.txt"));
	for (int lines = 0; lines <= 30000; lines += 15000) { /* 0: the end marker alone */
		size_t used = 0;

		output = open_good(in_directory("b.gz"), &options);
		assert_false(cr_output_seekable(output));
		for (int i = 0; i < lines; i++) {
			snprintf(line, sizeof line, "chr1\t%d\t%d\n", i, i * 7 % 101);
			check_ok(cr_output_text(output, line, &error), &error);
			strcpy(text + used, line);
			used += strlen(line);
		}
		check_ok(cr_output_commit(output, &error), &error);
		cr_output_free(output);
		in = bgzf_open(in_directory("b.gz"), "r");
		assert_non_null(in);
		assert_int_equal(bgzf_check_EOF(in), 1);
		assert_int_equal(bgzf_read(in, back, 1 << 20), used);
		assert_memory_equal(back, text, used);
		bgzf_close(in);
	}
	free(text);
	free(back);
}

static void test_set(void **state)
{
	crocuta_error error = {0};
	cr_output_set *set = cr_output_set_new();
	cr_output_options bgzf = {.bgzf = 1};
	cr_output *data, *rows;

	(void)state;
	check_ok(cr_output_set_add(set, in_directory("s.npy"), NULL, &data, &error), &error);
	check_ok(cr_output_set_add(set, in_directory("s.rows.bed.gz"), &bgzf, &rows, &error),
		 &error);
	check_ok(cr_output_text(data, "data", &error), &error);
	check_ok(cr_output_text(rows, "rows", &error), &error);
	assert_false(exists(in_directory("s.npy")));
	check_ok(cr_output_set_commit(set, &error), &error);
	cr_output_set_free(set);
	assert_true(exists(in_directory("s.npy")));
	assert_true(exists(in_directory("s.rows.bed.gz")));
	/* the data file cannot be renamed onto a directory made meanwhile: the sidecar goes too */
	set = cr_output_set_new();
	check_ok(cr_output_set_add(set, in_directory("t.npy"), NULL, &data, &error), &error);
	check_ok(cr_output_set_add(set, in_directory("t.meta.json"), NULL, &rows, &error), &error);
	assert_int_equal(mkdir(in_directory("t.npy"), 0700), 0);
	check_failed(cr_output_set_commit(set, &error), CROCUTA_EIO, &error, "renaming");
	cr_output_set_free(set);
	assert_false(exists(in_directory("t.meta.json")));
	set = cr_output_set_new();
	check_ok(cr_output_set_add(set, in_directory("u.npy"), NULL, &data, &error), &error);
	cr_output_set_free(set);
	assert_false(exists(in_directory("u.npy")));
	assert_int_equal(count_files("part"), 0);
}

static void on_signal(int number)
{
	(void)number;
	cr_atomic_abort_all();
}

static void test_abort_all(void **state)
{
	crocuta_error error = {0};
	cr_output *one, *other;

	(void)state;
	one = open_good(in_directory("one"), NULL);
	other = open_good(in_directory("other"), NULL);
	check_ok(cr_output_commit(other, &error), &error);
	assert_int_equal(count_files("part"), 1);
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	assert_int_equal(count_files("part"), 0);
	assert_true(exists(in_directory("other")));
	check_failed(cr_output_commit(one, &error), CROCUTA_EIO, &error, "renaming");
	cr_output_free(one);
	cr_output_free(other);
	assert_false(exists(in_directory("one")));
}

/* A part file left by a killed process with the same number does not stand in the way. */
static void test_leftover(void **state)
{
	char name[64];
	crocuta_error error = {0};
	cr_output *output;

	(void)state;
	snprintf(name, sizeof name, ".left.crocuta-%ld.part", (long)getpid());
	put_file(name, "old");
	output = open_good(in_directory("left"), NULL);
	check_ok(cr_output_text(output, "x", &error), &error);
	check_ok(cr_output_commit(output, &error), &error);
	cr_output_free(output);
	assert_string_equal(get_file(in_directory("left"), NULL), "x");
	memset(name, 0, sizeof name);
}

static void test_long_name(void **state)
{
	char name[256];
	crocuta_error error = {0};
	cr_output *output;
	char path[600];

	(void)state;
	for (int length = 225; length < 256; length++) { /* around the longest that is not cut */
		memset(name, 'n', (size_t)length);
		name[length] = '\0';
		snprintf(path, sizeof path, "%s/%s", directory, name);
		output = open_good(path, NULL);
		check_ok(cr_output_commit(output, &error), &error);
		cr_output_free(output);
		assert_true(exists(path));
	}
	strcat(path, "n");
	check_failed(cr_output_preflight(path, NULL, &error), CROCUTA_EIO, &error, "256 bytes");
	check_failed(cr_output_open(path, NULL, &output, &error), CROCUTA_EIO, &error, "too long");
}

/* Long names that differ in their last bytes only are written side by side. */
static void test_long_names_at_once(void **state)
{
	crocuta_error error = {0};
	cr_output *outputs[2], *again;
	char paths[2][600], text[2] = "";

	(void)state;
	for (int i = 0; i < 2; i++) {
		snprintf(paths[i], sizeof paths[i], "%s/%0250d-%d", directory, 0, i);
		outputs[i] = open_good(paths[i], NULL);
		text[0] = (char)('a' + i);
		check_ok(cr_output_text(outputs[i], text, &error), &error);
	}
	check_failed(cr_output_open(paths[0], NULL, &again, &error), CROCUTA_EARG, &error, "twice");
	for (int i = 0; i < 2; i++) {
		check_ok(cr_output_commit(outputs[i], &error), &error);
		cr_output_free(outputs[i]);
	}
	assert_string_equal(get_file(paths[0], NULL), "a");
	assert_string_equal(get_file(paths[1], NULL), "b");
	assert_int_equal(count_files("part"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit),       cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_late_refusal), cmocka_unit_test(test_symlink_target),
		cmocka_unit_test(test_full_device),  cmocka_unit_test(test_size_limit),
		cmocka_unit_test(test_pipe),         cmocka_unit_test(test_bgzf),
		cmocka_unit_test(test_set),          cmocka_unit_test(test_abort_all),
		cmocka_unit_test(test_leftover),     cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_long_names_at_once),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
