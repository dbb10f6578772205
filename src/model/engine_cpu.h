/* engine_cpu.h - the parts of a session on the CPU: engine_cpu_setup.c makes it, engine_cpu.c runs
 * sequences and streams, engine_cpu_changes.c changes to them. */
#ifndef CR_MODEL_ENGINE_CPU_H
#define CR_MODEL_ENGINE_CPU_H

#include "model/engine.h"

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

/* What changes need of the sequence they are changes to, at positions [first, end): of each block
 * the residual in front of it (from block 1 on), the convolution's input and its output before the
 * gate; and the rows of the result. */
typedef struct cr_kept_rows {
	int64_t capacity;        /* rows */
	int64_t first, end;      /* positions */
	int64_t stride;          /* floats between channel blocks */
	float *residual, *v, *y; /* [N][groups][stride / 32][32] */
	float *hidden, *logits;  /* (capacity, D), (capacity, V) */
} cr_kept_rows;

/* What one thread needs to take a change through the network. The first one has tile and
 * convolution scratch for all threads, to work on a long change together. */
typedef struct cr_change_worker {
	cr_activations act;
	float *history;                      /* [groups][3][2][32] */
	cr_tile_scratch *tile;               /* (1) or (threads) */
	cr_convolution_scratch *convolution; /* the same */
	int teams;                           /* how many of these two */
	float *hidden, *logits;              /* (T, D), (T, V) */
	crocuta_stage_times times;
} cr_change_worker;

/* The part of a session that serves crocuta_session_changes; length 0: none. */
typedef struct cr_changes {
	int64_t length;           /* longest T */
	cr_hyena hyena;           /* filters for T positions, exact segments */
	float *taps;              /* block 0: [groups][T][32] */
	int64_t slots;            /* sequences at a time */
	int64_t kept_rows;        /* capacity of a slot */
	cr_kept_rows *kept;       /* (slots) */
	cr_change_worker *worker; /* (threads) */
} cr_changes;

typedef struct cr_cpu {
	const cr_network *network;
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
	float *hidden;           /* results: (batch, short_rows, D) or (CR_OUTPUT_ROWS, D) */
	float *logits;
	double prepare_seconds;
	cr_changes changes;
} cr_cpu;

/* Floats between channel blocks for `rows` rows: padded so that blocks don't share cache sets. */
static inline int64_t cr_stride_for(int64_t rows)
{
	return (rows + 23) / 8 * 8 * CR_LINE;
}

/* Activations of `rows` rows; EMEMORY, what was allocated is freed by the third. */
int64_t cr_activations_bytes(int64_t groups, int64_t rows);
int cr_activations_alloc(cr_activations *activations, int64_t groups, int64_t rows,
			 crocuta_error *error);
void cr_activations_free(cr_activations *activations);

/* Passes 0 .. layer over `rows` rows of one sequence or chunk in the worker's activations. states:
 * (N) carried state, or NULL for a whole sequence. keep: or NULL; row 0 is then kept as position
 * keep->end, which moves on, and rows from head_from on are kept as results. */
int cr_cpu_run_blocks(cr_cpu *s, cr_worker *worker, const uint8_t *tokens, int64_t rows, int layer,
		      int64_t head_from, cr_convolution_state *states, cr_kept_rows *keep,
		      crocuta_error *error);

/* A sequence starts: nothing is known of what was before. */
void cr_cpu_forget_history(const cr_cpu *s, cr_worker *worker);

/* Position 0 again, with nothing carried. */
void cr_cpu_stream_reset(crocuta_session *session);

/* Plan (after all else is planned), allocate, run, free. */
int cr_changes_plan(cr_cpu *s, int64_t length, crocuta_error *error);
int cr_changes_alloc(cr_cpu *s, crocuta_error *error);
int cr_cpu_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
		   int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error);
void cr_changes_free(cr_cpu *s);

/* The rest of the socket, see engine.h. */
int cr_cpu_open(crocuta_session *session, const crocuta_session_options *options,
		crocuta_error *error);
int cr_cpu_prepare(crocuta_session *session, crocuta_error *error);
void cr_cpu_close(crocuta_session *session);

#endif
