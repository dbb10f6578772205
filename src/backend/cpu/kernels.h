/* kernels.h - the inner loops of the CPU backend, one table for each instruction set.
 *
 * Layout of every activation ("lines"): [ceil(D/32)][rows][32] float32. A line is one position of 32
 * neighbouring channels, 128 bytes. A block of channels is `stride` floats from the next; stride is
 * at least 32 * rows. Channels past D are zero. In a line that is being transformed, lanes 0-15 are
 * the real and lanes 16-31 the imaginary part: two real channels ride in one complex transform, so
 * that SIMD lanes are channels and no kernel shuffles.
 *
 * Pointers are 64-byte aligned. No kernel allocates, fails or keeps state. The bodies are in the
 * .inc files, compiled once for each set; results differ between sets by rounding only, and never
 * depend on how rows are split over calls.
 */
#ifndef CR_CPU_KERNELS_H
#define CR_CPU_KERNELS_H

#include <stdint.h>

#define CR_LINE 32

/* Lines that hold this many channels at one position. */
static inline int64_t cr_lines(int64_t channels)
{
	return (channels + CR_LINE - 1) / CR_LINE;
}

/* Rows past the last that `fir` may read and write. */
#define CR_FIR_SLACK 16

/* Rows of a modal filter that are computed together, and the constants of a mode in lines (twice
 * that where it is complex): residue pole^(1 .. 8), pole^(0 .. 7). */
#define CR_MODAL_STEP 8
#define CR_MODAL_CONSTANTS (2 * CR_MODAL_STEP)

/* Up to 32 channels of a modal filter; states are [N][parts][32], parts 2 where complex, else 1. */
typedef struct cr_modal_lines {
	double *state;             /* before the first row; behind the last on return */
	const double *step, *rest; /* pole^CR_MODAL_STEP, pole^(rows % CR_MODAL_STEP) */
	const float *constants;    /* CR_MODAL_STEP + N * parts * CR_MODAL_CONSTANTS lines */
	float *rounded;            /* space for states */
} cr_modal_lines;

/* Rows below which a team of threads costs more than it gives: its barriers spin. */
#define CR_TEAM_ROWS 512

typedef struct cr_kernels {
	const char *isa;
	int panel;    /* columns of a packed weight panel */
	int row_step; /* rows the GEMM takes at once; tiles are multiples of it */

	/* c[row][column] = bias[column] (+ c if accumulate) + sum_k a[row][k] w[column][k].
	 * a: lines, k_lines blocks a_stride apart; w: packed [columns/panel][32 k_lines][panel];
	 * c: lines, columns/32 blocks c_stride apart; bias (columns) or NULL; columns % 32 == 0. */
	void (*gemm)(const float *a, int64_t a_stride, int64_t k_lines, const float *w,
		     int64_t columns, const float *bias, float *c, int64_t c_stride, int64_t rows,
		     int accumulate);

	/* x = gelu_tanh(x), `lines` lines in place. */
	void (*gelu)(float *x, int64_t lines);

	/* y = (x - mean) / sqrt(variance + epsilon) over the first `width` channels of each row;
	 * blocks x_stride and y_stride apart. Channels past width are not meaningful in y. */
	void (*normalise)(const float *x, int64_t x_stride, int64_t width, double epsilon, float *y,
			  int64_t y_stride, int64_t rows);

	/* Short causal filter and input gate of 32 channels. u: [3][u_rows][32], for x0, x1, v, row
	 * 0 and 1 being the two positions before the first; taps [3 taps][3 parts][32], oldest
	 * first; bias [3][32]. Writes x0 and gated = x1 * v, `rows` lines each. */
	void (*short_filter)(const float *u, int64_t u_rows, const float *taps, const float *bias,
			     float *x0, float *gated, int64_t rows);

	/* Load a block of n = 2^levels lines (available of them given, the rest zero) into the plain
	 * transform `even` and the one pre-twisted by exp(-i pi t / n), `odd`; transform both and
	 * separate the two packed channels. twist: (n, 2) cos, -sin; twiddles: see cr_fft_twiddles. */
	void (*transform)(const float *x, int64_t available, int levels, const float *twist,
			  float *const *twiddles, float *even, float *odd);

	/* The same for a filter segment whose halves were already folded (sum in even, untwisted
	 * difference in odd). */
	void (*transform_filter)(int levels, const float *twist, float *const *twiddles,
				 float *even, float *odd);

	/* sum (2n lines) = sum over p < count of spectra[p] * filter[p], element-wise complex except
	 * the two lines of real bins. */
	void (*multiply)(float *sum, const float *const *spectra, const float *const *filter,
			 int64_t count, int levels);

	/* Back from `even`, `odd` (destroyed): y = gate * (the n valid outputs + add), the first
	 * `rows` of them. add, gate: (n, 32) lines or NULL; y may be gate. */
	void (*inverse)(float *even, float *odd, int levels, const float *twist,
			float *const *twiddles, const float *add, const float *gate, float *y,
			int64_t rows);

	/* y[t] = gate[t] * sum over s <= t of taps[s] * x[t - s], the plain sum: `rows` lines. gate
	 * may be NULL. */
	void (*direct)(const float *taps, const float *x, const float *gate, float *y, int64_t rows);

	/* y[t] = gate[t] * (add[t] + sum over s < count, s <= t of taps[t - s] * x[s]): the response
	 * to an input of a few lines. y may be gate. */
	void (*respond)(const float *taps, const float *x, int64_t count, const float *add,
			const float *gate, float *y, int64_t rows);

	/* moments[a] (rank lines) = sum over rows of nodes[row][a] * x[row]. nodes: (rows, rank). */
	void (*moments)(const float *x, int64_t rows, const float *nodes, int rank, float *moments);

	/* far[a] += sum over b of table[a][b] * moments[b]; all lines; table rank * rank lines. */
	void (*far_apply)(const float *table, const float *moments, int rank, float *far);

	/* y[row] = sum over a of nodes[row][a] * far[a]. */
	void (*evaluate)(const float *far, int rank, const float *nodes, float *y, int64_t rows);

	/* One layer of the implicit filter's network in double: y = sin(frequency * (x w + bias)), or
	 * x w + bias where frequency is NULL. x (rows, in), w (in, out), bias and frequency (out),
	 * y (rows, out); out a multiple of 32. */
	void (*filter_layer)(const double *x, int64_t in, const double *w, const double *bias,
			     const double *frequency, double *y, int64_t out, int64_t rows);

	/* h[row][c] *= exp(-t[row] rates[c]) + shift; width a multiple of 32. */
	void (*filter_decay)(double *h, const double *t, const double *rates, double shift,
			     int64_t width, int64_t rows);

	/* Spin on fused multiply-adds; returns how many FLOP one call did. */
	double (*burn)(int64_t rounds, float *sink);

	/* From here on for stacks (stack_ops.h), whose activations are row-major: what is
	 * called w, x, y, a, b, z, x2, gate or a filter's weights needs no alignment; the rest
	 * is as above. */

	/* Rows of a matrix, float32 or bfloat16 and `stride` numbers apart, as the columns that
	 * gemm takes: out [columns/panel][32 k_lines][panel], both sizes filled up to 32s with
	 * zeros. */
	void (*pack_columns)(const void *w, int bf16, int64_t stride, int64_t columns, int64_t k,
			     float *out);

	/* The same of a matrix that has the columns already: w (k, columns). */
	void (*pack_rows)(const float *w, int64_t stride, int64_t columns, int64_t k, float *out);

	/* As gemm without bias, in sums of 64 products each: adding to c or, without `add`,
	 * storing. */
	void (*product)(const float *a, int64_t a_stride, int64_t k_lines, const float *w,
			int64_t columns, float *c, int64_t c_stride, int64_t rows, int add);

	/* The first `channels` (any more than 32 are not looked at) of lines to rows of y: line
	 * + bias, times gate, whose rows are where y's are, and with `add` added to y. bias,
	 * gate: NULL for none; gate may be y. */
	void (*from_lines)(const float *lines, int64_t rows, int64_t channels, const float *bias,
			   const float *gate, int add, float *y, int64_t stride);

	/* bfloat16 to float32. */
	void (*widen)(const void *from, float *to, int64_t count);

	/* Scores of `rows` queries with `keys` keys (lines, blocks stride apart) to weights
	 * exp(scale s - maximum): row r sees the first visible + r of the keys, weights behind
	 * them are zero. maximum, total: the queries' running values; factor: what earlier sums
	 * are to be multiplied by. */
	void (*soften)(float *scores, int64_t stride, int64_t keys, int64_t visible, float scale,
		       float *maximum, double *total, float *factor, int64_t rows);

	/* o = o factor[row] + add; lines, blocks stride apart. */
	void (*scale_add)(float *o, const float *add, int64_t stride, int64_t lines,
			  const float *factor, int64_t rows);

	/* One row of cr_stack_norm; layer: layer normalisation, else root mean square. shift
	 * may be NULL. */
	void (*normalise_row)(const float *x, int64_t width, int layer, double epsilon,
			      const float *scale, const float *shift, float *y);

	/* y = activation(a) b; kind: enum cr_activation; b may be NULL, y may be a. */
	void (*activate)(int kind, const float *a, const float *b, float *y, int64_t count);

	/* One row of cr_stack_front. taps [width/32][parts][length + 1][32], bias being the
	 * last. */
	void (*front_row)(const float *z, int parts, const float *taps, int64_t length,
			  int64_t width, float *x2, float *g);

	/* y[t] = skip g[t] + sum over k < length of taps[k] g[t - k]; lines; length a multiple
	 * of 4; reads length rows before g and writes up to CR_FIR_SLACK - 1 rows past the
	 * last. */
	void (*fir)(const float *taps, int64_t length, const float *skip, const float *g, float *y,
		    int64_t rows);

	/* A modal filter of up to 32 channels: its constants, and a power (length 0 or more) of
	 * its poles. poles, residues and skip (NULL: none) begin at the first of the channels. */
	void (*modal_prepare)(const float *poles, const float *residues, int complex,
			      int64_t states, const float *skip, int channels, float *constants);
	void (*modal_power)(const float *poles, int complex, int64_t states, int channels,
			    int64_t length, double *power);

	/* `rows` lines of g become the filter's outputs (without `outputs` they stay), and the
	 * states move behind them. Rows up to a whole number of steps are there and zero. */
	void (*modal)(const cr_modal_lines *lines, int complex, int64_t states, float *g,
		      int64_t rows, int outputs);
} cr_kernels;

extern const cr_kernels cr_kernels_portable, cr_kernels_avx2, cr_kernels_avx512;

/* The table for a set name, the best one for NULL; NULL when this processor lacks it or the name is
 * unknown. Any thread. */
const cr_kernels *cr_kernels_get(const char *isa);

/* Twiddle tables for transforms up to 2^levels lines: twiddles[l] has 2^l / 4 rows of cos, sin of
 * w, w^2, w^3. NULL on lack of memory; freed by cr_fft_twiddles_free. */
#define CR_FFT_LEVELS 24
float **cr_fft_twiddles(int levels);
void cr_fft_twiddles_free(float **twiddles);

/* (2^levels, 2) cos, -sin of pi t / n. NULL on lack of memory; cr_free'd. */
float *cr_fft_twist(int levels);

#endif
