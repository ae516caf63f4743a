/* The families of nodes, each an array that ends with a NULL name, in the order in which lists show them. A new family is a file of
 * nodes/, a line here and a line in node_table.c. */
#ifndef LIMN_FLOW_NODE_TABLE_H
#define LIMN_FLOW_NODE_TABLE_H

#include "flow/node.h"

extern const struct node *const node_sets[]; /* ends with NULL */

extern const struct node nodes_loaders[], nodes_text[], nodes_conditioning[], nodes_control[], nodes_latent[], nodes_sampling[], nodes_sigmas[],
    nodes_custom_sampling[], nodes_vae[], nodes_image[], nodes_upscale[], nodes_image_files[], nodes_latent_files[], nodes_mask[], nodes_training[], nodes_train_run[], nodes_model_patches[], nodes_dataset[],
    nodes_judge[], nodes_evaluate[], nodes_test[], nodes_test_waiting[];

/* Whether a list of input names, "image, channel" or "*", holds this one; a NULL list holds none. */
bool node_names_input(const char *list, const char *name);

#endif
