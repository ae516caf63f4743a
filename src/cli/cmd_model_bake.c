/* limn model bake: LoRAs written into a model's weights for good. */
#include <stdio.h>

#include "cli/lora_args.h"
#include "cli/progress_bar.h"
#include "model/family/convert.h"

struct bake_args {
    struct option_texts words;
    const char *config, *vae, *text_encoder, *comfyui, *extra_model_paths;
    int type, prediction;
    double lora_alpha;
    bool quiet;
};

#define AT(member) offsetof(struct bake_args, member)
static const char *type_choice(int index)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    return index == 0 ? "keep" : index <= 3 ? dtype_name(types[index - 1]) : NULL;
}

static const struct option bake_options[] = {
    { "type", 0, OPTION_CHOICE, AT(type), "keep", .choices = type_choice,
      .help = "of the floating-point numbers; keep: each as it is" },
    OPTION_ROW_LORA_ALPHA(struct bake_args),
    OPTION_ROWS_MODEL_PARTS(struct bake_args),
    OPTION_ROWS_PLACES(struct bake_args),
    OPTION_ROW_QUIET(struct bake_args),
    { 0 },
};

struct bake {
    struct model_places places;
    struct draw_lora loras[LORA_MOST];
    size_t count, changed; /* LoRAs; tensors that they changed */
};

static bool change(void *self, const char *part, const struct weight *t, float *numbers, struct err *e)
{
    struct bake *b = self;
    struct lora_use uses[LORA_MOST];
    bool changed;
    bool text = strcmp(part, "unet") != 0;
    for (size_t i = 0; i < b->count; i++)
        uses[i] = (struct lora_use){ b->loras[i].lora, text ? b->loras[i].text : b->loras[i].unet };
    if (!lora_bake(uses, b->count, part, t->name, numbers, (size_t)shape_count(t->shape), &changed, e))
        return false;
    b->changed += changed;
    return true;
}

static bool bake_all(const struct bake_args *a, struct pipeline *p, struct bake *b, const struct model_files *files,
                     const struct progress *progress, struct err *e)
{
    static const enum dtype types[] = { DTYPE_COUNT, DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    struct option_texts words = { .count = 0 };
    for (int i = 1; i + 1 < a->words.count; i++)
        words.items[words.count++] = a->words.items[i];
    struct convert convert = { .files = *files, .output = a->words.items[a->words.count - 1], .type = types[a->type],
                               .layout = CONVERT_FOLDER, .change = change, .self = b };
    return lora_words_open(p, &b->places, &words, a->lora_alpha, b->loras, &b->count, e) && model_convert(&convert, progress, e);
}

static bool bake_run(const void *args, struct err *e)
{
    const struct bake_args *a = args;
    char model[PATH_MAX_BYTES], vae_path[PATH_MAX_BYTES], text_path[PATH_MAX_BYTES];
    const char *vae = a->vae, *words = a->text_encoder;
    struct bake bake = { .count = 0 };
    struct engine engine = { 0 };
    struct progress_bar bar;
    bool found = engine_places(&bake.places, a->comfyui, a->extra_model_paths, e) &&
                 engine_find_model(model, &bake.places, a->words.items[0], e) && engine_find_vae(vae_path, &bake.places, &vae, e) &&
                 engine_find_text(text_path, &bake.places, &words, e) &&
                 engine_init(&engine, 0, PRECISION_F32, e);
    struct model_files files = { .path = model, .config = a->config, .vae = vae, .text_encoder = words,
                                 .predicts = (enum predicts)a->prediction };
    struct pipeline *p = !found ? NULL : pipeline_open_files(&files, engine.backend, engine.type, e);
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = p && bake_all(a, p, &bake, &files, &progress, e);
    progress_bar_end(&bar);
    if (good && !a->quiet)
        fprintf(stderr, "%zu tensors changed by %zu LoRA%s\n", bake.changed, bake.count, bake.count == 1 ? "" : "s");
    pipeline_free(p);
    engine_release(&engine);
    model_places_release(&bake.places);
    return good;
}

const struct command command_model_bake = {
    .name = "model bake",
    .help = "Writes LoRAs into a model's weights.",
    .details = "Each LoRA is a file or a name, with its scales as limn generate --lora has them: style.safetensors:0.8. The last word is "
               "the new model's folder; limn model convert makes a single file of it.\n"
               "The picture of the new model is that of the old one with the LoRAs, up to the rounding of its weights: --type f32 "
               "rounds least.",
    .words = "MODEL LORA... FOLDER", .words_place = AT(words), .words_min = 3, .words_max = OPTION_TEXTS_MAX,
    .options = bake_options, .args_bytes = sizeof(struct bake_args), .run = bake_run,
};
