/* writer.c - see writer.h. */
#include "task/writer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const cr_writer_kind *const kinds[] = {
#define WRITER(name) &cr_writer_##name,
#include "task/writers.def"
#undef WRITER
	NULL};

const cr_writer_kind *cr_writer_find(const char *name)
{
	for (const cr_writer_kind *const *kind = kinds; *kind; kind++)
		if (!strcmp((*kind)->name, name))
			return *kind;
	return NULL;
}

/* Does path end in one of the suffixes, with `tail` after it? */
static int has_suffix(const char *path, const char *suffixes, const char *tail)
{
	size_t length = strlen(path), tail_length = strlen(tail);

	if (length < tail_length || strcasecmp(path + length - tail_length, tail))
		return 0;
	length -= tail_length;
	while (*(suffixes += strspn(suffixes, " "))) {
		size_t bytes = strcspn(suffixes, " ");

		if (length > bytes && !strncasecmp(path + length - bytes, suffixes, bytes))
			return 1;
		suffixes += bytes;
	}
	return 0;
}

const cr_writer_kind *cr_writer_of_path(const char *path)
{
	for (const cr_writer_kind *const *kind = kinds; *kind; kind++) {
		if (has_suffix(path, (*kind)->suffixes, ""))
			return *kind;
		if (!(*kind)->binary && (has_suffix(path, (*kind)->suffixes, ".gz") ||
					 has_suffix(path, (*kind)->suffixes, ".bgz")))
			return *kind;
	}
	return NULL;
}

int cr_writer_file(const cr_writer_kind *kind, const char *path, int number, char *out,
		   size_t capacity)
{
	const char *tail = number < 1 ? "" : number < 3 ? kind->sidecars[number - 1] : NULL;
	size_t length = strlen(path);
	int used;

	if (number < 0 || !tail)
		return -1;
	if (*tail == '-') {
		tail++;
		if (has_suffix(path, kind->suffixes, ""))
			length = (size_t)(strrchr(path, '.') - path);
	}
	used = snprintf(out, capacity, "%.*s%s", (int)length, path, tail);
	return used < 0 || (size_t)used >= capacity ? -1 : 0;
}

int cr_writer_add_track(cr_track *track, const cr_job_rows *rows, crocuta_error *error)
{
	const cr_job *job = rows->job;
	int64_t end = job->end;

	if ((end - rows->start - 1) / job->bin + 1 > rows->count)
		end = rows->start + rows->count * job->bin;
	return cr_track_add(track, job->contig_index, rows->start, end, job->bin, rows->values,
			    error);
}
