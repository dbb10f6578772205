/* score_units.c - what becomes of each ALT: a status, or a change on each strand, then numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "task/score_internal.h"

#define FIRST_RECORDS 10000 /* after which the genome is judged for the first time */
#define MISMATCHES_LEAST 10
#define WARNINGS_MOST 5
#define NONFINITE_MOST 5

static const char *const names[CROCUTA_ALLELE_STATUSES] = {
	[CROCUTA_ALLELE_OK] = "OK",
	[CROCUTA_ALLELE_STAR] = "STAR",
	[CROCUTA_ALLELE_SYMBOLIC] = "SYMBOLIC",
	[CROCUTA_ALLELE_BREAKEND] = "BREAKEND",
	[CROCUTA_ALLELE_REFBLOCK] = "REFBLOCK",
	[CROCUTA_ALLELE_NONACGT] = "NONACGT",
	[CROCUTA_ALLELE_TOOLONG] = "TOOLONG",
	[CROCUTA_ALLELE_NOCONTIG] = "NOCONTIG",
	[CROCUTA_ALLELE_OUTOFRANGE] = "OUTOFRANGE",
	[CROCUTA_ALLELE_REFMISMATCH] = "REFMISMATCH",
	[CROCUTA_ALLELE_NONFINITE] = "NONFINITE",
	[CROCUTA_ALLELE_NOALT] = "NOALT",
};

const char *crocuta_allele_status_name(int status)
{
	return status >= 0 && status < CROCUTA_ALLELE_STATUSES ? names[status] : "unknown";
}

void cr_score_status_text(const cr_score_unit *unit, char out[40])
{
	snprintf(out, 40, "%s%s%s", crocuta_allele_status_name(unit->status),
		 unit->edge ? "&EDGE" : "", unit->masked ? "&MASKED" : "");
}

/* ---- REF against the FASTA ------------------------------------------------------------------- */

/* Offset of the first base of REF that differs from the FASTA, or -1; the FASTA's base in *base. */
static int compare_reference(cr_score *score, const cr_score_record *record, int64_t *offset,
			     char *base)
{
	const char *ref = record->allele[0];
	const int64_t length = (int64_t)strlen(ref);
	char bases[512];

	*offset = -1;
	for (int64_t at = 0; at < length && *offset < 0; at += (int64_t)sizeof bases) {
		int64_t here =
			length - at < (int64_t)sizeof bases ? length - at : (int64_t)sizeof bases;
		int64_t start = record->position + at;
		int code = cr_sequence_cache_fetch(score->cache, record->contig, start,
						   start + here, bases, score->error);

		if (code)
			return code;
		for (int64_t i = 0; i < here && *offset < 0; i++)
			if (cr_base_canonical(bases[i]) != cr_base_upper(ref[at + i])) {
				*offset = at + i;
				*base = cr_base_upper(bases[i]);
			}
	}
	return CROCUTA_OK;
}

/* What --check-ref says about a record that differs. */
static int on_mismatch(cr_score *score, cr_score_record *record, int64_t offset, char base)
{
	char text[300];

	snprintf(text, sizeof text, "%.100s:%lld: REF has %c where the FASTA has %c at %lld",
		 record->contig_name, (long long)record->position + 1, record->allele[0][offset],
		 base, (long long)(record->position + offset) + 1);
	if (score->options.check_ref == CROCUTA_CHECK_REF_ERROR)
		return cr_fail(score->error, CROCUTA_EINPUT,
			       "%s; wrong reference? (--check-ref w scores what fits)", text);
	record->left_out = score->options.check_ref == CROCUTA_CHECK_REF_EXCLUDE;
	if (++score->warned <= WARNINGS_MOST)
		cr_score_log(score, CROCUTA_LOG_WARNING, "%s%s", text,
			     score->warned == WARNINGS_MOST ? "; further ones are counted only"
							    : "");
	return CROCUTA_OK;
}

static int check_reference(cr_score *score, cr_score_record *record, int *differs)
{
	int64_t offset;
	char base = 0;
	int code = compare_reference(score, record, &offset, &base);

	if (code)
		return code;
	score->checked++;
	*differs = offset >= 0;
	if (offset < 0)
		return CROCUTA_OK;
	score->mismatched++;
	return on_mismatch(score, record, offset, base);
}

int cr_score_fail_nowhere(const cr_score *score, int64_t records)
{
	return cr_fail(score->error, CROCUTA_EINPUT,
		       "%.200s: none of %lld records lies on a contig of %.200s: wrong reference, or "
		       "other contig names? (--rename-chrs)",
		       score->options.input, (long long)records, score->options.reference);
}

int cr_score_check_genome(cr_score *score, int at_end)
{
	const int64_t records = score->report->records;

	if ((at_end || records == FIRST_RECORDS) && score->mismatched >= MISMATCHES_LEAST &&
	    (double)score->mismatched > score->options.max_ref_mismatch * (double)score->checked)
		return cr_fail(score->error, CROCUTA_EINPUT,
			       "REF differs from the FASTA in %lld of %lld records: wrong genome "
			       "build? (--max-ref-mismatch)",
			       (long long)score->mismatched, (long long)score->checked);
	/* of shards the count has seen all records */
	if (at_end && records && score->nowhere == records && score->options.shards < 2)
		return cr_score_fail_nowhere(score, records);
	return CROCUTA_OK;
}

/* ---- one ALT --------------------------------------------------------------------------------- */

static int equal_bases(const char *a, const char *b)
{
	while (*a && cr_base_upper(*a) == cr_base_upper(*b))
		a++, b++;
	return cr_base_upper(*a) == cr_base_upper(*b);
}

/* The longer of what is taken out and what is put in; the same for every spelling. */
static int64_t changed_length(const char *ref, const char *alt)
{
	int64_t r = (int64_t)strlen(ref), a = (int64_t)strlen(alt);

	while (r && a && cr_base_upper(ref[r - 1]) == cr_base_upper(alt[a - 1]))
		r--, a--;
	while (r && a && cr_base_upper(*ref) == cr_base_upper(*alt))
		ref++, alt++, r--, a--;
	return r > a ? r : a;
}

static int status_of_text(const char *alt)
{
	switch (cr_allele_kind(alt)) {
	case CR_ALLELE_STAR:
		return CROCUTA_ALLELE_STAR;
	case CR_ALLELE_REFBLOCK:
		return CROCUTA_ALLELE_REFBLOCK;
	case CR_ALLELE_SYMBOLIC:
		return CROCUTA_ALLELE_SYMBOLIC;
	case CR_ALLELE_BREAKEND:
		return CROCUTA_ALLELE_BREAKEND;
	case CR_ALLELE_MISSING:
		return CROCUTA_ALLELE_NOALT;
	default:
		return CROCUTA_ALLELE_OK;
	}
}

static int is_out_of_range(const cr_score *score, const cr_score_record *record)
{
	const int64_t length = cr_contigs_length(score->contigs, record->contig);

	return record->position < 0 || record->position >= length ||
	       (int64_t)strlen(record->allele[0]) > length - record->position;
}

/* differs: of the record, -1 while not looked at. */
static int find_status(cr_score *score, cr_score_record *record, const char *alt, int *differs,
		       int *status)
{
	const char *ref = record->allele[0];
	int code = CROCUTA_OK;

	*status = status_of_text(alt);
	if (*status != CROCUTA_ALLELE_OK)
		return CROCUTA_OK;
	if (record->contig < 0) {
		*status = CROCUTA_ALLELE_NOCONTIG;
	} else if (is_out_of_range(score, record)) {
		*status = CROCUTA_ALLELE_OUTOFRANGE;
	} else if (cr_allele_kind(ref) != CR_ALLELE_BASES ||
		   cr_allele_kind(alt) != CR_ALLELE_BASES) {
		*status = CROCUTA_ALLELE_NONACGT;
	} else {
		if (*differs < 0)
			code = check_reference(score, record, differs);
		if (*differs > 0)
			*status = CROCUTA_ALLELE_REFMISMATCH;
		else if (changed_length(ref, alt) > score->options.max_indel)
			*status = CROCUTA_ALLELE_TOOLONG;
	}
	return code;
}

/* Where a strand's bases come from. */
struct place {
	cr_score *score;
	int64_t contig;
};

static int fetch_bases(void *user, int64_t start, int64_t end, char *out, crocuta_error *error)
{
	const struct place *place = user;
	int code =
		cr_sequence_cache_fetch(place->score->cache, place->contig, start, end, out, error);

	for (int64_t i = 0; !code && i < end - start; i++)
		out[i] = cr_base_canonical(out[i]);
	return code;
}

static int add_change(cr_score *score, cr_score_batch *batch, const cr_score_record *record,
		      const char *alt, int reverse)
{
	struct place place = {score, record->contig};
	const int64_t length = cr_contigs_length(score->contigs, record->contig);
	cr_score_change *change = cr_score_add_change(batch);
	char *bases = change ? cr_score_add_bases(batch, (int64_t)strlen(alt)) : NULL;
	int code;

	if (!bases)
		return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for a change");
	code = cr_allele_find(record->allele[0], alt, record->position, length, reverse,
			      fetch_bases, &place, bases, &change->allele, score->error);
	change->contig = record->contig;
	change->reverse = reverse;
	if (!code)
		change->placed = cr_place(&score->placement, length, &change->allele);
	return code;
}

/* Changes of a unit that can be scored. */
static int add_changes(cr_score *score, cr_score_batch *batch, const cr_score_record *record,
		       const char *alt, cr_score_unit *unit)
{
	int code = CROCUTA_OK;

	for (int strand = 0; strand < 2 && !code; strand++) {
		if (!(score->options.strands &
		      (strand ? CROCUTA_STRANDS_REVERSE : CROCUTA_STRANDS_FORWARD)))
			continue;
		unit->change[strand] = batch->change_count;
		code = add_change(score, batch, record, alt, strand);
		if (!code)
			unit->edge |= batch->changes[unit->change[strand]].placed.edge;
	}
	return code;
}

static int classify_record(cr_score *score, cr_score_batch *batch, cr_score_record *record)
{
	int differs = -1, code = CROCUTA_OK, alts = record->alts ? record->alts : 1;

	record->first_unit = batch->unit_count;
	score->nowhere += record->contig < 0 || is_out_of_range(score, record);
	for (int i = 0; i < alts && !code; i++) {
		cr_score_unit *unit = cr_score_add_unit(batch);
		const char *alt = record->alts ? record->allele[i + 1] : ".";

		if (!unit)
			return cr_fail(score->error, CROCUTA_EMEMORY, "no memory for an ALT");
		unit->change[0] = unit->change[1] = -1;
		unit->llr = unit->llr_strand[0] = unit->llr_strand[1] = unit->distance = NAN;
		code = find_status(score, record, alt, &differs, &unit->status);
		if (code || unit->status != CROCUTA_ALLELE_OK)
			continue;
		unit->equal = equal_bases(record->allele[0], alt);
		if (!unit->equal)
			code = add_changes(score, batch, record, alt, unit);
	}
	return code;
}

int cr_score_classify(cr_score *score, cr_score_batch *batch)
{
	int code = CROCUTA_OK;

	for (int64_t i = 0; i < batch->record_count && !code; i++) {
		score->report->records++;
		code = classify_record(score, batch, &batch->records[i]);
		if (!code)
			code = cr_score_check_genome(score, 0);
	}
	score->batch_units = batch->unit_count;
	score->batch_changes = batch->change_count;
	return code;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static float no_minus_zero(double value)
{
	float number = (float)value;

	return number == 0 ? 0 : number;
}

/* The strands of a unit put together. */
static void combine_unit(cr_score *score, const cr_score_batch *batch, cr_score_unit *unit)
{
	double llr = 0, distance = 0, strands = 0;
	int finite = 1, compared = 1;

	for (int s = 0; s < 2; s++) {
		const cr_score_change *own, *c;
		double value;

		if (unit->change[s] < 0)
			continue;
		own = &batch->changes[unit->change[s]];
		c = &batch->changes[own->same];
		value = c->llr;
		if (score->options.reduce == CROCUTA_REDUCE_MEAN)
			value /= (double)c->compared;
		else if (score->options.reduce == CROCUTA_REDUCE_WINDOW_MEAN)
			value /= (double)(c->before + c->compared);
		compared &= c->compared > 0;
		finite &= isfinite(value) && isfinite(c->distance);
		unit->masked |= c->masked;
		unit->llr_strand[s] = no_minus_zero(value);
		llr += value;
		distance += c->distance;
		strands++;
	}
	unit->llr = no_minus_zero(llr / strands);
	unit->distance = no_minus_zero(distance / strands);
	if (compared && finite)
		return;
	score->nonfinite += compared;
	unit->status = CROCUTA_ALLELE_NONFINITE;
	unit->edge = unit->masked = 0;
	unit->llr = unit->llr_strand[0] = unit->llr_strand[1] = unit->distance = NAN;
}

static void make_zero(const cr_score *score, cr_score_unit *unit)
{
	unit->llr = unit->distance = 0;
	if (score->options.strands & CROCUTA_STRANDS_FORWARD)
		unit->llr_strand[0] = 0;
	if (score->options.strands & CROCUTA_STRANDS_REVERSE)
		unit->llr_strand[1] = 0;
}

static void count_unit(cr_score *score, const cr_score_record *record, int alt,
		       const cr_score_unit *unit)
{
	crocuta_score_report *report = score->report;
	char *example = report->example[unit->status];

	report->status[unit->status]++;
	report->edge += unit->edge;
	report->masked += unit->masked;
	report->equal += unit->equal;
	if (!*example)
		snprintf(example, sizeof report->example[0], "%.40s:%lld:%.17s:%.17s",
			 record->contig_name, (long long)record->position + 1, record->allele[0],
			 record->alts ? record->allele[alt + 1] : ".");
}

int cr_score_combine(cr_score *score, cr_score_batch *batch)
{
	for (int64_t i = 0; i < batch->record_count; i++) {
		cr_score_record *record = &batch->records[i];
		const int units = record->alts ? record->alts : 1;

		score->report->alleles += units;
		score->report->left_out += record->left_out;
		for (int k = 0; k < units && !record->left_out; k++) {
			cr_score_unit *unit = &batch->units[record->first_unit + k];

			if (unit->status == CROCUTA_ALLELE_OK && unit->equal)
				make_zero(score, unit);
			else if (unit->status == CROCUTA_ALLELE_OK)
				combine_unit(score, batch, unit);
			count_unit(score, record, k, unit);
		}
	}
	if (score->nonfinite > NONFINITE_MOST)
		return cr_fail(
			score->error, CROCUTA_ENUMERIC,
			"%lld scores are NaN or infinite, the first at %s: the model does not "
			"compute finite numbers here; crocuta model verify tells more",
			(long long)score->nonfinite,
			score->report->example[CROCUTA_ALLELE_NONFINITE]);
	return CROCUTA_OK;
}
