/* score_math.c - see score_math.h.
 *
 * -ln P(t) = ln sum_j exp(l_j - l_t), and that sum is at least 1. The sums of many positions are
 * multiplied, and one logarithm is taken of the product before it could overflow. exp is a
 * polynomial of degree 7 on [-ln2/2, ln2/2], four lanes at a time, as exact as the float logits:
 * this runs for every position of every allele, beside kernels that are well tuned. */
#include "task/score_math.h"

#include <math.h>
#include <string.h>

#define BLOCK 64      /* vectors summed in float */
#define LARGE 1e100   /* a product that goes into the logarithm */
#define LOWEST -87.0f /* exp of less is taken as of this: 2e-38 beside a sum of at least 1 */
#define HIGHEST 80.0f

typedef float lanes __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32_t lane_bits __attribute__((vector_size(16)));

static inline lanes choose(lane_bits mask, lanes yes, lanes no)
{
	return (lanes)(((lane_bits)yes & mask) | ((lane_bits)no & ~mask));
}

/* exp of numbers not above HIGHEST, to 2e-7; NaN of NaN. */
static inline lanes exp_lanes(lanes x)
{
	const float shift = 12582912.0f; /* 1.5 * 2^23: the integer comes into the low bits */
	const lanes lowest = {LOWEST, LOWEST, LOWEST, LOWEST};
	const lanes given = x;
	lanes n, r, p;
	lane_bits whole;

	x = choose((lane_bits)(x < lowest), lowest, x);
	n = x * 1.44269504f + shift;
	whole = (lane_bits)n << 23;
	n -= shift;
	r = x - n * 0.693359375f; /* ln 2 in two parts, the first with few bits */
	r += n * 2.12194440e-4f;
	p = r * (1.0f / 5040) + 1.0f / 720;
	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	/* the bits of a NaN, shifted about, could look like a number's */
	return choose((lane_bits)(given == given), (lanes)((lane_bits)p + whole), given);
}

/* sum_j exp(l_j - l_t); HUGE_VAL when some term is too large for this way. */
static inline double inverse_probability(const float *logits, int count, float target)
{
	lanes sum = {0, 0, 0, 0}, most = {0, 0, 0, 0};
	float rest[4] = {-HUGE_VALF, -HUGE_VALF, -HUGE_VALF, -HUGE_VALF};
	int i = 0;

	for (; i + 4 <= count; i += 4) {
		lanes x = *(const lanes *)(logits + i) - target;

		most = choose((lane_bits)(x > most), x, most);
		sum += exp_lanes(x);
	}
	if (i < count) {
		lanes x;

		memcpy(rest, logits + i, (size_t)(count - i) * sizeof *rest);
		x = *(const lanes *)rest - target;
		most = choose((lane_bits)(x > most), x, most);
		sum += choose((lane_bits)(x != -HUGE_VALF), exp_lanes(x), most - most);
	}
	if (most[0] > HIGHEST || most[1] > HIGHEST || most[2] > HIGHEST || most[3] > HIGHEST)
		return HUGE_VAL;
	return ((double)sum[0] + (double)sum[1]) + ((double)sum[2] + (double)sum[3]);
}

/* The textbook way, for logits so far apart that the sum overflows. */
static double careful(const float *logits, int count, float target)
{
	double largest = -HUGE_VAL, sum = 0;

	for (int i = 0; i < count; i++)
		largest = (double)logits[i] > largest ? (double)logits[i] : largest;
	for (int i = 0; i < count; i++)
		sum += exp((double)logits[i] - largest);
	return (double)target - largest - log(sum);
}

void cr_score_add_logits(cr_score_log_sum *sum, const cr_score_softmax *softmax,
			 const float *logits, const uint8_t *tokens, const uint8_t *compared,
			 int64_t count)
{
	const int64_t v = softmax->vocabulary;
	const int classes = softmax->count;
	float four[4];

	for (int64_t i = 0; i < count; i++, logits += v) {
		const float *row = logits;
		double inverse;

		if (!compared[i])
			continue;
		if (classes != v) {
			for (int k = 0; k < 4; k++)
				four[k] = logits[softmax->bases[k]];
			row = four;
		}
		inverse = inverse_probability(row, classes, logits[tokens[i]]);
		if (inverse > LARGE) {
			sum->sum += inverse < HUGE_VAL ? -log(inverse)
						       : careful(row, classes, logits[tokens[i]]);
			continue;
		}
		sum->product *= inverse;
		if (sum->product > LARGE) {
			sum->sum -= log(sum->product);
			sum->product = 1;
		}
	}
}

double cr_score_log_total(const cr_score_log_sum *sum)
{
	return sum->sum - log(sum->product);
}

double cr_score_log_probability(const cr_score_softmax *softmax, const float *logits, uint8_t token)
{
	cr_score_log_sum sum = {0, 1};
	const uint8_t yes = 1;

	cr_score_add_logits(&sum, softmax, logits, &token, &yes, 1);
	return cr_score_log_total(&sum);
}

static void empty_block(cr_score_vector_sum *sum)
{
	for (int64_t d = 0; d < sum->width; d++)
		sum->total[d] += (double)sum->block[d];
	memset(sum->block, 0, (size_t)sum->width * sizeof *sum->block);
	sum->rows = 0;
}

void cr_score_vectors_start(cr_score_vector_sum *sum, int64_t width, float *block, double *total)
{
	*sum = (cr_score_vector_sum){width, 0, block, total};
	memset(block, 0, (size_t)width * sizeof *block);
	memset(total, 0, (size_t)width * sizeof *total);
}

/* Rows of a block, 16 columns at a time in registers. */
static void add_to_block(float *block, const float *rows, int64_t count, int64_t width)
{
	int64_t d = 0;

	for (; d + 16 <= width; d += 16) {
		lanes *out = (lanes *)(block + d);
		lanes a = out[0], b = out[1], c = out[2], e = out[3];

		for (int64_t i = 0; i < count; i++) {
			const lanes *row = (const lanes *)(rows + i * width + d);

			a += row[0];
			b += row[1];
			c += row[2];
			e += row[3];
		}
		out[0] = a;
		out[1] = b;
		out[2] = c;
		out[3] = e;
	}
	for (; d < width; d++)
		for (int64_t i = 0; i < count; i++)
			block[d] += rows[i * width + d];
}

void cr_score_vectors_add(cr_score_vector_sum *sum, const float *rows, int64_t count)
{
	while (count > 0) {
		int64_t take = BLOCK - sum->rows < count ? BLOCK - sum->rows : count;

		add_to_block(sum->block, rows, take, sum->width);
		rows += take * sum->width;
		count -= take;
		sum->rows += take;
		if (sum->rows == BLOCK)
			empty_block(sum);
	}
}

void cr_score_vectors_finish(cr_score_vector_sum *sum)
{
	empty_block(sum);
}

double cr_score_distance(const double *a, const double *b, int64_t width)
{
	double aa = 0, bb = 0, ab = 0, distance;

	for (int64_t d = 0; d < width; d++) {
		aa += a[d] * a[d];
		bb += b[d] * b[d];
		ab += a[d] * b[d];
	}
	if (aa == ab && bb == ab)
		return ab - ab; /* 0, or NaN */
	distance = 1 - ab / (sqrt(aa) * sqrt(bb));
	return distance < 0 ? 0 : distance;
}
