/* engine_stack.h - sessions over stacks: ranks, their threads, and what the devices share.
 *
 * One sequence at a time goes through all ranks together (mixer/rank.h). Rank 0 works on the
 * calling thread and hands rows over; the others are threads that wait for the next sequence, or,
 * where a launcher started several processes, one rank each, processes that wait in
 * crocuta_session_follow.
 */
#ifndef CR_MODEL_ENGINE_STACK_H
#define CR_MODEL_ENGINE_STACK_H

#include <pthread.h>
#include <stdatomic.h>

#include "comm/control.h"
#include "mixer/rank.h"
#include "model/engine.h"

#define CR_RANKS_MAX 64

/* What is asked of all ranks for one sequence. */
typedef struct cr_stack_job {
	const crocuta_sequence *sequence;
	int64_t index; /* of the call */
	int layer;
	const crocuta_request *request;
} cr_stack_job;

/* One rank with its thread (rank 0: without). */
typedef struct cr_stack_worker {
	struct cr_stack_state *state;
	cr_rank rank;
	pthread_t thread;
	int started;
	int64_t done; /* jobs; the making of the rank counts as one */
	int code;     /* of the last one */
	crocuta_error error;
} cr_stack_worker;

/* A session's part. */
typedef struct cr_stack_state {
	const cr_stack *stack;
	const cr_stack_ops *ops;
	cr_rank_options options;
	int64_t device_bytes;        /* that a device takes besides */
	int first, here;             /* ranks of this process: its first, and how many */
	int threads;                 /* of each rank's device */
	const char *isa;             /* or NULL */
	int gpu[CR_RANKS_MAX];       /* of the ranks here */
	cr_comm *comm[CR_RANKS_MAX]; /* the same */
	cr_stack_worker *worker;     /* (here) */
	float *hidden, *logits;      /* (chunk, D), (chunk, V), host */
	pthread_mutex_t lock;        /* of what follows and of done, code */
	pthread_cond_t changed;
	int64_t jobs; /* given out */
	int leave, broken, made_lock;
	cr_stack_job job;
	double prepare_seconds;
	cr_stack own;                /* of a HyenaDNA-shaped network that is run as a stack */
	cr_implicit_filters filters; /* cpu: where layers have HyenaDNA's filter */
	cr_implicit_rank *implicit;  /* (here), or NULL */
	/* Ends of messages that do not go between threads: made on each rank's thread; failed. */
	int (*make_comm)(struct cr_stack_state *state, int index, crocuta_error *error);
	void (*fail_comm)(struct cr_stack_state *state, const char *why);
	unsigned char id[128]; /* of NCCL */
	cr_launch launch;      /* size above 1: several processes */
	cr_control *control;
	atomic_int has_id;  /* id is the group's */
	const char *sha256; /* of the model: all processes must have the same */
} cr_stack_state;

/* The session's state, zero but for ops, stack, digest and the size of a group of heads; NULL:
 * EMEMORY. */
cr_stack_state *cr_stack_make_state(crocuta_session *session, const cr_stack_ops *ops,
				    crocuta_error *error);

/* Plan for options and `ranks` ranks; fills session->plan but for its device. */
int cr_stack_plan(crocuta_session *session, const crocuta_session_options *options,
		  crocuta_error *error);
/* Its bytes again, after the state's options or the session's length have changed. */
void cr_stack_count_bytes(crocuta_session *session);

/* The socket's functions that all stack engines share, see engine.h. */
int cr_stack_prepare(crocuta_session *session, crocuta_error *error);
void cr_stack_close(crocuta_session *session);
int cr_stack_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		 int layer, const crocuta_request *request, crocuta_error *error);
void cr_stack_times(crocuta_session *session, crocuta_stage_times *times, int reset);

/* Passes and results of one sequence on one rank. */
int cr_stack_run_job(cr_stack_worker *worker, const cr_stack_job *job);

/* Several processes. meet: connect and agree on options and length, before memory is looked at and
 * the ranks are made; ready: they are made, or not (code); call: a sequence for the others; follow:
 * what the others do. All of them do nothing where one process is all there is. */
int cr_stack_meet(crocuta_session *session, crocuta_error *error);
int cr_stack_ready(cr_stack_state *state, int code, crocuta_error *error);
int cr_stack_call(cr_stack_state *state, const cr_stack_job *job, crocuta_error *error);
int cr_stack_follow(crocuta_session *session, crocuta_error *error);
void cr_stack_leave(cr_stack_state *state);

/* A HyenaDNA-shaped network described as a stack, whose arrays it borrows. EMEMORY. */
int cr_stack_of_network(const cr_network *network, cr_stack *stack, crocuta_error *error);
void cr_stack_of_network_free(cr_stack *stack);

/* Ends of a group of threads that copy through the devices' own copy. */
int cr_stack_thread_comm(cr_stack_state *state, crocuta_error *error);

#endif
