/* comm_threads.c - ranks that are threads of one process, with one lock for all of them.
 *
 * start() posts a list of transfers. wait() is where data move: a rank takes its receives in order,
 * each from the first send to it that its peer has posted and nobody has taken, and copies
 * outside of the lock; its own sends it waits for. Transfers of 0 bytes match like others, so that
 * a peer that means something else is found out.
 *
 * Nothing hangs: whatever goes wrong is an error of the whole group, which wakes everyone. That
 * includes ranks that all wait for each other, and one that waits for a rank that was closed.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "comm/comm.h"

enum transfer_state { WAITING, COPYING, DONE };

typedef struct rank_state {
	cr_comm comm; /* what the caller holds */
	struct group *group;
	pthread_cond_t changed;
	int open;   /* a start without its wait */
	int asleep; /* in wait(), and nothing has changed for it since it looked */
	int closed;
	int count; /* of the open start */
	cr_transfer transfer[CR_COMM_TRANSFERS];
	enum transfer_state state[CR_COMM_TRANSFERS];
} rank_state;

typedef struct group {
	pthread_mutex_t lock; /* of everything here and in the ranks */
	int size, closed;
	int failed;
	char why[800];
	cr_comm_memory memory;
	rank_state rank[];
} group;

/* ---- with the lock held ---------------------------------------------------------------------- */

static void wake(rank_state *rank)
{
	rank->asleep = 0;
	pthread_cond_broadcast(&rank->changed); /* its own thread, and one in fail */
}

static void fail_group(group *g, const char *why)
{
	if (g->failed)
		return;
	g->failed = 1;
	snprintf(g->why, sizeof g->why, "%s", why);
	for (int r = 0; r < g->size; r++)
		wake(&g->rank[r]);
}

/* The first transfer of `rank` with `peer` in this direction that is still waiting, or -1. */
static int first_waiting(const rank_state *rank, int peer, int send)
{
	if (!rank->open)
		return -1;
	for (int i = 0; i < rank->count; i++)
		if (rank->transfer[i].peer == peer && rank->transfer[i].send == send &&
		    rank->state[i] == WAITING)
			return i;
	return -1;
}

static int count_in_state(const rank_state *rank, enum transfer_state state, int sends_only)
{
	int count = 0;

	for (int i = 0; i < rank->count; i++)
		count += rank->state[i] == state && (rank->transfer[i].send || !sends_only);
	return count;
}

/* A receive of `rank` that can be done now: its number, and that of the peer's send. -1: none. */
static int find_match(const group *g, const rank_state *rank, int *their)
{
	for (int i = 0; i < rank->count; i++) {
		const int peer = rank->transfer[i].peer;

		if (rank->transfer[i].send || rank->state[i] != WAITING ||
		    first_waiting(rank, peer, 0) != i)
			continue;
		*their = first_waiting(&g->rank[peer], rank->comm.rank, 1);
		if (*their >= 0)
			return i;
	}
	return -1;
}

static void describe_first(const rank_state *rank, char *text, size_t room)
{
	for (int i = 0; i < rank->count; i++) {
		const cr_transfer *transfer = &rank->transfer[i];

		if (rank->state[i] != WAITING)
			continue;
		snprintf(text, room, "rank %d %s rank %d (%lld bytes)", rank->comm.rank,
			 transfer->send ? "sends to" : "receives from", transfer->peer,
			 (long long)transfer->bytes);
		return;
	}
	snprintf(text, room, "rank %d waits", rank->comm.rank);
}

/* Fails the group if `rank`, which found nothing to do, would never be woken: a peer is closed, or
 * all are asleep. */
static void check_hope(group *g, const rank_state *rank)
{
	char text[800];
	size_t used;
	int awake = 0;

	for (int i = 0; i < rank->count; i++) {
		const int peer = rank->transfer[i].peer;

		if (rank->state[i] != WAITING || !g->rank[peer].closed)
			continue;
		describe_first(rank, text, sizeof text / 2);
		used = strlen(text);
		snprintf(text + used, sizeof text - used, ", but rank %d has ended", peer);
		fail_group(g, text);
		return;
	}
	for (int r = 0; r < g->size; r++)
		awake += &g->rank[r] != rank && !g->rank[r].closed && !g->rank[r].asleep;
	if (awake)
		return;
	used = (size_t)snprintf(text, sizeof text, "ranks wait for each other: ");
	for (int r = 0; r < g->size && used + 100 < sizeof text; r++) {
		if (g->rank[r].closed)
			continue;
		describe_first(&g->rank[r], text + used, 80);
		used += strlen(text + used);
		used += (size_t)snprintf(text + used, sizeof text - used, "; ");
	}
	text[used - 2] = '\0';
	fail_group(g, text);
}

static int report(const group *g, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EDEVICE, "%s", g->why);
}

/* Sends that a receiver is reading from may not be let go. */
static void await_copies(group *g, rank_state *rank)
{
	while (count_in_state(rank, COPYING, 1))
		pthread_cond_wait(&rank->changed, &g->lock);
}

static void fail_rank(group *g, const rank_state *rank, const char *why)
{
	char text[800];

	snprintf(text, sizeof text, "rank %d failed: %.760s", rank->comm.rank, why);
	fail_group(g, text);
}

/* Receive `mine` of `rank` from send `their` of its peer; lets go of the lock meanwhile. */
static int receive_one(group *g, rank_state *rank, int mine, int their, crocuta_error *error)
{
	const cr_transfer *to = &rank->transfer[mine];
	rank_state *sender = &g->rank[to->peer];
	const cr_transfer *from = &sender->transfer[their];
	crocuta_error local = {0};
	int code = 0;

	if (from->bytes != to->bytes) {
		char text[200];

		snprintf(text, sizeof text,
			 "rank %d sends %lld bytes to rank %d, which expects %lld", to->peer,
			 (long long)from->bytes, rank->comm.rank, (long long)to->bytes);
		fail_group(g, text);
		return report(g, error);
	}
	sender->state[their] = rank->state[mine] = COPYING;
	pthread_mutex_unlock(&g->lock);
	if (to->bytes && g->memory.copy)
		code = g->memory.copy(g->memory.user, rank->comm.rank, to->data, to->peer,
				      from->data, to->bytes, &local);
	else if (to->bytes)
		memmove(to->data, from->data, (size_t)to->bytes);
	pthread_mutex_lock(&g->lock);
	sender->state[their] = rank->state[mine] = DONE;
	wake(sender);
	if (!code)
		return 0;
	fail_rank(g, rank, local.message);
	return cr_fail(error, code, "%s", local.message);
}

/* ---- the operations -------------------------------------------------------------------------- */

/* What is sent has been computed before anyone can see the list. */
static int threads_start(cr_comm *comm, const cr_transfer *transfers, int count,
			 crocuta_error *error)
{
	rank_state *rank = comm->state;
	group *g = rank->group;
	int code = 0, sends = 0;

	for (int i = 0; i < count; i++)
		sends += transfers[i].send && transfers[i].bytes > 0;
	if (sends && g->memory.ready) {
		crocuta_error local = {0};

		code = g->memory.ready(g->memory.user, comm->rank, &local);
		if (code) {
			pthread_mutex_lock(&g->lock);
			fail_rank(g, rank, local.message);
			pthread_mutex_unlock(&g->lock);
			return cr_fail(error, code, "%s", local.message);
		}
	}
	pthread_mutex_lock(&g->lock);
	if (rank->open)
		code = cr_fail(error, CROCUTA_EINTERNAL, "rank %d: two starts without a wait",
			       comm->rank);
	else if (g->failed)
		code = report(g, error);
	if (!code) {
		rank->open = 1;
		rank->count = count;
		for (int i = 0; i < count; i++) {
			rank->transfer[i] = transfers[i];
			rank->transfer[i].send = transfers[i].send != 0;
			rank->state[i] = WAITING;
			wake(&g->rank[transfers[i].peer]);
		}
	}
	pthread_mutex_unlock(&g->lock);
	return code;
}

static int threads_wait(cr_comm *comm, crocuta_error *error)
{
	rank_state *rank = comm->state;
	group *g = rank->group;
	int code = 0;

	pthread_mutex_lock(&g->lock);
	if (!rank->open)
		code = cr_fail(error, CROCUTA_EINTERNAL, "rank %d: a wait without a start",
			       comm->rank);
	while (!code && rank->open) {
		int their, mine;

		if (g->failed) {
			code = report(g, error);
			break;
		}
		mine = find_match(g, rank, &their);
		if (mine >= 0) {
			code = receive_one(g, rank, mine, their, error);
		} else if (count_in_state(rank, DONE, 0) == rank->count) {
			rank->open = 0;
		} else {
			rank->asleep = 1;
			if (!count_in_state(rank, COPYING, 1))
				check_hope(g, rank);
			while (rank->asleep && !g->failed)
				pthread_cond_wait(&rank->changed, &g->lock);
			rank->asleep = 0;
		}
	}
	await_copies(g, rank);
	rank->open = 0;
	rank->count = 0;
	pthread_mutex_unlock(&g->lock);
	return code;
}

/* Returns when nobody reads any more from what this rank has sent: its memory may then be freed.
 * Not to be called by memory->copy. */
static void threads_fail(cr_comm *comm, const char *why)
{
	rank_state *rank = comm->state;
	group *g = rank->group;

	pthread_mutex_lock(&g->lock);
	fail_rank(g, rank, why ? why : "no reason given");
	await_copies(g, rank);
	pthread_mutex_unlock(&g->lock);
}

static void free_group(group *g)
{
	for (int r = 0; r < g->size; r++)
		pthread_cond_destroy(&g->rank[r].changed);
	pthread_mutex_destroy(&g->lock);
	cr_free(g);
}

static void threads_close(cr_comm *comm)
{
	rank_state *rank = comm->state;
	group *g = rank->group;
	int last;

	pthread_mutex_lock(&g->lock);
	await_copies(g, rank);
	rank->open = rank->count = 0;
	rank->closed = 1;
	for (int r = 0; r < g->size; r++)
		wake(&g->rank[r]);
	last = ++g->closed == g->size;
	pthread_mutex_unlock(&g->lock);
	if (last)
		free_group(g);
}

static const cr_comm_ops threads_ops = {
	.name = "threads",
	.start = threads_start,
	.wait = threads_wait,
	.fail = threads_fail,
	.close = threads_close,
};

int cr_comm_threads(int size, const cr_comm_memory *memory, cr_comm **comms, crocuta_error *error)
{
	group *g;

	for (int r = 0; r < size; r++)
		comms[r] = NULL;
	if (size < 1)
		return cr_fail(error, CROCUTA_EINTERNAL, "%d ranks", size);
	g = cr_calloc(1, sizeof *g + (size_t)size * sizeof g->rank[0]);
	if (!g)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for %d ranks", size);
	/* neither can fail in glibc: nothing is allocated */
	pthread_mutex_init(&g->lock, NULL);
	g->size = size;
	if (memory)
		g->memory = *memory;
	for (int r = 0; r < size; r++) {
		rank_state *rank = &g->rank[r];

		pthread_cond_init(&rank->changed, NULL);
		rank->group = g;
		rank->comm = (cr_comm){&threads_ops, r, size, rank};
		comms[r] = &rank->comm;
	}
	return 0;
}
