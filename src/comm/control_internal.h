/* control_internal.h - what control.c and control_connect.c share. */
#ifndef CR_COMM_CONTROL_INTERNAL_H
#define CR_COMM_CONTROL_INTERNAL_H

#include <pthread.h>

#include "comm/control.h"

/* Before each message: type and length, 4 + 4 (zero) + 8 bytes, little-endian. */
#define CR_CONTROL_HEADER 16

/* A message that has come and waits for its receiver. */
typedef struct control_message {
	struct control_message *next;
	uint32_t type;
	int64_t bytes;
	void *data; /* with a zero behind it */
} control_message;

/* Another rank: on rank 0 all of them, elsewhere rank 0 alone. */
typedef struct control_peer {
	int socket;                /* -1: this one is not connected to us */
	pthread_mutex_t send_lock; /* held while a message goes out */
	int goodbye;               /* it has said so; nothing goes there any more */
	int ended;                 /* and nothing comes */
	/* the watcher's: how much of a message has come */
	unsigned char header[CR_CONTROL_HEADER];
	int64_t header_got, data_got;
	control_message *incoming;
	/* whole ones */
	control_message *first, *last;
} control_peer;

struct cr_control {
	int rank, size;
	cr_control_lost *lost_call;
	void *user;
	pthread_mutex_t
		lock; /* of all that follows; peers' sockets never change while the watcher runs */
	pthread_cond_t changed;
	int lost;    /* why says so */
	int telling; /* others are being told of it */
	int closing;
	double deadline; /* of the closing */
	char why[800];
	int wake[2]; /* a pipe that interrupts the watcher */
	int watched; /* it was started */
	pthread_t watcher;
	struct pollfd *polled; /* (size + 1) */
	int *polled_rank;      /* whose they are */
	control_peer peer[];   /* (size) */
};

/* Connect control->peer[].socket as cr_control_open says, until `deadline` (cr_wall_seconds).
 * Sockets opened stay in peer[], whatever comes. */
int cr_control_connect(cr_control *control, const cr_launch *launch, const char *version,
		       double deadline, crocuta_error *error);

/* Little-endian numbers. */
static inline void cr_control_put32(unsigned char *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static inline uint32_t cr_control_get32(const unsigned char *from)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value |= (uint32_t)from[i] << 8 * i;
	return value;
}

#endif
