/* atomic.c - see atomic.h. What the path is decides the way: a descriptor, something that is no
 * regular file (written straight), or a part file that is renamed. */
#define _GNU_SOURCE
#include "io/atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <htslib/bgzf.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"
#include "io/source.h"

#define BUFFER_BYTES (256 * 1024)
#define BLOCK_BYTES 0xff00 /* content of a BGZF block, as htslib writes them */
#define NAME_LONGEST 255   /* of a file, where the file system does not say */

struct cr_output {
	char *path;   /* as given, for messages */
	char *target; /* the file to appear, symbolic links followed; NULL: written straight */
	char *part;   /* kept in a slot as well until it is renamed or removed */
	int slot;
	int fd;
	int lends_fd; /* fd belongs to the process: never closed */
	int bgzf, external, no_clobber;
	int finished, committed;
	char *buffer;
	int64_t capacity, used;
	int64_t bytes;   /* given by the caller */
	int64_t written; /* to the descriptor */
};

/* Part files of this process, for a clean-up that may run in a signal handler. */
#define SLOTS 64
static _Atomic(char *) pending[SLOTS];
static _Atomic(char *) taken[SLOTS]; /* by the clean-up: kept for good, a handler may use them */

static int remember_part(char *part)
{
	for (int i = 0; i < SLOTS; i++) {
		char *empty = NULL;

		if (atomic_compare_exchange_strong(&pending[i], &empty, part))
			return i;
	}
	return -1;
}

/* Returns 1 when the part still was pending: the caller owns the text again. */
static int forget_part(cr_output *output)
{
	char *part = output->part;

	if (output->slot < 0)
		return part != NULL;
	return atomic_compare_exchange_strong(&pending[output->slot], &part, NULL);
}

void cr_atomic_abort_all(void)
{
	int saved = errno;

	for (int i = 0; i < SLOTS; i++) {
		char *part = atomic_exchange(&pending[i], NULL);

		if (!part)
			continue;
		atomic_store(&taken[i], part);
		unlink(part);
	}
	errno = saved;
}

static int is_pending(const char *part)
{
	for (int i = 0; i < SLOTS; i++) {
		const char *other = atomic_load(&pending[i]);

		if (other && !strcmp(other, part))
			return 1;
	}
	return 0;
}

int cr_output_is_bgzf_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (!strcmp(dot, ".gz") || !strcmp(dot, ".bgz") || !strcmp(dot, ".bgzf"));
}

int cr_output_is_stdout(const char *path)
{
	return !strcmp(path, "-") || !strcmp(path, "/dev/stdout");
}

/* The descriptor that a name stands for, or -1. */
static int named_descriptor(const char *path)
{
	static const char *const prefixes[] = {"/dev/fd/", "/proc/self/fd/"};

	if (cr_output_is_stdout(path))
		return 1;
	if (!strcmp(path, "/dev/stderr"))
		return 2;
	for (size_t i = 0; i < 2; i++) {
		size_t length = strlen(prefixes[i]);
		int64_t number;

		if (strncmp(path, prefixes[i], length))
			continue;
		number = cr_parse_integer(path + length, strlen(path + length));
		if (number >= 0 && number <= INT_MAX)
			return (int)number;
	}
	return -1;
}

int cr_output_is_file(const char *path)
{
	struct stat there;

	return named_descriptor(path) < 0 && (stat(path, &there) || S_ISREG(there.st_mode));
}

/* The directory part of a path, "." without one; cr_free'd. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t bytes = slash ? (size_t)(slash - path) : 1;
	char *directory;

	if (slash == path)
		bytes = 1;
	directory = cr_calloc(bytes + 1, 1);
	if (directory)
		memcpy(directory, slash ? path : ".", bytes);
	return directory;
}

/* Longest name of a file in the directory of the path. */
static size_t longest_name(const char *directory)
{
	long limit = pathconf(directory, _PC_NAME_MAX);

	return limit >= 64 ? (size_t)limit : NAME_LONGEST;
}

static const char *name_in(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int check_name(const char *path, const char *directory, crocuta_error *error)
{
	const char *name = name_in(path);
	size_t length = strlen(name);

	if (length <= longest_name(directory))
		return CROCUTA_OK;
	errno = ENAMETOOLONG;
	return cr_fail_errno(error, CROCUTA_EIO,
			     "%.60s...%s: a name of %lld bytes, and at most %lld are possible", name,
			     name + length - 20, (long long)length,
			     (long long)longest_name(directory));
}

static int check_space(const char *path, const char *directory, int64_t needed,
		       crocuta_error *error)
{
	struct statvfs system;
	double free_bytes;

	if (statvfs(directory, &system))
		return CROCUTA_OK; /* cannot be known; the write will tell */
	free_bytes = (double)system.f_bavail * (double)system.f_frsize;
	if ((double)needed <= free_bytes)
		return CROCUTA_OK;
	errno = ENOSPC;
	return cr_fail_errno(error, CROCUTA_EIO,
			     "%.200s: needs %lld bytes, the file system has %.0f (--no-space-check "
			     "goes on)",
			     path, (long long)needed, free_bytes);
}

static int check_inputs(const char *path, const struct stat *there, const char *const *inputs,
			crocuta_error *error)
{
	struct stat input;

	for (; inputs && *inputs; inputs++)
		if (!stat(*inputs, &input) && input.st_dev == there->st_dev &&
		    input.st_ino == there->st_ino)
			return cr_fail(error, CROCUTA_EARG,
				       "%.200s: output and input %.200s are the same file", path,
				       *inputs);
	return CROCUTA_OK;
}

/* All checks before creation. *target is the file to appear (cr_free'd), or NULL when the path is
 * written straight. */
static int examine(const char *path, const cr_output_options *options, char **target,
		   crocuta_error *error)
{
	struct stat there;
	char *directory, *resolved;
	int code, exists, descriptor = named_descriptor(path);

	*target = NULL;
	if ((code = cr_refuse_url(path, error)))
		return code;
	exists = descriptor >= 0 ? !fstat(descriptor, &there) : !stat(path, &there);
	if (exists && S_ISREG(there.st_mode) &&
	    (code = check_inputs(path, &there, options->inputs, error)))
		return code;
	if (descriptor >= 0)
		return CROCUTA_OK;
	if (!*path || (exists && S_ISDIR(there.st_mode))) {
		errno = *path ? EISDIR : ENOENT;
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot write", path);
	}
	if (exists && !S_ISREG(there.st_mode))
		return CROCUTA_OK;
	if (exists && options->no_clobber)
		return cr_fail(error, CROCUTA_EREFUSED, "%.200s: exists, and --no-clobber is given",
			       path);
	/* A link's target is replaced, not the link. */
	resolved = exists ? realpath(path, NULL) : NULL;
	*target = cr_strdup(resolved ? resolved : path);
	free(resolved);
	directory = *target ? directory_of(*target) : NULL;
	if (!directory) {
		cr_free(*target);
		*target = NULL;
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a file name");
	}
	code = check_name(*target, directory, error);
	if (!code && faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot create it in %.200s", path,
				     directory);
	if (!code && options->bytes_needed > 0 && !options->no_space_check)
		code = check_space(path, directory, options->bytes_needed, error);
	cr_free(directory);
	if (code) {
		cr_free(*target);
		*target = NULL;
	}
	return code;
}

int cr_output_preflight(const char *path, const cr_output_options *options, crocuta_error *error)
{
	static const cr_output_options defaults = {0};
	char *target;
	int code = examine(path, options ? options : &defaults, &target, error);

	cr_free(target);
	return code;
}

/* 64-bit FNV-1a. */
static uint64_t hash_text(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

/* .NAME.crocuta-PID.part of a process in the target's directory; a NAME that is too long for that is cut, and the
 * hash of the whole name put in its place. NULL without memory. */
static char *name_part(const char *target, long process)
{
	const char *name = name_in(target);
	char *directory = directory_of(target), hash[24] = "", end[48];
	size_t capacity = strlen(target) + sizeof hash + sizeof end, limit, kept = strlen(name);
	char *part = directory ? cr_calloc(capacity, 1) : NULL;

	if (part) {
		snprintf(end, sizeof end, ".crocuta-%ld.part", process);
		limit = longest_name(directory) - 1 - strlen(end);
		if (kept > limit) {
			snprintf(hash, sizeof hash, "-%016llx", (unsigned long long)hash_text(name));
			kept = limit - strlen(hash);
		}
		snprintf(part, capacity, "%.*s.%.*s%s%s", (int)(name - target), target, (int)kept,
			 name, hash, end);
	}
	cr_free(directory);
	return part;
}

void cr_output_remove_part(const char *path, long process)
{
	char *resolved = realpath(path, NULL);
	char *part = process == (long)getpid() || !cr_output_is_file(path)
			     ? NULL
			     : name_part(resolved ? resolved : path, process);

	if (part)
		unlink(part);
	cr_free(part);
	free(resolved);
}

static int create_part(cr_output *output, crocuta_error *error)
{
	output->part = name_part(output->target, (long)getpid());
	if (!output->part)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a file name");
	if (is_pending(output->part)) {
		cr_free(output->part);
		output->part = NULL;
		return cr_fail(error, CROCUTA_EARG, "%.200s: is named as output twice",
			       output->path);
	}
	for (int attempt = 0; attempt < 2 && output->fd < 0; attempt++) {
		output->fd = open(output->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (output->fd < 0 && (errno != EEXIST || attempt || unlink(output->part)))
			break; /* a leftover of a killed process with our number is removed */
	}
	if (output->fd < 0) {
		int code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot create", output->path);

		cr_free(output->part);
		output->part = NULL;
		return code;
	}
	output->slot = remember_part(output->part);
	return CROCUTA_OK;
}

static int open_descriptor(cr_output *output, crocuta_error *error)
{
	int descriptor = named_descriptor(output->path);

	if (output->target)
		return create_part(output, error);
	if (output->external)
		return cr_fail(error, CROCUTA_EARG,
			       "%.200s: this format is written to regular files only",
			       output->path);
	if (descriptor >= 0) {
		output->fd = descriptor;
		output->lends_fd = 1;
		if (fcntl(descriptor, F_GETFL) < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot write",
					     output->path);
		return CROCUTA_OK;
	}
	output->fd = open(output->path, O_WRONLY | O_CLOEXEC);
	if (output->fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot write", output->path);
	return CROCUTA_OK;
}

int cr_output_open(const char *path, const cr_output_options *options, cr_output **output,
		   crocuta_error *error)
{
	static const cr_output_options defaults = {0};
	cr_output *made = cr_calloc(1, sizeof *made);
	int code;

	*output = NULL;
	options = options ? options : &defaults;
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for an output");
	made->fd = made->slot = -1;
	made->bgzf = options->bgzf;
	made->external = options->external;
	made->no_clobber = options->no_clobber;
	made->capacity = made->bgzf ? BLOCK_BYTES : BUFFER_BYTES;
	made->path = cr_strdup(path);
	made->buffer = cr_calloc((size_t)made->capacity, 1);
	if (!made->path || !made->buffer)
		code = cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for its buffer", path);
	else
		code = examine(path, options, &made->target, error);
	if (!code)
		code = open_descriptor(made, error);
	if (code) {
		cr_output_free(made);
		return code;
	}
	if (made->external) {
		close(made->fd);
		made->fd = -1;
	}
	*output = made;
	return CROCUTA_OK;
}

static int fail_write(cr_output *output, crocuta_error *error)
{
	return cr_fail_errno(error, CROCUTA_EIO, "%.200s: write failed after %lld bytes (%s)",
			     output->path, (long long)output->written,
			     output->part ? "nothing is kept under that name"
					  : "what was written is incomplete");
}

/* Write all of it at an offset, or at the end when offset is -1. */
static int write_all(cr_output *output, const char *data, int64_t bytes, int64_t offset,
		     crocuta_error *error)
{
	while (bytes > 0) {
		ssize_t done = offset < 0 ? write(output->fd, data, (size_t)bytes)
					  : pwrite(output->fd, data, (size_t)bytes, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = output->fd, .events = POLLOUT};

			if (poll(&wait, 1, -1) >= 0 || errno == EINTR)
				continue;
		}
		if (done == 0)
			errno = EIO;
		if (done <= 0)
			return fail_write(output, error);
		data += done;
		bytes -= done;
		if (offset < 0)
			output->written += done;
		else
			offset += done;
	}
	return CROCUTA_OK;
}

/* Compress bytes (at most BLOCK_BYTES, 0 for the end marker) and write the block. */
static int write_block(cr_output *output, const char *data, int64_t bytes, crocuta_error *error)
{
	char block[BGZF_MAX_BLOCK_SIZE];
	size_t size = sizeof block;

	if (bgzf_compress(block, &size, data, (size_t)bytes, -1))
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: compression failed",
			       output->path);
	return write_all(output, block, (int64_t)size, -1, error);
}

static int flush_buffer(cr_output *output, crocuta_error *error)
{
	int64_t used = output->used;

	if (!used)
		return CROCUTA_OK;
	output->used = 0;
	return output->bgzf ? write_block(output, output->buffer, used, error)
			    : write_all(output, output->buffer, used, -1, error);
}

int cr_output_write(cr_output *output, const void *data, int64_t bytes, crocuta_error *error)
{
	const char *from = data;
	int code = CROCUTA_OK;

	if (output->finished || output->external || bytes < 0)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: not open for writing",
			       output->path);
	output->bytes += bytes;
	if (!output->bgzf && !output->used && bytes >= output->capacity)
		return write_all(output, from, bytes, -1, error);
	while (!code && bytes > 0) {
		int64_t room = output->capacity - output->used, take = bytes < room ? bytes : room;

		memcpy(output->buffer + output->used, from, (size_t)take);
		output->used += take;
		from += take;
		bytes -= take;
		if (output->used == output->capacity)
			code = flush_buffer(output, error);
	}
	return code;
}

int cr_output_text(cr_output *output, const char *text, crocuta_error *error)
{
	return cr_output_write(output, text, (int64_t)strlen(text), error);
}

int cr_output_patch(cr_output *output, int64_t offset, const void *data, int64_t bytes,
		    crocuta_error *error)
{
	int code;

	if (!cr_output_seekable(output) || output->finished || offset < 0 ||
	    bytes > output->bytes - offset)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: cannot be rewritten at byte %lld",
			       output->path, (long long)offset);
	code = flush_buffer(output, error);
	return code ? code : write_all(output, data, bytes, offset, error);
}

int cr_output_seekable(const cr_output *output)
{
	return output->part && !output->bgzf && !output->external;
}

int64_t cr_output_bytes(const cr_output *output)
{
	return output->bytes;
}

const char *cr_output_path(const cr_output *output)
{
	return output->path;
}

const char *cr_output_part_path(const cr_output *output)
{
	return output->part;
}

/* Sync where the thing behind the descriptor can be synced. */
static int sync_descriptor(int fd)
{
	return fdatasync(fd) && errno != EINVAL && errno != ENOSYS && errno != EROFS ? -1 : 0;
}

int cr_output_finish(cr_output *output, crocuta_error *error)
{
	int code = CROCUTA_OK, fd = output->fd;

	if (output->finished)
		return CROCUTA_OK;
	if (output->external) {
		fd = output->fd = open(output->part, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%.200s: is gone", output->part);
	} else {
		code = flush_buffer(output, error);
		if (!code && output->bgzf)
			code = write_block(output, "", 0, error);
	}
	if (!code && output->part && sync_descriptor(fd))
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be synced to disk",
				     output->path);
	if (code)
		return code;
	if (output->lends_fd && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be closed", output->path);
	output->finished = 1;
	output->fd = -1;
	if (close(fd)) /* the only word some network file systems give about lost writes */
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: closing failed, data may be lost",
				     output->path);
	return CROCUTA_OK;
}

static int sync_directory(const cr_output *output, crocuta_error *error)
{
	const char *slash = strrchr(output->target, '/');
	char directory[PATH_MAX] = "."; /* no allocation: the output is there already */
	int fd, failed;

	if (slash)
		snprintf(directory, sizeof directory, "%.*s",
			 slash == output->target ? 1 : (int)(slash - output->target),
			 output->target);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return CROCUTA_OK; /* not readable: the rename itself has succeeded */
	failed = fsync(fd) && errno != EINVAL && errno != ENOSYS && errno != EROFS;
	if (failed)
		(void)cr_fail_errno(error, CROCUTA_EIO, "%.200s: its directory cannot be synced",
				    output->path);
	close(fd);
	return failed ? CROCUTA_EIO : CROCUTA_OK;
}

static int rename_part(const cr_output *output)
{
	if (output->no_clobber) {
		if (!renameat2(AT_FDCWD, output->part, AT_FDCWD, output->target, RENAME_NOREPLACE))
			return 0;
		if (errno != EINVAL && errno != ENOSYS)
			return -1;
	}
	return rename(output->part, output->target);
}

int cr_output_commit(cr_output *output, crocuta_error *error)
{
	int code;

	if (output->committed)
		return CROCUTA_OK;
	if ((code = cr_output_finish(output, error)))
		return code;
	if (!output->part) {
		output->committed = 1;
		return CROCUTA_OK;
	}
	if (rename_part(output)) {
		if (errno == EEXIST)
			return cr_fail(error, CROCUTA_EREFUSED,
				       "%.200s: appeared meanwhile, and --no-clobber is given",
				       output->path);
		return cr_fail_errno(error, CROCUTA_EIO,
				     "%.200s: renaming the finished file failed", output->path);
	}
	output->committed = 1;
	if (forget_part(output))
		cr_free(output->part);
	output->part = NULL;
	return sync_directory(output, error);
}

void cr_output_free(cr_output *output)
{
	if (!output)
		return;
	if (output->fd >= 0 && !output->lends_fd)
		close(output->fd);
	if (output->part && forget_part(output)) {
		unlink(output->part);
		cr_free(output->part);
	}
	cr_free(output->target);
	cr_free(output->buffer);
	cr_free(output->path);
	cr_free(output);
}

#define SET_LIMIT 16

struct cr_output_set {
	cr_output *outputs[SET_LIMIT];
	int count;
};

cr_output_set *cr_output_set_new(void)
{
	return cr_calloc(1, sizeof(cr_output_set));
}

int cr_output_set_add(cr_output_set *set, const char *path, const cr_output_options *options,
		      cr_output **output, crocuta_error *error)
{
	int code;

	*output = NULL;
	if (set->count == SET_LIMIT)
		return cr_fail(error, CROCUTA_EINTERNAL, "more than %d outputs in a set",
			       SET_LIMIT);
	code = cr_output_open(path, options, output, error);
	if (!code)
		set->outputs[set->count++] = *output;
	return code;
}

int cr_output_set_commit(cr_output_set *set, crocuta_error *error)
{
	int code = CROCUTA_OK, i;

	for (i = 0; !code && i < set->count; i++)
		code = cr_output_finish(set->outputs[i], error);
	for (i = set->count - 1; !code && i >= 0; i--)
		code = cr_output_commit(set->outputs[i], error);
	if (code) /* not a half of what belongs together */
		for (i = 0; i < set->count; i++)
			if (set->outputs[i]->committed && set->outputs[i]->target)
				unlink(set->outputs[i]->target);
	return code;
}

void cr_output_set_free(cr_output_set *set)
{
	if (!set)
		return;
	for (int i = 0; i < set->count; i++)
		cr_output_free(set->outputs[i]);
	cr_free(set);
}
