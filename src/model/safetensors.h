/* safetensors.h - strict reader of a .safetensors file, or of several that an index makes one.
 *
 * The file is untrusted: nothing is allocated from a number in it before that number was compared
 * with the size of the file, and a parsed header is known to cover the data without holes, overlap
 * or bytes left over. Data come through pread into the caller's memory; the file is never mapped,
 * so that one that shrinks while it is read gives an error and no signal.
 */
#ifndef CR_MODEL_SAFETENSORS_H
#define CR_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <crocuta/error.h>

#include "model/digest.h"

#define CR_TENSOR_RANK_MAX 8
#define CR_TENSOR_NAME_MAX 512
#define CR_TENSOR_COUNT_MAX 100000
#define CR_SAFETENSORS_HEADER_MAX 100000000 /* as in the reference implementation */
#define CR_SHARDS_MAX 512                   /* each is an open file */

enum cr_dtype {
	CR_DTYPE_F32,
	CR_DTYPE_F16,
	CR_DTYPE_BF16,
	CR_DTYPE_F64, /* this one and the rest are recognised, but hold no weights */
	CR_DTYPE_I64,
	CR_DTYPE_U64,
	CR_DTYPE_I32,
	CR_DTYPE_U32,
	CR_DTYPE_I16,
	CR_DTYPE_U16,
	CR_DTYPE_I8,
	CR_DTYPE_U8,
	CR_DTYPE_BOOL,
	CR_DTYPE_COUNT
};

typedef struct cr_tensor {
	char *name;
	int dtype; /* enum cr_dtype */
	int rank;  /* 0 .. 8 */
	int64_t shape[CR_TENSOR_RANK_MAX];
	int64_t elements;    /* product of the shape */
	uint64_t begin, end; /* bytes, counted from the end of the header */
	int shard;           /* which of several files it lies in; 0 */
} cr_tensor;

typedef struct cr_safetensors {
	char *where; /* how messages call the file */
	int fd;      /* meaningful when opened, not for a header parsed from memory */
	int opened;
	uint64_t file_size;
	uint64_t data_start; /* file offset of the first tensor's bytes */
	int64_t count;
	cr_tensor *tensor;   /* (count) ascending by shard, begin, then end */
	int64_t identity[4]; /* device, inode, modification time: s, ns */
	int unread;          /* 1: reading does nothing, for who wants to know shapes alone */
	cr_digest *digest;   /* the opener's; gets every byte in file order */
	unsigned char *scratch;
	/* Of a checkpoint in several files; 0: this one has the data itself. Else `where` is the
	 * index, `tensor` has them all, and fd, file_size, data_start and identity are those of the
	 * shards. */
	int shards;
	struct cr_safetensors *shard; /* (shards) ascending by name */
	int digested;                 /* shards whose header the digest has */
} cr_safetensors;

/* "F32" and so on; bytes of one element. */
const char *cr_dtype_name(int dtype);
size_t cr_dtype_size(int dtype);

/* "[16, 128]" into text; always terminated. */
void cr_tensor_shape_text(const cr_tensor *tensor, char *text, size_t capacity);

/* Parse and check the first bytes (size of them, the length word included) of a file of file_size
 * bytes. Free with cr_safetensors_close. CROCUTA_EMODEL or EMEMORY. */
int cr_safetensors_parse_header(const void *bytes, size_t size, uint64_t file_size,
				const char *where, cr_safetensors *file, crocuta_error *error);

/* Open a file, parse its header. digest may be NULL; else it must outlive the file. */
int cr_safetensors_open(const char *path, cr_digest *digest, cr_safetensors *file,
			crocuta_error *error);

/* Open the files that an index (model.safetensors.index.json) names, which lie beside it, as one.
 * Index and files must agree on every tensor. The digest gets the files, whole, in the order of
 * their names; not the index. */
int cr_safetensors_open_index(const char *path, cr_digest *digest, cr_safetensors *file,
			      crocuta_error *error);

/* What messages call the file that tensor `index` lies in. */
const char *cr_safetensors_where(const cr_safetensors *file, int64_t index);

/* Read tensor `index` as float32 (F32, F16, BF16). values NULL: only pass the bytes to the digest,
 * any dtype. For a digest of the file, go through all tensors in order. Unless allow_nan, NaN and
 * infinity are CROCUTA_EMODEL, with the index of the first. */
int cr_safetensors_read(cr_safetensors *file, int64_t index, float *values, int allow_nan,
			crocuta_error *error);

/* Receives `count` elements of a tensor, from element `first` on, as they are stored. */
typedef void cr_tensor_part(void *user, int64_t first, int64_t count, const void *elements);

/* Read tensor `index` (F32, F16, BF16) in parts of up to 1 MiB; otherwise as cr_safetensors_read.
 */
int cr_safetensors_stream(cr_safetensors *file, int64_t index, int allow_nan, cr_tensor_part *part,
			  void *user, crocuta_error *error);

/* CROCUTA_EMODEL when the open file's size or modification time is no longer what it was. */
int cr_safetensors_unchanged(const cr_safetensors *file, crocuta_error *error);

/* Safe on a zeroed and on a closed file. */
void cr_safetensors_close(cr_safetensors *file);

#endif
