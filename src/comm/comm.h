/* comm.h - ranks that hold parts of one sequence, and messages between them.
 *
 * A rank is a thread with a device. Messages go from memory of one rank's device to memory of
 * another's. start() queues transfers behind the work that the rank's device has queued so far and
 * returns; wait() makes the work queued after it see what arrived (the host may or may not be
 * blocked by either). Between the two, received places may not be touched and sent ones only read.
 * Transfers between two ranks match in the order in which both name them; each rank's start()s pair
 * up with the others' in order. A rank may send to itself.
 *
 * Implementations: threads of one process (comm_threads.c), NCCL (comm_nccl.c, with CUDA=1).
 */
#ifndef CR_COMM_COMM_H
#define CR_COMM_COMM_H

#include <stdint.h>

#include <crocuta/error.h>

typedef struct cr_comm cr_comm;

typedef struct cr_transfer {
	int peer;      /* the other rank */
	int send;      /* 1: data goes there, 0: comes from there */
	void *data;    /* the device's; not written when sent */
	int64_t bytes; /* 0 is allowed and does nothing, on both sides */
} cr_transfer;

typedef struct cr_comm_ops {
	const char *name; /* "threads", "nccl" */
	int (*start)(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error);
	int (*wait)(cr_comm *comm, crocuta_error *error);
	/* Any thread: every rank's pending and later calls fail with EDEVICE, promptly. */
	void (*fail)(cr_comm *comm, const char *why);
	void (*close)(cr_comm *comm);
	/* Wait for all that is queued on the rank's device, or until a rank fails: EDEVICE. NULL:
	 * waiting for the device is enough. */
	int (*settle)(cr_comm *comm, crocuta_error *error);
} cr_comm_ops;

/* One rank's end. */
struct cr_comm {
	const cr_comm_ops *ops;
	int rank, size;
	void *state; /* the implementation's */
};

/* At most one start is open at a time; at most CR_COMM_TRANSFERS in one. The error says which rank
 * failed and why, CROCUTA_EDEVICE. */
#define CR_COMM_TRANSFERS 256
int cr_comm_start(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error);
int cr_comm_wait(cr_comm *comm, crocuta_error *error);
void cr_comm_fail(cr_comm *comm, const char *why); /* NULL comm is fine */
void cr_comm_close(cr_comm *comm);                 /* NULL is fine */

/* start and wait together. broadcast: bytes at data of `root` to all the others' data. all_gather:
 * `bytes` of each rank into all (size, bytes), rank after rank; mine may be its place in all. */
int cr_comm_broadcast(cr_comm *comm, int root, void *data, int64_t bytes, crocuta_error *error);
int cr_comm_all_gather(cr_comm *comm, const void *mine, void *all, int64_t bytes,
		       crocuta_error *error);

/* How threads copy: bytes from `from`, memory of rank `source`, to `to`, memory of rank `target`,
 * done on return; runs on the target's thread. ready: waits until the rank's own device has
 * computed what is sent. NULL: memcpy and nothing. */
typedef struct cr_comm_memory {
	int (*copy)(void *user, int target, void *to, int source, const void *from, int64_t bytes,
		    crocuta_error *error);
	int (*ready)(void *user, int rank, crocuta_error *error);
	void *user;
} cr_comm_memory;

/* `size` ends of one group of threads into comms; each for its own thread, to be closed by the
 * caller, all of them after all threads are done. EMEMORY. memory is copied; NULL: host memory. */
int cr_comm_threads(int size, const cr_comm_memory *memory, cr_comm **comms, crocuta_error *error);

#endif
