/* pool.c - see pool.h. */
#include "task/pool.h"

#include <math.h>
#include <string.h>

int cr_pool_parse(const char *name)
{
	static const char *const names[] = {"mean", "last", "max"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(name, names[i]))
			return i;
	return -1;
}

void cr_pool_clear(cr_pool *pool)
{
	pool->valid = 0;
	memset(pool->values, 0, (size_t)pool->columns * sizeof *pool->values);
}

void cr_pool_take(cr_pool *pool, const float *vector, int is_last)
{
	double *values = pool->values;
	int64_t columns = pool->columns;

	switch (pool->kind) {
	case CR_POOL_MEAN:
		for (int64_t i = 0; i < columns; i++)
			values[i] += (double)vector[i];
		break;
	case CR_POOL_LAST:
		if (!is_last)
			return; /* `valid` counts what the result is made of */
		for (int64_t i = 0; i < columns; i++)
			values[i] = (double)vector[i];
		break;
	default:
		for (int64_t i = 0; i < columns; i++)
			if (!pool->valid || (double)vector[i] > values[i])
				values[i] = (double)vector[i];
		break;
	}
	pool->valid++;
}

void cr_pool_merge(cr_pool *pool, const double *values, int64_t count, int is_last)
{
	const size_t bytes = (size_t)pool->columns * sizeof *values;

	if (pool->kind == CR_POOL_LAST) {
		if (!is_last)
			return;
		memcpy(pool->values, values, bytes);
		pool->valid++;
		return;
	}
	for (int64_t i = 0; i < pool->columns; i++) {
		if (pool->kind == CR_POOL_MEAN)
			pool->values[i] += values[i];
		else if (!pool->valid || values[i] > pool->values[i])
			pool->values[i] = values[i];
	}
	pool->valid += count;
}

void cr_pool_result(const cr_pool *pool, float *out)
{
	double scale = pool->kind == CR_POOL_MEAN && pool->valid ? 1.0 / (double)pool->valid : 1.0;

	for (int64_t i = 0; i < pool->columns; i++)
		out[i] = pool->valid ? (float)(pool->values[i] * scale) : NAN;
}

int cr_all_finite(const float *values, int64_t count)
{
	enum { LANES = 8 };
	uint32_t largest[LANES] = {0}, bits, worst = 0;
	int64_t i = 0;

	for (; i + LANES <= count; i += LANES) {
		for (int lane = 0; lane < LANES; lane++) {
			memcpy(&bits, values + i + lane, sizeof bits);
			bits &= 0x7fffffffu;
			largest[lane] = bits > largest[lane] ? bits : largest[lane];
		}
	}
	for (; i < count; i++) {
		memcpy(&bits, values + i, sizeof bits);
		bits &= 0x7fffffffu;
		worst = bits > worst ? bits : worst;
	}
	for (int lane = 0; lane < LANES; lane++)
		worst = largest[lane] > worst ? largest[lane] : worst;
	return worst < 0x7f800000u; /* infinity and NaN have all exponent bits set */
}

int cr_all_finite_doubles(const double *values, int64_t count)
{
	double zero = 0;

	for (int64_t i = 0; i < count; i++)
		zero += values[i] * 0.0; /* NaN from infinity and NaN */
	return zero == 0.0;
}
