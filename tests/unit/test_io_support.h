/* test_io_support.h - a directory for the files of a test, and short checks. */
#ifndef TEST_IO_SUPPORT_H
#define TEST_IO_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <crocuta/error.h>

#include "io/atomic.h"

static char directory[256];

static inline int make_directory(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	snprintf(directory, sizeof directory, "%.200s/crocuta-test-XXXXXX", base ? base : "/tmp");
	return mkdtemp(directory) ? 0 : -1;
}

static inline int remove_directory(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", directory);
	return system(command);
}

/* Path of a file of the test; the same name always gives the same text. */
static inline const char *in_directory(const char *name)
{
	static char paths[256][512];
	static int count;
	int i = 0;

	snprintf(paths[count], 512, "%s/%.200s", directory, name);
	while (strcmp(paths[i], paths[count]))
		i++;
	count += i == count;
	assert_in_range(count, 0, 255);
	return paths[i];
}

static inline const char *put_bytes(const char *name, const void *data, size_t bytes)
{
	const char *path = in_directory(name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
	return path;
}

static inline const char *put_file(const char *name, const char *text)
{
	return put_bytes(name, text, strlen(text));
}

/* The same, compressed as BGZF. */
static inline const char *put_bgzf(const char *name, const char *text)
{
	cr_output_options options = {.bgzf = 1};
	const char *path = in_directory(name);
	crocuta_error error = {0};
	cr_output *output;

	assert_int_equal(cr_output_open(path, &options, &output, &error), 0);
	assert_int_equal(cr_output_text(output, text, &error), 0);
	assert_int_equal(cr_output_commit(output, &error), 0);
	cr_output_free(output);
	return path;
}

/* Whole file, NUL-terminated, in a static buffer of 1 MiB. */
static inline const char *get_file(const char *path, size_t *bytes)
{
	static char data[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t got;

	assert_non_null(file);
	got = fread(data, 1, sizeof data - 1, file);
	fclose(file);
	data[got] = '\0';
	if (bytes)
		*bytes = got;
	return data;
}

static inline int exists(const char *path)
{
	return !access(path, F_OK);
}

/* Files in the test's directory whose name holds text. */
static inline int count_files(const char *text)
{
	char command[400], answer[32] = "";
	FILE *pipe;

	snprintf(command, sizeof command, "ls -A '%s' | grep -c -e '%s'", directory, text);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(answer, sizeof answer, pipe));
	pclose(pipe);
	return atoi(answer);
}

/* The call failed with this code and a message that holds text; the record is cleared. */
static inline void check_failed_at(int got, int code, crocuta_error *error, const char *text,
				   const char *file, int line)
{
	if (got != code || error->code != code || !strstr(error->message, text)) {
		print_error("code %d, expected %d \"%s\"; message \"%s\"\n", got, code, text,
			    error->message);
		_fail(file, line);
	}
	memset(error, 0, sizeof *error);
}

#define check_failed(got, code, error, text)                                                       \
	check_failed_at(got, code, error, text, __FILE__, __LINE__)

#define check_ok(got, error)                                                                       \
	do {                                                                                       \
		int check_code = (got);                                                            \
		if (check_code)                                                                    \
			print_error("%s\n", (error)->message);                                     \
		assert_int_equal(check_code, 0);                                                   \
	} while (0)

#endif
