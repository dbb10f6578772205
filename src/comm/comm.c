/* comm.c - what all implementations of comm.h have in common: checks, broadcast, all_gather. */
#include "comm/comm.h"

#include "base/error.h"

int cr_comm_start(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error)
{
	if (count < 0 || count > CR_COMM_TRANSFERS)
		return cr_fail(error, CROCUTA_EINTERNAL,
			       "rank %d: %d transfers at once; at most %d", comm->rank, count,
			       CR_COMM_TRANSFERS);
	for (int i = 0; i < count; i++) {
		const cr_transfer *transfer = &transfers[i];

		if (transfer->peer < 0 || transfer->peer >= comm->size)
			return cr_fail(error, CROCUTA_EINTERNAL,
				       "rank %d: transfer %d names rank %d of %d", comm->rank, i,
				       transfer->peer, comm->size);
		if (transfer->bytes < 0 || (transfer->bytes > 0 && !transfer->data))
			return cr_fail(error, CROCUTA_EINTERNAL,
				       "rank %d: transfer %d of %lld bytes %s", comm->rank, i,
				       (long long)transfer->bytes,
				       transfer->bytes < 0 ? "is less than none" : "at no place");
	}
	return comm->ops->start(comm, transfers, count, error);
}

int cr_comm_wait(cr_comm *comm, crocuta_error *error)
{
	return comm->ops->wait(comm, error);
}

void cr_comm_fail(cr_comm *comm, const char *why)
{
	if (comm)
		comm->ops->fail(comm, why);
}

void cr_comm_close(cr_comm *comm)
{
	if (comm)
		comm->ops->close(comm);
}

static int exchange(cr_comm *comm, const cr_transfer *transfers, int count, crocuta_error *error)
{
	const int code = cr_comm_start(comm, transfers, count, error);

	return code ? code : cr_comm_wait(comm, error);
}

int cr_comm_broadcast(cr_comm *comm, int root, void *data, int64_t bytes, crocuta_error *error)
{
	cr_transfer transfers[CR_COMM_TRANSFERS];
	int count = 0, code = 0;

	if (root < 0 || root >= comm->size)
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d: a broadcast from rank %d of %d",
			       comm->rank, root, comm->size);
	if (comm->rank != root)
		return exchange(comm, &(cr_transfer){root, 0, data, bytes}, 1, error);
	for (int peer = 0; peer < comm->size && !code; peer++) {
		if (peer != root)
			transfers[count++] = (cr_transfer){peer, 1, data, bytes};
		if (count == CR_COMM_TRANSFERS || (count && peer == comm->size - 1)) {
			code = exchange(comm, transfers, count, error);
			count = 0;
		}
	}
	return code;
}

/* Shift s: to the rank s further on, from the one s behind; 0 is the rank's own part. All ranks do
 * the same shifts in one start. */
int cr_comm_all_gather(cr_comm *comm, const void *mine, void *all, int64_t bytes,
		       crocuta_error *error)
{
	cr_transfer transfers[CR_COMM_TRANSFERS];
	char *parts = all;
	const int size = comm->size;
	int count = 0, code = 0;

	if (bytes < 0 || (bytes > 0 && (!mine || !all)))
		return cr_fail(error, CROCUTA_EINTERNAL, "rank %d: gathers %lld bytes of nothing",
			       comm->rank, (long long)bytes);
	for (int shift = 0; shift < size && !code && bytes; shift++) {
		const int to = (comm->rank + shift) % size,
			  from = (comm->rank - shift + size) % size;

		if (to != comm->rank || mine != parts + from * bytes) {
			transfers[count++] = (cr_transfer){to, 1, (void *)mine, bytes};
			transfers[count++] = (cr_transfer){from, 0, parts + from * bytes, bytes};
		}
		if (count > CR_COMM_TRANSFERS - 2 || shift == size - 1) {
			code = exchange(comm, transfers, count, error);
			count = 0;
		}
	}
	return code;
}
