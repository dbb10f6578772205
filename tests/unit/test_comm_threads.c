/* comm.h between threads: rounds of random messages, and everything that can go wrong without a
 * hang. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "comm/comm.h"

#define MOST 8
#define POISON 0xa5

/* What each rank's thread does; its verdict is kept, as cmocka's asserts are for one thread. */
typedef int rank_main(cr_comm *comm, void *user, crocuta_error *error);

typedef struct rank_thread {
	cr_comm *comm;
	rank_main *main;
	void *user;
	int code;
	crocuta_error error;
	pthread_t thread;
} rank_thread;

static void *run_rank(void *argument)
{
	rank_thread *self = argument;

	self->code = self->main(self->comm, self->user, &self->error);
	return NULL;
}

static void run(int ranks, const cr_comm_memory *memory, rank_main *main, void *user,
		rank_thread *threads)
{
	cr_comm *comms[MOST];
	crocuta_error error = {0};

	memset(threads, 0, (size_t)ranks * sizeof *threads);
	assert_int_equal(cr_comm_threads(ranks, memory, comms, &error), 0);
	for (int r = 0; r < ranks; r++) {
		threads[r].comm = comms[r];
		threads[r].main = main;
		threads[r].user = user;
		assert_int_equal(comms[r]->rank, r);
		assert_int_equal(comms[r]->size, ranks);
		assert_int_equal(pthread_create(&threads[r].thread, NULL, run_rank, &threads[r]),
				 0);
	}
	for (int r = 0; r < ranks; r++)
		pthread_join(threads[r].thread, NULL);
	for (int r = 0; r < ranks; r++)
		cr_comm_close(comms[r]);
}

static void all_well(int ranks, rank_main *main)
{
	rank_thread threads[MOST];

	run(ranks, NULL, main, NULL, threads);
	for (int r = 0; r < ranks; r++)
		if (threads[r].code)
			fail_msg("%d ranks, rank %d: %s", ranks, r, threads[r].error.message);
}

/* ---- messages that arrive -------------------------------------------------------------------- */

/* The same on all ranks: a number of `what` between these ranks in this round. */
static uint64_t agreed(uint64_t round, uint64_t from, uint64_t to, uint64_t what)
{
	uint64_t x = round * 1000003 + from * 10007 + to * 101 + what + 1;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void fill(unsigned char *data, int64_t bytes, uint64_t seed)
{
	for (int64_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)(agreed(seed, (uint64_t)i, 3, 4) % 251);
}

/* Filled as agreed, and not a byte written behind. */
static int holds(const unsigned char *data, int64_t bytes, uint64_t seed)
{
	for (int64_t i = 0; i < bytes; i++)
		if (data[i] != (unsigned char)(agreed(seed, (uint64_t)i, 3, 4) % 251))
			return 0;
	return data[bytes] == POISON;
}

#define BYTES 700

/* Shifts round the ring with random sizes, a quarter of them 0. */
static int ring(cr_comm *comm, void *user, crocuta_error *error)
{
	const int size = comm->size, to = (comm->rank + 1) % size,
		  from = (comm->rank + size - 1) % size;
	unsigned char out[BYTES + 1], in[BYTES + 1];

	(void)user;
	for (uint64_t round = 0; round < 500; round++) {
		const uint64_t mine = agreed(round, (uint64_t)comm->rank, (uint64_t)to, 0);
		const uint64_t theirs = agreed(round, (uint64_t)from, (uint64_t)comm->rank, 0);
		const int64_t n_out = mine % 4 ? (int64_t)(mine % BYTES) : 0;
		const int64_t n_in = theirs % 4 ? (int64_t)(theirs % BYTES) : 0;
		const cr_transfer transfers[] = {{to, 1, n_out ? out : NULL, n_out},
						 {from, 0, in, n_in}};

		memset(in, POISON, sizeof in);
		fill(out, n_out, mine);
		if (cr_comm_start(comm, transfers, 2, error) || cr_comm_wait(comm, error))
			return error->code;
		memset(out, POISON, sizeof out); /* what was sent may be reused now */
		if (!holds(in, n_in, theirs))
			return cr_fail(error, CROCUTA_EINTERNAL, "round %d: wrong bytes",
				       (int)round);
	}
	return 0;
}

/* Everyone to everyone, itself included, some pairs twice, in orders that differ: only the order
 * within a pair counts. */
static int crowd(cr_comm *comm, void *user, crocuta_error *error)
{
	static const int twice = 2;
	const int size = comm->size, rank = comm->rank;
	unsigned char *out = malloc((BYTES + 1) * 2 * MOST), *in = malloc((BYTES + 1) * 2 * MOST);
	int code = 0;

	(void)user;
	for (uint64_t round = 0; round < 60 && !code; round++) {
		cr_transfer transfers[4 * MOST];
		int count = 0;

		memset(in, POISON, (BYTES + 1) * 2 * MOST);
		for (int i = 0; i < twice * size; i++) {
			const int peer = (i + rank * (int)(round % 3)) % size, which = i / size;
			const uint64_t s =
				agreed(round, (uint64_t)rank, (uint64_t)peer, (uint64_t)which);
			const uint64_t r =
				agreed(round, (uint64_t)peer, (uint64_t)rank, (uint64_t)which);
			unsigned char *from = out + (BYTES + 1) * i;
			unsigned char *to = in + (BYTES + 1) * (which * size + peer);

			fill(from, (int64_t)(s % BYTES), s);
			transfers[count++] = (cr_transfer){peer, 1, from, (int64_t)(s % BYTES)};
			transfers[count++] = (cr_transfer){peer, 0, to, (int64_t)(r % BYTES)};
		}
		if (cr_comm_start(comm, transfers, count, error) || cr_comm_wait(comm, error))
			code = error->code;
		for (int i = 0; i < twice * size && !code; i++) {
			const uint64_t r = agreed(round, (uint64_t)(i % size), (uint64_t)rank,
						  (uint64_t)(i / size));

			if (!holds(in + (BYTES + 1) * i, (int64_t)(r % BYTES), r))
				code = cr_fail(error, CROCUTA_EINTERNAL, "round %d: from %d wrong",
					       (int)round, i % size);
		}
	}
	free(out);
	free(in);
	return code;
}

/* A start between the ranks that take part alone, with work between start and wait. */
static int some_ranks(cr_comm *comm, void *user, crocuta_error *error)
{
	int value = -1;

	(void)user;
	if (comm->rank == 0) {
		int sent = 4711;
		const cr_transfer transfer = {comm->size - 1, 1, &sent, sizeof sent};

		if (cr_comm_start(comm, &transfer, 1, error))
			return error->code;
		usleep(1000);
		return cr_comm_wait(comm, error);
	}
	if (comm->rank < comm->size - 1)
		return cr_comm_start(comm, NULL, 0, error) || cr_comm_wait(comm, error);
	if (cr_comm_start(comm, &(cr_transfer){0, 0, &value, sizeof value}, 1, error) ||
	    cr_comm_wait(comm, error))
		return error->code;
	return value == 4711 ? 0 : cr_fail(error, CROCUTA_EINTERNAL, "value %d", value);
}

static int gathers(cr_comm *comm, void *user, crocuta_error *error)
{
	unsigned char all[MOST * BYTES + 1], mine[BYTES + 1];

	(void)user;
	for (uint64_t round = 0; round < 50; round++) {
		const int64_t bytes = round == 7 ? 0 : (int64_t)(agreed(round, 1, 1, 1) % BYTES);
		unsigned char *place = all + comm->rank * bytes;
		const int root = (int)(round % (uint64_t)comm->size);

		memset(all, POISON, sizeof all);
		fill(mine, bytes, round + 100 * (uint64_t)comm->rank);
		if (round % 2)
			memcpy(place, mine, (size_t)bytes);
		if (cr_comm_all_gather(comm, round % 2 ? place : mine, all, bytes, error))
			return error->code;
		for (int r = comm->size - 1; r >= 0; r--) {
			if (!holds(all + r * bytes, bytes, round + 100 * (uint64_t)r))
				return cr_fail(error, CROCUTA_EINTERNAL, "round %d: part %d wrong",
					       (int)round, r);
			all[r * bytes] = POISON;
		}
		memset(mine, POISON, sizeof mine);
		if (comm->rank == root)
			fill(mine, bytes, round);
		if (cr_comm_broadcast(comm, root, mine, bytes, error))
			return error->code;
		if (!holds(mine, bytes, round))
			return cr_fail(error, CROCUTA_EINTERNAL, "round %d: broadcast", (int)round);
	}
	return 0;
}

static void test_messages(void **state)
{
	static const int ranks[] = {1, 2, 3, 4, 8};

	(void)state;
	for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
		all_well(ranks[i], ring);
		all_well(ranks[i], crowd);
		all_well(ranks[i], gathers);
		if (ranks[i] > 1)
			all_well(ranks[i], some_ranks);
	}
}

/* ---- a device's memory ----------------------------------------------------------------------- */

typedef struct fake_device {
	pthread_mutex_t lock;
	int copies, ready[MOST], wrong;
	int fail_copy, fail_ready; /* on rank 1 */
} fake_device;

static int fake_copy(void *user, int target, void *to, int source, const void *from, int64_t bytes,
		     crocuta_error *error)
{
	fake_device *device = user;

	pthread_mutex_lock(&device->lock);
	device->copies++;
	device->wrong += source != (target + 1) % 3 || bytes != 8;
	pthread_mutex_unlock(&device->lock);
	if (device->fail_copy && target == 1)
		return cr_fail(error, CROCUTA_EDEVICE, "the copy is broken");
	memcpy(to, from, (size_t)bytes);
	return 0;
}

static int fake_ready(void *user, int rank, crocuta_error *error)
{
	fake_device *device = user;

	pthread_mutex_lock(&device->lock);
	device->ready[rank]++;
	pthread_mutex_unlock(&device->lock);
	if (device->fail_ready && rank == 1)
		return cr_fail(error, CROCUTA_EDEVICE, "the queue is broken");
	return 0;
}

static int device_ring(cr_comm *comm, void *user, crocuta_error *error)
{
	int64_t out = 10 * comm->rank, in = -1;
	const int to = (comm->rank + 2) % 3, from = (comm->rank + 1) % 3;
	const cr_transfer transfers[] = {
		{to, 1, &out, 8}, {from, 0, &in, 8}, {to, 1, NULL, 0}, {from, 0, NULL, 0}};

	(void)user;
	if (cr_comm_start(comm, transfers, 4, error) || cr_comm_wait(comm, error))
		return error->code;
	if (cr_comm_start(comm, transfers + 2, 2, error) || cr_comm_wait(comm, error))
		return error->code;
	return in == 10 * from ? 0 : cr_fail(error, CROCUTA_EINTERNAL, "in %d", (int)in);
}

static void test_device_memory(void **state)
{
	(void)state;
	for (int mode = 0; mode < 3; mode++) {
		fake_device device = {.lock = PTHREAD_MUTEX_INITIALIZER,
				      .fail_copy = mode == 1,
				      .fail_ready = mode == 2};
		const cr_comm_memory memory = {fake_copy, fake_ready, &device};
		rank_thread threads[3];

		run(3, &memory, device_ring, NULL, threads);
		assert_int_equal(device.wrong, 0);
		if (mode == 0) {
			assert_int_equal(device.copies, 3);
			for (int r = 0; r < 3; r++) {
				assert_int_equal(threads[r].code, 0);
				assert_int_equal(device.ready[r], 1); /* not for 0 bytes alone */
			}
			continue;
		}
		assert_int_equal(threads[1].code, CROCUTA_EDEVICE);
		assert_string_equal(threads[1].error.message,
				    mode == 1 ? "the copy is broken" : "the queue is broken");
		/* the one that needs rank 1: the others may have been done before */
		if (mode == 2) {
			assert_int_equal(threads[0].code, CROCUTA_EDEVICE);
			assert_string_equal(threads[0].error.message,
					    "rank 1 failed: the queue is broken");
		}
	}
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* Rank 1 fails while the others wait for it. */
static int one_fails(cr_comm *comm, void *user, crocuta_error *error)
{
	char byte = 0;
	int code;

	(void)user;
	if (comm->rank == 1) {
		usleep(20000);
		cr_comm_fail(comm, "out of luck");
		return 0;
	}
	code = cr_comm_start(comm, &(cr_transfer){1, comm->rank == 2, &byte, 1}, 1, error);
	if (!code)
		code = cr_comm_wait(comm, error);
	if (code != CROCUTA_EDEVICE)
		return CROCUTA_EINTERNAL;
	/* and from then on at once */
	code = cr_comm_start(comm, NULL, 0, NULL);
	return code == CROCUTA_EDEVICE ? error->code : CROCUTA_EINTERNAL;
}

static void test_failure_wakes_all(void **state)
{
	rank_thread threads[MOST];

	(void)state;
	run(MOST, NULL, one_fails, NULL, threads);
	for (int r = 0; r < MOST; r++) {
		if (r == 1)
			continue;
		assert_int_equal(threads[r].code, CROCUTA_EDEVICE);
		assert_string_equal(threads[r].error.message, "rank 1 failed: out of luck");
	}
	cr_comm_fail(NULL, "nobody");
	cr_comm_close(NULL);
}

/* A rank fails between start and wait and frees what it has sent; ASan and TSan look on. */
static int fails_and_frees(cr_comm *comm, void *user, crocuta_error *error)
{
	const int64_t bytes = 1 << 16;
	char *data = calloc((size_t)bytes, 1);
	cr_transfer transfers[MOST];
	int code, count = 0;

	for (int r = 0; r < comm->size && comm->rank == 0; r++)
		if (r)
			transfers[count++] = (cr_transfer){r, 1, data, bytes};
	if (comm->rank)
		transfers[count++] = (cr_transfer){0, 0, data, bytes};
	code = cr_comm_start(comm, transfers, count, error);
	if (comm->rank == 0) {
		usleep(*(const unsigned *)user);
		cr_comm_fail(comm, "no more");
	} else if (!code) {
		code = cr_comm_wait(comm, error);
	}
	free(data);
	return code;
}

static void test_failure_spares_copies(void **state)
{
	rank_thread threads[MOST];

	(void)state;
	for (unsigned delay = 0; delay < 40; delay++) {
		run(MOST, NULL, fails_and_frees, &delay, threads);
		for (int r = 1; r < MOST; r++) /* in time, or told so */
			if (threads[r].code)
				assert_string_equal(threads[r].error.message,
						    "rank 0 failed: no more");
	}
}

static int mismatch(cr_comm *comm, void *user, crocuta_error *error)
{
	char data[16] = {0};
	const int64_t bytes = comm->rank == 0 ? *(const int64_t *)user : 7;
	const int code = cr_comm_start(comm, &(cr_transfer){!comm->rank, !comm->rank, data, bytes},
				       1, error);

	return code ? code : cr_comm_wait(comm, error);
}

static void test_mismatch(void **state)
{
	static const int64_t bytes[] = {0, 6, 8};
	rank_thread threads[2];

	(void)state;
	for (int i = 0; i < 3; i++) {
		char expected[100];

		snprintf(expected, sizeof expected,
			 "rank 0 sends %d bytes to rank 1, which expects 7", (int)bytes[i]);
		run(2, NULL, mismatch, (void *)&bytes[i], threads);
		for (int r = 0; r < 2; r++) {
			assert_int_equal(threads[r].code, CROCUTA_EDEVICE);
			assert_string_equal(threads[r].error.message, expected);
		}
	}
}

/* All send to rank 0, which receives from rank 2 alone; rank 2 wants something from rank 1 first.
 */
static int deadlock(cr_comm *comm, void *user, crocuta_error *error)
{
	char data[16] = {0};
	cr_transfer transfer = {0, 1, data, 5};
	int code;

	(void)user;
	if (comm->rank == 0)
		transfer = (cr_transfer){2, 0, data, 5};
	else if (comm->rank == 2)
		transfer = (cr_transfer){1, 0, data, 9};
	code = cr_comm_start(comm, &transfer, 1, error);
	return code ? code : cr_comm_wait(comm, error);
}

static void test_deadlock(void **state)
{
	rank_thread threads[3];

	(void)state;
	run(3, NULL, deadlock, NULL, threads);
	for (int r = 0; r < 3; r++) {
		assert_int_equal(threads[r].code, CROCUTA_EDEVICE);
		assert_string_equal(
			threads[r].error.message,
			"ranks wait for each other: rank 0 receives from rank 2 (5 bytes); "
			"rank 1 sends to rank 0 (5 bytes); "
			"rank 2 receives from rank 1 (9 bytes)");
	}
}

/* Rank 1 has ended; alone in this process' group of two. */
static void *close_late(void *comm)
{
	usleep(20000);
	cr_comm_close(comm);
	return NULL;
}

static void test_closed_peer(void **state)
{
	(void)state;
	for (int late = 0; late < 2; late++) {
		for (int send = 0; send < 2; send++) {
			cr_comm *comms[2];
			crocuta_error error = {0};
			pthread_t thread;
			char data[4];

			assert_int_equal(cr_comm_threads(2, NULL, comms, &error), 0);
			assert_int_equal(cr_comm_start(comms[0], &(cr_transfer){1, send, data, 4},
						       1, &error),
					 0);
			if (late)
				pthread_create(&thread, NULL, close_late, comms[1]);
			else
				cr_comm_close(comms[1]);
			assert_int_equal(cr_comm_wait(comms[0], &error), CROCUTA_EDEVICE);
			assert_string_equal(
				error.message,
				send ? "rank 0 sends to rank 1 (4 bytes), but rank 1 has ended"
				     : "rank 0 receives from rank 1 (4 bytes), but rank 1 has "
				       "ended");
			if (late)
				pthread_join(thread, NULL);
			cr_comm_close(comms[0]);
		}
	}
}

static void test_arguments(void **state)
{
	cr_comm *comm;
	crocuta_error error = {0};
	cr_transfer many[CR_COMM_TRANSFERS + 1] = {{0}};
	char data[4], other[4] = "abc";
	const cr_transfer to_itself[] = {{0, 0, data, 4}, {0, 1, other, 4}};
	const cr_transfer wrong[] = {
		{1, 1, data, 4}, {-1, 0, data, 4}, {0, 1, data, -1}, {0, 1, NULL, 4}};

	(void)state;
	assert_int_equal(cr_comm_threads(0, NULL, &comm, NULL), CROCUTA_EINTERNAL);
	cr_memory_fail_at(1);
	assert_int_equal(cr_comm_threads(1, NULL, &comm, NULL), CROCUTA_EMEMORY);
	cr_memory_fail_at(0);
	assert_null(comm);
	assert_int_equal(cr_comm_threads(1, NULL, &comm, &error), 0);
	assert_int_equal(cr_comm_start(comm, many, CR_COMM_TRANSFERS + 1, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_comm_start(comm, many, -1, NULL), CROCUTA_EINTERNAL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(cr_comm_start(comm, &wrong[i], 1, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_comm_broadcast(comm, 1, data, 4, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_comm_all_gather(comm, data, NULL, 4, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_comm_wait(comm, NULL), CROCUTA_EINTERNAL);
	/* none of these spoilt anything; twice the most is fine when it is asked for in turn */
	for (int i = 0; i < CR_COMM_TRANSFERS; i++)
		many[i] = (cr_transfer){0, i & 1, i & 1 ? other : data, 4};
	assert_int_equal(cr_comm_start(comm, many, CR_COMM_TRANSFERS, &error), 0);
	assert_int_equal(cr_comm_start(comm, to_itself, 2, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_comm_wait(comm, &error), 0);
	assert_string_equal(data, "abc");
	cr_comm_close(comm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_device_memory),
		cmocka_unit_test(test_failure_wakes_all),
		cmocka_unit_test(test_failure_spares_copies),
		cmocka_unit_test(test_mismatch),
		cmocka_unit_test(test_deadlock),
		cmocka_unit_test(test_closed_peer),
		cmocka_unit_test(test_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
