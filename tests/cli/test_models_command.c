/* limn models, and models that other commands find by name: folders made here, as ComfyUI has them. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "model/places/places.h"
#include "test.h"

static char comfy[PATH_MAX_BYTES];

/* A file of the installation: a link to one of the test data, or text. */
static void put(const char *name, const char *data, const char *text)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    REQUIRE(path_join(path, comfy, name, &e));
    strcpy(folder, path);
    *strrchr(folder, '/') = 0;
    REQUIRE(folder_make(folder, &e));
    if (text)
        REQUIRE(file_write_whole(path, text, strlen(text), &e));
    else
        assert_int_equal(symlink(test_data(data), path), 0);
}

static void install(void)
{
    char command[PATH_MAX_BYTES + 20];
    snprintf(comfy, sizeof comfy, "%s", test_scratch("comfy"));
    snprintf(command, sizeof command, "rm -rf -- %s", comfy);
    assert_int_equal(system(command), 0);
    setenv("LIMN_MODELS", test_scratch("own"), 1);
    put("models/loras/style/kohya.safetensors", "lora/kohya.safetensors", NULL);
    put("models/loras/dora.safetensors", "lora/dora.safetensors", NULL);
    put("models/loras/notes.txt", NULL, "no model");
    put("models/diffusers/tiny-sd1", "models/tiny-sd1", NULL);
    put("models/checkpoints/broken.ckpt", NULL, "rubbish");
    put("models/vae/tiny.safetensors", "models/tiny-sd1/vae/diffusion_pytorch_model.safetensors", NULL);
    put("models/unet/a.gguf", NULL, "a");
    put("models/diffusion_models/b.sft", NULL, "b");
    put("models/clip/c.pt", NULL, "c");
    put("output/loras/saved.safetensors", "lora/old.safetensors", NULL);
    assert_int_equal(symlink(".", test_scratch("comfy/models/loras/back")), 0); /* a link to a folder above ends */
}

/* "name family what" of the models of a kind, a line each. */
static const char *listed(const char *kind, const char *option, const char *value)
{
    static char out[4000];
    *out = 0;
    int status = limn("models", "--json", "--kind", kind, option, value, NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *all = json_loads(said, 0, NULL), *one;
    CHECK(all, "%s", said);
    size_t i;
    json_array_foreach(json_object_get(all, "models"), i, one) {
        const char *family = json_string_value(json_object_get(one, "family")), *what = json_string_value(json_object_get(one, "what"));
        if (strstr(json_string_value(json_object_get(one, "path")), "scratch") ||
            strstr(json_string_value(json_object_get(one, "path")), comfy))
            snprintf(out + strlen(out), sizeof out - strlen(out), "%s %s %s\n", json_string_value(json_object_get(one, "name")),
                     family ? family : "-", what ? what : json_string_value(json_object_get(one, "why")) ? "broken" : "-");
    }
    json_decref(all);
    return out;
}

#define LISTED(kind, option, value, want)                                                    \
    do {                                                                                     \
        const char *came = listed(kind, option, value);                                      \
        CHECK(!strcmp(came, want), "%s: %s instead of %s", kind, came, want);                \
    } while (0)

TEST(an_installation_is_listed_in_place)
{
    install();
    LISTED("loras", "--comfyui", comfy, "dora.safetensors - lora\nsaved.safetensors - lora\nstyle/kohya.safetensors - lora\n");
    LISTED("diffusers", "--comfyui", comfy, "tiny-sd1 sd1 model\n");
    LISTED("checkpoints", "--comfyui", comfy, "broken.ckpt - broken\n");
    LISTED("vae", "--comfyui", comfy, "tiny.safetensors - part\n");
    LISTED("diffusion_models", "--comfyui", comfy, "a.gguf - broken\nb.sft - broken\n");
    LISTED("text_encoders", "--comfyui", comfy, "c.pt - broken\n");
    CHECK(limn("models", "-q", "--comfyui", comfy, NULL) == 0 && strstr(said, "style/kohya.safetensors") &&
              strstr(said, "cannot be read: ") && strstr(said, "sd1, model"), "%s%s", said, complained);
    CHECK(limn("models", "--comfyui", test_data("models"), NULL) == 1 && strstr(complained, "no folder models in it"), "%s", complained);
    CHECK(limn("models", "--kind", "lora", NULL) == 2 && strstr(complained, "did you mean loras"), "%s", complained);
}

TEST(a_file_of_model_paths_is_read_as_comfyui_reads_it)
{
    struct err e = { 0 };
    struct model_places p = { 0 };
    static const char text[] = "a:\n  loras: |\n    one/\n    two # no comment\n  base_path: $LIMN_TEST_BASE/b\n  unet: ~/u\n"
                               "  plugin: x\nnone:\nb:\n  is_default: True\n  loras: 'three'\n  clip: /four\n";
    static const struct {
        enum model_kind kind;
        const char *path;
    } want[] = { { MODELS_TEXT_ENCODERS, "/four" }, { MODELS_LORAS, "/yaml/three" }, { MODELS_LORAS, "/base/b/one" },
                 { MODELS_LORAS, "/base/b/two # no comment" }, { MODELS_DIFFUSION_MODELS, "/home/me/u" } };
    char *home = mem_string(getenv("HOME") ? getenv("HOME") : "/");
    setenv("HOME", "/home/me", 1);
    setenv("LIMN_TEST_BASE", "/base", 1);
    REQUIRE(model_places_add_yaml(&p, text, sizeof text - 1, "/yaml/extra.yaml", &e));
    setenv("HOME", home, 1);
    mem_free(home);
    assert_int_equal(p.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < p.count; i++)
        CHECK(p.items[i].kind == want[i].kind && !strcmp(p.items[i].path, want[i].path), "%zu: %d %s", i, (int)p.items[i].kind,
              p.items[i].path);
    CHECK(strstr(text_string(&p.notes), "/yaml/extra.yaml, line 5: /base/b is no folder\n") && !strstr(text_string(&p.notes), "plugin") &&
              strstr(text_string(&p.notes), "/yaml/extra.yaml, line 11: /yaml/three is no folder\n"), "%s", text_string(&p.notes));
    model_places_release(&p);
    static const char *const slips[][2] = {
        { "a:\n  lora: x\n", "extra.yaml, line 2: \"lora\" is no kind of folder that is known; did you mean loras?\n" },
        { "a:\n  base_pth: /\n", "line 2: \"base_pth\" is no kind of folder that is known; did you mean base_path?" },
        { "a:\n  base_path: /\n  chekpoints: |\n    tmp\n", "line 3: \"chekpoints\" is no kind of folder that is known; did you mean checkpoints?" },
        { "a:\n  base_path: /\n  loras: |\n    tmp\n    nowhere-there\n", "extra.yaml, line 5: /nowhere-there is no folder\n" },
        { "a:\n  base_path: /\n  loras: nowhere-there\n", "extra.yaml, line 3: /nowhere-there is no folder\n" },
        { "a:\n  base_path: /\n  loras: tmp\n  configs: x\n  custom_nodes: y\n  ipadapter: z\n  LLM: u\n  unet_gguf: v\n  insightface: w\n", "" },
    };
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        REQUIRE(model_places_add_yaml(&p, slips[i][0], strlen(slips[i][0]), "extra.yaml", &e));
        CHECK(*slips[i][1] ? strstr(text_string(&p.notes), slips[i][1]) != NULL : !*text_string(&p.notes), "%zu: %s", i, text_string(&p.notes));
        model_places_release(&p);
    }
    static const char *const wrong[][2] = {
        { "a:\n  loras: x\n  vae:\n    - y\n", "extra.yaml, line 4: want a path" }, { "- a\n", "line 1: want sections" },
        { "a:\n  loras: &x y\nb: *x\n", "line 3: want keys" }, { "a: b\n", "line 1: want keys" },
        { "a:\n  is_default: perhaps\n", "line 2: want true or false" }, { "a:\n  loras: 'x\n", "line" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err_clear(&e);
        bool good = model_places_add_yaml(&p, wrong[i][0], strlen(wrong[i][0]), "extra.yaml", &e);
        CHECK(!good && strstr(e.text, wrong[i][1]), "%zu: %s", i, e.text);
        model_places_release(&p);
    }
}

TEST(names_are_found_in_an_installation)
{
    struct err e = { 0 };
    struct model_places p = { 0 };
    char out[PATH_MAX_BYTES];
    install();
    REQUIRE(model_places_add_comfyui(&p, comfy, &e));
    static const char *const good[] = { "style/kohya.safetensors", "style\\kohya", "kohya", "kohya.safetensors", "style/kohya" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        REQUIRE(model_places_find(&p, 1U << MODELS_LORAS, "LoRA", good[i], out, &e));
        CHECK(strstr(out, "/models/loras/style/kohya.safetensors"), "%s: %s", good[i], out);
    }
    CHECK(!model_places_find(&p, 1U << MODELS_LORAS, "LoRA", "../vae/tiny", out, &e) && e.code == ERR_ARG, "%s", e.text);
    err_clear(&e);
    put("models/loras/other/kohya.safetensors", "lora/kohya.safetensors", NULL);
    CHECK(!model_places_find(&p, 1U << MODELS_LORAS, "LoRA", "kohya", out, &e) && strstr(e.text, "other/kohya"), "%s", e.text);
    err_clear(&e);
    CHECK(!model_places_find(&p, 1U << MODELS_LORAS, "LoRA", "nothing", out, &e) && strstr(e.text, "output/loras"), "%s", e.text);
    err_clear(&e);
    put("output/runs/cat/lora.safetensors", "lora/kohya.safetensors", NULL);
    put("output/runs/cat/lora-step00000010.safetensors", "lora/kohya.safetensors", NULL);
    for (int i = 0; i < 2; i++) {
        REQUIRE(model_places_find(&p, 1U << MODELS_LORAS, "LoRA", i ? "cat" : "cat.safetensors", out, &e));
        CHECK(strstr(out, "/output/runs/cat/lora.safetensors"), "%s", out);
    }
    CHECK(!model_places_find(&p, 1U << MODELS_LORAS, "LoRA", "lora-step00000010", out, &e), "%s", out);
    model_places_release(&p);
    char png[PATH_MAX_BYTES];
    strcpy(png, test_scratch("drawn.png"));
    CHECK(limn("generate", "-q", "--comfyui", comfy, "-m", "tiny-sd1", "--vae", "tiny", "--lora", "dora:0.5", "--steps", "1", "--width",
               "32", "--height", "32", "-o", png, "a red circle", NULL) == 0, "%s", complained);
    CHECK(path_exists(png), "no picture");
}
