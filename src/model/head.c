/* head.c - open, close, describe and apply classifier heads. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/head_internal.h"

static const char *const pool_names[] = {"mean", "last", "max", "first", "sum"};
static const char *const special_names[] = {"none", "sep", "cls-sep", "model", "model-sep"};
static const char *const strand_names[] = {NULL, "forward", "reverse", "both", "concat"};

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static const char *name_at(const char *const *names, int count, int index)
{
	return index >= 0 && index < count ? names[index] : NULL;
}

static int find_name(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (names[i] && !strcmp(names[i], name))
			return i;
	return -1;
}

const char *cr_head_pool_name(int pool)
{
	return name_at(pool_names, COUNT(pool_names), pool);
}

const char *cr_head_specials_name(int specials)
{
	return name_at(special_names, COUNT(special_names), specials);
}

const char *cr_head_strands_name(int strands)
{
	return name_at(strand_names, COUNT(strand_names), strands);
}

int cr_head_pool_parse(const char *name)
{
	return find_name(pool_names, COUNT(pool_names), name);
}

int cr_head_specials_parse(const char *name)
{
	return find_name(special_names, COUNT(special_names), name);
}

int cr_head_strands_parse(const char *name)
{
	return find_name(strand_names, COUNT(strand_names), name);
}

int cr_head_class_name_ok(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~' || strchr(",\"", name[i]))
			return 0;
	return length >= 1 && length <= CR_HEAD_CLASS_NAME_MAX;
}

int64_t cr_head_shortest(const crocuta_feature_form *form)
{
	return (int64_t)form->parts * (form->parts - 1) + 1;
}

int64_t cr_head_features(const crocuta_feature_form *form, int64_t width)
{
	return form->parts * width * (form->strands == CROCUTA_STRANDS_CONCAT ? 2 : 1);
}

const char *cr_head_form_problem(const crocuta_feature_form *form)
{
	if (!cr_head_pool_name(form->pool) || !cr_head_specials_name(form->specials) ||
	    !cr_head_strands_name(form->strands))
		return "pool, special_tokens or strands is none that there is";
	if (form->parts < 1 || form->parts > CROCUTA_HEAD_PARTS_MAX)
		return "parts is not 1 to 64";
	if (form->parts > 1 && (form->pool == CROCUTA_HEAD_FIRST || form->pool == CROCUTA_HEAD_SUM))
		return "several parts go with pool mean, last or max";
	if (form->parts > 1 && form->specials != CROCUTA_SPECIALS_NONE)
		return "several parts go with special_tokens none";
	return NULL;
}

void crocuta_head_options_init(crocuta_head_options *options)
{
	*options = (crocuta_head_options){.pool = -1, .specials = -1};
}

crocuta_head *cr_head_alloc(void)
{
	crocuta_head *head = cr_calloc(1, sizeof *head);

	if (head) {
		head->info.background = -1;
		head->info.filter_shift = NAN;
		head->info.softmask_n = head->info.n_as_pad = -1;
	}
	return head;
}

int cr_head_alloc_weights(crocuta_head *head, crocuta_error *error)
{
	int64_t features = head->info.features, hidden = head->info.hidden;
	int64_t classes = head->info.classes;

	if (hidden) {
		head->hidden_weight = cr_floats(hidden * features);
		head->hidden_bias = cr_floats(hidden);
	}
	head->output_weight = cr_floats(classes * (hidden ? hidden : features));
	head->output_bias = cr_floats(classes);
	if ((hidden && (!head->hidden_weight || !head->hidden_bias)) || !head->output_weight ||
	    !head->output_bias)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory for its %lld x %lld weights",
			       head->path ? head->path : "the head",
			       (long long)(hidden ? hidden : classes), (long long)features);
	return 0;
}

void crocuta_head_close(crocuta_head *head)
{
	if (!head)
		return;
	for (int64_t i = 0; head->class_names && i < head->info.classes; i++)
		cr_free(head->class_names[i]);
	cr_free(head->class_names);
	cr_free(head->hidden_weight);
	cr_free(head->hidden_bias);
	cr_free(head->output_weight);
	cr_free(head->output_bias);
	cr_config_free(&head->config);
	cr_free(head->path);
	cr_free(head->name);
	cr_free(head);
}

const crocuta_head_info *crocuta_head_get_info(const crocuta_head *head)
{
	return &head->info;
}

void cr_head_spec_of(const crocuta_head *head, cr_head_spec *spec)
{
	const crocuta_head_info *info = &head->info;

	*spec = (cr_head_spec){
		.backbone_name = head->backbone_name,
		.backbone_sha256 = head->backbone_sha256,
		.form = info->form,
		.features = info->features,
		.hidden = info->hidden,
		.classes = info->classes,
		.class_names = info->class_names,
		.background = info->background,
		.independent = info->independent,
		.window = info->window,
		.step = info->step,
		.scan_both = info->scan_both,
		.says_reading = info->softmask_n >= 0,
		.filter_shift = info->filter_shift,
		.softmask_n = info->softmask_n,
		.n_as_pad = info->n_as_pad,
		.hidden_weight = head->hidden_weight,
		.hidden_bias = head->hidden_bias,
		.output_weight = head->output_weight,
		.output_bias = head->output_bias,
		.training = json_object_get(head->config.root, "training"),
	};
}

int cr_head_check_letters(const crocuta_head_info *info, int softmask_n, int n_as_pad,
			  crocuta_error *error)
{
	const char *option = NULL;
	int had = 0;

	if (info->softmask_n >= 0 && info->softmask_n != (softmask_n != 0)) {
		option = "--softmask-n";
		had = info->softmask_n;
	} else if (info->n_as_pad >= 0 && info->n_as_pad != (n_as_pad != 0)) {
		option = "--n-as-pad";
		had = info->n_as_pad;
	}
	return option ? cr_fail(error, CROCUTA_EARG, "the head \"%.100s\" was fitted %s %s: %s",
				info->name, had ? "with" : "without", option,
				had ? "give it here too" : "leave it out")
		      : 0;
}

int cr_head_beside(const crocuta_model *model, int *beside, crocuta_error *error)
{
	char *path = cr_path_join(model->path, "head.json");
	struct stat status;

	if (!path)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open its head",
			       model->path);
	/* What is there and cannot be reached is for the reader to complain about. */
	*beside = !lstat(path, &status) || (errno != ENOENT && errno != ENOTDIR);
	cr_free(path);
	return 0;
}

static int check_options(const crocuta_head_options *options, crocuta_error *error)
{
	if (options->pool != -1 && !cr_head_pool_name(options->pool))
		return cr_fail(error, CROCUTA_EARG, "the head's pool is %d: none that there is",
			       options->pool);
	if (options->specials != -1 && !cr_head_specials_name(options->specials))
		return cr_fail(error, CROCUTA_EARG,
			       "the head's special tokens are %d: none that there are",
			       options->specials);
	return 0;
}

static int read_directory(const char *directory, const crocuta_model *model,
			  const crocuta_head_options *options, crocuta_head *head,
			  crocuta_error *error)
{
	if (options->pool != -1 || options->specials != -1)
		return cr_fail(error, CROCUTA_EARG,
			       "%s: its head.json says how vectors are pooled and which special "
			       "tokens it was fitted with; these cannot be chosen",
			       directory);
	return cr_head_read(directory, model, options->allow_nan_weights, head, error);
}

static int open_head(const char *path, const crocuta_model *model,
		     const crocuta_head_options *options, crocuta_head *head, crocuta_error *error)
{
	int beside = 0, code;

	if (path && !path[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the head's directory is empty");
	if (path)
		return read_directory(path, model, options, head, error);
	code = cr_head_beside(model, &beside, error);
	if (code)
		return code;
	return beside ? read_directory(model->path, model, options, head, error)
		      : cr_head_from_tensors(model, options, head, error);
}

int crocuta_head_open(const char *path, const crocuta_model *model,
		      const crocuta_head_options *options, crocuta_head **head,
		      crocuta_error *error)
{
	crocuta_head_options defaults;
	crocuta_head *opened;
	int code;

	*head = NULL;
	crocuta_head_options_init(&defaults);
	options = options ? options : &defaults;
	code = check_options(options, error);
	if (code)
		return code;
	opened = cr_head_alloc();
	if (!opened)
		return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open its head",
			       path ? path : model->path);
	code = open_head(path, model, options, opened, error);
	if (code) {
		crocuta_head_close(opened);
		return code;
	}
	*head = opened;
	return 0;
}

/* ---- applying ---- */

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef double wide __attribute__((vector_size(32)));

/* Eight sums side by side, which are added in a fixed order. Products of floats are exact. */
static double dot_floats(const float *a, const float *b, int64_t count)
{
	wide even = {0}, odd = {0};
	double rest = 0;
	int64_t i = 0;

	for (; i + 8 <= count; i += 8) {
		const quad *x = (const quad *)(a + i), *y = (const quad *)(b + i);

		even += __builtin_convertvector(x[0], wide) * __builtin_convertvector(y[0], wide);
		odd += __builtin_convertvector(x[1], wide) * __builtin_convertvector(y[1], wide);
	}
	for (; i < count; i++)
		rest += (double)a[i] * (double)b[i];
	even += odd;
	return ((even[0] + even[2]) + (even[1] + even[3])) + rest;
}

static double gelu(double x)
{
	const double scale = 0.79788456080286535588; /* sqrt(2 / pi) */

	return 0.5 * x * (1 + tanh(scale * (x + 0.044715 * x * x * x)));
}

/* Logits (C) of one row; hidden units in runs, so that no buffer of H is needed. */
static void compute_logits(const crocuta_head *head, const float *row, double *logits)
{
	enum { RUN = 64 };
	int64_t features = head->info.features, hidden = head->info.hidden;
	int64_t classes = head->info.classes;

	for (int64_t c = 0; c < classes; c++) {
		logits[c] = (double)head->output_bias[c];
		if (!hidden)
			logits[c] += dot_floats(head->output_weight + c * features, row, features);
	}
	for (int64_t first = 0; first < hidden; first += RUN) {
		int64_t count = hidden - first < RUN ? hidden - first : RUN;
		double unit[RUN];

		for (int64_t i = 0; i < count; i++)
			unit[i] = gelu((double)head->hidden_bias[first + i] +
				       dot_floats(head->hidden_weight + (first + i) * features, row,
						  features));
		for (int64_t c = 0; c < classes; c++) {
			const float *weight = head->output_weight + c * hidden + first;
			double sum = 0;

			for (int64_t i = 0; i < count; i++)
				sum += unit[i] * (double)weight[i];
			logits[c] += sum;
		}
	}
}

static void to_sigmoid(double *values, int64_t count)
{
	for (int64_t c = 0; c < count; c++) {
		double tail = exp(-fabs(values[c])); /* never overflows */

		values[c] = values[c] < 0 ? tail / (1 + tail) : 1 / (1 + tail);
	}
}

static void to_softmax(double *values, int64_t count)
{
	double most = values[0], sum = 0;

	for (int64_t c = 1; c < count; c++)
		most = values[c] > most ? values[c] : most;
	for (int64_t c = 0; c < count; c++) {
		values[c] = exp(values[c] - most);
		sum += values[c];
	}
	for (int64_t c = 0; c < count; c++)
		values[c] /= sum;
}

static int all_finite(const float *row, int64_t count)
{
	unsigned int found = 0;

	for (int64_t i = 0; i < count; i++) {
		uint32_t bits;

		memcpy(&bits, &row[i], sizeof bits);
		found |= (bits & 0x7f800000) == 0x7f800000;
	}
	return !found;
}

void crocuta_head_apply(const crocuta_head *head, const float *features, int64_t count,
			double *probabilities)
{
	int64_t columns = head->info.features, classes = head->info.classes;

	for (int64_t i = 0; i < count; i++) {
		const float *row = features + i * columns;
		double *values = probabilities + i * classes;

		if (!all_finite(row, columns)) {
			for (int64_t c = 0; c < classes; c++)
				values[c] = NAN;
			continue;
		}
		compute_logits(head, row, values);
		if (head->info.independent)
			to_sigmoid(values, classes);
		else
			to_softmax(values, classes);
	}
}
