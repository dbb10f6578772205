/* model_arguments.h - the options that name and open a model, shared by the commands. */
#ifndef CR_CLI_MODEL_ARGUMENTS_H
#define CR_CLI_MODEL_ARGUMENTS_H

#include <crocuta/model.h>

#include "cli/options.h"

typedef struct cr_model_arguments {
	const char *name; /* -m, or NULL: the default model */
	const char *standard; /* the command's own default, or NULL: the library's */
	char backbone[200];   /* what `standard` may be */
	crocuta_model_options open;
} cr_model_arguments;

/* Has it filters that an MLP makes, with a shift and position tables, which near/far is about? */
int cr_info_has_filters(const crocuta_model_info *info);

/* Rows of an option table for a settings structure with a field `model` of the type above; default_text:
 * what no -m means. */
#define CR_MODEL_NAME_OPTION(settings, default_text)                                               \
	{                                                                                          \
		.name = "model", .letter = 'm', .group = CR_GROUP_MODEL, .kind = CR_OPTION_TEXT,   \
		.offset = offsetof(settings, model.name), .argument = "DIR|NAME",                  \
		.help = "model directory, or a name on the model path or in the local Hugging "    \
			"Face "                                                                    \
			"cache; never downloaded",                                                 \
		.standard = default_text                                                           \
	}

#define CR_MODEL_OPEN_OPTIONS(settings)                                                            \
	{.name = "filter-shift",                                                                   \
	 .group = CR_GROUP_MODEL,                                                                  \
	 .kind = CR_OPTION_REAL,                                                                   \
	 .offset = offsetof(settings, model.open.filter_shift),                                    \
	 .argument = "X",                                                                          \
	 .help = "constant added to the decay window of the filters",                              \
	 .standard = "the model's own, else 0.05"},                                                \
		{.name = "model-sha256",                                                           \
		 .group = CR_GROUP_MODEL,                                                          \
		 .kind = CR_OPTION_TEXT,                                                           \
		 .offset = offsetof(settings, model.open.sha256),                                  \
		 .argument = "HEX",                                                                \
		 .help = "refuse a model.safetensors with another digest"},                        \
		{.name = "lenient",                                                                \
		 .group = CR_GROUP_MODEL,                                                          \
		 .kind = CR_OPTION_FLAG,                                                           \
		 .offset = offsetof(settings, model.open.lenient),                                 \
		 .help = "accept tensors that no layer uses"},                                     \
	{                                                                                          \
		.name = "allow-nan-weights", .group = CR_GROUP_MODEL, .kind = CR_OPTION_FLAG,      \
		.offset = offsetof(settings, model.open.allow_nan_weights),                        \
		.help = "accept weights that are NaN or infinite"                                  \
	}

/* What to open without -m: the model that the head at `head` was fitted on, with head NULL `standard`. 0, or
 * the exit status (reported). */
int cr_model_arguments_default(cr_model_arguments *arguments, const char *head,
			       const char *standard);

/* Find and open; says which model when none was named, and warns of what is odd about it. 0, or the
 * exit status (reported). */
int cr_model_arguments_open(const cr_model_arguments *arguments, crocuta_model **model);

#endif
