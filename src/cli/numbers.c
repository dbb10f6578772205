/* numbers.c - strict numbers of the command line: no locale, no rounding, no trailing text. */
#include "cli/options.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int suffix_factor(const char *suffix, int64_t *factor)
{
	static const struct {
		const char *name;
		int64_t factor;
	} known[] = {
		{"", 1},
		{"k", 1000},
		{"K", 1000},
		{"M", 1000000},
		{"G", 1000000000},
		{"T", 1000000000000},
		{"Ki", (int64_t)1 << 10},
		{"ki", (int64_t)1 << 10},
		{"Mi", (int64_t)1 << 20},
		{"Gi", (int64_t)1 << 30},
		{"Ti", (int64_t)1 << 40},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!strcmp(suffix, known[i].name)) {
			*factor = known[i].factor;
			return 0;
		}
	}
	return -1;
}

int cr_option_integer(const char *text, int64_t *value)
{
	int negative = *text == '-', fraction_digits = 0;
	int64_t whole = 0, fraction = 0, scale = 1, factor, product;

	text += negative;
	if (!isdigit((unsigned char)*text))
		return -1;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *text - '0', &whole))
			return -1;
	if (*text == '.') {
		for (text++; isdigit((unsigned char)*text); text++) {
			if (++fraction_digits > 12)
				return -1;
			fraction = fraction * 10 + (*text - '0');
			scale *= 10;
		}
		if (!fraction_digits)
			return -1;
	}
	if (suffix_factor(text, &factor))
		return -1;
	if (__builtin_mul_overflow(fraction, factor, &product) || product % scale)
		return -1;
	if (__builtin_mul_overflow(whole, factor, &whole) ||
	    __builtin_add_overflow(whole, product / scale, &whole))
		return -1;
	*value = negative ? -whole : whole;
	return 0;
}

int cr_option_real(const char *text, double *value)
{
	char *end;

	if (!*text || isspace((unsigned char)*text) || strpbrk(text, "xXnNiI"))
		return -1;
	*value = strtod(text, &end);
	return *end || !isfinite(*value) ? -1 : 0;
}

/* A whole number; the text moves behind it. */
static int read_digits(const char **text, double *value)
{
	size_t digits = strspn(*text, "0123456789");

	if (!digits || digits > 9)
		return -1;
	*value = strtod(*text, NULL);
	*text += digits;
	return 0;
}

/* MM:SS, HH:MM:SS, or with days D-HH, D-HH:MM, D-HH:MM:SS, as Slurm writes times. */
static int clock_time(const char *text, double *seconds)
{
	const int with_days = strchr(text, '-') != NULL;
	double days = 0, part[3] = {0};
	int parts = 0;

	if (with_days && (read_digits(&text, &days) || *text++ != '-'))
		return -1;
	for (;; text++) {
		if (parts == 3 || read_digits(&text, &part[parts]) || (parts && part[parts] > 59))
			return -1;
		parts++;
		if (*text != ':')
			break;
	}
	if (*text || (!with_days && parts < 2))
		return -1;
	*seconds = with_days || parts == 3 ? 86400 * days + 3600 * part[0] + 60 * part[1] + part[2]
					   : 60 * part[0] + part[1];
	return 0;
}

int cr_option_duration(const char *text, double *seconds)
{
	static const char units[] = "smhd";
	static const double factors[] = {1, 60, 3600, 86400};
	const char *rest = text, *unit;
	size_t digits = strspn(text, "0123456789.");
	char number[32];

	if (strpbrk(text, ":-"))
		return clock_time(text, seconds) || *seconds <= 0 ? -1 : 0;
	if (!digits || digits >= sizeof number)
		return -1;
	memcpy(number, text, digits);
	number[digits] = '\0';
	rest += digits;
	unit = *rest ? strchr(units, *rest) : units;
	if (!unit || (*rest && rest[1]) || cr_option_real(number, seconds))
		return -1;
	*seconds *= factors[unit - units];
	return *seconds > 0 ? 0 : -1;
}

/* Edits (insert, delete, change, swap neighbours) that turn a into b; short words only. */
static int edit_distance(const char *a, const char *b)
{
	enum { LIMIT = 40 };
	int table[LIMIT + 1][LIMIT + 1];
	int rows = (int)strlen(a), columns = (int)strlen(b);

	if (rows > LIMIT || columns > LIMIT)
		return LIMIT;
	for (int i = 0; i <= rows; i++) {
		for (int j = 0; j <= columns; j++) {
			int best;

			if (!i || !j) {
				table[i][j] = i + j;
				continue;
			}
			best = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (table[i - 1][j] + 1 < best)
				best = table[i - 1][j] + 1;
			if (table[i][j - 1] + 1 < best)
				best = table[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    table[i - 2][j - 2] + 1 < best)
				best = table[i - 2][j - 2] + 1;
			table[i][j] = best;
		}
	}
	return table[rows][columns];
}

const char *cr_did_you_mean(const char *typed, const char *const *names)
{
	int best = ((int)strlen(typed) + 1) / 3;
	const char *found = NULL;

	for (; *names; names++) {
		int distance = edit_distance(typed, *names);

		if (distance <= best && (!found || distance < best)) {
			best = distance;
			found = *names;
		}
	}
	return found;
}
