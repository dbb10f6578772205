/* reference_forward.c - see reference_forward.h; docs/hyenadna.md 2. */
#include "backend/ref/reference_forward.h"

#include "backend/ref/ref.h"
#include "base/error.h"
#include "base/memory.h"

/* Double arrays of one run. */
typedef struct workspace {
	double *residual; /* (L, D) */
	double *normed;   /* (L, D) input of a sublayer, then of the output projection */
	double *wide;     /* (L, max(3D, I)) */
	double *x0;       /* (L, D) */
	double *gated;    /* (L, D) */
	double *offsets;  /* (L) */
	double *values;   /* (L, D) taps */
	double *channel;  /* (3, L) one channel's taps, input, output */
} workspace;

static int workspace_alloc(workspace *w, const cr_network *network, int64_t length)
{
	const int64_t d = network->width, i = network->inner_width;

	w->residual = cr_ref_doubles(length, d);
	w->normed = cr_ref_doubles(length, d);
	w->wide = cr_ref_doubles(length, 3 * d > i ? 3 * d : i);
	w->x0 = cr_ref_doubles(length, d);
	w->gated = cr_ref_doubles(length, d);
	w->offsets = cr_ref_doubles(length, 1);
	w->values = cr_ref_doubles(length, d);
	w->channel = cr_ref_doubles(length, 3);
	for (int64_t l = 0; w->offsets && l < length; l++)
		w->offsets[l] = (double)l;
	return w->residual && w->normed && w->wide && w->x0 && w->gated && w->offsets &&
	       w->values && w->channel;
}

static void workspace_free(workspace *w)
{
	cr_free(w->residual);
	cr_free(w->normed);
	cr_free(w->wide);
	cr_free(w->x0);
	cr_free(w->gated);
	cr_free(w->offsets);
	cr_free(w->values);
	cr_free(w->channel);
}

/* w->normed = x0 * ((h + skip) conv gated), channel by channel. */
static int mix(const cr_network *network, const cr_filter_weights *filter, int64_t length,
	       workspace *w, crocuta_error *error)
{
	const int64_t width = network->width;
	double *taps = w->channel, *input = taps + length, *output = input + length;
	cr_implicit_filter_arguments arguments = {
		.weights = filter,
		.width = width,
		.order = network->filter_order,
		.features = network->features,
		.max_length = network->max_length,
		.inner = network->filter_inner,
		.shift = network->filter_shift,
		.with_skip = 1,
		.offsets = w->offsets,
		.count = length,
		.values = w->values,
	};
	int code = cr_ref_implicit_filter(&arguments, error);

	for (int64_t d = 0; !code && d < width; d++) {
		for (int64_t l = 0; l < length; l++) {
			taps[l] = w->values[l * width + d];
			input[l] = w->gated[l * width + d];
		}
		cr_ref_convolve(taps, length, input, length, output);
		for (int64_t l = 0; l < length; l++)
			w->normed[l * width + d] = w->x0[l * width + d] * output[l];
	}
	return code;
}

static int run_block(const cr_network *network, const cr_block_weights *block, int64_t length,
		     workspace *w, crocuta_error *error)
{
	const int64_t d = network->width, i = network->inner_width;
	const double epsilon = network->norm_epsilon;
	int code;

	cr_ref_layer_norm(w->residual, block->norm1_weight, block->norm1_bias, length, d, epsilon,
			  w->normed);
	cr_ref_linear(w->normed, block->in_weight, block->in_bias, length, d, 3 * d, 0, w->wide);
	cr_ref_short_filter_gate(w->wide, NULL, block->short_weight, block->short_bias, length, d,
				 w->x0, w->gated);
	code = mix(network, &block->filter, length, w, error);
	if (code)
		return code;
	cr_ref_linear(w->normed, block->out_weight, block->out_bias, length, d, d, 1, w->residual);
	cr_ref_layer_norm(w->residual, block->norm2_weight, block->norm2_bias, length, d, epsilon,
			  w->normed);
	cr_ref_linear(w->normed, block->fc1_weight, block->fc1_bias, length, d, i, 0, w->wide);
	cr_ref_gelu(w->wide, length * i);
	cr_ref_linear(w->wide, block->fc2_weight, block->fc2_bias, length, i, d, 1, w->residual);
	return 0;
}

/* The final norm and the head; w->residual is left as it is. */
static void finish(const cr_network *network, int64_t length, workspace *w, float *hidden,
		   float *logits)
{
	const int64_t d = network->width;

	cr_ref_layer_norm(w->residual, network->norm_weight, network->norm_bias, length, d,
			  network->norm_epsilon, w->normed);
	if (hidden)
		cr_ref_narrow(w->normed, length * d, hidden);
	for (int64_t l = 0; logits && l < length; l++)
		for (int64_t v = 0; v < network->vocabulary; v++) {
			double sum = 0;

			for (int64_t c = 0; c < d; c++)
				sum += w->normed[l * d + c] * network->lm_head[v * d + c];
			logits[l * network->vocabulary + v] = (float)sum;
		}
}

int cr_reference_forward(const cr_network *network, const uint8_t *tokens, int64_t length,
			 int layer, float *hidden, float *logits, crocuta_error *error)
{
	const int64_t last = layer < 0 ? network->layers : layer;
	workspace w = {0};
	int code = 0;

	if (length < 1 || length > network->max_length)
		return cr_fail(error, CROCUTA_EARG, "length %lld is not in 1 .. %lld",
			       (long long)length, (long long)network->max_length);
	if (layer < -1 || last > network->layers || (logits && last < network->layers))
		return cr_fail(error, CROCUTA_EARG, "layer %d of %lld%s", layer,
			       (long long)network->layers,
			       logits ? ", and logits need the last" : "");
	if (!workspace_alloc(&w, network, length))
		code = cr_ref_no_memory(error);
	if (!code)
		code = cr_ref_embed(network->embedding, tokens, length, network->width,
				    network->vocabulary, w.residual, error);
	for (int64_t n = 0; !code && n < last; n++)
		code = run_block(network, &network->block[n], length, &w, error);
	if (!code && last == network->layers)
		finish(network, length, &w, hidden, logits);
	else if (!code && hidden)
		cr_ref_narrow(w.residual, length * network->width, hidden);
	workspace_free(&w);
	return code;
}
