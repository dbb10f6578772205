/* print.h - facts on stdout or into a file, as `key<TAB>value` lines or as one JSON object. */
#ifndef CR_CLI_PRINT_H
#define CR_CLI_PRINT_H

#include <stdint.h>
#include <stdio.h>

#include <crocuta/session.h>

typedef struct cr_print {
	FILE *out;
	int json;
	int entries; /* printed so far, of this object */
	int inside;  /* an object in the object */
} cr_print;

void cr_print_start(cr_print *print, int json);

/* As JSON, to a file; only there are objects in the object, one level deep. */
void cr_print_start_to(cr_print *print, FILE *out);
void cr_print_open_object(cr_print *print, const char *key);
void cr_print_close_object(cr_print *print);

void cr_print_text(cr_print *print, const char *key, const char *value); /* NULL: null or "-" */
void cr_print_integer(cr_print *print, const char *key, int64_t value);  /* < 0: unknown */
void cr_print_real(cr_print *print, const char *key, double value);
void cr_print_yes_no(cr_print *print, const char *key, int value);
void cr_print_session_plan(cr_print *print, const crocuta_plan *plan);
void cr_print_finish(cr_print *print);

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void cr_print_json_string(const char *text);

#endif
