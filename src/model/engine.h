/* engine.h - the socket between a session and what computes it.
 *
 * A session checks what the caller gives and keeps the plan; an engine plans for its device, allocates
 * and computes. One engine is one line in engines.def and an object cr_engine_NAME. An engine's
 * results may differ from another's by rounding only (1e-4 of the double loops), and never by the
 * batch, the other sequences or the number of threads or devices.
 */
#ifndef CR_MODEL_ENGINE_H
#define CR_MODEL_ENGINE_H

#include <crocuta/session.h>

#include "backend/network.h"

typedef struct cr_engine {
	const char *name; /* what --device names, up to a colon */
	int bf16;         /* also takes CROCUTA_DTYPE_BF16 */
	int stacks;       /* runs stacks (backend/stack.h), else HyenaDNA-shaped networks */

	/* May "auto" choose it for these options? NULL: never. An open or prepare that then fails
	 * with EDEVICE, EMEMORY or EMODEL leaves the choice to the next engine. */
	int (*automatic)(const crocuta_session_options *options);

	/* Plan: fill session->plan and session->state, allocate nothing large. The options are
	 * checked, with defaults but for threads. On failure close() is called. */
	int (*open)(crocuta_session *session, const crocuta_session_options *options,
		    crocuta_error *error);

	/* Allocate what was planned. */
	int (*prepare)(crocuta_session *session, crocuta_error *error);

	/* Free session->state, whatever part of it there is. */
	void (*close)(crocuta_session *session);

	/* As crocuta_session_run with everything checked; layer is 0 .. N. With `pools` nonzero it
	 * also takes requests with pooling; else the session pools the rows. */
	int pools;
	int (*run)(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		   int layer, const crocuta_request *request, crocuta_error *error);

	/* As crocuta_session_stream; NULL: none. The session resets it after `last` and failures. */
	int (*stream)(crocuta_session *session, const uint8_t *tokens, int64_t count, int last,
		      int layer, const crocuta_request *request, crocuta_error *error);
	void (*stream_reset)(crocuta_session *session);

	/* As crocuta_session_changes; NULL: none. */
	int (*changes)(crocuta_session *session, const crocuta_changed_sequence *sequences,
		       int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error);

	/* As crocuta_session_follow, of a session that is made; NULL: one process is all it can. */
	int (*follow)(crocuta_session *session, crocuta_error *error);

	void (*times)(crocuta_session *session, crocuta_stage_times *times, int reset);
} cr_engine;

struct crocuta_session {
	const cr_network *network;
	const cr_engine *engine;
	void *state; /* the engine's */
	crocuta_plan plan;
	const char *sha256; /* of the model */
	int64_t max_length, change_length;
	int stream;
	int stream_begun, stream_layer; /* of the request that began it */
};

#define ENGINE(name) extern const cr_engine cr_engine_##name;
#include "model/engines.def"
#undef ENGINE

#endif
