/* score_output.c - where scores go: VCF and BCF with new tags, a table with a line for each ALT, or
 * the 4 x L matrix of every SNV of a region. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/crocuta.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/atomic.h"
#include "io/meta.h"
#include "io/npy.h"
#include "io/table.h"
#include "task/file_type.h"
#include "task/score_internal.h"

#define DIGITS 6 /* as the text of a float in VCF */

struct cr_score_output {
	cr_score_header header;
	cr_variants_writer *writer; /* VCF and BCF */
	float *floats;              /* (tags, ALTs) */
	char (*texts)[40];          /* (ALTs) */
	const char **text_list;
	int64_t alts;       /* room in the three */
	cr_output *table;   /* TSV */
	cr_output_set *set; /* npy: array and meta */
	cr_output *array, *meta;
	float *matrix; /* (4, L) */
};

/* ---- VCF and BCF ----------------------------------------------------------------------------- */

static int open_variants(cr_score *score, const cr_output_options *how)
{
	static const char *const drop[] = {"crocutaShard", "crocutaShardInput", NULL};
	cr_score_output *out = score->output;
	const crocuta_score_options *o = &score->options;
	const cr_variants_writer_options options = {
		.path = o->output,
		.type = score->type,
		.level = score->level,
		.index = o->write_index,
		.tags = out->header.tags,
		.tag_count = out->header.tag_count,
		.family = out->header.family,
		.overwrite_tags = o->overwrite_tags,
		.replaced = {"crocutaModel", "TagPrefix", o->tag_prefix, "crocutaReference"},
		.source = "crocuta",
		.version = o->no_version ? NULL : crocuta_version(),
		.lines = (const char *const *)out->header.lines,
		.drop = drop,
		.reference = score->contigs,
		.contig_map = score->contig_map,
		.output = *how,
	};

	return cr_variants_writer_open(score->variants, &options, &out->writer, score->error);
}

static int make_room(cr_score *score, int64_t alts)
{
	cr_score_output *out = score->output;

	if (alts <= out->alts)
		return CROCUTA_OK;
	cr_free(out->floats);
	cr_free(out->texts);
	cr_free(out->text_list);
	out->alts = 0;
	out->floats = cr_calloc((size_t)alts, CR_SCORE_TAGS * sizeof *out->floats);
	out->texts = cr_calloc((size_t)alts, sizeof *out->texts);
	out->text_list = cr_calloc((size_t)alts, sizeof *out->text_list);
	if (!out->floats || !out->texts || !out->text_list)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for tags");
	out->alts = alts;
	for (int64_t i = 0; i < alts; i++)
		out->text_list[i] = out->texts[i];
	return CROCUTA_OK;
}

static int write_variant(cr_score *score, const cr_score_record *record, const cr_score_unit *units)
{
	cr_score_output *out = score->output;
	const int alts = record->alts;
	float *f;
	int code = make_room(score, alts ? alts : 1);

	if (code)
		return code;
	f = out->floats;
	for (int i = 0; i < alts; i++) {
		const cr_score_unit *unit = &units[i];
		float *column = f + i;

		*column = unit->llr;
		if (score->options.strands & CROCUTA_STRANDS_FORWARD)
			*(column += alts) = unit->llr_strand[0];
		if (score->options.strands & CROCUTA_STRANDS_REVERSE)
			*(column += alts) = unit->llr_strand[1];
		column[alts] = unit->distance;
		cr_score_status_text(unit, out->texts[i]);
	}
	if (record->variant)
		return cr_variants_write(out->writer, record->variant, f, out->text_list,
					 score->error);
	return cr_variants_write_new(out->writer, record->contig, record->position, record->allele,
				     alts + 1, f, out->text_list, score->error);
}

/* ---- table ----------------------------------------------------------------------------------- */

static int open_table(cr_score *score, const cr_output_options *how)
{
	cr_score_output *out = score->output;
	cr_output_options options = *how;
	int code;

	options.bgzf = cr_output_is_bgzf_name(score->options.output);
	code = cr_output_open(score->options.output, &options, &out->table, score->error);
	for (int i = 0; !code && out->header.lines[i]; i++) {
		code = cr_output_text(out->table, out->header.lines[i], score->error);
		if (!code)
			code = cr_output_text(out->table, "\n", score->error);
	}
	return code ? code
		    : cr_output_text(out->table,
				     "#CHROM\tPOS\tID\tREF\tALT\tLLR\tLLR_FWD\tLLR_REV\tDIST\t"
				     "STATUS\n",
				     score->error);
}

/* One line of an ALT. */
static int write_line(cr_score *score, const cr_score_record *record, const char *alt,
		      const cr_score_unit *unit)
{
	const float numbers[4] = {unit->llr, unit->llr_strand[0], unit->llr_strand[1],
				  unit->distance};
	cr_output *out = score->output->table;
	crocuta_error *error = score->error;
	char position[32], text[200], status[40];
	const char *parts[] = {record->contig_name, position, record->id, "\t",
			       record->allele[0],   "\t",     alt,        text};
	int used = 0, code = CROCUTA_OK;

	snprintf(position, sizeof position, "\t%lld\t", (long long)record->position + 1);
	for (int i = 0; i < 4; i++) {
		text[used++] = '\t';
		if (isnan(numbers[i]))
			text[used++] = '.';
		else
			used += cr_format_number((double)numbers[i], DIGITS, text + used);
	}
	cr_score_status_text(unit, status);
	snprintf(text + used, sizeof text - (size_t)used, "\t%s\n", status);
	for (size_t i = 0; i < sizeof parts / sizeof *parts && !code; i++)
		code = cr_output_text(out, parts[i], error);
	return code;
}

static int write_lines(cr_score *score, const cr_score_record *record, const cr_score_unit *units)
{
	int code = CROCUTA_OK;

	if (!record->alts)
		return write_line(score, record, ".", units);
	for (int i = 0; i < record->alts && !code; i++)
		code = write_line(score, record, record->allele[i + 1], &units[i]);
	return code;
}

/* ---- matrix ---------------------------------------------------------------------------------- */

static int open_matrix(cr_score *score, const cr_output_options *how)
{
	cr_score_output *out = score->output;
	const cr_region *region = &score->regions->items[0];
	const int64_t length = region->end - region->start;
	cr_output_options options = *how;
	char path[4096];
	int code;

	out->set = cr_output_set_new();
	out->matrix = cr_floats(4 * length);
	if (!out->set || !out->matrix)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a matrix of 4 x %lld",
			       (long long)length);
	for (int64_t i = 0; i < 4 * length; i++)
		out->matrix[i] = NAN;
	options.bytes_needed = cr_npy_bytes(4, length, 0);
	code = cr_output_set_add(out->set, score->options.output, &options, &out->array,
				 score->error);
	if (!code && cr_score_file(&score->options, score->type, 1, path, sizeof path))
		code = cr_fail(score->error, CROCUTA_EIO, "%.200s: the name is too long",
			       score->options.output);
	options.bytes_needed = 0;
	return code ? code : cr_output_set_add(out->set, path, &options, &out->meta, score->error);
}

static int write_cell(cr_score *score, const cr_score_record *record, const cr_score_unit *unit)
{
	static const char bases[] = "ACGT";
	const cr_region *region = &score->regions->items[0];
	const int64_t length = region->end - region->start;
	float *column = score->output->matrix + (record->position - region->start);

	column[(strchr(bases, record->allele[0][0]) - bases) * length] = 0;
	column[(strchr(bases, record->allele[1][0]) - bases) * length] = unit->llr;
	return CROCUTA_OK;
}

static int commit_matrix(cr_score *score)
{
	cr_score_output *out = score->output;
	const cr_region *region = &score->regions->items[0];
	json_t *meta = cr_score_meta(score);
	char name[300];
	cr_npy *npy = NULL;
	int code = cr_npy_start(out->array, 4, region->end - region->start, 0, &npy, score->error);

	if (!code)
		code = cr_npy_write(npy, out->matrix, 4, score->error);
	if (!code)
		code = cr_npy_finish(npy, score->error);
	cr_npy_free(npy);
	cr_region_print(score->contigs, region, name, sizeof name);
	if (!code && (!meta || json_object_set_new(meta, "region", json_string(name)) ||
		      json_object_set_new(meta, "rows", json_string("ACGT")) ||
		      json_object_set_new(meta, "value", json_string("LLR"))))
		code = cr_fail(score->error, CROCUTA_EMEMORY, "no memory for the provenance");
	if (!code)
		code = cr_meta_write(out->meta, meta, score->error);
	json_decref(meta);
	return code ? code : cr_output_set_commit(out->set, score->error);
}

/* ---- any of them ----------------------------------------------------------------------------- */

int cr_score_open_output(cr_score *score)
{
	cr_inputs inputs;
	cr_output_options how = {.no_clobber = score->options.no_clobber};
	int code;

	score->output = cr_calloc(1, sizeof *score->output);
	if (!score->output)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for the output");
	cr_score_list_inputs(&inputs, &score->options, score->info);
	how.inputs = inputs.list;
	code = cr_score_make_header(score, &score->output->header);
	if (code)
		return code;
	switch (score->type) {
	case CR_FILE_TABLE:
		return open_table(score, &how);
	case CR_FILE_NPY:
		return open_matrix(score, &how);
	default:
		return open_variants(score, &how);
	}
}

int cr_score_write(cr_score *score, const cr_score_batch *batch)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < batch->record_count && !code; i++) {
		const cr_score_record *record = &batch->records[i];
		const cr_score_unit *units = batch->units + record->first_unit;

		if (record->left_out)
			continue;
		score->report->records_out++;
		if (score->type == CR_FILE_TABLE)
			code = write_lines(score, record, units);
		else if (score->type == CR_FILE_NPY)
			code = write_cell(score, record, units);
		else
			code = write_variant(score, record, units);
	}
	return code;
}

int cr_score_commit(cr_score *score)
{
	cr_score_output *out = score->output;

	if (out->table)
		return cr_output_commit(out->table, score->error);
	if (out->writer)
		return cr_variants_writer_commit(out->writer, score->error);
	return commit_matrix(score);
}

void cr_score_free_output(cr_score_output *out)
{
	if (!out)
		return;
	cr_score_free_header(&out->header);
	if (out->writer)
		cr_variants_writer_free(out->writer);
	cr_output_free(out->table);
	cr_output_set_free(out->set);
	cr_free(out->floats);
	cr_free(out->texts);
	cr_free(out->text_list);
	cr_free(out->matrix);
	cr_free(out);
}
