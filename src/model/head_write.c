/* head_write.c - write heads as directories, or make them in memory by way of the same text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/directory_write.h"
#include "model/head_internal.h"

static const char *const file_names[] = {"head.json", "head.safetensors"};
static const cr_directory_kind kind = {
	.what = "a head", .names = file_names, .count = 2, .needed = 2};

struct tensor {
	const char *name;
	int rank;
	int64_t shape[2];
	const float *values;
};

/* In the order of the file; returns how many. */
static int list_tensors(const cr_head_spec *spec, struct tensor list[4])
{
	int count = 0;

	if (spec->hidden) {
		list[count++] = (struct tensor){
			"hidden.weight", 2, {spec->hidden, spec->features}, spec->hidden_weight};
		list[count++] =
			(struct tensor){"hidden.bias", 1, {spec->hidden, 1}, spec->hidden_bias};
	}
	list[count++] =
		(struct tensor){"output.weight",
				2,
				{spec->classes, spec->hidden ? spec->hidden : spec->features},
				spec->output_weight};
	list[count++] = (struct tensor){"output.bias", 1, {spec->classes, 1}, spec->output_bias};
	return count;
}

static int64_t count_elements(const struct tensor *tensor)
{
	return tensor->shape[0] * (tensor->rank > 1 ? tensor->shape[1] : 1);
}

static int check_names(const cr_head_spec *spec, crocuta_error *error)
{
	for (int64_t i = 0; i < spec->classes; i++) {
		if (!cr_head_class_name_ok(spec->class_names[i]))
			return cr_fail(error, CROCUTA_EARG,
				       "class \"%.120s\": a class is named by 1 to %d printable "
				       "ASCII characters without blanks, commas or double quotes",
				       spec->class_names[i], CR_HEAD_CLASS_NAME_MAX);
		for (int64_t j = 0; j < i; j++)
			if (!strcmp(spec->class_names[i], spec->class_names[j]))
				return cr_fail(error, CROCUTA_EARG, "two classes are named %s",
					       spec->class_names[i]);
	}
	return 0;
}

static int check_spec(const cr_head_spec *spec, crocuta_error *error)
{
	const char *problem = cr_head_form_problem(&spec->form);
	struct tensor list[4];
	int count;

	if (problem)
		return cr_fail(error, CROCUTA_EARG, "the head: %s", problem);
	if (spec->classes < (spec->independent ? 1 : 2) || spec->classes > CROCUTA_HEAD_CLASSES_MAX)
		return cr_fail(error, CROCUTA_EARG, "a head has %d to %d classes, not %lld",
			       spec->independent ? 1 : 2, CROCUTA_HEAD_CLASSES_MAX,
			       (long long)spec->classes);
	if (spec->features < 1 || spec->features > CR_HEAD_FEATURES_MAX)
		return cr_fail(error, CROCUTA_EARG, "a head has 1 to %d features, not %lld",
			       CR_HEAD_FEATURES_MAX, (long long)spec->features);
	if (spec->hidden < 0 || spec->hidden > CR_HEAD_HIDDEN_MAX)
		return cr_fail(error, CROCUTA_EARG, "a head has 0 to %d hidden units, not %lld",
			       CR_HEAD_HIDDEN_MAX, (long long)spec->hidden);
	if (check_names(spec, error))
		return CROCUTA_EARG;
	count = list_tensors(spec, list);
	for (int k = 0; k < count; k++)
		for (int64_t i = 0; i < count_elements(&list[k]); i++)
			if (!isfinite(list[k].values[i]))
				return cr_fail(error, CROCUTA_ENUMERIC,
					       "the head's %s: element %lld is %s", list[k].name,
					       (long long)i,
					       isnan(list[k].values[i]) ? "NaN" : "infinite");
	return 0;
}

/* A directory's name may be any bytes, JSON's text may not. NULL without memory. */
static json_t *plain_text(const char *text)
{
	char *copy = cr_strdup(text);
	json_t *value;

	for (char *p = copy; p && *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	value = copy ? json_string(copy) : NULL;
	cr_free(copy);
	return value;
}

/* The object of head.json; NULL without memory. The setters steal the value, also when they fail,
 * and refuse NULL. */
static json_t *build_json(const cr_head_spec *spec)
{
	json_t *root = json_object(), *backbone = json_object(), *classes = json_array();
	int64_t background = spec->background;
	int failed = json_object_set_new(root, "format", json_string("crocuta-head-1"));

	failed |= json_object_set_new(backbone, "name", plain_text(spec->backbone_name));
	failed |= json_object_set_new(backbone, "sha256", json_string(spec->backbone_sha256));
	failed |= json_object_set_new(root, "backbone", backbone);
	for (int64_t i = 0; i < spec->classes; i++)
		failed |= json_array_append_new(classes, json_string(spec->class_names[i]));
	failed |= json_object_set_new(root, "classes", classes);
	failed |= json_object_set_new(root, "background",
				      background < 0 ? json_null()
						     : json_string(spec->class_names[background]));
	failed |= json_object_set_new(root, "layer", json_integer(spec->form.layer));
	failed |=
		json_object_set_new(root, "pool", json_string(cr_head_pool_name(spec->form.pool)));
	failed |= json_object_set_new(root, "parts", json_integer(spec->form.parts));
	failed |= json_object_set_new(root, "strands",
				      json_string(cr_head_strands_name(spec->form.strands)));
	failed |= json_object_set_new(root, "special_tokens",
				      json_string(cr_head_specials_name(spec->form.specials)));
	failed |= json_object_set_new(root, "hidden", json_integer(spec->hidden));
	failed |= json_object_set_new(root, "output",
				      json_string(spec->independent ? "sigmoid" : "softmax"));
	failed |= json_object_set_new(root, "window", json_integer(spec->window));
	failed |= json_object_set_new(root, "step", json_integer(spec->step));
	failed |= json_object_set_new(root, "scan_strands",
				      json_string(spec->scan_both ? "both" : "forward"));
	if (spec->says_reading)
		failed |= json_object_set_new(
			root, "reading",
			json_pack("{s:f, s:b, s:b}", "filter_shift", spec->filter_shift,
				  "softmask_n", spec->softmask_n, "n_as_pad", spec->n_as_pad));
	if (spec->training)
		failed |= json_object_set_new(root, "training", json_deep_copy(spec->training));
	if (!failed)
		return root;
	json_decref(root);
	return NULL;
}

int cr_head_json(const cr_head_spec *spec, char **text, crocuta_error *error)
{
	json_t *root = build_json(spec);
	crocuta_head *probe = cr_head_alloc();
	int code;

	*text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII |
						JSON_REAL_PRECISION(9))
		     : NULL;
	json_decref(root);
	/* What this program writes it must read: limits of size and depth included. */
	code = *text && probe ? cr_head_parse(*text, strlen(*text), "head.json", probe, error)
			      : cr_fail(error, CROCUTA_EMEMORY, "no memory to write a head");
	crocuta_head_close(probe);
	if (code) {
		free(*text);
		*text = NULL;
	}
	return code;
}

static int put_weights(const cr_head_spec *spec, cr_model_file *output, crocuta_error *error)
{
	json_t *header = cr_safetensors_new_header();
	struct tensor list[4];
	int count = list_tensors(spec, list), failed = !header, code;
	int64_t end = 0;

	for (int k = 0; k < count && !failed; k++) {
		int64_t begin = end;

		end += count_elements(&list[k]) * (int64_t)sizeof(float);
		failed = cr_safetensors_describe(header, list[k].name, CR_DTYPE_F32, list[k].rank,
						 list[k].shape, begin, end);
	}
	code = failed ? cr_model_file_fail_memory(output->path, error)
		      : cr_safetensors_put_header(output, header, error);
	for (int k = 0; k < count && !code; k++)
		code = cr_model_file_put(output, list[k].values,
				     (size_t)count_elements(&list[k]) * sizeof(float), error);
	json_decref(header);
	return code;
}

int cr_head_fill(const cr_head_spec *spec, const char *directory, crocuta_error *error)
{
	cr_model_file output;
	char *text;
	int code = cr_head_json(spec, &text, error);

	if (code)
		return code;
	code = cr_model_file_open(&output, directory, "head.json", error);
	if (!code)
		code = cr_model_file_put(&output, text, strlen(text), error);
	if (!code)
		code = cr_model_file_put(&output, "\n", 1, error);
	code = cr_model_file_close(&output, code, error);
	free(text);
	if (code)
		return code;
	code = cr_model_file_open(&output, directory, "head.safetensors", error);
	if (!code)
		code = put_weights(spec, &output, error);
	return cr_model_file_close(&output, code, error);
}

static int fill_directory(void *user, const char *directory, crocuta_error *error)
{
	return cr_head_fill(user, directory, error);
}

int cr_head_write(const char *path, const cr_head_spec *spec, int force, crocuta_error *error)
{
	cr_head_spec copy = *spec;
	int code;

	if (!path[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the directory to write is empty");
	code = check_spec(spec, error);
	return code ? code
		    : cr_directory_write(path, &kind, 1, force, fill_directory, &copy, error);
}

int cr_head_check(const char *path, const crocuta_feature_form *form, int64_t window, int64_t step,
		  int force, crocuta_error *error)
{
	const char *problem = cr_head_form_problem(form);

	if (problem)
		return cr_fail(error, CROCUTA_EARG, "the head: %s", problem);
	if (window > CR_HEAD_WINDOW_MAX || step > CR_HEAD_WINDOW_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "window %lld, step %lld: a head holds at most %lld bases",
			       (long long)window, (long long)step, (long long)CR_HEAD_WINDOW_MAX);
	if (window > 0 && window < cr_head_shortest(form))
		return cr_fail(error, CROCUTA_EARG, "window %lld: %d parts need at least %lld bases",
			       (long long)window, form->parts, (long long)cr_head_shortest(form));
	if (!path[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the directory to write is empty");
	return cr_directory_check(path, &kind, 1, force, error);
}

/* SHA-256 of the file that would be written. */
static int digest_weights(const cr_head_spec *spec, char sha256[CR_DIGEST_TEXT],
			  crocuta_error *error)
{
	cr_digest digest = {0};
	cr_model_file output;
	int code = cr_model_file_open(&output, NULL, "head.safetensors", error);

	output.digest = &digest;
	if (!code)
		code = cr_digest_start(&digest, error);
	if (!code)
		code = put_weights(spec, &output, error);
	code = cr_model_file_close(&output, code, error);
	if (!code)
		code = cr_digest_finish(&digest, sha256, error);
	cr_digest_free(&digest);
	return code;
}

static int fill_new(const cr_head_spec *spec, crocuta_head *head, crocuta_error *error)
{
	struct tensor list[4];
	char *text;
	int code = cr_head_json(spec, &text, error), count = list_tensors(spec, list);

	if (code)
		return code;
	code = cr_head_parse(text, strlen(text), "head.json", head, error);
	free(text);
	if (code)
		return code;
	head->info.features = spec->features;
	code = cr_head_alloc_weights(head, error);
	if (code)
		return code;
	for (int k = 0; k < count; k++) {
		float *to = !strcmp(list[k].name, "hidden.weight") ? head->hidden_weight
			    : !strcmp(list[k].name, "hidden.bias") ? head->hidden_bias
			    : list[k].rank == 2                    ? head->output_weight
								   : head->output_bias;

		memcpy(to, list[k].values, (size_t)count_elements(&list[k]) * sizeof(float));
	}
	return digest_weights(spec, head->sha256, error);
}

int cr_head_new(const cr_head_spec *spec, crocuta_head **head, crocuta_error *error)
{
	crocuta_head *made;
	int code = check_spec(spec, error);

	*head = NULL;
	if (code)
		return code;
	made = cr_head_alloc();
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory to make a head");
	made->path = cr_strdup("");
	made->name = cr_strdup("");
	code = made->path && made->name
		       ? fill_new(spec, made, error)
		       : cr_fail(error, CROCUTA_EMEMORY, "no memory to make a head");
	if (code) {
		crocuta_head_close(made);
		return code;
	}
	made->info.path = made->path;
	made->info.name = made->name;
	made->info.source = "head.safetensors";
	made->info.sha256 = made->sha256;
	*head = made;
	return 0;
}
