/* limn eval networks: FID, KID and CLIP score, by networks that the user brings. */
#include "cli/engine.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "evaluate/networks.h"

struct networks_args {
    struct option_texts words;
    const char *reference, *inception, *clip;
    int64_t count, threads;
    struct kid kid;
    int split;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct networks_args, member)

static const struct option networks_options[] = {
    { "reference", 'r', OPTION_TEXT, AT(reference), .value = "FOLDER", .help = "the pictures that FID and KID compare with" },
    { "split", 0, OPTION_CHOICE, AT(split), "all", .choices = eval_split_choice, .help = "which pictures of it, if it is a data set" },
    { "inception", 0, OPTION_TEXT, AT(inception), .value = "FILE",
      .help = "weights for FID and KID: pt_inception-2015-12-05-6726825d.pth, or the same as safetensors" },
    { "clip", 0, OPTION_TEXT, AT(clip), .value = "FOLDER",
      .help = "weights for the CLIP score: a CLIPModel's folder, such as openai/clip-vit-base-patch16's" },
    { "count", 'c', OPTION_INT, AT(count), "0", .min = 2, .max = 4000000, .help = "only so many pictures of a folder, spread over it",
      .initial_help = "all" },
    { "kid-subsets", 0, OPTION_INT, AT(kid.subsets), "100", .min = 1, .max = 100000, .help = "KID is the mean over so many" },
    { "kid-subset-size", 0, OPTION_INT, AT(kid.size), "0", .min = 2, .max = 1000000, .help = "pictures of each set in one of them",
      .initial_help = "1000, of smaller sets half" },
    OPTION_ROW_THREADS(struct networks_args),
    OPTION_ROWS_EVAL_OUTPUT(struct networks_args),
    { 0 },
};

static bool distance(struct findings *f, const struct networks_args *a, const struct picture_set *drawn, const struct engine *engine,
                     const struct progress *progress, struct err *e)
{
    struct picture_set reference = { 0 };
    struct inception_net net = { 0 };
    bool good = picture_set_open(&reference, a->reference, eval_split(a->split), e) &&
                inception_net_open(&net, a->inception, engine->backend, e) &&
                networks_distance(f, &net, drawn, &reference, a->count, &a->kid, progress, e);
    inception_net_release(&net);
    picture_set_release(&reference);
    return good;
}

static bool clip_score(struct findings *f, const struct networks_args *a, const struct picture_set *drawn, const struct engine *engine,
                       const struct progress *progress, struct err *e)
{
    struct clip_net net = { 0 };
    bool good = clip_net_open(&net, a->clip, engine->backend, e) &&
                networks_clip_score(f, &net, drawn, a->count, a->out.html != NULL, progress, e);
    clip_net_release(&net);
    return good;
}

static bool networks_run(const void *args, struct err *e)
{
    const struct networks_args *a = args;
    struct engine engine = { 0 };
    struct picture_set drawn = { 0 };
    struct findings f;
    struct progress_bar bar;
    if (!a->inception && !a->clip)
        return err_set(e, ERR_ARG, "limn eval networks needs --inception FILE (FID, KID), --clip FOLDER (CLIP score), or both");
    if (!a->inception != !a->reference)
        return err_set(e, ERR_ARG, "--inception FILE and --reference FOLDER belong together");
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    findings_init(&f, "Measured by networks");
    findings_text(&f, NULL, "drawn", "%s", a->words.items[0]);
    bool good = engine_init(&engine, a->threads, PRECISION_F32, e) && image_init(e) &&
                picture_set_open(&drawn, a->words.items[0], PICTURES_ALL, e) &&
                (!a->inception || distance(&f, a, &drawn, &engine, &progress, e)) &&
                (!a->clip || clip_score(&f, a, &drawn, &engine, &progress, e));
    progress_bar_end(&bar);
    good = good && eval_output(&f, &a->out, "eval networks", e);
    picture_set_release(&drawn);
    findings_release(&f);
    engine_release(&engine);
    return good;
}

const struct command command_eval_networks = {
    .name = "eval networks",
    .help = "Measures drawn pictures by networks that you bring: FID and KID against a reference, and the CLIP score.",
    .details = "FID is pytorch-fid's, KID torch-fidelity's (mean and deviation over random subsets), the CLIP score torchmetrics'. limn brings neither network: "
               "--inception and --clip say where they are.\nThe words of a picture are those in its PNG file, or in its folder's list.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = networks_options, .args_bytes = sizeof(struct networks_args), .run = networks_run,
};
