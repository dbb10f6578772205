/* signals.c - see signals.h. Handlers call async-signal-safe functions only. */
#define _GNU_SOURCE
#include "cli/signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <crocuta/embed.h>

#define PATIENCE_SECONDS 8

static volatile sig_atomic_t pending;

static void die_by(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), number);
	_exit(128 + number); /* not reached unless the signal is blocked elsewhere */
}

static void on_signal(int number)
{
	if (number != SIGALRM && !pending) {
		pending = number;
		alarm(PATIENCE_SECONDS);
		return;
	}
	crocuta_outputs_abort();
	die_by(pending ? (int)pending : number);
}

void cr_signals_install(void)
{
	static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM};
	struct sigaction action, inherited;

	memset(&action, 0, sizeof action);
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
		/* what nohup or a shell's & ignores stays ignored */
		if (stops[i] != SIGALRM && !sigaction(stops[i], NULL, &inherited) &&
		    inherited.sa_handler == SIG_IGN)
			continue;
		sigaction(stops[i], &action, NULL);
	}
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_DFL);
}

int cr_signals_pending(void)
{
	return (int)pending;
}

void cr_signals_die(void)
{
	if (pending)
		die_by((int)pending);
}
