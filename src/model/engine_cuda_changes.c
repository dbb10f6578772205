/* engine_cuda_changes.c - sequences and their changes through GPUs.
 *
 * A batch of sequences goes through first; rows that changes are compared with come to the host,
 * the rest stays on the GPU. Then its changes, in groups of one padded length. While the rows
 * function looks at a group, the next one, or the next batch, is computed. A thread for each GPU;
 * the first is the caller.
 */
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/engine_cuda.h"

typedef struct call {
	crocuta_session *session;
	const crocuta_changed_sequence *sequences;
	int64_t count;
	crocuta_change_fn *rows;
	void *user;
	int64_t batch_rows;
	int threads;          /* of the host, for one GPU */
	_Atomic int code;     /* of the first failure */
	pthread_mutex_t lock; /* of what follows */
	int64_t next;         /* sequences that were taken */
	crocuta_error error;
} call;

/* One GPU's way through a call. */
typedef struct course {
	call *call;
	cr_gpu *gpu;
	pthread_t thread;
	int on_caller;
	int kept;                     /* which kept rows belong to the batch */
	int64_t first, count, length; /* of the batch; length padded */
	int64_t changes, next_change; /* sorted, in gpu->changes */
	int64_t kept_place, kept_row; /* the next row to keep */
	int64_t kept_count;           /* rows that are queued */
} course;

static const crocuta_changed_sequence *sequence_at(const course *c, int64_t place)
{
	return &c->call->sequences[c->first + place];
}

/* ---- a batch --------------------------------------------------------------------------------- */

static int64_t lead_of(const crocuta_change *change)
{
	return change->at < 2 ? change->at : 2;
}

/* Rows of a sequence that its changes are compared with: [*from, *to). */
static void kept_range(const crocuta_changed_sequence *q, int64_t *from, int64_t *to)
{
	*from = *to = 0;
	if (q->count && q->changes[0].at)
		*from = q->changes[0].at - 1;
	for (int64_t i = 0; i < q->count; i++)
		if (q->changes[i].at + q->changes[i].length > *to)
			*to = q->changes[i].at + q->changes[i].length;
}

static int compare_changes(const void *a, const void *b)
{
	const cr_gpu_change *x = a, *y = b;

	if (x->padded != y->padded)
		return x->padded < y->padded ? -1 : 1;
	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return (x->change > y->change) - (x->change < y->change);
}

/* The changes of the batch, those of one padded length together. */
static int sort_changes(course *c, crocuta_error *error)
{
	cr_gpu *gpu = c->gpu;
	int64_t total = 0;

	for (int64_t i = 0; i < c->count; i++)
		total += sequence_at(c, i)->count;
	if (total > gpu->change_capacity) {
		cr_gpu_change *grown = cr_realloc(gpu->changes, (size_t)total, sizeof *grown);

		if (!grown)
			return cr_fail(error, CROCUTA_EMEMORY, "no memory for %lld changes",
				       (long long)total);
		gpu->changes = grown;
		gpu->change_capacity = total;
	}
	c->changes = c->next_change = 0;
	for (int64_t i = 0; i < c->count; i++) {
		const crocuta_changed_sequence *q = sequence_at(c, i);

		for (int64_t k = 0; k < q->count; k++)
			gpu->changes[c->changes++] = (cr_gpu_change){
				.padded = cr_cuda_change_length(q->changes[k].length +
								lead_of(&q->changes[k])),
				.place = i,
				.change = k};
	}
	if (total)
		qsort(gpu->changes, (size_t)total, sizeof *gpu->changes, compare_changes);
	return 0;
}

/* The next sequences of one padded length, and where their kept rows will stand; 0: no more. */
static int take_batch(course *c)
{
	call *a = c->call;
	const int64_t rows =
		a->batch_rows < c->gpu->options.rows ? a->batch_rows : c->gpu->options.rows;
	int64_t *row_0, kept = 0;

	pthread_mutex_lock(&a->lock);
	c->first = a->next;
	c->count = 0;
	c->length = c->first < a->count ? cr_cuda_padded_length(a->sequences[c->first].length) : 0;
	for (; c->first + c->count < a->count; c->count++)
		if (c->count &&
		    ((c->count + 1) * c->length > rows ||
		     cr_cuda_padded_length(sequence_at(c, c->count)->length) != c->length))
			break;
	a->next += c->count;
	pthread_mutex_unlock(&a->lock);
	row_0 = c->gpu->kept[c->kept].row_0;
	for (int64_t i = 0; i < c->count; i++) {
		int64_t from, to;

		kept_range(sequence_at(c, i), &from, &to);
		row_0[i] = kept - from;
		kept += to - from;
	}
	c->kept_count = c->kept_place = 0;
	c->kept_row = -1;
	return c->count > 0;
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Rows to keep, as many as go into a part. */
static int queue_kept(course *c, cr_gpu_slot *slot, crocuta_error *error)
{
	const cr_network *network = c->call->session->network;
	const cr_gpu_kept *kept = &c->gpu->kept[c->kept];
	int64_t rows = 0;
	int code;

	slot->ranges_used = slot->pieces_used = 0;
	while (c->kept_place < c->count && rows < c->gpu->output_rows &&
	       slot->ranges_used < CR_CUDA_RANGES) {
		int64_t from, to, here;

		kept_range(sequence_at(c, c->kept_place), &from, &to);
		if (c->kept_row < 0)
			c->kept_row = from;
		here = to - c->kept_row;
		if (here > c->gpu->output_rows - rows)
			here = c->gpu->output_rows - rows;
		if (here)
			slot->ranges[slot->ranges_used++] =
				(cr_cuda_range){c->kept_place * c->length + c->kept_row, here};
		rows += here;
		c->kept_row += here;
		if (c->kept_row == to) {
			c->kept_place++;
			c->kept_row = -1;
		}
	}
	if (!slot->ranges_used)
		return 0;
	code = cr_cuda_output(c->gpu->cuda, slot->number, slot->ranges, slot->ranges_used, 0,
			      kept->hidden + c->kept_count * network->width,
			      kept->logits + c->kept_count * network->vocabulary, error);
	c->kept_count += rows;
	return code;
}

static int queue_batch(course *c, cr_gpu_slot *slot, crocuta_error *error)
{
	const int layers = (int)c->call->session->network->layers;
	int code;

	for (int64_t i = 0; i < c->count; i++)
		cr_gpu_put_tokens(slot, i, sequence_at(c, i)->tokens, sequence_at(c, i)->length,
				  c->length);
	code = cr_cuda_forward(c->gpu->cuda, slot->number, slot->tokens, c->count, c->length,
			       layers, error);
	return code ? code : queue_kept(c, slot, error);
}

/* One change, the next of a group, into the slot; `at` rows of results are before its own. */
static void put_change(course *c, cr_gpu_slot *slot, const cr_gpu_change *which, int64_t at)
{
	const crocuta_changed_sequence *q = sequence_at(c, which->place);
	const crocuta_change *change = &q->changes[which->change];
	const int64_t lead = lead_of(change), index = slot->pieces_used++;
	uint8_t *tokens = slot->tokens + index * which->padded;

	memcpy(tokens, q->tokens + change->at - lead, (size_t)lead);
	memcpy(tokens + lead, change->tokens, (size_t)change->length);
	memset(tokens + lead + change->length, 0, (size_t)(which->padded - lead - change->length));
	slot->changes[index] =
		(cr_cuda_change){which->place, change->at - lead, lead, lead + change->length};
	slot->ranges[index] = (cr_cuda_range){index * which->padded + lead, change->length};
	slot->pieces[index] = (cr_gpu_piece){.sequence = c->first + which->place,
					     .first = which->change,
					     .count = change->length,
					     .at = at,
					     .place = which->place};
}

/* Changes of one padded length, as many as fit. */
static int queue_group(course *c, cr_gpu_slot *slot, crocuta_error *error)
{
	const cr_gpu_change *list = c->gpu->changes;
	const int64_t padded = list[c->next_change].padded;
	int64_t at = 0;
	int code;

	slot->pieces_used = 0;
	slot->kept = c->kept;
	for (; c->next_change < c->changes; c->next_change++) {
		const cr_gpu_change *which = &list[c->next_change];
		const int64_t rows = sequence_at(c, which->place)->changes[which->change].length;

		if (slot->pieces_used &&
		    (which->padded != padded || slot->pieces_used == CR_CUDA_RANGES ||
		     (slot->pieces_used + 1) * padded > c->gpu->options.rows ||
		     at + rows > c->gpu->output_rows))
			break;
		put_change(c, slot, which, at);
		at += rows;
	}
	slot->ranges_used = slot->pieces_used;
	code = cr_cuda_changes(c->gpu->cuda, slot->number, slot->changes, slot->tokens,
			       slot->pieces_used, padded, error);
	if (!code)
		code = cr_cuda_output(c->gpu->cuda, slot->number, slot->ranges, slot->ranges_used,
				      0, slot->values, slot->logits, error);
	return code;
}

static int queue_part(void *user, cr_gpu_slot *slot, int *more, crocuta_error *error)
{
	course *c = user;
	int code = 0;

	*more = 0;
	if (atomic_load(&c->call->code))
		return 0;
	if (c->kept_place < c->count) {
		code = queue_kept(c, slot, error);
	} else if (c->next_change < c->changes) {
		code = queue_group(c, slot, error);
	} else {
		c->kept = !c->kept; /* the last group of the batch before is still to be compared */
		do {
			if (!take_batch(c))
				return 0;
			code = sort_changes(c, error);
		} while (!code && !c->changes);
		if (!code)
			code = queue_batch(c, slot, error);
	}
	*more = 1;
	return code ? code : cr_cuda_finish(c->gpu->cuda, slot->number, error);
}

/* ---- results --------------------------------------------------------------------------------- */

static void call_rows(const course *c, const cr_gpu_slot *slot, const cr_gpu_piece *p,
		      int on_caller)
{
	call *a = c->call;
	const int64_t width = a->session->network->width;
	const int64_t vocabulary = a->session->network->vocabulary;
	const crocuta_change *change = &a->sequences[p->sequence].changes[p->first];
	const cr_gpu_kept *kept = &c->gpu->kept[slot->kept];
	const int64_t same = kept->row_0[p->place] + change->at;
	int none = 0, code;

	if (atomic_load_explicit(&a->code, memory_order_relaxed))
		return;
	code = a->rows(a->user,
		       &(crocuta_change_rows){
			       .sequence = p->sequence,
			       .change = p->first,
			       .count = p->count,
			       .before = change->at ? kept->logits + (same - 1) * vocabulary : NULL,
			       .hidden = (float *)slot->values + p->at * width,
			       .logits = slot->logits + p->at * vocabulary,
			       .reference_hidden = kept->hidden + same * width,
			       .reference_logits = kept->logits + same * vocabulary,
			       .on_caller = on_caller});
	if (code)
		atomic_compare_exchange_strong(&a->code, &none, code);
}

static int compare_group(void *user, cr_gpu_slot *slot, crocuta_error *error)
{
	const course *c = user;
	int code;

#pragma omp parallel for schedule(dynamic, 1)                                                      \
	num_threads(c->call->threads) if (slot->pieces_used > 1)
	for (int64_t i = 0; i < slot->pieces_used; i++)
		call_rows(c, slot, &slot->pieces[i], c->on_caller && omp_get_thread_num() == 0);
	code = atomic_load(&c->call->code);
	return code ? cr_fail(error, code, "stopped by the caller") : 0;
}

/* ---- a call ---------------------------------------------------------------------------------- */

static void *work(void *user)
{
	course *c = user;
	call *a = c->call;
	crocuta_error error = {0};
	int none = 0;
	const int code = cr_gpu_pipeline(c->gpu, queue_part, compare_group, c, &error);

	if (!code)
		return NULL;
	pthread_mutex_lock(&a->lock);
	atomic_compare_exchange_strong(&a->code, &none, code);
	if (!a->error.code)
		a->error = error;
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static int run_courses(call *a, course *courses, int workers, crocuta_error *error)
{
	int started = 1;

	for (; started < workers; started++)
		if (pthread_create(&courses[started].thread, NULL, work, &courses[started]))
			break; /* the others do its share */
	work(&courses[0]);
	for (int i = 1; i < started; i++)
		pthread_join(courses[i].thread, NULL);
	if (!a->error.code)
		return 0;
	return cr_fail(error, a->error.code, "%s", a->error.message);
}

int cr_gpus_changes(crocuta_session *session, const crocuta_changed_sequence *sequences,
		    int64_t count, crocuta_change_fn *rows, void *user, crocuta_error *error)
{
	const cr_gpus *gpus = session->state;
	call a = {.session = session,
		  .sequences = sequences,
		  .count = count,
		  .rows = rows,
		  .user = user,
		  .lock = PTHREAD_MUTEX_INITIALIZER};
	course *courses = cr_calloc((size_t)gpus->count, sizeof *courses);
	int64_t padded = 0, changed = 0;
	int workers, code;

	if (!courses)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	for (int64_t i = 0; i < count; i++) {
		padded += cr_cuda_padded_length(sequences[i].length);
		for (int64_t k = 0; k < sequences[i].count; k++)
			changed += cr_cuda_change_length(sequences[i].changes[k].length);
	}
	workers = cr_gpus_share(gpus, padded, padded + changed, &a.batch_rows);
	a.threads = gpus->threads > workers ? gpus->threads / workers : 1;
	for (int i = 0; i < workers; i++)
		courses[i] = (course){.call = &a, .gpu = &gpus->gpu[i], .on_caller = i == 0};
	code = run_courses(&a, courses, workers, error);
	pthread_mutex_destroy(&a.lock);
	cr_free(courses);
	return code;
}
