/* test_model_cuda.c - whole networks on a GPU, against the golden files and the CPU.
 *
 * Skipped where there is no GPU or no GPU backend, unless CROCUTA_NEED_GPU is set (make check-cuda).
 */
#define _GNU_SOURCE
#include "made_model.h"

#define TOLERANCE 1e-4

/* Of bfloat16: root mean square of the error over that of the values (docs/numerics.md). */
#define BF16_TOLERANCE 0.02

static crocuta_session *gpu_session_of(const crocuta_model *model, int64_t length, int dtype)
{
	crocuta_session_options o;
	crocuta_session *s;
	crocuta_error error = {0};

	crocuta_session_options_init(&o);
	o.device = "cuda";
	o.dtype = dtype;
	o.max_length = length;
	if (crocuta_session_new(model, &o, &s, &error))
		fail_msg("%s", error.message);
	return s;
}

static crocuta_session *gpu_session(const crocuta_model *model, int64_t length)
{
	return gpu_session_of(model, length, CROCUTA_DTYPE_F32);
}

/* To be called while there is nothing to free. */
static void skip_without_gpu(void)
{
	crocuta_model *model = open_model("models/tiny-1k");
	crocuta_session_options o;
	crocuta_error error = {0};
	crocuta_plan plan;
	int code;

	crocuta_session_options_init(&o);
	o.device = "cuda";
	code = crocuta_session_plan(model, &o, &plan, &error);
	crocuta_model_close(model);
	if (code == CROCUTA_EDEVICE && !getenv("CROCUTA_NEED_GPU"))
		skip();
	if (code)
		fail_msg("%s", error.message);
}

static void run_all(crocuta_session *s, const crocuta_sequence *q, int64_t count, int layer,
		    int logits, collected *c)
{
	crocuta_request request = {.layer = layer, .want_hidden = 1, .want_logits = logits,
				   .rows = collect_rows, .user = c};
	crocuta_error error = {0};

	if (crocuta_session_run(s, q, count, &request, &error))
		fail_msg("%s", error.message);
}

static void golden_files(void **state)
{
	static const char *const folders[] = {"hyenadna-d128-n2-m1026",
					      "hyenadna-d128-n2-m1026-shift0",
					      "hyenadna-d64-n4-m4098"};

	double worst = 0;

	(void)state;
	skip_without_gpu();
	for (int f = 0; f < 3; f++) {
		char path[300];
		crocuta_model *model;
		crocuta_session *s;

		snprintf(path, sizeof path, "test-data/golden/%s", folders[f]);
		model = open_model(path);
		s = gpu_session(model, 0);
		for (int i = 0; i < 10; i++) {
			npy_array ids, hidden, logits;
			uint8_t *tokens;
			collected c;

			snprintf(path, sizeof path, "test-data/golden/%s/ids_%d.npy", folders[f], i);
			if (!npy_read(path, &ids))
				break;
			tokens = malloc((size_t)ids.rows);
			assert_non_null(tokens);
			for (int64_t t = 0; t < ids.rows; t++)
				tokens[t] = (uint8_t)((int32_t *)ids.data)[t];
			collect_new(&c, model, 1, ids.rows);
			run_all(s, &(crocuta_sequence){tokens, ids.rows, 0}, 1, -1, 1, &c);
			snprintf(path, sizeof path, "test-data/golden/%s/hidden_%d.npy", folders[f],
				 i);
			assert_true(npy_read(path, &hidden));
			snprintf(path, sizeof path, "test-data/golden/%s/logits_%d.npy", folders[f],
				 i);
			assert_true(npy_read(path, &logits));
			{
				double a = largest_difference(c.hidden, hidden.data,
							      hidden.rows * hidden.columns);
				double b = largest_difference(c.logits, logits.data,
							      logits.rows * logits.columns);

				print_message("%s %d: hidden %.2g, logits %.2g\n", folders[f], i, a, b);
				worst = fmax(worst, fmax(a, b));
			}
			free(ids.data);
			free(hidden.data);
			free(logits.data);
			free(tokens);
			collect_free(&c);
		}
		crocuta_session_free(s);
		crocuta_model_close(model);
	}
	assert_true(worst <= TOLERANCE);
}

static void agrees_with_the_cpu(const crocuta_model *model, int64_t longest)
{
	static const int64_t shares[] = {1, 2, 3, 50, 63, 64, 65, 255, 256, 257, 300, 1000};
	enum { COUNT = 12 };
	crocuta_session *gpu = gpu_session(model, longest);
	crocuta_session_options o;
	crocuta_session *cpu;
	crocuta_sequence q[COUNT];
	uint8_t *tokens = malloc((size_t)longest);
	uint32_t seed = 5;

	assert_non_null(tokens);
	crocuta_session_options_init(&o);
	o.device = "cpu";
	o.max_length = longest;
	cpu = new_session(model, &o);
	for (int64_t i = 0; i < longest; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (uint8_t)(7 + (seed >> 24) % 5);
	}
	for (int i = 0; i < COUNT; i++)
		q[i] = (crocuta_sequence){tokens, i == COUNT - 1 || shares[i] > longest ? longest
											: shares[i],
					  i == 8 ? 100 : 0};
	for (int layer = 0; layer <= crocuta_model_get_info(model)->layers; layer++) {
		const int last = layer == crocuta_model_get_info(model)->layers;
		collected a, b, alone;

		collect_new(&a, model, COUNT, longest);
		collect_new(&b, model, COUNT, longest);
		run_all(gpu, q, COUNT, layer, last, &a);
		run_all(cpu, q, COUNT, layer, last, &b);
		for (int i = 0; i < COUNT; i++) {
			const int64_t from = i * longest + q[i].report_from;
			const int64_t n = q[i].length - q[i].report_from;
			double scale = 1, worst;

			for (int64_t t = 0; t < n * a.width; t++)
				scale = fmax(scale, fabs((double)b.hidden[from * a.width + t]));
			worst = largest_difference(a.hidden + from * a.width,
						   b.hidden + from * a.width, n * a.width) /
				scale;
			if (!(worst <= TOLERANCE))
				fail_msg("layer %d, length %lld: off by %g", layer,
					 (long long)q[i].length, worst);
			/* both are within 1e-4 of the answer, so twice that of each other */
			worst = largest_difference(a.logits + from * a.vocabulary,
						   b.logits + from * a.vocabulary,
						   last ? n * a.vocabulary : 0);
			if (!(worst <= 2 * TOLERANCE))
				fail_msg("length %lld: logits off by %g", (long long)q[i].length, worst);
			/* alone: the same bytes */
			collect_new(&alone, model, 1, longest);
			run_all(gpu, &q[i], 1, layer, last, &alone);
			assert_memory_equal(alone.hidden + q[i].report_from * a.width,
					    a.hidden + from * a.width, 4 * (size_t)(n * a.width));
			collect_free(&alone);
		}
		collect_free(&a);
		collect_free(&b);
	}
	free(tokens);
	crocuta_session_free(gpu);
	crocuta_session_free(cpu);
}

static void all_lengths_and_layers(void **state)
{
	crocuta_model *model;

	(void)state;
	skip_without_gpu();
	model = open_model("test-data/golden/hyenadna-d64-n4-m4098");
	agrees_with_the_cpu(model, 4098);
	crocuta_model_close(model);
	model = open_model("models/tiny-1k");
	agrees_with_the_cpu(model, 1024);
	crocuta_model_close(model);
}

static void made_up_shapes(void **state)
{
	static const char *const shapes[] = {
		"--width 40 --inner 64 --layers 2 --max-length 20002",
		"--width 256 --inner 1024 --layers 2 --max-length 65538"};

	(void)state;
	skip_without_gpu();
	for (int i = 0; i < 2; i++) {
		crocuta_model *model = made_model(shapes[i]);

		agrees_with_the_cpu(model, i ? 40000 : 20002);
		crocuta_model_close(model);
	}
}

/* Hidden rows of one random sequence in bfloat16 against float32 on the same GPU. */
static void bf16_is_near(const crocuta_model *model, int64_t length)
{
	crocuta_session *exact = gpu_session(model, length);
	crocuta_session *fast = gpu_session_of(model, length, CROCUTA_DTYPE_BF16);
	uint8_t *tokens = malloc((size_t)length);
	double error = 0, size = 0;
	uint32_t seed = 9;
	collected a, b;

	assert_non_null(tokens);
	for (int64_t i = 0; i < length; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (uint8_t)(7 + (seed >> 24) % 4);
	}
	collect_new(&a, model, 1, length);
	collect_new(&b, model, 1, length);
	run_all(exact, &(crocuta_sequence){tokens, length, 0}, 1, -1, 1, &a);
	run_all(fast, &(crocuta_sequence){tokens, length, 0}, 1, -1, 1, &b);
	for (int64_t i = 0; i < length * a.width; i++) {
		const double d = (double)a.hidden[i] - b.hidden[i];

		error += d * d;
		size += (double)a.hidden[i] * a.hidden[i];
	}
	print_message("width %lld, %lld positions: bfloat16 is off by %.2g of the root mean square\n",
		      (long long)a.width, (long long)length, sqrt(error / size));
	assert_true(sqrt(error / size) <= BF16_TOLERANCE);
	assert_true(error > 0); /* it is another arithmetic */
	free(tokens);
	collect_free(&a);
	collect_free(&b);
	crocuta_session_free(exact);
	crocuta_session_free(fast);
}

static void bf16_follows_float32(void **state)
{
	crocuta_model *model;

	(void)state;
	skip_without_gpu();
	model = open_model("models/tiny-1k");
	bf16_is_near(model, 1024);
	crocuta_model_close(model);
	model = open_model("test-data/golden/hyenadna-d64-n4-m4098");
	bf16_is_near(model, 4098);
	crocuta_model_close(model);
	model = made_model("--width 256 --inner 1024 --layers 4 --max-length 32770");
	bf16_is_near(model, 1000);
	bf16_is_near(model, 32768);
	crocuta_model_close(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_files),
		cmocka_unit_test(all_lengths_and_layers),
		cmocka_unit_test(made_up_shapes),
		cmocka_unit_test(bf16_follows_float32),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
