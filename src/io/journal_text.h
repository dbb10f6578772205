/* journal_text.h - the lines of a journal: made, and read back as what may be torn, edited or
 * hostile.
 *
 *   crocuta-journal 1 {"binding": ..., "command": ..., "date": ..., "unit": 40} #DIGEST
 *   P 4711 #DIGEST                                   a process that writes here
 *   U units bytes data windows digest #DIGEST        so much of the file `data` is complete
 *
 * `data` is a digest of the bytes since the line before; `windows` and `digest` mark the place in
 * the input (io/journal.h). #DIGEST is 16 hex digits of the SHA-256 of the line and the digest of
 * the line before it: what follows a changed line is not believed. */
#ifndef CR_IO_JOURNAL_TEXT_H
#define CR_IO_JOURNAL_TEXT_H

#include <jansson.h>

#include "io/journal.h"

#define CR_JOURNAL_NAME "crocuta-journal "
#define CR_JOURNAL_MAGIC CR_JOURNAL_NAME "1 "
#define CR_JOURNAL_SEAL 17  /* 16 hex digits and NUL */
#define CR_JOURNAL_LINE 300 /* longest P or U line */

typedef struct cr_journal_block {
	int64_t units, bytes; /* up to its end */
	int64_t text;         /* bytes of the journal up to the line's end */
	uint64_t data;
	char seal[CR_JOURNAL_SEAL];
	cr_journal_mark mark;
} cr_journal_block;

typedef struct cr_journal_text {
	json_t *head;      /* of the first line; NULL: that is no journal's */
	int other_version; /* it is one, of another version */
	cr_journal_block *
		blocks; /* (count), ascending; the first stands for the line 1 and holds no units */
	int64_t count, capacity;
	long *processes;
	int64_t process_count;
} cr_journal_text;

/* `seal` is of the line before (empty: there is none) and becomes this line's; line without its
 * end. */
void cr_journal_seal(const char *line, char seal[CR_JOURNAL_SEAL]);

/* All lines that can be believed. EMEMORY; a text that is no journal gives no head. */
CROCUTA_CHECKED int cr_journal_parse(const char *text, int64_t bytes, int64_t unit_bytes,
				     cr_journal_text *out, crocuta_error *error);
void cr_journal_text_free(cr_journal_text *text);

#endif
