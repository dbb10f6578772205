/* near_far.cu - short filter, gate, long convolution and gate of the mixing pass, on matrix units.
 *
 * A sequence is cut in blocks of B positions, each a column of a matrix; then for one channel
 *   near   Y = T V: V the blocks of the input, T (B, B) the lower triangular Toeplitz matrix of
 * taps 0 .. B-1; far    what earlier blocks add is so smooth that it is interpolated: moments M =
 * P^T V of each block, values at the nodes F_i = sum over distances d >= 1 of T_d M_(i-d), Y += P
 * F. P (B, rank) holds barycentric weights of Chebyshev nodes, T_d[a][b] = h(d B + node_a -
 * node_b); see backend/cpu/convolution.h. A sequence of at most CR_CUDA_DIRECT_MAX positions is one
 * block: exact, and its batch are the columns.
 *
 * Operands are in half precision, scaled by powers of two: inputs by their block's largest, the
 * filter by the channel's. CR_CUDA_F32 splits both in two parts and adds three of the four
 * products. Matrix units truncate running sums: the main product is moved to a float32 sum every
 * few steps (Ootomo and Yokota 2022). Columns do not see each other, so a sequence's bytes do not
 * depend on its company.
 */
#include "backend/cuda/near_far.cuh"
#include "backend/cuda/near_far_mma.cuh"
#include "backend/cuda/near_far_stage.cuh"

#include <limits.h>

#define POSITIONS 8192 /* of a thread block, about */
#define PROMOTE 4      /* steps between additions to the float32 sum */

/* Operand B of 16 positions x 8 columns: of TILES neighbouring tiles of columns, high parts, then
 * low ones. */
template <int PARTS, int TILES> struct column_tiles {
	uint32_t value[PARTS][TILES][2];
};

/* A lane's rows for cr_load_tiles: lanes 8i .. 8i + 7 give the rows of the i-th 8 x 8 matrix. */
template <int PARTS, int TILES>
__device__ inline const uint16_t *column_rows(const uint16_t *upper, const uint16_t *lower,
					      int pitch, int first)
{
	const int lane = threadIdx.x % 32, matrix = lane / 8;
	const int tile = TILES == 2 ? matrix / 2 : 0;
	const uint16_t *plane = TILES == 1 && PARTS == 2 && matrix >= 2 ? lower : upper;

	return plane + (first + 8 * tile + lane % 8) * pitch + matrix % 2 * 8;
}

/* `rows` at the first of the 16 positions; `plane`: words from the upper to the lower plane. */
template <int PARTS, int TILES>
__device__ inline void load_columns(const uint16_t *rows, int plane, column_tiles<PARTS, TILES> &b)
{
	uint32_t x[4];

	if (TILES == 2) {
#pragma unroll
		for (int part = 0; part < PARTS; part++) {
			cr_load_tiles(x, rows + part * plane);
			b.value[part][0][0] = x[0], b.value[part][0][1] = x[1];
			b.value[part][TILES - 1][0] = x[2], b.value[part][TILES - 1][1] = x[3];
		}
	} else {
		cr_load_tiles(x, rows);
		b.value[0][0][0] = x[0], b.value[0][0][1] = x[1];
		b.value[PARTS - 1][0][0] = PARTS == 2 ? x[2] : x[0];
		b.value[PARTS - 1][0][1] = PARTS == 2 ? x[3] : x[1];
	}
}

/* ---- moments --------------------------------------------------------------------------------- */

/* P^T V of a thread block's columns: warps share the positions, and add up in a fixed order. */
template <int PARTS, int TILES>
__device__ inline void sum_moments(const pass &p, const uint16_t *upper, const uint16_t *lower,
				   int plane, float *sums)
{
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
	const int steps = p.span / 16, from = warp * steps / WARPS, to = (warp + 1) * steps / WARPS;

	for (int first = 0; first < p.together; first += 8 * TILES) {
		const uint16_t *rows = column_rows<PARTS, TILES>(upper, lower, p.span + 8, first);
		float total[TILES][4] = {}, main[TILES][4] = {}, small[TILES][4] = {};

		for (int k = from; k < to; k++) {
			const uint4 *weights = p.weights + (int64_t)k * PARTS * 32 + lane;
			const uint4 high = weights[0], low = PARTS == 2 ? weights[32] : high;
			column_tiles<PARTS, TILES> b;

			load_columns<PARTS, TILES>(rows + k * 16, plane, b);
#pragma unroll
			for (int n = 0; n < TILES; n++) {
				if (PARTS == 2) {
					cr_multiply_tile(small[n], low, b.value[0][n]);
					cr_multiply_tile(small[n], high, b.value[PARTS - 1][n]);
				}
				cr_multiply_tile(main[n], high, b.value[0][n]);
			}
			if (PARTS == 2 && (k - from) % PROMOTE == PROMOTE - 1) {
#pragma unroll
				for (int i = 0; i < 4 * TILES; i++) {
					total[i / 4][i % 4] += main[i / 4][i % 4];
					main[i / 4][i % 4] = 0;
				}
			}
		}
#pragma unroll
		for (int i = 0; i < 4 * TILES; i++) {
			const int k = first + i / 4 * 8 + 2 * t + i % 2, node = g + i % 4 / 2 * 8;

			sums[(warp * p.together + k) * 16 + node] =
				total[i / 4][i % 4] + (main[i / 4][i % 4] + small[i / 4][i % 4]);
		}
	}
}

template <int PARTS, int TILES, int EXTRA>
__global__ void __launch_bounds__(THREADS) make_moments(const pass p)
{
	extern __shared__ __align__(16) unsigned char shared[];
	const layout l = plan_layout(p.span, p.together, PARTS, 0, 0);
	const int64_t channel = blockIdx.y, places = p.columns / p.blocks * p.pitch;
	uint16_t *upper = (uint16_t *)(shared + l.upper), *lower = (uint16_t *)(shared + l.lower);
	column *columns = (column *)(shared + l.columns);
	unsigned *largest = (unsigned *)(shared + l.largest);
	float *sums = (float *)(shared + l.sums);

	find_columns(p, columns, largest);
	stage_columns<PARTS, EXTRA>(p, channel, 0, columns, largest, upper, lower);
	sum_moments<PARTS, TILES>(p, upper, lower, (l.lower - l.upper) / 2, sums);
	__syncthreads();
	for (int i = threadIdx.x; i < p.together * p.held; i += THREADS) {
		const int k = i / p.held, node = i % p.held;
		float sum = 0;

		if (!columns[k].count)
			continue;
		for (int warp = 0; warp < WARPS; warp++)
			sum += sums[(warp * p.together + k) * 16 + node];
		p.moments[(channel * places + columns[k].place) * p.held + node] =
			sum * (scale_down(largest[k]) * (1 / CR_FAR_WEIGHT_SCALE));
	}
}

/* ---- near ------------------------------------------------------------------------------------ */

/* Sums of a warp's tiles. */
template <int PARTS, int ROWS, int COLUMNS> struct near_sums {
	float total[ROWS][COLUMNS][4];
	float main[ROWS][COLUMNS][4], small[ROWS][COLUMNS][4]; /* of two parts */
};

/* ROWS steps of T V: tiles of positions k .. k + ROWS - 1 act on ROWS tiles of targets, the first
 * `ahead` tiles further on; LAST: ahead 0, where tiles above the diagonal are left out. A Toeplitz
 * tile depends on the diagonal alone, and so do its words: word e stands for lag 8 e of its first
 * row and column, and the tile of diagonal d consists of words 2d, 2d + 1, 2d - 1, 2d. Word x of
 * the window is e = 2 ahead - 2 ROWS + 1 + x, at taps[-4x]. */
template <int PARTS, int ROWS, int COLUMNS, int LAST>
__device__ inline void near_steps(const uint32_t *taps, int tap_plane, const uint16_t *rows,
				  int plane, uint32_t (*window)[4 * ROWS - 1],
				  near_sums<PARTS, ROWS, COLUMNS> &sums)
{
#pragma unroll
	for (int k = 0; k < ROWS; k++) {
		column_tiles<PARTS, COLUMNS> b;

		load_columns<PARTS, COLUMNS>(rows + k * 16, plane, b);
		if (!LAST || k == 0) {
#pragma unroll
			for (int part = 0; part < PARTS; part++) {
				const int x = 2 * ROWS - 1 - 2 * k;

				window[part][x] = taps[part * tap_plane - 4 * x];
				window[part][x - 1] = taps[part * tap_plane - 4 * (x - 1)];
			}
		}
#pragma unroll
		for (int j = LAST ? k : 0; j < ROWS; j++) {
			const int x = 2 * ROWS - 1 - 2 * k + 2 * j;
			const uint32_t *w = window[0], *v = window[PARTS - 1];
			const uint4 high = make_uint4(w[x], w[x + 1], w[x - 1], w[x]);
			const uint4 low = make_uint4(v[x], v[x + 1], v[x - 1], v[x]);

#pragma unroll
			for (int n = 0; n < COLUMNS; n++) {
				if (PARTS == 1) {
					cr_multiply_tile(sums.total[j][n], high, b.value[0][n]);
					continue;
				}
				cr_multiply_tile(sums.small[j][n], low, b.value[0][n]);
				cr_multiply_tile(sums.small[j][n], high, b.value[PARTS - 1][n]);
				cr_multiply_tile(sums.main[j][n], high, b.value[0][n]);
			}
		}
		if (PARTS == 2 && k % PROMOTE == PROMOTE - 1) {
#pragma unroll
			for (int j = 0; j < ROWS; j++)
#pragma unroll
				for (int i = 0; i < 4 * COLUMNS; i++) {
					sums.total[j][i / 4][i % 4] += sums.main[j][i / 4][i % 4];
					sums.main[j][i / 4][i % 4] = 0;
				}
		}
	}
}

/* T V of the tiles from tile `first` of positions on (a multiple of ROWS). taps: a lane's word 0.
 */
template <int PARTS, int ROWS, int COLUMNS>
__device__ inline void near_tiles(const uint32_t *taps, int tap_plane, const uint16_t *rows,
				  int plane, int first, near_sums<PARTS, ROWS, COLUMNS> &sums)
{
	uint32_t window[PARTS][4 * ROWS - 1];

	taps -= 4 * (2 * first - 2 * ROWS + 1);
#pragma unroll
	for (int part = 0; part < PARTS; part++)
#pragma unroll
		for (int x = 2 * ROWS; x < 4 * ROWS - 1; x++)
			window[part][x] = taps[part * tap_plane - 4 * x];
	for (int k = 0; k < first; k += ROWS) {
		near_steps<PARTS, ROWS, COLUMNS, 0>(taps, tap_plane, rows, plane, window, sums);
		taps += 8 * ROWS;
		rows += 16 * ROWS;
#pragma unroll
		for (int part = 0; part < PARTS; part++)
#pragma unroll
			for (int x = 0; x < 2 * ROWS - 1; x++)
				window[part][x + 2 * ROWS] = window[part][x];
	}
	near_steps<PARTS, ROWS, COLUMNS, 1>(taps, tap_plane, rows, plane, window, sums);
	if (PARTS == 2) {
#pragma unroll
		for (int j = 0; j < ROWS; j++)
#pragma unroll
			for (int i = 0; i < 4 * COLUMNS; i++)
				sums.total[j][i / 4][i % 4] += sums.small[j][i / 4][i % 4];
	}
}

/* Place of moments 2 i and 2 i + 1 of a column in shared memory, in pairs: operand B wants moments
 * 2t, 2t + 1, 2t + 8 and 2t + 9 in one lane. */
__device__ inline int moment_place(int i)
{
	return i < 4 ? 2 * i : 2 * (i - 4) + 1;
}

/* The far field's values at the nodes, scaled by each column's largest; four lanes a column. */
template <int PARTS>
__device__ inline void stage_far(const pass &p, int64_t channel, const column *columns,
				 unsigned *largest, uint32_t *far)
{
	const int64_t places = p.columns / p.blocks * p.pitch;

	for (int i = threadIdx.x; i < 4 * p.together; i += THREADS) { /* whole warps */
		const int k = i / 4, part = i % 4;
		float4 x = make_float4(0, 0, 0, 0);
		unsigned most;
		uint32_t high[2], low[2];

		if (columns[k].count && 4 * part < p.held)
			x = *(const float4 *)(p.far +
					      (channel * places + columns[k].place) * p.held +
					      4 * part);
		most = max(
			max(__float_as_uint(x.x) & 0x7fffffffu, __float_as_uint(x.y) & 0x7fffffffu),
			max(__float_as_uint(x.z) & 0x7fffffffu,
			    __float_as_uint(x.w) & 0x7fffffffu));
		most = max(most, __shfl_xor_sync(0xffffffffu, most, 1));
		most = max(most, __shfl_xor_sync(0xffffffffu, most, 2));
		if (part == 0)
			largest[k] = most;
		split_pair(x.x * scale_up(most), x.y * scale_up(most), &high[0], &low[0]);
		split_pair(x.z * scale_up(most), x.w * scale_up(most), &high[1], &low[1]);
		for (int j = 0; j < 2; j++) {
			far[k * 8 + moment_place(2 * part + j)] = high[j];
			if (PARTS == 2)
				far[(p.together + k) * 8 + moment_place(2 * part + j)] = low[j];
		}
	}
}

/* Unscale the near field and add the far one. first: of the tiles of positions; k: of columns. */
template <int PARTS, int ROWS, int COLUMNS>
__device__ inline void finish_tiles(const pass &p, float unscale, int first, int k,
				    const unsigned *largest, const unsigned *far_largest,
				    const uint32_t *far, near_sums<PARTS, ROWS, COLUMNS> &sums)
{
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
	float near_scale[COLUMNS][2], far_scale[COLUMNS][2];
	uint2 b[PARTS][COLUMNS];

#pragma unroll
	for (int n = 0; n < COLUMNS; n++)
#pragma unroll
		for (int i = 0; i < 2; i++)
			near_scale[n][i] = unscale * scale_down(largest[k + 8 * n + 2 * t + i]);
#pragma unroll
	for (int j = 0; j < ROWS; j++)
#pragma unroll
		for (int i = 0; i < 4 * COLUMNS; i++)
			sums.total[j][i / 4][i % 4] *= near_scale[i / 4][i % 2];
	if (!p.held)
		return;
#pragma unroll
	for (int n = 0; n < COLUMNS; n++) {
#pragma unroll
		for (int part = 0; part < PARTS; part++)
			b[part][n] =
				*(const uint2 *)(far + (part * p.together + k + 8 * n + g) * 8 +
						 2 * t);
#pragma unroll
		for (int i = 0; i < 2; i++)
			far_scale[n][i] = scale_down(far_largest[k + 8 * n + 2 * t + i]) *
					  (1 / CR_FAR_WEIGHT_SCALE);
	}
#pragma unroll
	for (int j = 0; j < ROWS; j++) {
		const uint4 *points = p.points + (int64_t)(first + j) * PARTS * 32 + lane;
		const uint4 high = points[0], low = PARTS == 2 ? points[32] : high;

#pragma unroll
		for (int n = 0; n < COLUMNS; n++) {
			const uint32_t x[2] = {b[0][n].x, b[0][n].y};
			const uint32_t y[2] = {b[PARTS - 1][n].x, b[PARTS - 1][n].y};
			float sum[4] = {0, 0, 0, 0};

			if (PARTS == 2) {
				cr_multiply_tile(sum, low, x);
				cr_multiply_tile(sum, high, y);
			}
			cr_multiply_tile(sum, high, x);
#pragma unroll
			for (int i = 0; i < 4; i++)
				sums.total[j][n][i] += sum[i] * far_scale[n][i % 2];
		}
	}
}

/* A thread block takes `together` columns of a channel; a warp ROWS x COLUMNS tiles of 16 positions
 * x 8 columns at a time, the longest sums first. Outputs take the place of inputs: of a column,
 * later tiles are earlier positions, which need only what is before them. */
template <int PARTS, int ROWS, int COLUMNS, int EXTRA>
__global__ void __launch_bounds__(THREADS, 3) mix_columns(const pass p)
{
	extern __shared__ __align__(16) unsigned char shared[];
	const layout l = plan_layout(p.span, p.together, PARTS, 1, p.held);
	const int64_t channel = blockIdx.y;
	uint16_t *upper = (uint16_t *)(shared + l.upper), *lower = (uint16_t *)(shared + l.lower);
	column *columns = (column *)(shared + l.columns);
	unsigned *largest = (unsigned *)(shared + l.largest);
	unsigned *far_largest = (unsigned *)(shared + l.far_largest);
	uint32_t *far = (uint32_t *)(shared + l.far);
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
	const int across = p.together / (8 * COLUMNS), tiles = p.span / (16 * ROWS) * across;
	const int copy = (p.span + CR_NEAR_ZEROS) / 2; /* words */
	/* lag g - 2t and the one before it, from the copy where that pair is aligned */
	const uint32_t *taps =
		(const uint32_t *)(shared + l.taps) + g % 2 * copy + (p.span + g % 2 - g) / 2 + t;
	const float unscale = p.tap_unscale[channel];

	find_columns(p, columns, largest);
	stage_taps<PARTS>(p, channel, (uint16_t *)(shared + l.taps));
	if (p.held)
		stage_far<PARTS>(p, channel, columns, far_largest, far);
	stage_columns<PARTS, EXTRA>(p, channel, p.keep_v != NULL, columns, largest, upper, lower);
	for (int round = 0; round * WARPS < tiles; round++) {
		const int tile = round * WARPS + (round % 2 ? WARPS - 1 - warp : warp);
		const int first = (p.span / (16 * ROWS) - 1 - tile / across) * ROWS;
		const int k = tile % across * 8 * COLUMNS;
		near_sums<PARTS, ROWS, COLUMNS> sums = {};

		if (tile < tiles) {
			near_tiles<PARTS, ROWS, COLUMNS>(
				taps, 2 * copy,
				column_rows<PARTS, COLUMNS>(upper, lower, p.span + 8, k),
				(l.lower - l.upper) / 2, first, sums);
			finish_tiles<PARTS, ROWS, COLUMNS>(p, unscale, first, k, largest,
							   far_largest, far, sums);
		}
		__syncthreads();
		if (tile >= tiles)
			continue;
#pragma unroll
		for (int j = 0; j < ROWS; j++)
#pragma unroll
			for (int i = 0; i < 4 * COLUMNS; i++) {
				const int at = (k + i / 4 * 8 + 2 * t + i % 2) * (p.span + 8) +
					       (first + j) * 16 + i % 4 / 2 * 8 + g;
				const uint32_t bits = __float_as_uint(sums.total[j][i / 4][i % 4]);

				upper[at] = (uint16_t)(bits >> 16);
				lower[at] = (uint16_t)bits;
			}
	}
	__syncthreads();
	gate_columns<PARTS, EXTRA>(p, channel, columns, upper, lower);
}

/* ---- far ------------------------------------------------------------------------------------- */

#define FAR_TARGETS 4 /* tiles of a warp */
#define FAR_WARPS 16  /* of a thread block, at most */

/* What the far product works on: columns of 16 moments, of one block or (held 8) of two neighbours.
 */
typedef struct far_pass {
	const float *moments; /* (D, sequences, columns, 16) */
	float *far;
	const uint32_t *tables;
	const float *unscale;
	int64_t table_words;        /* of a channel */
	int columns, moments_known; /* behind those, moments of a sequence are not there */
	int first, end;             /* tiles of 8 columns that are computed */
} far_pass;

/* Of operand A at a distance between columns: all words of a tile, or of 8 moments, where columns
 * are pairs of blocks, those of the tables of twice the distance (words 0 and 3) and one more (word
 * 1). Word 2 is that of one less, word 1 of the distance before. */
template <int PARTS, int HELD>
__device__ inline void load_tables(const uint32_t *tables, int distance, uint32_t *words)
{
	const int lane = threadIdx.x % 32;

#pragma unroll
	for (int part = 0; part < PARTS; part++) {
		if (HELD == 16) {
			const uint4 x =
				*(const uint4 *)(tables + ((int64_t)(distance * PARTS + part) * 32 +
							   lane) * 4);

			words[4 * part] = x.x, words[4 * part + 1] = x.y;
			words[4 * part + 2] = x.z, words[4 * part + 3] = x.w;
		} else {
			const int64_t at = ((int64_t)2 * distance * 32 + lane) * PARTS + part;

			words[4 * part] = tables[at];
			words[4 * part + 1] = tables[at + 32 * PARTS];
		}
	}
}

/* Moments of a sequence up to column `count` into shared memory, scaled by the largest; returns the
 * inverse. The 8 columns before the first are zero. */
template <int PARTS>
__device__ inline float stage_moments(const far_pass &p, const float *moments, int count,
				      unsigned *largest, uint32_t *high, uint32_t *low)
{
	const int known = min(count * 16, p.moments_known);
	unsigned most = 0;
	float scale;

	if (threadIdx.x == 0)
		*largest = 0;
	__syncthreads();
	for (int i = (int)threadIdx.x; i < known; i += (int)blockDim.x)
		most = max(most, __float_as_uint(moments[i]) & 0x7fffffffu);
	most = __reduce_max_sync(0xffffffffu, most);
	if (threadIdx.x % 32 == 0)
		atomicMax(largest, most);
	__syncthreads();
	most = *largest;
	scale = scale_up(most);
	for (int i = (int)threadIdx.x; i < (count + 8) * 8; i += (int)blockDim.x) {
		const int from = 2 * i - 8 * 16, to = i / 8 * 8 + moment_place(i % 8);
		float2 x = make_float2(0, 0);
		uint32_t rest;

		if (from >= 0 && from < known)
			x = *(const float2 *)(moments + from);
		split_pair(x.x * scale, x.y * scale, &high[to], &rest);
		if (PARTS == 2)
			low[to] = rest;
	}
	__syncthreads();
	return scale_down(most);
}

/* F_i = sum over d of T_d M_(i-d) for a sequence and channel: operand B is 8 columns of moments,
 * further to the left at every distance. A warp computes FAR_TARGETS tiles of 8 columns, near and
 * distant ones. */
template <int PARTS, int HELD>
__global__ void __launch_bounds__(32 * FAR_WARPS, 1) sum_distances(const far_pass p)
{
	extern __shared__ __align__(16) unsigned char shared[];
	const int warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32;
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
	const int64_t channel = blockIdx.x, signal = channel * gridDim.y + blockIdx.y;
	const float *moments = p.moments + signal * p.columns * 16;
	float *far = p.far + signal * p.columns * 16;
	const uint32_t *tables = p.tables + channel * p.table_words;
	const int base = (int)blockIdx.z * warps * FAR_TARGETS;
	const int count = min((base + warps * FAR_TARGETS) * 8, p.columns);
	const int room = (p.columns + 7) / 8 * 8 + 8; /* columns */
	unsigned *largest = (unsigned *)shared;
	uint32_t *high = (uint32_t *)(shared + 16), *low = high + room * 8;

	if (base + warps * FAR_TARGETS <= p.first || base >= p.end)
		return;
	const float scale =
		stage_moments<PARTS>(p, moments, count, largest, high, low) * p.unscale[channel];
	float total[FAR_TARGETS][4] = {}, main[FAR_TARGETS][4] = {};
	float small[FAR_TARGETS][4] = {};
	uint32_t next[4 * PARTS] = {}, odd[PARTS] = {};
	int tile[FAR_TARGETS], last = -1;

	/* as many columns for every warp: there and back; tile -1 is of columns that no distance reaches */
#pragma unroll
	for (int j = 0; j < FAR_TARGETS; j++) {
		tile[j] = base + j * warps + (j % 2 ? warps - 1 - warp : warp);
		if (tile[j] < p.first || tile[j] >= p.end)
			tile[j] = -1;
		last = max(last, min(8 * tile[j] + 7, count - 1));
	}
	load_tables<PARTS, HELD>(tables, 0, next);
	for (int d = 0; d <= last; d++) {
		uint4 a[PARTS];

#pragma unroll
		for (int part = 0; part < PARTS; part++) {
			const uint32_t *w = next + 4 * part;

			a[part] = HELD == 16 ? make_uint4(w[0], w[1], w[2], w[3])
					     : make_uint4(w[0], w[1], odd[part], w[0]);
			odd[part] = w[1];
		}
		load_tables<PARTS, HELD>(tables, d < last ? d + 1 : d, next);
#pragma unroll
		for (int j = 0; j < FAR_TARGETS; j++) {
			const int at = (8 * tile[j] + g - d + 8) * 8 + 2 * t;
			uint2 x, y;

			if (d > 8 * tile[j] + 7 || 8 * tile[j] >= count)
				continue;
			x = *(const uint2 *)(high + at);
			if (PARTS == 2) {
				const uint32_t b[2] = {x.x, x.y};

				y = *(const uint2 *)(low + at);
				const uint32_t c[2] = {y.x, y.y};
				cr_multiply_tile(small[j], a[PARTS - 1], b);
				cr_multiply_tile(small[j], a[0], c);
				cr_multiply_tile(main[j], a[0], b);
			} else {
				const uint32_t b[2] = {x.x, x.y};

				cr_multiply_tile(total[j], a[0], b);
			}
		}
		if (PARTS == 2 && d % PROMOTE == PROMOTE - 1) {
#pragma unroll
			for (int i = 0; i < 4 * FAR_TARGETS; i++) {
				total[i / 4][i % 4] += main[i / 4][i % 4];
				main[i / 4][i % 4] = 0;
			}
		}
	}
#pragma unroll
	for (int i = 0; i < 4 * FAR_TARGETS; i++) {
		const int k = 8 * tile[i / 4] + 2 * t + i % 2, node = g + i % 4 / 2 * 8;

		if (k >= 0 && k < count)
			far[k * 16 + node] =
				(total[i / 4][i % 4] + (main[i / 4][i % 4] + small[i / 4][i % 4])) *
				scale;
	}
}

/* ---- host ------------------------------------------------------------------------------------ */

/* Of any launch: what the far field of CR_CUDA_FAR_COLUMNS takes, within the 99 KiB that every GPU from compute
 * capability 8.0 on gives. Always the same, because the limit belongs to the kernel and the GPU, and other
 * threads launch there too. */
#define SHARED_MOST 98848

template <typename kernel_type>
static int allow_shared(kernel_type kernel, crocuta_error *error)
{
	CR_CUDA_TRY(
		cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
				     SHARED_MOST),
		"shared memory of the mixing pass");
	return 0;
}

/* Tiles of columns of 16 moments that a part's blocks lie in. */
static void own_tiles(const cr_cuda_mix *mix, int block, int held, far_pass *far)
{
	const int per_tile = 8 * 16 / held; /* blocks */
	const int64_t first = mix->part->start / block;
	const int64_t end = first + cr_ceil_div(mix->length, block);

	far->first = (int)(first / per_tile);
	far->end = (int)cr_ceil_div(end, per_tile);
}

/* far: columns of 16 moments. */
template <int PARTS, int HELD>
static int run_far(cr_cuda *cuda, const cr_cuda_mix *mix, const pass &p, crocuta_error *error)
{
	const cr_cuda_near_far *f = cuda->near_far;
	const int columns = p.pitch * HELD / 16, tiles = (columns + 7) / 8;
	const int most = (tiles + FAR_TARGETS - 1) / FAR_TARGETS;
	const int warps = most < FAR_WARPS ? most : FAR_WARPS;
	const int bytes = 16 + (tiles * 8 + 8) * 32 * PARTS;
	const dim3 grid((unsigned)p.width, (unsigned)mix->batch,
			(unsigned)((most + warps - 1) / warps));
	far_pass far = {f->moments,
			f->far,
			f->tables + mix->layer * p.width * cr_far_table_words(f),
			f->table_unscale + mix->layer * p.width,
			cr_far_table_words(f),
			columns,
			p.blocks * HELD,
			0,
			INT_MAX};
	int code = allow_shared(sum_distances<PARTS, HELD>, error);

	if (mix->part)
		own_tiles(mix, p.block, HELD, &far);
	if (code)
		return code;
	sum_distances<PARTS, HELD><<<grid, 32 * warps, bytes, cuda->stream>>>(far);
	CR_CUDA_LAUNCHED("the far field");
	return 0;
}

/* Of a part: from here on `p` tells of moments and far of the whole sequence, the part's own from
 * its first block on. */
static int join_parts(cr_cuda *cuda, const cr_cuda_mix *mix, pass &p, pass &whole,
		      crocuta_error *error)
{
	const cr_cuda_near_far *f = cuda->near_far;
	const int64_t first = mix->part->start / p.block;

	whole = p;
	whole.blocks = (int)cr_ceil_div(mix->part->cut.length, p.block);
	whole.pitch = p.held == 8 ? whole.blocks + whole.blocks % 2 : whole.blocks;
	p.pitch = whole.pitch;
	p.far = f->far + first * p.held;
	return cr_cuda_part_gather(cuda, mix->part, p.block, p.held, whole.pitch, f->moments,
				   error);
}

template <int PARTS, int ROWS, int COLUMNS, int EXTRA>
static int run_kernels(cr_cuda *cuda, const cr_cuda_mix *mix, pass &p, crocuta_error *error)
{
	const dim3 grid((unsigned)cr_ceil_div(p.columns, p.together), (unsigned)p.width);
	const int near_bytes = plan_layout(p.span, p.together, PARTS, 1, p.held).bytes;
	const int bytes = plan_layout(p.span, p.together, PARTS, 0, p.held).bytes;
	pass whole = p; /* of all parts of a sequence */
	int code = 0;

	if (p.held) {
		code = allow_shared(make_moments<PARTS, COLUMNS, EXTRA>, error);
		if (code)
			return code;
		make_moments<PARTS, COLUMNS, EXTRA><<<grid, THREADS, bytes, cuda->stream>>>(p);
		CR_CUDA_LAUNCHED("the moments");
		if (mix->part)
			code = join_parts(cuda, mix, p, whole, error);
		if (!code)
			code = p.held == 16 ? run_far<PARTS, 16>(cuda, mix, whole, error)
					    : run_far<PARTS, 8>(cuda, mix, whole, error);
	}
	if (!code)
		code = allow_shared(mix_columns<PARTS, ROWS, COLUMNS, EXTRA>, error);
	if (code)
		return code;
	mix_columns<PARTS, ROWS, COLUMNS, EXTRA><<<grid, THREADS, near_bytes, cuda->stream>>>(p);
	CR_CUDA_LAUNCHED("the near field");
	return 0;
}

template <int PARTS, int EXTRA>
static int run_shape(cr_cuda *cuda, const cr_cuda_mix *mix, pass &p, crocuta_error *error)
{
	const int rows = PARTS == 1 && p.block > 512 ? 8 : 4, columns = p.block > 512 ? 8 : 16;
	const int64_t fill = cr_ceil_div(p.columns, columns) * columns;

	p.span = (p.block + 16 * rows - 1) / (16 * rows) * 16 * rows;
	p.together = POSITIONS / p.span / columns * columns;
	if (p.together < columns)
		p.together = columns;
	if (p.together > fill)
		p.together = (int)fill;
	p.reciprocal = (unsigned)((((uint64_t)1 << 32) + p.span / 8 - 1) / (p.span / 8));
	if (columns == 16)
		return run_kernels<PARTS, 4, 2, EXTRA>(cuda, mix, p, error);
	return run_kernels < PARTS, PARTS == 1 ? 8 : 4, 1, EXTRA > (cuda, mix, p, error);
}

int cr_cuda_near_far_run(cr_cuda *cuda, const cr_cuda_mix *mix, crocuta_error *error)
{
	const cr_cuda_near_far *f = cuda->near_far;
	const int64_t width = cuda->network->width;
	const int direct = !mix->part && mix->length <= CR_CUDA_DIRECT_MAX;
	const int extra = mix->keep_v || mix->keep_y || mix->changes;
	const int64_t whole = mix->part ? mix->part->cut.length : mix->length;
	pass p = {};

	if (mix->length % 32 || !cr_cuda_near_far_serves(f, whole))
		return cr_fail(error, CROCUTA_EINTERNAL, "GPU: mixing sequences of %lld positions",
			       (long long)mix->length);
	p.u = cuda->u;
	p.y = cuda->y;
	p.overflow = cuda->overflow;
	p.width = width;
	p.stride = cuda->stride;
	p.length = mix->length;
	p.block = (int)(direct ? mix->length : f->block);
	p.blocks = (int)cr_ceil_div(mix->length, p.block);
	p.held = direct ? 0 : f->held;
	p.pitch = p.held == 8 ? p.blocks + p.blocks % 2 : p.blocks;
	p.columns = mix->batch * p.blocks;
	p.filter = cuda->block[mix->layer];
	p.taps = f->taps + mix->layer * width * f->parts * 2 * CR_NEAR_TAPS;
	p.tap_unscale = f->tap_unscale + mix->layer * width;
	p.weights = f->weights;
	p.points = f->points;
	p.moments = f->moments;
	p.far = f->far;
	p.keep_v = mix->keep_v;
	p.keep_y = mix->keep_y;
	p.changes = mix->changes;
	p.kept_v = mix->kept_v;
	p.kept_y = mix->kept_y;
	p.kept_length = mix->kept_length;
	if (mix->part) { /* its own moments, one block after the other */
		p.origin = (int)mix->part->start;
		p.pitch = p.blocks;
		p.moments = cr_cuda_part_moments(cuda);
	} else if (p.held && mix->batch * p.pitch > f->capacity)
		return cr_fail(error, CROCUTA_EINTERNAL, "GPU: no room for %lld blocks",
			       (long long)(mix->batch * p.pitch));
	if (f->parts == 1)
		return extra ? run_shape<1, 1>(cuda, mix, p, error)
			     : run_shape<1, 0>(cuda, mix, p, error);
	return extra ? run_shape<2, 1>(cuda, mix, p, error) : run_shape<2, 0>(cuda, mix, p, error);
}
