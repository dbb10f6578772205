/* help.c - usage, --help and the option dump, all from the command's table. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

#define TEXT_COLUMN 30
#define LINE_WIDTH 96

static const char *const group_names[CR_GROUP_COUNT] = {"Input", "Model", "Output",
							"Resources and messages"};

/* Print words from column `column` on, wrapped and indented by TEXT_COLUMN. */
static void print_wrapped(const char *text, int column)
{
	if (column >= TEXT_COLUMN) {
		putchar('\n');
		column = 0;
	}
	printf("%*s", TEXT_COLUMN - column, "");
	column = TEXT_COLUMN;
	for (int first = 1; *text; first = 0) {
		int length = (int)strcspn(text, " ");

		if (!first && column + 1 + length > LINE_WIDTH) {
			printf("\n%*s", TEXT_COLUMN, "");
			column = TEXT_COLUMN;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		printf("%.*s", length, text);
		column += length;
		text += length + (text[length] == ' ');
	}
	putchar('\n');
}

static void print_option(const cr_option *option)
{
	char text[600];
	int column = option->letter ? printf("  -%c, --%s", option->letter, option->name)
				    : printf("      --%s", option->name);

	if (option->argument)
		column += printf(option->kind == CR_OPTION_MAYBE_WORD ? "[=%s]" : " %s",
				 option->argument);
	snprintf(text, sizeof text, "%s%s%s%s", option->help, option->standard ? " [" : "",
		 option->standard ? option->standard : "", option->standard ? "]" : "");
	print_wrapped(text, column);
}

static void print_children(FILE *stream, const cr_command *command)
{
	for (const cr_command *const *child = command->children; *child; child++)
		fprintf(stream, "  %-10s %s\n", (*child)->name, (*child)->summary);
}

void cr_options_usage(const cr_command *command)
{
	fprintf(stderr, "Usage: crocuta %s %s\n", command->full_name, command->synopsis);
	if (command->children)
		print_children(stderr, command);
	fprintf(stderr, "`crocuta %s --help` explains it.\n", command->full_name);
}

void cr_options_help(const cr_command *command)
{
	printf("Usage: crocuta %s %s\n\n%s\n", command->full_name, command->synopsis,
	       command->summary);
	if (command->details)
		printf("\n%s\n", command->details);
	if (command->children) {
		printf("\nCommands:\n");
		print_children(stdout, command);
	}
	for (int group = 0; command->options && group < CR_GROUP_COUNT; group++) {
		int titled = 0;

		for (const cr_option *option = command->options; option->name; option++) {
			if (option->group != (enum cr_option_group)group)
				continue;
			if (!titled++)
				printf("\n%s:\n", group_names[group]);
			print_option(option);
		}
	}
	if (command->footer)
		printf("\n%s\n", command->footer);
}

/* What completion offers for a value: words, names of files or directories, models, or nothing. */
static const char *value_kind(const cr_option *option)
{
	static const char *const kinds[][2] = {{"FILE", "file"},
					       {"FASTA", "file"},
					       {"INPUT", "input"},
					       {"DIR", "dir"},
					       {"DIR|NAME", "model"}};

	if (!option->argument)
		return "-";
	switch (option->kind) {
	case CR_OPTION_CHOICE:
	case CR_OPTION_WORD:
	case CR_OPTION_MAYBE_WORD:
		return "word";
	case CR_OPTION_INTEGER:
	case CR_OPTION_INT:
	case CR_OPTION_REAL:
		return "number";
	default:
		for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
			if (!strcmp(option->argument, kinds[i][0]))
				return kinds[i][1];
		return "text";
	}
}

void cr_options_dump(const cr_command *command)
{
	if (!command->options)
		return;
	for (const cr_option *option = command->options; option->name; option++) {
		const cr_choice *choice = option->choices;
		int some = choice || option->word;

		printf("%s\t%c\t%s\t%s\t%s\t%s\t%s\t%s\t", option->name,
		       option->letter ? option->letter : '-',
		       option->argument ? option->argument : "-",
		       option->standard ? option->standard : "-", group_names[option->group],
		       option->help,
		       !option->argument                      ? "-"
		       : option->kind == CR_OPTION_MAYBE_WORD ? "?"
		       : option->kind == CR_OPTION_TEXTS      ? "*"
							      : "1",
		       value_kind(option));
		for (; choice && choice->name; choice++)
			printf("%s%s", choice == option->choices ? "" : " ", choice->name);
		if (!option->choices && option->word)
			printf("%s", option->word);
		printf("%s\n", some ? "" : "-");
	}
}
