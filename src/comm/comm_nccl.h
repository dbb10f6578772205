/* comm_nccl.h - ranks that are GPUs, of one host or of several, over NCCL; with CUDA=1 only.
 *
 * NCCL is looked for when it is first needed: the library that CROCUTA_NCCL names, else
 * libnccl.so.2.
 *
 * A thread for each rank watches over it: when NCCL reports an error, or cr_comm_fail or
 * cr_comm_nccl_fail is called, it aborts the communicator, so that what waits on the GPU for a dead
 * peer ends, and what waits on the host for the GPU with it. Messages of different sizes on the two
 * sides are not noticed here: the ranks wait for each other. comm_threads.c finds such mistakes.
 */
#ifndef CR_COMM_COMM_NCCL_H
#define CR_COMM_COMM_NCCL_H

#include "comm/comm.h"

#define CR_NCCL_ID_BYTES 128

/* Names a new group of ranks; made by one of them and given to all, by memory or cr_control.
 * EDEVICE. */
int cr_comm_nccl_id(unsigned char id[CR_NCCL_ID_BYTES], crocuta_error *error);

/* One rank's end, with work queued on `queue`, a cudaStream_t of this gpu. All ranks call this at
 * the same time, each from a thread or process of its own, each with another GPU. EDEVICE where
 * they do not all come within CROCUTA_CONNECT_SECONDS (60). Ranks of one process are closed by
 * their caller, all of them after all their threads are done; the last close waits for NCCL. */
int cr_comm_nccl(int size, int rank, const unsigned char id[CR_NCCL_ID_BYTES], int gpu, void *queue,
		 cr_comm **comm, crocuta_error *error);

/* Any thread: all ranks of this process in that group fail with these words, also while they are
 * being connected. Returns at once. No such group: nothing. */
void cr_comm_nccl_fail(const unsigned char id[CR_NCCL_ID_BYTES], const char *why);

/* Has anything gone wrong? 0 or EDEVICE. */
int cr_comm_nccl_poll(cr_comm *comm, crocuta_error *error);

/* Wait until all that is queued on the rank's queue is done, or until something fails: EDEVICE
 * then, after the queue has emptied or 10 s. Use it instead of cudaStreamSynchronize. */
int cr_comm_nccl_wait_queue(cr_comm *comm, crocuta_error *error);

#endif
