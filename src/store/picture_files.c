#include "store/picture_files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"

enum { HASH_DIGITS = 64, TYPE_MOST = 8 };

static bool check_type(const char *type, struct err *e)
{
    size_t n = strlen(type);
    bool good = n >= 1 && n <= TYPE_MOST;
    for (size_t i = 0; i < n; i++)
        good = good && (islower((unsigned char)type[i]) || isdigit((unsigned char)type[i]));
    return good || err_set(e, ERR_ARG, "%.20s is no type of a picture's file", type);
}

static bool check_hash(const char *hash, struct err *e)
{
    bool good = strlen(hash) == HASH_DIGITS;
    for (size_t i = 0; good && i < HASH_DIGITS; i++)
        good = isdigit((unsigned char)hash[i]) || (hash[i] >= 'a' && hash[i] <= 'f');
    return good || err_set(e, ERR_ARG, "%.70s is no SHA-256 of a file: 64 hexadecimal digits in small letters", hash);
}

bool picture_file_path(char *out, const char *folder, const char *hash, const char *type, struct err *e)
{
    char name[HASH_DIGITS + TYPE_MOST + 8];
    if (!check_hash(hash, e) || !check_type(type, e))
        return false;
    snprintf(name, sizeof name, "%.2s/%s.%s", hash, hash, type);
    return path_join(out, folder, name, e);
}

/* A new name in a folder is on the disk when the folder is. */
static bool sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good)
        err_errno(e, "cannot write the folder %s", path);
    if (fd >= 0)
        close(fd);
    return good;
}

bool picture_file_put(const char *folder, const void *data, size_t bytes, const char *type, char *hash, struct err *e)
{
    char path[PATH_MAX_BYTES], below[PATH_MAX_BYTES];
    char *digits = g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, bytes);
    if (!digits)
        return err_nomem(e, "a picture's hash");
    memcpy(hash, digits, HASH_DIGITS + 1);
    g_free(digits);
    if (!picture_file_path(path, folder, hash, type, e))
        return false;
    /* It was written whole before, or is not there. A new date tells picture_file_forget that somebody wants it. */
    if (path_exists(path) && utimensat(AT_FDCWD, path, NULL, 0) == 0)
        return true;
    strcpy(below, path);
    *strrchr(below, '/') = 0;
    bool fresh = !path_exists(below);
    bool good = folder_make(below, e) && file_write_whole(path, data, bytes, e) && sync_folder(below, e) && (!fresh || sync_folder(folder, e));
    if (!good && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return err_add(e, "make room on the disk of the gallery's folder %s", folder);
    return good || err_add(e, "putting a picture into the gallery's folder %s", folder);
}

void picture_file_forget(const char *folder, const char *hash, const char *type)
{
    enum { WANTED_S = 3600 };
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    struct stat s;
    if (picture_file_path(path, folder, hash, type, &ignored) && stat(path, &s) == 0 && s.st_mtime + WANTED_S < time(NULL))
        unlink(path);
}
