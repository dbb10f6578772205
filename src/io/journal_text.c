/* journal_text.c - see journal_text.h. */
#define _GNU_SOURCE
#include "io/journal_text.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/integer.h"

#define SEAL_DIGITS (CR_JOURNAL_SEAL - 1)

void cr_journal_seal(const char *line, char seal[CR_JOURNAL_SEAL])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};

	if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
	    EVP_DigestUpdate(context, seal, strlen(seal)) &&
	    EVP_DigestUpdate(context, line, strlen(line)))
		(void)EVP_DigestFinal_ex(context, digest, NULL);
	EVP_MD_CTX_free(context);
	for (int i = 0; i < SEAL_DIGITS / 2; i++)
		snprintf(seal + 2 * i, 3, "%02x", digest[i]);
}

/* Cut " #SEAL" off a line of its own memory; does it fit? On success `seal` is the line's. */
static int check_seal(char *line, char seal[CR_JOURNAL_SEAL])
{
	size_t length = strlen(line);
	char *mark;

	if (length < SEAL_DIGITS + 2)
		return 0;
	mark = line + length - SEAL_DIGITS - 2;
	if (mark[0] != ' ' || mark[1] != '#')
		return 0;
	*mark = '\0';
	cr_journal_seal(line, seal);
	return !strcmp(mark + 2, seal);
}

static int is_hex(const char *word, size_t digits)
{
	return strspn(word, "0123456789abcdef") == digits && !word[digits];
}

/* "U units bytes data windows digest" behind the block before. */
static int parse_units(char *line, int64_t unit_bytes, const cr_journal_block *before,
		       cr_journal_block *block)
{
	char *words[6], *rest = NULL;
	int count = 0;

	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (count == 6)
			return 0;
		words[count++] = word;
	}
	if (count != 6 || strcmp(words[0], "U") || !is_hex(words[3], 16) || !is_hex(words[5], 16))
		return 0;
	block->units = cr_parse_integer(words[1], strlen(words[1]));
	block->bytes = cr_parse_integer(words[2], strlen(words[2]));
	block->mark.windows = cr_parse_integer(words[4], strlen(words[4]));
	block->mark.digest = strtoull(words[5], NULL, 16);
	block->data = strtoull(words[3], NULL, 16);
	return block->units > before->units && block->units <= INT64_MAX / unit_bytes &&
	       block->bytes == block->units * unit_bytes &&
	       block->mark.windows >= before->mark.windows;
}

static int add_block(cr_journal_text *out, const cr_journal_block *block)
{
	if (out->count == out->capacity) {
		int64_t capacity = 2 * out->capacity + 64;
		cr_journal_block *grown = cr_realloc(out->blocks, (size_t)capacity, sizeof *grown);

		if (!grown)
			return -1;
		out->blocks = grown;
		out->capacity = capacity;
	}
	out->blocks[out->count++] = *block;
	return 0;
}

static int add_process(cr_journal_text *out, int64_t process)
{
	long *grown = cr_realloc(out->processes, (size_t)out->process_count + 1, sizeof *grown);

	if (!grown)
		return -1;
	out->processes = grown;
	out->processes[out->process_count++] = (long)process;
	return 0;
}

/* A line behind the first: 1 taken, 0 not to be believed, -1 no memory. */
static int take_line(cr_journal_text *out, char *line, int64_t unit_bytes, cr_journal_block *at)
{
	cr_journal_block *last = &out->blocks[out->count - 1];
	int64_t process;

	if (!strncmp(line, "P ", 2)) {
		process = cr_parse_integer(line + 2, strlen(line + 2));
		if (process < 1 || process > INT32_MAX)
			return 0;
		last->text = at->text; /* kept when what follows is cut off */
		memcpy(last->seal, at->seal, sizeof last->seal);
		return add_process(out, process) ? -1 : 1;
	}
	if (!parse_units(line, unit_bytes, last, at))
		return 0;
	return add_block(out, at) ? -1 : 1;
}

static int take_head(cr_journal_text *out, const char *line, cr_journal_block *at)
{
	if (strncmp(line, CR_JOURNAL_MAGIC, strlen(CR_JOURNAL_MAGIC))) {
		out->other_version = !strncmp(line, CR_JOURNAL_NAME, strlen(CR_JOURNAL_NAME));
		return 0;
	}
	out->head = json_loads(line + strlen(CR_JOURNAL_MAGIC), JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(out->head)) {
		json_decref(out->head);
		out->head = NULL;
		return 0;
	}
	return add_block(out, at) ? -1 : 1;
}

int cr_journal_parse(const char *text, int64_t bytes, int64_t unit_bytes, cr_journal_text *out,
		     crocuta_error *error)
{
	const char *end = text + bytes;
	cr_journal_block at = {0};
	char seal[CR_JOURNAL_SEAL] = "";
	int good = 1;

	memset(out, 0, sizeof *out);
	while (good > 0 && text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		char *line;

		if (!stop || memchr(text, '\0', (size_t)(stop - text)))
			break;
		line = cr_calloc((size_t)(stop - text) + 1, 1);
		if (!line) {
			good = -1;
			break;
		}
		memcpy(line, text, (size_t)(stop - text));
		at.text += stop + 1 - text;
		good = check_seal(line, seal);
		memcpy(at.seal, seal, sizeof seal);
		if (good)
			good = out->head ? take_line(out, line, unit_bytes, &at)
					 : take_head(out, line, &at);
		cr_free(line);
		text = stop + 1;
	}
	if (good >= 0)
		return CROCUTA_OK;
	cr_journal_text_free(out);
	return cr_fail(error, CROCUTA_EMEMORY, "no memory for a journal");
}

void cr_journal_text_free(cr_journal_text *text)
{
	json_decref(text->head);
	cr_free(text->blocks);
	cr_free(text->processes);
	memset(text, 0, sizeof *text);
}
