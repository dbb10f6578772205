/* model_arguments.c - see model_arguments.h. */
#define _GNU_SOURCE
#include "cli/model_arguments.h"

#include <limits.h>

#include "cli/messages.h"

int cr_model_arguments_open(const cr_model_arguments *arguments, crocuta_model **model)
{
	crocuta_error error = {0};
	char path[PATH_MAX];
	int code;

	*model = NULL;
	code = crocuta_model_find(arguments->name, path, sizeof path, &error);
	if (!code)
		code = crocuta_model_open(path, &arguments->open, model, &error);
	if (code)
		return cr_report_error(&error, code);
	if (!arguments->name)
		cr_notice("model: %s (the default; -m names another)",
			  crocuta_model_get_info(*model)->name);
	return 0;
}
