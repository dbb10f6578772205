/* ops.c - finding a backend by name; see ops.h. */
#include "backend/ops.h"

#include <string.h>

typedef const cr_ops *ops_finder(const char *variant);

static const struct {
	const char *name;
	ops_finder *find;
} backends[] = {
#define CR_BACKEND(backend) {#backend, cr_ops_##backend},
#include "backend/backends.def"
#undef CR_BACKEND
};

const cr_ops *cr_ops_get(const char *backend)
{
	const char *dash = strchr(backend, '-');
	const size_t length = dash ? (size_t)(dash - backend) : strlen(backend);

	for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
		if (strlen(backends[i].name) == length &&
		    !strncmp(backends[i].name, backend, length))
			return backends[i].find(dash ? dash + 1 : NULL);
	return NULL;
}

const char *cr_ops_missing(const cr_ops *ops)
{
#define CR_OP(operator, what)                                                                      \
	if (!ops->operator)                                                                        \
		return #operator;
#include "backend/ops.def"
#undef CR_OP
	return NULL;
}
