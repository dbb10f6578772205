/* gpu_list.h - which GPUs the name of a device asks for. */
#ifndef CR_MODEL_GPU_LIST_H
#define CR_MODEL_GPU_LIST_H

#include <crocuta/error.h>

#define CR_GPUS_MAX 64

typedef struct cr_gpu_list {
	int all;   /* "cuda:all" */
	int count; /* else that many: */
	int gpu[CR_GPUS_MAX];
} cr_gpu_list;

/* "cuda" (GPU 0), "cuda:N[,N...]" in the order given, or "cuda:all"; CROCUTA_EARG for anything
 * else. Whether there are such GPUs is not looked at. */
int cr_gpu_list_parse(const char *device, cr_gpu_list *list, crocuta_error *error);

/* Make "cuda:all" the list of the `there` GPUs of this machine, CR_GPUS_MAX at most. */
void cr_gpu_list_expand(cr_gpu_list *list, int there);

#endif
