/* Reports of evaluations for the page: the .html files of output/evaluations. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

static bool reports_folder(struct exchange *x, const char *name, char out[PATH_MAX_BYTES], struct err *e)
{
    char output[PATH_MAX_BYTES], reports[PATH_MAX_BYTES];
    return exchange_folder(x, "output", output, e) && path_join(reports, output, "evaluations", e) && path_below(out, reports, name, e);
}

bool get_reports(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], **names = NULL;
    size_t count = 0;
    json_t *list = json_array();
    bool good = (list || err_nomem(e, "a list of reports")) && reports_folder(x, "", folder, e) &&
                (!path_is_folder(folder) || folder_names(folder, ".html", &names, &count, e));
    for (size_t i = 0; good && i < count; i++)
        good = !json_array_append_new(list, json_string(names[i])) || err_nomem(e, "a list of reports");
    folder_names_free(names, count);
    json_t *all = good ? json_pack("{s:O}", "reports", list) : NULL;
    json_decref(list);
    return good && (all ? answer_json(x, 200, all, e) : err_nomem(e, "a list of reports"));
}

/* A report holds all it shows. Whatever else stands in it (captions of other people, a file that is none of ours) runs nothing and asks for nothing. */
bool get_report(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    const char *name = x->param[0];
    size_t n = strlen(name);
    if (!path_name_safe(name, e) || !reports_folder(x, name, path, e))
        return false;
    if (n < 6 || strcmp(name + n - 5, ".html") || !path_exists(path))
        return err_set(e, ERR_MISSING, "there is no report %.200s", name);
    exchange_add_header(x, "Content-Security-Policy", "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'");
    return answer_file(x, path, "no-cache", NULL, false, e);
}
