/* The fuzz targets: each takes any bytes and must come back. A new target is a function here and a line in the table. */
#ifndef LIMN_TESTS_FUZZ_TARGETS_H
#define LIMN_TESTS_FUZZ_TARGETS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/toml.h"
#include "dataset/dataset_internal.h"
#include "dataset/import_internal.h"
#include "dataset/manifest.h"
#include "tokenizer/chatglm_tokenizer.h"
#include "dataset/survey.h"
#include "flow/flow.h"
#include "generate/prompt.h"
#include "image/picture_texts.h"
#include "jobs/told_internal.h"
#include "store/gallery_internal.h"
#include "model/text/inversion.h"
#include "model/lora/lora.h"
#include "model/family/single_file.h"
#include "model/places/places.h"
#include "model/denoiser/unet.h"
#include "model/text/clip.h"
#include "model/vae/vae.h"
#include "serve/guard.h"
#include "serve/multipart.h"
#include "serve/paths.h"
#include "serve/range.h"
#include "tokenizer/clip_internal.h"
#include "weights/weights.h"

/* A file that exists in memory only; its name is written to path[40]. Returns the descriptor. */
static int memory_file(const void *data, size_t bytes, char *path)
{
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return fd;
}

/* A file of weights of any format: what opens must be whole, so every byte of every tensor is read. */
static void target_weights(const char *data, size_t bytes)
{
    struct err e = { 0 };
    char path[40];
    int fd = memory_file(data, bytes, path);
    struct weights *w = weights_open(path, &e);
    if (!w && !e.text[0])
        abort();
    unsigned sum = 0;
    for (size_t i = 0; w && i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        if (weights_find(w, t->name) != t)
            abort();
        const unsigned char *p = t->data;
        for (size_t k = 0; k < weight_bytes(t); k++)
            sum += p[k];
        err_clear(&e);
        sum += weights_check_finite(t, &e);
        weights_forget(w, t);
    }
    __asm__ volatile("" : : "r"(sum)); /* so that the reads stay */
    weights_free(w);
    close(fd);
}

/* A config: every getter at keys that the configs of models have. */
static void target_json(const char *data, size_t bytes)
{
    struct err e = { 0 };
    json_t *j = json_parse(data, bytes, "config.json", &e);
    if (!j && !e.text[0])
        abort();
    static const char *const keys[] = { "block_out_channels", "attention_head_dim", "eps", "use_linear_projection", "act_fn" };
    for (size_t i = 0; j && i < sizeof keys / sizeof *keys; i++) {
        int64_t n = 5, list[4] = { 0 };
        size_t count = 4;
        double d = 0;
        bool b = false;
        const char *s = "";
        err_clear(&e);
        if (json_get_int(j, "config.json", keys[i], 1, 100, &n, &e) && (n < 1 || n > 100))
            abort();
        err_clear(&e);
        if (json_get_ints(j, "config.json", keys[i], 1, 4096, list, &count, &e) && count > 4)
            abort();
        err_clear(&e);
        if (json_get_double(j, "config.json", keys[i], 0, 1, &d, &e) && !(d >= 0 && d <= 1))
            abort();
        err_clear(&e);
        if (!json_get_bool(j, "config.json", keys[i], &b, &e) && !e.text[0])
            abort();
        err_clear(&e);
        if (json_get_string(j, "config.json", keys[i], &s, &e) && strlen(s) > bytes)
            abort();
    }
    json_decref(j);
}

/* The config of a model's part, as each of them reads it. What is read can be written, and is read back the same. */
static void target_config(const char *data, size_t bytes)
{
    struct err e = { 0 };
    char path[40];
    int fd = memory_file(data, bytes, path);
    struct unet_config unet, again;
    if (unet_config_read(&unet, path, &e)) {
        char copy[40];
        json_t *j = unet_config_json(&unet);
        char *text = json_dumps(j, 0);
        int copied = memory_file(text, strlen(text), copy);
        if (!unet_config_read(&again, copy, &e) || memcmp(&unet, &again, sizeof unet) != 0)
            abort();
        close(copied);
        free(text);
        json_decref(j);
    } else if (!e.text[0]) {
        abort();
    }
    struct vae_config vae;
    err_clear(&e);
    if (vae_config_read(&vae, path, &e) ? vae.normed > VAE_MAX_NORMED || vae.latent_channels < 1 : !e.text[0])
        abort();
    struct clip_config clip;
    err_clear(&e);
    if (clip_config_read(&clip, path, &e) ? clip.hidden_size % clip.heads != 0 : !e.text[0])
        abort();
    close(fd);
}

/* The files of a tokenizer and a text, parted by lines of "====": vocab.json, merges.txt, tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json, tokenizer.json, text. An empty part is a file that is not there. */
static void target_tokenizer(const char *data, size_t bytes)
{
    enum { PARTS = 7 };
    char *copy = mem_zeroed(bytes + 1, 1), *part[PARTS], *at = copy;
    memcpy(copy, data, bytes);
    static char none[1];
    for (int i = 0; i < PARTS; i++) {
        part[i] = at ? at : none;
        char *end = at ? strstr(at, "====\n") : NULL;
        if (end)
            *end = 0;
        at = end ? end + 5 : NULL;
    }
    struct clip_files f = { .folder = "folder", .merges = part[1] };
    json_t **files[PARTS] = { &f.vocabulary, NULL, &f.config, &f.special, &f.added, &f.tokenizer, NULL };
    for (int i = 0; i < PARTS; i++) {
        struct err e = { 0 };
        if (files[i] && part[i][0] && !(*files[i] = clip_json(part[i], strlen(part[i]), "file", &e)) && !e.text[0])
            abort();
    }
    struct err e = { 0 };
    struct clip_tokenizer *t =
        utf8_valid(part[1], strlen(part[1])) && (f.vocabulary || f.tokenizer) ? clip_tokenizer_build(&f, &e) : NULL;
    int32_t *all = NULL, ids[20];
    size_t count = 0;
    err_clear(&e);
    if (t && clip_tokenizer_encode_all(t, part[6], &all, &count, &e))
        for (size_t i = 0; i < count; i++)
            if (!clip_tokenizer_token(t, all[i]) || all[i] >= clip_tokenizer_size(t))
                abort();
    mem_free(all);
    if (t && clip_tokenizer_encode(t, part[6], true, ids, 20, &count, &e)) {
        char words[50];
        for (size_t i = 0; i < 20; i++)
            if (clip_tokenizer_token_text(t, ids[i], words, sizeof words) >= sizeof words)
                abort();
    }
    clip_tokenizer_free(t);
    for (int i = 0; i < PARTS; i++)
        if (files[i])
            json_decref(*files[i]);
    mem_free(copy);
}

/* A data set's list, as lines of JSON and as CSV: what is read must be found again, and be written so that it is read. */
static void target_manifest(const char *data, size_t bytes)
{
    for (int csv = 0; csv < 2; csv++) {
        struct err e = { 0 };
        struct manifest *m = manifest_parse(data, bytes, csv, &e);
        if (!m && !e.text[0])
            abort();
        for (size_t i = 0; m && i < manifest_count(m); i++) {
            err_clear(&e);
            if (manifest_find_file(m, manifest_picture(m, i)->file_name) != (long)i)
                abort();
            if (!manifest_change(m, i, json_pack("{s:s}", "excluded", "x"), "fuzz", NULL, &e) && !e.text[0])
                abort();
            json_t *object = manifest_object(m, i, &e);
            if (!json_is_object(object))
                abort();
            json_decref(object);
        }
        manifest_free(m);
    }
}

/* A zip file as a set of pictures: what its lists and folders say, and every entry's bytes. */
static void target_import(const char *data, size_t bytes)
{
    struct err e = { 0 };
    struct import_source s = { .zipped = true, .root = "set.zip" };
    struct import_items items;
    const struct import_options o = { 0 };
    if (!zip_init(&s.zip, (const unsigned char *)data, bytes, "set.zip", &e)) {
        if (!e.text[0])
            abort();
        return;
    }
    for (size_t i = 0; i < s.zip.count; i++) {
        char *out;
        size_t got;
        err_clear(&e);
        if (zip_unpack(&s.zip.entries[i], 1 << 20, &out, &got, &e)) {
            if (got > 1 << 20 || out[got])
                abort();
            mem_free(out);
        } else if (!e.text[0]) {
            abort();
        }
    }
    err_clear(&e);
    if (items_find(&items, &s, NULL, &o, &e)) {
        for (size_t i = 0; i < items.count; i++)
            if (!items.at[i].name || !items.at[i].target || items.at[i].repeats < 1)
                abort();
        items_release(&items);
    } else if (!e.text[0]) {
        abort();
    }
    zip_release(&s.zip);
}

/* A text, a line of "====", and a SentencePiece model. */
static void target_sentencepiece(const char *data, size_t bytes)
{
    const char *cut = memmem(data, bytes, "====\n", 5);
    size_t text_bytes = cut ? (size_t)(cut - data) : 0;
    char *text = mem_zeroed(text_bytes + 1, 1);
    memcpy(text, data, text_bytes);
    struct err e = { 0 };
    struct chatglm_tokenizer *t =
        cut ? chatglm_tokenizer_parse(cut + 5, bytes - text_bytes - 5, "tokenizer.model", &e) : NULL;
    if (cut && !t && !e.text[0])
        abort();
    int32_t ids[20], places[20];
    err_clear(&e);
    if (t && chatglm_tokenizer_encode(t, text, ids, 20, &e)) {
        for (size_t i = 0; i < 20; i++)
            if (!chatglm_tokenizer_token(t, ids[i]))
                abort();
        if (chatglm_tokenizer_places(t, ids, 20, places) > 18)
            abort();
    } else if (t && !e.text[0]) {
        abort();
    }
    chatglm_tokenizer_free(t);
    mem_free(text);
}

/* A prompt in every syntax: what is read must be whole strings and bounded numbers. */
static void target_prompt(const char *data, size_t bytes)
{
    char *text = mem_zeroed(bytes + 1, 1);
    memcpy(text, data, bytes);
    for (int syntax = 0; syntax < PROMPT_SYNTAX_COUNT; syntax++) {
        struct err e = { 0 };
        struct prompt p;
        bool good = prompt_parse(&p, (enum prompt_syntax)syntax, text, &e);
        if (!good && (!e.text[0] || p.pieces || p.loras || p.storage))
            abort();
        for (size_t i = 0; i < p.count; i++)
            if (strlen(p.pieces[i].text) + strlen(p.pieces[i].rest) > bytes || !utf8_valid(p.pieces[i].text, strlen(p.pieces[i].text)) ||
                !utf8_valid(p.pieces[i].rest, strlen(p.pieces[i].rest)) ||
                !(p.pieces[i].weight >= -PROMPT_MAX_WEIGHT && p.pieces[i].weight <= PROMPT_MAX_WEIGHT))
                abort();
        for (size_t i = 0; i < p.lora_count; i++)
            if (!*p.loras[i].name || !utf8_valid(p.loras[i].name, strlen(p.loras[i].name)))
                abort();
        prompt_release(&p);
    }
    mem_free(text);
}

/* The file of an embedding, for a width of 8. */
static void target_inversion(const char *data, size_t bytes)
{
    enum { WIDTH = 8 };
    struct err e = { 0 };
    struct inversion v;
    char path[40];
    int fd = memory_file(data, bytes, path);
    float sum = 0;
    if (!inversion_read(&v, path, WIDTH, "clip_l", &e) && (!e.text[0] || v.vectors))
        abort();
    for (int64_t i = 0; v.vectors && i < v.count * WIDTH; i++)
        sum += v.vectors[i];
    __asm__ volatile("" : : "x"(sum));
    inversion_release(&v);
    close(fd);
}

/* A LoRA for a model of a few modules: what opens must give numbers for everything it says it changes. */
static void target_lora(const char *data, size_t bytes)
{
    static struct lora_modules modules;
    static const struct { const char *name; struct shape shape; bool decay; } weights[] = {
        { "unet/down_blocks.0.resnets.0.conv1.weight", { 4, { 4, 6, 3, 3 } }, true },
        { "unet/down_blocks.0.resnets.0.conv1.bias", { 1, { 4 } }, false },
        { "unet/down_blocks.0.resnets.0.norm1.weight", { 1, { 6 } }, false },
        { "unet/down_blocks.0.resnets.0.norm1.bias", { 1, { 6 } }, false },
        { "unet/down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight", { 2, { 4, 4 } }, true },
        { "unet/down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight", { 2, { 4, 8 } }, true },
        { "text_encoder/text_model.encoder.layers.0.self_attn.q_proj.weight", { 2, { 8, 4 } }, true },
        { "text_encoder/text_model.encoder.layers.0.self_attn.q_proj.bias", { 1, { 8 } }, false },
    };
    enum { COUNT = sizeof weights / sizeof *weights, MOST_ELEMENTS = 4 * 6 * 9 };
    static float numbers[MOST_ELEMENTS], *room;
    struct err e = { 0 };
    if (!modules.count) {
        struct params params;
        params_init(&params);
        for (int i = 0; i < COUNT; i++) {
            struct param p = { .shape = weights[i].shape, .decay = weights[i].decay };
            if (!params_add(&params, weights[i].name, &p, &e))
                abort();
        }
        if (!lora_modules_add(&modules, "unet", &params, &e) || !lora_modules_add(&modules, "text_encoder", &params, &e))
            abort();
        params_release(&params);
    }
    char path[40];
    int fd = memory_file(data, bytes, path);
    struct lora *l = lora_open(path, &modules, NAN, &e);
    if (!l && !e.text[0])
        abort();
    static const char *const parts[] = { "unet", "text_encoder" };
    for (int i = 0; l && i < 2; i++) {
        struct lora_use use = { l, 0.5 };
        struct lora_mix *mix = lora_mix_new(&modules, parts[i], &use, 1, &e);
        const struct adapters *all = lora_mix_adapters(mix);
        for (size_t a = 0; all && a < all->count; a++) {
            struct weight own = { all->at[a].name, DTYPE_F32, { 0 }, numbers };
            for (size_t k = 0; k < modules.count; k++)
                if (!strcmp(modules.at[k].name, all->at[a].name))
                    own.shape = modules.at[k].shape;
            struct weight bias = { all->at[a].name, DTYPE_F32, { 1, { own.shape.dim[0] } }, numbers };
            size_t rank = (size_t)all->at[a].rank + 1;
            room = mem_aligned(rank * MOST_ELEMENTS * sizeof *room);
            const bool has[] = { false, all->at[a].rank, all->at[a].rank, all->at[a].gain, all->at[a].weight, all->at[a].bias };
            for (int role = ADAPTER_DOWN; room && role <= ADAPTER_BIAS; role++)
                if (has[role] && !all->fill(all->self, a, (enum adapter_role)role, role == ADAPTER_BIAS ? &bias : &own, room, &e) &&
                    !e.text[0])
                    abort();
            mem_free(room);
        }
        lora_mix_free(mix);
    }
    lora_free(l);
    close(fd);
}

/* Settings: what can be read can be written as JSON. */
static void target_toml(const char *data, size_t bytes)
{
    struct err e = { 0 };
    json_t *j = toml_parse(data, bytes, "fuzz", &e);
    if (!j && !e.text[0])
        abort();
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (j && !text)
        abort();
    free(text);
    json_decref(j);
}

/* A list of merges. */
static void target_vocabulary(const char *data, size_t bytes)
{
    struct err e = { 0 };
    json_t *config = json_pack("{s:s, s:s, s:s, s:s}", "bos_token", CLIP_START, "eos_token", CLIP_END, "unk_token", CLIP_END,
                               "pad_token", "!");
    struct clip_tokenizer *t = clip_tokenizer_of_list(data, bytes, config, "list", &e);
    if (!t && !e.text[0])
        abort();
    int32_t ids[20];
    size_t count;
    if (t && clip_tokenizer_encode(t, "a red apple", true, ids, 20, &count, &e))
        for (size_t i = 0; i < 20; i++)
            if (!clip_tokenizer_token(t, ids[i]))
                abort();
    clip_tokenizer_free(t);
    json_decref(config);
}

/* A file of weights as a model in one file: what it is, its configs, and every part's view. */
static void target_single(const char *data, size_t bytes)
{
    struct err e = { 0 };
    char path[40];
    int fd = memory_file(data, bytes, path);
    struct single_file *f = single_file_open(path, &e);
    if (!f && !e.text[0])
        abort();
    static const char *const parts[] = { "", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler", "tokenizer" };
    for (size_t i = 0; f && i < sizeof parts / sizeof *parts; i++) {
        err_clear(&e);
        json_t *j = single_file_json(f, parts[i], PREDICTS_AUTO, &e);
        if (!j && !e.text[0])
            abort();
        json_decref(j);
    }
    for (int part = 0; f && part < SINGLE_PARTS; part++) {
        err_clear(&e);
        struct weights *view = single_file_weights(f, (enum single_part)part, &e);
        if (!view && !e.text[0])
            abort();
        unsigned sum = 0;
        for (size_t i = 0; view && i < weights_count(view); i++) {
            const struct weight *t = weights_at(view, i);
            const unsigned char *p = t->data;
            for (size_t k = 0; k < weight_bytes(t); k++)
                sum += p[k];
        }
        __asm__ volatile("" : : "r"(sum));
        weights_free(view);
    }
    single_file_free(f);
    close(fd);
}

/* A file of model paths: what it names is bounded and has a kind. */
static void target_extra_paths(const char *data, size_t bytes)
{
    struct err e = { 0 };
    struct model_places places = { 0 };
    if (!model_places_add_yaml(&places, data, bytes, "folder/extra_model_paths.yaml", &e) && !e.text[0])
        abort();
    if (places.count > PLACES_MOST)
        abort();
    for (size_t i = 0; i < places.count; i++)
        if (places.items[i].kind >= MODELS_KINDS || !places.items[i].path[0] || strlen(places.items[i].path) >= 4096)
            abort();
    model_places_release(&places);
}

/* A line of what a survey keeps: what is read is bounded, and is written and read back the same. */
static void target_survey(const char *data, size_t bytes)
{
    struct survey_picture p, again;
    char *name, *name_again;
    int64_t time_ns, time_again;
    if (!survey_line_read(&p, data, bytes, &name, &time_ns))
        return;
    char *line = survey_line(&p, name, time_ns);
    if (!line || !survey_line_read(&again, line, strlen(line), &name_again, &time_again))
        abort();
    if (strcmp(name, name_again) || time_ns != time_again || memcmp(p.colours, again.colours, sizeof p.colours) ||
        p.phash != again.phash || p.width != again.width || p.state != again.state || p.measures.blur != again.measures.blur)
        abort();
    free(line);
    mem_free(p.why);
    mem_free(again.why);
    mem_free(name);
    mem_free(name_again);
}

/* A flow in either form: what is good after the check is written and read back as the same. */
static void target_flow(const char *data, size_t bytes)
{
    struct err e = { 0 };
    struct model_places none = { 0 };
    struct flow_host host = { .models = &none, .output = "/nowhere", .input = "/nowhere", .temp = "/nowhere", .version = "0", .test_nodes = true };
    struct flow_checked checked;
    json_t *j = flow_json_parse(data, bytes, "flow.json", &e);
    if (!j && !e.text[0])
        abort();
    err_clear(&e);
    json_t *flow = json_is_array(json_object_get(j, "nodes")) ? flow_from_workflow(j, &host, &e) : json_incref(j);
    err_clear(&e);
    if (flow && flow_check(&checked, flow, json_object_get(flow, "targets"), &host, &e)) {
        struct text text, lines;
        text_init(&text, 1 << 26);
        text_init(&lines, 1 << 22);
        flow_json_text(&text, flow);
        flow_checked_text(&checked, &lines);
        json_t *again = text_ok(&text, &e) ? flow_json_parse(text_string(&text), text.length, "again", &e) : NULL;
        if ((!checked.error && !json_array_size(checked.outputs)) || (again && !json_equal(again, flow)))
            abort();
        json_decref(again);
        text_release(&text);
        text_release(&lines);
        flow_checked_release(&checked);
    }
    err_clear(&e);
    if (flow && flow_set(flow, "KSampler.seed=18446744073709551615", &host, &e) != !e.code)
        abort();
    json_decref(flow);
    json_decref(j);
}

/* The body of a form, whose first line is its Content-Type: what is found lies inside of the body. */
static void target_multipart(const char *data, size_t bytes)
{
    const char *end = memchr(data, '\n', bytes);
    size_t line = end ? (size_t)(end - data) : bytes;
    char *type = mem_zeroed(line + 1, 1), boundary[71], text[64];
    struct multipart m;
    struct err e = { 0 };
    memcpy(type, data, line);
    if (end && multipart_boundary(type, boundary)) {
        const char *body = end + 1;
        size_t body_bytes = bytes - line - 1;
        if (!multipart_parse(&m, body, body_bytes, boundary, &e) && !e.text[0])
            abort();
        for (size_t i = 0; i < m.count; i++)
            if (m.parts[i].data < body || m.parts[i].data + m.parts[i].bytes > body + body_bytes || !*m.parts[i].name)
                abort();
        err_clear(&e);
        if (!multipart_text(&m, "type", text, sizeof text, &e) && !e.text[0])
            abort();
        multipart_release(&m);
    }
    mem_free(type);
}

/* Headers of a request: a range of a file of 1000 bytes, a date, a list of tags, a host. */
static void target_range(const char *data, size_t bytes)
{
    char *text = mem_zeroed(bytes + 1, 1), date[HTTP_DATE_BYTES];
    int64_t first = -1, last = -1;
    memcpy(text, data, bytes);
    if (range_parse(text, 1000, &first, &last) == RANGE_PART && !(0 <= first && first <= last && last < 1000))
        abort();
    time_t when = http_date_parse(text);
    if (when >= 0) {
        http_date(when, date);
        if (http_date_parse(date) != when)
            abort();
    }
    (void)tag_listed(text, "\"1-2-3\"");
    (void)gzip_accepted(text);
    (void)guard_is_loopback(text);
    mem_free(text);
}

/* A path and a query: what is decoded is text, and no name that passes leaves its folder. */
static void target_path(const char *data, size_t bytes)
{
    char *text = mem_zeroed(bytes + 1, 1), out[256], path[PATH_MAX_BYTES];
    struct err e = { 0 };
    bool found;
    memcpy(text, data, bytes);
    if (percent_decode(text, strlen(text), true, out, sizeof out, &e)) {
        if (strlen(out) > strlen(text) || !utf8_valid(out, strlen(out)))
            abort();
        if (path_below(path, "/nonexistent/root", out, &e) && (strncmp(path, "/nonexistent/root", 17) || strstr(path, "/../")))
            abort();
    }
    err_clear(&e);
    if (!query_value(text, "type", out, sizeof out, &found, &e) && !e.text[0])
        abort();
    mem_free(text);
}

/* JSON that is kept as text: what is taken for JSON is JSON to jansson, too (but for very deep or large numbers), with and without
 * members left out. */
static void target_json_text(const char *data, size_t bytes)
{
    static const char *const names[] = { "a", "secret" };
    char *text = mem_zeroed(bytes + 1, 1);
    memcpy(text, data, bytes);
    struct err e = { 0 };
    struct text out;
    bool good = json_text_check(text, "text", &e);
    json_t *tree = json_text_tree(text, "text", &(struct err){ 0 }), *plain = json_loads(text, JSON_DECODE_ANY, NULL);
    if (good != (e.code == ERR_NONE) || (tree && !good))
        abort();
    if (plain && !good && e.code != ERR_LIMIT)
        abort();
    text_init(&out, 2 * bytes + 100);
    if (good) {
        json_text_without(&out, text, names, 2);
        if (!json_text_check(text_string(&out), "text", &e) || (plain && json_is_object(plain) && strstr(text_string(&out), "\"secret\":") == text_string(&out) + 1))
            abort();
        text_clear(&out);
    }
    if (utf8_valid(text, strlen(text))) {
        json_text_string(&out, text);
        if (text_ok(&out, &e) && !json_text_check(text_string(&out), "string", &e))
            abort();
    }
    text_release(&out);
    json_decref(tree);
    json_decref(plain);
    mem_free(text);
}

/* What a picture's file tells, as either text: every fact is a whole string and every list within its bounds. */
static void target_told(const char *data, size_t bytes)
{
    char *text = mem_zeroed(bytes + 1, 1);
    memcpy(text, data, bytes);
    for (int turn = 0; turn < 2; turn++) {
        struct told told = { 0 };
        struct gallery_facts f = { 0 };
        bool good = turn ? told_graph(&told, &f, text) : told_parameters(&told, &f, text);
        const char *const texts[] = { f.prompt, f.negative, f.model, f.model_hash, f.vae, f.sampler, f.schedule };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (texts[i] && (!good || !utf8_valid(texts[i], strlen(texts[i]))))
                abort();
        if (f.lora_count > GALLERY_MOST_LORAS)
            abort();
        for (size_t i = 0; i < f.lora_count; i++)
            if (!utf8_valid(f.loras[i].name, strlen(f.loras[i].name)))
                abort();
        told_release(&told);
    }
    mem_free(text);
}

/* What people type to search: terms within bounds, in small letters. */
static void target_search(const char *data, size_t bytes)
{
    char *text = mem_zeroed(bytes + 1, 1);
    memcpy(text, data, bytes);
    struct term terms[GALLERY_MOST_TERMS];
    size_t count;
    struct err e = { 0 };
    if (utf8_valid(text, strlen(text)) && !terms_read(terms, &count, text, &e) && !e.text[0])
        abort();
    if (utf8_valid(text, strlen(text)) && e.code == ERR_NONE) {
        for (size_t i = 0; i < count; i++)
            if (!terms[i].text || !*terms[i].text || !utf8_valid(terms[i].text, strlen(terms[i].text)))
                abort();
        terms_release(terms, count);
    }
    mem_free(text);
}

/* What any picture's file tells of how it was made. */
static void target_picture_texts(const char *data, size_t bytes)
{
    struct picture_texts t;
    struct err e = { 0 };
    char *exact = mem_zeroed(bytes + !bytes, 1); /* so that a read behind the end is seen */
    memcpy(exact, data, bytes);
    if (!picture_texts_read(&t, exact, bytes, &e))
        abort();
    const char *const texts[] = { t.parameters, t.prompt, t.workflow };
    for (int i = 0; i < 3; i++)
        if (texts[i] && !utf8_valid(texts[i], strlen(texts[i])))
            abort();
    picture_texts_release(&t);
    mem_free(exact);
}

static const struct fuzz_target {
    const char *name; /* its seeds are corpus/<name>/ */
    void (*run)(const char *data, size_t bytes);
} fuzz_targets[] = {
    { "safetensors", target_weights },
    { "torch", target_weights },
    { "gguf", target_weights },
    { "json", target_json },
    { "config", target_config },
    { "tokenizer", target_tokenizer },
    { "sentencepiece", target_sentencepiece },
    { "prompt", target_prompt },
    { "inversion", target_inversion },
    { "lora", target_lora },
    { "toml", target_toml },
    { "vocabulary", target_vocabulary },
    { "single", target_single },
    { "extra_paths", target_extra_paths },
    { "multipart", target_multipart },
    { "range", target_range },
    { "path", target_path },
    { "json_text", target_json_text },
    { "told", target_told },
    { "picture_texts", target_picture_texts },
    { "search", target_search },
    { "manifest", target_manifest },
    { "survey", target_survey },
    { "import", target_import },
    { "flow", target_flow },
};

#endif
