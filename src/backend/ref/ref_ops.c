/* ref_ops.c - the reference backend's table, and what its operators share. */
#include "backend/ref/ref.h"
#include "base/error.h"
#include "base/memory.h"

double *cr_ref_doubles(int64_t rows, int64_t width)
{
	int64_t count;

	if (rows < 0 || width < 0 || __builtin_mul_overflow(rows, width, &count))
		return NULL;
	return cr_calloc((size_t)count, sizeof(double));
}

double *cr_ref_widen(const float *values, int64_t count)
{
	double *wide = cr_ref_doubles(count, 1);

	for (int64_t i = 0; wide && i < count; i++)
		wide[i] = values[i];
	return wide;
}

void cr_ref_narrow(const double *values, int64_t count, float *out)
{
	for (int64_t i = 0; i < count; i++)
		out[i] = (float)values[i];
}

int cr_ref_no_memory(crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EMEMORY, "out of memory in the reference backend");
}

const cr_ops *cr_ops_reference(const char *variant)
{
	static const cr_ops table = {
		.name = "reference",
#define CR_OP(operator, what) .operator= cr_ref_op_##operator,
#include "backend/ops.def"
#undef CR_OP
	};

	return variant ? NULL : &table;
}
