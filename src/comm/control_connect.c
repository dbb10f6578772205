/* control_connect.c - how the processes of a job find each other; see control.h.
 *
 * Rank 0 listens, the others call until somebody answers. A caller says who it is (64 bytes); rank
 * 0 answers whether it is welcome and if not why (256 bytes). Who says nothing sensible is not
 * answered: it is not one of us.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/control_internal.h"

#define MAGIC "crocuta\1" /* 8 bytes; the last one is the version of this protocol */
#define HELLO_BYTES 64    /* magic, rank, size, 8 zeros, version (32), zeros */
#define ANSWER_BYTES 256  /* magic, 0 or 1, a line that says why not */
#define VERSION_BYTES 32

/* Seconds that one who has connected may take to say who it is, and that one call may take. */
#define HELLO_SECONDS 1.0
#define CALL_SECONDS 5.0

/* ---- sockets --------------------------------------------------------------------------------- */

/* Milliseconds until a time, for poll; at least 0. */
static int until(double deadline)
{
	const double left = deadline - cr_wall_seconds();

	return left <= 0 ? 0 : left > 1e6 ? 1000000000 : (int)(1000 * left) + 1;
}

/* 1: something happened; 0: it is too late. */
static int await(int socket, short events, double deadline)
{
	struct pollfd item = {socket, events, 0};

	for (;;) {
		const int count = poll(&item, 1, until(deadline));

		if (count > 0)
			return 1;
		if (count == 0 && cr_wall_seconds() >= deadline)
			return 0;
		if (count < 0 && errno != EINTR)
			return 0;
	}
}

/* All or nothing: 1 or 0. */
static int read_all(int from, unsigned char *data, size_t bytes, double deadline)
{
	size_t got = 0;

	while (got < bytes && await(from, POLLIN, deadline)) {
		const ssize_t count = recv(from, data + got, bytes - got, MSG_DONTWAIT);

		if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN))
			return 0;
		got += count > 0 ? (size_t)count : 0;
	}
	return got == bytes;
}

static int write_all(int to, const unsigned char *data, size_t bytes, double deadline)
{
	size_t put = 0;

	while (put < bytes && await(to, POLLOUT, deadline)) {
		const ssize_t count =
			send(to, data + put, bytes - put, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (count < 0 && errno != EINTR && errno != EAGAIN)
			return 0;
		put += count > 0 ? (size_t)count : 0;
	}
	return put == bytes;
}

/* A dead process closes its socket; a dead host is noticed by these: silence for 20 s is asked
 * about three times in 30 s, and what is sent has to be acknowledged within 50 s. Advice: not every
 * system has all. */
static void keep_alive(int socket)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},          {IPPROTO_TCP, TCP_KEEPIDLE, 20},
		{IPPROTO_TCP, TCP_KEEPINTVL, 10},       {IPPROTO_TCP, TCP_KEEPCNT, 3},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, 50000}, {IPPROTO_TCP, TCP_NODELAY, 1},
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		(void)setsockopt(socket, options[i].level, options[i].name, &options[i].value,
				 sizeof options[i].value);
}

/* Addresses of the master, to be freed; NULL with *failure saying why. */
static struct addrinfo *resolve(const char *host, int port, int flags, const char **failure)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
				       .ai_socktype = SOCK_STREAM,
				       .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char service[16];
	int code;

	snprintf(service, sizeof service, "%d", port);
	code = getaddrinfo(host, service, &hints, &list);
	if (code)
		*failure = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);
	return code ? NULL : list;
}

/* ---- rank 0 ---------------------------------------------------------------------------------- */

static int is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* A socket that listens there, or -1 with errno. */
static int listen_at(const struct addrinfo *place, int ranks)
{
	const int on = 1, off = 0;
	int failure, listener = socket(place->ai_family, place->ai_socktype | SOCK_CLOEXEC, 0);

	if (listener < 0)
		return -1;
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (place->ai_family == AF_INET6)
		(void)setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(listener, place->ai_addr, place->ai_addrlen) == 0 && listen(listener, ranks) == 0)
		return listener;
	failure = errno;
	close(listener);
	errno = failure;
	return -1;
}

/* At the master's own address where that is one of this host. Its name may stand for 127.0.1.1
 * here and for something else elsewhere: loopback is taken only where it was asked for. */
static int listen_for_ranks(const cr_launch *launch, crocuta_error *error)
{
	const char *failure = "no address";
	const char *host = launch->host;
	const int loopback = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
			     strcmp(host, "::1") == 0;
	struct addrinfo *list = resolve(host, launch->port, 0, &failure);
	int listener = -1, in_use = 0;

	for (const struct addrinfo *p = list; p && listener < 0 && !in_use; p = p->ai_next) {
		if (is_loopback(p->ai_addr) && !loopback)
			continue;
		listener = listen_at(p, launch->size);
		in_use = listener < 0 && errno == EADDRINUSE;
	}
	if (list)
		freeaddrinfo(list);
	if (listener >= 0)
		return listener;
	list = in_use ? NULL : resolve(NULL, launch->port, AI_PASSIVE, &failure);
	/* one for both kinds of addresses, where there is the newer kind */
	for (int family = 0; family < 2 && listener < 0; family++)
		for (const struct addrinfo *p = list; p && listener < 0; p = p->ai_next)
			if ((p->ai_family == AF_INET6) == !family)
				listener = listen_at(p, launch->size);
	if (listener < 0)
		(void)cr_fail_errno(
			error, CROCUTA_EDEVICE,
			"rank 0 cannot listen on port %d (CROCUTA_PORT chooses another)",
			launch->port);
	if (list)
		freeaddrinfo(list);
	return listener;
}

/* Why the one who says this is not welcome, as a line in `refusal`, or its rank; -1. */
static int judge(const cr_control *control, const unsigned char *hello, const char *version,
		 char *refusal, size_t room)
{
	const uint32_t rank = cr_control_get32(hello + 8), size = cr_control_get32(hello + 12);
	char theirs[VERSION_BYTES + 1] = {0};

	memcpy(theirs, hello + 24, VERSION_BYTES);
	for (char *p = theirs; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (strcmp(theirs, version) != 0)
		snprintf(refusal, room, "rank %u is crocuta %s, rank 0 is %s", rank, theirs,
			 version);
	else if (size != (uint32_t)control->size)
		snprintf(refusal, room, "rank %u is one of %u, rank 0 of %d", rank, size,
			 control->size);
	else if (rank == 0 || rank >= size)
		snprintf(refusal, room, "somebody else is rank %u of %u", rank, size);
	else if (control->peer[rank].socket >= 0)
		snprintf(refusal, room, "there are two ranks %u", rank);
	else
		return (int)rank;
	return -1;
}

/* Hear who it is. Takes the socket over: into peer[], or closed. */
static int welcome(cr_control *control, int caller, const char *version, double deadline,
		   char *refusal, size_t room)
{
	unsigned char hello[HELLO_BYTES], answer[ANSWER_BYTES] = MAGIC;
	const double now = cr_wall_seconds();
	int rank;

	if (deadline > now + HELLO_SECONDS)
		deadline = now + HELLO_SECONDS;
	if (!read_all(caller, hello, sizeof hello, deadline) || memcmp(hello, MAGIC, 8) != 0) {
		close(caller);
		return 0;
	}
	rank = judge(control, hello, version, refusal, room);
	cr_control_put32(answer + 8, rank < 0);
	if (rank < 0)
		snprintf((char *)answer + 12, sizeof answer - 12, "%s", refusal);
	if (!write_all(caller, answer, sizeof answer, deadline) || rank < 0) {
		close(caller);
		return 0;
	}
	keep_alive(caller);
	control->peer[rank].socket = caller;
	return 1;
}

static int missing(const cr_control *control, int missed, const char *refusal, crocuta_error *error)
{
	char list[100];
	size_t used = 0;

	for (int r = 1; r < control->size && used + 16 < sizeof list; r++)
		if (control->peer[r].socket < 0)
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%d",
						 used ? ", " : "", r);
	return cr_fail(error, CROCUTA_EDEVICE, "%d of %d ranks did not come: %s%s%s", missed,
		       control->size, list, *refusal ? "; refused: " : "", refusal);
}

static int gather_ranks(cr_control *control, const cr_launch *launch, const char *version,
			double deadline, crocuta_error *error)
{
	char refusal[200] = "";
	int missed = control->size - 1;
	const int listener = listen_for_ranks(launch, error);

	if (listener < 0)
		return error ? error->code : CROCUTA_EDEVICE;
	while (missed && await(listener, POLLIN, deadline)) {
		const int caller = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (caller >= 0)
			missed -= welcome(control, caller, version, deadline, refusal,
					  sizeof refusal);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			break;
	}
	close(listener);
	return missed ? missing(control, missed, refusal, error) : 0;
}

/* ---- the others ------------------------------------------------------------------------------ */

/* Calling a port of this host that nobody listens at can connect a socket with itself. */
static int is_itself(int caller)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_bytes = sizeof here, there_bytes = sizeof there;

	return getsockname(caller, (struct sockaddr *)&here, &here_bytes) == 0 &&
	       getpeername(caller, (struct sockaddr *)&there, &there_bytes) == 0 &&
	       here_bytes == there_bytes && memcmp(&here, &there, here_bytes) == 0;
}

/* Connected to an address, or -1 with errno. */
static int call(const struct addrinfo *place, double deadline)
{
	int caller = socket(place->ai_family, place->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failure = 0;
	socklen_t length = sizeof failure;

	if (caller < 0)
		return -1;
	if (connect(caller, place->ai_addr, place->ai_addrlen) == 0)
		failure = 0;
	else if (errno != EINPROGRESS)
		failure = errno;
	else if (!await(caller, POLLOUT, deadline))
		failure = ETIMEDOUT;
	else if (getsockopt(caller, SOL_SOCKET, SO_ERROR, &failure, &length))
		failure = errno;
	if (!failure && is_itself(caller))
		failure = ECONNREFUSED;
	if (!failure && fcntl(caller, F_SETFL, fcntl(caller, F_GETFL) & ~O_NONBLOCK) == 0)
		return caller;
	failure = failure ? failure : errno;
	close(caller);
	errno = failure;
	return -1;
}

/* One round over all addresses: 1 connected, 0 not yet, -1 refused. */
static int try_master(cr_control *control, const cr_launch *launch, const unsigned char *hello,
		      double deadline, char *trouble, size_t room, crocuta_error *error)
{
	const char *failure = "no address";
	struct addrinfo *list = resolve(launch->host, launch->port, 0, &failure);
	unsigned char answer[ANSWER_BYTES];
	int result = 0;

	if (!list)
		snprintf(trouble, room, "%s", failure);
	for (const struct addrinfo *p = list; p && !result; p = p->ai_next) {
		const double soon = cr_wall_seconds() + CALL_SECONDS;
		const int caller = call(p, soon < deadline ? soon : deadline);

		if (caller < 0) {
			snprintf(trouble, room, "%s", strerror(errno));
			continue;
		}
		/* rank 0 hears one after the other: the answer may take until the end */
		if (!write_all(caller, hello, HELLO_BYTES, deadline) ||
		    !read_all(caller, answer, sizeof answer, deadline) ||
		    memcmp(answer, MAGIC, 8) != 0) {
			snprintf(trouble, room, "what is there does not answer as crocuta does");
			close(caller);
			continue;
		}
		answer[ANSWER_BYTES - 1] = '\0';
		result = cr_control_get32(answer + 8) ? -1 : 1;
		if (result < 0) {
			(void)cr_fail(error, CROCUTA_EDEVICE, "rank 0 at %s refuses: %s",
				      launch->host, (const char *)answer + 12);
			close(caller);
			break;
		}
		keep_alive(caller);
		control->peer[0].socket = caller;
	}
	if (list)
		freeaddrinfo(list);
	return result;
}

static int find_master(cr_control *control, const cr_launch *launch, const char *version,
		       double deadline, crocuta_error *error)
{
	unsigned char hello[HELLO_BYTES] = MAGIC;
	char trouble[200] = "";
	int result, pause = 10;

	cr_control_put32(hello + 8, (uint32_t)control->rank);
	cr_control_put32(hello + 12, (uint32_t)control->size);
	memcpy(hello + 24, version, strlen(version));
	for (;;) {
		result = try_master(control, launch, hello, deadline, trouble, sizeof trouble,
				    error);
		if (result || cr_wall_seconds() >= deadline)
			break;
		if (pause > until(deadline))
			pause = until(deadline);
		(void)poll(NULL, 0, pause);
		pause = pause < 500 ? 2 * pause : 1000;
	}
	if (result)
		return result > 0 ? 0 : error ? error->code : CROCUTA_EDEVICE;
	return cr_fail(
		error, CROCUTA_EDEVICE,
		"rank %d cannot reach rank 0 at %s, port %d: %s (CROCUTA_CONNECT_SECONDS waits "
		"longer)",
		control->rank, launch->host, launch->port, trouble);
}

int cr_control_connect(cr_control *control, const cr_launch *launch, const char *version,
		       double deadline, crocuta_error *error)
{
	if (strlen(version) >= VERSION_BYTES)
		return cr_fail(error, CROCUTA_EINTERNAL, "a version of %zu letters",
			       strlen(version));
	return control->rank == 0 ? gather_ranks(control, launch, version, deadline, error)
				  : find_master(control, launch, version, deadline, error);
}
