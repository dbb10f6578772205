/* source.c - see source.h. Both kinds of file are read in blocks of at most 64 KiB, one of which is
 * held: pages of a plain file, BGZF blocks of a bgzip file. */
#define _GNU_SOURCE
#include "io/source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <htslib/bgzf.h>
#include <htslib/hfile.h>
#include <htslib/hts_log.h>

#include "base/error.h"
#include "base/memory.h"

#define PAGE 65536
#define HEADER_BYTES 18 /* of a BGZF block */
#define MARKER_BYTES 28 /* the empty block at the end */

static const unsigned char end_marker[MARKER_BYTES] =
	"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0";

struct block {
	int64_t compressed, content; /* offsets of its start */
};

struct cr_source {
	char *path;
	int fd;
	struct stat identity;
	BGZF *bgzf;           /* NULL: plain */
	struct block *blocks; /* block_count + 1 of them, the last one marks the end */
	int64_t block_count, block_capacity;
	int64_t size;
	int64_t held_start, held_bytes; /* what buffer contains */
	int64_t bgzf_place;             /* file offset where bgzf stands */
	char buffer[PAGE];
};

static void silence_htslib(void)
{
	hts_set_log_level(HTS_LOG_OFF);
}

void cr_htslib_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, silence_htslib);
}

int cr_refuse_url(const char *path, crocuta_error *error)
{
	if (!strstr(path, "://"))
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EARG,
		       "%.200s: is a URL; files are never fetched, download it first", path);
}

/* pread all of n bytes; returns the bytes read, less at the end of the file, or -1. */
static int64_t read_at(int fd, int64_t offset, void *out, int64_t n)
{
	int64_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, (char *)out + done, (size_t)(n - done), offset + done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (!got)
			break;
		done += got;
	}
	return done;
}

/* Open for reading without ever waiting for a FIFO's writer. */
static int open_regular(const char *path, int *fd, struct stat *identity, crocuta_error *error)
{
	if (cr_refuse_url(path, error))
		return CROCUTA_EARG;
	*fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot open", path);
	if (fstat(*fd, identity))
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot examine", path);
	if (S_ISREG(identity->st_mode))
		return CROCUTA_OK;
	if (S_ISDIR(identity->st_mode)) {
		errno = EISDIR;
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", path);
	}
	return cr_fail(error, CROCUTA_EARG,
		       "%.200s: is a pipe or device, and random access is needed; write it to a "
		       "file first",
		       path);
}

int cr_read_file(const char *path, int64_t limit, char **data, int64_t *bytes, crocuta_error *error)
{
	struct stat identity;
	int fd = -1, code = open_regular(path, &fd, &identity, error);

	*data = NULL;
	if (!code && identity.st_size > limit)
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: %lld bytes, more than %lld", path,
			       (long long)identity.st_size, (long long)limit);
	if (!code) {
		*data = cr_calloc((size_t)identity.st_size + 1, 1);
		if (!*data)
			code = cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory for %lld bytes",
				       path, (long long)identity.st_size);
	}
	if (!code) {
		*bytes = read_at(fd, 0, *data, identity.st_size);
		if (*bytes != identity.st_size) {
			code = *bytes < 0
				       ? cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read",
						       path)
				       : cr_fail(error, CROCUTA_EINPUT,
						 "%.200s: became shorter while being read", path);
			cr_free(*data);
			*data = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	return code;
}

int cr_open_stream(const char *path, struct hFILE **file, crocuta_error *error)
{
	struct stat identity;
	int fd;

	*file = NULL;
	cr_htslib_prepare();
	if (cr_refuse_url(path, error))
		return CROCUTA_EARG;
	fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(0, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot open", path);
	if (!fstat(fd, &identity) && S_ISDIR(identity.st_mode)) {
		close(fd);
		errno = EISDIR;
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", path);
	}
	*file = hdopen(fd, "r");
	if (!*file) {
		close(fd);
		return cr_fail_errno(error, CROCUTA_EMEMORY, "%.200s: cannot read", path);
	}
	return CROCUTA_OK;
}

int cr_check_last_line(const char *path, crocuta_error *error)
{
	struct stat there;
	char last = '\n';
	int fd;

	if (stat(path, &there) || !S_ISREG(there.st_mode) || !there.st_size)
		return CROCUTA_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return CROCUTA_OK;
	if (pread(fd, &last, 1, there.st_size - 1) != 1)
		last = '\n';
	close(fd);
	if (last == '\n')
		return CROCUTA_OK;
	return cr_fail(error, CROCUTA_EINPUT,
		       "%.200s: the last line has no line end; the file was cut, copy it again",
		       path);
}

/* Size of the block at `offset` of the file, and of its content; 0 bytes when no whole BGZF block
 * is there, -1 on a read error. */
static int64_t measure_block(const cr_source *source, int64_t offset, int64_t *content)
{
	unsigned char head[HEADER_BYTES], tail[4];
	int64_t got = read_at(source->fd, offset, head, HEADER_BYTES), bytes;

	if (got < HEADER_BYTES)
		return got < 0 ? -1 : 0;
	if (head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 || !(head[3] & 4) ||
	    memcmp(head + 12, "BC\2\0", 4) != 0)
		return 0;
	bytes = (head[16] | head[17] << 8) + 1;
	if (bytes < MARKER_BYTES - 2)
		return 0;
	got = read_at(source->fd, offset + bytes - 4, tail, 4);
	if (got < 4)
		return got < 0 ? -1 : 0;
	*content = (int64_t)tail[0] | (int64_t)tail[1] << 8 | (int64_t)tail[2] << 16 |
		   (int64_t)tail[3] << 24;
	return *content > PAGE ? 0 : bytes;
}

static int add_block(cr_source *source, int64_t compressed, int64_t content, crocuta_error *error)
{
	if (source->block_count == source->block_capacity) {
		int64_t capacity = source->block_capacity ? source->block_capacity * 2 : 1024;
		struct block *blocks = cr_realloc(source->blocks, (size_t)capacity, sizeof *blocks);

		if (!blocks)
			return cr_fail(error, CROCUTA_EMEMORY,
				       "%.200s: no memory for its block index", source->path);
		source->blocks = blocks;
		source->block_capacity = capacity;
	}
	source->blocks[source->block_count++] = (struct block){compressed, content};
	return CROCUTA_OK;
}

/* Append the blocks from file offset `at` to the end, then the mark of the end. */
static int walk_blocks(cr_source *source, int64_t at, int64_t content, int allow_truncated,
		       crocuta_error *error)
{
	int64_t file_size = source->identity.st_size;
	int code;

	while (at < file_size) {
		int64_t held, bytes = measure_block(source, at, &held);

		if (bytes < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read",
					     source->path);
		if (!bytes || bytes > file_size - at) {
			if (allow_truncated)
				break;
			return cr_fail(error, CROCUTA_EINPUT,
				       "%.200s: no BGZF block at byte %lld; the file is damaged, "
				       "fetch it again",
				       source->path, (long long)at);
		}
		if (held && (code = add_block(source, at, content, error)))
			return code;
		at += bytes;
		content += held;
	}
	if ((code = add_block(source, at, content, error)))
		return code;
	source->block_count--;
	source->size = content;
	return CROCUTA_OK;
}

static uint64_t little_endian(const char *bytes)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | (unsigned char)bytes[i];
	return value;
}

static int gzi_lies(const cr_source *source, const char *gzi, const char *what,
		    crocuta_error *error)
{
	return cr_fail(
		error, CROCUTA_EINPUT,
		"%.200s: %s; the index is not of %.200s, rebuild it with bgzip -r or delete it",
		gzi, what, source->path);
}

/* Rule G on a .gzi in memory; its entries become blocks. */
static int prove_gzi(cr_source *source, const char *gzi, const char *data, int64_t bytes,
		     crocuta_error *error)
{
	int64_t entries, sample;
	uint64_t claimed, last_compressed = 0, last_content = 0;
	int code;

	claimed = bytes >= 8 ? little_endian(data) : 0;
	if (bytes < 8 || (bytes - 8) % 16 || claimed != (uint64_t)(bytes - 8) / 16)
		return gzi_lies(source, gzi,
				"its size does not fit the number of entries it states", error);
	entries = (bytes - 8) / 16;
	if ((code = add_block(source, 0, 0, error)))
		return code;
	for (int64_t i = 0; i < entries; i++) {
		uint64_t compressed = little_endian(data + 8 + 16 * i);
		uint64_t content = little_endian(data + 16 + 16 * i);

		if (compressed <= last_compressed || content <= last_content ||
		    content - last_content > PAGE)
			return gzi_lies(source, gzi, "its offsets do not rise as blocks do", error);
		if (compressed >= (uint64_t)source->identity.st_size)
			return gzi_lies(source, gzi, "an offset lies behind the end of the file",
					error);
		if ((code = add_block(source, (int64_t)compressed, (int64_t)content, error)))
			return code;
		last_compressed = compressed;
		last_content = content;
	}
	sample = entries / 64 + 1;
	for (int64_t i = 0; i < entries; i += sample) {
		int64_t content, bytes_there;

		bytes_there = measure_block(source, source->blocks[i].compressed, &content);
		if (bytes_there < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read",
					     source->path);
		if (!bytes_there ||
		    content != source->blocks[i + 1].content - source->blocks[i].content)
			return gzi_lies(source, gzi, "an entry points to no block of that size",
					error);
	}
	return CROCUTA_OK;
}

/* Fill source->blocks from the .gzi, completed by a walk over the blocks behind its last entry. */
static int index_blocks(cr_source *source, const char *gzi, int allow_truncated,
			crocuta_error *error)
{
	char *beside = NULL, *data = NULL;
	int64_t bytes = 0;
	struct block last = {0, 0};
	int code = CROCUTA_OK;

	if (!gzi) {
		size_t length = strlen(source->path);

		beside = cr_calloc(length + 5, 1);
		if (!beside)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for a file name");
		memcpy(beside, source->path, length);
		memcpy(beside + length, ".gzi", 4);
		if (!access(beside, F_OK))
			gzi = beside;
	}
	if (gzi)
		code = cr_read_file(gzi, (int64_t)1 << 32, &data, &bytes, error);
	if (gzi && !code)
		code = prove_gzi(source, gzi, data, bytes, error);
	if (!code && source->block_count)
		last = source->blocks[--source->block_count];
	if (!code)
		code = walk_blocks(source, last.compressed, last.content, allow_truncated, error);
	cr_free(data);
	cr_free(beside);
	return code;
}

static int open_bgzf(cr_source *source, const char *gzi, int allow_truncated, crocuta_error *error)
{
	unsigned char head[HEADER_BYTES] = {0}, tail[MARKER_BYTES];
	int64_t file_size = source->identity.st_size;
	int own_fd;

	cr_htslib_prepare();
	if (read_at(source->fd, 0, head, HEADER_BYTES) < HEADER_BYTES ||
	    memcmp(head + 12, "BC\2\0", 4) != 0)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: is gzip, not bgzip, and has no random access; recompress it: "
			"gunzip -c FILE | bgzip > NEW",
			source->path);
	if (!allow_truncated &&
	    (file_size < MARKER_BYTES ||
	     read_at(source->fd, file_size - MARKER_BYTES, tail, MARKER_BYTES) != MARKER_BYTES ||
	     memcmp(tail, end_marker, MARKER_BYTES) != 0))
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: no BGZF end marker at byte %lld; the file was cut, copy it "
			       "again (--allow-truncated reads what is there)",
			       source->path, (long long)file_size);
	own_fd = fcntl(source->fd, F_DUPFD_CLOEXEC, 0);
	if (own_fd < 0)
		return cr_fail_errno(error, CROCUTA_EMEMORY, "%.200s: no descriptor", source->path);
	source->bgzf = bgzf_dopen(own_fd, "r");
	if (!source->bgzf) {
		close(own_fd);
		return cr_fail_errno(error, CROCUTA_EMEMORY, "%.200s: cannot read", source->path);
	}
	return index_blocks(source, gzi, allow_truncated, error);
}

int cr_source_open(const char *path, const char *gzi, int allow_truncated, cr_source **source,
		   crocuta_error *error)
{
	cr_source *made = cr_calloc(1, sizeof *made);
	unsigned char magic[2] = {0};
	int code;

	*source = NULL;
	if (made)
		made->fd = -1;
	if (!made || !(made->path = cr_strdup(path))) {
		cr_free(made);
		return cr_fail(error, CROCUTA_EMEMORY, "%.200s: no memory to open it", path);
	}
	code = open_regular(path, &made->fd, &made->identity, error);
	if (!code && !made->identity.st_size)
		code = cr_fail(error, CROCUTA_EINPUT, "%.200s: the file is empty", path);
	if (!code && read_at(made->fd, 0, magic, 2) < 0)
		code = cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read", path);
	if (!code && magic[0] == 0x1f && magic[1] == 0x8b)
		code = open_bgzf(made, gzi, allow_truncated, error);
	else
		made->size = made->identity.st_size;
	if (code) {
		cr_source_close(made);
		return code;
	}
	*source = made;
	return CROCUTA_OK;
}

void cr_source_close(cr_source *source)
{
	if (!source)
		return;
	if (source->bgzf)
		bgzf_close(source->bgzf);
	if (source->fd >= 0)
		close(source->fd);
	cr_free(source->blocks);
	cr_free(source->path);
	cr_free(source);
}

int64_t cr_source_size(const cr_source *source)
{
	return source->size;
}

int cr_source_is_bgzf(const cr_source *source)
{
	return source->bgzf != NULL;
}

const char *cr_source_path(const cr_source *source)
{
	return source->path;
}

static int load_page(cr_source *source, int64_t offset, crocuta_error *error)
{
	int64_t start = offset / PAGE * PAGE, want = source->size - start;
	int64_t got;

	want = want < PAGE ? want : PAGE;
	source->held_bytes = 0;
	got = read_at(source->fd, start, source->buffer, want);
	if (got < 0)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot read at byte %lld",
				     source->path, (long long)start);
	if (got < want)
		return cr_fail(error, CROCUTA_EINPUT, "%.200s: became shorter while being read",
			       source->path);
	source->held_start = start;
	source->held_bytes = got;
	return CROCUTA_OK;
}

/* Do only empty blocks lie between two offsets of the file? */
static int only_empty_between(const cr_source *source, int64_t from, int64_t to)
{
	while (from < to) {
		int64_t content, bytes = measure_block(source, from, &content);

		if (bytes <= 0 || content)
			return 0;
		from += bytes;
	}
	return from == to;
}

static int load_block(cr_source *source, int64_t index, crocuta_error *error)
{
	const struct block *block = &source->blocks[index];
	int64_t want = block[1].content - block->content, place;

	if (block->compressed != source->bgzf_place)
		if (bgzf_seek(source->bgzf, block->compressed << 16, SEEK_SET) < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot seek to byte %lld",
					     source->path, (long long)block->compressed);
	source->held_bytes = 0;
	source->bgzf_place = -1;
	if (bgzf_read(source->bgzf, source->buffer, (size_t)want) != want)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: the BGZF block at byte %lld cannot be read or fails its "
			       "checksum; the file is damaged, fetch it again",
			       source->path, (long long)block->compressed);
	place = bgzf_tell(source->bgzf);
	if (place & 0xffff || !only_empty_between(source, place >> 16, block[1].compressed))
		return cr_fail(
			error, CROCUTA_EINPUT,
			"%.200s: the .gzi index is wrong about the block at byte %lld; rebuild "
			"it with bgzip -r or delete it",
			source->path, (long long)block->compressed);
	source->bgzf_place = place >> 16;
	source->held_start = block->content;
	source->held_bytes = want;
	return CROCUTA_OK;
}

/* Index of the block that holds a content offset below the size. */
static int64_t find_block(const cr_source *source, int64_t offset)
{
	int64_t low = 0, high = source->block_count;

	while (high - low > 1) {
		int64_t middle = low + (high - low) / 2;

		if (source->blocks[middle].content <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

int cr_source_view(cr_source *source, int64_t offset, const char **bytes, int64_t *count,
		   crocuta_error *error)
{
	int64_t skip = offset - source->held_start;
	int code = CROCUTA_OK;

	*bytes = source->buffer;
	*count = 0;
	if (offset < 0 || offset > source->size)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: offset %lld is off the file",
			       source->path, (long long)offset);
	if (offset == source->size)
		return CROCUTA_OK;
	if (skip < 0 || skip >= source->held_bytes) {
		code = source->bgzf ? load_block(source, find_block(source, offset), error)
				    : load_page(source, offset, error);
		skip = offset - source->held_start;
	}
	if (code)
		return code;
	*bytes = source->buffer + skip;
	*count = source->held_bytes - skip;
	return CROCUTA_OK;
}

static void put_little_endian(FILE *out, int64_t value)
{
	for (int i = 0; i < 8; i++)
		fputc((int)((uint64_t)value >> 8 * i & 0xff), out);
}

int cr_source_save_gzi(const cr_source *source, const char *path, crocuta_error *error)
{
	FILE *out = fopen(path, "wxe");
	int failed;

	if (!out)
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot create", path);
	put_little_endian(out, source->block_count > 1 ? source->block_count - 1 : 0);
	for (int64_t i = 1; i < source->block_count; i++) {
		put_little_endian(out, source->blocks[i].compressed);
		put_little_endian(out, source->blocks[i].content);
	}
	failed = ferror(out) != 0;
	failed |= fclose(out) != 0;
	return failed ? cr_fail_errno(error, CROCUTA_EIO, "%.200s: write failed", path)
		      : CROCUTA_OK;
}

int cr_source_unchanged(const cr_source *source, crocuta_error *error)
{
	const struct stat *then = &source->identity;
	struct stat now;

	if (stat(source->path, &now))
		return cr_fail_errno(error, CROCUTA_EIO, "%.200s: cannot be examined any more",
				     source->path);
	if (now.st_dev != then->st_dev || now.st_ino != then->st_ino ||
	    now.st_size != then->st_size || now.st_mtim.tv_sec != then->st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != then->st_mtim.tv_nsec)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: was changed during the run; the result is discarded",
			       source->path);
	return CROCUTA_OK;
}
