/* fit.c - crocuta_fit_run: read, split, compute features, fit, measure, write. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "task/fit_internal.h"

#define HIDDEN_UNITS 64
#define POLL_SECONDS 0.2

void cr_fit_log(const cr_fit *fit, int level, const char *format, ...)
{
	char line[CR_FIT_LOG_BYTES];
	va_list list;

	if (!fit->options.log)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	fit->options.log(fit->options.user, level, line);
}

void cr_fit_where(const cr_fit *fit, const cr_example *example, char *out, size_t capacity)
{
	const cr_fit_input *input = &fit->inputs[example->input];
	const char *what = input->kind == CR_FIT_TABLE     ? ":"
			   : input->kind == CR_FIT_RECORDS ? ", record "
							   : ", region ";

	snprintf(out, capacity, "%.250s%s%lld", input->path, what, (long long)example->number);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int settle_form(cr_fit *fit)
{
	const crocuta_fit_options *o = &fit->options;

	fit->form =
		(crocuta_feature_form){.layer = o->layer < 0 ? (int)fit->info->layers : o->layer,
				       .pool = o->pool < 0 ? CROCUTA_HEAD_MEAN : o->pool,
				       .parts = o->parts ? o->parts : 1,
				       .strands = o->strands ? o->strands : CROCUTA_STRANDS_FORWARD,
				       .specials = CROCUTA_SPECIALS_NONE};
	if (fit->form.layer > fit->info->layers)
		return cr_fail(fit->error, CROCUTA_EARG,
			       "--layer %d: the model has %lld blocks, give 0 to %lld or last",
			       o->layer, (long long)fit->info->layers,
			       (long long)fit->info->layers);
	return CROCUTA_OK;
}

static int open_head(cr_fit *fit)
{
	const crocuta_head_info *head;
	crocuta_head_options how;
	int code;

	crocuta_head_options_init(&how);
	how.pool = fit->options.pool;
	code = crocuta_head_open(fit->options.head, fit->model, &how, &fit->head, fit->error);
	if (code)
		return code;
	head = crocuta_head_get_info(fit->head);
	if (head->independent || head->classes < 2)
		return cr_fail(fit->error, CROCUTA_EMODEL,
			       "head %.200s: its classes do not exclude each other, and figures of "
			       "one label a sequence have no meaning for it",
			       head->name);
	fit->form = head->form;
	return cr_head_check_letters(head, fit->options.softmask_n, fit->options.n_as_pad, fit->error);
}

static int open_fit(cr_fit *fit, const crocuta_model *model, const crocuta_fit_options *options,
		    crocuta_fit_report *report, crocuta_error *error)
{
	int code;

	memset(fit, 0, sizeof *fit);
	memset(report, 0, sizeof *report);
	fit->model = model;
	fit->info = crocuta_model_get_info(model);
	fit->options = *options;
	fit->report = report;
	fit->error = error;
	fit->background = -1;
	code = crocuta_fit_check(options, error);
	if (!code)
		code = cr_fit_check_report(options, fit->info, error);
	if (!code)
		code = options->evaluate ? open_head(fit) : settle_form(fit);
	if (!code && (options->window > fit->info->usable_length ||
		      (options->window > 0 && options->step > options->window)))
		code = cr_fail(error, CROCUTA_EARG,
			       "--window %lld, --step %lld: the model reads at most %lld bases, and a step "
			       "is no longer than the window",
			       (long long)options->window, (long long)options->step,
			       (long long)fit->info->usable_length);
	return code;
}

static void close_fit(cr_fit *fit)
{
	cr_output_free(fit->report_output);
	cr_learned_free(&fit->learned);
	cr_learned_free(&fit->baseline);
	cr_kmers_free(fit->kmers);
	cr_free(fit->probabilities);
	cr_free(fit->features);
	cr_free(fit->labels);
	cr_free(fit->row_of);
	cr_free(fit->example_of);
	cr_sequence_cache_free(fit->sequences);
	cr_reference_close(fit->reference);
	cr_free(fit->bases);
	cr_free(fit->examples);
	cr_free(fit->input_part);
	cr_free(fit->inputs);
	cr_free(fit->class_names);
	cr_contigs_free(fit->names);
	crocuta_head_close(fit->head);
}

/* ---- fitting --------------------------------------------------------------------------------- */

int cr_fit_poll(cr_fit *fit, double share, const char *contig)
{
	crocuta_progress progress = {.bases_done = (int64_t)((double)fit->report->bases * share),
				     .bases_total = fit->report->bases,
				     .contig = contig};
	double now = cr_wall_seconds();

	if (!fit->options.progress || now - fit->polled < POLL_SECONDS)
		return 0;
	fit->polled = now;
	return fit->options.progress(fit->options.user, &progress);
}

/* All vectors are there. */
static int poll_caller(void *user)
{
	return cr_fit_poll(user, 1, NULL);
}

static void log_learning(void *user, int level, const char *message)
{
	const cr_fit *fit = user;

	if (fit->options.log)
		fit->options.log(fit->options.user, level, message);
}

cr_learn_options cr_fit_learn_options(cr_fit *fit, const double *l2, int64_t l2_count)
{
	const crocuta_fit_options *o = &fit->options;

	return (cr_learn_options){
		.learner = o->kind == CROCUTA_FIT_HIDDEN ? CR_LEARN_HIDDEN : CR_LEARN_LINEAR,
		.classes = fit->classes,
		.hidden = o->hidden ? o->hidden : HIDDEN_UNITS,
		.l2 = l2,
		.l2_count = l2_count,
		.balanced = o->balanced,
		.epochs = o->epochs,
		.patience = o->patience,
		.seed = (uint64_t)o->seed,
		.calibrate = !o->no_calibrate,
		.threads = o->session.threads ? o->session.threads : crocuta_default_threads(),
		.poll = poll_caller,
		.log = log_learning,
		.user = fit};
}

/* Rows of a part of a table, dense or sparse. */
static cr_examples part_of(const cr_fit *fit, int part, cr_features all)
{
	cr_examples examples = {.features = all, .label = fit->labels + fit->first[part]};

	examples.features.rows = cr_fit_rows(fit, part);
	if (all.dense)
		examples.features.dense += fit->first[part] * all.columns;
	else
		examples.features.start += fit->first[part];
	return examples;
}

static cr_features dense_features(const cr_fit *fit)
{
	return (cr_features){.rows = fit->count, .columns = fit->width, .dense = fit->features};
}

static int fit_head(cr_fit *fit)
{
	double l2[CR_FIT_L2_MAX];
	cr_features all = dense_features(fit);
	cr_examples train = part_of(fit, CROCUTA_FIT_TRAIN, all);
	cr_examples valid = part_of(fit, CROCUTA_FIT_VALID, all);
	cr_learn_options how = cr_fit_learn_options(fit, l2, cr_fit_parse_l2(&fit->options, l2));
	int code = cr_learn(&train, &valid, &how, &fit->learned, fit->error);

	if (code)
		return code;
	fit->report->l2 = fit->learned.l2;
	fit->report->temperature = fit->learned.temperature;
	fit->report->epochs = fit->learned.epochs;
	return CROCUTA_OK;
}

/* k-mers of all rows, in order. */
static int count_kmers(cr_fit *fit)
{
	char *bases = NULL;
	int64_t longest = 1;
	int code = cr_kmers_new(fit->options.kmer, &fit->kmers, fit->error);

	for (int64_t i = 0; i < fit->count; i++)
		if (fit->examples[i].length > longest)
			longest = fit->examples[i].length;
	if (!code && !(bases = cr_calloc((size_t)longest, 1)))
		code = cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for %lld bases",
			       (long long)longest);
	for (int64_t row = 0; !code && row < fit->count; row++) {
		const cr_example *example = &fit->examples[fit->example_of[row]];

		code = cr_fit_fetch(fit, example, bases);
		if (!code)
			code = cr_kmers_add(fit->kmers, bases, example->length, fit->error);
		if (!code && poll_caller(fit))
			code = cr_fail(fit->error, CROCUTA_ESTOPPED, "stopped by the caller");
	}
	cr_free(bases);
	return code;
}

static int fit_baseline(cr_fit *fit)
{
	const crocuta_fit_options linear = {.kind = CROCUTA_FIT_LINEAR, .l2 = "auto"};
	double l2[CR_FIT_L2_MAX];
	cr_learn_options how = cr_fit_learn_options(fit, l2, cr_fit_parse_l2(&linear, l2));
	cr_examples train, valid;
	int code = count_kmers(fit);

	if (code)
		return code;
	how.learner = CR_LEARN_LINEAR;
	how.epochs = 0;
	train = part_of(fit, CROCUTA_FIT_TRAIN, cr_kmers_features(fit->kmers));
	valid = part_of(fit, CROCUTA_FIT_VALID, cr_kmers_features(fit->kmers));
	return cr_learn(&train, &valid, &how, &fit->baseline, fit->error);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int measure(cr_fit *fit, int part, crocuta_fit_metrics *out)
{
	cr_metrics metrics;
	int code = cr_measure(fit->probabilities, fit->labels + fit->first[part],
			      cr_fit_rows(fit, part), fit->classes, &metrics, fit->error);

	if (!code)
		cr_fit_copy_metrics(&metrics, out);
	return code;
}

/* Valid and test part, by the head as classify will use it. */
static int measure_head(cr_fit *fit)
{
	int code = CROCUTA_OK;

	for (int part = CROCUTA_FIT_VALID; !code && part < CROCUTA_FIT_PARTS; part++) {
		int64_t rows = cr_fit_rows(fit, part);

		if (!rows)
			continue;
		crocuta_head_apply(fit->head, fit->features + fit->first[part] * fit->width, rows,
				   fit->probabilities);
		code = measure(fit, part, &fit->report->head[part]);
	}
	return code;
}

static int measure_baseline(cr_fit *fit)
{
	int threads = cr_fit_learn_options(fit, NULL, 0).threads, code = CROCUTA_OK;

	for (int part = CROCUTA_FIT_VALID; !code && part < CROCUTA_FIT_PARTS; part++) {
		cr_examples examples = part_of(fit, part, cr_kmers_features(fit->kmers));

		if (!examples.features.rows)
			continue;
		code = cr_learned_apply(&fit->baseline, &examples.features, threads,
					fit->probabilities, fit->error);
		if (!code)
			code = measure(fit, part, &fit->report->baseline[part]);
	}
	return code;
}

/* ---- the head -------------------------------------------------------------------------------- */

/* Length of the training sequences when all have the same, else 0. */
static int64_t common_length(const cr_fit *fit)
{
	int64_t length = 0;

	for (int64_t i = 0; i < fit->count; i++) {
		if (fit->examples[i].part != CROCUTA_FIT_TRAIN)
			continue;
		if (length && fit->examples[i].length != length)
			return 0;
		length = fit->examples[i].length;
	}
	return length;
}

static cr_head_spec describe_head(const cr_fit *fit)
{
	const crocuta_fit_options *o = &fit->options;

	return (cr_head_spec){.backbone_name = fit->info->name,
			      .backbone_sha256 = fit->info->sha256,
			      .form = fit->form,
			      .features = fit->width,
			      .hidden = fit->learned.hidden,
			      .classes = fit->classes,
			      .class_names = fit->class_names,
			      .background = fit->background,
			      .window = o->window < 0 ? common_length(fit) : o->window,
			      .step = o->step,
			      .scan_both = !o->scan_forward,
			      .says_reading = 1,
			      .filter_shift = fit->info->filter_shift,
			      .softmask_n = o->softmask_n != 0,
			      .n_as_pad = o->n_as_pad != 0,
			      .hidden_weight = fit->learned.hidden_weight,
			      .hidden_bias = fit->learned.hidden_bias,
			      .output_weight = fit->learned.output_weight,
			      .output_bias = fit->learned.output_bias};
}

static int learn_and_measure(cr_fit *fit)
{
	double begun = cr_wall_seconds();
	cr_head_spec spec;
	int code = CROCUTA_OK;

	fit->probabilities =
		cr_calloc((size_t)fit->count * (size_t)fit->classes, sizeof *fit->probabilities);
	if (!fit->probabilities)
		return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for probabilities");
	if (!fit->options.evaluate) {
		code = fit_head(fit);
		spec = describe_head(fit);
		if (!code)
			code = cr_head_new(&spec, &fit->head, fit->error);
	}
	if (!code)
		code = measure_head(fit);
	if (!code && !fit->options.evaluate && fit->options.kmer)
		code = fit_baseline(fit);
	if (!code && fit->kmers)
		code = measure_baseline(fit);
	fit->report->fit_seconds = cr_wall_seconds() - begun;
	return code;
}

static int write_head(cr_fit *fit)
{
	cr_head_spec spec = describe_head(fit);
	json_t *training = cr_fit_training(fit, 0);
	int code;

	if (!training)
		return cr_fail(fit->error, CROCUTA_EMEMORY, "no memory for head.json");
	spec.training = training;
	code = cr_head_write(fit->options.output, &spec, fit->options.force, fit->error);
	json_decref(training);
	return code;
}

static int run(cr_fit *fit)
{
	double begun = cr_wall_seconds();
	int code = cr_fit_read(fit);

	if (!code)
		code = cr_fit_split(fit);
	if (code)
		return code;
	fit->report->classes = fit->classes;
	fit->width = cr_head_features(&fit->form, fit->info->width);
	fit->report->features = fit->width;
	for (int64_t i = 0; i < fit->count; i++)
		fit->report->bases += fit->examples[i].length;
	fit->report->prepare_seconds = cr_wall_seconds() - begun;
	code = cr_fit_make_features(fit);
	if (!code && fit->reference)
		code = cr_reference_unchanged(fit->reference, fit->error);
	if (!code)
		code = learn_and_measure(fit);
	if (!code)
		code = cr_fit_prepare_report(fit);
	if (!code && !fit->options.evaluate)
		code = write_head(fit);
	return code ? code : cr_fit_commit_report(fit);
}

int crocuta_fit_run(const crocuta_model *model, const crocuta_fit_options *options,
		    crocuta_fit_report *report, crocuta_error *error)
{
	crocuta_error own = {0};
	cr_fit fit;
	int code;

	error = error ? error : &own;
	code = open_fit(&fit, model, options, report, error);
	if (!code)
		code = run(&fit);
	close_fit(&fit);
	return code;
}
