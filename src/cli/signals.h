/* signals.h - INT, TERM, HUP and USR1 ask a run to stop; the program then dies by the signal. */
#ifndef CR_CLI_SIGNALS_H
#define CR_CLI_SIGNALS_H

/* Handlers for the four above: the first one is answered by the run's progress function; a second
 * one, or eight seconds without an answer, removes unfinished files and ends the program at once.
 * Also XFSZ is ignored, so that writes fail with EFBIG; PIPE as by default. */
void cr_signals_install(void);

/* The first signal that asked to stop, or 0. */
int cr_signals_pending(void);

/* Die by the pending signal, if there is one. Returns when there is none. */
void cr_signals_die(void);

#endif
