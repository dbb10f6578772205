/* json.c - see json.h. */
#define _GNU_SOURCE
#include "model/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define NUMBER_MAX 64 /* digits and signs of one number or letters of one literal */

/* Index just past the string that opens at text[start], or size when it does not close. */
static size_t string_end(const char *text, size_t size, size_t start)
{
	for (size_t i = start + 1; i < size; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == '"')
			return i + 1;
	}
	return size;
}

static int is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int is_structure(char c)
{
	return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == '"';
}

static int refuse(crocuta_error *error, const char *where, size_t byte, const char *fact,
		  int64_t limit)
{
	return cr_fail(error, CROCUTA_EMODEL, "%s: JSON byte %zu: %s (limit %lld)", where, byte,
		       fact, (long long)limit);
}

/* Enforce the limits; says nothing about grammar. */
static int scan(const char *text, size_t size, const cr_json_limits *limits, const char *where,
		crocuta_error *error)
{
	int64_t nodes = 0, opens = 0, depth = 0;
	size_t strings = 0, space = 0, next;

	for (size_t i = 0; i < size; i = next) {
		char c = text[i];

		next = i + 1;
		if (c == '"') {
			next = string_end(text, size, i);
			strings += next - i;
			if (next - i > limits->string)
				return refuse(error, where, i, "a string is too long",
					      (int64_t)limits->string);
			if (strings > limits->strings)
				return refuse(error, where, i, "too many bytes of strings",
					      (int64_t)limits->strings);
		} else if (c == '{' || c == '[') {
			nodes++;
			if (++opens > limits->opens)
				return refuse(error, where, i, "too many brackets", limits->opens);
			if (++depth > limits->depth)
				return refuse(error, where, i, "nested too deeply", limits->depth);
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',') {
			nodes++;
		} else if (is_space(c)) {
			if (++space > limits->space)
				return refuse(error, where, i, "too much white space",
					      (int64_t)limits->space);
		} else if (!is_structure(c)) {
			while (next < size && next - i <= NUMBER_MAX && !is_space(text[next]) &&
			       !is_structure(text[next]))
				next++;
			if (next - i > NUMBER_MAX)
				return refuse(error, where, i, "a number or word is too long",
					      NUMBER_MAX);
		}
		if (nodes > limits->nodes)
			return refuse(error, where, i, "too many values", limits->nodes);
	}
	return 0;
}

/* Where the innermost object open at text[end] begins; text up to there is known to be well formed.
 */
static size_t innermost_object(const char *text, size_t end)
{
	size_t open[64], depth = 0; /* limits.depth is below 64 */

	for (size_t i = 0; i < end; i++) {
		if (text[i] == '"')
			i = string_end(text, end, i) - 1;
		else if ((text[i] == '{' || text[i] == '[') && depth < 64)
			open[depth++] = i;
		else if ((text[i] == '}' || text[i] == ']') && depth)
			depth--;
	}
	return depth ? open[depth - 1] : 0;
}

/* jansson stopped just past the second of two equal keys: name it and both places. */
static int fail_duplicate(const char *text, size_t end, const char *where, crocuta_error *error)
{
	size_t start = end >= 2 ? end - 2 : 0, length, object;
	const char *first;

	while (start > 0 && !(text[start] == '"' && text[start - 1] != '\\'))
		start--;
	length = end - start;
	object = innermost_object(text, start);
	first = memmem(text + object, start - object, text + start, length);
	if (!first) /* spelled with an escape the first time */
		first = text + object;
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: key %.*s appears twice, at JSON bytes %zu and %zu", where,
		       length > 80 ? 80 : (int)length, text + start, (size_t)(first - text), start);
}

int cr_json_parse(const char *text, size_t size, const cr_json_limits *limits, const char *where,
		  json_t **root, crocuta_error *error)
{
	json_error_t fault;
	int code = scan(text, size, limits, where, error);

	*root = NULL;
	if (code)
		return code;
	*root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &fault);
	if (*root && json_is_object(*root))
		return 0;
	if (*root) {
		json_decref(*root);
		*root = NULL;
		return cr_fail(error, CROCUTA_EMODEL, "%s: the JSON is not an object", where);
	}
	if (json_error_code(&fault) == json_error_out_of_memory)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for its JSON", where);
	if (json_error_code(&fault) == json_error_duplicate_key && fault.position > 0 &&
	    (size_t)fault.position <= size)
		return fail_duplicate(text, (size_t)fault.position, where, error);
	return cr_fail(error, CROCUTA_EMODEL, "%s: JSON byte %d: %.160s", where, fault.position,
		       fault.text);
}

static int read_all(int fd, const char *path, char *text, size_t size, crocuta_error *error)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, text + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return cr_fail_errno(error, CROCUTA_EIO, "%s: cannot read", path);
		if (got == 0)
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: became shorter while it was read", path);
		done += (size_t)got;
	}
	return 0;
}

int cr_json_read_file(const char *path, size_t limit, char **text, size_t *size,
		      crocuta_error *error)
{
	/* Non-blocking: a FIFO under this name must not hang the open. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), code = 0;
	struct stat status;

	*text = NULL;
	if (fd < 0)
		return cr_fail_errno(error, errno == ENOENT ? CROCUTA_EMODEL : CROCUTA_EIO,
				     "%s: cannot open", path);
	if (fstat(fd, &status))
		code = cr_fail_errno(error, CROCUTA_EIO, "%s: cannot examine", path);
	else if (!S_ISREG(status.st_mode))
		code = cr_fail(error, CROCUTA_EMODEL, "%s: is not a regular file", path);
	else if ((uint64_t)status.st_size > limit)
		code = cr_fail(error, CROCUTA_EMODEL,
			       "%s: has %lld bytes, more than the %zu allowed", path,
			       (long long)status.st_size, limit);
	if (!code) {
		*size = (size_t)status.st_size;
		*text = cr_calloc(*size + 1, 1);
		code = *text ? read_all(fd, path, *text, *size, error)
			     : cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to read it", path);
	}
	close(fd);
	if (code) {
		cr_free(*text);
		*text = NULL;
	}
	return code;
}
