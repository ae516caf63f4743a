/* Inception v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision") as FID is defined with it: the network of
 * 2015-12-05 in PyTorch's names, which differs from the usual one in its poolings (means leave out the border, the last block takes a
 * maximum). */
#ifndef LIMN_MODEL_VISION_INCEPTION_H
#define LIMN_MODEL_VISION_INCEPTION_H

#include "model/layer/net.h"

enum { INCEPTION_SIDE = 299 };

/* picture [n, 299, 299, 3] in -1..1 -> the means of the last layer, [n, 2048]. Widths are the file's. n->stored must be there; ERR_MISSING
 * and ERR_SHAPE stick in the graph. */
struct value inception(struct net *n, struct value picture);

#endif
