/* network.h - the weights behind an opened model. */
#ifndef CR_MODEL_NETWORK_H
#define CR_MODEL_NETWORK_H

#include "backend/network.h"
#include "seq/tokens.h"

struct crocuta_model;

/* The weights of an opened model; owned by it. */
const cr_network *cr_model_network(const struct crocuta_model *model);

/* What its tokens are; constant. */
const cr_vocabulary *cr_model_vocabulary(const struct crocuta_model *model);

/* Was it opened without reading its weights? */
int cr_model_is_unread(const struct crocuta_model *model);

#endif
