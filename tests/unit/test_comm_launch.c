/* cr_launch_read: what launchers set, what is inconsistent. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm/control.h"

/* An environment, and what is to be read from it. */
typedef struct launch_case {
	const char *variables; /* NAME=VALUE, separated by spaces */
	int found, rank, size, local_rank, port;
	const char *host;  /* NULL: it is refused, */
	const char *words; /* with these words */
} launch_case;

static const launch_case cases[] = {
	{"", 0, 0, 1, 0, 29417, "", NULL},
	{"CROCUTA_MASTER=a:1 LOCAL_RANK=3 MASTER_ADDR=b SLURM_NTASKS=4", 0, 0, 1, 0, 29417, "",
	 NULL},
	/* ours */
	{"CROCUTA_RANK=1 CROCUTA_SIZE=2 CROCUTA_MASTER=gpu1:4000", 1, 1, 2, 1, 4000, "gpu1", NULL},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=1", 1, 0, 1, 0, 29417, "", NULL},
	{"CROCUTA_RANK=5 CROCUTA_SIZE=8 CROCUTA_LOCAL_RANK=1 CROCUTA_MASTER=[::1]:4000", 1, 5, 8, 1,
	 4000, "::1", NULL},
	{"CROCUTA_RANK=1 CROCUTA_SIZE=2 CROCUTA_MASTER=[fe80::1]", 1, 1, 2, 1, 29417, "fe80::1",
	 NULL},
	{"CROCUTA_RANK=1 CROCUTA_SIZE=2 CROCUTA_MASTER=h CROCUTA_PORT=77", 1, 1, 2, 1, 77, "h",
	 NULL},
	{"CROCUTA_RANK=1 CROCUTA_SIZE=2 MASTER_ADDR=h MASTER_PORT=78", 1, 1, 2, 1, 78, "h", NULL},
	/* ours before the others' */
	{"RANK=3 WORLD_SIZE=4 MASTER_ADDR=x CROCUTA_RANK=1 CROCUTA_SIZE=2 CROCUTA_MASTER=h:5", 1, 1,
	 2, 1, 5, "h", NULL},
	/* torchrun, whose own process may have the port */
	{"RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 MASTER_ADDR=node7 MASTER_PORT=29500", 1, 3, 4, 1, 29500,
	 "node7", NULL},
	{"RANK=3 WORLD_SIZE=4 MASTER_ADDR=node7 MASTER_PORT=29500 "
	 "TORCHELASTIC_USE_AGENT_STORE=True",
	 1, 3, 4, 3, 29501, "node7", NULL},
	{"RANK=3 WORLD_SIZE=4 MASTER_ADDR=node7 MASTER_PORT=65535 "
	 "TORCHELASTIC_USE_AGENT_STORE=True",
	 1, 3, 4, 3, 65534, "node7", NULL},
	{"RANK=3 WORLD_SIZE=4 MASTER_ADDR=n MASTER_PORT=29500 TORCHELASTIC_USE_AGENT_STORE=False",
	 1, 3, 4, 3, 29500, "n", NULL},
	{"RANK=0 WORLD_SIZE=2 MASTER_ADDR=::1 MASTER_PORT=29500 CROCUTA_PORT=99", 1, 0, 2, 0, 99,
	 "::1", NULL},
	/* Open MPI, also within a job of Slurm's */
	{"OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=2 "
	 "OMPI_COMM_WORLD_LOCAL_SIZE=4 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1",
	 1, 2, 4, 2, 29417, "127.0.0.1", NULL},
	{"OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0 "
	 "MASTER_ADDR=h2",
	 1, 2, 4, 0, 29417, "h2", NULL},
	/* srun: a step; a batch script has the numbers too */
	{"SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_LOCALID=0 SLURM_JOB_NODELIST=a", 0, 0, 1, 0, 29417,
	 "", NULL},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_LOCALID=1 "
	 "SLURM_JOB_NODELIST=gpu[03-07,11]",
	 1, 3, 4, 1, 29417, "gpu03", NULL},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=9 SLURM_STEP_NUM_TASKS=4 SLURM_LOCALID=1 "
	 "SLURM_STEP_NODELIST=r[2-3]n[10,12]-ib,z SLURM_JOB_NODELIST=a",
	 1, 3, 4, 1, 29417, "r2n10-ib", NULL},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_LOCALID=1 SLURM_JOB_NODELIST=b1,b2 "
	 "MASTER_PORT=81",
	 1, 3, 4, 1, 81, "b1", NULL},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_LAUNCH_NODE_IPADDR=10.0.0.7", 1, 3, 4,
	 3, 29417, "10.0.0.7", NULL},
	{"SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0", 1, 0, 1, 0, 29417, "",
	 NULL},

	{"CROCUTA_RANK=1", 0, 0, 0, 0, 0, NULL, "CROCUTA_RANK is set, but not CROCUTA_SIZE"},
	{"CROCUTA_SIZE=2", 0, 0, 0, 0, 0, NULL, "CROCUTA_SIZE is set, but not CROCUTA_RANK"},
	{"RANK=1", 0, 0, 0, 0, 0, NULL, "RANK is set, but not WORLD_SIZE"},
	{"WORLD_SIZE=1", 0, 0, 0, 0, 0, NULL, "WORLD_SIZE is set, but not RANK"},
	{"CROCUTA_RANK=2 CROCUTA_SIZE=2", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_RANK=2, but CROCUTA_SIZE=2: ranks count from 0"},
	{"CROCUTA_RANK=-1 CROCUTA_SIZE=2", 0, 0, 0, 0, 0, NULL, "CROCUTA_RANK=-1 is not a number"},
	{"CROCUTA_RANK=1x CROCUTA_SIZE=2", 0, 0, 0, 0, 0, NULL, "CROCUTA_RANK=1x is not a number"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=0", 0, 0, 0, 0, 0, NULL, "CROCUTA_SIZE=0 is not a number"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=99999999999999999999", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_SIZE=9999"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=4097", 0, 0, 0, 0, 0, NULL, "from 1 to 4096"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_LOCAL_RANK=a", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_LOCAL_RANK=a"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2", 0, 0, 0, 0, 0, NULL, "CROCUTA_MASTER is not set"},
	{"RANK=0 WORLD_SIZE=2", 0, 0, 0, 0, 0, NULL, "MASTER_ADDR is not set"},
	{"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=65536", 0, 0, 0, 0, 0, NULL,
	 "MASTER_PORT=65536"},
	{"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a CROCUTA_PORT=0", 0, 0, 0, 0, 0, NULL, "CROCUTA_PORT=0"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=h:0", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_MASTER=h:0"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=h:", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_MASTER=h:"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=:80", 0, 0, 0, 0, 0, NULL, "names no host"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=::1", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_MASTER=::1 is not HOST:PORT"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=[::1", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_MASTER=[::1 is not"},
	{"CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=[::1]x", 0, 0, 0, 0, 0, NULL,
	 "CROCUTA_MASTER=[::1]x is not"},
	{"OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_SIZE=2", 0, 0, 0, 0,
	 0, NULL, "CROCUTA_MASTER is not set"},
	{"OMPI_COMM_WORLD_RANK=2", 0, 0, 0, 0, 0, NULL, "not OMPI_COMM_WORLD_SIZE"},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3", 0, 0, 0, 0, 0, NULL, "not SLURM_NTASKS"},
	{"SLURM_STEP_ID=0 SLURM_PROCID=4 SLURM_NTASKS=4", 0, 0, 0, 0, 0, NULL, "SLURM_PROCID=4"},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_JOB_NODELIST=a[1-2", 0, 0, 0, 0, 0,
	 NULL, "SLURM_JOB_NODELIST=a[1-2 has no ]"},
	{"SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_JOB_NODELIST=,a", 0, 0, 0, 0, 0, NULL,
	 "SLURM_JOB_NODELIST= names no host"},
};

/* Set, or unset, what a list says. */
static void change_variables(const char *list, int set)
{
	char text[500], *rest = NULL;

	assert_true(strlen(list) < sizeof text);
	strcpy(text, list);
	for (char *item = strtok_r(text, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(item, '=');

		*value++ = '\0';
		assert_int_equal(set ? setenv(item, value, 1) : unsetenv(item), 0);
	}
}

/* Of all variables of all cases only these; the rest of the environment is the test runner's. */
static void set_variables(const char *list)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		change_variables(cases[i].variables, 0);
	change_variables(list, 1);
}

static void test_environments(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const launch_case *c = &cases[i];
		crocuta_error error = {0};
		cr_launch launch;
		int code;

		memset(&launch, 0x5a, sizeof launch);
		set_variables(c->variables);
		code = cr_launch_read(&launch, &error);
		if (!c->host) {
			if (code != CROCUTA_EARG || !strstr(error.message, c->words))
				fail_msg("%s: %d, %s", c->variables, code, error.message);
			continue;
		}
		if (code)
			fail_msg("%s: %s", c->variables, error.message);
		if (launch.found != c->found || launch.rank != c->rank || launch.size != c->size ||
		    launch.local_rank != c->local_rank || launch.port != c->port ||
		    strcmp(launch.host, c->host) != 0)
			fail_msg("%s: found %d, rank %d of %d, local %d, host '%s', port %d",
				 c->variables, launch.found, launch.rank, launch.size,
				 launch.local_rank, launch.host, launch.port);
	}
}

static void test_long_names(void **state)
{
	char name[600];
	crocuta_error error = {0};
	cr_launch launch;

	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		set_variables("SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2");
		memset(name, 'a', sizeof name);
		name[sizeof name - 1] = '\0';
		name[3] = kind ? '[' : 'a';
		setenv(kind ? "SLURM_JOB_NODELIST" : "MASTER_ADDR", name, 1);
		assert_int_equal(cr_launch_read(&launch, &error), CROCUTA_EARG);
		name[255] = '\0'; /* the longest that fits */
		name[3] = 'a';
		setenv("MASTER_ADDR", name, 1);
		error = (crocuta_error){0};
		assert_int_equal(cr_launch_read(&launch, &error), 0);
		assert_string_equal(launch.host, name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environments),
		cmocka_unit_test(test_long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
