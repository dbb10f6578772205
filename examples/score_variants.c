/* score_variants - effects of the variants of a VCF file, by one call for the whole file.
 *
 *   score_variants REFERENCE.fa IN.vcf OUT.vcf [MODEL]
 *
 * Does what `crocuta score --no-version -f REFERENCE.fa -o OUT.vcf IN.vcf` does, byte for byte:
 * reading, windows, both strands, tags and the atomic output are the library's. Ours are the
 * conversation with the user, a Ctrl-C after which the same command goes on, and the summary.
 */
#include <signal.h>
#include <stdio.h>

#include <crocuta/crocuta.h>

/* The only thing a signal handler may safely do is to set such a flag. */
static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

/* The library never prints. Warnings and worse go where the user sees them. */
static void say(void *user, int level, const char *message)
{
	(void)user;
	if (level == CROCUTA_LOG_WARNING || level == CROCUTA_LOG_ERROR)
		fprintf(stderr, "score_variants: %s\n", message);
}

/* Called a few times a second on our thread. A nonzero return stops the run with CROCUTA_ESTOPPED.
 */
static int report_progress(void *user, const crocuta_progress *progress)
{
	(void)user;
	if (progress->bases_total > 0) /* of score these count ALTs; 0: a stream, nobody knows */
		fprintf(stderr, "%3d %%\r",
			(int)(100 * progress->bases_done / progress->bases_total));
	return stop;
}

static void print_summary(const crocuta_score_report *report)
{
	printf("%lld records, %lld alleles\n", (long long)report->records,
	       (long long)report->alleles);
	for (int status = 0; status < CROCUTA_ALLELE_STATUSES; status++)
		if (report->status[status])
			printf("%s\t%lld\t%s\n", crocuta_allele_status_name(status),
			       (long long)report->status[status], report->example[status]);
}

int main(int argc, char **argv)
{
	crocuta_error error = {0};
	crocuta_model *model = NULL;
	crocuta_score_options options;
	crocuta_score_report report;
	char path[4096];
	int code;

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: score_variants REFERENCE.fa IN.vcf OUT.vcf [MODEL]\n");
		return CROCUTA_EARG;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);

	crocuta_score_options_init(&options);
	options.reference = argv[1]; /* strings are borrowed until the run returns */
	options.input = argv[2];
	options.output = argv[3];
	options.no_version = 1;
	/* Go on behind what an earlier run of this command, stopped or killed, had finished. */
	options.journal.resume = 1;
	options.log = say;
	options.progress = report_progress;

	/* What can be wrong without a model is found before one is read. */
	code = crocuta_score_check(&options, &error);
	if (!code)
		code = crocuta_model_find(argc > 4 ? argv[4] : NULL, path, sizeof path, &error);
	if (!code)
		code = crocuta_model_open(path, NULL, &model, &error);
	if (!code)
		code = crocuta_score_run(model, &options, &report, &error);
	crocuta_model_close(model);

	if (code == CROCUTA_ESTOPPED)
		fprintf(stderr, "score_variants: stopped; the same command goes on\n");
	else if (code) /* one sentence: where, what, what to do next */
		fprintf(stderr, "score_variants: %s\n", error.message);
	else
		print_summary(&report);
	if (!code && fflush(stdout))
		code = CROCUTA_EIO;
	return code;
}
