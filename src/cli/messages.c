/* messages.c - see messages.h. State here is the program's, not the library's. */
#include "cli/messages.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/embed.h>

#define KINDS 32
#define SHOWN 5
#define KIND_LENGTH 120

typedef struct warning_kind {
	char key[KIND_LENGTH];
	long count;
} warning_kind;

static struct {
	const char *command;
	int verbosity;
	int live; /* a live line is on the screen */
	char error[1024]; /* the latest */
	warning_kind kinds[KINDS];
	int kind_count;
} say = {.command = "main", .verbosity = CR_VERBOSITY_DEFAULT};

void cr_messages_start(const char *command)
{
	say.command = command;
}

void cr_messages_set_verbosity(int verbosity)
{
	say.verbosity = verbosity;
}

int cr_messages_get_verbosity(void)
{
	return say.verbosity;
}

void cr_messages_live(const char *text)
{
	if (!text && !say.live)
		return;
	fprintf(stderr, "\r\033[K%s", text ? text : "");
	fflush(stderr);
	say.live = text != NULL;
}

/* One whole line; bytes that could drive a terminal are escaped. */
static void print_line(char class, const char *text)
{
	cr_messages_live(NULL);
	fprintf(stderr, "[%c::%s] ", class, say.command);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p >= 0x20 && *p < 0x7f)
			fputc(*p, stderr);
		else
			fprintf(stderr, "\\x%02x", *p);
	}
	fputc('\n', stderr);
	fflush(stderr);
}

/* The message without its numbers and quoted parts. */
static void make_key(const char *text, char key[KIND_LENGTH])
{
	size_t used = 0;
	int quoted = 0;

	for (; *text && used + 1 < KIND_LENGTH; text++) {
		if (*text == '"')
			quoted = !quoted;
		if (!quoted && !isdigit((unsigned char)*text))
			key[used++] = *text;
	}
	key[used] = '\0';
}

static int may_show(const char *text)
{
	char key[KIND_LENGTH];

	make_key(text, key);
	for (int i = 0; i < say.kind_count; i++)
		if (!strcmp(say.kinds[i].key, key))
			return ++say.kinds[i].count <= SHOWN;
	if (say.kind_count < KINDS) {
		strcpy(say.kinds[say.kind_count].key, key);
		say.kinds[say.kind_count++].count = 1;
	}
	return 1;
}

void cr_messages_finish(void)
{
	char text[KIND_LENGTH + 100];

	if (say.verbosity < CROCUTA_LOG_WARNING)
		return;
	for (int i = 0; i < say.kind_count; i++) {
		if (say.kinds[i].count <= SHOWN)
			continue;
		snprintf(text, sizeof text, "%ld warnings in all of the kind: %s",
			 say.kinds[i].count, say.kinds[i].key);
		print_line('W', text);
	}
}

void cr_messages_log(void *user, int level, const char *message)
{
	(void)user;
	if (level > say.verbosity)
		return;
	if (level == CROCUTA_LOG_WARNING && !may_show(message))
		return;
	print_line(level <= CROCUTA_LOG_ERROR     ? 'E'
		   : level == CROCUTA_LOG_WARNING ? 'W'
						  : 'M',
		   message);
}

static void say_formatted(int level, const char *format, va_list list)
{
	char text[4096];

	vsnprintf(text, sizeof text, format, list);
	cr_messages_log(NULL, level, text);
}

const char *cr_messages_error(void)
{
	return say.error;
}

void cr_error(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(say.error, sizeof say.error, format, list);
	va_end(list);
	va_start(list, format);
	say_formatted(CROCUTA_LOG_ERROR, format, list);
	va_end(list);
}

void cr_warning(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say_formatted(CROCUTA_LOG_WARNING, format, list);
	va_end(list);
}

void cr_notice(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say_formatted(CROCUTA_LOG_NOTICE, format, list);
	va_end(list);
}

int cr_report_error(const crocuta_error *error, int code)
{
	if (error->code && error->message[0])
		cr_error("%s", error->message);
	else
		cr_error("%s", crocuta_status_name(code));
	return code;
}
