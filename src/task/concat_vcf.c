/* concat_vcf.c - VCF and BCF of `crocuta score`, record after record. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/variants.h"
#include "task/concat_internal.h"

#define BETWEEN_PROGRESS 1024

/* Facts of a header, the samples among them. */
static int collect(const cr_concat *concat, int64_t input, const cr_variants *variants,
		   cr_facts *facts)
{
	char *header = cr_variants_header(variants), *line = header, *rest = NULL;
	int code = CROCUTA_OK;

	if (!header)
		return cr_fail(concat->error, CROCUTA_EMEMORY, "no memory for a header");
	for (line = strtok_r(header, "\n", &rest); line && !code;
	     line = strtok_r(NULL, "\n", &rest)) {
		const char *samples = strstr(line, "\tFORMAT\t");

		if (line[1] == '#')
			code = cr_facts_add_line(facts, concat->options->inputs[input], line,
						 concat->error);
		else
			code = cr_facts_add(facts, "list of samples",
					    samples ? samples + strlen("\tFORMAT\t") : "none",
					    concat->error);
	}
	cr_free(header);
	return code;
}

/* Compare all headers; the first input stays open, with the lines of all. */
static int read_headers(cr_concat *concat, cr_variants **first)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; !code && i < concat->count; i++) {
		const cr_variants_options how = {.regions_overlap = 1};
		cr_variants *variants = NULL;
		cr_facts facts = {0};

		code = cr_variants_open(concat->options->inputs[i], &how, &variants, concat->error);
		if (!code)
			code = collect(concat, i, variants, &facts);
		if (code)
			cr_facts_free(&facts);
		else
			code = cr_concat_take_facts(concat, i, &facts);
		if (!code && i)
			code = cr_variants_add_header(*first, variants, concat->error);
		if (i)
			cr_variants_close(variants);
		else
			*first = variants;
	}
	return code ? code : cr_concat_check_shards(concat);
}

/* 'v', 'z', 'b' or 'u' of the output. */
static int choose_type(const cr_concat *concat, const cr_variants *first, char *type)
{
	const char *format = cr_variants_format(first);

	switch (concat->type.kind) {
	case CR_FILE_UNKNOWN:
		*type = !strcmp(format, "bcf") ? 'b' : !strcmp(format, "vcf") ? 'v' : 'z';
		return CROCUTA_OK;
	case CR_FILE_VCF:
	case CR_FILE_VCF_BGZIP:
	case CR_FILE_BCF:
	case CR_FILE_BCF_PLAIN:
		*type = (char)concat->type.kind;
		return CROCUTA_OK;
	default:
		return cr_fail(concat->error, CROCUTA_EARG,
			       "the inputs are VCF or BCF, and concat does not turn them into %s; "
			       "give v, z, b or u",
			       cr_file_kind_name(concat->type.kind));
	}
}

static int open_writer(const cr_concat *concat, cr_variants *first, cr_variants_writer **writer)
{
	static const char *const drop[] = {"crocutaShard", "crocutaShardInput", NULL};
	const crocuta_concat_options *o = concat->options;
	cr_variants_writer_options how = {
		.path = o->output,
		.level = concat->type.level,
		.index = o->write_index,
		.drop = drop,
		.output = {.inputs = o->inputs, .no_clobber = o->no_clobber}};
	const char *lines[2] = {NULL, NULL};
	char *command = NULL, *line = NULL;
	int code = choose_type(concat, first, &how.type);

	if (!code && !o->no_version) {
		command = cr_concat_command(concat);
		line = command ? cr_calloc(strlen(command) + 32, 1) : NULL;
		if (!line)
			code = cr_fail(concat->error, CROCUTA_EMEMORY, "no memory for a header");
		else
			sprintf(line, "##crocutaCommand=%s", command);
		lines[0] = line;
		how.lines = lines;
	}
	if (!code)
		code = cr_variants_writer_open(first, &how, writer, concat->error);
	cr_free(line);
	cr_free(command);
	return code;
}

static int copy_records(cr_concat *concat, int64_t input, cr_variants *from,
			cr_variants_writer *writer)
{
	int64_t waiting = 0, copied = 0;
	int code = CROCUTA_OK;

	while (!code) {
		cr_variant *variant;

		code = cr_variants_next(from, &variant, concat->error);
		if (code || !variant)
			break;
		code = cr_variants_copy(writer, from, variant, concat->error);
		cr_variant_free(from, variant);
		copied++;
		if (!code && ++waiting == BETWEEN_PROGRESS) {
			code = cr_concat_progress(concat, waiting);
			waiting = 0;
		}
	}
	if (!code)
		code = cr_concat_check_count(concat, input, copied, concat->shard[input].records);
	return code ? code : cr_concat_progress(concat, waiting);
}

int cr_concat_vcf(cr_concat *concat)
{
	const cr_variants_options how = {.regions_overlap = 1};
	cr_variants_writer *writer = NULL;
	cr_variants *first = NULL;
	int code = read_headers(concat, &first);

	concat->report->kind = "vcf";
	if (!code)
		code = open_writer(concat, first, &writer);
	for (int64_t i = 0; !code && i < concat->count; i++) {
		cr_variants *from = first;

		if (i)
			code = cr_variants_open(concat->options->inputs[i], &how, &from,
						concat->error);
		if (!code)
			code = copy_records(concat, i, from, writer);
		if (i)
			cr_variants_close(from);
	}
	if (!code)
		code = cr_variants_writer_commit(writer, concat->error);
	cr_variants_writer_free(writer);
	cr_variants_close(first);
	return code;
}
