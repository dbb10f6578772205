/* parts.cu - what the parts of one sequence tell each other, each on a GPU of its own.
 *
 * Between two local passes a part needs of the others: u at the two positions before its first, for the short
 * filter, and the moments of all blocks, for the far field. Of the far field it could do without those of later
 * blocks, but with them a part scales its operands as one GPU does, and gives the same bytes.
 */
#include "backend/cuda/internal.cuh"

#include <stdlib.h>

extern "C" {
#include "comm/comm.h"
}

static_assert(CR_CUDA_PART_ROWS == CR_CUDA_TILE, "parts begin at whole tiles");

#define THREADS 256

/* Bytes before u, where the first channel's history stands; arrays begin at multiples of that. */
#define U_FRONT 256

struct cr_cuda_part {
	int64_t block;
	int rank, parts, part;
	int64_t room;          /* values of one part's moments, at most */
	float *moments;        /* (parts, room) */
	void *sent, *received; /* (3D, 2) values of u */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t history_bytes(const cr_network *network, const cr_cuda_options *options)
{
	return 3 * network->width * 2 * (options->dtype == CR_CUDA_BF16 ? 2 : 4);
}

static int64_t moments_room(const cr_network *network, const cr_cuda_options *o)
{
	const cr_cuda_cut cut = cr_cuda_cut_of(o->length, o->block, o->rank, o->parts);

	if (cr_cuda_cut_used(&cut) < 2)
		return 0;
	return network->width * cr_ceil_div(cr_cuda_cut_count(&cut, 0), o->block) *
	       (o->rank <= 8 ? 8 : 16);
}

int64_t cr_cuda_part_bytes(const cr_network *network, const cr_cuda_options *options)
{
	if (options->parts < 2)
		return 0;
	return U_FRONT + 4 * options->parts * moments_room(network, options) +
	       2 * history_bytes(network, options);
}

int cr_cuda_part_new(cr_cuda *cuda, const cr_cuda_options *options, crocuta_error *error)
{
	const int64_t history = history_bytes(cuda->network, options);
	cr_cuda_part *p;
	int code;

	if (options->parts < 2)
		return 0;
	p = (cr_cuda_part *)calloc(1, sizeof *p);
	if (!p)
		return cr_fail(error, CROCUTA_EMEMORY, "out of memory");
	cuda->part = p;
	p->block = options->block;
	p->rank = options->rank;
	p->parts = options->parts;
	p->part = options->part;
	p->room = moments_room(cuda->network, options);
	code = cr_cuda_alloc(cuda, (void **)&p->moments, 4 * p->parts * p->room, error);
	if (!code)
		code = cr_cuda_alloc(cuda, &p->sent, history, error);
	return code ? code : cr_cuda_alloc(cuda, &p->received, history, error);
}

void cr_cuda_part_free(cr_cuda_part *p)
{
	if (!p)
		return;
	cudaFree(p->moments);
	cudaFree(p->sent);
	cudaFree(p->received);
	free(p);
}

int cr_cuda_part_alloc_u(cr_cuda *cuda, int64_t bytes, int parts, crocuta_error *error)
{
	const int64_t front = parts > 1 ? U_FRONT : 0;
	const int code = cr_cuda_alloc(cuda, &cuda->u_memory, front + bytes, error);

	if (!code)
		cuda->u = (char *)cuda->u_memory + front;
	return code;
}

cr_cuda_part_pass cr_cuda_part_of(const cr_cuda_part *p, int64_t length, struct cr_comm *comm)
{
	const cr_cuda_cut cut = cr_cuda_cut_of(length, p->block, p->rank, p->parts);

	return {cut, p->part, cr_cuda_cut_start(&cut, p->part), comm};
}

/* ---- messages -------------------------------------------------------------------------------- */

static int exchange(const cr_cuda_part_pass *pass, const cr_transfer *transfers, int count,
		    crocuta_error *error)
{
	int code;

	if (!pass->comm || !count)
		return 0;
	code = cr_comm_start(pass->comm, transfers, count, error);
	return code ? code : cr_comm_wait(pass->comm, error);
}

/* Two neighbouring values of u as a T; of (channels, pitch) of them the one at `column`, to and fro. */
template <typename T>
static __global__ void take_pairs(const T *u, int64_t pitch, int64_t column, int64_t channels,
				  T *pairs)
{
	const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (c < channels)
		pairs[c] = u[c * pitch + column];
}

template <typename T>
static __global__ void put_pairs(T *u, int64_t pitch, int64_t column, int64_t channels,
				 const T *pairs)
{
	const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;

	if (c < channels)
		u[c * pitch + column] = pairs[c];
}

/* T: two values. */
template <typename T>
static int exchange_history(cr_cuda *cuda, const cr_cuda_part_pass *pass, crocuta_error *error)
{
	const int64_t channels = 3 * cuda->network->width, pitch = cuda->stride / 2;
	const int64_t rows = cr_cuda_cut_count(&pass->cut, pass->part);
	const int64_t bytes = channels * (int64_t)sizeof(T);
	const int sends = pass->part + 1 < cr_cuda_cut_used(&pass->cut);
	const unsigned blocks = (unsigned)cr_ceil_div(channels, THREADS);
	cr_cuda_part *p = cuda->part;
	T *u = (T *)cuda->u;
	cr_transfer transfers[2];
	int count = 0, code;

	if (sends) {
		take_pairs<T><<<blocks, THREADS, 0, cuda->stream>>>(u, pitch, rows / 2 - 1,
								    channels, (T *)p->sent);
		CR_CUDA_LAUNCHED("the last positions of a part");
		transfers[count++] = {pass->part + 1, 1, p->sent, bytes};
	}
	if (pass->part)
		transfers[count++] = {pass->part - 1, 0, p->received, bytes};
	code = exchange(pass, transfers, count, error);
	if (code || !pass->part)
		return code;
	put_pairs<T><<<blocks, THREADS, 0, cuda->stream>>>(u, pitch, -1, channels,
							   (const T *)p->received);
	CR_CUDA_LAUNCHED("the positions before a part");
	return 0;
}

int cr_cuda_part_history(cr_cuda *cuda, const cr_cuda_part_pass *pass, crocuta_error *error)
{
	return cuda->dtype == CR_CUDA_BF16 ? exchange_history<uint32_t>(cuda, pass, error)
					   : exchange_history<uint2>(cuda, pass, error);
}

float *cr_cuda_part_moments(const cr_cuda *cuda)
{
	return cuda->part->moments + cuda->part->part * cuda->part->room;
}

int cr_cuda_part_gather(cr_cuda *cuda, const cr_cuda_part_pass *pass, int64_t block, int held,
			int64_t pitch, float *moments, crocuta_error *error)
{
	const int64_t width = cuda->network->width, column = 4 * held; /* bytes of a block */
	const int used = cr_cuda_cut_used(&pass->cut);
	const cr_cuda_part *p = cuda->part;
	cr_transfer transfers[CR_COMM_TRANSFERS];
	int count = 0, code;

	if (2 * used > CR_COMM_TRANSFERS)
		return cr_fail(error, CROCUTA_EINTERNAL, "%d parts are too many", used);
	for (int step = 1; step < used; step++) { /* each to and from another at a time */
		const int to = (pass->part + step) % used, from = (pass->part + used - step) % used;
		const int64_t mine = cr_ceil_div(cr_cuda_cut_count(&pass->cut, pass->part), block);
		const int64_t other = cr_ceil_div(cr_cuda_cut_count(&pass->cut, from), block);

		transfers[count++] = {to, 1, p->moments + pass->part * p->room,
				      width * mine * column};
		transfers[count++] = {from, 0, p->moments + from * p->room, width * other * column};
	}
	code = exchange(pass, transfers, count, error);
	for (int i = 0; !code && i < used; i++) {
		const int64_t first = cr_cuda_cut_start(&pass->cut, i) / block;
		const int64_t blocks = cr_ceil_div(cr_cuda_cut_count(&pass->cut, i), block);

		CR_CUDA_TRY(cudaMemcpy2DAsync(moments + first * held, (size_t)(pitch * column),
					      p->moments + i * p->room, (size_t)(blocks * column),
					      (size_t)(blocks * column), (size_t)width,
					      cudaMemcpyDeviceToDevice, cuda->stream),
			    "placing moments");
	}
	return code;
}

/* ---- for those who carry the messages -------------------------------------------------------- */

void *cr_cuda_queue(const cr_cuda *cuda)
{
	return cuda->stream;
}

int cr_cuda_settle(cr_cuda *cuda, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(cuda->device), "choosing a GPU");
	CR_CUDA_TRY(cudaStreamSynchronize(cuda->stream), "computing a part");
	return 0;
}

int cr_cuda_copy(cr_cuda *cuda, void *to, const void *from, int64_t bytes, crocuta_error *error)
{
	CR_CUDA_TRY(cudaSetDevice(cuda->device), "choosing a GPU");
	CR_CUDA_TRY(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, cuda->stream),
		    "copying from another part");
	CR_CUDA_TRY(cudaStreamSynchronize(cuda->stream), "copying from another part");
	return 0;
}
