/* messages.h - what the program says on stderr: [E::cmd], [W::cmd] and [M::cmd] lines.
 *
 * Verbosity: 0 nothing, 1 errors, 2 notices (what runs, what it cost), 3 warnings (default),
 * 4 details, 5 debugging. A warning of the same kind (equal but for numbers and quoted text) is
 * shown five times, then counted. */
#ifndef CR_CLI_MESSAGES_H
#define CR_CLI_MESSAGES_H

#include <crocuta/error.h>

#define CR_VERBOSITY_DEFAULT 3

void cr_messages_start(const char *command);
void cr_messages_set_verbosity(int verbosity);
int cr_messages_get_verbosity(void);

void cr_error(const char *format, ...) CROCUTA_PRINTF(1, 2);
void cr_warning(const char *format, ...) CROCUTA_PRINTF(1, 2);
void cr_notice(const char *format, ...) CROCUTA_PRINTF(1, 2);

/* The latest error line; empty when there was none. */
const char *cr_messages_error(void);

/* Print the record's sentence as the error line and give its code, the exit status. */
int cr_report_error(const crocuta_error *error, int code);

/* A crocuta_log_fn. */
void cr_messages_log(void *user, int level, const char *message);

/* Totals of warnings that were shown five times only. */
void cr_messages_finish(void);

/* Live line on a terminal: text replaces the line, NULL clears it. */
void cr_messages_live(const char *text);

#endif
