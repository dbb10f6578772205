/* head_tensors.c - heads that are tensors of a model: score.weight of the Hugging Face classes, the
 * decoder of the original code.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/head_internal.h"

/* A label as a class name: what the format does not allow becomes "_". NULL without memory. */
static char *clean_name(const char *label)
{
	char *name = cr_strdup(label);
	size_t length = name ? strlen(name) : 0;

	if (length > CR_HEAD_CLASS_NAME_MAX)
		name[CR_HEAD_CLASS_NAME_MAX] = '\0';
	for (char *p = name; p && *p; p++)
		if (*p <= ' ' || *p > '~' || strchr(",\"", *p))
			*p = '_';
	return name;
}

static int are_distinct(char *const *names, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		for (int64_t j = 0; j < i; j++)
			if (!strcmp(names[i], names[j]))
				return 0;
	return 1;
}

static int fail_memory(const crocuta_model *model, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "%s: no memory to open its head", model->path);
}

/* Labels of id2label, or class0, class1 ...; the latter for all when two labels become one name. */
static int name_classes(const crocuta_model *model, const cr_config *config, crocuta_head *head,
			crocuta_error *error)
{
	json_t *labels = json_object_get(config->root, "id2label");
	int64_t classes = head->info.classes;
	int plain = 0;

	if (labels && !json_is_null(labels) && !json_is_object(labels))
		return cr_fail(error, CROCUTA_EMODEL, "%s: id2label is not a JSON object",
			       config->where);
	do {
		for (int64_t i = 0; i < classes; i++) {
			char key[24], made[32];
			json_t *label;

			snprintf(key, sizeof key, "%lld", (long long)i);
			snprintf(made, sizeof made, "class%lld", (long long)i);
			label = plain ? NULL : json_object_get(labels, key);
			if (label && !json_is_string(label))
				return cr_fail(error, CROCUTA_EMODEL,
					       "%s: id2label of %s is not a string", config->where,
					       key);
			cr_free(head->class_names[i]);
			head->class_names[i] = clean_name(
				json_string_length(label) ? json_string_value(label) : made);
			if (!head->class_names[i])
				return fail_memory(model, error);
		}
	} while (!are_distinct(head->class_names, classes) && !plain++);
	return 0;
}

/* problem_type: one class of several, or each on its own. A single number can only be the latter.
 */
static int settle_output(const cr_config *config, crocuta_head *head, crocuta_error *error)
{
	json_t *type = json_object_get(config->root, "problem_type");
	const char *name = json_string_value(type);

	head->info.independent = head->info.classes == 1;
	if (!type || json_is_null(type))
		return 0;
	if (name && !strcmp(name, "multi_label_classification"))
		head->info.independent = 1;
	else if (!name || (strcmp(name, "single_label_classification") &&
			   (strcmp(name, "regression") || head->info.classes > 1)))
		return cr_fail(error, CROCUTA_EMODEL,
			       "%s: problem_type is %s%.40s%s, expected "
			       "single_label_classification or multi_label_classification",
			       config->where, name ? "\"" : "", name ? name : "no string",
			       name ? "\"" : "");
	return 0;
}

static int check_finite(const crocuta_model *model, const char *tensor, const float *values,
			int64_t count, crocuta_error *error)
{
	for (int64_t i = 0; i < count; i++)
		if (!isfinite(values[i]))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%s: tensor \"%s\": element %lld is %s; the weights are "
				       "damaged",
				       model->path, tensor, (long long)i,
				       isnan(values[i]) ? "NaN" : "infinite");
	return 0;
}

/* weight (C, D), bias (C) or NULL. */
static int copy_weights(const crocuta_model *model, const float *weight, const float *bias,
			int allow_nan, crocuta_head *head, crocuta_error *error)
{
	int64_t classes = head->info.classes, width = model->network.width;
	const char *name = head->info.source;
	int code = cr_head_alloc_weights(head, error);

	if (code)
		return code;
	memcpy(head->output_weight, weight, (size_t)(classes * width) * sizeof *weight);
	if (bias)
		memcpy(head->output_bias, bias, (size_t)classes * sizeof *bias);
	if (allow_nan)
		return 0;
	code = check_finite(model, name, weight, classes * width, error);
	return code || !bias ? code : check_finite(model, "decoder.bias", bias, classes, error);
}

static int fill_info(const crocuta_model *model, const crocuta_head_options *options, int is_score,
		     crocuta_head *head, crocuta_error *error)
{
	crocuta_head_info *info = &head->info;
	int64_t classes = is_score ? model->network.classes : model->network.decoder_classes;

	info->source = is_score ? "score.weight" : "decoder";
	if (classes > CROCUTA_HEAD_CLASSES_MAX)
		return cr_fail(error, CROCUTA_EMODEL, "%s: %s has %lld classes, more than %d",
			       model->path, info->source, (long long)classes,
			       CROCUTA_HEAD_CLASSES_MAX);
	head->path = cr_strdup(model->path);
	head->name = cr_strdup(model->name);
	head->class_names = cr_calloc((size_t)classes, sizeof *head->class_names);
	if (!head->path || !head->name || !head->class_names)
		return fail_memory(model, error);
	memcpy(head->sha256, model->sha256, sizeof head->sha256);
	info->path = head->path;
	info->name = head->name;
	info->sha256 = head->sha256;
	info->classes = classes;
	info->class_names = (const char *const *)head->class_names;
	info->features = model->network.width;
	info->form = (crocuta_feature_form){
		.layer = (int)model->network.layers,
		.pool = is_score ? CROCUTA_HEAD_LAST : CROCUTA_HEAD_MEAN,
		.parts = 1,
		.strands = CROCUTA_STRANDS_FORWARD,
		.specials = is_score ? CROCUTA_SPECIALS_MODEL_SEP : CROCUTA_SPECIALS_NONE};
	if (options->pool != -1)
		info->form.pool = options->pool;
	if (options->specials != -1)
		info->form.specials = options->specials;
	return 0;
}

int cr_head_from_tensors(const crocuta_model *model, const crocuta_head_options *options,
			 crocuta_head *head, crocuta_error *error)
{
	const cr_network *network = &model->network;
	int is_score = network->score != NULL, code;
	cr_config config = {0};

	if (!network->score && !network->decoder)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%s: this model has no classifier head (head.json, score.weight or "
			"a decoder); name the directory of one, or make one with crocuta fit",
			model->path);
	code = fill_info(model, options, is_score, head, error);
	if (!code) /* the labels; the weights came from there as well */
		code = cr_config_open(model->path, &config, error);
	if (!code)
		code = settle_output(&config, head, error);
	if (!code)
		code = name_classes(model, &config, head, error);
	cr_config_free(&config);
	if (code)
		return code;
	return copy_weights(model, is_score ? network->score : network->decoder,
			    is_score ? NULL : network->decoder_bias, options->allow_nan_weights,
			    head, error);
}
