/* resume.h - where a run keeps its journal (io/journal.h), and what it tells about it. */
#ifndef CR_TASK_RESUME_H
#define CR_TASK_RESUME_H

#include <crocuta/journal.h>
#include <crocuta/session.h>

#include "io/journal.h"

typedef struct cr_resume {
	const crocuta_journal_options *options;
	const char *verb, *output; /* "embed", and the path */
	const char *units;         /* "rows" */
	const char *inputs[2];     /* files read, or NULL */
	const char *command;   /* of the caller; afterwards that of the run that began the work */
	const json_t *binding; /* what decides the numbers */
	int64_t unit_bytes;
	int unasked; /* keep one although nobody asked for it? */
	crocuta_log_fn *log;
	void *user;
	/* result */
	cr_journal *journal; /* NULL: none is kept */
	cr_journal *stale;   /* of an earlier run, of no use when this one has succeeded */
} cr_resume;

/* Options against each other and the output. EARG. */
CROCUTA_CHECKED int cr_resume_check(const crocuta_journal_options *options, const char *output,
				    crocuta_error *error);

/* What an output's header says of how its numbers are made, as a binding: without command and date,
 * with version and shard. NULL gives NULL. */
json_t *cr_resume_binding(json_t *facts, const crocuta_plan *plan, int shard, int shards);

/* Fill in journal. EREFUSED, EIO, EMEMORY. */
CROCUTA_CHECKED int cr_resume_open(cr_resume *resume, crocuta_error *error);

/* Units taken over; 0 without a journal. */
int64_t cr_resume_saved(const cr_resume *resume);

/* Date for the outputs: of the run that began the work; NULL: now. */
const char *cr_resume_date(const cr_resume *resume);

/* EREFUSED: the input is not what the journal was made from. */
int cr_resume_fail_input(const cr_resume *resume, crocuta_error *error);

/* Remove what killed processes with this journal left of an output, of which this is one file. */
void cr_resume_clean(const cr_resume *resume, const char *path);

/* End with the run's code, tell, and free. After all that may append has ended. */
void cr_resume_close(cr_resume *resume, int code);

#endif
