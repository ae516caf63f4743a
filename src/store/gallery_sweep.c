/* Files that no row names. A file comes before its row, so a kill between the two leaves one; a job that runs again mostly makes the same
 * file, which then has its row. */
#include <ctype.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "store/gallery.h"

enum { HASH_DIGITS = 64, DAY_S = 86400 };

/* "ab" below the gallery's folder. */
static bool is_shelf(const char *name)
{
    return strlen(name) == 2 && isxdigit((unsigned char)name[0]) && isxdigit((unsigned char)name[1]);
}

/* "<64 digits>.png", or the same while it was written, ".part-123" behind it. */
static bool is_ours(const char *name, const char *shelf)
{
    for (int i = 0; i < HASH_DIGITS; i++)
        if (!isxdigit((unsigned char)name[i]))
            return false;
    return name[HASH_DIGITS] == '.' && !strncmp(name, shelf, 2);
}

static bool is_named(struct db *db, const char *name, bool *named, struct err *e)
{
    char hash[GALLERY_HASH_BYTES];
    struct rows r;
    memcpy(hash, name, HASH_DIGITS);
    hash[HASH_DIGITS] = 0;
    *named = true;
    for (rows_open(&r, db, SQL_PICTURE_FILE_USERS, SQL_VALUES(sql_text(hash))); rows_next(&r);)
        *named = rows_int(&r, 0) > 0;
    return rows_close(&r, e);
}

static bool sweep_shelf(struct db *db, const char *path, const char *shelf, int64_t *count, struct err *e)
{
    char **names, file[PATH_MAX_BYTES];
    size_t found;
    if (!folder_names(path, NULL, &names, &found, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < found; i++) {
        struct stat s;
        bool named = false;
        if (!is_ours(names[i], shelf) || !path_join(file, path, names[i], e) || lstat(file, &s) || !S_ISREG(s.st_mode) ||
            s.st_mtime + DAY_S > time(NULL))
            continue;
        good = strstr(names[i], ".part-") || is_named(db, names[i], &named, e);
        *count += good && !named && unlink(file) == 0;
    }
    folder_names_free(names, found);
    return good;
}

bool gallery_sweep(struct store *s, const char *folder, int64_t *count, struct err *e)
{
    char **shelves, path[PATH_MAX_BYTES];
    size_t found;
    *count = 0;
    if (!path_is_folder(folder))
        return true;
    if (!folder_names(folder, NULL, &shelves, &found, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < found; i++) { /* a transaction each: what was added meanwhile is seen, and has a new file */
        if (!is_shelf(shelves[i]))
            continue;
        good = path_join(path, folder, shelves[i], e);
        struct db *db = good && path_is_folder(path) ? store_begin(s, STORE_READ, e) : NULL;
        good = good && (db ? store_end(db, sweep_shelf(db, path, shelves[i], count, e), e) : e->code == ERR_NONE);
    }
    folder_names_free(shelves, found);
    return good;
}
