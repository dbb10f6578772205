/* safetensors_internal.h - shared by the parts of the reader alone. */
#ifndef CR_MODEL_SAFETENSORS_INTERNAL_H
#define CR_MODEL_SAFETENSORS_INTERNAL_H

#include <sys/stat.h>

#include "model/safetensors.h"

/* Bytes of one pread, and of `scratch`: stays in cache for digest and scan. */
#define CR_SAFETENSORS_CHUNK ((size_t)1 << 20)

/* All `size` bytes at file offset `offset`, or an error that tells where the file ends. */
int cr_safetensors_read_exactly(int fd, const char *where, const char *what, void *to, size_t size,
				uint64_t offset, crocuta_error *error);

void cr_safetensors_identify(const struct stat *status, int64_t identity[4]);

#endif
