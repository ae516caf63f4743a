#include "flow/node_table.h"

const struct node *const node_sets[] = {
    nodes_loaders, nodes_text,        nodes_conditioning, nodes_control, nodes_latent, nodes_vae,  nodes_sampling, nodes_model_patches, nodes_sigmas,
    nodes_custom_sampling, nodes_image_files, nodes_image, nodes_upscale, nodes_latent_files, nodes_mask, nodes_training, nodes_train_run, nodes_dataset,
    nodes_judge, nodes_evaluate, nodes_test, nodes_test_waiting, NULL,
};
