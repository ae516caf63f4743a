#include "dataset/split.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"

struct ranked {
    uint64_t hash;
    size_t picture;
};

/* The first 64 bits of SHA-256 of "seed:key". */
static bool hash_key(uint64_t seed, const char *key, uint64_t *out, struct err *e)
{
    struct text t;
    char hex[DIGEST_TEXT_BYTES];
    text_init(&t, MANIFEST_MAX_LINE_BYTES);
    text_addf(&t, "%" PRIu64 ":%s", seed, key);
    bool good = text_ok(&t, e) && (digest_bytes(text_string(&t), t.length, hex) || err_nomem(e, "a hash"));
    text_release(&t);
    if (good) {
        hex[16] = 0;
        *out = strtoull(hex, NULL, 16);
    }
    return good;
}

/* What decides about picture i: the field `by`, or what it was when it came in. */
static bool rank(const struct manifest *m, size_t i, const struct split_options *o, uint64_t *hash, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(m, i);
    const char *own = *p->origin ? p->origin : p->id;
    if (!o->by)
        return hash_key(o->seed, own, hash, e);
    json_t *object = manifest_object(m, i, e), *value = json_object_get(object, o->by);
    if (!object)
        return false;
    char *text = value && !json_is_null(value) ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    bool good = hash_key(o->seed, text ? text : own, hash, e);
    free(text);
    json_decref(object);
    return good;
}

static int by_hash(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash ? 1 : -1) : (x->picture > y->picture) - (x->picture < y->picture);
}

/* How many of the ranked are held out: whole groups of one hash. */
static bool choose(const struct ranked *list, size_t n, const struct split_options *o, size_t *chosen, struct err *e)
{
    size_t at = 0;
    if (o->count > 0) {
        for (int64_t groups = 0; groups < o->count; groups++) {
            if (at == n)
                return err_set(e, ERR_MISSING, "%lld to hold out, but there are only %lld", (long long)o->count, (long long)groups);
            uint64_t hash = list[at].hash;
            while (at < n && list[at].hash == hash)
                at++;
        }
    } else {
        while (at < n && (double)list[at].hash < o->share * 0x1p64)
            at++;
    }
    *chosen = at;
    return true;
}

static bool set_split(struct manifest *m, size_t i, bool held_out, struct split_result *r, struct err *e)
{
    const char *split = held_out ? "held-out" : "train", *was = manifest_picture(m, i)->split;
    held_out ? r->held_out++ : r->train++;
    if (!strcmp(was, split) || (!*was && !held_out)) /* no word means train */
        return true;
    r->changed++;
    return manifest_change(m, i, json_pack("{s:s}", "split", split), "split", json_pack("{s:s,s:s}", "split", split, "was", was), e);
}

bool split_pictures(struct manifest *m, const struct split_options *o, struct split_result *r, const struct progress *progress,
                    struct err *e)
{
    size_t count = manifest_count(m), missing, n = 0, chosen = 0;
    *r = (struct split_result){ 0 };
    if (!(o->share >= 0 && o->share <= 1))
        return err_set(e, ERR_ARG, "a share of %g to hold out; want 0 to 1", o->share);
    if (!manifest_identify(m, progress, &missing, e))
        return false;
    struct ranked *list = mem_zeroed(count ? count : 1, sizeof *list);
    if (!list)
        return err_nomem(e, "the order of pictures");
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        const struct manifest_picture *p = manifest_picture(m, i);
        if (*p->excluded)
            continue;
        list[n].picture = i;
        good = (*p->id || err_set(e, ERR_MISSING, "%s: %s cannot be read", manifest_folder(m), p->file_name)) &&
               rank(m, i, o, &list[n++].hash, e);
    }
    if (good && n > 1)
        qsort(list, n, sizeof *list, by_hash);
    good = good && choose(list, n, o, &chosen, e);
    for (size_t k = 0; good && k < n; k++)
        good = set_split(m, list[k].picture, k < chosen, r, e);
    mem_free(list);
    return good;
}
