/* directory_write.h - directories that appear complete or not at all: models and heads.
 *
 * The files are written into a hidden directory beside the target, synced, and that directory is
 * renamed.
 */
#ifndef CR_MODEL_DIRECTORY_WRITE_H
#define CR_MODEL_DIRECTORY_WRITE_H

#include <jansson.h>
#include <stddef.h>

#include <crocuta/error.h>

#include "model/digest.h"

/* A file being written. */
typedef struct cr_model_file {
	int fd; /* -1: none; the bytes only go to the digest */
	char *path;
	unsigned char *buffer;
	size_t used;
	cr_digest *digest; /* NULL, or the caller's: gets every byte */
} cr_model_file;

/* A new file in `directory`. Close it also after an error. */
int cr_model_file_open(cr_model_file *output, const char *directory, const char *name,
		   crocuta_error *error);
int cr_model_file_put(cr_model_file *output, const void *bytes, size_t count, crocuta_error *error);

/* Flush, sync and close, also after an error; the first failure counts. */
int cr_model_file_close(cr_model_file *output, int code, crocuta_error *error);

/* One file with these bytes. */
int cr_model_file_write(const char *directory, const char *name, const void *bytes, size_t count,
		    crocuta_error *error);

/* "path: no memory to write it". */
int cr_model_file_fail_memory(const char *path, crocuta_error *error);

/* Length word and header of a safetensors file. header: name -> dtype, shape, data_offsets; made by
 * cr_safetensors_describe. The bytes of the tensors follow, in the order of their offsets. */
int cr_safetensors_put_header(cr_model_file *output, const json_t *header, crocuta_error *error);

/* A header with nothing but its metadata; NULL without memory. */
json_t *cr_safetensors_new_header(void);

/* Add a tensor of bytes [begin, end). Nonzero: no memory. */
int cr_safetensors_describe(json_t *header, const char *name, int dtype, int rank,
			    const int64_t *shape, int64_t begin, int64_t end);

/* What a directory is and which files it may hold. */
typedef struct cr_directory_kind {
	const char *what;         /* "a model" */
	const char *const *names; /* (count); the first `needed` are always there */
	int count, needed;
} cr_directory_kind;

/* Writes the files into `directory`. */
typedef int cr_directory_fill(void *user, const char *directory, crocuta_error *error);

/* Could it be written? Before long work: what cr_directory_write refuses, and EIO when the directory
 * that path is to lie in is not there or cannot be written into. */
int cr_directory_check(const char *path, const cr_directory_kind *kind, int replace_all, int force,
		       crocuta_error *error);

/* CROCUTA_EREFUSED when path exists, unless force and it is a directory with no other files than
 * the kind's needed ones, or with replace_all any of the kind's. Codes of fill, EIO, EMEMORY. */
int cr_directory_write(const char *path, const cr_directory_kind *kind, int replace_all, int force,
		       cr_directory_fill *fill, void *user, crocuta_error *error);

#endif
