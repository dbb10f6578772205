/* test_model_hyenadna_attention.c - HyenaDNA with attention layers: the numbers of a plain float64
 * evaluation on every device and over ranks, what its files must hold, and what is refused.
 *
 * The fixture is what tests/tools/hyenadna_attention.py makes.
 */
#define _GNU_SOURCE
#include "golden.h"

#include "stripedhyena_fixture.h"

#include "backend/stack.h"
#include "model/network.h"

#define MODEL "test-data/hybrid/hyenadna-attention"
#define PLAIN "test-data/golden/hyenadna-d128-n2-m1026"
#define RECORDS 4
#define HIDDEN_MOST 1e-4
#define LOGITS_MOST 4e-4 /* they reach 22 */

/* ---- numbers --------------------------------------------------------------------------------- */

static void session_options(crocuta_session_options *options, const char *device)
{
	crocuta_session_options_init(options);
	options->device = device;
	options->threads = 2;
	options->parallel = strchr(device, ':') ? CROCUTA_PARALLEL_SEQUENCE : CROCUTA_PARALLEL_AUTO;
}

static void read_record(const char *what, int record, npy_array *array)
{
	char path[300];

	snprintf(path, sizeof path, MODEL "/%s_%d.npy", what, record);
	assert_true(npy_read(path, array));
}

static int run(crocuta_session *session, const npy_array *ids, collected *c, crocuta_error *error)
{
	uint8_t *tokens = malloc((size_t)ids->rows);
	const crocuta_sequence q = {.tokens = tokens, .length = ids->rows};
	const crocuta_request request = {
		.layer = -1, .want_hidden = 1, .want_logits = 1, .rows = collect_rows, .user = c};
	int code;

	for (int64_t i = 0; i < ids->rows; i++)
		tokens[i] = (uint8_t)((int32_t *)ids->data)[i];
	code = crocuta_session_run(session, &q, 1, &request, error);
	free(tokens);
	return code;
}

/* A record in a session; refused: a device that may lack HyenaDNA's filter in a stack. */
static void check_record(const crocuta_model *model, crocuta_session *session, int record,
			 const char *device, int refused)
{
	npy_array ids, rows, logit;
	crocuta_error error = {0};
	collected c;
	double hidden, logits;
	int code;

	read_record("ids", record, &ids);
	read_record("hidden", record, &rows);
	read_record("logits", record, &logit);
	collect_new(&c, model, 1, ids.rows);
	code = run(session, &ids, &c, &error);
	if (code && refused) {
		assert_int_equal(code, CROCUTA_EDEVICE);
		assert_non_null(strstr(error.message, "--device cpu"));
	} else if (code) {
		fail_msg("%s: %s", device, error.message);
	}
	hidden = largest_difference(c.hidden, rows.data, ids.rows * c.width);
	logits = largest_difference(c.logits, logit.data, ids.rows * c.vocabulary);
	collect_free(&c);
	free(ids.data);
	free(rows.data);
	free(logit.data);
	if (!code && !(hidden <= HIDDEN_MOST && logits <= LOGITS_MOST))
		fail_msg("record %d on %s: hidden off by %g, logits by %g", record, device, hidden,
			 logits);
}

static void check_model(const crocuta_model *model, const char *device)
{
	crocuta_session_options options;
	crocuta_session *session;

	session_options(&options, device);
	session = new_session(model, &options);
	for (int record = 0; record < RECORDS; record++)
		check_record(model, session, record, device, 0);
	crocuta_session_free(session);
}

static void cpu(void **state)
{
	static const char *const devices[] = {"cpu", "cpu:1", "cpu:2", "cpu:3", "cpu:5"};
	crocuta_model *model = open_model(MODEL);

	(void)state;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		check_model(model, devices[i]);
	crocuta_model_close(model);
}

/* Refused in plain words, when it is made or when it runs, or right. */
static void reference(void **state)
{
	crocuta_model *model = open_model(MODEL);
	crocuta_session_options options;
	crocuta_session *session;
	crocuta_error error = {0};
	int code;

	(void)state;
	session_options(&options, "reference");
	code = crocuta_session_new(model, &options, &session, &error);
	if (code) {
		assert_int_equal(code, CROCUTA_EDEVICE);
		assert_non_null(strstr(error.message, "--device cpu"));
	}
	for (int record = 0; !code && record < RECORDS; record++)
		check_record(model, session, record, "reference", 1);
	if (!code)
		crocuta_session_free(session);
	crocuta_model_close(model);
}

static void refuses_sessions(void **state)
{
	crocuta_model *model = open_model(MODEL);
	crocuta_session_options options;
	crocuta_session *session;
	crocuta_error error = {0};

	(void)state;
	session_options(&options, "cpu");
	options.stream = 1;
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "stream"));
	memset(&error, 0, sizeof error);
	options.stream = 0;
	options.change_length = 8;
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EARG);
	memset(&error, 0, sizeof error);
	options.change_length = 0;
	options.max_length = 259;
	assert_int_equal(crocuta_session_new(model, &options, &session, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "1 to 258"));
	crocuta_model_close(model);
}

/* ---- files ----------------------------------------------------------------------------------- */

static crocuta_model *accept(struct fixture *f)
{
	fixture_save(f, root);
	fixture_free(f);
	return open_model(root);
}

static void refuse(struct fixture *f, const char *text)
{
	crocuta_error error = {0};
	crocuta_model *model;
	int code;

	fixture_save(f, root);
	fixture_free(f);
	code = crocuta_model_open(root, NULL, &model, &error);
	if (!code)
		fail_msg("opened, expected: %s", text);
	assert_null(model);
	assert_int_equal(code, CROCUTA_EMODEL);
	if (!strstr(error.message, text))
		fail_msg("expected \"%s\", got: %s", text, error.message);
}

static struct fixture *changed(const char *from, const char *to)
{
	struct fixture *f = fixture_read(MODEL);

	change_config(f, from, to);
	return f;
}

static struct fixture *without(const char *tensor)
{
	struct fixture *f = fixture_read(MODEL);

	fixture_remove(f, tensor);
	return f;
}

static void describes(void **state)
{
	crocuta_model *model = open_model(MODEL);
	const crocuta_model_info *info = crocuta_model_get_info(model);
	const cr_network *network = cr_model_network(model);
	const cr_stack *stack = network->stack;
	struct fixture *f = fixture_read(MODEL);
	const struct fixture_tensor *short_filter =
		fixture_find(f, "layers.2.mixer.short_filter.weight");
	const cr_attention_weights *a;

	(void)state;
	assert_null(crocuta_model_get_note(model, 0));
	assert_string_equal(info->family, "hyenadna");
	assert_int_equal(info->attention_layers, 2);
	assert_int_equal(info->max_length, 258);
	assert_int_equal(info->usable_length, 256);
	assert_int_equal(info->inner_width, 64);
	assert_int_equal(info->has_lm_head, 0);
	/* table and final norm; norms, MLP and out_proj of 4 layers; 2 attentions; 2 operators */
	assert_int_equal(info->parameters,
			 16 * 32 + 64 + 4 * (128 + 64 * 32 + 64 + 32 * 64 + 32 + 32 * 32 + 32) +
				 2 * (96 * 32 + 96) +
				 2 * (96 * 32 + 96 + 96 * 3 + 96 + 32 + 16 * 5 + 16 + 16 +
				      2 * (16 * 16 + 16) + 32 * 16));
	assert_true(!info->changes && !info->streams);
	assert_true(fabs(info->filter_shift - 0.05) < 1e-9);
	assert_non_null(stack);
	assert_null(network->block);
	assert_int_equal(network->width, 32);
	for (int i = 0; i < 4; i++)
		assert_int_equal(stack->layer[i].mixer,
				 i % 2 ? CR_MIXER_ATTENTION : CR_MIXER_IMPLICIT);
	for (int i = 1; i < 4; i += 2) { /* stored in layer 1, computed in layer 3 */
		a = &stack->layer[i].attention;
		assert_true(a->heads == 4 && a->kv_heads == 4 && a->head_size == 8);
		assert_int_equal(a->rotary_size, 4);
		assert_true(a->position_divisor == 1 && fabs(a->scale - sqrt(0.125)) < 1e-15);
		assert_true(a->inverse_frequency[0] == 1);
		assert_true(fabsf(a->inverse_frequency[1] - 0.01f) < 1e-9f);
	}
	for (int i = 0; i < 3; i++)
		assert_true(stack->layer[2].short_taps[3 * 5 + i] ==
			    stored(short_filter, 3 * 5 + 2 - i));
	fixture_free(f);
	crocuta_model_close(model);
}

static void accepts(void **state)
{
	struct fixture *f = fixture_read(MODEL);
	const int64_t shape[2] = {3, 32};
	crocuta_model *model;

	(void)state;
	for (int i = 0; i < f->count; i++) { /* as the port names them, as checkpointed runs do */
		char *name = f->tensor[i].name, rest[200];
		char *mixer = strstr(name, "layers.1.mixer.");

		if (mixer) {
			snprintf(rest, sizeof rest, "%s", mixer + strlen("layers.1.mixer."));
			snprintf(mixer, sizeof f->tensor[i].name - (size_t)(mixer - name),
				 "layers.1.mixer.layer.%s", rest);
		}
	}
	fixture_remove(f, "inv_freq");
	fixture_add(f, "score.weight", "F32", 2, shape);
	model = accept(f);
	assert_int_equal(crocuta_model_get_info(model)->classes, 3);
	check_model(model, "cpu");
	crocuta_model_close(model);

	/* Other frequencies in the file count. */
	f = fixture_read(MODEL);
	((float *)(void *)fixture_find(f, "inv_freq")->data)[1] = 0.5f;
	model = accept(f);
	assert_true(cr_model_network(model)->stack->layer[1].attention.inverse_frequency[1] ==
		    0.5f);
	crocuta_model_close(model);

	/* The base's are computed, and none at all. */
	f = changed("\"causal\": true",
		    "\"rotary_emb_base\": 100, \"rotary_emb_scale_base\": 0, \"dwconv\": null, "
		    "\"causal\": true, \"x\": 1");
	fixture_remove(f, "inv_freq");
	model = accept(f);
	assert_true(fabsf(cr_model_network(model)->stack->layer[3].attention.inverse_frequency[1] -
			  0.1f) < 1e-8f);
	assert_true(has_note(model, "attn_cfg.x"));
	crocuta_model_close(model);
	f = changed("\"rotary_emb_dim\": 4", "\"rotary_emb_dim\": 0");
	fixture_remove(f, "inv_freq");
	model = accept(f);
	assert_int_equal(cr_model_network(model)->stack->layer[1].attention.rotary_size, 0);
	assert_null(cr_model_network(model)->stack->layer[1].attention.inverse_frequency);
	crocuta_model_close(model);
}

/* Nothing changes for a network without attention. */
static void leaves_others_alone(void **state)
{
	struct fixture *f = fixture_read(PLAIN);
	crocuta_model *model;

	(void)state;
	change_config(f, "\"d_model\"", "\"attn_layer_idx\": [], \"attn_cfg\": {}, \"d_model\"");
	model = accept(f);
	assert_null(cr_model_network(model)->stack);
	assert_non_null(cr_model_network(model)->block);
	assert_int_equal(crocuta_model_get_info(model)->attention_layers, 0);
	assert_null(crocuta_model_get_note(model, 0));
	crocuta_model_close(model);
	f = fixture_read(PLAIN);
	change_config(f, "\"d_model\"",
		      "\"attn_layer_idx\": [1], \"attn_cfg\": {\"num_heads\": 2}, \"d_model\"");
	refuse(f, "missing: layers.1.mixer.Wqkv.weight, layers.1.mixer.Wqkv.bias; unknown: ");
}

static void refuses_tensors(void **state)
{
	static const char *const names[] = {
		"layers.1.mixer.Wqkv.weight", "layers.3.mixer.Wqkv.bias",
		"layers.3.mixer.out_proj.weight", "layers.1.mixer.out_proj.bias",
		"layers.2.mixer.in_proj.weight"};
	const int64_t shape[2] = {32, 32};
	struct fixture *f;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char text[200];

		snprintf(text, sizeof text, "1 tensor is missing: %s", names[i]);
		refuse(without(names[i]), text);
	}
	f = fixture_read(MODEL);
	fixture_find(f, "layers.1.mixer.Wqkv.weight")->shape[0] = 32;
	fixture_find(f, "layers.1.mixer.Wqkv.weight")->shape[1] = 96;
	refuse(f, "layers.1.mixer.Wqkv.weight\" has shape [32, 96], expected [96, 32]");
	f = changed("\"rotary_emb_dim\": 4", "\"rotary_emb_dim\": 8");
	refuse(f, "inv_freq\" has shape [2], expected [4]");
	f = changed("\"rotary_emb_dim\": 4", "\"rotary_emb_dim\": 0");
	refuse(f, "belongs to no layer: model.backbone.layers.1.mixer.rotary_emb.inv_freq");
	f = fixture_read(MODEL);
	fixture_add(f, "backbone.layers.1.mixer.in_proj.weight", "F32", 2, shape);
	refuse(f, "belongs to no layer: backbone.layers.1.mixer.in_proj.weight");
	f = fixture_read(MODEL);
	fixture_add(f, "backbone.embeddings.position_embeddings.weight", "F32", 2, shape);
	refuse(f, "belongs to no layer: backbone.embeddings.position_embeddings.weight");
	f = fixture_read(MODEL);
	((uint32_t *)(void *)fixture_find(f, "layers.3.mixer.Wqkv.weight")->data)[7] = 0x7fc00000;
	refuse(f, "layers.3.mixer.Wqkv.weight\": element 7 is NaN");
}

static void refuses_configs(void **state)
{
	static const struct {
		const char *from, *to, *text;
	} cases[] = {
		{"\"causal\": true", "\"causal\": false", "attn_cfg.causal: attention that looks"},
		{"\"causal\": true", "\"causal\": null", "attn_cfg.causal: attention that looks"},
		{"\"causal\": true", "\"dwconv\": true", "attn_cfg.dwconv"},
		{"\"causal\": true", "\"rotary_emb_interleaved\": true",
		 "attn_cfg.rotary_emb_interleaved"},
		{"\"causal\": true", "\"rotary_emb_scale_base\": 512",
		 "attn_cfg.rotary_emb_scale_base"},
		{"\"causal\": true", "\"softmax_scale\": 1", "attn_cfg.softmax_scale"},
		{"\"causal\": true", "\"qkv_proj_bias\": false", "attn_cfg.qkv_proj_bias"},
		{"\"causal\": true", "\"rotary_emb_base\": 0", "rotary_emb_base is 0, expected"},
		{"\"num_heads\": 4", "\"num_heads\": 5", "does not divide into 5 heads"},
		{"\"num_heads\": 4", "\"num_heads\": 64", "does not divide into 64 heads"},
		{"\"num_heads\": 4", "\"num_heads\": 0", "num_heads is 0, expected"},
		{"\"num_heads\": 4,", "", "attn_cfg.num_heads does not say"},
		{"\"attn_cfg\"", "\"attn_config\"", "attn_cfg.num_heads does not say"},
		{"\"rotary_emb_dim\": 4", "\"rotary_emb_dim\": 3", "rotary_emb_dim is 3, expected"},
		{"\"rotary_emb_dim\": 4", "\"rotary_emb_dim\": 10", "the head's size 8"},
		{"[\n    1,\n    3\n  ]", "[1, 4]", "attn_layer_idx lists layer 4"},
		{"[\n    1,\n    3\n  ]", "[1, -1]", "attn_layer_idx: entry 1 is not a layer"},
		{"[\n    1,\n    3\n  ]", "[1.5]", "attn_layer_idx: entry 0 is not a layer"},
		{"[\n    1,\n    3\n  ]", "[99999999999]", "attn_layer_idx: entry 0"},
		{"[\n    1,\n    3\n  ]", "\"1\"", "attn_layer_idx is not a list"},
		{"[\n    1,\n    3\n  ]", "2", "attn_layer_idx is not a list"},
		{"[\n    1,\n    3\n  ]", "[0, 1, 2, 3]", "lists all 4 layers"},
		{"[\n    1,\n    3\n  ]", "[]", "missing: layers.1.mixer.in_proj.weight"},
		{"\"lr\":", "\"attn_layer_idx\": [1], \"lr\":", "layer.attn_layer_idx"},
		{"\"max_position_embeddings\": 0", "\"max_position_embeddings\": 258",
		 "max_position_embeddings: position embeddings are not supported"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refuse(changed(cases[i].from, cases[i].to), cases[i].text);
}

static void converts_nothing(void **state)
{
	crocuta_model *model = open_model(MODEL);
	crocuta_error error = {0};

	(void)state;
	assert_int_equal(crocuta_model_convert(model, root, "F32", 0, 1, &error), CROCUTA_EARG);
	assert_non_null(strstr(error.message, "not converted"));
	assert_null(strchr(error.message, '\n'));
	crocuta_model_close(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu),
		cmocka_unit_test(reference),
		cmocka_unit_test(refuses_sessions),
		cmocka_unit_test(describes),
		cmocka_unit_test(accepts),
		cmocka_unit_test(leaves_others_alone),
		cmocka_unit_test(refuses_tensors),
		cmocka_unit_test(refuses_configs),
		cmocka_unit_test(converts_nothing),
	};

	return cmocka_run_group_tests(tests, make_root, discard_root);
}
