/* test_task_score_support.h - made-up genome and variants, runs into rows, and the numbers of an
 * ALT from whole windows: for test_task_score.c. */
#ifndef CR_TESTS_TASK_SCORE_SUPPORT_H
#define CR_TESTS_TASK_SCORE_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <crocuta/crocuta.h>

#include "base/memory.h"
#include "model/model_internal.h"

#define MODEL "test-data/golden/hyenadna-d128-n2-m1026"
#define LENGTH 3000
#define ROWS 512

static char directory[] = "/tmp/crocuta-score-XXXXXX";
static char fasta[128], backward[128], variants[128], output[128];
static char forward[LENGTH + 1], reversed[LENGTH + 1];
static crocuta_model *model;

/* ---- files ----------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *format, ...) CROCUTA_PRINTF(2, 3);

static void write_file(const char *path, const char *format, ...)
{
	FILE *stream = fopen(path, "w");
	va_list list;

	assert_non_null(stream);
	va_start(list, format);
	vfprintf(stream, format, list);
	va_end(list);
	assert_int_equal(fclose(stream), 0);
}

static char *read_file(const char *path)
{
	FILE *stream = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	assert_non_null(stream);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, stream) > 0);
	fclose(stream);
	return text;
}

static char complement(char base)
{
	return base == 'A' ? 'T' : base == 'C' ? 'G' : base == 'G' ? 'C' : base == 'T' ? 'A' : 'N';
}

static int prepare(void **state)
{
	uint64_t bits = 88172645463325252u;
	crocuta_error error = {0};

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(fasta, sizeof fasta, "%s/in.fa", directory);
	snprintf(backward, sizeof backward, "%s/backward.fa", directory);
	snprintf(variants, sizeof variants, "%s/in.vcf", directory);
	snprintf(output, sizeof output, "%s/out.tsv", directory);
	for (int i = 0; i < LENGTH; i++) {
		bits ^= bits << 13;
		bits ^= bits >> 7;
		bits ^= bits << 17;
		forward[i] = "ACGT"[bits >> 20 & 3];
		if (i >= 1000 && i < 1060) /* a repeat */
			forward[i] = "CA"[i & 1];
		if (i >= 2000 && i < 2050)
			forward[i] = 'N';
	}
	for (int i = 0; i < LENGTH; i++)
		reversed[i] = complement(forward[LENGTH - 1 - i]);
	write_file(fasta, ">one\n%s\n>two\n%.300s\n", forward, forward + 500);
	write_file(backward, ">one\n%s\n", reversed);
	if (crocuta_model_open(MODEL, NULL, &model, &error))
		fail_msg("%s", error.message);
	return 0;
}

/* Make the model one of a family that starts sequences with a token, has neither end nor padding,
 * takes no changes and has no filter to shift; or, with 0, what it was. */
static void be_another(int other)
{
	static cr_vocabulary vocabulary;
	static cr_family family;
	static crocuta_model kept;

	if (!other) {
		model->info = kept.info;
		model->family = kept.family;
		return;
	}
	kept = *model;
	vocabulary = *kept.family->vocabulary;
	vocabulary.start = CR_TOKEN_BOS;
	vocabulary.end = vocabulary.pad = -1;
	vocabulary.score_start = 1;
	family = *kept.family;
	family.vocabulary = &vocabulary;
	model->family = &family;
	model->info.family = "another";
	model->info.filter_shift_source = "none";
	model->info.filter_shift = 0;
	model->info.changes = model->info.streams = 0;
	model->info.usable_length = model->info.default_window = model->info.max_length - 1;
}

static int clean(void **state)
{
	(void)state;
	crocuta_model_close(model);
	unlink(fasta);
	unlink(backward);
	unlink(variants);
	unlink(output);
	return rmdir(directory); /* fails when a part file was left behind */
}

/* ---- runs ------------------------------------------------------------------------------------ */

typedef struct row {
	char chrom[32], id[32], ref[400], alt[400], status[40];
	int64_t position;
	double value[4]; /* LLR, LLR_FWD, LLR_REV, DIST */
} row;

static row rows[ROWS];
static int row_count;

static void read_rows(void)
{
	char *text = read_file(output), *line = text;

	row_count = 0;
	for (char *end; *line; line = end + 1) {
		char field[4][40];
		row *r = &rows[row_count];

		end = line + strcspn(line, "\n");
		if (*line == '#')
			continue;
		assert_true(row_count++ < ROWS);
		assert_int_equal(sscanf(line,
					"%31[^\t]\t%ld\t%31[^\t]\t%399[^\t]\t%399[^\t]\t%39[^\t]\t"
					"%39[^\t]\t%39[^\t]\t%39[^\t]\t%39[^\n]",
					r->chrom, &r->position, r->id, r->ref, r->alt, field[0],
					field[1], field[2], field[3], r->status),
				 10);
		for (int i = 0; i < 4; i++)
			r->value[i] = strcmp(field[i], ".") ? strtod(field[i], NULL) : NAN;
	}
	free(text);
}

static crocuta_score_options options_for_test(void)
{
	crocuta_score_options options;

	crocuta_score_options_init(&options);
	options.input = variants;
	options.reference = fasta;
	options.output = output;
	options.window = 128;
	options.readout = 32;
	options.no_version = 1;
	options.session.threads = 2;
	return options;
}

static crocuta_score_report run(const crocuta_score_options *options)
{
	crocuta_score_report report;
	crocuta_error error = {0};

	if (crocuta_score_run(model, options, &report, &error))
		fail_msg("%s", error.message);
	if (options->output == output)
		read_rows();
	return report;
}

#define HEADER "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"

/* Many records of the first contig: SNVs, insertions, deletions, MNVs, in the repeat, at both ends.
 */
static void write_variants(void)
{
	static const int at[] = {0,    1,    40,   95,   96,   97,   127,  128,  300,
				 301,  301,  500,  900,  996,  1010, 1030, 1060, 1500,
				 1900, 1990, 2060, 2100, 2500, 2870, 2950, 2990};
	FILE *stream = fopen(variants, "w");

	assert_non_null(stream);
	fputs(HEADER, stream);
	for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
		const char *c = forward + at[i];
		char snv = c[0] == 'A' ? 'G' : 'A';

		fprintf(stream, "one\t%d\tsnv\t%c\t%c\t.\t.\t.\n", at[i] + 1, c[0], snv);
		fprintf(stream, "one\t%d\tins\t%c\t%cCA,%cGATTACA\t.\t.\t.\n", at[i] + 1, c[0],
			c[0], c[0]);
		fprintf(stream, "one\t%d\tdel\t%.4s\t%c\t.\t.\t.\n", at[i] + 1, c, c[0]);
		fprintf(stream, "one\t%d\tmnv\t%.3s\t%c%c%c\t.\t.\t.\n", at[i] + 1, c, snv, c[1],
			complement(c[2]));
	}
	fprintf(stream, "two\t150\tshort\t%c\t%c,<DEL>\t.\t.\t.\n", forward[649],
		complement(forward[649]));
	assert_int_equal(fclose(stream), 0);
}

/* ---- the plainest way ------------------------------------------------------------------------ */

typedef struct haplotype {
	char bases[LENGTH + 400];
	int64_t length;
} haplotype;

typedef struct plain {
	int64_t start, at, count;
	int edge;
} plain;

static void make_haplotype(const char *contig, int64_t length, const row *r, int alternative,
			   int reverse, haplotype *h)
{
	const char *text = alternative ? r->alt : r->ref;
	int64_t p = r->position - 1, after = p + (int64_t)strlen(r->ref);

	h->length = 0;
	for (int64_t i = 0; i < p; i++)
		h->bases[h->length++] = contig[i];
	for (; *text; text++)
		h->bases[h->length++] = *text;
	for (int64_t i = after; i < length; i++)
		h->bases[h->length++] = contig[i];
	for (int64_t i = 0, j = h->length - 1; reverse && i <= j; i++, j--) {
		char kept = complement(h->bases[i]);

		h->bases[i] = complement(h->bases[j]);
		h->bases[j] = kept;
	}
}

static plain find_place(const crocuta_score_options *o, const haplotype *a, const haplotype *b)
{
	const int64_t shorter = a->length < b->length ? a->length : b->length;
	const int64_t step = o->step ? o->step : o->window / 2;
	plain p = {0};
	int64_t end;

	while (p.at < shorter && a->bases[p.at] == b->bases[p.at])
		p.at++;
	p.count = o->readout < shorter - p.at ? o->readout : shorter - p.at;
	end = p.at + p.count;
	if (o->placement == CROCUTA_PLACEMENT_FIXED) {
		p.start = p.at - (o->window - o->readout);
		p.edge = p.start < 0 || p.count < o->readout;
		p.start = p.start < 0 ? 0 : p.start;
		return p;
	}
	while (p.start + o->window < end)
		p.start += step;
	p.edge = p.at - p.start < o->window - o->readout - step + 1 || p.count < o->readout;
	return p;
}

typedef struct sums {
	const crocuta_score_options *options;
	const haplotype *haplotype[2];
	plain place;
	double log_probability[2];
	int64_t compared, lead;
	double vector[2][128];
} sums;

static int add_rows(void *user, int64_t side, int64_t first, int64_t count, const float *hidden,
		    const float *logits)
{
	sums *s = user;
	const int64_t v = crocuta_model_get_info(model)->vocabulary;

	for (int64_t i = 0; i < count; i++, hidden += 128, logits += v) {
		int64_t position = s->place.start - s->lead + first + i, next = position + 1;
		double sum = 0;

		if (position >= s->place.at)
			for (int d = 0; d < 128; d++)
				s->vector[side][d] += (double)hidden[d];
		if (next < s->place.at || next >= s->place.at + s->place.count ||
		    s->haplotype[0]->bases[next] == 'N' || s->haplotype[1]->bases[next] == 'N')
			continue;
		for (int64_t j = 0; j < v; j++) {
			int base = 0;

			for (int k = 0; k < 4; k++)
				base |= crocuta_model_token(model, "ACGT"[k]) == j;
			if (base || !s->options->classes)
				sum += exp((double)logits[j]);
		}
		s->compared += side;
		s->log_probability[side] += (double)logits[crocuta_model_token(
						    model, s->haplotype[side]->bases[next])] -
					    log(sum);
	}
	return 0;
}

/* LLR and DIST of one strand. */
static void judge(crocuta_session *session, const crocuta_score_options *o, const row *r,
		  int reverse, double *llr, double *distance, double *scale, int *edge)
{
	static haplotype h[2];
	static uint8_t tokens[2][2048];
	const int two = !strcmp(r->chrom, "two");
	const cr_vocabulary *vocabulary = cr_model_vocabulary(model);
	crocuta_sequence sequences[2];
	sums s = {.options = o, .haplotype = {&h[0], &h[1]}};
	crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = add_rows, .user = &s};
	double aa = 0, bb = 0, ab = 0;

	for (int k = 0; k < 2; k++)
		make_haplotype(forward + (two ? 500 : 0), two ? 300 : LENGTH, r, k, reverse, &h[k]);
	s.place = find_place(o, &h[0], &h[1]);
	s.lead = o->start_token ? o->start_token > 0 : vocabulary->score_start;
	for (int k = 0; k < 2; k++) {
		const int64_t length = s.place.at + s.place.count - s.place.start;

		sequences[k] =
			(crocuta_sequence){.tokens = tokens[k], .length = s.lead + length};
		tokens[k][0] = (uint8_t)vocabulary->start;
		for (int64_t i = 0; i < length; i++)
			tokens[k][s.lead + i] =
				crocuta_model_token(model, h[k].bases[s.place.start + i]);
	}
	assert_int_equal(crocuta_session_run(session, sequences, 2, &request, NULL), 0);
	for (int d = 0; d < 128; d++) {
		aa += s.vector[0][d] * s.vector[0][d];
		bb += s.vector[1][d] * s.vector[1][d];
		ab += s.vector[0][d] * s.vector[1][d];
	}
	*llr = s.log_probability[1] - s.log_probability[0];
	*scale += fabs(s.log_probability[1]) + fabs(s.log_probability[0]);
	if (o->reduce == CROCUTA_REDUCE_MEAN)
		*llr /= (double)s.compared;
	if (o->reduce == CROCUTA_REDUCE_WINDOW_MEAN) {
		for (int64_t i = s.place.start + !s.lead; i < s.place.at; i++)
			s.compared += h[0].bases[i] != 'N';
		*llr /= (double)s.compared;
	}
	*distance = 1 - ab / sqrt(aa * bb);
	*edge |= s.place.edge;
}

/* scale: of the sums that b is the difference of (this model knows what it wants: nats by the
 * hundred). Six digits are printed. */
static int near(double a, double b, double scale)
{
	return fabs(a - b) <= 2e-5 + 1e-5 * fabs(b) + 5e-7 * scale;
}

#endif
