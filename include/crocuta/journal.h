/* crocuta/journal.h - finished work of a run kept on disk, so that a killed or stopped run goes on.
 */
#ifndef CROCUTA_JOURNAL_H
#define CROCUTA_JOURNAL_H

#include <crocuta/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a run that writes a file keeps its finished work. Part of the options of embed, score and
 * classify; strings are borrowed until the run returns.
 *
 * A run that lasts longer than the interval keeps its numbers in the directory OUTPUT.crocuta-run,
 * which goes away when the output is complete. A later run with `resume` and the same model, input
 * and options takes them from there, and gives the bytes that an undisturbed run would have given;
 * where anything differs it ends with CROCUTA_EREFUSED and changes nothing. An output that is no
 * file (standard output, a FIFO) has a journal with state_dir only. */
typedef struct crocuta_journal_options {
	int off;    /* keep none */
	int resume; /* go on from the journal of an earlier run; from the start if there is none */
	const char *state_dir; /* keep it in this directory, made if missing, in one of its own for
				  what is computed and the output's file name, and go on from it;
				  NULL: beside the output */
	double interval; /* seconds from one save to the next, 0: after every row, item or ALT */
	int eager; /* a run that is stopped before its first save saves too; resume and state_dir
		      mean this */
} crocuta_journal_options;

/* Fill *options with defaults: a journal beside the output, saved every 10 s. Any thread. */
CROCUTA_API void crocuta_journal_options_init(crocuta_journal_options *options);

#ifdef __cplusplus
}
#endif
#endif
