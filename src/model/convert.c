/* convert.c - write a network as a model directory in the published Hugging Face layout. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "model/directory_write.h"
#include "model/head_internal.h"
#include "model/model_internal.h"

/* A head fitted on the model may lie beside it. */
static const char *const file_names[] = {"config.json", "model.safetensors", "head.json",
					 "head.safetensors"};
static const cr_directory_kind kind = {
	.what = "a model", .names = file_names, .count = 4, .needed = 2};

struct writer {
	const cr_network *network;
	const cr_write_options *options;
	cr_model_file output;
	json_t *header; /* name -> dtype, shape, data_offsets */
	int64_t offset; /* end of the last tensor in the header */
	struct {
		const float *table; /* the one asked about last; blocks often share it */
		int agrees;
	} position[2]; /* z, t */
	crocuta_error *error;
};

static int is_position_role(int role)
{
	return role == CR_ROLE_FEATURES || role == CR_ROLE_OFFSETS;
}

/* Rounding decay rates or positions would bend the filters; they stay in float32. */
static int stored_dtype(const struct writer *writer, const cr_tensor_spec *spec)
{
	return is_position_role(spec->role) || spec->role == CR_ROLE_DECAY ? CR_DTYPE_F32
									   : writer->options->dtype;
}

/* Is a stored position table the formula up to rounding, so that it can be left out? */
static int is_formula(struct writer *writer, const cr_tensor_spec *spec, int *agrees)
{
	int which = spec->role == CR_ROLE_OFFSETS;

	if (writer->position[which].table != *spec->target) {
		int code = cr_hyenadna_table_agrees(
			*spec->target, spec->role, writer->network->max_length,
			writer->network->features, &writer->position[which].agrees);

		if (code)
			return cr_model_file_fail_memory(writer->output.path, writer->error);
		writer->position[which].table = *spec->target;
	}
	*agrees = writer->position[which].agrees;
	return 0;
}

static int is_written(struct writer *writer, const cr_tensor_spec *spec, int *written)
{
	int code = 0, agrees = 1;

	*written = 1;
	if (is_position_role(spec->role)) {
		if (*spec->target && writer->options->tables == CROCUTA_TABLES_DROP)
			code = is_formula(writer, spec, &agrees);
		else
			agrees = !*spec->target;
		*written = !agrees || writer->options->tables == CROCUTA_TABLES_WRITE;
	} else if (!strcmp(spec->name, "lm_head.weight")) {
		*written = writer->options->own_lm_head;
	} else if (spec->role == CR_ROLE_HEAD) { /* a decoder without bias */
		*written = *spec->target != NULL;
	}
	return code;
}

static int64_t count_elements(const cr_tensor_spec *spec)
{
	int64_t elements = 1;

	for (int i = 0; i < spec->rank; i++)
		elements *= spec->shape[i];
	return elements;
}

static int describe_tensor(void *user, const cr_tensor_spec *spec)
{
	struct writer *writer = user;
	int dtype = stored_dtype(writer, spec);
	int64_t begin = writer->offset;
	int is_head = spec->role == CR_ROLE_HEAD, written;
	int code = is_written(writer, spec, &written);
	char name[160];

	if (code || !written)
		return code;
	writer->offset += count_elements(spec) * (int64_t)cr_dtype_size(dtype);
	snprintf(name, sizeof name, "%s%s", is_head ? "" : "hyena.backbone.", spec->name);
	if (cr_safetensors_describe(writer->header, name, dtype, spec->rank, spec->shape, begin,
				    writer->offset))
		return cr_model_file_fail_memory(writer->output.path, writer->error);
	return 0;
}

static int put_header(struct writer *writer)
{
	int code;

	writer->header = cr_safetensors_new_header();
	if (!writer->header)
		return cr_model_file_fail_memory(writer->output.path, writer->error);
	code = cr_hyenadna_visit_tensors((cr_network *)writer->network, describe_tensor, writer);
	return code ? code
		    : cr_safetensors_put_header(&writer->output, writer->header, writer->error);
}

static int put_half(struct writer *writer, const cr_tensor_spec *spec, const float *values,
		    int64_t count)
{
	int brain = writer->options->dtype == CR_DTYPE_BF16;

	for (int64_t i = 0; i < count; i++) {
		uint16_t bits =
			brain ? cr_bfloat_from_float(values[i]) : cr_half_from_float(values[i]);
		float kept = brain ? cr_bfloat_to_float(bits) : cr_half_to_float(bits);
		int code;

		if (isinf(kept) && !isinf(values[i]))
			return cr_fail(writer->error, CROCUTA_ENUMERIC,
				       "tensor \"%.80s\": element %lld is %g, too large for %s%s",
				       spec->name, (long long)i, (double)values[i],
				       cr_dtype_name(writer->options->dtype),
				       brain ? "" : "; BF16 can hold it");
		code = cr_model_file_put(&writer->output, &bits, sizeof bits, writer->error);
		if (code)
			return code;
	}
	return 0;
}

/* z or t by formula, rounded to float32. */
static int put_formula(struct writer *writer, const cr_tensor_spec *spec)
{
	enum { RUN = 128 };
	int64_t length = writer->network->max_length, features = writer->network->features;
	int64_t columns = spec->role == CR_ROLE_FEATURES ? features : 1;
	double *exact = cr_calloc((size_t)(RUN * columns), sizeof *exact);
	int code = exact ? 0 : cr_model_file_fail_memory(writer->output.path, writer->error);

	for (int64_t first = 0; first < length && !code; first += RUN) {
		int64_t count = length - first < RUN ? length - first : RUN;

		cr_hyenadna_positions(length, features, first, count, columns > 1 ? exact : NULL,
				      columns > 1 ? NULL : exact);
		for (int64_t i = 0; i < count * columns && !code; i++) {
			float value = (float)exact[i];

			code = cr_model_file_put(&writer->output, &value, sizeof value,
						 writer->error);
		}
	}
	cr_free(exact);
	return code;
}

static int put_tensor(void *user, const cr_tensor_spec *spec)
{
	struct writer *writer = user;
	int64_t count = count_elements(spec);
	int written, code = is_written(writer, spec, &written);

	if (code || !written)
		return code;
	if (!*spec->target)
		return put_formula(writer, spec);
	if (stored_dtype(writer, spec) != CR_DTYPE_F32)
		return put_half(writer, spec, *spec->target, count);
	return cr_model_file_put(&writer->output, *spec->target, (size_t)count * sizeof(float),
				 writer->error);
}

static int write_weights(const cr_network *network, const char *directory,
			 const cr_write_options *options, cr_digest *digest, crocuta_error *error)
{
	struct writer writer = {.network = network, .options = options, .error = error};
	int code = cr_model_file_open(&writer.output, directory, "model.safetensors", error);

	writer.output.digest = digest;
	if (!code)
		code = put_header(&writer);
	if (!code)
		code = cr_hyenadna_visit_tensors((cr_network *)network, put_tensor, &writer);
	json_decref(writer.header);
	return cr_model_file_close(&writer.output, code, error);
}

/* The shortest decimal form that reads back as the same double; a JSON number. */
static const char *number_text(double value, char text[32])
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, 32, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return text;
}

static int put_line(cr_model_file *output, crocuta_error *error, const char *format, ...)
{
	char line[160];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	return cr_model_file_put(output, line, strlen(line), error);
}

/* A field as another config.json had it; NULL and null: none. */
static int put_field(cr_model_file *output, const char *key, const json_t *value,
		     crocuta_error *error)
{
	char *text;
	int code;

	if (!value || json_is_null(value))
		return 0;
	text = json_dumps(value, JSON_ENCODE_ANY);
	if (!text)
		return cr_model_file_fail_memory(output->path, error);
	code = put_line(output, error, "  \"%s\": ", key);
	if (!code)
		code = cr_model_file_put(output, text, strlen(text), error);
	if (!code)
		code = put_line(output, error, ",\n");
	free(text);
	return code;
}

static int write_config(const cr_network *network, const char *directory,
			const cr_write_options *options, crocuta_error *error)
{
	static const char *const torch_names[] = {[CR_DTYPE_F32] = "float32",
						  [CR_DTYPE_F16] = "float16",
						  [CR_DTYPE_BF16] = "bfloat16"};
	/* 12 tokens padded to a multiple of 8, as published; otherwise all rows are the vocabulary.
	 */
	int padded = network->vocabulary == 16;
	char number[3][32];
	cr_model_file output;
	int code = cr_model_file_open(&output, directory, "config.json", error);
	const struct {
		const char *key;
		int64_t value;
	} sizes[] = {
		{"d_inner", network->inner_width},
		{"d_model", network->width},
		{"emb_dim", network->features},
		{"filter_order", network->filter_order},
		{"hyena_order", 2},
		{"max_seq_len", network->max_length},
		{"n_layer", network->layers},
		{"num_inner_mlps", network->filter_inner},
		{"pad_token_id", 4},
		{"pad_vocab_size_multiple", padded ? 8 : 1},
		{"short_filter_order", 3},
		{"vocab_size", padded ? 12 : network->vocabulary},
	};

	if (!code)
		code = put_line(&output, error, "{\n  \"architectures\": [\"HyenaDNAFor%s\"],\n",
				network->classes ? "SequenceClassification" : "CausalLM");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !code; i++)
		code = put_line(&output, error, "  \"%s\": %lld,\n", sizes[i].key,
				(long long)sizes[i].value);
	if (!code && network->classes)
		code = put_line(&output, error, "  \"num_labels\": %lld,\n",
				(long long)network->classes);
	if (!code)
		code = put_field(&output, "id2label", options->labels, error);
	if (!code)
		code = put_field(&output, "problem_type", options->problem, error);
	if (!code)
		code = put_line(&output, error,
				"  \"activation_freq\": %s,\n  \"filter_shift\": %s,\n"
				"  \"layer_norm_epsilon\": %s,\n",
				number_text(options->activation_frequency, number[0]),
				number_text(network->filter_shift, number[1]),
				number_text(network->norm_epsilon, number[2]));
	if (!code)
		code = put_line(
			&output, error,
			"  \"model_type\": \"hyenadna\",\n  \"tie_word_embeddings\": false,\n"
			"  \"torch_dtype\": \"%s\",\n",
			torch_names[options->dtype]);
	if (!code)
		code = put_line(&output, error,
				"  \"train_freq\": true,\n  \"use_bias\": true\n}\n");
	return cr_model_file_close(&output, code, error);
}

struct model_job {
	const cr_network *network;
	const cr_write_options *options;
};

static int fill_model(void *user, const char *directory, crocuta_error *error)
{
	const struct model_job *job = user;
	char sha256[CR_DIGEST_TEXT];
	cr_digest digest = {0};
	int code = cr_digest_start(&digest, error);

	if (!code)
		code = write_weights(job->network, directory, job->options, &digest, error);
	if (!code)
		code = write_config(job->network, directory, job->options, error);
	if (!code)
		code = cr_digest_finish(&digest, sha256, error);
	cr_digest_free(&digest);
	if (!code && job->options->head) { /* bound to the new file from now on */
		cr_head_spec head = *job->options->head;

		head.backbone_sha256 = sha256;
		code = cr_head_fill(&head, directory, error);
	}
	return code;
}

int cr_network_write(const cr_network *network, const char *path, const cr_write_options *options,
		     crocuta_error *error)
{
	struct model_job job = {network, options};

	return cr_directory_write(path, &kind, options->head != NULL, options->force, fill_model,
				  &job, error);
}

/* The labels and the kind of problem that config.json gives beside a classifier: a copy without
 * them would name its classes otherwise. */
static int read_labels(const crocuta_model *model, cr_config *config, cr_write_options *options,
		       crocuta_error *error)
{
	int code;

	if (!model->network.classes && !model->network.decoder_classes)
		return 0;
	code = cr_config_open(model->path, config, error);
	if (code)
		return code;
	options->labels = json_object_get(config->root, "id2label");
	options->problem = json_object_get(config->root, "problem_type");
	return 0;
}

static int convert(const crocuta_model *model, const char *path, cr_write_options *options,
		   crocuta_error *error)
{
	crocuta_head *head = NULL;
	cr_config config = {0};
	cr_head_spec spec;
	int beside = 0, code = read_labels(model, &config, options, error);

	if (!code)
		code = cr_head_beside(model, &beside, error);
	if (!code && beside)
		code = crocuta_head_open(NULL, model, NULL, &head, error);
	if (head) {
		cr_head_spec_of(head, &spec);
		options->head = &spec;
	}
	if (!code)
		code = cr_network_write(&model->network, path, options, error);
	crocuta_head_close(head);
	cr_config_free(&config);
	return code;
}

int crocuta_model_convert(const crocuta_model *model, const char *path, const char *dtype,
			  int tables, int force, crocuta_error *error)
{
	cr_write_options options = {.dtype = -1,
				    .tables = tables,
				    .own_lm_head = model->info.has_lm_head || !model->info.classes,
				    .force = force,
				    .activation_frequency = model->activation_frequency};

	if (model->network.stack)
		return cr_fail(error, CROCUTA_EARG,
			       "%s: models of the family %s are not converted; they are read as "
			       "published",
			       model->info.path, model->info.family);
	for (int i = CR_DTYPE_F32; i <= CR_DTYPE_BF16; i++)
		if (!strcmp(dtype, cr_dtype_name(i)))
			options.dtype = i;
	if (options.dtype < 0)
		return cr_fail(error, CROCUTA_EARG,
			       "weights cannot be written as \"%.40s\": give F32, "
			       "F16 or BF16",
			       dtype);
	if (!path[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the directory to write is empty");
	return convert(model, path, &options, error);
}
