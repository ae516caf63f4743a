/* The text under "parameters": AUTOMATIC1111's documentation calls it infotext. Words; a line "Negative prompt: ..." and what follows
 * it; a last line "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, ...", where a value that holds commas stands in
 * quotes. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "jobs/told_internal.h"

enum { LEAST_PAIRS = 3, VALUE_BYTES = 4000, KEY_BYTES = 60 };

const char *told_keep(struct told *t, const char *s, size_t bytes)
{
    while (bytes && isspace((unsigned char)s[bytes - 1]))
        bytes--;
    while (bytes && isspace((unsigned char)*s)) {
        s++;
        bytes--;
    }
    if (!bytes || !utf8_valid(s, bytes) || memchr(s, 0, bytes))
        return NULL;
    char **grown = mem_grow(t->items, &t->cap, t->count + 1, sizeof *grown);
    char *own = grown ? mem_zeroed(bytes + 1, 1) : NULL;
    t->items = grown ? grown : t->items;
    if (!own)
        return NULL;
    memcpy(own, s, bytes);
    return t->items[t->count++] = own;
}

void told_release(struct told *t)
{
    for (size_t i = 0; i < t->count; i++)
        mem_free(t->items[i]);
    mem_free(t->items);
    *t = (struct told){ 0 };
}

/* The next "Key: value" of a line; false at its end. */
static bool next_pair(const char **at, char key[KEY_BYTES], char value[VALUE_BYTES])
{
    const char *p = *at + strspn(*at, ", ");
    const char *colon = strchr(p, ':');
    if (!colon || colon == p || colon - p >= KEY_BYTES)
        return false;
    snprintf(key, KEY_BYTES, "%.*s", (int)(colon - p), p);
    p = colon + 1 + strspn(colon + 1, " ");
    size_t n = 0;
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++) {
            p += *p == '\\' && p[1];
            if (n + 1 < VALUE_BYTES)
                value[n++] = *p;
        }
        p += *p == '"';
    } else {
        for (; *p && *p != ','; p++)
            if (n + 1 < VALUE_BYTES)
                value[n++] = *p;
    }
    while (n && value[n - 1] == ' ')
        n--;
    value[n] = 0;
    *at = p;
    return true;
}

/* Their samplers' names; the noise levels may stand behind it, as in "DPM++ 2M Karras". */
static const char *const sampler_names[][2] = {
    { "Euler a", "euler_ancestral" },        { "Euler", "euler" },           { "LMS", "lms" },
    { "Heun", "heun" },                      { "DPM2 a", "dpm_2_ancestral" }, { "DPM2", "dpm_2" },
    { "DPM++ 2S a", "dpmpp_2s_ancestral" },  { "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun" },
    { "DPM++ 2M SDE", "dpmpp_2m_sde" },      { "DPM++ 3M SDE", "dpmpp_3m_sde" },
    { "DPM++ 2M", "dpmpp_2m" },              { "DPM++ SDE", "dpmpp_sde" },   { "DPM fast", "dpm_fast" },
    { "DPM adaptive", "dpm_adaptive" },      { "DDIM", "ddim" },             { "DDIM CFG++", "ddim" },
    { "UniPC", "uni_pc" },                   { "LCM", "lcm" },               { "PLMS", "ipndm" },
};
static const char *const schedule_names[][2] = {
    { "Karras", "karras" },           { "Exponential", "exponential" }, { "SGM Uniform", "sgm_uniform" }, { "Simple", "simple" },
    { "Normal", "normal" },           { "DDIM", "ddim_uniform" },       { "Beta", "beta" },               { "KL Optimal", "kl_optimal" },
    { "Uniform", "normal" },          { "Polyexponential", "polyexponential" },
};

static const char *our_name(const char *const names[][2], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcasecmp(names[i][0], name))
            return names[i][1];
    return NULL;
}
#define OUR_NAME(names, name) our_name(names, sizeof(names) / sizeof *(names), name)

static void read_sampler(struct told *t, struct gallery_facts *f, char *value)
{
    char *space = strrchr(value, ' ');
    const char *ours = OUR_NAME(sampler_names, value), *schedule = space ? OUR_NAME(schedule_names, space + 1) : NULL;
    if (!ours && schedule) {
        *space = 0;
        ours = OUR_NAME(sampler_names, value);
        f->schedule = f->schedule ? f->schedule : schedule;
    }
    if (!f->sampler)
        f->sampler = ours ? ours : told_keep(t, value, strlen(value));
}

static struct picture_lora *lora_named(struct told *t, struct gallery_facts *f, const char *name, size_t bytes)
{
    for (size_t i = 0; i < f->lora_count; i++)
        if (strlen(f->loras[i].name) == bytes && !strncmp(f->loras[i].name, name, bytes))
            return &f->loras[i];
    const char *own = f->lora_count < GALLERY_MOST_LORAS ? told_keep(t, name, bytes) : NULL;
    if (!own)
        return NULL;
    f->loras[f->lora_count] = (struct picture_lora){ .name = own, .scale = 1, .text_scale = 1 };
    return &f->loras[f->lora_count++];
}

/* "name: 0123456789ab, other: ba9876543210" */
static void read_lora_hashes(struct told *t, struct gallery_facts *f, const char *value)
{
    char name[KEY_BYTES], hash[VALUE_BYTES];
    while (next_pair(&value, name, hash)) {
        struct picture_lora *l = lora_named(t, f, name, strlen(name));
        if (l && !l->hash)
            l->hash = told_keep(t, hash, strlen(hash));
    }
}

/* <lora:name:0.8> or <lora:name:0.8:0.5>: the text encoder's scale first. */
static void read_lora_words(struct told *t, struct gallery_facts *f, const char *words)
{
    for (const char *p = words; (p = strstr(p, "<lora:"));) {
        p += 6;
        size_t name = strcspn(p, ":>");
        struct picture_lora *l = name ? lora_named(t, f, p, name) : NULL;
        p += name;
        if (l && *p == ':') {
            char *end;
            l->scale = l->text_scale = strtod(p + 1, &end);
            if (*end == ':')
                l->scale = strtod(end + 1, NULL);
        }
    }
}

static void read_pair(struct told *t, struct gallery_facts *f, const char *key, char *value)
{
    long long a, b;
    if (!strcmp(key, "Steps") && !f->steps)
        f->steps = strtoll(value, NULL, 10);
    else if (!strcmp(key, "Sampler"))
        read_sampler(t, f, value);
    else if (!strcmp(key, "Schedule type") && !f->schedule)
        f->schedule = OUR_NAME(schedule_names, value) ? OUR_NAME(schedule_names, value)
                      : strcasecmp(value, "Automatic")  ? told_keep(t, value, strlen(value))
                                                         : NULL;
    else if (!strcmp(key, "CFG scale") && f->cfg == 0)
        f->cfg = strtod(value, NULL);
    else if (!strcmp(key, "Seed") && !f->has_seed && isdigit((unsigned char)*value)) {
        f->seed = strtoull(value, NULL, 10);
        f->has_seed = true;
    } else if (!strcmp(key, "Size") && !f->width && sscanf(value, "%lldx%lld", &a, &b) == 2) {
        f->width = a;
        f->height = b;
    } else if (!strcmp(key, "Model") && !f->model)
        f->model = told_keep(t, value, strlen(value));
    else if (!strcmp(key, "Model hash") && !f->model_hash)
        f->model_hash = told_keep(t, value, strlen(value));
    else if (!strcmp(key, "VAE") && !f->vae)
        f->vae = told_keep(t, value, strlen(value));
    else if (!strcmp(key, "Denoising strength") && f->strength == 0)
        f->strength = strtod(value, NULL);
    else if (!strcmp(key, "Clip skip") && !f->clip_skip)
        f->clip_skip = strtoll(value, NULL, 10) - 1; /* theirs counts the layer that is used from the end */
    else if (!strcmp(key, "Lora hashes"))
        read_lora_hashes(t, f, value);
}

/* The last line of settings, or NULL: one with so many pairs, the first of which is Steps. */
static const char *settings_line(const char *text)
{
    for (const char *line = text + strlen(text); line > text;) {
        char key[KEY_BYTES], value[VALUE_BYTES];
        const char *end = line;
        while (line > text && line[-1] != '\n')
            line--;
        const char *at = line;
        int pairs = 0;
        while (at < end && next_pair(&at, key, value) && at <= end)
            pairs++;
        if (pairs >= LEAST_PAIRS && !strncmp(line + strspn(line, " "), "Steps:", 6))
            return line;
        line -= line > text;
    }
    return NULL;
}

bool told_parameters(struct told *t, struct gallery_facts *f, const char *text)
{
    static const char mark[] = "Negative prompt:";
    const char *settings = settings_line(text), *end = settings ? settings : text + strlen(text);
    if (!settings)
        return false;
    const char *negative = strstr(text, mark);
    while (negative && negative > text && negative[-1] != '\n')
        negative = strstr(negative + 1, mark);
    negative = negative && negative < end ? negative : NULL;
    if (!f->prompt)
        f->prompt = told_keep(t, text, (size_t)((negative ? negative : end) - text));
    if (!f->negative && negative)
        f->negative = told_keep(t, negative + strlen(mark), (size_t)(end - negative) - strlen(mark));
    char key[KEY_BYTES], value[VALUE_BYTES];
    for (const char *at = settings; next_pair(&at, key, value);)
        read_pair(t, f, key, value);
    if (f->prompt)
        read_lora_words(t, f, f->prompt);
    return true;
}
