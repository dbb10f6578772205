/* fuzz_config.c - config.json of a HyenaDNA from any bytes: what is accepted lies in its ranges. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds)
{
	if (!holds)
		abort();
}

/* 0 stands for a size that is not stated. */
static void need_size(int64_t value, int64_t low, int64_t high)
{
	need(value == 0 || (value >= low && value <= high));
}

static void prove(const cr_hyenadna_config *fields)
{
	need_size(fields->width, 1, CR_WIDTH_MAX);
	need_size(fields->inner_width, 1, CR_INNER_WIDTH_MAX);
	need_size(fields->layers, 1, CR_LAYERS_MAX);
	need_size(fields->max_length, 2, (int64_t)1 << 31);
	need_size(fields->vocabulary, 1, CR_VOCABULARY_MAX);
	need(fields->vocabulary_multiple >= 1 && fields->vocabulary_multiple <= CR_VOCABULARY_MAX);
	need_size(fields->features, 3, CR_FEATURES_MAX);
	need(fields->features == 0 || fields->features % 2 == 1);
	need_size(fields->filter_order, 1, CR_FILTER_ORDER_MAX);
	need_size(fields->filter_inner, 1, CR_FILTER_INNER_MAX);
	need(fields->activation_frequency >= 1e-6 && fields->activation_frequency <= 1e6);
	need(fields->norm_epsilon >= 1e-12 && fields->norm_epsilon <= 0.1);
	need(isnan(fields->filter_shift) || fabs(fields->filter_shift) <= 10);
	need(fields->trained_frequency == 0 || fields->trained_frequency == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	crocuta_error error = {0};
	cr_hyenadna_config fields;
	cr_notes notes = {0};
	cr_config config;
	int code = cr_config_parse((const char *)data, size, "f", &config, &error);

	if (!code) {
		for (size_t i = 0; cr_families[i]; i++)
			(void)cr_families[i]->claims(config.root);
		code = cr_hyenadna_read_config(&config, &fields, &notes, &error);
	}
	if (code) {
		need(code == CROCUTA_EMODEL || code == CROCUTA_EMEMORY);
		need(error.code == code && error.message[0]);
	} else {
		prove(&fields);
	}
	need(notes.count >= 0 && notes.count <= CR_NOTES_MAX);
	for (int i = 0; i < notes.count; i++)
		for (const char *p = notes.text[i]; *p; p++)
			need(*p >= 0x20 && *p < 0x7f);
	cr_config_free(&config);
	return 0;
}
