/* embed_resume.c - rows of an embed run in its journal: a unit is the number of N in a row and its
 * values. */
#include <string.h>

#include "base/digest64.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "task/embed_internal.h"

#define BIN_LEAST 16 /* unasked: with smaller ones the journal would be what the run waits for */
#define ROWS 256     /* read at a time */

/* What decides the numbers: what the output's header says, and what it leaves out. */
static json_t *make_binding(cr_embed *embed, const crocuta_plan *plan)
{
	const crocuta_embed_options *o = &embed->options;
	uint64_t places = CR_DIGEST64;
	json_t *object =
		cr_resume_binding(cr_embed_provenance(embed, plan), plan, o->shard, o->shards);
	char text[40];

	if (!object)
		return NULL;
	for (int64_t i = 0; embed->regions && i < embed->regions->count; i++) {
		const cr_region *r = &embed->regions->items[i];
		const int64_t place[3] = {r->contig, r->start, r->end};

		places = cr_digest64(places, place, sizeof place);
	}
	snprintf(text, sizeof text, "%016llx", (unsigned long long)places);
	json_object_set_new(object, "regions", json_string(text));
	json_object_set_new(object, "length", json_integer(embed->session_options.max_length));
	return object;
}

static int is_worth_it(const cr_embed *embed)
{
	return embed->options.track || !embed->options.bin || embed->options.bin >= BIN_LEAST;
}

int cr_embed_open_journal(cr_embed *embed, const crocuta_plan *plan)
{
	const crocuta_embed_options *o = &embed->options;
	const int64_t columns = embed->report->columns;
	char path[4096];
	int code;

	embed->binding = make_binding(embed, plan);
	embed->unit_bytes = (int64_t)sizeof(int64_t) + columns * (int64_t)sizeof(float);
	if (!embed->binding)
		return cr_fail(embed->error, CROCUTA_EMEMORY, "no memory for a journal");
	embed->resume = (cr_resume){.options = &o->journal,
				    .verb = "embed",
				    .output = o->output,
				    .inputs = {o->input},
				    .units = "rows",
				    .command = o->command,
				    .binding = embed->binding,
				    .unit_bytes = embed->unit_bytes,
				    .unasked = is_worth_it(embed),
				    .log = o->log,
				    .user = o->user};
	code = cr_resume_open(&embed->resume, embed->error);
	if (code || !embed->resume.journal)
		return code;
	embed->units = cr_calloc(ROWS, (size_t)embed->unit_bytes);
	embed->unit_values = cr_floats(ROWS * columns);
	if (!embed->units || !embed->unit_values)
		return cr_fail(embed->error, CROCUTA_EMEMORY, "no memory for a journal");
	for (int i = 0; !cr_writer_file(embed->kind, o->output, i, path, sizeof path); i++)
		cr_resume_clean(&embed->resume, path);
	embed->passes_options.marked = 1;
	embed->passes_options.known = cr_embed_known_rows;
	embed->passes_options.expected = cr_journal_saved_mark(embed->resume.journal);
	return CROCUTA_OK;
}

/* The next rows of the journal as those of the job from `start` on, to the writer. */
static int replay(cr_embed *embed, const cr_job *job, int64_t start, int64_t count,
		  crocuta_error *error)
{
	const int64_t columns = embed->report->columns;
	int64_t n_bases[ROWS];
	cr_job_rows rows = {.job = job,
			    .start = start,
			    .count = count,
			    .columns = columns,
			    .values = embed->unit_values,
			    .n_bases = n_bases};
	int code = cr_journal_read(embed->resume.journal, embed->units, count, error);

	for (int64_t i = 0; !code && i < count; i++) {
		const char *unit = embed->units + i * embed->unit_bytes;

		memcpy(&n_bases[i], unit, sizeof n_bases[i]);
		memcpy(embed->unit_values + i * columns, unit + sizeof n_bases[i],
		       (size_t)columns * sizeof(float));
	}
	return code ? code : cr_embed_take_rows(embed, &rows, error);
}

int64_t cr_embed_known_rows(void *user, const cr_job *job, crocuta_error *error)
{
	cr_embed *embed = user;
	const int64_t known = cr_smaller(cr_journal_unread(embed->resume.journal),
					 (job->to - job->from - 1) / job->bin + 1);
	int code = CROCUTA_OK;

	for (int64_t done = 0; done < known && !code; done += ROWS) {
		const int64_t count = cr_smaller(ROWS, known - done);

		code = replay(embed, job, job->from + done * job->bin, count, error);
		embed->report->resumed += count;
	}
	return code ? -code : known;
}

void cr_embed_keep_rows(cr_embed *embed, const cr_job_rows *rows)
{
	if (!embed->resume.journal)
		return;
	for (int64_t i = 0; i < rows->count; i++) {
		memcpy(embed->units, &rows->n_bases[i], sizeof rows->n_bases[i]);
		memcpy(embed->units + sizeof rows->n_bases[i], rows->values + i * rows->columns,
		       (size_t)rows->columns * sizeof(float));
		cr_journal_append(embed->resume.journal, embed->units, rows->mark,
				  rows->whole && (!embed->options.stream || i + 1 == rows->count));
	}
}
