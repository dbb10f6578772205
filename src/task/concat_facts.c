/* concat_facts.c - what inputs must agree in: facts from header lines and from meta.json, compared
 * key by key.
 *
 * Left out are facts of the run and not of the numbers: version, command, date, shard and number of
 * rows. Lines that are not crocuta's are no facts either: files may have been annotated since. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/concat_internal.h"

#define SHARDS_MAX 1000000

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "no memory for the headers of the inputs");
}

static int add(cr_facts *facts, const char *key, size_t key_bytes, const char *value,
	       size_t value_bytes, crocuta_error *error)
{
	cr_fact *fact;

	if (facts->count == facts->capacity) {
		int64_t capacity = 2 * facts->capacity + 32;
		cr_fact *list = cr_realloc(facts->list, (size_t)capacity, sizeof *list);

		if (!list)
			return no_memory(error);
		facts->list = list;
		facts->capacity = capacity;
	}
	fact = facts->list + facts->count;
	fact->key = cr_calloc(key_bytes + 1, 1);
	fact->value = cr_calloc(value_bytes + 1, 1);
	if (!fact->key || !fact->value) {
		cr_free(fact->key);
		cr_free(fact->value);
		return no_memory(error);
	}
	memcpy(fact->key, key, key_bytes);
	memcpy(fact->value, value, value_bytes);
	facts->count++;
	return CROCUTA_OK;
}

int cr_facts_add(cr_facts *facts, const char *key, const char *value, crocuta_error *error)
{
	return add(facts, key, strlen(key), value, strlen(value), error);
}

void cr_facts_free(cr_facts *facts)
{
	for (int64_t i = 0; i < facts->count; i++) {
		cr_free(facts->list[i].key);
		cr_free(facts->list[i].value);
	}
	cr_free(facts->list);
	memset(facts, 0, sizeof *facts);
}

/* ---- header lines ---------------------------------------------------------------------------- */

/* End of the value that starts at text: the ',' or '>' behind it, quoted parts passed over. */
static const char *end_of_value(const char *text)
{
	int quoted = 0;

	for (; *text; text++) {
		if (quoted && *text == '\\' && text[1])
			text++;
		else if (*text == '"')
			quoted = !quoted;
		else if (!quoted && (*text == ',' || *text == '>'))
			break;
	}
	return text;
}

/* Of the run (Version), or of the file (IDX, the number of a tag in a BCF). */
static int is_no_fact(const char *name, size_t bytes)
{
	return (bytes == 7 && !memcmp(name, "Version", 7)) ||
	       (bytes == 3 && !memcmp(name, "IDX", 3));
}

/* `<ID=a,Number=A>` as PREFIX.ID, PREFIX.Number. */
static int add_structure(cr_facts *facts, const char *prefix, const char *text,
			 crocuta_error *error)
{
	char key[160];
	int code = CROCUTA_OK;

	while (!code && *text && *text != '>') {
		const char *equal, *end;

		text++; /* '<' or ',' */
		equal = strchr(text, '=');
		if (!equal)
			return add(facts, prefix, strlen(prefix), text, strlen(text), error);
		end = end_of_value(equal + 1);
		snprintf(key, sizeof key, "%.60s.%.*s", prefix,
			 (int)(equal - text < 60 ? equal - text : 60), text);
		if (!is_no_fact(text, (size_t)(equal - text)))
			code = add(facts, key, strlen(key), equal + 1, (size_t)(end - equal - 1),
				   error);
		text = end;
	}
	return code;
}

static int add_shard(cr_facts *facts, const char *path, const char *value, crocuta_error *error)
{
	char *end = NULL;
	long part = strtol(value, &end, 10), parts = *end == '/' ? strtol(end + 1, &end, 10) : 0;

	if (*end || part < 1 || part > parts || parts > SHARDS_MAX)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: ##crocutaShard=%.40s is not K/N; the header is damaged",
			       path, value);
	if (facts->shard.parts)
		return cr_fail(error, CROCUTA_EREFUSED,
			       "%.200s has two ##crocutaShard lines: a shard of a shard; put the "
			       "shards of one run together before they are scored again",
			       path);
	facts->shard.part = (int)part;
	facts->shard.parts = (int)parts;
	return CROCUTA_OK;
}

/* The number of an attribute, key="12", or -1. */
static int64_t number_of(const char *text, const char *key)
{
	const char *found = strstr(text, key);
	char *end = NULL;
	long long number = found ? strtoll(found + strlen(key), &end, 10) : -1;

	return found && end > found + strlen(key) && *end == '"' ? (int64_t)number : -1;
}

static int add_shard_input(cr_facts *facts, const char *path, const char *value,
			   crocuta_error *error)
{
	const char *digest = strstr(value, ",Digest=\"");
	cr_shard *s = &facts->shard;

	s->first = number_of(value, ",First=\"");
	s->span = number_of(value, ",Span=\"");
	s->total = number_of(value, ",Total=\"");
	s->records = number_of(value, ",Records=\"");
	s->lines = number_of(value, ",Lines=\"");
	s->lines_unsaid = !strstr(value, ",Lines=");
	if (s->first < 1 || s->span < 0 || s->total < 0 || s->records < 0 ||
	    (s->lines < 0 && !s->lines_unsaid) || !digest)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%.200s: the line ##crocutaShardInput of its header is damaged", path);
	snprintf(s->digest, sizeof s->digest, "%.16s", digest + strlen(",Digest=\""));
	return CROCUTA_OK;
}

static int starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* Keys that say something about the run only. */
static int is_of_the_run(const char *key)
{
	return starts(key, "crocutaVersion=") || starts(key, "crocutaCommand=") ||
	       starts(key, "crocuta.version=") || starts(key, "crocuta.command=") ||
	       starts(key, "crocuta.date=") || starts(key, "crocuta.concat.");
}

int cr_facts_add_line(cr_facts *facts, const char *path, const char *line, crocuta_error *error)
{
	const char *text = line + 2, *equal = strchr(text, '=');
	char prefix[80];

	if (strncmp(line, "##", 2) || !equal)
		return CROCUTA_OK;
	if (starts(text, "crocutaShard="))
		return add_shard(facts, path, equal + 1, error);
	if (starts(text, "crocutaShardInput="))
		return add_shard_input(facts, path, equal + 1, error);
	if (is_of_the_run(text))
		return CROCUTA_OK;
	if (starts(text, "INFO=<") ? !strstr(text, "Source=\"crocuta\"") : !starts(text, "crocuta"))
		return CROCUTA_OK;
	facts->models += starts(text, "crocutaModel=") || starts(text, "crocuta.model.sha256=");
	snprintf(prefix, sizeof prefix, "%.*s", (int)(equal - text < 79 ? equal - text : 79), text);
	return equal[1] == '<' ? add_structure(facts, prefix, equal + 1, error)
			       : cr_facts_add(facts, prefix, equal + 1, error);
}

int cr_concat_drops_line(const char *line)
{
	return starts(line, "##crocutaShard=") || starts(line, "##crocutaShardInput=");
}

/* ---- meta.json ------------------------------------------------------------------------------- */

static int add_object(cr_facts *facts, const char *prefix, const json_t *object,
		      crocuta_error *error)
{
	const char *name;
	json_t *value;
	int code = CROCUTA_OK;

	json_object_foreach((json_t *)(uintptr_t)object, name, value)
	{
		char key[160], *text;

		snprintf(key, sizeof key, "%.60s%s%.60s", prefix, *prefix ? "." : "", name);
		if (json_is_object(value)) {
			code = strcmp(key, "concat") ? add_object(facts, key, value, error)
						     : CROCUTA_OK;
		} else if (strcmp(key, "version") && strcmp(key, "command") &&
			   strcmp(key, "date") && strcmp(key, "rows")) {
			facts->models += !strcmp(key, "model.sha256");
			text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
			code = text ? cr_facts_add(facts, key, text, error) : no_memory(error);
			free(text);
		}
		if (code)
			return code;
	}
	return code;
}

int cr_facts_add_json(cr_facts *facts, const json_t *object, crocuta_error *error)
{
	return add_object(facts, "", object, error);
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* Files of reads have no contigs in common that could be compared, and are of different names. */
static int is_name_of_reads(const cr_facts *facts, const char *key)
{
	const char *dot = strstr(key, "input.name");

	if (!dot || dot[strlen("input.name")])
		return 0;
	for (int64_t i = 0; i < facts->count; i++)
		if (strstr(facts->list[i].key, "input.contigs_md5"))
			return 0;
	return 1;
}

static int compare(const cr_concat *concat, int64_t input, const cr_facts *facts)
{
	const char *path = concat->options->inputs[input], *path0 = concat->options->inputs[0];
	const cr_facts *first = &concat->first;
	int64_t most = facts->count > first->count ? facts->count : first->count;

	for (int64_t i = 0; i < most; i++) {
		const cr_fact *a = i < first->count ? first->list + i : NULL;
		const cr_fact *b = i < facts->count ? facts->list + i : NULL;

		if (!a || !b || strcmp(a->key, b->key))
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s has %.80s %.100s in its header where %.200s has "
				       "%.80s %.100s; only outputs of one model, reference and set "
				       "of options are put together",
				       path, b ? b->key : "nothing", b ? b->value : "", path0,
				       a ? a->key : "nothing", a ? a->value : "");
		if (strcmp(a->value, b->value) && !is_name_of_reads(first, a->key))
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s: %.80s is %.130s, in %.200s it is %.130s; only "
				       "outputs of one model, reference and set of options are "
				       "put together",
				       path, b->key, b->value, path0, a->value);
	}
	return CROCUTA_OK;
}

int cr_concat_take_facts(cr_concat *concat, int64_t input, cr_facts *facts)
{
	int code = CROCUTA_OK;

	concat->shard[input] = facts->shard;
	if (!facts->models)
		code = cr_fail(concat->error, CROCUTA_EINPUT,
			       "%.300s names no crocuta model in its header: not an output of "
			       "crocuta score, embed or classify",
			       concat->options->inputs[input]);
	else if (input)
		code = compare(concat, input, facts);
	if (!code && !input)
		concat->first = *facts;
	else
		cr_facts_free(facts);
	return code;
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* "is shard 2/3" or "is no shard", of input i. */
static const char *say(const cr_concat *concat, int64_t i, char text[60])
{
	if (concat->shard[i].parts)
		snprintf(text, 60, "is shard %d/%d", concat->shard[i].part, concat->shard[i].parts);
	else
		snprintf(text, 60, "is no shard");
	return text;
}

/* All shards 1 .. N, each once. */
static int check_complete(const cr_concat *concat)
{
	const char *const *inputs = concat->options->inputs;
	const int parts = concat->shard[0].parts;

	for (int part = 1; part <= parts; part++) {
		int64_t found = -1;

		for (int64_t i = 0; i < concat->count; i++) {
			if (concat->shard[i].part != part)
				continue;
			if (found >= 0)
				return cr_fail(concat->error, CROCUTA_EREFUSED,
					       "shard %d/%d is there twice: %.200s and %.200s",
					       part, parts, inputs[found], inputs[i]);
			found = i;
		}
		if (found < 0)
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "shard %d/%d is missing among the %lld inputs; the output "
				       "would lack its records",
				       part, parts, (long long)concat->count);
	}
	return CROCUTA_OK;
}

/* Shards of one and the same input, one behind the other. */
static int check_one_input(const cr_concat *concat)
{
	const char *const *inputs = concat->options->inputs;
	const cr_shard *first = &concat->shard[0];
	int64_t next = 1;

	for (int64_t i = 0; i < concat->count; i++) {
		const cr_shard *s = &concat->shard[i];

		if (s->total != first->total || strcmp(s->digest, first->digest))
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s and %.200s are shards of different inputs or regions "
				       "(%lld and %lld records or positions in all, digests %s and "
				       "%s); score them from one unchanged file",
				       inputs[0], inputs[i], (long long)first->total,
				       (long long)s->total, first->digest, s->digest);
		if (s->span && s->first != next)
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s begins at record %lld of the input where %lld comes "
				       "next; give all shards of one run",
				       inputs[i], (long long)s->first, (long long)next);
		next += s->span;
	}
	if (*first->digest && next != first->total + 1)
		return cr_fail(concat->error, CROCUTA_EREFUSED,
			       "the shards hold %lld of %lld records or positions of the input",
			       (long long)next - 1, (long long)first->total);
	return CROCUTA_OK;
}

int cr_concat_check_shards(const cr_concat *concat)
{
	const char *const *inputs = concat->options->inputs;
	const int parts = concat->shard[0].parts;
	char one[60], other[60];
	int code;

	for (int64_t i = 1; i < concat->count; i++)
		if (concat->shard[i].parts != parts)
			return cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s %s and %.200s %s: give all shards of one run, and "
				       "nothing else",
				       inputs[0], say(concat, 0, one), inputs[i],
				       say(concat, i, other));
	code = check_complete(concat);
	for (int64_t i = 0; !code && parts && i < concat->count; i++)
		if (concat->shard[i].part != i + 1)
			code = cr_fail(concat->error, CROCUTA_EREFUSED,
				       "%.200s is shard %d/%d but stands at place %lld; give the "
				       "shards in order",
				       inputs[i], concat->shard[i].part, parts, (long long)i + 1);
	return code || !parts ? code : check_one_input(concat);
}

int cr_concat_check_count(const cr_concat *concat, int64_t input, int64_t count, int64_t promised)
{
	if (!*concat->shard[input].digest || concat->shard[input].lines_unsaid)
		return CROCUTA_OK;
	/* --check-ref x leaves records out, and their number is not known when the header is written */
	for (int64_t i = 0; i < concat->first.count; i++)
		if (!strcmp(concat->first.list[i].key, "crocutaModel.CheckRef") &&
		    strchr(concat->first.list[i].value, 'x') && count <= promised)
			return CROCUTA_OK;
	if (count == promised)
		return CROCUTA_OK;
	return cr_fail(concat->error, CROCUTA_EINPUT,
		       "%.200s holds %lld records where its header promises %lld; the file was cut, or "
		       "changed since",
		       concat->options->inputs[input], (long long)count, (long long)promised);
}
