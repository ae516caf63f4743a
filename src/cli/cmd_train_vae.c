#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "cli/progress_bar.h"
#include "cli/train_common.h"
#include "train/train_vae.h"

struct vae_args {
    struct run_args run;
    struct vae_loss_weights loss;
    double gan;
    int64_t gan_start, gan_width;
};

#define AT(member) offsetof(struct vae_args, member)
static const struct option vae_options[] = {
    OPTION_ROWS_RUN(struct vae_args, "128", "10000", "16", "1e-3", "200", "0.01", "0.999"),
    { "l1", 0, OPTION_FLOAT, AT(loss.l1), "1", .min = 0, .max = 1e6, .help = "weight of mean |d|", .group = "Loss" },
    { "l2", 0, OPTION_FLOAT, AT(loss.l2), "1", .min = 0, .max = 1e6, .help = "weight of mean d^2" },
    { "edges", 0, OPTION_FLOAT, AT(loss.gradient), "0.5", .min = 0, .max = 1e6,
      .help = "weight of the differences between neighbours, at three scales" },
    { "kl", 0, OPTION_FLOAT, AT(loss.kl), "1e-4", .min = 0, .max = 1e6,
      .help = "weight of the distance of latents from standard normal ones" },
    { "gan", 0, OPTION_FLOAT, AT(gan), "0", .min = 0, .max = 1e6,
      .help = "weight of the opinion of a patch discriminator, which learns beside: sharper texture; 0: none" },
    { "gan-start", 0, OPTION_INT, AT(gan_start), "2000", .min = 0, .max = 1e9, .help = "step from which it counts" },
    { "gan-width", 0, OPTION_INT, AT(gan_width), "64", .min = 4, .max = 512, .help = "channels of its first layer, a multiple of 4" },
    { 0 },
};

/* The config and, if they are there, the weights of <folder>/vae or <folder>. */
static bool open_vae(const char *folder, struct vae_config *config, struct weights **stored, struct err *e)
{
    char inside[PATH_MAX_BYTES], json[PATH_MAX_BYTES], weights[PATH_MAX_BYTES];
    if (!path_join(inside, folder, "vae", e) || !path_join(json, path_is_folder(inside) ? inside : folder, "config.json", e) ||
        !path_join(weights, path_is_folder(inside) ? inside : folder, "diffusion_pytorch_model.safetensors", e) ||
        !vae_config_read(config, json, e))
        return false;
    *stored = path_exists(weights) ? weights_open(weights, e) : NULL;
    return *stored || !path_exists(weights);
}

static bool run(const void *args, struct err *e)
{
    const struct vae_args *a = args;
    if (!run_args_check(&a->run, e))
        return false;
    struct train_vae_options o = { .scenes = run_scenes(&a->run), .size = a->run.size, .recompute = a->run.recompute,
                                   .seed = (uint64_t)a->run.seed, .loss = a->loss, .gan = a->gan, .gan_width = a->gan_width, .gan_start = a->gan_start,
                                   .export_type = run_export_type(&a->run) };
    struct run_groups groups;
    if (!run_options(&a->run, &groups, &o.run, e))
        return false;
    struct ranks *ranks;
    if (!ranks_new(&ranks, e))
        return false;
    o.run.ranks = ranks;
    const struct backend *backend = backend_cpu_new((int)a->run.threads, NULL, e);
    struct weights *stored = NULL;
    struct dataset *dataset = NULL;
    struct progress_bar bar;
    progress_bar_init(&bar, a->run.quiet || ranks_mine(ranks));
    struct progress progress = progress_bar_steps(&bar);
    bool good = backend && open_vae(a->run.config, &o.config, &stored, e);
    o.type = good ? run_type(&a->run, backend) : DTYPE_F32;
    o.stored = stored;
    if (good && a->run.plan) {
        struct train_memory m;
        good = train_vae_plan(&o, backend, &m, e);
        if (good)
            run_print_plan(&m);
    } else if (good) {
        dataset = dataset_open(a->run.dataset, e);
        o.dataset = dataset;
        good = dataset && dataset_load(dataset, (int)a->run.size, true, &progress, e) &&
               (ranks_mine(ranks) || run_write_config(&command_train_vae, a, a->run.output, e)) && train_vae(&o, backend, &progress, e);
    }
    progress_bar_end(&bar);
    dataset_free(dataset);
    weights_free(stored);
    backend_cpu_free(backend);
    ranks_free(ranks, good);
    return good;
}

const struct command command_train_vae = {
    .name = "train vae",
    .help = "Trains an autoencoder (AutoencoderKL) from nothing, or on from weights.",
    .details = "The run's folder gets config.json, metrics.jsonl, curve.png, samples/, checkpoint.safetensors, model/vae/ in "
               "diffusers layout, best/ (that with the lowest loss on held-out pictures) and events for TensorBoard. Ctrl-C saves; --resume goes on in the same bits.",
    .options = vae_options,
    .args_bytes = sizeof(struct vae_args),
    .run = run,
};
