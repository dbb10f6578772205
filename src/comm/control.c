/* control.c - the wire between the processes of a job; see control.h.
 *
 * One thread, the watcher, reads all sockets and keeps whole messages until they are asked for, so
 * that a closed connection is noticed at once, whatever the other threads do. Goodbyes: who closes
 * says so and sends no more; the other side's watcher then closes its direction too, and the first
 * one knows that everything has been read. A connection that ends without a goodbye is a death:
 * rank 0 tells the others.
 */
#define _GNU_SOURCE
#include "comm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <crocuta/crocuta.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "comm/control_internal.h"

/* Types of messages that are not the caller's. */
#define GOODBYE 0x80000000u
#define FAILED 0x80000001u /* rank (4 bytes), a sentence */

#define CONNECT_SECONDS 60.0
#define CLOSE_SECONDS 5.0        /* to hear the others' goodbyes */
#define CLOSE_FAILED_SECONDS 0.5 /* that they read why */
#define EXPLAIN_SECONDS 1        /* for the watcher to hear why a send failed */

/* ---- sending --------------------------------------------------------------------------------- */

/* 0 or errno. */
static int send_message(control_peer *peer, uint32_t type, const void *data, int64_t bytes)
{
	unsigned char header[CR_CONTROL_HEADER] = {0};
	struct iovec parts[2] = {{header, sizeof header}, {(void *)data, (size_t)bytes}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	int failure = 0;

	cr_control_put32(header, type);
	cr_control_put32(header + 8, (uint32_t)bytes);
	cr_control_put32(header + 12, (uint32_t)(bytes >> 32));
	pthread_mutex_lock(&peer->send_lock);
	while (!failure && parts[0].iov_len + parts[1].iov_len) {
		ssize_t sent = sendmsg(peer->socket, &message, MSG_NOSIGNAL);

		if (sent < 0) {
			failure = errno == EINTR ? 0 : errno;
			continue;
		}
		for (int i = 0; i < 2; i++) {
			const size_t part =
				(size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;

			parts[i].iov_base = (char *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			sent -= (ssize_t)part;
		}
	}
	pthread_mutex_unlock(&peer->send_lock);
	return failure;
}

/* To all that are there but `except`; whether it arrives is not known. */
static void tell_failure(cr_control *control, int rank, int except, const char *why)
{
	unsigned char text[4 + sizeof control->why];
	const size_t length = strlen(why);

	cr_control_put32(text, (uint32_t)rank);
	memcpy(text + 4, why, length);
	for (int r = 0; r < control->size; r++) {
		control_peer *peer = &control->peer[r];
		int gone;

		pthread_mutex_lock(&control->lock);
		gone = peer->socket < 0 || peer->goodbye || peer->ended;
		pthread_mutex_unlock(&control->lock);
		if (!gone && r != except)
			(void)send_message(peer, FAILED, text, 4 + (int64_t)length);
	}
}

/* ---- the watcher ----------------------------------------------------------------------------- */

/* With the lock: the job is lost. 1 the first time that this is said, unless we are about to leave;
 * the caller then tells who has to know, and says so with told(). */
static int set_lost(cr_control *control, const char *why)
{
	if (control->lost || control->closing)
		return 0;
	control->lost = control->telling = 1;
	snprintf(control->why, sizeof control->why, "%s", why);
	pthread_cond_broadcast(&control->changed);
	return 1;
}

static void told(cr_control *control)
{
	pthread_mutex_lock(&control->lock);
	control->telling = 0;
	pthread_cond_broadcast(&control->changed);
	pthread_mutex_unlock(&control->lock);
}

/* After set_lost: `rank` is gone or failed, as heard from `source`. */
static void spread(cr_control *control, int rank, int source, const char *why)
{
	if (control->lost_call)
		control->lost_call(control->user, rank, why);
	if (control->rank == 0)
		tell_failure(control, rank, source, why);
	told(control);
}

/* Its connection has ended, with an errno or 0. */
static void lose_peer(cr_control *control, int rank, int failure)
{
	control_peer *peer = &control->peer[rank];
	char why[200];
	int first;

	(void)shutdown(peer->socket, SHUT_RDWR); /* wakes who is sending there */
	snprintf(why, sizeof why, "rank %d is gone: %s", rank,
		 failure ? strerror(failure) : "its process has ended");
	pthread_mutex_lock(&control->lock);
	first = !peer->goodbye && set_lost(control, why);
	peer->ended = 1;
	pthread_cond_broadcast(&control->changed);
	pthread_mutex_unlock(&control->lock);
	if (first)
		spread(control, rank, rank, why);
}

static void free_message(control_message *message)
{
	if (message)
		cr_free(message->data);
	cr_free(message);
}

/* A whole message of the control's own. */
static void handle_own(cr_control *control, int rank, const control_message *message)
{
	control_peer *peer = &control->peer[rank];
	int first;

	if (message->type == GOODBYE) {
		pthread_mutex_lock(&control->lock);
		peer->goodbye = 1;
		pthread_cond_broadcast(&control->changed);
		pthread_mutex_unlock(&control->lock);
		(void)shutdown(peer->socket, SHUT_WR);
	} else if (message->type == FAILED && message->bytes >= 4) {
		const char *why = (const char *)message->data + 4;
		const uint32_t named = cr_control_get32(message->data);
		const int failed = control->rank ? (int)(named % (uint32_t)control->size) : rank;

		pthread_mutex_lock(&control->lock);
		first = set_lost(control, why);
		pthread_mutex_unlock(&control->lock);
		if (first)
			spread(control, failed, rank, why);
	}
}

static void handle_message(cr_control *control, int rank)
{
	control_peer *peer = &control->peer[rank];
	control_message *message = peer->incoming;

	peer->incoming = NULL;
	peer->header_got = peer->data_got = 0;
	if (message->type >= CR_CONTROL_TYPES) {
		handle_own(control, rank, message);
		free_message(message);
		return;
	}
	pthread_mutex_lock(&control->lock);
	if (peer->last)
		peer->last->next = message;
	else
		peer->first = message;
	peer->last = message;
	pthread_cond_broadcast(&control->changed);
	pthread_mutex_unlock(&control->lock);
}

/* The header is there: 0, or errno. */
static int begin_message(control_peer *peer)
{
	const uint64_t bytes = (uint64_t)cr_control_get32(peer->header + 12) << 32 |
			       cr_control_get32(peer->header + 8);
	control_message *message;

	if (bytes > (uint64_t)CR_CONTROL_BYTES || cr_control_get32(peer->header + 4))
		return EPROTO;
	message = cr_calloc(1, sizeof *message);
	if (!message)
		return ENOMEM;
	message->type = cr_control_get32(peer->header);
	message->bytes = (int64_t)bytes;
	message->data = cr_calloc((size_t)bytes + 1, 1);
	peer->incoming = message;
	return message->data ? 0 : ENOMEM;
}

/* Some of what has come. */
static void read_some(cr_control *control, int rank)
{
	control_peer *peer = &control->peer[rank];
	const int in_header = peer->header_got < CR_CONTROL_HEADER;
	ssize_t count;
	int failure = 0;

	if (in_header)
		count = recv(peer->socket, peer->header + peer->header_got,
			     (size_t)(CR_CONTROL_HEADER - peer->header_got), MSG_DONTWAIT);
	else
		count = recv(peer->socket, (char *)peer->incoming->data + peer->data_got,
			     (size_t)(peer->incoming->bytes - peer->data_got), MSG_DONTWAIT);
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		lose_peer(control, rank, count ? errno : 0);
		return;
	}
	*(in_header ? &peer->header_got : &peer->data_got) += count;
	if (in_header && peer->header_got == CR_CONTROL_HEADER)
		failure = begin_message(peer);
	if (failure)
		lose_peer(control, rank, failure);
	else if (peer->incoming && peer->data_got == peer->incoming->bytes)
		handle_message(control, rank);
}

/* The sockets to look at; 0 when there is nothing more to do. */
static int list_sockets(cr_control *control, int *milliseconds)
{
	int count = 1, done;
	double left = 0;

	control->polled[0] = (struct pollfd){control->wake[0], POLLIN, 0};
	*milliseconds = -1;
	pthread_mutex_lock(&control->lock);
	for (int r = 0; r < control->size; r++) {
		if (control->peer[r].socket < 0 || control->peer[r].ended)
			continue;
		control->polled[count] = (struct pollfd){control->peer[r].socket, POLLIN, 0};
		control->polled_rank[count++] = r;
	}
	if (control->closing) {
		left = control->deadline - cr_wall_seconds();
		*milliseconds = left > 0 ? (int)(1000 * left) + 1 : 0;
	}
	done = control->closing && (count == 1 || left <= 0);
	pthread_mutex_unlock(&control->lock);
	return done ? 0 : count;
}

static void *watch(void *argument)
{
	cr_control *control = argument;
	int count, milliseconds;

	while ((count = list_sockets(control, &milliseconds)) > 0) {
		char byte[16];

		if (poll(control->polled, (nfds_t)count, milliseconds) <= 0)
			continue;
		if (control->polled[0].revents)
			(void)!read(control->wake[0], byte, sizeof byte);
		for (int i = 1; i < count; i++)
			if (control->polled[i].revents)
				read_some(control, control->polled_rank[i]);
	}
	return NULL;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int check_peer(const cr_control *control, int rank, crocuta_error *error)
{
	if (rank >= 0 && rank < control->size && control->peer[rank].socket >= 0)
		return 0;
	return cr_fail(error, CROCUTA_EINTERNAL, "rank %d has no connection with rank %d of %d",
		       control->rank, rank, control->size);
}

static int report_lost(cr_control *control, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EDEVICE, "%s", control->why);
}

static int send_failed(cr_control *control, int rank, int failure, crocuta_error *error)
{
	struct timespec late;
	int code;

	clock_gettime(CLOCK_REALTIME, &late);
	late.tv_sec += EXPLAIN_SECONDS;
	pthread_mutex_lock(&control->lock);
	while (!control->lost && !control->peer[rank].goodbye)
		if (pthread_cond_timedwait(&control->changed, &control->lock, &late))
			break;
	if (control->lost)
		code = report_lost(control, error);
	else if (control->peer[rank].goodbye)
		code = cr_fail(error, CROCUTA_EDEVICE,
			       "rank %d has ended; nothing can be sent there", rank);
	else
		code = cr_fail(error, CROCUTA_EDEVICE, "rank %d cannot be reached: %s", rank,
			       strerror(failure));
	pthread_mutex_unlock(&control->lock);
	return code;
}

int cr_control_send(cr_control *control, int rank, uint32_t type, const void *data, int64_t bytes,
		    crocuta_error *error)
{
	const int first = rank < 0 ? 1 : rank, last = rank < 0 ? control->size - 1 : rank;
	int code = 0;

	if (type >= CR_CONTROL_TYPES || bytes < 0 || bytes > CR_CONTROL_BYTES || (bytes && !data) ||
	    rank < -1 || (rank == -1 && control->rank))
		return cr_fail(error, CROCUTA_EINTERNAL,
			       "rank %d sends %lld bytes of type %u to rank %d", control->rank,
			       (long long)bytes, type, rank);
	for (int r = first; r <= last && !code; r++) {
		int failure = 0;

		code = check_peer(control, r, error);
		if (!code)
			code = cr_control_check(control, error);
		if (!code)
			failure = send_message(&control->peer[r], type, data, bytes);
		if (failure)
			code = send_failed(control, r, failure, error);
	}
	return code;
}

int cr_control_receive(cr_control *control, int rank, uint32_t *type, void **data, int64_t *bytes,
		       crocuta_error *error)
{
	control_peer *peer;
	control_message *message = NULL;
	int code = check_peer(control, rank, error);

	*data = NULL;
	if (code)
		return code;
	peer = &control->peer[rank];
	pthread_mutex_lock(&control->lock);
	while (!peer->first && !control->lost && !peer->goodbye && !peer->ended)
		pthread_cond_wait(&control->changed, &control->lock);
	message = peer->first;
	if (message) {
		peer->first = message->next;
		if (!peer->first)
			peer->last = NULL;
	} else if (control->lost) {
		code = report_lost(control, error);
	} else {
		code = cr_fail(error, CROCUTA_EDEVICE, "rank %d has ended; rank %d waited for it",
			       rank, control->rank);
	}
	pthread_mutex_unlock(&control->lock);
	if (message) {
		*type = message->type;
		*data = message->data;
		*bytes = message->bytes;
		cr_free(message);
	}
	return code;
}

int cr_control_check(cr_control *control, crocuta_error *error)
{
	int code;

	pthread_mutex_lock(&control->lock);
	code = control->lost ? report_lost(control, error) : 0;
	pthread_mutex_unlock(&control->lock);
	return code;
}

void cr_control_fail(cr_control *control, const char *why)
{
	char text[sizeof control->why];
	int first;

	if (!control)
		return;
	snprintf(text, sizeof text, "rank %d failed: %s", control->rank,
		 why ? why : "no reason given");
	pthread_mutex_lock(&control->lock);
	first = set_lost(control, text);
	pthread_mutex_unlock(&control->lock);
	if (!first)
		return;
	tell_failure(control, control->rank, -1, text);
	told(control);
}

/* ---- open and close -------------------------------------------------------------------------- */

static void free_control(cr_control *control)
{
	for (int r = 0; r < control->size; r++) {
		control_peer *peer = &control->peer[r];

		if (peer->socket >= 0)
			close(peer->socket);
		pthread_mutex_destroy(&peer->send_lock);
		free_message(peer->incoming);
		for (control_message *next, *message = peer->first; message; message = next) {
			next = message->next;
			free_message(message);
		}
	}
	for (int i = 0; i < 2; i++)
		if (control->wake[i] >= 0)
			close(control->wake[i]);
	pthread_cond_destroy(&control->changed);
	pthread_mutex_destroy(&control->lock);
	cr_free(control->polled);
	cr_free(control->polled_rank);
	cr_free(control);
}

void cr_control_close(cr_control *control)
{
	int failed;

	if (!control)
		return;
	pthread_mutex_lock(&control->lock);
	while (control->telling)
		pthread_cond_wait(&control->changed, &control->lock);
	failed = control->lost;
	control->closing = 1;
	control->deadline = cr_wall_seconds() + (failed ? CLOSE_FAILED_SECONDS : CLOSE_SECONDS);
	pthread_mutex_unlock(&control->lock);
	for (int r = 0; r < control->size && control->watched; r++) {
		control_peer *peer = &control->peer[r];

		if (peer->socket < 0)
			continue;
		if (!failed)
			(void)send_message(peer, GOODBYE, NULL, 0);
		(void)shutdown(peer->socket, SHUT_WR);
	}
	if (control->watched) {
		(void)!write(control->wake[1], "", 1);
		pthread_join(control->watcher, NULL);
	}
	free_control(control);
}

/* Seconds until all have to be there. */
static int connect_seconds(double *seconds, crocuta_error *error)
{
	const char *text = getenv("CROCUTA_CONNECT_SECONDS");
	char *end;

	if (*seconds > 0)
		return 0;
	*seconds = CONNECT_SECONDS;
	if (!text || !*text)
		return 0;
	*seconds = strtod(text, &end);
	if (!*end && *seconds > 0 && *seconds <= 86400)
		return 0;
	return cr_fail(error, CROCUTA_EARG,
		       "environment: CROCUTA_CONNECT_SECONDS=%.60s is not a number up to 86400",
		       text);
}

static cr_control *new_control(const cr_launch *launch, const cr_control_options *options)
{
	cr_control *control =
		cr_calloc(1, sizeof *control + (size_t)launch->size * sizeof control->peer[0]);

	if (!control)
		return NULL;
	control->rank = launch->rank;
	control->size = launch->size;
	control->lost_call = options->lost;
	control->user = options->user;
	control->wake[0] = control->wake[1] = -1;
	/* neither can fail in glibc: nothing is allocated */
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->changed, NULL);
	for (int r = 0; r < launch->size; r++) {
		pthread_mutex_init(&control->peer[r].send_lock, NULL);
		control->peer[r].socket = -1;
	}
	control->polled = cr_calloc((size_t)launch->size + 1, sizeof *control->polled);
	control->polled_rank = cr_calloc((size_t)launch->size + 1, sizeof *control->polled_rank);
	if (control->polled && control->polled_rank)
		return control;
	free_control(control);
	return NULL;
}

static int start_watcher(cr_control *control, crocuta_error *error)
{
	if (pipe2(control->wake, O_CLOEXEC | O_NONBLOCK))
		return cr_fail_errno(error, CROCUTA_EMEMORY, "cannot open a pipe");
	errno = pthread_create(&control->watcher, NULL, watch, control);
	if (errno)
		return cr_fail_errno(error, CROCUTA_EMEMORY, "cannot start a thread");
	control->watched = 1;
	return 0;
}

int cr_control_open(const cr_launch *launch, const cr_control_options *options,
		    cr_control **control, crocuta_error *error)
{
	const cr_control_options chosen = options ? *options : (cr_control_options){0};
	const char *version = chosen.version ? chosen.version : CROCUTA_VERSION;
	double seconds = chosen.seconds;
	cr_control *opened;
	int code = connect_seconds(&seconds, error);

	*control = NULL;
	if (code)
		return code;
	if (launch->size < 1 || launch->rank < 0 || launch->rank >= launch->size)
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d of %d", launch->rank,
			       launch->size);
	opened = new_control(launch, &chosen);
	if (!opened)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for %d ranks", launch->size);
	if (launch->size > 1)
		code = cr_control_connect(opened, launch, version, cr_wall_seconds() + seconds,
					  error);
	if (!code && launch->size > 1)
		code = start_watcher(opened, error);
	if (code) {
		cr_control_close(opened);
		return code;
	}
	*control = opened;
	return 0;
}
