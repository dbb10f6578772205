/* test_gpu_parts.c - which positions and segments of a sequence each of several GPUs has; no GPU is needed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/cuda/parts.h"
#include "model/engine_cuda_parts.h"

/* Every position is in one part, parts begin at whole tiles and columns, none has two units more than another, and
 * the empty ones come last. */
static void check_cut(int64_t length, int64_t block, int rank, int parts)
{
	const cr_cuda_cut cut = cr_cuda_cut_of(length, block, rank, parts);
	const int64_t column = rank <= 8 ? 2 * block : block;
	int64_t next = 0, most = 0;
	int used = 0;

	assert_int_equal(cr_cuda_cut_start(&cut, 0), 0);
	assert_int_equal(cr_cuda_cut_start(&cut, parts), length);
	for (int i = 0; i < parts; i++) {
		const int64_t start = cr_cuda_cut_start(&cut, i), count = cr_cuda_cut_count(&cut, i);

		assert_int_equal(start, next);
		assert_true(count >= 0);
		next += count;
		most = count > most ? count : most;
		if (!count)
			continue;
		assert_int_equal(used, i); /* no empty part before */
		used++;
		assert_int_equal(start % 256, 0);
		assert_int_equal(start % column, 0);
		assert_true(cr_cuda_cut_count(&cut, 0) - count < 2 * cut.unit);
	}
	assert_int_equal(next, length);
	assert_int_equal(used, cr_cuda_cut_used(&cut));
	assert_int_equal(most, cr_cuda_cut_count(&cut, 0));
	assert_true(most <= cr_cuda_cut_most(length, block, rank, parts));
	/* near to a share */
	assert_true(most <= length / parts + cut.unit);
}

static void parts_cover_a_sequence(void **state)
{
	static const int64_t lengths[] = {2080, 2560, 3072, 3584, 5120, 40960, 655360, 1048576};
	static const int ranks[] = {4, 8, 12, 16};

	(void)state;
	for (int l = 0; l < 8; l++)
		for (int64_t block = 64; block <= 2048; block *= 2)
			for (int r = 0; r < 4; r++)
				for (int parts = 2; parts <= 64; parts++)
					check_cut(lengths[l], block, ranks[r], parts);
}

static void short_sequences_stay_whole(void **state)
{
	static const int64_t lengths[] = {64, 1024, 2048};

	(void)state;
	for (int l = 0; l < 3; l++)
		for (int parts = 1; parts <= 5; parts++) {
			const cr_cuda_cut cut = cr_cuda_cut_of(lengths[l], 64, 8, parts);

			assert_int_equal(cr_cuda_cut_used(&cut), 1);
			assert_int_equal(cr_cuda_cut_count(&cut, 0), lengths[l]);
			assert_int_equal(cr_cuda_cut_start(&cut, parts), lengths[l]);
		}
	/* and so does what has no near/far form */
	assert_int_equal(cr_cuda_cut_most(65536, 0, 0, 4), 65536);
	assert_int_equal(cr_cuda_cut_most(65536, 256, 8, 1), 65536);
	/* room for a whole short sequence, whatever the share of a long one */
	assert_int_equal(cr_cuda_cut_most(2560, 64, 8, 8), 2048);
	assert_int_equal(cr_cuda_cut_most(1024, 0, 0, 8), 1024);
	assert_int_equal(cr_cuda_cut_most(1048576, 1024, 8, 2), 524288);
	assert_int_equal(cr_cuda_cut_most(1048576, 1024, 8, 3), 171 * 2048);
}

/* Against one look at every position. */
static void check_segments(const crocuta_segments *s, int kind, int64_t report_from, int64_t from,
			   int64_t to)
{
	int64_t first = -1, count = 0, found = -2;
	int64_t given;

	for (int64_t i = 0; i < s->count; i++) {
		const int64_t start = i ? s->ends[i - 1] : report_from;
		int here = 0;

		for (int64_t t = start; t < s->ends[i]; t++)
			here |= t >= from && t < to &&
				(kind != CROCUTA_POOL_LAST || t == s->ends[i] - 1);
		if (!here)
			continue;
		if (!count)
			first = i;
		assert_int_equal(i, first + count); /* in a row */
		count++;
	}
	given = cr_gpu_part_segments(s, kind, report_from, from, to, &found);
	assert_int_equal(given, count);
	if (count)
		assert_int_equal(found, first);
}

static void segments_of_a_part(void **state)
{
	static const int64_t ends[] = {5, 6, 9, 20, 21, 22, 30};
	static const int kinds[] = {CROCUTA_POOL_SUM, CROCUTA_POOL_MAX, CROCUTA_POOL_LAST};

	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (int64_t count = 0; count <= 7; count++)
			for (int64_t report_from = 0; report_from < 5; report_from += 2)
				for (int64_t from = 0; from <= 40; from++)
					for (int64_t to = from; to <= 40; to++) {
						const crocuta_segments s = {ends, count};

						check_segments(&s, kinds[kind], report_from, from, to);
					}
}

static void segments_of_a_whole_sequence(void **state)
{
	static const int64_t ends[] = {5, 6, 9};
	const crocuta_segments s = {ends, 3};
	int64_t first = -1;

	(void)state;
	assert_int_equal(cr_gpu_part_segments(&s, CROCUTA_POOL_SUM, 3, 0, INT64_MAX, &first), 3);
	assert_int_equal(first, 0);
	assert_int_equal(cr_gpu_part_segments(&s, CROCUTA_POOL_LAST, 3, 0, INT64_MAX, &first), 3);
	assert_int_equal(first, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_cover_a_sequence),
		cmocka_unit_test(short_sequences_stay_whole),
		cmocka_unit_test(segments_of_a_part),
		cmocka_unit_test(segments_of_a_whole_sequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
