/* Names of files in the folders of a flow. */
#include "flow/nodes/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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
        p->call = NULL;
        good = path_join(p->folder, folder, p->subfolder, e) && folder_make(p->folder, e) && count_files(p, e);
    }
    text_release(&expanded);
    return good;
}

/* --- names of a run that was broken off --- */

enum { KEY_BYTES = 400, MARK_BYTES = KEY_BYTES + 300 };

static const struct flow_names *names_of(const struct place *p)
{
    return p->call && call_host(p->call)->names.run ? &call_host(p->call)->names : NULL;
}

/* Which of the run's files it is; and what a taken name says until the file is written. */
static void file_key(char key[KEY_BYTES], char mark[MARK_BYTES], const struct place *p, int64_t index, const char *ending)
{
    snprintf(key, KEY_BYTES, "%s/%zu/%lld%s", call_id(p->call), call_index(p->call), (long long)index, ending);
    snprintf(mark, MARK_BYTES, "limn: %.200s %s\n", names_of(p)->run, key);
}

/* The file that has only this mark: its name was taken, and the run was broken off before that was noted. */
static bool find_mark(const struct place *p, const char *mark, char name[300], char path[PATH_MAX_BYTES])
{
    char **names, text[MARK_BYTES + 1];
    size_t count;
    bool found = false;
    struct err ignored = { 0 };
    if (!folder_names(p->folder, NULL, &names, &count, &ignored))
        return false;
    for (size_t i = 0; !found && i < count; i++) {
        struct stat s;
        if (strlen(names[i]) >= 300 || !path_join(path, p->folder, names[i], &ignored) || stat(path, &s) || (size_t)s.st_size != strlen(mark))
            continue;
        FILE *f = fopen(path, "rbe");
        size_t bytes = f ? fread(text, 1, sizeof text, f) : 0;
        found = bytes == strlen(mark) && !memcmp(text, mark, bytes);
        if (f)
            fclose(f);
        if (found)
            strcpy(name, names[i]);
    }
    folder_names_free(names, count);
    return found;
}

/* The name that this run had before, if it is in this folder. */
static bool take_again(const struct place *p, const char *key, const char *mark, char name[300], char path[PATH_MAX_BYTES])
{
    const struct flow_names *names = names_of(p);
    const char *had = names->before(names->self, key);
    struct err ignored = { 0 };
    if (!had)
        return names->again && find_mark(p, mark, name, path);
    if (strlen(path_name(had)) >= 300 || !path_join(path, p->folder, path_name(had), &ignored) || strcmp(path, had))
        return false;
    strcpy(name, path_name(had));
    return true;
}

bool place_take(struct place *p, int64_t index, const char *ending, char name[300], char path[PATH_MAX_BYTES], struct err *e)
{
    char base[280], key[KEY_BYTES], mark[MARK_BYTES] = "";
    const struct flow_names *names = names_of(p);
    if (names) {
        file_key(key, mark, p, index, ending);
        if (take_again(p, key, mark, name, path))
            return true;
    }
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
            bool marked = write(file, mark, strlen(mark)) == (ssize_t)strlen(mark); /* a full disk: what is written then tells of it */
            close(file);
            if (names && marked)
                names->taken(names->self, key, path);
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
