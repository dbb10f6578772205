/* error.c - the only place that writes a crocuta_error. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *crocuta_status_name(int code)
{
	switch (code) {
	case CROCUTA_OK: return "success";
	case CROCUTA_EINTERNAL: return "internal error";
	case CROCUTA_EARG: return "command line";
	case CROCUTA_EINPUT: return "input data";
	case CROCUTA_EMODEL: return "model";
	case CROCUTA_EIO: return "file system";
	case CROCUTA_EMEMORY: return "host resources";
	case CROCUTA_EDEVICE: return "device";
	case CROCUTA_ENUMERIC: return "numerics";
	case CROCUTA_EREFUSED: return "refused";
	case CROCUTA_ESTOPPED: return "stopped";
	default: return "unknown status";
	}
}

/* Copy text into the record with every byte outside printable ASCII escaped, so that a hostile
 * file name or header cannot drive the user's terminal. */
static void store_escaped(crocuta_error *error, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0, capacity = sizeof error->message;

	for (const unsigned char *p = (const unsigned char *)text; *p && used + 5 < capacity; p++) {
		if (*p >= 0x20 && *p < 0x7f) {
			error->message[used++] = (char)*p;
			continue;
		}
		error->message[used++] = '\\';
		error->message[used++] = 'x';
		error->message[used++] = digits[*p >> 4];
		error->message[used++] = digits[*p & 15];
	}
	error->message[used] = '\0';
}

static int fail_with(crocuta_error *error, int code, int os_errno, const char *format, va_list list)
{
	char text[sizeof error->message];
	int used;

	if (!error)
		return code;
	if (error->code)
		return error->code;
	used = vsnprintf(text, sizeof text, format, list);
	if (os_errno && used >= 0 && (size_t)used < sizeof text)
		snprintf(text + used, sizeof text - (size_t)used, ": %s", strerror(os_errno));
	error->code = code;
	error->os_errno = os_errno;
	store_escaped(error, text);
	return code;
}

int cr_fail(crocuta_error *error, int code, const char *format, ...)
{
	va_list list;
	int result;

	va_start(list, format);
	result = fail_with(error, code, 0, format, list);
	va_end(list);
	return result;
}

int cr_fail_errno(crocuta_error *error, int code, const char *format, ...)
{
	int os_errno = errno, result;
	va_list list;

	va_start(list, format);
	result = fail_with(error, code, os_errno, format, list);
	va_end(list);
	return result;
}
