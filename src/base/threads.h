/* threads.h - can this process start as many threads as asked? */
#ifndef CR_BASE_THREADS_H
#define CR_BASE_THREADS_H

#include <crocuta/error.h>

/* Start threads - 1 threads at once and join them: 0, or CROCUTA_EMEMORY naming -@. The OpenMP
 * runtime ends the process when it cannot start a thread, so this is asked before it is. */
int cr_threads_probe(int threads, crocuta_error *error);

/* End the OpenMP threads that wait for the calling thread's next parallel region: it is about to leave
 * such work to another thread, which gets threads of its own. They come back when they are needed. */
void cr_threads_release(void);

#endif
