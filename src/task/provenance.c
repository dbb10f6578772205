/* provenance.c - what made an output, for meta.json and the `##` lines.
 *
 * Nothing in it depends on threads, batch or the machine's paths except `command`, which is left
 * out with version and date under no_version, so that such outputs can be compared byte by byte. */
#define _GNU_SOURCE
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <crocuta/crocuta.h>

#include "io/table.h"
#include "task/embed_internal.h"
#include "task/provenance.h"

void cr_provenance_version(char out[80])
{
	snprintf(out, 80, "%s+htslib-%s", crocuta_version(), crocuta_htslib_version());
}

void cr_provenance_date(char out[32])
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char *end = NULL;
	long long seconds = epoch && *epoch ? strtoll(epoch, &end, 10) : 0;
	time_t when = end && !*end ? (time_t)seconds : time(NULL);
	struct tm parts;

	*out = '\0';
	if (gmtime_r(&when, &parts))
		strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

void cr_provenance_contigs_md5(const cr_contigs *contigs, char out[33])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned bytes = 0;
	char number[32];
	int good = context && EVP_DigestInit_ex(context, EVP_md5(), NULL);

	*out = '\0';
	for (int64_t i = 0; good && i < cr_contigs_count(contigs); i++) {
		const char *name = cr_contigs_name(contigs, i);
		int length = snprintf(number, sizeof number, "\t%lld\n",
				      (long long)cr_contigs_length(contigs, i));

		good = EVP_DigestUpdate(context, name, strlen(name)) &&
		       EVP_DigestUpdate(context, number, (size_t)length);
	}
	if (good && EVP_DigestFinal_ex(context, digest, &bytes))
		for (unsigned i = 0; i < bytes && i < 16; i++)
			snprintf(out + 2 * i, 3, "%02x", digest[i]);
	EVP_MD_CTX_free(context);
}

const char *cr_provenance_file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

json_t *cr_provenance_text(const char *bytes)
{
	json_t *string = json_string(bytes);
	char *copy;

	if (string)
		return string;
	copy = strdup(bytes);
	if (!copy)
		return NULL;
	for (char *p = copy; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

int cr_provenance_print(cr_output *output, const char *prefix, const json_t *object,
			    crocuta_error *error)
{
	const char *key;
	json_t *value;
	int code = 0;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		char name[120], number[32];
		const char *text = number;

		snprintf(name, sizeof name, "%s.%s", prefix, key);
		if (json_is_object(value)) {
			code = cr_provenance_print(output, name, value, error);
			if (code)
				return code;
			continue;
		}
		if (json_is_string(value))
			text = json_string_value(value);
		else if (json_is_integer(value))
			snprintf(number, sizeof number, "%lld",
				 (long long)json_integer_value(value));
		else if (json_is_real(value))
			cr_format_number(json_real_value(value), 9, number);
		else
			text = json_is_true(value)    ? "true"
			       : json_is_false(value) ? "false"
						      : "null";
		code = cr_table_provenance(output, name, text, error);
		if (code)
			return code;
	}
	return code;
}

int cr_provenance_has_shift(const crocuta_model_info *info)
{
	return strcmp(info->filter_shift_source, "none") != 0;
}

json_t *cr_provenance_model(const crocuta_model_info *info)
{
	if (!cr_provenance_has_shift(info))
		return json_pack("{s:s, s:o, s:s}", "family", info->family, "name",
				 cr_provenance_text(info->name), "sha256", info->sha256);
	return json_pack("{s:s, s:o, s:s, s:f, s:s}", "family", info->family, "name",
			 cr_provenance_text(info->name), "sha256", info->sha256, "filter_shift",
			 info->filter_shift, "filter_shift_source", info->filter_shift_source);
}

json_t *cr_provenance_input(const char *path, const cr_contigs *contigs)
{
	json_t *input = json_object();
	char md5[33];

	json_object_set_new(input, "name",
			    cr_provenance_text(strcmp(path, "-") ? cr_provenance_file_name(path)
								 : "stdin"));
	if (!contigs)
		return input;
	cr_provenance_contigs_md5(contigs, md5);
	json_object_set_new(input, "contigs", json_integer(cr_contigs_count(contigs)));
	json_object_set_new(input, "contigs_md5", json_string(md5));
	return input;
}

static void add_rows(json_t *object, const cr_embed *embed)
{
	static const char *const strands[] = {"", "forward", "reverse", "both", "concat"};
	const crocuta_embed_options *o = &embed->options;

	json_object_set_new(object, "layer", json_integer(o->layer));
	json_object_set_new(object, "bin", json_integer(o->bin));
	json_object_set_new(object, "pool", json_string(o->pool));
	if (o->track) {
		json_object_set_new(object, "track", json_string(o->track));
		json_object_set_new(object, "classes",
				    json_string(!o->classes       ? "all"
						: o->classes == 4 ? "acgt"
								  : "acgtn"));
	}
	json_object_set_new(object, "strands", json_string(strands[o->strands]));
	json_object_set_new(object, "stream", json_boolean(o->stream));
	if (!o->stream) {
		json_object_set_new(object, "window", json_integer(o->window));
		json_object_set_new(object, "overlap", json_integer(o->overlap));
	}
	json_object_set_new(object, "special_tokens", json_string(o->special_tokens));
	json_object_set_new(object, "softmask_n", json_boolean(o->softmask_n));
	json_object_set_new(object, "n_as_pad", json_boolean(o->n_as_pad));
	json_object_set_new(object, "skip_n", json_real(o->skip_n));
}

json_t *cr_provenance_start(const char *format, int no_version, const char *command,
			    const char *when)
{
	json_t *object = json_object();
	char date[32], version[80];

	if (!object)
		return NULL;
	json_object_set_new(object, "format", json_string(format));
	if (no_version)
		return object;
	cr_provenance_version(version);
	snprintf(date, sizeof date, "%s", when ? when : "");
	if (!when)
		cr_provenance_date(date);
	json_object_set_new(object, "version", json_string(version));
	if (command)
		json_object_set_new(object, "command", cr_provenance_text(command));
	json_object_set_new(object, "date", json_string(date));
	return object;
}

void cr_provenance_add_plan(json_t *object, const crocuta_plan *plan)
{
	json_object_set_new(object, "compute", json_string(plan->dtype));
	json_object_set_new(object, "device", json_string(plan->device));
	json_object_set_new(object, "isa", json_string(plan->isa ? plan->isa : "reference"));
	json_object_set_new(object, "convolution",
			    json_string(plan->convolution ? plan->convolution : "direct"));
}

json_t *cr_embed_provenance(const cr_embed *embed, const crocuta_plan *plan)
{
	const crocuta_embed_options *o = &embed->options;
	json_t *object = cr_provenance_start(
		"embed-1", o->no_version, embed->resume.journal ? embed->resume.command : o->command,
		cr_resume_date(&embed->resume));

	if (!object)
		return NULL;
	json_object_set_new(object, "model", cr_provenance_model(embed->info));
	json_object_set_new(object, "input", cr_provenance_input(o->input, embed->reference ? embed->contigs : NULL));
	add_rows(object, embed);
	cr_provenance_add_plan(object, plan);
	return object;
}
