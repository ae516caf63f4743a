/* Names of files in the folders of a flow. */
#include "flow/nodes/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "flow/nodes/nodes.h"

static void add_part(struct text *out, const char *name, const struct tm *t, int64_t width, int64_t height)
{
    if (!strcmp(name, "width") || !strcmp(name, "height"))
        text_addf(out, "%lld", (long long)(*name == 'w' ? width : height));
    else if (!strcmp(name, "year"))
        text_addf(out, "%d", t->tm_year + 1900);
    else if (!strcmp(name, "month"))
        text_addf(out, "%02d", t->tm_mon + 1);
    else if (!strcmp(name, "day"))
        text_addf(out, "%02d", t->tm_mday);
    else if (!strcmp(name, "hour"))
        text_addf(out, "%02d", t->tm_hour);
    else if (!strcmp(name, "minute"))
        text_addf(out, "%02d", t->tm_min);
    else if (!strcmp(name, "second"))
        text_addf(out, "%02d", t->tm_sec);
    else
        text_addf(out, "%%%s%%", name);
}

static void expand_prefix(struct text *out, const char *prefix, int64_t width, int64_t height)
{
    time_t now = time(NULL);
    struct tm t;
    char name[16];
    localtime_r(&now, &t);
    while (*prefix) {
        const char *end = *prefix == '%' ? strchr(prefix + 1, '%') : NULL;
        if (!end || end - prefix > (ptrdiff_t)sizeof name) {
            text_add_bytes(out, prefix++, 1);
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)(end - prefix - 1), prefix + 1);
        add_part(out, name, &t, width, height);
        prefix = end + 1;
    }
}

/* Whether a relative path stays where it is. */
static bool stays_inside(const char *path)
{
    if (*path == '/' || strchr(path, '\\'))
        return false;
    for (const char *at = path; *at;) {
        size_t length = strcspn(at, "/");
        if (length == 2 && !strncmp(at, "..", 2))
            return false;
        at += length + (at[length] == '/');
    }
    return true;
}

/* The next free number: one more than the highest there is. */
static bool count_files(struct place *p, struct err *e)
{
    char **names;
    size_t count, length = strlen(p->base);
    if (!folder_names(p->folder, NULL, &names, &count, e))
        return false;
    p->counter = 1;
    for (size_t i = 0; i < count; i++)
        if (!strncmp(names[i], p->base, length) && names[i][length] == '_') {
            char *end;
            long v = strtol(names[i] + length + 1, &end, 10);
            if (end != names[i] + length + 1 && (*end == '_' || *end == '.') && v >= p->counter && v < 1000000000)
                p->counter = v + 1;
        }
    folder_names_free(names, count);
    return true;
}

bool place_init(struct place *p, const char *folder, const char *prefix, int64_t width, int64_t height, struct err *e)
{
    struct text expanded;
    text_init(&expanded, PATH_MAX_BYTES / 2);
    expand_prefix(&expanded, prefix, width, height);
    const char *name = text_string(&expanded), *base = path_name(name);
    bool good = text_ok(&expanded, e);
    if (good && !stays_inside(name))
        good = err_set(e, ERR_ARG, "filename_prefix %s leaves the output folder", prefix);
    if (good && strlen(base) >= sizeof p->base)
        good = err_set(e, ERR_LIMIT, "filename_prefix %s: a name of at most %zu characters", prefix, sizeof p->base - 1);
    if (good) {
        snprintf(p->subfolder, sizeof p->subfolder, "%.*s", (int)(base > name ? base - name - 1 : 0), name);
        strcpy(p->base, base);
        good = path_join(p->folder, folder, p->subfolder, e) && folder_make(p->folder, e) && count_files(p, e);
    }
    text_release(&expanded);
    return good;
}

bool place_take(struct place *p, int64_t index, const char *ending, char name[300], char path[PATH_MAX_BYTES], struct err *e)
{
    char base[280];
    const char *number = strstr(p->base, "%batch_num%");
    if (number)
        snprintf(base, sizeof base, "%.*s%lld%s", (int)(number - p->base), p->base, (long long)index, number + strlen("%batch_num%"));
    else
        snprintf(base, sizeof base, "%s", p->base);
    for (;;) {
        snprintf(name, 300, "%s_%05ld_%s", base, p->counter, ending);
        if (!path_join(path, p->folder, name, e))
            return false;
        int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0666);
        if (file >= 0) {
            close(file);
            return true;
        }
        if (errno != EEXIST)
            return err_errno(e, "cannot write %s", path);
        p->counter++;
    }
}

bool place_find(const struct flow_host *host, const char *name, const char *folder, char path[PATH_MAX_BYTES], struct err *e)
{
    static const struct { const char *end; char kind; } ends[] = { { " [input]", 'i' }, { " [output]", 'o' }, { " [temp]", 't' } };
    char plain[PATH_MAX_BYTES];
    char kind = *folder;
    if (snprintf(plain, sizeof plain, "%s", name) >= (int)sizeof plain)
        return err_set(e, ERR_LIMIT, "a file's name is too long");
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(plain), end = strlen(ends[i].end);
        if (length > end && !strcmp(plain + length - end, ends[i].end)) {
            plain[length - end] = 0;
            kind = ends[i].kind;
        }
    }
    if (!*plain || !stays_inside(plain))
        return err_set(e, ERR_ARG, "%s is no name of a file in the %s folder", name, folder);
    return path_join(path, kind == 'i' ? host->input : kind == 'o' ? host->output : host->temp, plain, e);
}
