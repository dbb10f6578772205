/* journal_recover.c - the journal of a run that ended early, taken over.
 *
 * Lines are believed as far as each fits to the one before it, data as far as their digest is that
 * of their line. What lies behind is cut off. Another binding refuses, and nothing was touched
 * then. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest64.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "io/journal_internal.h"

#define TEXT_MOST ((int64_t)1 << 30)
#define CHUNK (1 << 20)

/* ---- the binding ----------------------------------------------------------------------------- */

static char *text_of(const json_t *value)
{
	return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII |
						 JSON_REAL_PRECISION(9))
		     : NULL;
}

/* The first key that differs, with what it was and is; 0: none does. */
static int find_difference(const json_t *was, const json_t *is, const char *prefix, char *out,
			   size_t capacity)
{
	for (int side = 0; side < 2; side++) {
		const json_t *from = side ? was : is, *other = side ? is : was;
		const char *key;
		json_t *value;

		json_object_foreach((json_t *)(uintptr_t)from, key, value)
		{
			const json_t *there = json_object_get(other, key);
			char name[120], *a, *b;

			if (there && json_equal(value, there))
				continue;
			snprintf(name, sizeof name, "%s%.60s", prefix, key);
			if (json_is_object(value) && json_is_object(there) && !*prefix) {
				char deeper[80];

				snprintf(deeper, sizeof deeper, "%.60s.", key);
				if (find_difference(side ? value : there, side ? there : value,
						    deeper, out, capacity))
					return 1;
				continue;
			}
			a = text_of(side ? value : there);
			b = text_of(side ? there : value);
			snprintf(out, capacity, "%s was %.100s and is %.100s", name,
				 a ? a : "not given", b ? b : "not given");
			free(a);
			free(b);
			return 1;
		}
	}
	return 0;
}

/* Reals are compared as they are written. */
static json_t *as_written(const json_t *binding)
{
	char *text = json_dumps(binding, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_t *copy = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return copy;
}

static int compare_binding(const cr_journal *j, const json_t *head, crocuta_error *error)
{
	const json_t *was = json_object_get(head, "binding");
	json_t *is = as_written(j->binding);
	char what[400] = "";
	int differs;

	if (!is)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	differs = !json_is_object(was) || find_difference(was, is, "", what, sizeof what);
	json_decref(is);
	if (differs)
		return cr_fail(
			error, CROCUTA_EREFUSED,
			"%.200s holds the work of another run: %.350s; run with what it was, "
			"or remove it to begin anew",
			j->directory, *what ? what : "it names no options");
	if (json_integer_value(json_object_get(head, "unit")) != j->unit_bytes)
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%.200s holds the work of another version; remove it to begin anew",
			       j->directory);
	return CROCUTA_OK;
}

static int take_words(cr_journal *j, const json_t *head)
{
	const char *command = json_string_value(json_object_get(head, "command"));
	const char *date = json_string_value(json_object_get(head, "date"));

	cr_free(j->command);
	cr_free(j->date);
	j->command = cr_strdup(command ? command : "");
	j->date = cr_strdup(date ? date : "");
	return j->command && j->date;
}

/* ---- the data -------------------------------------------------------------------------------- */

static int read_at(int fd, int64_t offset, char *out, int64_t count)
{
	while (count > 0) {
		ssize_t got = pread(fd, out, (size_t)count, offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO;
		if (got <= 0)
			return -1;
		out += got;
		offset += got;
		count -= got;
	}
	return 0;
}

/* Is the data of a block, which begins at `from`, what its line says? The digest runs over units,
 * as they were appended; units: room for CHUNK bytes of them, at least one. 1, 0, or -1 with errno.
 */
static int is_sound(const cr_journal *j, int64_t from, const cr_journal_block *block, char *units)
{
	const int64_t most = cr_larger(CHUNK / j->unit_bytes, 1) * j->unit_bytes;
	uint64_t digest = CR_DIGEST64;

	for (int64_t at = from; at < block->bytes; at += most) {
		const int64_t count = cr_smaller(most, block->bytes - at);

		if (read_at(j->data_fd, at, units, count))
			return -1;
		for (int64_t i = 0; i < count; i += j->unit_bytes)
			digest = cr_digest64_bulk(digest, units + i, (size_t)j->unit_bytes);
	}
	return digest == block->data;
}

/* The last block that is sound, and all before it. What cannot be read now may be read another
 * time: EIO, and nothing is cut off. */
static int find_sound(const cr_journal *j, const cr_journal_text *text,
		      const cr_journal_block **last, crocuta_error *error)
{
	char *units = cr_calloc((size_t)cr_larger(CHUNK, j->unit_bytes), 1);
	struct stat status;
	int sound = 1, code = CROCUTA_OK;

	*last = &text->blocks[0];
	if (!units)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	if (fstat(j->data_fd, &status))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s", j->data_path);
	for (int64_t i = 1; !code && sound && i < text->count; i++) {
		const cr_journal_block *block = &text->blocks[i];

		sound = block->bytes <= status.st_size ? is_sound(j, (*last)->bytes, block, units)
						       : 0;
		if (sound < 0)
			code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be read",
					     j->data_path);
		else if (sound)
			*last = block;
	}
	cr_free(units);
	return code;
}

static int begin(cr_journal *j, crocuta_error *error)
{
	if (!cr_journal_create(j))
		return CROCUTA_OK;
	cr_journal_end(j, 1);
	return cr_fail(error, CROCUTA_EIO, "%.350s", j->trouble);
}

/* ---- all together ---------------------------------------------------------------------------- */

static int take_over(cr_journal *j, cr_journal_text *text, crocuta_error *error)
{
	const cr_journal_block *last;
	int code = compare_binding(j, text->head, error);

	if (code)
		return code;
	if (!take_words(j, text->head))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	j->data_fd = open(j->data_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (j->data_fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s", j->data_path);
	code = find_sound(j, text, &last, error);
	if (code)
		return code;
	memcpy(j->seal, last->seal, sizeof j->seal);
	j->saved = j->appended = j->on_disk = last->units;
	j->saved_mark = j->mark = last->mark;
	j->whole = j->in_place = 1;
	j->processes = text->processes;
	j->process_count = text->process_count;
	text->processes = NULL;
	if (ftruncate(j->text_fd, last->text) || ftruncate(j->data_fd, last->bytes) ||
	    lseek(j->text_fd, 0, SEEK_END) < 0 || lseek(j->data_fd, 0, SEEK_END) < 0 ||
	    cr_journal_begin_process(j))
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be written", j->directory);
	return CROCUTA_OK;
}

/* All of the file of lines, which is open. */
static int read_text(const cr_journal *j, char **bytes, int64_t *count, crocuta_error *error)
{
	struct stat status;

	*bytes = NULL;
	if (fstat(j->text_fd, &status))
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s", j->text_path);
	if (!S_ISREG(status.st_mode) || status.st_size > TEXT_MOST)
		return cr_fail(error, CROCUTA_EIO, "%.200s is no journal; remove it", j->text_path);
	*count = status.st_size;
	*bytes = cr_calloc((size_t)*count + 1, 1);
	if (!*bytes)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	return read_at(j->text_fd, 0, *bytes, *count)
		       ? cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be read", j->text_path)
		       : CROCUTA_OK;
}

int cr_journal_recover(cr_journal *j, crocuta_error *error)
{
	cr_journal_text text;
	char *bytes = NULL;
	int64_t count = 0;
	int code;

	if (cr_journal_lock(j, 0)) {
		if (errno == EWOULDBLOCK)
			return cr_fail(
				error, CROCUTA_EREFUSED,
				"%.200s is in use by another run; wait for it, or give another "
				"output",
				j->directory);
		if (errno == ENOENT)
			return begin(j, error);
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s", j->text_path);
	}
	code = read_text(j, &bytes, &count, error);
	if (!code)
		code = cr_journal_parse(bytes, count, j->unit_bytes, &text, error);
	cr_free(bytes);
	if (code)
		return code;
	if (text.head)
		code = take_over(j, &text, error);
	else if (text.other_version)
		code = cr_fail(
			error, CROCUTA_EREFUSED,
			"%.200s was written by another version of crocuta; remove it to begin "
			"anew",
			j->directory);
	else /* killed before its first line was whole, or damaged there: nothing to go on from */
		code = begin(j, error);
	j->unreadable = !code && !text.head && count > 0;
	cr_journal_text_free(&text);
	return code;
}

int cr_journal_read(cr_journal *j, void *units, int64_t count, crocuta_error *error)
{
	if (count > j->saved - j->taken)
		return cr_fail(error, CROCUTA_EINTERNAL, "the journal holds no more");
	if (read_at(j->data_fd, j->taken * j->unit_bytes, units, count * j->unit_bytes))
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be read", j->data_path);
	j->taken += count;
	return CROCUTA_OK;
}
