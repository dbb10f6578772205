/* fuzz_head.c - head.json from any bytes: what is accepted lies in its ranges, and written again it
 * reads back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/head_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds)
{
	if (!holds)
		abort();
}

static void prove(const crocuta_head *head)
{
	const crocuta_head_info *info = &head->info;

	need(info->classes >= (info->independent ? 1 : 2));
	need(info->classes <= CROCUTA_HEAD_CLASSES_MAX);
	for (int64_t i = 0; i < info->classes; i++) {
		need(cr_head_class_name_ok(info->class_names[i]));
		for (int64_t j = 0; j < i; j++)
			need(strcmp(info->class_names[i], info->class_names[j]) != 0);
	}
	need(info->background >= -1 && info->background < info->classes);
	need(info->form.layer >= 0 && info->form.layer <= CR_LAYERS_MAX);
	need(cr_head_form_problem(&info->form) == NULL);
	need(info->hidden >= 0 && info->hidden <= CR_HEAD_HIDDEN_MAX);
	need(info->window >= 0 && info->window <= CR_HEAD_WINDOW_MAX);
	need(!info->window || info->window >= cr_head_shortest(&info->form));
	need(info->step >= 0 && info->step <= CR_HEAD_WINDOW_MAX);
	need(info->scan_both == 0 || info->scan_both == 1);
	need(strspn(head->backbone_sha256, "0123456789abcdef") == 64);
	need(head->backbone_name != NULL);
}

/* Names of directories are cleaned once; the second time nothing may change any more. */
static void prove_text(const crocuta_head *head)
{
	crocuta_error error = {0};
	crocuta_head *again = cr_head_alloc();
	char *first, *second;
	cr_head_spec spec;
	int code;

	need(again != NULL);
	cr_head_spec_of(head, &spec);
	code = cr_head_json(&spec, &first, &error);
	if (code) { /* longer than it was: indents and escapes of what "training" holds */
		need(code == CROCUTA_EMODEL && !first && strstr(error.message, "limit"));
		crocuta_head_close(again);
		return;
	}
	need(cr_head_parse(first, strlen(first), "g", again, &error) == 0);
	prove(again);
	need(!memcmp(&again->info.form, &head->info.form, sizeof head->info.form));
	need(again->info.classes == head->info.classes && again->info.window == head->info.window);
	need(again->info.background == head->info.background);
	need(again->info.independent == head->info.independent);
	cr_head_spec_of(again, &spec);
	need(cr_head_json(&spec, &second, &error) == 0);
	need(!strcmp(first, second));
	crocuta_head_close(again);
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	crocuta_error error = {0};
	crocuta_head *head = cr_head_alloc();
	int code;

	need(head != NULL);
	code = cr_head_parse((const char *)data, size, "f", head, &error);
	if (code) {
		need(code == CROCUTA_EMODEL || code == CROCUTA_EMEMORY);
		need(error.code == code && error.message[0]);
	} else {
		prove(head);
		prove_text(head);
	}
	crocuta_head_close(head);
	return 0;
}
