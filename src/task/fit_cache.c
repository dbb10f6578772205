/* fit_cache.c - features kept from run to run: KEY.npy (rows, F) float32, and KEY.sha256, its
 * digest as sha256sum writes and checks it. KEY is the digest of all that the numbers depend on. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/npy.h"
#include "model/digest.h"
#include "task/fit_internal.h"

#define PATH_BYTES 4096

static int path_of(const cr_fit *fit, const char *key, const char *suffix, char *out)
{
	int used = snprintf(out, PATH_BYTES, "%s/%s%s", fit->options.cache, key, suffix);

	return used < 0 || used >= PATH_BYTES;
}

int cr_fit_cache_key(const cr_fit *fit, int part, int64_t planned, char *key)
{
	const crocuta_model_info *info = fit->info;
	const crocuta_feature_form *form = &fit->form;
	cr_digest digest = {0};
	char text[600];
	int used, code;

	used = snprintf(text, sizeof text,
			"crocuta-features-1 %s %.17g dtype %d layer %d pool %d parts %d strands %d "
			"specials %d softmask %d pad %d planned %lld\n",
			info->sha256, info->filter_shift, fit->options.session.dtype, form->layer,
			form->pool, form->parts, form->strands, form->specials,
			fit->options.softmask_n != 0, fit->options.n_as_pad != 0,
			(long long)planned);
	code = cr_digest_start(&digest, fit->error);
	if (!code)
		code = cr_digest_update(&digest, text, (size_t)used, fit->error);
	for (int64_t row = fit->first[part]; !code && row < fit->first[part + 1]; row++) {
		const cr_example *example = &fit->examples[fit->example_of[row]];

		used = snprintf(text, sizeof text, "%016llx%016llx %lld\n",
				(unsigned long long)example->own.word[0],
				(unsigned long long)example->own.word[1],
				(long long)example->length);
		code = cr_digest_update(&digest, text, (size_t)used, fit->error);
	}
	if (!code)
		code = cr_digest_finish(&digest, key, fit->error);
	cr_digest_free(&digest);
	return code;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The 64 hex digits that KEY.sha256 begins with; 0, or -1 when it has none. */
static int read_digest(const char *path, char out[CR_DIGEST_TEXT])
{
	FILE *stream = fopen(path, "re");
	size_t got;

	if (!stream)
		return -1;
	got = fread(out, 1, CR_DIGEST_TEXT - 1, stream);
	fclose(stream);
	out[got] = '\0';
	return got == CR_DIGEST_TEXT - 1 ? 0 : -1;
}

/* Header and rows of an array whose size was looked at; digest of all of it. */
static int read_array(const cr_fit *fit, int part, FILE *stream, size_t header,
		      char digest_text[CR_DIGEST_TEXT])
{
	size_t cells = (size_t)(cr_fit_rows(fit, part) * fit->width);
	float *rows = fit->features + fit->first[part] * fit->width;
	char head[256];
	cr_digest digest = {0};
	int good = header <= sizeof head && fread(head, 1, header, stream) == header &&
		   fread(rows, sizeof *rows, cells, stream) == cells;

	good = good && !cr_digest_start(&digest, NULL) &&
	       !cr_digest_update(&digest, head, header, NULL) &&
	       !cr_digest_update(&digest, rows, cells * sizeof *rows, NULL) &&
	       !cr_digest_finish(&digest, digest_text, NULL);
	cr_digest_free(&digest);
	return good ? 0 : -1;
}

int cr_fit_cache_load(cr_fit *fit, int part, const char *key, int *hit)
{
	int64_t cells = cr_fit_rows(fit, part) * fit->width;
	int64_t bytes = cr_npy_bytes(cr_fit_rows(fit, part), fit->width, 0);
	char array[PATH_BYTES], sum[PATH_BYTES], promised[CR_DIGEST_TEXT] = "",
						 found[CR_DIGEST_TEXT] = "";
	struct stat status;
	FILE *stream;

	*hit = 0;
	if (path_of(fit, key, ".npy", array) || path_of(fit, key, ".sha256", sum))
		return cr_fail(fit->error, CROCUTA_EIO, "--cache: the name is too long");
	stream = fopen(array, "re");
	if (!stream) {
		if (errno != ENOENT)
			cr_fit_log(fit, CROCUTA_LOG_WARNING, "%.300s: %s; computed instead", array,
				   strerror(errno));
		return CROCUTA_OK;
	}
	*hit = !fstat(fileno(stream), &status) && status.st_size == bytes &&
	       !read_digest(sum, promised) &&
	       !read_array(fit, part, stream, (size_t)(bytes - 4 * cells), found) &&
	       !strcmp(promised, found);
	fclose(stream);
	if (*hit)
		cr_fit_log(fit, CROCUTA_LOG_NOTICE,
			   "features of the %s part: from the cache, %.12s", cr_fit_part_name(part),
			   key);
	else
		cr_fit_log(fit, CROCUTA_LOG_WARNING,
			   "%.300s is damaged: it is not what its .sha256 says; computed anew",
			   array);
	return CROCUTA_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_array(const cr_fit *fit, int part, cr_output *output, crocuta_error *error)
{
	const float *rows = fit->features + fit->first[part] * fit->width;
	int64_t count = cr_fit_rows(fit, part);
	cr_npy *npy;
	int code = cr_npy_start(output, count, fit->width, 0, &npy, error);

	if (!code)
		code = cr_npy_write(npy, rows, count, error);
	if (!code)
		code = cr_npy_finish(npy, error);
	cr_npy_free(npy);
	return code;
}

/* The digest of an array that is complete under its part name. */
static int digest_file(const char *path, char text[CR_DIGEST_TEXT], crocuta_error *error)
{
	FILE *stream = fopen(path, "re");
	char *buffer = cr_calloc(65536, 1);
	cr_digest digest = {0};
	size_t got = 1;
	int code = stream && buffer ? cr_digest_start(&digest, error)
				    : cr_fail_errno(error, CROCUTA_EIO, "%.300s", path);

	while (!code && got) {
		got = fread(buffer, 1, 65536, stream);
		code = cr_digest_update(&digest, buffer, got, error);
	}
	if (!code && ferror(stream))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.300s", path);
	if (!code)
		code = cr_digest_finish(&digest, text, error);
	cr_digest_free(&digest);
	cr_free(buffer);
	if (stream)
		fclose(stream);
	return code;
}

static int write_sum(const char *path, const char *key, const char *text, crocuta_error *error)
{
	char line[CR_DIGEST_TEXT + CR_FIT_KEY_BYTES + 10];
	cr_output *output;
	int code = cr_output_open(path, NULL, &output, error);

	if (code)
		return code;
	snprintf(line, sizeof line, "%s  %s.npy\n", text, key);
	code = cr_output_text(output, line, error);
	if (!code)
		code = cr_output_commit(output, error);
	cr_output_free(output);
	return code;
}

static int save(const cr_fit *fit, int part, const char *key, crocuta_error *error)
{
	char array[PATH_BYTES], sum[PATH_BYTES], text[CR_DIGEST_TEXT] = "";
	cr_output_options how = {.bytes_needed =
					 cr_npy_bytes(cr_fit_rows(fit, part), fit->width, 0)};
	cr_output *output;
	int code;

	if (path_of(fit, key, ".npy", array) || path_of(fit, key, ".sha256", sum))
		return cr_fail(error, CROCUTA_EIO, "--cache: the name is too long");
	if (mkdir(fit->options.cache, 0777) && errno != EEXIST)
		return cr_fail_errno(error, CROCUTA_EIO, "%.300s", fit->options.cache);
	code = cr_output_open(array, &how, &output, error);
	if (code)
		return code;
	code = write_array(fit, part, output, error);
	if (!code)
		code = cr_output_finish(output, error);
	if (!code)
		code = digest_file(cr_output_part_path(output), text, error);
	if (!code) /* first, so that an array without its digest was cut off in between */
		code = write_sum(sum, key, text, error);
	if (!code)
		code = cr_output_commit(output, error);
	cr_output_free(output);
	return code;
}

void cr_fit_cache_save(const cr_fit *fit, int part, const char *key)
{
	crocuta_error error = {0};

	if (save(fit, part, key, &error))
		cr_fit_log(fit, CROCUTA_LOG_WARNING, "features of the %s part are not kept: %.400s",
			   cr_fit_part_name(part), error.message);
}
