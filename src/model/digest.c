/* digest.c - see digest.h; libcrypto's EVP does the work, with SHA instructions where it can. */
#include "model/digest.h"

#include <openssl/evp.h>

#include "base/error.h"

int cr_digest_start(cr_digest *digest, crocuta_error *error)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	digest->context = context;
	if (!context)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for a SHA-256 context");
	if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
		cr_digest_free(digest);
		return cr_fail(error, CROCUTA_EINTERNAL, "libcrypto offers no SHA-256");
	}
	return 0;
}

int cr_digest_update(cr_digest *digest, const void *bytes, size_t count, crocuta_error *error)
{
	if (EVP_DigestUpdate(digest->context, bytes, count) != 1)
		return cr_fail(error, CROCUTA_EINTERNAL, "libcrypto failed to update a SHA-256");
	return 0;
}

int cr_digest_finish(cr_digest *digest, char text[CR_DIGEST_TEXT], crocuta_error *error)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned int size = 0;

	if (EVP_DigestFinal_ex(digest->context, raw, &size) != 1 || size != 32)
		return cr_fail(error, CROCUTA_EINTERNAL, "libcrypto failed to finish a SHA-256");
	for (unsigned int i = 0; i < size; i++) {
		text[2 * i] = hex[raw[i] >> 4];
		text[2 * i + 1] = hex[raw[i] & 15];
	}
	text[64] = '\0';
	return 0;
}

void cr_digest_free(cr_digest *digest)
{
	EVP_MD_CTX_free(digest->context);
	digest->context = NULL;
}
