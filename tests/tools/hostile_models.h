/* hostile_models.h - malformed model directories, each a named small change of one that loads.
 *
 * hostile_each() hands over every case in memory. Verdicts: REFUSE must not open; LOAD must open
 * (controls, so that a reader that refuses everything fails as well); EITHER may do what it likes
 * but crash, hang or print nonsense (random damage, from a seed).
 */
#ifndef HOSTILE_MODELS_H
#define HOSTILE_MODELS_H

#include "model_fixture.h"

enum hostile_verdict { HOSTILE_REFUSE, HOSTILE_LOAD, HOSTILE_EITHER };

#include "hostile_entries.h"

struct hostile {
	char name[96];
	enum hostile_verdict verdict;
	const unsigned char *weights;
	size_t weights_size;
	const char *config;
	size_t config_size;
};

typedef void hostile_fn(void *user, const struct hostile *hostile);

struct hostile_run {
	hostile_fn *fn;
	void *user;
	int count;
	struct fixture *base;
	char *header;
	size_t begin, end; /* data_offsets of lm_head.weight, the last tensor */
};

static void hostile_emit(struct hostile_run *run, const char *group, const char *name,
			 enum hostile_verdict verdict, const void *weights, size_t weights_size,
			 const char *config, size_t config_size)
{
	struct hostile hostile = {.verdict = verdict,
				  .weights = weights,
				  .weights_size = weights_size,
				  .config = config,
				  .config_size = config_size};

	snprintf(hostile.name, sizeof hostile.name, "%s-%s", group, name);
	for (char *p = hostile.name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '_' || *p == '.'))
			*p = '-';
	run->count++;
	run->fn(run->user, &hostile);
}

static void hostile_fixture(struct hostile_run *run, const char *group, const char *name,
			    enum hostile_verdict verdict, const struct fixture *f)
{
	char *header = fixture_header(f);
	size_t size;
	unsigned char *bytes = fixture_join(f, header, strlen(header), &size);

	hostile_emit(run, group, name, verdict, bytes, size, f->config, strlen(f->config));
	free(bytes);
	free(header);
}

/* The base's data behind another header. */
static void hostile_header(struct hostile_run *run, const char *group, const char *name,
			   enum hostile_verdict verdict, const char *header, size_t header_size)
{
	size_t size;
	unsigned char *bytes = fixture_join(run->base, header, header_size, &size);

	hostile_emit(run, group, name, verdict, bytes, size, run->base->config,
		     strlen(run->base->config));
	free(bytes);
}

/* text with the first `from` replaced, allocated. */
static char *hostile_replace(const char *text, const char *from, const char *to)
{
	const char *found = strstr(text, from);
	size_t capacity = strlen(text) + strlen(to) + 1;
	char *result = fixture_alloc(capacity);

	fixture_need(found != NULL, from);
	snprintf(result, capacity, "%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
	return result;
}

static void hostile_length_words(struct hostile_run *run)
{
	size_t header = strlen(run->header), size;
	unsigned char *bytes = fixture_join(run->base, run->header, header, &size);
	const uint64_t words[] = {0,
				  1,
				  2,
				  header - 1,
				  header + 1,
				  header / 2,
				  size - 8,
				  size - 7,
				  size,
				  99999999,
				  100000000,
				  100000001,
				  0x7fffffff,
				  0x80000000,
				  0xffffffff,
				  0x100000000,
				  (uint64_t)1 << 63,
				  UINT64_MAX,
				  UINT64_MAX - 7,
				  (uint64_t)header << 56 | (uint64_t)(header >> 8) << 48};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		char name[40];

		for (int j = 0; j < 8; j++)
			bytes[j] = (unsigned char)(words[i] >> 8 * j);
		snprintf(name, sizeof name, "%016llx", (unsigned long long)words[i]);
		hostile_emit(run, "length", name, HOSTILE_REFUSE, bytes, size, run->base->config,
			     strlen(run->base->config));
	}
	free(bytes);
}

/* Whole files that are something else. */
static void hostile_foreign(struct hostile_run *run)
{
	static const struct {
		const char *name, *bytes;
		size_t size;
	} files[] = {
		{"empty", "", 0},
		{"one-byte", "{", 1},
		{"seven-bytes", "\2\0\0\0\0\0\0", 7},
		{"eight-bytes", "\2\0\0\0\0\0\0\0", 8},
		{"gguf", "GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16},
		{"zip", "PK\3\4\24\0\0\0\0\0\0\0\0\0\0\0", 16},
		{"pickle", "\x80\2}q\0(X\5\0\0\0state", 16},
		{"lfs", "version https://git-lfs.github.com/spec/v1\n", 43},
		{"hdf5", "\x89HDF\r\n\x1a\n\0\0\0\0\0\0\0\0", 16},
		{"text", "not a model at all, just text\n", 30},
		{"empty-object", "\2\0\0\0\0\0\0\0{}", 10},
		{"empty-object-and-data", "\2\0\0\0\0\0\0\0{}abcd", 14},
		{"zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16},
	};

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		hostile_emit(run, "foreign", files[i].name, HOSTILE_REFUSE, files[i].bytes,
			     files[i].size, run->base->config, strlen(run->base->config));
}

/* Bytes before and after the header's object. */
static void hostile_ends(struct hostile_run *run)
{
	static const struct {
		const char *name, *before, *after;
		size_t after_size;
		enum hostile_verdict verdict;
	} ends[] = {
		{"leading-space", " ", "", 0, HOSTILE_REFUSE},
		{"bom", "\xef\xbb\xbf", "", 0, HOSTILE_REFUSE},
		{"leading-bracket", "[", "]", 1, HOSTILE_REFUSE},
		{"trailing-newline", "", "\n", 1, HOSTILE_REFUSE},
		{"trailing-tab", "", "\t", 1, HOSTILE_REFUSE},
		{"trailing-zero", "", "\0", 1, HOSTILE_REFUSE},
		{"trailing-zeros", "", "\0\0\0\0\0\0\0\0", 8, HOSTILE_REFUSE},
		{"trailing-brace", "", "}", 1, HOSTILE_REFUSE},
		{"trailing-object", "", "{}", 2, HOSTILE_REFUSE},
		{"trailing-comma", "", ",", 1, HOSTILE_REFUSE},
		{"space-newline", "", "  \n ", 4, HOSTILE_REFUSE},
		{"trailing-space", "", " ", 1, HOSTILE_LOAD},
		{"trailing-spaces", "", "       ", 7, HOSTILE_LOAD},
	};

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		size_t before = strlen(ends[i].before), middle = strlen(run->header);
		char *text = fixture_alloc(before + middle + ends[i].after_size);

		memcpy(text, ends[i].before, before);
		memcpy(text + before, run->header, middle);
		memcpy(text + before + middle, ends[i].after, ends[i].after_size);
		hostile_header(run, "header", ends[i].name, ends[i].verdict, text,
			       before + middle + ends[i].after_size);
		free(text);
	}
}

static void hostile_metadata(struct hostile_run *run)
{
	static const char from[] = "\"__metadata__\":{\"format\":\"pt\"},";
	static const struct {
		const char *name, *to;
		enum hostile_verdict verdict;
	} cases[] = {
		{"number", "\"__metadata__\":{\"format\":1},", HOSTILE_REFUSE},
		{"nested", "\"__metadata__\":{\"format\":{}},", HOSTILE_REFUSE},
		{"null-value", "\"__metadata__\":{\"format\":null},", HOSTILE_REFUSE},
		{"null", "\"__metadata__\":null,", HOSTILE_REFUSE},
		{"array", "\"__metadata__\":[\"pt\"],", HOSTILE_REFUSE},
		{"string", "\"__metadata__\":\"pt\",", HOSTILE_REFUSE},
		{"twice", "\"__metadata__\":{},\"__metadata__\":{},", HOSTILE_REFUSE},
		{"key-twice", "\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"},", HOSTILE_REFUSE},
		{"absent", "", HOSTILE_LOAD},
		{"empty", "\"__metadata__\":{},", HOSTILE_LOAD},
		{"spaced", "\n \"__metadata__\" : { \"a\" : \"b\\u00e9\" } ,\t\r\n", HOSTILE_LOAD},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = hostile_replace(run->header, from, cases[i].to);

		hostile_header(run, "metadata", cases[i].name, cases[i].verdict, text,
			       strlen(text));
		free(text);
	}
	for (int large = 0; large < 2; large++) {
		size_t size = large ? 1100000 : 60000;
		char *to = fixture_alloc(size + 100), *text;
		int used = snprintf(to, 100, "\"__metadata__\":{\"note\":\"");

		memset(to + used, 'x', size);
		snprintf(to + used + size, 20, "\"},");
		text = hostile_replace(run->header, from, to);
		hostile_header(run, "metadata", large ? "huge" : "large",
			       large ? HOSTILE_REFUSE : HOSTILE_LOAD, text, strlen(text));
		free(text);
		free(to);
	}
}

/* $B $E: data_offsets of lm_head.weight; $P $M: its begin + 4, - 4; $N $L: its end + 4, - 4. */
static char *hostile_expand(const struct hostile_run *run, const char *pattern)
{
	size_t capacity = 8 * strlen(pattern) + 64, used = 0;
	char *text = fixture_alloc(capacity);

	for (; *pattern; pattern++) {
		size_t value = run->begin;

		if (*pattern != '$') {
			text[used++] = *pattern;
			continue;
		}
		switch (*++pattern) {
		case 'P':
			value = run->begin + 4;
			break;
		case 'M':
			value = run->begin - 4;
			break;
		case 'E':
			value = run->end;
			break;
		case 'N':
			value = run->end + 4;
			break;
		case 'L':
			value = run->end - 4;
			break;
		default:
			break;
		}
		used += (size_t)snprintf(text + used, capacity - used, "%zu", value);
	}
	return text;
}

static void hostile_entry_cases(struct hostile_run *run)
{
	char *from = hostile_expand(run, LM "{" D32 S "\"data_offsets\":[$B,$E]}");

	for (size_t i = 0; i < sizeof hostile_entries / sizeof *hostile_entries; i++) {
		char *to = hostile_expand(run, hostile_entries[i].entry);
		char *text = hostile_replace(run->header, from, to);

		hostile_header(run, "entry", hostile_entries[i].name, hostile_entries[i].verdict,
			       text, strlen(text));
		free(text);
		free(to);
	}
	for (int depth = 6; depth <= 100000; depth = depth == 6 ? 20 : depth * 70) {
		char name[40], *to = fixture_alloc((size_t)depth * 2 + 100), *text;

		snprintf(name, sizeof name, "depth-%d", depth);
		strcpy(to, "\"x\":");
		memset(to + 4, '[', (size_t)depth);
		memset(to + 4 + depth, ']', (size_t)depth);
		text = hostile_replace(run->header, from, to);
		hostile_header(run, "entry", name, HOSTILE_REFUSE, text, strlen(text));
		free(text);
		free(to);
	}
	{
		char *to = fixture_alloc(2000), *text;
		int used = snprintf(to, 10, "\"");

		memset(to + used, 'n', 600);
		snprintf(to + used + 600, 200, "\":{" D32 S "\"data_offsets\":[%zu,%zu]}",
			 run->begin, run->end);
		text = hostile_replace(run->header, from, to);
		hostile_header(run, "entry", "name-long", HOSTILE_REFUSE, text, strlen(text));
		free(text);
		free(to);
	}
	free(from);
}

/* The data: cut, longer, not numbers. */
static void hostile_data(struct hostile_run *run)
{
	static const struct {
		const char *name;
		uint32_t bits;
	} values[] = {{"nan", 0x7fc00000},
		      {"signalling", 0x7f800001},
		      {"negative-nan", 0xffffffff},
		      {"infinity", 0x7f800000},
		      {"negative-infinity", 0xff800000}};
	size_t header = strlen(run->header), size;
	unsigned char *bytes = fixture_join(run->base, run->header, header, &size);
	unsigned char *longer = fixture_alloc(size + 4096);
	const char *config = run->base->config;
	char name[60];

	for (size_t i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "at-%zu", size * i / 30);
		hostile_emit(run, "cut", name, HOSTILE_REFUSE, bytes, size * i / 30, config,
			     strlen(config));
	}
	for (size_t cut = 1; cut <= 8; cut *= 2) {
		snprintf(name, sizeof name, "off-%zu", cut);
		hostile_emit(run, "cut", name, HOSTILE_REFUSE, bytes, size - cut, config,
			     strlen(config));
	}
	memcpy(longer, bytes, size);
	for (size_t more = 1; more <= 4096; more *= 8) {
		snprintf(name, sizeof name, "by-%zu", more);
		hostile_emit(run, "longer", name, HOSTILE_REFUSE, longer, size + more, config,
			     strlen(config));
	}
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		const size_t places[] = {8 + header, 8 + header + (run->begin / 8 * 4), size - 4};

		for (int j = 0; j < 3; j++) {
			unsigned char kept[4];

			memcpy(kept, bytes + places[j], 4);
			memcpy(bytes + places[j], &values[i].bits, 4);
			snprintf(name, sizeof name, "%s-%d", values[i].name, j);
			hostile_emit(run, "value", name, HOSTILE_REFUSE, bytes, size, config,
				     strlen(config));
			memcpy(bytes + places[j], kept, 4);
		}
	}
	for (size_t i = 8 + header; i < size; i += 4) /* denormals and zeros are numbers */
		memcpy(bytes + i, i % 8 ? "\1\0\0\0" : "\0\0\0\0", 4);
	hostile_emit(run, "value", "denormal", HOSTILE_LOAD, bytes, size, config, strlen(config));
	free(longer);
	free(bytes);
}

static struct fixture *hostile_base(void)
{
	return fixture_make(4, 1, 10, 4);
}

/* Whole tensors missing, too many, misnamed, of other sizes. */
static void hostile_tensors(struct hostile_run *run)
{
	static const char *const optional[] = {"lm_head.weight", "pos_emb.z", "pos_emb.t",
					       "modulation.deltas"};
	static const struct {
		const char *name, *end, *to;
		enum hostile_verdict verdict;
	} renames[] = {
		{"layer-1", "layers.0.norm1.weight", "hyena.backbone.layers.1.norm1.weight",
		 HOSTILE_REFUSE},
		{"layer-1024", "layers.0.norm1.weight", "hyena.backbone.layers.1024.norm1.weight",
		 HOSTILE_REFUSE},
		{"layer-huge", "layers.0.norm1.weight",
		 "hyena.backbone.layers.99999999999999999999.norm1.weight", HOSTILE_REFUSE},
		{"layer-negative", "layers.0.norm1.weight", "hyena.backbone.layers.-1.norm1.weight",
		 HOSTILE_REFUSE},
		{"layer-hex", "layers.0.norm1.weight", "hyena.backbone.layers.0x0.norm1.weight",
		 HOSTILE_REFUSE},
		{"layer-zeros", "layers.0.norm1.weight", "hyena.backbone.layers.00.norm1.weight",
		 HOSTILE_REFUSE},
		{"inner-20", "filter.4.weight",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.20.weight",
		 HOSTILE_REFUSE},
		{"inner-9998", "filter.4.weight",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.9998.weight",
		 HOSTILE_REFUSE},
		{"inner-odd", "filter.4.weight",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.5.weight",
		 HOSTILE_REFUSE},
		{"freq-even", "filter.1.freq",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.2.freq", HOSTILE_REFUSE},
		{"freq-19", "filter.1.freq",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.19.freq", HOSTILE_REFUSE},
		{"freq-5", "filter.1.freq",
		 "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.5.freq", HOSTILE_LOAD},
		{"same-name-twice", "norm1.weight", "backbone.layers.0.norm1.bias", HOSTILE_REFUSE},
		{"other-model", "norm1.weight", "transformer.h.0.ln_1.weight", HOSTILE_REFUSE},
		{"prefix-twice", "norm1.weight", "hyena.hyena.backbone.layers.0.norm1.weight",
		 HOSTILE_REFUSE},
	};
	static const struct {
		const char *name, *end;
		int64_t shape[3];
		int rank;
	} sizes[] = {
		{"embedding-8-rows", "embeddings.weight", {8, 4, 0}, 2},
		{"embedding-no-rows", "embeddings.weight", {0, 4, 0}, 2},
		{"embedding-wide", "embeddings.weight", {16, 5, 0}, 2},
		{"embedding-flat", "embeddings.weight", {64, 0, 0}, 1},
		{"embedding-huge-beside-zero", "embeddings.weight", {0, (int64_t)1 << 62, 0}, 2},
		{"embedding-rows-65537", "embeddings.weight", {65537, 4, 0}, 2},
		{"z-short", "pos_emb.z", {1, 9, 5}, 3},
		{"z-3-features", "pos_emb.z", {1, 10, 3}, 3},
		{"z-empty", "pos_emb.z", {1, 0, 5}, 3},
		{"t-long", "pos_emb.t", {1, 11, 1}, 3},
		{"t-empty", "pos_emb.t", {1, 0, 1}, 3},
		{"deltas-short", "modulation.deltas", {1, 1, 3}, 3},
		{"filter-4-features", "filter.0.weight", {4, 4, 0}, 2},
		{"filter-order", "filter.0.weight", {5, 5, 0}, 2},
		{"filter-order-4097", "filter.0.weight", {4097, 5, 0}, 2},
		{"filter-no-features", "filter.0.weight", {4, 0, 0}, 2},
		{"short-filter-5", "short_filter.weight", {12, 1, 5}, 3},
		{"short-filter-groups", "short_filter.weight", {12, 2, 3}, 3},
		{"in-proj-4d", "in_proj.weight", {16, 4, 0}, 2},
		{"fc1-inner", "fc1.weight", {9, 4, 0}, 2},
		{"fc1-none", "fc1.weight", {0, 4, 0}, 2},
		{"fc2-transposed", "fc2.weight", {8, 4, 0}, 2},
		{"lm-head-12", "lm_head.weight", {12, 4, 0}, 2},
		{"ln-f", "ln_f.weight", {3, 0, 0}, 1},
	};

	for (int i = 0; i < run->base->count; i++) {
		struct fixture *f = hostile_base();
		enum hostile_verdict verdict = HOSTILE_REFUSE;
		char name[256];

		snprintf(name, sizeof name, "%s", f->tensor[i].name);
		for (size_t j = 0; j < sizeof optional / sizeof *optional; j++)
			if (strstr(name, optional[j]))
				verdict = HOSTILE_LOAD;
		fixture_remove(f, name);
		hostile_fixture(run, "missing", strlen(name) > 40 ? name + strlen(name) - 40 : name,
				verdict, f);
		fixture_free(f);
	}
	for (size_t i = 0; i < sizeof renames / sizeof *renames; i++) {
		struct fixture *f = hostile_base();

		snprintf(fixture_find(f, renames[i].end)->name, 256, "%s", renames[i].to);
		hostile_fixture(run, "renamed", renames[i].name, renames[i].verdict, f);
		fixture_free(f);
	}
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct fixture *f = hostile_base();
		struct fixture_tensor *tensor = fixture_find(f, sizes[i].end), made;
		char name[256];

		snprintf(name, sizeof name, "%s", tensor->name);
		made = *fixture_add(f, name, "F32", sizes[i].rank, sizes[i].shape);
		f->count--;
		free(tensor->data);
		*tensor = made;
		hostile_fixture(run, "sized", sizes[i].name, HOSTILE_REFUSE, f);
		fixture_free(f);
	}
}

static void hostile_config_text(struct hostile_run *run, const char *name,
				enum hostile_verdict verdict, const char *config, size_t size)
{
	size_t weights;
	unsigned char *bytes = fixture_join(run->base, run->header, strlen(run->header), &weights);

	hostile_emit(run, "config", name, verdict, bytes, weights, config, size);
	free(bytes);
}

/* "field": value in the base's config becomes "field": other. */
static void hostile_config_value(struct hostile_run *run, const char *field, const char *other,
				 enum hostile_verdict verdict)
{
	char key[100], name[160], *text = fixture_alloc(8192);
	const char *config = run->base->config, *found, *after;

	snprintf(key, sizeof key, "\"%s\": ", field);
	found = strstr(config, key);
	if (found) {
		after = found + strlen(key) + strcspn(found + strlen(key), ",}");
		snprintf(text, 8192, "%.*s%s%s%s", (int)(found - config), config, key, other,
			 after);
	} else {
		snprintf(text, 8192, "{%s%s, %s", key, other, config + 1);
	}
	snprintf(name, sizeof name, "%s-%s", field, other);
	hostile_config_text(run, name, verdict, text, strlen(text));
	free(text);
}

static void hostile_config(struct hostile_run *run)
{
	static const char *const integers[] = {
		"d_model",        "d_inner",    "n_layer",
		"max_seq_len",    "emb_dim",    "filter_order",
		"num_inner_mlps", "vocab_size", "pad_vocab_size_multiple"};
	static const char *const bad_integers[] = {
		"0",     "-1",    "2147483649", "9223372036854775808",
		"1e400", "\"8\"", "8.0",        "1e1",
		"true",  "[8]",   "{}",         "08",
		"",      "NaN"};
	static const char *const numbers[] = {"activation_freq", "layer_norm_epsilon",
					      "filter_shift"};
	static const char *const bad_numbers[] = {"1e300", "-1e300", "1e400",    "\"0.05\"", "true",
						  "[]",    "NaN",    "Infinity", ".5",       "--1"};
	static const struct {
		const char *field, *value;
		enum hostile_verdict verdict;
	} options[] = {
		{"hyena_order", "3", HOSTILE_REFUSE},
		{"hyena_order", "\"2\"", HOSTILE_REFUSE},
		{"order", "3", HOSTILE_REFUSE},
		{"short_filter_order", "5", HOSTILE_REFUSE},
		{"num_heads", "2", HOSTILE_REFUSE},
		{"inner_factor", "2", HOSTILE_REFUSE},
		{"num_blocks", "2", HOSTILE_REFUSE},
		{"outer_mixing", "true", HOSTILE_REFUSE},
		{"post_order_ffn", "true", HOSTILE_REFUSE},
		{"activation", "\"gelu\"", HOSTILE_REFUSE},
		{"normalized", "true", HOSTILE_REFUSE},
		{"linear_mixer", "true", HOSTILE_REFUSE},
		{"modulate", "false", HOSTILE_REFUSE},
		{"bias", "false", HOSTILE_REFUSE},
		{"use_bias", "false", HOSTILE_REFUSE},
		{"use_bias", "1", HOSTILE_REFUSE},
		{"bidirectional", "true", HOSTILE_REFUSE},
		{"max_position_embeddings", "1024", HOSTILE_REFUSE},
		{"attn_layer_idx", "[1]", HOSTILE_REFUSE},
		{"attn_layer_idx", "1", HOSTILE_REFUSE},
		{"quantization_config", "{\"bits\": 8}", HOSTILE_REFUSE},
		{"train_freq", "\"yes\"", HOSTILE_REFUSE},
		{"tie_word_embeddings", "0", HOSTILE_REFUSE},
		{"model_type", "\"mamba\"", HOSTILE_REFUSE},
		{"model_type", "\"\"", HOSTILE_REFUSE},
		{"model_type", "7", HOSTILE_REFUSE},
		{"model_type", "null", HOSTILE_REFUSE},
		{"model_type", "\"hyenadna\\u0000\"", HOSTILE_REFUSE},
		{"emb_dim", "4", HOSTILE_REFUSE},
		{"vocab_size", "17", HOSTILE_REFUSE},
		{"n_layer", "2", HOSTILE_REFUSE},
		{"n_layer", "1000000000", HOSTILE_REFUSE},
		{"layer", "5", HOSTILE_REFUSE},
		{"layer", "{\"_name_\": \"mha\"}", HOSTILE_REFUSE},
		{"layer", "{\"l_max\": 0}", HOSTILE_REFUSE},
		{"layer", "{\"order\": 3}", HOSTILE_REFUSE},
		{"layer", "{\"bidirectional\": true}", HOSTILE_REFUSE},
		{"layer", "{\"w\": \"10\"}", HOSTILE_REFUSE},
		{"attn_layer_idx", "[]", HOSTILE_LOAD},
		{"attn_layer_idx", "null", HOSTILE_LOAD},
		{"auto_map", "{\"AutoModel\": \"x.py\"}", HOSTILE_LOAD},
		{"d_model", "null", HOSTILE_LOAD},
		{"d_model", "5", HOSTILE_LOAD},
		{"max_seq_len", "2147483648", HOSTILE_LOAD},
		{"something_new", "[1, {\"a\": null}]", HOSTILE_LOAD},
	};
	static const struct {
		const char *name, *text;
		size_t size;
		enum hostile_verdict verdict;
	} texts[] = {
		{"empty", "", 0, HOSTILE_REFUSE},
		{"null", "null", 4, HOSTILE_REFUSE},
		{"array", "[]", 2, HOSTILE_REFUSE},
		{"number", "7", 1, HOSTILE_REFUSE},
		{"open", "{", 1, HOSTILE_REFUSE},
		{"empty-object", "{}", 2, HOSTILE_REFUSE},
		{"bom", "\xef\xbb\xbf{\"model_type\": \"hyenadna\"}", 29, HOSTILE_REFUSE},
		{"utf16", "{\0\"\0m\0", 6, HOSTILE_REFUSE},
		{"twice", "{\"model_type\": \"hyenadna\", \"model_type\": \"hyenadna\"}", 52,
		 HOSTILE_REFUSE},
		{"trailing", "{\"model_type\": \"hyenadna\"} x", 28, HOSTILE_REFUSE},
		{"trailing-zero", "{\"model_type\": \"hyenadna\"}\0", 27, HOSTILE_REFUSE},
		{"comment", "{\"model_type\": \"hyenadna\" // x\n}", 32, HOSTILE_REFUSE},
		{"minimal", "{\"model_type\": \"hyenadna\"}", 26, HOSTILE_LOAD},
	};
	char *text = fixture_alloc(2200000);

	for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
		for (size_t j = 0; j < sizeof bad_integers / sizeof *bad_integers; j++)
			hostile_config_value(run, integers[i], bad_integers[j], HOSTILE_REFUSE);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		for (size_t j = 0; j < sizeof bad_numbers / sizeof *bad_numbers; j++)
			hostile_config_value(run, numbers[i], bad_numbers[j], HOSTILE_REFUSE);
	hostile_config_value(run, "layer_norm_epsilon", "0", HOSTILE_REFUSE);
	hostile_config_value(run, "activation_freq", "0", HOSTILE_REFUSE);
	hostile_config_value(run, "filter_shift", "0", HOSTILE_LOAD);
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		hostile_config_value(run, options[i].field, options[i].value, options[i].verdict);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		hostile_config_text(run, texts[i].name, texts[i].verdict, texts[i].text,
				    texts[i].size);
	for (size_t i = 1; i < 10; i++)
		hostile_config_text(run, "cut", HOSTILE_REFUSE, run->base->config,
				    strlen(run->base->config) * i / 10);
	memset(text, ' ', 2200000);
	memcpy(text, "{}", 2);
	hostile_config_text(run, "2-megabytes", HOSTILE_REFUSE, text, 2200000);
	memset(text, '[', 500000);
	memcpy(text, "{\"a\":", 5);
	hostile_config_text(run, "deep", HOSTILE_REFUSE, text, 500000);
	free(text);
}

static uint64_t hostile_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* Damage at random places: bytes replaced by others that matter to JSON. */
static void hostile_noise(struct hostile_run *run, uint64_t seed, int rounds)
{
	static const char letters[] = "{}[]\",:0129-e. \\u\x00\xff\x80nt";
	size_t header = strlen(run->header), size, config = strlen(run->base->config);
	unsigned char *bytes = fixture_join(run->base, run->header, header, &size);
	unsigned char *damaged = fixture_alloc(size);
	char *damaged_config = fixture_alloc(config), name[40];

	for (int i = 0; i < rounds; i++) {
		memcpy(damaged, bytes, size);
		memcpy(damaged_config, run->base->config, config);
		for (int j = 0; j <= i % 3; j++) {
			char letter = letters[hostile_random(&seed) % (sizeof letters - 1)];

			if (i % 4)
				damaged[8 + hostile_random(&seed) % header] = (unsigned char)letter;
			else
				damaged_config[hostile_random(&seed) % config] = letter;
		}
		snprintf(name, sizeof name, "%d", i);
		hostile_emit(run, "noise", name, HOSTILE_EITHER, damaged, size, damaged_config,
			     config);
	}
	free(bytes);
	free(damaged);
	free(damaged_config);
}

/* All cases, always in the same order; returns their number. */
static FIXTURE_UNUSED int hostile_each(uint64_t seed, int noise, hostile_fn *fn, void *user)
{
	struct hostile_run run = {.fn = fn, .user = user, .base = hostile_base()};

	run.header = fixture_header(run.base);
	for (int i = 0; i < run.base->count - 1; i++)
		run.begin += run.base->tensor[i].size;
	run.end = run.begin + run.base->tensor[run.base->count - 1].size;
	hostile_fixture(&run, "control", "unchanged", HOSTILE_LOAD, run.base);
	hostile_length_words(&run);
	hostile_foreign(&run);
	hostile_ends(&run);
	hostile_metadata(&run);
	hostile_entry_cases(&run);
	hostile_data(&run);
	hostile_tensors(&run);
	hostile_config(&run);
	hostile_noise(&run, seed, noise);
	free(run.header);
	fixture_free(run.base);
	return run.count;
}

#undef LM
#undef D32
#undef S

#endif
