/* journal.h - units of finished work, kept so that a run that was killed can go on.
 *
 * A journal is a directory with two files: `data`, units of a fixed size one behind the other, and
 * `journal`, lines that say how much of it is complete (journal_text.h). A line is written after
 * the data that it speaks of are on disk. Without `resume` nothing is created before the first
 * save. While it is written the file `journal` is locked. */
#ifndef CR_IO_JOURNAL_H
#define CR_IO_JOURNAL_H

#include <stdint.h>

#include <crocuta/error.h>
#include <jansson.h>

/* A place in the input: so many windows (or what a task counts), and a digest of what was read of
 * them. */
typedef struct cr_journal_mark {
	int64_t windows;
	uint64_t digest;
} cr_journal_mark;

typedef struct cr_journal_options {
	const char *directory;      /* its parent exists */
	const json_t *binding;      /* flat object or one level deep: what has to be the same */
	const char *command, *date; /* of this run */
	int64_t unit_bytes;
	int resume;      /* go on from what is there; else it is replaced at the first save */
	int eager;       /* save at the end too when nothing was saved before */
	double interval; /* seconds */
} cr_journal_options;

typedef struct cr_journal cr_journal;

/* Read what is there. EREFUSED when it is of another binding or in use, EIO when a journal to go on
 * from cannot be read. Takes copies of all. */
CROCUTA_CHECKED int cr_journal_open(const cr_journal_options *options, cr_journal **journal,
				    crocuta_error *error);

/* Units that are there, all verified, and where in the input the last of them ends. */
int64_t cr_journal_saved(const cr_journal *journal);
cr_journal_mark cr_journal_saved_mark(const cr_journal *journal);

/* Of the run that began it, or this one's. */
const char *cr_journal_command(const cr_journal *journal);
const char *cr_journal_date(const cr_journal *journal);

/* Processes that wrote here before: number-th, or 0. */
long cr_journal_process(const cr_journal *journal, int64_t number);

const char *cr_journal_directory(const cr_journal *journal);

/* Does the directory hold the work of another run, which the first save will replace? */
int cr_journal_replaces(const cr_journal *journal);

/* Was there something to go on from that could not be understood? */
int cr_journal_was_unreadable(const cr_journal *journal);

/* The next `count` units of those saved. EIO. */
CROCUTA_CHECKED int cr_journal_read(cr_journal *journal, void *units, int64_t count,
				    crocuta_error *error);
int64_t cr_journal_unread(const cr_journal *journal);

/* One unit more; saved at the next turn of the clock, if a run may begin behind it (`whole`). Any
 * thread, many at a time. Does not fail: a journal that cannot be written is given up. */
void cr_journal_append(cr_journal *journal, const void *unit, cr_journal_mark mark, int whole);

/* Why it was given up, or NULL. */
const char *cr_journal_trouble(const cr_journal *journal);

/* Units on disk now. */
int64_t cr_journal_units(const cr_journal *journal);

/* done: the work is complete, all files go away. Else what was appended is saved, if anything was
 * before or the journal is eager. NULL is fine. Frees nothing: cr_journal_free. */
void cr_journal_end(cr_journal *journal, int done);
void cr_journal_free(cr_journal *journal);

#endif
