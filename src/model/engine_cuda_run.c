/* engine_cuda_run.c - sequences through one or several GPUs, results in order on the calling
 * thread.
 *
 * With one GPU the calling thread queues and handles; with several, a thread for each queues and
 * waits, and the calling thread handles the parts in the order of the call.
 */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/order.h"
#include "model/engine_cuda_parts.h"
#include "model/engine_cuda_run.h"

typedef cr_gpu_call call;
typedef cr_gpu_course course;

/* ---- what is asked of a sequence ------------------------------------------------------------- */

/* Of its rows, or its segments, those that this GPU gives: so many from *first on. */
static int64_t wanted(const course *c, int64_t sequence, int64_t *first)
{
	const crocuta_sequence *q = &c->call->sequences[sequence];
	const crocuta_pooling *pooling = c->call->request->pooling;

	if (pooling)
		return cr_gpu_part_segments(&pooling->segments[sequence], pooling->kind,
					    q->report_from, c->from, c->to, first);
	*first = cr_larger(q->report_from, c->from);
	return cr_larger(cr_smaller(q->length, c->to) - *first, 0);
}

static int64_t part_capacity(const course *c)
{
	return c->call->request->pooling ? cr_cuda_ranges(&c->gpu->options) : c->gpu->output_rows;
}

/* ---- batches and parts ----------------------------------------------------------------------- */

/* The next sequences of one padded length: as many as fit, and preferably their results in one
 * part. 0: there are no more. */
static int take_batch(course *c)
{
	call *a = c->call;
	const int64_t capacity = part_capacity(c);
	const int64_t rows =
		a->batch_rows < c->gpu->options.rows ? a->batch_rows : c->gpu->options.rows;
	int64_t results = 0, first;

	c->count = c->index = c->done = c->part = 0;
	c->from = 0;
	c->to = INT64_MAX;
	pthread_mutex_lock(&a->lock);
	if (a->code || a->next == a->count) {
		pthread_mutex_unlock(&a->lock);
		return 0;
	}
	c->first = a->next;
	c->length = cr_cuda_padded_length(a->sequences[c->first].length);
	for (; c->first + c->count < a->count; c->count++) {
		const int64_t i = c->first + c->count, here = wanted(c, i, &first);

		if (c->count && ((c->count + 1) * c->length > rows || results + here > capacity ||
				 cr_cuda_padded_length(a->sequences[i].length) != c->length))
			break;
		results += here;
	}
	a->next += c->count;
	c->batch = a->batches++;
	pthread_mutex_unlock(&a->lock);
	return 1;
}

/* Rows of segments [first, first + count) of a sequence whose position 0 is row `base` of the batch. */
static void add_segments(const course *c, cr_gpu_slot *slot, int64_t sequence, int64_t base,
			 int64_t first, int64_t count)
{
	const crocuta_pooling *pooling = c->call->request->pooling;
	const int64_t *ends = pooling->segments[sequence].ends;

	for (int64_t i = first; i < first + count; i++) {
		const int64_t end = cr_smaller(ends[i], c->to);
		int64_t start = i ? ends[i - 1] : c->call->sequences[sequence].report_from;

		start = cr_larger(start, c->from);
		if (pooling->kind == CROCUTA_POOL_LAST)
			start = end - 1;
		slot->ranges[slot->ranges_used++] = (cr_cuda_range){base + start, end - start};
	}
}

/* Does the last of so many pooled segments of a sequence go on behind what this GPU has of it? */
static int is_open(const course *c, int64_t sequence, int64_t end)
{
	return c->call->request->pooling->segments[sequence].ends[end - 1] > c->to;
}

/* The next part: ranges of the batch, and whose they are. */
static void cut_part(course *c, cr_gpu_slot *slot)
{
	const int64_t capacity = part_capacity(c), ranges = cr_cuda_ranges(&c->gpu->options);
	const int pooled = c->call->request->pooling != NULL;
	int64_t at = 0;

	slot->ranges_used = slot->pieces_used = 0;
	while (c->index < c->count && at < capacity && slot->ranges_used < ranges) {
		const int64_t sequence = c->first + c->index;
		const int64_t base = c->index * c->length - c->from;
		int64_t first, here;
		const int64_t total = wanted(c, sequence, &first);

		here = cr_smaller(total - c->done, capacity - at);
		first += c->done;
		if (here && pooled)
			add_segments(c, slot, sequence, base, first, here);
		else if (here)
			slot->ranges[slot->ranges_used++] = (cr_cuda_range){base + first, here};
		if (here)
			slot->pieces[slot->pieces_used++] = (cr_gpu_piece){
				.sequence = sequence,
				.first = first,
				.count = here,
				.at = at,
				.open = pooled && is_open(c, sequence, first + here)};
		at += here;
		c->done += here;
		if (c->done == total) {
			c->index++;
			c->done = 0;
		}
	}
	slot->batch = c->batch;
	slot->part = c->part++;
	slot->last = c->index == c->count;
}

static int queue_results(const course *c, cr_gpu_slot *slot, crocuta_error *error)
{
	const crocuta_request *request = c->call->request;
	const int raw = c->call->layer < c->call->session->network->layers;

	if (!slot->ranges_used)
		return 0;
	/* the largest value of a segment's last row alone is that row */
	if (request->pooling)
		return cr_cuda_pool(c->gpu->cuda, slot->number, slot->ranges, slot->ranges_used,
				    raw, request->pooling->kind != CROCUTA_POOL_SUM, slot->values,
				    error);
	return cr_cuda_output(c->gpu->cuda, slot->number, slot->ranges, slot->ranges_used, raw,
			      request->want_hidden ? slot->values : NULL,
			      request->want_logits ? slot->logits : NULL, error);
}

int cr_gpu_queue_results(cr_gpu_course *c, cr_gpu_slot *slot, crocuta_error *error)
{
	int code;

	cut_part(c, slot);
	code = queue_results(c, slot, error);
	return code ? code : cr_cuda_finish(c->gpu->cuda, slot->number, error);
}

int cr_gpu_wait_until_free(cr_gpu_call *a, cr_gpu_slot *slot)
{
	int go_on;

	pthread_mutex_lock(&a->lock);
	while (!a->code && slot->state != CR_GPU_FREE)
		pthread_cond_wait(&a->changed, &a->lock);
	go_on = !a->code;
	if (go_on)
		slot->state = CR_GPU_BUSY;
	pthread_mutex_unlock(&a->lock);
	return go_on;
}

static int queue_part(void *user, cr_gpu_slot *slot, int *more, crocuta_error *error)
{
	course *c = user;
	call *a = c->call;
	int code = 0;

	*more = (!a->workers || cr_gpu_wait_until_free(a, slot)) &&
		(c->index < c->count || take_batch(c));
	if (!*more)
		return 0;
	if (!c->part) {
		for (int64_t i = 0; i < c->count; i++)
			cr_gpu_put_tokens(slot, i, a->sequences[c->first + i].tokens,
					  a->sequences[c->first + i].length, c->length);
		code = cr_cuda_forward(c->gpu->cuda, slot->number, slot->tokens, c->count,
				       c->length, a->layer, error);
	}
	return code ? code : cr_gpu_queue_results(c, slot, error);
}

/* ---- results --------------------------------------------------------------------------------- */

/* What came before of the first segment, into its values; the kind LAST is never in two pieces. */
static void add_carried(call *a, double *values, int64_t width)
{
	const int largest = a->request->pooling->kind == CROCUTA_POOL_MAX;

	for (int64_t i = 0; i < width; i++) {
		const double before = a->carried[i], here = values[i];

		if (!largest)
			values[i] = before + here;
		else if (!(here > before || here != here)) /* not a number stays */
			values[i] = before;
	}
	a->carries = 0;
}

/* Pooled rows to the caller, but for a segment that the next GPU has more of. */
static int hand_over_segments(call *a, const cr_gpu_piece *p, double *values)
{
	const int64_t width = a->session->network->width;
	const int64_t whole = p->count - (p->open != 0);

	if (a->carries)
		add_carried(a, values, width);
	if (p->open) {
		memcpy(a->carried, values + whole * width, (size_t)width * sizeof *values);
		a->carries = 1;
	}
	return whole ? a->request->pooling->pooled(a->request->user, p->sequence, p->first, whole,
						   values)
		     : 0;
}

/* On the calling thread: everything in a slot, to the caller's function. */
static int hand_over(call *a, const cr_gpu_slot *slot, crocuta_error *error)
{
	const int64_t width = a->session->network->width;
	const int64_t vocabulary = a->session->network->vocabulary;
	const crocuta_request *request = a->request;
	cr_gpus *gpus = a->session->state;
	const double start = cr_wall_seconds();
	int code = 0;

	for (int64_t i = 0; !code && i < slot->pieces_used; i++) {
		const cr_gpu_piece *p = &slot->pieces[i];

		if (request->pooling)
			code = hand_over_segments(a, p, (double *)slot->values + p->at * width);
		else
			code = request->rows(
				request->user, p->sequence, p->first, p->count,
				request->want_hidden ? (float *)slot->values + p->at * width : NULL,
				request->want_logits ? slot->logits + p->at * vocabulary : NULL);
	}
	gpus->times.head += cr_wall_seconds() - start;
	return code ? cr_fail(error, code, "stopped by the caller") : 0;
}

static int hand_over_here(void *user, cr_gpu_slot *slot, crocuta_error *error)
{
	return hand_over(((course *)user)->call, slot, error);
}

/* ---- several GPUs ---------------------------------------------------------------------------- */

int cr_gpu_mark_ready(void *user, cr_gpu_slot *slot, crocuta_error *error)
{
	call *a = ((course *)user)->call;

	(void)error;
	pthread_mutex_lock(&a->lock);
	slot->state = CR_GPU_READY;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return 0;
}

void cr_gpu_keep_failure(cr_gpu_call *a, int code, const crocuta_error *error)
{
	if (code && !a->code) {
		a->error = *error;
		a->code = code;
	}
}

static void *work(void *user)
{
	course *c = user;
	call *a = c->call;
	crocuta_error error = {0};
	const int code = cr_gpu_pipeline(c->gpu, queue_part, cr_gpu_mark_ready, c, &error);

	pthread_mutex_lock(&a->lock);
	cr_gpu_keep_failure(a, code, &error);
	a->working--;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Under the lock: wait for a part; NULL when the call has failed or there is none more. */
static cr_gpu_slot *wait_for_part(call *a, int64_t batch, int64_t part)
{
	cr_gpus *gpus = a->session->state;

	for (;;) {
		if (a->code)
			return NULL;
		for (int i = 0; i < a->workers * CR_CUDA_SLOTS; i++) {
			cr_gpu_slot *slot = &gpus->gpu[i / CR_CUDA_SLOTS].slot[i % CR_CUDA_SLOTS];

			if (slot->state == CR_GPU_READY && slot->batch == batch &&
			    slot->part == part)
				return slot;
		}
		if (!a->working)
			return NULL;
		pthread_cond_wait(&a->changed, &a->lock);
	}
}

/* On the calling thread: all parts in order. */
static void handle_parts(call *a)
{
	int64_t batch = 0, part = 0;
	cr_gpu_slot *slot;

	pthread_mutex_lock(&a->lock);
	while ((slot = wait_for_part(a, batch, part)) != NULL) {
		crocuta_error error = {0};
		int code;

		pthread_mutex_unlock(&a->lock);
		code = hand_over(a, slot, &error);
		part = slot->last ? 0 : part + 1;
		batch += slot->last;
		pthread_mutex_lock(&a->lock);
		cr_gpu_keep_failure(a, code, &error);
		slot->state = CR_GPU_FREE;
		pthread_cond_broadcast(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
}

static void run_on_several(call *a, course *courses)
{
	cr_gpus *gpus = a->session->state;
	int started = 0;

	a->working = a->workers;
	for (; started < a->workers; started++)
		if (pthread_create(&courses[started].thread, NULL,
				   gpus->parts ? cr_gpu_part_work : work, &courses[started]))
			break;
	if (started < a->workers) {
		crocuta_error error = {0};

		cr_fail(&error, CROCUTA_EMEMORY, "cannot start %d threads, one for each GPU",
			a->workers);
		pthread_mutex_lock(&a->lock);
		cr_gpu_keep_failure(a, CROCUTA_EMEMORY, &error);
		pthread_cond_broadcast(&a->changed);
		pthread_mutex_unlock(&a->lock);
		cr_gpu_parts_fail(gpus->parts, error.message);
	}
	handle_parts(a);
	for (int i = 0; i < started; i++)
		pthread_join(courses[i].thread, NULL);
}

int cr_gpus_run(crocuta_session *session, const crocuta_sequence *sequences, int64_t count,
		int layer, const crocuta_request *request, crocuta_error *error)
{
	cr_gpus *gpus = session->state;
	call a = {.session = session,
		  .sequences = sequences,
		  .count = count,
		  .layer = layer,
		  .request = request,
		  .lock = PTHREAD_MUTEX_INITIALIZER,
		  .changed = PTHREAD_COND_INITIALIZER};
	course *courses;
	int64_t rows = 0;
	int workers, code = cr_gpu_parts_ready(gpus->parts, error);

	if (code)
		return code;
	courses = cr_calloc((size_t)gpus->count, sizeof *courses);
	if (gpus->parts)
		a.carried = cr_calloc((size_t)session->network->width, sizeof *a.carried);
	if (!courses || (gpus->parts && !a.carried)) {
		cr_free(courses);
		cr_free(a.carried);
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	}
	for (int64_t i = 0; i < count; i++)
		rows += cr_cuda_padded_length(sequences[i].length);
	workers = cr_gpus_share(gpus, rows, rows, &a.batch_rows);
	if (gpus->parts)
		workers = gpus->count;
	for (int i = 0; i < workers; i++) {
		courses[i] = (course){.call = &a, .gpu = &gpus->gpu[i]};
		for (int k = 0; k < CR_CUDA_SLOTS; k++)
			gpus->gpu[i].slot[k].state = CR_GPU_FREE;
	}
	if (workers > 1) {
		a.workers = workers;
		run_on_several(&a, courses);
		code = a.code ? cr_fail(error, a.code, "%s", a.error.message) : 0;
	} else {
		code = cr_gpu_pipeline(courses[0].gpu, queue_part, hand_over_here, &courses[0],
				       error);
	}
	pthread_cond_destroy(&a.changed);
	pthread_mutex_destroy(&a.lock);
	cr_free(courses);
	cr_free(a.carried);
	return code;
}
