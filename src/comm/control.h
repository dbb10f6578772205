/* control.h - several processes of one job: who they are, and a wire between them.
 *
 * cr_launch reads a launcher's environment. cr_control is a star of TCP connections with rank 0 in
 * its middle: for small messages (ids, plans, results) and to notice that a process has died. What
 * ranks compute goes through comm.h instead.
 *
 * Nothing is encrypted and nobody has to say a password: the port is for the hosts of a job alone,
 * and must not be open to the world. Rank 0 listens until all have come, on the master's address
 * alone where the name stands for an address of that host, else on all of its.
 */
#ifndef CR_COMM_CONTROL_H
#define CR_COMM_CONTROL_H

#include <stdint.h>

#include <crocuta/error.h>

#define CR_LAUNCH_PORT 29417
#define CR_LAUNCH_RANKS 4096 /* most */

typedef struct cr_launch {
	int found;      /* 0: nobody launched several of us; rank 0 of 1 */
	int rank, size; /* 0 .. size - 1 */
	int local_rank; /* among the processes of this host: the GPU to take */
	char host[256]; /* of rank 0, name or address; empty where size is 1 */
	int port;       /* 1 .. 65535 */
} cr_launch;

/* In this order, the first that is there:
 *   ours     CROCUTA_RANK, CROCUTA_SIZE, CROCUTA_LOCAL_RANK (else the rank)
 *   torchrun RANK, WORLD_SIZE, LOCAL_RANK (else the rank)
 *   Open MPI OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK
 *   srun     SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, in a job step alone (SLURM_STEP_ID): a
 * batch script has them too, but it is one process Rank 0 is at CROCUTA_MASTER (HOST:PORT, or
 * [IPV6]:PORT), else at MASTER_ADDR; without these at 127.0.0.1 for Open MPI on one host, and with
 * srun on the first host of SLURM_STEP_NODELIST or SLURM_JOB_NODELIST, or at
 * SLURM_LAUNCH_NODE_IPADDR. The port: CROCUTA_MASTER's, CROCUTA_PORT, MASTER_PORT (plus 1 where
 * torchrun listens there itself), CR_LAUNCH_PORT. EARG names the variable. */
int cr_launch_read(cr_launch *launch, crocuta_error *error);

typedef struct cr_control cr_control;

/* Called once, from a thread of the control, when the job is lost: `rank` is gone or failed. why is
 * a sentence that names it. May not call cr_control_*. */
typedef void cr_control_lost(void *user, int rank, const char *why);

typedef struct cr_control_options {
	cr_control_lost *lost; /* NULL: nothing is called */
	void *user;
	double seconds; /* until all have to be connected; 0: CROCUTA_CONNECT_SECONDS, else 60 */
	const char *version; /* NULL: crocuta's. Ranks of other versions are refused */
} cr_control_options;

/* Connect all ranks of a job; returns on rank 0 when all are there, on others when rank 0 knows
 * them. EDEVICE: somebody did not come, or is not one of us; EARG, EMEMORY. options may be NULL. */
int cr_control_open(const cr_launch *launch, const cr_control_options *options,
		    cr_control **control, crocuta_error *error);

/* Messages: at most CR_CONTROL_BYTES, of a type below CR_CONTROL_TYPES; between rank 0 and the
 * others, who do not know each other. send: rank -1 on rank 0 means all others. receive: the next
 * one from `rank`; waits for it, and fails with EDEVICE as soon as any rank is gone or failed and
 * nothing from `rank` is left. *data has a zero behind it, is never NULL and the caller's to
 * cr_free. Any thread; sends to one rank do not mix. */
#define CR_CONTROL_BYTES ((int64_t)1 << 30)
#define CR_CONTROL_TYPES 0x80000000u
int cr_control_send(cr_control *control, int rank, uint32_t type, const void *data, int64_t bytes,
		    crocuta_error *error);
int cr_control_receive(cr_control *control, int rank, uint32_t *type, void **data, int64_t *bytes,
		       crocuta_error *error);

/* 0, or EDEVICE and why the job is lost. */
int cr_control_check(cr_control *control, crocuta_error *error);

/* Tell all ranks that this one failed and why: what they wait for fails, and their lost is called.
 * Not for this rank's own. NULL control is fine. */
void cr_control_fail(cr_control *control, const char *why);

/* Say goodbye, so that nobody takes it for a death, and disconnect; after a failure without. Once
 * this returns lost is not called any more. NULL is fine. */
void cr_control_close(cr_control *control);

#endif
