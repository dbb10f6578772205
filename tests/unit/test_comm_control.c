/* The wire between processes: messages both ways, deaths, strangers, deadlines. Each rank is a
 * process that was forked; rank 0's port is one that was free a moment ago. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "comm/control.h"

#define MOST 6

static const char *host = "127.0.0.1";

static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t bytes = sizeof address;
	const int s = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&address, &bytes), 0);
	close(s);
	return ntohs(address.sin_port);
}

static cr_launch place(int rank, int size, int port)
{
	cr_launch launch = {1, rank, size, rank, "", port};

	snprintf(launch.host, sizeof launch.host, "%s", host);
	return launch;
}

/* ---- processes ------------------------------------------------------------------------------- */

/* What a rank saw; goes to the test through a pipe. */
typedef struct outcome {
	int code, lost_calls, lost_rank;
	double when; /* it returned */
	char message[400], why[400];
} outcome;

typedef struct process {
	pid_t pid;
	int pipe;
	outcome outcome;
} process;

/* What a rank does. `ready` is a pipe to say that it is as far as the test wants it. */
typedef int rank_main(cr_control *control, int ready, crocuta_error *error);

static void note_loss(void *user, int rank, const char *why)
{
	outcome *seen = user;

	seen->lost_calls++;
	seen->lost_rank = rank;
	snprintf(seen->why, sizeof seen->why, "%s", why);
}

/* A child's whole life. exit and not _exit: so leaks are found. */
static void live(const cr_launch *launch, const char *version, double seconds, rank_main *main,
		 int to)
{
	outcome seen = {0};
	cr_control_options options = {note_loss, &seen, seconds, version};
	cr_control *control;
	crocuta_error error = {0};
	int code;

	alarm(60);
	code = cr_control_open(launch, &options, &control, &error);
	if (!code)
		code = main(control, to, &error);
	if (code && code != CROCUTA_EDEVICE)
		cr_control_fail(control, error.message);
	seen.when = cr_wall_seconds();
	cr_control_close(control);
	seen.code = code;
	snprintf(seen.message, sizeof seen.message, "%.399s", error.message);
	if (write(to, &seen, sizeof seen) != sizeof seen)
		abort();
	exit(0);
}

static process spawn(int rank, int size, int port, const char *version, double seconds,
		     rank_main *main)
{
	const cr_launch launch = place(rank, size, port);
	process child = {0};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (!child.pid) {
		close(ends[0]);
		live(&launch, version, seconds, main, ends[1]);
	}
	close(ends[1]);
	child.pipe = ends[0];
	return child;
}

static void spawn_all(process *ranks, int size, rank_main *main)
{
	const int port = free_port();

	for (int r = size - 1; r >= 0; r--) /* rank 0 comes last */
		ranks[r] = spawn(r, size, port, "1.2.3", 20, main);
}

static void read_exactly(int from, void *data, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		const ssize_t count = read(from, (char *)data + got, bytes - got);

		assert_true(count > 0);
		got += (size_t)count;
	}
}

/* Wait for its end; its status has to be this. */
static void reap(process *rank, int with_outcome)
{
	int status = 0;

	if (with_outcome)
		read_exactly(rank->pipe, &rank->outcome, sizeof rank->outcome);
	assert_int_equal(waitpid(rank->pid, &status, 0), rank->pid);
	close(rank->pipe);
	if (with_outcome)
		assert_int_equal(status, 0);
}

static void await_ready(const process *ranks, int size)
{
	char byte;

	for (int r = 0; r < size; r++)
		read_exactly(ranks[r].pipe, &byte, 1);
}

static void say_ready(int ready)
{
	if (write(ready, "r", 1) != 1)
		abort();
}

/* ---- messages -------------------------------------------------------------------------------- */

static const int64_t sizes[] = {0, 1, 17, 70000, 3000001};

#define SIZES 5

static void fill(unsigned char *data, int64_t bytes, uint32_t seed)
{
	for (int64_t i = 0; i < bytes; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (unsigned char)(seed >> 24);
	}
}

static int expect(cr_control *control, int from, uint32_t type, int64_t bytes, uint32_t seed,
		  crocuta_error *error)
{
	unsigned char *expected = malloc((size_t)bytes + 1), *data = NULL;
	uint32_t got_type = 77;
	int64_t got = -1;
	int code = cr_control_receive(control, from, &got_type, (void **)&data, &got, error);

	fill(expected, bytes, seed);
	if (!code && (got_type != type || got != bytes || !data || data[bytes] ||
		      memcmp(data, expected, (size_t)bytes) != 0))
		code = cr_fail(error, CROCUTA_EINTERNAL,
			       "rank %d's message %u of %lld bytes is not %u, %lld", from, got_type,
			       (long long)got, type, (long long)bytes);
	cr_free(data);
	free(expected);
	return code;
}

static int talk(cr_control *control, int ready, crocuta_error *error)
{
	cr_launch here = {0};
	unsigned char *data = malloc(3000001);
	int code = 0;
	char name[20];

	(void)here;
	(void)ready;
	/* who am I: rank 0 tells */
	code = cr_control_send(control, -1, 5, "all", 3, NULL);
	if (code) { /* so this is another one */
		uint32_t type;
		int64_t bytes;
		void *text = NULL;
		int rank = -1;

		code = cr_control_receive(control, 0, &type, &text, &bytes, error);
		if (!code && (type != 5 || bytes != 3 || strcmp(text, "all") != 0))
			code = cr_fail(error, CROCUTA_EINTERNAL, "no broadcast");
		cr_free(text);
		if (!code)
			code = cr_control_receive(control, 0, &type, &text, &bytes, error);
		if (code)
			goto done;
		rank = atoi(text);
		cr_free(text);
		for (int i = 0; i < SIZES && !code; i++) {
			fill(data, sizes[i], (uint32_t)(10 * rank + i));
			code = cr_control_send(control, 0, (uint32_t)i, data, sizes[i], error);
		}
		for (int i = 0; i < SIZES && !code; i++)
			code = expect(control, 0, (uint32_t)(100 + i), sizes[i],
				      (uint32_t)(1000 + i), error);
		/* the others do not know each other */
		if (!code && rank > 1 &&
		    cr_control_send(control, 1, 1, "x", 1, NULL) != CROCUTA_EINTERNAL)
			code = cr_fail(error, CROCUTA_EINTERNAL, "sent to rank 1");
		usleep((unsigned)(20000 * rank)); /* they go one by one */
	} else {
		for (int r = 1; r < 4 && !code; r++) {
			snprintf(name, sizeof name, "%d", r);
			code = cr_control_send(control, r, 6, name, (int64_t)strlen(name), error);
		}
		for (int i = 0; i < SIZES && !code; i++) {
			fill(data, sizes[i], (uint32_t)(1000 + i));
			code = cr_control_send(control, -1, (uint32_t)(100 + i), data, sizes[i],
					       error);
		}
		for (int r = 3; r > 0 && !code; r--)
			for (int i = 0; i < SIZES && !code; i++)
				code = expect(control, r, (uint32_t)i, sizes[i],
					      (uint32_t)(10 * r + i), error);
		usleep(40000); /* and rank 0 in between */
	}
done:
	free(data);
	return code;
}

static void test_messages(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost", "::1"};

	for (int h = 0; h < 3; h++) {
		const double start = cr_wall_seconds();
		process ranks[4];

		(void)state;
		host = hosts[h];
		if (h == 2 && access("/proc/net/if_inet6", R_OK))
			continue;
		spawn_all(ranks, 4, talk);
		for (int r = 0; r < 4; r++) {
			reap(&ranks[r], 1);
			if (ranks[r].outcome.code || ranks[r].outcome.lost_calls)
				fail_msg("%s, rank %d: %s %s", host, r, ranks[r].outcome.message,
					 ranks[r].outcome.why);
		}
		assert_true(cr_wall_seconds() - start < 4); /* goodbyes are answered */
	}
	host = "127.0.0.1";
}

static void test_one_rank(void **state)
{
	const cr_launch launch = {0, 0, 1, 0, "", 0};
	cr_control *control;
	crocuta_error error = {0};
	uint32_t type;
	int64_t bytes;
	void *data;

	(void)state;
	assert_int_equal(cr_control_open(&launch, NULL, &control, &error), 0);
	assert_int_equal(cr_control_send(control, -1, 1, "x", 1, &error), 0); /* all the others */
	assert_int_equal(cr_control_send(control, 0, 1, "x", 1, NULL), CROCUTA_EINTERNAL);
	assert_int_equal(cr_control_receive(control, 0, &type, &data, &bytes, NULL),
			 CROCUTA_EINTERNAL);
	assert_int_equal(cr_control_check(control, &error), 0);
	cr_control_close(control);
	cr_control_close(NULL);
	cr_control_fail(NULL, "nothing");
	setenv("CROCUTA_CONNECT_SECONDS", "soon", 1);
	assert_int_equal(cr_control_open(&launch, NULL, &control, &error), CROCUTA_EARG);
	unsetenv("CROCUTA_CONNECT_SECONDS");
	assert_null(control);
	for (int n = 1; n <= 3; n++) {
		cr_memory_fail_at(n);
		assert_int_equal(cr_control_open(&launch, NULL, &control, NULL), CROCUTA_EMEMORY);
		cr_memory_fail_at(0);
	}
}

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Wait for a message that never comes, from whoever this one is connected with. */
static int wait_for_ever(cr_control *control, int ready, crocuta_error *error)
{
	uint32_t type;
	int64_t bytes;
	void *data;
	int code;

	say_ready(ready);
	code = cr_control_receive(control, 0, &type, &data, &bytes, NULL);
	if (code == CROCUTA_EINTERNAL) /* rank 0 */
		code = cr_control_receive(control, 1, &type, &data, &bytes, NULL);
	/* told again on every call */
	if (code == CROCUTA_EDEVICE && cr_control_send(control, -1, 0, NULL, 0, NULL) == 0)
		return cr_fail(error, CROCUTA_EINTERNAL, "sent in spite of it");
	return code == CROCUTA_EDEVICE ? cr_control_check(control, error)
				       : cr_fail(error, CROCUTA_EINTERNAL, "code %d", code);
}

static void test_killed_rank(void **state)
{
	(void)state;
	for (int victim = 0; victim < 4; victim++) {
		process ranks[4];
		char expected[100];
		double killed;

		spawn_all(ranks, 4, wait_for_ever);
		await_ready(ranks, 4);
		killed = cr_wall_seconds();
		assert_int_equal(kill(ranks[victim].pid, SIGKILL), 0);
		snprintf(expected, sizeof expected, "rank %d is gone: ", victim);
		for (int r = 0; r < 4; r++) {
			const outcome *seen = &ranks[r].outcome;

			reap(&ranks[r], r != victim);
			if (r == victim)
				continue;
			if (seen->code != CROCUTA_EDEVICE ||
			    strncmp(seen->message, expected, strlen(expected)) != 0)
				fail_msg("rank %d, without %d: %d %s", r, victim, seen->code,
					 seen->message);
			assert_int_equal(seen->lost_calls, 1);
			assert_int_equal(seen->lost_rank, victim);
			assert_string_equal(seen->why, seen->message);
			assert_true(seen->when - killed < 2);
			assert_true(cr_wall_seconds() - killed < 4);
		}
	}
}

/* Rank 2 of 4 (the third to be greeted) reports that it fails; so may rank 0. */
static int failing_rank;

static int one_fails(cr_control *control, int ready, crocuta_error *error)
{
	uint32_t type;
	int64_t bytes;
	void *data;
	int rank = 0, code;

	(void)ready;
	for (int r = 1; r < 4; r++)
		if (cr_control_send(control, r, 1, &r, sizeof r, NULL) == CROCUTA_EINTERNAL)
			rank = -1;
	if (rank) {
		code = cr_control_receive(control, 0, &type, &data, &bytes, error);
		if (code)
			return code;
		memcpy(&rank, data, sizeof rank);
		cr_free(data);
	}
	if (rank == failing_rank) {
		usleep(30000);
		return cr_fail(error, CROCUTA_ENUMERIC, "a number is none");
	}
	return cr_control_receive(control, rank ? 0 : 1, &type, &data, &bytes, error);
}

static void test_failed_rank(void **state)
{
	(void)state;
	for (failing_rank = 0; failing_rank < 4; failing_rank += 2) {
		process ranks[4];
		char expected[100];

		spawn_all(ranks, 4, one_fails);
		snprintf(expected, sizeof expected, "rank %d failed: a number is none",
			 failing_rank);
		for (int r = 0; r < 4; r++) {
			const outcome *seen = &ranks[r].outcome;

			reap(&ranks[r], 1);
			if (r == failing_rank) {
				assert_int_equal(seen->code, CROCUTA_ENUMERIC);
				assert_int_equal(seen->lost_calls, 0);
				continue;
			}
			assert_int_equal(seen->code, CROCUTA_EDEVICE);
			assert_string_equal(seen->message, expected);
			assert_int_equal(seen->lost_calls, 1);
			assert_int_equal(seen->lost_rank, failing_rank);
		}
	}
}

/* A rank that leaves with a goodbye is no alarm; who waits for it is told. */
static int leave_early(cr_control *control, int ready, crocuta_error *error)
{
	uint32_t type;
	int64_t bytes;
	void *data;
	int code = cr_control_send(control, 0, 3, "last words", 10, NULL);

	(void)ready;
	if (!code)
		return 0;
	code = cr_control_receive(control, 1, &type, &data, &bytes, error);
	if (code)
		return code;
	cr_free(data);
	usleep(50000);
	code = cr_control_receive(control, 1, &type, &data, &bytes, error);
	return cr_control_send(control, 1, 1, "x", 1, NULL) == CROCUTA_EDEVICE ? code
									       : CROCUTA_EINTERNAL;
}

static void test_goodbye(void **state)
{
	process ranks[2];

	(void)state;
	spawn_all(ranks, 2, leave_early);
	reap(&ranks[0], 1);
	reap(&ranks[1], 1);
	assert_int_equal(ranks[1].outcome.code, 0);
	assert_int_equal(ranks[1].outcome.lost_calls, 0);
	assert_int_equal(ranks[0].outcome.code, CROCUTA_EDEVICE);
	assert_string_equal(ranks[0].outcome.message, "rank 1 has ended; rank 0 waited for it");
	assert_int_equal(ranks[0].outcome.lost_calls, 0);
}

/* ---- strangers and deadlines ----------------------------------------------------------------- */

static int do_nothing(cr_control *control, int ready, crocuta_error *error)
{
	(void)control;
	(void)ready;
	(void)error;
	return 0;
}

static void test_refusals(void **state)
{
	const int port = free_port();
	process zero = spawn(0, 3, port, "1.2.3", 2.5, do_nothing), other[4];

	(void)state;
	other[0] = spawn(1, 3, port, "1.2.4", 10, do_nothing);
	reap(&other[0], 1);
	assert_int_equal(other[0].outcome.code, CROCUTA_EDEVICE);
	assert_string_equal(other[0].outcome.message,
			    "rank 0 at 127.0.0.1 refuses: rank 1 is crocuta "
			    "1.2.4, rank 0 is 1.2.3");
	other[1] = spawn(1, 4, port, "1.2.3", 10, do_nothing);
	reap(&other[1], 1);
	assert_string_equal(other[1].outcome.message,
			    "rank 0 at 127.0.0.1 refuses: rank 1 is one of 4, rank 0 of 3");
	other[2] = spawn(1, 3, port, "1.2.3", 10, wait_for_ever);
	await_ready(&other[2], 1);
	other[3] = spawn(1, 3, port, "1.2.3", 10, do_nothing);
	reap(&other[3], 1);
	assert_string_equal(other[3].outcome.message,
			    "rank 0 at 127.0.0.1 refuses: there are two ranks 1");
	/* and then rank 2 does not come */
	reap(&zero, 1);
	assert_int_equal(zero.outcome.code, CROCUTA_EDEVICE);
	assert_string_equal(zero.outcome.message,
			    "1 of 3 ranks did not come: 2; refused: there are two ranks 1");
	reap(&other[2], 1);
	assert_string_equal(other[2].outcome.message, "rank 0 is gone: its process has ended");
}

static void test_no_master(void **state)
{
	const double start = cr_wall_seconds();
	process rank;

	(void)state;
	setenv("CROCUTA_CONNECT_SECONDS", "0.4", 1);
	rank = spawn(1, 2, free_port(), "1.2.3", 0, do_nothing);
	unsetenv("CROCUTA_CONNECT_SECONDS");
	reap(&rank, 1);
	assert_int_equal(rank.outcome.code, CROCUTA_EDEVICE);
	assert_true(cr_wall_seconds() - start >= 0.4 && cr_wall_seconds() - start < 3);
	assert_non_null(strstr(rank.outcome.message, "rank 1 cannot reach rank 0 at 127.0.0.1"));
	assert_non_null(strstr(rank.outcome.message, "refused"));
}

static void test_port_in_use(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	const int s = socket(AF_INET, SOCK_STREAM, 0), port = free_port();
	process zero;

	(void)state;
	address.sin_port = htons((uint16_t)port);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(s, 1), 0);
	zero = spawn(0, 2, port, "1.2.3", 10, do_nothing);
	reap(&zero, 1);
	close(s);
	assert_int_equal(zero.outcome.code, CROCUTA_EDEVICE);
	assert_non_null(strstr(zero.outcome.message, "cannot listen on port"));
}

/* A connection that is not made by our code. */
static int raw_connection(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	const double start = cr_wall_seconds();

	address.sin_port = htons((uint16_t)port);
	for (;;) {
		const int s = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(s, (struct sockaddr *)&address, sizeof address) == 0)
			return s;
		close(s);
		assert_true(cr_wall_seconds() - start < 10);
		usleep(1000);
	}
}

/* Send a whole valid hello as rank 1 of 2 and hear the answer. */
static void raw_hello(int s)
{
	unsigned char hello[64] = "crocuta\1\1\0\0\0\2\0\0", answer[256];

	memcpy(hello + 24, "1.2.3", 5);
	assert_int_equal(write(s, hello, sizeof hello), sizeof hello);
	read_exactly(s, answer, sizeof answer);
	assert_memory_equal(answer, "crocuta\1\0\0\0\0", 12);
}

static int send_much(cr_control *control, int ready, crocuta_error *error)
{
	char *data = calloc(1, 64 << 20);
	int code;

	say_ready(ready);
	code = cr_control_send(control, 1, 1, data, 64 << 20, error);
	free(data);
	return code;
}

static int receive_one(cr_control *control, int ready, crocuta_error *error)
{
	uint32_t type;
	int64_t bytes;
	void *data;
	int code;

	(void)ready;
	code = cr_control_receive(control, 1, &type, &data, &bytes, error);
	cr_free(data);
	return code;
}

static void test_strangers(void **state)
{
	static const unsigned char frames[][16] = {
		{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x40},             /* 1 GiB + 1 */
		{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}, /* less than nothing */
		{1, 0, 0, 0, 9},
	};

	(void)state;
	for (int i = 0; i < 5; i++) {
		const int port = free_port();
		process zero = spawn(0, 2, port, "1.2.3", 10, i == 4 ? send_much : receive_one);
		int s = raw_connection(port);

		if (i == 3) { /* noise and silence do not keep rank 0 from its own */
			const int silent = raw_connection(port), gone = raw_connection(port);

			close(gone);
			assert_int_equal(write(s,
					       "GET / HTTP/1.1\r\n\r\n01234567890123456789012345678"
					       "90123456789\r\n\r\n",
					       63),
					 63);
			assert_int_equal(read(s, (char[4]){0}, 4), 0);
			close(s);
			s = raw_connection(port);
			raw_hello(s);
			assert_int_equal(write(s, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x", 17), 17);
			shutdown(s, SHUT_WR);
			reap(&zero, 1);
			assert_int_equal(zero.outcome.code, 0);
			close(silent);
		} else if (i == 4) { /* dies in the middle of a message to it, unread */
			raw_hello(s);
			await_ready(&zero, 1);
			usleep(50000);
			close(s);
			reap(&zero, 1);
			assert_int_equal(zero.outcome.code, CROCUTA_EDEVICE);
			assert_non_null(strstr(zero.outcome.message, "rank 1 is gone: "));
			continue;
		} else {
			raw_hello(s);
			assert_int_equal(write(s, frames[i], 16), 16);
			reap(&zero, 1);
			assert_int_equal(zero.outcome.code, CROCUTA_EDEVICE);
			assert_string_equal(zero.outcome.message, "rank 1 is gone: Protocol error");
		}
		close(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),    cmocka_unit_test(test_one_rank),
		cmocka_unit_test(test_killed_rank), cmocka_unit_test(test_failed_rank),
		cmocka_unit_test(test_goodbye),     cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_master),   cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_strangers),
	};

	/* before any thread: a hang ends the program */
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
