/* bench_stack.c - times each operator on stacks on a device, at the sizes of Evo-2 7B.
 *
 * bench_stack [cpu] [f32] [gpu N] [rows R] [threads N] [attention L HEADS]...
 *
 * With `attention` only causal attention, of L positions and HEADS heads of 128 numbers; its FLOP
 * are the 2 L^2 128 HEADS that causality leaves. Wall time around wait(), of as many calls as take
 * half a second, after one that is not counted. GB/s are of what has to be read and written once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/stack_ops.h"
#include "base/clock.h"
#include "base/memory.h"

#define WIDTH 4096
#define INNER 11264
#define HEADS 32
#define HEAD_SIZE 128
#define VOCABULARY 512
#define PATTERN 65536 /* random numbers, repeated */

static struct {
	const cr_stack_ops *ops;
	cr_stack_device *device;
	int activation;
	int64_t rows;
	crocuta_error error;
} bench;

static void check(int code)
{
	if (!code)
		return;
	fprintf(stderr, "bench_stack: %s\n", bench.error.message);
	exit(1);
}

/* An array of `count` random numbers from low to high. */
static void *array(int type, int64_t count, double low, double high)
{
	const int64_t bytes = count * cr_number_bytes(type), part = PATTERN * cr_number_bytes(type);
	static uint64_t seed = 88172645463325252u;
	char *host = cr_calloc(PATTERN, 8);
	void *result;

	if (!host)
		exit(1);
	for (int64_t i = 0; i < PATTERN; i++) {
		float value;
		uint32_t bits;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		value = (float)(low + (high - low) * (double)(seed >> 11) * 0x1p-53);
		memcpy(&bits, &value, sizeof bits);
		bits >>= 16;
		if (type == CR_NUMBER_BF16)
			memcpy(host + 2 * i, &bits, 2); /* cut, of a little-endian machine */
		else if (type == CR_NUMBER_F32)
			memcpy(host + 4 * i, &value, 4);
	}
	check(bench.ops->allocate(bench.device, bytes, &result, &bench.error));
	check(bench.ops->upload(bench.device, result, host, bytes < part ? bytes : part,
				&bench.error));
	for (int64_t done = part; done < bytes; done *= 2)
		check(bench.ops->copy(bench.device, (char *)result + done, result,
				      bytes - done < done ? bytes - done : done, &bench.error));
	cr_free(host);
	return result;
}

static void *activations(int64_t count)
{
	return array(bench.activation, count, -1, 1);
}

typedef int call(const void *arguments);

#define CR_STACK_OP(operator)                                                                      \
	static int call_##operator(const void *arguments)                                          \
	{                                                                                          \
		return bench.ops->operator(bench.device, arguments, &bench.error);                 \
	}
#include "backend/stack_ops.def"
#undef CR_STACK_OP

/* flop, bytes: of one call; 0: not told. */
static void measure(const char *name, call *run, const void *arguments, double flop, double bytes)
{
	double seconds = 0;
	int64_t calls = 1;

	check(run(arguments));
	check(bench.ops->wait(bench.device, &bench.error));
	for (;;) {
		const double start = cr_wall_seconds();

		for (int64_t i = 0; i < calls; i++)
			check(run(arguments));
		check(bench.ops->wait(bench.device, &bench.error));
		seconds = cr_wall_seconds() - start;
		if (seconds > 0.5 || calls > 10000)
			break;
		calls = seconds < 0.05 ? 8 * calls : (int64_t)(0.6 / seconds * (double)calls) + 1;
	}
	seconds /= (double)calls;
	printf("%-28s %10.4f ms", name, 1e3 * seconds);
	if (flop > 0)
		printf(" %9.2f TFLOP/s", 1e-12 * flop / seconds);
	if (bytes > 0)
		printf(" %9.1f GB/s", 1e-9 * bytes / seconds);
	printf("\n");
	fflush(stdout);
}

static void release(void *a)
{
	bench.ops->release(bench.device, a);
}

static double number(void)
{
	return (double)cr_number_bytes(bench.activation);
}

static void bench_linear(const char *name, int64_t in, int64_t out, int target, int bias)
{
	cr_matrix m = {array(CR_NUMBER_BF16, out * in, -0.05, 0.05), CR_NUMBER_BF16, out, in, NULL};
	void *x = activations(bench.rows * in);
	void *y = target == CR_LINEAR_STORE ? activations(bench.rows * out)
					    : array(CR_NUMBER_F32, bench.rows * out, -1, 1);
	float *b = bias ? array(CR_NUMBER_F32, out, -0.0f, 0.0f) : NULL;
	const cr_stack_linear a = {&m, x, y, in, out, bench.rows, target};

	m.bias = b;
	measure(name, call_linear, &a, 2.0 * (double)(bench.rows * in) * (double)out, 0);
	release((void *)m.values);
	release(x);
	release(y);
	release(b);
}

static void bench_local(void)
{
	const int64_t count = bench.rows * WIDTH;
	const cr_matrix table = {array(CR_NUMBER_BF16, VOCABULARY * WIDTH, -1, 1), CR_NUMBER_BF16,
				 VOCABULARY, WIDTH, NULL};
	float *scale = array(CR_NUMBER_F32, WIDTH, 0.5, 1.5);
	float *frequency = array(CR_NUMBER_F32, HEAD_SIZE / 2, 0.0001, 1);
	float *x = array(CR_NUMBER_F32, count, -1, 1);
	uint8_t *tokens = array(CR_NUMBER_F32, bench.rows, 0, 0);
	void *y = activations(count), *inner = activations(bench.rows * INNER);
	void *gate = activations(bench.rows * INNER);
	const cr_attention_weights attention = {HEADS,     HEADS, HEAD_SIZE, HEAD_SIZE,
						frequency, 128,   0.088};
	const cr_stack_embed embed = {&table, tokens, bench.rows, x};
	const cr_stack_norm norm = {CR_NORM_RMS, 1e-6, {scale, NULL}, x, y, 0, bench.rows, WIDTH};
	const cr_stack_rope rope = {&attention, y, WIDTH, bench.rows, HEADS, 1000};
	const cr_stack_activate product = {CR_ACTIVATION_NONE, inner, gate, inner,
					   bench.rows * INNER};
	const cr_stack_activate gelu = {CR_ACTIVATION_GELU, inner, gate, inner, bench.rows * INNER};
	const double wide = (double)count, n = number(), most = (double)bench.rows * INNER;

	measure("embed", call_embed, &embed, 0, wide * 4);
	measure("norm", call_norm, &norm, 0, wide * (4 + n));
	measure("rope", call_rope, &rope, 0, wide * 2 * n);
	measure("activate: a b", call_activate, &product, 0, most * 3 * n);
	measure("activate: gelu(a) b", call_activate, &gelu, 0, most * 3 * n);
	release((void *)table.values);
	release(scale);
	release(frequency);
	release(x);
	release(tokens);
	release(y);
	release(inner);
	release(gate);
}

static void bench_fir(const char *name, int64_t length, float *skip, const char *g, void *x2)
{
	const cr_fir_weights w = {256, length, array(CR_NUMBER_F32, 256 * length, -0.1, 0.1)};
	const cr_stack_fir a = {&w, skip, g, x2, x2, bench.rows, WIDTH};
	const double count = (double)bench.rows * WIDTH;

	measure(name, call_fir, &a, 2 * count * (double)length, 3 * count * number());
	release((void *)w.taps);
}

static void bench_modal(const char *name, int64_t states, int complex, float *skip, const void *g,
			void *x2)
{
	const int64_t numbers = WIDTH * states * (complex ? 2 : 1);
	const cr_modal_weights w = {states, complex,
				    complex ? array(CR_NUMBER_F32, numbers, -0.7, 0.7)
					    : array(CR_NUMBER_F32, numbers, -1, -0.001),
				    array(CR_NUMBER_F32, numbers, -0.2, 0.2)};
	double *state = array(CR_NUMBER_F64, numbers, 0, 0);
	double *local = array(CR_NUMBER_F64, numbers, 0, 0);
	const cr_stack_modal a = {&w, skip, g, x2, x2, state, bench.rows, WIDTH};
	const cr_stack_modal_fold fold = {&w, 100000, WIDTH, local, state};
	const double count = (double)bench.rows * WIDTH;

	/* twice the states (complex: 4 products each), once the output */
	measure(name, call_modal, &a, 2 * count * (double)(complex ? 10 * states : 3 * states),
		4 * count * number());
	measure("  fold", call_modal_fold, &fold, 0, 0);
	release((void *)w.poles);
	release((void *)w.residues);
	release(state);
	release(local);
}

static void bench_mixers(void)
{
	const int64_t history = 127; /* rows before row 0 */
	float *taps = array(CR_NUMBER_F32, 3 * WIDTH * 3, -1, 1);
	float *skip = array(CR_NUMBER_F32, WIDTH, -1, 1);
	char *z = activations((history + bench.rows) * 3 * WIDTH);
	char *g = activations((history + bench.rows) * WIDTH);
	void *x2 = activations(bench.rows * WIDTH);
	char *g0 = g + history * WIDTH * (int64_t)number();
	const cr_stack_front front = {z + history * 3 * WIDTH * (int64_t)number(),
				      3,
				      taps,
				      NULL,
				      3,
				      x2,
				      g0,
				      bench.rows,
				      WIDTH};
	const double count = (double)bench.rows * WIDTH;

	measure("front, 3 taps", call_front, &front, 0, 5 * count * number());
	bench_fir("fir, 7 taps", 7, NULL, g0, x2);
	bench_fir("fir, 128 taps", 128, skip, g0, x2);
	bench_modal("modal, 16 real", 16, 0, skip, g0, x2);
	bench_modal("modal, 8 complex", 8, 1, skip, g0, x2);
	release(taps);
	release(skip);
	release(z);
	release(g);
	release(x2);
}

static void bench_attention(int64_t length, int64_t heads)
{
	const int64_t width = heads * HEAD_SIZE;
	void *q = activations(length * width), *k = activations(length * width);
	void *v = activations(length * width), *y = activations(length * width);
	const cr_stack_attention a = {.q = q,
				      .k = k,
				      .v = v,
				      .q_stride = width,
				      .k_stride = width,
				      .v_stride = width,
				      .rows = length,
				      .keys = length,
				      .heads = heads,
				      .kv_heads = heads,
				      .head_size = HEAD_SIZE,
				      .scale = 0.08838834764831845,
				      .first = 1,
				      .y = y,
				      .y_stride = width};
	char name[64];

	snprintf(name, sizeof name, "attention, %lld x %lld", (long long)length, (long long)heads);
	measure(name, call_attention, &a, 2.0 * (double)length * (double)length * (double)width, 0);
	release(q);
	release(k);
	release(v);
	release(y);
}

static void bench_all(void)
{
	printf("%s, %lld rows, width %d, inner %d, activations %s\n", bench.ops->name,
	       (long long)bench.rows, WIDTH, INNER,
	       bench.activation == CR_NUMBER_BF16 ? "bfloat16" : "float32");
	bench_linear("linear 4096 to 12288", WIDTH, 3 * WIDTH, CR_LINEAR_STORE, 0);
	bench_linear("linear 4096 to 12288, bias", WIDTH, 3 * WIDTH, CR_LINEAR_STORE, 1);
	bench_linear("linear 4096 to 4096, add", WIDTH, WIDTH, CR_LINEAR_ADD, 1);
	bench_linear("linear 4096 to 11264", WIDTH, INNER, CR_LINEAR_STORE, 0);
	bench_linear("linear 11264 to 4096, add", INNER, WIDTH, CR_LINEAR_ADD, 0);
	bench_linear("linear 4096 to 512, wide", WIDTH, VOCABULARY, CR_LINEAR_WIDE, 0);
	bench_local();
	bench_mixers();
}

static int64_t integer(const char *text)
{
	const long long value = text ? atoll(text) : 0;

	if (value > 0)
		return value;
	fprintf(stderr, "bench_stack: a number above 0 was expected\n");
	exit(2);
}

/* The device that the words ask for; NULL: there is none. */
static const cr_stack_ops *choose(int argc, char **argv, cr_stack_device_options *options)
{
	const cr_stack_ops *ops = NULL;

#ifdef CR_CUDA
	ops = &cr_stack_ops_cuda;
#endif
	options->activation = CR_NUMBER_BF16;
	bench.rows = 8192;
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "cpu")) {
			ops = &cr_stack_ops_cpu;
			bench.rows = 256;
			options->activation = CR_NUMBER_F32;
		} else if (!strcmp(argv[i], "f32")) {
			options->activation = CR_NUMBER_F32;
		} else if (!strcmp(argv[i], "gpu") && i + 1 < argc) {
			options->gpu = atoi(argv[++i]);
		}
	return ops;
}

int main(int argc, char **argv)
{
	cr_stack_device_options options = {.residual = CR_NUMBER_F32, .threads = 1};
	int attention = 0;

	bench.ops = choose(argc, argv, &options);
	if (!bench.ops) {
		printf("bench_stack: needs a build with CUDA=1, or the word cpu\n");
		return 1;
	}
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "threads"))
			options.threads = (int)integer(argv[++i]);
		else if (!strcmp(argv[i], "rows"))
			bench.rows = integer(argv[++i]);
	bench.activation = options.activation;
	check(bench.ops->open(&options, &bench.device, &bench.error));
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "attention")) {
			const int64_t length = integer(i + 1 < argc ? argv[i + 1] : NULL);

			bench_attention(length, integer(i + 2 < argc ? argv[i + 2] : NULL));
			attention = 1;
		}
	if (!attention)
		bench_all();
	bench.ops->close(bench.device);
	return 0;
}
