/* Folders of pictures: read as they are, or looked through and cleaned. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "dataset/clean.h"
#include "dataset/reshape.h"
#include "flow/nodes/nodes.h"

struct set_args {
    const char *folder, *resize;
    const struct datum *clip;
    int64_t width, height;
};
struct clean_args {
    const char *folder;
    int64_t least_side, near_bits;
    double elongated, blur;
    bool captions, apply;
};

struct crop_args {
    const char *folder, *buckets, *part;
    int64_t size, height;
    bool trim, enlarge;
};

static const char *const resizes[] = { "None", "Stretch", "Crop", "Pad", NULL };
#define AT(member) offsetof(struct set_args, member)
#define FOLDER { "folder", "COMBO", AT(folder), .folder = "input/", .help = "a folder of the input folder" }
#define RESIZE                                                                                                                        \
    { "resize_method", "COMBO", AT(resize), .choices = resizes, .flags = NODE_OPTIONAL,                                               \
      .help = "what becomes of pictures of another size than the first" }
static const struct node_input set_inputs[] = { FOLDER, RESIZE, { 0 } };
static const struct node_input text_set_inputs[] = {
    FOLDER,
    NODE_SOCKET("clip", "CLIP", struct set_args, clip),
    RESIZE,
    { "width", "INT", AT(width), "-1", .min = -1, .max = 10000, .step = 1, .flags = NODE_OPTIONAL, .help = "pixels; -1: the first picture's" },
    { "height", "INT", AT(height), "-1", .min = -1, .max = 10000, .step = 1, .flags = NODE_OPTIONAL, .help = "pixels; -1: the first picture's" },
    { 0 },
};
static const struct node_input list_inputs[] = { FOLDER, { 0 } };
static const struct node_output text_set_outputs[] = { NODE_OUT("IMAGE"), NODE_OUT("CONDITIONING"), { 0 } };
static const struct node_output list_outputs[] = { { .type = "IMAGE", .name = "images", .list = true }, { 0 } };
static const struct node_output text_list_outputs[] = { { .type = "IMAGE", .name = "images", .list = true },
                                                        { .type = "STRING", .name = "texts", .list = true }, { 0 } };
static const struct node_input clean_inputs[] = {
    { "folder", "COMBO", offsetof(struct clean_args, folder), .folder = "input/", .help = "a data set in the input folder" },
    { "min_side", "INT", offsetof(struct clean_args, least_side), "256", .min = 1, .max = 16384, .help = "pixels; smaller pictures are left out" },
    { "elongated", "FLOAT", offsetof(struct clean_args, elongated), "4.0", .min = 1, .max = 100, .step = 0.1,
      .help = "longer pictures, in times of their shorter side, are left out" },
    { "blur", "FLOAT", offsetof(struct clean_args, blur), "0.6", .min = 0, .max = 1, .step = 0.01, .help = "more blurred pictures are left out" },
    { "near_duplicates", "INT", offsetof(struct clean_args, near_bits), "6", .min = 0, .max = 32, .help = "bits by which likes differ at most" },
    { "captions", "BOOLEAN", offsetof(struct clean_args, captions), .initial = "false", .help = "pictures without words are left out, too" },
    { "apply", "BOOLEAN", offsetof(struct clean_args, apply), .initial = "false", .help = "exclude them; else they are only told" },
    { 0 },
};
static const struct node_output clean_outputs[] = { { .type = "INT", .name = "faults" }, { .type = "STRING", .name = "report" }, { 0 } };

static const char *const bucket_lists[] = { "none", "kohya", "sdxl", NULL };
static const struct node_input crop_inputs[] = {
    { "folder", "COMBO", offsetof(struct crop_args, folder), .folder = "input/", .help = "a data set in the input folder" },
    { "size", "INT", offsetof(struct crop_args, size), "512", .min = 1, .max = 16384, .help = "pixels; with buckets the resolution" },
    { "height", "INT", offsetof(struct crop_args, height), "0", .min = 0, .max = 16384, .help = "pixels; 0: a square" },
    { "buckets", "COMBO", offsetof(struct crop_args, buckets), .choices = bucket_lists, .help = "many sizes, each picture gets that of its shape" },
    { "part", "COMBO", offsetof(struct crop_args, part), .choices = image_part_names,
      .help = "what is kept: the middle, where most is to be seen, what draws the eye, left or top, right or bottom" },
    { "trim", "BOOLEAN", offsetof(struct crop_args, trim), .initial = "false", .help = "plain frames are cut away first" },
    { "enlarge", "BOOLEAN", offsetof(struct crop_args, enlarge), .initial = "false", .help = "smaller pictures are made larger; else they stay as they are" },
    { 0 },
};
static const struct node_output crop_outputs[] = { { .type = "INT", .name = "made" }, { .type = "STRING", .name = "report" }, { 0 } };

/* --- pictures of a folder --- */

struct files {
    char (*paths)[PATH_MAX_BYTES];
    size_t count, cap;
};

static bool is_picture(const char *name)
{
    static const char *const ends[] = { ".png", ".jpg", ".jpeg", ".webp", NULL };
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && ends[i]; i++)
        if (!strcasecmp(dot, ends[i]))
            return true;
    return false;
}

/* The pictures of a folder, and those of its folders "N_name" N times, by name. */
static bool list_files(struct files *f, const char *folder, bool nested, struct err *e)
{
    char **names, path[PATH_MAX_BYTES];
    size_t count;
    enum { MOST = 100000 };
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        good = path_join(path, folder, names[i], e);
        bool inner = good && path_is_folder(path);
        char *end;
        long times = strtol(names[i], &end, 10);
        for (long k = 0; good && inner && nested && *end == '_' && k < times; k++)
            good = f->count <= MOST ? list_files(f, path, false, e)
                                    : err_set(e, ERR_LIMIT, "%s: more than %d pictures, repetitions counted", folder, MOST);
        if (!good || inner || !is_picture(names[i]))
            continue;
        char (*grown)[PATH_MAX_BYTES] = mem_grow(f->paths, &f->cap, f->count + 1, sizeof *grown);
        good = grown || err_nomem(e, "a list of pictures");
        if (grown) {
            f->paths = grown;
            strcpy(f->paths[f->count++], path);
        }
    }
    folder_names_free(names, count);
    return good;
}

static bool open_folder(struct files *f, const struct flow_host *host, const char *name, bool nested, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    *f = (struct files){ 0 };
    if (!name || !*name || *name == '.' || strchr(name, '/') || strchr(name, '\\'))
        return err_set(e, ERR_ARG, "%s is no folder of the input folder", name ? name : "");
    return path_join(folder, host->input, name, e) && list_files(f, folder, nested, e) &&
           (f->count || err_set(e, ERR_MISSING, "%s holds no pictures", folder));
}

/* One picture brought to a size: stretched, cut around its middle, or with black around it. */
static bool fit(struct image *image, int64_t w, int64_t h, const char *how, const char *path, struct err *e)
{
    struct image next = { 0 }, middle = { 0 };
    if (image->width == w && image->height == h)
        return true;
    if (!how || *how == 'N')
        return err_set(e, ERR_SHAPE, "%s is %dx%d and the first picture %lldx%lld: choose how it shall be resized", path, image->width, image->height,
                       (long long)w, (long long)h);
    double across = (double)w / image->width, down = (double)h / image->height;
    bool good;
    if (*how == 'S') {
        good = image_resize(&next, image, (int)w, (int)h, IMAGE_LANCZOS, e);
    } else if (*how == 'C') {
        double scale = fmax(across, down);
        int cw = (int)fmin(rint((double)w / scale), image->width), ch = (int)fmin(rint((double)h / scale), image->height);
        good = image_crop(&middle, image, (image->width - cw) / 2, (image->height - ch) / 2, cw, ch, e) &&
               image_resize(&next, &middle, (int)w, (int)h, IMAGE_LANCZOS, e);
    } else {
        double scale = fmin(across, down);
        int pw = (int)fmax(1, rint(image->width * scale)), ph = (int)fmax(1, rint(image->height * scale));
        good = image_resize(&middle, image, pw, ph, IMAGE_LANCZOS, e) && image_make(&next, (int)w, (int)h, 3, e);
        if (good)
            image_paste(&next, &middle, ((int)w - pw) / 2, ((int)h - ph) / 2);
    }
    image_release(&middle);
    if (!good)
        return false;
    image_release(image);
    *image = next;
    return true;
}

static void put_picture(struct flow_image *to, int64_t i, const struct image *from)
{
    size_t count = image_bytes(from);
    for (size_t k = 0; k < count; k++)
        to->at[(size_t)i * count + k] = (float)from->pixels[k] / 255;
}

static struct flow_image *read_set(struct node_call *call, const struct files *f, const struct set_args *a, struct err *e)
{
    struct flow_image *out = NULL;
    int64_t w = a->width, h = a->height;
    for (size_t i = 0; !e->code && i < f->count; i++) {
        struct image image = { 0 };
        if (!node_progress(call, (int64_t)i, (int64_t)f->count, NULL, e) || !image_load(&image, f->paths[i], IMAGE_FLATTEN, 0xFFFFFF, e))
            break;
        w = w > 0 ? w : image.width;
        h = h > 0 ? h : image.height;
        out = out ? out : flow_image_new((int64_t)f->count, h, w, e);
        if (out && fit(&image, w, h, a->resize, f->paths[i], e))
            put_picture(out, (int64_t)i, &image);
        image_release(&image);
    }
    if (!e->code)
        return out;
    flow_image_free(out);
    return NULL;
}

/* The words beside a picture, name.txt, without white space at the ends; "" if there is no such file. */
static char *words_of(const char *picture, struct err *e)
{
    char path[PATH_MAX_BYTES], *text = NULL;
    size_t bytes = 0;
    const char *dot = strrchr(picture, '.');
    snprintf(path, sizeof path, "%.*s.txt", (int)(dot - picture > PATH_MAX_BYTES - 5 ? PATH_MAX_BYTES - 5 : dot - picture), picture);
    if (!path_exists(path))
        return mem_string("");
    if (!file_read(path, PROMPT_MAX_BYTES, &text, &bytes, e))
        return NULL;
    while (bytes && strchr(" \t\r\n", text[bytes - 1]))
        text[--bytes] = 0;
    memmove(text, text + strspn(text, " \t\r\n"), strlen(text + strspn(text, " \t\r\n")) + 1);
    return text;
}

static bool set_run(struct node_call *call, const void *args, struct err *e)
{
    struct set_args a = *(const struct set_args *)args;
    struct files f;
    a.width = a.height = -1;
    bool good = open_folder(&f, call_host(call), a.folder, false, e);
    struct flow_image *image = good ? read_set(call, &f, &a, e) : NULL;
    mem_free(f.paths);
    return node_give(call, 0, datum_of_object(&type_image, image, e), e);
}

static bool text_set_run(struct node_call *call, const void *args, struct err *e)
{
    const struct set_args *a = args;
    const struct flow_model *m = model_of(a->clip);
    struct files f;
    bool good = open_folder(&f, call_host(call), a->folder, true, e);
    struct flow_image *image = good ? read_set(call, &f, a, e) : NULL;
    struct flow_conditioning *c = image ? flow_conditioning_new(f.count, e) : NULL;
    good = c != NULL;
    for (size_t i = 0; good && i < f.count; i++) {
        char *words = words_of(f.paths[i], e);
        struct stage_text t = { .text = words, .syntax = PROMPT_COMFY, .clip_skip = m->clip_skip, .loras = m->loras, .lora_count = m->lora_count };
        good = words && pipeline_text(engine_use(call_engine(call), m->weights), &t, call_progress(call), &c->at[i], e);
        mem_free(words);
    }
    mem_free(f.paths);
    if (!good) {
        flow_image_free(image);
        flow_conditioning_free(c);
        return false;
    }
    good = node_give(call, 0, datum_of_object(&type_image, image, e), e);
    return node_give(call, 1, datum_of_object(&type_conditioning, c, e), e) && good;
}

/* Each picture in its own size, one by one; texts too where the node has an output for them. */
static bool list_run(struct node_call *call, const void *args, struct err *e)
{
    const struct set_args *a = args;
    bool texts = call->result->count > 1;
    struct files f;
    bool good = open_folder(&f, call_host(call), a->folder, texts, e);
    for (size_t i = 0; good && i < f.count; i++) {
        struct image image = { 0 };
        good = node_progress(call, (int64_t)i, (int64_t)f.count, NULL, e) && image_load(&image, f.paths[i], IMAGE_FLATTEN, 0xFFFFFF, e);
        struct flow_image *one = good ? flow_image_new(1, image.height, image.width, e) : NULL;
        if (one)
            put_picture(one, 0, &image);
        image_release(&image);
        good = node_give(call, 0, datum_of_object(&type_image, one, e), e);
        char *words = good && texts ? words_of(f.paths[i], e) : NULL;
        good = good && (!texts || (words && node_give(call, 1, datum_of_text(words, e), e)));
        mem_free(words);
    }
    mem_free(f.paths);
    return good;
}

/* A folder is another one when a name, size or time in it is. */
static bool folder_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const char *name = *(const char *const *)args; /* the first member of both structs */
    struct files f;
    struct text all;
    char one[65];
    text_init(&all, 1 << 26);
    bool good = open_folder(&f, check->host, name, true, e);
    for (size_t i = 0; good && i < f.count; i++) {
        char *words = words_of(f.paths[i], e);
        good = words && file_token(f.paths[i], one, e);
        text_addf(&all, "%s %s %s\n", f.paths[i], good ? one : "", words ? words : "");
        mem_free(words);
    }
    mem_free(f.paths);
    good = good && text_ok(&all, e) && (digest_bytes(text_string(&all), all.length, token) || err_nomem(e, "a hash"));
    text_release(&all);
    return good;
}

/* --- cleaning --- */

static bool set_folder(struct node_call *call, const char *name, char out[PATH_MAX_BYTES], struct err *e)
{
    return (!strchr(name, '/') && *name != '.' && *name && path_join(out, call_host(call)->input, name, e)) ||
           err_set(e, ERR_ARG, "%s is no folder of the input folder", name);
}

/* For the page: {"file_name", "reason", "found"} and for doubles "of", the one that stays. */
static json_t *fault_of(const struct clean_fault *f, const struct manifest *m, const struct survey *s, struct err *e)
{
    struct text found;
    text_init(&found, 1 << 14);
    clean_fault_words(f, m, s, &found);
    json_t *one = text_ok(&found, e) ? json_pack("{s:s,s:s,s:s}", "file_name", manifest_picture(m, f->picture)->file_name, "reason",
                                                 clean_checks[f->check].reason, "found", text_string(&found))
                                     : NULL;
    if (one && f->twin >= 0)
        json_object_set_new(one, "of", json_string(manifest_picture(m, (size_t)f->twin)->file_name));
    text_release(&found);
    if (!one)
        err_nomem(e, "a report");
    return one;
}

static json_t *faults_of(const struct clean_report *r, const struct manifest *m, const struct survey *s, struct err *e)
{
    enum { SHOWN = 1000 };
    json_t *list = json_array();
    bool good = list || err_nomem(e, "a report");
    for (size_t i = 0; good && i < r->count && i < SHOWN; i++) {
        json_t *one = fault_of(&r->faults[i], m, s, e);
        good = one && (!json_array_append_new(list, one) || err_nomem(e, "a report"));
    }
    if (!good)
        json_decref(list);
    return good ? list : NULL;
}

static bool clean_run(struct node_call *call, const void *args, struct err *e)
{
    const struct clean_args *a = args;
    struct clean_options o = { .min_side_px = (int)a->least_side, .elongated = a->elongated, .flat = 4, .blur = a->blur, .border = 0.02, .border_edge = 0.9,
                               .near_bits = (int)a->near_bits, .near_colour = 10 };
    struct survey survey = { 0 };
    struct clean_report report = { 0 };
    struct text words;
    char folder[PATH_MAX_BYTES];
    static const enum clean_check checks[] = { CLEAN_BROKEN, CLEAN_SMALL, CLEAN_ELONGATED, CLEAN_FLAT, CLEAN_BLURRED, CLEAN_BORDERED, CLEAN_DUPLICATE, CLEAN_NEAR };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        o.check[checks[i]] = true;
    o.check[CLEAN_NO_CAPTION] = a->captions;
    if (!set_folder(call, a->folder, folder, e))
        return false;
    struct manifest *m = manifest_open(folder, a->apply ? MANIFEST_CHANGE : MANIFEST_READ, e);
    bool good = m && survey_make(&survey, m, false, true, 0, call_progress(call), e) && clean_find(&report, m, &survey, &o, e) &&
                (!a->apply || (clean_apply(m, &report, e) && manifest_save(m, e)));
    text_init(&words, 1 << 24);
    text_addf(&words, "%zu of %zu pictures %s left out", report.count, report.looked_at, a->apply ? "are now" : "would be");
    for (size_t i = 0; good && i < report.count; i++) {
        const struct clean_fault *f = &report.faults[i];
        text_addf(&words, "\n%s: %s, ", manifest_picture(m, f->picture)->file_name, clean_checks[f->check].reason);
        clean_fault_words(f, m, &survey, &words);
    }
    good = good && text_ok(&words, e) && node_give(call, 0, datum_of_int((int64_t)report.count, e), e) &&
           node_give(call, 1, datum_of_text(text_string(&words), e), e) && node_show(call, "text", json_pack("[s]", text_string(&words)), e) &&
           node_show(call, "faults", faults_of(&report, m, &survey, e), e);
    text_release(&words);
    clean_release(&report);
    survey_release(&survey);
    manifest_free(m);
    return good;
}

/* Looking is cheap where nothing has changed (the survey is kept), and the folder may be another. */
static bool clean_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    *always = true;
    return true;
}

/* --- cropping --- */

static bool crop_run(struct node_call *call, const void *args, struct err *e)
{
    const struct crop_args *a = args;
    struct buckets b;
    struct reshape_options o = { .kind = RESHAPE_CROP, .buckets = &b, .trim = a->trim, .enlarge = a->enlarge, .quality = 95, .into = "cropped" };
    struct reshape_result r = { 0 };
    char folder[PATH_MAX_BYTES];
    struct text words;
    while (image_part_names[o.part] && strcmp(image_part_names[o.part], a->part))
        o.part++; /* checked: one is found */
    if (!set_folder(call, a->folder, folder, e) || !buckets_named(&b, a->buckets, (int)a->size, (int)(a->height ? a->height : a->size), e))
        return false;
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, e);
    bool good = m && dataset_reshape(m, &o, &r, call_progress(call), e);
    text_init(&words, 1 << 20);
    text_addf(&words, "%ld pictures made, %ld were there, %ld are right already, %ld too small, %ld failed", r.made, r.there, r.same, r.small, r.failed);
    size_t i;
    json_t *one;
    json_array_foreach(r.reasons, i, one)
        text_addf(&words, "\n%s: %s", json_string_value(json_object_get(one, "file")), json_string_value(json_object_get(one, "reason")));
    good = good && text_ok(&words, e) && node_give(call, 0, datum_of_int(r.made, e), e) && node_give(call, 1, datum_of_text(text_string(&words), e), e) &&
           node_show(call, "text", json_pack("[s]", text_string(&words)), e);
    text_release(&words);
    reshape_release(&r);
    manifest_free(m);
    return good;
}

#define SET(name_, title_, help_, inputs_, outputs_, run_, flags_)                                                                    \
    { name_, title_, help_, "loaders", inputs_, outputs_, .args_bytes = sizeof(struct set_args), .flags = NODE_FILES | flags_, .run = run_,      \
      .changed = folder_changed }
const struct node nodes_dataset[] = {
    SET("LoadImageSetFromFolderNode", "Load Image Dataset from Folder", "All pictures of a folder as one batch.", set_inputs, image_output, set_run,
        NODE_EXPERIMENTAL),
    SET("LoadImageTextSetFromFolderNode", "Load Image and Text Dataset from Folder",
        "All pictures of a folder, and the words of the text files beside them. Pictures in folders called 5_name are taken five times.",
        text_set_inputs, text_set_outputs, text_set_run, NODE_EXPERIMENTAL),
    SET("LoadImageDataSetFromFolder", "Load Image Dataset from Folder (List)", "All pictures of a folder, one by one.", list_inputs, list_outputs,
        list_run, NODE_EXPERIMENTAL),
    SET("LoadImageTextDataSetFromFolder", "Load Image and Text Dataset from Folder (List)",
        "All pictures of a folder, one by one, and the words of the text files beside them.", list_inputs, text_list_outputs, list_run,
        NODE_EXPERIMENTAL),
    { "CleanDataset", "Clean Dataset", "Finds pictures that are better left out of a training: broken, small, blurred, doubles. Nothing is deleted.",
      "dataset", clean_inputs, clean_outputs, .args_bytes = sizeof(struct clean_args), .flags = NODE_OUTPUT | NODE_FILES, .run = clean_run,
      .changed = clean_changed },
    { "CropDataset", "Crop Dataset", "Scales pictures to cover a size, or the nearest of many, and cuts them to it: into new files. The originals stay.", "dataset",
      crop_inputs, crop_outputs, .args_bytes = sizeof(struct crop_args), .flags = NODE_OUTPUT | NODE_FILES, .run = crop_run, .changed = clean_changed },
    { 0 },
};
