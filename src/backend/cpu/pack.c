/* pack.c - weights into the panels that the matrix kernel reads. */
#include <string.h>

#include "backend/cpu/local.h"
#include "base/error.h"
#include "base/memory.h"

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for packed weights");
}

int cr_pack_linear(const cr_kernels *kernels, const float *weight, const float *bias, int64_t out,
		   int64_t in, int parts, const float *scale, const float *shift,
		   cr_packed_linear *packed, crocuta_error *error)
{
	const int64_t part_rows = out / parts;
	const int64_t k = cr_lines(in) * CR_LINE;
	const int panel = kernels->panel;

	packed->k_lines = cr_lines(in);
	packed->columns = cr_lines(part_rows) * CR_LINE * parts;
	packed->weight = cr_floats(packed->columns * k);
	packed->bias = cr_floats(packed->columns);
	if (!packed->weight || !packed->bias)
		return no_memory(error);
	for (int64_t row = 0; row < out; row++) {
		const int64_t c = row % part_rows; /* line by line, the parts of a line together */
		const int64_t column = (c / CR_LINE * parts + row / part_rows) * CR_LINE + c % CR_LINE;
		float *target = packed->weight + column / panel * k * panel + column % panel;
		double offset = bias ? bias[row] : 0;

		for (int64_t i = 0; i < in; i++) {
			double value = weight[row * in + i];

			if (shift)
				offset += value * shift[i];
			target[i * panel] = (float)(scale ? value * scale[i] : value);
		}
		packed->bias[column] = (float)offset;
	}
	return 0;
}

void cr_packed_linear_free(cr_packed_linear *packed)
{
	cr_free(packed->weight);
	cr_free(packed->bias);
	memset(packed, 0, sizeof *packed);
}

/* Columns [first, first + count) of a (out, in) matrix as a matrix of its own. */
static float *slice_columns(const float *weight, int64_t out, int64_t in, int64_t first,
			    int64_t count)
{
	float *slice = cr_floats(out * count);

	for (int64_t row = 0; slice && row < out; row++)
		memcpy(slice + row * count, weight + row * in + first,
		       (size_t)count * sizeof *slice);
	return slice;
}

static int pack_mlp(const cr_packed_network *p, const cr_block_weights *w, cr_packed_block *block,
		    crocuta_error *error)
{
	const int64_t width = p->width, inner = p->network->inner_width;
	int code = 0;

	block->fc1 = cr_calloc((size_t)p->slabs, sizeof *block->fc1);
	block->fc2 = cr_calloc((size_t)p->slabs, sizeof *block->fc2);
	if (!block->fc1 || !block->fc2)
		return no_memory(error);
	for (int64_t s = 0; !code && s < p->slabs; s++) {
		const int64_t first = s * CR_MLP_SLAB;
		const int64_t count = inner - first < CR_MLP_SLAB ? inner - first : CR_MLP_SLAB;
		float *slice = slice_columns(w->fc2_weight, width, inner, first, count);

		if (!slice)
			return no_memory(error);
		code = cr_pack_linear(p->kernels, w->fc1_weight + first * width, w->fc1_bias + first,
				      count, width, 1, w->norm2_weight, w->norm2_bias,
				      &block->fc1[s], error);
		if (!code)
			code = cr_pack_linear(p->kernels, slice, s ? NULL : w->fc2_bias, width,
					      count, 1, NULL, NULL, &block->fc2[s], error);
		cr_free(slice);
	}
	return code;
}

static int pack_short_filter(const cr_packed_network *p, const cr_block_weights *w,
			     cr_packed_block *block, crocuta_error *error)
{
	block->taps = cr_floats(p->groups * 9 * CR_LINE);
	block->short_bias = cr_floats(p->groups * 3 * CR_LINE);
	if (!block->taps || !block->short_bias)
		return no_memory(error);
	for (int64_t c = 0; c < p->width; c++)
		for (int part = 0; part < 3; part++) {
			const int64_t row = part * p->width + c, group = c / CR_LINE;
			const int64_t lane = c % CR_LINE;

			block->short_bias[(group * 3 + part) * CR_LINE + lane] = w->short_bias[row];
			for (int tap = 0; tap < 3; tap++)
				block->taps[((group * 3 + tap) * 3 + part) * CR_LINE + lane] =
					w->short_weight[row * 3 + tap];
		}
	return 0;
}

static int pack_block(const cr_packed_network *p, const cr_block_weights *w,
		      cr_packed_block *block, crocuta_error *error)
{
	int code = cr_pack_linear(p->kernels, w->in_weight, w->in_bias, 3 * p->width, p->width, 3,
				  w->norm1_weight, w->norm1_bias, &block->in, error);

	if (!code)
		code = cr_pack_linear(p->kernels, w->out_weight, w->out_bias, p->width, p->width, 1,
				      NULL, NULL, &block->out, error);
	if (!code)
		code = pack_mlp(p, w, block, error);
	return code ? code : pack_short_filter(p, w, block, error);
}

/* Token vectors as lines, and block 0's projection of each: its input is one of V vectors, so the
 * product is a table (made by the same kernels, hence with the same bytes). */
static int make_token_tables(cr_packed_network *p, crocuta_error *error)
{
	const cr_kernels *k = p->kernels;
	const int64_t rows = p->vocabulary, line = p->groups * CR_LINE;
	float *lines = cr_floats(rows * line), *normal = cr_floats(rows * line);
	float *product = cr_floats(rows * 3 * line);
	int code = 0;

	p->embedding = cr_floats(rows * line);
	p->projected = cr_floats(rows * 3 * line);
	if (!lines || !normal || !product || !p->embedding || !p->projected) {
		code = no_memory(error);
	} else {
		for (int64_t row = 0; row < rows; row++)
			for (int64_t c = 0; c < p->width; c++) {
				float value = p->network->embedding[row * p->width + c];

				p->embedding[row * line + c] = value;
				lines[(c / CR_LINE * rows + row) * CR_LINE + c % CR_LINE] = value;
			}
		k->normalise(lines, rows * CR_LINE, p->width, p->epsilon, normal, rows * CR_LINE,
			     rows);
		k->gemm(normal, rows * CR_LINE, p->groups, p->block[0].in.weight,
			p->block[0].in.columns, p->block[0].in.bias, product, rows * CR_LINE, rows,
			0);
		for (int64_t row = 0; row < rows; row++)
			for (int64_t b = 0; b < 3 * p->groups; b++)
				memcpy(p->projected + row * 3 * line + b * CR_LINE,
				       product + (b * rows + row) * CR_LINE,
				       CR_LINE * sizeof *product);
	}
	cr_free(lines);
	cr_free(normal);
	cr_free(product);
	return code;
}

int64_t cr_packed_network_bytes(const cr_network *n)
{
	const int64_t d = cr_lines(n->width) * CR_LINE, inner = cr_lines(n->inner_width) * CR_LINE;

	return 4 * (n->layers * (4 * d * d + 2 * d * inner + 20 * d + inner) +
		    n->vocabulary * 4 * d + d * cr_lines(n->vocabulary) * CR_LINE);
}

int cr_packed_network_init(const cr_network *network, const cr_kernels *kernels,
			   cr_packed_network *p, crocuta_error *error)
{
	int code = 0;

	memset(p, 0, sizeof *p);
	p->kernels = kernels;
	p->network = network;
	p->width = network->width;
	p->groups = cr_lines(network->width);
	p->layers = network->layers;
	p->vocabulary = network->vocabulary;
	p->epsilon = network->norm_epsilon;
	p->slabs = (network->inner_width + CR_MLP_SLAB - 1) / CR_MLP_SLAB;
	p->tile = cr_tile_rows(kernels);
	p->bytes = cr_packed_network_bytes(network);
	p->block = cr_calloc((size_t)p->layers, sizeof *p->block);
	if (!p->block)
		return no_memory(error);
	for (int64_t i = 0; !code && i < p->layers; i++)
		code = pack_block(p, &network->block[i], &p->block[i], error);
	if (!code)
		code = cr_pack_linear(kernels, network->lm_head, NULL, p->vocabulary, p->width, 1,
				      network->norm_weight, network->norm_bias, &p->head, error);
	if (!code)
		code = make_token_tables(p, error);
	if (code)
		cr_packed_network_free(p);
	return code;
}

void cr_packed_network_free(cr_packed_network *p)
{
	for (int64_t i = 0; p->block && i < p->layers; i++) {
		cr_packed_block *block = &p->block[i];

		cr_packed_linear_free(&block->in);
		cr_packed_linear_free(&block->out);
		for (int64_t s = 0; s < p->slabs; s++) {
			if (block->fc1)
				cr_packed_linear_free(&block->fc1[s]);
			if (block->fc2)
				cr_packed_linear_free(&block->fc2[s]);
		}
		cr_free(block->fc1);
		cr_free(block->fc2);
		cr_free(block->taps);
		cr_free(block->short_bias);
	}
	cr_free(p->block);
	cr_free(p->embedding);
	cr_free(p->projected);
	cr_packed_linear_free(&p->head);
	memset(p, 0, sizeof *p);
}
