/* crocuta/score.h - variant effects: VCF in, VCF out; every SNV of a region; shards put together. */
#ifndef CROCUTA_SCORE_H
#define CROCUTA_SCORE_H

#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/error.h>
#include <crocuta/journal.h>
#include <crocuta/model.h>
#include <crocuta/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the window of a variant lies. Positions are counted in reading direction, from the contig's
 * first base for the forward strand and from its last for the reverse one. */
enum crocuta_placement {
	CROCUTA_PLACEMENT_GRID = 0, /* windows [k step, k step + window): of those that hold the
				       read-out, the one with the most bases before the variant */
	CROCUTA_PLACEMENT_FIXED = 1 /* window - readout bases before every variant */
};

enum crocuta_reduce {
	CROCUTA_REDUCE_SUM = 0,
	CROCUTA_REDUCE_MEAN = 1,       /* over the positions compared */
	CROCUTA_REDUCE_WINDOW_MEAN = 2 /* over all positions of the window that a model scores, up to
					  the last one compared: the difference of the two windows'
					  mean log-likelihoods */
};

/* What to do about a record whose REF is not what the FASTA has. */
enum crocuta_check_ref {
	CROCUTA_CHECK_REF_WARN = 0, /* no score, status REFMISMATCH */
	CROCUTA_CHECK_REF_ERROR = 1,
	CROCUTA_CHECK_REF_EXCLUDE = 2 /* the record is left out, and counted */
};

/* What became of an ALT; the word in the _STATUS tag is in the comment. */
enum crocuta_allele_status {
	CROCUTA_ALLELE_OK,          /* OK, with &EDGE and &MASKED where they apply */
	CROCUTA_ALLELE_STAR,        /* STAR */
	CROCUTA_ALLELE_SYMBOLIC,    /* SYMBOLIC */
	CROCUTA_ALLELE_BREAKEND,    /* BREAKEND */
	CROCUTA_ALLELE_REFBLOCK,    /* REFBLOCK */
	CROCUTA_ALLELE_NONACGT,     /* NONACGT */
	CROCUTA_ALLELE_TOOLONG,     /* TOOLONG */
	CROCUTA_ALLELE_NOCONTIG,    /* NOCONTIG */
	CROCUTA_ALLELE_OUTOFRANGE,  /* OUTOFRANGE */
	CROCUTA_ALLELE_REFMISMATCH, /* REFMISMATCH */
	CROCUTA_ALLELE_NONFINITE,   /* NONFINITE */
	CROCUTA_ALLELE_NOALT,       /* NOALT: ALT is "."; no tag, a line in a TSV */
	CROCUTA_ALLELE_STATUSES
};

/* A whole run. Fill with crocuta_score_options_init first, then set at least reference, output and
 * either input or ism. Strings are borrowed until the call returns. Lengths are bases. */
typedef struct crocuta_score_options {
	/* input */
	const char *input;        /* VCF or BCF path, "-" for standard input; NULL with ism */
	const char *ism;          /* every SNV of these regions (-r grammar), instead of an input */
	const char *reference;    /* FASTA */
	const char *fai, *gzi;    /* NULL: beside the FASTA, else built in memory */
	const char *regions, *regions_file; /* -r, -R: through the index of the VCF */
	const char *targets, *targets_file; /* -t, -T: while reading; a leading ^ excludes */
	int regions_overlap;      /* 0 POS, 1 record, 2 variant lies in the region (bcftools) */
	const char *rename_chrs;  /* two columns: name in the VCF, name in the FASTA */
	int check_ref;            /* enum crocuta_check_ref */
	double max_ref_mismatch;  /* share of records above which the run stops: wrong build */
	int64_t max_indel;        /* 0: a quarter of the window */
	double max_n;             /* share of N in the context above which a score is MASKED */
	int softmask_n, n_as_pad; /* as in crocuta_embed_options */
	int allow_truncated;      /* BGZF without its end marker */
	/* model and windows */
	int64_t window;           /* W; 0: the model's default window */
	int64_t readout;          /* R positions compared; 0: a quarter of the window, at most 1,024;
				     -1: all, the rest of the window */
	int placement;            /* enum crocuta_placement */
	int64_t step;             /* of the grid; 0: half the window */
	int strands;              /* CROCUTA_STRANDS_FORWARD, _REVERSE or _BOTH */
	int reduce;               /* enum crocuta_reduce */
	int classes;              /* softmax over 0 = all V rows, 4 = ACGT */
	int start_token;          /* the model's start token in front of every window: 1 yes, -1 no, 0
				     where published scores have it (Evo-1) */
	int no_reuse;             /* compute every window plainly */
	/* output */
	const char *output;       /* path, or "-" */
	const char *output_type;  /* "v", "z", "b", "u" and a level digit, "t"; "npy" with ism; NULL:
				     from the suffix, else v */
	const char *write_index;  /* NULL none, "csi" or "tbi" */
	const char *tag_prefix;   /* "CROCUTA" */
	int overwrite_tags;       /* replace tags of that prefix that the input has */
	int no_clobber;
	int no_version;           /* leave out version, command and date */
	int shard, shards;        /* this one of so many, from 1; 0, 0: whole */
	const char *command;      /* command line for the provenance, or NULL */
	crocuta_journal_options journal;
	/* resources */
	/* of it max_length, stream, change_length, log and user are not looked at: they are set
	   from the fields above and below */
	crocuta_session_options session;
	/* conversation */
	crocuta_log_fn *log;
	crocuta_progress_fn *progress; /* bases_done and bases_total count ALTs here */
	void *user;
} crocuta_score_options;

/* What a run did or will do. */
typedef struct crocuta_score_report {
	int64_t records, alleles;     /* read, of this shard; -1 unknown (plan of a stream) */
	int64_t records_out;
	int64_t left_out;             /* records, by check_ref EXCLUDE */
	int64_t status[CROCUTA_ALLELE_STATUSES]; /* ALTs */
	char example[CROCUTA_ALLELE_STATUSES][100]; /* the first of each, chr:pos:ref:alt, cut */
	int64_t edge, masked;         /* ALTs scored with these flags */
	int64_t equal;                /* of the scored: ALT equals REF */
	int64_t windows, changes;     /* reference windows computed, suffixes computed */
	int64_t tokens;               /* rows computed */
	int64_t resumed;              /* changes taken from the journal of an earlier run */
	int64_t window, readout, step; /* as used */
	int reuse;                    /* the shortcuts are in use */
	int64_t memory_bytes;
	const char *output_type;      /* as chosen, constant */
	crocuta_plan plan;
	crocuta_stage_times times;
} crocuta_score_report;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_score_options_init(crocuta_score_options *options);

/* The word of the _STATUS tag; constant. Any thread. */
CROCUTA_API const char *crocuta_allele_status_name(int status);

/* Check what can be checked without a model. Creates nothing. As crocuta_embed_check. */
CROCUTA_API CROCUTA_CHECKED int crocuta_score_check(const crocuta_score_options *options,
						    crocuta_error *error);

/* Options against the model; memory; for a VCF file (not a stream) its records are counted. Writes
 * nothing. Codes as crocuta_score_run. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_score_plan(const crocuta_model *model,
						   const crocuta_score_options *options,
						   crocuta_score_report *report,
						   crocuta_error *error);

/* Do it. The output appears under its name only when complete. CROCUTA_EINPUT also for the wrong
 * genome build and when no record lies on a contig of the FASTA; ENUMERIC for more than a handful of
 * NONFINITE scores; ESTOPPED. Any thread, at the same time as others when the outputs differ. */
CROCUTA_API CROCUTA_CHECKED int crocuta_score_run(const crocuta_model *model,
						  const crocuta_score_options *options,
						  crocuta_score_report *report,
						  crocuta_error *error);

/* ---- concat ---------------------------------------------------------------------------------- */

/* Outputs of crocuta put together in the order given. */
typedef struct crocuta_concat_options {
	const char *const *inputs;  /* NULL-terminated paths */
	const char *output;         /* path, or "-" */
	const char *output_type;    /* as crocuta_score_options; NULL: from the suffix, else the
				       first input's kind */
	const char *write_index;    /* NULL, "csi", "tbi": VCF and BCF only */
	int no_clobber, no_version;
	const char *command;
	crocuta_log_fn *log;
	crocuta_progress_fn *progress; /* bases_done: records or rows */
	void *user;
} crocuta_concat_options;

typedef struct crocuta_concat_report {
	int64_t files, records; /* records, rows or lines */
	const char *kind;       /* "vcf", "tsv", "npy", "bedgraph"; constant */
} crocuta_concat_report;

CROCUTA_API void crocuta_concat_options_init(crocuta_concat_options *options);

/* Merge. CROCUTA_EREFUSED when models, references or options of the inputs differ, or shards are
 * missing, doubled or out of order; EINPUT for files that crocuta did not write, or damaged ones. */
CROCUTA_API CROCUTA_CHECKED int crocuta_concat_run(const crocuta_concat_options *options,
						   crocuta_concat_report *report,
						   crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
