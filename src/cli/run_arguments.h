/* run_arguments.h - option rows that the commands which run a model over files have in common. Each
 * macro takes the settings structure and the path of its field. */
#ifndef CR_CLI_RUN_ARGUMENTS_H
#define CR_CLI_RUN_ARGUMENTS_H

#include <stddef.h>

#include <crocuta/error.h>

#include "cli/options.h"

/* Refuse a binary output (type "z", "b9", "npy" ...; NULL: text) to a terminal. CR_PARSE_GO_ON, or
 * the exit status, reported. */
int cr_refuse_terminal(const char *output, const char *type);

/* What embed, score and classify share around a run. */
typedef struct cr_run_arguments {
	int shard[2];
	double max_time; /* seconds; 0: no limit */
	const char *stats;
} cr_run_arguments;

struct crocuta_journal_options;

/* Settle them: the journal's directory by CROCUTA_STATE_DIR too, the time limit into the progress; can
 * --stats be written? After cr_progress_start. 0, or the exit status, reported. */
int cr_run_settle(const cr_run_arguments *arguments, struct crocuta_journal_options *journal,
		  const char *output);

/* Report a failed run, or that a signal stopped it; gives its code. */
int cr_report_failure(const crocuta_error *error, int code);

struct crocuta_model;
struct crocuta_session_options;

/* In a process of a rank above 0 (docs/hybrids.md 8.1): follow rank 0's session to its end instead of
 * running the command. CR_PARSE_GO_ON where there is nothing to follow; else the exit status,
 * reported, and the model is closed. */
int cr_follow_rank(struct crocuta_model *model, const struct crocuta_session_options *options);

extern const cr_choice cr_isa_choices[];         /* words */
extern const cr_choice cr_convolution_choices[]; /* enum crocuta_convolution */
extern const cr_choice cr_dtype_choices[];       /* enum crocuta_dtype */
extern const cr_choice cr_parallel_choices[];    /* enum crocuta_parallel */

/* `run` is an options structure of the library with fai, gzi, softmask_n and n_as_pad. */
#define CR_FASTA_OPTIONS(settings, run)                                                            \
	{.name = "fai-idx",                                                                        \
	 .group = CR_GROUP_INPUT,                                                                  \
	 .kind = CR_OPTION_TEXT,                                                                   \
	 .offset = offsetof(settings, run.fai),                                                    \
	 .argument = "FILE",                                                                       \
	 .help = "index of the FASTA",                                                             \
	 .standard = "FASTA.fai, else made in memory"},                                            \
		{.name = "gzi-idx",                                                                \
		 .group = CR_GROUP_INPUT,                                                          \
		 .kind = CR_OPTION_TEXT,                                                           \
		 .offset = offsetof(settings, run.gzi),                                            \
		 .argument = "FILE",                                                               \
		 .help = "index of a bgzip FASTA",                                                 \
		 .standard = "FASTA.gzi, else made in memory"},                                    \
		{.name = "softmask-n",                                                             \
		 .group = CR_GROUP_INPUT,                                                          \
		 .kind = CR_OPTION_FLAG,                                                           \
		 .offset = offsetof(settings, run.softmask_n),                                     \
		 .help = "lower-case bases become N"},                                             \
	{                                                                                          \
		.name = "n-as-pad", .group = CR_GROUP_INPUT, .kind = CR_OPTION_FLAG,               \
		.offset = offsetof(settings, run.n_as_pad),                                        \
		.help = "N becomes the padding token, as in the pretraining of the published "     \
			"models"                                                                   \
	}

#define CR_WINDOW_OPTION(settings, run)                                                            \
	{                                                                                          \
		.name = "window", .group = CR_GROUP_MODEL, .kind = CR_OPTION_INTEGER,              \
		.offset = offsetof(settings, run.window), .argument = "N",                         \
		.help = "bases the model sees at once", .standard = "the model's default window",  \
		.min = 1, .max = INT64_MAX / 4                                                     \
	}

/* `run` has output. */
#define CR_OUTPUT_FILE_OPTION(settings, run, text)                                                 \
	{                                                                                          \
		.name = "output", .letter = 'o', .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_TEXT, \
		.offset = offsetof(settings, run.output), .argument = "FILE", .help = text,        \
		.standard = "standard output"                                                      \
	}

/* `run` has no_clobber and no_version. */
#define CR_OUTPUT_OPTIONS(settings, run)                                                           \
	{.name = "no-clobber",                                                                     \
	 .group = CR_GROUP_OUTPUT,                                                                 \
	 .kind = CR_OPTION_FLAG,                                                                   \
	 .offset = offsetof(settings, run.no_clobber),                                             \
	 .help = "refuse an output that exists (status 10)"},                                      \
	{                                                                                          \
		.name = "no-version", .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_FLAG,            \
		.offset = offsetof(settings, run.no_version),                                      \
		.help = "leave version, command and date out of the output"                        \
	}

/* The settings structure has a cr_run_arguments `run`; `task` has a crocuta_journal_options journal. */
#define CR_SHARD_OPTION(settings)                                                                  \
	{                                                                                          \
		.name = "shard", .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_PART,                 \
		.offset = offsetof(settings, run.shard), .argument = "K/N",                        \
		.help = "only part K of N, of about equal work; crocuta concat puts them "         \
			"together",                                                                \
		.max = 1000000                                                                     \
	}

#define CR_RUN_OPTIONS(settings, task)                                                             \
	{.name = "resume",                                                                         \
	 .group = CR_GROUP_OUTPUT,                                                                 \
	 .kind = CR_OPTION_FLAG,                                                                   \
	 .offset = offsetof(settings, task.journal.resume),                                        \
	 .help = "go on from the journal that a stopped or killed run left beside the output"},    \
		{.name = "state-dir",                                                              \
		 .group = CR_GROUP_OUTPUT,                                                         \
		 .kind = CR_OPTION_TEXT,                                                           \
		 .offset = offsetof(settings, task.journal.state_dir),                             \
		 .argument = "DIR",                                                                \
		 .help = "keep the journal here instead, and go on from what is here; for "        \
			 "pipelines",                                                              \
		 .standard = "CROCUTA_STATE_DIR"},                                                 \
		{.name = "no-journal",                                                             \
		 .group = CR_GROUP_OUTPUT,                                                         \
		 .kind = CR_OPTION_FLAG,                                                           \
		 .offset = offsetof(settings, task.journal.off),                                   \
		 .help = "keep no journal of finished work"},                                      \
		{.name = "journal-interval",                                                       \
		 .group = CR_GROUP_OUTPUT,                                                         \
		 .kind = CR_OPTION_REAL,                                                           \
		 .offset = offsetof(settings, task.journal.interval),                              \
		 .argument = "SEC",                                                                \
		 .help = "seconds from one save of the journal to the next",                       \
		 .standard = "10",                                                                 \
		 .min = 0,                                                                         \
		 .max = 1000000},                                                                  \
		{.name = "max-time",                                                               \
		 .group = CR_GROUP_RESOURCES,                                                      \
		 .kind = CR_OPTION_DURATION,                                                       \
		 .offset = offsetof(settings, run.max_time),                                       \
		 .argument = "TIME",                                                               \
		 .help = "stop after this time with status 75, finished work saved: seconds, 15m, "   \
			 "2h, 1d, HH:MM:SS or D-HH:MM:SS"},                                        \
	{                                                                                          \
		.name = "stats", .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_TEXT,                 \
		.offset = offsetof(settings, run.stats), .argument = "FILE",                       \
		.help = "JSON about the run: counts, times, memory; also of one that fails"        \
	}

/* Of VCF and BCF; `run` has write_index. */
#define CR_INDEX_OPTION(settings, run)                                                             \
	{                                                                                          \
		.name = "write-index", .letter = 'W', .group = CR_GROUP_OUTPUT,                    \
		.kind = CR_OPTION_MAYBE_WORD, .offset = offsetof(settings, run.write_index),       \
		.argument = "csi|tbi", .choices = cr_index_choices, .word = "csi",                 \
		.help = "index the output, which must be z or b and in order; -W is csi"           \
	}
extern const cr_choice cr_index_choices[];

/* The settings structure has int fields dry_run and json. */
#define CR_PLAN_OPTIONS(settings)                                                                  \
	{.name = "dry-run",                                                                        \
	 .group = CR_GROUP_OUTPUT,                                                                 \
	 .kind = CR_OPTION_FLAG,                                                                   \
	 .offset = offsetof(settings, dry_run),                                                    \
	 .help = "print the plan on standard output and stop: windows, counts, memory"},           \
	{                                                                                          \
		.name = "json", .group = CR_GROUP_OUTPUT, .kind = CR_OPTION_FLAG,                  \
		.offset = offsetof(settings, json), .help = "the plan of --dry-run as JSON"        \
	}

#define CR_THREADS_OPTION(settings, field)                                                         \
	{                                                                                          \
		.name = "threads", .letter = '@', .group = CR_GROUP_RESOURCES,                     \
		.kind = CR_OPTION_INT, .offset = offsetof(settings, field), .argument = "N",       \
		.help = "total CPU threads, of embed besides one that reads; 0 = "                 \
			"SLURM_CPUS_PER_TASK, OMP_NUM_THREADS or what this process may use",       \
		.standard = "0", .min = 0, .max = 1024                                             \
	}

#define CR_KERNEL_OPTIONS(settings, isa_field, convolution_field)                                  \
	{.name = "isa",                                                                            \
	 .group = CR_GROUP_RESOURCES,                                                              \
	 .kind = CR_OPTION_WORD,                                                                   \
	 .offset = offsetof(settings, isa_field),                                                  \
	 .argument = "NAME",                                                                       \
	 .help = "kernels to use: avx512, avx2 or portable",                                       \
	 .standard = "the best this CPU runs",                                                     \
	 .choices = cr_isa_choices},                                                               \
	{                                                                                          \
		.name = "conv", .group = CR_GROUP_RESOURCES, .kind = CR_OPTION_CHOICE,             \
		.offset = offsetof(settings, convolution_field), .argument = "FORM",               \
		.help = "long convolution: auto, fft or nearfar", .standard = "auto",              \
		.choices = cr_convolution_choices                                                  \
	}

/* Fields: const char *, int (enum crocuta_dtype). */
#define CR_DEVICE_OPTIONS(settings, device_field, dtype_field)                                     \
	{.name = "device",                                                                         \
	 .group = CR_GROUP_RESOURCES,                                                              \
	 .kind = CR_OPTION_TEXT,                                                                   \
	 .offset = offsetof(settings, device_field),                                               \
	 .argument = "NAME",                                                                       \
	 .help = "auto, cpu; with CUDA also cuda, cuda:N, cuda:N,M,... or cuda:all",               \
	 .standard = "auto: a GPU where there is one, else cpu"},                                  \
	{                                                                                          \
		.name = "dtype", .group = CR_GROUP_RESOURCES, .kind = CR_OPTION_CHOICE,            \
		.offset = offsetof(settings, dtype_field), .argument = "TYPE",                     \
		.help = "arithmetic: f32, or on GPUs bf16 (bfloat16: faster, less exact)",         \
		.standard = "f32", .choices = cr_dtype_choices                                     \
	}

#define CR_PARALLEL_OPTION(settings, field)                                                        \
	{                                                                                          \
		.name = "parallel", .group = CR_GROUP_RESOURCES, .kind = CR_OPTION_CHOICE,         \
		.offset = offsetof(settings, field), .argument = "HOW",                            \
		.help = "several GPUs: batch (windows of their own) or sequence (they share each " \
			"window)",                                                                 \
		.standard = "auto: batch for HyenaDNA, sequence for hybrids",                      \
		.choices = cr_parallel_choices                                                     \
	}

#define CR_PROGRESS_OPTION(settings)                                                               \
	{                                                                                          \
		.name = "progress", .group = CR_GROUP_RESOURCES, .kind = CR_OPTION_INT,            \
		.offset = offsetof(settings, progress), .argument = "SEC",                         \
		.help = "seconds between progress lines; 0 none", .standard = "60", .min = 0,      \
		.max = 1000000                                                                     \
	}

/* `run` has a crocuta_session_options `session`; the settings structure the int field progress. */
#define CR_RESOURCE_OPTIONS(settings, run)                                                         \
	CR_THREADS_OPTION(settings, run.session.threads),                                          \
		CR_DEVICE_OPTIONS(settings, run.session.device, run.session.dtype),                \
		CR_PARALLEL_OPTION(settings, run.session.parallel),                                \
		CR_KERNEL_OPTIONS(settings, run.session.isa, run.session.convolution),             \
		{.name = "batch-size",                                                             \
		 .group = CR_GROUP_RESOURCES,                                                      \
		 .kind = CR_OPTION_INTEGER,                                                        \
		 .offset = offsetof(settings, run.session.batch),                                  \
		 .argument = "N",                                                                  \
		 .help = "windows computed side by side; never changes the bytes",                 \
		 .standard = "auto",                                                               \
		 .word = "auto",                                                                   \
		 .word_value = 0,                                                                  \
		 .min = 1,                                                                         \
		 .max = 1000000},                                                                  \
		{.name = "max-mem",                                                                \
		 .group = CR_GROUP_RESOURCES,                                                      \
		 .kind = CR_OPTION_INTEGER,                                                        \
		 .offset = offsetof(settings, run.session.memory_limit),                           \
		 .argument = "BYTES",                                                              \
		 .help = "refuse a plan for more host memory; k, M, G, Ki, Mi, Gi understood",     \
		 .standard = "no limit",                                                           \
		 .min = 1,                                                                         \
		 .max = INT64_MAX},                                                                \
		CR_PROGRESS_OPTION(settings)

#endif
