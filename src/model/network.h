/* network.h - the weights behind an opened model. */
#ifndef CR_MODEL_NETWORK_H
#define CR_MODEL_NETWORK_H

#include "backend/network.h"

struct crocuta_model;

/* The weights of an opened model; owned by it. */
const cr_network *cr_model_network(const struct crocuta_model *model);

#endif
