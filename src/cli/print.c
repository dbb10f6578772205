/* print.c - see print.h. */
#include "cli/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 character at text, 0 when it is malformed. */
static int utf8_length(const unsigned char *text)
{
	int length = *text < 0x80   ? 1
		     : *text < 0xc2 ? 0
		     : *text < 0xe0 ? 2
		     : *text < 0xf0 ? 3
		     : *text < 0xf5 ? 4
				    : 0;

	for (int i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static void write_json_string(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	putc('"', out);
	while (*p) {
		int length = utf8_length(p);

		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
		else if (length)
			fwrite(p, 1, (size_t)length, out);
		else
			fputs("\\ufffd", out);
		p += length ? length : 1;
	}
	putc('"', out);
}

void cr_print_json_string(const char *text)
{
	write_json_string(stdout, text);
}

void cr_print_start_to(cr_print *print, FILE *out)
{
	*print = (cr_print){.out = out, .json = 1};
	putc('{', out);
}

void cr_print_start(cr_print *print, int json)
{
	*print = (cr_print){.out = stdout, .json = json};
	if (json)
		putchar('{');
}

static void print_key(cr_print *print, const char *key)
{
	if (!print->json) {
		fprintf(print->out, "%s\t", key);
		return;
	}
	fprintf(print->out, "%s\n%*s", print->entries++ ? "," : "", 2 + 2 * print->inside, "");
	write_json_string(print->out, key);
	fputs(": ", print->out);
}

static void end_value(const cr_print *print)
{
	if (!print->json)
		putc('\n', print->out);
}

void cr_print_text(cr_print *print, const char *key, const char *value)
{
	print_key(print, key);
	if (!print->json)
		fputs(value ? value : "-", print->out);
	else if (value)
		write_json_string(print->out, value);
	else
		fputs("null", print->out);
	end_value(print);
}

void cr_print_integer(cr_print *print, const char *key, int64_t value)
{
	print_key(print, key);
	if (value >= 0)
		fprintf(print->out, "%lld", (long long)value);
	else
		fputs(print->json ? "null" : "unknown", print->out);
	end_value(print);
}

void cr_print_real(cr_print *print, const char *key, double value)
{
	print_key(print, key);
	if (isfinite(value))
		fprintf(print->out, "%.9g", value);
	else
		fputs(print->json ? "null" : "unknown", print->out);
	end_value(print);
}

void cr_print_yes_no(cr_print *print, const char *key, int value)
{
	print_key(print, key);
	fputs(print->json ? (value ? "true" : "false") : (value ? "yes" : "no"), print->out);
	end_value(print);
}

void cr_print_open_object(cr_print *print, const char *key)
{
	print_key(print, key);
	putc('{', print->out);
	print->inside = 1;
	print->entries = 0;
}

void cr_print_close_object(cr_print *print)
{
	fputs(print->entries ? "\n  }" : "}", print->out);
	print->inside = 0;
	print->entries = 1;
}

void cr_print_session_plan(cr_print *print, const crocuta_plan *plan)
{
	cr_print_integer(print, "weight_bytes", plan->weight_bytes);
	cr_print_integer(print, "filter_bytes", plan->filter_bytes);
	cr_print_integer(print, "workspace_bytes", plan->workspace_bytes);
	cr_print_integer(print, "state_bytes", plan->state_bytes);
	cr_print_integer(print, "device_bytes", plan->device_bytes);
	cr_print_integer(print, "batch", plan->batch);
	cr_print_text(print, "device", plan->device);
	cr_print_integer(print, "devices", plan->devices);
	if (plan->rank_bytes) {
		cr_print_integer(print, "ranks", plan->ranks);
		cr_print_integer(print, "rank_bytes", plan->rank_bytes);
	}
	cr_print_text(print, "dtype", plan->dtype);
	cr_print_integer(print, "threads", plan->threads);
	cr_print_text(print, "isa", plan->isa);
	cr_print_text(print, "convolution", plan->convolution);
}

void cr_print_finish(cr_print *print)
{
	if (print->json)
		fputs("\n}\n", print->out);
}
