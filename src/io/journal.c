/* journal.c - see journal.h: the files, and the turn of the clock. */
#define _GNU_SOURCE
#include "io/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest64.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/journal_internal.h"

#define BUFFER_BYTES ((int64_t)4 << 20) /* held back before anything is created */

/* ---- opening --------------------------------------------------------------------------------- */

static char *join(const char *directory, const char *name)
{
	size_t bytes = strlen(directory) + strlen(name) + 2;
	char *path = cr_calloc(bytes, 1);

	if (path)
		snprintf(path, bytes, "%s/%s", directory, name);
	return path;
}

static int take_strings(cr_journal *j, const cr_journal_options *o)
{
	char own[40];

	j->directory = cr_strdup(o->directory);
	j->text_path = join(o->directory, "journal");
	j->data_path = join(o->directory, "data");
	snprintf(own, sizeof own, "data.%ld", (long)getpid());
	j->new_path = join(o->directory, own);
	j->command = cr_strdup(o->command ? o->command : "");
	for (char *p = j->command; p && *p; p++) /* JSON takes no other bytes */
		*p = (unsigned char)*p < 0x80 ? *p : '?';
	j->date = cr_strdup(o->date ? o->date : "");
	j->binding = json_deep_copy(o->binding);
	j->buffer = cr_calloc((size_t)BUFFER_BYTES, 1);
	return j->directory && j->text_path && j->data_path && j->new_path && j->command &&
	       j->date && j->binding && j->buffer;
}

int cr_journal_open(const cr_journal_options *options, cr_journal **out, crocuta_error *error)
{
	cr_journal *j = cr_calloc(1, sizeof *j);
	struct stat status;
	int code = CROCUTA_OK;

	*out = NULL;
	if (!j)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	j->text_fd = j->data_fd = -1;
	j->unit_bytes = options->unit_bytes;
	j->interval = options->interval;
	j->eager = options->eager;
	j->digest = CR_DIGEST64;
	j->saved_at = cr_wall_seconds();
	pthread_mutex_init(&j->mutex, NULL);
	if (!take_strings(j, options))
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
	else if (options->resume)
		code = cr_journal_recover(j, error);
	else
		j->replaces = !stat(j->text_path, &status);
	if (code)
		cr_journal_free(j);
	else
		*out = j;
	return code;
}

void cr_journal_free(cr_journal *j)
{
	if (!j)
		return;
	if (j->text_fd >= 0)
		close(j->text_fd);
	if (j->data_fd >= 0)
		close(j->data_fd);
	json_decref(j->binding);
	cr_free(j->directory);
	cr_free(j->text_path);
	cr_free(j->data_path);
	cr_free(j->new_path);
	cr_free(j->command);
	cr_free(j->date);
	cr_free(j->buffer);
	cr_free(j->processes);
	pthread_mutex_destroy(&j->mutex);
	cr_free(j);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Give up; the run goes on without. */
static void give_up(cr_journal *j, const char *what)
{
	if (*j->trouble)
		return;
	snprintf(j->trouble, sizeof j->trouble, "%.200s: %s: %s", j->directory, what,
		 strerror(errno));
}

static int write_all(int fd, const char *bytes, int64_t count)
{
	while (count > 0) {
		ssize_t done = write(fd, bytes, (size_t)count);

		if (done < 0 && errno == EINTR)
			continue;
		if (done == 0)
			errno = EIO;
		if (done <= 0)
			return -1;
		bytes += done;
		count -= done;
	}
	return 0;
}

int cr_journal_write_line(cr_journal *j, const char *line)
{
	size_t bytes = strlen(line) + CR_JOURNAL_SEAL + 8;
	char *whole = cr_calloc(bytes, 1);
	int failed;

	if (!whole) {
		errno = ENOMEM;
		return -1;
	}
	cr_journal_seal(line, j->seal);
	snprintf(whole, bytes, "%s #%s\n", line, j->seal);
	failed = write_all(j->text_fd, whole, (int64_t)strlen(whole)) || fdatasync(j->text_fd);
	cr_free(whole);
	return failed ? -1 : 0;
}

static int write_head(cr_journal *j)
{
	json_t *head = json_pack("{s:O, s:s, s:s, s:I}", "binding", j->binding, "command",
				 j->command, "date", j->date, "unit", (json_int_t)j->unit_bytes);
	char *text = head ? json_dumps(head, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL, *line = NULL;
	int failed;

	if (text)
		line = cr_calloc(strlen(text) + 40, 1);
	if (line)
		sprintf(line, CR_JOURNAL_MAGIC "%s", text);
	json_decref(head);
	free(text);
	*j->seal = '\0';
	errno = ENOMEM;
	failed = !line || cr_journal_write_line(j, line);
	cr_free(line);
	return failed;
}

int cr_journal_begin_process(cr_journal *j)
{
	char line[CR_JOURNAL_LINE];

	snprintf(line, sizeof line, "P %ld", (long)getpid());
	return cr_journal_write_line(j, line);
}

/* Open and lock; 1: removed meanwhile by who has finished, -1 with errno. */
static int try_lock(cr_journal *j, int create)
{
	struct stat status;
	int number;

	j->text_fd =
		open(j->text_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
	if (j->text_fd < 0)
		return -1;
	/* of a file system without locks nothing can be said about others */
	if (!(flock(j->text_fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) &&
	    !fstat(j->text_fd, &status)) {
		if (status.st_nlink)
			return 0;
		errno = 0;
	}
	number = errno;
	close(j->text_fd);
	j->text_fd = -1;
	errno = number;
	return number ? -1 : 1;
}

int cr_journal_lock(cr_journal *j, int create)
{
	for (int attempt = 0; attempt < 10; attempt++) {
		int outcome = try_lock(j, create);

		if (outcome <= 0)
			return outcome;
	}
	errno = EWOULDBLOCK;
	return -1;
}

/* So that the files are found after a power cut too. */
static void sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd); /* some file systems cannot */
	close(fd);
}

/* The data's file, under a name of its own until there is a line about it. */
static int create_data(cr_journal *j)
{
	if (mkdir(j->directory, 0777) && errno != EEXIST)
		return give_up(j, "cannot be made"), -1;
	j->data_fd = open(j->new_path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	return j->data_fd < 0 ? (give_up(j, "cannot be written"), -1) : 0;
}

/* The journal becomes this run's, and what was there is gone. */
static int take_place(cr_journal *j)
{
	char *parent;

	if (j->text_fd < 0 && cr_journal_lock(j, 1)) {
		give_up(j, errno == EWOULDBLOCK ? "another run keeps its work there"
						: "cannot be written");
		return -1;
	}
	if (ftruncate(j->text_fd, 0) || write_head(j) || cr_journal_begin_process(j) ||
	    rename(j->new_path, j->data_path))
		return give_up(j, "cannot be written"), -1;
	j->in_place = 1;
	sync_directory(j->directory);
	parent = join(j->directory, "..");
	if (parent)
		sync_directory(parent);
	cr_free(parent);
	return 0;
}

int cr_journal_create(cr_journal *j)
{
	return create_data(j) || take_place(j) ? -1 : 0;
}

/* The buffer to the file. */
static int write_buffer(cr_journal *j)
{
	if (!j->used)
		return 0;
	if (j->data_fd < 0 && create_data(j))
		return -1;
	if (write_all(j->data_fd, j->buffer, j->used))
		return give_up(j, "cannot be written"), -1;
	j->used = 0;
	return 0;
}

/* Data on disk, then the line about them. */
static void save(cr_journal *j)
{
	char line[CR_JOURNAL_LINE];

	j->saved_at = cr_wall_seconds();
	if (*j->trouble || j->appended == j->on_disk || write_buffer(j))
		return;
	if (fdatasync(j->data_fd)) {
		give_up(j, "cannot be synced to disk");
		return;
	}
	if (!j->in_place && take_place(j))
		return;
	snprintf(line, sizeof line,
		 "U %" PRId64 " %" PRId64 " %016" PRIx64 " %" PRId64 " %016" PRIx64, j->appended,
		 j->appended * j->unit_bytes, j->digest, j->mark.windows, j->mark.digest);
	j->digest = CR_DIGEST64;
	if (cr_journal_write_line(j, line))
		give_up(j, "cannot be written");
	else
		j->on_disk = j->appended;
}

/* Into the buffer, or when it is large past it. */
static void put(cr_journal *j, const char *bytes, int64_t count)
{
	j->digest = cr_digest64_bulk(j->digest, bytes, (size_t)count);
	if (count > BUFFER_BYTES - j->used && write_buffer(j))
		return;
	if (count <= BUFFER_BYTES) {
		memcpy(j->buffer + j->used, bytes, (size_t)count);
		j->used += count;
		return;
	}
	if ((j->data_fd < 0 && create_data(j)) || *j->trouble)
		return;
	if (write_all(j->data_fd, bytes, count))
		give_up(j, "cannot be written");
}

void cr_journal_append(cr_journal *j, const void *unit, cr_journal_mark mark, int whole)
{
	pthread_mutex_lock(&j->mutex);
	if (!*j->trouble) {
		put(j, unit, j->unit_bytes);
		j->appended++;
		j->mark = mark;
		j->whole = whole;
		if (whole && cr_wall_seconds() - j->saved_at >= j->interval)
			save(j);
	}
	pthread_mutex_unlock(&j->mutex);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Data under names of their own, of processes that were killed before their first line. */
static void remove_orphans(const cr_journal *j)
{
	DIR *directory = opendir(j->directory);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		char *path = strncmp(entry->d_name, "data.", 5) ? NULL
								: join(j->directory, entry->d_name);

		if (path)
			unlink(path);
		cr_free(path);
	}
	if (directory)
		closedir(directory);
}

/* The files go away; not those of another run that is at work. */
static void remove_all(cr_journal *j, int others)
{
	if (!j->in_place && j->data_fd >= 0)
		unlink(j->new_path);
	if (j->in_place || j->text_fd >= 0 || (others && j->replaces && !cr_journal_lock(j, 0))) {
		unlink(j->data_path);
		unlink(j->text_path);
		remove_orphans(j);
	}
	rmdir(j->directory); /* fails when there is something in it */
}

void cr_journal_end(cr_journal *j, int done)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->mutex);
	if (done)
		remove_all(j, 1);
	else if (j->whole && (j->on_disk || j->eager))
		save(j);
	if (!done && !j->on_disk && (j->in_place || j->data_fd >= 0))
		remove_all(j, 0); /* there is nothing of this run in it */
	pthread_mutex_unlock(&j->mutex);
}

/* ---- asking ---------------------------------------------------------------------------------- */

int64_t cr_journal_saved(const cr_journal *j)
{
	return j->saved;
}

cr_journal_mark cr_journal_saved_mark(const cr_journal *j)
{
	return j->saved_mark;
}

const char *cr_journal_command(const cr_journal *j)
{
	return j->command;
}

const char *cr_journal_date(const cr_journal *j)
{
	return j->date;
}

long cr_journal_process(const cr_journal *j, int64_t number)
{
	return number < j->process_count ? j->processes[number] : 0;
}

const char *cr_journal_directory(const cr_journal *j)
{
	return j->directory;
}

int cr_journal_was_unreadable(const cr_journal *j)
{
	return j->unreadable;
}

int cr_journal_replaces(const cr_journal *j)
{
	return j->replaces;
}

int64_t cr_journal_unread(const cr_journal *j)
{
	return j->saved - j->taken;
}

const char *cr_journal_trouble(const cr_journal *j)
{
	return *j->trouble ? j->trouble : NULL;
}

int64_t cr_journal_units(const cr_journal *j)
{
	return j->on_disk;
}
