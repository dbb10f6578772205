/* launch.c - which process of how many this is, from the environment of a launcher; see control.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "comm/control.h"

/* The variables of a launcher. */
typedef struct launcher {
	const char *rank, *size, *local_rank;
	const char *needs; /* also there, or it is not this launcher; may be NULL */
} launcher;

enum { OURS, TORCHRUN, OPEN_MPI, SRUN, LAUNCHERS };

static const launcher launchers[LAUNCHERS] = {
	[OURS] = {"CROCUTA_RANK", "CROCUTA_SIZE", "CROCUTA_LOCAL_RANK", NULL},
	[TORCHRUN] = {"RANK", "WORLD_SIZE", "LOCAL_RANK", NULL},
	[OPEN_MPI] = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
		      NULL},
	[SRUN] = {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID"},
};

/* NULL where it is not set, or empty. */
static const char *variable(const char *name)
{
	const char *text = getenv(name);

	return text && *text ? text : NULL;
}

static int read_digits(const char *text, int least, int most, int *value)
{
	int number = 0;

	if (!*text || strlen(text) > 9)
		return 0;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		number = 10 * number + (*text - '0');
	}
	*value = number;
	return number >= least && number <= most;
}

/* Into *value, which stays where the variable is not set. */
static int read_number(const char *name, int least, int most, int *value, crocuta_error *error)
{
	const char *text = variable(name);

	if (!text || read_digits(text, least, most, value))
		return 0;
	return cr_fail(error, CROCUTA_EARG, "environment: %s=%.60s is not a number from %d to %d",
		       name, text, least, most);
}

static int set_host(cr_launch *launch, const char *name, const char *host, size_t length,
		    crocuta_error *error)
{
	if (length == 0 || length >= sizeof launch->host)
		return cr_fail(error, CROCUTA_EARG, "environment: %s=%.60s names no host", name,
			       host);
	memcpy(launch->host, host, length);
	launch->host[length] = '\0';
	return 0;
}

/* HOST:PORT, HOST, [IPV6]:PORT or [IPV6]. */
static int read_master(const char *name, const char *text, cr_launch *launch, crocuta_error *error)
{
	const int bracket = *text == '[';
	const char *host = text + bracket, *end = strchr(host, bracket ? ']' : ':');
	const char *port = end ? end + bracket : NULL;
	int code;

	if ((bracket && !end) || (port && *port && *port != ':') ||
	    (!bracket && port && strchr(port + 1, ':')))
		return cr_fail(error, CROCUTA_EARG,
			       "environment: %s=%.60s is not HOST:PORT or [IPV6]:PORT", name, text);
	code = set_host(launch, name, host, end ? (size_t)(end - host) : strlen(host), error);
	if (!code && port && *port && !read_digits(port + 1, 1, 65535, &launch->port))
		code = cr_fail(error, CROCUTA_EARG,
			       "environment: %s=%.60s: no port from 1 to 65535", name, text);
	return code;
}

/* The first host of a list as srun writes it, such as gpu[03-07,11]-ib,login2: each bracket's first
 * entry. */
static int first_host(const char *name, const char *text, cr_launch *launch, crocuta_error *error)
{
	char host[sizeof launch->host + 1];
	size_t used = 0;

	for (const char *list = text; *list && *list != ',' && used < sizeof launch->host; list++) {
		if (*list != '[') {
			host[used++] = *list;
			continue;
		}
		for (list++; *list && !strchr("-,]", *list) && used < sizeof launch->host; list++)
			host[used++] = *list;
		list += strcspn(list, "]");
		if (!*list)
			return cr_fail(error, CROCUTA_EARG, "environment: %s=%.60s has no ]", name,
				       text);
	}
	host[used] = '\0';
	return set_host(launch, name, host, used, error);
}

static int find_port(int kind, cr_launch *launch, crocuta_error *error)
{
	const char *agent = variable("TORCHELASTIC_USE_AGENT_STORE");
	int code;

	launch->port = CR_LAUNCH_PORT;
	code = read_number("MASTER_PORT", 1, 65535, &launch->port, error);
	/* torchrun's own process has that port, and its workers are told so */
	if (kind == TORCHRUN && variable("MASTER_PORT") && agent && strcmp(agent, "True") == 0)
		launch->port += launch->port < 65535 ? 1 : -1;
	return code ? code : read_number("CROCUTA_PORT", 1, 65535, &launch->port, error);
}

static int find_master(int kind, cr_launch *launch, crocuta_error *error)
{
	static const char *const lists[] = {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST",
					    "SLURM_NODELIST"};
	const char *const ours = variable("CROCUTA_MASTER"), *const theirs =
								     variable("MASTER_ADDR");
	const char *const node = variable("SLURM_LAUNCH_NODE_IPADDR");
	int here = 0;
	int code = find_port(kind, launch, error);

	if (code)
		return code;
	if (ours)
		return read_master("CROCUTA_MASTER", ours, launch, error);
	if (theirs)
		return set_host(launch, "MASTER_ADDR", theirs, strlen(theirs), error);
	if (kind == OPEN_MPI) {
		code = read_number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, CR_LAUNCH_RANKS, &here, error);
		if (code || here == launch->size)
			return code ? code : set_host(launch, "MASTER_ADDR", "127.0.0.1", 9, error);
	}
	for (int i = 0; i < 3 && kind == SRUN; i++)
		if (variable(lists[i]))
			return first_host(lists[i], variable(lists[i]), launch, error);
	if (kind == SRUN && node)
		return set_host(launch, "SLURM_LAUNCH_NODE_IPADDR", node, strlen(node), error);
	return cr_fail(error, CROCUTA_EARG,
		       "environment: %s=%d, but %s is not set: where is rank 0? Give HOST:PORT",
		       launchers[kind].size, launch->size,
		       kind == TORCHRUN ? "MASTER_ADDR" : "CROCUTA_MASTER");
}

static int read_launcher(int kind, cr_launch *launch, crocuta_error *error)
{
	const launcher *names = &launchers[kind];
	const char *size = names->size;
	int code;

	/* the step's own count, which srun's options may have made another than the job's */
	if (kind == SRUN && variable("SLURM_STEP_NUM_TASKS"))
		size = "SLURM_STEP_NUM_TASKS";
	if (!variable(size) || !variable(names->rank))
		return cr_fail(error, CROCUTA_EARG, "environment: %s is set, but not %s",
			       variable(size) ? size : names->rank,
			       variable(size) ? names->rank : size);
	launch->found = 1;
	code = read_number(size, 1, CR_LAUNCH_RANKS, &launch->size, error);
	if (!code)
		code = read_number(names->rank, 0, CR_LAUNCH_RANKS - 1, &launch->rank, error);
	if (!code && launch->rank >= launch->size)
		return cr_fail(error, CROCUTA_EARG,
			       "environment: %s=%d, but %s=%d: ranks count from 0", names->rank,
			       launch->rank, size, launch->size);
	launch->local_rank = launch->rank;
	if (!code)
		code = read_number(names->local_rank, 0, CR_LAUNCH_RANKS - 1, &launch->local_rank,
				   error);
	return code || launch->size == 1 ? code : find_master(kind, launch, error);
}

int cr_launch_read(cr_launch *launch, crocuta_error *error)
{
	*launch = (cr_launch){.size = 1, .port = CR_LAUNCH_PORT};
	for (int kind = 0; kind < LAUNCHERS; kind++) {
		const launcher *names = &launchers[kind];

		if (names->needs && !variable(names->needs))
			continue;
		if (variable(names->rank) || (variable(names->size) && !names->needs))
			return read_launcher(kind, launch, error);
	}
	return 0;
}
