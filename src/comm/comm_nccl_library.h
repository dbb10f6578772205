/* comm_nccl_library.h - what is used of NCCL, found at run time. Names, types and values are those
 * of nccl.h, version 2. */
#ifndef CR_COMM_COMM_NCCL_LIBRARY_H
#define CR_COMM_COMM_NCCL_LIBRARY_H

#include <stddef.h>

#include <cuda_runtime_api.h>

#include <crocuta/error.h>

typedef struct ncclComm *cr_nccl_comm;

typedef struct cr_nccl_unique_id {
	char internal[128];
} cr_nccl_unique_id; /* passed by value */

enum { CR_NCCL_SUCCESS = 0, CR_NCCL_IN_PROGRESS = 7 }; /* ncclResult_t */
enum { CR_NCCL_INT8 = 0 };                             /* ncclDataType_t */

/* Each returns an ncclResult_t unless it says otherwise. */
typedef struct cr_nccl_library {
	int (*get_unique_id)(cr_nccl_unique_id *id);
	int (*comm_init_rank)(cr_nccl_comm *comm, int ranks, cr_nccl_unique_id id, int rank);
	int (*comm_destroy)(cr_nccl_comm comm);
	int (*comm_abort)(cr_nccl_comm comm);
	int (*comm_get_async_error)(cr_nccl_comm comm, int *result);
	int (*group_start)(void);
	int (*group_end)(void);
	int (*send)(const void *data, size_t count, int type, int peer, cr_nccl_comm comm,
		    cudaStream_t stream);
	int (*recv)(void *data, size_t count, int type, int peer, cr_nccl_comm comm,
		    cudaStream_t stream);
	int (*get_version)(int *version);
	const char *(*get_error_string)(int result);
	const char *(*get_last_error)(cr_nccl_comm comm); /* NULL before 2.13 */
} cr_nccl_library;

/* The library, loaded by the first caller and kept; EDEVICE with advice where it is not there. */
int cr_nccl_load(const cr_nccl_library **library, crocuta_error *error);

#endif
