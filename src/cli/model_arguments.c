/* model_arguments.c - see model_arguments.h. */
#define _GNU_SOURCE
#include "cli/model_arguments.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include <crocuta/head.h>

#include "cli/messages.h"

#define NOTES_SHOWN 5

static void show_notes(const crocuta_model *model)
{
	const char *note;
	int count = 0;

	while ((note = crocuta_model_get_note(model, count)))
		if (count++ < NOTES_SHOWN)
			cr_warning("model: %s", note);
	if (count > NOTES_SHOWN)
		cr_warning("model: %d notes in all; \"crocuta model show\" prints them", count);
}

int cr_info_has_filters(const crocuta_model_info *info)
{
	return strcmp(info->filter_shift_source, "none") != 0;
}

int cr_model_arguments_default(cr_model_arguments *arguments, const char *head, const char *standard)
{
	crocuta_error error = {0};
	int code;

	arguments->standard = standard;
	if (!head || arguments->name)
		return 0;
	code = crocuta_head_get_backbone(head, arguments->backbone, sizeof arguments->backbone,
					 &error);
	arguments->standard = arguments->backbone;
	return code ? cr_report_error(&error, code) : 0;
}

int cr_model_arguments_open(const cr_model_arguments *arguments, crocuta_model **model)
{
	const crocuta_model_info *info;
	crocuta_error error = {0};
	char path[PATH_MAX];
	int code;

	*model = NULL;
	code = crocuta_model_find(arguments->name ? arguments->name : arguments->standard, path,
				  sizeof path, &error);
	if (!code)
		code = crocuta_model_open(path, &arguments->open, model, &error);
	if (code)
		return cr_report_error(&error, code);
	info = crocuta_model_get_info(*model);
	if (!isnan(arguments->open.filter_shift) && !cr_info_has_filters(info)) {
		cr_error("--filter-shift: models of the family \"%s\" have no filters that it could "
			 "be added to", info->family);
		crocuta_model_close(*model);
		*model = NULL;
		return CROCUTA_EARG;
	}
	if (!arguments->name)
		cr_notice("model: %s (%s; -m names another)", info->name,
			  arguments->standard && arguments->standard == arguments->backbone
				  ? "which the head was fitted on"
				  : "the default");
	show_notes(*model);
	return 0;
}
