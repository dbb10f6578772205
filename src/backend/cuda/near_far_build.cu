/* near_far_build.cu - the tables of near_far.cu, from the filters' values at real offsets. */
#include "backend/cuda/near_far.cuh"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "backend/cpu/convolution.h"
}

#define TAP_SLICE 256 /* offsets that are evaluated together */

static int no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory for the filters' tables");
}

static int64_t padded_width(const cr_network *network)
{
	return (network->width + 31) / 32 * 32;
}

/* Word of an operand in half precision: a pair of values, or what rounding them left. */
static uint32_t pack_pair(double a, double b, int part)
{
	const float values[2] = {(float)a, (float)b};
	uint32_t word = 0;

	for (int i = 0; i < 2; i++) {
		__half half = __float2half_rn(values[i]);

		if (part)
			half = __float2half_rn(values[i] - __half2float(half));
		word |= (uint32_t)__half_as_ushort(half) << 16 * i;
	}
	return word;
}

/* The power of two that brings `largest` to 2^14 .. 2^15. */
static float scale_up(double largest)
{
	int exponent = 0;

	if (!(largest > 1e-30))
		return 1;
	frexp(largest, &exponent);
	return (float)ldexp(1, 15 - exponent);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static void plan(const cr_network *network, const cr_cuda_options *options, cr_cuda_near_far *f)
{
	const int64_t rows = cr_ceil_div(options->rows, CR_CUDA_TILE) * CR_CUDA_TILE;
	const int64_t length = options->length;

	(void)network;
	memset(f, 0, sizeof *f);
	f->parts = options->dtype == CR_CUDA_F32 ? 2 : 1;
	if (!options->block || length <= CR_CUDA_DIRECT_MAX)
		return;
	f->block = options->block;
	f->rank = options->rank;
	f->held = options->rank <= 8 ? 8 : 16;
	f->distances = cr_ceil_div(length, f->block);
	f->distances += f->held == 8 ? f->distances % 2 : 0;
	/* a sequence's last block may be a part, and one more makes their number even */
	f->capacity = rows / f->block + 2 * (rows / CR_CUDA_DIRECT_MAX + 1);
	if (options->parts > 1) /* all of one sequence */
		f->capacity = f->distances + 1;
}

static int64_t tap_bytes(const cr_network *n, const cr_cuda_near_far *f)
{
	return n->layers * n->width * f->parts * 2 * CR_NEAR_TAPS * (int64_t)sizeof(__half);
}

static int64_t weight_bytes(const cr_cuda_near_far *f)
{
	return f->block / 16 * f->parts * 32 * (int64_t)sizeof(uint4);
}

static int64_t table_bytes(const cr_network *n, const cr_cuda_near_far *f)
{
	return n->layers * n->width * cr_far_table_words(f) * (int64_t)sizeof(uint32_t);
}

static int64_t moment_bytes(const cr_network *n, const cr_cuda_near_far *f)
{
	return n->width * f->capacity * f->held * (int64_t)sizeof(float);
}

int64_t cr_cuda_near_far_bytes(const cr_network *network, const cr_cuda_options *options,
			       int64_t *filters)
{
	const int64_t scales = network->layers * network->width * (int64_t)sizeof(float);
	cr_cuda_near_far f;

	plan(network, options, &f);
	*filters = tap_bytes(network, &f) + scales;
	if (!f.block)
		return 0;
	*filters += table_bytes(network, &f) + 2 * weight_bytes(&f) + scales;
	return 2 * moment_bytes(network, &f);
}

int cr_cuda_near_far_serves(const cr_cuda_near_far *f, int64_t length)
{
	if (length <= CR_CUDA_DIRECT_MAX)
		return 1;
	return f->block && length <= f->distances * f->block;
}

/* ---- filters --------------------------------------------------------------------------------- */

/* What the threads that fill a layer's tables share. */
typedef struct layer_job {
	const cr_cuda_options *options;
	const cr_network *network;
	const cr_cuda_near_far *plan;
	const double *nodes; /* (rank) */
	int64_t layer;
	float *values; /* (D, count) h at all offsets */
	int64_t count;
} layer_job;

/* h at `count` offsets, into places `first` on of each channel. */
static int evaluate(const layer_job *job, const double *offsets, int64_t first, int64_t count,
		    crocuta_error *error)
{
	const int64_t channels = padded_width(job->network);
	double *values = (double *)malloc((size_t)(count * channels) * sizeof *values);
	int code;

	if (!values)
		return no_memory(error);
	code = job->options->taps(job->options->user, job->layer, offsets, count, values, error);
	for (int64_t c = 0; !code && c < job->network->width; c++)
		for (int64_t i = 0; i < count; i++)
			job->values[c * job->count + first + i] = (float)values[i * channels + c];
	free(values);
	return code;
}

/* Offsets of slice `number`: taps in a row, or the nodes of a distance. Returns their number. */
static int64_t tap_offsets(const layer_job *job, int64_t number, double *offsets)
{
	const int64_t known =
		job->network->max_length < job->count ? job->network->max_length : job->count;
	int64_t count = 0;

	for (int64_t t = number * TAP_SLICE; count < TAP_SLICE && t < known; t++)
		offsets[count++] = (double)t;
	return count;
}

/* None for blocks that no two positions of a sequence lie apart. */
static int64_t node_offsets(const layer_job *job, int64_t distance, double *offsets)
{
	const int rank = job->plan->rank;
	int64_t count = 0;

	if (!distance || (distance - 1) * job->plan->block >= job->network->max_length)
		return 0;
	for (int a = 0; a < rank; a++)
		for (int b = 0; b < rank; b++)
			offsets[count++] = (double)(distance * job->plan->block) + job->nodes[a] -
					   job->nodes[b];
	return count;
}

/* All values of a layer on all threads, `each` to a slice; zero where there are none. */
static int evaluate_slices(const layer_job *job, int64_t slices, int64_t each,
			   int64_t (*find)(const layer_job *, int64_t, double *),
			   crocuta_error *error)
{
	int code = 0;

	memset(job->values, 0, (size_t)(job->network->width * job->count) * sizeof *job->values);
#pragma omp parallel for schedule(dynamic, 1)
	for (int64_t i = 0; i < slices; i++) {
		double offsets[256];
		const int64_t count = find(job, i, offsets);
		crocuta_error local = {};
		int result = count ? evaluate(job, offsets, i * each, count, &local) : 0;

		if (result) {
#pragma omp critical(cr_cuda_near_far_error)
			if (!code)
				code = cr_fail(error, result, "%s", local.message);
		}
	}
	return code;
}

static double largest_value(const float *values, int64_t count)
{
	double largest = 0;

	for (int64_t i = 0; i < count; i++)
		if (fabs(values[i]) > largest)
			largest = fabs(values[i]);
	return largest;
}

/* One channel's reversed taps, see near_far.cuh. */
static void place_taps(const float *values, int parts, float up, uint32_t *words)
{
	for (int part = 0; part < parts; part++)
		for (int copy = 0; copy < 2; copy++)
			for (int64_t i = 0; i < CR_NEAR_TAPS; i += 2) {
				const int64_t lag = CR_CUDA_DIRECT_MAX - i + copy;
				double pair[2];

				for (int64_t j = 0; j < 2; j++)
					pair[j] = lag - j >= 0 && lag - j < CR_CUDA_DIRECT_MAX
							  ? values[lag - j]
							  : 0;
				*words++ = pack_pair(pair[0] * up, pair[1] * up, part);
			}
}

/* One word of operand A, whose values lie row_step and column_step apart; zero outside (rows,
 * columns). */
static uint32_t operand_word(const double *values, int rows, int columns, int row_step,
			     int column_step, int lane, int word, double up, int part)
{
	const int row = lane / 4 + word % 2 * 8, column = lane % 4 * 2 + word / 2 * 8;
	double pair[2];

	for (int i = 0; i < 2; i++)
		pair[i] = row < rows && column + i < columns
				  ? values[row * row_step + (column + i) * column_step] * up
				  : 0;
	return pack_pair(pair[0], pair[1], part);
}

/* One channel's far tables. values: (distances, rank, rank). */
static void place_tables(const cr_cuda_near_far *f, const float *values, float up, uint32_t *words)
{
	const int rank = f->rank, pairs = rank * rank;
	double table[256];

	for (int64_t d = 0; d < f->distances; d++) {
		for (int i = 0; i < pairs; i++)
			table[i] = values[d * pairs + i];
		if (f->held == 8) {
			for (int lane = 0; lane < 32; lane++)
				for (int part = 0; part < f->parts; part++)
					*words++ = operand_word(table, rank, rank, rank, 1, lane, 0,
								up, part);
			continue;
		}
		for (int part = 0; part < f->parts; part++)
			for (int lane = 0; lane < 32; lane++)
				for (int word = 0; word < 4; word++)
					*words++ = operand_word(table, rank, rank, rank, 1, lane,
								word, up, part);
	}
}

/* Scale a layer's values and place them on the device, `words` of a channel from words_of. */
static int upload_layer(const layer_job *job, int taps, uint32_t *host, int64_t words,
			uint32_t *device, float *scales, crocuta_error *error)
{
	const int64_t width = job->network->width;
	float *unscale = (float *)malloc((size_t)width * sizeof *unscale);
	cudaError_t status;

	if (!unscale)
		return no_memory(error);
#pragma omp parallel for schedule(static)
	for (int64_t c = 0; c < width; c++) {
		const float *values = job->values + c * job->count;
		const float up = scale_up(largest_value(values, job->count));

		unscale[c] = 1 / up;
		if (taps)
			place_taps(values, job->plan->parts, up, host + c * words);
		else
			place_tables(job->plan, values, up, host + c * words);
	}
	status = cudaMemcpy(device + job->layer * width * words, host,
			    (size_t)(width * words) * sizeof *host, cudaMemcpyHostToDevice);
	if (status == cudaSuccess)
		status = cudaMemcpy(scales + job->layer * width, unscale,
				    (size_t)width * sizeof *unscale, cudaMemcpyHostToDevice);
	free(unscale);
	return status == cudaSuccess ? 0 : cr_cuda_failed(status, "copying filters", error);
}

/* Taps or far tables of all layers, one layer at a time. */
static int fill_layers(cr_cuda *cuda, const cr_cuda_options *options, cr_cuda_near_far *f,
		       const double *nodes, int taps, crocuta_error *error)
{
	const int64_t width = cuda->network->width, pairs = (int64_t)f->rank * f->rank;
	const int64_t count = taps ? CR_CUDA_DIRECT_MAX : f->distances * pairs;
	const int64_t words = taps ? f->parts * CR_NEAR_TAPS : cr_far_table_words(f);
	layer_job job = {options, cuda->network, f, nodes, 0, NULL, count};
	uint32_t *host = (uint32_t *)malloc((size_t)(width * words) * sizeof *host);
	int code = 0;

	job.values = (float *)malloc((size_t)(width * count) * sizeof *job.values);
	if (!host || !job.values)
		code = no_memory(error);
	for (; !code && job.layer < cuda->network->layers; job.layer++) {
		code = taps ? evaluate_slices(&job, count / TAP_SLICE, TAP_SLICE, tap_offsets,
					      error)
			    : evaluate_slices(&job, f->distances, pairs, node_offsets, error);
		if (!code)
			code = upload_layer(&job, taps, host, words,
					    taps ? (uint32_t *)f->taps : f->tables,
					    taps ? f->tap_unscale : f->table_unscale, error);
	}
	free(host);
	free(job.values);
	return code;
}

/* ---- interpolation --------------------------------------------------------------------------- */

/* The weights of every position as two operands: nodes x positions, positions x nodes. */
static int fill_weights(cr_cuda *cuda, cr_cuda_near_far *f, const double *nodes,
			crocuta_error *error)
{
	const int64_t words = weight_bytes(f) / (int64_t)sizeof(uint32_t);
	uint32_t *host = (uint32_t *)malloc(2 * (size_t)weight_bytes(f));
	uint32_t *weights = host, *points = host + words;
	int code;

	if (!host)
		return no_memory(error);
	for (int64_t tile = 0; tile < f->block / 16; tile++) {
		double value[16 * 16] = {};

		for (int s = 0; s < 16; s++)
			cr_node_weights(nodes, f->rank, (double)(tile * 16 + s), value + s * 16);
		for (int part = 0; part < f->parts; part++)
			for (int lane = 0; lane < 32; lane++)
				for (int word = 0; word < 4; word++) {
					*weights++ = operand_word(value, f->rank, 16, 1, 16, lane,
								  word, CR_FAR_WEIGHT_SCALE, part);
					*points++ = operand_word(value, 16, f->rank, 16, 1, lane,
								 word, CR_FAR_WEIGHT_SCALE, part);
				}
	}
	code = cr_cuda_upload(cuda, (void **)&f->weights, host, weight_bytes(f), error);
	if (!code)
		code = cr_cuda_upload(cuda, (void **)&f->points, host + words, weight_bytes(f),
				      error);
	free(host);
	return code;
}

static int make_far(cr_cuda *cuda, const cr_cuda_options *options, cr_cuda_near_far *f,
		    crocuta_error *error)
{
	const cr_network *n = cuda->network;
	const double pi = 3.14159265358979323846, middle = (double)(f->block - 1) / 2;
	double nodes[16];
	int code;

	if (f->rank < 2 || f->rank > 16 || f->block < 64 || f->block > CR_CUDA_DIRECT_MAX ||
	    (f->block & (f->block - 1)) || f->distances * f->held > 16 * CR_CUDA_FAR_COLUMNS)
		return cr_fail(error, CROCUTA_EINTERNAL, "GPU: blocks of %lld positions, rank %d",
			       (long long)f->block, f->rank);
	for (int a = 0; a < f->rank; a++)
		nodes[a] = middle * (1 + cos(pi * (2 * a + 1) / (2.0 * f->rank)));
	code = cr_cuda_alloc(cuda, (void **)&f->tables, table_bytes(n, f), error);
	if (!code)
		code = cr_cuda_alloc(cuda, (void **)&f->table_unscale,
				     n->layers * n->width * (int64_t)sizeof(float), error);
	if (!code)
		code = cr_cuda_alloc(cuda, (void **)&f->moments, moment_bytes(n, f), error);
	if (!code)
		code = cr_cuda_alloc(cuda, (void **)&f->far, moment_bytes(n, f), error);
	if (!code)
		code = fill_weights(cuda, f, nodes, error);
	return code ? code : fill_layers(cuda, options, f, nodes, 0, error);
}

int cr_cuda_near_far_new(cr_cuda *cuda, const cr_cuda_options *options, cr_cuda_near_far **near_far,
			 crocuta_error *error)
{
	const cr_network *n = cuda->network;
	cr_cuda_near_far *f = (cr_cuda_near_far *)calloc(1, sizeof *f);
	int code;

	*near_far = f;
	if (!f)
		return no_memory(error);
	plan(n, options, f);
	code = cr_cuda_alloc(cuda, (void **)&f->taps, tap_bytes(n, f), error);
	if (!code)
		code = cr_cuda_alloc(cuda, (void **)&f->tap_unscale,
				     n->layers * n->width * (int64_t)sizeof(float), error);
	if (!code)
		code = fill_layers(cuda, options, f, NULL, 1, error);
	if (!code && f->block)
		code = make_far(cuda, options, f, error);
	if (code) {
		cr_cuda_near_far_free(f);
		*near_far = NULL;
	}
	return code;
}

void cr_cuda_near_far_free(cr_cuda_near_far *f)
{
	if (!f)
		return;
	cudaFree(f->taps);
	cudaFree(f->tap_unscale);
	cudaFree(f->weights);
	cudaFree(f->points);
	cudaFree(f->tables);
	cudaFree(f->table_unscale);
	cudaFree(f->moments);
	cudaFree(f->far);
	free(f);
}
