/* error.h - fill a caller's crocuta_error. */
#ifndef CR_BASE_ERROR_H
#define CR_BASE_ERROR_H

#include <crocuta/error.h>

/* Record the first failure and return its code, so that callers write
 * `return cr_fail(error, CROCUTA_EIO, ...)`. Control bytes and non-ASCII bytes of the formatted
 * text become \xHH. A second call on the same record changes nothing and returns the first code. */
int cr_fail(crocuta_error *error, int code, const char *format, ...) CROCUTA_PRINTF(3, 4);

/* The same with errno's text appended as ": No such file or directory" and errno recorded. */
int cr_fail_errno(crocuta_error *error, int code, const char *format, ...) CROCUTA_PRINTF(3, 4);

#endif
