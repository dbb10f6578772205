/* likelihood - the log-likelihood of every record of a FASTA or FASTQ file, one line each.
 *
 *   likelihood FILE [MODEL]
 *
 * Prints name, bases scored, and the sum of ln p(base | bases to its left): the sum of the record's
 * values in `crocuta embed --track logprob`, for records that fit into one window. One session
 * computes all records, and no matrix of logits is kept: each block of rows is used where it is
 * made.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crocuta/crocuta.h>
#include <htslib/bgzf.h> /* the reader: crocuta stands on htslib, so crocuta.pc brings it along */
#include <htslib/kseq.h>

KSEQ_INIT(BGZF *, bgzf_read)

/* A record being scored. */
struct record {
	uint8_t *tokens;
	int64_t length, vocabulary; /* V, columns of the logits */
	double sum;                 /* in double: a float would lose digits over many bases */
};

/* Row i of the logits scores base i + 1: a causal model says what comes next. The first base has
 * nothing to its left and no score; the row of the last base predicts what is not there. */
static int add_rows(void *user, int64_t sequence, int64_t first, int64_t count, const float *hidden,
		    const float *logits)
{
	struct record *record = user;

	(void)sequence, (void)hidden;
	for (int64_t i = 0; i < count && first + i + 1 < record->length; i++) {
		const float *row = logits + i * record->vocabulary;
		double largest = row[0], sum = 0;

		for (int64_t k = 1; k < record->vocabulary; k++)
			largest = row[k] > largest ? row[k] : largest;
		for (int64_t k = 0; k < record->vocabulary; k++)
			sum += exp(row[k] - largest); /* no overflow: the largest term is 1 */
		record->sum += row[record->tokens[first + i + 1]] - largest - log(sum);
	}
	return 0;
}

static int score(crocuta_session *session, const crocuta_model *model, const kseq_t *read,
		 crocuta_error *error)
{
	struct record record = {NULL, (int64_t)read->seq.l, 0, 0};
	crocuta_sequence sequence;
	crocuta_request request = {-1, 0, 1, add_rows, &record, NULL}; /* logits, no vectors */
	int code = 0;

	record.vocabulary = crocuta_model_get_info(model)->vocabulary;
	record.tokens = malloc(read->seq.l + 1);
	if (!record.tokens)
		return CROCUTA_EMEMORY;
	for (int64_t i = 0; i < record.length; i++)
		record.tokens[i] = crocuta_model_token(model, read->seq.s[i]);
	sequence = (crocuta_sequence){record.tokens, record.length, 0};
	if (record.length > 1) /* too long a record is refused there, with a sentence */
		code = crocuta_session_run(session, &sequence, 1, &request, error);
	if (!code && printf("%s\t%lld\t%.6f\n", read->name.s,
			    (long long)(record.length > 1 ? record.length - 1 : 0), record.sum) < 0)
		code = CROCUTA_EIO;
	free(record.tokens);
	return code;
}

int main(int argc, char **argv)
{
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	crocuta_session *session = NULL;
	crocuta_session_options options;
	char path[4096];
	BGZF *file;
	kseq_t *read;
	int code, last = 0;

	if (argc < 2 || argc > 3)
		return fputs("usage: likelihood FILE [MODEL]\n", stderr), CROCUTA_EARG;
	file = bgzf_open(argv[1], "r"); /* plain files too, and - is standard input */
	if (!file) {
		fprintf(stderr, "likelihood: %s: %s\n", argv[1], strerror(errno));
		return CROCUTA_EIO;
	}
	read = kseq_init(file);
	code = read ? 0 : CROCUTA_EMEMORY;
	if (!code)
		code = crocuta_model_find(argc > 2 ? argv[2] : NULL, path, sizeof path, &error);
	if (!code)
		code = crocuta_model_open(path, NULL, &model, &error);
	if (!code) {
		/* Memory is planned once, for the longest record that may come. */
		crocuta_session_options_init(&options);
		options.max_length = crocuta_model_get_info(model)->default_window;
		code = crocuta_session_new(model, &options, &session, &error);
	}
	while (!code && (last = kseq_read(read)) >= 0)
		code = score(session, model, read, &error);
	if (!code && last < -1) /* -1 is the end of the file, less is a damaged one */
		code = CROCUTA_EINPUT;
	crocuta_session_free(session);
	crocuta_model_close(model);
	kseq_destroy(read); /* NULL is fine */
	if (bgzf_close(file) && !code)
		code = CROCUTA_EINPUT;
	if (!code && fflush(stdout))
		code = CROCUTA_EIO;
	if (code) /* the library's sentence, or the word for the code where the failure was ours */
		fprintf(stderr, "likelihood: %s\n",
			*error.message ? error.message : crocuta_status_name(code));
	return code;
}
