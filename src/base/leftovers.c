#include "base/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* "NAME.part-123" of a process that is no more; *length: of NAME. */
static bool is_left(const char *name, size_t *length)
{
    const char *mark = NULL;
    for (const char *p = name; (p = strstr(p, ".part-")); p++)
        mark = p;
    size_t digits = mark ? strspn(mark + 6, "0123456789") : 0;
    if (!digits || digits > 9 || mark[6 + digits])
        return false;
    *length = (size_t)(mark - name);
    long pid = strtol(mark + 6, NULL, 10);
    return pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static void remove_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        unlink(path);
    close(fd);
}

static int remove_left(const char *path, const struct stat *s, int type, struct FTW *where)
{
    size_t length;
    if (type == FTW_F && S_ISREG(s->st_mode) && s->st_uid == geteuid() && is_left(path + where->base, &length))
        remove_file(path);
    return 0;
}

void leftovers_remove(const char *folder)
{
    enum { OPEN_FOLDERS = 8 };
    nftw(folder, remove_left, OPEN_FOLDERS, FTW_PHYS);
}

void leftovers_remove_beside(const char *path)
{
    char folder[PATH_MAX_BYTES], left[PATH_MAX_BYTES], **names;
    const char *name = path_name(path);
    size_t count, length;
    struct err ignored = { 0 };
    snprintf(folder, sizeof folder, "%.*s", name == path ? 1 : (int)(name - path), name == path ? "." : path);
    if (!folder_names(folder, NULL, &names, &count, &ignored))
        return;
    for (size_t i = 0; i < count; i++) {
        struct stat s;
        if (!is_left(names[i], &length) || length != strlen(name) || memcmp(names[i], name, length) ||
            !path_join(left, folder, names[i], &ignored) || lstat(left, &s) || s.st_uid != geteuid())
            continue;
        if (S_ISDIR(s.st_mode))
            folder_remove(left);
        else if (S_ISREG(s.st_mode))
            remove_file(left);
    }
    folder_names_free(names, count);
}
