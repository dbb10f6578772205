/* crocuta/session.h - a model planned for this machine: plan, then run. */
#ifndef CROCUTA_SESSION_H
#define CROCUTA_SESSION_H

#include <stdint.h>

#include <crocuta/error.h>
#include <crocuta/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A model with packed weights, filters and workspaces. One thread at a time may call into a
 * session (it starts its own OpenMP threads); several sessions may share a model. */
typedef struct crocuta_session crocuta_session;

/* How the long convolution is computed. */
enum crocuta_convolution {
	CROCUTA_CONVOLUTION_AUTO = 0,   /* near/far where its certificate holds and it is faster */
	CROCUTA_CONVOLUTION_FFT = 1,    /* partitioned FFT, cached spectra */
	CROCUTA_CONVOLUTION_NEARFAR = 2 /* exact near field, moments beyond; refused if not certified */
};

/* How much a message matters; the lower the more. */
enum crocuta_log_level {
	CROCUTA_LOG_ERROR = 1,
	CROCUTA_LOG_NOTICE = 2, /* what is about to be done and how large it is */
	CROCUTA_LOG_WARNING = 3,
	CROCUTA_LOG_INFO = 4,
	CROCUTA_LOG_DEBUG = 5
};

/* Receives one line without a newline, valid during the call; level: enum crocuta_log_level. Called
 * on the thread that called the library; it must not start another run. */
typedef void crocuta_log_fn(void *user, int level, const char *message);

/* Arithmetic of a session. */
enum crocuta_dtype {
	CROCUTA_DTYPE_F32 = 0, /* results as good as float32's */
	CROCUTA_DTYPE_BF16 = 1 /* bfloat16 operands, float32 sums: GPUs only */
};

/* How several devices share work. */
enum crocuta_parallel {
	CROCUTA_PARALLEL_AUTO = 0,    /* BATCH for HyenaDNA, SEQUENCE for hybrids of attention */
	CROCUTA_PARALLEL_BATCH = 1,   /* each device computes sequences of its own */
	CROCUTA_PARALLEL_SEQUENCE = 2 /* all devices share every sequence */
};

/* How a session is planned. Fill with crocuta_session_options_init first; strings are borrowed
 * until the call that takes the options returns. */
typedef struct crocuta_session_options {
	const char *device;      /* "auto": a GPU where this build and machine have one, the plan fits
				    into its memory, a near/far form that is asked for is certified
				    there, and neither stream nor isa is asked for, else the CPU;
				    "cpu"; with parallel sequence also "cpu:4", which cuts it into
				    that many ranks (tests, development); "cuda" (GPU 0), "cuda:1", "cuda:0,1", "cuda:all";
				    "reference" runs the plain double loops (tests) */
	int dtype;               /* enum crocuta_dtype */
	int parallel;            /* enum crocuta_parallel: how several GPUs (or ranks, "cpu:4") share work */
	const char *isa;         /* of the CPU. NULL: best; "avx512", "avx2", "portable" */
	int threads;             /* total, of the CPU; 0: crocuta_default_threads() */
	int64_t max_length;      /* longest sequence of one run, in tokens; 0: the model's M */
	int stream;              /* 1: also allow crocuta_session_stream beyond M */
	int convolution;         /* enum crocuta_convolution */
	int64_t batch;           /* sequences computed side by side when short; 0: planned */
	int64_t change_length;   /* longest change of crocuta_session_changes, in tokens; 0: none.
				    Not together with stream */
	int64_t memory_limit;    /* host bytes; 0: no limit. Exceeded: CROCUTA_EMEMORY before
				    allocation */
	crocuta_log_fn *log;     /* NULL: silent. Which GPUs crocuta_session_new takes, and what it
				    does when their memory turns out short */
	void *user;              /* of log */
} crocuta_session_options;

/* What a session needs and how it computes: bytes of memory (of the host, but for device_bytes),
 * positions, tokens. */
typedef struct crocuta_plan {
	int64_t weight_bytes;     /* packed weights */
	int64_t filter_bytes;     /* spectra, or near-field spectra and far-field tables */
	int64_t workspace_bytes;  /* activations and scratch of all threads */
	int64_t state_bytes;      /* carried state of a stream */
	int64_t change_bytes;     /* filters, kept rows and scratch of crocuta_session_changes */
	int64_t total_bytes;      /* the sum of the above */
	int64_t device_bytes;     /* of GPUs, all together; of a session made, as allocated */
	int64_t batch;            /* sequences side by side */
	int64_t gather;           /* sequences to give to one run so that all devices stay busy, at least
				     batch */
	int devices;              /* GPUs; 0 for others */
	int ranks;                /* that share every sequence (--parallel sequence), else 1 */
	int64_t rank_bytes;       /* of one of them on its device, the largest; 0: not known */
	int threads;              /* as used */
	const char *device;       /* "cpu", "reference" or "cuda"; constant */
	const char *dtype;        /* "f32" or "bf16"; "f64" on the device "reference"; constant */
	const char *isa;          /* as used, or "reference"; of a GPU its architecture, "sm_90";
				     constant */
	const char *convolution;  /* "fft", "nearfar" or "direct"; constant */
	int64_t block;            /* positions in a block of the convolution */
	int far_rank;             /* moments a block and channel, 0 for fft */
	double certificate_error; /* worst |h - interpolated h| / max|h| over channels and layers */
	int64_t stream_context;   /* with stream: positions of left context every base sees at least */
} crocuta_plan;

/* Seconds spent by stage since the session was made (or the last reset), wall clock. */
typedef struct crocuta_stage_times {
	double prepare;   /* filters, spectra, packing; not reset */
	double local;     /* tile pass: projections, norms, MLP, short filter, gates */
	double mixing;    /* long convolution; of hybrids layers of attention, whole */
	double head;      /* final norm, logits, hand-over of rows */
} crocuta_stage_times;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_session_options_init(crocuta_session_options *options);

/* Say what a session would need without allocating its workspaces. The filters are examined, which
 * takes up to a few seconds for a million-base model. *plan is the caller's. Codes as
 * crocuta_session_new. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_plan(const crocuta_model *model,
						     const crocuta_session_options *options,
						     crocuta_plan *plan, crocuta_error *error);

/* Plan and allocate everything a run needs. The model must outlive the session. *session is the
 * caller's, for crocuta_session_free; NULL on failure: CROCUTA_EARG (options; a rank above 0, which
 * follows), EMODEL (near/far
 * asked for and not certified), EDEVICE, or EMEMORY (also: more than memory_limit). Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_new(const crocuta_model *model,
						    const crocuta_session_options *options,
						    crocuta_session **session,
						    crocuta_error *error);

/* Free; NULL is fine. Not from a callback of the session, nor while another thread is in it. */
CROCUTA_API void crocuta_session_free(crocuta_session *session);

/* Which process of a job this is: a launcher (torchrun, mpirun, srun, or CROCUTA_RANK and
 * CROCUTA_SIZE; docs/hybrids.md) started `size` of them with `options` that say parallel sequence. Else
 * *rank is 0 and *size 1. EARG for an environment that contradicts itself. Reads the environment. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_rank(const crocuta_session_options *options, int *rank,
						     int *size, crocuta_error *error);

/* On a rank above 0: take part in the session that rank 0 makes with the same model and options, until
 * it is freed there. Nothing is handed over here. Codes as crocuta_session_new and
 * crocuta_session_run; EDEVICE when another process is gone. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_follow(const crocuta_model *model,
						       const crocuta_session_options *options,
						       crocuta_error *error);

/* The plan the session was made by; never NULL, owned by the session, constant until that is
 * freed. */
CROCUTA_API const crocuta_plan *crocuta_session_get_plan(const crocuta_session *session);

/* Seconds by stage into *times (the caller's). With `reset` nonzero the counts of the session then
 * start again from 0, prepare excepted: a call into the session as any other, one thread at a
 * time. */
CROCUTA_API void crocuta_session_get_times(crocuta_session *session,
					   crocuta_stage_times *times, int reset);

/* One sequence of a run. Borrowed, tokens included, until crocuta_session_run returns. */
typedef struct crocuta_sequence {
	const uint8_t *tokens;  /* (L) token ids, below V; the caller's */
	int64_t length;         /* L, 1 .. max_length */
	int64_t report_from;    /* rows before this one are computed but not handed over */
} crocuta_sequence;

/* Rows of one sequence, handed over in ascending order, sequence after sequence, on the calling
 * thread. hidden: (count, D) or NULL; logits: (count, V) or NULL; both valid during the call only.
 * Row i of logits scores token i + 1. A nonzero return ends the run with that value as its code. It
 * must not call into the same session; another session, of the same model or not, is fine. Values
 * are not looked at: NaN or infinity come through, but for HyenaDNA on GPUs in f32, where they end the
 * run with CROCUTA_ENUMERIC. */
typedef int crocuta_rows_fn(void *user, int64_t sequence, int64_t first, int64_t count,
			    const float *hidden, const float *logits);

/* How the rows of a segment become one vector of double numbers. */
enum crocuta_pool {
	CROCUTA_POOL_SUM = 1, /* their sum */
	CROCUTA_POOL_MAX = 2, /* the largest value of each column */
	CROCUTA_POOL_LAST = 3 /* the last row */
};

/* A sequence's rows cut into segments: segment 0 starts at report_from, segment i where i - 1 ends. No
 * segment is empty; rows behind the last are computed but not looked at. */
typedef struct crocuta_segments {
	const int64_t *ends; /* (count) ascending, above report_from, up to L; the caller's */
	int64_t count;       /* 0: nothing of this sequence */
} crocuta_segments;

/* Vectors of segments [first, first + count) of a sequence, (count, D), valid during the call only; in
 * ascending order, sequence after sequence, on the calling thread. NaN or infinity in a row makes the
 * vector NaN or infinite at that column. Return as of crocuta_rows_fn. */
typedef int crocuta_pooled_fn(void *user, int64_t sequence, int64_t first, int64_t count,
			      const double *values);

/* Instead of rows, vectors that are pooled where the rows are computed: a GPU hands over no more than
 * these. A segment's bytes depend on its own sequence only, as rows do. */
typedef struct crocuta_pooling {
	int kind;                         /* enum crocuta_pool */
	const crocuta_segments *segments; /* (count) of the run: one for each sequence */
	crocuta_pooled_fn *pooled;
} crocuta_pooling;

/* What to compute. Borrowed until the call returns; rows (or pooling) must not be NULL, and want_hidden
 * or want_logits nonzero (CROCUTA_EARG). */
typedef struct crocuta_request {
	int layer;              /* 0 .. N: 0 the token vectors, k < N the residual stream after k
				   blocks, N (or -1) the output of the final norm */
	int want_hidden;
	int want_logits;        /* needs layer N */
	crocuta_rows_fn *rows;
	void *user;             /* of rows, or of pooled */
	const crocuta_pooling *pooling; /* NULL: rows. Else hidden only, and not for streams */
} crocuta_request;

/* Compute `count` sequences, each on its own (rows are independent of the batch they are in, bit
 * for bit, and of the number of threads). `sequences` may be NULL when count is 0. CROCUTA_EARG,
 * before anything is computed, for a length above max_length, a token outside the vocabulary or a
 * request that cannot be; EMEMORY; EDEVICE for a GPU that fails; of HyenaDNA on a GPU in f32 ENUMERIC for an
 * activation that is no number or beyond 65,000, which its split arithmetic cannot hold; or what
 * the rows function returned. A stream in progress is reset. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_run(crocuta_session *session,
						    const crocuta_sequence *sequences,
						    int64_t count, const crocuta_request *request,
						    crocuta_error *error);

/* Longest change that can be planned, in tokens. */
#define CROCUTA_CHANGE_LENGTH_MAX 32768

/* An alternative to a sequence: from position `at` on it has other tokens. What comes before is
 * shared, in every layer, because the models are causal. Tokens borrowed. */
typedef struct crocuta_change {
	int64_t at;            /* first position that may differ, 0 .. L - 1 */
	int64_t length;        /* T, 1 .. change_length, and at + T <= L */
	const uint8_t *tokens; /* (T) the alternative's tokens at at .. at + T - 1; the caller's */
} crocuta_change;

/* A sequence and its changes, each against the sequence itself. Borrowed until the call returns. */
typedef struct crocuta_changed_sequence {
	const uint8_t *tokens; /* (L) */
	int64_t length;        /* L, 1 .. max_length */
	const crocuta_change *changes; /* (count), ascending in `at` */
	int64_t count;
} crocuta_changed_sequence;

/* The rows of one change, and the reference's at the same positions; valid during the call only.
 * Row i belongs to position at + i, and its logits score the token at + i + 1. */
typedef struct crocuta_change_rows {
	int64_t sequence, change; /* indices into what was given */
	int64_t count;            /* T */
	const float *before;      /* (V) logits of position at - 1, shared; NULL when at is 0 */
	const float *hidden, *logits; /* (T, D) after the final norm, (T, V), of the change */
	const float *reference_hidden, *reference_logits; /* the same of the sequence itself */
	int on_caller;            /* nonzero on the thread that made the call */
} crocuta_change_rows;

/* Receives the rows of each change once, in no particular order, from several threads at a time.
 * A nonzero return ends the run with that value as its code, soon. */
typedef int crocuta_change_fn(void *user, const crocuta_change_rows *rows);

/* Compute every sequence once and of every change only what differs: exact up to rounding, and with
 * the same bytes whatever the batch, the other changes and the threads. For sessions planned with
 * change_length; CROCUTA_EARG for others, and for lengths, places or tokens outside the limits;
 * EMEMORY, EDEVICE, ENUMERIC and what the rows function returned as for crocuta_session_run. */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_changes(crocuta_session *session,
							const crocuta_changed_sequence *sequences,
							int64_t count, crocuta_change_fn *rows,
							void *user, crocuta_error *error);

/* Forget the carried state: the next stream call starts a new sequence at position 0. Not from a
 * callback. */
CROCUTA_API void crocuta_session_stream_reset(crocuta_session *session);

/* Append `count` tokens to the stream, any number at a time. Rows are handed over once the tokens of
 * this and earlier calls fill a chunk of 16 blocks (plan.block); with `last` nonzero the rest
 * follows and the stream is reset. `first` in the rows call counts from the stream's start, so
 * the union of all calls is 0 .. total-1, in order. The first M positions are those of
 * crocuta_session_run; later ones see at least M positions of left context. The bytes do not
 * depend on how the tokens are cut into calls. tokens may be NULL when count is 0. The layer of
 * the request must stay the same until the stream ends (CROCUTA_EARG, and the stream is reset). */
CROCUTA_API CROCUTA_CHECKED int crocuta_session_stream(crocuta_session *session,
						       const uint8_t *tokens, int64_t count,
						       int last, const crocuta_request *request,
						       crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
