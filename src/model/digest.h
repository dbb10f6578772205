/* digest.h - SHA-256 of a file while its bytes pass by. */
#ifndef CR_MODEL_DIGEST_H
#define CR_MODEL_DIGEST_H

#include <stddef.h>

#include <crocuta/error.h>

#define CR_DIGEST_TEXT 65 /* 64 hex digits and the terminating zero */

typedef struct cr_digest {
	void *context; /* libcrypto's */
} cr_digest;

int cr_digest_start(cr_digest *digest, crocuta_error *error);
int cr_digest_update(cr_digest *digest, const void *bytes, size_t count, crocuta_error *error);

/* Write the digest in lower-case hex; the digest can only be freed afterwards. */
int cr_digest_finish(cr_digest *digest, char text[CR_DIGEST_TEXT], crocuta_error *error);

/* Safe on a zeroed and on a freed digest. */
void cr_digest_free(cr_digest *digest);

#endif
