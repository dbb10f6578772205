/* session.c - the library's calls on sessions: what is asked is checked here, an engine computes. */
#include <crocuta/session.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "base/memory.h"
#include "comm/control.h"
#include "model/engine.h"
#include "model/gpu_list.h"
#include "model/network.h"

void crocuta_session_options_init(crocuta_session_options *options)
{
	memset(options, 0, sizeof *options);
	options->device = "auto";
}

/* ---- plan and make --------------------------------------------------------------------------- */

static const cr_engine *const engines[] = {
#define ENGINE(name) &cr_engine_##name,
#include "model/engines.def"
#undef ENGINE
};

#define ENGINES (sizeof engines / sizeof *engines)

/* Is this a matter for the engines of stacks? A HyenaDNA whose sequences ranks share on the CPU is. */
static int wants_stack(const cr_network *network, const crocuta_session_options *o)
{
	const int cpu = o->device && !strncmp(o->device, "cpu", 3);

	return network->stack || (cpu && o->parallel == CROCUTA_PARALLEL_SEQUENCE);
}

/* The engine that a device's name asks for; NULL for "auto". */
static int find_engine(const char *name, int stacks, const cr_engine **engine,
		       crocuta_error *error)
{
	const size_t length = strcspn(name, ":");
	const int gpus = length == 4 && !memcmp(name, "cuda", 4);
	cr_gpu_list list;

	*engine = NULL;
	if (!strcmp(name, "auto"))
		return 0;
	if (gpus && cr_gpu_list_parse(name, &list, error))
		return CROCUTA_EARG;
	for (size_t i = 0; i < ENGINES; i++)
		if (strlen(engines[i]->name) == length && engines[i]->stacks == stacks &&
		    !memcmp(engines[i]->name, name, length) &&
		    (gpus || (stacks && !strcmp(engines[i]->name, "cpu")) || !name[length])) {
			*engine = engines[i];
			return 0;
		}
	if (gpus)
		return cr_fail(error, CROCUTA_EDEVICE,
			       "--device %.40s: this crocuta is built without CUDA; use --device cpu",
			       name);
	return cr_fail(error, CROCUTA_EARG, "--device \"%.40s\": give auto, cpu or cuda (of "
		       "several GPUs cuda:N, cuda:N,M or cuda:all)", name);
}

int crocuta_device_check(const char *device, crocuta_error *error)
{
	const cr_engine *engine;

	/* "cpu:4" is for engines of stacks */
	return find_engine(device ? device : "auto",
			   device && !strncmp(device, "cpu:", 4), &engine, error);
}

static int check_options(const crocuta_session_options *o, const cr_network *network,
			 crocuta_error *error)
{
	const int64_t length = o->max_length ? o->max_length : network->max_length;

	if (o->threads < 0 || o->threads > 4096)
		return cr_fail(error, CROCUTA_EARG, "%d threads: give 1 to 4096", o->threads);
	if (o->max_length < 0 || o->max_length > network->max_length)
		return cr_fail(error, CROCUTA_EARG,
			       "length %lld: the model takes 1 to %lld tokens at a time",
			       (long long)o->max_length, (long long)network->max_length);
	if (o->convolution < CROCUTA_CONVOLUTION_AUTO ||
	    o->convolution > CROCUTA_CONVOLUTION_NEARFAR)
		return cr_fail(error, CROCUTA_EARG, "convolution %d is not one of enum "
			       "crocuta_convolution", o->convolution);
	if (o->dtype != CROCUTA_DTYPE_F32 && o->dtype != CROCUTA_DTYPE_BF16)
		return cr_fail(error, CROCUTA_EARG, "dtype %d is not one of enum crocuta_dtype",
			       o->dtype);
	if (o->parallel < CROCUTA_PARALLEL_AUTO || o->parallel > CROCUTA_PARALLEL_SEQUENCE)
		return cr_fail(error, CROCUTA_EARG, "parallel %d is not one of enum "
			       "crocuta_parallel", o->parallel);
	if (o->batch < 0)
		return cr_fail(error, CROCUTA_EARG, "batch %lld is negative", (long long)o->batch);
	if (o->change_length && o->stream)
		return cr_fail(error, CROCUTA_EARG, "a stream's session takes no changes");
	if (o->change_length < 0 || o->change_length > length ||
	    o->change_length > CROCUTA_CHANGE_LENGTH_MAX)
		return cr_fail(error, CROCUTA_EARG,
			       "changes of %lld tokens: give 0 to %d, and no more than the "
			       "sequences, %lld",
			       (long long)o->change_length, CROCUTA_CHANGE_LENGTH_MAX,
			       (long long)length);
	return 0;
}

static int check_memory(const crocuta_plan *p, int64_t limit, crocuta_error *error)
{
	if (limit <= 0 || p->total_bytes <= limit)
		return 0;
	return cr_fail(error, CROCUTA_EMEMORY,
		       "needs %.1f MB (weights %.1f, filters %.1f, workspace %.1f, carried state "
		       "%.1f, changes %.1f), the limit is %.1f MB; try a shorter --window, a smaller "
		       "--batch-size or raise --max-mem",
		       (double)p->total_bytes / 1e6, (double)p->weight_bytes / 1e6,
		       (double)p->filter_bytes / 1e6, (double)p->workspace_bytes / 1e6,
		       (double)p->state_bytes / 1e6, (double)p->change_bytes / 1e6,
		       (double)limit / 1e6);
}

/* A session on one engine, with its allocations when `make` is nonzero; *session NULL on failure. */
static int open_on(const cr_engine *engine, const crocuta_model *model,
		   const crocuta_session_options *o, int make, crocuta_session **session,
		   crocuta_error *error)
{
	const cr_network *network = cr_model_network(model);
	crocuta_session *s = cr_calloc(1, sizeof *s);
	int code = 0;

	*session = NULL;
	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	s->engine = engine;
	s->network = network;
	s->sha256 = crocuta_model_get_info(model)->sha256;
	s->max_length = o->max_length ? o->max_length : network->max_length;
	s->change_length = o->change_length;
	s->stream = o->stream != 0;
	if (o->dtype == CROCUTA_DTYPE_BF16 && !engine->bf16)
		code = cr_fail(error, CROCUTA_EARG,
			       "--dtype bf16 needs a GPU, which --device %s is not; use --dtype "
			       "f32",
			       engine->name);
	if (!code)
		code = engine->open(s, o, error);
	s->plan.device = engine->name;
	if (!s->plan.dtype)
		s->plan.dtype = o->dtype == CROCUTA_DTYPE_BF16 ? "bf16" : "f32";
	if (!s->plan.ranks)
		s->plan.ranks = 1;
	if (s->plan.gather < s->plan.batch)
		s->plan.gather = s->plan.batch;
	if (!code)
		code = check_memory(&s->plan, o->memory_limit, error);
	if (!code && make && cr_model_is_unread(model))
		code = cr_fail(error, CROCUTA_EARG, "the model was opened for its shapes alone");
	if (!code && make)
		code = engine->prepare(s, error);
	if (code)
		crocuta_session_free(s);
	else
		*session = s;
	return code;
}

/* May the next engine succeed? EMODEL: each has its own form of the long convolution to certify. */
static int is_for_the_next(int code)
{
	return code == CROCUTA_EDEVICE || code == CROCUTA_EMEMORY || code == CROCUTA_EMODEL;
}

/* On the first engine that can; where none of them even tries, say why. */
static int open_automatic(const crocuta_model *model, const crocuta_session_options *o, int make,
			  crocuta_session **session, crocuta_error *error)
{
	const int stacks = wants_stack(cr_model_network(model), o);
	crocuta_error last = {0};
	char line[sizeof last.message + 80];
	int code = CROCUTA_EDEVICE;

	*session = NULL;
	for (size_t i = 0; is_for_the_next(code) && i < ENGINES; i++) {
		if (engines[i]->stacks != stacks || !engines[i]->automatic ||
		    !engines[i]->automatic(o))
			continue;
		if (last.code && make && o->log) {
			snprintf(line, sizeof line, "--device auto goes on to the %s: %s",
				 engines[i]->name, last.message);
			o->log(o->user, CROCUTA_LOG_NOTICE, line);
		}
		memset(&last, 0, sizeof last);
		code = open_on(engines[i], model, o, make, session, &last);
	}
	if (!code)
		return 0;
	if (last.code)
		return cr_fail(error, code, "%s", last.message);
	if (o->stream || o->isa)
		return cr_fail(error, CROCUTA_EARG,
			       "--dtype bf16 needs a GPU, and %s is for the CPU; use --dtype f32",
			       o->stream ? "a stream" : "--isa");
	return cr_fail(error, CROCUTA_EDEVICE, "--dtype bf16 needs a GPU, and %s; use --dtype f32",
		       crocuta_device_check("cuda", NULL) ? "this crocuta is built without CUDA"
							  : "this machine has none");
}

/* What a session is opened for. */
enum purpose { TO_PLAN, TO_LEAD, TO_FOLLOW };

/* On a rank above 0 sessions follow, on rank 0 they lead; plans are made anywhere. */
static int check_purpose(int purpose, int rank, int size, crocuta_error *error)
{
	if (purpose == TO_FOLLOW && rank == 0)
		return cr_fail(error, CROCUTA_EARG, "rank 0 does not follow");
	if (purpose == TO_LEAD && rank > 0)
		return cr_fail(error, CROCUTA_EARG,
			       "this process is rank %d of %d: it follows rank 0 "
			       "(crocuta_session_follow)",
			       rank, size);
	return 0;
}

static int open_session(const crocuta_model *model, const crocuta_session_options *given,
			int purpose, crocuta_session **session, crocuta_error *error)
{
	const cr_network *network = cr_model_network(model);
	const cr_engine *engine;
	const int make = purpose != TO_PLAN;
	crocuta_session_options o;
	int rank, size, code;

	*session = NULL;
	crocuta_session_options_init(&o);
	if (given)
		o = *given;
	code = crocuta_session_rank(&o, &rank, &size, error);
	if (!code)
		code = check_purpose(purpose, rank, size, error);
	if (code)
		return code;
	if (size > 1 && (!o.device || !strcmp(o.device, "auto")))
		o.device = "cuda"; /* processes share a sequence on GPUs */
	code = find_engine(o.device ? o.device : "auto", wants_stack(network, &o), &engine, error);
	if (!code)
		code = check_options(&o, network, error);
	if (!code && size > 1 && engine && !engine->follow)
		code = cr_fail(error, CROCUTA_EARG,
			       "%d processes were launched: only with --device cuda and models with "
			       "attention (Evo) can they share a sequence; leave out --parallel sequence, "
			       "or give one process all GPUs (--device cuda:0,1)",
			       size);
	if (code)
		return code;
	return engine ? open_on(engine, model, &o, make, session, error)
		      : open_automatic(model, &o, make, session, error);
}

int crocuta_session_plan(const crocuta_model *model, const crocuta_session_options *options,
			 crocuta_plan *plan, crocuta_error *error)
{
	crocuta_session *s;
	int code = open_session(model, options, TO_PLAN, &s, error);

	if (!code)
		*plan = s->plan;
	crocuta_session_free(s);
	return code;
}

int crocuta_session_new(const crocuta_model *model, const crocuta_session_options *options,
			crocuta_session **session, crocuta_error *error)
{
	return open_session(model, options, TO_LEAD, session, error);
}

void crocuta_session_free(crocuta_session *s)
{
	if (!s)
		return;
	s->engine->close(s);
	cr_free(s);
}

/* ---- several processes ----------------------------------------------------------------------- */

int crocuta_session_rank(const crocuta_session_options *options, int *rank, int *size,
			 crocuta_error *error)
{
	cr_launch launch = {.size = 1};
	int code = 0;

	if (options->parallel == CROCUTA_PARALLEL_SEQUENCE)
		code = cr_launch_read(&launch, error);
	*rank = launch.rank;
	*size = launch.size > 1 ? launch.size : 1;
	return code;
}

int crocuta_session_follow(const crocuta_model *model, const crocuta_session_options *options,
			   crocuta_error *error)
{
	crocuta_session *s;
	int code = open_session(model, options, TO_FOLLOW, &s, error);

	if (code)
		return code;
	code = s->engine->follow(s, error);
	crocuta_session_free(s);
	return code;
}

const crocuta_plan *crocuta_session_get_plan(const crocuta_session *s)
{
	return &s->plan;
}

void crocuta_session_get_times(crocuta_session *s, crocuta_stage_times *times, int reset)
{
	s->engine->times(s, times, reset);
}

/* ---- run ------------------------------------------------------------------------------------- */

static int check_request(const crocuta_session *s, const crocuta_request *request, int *layer,
			 crocuta_error *error)
{
	const int64_t layers = s->network->layers;

	*layer = request->layer < 0 ? (int)layers : request->layer;
	if (*layer > layers)
		return cr_fail(error, CROCUTA_EARG, "layer %d: this model has layers 0 to %lld",
			       request->layer, (long long)layers);
	if (request->want_logits && *layer != layers)
		return cr_fail(error, CROCUTA_EARG, "logits come from the last layer, not from %d",
			       *layer);
	if (request->pooling) {
		const crocuta_pooling *p = request->pooling;

		if (!p->pooled || p->kind < CROCUTA_POOL_SUM || p->kind > CROCUTA_POOL_LAST)
			return cr_fail(error, CROCUTA_EARG,
				       "pooling needs a kind of enum crocuta_pool and a function");
		if (!request->want_hidden || request->want_logits)
			return cr_fail(error, CROCUTA_EARG, "only hidden rows are pooled");
		return 0;
	}
	if (!request->rows || (!request->want_hidden && !request->want_logits))
		return cr_fail(error, CROCUTA_EARG, "the request asks for no rows");
	return 0;
}

static int check_segments(const crocuta_segments *segments, const crocuta_sequence *q, int64_t index,
			  crocuta_error *error)
{
	int64_t start = q->report_from;

	if (segments->count < 0 || (segments->count > 0 && !segments->ends))
		return cr_fail(error, CROCUTA_EARG, "sequence %lld has %lld segments%s",
			       (long long)index, (long long)segments->count,
			       segments->ends ? "" : " and no ends");
	for (int64_t i = 0; i < segments->count; i++) {
		if (segments->ends[i] <= start || segments->ends[i] > q->length)
			return cr_fail(error, CROCUTA_EARG,
				       "sequence %lld, segment %lld: it ends at %lld, not behind "
				       "%lld or beyond %lld",
				       (long long)index, (long long)i, (long long)segments->ends[i],
				       (long long)start, (long long)q->length);
		start = segments->ends[i];
	}
	return 0;
}

static int check_tokens(const crocuta_session *s, const uint8_t *tokens, int64_t count,
			crocuta_error *error)
{
	for (int64_t i = 0; i < count; i++)
		if (tokens[i] >= s->network->vocabulary)
			return cr_fail(error, CROCUTA_EARG,
				       "token %d at position %lld: the vocabulary has %lld rows",
				       tokens[i], (long long)i,
				       (long long)s->network->vocabulary);
	return 0;
}

static int check_length(const crocuta_session *s, int64_t index, int64_t length,
			crocuta_error *error)
{
	if (length >= 1 && length <= s->max_length)
		return 0;
	return cr_fail(error, CROCUTA_EARG,
		       "sequence %lld has %lld tokens; this session takes 1 to %lld",
		       (long long)index, (long long)length, (long long)s->max_length);
}

static int check_sequence(const crocuta_session *s, const crocuta_sequence *q, int64_t index,
			  crocuta_error *error)
{
	int code = check_length(s, index, q->length, error);

	if (!code && (q->report_from < 0 || q->report_from > q->length))
		code = cr_fail(error, CROCUTA_EARG,
			       "sequence %lld: report_from %lld is outside it", (long long)index,
			       (long long)q->report_from);
	return code ? code : check_tokens(s, q->tokens, q->length, error);
}

/* Rows pooled here, for engines that hand over rows: added up in the order in which they come. */
typedef struct pooler {
	const crocuta_request *request;
	int64_t width, sequence, segment;
	int64_t start; /* of the segment */
	double *values; /* (width) of its rows so far */
} pooler;

static void take_row(pooler *p, const float *row, int first, int last)
{
	const int kind = p->request->pooling->kind;

	for (int64_t i = 0; i < p->width; i++) {
		const double x = (double)row[i];

		if (kind == CROCUTA_POOL_SUM)
			p->values[i] = (first ? 0.0 : p->values[i]) + x;
		else if (kind == CROCUTA_POOL_LAST ? last : first || x > p->values[i] || x != x)
			p->values[i] = x;
		/* an infinity must not hide behind a larger value */
		if (kind == CROCUTA_POOL_MAX && x - x != 0.0)
			p->values[i] = NAN;
	}
}

static int pool_rows(void *user, int64_t sequence, int64_t first, int64_t count, const float *hidden,
		     const float *logits)
{
	pooler *p = user;
	const crocuta_pooling *pooling = p->request->pooling;
	const crocuta_segments *segments = &pooling->segments[sequence];

	(void)logits;
	if (p->sequence != sequence) {
		p->sequence = sequence;
		p->segment = 0;
		p->start = first;
	}
	for (int64_t row = first; row < first + count && p->segment < segments->count; row++) {
		const int last = row + 1 == segments->ends[p->segment];
		int code;

		take_row(p, hidden + (row - first) * p->width, row == p->start, last);
		if (!last)
			continue;
		code = pooling->pooled(p->request->user, sequence, p->segment, 1, p->values);
		if (code)
			return code;
		p->segment++;
		p->start = row + 1;
	}
	return 0;
}

static int run_pooled(crocuta_session *s, const crocuta_sequence *sequences, int64_t count, int layer,
		      const crocuta_request *request, crocuta_error *error)
{
	pooler p = {.request = request, .width = s->network->width, .sequence = -1};
	const crocuta_request rows = {
		.layer = layer, .want_hidden = 1, .rows = pool_rows, .user = &p};
	int code;

	p.values = cr_calloc((size_t)p.width, sizeof *p.values);
	if (!p.values)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory for pooled rows");
	code = s->engine->run(s, sequences, count, layer, &rows, error);
	cr_free(p.values);
	return code;
}

int crocuta_session_run(crocuta_session *s, const crocuta_sequence *sequences, int64_t count,
			const crocuta_request *request, crocuta_error *error)
{
	const crocuta_pooling *pooling = request->pooling;
	int layer, code = check_request(s, request, &layer, error);

	crocuta_session_stream_reset(s);
	if (!code && pooling && count && !pooling->segments)
		code = cr_fail(error, CROCUTA_EARG, "pooling needs the segments of each sequence");
	for (int64_t i = 0; !code && i < count; i++) {
		code = check_sequence(s, &sequences[i], i, error);
		if (!code && pooling)
			code = check_segments(&pooling->segments[i], &sequences[i], i, error);
	}
	if (code)
		return code;
	return pooling && !s->engine->pools
		       ? run_pooled(s, sequences, count, layer, request, error)
		       : s->engine->run(s, sequences, count, layer, request, error);
}

void crocuta_session_stream_reset(crocuta_session *s)
{
	s->stream_begun = 0;
	if (s->engine->stream_reset)
		s->engine->stream_reset(s);
}

int crocuta_session_stream(crocuta_session *s, const uint8_t *tokens, int64_t count, int last,
			   const crocuta_request *request, crocuta_error *error)
{
	int layer, code = check_request(s, request, &layer, error);

	if (!code && request->pooling)
		code = cr_fail(error, CROCUTA_EARG, "a stream's rows are not pooled");
	if (!code && (!s->stream || !s->engine->stream))
		code = cr_fail(error, CROCUTA_EARG, "this session was not planned for streams");
	if (!code && s->stream_begun && layer != s->stream_layer)
		code = cr_fail(error, CROCUTA_EARG, "layer %d: this stream was begun with layer %d",
			       layer, s->stream_layer);
	if (!code)
		code = check_tokens(s, tokens, count, error);
	s->stream_layer = layer;
	s->stream_begun |= count > 0;
	if (!code)
		code = s->engine->stream(s, tokens, count, last, layer, request, error);
	if (code || last)
		crocuta_session_stream_reset(s);
	return code;
}

/* ---- changes --------------------------------------------------------------------------------- */

static int check_change(const crocuta_session *s, const crocuta_changed_sequence *q, int64_t index,
			int64_t i, crocuta_error *error)
{
	const crocuta_change *c = &q->changes[i];

	if (c->length < 1 || c->length > s->change_length)
		return cr_fail(error, CROCUTA_EARG,
			       "sequence %lld, change %lld: %lld tokens; this session takes 1 to "
			       "%lld",
			       (long long)index, (long long)i, (long long)c->length,
			       (long long)s->change_length);
	if (c->at < 0 || c->at > q->length - c->length)
		return cr_fail(error, CROCUTA_EARG,
			       "sequence %lld, change %lld: %lld tokens at %lld are not inside its "
			       "%lld",
			       (long long)index, (long long)i, (long long)c->length,
			       (long long)c->at, (long long)q->length);
	if (i > 0 && c->at < c[-1].at)
		return cr_fail(error, CROCUTA_EARG, "sequence %lld, change %lld: not in order",
			       (long long)index, (long long)i);
	return check_tokens(s, c->tokens, c->length, error);
}

static int check_changed(const crocuta_session *s, const crocuta_changed_sequence *q, int64_t index,
			 crocuta_error *error)
{
	int code = check_length(s, index, q->length, error);

	if (!code && q->count < 0)
		code = cr_fail(error, CROCUTA_EARG, "sequence %lld has %lld changes",
			       (long long)index, (long long)q->count);
	if (!code)
		code = check_tokens(s, q->tokens, q->length, error);
	for (int64_t i = 0; !code && i < q->count; i++)
		code = check_change(s, q, index, i, error);
	return code;
}

int crocuta_session_changes(crocuta_session *s, const crocuta_changed_sequence *sequences,
			    int64_t count, crocuta_change_fn *rows, void *user,
			    crocuta_error *error)
{
	int code = 0;

	if (!s->change_length || !s->engine->changes)
		return cr_fail(error, CROCUTA_EARG, "this session was not planned for changes");
	if (!rows || count < 0)
		return cr_fail(error, CROCUTA_EARG, "changes need a function that takes their rows");
	crocuta_session_stream_reset(s);
	for (int64_t i = 0; !code && i < count; i++)
		code = check_changed(s, &sequences[i], i, error);
	return code ? code : s->engine->changes(s, sequences, count, rows, user, error);
}
