/* threads.h - can this process start as many threads as asked? */
#ifndef CR_BASE_THREADS_H
#define CR_BASE_THREADS_H

#include <crocuta/error.h>

/* Start threads - 1 threads at once and join them: 0, or CROCUTA_EMEMORY naming -@. The OpenMP
 * runtime ends the process when it cannot start a thread, so this is asked before it is. */
int cr_threads_probe(int threads, crocuta_error *error);

#endif
