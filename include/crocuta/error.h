/* crocuta/error.h - status codes and the error record that every call fills.
 *
 * Every fallible call returns 0 or one of the codes below; the same number is the exit status of
 * the program, so that a pipeline and a C caller read the same table.
 */
#ifndef CROCUTA_ERROR_H
#define CROCUTA_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CROCUTA_CHECKED __attribute__((warn_unused_result))
#define CROCUTA_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define CROCUTA_API __attribute__((visibility("default")))
#else
#define CROCUTA_CHECKED
#define CROCUTA_PRINTF(text, first)
#define CROCUTA_API
#endif

enum crocuta_status {
	CROCUTA_OK = 0,
	CROCUTA_EINTERNAL = 1, /* our bug */
	CROCUTA_EARG = 2,      /* command line or option value */
	CROCUTA_EINPUT = 3,    /* input data: format, truncation, coordinates off the contig */
	CROCUTA_EMODEL = 4,    /* model missing, malformed or unsupported */
	CROCUTA_EIO = 5,       /* file system: permission, no space, read or write error */
	CROCUTA_EMEMORY = 6,   /* host resources: memory, threads, descriptors */
	CROCUTA_EDEVICE = 7,   /* device absent or lost, peer dead */
	CROCUTA_ENUMERIC = 8,  /* NaN or infinity in results, failed self-test */
	CROCUTA_EREFUSED = 10, /* output exists, resume state differs */
	CROCUTA_ESTOPPED = 75, /* the caller's progress function asked to stop */
};

/* Caller-owned and never allocated. Zero it before the first call and before it is used again: it
 * is written once, by the first failure, and left alone by success. A NULL pointer is accepted
 * wherever a function takes one. One thread at a time. */
typedef struct crocuta_error {
	int code;           /* enum crocuta_status; 0 as long as nothing failed */
	int os_errno;       /* errno of the failed system call, or 0 */
	char message[1000]; /* one line of printable ASCII: where, what, what to do next */
} crocuta_error;

/* Lower-case words for a status, such as "input data", constant; "unknown status" for any other
 * number, never NULL. Any thread. */
CROCUTA_API const char *crocuta_status_name(int code);

#ifdef __cplusplus
}
#endif
#endif
