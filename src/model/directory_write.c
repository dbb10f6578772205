/* directory_write.c - see directory_write.h. */
#define _GNU_SOURCE
#include "model/directory_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/config.h"
#include "model/safetensors.h"

#define BUFFER ((size_t)1 << 20)
#define HEADER_ALIGNMENT 64 /* of the tensors' bytes, for readers that map the file */

int cr_model_file_fail_memory(const char *path, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to write it", path);
}

static int flush_output(cr_model_file *output, crocuta_error *error)
{
	int code = output->digest
			   ? cr_digest_update(output->digest, output->buffer, output->used, error)
			   : 0;

	for (size_t done = 0; output->fd >= 0 && !code && done < output->used;) {
		ssize_t put = write(output->fd, output->buffer + done, output->used - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot write", output->path);
		done += (size_t)put;
	}
	output->used = 0;
	return code;
}

int cr_model_file_put(cr_model_file *output, const void *bytes, size_t count, crocuta_error *error)
{
	const unsigned char *from = bytes;

	while (count) {
		size_t part = BUFFER - output->used < count ? BUFFER - output->used : count;
		int code;

		memcpy(output->buffer + output->used, from, part);
		output->used += part;
		from += part;
		count -= part;
		code = output->used == BUFFER ? flush_output(output, error) : 0;
		if (code)
			return code;
	}
	return 0;
}

int cr_model_file_open(cr_model_file *output, const char *directory, const char *name, crocuta_error *error)
{
	*output = (cr_model_file){.fd = -1};
	output->path = directory ? cr_path_join(directory, name) : cr_strdup(name);
	output->buffer = cr_calloc(BUFFER, 1);
	if (!output->path || !output->buffer)
		return cr_model_file_fail_memory(directory ? directory : name, error);
	if (!directory)
		return 0;
	output->fd = open(output->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (output->fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot create", output->path);
	return 0;
}

int cr_model_file_close(cr_model_file *output, int code, crocuta_error *error)
{
	if (!code)
		code = flush_output(output, error);
	if (!code && output->fd >= 0 && fsync(output->fd))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot sync", output->path);
	if (output->fd >= 0 && close(output->fd) && !code)
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot close", output->path);
	cr_free(output->path);
	cr_free(output->buffer);
	return code;
}

int cr_model_file_write(const char *directory, const char *name, const void *bytes, size_t count,
		    crocuta_error *error)
{
	cr_model_file output;
	int code = cr_model_file_open(&output, directory, name, error);

	if (!code)
		code = cr_model_file_put(&output, bytes, count, error);
	return cr_model_file_close(&output, code, error);
}

json_t *cr_safetensors_new_header(void)
{
	return json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
}

int cr_safetensors_describe(json_t *header, const char *name, int dtype, int rank,
			    const int64_t *shape, int64_t begin, int64_t end)
{
	json_t *sizes = json_array(), *entry;

	for (int i = 0; i < rank; i++)
		if (json_array_append_new(sizes, json_integer(shape[i])))
			break;
	entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", cr_dtype_name(dtype), "shape", sizes,
			  "data_offsets", (json_int_t)begin, (json_int_t)end);
	return json_array_size(json_object_get(entry, "shape")) != (size_t)rank ||
	       json_object_set_new(header, name, entry);
}

int cr_safetensors_put_header(cr_model_file *output, const json_t *header, crocuta_error *error)
{
	char *text = json_dumps(header, JSON_COMPACT);
	unsigned char word[8];
	uint64_t length, padded;
	int code;

	if (!text)
		return cr_model_file_fail_memory(output->path, error);
	length = strlen(text);
	padded = (length + 8 + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT - 8;
	for (int i = 0; i < 8; i++)
		word[i] = (unsigned char)(padded >> 8 * i);
	code = cr_model_file_put(output, word, 8, error);
	if (!code)
		code = cr_model_file_put(output, text, length, error);
	for (; length < padded && !code; length++)
		code = cr_model_file_put(output, " ", 1, error);
	free(text);
	return code;
}

/* Remove the files of the kind and their directory; what else lies there stays, and so does it. */
static void remove_directory(const char *directory, const cr_directory_kind *kind)
{
	for (int i = 0; i < kind->count; i++) {
		char *path = cr_path_join(directory, kind->names[i]);

		if (path)
			unlink(path);
		cr_free(path);
	}
	rmdir(directory);
}

static int is_among(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(name, names[i]))
			return 1;
	return 0;
}

static int refuse_beside(const char *path, const char *name, const cr_directory_kind *kind,
			 int allowed, crocuta_error *error)
{
	char list[200] = "";

	for (int i = 0; i < allowed; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof list - used, "%s%s",
			 !i                 ? ""
			 : i == allowed - 1 ? " and "
					    : ", ",
			 kind->names[i]);
	}
	return cr_fail(error, CROCUTA_EREFUSED,
		       "%s: holds \"%.80s\" beside %s; only a directory with nothing but %s is "
		       "replaced",
		       path, name, kind->what, list);
}

/* force must not cost anybody more than what is written anew: refuse a directory with anything else
 * in it. */
static int check_replaceable(const char *path, const cr_directory_kind *kind, int allowed,
			     int force, crocuta_error *error)
{
	struct stat status;
	struct dirent *item;
	DIR *directory;
	int code = 0;

	if (lstat(path, &status))
		return errno == ENOENT
			       ? 0
			       : cr_fail_errno(error, CROCUTA_EIO, "%s: cannot examine", path);
	if (!force)
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%s: exists already; choose another name or force it to be replaced",
			       path);
	if (!S_ISDIR(status.st_mode))
		return cr_fail(error, CROCUTA_EREFUSED, "%s: exists and is not a directory", path);
	directory = opendir(path);
	if (!directory)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot list it", path);
	while (!code && (item = readdir(directory))) {
		const char *name = item->d_name;

		if (strcmp(name, ".") && strcmp(name, "..") &&
		    !is_among(name, kind->names, allowed))
			code = refuse_beside(path, name, kind, allowed, error);
	}
	closedir(directory);
	return code;
}

static int sync_parent(const char *path, crocuta_error *error)
{
	char *parent = cr_strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
	int fd, code = 0;

	if (!parent)
		return cr_model_file_fail_memory(path, error);
	if (slash)
		slash[slash == parent] = '\0';
	fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Some file systems cannot sync a directory; the data themselves are synced. */
	if (fd >= 0 && fsync(fd) && errno != EINVAL)
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot sync its directory", path);
	if (fd >= 0)
		close(fd);
	cr_free(parent);
	return code;
}

/* Put the finished directory under its name; an older one steps aside first and comes back if that
 * fails. */
static int install(const char *part, const char *old, const char *path, int force,
		   const cr_directory_kind *kind, crocuta_error *error)
{
	int replaced = force && !rename(path, old);

	/* rename puts a directory over an empty one only: another run that was first stays */
	if (!force && rename(part, path))
		return cr_fail_errno(error,
				     errno == EEXIST || errno == ENOTEMPTY ? CROCUTA_EREFUSED
									   : CROCUTA_EIO,
				     "%s: cannot rename the finished directory", path);
	if (!force)
		return sync_parent(path, error);
	if (!replaced && errno != ENOENT)
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot move the old one aside", path);
	if (rename(part, path)) {
		int saved = errno;

		if (replaced && rename(old, path))
			return cr_fail(error, CROCUTA_EIO,
				       "%s: cannot be replaced; the old one is now "
				       "%s",
				       path, old);
		errno = saved;
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot rename the finished directory",
				     path);
	}
	if (replaced)
		remove_directory(old, kind);
	return sync_parent(path, error);
}

#define SIBLING_NAME_MOST 180 /* bytes of the target's name: file systems allow 255 in all */
#define ATTEMPTS 100          /* a killed run of the same number may have left its own */

/* "/a/.name.crocuta-PID-ATTEMPT.suffix" for "/a/name". */
static char *sibling_name(const char *path, size_t length, int attempt, const char *suffix)
{
	size_t capacity = length + 64, base = length, name;
	char *text = cr_calloc(capacity, 1);

	while (base > 0 && path[base - 1] != '/')
		base--;
	name = length - base < SIBLING_NAME_MOST ? length - base : SIBLING_NAME_MOST;
	if (text)
		snprintf(text, capacity, "%.*s.%.*s.crocuta-%ld-%d.%s", (int)base, path, (int)name,
			 path + base, (long)getpid(), attempt, suffix);
	return text;
}

/* Without slashes at the end. */
static size_t plain_length(const char *path)
{
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	return length;
}

int cr_directory_check(const char *path, const cr_directory_kind *kind, int replace_all, int force,
		       crocuta_error *error)
{
	int allowed = replace_all ? kind->count : kind->needed, code;
	size_t length = plain_length(path), base = length;
	char *target = cr_strdup(path);

	if (!target)
		return cr_model_file_fail_memory(path, error);
	target[length] = '\0';
	code = check_replaceable(target, kind, allowed, force, error);
	while (base > 0 && path[base - 1] != '/')
		base--;
	target[base] = '\0'; /* "a/" for "a/b", "" for "b" */
	if (!code && access(base ? target : ".", W_OK | X_OK))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: its directory cannot be written into",
				     path);
	cr_free(target);
	return code;
}

/* A new hidden directory beside the target, and a name for what the target is now. */
static int make_part(const char *path, size_t length, char **part, char **old, crocuta_error *error)
{
	for (int attempt = 0;; attempt++) {
		cr_free(*part);
		cr_free(*old);
		*part = sibling_name(path, length, attempt, "part");
		*old = sibling_name(path, length, attempt, "old");
		if (!*part || !*old)
			return cr_model_file_fail_memory(path, error);
		if (!mkdir(*part, 0777))
			return 0;
		if (errno != EEXIST || attempt == ATTEMPTS)
			return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot create the directory",
					     *part);
	}
}

int cr_directory_write(const char *path, const cr_directory_kind *kind, int replace_all, int force,
		       cr_directory_fill *fill, void *user, crocuta_error *error)
{
	size_t length = plain_length(path);
	int allowed = replace_all ? kind->count : kind->needed, code;
	char *part = NULL, *old = NULL, *target = cr_strdup(path);

	if (target)
		target[length] = '\0';
	code = target ? check_replaceable(target, kind, allowed, force, error)
		      : cr_model_file_fail_memory(path, error);
	if (!code)
		code = make_part(path, length, &part, &old, error);
	if (!code) {
		code = fill(user, part, error);
		if (!code)
			code = install(part, old, target, force, kind, error);
		if (code)
			remove_directory(part, kind);
	}
	cr_free(part);
	cr_free(old);
	cr_free(target);
	return code;
}
