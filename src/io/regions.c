/* regions.c - the list of regions and the -r grammar; see regions.h. Region files are in
 * regions_file.c. */
#include "io/regions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"
#include "io/regions_build.h"

#define NAME_BLOCK 16384

/* Names lie in blocks that never move, since items point into them. */
struct cr_name_block {
	struct cr_name_block *next;
	size_t used, capacity;
	char bytes[];
};

cr_regions *cr_regions_new(void)
{
	return cr_calloc(1, sizeof(cr_regions));
}

void cr_regions_free(cr_regions *regions)
{
	if (!regions)
		return;
	while (regions->names) {
		struct cr_name_block *next = regions->names->next;

		cr_free(regions->names);
		regions->names = next;
	}
	cr_free(regions->items);
	cr_free(regions);
}

static const char *keep_name(cr_regions *regions, const char *name, size_t bytes)
{
	struct cr_name_block *block = regions->names;
	char *copy;

	if (!block || block->capacity - block->used <= bytes) {
		size_t capacity = bytes + 1 > NAME_BLOCK ? bytes + 1 : NAME_BLOCK;

		block = cr_calloc(1, sizeof *block + capacity);
		if (!block)
			return NULL;
		block->capacity = capacity;
		block->next = regions->names;
		regions->names = block;
	}
	copy = block->bytes + block->used;
	memcpy(copy, name, bytes);
	copy[bytes] = '\0';
	block->used += bytes + 1;
	return copy;
}

int cr_regions_add(cr_regions *regions, const cr_contigs *contigs, const struct cr_span *span,
		   int clip, crocuta_error *error)
{
	int64_t length = cr_contigs_length(contigs, span->contig), end = span->end;
	const char *name = NULL;

	if (end > length && clip) {
		regions->clipped++;
		end = length;
		if (span->start >= length)
			return CROCUTA_OK;
	}
	if (end > length)
		return cr_fail(error, CROCUTA_EINPUT,
			       "%s%lld-%lld (1-based) ends behind contig \"%.80s\" of %lld bases "
			       "(crocuta embed --clip trims regions)",
			       span->place, (long long)span->start + 1, (long long)end,
			       cr_contigs_name(contigs, span->contig), (long long)length);
	if (regions->count == regions->capacity) {
		int64_t capacity = regions->capacity ? regions->capacity * 2 : 16;
		cr_region *items = cr_realloc(regions->items, (size_t)capacity, sizeof *items);

		if (!items)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for %lld regions",
				       (long long)capacity);
		regions->items = items;
		regions->capacity = capacity;
	}
	if (span->name && !(name = keep_name(regions, span->name, span->name_bytes)))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for the names of regions");
	regions->items[regions->count++] = (cr_region){
		.contig = span->contig,
		.start = span->start,
		.end = end,
		.name = name,
		.strand = span->strand ? span->strand : '.',
	};
	regions->bases += end - span->start;
	return CROCUTA_OK;
}

/* One way to read the beginning of a list. */
struct reading {
	int64_t contig, start, end;
	const char *next;    /* behind the item: a comma or the NUL */
	const char *problem; /* NULL, or what is wrong with the range */
	int whole;           /* no range was given */
};

#define GROUPS 6 /* thousands commas in a number below 2^62 */

/* Read a number that holds `groups` thousands commas, no more and no fewer taken. Returns its end,
 * or NULL when text does not begin with such a number. */
static const char *read_number(const char *text, int groups, int64_t *value)
{
	char digits[64];
	size_t used = strspn(text, "0123456789");
	const char *p = text + used;

	if (!used || used > 40 || (groups && used > 3))
		return NULL;
	memcpy(digits, text, used);
	for (; groups; groups--, used += 3, p += 4) {
		if (*p != ',' || strspn(p + 1, "0123456789") != 3)
			return NULL;
		memcpy(digits + used, p + 1, 3);
	}
	*value = cr_parse_integer(digits, used);
	return p;
}

static int ends_item(const char *p)
{
	return *p == ',' || *p == '\0';
}

/* Read what follows "NAME:", the numbers holding so many commas. 0 when it is no such range. */
static int read_range(const char *text, int from_groups, int to_groups, int64_t length,
		      struct reading *reading)
{
	int64_t from, to;
	const char *p = read_number(text, from_groups, &from);

	if (!p)
		return 0;
	if (ends_item(p)) {
		to = from;
	} else if (*p == '-' && ends_item(p + 1)) {
		p++;
		to = from > length ? from : length;
	} else if (*p == '-') {
		p = read_number(p + 1, to_groups, &to);
		if (!p || !ends_item(p))
			return 0;
	} else {
		return 0;
	}
	reading->problem = NULL;
	reading->whole = 0;
	if (from < 1 || to < 1)
		reading->problem = "positions are numbers from 1 up to 2^62";
	else if (from > to)
		reading->problem = "the first position is behind the last";
	reading->start = from - 1;
	reading->end = to;
	reading->next = p;
	return 1;
}

/* Does a known contig, or a brace, begin here? */
static int begins_item(const cr_contigs *contigs, const char *text)
{
	int64_t longest = cr_contigs_longest_name(contigs);

	if (*text == '{')
		return 1;
	for (int64_t i = 1; i <= longest && text[i - 1]; i++)
		if ((text[i] == ':' || ends_item(text + i)) &&
		    cr_contigs_find(contigs, text, (size_t)i) >= 0)
			return 1;
	return 0;
}

#define READINGS 64

/* Every way to read an item whose name is text[0, name_bytes), which is contig number `contig`. */
static int read_after_name(const cr_contigs *contigs, int64_t contig, const char *after,
			   struct reading *readings, int count)
{
	int64_t length = cr_contigs_length(contigs, contig);

	if (ends_item(after) && count < READINGS)
		readings[count++] = (struct reading){
			.contig = contig, .start = 0, .end = length, .next = after, .whole = 1};
	for (int way = 0; *after == ':' && way < GROUPS * GROUPS && count < READINGS; way++) {
		struct reading reading = {.contig = contig};
		int known = 0;

		if (!read_range(after + 1, way / GROUPS, way % GROUPS, length, &reading))
			continue;
		for (int i = 0; i < count; i++)
			known |= readings[i].contig == contig && readings[i].next == reading.next;
		if (!known)
			readings[count++] = reading;
	}
	return count;
}

static int fail_unknown(const cr_contigs *contigs, const char *text, crocuta_error *error)
{
	size_t bytes = strcspn(text, ","), name = bytes;
	char hint[400];

	for (size_t i = 0; i < bytes;
	     i++) /* the last colon with something like a range behind it */
		if (text[i] == ':' && strspn(text + i + 1, "0123456789-,") >= bytes - i - 1)
			name = i;
	if (name < bytes && cr_contigs_find(contigs, text, name) >= 0)
		return cr_fail(
			error, CROCUTA_EARG,
			"region \"%.*s\": give NAME, NAME:POS, NAME:FROM- or NAME:FROM-TO with "
			"1-based positions",
			(int)(bytes < 200 ? bytes : 200), text);
	for (size_t i = 0; i < bytes; i++)
		if (text[i] == ':' && cr_contigs_find(contigs, text, i) >= 0)
			return cr_fail(error, CROCUTA_EARG,
				       "region \"%.*s\": \"%.*s\" is not a range; give NAME:POS, "
				       "NAME:FROM- or NAME:FROM-TO with 1-based positions",
				       (int)(bytes < 200 ? bytes : 200), text,
				       (int)(bytes - i - 1 < 80 ? bytes - i - 1 : 80),
				       text + i + 1);
	cr_contigs_hint(contigs, text, name, hint, sizeof hint);
	return cr_fail(error, CROCUTA_EINPUT, "region \"%.*s\": there is no contig \"%.*s\"%s",
		       (int)(bytes < 200 ? bytes : 200), text, (int)(name < 100 ? name : 100), text,
		       hint);
}

static void describe(const cr_contigs *contigs, const struct reading *reading, char *out,
		     size_t capacity)
{
	const char *name = cr_contigs_name(contigs, reading->contig);

	if (reading->whole)
		snprintf(out, capacity, "all of contig \"%.80s\"", name);
	else
		snprintf(out, capacity, "bases %lld-%lld of contig \"%.80s\"",
			 (long long)reading->start + 1, (long long)reading->end, name);
}

/* "{NAME}" at text: its readings. The brace that closes is the first one behind a known name. */
static int read_braced(const cr_contigs *contigs, const char *text, struct reading *readings,
		       int *count, crocuta_error *error)
{
	const char *close = strchr(text, '}'), *p = close;
	int64_t contig = -1;
	char hint[400];

	if (!close)
		return cr_fail(error, CROCUTA_EARG, "region \"%.200s\": the brace is not closed",
			       text);
	for (; p && contig < 0; p = strchr(p + 1, '}')) {
		contig = cr_contigs_find(contigs, text + 1, (size_t)(p - text - 1));
		if (contig >= 0)
			close = p;
	}
	if (contig < 0) {
		size_t bytes = (size_t)(close - text - 1);

		cr_contigs_hint(contigs, text + 1, bytes, hint, sizeof hint);
		return cr_fail(error, CROCUTA_EINPUT, "there is no contig \"%.*s\"%s",
			       (int)(bytes < 100 ? bytes : 100), text + 1, hint);
	}
	*count = read_after_name(contigs, contig, close + 1, readings, 0);
	if (!*count)
		return cr_fail(error, CROCUTA_EARG,
			       "region \"%.200s\": behind the brace give nothing, :POS, :FROM- or "
			       ":FROM-TO",
			       text);
	return CROCUTA_OK;
}

/* Settle on the one reading of the list's beginning. A reading that ends at a comma only counts
 * when an item begins behind it; if that leaves none, the longest is kept and the next item will
 * fail. */
static int read_item(const cr_contigs *contigs, const char *text, struct reading *chosen,
		     crocuta_error *error)
{
	struct reading readings[READINGS];
	int64_t longest = cr_contigs_longest_name(contigs);
	int count = 0, kept = 0, code;

	if (*text == '{') {
		if ((code = read_braced(contigs, text, readings, &count, error)))
			return code;
	} else {
		for (int64_t i = 1; i <= longest && text[i - 1]; i++) {
			int64_t contig = -1;

			if (text[i] == ':' || ends_item(text + i))
				contig = cr_contigs_find(contigs, text, (size_t)i);
			if (contig >= 0)
				count = read_after_name(contigs, contig, text + i, readings, count);
		}
		if (!count)
			return fail_unknown(contigs, text, error);
	}
	*chosen = readings[0];
	for (int i = 0; i < count; i++) {
		if (readings[i].next > chosen->next)
			*chosen = readings[i];
		if (!*readings[i].next || begins_item(contigs, readings[i].next + 1))
			readings[kept++] = readings[i];
	}
	if (kept > 1) {
		char one[160], other[160];

		describe(contigs, &readings[0], one, sizeof one);
		describe(contigs, &readings[1], other, sizeof other);
		return cr_fail(error, CROCUTA_EARG,
			       "region \"%.100s\" can mean %s or %s; write {NAME}:FROM-TO, and no "
			       "commas inside numbers",
			       text, one, other);
	}
	if (kept)
		*chosen = readings[0];
	return CROCUTA_OK;
}

int cr_regions_parse(const cr_contigs *contigs, const char *list, int clip, cr_regions **regions,
		     crocuta_error *error)
{
	cr_regions *made = cr_regions_new();
	const char *text = list;
	int code = CROCUTA_OK;

	*regions = NULL;
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of regions");
	if (!*list)
		code = cr_fail(error, CROCUTA_EARG, "the list of regions is empty");
	while (!code) {
		struct reading reading = {0};
		struct cr_span span = {.place = "region "};

		if (ends_item(text)) {
			code = cr_fail(error, CROCUTA_EARG,
				       "\"%.200s\": an item of the list is empty", list);
			break;
		}
		code = read_item(contigs, text, &reading, error);
		if (!code && reading.problem)
			code = cr_fail(error, CROCUTA_EARG, "region \"%.*s\": %s",
				       (int)(reading.next - text < 200 ? reading.next - text : 200),
				       text, reading.problem);
		if (code)
			break;
		span.contig = reading.contig;
		span.start = reading.start;
		span.end = reading.end;
		code = cr_regions_add(made, contigs, &span, clip, error);
		if (!*reading.next)
			break;
		text = reading.next + 1;
	}
	if (code) {
		cr_regions_free(made);
		return code;
	}
	*regions = made;
	return CROCUTA_OK;
}

int cr_regions_all(const cr_contigs *contigs, cr_regions **regions, crocuta_error *error)
{
	cr_regions *made = cr_regions_new();
	int code = CROCUTA_OK;

	*regions = NULL;
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a list of regions");
	for (int64_t i = 0; !code && i < cr_contigs_count(contigs); i++) {
		struct cr_span span = {
			.place = "", .contig = i, .end = cr_contigs_length(contigs, i)};

		code = cr_regions_add(made, contigs, &span, 0, error);
	}
	if (code) {
		cr_regions_free(made);
		return code;
	}
	*regions = made;
	return CROCUTA_OK;
}

int cr_region_print(const cr_contigs *contigs, const cr_region *region, char *out, size_t capacity)
{
	const char *name = cr_contigs_name(contigs, region->contig);
	int brace = name[0] == '{' || cr_contigs_are_odd(contigs);

	return snprintf(out, capacity, "%s%s%s:%lld-%lld", brace ? "{" : "", name, brace ? "}" : "",
			(long long)region->start + 1, (long long)region->end);
}

static int compare_regions(const void *a, const void *b)
{
	const cr_region *one = a, *other = b;

	if (one->contig != other->contig)
		return one->contig < other->contig ? -1 : 1;
	return (one->start > other->start) - (one->start < other->start);
}

void cr_regions_sort(cr_regions *regions)
{
	qsort(regions->items, (size_t)regions->count, sizeof *regions->items, compare_regions);
}

void cr_regions_merge(cr_regions *regions)
{
	int64_t count = 0;

	cr_regions_sort(regions);
	regions->bases = 0;
	for (int64_t i = 0; i < regions->count; i++) {
		const cr_region *next = &regions->items[i];
		cr_region *last = count ? &regions->items[count - 1] : NULL;

		if (!last || last->contig != next->contig || last->end < next->start)
			regions->items[count++] = *next;
		else if (last->end < next->end)
			last->end = next->end;
	}
	regions->count = count;
	for (int64_t i = 0; i < count; i++)
		regions->bases += regions->items[i].end - regions->items[i].start;
}
