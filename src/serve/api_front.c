/* The page: files of the folder that is served at /, and what the official front end asks for that limn has none of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

enum { MOST_EXTENSIONS = 10000, MOST_DEPTH = 12 };

bool get_empty_object(struct exchange *x, struct err *e)
{
    return answer_json(x, 200, json_object(), e);
}

/* Paths of all .js below folder/below, as URLs. */
static bool add_scripts(json_t *list, const char *folder, const char *below, int depth, struct err *e)
{
    char path[PATH_MAX_BYTES], name[PATH_MAX_BYTES], **names;
    size_t count;
    if (!path_join(path, folder, below, e) || !folder_names(path, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        size_t n = strlen(names[i]);
        if (!path_join(name, below, names[i], e) || !path_join(path, folder, name, e)) {
            good = false;
        } else if (path_is_folder(path)) {
            good = depth == MOST_DEPTH || add_scripts(list, folder, name, depth + 1, e);
        } else if (n > 3 && !strcmp(names[i] + n - 3, ".js") && json_array_size(list) < MOST_EXTENSIONS && utf8_valid(name, strlen(name))) {
            snprintf(path, sizeof path, "/%.4000s", name);
            good = !json_array_append_new(list, json_string(path)) || err_nomem(e, "a list of extensions");
        }
    }
    folder_names_free(names, count);
    return good;
}

bool get_extensions(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    json_t *list = json_array();
    if (!list)
        return err_nomem(e, "a list of extensions");
    if (x->server->o->page && path_join(path, x->server->o->page, "extensions", e) && path_is_folder(path) &&
        !add_scripts(list, x->server->o->page, "extensions", 0, e)) {
        json_decref(list);
        return false;
    }
    return answer_json(x, 200, list, e);
}

/* How long a browser may keep a file: what a build named after its content for long, the entrance not at all. */
static const char *cache_of(const char *name)
{
    const char *type = http_type(name);
    bool entrance = !strncmp(type, "text/", 5) || !strncmp(type, "application/json", 16);
    return entrance ? "no-cache" : !strncmp(type, "image/", 6) ? "public, max-age=86400" : "public, max-age=3600";
}

static const char no_page[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>limn</title><style>body{font:16px/1.5 system-ui;margin:3em auto;"
    "max-width:40em;color-scheme:light dark}</style><h1>limn</h1><p>The server runs. It serves no page: <code>limn serve --front-end FOLDER</code> "
    "serves one.</p><p>Programs speak to it as to ComfyUI; <a href=\"/openapi.json\">/openapi.json</a> lists what there is.</p></html>";

bool get_static(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES], name[EXCHANGE_PARAM_BYTES + 16];
    const char *asked = x->param[0] ? x->param[0] : "", *page = x->server->o->page;
    if (!page) {
        if (*asked)
            return err_set(e, ERR_MISSING, "there is no %.200s here; /openapi.json lists what there is", asked);
        exchange_add_header(x, "Cache-Control", "no-store");
        return answer_text(x, 200, "text/html; charset=utf-8", no_page);
    }
    size_t n = strlen(asked);
    snprintf(name, sizeof name, "%s%s", asked, !n || asked[n - 1] == '/' ? "index.html" : "");
    if (!path_below(path, page, name, e)) {
        e->code = ERR_MISSING;
        return false;
    }
    return answer_file(x, path, !n ? "no-store" : cache_of(name), NULL, false, e);
}
