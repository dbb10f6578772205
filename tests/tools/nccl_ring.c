/* nccl_ring - the ring over NCCL on this host's GPUs: right bytes, speed, and a death in the
 * middle.
 *
 *   nccl_ring P        P threads, rank i on GPU i: checks, then GB/s of 64 MiB shifts
 *   nccl_ring fork P   the same with processes, which exchange the id through cr_control
 *   nccl_ring fail P   threads; rank 1 gives up in the middle: all have to end with status 7
 *   nccl_ring kill P   processes; rank 1 kills itself in the middle: so do the others
 *
 * Prints OK lines and ends with 0, or says what is wrong and ends with 1.
 */
#define _GNU_SOURCE
#include <stdio.h>

#ifndef CR_CUDA

int main(void)
{
	puts("nccl_ring: built without CUDA=1; there is nothing to run");
	return 0;
}

#else

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cuda_runtime_api.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "comm/comm_nccl.h"
#include "comm/control.h"

#define BYTES ((int64_t)64 << 20)
#define CHECK_ROUNDS 12
#define SPEED_ROUNDS 200
#define MOST 16
#define LIMIT_SECONDS 30.0 /* from a death to the others' status 7 */

enum { WELL, FAIL, KILL };

typedef struct worker {
	int rank, size, mode;
	unsigned char id[CR_NCCL_ID_BYTES];
	cudaStream_t queue;
	unsigned char *out, *in, *host;
	cr_comm *comm;
	double gigabytes; /* a second, each way */
	int rounds;       /* of shifts that began */
	int code;
	crocuta_error error;
	pthread_t thread;
} worker;

static int cuda(worker *w, cudaError_t status, const char *what)
{
	return status ? cr_fail(&w->error, CROCUTA_EDEVICE, "%s: %s", what,
				cudaGetErrorString(status))
		      : 0;
}

static int prepare(worker *w)
{
	int code = cuda(w, cudaSetDevice(w->rank), "cudaSetDevice");

	if (!code)
		code = cuda(w, cudaStreamCreateWithFlags(&w->queue, cudaStreamNonBlocking),
			    "stream");
	if (!code)
		code = cuda(w, cudaMalloc((void **)&w->out, 2 * BYTES), "cudaMalloc");
	if (!code)
		code = cuda(w, cudaMalloc((void **)&w->in, 2 * BYTES), "cudaMalloc");
	if (!code)
		code = cuda(w, cudaMallocHost((void **)&w->host, BYTES + 1), "cudaMallocHost");
	if (!code)
		code = cr_comm_nccl(w->size, w->rank, w->id, w->rank, w->queue, &w->comm,
				    &w->error);
	return code;
}

/* What rank sends in a round. */
static int value(int rank, int round)
{
	return (37 * rank + 11 * round + 5) & 255;
}

static int same(const unsigned char *data, int64_t bytes, int expected)
{
	for (int64_t i = 0; i < bytes; i++)
		if (data[i] != expected)
			return 0;
	return 1;
}

/* `bytes` at `from` on the GPU are `expected`, and the one behind them is the poison. */
static int check(worker *w, const unsigned char *from, int64_t bytes, int expected,
		 const char *what)
{
	int code = cuda(
		w,
		cudaMemcpyAsync(w->host, from, (size_t)bytes + 1, cudaMemcpyDeviceToHost, w->queue),
		"cudaMemcpyAsync");

	if (!code)
		code = cr_comm_nccl_wait_queue(w->comm, &w->error);
	if (!code && (!same(w->host, bytes, expected) || w->host[bytes] != 0xa5))
		code = cr_fail(&w->error, CROCUTA_ENUMERIC, "rank %d: %s: wrong bytes", w->rank,
			       what);
	return code;
}

/* Everything is queued without a look: sends wait for what computes them, and what reads waits for
 * what arrives. */
static int check_ring(worker *w)
{
	const int to = (w->rank + 1) % w->size, from = (w->rank + w->size - 1) % w->size;
	int code = 0;

	for (int round = 0; round < CHECK_ROUNDS && !code; round++) {
		const int64_t bytes = round == 1 ? 0 : round == 2 ? 1 : BYTES - 1 - 3 * round;
		const cr_transfer transfers[] = {{to, 1, w->out, bytes},
						 {from, 0, w->in, bytes},
						 {w->rank, 1, w->out, bytes / 2},
						 {w->rank, 0, w->in + BYTES, bytes / 2}};

		code = cuda(w, cudaMemsetAsync(w->in, 0xa5, 2 * BYTES, w->queue),
			    "cudaMemsetAsync");
		for (int again = 0; again < 20 && !code; again++) /* takes its time */
			code = cuda(w,
				    cudaMemsetAsync(w->out, again == 19 ? value(w->rank, round) : 0,
						    (size_t)BYTES, w->queue),
				    "cudaMemsetAsync");
		if (!code)
			code = cr_comm_start(w->comm, transfers, 4, &w->error);
		if (!code)
			code = cr_comm_wait(w->comm, &w->error);
		/* sent data may be written again behind the wait */
		if (!code)
			code = cuda(w, cudaMemsetAsync(w->out, 0, (size_t)BYTES, w->queue),
				    "cudaMemset");
		if (!code)
			code = check(w, w->in, bytes, value(from, round), "ring");
		if (!code)
			code = check(w, w->in + BYTES, bytes / 2, value(w->rank, round),
				     "to itself");
	}
	return code;
}

static int check_collective(worker *w)
{
	const int64_t bytes = 100003;
	int code = cuda(w, cudaMemsetAsync(w->in, 0xa5, 2 * BYTES, w->queue), "cudaMemsetAsync");

	if (!code)
		code = cuda(w, cudaMemsetAsync(w->out, value(w->rank, 77), (size_t)bytes, w->queue),
			    "set");
	if (!code)
		code = cr_comm_all_gather(w->comm, w->out, w->in, bytes, &w->error);
	for (int r = w->size - 1; r >= 0 && !code; r--) {
		code = check(w, w->in + r * bytes, bytes, value(r, 77), "all_gather");
		if (!code)
			code = cuda(w, cudaMemsetAsync(w->in + r * bytes, 0xa5, 1, w->queue),
				    "set");
	}
	if (!code)
		code = cuda(w,
			    cudaMemsetAsync(w->out, w->rank == 1 % w->size ? 9 : 8, 5000, w->queue),
			    "set");
	if (!code)
		code = cuda(w, cudaMemsetAsync(w->out + 5000, 0xa5, 1, w->queue), "set");
	if (!code)
		code = cr_comm_broadcast(w->comm, 1 % w->size, w->out, 5000, &w->error);
	return code ? code : check(w, w->out, 5000, 9, "broadcast");
}

/* Shifts in two buffers, as the ring of attention does; where rank 1 gives up, until that is known.
 */
static int shift(worker *w)
{
	const int to = (w->rank + 1) % w->size, from = (w->rank + w->size - 1) % w->size;
	const int rounds = w->mode == WELL ? SPEED_ROUNDS : 1000000;
	double start = cr_wall_seconds();
	int code = 0;

	for (int round = 0; round < rounds && !code; round++) {
		unsigned char *here = round & 1 ? w->in : w->out,
			      *there = round & 1 ? w->out : w->in;
		const cr_transfer transfers[] = {{to, 1, here, BYTES}, {from, 0, there, BYTES}};

		w->rounds = round + 1;
		if (round == 50 && w->rank == 1 && w->mode != WELL) {
			printf("rank 1 gives up\n");
			fflush(stdout);
			if (w->mode == KILL)
				raise(SIGKILL);
			cr_comm_fail(w->comm, "as it was told to");
		}
		code = cr_comm_start(w->comm, transfers, 2, &w->error);
		if (!code)
			code = cr_comm_wait(w->comm, &w->error);
		if (!code && (round % 8 == 7 || round == rounds - 1))
			code = cr_comm_nccl_wait_queue(w->comm, &w->error);
	}
	w->gigabytes = 1e-9 * (double)BYTES * rounds / (cr_wall_seconds() - start);
	return code;
}

static void *work(void *argument)
{
	worker *w = argument;

	w->code = prepare(w);
	if (!w->code)
		w->code = check_ring(w);
	if (!w->code)
		w->code = check_collective(w);
	if (!w->code)
		w->code = shift(w);
	if (w->code && w->comm) {
		cr_comm_fail(w->comm, w->error.message);
		(void)cr_comm_nccl_wait_queue(w->comm, NULL);
	}
	return NULL;
}

static void release(worker *w)
{
	(void)cudaSetDevice(w->rank);
	cr_comm_close(w->comm);
	cudaFree(w->out);
	cudaFree(w->in);
	cudaFreeHost(w->host);
	if (w->queue)
		cudaStreamDestroy(w->queue);
}

/* 0 when it went as this mode wants it. */
static int verdict(const worker *w)
{
	const int wanted = w->mode == WELL ? 0 : CROCUTA_EDEVICE;
	/* a failure counts when it came in the middle */
	const int bad = w->code != wanted || w->rounds < 40;

	if (bad)
		printf("FAILED rank %d: status %d after %d rounds: %s\n", w->rank, w->code,
		       w->rounds, w->error.message);
	else if (w->mode == WELL)
		printf("OK rank %d: %.1f GB/s each way\n", w->rank, w->gigabytes);
	else
		printf("OK rank %d: status %d: %s\n", w->rank, w->code, w->error.message);
	fflush(stdout);
	return bad;
}

/* ---- threads --------------------------------------------------------------------------------- */

static int run_threads(int size, int mode)
{
	static worker workers[MOST];
	int bad = 0;

	if (cr_comm_nccl_id(workers[0].id, &workers[0].error)) {
		printf("FAILED %s\n", workers[0].error.message);
		return 1;
	}
	for (int r = 0; r < size; r++) {
		memcpy(workers[r].id, workers[0].id, CR_NCCL_ID_BYTES);
		workers[r].rank = r;
		workers[r].size = size;
		workers[r].mode = mode;
		if (pthread_create(&workers[r].thread, NULL, work, &workers[r]))
			abort();
	}
	for (int r = 0; r < size; r++)
		pthread_join(workers[r].thread, NULL);
	for (int r = 0; r < size; r++)
		bad += verdict(&workers[r]);
	for (int r = 0; r < size; r++)
		release(&workers[r]);
	return bad > 0;
}

/* ---- processes ------------------------------------------------------------------------------- */

static void note_loss(void *user, int rank, const char *why)
{
	(void)rank;
	cr_comm_nccl_fail(((worker *)user)->id, why);
}

/* The id from rank 0 to all. */
static int share_id(worker *w, cr_control *control)
{
	uint32_t type;
	int64_t bytes;
	void *data;
	int code;

	if (w->rank == 0) {
		code = cr_comm_nccl_id(w->id, &w->error);
		return code ? code
			    : cr_control_send(control, -1, 1, w->id, sizeof w->id, &w->error);
	}
	code = cr_control_receive(control, 0, &type, &data, &bytes, &w->error);
	if (!code && bytes != sizeof w->id)
		code = cr_fail(&w->error, CROCUTA_EINTERNAL, "no id");
	if (!code)
		memcpy(w->id, data, sizeof w->id);
	cr_free(data);
	return code;
}

static int run_process(int rank, int size, int mode, int port)
{
	static worker w;
	const cr_launch launch = {1, rank, size, rank, "127.0.0.1", port};
	const cr_control_options options = {.lost = note_loss, .user = &w};
	cr_control *control = NULL;
	int bad;

	w.rank = rank;
	w.size = size;
	w.mode = mode;
	w.code = cr_control_open(&launch, &options, &control, &w.error);
	if (!w.code)
		w.code = share_id(&w, control);
	if (!w.code)
		work(&w);
	if (w.code)
		cr_control_fail(control, w.error.message);
	cr_control_close(control); /* lost is not called after it */
	bad = verdict(&w);
	release(&w);
	return bad;
}

static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t bytes = sizeof address;
	const int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || bind(s, (struct sockaddr *)&address, bytes) ||
	    getsockname(s, (struct sockaddr *)&address, &bytes))
		abort();
	close(s);
	return ntohs(address.sin_port);
}

/* Nobody may be left over. The clock runs from rank 1's death. */
static int run_processes(int size, int mode)
{
	const int port = free_port();
	pid_t pids[MOST];
	int left = size, bad = 0, status;
	double died = 0;

	for (int r = 0; r < size; r++) {
		fflush(NULL);
		pids[r] = fork();
		if (pids[r] == 0)
			exit(run_process(r, size, mode, port));
	}
	while (left) {
		for (int r = 0; r < size; r++) {
			const int victim = mode == KILL && r == 1;

			if (pids[r] <= 0 || waitpid(pids[r], &status, WNOHANG) != pids[r])
				continue;
			pids[r] = 0;
			left--;
			if (victim)
				died = cr_wall_seconds();
			bad += victim ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL
				      : status != 0;
			if (mode == KILL && !victim)
				printf("rank %d ended %.1f s after the death\n", r,
				       died > 0 ? cr_wall_seconds() - died : -1);
		}
		if (left && died > 0 && cr_wall_seconds() - died > LIMIT_SECONDS) {
			printf("FAILED %d processes are left after %.0f s\n", left, LIMIT_SECONDS);
			for (int r = 0; r < size; r++)
				if (pids[r] > 0)
					kill(pids[r], SIGKILL);
			return 1;
		}
		usleep(20000);
	}
	printf(bad ? "FAILED\n" : "OK all processes have ended\n");
	return bad > 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	const int size = argc > 1 ? atoi(argv[argc - 1]) : 0;

	if (size < 1 || size > MOST || argc > 3) {
		fprintf(stderr, "usage: nccl_ring [fork|fail|kill] P\n");
		return 2;
	}
	if (strcmp(mode, "fork") == 0)
		return run_processes(size, WELL);
	if (strcmp(mode, "kill") == 0)
		return run_processes(size, KILL);
	return run_threads(size, strcmp(mode, "fail") == 0 ? FAIL : WELL);
}

#endif
