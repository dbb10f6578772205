/* family_hyenadna_tensors.c - which tensors a HyenaDNA has: names, shapes, places in the network.
 *
 * One list serves the reader and the writer.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/family_hyenadna.h"

/* Which blocks have a tensor. */
enum block_kind { EVERY, HYENA, ATTENTION };

/* Tensors of one block; attention's projections have the operator's places. Shape letters: D width,
 * T three times D, I inner width, F filter order, E features, M maximum length, and digits. */
static const struct {
	const char *name, *shape;
	size_t target; /* in cr_block_weights */
	int role;
	enum block_kind kind;
} block_tensors[] = {
#define AT(field) offsetof(cr_block_weights, field)
	{"norm1.weight", "D", AT(norm1_weight), CR_ROLE_WEIGHT, EVERY},
	{"norm1.bias", "D", AT(norm1_bias), CR_ROLE_WEIGHT, EVERY},
	{"mixer.in_proj.weight", "TD", AT(in_weight), CR_ROLE_WEIGHT, HYENA},
	{"mixer.in_proj.bias", "T", AT(in_bias), CR_ROLE_WEIGHT, HYENA},
	{"mixer.short_filter.weight", "T13", AT(short_weight), CR_ROLE_WEIGHT, HYENA},
	{"mixer.short_filter.bias", "T", AT(short_bias), CR_ROLE_WEIGHT, HYENA},
	{"mixer.filter_fn.bias", "D", AT(filter.skip), CR_ROLE_WEIGHT, HYENA},
	{"mixer.filter_fn.pos_emb.z", "1ME", AT(filter.z), CR_ROLE_FEATURES, HYENA},
	{"mixer.filter_fn.pos_emb.t", "1M1", AT(filter.t), CR_ROLE_OFFSETS, HYENA},
	{"mixer.filter_fn.implicit_filter.0.weight", "FE", AT(filter.in_weight), CR_ROLE_WEIGHT,
	 HYENA},
	{"mixer.filter_fn.implicit_filter.0.bias", "F", AT(filter.in_bias), CR_ROLE_WEIGHT, HYENA},
	{"mixer.filter_fn.implicit_filter.1.freq", "1F", AT(filter.frequency), CR_ROLE_FREQUENCY,
	 HYENA},
	{"mixer.filter_fn.modulation.deltas", "11D", AT(filter.deltas), CR_ROLE_DECAY, HYENA},
	{"mixer.Wqkv.weight", "TD", AT(in_weight), CR_ROLE_WEIGHT, ATTENTION},
	{"mixer.Wqkv.bias", "T", AT(in_bias), CR_ROLE_WEIGHT, ATTENTION},
	{"mixer.out_proj.weight", "DD", AT(out_weight), CR_ROLE_WEIGHT, EVERY},
	{"mixer.out_proj.bias", "D", AT(out_bias), CR_ROLE_WEIGHT, EVERY},
	{"norm2.weight", "D", AT(norm2_weight), CR_ROLE_WEIGHT, EVERY},
	{"norm2.bias", "D", AT(norm2_bias), CR_ROLE_WEIGHT, EVERY},
	{"mlp.fc1.weight", "ID", AT(fc1_weight), CR_ROLE_WEIGHT, EVERY},
	{"mlp.fc1.bias", "I", AT(fc1_bias), CR_ROLE_WEIGHT, EVERY},
	{"mlp.fc2.weight", "DI", AT(fc2_weight), CR_ROLE_WEIGHT, EVERY},
	{"mlp.fc2.bias", "D", AT(fc2_bias), CR_ROLE_WEIGHT, EVERY},
#undef AT
};

static void set_shape(cr_tensor_spec *spec, const cr_network *network, const char *letters)
{
	spec->rank = 0;
	for (; *letters; letters++) {
		int64_t size = *letters - '0';

		switch (*letters) {
		case 'D':
			size = network->width;
			break;
		case 'T':
			size = 3 * network->width;
			break;
		case 'I':
			size = network->inner_width;
			break;
		case 'F':
			size = network->filter_order;
			break;
		case 'E':
			size = network->features;
			break;
		case 'M':
			size = network->max_length;
			break;
		case 'V':
			size = network->vocabulary;
			break;
		case 'C':
			size = network->classes;
			break;
		case 'K':
			size = network->decoder_classes;
			break;
		default:
			break;
		}
		spec->shape[spec->rank++] = size;
	}
}

static int visit_one(cr_network *network, const char *letters, int role, const float **target,
		     cr_tensor_spec *spec, cr_tensor_visit *visit, void *user)
{
	set_shape(spec, network, letters);
	spec->role = role;
	spec->target = target;
	return visit(user, spec);
}

/* Layers of the filter's MLP but the first. */
static int visit_filter(cr_network *network, int64_t layer, cr_tensor_visit *visit, void *user)
{
	static const char filter[] = "mixer.filter_fn.implicit_filter";
	cr_block_weights *block = &network->block[layer];
	int64_t inner = network->filter_inner;
	cr_tensor_spec spec;
	int code = 0;

	/* Linear layers of the filter's MLP have even indices, activations the odd ones between. */
	for (int64_t i = 0; i < inner && !code; i++) {
		snprintf(spec.name, sizeof spec.name, "layers.%lld.%s.%lld.weight",
			 (long long)layer, filter, (long long)(2 * i + 2));
		code = visit_one(network, "FF", CR_ROLE_WEIGHT, &block->filter.inner_weight[i],
				 &spec, visit, user);
		if (code)
			break;
		snprintf(spec.name, sizeof spec.name, "layers.%lld.%s.%lld.bias", (long long)layer,
			 filter, (long long)(2 * i + 2));
		code = visit_one(network, "F", CR_ROLE_WEIGHT, &block->filter.inner_bias[i], &spec,
				 visit, user);
	}
	snprintf(spec.name, sizeof spec.name, "layers.%lld.%s.%lld.weight", (long long)layer,
		 filter, (long long)(2 * inner + 2));
	return code ? code
		    : visit_one(network, "DF", CR_ROLE_WEIGHT, &block->filter.out_weight, &spec,
				visit, user);
}

static int visit_rotary(cr_hyenadna_attention *attention, int64_t layer, cr_tensor_visit *visit,
			void *user)
{
	cr_tensor_spec spec = {.role = CR_ROLE_ROTARY,
			       .rank = 1,
			       .shape = {attention->rotary_size / 2},
			       .target = &attention->inverse_frequency[layer]};

	if (!attention->rotary_size)
		return 0;
	snprintf(spec.name, sizeof spec.name, "layers.%lld.mixer.rotary_emb.inv_freq",
		 (long long)layer);
	return visit(user, &spec);
}

static int visit_block(cr_network *network, cr_hyenadna_attention *attention, int64_t layer,
		       cr_tensor_visit *visit, void *user)
{
	const int has_attention = cr_hyenadna_is_attention(attention, layer);
	cr_block_weights *block = &network->block[layer];
	cr_tensor_spec spec;
	int code = 0;

	for (size_t i = 0; i < sizeof block_tensors / sizeof *block_tensors && !code; i++) {
		if (block_tensors[i].kind == (has_attention ? HYENA : ATTENTION))
			continue;
		snprintf(spec.name, sizeof spec.name, "layers.%lld.%s", (long long)layer,
			 block_tensors[i].name);
		code = visit_one(network, block_tensors[i].shape, block_tensors[i].role,
				 (const float **)((char *)block + block_tensors[i].target), &spec,
				 visit, user);
	}
	if (code)
		return code;
	return has_attention ? visit_rotary(attention, layer, visit, user)
			     : visit_filter(network, layer, visit, user);
}

int cr_hyenadna_visit_layers(cr_network *network, cr_hyenadna_attention *attention,
			     cr_tensor_visit *visit, void *user)
{
	cr_tensor_spec spec = {.name = "embeddings.word_embeddings.weight"};
	int code =
		visit_one(network, "VD", CR_ROLE_WEIGHT, &network->embedding, &spec, visit, user);

	for (int64_t i = 0; i < network->layers && !code; i++)
		code = visit_block(network, attention, i, visit, user);
	if (code)
		return code;
	snprintf(spec.name, sizeof spec.name, "ln_f.weight");
	code = visit_one(network, "D", CR_ROLE_WEIGHT, &network->norm_weight, &spec, visit, user);
	if (code)
		return code;
	snprintf(spec.name, sizeof spec.name, "ln_f.bias");
	code = visit_one(network, "D", CR_ROLE_WEIGHT, &network->norm_bias, &spec, visit, user);
	if (code)
		return code;
	snprintf(spec.name, sizeof spec.name, "lm_head.weight");
	code = visit_one(network, "VD", CR_ROLE_HEAD, &network->lm_head, &spec, visit, user);
	if (!code && network->classes) {
		snprintf(spec.name, sizeof spec.name, "score.weight");
		code = visit_one(network, "CD", CR_ROLE_HEAD, &network->score, &spec, visit, user);
	}
	if (code || !network->decoder_classes)
		return code;
	snprintf(spec.name, sizeof spec.name, "decoder.weight");
	code = visit_one(network, "KD", CR_ROLE_HEAD, &network->decoder, &spec, visit, user);
	if (code)
		return code;
	snprintf(spec.name, sizeof spec.name, "decoder.bias");
	return visit_one(network, "K", CR_ROLE_HEAD, &network->decoder_bias, &spec, visit, user);
}

int cr_hyenadna_visit_tensors(cr_network *network, cr_tensor_visit *visit, void *user)
{
	return cr_hyenadna_visit_layers(network, NULL, visit, user);
}

static const char *skip_prefix(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? text : text + length;
}

/* Turn every "where" + "layer." into "where", in place. */
static void drop_layer(char *text, const char *where)
{
	char *found = strstr(text, where);

	if (found) {
		char *rest = found + strlen(where);

		if (!strncmp(rest, "layer.", 6))
			memmove(rest, rest + 6, strlen(rest + 6) + 1);
	}
}

int cr_hyenadna_canonical_name(const char *name, char *text, size_t capacity)
{
	static const char *const wrappers[] = {"module.", "model.", "hyena."};
	/* Of a fine-tuned model: as trained, and in the stand-alone code. */
	static const char *const decoders[] = {"decoder.0.output_transform.",
					       "head.output_transform."};
	char *frequency;

	if (strstr(name, "torchmetrics"))
		return 0;
	/* Wrapping modules nest: DistributedDataParallel around Lightning gives "module.model.". */
	for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
		name = skip_prefix(name, wrappers[i]);
	name = skip_prefix(name, "backbone.");
	snprintf(text, capacity, "%s", name);
	for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
		if (!strncmp(name, decoders[i], strlen(decoders[i])))
			snprintf(text, capacity, "decoder.%s", name + strlen(decoders[i]));
	drop_layer(text, ".mixer.");
	drop_layer(text, ".mlp.");
	frequency = strstr(text, ".implicit_filter.");
	if (frequency) {
		int index = -1, used = 0;

		frequency += strlen(".implicit_filter.");
		if (sscanf(frequency, "%2d.freq%n", &index, &used) == 1 && used > 0 &&
		    !frequency[used] && index % 2 == 1 && index <= 2 * CR_FILTER_INNER_MAX + 1)
			strcpy(frequency, "1.freq"); /* no longer than what was there */
	}
	return 1;
}
