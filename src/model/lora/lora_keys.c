/* What a key says: which tensor of which module. The layouts differ in the ends of their keys (what a tensor is) and in the
 * beginnings (which part of the model); what lies between is the module's name in one of the spellings of lora_modules.c. */
#include <stdio.h>

#include "model/lora/lora_internal.h"

/* The longest end that fits wins. */
static const struct { const char *end; enum lora_role role; } ends[] = {
    /* kohya, LyCORIS */
    { ".lora_down.weight", LORA_DOWN }, { ".lora_up.weight", LORA_UP }, { ".lora_mid.weight", LORA_MID },
    { ".alpha", LORA_ALPHA }, { ".dora_scale", LORA_MAGNITUDE }, { ".diff", LORA_DIFF }, { ".diff_b", LORA_DIFF_BIAS },
    { ".w_norm", LORA_DIFF }, { ".b_norm", LORA_DIFF_BIAS },
    { ".hada_w1_a", LORA_HADA_1A }, { ".hada_w1_b", LORA_HADA_1B }, { ".hada_w2_a", LORA_HADA_2A },
    { ".hada_w2_b", LORA_HADA_2B }, { ".hada_t1", LORA_HADA_T1 }, { ".hada_t2", LORA_HADA_T2 },
    { ".lokr_w1", LORA_KRON_1 }, { ".lokr_w1_a", LORA_KRON_1A }, { ".lokr_w1_b", LORA_KRON_1B }, { ".lokr_w2", LORA_KRON_2 },
    { ".lokr_w2_a", LORA_KRON_2A }, { ".lokr_w2_b", LORA_KRON_2B }, { ".lokr_t2", LORA_KRON_T2 },
    /* PEFT, new diffusers; the adapter's name between is cut out before */
    { ".lora_A.weight", LORA_DOWN }, { ".lora_B.weight", LORA_UP }, { ".lora_B.bias", LORA_UP_BIAS },
    { ".lora_magnitude_vector", LORA_MAGNITUDE }, { ".lora_magnitude_vector.weight", LORA_MAGNITUDE },
    /* diffusers before PEFT */
    { ".lora.down.weight", LORA_DOWN }, { ".lora.up.weight", LORA_UP }, { ".lora_linear_layer.down.weight", LORA_DOWN },
    { ".lora_linear_layer.up.weight", LORA_UP }, { "_lora.down.weight", LORA_DOWN }, { "_lora.up.weight", LORA_UP },
};

static const struct { const char *begin, *part; } begins[] = {
    { "lora_unet_", "unet" }, { "lora_te_", "text_encoder" }, { "lora_te1_", "text_encoder" }, { "lora_te2_", "text_encoder_2" },
    { "unet.", "unet" }, { "text_encoder.", "text_encoder" }, { "text_encoder_2.", "text_encoder_2" },
    { "model.diffusion_model.", "unet" }, { "diffusion_model.", "unet" }, { "lycoris_", NULL },
};

/* "x.lora_A.default.weight" -> "x.lora_A.weight": PEFT puts the adapter's name there, which holds no dot. */
static void drop_adapter_name(char *key)
{
    static const char *const before[] = { ".lora_A.", ".lora_B.", ".lora_magnitude_vector." };
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        char *at = strstr(key, before[i]);
        char *name = at ? at + strlen(before[i]) : NULL, *dot = name ? strchr(name, '.') : NULL;
        if (dot && !strchr(dot + 1, '.'))
            memmove(name, dot + 1, strlen(dot + 1) + 1);
        else if (at && i == 2 && !dot && strcmp(name, "weight")) /* "x.lora_magnitude_vector.default" */
            name[-1] = 0;
    }
}

bool lora_key_read(const char *key, struct lora_key *out)
{
    char copy[sizeof out->stem];
    size_t length = strlen(key), best = 0;
    if (length >= sizeof copy)
        return false;
    memcpy(copy, key, length + 1);
    drop_adapter_name(copy);
    length = strlen(copy);
    *out = (struct lora_key){ .part = NULL };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i].end);
        if (n > best && n < length && !strcmp(copy + length - n, ends[i].end)) {
            best = n;
            out->role = ends[i].role;
        }
    }
    if (!best)
        return false;
    copy[length - best] = 0;
    char *stem = copy;
    static const char peft[] = "base_model.model.";
    if (!strncmp(stem, peft, sizeof peft - 1))
        stem += sizeof peft - 1;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        size_t n = strlen(begins[i].begin);
        if (!strncmp(stem, begins[i].begin, n)) {
            out->part = begins[i].part;
            stem += n;
            break;
        }
    }
    out->diffsynth = !strncmp(stem, "blocks.", 7);
    snprintf(out->stem, sizeof out->stem, "%s", stem);
    for (char *p = out->stem; *p; p++)
        if (*p == '.')
            *p = '_';
    return out->stem[0];
}
