/* contigs.c - see contigs.h. Names lie one after another in one block; an open-addressed table of
 * 32-bit slots finds them. */
#include "io/contigs.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

struct contig {
	int64_t name; /* offset into names */
	int64_t length;
};

struct cr_contigs {
	struct contig *items;
	int64_t count, capacity;
	char *names;
	int64_t name_bytes, name_capacity, longest;
	int odd;
	uint32_t *slots; /* index + 1, 0 is free; slot_count is a power of two */
	int64_t slot_count;
};

cr_contigs *cr_contigs_new(void)
{
	return cr_calloc(1, sizeof(cr_contigs));
}

void cr_contigs_free(cr_contigs *contigs)
{
	if (!contigs)
		return;
	cr_free(contigs->items);
	cr_free(contigs->names);
	cr_free(contigs->slots);
	cr_free(contigs);
}

/* FNV-1a with a final mix, since only the low bits are used. */
static uint64_t hash_name(const char *name, size_t bytes)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
	return hash ^ hash >> 29;
}

static const char *name_at(const cr_contigs *contigs, int64_t index)
{
	return contigs->names + contigs->items[index].name;
}

/* The slot that holds the name, or the free slot where it would go. */
static int64_t find_slot(const cr_contigs *contigs, const char *name, size_t bytes)
{
	int64_t mask = contigs->slot_count - 1;
	int64_t slot = (int64_t)(hash_name(name, bytes) & (uint64_t)mask);

	for (;; slot = (slot + 1) & mask) {
		const char *other;

		if (!contigs->slots[slot])
			return slot;
		other = name_at(contigs, contigs->slots[slot] - 1);
		if (!strncmp(other, name, bytes) && !other[bytes])
			return slot;
	}
}

static int grow_slots(cr_contigs *contigs)
{
	int64_t count = contigs->slot_count ? contigs->slot_count * 2 : 64;
	uint32_t *slots = cr_calloc((size_t)count, sizeof *slots);

	if (!slots)
		return -1;
	cr_free(contigs->slots);
	contigs->slots = slots;
	contigs->slot_count = count;
	for (int64_t i = 0; i < contigs->count; i++) {
		const char *name = name_at(contigs, i);

		slots[find_slot(contigs, name, strlen(name))] = (uint32_t)(i + 1);
	}
	return 0;
}

static int make_room(cr_contigs *contigs, size_t name_bytes)
{
	if (contigs->count == contigs->capacity) {
		int64_t capacity = contigs->capacity ? contigs->capacity * 2 : 32;
		struct contig *items = cr_realloc(contigs->items, (size_t)capacity, sizeof *items);

		if (!items)
			return -1;
		contigs->items = items;
		contigs->capacity = capacity;
	}
	if (contigs->name_capacity - contigs->name_bytes <= (int64_t)name_bytes) {
		int64_t capacity = contigs->name_capacity * 2 + (int64_t)name_bytes + 512;
		char *names = cr_realloc(contigs->names, (size_t)capacity, 1);

		if (!names)
			return -1;
		contigs->names = names;
		contigs->name_capacity = capacity;
	}
	if ((contigs->count + 1) * 3 > contigs->slot_count * 2)
		return grow_slots(contigs);
	return 0;
}

int cr_contigs_add(cr_contigs *contigs, const char *name, size_t name_bytes, int64_t length,
		   crocuta_error *error)
{
	struct contig *item;

	if (!name_bytes || memchr(name, '\0', name_bytes))
		return cr_fail(error, CROCUTA_EINPUT, "a contig name is empty or holds a NUL byte");
	if (cr_contigs_find(contigs, name, name_bytes) >= 0)
		return cr_fail(error, CROCUTA_EINPUT, "contig name \"%.*s\" occurs twice",
			       (int)(name_bytes < 80 ? name_bytes : 80), name);
	if (contigs->count >= INT32_MAX || make_room(contigs, name_bytes))
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for contig %lld",
			       (long long)contigs->count + 1);
	item = &contigs->items[contigs->count];
	item->name = contigs->name_bytes;
	item->length = length;
	memcpy(contigs->names + item->name, name, name_bytes);
	contigs->names[item->name + (int64_t)name_bytes] = '\0';
	contigs->name_bytes += (int64_t)name_bytes + 1;
	contigs->odd |= memchr(name, ':', name_bytes) || memchr(name, ',', name_bytes);
	if ((int64_t)name_bytes > contigs->longest)
		contigs->longest = (int64_t)name_bytes;
	contigs->slots[find_slot(contigs, name, name_bytes)] = (uint32_t)++contigs->count;
	return CROCUTA_OK;
}

int64_t cr_contigs_count(const cr_contigs *contigs)
{
	return contigs->count;
}

const char *cr_contigs_name(const cr_contigs *contigs, int64_t index)
{
	return index < 0 || index >= contigs->count ? NULL : name_at(contigs, index);
}

int64_t cr_contigs_length(const cr_contigs *contigs, int64_t index)
{
	return index < 0 || index >= contigs->count ? -1 : contigs->items[index].length;
}

int64_t cr_contigs_longest_name(const cr_contigs *contigs)
{
	return contigs->longest;
}

int cr_contigs_are_odd(const cr_contigs *contigs)
{
	return contigs->odd;
}

int64_t cr_contigs_find(const cr_contigs *contigs, const char *name, size_t name_bytes)
{
	if (!contigs->count || !name_bytes || memchr(name, '\0', name_bytes))
		return -1;
	return (int64_t)contigs->slots[find_slot(contigs, name, name_bytes)] - 1;
}

/* Index of the name with "chr" added or taken away, or of the other spelling of the mitochondrion;
 * -1 if there is none. */
static int64_t find_other_spelling(const cr_contigs *contigs, const char *name, size_t bytes)
{
	static const char *const mitochondria[] = {"chrM", "MT", "M", "chrMT"};
	char longer[128];
	int64_t found = -1;

	if (bytes > 3 && !strncmp(name, "chr", 3))
		found = cr_contigs_find(contigs, name + 3, bytes - 3);
	else if (bytes + 4 < sizeof longer)
		found = cr_contigs_find(
			contigs, longer,
			(size_t)snprintf(longer, sizeof longer, "chr%.*s", (int)bytes, name));
	for (size_t i = 0; found < 0 && i < 4; i++)
		if (bytes == strlen(mitochondria[i]) && !strncmp(name, mitochondria[i], bytes))
			for (size_t j = 0; found < 0 && j < 4; j++)
				found = cr_contigs_find(contigs, mitochondria[j],
							strlen(mitochondria[j]));
	return found;
}

void cr_contigs_hint(const cr_contigs *contigs, const char *name, size_t name_bytes, char *out,
		     size_t capacity)
{
	int64_t other = find_other_spelling(contigs, name, name_bytes);
	size_t used;

	if (!capacity)
		return;
	used = (size_t)snprintf(out, capacity, "; the file has");
	for (int64_t i = 0; i < contigs->count && i < 3 && used < capacity; i++)
		used += (size_t)snprintf(out + used, capacity - used, "%s %.60s", i ? "," : "",
					 name_at(contigs, i));
	if (!contigs->count && used < capacity)
		used += (size_t)snprintf(out + used, capacity - used, " no contigs");
	if (contigs->count > 3 && used < capacity)
		used += (size_t)snprintf(out + used, capacity - used, " and %lld more",
					 (long long)contigs->count - 3);
	if (other >= 0 && used < capacity)
		snprintf(out + used, capacity - used, "; did you mean \"%.100s\"?",
			 name_at(contigs, other));
}
