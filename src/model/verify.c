/* verify.c - run the known answers stored beside a model (selftest.json) on this machine.
 *
 * {"format": 1,
 *  "records": [{"sequence": "ACGT...", "loglik16": x, "hidden_first8": [8], "logits_last": [V]}],
 *  "tolerance": {"hidden": 1e-4, "loglik_relative": 1e-6, "loglik_absolute": 1e-3}}
 * loglik16: sum over n of log p(token n+1 | tokens 0..n), softmax over all V rows, in double.
 * hidden_first8: first values of the last position after the final norm. logits_last: its logits.
 */
#define _GNU_SOURCE
#include <math.h>
#include <string.h>
#include <unistd.h>

#include <crocuta/session.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/json.h"
#include "model/model_internal.h"

#define SELFTEST_BYTES_MAX ((size_t)16 << 20)
#define RECORDS_MAX 64
#define HIDDEN_VALUES 8

static const cr_json_limits selftest_limits = {
	.depth = 8,
	.nodes = 100000,
	.opens = 1000,
	.string = SELFTEST_BYTES_MAX,
	.strings = SELFTEST_BYTES_MAX,
	.space = SELFTEST_BYTES_MAX,
};

/* One record, and what the run of its sequence gave. */
struct answer {
	const crocuta_model *model;
	uint8_t *tokens; /* (length) */
	int64_t length;
	double loglik, expected_loglik;
	int64_t hidden_count, logits_count;
	const json_t *expected_hidden, *expected_logits;
	double error; /* largest |difference| so far */
};

struct limits {
	double hidden, relative, absolute;
};

static double log_softmax_at(const float *logits, int64_t classes, int64_t target)
{
	double largest = logits[0], sum = 0;

	for (int64_t i = 1; i < classes; i++)
		largest = logits[i] > largest ? logits[i] : largest;
	for (int64_t i = 0; i < classes; i++)
		sum += exp(logits[i] - largest);
	return logits[target] - largest - log(sum);
}

static void compare(struct answer *answer, const json_t *expected, const float *values)
{
	for (size_t i = 0; i < json_array_size(expected); i++) {
		double difference =
			fabs(values[i] - json_number_value(json_array_get(expected, i)));

		/* A NaN must not compare as small. */
		answer->error = difference <= answer->error ? answer->error : difference;
		if (isnan(difference))
			answer->error = INFINITY;
	}
}

static int take_rows(void *user, int64_t sequence, int64_t first, int64_t count,
		     const float *hidden, const float *logits)
{
	struct answer *answer = user;
	int64_t width = answer->model->network.width, classes = answer->model->network.vocabulary;

	(void)sequence;
	for (int64_t i = 0; i < count; i++) {
		const float *row = logits + i * classes;

		if (first + i + 1 < answer->length) {
			answer->loglik +=
				log_softmax_at(row, classes, answer->tokens[first + i + 1]);
			continue;
		}
		compare(answer, answer->expected_hidden, hidden + i * width);
		compare(answer, answer->expected_logits, row);
	}
	return 0;
}

static int fail_format(const char *where, const char *fact, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMODEL,
		       "%s: %s; the known answers of this model are malformed", where, fact);
}

/* An array of that many numbers, or NULL. */
static const json_t *number_array(const json_t *record, const char *key, int64_t count)
{
	const json_t *array = json_object_get(record, key);

	if (!json_is_array(array) || (int64_t)json_array_size(array) != count)
		return NULL;
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!json_is_number(json_array_get(array, i)))
			return NULL;
	return array;
}

/* Fill answer from a record; answer->tokens is the caller's to free. */
static int read_record(const char *where, const json_t *record, struct answer *answer,
		       crocuta_error *error)
{
	const json_t *sequence = json_object_get(record, "sequence");
	const json_t *loglik = json_object_get(record, "loglik16");
	const cr_network *network = &answer->model->network;
	const char *bases = json_string_value(sequence);
	int64_t shown = network->width < HIDDEN_VALUES ? network->width : HIDDEN_VALUES;

	if (!bases || !bases[0])
		return fail_format(where, "a record has no sequence", error);
	answer->length = (int64_t)json_string_length(sequence);
	if (answer->length > network->max_length)
		return fail_format(where, "a sequence is longer than the model's maximum", error);
	if (bases[strspn(bases, "ACGTNacgtn")])
		return fail_format(where, "a sequence holds other letters than ACGTN", error);
	answer->expected_hidden = number_array(record, "hidden_first8", shown);
	answer->expected_logits = number_array(record, "logits_last", network->vocabulary);
	if (!json_is_number(loglik) || !answer->expected_hidden || !answer->expected_logits)
		return fail_format(where,
				   "a record lacks loglik16, hidden_first8 or logits_last of "
				   "the right size",
				   error);
	answer->expected_loglik = json_number_value(loglik);
	answer->tokens = cr_calloc((size_t)answer->length, 1);
	if (!answer->tokens)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for a sequence", where);
	for (int64_t i = 0; i < answer->length; i++)
		answer->tokens[i] = crocuta_model_token(answer->model, bases[i]);
	return 0;
}

static int run_record(crocuta_session *session, const char *where, int64_t index,
		      struct answer *answer, const struct limits *limits,
		      crocuta_verify_report *report, crocuta_error *error)
{
	crocuta_sequence sequence = {.tokens = answer->tokens, .length = answer->length};
	crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = take_rows, .user = answer};
	double difference, allowed, relative;
	int code = crocuta_session_run(session, &sequence, 1, &request, error);

	if (code)
		return code;
	difference = fabs(answer->loglik - answer->expected_loglik);
	relative = difference / fmax(fabs(answer->expected_loglik), 1);
	allowed = fmax(limits->absolute, limits->relative * fabs(answer->expected_loglik));
	report->records++;
	report->hidden_error = fmax(report->hidden_error, answer->error);
	report->loglik_error = isnan(relative) ? INFINITY : fmax(report->loglik_error, relative);
	if (!(difference <= allowed))
		return cr_fail(
			error, CROCUTA_ENUMERIC,
			"%s: record %lld: log-likelihood is %.9g, expected %.9g (limit %.3g)",
			where, (long long)index, answer->loglik, answer->expected_loglik, allowed);
	if (!(answer->error <= limits->hidden))
		return cr_fail(
			error, CROCUTA_ENUMERIC,
			"%s: record %lld: a value of the last position is off by %.3g (limit "
			"%.3g)",
			where, (long long)index, answer->error, limits->hidden);
	return 0;
}

static int read_limits(const char *where, const json_t *root, struct limits *limits,
		       crocuta_error *error)
{
	const json_t *tolerance = json_object_get(root, "tolerance");
	const struct {
		const char *key;
		double *value;
	} fields[] = {{"hidden", &limits->hidden},
		      {"loglik_relative", &limits->relative},
		      {"loglik_absolute", &limits->absolute}};

	for (size_t i = 0; i < 3; i++) {
		const json_t *field = json_object_get(tolerance, fields[i].key);

		if (!field)
			continue;
		/* A tolerance that accepts everything would make the test say nothing. */
		if (!json_is_number(field) || !(json_number_value(field) > 0) ||
		    json_number_value(field) > 1)
			return fail_format(where, "a tolerance is not a number above 0, at most 1",
					   error);
		*fields[i].value = json_number_value(field);
	}
	return 0;
}

/* For 8 bits instead of 24: several times what the shipped model shows. */
static void widen(struct limits *limits)
{
	limits->hidden = fmax(limits->hidden, 0.2);
	limits->relative = fmax(limits->relative, 2e-3);
	limits->absolute = fmax(limits->absolute, 0.1);
}

static int run_records(const crocuta_model *model, const char *where, const json_t *root,
		       const crocuta_session_options *given, crocuta_verify_report *report,
		       crocuta_error *error)
{
	const json_t *records = json_object_get(root, "records");
	struct limits limits = {1e-4, 1e-6, 1e-3};
	crocuta_session_options options;
	crocuta_session *session = NULL;
	size_t count = json_array_size(records), i = 0;
	int64_t longest = 1;
	int code;

	if (json_integer_value(json_object_get(root, "format")) != 1)
		return fail_format(where, "format is not 1", error);
	if (count < 1 || count > RECORDS_MAX)
		return fail_format(where, "records is not an array of 1 to 64", error);
	code = read_limits(where, root, &limits, error);
	for (; i < count; i++) {
		int64_t length = (int64_t)json_string_length(
			json_object_get(json_array_get(records, i), "sequence"));

		longest = length > longest ? length : longest;
	}
	if (code)
		return code;
	crocuta_session_options_init(&options);
	if (given)
		options = *given;
	options.stream = 0;
	options.change_length = 0;
	if (options.dtype == CROCUTA_DTYPE_BF16)
		widen(&limits);
	report->tolerance = limits.hidden;
	options.max_length =
		longest < model->network.max_length ? longest : model->network.max_length;
	code = crocuta_session_new(model, &options, &session, error);
	if (!code) {
		report->device = crocuta_session_get_plan(session)->device;
		report->dtype = crocuta_session_get_plan(session)->dtype;
		report->isa = crocuta_session_get_plan(session)->isa;
	}
	for (i = 0; i < count && !code; i++) {
		struct answer answer = {.model = model};

		code = read_record(where, json_array_get(records, i), &answer, error);
		if (!code)
			code = run_record(session, where, (int64_t)i, &answer, &limits, report,
					  error);
		cr_free(answer.tokens);
	}
	crocuta_session_free(session);
	return code;
}

int crocuta_model_verify(const crocuta_model *model, const crocuta_session_options *options,
			 crocuta_verify_report *report, crocuta_error *error)
{
	char *path = cr_path_join(model->path, "selftest.json"), *text = NULL;
	json_t *root = NULL;
	size_t size;
	int code;

	*report = (crocuta_verify_report){0};
	if (!path)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to verify it", model->path);
	if (access(path, F_OK))
		code = cr_fail(
			error, CROCUTA_EMODEL,
			"%s: no selftest.json in this directory, so there are no known answers to "
			"verify",
			model->path);
	else
		code = cr_json_read_file(path, SELFTEST_BYTES_MAX, &text, &size, error);
	if (!code)
		code = cr_json_parse(text, size, &selftest_limits, path, &root, error);
	if (!code)
		code = run_records(model, path, root, options, report, error);
	json_decref(root);
	cr_free(text);
	cr_free(path);
	return code;
}
