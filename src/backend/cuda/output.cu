/* output.cu - the ends of a pass: token vectors in, and rows or pooled rows out.
 *
 * A call's ranges are cut into pieces, a block of threads each; a warp takes a row at a time and holds it in
 * registers. What a row or a range gives depends on nothing but its own rows: a piece always starts
 * at its range's start plus a multiple of PIECE_ROWS, and sums are added in one fixed order.
 */
#include "backend/cuda/internal.cuh"

#include <math.h>

#define WARPS 8
#define THREADS (32 * WARPS)
#define COPY_ROWS 64    /* of a piece whose rows go out themselves */
#define POOL_ROWS 1024  /* of a piece that is pooled */
#define SHARED_HEAD 48000 /* bytes of lm_head that go into shared memory */

/* The device array of hidden rows holds vectors of double as well, half as many: those of ranges from the front,
 * those of pieces of longer ranges behind cr_cuda_ranges. */

struct cr_cuda_piece {
	int64_t first;
	int32_t count, to; /* to: row of the output */
};

/* Pieces of one call, of rows or pooled. */
#define PIECES_MAX (CR_CUDA_OUTPUT_ROWS / 2)
static_assert(CR_CUDA_RANGES + CR_CUDA_OUTPUT_ROWS / COPY_ROWS <= PIECES_MAX, "room for pieces");

/* Of an object with parts, whose memory is to be a part of that of one without. */
#define PART_RANGES 4096
#define PART_ROWS 16384

/* ---- memory ---------------------------------------------------------------------------------- */

int64_t cr_cuda_ranges(const cr_cuda_options *options)
{
	return options->parts > 1 ? PART_RANGES : CR_CUDA_RANGES;
}

/* Long ranges have at most as many pieces as twice their rows fill. */
int64_t cr_cuda_output_rows(const cr_cuda_options *options)
{
	const int64_t pieces = 2 * cr_ceil_div(options->rows, POOL_ROWS);
	int64_t rows = 2 * (PART_RANGES + pieces);

	if (rows < PART_ROWS)
		rows = PART_ROWS;
	return options->parts > 1 && rows < CR_CUDA_OUTPUT_ROWS ? rows : CR_CUDA_OUTPUT_ROWS;
}

int cr_cuda_output_new(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error)
{
	const int64_t rows = cr_cuda_output_rows(options);
	const int64_t width = cuda->network->width, vocabulary = cuda->network->vocabulary;
	const int64_t bytes = PIECES_MAX * (int64_t)sizeof(cr_cuda_piece);

	cuda->output_rows = rows;
	cuda->ranges = cr_cuda_ranges(options);
	for (int i = 0; i < CR_CUDA_SLOTS; i++) {
		cr_cuda_slot *slot = &cuda->slot[i];
		cudaError_t status;
		int code = cr_cuda_alloc(cuda, (void **)&slot->hidden, rows * width * 4, error);

		if (!code)
			code = cr_cuda_alloc(cuda, (void **)&slot->logits, rows * vocabulary * 4,
					     error);
		if (!code)
			code = cr_cuda_alloc(cuda, (void **)&slot->pieces, bytes, error);
		if (code)
			return code;
		status = cudaMallocHost(&slot->pieces_host, (size_t)bytes);
		if (status != cudaSuccess)
			return cr_cuda_host_failed(status, error);
	}
	return 0;
}

void cr_cuda_output_free(cr_cuda *cuda)
{
	for (int i = 0; i < CR_CUDA_SLOTS; i++) {
		cr_cuda_slot *slot = &cuda->slot[i];

		cudaFree(slot->hidden);
		cudaFree(slot->logits);
		cudaFree(slot->pieces);
		cudaFreeHost(slot->pieces_host);
		slot->hidden = slot->logits = NULL;
		slot->pieces = slot->pieces_host = NULL;
	}
}

int64_t cr_cuda_output_bytes(const cr_network *network, const cr_cuda_options *options)
{
	return CR_CUDA_SLOTS *
	       (cr_cuda_output_rows(options) * 4 * (network->width + network->vocabulary) +
		PIECES_MAX * (int64_t)sizeof(cr_cuda_piece));
}

/* ---- token vectors --------------------------------------------------------------------------- */

/* A warp a row; `values` of type T in a row. */
template <typename T>
__global__ void embed_rows(const T *__restrict__ table, const uint8_t *__restrict__ tokens,
			   int64_t rows, int64_t values, T *__restrict__ residual)
{
	const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;

	if (row >= rows)
		return;
	table += tokens[row] * values;
	residual += row * values;
	for (int64_t i = threadIdx.x % 32; i < values; i += 32)
		residual[i] = table[i];
}

int cr_cuda_embed(cr_cuda *cuda, int64_t rows, crocuta_error *error)
{
	const int64_t width = cuda->network->width;
	const unsigned blocks = (unsigned)cr_ceil_div(rows, WARPS);

	if (!rows)
		return 0;
	if (width % 4 == 0)
		embed_rows<<<blocks, THREADS, 0, cuda->stream>>>(
			(const float4 *)cuda->embedding, cuda->tokens, rows, width / 4,
			(float4 *)cuda->residual);
	else
		embed_rows<<<blocks, THREADS, 0, cuda->stream>>>(cuda->embedding, cuda->tokens, rows,
								 width, cuda->residual);
	CR_CUDA_LAUNCHED("token vectors");
	return 0;
}

/* ---- one row --------------------------------------------------------------------------------- */

/* The final norm; weight NULL: rows are taken as they are. */
struct final_norm {
	const float *weight, *bias; /* (width) */
	float epsilon;
	int width;
};

/* Channels from + lane + 32 j of a row, j < K; 0 beyond the width. WHOLE: that is all of the row. */
template <int K>
__device__ inline void load_row(const float *__restrict__ x, const final_norm &norm, int from,
				float (&value)[K])
{
#pragma unroll
	for (int j = 0; j < K; j++) {
		const int c = from + threadIdx.x % 32 + 32 * j;

		value[j] = c < norm.width ? x[c] : 0.0f;
	}
}

template <int K, bool WHOLE>
__device__ inline void normalise_row(const float *__restrict__ x, const final_norm &norm, int from,
				     float (&value)[K])
{
	const int lane = threadIdx.x % 32;
	float sum = 0, square = 0, mean, scale;

	if (!norm.weight)
		return;
	if (WHOLE) {
#pragma unroll
		for (int j = 0; j < K; j++)
			sum += value[j];
	} else {
		for (int c = lane; c < norm.width; c += 32)
			sum += x[c];
	}
	mean = cr_sum_warp(sum) / (float)norm.width;
	if (WHOLE) {
#pragma unroll
		for (int j = 0; j < K; j++) {
			const float d = lane + 32 * j < norm.width ? value[j] - mean : 0.0f;

			square += d * d;
		}
	} else {
		for (int c = lane; c < norm.width; c += 32)
			square += (x[c] - mean) * (x[c] - mean);
	}
	scale = cr_norm_scale(cr_sum_warp(square) / (float)norm.width, norm.epsilon);
#pragma unroll
	for (int j = 0; j < K; j++) {
		const int c = from + lane + 32 * j;

		if (c < norm.width)
			value[j] = (value[j] - mean) * scale * norm.weight[c] + norm.bias[c];
	}
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct rows_out {
	const float *residual;
	const cr_cuda_piece *pieces;
	const float *lm_head; /* (V, width) */
	int vocabulary, shared_head;
	float *hidden, *logits; /* or NULL */
};

/* A block a piece. */
template <int K, bool WHOLE>
__global__ void __launch_bounds__(THREADS) output_rows(rows_out out, final_norm norm)
{
	extern __shared__ float shared[];
	const cr_cuda_piece piece = out.pieces[blockIdx.x];
	const float *head = out.lm_head;
	const int lane = threadIdx.x % 32;

	if (out.shared_head) {
		for (int i = threadIdx.x; i < out.vocabulary * norm.width; i += THREADS)
			shared[i] = out.lm_head[i];
		__syncthreads();
		head = shared;
	}
	for (int row = threadIdx.x / 32; row < piece.count; row += WARPS) {
		const float *x = out.residual + (piece.first + row) * norm.width;
		const int64_t to = (int64_t)piece.to + row;

		for (int from = 0; from < norm.width; from += 32 * K) {
			float value[K];

			load_row<K>(x, norm, from, value);
			normalise_row<K, WHOLE>(x, norm, from, value);
#pragma unroll
			for (int j = 0; j < K; j++) {
				const int c = from + lane + 32 * j;

				if (out.hidden && c < norm.width)
					out.hidden[to * norm.width + c] = value[j];
			}
			for (int token = 0; out.logits && token < out.vocabulary; token++) {
				const float *weight = head + (int64_t)token * norm.width;
				float *logit = out.logits + to * out.vocabulary + token;
				float sum = 0;

#pragma unroll
				for (int j = 0; j < K; j++) {
					const int c = from + lane + 32 * j;

					if (c < norm.width)
						sum += value[j] * weight[c];
				}
				sum = cr_sum_warp(sum);
				if (lane == 0)
					*logit = from ? *logit + sum : sum;
			}
		}
	}
}

/* ---- pooled rows ----------------------------------------------------------------------------- */

/* Not a number stays; what is not finite does not hide behind a larger value. */
__device__ inline double largest_of(double a, double b)
{
	return b > a || b != b ? b : a;
}

/* Take one more row's values into those so far. */
template <int K, bool LARGEST>
__device__ inline void take_row(const float (&value)[K], double (&pooled)[K])
{
#pragma unroll
	for (int j = 0; j < K; j++) {
		const double x = (double)value[j];

		if (LARGEST)
			pooled[j] = largest_of(pooled[j], isfinite(value[j]) ? x : (double)NAN);
		else
			pooled[j] += x;
	}
}

/* A block a piece and 32 K channels: rows R at a time a warp, then the warps in order. */
template <int K, bool WHOLE, bool LARGEST, int R>
__global__ void __launch_bounds__(THREADS) pool_pieces(const float *__restrict__ residual,
						       const cr_cuda_piece *__restrict__ pieces,
						       final_norm norm, double *__restrict__ pooled)
{
	__shared__ double together[32 * K];
	const cr_cuda_piece piece = pieces[blockIdx.x];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, from = blockIdx.y * 32 * K;
	const float *x = residual + piece.first * norm.width;
	double sum[K];

#pragma unroll
	for (int j = 0; j < K; j++)
		sum[j] = LARGEST ? -(double)INFINITY : 0.0;
	for (int row = warp * R; row < piece.count; row += WARPS * R) {
		float value[R][K];

#pragma unroll
		for (int r = 0; r < R; r++) /* all rows are asked for before the first is used */
			load_row<K>(x + (int64_t)min(row + r, piece.count - 1) * norm.width, norm,
				    from, value[r]);
#pragma unroll
		for (int r = 0; r < R; r++)
			normalise_row<K, WHOLE>(
				x + (int64_t)min(row + r, piece.count - 1) * norm.width, norm, from,
				value[r]);
#pragma unroll
		for (int r = 0; r < R; r++)
			if (row + r < piece.count)
				take_row<K, LARGEST>(value[r], sum);
	}
	for (int turn = 0; turn < WARPS; turn++) {
#pragma unroll
		for (int j = 0; j < K; j++) {
			double *at = &together[lane + 32 * j];

			if (warp != turn)
				continue;
			if (!turn)
				*at = sum[j];
			else
				*at = LARGEST ? largest_of(*at, sum[j]) : *at + sum[j];
		}
		__syncthreads();
	}
	for (int c = threadIdx.x; c < 32 * K && from + c < norm.width; c += THREADS)
		pooled[(int64_t)piece.to * norm.width + from + c] = together[c];
}

/* Pooled pieces [first, first + count) into pooled row `to`: a block 32 channels, threads (32, WARPS). */
template <bool LARGEST>
__global__ void pool_long_ranges(const cr_cuda_piece *ranges, int width, double *pooled)
{
	__shared__ double part[WARPS][32];
	const cr_cuda_piece range = ranges[blockIdx.x];
	const int c = blockIdx.y * 32 + threadIdx.x;
	double sum = LARGEST ? -(double)INFINITY : 0.0;

	if (c < width)
		for (int i = threadIdx.y; i < range.count; i += WARPS) {
			const double x = pooled[(range.first + i) * width + c];

			sum = LARGEST ? largest_of(sum, x) : sum + x;
		}
	part[threadIdx.y][threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.y || c >= width)
		return;
	for (int i = 1; i < WARPS; i++) {
		const double x = part[i][threadIdx.x];

		sum = LARGEST ? largest_of(sum, x) : sum + x;
	}
	pooled[(int64_t)range.to * width + c] = sum;
}

/* ---- queue ----------------------------------------------------------------------------------- */

static final_norm norm_of(const cr_cuda *cuda, int raw)
{
	return {raw ? NULL : cuda->norm_weight, cuda->norm_bias,
		(float)cuda->network->norm_epsilon, (int)cuda->network->width};
}

static int send_pieces(cr_cuda *cuda, cr_cuda_slot *slot, int64_t count, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(cuda->device), "choosing a GPU");
	CR_CUDA_TRY(cudaMemcpyAsync(slot->pieces, slot->pieces_host,
				    (size_t)count * sizeof *slot->pieces, cudaMemcpyHostToDevice,
				    cuda->stream),
		    "copying places");
	return 0;
}

static int check_ranges(const cr_cuda *cuda, const cr_cuda_range *ranges, int64_t count,
			crocuta_error *error)
{
	if (count > cuda->ranges)
		return cr_fail(error, CROCUTA_EINTERNAL, "%lld ranges are too many",
			       (long long)count);
	for (int64_t i = 0; i < count; i++)
		if (ranges[i].first < 0 || ranges[i].count < 0 ||
		    ranges[i].first + ranges[i].count > cuda->stride)
			return cr_fail(error, CROCUTA_EINTERNAL, "rows %lld + %lld are not there",
				       (long long)ranges[i].first, (long long)ranges[i].count);
	return 0;
}

int cr_cuda_output(cr_cuda *cuda, int slot_number, const cr_cuda_range *ranges, int64_t count,
		   int raw, float *hidden, float *logits, crocuta_error *error)
{
	cr_cuda_slot *slot = &cuda->slot[slot_number];
	const int64_t width = cuda->network->width, vocabulary = cuda->network->vocabulary;
	const final_norm norm = norm_of(cuda, raw);
	const rows_out out = {cuda->residual,
			      slot->pieces,
			      cuda->lm_head,
			      (int)vocabulary,
			      logits && vocabulary * width * 4 <= SHARED_HEAD,
			      hidden ? slot->hidden : NULL,
			      logits ? slot->logits : NULL};
	const size_t shared = out.shared_head ? (size_t)(vocabulary * width * 4) : 0;
	int64_t rows = 0, pieces = 0;
	int code = check_ranges(cuda, ranges, count, error);

	for (int64_t i = 0; !code && i < count; i++) {
		if (rows + ranges[i].count > cuda->output_rows)
			return cr_fail(error, CROCUTA_EINTERNAL, "too many rows at a time");
		for (int64_t row = 0; row < ranges[i].count; row += COPY_ROWS) {
			const int64_t left = ranges[i].count - row;

			slot->pieces_host[pieces++] = {ranges[i].first + row,
						       (int32_t)(left < COPY_ROWS ? left : COPY_ROWS),
						       (int32_t)(rows + row)};
		}
		rows += ranges[i].count;
	}
	if (code || !rows)
		return code;
	code = send_pieces(cuda, slot, pieces, error);
	if (code)
		return code;
	if (width <= 128)
		output_rows<4, true><<<(unsigned)pieces, THREADS, shared, cuda->stream>>>(out, norm);
	else if (width <= 256)
		output_rows<8, true><<<(unsigned)pieces, THREADS, shared, cuda->stream>>>(out, norm);
	else if (width <= 1024)
		output_rows<32, true><<<(unsigned)pieces, THREADS, shared, cuda->stream>>>(out, norm);
	else
		output_rows<32, false><<<(unsigned)pieces, THREADS, shared, cuda->stream>>>(out, norm);
	CR_CUDA_LAUNCHED("the head");
	if (hidden)
		CR_CUDA_TRY(cudaMemcpyAsync(hidden, slot->hidden, (size_t)(rows * width) * 4,
					    cudaMemcpyDeviceToHost, cuda->stream),
			    "copying rows");
	if (logits)
		CR_CUDA_TRY(cudaMemcpyAsync(logits, slot->logits, (size_t)(rows * vocabulary) * 4,
					    cudaMemcpyDeviceToHost, cuda->stream),
			    "copying rows");
	return 0;
}

/* Cut ranges into *pieces, then the list of *longs, ranges of several pieces, behind them. */
static int cut_for_pooling(const cr_cuda *cuda, cr_cuda_slot *slot, const cr_cuda_range *ranges,
			   int64_t count, int64_t *pieces, int64_t *longs, crocuta_error *error)
{
	cr_cuda_piece *piece = slot->pieces_host, *end = piece + PIECES_MAX;
	int32_t parts = (int32_t)cuda->ranges;

	*longs = 0;
	for (int64_t i = 0; i < count; i++) {
		const int64_t here = cr_ceil_div(ranges[i].count, POOL_ROWS);

		if (!here)
			return cr_fail(error, CROCUTA_EINTERNAL, "range %lld is empty",
				       (long long)i);
		if (here == 1) {
			*piece++ = {ranges[i].first, (int32_t)ranges[i].count, (int32_t)i};
			continue;
		}
		if (parts + here > cuda->output_rows / 2)
			return cr_fail(error, CROCUTA_EINTERNAL, "too many rows to pool at a time");
		/* the list of long ranges grows from the end of the array towards the pieces */
		*--end = {parts, (int32_t)here, (int32_t)i};
		++*longs;
		for (int64_t row = 0; row < ranges[i].count; row += POOL_ROWS) {
			const int64_t left = ranges[i].count - row;

			*piece++ = {ranges[i].first + row,
				    (int32_t)(left < POOL_ROWS ? left : POOL_ROWS), parts++};
		}
	}
	*pieces = piece - slot->pieces_host;
	for (int64_t i = 0; i < *longs; i++)
		piece[i] = end[i];
	return 0;
}

/* Kernels of one choice of LARGEST over what cut_for_pooling listed. */
template <bool LARGEST>
static void launch_pool(const cr_cuda *cuda, const cr_cuda_slot *slot, int64_t pieces,
			int64_t longs, int raw)
{
	const final_norm norm = norm_of(cuda, raw);
	double *pooled = (double *)slot->hidden;
	const unsigned blocks = (unsigned)pieces;

	if (norm.width <= 128)
		pool_pieces<4, true, LARGEST, 4><<<blocks, THREADS, 0, cuda->stream>>>(
			cuda->residual, slot->pieces, norm, pooled);
	else if (norm.width <= 256)
		pool_pieces<8, true, LARGEST, 2><<<blocks, THREADS, 0, cuda->stream>>>(
			cuda->residual, slot->pieces, norm, pooled);
	else if (norm.width <= 1024)
		pool_pieces<32, true, LARGEST, 1><<<blocks, THREADS, 0, cuda->stream>>>(
			cuda->residual, slot->pieces, norm, pooled);
	else
		pool_pieces<32, false, LARGEST, 1>
			<<<dim3(blocks, (unsigned)cr_ceil_div(norm.width, 1024)), THREADS, 0,
			   cuda->stream>>>(cuda->residual, slot->pieces, norm, pooled);
	if (longs)
		pool_long_ranges<LARGEST>
			<<<dim3((unsigned)longs, (unsigned)cr_ceil_div(norm.width, 32)),
			   dim3(32, WARPS), 0, cuda->stream>>>(slot->pieces + pieces, norm.width,
							       pooled);
}

int cr_cuda_pool(cr_cuda *cuda, int slot_number, const cr_cuda_range *ranges, int64_t count, int raw,
		 int largest, double *values, crocuta_error *error)
{
	cr_cuda_slot *slot = &cuda->slot[slot_number];
	const int64_t width = cuda->network->width;
	int64_t pieces = 0, longs = 0;
	int code = check_ranges(cuda, ranges, count, error);

	if (code || !count)
		return code;
	code = cut_for_pooling(cuda, slot, ranges, count, &pieces, &longs, error);
	if (!code)
		code = send_pieces(cuda, slot, pieces + longs, error);
	if (code)
		return code;
	if (largest)
		launch_pool<true>(cuda, slot, pieces, longs, raw);
	else
		launch_pool<false>(cuda, slot, pieces, longs, raw);
	CR_CUDA_LAUNCHED("pooling");
	CR_CUDA_TRY(cudaMemcpyAsync(values, slot->hidden, (size_t)(count * width) * sizeof *values,
				    cudaMemcpyDeviceToHost, cuda->stream),
		    "copying pooled rows");
	return 0;
}
