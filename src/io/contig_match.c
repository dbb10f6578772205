/* contig_match.c - which contig of the FASTA a contig of a VCF is, where the two call it otherwise.
 *
 * A wrong match would score variants against other sequence, so a name is only changed where
 * nothing speaks against it: no name at all is the same in both, the lengths the VCF states agree,
 * and, for the mitochondrion, are stated (hg19's chrM is not the rCRS). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/variants_internal.h"

/* ---- the file of --rename-chrs --------------------------------------------------------------- */

struct renames {
	const cr_contigs *variants, *reference;
	const char *path;
	int64_t number; /* of the line */
	int64_t *map;
	int64_t *line_of; /* (variants) that named it, 0: none */
	crocuta_error *error;
};

static int fail_line(const struct renames *renames, const char *what)
{
	return cr_fail(renames->error, CROCUTA_EINPUT, "%.200s:%lld: %s", renames->path,
		       (long long)renames->number, what);
}

static int read_rename(struct renames *renames, const char *line)
{
	static const char blanks[] = " \t\r";
	const char *from = line + strspn(line, blanks), *to;
	size_t from_bytes = strcspn(from, blanks), to_bytes;
	int64_t variant, target;
	char hint[400];

	if (!from_bytes || *from == '#')
		return CROCUTA_OK;
	to = from + from_bytes;
	to += strspn(to, blanks);
	to_bytes = strcspn(to, blanks);
	if (!to_bytes || to[to_bytes + strspn(to + to_bytes, blanks)])
		return fail_line(renames,
				 "a line has two columns, the name in the VCF and the name in the "
				 "FASTA");
	target = cr_contigs_find(renames->reference, to, to_bytes);
	if (target < 0) {
		cr_contigs_hint(renames->reference, to, to_bytes, hint, sizeof hint);
		return cr_fail(renames->error, CROCUTA_EINPUT,
			       "%.200s:%lld: the FASTA has no contig \"%.*s\"%s", renames->path,
			       (long long)renames->number, (int)(to_bytes < 80 ? to_bytes : 80), to,
			       hint);
	}
	variant = cr_contigs_find(renames->variants, from, from_bytes);
	if (variant < 0)
		return CROCUTA_OK; /* the file may serve other VCFs too */
	if (renames->line_of[variant] && renames->map[variant] != target)
		return cr_fail(renames->error, CROCUTA_EINPUT,
			       "%.200s:%lld: \"%.80s\" has another name in line %lld",
			       renames->path, (long long)renames->number,
			       cr_contigs_name(renames->variants, variant),
			       (long long)renames->line_of[variant]);
	renames->map[variant] = target;
	renames->line_of[variant] = renames->number;
	return CROCUTA_OK;
}

static int read_lines(struct renames *renames, BGZF *stream)
{
	kstring_t line = {0, 0, NULL};
	int code = CROCUTA_OK, got = 0;

	while (!code && (got = bgzf_getline(stream, '\n', &line)) >= 0) {
		renames->number++;
		if (line.l > 1 << 16 || (line.l && memchr(line.s, '\0', line.l)))
			code = fail_line(renames, "this is no line of two names");
		else if (line.l)
			code = read_rename(renames, line.s);
	}
	if (!code && got < -1)
		code = fail_line(renames, "reading failed behind this line");
	free(line.s);
	return code;
}

static int read_renames(const cr_contigs *variants, const cr_contigs *reference, const char *path,
			int64_t *map, crocuta_error *error)
{
	struct renames renames = {
		.variants = variants,
		.reference = reference,
		.path = strcmp(path, "-") ? path : "standard input",
		.map = map,
		.error = error,
	};
	BGZF *stream;
	int code = cr_open_text(path, &stream, error);

	if (code)
		return code;
	renames.line_of =
		cr_calloc((size_t)cr_contigs_count(variants) + 1, sizeof *renames.line_of);
	code = renames.line_of ? read_lines(&renames, stream)
			       : cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of names");
	cr_free(renames.line_of);
	bgzf_close(stream);
	return code;
}

/* ---- other spellings ------------------------------------------------------------------------- */

int cr_is_mitochondrion(const char *name)
{
	return !strcmp(name, "M") || !strcmp(name, "MT") || !strcmp(name, "chrM") ||
	       !strcmp(name, "chrMT");
}

static int64_t find_mitochondrion(const cr_contigs *reference, int64_t length)
{
	static const char *const names[] = {"chrM", "MT", "M", "chrMT"};

	for (int i = 0; i < 4; i++) {
		int64_t found = cr_contigs_find(reference, names[i], strlen(names[i]));

		if (found >= 0 && length > 0 && cr_contigs_length(reference, found) == length)
			return found;
	}
	return -1;
}

/* The contig of the reference that has this name but for "chr"; *contradicts: it is there with a
 * length other than the VCF states. */
static int64_t find_other(const cr_contigs *variants, int64_t variant, const cr_contigs *reference,
			  int *contradicts)
{
	const char *name = cr_contigs_name(variants, variant);
	int64_t length = cr_contigs_length(variants, variant), found = -1;
	char longer[256];
	int bytes;

	*contradicts = 0;
	if (cr_is_mitochondrion(name))
		return find_mitochondrion(reference, length);
	if (!strncmp(name, "chr", 3)) {
		found = cr_contigs_find(reference, name + 3, strlen(name + 3));
	} else {
		bytes = snprintf(longer, sizeof longer, "chr%s", name);
		if ((size_t)bytes < sizeof longer)
			found = cr_contigs_find(reference, longer, (size_t)bytes);
	}
	if (found < 0 || length <= 0 || cr_contigs_length(reference, found) == length)
		return found;
	*contradicts = 1;
	return -1;
}

/* A contig that could only be matched by another spelling than the rest. */
static int fail_mixed(const cr_contigs *variants, int64_t one, int64_t other,
		      const cr_contigs *reference, const int64_t *map, int64_t other_at,
		      crocuta_error *error)
{
	return cr_fail(
		error, CROCUTA_EINPUT,
		"contig names are mixed: \"%.60s\" of the VCF is \"%.60s\" in the FASTA, but "
		"\"%.60s\" would be \"%.60s\"; give --rename-chrs a file of two columns, VCF "
		"name and FASTA name",
		cr_contigs_name(variants, one), cr_contigs_name(reference, map[one]),
		cr_contigs_name(variants, other), cr_contigs_name(reference, other_at));
}

static int fail_none(const cr_contigs *variants, const cr_contigs *reference, int64_t contradicting,
		     crocuta_error *error)
{
	const char *name = cr_contigs_name(variants, contradicting < 0 ? 0 : contradicting);
	char hint[400];

	if (contradicting >= 0)
		return cr_fail(
			error, CROCUTA_EINPUT,
			"no contig of the VCF fits the FASTA: \"%.80s\" has %lld bases in the "
			"VCF's header, and its namesake in the FASTA has not; is it another "
			"genome build? (--rename-chrs FILE sets names by hand)",
			name, (long long)cr_contigs_length(variants, contradicting));
	cr_contigs_hint(reference, name, strlen(name), hint, sizeof hint);
	return cr_fail(error, CROCUTA_EINPUT,
		       "no contig of the VCF is in the FASTA: the VCF has \"%.80s\"%s; give "
		       "--rename-chrs a file of two columns, VCF name and FASTA name",
		       name, hint);
}

/* The same names; how many. */
static int64_t match_exactly(const cr_contigs *variants, const cr_contigs *reference, int64_t *map)
{
	int64_t matched = 0;

	for (int64_t i = 0; i < cr_contigs_count(variants); i++) {
		const char *name = cr_contigs_name(variants, i);

		if (map[i] < 0)
			map[i] = cr_contigs_find(reference, name, strlen(name));
		matched += map[i] >= 0;
	}
	return matched;
}

/* Some names are the same: then one that would only fit under another spelling, and whose place no
 * other contig has taken, is a mix. The mitochondrion, of which there are two, is left alone. */
static int check_mixed(const cr_contigs *variants, const cr_contigs *reference, const int64_t *map,
		       crocuta_error *error)
{
	int64_t same = 0;
	int contradicts;

	while (map[same] < 0)
		same++;
	for (int64_t i = 0; i < cr_contigs_count(variants); i++) {
		int64_t found;
		const char *name;

		if (map[i] >= 0 || cr_is_mitochondrion(cr_contigs_name(variants, i)))
			continue;
		found = find_other(variants, i, reference, &contradicts);
		name = found < 0 ? NULL : cr_contigs_name(reference, found);
		if (name && cr_contigs_find(variants, name, strlen(name)) < 0)
			return fail_mixed(variants, same, i, reference, map, found, error);
	}
	return CROCUTA_OK;
}

/* No name is the same: "chr" added to all, or taken from all. */
static int match_otherwise(const cr_contigs *variants, const cr_contigs *reference,
			   int more_may_come, int64_t *map, const char **how, crocuta_error *error)
{
	int64_t first = -1, mitochondrion = -1, contradicting = -1;
	int adds = 0, contradicts;

	for (int64_t i = 0; i < cr_contigs_count(variants); i++) {
		const char *name = cr_contigs_name(variants, i);
		int add = strncmp(name, "chr", 3) != 0;

		map[i] = find_other(variants, i, reference, &contradicts);
		if (contradicts && contradicting < 0)
			contradicting = i;
		if (map[i] < 0)
			continue;
		if (cr_is_mitochondrion(name)) {
			mitochondrion = i;
			continue;
		}
		if (first >= 0 && add != adds)
			return fail_mixed(variants, first, i, reference, map, map[i], error);
		first = first < 0 ? i : first;
		adds = add;
	}
	if (first < 0 && mitochondrion < 0)
		return more_may_come ? CROCUTA_OK
				     : fail_none(variants, reference, contradicting, error);
	if (first < 0)
		adds = strncmp(cr_contigs_name(variants, mitochondrion), "chr", 3) != 0;
	*how = adds ? "add-chr" : "strip-chr";
	return CROCUTA_OK;
}

int cr_contigs_match(const cr_contigs *variants, const cr_contigs *reference, const char *rename,
		     int more_may_come, int64_t *map, const char **how, crocuta_error *error)
{
	int64_t count = cr_contigs_count(variants), matched;
	int code = CROCUTA_OK;

	*how = "none";
	for (int64_t i = 0; i < count; i++)
		map[i] = -1;
	if (rename) {
		*how = "file";
		code = read_renames(variants, reference, rename, map, error);
	}
	if (code || !count)
		return code;
	matched = match_exactly(variants, reference, map);
	if (rename)
		return matched || more_may_come ? CROCUTA_OK
						: fail_none(variants, reference, -1, error);
	if (matched)
		return check_mixed(variants, reference, map, error);
	return match_otherwise(variants, reference, more_may_come, map, how, error);
}
