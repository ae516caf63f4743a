/* IMAGE and MASK <-> files. */
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "flow/nodes/nodes.h"
#include "flow/nodes/place.h"
#include "flow/picture_record.h"

struct save_args {
    const struct datum *images;
    const char *prefix;
};
struct load_args {
    const char *image, *channel;
};

static const struct node_input save_inputs[] = {
    NODE_SOCKET("images", "IMAGE", struct save_args, images),
    { "filename_prefix", "STRING", offsetof(struct save_args, prefix), "ComfyUI",
      .help = "what the file's name begins with; it may have folders, and %year% %month% %day% %hour% %minute% %second% %width% %height%" },
    { 0 },
};
static const struct node_input show_inputs[] = {
    NODE_SOCKET("images", "IMAGE", struct save_args, images),
    { 0 },
};
static const struct node_input load_inputs[] = {
    { "image", "COMBO", offsetof(struct load_args, image), .folder = "input", .more = "{\"image_upload\": true}" },
    { 0 },
};
static const char *const channels[] = { "alpha", "red", "green", "blue", NULL };
static const struct node_input load_mask_inputs[] = {
    { "image", "COMBO", offsetof(struct load_args, image), .folder = "input", .more = "{\"image_upload\": true}" },
    { "channel", "COMBO", offsetof(struct load_args, channel), .choices = channels, .help = "alpha is turned round: what is transparent is white" },
    { 0 },
};
static const struct node_input load_output_inputs[] = {
    { "image", "COMBO", offsetof(struct load_args, image), .folder = "output", .flags = NODE_COMBO_OBJECT,
      .more = "{\"image_upload\": true, \"image_folder\": \"output\", \"remote\": {\"route\": \"/internal/files/output\", "
              "\"refresh_button\": true, \"control_after_refresh\": \"first\"}}" },
    { 0 },
};
static const struct node_output load_outputs[] = { NODE_OUT("IMAGE"), NODE_OUT("MASK"), { 0 } };

/* --- writing --- */

static bool save_all(struct node_call *call, const struct flow_image *image, struct place *place, const char *type, struct err *e)
{
    struct picture_record record;
    json_t *shown = json_array();
    bool good = (shown || err_nomem(e, "a list of files")) &&
                picture_record_init(&record, call_host(call)->no_metadata ? NULL : call_prompt(call), call_png_info(call), call_id(call),
                                    call_host(call), image->w, image->h, e);
    if (!good) {
        json_decref(shown);
        return false;
    }
    place->call = call;
    for (int64_t i = 0; good && i < image->n; i++) {
        char name[300], path[PATH_MAX_BYTES];
        struct image bytes = { 0 };
        good = stop_check(e) && image_to_bytes(image, i, &bytes, e) && place_take(place, i, ".png", name, path, e);
        if (good && !(good = image_save_png(path, &bytes, record.texts, record.count, e)))
            unlink(path);
        image_release(&bytes);
        place->counter++;
        if (good)
            json_array_append_new(shown, json_pack("{s:s, s:s, s:s}", "filename", name, "subfolder", place->subfolder, "type", type));
    }
    picture_record_release(&record);
    if (good)
        return node_show(call, "images", shown, e);
    json_decref(shown);
    return false;
}

static bool save_run(struct node_call *call, const void *args, struct err *e)
{
    const struct save_args *a = args;
    const struct flow_image *image = image_of(a->images);
    struct place *place = mem_zeroed(1, sizeof *place);
    bool good = (place || err_nomem(e, "a file's name")) &&
                place_init(place, call_host(call)->output, a->prefix, image->w, image->h, e) && save_all(call, image, place, "output", e);
    mem_free(place);
    return good;
}

static bool preview_run(struct node_call *call, const void *args, struct err *e)
{
    const struct save_args *a = args;
    const struct flow_image *image = image_of(a->images);
    struct place *place = mem_zeroed(1, sizeof *place);
    unsigned char random[5] = { 0 };
    char prefix[32];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memset(random, 0, sizeof random); /* the number behind it still makes it another name */
    snprintf(prefix, sizeof prefix, "ComfyUI_temp_%c%c%c%c%c", 'a' + random[0] % 26, 'a' + random[1] % 26, 'a' + random[2] % 26,
             'a' + random[3] % 26, 'a' + random[4] % 26);
    bool good = (place || err_nomem(e, "a file's name")) && place_init(place, call_host(call)->temp, prefix, image->w, image->h, e) &&
                save_all(call, image, place, "temp", e);
    mem_free(place);
    return good;
}

static bool send_run(struct node_call *call, const void *args, struct err *e)
{
    const struct save_args *a = args;
    const struct flow_image *image = image_of(a->images);
    bool good = true;
    for (int64_t i = 0; good && i < image->n; i++) {
        struct image bytes = { 0 };
        good = image_to_bytes(image, i, &bytes, e) && node_send_picture(call, &bytes, i, image->n, e);
        image_release(&bytes);
    }
    return good;
}

static bool send_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    *always = true; /* nobody could be sent what is only remembered */
    return true;
}

/* --- reading --- */

static const char *folder_of(const struct node *n)
{
    return n->inputs[0].folder;
}

static bool load_check(const struct node_check *check, const void *args, char why[400])
{
    const struct load_args *a = args;
    char path[PATH_MAX_BYTES];
    struct err e = { 0 };
    if (!check_has(check, "image"))
        return true;
    if (!a->image || !place_find(check->host, a->image, folder_of(check->node), path, &e)) {
        snprintf(why, 400, "Invalid image file: %.200s", a->image ? a->image : "");
        return false;
    }
    if (!path_exists(path) || path_is_folder(path)) {
        snprintf(why, 400, "Invalid image file: %.200s: there is no %.150s", a->image, path);
        return false;
    }
    return true;
}

static bool load_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const struct load_args *a = args;
    char path[PATH_MAX_BYTES];
    return a->image && place_find(check->host, a->image, folder_of(check->node), path, e) && digest_file(path, 0, token, NULL, NULL, e);
}

static bool read_picture(struct node_call *call, const struct load_args *a, struct image *out, struct err *e)
{
    char path[PATH_MAX_BYTES];
    return place_find(call_host(call), a->image, folder_of(call->n->node), path, e) && image_load(out, path, IMAGE_KEEP_ALPHA, 0, e);
}

/* One channel of a picture as a mask; turned: 1 minus it. */
static struct flow_mask *channel_mask(const struct image *p, int channel, bool turned, struct err *e)
{
    struct flow_mask *m = flow_mask_new(1, p->height, p->width, e);
    for (int64_t i = 0; m && i < m->h * m->w; i++) {
        float v = (float)p->pixels[i * p->channels + channel] / 255;
        m->at[i] = turned ? 1 - v : v;
    }
    return m;
}

static bool load_run(struct node_call *call, const void *args, struct err *e)
{
    enum { NO_MASK_SIDE = 64 };
    struct image p = { 0 };
    if (!read_picture(call, args, &p, e))
        return false;
    struct flow_image *image = flow_image_new(1, p.height, p.width, e);
    for (int64_t i = 0; image && i < image->h * image->w; i++)
        for (int k = 0; k < 3; k++)
            image->at[3 * i + k] = (float)p.pixels[i * p.channels + k] / 255;
    struct flow_mask *mask = p.channels == 4 ? channel_mask(&p, 3, true, e) : flow_mask_new(1, NO_MASK_SIDE, NO_MASK_SIDE, e);
    image_release(&p);
    bool good = node_give(call, 0, datum_of_object(&type_image, image, e), e);
    return node_give(call, 1, datum_of_object(&type_mask, mask, e), e) && good;
}

static bool load_mask_run(struct node_call *call, const void *args, struct err *e)
{
    enum { NO_MASK_SIDE = 64 };
    const struct load_args *a = args;
    struct image p = { 0 };
    if (!read_picture(call, a, &p, e))
        return false;
    int channel = *a->channel == 'a' ? 3 : *a->channel == 'r' ? 0 : *a->channel == 'g' ? 1 : 2;
    struct flow_mask *mask = channel < p.channels ? channel_mask(&p, channel, channel == 3, e) : flow_mask_new(1, NO_MASK_SIDE, NO_MASK_SIDE, e);
    image_release(&p);
    return node_give(call, 0, datum_of_object(&type_mask, mask, e), e);
}

const struct node nodes_image_files[] = {
    { "SaveImage", "Save Image", "Writes pictures into the output folder, and into them how they were made.", "image", save_inputs, NULL,
      .args_bytes = sizeof(struct save_args), .flags = NODE_OUTPUT | NODE_FILES | NODE_SEES_PROMPT | NODE_SEES_PNG_INFO, .run = save_run },
    { "PreviewImage", "Preview Image", "Shows pictures; they are not kept.", "image", show_inputs, NULL, .args_bytes = sizeof(struct save_args),
      .flags = NODE_OUTPUT | NODE_FILES | NODE_SEES_PROMPT | NODE_SEES_PNG_INFO, .run = preview_run },
    { "LoadImage", "Load Image", "A picture of the input folder, and what is transparent in it as a mask.", "image", load_inputs, load_outputs,
      .args_bytes = sizeof(struct load_args), .flags = NODE_FILES, .run = load_run, .changed = load_changed, .check = load_check,
      .checks = "image" },
    { "LoadImageMask", "Load Image (as Mask)", "A channel of a picture as a mask.", "mask", load_mask_inputs, mask_output,
      .args_bytes = sizeof(struct load_args), .flags = NODE_FILES, .run = load_mask_run, .changed = load_changed, .check = load_check,
      .checks = "image" },
    { "LoadImageOutput", "Load Image (from Outputs)", "A picture of the output folder.", "image", load_output_inputs, load_outputs,
      .args_bytes = sizeof(struct load_args), .flags = NODE_FILES | NODE_EXPERIMENTAL, .run = load_run, .changed = load_changed,
      .check = load_check, .checks = "image" },
    { "SaveImageWebsocket", NULL, "Sends pictures to the program that asked for them.", "api/image", show_inputs, NULL,
      .args_bytes = sizeof(struct save_args), .flags = NODE_OUTPUT, .run = send_run, .changed = send_changed },
    { 0 },
};
