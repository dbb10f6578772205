/* cuda_filters.c - see cuda_filters.h.
 *
 * Ranks up to 8 cost the same, and so do all above (backend/cuda/near_far.cuh), so the highest of
 * each kind certifies most for its price; 12 is tried before 16, which takes longer to build.
 */
#include "model/cuda_filters.h"

#include <math.h>
#include <stdlib.h>

#include "backend/cpu/convolution.h"
#include "backend/cuda/cuda.h"
#include "base/error.h"

/* The far tables of all layers, with two parts. */
#define TABLE_BYTES ((int64_t)768 << 20)

#define FIRST_BLOCK 64
#define BLOCKS 6 /* 64 .. 2,048 */

/* An error this much above the limit at rank 12 is not certified at rank 16 either: a rank gains
 * about a digit or less. */
#define HOPELESS 1e4

typedef struct candidate {
	int64_t block;
	int held; /* moments of a block: 8 or 16 */
	double cost;
} candidate;

static int by_cost(const void *a, const void *b)
{
	const candidate *x = a, *y = b;

	return (x->cost > y->cost) - (x->cost < y->cost);
}

/* Multiplications for a position and channel: half a block of taps and what tiles on the diagonal
 * waste, and half of all distances, as matrices of 16 x 16 for columns of one block (held 16) or
 * two. The far product loads more for each of its multiplications. */
static double cost_of(int64_t length, int64_t block, int held)
{
	const double positions = (double)(held == 16 ? block : 2 * block);
	const double near = (double)block / 2 + (block <= 512 ? 32 : 64);
	const double far = 256 * ((double)length / positions / 2 + 4) / positions;

	return near + 1.5 * far;
}

/* Do shared memory and the tables' memory allow it? */
static int has_room(const cr_network *n, int64_t length, int64_t block, int held)
{
	const int64_t blocks = (length + block - 1) / block;
	const int64_t columns = held == 16 ? blocks : (blocks + 1) / 2;
	const int64_t table = held == 16 ? 1024 : 256; /* bytes of a distance */

	return columns <= CR_CUDA_FAR_COLUMNS &&
	       blocks * table * n->width * n->layers <= TABLE_BYTES;
}

/* Worst certificate over all layers; layers are left out once one is beyond the limit by far. */
static int certify(const cr_implicit_filter *implicit, const cr_network *network, int64_t length,
		   int64_t block, int rank, double limit, double *worst, crocuta_error *error)
{
	const double pi = 3.14159265358979323846, middle = (double)(block - 1) / 2;
	const int64_t longest = length < network->max_length ? length : network->max_length;
	const int64_t reach = (longest - 1) / block + 1;
	double nodes[16], largest = 0;
	int code = 0;

	for (int a = 0; a < rank; a++)
		nodes[a] = middle * (1 + cos(pi * (2 * a + 1) / (2.0 * rank)));
#pragma omp parallel for schedule(dynamic, 1)
	for (int64_t i = 0; i < network->layers; i++) {
		crocuta_error local = {0};
		double one = HUGE_VAL, known;
		int result;

#pragma omp atomic read
		known = largest;
		if (known > limit * HOPELESS)
			continue;
		result = cr_implicit_filter_certify(&implicit[i], block, rank, nodes, 1, reach,
						    &one, &local);
#pragma omp critical(cr_cuda_filters)
		{
			if (result && !code)
				code = cr_fail(error, result, "%s", local.message);
			if (one > largest) {
#pragma omp atomic write
				largest = one;
			}
		}
	}
	*worst = largest;
	return code;
}

int cr_cuda_choose_filters(const cr_implicit_filter *implicit, const cr_network *network,
			   int64_t length, double limit, int64_t *block, int *rank,
			   double *error_found, crocuta_error *error)
{
	static const int ranks[] = {8, 12, 16};
	candidate list[2 * BLOCKS];
	int count = 0, code = 0;

	*block = 0;
	*rank = 0;
	*error_found = 0;
	for (int i = 0; i < BLOCKS; i++)
		for (int held = 8; held <= 16; held += 8) {
			const int64_t size = (int64_t)FIRST_BLOCK << i;

			if (size < length && has_room(network, length, size, held))
				list[count++] =
					(candidate){size, held, cost_of(length, size, held)};
		}
	qsort(list, (size_t)count, sizeof *list, by_cost);
	for (int i = 0; i < count; i++)
		for (int r = list[i].held == 8 ? 0 : 1; r < (list[i].held == 8 ? 1 : 3); r++) {
			code = certify(implicit, network, length, list[i].block, ranks[r], limit,
				       error_found, error);
			if (code)
				return code;
			if (*error_found <= limit) {
				*block = list[i].block;
				*rank = ranks[r];
				return 0;
			}
			if (!(*error_found <= limit * HOPELESS))
				break;
		}
	return 0;
}
