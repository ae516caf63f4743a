/* Pictures in and out: /view, /upload/image, /upload/mask, lists of what lies in the folders. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "image/image.h"
#include "serve/json_io.h"
#include "serve/multipart.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

enum { NAME_BYTES = 1024, MOST_COPIES = 100000 };

bool exchange_folder(const struct exchange *x, const char *type, char out[PATH_MAX_BYTES], struct err *e)
{
    const struct serve_options *o = x->server->o;
    const char *folder = !type || !*type || !strcmp(type, "output") ? o->output
                         : !strcmp(type, "input")                   ? o->input
                         : !strcmp(type, "temp")                    ? o->temp
                                                                    : NULL;
    if (!folder)
        return err_set(e, ERR_ARG, "type is \"%.40s\", want input, output or temp", type);
    return user_place(x->server, x->user, folder, out, e);
}

/* "name.png [input]" -> "name.png" and "input". */
static void split_annotation(char *name, char *type, size_t cap)
{
    static const char *const ends[] = { " [input]", " [output]", " [temp]" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i]);
        if (n > m && !strcmp(name + n - m, ends[i])) {
            name[n - m] = 0;
            snprintf(type, cap, "%.*s", (int)(m - 3), ends[i] + 2);
        }
    }
}

/* The file that a filename, a type and a subfolder mean, into out. Answers itself where it is refused: *answered. */
static bool find_file(struct exchange *x, char *name, const char *type, const char *subfolder, char out[PATH_MAX_BYTES], bool *answered,
                      struct err *e)
{
    char root[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], annotated[16] = "";
    *answered = false;
    split_annotation(name, annotated, sizeof annotated);
    if (*name == '/' || strstr(name, "..") || !*name)
        return err_set(e, ERR_ARG, "filename \"%.200s\" is no name of a file", name);
    if (!exchange_folder(x, *annotated ? annotated : type, root, e))
        return false;
    struct err why = { 0 };
    if (!path_below(folder, root, subfolder, &why)) {
        *answered = true;
        return answer_error(x, 403, "not_allowed", "%s", why.text);
    }
    return path_below(out, root, subfolder, e) && path_below(out, folder, path_name(name), e);
}

/* --- view --- */

/* Sends a picture in another form than its file's. */
static bool view_changed(struct exchange *x, const char *path, const char *name, const char *preview, const char *channel, struct err *e)
{
    struct image image;
    uint8_t *data = NULL;
    size_t bytes = 0;
    char disposition[NAME_BYTES + 20];
    const char *type = "image/png";
    bool good;
    if (!path_exists(path) || path_is_folder(path))
        return err_set(e, ERR_MISSING, "there is no file %.200s", name);
    snprintf(disposition, sizeof disposition, "filename=\"%s\"", name);
    exchange_add_header(x, "Content-Disposition", disposition);
    exchange_add_header(x, "Cache-Control", "no-cache");
    if (preview) {
        const char *semicolon = strrchr(preview, ';');
        int quality = semicolon && semicolon[1] && !semicolon[1 + strspn(semicolon + 1, "0123456789")] ? atoi(semicolon + 1) : 90;
        bool jpeg = !strncmp(preview, "jpeg", 4) && (!preview[4] || preview[4] == ';') && !strchr(channel, 'a');
        bool flat = jpeg || !strcmp(channel, "rgb");
        quality = quality < 1 ? 1 : quality > 100 ? 100 : quality;
        type = jpeg ? "image/jpeg" : "image/webp";
        good = image_load(&image, path, flat ? IMAGE_FLATTEN : IMAGE_KEEP_ALPHA, 0, e) &&
               image_encode_for_web(&image, jpeg ? IMAGE_JPEG : IMAGE_WEBP, quality, &data, &bytes, e);
    } else {
        bool alpha = !strcmp(channel, "a");
        good = image_load(&image, path, IMAGE_WITH_ALPHA, 0, e);
        struct image rgb = { 0 };
        if (good && !alpha) { /* without alpha, not laid over anything */
            good = image_make(&rgb, image.width, image.height, 3, e);
            for (size_t i = 0; good && i < (size_t)image.width * (size_t)image.height; i++)
                memcpy(rgb.pixels + 3 * i, image.pixels + 4 * i, 3);
        }
        for (size_t i = 0; good && alpha && i < (size_t)image.width * (size_t)image.height; i++)
            memset(image.pixels + 4 * i, 0, 3);
        good = good && image_encode_png(alpha ? &image : &rgb, NULL, 0, &data, &bytes, e);
        image_release(&rgb);
    }
    image_release(&image);
    if (good)
        answer_bytes(x, 200, type, data, bytes);
    mem_free(data);
    return good;
}

bool answer_small(struct exchange *x, const char *path, int64_t small, const char *cache, struct err *e)
{
    struct image image = { 0 }, less = { 0 };
    uint8_t *data = NULL;
    size_t bytes = 0;
    if (!path_exists(path) || path_is_folder(path))
        return err_set(e, ERR_MISSING, "there is no file %.200s", path_name(path));
    bool good = image_load(&image, path, IMAGE_KEEP_ALPHA, 0, e);
    int longer = image.width > image.height ? image.width : image.height;
    bool shrink = good && longer > small;
    int width = shrink ? (int)(image.width * small / longer) : 0, height = shrink ? (int)(image.height * small / longer) : 0;
    good = good && (!shrink || image_resize(&less, &image, width > 0 ? width : 1, height > 0 ? height : 1, IMAGE_AREA, e)) &&
           image_encode_for_web(shrink ? &less : &image, IMAGE_WEBP, 85, &data, &bytes, e);
    image_release(&image);
    image_release(&less);
    if (good) {
        exchange_add_header(x, "Cache-Control", cache);
        answer_bytes(x, 200, "image/webp", data, bytes);
    }
    mem_free(data);
    return good;
}

bool get_view(struct exchange *x, struct err *e)
{
    char name[NAME_BYTES], type[16] = "", subfolder[NAME_BYTES] = "", preview[32], channel[16] = "", path[PATH_MAX_BYTES];
    bool found, answered, has_preview, ignored;
    int64_t small = 0;
    if (!exchange_query(x, "filename", name, sizeof name, &found, e))
        return false;
    if (!found)
        return err_set(e, ERR_MISSING, "the query has no filename");
    if (!exchange_query_int(x, "small", 16, 4096, &small, e) || !exchange_query(x, "type", type, sizeof type, &ignored, e) || !exchange_query(x, "subfolder", subfolder, sizeof subfolder, &ignored, e) ||
        !exchange_query(x, "preview", preview, sizeof preview, &has_preview, e) ||
        !exchange_query(x, "channel", channel, sizeof channel, &ignored, e))
        return false;
    if (!find_file(x, name, type, subfolder, path, &answered, e) || answered)
        return answered;
    if (small)
        return answer_small(x, path, small, "no-cache", e);
    bool changed = has_preview || !strcmp(channel, "rgb") || !strcmp(channel, "a");
    return changed ? view_changed(x, path, path_name(name), has_preview ? preview : NULL, channel, e)
                   : answer_file(x, path, "no-cache", path_name(name), true, e);
}

/* --- uploads --- */

bool exchange_form(struct exchange *x, struct multipart *m, struct err *e)
{
    char boundary[71];
    *m = (struct multipart){ 0 };
    if (!multipart_boundary(exchange_header(x, "Content-Type"), boundary))
        return err_set(e, ERR_ARG, "want a form with a file: Content-Type: multipart/form-data with a boundary");
    return exchange_read_body(x, x->server->o->max_upload_bytes, e) && multipart_parse(m, x->body ? x->body : "", x->body_bytes, boundary, e);
}

static bool same_bytes(const char *path, const void *data, size_t bytes)
{
    struct stat s;
    struct file_map map;
    struct err ignored = { 0 };
    if (stat(path, &s) || (size_t)s.st_size != bytes)
        return false;
    if (!bytes)
        return true;
    if (!file_map(&map, path, &ignored))
        return false;
    bool same = !memcmp(map.data, data, bytes);
    file_unmap(&map);
    return same;
}

bool exchange_put_file(struct exchange *x, const char *folder, char name[NAME_BYTES], const void *data, size_t bytes, bool overwrite, struct err *e)
{
    char path[PATH_MAX_BYTES], first[NAME_BYTES], stem[NAME_BYTES];
    snprintf(first, sizeof first, "%s", name);
    const char *dot = strrchr(first, '.');
    if (!dot || dot == first)
        dot = first + strlen(first);
    snprintf(stem, sizeof stem, "%.*s", (int)(dot - first), first);
    pthread_mutex_lock(&x->server->user_lock); /* so that two uploads of one name are two files */
    bool good = folder_make(folder, e), done = false;
    for (int i = 1; good && !done && i <= MOST_COPIES; i++) {
        good = path_below(path, folder, name, e);
        if (good && !overwrite && path_exists(path) && !same_bytes(path, data, bytes)) {
            if ((size_t)snprintf(name, NAME_BYTES, "%s (%d)%s", stem, i, dot) >= NAME_BYTES)
                good = err_set(e, ERR_LIMIT, "the name of the file is too long");
            continue;
        }
        done = true;
        good = good && ((!overwrite && path_exists(path)) || file_write_whole(path, data, bytes, e));
    }
    pthread_mutex_unlock(&x->server->user_lock);
    return good && (done || err_set(e, ERR_LIMIT, "there are %d files called %.100s", MOST_COPIES, first));
}

/* Where an upload goes: folder, the name of its file, and the words of the answer. */
struct upload {
    struct multipart form;
    const struct part *file;
    char folder[PATH_MAX_BYTES], name[NAME_BYTES], type[16], subfolder[NAME_BYTES];
    bool overwrite;
};

static bool read_upload(struct exchange *x, struct upload *u, struct err *e)
{
    char root[PATH_MAX_BYTES], overwrite[16];
    if (!exchange_form(x, &u->form, e))
        return false;
    u->file = multipart_find(&u->form, "image");
    if (!u->file || !*u->file->filename)
        return err_set(e, ERR_ARG, "the form has no file called image");
    if (!multipart_text(&u->form, "type", u->type, sizeof u->type, e) ||
        !multipart_text(&u->form, "subfolder", u->subfolder, sizeof u->subfolder, e) ||
        !multipart_text(&u->form, "overwrite", overwrite, sizeof overwrite, e))
        return false;
    if (!*u->type)
        snprintf(u->type, sizeof u->type, "input");
    u->overwrite = !strcmp(overwrite, "true") || !strcmp(overwrite, "1");
    snprintf(u->name, sizeof u->name, "%s", u->file->filename);
    return exchange_folder(x, u->type, root, e) && path_name_safe(u->name, e) && path_below(u->folder, root, u->subfolder, e);
}

static bool tell_upload(struct exchange *x, const struct upload *u, struct err *e)
{
    return answer_json(x, 200, json_pack("{s:s,s:s,s:s}", "name", u->name, "subfolder", u->subfolder, "type", u->type), e);
}

bool post_upload_image(struct exchange *x, struct err *e)
{
    struct upload u = { 0 };
    bool good = read_upload(x, &u, e) && exchange_put_file(x, u.folder, u.name, u.file->data, u.file->bytes, u.overwrite, e) && tell_upload(x, &u, e);
    multipart_release(&u.form);
    return good;
}

/* The original with the alpha of what was uploaded, as a PNG with the original's texts. */
static bool masked(const char *original, const struct part *mask, uint8_t **png, size_t *bytes, struct err *e)
{
    static const char *const keys[] = { "prompt", "workflow", "parameters" };
    enum { KEYS = sizeof keys / sizeof *keys };
    struct image image, alpha, fitted = { 0 };
    struct image_text texts[KEYS];
    size_t count = 0;
    if (!image_load(&image, original, IMAGE_WITH_ALPHA, 0, e))
        return false;
    bool good = image_decode(&alpha, mask->data, mask->bytes, "the mask", IMAGE_WITH_ALPHA, 0, e);
    if (good && (alpha.width != image.width || alpha.height != image.height)) {
        good = image_resize(&fitted, &alpha, image.width, image.height, IMAGE_BILINEAR, e);
        image_release(&alpha);
        alpha = fitted;
    }
    for (size_t i = 0; good && i < (size_t)image.width * (size_t)image.height; i++)
        image.pixels[4 * i + 3] = alpha.pixels[4 * i + 3];
    for (int i = 0; good && i < KEYS; i++) {
        struct err ignored = { 0 }; /* the original may be no PNG, or have no such text */
        char *value = image_png_text(original, keys[i], &ignored);
        if (value)
            texts[count++] = (struct image_text){ keys[i], value };
    }
    good = good && image_encode_png(&image, texts, count, png, bytes, e);
    while (count)
        mem_free((char *)texts[--count].value);
    image_release(&image);
    image_release(&alpha);
    return good;
}

/* The file that original_ref names: {"filename", "subfolder", "type"}. */
static bool find_original(struct exchange *x, const struct multipart *form, char out[PATH_MAX_BYTES], bool *answered, struct err *e)
{
    char text[4096], name[NAME_BYTES];
    const char *filename = NULL, *type = NULL, *subfolder = NULL;
    *answered = false;
    if (!multipart_text(form, "original_ref", text, sizeof text, e) || (!*text && !multipart_text(form, "originalRef", text, sizeof text, e)))
        return false;
    json_t *ref = json_io_parse(text, strlen(text), "original_ref", e);
    bool good = ref && json_is_object(ref) && json_get_string(ref, "original_ref", "filename", &filename, e) &&
                json_get_string(ref, "original_ref", "type", &type, e) && json_get_string(ref, "original_ref", "subfolder", &subfolder, e);
    good = good && (filename || err_set(e, ERR_ARG, "original_ref has no filename"));
    if (good) {
        snprintf(name, sizeof name, "%s", filename);
        good = find_file(x, name, type, subfolder ? subfolder : "", out, answered, e);
    } else if (!e->text[0]) {
        err_set(e, ERR_ARG, "original_ref is no object with a filename");
    }
    json_decref(ref);
    return good;
}

bool post_upload_mask(struct exchange *x, struct err *e)
{
    struct upload u = { 0 };
    char original[PATH_MAX_BYTES];
    uint8_t *png = NULL;
    size_t bytes = 0;
    bool answered = false;
    bool good = read_upload(x, &u, e) && find_original(x, &u.form, original, &answered, e);
    if (good && !answered && (!path_exists(original) || path_is_folder(original)))
        good = err_set(e, ERR_ARG, "the original of the mask is not there");
    if (good && !answered)
        good = masked(original, u.file, &png, &bytes, e) && exchange_put_file(x, u.folder, u.name, png, bytes, u.overwrite, e) && tell_upload(x, &u, e);
    mem_free(png);
    multipart_release(&u.form);
    return good;
}

/* --- lists --- */

struct dated {
    char *name;
    struct timespec when;
};

static int newest_first(const void *a, const void *b)
{
    const struct dated *x = a, *y = b;
    if (x->when.tv_sec != y->when.tv_sec)
        return x->when.tv_sec < y->when.tv_sec ? 1 : -1;
    if (x->when.tv_nsec != y->when.tv_nsec)
        return x->when.tv_nsec < y->when.tv_nsec ? 1 : -1;
    return strcmp(x->name, y->name);
}

bool get_internal_files(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES], **names;
    size_t count, kept = 0;
    if (!exchange_folder(x, x->param[0], folder, e))
        return false;
    if (!path_is_folder(folder))
        return answer_json(x, 200, json_array(), e);
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    struct dated *files = mem_zeroed(count + 1, sizeof *files);
    json_t *list = json_array();
    for (size_t i = 0; files && i < count; i++) {
        struct stat s;
        struct err ignored = { 0 };
        if (names[i][0] != '.' && utf8_valid(names[i], strlen(names[i])) && path_join(path, folder, names[i], &ignored) && !stat(path, &s) &&
            S_ISREG(s.st_mode))
            files[kept++] = (struct dated){ names[i], s.st_mtim };
    }
    if (files)
        qsort(files, kept, sizeof *files, newest_first);
    for (size_t i = 0; list && i < kept; i++)
        json_array_append_new(list, json_string(files[i].name));
    folder_names_free(names, count);
    mem_free(files);
    if (!files) {
        json_decref(list);
        return err_nomem(e, "a list of files");
    }
    return answer_json(x, 200, list, e);
}
