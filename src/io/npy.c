/* npy.c - see npy.h. */
#include "io/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"

#define HEADER_BYTES 128 /* magic, version, length and text; a multiple of 64 */
#define PREFIX_BYTES 10
#define CHUNK 4096 /* values converted to float16 at a time */

struct cr_npy {
	cr_output *output;
	int64_t promised, rows, columns;
	int half;
};

int64_t cr_npy_bytes(int64_t rows, int64_t columns, int half)
{
	int64_t bytes;

	if (rows < 0 || columns < 0 || __builtin_mul_overflow(rows, columns, &bytes) ||
	    __builtin_mul_overflow(bytes, half ? 2 : 4, &bytes) ||
	    __builtin_add_overflow(bytes, HEADER_BYTES, &bytes))
		return -1;
	return bytes;
}

static void make_header(const cr_npy *npy, int64_t rows, char header[HEADER_BYTES])
{
	int used;

	memset(header, ' ', HEADER_BYTES);
	memcpy(header, "\x93NUMPY\x01\x00", 8);
	header[8] = (char)(HEADER_BYTES - PREFIX_BYTES);
	header[9] = 0;
	used = snprintf(header + PREFIX_BYTES, HEADER_BYTES - PREFIX_BYTES,
			"{'descr': '%s', 'fortran_order': False, 'shape': (%lld, %lld), }",
			npy->half ? "<f2" : "<f4", (long long)rows, (long long)npy->columns);
	header[PREFIX_BYTES + used] = ' '; /* over the NUL */
	header[HEADER_BYTES - 1] = '\n';
}

int cr_npy_start(cr_output *output, int64_t rows, int64_t columns, int half, cr_npy **npy,
		 crocuta_error *error)
{
	char header[HEADER_BYTES];
	cr_npy *made;
	int code;

	*npy = NULL;
	if (rows < 0 && !cr_output_seekable(output))
		return cr_fail(
			error, CROCUTA_EARG,
			"%.200s: the number of rows is not known beforehand, so an npy array "
			"needs a regular file",
			cr_output_path(output));
	if (columns < 1 || (rows >= 0 && cr_npy_bytes(rows, columns, half) < 0))
		return cr_fail(error, CROCUTA_EARG, "%.200s: an array of %lld by %lld is too large",
			       cr_output_path(output), (long long)rows, (long long)columns);
	made = cr_calloc(1, sizeof *made);
	if (!made)
		return cr_fail(error, CROCUTA_EMEMORY, "no memory for an array writer");
	made->output = output;
	made->promised = rows;
	made->columns = columns;
	made->half = half != 0;
	make_header(made, rows < 0 ? 0 : rows, header);
	code = cr_output_write(output, header, HEADER_BYTES, error);
	if (code) {
		cr_free(made);
		return code;
	}
	*npy = made;
	return CROCUTA_OK;
}

static int write_half(cr_npy *npy, const float *values, int64_t count, crocuta_error *error)
{
	unsigned char out[CHUNK * 2];

	for (int64_t i = 0; i < count; i++) {
		uint16_t half = cr_half_from_float(values[i]);

		if ((half & 0x7fff) == 0x7c00 && isfinite(values[i]))
			return cr_fail(
				error, CROCUTA_ENUMERIC,
				"%.200s: row %lld column %lld: %g does not fit float16; write "
				"float32",
				cr_output_path(npy->output),
				(long long)(npy->rows + i / npy->columns),
				(long long)(i % npy->columns), (double)values[i]);
		out[2 * (i % CHUNK)] = (unsigned char)half;
		out[2 * (i % CHUNK) + 1] = (unsigned char)(half >> 8);
		if (i % CHUNK == CHUNK - 1 || i == count - 1) {
			int code = cr_output_write(npy->output, out, 2 * (i % CHUNK + 1), error);

			if (code)
				return code;
		}
	}
	return CROCUTA_OK;
}

int cr_npy_write(cr_npy *npy, const float *values, int64_t rows, crocuta_error *error)
{
	int64_t bytes;
	int code;

	if (rows < 0 || cr_npy_bytes(rows, npy->columns, 0) < 0 ||
	    (npy->promised >= 0 && rows > npy->promised - npy->rows))
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: more rows than promised",
			       cr_output_path(npy->output));
	bytes = rows * npy->columns * 4;
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "npy.c writes float32 in the machine's order, which must be little-endian"
#endif
	code = npy->half ? write_half(npy, values, rows * npy->columns, error)
			 : cr_output_write(npy->output, values, bytes, error);
	if (!code)
		npy->rows += rows;
	return code;
}

int cr_npy_finish(cr_npy *npy, crocuta_error *error)
{
	char header[HEADER_BYTES];

	if (npy->promised >= 0 && npy->rows != npy->promised)
		return cr_fail(error, CROCUTA_EINTERNAL, "%.200s: %lld rows written, %lld promised",
			       cr_output_path(npy->output), (long long)npy->rows,
			       (long long)npy->promised);
	if (npy->promised >= 0)
		return CROCUTA_OK;
	make_header(npy, npy->rows, header);
	return cr_output_patch(npy->output, 0, header, HEADER_BYTES, error);
}

int64_t cr_npy_rows(const cr_npy *npy)
{
	return npy->rows;
}

void cr_npy_free(cr_npy *npy)
{
	cr_free(npy);
}
