/* cpu_ops.c - the CPU kernels behind the operator table, one table for each kernel set.
 *
 * Sessions call the kernels on lines directly; these adaptors exist so that the same cases judge
 * every kernel set and every later backend. They copy plain arrays into lines and back, and help
 * the tests: whatever a kernel must write or must not read is NaN beforehand, and the space between
 * channel blocks is checked afterwards. Operators without a kernel are the reference's.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/convolution.h"
#include "backend/cpu/convolution_internal.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/local.h"
#include "backend/ops.h"
#include "backend/ref/ref.h"
#include "base/error.h"
#include "base/memory.h"
#include "mixer/implicit_filter.h"

#define GUARD_ROWS 3 /* NaN rows between channel blocks */

/* An activation in lines: [groups][rows + GUARD_ROWS][32]. */
typedef struct lines {
	float *data;
	int64_t rows, width, groups;
	int64_t stride; /* floats from one channel block to the next */
} lines;

static const cr_kernels *kernels_of(const cr_ops *self)
{
	return cr_kernels_get(strchr(self->name, '-') + 1);
}

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory in an operator");
}

static void poison(float *values, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		values[i] = NAN;
}

/* Lines full of NaN. */
static int lines_new(lines *x, int64_t rows, int64_t width)
{
	x->rows = rows;
	x->width = width;
	x->groups = cr_lines(width);
	x->stride = (rows + GUARD_ROWS) * CR_LINE;
	x->data = cr_floats(x->groups * x->stride);
	if (x->data)
		poison(x->data, x->groups * x->stride);
	return x->data != NULL;
}

/* Lines of a (rows, width) array whose rows are `pitch` floats apart; channels past width zero. */
static int lines_load(lines *x, const float *values, int64_t rows, int64_t width, int64_t pitch)
{
	if (!lines_new(x, rows, width))
		return 0;
	for (int64_t row = 0; row < rows; row++)
		for (int64_t c = 0; c < x->groups * CR_LINE; c++)
			x->data[c / CR_LINE * x->stride + row * CR_LINE + c % CR_LINE] =
				c < width ? values[row * pitch + c] : 0;
	return 1;
}

static void lines_store(const lines *x, float *values, int64_t pitch)
{
	for (int64_t row = 0; row < x->rows; row++)
		for (int64_t c = 0; c < x->width; c++)
			values[row * pitch + c] =
				x->data[c / CR_LINE * x->stride + row * CR_LINE + c % CR_LINE];
}

/* Nonzero unless the guard rows are still NaN. */
static int lines_overrun(const lines *x)
{
	for (int64_t group = 0; group < x->groups; group++)
		for (int64_t i = x->rows * CR_LINE; i < x->stride; i++)
			if (!isnan(x->data[group * x->stride + i]))
				return 1;
	return 0;
}

static int overrun(crocuta_error *error, const char *kernel)
{
	return cr_fail(error, CROCUTA_EINTERNAL, "kernel %s wrote behind its rows", kernel);
}

static int op_layer_norm(const cr_ops *self, const cr_layer_norm_arguments *a, crocuta_error *error)
{
	lines x = {0}, y = {0};
	int code = 0;

	if (!lines_load(&x, a->x, a->rows, a->width, a->width) ||
	    !lines_new(&y, a->rows, a->width)) {
		code = no_memory(error);
	} else {
		kernels_of(self)->normalise(x.data, x.stride, a->width, a->epsilon, y.data,
					    y.stride, a->rows);
		lines_store(&y, a->y, a->width);
		if (lines_overrun(&y))
			code = overrun(error, "normalise");
		for (int64_t i = 0; i < a->rows * a->width; i++)
			a->y[i] = a->y[i] * a->weight[i % a->width] + a->bias[i % a->width];
	}
	cr_free(x.data);
	cr_free(y.data);
	return code;
}

static int op_linear(const cr_ops *self, const cr_linear_arguments *a, crocuta_error *error)
{
	const cr_kernels *k = kernels_of(self);
	const int64_t tile = a->tile > 0 ? a->tile : a->rows;
	cr_packed_linear packed = {0};
	lines x = {0}, y = {0};
	int code =
		cr_pack_linear(k, a->weight, a->bias, a->out, a->in, 1, NULL, NULL, &packed, error);

	if (!code && (!lines_load(&x, a->x, a->rows, a->in, a->in) ||
		      !(a->accumulate ? lines_load(&y, a->y, a->rows, a->out, a->out)
				      : lines_new(&y, a->rows, a->out))))
		code = no_memory(error);
	for (int64_t row = 0; !code && row < a->rows; row += tile)
		k->gemm(x.data + row * CR_LINE, x.stride, packed.k_lines, packed.weight,
			packed.columns, a->bias ? packed.bias : NULL, y.data + row * CR_LINE,
			y.stride, a->rows - row < tile ? a->rows - row : tile, a->accumulate);
	if (!code) {
		lines_store(&y, a->y, a->out);
		if (lines_overrun(&y))
			code = overrun(error, "gemm");
	}
	cr_packed_linear_free(&packed);
	cr_free(x.data);
	cr_free(y.data);
	return code;
}

static int op_gelu(const cr_ops *self, const cr_gelu_arguments *a, crocuta_error *error)
{
	const int64_t rows = cr_lines(a->count);
	lines x = {0};
	int code = 0;

	if (!lines_new(&x, rows, CR_LINE))
		return no_memory(error);
	memcpy(x.data, a->x, (size_t)a->count * sizeof *x.data);
	kernels_of(self)->gelu(x.data, rows);
	memcpy(a->y, x.data, (size_t)a->count * sizeof *x.data);
	if (lines_overrun(&x))
		code = overrun(error, "gelu");
	cr_free(x.data);
	return code;
}

/* u of one channel block as the kernel wants it: [3][rows + 2 + guard][32], history in rows 0, 1;
 * taps [3 taps][3 parts][32]; bias [3][32]. */
static void load_short_filter(const cr_short_filter_gate_arguments *a, int64_t group, float *u,
			      float *taps, float *bias)
{
	const int64_t u_rows = a->rows + 2 + GUARD_ROWS, channels = 3 * a->width;

	poison(u, 3 * u_rows * CR_LINE);
	for (int64_t part = 0; part < 3; part++)
		for (int64_t lane = 0; lane < CR_LINE; lane++) {
			const int64_t c = group * CR_LINE + lane, from = part * a->width + c;
			const int inside = c < a->width;
			float *to = u + part * u_rows * CR_LINE + lane;

			for (int64_t row = 0; row < 2; row++)
				to[row * CR_LINE] =
					inside && a->carry ? a->carry[row * channels + from] : 0;
			for (int64_t row = 0; row < a->rows; row++)
				to[(row + 2) * CR_LINE] = inside ? a->u[row * channels + from] : 0;
			for (int64_t tap = 0; tap < 3; tap++)
				taps[(3 * tap + part) * CR_LINE + lane] =
					inside ? a->weight[3 * from + tap] : 0;
			bias[part * CR_LINE + lane] = inside ? a->bias[from] : 0;
		}
}

static int op_short_filter_gate(const cr_ops *self, const cr_short_filter_gate_arguments *a,
				crocuta_error *error)
{
	const int64_t u_rows = a->rows + 2 + GUARD_ROWS;
	lines x0 = {0}, gated = {0};
	float *u = cr_floats(3 * u_rows * CR_LINE);
	float *taps = cr_floats(9 * CR_LINE), *bias = cr_floats(3 * CR_LINE);
	int code = 0;

	if (!lines_new(&x0, a->rows, a->width) || !lines_new(&gated, a->rows, a->width) || !u ||
	    !taps || !bias)
		code = no_memory(error);
	for (int64_t group = 0; !code && group < x0.groups; group++) {
		load_short_filter(a, group, u, taps, bias);
		kernels_of(self)->short_filter(u, u_rows, taps, bias, x0.data + group * x0.stride,
					       gated.data + group * gated.stride, a->rows);
	}
	if (!code) {
		lines_store(&x0, a->x0, a->width);
		lines_store(&gated, a->gated, a->width);
		if (lines_overrun(&x0) || lines_overrun(&gated))
			code = overrun(error, "short_filter");
	}
	cr_free(x0.data);
	cr_free(gated.data);
	cr_free(u);
	cr_free(taps);
	cr_free(bias);
	return code;
}

static int op_implicit_filter(const cr_ops *self, const cr_implicit_filter_arguments *a,
			      crocuta_error *error)
{
	const int64_t padded = cr_lines(a->width) * CR_LINE;
	cr_block_weights block = {.filter = *a->weights};
	const cr_network network = {
		.width = a->width,
		.layers = 1,
		.max_length = a->max_length,
		.filter_order = a->order,
		.features = a->features,
		.filter_inner = a->inner,
		.filter_shift = a->shift,
		.block = &block,
	};
	float *no_skip = cr_floats(padded), *values = cr_floats(2 * a->count * padded);
	double *wide = (double *)(void *)values;
	cr_implicit_filter filter;
	int code;

	if (!a->with_skip)
		block.filter.skip = no_skip;
	code = no_skip && values
		       ? cr_implicit_filter_init(&filter, &network, 0, kernels_of(self), error)
		       : no_memory(error);
	if (!code) {
		poison(values, 2 * a->count * padded);
		code = cr_implicit_filter_values(&filter, a->offsets, a->count, wide, error);
		for (int64_t i = 0; i < a->count; i++)
			memcpy(a->values + i * a->width, wide + i * padded,
			       (size_t)a->width * sizeof *wide);
		cr_implicit_filter_free(&filter);
	}
	cr_free(no_skip);
	cr_free(values);
	return code;
}

/* The caller's taps as the convolution's setup wants them: (count, padded channels), 0 past M. */
typedef struct taps_source {
	const cr_long_convolution_arguments *arguments;
	int64_t padded;
} taps_source;

static int source_values(void *user, const double *offsets, int64_t count, double *values,
			 crocuta_error *error)
{
	const taps_source *source = user;
	const cr_long_convolution_arguments *a = source->arguments;
	double *plain = NULL;
	int code = 0;

	if (a->function) {
		plain = cr_calloc((size_t)(count * a->width), sizeof *plain);
		code = plain ? a->function(a->user, offsets, count, plain, error)
			     : no_memory(error);
	}
	for (int64_t i = 0; !code && i < count; i++)
		for (int64_t c = 0; c < source->padded; c++) {
			/* nodes of the last far block may lie past M: no real position does */
			const int inside = a->rank || offsets[i] < (double)a->max_length;
			double value = 0;

			if (c < a->width && inside)
				value = plain ? plain[i * a->width + c]
					      : a->taps[c * a->max_length + (int64_t)offsets[i]];
			values[i * source->padded + c] = value;
		}
	cr_free(plain);
	return code;
}

/* Everything a long convolution needs besides the activations. */
typedef struct convolution {
	cr_convolution_plan plan;
	cr_convolution_filter filter;
	cr_convolution_state state;
	cr_convolution_scratch *scratch; /* (threads) */
	float *far;
	int64_t chunk; /* rows of one call */
	int threads;
	int with_state;
} convolution;

static void convolution_free(convolution *c)
{
	cr_convolution_filter_free(&c->filter);
	cr_convolution_state_free(&c->state);
	for (int i = 0; c->scratch && i < c->threads; i++)
		cr_convolution_scratch_free(&c->scratch[i]);
	cr_free(c->scratch);
	cr_free(c->far);
	cr_convolution_plan_free(&c->plan);
}

static int convolution_alloc(convolution *c, int64_t rows, crocuta_error *error)
{
	const cr_convolution_plan *plan = &c->plan;
	const int64_t blocks = (rows + plan->block - 1) / plan->block;
	const int64_t size = cr_spectrum_floats(plan), ring = c->with_state ? 0 : blocks;
	const int64_t far = cr_convolution_far_floats(plan, plan->chunk);
	int code = cr_convolution_filter_alloc(plan, &c->filter, error);

	if (!code)
		code = cr_convolution_state_alloc(plan, &c->state, error);
	c->scratch = cr_calloc((size_t)c->threads, sizeof *c->scratch);
	c->far = cr_floats(far);
	if (!code && (!c->scratch || !c->far))
		code = no_memory(error);
	for (int i = 0; !code && i < c->threads; i++) {
		code = cr_convolution_scratch_alloc(plan, ring, &c->scratch[i], error);
		if (!code) {
			poison(c->scratch[i].lines,
			       plan->rank ? 3 * size + plan->block * CR_LINE : size);
			poison(c->scratch[i].ring, ring * size);
			poison(c->scratch[i].head, plan->head * CR_LINE);
		}
	}
	if (!code) {
		poison(c->filter.spectra, plan->groups * plan->segments * size);
		poison(c->filter.taps, plan->groups * plan->head * CR_LINE);
		poison(c->state.spectra, plan->groups * plan->segments * size);
		poison(c->state.moments, plan->groups * plan->slots * plan->rank * CR_LINE);
		poison(c->far, far);
	}
	return code;
}

static int convolution_init(convolution *c, const cr_kernels *kernels,
			    const cr_long_convolution_arguments *a, crocuta_error *error)
{
	const int64_t taps = a->rows < a->max_length ? a->rows : a->max_length;
	const int levels = a->levels ? a->levels : 8;
	const int64_t block = (int64_t)1 << levels, groups = cr_lines(a->width);
	/* the last distance between blocks that a tap reaches over */
	const int64_t reach = (taps - 1 + block - 1) / block;
	taps_source source = {a, groups * CR_LINE};
	int code;

	memset(c, 0, sizeof *c);
	c->chunk = a->chunk ? a->chunk : a->rows;
	c->threads = a->threads ? a->threads : 1;
	c->with_state = a->rank || a->chunk;
	code = cr_convolution_plan_init(&c->plan, kernels, levels, a->rank, reach, groups,
					(c->chunk + block - 1) / block, error);
	if (!code)
		code = convolution_alloc(c, a->rows, error);
	if (!code)
		code = cr_convolution_filter_build(&c->plan, &c->filter, source_values, &source,
						   c->threads, error);
	return code;
}

static int check_convolution(const cr_long_convolution_arguments *a, crocuta_error *error)
{
	const int64_t block = (int64_t)1 << (a->levels ? a->levels : 8);
	const int known = a->rank == 4 || a->rank == 6 || a->rank == 8 || a->rank == 10 ||
			  a->rank == 12 || a->rank == 16;

	if (a->rows < 1 || a->levels < 0 || a->levels > 20 || a->chunk % block)
		return cr_fail(error, CROCUTA_EARG, "rows %lld, levels %d, chunk %lld",
			       (long long)a->rows, a->levels, (long long)a->chunk);
	if (a->rank && (!known || !a->function || a->rows > a->max_length))
		return cr_fail(error, CROCUTA_EARG,
			       "rank %d needs a filter function and no more than %lld rows",
			       a->rank, (long long)a->max_length);
	return 0;
}

static int op_long_convolution(const cr_ops *self, const cr_long_convolution_arguments *a,
			       crocuta_error *error)
{
	lines v = {0}, gate = {0};
	convolution c;
	int code = check_convolution(a, error);

	if (code)
		return code;
	code = convolution_init(&c, kernels_of(self), a, error);
	if (!code && (!lines_load(&v, a->v, a->rows, a->width, a->width) ||
		      !lines_load(&gate, a->gate, a->rows, a->width, a->width)))
		code = no_memory(error);
	if (!code) {
		cr_convolution_state_reset(&c.plan, &c.state);
		for (int64_t row = 0; row < a->rows; row += c.chunk) {
			const cr_convolution_lines part = {
				.v = v.data + row * CR_LINE,
				.gate = gate.data + row * CR_LINE,
				.stride = v.stride,
				.rows = a->rows - row < c.chunk ? a->rows - row : c.chunk};

			cr_convolution_run(&c.plan, &c.filter, c.with_state ? &c.state : NULL, &part,
					   c.plan.rank ? c.far : NULL, c.scratch, c.threads);
		}
		lines_store(&gate, a->y, a->width);
		if (lines_overrun(&gate) || lines_overrun(&v))
			code = overrun(error, "of the long convolution");
	}
	cr_free(v.data);
	cr_free(gate.data);
	convolution_free(&c);
	return code;
}

/* The far field's kernels take one channel block at a time. */
static int op_moments(const cr_ops *self, const cr_moments_arguments *a, crocuta_error *error)
{
	lines x = {0}, out = {0};
	int code = 0;

	if (!lines_load(&x, a->x, a->rows, a->width, a->width) ||
	    !lines_new(&out, a->rank, a->width))
		code = no_memory(error);
	for (int64_t group = 0; !code && group < x.groups; group++)
		kernels_of(self)->moments(x.data + group * x.stride, a->rows, a->nodes, a->rank,
					  out.data + group * out.stride);
	if (!code) {
		lines_store(&out, a->out, a->width);
		if (lines_overrun(&out))
			code = overrun(error, "moments");
	}
	cr_free(x.data);
	cr_free(out.data);
	return code;
}

static int op_far_apply(const cr_ops *self, const cr_far_apply_arguments *a, crocuta_error *error)
{
	lines table = {0}, moments = {0}, far = {0};
	int code = 0;

	if (!lines_load(&table, a->table, (int64_t)a->rank * a->rank, a->width, a->width) ||
	    !lines_load(&moments, a->moments, a->rank, a->width, a->width) ||
	    !lines_load(&far, a->far, a->rank, a->width, a->width))
		code = no_memory(error);
	for (int64_t group = 0; !code && group < far.groups; group++)
		kernels_of(self)->far_apply(table.data + group * table.stride,
					    moments.data + group * moments.stride, a->rank,
					    far.data + group * far.stride);
	if (!code) {
		lines_store(&far, a->far, a->width);
		if (lines_overrun(&far))
			code = overrun(error, "far_apply");
	}
	cr_free(table.data);
	cr_free(moments.data);
	cr_free(far.data);
	return code;
}

static int op_evaluate(const cr_ops *self, const cr_evaluate_arguments *a, crocuta_error *error)
{
	lines far = {0}, y = {0};
	int code = 0;

	if (!lines_load(&far, a->far, a->rank, a->width, a->width) ||
	    !lines_new(&y, a->rows, a->width))
		code = no_memory(error);
	for (int64_t group = 0; !code && group < y.groups; group++)
		kernels_of(self)->evaluate(far.data + group * far.stride, a->rank, a->nodes,
					   y.data + group * y.stride, a->rows);
	if (!code) {
		lines_store(&y, a->y, a->width);
		if (lines_overrun(&y))
			code = overrun(error, "evaluate");
	}
	cr_free(far.data);
	cr_free(y.data);
	return code;
}

const cr_ops *cr_ops_cpu(const char *variant)
{
#define TABLE(isa)                                                                                 \
	{                                                                                          \
		.name = "cpu-" isa, .embed = cr_ref_op_embed, .layer_norm = op_layer_norm,         \
		.linear = op_linear, .gelu = op_gelu, .short_filter_gate = op_short_filter_gate,   \
		.implicit_filter = op_implicit_filter, .long_convolution = op_long_convolution,    \
		.moments = op_moments, .far_apply = op_far_apply, .evaluate = op_evaluate,         \
		.log_probability = cr_ref_op_log_probability                                       \
	}
	static const cr_ops tables[] = {TABLE("avx512"), TABLE("avx2"), TABLE("portable")};
#undef TABLE
	const cr_kernels *kernels = cr_kernels_get(variant);

	for (size_t i = 0; kernels && i < sizeof tables / sizeof *tables; i++)
		if (!strcmp(tables[i].name + strlen("cpu-"), kernels->isa))
			return &tables[i];
	return NULL;
}
