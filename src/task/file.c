/* file.c - crocuta_file_write: short files of a caller, written as outputs are. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <crocuta/embed.h>

#include "base/error.h"
#include "io/atomic.h"

/* Is there a file under the name that begins otherwise? An empty one holds nothing to lose. */
static int is_another(const char *path, const char *first)
{
	struct stat there;
	FILE *file;

	if (!first || !cr_output_is_file(path) || stat(path, &there) || !there.st_size)
		return 0;
	file = fopen(path, "r");
	if (!file)
		return 1;
	while (*first && getc(file) == (unsigned char)*first)
		first++;
	fclose(file);
	return *first != '\0';
}

int crocuta_file_check(const char *path, const char *first, crocuta_error *error)
{
	int code = cr_output_preflight(path, NULL, error);

	if (!code && is_another(path, first))
		code = cr_fail(error, CROCUTA_EREFUSED,
			       "%.200s: there is another file of this name", path);
	return code;
}

int crocuta_file_write(const char *path, const char *text, const char *first, crocuta_error *error)
{
	cr_output *output = NULL;
	int code = crocuta_file_check(path, first, error);

	if (!code)
		code = cr_output_open(path, NULL, &output, error);
	if (!code)
		code = cr_output_text(output, text, error);
	if (!code)
		code = cr_output_commit(output, error);
	cr_output_free(output);
	return code;
}

void crocuta_outputs_abort(void)
{
	cr_atomic_abort_all();
}
