#include "cli/gallery_place.h"

#include <stdlib.h>
#include <string.h>

static const char *given_or(const char *given, const char *variable)
{
    const char *value = given ? given : getenv(variable);
    return value && *value ? value : NULL;
}

bool gallery_place_base(char *out, struct err *e)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data)
        return path_join(out, data, "limn/serve", e);
    if (home && *home)
        return path_join(out, home, ".local/share/limn/serve", e);
    return err_set(e, ERR_MISSING, "neither XDG_DATA_HOME nor HOME is set: say where with --database and --gallery-folder");
}

static bool data_place(char *out, const char *name, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    return gallery_place_base(folder, e) && path_join(out, folder, name, e);
}

bool gallery_place_open(struct gallery_place *p, const char *database, const char *gallery_folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    const char *where = given_or(database, "LIMN_DATABASE"), *folder = given_or(gallery_folder, "LIMN_GALLERY");
    *p = (struct gallery_place){ 0 };
    if (!where && !data_place(path, "limn.db", e))
        return false;
    where = where ? where : path;
    if (folder ? !path_join(p->folder, "", folder, e) : strstr(where, "://") ? !data_place(p->folder, "gallery", e) : !path_join(p->folder, "", where, e))
        return false;
    char *slash = strrchr(p->folder, '/');
    if (!folder && !strstr(where, "://")) { /* beside the file */
        char beside[PATH_MAX_BYTES] = "";
        if (slash)
            memcpy(beside, p->folder, (size_t)(slash - p->folder) + (slash == p->folder));
        if (!path_join(p->folder, beside, "gallery", e))
            return false;
    }
    p->store = store_open(where, e);
    return p->store != NULL;
}

void gallery_place_close(struct gallery_place *p)
{
    store_close(p->store);
    p->store = NULL;
}
