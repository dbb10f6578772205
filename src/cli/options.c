/* options.c - parsing from the table of a command; see options.h. */
#define _GNU_SOURCE
#include "cli/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/error.h>

#include "cli/messages.h"

#define HELP_VALUE 1000
#define FIRST_VALUE 1001

static int table_size(const cr_option *options)
{
	int count = 0;

	while (options[count].name)
		count++;
	return count;
}

/* "-m/--model" or "--window" */
static const char *spell(const cr_option *option, char *text, size_t capacity)
{
	if (option->letter)
		snprintf(text, capacity, "-%c/--%s", option->letter, option->name);
	else
		snprintf(text, capacity, "--%s", option->name);
	return text;
}

static int bad_choice(const cr_option *option, const char *value)
{
	char name[64], list[400] = "";
	size_t used = 0;

	for (const cr_choice *c = option->choices; c->name && used < sizeof list; c++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
					 c == option->choices ? ""
					 : c[1].name          ? ", "
							      : " or ",
					 c->name);
	cr_error("%s \"%.80s\": give %s", spell(option, name, sizeof name), value, list);
	return CROCUTA_EARG;
}

static int store_choice(const cr_option *option, const char *value, void *place)
{
	for (const cr_choice *c = option->choices; c->name; c++) {
		if (strcmp(c->name, value))
			continue;
		if (option->kind == CR_OPTION_CHOICE)
			*(int *)place = c->value;
		else
			*(const char **)place = c->name;
		return CR_PARSE_GO_ON;
	}
	return bad_choice(option, value);
}

static int bad_number(const cr_option *option, const char *value)
{
	char name[64], range[120] = "", word[40] = "";
	const char *kind = option->kind == CR_OPTION_REAL ? "a number" : "a whole number";

	if (option->min || option->max) {
		if (option->max >= INT32_MAX)
			snprintf(range, sizeof range, " of at least %lld", (long long)option->min);
		else
			snprintf(range, sizeof range, " from %lld to %lld", (long long)option->min,
				 (long long)option->max);
	}
	if (option->word)
		snprintf(word, sizeof word, " or \"%s\"", option->word);
	cr_error("%s \"%.80s\": give %s%s%s", spell(option, name, sizeof name), value, kind, range,
		 word);
	return CROCUTA_EARG;
}

static int store_number(const cr_option *option, const char *value, void *place)
{
	int limited = option->min || option->max;
	int64_t number = 0;
	double real = 0;

	if (option->kind == CR_OPTION_REAL) {
		if (cr_option_real(value, &real) ||
		    (limited && (real < (double)option->min || real > (double)option->max)))
			return bad_number(option, value);
		*(double *)place = real;
		return CR_PARSE_GO_ON;
	}
	if (option->word && !strcmp(value, option->word))
		number = option->word_value;
	else if (cr_option_integer(value, &number) ||
		 (limited && (number < option->min || number > option->max)))
		return bad_number(option, value);
	if (option->kind == CR_OPTION_INT)
		*(int *)place = (int)number;
	else
		*(int64_t *)place = number;
	return CR_PARSE_GO_ON;
}

/* "2/8" */
static int store_part(const cr_option *option, const char *value, int part[2])
{
	const char *slash = strchr(value, '/');
	int64_t number = 0, count = 0;
	char first[24], name[64];

	if (slash && slash - value < (ptrdiff_t)sizeof first) {
		snprintf(first, sizeof first, "%.*s", (int)(slash - value), value);
		if (!cr_option_integer(first, &number) && !cr_option_integer(slash + 1, &count) &&
		    number >= 1 && number <= count && count <= option->max) {
			part[0] = (int)number;
			part[1] = (int)count;
			return CR_PARSE_GO_ON;
		}
	}
	cr_error("%s \"%.80s\": give K/N, part K of N, such as 1/8",
		 spell(option, name, sizeof name), value);
	return CROCUTA_EARG;
}

static int store_next(const cr_option *option, const char *value, cr_texts *texts)
{
	if (texts->count == CR_TEXTS_MAX) {
		cr_error("--%s is given more than %d times", option->name, CR_TEXTS_MAX);
		return CROCUTA_EARG;
	}
	texts->list[texts->count++] = value;
	return CR_PARSE_GO_ON;
}

static int store(const cr_option *option, const char *value, void *settings)
{
	void *place = (char *)settings + option->offset;
	char name[64];

	switch (option->kind) {
	case CR_OPTION_FLAG:
		*(int *)place = 1;
		return CR_PARSE_GO_ON;
	case CR_OPTION_TEXT:
	case CR_OPTION_TEXTS:
		if (!*value) {
			cr_error("%s is empty: give %s", spell(option, name, sizeof name),
				 option->argument);
			return CROCUTA_EARG;
		}
		if (option->kind == CR_OPTION_TEXTS)
			return store_next(option, value, place);
		*(const char **)place = value;
		return CR_PARSE_GO_ON;
	case CR_OPTION_MAYBE_WORD: /* bcftools also takes -W=csi */
		value = !value ? option->word : value + (*value == '=');
		return store_choice(option, value, place);
	case CR_OPTION_CHOICE:
	case CR_OPTION_WORD:
		return store_choice(option, value, place);
	case CR_OPTION_PART:
		return store_part(option, value, place);
	case CR_OPTION_DURATION:
		if (!cr_option_duration(value, place))
			return CR_PARSE_GO_ON;
		cr_error("%s: \"%.80s\" is no time: give seconds, 15m, 2h, 1d, HH:MM:SS or D-HH:MM:SS",
			 spell(option, name, sizeof name), value);
		return CROCUTA_EARG;
	default:
		return store_number(option, value, place);
	}
}

/* getopt_long gave '?' for the word `typed`: say why. */
static int bad_option(const cr_command *command, const char *typed)
{
	const char *names[CR_OPTIONS_MAX + 2], *near;
	char word[64], candidates[300] = "";
	size_t length, used = 0;
	int count = 0, matches = 0;

	if (strncmp(typed, "--", 2)) {
		cr_error("unknown option -%c; `crocuta %s --help` lists them", optopt,
			 command->full_name);
		return CROCUTA_EARG;
	}
	typed += 2;
	length = strcspn(typed, "=");
	snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), typed);
	for (const cr_option *o = command->options; o->name; o++) {
		names[count++] = o->name;
		if (!strcmp(o->name, word)) {
			cr_error("--%s takes no value", word);
			return CROCUTA_EARG;
		}
		if (strncmp(o->name, word, strlen(word)) || used >= sizeof candidates)
			continue;
		used += (size_t)snprintf(candidates + used, sizeof candidates - used, "%s--%s",
					 matches++ ? ", " : "", o->name);
	}
	names[count++] = "help";
	names[count] = NULL;
	if (matches > 1) {
		cr_error("option --%s is ambiguous: %s", word, candidates);
		return CROCUTA_EARG;
	}
	near = cr_did_you_mean(word, names);
	if (near)
		cr_error("unknown option --%s; did you mean --%s?", word, near);
	else
		cr_error("unknown option --%s; `crocuta %s --help` lists them", word,
			 command->full_name);
	return CROCUTA_EARG;
}

/* As getopt_long says it, which are also the colons after a letter. */
static int argument_kind(const cr_option *option)
{
	return !option->argument                      ? no_argument
	       : option->kind == CR_OPTION_MAYBE_WORD ? optional_argument
						      : required_argument;
}

static void make_tables(const cr_option *options, int count, struct option *longs, char *shorts)
{
	*shorts++ = ':';
	*shorts++ = 'h';
	for (int i = 0; i < count; i++) {
		longs[i].name = options[i].name;
		longs[i].has_arg = argument_kind(options + i);
		longs[i].flag = NULL;
		longs[i].val = FIRST_VALUE + i;
		if (!options[i].letter)
			continue;
		*shorts++ = options[i].letter;
		for (int colons = argument_kind(options + i); colons; colons--)
			*shorts++ = ':';
	}
	*shorts = '\0';
	longs[count] = (struct option){"help", no_argument, NULL, HELP_VALUE};
	longs[count + 1] = (struct option){NULL, 0, NULL, 0};
}

static const cr_option *find_option(const cr_option *options, int value)
{
	if (value >= FIRST_VALUE)
		return options + (value - FIRST_VALUE);
	for (; options->name; options++)
		if (options->letter && options->letter == value)
			return options;
	return NULL;
}

int cr_options_parse(const cr_command *command, void *settings, int argc, char **argv,
		     int max_operands, cr_operands *operands)
{
	struct option longs[CR_OPTIONS_MAX + 2];
	char shorts[3 * CR_OPTIONS_MAX + 3], name[64];
	int seen[CR_OPTIONS_MAX] = {0};
	int count = table_size(command->options), value, status;

	make_tables(command->options, count, longs, shorts);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const cr_option *option;

		if (value == 'h' || value == HELP_VALUE) {
			cr_options_help(command);
			return 0;
		}
		if (value == '?')
			return bad_option(command, argv[optind - 1]);
		if (value == ':') {
			option = find_option(command->options, optopt);
			cr_error("%s needs a value: %s", spell(option, name, sizeof name),
				 option->argument);
			return CROCUTA_EARG;
		}
		option = find_option(command->options, value);
		if (seen[option - command->options]++ && option->kind != CR_OPTION_TEXTS) {
			cr_error("%s is given twice", spell(option, name, sizeof name));
			return CROCUTA_EARG;
		}
		status = store(option, optarg, settings);
		if (status != CR_PARSE_GO_ON)
			return status;
	}
	operands->count = argc - optind;
	operands->list = argv + optind;
	if (operands->count > max_operands) {
		cr_error("stray argument \"%.200s\"", operands->list[max_operands]);
		return CROCUTA_EARG;
	}
	return CR_PARSE_GO_ON;
}
