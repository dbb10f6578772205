/* embed_sequence - one vector for one DNA sequence, by the session API.
 *
 *   embed_sequence SEQUENCE [MODEL]
 *
 * Prints the mean of the sequence's vectors, tab-separated: what `crocuta embed --per-record` says
 * of a record with that sequence. A session takes tokens, not letters, and hands its results to a
 * function; here they are pooled before that, so that not a vector a base comes out but one of them
 * all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crocuta/crocuta.h>

/* What print_mean needs to know. */
struct wanted {
	int64_t length, width;
};

/* The library calls this on our thread with the finished sums. They are valid during the call only.
 */
static int print_mean(void *user, int64_t sequence, int64_t first, int64_t count,
		      const double *values)
{
	const struct wanted *wanted = user;

	(void)sequence, (void)first, (void)count; /* one sequence with one segment */
	for (int64_t i = 0; i < wanted->width; i++)
		printf("%.7g%c", values[i] / (double)wanted->length,
		       i + 1 < wanted->width ? '\t' : '\n');
	/* Anything but 0 ends the run and becomes its code: a full disk must not look like success.
	 */
	return ferror(stdout) ? CROCUTA_EIO : 0;
}

/* Letters to token ids. The model knows its own table; lower case and IUPAC letters are its
 * business. */
static uint8_t *tokens_of(const crocuta_model *model, const char *bases, size_t length)
{
	uint8_t *tokens = malloc(length);

	for (size_t i = 0; tokens && i < length; i++)
		tokens[i] = crocuta_model_token(model, bases[i]);
	return tokens;
}

static int embed(const crocuta_model *model, const char *bases, crocuta_error *error)
{
	int64_t length = (int64_t)strlen(bases);
	struct wanted wanted = {length, crocuta_model_get_info(model)->width};
	crocuta_session *session = NULL;
	crocuta_session_options options;
	int code = CROCUTA_EMEMORY;
	uint8_t *tokens = tokens_of(model, bases, (size_t)length);
	/* One segment, from the first base to the last. */
	crocuta_segments segments = {&length, 1};
	crocuta_pooling pooling = {CROCUTA_POOL_SUM, &segments, print_mean};
	/* Layer -1 is the output of the final norm; vectors, no logits. */
	crocuta_request request = {-1, 1, 0, NULL, &wanted, &pooling};
	crocuta_sequence sequence = {tokens, length, 0};

	if (!tokens)
		return code;
	/* Options are always filled by their _init first: fields of later releases then have
	 * defaults. A session allocates everything a run of max_length needs, so say how long ours
	 * is. */
	crocuta_session_options_init(&options);
	options.max_length = length;
	code = crocuta_session_new(model, &options, &session, error);
	if (!code)
		code = crocuta_session_run(session, &sequence, 1, &request, error);
	crocuta_session_free(session); /* NULL is fine */
	free(tokens);
	return code;
}

int main(int argc, char **argv)
{
	crocuta_error error = {0}; /* zeroed once: the first failure fills it */
	crocuta_model *model = NULL;
	char path[4096];
	int code;

	if (argc < 2 || argc > 3 || !*argv[1]) {
		fprintf(stderr, "usage: embed_sequence SEQUENCE [MODEL]\n");
		return CROCUTA_EARG;
	}
	/* NULL is the default model. A found path is opened in a second step: any directory will
	 * do. */
	code = crocuta_model_find(argc > 2 ? argv[2] : NULL, path, sizeof path, &error);
	if (!code)
		code = crocuta_model_open(path, NULL, &model, &error);
	if (!code)
		code = embed(model, argv[1], &error);
	crocuta_model_close(model); /* after every session made from it */
	if (!code && fflush(stdout))
		code = CROCUTA_EIO;
	if (code)
		fprintf(stderr, "embed_sequence: %s\n",
			*error.message ? error.message : crocuta_status_name(code));
	return code; /* the same table as the exit status of crocuta */
}
