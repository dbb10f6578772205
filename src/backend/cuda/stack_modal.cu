/* stack_modal.cu - long filters that are sums of exponentials, by scanning chunks of CR_MODAL_CHUNK rows.
 *
 * Three passes: every chunk from a state of zeros gives its end state; these are folded, in double, into
 * the states at which chunks begin; every chunk again from there gives the output. In the first and
 * the third a thread has one channel of one chunk, neighbouring threads neighbouring channels, and all
 * modes in registers (with more than fit: in groups of modes). Within a chunk sums are float32's; a real
 * pole, which is the exponential of what is stored, is kept as the sum of two float32 numbers where
 * activations are float32, since its rounding would add up along the chunk.
 */
#include "backend/cuda/stack.cuh"

#define THREADS 128
#define BATCH 8                           /* rows whose numbers are loaded at once */
#define SEGMENT_BYTES ((int64_t)64 << 20) /* of states of chunks that are computed at a time */
#define MOST_CHUNKS 4096

struct modal_arguments {
	const void *g, *x2;
	void *y;           /* NULL: the state alone */
	const float *poles, *residues, *skip;
	float *ends;       /* (chunks, N, 1 or 2, D): end states, then states at the beginning */
	double *state;     /* (D, N, 1 or 2) */
	int64_t rows, width, states;
};

/* pole^power of mode i (of D N). */
template <int COMPLEX>
__device__ static double2 pole_power(const float *poles, int64_t i, int64_t power)
{
	double2 result = make_double2(1, 0), base;

	if (!COMPLEX)
		return make_double2(exp((double)poles[i] * (double)power), 0);
	base = make_double2(poles[2 * i], poles[2 * i + 1]);
	for (; power > 0; power >>= 1) {
		if (power & 1)
			result = make_double2(result.x * base.x - result.y * base.y,
					      result.x * base.y + result.y * base.x);
		base = make_double2(base.x * base.x - base.y * base.y, 2 * base.x * base.y);
	}
	return result;
}

/* s <- pole s + end. */
template <int COMPLEX> __device__ static double2 fold(double2 pole, double2 s, double2 end)
{
	if (!COMPLEX)
		return make_double2(pole.x * s.x + end.x, 0);
	return make_double2(pole.x * s.x - pole.y * s.y + end.x,
			    pole.x * s.y + pole.y * s.x + end.y);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* N modes of one channel; [1]: imaginary parts. low: what float32 leaves of a real pole. */
template <int COMPLEX, int N> struct modes {
	float pole[N][1 + COMPLEX], residue[N][1 + COMPLEX], s[N][1 + COMPLEX], low[N];
};

/* Where the states of mode n of a channel in a chunk are; the imaginary part is `width` behind. */
template <int COMPLEX>
__device__ static int64_t place_of(const modal_arguments &a, int64_t chunk, int64_t n,
				   int64_t channel)
{
	return (chunk * a.states + n) * (1 + COMPLEX) * a.width + channel;
}

/* Modes n0 .. n0 + N of a channel; those behind the last are zeros. */
template <int COMPLEX, int N, bool OUTPUT>
__device__ static void load_modes(modes<COMPLEX, N> &m, const modal_arguments &a, int64_t chunk,
				  int64_t channel, int64_t n0)
{
#pragma unroll
	for (int n = 0; n < N; n++) {
		const int64_t i = channel * a.states + n0 + n;
		const int there = n0 + n < a.states;
		const double2 pole = there ? pole_power<COMPLEX>(a.poles, i, 1) : make_double2(0, 0);

		m.pole[n][0] = (float)pole.x;
		m.low[n] = (float)(pole.x - (double)m.pole[n][0]);
		if (COMPLEX)
			m.pole[n][COMPLEX] = (float)pole.y;
#pragma unroll
		for (int part = 0; part < 1 + COMPLEX; part++) {
			const int64_t at =
				place_of<COMPLEX>(a, chunk, n0 + n, channel) + part * a.width;

			m.residue[n][part] =
				OUTPUT && there ? a.residues[i * (1 + COMPLEX) + part] : 0;
			m.s[n][part] = OUTPUT && there ? a.ends[at] : 0;
		}
	}
}

/* All modes one row on. LOW: with the low parts of real poles. */
template <int COMPLEX, int N, bool LOW>
__device__ static void step(modes<COMPLEX, N> &m, float g)
{
#pragma unroll
	for (int n = 0; n < N; n++) {
		if (COMPLEX) {
			const float re = m.s[n][0], im = m.s[n][COMPLEX];

			m.s[n][0] = fmaf(m.pole[n][0], re, fmaf(-m.pole[n][COMPLEX], im, g));
			m.s[n][COMPLEX] = fmaf(m.pole[n][0], im, m.pole[n][COMPLEX] * re);
		} else {
			m.s[n][0] = fmaf(m.pole[n][0], m.s[n][0],
					 LOW ? fmaf(m.low[n], m.s[n][0], g) : g);
		}
	}
}

/* Real part of the sum of residues times states. */
template <int COMPLEX, int N> __device__ static float value_of(const modes<COMPLEX, N> &m)
{
	float sum[2] = {0, 0};

#pragma unroll
	for (int n = 0; n < N; n++) {
		sum[n % 2] = fmaf(m.residue[n][0], m.s[n][0], sum[n % 2]);
		if (COMPLEX)
			sum[n % 2] = fmaf(-m.residue[n][COMPLEX], m.s[n][COMPLEX], sum[n % 2]);
	}
	return sum[0] + sum[1];
}

template <int COMPLEX, int N>
__device__ static void store_ends(const modes<COMPLEX, N> &m, const modal_arguments &a,
				  int64_t chunk, int64_t channel, int64_t n0)
{
#pragma unroll
	for (int n = 0; n < N; n++) {
		float *ends = a.ends + place_of<COMPLEX>(a, chunk, n0 + n, channel);

		if (n0 + n >= a.states)
			continue;
		ends[0] = m.s[n][0];
		if (COMPLEX)
			ends[a.width] = m.s[n][COMPLEX];
	}
}

/* One chunk of one channel. OUTPUT: from the states in `ends` to y; else from zeros to the states. MANY:
 * there are more than N modes, and what groups of N add to the output is summed on the way. */
template <typename A, int COMPLEX, int N, bool OUTPUT, bool MANY>
__global__ void __launch_bounds__(THREADS) chunk_kernel(modal_arguments a)
{
	constexpr bool LOW = sizeof(A) == sizeof(float);
	const int64_t channel = (int64_t)blockIdx.x * THREADS + threadIdx.x;
	const int64_t chunk = blockIdx.y, first = chunk * CR_MODAL_CHUNK;
	const int rows = (int)(a.rows - first < CR_MODAL_CHUNK ? a.rows - first : CR_MODAL_CHUNK);
	float sums[OUTPUT && MANY ? CR_MODAL_CHUNK : 1];
	modes<COMPLEX, N> m;

	if (channel >= a.width)
		return;
	const int64_t at = first * a.width + channel;
	const A *g = (const A *)a.g + at, *x2 = (const A *)a.x2 + at;
	A *y = (A *)a.y + at;
	const float skip = OUTPUT && a.skip ? a.skip[channel] : 0;

	for (int64_t n0 = 0; n0 < (MANY ? a.states : 1); n0 += N) {
		const bool last = !MANY || n0 + N >= a.states;

		load_modes<COMPLEX, N, OUTPUT>(m, a, chunk, channel, n0);
		for (int l0 = 0; l0 < rows; l0 += BATCH) {
			float now[BATCH], gate[BATCH];

#pragma unroll
			for (int i = 0; i < BATCH; i++) {
				const int there = l0 + i < rows;

				now[i] = there ? cr_to_float(g[(l0 + i) * a.width]) : 0;
				if (OUTPUT && last)
					gate[i] = there ? cr_to_float(x2[(l0 + i) * a.width]) : 0;
			}
#pragma unroll
			for (int i = 0; i < BATCH; i++) {
				if (l0 + i >= rows)
					break;
				step<COMPLEX, N, LOW>(m, now[i]);
				if (!OUTPUT)
					continue;
				float sum = value_of<COMPLEX, N>(m);

				if (MANY) {
					sum += n0 ? sums[l0 + i] : 0;
					sums[l0 + i] = sum;
				}
				if (last)
					y[(l0 + i) * a.width] = cr_from_float<A>(
						fmaf(skip, now[i], sum) * gate[i]);
			}
		}
		if (!OUTPUT)
			store_ends<COMPLEX, N>(m, a, chunk, channel, n0);
	}
}

/* ---- folds ----------------------------------------------------------------------------------- */

/* States at which chunks begin, in place of those with which they end; the state behind the last. A thread a
 * mode, those of neighbouring channels together. */
template <int COMPLEX>
__global__ void __launch_bounds__(THREADS) fold_kernel(modal_arguments a)
{
	const int64_t thread = (int64_t)blockIdx.x * THREADS + threadIdx.x;
	const int64_t channel = thread % a.width, n = thread / a.width;
	const int64_t chunks = (a.rows + CR_MODAL_CHUNK - 1) / CR_MODAL_CHUNK;

	if (n >= a.states)
		return;
	const int64_t i = channel * a.states + n;
	const double2 whole = pole_power<COMPLEX>(a.poles, i, CR_MODAL_CHUNK);
	const double2 rest =
		pole_power<COMPLEX>(a.poles, i, a.rows - (chunks - 1) * CR_MODAL_CHUNK);
	double *state = a.state + i * (1 + COMPLEX);
	double2 s = make_double2(state[0], COMPLEX ? state[COMPLEX] : 0);

	for (int64_t from = 0; from < chunks; from += BATCH) {
		float2 end[BATCH];

#pragma unroll
		for (int k = 0; k < BATCH; k++) {
			const float *ends = a.ends + place_of<COMPLEX>(a, from + k, n, channel);

			end[k] = make_float2(0, 0);
			if (from + k < chunks)
				end[k] = make_float2(ends[0], COMPLEX ? ends[a.width] : 0);
		}
#pragma unroll
		for (int k = 0; k < BATCH; k++) {
			float *ends = a.ends + place_of<COMPLEX>(a, from + k, n, channel);

			if (from + k >= chunks)
				break;
			ends[0] = (float)s.x;
			if (COMPLEX)
				ends[a.width] = (float)s.y;
			s = fold<COMPLEX>(from + k == chunks - 1 ? rest : whole, s,
					  make_double2(end[k].x, end[k].y));
		}
	}
	state[0] = s.x;
	if (COMPLEX)
		state[COMPLEX] = s.y;
}

template <int COMPLEX>
__global__ void __launch_bounds__(THREADS)
	fold_once_kernel(const float *poles, int64_t count, int64_t length, const double *local,
			 double *state)
{
	const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (i >= count)
		return;
	const double2 pole = pole_power<COMPLEX>(poles, i, length);
	const int64_t at = i * (1 + COMPLEX);
	const double2 s = fold<COMPLEX>(
		pole, make_double2(state[at], COMPLEX ? state[at + COMPLEX] : 0),
		make_double2(local[at], COMPLEX ? local[at + COMPLEX] : 0));

	state[at] = s.x;
	if (COMPLEX)
		state[at + COMPLEX] = s.y;
}

/* ---- the operators --------------------------------------------------------------------------- */

/* A segment: all three passes. */
template <typename A, int COMPLEX, int N, bool MANY>
static int segment(cudaStream_t stream, const modal_arguments &a, crocuta_error *error)
{
	const dim3 blocks(cr_cuda_blocks(a.width, THREADS),
			  (unsigned)cr_ceil_div(a.rows, CR_MODAL_CHUNK));

	chunk_kernel<A, COMPLEX, N, false, MANY><<<blocks, THREADS, 0, stream>>>(a);
	fold_kernel<COMPLEX>
		<<<cr_cuda_blocks(a.width * a.states, THREADS), THREADS, 0, stream>>>(a);
	if (a.y)
		chunk_kernel<A, COMPLEX, N, true, MANY><<<blocks, THREADS, 0, stream>>>(a);
	CR_CUDA_LAUNCHED("a modal filter");
	return 0;
}

template <typename A>
static int segment_by(cudaStream_t stream, const cr_modal_weights *w, const modal_arguments &a,
		      crocuta_error *error)
{
	if (w->complex && w->states <= 2)
		return segment<A, 1, 2, false>(stream, a, error);
	if (w->complex && w->states <= 8)
		return segment<A, 1, 8, false>(stream, a, error);
	if (w->complex)
		return segment<A, 1, 8, true>(stream, a, error);
	if (w->states <= 4)
		return segment<A, 0, 4, false>(stream, a, error);
	if (w->states <= 16)
		return segment<A, 0, 16, false>(stream, a, error);
	return segment<A, 0, 16, true>(stream, a, error);
}

template <typename A>
static int modal_rows(cr_stack_device *device, const cr_stack_modal *arguments,
		      crocuta_error *error)
{
	const cr_modal_weights *w = arguments->weights;
	const int64_t width = arguments->width;
	const int64_t chunk_bytes =
		w->states * (w->complex ? 2 : 1) * width * (int64_t)sizeof(float);
	int64_t chunks = cr_ceil_div(arguments->rows, CR_MODAL_CHUNK);
	void *scratch;
	int code;

	if (chunks > SEGMENT_BYTES / chunk_bytes)
		chunks = SEGMENT_BYTES / chunk_bytes;
	chunks = chunks < 1 ? 1 : chunks > MOST_CHUNKS ? MOST_CHUNKS : chunks;
	code = cr_cuda_stack_scratch(device, chunks * chunk_bytes, &scratch, error);
	for (int64_t row = 0; !code && row < arguments->rows; row += chunks * CR_MODAL_CHUNK) {
		const int64_t left = arguments->rows - row, at = row * width;
		const modal_arguments a = {
			(const A *)arguments->g + at,
			arguments->y ? (const A *)arguments->x2 + at : NULL,
			arguments->y ? (A *)arguments->y + at : NULL,
			w->poles,
			w->residues,
			arguments->skip,
			(float *)scratch,
			arguments->state,
			left < chunks * CR_MODAL_CHUNK ? left : chunks * CR_MODAL_CHUNK,
			width,
			w->states};

		code = segment_by<A>(device->stream, w, a, error);
	}
	return code;
}

int cr_cuda_stack_modal(cr_stack_device *device, const cr_stack_modal *arguments,
			crocuta_error *error)
{
	if (arguments->weights->states < 1)
		return cr_fail(error, CROCUTA_EARG, "modal filter of %lld states",
			       (long long)arguments->weights->states);
	if (arguments->rows <= 0 || arguments->width <= 0)
		return 0;
	return CR_CUDA_STACK_BY_TYPE(modal_rows);
}

int cr_cuda_stack_modal_fold(cr_stack_device *device, const cr_stack_modal_fold *a,
			     crocuta_error *error)
{
	const int64_t count = a->width * a->weights->states;
	const unsigned blocks = cr_cuda_blocks(count, THREADS);

	if (count <= 0)
		return 0;
	if (a->weights->complex)
		fold_once_kernel<1><<<blocks, THREADS, 0, device->stream>>>(
			a->weights->poles, count, a->length, a->local, a->state);
	else
		fold_once_kernel<0><<<blocks, THREADS, 0, device->stream>>>(
			a->weights->poles, count, a->length, a->local, a->state);
	CR_CUDA_LAUNCHED("folding states");
	return 0;
}
