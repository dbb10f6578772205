/* options.h - one static table a command gives parsing, --help and the dump that tools/check-man
 * and shell completions read. A value lands in the command's settings structure at `offset`. */
#ifndef CR_CLI_OPTIONS_H
#define CR_CLI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define CR_OPTIONS_MAX 80

enum cr_option_group {
	CR_GROUP_INPUT,
	CR_GROUP_MODEL,
	CR_GROUP_OUTPUT,
	CR_GROUP_RESOURCES,
	CR_GROUP_COUNT
};

enum cr_option_kind {
	CR_OPTION_FLAG,       /* int, set to 1 */
	CR_OPTION_TEXT,       /* const char * */
	CR_OPTION_TEXTS,      /* cr_texts; may be given several times */
	CR_OPTION_CHOICE,     /* int, the value of one of `choices` */
	CR_OPTION_WORD,       /* const char *, one of `choices` */
	CR_OPTION_MAYBE_WORD, /* the same, but --name alone is allowed and means `word` */
	CR_OPTION_INTEGER,    /* int64_t in [min, max]; k M G Ki Mi Gi understood */
	CR_OPTION_INT,        /* int in [min, max] */
	CR_OPTION_REAL,       /* double in [min, max] */
	CR_OPTION_DURATION,   /* double, seconds: 90, 90s, 15m, 2h, 1d, MM:SS, HH:MM:SS, D-HH:MM:SS */
	CR_OPTION_PART        /* int[2], K and N of "K/N" with 1 <= K <= N <= max */
};

#define CR_TEXTS_MAX 2000

/* Values of an option in the order given, NULL-terminated. */
typedef struct cr_texts {
	const char *list[CR_TEXTS_MAX + 1];
	int count;
} cr_texts;

typedef struct cr_choice {
	const char *name; /* NULL ends the list */
	int value;
} cr_choice;

typedef struct cr_option {
	const char *name; /* long name; NULL ends the table */
	char letter;      /* short name or 0 */
	enum cr_option_group group;
	enum cr_option_kind kind;
	size_t offset;
	const char *argument; /* how help calls the value, "FILE"; NULL for a flag */
	const char *help;     /* one sentence without a full stop */
	const char *standard; /* the default as shown in help, or NULL */
	const cr_choice *choices;
	const char *word; /* a word accepted in place of a number, such as "auto", or NULL */
	int64_t word_value;
	int64_t min, max; /* of numbers; both 0: no limits but those of the type */
} cr_option;

typedef struct cr_command cr_command;
struct cr_command {
	const char *name;      /* "embed", "show" */
	const char *full_name; /* as typed after crocuta: "model show" */
	const char *summary;   /* one line for the list of commands */
	const char *synopsis;  /* "[options] ref.fa|reads.bam|-" */
	const char *details;   /* paragraph under the usage line in --help, or NULL */
	const char *footer;    /* examples at the end of --help, or NULL */
	const cr_option *options;
	int (*run)(const cr_command *command, int argc, char **argv); /* gives the exit status */
	const cr_command *const *children; /* subcommands, NULL-terminated, instead of run */
};

/* Rows of an option table for a settings structure with int fields `verbosity` and `quiet`. */
#define CR_MESSAGE_OPTIONS(settings)                                                               \
	{.name = "verbosity",                                                                      \
	 .letter = 'v',                                                                            \
	 .group = CR_GROUP_RESOURCES,                                                              \
	 .kind = CR_OPTION_INT,                                                                    \
	 .offset = offsetof(settings, verbosity),                                                  \
	 .argument = "N",                                                                          \
	 .help = "0 nothing, 1 errors, 2 notices, 3 warnings, 4 details, 5 debugging",             \
	 .standard = "3",                                                                          \
	 .min = 0,                                                                                 \
	 .max = 5},                                                                                \
	{                                                                                          \
		.name = "quiet", .letter = 'q', .group = CR_GROUP_RESOURCES,                       \
		.kind = CR_OPTION_FLAG, .offset = offsetof(settings, quiet),                       \
		.help = "errors only, as -v 1"                                                     \
	}

/* Arguments that are not options, in order. */
typedef struct cr_operands {
	int count;
	char **list;
} cr_operands;

#define CR_PARSE_GO_ON (-1)

/* Fill `settings` from argv (argv[0] is the command's name). CR_PARSE_GO_ON, or the exit status:
 * 0 after --help, 2 after a mistake, which is then already reported. At most max_operands
 * operands are accepted. */
int cr_options_parse(const cr_command *command, void *settings, int argc, char **argv,
		     int max_operands, cr_operands *operands);

/* Long help on stdout. */
void cr_options_help(const cr_command *command);

/* Two lines of usage on stderr. */
void cr_options_usage(const cr_command *command);

/* One line an option, tab-separated: long name, letter, argument, default, group, help; how often it
 * takes a value (- never, 1 once, ? it may be left out, * each time it is given), what the value is (word,
 * number, file, dir, model, input: FILE or CLASS=FILE, text), the words that it may be. */
void cr_options_dump(const cr_command *command);

/* Strict numbers: an optional minus, digits, an optional fraction when a suffix makes it whole,
 * k M G (10^3 ...) or Ki Mi Gi (2^10 ...). 0 or -1. */
int cr_option_integer(const char *text, int64_t *value);
int cr_option_real(const char *text, double *value);
int cr_option_duration(const char *text, double *seconds);

/* The nearest of `names` (NULL-terminated) to a mistyped one, or NULL when none is near. */
const char *cr_did_you_mean(const char *typed, const char *const *names);

#endif
