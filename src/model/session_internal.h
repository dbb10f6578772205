/* session_internal.h - the parts of a session; session.c runs it, session_setup.c makes it. */
#ifndef CR_MODEL_SESSION_INTERNAL_H
#define CR_MODEL_SESSION_INTERNAL_H

#include <crocuta/session.h>

#include "backend/cpu/convolution.h"
#include "backend/cpu/local.h"
#include "mixer/hyena.h"

/* Rows converted and handed over at a time. */
#define CR_OUTPUT_ROWS 4096

/* Sequences up to this length are computed side by side, a thread each. */
#define CR_SHORT_ROWS 8192

/* What a team of threads needs to take one sequence (or chunk) through the network. */
typedef struct cr_worker {
	int threads;
	int64_t rows;                        /* capacity */
	cr_activations act;
	float *history;                      /* [N][groups][3][2][32] */
	float *far;                          /* far-field values, near/far only */
	cr_tile_scratch *tile;               /* (threads) */
	cr_convolution_scratch *convolution; /* (threads) */
	cr_convolution_state *state;         /* near/far: one, reset for each block; else NULL */
	crocuta_stage_times times;
} cr_worker;

struct crocuta_session {
	const cr_network *network;
	int reference;           /* plain loops instead of the engine */
	cr_packed_network packed;
	cr_hyena hyena;
	crocuta_plan plan;
	int64_t max_length, short_rows, chunk_rows;
	int stream;              /* sequences without end allowed */
	int chunked;             /* long sequences run in chunks with carried state */
	cr_worker together;      /* all threads on one sequence; rows 0 when never needed */
	cr_worker *alone;        /* (threads) a thread each */
	cr_convolution_state *states; /* (N) of the chunked sequence in progress */
	uint8_t *pending;        /* (chunk_rows) tokens of a stream that wait for a chunk */
	int64_t pending_count, position;
	int stream_layer;        /* of the request that began the stream */
	float *hidden;           /* results: (batch, short_rows, D) or (CR_OUTPUT_ROWS, D) */
	float *logits;
	double prepare_seconds;
};

int cr_session_run_reference(crocuta_session *session, const crocuta_sequence *sequences,
			     int64_t count, int layer, const crocuta_request *request,
			     crocuta_error *error);

#endif
