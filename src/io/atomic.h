/* atomic.h - output files that appear under their name only when complete.
 *
 * A regular file is written as .NAME.crocuta-PID.part in the same directory (a long NAME is cut and
 * carries a hash), synced, closed and renamed at commit; anything else (standard output, FIFO, device) is written straight. Every
 * write, sync, close and rename is checked. An older file under the name stays until the rename. */
#ifndef CR_IO_ATOMIC_H
#define CR_IO_ATOMIC_H

#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_output cr_output;

typedef struct cr_output_options {
	const char *const *inputs; /* NULL-terminated paths the output must not be, or NULL */
	int64_t bytes_needed;      /* expected size, for the free-space check; 0: unknown */
	int no_space_check;
	int no_clobber; /* EREFUSED when a file of that name exists */
	int bgzf;       /* compress as BGZF, with its end marker */
	int external;   /* another library writes to cr_output_part_path() */
} cr_output_options;

/* Is the name's suffix .gz, .bgz or .bgzf? */
int cr_output_is_bgzf_name(const char *path);

/* Does the path stand for standard output? */
int cr_output_is_stdout(const char *path);

/* Is it, or would it become, a regular file? Else a descriptor, FIFO or device. */
int cr_output_is_file(const char *path);

/* Remove the part file of an output that another process, which has ended, left. */
void cr_output_remove_part(const char *path, long process);

/* Check, without creating anything, that `path` could be written: not an input, not a directory,
 * its name not too long, its directory writable, space enough. Codes: EARG when it is an input, EREFUSED under no_clobber,
 * EIO. options may be NULL. */
CROCUTA_CHECKED int cr_output_preflight(const char *path, const cr_output_options *options,
					crocuta_error *error);

/* The same checks, then open. "-", /dev/stdout and /dev/fd/N write to that descriptor. On failure
 * *output is NULL. One thread at a time for an output. */
CROCUTA_CHECKED int cr_output_open(const char *path, const cr_output_options *options,
				   cr_output **output, crocuta_error *error);

/* Append bytes. EIO with the errno of the write; EPIPE is among them. */
CROCUTA_CHECKED int cr_output_write(cr_output *output, const void *data, int64_t bytes,
				    crocuta_error *error);

/* Append a NUL-terminated text. */
CROCUTA_CHECKED int cr_output_text(cr_output *output, const char *text, crocuta_error *error);

/* Overwrite bytes written before; only where cr_output_seekable(). */
CROCUTA_CHECKED int cr_output_patch(cr_output *output, int64_t offset, const void *data,
				    int64_t bytes, crocuta_error *error);

int cr_output_seekable(const cr_output *output);  /* a part file without compression */
int64_t cr_output_bytes(const cr_output *output); /* given to write so far */
const char *cr_output_path(const cr_output *output);

/* Path of the part file; NULL when the output is written straight. */
const char *cr_output_part_path(const cr_output *output);

/* Write what is left, sync and close; the file is complete under its part name. */
CROCUTA_CHECKED int cr_output_finish(cr_output *output, crocuta_error *error);

/* finish, unless done, then rename to the final name and sync the directory. */
CROCUTA_CHECKED int cr_output_commit(cr_output *output, crocuta_error *error);

/* Release; what was not committed is removed. NULL is fine. */
void cr_output_free(cr_output *output);

/* Remove every part file of this process that is not committed. Only atomics and unlink(2): safe in
 * a signal handler. */
void cr_atomic_abort_all(void);

/* Several files that belong together, data file first. */
typedef struct cr_output_set cr_output_set;

/* NULL when memory is short. */
cr_output_set *cr_output_set_new(void);

/* Open one more output; the set owns it. */
CROCUTA_CHECKED int cr_output_set_add(cr_output_set *set, const char *path,
				      const cr_output_options *options, cr_output **output,
				      crocuta_error *error);

/* Finish all, then rename all, the first added last. When anything fails before the first rename
 * nothing changes; when a rename fails the names already given by this set are removed again. */
CROCUTA_CHECKED int cr_output_set_commit(cr_output_set *set, crocuta_error *error);
void cr_output_set_free(cr_output_set *set);

#endif
