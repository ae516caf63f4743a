#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "dataset/dataset_internal.h"
#include "dataset/import_internal.h"

enum { MOST_DEPTH = 32, MOST_NAMES = 2 * DATASET_MAX_PICTURES };

/* Where a zip file's names have one folder around them all, they count from below it. */
static void find_prefix(struct import_source *s)
{
    const char *first = s->zip.count ? s->zip.entries[0].name : "";
    size_t bytes = s->zip.count ? s->zip.entries[0].name_bytes : 0;
    const char *slash = memchr(first, '/', bytes);
    size_t length = slash ? (size_t)(slash - first) + 1 : 0;
    for (size_t i = 0; i < s->zip.count && length; i++)
        if (s->zip.entries[i].name_bytes < length || memcmp(s->zip.entries[i].name, first, length))
            length = 0;
    snprintf(s->prefix, sizeof s->prefix, "%.*s", (int)length, first);
}

static bool check_sizes(const struct import_source *s, struct err *e)
{
    uint64_t sum = 0, most = s->map.bytes * (uint64_t)IMPORT_ZIP_MAX_TIMES + IMPORT_ZIP_FREE_BYTES;
    for (size_t i = 0; i < s->zip.count; i++) {
        uint64_t bytes = s->zip.entries[i].unpacked_bytes;
        if (bytes > most || (sum += bytes) > most)
            return err_set(e, ERR_LIMIT, "%s: its %zu bytes would become more than %llu (%d times as many): not a set of pictures", s->root,
                           s->map.bytes, (unsigned long long)most, IMPORT_ZIP_MAX_TIMES);
    }
    return true;
}

bool source_open(struct import_source *s, const char *path, bool zipped, struct err *e)
{
    *s = (struct import_source){ .zipped = zipped };
    char *real = realpath(path, NULL);
    if (!real)
        return err_errno(e, "%s", path);
    bool fits = snprintf(s->root, sizeof s->root, "%s", real) < (int)sizeof s->root;
    free(real);
    if (!fits)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", path);
    if (!zipped)
        return path_is_folder(s->root) || err_set(e, ERR_MISSING, "%s is not a folder", path);
    if (file_map(&s->map, s->root, e) && zip_init(&s->zip, s->map.data, s->map.bytes, s->root, e) && check_sizes(s, e)) {
        find_prefix(s);
        return true;
    }
    source_close(s);
    return false;
}

void source_close(struct import_source *s)
{
    zip_release(&s->zip);
    file_unmap(&s->map);
}

static const struct zip_entry *entry_of(const struct import_source *s, const char *name)
{
    return zip_find(&s->zip, s->prefix, strlen(s->prefix), name, strlen(name));
}

bool source_has(const struct import_source *s, const char *name)
{
    char path[PATH_MAX_BYTES];
    struct stat file;
    struct err ignored = { 0 };
    if (s->zipped)
        return entry_of(s, name) != NULL;
    return path_join(path, s->root, name, &ignored) && stat(path, &file) == 0 && S_ISREG(file.st_mode);
}

bool source_read(const struct import_source *s, const char *name, size_t max_bytes, char **data, size_t *bytes, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!s->zipped)
        return path_join(path, s->root, name, e) && file_read(path, max_bytes, data, bytes, e);
    const struct zip_entry *z = entry_of(s, name);
    return z ? zip_unpack(z, max_bytes, data, bytes, e) : err_set(e, ERR_MISSING, "%s holds no %s", s->root, name);
}

bool source_path(const struct import_source *s, const char *name, char *out, struct err *e)
{
    int n = name[0] == '/' ? snprintf(out, PATH_MAX_BYTES, "%s", name)
                           : snprintf(out, PATH_MAX_BYTES, "%s%s/%s%s", s->root, s->zipped ? "!" : "", s->prefix, name);
    return n < PATH_MAX_BYTES || err_set(e, ERR_LIMIT, "a path of more than %d bytes: %.60s...", PATH_MAX_BYTES, name);
}

struct names {
    char **at;
    size_t count, cap;
};

static bool add_name(struct names *l, const char *name, size_t bytes, struct err *e)
{
    if (l->count >= MOST_NAMES)
        return err_set(e, ERR_LIMIT, "more than %d files", MOST_NAMES);
    char **more = mem_grow(l->at, &l->cap, l->count + 1, sizeof *more);
    if (!more)
        return err_nomem(e, "a list of files");
    l->at = more;
    char *copy = mem_zeroed(bytes + 1, 1);
    if (!copy)
        return err_nomem(e, "a list of files");
    memcpy(copy, name, bytes);
    more[l->count++] = copy;
    return true;
}

/* `below` is "" or a folder below the root. */
static bool walk(const struct import_source *s, const char *below, int depth, struct names *l, struct err *e)
{
    char path[PATH_MAX_BYTES], name[PATH_MAX_BYTES];
    char **here;
    size_t count;
    if (depth > MOST_DEPTH)
        return err_set(e, ERR_LIMIT, "%s: folders deeper than %d", below, MOST_DEPTH);
    if (!path_join(path, s->root, below, e) || !folder_names(path, NULL, &here, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        struct stat file, link;
        if (here[i][0] == '.')
            continue;
        good = stop_check(e) && path_join(name, below, here[i], e) && path_join(path, s->root, name, e);
        if (!good || stat(path, &file) || lstat(path, &link))
            continue;
        if (S_ISDIR(link.st_mode))
            good = walk(s, name, depth + 1, l, e);
        else if (S_ISREG(file.st_mode))
            good = add_name(l, name, strlen(name), e);
    }
    folder_names_free(here, count);
    return good;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a/.b" and what macOS puts beside files. */
static bool is_hidden(const char *name, size_t bytes)
{
    return bytes == 0 || name[0] == '.' || memmem(name, bytes, "/.", 2) || (bytes >= 9 && !memcmp(name, "__MACOSX/", 9));
}

bool source_names(const struct import_source *s, char ***names, size_t *count, struct err *e)
{
    struct names l = { 0 };
    bool good = true;
    size_t cut = strlen(s->prefix);
    if (!s->zipped)
        good = walk(s, "", 0, &l, e);
    for (size_t i = 0; good && s->zipped && i < s->zip.count; i++) {
        const struct zip_entry *z = &s->zip.entries[i];
        const char *name = z->name + cut;
        size_t bytes = z->name_bytes - cut;
        if (!is_hidden(name, bytes) && name[bytes - 1] != '/' && !memchr(name, 0, bytes))
            good = add_name(&l, name, bytes, e);
    }
    if (!good) {
        folder_names_free(l.at, l.count);
        return false;
    }
    if (l.count)
        qsort(l.at, l.count, sizeof *l.at, by_bytes);
    *names = l.at;
    *count = l.count;
    return true;
}
