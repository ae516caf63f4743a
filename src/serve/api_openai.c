/* /v1/images/...: pictures as OpenAI's API gives them. What it does not know, seed, steps, guidance and negative_prompt, may be said too. */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "image/image.h"
#include "serve/order.h"
#include "serve/multipart.h"
#include "serve/server_internal.h"

enum { WORDS_BYTES = 32001, MOST_SIDE = 4096 };

/* "512x768" or "auto". */
static bool read_size(const char *text, struct order *d, struct err *e)
{
    long long width, height;
    int end = 0;
    if (!text || !*text || !strcmp(text, "auto"))
        return true;
    if (sscanf(text, "%4lldx%4lld%n", &width, &height, &end) != 2 || text[end] || width < 64 || height < 64 || width > MOST_SIDE || height > MOST_SIDE)
        return err_set(e, ERR_ARG, "size is \"%.40s\", want two numbers from 64 to %d as \"512x512\"", text, MOST_SIDE);
    d->width = width;
    d->height = height;
    return true;
}

/* A picture's file in the format that was asked for, as base64; g_free it. NULL with e set. */
static char *as_base64(const char *path, const char *format, int64_t quality, struct err *e)
{
    struct image image;
    uint8_t *data = NULL;
    char *plain = NULL, *text = NULL;
    size_t bytes = 0;
    bool other = format && (!strcmp(format, "jpeg") || !strcmp(format, "webp"));
    if (!other) {
        if (!file_read(path, IMAGE_FILE_MAX_BYTES, &plain, &bytes, e))
            return NULL;
        text = g_base64_encode((const guchar *)plain, bytes);
        mem_free(plain);
        return text;
    }
    if (!image_load(&image, path, IMAGE_KEEP_ALPHA, 0, e))
        return NULL;
    if (image_encode_for_web(&image, !strcmp(format, "jpeg") ? IMAGE_JPEG : IMAGE_WEBP, (int)(quality < 1 ? 1 : quality > 100 ? 100 : quality), &data, &bytes, e))
        text = g_base64_encode(data, bytes);
    image_release(&image);
    mem_free(data);
    return text;
}

static json_t *as_address(struct exchange *x, const json_t *file)
{
    const char *host = exchange_header(x, "Host"), *name = json_string_value(json_object_get(file, "filename"));
    const char *subfolder = json_string_value(json_object_get(file, "subfolder"));
    char *a = g_uri_escape_string(name, NULL, FALSE), *b = g_uri_escape_string(subfolder ? subfolder : "", NULL, FALSE);
    char *address = g_strdup_printf("%s://%s/view?filename=%s&subfolder=%s&type=output", x->server->o->certificate ? "https" : "http",
                                    host ? host : "localhost", a, b);
    json_t *j = json_pack("{s:s}", "url", address);
    g_free(a);
    g_free(b);
    g_free(address);
    return j;
}

static bool draw(struct exchange *x, const struct order *d, const char *form, const char *format, int64_t quality, struct err *e)
{
    struct drawn drawn;
    if (!order_make(x, d, &drawn, e))
        return false;
    json_t *data = json_array();
    bool good = data != NULL, address = form && !strcmp(form, "url");
    for (size_t i = 0; good && i < drawn.count; i++) {
        char *text = address ? NULL : as_base64(drawn.paths[i], format, quality, e);
        json_t *one = address ? as_address(x, json_array_get(drawn.files, i)) : text ? json_pack("{s:s}", "b64_json", text) : NULL;
        if (one)
            json_object_set_new(one, "seed", json_integer((json_int_t)(d->seed + i)));
        good = one && !json_array_append_new(data, one);
        g_free(text);
    }
    drawn_release(&drawn);
    if (!good) {
        json_decref(data);
        return e->code ? false : err_nomem(e, "an answer");
    }
    return answer_json(x, 200, json_pack("{s:I,s:o,s:s}", "created", (json_int_t)time(NULL), "data", data, "output_format",
                                         address || !format ? "png" : format), e);
}

/* A whole number of the body in its range; missing or null leaves it. */
static bool number(const json_t *body, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    const json_t *v = json_object_get(body, name);
    if (!json_is_integer(v))
        return true;
    if (json_integer_value(v) < min || json_integer_value(v) > max)
        return err_set(e, ERR_ARG, "%s is %lld, want %lld to %lld", name, (long long)json_integer_value(v), (long long)min, (long long)max);
    *out = json_integer_value(v);
    return true;
}

bool post_images_generations(struct exchange *x, struct err *e)
{
    const json_t *b = x->json;
    int64_t seed = -1, quality = 90;
    struct order d = { .words = json_string_value(json_object_get(b, "prompt")), .model = json_string_value(json_object_get(b, "model")),
                         .negative = json_string_value(json_object_get(b, "negative_prompt")), .count = 1, .cfg = json_number_value(json_object_get(b, "guidance")) };
    if (d.model && (!strncmp(d.model, "dall-e", 6) || !strncmp(d.model, "gpt-image", 9)))
        d.model = NULL; /* what such programs say when nothing was chosen */
    if (strlen(d.words) >= WORDS_BYTES)
        return err_set(e, ERR_ARG, "the prompt has more than %d bytes", WORDS_BYTES - 1);
    if (!number(b, "n", 1, ORDER_MOST, &d.count, e) || !number(b, "steps", 1, 1000, &d.steps, e) || !number(b, "seed", 0, INT64_MAX - ORDER_MOST, &seed, e) ||
        !number(b, "output_compression", 0, 100, &quality, e) || !read_size(json_string_value(json_object_get(b, "size")), &d, e))
        return false;
    d.seed = seed >= 0 ? (uint64_t)seed : order_seed();
    return draw(x, &d, json_string_value(json_object_get(b, "response_format")), json_string_value(json_object_get(b, "output_format")), quality, e);
}

/* A number in a form's field. */
static bool form_number(const struct multipart *m, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char text[32], *end;
    if (!multipart_text(m, name, text, sizeof text, e) || !*text)
        return !e->code;
    long long n = strtoll(text, &end, 10);
    if (*end || n < min || n > max)
        return err_set(e, ERR_ARG, "%s is \"%s\", want %lld to %lld", name, text, (long long)min, (long long)max);
    *out = n;
    return true;
}

static bool edit(struct exchange *x, const struct multipart *m, char *words, struct err *e)
{
    const struct part *image = multipart_find(m, "image"), *mask = multipart_find(m, "mask");
    char model[ORDER_NAME_BYTES], size[32], form[32], format[16], strength[32];
    struct order d = { .words = words, .count = 1, .strength = 0.8, .mask_alpha = true };
    int64_t seed = -1, quality = 90;
    if (!image)
        image = multipart_find(m, "image[]");
    if (!image || !*image->filename)
        return err_set(e, ERR_ARG, "the form has no file called image");
    if (!multipart_text(m, "prompt", words, WORDS_BYTES, e) || !multipart_text(m, "model", model, sizeof model, e) || !multipart_text(m, "size", size, sizeof size, e) ||
        !multipart_text(m, "response_format", form, sizeof form, e) || !multipart_text(m, "output_format", format, sizeof format, e) ||
        !multipart_text(m, "strength", strength, sizeof strength, e) || !form_number(m, "n", 1, ORDER_MOST, &d.count, e) ||
        !form_number(m, "steps", 1, 1000, &d.steps, e) || !form_number(m, "seed", 0, INT64_MAX - ORDER_MOST, &seed, e) ||
        !form_number(m, "output_compression", 0, 100, &quality, e) || !read_size(size, &d, e))
        return false;
    if (!*words)
        return err_set(e, ERR_ARG, "the form has no prompt");
    if (*form && strcmp(form, "url") && strcmp(form, "b64_json"))
        return err_set(e, ERR_ARG, "response_format is \"%s\", want url or b64_json", form);
    if (*strength) {
        char *end;
        d.strength = strtod(strength, &end);
        if (*end || !(d.strength > 0 && d.strength <= 1))
            return err_set(e, ERR_ARG, "strength is \"%s\", want a number above 0, at most 1", strength);
    }
    if (!order_put(x, image->data, image->bytes, d.picture, e) || (mask && mask->bytes && !order_put(x, mask->data, mask->bytes, d.mask, e)))
        return false;
    if (strncmp(model, "dall-e", 6) && strncmp(model, "gpt-image", 9))
        d.model = model;
    if (*d.mask && !*strength)
        d.strength = 1; /* inside of the mask nothing of the picture is wanted */
    d.seed = seed >= 0 ? (uint64_t)seed : order_seed();
    return draw(x, &d, form, *format ? format : NULL, quality, e);
}

bool post_images_edits(struct exchange *x, struct err *e)
{
    struct multipart m = { 0 };
    char boundary[71];
    if (!multipart_boundary(exchange_header(x, "Content-Type"), boundary))
        return err_set(e, ERR_ARG, "want a form with a file: Content-Type: multipart/form-data with a boundary");
    char *words = mem_zeroed(WORDS_BYTES, 1);
    bool good = words || err_nomem(e, "a prompt");
    good = good && exchange_read_body(x, x->server->o->max_upload_bytes, e) && multipart_parse(&m, x->body ? x->body : "", x->body_bytes, boundary, e) &&
           edit(x, &m, words, e);
    multipart_release(&m);
    mem_free(words);
    return good;
}

bool get_v1_models(struct exchange *x, struct err *e)
{
    json_t *list = json_array(), *names = server_checkpoints(x, e), *name;
    size_t i;
    if (!names) {
        json_decref(list);
        return false;
    }
    json_array_foreach(names, i, name)
        json_array_append_new(list, json_pack("{s:O,s:s,s:i,s:s}", "id", name, "object", "model", "created", 0, "owned_by", "limn"));
    json_decref(names);
    return answer_json(x, 200, json_pack("{s:s,s:o}", "object", "list", "data", list), e);
}
