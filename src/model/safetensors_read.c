/* safetensors_read.c - the tensors' bytes: read, digested, looked over, handed on; see
 * safetensors.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/half.h"
#include "model/safetensors_internal.h"

int cr_safetensors_read_exactly(int fd, const char *where, const char *what, void *to, size_t size,
				uint64_t offset, crocuta_error *error)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%s: %.80s: cannot read byte %llu",
					     where, what, (unsigned long long)(offset + done));
		if (got == 0)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: %.80s: file ends at byte %llu; it became shorter while "
				       "it was read",
				       where, what, (unsigned long long)(offset + done));
		done += (size_t)got;
	}
	return 0;
}

/* The file that has the tensor's bytes. */
static const cr_safetensors *holder(const cr_safetensors *file, const cr_tensor *tensor)
{
	return file->shards ? &file->shard[tensor->shard] : file;
}

const char *cr_safetensors_where(const cr_safetensors *file, int64_t index)
{
	return holder(file, &file->tensor[index])->where;
}

/* The digest gets the headers of shards when their turn comes: that of a single file it has since
 * it was opened. */
static int digest_headers(cr_safetensors *file, int shard, crocuta_error *error)
{
	for (; file->digest && file->shards && file->digested <= shard; file->digested++) {
		const cr_safetensors *next = &file->shard[file->digested];

		for (uint64_t done = 0; done < next->data_start;) {
			size_t part = next->data_start - done < CR_SAFETENSORS_CHUNK
					      ? (size_t)(next->data_start - done)
					      : CR_SAFETENSORS_CHUNK;
			int code = cr_safetensors_read_exactly(next->fd, next->where, "header",
							       file->scratch, part, done, error);

			if (!code)
				code = cr_digest_update(file->digest, file->scratch, part, error);
			if (code)
				return code;
			done += part;
		}
	}
	return 0;
}

/* Bytes [done, done + size) of a tensor, digested. */
static int fetch(cr_safetensors *file, const cr_tensor *tensor, uint64_t done, void *bytes,
		 size_t size, crocuta_error *error)
{
	const cr_safetensors *part = holder(file, tensor);
	int code = cr_safetensors_read_exactly(part->fd, part->where, tensor->name, bytes, size,
					       part->data_start + tensor->begin + done, error);

	return code || !file->digest ? code : cr_digest_update(file->digest, bytes, size, error);
}

/* Index of the first NaN or infinity, or -1. */
static int64_t first_not_finite(const void *values, int64_t count)
{
	const unsigned char *bytes = values;

	for (int64_t i = 0; i < count;) {
		int64_t stop = count - i > 4096 ? i + 4096 : count;
		unsigned int found = 0;

		for (int64_t j = i; j < stop; j++) {
			uint32_t bits;

			memcpy(&bits, bytes + 4 * j, sizeof bits);
			found |= (bits & 0x7f800000) == 0x7f800000;
		}
		for (; found && i < stop; i++) {
			uint32_t bits;

			memcpy(&bits, bytes + 4 * i, sizeof bits);
			if ((bits & 0x7f800000) == 0x7f800000)
				return i;
		}
		i = stop;
	}
	return -1;
}

/* The same of 16-bit numbers with these exponent bits. */
static int64_t first_not_finite_half(const void *values, int64_t count, unsigned int exponent)
{
	const unsigned char *bytes = values;

	for (int64_t i = 0; i < count;) {
		int64_t stop = count - i > 4096 ? i + 4096 : count;
		unsigned int found = 0;

		for (int64_t j = i; j < stop; j++) {
			uint16_t bits;

			memcpy(&bits, bytes + 2 * j, sizeof bits);
			found |= (bits & exponent) == exponent;
		}
		for (; found && i < stop; i++) {
			uint16_t bits;

			memcpy(&bits, bytes + 2 * i, sizeof bits);
			if ((bits & exponent) == exponent)
				return i;
		}
		i = stop;
	}
	return -1;
}

/* count stored 16-bit elements at `from` become floats. */
static void widen(int dtype, const unsigned char *from, float *to, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint16_t bits;

		memcpy(&bits, from + 2 * i, sizeof bits);
		to[i] = dtype == CR_DTYPE_F16 ? cr_half_to_float(bits) : cr_bfloat_to_float(bits);
	}
}

/* Refuse the tensor if one of `count` stored elements, the first of which is number `first`, is not
 * finite. */
static int check_finite(const cr_safetensors *file, const cr_tensor *tensor, const void *elements,
			uint64_t first, int64_t count, crocuta_error *error)
{
	const unsigned char *bytes = elements;
	unsigned int exponent = tensor->dtype == CR_DTYPE_F16 ? 0x7c00 : 0x7f80;
	int wide = tensor->dtype == CR_DTYPE_F32;
	int64_t bad = wide ? first_not_finite(elements, count)
			   : first_not_finite_half(elements, count, exponent);
	float value;

	if (bad < 0)
		return 0;
	if (wide)
		memcpy(&value, bytes + 4 * bad, sizeof value);
	else
		widen(tensor->dtype, bytes + 2 * bad, &value, 1);
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: tensor \"%.80s\": element %llu is %s; the weights are damaged "
		       "(--allow-nan-weights loads them all the same)",
		       holder(file, tensor)->where, tensor->name,
		       (unsigned long long)(first + (uint64_t)bad),
		       value != value ? "NaN" : "infinite");
}

static int check_dtype(const cr_safetensors *file, const cr_tensor *tensor, crocuta_error *error)
{
	if (tensor->dtype <= CR_DTYPE_BF16)
		return 0;
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: tensor \"%.80s\": weights stored as %s are not supported (F32, F16, "
		       "BF16 are)",
		       holder(file, tensor)->where, tensor->name, cr_dtype_name(tensor->dtype));
}

int cr_safetensors_read(cr_safetensors *file, int64_t index, float *values, int allow_nan,
			crocuta_error *error)
{
	const cr_tensor *tensor = &file->tensor[index];
	uint64_t size = tensor->end - tensor->begin;
	size_t each = cr_dtype_size(tensor->dtype);
	int direct = values && tensor->dtype == CR_DTYPE_F32;
	int code = values ? check_dtype(file, tensor, error) : 0;

	if (file->unread)
		return code;
	if (!code)
		code = digest_headers(file, tensor->shard, error);
	for (uint64_t done = 0; done < size && !code;) {
		size_t part = size - done < CR_SAFETENSORS_CHUNK ? (size_t)(size - done)
								 : CR_SAFETENSORS_CHUNK;
		float *to = values ? values + done / each : NULL;
		unsigned char *bytes = direct ? (unsigned char *)to : file->scratch;

		code = fetch(file, tensor, done, bytes, part, error);
		if (!code && values && !allow_nan)
			code = check_finite(file, tensor, bytes, done / each,
					    (int64_t)(part / each), error);
		if (!code && values && !direct)
			widen(tensor->dtype, bytes, to, part / each);
		done += part;
	}
	return code;
}

int cr_safetensors_stream(cr_safetensors *file, int64_t index, int allow_nan, cr_tensor_part *part,
			  void *user, crocuta_error *error)
{
	const cr_tensor *tensor = &file->tensor[index];
	uint64_t size = tensor->end - tensor->begin;
	size_t each = cr_dtype_size(tensor->dtype);
	int code = check_dtype(file, tensor, error);

	if (file->unread)
		return code;
	if (!code)
		code = digest_headers(file, tensor->shard, error);
	for (uint64_t done = 0; done < size && !code;) {
		size_t bytes = size - done < CR_SAFETENSORS_CHUNK ? (size_t)(size - done)
								  : CR_SAFETENSORS_CHUNK;

		code = fetch(file, tensor, done, file->scratch, bytes, error);
		if (!code && !allow_nan)
			code = check_finite(file, tensor, file->scratch, done / each,
					    (int64_t)(bytes / each), error);
		if (!code)
			part(user, (int64_t)(done / each), (int64_t)(bytes / each), file->scratch);
		done += bytes;
	}
	return code;
}

int cr_safetensors_unchanged(const cr_safetensors *file, crocuta_error *error)
{
	struct stat status;
	int64_t now[4];

	for (int i = 0; i < file->shards; i++) {
		int code = cr_safetensors_unchanged(&file->shard[i], error);

		if (code)
			return code;
	}
	if (file->shards)
		return 0;
	if (fstat(file->fd, &status))
		return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot examine", file->where);
	cr_safetensors_identify(&status, now);
	if ((uint64_t)status.st_size != file->file_size || memcmp(now, file->identity, sizeof now))
		return cr_fail(error, CROCUTA_EMODEL, "%s: was changed while it was read",
			       file->where);
	return 0;
}
