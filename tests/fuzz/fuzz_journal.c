/* fuzz_journal.c - the lines of a journal from any bytes: what is believed has good seals and ascends, ends
 * where it says, and reads back the same when what is behind it is cut off.
 *
 * Input: 's' and lines to be sealed here, because no mutation finds a seal, or any other byte and a text as it
 * is. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "io/journal_text.h"

#define UNIT 24
#define LONGEST ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds)
{
	if (!holds)
		abort();
}

/* Every line with its seal; a last one without an end stays torn. */
static char *seal_lines(const char *from, size_t size, size_t *bytes)
{
	char *out = malloc(size * (CR_JOURNAL_SEAL + 3) + 1), *line = malloc(size + 1);
	char seal[CR_JOURNAL_SEAL] = "";
	const char *end = from + size;

	need(out && line);
	*bytes = 0;
	while (from < end) {
		const char *stop = memchr(from, '\n', (size_t)(end - from));
		const size_t length = (size_t)((stop ? stop : end) - from);

		memcpy(line, from, length);
		line[length] = '\0';
		cr_journal_seal(line, seal);
		memcpy(out + *bytes, from, length);
		*bytes += length;
		*bytes += (size_t)sprintf(out + *bytes, stop ? " #%s\n" : " #%s", seal);
		from += length + (stop != NULL);
	}
	free(line);
	return out;
}

/* 16 hex digits of the SHA-256 of the seal before and the line, by another way than the code's. */
static void seal_slowly(const char *before, const char *line, size_t length, char seal[CR_JOURNAL_SEAL])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	const size_t first = strlen(before);
	char *both = malloc(first + length + 1);

	need(both != NULL);
	memcpy(both, before, first);
	memcpy(both + first, line, length);
	SHA256((const unsigned char *)both, first + length, digest);
	for (int i = 0; i < 8; i++)
		snprintf(seal + 2 * i, 3, "%02x", digest[i]);
	free(both);
}

/* A line "U ..." says what the block holds. */
static void prove_block(const char *line, const cr_journal_block *block)
{
	unsigned long long data, digest;
	long long units, bytes, windows;
	int read = 0;

	need(sscanf(line, " U %lld %lld %16llx %lld %16llx %n", &units, &bytes, &data, &windows, &digest,
		    &read) == 5);
	need(line[read] == '#' && block->units == units && block->bytes == bytes);
	need(block->data == data && block->mark.windows == windows && block->mark.digest == digest);
}

/* Line by line up to the end of the last block. */
static void prove_lines(const char *text, const cr_journal_text *parsed)
{
	const int64_t end = parsed->blocks[parsed->count - 1].text;
	char seal[CR_JOURNAL_SEAL] = "";
	int64_t at = 0, blocks = 0, processes = 0;

	while (at < end) {
		const char *line = text + at, *stop = memchr(line, '\n', (size_t)(end - at)), *mark;

		need(stop != NULL && stop - line >= CR_JOURNAL_SEAL + 1);
		mark = stop - CR_JOURNAL_SEAL - 1;
		need(!memcmp(mark, " #", 2));
		seal_slowly(seal, line, (size_t)(mark - line), seal);
		need(!memcmp(mark + 2, seal, CR_JOURNAL_SEAL - 1));
		at += stop + 1 - line;
		if (!strncmp(line, "P ", 2)) {
			need(parsed->processes[processes] > 0);
			need(parsed->processes[processes] == strtol(line + 2, NULL, 10));
			processes++;
		} else if (blocks++) {
			prove_block(line, &parsed->blocks[blocks - 1]);
		} else {
			need(!strncmp(line, "crocuta-journal 1 ", 18));
		}
		if (blocks == parsed->count || at == parsed->blocks[blocks - 1].text)
			need(at <= parsed->blocks[blocks - 1].text);
		if (at == parsed->blocks[blocks - 1].text)
			need(!strcmp(parsed->blocks[blocks - 1].seal, seal));
	}
	need(at == end && blocks == parsed->count && processes == parsed->process_count);
}

static void prove_order(const cr_journal_text *parsed, int64_t bytes)
{
	need(parsed->blocks[0].units == 0 && parsed->blocks[0].bytes == 0);
	for (int64_t i = 0; i < parsed->count; i++) {
		const cr_journal_block *block = &parsed->blocks[i], *before = block - (i > 0);

		need(block->bytes == block->units * UNIT && block->text <= bytes);
		need(block->mark.windows >= before->mark.windows);
		need(!i || (block->units > before->units && block->text > before->text));
	}
}

static int same_block(const cr_journal_block *a, const cr_journal_block *b)
{
	return a->units == b->units && a->bytes == b->bytes && a->text == b->text && a->data == b->data &&
	       !strcmp(a->seal, b->seal) && a->mark.windows == b->mark.windows &&
	       a->mark.digest == b->mark.digest;
}

static void parse(const char *text, int64_t bytes, cr_journal_text *parsed)
{
	crocuta_error error = {0};
	char *exact = malloc((size_t)bytes + !bytes); /* so that a byte too far is seen */

	need(exact != NULL);
	memcpy(exact, text, (size_t)bytes);
	need(cr_journal_parse(exact, bytes, UNIT, parsed, &error) == 0);
	free(exact);
}

/* Cut behind block `number`: that many are left, and they are the same. */
static void prove_cut(const char *text, const cr_journal_text *parsed, int64_t number)
{
	cr_journal_text again;

	parse(text, parsed->blocks[number].text, &again);
	need(again.head && again.count == number + 1 && json_equal(again.head, parsed->head));
	need(again.process_count <= parsed->process_count);
	for (int64_t i = 0; i <= number; i++)
		need(same_block(&again.blocks[i], &parsed->blocks[i]));
	cr_journal_text_free(&again);
	/* and a byte less makes it torn */
	parse(text, parsed->blocks[number].text - 1, &again);
	need(again.count <= number + 1);
	need(!again.count || again.blocks[again.count - 1].text < parsed->blocks[number].text);
	cr_journal_text_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	char *sealed = NULL;
	cr_journal_text parsed;
	size_t bytes = size - 1;

	if (!size || size > LONGEST)
		return 0;
	if (*data == 's')
		text = sealed = seal_lines(text, bytes, &bytes);
	parse(text, (int64_t)bytes, &parsed);
	if (!parsed.head) {
		need(!parsed.count && !parsed.process_count);
	} else {
		need(json_is_object(parsed.head) && parsed.count >= 1);
		prove_order(&parsed, (int64_t)bytes);
		prove_lines(text, &parsed);
		prove_cut(text, &parsed, parsed.count - 1);
		prove_cut(text, &parsed, parsed.count / 2);
	}
	cr_journal_text_free(&parsed);
	free(sealed);
	return 0;
}
