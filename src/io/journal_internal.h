/* journal_internal.h - shared by journal.c and journal_recover.c. */
#ifndef CR_IO_JOURNAL_INTERNAL_H
#define CR_IO_JOURNAL_INTERNAL_H

#include <pthread.h>

#include "io/journal_text.h"

struct cr_journal {
	char *directory, *text_path, *data_path;
	char *new_path; /* of the data until the first line about it */
	int in_place;   /* the files are this run's */
	char *command, *date;
	json_t *binding;
	int64_t unit_bytes;
	double interval;
	int eager, replaces, unreadable;
	int text_fd, data_fd;       /* -1: nothing was created or found yet */
	char seal[CR_JOURNAL_SEAL]; /* of the last line */
	/* what was there */
	int64_t saved, taken; /* units; those read again */
	cr_journal_mark saved_mark;
	long *processes;
	int64_t process_count;
	/* what is appended */
	pthread_mutex_t mutex;     /* of all below */
	int64_t appended, on_disk; /* units, those that were there included */
	cr_journal_mark mark;
	int whole; /* a run may begin behind the last unit */
	char *buffer;
	int64_t used;
	uint64_t digest; /* of the data since the last line */
	double saved_at;
	char trouble[400];
};

/* Open and lock the file of lines. -1 with errno; EWOULDBLOCK: another process has it. */
int cr_journal_lock(cr_journal *journal, int create);

/* One line more, synced; without its seal and end. 0 or -1 with errno. */
int cr_journal_write_line(cr_journal *journal, const char *line);

/* The line that names this process. */
int cr_journal_begin_process(cr_journal *journal);

/* A new one, over what was there, with its first lines. -1: given up. */
int cr_journal_create(cr_journal *journal);

/* Take over what the directory holds; if that is nothing, begin there. */
CROCUTA_CHECKED int cr_journal_recover(cr_journal *journal, crocuta_error *error);

#endif
