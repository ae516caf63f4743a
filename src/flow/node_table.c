#include "flow/node_table.h"

const struct node *const node_sets[] = {
    nodes_loaders,  nodes_text,  nodes_latent,      nodes_vae, nodes_sampling, nodes_image_files, nodes_image, nodes_test,
    NULL,
};
