/* main.c - dispatch and the one exit path. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <crocuta/crocuta.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/signals.h"

static const cr_command *const commands[] = {
#define COMMAND(name) &cr_command_##name,
#include "cli/commands.def"
#undef COMMAND
	NULL};

static char *command_line;

const char *cr_command_line(void)
{
	return command_line ? command_line : "crocuta";
}

/* Descriptors 0 to 2 must be something, or an output file would become stderr. A missing stdout
 * becomes one that cannot be written: what was meant for it must not vanish with status 0. */
static void reopen_standard_files(void)
{
	static const int modes[3] = {O_RDONLY, O_RDONLY, O_RDWR};

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) != fd)
			_exit(CROCUTA_EIO);
}

static int needs_quotes(const char *word)
{
	return !*word || strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-+=./,:@%^") != strlen(word);
}

/* The command as one would type it again. */
static char *join_arguments(int argc, char **argv)
{
	size_t capacity = 16;
	char *text, *out;

	for (int i = 1; i < argc; i++)
		capacity += 4 * strlen(argv[i]) + 3;
	text = malloc(capacity);
	if (!text)
		return NULL;
	out = stpcpy(text, "crocuta");
	for (int i = 1; i < argc; i++) {
		*out++ = ' ';
		if (!needs_quotes(argv[i])) {
			out = stpcpy(out, argv[i]);
			continue;
		}
		*out++ = '\'';
		for (const char *p = argv[i]; *p; p++) {
			if (*p == '\'')
				out = stpcpy(out, "'\\''");
			else
				*out++ = *p;
		}
		*out++ = '\'';
	}
	*out = '\0';
	return text;
}

static void print_usage(FILE *stream)
{
	fprintf(stream, "Usage: crocuta COMMAND [options] [files]\n\n"
			"Long-context DNA models over genomes.\n\nCommands:\n");
	for (const cr_command *const *c = commands; *c; c++)
		fprintf(stream, "  %-10s %s\n", (*c)->name, (*c)->summary);
	fprintf(stream, "\n`crocuta COMMAND --help` explains a command; `crocuta --version` tells "
			"versions.\n");
}

static void print_version(void)
{
	printf("crocuta %s\n", crocuta_version());
	printf("htslib %s\n", crocuta_htslib_version());
	printf("backends: cpu\n");
	printf("kernels on this CPU: %s\n", crocuta_cpu_isa());
	printf("licence: MIT\n");
}

static const cr_command *find(const cr_command *const *list, const char *name)
{
	for (; *list; list++)
		if (!strcmp((*list)->name, name))
			return *list;
	return NULL;
}

static int unknown_command(const cr_command *const *list, const char *typed)
{
	const char *names[32], *near;
	int count = 0;

	for (; *list && count < 31; list++)
		names[count++] = (*list)->name;
	names[count] = NULL;
	near = cr_did_you_mean(typed, names);
	if (near)
		cr_error("unknown command \"%.80s\"; did you mean %s?", typed, near);
	else
		cr_error("unknown command \"%.80s\"; --help lists them", typed);
	return CROCUTA_EARG;
}

static int dispatch(const cr_command *command, int argc, char **argv)
{
	const cr_command *child;

	cr_messages_start(command->name);
	if (!command->children)
		return command->run(command, argc, argv);
	if (argc < 2) {
		cr_options_usage(command);
		return CROCUTA_EARG;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		cr_options_help(command);
		return 0;
	}
	child = find(command->children, argv[1]);
	return child ? child->run(child, argc - 1, argv + 1)
		     : unknown_command(command->children, argv[1]);
}

/* One line a command: its words, what it does, its arguments. */
static void dump_commands(const cr_command *const *list)
{
	for (; list && *list; list++) {
		printf("%s\t%s\t%s\n", (*list)->full_name, (*list)->summary, (*list)->synopsis);
		dump_commands((*list)->children);
	}
}

/* For tools/check-man and shell completions: `crocuta options-dump [COMMAND [SUBCOMMAND]]`, or
 * `crocuta options-dump --commands`. */
static int dump_options(int argc, char **argv)
{
	const cr_command *const *list = commands;
	const cr_command *command = NULL;

	if (argc == 2 && !strcmp(argv[1], "--commands")) {
		dump_commands(commands);
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		command = list ? find(list, argv[i]) : NULL;
		if (!command)
			return unknown_command(commands, argv[i]);
		list = command->children;
	}
	if (command && command->options) {
		cr_options_dump(command);
		return 0;
	}
	for (; list && *list; list++)
		printf("%s\n", (*list)->name);
	return 0;
}

static int run(int argc, char **argv)
{
	const cr_command *command;

	if (argc < 2) {
		print_usage(stderr);
		return CROCUTA_EARG;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		print_version();
		return 0;
	}
	if (!strcmp(argv[1], "--version-only")) {
		printf("%s+htslib-%s\n", crocuta_version(), crocuta_htslib_version());
		return 0;
	}
	if (!strcmp(argv[1], "options-dump"))
		return dump_options(argc - 1, argv + 1);
	command = find(commands, argv[1]);
	return command ? dispatch(command, argc - 1, argv + 1) : unknown_command(commands, argv[1]);
}

/* The last act is to look whether stdout took everything. */
static int close_stdout(int status)
{
	int failed = ferror(stdout), error = 0;

	errno = 0;
	if (fflush(stdout) || fclose(stdout)) {
		failed = 1;
		error = errno;
	}
	if (failed && !status) {
		cr_error("standard output: %s", strerror(error ? error : EIO));
		return CROCUTA_EIO;
	}
	return status;
}

int main(int argc, char **argv)
{
	int status;

	reopen_standard_files();
	cr_signals_install();
	command_line = join_arguments(argc, argv);
	status = run(argc, argv);
	status = close_stdout(status);
	if (status == CROCUTA_ESTOPPED)
		cr_signals_die();
	free(command_line);
	return status;
}
