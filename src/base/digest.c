#include "base/digest.h"

#include <glib.h>
#include <string.h>

#include "base/file.h"

enum { PIECE = 8 << 20 };

static bool add_pieces(GChecksum *all, GChecksum *rest, const struct file_map *map, size_t from, const struct progress *progress,
                       struct err *e)
{
    for (size_t at = 0; at < map->bytes; at += PIECE) {
        size_t end = map->bytes - at < PIECE ? map->bytes : at + PIECE, begin = from > at ? from : at;
        progress_step(progress, "hashing", (long)(at >> 20), (long)(map->bytes >> 20), "MiB");
        if (!stop_check(e))
            return false;
        g_checksum_update(all, map->data + at, (gssize)(end - at));
        if (rest && begin < end)
            g_checksum_update(rest, map->data + begin, (gssize)(end - begin));
        file_map_forget(map, at, end - at);
    }
    return true;
}

bool digest_file(const char *path, size_t from, char whole[DIGEST_TEXT_BYTES], char weights[DIGEST_TEXT_BYTES],
                 const struct progress *progress, struct err *e)
{
    struct file_map map;
    if (!file_map(&map, path, e))
        return false;
    GChecksum *all = g_checksum_new(G_CHECKSUM_SHA256), *rest = weights ? g_checksum_new(G_CHECKSUM_SHA256) : NULL;
    bool good = (all && (rest || !weights)) || err_nomem(e, path);
    good = good && add_pieces(all, rest, &map, from, progress, e);
    if (good) {
        memcpy(whole, g_checksum_get_string(all), DIGEST_TEXT_BYTES);
        if (weights)
            memcpy(weights, g_checksum_get_string(rest), DIGEST_TEXT_BYTES);
    }
    if (all)
        g_checksum_free(all);
    if (rest)
        g_checksum_free(rest);
    file_unmap(&map);
    return good;
}

bool digest_bytes(const void *data, size_t bytes, char out[DIGEST_TEXT_BYTES])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    if (!sum)
        return false;
    g_checksum_update(sum, data, (gssize)bytes);
    memcpy(out, g_checksum_get_string(sum), DIGEST_TEXT_BYTES);
    g_checksum_free(sum);
    return true;
}
