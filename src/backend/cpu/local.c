/* local.c - the tile pass; see local.h. */
#include "backend/cpu/local.h"

#include <omp.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static int64_t slab_lines(void)
{
	return CR_MLP_SLAB / CR_LINE;
}

int64_t cr_tile_scratch_bytes(const cr_packed_network *n)
{
	return 4 * CR_LINE *
	       (n->groups * n->tile + slab_lines() * n->tile + 3 * (n->tile + 2) + 6 * n->groups +
		4 * n->groups);
}

int cr_tile_scratch_alloc(const cr_packed_network *n, cr_tile_scratch *s, crocuta_error *error)
{
	s->normal = cr_floats(n->groups * n->tile * CR_LINE);
	s->hidden = cr_floats(slab_lines() * n->tile * CR_LINE);
	s->u = cr_floats(3 * (n->tile + 2) * CR_LINE);
	s->carry = cr_floats(n->groups * 6 * CR_LINE);
	s->edge = cr_floats(4 * n->groups * CR_LINE);
	if (s->normal && s->hidden && s->u && s->carry && s->edge)
		return 0;
	cr_tile_scratch_free(s);
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for a tile's scratch");
}

void cr_tile_scratch_free(cr_tile_scratch *s)
{
	cr_free(s->normal);
	cr_free(s->hidden);
	cr_free(s->u);
	cr_free(s->carry);
	cr_free(s->edge);
	memset(s, 0, sizeof *s);
}

/* residual += out_proj(mixed); residual += fc2(gelu(fc1(norm(residual)))), n <= tile rows. Both are
 * lines with channel blocks `stride` apart. */
static void head_rows(const cr_packed_network *net, const cr_packed_block *block,
		      const float *mixed, float *residual, int64_t stride, int64_t n,
		      const cr_tile_scratch *scratch)
{
	const cr_kernels *k = net->kernels;
	const int64_t tile = net->tile * CR_LINE;

	k->gemm(mixed, stride, block->out.k_lines, block->out.weight, block->out.columns,
		block->out.bias, residual, stride, n, 1);
	k->normalise(residual, stride, net->width, net->epsilon, scratch->normal, tile, n);
	for (int64_t s = 0; s < net->slabs; s++) {
		const cr_packed_linear *fc1 = &block->fc1[s], *fc2 = &block->fc2[s];

		for (int64_t column = 0; column < fc1->columns; column += CR_LINE) {
			float *hidden = scratch->hidden + column / CR_LINE * tile;

			k->gemm(scratch->normal, tile, fc1->k_lines,
				fc1->weight + column * fc1->k_lines * CR_LINE, CR_LINE,
				fc1->bias + column, hidden, tile, n, 0);
			k->gelu(hidden, n);
		}
		k->gemm(scratch->hidden, tile, fc2->k_lines, fc2->weight, fc2->columns, fc2->bias,
			residual, stride, n, 1);
	}
}

/* u = in_proj(norm(residual)) of one channel block into rows 2.. of scratch->u. */
static void project(const cr_packed_network *net, const cr_packed_block *block, int64_t group,
		    int64_t n, const cr_tile_scratch *scratch)
{
	const cr_packed_linear *in = &block->in;
	const int64_t column = 3 * group * CR_LINE;

	net->kernels->gemm(scratch->normal, net->tile * CR_LINE, in->k_lines,
			   in->weight + column * in->k_lines * CR_LINE, 3 * CR_LINE,
			   in->bias + column, scratch->u + 2 * CR_LINE, (net->tile + 2) * CR_LINE,
			   n, 0);
}

/* The same from the table of block 0. */
static void look_up(const cr_packed_network *net, const uint8_t *tokens, int64_t group, int64_t n,
		    const cr_tile_scratch *scratch)
{
	const int64_t row_floats = 3 * net->groups * CR_LINE;

	for (int part = 0; part < 3; part++) {
		float *u = scratch->u + (part * (net->tile + 2) + 2) * CR_LINE;
		const float *table = net->projected + (3 * group + part) * CR_LINE;

		for (int64_t row = 0; row < n; row++)
			memcpy(u + row * CR_LINE, table + tokens[row] * row_floats,
			       CR_LINE * sizeof *u);
	}
}

/* norm, in_proj, short filter and gates of n <= tile rows; scratch->carry holds u of the two rows
 * before and is moved on. With out NULL only the carry is wanted. */
static void tail_rows(const cr_packed_network *net, int64_t layer, const uint8_t *tokens,
		      const float *residual, int64_t stride, int64_t n, const cr_activations *out,
		      int64_t row, const cr_tile_scratch *scratch)
{
	const cr_packed_block *block = &net->block[layer];
	const int64_t u_rows = net->tile + 2;

	if (layer > 0)
		net->kernels->normalise(residual, stride, net->width, net->epsilon,
					scratch->normal, net->tile * CR_LINE, n);
	for (int64_t group = 0; group < net->groups; group++) {
		float *carry = scratch->carry + group * 6 * CR_LINE;

		for (int part = 0; part < 3; part++)
			memcpy(scratch->u + part * u_rows * CR_LINE, carry + 2 * part * CR_LINE,
			       2 * CR_LINE * sizeof *carry);
		if (layer > 0)
			project(net, block, group, n, scratch);
		else
			look_up(net, tokens, group, n, scratch);
		for (int part = 0; part < 3; part++)
			memcpy(carry + 2 * part * CR_LINE,
			       scratch->u + (part * u_rows + n) * CR_LINE,
			       2 * CR_LINE * sizeof *carry);
		if (out)
			net->kernels->short_filter(
				scratch->u, u_rows, block->taps + group * 9 * CR_LINE,
				block->short_bias + group * 3 * CR_LINE,
				out->gate + group * out->stride + row * CR_LINE,
				out->v + group * out->stride + row * CR_LINE, n);
	}
}

static void load_tokens(const cr_packed_network *net, const uint8_t *tokens, int64_t n,
			float *residual, int64_t stride)
{
	for (int64_t row = 0; row < n; row++)
		for (int64_t group = 0; group < net->groups; group++)
			memcpy(residual + group * stride + row * CR_LINE,
			       net->embedding + (tokens[row] * net->groups + group) * CR_LINE,
			       CR_LINE * sizeof *residual);
}

/* Fill scratch->carry for a range that starts at row `from`: copied from the history at the start of
 * the chunk, else recomputed from the two rows before, whose residual and mixer output are copied
 * aside first because their own thread changes them in place. */
static void start_range(const cr_packed_network *net, int64_t layer, const uint8_t *tokens,
			const cr_activations *act, const float *history, int64_t from,
			const cr_tile_scratch *scratch)
{
	const int64_t edge_stride = 2 * CR_LINE;
	float *residual = scratch->edge, *mixed = residual + net->groups * edge_stride;

	if (from == 0) {
		memcpy(scratch->carry, history,
		       (size_t)(net->groups * 6 * CR_LINE) * sizeof *history);
		return;
	}
	if (layer > 0) {
		for (int64_t group = 0; group < net->groups; group++) {
			const int64_t source = group * act->stride + (from - 2) * CR_LINE;

			memcpy(residual + group * edge_stride, act->residual + source,
			       (size_t)edge_stride * sizeof *residual);
			memcpy(mixed + group * edge_stride, act->gate + source,
			       (size_t)edge_stride * sizeof *mixed);
		}
		head_rows(net, &net->block[layer - 1], mixed, residual, edge_stride, 2, scratch);
	}
	tail_rows(net, layer, layer ? NULL : tokens + from - 2, residual, edge_stride, 2, NULL, 0,
		  scratch);
}

static void run_range(const cr_packed_network *net, int64_t layer, const uint8_t *tokens,
		      const cr_activations *act, int64_t from, int64_t to, int with_tail,
		      const cr_tile_scratch *scratch)
{
	for (int64_t row = from; row < to; row += net->tile) {
		const int64_t n = to - row < net->tile ? to - row : net->tile;
		float *residual = act->residual + row * CR_LINE;

		if (layer == 0)
			load_tokens(net, tokens + row, n, residual, act->stride);
		else
			head_rows(net, &net->block[layer - 1], act->gate + row * CR_LINE, residual,
				  act->stride, n, scratch);
		if (with_tail)
			tail_rows(net, layer, layer ? NULL : tokens + row, residual, act->stride, n,
				  act, row, scratch);
	}
}

void cr_local_pass(const cr_packed_network *net, int64_t layer, const uint8_t *tokens, int64_t rows,
		   const cr_activations *act, float *history, int64_t head_from,
		   cr_tile_scratch *scratch, int threads)
{
	const int64_t first = history ? 0 : head_from;
	int64_t share;

	threads = rows < CR_TEAM_ROWS ? 1 : threads;
	share = (rows - first + threads - 1) / threads;
	/* whole groups of rows to a range; at least two, the short filter's reach */
	share = (share + net->kernels->row_step - 1) / net->kernels->row_step *
		net->kernels->row_step;
	/* a range and a scratch for each thread that was asked for: OpenMP may give fewer */
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(static, 1)
		for (int range = 0; range < threads; range++) {
			const int64_t from = first + range * share;

			if (from < rows && history)
				start_range(net, layer, tokens, act, history, from, scratch + range);
		}
#pragma omp for schedule(static, 1)
		for (int range = 0; range < threads; range++) {
			const int64_t from = first + range * share;
			const int64_t to = from + share < rows ? from + share : rows;

			if (from >= rows)
				continue;
			run_range(net, layer, tokens, act, from, to, history != NULL,
				  scratch + range);
			if (to == rows && history)
				memcpy(history, scratch[range].carry,
				       (size_t)(net->groups * 6 * CR_LINE) * sizeof *history);
		}
	}
}

void cr_local_history(const cr_packed_network *net, int64_t layer, const uint8_t *tokens,
		      const float *residual, int64_t stride, int64_t count, float *history,
		      cr_tile_scratch *scratch)
{
	const size_t bytes = (size_t)(net->groups * 6 * CR_LINE) * sizeof *history;

	memset(scratch->carry, 0, bytes);
	if (count > 0)
		tail_rows(net, layer, tokens, residual, stride, count, NULL, 0, scratch);
	memcpy(history, scratch->carry, bytes);
}

/* Rows as lines -> (n, channels) row-major. */
static void to_rows(const float *lines, int64_t stride, int64_t channels, int64_t n, float *out)
{
	for (int64_t row = 0; row < n; row++)
		for (int64_t c = 0; c < channels; c += CR_LINE) {
			const int64_t count = channels - c < CR_LINE ? channels - c : CR_LINE;

			memcpy(out + row * channels + c, lines + c / CR_LINE * stride + row * CR_LINE,
			       (size_t)count * sizeof *out);
		}
}

void cr_local_output(const cr_packed_network *net, const cr_activations *act, int64_t from,
		     int64_t count, int raw, float *hidden, float *logits, cr_tile_scratch *scratch,
		     int threads)
{
	const int64_t tile = net->tile * CR_LINE, width = net->width;
	const float *scale = net->network->norm_weight, *shift = net->network->norm_bias;

	threads = count < CR_TEAM_ROWS ? 1 : threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (int64_t start = 0; start < count; start += net->tile) {
		const cr_tile_scratch *mine = scratch + omp_get_thread_num();
		const int64_t n = count - start < net->tile ? count - start : net->tile;
		const float *residual = act->residual + (from + start) * CR_LINE;
		float *rows = hidden ? hidden + start * width : NULL;

		if (raw) {
			if (rows)
				to_rows(residual, act->stride, width, n, rows);
			continue;
		}
		net->kernels->normalise(residual, act->stride, width, net->epsilon, mine->normal,
					tile, n);
		if (rows) {
			to_rows(mine->normal, tile, width, n, rows);
			for (int64_t i = 0; i < n * width; i += width)
				for (int64_t c = 0; c < width; c++)
					rows[i + c] = rows[i + c] * scale[c] + shift[c];
		}
		for (int64_t column = 0; logits && column < net->head.columns; column += CR_LINE) {
			const int64_t left = net->vocabulary - column;

			net->kernels->gemm(mine->normal, tile, net->head.k_lines,
					   net->head.weight +
						   column * net->head.k_lines * CR_LINE,
					   CR_LINE, net->head.bias + column, mine->hidden, tile, n,
					   0);
			for (int64_t row = 0; row < n; row++)
				memcpy(logits + (start + row) * net->vocabulary + column,
				       mine->hidden + row * CR_LINE,
				       (size_t)(left < CR_LINE ? left : CR_LINE) * sizeof *logits);
		}
	}
}
