/* crocuta/embed.h - vectors and tracks over contigs, regions, records and reads: whole files. */
#ifndef CROCUTA_EMBED_H
#define CROCUTA_EMBED_H

#include <stdint.h>

#include <crocuta/error.h>
#include <crocuta/journal.h>
#include <crocuta/model.h>
#include <crocuta/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which strands are read, and how the two become one row. */
enum crocuta_strands {
	CROCUTA_STRANDS_FORWARD = 1,
	CROCUTA_STRANDS_REVERSE = 2, /* the reverse complement is read; row i is still base i */
	CROCUTA_STRANDS_BOTH = 3,    /* mean of the two */
	CROCUTA_STRANDS_CONCAT = 4   /* forward columns, then reverse columns */
};

/* How far a run is. */
typedef struct crocuta_progress {
	int64_t bases_done, bases_total; /* total 0: unknown (a stream) */
	const char *contig;              /* where the run is, may be NULL */
} crocuta_progress;

/* Called a few times a second on the calling thread with what is done of what is known; `progress`
 * and its contig are valid during the call. A nonzero return stops the run with CROCUTA_ESTOPPED;
 * nothing new is left under the output's name. It must not start another embed run. */
typedef int crocuta_progress_fn(void *user, const crocuta_progress *progress);

/* A whole run. Fill with crocuta_embed_options_init first, then set at least input and output.
 * Every string, session.device and session.isa included, is borrowed until the call returns.
 * Lengths are bases. */
typedef struct crocuta_embed_options {
	/* input */
	const char *input;        /* FASTA/FASTQ/SAM/BAM/CRAM path, "-" for standard input */
	const char *fai, *gzi;    /* NULL: beside the FASTA, else built in memory */
	const char *regions;      /* -r: comma list, or NULL */
	const char *regions_file; /* -R: BED or CHROM POS [END], or NULL */
	const char *reference;    /* FASTA that decodes a CRAM, or NULL */
	int per_record;           /* one vector a record; reads (FASTQ, BAM) always are */
	int clip;                 /* clip regions at the contig's end instead of refusing */
	int softmask_n;           /* lower case becomes N */
	int n_as_pad;             /* N becomes the padding token, as in the published pretraining */
	int allow_truncated;      /* accept BGZF/BAM without its end marker */
	/* model and windows */
	int layer;                  /* -1: last (after the final norm); 0 .. N otherwise */
	int64_t window, overlap;    /* 0, -1: the model's default window, a quarter of the window */
	int stream;                 /* carried state along the whole contig */
	int strands;                /* enum crocuta_strands */
	const char *special_tokens; /* "none", "sep", "cls-sep": fed, not pooled; "model": those that
				       the family has (HyenaDNA cls-sep, Evo-1 its start token, Evo-2
				       none), pooled too, as published. Per record only */
	int classes;                /* track: softmax over 0 = all V rows, 4 = ACGT, 5 = ACGTN */
	/* output */
	int64_t bin;        /* bases a row; 1 = every base; 0 one row a contig or region; -1:
			       128 for vectors, 1 for tracks, 0 for records */
	const char *pool;   /* "mean", "last" or "max" over the bases of a row */
	const char *track;  /* NULL, "logprob" or "entropy": a scalar track instead of vectors */
	double skip_n;      /* leave out rows whose share of N is at least this; 0: none */
	const char *output; /* path, or "-" */
	const char *output_type; /* "npy", "tsv", "bedgraph", "bw"; NULL: from the suffix */
	int half;                /* npy in float16 */
	int no_clobber;          /* refuse an existing output */
	int no_space_check;
	int no_version;      /* leave out version, command and date */
	const char *command; /* command line for the provenance, or NULL */
	int shard, shards;   /* this one of so many, from 1: rows of about equal work; 0, 0: whole */
	crocuta_journal_options journal; /* unasked not for vectors of less than 16 bases */
	/* resources */
	/* of it max_length, stream, log and user are not looked at: they are set from the fields
	   above and below. Its threads compute; the calling thread reads besides them */
	crocuta_session_options session;
	/* conversation */
	crocuta_log_fn *log;
	crocuta_progress_fn *progress;
	void *user; /* for both */
} crocuta_embed_options;

/* What a run will do or did; counts, bases and bytes. Filled as far as a failed run came. */
typedef struct crocuta_embed_report {
	int64_t contigs, records;     /* sequences read */
	int64_t regions;              /* intervals reported on: regions, else whole contigs */
	int64_t bases;                /* bases reported on; -1 unknown (a stream) */
	int64_t windows;              /* forward passes; -1 unknown */
	int64_t tokens;               /* tokens computed, overlap included; -1 unknown */
	int64_t rows, columns;        /* of the output; rows -1 unknown */
	int64_t output_bytes;         /* -1 unknown */
	int64_t resumed;              /* rows taken from the journal of an earlier run */
	int64_t skipped_rows;         /* left out: share of N, or no value in a track */
	int64_t folded;               /* IUPAC letters turned into N */
	int64_t lower_case;           /* lower-case letters met */
	int64_t n_bases;              /* N after folding */
	int64_t window, overlap, bin; /* as used */
	int64_t memory_bytes;         /* model session and buffers of the task together */
	const char *output_type;      /* as chosen, constant */
	crocuta_plan plan;
	crocuta_stage_times times;
	double prepare_seconds; /* until the first base was asked for; wall clock, as the next two */
	double run_seconds;     /* from there to the finished output */
	double model_seconds;   /* of these, with the session computing */
} crocuta_embed_report;

/* Fill *options with defaults. Any thread. */
CROCUTA_API void crocuta_embed_options_init(crocuta_embed_options *options);

/* Check what can be checked without a model: options against each other, the input against the
 * output, an output that must not exist, a directory that cannot be written. Creates nothing.
 * CROCUTA_EARG, EREFUSED, EIO, EDEVICE or EMEMORY. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_embed_check(const crocuta_embed_options *options,
						    crocuta_error *error);

/* Check the options against each other and the model, count windows, rows and bytes. Reads the
 * index of the input, not the bases, and writes nothing. report must not be NULL. CROCUTA_EARG,
 * EINPUT, EMODEL, EIO, EMEMORY, EDEVICE or EREFUSED. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_embed_plan(const crocuta_model *model,
						   const crocuta_embed_options *options,
						   crocuta_embed_report *report,
						   crocuta_error *error);

/* Do it, with a session of its own. The output appears under its name only when complete. report
 * must not be NULL. Codes of crocuta_embed_plan, and CROCUTA_ENUMERIC for NaN or infinity in
 * results and ESTOPPED. Any thread, at the same time as others when the outputs differ. */
CROCUTA_API CROCUTA_CHECKED int crocuta_embed_run(const crocuta_model *model,
						  const crocuta_embed_options *options,
						  crocuta_embed_report *report,
						  crocuta_error *error);

/* Remove every unfinished output file of this process. Async-signal-safe: for a handler that must
 * end the process at once. Runs in progress fail afterwards with CROCUTA_EIO. Any thread. */
CROCUTA_API void crocuta_outputs_abort(void);

/* Write a text (NUL-terminated), whole under its name or not at all, as outputs are. With `first` a file
 * of that name is replaced only if it begins so, or is empty; else CROCUTA_EREFUSED. Descriptors
 * ("/dev/fd/3"), FIFOs and devices are written straight. EIO, EMEMORY, EARG for a URL. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_file_write(const char *path, const char *text,
						   const char *first, crocuta_error *error);

/* Could that be written? The same codes. Creates nothing. Any thread. */
CROCUTA_API CROCUTA_CHECKED int crocuta_file_check(const char *path, const char *first,
						   crocuta_error *error);

#ifdef __cplusplus
}
#endif
#endif
