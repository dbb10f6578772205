/* session.c - the library's calls on sessions: what is asked is checked here, an engine computes. */
#include <crocuta/session.h>

#include <string.h>

#include <crocuta/device.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/engine.h"
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

/* The engine of a device: "auto", or a name up to a colon. */
static int choose_engine(const char *device, const cr_engine **engine, crocuta_error *error)
{
	const char *name = device ? device : "auto";
	const size_t length = strcspn(name, ":");

	*engine = engines[0];
	if (!strcmp(name, "auto"))
		return 0;
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
		if (strlen(engines[i]->name) == length && !memcmp(engines[i]->name, name, length)) {
			*engine = engines[i];
			return 0;
		}
	if (!strncmp(name, "cuda", 4))
		return cr_fail(error, CROCUTA_EDEVICE,
			       "--device %.40s: this crocuta is built without CUDA; use --device cpu",
			       name);
	return cr_fail(error, CROCUTA_EARG, "--device \"%.40s\": give auto, cpu or cuda", name);
}

int crocuta_device_check(const char *device, crocuta_error *error)
{
	const cr_engine *engine;

	return choose_engine(device, &engine, error);
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
		       "%.1f, changes %.1f), the limit is %.1f MB; try a shorter --window or raise "
		       "--max-mem",
		       (double)p->total_bytes / 1e6, (double)p->weight_bytes / 1e6,
		       (double)p->filter_bytes / 1e6, (double)p->workspace_bytes / 1e6,
		       (double)p->state_bytes / 1e6, (double)p->change_bytes / 1e6,
		       (double)limit / 1e6);
}

/* Everything but the allocations; *session NULL on failure. */
static int open_session(const crocuta_model *model, const crocuta_session_options *given,
			crocuta_session **session, crocuta_error *error)
{
	crocuta_session *s = cr_calloc(1, sizeof *s);
	crocuta_session_options o;
	int code;

	*session = NULL;
	if (!s)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	crocuta_session_options_init(&o);
	if (given)
		o = *given;
	s->network = cr_model_network(model);
	code = choose_engine(o.device, &s->engine, error);
	if (!code)
		code = check_options(&o, s->network, error);
	if (code) {
		cr_free(s);
		return code;
	}
	s->max_length = o.max_length ? o.max_length : s->network->max_length;
	s->change_length = o.change_length;
	s->stream = o.stream != 0;
	code = s->engine->open(s, &o, error);
	s->plan.device = s->engine->name;
	if (!code)
		code = check_memory(&s->plan, o.memory_limit, error);
	if (code)
		crocuta_session_free(s);
	else
		*session = s;
	return code;
}

int crocuta_session_plan(const crocuta_model *model, const crocuta_session_options *options,
			 crocuta_plan *plan, crocuta_error *error)
{
	crocuta_session *s;
	int code = open_session(model, options, &s, error);

	if (!code)
		*plan = s->plan;
	crocuta_session_free(s);
	return code;
}

int crocuta_session_new(const crocuta_model *model, const crocuta_session_options *options,
			crocuta_session **session, crocuta_error *error)
{
	int code = open_session(model, options, session, error);

	if (!code)
		code = (*session)->engine->prepare(*session, error);
	if (code) {
		crocuta_session_free(*session);
		*session = NULL;
	}
	return code;
}

void crocuta_session_free(crocuta_session *s)
{
	if (!s)
		return;
	s->engine->close(s);
	cr_free(s);
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
	if (!request->rows || (!request->want_hidden && !request->want_logits))
		return cr_fail(error, CROCUTA_EARG, "the request asks for no rows");
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

int crocuta_session_run(crocuta_session *s, const crocuta_sequence *sequences, int64_t count,
			const crocuta_request *request, crocuta_error *error)
{
	int layer, code = check_request(s, request, &layer, error);

	crocuta_session_stream_reset(s);
	for (int64_t i = 0; !code && i < count; i++)
		code = check_sequence(s, &sequences[i], i, error);
	return code ? code : s->engine->run(s, sequences, count, layer, request, error);
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
