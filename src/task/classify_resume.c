/* classify_resume.c - items of a classify run in its journal: a unit is the probabilities of one.
 */
#include "base/error.h"
#include "base/memory.h"
#include "task/classify_internal.h"

/* What decides the numbers; what is done with them afterwards may change. */
static json_t *make_binding(const cr_classify *classify, const crocuta_plan *plan)
{
	const crocuta_classify_options *o = &classify->options;
	json_t *object = cr_resume_binding(cr_classify_provenance(classify, plan), plan, o->shard,
					   o->shards);
	char text[40];

	if (!object)
		return NULL;
	snprintf(text, sizeof text, "%016llx", (unsigned long long)classify->census.digest);
	json_object_set_new(object, "items", json_string(text));
	json_object_set_new(object, "read_at_once",
			    json_integer(cr_feature_length(classify->model, &classify->features)));
	return object;
}

int cr_classify_open_journal(cr_classify *classify, const crocuta_plan *plan)
{
	const crocuta_classify_options *o = &classify->options;
	const int64_t classes = classify->head_info->classes;
	char path[4096];
	int code;

	classify->binding = make_binding(classify, plan);
	if (!classify->binding)
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for a journal");
	classify->resume = (cr_resume){.options = &o->journal,
				       .verb = "classify",
				       .output = o->output,
				       .inputs = {o->input},
				       .units = o->scan ? "windows" : "sequences",
				       .command = o->command,
				       .binding = classify->binding,
				       .unit_bytes = classes * (int64_t)sizeof(double),
				       .unasked = 1,
				       .log = o->log,
				       .user = o->user};
	code = cr_resume_open(&classify->resume, classify->error);
	if (code || !classify->resume.journal)
		return code;
	classify->unit = cr_calloc((size_t)classes, sizeof *classify->unit);
	if (!classify->unit)
		return cr_fail(classify->error, CROCUTA_EMEMORY, "no memory for a journal");
	for (int i = 0; !cr_classify_file(o, i, path, sizeof path); i++)
		cr_resume_clean(&classify->resume, path);
	classify->features.marked = 1;
	classify->features.known = cr_classify_known;
	classify->features.expected = cr_journal_saved_mark(classify->resume.journal);
	return CROCUTA_OK;
}

int cr_classify_known(void *user, const cr_feature_item *item, crocuta_error *error)
{
	cr_classify *classify = user;
	int code;

	if (!cr_journal_unread(classify->resume.journal))
		return 0;
	code = cr_journal_read(classify->resume.journal, classify->unit, 1, error);
	if (!code)
		code = cr_classify_take_probabilities(classify, item, classify->unit, error);
	classify->report->resumed += !code;
	return code ? -code : 1;
}

void cr_classify_keep(cr_classify *classify, const cr_feature_item *item,
		      const double *probabilities)
{
	if (classify->resume.journal)
		cr_journal_append(classify->resume.journal, probabilities, item->mark, 1);
}
