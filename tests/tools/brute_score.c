/* brute_score.c - the judge of `crocuta score`: every haplotype of every allele, computed whole.
 *
 * brute_score MODEL FASTA VCF [options]: plain text files (bgzip -dc, bcftools view), a table like
 * that of `score -O t` on standard output, with nine digits. Shares nothing with the library but
 * opening a model and running sequences through it: files are read, changes found, windows placed
 * and sums made here, by the definitions and in the plainest way. Both haplotypes are written out
 * from one end of the contig to the window's end and compared letter by letter; both windows run
 * through the model from their first position to their last.
 *
 * --lean yes: rows before a change are not asked for, so that a session may leave them out of its last
 * block. --time N: instead of the table, the speed over N alleles spread over the file, and how many rows
 * this way of computing needs against sharing windows and prefixes.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <crocuta/model.h>
#include <crocuta/session.h>

static void stop(const char *text, const char *detail)
{
	fprintf(stderr, "brute_score: %s%s%s\n", text, detail ? ": " : "", detail ? detail : "");
	exit(2);
}

static void *need(void *block)
{
	if (!block)
		stop("no memory", NULL);
	return block;
}

static struct {
	const char *model, *fasta, *vcf, *device, *isa;
	int64_t window, readout, step, max_indel, time, batch;
	int lean; /* ask only for rows from the change on */
	int all, fixed, first_strand, last_strand, mean, classes, threads;
	double max_n;
} o = {.device = "cpu", .last_strand = 1, .max_n = 0.1, .batch = 32};

/* ---- the FASTA: both strands of every contig, upper case, all but ACGT as N -------------------
 */

static struct contig {
	char name[256];
	char *strand[2];
	int64_t length;
} * contigs;
static int contig_count;

static char *read_file(const char *path)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
	size_t size = 0, room = 1 << 20, got;
	char *text = need(malloc(room));

	if (!file)
		stop("cannot open", path);
	while ((got = fread(text + size, 1, room - size - 1, file)) > 0) {
		size += got;
		if (room - size < 2)
			text = need(realloc(text, room *= 2));
	}
	if (ferror(file))
		stop("cannot read", path);
	fclose(file);
	text[size] = 0;
	return text;
}

static char fold(char letter)
{
	switch (letter) {
	case 'a':
	case 'A':
		return 'A';
	case 'c':
	case 'C':
		return 'C';
	case 'g':
	case 'G':
		return 'G';
	case 't':
	case 'T':
	case 'u':
	case 'U':
		return 'T';
	default:
		return 'N';
	}
}

static char *reversed(const char *bases, int64_t length)
{
	char *out = need(malloc((size_t)length + 1));

	for (int64_t i = 0; i < length; i++) {
		char base = bases[length - 1 - i];

		out[i] = base == 'A'   ? 'T'
			 : base == 'C' ? 'G'
			 : base == 'G' ? 'C'
			 : base == 'T' ? 'A'
				       : 'N';
	}
	out[length] = 0;
	return out;
}

static void read_fasta(void)
{
	char *text = read_file(o.fasta), *at = text;

	while (*at == '>') {
		struct contig *contig;
		char *end = at + strcspn(at, "\n"), *out;

		contigs = need(realloc(contigs, (size_t)(contig_count + 1) * sizeof *contigs));
		contig = &contigs[contig_count++];
		snprintf(contig->name, sizeof contig->name, "%.*s", (int)strcspn(at + 1, " \t\r\n"),
			 at + 1);
		out = contig->strand[0] = need(malloc(strlen(end) + 1));
		for (at = end; *at && *at != '>'; at++)
			if (*at != '\n' && *at != '\r')
				*out++ = fold(*at);
		*out = 0;
		contig->length = out - contig->strand[0];
		contig->strand[1] = reversed(contig->strand[0], contig->length);
	}
	free(text);
	if (!contig_count)
		stop("not a FASTA file", o.fasta);
}

/* ---- the VCF: one entry for each ALT ----------------------------------------------------------
 */

struct reading {                       /* an allele along one strand */
	int64_t at, start, end, count; /* in reading coordinates */
	int64_t compared;
	double llr, distance;
};

static struct allele {
	const char *chrom, *pos, *id, *ref, *alt;
	int contig;
	int64_t position;
	char *text[2][2]; /* [strand][REF, ALT], upper case */
	char status[40];  /* empty: to be scored */
	int edge, masked;
	struct reading reading[2];
} * alleles;
static int64_t allele_count;
static char *vcf_text; /* what their strings point into */

static int all_acgt(const char *text)
{
	return *text && strspn(text, "ACGTacgt") == strlen(text);
}

/* What can be told from the text and the reference; empty if it is to be scored. */
static const char *judge(const struct allele *a)
{
	size_t length = strlen(a->alt);
	const struct contig *contig = a->contig < 0 ? NULL : &contigs[a->contig];

	if (!strcmp(a->alt, "*"))
		return "STAR";
	if (!strcmp(a->alt, "."))
		return "NOALT";
	if (!strcmp(a->alt, "<*>") || !strcmp(a->alt, "<NON_REF>") || !strcmp(a->alt, "<X>"))
		return "REFBLOCK";
	if (a->alt[0] == '<' && a->alt[length - 1] == '>')
		return "SYMBOLIC";
	if (strpbrk(a->alt, "[]") || a->alt[0] == '.' || a->alt[length - 1] == '.')
		return "BREAKEND";
	if (!contig)
		return "NOCONTIG";
	if (a->position < 0 || a->position + (int64_t)strlen(a->ref) > contig->length)
		return "OUTOFRANGE";
	if (!all_acgt(a->ref) || !all_acgt(a->alt))
		return "NONACGT";
	for (int64_t i = 0; a->ref[i]; i++)
		if (fold(a->ref[i]) != contig->strand[0][a->position + i])
			return "REFMISMATCH";
	return "";
}

static char *upper(const char *text)
{
	char *copy = need(malloc(strlen(text) + 1));
	int64_t i = 0;

	for (; text[i]; i++)
		copy[i] = fold(text[i]);
	copy[i] = 0;
	return copy;
}

static void add_allele(char *const *field, const char *alt)
{
	struct allele *a;

	alleles = need(realloc(alleles, (size_t)(allele_count + 1) * sizeof *alleles));
	a = &alleles[allele_count++];
	*a = (struct allele){.chrom = field[0],
			     .pos = field[1],
			     .id = field[2],
			     .ref = field[3],
			     .alt = alt,
			     .contig = -1,
			     .position = strtoll(field[1], NULL, 10) - 1};
	for (int i = 0; i < contig_count; i++)
		if (!strcmp(contigs[i].name, a->chrom))
			a->contig = i;
	strcpy(a->status, judge(a));
	if (*a->status)
		return;
	a->text[0][0] = upper(a->ref);
	a->text[0][1] = upper(a->alt);
	for (int i = 0; i < 2; i++)
		a->text[1][i] = reversed(a->text[0][i], (int64_t)strlen(a->text[0][i]));
}

static void read_vcf(void)
{
	char *line = vcf_text = read_file(o.vcf), *next;

	for (; *line; line = next) {
		char *field[5];

		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		if (*line == '#' || !*line)
			continue;
		for (int i = 0; i < 5; i++) {
			field[i] = line;
			line += strcspn(line, "\t");
			if (!*line)
				stop("not a VCF line", field[0]);
			*line++ = 0;
		}
		for (char *alt = strtok(field[4], ","); alt; alt = strtok(NULL, ","))
			add_allele(field, alt);
	}
}

/* ---- haplotypes -------------------------------------------------------------------------------
 */

/* Base i of the haplotype with `text` in place of REF. */
static char haplotype(const struct allele *a, int strand, int alternative, int64_t i)
{
	const struct contig *contig = &contigs[a->contig];
	int64_t removed = (int64_t)strlen(a->text[strand][0]);
	int64_t inserted = (int64_t)strlen(a->text[strand][1]);
	int64_t from = strand ? contig->length - a->position - removed : a->position;

	if (!alternative || i < from)
		return contig->strand[strand][i];
	if (i < from + inserted)
		return a->text[strand][1][i - from];
	return contig->strand[strand][i - inserted + removed];
}

static int64_t length_of(const struct allele *a, int alternative)
{
	int64_t grown = (int64_t)strlen(a->text[0][1]) - (int64_t)strlen(a->text[0][0]);

	return contigs[a->contig].length + (alternative ? grown : 0);
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Where the two haplotypes differ first; their shorter length if one is the beginning of the other,
 * -1 if they are the same. Before the record they agree, whatever it says. */
static int64_t first_difference(const struct allele *a, int strand)
{
	int64_t old = length_of(a, 0), new = length_of(a, 1), shorter = smaller(old, new);
	int64_t i = strand ? old - a->position - (int64_t)strlen(a->text[0][0]) : a->position;

	while (i < shorter && haplotype(a, strand, 0, i) == haplotype(a, strand, 1, i))
		i++;
	return i == shorter && old == new ? -1 : i;
}

/* Bases taken out or put in, the larger number: what lies between the ends that agree. */
static int64_t size_of_change(const struct allele *a)
{
	int64_t old = length_of(a, 0), new = length_of(a, 1);
	int64_t ends = smaller(first_difference(a, 0) + first_difference(a, 1), smaller(old, new));

	return larger(old, new) - ends;
}

static void place(const struct allele *a, int strand, struct reading *r, int *edge, int *masked)
{
	int64_t old = length_of(a, 0), new = length_of(a, 1), shorter = smaller(old, new);
	int64_t before, unknown = 0;

	r->start = 0;
	r->at = first_difference(a, strand);
	if (o.fixed) {
		r->count = smaller(o.readout, shorter - r->at);
		r->start = larger(0, r->at - (o.window - o.readout));
		r->end = r->at + r->count;
		before = o.window - o.readout;
	} else {
		int64_t wanted = r->at + smaller(o.readout, shorter - r->at);

		if (wanted > o.window) /* rounded up */
			r->start = (wanted - o.window + o.step - 1) / o.step * o.step;
		r->end = smaller(r->start + o.window, shorter);
		r->count = o.all ? r->end - r->at : wanted - r->at;
		before = o.window - o.readout - o.step + 1;
	}
	if (r->at - r->start < before || r->count < o.readout)
		*edge = 1;
	for (int64_t i = r->start; i < smaller(r->at + r->count, old); i++)
		unknown += haplotype(a, strand, 0, i) == 'N';
	if ((double)unknown > o.max_n * (double)(r->at + r->count - r->start))
		*masked = 1;
}

/* ---- the model --------------------------------------------------------------------------------
 */

static crocuta_model *model;
static crocuta_session *session;
static int64_t width, vocabulary;
static uint8_t token[256];

struct run { /* one window of one haplotype */
	uint8_t *tokens;
	int64_t length, at, count;
	const char *other; /* the other haplotype's letters */
	char *letters;
	int64_t compared;
	double log_probability;
	double *sum; /* (D) of the vectors of the read-out */
};

static double log_probability(const float *logits, int of)
{
	static const char bases[] = "ACGT";
	double largest = -INFINITY, sum = 0;

	for (int i = 0; i < (o.classes ? 4 : vocabulary); i++)
		largest = fmax(largest, logits[o.classes ? token[(unsigned char)bases[i]] : i]);
	for (int i = 0; i < (o.classes ? 4 : vocabulary); i++)
		sum += exp(logits[o.classes ? token[(unsigned char)bases[i]] : i] - largest);
	return logits[of] - largest - log(sum);
}

static int take_rows(void *user, int64_t sequence, int64_t first, int64_t count,
		     const float *hidden, const float *logits)
{
	struct run *run = (struct run *)user + sequence;

	for (int64_t i = first; i < first + count; i++, hidden += width, logits += vocabulary) {
		int64_t next = i + 1;

		if (next >= run->at && next < run->at + run->count && run->letters[next] != 'N' &&
		    run->other[next] != 'N') {
			run->log_probability += log_probability(logits, run->tokens[next]);
			run->compared++;
		}
		if (i >= run->at && i < run->at + run->count)
			for (int64_t d = 0; d < width; d++)
				run->sum[d] += hidden[d];
	}
	return 0;
}

static void make_run(struct run *run, const struct allele *a, int strand, int alternative)
{
	const struct reading *r = &a->reading[strand];

	*run = (struct run){.length = r->end - r->start, .at = r->at - r->start, .count = r->count};
	run->tokens = need(malloc((size_t)run->length + 1));
	run->letters = need(malloc((size_t)run->length + 1));
	run->sum = need(calloc((size_t)width, sizeof *run->sum));
	for (int64_t i = 0; i < run->length; i++) {
		run->letters[i] = haplotype(a, strand, alternative, r->start + i);
		run->tokens[i] = token[(unsigned char)run->letters[i]];
	}
}

static double cosine_distance(const double *a, const double *b)
{
	double ab = 0, aa = 0, bb = 0;

	if (!memcmp(a, b, (size_t)width * sizeof *a))
		return 0;
	for (int64_t d = 0; d < width; d++) {
		ab += a[d] * b[d];
		aa += a[d] * a[d];
		bb += b[d] * b[d];
	}
	return 1 - ab / sqrt(aa * bb);
}

/* Both windows of `count` readings, in one call of the session. */
static void compute(struct reading *const *readings, const struct allele *const *of,
		    const int *strand, int count)
{
	struct run *run = need(calloc((size_t)count * 2, sizeof *run));
	crocuta_sequence *sequence = need(calloc((size_t)count * 2, sizeof *sequence));
	crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = take_rows, .user = run};
	crocuta_error error = {0};

	for (int i = 0; i < 2 * count; i++) {
		make_run(&run[i], of[i / 2], strand[i / 2], i % 2);
		sequence[i] = (crocuta_sequence){.tokens = run[i].tokens, .length = run[i].length};
		if (o.lean) /* the session then leaves these rows out of its last block */
			sequence[i].report_from = larger(0, run[i].at - 1);
	}
	for (int i = 0; i < 2 * count; i++)
		run[i].other = run[i ^ 1].letters;
	if (crocuta_session_run(session, sequence, 2 * count, &request, &error))
		stop(error.message, NULL);
	for (int i = 0; i < count; i++) {
		const struct run *old = &run[2 * i], *new = &run[2 * i + 1];

		readings[i]->compared = old->compared;
		readings[i]->llr = new->log_probability - old->log_probability;
		if (o.mean)
			readings[i]->llr /= (double)old->compared;
		readings[i]->distance = cosine_distance(old->sum, new->sum);
	}
	for (int i = 0; i < 2 * count; i++) {
		free(run[i].tokens);
		free(run[i].letters);
		free(run[i].sum);
	}
	free(run);
	free(sequence);
}

/* Readings of the alleles, `every`-th only, many at a time. Seconds go to *seconds. */
static int64_t compute_all(int64_t every, double *seconds)
{
	struct reading *readings[1024];
	const struct allele *of[1024];
	struct timespec begin, end;
	int strands[1024], filled = 0;
	int64_t met = 0, done = 0;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int64_t i = 0; i < allele_count; i++) {
		struct allele *a = &alleles[i];

		if (*a->status || first_difference(a, 0) < 0 || (o.time && met++ % every) ||
		    (o.time && done >= o.time))
			continue;
		done++;
		for (int strand = o.first_strand; strand <= o.last_strand; strand++) {
			if (!a->reading[strand].count)
				continue;
			readings[filled] = &a->reading[strand];
			of[filled] = a;
			strands[filled++] = strand;
			if (filled == o.batch) {
				compute(readings, of, strands, filled);
				filled = 0;
			}
		}
	}
	if (filled)
		compute(readings, of, strands, filled);
	clock_gettime(CLOCK_MONOTONIC, &end);
	*seconds =
		(double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
	return done;
}

/* ---- what comes out ---------------------------------------------------------------------------
 */

static void print_number(double value)
{
	if (isfinite(value))
		printf("\t%.9g", value);
	else
		printf("\t.");
}

static void print_allele(const struct allele *a)
{
	double llr = 0, distance = 0, of[2] = {NAN, NAN};
	int strands = 1 + o.last_strand - o.first_strand, scored = !*a->status;

	printf("%s\t%s\t%s\t%s\t%s", a->chrom, a->pos, a->id, a->ref, a->alt);
	for (int strand = o.first_strand; scored && strand <= o.last_strand; strand++) {
		const struct reading *r = &a->reading[strand];

		of[strand] = r->at < 0 || r->compared ? r->llr : NAN;
		llr += of[strand] / strands;
		distance += r->distance / strands;
	}
	scored = scored && isfinite(llr) && isfinite(distance);
	print_number(scored ? llr : NAN);
	for (int strand = o.first_strand; strand <= o.last_strand; strand++)
		print_number(scored ? of[strand] : NAN);
	print_number(scored ? distance : NAN);
	if (scored)
		printf("\tOK%s%s\n", a->edge ? "&EDGE" : "", a->masked ? "&MASKED" : "");
	else
		printf("\t%s\n", *a->status ? a->status : "NONFINITE");
}

struct span {
	int64_t contig, strand, start, end;
};

static int compare_spans(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct span));
}

/* Rows of all alleles: two windows each here; and each window once, then the read-outs alone. */
static void print_cost(void)
{
	struct span *span = need(calloc((size_t)allele_count * 2 + 1, sizeof *span));
	int64_t spans = 0, whole = 0, shared = 0, scored = 0;

	for (int64_t i = 0; i < allele_count; i++) {
		const struct allele *a = &alleles[i];

		if (*a->status || a->reading[o.first_strand].at < 0)
			continue;
		scored++;
		for (int strand = o.first_strand; strand <= o.last_strand; strand++) {
			const struct reading *r = &a->reading[strand];

			whole += 2 * (r->end - r->start);
			shared += r->count;
			span[spans++] = (struct span){a->contig, strand, r->start,
						      o.fixed ? r->end : r->start + o.window};
		}
	}
	qsort(span, (size_t)spans, sizeof *span, compare_spans);
	for (int64_t i = 0; i < spans; i++)
		if (!i || compare_spans(&span[i], &span[i - 1]))
			shared += smaller(span[i].end, contigs[span[i].contig].length) -
				  span[i].start;
	printf("alleles\t%lld\nrows_whole\t%lld\nrows_shared\t%lld\n", (long long)scored,
	       (long long)whole, (long long)shared);
	free(span);
}

static void options(int argc, char **argv)
{
	const char *const *path[] = {&o.model, &o.fasta, &o.vcf};
	int paths = 0;

	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (strncmp(name, "--", 2)) {
			if (paths == 3)
				stop("stray argument", name);
			*(const char **)path[paths++] = name;
			continue;
		}
		i++;
		if (!strcmp(name, "--window"))
			o.window = strtoll(value, NULL, 10);
		else if (!strcmp(name, "--readout"))
			o.all = !strcmp(value, "all"),
			o.readout = o.all ? 0 : strtoll(value, NULL, 10);
		else if (!strcmp(name, "--step"))
			o.step = strtoll(value, NULL, 10);
		else if (!strcmp(name, "--max-indel"))
			o.max_indel = strtoll(value, NULL, 10);
		else if (!strcmp(name, "--max-n"))
			o.max_n = strtod(value, NULL);
		else if (!strcmp(name, "--placement"))
			o.fixed = !strcmp(value, "fixed");
		else if (!strcmp(name, "--strands"))
			o.first_strand = !strcmp(value, "reverse"),
			o.last_strand = strcmp(value, "forward") != 0;
		else if (!strcmp(name, "--reduce"))
			o.mean = !strcmp(value, "mean");
		else if (!strcmp(name, "--classes"))
			o.classes = !strcmp(value, "acgt");
		else if (!strcmp(name, "--device"))
			o.device = value;
		else if (!strcmp(name, "--isa"))
			o.isa = value;
		else if (!strcmp(name, "--threads"))
			o.threads = atoi(value);
		else if (!strcmp(name, "--batch"))
			o.batch = strtoll(value, NULL, 10);
		else if (!strcmp(name, "--lean"))
			o.lean = !strcmp(value, "yes");
		else if (!strcmp(name, "--time"))
			o.time = strtoll(value, NULL, 10);
		else
			stop("unknown option", name);
	}
	if (paths < 3 || o.batch < 1 || o.batch > 1024)
		stop("usage: brute_score MODEL FASTA VCF [--window W] [--readout R|all] "
		     "[--placement grid|fixed] [--step S] [--strands both|forward|reverse] "
		     "[--reduce sum|mean] [--classes all|acgt] [--max-indel N] [--max-n SHARE] "
		     "[--device cpu|reference] [--isa NAME] [--threads N] [--batch N] [--time N] [--lean yes]",
		     NULL);
}

static void open_model(void)
{
	crocuta_session_options plan;
	crocuta_error error = {0};
	const crocuta_model_info *info;

	if (crocuta_model_open(o.model, NULL, &model, &error))
		stop(error.message, NULL);
	info = crocuta_model_get_info(model);
	width = info->width;
	vocabulary = info->vocabulary;
	for (const char *base = "ACGTN"; *base; base++)
		token[(unsigned char)*base] = crocuta_model_token(model, *base);
	if (!o.window)
		o.window = info->usable_length;
	if (o.all)
		o.readout = o.fixed ? o.window - o.window / 2 : o.window / 4;
	else if (!o.readout)
		o.readout = smaller(o.window / 4, 1024);
	o.readout = larger(1, o.readout);
	if (!o.step)
		o.step = larger(1, smaller(o.window / 2, o.window - o.readout));
	if (!o.max_indel)
		o.max_indel = larger(1, o.window / 4);
	crocuta_session_options_init(&plan);
	plan.device = o.device;
	plan.isa = o.isa;
	plan.threads = o.threads;
	plan.max_length = o.window;
	if (crocuta_session_new(model, &plan, &session, &error))
		stop(error.message, NULL);
}

int main(int argc, char **argv)
{
	int64_t done, scored = 0;
	double seconds;

	options(argc, argv);
	read_fasta();
	read_vcf();
	open_model();
	for (int64_t i = 0; i < allele_count; i++) {
		struct allele *a = &alleles[i];

		for (int strand = 0; strand < 2; strand++)
			a->reading[strand].at = -1;
		if (*a->status || first_difference(a, 0) < 0)
			continue;
		if (size_of_change(a) > o.max_indel) {
			strcpy(a->status, "TOOLONG");
			continue;
		}
		scored++;
		for (int strand = o.first_strand; strand <= o.last_strand; strand++)
			place(a, strand, &a->reading[strand], &a->edge, &a->masked);
	}
	done = compute_all(o.time ? larger(1, scored / o.time) : 1, &seconds);
	if (o.time) {
		printf("computed\t%lld\nseconds\t%.6f\nper_second\t%.6g\n", (long long)done,
		       seconds, (double)done / seconds);
		print_cost();
		return 0;
	}
	printf("#CHROM\tPOS\tID\tREF\tALT\tLLR%s%s\tDIST\tSTATUS\n",
	       o.first_strand ? "" : "\tLLR_FWD", o.last_strand ? "\tLLR_REV" : "");
	for (int64_t i = 0; i < allele_count; i++)
		print_allele(&alleles[i]);
	return fflush(stdout) || ferror(stdout) ? 5 : 0;
}
