/* threads.c - see threads.h. */
#include "base/threads.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>

#include "base/error.h"
#include "base/memory.h"

/* Held by the prober until every thread has been started. */
static void *wait_at_gate(void *gate)
{
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
	return NULL;
}

int cr_threads_probe(int threads, crocuta_error *error)
{
	pthread_t *started = cr_calloc((size_t)threads, sizeof *started);
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	int count = 0, failure = 0;

	if (!started)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for threads");
	pthread_mutex_lock(&gate);
	while (!failure && count < threads - 1) {
		failure = pthread_create(&started[count], NULL, wait_at_gate, &gate);
		count += !failure;
	}
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < count; i++)
		pthread_join(started[i], NULL);
	cr_free(started);
	pthread_mutex_destroy(&gate);
	if (!failure)
		return 0;
	errno = failure;
	return cr_fail_errno(error, CROCUTA_EMEMORY,
			     "cannot start %d threads, only %d; give a smaller -@, or raise ulimit -u",
			     threads, count + 1);
}

void cr_threads_release(void)
{
	(void)omp_pause_resource_all(omp_pause_soft);
}
