/* comm_nccl.c - see comm_nccl.h.
 *
 * A rank has a stream of its own, of high priority. start: the stream waits for an event of the
 * device's queue, then does all transfers as one group. wait: the queue waits for an event of
 * the stream. Neither blocks the host, but for the first messages between two ranks, when NCCL
 * connects them.
 *
 * Calls of NCCL that can block for good are made by the rank's watcher: a thread that connects the
 * rank, then looks for errors, and at the end destroys the communicator or aborts it. Who waits for
 * it has a deadline and leaves it behind when that has passed: the process is about to end then.
 */
#define _GNU_SOURCE
#include "comm/comm_nccl.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "comm/comm_nccl_library.h"

#define CONNECT_SECONDS 60.0
#define LOOK_SECONDS 0.25  /* between two looks for errors */
#define CALL_SECONDS 5.0   /* that an abort waits for a call of NCCL under way to return */
#define DRAIN_SECONDS 10.0 /* for a queue to empty after an abort */
#define CLOSE_SECONDS 20.0 /* for communicators to be destroyed */
#define LEAVE_SECONDS 2.0  /* the same after a failure */

typedef struct nccl_group nccl_group;

typedef struct nccl_rank {
	cr_comm comm; /* what the caller holds */
	const cr_nccl_library *nccl;
	nccl_group *group;
	struct nccl_rank *next; /* in the group */
	int gpu;
	cudaStream_t queue, stream;    /* the device's; ours */
	cudaEvent_t computed, arrived; /* on the queue; on the stream */
	int open;                      /* a start without its wait */
	pthread_mutex_t call;          /* held while NCCL is called for this communicator */
	cr_nccl_comm handle;           /* with `call`, except for who takes it away */
	/* with the lock below */
	int connected, connect_result; /* the watcher has it */
	int closing;                   /* the caller wants no more of it */
	int finished;                  /* the watcher will not touch it any more */
} nccl_rank;

/* The ranks of one id in this process. */
struct nccl_group {
	nccl_group *next;
	unsigned char id[CR_NCCL_ID_BYTES];
	nccl_rank *ranks;
	int members, closed;
	int failed;
	char why[800];
};

/* Of all groups; and what changes about them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static nccl_group *groups;

/* ---- groups, with the lock ------------------------------------------------------------------- */

static nccl_group *find_group(const unsigned char *id)
{
	nccl_group *g = groups;

	while (g && memcmp(g->id, id, CR_NCCL_ID_BYTES) != 0)
		g = g->next;
	return g;
}

static void fail_group(nccl_group *g, const char *why)
{
	if (g->failed)
		return;
	g->failed = 1;
	snprintf(g->why, sizeof g->why, "%s", why);
	pthread_cond_broadcast(&changed);
}

/* 0, or what has failed. */
static int check_group(const nccl_group *g, crocuta_error *error)
{
	return g->failed ? cr_fail(error, CROCUTA_EDEVICE, "%s", g->why) : 0;
}

/* Until something changes or a time of cr_wall_seconds has come: 0 then. */
static int await_change(double deadline)
{
	const double left = deadline - cr_wall_seconds();
	struct timespec until;
	int64_t nanoseconds;

	if (left <= 0)
		return 0;
	clock_gettime(CLOCK_REALTIME, &until);
	nanoseconds = until.tv_nsec + (int64_t)(1e9 * left);
	until.tv_sec += nanoseconds / 1000000000;
	until.tv_nsec = nanoseconds % 1000000000;
	return pthread_cond_timedwait(&changed, &lock, &until) == 0;
}

/* New, unless memory is short: NULL. */
static nccl_group *make_group(const unsigned char *id)
{
	nccl_group *g = cr_calloc(1, sizeof *g);

	if (!g)
		return NULL;
	memcpy(g->id, id, CR_NCCL_ID_BYTES);
	g->next = groups;
	return groups = g;
}

static int join_group(nccl_rank *rank, const unsigned char *id, crocuta_error *error)
{
	nccl_group *g;
	int code;

	pthread_mutex_lock(&lock);
	g = find_group(id);
	if (!g)
		g = make_group(id);
	code = g ? check_group(g, error)
		 : cr_fail(error, CROCUTA_EMEMORY, "out of memory for rank %d", rank->comm.rank);
	if (!code) {
		rank->group = g;
		rank->next = g->ranks;
		g->ranks = rank;
		g->members++;
	}
	pthread_mutex_unlock(&lock);
	return code;
}

/* ---- failures -------------------------------------------------------------------------------- */

static void fail_rank(nccl_rank *rank, const char *why)
{
	char text[800];

	snprintf(text, sizeof text, "rank %d failed: %.760s", rank->comm.rank, why);
	pthread_mutex_lock(&lock);
	fail_group(rank->group, text);
	pthread_mutex_unlock(&lock);
}

static void nccl_fail(cr_comm *comm, const char *why)
{
	fail_rank(comm->state, why ? why : "no reason given");
}

void cr_comm_nccl_fail(const unsigned char id[CR_NCCL_ID_BYTES], const char *why)
{
	nccl_group *g;

	pthread_mutex_lock(&lock);
	g = find_group(id);
	if (!g)
		g = make_group(id); /* for those who come later */
	if (g)
		fail_group(g, why);
	pthread_mutex_unlock(&lock);
}

static int check_rank(nccl_rank *rank, crocuta_error *error)
{
	int code;

	pthread_mutex_lock(&lock);
	code = check_group(rank->group, error);
	pthread_mutex_unlock(&lock);
	return code;
}

/* A call of NCCL returned this: the whole group fails, with the reason that was first. */
static int nccl_trouble(nccl_rank *rank, const char *call, int result, crocuta_error *error)
{
	const char *detail = rank->nccl->get_last_error ? rank->nccl->get_last_error(NULL) : "";
	char why[600];

	snprintf(why, sizeof why, "%s on GPU %d: %s%s%.400s", call, rank->gpu,
		 rank->nccl->get_error_string(result), detail && *detail ? ": " : "",
		 detail ? detail : "");
	fail_rank(rank, why);
	return check_rank(rank, error);
}

static int cuda_trouble(nccl_rank *rank, const char *call, cudaError_t status, crocuta_error *error)
{
	char why[300];

	snprintf(why, sizeof why, "%s on GPU %d: %s", call, rank->gpu, cudaGetErrorString(status));
	fail_rank(rank, why);
	return cr_fail(error, CROCUTA_EDEVICE, "rank %d: %s", rank->comm.rank, why);
}

/* ---- the watcher ----------------------------------------------------------------------------- */

/* What NCCL has noticed by itself; a call under way is not disturbed. */
static void look_for_errors(nccl_rank *rank)
{
	int result = CR_NCCL_SUCCESS;

	if (pthread_mutex_trylock(&rank->call))
		return;
	if (rank->handle && rank->nccl->comm_get_async_error(rank->handle, &result))
		result = CR_NCCL_SUCCESS; /* the question failed, nothing else */
	if (result != CR_NCCL_SUCCESS && result != CR_NCCL_IN_PROGRESS)
		(void)nccl_trouble(rank, "NCCL", result, NULL);
	pthread_mutex_unlock(&rank->call);
}

/* Ends what the communicator does on the GPU. A call of NCCL that does not return, because it waits
 * for a peer or a full queue, is ended by this as well, and may then find the communicator gone:
 * that is the lesser evil, and it has had its time. */
static void abort_communicator(nccl_rank *rank)
{
	struct timespec until;
	cr_nccl_comm handle;
	int locked;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)CALL_SECONDS;
	locked = pthread_mutex_timedlock(&rank->call, &until) == 0;
	handle = __atomic_exchange_n(&rank->handle, NULL, __ATOMIC_ACQ_REL);
	if (locked)
		pthread_mutex_unlock(&rank->call);
	if (handle)
		(void)rank->nccl->comm_abort(handle);
}

static void destroy_communicator(nccl_rank *rank)
{
	cr_nccl_comm handle;

	pthread_mutex_lock(&rank->call);
	handle = __atomic_exchange_n(&rank->handle, NULL, __ATOMIC_ACQ_REL);
	pthread_mutex_unlock(&rank->call);
	if (handle)
		(void)rank->nccl->comm_destroy(handle);
}

static void connect_rank(nccl_rank *rank)
{
	cr_nccl_unique_id id;
	cr_nccl_comm handle = NULL;
	int result;

	memcpy(id.internal, rank->group->id, sizeof id.internal);
	(void)cudaSetDevice(rank->gpu); /* the caller's thread has seen that it works */
	result = rank->nccl->comm_init_rank(&handle, rank->comm.size, id, rank->comm.rank);
	if (result)
		(void)nccl_trouble(rank, "ncclCommInitRank", result, NULL);
	pthread_mutex_lock(&rank->call);
	rank->handle = result ? NULL : handle;
	pthread_mutex_unlock(&rank->call);
	pthread_mutex_lock(&lock);
	rank->connected = 1;
	rank->connect_result = result;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void *watch(void *argument)
{
	nccl_rank *rank = argument;
	int failed;

	connect_rank(rank);
	pthread_mutex_lock(&lock);
	while (!rank->closing && !rank->group->failed) {
		const double next = cr_wall_seconds() + LOOK_SECONDS;

		while (!rank->closing && !rank->group->failed && await_change(next))
			;
		if (rank->closing || rank->group->failed)
			break;
		pthread_mutex_unlock(&lock);
		look_for_errors(rank);
		pthread_mutex_lock(&lock);
	}
	failed = rank->group->failed;
	pthread_mutex_unlock(&lock);
	if (failed)
		abort_communicator(rank);
	else
		destroy_communicator(rank);
	pthread_mutex_lock(&lock);
	rank->finished = 1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int start_watcher(nccl_rank *rank, crocuta_error *error)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, watch, rank);
	if (errno) {
		fail_rank(rank, "no more threads");
		return cr_fail_errno(error, CROCUTA_EMEMORY, "cannot start a thread");
	}
	pthread_detach(thread);
	return 0;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void free_rank(nccl_rank *rank)
{
	(void)cudaSetDevice(rank->gpu);
	if (rank->computed)
		(void)cudaEventDestroy(rank->computed);
	if (rank->arrived)
		(void)cudaEventDestroy(rank->arrived);
	if (rank->stream)
		(void)cudaStreamDestroy(rank->stream);
	pthread_mutex_destroy(&rank->call);
	cr_free(rank);
}

/* With the lock: nobody is in the group any more. What has failed is kept, without ranks, so that
 * those who come too late are told. */
static nccl_rank *empty_group(nccl_group *g)
{
	nccl_rank *ranks = g->ranks;
	nccl_group **place = &groups;

	g->ranks = NULL;
	g->members = g->closed = 0;
	if (g->failed)
		return ranks;
	while (*place != g)
		place = &(*place)->next;
	*place = g->next;
	cr_free(g);
	return ranks;
}

/* The caller is done with this rank. The last one of the process waits for all watchers and frees
 * everything, or, when that takes too long, nothing. */
static void leave_group(nccl_rank *rank)
{
	nccl_group *g = rank->group;
	nccl_rank *ranks = NULL;
	double deadline;
	int waiting = 1;

	pthread_mutex_lock(&lock);
	rank->closing = 1;
	pthread_cond_broadcast(&changed);
	if (++g->closed < g->members) {
		pthread_mutex_unlock(&lock);
		return;
	}
	deadline = cr_wall_seconds() + (g->failed ? LEAVE_SECONDS + CALL_SECONDS : CLOSE_SECONDS);
	while (waiting) {
		waiting = 0;
		for (nccl_rank *r = g->ranks; r; r = r->next)
			waiting += !r->finished;
		if (waiting && !await_change(deadline) && cr_wall_seconds() >= deadline)
			break;
	}
	/* another rank may have joined and left meanwhile: it has freed all, or will */
	if (!waiting && g->closed == g->members)
		ranks = empty_group(g);
	pthread_mutex_unlock(&lock);
	for (nccl_rank *next; ranks; ranks = next) {
		next = ranks->next;
		free_rank(ranks);
	}
}

/* The device's queue, or ours, is empty: 0; or something failed. */
static int await_stream(nccl_rank *rank, cudaStream_t stream, crocuta_error *error)
{
	double deadline = 0; /* once it has failed */
	int code = 0;

	for (int64_t look = 0;; look++) {
		const cudaError_t status = cudaStreamQuery(stream);

		if (status != cudaErrorNotReady)
			return status && !code ? cuda_trouble(rank, "waiting", status, error)
					       : code;
		(void)cudaGetLastError(); /* not ready is not to be found by somebody else */
		if (!code)
			code = check_rank(rank, error);
		if (code && deadline == 0)
			deadline = cr_wall_seconds() + DRAIN_SECONDS;
		if (code && cr_wall_seconds() > deadline)
			return code;
		if (look < 200)
			sched_yield();
		else
			nanosleep(&(struct timespec){0, look < 2000 ? 20000 : 200000}, NULL);
	}
}

static void nccl_close(cr_comm *comm)
{
	nccl_rank *rank = comm->state;

	(void)cudaSetDevice(rank->gpu);
	(void)await_stream(rank, rank->stream, NULL);
	leave_group(rank);
}

static int open_stream(nccl_rank *rank, crocuta_error *error)
{
	int least = 0, greatest = 0;
	const char *call = "cudaSetDevice";
	cudaError_t status = cudaSetDevice(rank->gpu);

	if (!status) {
		call = "cudaStreamCreateWithPriority";
		(void)cudaDeviceGetStreamPriorityRange(&least, &greatest);
		status = cudaStreamCreateWithPriority(&rank->stream, cudaStreamNonBlocking,
						      greatest);
	}
	if (!status) {
		call = "cudaEventCreate";
		status = cudaEventCreateWithFlags(&rank->computed, cudaEventDisableTiming);
	}
	if (!status)
		status = cudaEventCreateWithFlags(&rank->arrived, cudaEventDisableTiming);
	return status ? cuda_trouble(rank, call, status, error) : 0;
}

static double connect_seconds(void)
{
	const char *text = getenv("CROCUTA_CONNECT_SECONDS");
	const double seconds = text ? strtod(text, NULL) : 0;

	return seconds > 0 && seconds <= 86400 ? seconds : CONNECT_SECONDS;
}

/* The watcher has connected the rank, or something failed, or it has taken too long. */
static int await_connection(nccl_rank *rank, crocuta_error *error)
{
	const double seconds = connect_seconds(), deadline = cr_wall_seconds() + seconds;
	nccl_group *g = rank->group;
	int code;

	pthread_mutex_lock(&lock);
	while (!rank->connected && !g->failed)
		if (!await_change(deadline) && cr_wall_seconds() >= deadline)
			break;
	if (!rank->connected && !g->failed) {
		char text[200];

		snprintf(text, sizeof text,
			 "rank %d: NCCL has not connected %d ranks within %.0f s", rank->comm.rank,
			 rank->comm.size, seconds);
		fail_group(g, text);
	}
	code = check_group(g, error);
	pthread_mutex_unlock(&lock);
	return code;
}

static int nccl_start(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error);
static int nccl_wait(cr_comm *comm, crocuta_error *error);

static const cr_comm_ops nccl_ops = {
	.name = "nccl",
	.start = nccl_start,
	.wait = nccl_wait,
	.fail = nccl_fail,
	.close = nccl_close,
	.settle = cr_comm_nccl_wait_queue,
};

int cr_comm_nccl_id(unsigned char id[CR_NCCL_ID_BYTES], crocuta_error *error)
{
	const cr_nccl_library *nccl;
	cr_nccl_unique_id made;
	int code = cr_nccl_load(&nccl, error), result;

	if (code)
		return code;
	result = nccl->get_unique_id(&made);
	if (result)
		return cr_fail(error, CROCUTA_EDEVICE, "ncclGetUniqueId: %s",
			       nccl->get_error_string(result));
	memcpy(id, made.internal, CR_NCCL_ID_BYTES);
	return 0;
}

int cr_comm_nccl(int size, int rank, const unsigned char id[CR_NCCL_ID_BYTES], int gpu, void *queue,
		 cr_comm **comm, crocuta_error *error)
{
	const cr_nccl_library *nccl;
	nccl_rank *opened;
	int code = cr_nccl_load(&nccl, error);

	*comm = NULL;
	if (code)
		return code;
	if (size < 1 || rank < 0 || rank >= size)
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d of %d", rank, size);
	opened = cr_calloc(1, sizeof *opened);
	if (!opened)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for rank %d", rank);
	opened->nccl = nccl;
	opened->comm = (cr_comm){&nccl_ops, rank, size, opened};
	opened->gpu = gpu;
	opened->queue = queue;
	pthread_mutex_init(&opened->call, NULL);
	code = join_group(opened, id, error);
	if (code) {
		free_rank(opened);
		return code;
	}
	code = open_stream(opened, error);
	if (!code)
		code = start_watcher(opened, error);
	if (code)
		opened->finished = 1; /* nobody watches it */
	else
		code = await_connection(opened, error);
	if (code) {
		leave_group(opened);
		return code;
	}
	*comm = &opened->comm;
	return 0;
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* What a rank sends to itself: its sends and receives in order, copied by its stream. */
static int copy_to_itself(nccl_rank *rank, const cr_transfer *transfers, int count,
			  crocuta_error *error)
{
	const int self = rank->comm.rank;
	int from = 0, to = 0;

	for (;; from++, to++) {
		cudaError_t status = cudaSuccess;

		while (from < count && !(transfers[from].send && transfers[from].peer == self))
			from++;
		while (to < count && (transfers[to].send || transfers[to].peer != self))
			to++;
		if (from == count && to == count)
			return 0;
		if (from == count || to == count || transfers[from].bytes != transfers[to].bytes) {
			const int64_t sent = from < count ? transfers[from].bytes : 0;
			const int64_t expected = to < count ? transfers[to].bytes : 0;

			fail_rank(rank, "what it sends to itself is not what it expects");
			return cr_fail(error, CROCUTA_EDEVICE,
				       "rank %d sends %lld bytes to itself and expects %lld", self,
				       (long long)sent, (long long)expected);
		}
		if (transfers[from].bytes && transfers[from].data != transfers[to].data)
			status = cudaMemcpyAsync(transfers[to].data, transfers[from].data,
						 (size_t)transfers[from].bytes,
						 cudaMemcpyDeviceToDevice, rank->stream);
		if (status)
			return cuda_trouble(rank, "cudaMemcpyAsync", status, error);
	}
}

/* All others, as one group; with `call` held and the communicator there. */
static int exchange(nccl_rank *rank, const cr_transfer *transfers, int count, crocuta_error *error)
{
	const cr_nccl_library *nccl = rank->nccl;
	const char *call = "ncclGroupStart";
	int result = nccl->group_start(), end;

	if (result)
		return nccl_trouble(rank, call, result, error);
	for (int i = 0; i < count && !result; i++) {
		const cr_transfer *t = &transfers[i];

		if (t->bytes == 0 || t->peer == rank->comm.rank)
			continue;
		call = t->send ? "ncclSend" : "ncclRecv";
		result = t->send ? nccl->send(t->data, (size_t)t->bytes, CR_NCCL_INT8, t->peer,
					      rank->handle, rank->stream)
				 : nccl->recv(t->data, (size_t)t->bytes, CR_NCCL_INT8, t->peer,
					      rank->handle, rank->stream);
	}
	end = nccl->group_end();
	if (!result && end) {
		call = "ncclGroupEnd";
		result = end;
	}
	return result ? nccl_trouble(rank, call, result, error) : 0;
}

static int nccl_start(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error)
{
	nccl_rank *rank = comm->state;
	const char *call = "cudaSetDevice";
	cudaError_t status;
	int code, others = 0;

	if (rank->open)
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d: two starts without a wait",
			       comm->rank);
	for (int i = 0; i < count; i++)
		others += transfers[i].bytes > 0 && transfers[i].peer != comm->rank;
	pthread_mutex_lock(&rank->call);
	code = check_rank(rank, error);
	status = code ? cudaSuccess : cudaSetDevice(rank->gpu);
	if (!code && !status) {
		call = "cudaEventRecord";
		status = cudaEventRecord(rank->computed, rank->queue);
	}
	if (!code && !status) {
		call = "cudaStreamWaitEvent";
		status = cudaStreamWaitEvent(rank->stream, rank->computed, 0);
	}
	if (!code && !status)
		code = copy_to_itself(rank, transfers, count, error);
	if (!code && !status && others)
		code = rank->handle ? exchange(rank, transfers, count, error)
				    : cr_fail(error, CROCUTA_EDEVICE, "rank %d has no communicator",
					      comm->rank);
	if (!code && !status) {
		call = "cudaEventRecord";
		status = cudaEventRecord(rank->arrived, rank->stream);
	}
	pthread_mutex_unlock(&rank->call);
	if (status)
		code = cuda_trouble(rank, call, status, error);
	rank->open = !code;
	return code;
}

static int nccl_wait(cr_comm *comm, crocuta_error *error)
{
	nccl_rank *rank = comm->state;
	cudaError_t status;
	int code;

	if (!rank->open)
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d: a wait without a start",
			       comm->rank);
	rank->open = 0;
	code = check_rank(rank, error);
	if (code)
		return code;
	status = cudaStreamWaitEvent(rank->queue, rank->arrived, 0);
	return status ? cuda_trouble(rank, "cudaStreamWaitEvent", status, error) : 0;
}

int cr_comm_nccl_poll(cr_comm *comm, crocuta_error *error)
{
	nccl_rank *rank = comm->state;

	look_for_errors(rank);
	return check_rank(rank, error);
}

int cr_comm_nccl_wait_queue(cr_comm *comm, crocuta_error *error)
{
	nccl_rank *rank = comm->state;
	const int code = cr_comm_nccl_poll(comm, error);

	int result;

	(void)cudaSetDevice(rank->gpu);
	result = await_stream(rank, rank->queue, code ? NULL : error);
	return code ? code : result;
}
