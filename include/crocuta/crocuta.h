/* crocuta/crocuta.h - the whole public API of libcrocuta.
 *
 * Letters used in every comment: B sequences in a batch, L positions (bases) of a sequence,
 * D channels (the model's width), I hidden width of the MLP, N blocks (layers), M the model's
 * maximum length (l_max), V rows of the vocabulary table.
 * Positions are int64_t, 0-based, half-open. Arrays are row-major float32 unless said otherwise.
 *
 * Rules that hold unless a comment says otherwise: pointers must not be NULL, but for `error` and
 * where "or NULL" stands; strings and structures given are borrowed until the call returns; those
 * handed out belong to the library; an option structure is to be filled by its _init first, so that
 * later fields get their defaults. The library prints nothing and never ends the process.
 */
#ifndef CROCUTA_CROCUTA_H
#define CROCUTA_CROCUTA_H

#include <crocuta/classify.h>
#include <crocuta/device.h>
#include <crocuta/embed.h>
#include <crocuta/error.h>
#include <crocuta/fit.h>
#include <crocuta/head.h>
#include <crocuta/journal.h>
#include <crocuta/model.h>
#include <crocuta/score.h>
#include <crocuta/session.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CROCUTA_VERSION "0.1.0"

/* "0.1.0", constant, never NULL. Any thread. */
CROCUTA_API const char *crocuta_version(void);

/* Run-time version of htslib, such as "1.16"; constant, never NULL. Any thread. */
CROCUTA_API const char *crocuta_htslib_version(void);

#ifdef __cplusplus
}
#endif
#endif
