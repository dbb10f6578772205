/* golden.h - reading the fixtures under test-data/golden, and a session run into arrays. */
#ifndef CR_TESTS_GOLDEN_H
#define CR_TESTS_GOLDEN_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <crocuta/crocuta.h>

/* A version-1 npy file of float32 or int32 in C order. */
typedef struct npy_array {
	void *data; /* free() */
	int64_t rows, columns;
} npy_array;

static inline int npy_read(const char *path, npy_array *array)
{
	FILE *file = fopen(path, "rb");
	unsigned char head[10];
	char text[4096] = "";
	const char *shape;
	size_t length, bytes;
	long rows = 0, columns = 1;

	if (!file)
		return 0;
	assert_int_equal(fread(head, 1, 10, file), 10);
	length = (size_t)head[8] + 256u * head[9];
	assert_true(length < sizeof text);
	assert_int_equal(fread(text, 1, length, file), length);
	shape = strstr(text, "'shape': (");
	assert_non_null(shape);
	assert_true(sscanf(shape + 10, "%ld, %ld", &rows, &columns) >= 1);
	bytes = 4 * (size_t)(rows * columns);
	array->data = malloc(bytes);
	assert_non_null(array->data);
	assert_int_equal(fread(array->data, 1, bytes, file), bytes);
	array->rows = rows;
	array->columns = columns;
	fclose(file);
	return 1;
}

/* Where rows go; poisoned first, so that a row nobody wrote is seen. */
typedef struct collected {
	float *hidden, *logits; /* (count, rows, D), (count, rows, V) */
	int64_t rows, width, vocabulary, next;
} collected;

static inline void collect_new(collected *c, const crocuta_model *model, int64_t count, int64_t rows)
{
	const crocuta_model_info *info = crocuta_model_get_info(model);
	int64_t n = count * rows;

	c->rows = rows;
	c->width = info->width;
	c->vocabulary = info->vocabulary;
	c->next = 0;
	c->hidden = malloc(4 * (size_t)(n * c->width));
	c->logits = malloc(4 * (size_t)(n * c->vocabulary));
	assert_non_null(c->hidden);
	assert_non_null(c->logits);
	for (int64_t i = 0; i < n * c->width; i++)
		c->hidden[i] = NAN;
	for (int64_t i = 0; i < n * c->vocabulary; i++)
		c->logits[i] = NAN;
}

static inline void collect_free(collected *c)
{
	free(c->hidden);
	free(c->logits);
}

static inline int collect_rows(void *user, int64_t sequence, int64_t first, int64_t count,
			       const float *hidden, const float *logits)
{
	collected *c = user;
	int64_t at = sequence * c->rows + first;

	assert_true(first >= 0 && first + count <= c->rows);
	if (hidden)
		memcpy(c->hidden + at * c->width, hidden, 4 * (size_t)(count * c->width));
	if (logits)
		memcpy(c->logits + at * c->vocabulary, logits, 4 * (size_t)(count * c->vocabulary));
	return 0;
}

/* Largest |a - b|; infinite for a NaN on either side. */
static inline double largest_difference(const float *a, const float *b, int64_t count)
{
	double worst = 0;

	for (int64_t i = 0; i < count; i++) {
		double d = fabs((double)a[i] - (double)b[i]);

		if (!(d <= worst))
			worst = isnan(d) ? INFINITY : d;
	}
	return worst;
}

static inline crocuta_model *open_model(const char *path)
{
	crocuta_error error = {0};
	crocuta_model *model;

	if (crocuta_model_open(path, NULL, &model, &error))
		fail_msg("%s: %s", path, error.message);
	return model;
}

static inline crocuta_session *new_session(const crocuta_model *model,
					   const crocuta_session_options *options)
{
	crocuta_error error = {0};
	crocuta_session *session;

	if (crocuta_session_new(model, options, &session, &error))
		fail_msg("session: %s", error.message);
	return session;
}

#endif
