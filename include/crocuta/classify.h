/* crocuta/classify.h - class probabilities of records, reads, regions and windows: whole files. */
#ifndef CROCUTA_CLASSIFY_H
#define CROCUTA_CLASSIFY_H

#include <stdint.h>

#include <crocuta/embed.h>
#include <crocuta/error.h>
#include <crocuta/head.h>
#include <crocuta/journal.h>
#include <crocuta/model.h>
#include <crocuta/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Strands that sliding windows are read on. */
enum crocuta_scan_strands {
	CROCUTA_SCAN_HEAD = 0, /* as the head says */
	CROCUTA_SCAN_FORWARD = 1,
	CROCUTA_SCAN_REVERSE = 2,
	CROCUTA_SCAN_BOTH = 3 /* two rows a window */
};

/* A whole run. Fill with crocuta_classify_options_init first, then set at least input and output.
 * Strings are borrowed until the call returns. Lengths are bases. */
typedef struct crocuta_classify_options {
	/* input */
	const char *input;        /* FASTA, FASTQ, SAM, BAM or CRAM; "-" for standard input */
	const char *fai, *gzi;    /* NULL: beside the FASTA, else built in memory */
	const char *reference;    /* FASTA that decodes a CRAM, or NULL */
	const char *regions;      /* -r list: a row a region, or windows over them */
	const char *regions_file; /* -R file */
	int clip;                 /* cut regions at the contig's end instead of refusing */
	int softmask_n;           /* lower case becomes N */
	int n_as_pad;             /* N becomes the padding token */
	int allow_truncated;      /* accept BGZF/BAM without its end marker */
	int64_t length;           /* bases read at once; longer sequences are tiled. 0: the power of two
				     from 1,024 on that holds the longest of a file, at most (and of
				     streams) the model's usable length */
	/* windows over contigs (or regions): scan nonzero */
	int scan;
	int64_t window, step; /* 0: the head's; step 0 and none there: half a window */
	int scan_strands;     /* enum crocuta_scan_strands */
	int merge;            /* windows of one call and strand that touch become one row */
	double max_n;         /* windows with a larger share of N are left out; 1: none are */
	/* output */
	double min_prob;      /* rows whose p of the predicted class is less are left out */
	const char *only;     /* rows of these predicted classes alone, comma-separated, or NULL */
	int64_t top;          /* instead of a column a class: the N likeliest; 0: all classes */
	const char *output;   /* path, or "-" */
	const char *output_type; /* "bed" or "tsv"; NULL: from the suffix */
	const char *write_index; /* NULL, "csi" or "tbi" */
	int no_clobber;       /* refuse an existing output */
	int no_version;       /* leave out version, command and date */
	const char *command;  /* command line for the provenance, or NULL */
	int shard, shards;    /* this one of so many, from 1; 0, 0: whole */
	crocuta_journal_options journal;
	/* resources; of session, max_length, stream, log and user are not looked at */
	crocuta_session_options session;
	/* conversation */
	crocuta_log_fn *log;
	crocuta_progress_fn *progress;
	void *user; /* for both */
} crocuta_classify_options;

/* What a run will do or did. Filled as far as a failed run came. */
typedef struct crocuta_classify_report {
	int64_t contigs, regions;     /* of a FASTA read by places */
	int64_t records;              /* else; -1 unknown */
	int64_t items;                /* sequences classified; -1 unknown */
	int64_t bases, tokens;        /* computed; -1 unknown */
	int64_t rows;                 /* written; -1 unknown */
	int64_t filtered;             /* left out by min_prob or only */
	int64_t resumed;              /* items taken from the journal of an earlier run */
	int64_t masked;               /* windows left out by max_n */
	int64_t unstranded;           /* regions without a strand, read forward */
	int64_t folded, lower_case, n_bases; /* letters, as in crocuta_embed_report */
	int64_t window, step;         /* as used; 0: no scan */
	int64_t per_class[CROCUTA_HEAD_CLASSES_MAX]; /* rows by predicted class */
	int64_t memory_bytes;
	const char *output_type;      /* constant */
	crocuta_plan plan;
	crocuta_stage_times times;
	double prepare_seconds, run_seconds, model_seconds; /* as in crocuta_embed_report */
} crocuta_classify_report;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_classify_options_init(crocuta_classify_options *options);

/* Check what can be checked without a model and creates nothing. CROCUTA_EARG, EREFUSED, EIO, EDEVICE
 * or EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_classify_check(const crocuta_classify_options *options,
						       crocuta_error *error);

/* Check against model and head, count items and bytes; reads the index of the input, not the bases,
 * and writes nothing. Codes as crocuta_embed_plan. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_classify_plan(const crocuta_model *model,
						      const crocuta_head *head,
						      const crocuta_classify_options *options,
						      crocuta_classify_report *report,
						      crocuta_error *error);

/* Do it, with a session of its own. The output appears under its name only when complete. Codes of
 * crocuta_classify_plan, and CROCUTA_ENUMERIC for probabilities that are no numbers, and ESTOPPED. Any
 * thread, at the same time as others when the outputs differ. */
CROCUTA_API CROCUTA_CHECKED int crocuta_classify_run(const crocuta_model *model,
						     const crocuta_head *head,
						     const crocuta_classify_options *options,
						     crocuta_classify_report *report,
						     crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
