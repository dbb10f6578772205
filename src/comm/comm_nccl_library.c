/* comm_nccl_library.c - see comm_nccl_library.h. */
#include "comm/comm_nccl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Sends and receives came with 2.7; before, ranks could only act all together. */
#define LEAST_VERSION 2700 /* 1000 major + 100 minor, up to 2.8 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cr_nccl_library found; /* whole once get_version is set */

/* A function of the library into the pointer at `place`. */
static int find(void *handle, const char *name, void *place, const char **missing)
{
	void *address = dlsym(handle, name);

	memcpy(place, &address, sizeof address);
	if (!address)
		*missing = name;
	return address != NULL;
}

static const char *find_all(void *handle, cr_nccl_library *library)
{
	const char *missing = NULL, *optional = NULL;

	find(handle, "ncclGetUniqueId", &library->get_unique_id, &missing);
	find(handle, "ncclCommInitRank", &library->comm_init_rank, &missing);
	find(handle, "ncclCommDestroy", &library->comm_destroy, &missing);
	find(handle, "ncclCommAbort", &library->comm_abort, &missing);
	find(handle, "ncclCommGetAsyncError", &library->comm_get_async_error, &missing);
	find(handle, "ncclGroupStart", &library->group_start, &missing);
	find(handle, "ncclGroupEnd", &library->group_end, &missing);
	find(handle, "ncclSend", &library->send, &missing);
	find(handle, "ncclRecv", &library->recv, &missing);
	find(handle, "ncclGetVersion", &library->get_version, &missing);
	find(handle, "ncclGetErrorString", &library->get_error_string, &missing);
	find(handle, "ncclGetLastError", &library->get_last_error, &optional);
	return missing;
}

static int load(crocuta_error *error)
{
	const char *named = getenv("CROCUTA_NCCL"), *missing, *why;
	const char *name = named && *named ? named : "libnccl.so.2";
	cr_nccl_library library;
	int version = 0;
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		why = dlerror();
		return cr_fail(
			error, CROCUTA_EDEVICE,
			"no NCCL, which several GPUs need: %.300s. Install it (libnccl2), or give "
			"its path in CROCUTA_NCCL",
			why ? why : name);
	}
	missing = find_all(handle, &library);
	if (missing || library.get_version(&version) || version < LEAST_VERSION) {
		const int code =
			cr_fail(error, CROCUTA_EDEVICE,
				"%.300s is not an NCCL that can be used: %s %s; 2.7 or later is "
				"needed",
				name, missing ? "no" : "too old", missing ? missing : "");

		dlclose(handle);
		return code;
	}
	found = library;
	return 0;
}

int cr_nccl_load(const cr_nccl_library **library, crocuta_error *error)
{
	int code = 0;

	pthread_mutex_lock(&lock);
	if (!found.get_version)
		code = load(error);
	pthread_mutex_unlock(&lock);
	*library = &found;
	return code;
}
