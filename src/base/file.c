#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

bool path_join(char *out, const char *folder, const char *name, struct err *e)
{
    bool alone = name[0] == '/' || !folder[0];
    size_t length = strlen(folder);
    const char *slash = alone || folder[length - 1] == '/' ? "" : "/";
    int n = snprintf(out, PATH_MAX_BYTES, "%s%s%s", alone ? "" : folder, slash, name);
    if (n < 0 || n >= PATH_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a path of more than %d bytes: %.60s...", PATH_MAX_BYTES, name);
    return true;
}

bool path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool folder_make(const char *path, struct err *e)
{
    char part[PATH_MAX_BYTES];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return err_set(e, ERR_LIMIT, "a path of more than %d bytes", PATH_MAX_BYTES);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return err_errno(e, "cannot make the folder %s", part);
    }
    if (length && !path_is_folder(path))
        return err_set(e, ERR_IO, "%s is there and is not a folder", path);
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int remove_one(const char *path, const struct stat *ignored, int type, struct FTW *where)
{
    (void)ignored;
    (void)type;
    (void)where;
    return remove(path);
}

void folder_remove(const char *path)
{
    enum { OPEN_FOLDERS = 8 };
    nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
}

bool folder_names(const char *path, const char *suffix, char ***names, size_t *count, struct err *e)
{
    *names = NULL;
    *count = 0;
    DIR *d = opendir(path);
    if (!d)
        return err_errno(e, "cannot open the folder %s", path);
    size_t cap = 0, n = 0, tail = suffix ? strlen(suffix) : 0;
    char **list = NULL;
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(d));) {
        const char *name = entry->d_name;
        size_t length = strlen(name);
        if (!strcmp(name, ".") || !strcmp(name, "..") || length < tail ||
            (tail && strcmp(name + length - tail, suffix)))
            continue;
        char **grown = mem_grow(list, &cap, n + 1, sizeof *list);
        if (grown)
            list = grown;
        char *copy = grown ? mem_string(name) : NULL;
        if (copy)
            list[n++] = copy;
        else
            good = err_nomem(e, "the names in a folder");
    }
    closedir(d);
    if (!good) {
        folder_names_free(list, n);
        return false;
    }
    if (n)
        qsort(list, n, sizeof *list, by_bytes);
    *names = list;
    *count = n;
    return true;
}

void folder_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(names[i]);
    mem_free(names);
}

/* Opens a regular file and tells its size. Returns the descriptor or -1. */
static int open_regular(const char *path, size_t *bytes, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) {
        err_errno(e, "cannot open %s", path);
    } else if (!S_ISREG(s.st_mode)) {
        err_set(e, ERR_IO, "%s is not a file", path);
    } else {
        *bytes = (size_t)s.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

bool file_read(const char *path, size_t max_bytes, char **data, size_t *bytes, struct err *e)
{
    size_t size, got = 0;
    int fd = open_regular(path, &size, e);
    if (fd < 0)
        return false;
    char *buffer = NULL;
    bool good = false;
    if (size > max_bytes)
        err_set(e, ERR_LIMIT, "%s has %zu bytes; at most %zu are read", path, size, max_bytes);
    else if (!(buffer = mem_zeroed(size + 1, 1)))
        err_nomem(e, path);
    else
        good = true;
    while (good && got < size) {
        ssize_t n = read(fd, buffer + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            good = err_errno(e, "cannot read %s", path);
        else if (n == 0)
            break; /* it shrank meanwhile: what is left is what is there */
        else
            got += (size_t)n;
    }
    close(fd);
    if (!good) {
        mem_free(buffer);
        return false;
    }
    buffer[got] = 0;
    *data = buffer;
    *bytes = got;
    return true;
}

bool file_map(struct file_map *m, const char *path, struct err *e)
{
    *m = (struct file_map){ 0 };
    int fd = open_regular(path, &m->bytes, e);
    if (fd < 0)
        return false;
    static const unsigned char nothing[1];
    void *p = m->bytes ? mmap(NULL, m->bytes, PROT_READ, MAP_PRIVATE, fd, 0) : (void *)nothing;
    if (p == MAP_FAILED) {
        err_errno(e, "cannot map %s", path);
        close(fd);
        return false;
    }
    close(fd);
    m->data = p;
    return true;
}

void file_unmap(struct file_map *m)
{
    if (m->data && m->bytes)
        munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (struct file_map){ 0 };
}

void file_map_forget(const struct file_map *m, size_t offset, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = (offset + page - 1) / page * page, to = (offset + bytes) / page * page;
    if (to > from && to <= m->bytes)
        madvise((void *)(uintptr_t)(m->data + from), to - from, MADV_DONTNEED);
}

static const char own_files[] = "/proc/self/fd";

/* A file in path's folder that has no name; -1 where there is no such thing. */
static int open_nameless(const char *path)
{
    char folder[PATH_MAX_BYTES];
    const char *name = path_name(path);
    snprintf(folder, sizeof folder, "%.*s", name == path ? 1 : (int)(name - path), name == path ? "." : path);
    return path_exists(own_files) ? open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666) : -1;
}

bool file_begin(struct file_write *w, const char *path, struct err *e)
{
    w->f = NULL;
    int a = snprintf(w->path, sizeof w->path, "%s", path);
    int b = snprintf(w->temporary, sizeof w->temporary, "%s.part-%ld", path, (long)getpid());
    if (a < 0 || b < 0 || (size_t)b >= sizeof w->temporary)
        return err_set(e, ERR_LIMIT, "a path of more than %d bytes", PATH_MAX_BYTES);
    int fd = open_nameless(path);
    w->nameless = fd >= 0;
    if (!w->nameless && (fd = open(w->temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666)) < 0)
        return err_errno(e, "cannot write %s", path);
    if (!w->nameless)
        flock(fd, LOCK_EX | LOCK_NB); /* for leftovers_remove; a file system that knows no locks is no reason to refuse */
    if ((w->f = fdopen(fd, "wb")))
        return true;
    err_errno(e, "cannot write %s", path);
    close(fd);
    if (!w->nameless)
        unlink(w->temporary);
    return false;
}

bool file_put(struct file_write *w, const void *data, size_t bytes, struct err *e)
{
    return fwrite(data, 1, bytes, w->f) == bytes || err_errno(e, "cannot write %s", w->path);
}

void file_abandon(struct file_write *w)
{
    if (w->f)
        fclose(w->f);
    w->f = NULL;
    if (!w->nameless)
        unlink(w->temporary);
}

/* Gives a nameless file its place. A link replaces nothing, so where there is a file it is linked beside that and renamed. */
static bool put_name(struct file_write *w, bool *beside, struct err *e)
{
    char own[sizeof own_files + 20];
    snprintf(own, sizeof own, "%s/%d", own_files, fileno(w->f));
    *beside = false;
    if (linkat(AT_FDCWD, own, AT_FDCWD, w->path, AT_SYMLINK_FOLLOW) == 0)
        return true;
    *beside = errno == EEXIST;
    if (*beside && linkat(AT_FDCWD, own, AT_FDCWD, w->temporary, AT_SYMLINK_FOLLOW) == 0)
        return true;
    if (*beside && errno == EEXIST && unlink(w->temporary) == 0 && linkat(AT_FDCWD, own, AT_FDCWD, w->temporary, AT_SYMLINK_FOLLOW) == 0)
        return true;
    return err_errno(e, "cannot write %s", w->path);
}

bool file_commit(struct file_write *w, struct err *e)
{
    bool beside = !w->nameless;
    bool good = fflush(w->f) == 0 && fsync(fileno(w->f)) == 0;
    if (!good)
        err_errno(e, "cannot write %s", w->path);
    good = good && (!w->nameless || put_name(w, &beside, e));
    if (fclose(w->f) != 0 && good)
        good = err_errno(e, "cannot write %s", w->path);
    w->f = NULL;
    if (good && beside && rename(w->temporary, w->path) != 0)
        good = err_errno(e, "cannot rename to %s", w->path);
    if (!good && beside)
        unlink(w->temporary);
    return good;
}

bool file_write_whole(const char *path, const void *data, size_t bytes, struct err *e)
{
    struct file_write w;
    if (!file_begin(&w, path, e))
        return false;
    if (!file_put(&w, data, bytes, e)) {
        file_abandon(&w);
        return false;
    }
    return file_commit(&w, e);
}

bool file_append(const char *path, const void *data, size_t bytes, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    bool good = fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes;
    if (!good)
        err_errno(e, "cannot append to %s", path);
    if (fd >= 0)
        close(fd);
    return good;
}

bool file_append_line(const char *path, const char *line, struct err *e)
{
    size_t length = strlen(line);
    char *whole = mem_zeroed(length + 2, 1);
    if (!whole)
        return err_nomem(e, "a line");
    memcpy(whole, line, length);
    whole[length] = '\n';
    bool good = file_append(path, whole, length + 1, e);
    mem_free(whole);
    return good;
}
